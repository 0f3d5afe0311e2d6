//! What goes on, as it goes on: server-sent events (WHATWG HTML, 9.2) of the status, the journal and
//! the curves.

use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use http_body::Frame;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::Instant;

use super::Admin;
use super::api::{History, Kind, LogRecord, Status, Trouble};
use super::guard::Pass;
use super::views::bad_query;
use crate::clock;
use crate::journal;

/// Streams at once: people who look, each a page or a terminal or two. Fewer than the connections,
/// so that there is always one left for an order.
pub(super) const STREAMS_MAX: usize = 32;

/// How often the status is sent at most.
const STATUS_SPAN: Duration = Duration::from_secs(1);

/// How often at least: a sign of life.
const STATUS_SPAN_MAX: Duration = Duration::from_secs(5);

/// Events that wait for who reads slowly. Then the stream waits; of the status only the newest is sent.
const EVENTS_WAITING_MAX: usize = 4;

/// How long an event may wait for who does not read.
const READ_MAX: Duration = Duration::from_secs(30);

/// What a browser waits before it comes again.
const BEGINNING: &str = "retry: 1000\n\n";

/// From where on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct From {
    after: Option<u64>,
}

/// What goes on, as server-sent events: `status` at once, on changes, and every 5 s; `record` for
/// each new record of the journal; `point` for each new point of the curves.
#[utoipa::path(
    get, path = "/api/v1/stream", tag = "look",
    params(
        ("after" = Option<u64>, Query, description = "Records behind this place are sent first; so does the header `Last-Event-ID`"),
    ),
    responses(
        (status = 200, description = "`text/event-stream`: `status` is a Status, `record` a LogRecord with its place as the id, `point` a History of one point", body = String),
        (status = 400, description = "Not understood", body = Trouble),
        (status = 503, description = "Too many streams are open", body = Trouble),
    )
)]
pub(super) async fn stream(
    State(admin): State<Arc<Admin>>,
    pass: Option<Extension<Pass>>,
    headers: HeaderMap,
    from: Result<Query<From>, QueryRejection>,
) -> Result<Response, Trouble> {
    let Query(From { after }) = from.map_err(bad_query)?;
    // The header is the newer one: a browser that comes again repeats the address.
    let after = last_event(&headers)?.or(after);
    let Ok(place) = Arc::clone(&admin.streams).try_acquire_owned() else {
        let error = format!(
            "{STREAMS_MAX} streams are open already; close a page or a `weir watch`, or ask \
             /api/v1/status again and again"
        );
        return Err(Trouble::new(Kind::Busy, error));
    };
    let (events, waiting) = mpsc::channel(EVENTS_WAITING_MAX);
    let latest = admin.handle.view().records.last().map_or(0, |record| record.seq);
    let closed = *admin.drawn.borrow();
    let feed = Feed {
        // A journal in memory begins anew when the program does.
        seq: after.map_or(latest, |after| after.min(latest)),
        closed,
        pass: pass.map(|Extension(pass)| pass),
        shown: None,
        events,
        admin,
    };
    tokio::spawn(feed.run(place));
    let kind = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    // For an nginx before it, which would keep events until there are many.
    let unbuffered = [("x-accel-buffering", "no")];
    Ok((kind, unbuffered, Body::new(Events(waiting))).into_response())
}

fn last_event(headers: &HeaderMap) -> Result<Option<u64>, Trouble> {
    let Some(last) = headers.get("last-event-id") else { return Ok(None) };
    let last = last.to_str().ok().map_or("?", str::trim);
    if last.is_empty() {
        return Ok(None);
    }
    let wrong =
        |_| Trouble::new(Kind::BadRequest, "Last-Event-ID is the place of a record, a number");
    last.parse().map(Some).map_err(wrong)
}

/// The events of one stream, as a body.
struct Events(mpsc::Receiver<Bytes>);

impl HttpBody for Events {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|event| event.map(|event| Ok(Frame::data(event))))
    }
}

/// Who reads is gone, or does not read.
struct Gone;

