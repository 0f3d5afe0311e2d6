//! memcached's own tests, from Debian's source package, pass through Weir as they do directly.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Scene;
use crate::support::debian;
use crate::support::memcached::Memcached;

/// Those that pass at a server that was started without options, and take less than a second.
const SOME: &[&str] = &[
    "binary-get",
    "bogus-commands",
    "cas",
    "flags",
    "incrdecr",
    "issue_104",
    "issue_108",
    "issue_152",
    "issue_192",
    "issue_29",
    "issue_3",
    "issue_42",
    "issue_68",
    "issue_70",
    "line-lengths",
];

/// Further ones with `WEIR_LONG`.
const MORE: &[&str] =
    &["chunked-items", "getandtouch", "getset", "issue_14", "issue_163", "issue_41"];

/// Tests that must go otherwise than without Weir, with the reason for each.
const OTHERWISE: &[(&str, &str, &str)] = &[
    (
        "issue_104",
        "Should have 2 get requests",
        "the server counts that Weir asks for the generation, too",
    ),
    (
        "issue_104",
        "Should have 1 miss",
        "a server that is fresh has no generation when Weir asks for it",
    ),
    (
        "issue_14",
        "Memory grows..",
        "a key is longer by its prefix, so the value lies in another class of the server's memory",
    ),
    ("issue_29", "Used one", "the server holds the generation, too"),
    ("issue_29", "Used two", "the same"),
    ("issue_42", "Check allocated size", "keys are longer, and the server holds the generation"),
];

/// How long one file may take, in seconds: the longest takes 20 on a machine that is free.
const SECONDS_MAX: &str = "300";

/// The source of the installed server. None: it is not to be had, which is said.
fn source() -> Option<PathBuf> {
    let source = debian::source("memcached", "memcached", "memcached's own tests")?;
    // The tests ask it what it was built with.
    debian::link("memcached", &source.join("memcached-debug"));
    Some(source)
}

/// The lines of the tests of a file, at this server.
fn played(source: &Path, file: &str, server: SocketAddr) -> Vec<String> {
    let output = Command::new("timeout")
        .args(["--kill-after=5", SECONDS_MAX, "perl", "-I", "t/lib", &format!("t/{file}.t")])
        .env("T_MEMD_USE_DAEMON", server.to_string())
        .current_dir(source)
        .stdin(Stdio::null())
        .output()
        .expect("perl, which Debian has always");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let is_test = |line: &&str| line.starts_with("ok ") || line.starts_with("not ok ");
    // Behind a colon stand numbers.
    let name = |line: &str| line.split(": ").next().unwrap_or(line).to_owned();
    said.lines().filter(is_test).map(name).collect()
}

#[test]
fn memcacheds_own_tests_pass_apart_from_a_written_list() {
    if super::is_quick("memcacheds_own_tests_pass_apart_from_a_written_list") {
        return;
    }
    let Some(source) = source() else { return };
    let more = if std::env::var_os("WEIR_LONG").is_some() { MORE } else { &[] };
    let mut wrong = Vec::new();
    for file in SOME.iter().chain(more) {
        let directly = {
            let server = Memcached::start(&[]);
            played(&source, file, server.address)
        };
        assert!(!directly.is_empty(), "{file} tests nothing");
        assert!(directly.iter().all(|line| line.starts_with("ok ")), "{file}: {directly:?}");
        let scene = Scene::start();
        let through = played(&source, file, scene.ports[0]);
        let expected = directly.into_iter().map(|line| {
            let listed = OTHERWISE.iter().any(|(of, test, reason)| {
                assert!(!reason.is_empty());
                of == file && line.ends_with(test)
            });
            if listed { format!("not {line}") } else { line }
        });
        let expected: Vec<String> = expected.collect();
        if through != expected {
            let at = through.iter().zip(&expected).position(|(one, other)| one != other);
            let at = at.unwrap_or(through.len().min(expected.len()));
            wrong.push(format!("{file}: {:?} for {:?}", through.get(at), expected.get(at)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
