//! Silences of alerts while a rollout is open. What there should be follows from the open rollouts, and
//! what there is the Alertmanager knows: so a killed Weir finds its silences again, and ends them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::settings::Alertmanager;
use super::{Trouble, wire};
use crate::clock;
use crate::control::View;
use crate::metrics::DeliveryCounts;
use crate::rollout::RolloutId;
use crate::time::Zone;
use crate::tls::Keyring;

/// How long a silence lasts without Weir: should Weir not come back, alerts do.
const LASTS: Duration = Duration::from_mins(15);

/// A silence that ends sooner than this is made longer.
const RENEW_BELOW: Duration = Duration::from_mins(10);

/// How often it is looked whether there is what there should be.
const LOOK_EVERY: Duration = Duration::from_mins(1);

/// The pause after a look that failed.
const PAUSE: Duration = Duration::from_secs(5);

/// How long one request may take.
const ASK_MAX: Duration = Duration::from_secs(10);

/// What the comments of Weir's silences begin with.
const COMMENT: &str = "weir rollout ";

/// A silence as the API writes it (v2).
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Silence {
    id: String,
    comment: String,
    created_by: String,
    ends_at: String,
    status: Status,
}

#[derive(Clone, Debug, Deserialize)]
struct Status {
    state: String,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Wanted<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    comment: String,
    created_by: &'a str,
    starts_at: String,
    ends_at: String,
    matchers: Vec<serde_json::Value>,
}

/// Keeps the silences as they should be, until it is dropped.
pub(super) async fn keep(
    settings: Alertmanager,
    mut views: watch::Receiver<Arc<View>>,
    keyring: Arc<Keyring>,
    counts: Arc<DeliveryCounts>,
) {
    loop {
        let open = open(&views.borrow_and_update());
        let pause = match tend(&settings, &open, &keyring, &counts).await {
            Ok(()) => {
                counts.mend();
                LOOK_EVERY
            }
            Err(trouble) => {
                if counts.trouble().is_none() {
                    tracing::warn!("alertmanager: {}; it is tried again", trouble.what);
                }
                counts.fails(clock::wall(), &trouble.what);
                PAUSE
            }
        };
        let other = async {
            // The view is new each second, and rarely says anything else.
            while views.changed().await.is_ok() {
                if self::open(&views.borrow_and_update()) != open {
                    return true;
                }
            }
            false
        };
        if let Ok(false) = tokio::time::timeout(pause, other).await {
            return;
        }
    }
}

/// The open rollouts, with where and what they roll out. One over tiers is open from its first step
/// to its last, also while no tier has users on two versions.
fn open(view: &View) -> BTreeSet<(RolloutId, String)> {
    let mut open = BTreeMap::<RolloutId, Vec<String>>::new();
    if let Some(upgrade) = &view.upgrade {
        let name = upgrade.name.clone().unwrap_or_else(|| "over tiers".into());
        open.insert(upgrade.id, vec![name]);
    }
    for tier in &view.tiers {
        if let Some(rollout) = &tier.rollout {
            open.entry(rollout.id)
                .or_default()
                .push(format!("{} in {}", rollout.release, tier.name));
        }
    }
    open.into_iter().map(|(id, what)| (id, what.join(", "))).collect()
}

/// Makes, prolongs and ends silences.
async fn tend(
    settings: &Alertmanager,
    open: &BTreeSet<(RolloutId, String)>,
    keyring: &Keyring,
    counts: &DeliveryCounts,
) -> Result<(), Trouble> {
    let found = own(settings, keyring).await?;
    let (now, zone) = (clock::wall(), Zone::UTC);
    for (id, what) in open {
        let mark = format!("{COMMENT}{id}:");
        let known = found.iter().find(|silence| silence.comment.starts_with(&mark));
        if known.is_some_and(|silence| left(silence, now) > RENEW_BELOW) {
            continue;
        }
        let wanted = Wanted {
            id: known.map(|silence| silence.id.as_str()),
            comment: format!("{mark} {what}"),
            created_by: &settings.created_by,
            starts_at: zone.stamp(now),
            ends_at: zone.stamp(now.plus(LASTS)),
            matchers: settings.matchers.iter().map(matcher).collect(),
        };
        let body = serde_json::to_string(&wanted).map_err(|e| Trouble::passing(e.to_string()))?;
        ask(settings, (Method::POST, "/api/v2/silences"), body, keyring).await?;
        counts.arrives();
        if known.is_none() {
            tracing::info!("alerts are silenced for rollout {id}: {what}");
        }
    }
    let is_over = |silence: &&Silence| {
        !open.iter().any(|(id, _)| silence.comment.starts_with(&format!("{COMMENT}{id}:")))
    };
    for silence in found.iter().filter(is_over) {
        let path = format!("/api/v2/silence/{}", silence.id);
        ask(settings, (Method::DELETE, &path), String::new(), keyring).await?;
        counts.arrives();
        tracing::info!("alerts are heard again: {}", silence.comment);
    }
    Ok(())
}

/// Weir's silences that are not over.
async fn own(settings: &Alertmanager, keyring: &Keyring) -> Result<Vec<Silence>, Trouble> {
    let body = ask(settings, (Method::GET, "/api/v2/silences"), String::new(), keyring).await?;
    let all: Vec<Silence> = serde_json::from_str(&body).map_err(|error| {
        let host = settings.url.host();
        Trouble::passing(format!("what {host} answers is no list of silences: {error}"))
    })?;
    let own = |silence: &Silence| {
        silence.created_by == settings.created_by
            && silence.comment.starts_with(COMMENT)
            && silence.status.state != "expired"
    };
    Ok(all.into_iter().filter(own).collect())
}

fn left(silence: &Silence, now: crate::time::Timestamp) -> Duration {
    let end = silence.ends_at.parse::<jiff::Timestamp>().ok();
    let end = end.and_then(|end| u64::try_from(end.as_millisecond()).ok()).unwrap_or(0);
    crate::time::Timestamp::from_millis(end).since(now)
}

fn matcher(matcher: &super::Matcher) -> serde_json::Value {
    serde_json::json!({
        "name": matcher.name,
        "value": matcher.value,
        "isRegex": matcher.is_regex,
        "isEqual": matcher.is_equal,
    })
}

async fn ask(
    settings: &Alertmanager,
    (method, path): (Method, &str),
    body: String,
    keyring: &Keyring,
) -> Result<String, Trouble> {
    let mut headers =
        if body.is_empty() { HeaderMap::new() } else { wire::content("application/json") };
    if let Some(authorization) = &settings.authorization {
        let wrong = |_| Trouble::passing("`authorization` cannot stand in a header");
        let value = authorization.reveal().map_err(Trouble::passing)?;
        let mut value = HeaderValue::try_from(value).map_err(wrong)?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    let url = &settings.url;
    let path = format!("{}{path}", url.uri().path().trim_end_matches('/'));
    let asking = async {
        let asked = wire::ask(url, (method, &path), headers, body, (&settings.tls, keyring)).await;
        let answer = asked.map_err(Trouble::passing)?;
        answer.is_done(url.host())?;
        Ok(answer.body)
    };
    wire::in_time(ASK_MAX, asking).await
}
