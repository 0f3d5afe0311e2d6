//! Mail, by a real server.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::super::support::certificates::Authority;
use super::super::support::quick::is_quick;
use super::{World, wait};

const PYTHON: &str = "/usr/bin/python3";
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/notify/smtpd.py");

/// A mail server; it ends with its standard input.
struct Server {
    child: Child,
    port: u16,
    messages: Arc<Mutex<Vec<Value>>>,
}

impl Server {
    fn start(folder: &Path) -> Self {
        let mut child = Command::new(PYTHON)
            .arg(SCRIPT)
            .args([folder.join("mail.pem"), folder.join("mail.key")])
            .args(["weir", "correct horse"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // It tells of each handshake that fails.
            .stderr(Stdio::null())
            .spawn()
            .expect("Debian: python3");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.next().expect("Debian: python3-aiosmtpd").unwrap();
        let messages: Arc<Mutex<Vec<Value>>> = Arc::default();
        let kept = Arc::clone(&messages);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                kept.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        Self { child, port: port.parse().unwrap(), messages }
    }

    fn messages(&self) -> Vec<Value> {
        self.messages.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

#[test]
fn mail_goes_encrypted_to_a_real_server_and_its_refusals_are_said() {
    if is_quick("mail") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let ca = authority.write(folder.path(), "ca");
    authority.sign(&["localhost"]).write(folder.path(), "mail");
    let server = Server::start(folder.path());
    let target = |name: &str, password: &str, to: &str, ca: &str| {
        format!(
            "[[notify]]\nname = \"{name}\"\nevents = [\"started\"]\n[notify.mail]\nserver = \
             \"localhost:{}\"\nuser = \"weir\"\npassword = \"env:{password}\"\nfrom = \
             \"weir@example.org\"\nto = [{to}]\n{ca}\n",
            server.port
        )
    };
    let trusted = format!("ca = \"{}\"", ca.display());
    let two = "\"ops@example.org\", \"nobody@example.org\"";
    let one = "\"ops@example.org\"";
    let more = [
        target("ops", "MAIL_KEY", two, &trusted),
        target("stranger", "OTHER_KEY", one, &trusted),
        target("unknown", "MAIL_KEY", one, ""),
        target("gone", "MAIL_KEY", "\"nobody@example.org\"", &trusted),
    ];
    let keys = [("MAIL_KEY", "correct horse"), ("OTHER_KEY", "battery staple")];
    let world = World::new(&more.concat(), &keys);
    let tested = world.program.ask(&["notify", "test"]);
    let said = String::from_utf8_lossy(&tested.stdout).into_owned();
    assert!(!tested.status.success());
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "ops: a test message was sent", "{said}");
    assert!(lines[1].contains("535") && lines[1].contains("to AUTH"), "{said}");
    assert!(lines[2].contains("is signed by nobody that is trusted here"), "{said}");
    assert!(lines[3].contains("550 no such user to RCPT TO:<nobody@example.org>"), "{said}");
    world.say("start --wait 2m --reason Körbe");
    let message = wait("mail", || server.messages().get(1).cloned());
    assert_eq!((&message["encrypted"], &message["authenticated"]), (&true.into(), &true.into()));
    assert_eq!(message["to"], serde_json::json!(["ops@example.org"]));
    let subject = message["subject"].as_str().unwrap();
    assert!(subject.starts_with("web: 1.1.0 started at 5% by operator"), "{subject}");
    let text = message["text"].as_str().unwrap();
    assert!(text.trim_end().ends_with("(because: Körbe)"), "{text}");
    assert!(message["id"].as_str().unwrap().starts_with("<weir-ops-"), "{message}");
    let log = world.program.log();
    assert!(!log.contains("correct horse") && !log.contains("battery"), "{log}");
}
