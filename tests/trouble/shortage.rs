//! What clients see when memory is short, and how warm a version is that everybody goes back to.

use std::sync::atomic::Ordering;
use std::time::Duration;

use weir::traffic::Weight;

use super::quick;
use crate::proxy::Site;
use crate::support::client::Client;

#[test]
fn what_there_is_no_memory_for_is_told_when_to_come_again() {
    let site = Site::of(1, 0, |_| {});
    let memory = site.register.memory();
    let mut busy = site.client();
    busy.send("GET /slow?6000 HTTP/1.1\r\nhost: app\r\n\r\n");
    site.wait_until("busy", || site.stable.requests() == 1);
    memory.may_have(Some(1));
    site.wait_until("short", || memory.is_short());
    let mut late = site.client();
    let answer = late.get("/", "");
    assert_eq!((answer.status, answer.field("retry-after")), (503, Some("5")));
    assert_eq!(answer.field("connection"), Some("close"), "its memory is wanted back");
    assert!(answer.text().contains("memory"), "{}", answer.text());
    assert!(late.is_closed());
    assert_eq!(busy.answer("GET").unwrap().status, 200, "what was begun goes on");
    assert!(busy.is_closed(), "what idles then gives its memory back");
    let cells = site.register.tier(&"web".parse().unwrap());
    assert_eq!(cells.shed.load(Ordering::Relaxed), 1);
    site.expect_counts([(1, 0), (0, 0)]);
    memory.may_have(None);
    site.wait_until("at ease", || !memory.is_short());
    assert_eq!(site.client().get("/", "").status, 200);
}

/// Everybody of `clients` at once, to a place that answers after some time.
fn all_at_once(clients: &mut [Client], milliseconds: u32) {
    for client in clients.iter_mut() {
        client.send(&format!("GET /slow?{milliseconds} HTTP/1.1\r\nhost: app\r\n\r\n"));
    }
    for client in clients {
        assert_eq!(client.answer("GET").unwrap().status, 200);
    }
}

#[test]
fn the_version_that_everybody_goes_back_to_is_warm() {
    if quick() {
        return;
    }
    let site = Site::of(1, 0, |tier| {
        tier.timeouts.upstream_idle = Duration::from_millis(300);
        // Health checks close their connections, and are counted with them.
        tier.health.interval = Duration::from_hours(1);
    });
    let connections = || site.stable.state.connections.load(Ordering::SeqCst);
    let mut clients: Vec<Client> = (0..8).map(|_| site.client()).collect();
    all_at_once(&mut clients, 2_000);
    let opened = connections();
    assert!(opened >= 8, "{opened}");
    // Promoted: the old version has no traffic for longer than connections may idle.
    site.publish(|tier| {
        tier.weight = Weight::NONE;
        let canary = tier.canary.take().unwrap();
        tier.others = vec![std::mem::replace(&mut tier.stable, canary)];
    });
    all_at_once(&mut clients, 2_000);
    assert_eq!(site.canary.requests(), 8);
    site.publish(|tier| {
        tier.weight = Weight::NONE;
        tier.others = vec![tier.canary.take().unwrap()];
    });
    all_at_once(&mut clients, 2_000);
    assert_eq!(connections(), opened, "nobody waited for a connection");
}
