//! Tunnels, frame by frame.

use std::io::Write;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use weir::traffic::Weight;

use crate::proxy::Site;
use crate::support::client::Client;
use crate::support::web_socket::{GOODBYE, frame, unmasked};

const MASK: [u8; 4] = [1, 2, 3, 4];

/// A tunnel to the canary, whose upstream sends back what it gets.
fn open(site: &Site, path: &str, protocol: &str) -> Client {
    let mut client = site.client();
    client.send(&format!(
        "GET {path} HTTP/1.1\r\nhost: app\r\nconnection: Upgrade\r\nupgrade: {protocol}\r\n\r\n"
    ));
    let answer = client.head().unwrap();
    assert_eq!((answer.status, answer.field("upgrade")), (101, Some(protocol)));
    site.wait_until("open", || site.shown().1.upgraded_open == 1);
    client
}

fn write(client: &mut Client, bytes: &[u8]) {
    client.stream.write_all(bytes).unwrap();
}

fn expect(client: &mut Client, bytes: &[u8]) {
    while client.rest().len() < bytes.len() {
        assert!(client.fill(), "closed after {:?}", client.rest());
    }
    assert_eq!(client.rest(), bytes);
}

fn lose(site: &Site) {
    site.publish(|tier| (tier.canary, tier.weight) = (None, Weight::NONE));
}

fn tunnelled(site: &Site) -> Vec<u8> {
    site.canary.state.tunnelled.lock().unwrap().clone()
}

fn expect_closed(site: &Site) {
    site.wait_until("closed", || site.shown().1.upgraded_open == 0);
    site.wait_until("closed", || site.canary.state.cancelled.load(Ordering::SeqCst) == 1);
}

#[test]
fn both_sides_are_told_when_their_release_loses() {
    let site = Site::new(100);
    let mut client = open(&site, "/tunnel", "websocket");
    let hello = frame(1, b"hello", Some(MASK));
    write(&mut client, &hello);
    expect(&mut client, &hello);
    site.expect_counts([(0, 0), (1, 0)]);
    lose(&site);
    expect(&mut client, &[&hello, GOODBYE].concat());
    // What the client had sent before it heard of it goes nowhere; then it says goodbye in turn,
    // and only then is the connection closed.
    let too_late = frame(1, b"too late", Some(MASK));
    write(&mut client, &too_late);
    write(&mut client, &frame(8, &[0x03, 0xe9], Some(MASK)));
    let since = Instant::now();
    assert!(client.is_closed());
    assert!(since.elapsed() < Duration::from_secs(8), "nobody waits for a reply that has come");
    assert_eq!(client.rest(), [&hello, GOODBYE].concat());
    expect_closed(&site);
    let upstream = tunnelled(&site);
    assert_eq!(upstream[..hello.len()], hello);
    assert_eq!(unmasked(&upstream[hello.len()..]), GOODBYE);
    site.expect_counts([(0, 0), (1, 0)]);
}

#[test]
fn a_frame_under_way_comes_to_its_end_before_the_goodbye() {
    for cut in [1, 5, 20] {
        let site = Site::new(100);
        let mut client = open(&site, "/tunnel", "websocket");
        let long = frame(2, &[b'x'; 100], Some(MASK));
        // The upstream sends back what it has: both directions are in the middle of a frame.
        write(&mut client, &long[..cut]);
        expect(&mut client, &long[..cut]);
        lose(&site);
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(site.shown().1.upgraded_open, 1);
        // In two pieces, the second with one frame too many.
        write(&mut client, &long[cut..cut + 30]);
        expect(&mut client, &long[..cut + 30]);
        let too_late = frame(1, b"too late", Some(MASK));
        write(&mut client, &[&long[cut + 30..], &too_late].concat());
        expect(&mut client, &[&long, GOODBYE].concat());
        write(&mut client, &frame(8, &[0x03, 0xe9], Some(MASK)));
        assert!(client.is_closed());
        assert_eq!(client.rest(), [&long, GOODBYE].concat());
        expect_closed(&site);
        let upstream = tunnelled(&site);
        assert_eq!(upstream[..long.len()], long);
        assert_eq!(unmasked(&upstream[long.len()..]), GOODBYE, "and no frame between them");
    }
}

#[test]
fn a_frame_that_does_not_end_is_cut() {
    if crate::support::quick::is_quick("the frame that does not end") {
        return;
    }
    let site = Site::new(100);
    let mut client = open(&site, "/tunnel", "websocket");
    let long = frame(2, &[b'x'; 100], Some(MASK));
    write(&mut client, &long[..50]);
    expect(&mut client, &long[..50]);
    let since = Instant::now();
    lose(&site);
    assert!(client.is_closed());
    let took = since.elapsed();
    assert!(took >= Duration::from_secs(5), "{took:?}");
    assert_eq!(client.rest(), &long[..50], "a goodbye here would be taken for a part of the frame");
    expect_closed(&site);
}

#[test]
fn who_says_nothing_to_the_goodbye_is_closed_all_the_same() {
    if crate::support::quick::is_quick("the silent client") {
        return;
    }
    let site = Site::new(100);
    let mut client = open(&site, "/tunnel", "websocket");
    lose(&site);
    assert!(client.is_closed());
    assert_eq!(client.rest(), GOODBYE);
    expect_closed(&site);
}

#[test]
fn who_has_said_goodbye_hears_no_second_one() {
    let site = Site::new(100);
    let mut client = open(&site, "/tunnel", "websocket");
    let goodbye = frame(8, &[0x03, 0xe8], Some(MASK));
    write(&mut client, &goodbye);
    expect(&mut client, &goodbye);
    // Either could close the connection now, and neither does.
    lose(&site);
    assert!(client.is_closed());
    assert_eq!(client.rest(), goodbye);
    expect_closed(&site);
    assert_eq!(tunnelled(&site), goodbye);
}

#[test]
fn another_protocol_is_closed_without_a_word() {
    let site = Site::new(100);
    let mut client = open(&site, "/other-tunnel", "other");
    write(&mut client, b"half a wor");
    expect(&mut client, b"half a wor");
    lose(&site);
    assert!(client.is_closed());
    assert_eq!(client.rest(), b"half a wor");
    expect_closed(&site);
    assert_eq!(tunnelled(&site), b"half a wor");
}
