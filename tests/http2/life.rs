//! The life of streams and connections: who is where, what is counted, what ends when.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use hyper::body::Frame;
use weir::traffic::Weight;

use crate::proxy::Site;
use crate::support::http2_client::{
    Client, Content, DATA, END_HEADERS, END_STREAM, Fate, GET, GOAWAY, HEADERS, PING, PREFACE,
    RST_STREAM, Wire, block, frame, get, request, run,
};

/// As [`crate::proxy::uid`] has it.
fn uid(user: usize) -> String {
    format!("uid=user-{user}")
}

#[test]
fn each_stream_is_placed_and_counted_for_itself() {
    let site = Site::new(25);
    let mut http1 = site.client();
    run(async {
        let client = Arc::new(Client::to(site.address).await);
        let mut asked = Vec::new();
        for user in 0..400 {
            let client = Arc::clone(&client);
            asked.push(tokio::spawn(
                async move { client.get("/", &[("cookie", &uid(user))]).await },
            ));
        }
        let mut canaries = 0;
        for (user, answer) in asked.into_iter().enumerate() {
            let answer = answer.await.unwrap();
            let version = answer.field("x-weir-version").unwrap();
            assert!(answer.text().starts_with(version), "the right upstream answered");
            canaries += usize::from(version == "1.1");
            if user < 50 {
                let same = http1.get("/", &crate::proxy::uid(user));
                assert_eq!(same.field("x-weir-version"), Some(version), "as by HTTP/1.1");
            }
        }
        assert!((60..140).contains(&canaries), "{canaries} of 400 at 25 %");
        let (stable, canary) = site.totals();
        assert_eq!(stable.requests + canary.requests, 450);
    });
    site.wait_until("over", || site.shown().0.in_flight + site.shown().1.in_flight == 0);
    let cells = site.register.tier(&"web".parse().unwrap());
    site.wait_until("gone", || cells.streams.load(Ordering::SeqCst) == 0);
}

#[test]
fn a_browser_gets_a_cookie_that_keeps_it_where_it_is() {
    let site = Site::new(50);
    run(async {
        for _ in 0..10 {
            let client = Client::to(site.address).await;
            let first = client.get("/", &[("accept", "text/html")]).await;
            let cookie = first.field("set-cookie").unwrap().split(';').next().unwrap();
            for _ in 0..3 {
                let fields = [("accept", "text/html"), ("cookie", "a=b"), ("cookie", cookie)];
                let again = client.get("/", &fields).await;
                assert_eq!(again.field("x-weir-version"), first.field("x-weir-version"));
                assert_eq!(again.field("set-cookie"), None);
            }
        }
    });
}

#[test]
fn after_the_acknowledgement_no_stream_reaches_the_canary() {
    let site = Site::new(100);
    let stop = Arc::new(AtomicBool::new(false));
    run(async {
        let client = Arc::new(Client::to(site.address).await);
        let mut askers = Vec::new();
        for _ in 0..50 {
            let (client, stop) = (Arc::clone(&client), Arc::clone(&stop));
            askers.push(tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    assert_eq!(client.get("/", &[]).await.status, 200);
                }
            }));
        }
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(30)).await;
            site.publish(|tier| tier.weight = Weight::NONE);
            let before = site.canary.requests();
            // Those that were chosen before may still arrive: as many as were under way.
            site.wait_until("answered", || site.shown().1.in_flight == 0);
            let late = site.canary.requests() - before;
            assert!(late <= 50, "{late} arrived after the acknowledgement");
            let before = site.canary.requests();
            tokio::time::sleep(Duration::from_millis(30)).await;
            assert_eq!(site.canary.requests(), before);
            site.publish(|_| {});
        }
        stop.store(true, Ordering::SeqCst);
        for asker in askers {
            asker.await.unwrap();
        }
        // On the same connection, one by one: not a single one.
        site.publish(|tier| tier.weight = Weight::NONE);
        let before = site.canary.requests();
        for _ in 0..100 {
            client.get("/", &[]).await;
        }
        assert_eq!(site.canary.requests(), before);
    });
}

