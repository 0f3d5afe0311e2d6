//! What is only looked at: read from the published snapshot.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use axum::Extension;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::api::{Explanation, Explanations, Kind, Log, LogRecord, Status, Trouble, Whoami};
use super::guard::Asker;
use super::{Admin, scene};
use crate::control::TierView;
use crate::journal::Record;
use crate::metrics::exposition;
use crate::rollout::Change;

/// Records of one answer.
const LOG_LIMIT_MAX: usize = 1_000;

/// Records of one answer where nobody says how many.
const LOG_LIMIT: usize = 100;

/// Scrapes within this span get the same text: gathering takes a lock that is the writers' too.
const SCRAPE_SPAN: Duration = Duration::from_millis(500);

/// Says that the process lives.
#[utoipa::path(
    get, path = "/healthz", tag = "look",
    responses((status = 200, description = "The process lives", body = String))
)]
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Says whether every listener is bound and the journal can be written, or what is missing.
#[utoipa::path(
    get, path = "/readyz", tag = "look",
    responses(
        (status = 200, description = "It serves", body = String),
        (status = 503, description = "What is missing", body = Trouble),
    )
)]
pub(super) async fn readyz(State(admin): State<Arc<Admin>>) -> Result<&'static str, Trouble> {
    let mut missing = admin.not_ready.borrow().clone();
    missing.extend(admin.handle.view().journal_trouble.clone());
    if missing.is_empty() {
        return Ok("ready\n");
    }
    Err(Trouble::new(Kind::NotReady, format!("not ready: {}", missing.join("; "))))
}

/// The metrics as Prometheus reads them (docs/metrics.md).
#[utoipa::path(
    get, path = "/metrics", tag = "look",
    responses((status = 200, description = "Prometheus text format 0.0.4", body = String))
)]
pub(super) async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    let mut scraped = admin.scraped.lock().unwrap_or_else(PoisonError::into_inner);
    let fresh = scraped.as_ref().filter(|(at, _)| at.elapsed() < SCRAPE_SPAN);
    let text = if let Some((_, text)) = fresh {
        text.clone()
    } else {
        let view = admin.handle.view();
        let caches = (&*admin.caches.ledger, &admin.http_caches);
        let mut scene = scene::of(&view, &admin.reloads, &admin.keyring, caches);
        scene.deliveries = admin.notifications.ledger.entries();
        let text = exposition::render(&scene, &admin.register);
        *scraped = Some((Instant::now(), text.clone()));
        text
    };
    ([(header::CONTENT_TYPE, exposition::CONTENT_TYPE)], text).into_response()
}

/// How things stand.
#[utoipa::path(
    get, path = "/api/v1/status", tag = "look",
    responses((status = 200, description = "How things stand", body = Status))
)]
pub(super) async fn status(State(admin): State<Arc<Admin>>) -> Json<Status> {
    Json(admin.status())
}

impl Admin {
    /// How things stand.
    pub(super) fn status(&self) -> Status {
        let mut status = Status::of(&self.handle.view(), &self.keyring.certificates());
        status.notifications = self.notifications.status();
        status
    }
}

/// Which tier.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    tier: Option<String>,
}

