//! What goes over the wire: the shapes of the answers, for the program, the command line and the
//! `OpenAPI` description alike.

mod evidence;
mod history;
mod log;
mod plan;
mod signal;
mod upgrade;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::tokens::Role;
use crate::analysis::Report;
use crate::control::{self, ClosedView, ReleaseView, RolloutView, TierView, UpstreamView, View};
use crate::hooks;
use crate::rollout::{Event, Fate, Outcome, Plan};
use crate::time::{Timestamp, Zone};
use crate::tls::Standing;
use crate::traffic::{TierName, Version, Weight};

pub use evidence::EvidenceStatus;
pub use history::{
    CacheHistory, EvidenceHistory, History, HistoryMark, HttpCacheHistory, JobsHistory,
    TierHistory, VersionHistory,
};
pub use log::{Log, LogRecord};
pub use plan::{LegStatus, Moment, PlanStatus, TargetStatus};
pub use signal::SignalStatus;
pub use upgrade::{HopStatus, ItemStatus, UpgradeStatus};

/// How things stand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// When, in milliseconds since 1970.
    #[schema(value_type = u64)]
    pub at: Timestamp,
    /// When the program started.
    #[schema(value_type = u64)]
    pub started: Timestamp,
    /// The version of Weir.
    pub weir: String,
    /// The time zone in which people say its times, if the file names one.
    #[serde(default)]
    pub zone: Option<String>,
    /// Whether verdicts are only written down.
    pub observe: bool,
    /// The journal's file; none: it is gone with the process.
    pub journal: Option<String>,
    /// What is wrong with the journal.
    pub journal_trouble: Option<String>,
    /// The open rollout over tiers.
    #[serde(default)]
    pub upgrade: Option<UpgradeStatus>,
    /// The versions of the chain, in order, and how it stands with each; empty: there is none.
    #[serde(default)]
    pub chain: Vec<HopStatus>,
    /// The tiers, in the order of the file.
    pub tiers: Vec<TierStatus>,
    /// The certificates that clients are shown, and those that are ordered.
    #[serde(default)]
    pub certificates: Vec<CertificateStatus>,
    /// Those who are told what happens.
    #[serde(default)]
    pub notifications: Vec<NotificationStatus>,
}

/// One who is told what happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NotificationStatus {
    /// Its name.
    pub name: String,
    /// `webhook`, `mail` or `alertmanager`.
    pub kind: String,
    /// Messages that arrived since the program started.
    pub sent: u64,
    /// Tries that failed.
    pub failed: u64,
    /// Events that were given up.
    pub dropped: u64,
    /// Events that wait to be told.
    pub waiting: u64,
    /// Why it is not reached; none: it is.
    pub trouble: Option<String>,
    /// Since when it is not.
    #[schema(value_type = Option<u64>)]
    pub since: Option<Timestamp>,
}

/// What came of a test message to one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NotificationTest {
    /// The target.
    pub name: String,
    /// Why it did not arrive; none: it did.
    pub trouble: Option<String>,
}

/// What came of test messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NotificationTests {
    /// By target, in the order of the file.
    pub targets: Vec<NotificationTest>,
}

/// A certificate of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CertificateStatus {
    /// The first name it is for.
    pub name: String,
    /// Whether an authority issues it by ACME; else it is of the file.
    pub acme: bool,
    /// Until when it is valid; none: there is none yet.
    #[schema(value_type = Option<u64>)]
    pub not_after: Option<Timestamp>,
    /// When the authority is asked again.
    #[schema(value_type = Option<u64>)]
    pub next: Option<Timestamp>,
    /// What an operator should know, a sentence; none: all is well.
    pub remark: Option<String>,
}

