//! Two versions, and users who go from one to the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use super::{SOON, Scene, is_hit};
use crate::support::app::answer;

/// Opens a rollout; gives the header line of a user who is on the canary.
fn split(scene: &Scene, again: bool) -> String {
    let start = ["start", "web", "1.1.0", "--wait", "2m", "--again"];
    scene.program.say(&start[..if again { 6 } else { 5 }]);
    let user = |number: usize| format!("x-user: {number}\r\n");
    let is_there = |user: &String| scene.get("/who", user).text().contains("1.1.0");
    let since = Instant::now();
    loop {
        if let Some(user) = (0..50).map(user).find(is_there) {
            return user;
        }
        assert!(since.elapsed() < SOON, "nobody is on the canary");
    }
}

#[test]
fn each_version_has_its_own_answers_through_rollout_rollback_and_promotion() {
    let scene = Scene::pair(|version, _| answer(200, "cache-control: max-age=600\r\n", version));
    let served = |user: &str| scene.get("/", user).text();
    assert_eq!([served(""), served("")], ["1.0.0"; 2]);
    let user = split(&scene, false);
    assert_eq!([served(&user), served(&user)], ["1.1.0"; 2]);
    assert!(is_hit(&scene.get("/", &user)));
    scene.program.say(&["rollback", "web"]);
    assert_eq!(served(&user), "1.0.0", "at once, and from the cache");
    assert!(is_hit(&scene.get("/", &user)));
    let since = Instant::now();
    while scene.counted("entries", "1.1.0") > 0 {
        assert!(since.elapsed() < SOON, "what was rolled back leaves nothing behind");
        std::thread::sleep(Duration::from_millis(50));
    }
    let user = split(&scene, true);
    assert_eq!(served(&user), "1.1.0");
    scene.program.say(&["promote", "web", "--yes"]);
    assert_eq!(served(""), "1.1.0");
    assert!(is_hit(&scene.get("/", "")), "it stays warm");
    assert!(scene.counted("entries", "1.0.0") > 0, "for the way back");
    scene.program.say(&["rollback", "web"]);
    assert_eq!(served(""), "1.0.0");
}

#[test]
fn a_promotion_right_after_the_start_leaves_the_version_before_its_answers() {
    let scene = Scene::pair(|version, _| answer(200, "cache-control: max-age=600\r\n", version));
    scene.until("/", "", |answer| answer.text() == "1.0.0");
    scene.program.say(&["start", "web", "1.1.0", "--wait", "2m"]);
    scene.program.say(&["rollback", "web"]);
    let start = json!({"order": "start", "tier": "web", "version": "1.1.0", "again": true});
    for round in 0..10 {
        // Faster than anybody looks what was published.
        for order in [&start, &json!({"order": "promote", "tier": "web"})] {
            let answer = scene.program.order(order);
            assert_eq!(answer.status, 200, "{round}: {}", answer.text());
        }
        // Long enough that what is thrown away is gone.
        std::thread::sleep(Duration::from_millis(100));
        assert!(scene.counted("entries", "1.0.0") > 0, "{round}: for the way back");
        scene.program.say(&["rollback", "web"]);
        assert!(is_hit(&scene.get("/", "")), "{round}");
    }
}