/// What one stream has been told.
struct Feed {
    admin: Arc<Admin>,
    events: mpsc::Sender<Bytes>,
    pass: Option<Pass>,
    /// The newest record.
    seq: u64,
    /// The points there were.
    closed: u64,
    /// The status, and when.
    shown: Option<(Status, Instant)>,
}

impl Feed {
    /// Until the program stops, the reader goes, or the token is revoked.
    async fn run(mut self, _place: OwnedSemaphorePermit) {
        let (mut views, mut drawn) = (self.admin.handle.watch(), self.admin.drawn.subscribe());
        let mut stopping = self.admin.stopping.clone();
        let events = self.events.clone();
        let over = async {
            tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => {}
                () = events.closed() => {}
            }
        };
        let told = async {
            if self.send(BEGINNING.to_owned()).await.is_err() {
                return;
            }
            while self.tell().await.is_ok() {
                if self.changed(&mut views, &mut drawn).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            () = over => {}
            () = told => {}
        }
    }

    /// Waits until there may be something to tell.
    async fn changed<T>(
        &self,
        views: &mut watch::Receiver<T>,
        drawn: &mut watch::Receiver<u64>,
    ) -> Result<(), Gone> {
        // What was the same a second after the last one is looked at again with the next view.
        let due = self.shown.as_ref().map_or_else(Instant::now, |(_, at)| {
            let fresh = at.elapsed() < STATUS_SPAN;
            *at + if fresh { STATUS_SPAN } else { STATUS_SPAN_MAX }
        });
        tokio::select! {
            // Control is gone: so is the program in a moment.
            changed = views.changed() => changed.map_err(|_| Gone),
            changed = drawn.changed() => changed.map_err(|_| Gone),
            () = tokio::time::sleep_until(due) => Ok(()),
        }
    }

    /// Tells what is new: records before the status that follows from them.
    async fn tell(&mut self) -> Result<(), Gone> {
        let view = self.admin.handle.view();
        let new = view.records.partition_point(|record| record.seq <= self.seq);
        // From the last that was told on, if it is still shown.
        let shown = new.saturating_sub(1);
        let rows = &journal::in_a_row(&view.records[shown..])[new - shown..];
        for record in rows {
            self.event("record", Some(record.seq), &LogRecord::from(record)).await?;
            self.seq = record.seq;
        }
        let closed = *self.admin.drawn.borrow();
        while self.closed < closed {
            let point = {
                let curves = self.admin.curves();
                curves.point(self.closed).map(|curve| History::of(&curve, clock::wall(), &view))
            };
            self.closed += 1;
            if let Some(point) = point {
                self.event("point", None, &point).await?;
            }
        }
        self.tell_status().await
    }

    async fn tell_status(&mut self) -> Result<(), Gone> {
        let since = self.shown.as_ref().map(|(_, at)| at.elapsed());
        if since.is_some_and(|since| since < STATUS_SPAN) {
            return Ok(());
        }
        let status = self.admin.status();
        let again = since.is_none_or(|since| since >= STATUS_SPAN_MAX);
        if !again && self.shown.as_ref().is_some_and(|(shown, _)| is_same(shown, &status)) {
            return Ok(());
        }
        if let Some(pass) = &self.pass
            && !pass.holds().await
        {
            return Err(Gone);
        }
        self.event("status", None, &status).await?;
        self.shown = Some((status, Instant::now()));
        Ok(())
    }

    async fn event(&self, name: &str, id: Option<u64>, data: &impl Serialize) -> Result<(), Gone> {
        // JSON of one line: it has no other line ends in it than escaped ones.
        let data = serde_json::to_string(data).map_err(|error| {
            tracing::error!(%error, "an event cannot be written");
            Gone
        })?;
        let mut text = format!("event: {name}\n");
        if let Some(id) = id {
            let _ = writeln!(text, "id: {id}");
        }
        let _ = write!(text, "data: {data}\n\n");
        self.send(text).await
    }

    async fn send(&self, text: String) -> Result<(), Gone> {
        self.events.send_timeout(text.into(), READ_MAX).await.map_err(|_| Gone)
    }
}

/// Whether nothing changed but the time.
fn is_same(shown: &Status, now: &Status) -> bool {
    let now = Status { at: shown.at, ..now.clone() };
    *shown == now
}
