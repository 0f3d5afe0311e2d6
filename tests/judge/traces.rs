//! Simulated rollouts with the verdict they deserve. `WEIR_LONG=1` takes six of each scenario
//! instead of one and holds all of them against the reference.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

use serde::Deserialize;
use weir::analysis::{Ending, Outcome, Reader, replay};

use super::advancing;

#[derive(Deserialize)]
struct Trace {
    file: String,
    scenario: String,
    expected: Ending,
    revert_not_before_s: f64,
    hard: bool,
    max_bad_share: f64,
}

impl Trace {
    fn judge(&self) -> Outcome {
        let text = fs::read_to_string(DIRECTORY.join(&self.file)).expect("a trace");
        let lines = Reader::read_all(&text).expect("a well-formed trace");
        replay(&lines, &advancing())
    }

    fn is_judged_well(&self, outcome: &Outcome) -> bool {
        let early = outcome.verdict == Ending::Revert && outcome.t < self.revert_not_before_s;
        outcome.verdict == self.expected && !early
    }
}

/// Of few traces a bad one says little: the limit on the share of bad ones is broken when what
/// happened would be rarer than this within it.
const CHANCE_MIN: f64 = 0.01;
/// Traces of the quick form that are held against the reference, which takes its time.
const QUICK: [&str; 6] = [
    "aa-1pct-0.02rps-1.ndjson",
    "all-failing-1000rps-1.ndjson",
    "latency-slow-share-doubles-1000rps-1.ndjson",
    "plus0.5pp-1000rps-1.ndjson",
    "shared-outage-1000rps-1.ndjson",
    "warmup-errors-1000rps-1.ndjson",
];

static DIRECTORY: LazyLock<PathBuf> = LazyLock::new(|| {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("judge-traces");
    let seeds = if is_long() { "6" } else { "1" };
    python("scenarios.py", &[&directory.to_string_lossy(), "--seeds", seeds]);
    directory
});

fn is_long() -> bool {
    std::env::var("WEIR_LONG").is_ok_and(|long| long == "1")
}

fn python(script: &str, arguments: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/judge").join(script);
    let output = Command::new("python3").arg(script).args(arguments).output();
    let output = output.expect("python3, which makes the traces");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn manifest() -> Vec<Trace> {
    let text = fs::read_to_string(DIRECTORY.join("manifest.json")).expect("a manifest");
    serde_json::from_str(&text).expect("a well-formed manifest")
}

#[test]
fn rollouts_get_the_verdict_they_deserve() {
    let mut hard: BTreeMap<String, (i32, i32, f64)> = BTreeMap::new();
    let mut wrong = Vec::new();
    for trace in manifest() {
        let outcome = trace.judge();
        let bad = !trace.is_judged_well(&outcome);
        if bad {
            wrong.push(format!("{}: {}", trace.file, outcome.sentence()));
        }
        if trace.hard {
            let entry = hard.entry(trace.scenario).or_insert((0, 0, trace.max_bad_share));
            entry.0 += i32::from(bad);
            entry.1 += 1;
        } else {
            assert!(!bad, "{}: {}", trace.file, outcome.sentence());
        }
    }
    for line in &wrong {
        eprintln!("{line}");
    }
    for (scenario, (bad, all, share)) in &hard {
        let chance = at_least(*bad, *all, *share);
        assert!(chance > CHANCE_MIN, "{scenario}: {bad} bad of {all}");
    }
}

/// P(at least `bad` of `all` go wrong) if each does with probability `share`.
fn at_least(bad: i32, all: i32, share: f64) -> f64 {
    let ways = |k: i32| (0..k).map(|i| f64::from(all - i) / f64::from(i + 1)).product::<f64>();
    (bad..=all).map(|k| ways(k) * share.powi(k) * (1.0 - share).powi(all - k)).sum()
}

#[derive(Deserialize)]
struct Reference {
    file: String,
    verdict: Ending,
    t: f64,
    canary_failed: u64,
    advance_at: BTreeMap<String, f64>,
    unproven: Vec<f64>,
}

#[test]
#[allow(clippy::float_cmp, reason = "both take the times from the trace")]
fn a_replay_is_the_reference_s() {
    let traces: Vec<Trace> = (manifest().into_iter())
        .filter(|trace| is_long() || QUICK.contains(&trace.file.as_str()))
        .collect();
    assert!(traces.len() >= QUICK.len());
    let paths: Vec<String> = (traces.iter())
        .map(|trace| DIRECTORY.join(&trace.file).to_string_lossy().into_owned())
        .collect();
    let arguments: Vec<&str> =
        std::iter::once("replay").chain(paths.iter().map(String::as_str)).collect();
    let answers = python("reference.py", &arguments);
    assert_eq!(answers.lines().count(), traces.len());
    for (trace, answer) in traces.iter().zip(answers.lines()) {
        let reference: Reference = serde_json::from_str(answer).expect("an answer");
        assert!(reference.file.ends_with(&trace.file));
        let outcome = trace.judge();
        assert_eq!(outcome.verdict, reference.verdict, "{}", trace.file);
        assert_eq!(outcome.t, reference.t, "{}", trace.file);
        assert_eq!(outcome.canary_failed, reference.canary_failed, "{}", trace.file);
        assert_eq!(outcome.advance_at, reference.advance_at, "{}", trace.file);
        assert_eq!(outcome.unproven, reference.unproven, "{}", trace.file);
    }
}
