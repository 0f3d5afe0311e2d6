//! `weir doctor`: what it says of a machine, a file and a program, running or not.

use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;

use super::support::nginx::Nginx;
use super::support::program::{Program, free_address};
use super::support::upstream::Upstream;

/// What was found, a line each: `trouble ports ...`.
fn found(program: &Program, arguments: &[&str]) -> (Option<i32>, Vec<String>) {
    let arguments = [&["doctor", "--json"][..], arguments].concat();
    let output = program.ask(&arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let answer: Value = serde_json::from_str(&text).unwrap_or_else(|error| {
        panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr))
    });
    let word = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let line = |finding: &Value| {
        format!("{} {} {}", word(finding, "mark"), word(finding, "area"), word(finding, "what"))
    };
    let findings: Vec<String> = answer["findings"].as_array().unwrap().iter().map(line).collect();
    let troubles = findings.iter().any(|line| line.starts_with("trouble"));
    assert_eq!(answer["ok"], !troubles);
    assert_eq!(output.status.code(), Some(i32::from(troubles)), "{findings:#?}");
    (output.status.code(), findings)
}

#[track_caller]
fn says(findings: &[String], begin: &str, part: &str) {
    let fits = |line: &String| line.starts_with(begin) && line.contains(part);
    assert!(findings.iter().any(fits), "{begin} ... {part}\n{findings:#?}");
}

/// All files of a folder with their modes and contents.
fn inventory(folder: &Path) -> String {
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().flatten().collect();
    names.sort_by_key(fs::DirEntry::file_name);
    names.iter().fold(String::new(), |mut all, entry| {
        let (path, about) = (entry.path(), entry.metadata().unwrap());
        let _ =
            writeln!(all, "{} {:o} {}", path.display(), about.permissions().mode(), about.len());
        all
    })
}

fn file(listen: &str, old: &Upstream, new: &Upstream) -> String {
    format!(
        "[admin]\nlisten = \"ADMIN\"\n[[tier]]\nname = \"web\"\nlisten = \"{listen}\"\nstable = \
         \"1.0.0\"\nreleases = [{{ version = \"1.0.0\", upstreams = [\"{}\"] }}, {{ version = \
         \"1.1.0\", upstreams = [\"{}\"] }}]\nhealth = {{ path = \"/up\" }}\n[tier.limits]\n\
         connections = 1000\n",
        old.address, new.address
    )
}

#[test]
fn a_weir_that_runs_well_has_no_trouble() {
    let (old, new) = (Upstream::start("1.0.0"), Upstream::start("1.1.0"));
    let listen = free_address().to_string();
    let program = Program::start(&file(&listen, &old, &new));
    let (code, findings) = found(&program, &[]);
    assert_eq!(code, Some(0), "{findings:#?}");
    for (begin, part) in [
        ("ok file", "weir.toml is valid"),
        ("ok program", concat!("weir ", env!("CARGO_PKG_VERSION"), " runs")),
        ("ok program", "as it is on the disk"),
        ("ok limits", "the running weir may have"),
        ("ok ports", &format!("{listen} is weir's")),
        ("ok ports", &format!("{} is weir's", program.admin())),
        ("ok rights", "operator.token is for its owner"),
        ("ok journal", "is whole, with"),
        ("ok tokens", "1 with the role operator, 1 viewer"),
        ("ok upstreams", &format!("web 1.1.0: {} answers /up with 200", new.address)),
    ] {
        says(&findings, begin, part);
    }
    let page = program.say(&["doctor"]);
    let last = page.lines().last().unwrap();
    assert!(last.contains(" ok, ") && last.ends_with("0 troubles"), "{page}");
}

