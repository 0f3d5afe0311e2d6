//! The table as one worker holds it: with its own connections, cells and counters beside it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use http::HeaderValue;
use rustls::ServerConfig;

use super::assets::Peace;
use super::choice::Budget;
use super::dial::{self, Dial};
use super::names::Names;
use super::pool::Pool;
use crate::cache::http::{HttpCache, HttpCaches, Space};
use crate::metrics::keys::Sketch;
use crate::metrics::{Register, TierCells, UpstreamCells, Writer};
use crate::namespace::Namespace;
use crate::namespace::http::mark::TagMark;
use crate::time::Timestamp;
use crate::tls::Keyring;
use crate::traffic::overlay::Mark;
use crate::traffic::{
    Address, Listen, Listener, Release, Scheme, Table, TableTier, TierName, Track, Upstream,
    Version,
};

/// The table of one epoch.
#[derive(Debug, Default)]
pub struct View {
    /// The epoch of its publication.
    pub epoch: u64,
    /// Its tiers.
    pub tiers: Vec<Rc<TierView>>,
    /// Its listeners.
    pub listeners: Vec<Rc<ListenerView>>,
}

/// One listener and the tiers behind it.
#[derive(Debug)]
pub struct ListenerView {
    /// What the table says of it.
    pub listener: Arc<Listener>,
    /// What is spoken on its connections.
    pub speech: Speech,
    /// The tier that comes first in the file: what concerns a whole connection is as it says.
    pub first: Rc<TierView>,
    /// The tiers, the one with the most particular route first.
    routed: Vec<Rc<TierView>>,
}

/// What is spoken on the connections of a listener.
#[derive(Clone, Debug)]
pub enum Speech {
    /// Nothing: TLS is wanted and cannot be had.
    Nothing,
    /// HTTP as it is.
    Plain,
    /// HTTP in TLS.
    Tls(Arc<ServerConfig>),
}

/// One tier.
#[derive(Clone, Debug)]
pub struct TierView {
    /// The epoch of its publication.
    pub epoch: u64,
    /// What the table says of it.
    pub table: TableTier,
    /// The cells of the tier as a whole.
    pub cells: Arc<TierCells>,
    /// What is kept of its answers, if it wants that.
    pub cache: Option<Arc<HttpCache>>,
    /// The keys seen lately; kept over tables.
    pub sketch: Rc<RefCell<Sketch>>,
    /// The release that serves.
    pub stable: Rc<ReleaseView>,
    /// The release of the open rollout.
    pub canary: Option<Rc<ReleaseView>>,
    /// Further releases, for testers.
    pub others: Vec<Rc<ReleaseView>>,
    /// The release that stable has replaced, and until when its cookies are kept.
    pub replaced: Option<(Mark, Timestamp)>,
    /// The marks of all tiers whose cookies are not thrown away, some only until then.
    pub live: Rc<[(Mark, Option<Timestamp>)]>,
}

/// One release.
#[derive(Debug)]
pub struct ReleaseView {
    /// What the table says of it.
    pub release: Arc<Release>,
    /// Where this worker counts.
    pub writer: Writer,
    /// Its version as a header.
    pub version: HeaderValue,
    /// What stands behind the names of its cookies.
    pub mark: Mark,
    /// Its part of caches as a header; none: it cannot stand before keys.
    pub namespace: Option<HeaderValue>,
    /// Its part of the tier's cache of answers, where there is one.
    pub space: Option<Arc<Space>>,
    /// What tells its entity tags apart.
    pub tag_mark: TagMark,
    /// The Host it wants to see, if not the client's.
    pub host: Option<HeaderValue>,
    /// Its upstreams.
    pub upstreams: Vec<Rc<UpstreamView>>,
    /// Until when it is not asked for files of other versions' pages.
    pub peace: Peace,
    /// How many of its requests may be sent again.
    pub budget: Budget,
    /// Whose turn it is.
    pub rotation: Cell<usize>,
}

/// One upstream, with this worker's connections to it. Kept over tables as long as one names it.
#[derive(Debug)]
pub struct UpstreamView {
    /// Where it listens.
    pub address: Address,
    /// What is known of it.
    pub cells: Arc<UpstreamCells>,
    /// This worker's connections to it.
    pub pool: Rc<Pool>,
    /// How they are made.
    pub dial: Dial,
    /// Whether they tell of a client.
    proxied: bool,
    /// This worker's requests on their way to it.
    pub busy: Cell<usize>,
}

/// What a worker shares with all others.
#[derive(Debug)]
pub struct Shared<'a> {
    /// Its number.
    pub worker: usize,
    /// Where they count.
    pub register: &'a Register,
    /// What TLS handshakes share.
    pub keyring: &'a Arc<Keyring>,
    /// What is known of names.
    pub names: &'a Names,
    /// What is kept of answers.
    pub caches: &'a HttpCaches,
    /// What stands before the version in namespaces.
    pub environment: Option<&'a str>,
}

