//! Many who want the same at once.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::time::{Duration, Instant};

use super::{SOON, Scene, is_hit, raw, weir};
use crate::support::app::answer;
use crate::support::client::{Answer, Client};

/// How many.
const MANY: usize = 100;

/// What `MANY` clients get who ask at once; `lines` are further fields of each.
fn crowd(scene: &Scene, path: &str, lines: impl Fn(usize) -> String + Sync) -> Vec<Answer> {
    let barrier = Barrier::new(MANY);
    let ask = |number: usize| {
        let mut client = scene.client();
        barrier.wait();
        client.get(path, &lines(number))
    };
    let ask = &ask;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..MANY).map(|number| scope.spawn(move || ask(number))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn a_hundred_who_miss_at_once_cost_one_request() {
    let scene = Scene::start(|_| {
        std::thread::sleep(Duration::from_millis(500));
        answer(200, "cache-control: max-age=60\r\n", &"page".repeat(10_000))
    });
    let answers = crowd(&scene, "/", |_| String::new());
    assert!(answers.iter().all(|answer| answer.body.len() == 40_000));
    assert_eq!(scene.apps[0].count("/"), 1);
    let hits = ["collapsed", "hits"].map(|name| scene.counted(name, "1.0.0"));
    assert_eq!(hits.iter().sum::<u64>(), MANY as u64 - 1);
}

#[test]
fn who_asks_for_different_variants_waits_for_its_own_only() {
    let scene = Scene::start(|ask| {
        std::thread::sleep(Duration::from_millis(300));
        let lines = "cache-control: max-age=60\r\nvary: x-lang\r\n";
        answer(200, lines, &ask.fields("x-lang").join(","))
    });
    let language = |number: usize| ["de", "en", "fr"][number % 3];
    let answers = crowd(&scene, "/", |number| format!("x-lang: {}\r\n", language(number)));
    for (number, answer) in answers.iter().enumerate() {
        assert_eq!(answer.text(), language(number));
    }
    assert_eq!(scene.apps[0].count("/"), 3);
}

#[test]
fn what_is_not_kept_is_not_asked_for_one_after_the_other() {
    let (busy, most) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let scene = Scene::start(move |_| {
        let now = busy.fetch_add(1, Ordering::SeqCst) + 1;
        seen.fetch_max(now, Ordering::SeqCst);
        std::thread::sleep(Duration::from_secs(2));
        busy.fetch_sub(1, Ordering::SeqCst);
        answer(200, "cache-control: no-store\r\n", &now.to_string())
    });
    crowd(&scene, "/", |_| String::new());
    assert_eq!(scene.apps[0].count("/"), MANY);
    // The first time one was waited for; now it is known, and nobody waits.
    assert!(most.swap(0, Ordering::SeqCst) > MANY / 4);
    crowd(&scene, "/", |_| String::new());
    assert!(most.load(Ordering::SeqCst) > MANY / 4);
}

#[test]
fn nobody_waits_for_an_answer_that_may_be_for_another_user() {
    let scene = Scene::start(|ask| {
        std::thread::sleep(Duration::from_millis(300));
        let user = [ask.fields("authorization"), ask.fields("cookie")].concat().join("");
        answer(200, "cache-control: max-age=60\r\n", &user)
    });
    for field in ["authorization", "cookie"] {
        let answers =
            crowd(&scene, &format!("/{field}"), |number| format!("{field}: u={number}\r\n"));
        for (number, answer) in answers.iter().enumerate() {
            assert_eq!(answer.text(), format!("u={number}"), "{field}");
        }
    }
}

#[test]
fn who_waits_with_authorization_gets_only_what_is_for_all() {
    let count = Arc::new(AtomicUsize::new(0));
    let asked = Arc::clone(&count);
    let scene = Scene::start(move |ask| {
        // The first is for all, and stale at once.
        if count.fetch_add(1, Ordering::SeqCst) == 0 {
            return answer(200, "cache-control: public, max-age=60\r\nage: 60\r\n", "for all");
        }
        std::thread::sleep(Duration::from_millis(500));
        answer(200, "cache-control: max-age=60\r\n", &ask.fields("authorization").join(","))
    });
    scene.get("/", "");
    let mut first = scene.client();
    first.send("GET / HTTP/1.1\r\nhost: app\r\n\r\n");
    let since = Instant::now();
    while asked.load(Ordering::SeqCst) < 2 {
        assert!(since.elapsed() < SOON);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(scene.get("/", "authorization: Basic ann\r\n").text(), "Basic ann");
    assert_eq!(first.answer("GET").unwrap().text(), "");
}

#[test]
fn those_who_wait_get_the_first_bytes_before_the_last_have_come() {
    let (tell, told) = mpsc::channel::<()>();
    let (told, count) = (Mutex::new(told), Arc::new(AtomicUsize::new(0)));
    let asked = Arc::clone(&count);
    let app = raw(move |_, stream| {
        count.fetch_add(1, Ordering::SeqCst);
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 8\r\ncache-control: max-age=60\r\n\r\n";
        stream.write_all(format!("{head}page").as_bytes()).unwrap();
        _ = told.lock().unwrap().recv();
        stream.write_all(b" end").unwrap();
    });
    let (_program, address, _) = weir("size = \"64MiB\"", &[app]);
    let mut clients: Vec<Client> = (0..5).map(|_| Client::to(address)).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nhost: app\r\n\r\n");
        let head = client.head().unwrap();
        assert_eq!(head.field("content-length"), Some("8"));
        while client.rest().len() < 4 {
            assert!(client.fill());
        }
        assert_eq!(client.rest(), b"page");
    }
    // The one who asked first goes away; the others get all of it.
    drop(clients.remove(0));
    tell.send(()).unwrap();
    for client in &mut clients {
        while client.rest().len() < 8 {
            assert!(client.fill());
        }
        assert_eq!(client.rest(), b"page end");
    }
    let since = Instant::now();
    loop {
        let kept = Client::to(address).get("/", "");
        assert_eq!(kept.text(), "page end");
        if is_hit(&kept) {
            break;
        }
        assert!(since.elapsed() < SOON, "{}", kept.head);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[test]
fn an_answer_that_breaks_off_is_not_kept_and_nobody_takes_it_for_whole() {
    let count = Arc::new(AtomicUsize::new(0));
    let asked = Arc::clone(&count);
    let app = raw(move |_, stream| {
        let number = count.fetch_add(1, Ordering::SeqCst);
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 8\r\ncache-control: max-age=60\r\n\r\n";
        let body = if number == 0 { "half" } else { "page end" };
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        std::thread::sleep(Duration::from_secs(2));
    });
    let (_program, address, _) = weir("size = \"64MiB\"", &[app]);
    let mut clients: Vec<Client> = (0..3).map(|_| Client::to(address)).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nhost: app\r\n\r\n");
    }
    for client in &mut clients {
        assert!(client.head().is_some() && client.is_closed());
        assert_eq!(client.rest(), b"half");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert_eq!(Client::to(address).get("/", "").text(), "page end");
}

#[test]
fn what_is_too_large_streams_through_and_is_not_kept() {
    const LARGE: usize = 20 << 20;
    let count = Arc::new(AtomicUsize::new(0));
    let asked = Arc::clone(&count);
    let app = raw(move |path, stream| {
        count.fetch_add(1, Ordering::SeqCst);
        let length =
            if path == "/said" { format!("content-length: {LARGE}\r\n") } else { String::new() };
        let head = format!(
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncache-control: max-age=60\r\n{length}\r\n"
        );
        _ = stream.write_all(head.as_bytes());
        let block = vec![b'x'; 64 << 10];
        for _ in 0..LARGE / block.len() {
            if stream.write_all(&block).is_err() {
                return;
            }
        }
    });
    let (program, address, _) = weir("size = \"8MiB\", object = \"1MiB\"", &[app]);
    for path in ["/said", "/unsaid"] {
        for _ in 0..2 {
            let whole = Client::to(address).get(path, "");
            assert_eq!(whole.body.len(), LARGE, "{path}");
        }
    }
    assert_eq!(asked.load(Ordering::SeqCst), 4);
    let listed: serde_json::Value =
        serde_json::from_str(&program.say(&["cache", "--json"])).unwrap();
    assert_eq!(listed["http"][0]["entries"], 0);
}

#[test]
fn a_service_that_hangs_is_asked_by_each_for_itself_in_the_end() {
    let count = Arc::new(AtomicUsize::new(0));
    let asked = Arc::clone(&count);
    let app = raw(move |_, stream| {
        if count.fetch_add(1, Ordering::SeqCst) == 0 {
            std::thread::sleep(SOON * 2);
        }
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncache-control: max-age=60\r\n\r\n";
        stream.write_all(format!("{head}page").as_bytes()).unwrap();
    });
    let (_program, address, _) = weir("size = \"64MiB\"", &[app]);
    let mut first = Client::to(address);
    first.send("GET / HTTP/1.1\r\nhost: app\r\n\r\n");
    let since = Instant::now();
    while asked.load(Ordering::SeqCst) == 0 {
        assert!(since.elapsed() < SOON);
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(Client::to(address).get("/", "").text(), "page");
}

#[test]
fn who_waits_for_one_that_goes_away_asks_in_its_place() {
    let count = Arc::new(AtomicUsize::new(0));
    let asked = Arc::clone(&count);
    let scene = Scene::start(move |_| {
        if count.fetch_add(1, Ordering::SeqCst) == 0 {
            std::thread::sleep(Duration::from_millis(1_500));
        }
        answer(200, "cache-control: max-age=60\r\n", "page")
    });
    let mut first = scene.client();
    first.send("GET / HTTP/1.1\r\nhost: app\r\n\r\n");
    let since = Instant::now();
    while asked.load(Ordering::SeqCst) == 0 {
        assert!(since.elapsed() < SOON);
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut second = scene.client();
    second.send("GET / HTTP/1.1\r\nhost: app\r\n\r\n");
    drop(first);
    assert_eq!(second.answer("GET").unwrap().text(), "page");
    assert!(asked.load(Ordering::SeqCst) <= 2);
}
