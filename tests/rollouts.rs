//! Plays the scripts of `tests/rollouts/`: orders in, sentences out. Each is a test, a page of
//! documentation and a sample of the journal in one. `WEIR_REWRITE=1` writes what was played back
//! into the scripts; read the difference before you keep it.
//!
//! A line that begins with `>` is played; the indented lines below it are what must come of it
//! (or, of `> file`, what it says). After each event the player kills the program: memory rebuilt
//! from the journal must equal memory. See `docs/rollout.md`.

mod file;
mod player;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use player::Player;

fn scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rollouts");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut scripts: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|ending| ending == "txt")).collect();
    scripts.sort();
    scripts
}

/// The script with what really comes of each of its lines.
fn played(script: &str) -> String {
    let mut player = Player::default();
    let mut text = String::new();
    let mut lines = script.lines().peekable();
    while let Some(line) = lines.next() {
        text += line;
        text.push('\n');
        let Some(order) = line.strip_prefix("> ") else { continue };
        let mut block = Vec::new();
        while let Some(below) = lines.next_if(|line| line.starts_with("  ")) {
            block.push(below.trim_start().to_owned());
        }
        let shown = if order.trim() == "file" {
            player.file(&block.join("\n"));
            block
        } else {
            player.play(order)
        };
        for line in shown {
            text.extend(["    ", &line, "\n"]);
        }
    }
    text
}

#[test]
fn every_script_plays_as_it_is_written() {
    let mut wrong = Vec::new();
    for path in scripts() {
        let written = fs::read_to_string(&path).unwrap();
        let played = played(&written);
        if played == written {
            continue;
        }
        if std::env::var_os("WEIR_REWRITE").is_some() {
            fs::write(&path, &played).unwrap();
        }
        wrong.push(format!("{}\n{}", path.display(), difference(&written, &played)));
    }
    assert!(wrong.is_empty(), "WEIR_REWRITE=1 writes what was played:\n{}", wrong.join("\n"));
}

#[test]
fn every_row_of_the_release_table_has_a_script() {
    let table = include_str!("../docs/rollout.md");
    let linked: BTreeSet<&str> =
        table.split("tests/rollouts/").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    let names: Vec<String> =
        scripts().iter().map(|path| path.file_name().unwrap().display().to_string()).collect();
    let there: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(there, linked, "scripts there, and scripts that docs/rollout.md links to");
}

fn difference(written: &str, played: &str) -> String {
    let (mut text, mut written) = (String::new(), written.lines());
    for (number, now) in played.lines().enumerate() {
        let was = written.next().unwrap_or_default();
        if was != now {
            let _ = writeln!(text, "  line {}:\n  - {was}\n  + {now}", number + 1);
        }
        if text.lines().count() > 12 {
            break;
        }
    }
    text
}
