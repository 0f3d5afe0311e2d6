//! Reads `[[tier]]`: a layer of the product, its releases, and how its traffic is treated.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::caching;
use super::closing;
use super::cookies;
use super::fleet::{RollingDraft, no_upstreams};
use super::judging::{Judging, networks, paths};
use super::keys;
use super::listener;
use super::preview;
use super::section::{At, PATTERNS_MAX, Section, set};
use super::stages::StagesDraft;
use super::tls;
use super::values::{self, Mistake, quoted};
use super::{ReleaseConfig, TierConfig, TierLines};
use crate::rollout::Stages;
use crate::rollout::runbook::Step;
use crate::traffic::affinity::OWN_COOKIE;
use crate::traffic::matching::{Network, Pattern};
use crate::traffic::overlay::Cookies;
use crate::traffic::{
    Address, Caching, ClientTls, Closing, HealthCheck, Limits, Listen, Listener, NAME_BYTES_MAX,
    Route, SharedCaches, Spot, Sticky, Tier, TierName, Timeouts, Trust, Version, Warm,
};

/// Releases of a tier: more are forgotten ones.
const RELEASES_MAX: usize = 64;

/// Addresses of a release.
const UPSTREAMS_MAX: usize = 256;

/// Longest path of a health check, in bytes.
const PATH_BYTES_MAX: usize = 1_024;

const MS: fn(u64) -> Duration = Duration::from_millis;
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// How long a canary may be without a healthy upstream.
pub(super) const CANARY_DOWN: Duration = Duration::from_secs(10);

/// How long a release that was left still counts: the time in which most errors show, and in which
/// browsers come back that have an old page open.
pub(super) const KEEP_WARM: Duration = DAY;

const MONTH: Duration = Duration::from_hours(30 * 24);

/// A tier as far as it could be read, with the places of what other tiers may contradict.
pub(super) struct Draft {
    pub(super) path: String,
    pub(super) span: Range<usize>,
    pub(super) name: Option<At<TierName>>,
    pub(super) listen: Option<At<Listen>>,
    pub(super) route: At<Route>,
    pub(super) stable: Option<At<Version>>,
    /// Whether all of `releases` could be read, so that a version that is not there is missing.
    pub(super) releases_are_whole: bool,
    pub(super) releases: Vec<ReleaseDraft>,
    sticky: Sticky,
    health: HealthCheck,
    preview: Option<crate::traffic::Preview>,
    timeouts: Timeouts,
    limits: Limits,
    trusted_proxies: Vec<Network>,
    show_version: bool,
    access_log: bool,
    cookies: Cookies,
    logout: Vec<Pattern>,
    assets: Vec<String>,
    shared_caches: SharedCaches,
    keep_warm: Duration,
    warm: Option<Warm>,
    caching: Option<Caching>,
    closing: Closing,
    canary_down: Duration,
    pub(super) stages: Option<At<Stages>>,
    gates: Vec<Step>,
    judging: Judging,
    rolling: Option<RollingDraft>,
}

/// A release as far as it could be read.
pub(super) struct ReleaseDraft {
    pub(super) version: Option<At<Version>>,
    pub(super) upstreams: Vec<At<Address>>,
    host: Option<String>,
    tls: Option<Arc<ClientTls>>,
    proxy_protocol: bool,
    span: Range<usize>,
}

impl Draft {
    /// Its instances and how they are moved, where each takes every version.
    pub(super) const fn rolling(&self) -> Option<&RollingDraft> {
        self.rolling.as_ref()
    }

    /// How its upstreams are asked whether they are well.
    pub(super) const fn health(&self) -> &HealthCheck {
        &self.health
    }

    /// Which of the app's cookies its versions do not share.
    pub(super) const fn cookies(&self) -> &Cookies {
        &self.cookies
    }

