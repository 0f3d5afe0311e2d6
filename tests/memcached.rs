//! memcached behind Weir: the real binary, real servers.

mod binary;
mod client;
mod clients;
mod conversations;
mod differential;
mod generations;
mod life;
mod suite;

use std::net::SocketAddr;

use super::support::caches;
use super::support::memcached::Memcached;
use super::support::program::{Program, free_address};
use super::support::quick::is_quick;
use client::Client;

/// Two versions, each with its port, before one memcached.
struct Scene {
    memcached: Memcached,
    program: Program,
    ports: [SocketAddr; 2],
    file: String,
}

impl Scene {
    fn start() -> Self {
        Self::start_with("")
    }

    /// The same with `more` of the cache.
    fn start_with(more: &str) -> Self {
        let (memcached, ports) = (Memcached::start(&[]), [free_address(), free_address()]);
        let file = file(memcached.address, ports, more);
        let program = Program::start(&file);
        Self { memcached, program, ports, file }
    }

    /// Connections of the two versions.
    fn versions(&self) -> [Client; 2] {
        self.ports.map(Client::new)
    }
}

fn file(memcached: SocketAddr, ports: [SocketAddr; 2], more: &str) -> String {
    caches::file("memcached", free_address(), memcached, ports, more)
}

/// Pipelines of each seed, and seeds.
fn size() -> (usize, u64) {
    if std::env::var_os("WEIR_LONG").is_some() { (400, 60) } else { (120, 6) }
}

#[test]
fn answers_are_those_of_a_memcached_without_weir() {
    if is_quick("answers_are_those_of_a_memcached_without_weir") {
        return;
    }
    let (direct, scene) = (Memcached::start(&[]), Scene::start_with("invalidate = \"own\""));
    let ((rounds, seeds), mut wrong) = (size(), Vec::new());
    // Somebody else is there, whose keys nobody sees.
    let [_, mut other] = scene.versions();
    assert_eq!(other.ask("set k0 0 0 7\r\nforeign"), "STORED");
    for seed in 1..=seeds {
        let played = differential::text(direct.address, scene.ports[0], seed, rounds);
        wrong.extend(played.err());
        let played = differential::binary(direct.address, scene.ports[0], seed, rounds);
        wrong.extend(played.err());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(other.get("k0"), Some("foreign".to_owned()));
}

#[test]
fn what_is_only_observed_passes_as_it_is() {
    if is_quick("what_is_only_observed_passes_as_it_is") {
        return;
    }
    let (direct, scene) = (Memcached::start(&[]), Scene::start_with("mode = \"observe\""));
    for seed in 101..=102 {
        assert_eq!(differential::text(direct.address, scene.ports[0], seed, 60), Ok(()));
        assert_eq!(differential::binary(direct.address, scene.ports[0], seed, 60), Ok(()));
    }
    let [mut one, mut two] = scene.versions();
    one.ask("set k 0 0 1\r\nv");
    assert_eq!(two.get("k"), Some("v".to_owned()));
    assert_eq!(two.ask("verbosity 0"), "OK");
}
