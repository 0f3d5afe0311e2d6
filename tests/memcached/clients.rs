//! Real clients.

use std::process::Command;

use super::Scene;

/// Runs `program`, which is given both ports.
fn run(mut command: Command, scene: &Scene) {
    for port in scene.ports {
        command.arg(port.port().to_string());
    }
    let ran = command.output().expect("it starts; tests/run installs it");
    let said = String::from_utf8_lossy(&ran.stdout);
    let wrong = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success() && said.ends_with("all is well\n"), "{said}{wrong}");
}

#[test]
fn pymemcache_works_on_two_versions() {
    if super::is_quick("pymemcache_works_on_two_versions") {
        return;
    }
    let scene = Scene::start();
    let mut python = Command::new("/usr/bin/python3");
    python.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/memcached/pymemcache_client.py"));
    run(python, &scene);
}

#[test]
fn dalli_works_on_two_versions() {
    if super::is_quick("dalli_works_on_two_versions") {
        return;
    }
    let scene = Scene::start();
    let mut ruby = Command::new("/usr/bin/ruby");
    ruby.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/memcached/dalli_client.rb"));
    run(ruby, &scene);
}
