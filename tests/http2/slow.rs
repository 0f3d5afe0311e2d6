//! Clients that do a little on each of many streams, so that none of them ever stands still.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use weir::metrics::Slow;

use crate::proxy::Site;
use crate::support::http2::Http2;
use crate::support::http2_client::{
    DATA, END_HEADERS, END_STREAM, Fate, GET, GOAWAY, HEADERS, RST_STREAM, WINDOW_UPDATE, Wire,
    block, frame, get,
};
use crate::support::over::Over;
use crate::upstreams::scene::Scene;

/// Streams of the slow client; they begin with 1.
const STREAMS: u32 = 20;

/// How often it does a little.
const PACE: Duration = Duration::from_millis(50);

/// How long they may take to end; by their silence they would take [`SILENCE`].
const PATIENCE: Duration = Duration::from_mins(2);

/// So long anybody may be silent.
const SILENCE: Duration = Duration::from_mins(10);

fn slow() -> impl Iterator<Item = u32> {
    (0..STREAMS).map(|count| 2 * count + 1)
}

/// A site where clients must move 100 kB a second.
fn site() -> Site {
    Site::with(0, |tier| {
        tier.limits.read_rate = Some(100_000);
        tier.limits.body_rate = Some(100_000);
        tier.timeouts.rate_grace = Duration::from_millis(500);
        tier.timeouts.body_idle = SILENCE;
    })
}

/// Sends `little` on each slow stream again and again while `work` goes on.
fn meanwhile<T>(
    mut stream: TcpStream,
    little: impl Fn(u32) -> Vec<u8> + Sync,
    work: impl FnOnce() -> T,
) -> T {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                for one in slow() {
                    _ = stream.write_all(&little(one));
                }
                std::thread::sleep(PACE);
            }
        });
        let _over = Over(&over);
        work()
    })
}

#[test]
fn a_stream_that_is_read_byte_by_byte_ends_and_honest_ones_go_on() {
    let site = site();
    // SETTINGS_INITIAL_WINDOW_SIZE: there is room for one byte of each answer.
    let mut wire = Wire::with(site.address, &[(1, 0), (4, 1)]);
    let big = block(&[&GET[..3], &[(":path", "/big?10000000")]].concat());
    for stream in slow() {
        wire.send(&frame(HEADERS, END_STREAM | END_HEADERS, stream, &big));
    }
    let one = |stream| frame(WINDOW_UPDATE, 0, stream, &1_u32.to_be_bytes());
    let honest = 2 * STREAMS + 1;
    let mut writer = wire.stream.try_clone().unwrap();
    let (mut left, mut read, mut whole) = (slow().collect::<BTreeSet<_>>(), 0, false);
    meanwhile(wire.stream.try_clone().unwrap(), one, || {
        let room = frame(WINDOW_UPDATE, 0, honest, &20_000_000_u32.to_be_bytes());
        let asks = frame(HEADERS, END_STREAM | END_HEADERS, honest, &big);
        writer.write_all(&[asks, room].concat()).unwrap();
        let begun = Instant::now();
        while !(left.is_empty() && whole) {
            assert!(begun.elapsed() < PATIENCE, "{left:?} go on, {read} of the honest one");
            let got = wire.read().expect("the connection goes on");
            assert_ne!(got.kind, GOAWAY, "the connection goes on");
            if got.kind == RST_STREAM {
                left.remove(&got.stream);
            }
            if got.stream == honest {
                assert_ne!(got.kind, RST_STREAM, "the honest one is honest");
                read += if got.kind == DATA { got.payload.len() } else { 0 };
                whole |= got.flags & END_STREAM != 0;
            }
        }
    });
    assert_eq!(read, 10_000_000);
    wire.send(&get(honest + 2));
    assert_eq!(wire.fate(honest + 2), Fate::Answered(200));
    let cells = site.register.tier(&"web".parse().unwrap());
    assert_eq!(cells.slow(Slow::Read), u64::from(STREAMS));
    assert_eq!(site.counts()[0].1, 0, "no error of the app");
}

