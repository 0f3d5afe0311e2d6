//! The caches of answers: what each version's part holds, and how some of it is thrown away.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use axum::extract::State;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};

use super::Admin;
use super::api::{HttpCacheStatus, Kind, Purged, Trouble};
use super::commands::whole;
use super::guard::Asker;
use crate::metrics::HttpCacheEntry;
use crate::namespace::http::key::{self, Purge};

/// The way to the caches of answers.
pub struct HttpCaches {
    entries: Box<dyn Fn() -> Vec<HttpCacheEntry> + Send + Sync>,
    purge: Box<dyn Fn(&Purge) -> u64 + Send + Sync>,
}

impl HttpCaches {
    /// `entries` lists every version's part; `purge` throws away and gives how many answers there
    /// were.
    pub fn new(
        entries: impl Fn() -> Vec<HttpCacheEntry> + Send + Sync + 'static,
        purge: impl Fn(&Purge) -> u64 + Send + Sync + 'static,
    ) -> Self {
        Self { entries: Box::new(entries), purge: Box::new(purge) }
    }

    /// Every version's part, for the metrics.
    pub(super) fn entries(&self) -> Vec<HttpCacheEntry> {
        (self.entries)()
    }

    /// Every version's part, as the API shows it.
    pub(super) fn status(&self) -> Vec<HttpCacheStatus> {
        self.entries().iter().map(status).collect()
    }
}

impl fmt::Debug for HttpCaches {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("HttpCaches(..)")
    }
}

fn status(entry: &HttpCacheEntry) -> HttpCacheStatus {
    let HttpCacheEntry { tier, version, namespace, size, counts } = entry;
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    HttpCacheStatus {
        tier: tier.clone(),
        version: version.clone(),
        namespace: namespace.clone(),
        entries: count(&counts.entries),
        bytes: count(&counts.bytes),
        size: *size,
        hits: count(&counts.hits),
        stale: count(&counts.stale),
        collapsed: count(&counts.collapsed),
        revalidated: count(&counts.revalidated),
        misses: count(&counts.misses),
        passed: count(&counts.passed),
        hit_ratio: counts.hit_ratio(),
    }
}

/// Which answers: one of the three.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Which {
    /// Those of one URL, with its host, in all versions: `https://shop.example/page?x=1`.
    Url(String),
    /// Those with a tag in `Cache-Tag` or `Surrogate-Key`, in all versions.
    Tag(String),
    /// All of one version, by the name that `GET /api/v1/caches` shows.
    Namespace(String),
}

impl TryFrom<Which> for Purge {
    type Error = Trouble;

    fn try_from(which: Which) -> Result<Self, Trouble> {
        Ok(match which {
            Which::Url(text) => Self::Url(key::written(&text).ok_or_else(|| {
                let error =
                    format!("{text:?} is no URL with a host; \"https://shop.example/page\"");
                Trouble::new(Kind::BadRequest, error)
            })?),
            Which::Tag(tag) => Self::Tag(tag),
            Which::Namespace(namespace) => Self::Namespace(namespace),
        })
    }
}

/// Throws answers away that are kept; the next who asks gets them from the service.
#[utoipa::path(
    post, path = "/api/v1/caches/purge", tag = "order", security(("token" = [])),
    request_body = Which,
    responses(
        (status = 200, description = "How many answers there were", body = Purged),
        (status = 400, description = "Not understood", body = Trouble),
        (status = 401, description = "No token, or a wrong one", body = Trouble),
        (status = 403, description = "A viewer's token", body = Trouble),
        (status = 413, description = "Larger than 64 KiB", body = Trouble),
    )
)]
pub(super) async fn purge(
    State(admin): State<Arc<Admin>>,
    Extension(Asker(login)): Extension<Asker>,
    body: Body,
) -> Result<Json<Purged>, Trouble> {
    let bytes = whole(body).await?;
    let which: Which = serde_json::from_slice(&bytes).map_err(|error| {
        let help = "send {\"url\": ...}, {\"tag\": ...} or {\"namespace\": ...}";
        Trouble::new(Kind::BadRequest, format!("not understood: {error}; {help}"))
    })?;
    tracing::info!(by = %login.name, ?which, "answers are thrown away");
    let purge = Purge::try_from(which)?;
    Ok(Json(Purged { answers: (admin.http_caches.purge)(&purge) }))
}
