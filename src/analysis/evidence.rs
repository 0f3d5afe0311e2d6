//! The two e-processes of a metric: odds that the canary does harm, proof that it does not.
//!
//! Both are bets against a hypothesis that cannot gain on average while it is true, so by
//! Ville's inequality they exceed 1/a with probability at most a, however often one looks.
//! Formulas and proofs: the judge's study, docs/analysis.md.

use serde::{Deserialize, Serialize};

use super::{exact, settings::MetricSettings, window::Block};

/// "The canary is r times worse than tolerated", for these r.
const R_GRID: [f64; 6] = [1.3, 1.8, 3.0, 6.0, 20.0, 100.0];
/// Bets that the canary's share of bad requests is within an added margin.
const X_GRID: [f64; 7] = [0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 0.95];
/// Bets that it is within a multiple of stable's.
const S_GRID: [f64; 5] = [0.02, 0.2, 0.4, 0.6, 0.8];

/// Beyond this many times what there is, nothing is foretold.
const GROWTH_MAX: f64 = 10_000.0;

/// ln(sum exp), without leaving the range of numbers.
fn log_sum(logs: &[f64]) -> f64 {
    let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if most == f64::NEG_INFINITY {
        return most;
    }
    most + logs.iter().map(|log| (log - most).exp()).sum::<f64>().ln()
}

/// ln(exp a + exp b), without leaving the range of numbers.
fn log_add(a: f64, b: f64) -> f64 {
    let (most, least) = if a < b { (b, a) } else { (a, b) };
    if least == f64::NEG_INFINITY {
        return most;
    }
    most + (least - most).exp().ln_1p()
}

/// How much prior mass says "the harm begins with this block", and how much is left.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mass {
    pub new: f64,
    pub unspent: f64,
}

/// What counts as harm in one block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tolerance {
    pub ratio: f64,
    pub delta: f64,
    pub cap: f64,
}

/// Evidence that the canary is worse than `ratio * stable + delta`; carried over all stages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Harm {
    #[serde(with = "exact")]
    log_r: [f64; R_GRID.len()],
    #[serde(with = "exact")]
    log_e: f64,
}

impl Harm {
    pub(super) fn new() -> Self {
        Self { log_r: [f64::NEG_INFINITY; R_GRID.len()], log_e: 0.0 }
    }

    /// ln E: the log odds against "the canary does no harm".
    pub(super) fn log_e(&self) -> f64 {
        self.log_e
    }

    /// Bets one block. With `pi = n1 r0 / (n0 + n1 r0)` and `D = 1 - pi + pi r`, the bet on r
    /// pays `l = [x1 ln r - (x0 + x1) ln D - n1 delta (1 - pi)(r - 1)/D] / phi`, at most the
    /// cap; `E = sum R + unspent`. Conditional Poisson/binomial test in the manner of Lindon
    /// and Malek (`NeurIPS` 2022), mixed over r and over start times (Robbins 1970).
    pub(super) fn bet(&mut self, block: Block, tolerance: Tolerance, phi: f64, mass: Mass) {
        let gains = harm_gains(block, tolerance, phi);
        for (log, gain) in self.log_r.iter_mut().zip(gains) {
            if mass.new > 0.0 {
                *log = log_add(*log, (mass.new / R_GRID.len() as f64).ln());
            }
            *log += gain.min(tolerance.cap);
        }
        self.log_e = log_add(log_sum(&self.log_r), mass.unspent.ln());
    }
}

fn harm_gains(block: Block, tolerance: Tolerance, phi: f64) -> [f64; R_GRID.len()] {
    if block.is_empty() {
        return [0.0; R_GRID.len()];
    }
    let Block { n0, x0, n1, x1 } = block;
    let pi = n1 * tolerance.ratio / (n0 + n1 * tolerance.ratio);
    R_GRID.map(|r| {
        let d = 1.0 - pi + pi * r;
        let margin = n1 * tolerance.delta * (1.0 - pi) * (r - 1.0) / d;
        (x1 * r.ln() - (x0 + x1) * d.ln() - margin) / phi
    })
}

