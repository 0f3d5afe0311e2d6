//! The rules of `deploy/prometheus/`: Prometheus's own tool finds no mistake and plays each alert,
//! and rules and dashboards say no metric that Weir does not have.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::support::quick;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus")
}

fn read(path: &str) -> String {
    let whole = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(whole).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// `promtool` in `folder`; whether all was well, and what it said.
fn promtool(folder: &Path, arguments: &[&str]) -> (bool, String) {
    let output = Command::new("promtool")
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("promtool runs; tests/run installs prometheus");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

/// What stands behind `key` in a line of its own, in order.
fn values<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    text.lines().filter_map(|line| line.trim().strip_prefix(key)).map(str::trim).collect()
}

#[test]
fn the_rules_are_valid_and_every_alert_comes_when_it_must_and_only_then() {
    if quick::is_quick("the alerts") {
        return;
    }
    let (is_good, said) = promtool(&folder(), &["check", "config", "prometheus.yml"]);
    assert!(is_good && said.contains("SUCCESS"), "{said}");
    let (is_good, said) = promtool(&folder(), &["test", "rules", "tests.yml"]);
    assert!(is_good, "{said}");

    let (alerts, tests) =
        (read("deploy/prometheus/alerts.yml"), read("deploy/prometheus/tests.yml"));
    let names = values(&alerts, "- alert: ");
    assert!(names.len() > 15, "{names:?}");
    for name in &names {
        for what in ["comes", "does not come"] {
            assert!(tests.contains(&format!("- name: {name} {what}\n")), "{name} {what}: no test");
        }
    }
    // A test of what does not come cannot see a wrong name, nor whether anything is played at all.
    let played = values(&tests, "alertname: ");
    assert!(played.iter().all(|name| names.contains(name)), "{played:?}");
    let place = tempfile::tempdir().unwrap();
    for file in ["recording.yml", "tests.yml"] {
        std::fs::copy(folder().join(file), place.path().join(file)).unwrap();
    }
    let deaf = alerts.replace("weir_journal_trouble) == 1", "weir_journal_trouble) == 2");
    assert_ne!(deaf, alerts);
    std::fs::write(place.path().join("alerts.yml"), deaf).unwrap();
    let (is_good, said) = promtool(place.path(), &["test", "rules", "tests.yml"]);
    assert!(!is_good && said.contains("WeirJournalTrouble"), "{said}");
}

#[test]
fn every_alert_says_what_to_do_and_where_that_is_explained() {
    let alerts = read("deploy/prometheus/alerts.yml");
    let count = values(&alerts, "- alert: ").len();
    for key in ["summary: ", "description: "] {
        let said = values(&alerts, key);
        assert_eq!(said.len(), count, "{key}");
        assert!(said.iter().all(|text| text.len() > 20), "{said:?}");
    }
    let severities = values(&alerts, "labels: ");
    assert_eq!(severities.len(), count);
    for severity in severities {
        let known = ["critical", "warning", "info"].map(|one| format!("{{ severity: {one} }}"));
        assert!(known.iter().any(|one| one == severity), "{severity}");
    }
    let runbooks = values(&alerts, "runbook: ");
    assert_eq!(runbooks.len(), count);
    for place in runbooks {
        let (file, anchor) = place.split_once('#').unwrap_or((place, ""));
        let page = read(file);
        let anchors = page.lines().filter(|line| line.starts_with('#')).map(anchor_of);
        assert!(anchor.is_empty() || anchors.into_iter().any(|one| one == anchor), "{place}");
    }
}

/// The anchor of a heading, as pages of Markdown are shown.
fn anchor_of(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = words.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Names in `text` that begin as ours do.
fn metrics(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = text.split(|c: char| !is_part(c));
    // What is recorded has colons, and is not ours.
    let ours = words.filter(|word| word.starts_with("weir_") && !word.contains(':'));
    ours.map(str::to_owned).collect()
}

#[test]
fn rules_and_dashboards_say_only_metrics_that_there_are() {
    // tests/admin.rs holds the document to what is shown.
    let document = read("docs/metrics.md");
    let mut known = BTreeSet::new();
    for line in document.lines() {
        let Some(name) = line.strip_prefix("| `").and_then(|rest| rest.split('`').next()) else {
            continue;
        };
        let is_histogram = line.split('|').nth(2).is_some_and(|kind| kind.trim() == "histogram");
        if is_histogram {
            known.extend(["bucket", "sum", "count"].map(|part| format!("{name}_{part}")));
        }
        known.insert(name.to_owned());
    }
    let mut said = BTreeSet::new();
    for file in ["alerts.yml", "recording.yml", "tests.yml"] {
        let text = read(&format!("deploy/prometheus/{file}"));
        said.extend(metrics(&text));
        // What rules say of what is recorded is recorded.
        let recorded = read("deploy/prometheus/recording.yml");
        let words = text.split(|c: char| c.is_whitespace() || c == '(' || c == ')');
        for word in words.filter(|word| word.contains(":weir_")) {
            assert!(recorded.contains(&format!("- record: {word}\n")), "{file}: {word}");
        }
    }
    let dashboards = Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana/dashboards");
    for entry in std::fs::read_dir(dashboards).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let dashboard: Value = serde_json::from_str(&text).unwrap();
        said.extend(metrics(&dashboard.to_string()));
    }
    assert!(said.len() > 60, "{said:?}");
    let unknown: Vec<_> = said.difference(&known).collect();
    assert!(unknown.is_empty(), "not in docs/metrics.md: {unknown:?}");
}
