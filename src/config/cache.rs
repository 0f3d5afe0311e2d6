//! Reads `[[cache]]`: a server that versions share, and the port at which each finds its own part.

mod parts;

use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use toml::de::DeValue;

use super::ProxyConfig;
use super::diagnostic::{Code, Level};
use super::reader::Reader;
use super::section::{At, Section, not_a};
use super::tier::Draft;
use super::tls;
use super::values::{self, Mistake, quoted};
use crate::cache::{Cache, Encrypted, Invalidate, Kind, Mode, Port, Server, ServerError};
use crate::namespace::{Namespace, without_generation};
use crate::rollout::{CacheFacts, OnRollback};
use crate::traffic::{ClientTls, Listen, NAME_BYTES_MAX, Spot, TierName, Version};
use parts::Parts;

/// Ports of a cache: as many as a tier may have releases.
const PORTS_MAX: usize = 64;

/// For how long a release may have no users until its part is empty when they come back.
const STALE_AFTER: Duration = Duration::from_mins(10);

/// Whoever wants it longer wants it never: "none".
const STALE_AFTER_MAX: Duration = Duration::from_hours(30 * 24);

/// Tiers that may share a cache.
const TIERS_MAX: usize = super::TIERS_MAX;

/// A cache as far as it could be read.
pub(super) struct CacheDraft {
    path: String,
    span: Range<usize>,
    name: Option<At<String>>,
    kind: Kind,
    mode: Mode,
    invalidate: Invalidate,
    server: Option<At<Server>>,
    servers: Vec<(At<Version>, At<Server>)>,
    ports: Vec<(At<Version>, At<SocketAddr>)>,
    ports_span: Option<Range<usize>>,
    tiers: Option<Vec<At<TierName>>>,
    parts: Parts,
    tls: Option<Arc<ClientTls>>,
    on_rollback: OnRollback,
    stale_after: Option<Duration>,
}

/// Why no jobs are seen in the cache `name`, if none are.
pub(super) fn not_observed(name: &str, caches: &[CacheDraft]) -> Option<Mistake> {
    let mut observed = caches.iter().filter_map(CacheDraft::observed);
    (!observed.any(|known| known == name)).then(|| {
        let help = "name a [[cache]] with kind = \"redis\" and mode = \"observe\", through whose ports \
                    the workers get their jobs";
        Mistake::new(format!("no jobs are seen in a cache {}", quoted(name)), help)
    })
}

impl CacheDraft {
    /// Reads one `[[cache]]`.
    pub(super) fn read(mut section: Section<'_>, base: &Path) -> Self {
        section.need("name", "name = \"sessions\"");
        section.need("kind", "kind = \"redis\"");
        section.need("ports", "ports = { \"1.0.0\" = \"127.0.0.1:16379\" }");
        let name = section.text("name", "write text: \"sessions\"", name);
        if let Some(at) = &name {
            section.rename(format!("cache.{}", at.value));
        }
        let mut kind = Kind::Redis;
        let kinds = [Kind::Redis, Kind::Memcached].map(|kind| (kind.name(), kind));
        section.word("kind", &kinds, &mut kind);
        let mut mode = Mode::Prefix;
        let modes =
            [Mode::Prefix, Mode::Db, Mode::Instance, Mode::Observe].map(|mode| (mode.name(), mode));
        section.word("mode", &modes, &mut mode);
        let mut invalidate = Invalidate::All;
        let choices = [("all", Invalidate::All), ("own", Invalidate::Own)];
        section.word("invalidate", &choices, &mut invalidate);
        is_repeated(&mut section, mode);
        let server = |text: &str| server(kind, text);
        let own = section.hidden("upstream", server);
        let servers = by_version(&mut section, "upstreams", Secrecy::Hidden, server);
        let all = own.iter().chain(servers.iter().map(|(_, server)| server));
        let encrypted = all.map(|at| &at.value).any(|server| server.encrypted.is_some());
        let help = "write rediss:// before its address: \"rediss://cache.internal:6379\"";
        let tls = tls::client(&mut section, (encrypted, help), base);
        servers_fit(&mut section, kind, mode);
        let ports = by_version(&mut section, "ports", Secrecy::Shown, values::socket);
        let ports_span = section.key_span("ports");
        within_reach(&section, &ports);
        let tiers = section.list("tiers", TIERS_MAX, "[\"web\"]", |text| {
            let help = "write the name of a tier, as it stands in [[tier]]";
            text.parse::<TierName>()
                .map_err(|_| Mistake::new(format!("{} is no tier name", quoted(text)), help))
        });
        only_redis(&mut section, kind, mode);
        let shares = Parts::read(&mut section, mode);
        let (on_rollback, stale_after) = life(&mut section, mode);
        let path = section.path_of("").trim_end_matches('.').to_owned();
        let span = section.span.clone();
        section.finish();
        Self {
            path,
            span,
            name,
            kind,
            mode,
            invalidate,
            server: own,
            servers,
            ports,
            ports_span,
            tiers,
            parts: shares,
            tls,
            on_rollback,
            stale_after,
        }
    }

