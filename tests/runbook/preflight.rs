//! `weir preflight`, with a program and without.

use std::process::Output;

use serde_json::Value;

use super::super::support::program::{Program, free_address};
use super::super::support::upstream::Upstream;
use super::until;

/// A program before two versions, with a backup, a question and a database.
struct World {
    program: Program,
    stable: Upstream,
    _canary: Upstream,
    database: std::net::TcpListener,
}

impl World {
    fn new() -> Self {
        let (stable, canary) = (Upstream::start("1.0.0"), Upstream::start("1.1.0"));
        let database = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let file = format!(
            r#"
[admin]
listen = "ADMIN"
[[tier]]
name = "web"
listen = "{}"
stable = "1.0.0"
releases = [
  {{ version = "1.0.0", upstreams = ["{}"] }},
  {{ version = "1.1.0", upstreams = ["{}"] }},
]
health = {{ path = "/health", interval = "100ms" }}
[preflight]
backup = {{ file = "dump_*.sql", min_size = "4B" }}
tcp = ["{}"]
migrations = "does 1.0.0 bear the migrations?"
[[step]]
name = "room"
when = "before rollout"
check = {{ free = "1B", on = "/" }}
"#,
            free_address(),
            stable.address,
            canary.address,
            database.local_addr().unwrap()
        );
        let program = Program::start(&file);
        std::fs::write(program.directory().join("dump_1.sql"), "dump").unwrap();
        Self { program, stable, _canary: canary, database }
    }

    fn preflight(&self, more: &[&str]) -> Output {
        self.program.ask(&[&["preflight"], more].concat())
    }

    /// Each check and its mark.
    fn marks(&self, more: &[&str]) -> (Option<i32>, Vec<(String, String)>) {
        let output = self.preflight(&[more, &["--json"]].concat());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let answer: Value = serde_json::from_str(&text)
            .unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)));
        let findings = answer["findings"].as_array().unwrap().iter();
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let marks = findings.map(|one| (word(&one["name"]), word(&one["mark"]))).collect();
        (output.status.code(), marks)
    }
}

fn mark<'a>(marks: &'a [(String, String)], name: &str) -> &'a str {
    marks.iter().find(|(known, _)| known == name).map_or("missing", |(_, mark)| mark)
}

#[test]
fn a_preflight_says_what_is_well_what_is_not_and_what_will_be_asked() {
    let world = World::new();
    until("health", || (world.marks(&[]).0 == Some(0)).then_some(()));
    let (_, marks) = world.marks(&["1.1.0"]);
    let names: Vec<&str> = marks.iter().map(|(name, _)| name.as_str()).collect();
    let all =
        ["exact", "healthy", "hours", "caches", "clock", "backup", "tcp-1", "migrations", "room"];
    assert_eq!(names, all);
    assert_eq!(mark(&marks, "migrations"), "asked");
    let passed = marks.iter().filter(|(_, mark)| mark == "passed").count();
    assert_eq!((passed, mark(&marks, "clock")), (7, "unknown"), "nobody says a Date: {marks:?}");
    let said = String::from_utf8(world.preflight(&[]).stdout).unwrap();
    assert!(said.contains("✓ passed   backup      "), "{said}");
    assert!(said.contains("? asked    migrations  does 1.0.0 bear the migrations?"), "{said}");
    assert!(said.contains("7 checks passed, 1 not known, 1 asked at the start"), "{said}");
    let unknown = world.preflight(&["9.9"]);
    assert_eq!(unknown.status.code(), Some(1));
    let why = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(why.contains("no release 9.9; it has: 1.0.0, 1.1.0"), "{why}");

    let World { program, stable, database, .. } = world;
    drop((stable, database));
    std::fs::write(program.directory().join("dump_2.sql"), "").unwrap();
    let world = World { program, ..World::new() };
    until("failure", || (mark(&world.marks(&[]).1, "healthy") == "failed").then_some(()));
    let (code, marks) = world.marks(&[]);
    assert_eq!(code, Some(1));
    for (name, wanted) in [("healthy", "failed"), ("backup", "failed"), ("tcp-1", "failed")] {
        assert_eq!(mark(&marks, name), wanted, "{marks:?}");
    }
    let said = String::from_utf8(world.preflight(&[]).stdout).unwrap();
    assert!(said.contains("✗ failed   backup "), "{said}");
    assert!(said.contains("dump_2.sql is ") && said.contains("has 0 bytes; at least"), "{said}");
}

#[test]
fn without_a_program_what_only_it_knows_is_not_said_to_be_well() {
    let mut world = World::new();
    world.program.kill();
    let (code, marks) = world.marks(&[]);
    assert_eq!(code, Some(0), "{marks:?}");
    for (name, wanted) in [
        ("exact", "passed"),
        ("healthy", "unknown"),
        ("hours", "unknown"),
        ("backup", "passed"),
        ("tcp-1", "passed"),
        ("migrations", "asked"),
    ] {
        assert_eq!(mark(&marks, name), wanted, "{marks:?}");
    }
    let said = world.preflight(&[]);
    assert!(String::from_utf8_lossy(&said.stderr).contains("weir does not run"));
    assert!(String::from_utf8_lossy(&said.stdout).contains("- unknown  healthy"));
}
