//! A configuration as a list of keys and values: what a reload compares.

mod fleet;
mod signals;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use http::HeaderName;
use sha2::{Digest as _, Sha256};

use super::difference::Class;
use super::keys::{self, Keys};
use super::values::{duration_text, hundredfold, size_text};
use super::{
    AcmeConfig, Config, LogFormat, MemoryLimit, RolloutConfig, RunbookConfig, SignalConfig,
    TierConfig,
};
use crate::analysis::{MetricSettings, OnFail, Settings, WhenUnproven};
use crate::cache::{Cache, Invalidate, Mode, Server};
use crate::namespace::redis::Credentials;
use crate::notify;
use crate::proxy::UpstreamClient;
use crate::rollout::runbook::Action;
use crate::rollout::{CacheFacts, OnRollback, PastDecision, Scope, Stage, Stages, UpgradeFacts};
use crate::tls::acme::Challenge;
use crate::tls::day;
use crate::traffic::{Certificate, ClientTls, Closing, Listener, Tier, TierName, Trust, Version};

use fleet::{rolling, workers};
use signals::describe_signal;

/// What stands in place of a secret.
pub(super) const SECRET: &str = "(secret)";

/// A value as the file would say it, and what a reload does when it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) value: String,
    pub(super) class: Class,
    pub(super) tier: Option<TierName>,
    /// Whether it says which version there is.
    pub(super) is_release: bool,
}

/// Keys with their whole path, and their values.
pub(super) type Entries = BTreeMap<String, Entry>;

impl Config {
    /// Every key with its whole path (`tier.web.health.interval`) and its value, also the
    /// defaults. Secrets are not shown.
    pub fn describe(&self) -> BTreeMap<String, String> {
        entries(self).into_iter().map(|(key, entry)| (key, entry.value)).collect()
    }
}

pub(super) fn entries(config: &Config) -> Entries {
    let mut entries = Entries::new();
    let mut page =
        Page { entries: &mut entries, keys: &keys::ADMIN, path: "admin".to_owned(), tier: None };
    page.put("listen", config.admin.listen);
    page.put_some("tokens_file", config.admin.tokens_file.as_ref().map(|path| path.display()));
    page.put("hosts", list(&config.admin.hosts));
    page.turn(&keys::STATE, "state");
    page.put_some("path", config.state.path.as_ref().map(|path| path.display()));
    page.turn(&keys::PROXY, "proxy");
    page.put_some("workers", config.proxy.workers);
    page.put(
        "upstream_client",
        match config.proxy.upstream_client {
            UpstreamClient::Hyper => "hyper",
            UpstreamClient::Weir => "weir",
        },
    );
    page.put_duration("resolve_every", config.proxy.resolve_every);
    page.put(
        "memory",
        match config.proxy.memory {
            MemoryLimit::Auto => "auto".to_owned(),
            MemoryLimit::Bytes(bytes) => size_text(bytes),
            MemoryLimit::None => "none".to_owned(),
        },
    );
    page.put_some("environment", config.proxy.environment.as_ref());
    page.turn(&keys::LOG, "log");
    page.put(
        "format",
        match config.log.format {
            LogFormat::Json => "json",
            LogFormat::Text => "text",
        },
    );
    page.put("level", &config.log.level);
    page.put("secrets", list(&config.log.secrets));
    page.turn(&keys::STATSD, "statsd");
    page.put_some("listen", config.statsd);
    rollout(&mut page, &config.rollout);
    for tier in &config.rollout.upgrade.workers {
        workers(&mut page, tier);
        let path = format!("worker.{}", tier.name());
        for signal in config.signals.iter().filter(|it| it.signal.tier == *tier.name()) {
            describe_signal(&mut page, signal, &Settings::default(), &path);
        }
    }
    runbook(&mut page, &config.runbook);
    notify(&mut page, &config.notify);
    for listener in config.tiers.iter().map(|tier| &*tier.tier.listener) {
        describe_listener(&mut page, listener);
    }
    if let Some(acme) = &config.acme {
        describe_acme(&mut page, acme);
    }
    for cache in &config.caches {
        let life = config.lives.iter().find(|life| life.name == cache.name);
        describe_cache(&mut page, cache, life);
    }
    for tier in &config.tiers {
        describe_tier(&mut page, tier, &config.signals);
        if let Some(fleet) = config.rollout.upgrade.rolling(&tier.tier.name) {
            rolling(&mut page, fleet, &tier.instances);
        }
    }
    entries
}

