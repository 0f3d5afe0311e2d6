//! One site on two versions of Django that clash: on one cache, and each on its own part of it.
//!
//! What Django 3.2 caches may hold a date with a zone of pytz, which 5.2 does not have; what 5.2
//! caches may hold a query, of which 3.2 knows other attributes.

mod scene;

use std::path::Path;

use scene::{Browser, Server, Sessions, Site, python};

/// Browsers of so many users, each known to the site: with fewer, chance may put all on one version.
const USERS: usize = 16;

#[test]
fn on_one_cache_the_versions_meet_each_other_with_errors() {
    let Some(python) = python("django::on_one_cache") else { return };
    let site = Site::start(&python, Server::redis(), Sessions::Cache, false);
    let (old, new) = (site.old.browser(), site.new.browser());
    // What 3.2 writes, 5.2 cannot read.
    assert_eq!(old.get("/reader/1"), (200, "reader since 2026".to_owned()));
    assert_eq!(new.get("/reader/1").0, 500);
    // And the other way round.
    assert_eq!(new.get("/shelves"), (200, "shelf 0, shelf 1, shelf 2".to_owned()));
    assert_eq!(old.get("/shelves").0, 500);
    // A session is lost without a word, also for the version that has written it.
    assert_eq!(old.enter("user-1"), 200);
    assert_eq!(old.get("/me").1, "user-1 True");
    let moved = site.new.browser_with(&old);
    assert_eq!(moved.get("/me"), (200, "nobody False".to_owned()));
    // So is a rollout: who comes to the canary gets errors.
    site.say(&["start", "web", "5.2", "--wait", "60s"]);
    let browsers: Vec<Browser> = (0..USERS).map(|user| site.browser(user)).collect();
    let failed = browsers.iter().filter(|browser| browser.get("/reader/1").0 == 500).count();
    assert!(failed > 0 && failed < USERS, "{failed} of {USERS}");
}

#[test]
fn on_one_memcached_they_lose_what_they_have_cached() {
    let Some(python) = python("django::on_one_memcached") else { return };
    let site = Site::start(&python, Server::memcached(), Sessions::Cache, false);
    let (old, new) = (site.old.browser(), site.new.browser());
    // The client of memcached takes what it cannot read for what is not there.
    assert_eq!(old.enter("user-1"), 200);
    assert_eq!(old.get("/me").1, "user-1 True");
    assert_eq!(site.new.browser_with(&old).get("/me"), (200, "nobody False".to_owned()));
    // What it can read and not use is an error nevertheless.
    assert_eq!(new.get("/shelves").0, 200);
    assert_eq!(old.get("/shelves").0, 500);
}

#[test]
fn each_on_its_own_part_of_a_redis_they_do_not_notice_each_other() {
    let Some(python) = python("django::each_on_its_own_part_of_a_redis") else { return };
    rolls_out_and_back(&python, Server::redis());
}

#[test]
fn each_on_its_own_part_of_a_memcached_they_do_not_notice_each_other() {
    let Some(python) = python("django::each_on_its_own_part_of_a_memcached") else { return };
    rolls_out_and_back(&python, Server::memcached());
}

/// A whole rollout, on parts of `server` that are apart.
fn rolls_out_and_back(python: &Path, server: Server) {
    let site = Site::start(python, server, Sessions::Database, true);
    let browsers: Vec<Browser> = (0..USERS).map(|user| site.browser(user)).collect();
    for (user, browser) in browsers.iter().enumerate() {
        assert_eq!(browser.enter(&format!("user-{user}")), 200);
    }
    let mut versions = visit(&browsers, "on 3.2");
    assert_eq!(versions, [USERS, 0]);
    site.say(&["start", "web", "5.2", "--wait", "60s"]);
    for step in ["at 50 %", "at 50 % again"] {
        versions = visit(&browsers, step);
        assert!(versions[0] > 0 && versions[1] > 0, "{step}: {versions:?}");
    }
    // What one version changes and deletes, the other reads anew.
    rename(&browsers, "changed");
    // Whoever logs out and in again does so on either version.
    for (user, browser) in browsers.iter().enumerate() {
        assert_eq!(browser.get("/logout").1, "goodbye");
        assert_eq!(browser.get("/me").1, "nobody False");
        assert_eq!(browser.enter(&format!("user-{user}")), 200);
    }
    visit(&browsers, "after a logout");
    site.say(&["promote", "web", "--yes"]);
    assert_eq!(visit(&browsers, "promoted"), [0, USERS]);
    rename(&browsers, "promoted");
    site.say(&["rollback"]);
    assert_eq!(visit(&browsers, "back on 3.2"), [USERS, 0]);
    rename(&browsers, "back");
    assert_eq!(site.errors(), 0, "nobody has seen one");
    let hits = site.hits();
    assert!(hits.iter().all(|hits| *hits > USERS as u64), "both used the cache: {hits:?}");
}

/// Every page by every browser; how many are on each version.
fn visit(browsers: &[Browser<'_>], when: &str) -> [usize; 2] {
    let mut versions = [0, 0];
    for (user, browser) in browsers.iter().enumerate() {
        let name = format!("user-{user}");
        assert_eq!(browser.get("/me"), (200, format!("{name} True")), "{when}");
        assert_eq!(browser.get("/"), (200, "welcome".to_owned()), "{when}, {name}");
        let shelves = (200, "shelf 0, shelf 1, shelf 2".to_owned());
        assert_eq!(browser.get("/shelves"), shelves, "{when}, {name}");
        for number in 0..3 {
            let (status, text) = browser.get(&format!("/reader/{number}"));
            assert!(
                status == 200 && text.ends_with("since 2026"),
                "{when}, {name}: {status} {text}"
            );
        }
        versions[usize::from(browser.version() == "5.2")] += 1;
    }
    versions
}

/// The first browser of each version renames a reader; all see the new name.
fn rename(browsers: &[Browser<'_>], name: &str) {
    for version in ["3.2", "5.2"] {
        let Some(browser) = browsers.iter().find(|browser| browser.version() == version) else {
            continue;
        };
        let name = format!("{name} by {version}");
        assert_eq!(browser.post("/rename/1", &format!("name={name}")), 200);
        for browser in browsers {
            browser.sees("/reader/1", &format!("{name} since 2026"));
        }
    }
}
