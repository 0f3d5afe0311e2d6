//! `weir init`: asked on a real terminal, told by flags, and the file it writes in use.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::support::client::Client;
use super::support::program::{Program, free_address};
use super::support::upstream::Upstream;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn weir(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(arguments)
        .current_dir(folder)
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()
        .expect("weir runs")
}

/// Runs a verb that must succeed, and gives what it prints.
fn said(folder: &Path, arguments: &[&str]) -> String {
    let output = weir(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Answers the questions of `weir init` on a terminal; its exit code and all that was shown.
fn on_a_terminal(folder: &Path, answers: &[&str], arguments: &[&str]) -> (Option<i32>, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/init/terminal.py");
    let output = Command::new("python3")
        .arg(script)
        .args(["60", &answers.join("\n"), env!("CARGO_BIN_EXE_weir"), "init"])
        .args(arguments)
        .current_dir(folder)
        .env("NO_COLOR", "1")
        .output()
        .expect("python3 runs");
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

/// Serves with `file`, opens a rollout, and has both versions answer.
fn serves(file: &str, admin: &str, listen: &str, new: &Upstream) {
    let program = Program::start(&file.replace(admin, "ADMIN"));
    program.say(&["start", "1.1.0", "--wait", "2m"]);
    program.say(&["advance", "--to", "50%"]);
    let before = new.requests();
    for newcomer in 0..64 {
        // Newcomers are told apart by their addresses.
        let mut client = Client::to(listen.parse().unwrap());
        let answer = client.get("/shop", &format!("x-forwarded-for: 192.0.2.{newcomer}\r\n"));
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert!(new.requests() > before, "half of the users are on the canary");
    assert!(program.say(&["rollback"]).contains("everybody is on 1.0.0"));
}

#[test]
fn told_by_flags_it_writes_a_file_that_is_valid_and_serves() {
    let (old, new) = (Upstream::start("1.0.0"), Upstream::start("1.1.0"));
    let folder = tempfile::tempdir().unwrap();
    let (admin, listen) = (free_address().to_string(), free_address().to_string());
    let (stable, canary) = (format!("1.0.0={}", old.address), format!("1.1.0={}", new.address));
    let flags = [
        "init",
        "--yes",
        "--tier",
        "shop",
        "--listen",
        &listen,
        "--stable",
        &stable,
        "--canary",
        &canary,
        "--sticky",
        "cookie:_session_id",
        "--admin",
        &admin,
        "--token",
        "night-shift",
    ];
    let out = said(folder.path(), &flags);
    assert!(out.contains("wrote weir.toml, mode 0644") && out.contains("weir_"), "{out}");
    assert!(out.contains(&format!("proxy_pass http://{listen};")), "{out}");
    let path = folder.path().join("weir.toml");
    let file = std::fs::read_to_string(&path).unwrap();
    assert!(file.contains("path = \"/up\""), "the first usual path that answers is taken: {file}");
    assert!(file.contains("sticky = { cookie = \"_session_id\" }"), "{file}");
    assert!(said(folder.path(), &["check"]).contains("weir.toml is valid: 1 tier, 2 releases"));
    let tokens = said(folder.path(), &["token", "list"]);
    assert!(tokens.contains("night-shift") && tokens.contains("operator  "), "{tokens}");

    let again = weir(folder.path(), &flags);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("--overwrite"), "{}", text(&again.stderr));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), file);
    serves(&file, &admin, &listen, &new);
}

#[test]
fn what_a_flag_says_wrong_is_refused_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    for (flags, why) in [
        (&["--stable", "1=nowhere"][..], "is not an address"),
        (&["--canary", "1.0.0=127.0.0.1:3999"], "both versions are called 1.0.0"),
        (&["--sticky", "ip"], "use cookie"),
        (&["--cache", "http://x"], "write redis://"),
        (&["--health", "up"], "write a path"),
        (&["--listen", "127.0.0.1:1", "--listen", "127.0.0.1:2"], "name each with --tier"),
        (&["--nginx", "/nonexistent"], "the configuration of nginx"),
        (&["--token", "a b"], "nothing was written"),
    ] {
        let output = weir(folder.path(), &[&["init", "--yes"][..], flags].concat());
        let complaint = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{flags:?}: {complaint}");
        assert!(complaint.contains(why), "{flags:?}: {complaint}");
    }
    let nobody = weir(folder.path(), &["init"]);
    assert!(text(&nobody.stderr).contains("--yes"), "{}", text(&nobody.stderr));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn several_tiers_and_a_cache_with_a_password_make_a_private_file() {
    let folder = tempfile::tempdir().unwrap();
    let out = said(
        folder.path(),
        &[
            "init",
            "etc.toml",
            "--yes",
            "--tier",
            "web",
            "--tier",
            "api",
            "--stable",
            "4.2=127.0.0.1:3100",
            "--stable",
            "4.2=unix:/run/api.sock",
            "--canary",
            "4.3=127.0.0.1:3101,127.0.0.1:3102",
            "--canary",
            "none",
            "--cache",
            "redis://:s3cret@127.0.0.1:6390",
            "--cache",
            "memcached://127.0.0.1:11290",
        ],
    );
    assert!(out.contains("mode 0600") && !out.contains("s3cret"), "{out}");
    let path = folder.path().join("etc.toml");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let checked = said(folder.path(), &["check", "etc.toml"]);
    assert!(checked.contains("is valid: 2 tiers, 3 releases"), "{checked}");
}

#[test]
fn a_configuration_of_nginx_says_where_the_app_runs_and_what_to_change() {
    let folder = tempfile::tempdir().unwrap();
    let old = Upstream::start("1.0.0");
    let site = format!(
        "upstream puma {{ server {}; }}\nserver {{\n  server_name shop.example;\n  location / {{\n    \
         proxy_pass http://puma;\n  }}\n}}\n",
        old.address
    );
    std::fs::write(folder.path().join("shop.conf"), site).unwrap();
    let listen = free_address().to_string();
    let out = said(folder.path(), &["init", "--yes", "--nginx", "shop.conf", "--listen", &listen]);
    let file = std::fs::read_to_string(folder.path().join("weir.toml")).unwrap();
    assert!(file.contains(&format!("upstreams = [\"{}\"]", old.address)), "{file}");
    assert!(out.contains("shop.conf:5"), "{out}");
    assert!(out.contains("# proxy_pass http://puma;   # straight to 1.0.0"), "{out}");
    assert!(out.contains("proxy_set_header X-Forwarded-For"), "it is missing there: {out}");
    said(folder.path(), &["check"]);
}

#[test]
fn on_a_terminal_bad_answers_are_asked_again_with_the_reason() {
    let (old, new) = (Upstream::start("1.0.0"), Upstream::start("1.1.0"));
    let folder = tempfile::tempdir().unwrap();
    let (admin, listen) = (free_address().to_string(), free_address().to_string());
    let (stable, canary) = (old.address.to_string(), new.address.to_string());
    let other = Upstream::start("0");
    let (taken, busy) = (listen.clone(), other.address.to_string());
    // A bad answer, or several, and then a good one.
    let answers = [
        &["my shop", ""][..],                  // the name of the tier
        &["nowhere", &stable, ""],             // where it runs, and which version
        &["up", "/status?503", "/health"],     // the health path
        &[&stable, &canary, "1.0.0", "1.1.0"], // the new version
        &[&stable, &busy, &listen],            // where users come in
        &["n", "sticky", "", ""],              // no other tier, what keeps a user, no cache
        &[&taken, &admin, "", "none"],         // the admin address, the journal, no token
    ]
    .concat();
    let (code, shown) = on_a_terminal(folder.path(), &answers, &[]);
    assert_eq!(code, Some(0), "{shown}");
    for reason in [
        "nowhere\" is not an address",
        "write a path",
        "/status?503 with 503 Service Unavailable; say it again if it is meant",
        "is named already",
        "is called so already",
        &format!("{busy} is taken by"),
        "use cookie",
        "another answer has taken that port",
        "Is there another tier",
    ] {
        assert!(shown.contains(reason), "{reason}\n{shown}");
    }
    assert!(!shown.contains("not asked for"), "{shown}");
    said(folder.path(), &["check"]);
    let file = std::fs::read_to_string(folder.path().join("weir.toml")).unwrap();
    assert!(file.contains("path = \"/health\""), "{file}");

    let (code, shown) = on_a_terminal(folder.path(), &["n"], &[]);
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains("Write over it? [y/N]") && shown.contains("stays as it is"), "{shown}");
    let (code, shown) = on_a_terminal(folder.path(), &["y"], &[]);
    assert_eq!(code, Some(1), "the input ends: {shown}");
    assert!(shown.contains("nothing was written"), "{shown}");
    assert_eq!(std::fs::read_to_string(folder.path().join("weir.toml")).unwrap(), file);
    serves(&file, &admin, &listen, &new);
}