/// Evidence that the canary is *not* worse than the margin of this stage; begun anew with each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Proof {
    #[serde(with = "exact")]
    sums: [f64; X_GRID.len()],
    #[serde(with = "exact")]
    ratios: [f64; S_GRID.len()],
    #[serde(with = "exact")]
    requests: f64,
    #[serde(with = "exact")]
    margin: f64,
    #[serde(with = "exact")]
    ratio: f64,
}

impl Proof {
    /// The margin for the move to `next_weight`: `delta+ = margin / w+`,
    /// `rho+ = 1 + (ratio - 1) / w+`, so that after the move *all* users together see at most
    /// `margin` more, or `ratio` times as much (the judge's study, docs/analysis.md).
    pub(super) fn new(metric: MetricSettings, next_weight: f64) -> Self {
        Self {
            sums: [0.0; X_GRID.len()],
            ratios: [0.0; S_GRID.len()],
            requests: 0.0,
            margin: metric.margin / next_weight,
            ratio: 1.0 + (metric.ratio_margin - 1.0) / next_weight,
        }
    }

    /// The added margin of this stage.
    pub(super) fn margin(&self) -> f64 {
        self.margin
    }

    /// The margin of this stage as a multiple of stable's rate.
    pub(super) fn ratio(&self) -> f64 {
        self.ratio
    }

    /// Bets one block: `A_x += [x1 ln(1-x) + x0 ln(1 + x n1/n0) + n1 delta+ x] / phi` for the
    /// added margin; with `q = n1 rho+ / (n0 + n1 rho+)`,
    /// `C_s += [x1 ln s - (x0 + x1) ln(1 - q + q s)] / phi` for the ratio.
    pub(super) fn bet(&mut self, block: Block, phi: f64) {
        if block.is_empty() {
            return;
        }
        let Block { n0, x0, n1, x1 } = block;
        for (sum, x) in self.sums.iter_mut().zip(X_GRID) {
            *sum += (x1 * (-x).ln_1p() + x0 * (n1 / n0 * x).ln_1p() + n1 * self.margin * x) / phi;
        }
        let q = n1 * self.ratio / (n0 + n1 * self.ratio);
        for (sum, s) in self.ratios.iter_mut().zip(S_GRID) {
            *sum += (x1 * s.ln() - (x0 + x1) * (1.0 - q + q * s).ln()) / phi;
        }
        self.requests += n1 / phi;
    }

    /// ln of `1/2 mean exp(A_x) + 1/2 mean exp(C_s)`, an e-process for "worse than both".
    pub(super) fn log_e(&self) -> f64 {
        let sums = log_sum(&self.sums) - (X_GRID.len() as f64).ln();
        let ratios = log_sum(&self.ratios) - (S_GRID.len() as f64).ln();
        log_add(sums, ratios) - 2f64.ln()
    }

    /// How many times the evidence of this stage it takes to reach `needed`, if every bet goes
    /// on growing as it did: each grows straight, so their mixture is known. None if none
    /// grows, or not in this world.
    pub(super) fn growth(&self, needed: f64) -> Option<f64> {
        let reached = |times: f64| {
            let (sums, ratios) = (self.sums.map(|a| a * times), self.ratios.map(|c| c * times));
            Self { sums, ratios, ..self.clone() }.log_e() >= needed
        };
        let (mut low, mut high) = (1.0, 1.0);
        while !reached(high) {
            (low, high) = (high, 2.0 * high);
            if high > GROWTH_MAX {
                return None;
            }
        }
        for _ in 0..20 {
            let middle = 0.5 * (low + high);
            if reached(middle) {
                high = middle;
            } else {
                low = middle;
            }
        }
        Some(high)
    }

    /// The most the canary may be worse, at any time valid with confidence `1 - alpha`: the
    /// smallest d with `mean exp(A_x + (d - delta+) x sum(n1/phi)) >= 1/alpha`, by bisection.
    pub(super) fn upper_bound(&self, alpha: f64) -> f64 {
        if self.requests <= 0.0 {
            return 1.0;
        }
        let needed = (1.0 / alpha).ln() + (X_GRID.len() as f64).ln();
        let evidence = |d: f64| {
            let mut logs = self.sums;
            for (log, x) in logs.iter_mut().zip(X_GRID) {
                *log += (d - self.margin) * x * self.requests;
            }
            log_sum(&logs)
        };
        if evidence(1.0) < needed {
            return 1.0;
        }
        let (mut low, mut high) = (-1.0, 1.0);
        for _ in 0..50 {
            let middle = 0.5 * (low + high);
            if evidence(middle) >= needed {
                high = middle;
            } else {
                low = middle;
            }
        }
        high
    }
}

