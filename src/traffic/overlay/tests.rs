//! Two releases, a browser, and all that may happen to a session.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::time::Timestamp;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// What an app that logs in sets.
const LOGIN: &str = "; Path=/; Max-Age=1209600; Secure; HttpOnly; SameSite=Lax; Partitioned";

fn mark(version: &str) -> Mark {
    Mark::of(&version.parse().unwrap())
}

fn marked(name: &str, version: &str) -> String {
    format!("{name}~{}", String::from_utf8_lossy(&mark(version).0))
}

fn cookies(keeping: Keeping) -> Cookies {
    Cookies::new(vec![("s".to_owned(), keeping), ("__Host-s".to_owned(), keeping)])
}

/// A tier at one time.
#[derive(Clone, Default)]
struct Tier {
    stable: &'static str,
    canary: Option<&'static str>,
    replaced: Option<&'static str>,
}

impl Tier {
    fn side(&self, version: &str) -> Side {
        let others = self.canary.iter().chain(&self.replaced).map(|version| mark(version));
        Side {
            own: mark(version),
            stable: mark(self.stable),
            canary: self.canary.map(mark),
            replaced: self.replaced.filter(|_| version == self.stable).map(mark),
            live: std::iter::once(mark(self.stable)).chain(others).collect(),
        }
    }
}

/// A browser.
#[derive(Default)]
struct Browser {
    jar: BTreeMap<String, String>,
    /// Whether the next request is one for a logout.
    logs_out: bool,
}

impl Browser {
    fn lines(&self) -> Vec<HeaderValue> {
        let pairs = self.jar.iter().map(|(name, value)| format!("{name}={value}"));
        pairs.map(|pair| HeaderValue::try_from(pair).unwrap()).collect()
    }

    /// Asks `version`, which answers with the lines `set`; what that version read.
    fn ask(
        &mut self,
        cookies: &Cookies,
        tier: &Tier,
        version: &str,
        set: &[&str],
    ) -> Option<String> {
        let (asked, side) = (self.lines(), tier.side(version));
        let line = cookies.request(&asked, &side);
        let line = line
            .map_or_else(|| asked.clone(), |line| vec![HeaderValue::from_bytes(&line).unwrap()]);
        let mut read = None;
        for pair in pairs(&line) {
            let (name, value) = std::str::from_utf8(pair).unwrap().split_once('=').unwrap();
            assert!(!name.contains('~'), "{version} reads {name}");
            if name == "s" {
                read = Some(value.to_owned());
            }
        }
        let set = set.iter().map(|line| HeaderValue::from_str(line).unwrap()).collect();
        let logs_out = std::mem::take(&mut self.logs_out);
        let answering = Answering { side: &side, now: NOW, most: 8_000, logs_out };
        let answered = cookies.answer(&asked, set, &answering);
        for line in answered.app.iter().chain(&answered.ours) {
            let set = super::super::set_cookie::SetCookie::parse(line.as_bytes()).unwrap();
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            if set.ends(NOW) {
                self.jar.remove(&text(set.name));
            } else {
                self.jar.insert(text(set.name), text(set.value));
            }
        }
        read
    }

    fn names(&self) -> Vec<&str> {
        self.jar.keys().map(String::as_str).collect()
    }
}

fn at(side: &Side, now: Timestamp) -> Answering<'_> {
    Answering { side, now, most: 8_000, logs_out: false }
}

const BEFORE: Tier = Tier { stable: "1", canary: None, replaced: None };
const SPLIT: Tier = Tier { stable: "1", canary: Some("2"), replaced: None };
const PROMOTED: Tier = Tier { stable: "2", canary: None, replaced: Some("1") };
const LATER: Tier = Tier { stable: "2", canary: None, replaced: None };

fn login(value: &str) -> String {
    format!("s={value}{LOGIN}")
}

