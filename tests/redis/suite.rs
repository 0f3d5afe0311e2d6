//! Redis's own test suite, from Debian's source package, through the prefixing proxy.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::client::Client;
use super::desk::Desk;
use super::{Redis, file, free_address};
use crate::support::debian;
use crate::support::program::Program;
use crate::support::skipped;

/// What takes half a minute.
const SOME: &[&str] = &["keyspace", "multi", "pubsub", "type/hash"];

/// Further ones with `WEIR_LONG`.
const MORE: &[&str] = &[
    "expire",
    "scan",
    "scripting",
    "sort",
    "type/list",
    "type/set",
    "type/stream",
    "type/stream-cgroups",
    "type/string",
    "type/zset",
];

/// How long one unit may take: the longest takes two minutes on a machine that is busy otherwise.
const SECONDS_MAX: &str = "600";

/// The suite sends on two connections and counts on them coming to the server in this order, which
/// nobody in between can promise, least of all on a busy machine; what is wrong is wrong each time.
const PLAYS_MAX: usize = 8;

/// As many as a server has by default.
const DATABASES: u32 = 16;

/// Tests that must go otherwise than without Weir, with the reason for each.
const LIST: &str = include_str!("suite.txt");

/// What is to be otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// It fails.
    Fails,
    /// It is not played: it would wait for ever, or end the unit.
    Out,
    /// Nothing that is marked by the suite with this word is played.
    Tag,
}

/// The tests of `unit` on the list.
fn listed(unit: &str) -> BTreeMap<&'static str, Mark> {
    let lines = LIST.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let entries = lines.map(|line| {
        let parts: Vec<&str> = line.split(" | ").collect();
        let [of, mark, test, reason] = parts[..] else { panic!("four parts: {line}") };
        assert!(
            of == "*" || SOME.contains(&of) || MORE.contains(&of),
            "no unit is called so: {line}"
        );
        assert!(!reason.trim().is_empty(), "a reason is needed: {line}");
        let mark = match mark {
            "fails" => Mark::Fails,
            "out" => Mark::Out,
            "tag" => Mark::Tag,
            _ => panic!("`fails`, `out` or `tag`: {line}"),
        };
        (of, test, mark)
    });
    entries
        .filter(|(of, ..)| *of == unit || *of == "*")
        .map(|(_, test, mark)| (test, mark))
        .collect()
}

/// The source of the installed server, with the programs where the suite looks for them. None: it is
/// not to be had, which is said.
fn source() -> Option<PathBuf> {
    let left_out = "Redis's own test suite";
    if Command::new("tclsh").stdin(Stdio::null()).status().is_err() {
        skipped::say(left_out, "tclsh");
        return None;
    }
    let source = debian::source("redis", "redis-server", left_out)?;
    for program in ["redis-benchmark", "redis-cli", "redis-server"] {
        debian::link(program, &source.join("src").join(program));
    }
    Some(source)
}

/// How the tests of a unit went.
#[derive(Default)]
struct Played {
    passed: BTreeSet<String>,
    failed: BTreeSet<String>,
    /// Everything that was said.
    said: String,
}

