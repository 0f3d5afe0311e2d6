//! The verbs that change something in the running program.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::{Common, Look, span};
use crate::rollout::ROLLBACK_OVER_MAX;
use crate::rollout::runbook::StepName;
use crate::time::in_words;
use crate::traffic::{Address, TierName, Version, Weight};

/// What changes something in the running program.
#[derive(Debug, Subcommand)]
pub enum Give {
    /// Open a rollout
    ///
    /// A single name is a tier if there is one of that name, else a version. Without a version:
    /// the one release of the file that was never tried.
    Start(Start),
    /// Raise the weight without waiting for a proof
    Advance {
        /// Where [default: all open rollouts]
        tier: Option<TierName>,
        /// To this weight instead of the next stage
        #[arg(long, value_name = "WEIGHT")]
        to: Option<Weight>,
        /// How to ask.
        #[command(flatten)]
        common: Common,
    },
    /// Give the canary to everybody
    Promote {
        /// Where [default: all open rollouts]
        tier: Option<TierName>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// How to ask.
        #[command(flatten)]
        common: Common,
    },
    /// Keep users out with 503 and a page, whatever is rolled out beneath it
    ///
    /// Nothing ends it but `off` or the time given: no reload, restart or rollout. Requests that are
    /// under way end; `WebSocket`s and streams stay open unless --close.
    Maintenance {
        /// on or off
        switch: Switch,
        /// Where [default: all tiers]
        tier: Option<TierName>,
        /// For how long [default: until it is ordered off]
        #[arg(long = "for", value_name = "SPAN", value_parser = span)]
        lasts: Option<Duration>,
        /// What users are told
        #[arg(long, value_name = "TEXT")]
        message: Option<String>,
        /// Close connections that are open beyond their request (`WebSocket`s, streams), over the
        /// drain time
        #[arg(long)]
        close: bool,
        /// How to ask.
        #[command(flatten)]
        common: Common,
    },
    /// Have requests wait for a cut of seconds, and go on in order afterwards
    Hold {
        /// on or off
        switch: Switch,
        /// Where [default: all tiers]
        tier: Option<TierName>,
        /// For how long [default: until it is ordered off]
        #[arg(long = "for", value_name = "SPAN", value_parser = span)]
        lasts: Option<Duration>,
        /// How to ask.
        #[command(flatten)]
        common: Common,
    },
    /// Stop progress; a failing canary is still rolled back
    Pause {
        /// Where [default: all open rollouts]
        tier: Option<TierName>,
        /// How to ask.
        #[command(flatten)]
        common: Common,
    },
    /// End a pause
    Resume {
        /// Where [default: all open rollouts]
        tier: Option<TierName>,
        /// How to ask.
        #[command(flatten)]
        common: Common,
    },
    /// Take everybody back, now; never asks
    Rollback {
        /// Where [default: all open rollouts]
        tier: Option<TierName>,
        /// Close upgraded connections (`WebSocket`s) at once
        #[arg(long)]
        now: bool,
        /// Over this time instead of at once, in steps, where a rollout is open, such as 30s; 0s: at
        /// once [default: `rollback_over` of the file]
        #[arg(long, value_name = "SPAN", value_parser = over, conflicts_with = "now")]
        over: Option<Duration>,
        /// Also past the point of no return, which nothing undoes
        #[arg(long)]
        past_no_return: bool,
        /// How to ask.
        #[command(flatten)]
        common: Common,
    },
    /// Say yes to what a step asks
    Approve {
        /// Which step [default: the one that waits]
        step: Option<StepName>,
        /// How to ask.
        #[command(flatten)]
        common: Common,
    },
    /// Decide of a step that failed, or during which Weir was interrupted
    #[command(subcommand)]
    Step(StepVerb),
    /// Say which version serves, since the app was changed behind Weir's back
    Adopt {
        /// Where
        tier: TierName,
        /// Which
        version: Version,
        /// How to ask.
        #[command(flatten)]
        common: Common,
    },
    /// Read the file again, without dropping a request
    Reload(Look),
    /// Those who are told what happens
    #[command(subcommand)]
    Notify(NotifyOrder),
}

/// What can be done with those who are told.
#[derive(Debug, Subcommand)]
pub enum NotifyOrder {
    /// Send a message that says that it is a test, and tell whether it arrived
    Test {
        /// Whom [default: all]
        name: Option<String>,
        /// How to ask.
        #[command(flatten)]
        look: Look,
    },
}

/// What a person decides of a step.
#[derive(Debug, Subcommand)]
pub enum StepVerb {
    /// Do it again
    Retry {
        /// Which [default: the one that waits]
        step: Option<StepName>,
        /// How to ask.
        #[command(flatten)]
        common: Common,
    },
    /// Take it as done
    Skip {
        /// Which [default: the one that waits]
        step: Option<StepName>,
        /// How to ask.
        #[command(flatten)]
        common: Common,
    },
}

/// Open a rollout.
#[derive(Debug, Args)]
pub struct Start {
    /// Where [default: every tier that has the release]
    pub tier: Option<String>,
    /// Which version
    pub version: Option<Version>,
    /// Where it runs, for a release that the file does not list; may be repeated
    #[arg(long = "upstream", value_name = "ADDR")]
    pub upstreams: Vec<Address>,
    /// Try a version again that was rolled back
    #[arg(long)]
    pub again: bool,
    /// Wait this long for a healthy upstream (up to 1h)
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub wait: Option<Duration>,
    /// How to ask.
    #[command(flatten)]
    pub common: Common,
}

/// Whether something begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// It ends.
    Off,
    /// It begins.
    On,
}

fn over(text: &str) -> Result<Duration, String> {
    let most = format!("users go back over at most {}", in_words(ROLLBACK_OVER_MAX));
    span(text).and_then(|span| if span > ROLLBACK_OVER_MAX { Err(most) } else { Ok(span) })
}
