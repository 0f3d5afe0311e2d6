//! The open rollout over tiers, as the API shows it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::control::{Hop, ItemView, UpgradeView};
use crate::time::Timestamp;
use crate::traffic::{TierName, Version, Weight};

/// The open rollout over tiers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UpgradeStatus {
    /// Its number.
    pub id: u64,
    /// What the file calls it.
    pub name: Option<String>,
    /// What is done, in order.
    pub items: Vec<ItemStatus>,
    /// How many of them are done.
    pub done: usize,
    /// What it waits for; none: it goes on at once.
    pub waits_for: Option<String>,
    /// Whether a person must say or do something before it goes on.
    pub needs_person: bool,
    /// Whether it goes back.
    pub goes_back: bool,
    /// When it was opened.
    #[schema(value_type = u64)]
    pub started: Timestamp,
    /// When it came to the item it is at.
    #[schema(value_type = u64)]
    pub entered: Timestamp,
    /// When it must be decided.
    #[schema(value_type = Option<u64>)]
    pub decide_by: Option<Timestamp>,
    /// That moment in the zone of the file.
    pub decide_by_said: Option<String>,
    /// The last lines of the step that runs.
    pub output: Vec<String>,
}

/// One thing of a rollout over tiers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ItemStatus {
    /// What it is: `stage`, `everybody`, `step` or `trial`: of workers, whose jobs are looked at.
    pub kind: String,
    /// It in a line.
    pub text: String,
    /// The tiers that it raises.
    #[schema(value_type = Vec<String>)]
    pub tiers: Vec<TierName>,
    /// To which weight, in basis points.
    pub weight: Option<u16>,
    /// How long it lasts at least.
    pub bake_seconds: Option<u64>,
}

/// A version of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HopStatus {
    /// The version.
    #[schema(value_type = String)]
    pub version: Version,
    /// How it stands with it.
    pub standing: Hop,
}

impl From<&(Version, Hop)> for HopStatus {
    fn from((version, standing): &(Version, Hop)) -> Self {
        Self { version: version.clone(), standing: *standing }
    }
}

impl From<&UpgradeView> for UpgradeStatus {
    fn from(view: &UpgradeView) -> Self {
        let item = |item: &ItemView| ItemStatus {
            kind: item.kind.to_owned(),
            text: item.text.clone(),
            tiers: item.tiers.clone(),
            weight: item.weight.map(Weight::points),
            bake_seconds: item.bake_seconds,
        };
        let (decide_by, decide_by_said) = view.decide_by.clone().unzip();
        Self {
            id: view.id,
            name: view.name.clone(),
            items: view.items.iter().map(item).collect(),
            done: view.done,
            waits_for: view.waits_for.clone(),
            needs_person: view.needs_person,
            goes_back: view.goes_back,
            started: view.started,
            entered: view.entered,
            decide_by,
            decide_by_said,
            output: view.output.clone(),
        }
    }
}
