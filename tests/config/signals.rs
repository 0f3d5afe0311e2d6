//! Signals from outside: what fits together, what does not, and what a reload says.

use std::path::Path;

use weir::analysis::Limit;
use weir::config::{Class, differences, parse};
use weir::control::Feeds;
use weir::rollout::JobsSource;

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

/// Workers whose jobs a signal of their own counts.
const WORKERS: &str = r#"
[[worker]]
name = "worker"
instances = ["work-1", "work-2"]
switch = ["deploy", "{instance}", "{version}"]
jobs = "done"
[[analysis.signal]]
name = "done"
tier = "worker"
source = "scrape"
url = "http://{host}:9394/metrics"
total = "jobs_total"
bad = "jobs_failed_total"
silent_after = "7s"
"#;

#[test]
fn a_signal_of_workers_counts_their_jobs_and_nothing_else() {
    let config = good(&format!("{SMALLEST}{WORKERS}"));
    let jobs = config.rollout.upgrade.workers[0].jobs.clone().unwrap();
    let silent_after = std::time::Duration::from_secs(7);
    assert_eq!(jobs.source, JobsSource::Signal { name: "done".into(), silent_after });
    assert_eq!(config.signals[0].signal.tier.as_str(), "worker", "and it is asked for");
    let described = config.describe();
    assert_eq!(described.get("worker.worker.jobs").unwrap(), "done");
    assert_eq!(described.get("worker.worker.analysis.signal.done.silent_after").unwrap(), "7s");
    let with = |from: &str, to: &str| format!("{SMALLEST}{}", WORKERS.replace(from, to));
    let counts = "total = \"jobs_total\"\nbad = \"jobs_failed_total\"\n";
    let cache = "[[cache]]\nname = \"done\"\nkind = \"redis\"\nmode = \"observe\"\nupstream = \
                 \"redis://127.0.0.1:6379\"\nports = { \"1.0.0\" = \"127.0.0.1:1\" }\n";
    for (text, expected) in [
        (with("jobs = \"done\"\n", ""), "write jobs = \"done\" into the [[worker]] worker"),
        (with("jobs = \"done\"", "jobs = \"gone\""), "nothing called \"gone\" counts their jobs"),
        (with("tier = \"worker\"", "tier = \"web\""), "nothing called \"done\" counts their jobs"),
        (with(counts, "value = \"queue\"\nabove = 3\n"), "so that both versions can be compared"),
        (with("silent", "counts_as = \"errors\"\nsilent"), "leave counts_as out"),
        (with("silent", "on_fail = \"rollback\"\nsilent"), "its [[worker]] says on_failure"),
        (with("silent", "tolerated = \"2pp\"\nsilent"), "its [[worker]] says on_failure"),
        (format!("{}{cache}", with("", "")), "a [[cache]] and a signal are called \"done\""),
    ] {
        let report = parse("weir.toml", &text, Path::new("")).unwrap_err().to_string();
        assert!(report.contains(expected), "{expected} is not in\n{report}");
    }
}
