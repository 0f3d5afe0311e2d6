//! The code that pages show is code: shells, readers of TOML, JSON and YAML, and Weir itself take
//! it.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::Value;
use weir::config;

use super::{Block, pages};

/// What blocks are marked with, and nothing else: so none is left out for a typing error.
const LANGUAGES: &[&str] = &[
    "",
    "dockerfile",
    "html",
    "http",
    "ini",
    "js",
    "json",
    "nginx",
    "promql",
    "python",
    "ruby",
    "sh",
    "sql",
    "text",
    "toml",
    "yaml",
];

/// What a part of a file lacks stands elsewhere in the whole, or on the reader's disk.
const PARTS_LACK: &[&str] = &[
    "there is no tier ",
    "no jobs are seen in a cache ",
    "nothing called ",
    "no tier listens at ",
    "No such file or directory",
];

fn each(language: &str, mut check: impl FnMut(&Block) -> Result<(), String>) -> usize {
    let (mut seen, mut wrong) = (0, Vec::new());
    for page in pages() {
        for block in page.blocks() {
            assert!(
                LANGUAGES.contains(&&*block.language),
                "{}:{}: {:?} is no language of the pages; there are {LANGUAGES:?}",
                page.path,
                block.line,
                block.language,
            );
            if block.language == language {
                seen += 1;
                if let Err(why) = check(&block) {
                    wrong.push(format!("{}:{}: {why}", page.path, block.line));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    seen
}

#[test]
fn shells_read_what_is_to_be_typed() {
    let seen = each("sh", |block| through("bash", &["-n"], &block.text));
    assert!(seen > 10, "only {seen} were found");
}

#[test]
fn python_and_ruby_and_yaml_are_read() {
    let python = "import ast, sys; ast.parse(sys.stdin.read())";
    each("python", |block| through("python3", &["-c", python], &block.text));
    if crate::support::quick::is_quick("code of pages in Ruby and YAML") {
        return;
    }
    each("ruby", |block| through("ruby", &["-c", "-"], &block.text));
    let yaml = "require 'yaml'; YAML.parse_stream($stdin.read) or abort 'nothing'";
    each("yaml", |block| through("ruby", &["-e", yaml], &block.text));
}

#[test]
fn json_is_json() {
    each("json", |block| {
        serde_json::from_str::<Value>(&block.text).map(drop).map_err(|error| error.to_string())
    });
}

/// A whole file is valid; a part of one has no mistake but what it lacks.
#[test]
fn weir_takes_the_files_that_are_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("weir.toml");
    let seen = each("toml", |block| {
        std::fs::write(&path, &block.text).expect("to write");
        let Err(report) = config::load(&path) else { return Ok(()) };
        let wrong: Vec<String> = (report.diagnostics().iter())
            .map(config::Diagnostic::json)
            .filter(|one| one["level"] == "error")
            .filter(|one| one["code"] != "missing")
            .filter_map(|one| one["message"].as_str().map(str::to_owned))
            .filter(|said| !PARTS_LACK.iter().any(|lack| said.contains(lack)))
            .collect();
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
    });
    assert!(seen > 15, "only {seen} were found");
}

/// Lines of a location, a location, servers: whatever is missing around them is put there. What they
/// listen at is not bound, and certificates are those of the test.
#[test]
fn nginx_takes_the_lines_that_are_shown() {
    if crate::support::quick::is_quick("code of pages for nginx") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (certificate, key) = certificate(folder.path());
    let path = folder.path().join("nginx.conf");
    let seen = each("nginx", |block| {
        let mut lines = String::new();
        for (place, line) in block.text.lines().enumerate() {
            let (word, rest) = line.trim().split_once(char::is_whitespace).unwrap_or_default();
            let ssl = if rest.contains("ssl") { " ssl" } else { "" };
            let line = match word {
                "listen" => format!("listen unix:{}/{place}.sock{ssl};", folder.path().display()),
                "ssl_certificate" => format!("ssl_certificate {certificate};"),
                "ssl_certificate_key" => format!("ssl_certificate_key {key};"),
                _ => line.to_owned(),
            };
            lines.push_str(&line);
            lines.push('\n');
        }
        let begins = |words: &[&str]| {
            let starts = |line: &str| words.iter().any(|word| line.starts_with(word));
            block.text.lines().any(starts)
        };
        if !begins(&["http {"]) {
            if !begins(&["server {", "upstream ", "map "]) {
                if !begins(&["location ", "server_name ", "listen "]) {
                    lines = format!("location / {{\n{lines}}}\n");
                }
                lines = format!(
                    "server {{\nlisten unix:{}/one.sock;\n{lines}}}\n",
                    folder.path().display()
                );
            }
            lines = format!("http {{\naccess_log off;\n{lines}}}\n");
        }
        let whole = format!("pid nginx.pid;\nerror_log stderr;\nevents {{}}\n{lines}");
        std::fs::write(&path, whole).expect("to write");
        let place = format!("{}/", folder.path().display());
        let file = path.to_string_lossy();
        through("nginx", &["-q", "-t", "-e", "stderr", "-p", &place, "-c", &file], "")
    });
    assert!(seen > 1, "only {seen} were found");
}

/// A certificate of its own and its key, where they lie.
fn certificate(folder: &std::path::Path) -> (String, String) {
    let place = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("one");
    std::fs::write(place("own.pem"), made.cert.pem()).expect("to write");
    std::fs::write(place("own.key"), made.signing_key.serialize_pem()).expect("to write");
    (place("own.pem"), place("own.key"))
}

#[test]
fn prometheus_understands_the_questions_that_are_shown() {
    if crate::support::quick::is_quick("code of pages for Prometheus") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("rules.json");
    let seen = each("promql", |block| {
        let rule = serde_json::json!({ "record": "shown", "expr": block.text });
        let rules = serde_json::json!({ "groups": [{ "name": "shown", "rules": [rule] }] });
        std::fs::write(&path, rules.to_string()).expect("to write");
        through("promtool", &["check", "rules", &path.to_string_lossy()], "")
    });
    assert!(seen > 2, "only {seen} were found");
}

/// What `program` says of `text`, if it does not take it.
fn through(program: &str, arguments: &[&str], text: &str) -> Result<(), String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut input = child.stdin.take().expect("a pipe");
    // A program that gives up reads no more.
    let _ = input.write_all(text.as_bytes());
    drop(input);
    let output = child.wait_with_output().expect("its end");
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
