//! What can be checked of the world before a rollout goes on.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::url::Url;
use crate::time::{as_millis, in_words};
use crate::traffic::{Address, TierName, Version};

/// A check of the world; it changes nothing, so that it can be made at any time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// Every cache keeps the versions apart.
    Caches,
    /// The clocks of this machine and of the upstreams agree to within this span, by the `Date`
    /// of their answers.
    Clock {
        /// How far they may be apart; `Date` knows whole seconds.
        #[serde(with = "as_millis")]
        within: Duration,
    },
    /// A file system has room.
    Disk {
        /// A path on it.
        path: String,
        /// Bytes that must be free for an ordinary user.
        free: u64,
    },
    /// Versions are exact: never `latest` or its like, which mean another build tomorrow.
    Exact,
    /// A file is there, fresh and not empty.
    File {
        /// Its path; in its last part `*` stands for any text, and the newest that fits counts.
        path: String,
        /// How old it may be.
        #[serde(with = "as_millis")]
        max_age: Duration,
        /// Bytes it must have; at least 1.
        min_size: u64,
    },
    /// Every release has a healthy upstream.
    Healthy,
    /// Advances are allowed now: the `hours` of the rollout.
    Hours,
    /// Nothing that came through here is under way at an instance, which gets no more.
    Idle {
        /// Its tier.
        tier: TierName,
        /// What it is called.
        instance: String,
    },
    /// Something takes connections, or answers.
    Reachable(Reach),
    /// A tier, or each, has less traffic than this.
    Traffic {
        /// Which tier; none: each.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tier: Option<TierName>,
        /// Requests per second.
        below: u32,
    },
    /// Every upstream reports the version it is said to run.
    Version {
        /// Which tier; none: each.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tier: Option<TierName>,
        /// The path at which it is asked.
        path: String,
        /// What the answer has in it, with `{version}` where the version stands.
        pattern: String,
    },
    /// An instance passes the health checks of its tier, those since this is looked at.
    Well {
        /// Its tier.
        tier: TierName,
        /// What it is called.
        instance: String,
        /// The version that it is about to serve.
        version: Version,
    },
}

/// What must take connections, or answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// An answer of 200 to 299.
    Http(Url),
    /// A connection.
    Tcp(Address),
}

impl Check {
    /// Whether only the running program can make it: it asks for what the program has seen.
    pub const fn needs_program(&self) -> bool {
        match self {
            Self::Healthy
            | Self::Hours
            | Self::Idle { .. }
            | Self::Traffic { .. }
            | Self::Well { .. } => true,
            Self::Caches
            | Self::Clock { .. }
            | Self::Disk { .. }
            | Self::Exact
            | Self::File { .. }
            | Self::Reachable(_)
            | Self::Version { .. } => false,
        }
    }
}

/// Writes `10 GiB free on /var`, `that every release has a healthy upstream`.
impl fmt::Display for Check {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |tier: &Option<TierName>| {
            tier.as_ref().map_or_else(String::new, |tier| format!(" of {tier}"))
        };
        match self {
            Self::Caches => out.write_str("that caches keep the versions apart"),
            Self::Clock { within } => {
                write!(out, "that clocks agree to within {}", in_words(*within))
            }
            Self::Disk { path, free } => write!(out, "{} free on {path}", bytes(*free)),
            Self::Exact => out.write_str("that versions are exact"),
            Self::File { path, max_age, min_size } => {
                let (age, size) = (in_words(*max_age), bytes(*min_size));
                write!(out, "that {path} is at most {age} old and has at least {size}")
            }
            Self::Healthy => out.write_str("that every release has a healthy upstream"),
            Self::Hours => out.write_str("that it is an allowed hour"),
            Self::Idle { instance, .. } => {
                write!(out, "that nothing is under way at {instance}")
            }
            Self::Reachable(Reach::Http(url)) => write!(out, "that {url} answers"),
            Self::Reachable(Reach::Tcp(address)) => {
                write!(out, "that {address} takes connections")
            }
            Self::Traffic { tier, below } => {
                write!(out, "that the traffic{} is below {below} requests/s", of(tier))
            }
            Self::Version { tier, path, .. } => {
                write!(out, "the version that upstreams{} report at {path}", of(tier))
            }
            Self::Well { instance, version, .. } => {
                write!(out, "that {instance} is healthy with {version}")
            }
        }
    }
}

/// Bytes as people say them: `10 GiB`, `1.5 MiB`, `512 bytes`.
pub fn bytes(bytes: u64) -> String {
    let units = [("TiB", 1_u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let Some((unit, scale)) = units.into_iter().find(|(_, scale)| bytes >= *scale) else {
        return if bytes == 1 { "1 byte".to_owned() } else { format!("{bytes} bytes") };
    };
    let tenths = (bytes % scale).saturating_mul(10) / scale;
    let whole = bytes / scale;
    if tenths == 0 { format!("{whole} {unit}") } else { format!("{whole}.{tenths} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_says_what_it_looks_at() {
        let disk = Check::Disk { path: "/var".into(), free: 10 << 30 };
        assert_eq!(disk.to_string(), "10 GiB free on /var");
        let file = Check::File {
            path: "/backup/dump_*.sql".into(),
            max_age: Duration::from_hours(24),
            min_size: 1,
        };
        let said = "that /backup/dump_*.sql is at most 1 d old and has at least 1 byte";
        assert_eq!(file.to_string(), said);
        let json = serde_json::to_string(&file).unwrap();
        assert_eq!(serde_json::from_str::<Check>(&json).unwrap(), file, "{json}");
    }

    #[test]
    fn bytes_have_one_decimal_at_most() {
        let said = [(0, "0 bytes"), (1, "1 byte"), (1_536, "1.5 KiB"), (10 << 20, "10 MiB")];
        for (number, text) in said {
            assert_eq!(bytes(number), text);
        }
        assert!(bytes(u64::MAX).ends_with("TiB"));
    }
}
