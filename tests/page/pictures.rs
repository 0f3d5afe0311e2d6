//! The pictures of docs/page.md: a night over two tiers, as a browser shows it.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use super::browser::Browser;
use super::crowd::Crowd;
use crate::support::program::{Program, free_address};
use crate::support::upstream::Upstream;

/// How long users come before a picture, so that there are curves.
const CURVES: Duration = Duration::from_secs(100);

/// One tier of the night.
struct Tier {
    canary: Upstream,
    _stable: Upstream,
    _crowd: Crowd,
    lines: String,
}

impl Tier {
    fn open(name: &str) -> Self {
        let [stable, canary] = ["1.0.0", "1.1.0"].map(Upstream::start);
        stable.state.delay.store(4, Ordering::SeqCst);
        canary.state.delay.store(3, Ordering::SeqCst);
        let (door, old, new) = (free_address(), stable.address, canary.address);
        let lines = format!(
            "[[tier]]\nname = \"{name}\"\nlisten = \"{door}\"\nstable = \"1.0.0\"\nreleases = [\n  \
             {{ version = \"1.0.0\", upstreams = [\"{old}\"] }},\n  \
             {{ version = \"1.1.0\", upstreams = [\"{new}\"] }},\n]\n"
        );
        Self { canary, _stable: stable, _crowd: Crowd::enter(door), lines }
    }
}

const RUNBOOK: &str = r#"
zone = "Europe/Berlin"
[admin]
listen = "ADMIN"
[analysis]
grace = "0s"
warm_up = "0s"
slow = { tolerated = "50pp", margin = "50pp" }
[rollout]
name = "shop 1.1"
order = ["admin", "web"]
stages = [
  { weight = "5%", bake = "10m" },
  { weight = "25%", bake = "10m" },
  { weight = "50%", bake = "30m" },
]
decide_by = "04:30"
[[step]]
name = "backup"
owner = "Ada"
when = "before rollout"
run = ["true"]
[[step]]
name = "migrate"
owner = "Ben"
when = "before tier web"
confirm = "is the dump in the safe place?"
"#;

/// Makes them anew if `WEIR_PICTURES` is set.
pub fn take() {
    let tiers = ["admin", "web"].map(Tier::open);
    let lines: String = tiers.iter().map(|tier| tier.lines.as_str()).collect();
    let program = Program::start(&format!("{RUNBOOK}{lines}"));
    let order = |order: Value| {
        let answer = program.order(&order);
        assert_eq!(answer.status, 200, "{order}: {}", answer.text());
    };
    let url = format!("http://{}/", program.admin());
    let headline =
        |part: &str| format!("document.querySelector('#headline').textContent.includes('{part}')");

    order(json!({ "order": "start" }));
    let phone = Browser::open((390, 844));
    phone.go(&url);
    phone.run("document.querySelector('#themes input[value=dark]').click()");
    phone.wait(&headline("admin: 5 %"));
    order(json!({ "order": "promote", "tier": "admin" }));
    phone.wait("document.querySelector('#person').innerText.includes('safe place')");
    save("page-phone.png", &phone);
    drop(phone);

    let desktop = Browser::open((1280, 1240));
    desktop.go(&url);
    desktop.run("document.querySelector('#themes input[value=light]').click()");
    order(json!({ "order": "approve" }));
    desktop.wait(&headline("web: 5 %"));
    std::thread::sleep(CURVES / 4);
    order(json!({ "order": "advance", "tier": "web" }));
    desktop.wait(&headline("web: 25 %"));
    std::thread::sleep(CURVES);
    save("page-night.png", &desktop);

    desktop.run("document.querySelector('#themes input[value=dark]').click()");
    tiers[1].canary.state.failing.store(12, Ordering::SeqCst);
    desktop.wait("document.querySelector('#journal li[data-kind=rolled_back]')");
    desktop.wait("document.querySelector('#live').dataset.state === 'live'");
    std::thread::sleep(CURVES / 10);
    save("page-rollback.png", &desktop);
}

fn save(name: &str, browser: &Browser) {
    std::thread::sleep(Duration::from_secs(2));
    let picture = browser.picture();
    std::fs::write(Path::new("docs").join(name), picture).expect("the picture is written");
}
