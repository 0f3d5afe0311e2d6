//! Upstreams that speak HTTP/2.

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::scene::{Scene, wait_until};
use crate::support::client::Client;
use crate::support::http2::Http2;
use crate::support::over::Over;
use crate::support::upstream::Upstream;

fn h2c(upstream: &Http2) -> Vec<String> {
    vec![format!("h2c://{}", upstream.address)]
}

#[test]
fn a_head_becomes_one_of_http2_and_comes_back_as_one_of_http1() {
    let upstream = Http2::start(100);
    let scene = Scene::new(&h2c(&upstream));
    let lines = "connection: x-hop, te\r\nx-hop: 1\r\nte: trailers\r\ncookie: a=1\r\n";
    let answer = scene.client().get("/path?q=1", lines);
    assert_eq!((answer.status, answer.field("x-weir-version")), (200, Some("1.0")));
    let head = upstream.last_head();
    assert!(head.starts_with("GET http://app/path?q=1\n"), "{head}");
    for wanted in ["\"te\": \"trailers\"", "\"cookie\": \"a=1\"", "\"x-forwarded-for\""] {
        assert!(head.contains(wanted), "{wanted} in {head}");
    }
    for unwanted in ["\"host\"", "\"connection\"", "x-hop\"", "\"transfer-encoding\""] {
        assert!(!head.contains(unwanted), "{unwanted} in {head}");
    }
    let attempts = scene.stable().stable.attempts;
    assert_eq!(attempts.classes, [0, 1, 0, 0, 0]);
}

#[test]
fn bodies_and_trailers_stream_both_ways_at_once() {
    let upstream = Http2::start(100);
    let scene = Scene::new(&h2c(&upstream));
    let mut client = scene.client();
    client.send(
        "POST /echo HTTP/1.1\r\nhost: app\r\nte: trailers\r\nconnection: te\r\n\
         trailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n",
    );
    for word in ["one", "two", "three"] {
        // The next piece is sent only when this one has come back.
        client.send(&format!("{:x}\r\n{word}\r\n", word.len()));
        if word == "one" {
            assert_eq!(client.head().unwrap().status, 200);
        }
        assert_eq!(client.chunk().unwrap(), word.as_bytes());
    }
    client.send("0\r\nx-sum: 11\r\n\r\n");
    assert_eq!(client.chunk(), None);
    let trailers = client.trailers();
    assert!(trailers.contains("x-bytes: 11") && trailers.contains("x-came: x-sum=\"11\""));
    assert_eq!(client.get("/", "").status, 200, "the client's connection goes on");
}

#[test]
fn an_answer_may_have_a_head_and_nothing_else() {
    let upstream = Http2::start(100);
    let scene = Scene::new(&h2c(&upstream));
    let answer = scene.client().get("/only-trailers", "");
    assert_eq!((answer.status, answer.field("grpc-status")), (200, Some("5")));
    let mut client = scene.client();
    client.send("HEAD /big?100 HTTP/1.1\r\nhost: app\r\n\r\n");
    let answer = client.answer("HEAD").unwrap();
    assert_eq!((answer.status, answer.field("content-length")), (200, Some("100")));
    assert_eq!(client.get("/", "").status, 200);
}

#[test]
fn requests_share_connections_as_long_as_the_upstream_takes_more() {
    let upstream = Http2::start(100);
    let scene = Scene::new(&h2c(&upstream));
    assert!(scene.at_once(40, "/slow?3000").iter().all(|status| *status == 200));
    // The checks open and close connections of their own.
    wait_until("shared", || upstream.state.open.load(Ordering::SeqCst) <= 2);
    assert_eq!(upstream.state.streams_seen.load(Ordering::SeqCst), 40);

    let narrow = Http2::start(4);
    let scene = Scene::new(&h2c(&narrow));
    assert!(scene.at_once(40, "/slow?3000").iter().all(|status| *status == 200));
    assert_eq!(narrow.state.streams_seen.load(Ordering::SeqCst), 40, "none had to wait");
    assert!(narrow.state.open.load(Ordering::SeqCst) >= 10);
}

#[test]
fn what_the_upstream_refuses_unprocessed_is_sent_again_whatever_it_is() {
    let upstream = Http2::start(100);
    let scene = Scene::new(&h2c(&upstream));
    let mut client = scene.client();
    client.get("/", "");
    for _ in 0..3 {
        upstream.state.refusing.store(1, Ordering::SeqCst);
        client.send("POST / HTTP/1.1\r\nhost: app\r\ncontent-length: 5\r\n\r\nhello");
        let answer = client.answer("POST").unwrap();
        assert_eq!(answer.status, 200);
        assert!(answer.text().ends_with("5 bytes"), "{}", answer.text());
    }
    let shown = scene.stable();
    assert_eq!(shown.stable.attempts.classes, [0, 4, 0, 0, 0]);
    assert_eq!((shown.stable.attempts.refused, shown.retries), (0, 3));
    // One that refuses for good is an error of the release.
    upstream.state.refusing.store(u64::MAX, Ordering::SeqCst);
    assert_eq!(client.get("/", "").status, 502);
    assert_eq!(scene.stable().stable.attempts.refused, 1);
}

