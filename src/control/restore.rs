//! From the journal to a running control wing: restart = replay + publish.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use super::closing::Closing;
use super::handle::{Handle, ORDERS_MAX};
use super::tape::Tape;
use super::watched::Watched;
use super::{Control, RECORDS_SHOWN, Settings, TICK};
use crate::clock;
use crate::journal::{Batch, Journal, Kept, Record};
use crate::metrics::Register;
use crate::rollout::{Event, Input, State, step};
use crate::time::Timestamp;
use crate::tls::Keyring;
use crate::traffic::Board;

/// After a longer downtime a stage bakes anew.
const DOWNTIME_MAX: Duration = Duration::from_mins(10);

impl Control {
    /// Rebuilds memory from the journal, takes over the file, and publishes the first table.
    /// `journal_lost`: what was wrong with a journal that had to be set aside.
    ///
    /// # Errors
    /// The file of `--record` cannot be written.
    pub fn start(
        settings: Settings,
        journal: Journal,
        kept: Kept,
        journal_lost: Option<String>,
        board: Arc<Board>,
        register: Arc<Register>,
        keyring: Arc<Keyring>,
    ) -> io::Result<(Self, Handle)> {
        let now = clock::wall();
        let mut state = State::default();
        kept.records.iter().for_each(|record| state.apply(&record.event));
        for record in &kept.records {
            let event = &record.event;
            register.events().remembered(event.tier.as_ref(), event.change.kind(), event.at);
        }
        let mut tape = match &settings.record {
            None => None,
            Some(path) => Some(Tape::start(path, settings.tiers.len() > 1)?),
        };
        let (orders_in, orders) = mpsc::channel(ORDERS_MAX);
        let (lowering_in, lowering) = mpsc::channel(ORDERS_MAX);
        let (offices_in, offices) = mpsc::channel(ORDERS_MAX);
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (watched, crews) = (watched(&kept, &state, now), super::crews::restored(&kept, &state));
        for (tier, watched) in &watched {
            if let (Some(tape), Some(now)) = (&mut tape, watched.judged_until()) {
                tape.resume(tier, now);
            }
        }
        let shelf = journal.shelf();
        let mut control = Self {
            state,
            settings,
            journal,
            board,
            register,
            keyring,
            errand: None,
            leftovers: super::Leftovers::default(),
            watched,
            crews,
            pending: None,
            giving: None,
            records: Arc::new(newest(kept.records)),
            orders,
            lowering,
            offices,
            reloads: VecDeque::new(),
            written: mpsc::unbounded_channel(),
            views: watch::Sender::new(Arc::new(super::View::empty(now))),
            ticks,
            kept: Instant::now(),
            started: now,
            closing: Closing::default(),
            tape,
            refusals: super::Refusals::default(),
            sampler: super::Sampler::default(),
            shelf,
        };
        control.boot(journal_lost, now);
        let views = control.views.subscribe();
        let (orders, lowering, offices) = (orders_in, lowering_in, offices_in);
        Ok((control, Handle { orders, lowering, offices, views }))
    }

    /// What the file says at a start happens whether or not the disk lets it be written: the
    /// tiers must be served.
    fn boot(&mut self, journal_lost: Option<String>, now: Timestamp) {
        let facts = self.facts(&self.settings, false);
        let input = Input::File { journal_lost, reload: false };
        let events = match step(&self.state, &input, &facts, now) {
            Ok(events) => events,
            Err(refusal) => {
                // The open rollout goes on as the journal has it.
                tracing::warn!("{refusal}");
                vec![]
            }
        };
        for event in &events {
            self.state.apply(event);
        }
        let table = self.table();
        self.board.publish(table);
        self.settle(&events);
        if !events.is_empty() {
            self.write_surely(events);
        }
        self.show();
    }

    /// Writes what has happened already, without waiting for it.
    pub(super) fn write_surely(&self, events: Vec<Event>) {
        let written = self.journal.append_surely(Batch { events, evidence: BTreeMap::new() });
        let confirmed = self.written.0.clone();
        tokio::spawn(async move {
            if let Ok(Ok(records)) = written.await {
                let _ = confirmed.send(records);
            }
        });
    }
}

/// The records that the view shows; older ones are in the journal.
pub(super) fn newest(mut records: Vec<Record>) -> Vec<Record> {
    let surplus = records.len().saturating_sub(RECORDS_SHOWN);
    records.drain(..surplus);
    records.shrink_to_fit();
    records
}

fn watched(
    kept: &Kept,
    state: &State,
    now: Timestamp,
) -> BTreeMap<crate::traffic::TierName, Watched> {
    let restored = state.tiers.iter().map(|(name, tier)| {
        let evidence = kept.evidence.get(name);
        let restored = evidence.map(|evidence| Watched::restore(&evidence.body, tier));
        let mut watched = match restored {
            Some(Ok(watched)) => watched,
            Some(Err(error)) => {
                tracing::warn!(tier = %name, %error, "evidence cannot be read; it begins anew");
                Watched::default()
            }
            None => Watched::default(),
        };
        let downtime = evidence.map_or(Duration::ZERO, |evidence| now.since(evidence.saved));
        watched.resume(tier, downtime > DOWNTIME_MAX);
        (name.clone(), watched)
    });
    restored.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_records_are_held() {
        let first = include_str!("../../tests/journals/0.1.jsonl").lines().next().unwrap();
        let first: Record = serde_json::from_str(first).unwrap();
        let many = 1..=RECORDS_SHOWN as u64 + 5;
        let records = newest(many.map(|seq| Record { seq, ..first.clone() }).collect());
        assert_eq!((records.len(), records[0].seq), (RECORDS_SHOWN, 6));
    }
}
