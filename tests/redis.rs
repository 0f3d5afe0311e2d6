//! Redis behind Weir: the real binary, real servers.

mod apps;
mod celery;
mod client;
mod conversations;
mod desk;
mod differential;
mod jobs;
mod life;
mod links;
mod listing;
mod parts;
mod ports;
mod suite;
mod warmth;

use std::net::SocketAddr;

use super::support::caches;
use super::support::program::{Program, free_address};
use super::support::quick::is_quick;
use super::support::redis::Redis;
pub use client::Client;

/// Two versions, each with its port, before one Redis.
struct Scene {
    redis: Redis,
    program: Program,
    ports: [SocketAddr; 2],
    listen: SocketAddr,
}

impl Scene {
    fn start() -> Self {
        Self::start_with("")
    }

    /// The same with `more` of the cache.
    fn start_with(more: &str) -> Self {
        let (redis, ports) = (Redis::start(&[]), [free_address(), free_address()]);
        let listen = free_address();
        let program = Program::start(&file(listen, redis.address, ports, more));
        Self { redis, program, ports, listen }
    }

    /// Connections of the two versions.
    fn versions(&self) -> [Client; 2] {
        self.ports.map(Client::new)
    }
}

fn file(listen: SocketAddr, redis: SocketAddr, ports: [SocketAddr; 2], more: &str) -> String {
    caches::file("redis", listen, redis, ports, more)
}

/// Pipelines of each seed, and seeds.
fn size() -> (usize, u64) {
    if std::env::var_os("WEIR_LONG").is_some() { (300, 60) } else { (100, 6) }
}

#[test]
fn answers_are_those_of_a_redis_without_weir() {
    if is_quick("answers_are_those_of_a_redis_without_weir") {
        return;
    }
    let (direct, scene) = (Redis::start(&[]), Scene::start_with("invalidate = \"own\""));
    let ((rounds, seeds), mut wrong) = (size(), Vec::new());
    // Somebody else is there, whose keys nobody sees.
    let [_, mut other] = scene.versions();
    for kind in ["s", "l", "z"] {
        for number in 0..3 {
            other.ask(&format!("SET {kind}{number} foreign"));
        }
    }
    for seed in 1..=seeds {
        let played = differential::difference(direct.address, scene.ports[0], seed, rounds);
        wrong.extend(played.err());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(other.ask("GET s0"), weir::namespace::resp::Value::Bulk(b"foreign".to_vec()));
    assert_eq!(other.ask("DBSIZE").integer(), Some(9));
}

#[test]
fn what_is_only_observed_passes_as_it_is() {
    if is_quick("what_is_only_observed_passes_as_it_is") {
        return;
    }
    let (direct, scene) = (Redis::start(&[]), Scene::start_with("mode = \"observe\""));
    for seed in 101..=103 {
        let played = differential::difference(direct.address, scene.ports[0], seed, 50);
        assert_eq!(played, Ok(()));
    }
    let [mut one, mut two] = scene.versions();
    one.ask("SET k v");
    assert_eq!(two.ask("GET k"), weir::namespace::resp::Value::Bulk(b"v".to_vec()));
}
