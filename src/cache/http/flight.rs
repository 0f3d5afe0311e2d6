//! One asks, the others wait: for the answer itself if it is for all, or for a word that it is not.

use std::sync::Arc;

use http::HeaderMap;
use tokio::sync::watch;

use super::{Fill, HttpCache, Key};
use crate::namespace::http::key;

/// What a request that wants what others want does.
#[derive(Debug)]
pub enum Seat {
    /// It asks on behalf of all.
    Lead(Lead),
    /// Somebody asks already.
    Wait(Wait),
}

/// What came of waiting.
#[derive(Debug)]
pub enum Landing {
    /// An answer for all comes in.
    Comes(Arc<Fill>),
    /// The answer is in the cache by now, or nobody asks any more.
    Again,
    /// Each has to ask for itself.
    Alone,
}

#[derive(Clone, Debug)]
pub(super) enum Phase {
    Asks,
    Comes(Arc<Fill>),
    Alone,
}

/// One that asks, as others see it.
#[derive(Debug)]
pub(super) struct Flight {
    /// What its request said in the fields that the answer is thought to vary by.
    variant: Box<[u8]>,
    phase: watch::Receiver<Phase>,
}

/// Asks on behalf of all, until it is dropped.
#[derive(Debug)]
pub struct Lead {
    cache: Arc<HttpCache>,
    key: Key,
    phase: watch::Sender<Phase>,
}

/// Waits for somebody who asks.
#[derive(Debug)]
pub struct Wait(watch::Receiver<Phase>);

impl Flight {
    /// Whether what it asks for is what `request` wants, which says `variant`.
    pub(super) fn suits(&self, variant: &[u8], request: &HeaderMap) -> bool {
        match &*self.phase.borrow() {
            Phase::Asks => *self.variant == *variant,
            Phase::Comes(fill) => key::variant(&fill.head.vary, request) == fill.head.variant,
            Phase::Alone => false,
        }
    }

    /// What a request says in the fields that its answer varies by, once they are known.
    pub(super) fn variant_of(&self, request: &HeaderMap) -> Option<Box<[u8]>> {
        match &*self.phase.borrow() {
            Phase::Comes(fill) => Some(key::variant(&fill.head.vary, request)),
            Phase::Asks | Phase::Alone => None,
        }
    }

    pub(super) fn wait(&self) -> Wait {
        Wait(self.phase.clone())
    }

    /// Whether it is that of `lead`.
    pub(super) fn is_of(&self, lead: &Lead) -> bool {
        lead.phase.subscribe().same_channel(&self.phase)
    }
}

impl Lead {
    pub(super) fn new(cache: &Arc<HttpCache>, key: &Key, variant: Box<[u8]>) -> (Self, Flight) {
        let (phase, phases) = watch::channel(Phase::Asks);
        let lead = Self { cache: Arc::clone(cache), key: key.clone(), phase };
        (lead, Flight { variant, phase: phases })
    }

    /// The answer comes in, and is for all.
    pub fn comes(&self, fill: &Arc<Fill>) {
        self.phase.send_replace(Phase::Comes(Arc::clone(fill)));
    }

    /// The answer is not for others.
    pub fn is_alone(self) {
        self.phase.send_replace(Phase::Alone);
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.cache.shelves().land(self, &self.key);
    }
}

impl Wait {
    /// What comes of it.
    pub async fn landing(mut self) -> Landing {
        let known = |phase: &Phase| match phase {
            Phase::Asks => false,
            Phase::Comes(_) | Phase::Alone => true,
        };
        match self.0.wait_for(known).await.as_deref() {
            Ok(Phase::Comes(fill)) => Landing::Comes(Arc::clone(fill)),
            Ok(Phase::Alone) => Landing::Alone,
            // It ended without a word.
            Ok(Phase::Asks) | Err(_) => Landing::Again,
        }
    }
}