/// The section that is being written.
struct Page<'a> {
    entries: &'a mut Entries,
    keys: &'static Keys,
    path: String,
    tier: Option<TierName>,
}

impl Page<'_> {
    fn turn(&mut self, keys: &'static Keys, path: impl Into<String>) {
        (self.keys, self.path) = (keys, path.into());
    }

    fn put(&mut self, key: &'static str, value: impl Display) {
        let entry = Entry {
            value: value.to_string(),
            class: self.keys.class(key),
            tier: self.tier.clone(),
            is_release: self.keys.title == keys::RELEASE.title,
        };
        let path = if self.path.is_empty() { key.into() } else { format!("{}.{key}", self.path) };
        self.entries.insert(path, entry);
    }

    fn put_by_version(&mut self, key: &'static str, version: &Version, value: impl Display) {
        self.put_under(key, version.as_str(), value);
    }

    /// An entry of a table whose keys the file chooses.
    fn put_under(&mut self, key: &'static str, name: &str, value: impl Display) {
        let entry = Entry {
            value: value.to_string(),
            class: self.keys.class(key),
            tier: self.tier.clone(),
            is_release: false,
        };
        self.entries.insert(format!("{}.{key}.{name}", self.path), entry);
    }

    fn put_some(&mut self, key: &'static str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.put(key, value);
        }
    }

    /// A share in hundredths of a percent.
    fn put_hundredths(&mut self, key: &'static str, points: u16) {
        self.put(key, format!("{}%", hundredfold(f64::from(points) / 10_000.0)));
    }

    fn put_duration(&mut self, key: &'static str, value: Duration) {
        self.put(key, duration_text(value));
    }
}

fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    format!("[{}]", items.join(", "))
}

fn stages(stages: &Stages) -> String {
    let said = |stage: &Stage| format!("{} for {}", stage.weight, duration_text(stage.bake));
    match stages {
        Stages::Auto => "auto".to_owned(),
        Stages::Listed(plan) => list(plan.stages().iter().map(said)),
    }
}

fn rollout(page: &mut Page<'_>, rollout: &RolloutConfig) {
    page.turn(&keys::ROLLOUT, "rollout");
    page.put_duration("bake", rollout.bake);
    page.put_duration("rollback_over", rollout.rollback_over);
    page.put("stages", stages(&rollout.stages));
    upgrade(page, &rollout.upgrade);
}

/// What is done over the tiers, and what was agreed on.
fn upgrade(page: &mut Page<'_>, upgrade: &UpgradeFacts) {
    let step = |tiers: &Vec<TierName>| match tiers.as_slice() {
        [tier] => tier.to_string(),
        tiers => list(tiers),
    };
    page.put("order", list(upgrade.order.iter().map(step)));
    page.put_some("name", upgrade.name.as_ref());
    page.put(
        "on_failure",
        match upgrade.on_failure {
            Scope::Rollout => "rollout",
            Scope::Tier => "tier",
        },
    );
    page.put_some("decide_by", upgrade.decide_by.as_ref());
    page.put(
        "past_decision",
        match upgrade.past_decision {
            PastDecision::Hold => "hold",
            PastDecision::Rollback => "rollback",
        },
    );
    page.put("hours", list(&upgrade.calendar.hours));
    page.put("freeze", list(&upgrade.calendar.freeze));
    let point = upgrade.no_return.as_ref().map(|step| format!("after step {step}"));
    page.put_some("point_of_no_return", point.as_ref());
    page.put("hops", list(&upgrade.hops));
    page.turn(&keys::ROOT, "");
    page.put_some("zone", upgrade.calendar.zone.as_ref());
}

