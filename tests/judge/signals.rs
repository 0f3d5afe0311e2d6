//! Signals from outside: counts with a total of their own, numbers with a limit, and silence.

use weir::analysis::{
    CheckSettings, Counts, Heard, Judge, Limit, OnFail, Sample, Settings, Tally, Verdict,
    WatchSettings, Why, Window,
};

use super::{MINUTE, counts, observe, window};
use crate::support::dice::Dice;

fn with_jobs(on_fail: OnFail) -> Settings {
    let jobs = WatchSettings { name: "jobs".into(), on_fail, ..WatchSettings::default() };
    Settings { signals: vec![jobs], ..Settings::default() }
}

fn with_latency(on_fail: OnFail) -> Settings {
    let (name, limit) = ("queue latency".to_owned(), Limit::Above(30.0));
    let check = CheckSettings { name, on_fail, limit, beyond: 3, samples: 5 };
    Settings { checks: vec![check], ..Settings::default() }
}

fn begun(settings: Settings) -> Judge {
    let mut judge = Judge::new(settings);
    let minute =
        Counts { signals: vec![Tally { total: 6_000, bad: 6 }], ..counts(60_000, 60, 600) };
    (0..60).for_each(|_| judge.calibrate(&minute));
    judge.start_stage(0.0, 0.25, MINUTE);
    judge
}

fn good() -> Window {
    window(counts(950, 1, 9), counts(50, 0, 0))
}

fn jobs(requests: u64, total: u64, bad: u64) -> Counts {
    Counts { signals: vec![Tally { total, bad }], ..counts(requests, 0, 0) }
}

#[test]
fn jobs_that_fail_roll_back_although_no_request_fails() {
    let mut judge = begun(with_jobs(OnFail::Rollback));
    let failing = window(jobs(950, 10, 0), jobs(50, 10, 5));
    let verdict = observe(&mut judge, 1..=60, &failing);
    assert!(matches!(&verdict, Verdict::Fail { metric, .. } if metric == "jobs"), "{verdict:?}");
    let report = judge.report();
    let text = report.explain();
    assert!(text.contains("jobs          canary 300/600 (50 %) vs stable 0/600 (0 %)"), "{text}");
    assert_eq!(report.canary_failed, 0);
}

#[test]
fn jobs_count_where_nobody_asks_the_canary_anything() {
    let mut judge = begun(with_jobs(OnFail::Rollback));
    let failing = window(jobs(950, 10, 0), jobs(0, 10, 5));
    let verdict = observe(&mut judge, 1..=60, &failing);
    assert!(matches!(&verdict, Verdict::Fail { metric, .. } if metric == "jobs"), "{verdict:?}");
}

#[test]
fn counts_that_come_once_in_a_while_are_the_same_evidence_and_lose_none() {
    let odds = |every: u32| {
        let mut judge = begun(with_jobs(OnFail::Hold));
        for second in 61..=120 {
            // The canary's page is read half a period after stable's.
            let due = |shift: u32| {
                u64::from(if (second + shift).is_multiple_of(every) { every } else { 0 })
            };
            let (stable, canary) =
                (jobs(950, 10 * due(0), 0), jobs(50, 2 * due(every / 2), due(every / 2)));
            judge.observe(f64::from(second), &window(stable, canary));
        }
        judge.report().metrics[2].canary_total
    };
    assert_eq!((odds(1), odds(10)), (120, 120));
}

#[test]
fn good_jobs_in_lumps_are_hardly_ever_rolled_back_and_bad_ones_always() {
    let mut dice = Dice::new(7);
    let mut failed = |percent: usize| {
        let mut judge = begun(with_jobs(OnFail::Rollback));
        (1..=600).any(|second: u32| {
            let mut lump = |total: u64, percent: usize| {
                let bad = (0..total).filter(|_| dice.below(1000) < 10 * percent).count() as u64;
                if second.is_multiple_of(5) { (total, bad) } else { (0, 0) }
            };
            let ((n0, x0), (n1, x1)) = (lump(50, 2), lump(10, percent));
            let seen = window(jobs(950, n0, x0), jobs(50, n1, x1));
            matches!(judge.observe(f64::from(second), &seen), Verdict::Fail { .. })
        })
    };
    let (good, bad) =
        ((0..100).filter(|_| failed(2)).count(), (0..20).filter(|_| failed(20)).count());
    assert!(good <= 2 && bad == 20, "{good} of 100 good ones, {bad} of 20 bad ones");
}

