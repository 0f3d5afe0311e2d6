//! What is heard of a version from outside, as the API shows it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::control::SignalView;
use crate::traffic::Version;

/// One signal of one version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SignalStatus {
    /// The signal.
    pub name: String,
    /// The version.
    #[schema(value_type = String)]
    pub version: Version,
    /// Events that were counted since the version came into use, or since the program started.
    pub total: u64,
    /// The bad ones among them.
    pub bad: u64,
    /// The last number, of a signal with a limit.
    pub number: Option<f64>,
    /// Why nothing is known, if so: an open rollout holds.
    pub blind: Option<String>,
}

impl From<&SignalView> for SignalStatus {
    fn from(view: &SignalView) -> Self {
        Self {
            name: view.name.clone(),
            version: view.version.clone(),
            total: view.total,
            bad: view.bad,
            number: view.number,
            blind: view.blind.clone(),
        }
    }
}
