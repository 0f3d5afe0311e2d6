//! The command line: the real binary, with and without a running program.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::support::program::{Program, free_address};
use super::support::upstream::Upstream;

fn weir(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(arguments)
        .current_dir(folder)
        .env_remove("WEIR_ADMIN")
        .env_remove("WEIR_TOKEN")
        .env_remove("WEIR_TOKEN_FILE")
        .env("XDG_RUNTIME_DIR", folder)
        .stdin(Stdio::null())
        .output()
        .expect("weir runs")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_manual_names_every_verb() {
    let folder = tempfile::tempdir().unwrap();
    let manual = out(&weir(folder.path(), &["--help"]));
    for verb in [
        "run", "check", "start", "advance", "promote", "pause", "resume", "rollback", "adopt",
        "wait", "status", "watch", "explain", "log", "replay", "reload", "token", "demo",
    ] {
        let listed = manual.lines().any(|line| line.trim_start().starts_with(&format!("{verb} ")));
        assert!(listed, "{verb} is not in the manual");
        let output = weir(folder.path(), &[verb, "--help"]);
        assert!(output.status.success() && out(&output).contains("Usage: weir"), "{verb}");
    }
    assert!(manual.contains("EXIT CODES") && manual.lines().all(|line| line.len() <= 82));
    assert!(out(&weir(folder.path(), &["--version"])).starts_with("weir "));
}

#[test]
fn what_is_not_understood_ends_with_2() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        &["rolback"][..],
        &["advance", "--to", "25"],
        &["adopt", "web"],
        &["replay"],
        &["wait", "--timeout", "5"],
        &["run", "--stable", "127.0.0.1:3000"],
        &["token", "add", "x", "--role", "king"],
    ] {
        let output = weir(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", complaint(&output));
    }
    assert!(complaint(&weir(folder.path(), &["rolback"])).contains("rollback"));
}

#[test]
fn where_nobody_answers_it_says_where_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let address = free_address().to_string();
    for verb in ["status", "rollback", "wait", "log", "explain", "start"] {
        let output = weir(folder.path(), &[verb, "--admin", &address]);
        let complaint = complaint(&output);
        assert_eq!(output.status.code(), Some(1), "{verb}");
        assert!(
            complaint.starts_with(&format!("error: nobody answers at {address}"))
                && complaint.contains("weir run"),
            "{verb}: {complaint}"
        );
    }
}

