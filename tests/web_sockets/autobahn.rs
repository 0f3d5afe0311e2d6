//! The cases of Autobahn's test suite, and that none of them goes worse through Weir than without.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::node::Node;
use crate::support::program::{Program, free_address};
use crate::support::skipped;

/// What takes half a minute: everything but most large and many compressed messages.
const SOME: &[&str] = &[
    "1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.1.1", "9.2.1", "10.*", "12.1.1", "12.1.3",
    "13.1.1", "13.7.3",
];

/// Further ones with `WEIR_LONG`, beside those of [`compressed`].
const MORE: &[&str] = &["9.*"];

/// How long one run may take. The long form takes ten minutes on a machine that is busy otherwise.
const SECONDS_MAX: &str = "1500";

/// How a case went: the messages, and the end.
type Outcome = (String, String);

/// Where the client of the suite connects with, and what lies between there and the app.
struct Way {
    name: &'static str,
    address: SocketAddr,
}

/// A thousand compressed messages each, of up to 16 KiB. Left out are 8 to 18 of each group, with
/// messages of up to 128 KiB, whole and in fragments: they take more than an hour, and tell no more of
/// who passes on frames as they are.
fn compressed() -> impl Iterator<Item = String> {
    let groups = (1..=5).map(|group| (12, group)).chain((1..=7).map(|group| (13, group)));
    groups.flat_map(|(part, group)| (1..=7).map(move |case| format!("{part}.{group}.{case}")))
}

