//! How the rest of the program speaks to the control wing.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};

use super::settings::Settings;
use super::view::View;
use crate::journal::JournalError;
use crate::rollout::{Command, Event, Order, Refusal};

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
        let way = match command.order {
            Order::Rollback { .. } | Order::Pause { .. } => &self.lowering,
            Order::Adopt { .. }
            | Order::Advance { .. }
            | Order::Promote { .. }
            | Order::Resume { .. }
            | Order::Start { .. } => &self.orders,
        };
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

    /// How things stand.
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.views.borrow())
    }

    /// How things stand, again and again as they change.
    pub fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.views.clone()
    }
}
