//! Whether users come in: they do, they wait for a moment, or they are told to come again.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::matching::Network;
use super::tier::Preview;
use crate::time::Timestamp;

/// Whether the users of a tier come in now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// They do.
    #[default]
    Open,
    /// Their requests wait.
    Hold {
        /// When that ends by itself, if it does.
        until: Option<Timestamp>,
    },
    /// They are answered with 503.
    Maintenance {
        /// When that ends by itself, if it does.
        until: Option<Timestamp>,
        /// What they are told.
        message: Option<String>,
        /// Whether connections that are open beyond their request are closed.
        close: bool,
    },
}

impl Access {
    /// Whether they come in.
    pub const fn is_open(&self) -> bool {
        match self {
            Self::Open => true,
            Self::Hold { .. } | Self::Maintenance { .. } => false,
        }
    }

    /// Whether connections that are open beyond their request are closed.
    pub const fn closes(&self) -> bool {
        match self {
            Self::Maintenance { close, .. } => *close,
            Self::Hold { .. } | Self::Open => false,
        }
    }

    /// When it ends by itself, if it does.
    pub const fn until(&self) -> Option<Timestamp> {
        match self {
            Self::Open => None,
            Self::Hold { until } | Self::Maintenance { until, .. } => *until,
        }
    }
}

/// How users are kept out of a tier while it is closed, and who comes in even so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    /// The page they get, in HTML; none: Weir's own.
    pub page: Option<Arc<str>>,
    /// When they shall come again where no end is known.
    pub retry_after: Duration,
    /// Clients who come in even so.
    pub allow: Vec<Network>,
    /// The secret of those who come in even so; it is spelt as that of testers.
    pub bypass: Option<Preview>,
    /// How many may wait, and how they go on.
    pub hold: Holding,
}

/// How many requests may wait while a tier is held, and how they go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holding {
    /// Requests that wait at once, over all workers.
    pub requests: usize,
    /// Bytes that they take in memory, about.
    pub bytes: u64,
    /// How long one waits.
    pub wait: Duration,
    /// Requests that go on in a second once it is over, over all workers.
    pub pace: u32,
}

impl Default for Closing {
    fn default() -> Self {
        Self {
            page: None,
            retry_after: Duration::from_mins(1),
            allow: Vec::new(),
            bypass: None,
            hold: Holding::default(),
        }
    }
}

impl Default for Holding {
    fn default() -> Self {
        Self {
            // What a busy site is asked in a cut of 20 s.
            requests: 10_000,
            bytes: 64 << 20,
            // Most clients and balancers give up after 30 s or more.
            wait: Duration::from_secs(25),
            pace: 500,
        }
    }
}
