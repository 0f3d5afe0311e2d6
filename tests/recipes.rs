//! The recipes under `deploy/`: their files, scripts and pages, and their nights played by the real
//! program against stand-ins for the app, with a real Redis.

mod night;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::support::redis::Redis;
use night::{Night, order_in_readme};

/// The recipes.
const RECIPES: [&str; 3] = ["rails", "mastodon", "mattermost"];

fn folder(recipe: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(recipe)
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files of a recipe.
fn files(recipe: &str) -> Vec<PathBuf> {
    let mut folders = vec![folder(recipe)];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files
}

/// The values of `key` in the file of a recipe, one for each line that has it.
fn values(text: &str, key: &str) -> BTreeSet<String> {
    let value = |line: &str| {
        let (name, value) = line.split_once('=')?;
        (name.trim() == key).then(|| value.trim().trim_matches('"').to_owned())
    };
    text.lines().filter_map(value).collect()
}

/// The steps of a recipe, those of gates left out.
fn steps(text: &str) -> BTreeSet<String> {
    let tables = text.split("[[step]]").skip(1);
    tables.flat_map(|table| values(table.split("\n[").next().unwrap(), "name")).collect()
}

#[test]
fn the_file_of_a_recipe_is_valid_and_weir_has_nothing_to_say_of_it() {
    for recipe in RECIPES {
        let output = Command::new(env!("CARGO_BIN_EXE_weir"))
            .args(["check", "--json", "weir.toml"])
            .current_dir(folder(recipe))
            .env("CHAT_WEBHOOK", "https://chat.example.org/hooks/x")
            .output()
            .unwrap();
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(said["valid"], true, "{recipe}: {said:#}");
        assert_eq!(said["findings"], serde_json::json!([]), "{recipe}: {said:#}");
    }
}

/// What `program` says of `script`; nothing where it is not installed.
fn reads(program: &[&str], script: &Path) -> Option<Output> {
    Command::new(program[0]).args(&program[1..]).arg(script).output().ok()
}

#[test]
fn every_script_can_be_read_by_a_shell_and_executed() {
    for script in RECIPES.iter().flat_map(|recipe| files(recipe)) {
        if script.extension().is_none_or(|extension| extension != "sh") {
            continue;
        }
        let mode = std::fs::metadata(&script).unwrap().permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{} is not executable", script.display());
        let shell = reads(&["sh", "-n"], &script).expect("sh");
        assert!(shell.status.success(), "{}: {shell:?}", script.display());
        let text = read(&script);
        assert!(text.starts_with("#!/bin/sh\n# "), "{} says what it does", script.display());
        assert!(text.contains("\nset -eu\n"), "{} goes on after a mistake", script.display());
        if let Some(checked) = reads(&["shellcheck"], &script) {
            let said = String::from_utf8_lossy(&checked.stdout).into_owned();
            assert!(checked.status.success(), "{said}");
        }
    }
}

#[test]
fn what_a_page_and_a_file_name_is_there() {
    for recipe in RECIPES {
        let (page, text) =
            (read(&folder(recipe).join("README.md")), read(&folder(recipe).join("weir.toml")));
        let is_of_a_name = |c: char| c.is_ascii_alphanumeric() || "._-/@".contains(c);
        for word in page.split(|c| !is_of_a_name(c)).chain(text.split(|c| !is_of_a_name(c))) {
            let word = word.trim_end_matches('.');
            let is_ours = ["hooks/", "systemd/", "../"].iter().any(|start| word.starts_with(start))
                || word.starts_with("compose.y");
            assert!(!is_ours || folder(recipe).join(word).exists(), "{recipe}: {word}");
        }
        let steps = steps(&text);
        for step in &steps {
            assert!(page.contains(&format!("| `{step}` |")), "{recipe}: no row for step {step}");
        }
        for order in ["weir approve ", "weir step skip ", "weir step retry "] {
            for (place, _) in page.match_indices(order) {
                // Without a name it is the step that waits.
                let rest = page[place + order.len()..].split(|c: char| !is_of_a_name(c));
                let step = rest.map(|word| word.trim_end_matches('.')).next().unwrap_or_default();
                let is_nobody = step.is_empty() || step.starts_with('-');
                assert!(is_nobody || steps.contains(step), "{recipe}: there is no step {step}");
            }
        }
    }
}

#[test]
fn a_night_goes_as_its_page_tells_until_everybody_has_the_new_version() {
    for recipe in RECIPES {
        let redis = Redis::start(&[]);
        let night = Night::begin(&folder(recipe), &redis);
        night.the_caches_are_apart();
        night.promote();
        assert_eq!(night.hooks(), order_in_readme(&folder(recipe), false), "{recipe}");
        assert_eq!(night.moves(), night.commands("switch", &night.new), "{recipe}");
        night.everybody_has(&night.new);
    }
}

#[test]
fn a_night_that_goes_wrong_ends_as_its_page_tells_with_everybody_back() {
    for recipe in RECIPES {
        let redis = Redis::start(&[]);
        let night = Night::begin(&folder(recipe), &redis);
        night.go_on_until_the_last_stage();
        let (before, moved) = (night.hooks().len(), night.moves().len());
        night.roll_back();
        assert_eq!(night.hooks()[before..], order_in_readme(&folder(recipe), true), "{recipe}");
        let mut back = night.commands("switch", &night.old);
        back.truncate(moved);
        back.reverse();
        assert_eq!(night.moves()[moved..], back, "{recipe}: the last one first");
        night.everybody_has(&night.old);
    }
}
