use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use proptest::prelude::*;

use super::directives::Directives;
use super::freshness::{self, Asker, Leniency, Policy, Unkept, Use};
use super::mark::TagMark;
use super::range::{self, Part};
use super::{date, head, key};

/// Some time, in seconds since 1970: Sun, 29 Nov 2026 10:40:00 GMT.
const NOW: u64 = 1_795_948_800;

const SECOND: Duration = Duration::from_secs(1);

fn head(lines: &[(&str, &str)]) -> HeaderMap {
    let mut head = HeaderMap::new();
    for (name, value) in lines {
        let name: HeaderName = name.parse().unwrap();
        head.append(name, HeaderValue::from_str(value).unwrap());
    }
    head
}

fn kept_for(
    asker: Asker,
    request: &[(&str, &str)],
    lines: &[(&str, &str)],
) -> Result<Policy, Unkept> {
    let request = Directives::of_request(&head(request));
    let answer = (StatusCode::OK, &head(lines));
    let leniency = Leniency { stale_if_error: SECOND * 60, ..Leniency::default() };
    freshness::policy(asker, &request, answer, (NOW, Duration::ZERO), leniency)
}

fn kept(lines: &[(&str, &str)]) -> Result<Policy, Unkept> {
    kept_for(Asker::default(), &[], lines)
}

fn lifetime(lines: &[(&str, &str)]) -> u64 {
    kept(lines).map_or(0, |policy| policy.lifetime.as_secs())
}

#[test]
fn dates_are_read_in_all_three_forms_and_written_in_the_first() {
    let written = "Sun, 06 Nov 1994 08:49:37 GMT";
    for text in [written, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
        assert_eq!(date::parse(text.as_bytes()), Some(784_111_777), "{text}");
    }
    assert_eq!(date::format(784_111_777), written);
    assert_eq!(date::format(0), "Thu, 01 Jan 1970 00:00:00 GMT");
    for wrong in
        ["", "0", "-1", "Sun, 06 Nov 94 08:49:37 GMT", "Sun, 06 Nov 1994 8:49:37 GMT", "x, y z"]
    {
        assert_eq!(date::parse(wrong.as_bytes()), None, "{wrong}");
    }
}

#[test]
fn an_answer_is_kept_only_if_it_says_for_how_long() {
    assert_eq!(kept(&[]), Err(Unkept::Answer));
    assert_eq!(kept(&[("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")]), Err(Unkept::Answer));
    assert_eq!(lifetime(&[("cache-control", "max-age=60")]), 60);
    assert_eq!(lifetime(&[("cache-control", "max-age=60, s-maxage=5")]), 5);
    let (date, expires) = (date::format(NOW - 10), date::format(NOW + 20));
    assert_eq!(lifetime(&[("date", &date), ("expires", &expires)]), 30);
    assert_eq!(lifetime(&[("expires", &expires), ("cache-control", "max-age=7")]), 7);
    for wrong in ["max-age=-1", "max-age='60'", "max-age=6.0", "max-age", "x=\"max-age=60\""] {
        assert_eq!(lifetime(&[("cache-control", wrong)]), 0, "{wrong}");
    }
    assert_eq!(lifetime(&[("expires", "0")]), 0);
    assert_eq!(lifetime(&[("cache-control", "max-age=60"), ("cache-control", "max-age=9")]), 9);
}

#[test]
fn what_is_for_one_user_is_not_kept() {
    let fresh = ("cache-control", "max-age=60");
    for other in [
        ("cache-control", "private"),
        ("cache-control", "No-Store"),
        ("set-cookie", "a=b"),
        ("vary", "accept, *"),
    ] {
        assert_eq!(kept(&[fresh, other]), Err(Unkept::Answer), "{other:?}");
    }
    let somebody =
        [Asker { authorized: true, known: false }, Asker { authorized: false, known: true }];
    for asker in somebody {
        assert_eq!(kept_for(asker, &[], &[fresh]), Err(Unkept::Asker));
        for shared in ["public, max-age=60", "s-maxage=60", "max-age=60, must-revalidate"] {
            assert!(kept_for(asker, &[], &[("cache-control", shared)]).is_ok(), "{shared}");
        }
        assert!(kept_for(asker, &[], &[("cdn-cache-control", "max-age=60")]).is_ok());
    }
    assert_eq!(
        kept_for(Asker::default(), &[("cache-control", "no-store")], &[fresh]),
        Err(Unkept::Request)
    );
}

