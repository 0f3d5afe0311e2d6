//! Those who are told what happens, and messages that only test whether they arrive.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::extract::State;
use axum::{Extension, Json};
use serde::Deserialize;

use super::Admin;
use super::api::{Kind, NotificationStatus, NotificationTest, NotificationTests, Trouble};
use super::commands::whole;
use super::guard::Asker;
use crate::metrics::{DeliveryEntry, DeliveryLedger};
use crate::rollout::Actor;

type Testing = Pin<Box<dyn Future<Output = Vec<NotificationTest>> + Send>>;

/// The way to those who are told.
pub struct Notifications {
    /// What is counted.
    pub ledger: Arc<DeliveryLedger>,
    test: Box<dyn Fn(Option<String>, Actor) -> Testing + Send + Sync>,
}

impl Notifications {
    /// `test` sends a message to the target of that name, or to all, by order of somebody.
    pub fn new<F>(
        ledger: Arc<DeliveryLedger>,
        test: impl Fn(Option<String>, Actor) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Vec<NotificationTest>> + Send + 'static,
    {
        Self { ledger, test: Box::new(move |name, by| Box::pin(test(name, by))) }
    }

    pub(super) fn status(&self) -> Vec<NotificationStatus> {
        self.ledger.entries().iter().map(NotificationStatus::from).collect()
    }
}

impl fmt::Debug for Notifications {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Notifications(..)")
    }
}

impl From<&DeliveryEntry> for NotificationStatus {
    fn from(entry: &DeliveryEntry) -> Self {
        let (counts, trouble) = (&entry.counts, entry.counts.trouble());
        Self {
            name: entry.name.clone(),
            kind: entry.kind.to_owned(),
            sent: counts.sent.load(Ordering::Relaxed),
            failed: counts.failed.load(Ordering::Relaxed),
            dropped: counts.dropped.load(Ordering::Relaxed),
            waiting: counts.waiting.load(Ordering::Relaxed),
            since: trouble.as_ref().map(|trouble| trouble.since),
            trouble: trouble.map(|trouble| trouble.what),
        }
    }
}

/// Who is to be told.
#[derive(Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct To {
    /// The target; without it all.
    name: Option<String>,
}

/// Sends a test message, and says whether it arrived.
#[utoipa::path(
    post, path = "/api/v1/notify/test", tag = "order", security(("token" = [])),
    request_body = To,
    responses(
        (status = 200, description = "What came of it, by target", body = NotificationTests),
        (status = 400, description = "Not understood", body = Trouble),
        (status = 401, description = "No token, or a wrong one", body = Trouble),
        (status = 403, description = "A viewer's token", body = Trouble),
        (status = 404, description = "No such target", body = Trouble),
        (status = 413, description = "Larger than 64 KiB", body = Trouble),
    )
)]
pub(super) async fn test(
    State(admin): State<Arc<Admin>>,
    Extension(Asker(login)): Extension<Asker>,
    body: Body,
) -> Result<Json<NotificationTests>, Trouble> {
    let bytes = whole(body).await?;
    let To { name } = serde_json::from_slice(&bytes).map_err(|error| {
        let error = format!("not understood: {error}; send {{\"name\": \"chat\"}} or {{}}");
        Trouble::new(Kind::BadRequest, error)
    })?;
    let entries = admin.notifications.ledger.entries();
    let told = entries.iter().filter(|entry| entry.kind != "alertmanager");
    let known: Vec<&str> = told.map(|entry| entry.name.as_str()).collect();
    if known.is_empty() {
        let error = "nobody is told anything: the file has no [[notify]]";
        return Err(Trouble::new(Kind::NotFound, error));
    }
    if let Some(name) = name.as_ref().filter(|name| !known.contains(&name.as_str())) {
        let error = format!("there is no target {name:?}; the file has: {}", known.join(", "));
        return Err(Trouble::new(Kind::NotFound, error));
    }
    let targets = (admin.notifications.test)(name, login.name).await;
    Ok(Json(NotificationTests { targets }))
}
