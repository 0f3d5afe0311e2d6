//! Completions, by a shell that sources them; man pages, by mandoc.

use std::process::{Command, Output, Stdio};

use crate::support::skipped;

fn run(program: &str, arguments: &[&str]) -> Option<Output> {
    let run = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    if run.is_err() {
        skipped::say("what the verbs look like in a shell and in man", program);
    }
    run.ok()
}

fn weir(arguments: &[&str]) -> String {
    let output = run(env!("CARGO_BIN_EXE_weir"), arguments).unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What bash offers after `typed`, a word each.
fn offered(typed: &[&str]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("weir.bash");
    std::fs::write(&script, weir(&["completions", "bash"])).unwrap();
    let words = typed.join(" ");
    let before = typed[typed.len().saturating_sub(2)];
    let (last, at) = (typed[typed.len() - 1], typed.len() - 1);
    let asked = format!(
        "set -eu; source {}; complete -p weir | grep -q _weir; COMP_WORDS=({words} {}); \
         COMP_CWORD={at}; set +eu; _weir weir '{last}' '{before}'; printf '%s\\n' \
         \"${{COMPREPLY[@]}}\"",
        script.display(),
        if last.is_empty() { "''" } else { "" },
    );
    let output = run("bash", &["--norc", "-c", &asked]).unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_verbs_flags_and_values() {
    assert_eq!(offered(&["weir", "rollb"]), ["rollback"]);
    assert_eq!(offered(&["weir", "cache", "dr"]), ["drop"]);
    assert_eq!(offered(&["weir", "maintenance", "o"]), ["off", "on"]);
    let flags = offered(&["weir", "rollback", "--"]);
    assert!(flags.contains(&"--over".to_owned()) && flags.contains(&"--reason".to_owned()));
    let verbs = offered(&["weir", ""]);
    for verb in ["run", "start", "status", "watch", "completions", "man"] {
        assert!(verbs.contains(&verb.to_owned()), "{verb}: {verbs:?}");
    }
}

#[test]
fn zsh_and_fish_can_read_theirs() {
    for (shell, says) in [("zsh", "#compdef weir"), ("fish", "complete -c weir")] {
        let script = weir(&["completions", shell]);
        assert!(script.contains(says) && script.contains("rollback"), "{shell}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("script");
        std::fs::write(&path, script).unwrap();
        if let Some(output) = run(shell, &["-n", path.to_str().unwrap()]) {
            assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        }
    }
}

#[test]
fn every_verb_has_a_page_in_which_mandoc_finds_no_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let said = weir(&["man", "--out", folder.path().to_str().unwrap()]);
    let mut pages: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|page| page.unwrap().path()).collect();
    pages.sort();
    assert!(said.starts_with(&format!("{} pages", pages.len())), "{said}");
    for name in ["weir", "weir-rollback", "weir-cache-drop", "weir-token-add"] {
        assert!(folder.path().join(format!("{name}.1")).is_file(), "{name}");
    }
    for page in &pages {
        let path = page.to_str().unwrap();
        let Some(output) = run("mandoc", &["-T", "lint", "-W", "warning", path]) else {
            return;
        };
        // Pages have no date of their own: they are as old as the program.
        let found = String::from_utf8_lossy(&output.stdout).into_owned();
        let found: Vec<&str> =
            found.lines().filter(|line| !line.contains("missing date")).collect();
        assert!(found.is_empty(), "{found:?}");
    }
    assert_eq!(weir(&["man", "cache", "drop"]), read(folder.path(), "weir-cache-drop.1"));
    let shown = run("mandoc", &["-T", "utf8", folder.path().join("weir.1").to_str().unwrap()]);
    // Without what makes letters bold: a letter, a backspace, the letter again.
    let shown = String::from_utf8(shown.unwrap().stdout).unwrap();
    let mut plain = String::new();
    for letter in shown.chars() {
        if letter == '\u{8}' {
            plain.pop();
        } else {
            plain.push(letter);
        }
    }
    for says in ["weir run --listen 127.0.0.1:8080 \\", "EXIT CODES", "weir-rollback(1)"] {
        assert!(plain.contains(says), "{says}: {plain}");
    }
}

fn read(folder: &std::path::Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap()
}
