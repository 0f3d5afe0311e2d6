//! A stale answer is given, and asked for anew meanwhile.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::Request;
use http::header::{AUTHORIZATION, COOKIE};
use tokio::time::timeout;

use super::{Outbound, RequestBody, Served, Visit};
use crate::cache::http::{Kept, Lead, Seat};
use crate::namespace::http::freshness::Asker;
use crate::proxy::forward;
use crate::proxy::line::Exchange;
use crate::proxy::place::Place;

impl Visit {
    /// Has somebody ask for what is `kept`, unless somebody does. What the service answers counts
    /// like any answer; its client has had one already, and waits for nothing.
    pub(super) fn refresh(&self, place: &Place, request: &Request<RequestBody>, kept: &Arc<Kept>) {
        let Seat::Lead(lead) = self.cache.join(&self.key, &self.client) else { return };
        let (tier, other) = (Rc::clone(&place.tier), &self.exchange);
        let tally = other.tally.again(place);
        let exchange = Rc::new(Exchange::new(None, Instant::now(), tally, tier, other.client));
        exchange.added.borrow_mut().clone_from(&other.added.borrow());
        exchange.conditions_of.set(self.exchange.conditions_of.get());
        let mut copy = Box::new(Request::new(RequestBody::none(Rc::clone(&exchange))));
        copy.method_mut().clone_from(request.method());
        copy.uri_mut().clone_from(request.uri());
        copy.headers_mut().clone_from(request.headers());
        let mut visit = Self { exchange, ..self.clone() };
        if !kept.head.policy.is_public && self.asker.is_somebody() {
            // It was kept of somebody without a name, and is asked for as such: what a user gets could
            // not be kept in its place.
            for name in [AUTHORIZATION, COOKIE] {
                copy.headers_mut().remove(&name);
                visit.client.remove(&name);
            }
            visit.asker = Asker::default();
        }
        let (mut place, kept) = (place.clone(), Arc::clone(kept));
        tokio::task::spawn_local(async move {
            let _busy = visit.worker.fetches.begin();
            let served = visit.ask_in_time(&mut place, copy, kept, lead).await;
            if let Some(Served::Upstream(answer)) = served {
                forward::count(&visit.exchange, &place, &answer, Instant::now());
                visit.exchange.tally.ends(true);
            }
        });
    }

    /// Asks as long as a client might wait; none: nothing came.
    async fn ask_in_time(
        &self,
        place: &mut Place,
        request: Outbound,
        kept: Arc<Kept>,
        lead: Lead,
    ) -> Option<Served> {
        let timeouts = place.tier.table.tier.timeouts.clone();
        let mut asks = std::pin::pin!(self.ask(place, request, Some(kept), Some(lead)));
        if let Ok(served) = timeout(timeouts.first_byte, asks.as_mut()).await {
            return served.ok();
        }
        self.exchange.tally.hangs();
        let rest = timeouts.response_head.saturating_sub(timeouts.first_byte);
        timeout(rest, asks).await.ok()?.ok()
    }
}
