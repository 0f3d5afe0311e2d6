//! What a client may not do: it is cut off, and the others do not notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use weir::metrics::Flood;

use crate::proxy::Site;
use crate::support::http2_client::{
    CONTINUATION, Client, Content, DATA, END_HEADERS, END_STREAM, Fate, GET, GOAWAY, HEADERS, PING,
    PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE, Wire, block, frame, get, request, run,
};
use crate::support::over::Over;

/// Longest an offender lasts; a busy machine needs some of it.
const CUT_WITHIN: Duration = Duration::from_secs(45);

/// How long offenders come back at once, each time they are cut off.
fn siege() -> Duration {
    Duration::from_millis(if std::env::var_os("WEIR_LONG").is_some() { 3_000 } else { 600 })
}

/// What an honest client may wait for longer, whatever it waited for before.
const SLACK: Duration = Duration::from_millis(400);

/// How often a siege is looked at before it counts.
const ATTEMPTS_MAX: u32 = 5;

/// Offenders at a time.
const OFFENDERS: usize = 3;

/// A request with a body that never comes.
fn upload(stream: u32) -> Vec<u8> {
    let fields = [(":method", "POST"), GET[1], GET[2], (":path", "/sink")];
    frame(HEADERS, END_HEADERS, stream, &block(&fields))
}

/// So many frames of one kind.
fn many(frame: &[u8]) -> impl FnMut() -> Vec<u8> + use<> {
    let many = frame.repeat(1_000);
    move || many.clone()
}

/// Frames for stream after stream.
fn each(mut frames: impl FnMut(u32) -> Vec<u8>) -> impl FnMut() -> Vec<u8> {
    let mut next = 1;
    move || {
        let all = (0..100).flat_map(|count| frames(next + 2 * count)).collect();
        next += 200;
        all
    }
}

/// What comes before the flood, and a maker of its pieces.
type Offence = (Vec<u8>, Box<dyn FnMut() -> Vec<u8>>);

/// Every flood, and how it is counted.
#[allow(clippy::too_many_lines, clippy::type_complexity, reason = "a table of cases")]
fn floods() -> Vec<(&'static str, Flood, fn() -> Offence)> {
    vec![
        ("settings", Flood::Settings, || (vec![], Box::new(many(&frame(SETTINGS, 0, 0, &[]))))),
        ("settings that change windows", Flood::Settings, || {
            let mut size = 0_u32;
            let open = (0..50).flat_map(|count| upload(2 * count + 1)).collect();
            let change = move || {
                size = (size + 1) % 60_000;
                frame(SETTINGS, 0, 0, &[&[0, 4], &size.to_be_bytes()[..]].concat())
            };
            (open, Box::new(change))
        }),
        ("pings", Flood::Pings, || (vec![], Box::new(many(&frame(PING, 0, 0, b"01234567"))))),
        ("answers to pings", Flood::Pings, || {
            (vec![], Box::new(many(&frame(PING, 1, 0, b"01234567"))))
        }),
        ("priorities", Flood::Other, || {
            (vec![], Box::new(many(&frame(PRIORITY, 0, 3, &[0, 0, 0, 1, 9]))))
        }),
        ("unknown frames", Flood::Other, || (vec![], Box::new(many(&frame(0xbe, 0, 0, b""))))),
        ("windows", Flood::Windows, || {
            (vec![], Box::new(many(&frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()))))
        }),
        ("windows of what is over", Flood::Windows, || {
            (get(1), Box::new(many(&frame(WINDOW_UPDATE, 0, 1, &1_u32.to_be_bytes()))))
        }),
        ("resets of what is over", Flood::Resets, || {
            (get(1), Box::new(many(&frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes()))))
        }),
        ("empty data", Flood::Data, || (upload(1), Box::new(many(&frame(DATA, 0, 1, b""))))),
        ("padding and nothing else", Flood::Data, || {
            // PADDED: three bytes of padding, and the byte that says so.
            (upload(1), Box::new(many(&frame(DATA, 8, 1, &[3, 0, 0, 0]))))
        }),
        ("a head without an end", Flood::Heads, || {
            let begun = frame(HEADERS, END_STREAM, 1, &block(&GET));
            (begun, Box::new(many(&frame(CONTINUATION, 0, 1, &block(&[("a", "")])))))
        }),
        ("a head that unfolds", Flood::Heads, || {
            // A field of 4000 bytes that is remembered, and then named by one byte each time.
            let mut fields = block(&GET);
            fields.extend([0x40, 1, b'a', 127]);
            fields.extend([0xa1, 0x1e]);
            fields.extend([b'x'; 4000]);
            fields.extend([0xbe; 10_000]);
            let head = frame(HEADERS, END_STREAM | END_HEADERS, 1, &fields);
            (vec![], Box::new(move || head.clone()))
        }),
        ("rapid reset", Flood::Resets, || {
            let pair = |stream| [get(stream), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat();
            (vec![], Box::new(each(pair)))
        }),
        ("made you reset, by windows too large", Flood::Resets, || {
            let pair = |stream| {
                let window = frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes());
                [upload(stream), window].concat()
            };
            (vec![], Box::new(each(pair)))
        }),
        ("made you reset, by data behind the end", Flood::Resets, || {
            let pair = |stream| {
                let sized = [&GET[..], &[("content-length", "1")]].concat();
                let head = frame(HEADERS, END_HEADERS, stream, &block(&sized));
                [head, frame(DATA, END_STREAM, stream, b"xx")].concat()
            };
            (vec![], Box::new(each(pair)))
        }),
    ]
}

