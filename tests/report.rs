//! The document afterwards, of the real program: while it runs, and from its journal alone.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::support::client::Client;
use super::support::program::{Program, free_address};
use super::support::upstream::Upstream;

/// How long something may take that takes a second on a machine with nothing else to do.
const PATIENCE: Duration = Duration::from_mins(2);

#[test]
fn a_night_is_told_with_what_was_ordered_refused_and_counted() {
    let [old, new] = ["1.0.0", "1.1.0"].map(Upstream::start);
    let listen = free_address();
    let mut program = Program::start(&format!(
        "[admin]\nlisten = \"ADMIN\"\n[[tier]]\nname = \"web\"\nlisten = \"{listen}\"\nstable = \
         \"1.0.0\"\nreleases = [\n  {{ version = \"1.0.0\", upstreams = [\"{}\"] }},\n  {{ version = \
         \"1.1.0\", upstreams = [\"{}\"] }},\n]\n[rollout]\nstages = [{{ weight = \"5%\", bake = \"1h\" }}]\n",
        old.address, new.address
    ));
    let none = program.ask(&["report"]);
    assert!(String::from_utf8_lossy(&none.stderr).contains("no rollout yet"), "{none:?}");
    program.say(&["start", "--wait", "2m", "--reason", "new <checkout>"]);
    program.say(&["advance", "--to", "50%"]);
    let refused = program.ask(&["start", "web", "1.1.0", "--reason", "again"]);
    assert!(!refused.status.success());
    let mut client = Client::to(listen);
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(2) {
        let _ = client.get("/", "");
    }
    program.say(&["rollback", "--reason", "carts are empty"]);
    let json = |program: &Program| -> Value {
        serde_json::from_str(&program.say(&["report", "--format", "json"])).unwrap()
    };
    // What was counted is written behind.
    let since = Instant::now();
    let report = loop {
        let report = json(&program);
        let counted = report["parts"][0]["totals"].as_array().map_or(0, Vec::len);
        let refused = report["refused"].as_array().map_or(0, Vec::len);
        if counted == 2 && refused == 1 {
            break report;
        }
        assert!(since.elapsed() < PATIENCE, "{report:#}");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!((&report["rollout"], &report["open"]), (&1.into(), &false.into()));
    let part = &report["parts"][0];
    let requests: u64 = part["totals"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["requests"].as_u64().unwrap())
        .sum();
    assert!(requests > 0, "{part:#}");
    let weights: Vec<u64> =
        part["weights"].as_array().unwrap().iter().map(|one| one[1].as_u64().unwrap()).collect();
    assert_eq!(weights, [500, 5_000, 0]);
    let sentence = report["refused"][0]["sentence"].as_str().unwrap();
    assert!(sentence.contains("was refused") && sentence.contains("operator"), "{sentence}");
    let text = program.say(&["report"]);
    for said in ["# Rollout 1: 1.1.0 in web", "carts are empty", "## Refused", r"new \<checkout\>"]
    {
        assert!(text.contains(said), "{said}: {text}");
    }
    let page = program.say(&["report", "1", "--format", "html"]);
    assert!(page.contains("<svg") && page.contains("new &lt;checkout&gt;"), "{page}");
    let unknown = program.ask(&["report", "7"]);
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("the newest is 1"));
    // Stopped, the journal alone tells the same.
    let journal = program.directory().join("weir.db");
    let path = journal.to_str().unwrap();
    let owned = program.ask(&["report", "--journal", path]);
    assert!(String::from_utf8_lossy(&owned.stderr).contains("running weir"), "{owned:?}");
    let running = json(&program);
    program.kill();
    let stopped = program.say(&["report", "--journal", path, "--format", "json"]);
    let stopped: Value = serde_json::from_str(&stopped).unwrap();
    for key in ["planned", "parts", "refused", "from", "until"] {
        assert_eq!(stopped[key], running[key], "{key}");
    }
}