#[test]
fn a_body_that_comes_byte_by_byte_ends_and_honest_ones_go_on() {
    let site = site();
    let mut wire = Wire::to(site.address);
    let post = |path| block(&[&[(":method", "POST")], &GET[1..3], &[(":path", path)]].concat());
    for stream in slow() {
        wire.send(&frame(HEADERS, END_HEADERS, stream, &post("/sink")));
    }
    let honest = 2 * STREAMS + 1;
    let mut left = slow().collect::<BTreeSet<_>>();
    let one = |stream| frame(DATA, 0, stream, b"x");
    meanwhile(wire.stream.try_clone().unwrap(), one, || {
        let begun = Instant::now();
        while !left.is_empty() {
            assert!(begun.elapsed() < PATIENCE, "{left:?} go on");
            let got = wire.read().expect("the connection goes on");
            assert_ne!(got.kind, GOAWAY, "the connection goes on");
            if got.kind == HEADERS || got.kind == RST_STREAM {
                left.remove(&got.stream);
            }
        }
    });
    let parts = [
        frame(HEADERS, END_HEADERS, honest, &post("/")),
        frame(DATA, END_STREAM, honest, b"hello"),
    ];
    wire.send(&parts.concat());
    assert_eq!(wire.fate(honest), Fate::Answered(200));
    let cells = site.register.tier(&"web".parse().unwrap());
    assert_eq!(cells.slow(Slow::Body), u64::from(STREAMS));
    assert_eq!(site.counts()[0].1, 0, "no error of the app");
}

/// The head of a POST, of a call of gRPC if it `calls`.
fn post(calls: bool) -> Vec<u8> {
    let kind = if calls { "application/grpc+proto" } else { "application/json" };
    post_with(&[("content-type", kind), ("te", "trailers")])
}

fn post_with(more: &[(&'static str, &'static str)]) -> Vec<u8> {
    block(&[&[(":method", "POST")], &GET[1..3], &[(":path", "/upload")], more].concat())
}

/// A scene with an upstream of HTTP/2 where clients must send 100 kB a second.
fn calls(upstream: &Http2) -> Scene {
    Scene::with(&[format!("h2c://{}", upstream.address)], &[], |plan| {
        plan.tier.limits.body_rate = Some(100_000);
        plan.tier.timeouts.rate_grace = Duration::from_millis(500);
    })
}

#[test]
fn a_call_whose_client_says_little_goes_on_and_another_body_does_not() {
    let upstream = Http2::start(100);
    let scene = calls(&upstream);
    let mut wire = Wire::to(scene.address);
    // No client of gRPC leaves out that it takes trailers.
    let heads = [post(true), post(false), post_with(&[("content-type", "application/grpc")])];
    for (stream, head) in [1, 3, 5].into_iter().zip(&heads) {
        wire.send(&frame(HEADERS, END_HEADERS, stream, head));
    }
    let mut writer = wire.stream.try_clone().unwrap();
    let (mut sent, begun) = (0, Instant::now());
    std::thread::scope(|scope| {
        let others = scope.spawn(|| ([3, 5].map(|stream| wire.fate(stream)), wire));
        // As long again as the others took.
        let mut ended = None;
        while ended.is_none_or(|ended: Duration| begun.elapsed() < 2 * ended) {
            assert!(begun.elapsed() < 3 * PATIENCE, "they go on");
            let pieces = [1, 3, 5].map(|stream| frame(DATA, 0, stream, b"x"));
            let pieces = if ended.is_none() { pieces.concat() } else { pieces[0].clone() };
            writer.write_all(&pieces).unwrap();
            sent += 1;
            if others.is_finished() && ended.is_none() {
                ended = Some(begun.elapsed());
            }
            std::thread::sleep(PACE);
        }
        writer.write_all(&frame(DATA, END_STREAM, 1, b"x")).unwrap();
        let (fates, mut wire) = others.join().unwrap();
        assert_eq!(fates, [Fate::Answered(408), Fate::Answered(408)]);
        assert_eq!(wire.fate(1), Fate::Answered(200));
    });
    assert_eq!(upstream.state.whole.load(Ordering::SeqCst), 1);
    assert!(upstream.state.bytes.load(Ordering::SeqCst) > sent);
    assert_eq!(scene.register.tier(&"web".parse().unwrap()).slow(Slow::Body), 2);
}