#[test]
fn an_offender_is_cut_off_and_counted_by_its_offence() {
    for (what, kind, offence) in floods() {
        let site = Site::of(1, 0, |_| {});
        let cells = site.register.tier(&"web".parse().unwrap());
        let (before, mut flood) = offence();
        let mut wire = Wire::to(site.address);
        wire.send(&before);
        let took = wire.cut_off(&mut flood);
        assert!(took < CUT_WITHIN, "{what}: {took:?}");
        site.wait_until(what, || cells.floods(kind) == 1);
        let all: u64 = Flood::ALL.iter().map(|kind| cells.floods(*kind)).sum();
        assert_eq!(all, 1, "{what} is counted once");
        site.wait_until("free", || cells.connections.load(Ordering::SeqCst) == 0);
        site.wait_until("free", || cells.streams.load(Ordering::SeqCst) == 0);
    }
}

/// A way to have Weir reset a stream that it does not go along with even once.
#[test]
fn a_window_of_nought_ends_the_connection() {
    let site = Site::of(1, 0, |_| {});
    let mut wire = Wire::to(site.address);
    wire.send(&[upload(1), frame(WINDOW_UPDATE, 0, 1, &0_u32.to_be_bytes())].concat());
    // PROTOCOL_ERROR
    assert_eq!(wire.fate(1), Fate::GoneAway(1));
    let cells = site.register.tier(&"web".parse().unwrap());
    site.wait_until("free", || cells.connections.load(Ordering::SeqCst) == 0);
}

/// Requests that are each looked at before they are taken back: what hyper does not bound.
#[test]
fn a_rapid_reset_that_takes_its_time_is_cut_off_too() {
    let site = Site::of(1, 0, |_| {});
    let cells = site.register.tier(&"web".parse().unwrap());
    let mut wire = Wire::to(site.address);
    let hang = block(&[&GET[..3], &[(":path", "/hang")]].concat());
    let start = Instant::now();
    let mut asked = 0;
    while cells.floods(Flood::Resets) == 0 {
        assert!(start.elapsed() < Duration::from_mins(2), "after {asked}");
        let stream = 2 * asked + 1;
        wire.send(&frame(HEADERS, END_STREAM | END_HEADERS, stream, &hang));
        std::thread::sleep(Duration::from_millis(2));
        wire.send(&frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        asked += 1;
    }
    assert!((150..4_000).contains(&asked), "after {asked}");
    while wire.read().is_some_and(|got| got.kind != GOAWAY) {}
}

/// What comes together with its own reset reaches no upstream, whoever resets it.
#[test]
fn a_rapid_reset_costs_no_upstream_anything() {
    let reset = |stream| frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
    let window = |stream| frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes());
    for behind in [reset, window] {
        let site = Site::of(1, 0, |_| {});
        for _ in 0..20 {
            let mut wire = Wire::to(site.address);
            let pair = |stream| [get(stream), behind(stream)].concat();
            let many: Vec<u8> = (0..50).flat_map(|count| pair(2 * count + 1)).collect();
            wire.send(&[many, get(201)].concat());
            assert_eq!(wire.fate(201), Fate::Answered(200));
        }
        assert_eq!(site.stable.requests(), 20);
        site.expect_counts([(20, 0), (0, 0)]);
    }
}