/// Plays `unit` at a fresh server, since it leaves settings behind; another version has keys there,
/// too.
fn play(source: &Path, unit: &str, out: &[&str], tags: &[String]) -> Played {
    let redis = Redis::start(&[
        "--notify-keyspace-events",
        "",
        "--enable-debug-command",
        "yes",
        "--enable-protected-configs",
        "yes",
    ]);
    let ports = [free_address(), free_address()];
    let _program =
        Program::start(&file(free_address(), redis.address, ports, "invalidate = \"own\""));
    let mut other = Client::new(ports[1]);
    // The suite is in database 9, and swaps it.
    for line in ["SELECT 9", "SET foreign 1", "RPUSH mylist foreign", "HSET myhash foreign 1"] {
        other.ask(line);
    }
    let desk = Desk { weir: ports[0], server: redis.address, prefix: "1.0.0:" }.open();
    let place = tempfile::tempdir().unwrap();
    let (log, skip) = (place.path().join("log"), place.path().join("skip"));
    std::fs::write(&skip, out.join("\n")).unwrap();
    let output = File::create(&log).unwrap();
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", SECONDS_MAX, "tclsh", "tests/test_helper.tcl", "--durable"]);
    command.args(["--clients", "1", "--host", "127.0.0.1", "--port", &desk.port().to_string()]);
    command.args(["--single", &format!("unit/{unit}"), "--skipfile"]).arg(&skip);
    command.args([
        "--baseport",
        &(20_000 + desk.port() % 20_000).to_string(),
        "--portcount",
        "100",
    ]);
    command.args(["--tags", &tags.join(" ")]);
    command.current_dir(source).stdin(Stdio::null());
    command.stdout(output.try_clone().unwrap()).stderr(output);
    let status = command.status().unwrap();
    let mut played = Played { said: std::fs::read_to_string(&log).unwrap(), ..Played::default() };
    for line in played.said.lines().map(plain) {
        let in_file = format!(" in tests/unit/{unit}.tcl");
        if let Some(test) = line.strip_prefix("[ok]: ") {
            let end = test.rfind(" (").unwrap_or(test.len());
            played.passed.insert(test[..end].to_owned());
        } else if let Some(test) = line.strip_prefix("[err]: ") {
            played.failed.insert(test.trim_end_matches(&in_file).to_owned());
        }
    }
    if !played.said.contains("Execution time of different units") {
        played.failed.insert(format!("the unit itself: {status}, {}", end_of(&played.said)));
    }
    let mut held = |database| {
        other.ask(&format!("SELECT {database}"));
        other.ask("DBSIZE").integer().unwrap()
    };
    let held: i64 = (0..DATABASES).map(&mut held).sum();
    assert_eq!(held, 3, "{unit} has reached the other's keys");
    played
}

/// Without colours.
fn plain(line: &str) -> String {
    let mut plain = String::new();
    for (at, part) in line.split("\u{1b}[").enumerate() {
        plain.push_str(if at == 0 {
            part
        } else {
            part.split_once('m').map_or("", |(_, rest)| rest)
        });
    }
    plain
}

fn end_of(said: &str) -> String {
    let lines: Vec<&str> = said.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

#[test]
fn redis_own_tests_pass_apart_from_a_written_list() {
    if super::is_quick("redis_own_tests_pass_apart_from_a_written_list") {
        return;
    }
    let Some(source) = source() else { return };
    let is_long = std::env::var_os("WEIR_LONG").is_some();
    let mut units: Vec<&str> = SOME.to_vec();
    units.extend(if is_long { MORE } else { &[] });
    if let Ok(named) = std::env::var("WEIR_REDIS_UNITS") {
        units.retain(|unit| named.split(' ').any(|name| name == *unit));
    }
    let (mut wrong, mut passed) = (String::new(), 0);
    for unit in units {
        let listed = listed(unit);
        let of = |mark| listed.iter().filter(move |entry| *entry.1 == mark).map(|entry| *entry.0);
        let tags: Vec<String> = of(Mark::Tag).map(|tag| format!("-{tag}")).collect();
        let out: Vec<&str> = of(Mark::Out).collect();
        let expected: BTreeSet<&str> = of(Mark::Fails).collect();
        let mut played = play(&source, unit, &out, &tags);
        for _ in 1..PLAYS_MAX {
            if played.failed.iter().all(|test| expected.contains(&**test)) {
                break;
            }
            eprintln!("{unit} once more: {:?}", played.failed);
            let again = play(&source, unit, &out, &tags);
            played = Played { failed: &played.failed & &again.failed, ..again };
        }
        let failed: BTreeSet<&str> = played.failed.iter().map(String::as_str).collect();
        eprintln!("{unit}: {} passed, {} failed", played.passed.len(), failed.len());
        if failed != expected {
            let new: Vec<_> = failed.difference(&expected).collect();
            let gone: Vec<_> = expected.difference(&failed).collect();
            _ = writeln!(wrong, "{unit}: failed {new:#?}, on the list for nothing {gone:#?}");
            _ = writeln!(wrong, "{}", failures(&played.said));
        }
        passed += played.passed.len();
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(passed > if is_long { 1_000 } else { 150 }, "only {passed} tests were played");
}

/// What was said of failures.
fn failures(said: &str) -> String {
    let lines: Vec<String> = said.lines().map(plain).collect();
    let failed = (0..lines.len()).filter(|at| lines[*at].starts_with("[err]"));
    failed
        .map(|at| lines[at..(at + 6).min(lines.len())].join("\n"))
        .collect::<Vec<_>>()
        .join("\n\n")
}