    /// Reads one `[[tier]]`.
    pub(super) fn read(
        mut section: Section<'_>,
        (judging, closing): (&Judging, &Closing),
        least_bake: Duration,
        base: &Path,
    ) -> Self {
        section.need("name", "name = \"web\"");
        section.need("listen", "listen = \"127.0.0.1:8080\"");
        section
            .need("stable", "stable = \"1.0.0\", the version that serves while the journal is new");
        section.need(
            "releases",
            "releases = [{ version = \"1.0.0\", upstreams = [\"127.0.0.1:9101\"] }]",
        );
        let rolling = RollingDraft::read(section.table("rolling", &keys::ROLLING));
        let name = section.text("name", "write text: \"web\"", |text| {
            text.parse::<TierName>().map_err(|_| no_name(text, "tier name", "._-"))
        });
        if let Some(at) = &name {
            section.rename(format!("tier.{}", at.value));
        }
        let listen = section.text("listen", "write text: \"127.0.0.1:8080\"", values::listen);
        let route = listener::route(&mut section);
        let stable = section.text("stable", "write text: \"1.0.0\"", version);
        let (releases, releases_are_whole) = releases(&mut section, base, rolling.as_ref());
        let sticky = sticky(&mut section);
        let mut canary_down = CANARY_DOWN;
        section.duration("canary_down", MS(1_000)..=HOUR, &mut canary_down);
        let (mut show_version, mut access_log) = (false, false);
        section.flag("show_version", &mut show_version);
        section.flag("access_log", &mut access_log);
        let mut shared_caches = SharedCaches::default();
        let choices = SharedCaches::ALL.map(|choice| (choice.name(), choice));
        section.word("shared_caches", &choices, &mut shared_caches);
        let mut keep_warm = KEEP_WARM;
        section.duration("keep_warm", Duration::ZERO..=MONTH, &mut keep_warm);
        let cookies = cookies::read(&mut section, &sticky);
        let whose = name.as_ref().map(|at| &at.value);
        let own = StagesDraft::read(&mut section, least_bake, whose);
        let draft = Self {
            path: section.path_of("").trim_end_matches('.').to_owned(),
            span: section.span.clone(),
            name,
            listen,
            route,
            stable,
            releases_are_whole,
            releases,
            sticky,
            health: health(section.table("health", &keys::HEALTH)),
            preview: preview::read(section.table("preview", &keys::PREVIEW), base),
            timeouts: timeouts(section.table("timeouts", &keys::TIMEOUTS)),
            limits: limits(section.table("limits", &keys::LIMITS)),
            trusted_proxies: networks(&mut section, "trusted_proxies")
                .unwrap_or_else(|| Network::LOOPBACK.to_vec()),
            show_version,
            access_log,
            cookies,
            logout: paths(&mut section, "logout", "[\"*/logout\"]").unwrap_or_else(logout),
            assets: assets(&mut section),
            shared_caches,
            keep_warm,
            warm: warm(&mut section),
            caching: caching::read(section.table("cache", &keys::CACHING)),
            closing: closing::read(section.table("maintenance", &keys::MAINTENANCE), base, closing),
            canary_down,
            stages: own.stages,
            gates: own.gates,
            judging: judging.overridden(section.table("analysis", &keys::ANALYSIS)),
            rolling,
        };
        section.finish();
        draft
    }

    /// The gates between its stages.
    pub(super) fn gates(&self) -> &[Step] {
        &self.gates
    }

    /// Whether one of its watches is called `name`.
    pub(super) fn watches(&self, name: &str) -> bool {
        self.judging.watches.iter().any(|watch| watch.name == name)
    }

