//! The document afterwards.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::Admin;
use super::api::{Kind, Trouble};
use super::views::bad_query;
use crate::clock;
use crate::report::{self, Format, Report, ReportError};

/// Which report, and how it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    rollout: Option<u64>,
    format: Option<String>,
}

/// What was planned in a rollout, what happened, by whom and why, with the numbers.
#[utoipa::path(
    get, path = "/api/v1/report", tag = "look",
    params(
        ("rollout" = Option<u64>, Query, description = "Its number; the newest if left out"),
        ("format" = Option<String>, Query, description = "`md`, `html` or `json`; `json` if left out"),
    ),
    responses(
        (status = 200, description = "The report", body = String),
        (status = 400, description = "Not understood", body = Trouble),
        (status = 404, description = "No such rollout", body = Trouble),
        (status = 503, description = "The journal gives no numbers", body = Trouble),
    )
)]
pub(super) async fn report(
    State(admin): State<Arc<Admin>>,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Response, Trouble> {
    let Query(which) = which.map_err(bad_query)?;
    let (format, kind) = match which.format.as_deref() {
        Some("html") => (Format::Html, "text/html; charset=utf-8"),
        None | Some("json") => (Format::Json, "application/json"),
        Some("md") => (Format::Markdown, "text/markdown; charset=utf-8"),
        Some(_) => return Err(Trouble::new(Kind::BadRequest, "format is md, html or json")),
    };
    let view = admin.handle.view();
    let none = |error: ReportError| Trouble::new(Kind::NotFound, error.to_string());
    let rollout = which.rollout.map_or_else(|| report::latest(&view.records), Ok).map_err(none)?;
    let samples = admin.shelf.samples(rollout).await;
    let samples = samples.map_err(|error| Trouble::new(Kind::Journal, error.to_string()))?;
    let report = Report::of(rollout, &view.records, &samples, (clock::wall(), &view.zone()))
        .map_err(none)?;
    // The page needs nothing from elsewhere, and must not get it.
    let policy = "default-src 'none'; style-src 'unsafe-inline'";
    let headers = [(header::CONTENT_TYPE, kind), (header::CONTENT_SECURITY_POLICY, policy)];
    Ok((headers, report.text(format)).into_response())
}
