//! Connections on which nothing happens give their memory back, and nobody notices.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::quick;
use crate::proxy::Site;
use crate::support::client::Client;

fn resting(site: &Site) -> usize {
    site.register.tier(&"web".parse().unwrap()).resting.load(Ordering::Relaxed)
}

fn open(site: &Site) -> usize {
    site.register.tier(&"web".parse().unwrap()).connections.load(Ordering::Relaxed)
}

#[test]
fn a_connection_wakes_up_where_it_went_to_rest() {
    if quick() {
        return;
    }
    let site = Site::of(1, 0, |_| {});
    let (mut used, mut fresh) = (site.client(), site.client());
    assert_eq!(used.get("/", "").status, 200);
    for round in 1..=2 {
        site.wait_until("at rest", || resting(&site) == 2);
        assert_eq!(used.get("/", "").status, 200, "round {round}");
        let body = "x".repeat(100_000);
        let head =
            format!("POST /echo HTTP/1.1\r\nhost: app\r\ncontent-length: {}\r\n\r\n", body.len());
        fresh.send(&head);
        fresh.send(&body);
        assert_eq!(fresh.answer("POST").unwrap().status, 200, "round {round}");
    }
    // Several at once, of which the first woke it.
    site.wait_until("at rest", || resting(&site) == 2);
    used.send(&"GET / HTTP/1.1\r\nhost: app\r\n\r\n".repeat(3));
    for _ in 0..3 {
        assert_eq!(used.answer("GET").unwrap().status, 200);
    }
    site.wait_until("at rest", || resting(&site) == 2);
    drop(fresh);
    site.wait_until("closed with its client", || open(&site) == 1);
}

#[test]
fn a_part_of_a_head_or_an_answer_keeps_a_connection_awake() {
    if quick() {
        return;
    }
    let site = Site::of(1, 0, |tier| tier.timeouts.request_head = Duration::from_mins(5));
    let [mut head, mut preface, mut busy, mut idle]: [Client; 4] =
        std::array::from_fn(|_| site.client());
    head.send("GET / HTTP/1.1\r\nho");
    preface.send("PRI * HTTP/2.0\r\n\r\nS");
    busy.send("GET /slow?12000 HTTP/1.1\r\nhost: app\r\n\r\n");
    assert_eq!(idle.get("/", "").status, 200);
    // A part of the preface is kept in hand, whether or not the connection rests.
    site.wait_until("at rest", || resting(&site) >= 1);
    std::thread::sleep(Duration::from_millis(1_500));
    assert!((1..=2).contains(&resting(&site)), "{}", resting(&site));
    head.send("st: app\r\n\r\n");
    assert_eq!(head.answer("GET").unwrap().status, 200);
    assert_eq!(busy.answer("GET").unwrap().status, 200);
    preface.send("M\r\n\r\n");
    preface.send("\0\0\0\x04\0\0\0\0\0");
    while preface.rest().len() < 9 {
        assert!(preface.fill(), "SETTINGS of HTTP/2");
    }
    assert_eq!(preface.rest()[3], 4, "SETTINGS");
}

#[test]
fn whoever_rests_is_still_closed_when_its_time_is_over() {
    if quick() {
        return;
    }
    let site = Site::of(1, 0, |tier| tier.timeouts.client_idle = Duration::from_secs(3));
    let mut idle = site.client();
    assert_eq!(idle.get("/", "").status, 200);
    site.wait_until("at rest", || resting(&site) == 1);
    assert!(idle.is_closed());
    site.wait_until("counted no more", || open(&site) + resting(&site) == 0);
}

#[test]
fn a_drain_does_not_wait_for_those_who_rest() {
    if quick() {
        return;
    }
    let mut site = Site::of(1, 0, |_| {});
    let mut clients: Vec<Client> = (0..20).map(|_| site.client()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/", "").status, 200);
    }
    site.wait_until("at rest", || resting(&site) == 20);
    let begun = std::time::Instant::now();
    assert_eq!(site.proxy.take().unwrap().drain(Duration::from_mins(5)), 0);
    assert!(begun.elapsed() < Duration::from_mins(2), "{:?}", begun.elapsed());
    assert!(clients.iter_mut().all(Client::is_closed));
}
