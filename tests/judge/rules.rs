//! The rules beside the formulas: cold caches, watches, giving up, outages, a silent stable.

use std::time::Duration;

use weir::analysis::{
    Counts, Judge, Lookups, OnFail, Settings, Verdict, WatchSettings, WhenUnproven, Why, Window,
};

use super::{MINUTE, advancing, calibrated, counts, observe, window};

fn why(verdict: &Verdict) -> Option<Why> {
    match verdict {
        Verdict::Inconclusive { why, .. } => Some(*why),
        Verdict::Fail { .. } | Verdict::Pass { .. } => None,
    }
}

fn good() -> Window {
    window(counts(950, 1, 9), counts(50, 0, 0))
}

fn slow(cold: bool) -> Window {
    Window { cold, ..window(counts(950, 1, 9), counts(50, 0, 25)) }
}

/// The canary has no errors, and one of its jobs in two fails.
fn failing_jobs() -> Window {
    let watched = |requests, jobs| Counts { requests, watches: vec![jobs], ..Counts::default() };
    window(watched(950, 1), watched(50, 25))
}

fn watching(on_fail: OnFail) -> Settings {
    let watch = WatchSettings { name: "jobs".into(), on_fail, ..WatchSettings::default() };
    Settings { watches: vec![watch], ..Settings::default() }
}

#[test]
fn a_slow_canary_with_warm_caches_is_rolled_back() {
    let mut judge = calibrated(Settings::default(), 0.25);
    let verdict = observe(&mut judge, 1..=90, &slow(false));
    assert!(matches!(&verdict, Verdict::Fail { metric, .. } if metric == "slow"), "{verdict:?}");
}

#[test]
fn cold_caches_hold_and_what_was_slow_meanwhile_is_forgotten() {
    let mut judge = calibrated(Settings::default(), 0.25);
    let verdict = observe(&mut judge, 1..=90, &slow(true));
    assert_eq!((why(&verdict), verdict.metric()), (Some(Why::ColdCache), Some("slow")));
    assert!(verdict.reason().contains("its caches are cold"), "{}", verdict.reason());
    let verdict = observe(&mut judge, 91..=180, &good());
    assert!(matches!(verdict, Verdict::Pass { proven: true, .. }), "{verdict:?}");
}

#[test]
fn a_canary_still_slow_with_warm_caches_is_rolled_back_soon() {
    let mut judge = calibrated(Settings::default(), 0.25);
    observe(&mut judge, 1..=90, &slow(true));
    let first = judge.observe(91.0, &slow(false));
    assert!(!matches!(first, Verdict::Fail { .. }), "judged afresh: {first:?}");
    let verdict = observe(&mut judge, 92..=99, &slow(false));
    assert!(matches!(verdict, Verdict::Fail { .. }), "{verdict:?}");
}

#[test]
fn the_warm_up_counts_as_cold_and_ends() {
    let settings = Settings { warm_up: Duration::from_secs(100), ..Settings::default() };
    let mut judge = calibrated(settings, 0.25);
    let verdict = observe(&mut judge, 1..=95, &slow(false));
    assert_eq!((why(&verdict), verdict.metric()), (Some(Why::ColdCache), Some("slow")));
    let verdict = observe(&mut judge, 96..=130, &slow(false));
    assert!(matches!(&verdict, Verdict::Fail { metric, .. } if metric == "slow"), "{verdict:?}");
}

/// The canary is slow, and so many of its hundred lookups a second are hits; of stable's 930 of 1000.
fn slow_with(hits: u64) -> Window {
    let mut window = slow(false);
    window.stable.lookups = Lookups { hits: 930, misses: 70 };
    window.canary.lookups = Lookups { hits, misses: 100 - hits };
    window
}

