//! How the demo is told.

use std::time::Duration;

use super::crowd::Seen;
use super::{Ended, FAILING};
use crate::control::{RolloutView, TierView};
use crate::rollout::Event;

/// Characters of a progress bar.
const BAR: usize = 20;

/// The teller: sentences for people, or one line of JSON a rollout.
pub(super) struct Tale<'a> {
    json: bool,
    tell: &'a mut dyn FnMut(&str),
    last: Duration,
}

impl<'a> Tale<'a> {
    pub(super) fn new(json: bool, tell: &'a mut dyn FnMut(&str)) -> Self {
        Self { json, tell, last: Duration::ZERO }
    }

    fn say(&mut self, text: &str) {
        if !self.json {
            (self.tell)(text);
        }
    }

    pub(super) fn opening(&mut self, seed: u64, file: &str) {
        self.say(
            "A shop runs as 1.0.0; 500 users send about 800 requests per second through Weir.",
        );
        self.say(&format!(
            "Seed {seed} (repeat with --seed {seed}). The plan, shorter than in earnest:\n"
        ));
        for line in file.lines().skip_while(|line| !line.starts_with("[rollout]")) {
            self.say(&format!("    {line}"));
        }
    }

    pub(super) fn event(&mut self, at: Duration, event: &Event) {
        self.say(&format!("{:>5.1} s  {}", at.as_secs_f64(), event.sentence()));
    }

    /// At most a line each `every`: weight, counts of both versions, and the evidence.
    pub(super) fn progress(
        &mut self,
        at: Duration,
        tier: &TierView,
        rollout: &RolloutView,
        every: Duration,
    ) {
        if at < self.last {
            self.last = Duration::ZERO;
        }
        let Some(report) = rollout.report.as_ref().filter(|_| at >= self.last + every) else {
            return;
        };
        self.last = at;
        let Some(errors) = report.metrics.first() else { return };
        let filled = (tier.weight.share() * BAR as f64).ceil() as usize;
        let bar = format!("{}{}", "#".repeat(filled), ".".repeat(BAR - filled.min(BAR)));
        self.say(&format!(
            "{:>5.1} s  [{bar}] {:>3}  stable {} {}/{} failed, canary {} {}/{} failed; odds {} \
             against it (rolled back at {:.0}:1)",
            at.as_secs_f64(),
            tier.weight.to_string(),
            tier.stable,
            errors.stable_events,
            report.stage_stable.requests,
            rollout.release,
            errors.canary_events,
            report.stage_canary.requests,
            odds(errors.odds),
            errors.rollback_at_odds,
        ));
    }

    pub(super) fn ended(&mut self, ended: &Ended, seen: &Seen, failing: f64) {
        if self.json {
            if let Ok(line) = serde_json::to_string(ended) {
                (self.tell)(&line);
            }
            return;
        }
        let users = seen.requests.len();
        self.say(&format!(
            "\n  {} {} after {} s: {} requests, {} errors seen, {} of {users} users saw one.",
            ended.rollout,
            if ended.outcome == "promoted" { "promoted" } else { "rolled back" },
            ended.seconds,
            ended.requests,
            ended.user_errors,
            seen.hurt.len(),
        ));
        if ended.outcome == "rolled_back" {
            let hurt: f64 =
                seen.requests.values().map(|n| 1.0 - (1.0 - failing).powf(*n as f64)).sum();
            self.say(&format!(
                "  Computed, not measured: with everybody on it for that time about {:.0} errors, \
                 and about {hurt:.0} of {users} users would have seen one.",
                ended.requests as f64 * FAILING,
            ));
        }
        self.say("");
    }

    pub(super) fn closing(&mut self, ended: &[Ended]) {
        let requests: u64 = ended.iter().map(|ended| ended.requests).sum();
        let errors: u64 = ended.iter().map(|ended| ended.user_errors).sum();
        self.say(&format!(
            "{} rollouts, {requests} requests, {errors} errors seen by users. Next: docs/rollout.md, \
             or `weir run --listen ADDR --stable ADDR --canary ADDR` before an app of your own.",
            ended.len(),
        ));
    }
}

fn odds(odds: f64) -> String {
    if odds >= 10.0 { format!("{odds:.0}:1") } else { format!("{odds:.1}:1") }
}