#[test]
fn silence_holds_and_is_neither_passed_nor_failed() {
    let mut judge = begun(with_jobs(OnFail::Rollback));
    let said = "jobs of 1.1.0: nothing was heard for 31 s".to_owned();
    judge.hear(&Heard { blind: vec![said.clone()], ..Heard::default() });
    let verdict = observe(&mut judge, 1..=3600, &good());
    let Verdict::Inconclusive { why: Why::Blind, reason, .. } = &verdict else {
        panic!("{verdict:?}")
    };
    assert_eq!(*reason, format!("HOLD - blind, nothing is assumed of silence: {said}"));
    assert!(judge.report().explain().contains(&format!("blind         {said}")));
    judge.hear(&Heard::default());
    let verdict = observe(&mut judge, 3601..=3602, &good());
    assert!(matches!(verdict, Verdict::Pass { proven: true, .. }), "{verdict:?}");
}

#[test]
fn a_guard_on_what_came_before_stays_while_a_signal_is_silent() {
    let mut judge = begun(with_jobs(OnFail::Rollback));
    let failing = window(jobs(950, 10, 0), jobs(50, 10, 5));
    let before = observe(&mut judge, 61..=62, &failing);
    assert!(matches!(before, Verdict::Inconclusive { .. }), "{before:?}");
    judge.hear(&Heard { blind: vec!["jobs of 1.1.0: refused".into()], ..Heard::default() });
    let errors = window(counts(950, 1, 9), counts(50, 25, 0));
    let verdict = observe(&mut judge, 63..=70, &errors);
    assert!(matches!(&verdict, Verdict::Fail { metric, .. } if metric == "errors"), "{verdict:?}");
}

#[test]
fn a_number_beyond_its_limit_holds_or_rolls_back_as_said() {
    let high = |canary| Heard {
        samples: vec![Sample { stable: Some(3.0), canary: Some(canary) }],
        ..Heard::default()
    };
    let mut judge = begun(with_latency(OnFail::Rollback));
    for second in 1..=2 {
        judge.hear(&high(42.0));
        assert!(!matches!(judge.observe(f64::from(second), &good()), Verdict::Fail { .. }));
    }
    judge.hear(&high(42.0));
    let verdict = judge.observe(3.0, &good());
    let Verdict::Fail { metric, reason } = &verdict else { panic!("{verdict:?}") };
    assert_eq!(metric, "queue latency");
    assert_eq!(
        reason,
        "ROLL BACK after 3 s - queue latency: canary 42, stable 3; 3 of the last 3 above 30, \
         rolls back at 3 of 5"
    );
    let mut judge = begun(with_latency(OnFail::Hold));
    (0..3).for_each(|_| judge.hear(&high(42.0)));
    let verdict = observe(&mut judge, 1..=300, &good());
    assert!(matches!(&verdict, Verdict::Inconclusive { why: Why::WatchHolds, .. }), "{verdict:?}");
    (0..3).for_each(|_| judge.hear(&high(30.0)));
    let verdict = observe(&mut judge, 301..=302, &good());
    assert!(matches!(verdict, Verdict::Pass { .. }), "{verdict:?}");
}

#[test]
fn what_was_heard_survives_a_restart() {
    let mut judge = begun(with_latency(OnFail::Rollback));
    let heard =
        Heard { samples: vec![Sample { stable: None, canary: Some(31.5) }], ..Heard::default() };
    (0..2).for_each(|_| judge.hear(&heard));
    let kept = serde_json::to_string(&judge).unwrap();
    let mut judge: Judge = serde_json::from_str(&kept).unwrap();
    judge.hear(&heard);
    assert!(matches!(judge.observe(1.0, &good()), Verdict::Fail { .. }));
}
