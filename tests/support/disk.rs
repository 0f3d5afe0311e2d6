//! A disk that hangs or is full on demand, for the journal of a program under test.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// The switches of a disk, and what makes a program feel them.
pub struct Disk {
    folder: TempDir,
}

impl Disk {
    /// Compiles what is loaded into the program; needs a C compiler, as the program itself does.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/disk.c");
        let library = folder.path().join("disk.so");
        let compiled = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()))
            .args(["-O1", "-shared", "-fPIC", "-o"])
            .arg(&library)
            .arg(source)
            .arg("-ldl")
            .status()
            .expect("a C compiler");
        assert!(compiled.success(), "disk.c: {compiled}");
        Self { folder }
    }

    /// The environment of a program that has this disk.
    pub fn environment(&self) -> [(String, String); 2] {
        let text = |path: PathBuf| path.display().to_string();
        [
            ("LD_PRELOAD".into(), text(self.folder.path().join("disk.so"))),
            ("DISK_TROUBLE".into(), text(self.folder.path().into())),
        ]
    }

    /// Begins `trouble`: `hang` or `full`.
    pub fn begins(&self, trouble: &str) {
        std::fs::write(self.folder.path().join(trouble), "").expect("a switch");
    }

    /// Ends it.
    pub fn ends(&self, trouble: &str) {
        std::fs::remove_file(self.folder.path().join(trouble)).expect("a switch");
    }
}