#[test]
fn what_comes_by_http_1_is_no_call_whatever_it_says() {
    let upstream = Http2::start(100);
    let scene = calls(&upstream);
    let mut client = scene.client();
    client.send(
        "POST /upload HTTP/1.1\r\nhost: app\r\ncontent-type: application/grpc\r\n\
         te: trailers\r\nconnection: te\r\ncontent-length: 100000\r\n\r\n",
    );
    let mut writer = client.stream.try_clone().unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) && writer.write_all(b"x").is_ok() {
                std::thread::sleep(PACE);
            }
        });
        let _over = Over(&over);
        assert_eq!(client.answer("POST").unwrap().status, 408);
    });
}

#[test]
fn so_many_calls_of_one_connection_are_spared_and_no_more() {
    const SPARED: u32 = 16;
    let upstream = Http2::start(100);
    let scene = calls(&upstream);
    let mut wire = Wire::to(scene.address);
    let streams = || (0..SPARED + 4).map(|count| 2 * count + 1);
    for stream in streams() {
        wire.send(&frame(HEADERS, END_HEADERS, stream, &post(true)));
    }
    let mut left: BTreeSet<u32> = streams().collect();
    let writer = wire.stream.try_clone().unwrap();
    let cells = scene.register.tier(&"web".parse().unwrap());
    let begun = Instant::now();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let over = &over;
        scope.spawn(move || {
            let mut writer = writer;
            while !over.load(Ordering::SeqCst) {
                for stream in streams() {
                    _ = writer.write_all(&frame(DATA, 0, stream, b"x"));
                }
                std::thread::sleep(PACE);
            }
        });
        let _over = Over(over);
        while left.len() > SPARED as usize {
            assert!(begun.elapsed() < PATIENCE, "{left:?} go on");
            let got = wire.read().expect("the connection goes on");
            assert_ne!(got.kind, GOAWAY, "the connection goes on");
            if got.kind == HEADERS {
                left.remove(&got.stream);
            }
        }
        // As long again as the others took, while the rest still send.
        let (took, since) = (begun.elapsed(), Instant::now());
        while since.elapsed() < took {
            assert_eq!(cells.slow(Slow::Body), 4);
            std::thread::sleep(PACE);
        }
    });
    for stream in left {
        wire.send(&frame(DATA, END_STREAM, stream, b"x"));
        assert_eq!(wire.fate(stream), Fate::Answered(200), "{stream}");
    }
    assert_eq!(cells.slow(Slow::Body), 4);
}

#[test]
fn a_call_whose_client_says_nothing_ends() {
    let upstream = Http2::start(100);
    let scene = Scene::with(&[format!("h2c://{}", upstream.address)], &[], |plan| {
        plan.tier.timeouts.body_idle = Duration::from_millis(500);
    });
    let mut wire = Wire::to(scene.address);
    wire.send(&frame(HEADERS, END_HEADERS, 1, &post(true)));
    wire.send(&frame(DATA, 0, 1, b"x"));
    assert_eq!(wire.fate(1), Fate::Answered(408));
}

#[test]
fn a_call_whose_client_still_sends_ends_when_its_release_loses() {
    let (stable, canary) = (Http2::start(100), Http2::start(100));
    let addresses = [&stable, &canary].map(|upstream| format!("h2c://{}", upstream.address));
    let scene = Scene::with(&addresses[..1], &addresses[1..], |plan| {
        plan.tier.timeouts.stream_after = Duration::from_millis(200);
    });
    let mut wire = Wire::to(scene.address);
    for stream in [1, 3] {
        wire.send(&frame(HEADERS, END_HEADERS, stream, &post(stream == 1)));
        wire.send(&frame(DATA, 0, stream, b"x"));
    }
    crate::upstreams::scene::wait_until("there", || {
        canary.state.streams.load(Ordering::SeqCst) == 2
    });
    scene.publish(|tier| tier.canary = None);
    assert_eq!(wire.fate(1), Fate::Answered(503));
    // What is no call is a request like any other.
    wire.send(&frame(DATA, END_STREAM, 3, b"x"));
    assert_eq!(wire.fate(3), Fate::Answered(200));
    let shown = scene.canary();
    assert_eq!((shown.canary.attempts.timeout, scene.stable().stable.attempts.timeout), (0, 0));
}
