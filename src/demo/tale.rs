//! How the demo is told.

use std::time::Duration;

use anyhow::Result;

use super::crowd::Seen;
use super::{Ended, FAILING};
use crate::control::{RolloutView, TierView};
use crate::rollout::Event;

/// Characters of a progress bar.
const BAR: usize = 20;

/// Where a line goes.
pub(super) type Tell<'a> = &'a mut dyn FnMut(&str) -> Result<()>;

/// The teller: sentences for people, or one line of JSON a rollout.
pub(super) struct Tale<'a> {
    json: bool,
    tell: Tell<'a>,
    last: Duration,
}

impl<'a> Tale<'a> {
    pub(super) fn new(json: bool, tell: Tell<'a>) -> Self {
        Self { json, tell, last: Duration::ZERO }
    }

    fn say(&mut self, text: &str) -> Result<()> {
        if self.json { Ok(()) } else { (self.tell)(text) }
    }

    pub(super) fn opening(&mut self, seed: u64, file: &str) -> Result<()> {
        self.say(
            "A shop runs as 1.0.0; 500 users send about 800 requests per second through Weir.\n\
             1.1.0 fails 3 % of its pages and 1.1.1 is good, which nobody has told Weir.",
        )?;
        self.say(&format!(
            "The same users and faults again: --seed {seed}. The plan, shorter than usual:\n"
        ))?;
        for line in file.lines().skip_while(|line| !line.starts_with("[rollout]")) {
            self.say(&format!("    {line}"))?;
        }
        self.say("")
    }

    /// A rollout begins: its seconds are counted anew.
    pub(super) fn begin(&mut self) {
        self.last = Duration::ZERO;
    }

    pub(super) fn event(&mut self, at: Duration, event: &Event) -> Result<()> {
        self.say(&format!("{:>5.1} s  {}", at.as_secs_f64(), event.sentence()))
    }

    /// At most a line each `every`: weight, counts of both versions, and the evidence.
    pub(super) fn progress(
        &mut self,
        at: Duration,
        tier: &TierView,
        rollout: &RolloutView,
        every: Duration,
    ) -> Result<()> {
        let due = at >= self.last + every;
        let Some(report) = rollout.report.as_ref().filter(|_| due) else { return Ok(()) };
        let Some(errors) = report.metrics.first() else { return Ok(()) };
        self.last = at;
        self.say(&format!(
            "{:>5.1} s  [{}] {:>3}  failed: stable {} of {}, canary {} of {}; odds {} against the \
             canary, rolled back at {:.0}:1",
            at.as_secs_f64(),
            bar(tier.weight.share()),
            tier.weight,
            errors.stable_events,
            report.stage_stable.requests,
            errors.canary_events,
            report.stage_canary.requests,
            odds(errors.odds),
            errors.rollback_at_odds,
        ))
    }

    pub(super) fn ended(&mut self, ended: &Ended, seen: &Seen) -> Result<()> {
        if self.json {
            return (self.tell)(&serde_json::to_string(ended)?);
        }
        let users = seen.requests.len();
        let rolled_back = ended.outcome == super::ROLLED_BACK;
        self.say(&format!(
            "\n  {} {} after {} s: {} requests, {} errors seen, {} of {users} users saw one.",
            ended.rollout,
            if rolled_back { "rolled back" } else { "promoted" },
            ended.seconds,
            ended.requests,
            ended.user_errors,
            seen.hurt.len(),
        ))?;
        if rolled_back {
            let spared = |requests: &u64| (1.0 - FAILING).powf(*requests as f64);
            let hurt: f64 = seen.requests.values().map(|requests| 1.0 - spared(requests)).sum();
            self.say(&format!(
                "  Computed, not measured: with everybody on it for that time about {:.0} errors, \
                 and about {hurt:.0} of {users} users would have seen one.",
                ended.requests as f64 * FAILING,
            ))?;
        }
        self.say("")
    }

    pub(super) fn closing(&mut self, ended: &[Ended]) -> Result<()> {
        let requests: u64 = ended.iter().map(|ended| ended.requests).sum();
        let errors: u64 = ended.iter().map(|ended| ended.user_errors).sum();
        self.say(&format!(
            "In all {requests} requests, {errors} errors seen by users. Next, before an app of your \
             own:\n  weir run --listen ADDR --stable ADDR --canary ADDR",
        ))
    }
}

fn bar(share: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to BAR")]
    let filled = (share.clamp(0.0, 1.0) * BAR as f64).ceil() as usize;
    format!("{}{}", "#".repeat(filled), ".".repeat(BAR - filled))
}

fn odds(odds: f64) -> String {
    if odds >= 10.0 { format!("{odds:.0}:1") } else { format!("{odds:.1}:1") }
}
