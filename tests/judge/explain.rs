//! What the operator reads.

use weir::analysis::{Counts, OnFail, Settings, WatchSettings};

use super::{MINUTE, calibrated, counts, observe, window};

/// Compares line by line, so that a difference is seen.
fn assert_reads(found: &str, expected: &str) {
    let lines = |text: &str| text.trim().lines().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(lines(found), lines(expected), "\n{found}");
}

#[test]
fn a_failing_canary_is_explained() {
    let mut judge = calibrated(Settings::default(), 0.25);
    observe(&mut judge, 1..=3, &window(counts(95, 0, 1), counts(5, 5, 0)));
    assert_reads(
        &judge.report().explain(),
        r#"
verdict       ROLL BACK at 5 % of requests after 3 s - errors: canary 15/15 (100 %) vs stable 0/285 (0 %) in this stage. Odds 561:1 against "canary <= 1.1 x stable + 0.05 pp" (roll back at 133:1; a good version is rolled back in at most 1 % of rollouts). 15 user requests failed on the canary.
would change  nothing: the evidence does not expire
requests      canary 15, stable 285 in this stage (5 % to the canary); 15 failed on the canary so far
errors        canary 15/15 (100 %) vs stable 0/285 (0 %)
              odds 561:1 against "canary <= 1.1 x stable + 0.05 pp"; roll back at 133:1 (75 % of the 1 % bound)
              how much worse it may be is not known yet (limit here +2.00 pp); not proven yet for 25 %: 1:1, needs 20:1
slow          canary 0/15 (0 %) vs stable 3/285 (1.05 %)
              odds 0.9:1 against "canary <= 1.25 x stable + 0.1 pp"; roll back at 400:1 (25 % of the 1 % bound)
              how much worse it may be is not known yet (limit here +4.00 pp); not proven yet for 25 %: 1:1, needs 20:1
time          3 s in this stage; bakes 1m00s; unproven after 30m00s: hold for a person
note          grace for 57 s more: +10 pp is forgiven, nothing is proven
"#,
    );
}

#[test]
fn a_stage_that_needs_time_is_explained_with_its_watch() {
    let jobs = WatchSettings { name: "jobs".into(), on_fail: OnFail::Hold, ..Default::default() };
    let settings = Settings { watches: vec![jobs], ..Settings::default() };
    let mut judge = calibrated(settings, 0.5);
    let watched = |counts: Counts, jobs| Counts { watches: vec![jobs], ..counts };
    let window = window(watched(counts(38, 0, 0), 1), watched(counts(12, 0, 0), 0));
    observe(&mut judge, 1..=75, &window);
    assert_reads(
        &judge.report().explain(),
        r#"
verdict       HOLD - not enough evidence yet: errors could still be up to +2.68 pp worse, need +1.00 pp or less; about 32 s more at this pace
would change  advances in about 32 s at this pace; rolls back at errors 167:1, slow 500:1
requests      canary 900, stable 2850 in this stage (24 % to the canary); 0 failed on the canary so far
errors        canary 0/900 (0 %) vs stable 0/2850 (0 %)
              odds 0.8:1 against "canary <= 1.1 x stable + 0.05 pp"; roll back at 167:1 (60 % of the 1 % bound)
              at most +2.68 pp worse (95 %, anytime; limit here +1.00 pp); not proven yet for 50 %: 1.6:1, needs 20:1
slow          canary 0/900 (0 %) vs stable 0/2850 (0 %)
              odds 0.8:1 against "canary <= 1.25 x stable + 0.1 pp"; roll back at 500:1 (20 % of the 1 % bound)
              at most +2.68 pp worse (95 %, anytime; limit here +2.00 pp); not proven yet for 50 %: 4.3:1, needs 20:1
jobs          canary 0/900 (0 %) vs stable 75/2850 (2.63 %)
              odds 0.5:1 against "canary <= 1.1 x stable + 0.05 pp"; hold at 500:1 (20 % of the 1 % bound)
              at most +0.36 pp worse (95 %, anytime; limit here +1.00 pp); a watch, not needed to advance
time          1m15s in this stage; bakes 1m00s; unproven after 30m00s: hold for a person
"#,
    );
}

#[test]
fn bursts_and_a_missing_hour_are_said() {
    let mut judge = weir::analysis::Judge::new(Settings::default());
    (0..7).for_each(|_| judge.calibrate(&counts(60_000, 60, 600)));
    judge.start_stage(0.0, 1.0, MINUTE);
    for second in 1..=300 {
        let burst = |at: u32| if second % 40 == at { 9 } else { 0 };
        let now = window(counts(500, burst(0), 5), counts(500, burst(20), 5));
        judge.observe(f64::from(second), &now);
    }
    assert_reads(
        &judge.report().explain(),
        r#"
verdict       ADVANCE to 100 % - errors: canary 72/150000 (0.048 %) vs stable 63/150000 (0.042 %), at most +0.04 pp worse (95 %, anytime; limit here +0.50 pp); slow: canary 1500/150000 (1 %) vs stable 1500/150000 (1 %), at most +0.13 pp worse (95 %, anytime; limit here +1.00 pp)
would change  rolls back at errors 133:1, slow 400:1
requests      canary 150000, stable 150000 in this stage (50 % to the canary); 72 failed on the canary so far
errors        canary 72/150000 (0.048 %) vs stable 63/150000 (0.042 %)
              odds 0.2:1 against "canary <= 1.1 x stable + 0.05 pp"; roll back at 133:1 (75 % of the 1 % bound)
              at most +0.04 pp worse (95 %, anytime; limit here +0.50 pp); proven for 100 %: over 1000000:1, needs 20:1
slow          canary 1500/150000 (1 %) vs stable 1500/150000 (1 %)
              odds 0.1:1 against "canary <= 1.25 x stable + 0.1 pp"; roll back at 400:1 (25 % of the 1 % bound)
              at most +0.13 pp worse (95 %, anytime; limit here +1.00 pp); proven for 100 %: over 1000000:1, needs 20:1
time          5m00s in this stage; bakes 1m00s; unproven after 30m00s: hold for a person
note          only 7 minutes of stable before the rollout (needs 20): bursts of errors are known less well, a false roll back is likelier
note          errors: evidence divided by 9.11 because errors come in bursts
"#,
    );
}

#[test]
fn an_outage_and_cold_caches_are_said() {
    let mut judge = calibrated(Settings::default(), 0.25);
    let failing = window(counts(950, 300, 0), counts(50, 16, 0));
    observe(&mut judge, 1..=90, &weir::analysis::Window { cold: true, ..failing });
    let text = judge.report().explain();
    for said in [
        "HOLD - stable itself is failing more than usual (31.6 %): not advancing during an outage",
        "would change  stable's errors back to usual",
        "note          stable itself fails 31.6 % of requests: no advance meanwhile",
        "note          the canary's caches are cold: slow holds instead of rolling back",
    ] {
        assert!(text.contains(said), "{said}\n{text}");
    }
}

#[test]
fn a_passed_stage_is_explained_in_one_sentence() {
    let mut judge = calibrated(Settings::default(), 1.0);
    let verdict = observe(&mut judge, 1..=120, &window(counts(50, 0, 1), counts(50, 0, 1)));
    assert_reads(
        verdict.reason(),
        "ADVANCE to 100 % - errors: canary 0/6000 (0 %) vs stable 0/6000 (0 %), at most +0.16 pp worse (95 %, anytime; limit here +0.50 pp); slow: canary 120/6000 (2 %) vs stable 120/6000 (2 %), within 2 x stable or +1.00 pp (95 %, anytime)",
    );
}
