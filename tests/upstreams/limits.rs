//! Limits of connections, retries and ejections.

use std::sync::atomic::Ordering;
use std::time::Duration;

use weir::metrics::HealthState;

use super::scene::{Scene, wait_until};
use crate::support::client::Client;
use crate::support::http2::Http2;
use crate::support::program::free_address;
use crate::support::upstream::Upstream;

fn at(upstreams: &[&Upstream]) -> Vec<String> {
    upstreams.iter().map(|upstream| upstream.address.to_string()).collect()
}

/// Clients that ask for `path` until the upstream in `slot` has so many connections, and so many
/// requests wait for one.
fn fill(scene: &Scene, slot: usize, most: (usize, usize), path: &str) -> Vec<Client> {
    let is = || scene.register.upstream_shown(slot);
    let ask = |count| {
        let mut client = scene.client();
        client.send(&format!("GET {path} HTTP/1.1\r\nhost: app\r\n\r\n"));
        wait_until("full", || {
            let shown = is();
            shown.connections == most.0.min(count) && shown.connections + shown.pending == count
        });
        client
    };
    (1..=most.0 + most.1).map(ask).collect()
}

#[test]
fn an_upstream_never_has_more_connections_than_it_may_and_everybody_is_served() {
    let upstream = Upstream::start("1.0");
    let scene = Scene::with(&at(&[&upstream]), &[], |plan| {
        plan.tier.limits.upstream_connections = Some(3);
        plan.tier.health.interval = Duration::from_hours(1);
        plan.tier.timeouts.connect = Duration::from_mins(1);
    });
    let checks = upstream.state.connections.load(Ordering::SeqCst);
    let statuses = std::thread::scope(|scope| {
        let asked = scope.spawn(|| scene.at_once(60, "/slow?50"));
        let mut most = 0;
        while !asked.is_finished() {
            most = most.max(scene.register.upstream_shown(0).connections);
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!((1..=3).contains(&most), "{most} connections");
        asked.join().unwrap()
    });
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    let opened = upstream.state.connections.load(Ordering::SeqCst) - checks;
    assert!(opened < 40, "connections are handed on, not opened anew: {opened} for 60 requests");
    let shown = scene.register.upstream_shown(0);
    assert_eq!(shown.pending, 0);
}

#[test]
fn one_connection_serves_both_workers() {
    let upstream = Upstream::start("1.0");
    let scene = Scene::with(&at(&[&upstream]), &[], |plan| {
        plan.tier.limits.upstream_connections = Some(1);
    });
    // Enough clients that both workers have some.
    let mut clients: Vec<Client> = (0..16).map(|_| scene.client()).collect();
    for _ in 0..5 {
        assert!(clients.iter_mut().all(|client| client.get("/", "").status == 200));
    }
}

#[test]
fn who_is_one_too_many_is_sent_away_until_later() {
    let upstream = Upstream::start("1.0");
    let scene = Scene::with(&at(&[&upstream]), &[], |plan| {
        plan.tier.limits.upstream_connections = Some(1);
        plan.tier.limits.upstream_pending = 1;
        plan.tier.timeouts.connect = Duration::from_mins(1);
    });
    let mut busy = fill(&scene, 0, (1, 1), "/slow?3000");
    assert_eq!(scene.at_once(8, "/"), [503; 8]);
    assert!(busy.iter_mut().all(|client| client.answer("GET").unwrap().status == 200));
    let shown = scene.stable();
    assert_eq!((shown.stable.attempts.full, shown.stable.attempts.classes[1]), (8, 2));
    let totals = scene.register.totals(0);
    assert_eq!((totals.requests, totals.errors), (10, 8), "it is the release that is too slow");
    assert_eq!(scene.health(0), HealthState::Healthy, "and nobody is left out for it");
}

#[test]
fn the_answer_says_when_to_come_again() {
    let upstream = Upstream::start("1.0");
    let scene = Scene::with(&at(&[&upstream]), &[], |plan| {
        plan.tier.limits.upstream_connections = Some(1);
        plan.tier.limits.upstream_pending = 1;
        plan.tier.timeouts.connect = Duration::from_mins(1);
    });
    let _busy = fill(&scene, 0, (1, 1), "/slow?5000");
    let answer = scene.client().get("/", "");
    assert_eq!((answer.status, answer.field("retry-after")), (503, Some("1")));
}

#[test]
fn another_upstream_serves_what_is_too_much_for_one() {
    let (one, two) = (Upstream::start("one"), Upstream::start("two"));
    let scene = Scene::with(&at(&[&one, &two]), &[], |plan| {
        plan.tier.limits.upstream_connections = Some(1);
        plan.tier.limits.upstream_pending = 1;
        plan.tier.timeouts.connect = Duration::from_mins(1);
    });
    let mut clients: Vec<Client> = Vec::new();
    let held = |slot| {
        let shown = scene.register.upstream_shown(slot);
        shown.connections + shown.pending
    };
    for count in 1..=4 {
        let mut client = scene.client();
        client.send("GET /slow?3000 HTTP/1.1\r\nhost: app\r\n\r\n");
        wait_until("there", || held(0) + held(1) == count);
        clients.push(client);
    }
    assert!(clients.iter_mut().all(|client| client.answer("GET").unwrap().status == 200));
    assert_eq!(scene.stable().stable.attempts.full, 0);
}

#[test]
fn a_canary_so_slow_that_it_is_full_fails_and_its_users_are_spared() {
    let (stable, canary) = (Upstream::start("1.0"), Upstream::start("1.1"));
    let scene = Scene::with(&at(&[&stable]), &at(&[&canary]), |plan| {
        plan.tier.limits.upstream_connections = Some(2);
        plan.tier.limits.upstream_pending = 2;
    });
    canary.state.delay.store(1_000, Ordering::SeqCst);
    let mut busy = fill(&scene, 1, (2, 2), "/");
    assert_eq!(scene.at_once(2, "/"), [200, 200]);
    assert!(busy.iter_mut().all(|client| client.answer("GET").unwrap().status == 200));
    let shown = scene.canary();
    assert_eq!((shown.canary.attempts.full, shown.rescues), (2, 2));
    wait_until("judged", || scene.register.totals(1).requests == 6);
    assert_eq!(scene.register.totals(1).errors, 2);
    assert_eq!(scene.register.totals(0).requests, 0, "whoever helps out counts nothing");
}

#[test]
fn streams_beyond_what_connections_may_carry_wait_too() {
    let upstream = Http2::start(2);
    let scene = Scene::with(&[format!("h2c://{}", upstream.address)], &[], |plan| {
        plan.tier.limits.upstream_connections = Some(2);
        plan.tier.timeouts.connect = Duration::from_mins(1);
    });
    let statuses = scene.at_once(24, "/slow?50");
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    assert!(upstream.state.streams_seen.load(Ordering::SeqCst) <= 4);
}

#[test]
fn a_client_that_leaves_the_line_holds_up_nobody() {
    let upstream = Upstream::start("1.0");
    let scene = Scene::with(&at(&[&upstream]), &[], |plan| {
        plan.tier.limits.upstream_connections = Some(1);
        plan.tier.timeouts.connect = Duration::from_mins(1);
    });
    let pending = || scene.register.upstream_shown(0).pending;
    let mut clients: Vec<Client> = (0..6).map(|_| scene.client()).collect();
    clients[0].send("GET /slow?3000 HTTP/1.1\r\nhost: app\r\n\r\n");
    wait_until("busy", || upstream.requests() == 1);
    for client in &mut clients[1..] {
        client.send("GET / HTTP/1.1\r\nhost: app\r\n\r\n");
    }
    wait_until("in line", || pending() == 5);
    let last = clients.pop().unwrap();
    clients.drain(1..);
    wait_until("gone", || pending() == 1);
    let mut rest = [clients.remove(0), last];
    assert!(rest.iter_mut().all(|client| client.answer("GET").unwrap().status == 200));
    assert_eq!(pending(), 0);
}

#[test]
fn at_most_half_of_a_release_is_left_out() {
    let upstreams: Vec<Upstream> = (0..5).map(|_| Upstream::start("1.0")).collect();
    let scene = Scene::with(&at(&upstreams.iter().collect::<Vec<_>>()), &[], |plan| {
        plan.tier.health.eject_after = 2;
        plan.tier.health.eject_for = Duration::from_mins(5);
    });
    let mut client = scene.client();
    for _ in 0..60 {
        assert_eq!(client.get("/status?503", "").status, 503);
    }
    let out = (0..5).filter(|slot| scene.health(*slot) == HealthState::Ejected).count();
    assert_eq!(out, 2, "half of five, rounded down");
    let ejections: u64 = (0..5).map(|slot| scene.register.upstream_shown(slot).ejections).sum();
    assert_eq!(ejections, 2);
    assert_eq!(client.get("/", "").status, 200);
}

#[test]
fn the_last_that_is_well_is_never_left_out() {
    let (bad, dead) = (Upstream::start("1.0"), free_address());
    let scene = Scene::with(&[bad.address.to_string(), dead.to_string()], &[], |plan| {
        plan.tier.health.eject_after = 1;
        plan.tier.health.eject_max = 10_000;
        plan.tier.health.boot_grace = Duration::ZERO;
        plan.tier.health.fall = 1;
    });
    let mut client = scene.client();
    for _ in 0..10 {
        client.get("/status?503", "");
    }
    assert_eq!(scene.health(0), HealthState::Healthy);
    assert_eq!(client.get("/", "").status, 200);
}

#[test]
fn an_upstream_that_comes_back_gets_less_than_its_share_at_first() {
    let (one, two) = (Upstream::start("one"), Upstream::start("two"));
    let scene = Scene::with(&at(&[&one, &two]), &[], |plan| {
        plan.tier.health.slow_start = Duration::from_mins(10);
        plan.tier.health.eject_after = 1;
        plan.tier.health.eject_for = Duration::from_millis(200);
    });
    // Both are new: neither is better off.
    let mut client = scene.client();
    let mut share = |count: u32| {
        let of_one = (0..count).filter(|_| client.get("/", "").text().starts_with("one")).count();
        of_one as f64 / f64::from(count)
    };
    let fair = share(200);
    assert!((0.3..0.7).contains(&fair), "{fair}");
    scene.publish(|tier| {
        let mut changed = (*tier.tier).clone();
        // What is known since a second is known for long.
        changed.health.slow_start = Duration::from_secs(8);
        tier.tier = changed.into();
    });
    std::thread::sleep(Duration::from_secs(8));
    let mut failing = scene.client();
    one.state.failing.store(0, Ordering::SeqCst);
    while scene.health(0) != HealthState::Ejected && scene.health(1) != HealthState::Ejected {
        failing.get("/status?503", "");
    }
    let back = usize::from(scene.health(1) == HealthState::Ejected);
    wait_until("back", || scene.health(back) == HealthState::Healthy);
    let of_one = share(100);
    let slow = if back == 0 { of_one } else { 1.0 - of_one };
    assert!(slow < 0.35, "{slow} at once");
    std::thread::sleep(Duration::from_secs(8));
    let later = share(200);
    assert!((0.3..0.7).contains(&later), "{later} later");
}

#[test]
fn a_dying_release_is_not_hit_twice_as_hard() {
    let (one, two) = (Upstream::start("1.0"), Upstream::start("1.0"));
    let scene = Scene::with(&at(&[&one, &two]), &[], |plan| {
        plan.tier.health.path = None;
    });
    let mut client = scene.client();
    for _ in 0..300 {
        // Closed without an answer; it may be repeated.
        client.get("/close", "");
    }
    let shown = scene.stable();
    let reset = shown.stable.attempts.reset;
    // 300 first attempts, 60 for the budget and at most 10 saved for each worker.
    assert!((350..=385).contains(&reset), "{reset} attempts for 300 requests");
    assert!(shown.refused_retries >= 200, "{}", shown.refused_retries);
    let totals = scene.register.totals(0);
    assert_eq!((totals.requests, totals.errors), (300, 300));
}
