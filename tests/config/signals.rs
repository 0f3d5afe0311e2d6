//! Signals from outside: what fits together, what does not, and what a reload says.

use std::path::Path;

use weir::analysis::Limit;
use weir::config::{Class, differences, parse};
use weir::control::Feeds;

use super::{SMALLEST, good};

const JOBS: &str = r#"
[statsd]
listen = "127.0.0.1:8125"
[[analysis.signal]]
name = "jobs"
tier = "web"
source = "statsd"
total = "app.{version}.jobs"
bad = "app.{version}.failed"
on_fail = "rollback"
"#;

#[test]
fn signals_are_judged_in_their_tier() {
    let latency = r#"
[[analysis.signal]]
name = "latency"
tier = "web"
source = "promql"
url = "http://127.0.0.1:9090"
value = "max(queue_latency)"
above = 30
samples = 2
"#;
    let config = good(&format!("{SMALLEST}{JOBS}{latency}"));
    let tier = &config.tiers[0];
    assert_eq!(tier.analysis.signals[0].name, "jobs");
    let check = &tier.analysis.checks[0];
    assert_eq!((check.limit, check.beyond, check.samples), (Limit::Above(30.0), 2, 2));
    let feeds: Vec<Feeds> = config.signals.iter().map(|signal| signal.feeds).collect();
    assert_eq!(feeds, [Feeds::Own, Feeds::Check]);
}

#[test]
fn what_does_not_fit_together_is_said() {
    let with = |from: &str, to: &str| JOBS.replace(from, to);
    let without_statsd = with("[statsd]\nlisten = \"127.0.0.1:8125\"\n", "");
    let cases = [
        (without_statsd, "statsd is not listened for"),
        (with("tier = \"web\"", "tier = \"wed\""), "there is no tier \"wed\""),
        (with("name = \"jobs\"", "name = \"errors\""), "is judged anyway"),
        (with("app.{version}.failed", "app.failed"), "nothing tells which version is counted"),
        (with("bad = ", "value = "), "it does not say what is counted"),
        (with("total = ", "# "), "it does not say what is counted"),
        (with("app.{version}.jobs", "app jobs"), "write a name of statsd"),
        (with("on_fail = ", "counts_as = \"errors\"\non_fail = "), "counted already"),
        (with("on_fail = ", "above = 3\non_fail = "), "`above` has no place here"),
        (with("\"statsd\"", "\"jobs\""), "`total` has no place here"),
        (
            with("\"statsd\"", "\"jobs\"\ncache = \"pages\""),
            "no jobs are seen in a cache \"pages\"",
        ),
        (with("\"statsd\"", "\"statsv\""), "did you mean \"statsd\"?"),
        (
            format!("{JOBS}{}", JOBS.split_once("8125\"").unwrap().1),
            "two signals of web are called \"jobs\"",
        ),
        (
            with("[[analysis.signal]]", "[[tier.analysis.signal]]"),
            "write [[analysis.signal]] for the whole file, and name its tier",
        ),
        (
            with("\"statsd\"", "\"promql\"\nurl = \"http://me:secret@prometheus\""),
            "it has a name or a password in it",
        ),
    ];
    for (text, expected) in cases {
        let text = if text.contains("[[tier.analysis") {
            format!("{SMALLEST}{}", text.split_once("8125\"").unwrap().1)
        } else {
            format!("{SMALLEST}{text}")
        };
        let report = parse("weir.toml", &text, Path::new("")).unwrap_err().to_string();
        assert!(report.contains(expected), "{expected} is not in\n{report}");
    }
}

#[test]
fn what_is_judged_cannot_change_while_a_rollout_is_open_and_how_it_is_asked_for_can() {
    let old = good(&format!("{SMALLEST}{JOBS}"));
    let class = |text: &str| {
        let changes = differences(&old, &good(&format!("{SMALLEST}{text}")));
        assert_eq!(changes.len(), 1, "{changes:?}");
        changes[0].class
    };
    assert_eq!(class(&JOBS.replace(".failed", ".bad")), Class::RefusedWhileOpen);
    assert_eq!(class(&format!("{JOBS}silent_after = \"1m\"")), Class::Live);
    assert_eq!(class(&JOBS.replace(":8125", ":8126")), Class::Restart);
}