    /// Whether it has this name.
    pub(super) fn is_called(&self, name: &str) -> bool {
        self.name.as_ref().is_some_and(|at| at.value == name)
    }

    /// Its name, if jobs are seen that pass it.
    fn observed(&self) -> Option<&str> {
        let is_observed = self.mode == Mode::Observe && self.kind == Kind::Redis;
        self.name.as_ref().filter(|_| is_observed).map(|at| at.value.as_str())
    }

    fn note(&self, reader: &Reader, key: &str, span: &Range<usize>, mistake: Mistake) {
        let place = (format!("{}.{key}", self.path), span.clone());
        reader.note((Level::Error, Code::Conflict), place, mistake, Vec::new());
    }

    /// The server behind the port of `version`.
    fn server_of(&self, version: &Version) -> Option<&Server> {
        let own = self.servers.iter().find(|(at, _)| at.value == *version);
        own.map(|(_, server)| &server.value).or(self.server.as_ref().map(|at| &at.value))
    }

    /// The cache, if nothing of it is wrong.
    pub(super) fn finish(&self, environment: Option<&str>) -> Option<Cache> {
        let port = |(version, listen): &(At<Version>, At<SocketAddr>)| {
            let version = version.value.clone();
            let namespace = match self.mode {
                Mode::Prefix => {
                    let namespace = Namespace::of(environment, version.as_str()).ok()?;
                    namespace.but_for(self.parts.sharing())
                }
                Mode::Db | Mode::Instance | Mode::Observe => Namespace::nothing(),
            };
            let mut server = self.server_of(&version)?.clone();
            if let (Some(encrypted), Some(tls)) = (&mut server.encrypted, &self.tls) {
                *encrypted = Encrypted::new(Arc::clone(tls));
            }
            let databases = self.parts.databases(&version);
            Some(Port { listen: listen.value, namespace, databases, server, version })
        };
        Some(Cache {
            name: self.name.as_ref()?.value.clone(),
            kind: self.kind,
            mode: self.mode,
            invalidate: self.invalidate,
            environment: environment.map(str::to_owned),
            isolate: self.parts.isolate.clone(),
            share: self.parts.share.clone(),
            queues: self.parts.queues.clone(),
            jobs: self.parts.jobs,
            tiers: self.tiers.iter().flatten().map(|at| at.value.clone()).collect(),
            ports: self.ports.iter().map(port).collect::<Option<Vec<_>>>()?,
        })
    }
}

impl CacheDraft {
    /// Who uses it, and when the parts of its releases begin anew, where they can.
    pub(super) fn life(&self) -> Option<CacheFacts> {
        let tiers = self.tiers.iter().flatten().map(|at| at.value.clone());
        let can_begin_anew = |_: &&(At<Version>, At<SocketAddr>)| self.mode == Mode::Prefix;
        let versions = self.ports.iter().filter(can_begin_anew);
        Some(CacheFacts {
            name: self.name.as_ref()?.value.clone(),
            versions: versions.map(|(version, _)| version.value.clone()).collect(),
            tiers: tiers.collect(),
            on_rollback: self.on_rollback,
            stale_after: self.stale_after,
        })
    }
}

/// Whether what one version deletes can be deleted for the others.
fn is_repeated(section: &mut Section<'_>, mode: Mode) {
    let repeats = match mode {
        Mode::Prefix | Mode::Db | Mode::Instance => true,
        Mode::Observe => false,
    };
    if let Some(span) = section.key_span("invalidate").filter(|_| !repeats) {
        let message = format!("`invalidate` has no use with mode = \"{}\"", mode.name());
        let help = "what one version deletes is gone for all there: they have the same keys";
        section.wrong("invalidate", span, Mistake::new(message, help));
    }
}