#[test]
fn before_a_start_it_finds_what_would_go_wrong_and_changes_nothing() {
    let (old, new) = (Upstream::start("1.0.0"), Upstream::start("1.1.0"));
    let listen = free_address().to_string();
    let mut program = Program::start(&file(&listen, &old, &new));
    program.kill();
    let taken = TcpListener::bind(&listen).unwrap();
    let at = |name: &str| program.directory().join(name);
    let mode = |name: &str, mode| {
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    mode("operator.token", 0o644);
    fs::write(at("preview.secret"), "0123456789abcdef0123").unwrap();
    mode("preview.secret", 0o644);
    let journal = fs::read(at("weir.db")).unwrap();
    let mut damaged = journal;
    let begin = damaged.len() / 2;
    damaged[begin..].fill(0x5a);
    damaged[100..400].fill(0x5a);
    fs::write(at("weir.db"), damaged).unwrap();
    let _ = fs::remove_file(at("weir.db-wal"));
    let wrong = file(&listen, &old, &new).replace(
        "[tier.limits]",
        "[tier.preview]\nheader = \"x-preview\"\nsecret_file = \"preview.secret\"\n[tier.limits]",
    );
    program.write_file(&wrong);
    drop(old);
    let before = inventory(program.directory());
    let (_, findings) = found(&program, &[]);
    assert_eq!(inventory(program.directory()), before);
    for (begin, part) in [
        ("remark program", "weir does not run"),
        ("trouble ports", &format!("{listen} is taken by")),
        ("trouble rights", "operator.token has mode 0644"),
        ("trouble rights", "preview.secret has mode 0644"),
        ("trouble journal", "weir.db"),
        ("trouble upstreams", "web 1.0.0, stable: cannot connect"),
        ("ok upstreams", "web 1.1.0"),
    ] {
        says(&findings, begin, part);
    }
    drop(taken);
    program.write_file("[[tier]]\nnmae = \"web\"\n");
    let (_, findings) = found(&program, &[]);
    says(&findings, "trouble file", "finding");
}

#[test]
fn a_unit_that_does_not_fit_the_file_is_found() {
    let (old, new) = (Upstream::start("1.0.0"), Upstream::start("1.1.0"));
    let listen = free_address().to_string();
    let mut program = Program::start(&file(&listen, &old, &new));
    program.kill();
    let units = tempfile::tempdir().unwrap();
    let folder = units.path().display().to_string();
    let ask = || found(&program, &["--units", &folder]).1;
    says(&ask(), "remark systemd", "no unit weir.service");
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    fs::copy(deploy.join("weir.service"), units.path().join("weir.service")).unwrap();
    let admin = program.admin();
    let socket = format!("[Socket]\nListenStream={listen}\nListenStream={admin}\n");
    fs::write(units.path().join("weir.socket"), socket).unwrap();
    let findings = ask();
    says(&findings, "ok systemd", "opens all addresses");
    says(&findings, "ok systemd", "a stop may take longer");
    assert!(!findings.iter().any(|line| line.starts_with("trouble systemd")), "{findings:#?}");

    let socket = format!("[Socket]\nListenStream=0.0.0.0:80\nListenStream={admin}\n");
    fs::write(units.path().join("weir.socket"), socket).unwrap();
    fs::create_dir(units.path().join("weir.service.d")).unwrap();
    let more = "[Service]\nLimitNOFILE=1024\nTimeoutStopSec=5s\nWatchdogSec=500ms\n";
    fs::write(units.path().join("weir.service.d/more.conf"), more).unwrap();
    let findings = ask();
    for (begin, part) in [
        ("trouble systemd", "LimitNOFILE is 1024"),
        ("trouble systemd", "a stop may take 5 s"),
        ("trouble systemd", "the watchdog waits only"),
        ("trouble systemd", "opens 0.0.0.0:80, which is no address of the file"),
        ("remark systemd", &format!("does not open {listen}")),
    ] {
        says(&findings, begin, part);
    }
}

#[test]
fn through_nginx_it_is_seen_whether_the_clients_address_arrives() {
    let (old, new) = (Upstream::start("1.0.0"), Upstream::start("1.1.0"));
    let listen = free_address().to_string();
    let program = Program::start(&file(&listen, &old, &new));
    let ask = |location: &str| {
        let front = free_address().to_string();
        let server = format!("server {{ listen {front}; location / {{ {location} }} }}");
        let _nginx = Nginx::start(&front, &server);
        let findings = found(&program, &["--front", &format!("http://{front}/")]).1;
        let questions = old.state.heads.lock().unwrap().clone();
        assert!(!questions.iter().any(|head| head.starts_with("OPTIONS")), "{questions:?}");
        findings
    };
    let pass = format!("proxy_pass http://{listen};");
    let told = "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; \
                proxy_set_header X-Forwarded-Proto https;";
    let findings = ask(&format!("{pass} {told}"));
    says(&findings, "ok front", "leads to web, which sees 127.0.0.1 by https");
    says(&ask(&pass), "trouble front", "without X-Forwarded-For");
    says(&ask("return 404;"), "remark front", "not what a weir says");

    let elsewhere = "trusted_proxies = [\"192.0.2.1\"]\nhealth = ";
    program.write_file(&file(&listen, &old, &new).replace("health = ", elsewhere));
    program.say(&["reload"]);
    says(&ask(&format!("{pass} {told}")), "trouble front", "is not believed");
}