    /// The tier, if everything it needs was there.
    pub(super) fn finish(
        self,
        listeners: &BTreeMap<Listen, Arc<Listener>>,
        line: impl Fn(&Range<usize>) -> usize,
    ) -> Option<TierConfig> {
        let (name, listen, stable) = (self.name?, self.listen?, self.stable?);
        let lines = TierLines {
            tier: line(&self.span),
            listen: line(&listen.span),
            stable: line(&stable.span),
        };
        let releases: Option<Vec<ReleaseConfig>> = self
            .releases
            .into_iter()
            .map(|release| {
                let upstreams = release.upstreams.into_iter().map(|at| at.value).collect();
                let line = line(&release.span);
                Some(ReleaseConfig {
                    version: release.version?.value,
                    upstreams,
                    host: release.host,
                    tls: release.tls,
                    proxy_protocol: release.proxy_protocol,
                    line,
                })
            })
            .collect();
        let tier = Tier {
            name: name.value,
            listener: Arc::clone(listeners.get(&listen.value)?),
            route: self.route.value,
            sticky: self.sticky,
            health: self.health,
            preview: self.preview,
            timeouts: self.timeouts,
            limits: self.limits,
            trusted_proxies: self.trusted_proxies,
            ignore: self.judging.ignore,
            watches: self.judging.watches,
            show_version: self.show_version,
            access_log: self.access_log,
            cookies: self.cookies,
            logout: self.logout,
            assets: self.assets,
            shared_caches: self.shared_caches,
            keep_warm: self.keep_warm,
            warm: self.warm,
            caching: self.caching,
            closing: self.closing,
        };
        Some(TierConfig {
            tier: Arc::new(tier),
            stable: stable.value,
            releases: releases?,
            instances: self.rolling.as_ref().map(RollingDraft::instances).unwrap_or_default(),
            canary_down: self.canary_down,
            stages: self.stages.map(|at| at.value),
            analysis: self.judging.settings,
            lines,
        })
    }
}

fn no_name(text: &str, what: &str, marks: &str) -> Mistake {
    let help = format!("use 1 to {NAME_BYTES_MAX} letters, digits and {marks}");
    Mistake::new(format!("{} is no {what}", quoted(text)), help)
}

fn version(text: &str) -> Result<Version, Mistake> {
    text.parse().map_err(|_| no_name(text, "version", "._+-"))
}

fn releases(
    tier: &mut Section<'_>,
    base: &Path,
    rolling: Option<&RollingDraft>,
) -> (Vec<ReleaseDraft>, bool) {
    let Some(span) = tier.key_span("releases") else { return (Vec::new(), false) };
    let sections = tier.tables("releases", RELEASES_MAX, &keys::RELEASE);
    if sections.is_empty() && tier.is_empty_list("releases") {
        let help = "add { version = \"1.0.0\", upstreams = [\"127.0.0.1:9101\"] }";
        tier.wrong("releases", span, Mistake::new("`releases` is empty", help));
    }
    let drafts: Vec<ReleaseDraft> =
        sections.into_iter().map(|section| release(section, base, rolling)).collect();
    let whole = !drafts.is_empty() && drafts.iter().all(|draft| draft.version.is_some());
    (drafts, whole && !tier.reader.has_broken_lines())
}

fn release(mut section: Section<'_>, base: &Path, rolling: Option<&RollingDraft>) -> ReleaseDraft {
    section.need("version", "version = \"1.0.0\"");
    match rolling {
        None => section.need("upstreams", "upstreams = [\"127.0.0.1:9101\"]"),
        Some(_) => no_upstreams(&section),
    }
    let version = section.text("version", "write text: \"1.0.0\"", version);
    if let Some(at) = &version {
        // Named by its tier and its version, whatever its place in the list.
        let path = section.path_of("");
        let list = path.rsplit_once('[').map_or("", |(list, _)| list);
        section.rename(format!("{list}.{}", at.value));
        let name = at.value.as_str().to_ascii_lowercase();
        if ["latest", "newest", "current", "stable", "canary"].contains(&name.as_str()) {
            section.remark("version", at.span.clone(), Mistake::new(
                format!("version {} means another build tomorrow", quoted(at.value.as_str())),
                "a version is the identity of a build in the journal; name the build: \"1.1.0\"",
            ));
        }
    }
    let upstreams =
        section.list("upstreams", UPSTREAMS_MAX, "[\"127.0.0.1:9101\"]", values::upstream);
    if section.is_empty_list("upstreams")
        && let Some(span) = section.key_span("upstreams")
    {
        let help = "list at least one address: [\"127.0.0.1:9101\"]";
        section.wrong("upstreams", span, Mistake::new("`upstreams` is empty", help));
    }
    let host = section.text("host", "write text: \"app.example.com\"", |text| {
        let fits = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
        if text.is_empty() || text.len() > 253 || !text.chars().all(fits) {
            let help =
                "write a Host as clients send it: \"app.example.com\" or \"app.example.com:8080\"";
            return Err(Mistake::new(format!("{} is no host name", quoted(text)), help));
        }
        Ok(text.to_owned())
    });
    let upstreams = upstreams.unwrap_or_default();
    let instances = rolling.into_iter().flat_map(RollingDraft::addresses);
    let https = upstreams.iter().map(|at| &at.value).chain(instances).any(Address::is_tls);
    let help = "write https:// before their addresses: \"https://10.0.0.7:8443\"";
    let tls = tls::client(&mut section, (https, help), base);
    let unnamed = tls.as_ref().is_some_and(|tls| tls.name.is_none() && tls.trust != Trust::Anybody);
    let nameless = |at: &&At<Address>| at.value.is_tls() && matches!(at.value.spot, Spot::Unix(_));
    for at in upstreams.iter().filter(|at| unnamed && nameless(at)) {
        let help = "say which name its certificate is for: tls = { name = \"app.internal\" }";
        let mistake = Mistake::new("a Unix socket has no name to verify", help);
        section.wrong("upstreams", at.span.clone(), mistake);
    }
    let mut proxy_protocol = false;
    section.flag("proxy_protocol", &mut proxy_protocol);
    let span = section.span.clone();
    section.finish();
    ReleaseDraft { version, upstreams, host: host.map(|at| at.value), tls, proxy_protocol, span }
}

