//! What is counted of those who are told what happens.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use metrics::{counter, describe_counter, describe_gauge, gauge};

use crate::time::Timestamp;

/// The counts of one target.
#[derive(Debug, Default)]
pub struct DeliveryCounts {
    /// Messages that arrived.
    pub sent: AtomicU64,
    /// Tries that failed.
    pub failed: AtomicU64,
    /// Events that were given up.
    pub dropped: AtomicU64,
    /// Events that wait to be told.
    pub waiting: AtomicU64,
    trouble: Mutex<Option<Trouble>>,
}

/// Why a target is not reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Since when.
    pub since: Timestamp,
    /// What its last try came to, without secrets.
    pub what: String,
}

impl DeliveryCounts {
    /// A try has failed at `now`.
    pub fn fails(&self, now: Timestamp, what: &str) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let since = trouble.as_ref().map_or(now, |trouble| trouble.since);
        *trouble = Some(Trouble { since, what: what.to_owned() });
    }

    /// A message has arrived.
    pub fn arrives(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        self.mend();
    }

    /// It is reached again.
    pub fn mend(&self) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Why it is not reached, if it is not.
    pub fn trouble(&self) -> Option<Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One target.
#[derive(Clone, Debug)]
pub struct DeliveryEntry {
    /// Its name.
    pub name: String,
    /// `webhook`, `mail` or `alertmanager`.
    pub kind: &'static str,
    /// What is counted.
    pub counts: Arc<DeliveryCounts>,
}

/// Every target there is: who tells writes, others read.
#[derive(Debug, Default)]
pub struct DeliveryLedger(Mutex<Vec<DeliveryEntry>>);

impl DeliveryLedger {
    /// There are the targets of these names and kinds. Those that stay keep their counts.
    pub fn set(&self, targets: &[(String, &'static str)]) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = |(name, kind): &(String, &'static str)| {
            let same = |known: &&DeliveryEntry| known.name == *name && known.kind == *kind;
            let counts = entries.iter().find(same).map(|known| Arc::clone(&known.counts));
            DeliveryEntry { name: name.clone(), kind, counts: counts.unwrap_or_default() }
        };
        *entries = targets.iter().map(entry).collect();
    }

    /// The counts of the target `name`.
    pub fn counts(&self, name: &str) -> Arc<DeliveryCounts> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = entries.iter().find(|entry| entry.name == name);
        found.map(|entry| Arc::clone(&entry.counts)).unwrap_or_default()
    }

    /// The targets, in the order of the file.
    pub fn entries(&self) -> Vec<DeliveryEntry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

pub(super) fn expose(entry: &DeliveryEntry) {
    let DeliveryEntry { name, counts, .. } = entry;
    let labels = [("target", name.clone())];
    counter!("weir_notifications_sent_total", &labels)
        .absolute(counts.sent.load(Ordering::Relaxed));
    counter!("weir_notification_failures_total", &labels)
        .absolute(counts.failed.load(Ordering::Relaxed));
    counter!("weir_notifications_dropped_total", &labels)
        .absolute(counts.dropped.load(Ordering::Relaxed));
    gauge!("weir_notifications_waiting", &labels)
        .set(counts.waiting.load(Ordering::Relaxed) as f64);
    gauge!("weir_notification_trouble", &labels).set(if counts.trouble().is_some() {
        1.0
    } else {
        0.0
    });
}

pub(super) fn describe() {
    describe_counter!("weir_notifications_sent_total", "Messages that arrived");
    describe_counter!("weir_notification_failures_total", "Tries to tell somebody that failed");
    describe_counter!("weir_notifications_dropped_total", "Events that were given up");
    describe_gauge!("weir_notifications_waiting", "Events that wait to be told");
    describe_gauge!("weir_notification_trouble", "1 while somebody who is told is not reached");
}
