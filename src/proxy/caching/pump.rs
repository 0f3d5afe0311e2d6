//! The way of an answer from its service into the cache.

use std::pin::Pin;
use std::time::{Duration, Instant};

use hyper::body::Body as _;

use super::{Lease, Visit, give_back};
use crate::cache::http::{Lead, Writer};
use crate::proxy::client;

/// Takes an answer from its service into the cache, whoever waits for it.
pub(super) struct Pump {
    pub(super) visit: Visit,
    pub(super) writer: Writer,
    pub(super) lease: Lease,
    pub(super) lead: Option<Lead>,
    pub(super) patience: Duration,
}

impl Pump {
    /// Until its end, or until nobody wants it.
    pub(super) async fn run(self, mut incoming: client::Body) {
        let Self { visit, writer, lease, lead, patience } = self;
        let _busy = visit.worker.fetches.begin();
        let mut incoming = Pin::new(&mut incoming);
        let whole = loop {
            if !writer.ready().await {
                visit.exchange.tally.leaves();
                return;
            }
            let frame = std::future::poll_fn(|cx| incoming.as_mut().poll_frame(cx));
            match tokio::time::timeout(patience, frame).await {
                Ok(None) => break true,
                Ok(Some(Ok(frame))) => {
                    if let Some(piece) = frame.data_ref() {
                        writer.write(piece);
                    }
                }
                Ok(Some(Err(_))) | Err(_) => break false,
            }
        };
        visit.exchange.tally.ends(whole);
        if !whole {
            return;
        }
        give_back(lease, &visit.exchange);
        if !writer.finish() {
            visit.cache.pass(&visit.key, Instant::now());
        }
        drop(lead);
    }
}