#[test]
fn a_failure_is_never_kept() {
    let fresh = head(&[("cache-control", "public, max-age=60"), ("etag", "\"a\"")]);
    for (status, is_kept) in [(404, true), (500, false), (503, false), (599, false)] {
        let answer = (StatusCode::from_u16(status).unwrap(), &fresh);
        let (asker, asks) = (Asker::default(), Directives::of_request(&HeaderMap::new()));
        let came = (NOW, Duration::ZERO);
        let kept = freshness::policy(asker, &asks, answer, came, Leniency::default());
        assert_eq!(kept.is_ok(), is_kept, "{status}");
    }
}

#[test]
fn a_cookie_of_ours_is_nobodys() {
    let known = |line: &str| Asker::of(&head(&[("cookie", line)]), "weir").known;
    assert!(!known("weir=1") && !known(" weir=1; ") && !Asker::of(&head(&[]), "weir").known);
    assert!(known("a=1") && known("weir=1; a=1") && known("weird=1"));
}

#[test]
fn what_is_for_caches_like_this_one_overrules_the_rest() {
    let short = ("cache-control", "no-store");
    assert_eq!(lifetime(&[("cdn-cache-control", "max-age=60;x=1, foo"), short]), 60);
    assert_eq!(
        kept(&[("cdn-cache-control", "private"), ("cache-control", "max-age=9")]),
        Err(Unkept::Answer)
    );
    for broken in
        ["", "max-age=60, &&&", "MAX-AGE=60", "max-age =60", "max-age=60,", "max-age=\"60\""]
    {
        let lines = [("cdn-cache-control", broken), short];
        assert_eq!(kept(&lines), Err(Unkept::Answer), "{broken}");
    }
}

#[test]
fn age_counts_from_when_it_was_made() {
    let aged =
        |age: &str| kept(&[("cache-control", "max-age=60"), ("age", age)]).unwrap().initial_age;
    assert_eq!(aged("7"), SECOND * 7);
    assert_eq!(aged("7, 0"), SECOND * 7, "the first counts");
    assert_eq!((aged("x"), aged("-7"), aged("7.0")), Default::default());
    let date = date::format(NOW - 30);
    let policy = kept(&[("cache-control", "max-age=60"), ("date", &date), ("age", "7")]).unwrap();
    assert_eq!(policy.initial_age, SECOND * 30);
    assert_eq!(policy.ttl(SECOND * 20), 10);
    assert_eq!(policy.ttl(SECOND * 50), -20);
}

#[test]
fn it_is_used_fresh_then_while_it_is_asked_for_and_then_not() {
    let nothing = Directives::default();
    let policy = kept(&[("cache-control", "max-age=10, stale-while-revalidate=5")]).unwrap();
    let used = |seconds: u32| policy.allows(SECOND * seconds, &nothing);
    assert_eq!(
        [used(9), used(10), used(14), used(15)],
        [Use::Fresh, Use::StaleWhileRevalidate, Use::StaleWhileRevalidate, Use::Ask]
    );
    assert!(policy.allows_on_error(SECOND * 69) && !policy.allows_on_error(SECOND * 70));
    let said = kept(&[("cache-control", "max-age=10, stale-if-error=5")]).unwrap();
    assert!(said.allows_on_error(SECOND * 14) && !said.allows_on_error(SECOND * 15));
    for strict in ["must-revalidate", "proxy-revalidate", "s-maxage=10"] {
        let line = format!("max-age=10, stale-while-revalidate=5, stale-if-error=5, {strict}");
        let policy = kept(&[("cache-control", &line)]).unwrap();
        assert_eq!(policy.allows(SECOND * 11, &nothing), Use::Ask, "{strict}");
        assert!(!policy.allows_on_error(SECOND * 11), "{strict}");
    }
    let asks = kept(&[("cache-control", "max-age=10, no-cache"), ("etag", "\"a\"")]).unwrap();
    assert_eq!(asks.allows(Duration::ZERO, &nothing), Use::Ask);
    assert!(!asks.is_for_waiters(Duration::ZERO));
}