/// Takes back what `asked` asks for as soon as it is the canary's request of this `number`.
async fn taken_back<T>(site: &Site, number: u64, asked: impl Future<Output = T>) {
    let there = async {
        while site.canary.requests() < number {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        _ = asked => panic!("it is answered"),
        () = there => {}
    }
}

#[test]
fn a_stream_that_is_taken_back_takes_its_request_back() {
    let site = Site::new(100);
    run(async {
        let client = Client::to(site.address).await;
        let hang = request(Method::GET, "/hang", &[], Content::none());
        taken_back(&site, 1, client.send(hang)).await;
        site.wait_until("cancelled", || site.canary.state.cancelled.load(Ordering::SeqCst) == 1);
        site.wait_until("abandoned", || site.shown().1.abandoned == 1);
        let events = request(Method::GET, "/events?10", &[], Content::none());
        drop(client.send(events).await.unwrap());
        site.wait_until("cancelled", || site.canary.state.cancelled.load(Ordering::SeqCst) == 2);
        let (body, content) = Content::piecewise();
        body.send(Frame::data(Bytes::from("half"))).unwrap();
        let upload = request(Method::POST, "/sink", &[("content-length", "9")], content);
        taken_back(&site, 3, client.send(upload)).await;
        site.wait_until("cancelled", || site.canary.state.cancelled.load(Ordering::SeqCst) == 3);
        assert_eq!(client.get("/", &[]).await.status, 200, "the connection goes on");
    });
    // The one that waited for a head counts as slow as it waited, the upload cut short not at all.
    site.expect_counts([(0, 0), (3, 0)]);
    assert_eq!(site.shown().1.in_flight, 0);
}

#[test]
fn a_connection_that_dies_takes_all_its_requests_back() {
    let site = Site::new(100);
    let mut wire = Wire::to(site.address);
    for stream in 0..20 {
        let fields = [&GET[..3], &[(":path", "/hang")]].concat();
        wire.send(&frame(HEADERS, END_STREAM | END_HEADERS, 2 * stream + 1, &block(&fields)));
    }
    site.wait_until("there", || site.canary.requests() == 20);
    drop(wire);
    site.wait_until("cancelled", || site.canary.state.cancelled.load(Ordering::SeqCst) == 20);
    site.wait_until("gone", || site.shown().1.in_flight == 0);
    let cells = site.register.tier(&"web".parse().unwrap());
    site.wait_until("gone", || cells.connections.load(Ordering::SeqCst) == 0);
    assert_eq!(cells.streams.load(Ordering::SeqCst), 0);
}

#[test]
fn a_client_that_does_not_read_holds_up_nobody_but_itself() {
    let site = Site::with(0, |tier| tier.timeouts.body_idle = Duration::from_millis(600));
    // SETTINGS_INITIAL_WINDOW_SIZE: the client has room for no more than so much of each answer.
    let mut wire = Wire::with(site.address, &[(1, 0), (4, 1000)]);
    let big = [&GET[..3], &[(":path", "/big?50000000")]].concat();
    wire.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&big)));
    assert_eq!(wire.fate(1), Fate::Answered(200));
    std::thread::sleep(Duration::from_millis(200));
    let sent = site.stable.state.body_bytes.load(Ordering::SeqCst);
    assert!(sent < 10 << 20, "the upstream waits for the client, it has sent {sent}");
    let start = Instant::now();
    let mut stream = 3;
    wire.send(&get(stream));
    // INTERNAL_ERROR or CANCEL: the stuck one ends, and nobody else.
    loop {
        let got = wire.read().unwrap();
        assert_ne!(got.kind, GOAWAY);
        if got.kind == RST_STREAM && got.stream == 1 {
            break;
        }
        if got.kind == HEADERS && got.stream == stream {
            stream += 2;
            std::thread::sleep(Duration::from_millis(20));
            wire.send(&get(stream));
        }
        assert!(start.elapsed() < Duration::from_mins(2), "it is not cut");
    }
    assert!(stream > 5, "others were answered meanwhile");
    wire.send(&get(stream + 2));
    assert_eq!(wire.fate(stream + 2), Fate::Answered(200));
    site.wait_until("free", || site.shown().0.in_flight == 0);
    assert_eq!(site.counts()[0].1, 0, "no error of the app");
}

