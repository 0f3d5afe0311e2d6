//! What apps do with the client libraries that they use.

use std::path::Path;
use std::process::{Command, Stdio};

use super::Scene;

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
    node.args(["60", "node"]).arg(folder.join("ioredis.js")).args(ports);
    let played = node.current_dir(cache.join("redis_node")).stdin(Stdio::null()).output().unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(said(&played.stdout), "played\n", "{}", said(&played.stderr));
}