#[test]
fn a_client_may_want_it_fresher_or_take_it_stale() {
    let policy = kept(&[("cache-control", "max-age=10")]).unwrap();
    let used = |seconds: u32, line: &str| {
        policy.allows(SECOND * seconds, &Directives::of_request(&head(&[("cache-control", line)])))
    };
    for line in ["no-cache", "max-age=0", "max-age=3", "min-fresh=6"] {
        assert_eq!(used(5, line), Use::Ask, "{line}");
    }
    assert_eq!(
        [used(5, "max-age=5"), used(12, "max-stale=2"), used(12, "max-stale")],
        [Use::Fresh; 3]
    );
    assert_eq!(used(13, "max-stale=2"), Use::Ask);
    let pragma = Directives::of_request(&head(&[("pragma", "no-cache")]));
    assert_eq!(policy.allows(SECOND, &pragma), Use::Ask);
}

#[test]
fn requests_vary_by_what_they_say_and_not_by_how() {
    let names = key::vary(&head(&[("vary", "B, a"), ("vary", "")])).unwrap();
    let variant = |lines: &[(&str, &str)]| key::variant(&names, &head(lines));
    assert_eq!(variant(&[("a", "1, 2")]), variant(&[("a", "1"), ("a", " 2 "), ("c", "3")]));
    assert_ne!(variant(&[("a", "1")]), variant(&[("a", "1"), ("b", "")]));
    assert_ne!(variant(&[("a", "1")]), variant(&[("a", "2")]));
    assert_eq!(key::vary(&head(&[("vary", "a, *")])), None);
}

#[test]
fn only_what_stays_with_the_host_is_thrown_away() {
    let base = "http://app.example/shop/cart?x=1";
    let to = |reference: &str| key::same_origin(base, reference.as_bytes());
    for (reference, whole) in [
        ("/a?b", "http://app.example/a?b"),
        ("item", "http://app.example/shop/item"),
        ("?y=2", "http://app.example/shop/cart?y=2"),
        ("", base),
        ("http://APP.example/z#f", "http://app.example/z"),
        ("//app.example", "http://app.example/"),
    ] {
        assert_eq!(to(reference).as_deref(), Some(whole), "{reference}");
    }
    for elsewhere in
        ["https://app.example/", "http://app.example.org/", "http://app.example:81/", "//b/"]
    {
        assert_eq!(to(elsewhere), None, "{elsewhere}");
    }
}

#[test]
fn a_part_is_cut_out_of_the_whole() {
    let whole = head(&[("etag", "\"a\"")]);
    let part = |lines: &[(&str, &str)]| range::wanted(&head(lines), &whole, 10);
    for (text, expected) in [
        ("bytes=0-1", Part::Bytes(0..2)),
        ("bytes=4-", Part::Bytes(4..10)),
        ("bytes=-3", Part::Bytes(7..10)),
        ("bytes=-30", Part::Bytes(0..10)),
        ("bytes=8-99999999999999999999", Part::Bytes(8..10)),
        ("bytes=10-", Part::Beyond),
        ("bytes=-0", Part::Beyond),
        ("bytes=2-1", Part::Whole),
        ("bytes=0-1,3-4", Part::Whole),
        ("pages=1-2", Part::Whole),
        ("bytes=a-b", Part::Whole),
    ] {
        assert_eq!(part(&[("range", text)]), expected, "{text}");
    }
    assert_eq!(part(&[("range", "bytes=0-1"), ("if-range", "\"a\"")]), Part::Bytes(0..2));
    assert_eq!(part(&[("range", "bytes=0-1"), ("if-range", "\"b\"")]), Part::Whole);
}

#[test]
fn a_304_renews_what_is_not_about_the_body() {
    let before = head(&[("etag", "\"a\""), ("content-length", "5"), ("x", "1"), ("y", "1")]);
    let answer =
        head(&[("etag", "\"b\""), ("content-length", "0"), ("x", "2"), ("set-cookie", "a=b")]);
    let renewed = head::renewed(&before, &answer, NOW);
    for (name, value) in [("etag", "\"a\""), ("content-length", "5"), ("x", "2"), ("y", "1")] {
        assert_eq!(renewed[name], value);
    }
    assert!(!renewed.contains_key("set-cookie") && renewed.contains_key("date"));
}