/// When harm may have begun: prior mass spread over start times, total 1, fixed by the clock
/// alone. Without it hours of good evidence would have to be undone before a late fault shows
/// (a Shiryaev-type prior on the change point; the judge's study, docs/analysis.md).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Onsets {
    number: u32,
    #[serde(with = "exact")]
    last: f64,
    due: bool,
    in_grace: bool,
}

impl Onsets {
    pub(super) fn new() -> Self {
        Self { number: 0, last: f64::NEG_INFINITY, due: true, in_grace: false }
    }

    /// A change of the split is a good moment for harm to begin.
    pub(super) fn expect(&mut self) {
        self.due = true;
    }

    /// The mass for this block: 0.1 at the first block of the grace; after it start number s
    /// gets 0.9/(s(s+1)), at the first block of a stage and every `restart` seconds. Without
    /// a grace 1/(s(s+1)).
    pub(super) fn next(&mut self, now: f64, warm: bool, graced: bool, restart: f64) -> Mass {
        let base = if graced { 0.9 } else { 1.0 };
        let mut new = 0.0;
        if warm {
            if !self.in_grace {
                self.in_grace = true;
                new = 0.1;
            }
        } else if self.due || now - self.last >= restart {
            self.number = self.number.saturating_add(1);
            self.last = now;
            self.due = false;
            let s = f64::from(self.number);
            new = base / (s * (s + 1.0));
        }
        let mut unspent = base / (f64::from(self.number) + 1.0);
        if graced && !self.in_grace {
            unspent += 0.1;
        }
        Mass { new, unspent }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ERRORS: Tolerance = Tolerance { ratio: 1.1, delta: 0.0005, cap: 3.0 };

    fn assert_near(found: &[f64], expected: &[f64]) {
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} instead of {expected}");
        }
    }

    #[test]
    fn gains_are_those_of_the_study() {
        let few = Block { n0: 990.0, x0: 1.0, n1: 10.0, x1: 1.0 };
        let expected = [0.254_303, 0.566_360, 1.045_455, 1.661_345, 2.538_763, 2.898_367];
        assert_near(&harm_gains(few, ERRORS, 1.0), &expected);
        let even = Block { n0: 500.0, x0: 5.0, n1: 500.0, x1: 10.0 };
        let expected = [0.403_470, 0.560_963, 0.119_679, -1.540_043, -6.152_552, -13.685_164];
        assert_near(&harm_gains(even, ERRORS, 1.0), &expected);
    }

    #[test]
    fn prior_mass_sums_to_one() {
        for graced in [true, false] {
            let mut onsets = Onsets::new();
            let mut spent = 0.0;
            for second in 1..=1000 {
                let now = f64::from(second);
                let mass = onsets.next(now, graced && second <= 60, graced, 30.0);
                spent += mass.new;
                assert!((spent + mass.unspent - 1.0).abs() < 1e-9, "{now}: {spent}");
            }
        }
    }

    #[test]
    fn without_an_error_a_margin_takes_so_many_requests() {
        let proven = |next_weight: f64, requests: f64| {
            let mut proof = Proof::new(MetricSettings::ERRORS, next_weight);
            proof.bet(Block { n0: 1000.0, x0: 0.0, n1: requests, x1: 0.0 }, 1.0);
            proof.log_e() >= 20f64.ln()
        };
        for (next_weight, requests) in [(0.05, 57.0), (0.25, 281.0), (0.5, 561.0), (1.0, 1122.0)] {
            assert!(proven(next_weight, requests), "to {next_weight}");
            assert!(!proven(next_weight, requests - 1.0), "to {next_weight}");
        }
    }

    #[test]
    fn logs_of_nothing_stay_nothing() {
        let none = f64::NEG_INFINITY;
        assert_eq!(log_sum(&[none, none]).total_cmp(&none), std::cmp::Ordering::Equal);
        assert_eq!(log_add(none, none).total_cmp(&none), std::cmp::Ordering::Equal);
        assert!((log_add(none, 2.0) - 2.0).abs() < 1e-15);
    }
}
