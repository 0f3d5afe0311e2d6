//! A client that still sends when it is refused sees the answer, not a reset.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::quick;
use crate::proxy::Site;
use crate::support::client::Client;

/// Bytes that are sent before anybody looks for an answer: more than sockets hold.
const MUCH: usize = 12 * 1024 * 1024;

/// Sends `head` and then `MUCH` bytes of `filling`, all before it reads; what came back.
fn refused(site: &Site, head: &str, filling: &[u8]) -> String {
    let mut stream = TcpStream::connect(site.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    stream.set_write_timeout(Some(Duration::from_mins(1))).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    for _ in 0..MUCH / filling.len() {
        stream.write_all(filling).expect("what comes too late is read and thrown away");
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("no reset before the end");
    answer
}

#[test]
fn who_sends_too_large_a_body_is_told() {
    let site = Site::of(1, 0, |tier| tier.limits.body_bytes = Some(1_000));
    let length = format!("content-length: {MUCH}");
    for length in [length.as_str(), "transfer-encoding: chunked"] {
        let head = format!("POST /sink HTTP/1.1\r\nhost: app\r\n{length}\r\n\r\n");
        let filling = format!("{:x}\r\n{}\r\n", 64_000, "x".repeat(64_000));
        let answer = refused(&site, &head, filling.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 413 "), "{length}: {answer}");
        assert!(answer.contains("too large"), "{length}: {answer}");
    }
}

#[test]
fn who_sends_what_is_no_http_is_told() {
    let site = Site::new(0);
    let filling = vec![b'x'; 64_000];
    let heads = [
        "POST / HTTP/1.1\r\nhost: a b\r\ncontent-length: 99999999\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length: x\r\nhost: app\r\n\r\n",
        "POST /sink HTTP/1.1\r\nhost: app\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
    ];
    for head in heads {
        let answer = refused(&site, head, &filling);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{head}: {answer}");
    }
}

#[test]
fn who_is_too_slow_is_told_even_if_it_goes_on() {
    if quick() {
        return;
    }
    let site = Site::with(0, |tier| tier.timeouts.body_idle = Duration::from_millis(500));
    let mut client = site.client();
    client.send("POST /sink HTTP/1.1\r\nhost: app\r\ncontent-length: 100000000\r\n\r\nx");
    // The answer is there, and nobody has looked at it.
    let mut byte = [0];
    while client.stream.peek(&mut byte).is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {}
    for _ in 0..50 {
        client.send(&"x".repeat(100_000));
    }
    assert_eq!(client.answer("POST").unwrap().status, 408);
    assert!(client.is_closed());
}

#[test]
fn what_is_thrown_away_is_bounded() {
    if quick() {
        return;
    }
    let site = Site::of(1, 0, |tier| tier.limits.body_bytes = Some(1_000));
    let mut stream = TcpStream::connect(site.address).unwrap();
    stream.set_write_timeout(Some(Duration::from_mins(1))).unwrap();
    stream
        .write_all(b"POST /sink HTTP/1.1\r\nhost: app\r\ncontent-length: 9999999999\r\n\r\n")
        .unwrap();
    let (begun, filling, mut sent) = (Instant::now(), vec![b'x'; 64_000], 0_usize);
    while stream.write_all(&filling).is_ok() {
        sent += filling.len();
        assert!(sent < 64 * 1024 * 1024, "{sent} bytes in {:?}", begun.elapsed());
    }
    // And in time: whoever says nothing more is let go.
    let mut silent = site.client();
    silent.send("POST /sink HTTP/1.1\r\nhost: app\r\ncontent-length: 9999999999\r\n\r\n");
    assert_eq!(silent.answer("POST").unwrap().status, 413);
    assert!(silent.is_closed());
    let cells = site.register.tier(&"web".parse().unwrap());
    let open = || cells.connections.load(std::sync::atomic::Ordering::SeqCst);
    site.wait_until_within(Duration::from_mins(2), "closed", || open() == 0);
}

#[test]
fn who_lingers_makes_way_and_holds_up_no_drain() {
    let mut site = Site::of(1, 0, |tier| {
        tier.limits.body_bytes = Some(1_000);
        tier.limits.connections = 1;
    });
    let post = "POST /sink HTTP/1.1\r\nhost: app\r\ncontent-length: 9999999999\r\n\r\n";
    let mut first = site.client();
    first.send(post);
    assert_eq!(first.answer("POST").unwrap().status, 413);
    // It is not silent, and so would linger for half a minute.
    let goes_on = |client: &Client| {
        let mut stream = client.stream.try_clone().unwrap();
        std::thread::spawn(move || {
            while stream.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(100));
            }
        })
    };
    let begun = Instant::now();
    let first = goes_on(&first);
    let mut second = site.client();
    second.send(post);
    assert_eq!(second.answer("POST").unwrap().status, 413);
    first.join().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
    let begun = Instant::now();
    let second = goes_on(&second);
    assert_eq!(site.proxy.take().unwrap().drain(Duration::from_mins(5)), 0);
    second.join().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
}