/// What honest clients do now and then, and what must not be taken for a flood.
#[test]
fn who_takes_back_what_it_does_not_need_is_no_offender() {
    let site = Site::of(1, 0, |_| {});
    let cells = site.register.tier(&"web".parse().unwrap());
    run(async {
        let client = Arc::new(Client::to(site.address).await);
        for _ in 0..5 {
            // A page with a hundred pictures that is left at once, and then one that is read.
            let mut pictures = Vec::new();
            for _ in 0..100 {
                let hang = request(http::Method::GET, "/hang", &[], Content::none());
                let client = Arc::clone(&client);
                pictures.push(tokio::spawn(async move {
                    let asked = client.send(hang);
                    drop(tokio::time::timeout(Duration::from_millis(200), asked).await);
                }));
            }
            for picture in pictures {
                picture.await.unwrap();
            }
            for _ in 0..100 {
                assert_eq!(client.get("/", &[]).await.status, 200);
            }
        }
    });
    assert!(Flood::ALL.iter().all(|kind| cells.floods(*kind) == 0));
}

/// A stream of small messages is what gRPC is made for.
#[test]
fn who_sends_many_small_messages_at_once_is_no_offender() {
    let site = Site::of(1, 0, |_| {});
    let cells = site.register.tier(&"web".parse().unwrap());
    // As many as fit in the window that there is at first, of one stream or of ten in turn.
    for (size, count, streams) in [(1, 60_000, 1), (20, 3_000, 1), (200, 300, 1), (20, 300, 10)] {
        let mut wire = Wire::to(site.address);
        let streams = || (0..streams).map(|stream| 2 * stream + 1);
        let message = |stream| frame(DATA, 0, stream, &vec![b'x'; size]);
        let ends: Vec<u8> =
            streams().flat_map(|stream| frame(DATA, END_STREAM, stream, b"")).collect();
        let messages = streams().flat_map(message).collect::<Vec<u8>>().repeat(count);
        let before = site.stable.requests();
        wire.send(&streams().flat_map(upload).collect::<Vec<u8>>());
        if streams().count() > 1 {
            // Of several that take turns none can be joined; they go on as fast as they come.
            let there = before + streams().count() as u64;
            site.wait_until("there", || site.stable.requests() == there);
        }
        wire.send(&[messages, ends].concat());
        let last = streams().next_back().unwrap();
        assert_eq!(wire.fate(last), Fate::Answered(200), "{count} messages of {size} bytes");
    }
    assert!(Flood::ALL.iter().all(|kind| cells.floods(*kind) == 0));
}

/// Asks over and over; gives how long each answer took.
fn ask(site: &Site, stop: &AtomicBool) -> Vec<Duration> {
    let mut wire = Wire::to(site.address);
    let (mut stream, mut times) = (1, Vec::new());
    while !stop.load(Ordering::SeqCst) {
        let start = Instant::now();
        assert!(wire.send(&get(stream)), "cut off after {} answers", times.len());
        assert_eq!(wire.fate(stream), Fate::Answered(200));
        times.push(start.elapsed());
        stream += 2;
        std::thread::sleep(Duration::from_millis(1));
    }
    times.sort_unstable();
    times
}

#[test]
fn honest_clients_do_not_notice_the_offenders_beside_them() {
    if std::env::var_os("WEIR_QUICK").is_some() {
        return;
    }
    let site = Site::of(1, 0, |_| {});
    let cells = site.register.tier(&"web".parse().unwrap());
    let middle = |times: &[Duration]| times[times.len() / 2];
    let late = |times: &[Duration]| times[times.len() * 95 / 100];
    let calm = watch(&site, || std::thread::sleep(siege()));
    let siege_by = |what: &str, offence: fn() -> Offence| {
        watch(&site, || {
            let start = Instant::now();
            std::thread::scope(|scope| {
                for _ in 0..OFFENDERS {
                    scope.spawn(|| {
                        while start.elapsed() < siege() {
                            let (before, mut flood) = offence();
                            let mut wire = Wire::to(site.address);
                            wire.send(&before);
                            assert!(wire.cut_off(&mut flood) < CUT_WITHIN, "{what}");
                        }
                    });
                }
            });
        })
    };
    let most = [middle(&calm) * 20 + SLACK, late(&calm) * 20 + SLACK * 5];
    for (what, kind, offence) in floods() {
        // A busy machine stumbles now and then; what an offender does to others it does each time.
        for attempt in 1.. {
            let besieged = siege_by(what, offence);
            let times = [middle(&besieged), late(&besieged)];
            let count = cells.floods(kind);
            println!("{what}: {times:?} of {most:?}; {count} cut off");
            if times[0] < most[0] && times[1] < most[1] {
                break;
            }
            assert!(attempt < ATTEMPTS_MAX, "{what}: {times:?} of {most:?}");
        }
        assert!(cells.floods(kind) >= OFFENDERS as u64, "{what}");
    }
}

/// What an honest client sees while `something` goes on.
fn watch(site: &Site, something: impl FnOnce()) -> Vec<Duration> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let honest = scope.spawn(|| ask(site, &stop));
        let over = Over(&stop);
        something();
        drop(over);
        honest.join().expect("no answer is lost")
    })
}
