//! What is kept, and what of it a client gets.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Scene, is_hit, status};
use crate::support::app::{App, Ask, answer};
use crate::support::http2_client::{self, run};

#[test]
fn nothing_is_kept_unless_the_tier_asks_for_it() {
    let scene = Scene::start(|_| answer(200, "cache-control: max-age=60\r\n", "page"));
    let without = scene.file.replace("cache = { size = \"64MiB\" }\n", "");
    scene.program.write_file(&without);
    scene.program.say(&["reload"]);
    for _ in 0..2 {
        assert_eq!(scene.get("/", "").field("cache-status"), None);
    }
    assert_eq!(scene.apps[0].count("/"), 2);
    scene.program.write_file(&scene.file);
    scene.program.say(&["reload"]);
    scene.get("/", "");
    assert!(is_hit(&scene.get("/", "")));
    assert_eq!(scene.apps[0].count("/"), 3);
}

#[test]
fn an_answer_is_kept_and_says_how_old_it_is_and_where_it_comes_from() {
    let scene =
        Scene::start(|_| answer(200, "cache-control: max-age=60\r\nage: 7\r\nx-a: 1\r\n", "page"));
    let first = scene.get("/a?b", "");
    assert_eq!(status(&first), "weir; fwd=miss; fwd-status=200; stored");
    let second = scene.get("/a?b", "");
    assert!(status(&second).starts_with("weir; hit; ttl=5"), "{}", second.head);
    let age: u64 = second.field("age").unwrap().parse().unwrap();
    assert!((7..40).contains(&age), "{age}");
    assert_eq!((second.text().as_str(), second.field("x-a")), ("page", Some("1")));
    assert_eq!(second.field("content-length"), Some("4"));
    let mut client = scene.client();
    client.send("HEAD /a?b HTTP/1.1\r\nhost: app\r\n\r\n");
    let head = client.answer("HEAD").unwrap();
    assert!(is_hit(&head) && head.field("content-length") == Some("4"), "{}", head.head);
    assert!(is_hit(&client.get("/a?b", "")), "the connection goes on");
    assert!(!is_hit(&scene.get("/a?c", "")) && !is_hit(&scene.get("/a", "")));
    assert_eq!(scene.apps[0].count("/a?b"), 1);
}

#[test]
fn a_client_of_http2_gets_the_same() {
    let body = "x".repeat(100_000);
    let scene = Scene::start(move |_| answer(200, "cache-control: max-age=60\r\n", &body));
    scene.get("/", "");
    run(async {
        let client = http2_client::Client::to(scene.address).await;
        let got = client.get("/", &[]).await;
        assert_eq!((got.status, got.body.len()), (200, 100_000));
        let said = got.field("cache-status").unwrap_or_default().to_owned();
        assert!(said.starts_with("weir; hit"), "{said}");
    });
    assert_eq!(scene.apps[0].count("/"), 1);
}

#[test]
fn what_is_for_one_user_is_never_given_to_another() {
    let count = AtomicUsize::new(0);
    let scene = Scene::start(move |ask| {
        let lines = match ask.path.as_str() {
            "/cookie" => "cache-control: public, max-age=60\r\nset-cookie: id=1\r\n",
            "/public" => "cache-control: public, max-age=60\r\n",
            _ => "cache-control: max-age=60\r\n",
        };
        answer(200, lines, &count.fetch_add(1, Ordering::SeqCst).to_string())
    });
    let differ = |path: &str, first: &str, second: &str| {
        let (first, second) = (scene.get(path, first), scene.get(path, second));
        assert_ne!(first.body, second.body, "{path}: {}", second.head);
        first
    };
    let (ann, bob) = ("authorization: Basic ann\r\n", "authorization: Basic bob\r\n");
    differ("/a", ann, bob);
    differ("/a", ann, "");
    differ("/b", "", ann);
    differ("/c", "cookie: id=ann\r\n", "cookie: id=bob\r\n");
    let set = differ("/cookie", "", "");
    assert_eq!(set.field("set-cookie"), Some("id=1"), "who asked gets it");
    let same = |path: &str, first: &str, second: &str| {
        assert_eq!(scene.get(path, first).body, scene.get(path, second).body, "{path}");
    };
    same("/public", ann, "cookie: id=bob\r\n");
    same("/d", "", "cookie: id=bob\r\n");
    same("/e", "cookie: weir=0123456789abcdef0123456789abcdef\r\n", "");
}

#[test]
fn what_one_user_gets_takes_nothing_from_the_others() {
    let scene = Scene::start(|ask| match ask.fields("x-status").first() {
        Some(status) => answer(status.parse().unwrap(), "", "not you"),
        None => answer(200, "cache-control: max-age=60\r\n", "page"),
    });
    scene.get("/", "");
    let no_cache = "cache-control: no-cache\r\n";
    for lines in ["authorization: Basic ann", "cookie: id=ann", "x-status: 403", "x-status: 429"] {
        let own = scene.get("/", &format!("{lines}\r\n{no_cache}"));
        assert!(!is_hit(&own), "{}", own.head);
        assert!(is_hit(&scene.get("/", "")), "{lines}");
    }
}

