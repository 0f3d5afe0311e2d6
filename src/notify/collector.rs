//! Tells a collector of traces: takes the spans that wait, in batches, and tries each batch until it is
//! taken. What finds no room meanwhile is thrown away where it is made, and counted.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::Method;
use tokio::sync::mpsc;

use super::settings::Collector;
use super::{Trouble, webhook, wire};
use crate::metrics::Register;
use crate::tls::Keyring;
use crate::traces::{Span, encode, rejected};

/// Spans told at once: a request of some hundred kilobytes.
const BATCH_MAX: usize = 512;

/// How long the first of a batch waits for others.
const GATHER: Duration = Duration::from_secs(1);

/// How long one try may take.
const ASK_MAX: Duration = Duration::from_secs(10);

/// Pause after a first try that failed; each further one is twice as long.
const PAUSE: Duration = Duration::from_secs(1);

/// The longest pause: a collector that is back is found within it.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Takes spans and tells them, until it is dropped; gives the end back that it takes from.
pub(super) struct Teller {
    pub(super) settings: Collector,
    pub(super) register: Arc<Register>,
    pub(super) keyring: Arc<Keyring>,
    /// Which Weir it is.
    pub(super) instance: String,
}

/// The end that spans are taken from, which outlives who takes.
struct Taken {
    register: Arc<Register>,
    spans: Option<mpsc::Receiver<Span>>,
    /// Those that are being told.
    batch: Vec<Span>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        let lost = self.batch.len() as u64;
        self.register.tracer().counts().dropped.fetch_add(lost, Ordering::Relaxed);
        if let Some(spans) = self.spans.take() {
            self.register.tracer().give_back(spans);
        }
    }
}

impl Teller {
    pub(super) async fn run(self) {
        let spans = loop {
            // Whoever took before ends between two of its words.
            match self.register.tracer().take() {
                Some(spans) => break spans,
                None => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        let register = Arc::clone(&self.register);
        let mut taken = Taken { register, spans: Some(spans), batch: Vec::new() };
        while let Some(spans) = &mut taken.spans {
            gather(spans, &mut taken.batch).await;
            self.tell(&taken.batch).await;
            taken.batch.clear();
        }
    }

    /// Tells `batch`, however often that takes.
    async fn tell(&self, batch: &[Span]) {
        let (counts, names) =
            (self.register.tracer().counts(), (self.settings.service.as_str(), &*self.instance));
        let (body, all) = (encode(batch, names), batch.len() as u64);
        let mut pause = PAUSE;
        let mut is_told = false;
        loop {
            match wire::in_time(ASK_MAX, self.ask(&body)).await {
                Ok(said) => {
                    let (lost, why) = rejected(&said);
                    if lost > 0 {
                        tracing::warn!(lost, "traces: the collector did not want spans: {why}");
                    }
                    counts.rejected.fetch_add(lost.min(all), Ordering::Relaxed);
                    counts.sent.fetch_add(all.saturating_sub(lost), Ordering::Relaxed);
                    return;
                }
                Err(Trouble { what, is_final: true, .. }) => {
                    tracing::warn!("traces: {what}; {all} spans are given up");
                    counts.failures.fetch_add(1, Ordering::Relaxed);
                    counts.rejected.fetch_add(all, Ordering::Relaxed);
                    return;
                }
                Err(Trouble { what, after, .. }) => {
                    if !std::mem::replace(&mut is_told, true) {
                        tracing::warn!("traces: {what}; it is tried again");
                    }
                    counts.failures.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(after.unwrap_or(pause)).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    async fn ask(&self, body: &str) -> Result<String, Trouble> {
        let url = &self.settings.url;
        let mut headers = wire::content("application/json");
        for (name, value) in &self.settings.headers {
            webhook::put(&mut headers, name, &webhook::revealed(value)?)?;
        }
        let path = url.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let (question, trust) = ((Method::POST, path), (&*self.settings.tls, &*self.keyring));
        let asked = wire::ask(url, question, headers, body.to_owned(), trust).await;
        let answer = asked.map_err(Trouble::passing)?;
        answer.is_done(url.host())?;
        Ok(answer.body)
    }
}

/// Waits for a span, and a little for more.
async fn gather(spans: &mut mpsc::Receiver<Span>, batch: &mut Vec<Span>) {
    match spans.recv().await {
        Some(span) => batch.push(span),
        // It never closes: the register holds the other end.
        None => std::future::pending().await,
    }
    let more = async {
        while batch.len() < BATCH_MAX
            && let Some(span) = spans.recv().await
        {
            batch.push(span);
        }
    };
    let _ = tokio::time::timeout(GATHER, more).await;
}