/// What outlives a table: connections and sketches.
#[derive(Debug, Default)]
pub struct Kept {
    upstreams: BTreeMap<usize, Rc<UpstreamView>>,
    sketches: BTreeMap<TierName, Rc<RefCell<Sketch>>>,
}

impl View {
    /// The view of `worker` on a table, with what was `kept` of the one before.
    pub fn new(table: &Table, epoch: u64, shared: &Shared<'_>, kept: &mut Kept) -> Self {
        let before = std::mem::take(kept);
        let (register, keyring) = (shared.register, shared.keyring);
        let mut build = |release: &Arc<Release>, cache: Option<&Arc<HttpCache>>| {
            let tls = release.tls.as_ref().map(|tls| dial::Tls::new(tls, keyring));
            let upstreams = release.upstreams.iter().map(|upstream| {
                let tls = tls.as_ref().filter(|_| upstream.address.is_tls());
                let new = || Rc::new(UpstreamView::new(upstream, release, shared, tls.cloned()));
                let view = before.upstreams.get(&upstream.slot);
                let view = view.filter(|view| view.is_by(release, tls)).cloned();
                let view = view.unwrap_or_else(new);
                Rc::clone(kept.upstreams.entry(upstream.slot).or_insert(view))
            });
            let upstreams = upstreams.collect();
            let writer = register.writer(release.slot, shared.worker);
            let mut view =
                ReleaseView::new(Arc::clone(release), writer, upstreams, shared.environment);
            view.space = cache.map(|cache| view.space_in(cache));
            Rc::new(view)
        };
        let live: Rc<[_]> = table.tiers.iter().flat_map(marks).collect();
        let mut tiers = Vec::with_capacity(table.tiers.len());
        for tier in &table.tiers {
            let name = &tier.tier.name;
            let sketch = before.sketches.get(name).cloned().unwrap_or_default();
            let cache = shared.caches.of(tier);
            let mut build = |release: &Arc<Release>| build(release, cache.as_ref());
            tiers.push(Rc::new(TierView {
                epoch,
                cells: register.tier(name),
                sketch,
                stable: build(&tier.stable),
                canary: tier.canary.as_ref().map(&mut build),
                others: tier.others.iter().map(&mut build).collect(),
                replaced: replaced(tier),
                live: Rc::clone(&live),
                cache: cache.clone(),
                table: tier.clone(),
            }));
        }
        let gone = before.upstreams.iter().filter(|(slot, _)| !kept.upstreams.contains_key(slot));
        gone.for_each(|(_, upstream)| upstream.pool.leave());
        let mut listeners: Vec<Rc<ListenerView>> = Vec::new();
        for tier in &tiers {
            kept.sketches.insert(tier.table.tier.name.clone(), Rc::clone(&tier.sketch));
            let listener = &tier.table.tier.listener;
            if !listeners.iter().any(|known| known.listener.listen == listener.listen) {
                listeners.push(Rc::new(ListenerView::new(tier, &tiers, keyring)));
            }
        }
        Self { epoch, tiers, listeners }
    }

    /// The listener at `listen`.
    pub fn listener(&self, listen: &Listen) -> Option<&Rc<ListenerView>> {
        self.listeners.iter().find(|listener| listener.listener.listen == *listen)
    }

    /// The tier called `name`.
    pub fn tier(&self, name: &TierName) -> Option<&Rc<TierView>> {
        self.tiers.iter().find(|tier| tier.table.tier.name == *name)
    }
}

/// The release that stable has replaced in `tier`, and until when that matters.
fn replaced(tier: &TableTier) -> Option<(Mark, Timestamp)> {
    let left = tier.left.as_ref().filter(|left| left.replaced)?;
    Some((Mark::of(&left.version), left.until))
}

/// The marks in use in `tier`.
fn marks(tier: &TableTier) -> impl Iterator<Item = (Mark, Option<Timestamp>)> {
    let serving = std::iter::once(&tier.stable).chain(&tier.canary);
    let serving = serving.map(|release| (Mark::of(&release.version), None));
    serving.chain(replaced(tier).map(|(mark, until)| (mark, Some(until))))
}