/// A Python 2.7 with pip: the one that `WEIR_PYTHON2` names, or one that is found.
fn python() -> Option<PathBuf> {
    let named = std::env::var_os("WEIR_PYTHON2").map(PathBuf::from);
    let found = ["python2.7", "python2"].into_iter().map(PathBuf::from);
    named.into_iter().chain(found).find(|python| {
        let check = "import sys, pip; sys.exit(sys.version_info[:2] != (2, 7))";
        let mut command = Command::new(python);
        command.args(["-c", check]).stdin(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    })
}

/// Runs `cases` by `way`.
fn play(python: &Path, way: &Way, cases: &[String]) -> BTreeMap<String, Outcome> {
    let place = tempfile::tempdir().unwrap();
    let (report, spec) = (place.path().join("report"), place.path().join("spec.json"));
    let url = format!("ws://{}/echo", way.address);
    let described = json!({
        "options": { "failByDrop": false },
        "outdir": report,
        "servers": [{ "agent": "app", "url": url }],
        "cases": cases,
        "exclude-cases": [],
        "exclude-agent-cases": {},
    });
    std::fs::write(&spec, described.to_string()).unwrap();
    let log = place.path().join("log");
    let output = File::create(&log).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/web_sockets/autobahn");
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", SECONDS_MAX]).arg(script).arg(python).arg(&spec);
    command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
    let status = command.status().unwrap();
    let index = std::fs::read_to_string(report.join("index.json"));
    let index = index.unwrap_or_else(|error| {
        panic!("{} {status}: {error}\n{}", way.name, std::fs::read_to_string(&log).unwrap())
    });
    let index: Value = serde_json::from_str(&index).unwrap();
    let outcome = |(case, outcome): (&String, &Value)| {
        let text = |key: &str| outcome[key].as_str().unwrap().to_owned();
        (case.clone(), (text("behavior"), text("behaviorClose")))
    };
    index["app"].as_object().unwrap().iter().map(outcome).collect()
}

/// Runs `cases` by each way at once.
fn play_all(python: &Path, ways: &[Way], cases: &[String]) -> Vec<BTreeMap<String, Outcome>> {
    std::thread::scope(|threads| {
        let play = |way| threads.spawn(move || play(python, way, cases));
        let runs: Vec<_> = ways.iter().map(play).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    })
}

/// How bad it is.
fn rank(behaviour: &str) -> u8 {
    match behaviour {
        "OK" | "INFORMATIONAL" => 0,
        "NON-STRICT" => 1,
        "UNIMPLEMENTED" => 2,
        _ => 3,
    }
}

/// The cases that went worse by one of the ways than by the first.
fn worse(runs: &[BTreeMap<String, Outcome>]) -> Vec<String> {
    let (direct, others) = runs.split_first().unwrap();
    let is_worse = |case: &&String| {
        let (behaviour, close) = &direct[*case];
        others.iter().any(|run| {
            let other = &run[*case];
            rank(&other.0) > rank(behaviour) || rank(&other.1) > rank(close)
        })
    };
    direct.keys().filter(is_worse).cloned().collect()
}

/// How often each outcome was met.
fn summary(run: &BTreeMap<String, Outcome>) -> String {
    let mut counts = BTreeMap::new();
    for (behaviour, close) in run.values() {
        *counts.entry((behaviour, close)).or_insert(0) += 1;
    }
    format!("{} cases, {counts:?}", run.len())
}

#[test]
fn no_case_goes_worse_than_without_weir() {
    if crate::support::quick::is_quick("the cases of Autobahn") {
        return;
    }
    let Some(python) = python() else {
        let needs = "a Python 2.7 with pip; WEIR_PYTHON2 names it";
        return skipped::say("the cases of Autobahn's test suite", needs);
    };
    let (_app, app) = Node::serve("1.0");
    let door = free_address();
    let _program = Program::start(&format!(
        "[admin]\nlisten = \"ADMIN\"\n\n[[tier]]\nname = \"web\"\nlisten = \"{door}\"\n\
         stable = \"1.0\"\nreleases = [{{ version = \"1.0\", upstreams = [\"{app}\"] }}]\n"
    ));
    let (_bridge, bridge) = Node::listen("bridge.mjs", &door.to_string());
    let ways = [
        Way { name: "direct", address: app },
        Way { name: "HTTP/1.1", address: door },
        Way { name: "HTTP/2", address: bridge },
    ];
    let mut cases: Vec<String> = SOME.iter().map(|case| (*case).to_owned()).collect();
    let is_long = std::env::var_os("WEIR_LONG").is_some();
    if is_long {
        cases.extend(MORE.iter().map(|case| (*case).to_owned()).chain(compressed()));
    }
    let least = if is_long { 385 } else { 253 };
    let runs = play_all(&python, &ways, &cases);
    for (way, run) in ways.iter().zip(&runs) {
        eprintln!("{}: {}", way.name, summary(run));
        assert!(run.len() >= least && run.len() == runs[0].len(), "{}", summary(run));
    }
    let before = worse(&runs);
    if before.is_empty() {
        return;
    }
    // Cases have deadlines, and the machine may have been busy: what is wrong is wrong again.
    eprintln!("once more: {before:?}");
    let again = play_all(&python, &ways, &before);
    let still = worse(&again);
    let outcomes = |case: &String| again.iter().map(|run| run[case].clone()).collect::<Vec<_>>();
    let still: Vec<_> = still.iter().map(|case| (case, outcomes(case))).collect();
    assert!(still.is_empty(), "direct, HTTP/1.1, HTTP/2: {still:#?}");
}

#[test]
fn a_case_that_goes_worse_is_found() {
    let run = |behaviour: &str, close: &str| {
        BTreeMap::from([("1.1.1".to_owned(), (behaviour.to_owned(), close.to_owned()))])
    };
    let fine = run("OK", "OK");
    for (behaviour, close, expected) in [
        ("OK", "OK", 0),
        ("NON-STRICT", "OK", 1),
        ("FAILED", "OK", 1),
        ("UNCLEAN", "OK", 1),
        ("OK", "FAILED BY CLIENT", 1),
        ("OK", "WRONG CODE", 1),
    ] {
        let other = run(behaviour, close);
        assert_eq!(worse(&[fine.clone(), fine.clone(), other.clone()]).len(), expected);
        assert_eq!(worse(&[other.clone(), fine.clone(), other]).len(), 0, "no worse than direct");
    }
}