fn life(section: &mut Section<'_>, mode: Mode) -> (OnRollback, Option<Duration>) {
    let (mut on_rollback, mut stale_after) = (OnRollback::default(), Some(STALE_AFTER));
    let choices = [("drop", OnRollback::Drop), ("keep", OnRollback::Keep)];
    section.word("on_rollback", &choices, &mut on_rollback);
    section.duration_or_none("stale_after", Duration::ZERO..=STALE_AFTER_MAX, &mut stale_after);
    for key in ["on_rollback", "stale_after"] {
        if let Some(span) = section.key_span(key).filter(|_| mode != Mode::Prefix) {
            let message = format!("`{key}` has no use with mode = \"{}\"", mode.name());
            let help = "only where Weir puts names before keys it can empty the part of a version";
            section.wrong(key, span, Mistake::new(message, help));
        }
    }
    (on_rollback, stale_after)
}

/// What only a Redis has.
fn only_redis(section: &mut Section<'_>, kind: Kind, mode: Mode) {
    if kind == Kind::Redis {
        return;
    }
    let keys = ["databases", "share", "isolate", "queues", "jobs", "mode"];
    for key in keys.into_iter().filter(|key| *key != "mode" || mode == Mode::Db) {
        if let Some(span) = section.key_span(key) {
            let message = format!("`{key}` is not for memcached as it stands here");
            let help = "memcached has no databases and no queues, and all of its keys are isolated";
            section.wrong(key, span, Mistake::new(message, help));
        }
    }
}

/// The versions share a server, or each has its own.
fn servers_fit(section: &mut Section<'_>, kind: Kind, mode: Mode) {
    let (key, example) = match (kind, mode) {
        (Kind::Redis, Mode::Instance) => {
            ("upstreams", "upstreams = { \"1.0.0\" = \"redis://127.0.0.1:6379\" }")
        }
        (Kind::Memcached, Mode::Instance) => {
            ("upstreams", "upstreams = { \"1.0.0\" = \"memcached://127.0.0.1:11211\" }")
        }
        (Kind::Redis, Mode::Prefix | Mode::Db | Mode::Observe) => {
            ("upstream", "upstream = \"redis://127.0.0.1:6379\"")
        }
        (Kind::Memcached, Mode::Prefix | Mode::Db | Mode::Observe) => {
            ("upstream", "upstream = \"memcached://127.0.0.1:11211\"")
        }
    };
    section.need(key, example);
    let wrong = if mode == Mode::Instance { "upstream" } else { "upstreams" };
    if let Some(span) = section.key_span(wrong) {
        let help = match mode {
            Mode::Instance => "with mode = \"instance\" each version has its own: use `upstreams`",
            Mode::Prefix | Mode::Db | Mode::Observe => {
                "`upstreams` is for mode = \"instance\"; the versions share one `upstream`"
            }
        };
        let message = format!("`{wrong}` has no use with mode = \"{}\"", mode.name());
        section.wrong(wrong, span, Mistake::new(message, help));
    }
}

/// Remarks on ports that other machines reach.
fn within_reach(section: &Section<'_>, ports: &[(At<Version>, At<SocketAddr>)]) {
    for (version, at) in ports.iter().filter(|(_, at)| !at.value.ip().to_canonical().is_loopback())
    {
        let message = format!("{} can be reached from other machines", at.value);
        let help = "whoever reaches a port has that version's cache, unencrypted and with the \
            password of `upstream`; let a firewall stand before it";
        section.remark(
            &format!("ports.{}", version.value),
            at.span.clone(),
            Mistake::new(message, help),
        );
    }
}

fn name(text: &str) -> Result<String, Mistake> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if (1..=NAME_BYTES_MAX).contains(&text.len()) && text.chars().all(allowed) {
        return Ok(text.to_owned());
    }
    let help = format!("use 1 to {NAME_BYTES_MAX} letters, digits and ._-");
    Err(Mistake::new(format!("{} is no name of a cache", quoted(text)), help))
}

/// The text is not shown: it may hold a password.
fn server(kind: Kind, text: &str) -> Result<Server, Mistake> {
    let server: Result<Server, ServerError> = text.parse();
    if let Ok(server) = &server
        && server.kind != kind
    {
        let message = format!("the kind is \"{}\", and this is an address of another", kind.name());
        let help = format!("write \"{}://127.0.0.1:{}\"", kind.name(), kind.port());
        return Err(Mistake::new(message, help));
    }
    server.map_err(|error: ServerError| {
        let text = error.to_string();
        let (message, help) =
            text.split_once("; ").unwrap_or(("this is no address of a cache", &text));
        Mistake::new(message, help)
    })
}

/// Whether messages may show what was written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Secrecy {
    Hidden,
    Shown,
}

