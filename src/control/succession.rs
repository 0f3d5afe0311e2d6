//! One Weir after another: the journal goes to the process that takes over, and comes back if that
//! fails. In between this wing decides nothing. What lowers still acts at once, and is told to the
//! other process.

use tokio::sync::{mpsc, oneshot};

use super::restore::newest;
use super::{ACKNOWLEDGE_MAX, Control, OrderError, Then};
use crate::clock;
use crate::journal::Back;
use crate::rollout::{Command, Event, Outlook, Refusal, State, outlook};

/// The process that takes over.
#[derive(Debug)]
pub struct Heir {
    /// Its number.
    pub process: u32,
    /// What it is told.
    pub told: mpsc::UnboundedSender<Lowered>,
}

/// What lowered since the journal was given away.
#[derive(Debug)]
pub struct Lowered {
    /// The events, which are not in the journal.
    pub events: Vec<Event>,
    /// Told once nobody serves more than that any more.
    pub taken: oneshot::Sender<()>,
}

/// What this wing is told about a hand-over, and asked without an order.
#[derive(Debug)]
pub(super) enum Office {
    /// Decide nothing more, and give the journal away; the answer to it comes when it is closed.
    Give { heir: Heir, reply: oneshot::Sender<Result<oneshot::Receiver<()>, &'static str>> },
    /// The heir is gone: go on.
    TakeBack { reply: oneshot::Sender<()> },
    /// The heir serves: its table is published here from now on.
    Retire { reply: oneshot::Sender<()> },
    /// Say that you live.
    Live { reply: oneshot::Sender<()> },
    /// Say what an order to start would do. It is none.
    Outlook { command: Box<Command>, reply: oneshot::Sender<Result<Outlook, Refusal>> },
    /// The process before has lowered.
    Lowered { events: Vec<Event>, reply: oneshot::Sender<()> },
}

/// The journal is away, or on its way.
pub(super) struct Giving {
    heir: Heir,
    lowered: Vec<Event>,
    retired: bool,
    back: Option<(oneshot::Receiver<Back>, oneshot::Sender<()>)>,
}

impl Giving {
    /// The process that takes over.
    pub(super) const fn process(&self) -> u32 {
        self.heir.process
    }

    /// Whether the heir publishes what is served.
    pub(super) const fn is_retired(&self) -> bool {
        self.retired
    }

    /// Tells the heir what lowers; gives what ends once it has taken that over, and its number.
    pub(super) fn tell(&mut self, events: &[Event]) -> (oneshot::Receiver<()>, u32) {
        let (taken, answer) = oneshot::channel();
        self.lowered.extend_from_slice(events);
        let _ = self.heir.told.send(Lowered { events: events.to_vec(), taken });
        (answer, self.heir.process)
    }

    /// Waits for the journal, if it is to come back.
    pub(super) async fn returned(&mut self) -> Back {
        match &mut self.back {
            Some((back, _)) => back.await.unwrap_or(Back::Stayed),
            None => std::future::pending().await,
        }
    }
}

/// Waits until `process` has taken over what lowered, which is in no journal yet.
pub(super) async fn confirmed(
    taken: oneshot::Receiver<()>,
    process: u32,
) -> Result<(), OrderError> {
    match tokio::time::timeout(ACKNOWLEDGE_MAX, taken).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(OrderError::Unconfirmed { process }),
    }
}

impl Control {
    /// Takes over what the process before has lowered since it gave the journal away. To be called
    /// before anything is served.
    pub fn catch_up(&mut self, lowered: &[Event]) {
        let is_known = |event: &&Event| self.records.iter().any(|known| known.event == **event);
        let events: Vec<Event> = lowered.iter().filter(|event| !is_known(event)).cloned().collect();
        if events.is_empty() {
            return;
        }
        for event in &events {
            self.state.apply(event);
        }
        let table = self.table();
        self.board.publish(table);
        self.settle(&events);
        self.write_surely(events);
        self.show();
    }

    pub(super) async fn office(&mut self, office: Office) {
        match office {
            Office::Give { heir, reply } => {
                let given = self.give(heir);
                if reply.send(given).is_err() {
                    // Whoever asked has gone: nobody would take it.
                    let (reply, _) = oneshot::channel();
                    self.take_back(reply);
                }
            }
            Office::TakeBack { reply } => self.take_back(reply),
            Office::Live { reply } => {
                let _ = reply.send(());
                return;
            }
            Office::Outlook { command, reply } => {
                let facts = self.facts(&self.settings, false);
                let _ = reply.send(outlook(&self.state, &facts, *command, clock::wall()));
                return;
            }
            Office::Retire { reply } => {
                if let Some(giving) = &mut self.giving {
                    giving.retired = true;
                }
                let _ = reply.send(());
            }
            Office::Lowered { events, reply } => {
                let events: Vec<Event> =
                    events.into_iter().filter(|event| self.concerns(event)).collect();
                if !events.is_empty() {
                    self.lower(events, Then::Nothing).await;
                }
                let _ = reply.send(());
            }
        }
        self.show();
    }

    fn give(&mut self, heir: Heir) -> Result<oneshot::Receiver<()>, &'static str> {
        if self.journal.path().is_none() {
            return Err("its journal is in memory; keep it with [state] path or --state");
        }
        if self.giving.is_some() {
            return Err("it is handing over already");
        }
        if self.pending.is_some() {
            return Err("a raise waits for the journal's disk; try again once it is written");
        }
        if self.is_busy() {
            return Err("a step of the runbook runs; try again once it has ended");
        }
        self.journal.keep(self.evidence());
        self.giving = Some(Giving { heir, lowered: Vec::new(), retired: false, back: None });
        Ok(self.journal.give_away())
    }

    fn take_back(&mut self, reply: oneshot::Sender<()>) {
        if let Some(giving) = &mut self.giving {
            giving.back = Some((self.journal.take_back(), reply));
        }
    }

    /// Goes on from what the journal says now: the heir may have written to it.
    pub(super) async fn came_back(&mut self, back: Back) {
        let Some(giving) = self.giving.take() else { return };
        if let Back::Reopened(kept) = back {
            let mut state = State::default();
            kept.records.iter().for_each(|record| state.apply(&record.event));
            kept.without(&giving.lowered).iter().for_each(|event| state.apply(event));
            self.state = state;
            self.records = newest(kept.records).into();
            let _ = self.publish().await;
        }
        for (name, watched) in &mut self.watched {
            match self.state.tiers.get(name) {
                Some(tier) => watched.go_on(tier),
                None => watched.forget_open_window(),
            }
        }
        self.crews.values_mut().for_each(super::Crew::forget_open_window);
        if let Some((_, reply)) = giving.back {
            let _ = reply.send(());
        }
        self.show();
    }

    /// Whether `event` of the process before is of the rollout that is open here, or was promoted
    /// last: what came after it is not undone.
    fn concerns(&self, event: &Event) -> bool {
        let Some(name) = &event.tier else { return true };
        let Some(tier) = self.state.tiers.get(name) else { return false };
        let latest = tier.rollout.as_ref().map(|rollout| rollout.id);
        let latest = latest.or(tier.previous.as_ref().map(|(_, id)| *id));
        event.rollout.is_none_or(|id| latest == Some(id))
    }
}
