//! What is heard from outside of each version: sources write it, the control wing reads it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use metrics::{counter, describe_counter, describe_gauge, gauge};

use crate::analysis::Tally;
use crate::traffic::{TierName, Version};

/// Bytes kept of a sentence about trouble: sources may be verbose.
const TROUBLE_BYTES_MAX: usize = 300;

/// A version somebody wants to hear of, and where it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The version.
    pub version: Version,
    /// Addresses of its upstreams, or names of its instances.
    pub places: Vec<String>,
}

/// What one signal says of one version.
#[derive(Clone, Debug, PartialEq)]
pub struct SignalEntry {
    /// Of which tier.
    pub tier: TierName,
    /// The signal's name.
    pub signal: String,
    /// Of which version, and where that runs.
    pub wanted: Wanted,
    /// After this long without a word it is blind.
    pub silent_after: Duration,
    /// What was counted since somebody wanted to know; it only rises.
    pub tally: Tally,
    /// The last number.
    pub number: Option<f64>,
    /// How many numbers there were.
    pub samples: u64,
    /// How often the source was in trouble.
    pub troubles: u64,
    /// The last trouble since something was heard.
    pub trouble: Option<String>,
    /// When something was heard last.
    pub heard: Option<Instant>,
    /// Since when somebody wants to know.
    pub since: Instant,
}

impl SignalEntry {
    /// Why nothing is known at `now`, if nothing was heard for `silent_after`.
    pub fn silence(&self, now: Instant) -> Option<String> {
        let quiet = now.saturating_duration_since(self.heard.unwrap_or(self.since)).as_secs();
        let is_fresh = self
            .heard
            .is_some_and(|heard| now.saturating_duration_since(heard) <= self.silent_after);
        match &self.trouble {
            _ if is_fresh => None,
            Some(trouble) => Some(trouble.clone()),
            None if self.heard.is_none() => Some(format!("nothing was heard yet, for {quiet} s")),
            None => Some(format!("nothing was heard for {quiet} s")),
        }
    }
}

/// What became of what came in by statsd.
#[derive(Debug, Default)]
pub struct StatsdCounts {
    /// Lines that no signal asks for, or of a version that is not wanted.
    pub ignored: AtomicU64,
    /// Lines that are no statsd.
    pub malformed: AtomicU64,
    /// Lines that were taken.
    pub taken: AtomicU64,
    /// Connections that were closed at once because there were too many.
    pub refused: AtomicU64,
}

/// Everything that is wanted and heard. Who reads says first what it wants; what nobody wants is
/// not kept, so nothing from outside can make it grow.
#[derive(Debug, Default)]
pub struct SignalLedger {
    entries: Mutex<Vec<SignalEntry>>,
    statsd: StatsdCounts,
}

impl SignalLedger {
    /// Of `tier` these `signals`, each with the time after which it is blind, are wanted of these
    /// `versions`, and no others. What is known of them stays.
    pub fn want(&self, tier: &TierName, signals: &[(&str, Duration)], versions: &[Wanted]) {
        self.with(|entries| {
            entries.retain(|entry| {
                entry.tier != *tier
                    || signals.iter().any(|(name, _)| *name == entry.signal)
                        && versions.iter().any(|v| v.version == entry.wanted.version)
            });
            for (signal, silent_after) in signals {
                for wanted in versions {
                    let same = |entry: &&mut SignalEntry| {
                        entry.is(tier, signal) && entry.wanted.version == wanted.version
                    };
                    match entries.iter_mut().find(same) {
                        Some(entry) => {
                            entry.silent_after = *silent_after;
                            if entry.wanted != *wanted {
                                entry.wanted.places.clone_from(&wanted.places);
                            }
                        }
                        None => entries.push(SignalEntry {
                            tier: tier.clone(),
                            signal: (*signal).to_owned(),
                            wanted: wanted.clone(),
                            silent_after: *silent_after,
                            tally: Tally::default(),
                            number: None,
                            samples: 0,
                            troubles: 0,
                            trouble: None,
                            heard: None,
                            since: Instant::now(),
                        }),
                    }
                }
            }
        });
    }

    /// The versions that somebody wants to hear of by `signal`.
    pub fn wanted(&self, tier: &TierName, signal: &str) -> Vec<Wanted> {
        self.with(|entries| {
            let those = entries.iter().filter(|entry| entry.is(tier, signal));
            those.map(|entry| entry.wanted.clone()).collect()
        })
    }

    /// `more` was counted of `version`; nothing may be, too: the source was heard.
    pub fn count(&self, tier: &TierName, signal: &str, version: &Version, more: Tally) {
        self.heard(tier, signal, version, |entry| {
            entry.tally.total = entry.tally.total.saturating_add(more.total);
            entry.tally.bad = entry.tally.bad.saturating_add(more.bad);
        });
    }

    /// The number of `version` is `value` now. What is no finite number is not heard.
    pub fn number(&self, tier: &TierName, signal: &str, version: &Version, value: f64) {
        if value.is_finite() {
            self.heard(tier, signal, version, |entry| {
                entry.number = Some(value);
                entry.samples += 1;
            });
        }
    }

    /// The source of `version` could not be asked, or what it said could not be understood.
    pub fn trouble(&self, tier: &TierName, signal: &str, version: &Version, why: &str) {
        let end = why.floor_char_boundary(TROUBLE_BYTES_MAX);
        self.of(tier, signal, version, |entry| {
            entry.troubles += 1;
            entry.trouble = Some(why[..end].to_owned());
        });
    }

    /// What is known of one version.
    pub fn entry(&self, tier: &TierName, signal: &str, version: &Version) -> Option<SignalEntry> {
        self.with(|entries| {
            let same = |e: &&SignalEntry| e.is(tier, signal) && e.wanted.version == *version;
            entries.iter().find(same).cloned()
        })
    }

