//! When the turn of a step comes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::traffic::{TierName, Version, VersionError, Weight, WeightError};

/// When the turn of a step comes; written as the file has it, `after stage 25%`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum When {
    /// Once the hop of a chain has been won.
    AfterHop(Version),
    /// Once everybody has the new version in all tiers.
    AfterRollout,
    /// Once a stage has been passed, before the weight rises any more.
    AfterStage {
        /// Its weight.
        weight: Weight,
        /// In this tier; none: in every one that has such a stage.
        tier: Option<TierName>,
    },
    /// Once everybody has the new version in this tier.
    AfterTier(TierName),
    /// Before the hop of a chain begins.
    BeforeHop(Version),
    /// Before anybody gets the new version.
    BeforeRollout,
    /// Before anybody gets the new version in this tier.
    BeforeTier(TierName),
    /// While the instances of this tier of workers are moved: steps of Weir's own.
    InTier(TierName),
    /// After a rollback has taken everybody back.
    OnRollback,
}

/// Why a text says no moment.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum WhenError {
    /// No name of a tier.
    #[error("{0}")]
    Name(#[from] VersionError),
    /// No weight.
    #[error("{0}")]
    Weight(#[from] WeightError),
    /// Nothing of what is known.
    #[error(
        "{0:?} is no moment of a rollout; use \"before rollout\", \"after rollout\", \"before tier \
         web\", \"after tier web\", \"after stage 25%\", \"after stage 25% of web\", \"on rollback\", \
         \"before hop 3.0.1\" or \"after hop 3.0.1\""
    )]
    Unknown(String),
    /// A stage of 0 % or of everybody.
    #[error("there is no stage of {0}; after the last stage comes \"after tier\"")]
    NoStage(Weight),
}

impl When {
    fn after_stage(weight: &str, tier: Option<TierName>) -> Result<Self, WhenError> {
        match weight.parse()? {
            none @ (Weight::NONE | Weight::ALL) => Err(WhenError::NoStage(none)),
            weight => Ok(Self::AfterStage { weight, tier }),
        }
    }
}

impl FromStr for When {
    type Err = WhenError;

    fn from_str(text: &str) -> Result<Self, WhenError> {
        let words: Vec<&str> = text.split_whitespace().collect();
        match words.as_slice() {
            ["after", "hop", version] => Ok(Self::AfterHop(version.parse()?)),
            ["after", "rollout"] => Ok(Self::AfterRollout),
            ["after", "stage", weight] => Self::after_stage(weight, None),
            ["after", "stage", weight, "of", tier] => {
                Self::after_stage(weight, Some(tier.parse()?))
            }
            ["after", "tier", tier] => Ok(Self::AfterTier(tier.parse()?)),
            ["before", "hop", version] => Ok(Self::BeforeHop(version.parse()?)),
            ["before", "rollout"] => Ok(Self::BeforeRollout),
            ["before", "tier", tier] => Ok(Self::BeforeTier(tier.parse()?)),
            ["in", "tier", tier] => Ok(Self::InTier(tier.parse()?)),
            ["on", "rollback"] => Ok(Self::OnRollback),
            _ => Err(WhenError::Unknown(text.chars().take(60).collect())),
        }
    }
}

impl fmt::Display for When {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AfterHop(version) => write!(out, "after hop {version}"),
            Self::AfterRollout => out.write_str("after rollout"),
            Self::AfterStage { weight, tier: None } => write!(out, "after stage {weight}"),
            Self::AfterStage { weight, tier: Some(tier) } => {
                write!(out, "after stage {weight} of {tier}")
            }
            Self::AfterTier(tier) => write!(out, "after tier {tier}"),
            Self::BeforeHop(version) => write!(out, "before hop {version}"),
            Self::BeforeRollout => out.write_str("before rollout"),
            Self::BeforeTier(tier) => write!(out, "before tier {tier}"),
            Self::InTier(tier) => write!(out, "in tier {tier}"),
            Self::OnRollback => out.write_str("on rollback"),
        }
    }
}

impl TryFrom<String> for When {
    type Error = WhenError;

    fn try_from(text: String) -> Result<Self, WhenError> {
        text.parse()
    }
}

impl From<When> for String {
    fn from(when: When) -> Self {
        when.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_moment_is_written_as_it_is_read() {
        for text in [
            "after hop 3.0.1",
            "after rollout",
            "after stage 25%",
            "after stage 25% of web",
            "after tier web",
            "before hop v3.0.1-rc1",
            "before rollout",
            "before tier web",
            "in tier worker",
            "on rollback",
        ] {
            assert_eq!(text.parse::<When>().unwrap().to_string(), text);
        }
        assert_eq!("  before   tier web ".parse::<When>().unwrap().to_string(), "before tier web");
    }

    #[test]
    fn what_is_no_moment_is_refused_with_those_there_are() {
        let error = |text: &str| text.parse::<When>().unwrap_err().to_string();
        for unknown in [
            "",
            "before",
            "before tier",
            "during rollout",
            "after tier web api",
            "after stage 5% in web",
        ] {
            assert!(error(unknown).contains("use \"before rollout\""), "{unknown}");
        }
        assert!(error("before tier w/b").contains("tier name"));
        assert!(error("after stage 25").contains("percentage"));
        assert!(error("after stage 25% of w/b").contains("tier name"));
        assert!(error("after stage 100%").contains("no stage of 100%"));
    }
}