/// Logged in on 1, then on the canary, which has written.
fn moved(keeping: Keeping) -> (Cookies, Browser) {
    let (cookies, mut browser) = (cookies(keeping), Browser::default());
    browser.ask(&cookies, &BEFORE, "1", &[&login("a")]);
    let read = browser.ask(&cookies, &SPLIT, "2", &[&login("b")]);
    assert_eq!(read.is_some(), keeping == Keeping::Overlay);
    assert_eq!(browser.names(), ["s", &marked("s", "2")]);
    (cookies, browser)
}

#[test]
fn the_canary_reads_what_it_wrote_and_a_rollback_finds_stables() {
    let (cookies, mut browser) = moved(Keeping::Overlay);
    assert_eq!(browser.ask(&cookies, &SPLIT, "2", &[]).as_deref(), Some("b"));
    assert_eq!(browser.ask(&cookies, &SPLIT, "1", &[]).as_deref(), Some("a"));
    assert_eq!(browser.ask(&cookies, &BEFORE, "1", &[]).as_deref(), Some("a"));
    assert_eq!(browser.names(), ["s"], "what the canary wrote is thrown away");
}

#[test]
fn a_logout_on_either_side_ends_both() {
    for away in ["s=; Path=/; Max-Age=0", "s=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT"] {
        for version in ["1", "2"] {
            let (cookies, mut browser) = moved(Keeping::Overlay);
            browser.ask(&cookies, &SPLIT, version, &[away]);
            assert_eq!(browser.names(), [""; 0], "{away} by {version}");
        }
    }
    let (cookies, mut browser) = moved(Keeping::Overlay);
    browser.ask(&cookies, &SPLIT, "2", &["s=; Path=/"]);
    assert_eq!(browser.names(), [marked("s", "2")], "emptied, and stable's with it");
    assert_eq!(browser.ask(&cookies, &SPLIT, "2", &[]).as_deref(), Some(""));
}

#[test]
fn a_logout_that_writes_another_session_ends_that_of_the_other_version() {
    let (cookies, mut browser) = moved(Keeping::Overlay);
    browser.logs_out = true;
    browser.ask(&cookies, &SPLIT, "2", &["s=flash; Path=/"]);
    assert_eq!(browser.names(), [marked("s", "2")]);
    assert_eq!(browser.ask(&cookies, &SPLIT, "2", &[]).as_deref(), Some("flash"));
    assert_eq!(browser.ask(&cookies, &BEFORE, "1", &[]), None);
    let (cookies, mut browser) = moved(Keeping::Overlay);
    browser.ask(&cookies, &PROMOTED, "2", &[]);
    browser.logs_out = true;
    browser.ask(&cookies, &PROMOTED, "2", &["s=flash; Path=/"]);
    assert_eq!(browser.ask(&cookies, &PROMOTED, "2", &[]).as_deref(), Some("flash"));
    assert_eq!(browser.ask(&cookies, &BEFORE, "1", &[]), None, "1's session has ended");
}

#[test]
fn a_logout_and_a_login_in_one_answer_leave_the_login() {
    let (cookies, mut browser) = moved(Keeping::Overlay);
    browser.ask(&cookies, &SPLIT, "2", &["s=; Path=/; Max-Age=0", &login("c")]);
    assert_eq!(browser.names(), [marked("s", "2")]);
    assert_eq!(browser.ask(&cookies, &SPLIT, "2", &[]).as_deref(), Some("c"));
    browser.ask(&cookies, &PROMOTED, "2", &["s=; Path=/; Max-Age=0", &login("d")]);
    assert_eq!(browser.ask(&cookies, &PROMOTED, "2", &[]).as_deref(), Some("d"));
    assert_eq!(browser.ask(&cookies, &BEFORE, "1", &[]), None, "the login was on 2");
}

#[test]
fn what_stable_writes_is_newer_than_what_the_canary_wrote() {
    let (cookies, mut browser) = moved(Keeping::Overlay);
    browser.ask(&cookies, &SPLIT, "1", &[&login("c")]);
    assert_eq!(browser.ask(&cookies, &SPLIT, "2", &[]).as_deref(), Some("c"));
}