#[test]
fn a_trace_is_judged_and_told_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let mut trace = String::new();
    for minute in -29..=0 {
        let _ = writeln!(
            trace,
            "{{\"t\":{},\"dur\":60,\"weight\":0,\"stable\":{{\"requests\":6000,\"errors\":3,\
             \"slow\":60}}}}",
            minute * 60
        );
    }
    for second in 1..=300 {
        let _ = writeln!(
            trace,
            "{{\"t\":{second},\"dur\":1,\"weight\":0.05,\"stable\":{{\"requests\":95,\"errors\":0,\
             \"slow\":1}},\"canary\":{{\"requests\":5,\"errors\":2,\"slow\":0}}}}"
        );
    }
    std::fs::write(folder.path().join("bad.ndjson"), trace).unwrap();
    let output = weir(folder.path(), &["replay", "bad.ndjson", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", complaint(&output));
    let line: Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!((&line["file"], &line["verdict"]), (&"bad.ndjson".into(), &"revert".into()));
    assert_eq!(line["metric"], "errors");
    for key in ["t", "canary_failed", "advance_at", "unproven", "reason"] {
        assert!(line.get(key).is_some(), "{key} is missing: {line}");
    }
    let output = weir(folder.path(), &["replay", "none.ndjson", "bad.ndjson"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(complaint(&output).contains("none.ndjson"));
    assert!(out(&output).starts_with("bad.ndjson: "), "the other one is judged all the same");
}

#[test]
fn check_says_every_mistake_or_that_there_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let good = "[[tier]]\nname = \"web\"\nlisten = \"127.0.0.1:8080\"\nstable = \"1\"\n\
                releases = [{ version = \"1\", upstreams = [\"127.0.0.1:9101\"] }]\n";
    std::fs::write(folder.path().join("weir.toml"), good).unwrap();
    let output = weir(folder.path(), &["check"]);
    assert!(output.status.success(), "{}", complaint(&output));
    assert!(out(&output).contains("weir.toml is valid: 1 tier, 1 release"));
    let bad = good.replace("listen", "lisen").replace("stable = \"1\"", "stable = \"2\"");
    std::fs::write(folder.path().join("bad.toml"), bad).unwrap();
    let output = weir(folder.path(), &["check", "bad.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(out(&output).contains("bad.toml:3") && out(&output).contains("did you mean"));
    let output = weir(folder.path(), &["check", "bad.toml", "--json"]);
    let findings: Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(findings["valid"], false);
    assert!(findings["findings"].as_array().unwrap().len() >= 2, "{findings}");
}

#[test]
fn tokens_are_made_listed_and_taken_back_without_a_running_program() {
    let folder = tempfile::tempdir().unwrap();
    let ask = |arguments: &[&str]| weir(folder.path(), arguments);
    let state = ["--state", "weir.db"];
    let made = ask(&[&["token", "add", "ci", "--role", "viewer"][..], &state].concat());
    assert!(made.status.success(), "{}", complaint(&made));
    let secret = out(&made);
    assert!(secret.starts_with("weir_") && secret.lines().count() == 1, "pipes take it: {secret}");
    let list = out(&ask(&[&["token", "list"][..], &state].concat()));
    assert!(list.contains("ci") && list.contains("viewer") && !list.contains(secret.trim()));
    let again = ask(&[&["token", "add", "ci", "--role", "viewer"][..], &state].concat());
    assert_eq!(again.status.code(), Some(1));
    assert!(ask(&[&["token", "revoke", "ci"][..], &state].concat()).status.success());
    assert_eq!(out(&ask(&[&["token", "list"][..], &state].concat())), "");
}

#[test]
fn a_reader_who_leaves_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["check", "--json", "/nonexistent"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let complaint = complaint(&output);
    assert!(!complaint.contains("panicked") && !complaint.contains("pipe"), "{complaint}");
}

/// A file with a tier of two versions, at these places.
fn file_of([old, new]: &[Upstream; 2]) -> String {
    format!(
        "[admin]\nlisten = \"ADMIN\"\n[[tier]]\nname = \"web\"\nlisten = \"{}\"\nstable = \
         \"1.0.0\"\nreleases = [{{ version = \"1.0.0\", upstreams = [\"{}\"] }}, {{ version = \
         \"1.1.0\", upstreams = [\"{}\"] }}]\n",
        free_address(),
        old.address,
        new.address
    )
}

#[test]
fn a_chain_is_shown_hop_by_hop() {
    let upstreams = ["1.0.0", "1.1.0"].map(Upstream::start);
    let file = |hops: &str| file_of(&upstreams) + hops;
    let program = Program::start(&file("[rollout]\nhops = [\"1.0.0\", \"1.1.0\", \"1.2.0\"]\n"));
    let chain = program.say(&["chain", "status"]);
    let lines: Vec<&str> = chain.lines().collect();
    assert!(lines[0].starts_with("✓ 1.0.0  done, everybody had it at "), "{chain}");
    assert_eq!(lines[1], "· 1.1.0  next: `weir start` begins it");
    assert_eq!(lines[2..], ["· 1.2.0", "1 of 3 hops done"]);
    program.say(&["start"]);
    let chain = program.say(&["chain", "status"]);
    assert!(chain.contains("▶ 1.1.0  now: rollout 1, waits for the judge of web"), "{chain}");
    let json: Value = serde_json::from_str(&program.say(&["chain", "status", "--json"])).unwrap();
    assert_eq!(json[1]["standing"], "now", "{json}");
    drop(program);
    let program = Program::start(&file(""));
    let refused = program.ask(&["chain", "status"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(complaint(&refused).contains("there is no chain"), "{}", complaint(&refused));
}

#[test]
fn a_night_on_the_command_line() {
    let upstreams = ["1.0.0", "1.1.0"].map(Upstream::start);
    let file = file_of(&upstreams);
    let program = Program::start(&file);
    let plan = program.say(&["plan", "1.1.0", "--json"]);
    let plan: Value = serde_json::from_str(&plan).unwrap();
    assert_eq!(plan["targets"][0]["version"], "1.1.0", "{plan}");
    let started = program.say(&["start", "1.1.0", "--wait", "2m", "--reason", "release day"]);
    let lines: Vec<&str> = started.lines().collect();
    assert_eq!(lines[0], "the plan for web:");
    assert!(started.contains("warning: stable is known for 0 of the 20 minutes"), "{started}");
    assert!(started.contains("web: 1.1.0 started at") && started.contains("release day"));
    assert!(lines.last().unwrap().starts_with("next: `weir watch`"), "{started}");

    let screen = program.say(&["status"]);
    assert!(screen.contains("canary     1.1.0") && screen.contains("stage 1 of"), "{screen}");
    assert!(screen.contains("weir rollback web") && !screen.contains('\u{1b}'), "{screen}");
    assert_eq!(program.ask(&["wait", "--timeout", "100ms"]).status.code(), Some(4));
    assert!(program.say(&["advance", "--to", "25%"]).contains("advanced to 25%"));
    let explained = program.say(&["explain", "web"]);
    assert!(explained.contains("verdict"), "{explained}");
    let refused = program.ask(&["promote"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(complaint(&refused).contains("--yes"), "{}", complaint(&refused));

    let back = program.say(&["rollback", "--json", "--reason", "enough"]);
    let back: Value = serde_json::from_str(&back).unwrap();
    assert!(back["sentences"][0].as_str().unwrap().contains("everybody is on 1.0.0"), "{back}");
    assert!(program.say(&["rollback"]).contains("everybody is on 1.0.0"), "again: exit 0");
    assert_eq!(program.ask(&["wait"]).status.code(), Some(3));
    let again = program.ask(&["start", "web", "1.1.0", "--json"]);
    assert_eq!(again.status.code(), Some(1));
    let trouble: Value = serde_json::from_str(&out(&again)).unwrap();
    assert_eq!(trouble["kind"], "refused");
    // What was refused is written without anybody waiting for it.
    let since = Instant::now();
    let refused = "`start version=1.1.0` by operator was refused";
    let mut log = program.say(&["log", "-n", "2"]);
    while !log.contains(refused) && since.elapsed() < Duration::from_mins(2) {
        log = program.say(&["log", "-n", "2"]);
    }
    assert!(log.contains("operator") && log.contains("enough"), "{log}");
    assert!(log.contains(refused), "{log}");

    let bad = file.replace("stable", "stabel");
    program.write_file(&bad);
    let reloaded = program.ask(&["reload"]);
    assert_eq!(reloaded.status.code(), Some(1));
    assert!(complaint(&reloaded).contains("stabel"), "{}", complaint(&reloaded));
    assert!(program.say(&["rollback"]).contains("1.0.0"), "a broken file locks nobody out");
}
