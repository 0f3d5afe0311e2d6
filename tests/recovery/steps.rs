//! A roll back in steps: what is served only falls, whatever comes between.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::World;

/// How long something may take that takes a moment.
const SOON: Duration = Duration::from_mins(2);

impl World {
    /// Opens a rollout at 50 % once more, and takes it back as `line` says.
    fn goes_back(&self, line: &str) -> String {
        self.say("start web 1.1.0 --again --wait 2m");
        self.say("advance --to 50%");
        self.say(line)
    }

    fn until_closed(&self) {
        let since = Instant::now();
        while !self.tier()["rollout"].is_null() {
            assert!(since.elapsed() < SOON, "{:#}", self.tier());
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(!self.split().contains('c'));
    }

    fn on_canary(&self) -> usize {
        self.split().matches('c').count()
    }
}

#[test]
fn users_who_go_back_in_steps_do_not_come_again() {
    if super::is_quick() {
        return;
    }
    let mut world = World::at_half();
    let half = world.on_canary();
    let said = world.say("rollback --over 30s --reason cold");
    assert!(said.contains("from 50% to nothing over 30 s"), "{said}");
    // Each step is seen, and each user of it has been on the canary before.
    let (mut weights, mut split) = (vec![world.weight()], world.split());
    assert!(weights[0] < 5_000, "the first step is taken at once: {weights:?}");
    let since = Instant::now();
    while weights.last().is_some_and(|weight| *weight > 4_000) {
        assert!(since.elapsed() < SOON, "{weights:?}");
        weights.push(world.weight());
        let now = world.split();
        let comes = split.chars().zip(now.chars()).any(|pair| pair == ('s', 'c'));
        assert!(!comes, "somebody came again");
        split = now;
    }
    assert!(weights.is_sorted_by(|before, after| before >= after), "{weights:?}");
    assert!(world.on_canary() < half, "{half} before");
    let refused = world.ask("advance --to 60%");
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && why.contains("are going back"), "{why}");
    assert!(world.tier()["remarks"].to_string().contains("everybody goes back"));
    // Killed: nobody is on it from the first request on.
    world.program.restart();
    assert_eq!((world.on_canary(), world.weight()), (0, 0));
    world.until_closed();
    world.stays_rolled_back();
    let log = world.say("log");
    assert!(log.contains("1.1.0 has no users: ordered by operator (because: cold)"), "{log}");
}

#[test]
fn a_roll_back_in_steps_ends_or_is_ended() {
    if super::is_quick() {
        return;
    }
    let world = World::at_half();
    let since = Instant::now();
    world.say("rollback --over 3s");
    assert!(!world.tier()["rollout"].is_null());
    world.until_closed();
    assert!(since.elapsed() > Duration::from_secs(2), "it took its time");
    // Again means at once; and so does --now.
    for again in ["rollback", "rollback --now", "rollback --over 5m"] {
        world.goes_back("rollback --over 5m");
        let said = world.say(again);
        assert!(said.contains("1.1.0 has no users"), "{again}: {said}");
        assert_eq!(world.on_canary(), 0, "{again}");
    }
    // A canary that is down takes its users with it.
    world.goes_back("rollback --over 5m");
    world.canary.state.failing.store(100, Ordering::SeqCst);
    world.until_closed();
    assert!(world.say("log").contains("no upstream of 1.1.0 is healthy"));
}
