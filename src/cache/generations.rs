//! Which generation of each namespace of a memcached is the living one. It is kept in the server
//! itself, beside the keys that it stands for, so that it outlives Weir, and two processes that
//! hand over to each other know the same. Where the server has lost it, who knows it writes it
//! anew; and whoever does not begins with the time, never with a generation that was there.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use super::line::Line;
use super::link::Server;
use super::survey::Holding;
use super::{Port, Shared, dump};
use crate::clock;
use crate::namespace::memcached::{Flush, Generation, Prefix, Record};
use crate::namespace::{Namespace, without_generation};

/// How often the server is asked for flushes of other processes.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long the server may take for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Wishes that wait: each is of a connection, and most connections only ask at their beginning.
const WAITING_MAX: usize = 1024;

/// Where the living generations are read, and flushes are wished for.
#[derive(Debug)]
pub struct Keeper {
    wishes: mpsc::Sender<Wish>,
    living: Mutex<BTreeMap<Namespace, Living>>,
}

/// The living generation of a namespace, as it is now.
#[derive(Clone, Debug, Default)]
pub struct Living(Arc<AtomicU64>);

/// Wishes on their way.
pub type Wishes = mpsc::Receiver<Wish>;

/// What somebody wants to have done.
#[derive(Debug)]
pub struct Wish {
    namespace: Namespace,
    server: Server,
    what: What,
    living: Living,
    answer: oneshot::Sender<io::Result<()>>,
}

#[derive(Debug)]
enum What {
    Learn,
    /// Nothing is seen any more of what is there, also if the generation is this one already.
    Flush(Flush, Generation),
}

impl Living {
    /// The generation.
    pub fn now(&self) -> Generation {
        Generation(self.0.load(Ordering::Relaxed))
    }
}

impl Keeper {
    /// A keeper, and where its wishes come out.
    pub fn new() -> (Self, Wishes) {
        let (wishes, end) = mpsc::channel(WAITING_MAX);
        (Self { wishes, living: Mutex::default() }, end)
    }

    /// The living generation of `namespace` on `server`, once it is known.
    ///
    /// # Errors
    /// The server does not say.
    pub async fn living(&self, namespace: &Namespace, server: &Server) -> io::Result<Living> {
        let living = self.place(namespace);
        if living.now() == Generation::default() {
            self.wish(namespace, server, What::Learn, &living).await?;
        }
        Ok(living)
    }

    /// Has a new generation begin. `at_least` is the one that keys are in if it is later than what
    /// the server knows.
    ///
    /// # Errors
    /// The server does not keep it; keys may still be seen.
    pub async fn flush(
        &self,
        (namespace, server): (&Namespace, &Server),
        flush: Flush,
        at_least: Generation,
    ) -> io::Result<()> {
        let living = self.place(namespace);
        self.wish(namespace, server, What::Flush(flush, at_least), &living).await
    }

    /// What the part of `port` holds.
    ///
    /// # Errors
    /// The server does not tell its keys.
    pub async fn look(&self, shared: &Shared, port: &Port) -> io::Result<Holding> {
        let living = self.living(&port.namespace, &port.server).await?;
        let generation = living.now().max(shared.at_least(port));
        dump::look(&port.server, &Prefix::new(&port.namespace, generation)).await
    }

    /// Has nothing be seen any more of what is in `namespace`, whether it has a port or not. Gives
    /// how many keys that were, if the server tells.
    ///
    /// # Errors
    /// The server does not keep the new generation.
    pub async fn empty(
        &self,
        shared: &Shared,
        server: &Server,
        namespace: &Namespace,
    ) -> io::Result<Option<u64>> {
        let name = without_generation(namespace.as_str());
        let name: Namespace = name.parse().map_err(io::Error::other)?;
        let port = shared.ports().iter().find(|port| port.namespace == name).cloned();
        let at_least = port.map_or_else(Generation::default, |port| shared.at_least(&port));
        let living = self.living(&name, server).await?.now().max(at_least);
        let held = dump::look(server, &Prefix::new(&name, living)).await;
        self.flush((&name, server), Flush::Now, at_least).await?;
        Ok(held.ok().map(|held| held.keys))
    }

    async fn wish(
        &self,
        namespace: &Namespace,
        server: &Server,
        what: What,
        living: &Living,
    ) -> io::Result<()> {
        let (answer, answered) = oneshot::channel();
        let wish = Wish {
            namespace: namespace.clone(),
            server: server.clone(),
            what,
            living: living.clone(),
            answer,
        };
        let ends = |_| io::Error::other("Weir ends");
        self.wishes.send(wish).await.map_err(|_| io::Error::other("Weir ends"))?;
        answered.await.map_err(ends)?
    }

    fn place(&self, namespace: &Namespace) -> Living {
        let mut living = self.living.lock().unwrap_or_else(PoisonError::into_inner);
        living.entry(namespace.clone()).or_default().clone()
    }
}

/// What is known of one namespace.
struct Known {
    server: Server,
    record: Record,
    living: Living,
}