/// One tier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TierStatus {
    /// Its name.
    #[schema(value_type = String)]
    pub name: TierName,
    /// Where its clients come in.
    pub listen: String,
    /// Who serves.
    #[schema(value_type = String)]
    pub stable: Version,
    /// Since when.
    #[schema(value_type = u64)]
    pub since: Timestamp,
    /// Who brought that about.
    pub by: String,
    /// Whom `weir rollback` goes back to when no rollout is open.
    #[schema(value_type = Option<String>)]
    pub previous: Option<Version>,
    /// The canary's share in hundredths of a percent.
    #[schema(value_type = u16)]
    pub weight: Weight,
    /// The open rollout.
    pub rollout: Option<RolloutStatus>,
    /// The releases of the file and those in use.
    pub releases: Vec<ReleaseStatus>,
    /// Requests per second of stable over the last hour.
    pub rate: f64,
    /// Minutes of stable known for the calibration of the judge.
    pub calibration_minutes: usize,
    /// Share of the heaviest key among the requests, where it is known.
    pub key_share: Option<f64>,
    /// How it is closed to its users, if it is.
    #[serde(default)]
    pub closed: Option<ClosedView>,
    /// Where the file, the journal and what the proxy does differ: each a sentence.
    #[serde(default)]
    pub drift: Vec<String>,
    /// What is heard of it from outside, of each version in use.
    #[serde(default)]
    pub signals: Vec<SignalStatus>,
    /// Its instances; empty: each release has upstreams of its own.
    #[serde(default)]
    pub instances: Vec<control::InstanceView>,
    /// What an operator should know: each a sentence.
    pub remarks: Vec<String>,
}

/// An open rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RolloutStatus {
    /// Its number.
    pub id: u64,
    /// The canary.
    #[schema(value_type = String)]
    pub release: Version,
    /// Which try of this version.
    pub attempt: u32,
    /// The stages: weights in hundredths of a percent, bake in milliseconds.
    #[schema(value_type = Vec<StageShape>)]
    pub plan: Plan,
    /// The rung the weight stands on, counted from 1.
    pub rung: usize,
    /// When it was opened.
    #[schema(value_type = u64)]
    pub started: Timestamp,
    /// When this weight was reached.
    #[schema(value_type = u64)]
    pub entered: Timestamp,
    /// Whether progress is stopped by an order.
    pub paused: bool,
    /// What the judge knows, in numbers (docs/analysis.md).
    #[schema(value_type = Option<Object>)]
    pub report: Option<Report>,
    /// How far the evidence is on its way in both directions, with its meaning in words.
    #[serde(default)]
    pub evidence: Vec<EvidenceStatus>,
    /// The judge's report as text.
    pub explanation: String,
}

/// One rung of a plan.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what rollout::Stage writes")]
struct StageShape {
    /// The canary's share in hundredths of a percent.
    weight: u16,
    /// The least observed time at this weight, in milliseconds.
    bake: u64,
}

/// One release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReleaseStatus {
    /// Its version.
    #[schema(value_type = String)]
    pub version: Version,
    /// `stable`, `canary`, `previous`, `available`, or `gone` from the file with connections open.
    pub role: String,
    /// What became of its last rollout.
    #[schema(value_type = Option<FateShape>)]
    pub fate: Option<Fate>,
    /// Its upstreams.
    pub upstreams: Vec<UpstreamStatus>,
    /// Open upgraded connections (`WebSocket`s).
    pub upgraded_open: u64,
    /// Requests being served.
    pub in_flight: u64,
    /// Judged requests since the program started.
    pub requests: u64,
    /// Judged errors since the program started.
    pub errors: u64,
}

/// What became of a version.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what rollout::Fate writes")]
struct FateShape {
    /// `adopted`, `promoted`, `rolled_back` or `started`.
    outcome: String,
    /// When.
    at: u64,
    /// Why, in a few words.
    why: String,
    /// How often a rollout of it was opened.
    attempts: u32,
}

/// One upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UpstreamStatus {
    /// Where it listens.
    pub address: String,
    /// `unknown`, `healthy`, `unhealthy` or `ejected`.
    pub health: String,
    /// For how many seconds.
    pub since_seconds: u64,
    /// Its last error.
    pub error: Option<String>,
}

/// The judge's report of each tier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Explanations {
    /// The tiers asked for.
    pub tiers: Vec<Explanation>,
}

/// The judge's report of one tier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// The tier.
    #[schema(value_type = String)]
    pub tier: TierName,
    /// For people; without an open rollout, who serves.
    pub text: String,
    /// In numbers (docs/analysis.md).
    #[schema(value_type = Option<Object>)]
    pub report: Option<Report>,
}

/// Who is asking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Whoami {
    /// The token's name.
    pub name: String,
    /// What it allows.
    pub role: Role,
}

/// What came of an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Done {
    /// The sentences that the journal keeps; with no event, how things stand.
    pub sentences: Vec<String>,
    /// The events (docs/journal.md).
    #[schema(value_type = Vec<Object>)]
    pub events: Vec<Event>,
    /// Upgraded connections that are still open on a release that lost.
    pub connections_left: u64,
}

/// The caches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CachesStatus {
    /// Their ports, by cache and version.
    pub caches: Vec<CacheStatus>,
    /// What is kept of the answers of each version, by tier and version.
    #[serde(default)]
    pub http: Vec<HttpCacheStatus>,
}

