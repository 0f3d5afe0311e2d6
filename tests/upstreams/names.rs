//! Upstreams that are written by name.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use weir::metrics::HealthState;
use weir::proxy::Resolver;

use super::scene::{Plan, Scene, wait_until};
use crate::support::program::free_address;
use crate::support::upstream::Upstream;

/// What a resolver says, which can be changed.
#[derive(Clone, Default)]
struct Hosts {
    addresses: Arc<Mutex<Option<Vec<SocketAddr>>>>,
    asked: Arc<AtomicU64>,
}

impl Hosts {
    fn say(&self, addresses: &[SocketAddr]) {
        *self.addresses.lock().unwrap() = Some(addresses.to_vec());
    }

    fn fail(&self) {
        *self.addresses.lock().unwrap() = None;
    }

    /// Waits until what is said now has been heard.
    fn heard(&self) {
        let asked = self.asked.load(Ordering::SeqCst);
        wait_until("asked", || self.asked.load(Ordering::SeqCst) >= asked + 2);
    }

    fn used_by(&self, plan: &mut Plan) {
        let own = self.clone();
        plan.settings.resolve_every = Duration::from_millis(20);
        plan.settings.resolver = Resolver::Function(Arc::new(move |host, _| {
            assert_eq!(host, "app.internal");
            own.asked.fetch_add(1, Ordering::SeqCst);
            let said = own.addresses.lock().unwrap().clone();
            said.ok_or_else(|| io::Error::other("the resolver is gone"))
        }));
    }
}

fn app() -> Vec<String> {
    vec!["app.internal:80".to_owned()]
}

/// The version that answers on a connection of its own.
fn version(scene: &Scene) -> String {
    scene.client().get("/", "").text().lines().next().unwrap_or_default().to_owned()
}

#[test]
fn a_name_that_moves_is_followed_and_idle_connections_to_the_old_place_are_closed() {
    let (here, there) = (Upstream::start("here"), Upstream::start("there"));
    let hosts = Hosts::default();
    hosts.say(&[here.address]);
    let scene = Scene::with(&app(), &[], |plan| {
        hosts.used_by(plan);
        plan.tier.health.path = None;
    });
    let mut client = scene.client();
    assert!(client.get("/", "").text().starts_with("here"));
    hosts.say(&[there.address]);
    hosts.heard();
    wait_until("closed", || scene.register.upstream_shown(0).connections == 0);
    assert!(client.get("/", "").text().starts_with("there"));
}

#[test]
fn the_last_good_answer_is_used_while_the_resolver_fails() {
    let upstream = Upstream::start("1.0");
    let hosts = Hosts::default();
    hosts.say(&[upstream.address]);
    let scene = Scene::with(&app(), &[], |plan| hosts.used_by(plan));
    hosts.fail();
    hosts.heard();
    assert_eq!(version(&scene), "1.0");
    let shown = scene.register.upstream_shown(0);
    assert!(shown.resolve_failures > 0);
    assert_eq!(scene.health(0), HealthState::Healthy);
    let error = "the name app.internal cannot be looked up: the resolver is gone";
    assert_eq!(scene.error(0), error);
}

#[test]
fn all_addresses_of_a_name_are_used_in_turn_and_a_dead_one_is_passed_over() {
    let (one, two) = (Upstream::start("one"), Upstream::start("two"));
    let hosts = Hosts::default();
    hosts.say(&[one.address, two.address]);
    let scene = Scene::with(&app(), &[], |plan| {
        hosts.used_by(plan);
        // A new connection for each request.
        plan.tier.limits.upstream_idle = 0;
    });
    let mut seen: Vec<String> = (0..40).map(|_| version(&scene)).collect();
    seen.sort();
    let ones = seen.iter().filter(|version| *version == "one").count();
    assert!((10..=30).contains(&ones), "{ones} of 40");
    hosts.say(&[free_address(), two.address]);
    hosts.heard();
    assert!((0..20).all(|_| version(&scene) == "two"));
    let attempts = scene.stable().stable.attempts;
    assert_eq!((attempts.refused, attempts.classes[1]), (0, 60));
}

#[test]
fn a_name_that_was_never_found_says_so_and_is_served_once_it_is() {
    let upstream = Upstream::start("1.0");
    let hosts = Hosts::default();
    let scene = Scene::with(&app(), &[], |plan| {
        hosts.used_by(plan);
        plan.tier.health.boot_grace = Duration::ZERO;
        plan.tier.health.fall = 1;
    });
    assert_eq!(scene.client().get("/", "").status, 502, "it is known that nothing is known");
    hosts.say(&[upstream.address]);
    wait_until("healthy", || scene.health(0) == HealthState::Healthy);
    assert_eq!(version(&scene), "1.0");
}

#[test]
fn the_resolver_of_the_system_is_the_usual_one() {
    let upstream = Upstream::start("1.0");
    let scene = Scene::new(&[format!("localhost:{}", upstream.address.port())]);
    assert_eq!(version(&scene), "1.0");
}