impl ListenerView {
    fn new(first: &Rc<TierView>, tiers: &[Rc<TierView>], keyring: &Arc<Keyring>) -> Self {
        let listener = Arc::clone(&first.table.tier.listener);
        let here = |tier: &&Rc<TierView>| tier.table.tier.listener.listen == listener.listen;
        let mut routed: Vec<_> = tiers.iter().filter(here).cloned().collect();
        routed.sort_by_key(|tier| tier.table.tier.route.order());
        let speech = match listener.tls.as_ref().map(|tls| keyring.listening(tls)) {
            None => Speech::Plain,
            Some(Ok(config)) => Speech::Tls(config),
            Some(Err(error)) => {
                tracing::error!(listen = %listener.listen, "no TLS, clients are refused: {error}");
                Speech::Nothing
            }
        };
        Self { listener, speech, first: Rc::clone(first), routed }
    }

    /// The tier that a request to `host` for `path` belongs to.
    pub fn tier(&self, host: &[u8], path: &str) -> Option<&Rc<TierView>> {
        let takes = |tier: &&Rc<TierView>| tier.table.tier.route.takes(host, path);
        self.routed.iter().find(takes)
    }
}

impl TierView {
    /// Every release, stable first.
    pub fn releases(&self) -> impl Iterator<Item = &Rc<ReleaseView>> {
        std::iter::once(&self.stable).chain(&self.canary).chain(&self.others)
    }

    /// The release that serves `track`; stable where there is no canary.
    pub fn on(&self, track: Track) -> &Rc<ReleaseView> {
        match (track, &self.canary) {
            (Track::Canary, Some(canary)) => canary,
            (Track::Canary, None) | (Track::Stable, _) => &self.stable,
        }
    }

    /// The release of `version`.
    pub fn version(&self, version: &Version) -> Option<&Rc<ReleaseView>> {
        self.releases().find(|release| release.release.version == *version)
    }

    /// Connections that stay open to each upstream of `release` however long they are idle: as many
    /// as those need who would come with a rollback. More are not opened, since there are apps that
    /// a silent connection keeps from all others.
    pub fn warmth(&self, release: &Rc<ReleaseView>) -> usize {
        let is = |other: &Rc<ReleaseView>| Rc::ptr_eq(other, release);
        let from = match &self.canary {
            Some(canary) if is(canary) => return 0,
            Some(canary) if is(&self.stable) => canary,
            None if is(&self.stable) => return 0,
            Some(_) | None => &self.stable,
        };
        let open: usize = from.upstreams.iter().map(|upstream| upstream.pool.open()).sum();
        open.div_ceil(release.upstreams.len().max(1))
    }

    /// Whether the release in `slot` is stable or canary.
    pub fn serves(&self, slot: usize) -> bool {
        let is = |release: &Rc<ReleaseView>| release.release.slot == slot;
        is(&self.stable) || self.canary.as_ref().is_some_and(is)
    }
}

impl ReleaseView {
    fn new(
        release: Arc<Release>,
        writer: Writer,
        upstreams: Vec<Rc<UpstreamView>>,
        environment: Option<&str>,
    ) -> Self {
        // A version has only letters, digits and marks; the configuration checks hosts.
        let header = |text: &str| HeaderValue::from_str(text).ok();
        let namespace = Namespace::of(environment, release.version.as_str()).ok();
        Self {
            namespace: namespace.and_then(|namespace| header(namespace.as_str())),
            version: header(release.version.as_str()).unwrap_or(HeaderValue::from_static("?")),
            mark: Mark::of(&release.version),
            space: None,
            tag_mark: if release.is_first {
                TagMark::none()
            } else {
                TagMark::of(release.version.as_str())
            },
            host: release.host.as_deref().and_then(header),
            release,
            writer,
            upstreams,
            peace: Peace::default(),
            budget: Budget::default(),
            rotation: Cell::new(0),
        }
    }
}

impl ReleaseView {
    /// Its part of `cache`. A release whose name cannot stand before keys has one, too.
    fn space_in(&self, cache: &HttpCache) -> Arc<Space> {
        let version = &self.release.version;
        let name = self.namespace.as_ref().and_then(|name| name.to_str().ok());
        cache.space(version, name.unwrap_or(version.as_str()))
    }
}

impl UpstreamView {
    fn new(
        upstream: &Upstream,
        release: &Release,
        shared: &Shared<'_>,
        tls: Option<dial::Tls>,
    ) -> Self {
        let address = &upstream.address;
        Self {
            address: address.clone(),
            cells: shared.register.upstream_cells(upstream.slot),
            pool: Pool::new(shared.worker, address.scheme == Scheme::H2c),
            dial: Dial::new(address, tls, shared.names),
            proxied: release.proxy_protocol,
            busy: Cell::new(0),
        }
    }

    /// Whether connections are still made by the same rules; those that were made by others must
    /// not be used any more.
    fn is_by(&self, release: &Release, tls: Option<&dial::Tls>) -> bool {
        self.dial.is_by(tls) && self.proxied == release.proxy_protocol
    }
}
