//! Sources of installed servers, for the tests that stand in them.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::skipped;

/// The source of Debian's `package`, in the version of the installed `program`. None: it is not to
/// be had, so `what` is left out, which is said.
pub fn source(package: &str, program: &str, what: &str) -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/debian_source");
    let output = Command::new(script).args([package, program]).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        return Some(PathBuf::from(text(&output.stdout)));
    }
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    skipped::say(what, &text(&output.stderr));
    None
}

/// Has the installed `program` stand at `there`, where the tests look for it.
pub fn link(program: &str, there: &Path) {
    if let Err(error) = std::os::unix::fs::symlink(Path::new("/usr/bin").join(program), there) {
        assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
    }
}
