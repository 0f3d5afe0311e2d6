//! The real program tells others what happens: a webhook, a real mail server (Debian's aiosmtpd), a
//! real Alertmanager.

#[path = "notify/alertmanager.rs"]
mod alertmanager;
#[path = "notify/hook.rs"]
pub mod hook;
#[path = "notify/mail.rs"]
mod mail;

use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::support::program::{Program, free_address, get};
use super::support::upstream::Upstream;
use hook::Hook;

/// How long something may take that happens at once on a machine with nothing else to do.
const PATIENCE: Duration = Duration::from_mins(2);

/// A program before an app in two versions, with `more` in its file.
struct World {
    program: Program,
    _upstreams: [Upstream; 2],
}

impl World {
    fn new(more: &str, environment: &[(&str, &str)]) -> Self {
        let upstreams = [Upstream::start("1.0.0"), Upstream::start("1.1.0")];
        let (listen, [old, new]) = (free_address(), upstreams.each_ref().map(|up| up.address));
        let file = format!(
            "[admin]\nlisten = \"ADMIN\"\n[[tier]]\nname = \"web\"\nlisten = \"{listen}\"\n\
             stable = \"1.0.0\"\nreleases = [\n  {{ version = \"1.0.0\", upstreams = [\"{old}\"] }},\n  \
             {{ version = \"1.1.0\", upstreams = [\"{new}\"] }},\n]\n[rollout]\n\
             stages = [{{ weight = \"5%\", bake = \"1h\" }}]\n{more}"
        );
        Self { program: Program::start_with(&file, &[], environment), _upstreams: upstreams }
    }

    fn say(&self, line: &str) -> String {
        self.program.say(&line.split(' ').collect::<Vec<_>>())
    }
}

