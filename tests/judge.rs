//! The judge, held against the reference of its study (docs/analysis.md): step by step, over
//! recorded rollouts, under arbitrary counts, and as the operator reads it.

mod explain;
mod peers;
mod properties;
mod rules;
mod signals;
mod traces;
mod vectors;

use std::time::Duration;

use weir::analysis::{Counts, Judge, Settings, Verdict, WhenUnproven, Window};

const MINUTE: Duration = Duration::from_mins(1);

fn counts(requests: u64, errors: u64, slow: u64) -> Counts {
    Counts { requests, errors, slow, ..Counts::default() }
}

fn window(stable: Counts, canary: Counts) -> Window {
    Window { stable, canary, cold: false }
}

/// The reference goes on, unproven, after half an hour.
fn advancing() -> Settings {
    Settings { when_unproven: WhenUnproven::Advance, ..Settings::default() }
}

/// A judge in its first stage, with a calm hour behind it.
fn calibrated(settings: Settings, next_weight: f64) -> Judge {
    let mut judge = Judge::new(settings);
    (0..60).for_each(|_| judge.calibrate(&counts(60_000, 60, 600)));
    judge.start_stage(0.0, next_weight, MINUTE);
    judge
}

/// The same window every second, from one second to another; the last verdict.
fn observe(judge: &mut Judge, seconds: std::ops::RangeInclusive<u32>, window: &Window) -> Verdict {
    seconds.map(|second| judge.observe(f64::from(second), window)).last().expect("a window")
}
