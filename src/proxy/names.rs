//! Names of upstreams: looked up again and again on a thread that serves nobody, so that no
//! request waits for a resolver that has answered once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use super::random;
use crate::metrics::{Register, UpstreamCells};
use crate::traffic::{Spot, Table, TableTier};

/// Addresses of one name that are used; as many as a release may list.
const ADDRESSES_MAX: usize = 256;

/// Longest pause before the next try for a name that was never found: its upstream cannot be
/// served at all.
const AGAIN_MAX: Duration = Duration::from_secs(1);

/// Where names are looked up.
#[derive(Clone, Default)]
pub enum Resolver {
    /// By a function, for tests.
    Function(Arc<LookUp>),
    /// As the system does it: `/etc/hosts`, DNS, and what else `nsswitch.conf` names.
    #[default]
    System,
}

/// From a host and a port to addresses.
pub type LookUp = dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// What is known of a name: its addresses, sorted and at least one; or why there never were any.
pub type Known = Result<Arc<[SocketAddr]>, Arc<str>>;

/// A name as a worker sees it; none before the first answer.
pub type Seen = watch::Receiver<Option<Known>>;

type Name = (String, u16);

/// What is known of all names, for all threads.
#[derive(Debug, Default)]
pub struct Names {
    known: Mutex<BTreeMap<Name, watch::Sender<Option<Known>>>>,
}

/// The names that are looked up.
#[derive(Debug)]
pub struct Lookups {
    names: Arc<Names>,
    resolver: Resolver,
    every: Duration,
    running: BTreeMap<Name, Running>,
}

/// A name that is looked up.
#[derive(Debug)]
struct Running {
    upstreams: Upstreams,
    task: AbortHandle,
}

/// The upstreams that have one name.
type Upstreams = Rc<RefCell<Vec<Arc<UpstreamCells>>>>;

impl Resolver {
    async fn look_up(&self, host: &str, port: u16) -> io::Result<Arc<[SocketAddr]>> {
        let mut addresses: Vec<SocketAddr> = match self {
            Self::Function(look_up) => look_up(host, port)?,
            Self::System => lookup_host((host, port)).await?.collect(),
        };
        // Resolvers shuffle; only another set is another answer.
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(ADDRESSES_MAX);
        if addresses.is_empty() {
            return Err(io::Error::other("it has no address"));
        }
        Ok(addresses.into())
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Function(_) => "Function",
            Self::System => "System",
        })
    }
}

impl Names {
    /// What is known of `host` at `port`, now and later.
    pub fn of(&self, host: &str, port: u16) -> Seen {
        self.lock().entry((host.to_owned(), port)).or_default().subscribe()
    }

    /// A good answer replaces what was known; a bad one only what was not.
    fn tell(&self, name: &Name, known: Known) {
        let mut names = self.lock();
        let entry = names.entry(name.clone()).or_default();
        entry.send_if_modified(|before| {
            let kept = known.is_err() && matches!(before, Some(Ok(_)));
            let differs = !kept && before.as_ref() != Some(&known);
            if differs {
                *before = Some(known);
            }
            differs
        });
    }

    fn is_known(&self, name: &Name) -> bool {
        self.lock().get(name).is_some_and(|entry| matches!(*entry.borrow(), Some(Ok(_))))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, watch::Sender<Option<Known>>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lookups {
    /// Nothing is looked up yet; what will be, is so `every` so often.
    pub fn new(names: Arc<Names>, resolver: Resolver, every: Duration) -> Self {
        Self { names, resolver, every, running: BTreeMap::new() }
    }

    /// Begins to look up the names of `table`, and ends with the others. Must be called inside a
    /// local runtime.
    pub fn follow(&mut self, table: &Table, register: &Register) {
        let mut wanted: BTreeMap<Name, Vec<Arc<UpstreamCells>>> = BTreeMap::new();
        let releases = table.tiers.iter().flat_map(TableTier::releases);
        for upstream in releases.flat_map(|release| &release.upstreams) {
            if let Spot::Name(host, port) = &upstream.address.spot {
                let cells = register.upstream_cells(upstream.slot);
                wanted.entry((host.clone(), *port)).or_default().push(cells);
            }
        }
        self.running.retain(|name, running| {
            let stays = wanted.contains_key(name);
            if !stays {
                running.task.abort();
            }
            stays
        });
        // Who still holds an old view hears no more of a name that left.
        self.names
            .lock()
            .retain(|name, entry| wanted.contains_key(name) || entry.receiver_count() > 0);
        for (name, cells) in wanted {
            let running = self.running.entry(name.clone()).or_insert_with(|| {
                let upstreams = Upstreams::default();
                let lookup = Lookup {
                    name,
                    names: Arc::clone(&self.names),
                    resolver: self.resolver.clone(),
                    every: self.every,
                    upstreams: Rc::clone(&upstreams),
                };
                let task = tokio::task::spawn_local(lookup.run()).abort_handle();
                Running { upstreams, task }
            });
            *running.upstreams.borrow_mut() = cells;
        }
    }
}

/// The task of one name.
struct Lookup {
    name: Name,
    names: Arc<Names>,
    resolver: Resolver,
    every: Duration,
    upstreams: Upstreams,
}

impl Lookup {
    async fn run(self) {
        let (host, port) = (self.name.0.as_str(), self.name.1);
        let mut failing = false;
        loop {
            match self.resolver.look_up(host, port).await {
                Ok(addresses) => {
                    if std::mem::take(&mut failing) {
                        tracing::info!(name = host, "the name is found again");
                    }
                    self.names.tell(&self.name, Ok(addresses));
                }
                Err(error) => {
                    let sentence = format!("the name {host} cannot be looked up: {error}");
                    for cells in self.upstreams.borrow().iter() {
                        cells.resolve_failed(&sentence);
                    }
                    self.names.tell(&self.name, Err(sentence.as_str().into()));
                    if !std::mem::replace(&mut failing, true) {
                        let known = self.names.is_known(&self.name);
                        let then = if known {
                            "its last addresses stay in use"
                        } else {
                            "no address is known"
                        };
                        tracing::warn!("{sentence}; {then}");
                    }
                }
            }
            let known = self.names.is_known(&self.name);
            let pause = if known { self.every } else { self.every.min(AGAIN_MAX) };
            // A tenth of chance, so that many names are not looked up in step.
            sleep(pause + random::part_of(pause / 10)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[tokio::test]
    async fn the_order_of_an_answer_does_not_matter_and_none_is_no_answer() {
        let resolver = |texts: &'static [&'static str]| {
            Resolver::Function(Arc::new(move |_: &str, _: u16| Ok(addresses(texts))))
        };
        let one = resolver(&["10.0.0.2:80", "10.0.0.1:80", "10.0.0.2:80"]).look_up("app", 80).await;
        let two = resolver(&["10.0.0.1:80", "10.0.0.2:80"]).look_up("app", 80).await;
        assert_eq!(one.unwrap(), two.unwrap());
        assert!(resolver(&[]).look_up("app", 80).await.is_err());
    }

    #[test]
    fn the_last_good_answer_outlives_a_resolver_that_fails() {
        let (names, name) = (Names::default(), ("app".to_owned(), 80));
        let seen = names.of("app", 80);
        assert!(seen.borrow().is_none());
        names.tell(&name, Err("no".into()));
        assert!(matches!(*seen.borrow(), Some(Err(_))));
        let good: Known = Ok(addresses(&["10.0.0.1:80"]).into());
        names.tell(&name, good.clone());
        names.tell(&name, Err("no".into()));
        assert_eq!(*seen.borrow(), Some(good));
        assert!(names.is_known(&name));
    }
}
