//! What `weir start` would do now.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;

use super::Admin;
use super::api::{Kind, PlanStatus, Trouble};
use super::views::bad_query;
use crate::rollout::{Actor, Command, Order};
use crate::traffic::{TierName, Version};

/// Of which start.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Of {
    tier: Option<String>,
    version: Option<String>,
    #[serde(default)]
    again: bool,
}

/// What the order `start` would do, were it given now: in which order, and how long it takes. Nothing
/// changes.
#[utoipa::path(
    get, path = "/api/v1/plan", tag = "look",
    params(
        ("tier" = Option<String>, Query, description = "Only this tier"),
        ("version" = Option<String>, Query, description = "This version"),
        ("again" = Option<bool>, Query, description = "Also one that was rolled back"),
    ),
    responses(
        (status = 200, description = "What it would do", body = PlanStatus),
        (status = 400, description = "Not understood", body = Trouble),
        (status = 409, description = "It would be refused, with the way out", body = Trouble),
    )
)]
pub(super) async fn plan(
    State(admin): State<Arc<Admin>>,
    of: Result<Query<Of>, QueryRejection>,
) -> Result<Json<PlanStatus>, Trouble> {
    let Query(Of { tier, version, again }) = of.map_err(bad_query)?;
    let bad = |error: String| Trouble::new(Kind::BadRequest, error);
    let tier = tier.map(|name| name.parse::<TierName>()).transpose();
    let version = version.map(|name| name.parse::<Version>()).transpose();
    let order = Order::Start {
        tier: tier.map_err(|error| bad(error.to_string()))?,
        version: version.map_err(|error| bad(error.to_string()))?,
        upstreams: vec![],
        again,
    };
    let command = Command { order, by: Actor::weir(), because: None };
    let outlook = admin.handle.outlook(command).await?;
    Ok(Json(outlook.into()))
}
