//! The metrics as Prometheus reads them. docs/metrics.md lists every family.
//!
//! The exporter keeps each series for ever and its counters can only rise, so each scrape has a
//! recorder of its own: a release that left the file leaves with its series, and what is shown is
//! what the register holds. The exporter has no way to take buckets that were counted elsewhere,
//! so the one histogram is written here.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, gauge, with_local_recorder};
use metrics_exporter_prometheus::PrometheusBuilder;

use super::{
    Attempts, BUCKETS, CacheEntry, DeliveryEntry, Displaced, Fallthrough, Flood, Handshake,
    HealthState, HttpCacheEntry, JobCounts, Register, Shown, Slow, TrackShown, UpstreamShown,
    Waited, bucket_edges, deliveries, events, http_caches, rollouts, signals, spans,
};
use crate::analysis::Report;
use crate::namespace::redis::Jobs;
use crate::time::Timestamp;
use crate::traffic::{TierName, Track, Version, Weight};

/// The content type of [`render`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Answers by class.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Health as series of 0 and 1.
const HEALTH: [(&str, HealthState); 4] = [
    ("unknown", HealthState::Unknown),
    ("healthy", HealthState::Healthy),
    ("unhealthy", HealthState::Unhealthy),
    ("ejected", HealthState::Ejected),
];

/// The histogram shows every second edge of the register (half octaves) between these: what lies
/// below is noise, what lies above has timed out.
const SHOWN_EDGES: [Duration; 2] = [Duration::from_micros(400), Duration::from_secs(70)];

/// How reloads of the file went.
#[derive(Debug)]
pub struct Reloads {
    succeeded: AtomicU64,
    last_worked: AtomicBool,
}

impl Reloads {
    /// The file was read at `start`, when the program began.
    pub fn new(start: Timestamp) -> Self {
        Self { succeeded: AtomicU64::new(start.millis()), last_worked: AtomicBool::new(true) }
    }

    /// A reload took effect.
    pub fn worked(&self, at: Timestamp) {
        self.succeeded.store(at.millis(), Ordering::Relaxed);
        self.last_worked.store(true, Ordering::Relaxed);
    }

    /// A reload changed nothing, since it was refused.
    pub fn failed(&self) {
        self.last_worked.store(false, Ordering::Relaxed);
    }
}

/// All that is shown beside the counts of the register.
#[derive(Debug)]
pub struct Scene<'a> {
    /// When the program started.
    pub started: Timestamp,
    /// Whether the journal is in trouble.
    pub journal_trouble: bool,
    /// How reloads went.
    pub reloads: &'a Reloads,
    /// The certificates that are served: the first name of each, once, and until when the first of
    /// that name is valid.
    pub certificates: Vec<(String, Timestamp)>,
    /// The ports of caches.
    pub caches: Vec<CacheEntry>,
    /// The caches of answers.
    pub http_caches: Vec<HttpCacheEntry>,
    /// Those who are told what happens.
    pub deliveries: Vec<DeliveryEntry>,
    /// The names of all kinds of events.
    pub kinds: &'static [&'static str],
    /// The open rollout over tiers.
    pub upgrade: Option<UpgradeScene>,
    /// The tiers.
    pub tiers: Vec<TierScene<'a>>,
    /// The workers on trial, and what is known of their jobs.
    pub crews: Vec<(&'a TierName, &'a Report)>,
}

/// An open rollout over tiers.
#[derive(Clone, Copy, Debug, Default)]
pub struct UpgradeScene {
    /// What is done in it, in steps.
    pub items: usize,
    /// How many of them are done.
    pub done: usize,
    /// Whether it waits for a person.
    pub needs_person: bool,
    /// Whether it goes back.
    pub goes_back: bool,
}

