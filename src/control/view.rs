//! The published snapshot: all that anybody outside the control wing may know.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::analysis::Report;
use crate::clock;
use crate::hooks::{InstanceScene, Scene, UpstreamScene};
use crate::journal::Record;
use crate::rollout::{Fate, Plan, Purpose, RolloutId};
use crate::time::{Timestamp, Zone};
use crate::traffic::{TierName, Version, Weight};

/// When a tier in which nobody has asked for anything is known to be quiet: by then a whole minute has
/// been counted.
const RATE_KNOWN_AFTER: Duration = Duration::from_mins(2);

/// Everything, at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct View {
    /// When it was taken.
    pub at: Timestamp,
    /// When the program started.
    pub started: Timestamp,
    /// In which people say its times, if the file names one.
    pub zone: Option<Zone>,
    /// Whether verdicts are only written down.
    pub observe: bool,
    /// The journal's file; none: it is gone with the process.
    pub journal: Option<String>,
    /// What is wrong with the journal.
    pub journal_trouble: Option<String>,
    /// The open rollout over tiers.
    pub upgrade: Option<UpgradeView>,
    /// The versions of the chain, in order, each with how it stands with it; empty: there is none.
    pub chain: Vec<(Version, Hop)>,
    /// The tiers, in the order of the file.
    pub tiers: Vec<TierView>,
    /// The tiers of workers whose jobs are judged, in the order of the file.
    pub crews: Vec<CrewView>,
    /// The journal, oldest first: at most `RECORDS_SHOWN` of the newest.
    pub records: Arc<Vec<Record>>,
}

/// How it stands with a version of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Hop {
    /// Every tier of the chain has it, or a later one.
    Done,
    /// Another one comes first.
    Later,
    /// It is the next.
    Next,
    /// A rollout brings it.
    Now,
}

/// The open rollout over tiers at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct UpgradeView {
    /// Its number.
    pub id: RolloutId,
    /// What the file calls it.
    pub name: Option<String>,
    /// What is done, in order.
    pub items: Vec<ItemView>,
    /// How many of them are done.
    pub done: usize,
    /// What it waits for; none: it goes on at once.
    pub waits_for: Option<String>,
    /// Whether a person must say or do something before it goes on.
    pub needs_person: bool,
    /// Whether it goes back.
    pub goes_back: bool,
    /// When it was opened.
    pub started: Timestamp,
    /// When it came to the item it is at.
    pub entered: Timestamp,
    /// When it must be decided, and that moment in the zone of the file.
    pub decide_by: Option<(Timestamp, String)>,
    /// The last lines of the step that runs.
    pub output: Vec<String>,
}

/// One thing of a rollout over tiers.
#[derive(Clone, Debug, Serialize)]
pub struct ItemView {
    /// What it is: `stage`, `everybody`, `step`, `trial` (workers whose jobs are looked at), `shift` (an
    /// instance taken out or in) or `home` (everybody goes back in a tier).
    pub kind: &'static str,
    /// It in a line.
    pub text: String,
    /// The tiers that it raises.
    pub tiers: Vec<TierName>,
    /// To which weight.
    pub weight: Option<Weight>,
    /// How long it lasts at least, in seconds.
    pub bake_seconds: Option<u64>,
}

/// A tier of workers whose jobs are judged, at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct CrewView {
    /// Its name.
    pub name: TierName,
    /// What is known of their jobs; none: no instance is on trial.
    pub report: Option<Report>,
    /// The same as text (`weir explain`).
    pub explanation: String,
}

/// One tier at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct TierView {
    /// Its name.
    pub name: TierName,
    /// Where its clients come in.
    pub listen: String,
    /// Who serves.
    pub stable: Version,
    /// Since when, for everybody without a place on the canary.
    pub since: Timestamp,
    /// Who brought that about.
    pub by: String,
    /// Whom `weir rollback` goes back to when no rollout is open.
    pub previous: Option<Version>,
    /// The canary's share.
    pub weight: Weight,
    /// The open rollout.
    pub rollout: Option<RolloutView>,
    /// The releases of the file and those in use.
    pub releases: Vec<ReleaseView>,
    /// Requests per second of stable over the last hour.
    pub rate: f64,
    /// Minutes of stable known for the calibration of the judge.
    pub calibration_minutes: usize,
    /// Share of the heaviest key among the requests, where it is known.
    pub key_share: Option<f64>,
    /// How it is closed to its users, if it is.
    pub closed: Option<ClosedView>,
    /// Where the file, the journal and what the proxy does differ: each a sentence.
    pub drift: Vec<String>,
    /// Its instances, in the order in which they are moved; empty: each release has upstreams of its
    /// own.
    pub instances: Vec<InstanceView>,
    /// What is heard of it from outside, of each version in use.
    pub signals: Vec<SignalView>,
    /// What an operator should know: each a sentence.
    pub remarks: Vec<String>,
}

/// How a tier is closed to its users.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClosedView {
    /// `maintenance`: requests are answered with 503; `hold`: they wait.
    #[schema(value_type = String)]
    pub purpose: Purpose,
    /// Since when.
    #[schema(value_type = u64)]
    pub since: Timestamp,
    /// Who ordered it last.
    pub by: String,
    /// When it ends by itself; none: by an order alone.
    #[schema(value_type = Option<u64>)]
    pub until: Option<Timestamp>,
    /// What users are told.
    pub message: Option<String>,
    /// Whether connections that are open beyond their request are closed.
    pub close: bool,
    /// Requests that wait now.
    pub waiting: u64,
    /// Requests answered with 503 since, in maintenance.
    pub answered: u64,
    /// Requests that waited and went on since.
    pub waited: u64,
    /// Requests answered with 503 since, because they could not wait, or not so long.
    pub refused: u64,
}

