//! Long bodies, which go from the upstream to the client without coming into the proxy.

use std::io::Read;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Site;
use crate::support::client::Client;
use crate::support::upstream::counted;

/// More than the sockets on the way take.
const BYTES: usize = 24 * 1024 * 1024;

/// Asks for a body of so many bytes, and reads no more than its head.
fn ask(site: &Site, path: &str) -> Client {
    let mut client = site.client();
    client.send(&format!("GET {path} HTTP/1.1\r\nhost: app\r\n\r\n"));
    assert_eq!(client.head().unwrap().status, 200);
    client
}

/// What comes in on `client` up to `bytes` or the end, in pieces of at most `piece`.
fn read(client: &mut Client, bytes: usize, piece: usize) -> Vec<u8> {
    let mut body = client.rest().to_vec();
    let mut chunk = vec![0; piece];
    while body.len() < bytes {
        match client.stream.read(&mut chunk) {
            Ok(0) | Err(_) => break,
            Ok(read) => body.extend_from_slice(&chunk[..read]),
        }
    }
    body
}

#[test]
fn they_arrive_whole_whatever_their_length() {
    let site = Site::of(1, 0, |_| {});
    let mut client = site.client();
    for bytes in [65_535, 65_536, 65_537, 98_304, 131_072, 1 << 20, (1 << 20) + 1, 5_000_001] {
        let answer = client.get(&format!("/counted?{bytes}"), "");
        assert!(answer.body == counted(bytes), "{bytes}");
    }
}

#[test]
fn they_arrive_whole_at_clients_who_are_slow() {
    let site = Site::of(1, 0, |_| {});
    let mut client = ask(&site, &format!("/counted?{BYTES}"));
    std::thread::sleep(Duration::from_millis(300));
    let mut begin = read(&mut client, 40_000, 1_000);
    std::thread::sleep(Duration::from_millis(300));
    let (had, mut client) = (begin.len(), Client::on(client.stream));
    begin.extend(read(&mut client, BYTES - had, 70_001));
    assert!(begin == counted(BYTES));
    site.expect_counts([(1, 0), (0, 0)]);
}

/// More than there are pipes for.
#[test]
fn they_arrive_whole_at_many_at_once() {
    let site = Site::of(1, 0, |_| {});
    let clients: Vec<Client> = (0..80).map(|_| ask(&site, "/counted?4000000")).collect();
    std::thread::sleep(Duration::from_millis(300));
    let whole = counted(4_000_000);
    for mut client in clients {
        assert!(read(&mut client, whole.len(), 256 * 1024) == whole);
    }
    site.expect_counts([(80, 0), (0, 0)]);
}

#[test]
fn what_came_before_the_upstream_broke_off_arrives_and_counts_as_an_error() {
    let site = Site::of(1, 0, |_| {});
    let mut client = ask(&site, &format!("/half-counted?{BYTES}"));
    std::thread::sleep(Duration::from_millis(300));
    assert!(read(&mut client, BYTES, 256 * 1024) == counted(BYTES / 2));
    site.expect_counts([(1, 1), (0, 0)]);
}

#[test]
fn a_client_that_goes_away_ends_them() {
    let site = Site::of(1, 0, |_| {});
    drop(ask(&site, "/big?1000000000"));
    site.wait_until("over", || site.shown().0.in_flight == 0);
    assert!(site.stable.state.body_bytes.load(Ordering::SeqCst) < 100_000_000);
    site.expect_counts([(1, 0), (0, 0)]);
    assert!(site.client().get("/counted?1000000", "").body == counted(1_000_000));
}

#[test]
fn an_upstream_that_falls_silent_in_the_middle_is_cut_off() {
    let site = Site::of(1, 0, |tier| tier.timeouts.body_idle = Duration::from_millis(400));
    let mut client = ask(&site, "/stalled?1000000");
    assert!(read(&mut client, 1_000_000, 256 * 1024) == counted(500_000));
    site.expect_counts([(1, 1), (0, 0)]);
}