#[test]
fn a_promotion_gives_the_name_back_and_logs_nobody_out() {
    let (cookies, mut browser) = moved(Keeping::Overlay);
    assert_eq!(browser.ask(&cookies, &PROMOTED, "2", &[]).as_deref(), Some("b"));
    assert_eq!(browser.jar["s"], "b");
    assert_eq!(browser.names(), ["s", &marked("s", "1")], "1's is kept for a way back");
    assert_eq!(browser.ask(&cookies, &PROMOTED, "2", &[]).as_deref(), Some("b"));
    assert_eq!(browser.ask(&cookies, &LATER, "2", &[]).as_deref(), Some("b"));
    assert_eq!(browser.names(), ["s"], "nothing is left");
}

#[test]
fn whoever_comes_late_is_not_logged_out_either() {
    let (cookies, mut browser) = moved(Keeping::Overlay);
    assert_eq!(browser.ask(&cookies, &LATER, "2", &[]).as_deref(), Some("b"));
    assert_eq!(browser.jar, BTreeMap::from([("s".to_owned(), "b".to_owned())]));
    let (cookies, mut browser) = moved(Keeping::Overlay);
    let next = Tier { stable: "2", canary: Some("3"), replaced: None };
    assert_eq!(browser.ask(&cookies, &next, "3", &[]).as_deref(), Some("b"), "stable's is b");
}

#[test]
fn the_way_back_after_a_promotion_finds_the_session_of_before() {
    for set in [vec![], vec![login("c")]] {
        let set: Vec<&str> = set.iter().map(String::as_str).collect();
        let (cookies, mut browser) = moved(Keeping::Overlay);
        browser.ask(&cookies, &PROMOTED, "2", &set);
        browser.ask(&cookies, &PROMOTED, "2", &[]);
        assert_eq!(browser.ask(&cookies, &BEFORE, "1", &[]).as_deref(), Some("a"));
        assert_eq!(browser.jar, BTreeMap::from([("s".to_owned(), "a".to_owned())]));
    }
    let (cookies, mut browser) = moved(Keeping::Overlay);
    browser.ask(&cookies, &PROMOTED, "2", &["s=; Path=/; Max-Age=0"]);
    assert_eq!(browser.names(), [""; 0], "a logout ends both");
    // Who came after the promotion was never on 1: it must not read what it cannot.
    browser.ask(&cookies, &PROMOTED, "2", &[&login("c")]);
    assert_eq!(browser.ask(&cookies, &BEFORE, "1", &[]), None);
    assert_eq!(browser.names(), [""; 0]);
}

#[test]
fn an_isolated_cookie_is_read_by_nobody_else() {
    let (cookies, mut browser) = moved(Keeping::Isolate);
    assert_eq!(browser.ask(&cookies, &SPLIT, "1", &["s=; Max-Age=0"]).as_deref(), Some("a"));
    assert_eq!(browser.ask(&cookies, &SPLIT, "2", &[]).as_deref(), Some("b"));
    browser.ask(&cookies, &SPLIT, "1", &[&login("a2")]);
    assert_eq!(browser.ask(&cookies, &PROMOTED, "2", &[]).as_deref(), Some("b"));
    assert_eq!(browser.ask(&cookies, &PROMOTED, "2", &[]).as_deref(), Some("b"));
    assert_eq!(browser.ask(&cookies, &BEFORE, "1", &[]).as_deref(), Some("a2"));
    let mut late = Browser::default();
    late.ask(&cookies, &BEFORE, "1", &[&login("a")]);
    assert_eq!(late.ask(&cookies, &PROMOTED, "2", &[]), None, "it is 1's");
}

