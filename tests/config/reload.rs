//! What a reload changes, and when it may.

use weir::config::{Change, Class, differences};
use weir::traffic::TierName;

use super::{FIRST_PAGE, SMALLEST, and, good, with};

fn changed(old: &str, new: &str) -> Vec<Change> {
    differences(&good(old), &good(new))
}

#[test]
fn a_change_prints_like_a_diff() {
    let changes =
        changed(FIRST_PAGE, &FIRST_PAGE.replace("interval = \"2s\"", "interval = \"5s\""));
    let [change] = changes.as_slice() else { panic!("{changes:?}") };
    assert_eq!(change.to_string(), "- tier.web.health.interval 2s\n+ tier.web.health.interval 5s");
    assert_eq!(change.class, Class::Live);
    assert_eq!(change.tier.as_ref().map(TierName::as_str), Some("web"));
    assert_eq!(changed(FIRST_PAGE, FIRST_PAGE), []);
}

#[test]
fn each_change_has_its_class() {
    for (new, key, class) in [
        (and("sticky = \"address\""), "tier.web.sticky", Class::RefusedWhileOpen),
        (and("access_log = true"), "tier.web.access_log", Class::Live),
        (and("limits = { headers = 50 }"), "tier.web.limits.headers", Class::Live),
        (
            and("[analysis]\nmargin = \"1pp\""),
            "tier.web.analysis.errors.margin",
            Class::RefusedWhileOpen,
        ),
        (and("[analysis]\ngive_up = \"1h\""), "tier.web.analysis.give_up", Class::Open),
        (
            and("[analysis]\nwhen_unproven = \"advance\""),
            "tier.web.analysis.when_unproven",
            Class::Open,
        ),
        (and("[rollout]\nstages = [{ weight = \"5%\" }]"), "rollout.stages", Class::Open),
        (and("[admin]\nlisten = \"127.0.0.1:7701\""), "admin.listen", Class::Restart),
        (and("[state]\npath = \"other.db\""), "state.path", Class::Restart),
        (and("[proxy]\nworkers = 3"), "proxy.workers", Class::Restart),
        (and("[log]\nlevel = \"debug\""), "log.level", Class::Live),
        (and("[log]\nformat = \"json\""), "log.format", Class::Restart),
        (and("[admin]\nhosts = [\"weir.example.com\"]"), "admin.hosts", Class::Restart),
        (with("127.0.0.1:8080", "127.0.0.1:8090"), "tier.web.listen", Class::Restart),
        (
            with("127.0.0.1:9102", "127.0.0.1:9103"),
            "tier.web.releases.1.1.0.upstreams",
            Class::Live,
        ),
        (
            with("stable = \"1.0.0\"", "stable = \"1.1.0\""),
            "tier.web.stable",
            Class::RefusedWhileOpen,
        ),
    ] {
        let changes = changed(SMALLEST, &new);
        let [change] = changes.as_slice() else { panic!("{changes:?}") };
        assert_eq!((change.key.as_str(), change.class), (key, class));
    }
}

#[test]
fn a_release_may_come_but_not_leave_while_a_rollout_is_open() {
    let more = with("\n]\n", "\n  { version = \"1.2.0\", upstreams = [\"127.0.0.1:9103\"] },\n]\n");
    let classes = |changes: &[Change]| changes.iter().map(|change| change.class).max();
    assert_eq!(classes(&changed(SMALLEST, &more)), Some(Class::Live));
    assert_eq!(classes(&changed(&more, SMALLEST)), Some(Class::RefusedWhileOpen));
    let two = and(
        "[[tier]]\nname = \"api.v1\"\nlisten = \"127.0.0.1:8081\"\nstable = \"1\"\nreleases = [{ version = \"1\", upstreams = [\"a:1\"] }]",
    );
    assert_eq!(classes(&changed(SMALLEST, &two)), Some(Class::Live));
    let leaves = changed(&two, SMALLEST);
    assert!(leaves.iter().all(|change| change.class == Class::RefusedWhileOpen));
    assert!(
        leaves
            .iter()
            .all(|change| change.tier.as_ref().is_some_and(|name| name.as_str() == "api.v1"))
    );
}

#[test]
fn a_changed_secret_is_not_shown() {
    let with_secret = |secret: &str| {
        and(&format!("preview = {{ header = \"x-preview\", secret = \"{secret}\" }}"))
    };
    let (old, new) = (with_secret("0123456789abcdef"), with_secret("fedcba9876543210"));
    let changes = changed(&old, &new);
    let [change] = changes.as_slice() else { panic!("{changes:?}") };
    assert_eq!(
        change.to_string(),
        "- tier.web.preview.secret (secret)\n+ tier.web.preview.secret (changed)"
    );
    assert!(!format!("{:?}", good(&old)).contains("0123456789"));
}
