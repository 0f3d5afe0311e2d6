//! Silences, by a real Alertmanager.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::super::support::program::{free_address, get};
use super::super::support::quick::is_quick;
use super::{World, wait};

/// A running Alertmanager with nothing in it.
struct Alertmanager {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Alertmanager {
    fn start() -> Self {
        let (folder, address) = (tempfile::tempdir().unwrap(), free_address());
        let config = folder.path().join("alertmanager.yml");
        let text = "route: { receiver: nobody, group_wait: 1s }\nreceivers: [{ name: nobody }]\n";
        std::fs::write(&config, text).unwrap();
        let child = Command::new("prometheus-alertmanager")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.path={}", folder.path().display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--cluster.listen-address=")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus-alertmanager starts; tests/run installs it");
        let manager = Self { child, address, _folder: folder };
        wait("alertmanager", || {
            get(address, "/-/ready").filter(|answer| answer.starts_with("HTTP/1.1 200"))
        });
        manager
    }

    fn json(&self, path: &str) -> Value {
        let answer = get(self.address, path).unwrap_or_default();
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        // It may come in chunks.
        let from = body.find('[').unwrap_or(0);
        let until = body.rfind(']').map_or(body.len(), |at| at + 1);
        serde_json::from_str(&body[from..until]).unwrap_or(Value::Null)
    }

    /// Has an alert of `service` fire.
    fn fire(&self, service: &str) {
        let url = format!("http://{}/api/v2/alerts", self.address);
        let alert = json!([{ "labels": { "alertname": "Slow", "service": service } }]).to_string();
        let sent = Command::new("curl")
            .args(["-sf", "-H", "content-type: application/json", "-d", &alert, &url])
            .status()
            .expect("curl");
        assert!(sent.success());
    }

    /// How it stands with the alert of `service`.
    fn state(&self, service: &str) -> Option<String> {
        let alerts = self.json("/api/v2/alerts");
        let mut alerts = alerts.as_array()?.iter();
        let own = alerts.find(|alert| alert["labels"]["service"] == service)?;
        own["status"]["state"].as_str().map(str::to_owned)
    }

    /// The comments of the silences in this state.
    fn silences(&self, state: &str) -> Vec<String> {
        let silences = self.json("/api/v2/silences");
        let silences = silences.as_array().cloned().unwrap_or_default();
        let fits = silences.iter().filter(|silence| silence["status"]["state"] == state);
        fits.map(|silence| silence["comment"].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn alerts_are_silenced_while_a_rollout_is_open_and_heard_after_it_also_after_a_kill() {
    if is_quick("alertmanager") {
        return;
    }
    let manager = Alertmanager::start();
    let more = format!(
        "[alertmanager]\nurl = \"http://{}\"\nmatchers = [\"service=shop\"]\n",
        manager.address
    );
    let mut world = World::new(&more, &[]);
    manager.fire("shop");
    manager.fire("bank");
    assert_eq!(manager.silences("active"), [""; 0]);
    world.say("start --wait 2m");
    wait("the silence", || (manager.silences("active").len() == 1).then_some(()));
    assert_eq!(manager.silences("active"), ["weir rollout 1: 1.1.0 in web"]);
    let state = |service: &str, state: &str| {
        let what = format!("{service} is {state}");
        wait(&what, || manager.state(service).filter(|now| now == state));
    };
    state("shop", "suppressed");
    state("bank", "active");
    // Killed in the middle, it finds its silence again and makes no second one.
    world.program.kill();
    assert_eq!(manager.silences("active").len(), 1);
    world.program.restart();
    world.say("pause");
    assert_eq!(manager.silences("active").len(), 1);
    world.say("rollback");
    wait("the end of the silence", || manager.silences("active").is_empty().then_some(()));
    state("shop", "active");
    assert_eq!(manager.silences("expired").len(), 1);
    // And one that ended while nobody was there.
    world.say("start web 1.1.0 --again --wait 2m");
    wait("the second silence", || (manager.silences("active").len() == 1).then_some(()));
    assert_eq!(manager.silences("active"), ["weir rollout 2: 1.1.0 in web"]);
}

#[test]
fn alerts_stay_silenced_between_the_tiers_of_a_rollout() {
    if is_quick("alertmanager between tiers") {
        return;
    }
    let manager = Alertmanager::start();
    let question = |name: &str, when: &str| {
        format!("[[step]]\nname = \"{name}\"\nwhen = \"{when}\"\nconfirm = \"is it well?\"\n")
    };
    let more = format!(
        "name = \"night\"\norder = [\"web\"]\n{}{}[alertmanager]\nurl = \"http://{}\"\n\
         matchers = [\"service=shop\"]\n",
        question("backup", "before rollout"),
        question("look", "after rollout"),
        manager.address
    );
    let world = World::new(&more, &[]);
    world.say("start --wait 2m");
    // Nobody has the new version yet.
    wait("the silence", || (manager.silences("active").len() == 1).then_some(()));
    assert_eq!(manager.silences("active"), ["weir rollout 1: night"]);
    world.say("approve backup");
    let users = || world.program.status()["tiers"][0]["weight"].as_u64().filter(|at| *at > 0);
    wait("users", users);
    world.say("promote --yes");
    // And now everybody has it; it is not over.
    wait("the question", || world.say("status").contains("weir approve look").then_some(()));
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(manager.silences("active").len(), 1);
    assert_eq!(manager.silences("expired").len(), 0, "it has never ended meanwhile");
    world.say("approve look");
    wait("the end of the silence", || manager.silences("active").is_empty().then_some(()));
}