#[test]
fn an_upstream_that_takes_its_leave_loses_no_request() {
    let upstream = Http2::start(100);
    let scene = Scene::new(&h2c(&upstream));
    upstream.state.leaving.store(1, Ordering::SeqCst);
    let mut client = scene.client();
    for count in 1..=20 {
        client.send("POST / HTTP/1.1\r\nhost: app\r\ncontent-length: 2\r\n\r\nhi");
        assert_eq!(client.answer("POST").unwrap().status, 200, "request {count}");
    }
    let attempts = scene.stable().stable.attempts;
    assert_eq!(attempts.classes, [0, 20, 0, 0, 0]);
    assert!(upstream.state.connections.load(Ordering::SeqCst) > 10);
}

#[test]
fn a_reset_is_an_error_and_a_body_cut_short_too() {
    let upstream = Http2::start(100);
    let scene = Scene::new(&h2c(&upstream));
    let mut client = scene.client();
    assert_eq!(client.get("/reset", "").status, 502);
    assert_eq!(scene.stable().stable.attempts.reset, 1);
    client.send("GET /cut HTTP/1.1\r\nhost: app\r\n\r\n");
    assert_eq!(client.head().unwrap().status, 200);
    assert_eq!(client.chunk().unwrap(), b"half");
    assert!(client.is_closed(), "the client must see that something is missing");
    wait_until("counted", || scene.stable().stable.attempts.reset == 2);
    assert_eq!(scene.client().get("/", "").status, 200, "the connection to the upstream goes on");
}

#[test]
fn an_upstream_may_answer_before_the_request_is_over() {
    let upstream = Http2::start(100);
    let scene = Scene::new(&h2c(&upstream));
    let mut client = scene.client();
    client.send("POST /enough HTTP/1.1\r\nhost: app\r\ncontent-length: 1000000\r\n\r\nonly this");
    let answer = client.answer("POST").unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "enough"));
}

#[test]
fn a_slow_client_holds_up_nobody_else() {
    let upstream = Http2::start(100);
    let scene = Scene::new(&h2c(&upstream));
    let mut slow: Vec<Client> = (0..20).map(|_| scene.client()).collect();
    for client in &mut slow {
        client.send("GET /big?20000000 HTTP/1.1\r\nhost: app\r\n\r\n");
        client.stream.read_exact(&mut [0; 100]).unwrap();
    }
    for _ in 0..20 {
        assert_eq!(scene.client().get("/big?1000000", "").body.len(), 1_000_000);
    }
}

#[test]
fn a_client_that_leaves_ends_its_stream() {
    let upstream = Http2::start(100);
    let scene = Scene::new(&h2c(&upstream));
    let streams = || upstream.state.streams.load(Ordering::SeqCst);
    let mut client = scene.client();
    client.send("GET /hang HTTP/1.1\r\nhost: app\r\n\r\n");
    wait_until("there", || streams() == 1);
    drop(client);
    wait_until("gone", || streams() == 0);
    assert_eq!(scene.client().get("/", "").status, 200);
}

#[test]
fn a_connection_on_which_an_answer_never_comes_is_not_used_again() {
    let upstream = Http2::start(100);
    let scene = Scene::with(&h2c(&upstream), &[], |plan| {
        plan.tier.timeouts.response_head = Duration::from_millis(300);
    });
    let mut client = scene.client();
    client.get("/", "");
    let before = upstream.state.connections.load(Ordering::SeqCst);
    assert_eq!(client.get("/hang", "").status, 504);
    assert_eq!(client.get("/", "").status, 200);
    assert!(upstream.state.connections.load(Ordering::SeqCst) > before);
}

#[test]
fn a_connection_on_which_others_are_answered_is_kept_and_the_stream_taken_back() {
    let upstream = Http2::start(100);
    let scene = Scene::with(&h2c(&upstream), &[], |plan| {
        plan.settings.workers = 1;
        plan.tier.timeouts.response_head = Duration::from_secs(2);
        plan.tier.health.interval = Duration::from_hours(1);
    });
    let mut other = scene.client();
    other.get("/", "");
    let before = upstream.state.connections.load(Ordering::SeqCst);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                assert_eq!(other.get("/", "").status, 200);
            }
        });
        let _over = Over(&over);
        assert_eq!(scene.client().get("/hang", "").status, 504);
        wait_until("taken back", || upstream.state.streams.load(Ordering::SeqCst) <= 1);
    });
    for _ in 0..20 {
        assert_eq!(scene.client().get("/", "").status, 200);
    }
    assert_eq!(upstream.state.connections.load(Ordering::SeqCst), before);
}

#[test]
fn what_does_not_speak_http2_fails_its_checks_in_words() {
    let upstream = Upstream::start("1.0");
    let scene = Scene::with(&[format!("h2c://{}", upstream.address)], &[], |plan| {
        plan.tier.health.boot_grace = Duration::ZERO;
    });
    wait_until("checked", || !scene.error(0).is_empty());
    assert_eq!(scene.client().get("/", "").status, 502);
}
