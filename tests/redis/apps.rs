//! What apps do with the client libraries that they use.

use std::path::Path;
use std::process::{Command, Stdio};

use weir::namespace::resp::Value;

use super::Scene;
use super::client::Client;
use super::conversations::{eventually, number, text};
use crate::support::sidekiq::Sidekiq;

fn ruby_file(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/redis/ruby").join(name)
}

#[test]
fn ioredis_does_all_that_it_does_without_weir() {
    if super::is_quick("ioredis_does_all_that_it_does_without_weir") {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("tests/redis/node");
    let mut install = Command::new(root.join("tests/support/npm_ci"));
    let installed = install.arg(&folder).arg("redis_node").stdin(Stdio::null()).output().unwrap();
    assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
    let cache = std::env::var_os("WEIR_TEST_CACHE");
    let cache = cache.map_or_else(|| root.join("target/test-cache"), Into::into);
    let scene = Scene::start();
    let ports = scene.ports.map(|port| port.port().to_string());
    let mut node = Command::new("timeout");
    node.args(["180", "node"]).arg(folder.join("ioredis.js")).args(ports);
    let played = node.current_dir(cache.join("redis_node")).stdin(Stdio::null()).output().unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(said(&played.stdout), "played\n", "{}", said(&played.stderr));
}

#[test]
fn redis_rb_does_all_that_it_does_without_weir() {
    if super::is_quick("redis_rb_does_all_that_it_does_without_weir") {
        return;
    }
    let scene = Scene::start();
    let mut ruby = Command::new("timeout");
    ruby.args(["300", "/usr/bin/ruby"]).arg(ruby_file("redis_client.rb"));
    let ports = scene.ports.map(|port| port.port().to_string());
    let played = ruby.args(ports).stdin(Stdio::null()).output().unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(said(&played.stdout), "all is well\n", "{}", said(&played.stderr));
}

#[test]
fn sidekiq_has_queues_of_its_own_where_they_are_isolated() {
    if super::is_quick("sidekiq_has_queues_of_its_own_where_they_are_isolated") {
        return;
    }
    let scene = Scene::start();
    let [mut one, mut two] = scene.versions();
    for client in [&mut one, &mut two] {
        for number in 0..20 {
            client.ask(&Sidekiq::push("Good", number));
        }
    }
    let _sidekiq = Sidekiq::start(scene.ports[0], "1.0.0");
    eventually("its jobs are done", || one.ask("LLEN done") == number(20));
    eventually("it counts them", || one.ask("GET stat:processed") == text("20"));
    assert_eq!(two.ask("LLEN queue:default"), number(20), "the other's are not");
    let keys = Client::new(scene.redis.address).ask("KEYS *");
    let keys = keys.list().unwrap().iter().filter_map(Value::text);
    for key in keys {
        assert!(key.starts_with(b"1.0.0:") || key.starts_with(b"1.1.0:"), "{key:?}");
    }
}