/// What is kept of the answers of one version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HttpCacheStatus {
    /// The tier.
    #[schema(value_type = String)]
    pub tier: TierName,
    /// The release.
    #[schema(value_type = String)]
    pub version: Version,
    /// The name of its part.
    pub namespace: String,
    /// Answers that are kept.
    pub entries: u64,
    /// Bytes that they take.
    pub bytes: u64,
    /// Bytes that the answers of all versions of the tier may take.
    pub size: u64,
    /// Answers given from the cache, fresh.
    pub hits: u64,
    /// Answers given from the cache, stale.
    pub stale: u64,
    /// Answers given from one that just came for somebody else.
    pub collapsed: u64,
    /// Answers that were asked for again, and had not changed.
    pub revalidated: u64,
    /// Answers that were asked for, and are kept.
    pub misses: u64,
    /// Answers that pass by the cache.
    pub passed: u64,
    /// The share of answers that could be kept which the service was spared; none: nobody has asked.
    pub hit_ratio: Option<f64>,
}

/// Answers that were thrown away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Purged {
    /// How many there were.
    pub answers: u64,
}

/// The checks before a rollout, and what they found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PreflightStatus {
    /// Whether none failed.
    pub passed: bool,
    /// The checks and questions, in the order of the runbook.
    pub findings: Vec<Finding>,
}

/// One check before a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// Its name.
    pub name: String,
    /// What is looked at.
    pub what: String,
    /// How it looks.
    pub mark: Mark,
    /// What was found, what is wrong, or what is asked.
    pub why: String,
}

/// How a check looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// A person is asked when the rollout opens.
    Asked,
    /// It is not as it should be.
    Failed,
    /// It is as it should be.
    Passed,
    /// It cannot be said now.
    Unknown,
}

impl From<Vec<hooks::Finding>> for PreflightStatus {
    fn from(found: Vec<hooks::Finding>) -> Self {
        let finding = |found: hooks::Finding| Finding {
            name: found.name.to_string(),
            what: found.what,
            mark: match found.mark {
                hooks::Mark::Asked => Mark::Asked,
                hooks::Mark::Failed => Mark::Failed,
                hooks::Mark::Passed => Mark::Passed,
                hooks::Mark::Unknown => Mark::Unknown,
            },
            why: found.why,
        };
        let findings: Vec<Finding> = found.into_iter().map(finding).collect();
        let passed = findings.iter().all(|finding| finding.mark != Mark::Failed);
        Self { passed, findings }
    }
}

/// What one version has in a cache.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CacheStatus {
    /// The cache.
    pub cache: String,
    /// The release.
    #[schema(value_type = String)]
    pub version: Version,
    /// What stands before its keys; none: nothing does.
    pub namespace: Option<String>,
    /// How versions are kept apart: `prefix`, `instance` or `observe`.
    pub mode: String,
    /// Where Weir listens.
    pub listen: String,
    /// Connections of clients that are open.
    pub connections: u64,
    /// Commands since the program started.
    pub commands: u64,
    /// Values that were there.
    pub hits: u64,
    /// Values that were not.
    pub misses: u64,
    /// The share of values that were there; none: nobody has asked for one.
    pub hit_ratio: Option<f64>,
    /// The keys of the namespace.
    pub keys: Option<u64>,
    /// What they take in the server's memory, about: some are weighed.
    pub bytes: Option<u64>,
    /// Why keys and bytes are not known.
    pub trouble: Option<String>,
}

/// A namespace that was thrown away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Dropped {
    /// Its name.
    pub namespace: String,
    /// The keys that were deleted; none: the server does not tell.
    pub keys: Option<u64>,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Trouble {
    /// A sentence for people, with the way out.
    pub error: String,
    /// What sort of trouble it is.
    pub kind: Kind,
}

/// What sort of trouble it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// 400: the request cannot be understood.
    BadRequest,
    /// 400: the file that was to be reloaded is wrong; nothing changed.
    BadFile,
    /// 503: as many streams are open as may be.
    Busy,
    /// 403: the token is a viewer's, or a page elsewhere has sent it.
    Forbidden,
    /// 503: another process takes over just now; ask again in a moment.
    HandingOver,
    /// 503: the journal cannot be written, and what raises waits for it.
    Journal,
    /// 421: the Host header is none of ours.
    MisdirectedHost,
    /// 504: the journal's disk hangs; the order is carried out when it is back.
    NoAnswer,
    /// 404: no such thing.
    NotFound,
    /// 503: not ready to serve.
    NotReady,
    /// 409: not possible now.
    Refused,
    /// 503: the program is stopping.
    Stopping,
    /// 413: more than is read.
    TooLarge,
    /// 429: too many wrong tokens.
    TooMany,
    /// 401: no token, or a wrong one.
    Unauthorised,
}

