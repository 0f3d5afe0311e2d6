use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::*;
use crate::namespace::http::freshness::Policy;
use crate::namespace::http::key;

fn head(lines: &[(&str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| {
        (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
    };
    lines.iter().map(pair).collect()
}

fn cache(size: u64, object: u64) -> Arc<HttpCache> {
    let caching = Caching {
        size,
        object,
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::ZERO,
        forwarded: Vec::new(),
    };
    Arc::new(HttpCache::new("web".parse().unwrap(), caching))
}

/// One version's part of a cache, and what asks it.
struct Scene {
    cache: Arc<HttpCache>,
    space: Arc<Space>,
}

impl Scene {
    fn new(cache: &Arc<HttpCache>, version: &str) -> Self {
        let space = cache.space(&version.parse().unwrap(), version);
        Self { cache: Arc::clone(cache), space }
    }

    fn key(&self, path: &str) -> Key {
        let url = format!("http://app.example{path}").into();
        Key { namespace: Arc::clone(&self.space.namespace), url }
    }

    fn begin(&self, path: &str, request: &HeaderMap, answer: &HeaderMap) -> (Writer, Reader) {
        let ticket = self.cache.ticket(&self.key(path));
        let vary = key::vary(answer).unwrap();
        let variant = key::variant(&vary, request);
        let policy = Policy { lifetime: Duration::from_mins(1), ..Policy::default() };
        let (status, since) = (StatusCode::OK, Instant::now());
        let head = Head { status, fields: answer.clone(), policy, vary, variant, since };
        self.cache.fill(&self.space, ticket, head)
    }

    fn keep(&self, path: &str, request: &HeaderMap, answer: &HeaderMap, body: &[u8]) -> bool {
        let (writer, _) = self.begin(path, request, answer);
        writer.write(body);
        writer.finish()
    }

    fn keep_plain(&self, path: &str, body: &[u8]) -> bool {
        self.keep(path, &HeaderMap::new(), &HeaderMap::new(), body)
    }

    fn find(&self, path: &str, request: &HeaderMap) -> Option<Vec<u8>> {
        let kept = self.cache.find(&self.key(path), request)?;
        let length = kept.length();
        Some(read(&mut Reading::of(kept, 0..length)).unwrap())
    }

    fn find_plain(&self, path: &str) -> Option<Vec<u8>> {
        self.find(path, &HeaderMap::new())
    }
}

/// All that there is to read by now.
fn read(reading: &mut Reading) -> Result<Vec<u8>, Vec<u8>> {
    let mut all = Vec::new();
    loop {
        match reading.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Some(Ok(piece))) => all.extend(piece),
            Poll::Ready(None) => return Ok(all),
            Poll::Ready(Some(Err(_))) | Poll::Pending => return Err(all),
        }
    }
}

#[test]
fn an_answer_is_found_by_its_version_its_url_and_what_it_varies_by() {
    let cache = cache(1 << 20, 1 << 16);
    let [one, two] = ["1.0.0", "1.1.0"].map(|version| Scene::new(&cache, version));
    let (german, english) = (head(&[("lang", "de")]), head(&[("lang", "en")]));
    let varies = head(&[("vary", "lang")]);
    one.keep("/a", &german, &varies, b"hallo");
    assert_eq!(one.find("/a", &english), None);
    one.keep("/a", &english, &varies, b"hello");
    assert_eq!(one.find("/a", &german).unwrap(), b"hallo");
    assert_eq!(one.find("/a", &english).unwrap(), b"hello");
    assert_eq!(two.find("/a", &german), None);
    assert_eq!(one.find("/b", &german), None);
    one.keep("/a", &german, &varies, b"moin");
    assert_eq!(one.find("/a", &german).unwrap(), b"moin");
    assert_eq!(one.space.counts.entries.load(std::sync::atomic::Ordering::Relaxed), 2);
}

#[test]
fn what_was_used_longest_ago_makes_room_and_nothing_is_over_the_limit() {
    let cache = cache(64 << 10, 16 << 10);
    let scene = Scene::new(&cache, "1");
    for number in 0..50 {
        assert!(scene.keep_plain(&format!("/{number}"), &[7; 10_000]));
        assert!(scene.find_plain("/0").is_some(), "it is in use");
        assert!(!cache.budget.has_room(64 << 10) && cache.budget.has_room(0), "{number}");
    }
    assert!(scene.find_plain("/1").is_none() && scene.find_plain("/49").is_some());
    scene.cache.becomes(&Caching { size: 0, ..cache.caching() });
    assert!(scene.find_plain("/0").is_none());
    assert_eq!(scene.space.counts.bytes.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[test]
fn a_long_url_counts_as_what_it_takes() {
    let cache = cache(1 << 20, 1 << 16);
    let scene = Scene::new(&cache, "1");
    for number in 0..50 {
        assert!(scene.keep_plain(&format!("/{}{number}", "x".repeat(60_000)), b""));
    }
    let entries = scene.space.counts.entries.load(std::sync::atomic::Ordering::Relaxed);
    assert!((10..=17).contains(&entries), "{entries}");
}

#[test]
fn what_a_client_still_reads_counts_although_it_was_thrown_away() {
    let cache = cache(40 << 10, 30 << 10);
    let scene = Scene::new(&cache, "1");
    scene.keep_plain("/a", &vec![1; 25_000]);
    let read_on = cache.find(&scene.key("/a"), &HeaderMap::new());
    assert!(!scene.keep_plain("/b", &vec![2; 25_000]), "there is no room beside it");
    assert!(scene.find_plain("/a").is_none());
    drop(read_on);
    assert!(scene.keep_plain("/b", &vec![2; 25_000]));
}

#[test]
fn a_cache_gives_way_when_memory_is_short_and_stays_smaller() {
    let caches = HttpCaches::default();
    let cache = cache(1 << 20, 1 << 16);
    caches.known().caches.insert("web".parse().unwrap(), Arc::clone(&cache));
    let scene = Scene::new(&cache, "1");
    for number in 0..10 {
        assert!(scene.keep_plain(&format!("/{number}"), &[7; 10_000]));
    }
    let before = cache.budget.used();
    caches.give_way();
    assert!(cache.budget.used() <= before / 8 * 7 && scene.find_plain("/0").is_none());
    assert!(scene.find_plain("/9").is_some(), "what was used last stays");
    assert!(caches.entries()[0].size < before, "it does not grow again");
    cache.becomes(&Caching { size: 1 << 21, ..cache.caching() });
    assert_eq!(caches.entries()[0].size, 1 << 21, "until the file says so");
}

#[test]
fn readers_have_their_own_pace_and_what_is_too_large_is_not_kept() {
    let cache = cache(1 << 20, 10_000);
    let scene = Scene::new(&cache, "1");
    let (writer, reader) = scene.begin("/", &HeaderMap::new(), &HeaderMap::new());
    let mut first = Reading::Coming(reader);
    writer.write(&[1; 6_000]);
    assert_eq!(read(&mut first).unwrap_err().len(), 6_000);
    let mut second = Reading::Coming(writer.fill().read().unwrap());
    writer.write(&[2; 6_000]);
    assert!(writer.fill().read().is_none(), "its beginning is about to be let go");
    assert_eq!(read(&mut first).unwrap_err().len(), 6_000);
    assert_eq!(read(&mut second).unwrap_err().len(), 12_000);
    assert!(!writer.finish());
    assert_eq!((read(&mut first), read(&mut second)), (Ok(vec![]), Ok(vec![])));
    assert!(scene.find_plain("/").is_none() && cache.budget.has_room((1 << 20) - 4_096));
}

#[test]
fn an_answer_that_is_broken_off_is_not_kept() {
    let cache = cache(1 << 20, 10_000);
    let scene = Scene::new(&cache, "1");
    let (writer, reader) = scene.begin("/", &HeaderMap::new(), &HeaderMap::new());
    writer.write(b"half");
    drop(writer);
    assert_eq!(read(&mut Reading::Coming(reader)), Err(b"half".to_vec()));
    assert!(scene.find_plain("/").is_none() && cache.budget.has_room(1 << 20));
}

#[test]
fn a_purge_concerns_all_versions_and_what_is_on_its_way() {
    let cache = cache(1 << 20, 10_000);
    let [one, two] = ["1", "2"].map(|version| Scene::new(&cache, version));
    let tagged = head(&[("cache-tag", "news, page")]);
    let fill = || {
        for scene in [&one, &two] {
            scene.keep("/a", &HeaderMap::new(), &tagged, b"a");
            scene.keep_plain("/b", b"b");
        }
    };
    fill();
    let (writer, _) = one.begin("/a", &HeaderMap::new(), &tagged);
    assert_eq!(cache.purge(&Purge::Url("https://app.example/a".into())), 2);
    writer.finish();
    assert!(one.find_plain("/a").is_none(), "it was asked for before the purge");
    fill();
    assert_eq!(cache.purge(&Purge::Tag("news".into())), 2);
    assert!(one.find_plain("/a").is_none() && one.find_plain("/b").is_some());
    fill();
    assert_eq!(cache.purge(&Purge::Namespace("1".into())), 2);
    assert!(one.find_plain("/b").is_none() && two.find_plain("/b").is_some());
}

#[test]
fn one_asks_and_the_others_wait_for_the_same() {
    let cache = cache(1 << 20, 10_000);
    let scene = Scene::new(&cache, "1");
    let key = scene.key("/");
    let german = head(&[("lang", "de")]);
    let Seat::Lead(lead) = cache.join(&key, &german) else { panic!("nobody asks yet") };
    assert!(matches!(cache.join(&key, &HeaderMap::new()), Seat::Wait(_)));
    let (writer, _) = scene.begin("/", &german, &head(&[("vary", "lang")]));
    lead.comes(writer.fill());
    assert!(matches!(cache.join(&key, &german), Seat::Wait(_)));
    let other = cache.join(&key, &head(&[("lang", "en")]));
    assert!(matches!(other, Seat::Lead(_)), "another variant is asked for at once");
    drop(lead);
    assert!(matches!(cache.join(&key, &german), Seat::Lead(_)));
}

#[test]
fn who_lost_its_users_loses_its_answers_and_who_was_promoted_over_keeps_them() {
    let version = |text: &str| text.parse::<Version>().unwrap();
    let served = |stable: &str, canary: Option<&str>| Served {
        stable: version(stable),
        canary: canary.map(version),
    };
    let open = served("1", Some("2"));
    assert_eq!(open.lost(&served("1", None)), [version("2")], "a roll back");
    assert_eq!(open.lost(&served("2", None)), [], "a promotion");
    assert_eq!(served("2", None).lost(&served("1", None)), [version("2")], "and back");
    assert_eq!(open.lost(&open), []);
}