/// Why the judge says what it says, and what would change it.
#[utoipa::path(
    get, path = "/api/v1/explain", tag = "look",
    params(("tier" = Option<String>, Query, description = "Only this tier")),
    responses(
        (status = 200, description = "The judge's report of each tier, and of workers whose jobs are judged", body = Explanations),
        (status = 404, description = "No such tier", body = Trouble),
    )
)]
pub(super) async fn explain(
    State(admin): State<Arc<Admin>>,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Json<Explanations>, Trouble> {
    let Query(which) = which.map_err(bad_query)?;
    let view = admin.handle.view();
    let asked =
        |tier: &&TierView| which.tier.as_ref().is_none_or(|name| tier.name.as_str() == name);
    let crews = view
        .crews
        .iter()
        .filter(|crew| which.tier.as_ref().is_none_or(|name| crew.name.as_str() == name));
    let crews = crews.map(|crew| Explanation {
        tier: crew.name.clone(),
        text: crew.explanation.clone(),
        report: crew.report.clone(),
    });
    let tiers = view.tiers.iter().filter(asked).map(|tier| explanation(tier, &view.records));
    let tiers: Vec<Explanation> = tiers.chain(crews).collect();
    if let (true, Some(name)) = (tiers.is_empty(), which.tier) {
        let crews = view.crews.iter().map(|crew| crew.name.as_str());
        let known: Vec<&str> =
            view.tiers.iter().map(|tier| tier.name.as_str()).chain(crews).collect();
        let name: String = name.chars().take(64).collect();
        let error = format!("there is no tier {name}; there are: {}", known.join(", "));
        return Err(Trouble::new(Kind::NotFound, error));
    }
    Ok(Json(Explanations { tiers }))
}

/// What the judge says; when no rollout is open, how the last one ended, and why.
fn explanation(tier: &TierView, records: &[Record]) -> Explanation {
    if let Some(rollout) = &tier.rollout {
        let (text, report) = (rollout.explanation.clone(), rollout.report.clone());
        return Explanation { tier: tier.name.clone(), text, report };
    }
    let ended = |record: &&Record| {
        record.event.tier.as_ref() == Some(&tier.name)
            && matches!(record.event.change, Change::Promoted { .. } | Change::RolledBack { .. })
    };
    let last = records.iter().rfind(ended);
    let last = last.map_or(String::new(), |record| record.event.sentence() + "\n");
    let text = format!("no rollout is open; {} serves everybody\n{last}", tier.stable);
    Explanation { tier: tier.name.clone(), text, report: None }
}

/// Which part of the journal.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    after: Option<u64>,
    limit: Option<usize>,
}

/// The journal: the newest records, or those after a place.
#[utoipa::path(
    get, path = "/api/v1/log", tag = "look",
    params(
        ("after" = Option<u64>, Query, description = "Only records behind this place, oldest first"),
        ("limit" = Option<usize>, Query, description = "At most this many, up to 1000; 100 if left out"),
    ),
    responses((status = 200, description = "A part of the journal", body = Log))
)]
pub(super) async fn log(
    State(admin): State<Arc<Admin>>,
    part: Result<Query<Part>, QueryRejection>,
) -> Result<Json<Log>, Trouble> {
    let Query(part) = part.map_err(bad_query)?;
    let limit = part.limit.unwrap_or(LOG_LIMIT).min(LOG_LIMIT_MAX);
    let view = admin.handle.view();
    let all = view.records.as_slice();
    let chosen = match part.after {
        Some(after) => {
            let from = all.partition_point(|record| record.seq <= after);
            &all[from..all.len().min(from + limit)]
        }
        None => &all[all.len().saturating_sub(limit)..],
    };
    let records = chosen.iter().map(LogRecord::from).collect();
    let latest = all.last().map_or(0, |record| record.seq);
    let zone = view.zone.as_ref().map(ToString::to_string);
    Ok(Json(Log { records, latest, zone }))
}

/// Whose token was sent.
#[utoipa::path(
    get, path = "/api/v1/whoami", tag = "look", security(("token" = [])),
    responses(
        (status = 200, description = "The token's name and role", body = Whoami),
        (status = 401, description = "No token, or a wrong one", body = Trouble),
    )
)]
pub(super) async fn whoami(asker: Option<Extension<Asker>>) -> Result<Json<Whoami>, Trouble> {
    let Some(Extension(Asker(login))) = asker else {
        return Err(Trouble::new(Kind::Unauthorised, "no token was sent: you are nobody here"));
    };
    Ok(Json(Whoami { name: login.name.to_string(), role: login.role }))
}

#[expect(clippy::needless_pass_by_value, reason = "given to map_err")]
pub(super) fn bad_query(rejection: QueryRejection) -> Trouble {
    Trouble::new(Kind::BadRequest, rejection.body_text())
}
