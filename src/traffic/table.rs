//! The routing answer: all that the proxy needs to place a request. Immutable, published whole.

use std::sync::Arc;
use std::time::Duration;

use super::access::Access;
use super::generation::Generations;
use super::tier::{Release, Tier, Version};
use super::weight::{Bucket, Salt, Track, Weight};
use crate::time::Timestamp;

/// All tiers as they are served now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// The tiers, in the order of the file.
    pub tiers: Vec<TableTier>,
    /// Which beginning the part of each release in each cache is.
    pub generations: Generations,
}

/// One tier as it is served now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableTier {
    /// What the file says of it.
    pub tier: Arc<Tier>,
    /// The canary's share; `Weight::NONE` without an open rollout.
    pub weight: Weight,
    /// The secret of the open rollout (or of the last one, for the keys of new clients).
    pub salt: Salt,
    /// The release that serves.
    pub stable: Arc<Release>,
    /// The release of the open rollout.
    pub canary: Option<Arc<Release>>,
    /// The release that an instance is about to join, with that instance alone: its health is
    /// asked, and it gets no requests.
    pub joining: Option<Arc<Release>>,
    /// Whether its upstreams move from release to release.
    pub moves: bool,
    /// Further releases, which can be reached by preview and are asked for their health.
    pub others: Vec<Arc<Release>>,
    /// The rollout whose canary is to be warmed; its weight is none meanwhile.
    pub warming: Option<u64>,
    /// Over how long upgraded connections on a release that is neither stable nor canary any
    /// more are closed; zero closes them at once.
    pub close_over: Duration,
    /// Whether outcomes are judged now: a rollout is open, so that hanging requests and the
    /// errors of one key are looked after.
    pub judged: bool,
    /// Whether users come in.
    pub access: Access,
    /// The release that lost at the last promotion or roll back.
    pub left: Option<Left>,
}

/// A release that was left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Its version.
    pub version: Version,
    /// Whether it was replaced by a better one, so that everybody may go back to it.
    pub replaced: bool,
    /// How long it counts as left just now.
    pub until: Timestamp,
}

impl TableTier {
    /// The track of the client of `bucket`.
    pub fn track(&self, bucket: Bucket) -> Track {
        if self.canary.is_some() { self.weight.track(bucket) } else { Track::Stable }
    }

    /// The release that serves `track`; stable where there is no canary.
    pub fn release(&self, track: Track) -> &Arc<Release> {
        match (track, &self.canary) {
            (Track::Canary, Some(canary)) => canary,
            (Track::Canary, None) | (Track::Stable, _) => &self.stable,
        }
    }

    /// Every release of the tier, stable first.
    pub fn releases(&self) -> impl Iterator<Item = &Arc<Release>> {
        std::iter::once(&self.stable).chain(&self.canary).chain(&self.others)
    }

    /// The release of `version`, for a tester who asks for it.
    pub fn version(&self, version: &Version) -> Option<&Arc<Release>> {
        self.releases().find(|release| release.version == *version)
    }
}
