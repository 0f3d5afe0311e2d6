//! Requests of steps, and checks that ask somebody.

use std::time::Duration;

use weir::hooks::{Occasion, ReleaseScene, Scene, TierScene, UpstreamScene};
use weir::rollout::runbook::{Action, Check, Ending, Http, Outcome, Reach, Step};

use super::super::support::program::free_address;
use super::super::support::scripted::Scripted;
use super::super::support::upstream::Upstream;
use super::{done, ended, hooks, step};

fn http(url: &str) -> Http {
    let url = url.parse().unwrap();
    Http { method: "GET".into(), url, headers: Vec::new(), body: None, expect: None }
}

/// What comes of `step` where `scene` is known.
async fn known(step: Step, scene: &Scene) -> Outcome {
    let place = tempfile::tempdir().unwrap();
    let scene = scene.clone();
    let running = hooks(place.path(), "").start(step, Occasion::default(), move || scene.clone());
    ended(running).await.0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_made_as_the_step_says_and_its_status_decides() {
    let place = tempfile::tempdir().unwrap();
    let upstream = Upstream::start("1.1.0");
    let at = upstream.address;
    let mut post = http(&format!("http://{at}/hooks/town?x=1"));
    (post.method, post.body) = ("POST".into(), Some(r#"{"text":"{version}: {step}"}"#.into()));
    post.headers = vec![("X-Kind".into(), "note".into()), ("X-Path".into(), "env:PATH".into())];
    let (outcome, _) = done(place.path(), step(Action::Http(post.clone()))).await;
    assert!(outcome.succeeded(), "{outcome:?}");
    assert_eq!(outcome.why, "200 OK");
    let head = upstream.last_head().to_lowercase();
    let path = std::env::var("PATH").unwrap().to_lowercase();
    for part in [
        "post /hooks/town?x=1 http/1.1",
        &format!("host: {at}"),
        "content-type: application/json",
        "content-length: 25",
        "x-kind: note",
        &format!("x-path: {path}"),
    ] {
        assert!(head.contains(part), "{part}\n{head}");
    }
    post.expect = Some(204);
    let (outcome, _) = done(place.path(), step(Action::Http(post.clone()))).await;
    assert_eq!(outcome.ending, Ending::Failed);
    assert!(outcome.why.starts_with("200 OK"), "{}", outcome.why);
    post.headers = vec![("Authorization".into(), "env:WEIR_TEST_NO_SUCH_VARIABLE".into())];
    let (outcome, _) = done(place.path(), step(Action::Http(post))).await;
    assert!(outcome.why.contains("WEIR_TEST_NO_SUCH_VARIABLE, which is not set"));
    let nobody = http(&format!("http://{}/", free_address()));
    let (outcome, _) = done(place.path(), step(Action::Http(nobody))).await;
    assert!(outcome.why.contains("cannot connect to"), "{}", outcome.why);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_answer_is_not_waited_for_longer_than_the_step_says() {
    let place = tempfile::tempdir().unwrap();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut hanging =
        step(Action::Http(http(&format!("http://{}/", silent.local_addr().unwrap()))));
    hanging.timeout = Duration::from_millis(200);
    let (outcome, _) = done(place.path(), hanging.clone()).await;
    assert_eq!(outcome.ending, Ending::TimedOut);
    hanging.timeout = Duration::from_hours(1);
    let running = hooks(place.path(), "").start(hanging, Occasion::default(), Scene::default);
    running.cancel();
    assert_eq!(ended(running).await.0.ending, Ending::Cancelled);
}

/// A server that answers with `bytes`.
fn says(bytes: &str) -> Scripted {
    let server = Scripted::start();
    server.answers(bytes.as_bytes());
    server
}

/// A tier whose release says it is `version`, at `address`.
fn scene(version: &str, address: std::net::SocketAddr) -> Scene {
    let upstreams = vec![UpstreamScene { address: address.into(), is_healthy: Some(true) }];
    let release = ReleaseScene {
        version: version.parse().unwrap(),
        upstreams,
        host: None,
        tls: None,
        proxy_protocol: false,
        caches: Vec::new(),
    };
    let (name, stable) = ("web".parse().unwrap(), version.parse().unwrap());
    let tier =
        TierScene { name, stable, rate: Some(7.0), releases: vec![release], instances: vec![] };
    Scene { is_live: true, tiers: vec![tier], ..Scene::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn upstreams_must_report_the_version_they_are_said_to_run() {
    let reports = |body: &str| {
        let length = body.len();
        says(&format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}"))
    };
    let check = |pattern: &str| {
        let (path, pattern) = ("/version".to_owned(), pattern.to_owned());
        step(Action::Check(Check::Version { tier: None, path, pattern }))
    };
    let pattern = r#""version": "{version}""#;
    let right = reports(r#"{"version": "1.1.0"}"#);
    let outcome = known(check(pattern), &scene("1.1.0", right.address)).await;
    assert!(outcome.succeeded(), "{outcome:?}");
    let old = reports(r#"{"version": "1.1.0-rc1", "was": "1.1.0"}"#);
    let outcome = known(check(pattern), &scene("1.1.0", old.address)).await;
    assert!(outcome.why.ends_with("reports 1.1.0-rc1, not 1.1.0"), "{}", outcome.why);
    let outcome = known(check(pattern), &scene("1.1.0", free_address())).await;
    assert!(outcome.why.contains("cannot connect"), "{}", outcome.why);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_off_is_seen_by_the_date_of_an_answer() {
    let dated =
        |date: &str| says(&format!("HTTP/1.1 200 OK\r\ndate: {date}\r\ncontent-length: 0\r\n\r\n"));
    let check = || step(Action::Check(Check::Clock { within: Duration::from_mins(1) }));
    let now = jiff::fmt::rfc2822::to_string(&jiff::Zoned::now()).unwrap();
    let right = dated(&now.replace("+0000", "GMT"));
    let outcome = known(check(), &scene("1", right.address)).await;
    assert!(outcome.why.starts_with("1 of 1 agree"), "{outcome:?}");
    let off = dated("Sun, 06 Nov 1994 08:49:37 GMT");
    let outcome = known(check(), &scene("1", off.address)).await;
    assert!(!outcome.succeeded() && outcome.why.contains("off"), "{outcome:?}");
    let silent = says("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let outcome = known(check(), &scene("1", silent.address)).await;
    assert!(outcome.why.starts_with("nothing was compared"), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_program_knows_is_checked() {
    let upstream = Upstream::start("1.0.0");
    let good = scene("1.0.0", upstream.address);
    let check = |check: Check| step(Action::Check(check));
    let reach = Reach::Tcp(upstream.address.into());
    assert!(known(check(Check::Reachable(reach)), &good).await.succeeded());
    let reach = Reach::Tcp(free_address().into());
    assert!(!known(check(Check::Reachable(reach)), &good).await.succeeded());
    let busy = says("HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nbusy");
    for (address, wanted) in [(upstream.address, true), (busy.address, false)] {
        let reach = Reach::Http(format!("http://{address}/ping").parse().unwrap());
        let outcome = known(check(Check::Reachable(reach)), &good).await;
        assert_eq!(outcome.succeeded(), wanted, "{outcome:?}");
    }
    for (below, wanted) in [(8, true), (7, false)] {
        let outcome = known(check(Check::Traffic { tier: None, below }), &good).await;
        assert_eq!(outcome.succeeded(), wanted, "{outcome:?}");
    }
    let latest = scene("latest", upstream.address);
    for (scene, wanted) in [(&good, true), (&latest, false)] {
        assert_eq!(known(check(Check::Exact), scene).await.succeeded(), wanted);
    }
    let mut ill = good.clone();
    ill.tiers[0].releases[0].upstreams[0].is_healthy = Some(false);
    ill.closed = Some("it is noon; the hours are Mon-Thu 01:00-05:00".into());
    for (scene, wanted) in [(&good, true), (&ill, false)] {
        assert_eq!(known(check(Check::Healthy), scene).await.succeeded(), wanted);
        assert_eq!(known(check(Check::Hours), scene).await.succeeded(), wanted);
    }
}
