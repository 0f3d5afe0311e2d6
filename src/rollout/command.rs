//! Orders, and why an order is not carried out.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::closure::Purpose;
use super::event::RolloutId;
use super::runbook::StepName;
use crate::time::in_words;
use crate::traffic::{Address, Listen, TierName, Version, Weight};

/// Longest name of an actor in bytes: the name of a token.
const ACTOR_BYTES_MAX: usize = 64;

/// Longest reason somebody may give for an order, in characters.
pub const REASON_CHARS_MAX: usize = 500;

/// Who decided: the name of a token, or Weir itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Actor(String);

impl Actor {
    /// Weir itself.
    pub fn weir() -> Self {
        Self("weir".into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text that names nobody.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("name {0:?} is not allowed; use 1 to {ACTOR_BYTES_MAX} letters, digits and ._@-")]
pub struct ActorError(String);

impl FromStr for Actor {
    type Err = ActorError;

    fn from_str(text: &str) -> Result<Self, ActorError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._@-".contains(c);
        if (1..=ACTOR_BYTES_MAX).contains(&text.len()) && text.chars().all(allowed) {
            return Ok(Self(text.into()));
        }
        Err(ActorError(text.chars().take(ACTOR_BYTES_MAX).collect()))
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// An order, who gave it, and the reason they gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// What to do.
    pub order: Order,
    /// Who says so.
    pub by: Actor,
    /// Why, in their words.
    pub because: Option<String>,
}

/// What an operator can order. Without a tier: all tiers with an open rollout; to close and to open,
/// all tiers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case", deny_unknown_fields)]
pub enum Order {
    /// Take a version as the one that serves, since the app was changed behind Weir's back.
    Adopt {
        /// Where.
        tier: TierName,
        /// Which.
        version: Version,
    },
    /// Raise the weight without waiting for a proof.
    Advance {
        /// Where.
        #[serde(default)]
        tier: Option<TierName>,
        /// To this weight; none: to the next stage.
        #[serde(default)]
        to: Option<Weight>,
    },
    /// Have requests wait, or let them go on.
    Hold {
        /// Where.
        #[serde(default)]
        tier: Option<TierName>,
        /// Whether they wait.
        on: bool,
        /// For how long; none: until it is ordered off.
        #[serde(default, rename = "for", with = "crate::time::as_millis_or_none")]
        lasts: Option<Duration>,
    },
    /// Answer all requests with 503 and a page, or serve them again.
    Maintenance {
        /// Where.
        #[serde(default)]
        tier: Option<TierName>,
        /// Whether they are answered so.
        on: bool,
        /// For how long; none: until it is ordered off.
        #[serde(default, rename = "for", with = "crate::time::as_millis_or_none")]
        lasts: Option<Duration>,
        /// What users are told.
        #[serde(default)]
        message: Option<String>,
        /// Close connections that are open beyond their request, over the drain time.
        #[serde(default)]
        close: bool,
    },
    /// Say yes to the question of a step.
    Approve {
        /// Which; none: the one that waits.
        #[serde(default)]
        step: Option<StepName>,
    },
    /// Stop progress; the guard goes on.
    Pause {
        /// Where.
        #[serde(default)]
        tier: Option<TierName>,
    },
    /// Give the canary to everybody.
    Promote {
        /// Where.
        #[serde(default)]
        tier: Option<TierName>,
    },
    /// End a pause.
    Resume {
        /// Where.
        #[serde(default)]
        tier: Option<TierName>,
    },
    /// Take everybody back.
    Rollback {
        /// Where.
        #[serde(default)]
        tier: Option<TierName>,
        /// Close upgraded connections at once.
        #[serde(default)]
        now: bool,
        /// Users of an open rollout go back in steps over this time, in milliseconds; less than a
        /// second: at once; none: as the file says.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "millis")]
        over: Option<Duration>,
        /// Also past the point of no return.
        #[serde(default)]
        past_no_return: bool,
    },
    /// Do a step again that failed, or during which Weir was interrupted.
    RetryStep {
        /// Which; none: the one that waits.
        #[serde(default)]
        step: Option<StepName>,
    },
    /// Take a step as done.
    SkipStep {
        /// Which; none: the one that waits.
        #[serde(default)]
        step: Option<StepName>,
    },
    /// Open a rollout.
    Start {
        /// Where; none: every tier that has the release.
        #[serde(default)]
        tier: Option<TierName>,
        /// Which version; none: the one that was never tried.
        #[serde(default)]
        version: Option<Version>,
        /// Where it runs, for a release that the file does not list.
        #[serde(default)]
        upstreams: Vec<Address>,
        /// Try a version again that was rolled back.
        #[serde(default)]
        again: bool,
    },
}

/// A span that may be missing, in milliseconds.
mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::ref_option, reason = "as serde wants it")]
    pub(super) fn serialize<S: Serializer>(
        span: &Option<Duration>,
        out: S,
    ) -> Result<S::Ok, S::Error> {
        span.map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX)).serialize(out)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        input: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(input)?.map(Duration::from_millis))
    }
}