/// One tier.
#[derive(Debug)]
pub struct TierScene<'a> {
    /// Its name.
    pub name: &'a TierName,
    /// The canary's share.
    pub weight: Weight,
    /// The rung of the open rollout, counted from 1; 0 without one.
    pub stage: usize,
    /// How many rungs there are.
    pub stages: usize,
    /// Whether an order stopped progress.
    pub paused: bool,
    /// Whether the time for a proof is over, and it waits for a person.
    pub needs_person: bool,
    /// When the weight of the open rollout was reached.
    pub entered: Option<Timestamp>,
    /// What it is closed to its users for: `hold` or `maintenance`.
    pub closed: Option<&'static str>,
    /// What the judge knows.
    pub report: Option<&'a Report>,
    /// Minutes of stable known for the calibration.
    pub calibration_minutes: usize,
    /// The releases of the file and those in use.
    pub releases: Vec<ReleaseScene<'a>>,
    /// Its instances, where they are moved one at a time, and whose requests each gets; none: it is
    /// being moved.
    pub instances: Vec<(&'a str, Option<&'a Version>)>,
}

/// One release.
#[derive(Debug)]
pub struct ReleaseScene<'a> {
    /// Its version.
    pub version: &'a Version,
    /// `stable`, `canary`, `previous` or `available`.
    pub role: &'static str,
    /// Its place in the register.
    pub slot: usize,
    /// Its upstreams: addresses and places in the register.
    pub upstreams: Vec<(&'a str, usize)>,
}

/// The whole text of `/metrics`: families in the order of their names.
pub fn render(scene: &Scene<'_>, register: &Register) -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    let mut latency = Histogram::default();
    with_local_recorder(&recorder, || {
        describe();
        program(scene, register);
        scene.caches.iter().for_each(cache);
        scene.http_caches.iter().for_each(http_caches::expose);
        scene.deliveries.iter().for_each(deliveries::expose);
        signals::expose(register.signals());
        events::expose(register.events(), scene.kinds, scene.tiers.iter().map(|tier| tier.name));
        spans::expose(register.tracer());
        rollouts::upgrade(scene.upgrade.as_ref());
        scene.crews.iter().for_each(|(name, report)| rollouts::evidence(name.as_str(), report));
        for tier in &scene.tiers {
            self::tier(tier, register);
            for release in &tier.releases {
                let shown = register.shown(release.slot);
                self::release(tier.name, release, &shown, register);
                for (track, shown) in tracks(release, &shown) {
                    latency.add(tier.name, release.version, track, shown);
                }
            }
        }
    });
    sorted(&recorder.handle().render(), latency.text)
}

/// What a release did on the track it stands on, and on the other one if it did anything there.
fn tracks<'s>(release: &ReleaseScene<'_>, shown: &'s Shown) -> Vec<(Track, &'s TrackShown)> {
    let did = |shown: &TrackShown| {
        let attempts = &shown.attempts;
        let Attempts { full, refused, reset, timeout, other, .. } = attempts;
        let broken = [*full, *refused, *reset, *timeout, *other];
        attempts.classes.iter().chain(&broken).chain(&shown.responses).any(|count| *count > 0)
    };
    let stands_as_stable = matches!(release.role, "stable" | "previous");
    let stable = (Track::Stable, &shown.stable);
    let canary = (Track::Canary, &shown.canary);
    let is_shown = |(track, shown): &(Track, &TrackShown)| {
        (*track == Track::Stable) == stands_as_stable || did(shown)
    };
    [stable, canary].into_iter().filter(is_shown).collect()
}

