//! The curves: counted on while the API serves, from the published snapshot and the register.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;
use tokio::time::MissedTickBehavior;

use super::Admin;
use super::api::{History, Kind, Trouble};
use super::views::bad_query;
use crate::clock;
use crate::control::TierView;
use crate::metrics::curves::{
    COARSE, Curves, EvidencePoint, FINE, Moment, Pair, PairKind, PairMoment, TierMoment,
};
use crate::metrics::{CacheEntry, HttpCacheEntry};
use crate::traffic::Version;

/// The spans that can be asked for, with the time of their points.
const SPANS: [(&str, Duration, Duration); 3] = [
    ("15m", Duration::from_mins(15), FINE),
    ("1h", Duration::from_hours(1), FINE),
    ("24h", Duration::from_hours(24), COARSE),
];

/// Which time.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    span: Option<String>,
}

/// What was counted over time, since the program started: requests, errors and latencies of each
/// version, the evidence, caches and jobs, with what happened meanwhile.
#[utoipa::path(
    get, path = "/api/v1/history", tag = "look",
    params(
        ("span" = Option<String>, Query, description = "`15m` or `1h` in points of 5 s, or `24h` in points of 60 s; `15m` if left out"),
    ),
    responses(
        (status = 200, description = "Columns, all of the same length", body = History),
        (status = 400, description = "Not understood", body = Trouble),
    )
)]
pub(super) async fn history(
    State(admin): State<Arc<Admin>>,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Json<History>, Trouble> {
    let Query(which) = which.map_err(bad_query)?;
    let asked = which.span.as_deref().unwrap_or(SPANS[0].0);
    let Some((_, span, step)) = SPANS.iter().find(|(name, ..)| *name == asked) else {
        return Err(Trouble::new(Kind::BadRequest, "span is 15m, 1h or 24h"));
    };
    let view = admin.handle.view();
    let curves = admin.curves();
    Ok(Json(History::of(&curves.newest(*step, *span), clock::wall(), &view)))
}

impl Admin {
    pub(super) fn curves(&self) -> MutexGuard<'_, Curves> {
        self.curves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts on for ever.
    pub(super) async fn draw(self: Arc<Self>) {
        let mut steps = tokio::time::interval(FINE);
        steps.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            steps.tick().await;
            let moment = self.moment();
            let closed = {
                let mut curves = self.curves();
                curves.add(&moment);
                curves.closed()
            };
            self.drawn.send_replace(closed);
        }
    }

    fn moment(&self) -> Moment {
        let view = self.handle.view();
        let used = |version: &Version| {
            let in_use = |tier: &TierView| {
                tier.releases.iter().any(|it| it.version == *version && serves(it.role))
            };
            view.tiers.iter().any(in_use)
        };
        let caches = self.caches.ledger.entries();
        let pairs = caches.iter().flat_map(|entry| of_cache(entry, used(&entry.version)));
        let http = self.http_caches.entries();
        let http = http.iter().map(|entry| of_answers(entry, used(&entry.version)));
        Moment {
            at: Instant::now(),
            wall: clock::wall(),
            tiers: view.tiers.iter().map(|tier| self.tier(tier)).collect(),
            pairs: pairs.chain(http).collect(),
        }
    }

    fn tier(&self, view: &TierView) -> TierMoment {
        let versions = view.releases.iter().map(|release| {
            (release.version.clone(), serves(release.role), self.register.totals(release.slot))
        });
        let report = view.rollout.as_ref().and_then(|rollout| rollout.report.as_ref());
        let evidence = report.into_iter().flat_map(|report| &report.metrics);
        let evidence = evidence.map(|metric| EvidencePoint {
            metric: metric.name.as_str().into(),
            log_odds: metric.log_e,
            log_odds_limit: metric.log_e_rollback_at,
            upper_bound: metric.upper_bound,
            margin: metric.limit,
        });
        TierMoment {
            tier: view.name.clone(),
            weight: view.weight,
            versions: versions.collect(),
            evidence: evidence.collect(),
        }
    }
}

/// Whether a release with this role has users, or may have them in a moment.
fn serves(role: &str) -> bool {
    ["canary", "stable"].contains(&role)
}

fn of_cache(entry: &CacheEntry, in_use: bool) -> [PairMoment; 2] {
    let CacheEntry { cache, version, counts, .. } = entry;
    let jobs = counts.jobs.done();
    let pair = |kind, in_use, counts| {
        let of = Pair { kind, name: cache.as_str().into(), version: version.clone() };
        PairMoment { of, in_use, counts }
    };
    let lookups = [&counts.hits, &counts.misses].map(|count| count.load(Ordering::Relaxed));
    [
        pair(PairKind::Cache, in_use, lookups),
        // Where no jobs pass there is no curve of them.
        pair(PairKind::Jobs, in_use && jobs.processed > 0, [jobs.processed, jobs.failed]),
    ]
}

fn of_answers(entry: &HttpCacheEntry, in_use: bool) -> PairMoment {
    let HttpCacheEntry { tier, version, counts, .. } = entry;
    let of =
        Pair { kind: PairKind::HttpCache, name: tier.as_str().into(), version: version.clone() };
    PairMoment { of, in_use, counts: counts.spared_and_asked() }
}