#[test]
fn caches_are_cold_while_far_fewer_lookups_are_hits_than_on_stable() {
    let mut judge = calibrated(Settings::default(), 0.25);
    // The first two seconds are judged: 200 lookups have to be known.
    let verdict = observe(&mut judge, 1..=90, &slow_with(12));
    assert_eq!((why(&verdict), verdict.metric()), (Some(Why::ColdCache), Some("slow")));
    let report = judge.report();
    let ratios = report.hit_ratios.unwrap();
    assert!(report.cold && ratios.cold && (ratios.canary - 0.12).abs() < 0.01, "{ratios:?}");
    let text = report.explain();
    for line in [
        "caches        canary 12 % hits, stable 93 %\n",
        "note          the canary's caches are cold: canary 12 % hits, stable 93 %; slow holds instead of \
         rolling back, for 28m32s more at most\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
    // They are warm, and it is slow all the same.
    let verdict = observe(&mut judge, 91..=240, &slow_with(92));
    assert!(matches!(&verdict, Verdict::Fail { metric, .. } if metric == "slow"), "{verdict:?}");
    assert!(!judge.report().hit_ratios.unwrap().cold);
}

#[test]
fn caches_that_never_warm_excuse_half_an_hour() {
    let mut judge = calibrated(Settings::default(), 0.25);
    let verdict = observe(&mut judge, 1..=1_790, &slow_with(12));
    assert_eq!(why(&verdict), Some(Why::ColdCache));
    let verdict = observe(&mut judge, 1_791..=1_830, &slow_with(12));
    assert!(matches!(&verdict, Verdict::Fail { metric, .. } if metric == "slow"), "{verdict:?}");
    let text = judge.report().explain();
    assert!(text.contains("for so long that it is no excuse any more"), "{text}");
}

#[test]
fn cold_caches_excuse_no_errors() {
    let mut judge = calibrated(Settings::default(), 0.25);
    let mut bad = slow_with(12);
    bad.canary.errors = 25;
    let verdict = observe(&mut judge, 1..=20, &bad);
    assert!(matches!(&verdict, Verdict::Fail { metric, .. } if metric == "errors"), "{verdict:?}");
}

#[test]
fn errors_roll_back_whatever_the_caches() {
    let mut judge = calibrated(Settings::default(), 0.25);
    let bad = Window { cold: true, ..window(counts(950, 1, 9), counts(50, 25, 25)) };
    let verdict = observe(&mut judge, 1..=20, &bad);
    assert!(matches!(&verdict, Verdict::Fail { metric, .. } if metric == "errors"), "{verdict:?}");
}

#[test]
fn a_watch_rolls_back_or_holds_as_it_was_told() {
    let mut judge = calibrated(watching(OnFail::Rollback), 0.25);
    let verdict = observe(&mut judge, 1..=20, &failing_jobs());
    assert!(matches!(&verdict, Verdict::Fail { metric, .. } if metric == "jobs"), "{verdict:?}");

    let mut judge = calibrated(watching(OnFail::Hold), 0.25);
    let verdict = observe(&mut judge, 1..=20, &failing_jobs());
    assert_eq!((why(&verdict), verdict.metric()), (Some(Why::WatchHolds), Some("jobs")));
    assert!(verdict.reason().contains("hold at 500:1"), "{}", verdict.reason());
}

#[test]
fn a_watch_without_events_does_not_keep_a_good_canary() {
    let mut judge = calibrated(watching(OnFail::Hold), 0.25);
    let verdict = observe(&mut judge, 1..=150, &good());
    assert!(matches!(verdict, Verdict::Pass { proven: true, .. }), "{verdict:?}");
}

#[test]
fn after_give_up_the_operator_s_choice_decides() {
    let few = window(counts(20, 0, 0), counts(1, 0, 0));
    let mut judge = calibrated(Settings::default(), 0.05);
    let minutes = |judge: &mut Judge| {
        (1..=30).map(|minute| judge.observe(60.0 * f64::from(minute), &few)).last().unwrap()
    };
    let verdict = minutes(&mut judge);
    assert_eq!(why(&verdict), Some(Why::Unproven));
    assert!(verdict.reason().contains("30 canary requests can only rule out"));

    judge.restate(Duration::from_hours(1), WhenUnproven::Hold);
    assert_eq!(why(&judge.report().verdict), Some(Why::NotEnough));
    judge.restate(Duration::from_mins(30), WhenUnproven::Advance);
    assert!(matches!(judge.report().verdict, Verdict::Pass { proven: false, .. }));
}

#[test]
fn nothing_advances_while_stable_fails_or_is_silent() {
    let mut judge = calibrated(advancing(), 0.25);
    let outage = window(counts(950, 400, 9), counts(50, 21, 0));
    let verdict = observe(&mut judge, 1..=90, &outage);
    assert_eq!(why(&verdict), Some(Why::Outage), "{verdict:?}");

    let mut judge = calibrated(advancing(), 0.25);
    assert!(matches!(observe(&mut judge, 1..=150, &good()), Verdict::Pass { proven: true, .. }));
    let alone = window(Counts::default(), counts(50, 0, 0));
    assert_eq!(why(&observe(&mut judge, 151..=180, &alone)), Some(Why::NoStable));

    let mut judge = calibrated(advancing(), 0.25);
    assert_eq!(why(&judge.observe(4000.0, &alone)), Some(Why::NoStable));
}

#[test]
fn evidence_of_harm_outlives_a_stage_and_proof_does_not() {
    let mut judge = calibrated(Settings::default(), 0.25);
    observe(&mut judge, 1..=150, &good());
    let before = judge.report();
    judge.start_stage(150.0, 1.0, MINUTE);
    let after = judge.report();
    assert_eq!(before.metrics[0].log_e.to_bits(), after.metrics[0].log_e.to_bits());
    assert!(before.metrics[0].log_e_advance > 3.0 && after.metrics[0].log_e_advance.abs() < 1e-9);
    assert_eq!(why(&after.verdict), Some(Why::Soaking));
}

#[test]
fn nothing_is_judged_before_the_first_stage() {
    let mut judge = Judge::new(Settings::default());
    let bad = window(counts(95, 0, 0), counts(5, 5, 0));
    assert_eq!(why(&observe(&mut judge, 1..=20, &bad)), Some(Why::Soaking));
    assert_eq!(judge.report().canary_failed, 0);
}