/// Reads `{ "1.0.0" = "...", ... }`.
fn by_version<T>(
    section: &mut Section<'_>,
    key: &'static str,
    secrecy: Secrecy,
    parse: impl Fn(&str) -> Result<T, Mistake>,
) -> Vec<(At<Version>, At<T>)> {
    let help = format!("write one for each release: {key} = {{ \"1.0.0\" = \"...\" }}");
    let table = section.read(key, |value| match value {
        DeValue::Table(table) if table.iter().count() > PORTS_MAX => {
            let message = format!("{} versions are too many", table.iter().count());
            Err(Mistake::new(message, format!("at most {PORTS_MAX} are allowed")))
        }
        DeValue::Table(table) => Ok(table),
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_) => Err(Mistake::new("this is no table", help.as_str())),
    });
    let mut read = Vec::new();
    for (name, value) in table.iter().flat_map(|at| at.value.iter()) {
        let version = name.get_ref().parse::<Version>().map_err(|error| {
            let text = error.to_string();
            let (message, help) = text.split_once("; ").unwrap_or((&text, ""));
            Mistake::new(message, help)
        });
        let parsed = match value.get_ref().as_str() {
            Some(text) => parse(text),
            None if secrecy == Secrecy::Hidden => {
                Err(Mistake::new("this is not text", help.as_str()))
            }
            None => Err(not_a("text", value.get_ref(), &help)),
        };
        match (version, parsed) {
            (Ok(version), Ok(parsed)) => {
                let version = At { value: version, span: name.span() };
                read.push((version, At { value: parsed, span: value.span() }));
            }
            (version, parsed) => {
                if let Err(mistake) = version {
                    section.wrong(key, name.span(), mistake);
                }
                if let Err(mistake) = parsed {
                    section.wrong(key, value.span(), mistake);
                }
            }
        }
    }
    read
}

/// Checks the caches against each other, the tiers and the admin address.
pub(super) fn check(
    reader: &Reader,
    caches: &[CacheDraft],
    tiers: &[Draft],
    proxy: &ProxyConfig,
    admin: SocketAddr,
) {
    for (place, cache) in caches.iter().enumerate() {
        let earlier = &caches[..place];
        if let Some(name) = &cache.name
            && earlier
                .iter()
                .filter_map(|other| other.name.as_ref())
                .any(|at| at.value == name.value)
        {
            let message = format!("two caches are called {}", quoted(&name.value));
            cache.note(reader, "name", &name.span, Mistake::new(message, "give each its own name"));
        }
        addresses(reader, cache, earlier, tiers, admin);
        servers(reader, cache, earlier);
        namespaces(reader, cache, proxy.environment.as_deref());
        parts::check(reader, cache);
        releases(reader, cache, tiers);
    }
}

/// An address is listened at once, and no server behind is Weir itself.
fn addresses(
    reader: &Reader,
    cache: &CacheDraft,
    earlier: &[CacheDraft],
    tiers: &[Draft],
    admin: SocketAddr,
) {
    let listens = |at: &At<Listen>| at.value.clone();
    let tiers = tiers.iter().filter_map(|tier| tier.listen.as_ref()).map(listens);
    let ports = |cache: &CacheDraft| -> Vec<Listen> {
        cache.ports.iter().map(|(_, at)| Listen::Socket(at.value)).collect()
    };
    let mut taken: Vec<Listen> = tiers.chain([Listen::Socket(admin)]).collect();
    taken.extend(earlier.iter().flat_map(ports));
    for (version, listen) in &cache.ports {
        let here = Listen::Socket(listen.value);
        if listen.value.port() == 0 {
            let mistake =
                Mistake::new("an app must know its port", "write one: \"127.0.0.1:16379\"");
            cache.note(reader, "ports", &listen.span, mistake);
        } else if taken.iter().any(|other| other.overlaps(&here)) {
            let message = format!("{here} is taken");
            let help = "a port belongs to one release of one cache; choose another";
            cache.note(reader, "ports", &listen.span, Mistake::new(message, help));
        }
        taken.push(here);
        let leads = cache.server_of(&version.value).map(|server| &server.spot);
        if leads == Some(&Spot::Socket(listen.value)) {
            let message = format!("{} leads back to Weir", listen.value);
            let mistake = Mistake::new(message, "`upstream` is the server, a port is Weir's");
            cache.note(reader, "ports", &listen.span, mistake);
        }
    }
}