    /// All that is known, by tier, signal and version.
    pub fn entries(&self) -> Vec<SignalEntry> {
        self.with(|entries| {
            entries.sort_by(|a, b| {
                let key = |e: &SignalEntry| {
                    (e.tier.clone(), e.signal.clone(), e.wanted.version.as_str().to_owned())
                };
                key(a).cmp(&key(b))
            });
            entries.clone()
        })
    }

    /// What came in by statsd.
    pub const fn statsd(&self) -> &StatsdCounts {
        &self.statsd
    }

    fn heard(
        &self,
        tier: &TierName,
        signal: &str,
        version: &Version,
        hear: impl Fn(&mut SignalEntry),
    ) {
        self.of(tier, signal, version, |entry| {
            entry.heard = Some(Instant::now());
            entry.trouble = None;
            hear(entry);
        });
    }

    fn of(&self, tier: &TierName, signal: &str, version: &Version, f: impl Fn(&mut SignalEntry)) {
        self.with(|entries| {
            let same = |e: &&mut SignalEntry| e.is(tier, signal) && e.wanted.version == *version;
            entries.iter_mut().filter(same).for_each(&f);
        });
    }

    fn with<T>(&self, f: impl FnOnce(&mut Vec<SignalEntry>) -> T) -> T {
        f(&mut self.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl SignalEntry {
    fn is(&self, tier: &TierName, signal: &str) -> bool {
        self.tier == *tier && self.signal == signal
    }
}

/// Writes what is heard.
pub(super) fn expose(ledger: &SignalLedger) {
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let StatsdCounts { ignored, malformed, taken, refused } = ledger.statsd();
    for (result, lines) in [("ignored", ignored), ("malformed", malformed), ("taken", taken)] {
        counter!("weir_statsd_lines_total", "result" => result).absolute(count(lines));
    }
    counter!("weir_statsd_refused_connections_total").absolute(count(refused));
    let now = Instant::now();
    for entry in ledger.entries() {
        let labels = [
            ("tier", entry.tier.to_string()),
            ("signal", entry.signal.clone()),
            ("version", entry.wanted.version.to_string()),
        ];
        counter!("weir_signal_events_total", &labels).absolute(entry.tally.total);
        counter!("weir_signal_bad_events_total", &labels).absolute(entry.tally.bad);
        counter!("weir_signal_failures_total", &labels).absolute(entry.troubles);
        let blind = entry.silence(now).is_some();
        gauge!("weir_signal_blind", &labels).set(f64::from(u8::from(blind)));
        if let Some(number) = entry.number {
            gauge!("weir_signal_value", &labels).set(number);
        }
    }
}

/// Says what that is.
pub(super) fn describe() {
    describe_counter!("weir_signal_events_total", "Events that a signal counted");
    describe_counter!("weir_signal_bad_events_total", "The bad ones among them");
    describe_counter!("weir_signal_failures_total", "How often the source was in trouble");
    describe_gauge!("weir_signal_blind", "1 while a signal says nothing");
    describe_gauge!("weir_signal_value", "The last number of a signal");
    describe_counter!("weir_statsd_lines_total", "Lines of statsd that came in");
    describe_counter!(
        "weir_statsd_refused_connections_total",
        "Connections of statsd closed at once because there were too many"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOBS: [(&str, Duration); 1] = [("jobs", Duration::from_secs(30))];

    fn wanted(version: &str) -> Wanted {
        Wanted { version: version.parse().unwrap(), places: vec![] }
    }

    #[test]
    fn only_what_is_wanted_is_kept_and_it_outlives_a_further_wish() {
        let (ledger, tier) = (SignalLedger::default(), "worker".parse().unwrap());
        let (old, new) = ("1.0".parse().unwrap(), "1.1".parse().unwrap());
        let tally = Tally { total: 3, bad: 1 };
        ledger.count(&tier, "jobs", &old, tally);
        assert_eq!(ledger.entries(), vec![]);
        ledger.want(&tier, &JOBS, &[wanted("1.0")]);
        ledger.count(&tier, "jobs", &old, tally);
        ledger.want(&tier, &JOBS, &[wanted("1.0"), wanted("1.1")]);
        ledger.count(&tier, "jobs", &old, tally);
        let of = |version| ledger.entry(&tier, "jobs", version).map(|entry| entry.tally);
        assert_eq!(of(&old), Some(Tally { total: 6, bad: 2 }));
        assert_eq!(of(&new), Some(Tally::default()));
        ledger.want(&tier, &JOBS, &[wanted("1.1")]);
        assert_eq!(of(&old), None);
    }

    #[test]
    fn a_source_is_silent_until_it_is_heard_and_again_after_a_while() {
        let (ledger, tier) = (SignalLedger::default(), "worker".parse().unwrap());
        let version = "1.0".parse().unwrap();
        ledger.want(&tier, &JOBS, &[wanted("1.0")]);
        let silence = |after: u64| {
            let entry = ledger.entry(&tier, "jobs", &version).unwrap();
            entry.silence(Instant::now() + Duration::from_secs(after))
        };
        assert_eq!(silence(0).unwrap(), "nothing was heard yet, for 0 s");
        ledger.trouble(&tier, "jobs", &version, "refused");
        assert_eq!(silence(0).unwrap(), "refused");
        ledger.count(&tier, "jobs", &version, Tally::default());
        assert_eq!(silence(29), None);
        ledger.trouble(&tier, "jobs", &version, "refused");
        assert_eq!(silence(29), None, "one failure is no silence");
        assert_eq!(silence(31).unwrap(), "refused");
    }
}