/// Where most apps log out.
fn logout() -> Vec<Pattern> {
    ["*/logout", "*/logout/", "*/sign_out", "*/signout"].map(Pattern::new).to_vec()
}

/// How the paths of files begin that each version has of its own.
fn assets(tier: &mut Section<'_>) -> Vec<String> {
    let help = "write how such paths begin: \"/assets/\"";
    let list = tier.list("assets", PATTERNS_MAX, "[\"/assets/\", \"/packs/\"]", |text| {
        let visible = |byte: u8| byte.is_ascii_graphic() && !b"?#*".contains(&byte);
        if !text.starts_with('/') || text.len() > PATH_BYTES_MAX || !text.bytes().all(visible) {
            return Err(Mistake::new(format!("{} is no beginning of a path", quoted(text)), help));
        }
        if text == "/" {
            let message = "\"/\" is every path, and pages belong to one version";
            return Err(Mistake::new(message, help));
        }
        Ok(text.to_owned())
    });
    list.into_iter().flatten().map(|at| at.value).collect()
}

fn sticky(tier: &mut Section<'_>) -> Sticky {
    let mut sticky = Sticky::Own;
    if tier.is_text("sticky") {
        let allowed = "use { cookie = \"uid\" }, { header = \"authorization\" }, \"address\", \"cookie\" or \"none\"";
        let read = tier.text("sticky", allowed, |text| match text {
            "address" => Ok(Sticky::Address),
            "cookie" => Ok(Sticky::Own),
            "none" => Ok(Sticky::Nothing),
            _ => Err(Mistake::new(format!("{} is not known", quoted(text)), allowed)),
        });
        set(&mut sticky, read);
        return sticky;
    }
    let mut section = tier.table("sticky", &keys::STICKY);
    let cookie = section
        .text("cookie", "write text: \"uid\"", |text| preview::cookie_name(text, OWN_COOKIE));
    let header = section.text("header", "write text: \"authorization\"", |text| {
        preview::header_name(text, &["cookie", "host"])
    });
    match (section.key_span("cookie"), section.key_span("header")) {
        (Some(cookie), Some(header)) => {
            let mistake = Mistake::new(
                "clients stick to a cookie or to a header, not to both",
                "remove one of the two",
            );
            section.conflict("header", header, mistake, vec![(cookie, "the cookie".to_owned())]);
        }
        (None, None) if section.is_there() && section.is_empty_table() => {
            let mistake = Mistake::new(
                "`sticky` is empty",
                "use { cookie = \"uid\" } or { header = \"authorization\" }",
            );
            section.wrong("", section.span.clone(), mistake);
        }
        _ => {}
    }
    section.finish();
    match (cookie, header) {
        (Some(cookie), _) => Sticky::Cookie(cookie.value),
        (None, Some(header)) => Sticky::Header(header.value),
        (None, None) => sticky,
    }
}