#[test]
fn what_takes_too_long_ends_without_its_connection() {
    let site = Site::with(0, |tier| {
        tier.timeouts.response_head = Duration::from_secs(3);
        tier.timeouts.first_byte = Duration::from_secs(2);
        tier.timeouts.body_idle = Duration::from_secs(3);
    });
    run(async {
        let client = Client::to(site.address).await;
        let (body, content) = Content::piecewise();
        body.send(Frame::data(Bytes::from("half"))).unwrap();
        let upload = request(Method::POST, "/sink", &[], content);
        let events = request(Method::GET, "/events?100", &[], Content::none());
        let mut events = client.send(events).await.unwrap();
        let (hang, upload) = tokio::join!(client.get("/hang", &[]), client.ask(upload));
        assert_eq!((hang.status, upload.unwrap().status), (504, 408));
        let frame = events.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "data: 1\n\n", "others go on");
        assert_eq!(client.get("/", &[]).await.status, 200);
    });
    // The hanging one is an error, the upload the client's fault.
    site.expect_counts([(3, 1), (0, 0)]);
}

#[test]
fn slow_heads_and_idle_clients_are_closed() {
    let site = Site::with(0, |tier| {
        tier.timeouts.request_head = Duration::from_millis(500);
        tier.timeouts.client_idle = Duration::from_mins(10);
    });
    let fields = block(&GET);
    let open = frame(HEADERS, END_STREAM, 3, &fields[..10]);
    let begun = [&frame(HEADERS, END_STREAM | END_HEADERS, 3, &fields)[..20]].concat();
    for (what, bytes) in [("open", open), ("begun", begun)] {
        let mut wire = Wire::to(site.address);
        wire.send(&get(1));
        assert_eq!(wire.fate(1), Fate::Answered(200));
        let start = Instant::now();
        wire.send(&bytes);
        while wire.read().is_some() {}
        assert!(start.elapsed() >= Duration::from_millis(450), "{what} {:?}", start.elapsed());
    }
    let site = Site::with(0, |tier| {
        tier.timeouts.request_head = Duration::from_millis(500);
        tier.timeouts.client_idle = Duration::from_millis(1_500);
    });
    // A preface and nothing else; a preface in part.
    for part in [PREFACE, &PREFACE[..20]] {
        let mut wire = Wire::silent(site.address);
        wire.send(part);
        while wire.read().is_some() {}
    }
    // Pings keep a connection alive for its client, not for Weir: it is told to go, and goes.
    let mut wire = Wire::to(site.address);
    wire.send(&get(1));
    assert_eq!(wire.fate(1), Fate::Answered(200));
    let start = Instant::now();
    wire.stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    let pings = std::thread::spawn({
        let mut stream = wire.stream.try_clone().unwrap();
        move || {
            use std::io::Write;
            while stream.write_all(&frame(PING, 0, 0, b"12345678")).is_ok() {
                std::thread::sleep(Duration::from_millis(100));
                if start.elapsed() > Duration::from_mins(2) {
                    return;
                }
            }
        }
    });
    assert!(wire.read_until(GOAWAY).is_some());
    assert!(start.elapsed() > Duration::from_millis(1_400), "{:?}", start.elapsed());
    // It answers no PING of ours, and is closed all the same.
    while wire.read().is_some() {}
    pings.join().unwrap();
}

