//! What holds whatever is counted.

use proptest::prelude::*;
use weir::analysis::{
    Counts, Judge, Lookups, MetricSettings, OnFail, Report, Settings, Tally, Verdict,
    WatchSettings, WhenUnproven, Window,
};

use super::{MINUTE, counts};

/// Small, plausible and monstrous numbers.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0u64..5, 4 => 0u64..2000, 1 => any::<u64>(), 1 => Just(u64::MAX)]
}

fn any_counts() -> impl Strategy<Value = Counts> {
    let watches = prop::collection::vec(number(), 0..4);
    let lookups = (0u64..2000, 0u64..2000).prop_map(|(hits, misses)| Lookups { hits, misses });
    let tally = (number(), number()).prop_map(|(total, bad)| Tally { total, bad });
    let signals = prop::collection::vec(tally, 0..3);
    let all = (number(), number(), number(), watches, signals, lookups);
    all.prop_map(|(requests, errors, slow, watches, signals, lookups)| Counts {
        requests,
        errors,
        slow,
        watches,
        signals,
        lookups,
    })
}

#[derive(Debug, Clone)]
enum Input {
    Window(f64, Window),
    Stage(f64),
    Restart,
}

fn any_input() -> impl Strategy<Value = Input> {
    let seconds = prop_oneof![
        6 => (0u32..120).prop_map(f64::from),
        1 => any::<f64>(),
        1 => Just(f64::NAN),
        1 => Just(1e300)
    ];
    let window = (seconds, any_counts(), any_counts(), any::<bool>()).prop_map(
        |(seconds, stable, canary, cold)| Input::Window(seconds, Window { stable, canary, cold }),
    );
    prop_oneof![
        20 => window,
        1 => prop_oneof![Just(0.05), Just(1.0), any::<f64>()].prop_map(Input::Stage),
        1 => Just(Input::Restart),
    ]
}

fn settings() -> impl Strategy<Value = Settings> {
    (0usize..3, 0usize..3, any::<bool>(), any::<bool>(), 0u64..90).prop_map(
        |(watches, signals, holds, advances, grace)| Settings {
            watches: (0..watches)
                .map(|index| WatchSettings {
                    name: format!("watch {index}"),
                    on_fail: if holds { OnFail::Hold } else { OnFail::Rollback },
                    metric: MetricSettings::ERRORS,
                })
                .collect(),
            signals: (0..signals)
                .map(|index| WatchSettings {
                    name: format!("signal {index}"),
                    ..WatchSettings::default()
                })
                .collect(),
            when_unproven: if advances { WhenUnproven::Advance } else { WhenUnproven::Hold },
            grace: std::time::Duration::from_secs(grace),
            ..Settings::default()
        },
    )
}

fn assert_finite(report: &Report) {
    let times = [report.elapsed, report.soak, report.grace_left, report.stable_failing];
    let eta = report.eta_seconds.unwrap_or(0.0);
    assert!(times.iter().chain([&eta]).all(|number| number.is_finite()), "{report:?}");
    for metric in &report.metrics {
        let numbers = [
            metric.stable_rate,
            metric.canary_rate,
            metric.odds,
            metric.log_e,
            metric.log_e_advance,
            metric.upper_bound,
            metric.limit,
            metric.phi,
            metric.eta_seconds.unwrap_or(0.0),
        ];
        assert!(numbers.iter().all(|number| number.is_finite()), "{metric:?}");
        assert!(metric.phi >= 1.0 && metric.canary_rate <= 1.0 && metric.stable_rate <= 1.0);
    }
}

/// Plays inputs on a judge; restarts it from its evidence row where they say so.
fn play(settings: Settings, minutes: &[Counts], inputs: &[Input], mut seen: impl FnMut(&Report)) {
    let mut judge = Judge::new(settings);
    for minute in minutes {
        judge.calibrate(minute);
    }
    judge.start_stage(0.0, 0.05, MINUTE);
    for input in inputs {
        match input {
            Input::Window(seconds, window) => {
                let verdict = judge.observe(judge.now() + seconds, window);
                let report = judge.report();
                assert_eq!(report.verdict, verdict);
                seen(&report);
            }
            Input::Stage(next_weight) => judge.start_stage(judge.now(), *next_weight, MINUTE),
            Input::Restart => {
                let row = serde_json::to_string(&judge).expect("an evidence row");
                let again: Judge = serde_json::from_str(&row).expect("the same judge");
                assert_eq!(again, judge);
                judge = again;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics_and_every_number_is_one(
        settings in settings(),
        minutes in prop::collection::vec(any_counts(), 0..40),
        inputs in prop::collection::vec(any_input(), 0..60),
    ) {
        play(settings, &minutes, &inputs, |report| {
            assert_finite(report);
            assert!(report.explain().starts_with("verdict"));
            let json = serde_json::to_string(report).expect("a report");
            serde_json::from_str::<Report>(&json).expect("the same report");
        });
    }

    #[test]
    fn nothing_fails_without_a_bad_event_of_the_canary(
        settings in settings(),
        mut inputs in prop::collection::vec(any_input(), 0..60),
    ) {
        for input in &mut inputs {
            if let Input::Window(_, window) = input {
                window.canary = counts(window.canary.requests, 0, 0);
            }
        }
        play(settings, &[], &inputs, |report| {
            assert!(!matches!(report.verdict, Verdict::Fail { .. }), "{}", report.explain());
        });
    }

    #[test]
    fn a_canary_without_requests_is_never_proven(
        settings in settings(),
        mut inputs in prop::collection::vec(any_input(), 0..60),
    ) {
        for input in &mut inputs {
            if let Input::Window(_, window) = input {
                window.canary = Counts::default();
            }
        }
        play(settings, &[], &inputs, |report| {
            assert!(!matches!(report.verdict, Verdict::Pass { proven: true, .. }));
        });
    }

    #[test]
    fn without_stable_nothing_passes_or_fails(
        settings in settings(),
        mut inputs in prop::collection::vec(any_input(), 0..60),
    ) {
        for input in &mut inputs {
            if let Input::Window(_, window) = input {
                window.stable = Counts::default();
            }
        }
        play(settings, &[], &inputs, |report| {
            assert!(matches!(report.verdict, Verdict::Inconclusive { .. }), "{}", report.explain());
        });
    }
}