fn program(scene: &Scene<'_>, register: &Register) {
    gauge!("weir_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    gauge!("weir_start_timestamp_seconds").set(seconds(scene.started.millis()));
    gauge!("weir_journal_trouble").set(flag(scene.journal_trouble));
    for (name, not_after) in &scene.certificates {
        gauge!("weir_certificate_expires_timestamp_seconds", "name" => name.clone())
            .set(seconds(not_after.millis()));
    }
    let memory = register.memory();
    gauge!("weir_memory_bytes").set(memory.used() as f64);
    if let Some(limit) = memory.limit() {
        gauge!("weir_memory_limit_bytes").set(limit as f64);
    }
    let reloads = scene.reloads;
    gauge!("weir_config_last_reload_success_timestamp_seconds")
        .set(seconds(reloads.succeeded.load(Ordering::Relaxed)));
    gauge!("weir_config_last_reload_successful")
        .set(flag(reloads.last_worked.load(Ordering::Relaxed)));
}

fn cache(entry: &CacheEntry) {
    let CacheEntry { cache, version, counts, .. } = entry;
    let labels = [("cache", cache.clone()), ("version", version.to_string())];
    gauge!("weir_cache_connections", &labels)
        .set(counts.connections.load(Ordering::Relaxed) as f64);
    let counters = [
        ("weir_cache_commands_total", &counts.commands),
        ("weir_cache_hits_total", &counts.hits),
        ("weir_cache_misses_total", &counts.misses),
        ("weir_cache_refused_commands_total", &counts.refused),
        ("weir_cache_keyless_scripts_total", &counts.keyless_scripts),
        ("weir_cache_repeats_total", &counts.repeats),
        ("weir_cache_failed_repeats_total", &counts.failed_repeats),
        ("weir_cache_reaped_keys_total", &counts.reaped),
        ("weir_cache_connect_failures_total", &counts.unreached),
    ];
    for (name, count) in counters {
        counter!(name, &labels).absolute(count.load(Ordering::Relaxed));
    }
    if !entry.is_apart {
        jobs(&counts.jobs, &labels);
    }
}

fn jobs(counts: &JobCounts, [cache, version]: &[(&'static str, String); 2]) {
    let Jobs { processed, failed, retried, dead } = counts.done();
    let outcomes =
        [("processed", processed), ("failed", failed), ("retried", retried), ("dead", dead)];
    for (outcome, count) in outcomes {
        let labels = [cache.clone(), version.clone(), ("outcome", outcome.to_owned())];
        counter!("weir_jobs_total", &labels).absolute(count);
    }
    for (queue, count) in counts.fetched() {
        let labels = [cache.clone(), version.clone(), ("queue", queue)];
        counter!("weir_job_fetches_total", &labels).absolute(count);
    }
}

fn tier(tier: &TierScene<'_>, register: &Register) {
    let name = tier.name.to_string();
    let cells = register.tier(tier.name);
    gauge!("weir_connections", "tier" => name.clone())
        .set(cells.connections.load(Ordering::Relaxed) as f64);
    gauge!("weir_resting_connections", "tier" => name.clone())
        .set(cells.resting.load(Ordering::Relaxed) as f64);
    counter!("weir_refused_connections_total", "tier" => name.clone())
        .absolute(cells.refused_connections.load(Ordering::Relaxed));
    counter!("weir_refused_requests_total", "tier" => name.clone())
        .absolute(cells.refused_requests.load(Ordering::Relaxed));
    counter!("weir_shed_requests_total", "tier" => name.clone())
        .absolute(cells.shed.load(Ordering::Relaxed));
    counter!("weir_maintenance_responses_total", "tier" => name.clone())
        .absolute(cells.maintained.load(Ordering::Relaxed));
    gauge!("weir_held_requests", "tier" => name.clone()).set(cells.waiting.len() as f64);
    for outcome in Waited::ALL {
        let labels = [("tier", name.clone()), ("result", outcome.name().to_owned())];
        counter!("weir_held_requests_total", &labels).absolute(cells.waiting.outcomes(outcome));
    }
    for purpose in ["hold", "maintenance"] {
        gauge!("weir_closed", "tier" => name.clone(), "purpose" => purpose)
            .set(flag(tier.closed == Some(purpose)));
    }
    counter!("weir_cookies_aside_total", "tier" => name.clone())
        .absolute(cells.cookies_aside.load(Ordering::Relaxed));
    counter!("weir_cookies_without_room_total", "tier" => name.clone())
        .absolute(cells.cookies_without_room.load(Ordering::Relaxed));
    for result in Fallthrough::ALL {
        let labels = [("tier", name.clone()), ("result", result.name().to_owned())];
        counter!("weir_asset_fallthrough_total", &labels).absolute(cells.fallthroughs(result));
    }
    for was in Displaced::ALL {
        let labels = [("tier", name.clone()), ("was", was.name().to_owned())];
        counter!("weir_displaced_connections_total", &labels).absolute(cells.displaced(was));
    }
    for with in Slow::ALL {
        let labels = [("tier", name.clone()), ("with", with.name().to_owned())];
        counter!("weir_slow_clients_total", &labels).absolute(cells.slow(with));
    }
    for flood in Flood::ALL {
        let labels = [("tier", name.clone()), ("kind", flood.name().to_owned())];
        counter!("weir_http2_floods_total", &labels).absolute(cells.floods(flood));
    }
    gauge!("weir_http2_streams", "tier" => name.clone())
        .set(cells.streams.load(Ordering::Relaxed) as f64);
    counter!("weir_http2_refused_streams_total", "tier" => name.clone())
        .absolute(cells.refused_streams.load(Ordering::Relaxed));
    for handshake in Handshake::ALL {
        let labels = [("tier", name.clone()), ("result", handshake.name().to_owned())];
        counter!("weir_tls_handshakes_total", &labels).absolute(cells.handshakes(handshake));
    }
    gauge!("weir_key_share_ratio", "tier" => name.clone())
        .set(register.key_share(tier.name).unwrap_or(0.0));
    rollouts::expose(tier);
}

fn release(tier: &TierName, release: &ReleaseScene<'_>, shown: &Shown, register: &Register) {
    let labels = [("tier", tier.to_string()), ("version", release.version.to_string())];
    let info = [
        ("tier", tier.to_string()),
        ("version", release.version.to_string()),
        ("track", release.role.to_owned()),
    ];
    gauge!("weir_release_info", &info).set(1.0);
    gauge!("weir_requests_in_flight", &labels).set(shown.in_flight as f64);
    gauge!("weir_upgraded_connections", &labels).set(shown.upgraded_open as f64);
    counter!("weir_rescues_total", &labels).absolute(shown.rescues);
    counter!("weir_retries_total", &labels).absolute(shown.retries);
    counter!("weir_refused_retries_total", &labels).absolute(shown.refused_retries);
    counter!("weir_stale_connections_total", &labels).absolute(shown.stale_connections);
    counter!("weir_previews_total", &labels).absolute(shown.previews);
    counter!("weir_switches_total", &labels).absolute(shown.switches);
    counter!("weir_abandoned_total", &labels).absolute(shown.abandoned);
    for (track, shown) in tracks(release, shown) {
        attempts(tier, release.version, track, shown);
    }
    for (address, slot) in &release.upstreams {
        let now = register.health(*slot).state;
        for (health, state) in HEALTH {
            gauge!(
                "weir_upstream_health", "tier" => tier.to_string(),
                "version" => release.version.to_string(), "upstream" => (*address).to_owned(),
                "health" => health
            )
            .set(flag(now == state));
        }
        upstream(tier, release.version, address, &register.upstream_shown(*slot));
    }
}

fn upstream(tier: &TierName, version: &Version, address: &str, shown: &UpstreamShown) {
    let labels = [
        ("tier", tier.to_string()),
        ("version", version.to_string()),
        ("upstream", address.to_owned()),
    ];
    gauge!("weir_upstream_connections", &labels).set(shown.connections as f64);
    gauge!("weir_upstream_pending", &labels).set(shown.pending as f64);
    counter!("weir_upstream_ejections_total", &labels).absolute(shown.ejections);
    counter!("weir_upstream_resolve_failures_total", &labels).absolute(shown.resolve_failures);
}

fn attempts(tier: &TierName, version: &Version, track: Track, shown: &TrackShown) {
    let labels = |class: &'static str| {
        [
            ("tier", tier.to_string()),
            ("version", version.to_string()),
            ("track", track.name().to_owned()),
            ("class", class.to_owned()),
        ]
    };
    let attempts = &shown.attempts;
    let broken = [
        ("full", attempts.full),
        ("refused", attempts.refused),
        ("reset", attempts.reset),
        ("timeout", attempts.timeout),
        ("other", attempts.other),
    ];
    let answered = CLASSES.into_iter().zip(attempts.classes);
    for (class, count) in answered.chain(broken) {
        counter!("weir_attempts_total", &labels(class)).absolute(count);
    }
    for (class, count) in CLASSES.into_iter().zip(shown.responses) {
        counter!("weir_responses_total", &labels(class)).absolute(count);
    }
}

fn describe_clients() {
    describe_gauge!("weir_connections", "Open connections of clients");
    describe_gauge!(
        "weir_resting_connections",
        "Open connections of clients that are idle and hold no memory but their socket's"
    );
    describe_counter!(
        "weir_refused_connections_total",
        "Connections of clients closed at once, because there were too many"
    );
    describe_counter!(
        "weir_refused_requests_total",
        "Requests refused because they are no HTTP, or HTTP that no proxy may pass on"
    );
    describe_counter!(
        "weir_shed_requests_total",
        "Requests answered with 503, because memory was short"
    );
    describe_counter!(
        "weir_asset_fallthrough_total",
        "Files that a version did not have, by what came of asking the other"
    );
    describe_counter!(
        "weir_cookies_aside_total",
        "Cookies that a version set beside those of stable"
    );
    describe_counter!(
        "weir_cookies_without_room_total",
        "Cookies that became stable's as well, because there was no room beside those"
    );
    describe_counter!(
        "weir_displaced_connections_total",
        "Connections of clients closed to make room for others, by what they were doing"
    );
    describe_counter!(
        "weir_slow_clients_total",
        "Clients cut off because they were too slow, by what with"
    );
    describe_counter!(
        "weir_http2_floods_total",
        "Connections of clients cut off because they flooded Weir with frames of HTTP/2"
    );
    describe_gauge!("weir_http2_streams", "Requests on their way that came by HTTP/2");
    describe_counter!(
        "weir_http2_refused_streams_total",
        "Requests by HTTP/2 refused because there were too many"
    );
    describe_counter!("weir_tls_handshakes_total", "TLS handshakes of clients, by how they went");
}

fn describe_caches() {
    describe_gauge!("weir_cache_connections", "Open connections of clients to a cache");
    describe_counter!("weir_cache_commands_total", "Commands to a cache");
    describe_counter!("weir_cache_hits_total", "Values asked of a cache that were there");
    describe_counter!("weir_cache_misses_total", "Values asked of a cache that were not there");
    describe_counter!("weir_cache_refused_commands_total", "Commands to a cache that were refused");
    describe_counter!(
        "weir_cache_keyless_scripts_total",
        "Scripts without a key, which may leave the namespace"
    );
    describe_counter!("weir_cache_repeats_total", "Deletions repeated for the other versions");
    describe_counter!(
        "weir_cache_failed_repeats_total",
        "Deletions that could not be repeated for the other versions"
    );
    describe_counter!(
        "weir_cache_reaped_keys_total",
        "Keys deleted that a namespace held before it began anew"
    );
    describe_counter!(
        "weir_jobs_total",
        "What workers have said of jobs to a Redis that is observed: processed, of which failed, \
         retried, dead"
    );
    describe_counter!("weir_job_fetches_total", "Jobs fetched from a Redis that is observed");
    describe_counter!(
        "weir_cache_connect_failures_total",
        "Connections of clients closed because the server of the cache was not reached"
    );
}

fn describe() {
    describe_clients();
    describe_caches();
    http_caches::describe();
    deliveries::describe();
    signals::describe();
    describe_gauge!("weir_build_info", "1, with the version of Weir");
    describe_gauge!("weir_start_timestamp_seconds", "When the program started");
    describe_gauge!("weir_memory_bytes", "Memory in use");
    describe_gauge!("weir_memory_limit_bytes", "Memory above which new requests are refused");
    describe_gauge!("weir_journal_trouble", "1 while the journal cannot be written");
    describe_gauge!(
        "weir_config_last_reload_success_timestamp_seconds",
        "When the file was last taken over"
    );
    describe_gauge!("weir_config_last_reload_successful", "0 after a reload that was refused");
    describe_gauge!(
        "weir_certificate_expires_timestamp_seconds",
        "Until when a certificate that is served is valid"
    );
    describe_gauge!("weir_key_share_ratio", "Share of the heaviest client key among the requests");
    rollouts::describe();
    events::describe();
    spans::describe();
    describe_gauge!("weir_release_info", "1 for each release, with what it is now");
    describe_gauge!("weir_requests_in_flight", "Requests on their way");
    describe_gauge!("weir_upgraded_connections", "Open upgraded connections (WebSockets)");
    describe_counter!("weir_rescues_total", "Requests that failed here and were served by stable");
    describe_counter!(
        "weir_retries_total",
        "Requests sent again, on a fresh connection or to another upstream"
    );
    describe_counter!(
        "weir_refused_retries_total",
        "Requests not sent again, because too many others were"
    );
    describe_counter!(
        "weir_stale_connections_total",
        "Kept-alive connections that had died while idle"
    );
    describe_counter!("weir_previews_total", "Requests of testers; not judged");
    describe_counter!("weir_switches_total", "Clients whose key changed at login and moved here");
    describe_counter!("weir_abandoned_total", "Clients that went away before their answer");
    describe_upstreams();
    describe_counter!("weir_attempts_total", "Attempts on a release, rescued ones included");
    describe_counter!("weir_responses_total", "Answers that users saw");
}

fn describe_upstreams() {
    describe_gauge!("weir_upstream_health", "1 for how the upstream is doing now");
    describe_gauge!("weir_upstream_connections", "Open connections to the upstream");
    describe_gauge!("weir_upstream_pending", "Requests that wait for a connection to it");
    describe_counter!(
        "weir_upstream_ejections_total",
        "How often the upstream was left out because requests failed"
    );
    describe_counter!(
        "weir_upstream_resolve_failures_total",
        "How often the name of the upstream could not be looked up"
    );
}

/// The one histogram, with the register's own buckets.
#[derive(Debug, Default)]
struct Histogram {
    text: String,
}

impl Histogram {
    const NAME: &'static str = "weir_request_duration_seconds";

    fn add(&mut self, tier: &TierName, version: &Version, track: Track, shown: &TrackShown) {
        let name = Self::NAME;
        if self.text.is_empty() {
            let _ = writeln!(self.text, "# HELP {name} Time to the head of the answer users saw");
            let _ = writeln!(self.text, "# TYPE {name} histogram");
        }
        // Names of tiers and versions need no escapes: letters, digits and `._+-`.
        let labels = format!("tier=\"{tier}\",version=\"{version}\",track=\"{}\"", track.name());
        let edges = bucket_edges();
        let mut below = 0;
        for (index, edge) in edges.iter().enumerate().take(BUCKETS - 1) {
            below += shown.latency[index];
            let [first, last] = SHOWN_EDGES;
            if index % 2 == 1 && *edge >= first && *edge <= last {
                let edge = edge.as_secs_f64();
                let _ = writeln!(self.text, "{name}_bucket{{{labels},le=\"{edge}\"}} {below}");
            }
        }
        let all: u64 = shown.latency.iter().sum();
        let sum = shown.latency_sum.as_secs_f64();
        let _ = writeln!(self.text, "{name}_bucket{{{labels},le=\"+Inf\"}} {all}");
        let _ = writeln!(self.text, "{name}_sum{{{labels}}} {sum}");
        let _ = writeln!(self.text, "{name}_count{{{labels}}} {all}");
    }
}

/// The exporter writes in the order of its hashes; a reader wants one that stays.
fn sorted(exported: &str, histogram: String) -> String {
    let mut families: Vec<String> = exported.split("\n\n").map(in_order).collect();
    families.push(histogram);
    families.retain(|family| !family.is_empty());
    families.sort_unstable();
    families.iter().fold(String::new(), |text, family| text + family.trim_end() + "\n")
}

/// A family with its series sorted, its comments first.
fn in_order(family: &str) -> String {
    let mut lines: Vec<&str> = family.lines().filter(|line| !line.is_empty()).collect();
    lines.sort_by_key(|line| (!line.starts_with('#'), *line));
    lines.join("\n")
}

pub(super) fn seconds(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1_000.0
}

pub(super) fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Outcome;

    fn text(register: &Register, role: &'static str, slot: usize) -> String {
        let (name, version) = ("web".parse().unwrap(), "1.1".parse().unwrap());
        let reloads = Reloads::new(Timestamp::from_millis(1_500));
        let release = ReleaseScene { version: &version, role, slot, upstreams: Vec::new() };
        let tier = TierScene {
            name: &name,
            weight: "5%".parse().unwrap(),
            stage: 2,
            stages: 4,
            closed: None,
            paused: false,
            needs_person: false,
            entered: Some(Timestamp::from_millis(2_000)),
            report: None,
            calibration_minutes: 60,
            releases: vec![release],
            instances: vec![("web-1", Some(&version)), ("web-2", None)],
        };
        let scene = Scene {
            certificates: vec![("shop.test".to_owned(), Timestamp::from_millis(86_400_000))],
            started: Timestamp::from_millis(1_000),
            journal_trouble: false,
            reloads: &reloads,
            caches: vec![],
            http_caches: vec![],
            deliveries: vec![],
            kinds: &["promoted"],
            upgrade: None,
            tiers: vec![tier],
            crews: vec![],
        };
        render(&scene, register)
    }

    #[test]
    fn known_series_are_there_from_the_start_and_the_order_stays() {
        let register = Register::new(1);
        let slot = register.release(&"web".parse().unwrap(), &"1.1".parse().unwrap());
        let first = text(&register, "canary", slot);
        assert_eq!(first, text(&register, "canary", slot));
        for line in [
            "weir_rollout_weight_ratio{tier=\"web\"} 0.05",
            "weir_rescues_total{tier=\"web\",version=\"1.1\"} 0",
            "weir_attempts_total{tier=\"web\",version=\"1.1\",track=\"canary\",class=\"reset\"} 0",
            "weir_verdict{tier=\"web\",verdict=\"none\"} 1",
            "weir_start_timestamp_seconds 1",
            "weir_rollout_entered_timestamp_seconds{tier=\"web\"} 2",
            "weir_events_total{tier=\"web\",kind=\"promoted\"} 0",
            "weir_upgrade_open 0",
            "weir_instances{tier=\"web\",version=\"1.1\"} 1",
            "weir_instances_moving{tier=\"web\"} 1",
            "weir_instance_version{tier=\"web\",instance=\"web-1\",version=\"1.1\"} 1",
            "weir_instance_version{tier=\"web\",instance=\"web-2\",version=\"1.1\"} 0",
            "weir_release_info{tier=\"web\",version=\"1.1\",track=\"canary\"} 1",
        ] {
            assert!(first.lines().any(|shown| shown == line), "{line} is not in:\n{first}");
        }
        assert!(!first.contains("track=\"stable\""));
    }

    #[test]
    fn the_histogram_is_cumulative_and_ends_with_everything() {
        let register = Register::new(1);
        let slot = register.release(&"web".parse().unwrap(), &"1.1".parse().unwrap());
        let writer = register.writer(slot, 0);
        writer.attempt(Track::Canary, Outcome::Answered(200));
        for milliseconds in [1, 30, 30, 100_000] {
            writer.response(Track::Canary, 200, Duration::from_millis(milliseconds));
        }
        let text = text(&register, "canary", slot);
        let buckets = text.lines().filter(|line| line.contains("duration_seconds_bucket"));
        let counts: Vec<u64> =
            buckets.map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap()).collect();
        assert!(counts.is_sorted() && counts.len() > 30, "{counts:?}");
        assert_eq!(counts[counts.len() - 2..], [3, 4]);
        assert!(text.contains("_sum{tier=\"web\",version=\"1.1\",track=\"canary\"} 100.061"));
    }
}
