//! Tests that this machine cannot run.

use std::fs::OpenOptions;
use std::io::Write;

/// Says that a test was left out, and what it would need. `tests/run` shows and counts these lines,
/// since cargo keeps to itself what a test prints that passes.
pub fn say(test: &str, needs: &str) {
    let line = format!("skipped: {test}; needs {needs}");
    eprintln!("{line}");
    if let Some(path) = std::env::var_os("WEIR_TEST_SKIPPED") {
        let mut file = OpenOptions::new().append(true).create(true).open(path).expect("a file");
        writeln!(file, "{line}").expect("the line is written");
    }
}