/// A step a line: what changes in it is seen as a whole.
fn runbook(page: &mut Page<'_>, runbook: &RunbookConfig) {
    for step in &runbook.steps {
        page.turn(&keys::STEP, format!("step.{}", step.name));
        page.put("when", &step.when);
        page.put_some("owner", step.owner.as_ref());
        page.put_some("confirm", step.confirm.as_ref());
        let key = match &step.action {
            Action::Check(_) => "check",
            Action::Confirm => "confirm",
            Action::Http(_) => "http",
            Action::Run(_) => "run",
        };
        if step.action != Action::Confirm {
            page.put(key, &step.action);
        }
        page.put_duration("timeout", step.timeout);
        page.put("retries", step.retries);
        page.put_duration("retry_after", step.retry_after);
        page.put("on_interrupt", step.on_interrupt.name());
        page.put("on_failure", step.on_failure.name());
        page.put("on_rollback", step.on_rollback.name());
        page.put_some("undoes", step.undoes.as_ref());
    }
}

fn notify(page: &mut Page<'_>, notify: &notify::Settings) {
    for target in &notify.targets {
        let path = format!("notify.{}", target.name);
        page.turn(&keys::NOTIFY, path.as_str());
        page.put_some("events", target.events.as_ref().map(list));
        page.put_some("tiers", target.tiers.as_ref().map(list));
        page.put_duration("retry_for", target.retry_for);
        page.put_duration("timeout", target.timeout);
        match &target.way {
            notify::Way::Mail(mail) => {
                page.turn(&keys::NOTIFY_MAIL, format!("{path}.mail"));
                page.put("server", format!("{}:{}", mail.host, mail.port));
                page.put("tls", mail.encryption.name());
                page.put_some("user", mail.login.as_ref().map(|(user, _)| user));
                page.put_some("password", mail.login.as_ref().map(|(_, password)| password));
                page.put("from", &mail.from);
                page.put("to", list(&mail.to));
                put_ca(page, &mail.tls);
            }
            notify::Way::Webhook(hook) => {
                page.turn(&keys::NOTIFY_WEBHOOK, format!("{path}.webhook"));
                page.put("url", confidential(&hook.url));
                page.put("template", hook.template.name());
                page.put_some("secret", hook.secret.as_ref());
                for (name, value) in &hook.headers {
                    page.put_under("headers", name, confidential(value));
                }
                put_ca(page, &hook.tls);
            }
        }
    }
    if let Some(alertmanager) = &notify.alertmanager {
        page.turn(&keys::ALERTMANAGER, "alertmanager");
        page.put("url", &alertmanager.url);
        page.put("matchers", list(&alertmanager.matchers));
        page.put("created_by", &alertmanager.created_by);
        page.put_some("authorization", alertmanager.authorization.as_ref());
        put_ca(page, &alertmanager.tls);
    }
    if let Some(collector) = &notify.collector {
        page.turn(&keys::TRACING, "tracing");
        page.put("url", &collector.url);
        page.put("ratio", format!("{}%", hundredfold(collector.ratio)));
        page.put("service", &collector.service);
        for (name, value) in &collector.headers {
            page.put_under("headers", name, confidential(value));
        }
        put_ca(page, &collector.tls);
    }
}

/// A secret of the file as the beginning of its digest, so that another one is seen.
fn confidential(value: &notify::Confidential) -> String {
    match value {
        notify::Confidential::Plain(text) => {
            format!("{SECRET} {}", fingerprint(&[text.as_bytes().into()]))
        }
        kept @ (notify::Confidential::Env(_) | notify::Confidential::File(_)) => kept.to_string(),
    }
}

fn put_ca(page: &mut Page<'_>, tls: &ClientTls) {
    if let Trust::Only(ca) = &tls.trust {
        page.put("ca", fingerprint(ca));
    }
}

/// What a file of a certificate holds, so that a new one in the same place is seen.
fn certificate(certificate: &Certificate) -> String {
    let (names, until) = (certificate.names.join(" "), day(certificate.not_after));
    format!("{names} until {until} ({})", fingerprint(&certificate.chain))
}