impl Status {
    /// How things stand by `view`, with `certificates`.
    pub(super) fn of(view: &View, certificates: &[Standing]) -> Self {
        Self {
            at: view.at,
            started: view.started,
            weir: env!("CARGO_PKG_VERSION").into(),
            zone: view.zone.as_ref().map(Zone::to_string),
            observe: view.observe,
            journal: view.journal.clone(),
            journal_trouble: view.journal_trouble.clone(),
            upgrade: view.upgrade.as_ref().map(UpgradeStatus::from),
            chain: view.chain.iter().map(HopStatus::from).collect(),
            tiers: view.tiers.iter().map(TierStatus::from).collect(),
            certificates: certificates
                .iter()
                .map(|standing| CertificateStatus::of(standing, view.at))
                .collect(),
            notifications: Vec::new(),
        }
    }

    /// The tier of this name.
    pub fn tier(&self, name: &str) -> Option<&TierStatus> {
        self.tiers.iter().find(|tier| tier.name.as_str() == name)
    }
}

impl CertificateStatus {
    fn of(standing: &Standing, now: Timestamp) -> Self {
        Self {
            name: standing.name.clone(),
            acme: standing.acme,
            not_after: standing.not_after,
            next: standing.next,
            remark: standing.remark(now),
        }
    }
}

impl From<&TierView> for TierStatus {
    fn from(view: &TierView) -> Self {
        Self {
            name: view.name.clone(),
            listen: view.listen.clone(),
            stable: view.stable.clone(),
            since: view.since,
            by: view.by.clone(),
            previous: view.previous.clone(),
            weight: view.weight,
            rollout: view.rollout.as_ref().map(RolloutStatus::from),
            releases: view.releases.iter().map(ReleaseStatus::from).collect(),
            rate: view.rate,
            calibration_minutes: view.calibration_minutes,
            key_share: view.key_share,
            closed: view.closed.clone(),
            drift: view.drift.clone(),
            instances: view.instances.clone(),
            signals: view.signals.iter().map(SignalStatus::from).collect(),
            remarks: view.remarks.clone(),
        }
    }
}

impl TierStatus {
    /// The release of this version.
    pub fn release(&self, version: &Version) -> Option<&ReleaseStatus> {
        self.releases.iter().find(|release| release.version == *version)
    }
}

impl From<&RolloutView> for RolloutStatus {
    fn from(view: &RolloutView) -> Self {
        Self {
            id: view.id,
            release: view.release.clone(),
            attempt: view.attempt,
            plan: view.plan.clone(),
            rung: view.rung,
            started: view.started,
            entered: view.entered,
            paused: view.paused,
            report: view.report.clone(),
            evidence: view.report.as_ref().map(EvidenceStatus::of).unwrap_or_default(),
            explanation: view.explanation.clone(),
        }
    }
}

impl From<&ReleaseView> for ReleaseStatus {
    fn from(view: &ReleaseView) -> Self {
        Self {
            version: view.version.clone(),
            role: view.role.into(),
            fate: view.fate.clone(),
            upstreams: view.upstreams.iter().map(UpstreamStatus::from).collect(),
            upgraded_open: view.upgraded_open,
            in_flight: view.in_flight,
            requests: view.requests,
            errors: view.errors,
        }
    }
}

impl ReleaseStatus {
    /// Whether its last rollout ended by a roll back.
    pub fn was_rolled_back(&self) -> bool {
        self.fate.as_ref().is_some_and(|fate| fate.outcome == Outcome::RolledBack)
    }
}

impl From<&UpstreamView> for UpstreamStatus {
    fn from(view: &UpstreamView) -> Self {
        Self {
            address: view.address.clone(),
            health: view.health.into(),
            since_seconds: view.since_seconds,
            error: view.error.clone(),
        }
    }
}

impl From<control::Answer> for Done {
    fn from(answer: control::Answer) -> Self {
        Self {
            sentences: answer.sentences,
            events: answer.events.iter().map(Event::without_secret).collect(),
            connections_left: answer.connections_left,
        }
    }
}