#[test]
fn a_body_that_has_begun_may_come_slowly() {
    let site = Site::with(0, |tier| tier.timeouts.request_head = Duration::from_millis(300));
    let mut wire = Wire::to(site.address);
    let fields = [(":method", "POST"), GET[1], GET[2], (":path", "/sink")];
    wire.send(&frame(HEADERS, END_HEADERS, 1, &block(&fields)));
    let data = frame(DATA, END_STREAM, 1, b"hello");
    wire.send(&data[..11]);
    std::thread::sleep(Duration::from_secs(1));
    wire.send(&data[11..]);
    assert_eq!(wire.fate(1), Fate::Answered(200));
}

#[test]
fn a_connection_is_left_after_so_many_requests() {
    let site = Site::with(0, |tier| tier.limits.requests_per_connection = 5);
    run(async {
        let client = Client::to(site.address).await;
        for _ in 0..5 {
            let answer = client.get("/", &[]).await;
            assert_eq!((answer.status, answer.field("connection")), (200, None));
        }
        client.connection.await.unwrap().unwrap();
    });
    assert_eq!(site.stable.requests(), 5);
}

#[test]
fn draining_finishes_what_is_under_way() {
    let mut site = Site::new(0);
    run(async {
        let (busy, idle) = (Client::to(site.address).await, Client::to(site.address).await);
        assert_eq!(idle.get("/", &[]).await.status, 200);
        let slow = request(Method::GET, "/slow?700", &[], Content::none());
        let slow = busy.ask(slow);
        let proxy = site.proxy.take().unwrap();
        let drain = async {
            while site.stable.requests() < 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let start = Instant::now();
            let drain = move || proxy.drain(Duration::from_mins(10));
            let cut = tokio::task::spawn_blocking(drain).await.unwrap();
            (cut, start.elapsed())
        };
        let (answer, (cut, took)) = tokio::join!(slow, drain);
        assert_eq!(answer.unwrap().text(), "slow");
        assert_eq!(cut, 0);
        assert!(took < Duration::from_mins(2), "{took:?}");
        busy.connection.await.unwrap().unwrap();
        idle.connection.await.unwrap().unwrap();
    });
}

#[test]
fn draining_waits_for_nobody_who_is_gone() {
    let mut site = Site::new(0);
    // It never answers the PING by which it would say that it has heard.
    let mut wire = Wire::to(site.address);
    wire.send(&get(1));
    assert_eq!(wire.fate(1), Fate::Answered(200));
    let start = Instant::now();
    let cut = site.proxy.take().unwrap().drain(Duration::from_mins(10));
    assert!(start.elapsed() < Duration::from_mins(2), "{:?}", start.elapsed());
    assert_eq!(cut, 0);
    assert!(wire.read_until(GOAWAY).is_some());
    while wire.read().is_some() {}
}

#[test]
fn requests_at_once_have_limits() {
    let site = Site::of(1, 0, |tier| {
        tier.limits.streams = 10;
        tier.limits.connections = 15;
    });
    let hang = [&GET[..3], &[(":path", "/hang")]].concat();
    let hang = |stream| frame(HEADERS, END_STREAM | END_HEADERS, stream, &block(&hang));
    let mut first = Wire::to(site.address);
    for stream in 0..10 {
        first.send(&hang(2 * stream + 1));
    }
    site.wait_until("there", || site.stable.requests() == 10);
    first.send(&hang(21));
    assert_eq!(first.fate(21), Fate::Reset(7), "REFUSED_STREAM: too many on one connection");
    let mut second = Wire::to(site.address);
    for stream in 0..6 {
        second.send(&hang(2 * stream + 1));
    }
    assert_eq!(second.fate(11), Fate::Answered(503), "too many at all");
    run(async {
        let refused = Client::to(site.address).await.get("/", &[]).await;
        assert_eq!((refused.status, refused.field("retry-after")), (503, Some("1")));
    });
    let cells = site.register.tier(&"web".parse().unwrap());
    assert_eq!(cells.streams.load(Ordering::SeqCst), 15);
    assert_eq!(cells.refused_streams.load(Ordering::SeqCst), 2);
    // CANCEL
    first.send(&frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes()));
    site.wait_until("free", || cells.streams.load(Ordering::SeqCst) == 14);
    second.send(&get(13));
    assert_eq!(second.fate(13), Fate::Answered(200));
}