#[test]
fn who_has_it_already_is_told_so() {
    let kept = head(&[("etag", "W/\"a\""), ("last-modified", &date::format(NOW - 60))]);
    let has = |name: &str, value: &str| head::has_it(&head(&[(name, value)]), &kept);
    assert!(has("if-none-match", "\"b\", \"a\"") && has("if-none-match", "*"));
    assert!(!has("if-none-match", "\"b\"") && !has("if-none-match", "a"));
    assert!(has("if-modified-since", &date::format(NOW - 60)));
    assert!(!has("if-modified-since", &date::format(NOW - 61)) && !has("if-modified-since", "x"));
}

#[test]
fn tags_are_read_from_both_fields() {
    let answer = head(&[("cache-tag", "a,b"), ("surrogate-key", "c d")]);
    assert_eq!(*head::tags(&answer), ["a", "b", "c", "d"].map(Box::from));
}

#[test]
fn unknown_methods_may_change_something() {
    let method = |name: &str| Method::from_bytes(name.as_bytes()).unwrap();
    assert!(freshness::is_safe(&method("GET")) && freshness::is_safe(&method("PROPFIND")));
    assert!(!freshness::is_safe(&method("POST")) && !freshness::is_safe(&method("M-SEARCH")));
}

/// What is left of a condition that a client asks by at the release with `mark`.
fn taken(mark: &TagMark, lines: &[(&str, &str)]) -> HeaderMap {
    let mut request = head(lines);
    mark.take(&mut request);
    request
}

#[test]
fn a_tag_of_another_release_is_dropped_from_the_question() {
    let (first, second, third) = (TagMark::none(), TagMark::of("1.1.0"), TagMark::of("1.2.0"));
    let mut answer = head(&[("etag", "W/\"abc\"")]);
    second.put(&mut answer);
    let marked = answer["etag"].to_str().unwrap().to_owned();
    assert!(marked.starts_with("W/\"abc;w=") && marked.ends_with('"'), "{marked}");
    let both = format!("\"x\", {marked}");
    assert_eq!(taken(&second, &[("if-none-match", &both)])["if-none-match"], "W/\"abc\"");
    assert_eq!(taken(&first, &[("if-none-match", &both)])["if-none-match"], "\"x\"");
    let since = ("if-modified-since", "x");
    assert!(taken(&third, &[("if-none-match", &both), since]).is_empty());
    assert!(taken(&second, &[since]).is_empty());
    assert_eq!(taken(&first, &[since]).len(), 1);
    assert_eq!(taken(&third, &[("if-none-match", "*")]).len(), 1);
    assert_eq!(taken(&third, &[("if-match", &both)])["if-match"], "\"x\", W/\"abc\"");
    let range = [("range", "bytes=0-1"), ("if-range", marked.as_str())];
    assert!(taken(&first, &range).is_empty());
    assert_eq!(taken(&second, &range)["if-range"], "W/\"abc\"");
}

#[test]
fn an_answer_with_a_date_alone_gets_a_tag_for_its_mark() {
    let (second, third) = (TagMark::of("1.1.0"), TagMark::of("1.2.0"));
    let mut answer = head(&[("last-modified", "x")]);
    second.put(&mut answer);
    let tag = answer["etag"].to_str().unwrap().to_owned();
    let lines = [("if-none-match", tag.as_str()), ("if-modified-since", "x")];
    let request = taken(&second, &lines);
    assert!(!request.contains_key("if-none-match") && request.contains_key("if-modified-since"));
    assert!(taken(&third, &lines).is_empty() && taken(&TagMark::none(), &lines).is_empty());
    let mut unquoted = head(&[("etag", "abc")]);
    second.put(&mut unquoted);
    assert!(unquoted.is_empty(), "what cannot be told apart is no tag");
}

