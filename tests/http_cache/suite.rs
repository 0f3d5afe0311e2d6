//! The public suite for HTTP caches: what of it Weir does otherwise is listed in `suite.txt`, with a
//! reason for each.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use super::{SOON, weir};
use crate::support::program::free_address;

/// How many of the required tests pass at least.
const REQUIRED_MIN: usize = 125;

/// The suite goes by the clock: on a busy machine a test may come too late to its own appointment.
const TRIES: usize = 3;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/http_cache")
}

/// Where the suite stands; it is installed if it is not there yet.
fn installed() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/npm_ci");
    let mut install = Command::new(script);
    install.arg(folder()).arg("http_cache").stdin(Stdio::null());
    let output = install.output().expect("tests/support/npm_ci runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-cache");
    let cache = std::env::var_os("WEIR_TEST_CACHE").map_or_else(default, PathBuf::from);
    cache.join("http_cache/node_modules/http-cache-tests")
}

/// The suite's own app.
struct Origin(Child);

impl Origin {
    fn start(suite: &Path, port: u16) -> Self {
        let place = std::env::temp_dir().join(format!("weir-http-cache-{port}.pid"));
        let mut node = Command::new("node");
        node.arg(suite.join("server/server.mjs")).current_dir(suite);
        node.env("npm_config_protocol", "http").env("npm_config_port", port.to_string());
        node.env("npm_config_pidfile", &place).stdin(Stdio::null());
        node.stdout(Stdio::null()).stderr(Stdio::null());
        let origin = Self(node.spawn().expect("node starts"));
        let since = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(since.elapsed() < SOON, "the app of the suite does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        _ = std::fs::remove_file(place);
        origin
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// Plays the tests called `ids`, or all; of each its kind, and what went wrong.
fn play(suite: &Path, base: &str, ids: &BTreeSet<String>) -> BTreeMap<String, Json> {
    let mut node = Command::new("node");
    node.arg(folder().join("play.mjs")).arg(suite).arg(base).args(ids).stdin(Stdio::null());
    let output = node.output().expect("node runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let wrong = String::from_utf8_lossy(&output.stderr).into_owned();
    serde_json::from_str(said.lines().last().unwrap_or_default())
        .unwrap_or_else(|error| panic!("{error}: {said}{wrong}"))
}

/// The tests of each kind that are listed as failing.
fn listed() -> BTreeMap<String, BTreeSet<String>> {
    let text = std::fs::read_to_string(folder().join("suite.txt")).unwrap();
    let (mut listed, mut kind) = (BTreeMap::<_, BTreeSet<_>>::new(), String::new());
    let mut has_reason = false;
    for line in text.lines() {
        match line {
            "" => has_reason = false,
            _ if line.starts_with("## ") => line[3..].clone_into(&mut kind),
            _ if line.starts_with('#') => has_reason = true,
            id => {
                assert!(has_reason, "{id} has no reason");
                listed.entry(kind.clone()).or_default().insert(id.to_owned());
            }
        }
    }
    listed
}

#[test]
fn the_public_suite_passes_but_for_what_is_listed_with_a_reason() {
    if crate::support::quick::is_quick("the suite for HTTP caches") {
        return;
    }
    let suite = installed();
    // The suite wants its app and what is before the cache to have the same port in their URLs.
    let app = free_address();
    let _origin = Origin::start(&suite, app.port());
    let (_program, address, _) = weir("size = \"64MiB\"", &[app]);
    let (base, listed) = (format!("http://{address}"), listed());
    let mut played = play(&suite, &base, &BTreeSet::new());
    let all_listed: BTreeSet<String> = listed.values().flatten().cloned().collect();
    for _ in 1..TRIES {
        let failed = |(id, said): (&String, &Json)| {
            let fails = !said["wrong"].is_null() && said["kind"] != "check";
            (fails && !all_listed.contains(id)).then(|| id.clone())
        };
        let again: BTreeSet<String> = played.iter().filter_map(failed).collect();
        if again.is_empty() {
            break;
        }
        played.extend(play(&suite, &base, &again));
    }
    for kind in ["required", "optimal"] {
        let (passed, failed): (Vec<_>, Vec<_>) = played
            .iter()
            .filter(|(_, said)| said["kind"] == kind)
            .partition(|(_, said)| said["wrong"].is_null());
        let found: BTreeSet<String> = failed.iter().map(|(id, _)| (*id).clone()).collect();
        assert_eq!(found, listed[kind], "{kind}, left: found, right: in suite.txt\n{failed:#?}");
        assert!(kind != "required" || passed.len() >= REQUIRED_MIN, "only {}", passed.len());
    }
}
