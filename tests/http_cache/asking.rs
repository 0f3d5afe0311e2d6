//! What is stale: asked for again, given meanwhile, given where there is nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{Scene, is_hit, status};
use crate::support::app::{App, Ask, answer};

/// An app whose pages have a tag and are stale at once, but for what `lines` says.
fn dated(lines: &'static str) -> (impl Fn(&Ask) -> String + Send + Sync, Arc<AtomicBool>) {
    let broken = Arc::new(AtomicBool::new(false));
    let is_broken = Arc::clone(&broken);
    let serve = move |ask: &Ask| {
        if is_broken.load(Ordering::SeqCst) {
            return if ask.path == "/closes" { String::new() } else { answer(503, "", "broken") };
        }
        let lines = format!("{lines}etag: \"one\"\r\nx-path: {}\r\n", ask.path);
        match ask.fields("if-none-match").first() {
            Some(&"\"one\"") => answer(304, &lines, ""),
            _ => answer(200, &lines, "page"),
        }
    };
    (serve, broken)
}

#[test]
fn what_has_not_changed_is_asked_for_with_its_tag_and_renewed() {
    let (serve, _) = dated("cache-control: no-cache\r\n");
    let scene = Scene::start(serve);
    assert_eq!(scene.get("/", "").text(), "page");
    let again = scene.get("/", "");
    assert_eq!((again.status, again.text().as_str()), (200, "page"));
    assert_eq!(status(&again), "weir; fwd=stale; fwd-status=304");
    let known = scene.get("/", "if-none-match: \"one\"\r\n");
    assert_eq!((known.status, known.field("etag")), (304, Some("\"one\"")));
    let asked = scene.apps[0].asked.lock().unwrap();
    let tags: Vec<_> = asked.iter().map(|ask| ask.fields("if-none-match").join(",")).collect();
    assert_eq!(tags, ["", "\"one\"", "\"one\""]);
}

#[test]
fn a_client_that_has_it_is_told_so_without_asking() {
    let (serve, _) =
        dated("cache-control: max-age=60\r\nlast-modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
    let scene = Scene::start(serve);
    scene.get("/", "");
    let tagged = scene.get("/", "if-none-match: W/\"one\", \"two\"\r\n");
    let since = scene.get("/", "if-modified-since: Sun, 06 Nov 1994 08:49:38 GMT\r\n");
    for known in [tagged, since] {
        assert_eq!((known.status, known.body.len()), (304, 0), "{}", known.head);
        assert!(is_hit(&known) && known.field("age").is_some());
    }
    assert_eq!(scene.get("/", "if-none-match: \"two\"\r\n").status, 200);
    assert_eq!(scene.apps[0].count("/"), 1);
}

#[test]
fn a_stale_answer_is_given_while_it_is_asked_for() {
    let count = AtomicUsize::new(0);
    let scene = Scene::start(move |_| {
        let lines = "cache-control: max-age=1, stale-while-revalidate=600\r\n";
        answer(200, lines, &count.fetch_add(1, Ordering::SeqCst).to_string())
    });
    assert_eq!(scene.get("/", "").text(), "0");
    let stale = scene.until("/", "", |answer| {
        status(answer).starts_with("weir; hit; ttl=-") || status(answer) == "weir; hit; ttl=0"
    });
    assert_eq!(stale.text(), "0", "it is given at once");
    let fresh = scene.until("/", "", |answer| answer.text() != "0");
    assert!(is_hit(&fresh), "nobody waited for it: {}", fresh.head);
    assert!(scene.counted("stale", "1.0.0") > 0);
}

#[test]
fn what_was_kept_for_all_is_not_asked_for_anew_as_one_user() {
    let count = AtomicUsize::new(0);
    let scene = Scene::start(move |_| {
        let lines = "cache-control: max-age=1, stale-while-revalidate=600\r\n";
        answer(200, lines, &count.fetch_add(1, Ordering::SeqCst).to_string())
    });
    scene.get("/", "");
    let fresh = scene.until("/", "cookie: id=ann\r\n", |answer| answer.text() != "0");
    assert!(is_hit(&fresh), "it was kept: {}", fresh.head);
    let asked = scene.apps[0].asked.lock().unwrap();
    assert!(asked.iter().all(|ask| ask.fields("cookie").is_empty()));
}

#[test]
fn a_stale_answer_is_given_where_there_is_no_other() {
    for path in ["/fails", "/closes"] {
        let (serve, broken) = dated("cache-control: max-age=0\r\n");
        let scene = Scene::start(serve);
        scene.get(path, "");
        broken.store(true, Ordering::SeqCst);
        let stale = scene.get(path, "");
        assert_eq!((stale.status, stale.text().as_str()), (200, "page"), "{path}");
        assert!(status(&stale).starts_with("weir; fwd=stale; "), "{}", stale.head);
        broken.store(false, Ordering::SeqCst);
        assert_eq!(status(&scene.get(path, "")), "weir; fwd=stale; fwd-status=304");
    }
}

#[test]
fn what_must_not_be_stale_is_an_error_then() {
    let (serve, broken) = dated("cache-control: max-age=0, must-revalidate\r\n");
    let scene = Scene::start(serve);
    scene.get("/", "");
    broken.store(true, Ordering::SeqCst);
    assert_eq!(scene.get("/", "").status, 503);
    assert_eq!(scene.get("/closes", "").status, 502);
}

#[test]
fn the_operator_says_how_stale_answers_may_be() {
    let (serve, broken) = dated("cache-control: max-age=0\r\n");
    let scene = Scene::with("size = \"1MiB\", stale_if_error = \"0s\"", vec![App::start(serve)]);
    scene.get("/", "");
    broken.store(true, Ordering::SeqCst);
    assert_eq!(scene.get("/", "").status, 503);
}

#[test]
fn a_client_may_insist_or_want_only_what_is_kept() {
    let (serve, _) = dated("cache-control: max-age=60\r\n");
    let scene = Scene::start(serve);
    assert_eq!(scene.get("/", "cache-control: only-if-cached\r\n").status, 504);
    scene.get("/", "");
    assert!(is_hit(&scene.get("/", "cache-control: only-if-cached\r\n")));
    for line in
        ["cache-control: no-cache\r\n", "cache-control: max-age=0\r\n", "pragma: no-cache\r\n"]
    {
        assert!(!is_hit(&scene.get("/", line)), "{line}");
    }
    assert_eq!(scene.apps[0].count("/"), 4);
}

#[test]
fn a_cookie_that_comes_with_the_news_that_nothing_has_changed_is_for_who_asked() {
    let scene = Scene::start(|ask| {
        let lines = "cache-control: max-age=0\r\netag: \"one\"\r\n";
        match ask.fields("if-none-match").first() {
            Some(_) => answer(304, "cache-control: max-age=60\r\nset-cookie: id=1\r\n", ""),
            None => answer(200, lines, "page"),
        }
    });
    scene.get("/", "");
    let asked = scene.get("/", "");
    assert_eq!((asked.text().as_str(), asked.field("set-cookie")), ("page", Some("id=1")));
    let next = scene.get("/", "");
    assert_eq!((next.text().as_str(), next.field("set-cookie")), ("page", None));
}