#[test]
fn nobody_is_told_that_the_page_of_another_version_has_not_changed() {
    let scene = Scene::pair(|version, ask| {
        let lines = match ask.path.as_str() {
            "/dated" => "last-modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
            "/dynamic" => "etag: W/\"same\"\r\n",
            _ => "cache-control: max-age=600\r\netag: \"same\"\r\n",
        };
        let asks = ["if-none-match", "if-modified-since"].iter().any(|field| {
            ask.fields(field).iter().any(|text| text.contains("same") || text.contains("1994"))
        });
        if asks { answer(304, lines, "") } else { answer(200, lines, version) }
    });
    let paths = ["/kept", "/dynamic", "/dated"];
    // What a browser asks by that has had `answer`.
    let condition = |answer: &crate::support::client::Answer| {
        let tag = answer.field("etag").map(|tag| format!("if-none-match: {tag}\r\n"));
        let date = answer.field("last-modified");
        let date = date.map(|date| format!("if-modified-since: {date}\r\n"));
        [tag, date].into_iter().flatten().collect::<String>()
    };
    let first = paths.map(|path| condition(&scene.get(path, "")));
    assert_eq!(first[0], "if-none-match: \"same\"\r\n", "the first version's are left alone");
    for (path, condition) in paths.iter().zip(&first) {
        assert_eq!(scene.get(path, condition).status, 304, "{path} is the same");
    }
    let user = split(&scene, false);
    for (path, condition) in paths.iter().zip(&first) {
        let other = scene.get(path, &(user.clone() + condition));
        assert_eq!((other.status, other.text().as_str()), (200, "1.1.0"), "{path}");
    }
    let second = paths.map(|path| condition(&scene.get(path, &user)));
    assert!(second[1].starts_with("if-none-match: W/\"same;w="), "{}", second[1]);
    for (path, condition) in paths.iter().zip(&second) {
        let same = scene.get(path, &(user.clone() + condition));
        assert_eq!(same.status, 304, "{path}: {condition}{}", same.head);
        let tag = same.field("etag").unwrap();
        assert!(condition.contains(tag), "{tag} is the same as in {condition}");
    }
    scene.program.say(&["rollback", "web"]);
    for (path, condition) in paths.iter().zip(&second) {
        let back = scene.get(path, &(user.clone() + condition));
        assert_eq!((back.status, back.text().as_str()), (200, "1.0.0"), "{path}");
    }
    // The service never sees a mark.
    for app in &scene.apps {
        assert!(app.asked.lock().unwrap().iter().all(|ask| !ask.head.contains(";w=")));
    }
}

#[test]
fn what_one_version_changes_is_thrown_away_for_the_other() {
    let count = AtomicUsize::new(0);
    let scene = Scene::pair(move |version, _| {
        let body = format!("{version} {}", count.fetch_add(1, Ordering::SeqCst));
        answer(200, "cache-control: max-age=600\r\n", &body)
    });
    let before = scene.get("/", "").text();
    let user = split(&scene, false);
    let mut client = scene.client();
    client.send(&format!("POST / HTTP/1.1\r\nhost: app\r\ncontent-length: 0\r\n{user}\r\n"));
    client.answer("POST").unwrap();
    scene.program.say(&["rollback", "web"]);
    let after = scene.get("/", "").text();
    assert!(after.starts_with("1.0.0") && after != before, "{after}");
}

#[test]
fn what_is_said_to_caches_on_the_way_during_a_split_is_not_kept() {
    let scene = Scene::pair(|version, _| {
        answer(200, "cache-control: max-age=600\r\ncontent-type: text/html\r\n", version)
    });
    let user = split(&scene, false);
    for _ in 0..2 {
        let page = scene.get("/", &user);
        let said = page.field("cache-control").unwrap();
        assert!(said.contains("private"), "no CDN may mix versions: {said}");
    }
    assert!(is_hit(&scene.get("/", &user)), "Weir keeps them apart by itself");
    scene.program.say(&["promote", "web", "--yes"]);
    let page = scene.get("/", "");
    assert_eq!((is_hit(&page), page.field("cache-control")), (true, Some("max-age=600")));
}

/// Pages of the app.
const PAGES: u64 = 40;

#[test]
fn a_canary_that_fails_behind_a_warm_cache_is_rolled_back() {
    let broken = Arc::new(AtomicBool::new(false));
    let is_broken = Arc::clone(&broken);
    let scene = Scene::pair(move |version, _| {
        if version == "1.1.0" && is_broken.load(Ordering::SeqCst) {
            return answer(500, "", "broken");
        }
        let lines = "cache-control: max-age=1, stale-while-revalidate=600, stale-if-error=600\r\n";
        answer(200, lines, version)
    });
    scene.program.say(&["start", "web", "1.1.0", "--wait", "2m"]);
    let mut client = scene.client();
    let mut visit = |round: usize| {
        for page in 0..PAGES {
            let user = format!("x-user: {round}-{page}\r\n");
            let got = client.get(&format!("/{page}"), &user);
            assert_eq!(got.status, 200, "users see no error: {}", got.head);
        }
    };
    let mut round = 0;
    while scene.counted("entries", "1.1.0") < PAGES {
        visit(round);
        round += 1;
    }
    broken.store(true, Ordering::SeqCst);
    let since = Instant::now();
    loop {
        let status = scene.program.status();
        let open = status["tiers"][0]["rollout"] != Json::Null;
        if !open {
            break;
        }
        assert!(since.elapsed() < SOON * 4, "{status:#}");
        visit(round);
        round += 1;
    }
    let log = scene.program.say(&["log"]);
    assert!(log.contains("rolled back"), "{log}");
    assert!(scene.counted("stale", "1.1.0") > 0, "users were spared by the cache");
}