/// One signal of one version at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct SignalView {
    /// The signal.
    pub name: String,
    /// The version.
    pub version: Version,
    /// Events that were counted since the version came into use, or since the program started.
    pub total: u64,
    /// The bad ones among them.
    pub bad: u64,
    /// The last number, of a signal with a limit.
    pub number: Option<f64>,
    /// Why nothing is known, if so: the rollout holds.
    pub blind: Option<String>,
}

/// An open rollout at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct RolloutView {
    /// Its number.
    pub id: RolloutId,
    /// The canary.
    pub release: Version,
    /// Which try of this version.
    pub attempt: u32,
    /// The stages.
    pub plan: Plan,
    /// The rung the weight stands on, counted from 1.
    pub rung: usize,
    /// When it was opened.
    pub started: Timestamp,
    /// When this weight was reached.
    pub entered: Timestamp,
    /// Whether progress is stopped by an order.
    pub paused: bool,
    /// Whether the time for a proof is over, and it waits for a person.
    pub held: bool,
    /// What the judge knows.
    pub report: Option<Report>,
    /// The judge's report as text (`weir explain`).
    pub explanation: String,
}

/// One release at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct ReleaseView {
    /// Its version.
    pub version: Version,
    /// `stable`, `canary`, `previous`, `available`, or `gone` from the file with connections open.
    pub role: &'static str,
    /// What became of its last rollout.
    pub fate: Option<Fate>,
    /// Its upstreams.
    pub upstreams: Vec<UpstreamView>,
    /// Open upgraded connections (`WebSocket`s).
    pub upgraded_open: u64,
    /// Requests being served.
    pub in_flight: u64,
    /// Judged requests since the program started.
    pub requests: u64,
    /// Judged errors since the program started.
    pub errors: u64,
    /// Its place in the register of the metrics.
    #[serde(skip)]
    pub slot: usize,
}

/// One instance at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InstanceView {
    /// What it is called.
    pub name: String,
    /// Where it listens.
    pub address: String,
    /// The version whose requests it gets; none: it is being moved, and gets none.
    #[schema(value_type = Option<String>)]
    pub version: Option<Version>,
    /// `unknown`, `healthy`, `unhealthy` or `ejected`.
    pub health: String,
    /// What was last wrong with it.
    pub error: Option<String>,
    /// Connections to it that are open, and requests that wait for one.
    pub connections: usize,
}

/// One upstream at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct UpstreamView {
    /// Where it listens.
    pub address: String,
    /// `unknown`, `healthy`, `unhealthy` or `ejected`.
    pub health: &'static str,
    /// For how many seconds.
    pub since_seconds: u64,
    /// Its last error.
    pub error: Option<String>,
    /// Its place in the register of the metrics.
    #[serde(skip)]
    pub slot: usize,
}

impl InstanceView {
    fn scene(&self) -> InstanceScene {
        InstanceScene {
            name: self.name.clone(),
            connections: self.connections,
            is_healthy: self.health == "healthy",
            error: self.error.clone(),
        }
    }
}

impl ReleaseView {
    /// The instances that have it.
    fn scene(&self) -> Vec<UpstreamScene> {
        let upstream = |upstream: &UpstreamView| {
            let is_healthy = Some(upstream.health == "healthy");
            Some(UpstreamScene { address: upstream.address.parse().ok()?, is_healthy })
        };
        self.upstreams.iter().filter_map(upstream).collect()
    }
}

impl View {
    /// In which its times are said: the zone that the file names, else that of the machine.
    pub fn zone(&self) -> Zone {
        self.zone.clone().unwrap_or_else(clock::zone)
    }

    /// What the program knows for checks: `outline` of the file, and what was seen.
    pub fn scene(&self, outline: &Scene) -> Scene {
        let mut scene = Scene { is_live: true, ..outline.clone() };
        let up = self.at.since(self.started);
        for tier in &mut scene.tiers {
            let Some(seen) = self.tier(&tier.name) else { continue };
            tier.stable = seen.stable.clone();
            // Before a minute is over nothing is known; later nothing means that nobody came.
            let is_known = seen.calibration_minutes > 0 || up >= RATE_KNOWN_AFTER;
            tier.rate = is_known.then_some(seen.rate);
            tier.instances = seen.instances.iter().map(InstanceView::scene).collect();
            for release in &mut tier.releases {
                let seen = seen.releases.iter().find(|seen| seen.version == release.version);
                if !tier.instances.is_empty() {
                    release.upstreams = seen.map(ReleaseView::scene).unwrap_or_default();
                    continue;
                }
                for upstream in &mut release.upstreams {
                    let address = upstream.address.to_string();
                    let mut seen = seen.into_iter().flat_map(|seen| &seen.upstreams);
                    let seen = seen.find(|seen| seen.address == address);
                    upstream.is_healthy = seen.map(|seen| seen.health == "healthy");
                }
            }
        }
        scene
    }

    /// The tier `name`.
    pub fn tier(&self, name: &TierName) -> Option<&TierView> {
        self.tiers.iter().find(|tier| tier.name == *name)
    }
}
