//! How the rest of the program speaks to the control wing.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};

use super::settings::Settings;
use super::succession::{Heir, Office};
use super::view::View;
use crate::journal::JournalError;
use crate::rollout::{Command, Event, Order, Outlook, Refusal};

/// Orders waiting for the control loop; people do not type faster.
pub(super) const ORDERS_MAX: usize = 16;

/// How long an answer may take before the asker is told that the journal hangs.
pub const ANSWER_MAX: Duration = Duration::from_secs(10);

/// The way in, and the way to look.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(super) orders: mpsc::Sender<Ask>,
    /// Orders that only lower: they pass those that wait for the journal.
    pub(super) lowering: mpsc::Sender<Ask>,
    /// Hand-overs.
    pub(super) offices: mpsc::Sender<Office>,
    pub(super) views: watch::Receiver<Arc<View>>,
}

/// Something asked of the control loop, with the way back.
#[derive(Debug)]
pub(super) enum Ask {
    Order { command: Command, named_upstreams_healthy: bool, reply: Reply },
    Reload { settings: Box<Settings>, reply: Reply },
}

impl Ask {
    pub(super) const fn reply(&self) -> &Reply {
        match self {
            Self::Order { reply, .. } | Self::Reload { reply, .. } => reply,
        }
    }

    /// Whether it can only lower.
    pub(super) const fn lowers(&self) -> bool {
        match self {
            Self::Order { command, .. } => lowers(&command.order),
            Self::Reload { .. } => false,
        }
    }
}

const fn lowers(order: &Order) -> bool {
    match order {
        Order::Hold { on, .. } | Order::Maintenance { on, .. } => *on,
        Order::Rollback { .. } | Order::Pause { .. } => true,
        Order::Adopt { .. }
        | Order::Advance { .. }
        | Order::Approve { .. }
        | Order::Promote { .. }
        | Order::Resume { .. }
        | Order::RetryStep { .. }
        | Order::SkipStep { .. }
        | Order::Start { .. } => false,
    }
}

/// The way back.
pub(super) type Reply = oneshot::Sender<Result<Answer, OrderError>>;

/// What came of an order.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Answer {
    /// The sentences that the journal keeps; with no event, how things stand.
    pub sentences: Vec<String>,
    /// The events.
    pub events: Vec<Event>,
    /// Upgraded connections that are still open on a release that lost.
    pub connections_left: u64,
}

/// Why an order was not carried out.
#[derive(Clone, Debug, Error)]
pub enum OrderError {
    /// It is not possible now.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The journal cannot be written, and what raises waits for it.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// No answer yet.
    #[error(
        "no answer within {} s: the journal's disk hangs; what was handed to it already happens \
         when it is back, unless `weir rollback` comes first, and what still waited is dropped: \
         `weir status` tells",
        ANSWER_MAX.as_secs()
    )]
    NoAnswer,
    /// Another process takes over.
    #[error(
        "not now: process {process} takes over from this weir; ask again in a moment (`weir \
         rollback` and `weir pause` work)"
    )]
    HandingOver {
        /// That process.
        process: u32,
    },
    /// What lowers was done here, and the process that takes over is not known to have followed.
    #[error(
        "done by this process, but process {process}, which takes over from it, has not confirmed \
         it yet; give the order again"
    )]
    Unconfirmed {
        /// That process.
        process: u32,
    },
    /// Somebody rolled back while the order waited for the disk.
    #[error("not done: somebody rolled back while this waited for the journal's disk")]
    RolledBackMeanwhile,
    /// The program is stopping.
    #[error("weir is stopping; it takes no orders")]
    Stopping,
}

impl Handle {
    /// Gives an order and waits for what comes of it. `named_upstreams_healthy`: whether the
    /// addresses that a `start` names were seen to answer.
    ///
    /// # Errors
    /// It is refused, the journal cannot be written, or the program stops.
    pub async fn order(
        &self,
        command: Command,
        named_upstreams_healthy: bool,
    ) -> Result<Answer, OrderError> {
        let way = if lowers(&command.order) { &self.lowering } else { &self.orders };
        let ask = |reply| Ask::Order { command, named_upstreams_healthy, reply };
        let asked = tokio::time::timeout(ANSWER_MAX, Self::ask(way, ask)).await;
        asked.unwrap_or(Err(OrderError::NoAnswer))
    }

    /// Takes over what a file that was read again says. Waits for the journal however long its
    /// disk hangs: the asker must know what became of it.
    ///
    /// # Errors
    /// An open rollout forbids it, or the journal cannot be written; nothing changes then.
    pub async fn reload(&self, settings: Settings) -> Result<Answer, OrderError> {
        let ask = |reply| Ask::Reload { settings: Box::new(settings), reply };
        Self::ask(&self.orders, ask).await
    }

    async fn ask(
        way: &mpsc::Sender<Ask>,
        ask: impl FnOnce(Reply) -> Ask,
    ) -> Result<Answer, OrderError> {
        let (reply, answer) = oneshot::channel();
        way.send(ask(reply)).await.map_err(|_| OrderError::Stopping)?;
        answer.await.map_err(|_| OrderError::Stopping)?
    }

    /// What the order to start would do, were it given now.
    ///
    /// # Errors
    /// It would be refused, or the program stops.
    pub async fn outlook(&self, command: Command) -> Result<Outlook, OrderError> {
        let command = Box::new(command);
        let seen = self.tell(|reply| Office::Outlook { command, reply }).await;
        Ok(seen.ok_or(OrderError::Stopping)??)
    }

    /// Has the control wing decide nothing more and give its journal away; gives what ends once
    /// the journal is closed. What lowers from then on is told to `heir`.
    ///
    /// # Errors
    /// It cannot be given away now; the text says why.
    pub async fn give_journal(&self, heir: Heir) -> Result<oneshot::Receiver<()>, &'static str> {
        let stopping = "it is stopping";
        let given = self.tell(|reply| Office::Give { heir, reply }).await;
        given.unwrap_or(Err(stopping))
    }

    /// Has the control wing take its journal back and go on. Ends once it has: the other process
    /// must have let go of it.
    pub async fn take_journal_back(&self) {
        self.tell(|reply| Office::TakeBack { reply }).await;
    }

    /// Has the control wing publish nothing more: the other process says what is served.
    pub async fn retire(&self) {
        self.tell(|reply| Office::Retire { reply }).await;
    }

    /// Takes over what the process before has lowered since it gave the journal away. Ends once
    /// every worker follows.
    pub async fn lowered(&self, events: Vec<Event>) {
        self.tell(|reply| Office::Lowered { events, reply }).await;
    }

    /// Ends once the control wing has answered; one that is stuck, or gone, never does.
    pub async fn beats(&self) {
        if self.tell(|reply| Office::Live { reply }).await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    async fn tell<T>(&self, office: impl FnOnce(oneshot::Sender<T>) -> Office) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.offices.send(office(reply)).await.ok()?;
        answer.await.ok()
    }

    /// How things stand.
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.views.borrow())
    }

    /// How things stand, again and again as they change.
    pub fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.views.clone()
    }
}