#[test]
fn attributes_are_kept_and_come_back() {
    let cookies = cookies(Keeping::Overlay);
    let line = HeaderValue::from_static(
        "__Host-s=\"a\"; Path=/; Secure; SameSite=None; Partitioned; Max-Age=100",
    );
    let answered = cookies.answer(&[], vec![line], &at(&SPLIT.side("2"), NOW));
    let [line] = &answered.app[..] else { panic!("{answered:?}") };
    let line = line.to_str().unwrap();
    let name = marked("__Host-s", "2");
    let rest = "; Path=/; Secure; SameSite=None; Partitioned; Max-Age=100";
    assert!(line.starts_with(&format!("{name}=")) && line.ends_with(rest), "{line}");
    let pair = HeaderValue::from_str(line.strip_suffix(rest).unwrap()).unwrap();
    let later = NOW.plus(Duration::from_mins(1));
    let answered = cookies.answer(&[pair], vec![], &at(&LATER.side("2"), later));
    let lines: Vec<_> = answered.ours.iter().map(|line| line.to_str().unwrap()).collect();
    let same = "; Path=/; Secure; SameSite=None; Partitioned";
    assert_eq!(
        lines,
        [format!("__Host-s=\"a\"{same}; Max-Age=40"), format!("{name}={same}; Max-Age=0")]
    );
}

#[test]
fn what_there_is_no_room_for_becomes_stables_as_well() {
    let (cookies, side) = (cookies(Keeping::Overlay), SPLIT.side("2"));
    let set = |bytes: usize| vec![HeaderValue::try_from(login(&"x".repeat(bytes))).unwrap()];
    let answered = cookies.answer(&[], set(4_050), &at(&side, NOW));
    assert_eq!((answered.set, answered.dropped), (0, 1));
    assert!(answered.app[0].as_bytes().starts_with(b"s=x"));
    let asked = [HeaderValue::try_from(format!("other={}", "y".repeat(7_000))).unwrap()];
    let answered = cookies.answer(&asked, set(950), &at(&side, NOW));
    assert_eq!((answered.set, answered.dropped), (0, 1));
    let answered = cookies.answer(&asked, set(800), &at(&side, NOW));
    assert_eq!((answered.set, answered.dropped), (1, 0));
}

#[test]
fn a_logout_ends_the_sessions_of_all_others_also_without_room() {
    let (cookies, side) = (cookies(Keeping::Overlay), SPLIT.side("2"));
    let other = marked("s", "3");
    let asked = [HeaderValue::try_from(format!("s=a; {other}=b")).unwrap()];
    let set = vec![HeaderValue::try_from(login(&"x".repeat(4_050))).unwrap()];
    let answering = Answering { logs_out: true, ..at(&side, NOW) };
    let answered = cookies.answer(&asked, set, &answering);
    assert_eq!(answered.dropped, 1);
    assert!(answered.app[0].as_bytes().starts_with(b"s=x"), "stable's is written over");
    let ended = format!("{other}=;");
    assert!(answered.app[1..].iter().any(|line| line.as_bytes().starts_with(ended.as_bytes())));
}

#[test]
fn a_cookie_of_the_app_with_a_like_name_is_left_alone() {
    let (cookies, side) = (cookies(Keeping::Overlay), SPLIT.side("1"));
    for line in ["s~x=1; s~=2; ss=3; s~0123456g=4; S=5; a=s~01234567", "s=1; t=2"] {
        assert_eq!(cookies.request(&[HeaderValue::from_static(line)], &side), None, "{line}");
    }
    let strange = HeaderValue::from_static("a=1; s~01234567=not ours; b=2");
    assert_eq!(cookies.request(&[strange], &side).unwrap(), b"a=1; b=2");
}