/// The beginning of what identifies certificates.
fn fingerprint(chain: &[Box<[u8]>]) -> String {
    let digest = chain.iter().fold(Sha256::new(), Sha256::chain_update).finalize();
    format!("{:02x}{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2], digest[3])
}

fn describe_acme(page: &mut Page<'_>, acme: &AcmeConfig) {
    page.turn(&keys::ACME, "acme");
    page.put("directory", &acme.directory);
    page.put_some("contact", acme.contact.as_ref());
    page.put("agree_to_terms", true);
    page.put("challenge", acme.challenge.map_or("auto", Challenge::name));
    if let Trust::Only(ca) = &acme.trust {
        page.put("ca", fingerprint(ca));
    }
    page.put_some("folder", acme.folder.as_ref().map(|path| path.display()));
}

fn describe_tls(page: &mut Page<'_>, tls: &ClientTls) {
    page.put_some("name", tls.name.as_ref());
    page.put("verify", tls.trust != Trust::Anybody);
    if let Trust::Only(ca) = &tls.trust {
        page.put("ca", fingerprint(ca));
    }
    page.put_some("chain", tls.certificate.as_ref().map(|one| certificate(one)));
}

/// What a listener says beyond its address, which its tiers tell.
fn describe_listener(page: &mut Page<'_>, listener: &Listener) {
    page.turn(&keys::LISTENER, format!("listener.{}", listener.listen));
    if !listener.proxy_from.is_empty() {
        page.put("proxy_from", list(&listener.proxy_from));
    }
    if listener.mode != Listener::MODE {
        page.put("mode", format!("{:04o}", listener.mode));
    }
    if let Some(tls) = &listener.tls {
        page.turn(&keys::LISTENER_TLS, format!("listener.{}.tls", listener.listen));
        page.put("certificates", list(tls.certificates.iter().map(|one| certificate(one))));
        page.put("acme", list(&tls.acme));
        page.put("min_version", tls.min_version.name());
    }
}

fn describe_cache(page: &mut Page<'_>, cache: &Cache, life: Option<&CacheFacts>) {
    let path = format!("cache.{}", cache.name);
    page.turn(&keys::CACHE, path.as_str());
    page.put("name", &cache.name);
    page.put("kind", cache.kind.name());
    page.put("mode", cache.mode.name());
    page.put(
        "invalidate",
        match cache.invalidate {
            Invalidate::All => "all",
            Invalidate::Own => "own",
        },
    );
    if let Some(life) = life {
        page.put(
            "on_rollback",
            match life.on_rollback {
                OnRollback::Drop => "drop",
                OnRollback::Keep => "keep",
            },
        );
        page.put("stale_after", life.stale_after.map_or("none".into(), duration_text));
        if !life.tiers.is_empty() {
            let tiers: Vec<&str> = life.tiers.iter().map(TierName::as_str).collect();
            page.put("tiers", tiers.join(", "));
        }
    }
    if cache.mode != Mode::Instance {
        page.put_some("upstream", cache.ports.first().map(|port| server(&port.server)));
    }
    let tls = cache.ports.iter().find_map(|port| port.server.encrypted.as_ref());
    if let Some(encrypted) = tls {
        page.turn(&keys::RELEASE_TLS, format!("cache.{}.tls", cache.name));
        describe_tls(page, encrypted.settings());
        page.turn(&keys::CACHE, format!("cache.{}", cache.name));
    }
    page.put_some("jobs", cache.jobs);
    let lists = [("isolate", &cache.isolate), ("share", &cache.share), ("queues", &cache.queues)];
    for (key, patterns) in lists {
        if !patterns.is_empty() {
            page.put(key, patterns.join(", "));
        }
    }
    for port in &cache.ports {
        page.put_by_version("ports", &port.version, port.listen);
        if let Some(databases) = port.databases {
            page.put_by_version("databases", &port.version, databases);
        }
        if cache.mode == Mode::Instance {
            page.put_by_version("upstreams", &port.version, server(&port.server));
        }
    }
}

/// A server, and a change of its password without the password.
fn server(server: &Server) -> String {
    match &server.credentials {
        None => server.to_string(),
        Some(Credentials(words)) => {
            let digest = words.iter().fold(Sha256::new(), Sha256::chain_update);
            format!("{server} ({:02x})", digest.finalize()[0])
        }
    }
}

fn describe_tier(page: &mut Page<'_>, config: &TierConfig, signals: &[SignalConfig]) {
    let tier = &*config.tier;
    let path = format!("tier.{}", tier.name);
    page.tier = Some(tier.name.clone());
    page.turn(&keys::TIER, path.as_str());
    page.put("name", &tier.name);
    page.put("listen", &tier.listener.listen);
    page.turn(&keys::ROUTE, format!("{path}.route"));
    page.put_some("host", tier.route.host());
    page.put_some("path", tier.route.path());
    page.turn(&keys::TIER, path.clone());
    page.put("stable", &config.stable);
    page.put("sticky", &tier.sticky);
    page.put("trusted_proxies", list(&tier.trusted_proxies));
    page.put("show_version", tier.show_version);
    page.put("access_log", tier.access_log);
    for (name, keeping) in tier.cookies.iter() {
        page.put_under("cookies", name, keeping.name());
    }
    page.put("logout", list(&tier.logout));
    page.put("assets", list(&tier.assets));
    page.put("shared_caches", tier.shared_caches.name());
    page.put_duration("keep_warm", tier.keep_warm);
    page.put_duration("canary_down", config.canary_down);
    page.put_some("stages", config.stages.as_ref().map(stages));
    for release in &config.releases {
        page.turn(&keys::RELEASE, format!("{path}.releases.{}", release.version));
        page.put("version", &release.version);
        if config.instances.is_empty() {
            page.put("upstreams", list(&release.upstreams));
        }
        page.put_some("host", release.host.as_ref());
        page.put("proxy_protocol", release.proxy_protocol);
        if let Some(tls) = &release.tls {
            page.turn(&keys::RELEASE_TLS, format!("{path}.releases.{}.tls", release.version));
            describe_tls(page, tls);
        }
    }
    treatment(page, tier, &path);
    judging(page, &config.analysis, tier, &format!("{path}.analysis"));
    let judged = &config.analysis;
    let own = signals.iter().filter(|config| config.signal.tier == tier.name);
    own.for_each(|config| describe_signal(page, config, judged, &path));
}

fn closing(page: &mut Page<'_>, closing: &Closing, path: &str) {
    page.turn(&keys::MAINTENANCE, path.to_owned());
    let own = closing.page.as_ref().map(|page| format!("{} bytes", page.len()));
    page.put_some("page", own);
    page.put_duration("retry_after", closing.retry_after);
    page.put("allow", list(&closing.allow));
    if let Some(bypass) = &closing.bypass {
        page.turn(&keys::BYPASS, format!("{path}.bypass"));
        page.put_some("header", bypass.header.as_ref());
        page.put_some("cookie", bypass.cookie.as_ref());
        page.put("secret", SECRET);
    }
    let hold = &closing.hold;
    page.turn(&keys::HOLD, format!("{path}.hold"));
    page.put("requests", hold.requests);
    page.put("bytes", size_text(hold.bytes));
    page.put_duration("wait", hold.wait);
    page.put("pace", hold.pace);
}

fn treatment(page: &mut Page<'_>, tier: &Tier, path: &str) {
    if let Some(warm) = &tier.warm {
        page.turn(&keys::WARM, format!("{path}.warm"));
        page.put("requests", warm.requests);
        page.put_duration("within", warm.within);
    }
    if let Some(caching) = &tier.caching {
        page.turn(&keys::CACHING, format!("{path}.cache"));
        page.put("size", size_text(caching.size));
        page.put("object", size_text(caching.object));
        page.put_duration("stale_while_revalidate", caching.stale_while_revalidate);
        page.put_duration("stale_if_error", caching.stale_if_error);
        if !caching.forwarded.is_empty() {
            let names: Vec<&str> = caching.forwarded.iter().map(HeaderName::as_str).collect();
            page.put("forwarded", names.join(", "));
        }
    }
    let health = &tier.health;
    page.turn(&keys::HEALTH, format!("{path}.health"));
    page.put("path", health.path.as_deref().unwrap_or("none"));
    page.put_duration("interval", health.interval);
    page.put_duration("timeout", health.timeout);
    page.put("fall", health.fall);
    page.put("rise", health.rise);
    page.put_duration("boot_grace", health.boot_grace);
    page.put("eject_after", health.eject_after);
    page.put_duration("eject_for", health.eject_for);
    page.put_hundredths("eject_max", health.eject_max);
    page.put_duration("slow_start", health.slow_start);
    if let Some(preview) = &tier.preview {
        page.turn(&keys::PREVIEW, format!("{path}.preview"));
        page.put_some("header", preview.header.as_ref());
        page.put_some("cookie", preview.cookie.as_ref());
        page.put("secret", SECRET);
    }
    closing(page, &tier.closing, &format!("{path}.maintenance"));
    let timeouts = &tier.timeouts;
    page.turn(&keys::TIMEOUTS, format!("{path}.timeouts"));
    page.put_duration("request_head", timeouts.request_head);
    page.put_duration("client_idle", timeouts.client_idle);
    page.put_duration("body_idle", timeouts.body_idle);
    page.put_duration("connect", timeouts.connect);
    page.put_duration("response_head", timeouts.response_head);
    page.put_duration("first_byte", timeouts.first_byte);
    page.put("long_polls", list(&timeouts.long_polls));
    page.put("total", timeouts.total.map_or("none".to_owned(), duration_text));
    page.put_duration("stream_after", timeouts.stream_after);
    page.put_duration("upstream_idle", timeouts.upstream_idle);
    page.put_duration("reuse_idle", timeouts.reuse_idle);
    page.put_duration("rate_grace", timeouts.rate_grace);
    page.put_duration("drain", timeouts.drain);
    let limits = &tier.limits;
    page.turn(&keys::LIMITS, format!("{path}.limits"));
    page.put("connections", limits.connections);
    page.put("head_bytes", size_text(limits.head_bytes as u64));
    page.put("headers", limits.headers);
    page.put("body_bytes", limits.body_bytes.map_or("none".to_owned(), size_text));
    page.put("body_rate", limits.body_rate.map_or("none".to_owned(), size_text));
    page.put("read_rate", limits.read_rate.map_or("none".to_owned(), size_text));
    page.put("requests_per_connection", limits.requests_per_connection);
    page.put("streams", limits.streams);
    page.put("upstream_idle", limits.upstream_idle);
    let most = limits.upstream_connections.map_or("none".to_owned(), |most| most.to_string());
    page.put("upstream_connections", most);
    page.put("upstream_pending", limits.upstream_pending);
    page.put_hundredths("retries", limits.retries);
}

fn judging(page: &mut Page<'_>, settings: &Settings, tier: &Tier, path: &str) {
    page.turn(&keys::ANALYSIS, path);
    page.put("false_rollback", format!("{}%", hundredfold(settings.false_rollback)));
    page.put("false_advance", format!("{}%", hundredfold(settings.false_advance)));
    page.put_duration("grace", settings.grace);
    page.put("grace_delta", format!("{}pp", hundredfold(settings.grace_delta)));
    page.put_duration("warm_up", settings.warm_up);
    page.put_duration("give_up", settings.give_up);
    page.put(
        "when_unproven",
        match settings.when_unproven {
            WhenUnproven::Advance => "advance",
            WhenUnproven::Hold => "hold",
        },
    );
    page.turn(&keys::ERRORS, format!("{path}.errors"));
    metric(page, settings.errors);
    page.turn(&keys::SLOW, format!("{path}.slow"));
    metric(page, settings.slow);
    for (watch, judged) in tier.watches.iter().zip(&settings.watches) {
        page.turn(&keys::WATCH, format!("{path}.watch.{}", watch.name));
        page.put("status", list(&watch.status));
        page.put_some("location", watch.location.as_ref());
        page.put("on_fail", act(judged.on_fail));
        tolerated(page, judged.metric);
    }
    page.turn(&keys::IGNORE, format!("{path}.ignore"));
    page.put("paths", list(&tier.ignore.paths));
    page.put("addresses", list(&tier.ignore.addresses));
    page.put("agents", list(&tier.ignore.agents));
}

fn metric(page: &mut Page<'_>, metric: MetricSettings) {
    tolerated(page, metric);
    page.put("margin", format!("{}pp", hundredfold(metric.margin)));
    page.put("margin_ratio", metric.ratio_margin);
}

fn tolerated(page: &mut Page<'_>, metric: MetricSettings) {
    page.put("tolerated", format!("{}pp", hundredfold(metric.delta0)));
    page.put("tolerated_ratio", metric.ratio0);
}

const fn act(on_fail: OnFail) -> &'static str {
    match on_fail {
        OnFail::Hold => "hold",
        OnFail::Rollback => "rollback",
    }
}
