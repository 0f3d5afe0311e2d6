//! What is told, by the definitions that OpenTelemetry publishes.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::World;
use crate::support::quick;
use crate::web_sockets::node::cache;

#[test]
fn what_is_told_is_otlp_by_the_definitions_of_opentelemetry() {
    if quick::is_quick("the definitions of OTLP") {
        return;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traces");
    let install = Command::new(folder.join("install")).stdin(Stdio::null()).output();
    let install = install.expect("tests/traces/install runs");
    assert!(install.status.success(), "{}", String::from_utf8_lossy(&install.stderr));

    let world = World::new("100%", "", "");
    world.program.say(&["start", "web", "--wait", "2m"]);
    let odd = "user-agent: \u{e9}\"\\\r\ntraceparent: ".to_owned() + super::PARENT + "\r\n";
    world.get("/a%20page", &odd);
    world.get("/close", "");
    world.program.say(&["rollback"]);
    world.of_path("/close");
    world.of_path("/a%20page");
    world.span("the whole", |span| span["name"] == "rollout");

    let mut check = Command::new("python3")
        .arg(folder.join("check.py"))
        .arg(cache().join("otlp"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python3 runs");
    let letters = world.collector.letters();
    let mut into = check.stdin.take().expect("a pipe");
    for letter in &letters {
        writeln!(into, "{}", letter.body).expect("it reads");
    }
    drop(into);
    let output = check.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let spans = world.spans();
    assert!(spans.len() >= 5 && said.lines().count() >= spans.len(), "{said}");
    for span in &spans {
        let [trace, id] = ["traceId", "spanId"].map(|key| span[key].as_str().unwrap());
        let kind = if span["kind"] == 2 { "SPAN_KIND_SERVER" } else { "SPAN_KIND_INTERNAL" };
        let parent = span["parentSpanId"].as_str().unwrap_or("-");
        let name = span["name"].as_str().unwrap();
        let line = format!("{trace} {id} {parent} {name} {kind}");
        assert!(said.lines().any(|one| one == line), "{line} is not in\n{said}");
    }
}
