//! The caches: what each version's part holds, and how one is thrown away.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::{Extension, Json};
use serde::Deserialize;

use super::Admin;
use super::api::{CacheStatus, CachesStatus, Dropped, Kind, Trouble};
use super::commands::whole;
use super::guard::Asker;
use crate::metrics::CacheLedger;
use crate::namespace::Namespace;

type Looking = Pin<Box<dyn Future<Output = Vec<CacheStatus>> + Send>>;
type Dropping = Pin<Box<dyn Future<Output = Result<Option<u64>, String>> + Send>>;

/// The way to the caches.
pub struct Caches {
    /// What is counted.
    pub ledger: Arc<CacheLedger>,
    look: Box<dyn Fn() -> Looking + Send + Sync>,
    empty: Box<dyn Fn(Namespace) -> Dropping + Send + Sync>,
}

impl Caches {
    /// `look` asks the servers what each namespace holds; `empty` deletes all keys of one and gives
    /// how many there were, or a sentence.
    pub fn new<L, E>(
        ledger: Arc<CacheLedger>,
        look: impl Fn() -> L + Send + Sync + 'static,
        empty: impl Fn(Namespace) -> E + Send + Sync + 'static,
    ) -> Self
    where
        L: Future<Output = Vec<CacheStatus>> + Send + 'static,
        E: Future<Output = Result<Option<u64>, String>> + Send + 'static,
    {
        Self {
            ledger,
            look: Box::new(move || Box::pin(look())),
            empty: Box::new(move |namespace| Box::pin(empty(namespace))),
        }
    }
}

impl fmt::Debug for Caches {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Caches(..)")
    }
}

/// What each version has in the caches. Looks through the keys of their servers.
#[utoipa::path(
    get, path = "/api/v1/caches", tag = "look",
    responses((status = 200, description = "The ports of caches", body = CachesStatus))
)]
pub(super) async fn caches(State(admin): State<Arc<Admin>>) -> Json<CachesStatus> {
    let caches = (admin.caches.look)().await;
    Json(CachesStatus { caches, http: admin.http_caches.status() })
}

/// Which namespace.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// Its name, as `GET /api/v1/caches` shows it; also one whose release is gone.
    namespace: String,
}

/// Throws a namespace away: deletes all its keys.
#[utoipa::path(
    post, path = "/api/v1/caches/drop", tag = "order", security(("token" = [])),
    request_body = Which,
    responses(
        (status = 200, description = "How many keys there were", body = Dropped),
        (status = 400, description = "Not understood", body = Trouble),
        (status = 401, description = "No token, or a wrong one", body = Trouble),
        (status = 403, description = "A viewer's token", body = Trouble),
        (status = 409, description = "There are no namespaces, or a server is not reached", body = Trouble),
        (status = 413, description = "Larger than 64 KiB", body = Trouble),
    )
)]
pub(super) async fn empty(
    State(admin): State<Arc<Admin>>,
    Extension(Asker(login)): Extension<Asker>,
    body: Body,
) -> Result<Json<Dropped>, Trouble> {
    let bad = |error: String| Trouble::new(Kind::BadRequest, error);
    let bytes = whole(body).await?;
    let Which { namespace } = serde_json::from_slice(&bytes).map_err(|error| {
        bad(format!("not understood: {error}; send {{\"namespace\": \"1.1.0\"}}"))
    })?;
    let namespace: Namespace = namespace
        .parse()
        .map_err(|error: crate::namespace::NamespaceError| bad(error.to_string()))?;
    tracing::info!(by = %login.name, %namespace, "a namespace is thrown away");
    let keys = (admin.caches.empty)(namespace.clone()).await;
    let keys = keys.map_err(|error| Trouble::new(Kind::Refused, error))?;
    Ok(Json(Dropped { namespace: namespace.to_string(), keys }))
}
