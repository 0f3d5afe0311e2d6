//! Keys, and what is new.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::*;
use crate::admin::Role;
use crate::control::ClosedView;
use crate::time::Timestamp;

fn status() -> Status {
    serde_json::from_str(include_str!("../picture/status.json")).unwrap()
}

fn scene() -> Scene {
    let mut scene = Scene::new("127.0.0.1:7700".into());
    scene.take(News::Status(Box::new(status())));
    scene
}

fn press(scene: &mut Scene, key: char) -> Act {
    scene.take(News::Key(KeyEvent::from(KeyCode::Char(key))))
}

fn web() -> TierName {
    "web".parse().unwrap()
}

fn rollback(tier: Option<TierName>) -> Order {
    Order::Rollback { tier, now: false, over: None, past_no_return: false }
}

#[test]
fn keys_are_for_the_tier_that_is_chosen() {
    let mut scene = scene();
    assert_eq!(press(&mut scene, 'p'), Act::Give(Order::Pause { tier: Some(web()) }));
    scene.take(News::Key(KeyEvent::from(KeyCode::Tab)));
    let api = Some("api".parse().unwrap());
    assert_eq!(press(&mut scene, 'r'), Act::Give(Order::Resume { tier: api }));
    scene.take(News::Key(KeyEvent::from(KeyCode::Right)));
    assert_eq!(scene.selected, 0, "after the last comes the first");
    assert_eq!(press(&mut scene, 'x'), Act::Nothing);
}

#[test]
fn what_hurts_wants_a_second_key() {
    for (yes, given) in [('y', true), ('R', true), ('n', false), ('q', false), ('p', false)] {
        let mut scene = scene();
        assert_eq!(press(&mut scene, 'R'), Act::Nothing);
        assert!(scene.asked.as_ref().unwrap().question.contains("1.0.0"));
        let act = press(&mut scene, yes);
        assert_eq!(act == Act::Give(rollback(Some(web()))), given, "{yes}");
        assert!(scene.asked.is_none());
    }
    let mut scene = scene();
    press(&mut scene, 'P');
    let asked = scene.asked.as_ref().unwrap();
    assert!(asked.known.iter().any(|line| line.contains("not proven")), "{:?}", asked.known);
    assert_eq!(press(&mut scene, 'P'), Act::Nothing, "a key that is held down");
    assert!(scene.asked.is_some());
    assert!(matches!(press(&mut scene, 'y'), Act::Give(Order::Promote { .. })));
}

#[test]
fn users_wait_and_steps_are_skipped_after_a_second_key() {
    let hold = |on| Order::Hold { tier: Some(web()), on, lasts: None };
    let skip = Order::SkipStep { step: None };
    for (key, order, says) in [('w', hold(true), "have all requests wait"), ('s', skip, "as done")]
    {
        let mut scene = scene();
        assert_eq!(press(&mut scene, key), Act::Nothing);
        assert!(scene.asked.as_ref().unwrap().question.contains(says));
        assert_eq!(press(&mut scene, key), Act::Nothing, "a key that is held down");
        assert_eq!(press(&mut scene, 'y'), Act::Give(order));
    }
    let mut scene = scene();
    assert_eq!(press(&mut scene, 't'), Act::Give(Order::RetryStep { step: None }));
    let mut closed = status();
    closed.tiers[0].closed = Some(ClosedView {
        purpose: Purpose::Hold,
        since: Timestamp::default(),
        by: "ada".into(),
        until: None,
        message: None,
        close: false,
        waiting: 3,
        answered: 0,
        waited: 0,
        refused: 0,
    });
    scene.take(News::Status(Box::new(closed)));
    for key in ['w', 'm'] {
        assert_eq!(press(&mut scene, key), Act::Give(hold(false)), "who waits goes on at once");
    }
}

#[test]
fn a_rollout_over_tiers_is_moved_as_a_whole() {
    let mut status = status();
    let id = status.tiers[0].rollout.as_ref().unwrap().id;
    status.upgrade = Some(crate::cli::watch::picture::tests::upgrade(id));
    let mut scene = Scene::new("x".into());
    scene.take(News::Status(Box::new(status)));
    press(&mut scene, 'R');
    assert!(scene.asked.as_ref().unwrap().question.contains(&format!("rollout {id}")));
    assert_eq!(press(&mut scene, 'y'), Act::Give(rollback(None)));
}

#[test]
fn who_may_not_is_told_what_it_needs() {
    let mut scene = scene();
    let eve = Whoami { name: "eve".into(), role: Role::Viewer };
    for (asker, says) in [(Asker::Known(eve), "viewer"), (Asker::Nobody, "no token")] {
        scene.take(News::Asker(asker));
        assert_eq!(press(&mut scene, 'p'), Act::Nothing);
        assert!(scene.said.as_ref().unwrap().text.contains(says), "{:?}", scene.said);
    }
}

#[test]
fn nothing_is_sent_to_nobody_and_a_restart_is_told() {
    let mut scene = scene();
    scene.take(News::Lost("gone".into()));
    assert_eq!(press(&mut scene, 'p'), Act::Nothing);
    let mut again = status();
    scene.take(News::Status(Box::new(again.clone())));
    assert!(scene.said.as_ref().unwrap().text.starts_with("weir answers again"));
    scene.take(News::Lost("gone".into()));
    again.started = again.started.plus(std::time::Duration::from_secs(9));
    scene.take(News::Status(Box::new(again)));
    assert!(scene.said.as_ref().unwrap().text.starts_with("weir was restarted"));
}

#[test]
fn control_keys_end_and_suspend_whatever_is_asked() {
    let mut scene = scene();
    press(&mut scene, 'R');
    let control = |key| News::Key(KeyEvent::new(KeyCode::Char(key), KeyModifiers::CONTROL));
    assert_eq!(scene.take(control('z')), Act::Suspend);
    assert_eq!(scene.take(control('c')), Act::Quit { interrupted: true });
    assert_eq!(press(&mut scene, 'n'), Act::Nothing);
    assert_eq!(press(&mut scene, 'q'), Act::Quit { interrupted: false });
}
