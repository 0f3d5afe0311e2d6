//! The checks before a rollout, made now.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};

use super::Admin;
use super::api::{Kind, PreflightStatus, Trouble};
use super::commands::whole;
use super::guard::Asker;
use crate::traffic::Version;

type Checking = Pin<Box<dyn Future<Output = Result<PreflightStatus, String>> + Send>>;

/// Makes the checks.
pub struct Preflight(Box<dyn Fn(Option<Version>) -> Checking + Send + Sync>);

impl Preflight {
    /// `check` makes the checks for a rollout of a version, or for all releases; a sentence where
    /// there is no such version.
    pub fn new<F>(check: impl Fn(Option<Version>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<PreflightStatus, String>> + Send + 'static,
    {
        Self(Box::new(move |version| Box::pin(check(version))))
    }
}

impl fmt::Debug for Preflight {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Preflight(..)")
    }
}

/// For which version.
#[derive(Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Of {
    /// The version that is to be rolled out; without it all releases of the file are looked at.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    version: Option<Version>,
}

/// Makes the checks that stand before a rollout. They change nothing, but ask upstreams, disks and
/// whatever the file names.
#[utoipa::path(
    post, path = "/api/v1/preflight", tag = "order", security(("token" = [])),
    request_body = Of,
    responses(
        (status = 200, description = "What was found", body = PreflightStatus),
        (status = 400, description = "Not understood, or no such version", body = Trouble),
        (status = 401, description = "No token, or a wrong one", body = Trouble),
        (status = 403, description = "A viewer's token", body = Trouble),
        (status = 413, description = "Larger than 64 KiB", body = Trouble),
    )
)]
pub(super) async fn preflight(
    State(admin): State<Arc<Admin>>,
    Extension(Asker(login)): Extension<Asker>,
    body: Body,
) -> Result<Json<PreflightStatus>, Trouble> {
    let bytes = whole(body).await?;
    let Of { version } = serde_json::from_slice(&bytes).map_err(|error| {
        let error = format!("not understood: {error}; send {{}} or {{\"version\": \"1.1.0\"}}");
        Trouble::new(Kind::BadRequest, error)
    })?;
    tracing::info!(by = %login.name, "preflight");
    let made = (admin.preflight.0)(version).await;
    made.map(Json).map_err(|error| Trouble::new(Kind::BadRequest, error))
}