#[test]
fn what_a_proxy_says_that_no_answer_is_found_by_passes_by_the_cache() {
    let scene = Scene::start(|ask| {
        let hosts = ask.fields("x-forwarded-host").join(",");
        answer(200, "cache-control: max-age=60\r\n", &hosts)
    });
    let shop = "x-forwarded-host: shop\r\n";
    let passes = || {
        for lines in [
            "x-forwarded-host: evil\r\n",
            "x-forwarded-port: 81\r\n",
            "x-forwarded-prefix: /evil\r\n",
            "x-forwarded-server: evil\r\n",
            "forwarded: host=evil\r\n",
            "x-forwarded-proto: http, https\r\n",
        ] {
            let got = scene.get("/", &format!("{shop}{lines}"));
            assert_eq!(status(&got), "weir; fwd=bypass", "{lines}");
        }
        let list = scene.get("/", "x-forwarded-host: shop, evil\r\n");
        assert_eq!(status(&list), "weir; fwd=bypass");
    };
    passes();
    assert!(!is_hit(&scene.get("/", shop)), "nothing of that was kept");
    let kept = scene.get("/", shop);
    assert!(is_hit(&kept) && kept.text() == "shop", "{}", kept.head);
    passes();
    for (proto, hit) in [("HTTPS", false), ("https", true)] {
        let got = scene.get("/", &format!("{shop}x-forwarded-proto: {proto}\r\n"));
        assert_eq!(is_hit(&got), hit, "{proto}");
    }
}

#[test]
fn answers_are_told_apart_by_what_they_vary_by() {
    let scene = Scene::start(|ask| {
        let language = ask.fields("accept-language").join(",");
        answer(200, "cache-control: max-age=60\r\nvary: Accept-Language\r\n", &language)
    });
    for _ in 0..2 {
        for language in ["de", "en, fr", ""] {
            let got = scene.get("/", &format!("accept-language: {language}\r\n"));
            assert_eq!(got.text(), language);
        }
    }
    assert_eq!(scene.apps[0].count("/"), 3);
    assert!(is_hit(&scene.get("/", "accept-language: EN,fr\r\n")), "it means the same");
}

#[test]
fn parts_are_cut_out_of_what_is_kept() {
    let body: String = ('a'..='z').cycle().take(10_000).collect();
    let whole = body.clone();
    let scene = Scene::start(move |_| {
        answer(200, "cache-control: max-age=60\r\netag: \"one\"\r\n", &whole)
    });
    scene.get("/", "");
    let part = |lines: &str| scene.get("/", lines);
    let got = part("range: bytes=100-199\r\n");
    assert_eq!((got.status, got.text().as_str()), (206, &body[100..200]));
    assert_eq!(got.field("content-range"), Some("bytes 100-199/10000"));
    assert_eq!(part("range: bytes=-7\r\nif-range: \"one\"\r\n").text(), &body[9_993..]);
    let other = part("range: bytes=-7\r\nif-range: \"two\"\r\n");
    assert_eq!((other.status, other.text()), (200, body.clone()));
    let beyond = part("range: bytes=10000-\r\n");
    assert_eq!((beyond.status, beyond.field("content-range")), (416, Some("bytes */10000")));
    assert_eq!(part("range: bytes=0-1,5-6\r\n").text(), body);
    assert_eq!(scene.apps[0].count("/"), 1);
}

#[test]
fn a_part_of_what_is_not_kept_is_asked_for_and_not_taken_for_the_whole() {
    let scene = Scene::start(|ask| match ask.fields("range").first() {
        Some(_) => answer(206, "cache-control: max-age=60\r\ncontent-range: bytes 0-1/4\r\n", "pa"),
        None => answer(200, "cache-control: max-age=60\r\n", "page"),
    });
    assert_eq!(scene.get("/", "range: bytes=0-1\r\n").text(), "pa");
    assert_eq!(scene.get("/", "").text(), "page");
    assert_eq!(scene.get("/", "range: bytes=0-1\r\n").text(), "pa");
    assert_eq!(scene.apps[0].count("/"), 2);
}