/// A server has one cache that puts names before keys: what is thrown away of a version is told by
/// its names, and two that begin anew at different times would throw away each other's.
fn servers(reader: &Reader, cache: &CacheDraft, earlier: &[CacheDraft]) {
    let named = |cache: &CacheDraft| cache.mode == Mode::Prefix;
    let Some(server) = cache.server.as_ref().filter(|_| named(cache)) else { return };
    let same = |other: &CacheDraft| {
        other.server.as_ref().is_some_and(|other| other.value.spot == server.value.spot)
    };
    if earlier.iter().any(|other| named(other) && same(other)) {
        let message = format!("{} has a cache with mode = \"prefix\" already", server.value.spot);
        let help = "one port of a version serves all databases of a server; for what is to live \
            differently use mode = \"db\" or another server";
        cache.note(reader, "upstream", &server.span, Mistake::new(message, help));
    }
}

/// A namespace can stand before keys. Two of one file never overlap: versions have no colon, and none
/// is called like another that has begun anew.
fn namespaces(reader: &Reader, cache: &CacheDraft, environment: Option<&str>) {
    for (version, _) in cache.ports.iter().filter(|_| cache.mode == Mode::Prefix) {
        if let Err(error) = Namespace::of(environment, version.value.as_str()) {
            let text = error.to_string();
            let (message, help) = text.split_once("; ").unwrap_or((&text, ""));
            let help = format!("give the release another name: {help}");
            cache.note(reader, "ports", &version.span, Mistake::new(message, help));
        }
        let stem = without_generation(version.value.as_str());
        let others = cache.ports.iter().map(|(other, _)| other.value.as_str());
        if stem != version.value.as_str() && others.into_iter().any(|other| other == stem) {
            let message = format!("{} is what {stem} may be called", version.value);
            let help = "Weir puts .g and a number behind a version whose part begins anew; give the \
                        release another name";
            cache.note(reader, "ports", &version.span, Mistake::new(message, help));
        }
    }
}

/// Each release of the tiers that use a cache has a port, before it gets users.
fn releases(reader: &Reader, cache: &CacheDraft, tiers: &[Draft]) {
    for at in cache.tiers.iter().flatten() {
        let mut names = tiers.iter().filter_map(|tier| tier.name.as_ref());
        if !names.any(|name| name.value == at.value) {
            let message = format!("there is no tier {}", quoted(at.value.as_str()));
            let mistake = Mistake::new(message, "write the name of a [[tier]]");
            cache.note(reader, "tiers", &at.span, mistake);
        }
    }
    let uses = |tier: &&Draft| {
        let name = tier.name.as_ref().map(|at| &at.value);
        cache.tiers.as_ref().is_none_or(|tiers| tiers.iter().any(|at| Some(&at.value) == name))
    };
    let has = |list: &[(At<Version>, At<SocketAddr>)], version: &Version| {
        list.iter().any(|(at, _)| at.value == *version)
    };
    for tier in tiers.iter().filter(uses) {
        for version in tier.releases.iter().filter_map(|release| release.version.as_ref()) {
            if cache.ports_span.is_some() && !has(&cache.ports, &version.value) {
                let name = tier.name.as_ref().map_or("", |at| at.value.as_str());
                let message = format!("release {} of {name} has no port", version.value);
                let help = format!(
                    "add \"{}\" = \"127.0.0.1:...\" to `ports`, or say which tiers use this cache: \
                     tiers = [...]",
                    version.value
                );
                let place = (
                    format!("{}.ports", cache.path),
                    cache.ports_span.clone().unwrap_or(cache.span.clone()),
                );
                let others = vec![(version.span.clone(), "the release".to_owned())];
                reader.note(
                    (Level::Error, Code::Conflict),
                    place,
                    Mistake::new(message, help),
                    others,
                );
            }
        }
    }
    let known = |version: &Version| {
        let mut releases = tiers.iter().flat_map(|tier| &tier.releases);
        releases.any(|release| release.version.as_ref().is_some_and(|at| at.value == *version))
    };
    for (version, _) in &cache.ports {
        if !known(&version.value) {
            let message = format!("no tier has a release {}", version.value);
            let mistake = Mistake::new(message, "is it a slip, or did the release leave the file?");
            let place = (format!("{}.ports", cache.path), version.span.clone());
            reader.note((Level::Warning, Code::Remark), place, mistake, Vec::new());
        }
        let missing = cache.mode == Mode::Instance
            && !cache.servers.iter().any(|(at, _)| at.value == version.value);
        if missing && cache.server.is_none() {
            let message = format!("version {} has a port and no server", version.value);
            let mistake = Mistake::new(message, "add it to `upstreams`");
            cache.note(reader, "ports", &version.span, mistake);
        }
    }
}