#[test]
fn events_arrive_one_by_one_and_end_when_their_release_loses() {
    let site = Site::new(100);
    run(async {
        let client = Client::to(site.address).await;
        let get = |path: &str| client.send(request(Method::GET, path, &[], Content::none()));
        let mut events = get("/events?50").await.unwrap();
        for _ in 0..3 {
            let frame = events.frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), "data: 1\n\n");
        }
        let slow = get("/slow?500");
        let lose = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            site.publish(|tier| (tier.canary, tier.weight) = (None, Weight::NONE));
        };
        let (slow, ()) = tokio::join!(slow, lose);
        let end = crate::support::http2_client::Answer::read(events).await;
        assert!(end.whole, "the stream ends, it is not broken off");
        let slow = crate::support::http2_client::Answer::read(slow.unwrap()).await;
        assert_eq!(slow.text(), "slow", "what is no stream is finished");
        assert!(client.get("/", &[]).await.text().starts_with("1.0"), "on the same connection");
    });
    site.wait_until("cancelled", || site.canary.state.cancelled.load(Ordering::SeqCst) == 1);
}

#[test]
fn calls_of_grpc_count_by_what_they_come_to() {
    let site = Site::new(0);
    let calls = AtomicUsize::new(0);
    run(async {
        let client = Client::to(site.address).await;
        let call = async |path: &str| {
            // Few errors of one client count.
            let uid = uid(calls.fetch_add(1, Ordering::SeqCst));
            let fields = [
                ("te", "trailers"),
                ("content-type", "application/grpc"),
                ("cookie", uid.as_str()),
            ];
            let body = Content::of(vec![0; 5]);
            client.ask(request(Method::POST, path, &fields, body)).await.unwrap()
        };
        let good = call("/grpc?0").await;
        assert_eq!(
            (good.status, good.body.len(), &good.trailers["grpc-status"]),
            (200, 5, &"0".parse().unwrap())
        );
        let head = site.stable.last_head();
        assert!(head.contains("te: trailers"), "{head}");
        // Not found, exhausted, not permitted: what HTTP has a 4xx for.
        for code in [5, 8, 7] {
            assert_eq!(call(&format!("/grpc?{code}")).await.status, 200);
        }
        site.expect_counts([(4, 0), (0, 0)]);
        for code in [2, 4, 12, 13, 14, 15] {
            let failed = call(&format!("/grpc?{code}")).await;
            assert_eq!(failed.trailers["grpc-status"], code.to_string());
        }
        site.expect_counts([(10, 6), (0, 0)]);
        let head = call("/grpc-head?14").await;
        assert_eq!((head.field("grpc-status"), head.trailers.len()), (Some("14"), 0));
        assert_eq!(call("/grpc-head?0").await.field("grpc-status"), Some("0"));
        assert!(call("/grpc-silent").await.trailers.is_empty());
        site.expect_counts([(13, 8), (0, 0)]);
    });
}

#[test]
fn a_stream_of_grpc_whose_release_loses_is_told_to_come_again() {
    let site = Site::with(100, |tier| tier.timeouts.stream_after = Duration::from_secs(4));
    run(async {
        let client = Client::to(site.address).await;
        let call = request(Method::POST, "/grpc-stream?50", &[], Content::of(vec![0; 5]));
        let call = client.send(call).await.unwrap();
        let start = Instant::now();
        site.publish(|tier| (tier.canary, tier.weight) = (None, Weight::NONE));
        let end = crate::support::http2_client::Answer::read(call).await;
        assert!(end.whole && end.trailers["grpc-status"] == "14", "{end:?}");
        let took = start.elapsed();
        assert!(
            took > Duration::from_millis(200),
            "a plain call would have had the time: {took:?}"
        );
    });
    site.expect_counts([(0, 0), (1, 0)]);
}
