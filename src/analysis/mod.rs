//! The judge: is the canary worse than stable, is it proven not to be, or is there no telling?
//!
//! Pure: counts and observed seconds in, verdicts out. The same windows give the same verdict on
//! every machine and after every restart. What is decided and why: docs/analysis.md.
#![allow(
    clippy::many_single_char_names,
    reason = "the letters of the formulas: n requests, x events, r, s, q as in docs/analysis.md"
)]

mod balance;
mod check;
mod dispersion;
mod evidence;
mod exact;
mod history;
mod jobs;
mod judge;
mod outage;
mod replay;
mod report;
mod settings;
mod trace;
mod verdict;
mod warmth;
mod window;
mod words;

pub use balance::Balance;
pub use check::{CheckReport, CheckSettings, Heard, Limit, SAMPLES_MAX, Sample};
pub use history::{History, MINUTES_MAX};
pub use judge::Judge;
pub use replay::{Ending, Ladder, Outcome, Replay, replay};
pub use report::{MetricReport, Report};
pub use settings::{
    MetricSettings, OnFail, Settings, SettingsError, WATCHES_MAX, WatchSettings, WhenUnproven,
};
pub use trace::{LINE_BYTES_MAX, LINES_MAX, Line, Problem, Reader, TraceError};
pub use verdict::{Verdict, Why};
pub use warmth::HitRatios;
pub use window::{Counts, Lookups, Tally, Window};