/// Waits until `seen` gives something.
fn wait<T>(what: &str, mut seen: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = seen() {
            return found;
        }
        assert!(since.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn chat(hook: &Hook, more: &str) -> String {
    format!(
        "[[notify]]\nname = \"chat\"\nwebhook = {{ url = \"http://{}/hooks/T0PS3CR3T\"{more} }}\n",
        hook.address
    )
}

#[test]
fn a_webhook_is_told_everything_in_order_and_knows_who_wrote() {
    let hook = Hook::start();
    let more = chat(&hook, ", secret = \"env:HOOK_KEY\", headers = { X-Team = \"night\" }");
    let mut world = World::new(&more, &[("HOOK_KEY", "hunter2hunter2")]);
    world.say("start --wait 2m --reason new-checkout");
    world.say("pause");
    world.say("resume");
    world.say("rollback --reason carts");
    let told = ["adopted", "started", "paused", "resumed", "rolled_back"];
    wait("five events", || (hook.events().len() >= 5).then_some(()));
    assert_eq!(hook.events(), told);
    for letter in hook.letters() {
        let field = |name| letter.field(name).unwrap_or_else(|| panic!("no {name}"));
        let (id, time) = (field("webhook-id"), field("webhook-timestamp"));
        let signed = format!("{id}.{time}.{}", letter.body);
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"hunter2hunter2");
        let tag = STANDARD.encode(hmac::sign(&key, signed.as_bytes()));
        assert_eq!(field("webhook-signature"), format!("v1,{tag}"));
        assert_eq!((field("x-team"), field("content-type")), ("night", "application/json"));
        assert!(letter.head.starts_with("POST /hooks/T0PS3CR3T HTTP/1.1"), "{}", letter.head);
        assert!(!letter.body.contains("salt\":\"") || letter.body.contains(&"0".repeat(32)));
    }
    let last: serde_json::Value = serde_json::from_str(&hook.letters()[4].body).unwrap();
    assert_eq!(last["records"][0]["because"], "carts");
    assert!(last["text"].as_str().unwrap().starts_with("web: rolled back, everybody is on 1.0.0"));
    // After a restart nothing is told again, and what happens then is.
    world.program.restart();
    world.say("start web 1.1.0 --again --wait 2m");
    wait("the start", || hook.events()[5..].contains(&"started".to_owned()).then_some(()));
    // But the last one, if Weir was killed between its telling and its note of that.
    let again = hook.events()[5..].to_vec();
    assert!(again == ["started"] || again == ["rolled_back", "started"], "{again:?}");
    for secret in ["T0PS3CR3T", "hunter2"] {
        assert!(!world.program.log().contains(secret));
        assert!(!world.say("status --json").contains(secret));
    }
}

#[test]
fn who_is_down_holds_up_nobody_and_is_told_when_it_is_back_also_after_a_kill() {
    let hook = Hook::start();
    hook.answers(503);
    let more = chat(&hook, "") + "events = [\"started\", \"rolled_back\"]\n";
    let mut world = World::new(&more, &[]);
    world.say("start --wait 2m");
    wait("a try", || (hook.tries() > 1).then_some(()));
    let status = world.program.status();
    let chat = &status["notifications"][0];
    assert_eq!((chat["name"].as_str(), chat["waiting"].as_u64()), (Some("chat"), Some(1)));
    assert!(chat["trouble"].as_str().unwrap().contains("503"), "{chat}");
    let screen = world.say("status");
    assert!(screen.contains("chat is not reached since") && screen.contains("1 event waiting"));
    let metrics = get(world.program.admin(), "/metrics").unwrap();
    assert!(metrics.contains("weir_notification_trouble{target=\"chat\"} 1"), "{metrics}");
    world.say("rollback");
    world.program.restart();
    assert_eq!(hook.events(), [""; 0]);
    hook.answers(204);
    wait("both events", || (hook.events().len() >= 2).then_some(()));
    assert_eq!(hook.events(), ["started", "rolled_back"]);
    wait("peace", || world.program.status()["notifications"][0]["trouble"].is_null().then_some(()));
}

#[test]
fn killed_at_any_moment_it_loses_no_event_and_repeats_at_most_the_last() {
    let hook = Hook::start();
    let mut world = World::new(&chat(&hook, ""), &[]);
    world.say("start --wait 2m");
    for round in 1..=4 {
        for order in ["pause", "resume"] {
            world.say(order);
        }
        world.program.kill();
        world.program.restart();
        wait("all events", || (hook.ids().len() >= 2 + 2 * round).then_some(()));
    }
    let places = hook.places();
    let mut once = places.clone();
    once.dedup();
    assert_eq!(once, (1..=10).collect::<Vec<u64>>(), "{places:?}");
}

#[test]
fn chats_get_their_own_shape_and_a_test_message_says_that_it_is_one() {
    let (slack, own) = (Hook::start(), Hook::start());
    let target = |name: &str, hook: &Hook, template: &str| {
        format!(
            "[[notify]]\nname = \"{name}\"\n[notify.webhook]\nurl = \"http://{}/x\"\ntemplate = \
             '{template}'\n",
            hook.address
        )
    };
    let more =
        target("slack", &slack, "slack") + &target("own", &own, "{\"m\": \"{event}: {by}\"}");
    let world = World::new(&more, &[]);
    let said = world.say("notify test");
    assert_eq!(said, "slack: a test message was sent\nown: a test message was sent\n");
    let text = |hook: &Hook, key: &str| {
        let wanted = |letter: &hook::Letter| {
            let value: serde_json::Value = serde_json::from_str(&letter.body).unwrap();
            value[key].as_str().unwrap().to_owned()
        };
        hook.letters().iter().map(wanted).collect::<Vec<_>>()
    };
    wait("the first event", || (slack.tries() > 1 && own.tries() > 1).then_some(()));
    let wanted = "weir: a test ordered by operator; nothing happened";
    assert!(text(&slack, "text").contains(&wanted.to_owned()), "{:?}", text(&slack, "text"));
    assert!(text(&own, "m").contains(&"adopted: weir".to_owned()), "{:?}", text(&own, "m"));
    own.answers(404);
    let failed = world.program.ask(&["notify", "test", "own"]);
    let out = String::from_utf8_lossy(&failed.stdout);
    assert!(!failed.status.success() && out.contains("own: 127.0.0.1 says 404"), "{out}");
    let unknown = world.program.ask(&["notify", "test", "nobody"]);
    let out = String::from_utf8_lossy(&unknown.stderr);
    assert!(out.contains("the file has: slack, own"), "{out}");
}
