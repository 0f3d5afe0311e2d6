//! What the operator reads.

use weir::analysis::{Counts, OnFail, Settings, WatchSettings};

use super::{calibrated, counts, observe, window};

#[test]
fn a_failing_canary_is_explained() {
    let mut judge = calibrated(Settings::default(), 0.25);
    observe(&mut judge, 1..=3, &window(counts(95, 0, 1), counts(5, 5, 0)));
    assert_eq!(judge.report().explain(), "");
}

#[test]
fn a_stage_that_needs_time_is_explained_with_its_watch() {
    let jobs = WatchSettings { name: "jobs".into(), on_fail: OnFail::Hold, ..Default::default() };
    let settings = Settings { watches: vec![jobs], ..Settings::default() };
    let mut judge = calibrated(settings, 0.5);
    let watched = |counts: Counts, jobs| Counts { watches: vec![jobs], ..counts };
    let window = window(watched(counts(38, 0, 0), 1), watched(counts(12, 0, 0), 0));
    observe(&mut judge, 1..=75, &window);
    assert_eq!(judge.report().explain(), "");
}