fn warm(tier: &mut Section<'_>) -> Option<Warm> {
    let wanted = tier.key_span("warm").is_some();
    let (mut section, mut warm) = (tier.table("warm", &keys::WARM), Warm::default());
    section.integer("requests", 1..=1_000, &mut warm.requests);
    section.duration("within", MS(1_000)..=MS(600_000), &mut warm.within);
    section.finish();
    wanted.then_some(warm)
}

fn health(mut section: Section<'_>) -> HealthCheck {
    let mut health = HealthCheck::default();
    let read = section.text("path", "write text: \"/health\"", |text| {
        let visible = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
        match text {
            "none" => Ok(None),
            _ if text.starts_with('/')
                && text.len() <= PATH_BYTES_MAX
                && text.bytes().all(visible) =>
            {
                Ok(Some(text.to_owned()))
            }
            _ => Err(Mistake::new(
                format!("{} is no path", quoted(text)),
                "write a path that starts with /, such as \"/health\"; or \"none\"",
            )),
        }
    });
    set(&mut health.path, read);
    section.duration("interval", MS(100)..=HOUR, &mut health.interval);
    section.duration("timeout", MS(10)..=MS(600_000), &mut health.timeout);
    section.integer("fall", 1..=100, &mut health.fall);
    section.integer("rise", 1..=100, &mut health.rise);
    section.duration("boot_grace", Duration::ZERO..=HOUR, &mut health.boot_grace);
    section.integer("eject_after", 1..=1_000, &mut health.eject_after);
    section.duration("eject_for", MS(100)..=HOUR, &mut health.eject_for);
    section.hundredths("eject_max", &mut health.eject_max);
    section.duration("slow_start", Duration::ZERO..=HOUR, &mut health.slow_start);
    section.finish();
    health
}

fn timeouts(mut section: Section<'_>) -> Timeouts {
    let mut timeouts = Timeouts::default();
    section.duration("request_head", MS(100)..=HOUR, &mut timeouts.request_head);
    section.duration("client_idle", MS(100)..=DAY, &mut timeouts.client_idle);
    section.duration("body_idle", MS(100)..=DAY, &mut timeouts.body_idle);
    section.duration("connect", MS(10)..=MS(600_000), &mut timeouts.connect);
    section.duration("response_head", MS(100)..=DAY, &mut timeouts.response_head);
    section.duration("first_byte", MS(100)..=DAY, &mut timeouts.first_byte);
    if let Some(paths) = paths(&mut section, "long_polls", "[\"/api/poll/*\"]") {
        timeouts.long_polls = paths;
    }
    section.duration_or_none("total", MS(100)..=MONTH, &mut timeouts.total);
    section.duration("stream_after", MS(100)..=DAY, &mut timeouts.stream_after);
    section.duration("upstream_idle", Duration::ZERO..=HOUR, &mut timeouts.upstream_idle);
    section.duration("reuse_idle", Duration::ZERO..=HOUR, &mut timeouts.reuse_idle);
    section.duration("rate_grace", Duration::ZERO..=HOUR, &mut timeouts.rate_grace);
    section.duration("drain", Duration::ZERO..=DAY, &mut timeouts.drain);
    section.finish();
    timeouts
}

fn limits(mut section: Section<'_>) -> Limits {
    let mut limits = Limits::default();
    section.integer("connections", 1..=1_000_000, &mut limits.connections);
    section.size("head_bytes", 1 << 10..=1 << 20, &mut limits.head_bytes);
    section.integer("headers", 8..=1_000, &mut limits.headers);
    section.size_or_none("body_bytes", 0..=1 << 40, &mut limits.body_bytes);
    section.size_or_none("body_rate", 1..=1 << 20, &mut limits.body_rate);
    section.size_or_none("read_rate", 1..=1 << 20, &mut limits.read_rate);
    section.integer(
        "requests_per_connection",
        1..=1_000_000_000,
        &mut limits.requests_per_connection,
    );
    section.integer("streams", 1..=1_000, &mut limits.streams);
    section.integer("upstream_idle", 0..=10_000, &mut limits.upstream_idle);
    let most = 1..=1_000_000;
    section.integer_or_none("upstream_connections", most.clone(), &mut limits.upstream_connections);
    section.integer("upstream_pending", most, &mut limits.upstream_pending);
    section.hundredths("retries", &mut limits.retries);
    section.finish();
    limits
}