/// Fulfils `wishes` until they end, and follows what other processes do.
pub async fn run(mut wishes: Wishes) {
    let mut known: BTreeMap<Namespace, Known> = BTreeMap::new();
    let (mut line, mut look, mut told) = (None, Instant::now() + LOOK_EVERY, false);
    loop {
        let now = now();
        for one in known.values() {
            one.living.0.store(one.record.living(now).0, Ordering::Relaxed);
        }
        let turns = known.values().filter_map(|one| one.record.next(now)).min();
        let turn = turns.map(|at| Instant::now() + Duration::from_micros(at - now));
        let until = turn.map_or(look, |turn| turn.min(look));
        tokio::select! {
            wish = wishes.recv() => {
                let Some(wish) = wish else { return };
                fulfil(&mut line, &mut known, wish).await;
            }
            () = sleep_until(until) => {
                if Instant::now() < look {
                    continue;
                }
                let followed = follow(&mut line, &mut known).await;
                if let Err(error) = &followed && !told {
                    tracing::warn!(%error, "the generations of a memcached are not followed");
                }
                told = followed.is_err();
                look = Instant::now() + LOOK_EVERY;
            }
        }
    }
}

async fn fulfil(line: &mut Option<Line>, known: &mut BTreeMap<Namespace, Known>, wish: Wish) {
    let Wish { namespace, server, what, living, answer } = wish;
    let before = known.get(&namespace).map(|known| known.record);
    let outcome = within(line, async |line| {
        let record = agreed(line, &server, &namespace, before).await?;
        let What::Flush(flush, at_least) = what else { return Ok(record) };
        let flushed = record.at_least(at_least).flushed(flush, now());
        write(open(line, &server).await?, "set", &namespace, flushed).await?;
        Ok(flushed)
    });
    let outcome = outcome.await.map(|record| {
        living.0.store(record.living(now()).0, Ordering::Relaxed);
        known.insert(namespace, Known { server, record, living });
    });
    if let Err(error) = &outcome {
        tracing::warn!(%error, "the generation of a namespace in a memcached is not known");
    }
    // Who has left does not hear it.
    _ = answer.send(outcome);
}

async fn follow(line: &mut Option<Line>, known: &mut BTreeMap<Namespace, Known>) -> io::Result<()> {
    for (namespace, known) in known {
        let (server, before) = (&known.server, known.record);
        let agreed = within(line, async |line| agreed(line, server, namespace, Some(before)).await);
        known.record = agreed.await?;
    }
    Ok(())
}

/// Within the time; a connection that failed is not used again.
async fn within<T>(
    line: &mut Option<Line>,
    ask: impl AsyncFnOnce(&mut Option<Line>) -> io::Result<T>,
) -> io::Result<T> {
    let late = |_| Err(io::Error::new(io::ErrorKind::TimedOut, "the server takes too long"));
    let mut outcome = timeout(ANSWER_MAX, ask(line)).await.unwrap_or_else(late);
    if outcome.is_err() {
        *line = None;
        outcome = outcome.map_err(|error| io::Error::new(error.kind(), error.to_string()));
    }
    outcome
}

async fn open<'a>(line: &'a mut Option<Line>, server: &Server) -> io::Result<&'a mut Line> {
    match line {
        Some(line) => Ok(line),
        None => Ok(line.insert(Line::to(server).await?)),
    }
}

/// What the server and this process know, the newer of both, which the server has from then on.
async fn agreed(
    line: &mut Option<Line>,
    server: &Server,
    namespace: &Namespace,
    known: Option<Record>,
) -> io::Result<Record> {
    let line = open(line, server).await?;
    let now = now();
    let mut text = read(line, namespace).await?;
    if text.is_none() {
        let record = known.unwrap_or(Record::begun(now));
        if write(line, "add", namespace, record).await? {
            return Ok(record);
        }
        // Somebody was quicker.
        text = read(line, namespace).await?;
    }
    let kept = text.and_then(|text| Record::parse(&text));
    let agreed = match (known, kept) {
        (Some(known), Some(kept)) => known.newer(kept, now),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => Record::begun(now),
    };
    if kept != Some(agreed) {
        write(line, "set", namespace, agreed).await?;
    }
    Ok(agreed)
}

async fn read(line: &mut Line, namespace: &Namespace) -> io::Result<Option<Vec<u8>>> {
    let key = String::from_utf8_lossy(&Prefix::record(namespace)).into_owned();
    line.send(format!("get {key}\r\n").as_bytes()).await?;
    let mut text = None;
    loop {
        let answer = line.next().await?;
        if &*answer == b"END" {
            return Ok(text);
        }
        text = Some(answer.to_vec());
    }
}

/// Gives whether it was stored.
async fn write(
    line: &mut Line,
    verb: &str,
    namespace: &Namespace,
    record: Record,
) -> io::Result<bool> {
    let (key, text) = (Prefix::record(namespace), record.to_string());
    let key = String::from_utf8_lossy(&key);
    let order = format!("{verb} {key} 0 0 {}\r\n{text}\r\n", text.len());
    line.send(order.as_bytes()).await?;
    match &*line.next().await? {
        b"STORED" => Ok(true),
        b"NOT_STORED" => Ok(false),
        other => Err(io::Error::other(String::from_utf8_lossy(other).into_owned())),
    }
}

/// In microseconds since 1970.
fn now() -> u64 {
    clock::wall().millis().saturating_mul(1000)
}