proptest! {
    #[test]
    fn a_tag_comes_back_as_it_was_and_to_nobody_else(
        text in "[ !#-+\\--~]{0,40}",
        weak in any::<bool>(),
    ) {
        let tag = format!("{}\"{text}\"", if weak { "W/" } else { "" });
        let second = TagMark::of("1.1.0");
        let mut answer = head(&[("etag", &tag)]);
        second.put(&mut answer);
        let marked = answer["etag"].to_str().unwrap().to_owned();
        let lines = [("if-none-match", marked.as_str())];
        if text != "dated" {
            prop_assert_eq!(&taken(&second, &lines)["if-none-match"], tag.as_str());
        }
        prop_assert!(taken(&TagMark::none(), &lines).is_empty());
        prop_assert!(taken(&TagMark::of("1.0.0"), &lines).is_empty());
    }

    #[test]
    fn a_date_is_read_as_it_was_written(seconds in 0_u64..4_000_000_000) {
        prop_assert_eq!(date::parse(date::format(seconds).as_bytes()), Some(seconds));
    }

    #[test]
    fn nothing_that_comes_in_makes_it_panic(
        name in prop::sample::select(vec![
            "cache-control", "cdn-cache-control", "expires", "date", "age", "vary", "etag",
            "last-modified", "range", "if-range", "if-none-match", "if-match", "if-modified-since",
            "cache-tag", "pragma", "cookie",
        ]),
        value in "[ -~\u{80}-\u{ff}]{0,60}",
        digits in "[0-9]{0,30}",
    ) {
        for value in [value.clone(), format!("max-age={digits}, \"{value}"), format!("bytes={digits}-")] {
            let Ok(value) = HeaderValue::from_str(&value) else { continue };
            let mut map = head(&[("cache-control", "max-age=9"), ("etag", "\"a\"")]);
            map.append(HeaderName::from_static(name), value);
            let request = Directives::of_request(&map);
            let answer = (StatusCode::OK, &map);
            let asker = Asker::of(&map, "weir");
            let policy = freshness::policy(asker, &request, answer, (NOW, SECOND), Leniency::default());
            if let Ok(policy) = policy {
                policy.allows(Duration::from_secs(u64::from(u32::MAX)), &request);
                policy.ttl(SECOND);
            }
            range::wanted(&map, &map, 10);
            head::has_it(&map, &map);
            head::renewed(&map, &map, NOW);
            TagMark::of("1").take(&mut map);
            TagMark::of("1").put(&mut map);
        }
    }

    #[test]
    fn a_part_lies_within_the_whole(text in "bytes=[0-9]{0,3}-[0-9]{0,3}", length in 0_u64..300) {
        match range::wanted(&head(&[("range", &text)]), &HeaderMap::new(), length) {
            Part::Bytes(bytes) => prop_assert!(bytes.start < bytes.end && bytes.end <= length),
            Part::Whole | Part::Beyond => {}
        }
    }
}

#[test]
fn answers_differ_by_where_a_proxy_says_the_client_asked_and_not_by_the_client() {
    let variant = |line: &str| {
        let mut request = HeaderMap::new();
        request.insert("forwarded", HeaderValue::from_str(line).unwrap());
        key::variant(&[http::header::FORWARDED], &request)
    };
    let shop = variant("for=192.0.2.1;host=shop;proto=https");
    for same in [
        "for=192.0.2.2;host=shop;proto=https",
        "FOR=\"[2001:db8::1]:4711\";host=shop;proto=https",
        "host=shop;for=_hidden;proto=https",
    ] {
        assert_eq!(variant(same), shop, "{same}");
    }
    for other in [
        "for=192.0.2.1;host=evil;proto=https",
        "for=192.0.2.1;host=shop;proto=http",
        "for=192.0.2.1;host=shop;proto=https, for=192.0.2.9;host=evil",
        // Read in two ways.
        "for=\"a;host=evil\";host=shop;proto=https",
        "for=\"a\\\"\";host=shop;proto=https",
        "for=a b;host=shop;proto=https",
    ] {
        assert_ne!(variant(other), shop, "{other}");
    }
    assert_ne!(variant("x=\"a;for=b;c\""), variant("x=\"a;for=d;c\""), "it is in quotes");
}
