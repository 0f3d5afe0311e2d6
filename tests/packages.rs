//! How Weir comes to a machine: its units, its Debian package, its image.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::support::{quick, skipped};

/// What `systemd-analyze security` may give the unit, in tenths: 17 when this was written.
const EXPOSURE_MAX: u32 = 20;

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = top().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn text(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// Runs a command that must succeed, and gives all that it says.
fn said(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = text(&output);
    assert!(output.status.success(), "{command:?}: {}\n{text}", output.status);
    text
}

/// The units with the program under test in the place of the installed one.
fn units(folder: &Path, drop_in: bool) -> [PathBuf; 2] {
    let program = env!("CARGO_BIN_EXE_weir");
    let service = read("deploy/weir.service");
    let here = service.replace("=weir ", &format!("={program} "));
    assert_eq!(here.matches(program).count(), 2, "ExecStart and ExecReload");
    let paths = ["weir.service", "weir.socket"].map(|name| folder.join(name));
    fs::write(&paths[0], here).unwrap();
    fs::write(&paths[1], read("deploy/weir.socket")).unwrap();
    if drop_in {
        fs::create_dir(folder.join("weir.service.d")).unwrap();
        let more = read("deploy/weir.service.d/runbook.conf");
        fs::write(folder.join("weir.service.d/runbook.conf"), more).unwrap();
    }
    paths
}

#[test]
fn systemd_takes_the_units_and_their_fence_is_tight() {
    for drop_in in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let paths = units(folder.path(), drop_in);
        let verified = said(Command::new("systemd-analyze").arg("verify").args(&paths));
        assert_eq!(verified.trim(), "", "not a word");
    }
    let folder = tempfile::tempdir().unwrap();
    let [service, _] = units(folder.path(), false);
    let security = said(
        Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--no-pager"])
            .arg(format!("--threshold={EXPOSURE_MAX}"))
            .arg(service),
    );
    assert!(security.contains("Overall exposure level"), "{security}");
}

#[test]
fn the_socket_opens_addresses_of_the_example() {
    let (socket, example) = (read("deploy/weir.socket"), read("deploy/weir.toml"));
    for listen in socket.lines().filter_map(|line| line.strip_prefix("ListenStream=")) {
        assert!(example.contains(&format!("listen = \"{listen}\"")), "{listen}");
    }
}

#[test]
fn the_package_says_the_version_of_the_program() {
    let newest = read("deploy/debian/changelog");
    let version = concat!("weir (", env!("CARGO_PKG_VERSION"), "-1) ");
    assert!(newest.starts_with(version), "deploy/debian/changelog has no {version}");
    for script in ["postinst", "prerm", "postrm"] {
        said(Command::new("sh").arg("-n").arg(top().join("deploy/debian").join(script)));
    }
}

/// cargo-deb, where it was installed.
fn cargo_deb() -> Option<PathBuf> {
    let cache = std::env::var_os("WEIR_TEST_CACHE").map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| top().join("target/test-cache"));
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&paths).collect();
    folders.push(cache.join("bin"));
    folders.into_iter().find(|folder| folder.join("cargo-deb").is_file())
}

#[test]
fn the_package_has_what_it_needs_and_its_program_runs() {
    if quick::is_quick("the Debian package") {
        return;
    }
    let Some(tools) = cargo_deb() else {
        return skipped::say("the Debian package", "cargo-deb: tests/run packages installs it");
    };
    let folder = tempfile::tempdir().unwrap();
    // Where the program under test lies: .../debug/weir.
    let program = Path::new(env!("CARGO_BIN_EXE_weir"));
    let profile = program.parent().unwrap();
    let path = format!("{}:{}", std::env::var("PATH").unwrap_or_default(), tools.display());
    said(
        Command::new(top().join("deploy/debian/build"))
            .arg(profile.file_name().unwrap())
            .arg(folder.path())
            .env("PATH", path)
            .env("CARGO_TARGET_DIR", profile.parent().unwrap()),
    );
    let package = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let about = said(Command::new("dpkg-deb").arg("-I").arg(&package));
    for part in ["Package: weir", "Depends: ", "adduser", "postinst", "prerm", "postrm"] {
        assert!(about.contains(part), "{part}: {about}");
    }
    let root = folder.path().join("root");
    said(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&root));
    let documents = root.join("usr/share/doc/weir");
    for (path, mode) in [
        (root.join("usr/bin/weir"), 0o755),
        (root.join("lib/systemd/system/weir.service"), 0o644),
        (root.join("lib/systemd/system/weir.socket"), 0o644),
        (documents.join("examples/weir.toml"), 0o644),
        (documents.join("examples/weir.service.d/runbook.conf"), 0o644),
        (documents.join("examples/rails/hooks/migrate.sh"), 0o755),
        (documents.join("operations.md"), 0o644),
        (documents.join("copyright"), 0o644),
        (documents.join("examples/prometheus/alerts.yml"), 0o644),
        (documents.join("examples/grafana/dashboards/weir-rollout.json"), 0o644),
        (root.join("usr/share/man/man1/weir.1.gz"), 0o644),
        (root.join("usr/share/man/man1/weir-rollback.1.gz"), 0o644),
        (root.join("usr/share/bash-completion/completions/weir"), 0o644),
    ] {
        use std::os::unix::fs::PermissionsExt as _;
        let about = fs::metadata(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert_eq!(about.permissions().mode() & 0o7777, mode, "{}", path.display());
    }
    let installed = root.join("usr/bin/weir");
    let version = said(Command::new(&installed).arg("--version"));
    assert_eq!(version.trim(), concat!("weir ", env!("CARGO_PKG_VERSION")));
    let example = documents.join("examples/weir.toml");
    assert!(said(Command::new(&installed).arg("check").arg(example)).contains("is valid"));
    if Path::new("/usr/bin/lintian").exists() {
        let tags = Command::new("lintian").args(["--fail-on", "error"]).arg(&package).output();
        let tags = tags.unwrap();
        assert!(tags.status.success(), "{}", text(&tags));
    } else {
        skipped::say("lintian on the Debian package", "lintian");
    }
}

#[test]
fn the_compose_file_fits_what_it_mounts() {
    let script = top().join("tests/packages/compose.py");
    said(Command::new("python3").arg(script).arg(top().join("deploy/compose.yaml")));
    let file = top().join("deploy/compose/weir.toml");
    let checked = said(Command::new(env!("CARGO_BIN_EXE_weir")).arg("check").arg(file));
    assert!(checked.contains("is valid: 1 tier, 2 releases"), "{checked}");
}

#[test]
fn the_image_is_built_of_files_that_are_there() {
    let ignored = read("deploy/Dockerfile.dockerignore");
    let kept: Vec<&str> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    assert!(kept.contains(&"Cargo.lock") && kept.contains(&"src"), "{kept:?}");
    for path in kept {
        assert!(top().join(path).exists(), "{path}");
    }
    let file = read("deploy/Dockerfile");
    let rust = format!("FROM rust:{}-", env!("CARGO_PKG_RUST_VERSION"));
    assert!(file.contains(&rust), "the Rust of Cargo.toml: {rust}");
    for part in ["USER 10001", "HEALTHCHECK", "VOLUME /var/lib/weir"] {
        assert!(file.contains(part), "{part}");
    }
}