/// Why an order was not carried out, and the way out.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Refusal {
    /// `start --upstream` with the address of another release.
    #[error("{tier}: {address} is where {of} runs; two versions cannot share an address")]
    AddressTaken {
        /// Where.
        tier: TierName,
        /// What was named.
        address: Address,
        /// Whose it is.
        of: Version,
    },
    /// `adopt` while a rollout is open.
    #[error(
        "{tier}: a rollout of {release} is open; `weir rollback {tier}` or `weir promote {tier}` first"
    )]
    AdoptWhileOpen {
        /// Where.
        tier: TierName,
        /// The canary.
        release: Version,
    },
    /// A raise while users go back in steps.
    #[error(
        "{tier}: the users of {release} are going back; wait until they are (`weir wait {tier}`), \
         then `weir start {tier} {release} --again`"
    )]
    GoingBack {
        /// Where.
        tier: TierName,
        /// The canary.
        release: Version,
    },
    /// `start --upstream` of a tier whose instances are moved.
    #[error(
        "{tier}: its instances take every version where they are, and {address} is not needed; leave \
         --upstream out"
    )]
    Instances {
        /// Where.
        tier: TierName,
        /// What was named.
        address: Address,
    },
    /// `advance --to`, or `promote` before all instances but the last have the new version.
    #[error(
        "{tier}: its weight follows from how many of its instances were moved; `weir advance` moves \
         the next one without a proof"
    )]
    ByInstances {
        /// Where.
        tier: TierName,
    },
    /// `advance` where an instance must stay in the traffic.
    #[error("{tier}: {instance} is not taken out of the traffic, the rollout waits for {wait}")]
    StaysIn {
        /// Where.
        tier: TierName,
        /// Which.
        instance: String,
        /// What comes first.
        wait: String,
    },
    /// A file without an instance that is moved.
    #[error(
        "{tier}: the file has no instance {instance}, which the open rollout moves; put it back, or \
         rename and remove instances while no rollout is open"
    )]
    InstanceLost {
        /// Where.
        tier: TierName,
        /// Which.
        instance: String,
    },
    /// `rollback` to a version that no instance has any more.
    #[error(
        "{tier}: no instance has {version} any more; `weir start {tier} {version} --again` moves them \
         there one at a time, users with them"
    )]
    NoInstance {
        /// Where.
        tier: TierName,
        /// The version before.
        version: Version,
    },
    /// `start` while a rollout is open.
    #[error(
        "{tier}: a rollout of {release} is open already (rollout {rollout}); end it with \
         `weir promote {tier}` or `weir rollback {tier}`"
    )]
    AlreadyOpen {
        /// Where.
        tier: TierName,
        /// The canary.
        release: Version,
        /// Its number.
        rollout: RolloutId,
    },
    /// `start` of the version that serves.
    #[error(
        "{tier}: {version} is what everybody has already; name another version of the file: {available}"
    )]
    AlreadyStable {
        /// Where.
        tier: TierName,
        /// The version.
        version: Version,
        /// What could be started.
        available: String,
    },
    /// `start` without a version where several could be meant.
    #[error("{tier}: which version? never tried so far: {candidates}; `weir start {tier} VERSION`")]
    Ambiguous {
        /// Where.
        tier: TierName,
        /// What could be meant.
        candidates: String,
    },
    /// `hold on` of a tier in maintenance.
    #[error(
        "{tier}: it is in maintenance, and a hold would end that; `weir maintenance off {tier}` first"
    )]
    InMaintenance {
        /// Where.
        tier: TierName,
    },
    /// `advance --to` less than the first stage of a tier that nobody has the new version in yet.
    #[error(
        "{tier}: it begins at its first stage, {first}; `weir advance` gives it that, less needs a \
         stage of its own in `stages`"
    )]
    BelowFirstStage {
        /// Where.
        tier: TierName,
        /// The weight of the stage.
        first: Weight,
    },
    /// `start` where the last hop of the chain is reached.
    #[error(
        "the chain is climbed: {last} is its last hop; add the next to `hops`, or name a version"
    )]
    ChainClimbed {
        /// The last hop.
        last: Version,
    },
    /// `start` of a hop that is not the next.
    #[error(
        "{version} is not the next hop: {next} comes first, and none is left out; `weir start`"
    )]
    HopLeftOut {
        /// What was asked for.
        version: Version,
        /// The next hop.
        next: Version,
    },
    /// `advance` behind the last stage.
    #[error(
        "{tier}: {weight} is the last stage; `weir promote {tier}` gives {release} to everybody"
    )]
    LastStage {
        /// Where.
        tier: TierName,
        /// The weight.
        weight: Weight,
        /// The canary.
        release: Version,
    },
    /// The file has no line for a release in use.
    #[error(
        "{tier}: the file has no line for {version}, which is in use; it serves at the addresses \
         last known, and nothing is raised until its line is back (then `weir reload`)"
    )]
    LineMissing {
        /// Where.
        tier: TierName,
        /// The release.
        version: Version,
    },
    /// `advance --to` a weight that is not higher.
    #[error(
        "{tier}: the canary has {weight} already and `advance` only raises; to lower it use \
         `weir rollback {tier}`"
    )]
    NotHigher {
        /// Where.
        tier: TierName,
        /// The weight now.
        weight: Weight,
    },
    /// `start --upstream` of a version that the file lists elsewhere.
    #[error(
        "{tier}: the file lists {version} at {listed}; leave --upstream out, or give the build that \
         runs elsewhere a version of its own"
    )]
    ListedElsewhere {
        /// Where.
        tier: TierName,
        /// The version.
        version: Version,
        /// Its addresses in the file.
        listed: String,
    },
    /// No rollout is open.
    #[error("{0}no rollout is open; `weir start` opens one, `weir status` shows who serves")]
    NoneOpen(String),
    /// Nobody to go back to.
    #[error(
        "{tier}: there is nobody to go back to: {stable} serves everybody and replaced no version \
         in a rollout of this journal"
    )]
    NobodyBefore {
        /// Where.
        tier: TierName,
        /// Who serves.
        stable: Version,
    },
    /// `start` without a version where none is left.
    #[error(
        "{tier}: every version was tried; give the new build a version of its own (a line in \
         `releases` and `weir reload`; without a file, `weir run` with --canary VERSION=ADDR), or \
         try one again: `weir start {tier} VERSION --again`"
    )]
    NothingNew {
        /// Where.
        tier: TierName,
    },
    /// `start --upstream` with an address of the program itself.
    #[error(
        "{tier}: {address} leads back to Weir, which listens on {own}; name where the app runs"
    )]
    OwnAddress {
        /// Where.
        tier: TierName,
        /// What was named.
        address: Address,
        /// Where Weir listens.
        own: Listen,
    },
    /// What was done in a rollout over tiers changed in the file.
    #[error(
        "the rollout over tiers has come to {what}, and the file changes that or what came before \
         it; only what is still to come can change while it is open"
    )]
    PassedItems {
        /// Where it stands.
        what: String,
    },
    /// Past the point of no return.
    #[error(
        "step {step} is done, which is the point of no return: {released} may have written what \
         the old version cannot read, and going back does not undo that step; `weir rollback \
         --past-no-return` takes everybody back all the same"
    )]
    PastNoReturn {
        /// The step.
        step: String,
        /// The new version.
        released: String,
    },
    /// Passed stages changed in the file.
    #[error(
        "{tier}: the stages up to {weight} are passed and cannot change while a rollout is open"
    )]
    PassedStages {
        /// Where.
        tier: TierName,
        /// The weight now.
        weight: Weight,
    },
    /// `maintenance on` or `hold on` for no time, or for too long.
    #[error(
        "a {} of {} is not possible; use 1 s to {}, or leave --for out and end it by order",
        purpose.name(), in_words(*lasts), in_words(*most)
    )]
    NotSoLong {
        /// What for.
        purpose: Purpose,
        /// What was asked for.
        lasts: Duration,
        /// The longest there is.
        most: Duration,
    },
    /// Not paused.
    #[error("{tier}: not paused")]
    NotPaused {
        /// Where.
        tier: TierName,
    },
    /// `rollback` to a version that left the file and whose address another one has now.
    #[error(
        "{tier}: there is nobody to go back to: {version} served before, but it left the file and \
         {address} is where {now_of} runs now"
    )]
    PlaceTaken {
        /// Where.
        tier: TierName,
        /// The version that served before.
        version: Version,
        /// Its address.
        address: Address,
        /// Who runs there now.
        now_of: Version,
    },
    /// `start` of a version that was rolled back before.
    #[error(
        "{tier}: {version} was rolled back before ({why}); `weir start {tier} {version} --again` tries it again"
    )]
    RolledBackBefore {
        /// Where.
        tier: TierName,
        /// The version.
        version: Version,
        /// What the journal says.
        why: String,
    },
    /// What keeps clients on their version changed in the file.
    #[error(
        "{tier}: the open rollout began with sticky = {was} and the file says {now}, which would \
         place everybody anew; it cannot change while a rollout is open"
    )]
    StickyChanged {
        /// Where.
        tier: TierName,
        /// What the rollout was opened with.
        was: String,
        /// What the file says.
        now: String,
    },
    /// A step stands between.
    #[error(
        "step {step} comes first; `weir status` says how it stands, `weir step skip {step}` takes it as \
         done"
    )]
    StepBetween {
        /// Which.
        step: StepName,
    },
    /// Something comes first.
    #[error("the jobs of {workers} are looked at first; `weir advance` goes on without")]
    JobsBetween {
        /// Whose.
        workers: TierName,
    },
    /// No step waits for this.
    #[error("no step waits for that; {now}")]
    StepNotWaiting {
        /// What it waits for.
        now: String,
    },
    /// A rollout over tiers is open.
    #[error(
        "rollout {id} over {tiers} is open; `weir status` shows how far it is, `weir rollback` takes \
         everybody back"
    )]
    UpgradeOpen {
        /// Its number.
        id: RolloutId,
        /// Its tiers.
        tiers: String,
    },
    /// The file names a moment that has passed.
    #[error(
        "the decision time of the file, {said}, has passed, and everybody would go back at once; \
         change `decide_by` and `weir reload`"
    )]
    DecisionPassed {
        /// That moment in the zone of the file.
        said: String,
    },
    /// `advance --to 100%`.
    #[error("{tier}: 100% is a promotion; use `weir promote {tier}`")]
    ToEverybody {
        /// Where.
        tier: TierName,
    },
    /// The journal was lost and nobody has confirmed who serves.
    #[error(
        "{tier}: the journal was lost ({what}), so nobody knows whether {stable} is right; confirm \
         with `weir adopt {tier} {stable}`"
    )]
    Unconfirmed {
        /// Where.
        tier: TierName,
        /// Who serves.
        stable: Version,
        /// What was wrong with the journal.
        what: String,
    },
    /// `start` of a version without a healthy upstream.
    #[error(
        "{tier}: no upstream of {version} is healthy; start it first, or wait for it with --wait 5m"
    )]
    Unhealthy {
        /// Where.
        tier: TierName,
        /// The version.
        version: Version,
    },
    /// No such tier.
    #[error("there is no tier {tier}; the file has: {known}")]
    UnknownTier {
        /// What was asked for.
        tier: TierName,
        /// What there is.
        known: String,
    },
    /// No such version.
    #[error(
        "{tier}: the file has no release {version}; it has: {known}; or name its address with --upstream ADDR"
    )]
    UnknownVersion {
        /// Where.
        tier: TierName,
        /// What was asked for.
        version: Version,
        /// What there is.
        known: String,
    },
    /// `start --upstream` without the tier where there are several.
    #[error("{address} belongs to which tier? `weir start TIER VERSION --upstream {address}`")]
    UpstreamWithoutTier {
        /// What was named.
        address: Address,
    },
    /// `start --upstream` without the version.
    #[error("{tier}: --upstream names where a release runs; name its version too")]
    UpstreamWithoutVersion {
        /// Where.
        tier: TierName,
    },
}