/// What may happen to a browser and to the tier.
#[derive(Clone, Copy, Debug)]
enum Step {
    GraceEnds,
    Logout(&'static str),
    /// A logout that writes another session.
    Parting(&'static str),
    Promote,
    Rollback,
    Start,
    Visit(&'static str),
    Write(&'static str),
}

/// Version 1 and its successor 2, one browser, and what must hold in any order.
#[derive(Default)]
struct Story {
    tier: Tier,
    browser: Browser,
    /// Writes so far, and those that a logout has put an end to.
    writes: u32,
    over: u32,
}

impl Story {
    fn step(&mut self, cookies: &Cookies, step: Step) {
        let open = self.tier.canary.is_some();
        match step {
            Step::GraceEnds if self.tier.stable == "2" => self.tier = LATER,
            Step::Promote if open => self.tier = PROMOTED,
            Step::Rollback if open || self.tier.replaced.is_some() => self.tier = BEFORE,
            Step::Start if self.tier.stable == "1" => self.tier = SPLIT,
            Step::Visit(version) => self.ask(cookies, version, &[]),
            Step::Write(version) => {
                self.writes += 1;
                let written = self.writes;
                self.ask(cookies, version, &[&login(&format!("{version}.{written}"))]);
                if self.tier.serves(version) {
                    let read = self.browser.ask(cookies, &self.tier, version, &[]);
                    assert_eq!(
                        read,
                        Some(format!("{version}.{written}")),
                        "it reads what it wrote"
                    );
                }
            }
            Step::Logout(version) if self.tier.serves(version) => {
                self.ask(cookies, version, &["s=; Path=/; Max-Age=0"]);
                self.over = self.writes;
            }
            Step::Parting(version) if self.tier.serves(version) => {
                self.over = self.writes;
                self.writes += 1;
                self.browser.logs_out = true;
                let written = format!("{version}.{}", self.writes);
                self.browser.ask(cookies, &self.tier, version, &[&login(&written)]);
            }
            Step::GraceEnds
            | Step::Logout(_)
            | Step::Parting(_)
            | Step::Promote
            | Step::Rollback
            | Step::Start => {}
        }
    }

    fn ask(&mut self, cookies: &Cookies, version: &str, set: &[&str]) {
        if !self.tier.serves(version) {
            return;
        }
        let Some(read) = self.browser.ask(cookies, &self.tier, version, set) else { return };
        let (by, written) = read.split_once('.').unwrap();
        assert!(by <= version, "{version} reads what {by} has written");
        assert!(
            written.parse::<u32>().unwrap() > self.over,
            "{version} reads {read} after a logout"
        );
    }
}

impl Tier {
    fn serves(&self, version: &str) -> bool {
        self.stable == version || self.canary == Some(version)
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let version = || select(&["1", "2"][..]);
    let step = prop_oneof![
        1 => Just(Step::GraceEnds),
        2 => version().prop_map(Step::Logout),
        2 => version().prop_map(Step::Parting),
        2 => Just(Step::Promote),
        3 => Just(Step::Rollback),
        4 => Just(Step::Start),
        5 => version().prop_map(Step::Visit),
        5 => version().prop_map(Step::Write),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #[test]
    fn in_any_order_stable_reads_only_what_it_can_and_a_logout_ends_all(steps in steps()) {
        let cookies = cookies(Keeping::Overlay);
        let mut story = Story { tier: BEFORE, ..Story::default() };
        for step in steps {
            story.step(&cookies, step);
        }
        // At last nothing but the plain cookie is left.
        story.tier = if story.tier.stable == "2" { LATER } else { BEFORE };
        story.ask(&cookies, story.tier.stable, &[]);
        prop_assert!(story.browser.names().iter().all(|name| *name == "s"));
    }

    #[test]
    fn what_is_renamed_is_given_back(value in "[!-:<-~]{0,40}", path in "/[a-z/]{0,10}") {
        let cookies = cookies(Keeping::Overlay);
        let line = format!("s={value}; Path={path}");
        let set = vec![HeaderValue::from_str(&line).unwrap()];
        let answered = cookies.answer(&[], set, &at(&SPLIT.side("2"), NOW));
        let text = answered.app[0].to_str().unwrap();
        let pair = HeaderValue::from_str(text.split(';').next().unwrap()).unwrap();
        let read = cookies.request(std::slice::from_ref(&pair), &SPLIT.side("2")).unwrap();
        prop_assert_eq!(String::from_utf8(read).unwrap(), format!("s={value}"));
        let hidden = cookies.request(std::slice::from_ref(&pair), &SPLIT.side("1"));
        prop_assert_eq!(hidden, Some(vec![]));
        let back = cookies.answer(&[pair], vec![], &at(&LATER.side("2"), NOW));
        prop_assert_eq!(back.ours[0].to_str().unwrap(), line);
    }

    #[test]
    fn one_line_or_many_say_the_same(
        pairs in prop::collection::vec(select(&["a=1", "s=2", "s", "b=\"x y\"", "s~x=3", ""][..]), 0..6),
        marks in prop::collection::vec((0_usize..6, select(&["1", "2", "3"][..])), 0..3),
        version in select(&["1", "2"][..]),
    ) {
        let mut pairs: Vec<String> = pairs.into_iter().map(str::to_owned).collect();
        for (place, version) in marks {
            pairs.insert(place.min(pairs.len()), format!("{}=Path=/|v{version}", marked("s", version)));
        }
        let cookies = cookies(Keeping::Overlay);
        let whole = [HeaderValue::try_from(pairs.join("; ")).unwrap()];
        let split: Vec<_> = pairs.iter().map(|pair| HeaderValue::from_str(pair).unwrap()).collect();
        let side = SPLIT.side(version);
        prop_assert_eq!(cookies.request(&whole, &side), cookies.request(&split, &side));
        let answer = |lines: &[HeaderValue]| {
            let answered = cookies.answer(lines, vec![], &at(&side, NOW));
            (answered.app, answered.ours)
        };
        prop_assert_eq!(answer(&whole), answer(&split));
        // In another order each version still reads a value of its own, or stable's.
        let read = cookies.request(&whole, &side).unwrap_or_else(|| whole[0].as_bytes().to_vec());
        pairs.reverse();
        let other = [HeaderValue::try_from(pairs.join("; ")).unwrap()];
        let reversed = cookies.request(&other, &side).unwrap_or_else(|| other[0].as_bytes().to_vec());
        let sorted = |line: &[u8]| {
            let mut pairs: Vec<Vec<u8>> = line.split(|byte| *byte == b';')
                .map(|pair| pair.trim_ascii().to_vec()).filter(|pair| !pair.is_empty()).collect();
            pairs.sort();
            pairs
        };
        prop_assert_eq!(sorted(&read), sorted(&reversed));
    }

    #[test]
    fn no_cookie_is_too_strange(
        asked in prop::collection::vec("[ -~\\x80-\\xff\t]{0,30}", 0..3),
        set in prop::collection::vec("[ -~]{0,30}", 0..3),
        tail in "[=|!&%;~a-f0-9]{0,24}",
    ) {
        let mut lines: Vec<HeaderValue> =
            asked.iter().filter_map(|line| HeaderValue::from_bytes(line.as_bytes()).ok()).collect();
        lines.extend(HeaderValue::from_str(&format!("{}{tail}", marked("s", "2"))));
        let mut set: Vec<HeaderValue> =
            set.iter().filter_map(|line| HeaderValue::from_str(line).ok()).collect();
        set.extend(HeaderValue::from_str(&format!("s={tail}")));
        for keeping in [Keeping::Overlay, Keeping::Isolate] {
            for (tier, version) in [(&SPLIT, "1"), (&SPLIT, "2"), (&PROMOTED, "2")] {
                let (cookies, side) = (cookies(keeping), tier.side(version));
                let _ = cookies.request(&lines, &side);
                let _ = cookies.answer(&lines, set.clone(), &at(&side, NOW));
            }
        }
    }
}
