//! What happened, counted: marks on the curves, and the ground for alerts.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use metrics::{counter, describe_counter, describe_gauge, gauge};

use crate::time::Timestamp;
use crate::traffic::TierName;

/// Events of the journal by tier and kind: control writes, others read.
#[derive(Debug, Default)]
pub struct EventLedger(Mutex<BTreeMap<(Option<TierName>, &'static str), Seen>>);

/// What is known of one kind in one tier.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    since_start: u64,
    last: Timestamp,
}

impl EventLedger {
    /// An event of `kind` was written down; `tier`: in which, if in one.
    pub fn happened(&self, tier: Option<&TierName>, kind: &'static str, at: Timestamp) {
        self.note(tier, kind, at, 1);
    }

    /// The journal had an event of `kind` when the program started.
    pub fn remembered(&self, tier: Option<&TierName>, kind: &'static str, at: Timestamp) {
        self.note(tier, kind, at, 0);
    }

    fn note(&self, tier: Option<&TierName>, kind: &'static str, at: Timestamp, more: u64) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = seen.entry((tier.cloned(), kind)).or_default();
        seen.since_start += more;
        seen.last = seen.last.max(at);
    }
}

/// `kinds`: all that there are, so that a counter is there before it first rises. `tiers`: those of
/// the file; what happened in others is no longer shown.
pub(super) fn expose<'a>(
    ledger: &EventLedger,
    kinds: &[&'static str],
    tiers: impl Iterator<Item = &'a TierName>,
) {
    // A copy: who writes down what happens does not wait for who reads.
    let seen = ledger.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    for tier in std::iter::once(None).chain(tiers.cloned().map(Some)) {
        for kind in kinds {
            let named = tier.iter().map(|tier| ("tier", tier.to_string()));
            let labels: Vec<_> = named.chain([("kind", (*kind).to_owned())]).collect();
            let known = seen.get(&(tier.clone(), *kind)).copied().unwrap_or_default();
            counter!("weir_events_total", &labels).absolute(known.since_start);
            if known.last > Timestamp::default() {
                gauge!("weir_event_timestamp_seconds", &labels)
                    .set(super::exposition::seconds(known.last.millis()));
            }
        }
    }
}

pub(super) fn describe() {
    describe_counter!("weir_events_total", "Events written to the journal, by what happened");
    describe_gauge!("weir_event_timestamp_seconds", "When that happened last");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_keeps_when_and_counts_anew_and_what_is_older_moves_nothing() {
        let (ledger, web) = (EventLedger::default(), "web".parse().unwrap());
        let at = Timestamp::from_millis;
        ledger.remembered(Some(&web), "promoted", at(9_000));
        let seen = || ledger.0.lock().unwrap()[&(Some(web.clone()), "promoted")];
        assert_eq!((seen().since_start, seen().last), (0, at(9_000)));
        // The clock was set back.
        ledger.happened(Some(&web), "promoted", at(8_000));
        assert_eq!((seen().since_start, seen().last), (1, at(9_000)));
        ledger.happened(None, "promoted", at(10_000));
        assert_eq!((seen().since_start, seen().last), (1, at(9_000)));
    }
}
