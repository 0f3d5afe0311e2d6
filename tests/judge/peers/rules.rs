//! The rules by which Weir and others decide, as their documentation and code have them. The scrape
//! lag of those who ask a metrics server is left out, which favours them.

use std::time::Duration;

use weir::analysis::{self, Counts, Settings, Verdict, WhenUnproven, Window};

use super::traffic::{Second, Side};
use super::{Judge, Word};

/// Weir with its defaults, but for `when_unproven`: rollouts with little traffic would hold for ever.
pub(super) struct Weir(analysis::Judge);

impl Weir {
    pub(super) fn new() -> Self {
        let settings = Settings { when_unproven: WhenUnproven::Advance, ..Settings::default() };
        Self(analysis::Judge::new(settings))
    }
}

fn counts(side: Side) -> Counts {
    Counts { requests: side.requests, errors: side.errors, ..Counts::default() }
}

impl Judge for Weir {
    fn calibrate(&mut self, minute: &Second) {
        self.0.calibrate(&counts(minute.stable));
    }

    fn enter(&mut self, now: f64, next: f64) {
        self.0.start_stage(now, next, Duration::from_mins(1));
    }

    fn observe(&mut self, now: f64, window: &Second) -> Word {
        let window =
            Window { stable: counts(window.stable), canary: counts(window.canary), cold: false };
        match self.0.observe(now, &window) {
            Verdict::Fail { .. } => Word::RollBack,
            Verdict::Inconclusive { .. } => Word::Stay,
            Verdict::Pass { .. } => Word::Advance,
        }
    }
}

/// Flagger 1.x with the values of its tutorial: each minute at least 99 % of the canary's requests of
/// that minute succeed; rolled back at the check after the fifth that failed, which are never
/// forgotten; no requests are a failed check (`pkg/controller/scheduler.go`, `pkg/metrics/observers`).
#[derive(Default)]
pub(super) struct Flagger {
    canary: Side,
    failed: u32,
    checked: f64,
}

impl Judge for Flagger {
    fn observe(&mut self, now: f64, window: &Second) -> Word {
        self.canary.requests += window.canary.requests;
        self.canary.errors += window.canary.errors;
        if now - self.checked < 60.0 - 1e-6 {
            return Word::Stay;
        }
        self.checked = now;
        if self.failed >= 5 {
            return Word::RollBack;
        }
        let last = std::mem::take(&mut self.canary);
        let well = last.requests > 0 && last.errors * 100 <= last.requests;
        if well {
            return Word::Advance;
        }
        self.failed += 1;
        Word::Stay
    }
}

/// Argo Rollouts with the example of its documentation: ten minutes a step; every five minutes a success
/// rate of at least 95 % in the last scrape interval (`irate`, 30 s); `failureLimit: 3`, which the
/// code reads as the fourth failure (`analysis/analysis.go`). No requests are a failure.
#[derive(Default)]
pub(super) struct Argo {
    canary: Side,
    scraped: f64,
    measured: f64,
    entered: f64,
    failed: u32,
}

impl Judge for Argo {
    fn enter(&mut self, now: f64, _next: f64) {
        self.entered = now;
    }

    fn observe(&mut self, now: f64, window: &Second) -> Word {
        self.canary.requests += window.canary.requests;
        self.canary.errors += window.canary.errors;
        if now - self.scraped < 30.0 - 1e-6 {
            return Word::Stay;
        }
        self.scraped = now;
        let last = std::mem::take(&mut self.canary);
        if now - self.measured >= 300.0 - 1e-6 {
            self.measured = now;
            let well = last.requests > 0 && last.errors * 20 <= last.requests;
            self.failed += u32::from(!well);
            if self.failed > 3 {
                return Word::RollBack;
            }
        }
        if now - self.entered >= 600.0 - 1e-6 { Word::Advance } else { Word::Stay }
    }
}

/// Kayenta's `NetflixACAJudge`: error rates of sixty minutes at 5 %, a confidence interval of
/// Mann and Whitney (98 %) for the shift, and a quarter of the Hodges-Lehmann estimate tolerated. One
/// verdict after the hour. Stable is its baseline here; a baseline of the canary's size would know less.
#[derive(Default)]
pub(super) struct Kayenta {
    minute: Second,
    begun: f64,
    stable: Vec<f64>,
    canary: Vec<f64>,
}

impl Judge for Kayenta {
    fn ladder(&self) -> &'static [f64] {
        &[0.05]
    }

    fn observe(&mut self, now: f64, window: &Second) -> Word {
        for (sum, side) in
            [(&mut self.minute.stable, window.stable), (&mut self.minute.canary, window.canary)]
        {
            sum.requests += side.requests;
            sum.errors += side.errors;
        }
        if now - self.begun < 60.0 - 1e-6 {
            return Word::Stay;
        }
        self.begun = now;
        let minute = std::mem::take(&mut self.minute);
        for (rates, side) in [(&mut self.stable, minute.stable), (&mut self.canary, minute.canary)]
        {
            if side.requests > 0 {
                rates.push(side.errors as f64 / side.requests as f64);
            }
        }
        if now < 3600.0 - 1e-6 {
            return Word::Stay;
        }
        match is_high(&self.stable, &self.canary) {
            None => Word::Stuck,
            Some(true) => Word::RollBack,
            Some(false) => Word::Advance,
        }
    }
}

/// Whether the canary's rates are higher; none without rates on either side.
fn is_high(stable: &[f64], canary: &[f64]) -> Option<bool> {
    let mut shifts: Vec<f64> =
        canary.iter().flat_map(|canary| stable.iter().map(move |stable| canary - stable)).collect();
    shifts.sort_by(f64::total_cmp);
    let middle = *shifts.get(shifts.len() / 2)?;
    let (m, n) = (stable.len() as f64, canary.len() as f64);
    // Moses: the bounds are order statistics of the differences; 2.326 is the 99th percentile.
    let below = m * n / 2.0 - 2.326 * (m * n * (m + n + 1.0) / 12.0).sqrt();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a place, rounded down"
    )]
    let lowest = shifts[below.max(0.0) as usize];
    Some(lowest > 0.25 * middle.abs())
}