#[test]
fn what_changes_something_throws_away_what_it_changes() {
    let count = AtomicUsize::new(0);
    let scene = Scene::start(move |ask| {
        let body = count.fetch_add(1, Ordering::SeqCst).to_string();
        match (ask.method.as_str(), ask.path.as_str()) {
            ("GET", _) => answer(200, "cache-control: max-age=60\r\n", &body),
            (_, "/fails") => answer(500, "", &body),
            _ => {
                let lines = "location: /list\r\ncontent-location: http://app/item\r\n";
                answer(201, lines, &body)
            }
        }
    });
    let paths = ["/fails", "/list", "/item", "/other"];
    let before = paths.map(|path| scene.get(path, "").text());
    for path in ["/fails", "/post"] {
        let mut client = scene.client();
        client.send(&format!("POST {path} HTTP/1.1\r\nhost: app\r\ncontent-length: 0\r\n\r\n"));
        client.answer("POST").unwrap();
    }
    let same = std::array::from_fn(|place| scene.get(paths[place], "").text() == before[place]);
    assert_eq!(same, [true, false, false, true]);
}

#[test]
fn memory_stays_within_the_limit_and_what_was_used_last_stays() {
    let app = App::start(|_| answer(200, "cache-control: max-age=600\r\n", &"x".repeat(50_000)));
    let scene = Scene::with("size = \"1MiB\"", vec![app]);
    let mut client = scene.client();
    for number in 0..100 {
        client.get(&format!("/{number}"), "");
        client.get("/0", "");
        if number % 20 == 19 {
            let bytes = scene.counted("bytes", "1.0.0");
            assert!((800_000..=1 << 20).contains(&bytes), "{bytes}");
        }
    }
    assert_eq!(scene.apps[0].count("/0"), 1, "it is in use");
    assert!(scene.counted("entries", "1.0.0") < 21);
    assert!(is_hit(&client.get("/99", "")) && !is_hit(&client.get("/1", "")));
}

#[test]
fn a_cache_that_is_too_large_for_the_machine_gives_way_to_users() {
    if crate::support::quick::is_quick("a machine without memory") {
        return;
    }
    let page = "x".repeat(4 << 20);
    let scene = Scene::start(move |_| answer(200, "cache-control: max-age=600\r\n", &page));
    let file = scene.file.replace("64MiB", "1GiB");
    let file = format!("{file}[proxy]\nmemory = \"160MiB\"\n");
    let (mut scene, file) = (scene, file);
    scene.program.write_file(&file);
    scene.program.restart();
    for number in 0..100 {
        scene.until(&format!("/{number}"), "", |answer| answer.status == 200);
    }
    assert!(scene.counted("size", "1.0.0") < 160 << 20, "it has learned");
}

#[test]
fn what_the_file_names_of_a_proxy_is_kept_for_those_who_came_the_same_way() {
    let serve = |ask: &Ask| {
        let said = ["x-forwarded-port", "forwarded"].map(|name| ask.fields(name).join(","));
        answer(200, "cache-control: max-age=60\r\n", &said.join(" "))
    };
    let cache = "size = \"64MiB\", forwarded = [\"X-Forwarded-Port\", \"Forwarded\"]";
    let scene = Scene::with(cache, vec![App::start(serve)]);
    let good = "x-forwarded-port: 443\r\nforwarded: for=192.0.2.1;host=shop\r\n";
    assert!(!is_hit(&scene.get("/", good)));
    for evil in [
        "x-forwarded-port: 81\r\nforwarded: for=192.0.2.1;host=shop\r\n",
        "x-forwarded-port: 443\r\nx-forwarded-port: 81\r\nforwarded: host=shop\r\n",
        "x-forwarded-port: 443\r\nforwarded: for=192.0.2.1;host=evil\r\n",
        "x-forwarded-port: 443\r\nforwarded: for=\"x;host=evil\";host=shop\r\n",
        "x-forwarded-port: 443\r\n",
        "",
    ] {
        assert!(!is_hit(&scene.get("/", evil)), "{evil}");
    }
    let others = good.replace("192.0.2.1", "192.0.2.7");
    let kept = scene.get("/", &others);
    assert!(is_hit(&kept), "{}", kept.head);
    assert_eq!(kept.text(), "443 for=192.0.2.1;host=shop");
    let prefix = scene.get("/", &format!("{good}x-forwarded-prefix: /evil\r\n"));
    assert_eq!(status(&prefix), "weir; fwd=bypass", "it is not named");
    // All of them go when the URL is thrown away, however clients came.
    let purged = scene.program.say(&["cache", "purge", "http://app/"]);
    assert_eq!(purged, "7 answers thrown away\n");
    // And when answers differ by something else from now on.
    assert!(!is_hit(&scene.get("/", good)) && is_hit(&scene.get("/", good)));
    scene.program.write_file(&scene.file.replace(", \"Forwarded\"]", ", \"X-Forwarded-Prefix\"]"));
    scene.program.say(&["reload"]);
    let fewer = "x-forwarded-port: 443\r\nx-forwarded-prefix: /a\r\n";
    assert!(!is_hit(&scene.get("/", fewer)) && is_hit(&scene.get("/", fewer)));
    assert_eq!(status(&scene.get("/", good)), "weir; fwd=bypass");
}
