//! Statsd that comes in, by UDP and TCP, with the tags of `DogStatsD`.

mod line;
mod pattern;
mod period;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, mpsc, watch};

use super::{Figure, Settings, Signal, Source};
use crate::analysis::Tally;
use crate::metrics::SignalLedger;
use crate::traffic::{TierName, Version};
use line::{Kind, Line};
use period::Period;

pub(super) use pattern::is_same;
pub use pattern::{Pattern, PatternError};

/// The longest packet: more than UDP carries is none.
const PACKET_BYTES_MAX: usize = 65_507;

/// The longest line of a connection, as long as the longest packet of an ordinary client.
const LINE_BYTES_MAX: u64 = 8 << 10;

/// Connections at once: senders are few, and keep theirs.
const CONNECTIONS_MAX: usize = 64;

/// Without a line for this long a connection is closed.
const QUIET_MAX: Duration = Duration::from_mins(10);

/// Packets that wait for their turn; a burst that is longer waits in the kernel, or is lost there.
const PACKETS_MAX: usize = 1024;

/// How often what was counted is told.
const TELL_EVERY: Duration = Duration::from_millis(250);

/// How long to wait for an address that another process has, such as one that is handing over.
const RETRY: Duration = Duration::from_secs(1);

/// Listens for ever, if the file says where.
pub(super) async fn listen(settings: watch::Receiver<Settings>, ledger: Arc<SignalLedger>) {
    let Some(at) = settings.borrow().statsd else { return };
    let (packets, taken) = mpsc::channel(PACKETS_MAX);
    let gate = Gate { ledger: Arc::clone(&ledger), packets };
    let mut taking = tokio::task::JoinSet::new();
    taking.spawn(take(settings.clone(), taken, Arc::clone(&ledger)));
    let mut said = false;
    loop {
        let Err(error) = gate.open(at).await;
        if !said {
            tracing::error!(%error, "cannot listen at {at} for statsd; trying on");
            said = true;
        }
        for signal in &settings.borrow().signals {
            if let Source::Statsd { .. } = signal.source {
                let why = format!("cannot listen at {at} for statsd: {error}");
                for wanted in ledger.wanted(&signal.tier, &signal.name) {
                    ledger.trouble(&signal.tier, &signal.name, &wanted.version, &why);
                }
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Where lines come in.
struct Gate {
    ledger: Arc<SignalLedger>,
    packets: mpsc::Sender<Vec<u8>>,
}

impl Gate {
    /// Takes what comes until that is not possible any more.
    async fn open(&self, at: SocketAddr) -> Result<std::convert::Infallible, io::Error> {
        let datagrams = UdpSocket::bind(at).await?;
        // Where the kernel chose the port, the same for both.
        let at = datagrams.local_addr()?;
        let connections = TcpListener::bind(at).await?;
        tracing::info!("listening at {at} for statsd");
        let seats = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut talks = tokio::task::JoinSet::new();
        let mut buffer = vec![0; PACKET_BYTES_MAX];
        loop {
            tokio::select! {
                received = datagrams.recv_from(&mut buffer) => {
                    // An error is that of one packet, such as a port nobody listens at any more.
                    if let Ok((length, _)) = received {
                        let _ = self.packets.send(buffer[..length].to_vec()).await;
                    }
                }
                accepted = connections.accept() => {
                    let Ok((stream, _)) = accepted else {
                        // No descriptor is left, for one: give it time.
                        tokio::time::sleep(TELL_EVERY).await;
                        continue;
                    };
                    match Arc::clone(&seats).try_acquire_owned() {
                        Ok(seat) => {
                            let packets = self.packets.clone();
                            let ledger = Arc::clone(&self.ledger);
                            talks.spawn(async move {
                                read(stream, &packets, &ledger).await;
                                drop(seat);
                            });
                        }
                        Err(_) => add(&self.ledger.statsd().refused, 1),
                    }
                }
                Some(_) = talks.join_next() => {}
            }
        }
    }
}

/// Reads the lines of a connection until it ends or is quiet.
async fn read(stream: TcpStream, packets: &mpsc::Sender<Vec<u8>>, ledger: &SignalLedger) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        let mut limited = (&mut reader).take(LINE_BYTES_MAX);
        let read = tokio::time::timeout(QUIET_MAX, limited.read_until(b'\n', &mut line)).await;
        match read {
            Ok(Ok(length)) if length > 0 => {}
            Ok(Ok(_) | Err(_)) | Err(_) => return,
        }
        if line.len() as u64 == LINE_BYTES_MAX && !line.ends_with(b"\n") {
            // Nobody can tell where the next line begins.
            add(&ledger.statsd().malformed, 1);
            return;
        }
        if packets.send(line).await.is_err() {
            return;
        }
    }
}

/// Takes packets, and tells the ledger now and then what they came to.
async fn take(
    settings: watch::Receiver<Settings>,
    mut packets: mpsc::Receiver<Vec<u8>>,
    ledger: Arc<SignalLedger>,
) {
    let mut desk = Desk::new(ledger);
    let mut ticks = tokio::time::interval(TELL_EVERY);
    loop {
        tokio::select! {
            packet = packets.recv() => match packet {
                Some(packet) => desk.packet(&packet),
                None => return,
            },
            _ = ticks.tick() => {
                desk.tell();
                desk.prepare(&settings.borrow().signals);
            }
        }
    }
}

/// What a name may be for: one signal of one version.
struct Place {
    tier: TierName,
    signal: String,
    version: Version,
    every: Duration,
    asked: Asked,
    sums: Sums,
}

/// What is looked for.
#[derive(Clone, PartialEq)]
struct Asked {
    figure: Figure<Pattern>,
    tag: Option<String>,
    slower_than: Option<Duration>,
}

/// What was counted and not told yet.
#[derive(Default)]
struct Sums {
    total: f64,
    bad: f64,
    heard: bool,
    period: Period,
    told: Option<Instant>,
}

/// Sorts lines to their places.
struct Desk {
    ledger: Arc<SignalLedger>,
    places: Vec<Place>,
}

impl Desk {
    fn new(ledger: Arc<SignalLedger>) -> Self {
        Self { ledger, places: Vec::new() }
    }

    /// Makes places for what is wanted; sums of places that stay are kept.
    fn prepare(&mut self, signals: &[Signal]) {
        let mut known: BTreeMap<(TierName, String, Version), Place> = self
            .places
            .drain(..)
            .map(|place| {
                let key = (place.tier.clone(), place.signal.clone(), place.version.clone());
                (key, place)
            })
            .collect();
        for signal in signals {
            let Source::Statsd { version_tag, figure, slower_than } = &signal.source else {
                continue;
            };
            let asked = Asked {
                figure: figure.clone(),
                tag: version_tag.clone(),
                slower_than: *slower_than,
            };
            for wanted in self.ledger.wanted(&signal.tier, &signal.name) {
                let key = (signal.tier.clone(), signal.name.clone(), wanted.version.clone());
                let kept = known.remove(&key).filter(|place| place.asked == asked);
                self.places.push(kept.unwrap_or_else(|| Place {
                    tier: signal.tier.clone(),
                    signal: signal.name.clone(),
                    version: wanted.version,
                    every: signal.every,
                    asked: asked.clone(),
                    sums: Sums::default(),
                }));
            }
        }
        // "4.2.1" is no figure of "4.2": who fits more of the name comes first.
        self.places.sort_by_key(|place| std::cmp::Reverse(place.version.as_str().len()));
    }

    /// Takes a packet: lines, of which none can spoil the others.
    fn packet(&mut self, packet: &[u8]) {
        for line in packet.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii) {
            if line.is_empty() {
                continue;
            }
            let counts = self.ledger.statsd();
            let Some(line) = std::str::from_utf8(line).ok().and_then(Line::parse) else {
                add(&counts.malformed, 1);
                continue;
            };
            let mut taken: Vec<usize> = Vec::new();
            for at in 0..self.places.len() {
                let place = &self.places[at];
                let same = |other: &usize| {
                    let other = &self.places[*other];
                    other.tier == place.tier
                        && other.signal == place.signal
                        && place.asked.is_versioned()
                };
                if taken.iter().any(same) {
                    continue;
                }
                if self.places[at].take(&line) {
                    taken.push(at);
                }
            }
            add(if taken.is_empty() { &counts.ignored } else { &counts.taken }, 1);
        }
    }

    /// Tells what was counted: whole events; what is less waits.
    fn tell(&mut self) {
        for place in &mut self.places {
            let (ledger, sums) = (&self.ledger, &mut place.sums);
            match place.asked.figure {
                Figure::Counts { .. } if sums.heard => {
                    sums.heard = false;
                    let tally = Tally { total: whole(&mut sums.total), bad: whole(&mut sums.bad) };
                    ledger.count(&place.tier, &place.signal, &place.version, tally);
                }
                Figure::Number(_) => {
                    let told = *sums.told.get_or_insert_with(Instant::now);
                    if told.elapsed() >= place.every {
                        sums.told = Some(Instant::now());
                        if let Some(value) = sums.period.end() {
                            ledger.number(&place.tier, &place.signal, &place.version, value);
                        }
                    }
                }
                Figure::Counts { .. } => {}
            }
        }
    }
}

impl Asked {
    fn is_versioned(&self) -> bool {
        let (Figure::Number(pattern) | Figure::Counts { total: pattern, .. }) = &self.figure;
        self.tag.is_some() || pattern.has_version()
    }
}

impl Place {
    /// Whether the line is a figure of this place; if so it is added.
    fn take(&mut self, line: &Line<'_>) -> bool {
        let version = self.version.as_str();
        let asked = &self.asked;
        let of_version = asked
            .tag
            .as_deref()
            .is_none_or(|tag| line.tag(tag).is_some_and(|value| is_same(value, version)));
        if !of_version {
            return false;
        }
        let is_meant = |pattern: &Pattern| pattern.fits(line.name, version);
        match &asked.figure {
            Figure::Number(pattern) => {
                let is_meant = is_meant(pattern);
                if is_meant {
                    self.sums.period.add(line);
                }
                is_meant
            }
            Figure::Counts { total, bad } => {
                let (is_total, is_bad) = (is_meant(total), is_meant(bad));
                let events = line.events();
                if is_total {
                    self.sums.heard = true;
                    self.sums.total += events;
                }
                if is_bad {
                    self.sums.heard = true;
                    self.sums.bad += match asked.slower_than {
                        None => events,
                        Some(limit) => line.slower_than(limit),
                    };
                }
                is_total || is_bad
            }
        }
    }
}

/// The whole events of `sum`, which keeps the rest.
fn whole(sum: &mut f64) -> u64 {
    /// Events of one turn; more come of numbers that are none.
    const EVENTS_MAX: f64 = 1e12;
    let events = sum.floor().clamp(0.0, EVENTS_MAX);
    *sum = (*sum - events).clamp(0.0, 1.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole, and within 0 and EVENTS_MAX"
    )]
    let whole = events as u64;
    whole
}

fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}

impl Line<'_> {
    /// The events that a line of a counter or a timing tells; a gauge or a set tells none.
    fn events(&self) -> f64 {
        match self.kind {
            Kind::Counter => self.values().sum::<f64>().max(0.0) / self.rate,
            Kind::Timing => self.values().count() as f64 / self.rate,
            Kind::Gauge | Kind::Set => 0.0,
        }
    }

    /// The timings above `limit`, in milliseconds.
    fn slower_than(&self, limit: Duration) -> f64 {
        let limit = limit.as_secs_f64() * 1_000.0;
        match self.kind {
            Kind::Timing => self.values().filter(|value| *value > limit).count() as f64 / self.rate,
            Kind::Counter | Kind::Gauge | Kind::Set => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::metrics::Wanted;

    fn signal(name: &str, source: Source) -> Signal {
        let every = Duration::ZERO;
        Signal { tier: "worker".parse().unwrap(), name: name.into(), every, source }
    }

    fn counts(total: &str, bad: &str) -> Source {
        let (total, bad) = (total.parse().unwrap(), bad.parse().unwrap());
        let figure = Figure::Counts { total, bad };
        Source::Statsd { version_tag: None, figure, slower_than: None }
    }

    fn desk(signals: &[Signal], versions: &[&str]) -> Desk {
        let mut desk = Desk::new(Arc::default());
        let wanted: Vec<Wanted> = versions
            .iter()
            .map(|version| Wanted { version: version.parse().unwrap(), places: vec![] })
            .collect();
        let names: Vec<_> =
            signals.iter().map(|signal| (&*signal.name, Duration::from_secs(30))).collect();
        desk.ledger.want(&"worker".parse().unwrap(), &names, &wanted);
        desk.prepare(signals);
        desk
    }

    fn tally(desk: &Desk, signal: &str, version: &str) -> (u64, u64) {
        let tier = "worker".parse().unwrap();
        let entry = desk.ledger.entry(&tier, signal, &version.parse().unwrap()).unwrap();
        (entry.tally.total, entry.tally.bad)
    }

    #[test]
    fn jobs_are_counted_by_the_version_in_their_name() {
        let signals =
            [signal("jobs", counts("app.rails-{version}.job.*", "app.rails-{version}.job.failed"))];
        let mut desk = desk(&signals, &["4.2", "4.2.1"]);
        desk.packet(
            b"app.rails-4-2.job.done:3|c\napp.rails-4-2.job.failed:1|c|@0.5\n\
              app.rails-4-2-1.job.done:7|c\napp.rails-5-0.job.done:9|c\nnot statsd\n\xff\xfe:1|c\n",
        );
        desk.tell();
        assert_eq!(tally(&desk, "jobs", "4.2"), (5, 2));
        assert_eq!(tally(&desk, "jobs", "4.2.1"), (7, 0));
        let counts = desk.ledger.statsd();
        let counts = [&counts.taken, &counts.ignored, &counts.malformed];
        assert_eq!(counts.map(|count| count.load(Ordering::Relaxed)), [3, 1, 2]);
    }

    #[test]
    fn a_version_may_stand_in_a_tag_and_a_timing_may_be_too_slow() {
        let name: Pattern = "job.wait".parse().unwrap();
        let source = Source::Statsd {
            version_tag: Some("version".into()),
            figure: Figure::Counts { total: name.clone(), bad: name },
            slower_than: Some(Duration::from_secs(2)),
        };
        let mut desk = desk(&[signal("late", source)], &["1.0", "1.1"]);
        desk.packet(
            b"job.wait:100:2001:2000|ms|#queue:mail,version:1.0\njob.wait:9000|h|#version:1_1",
        );
        desk.packet(b"job.wait:9000|ms|#version:2");
        desk.tell();
        assert_eq!(tally(&desk, "late", "1.0"), (3, 1));
        assert_eq!(tally(&desk, "late", "1.1"), (1, 1));
    }

    #[test]
    fn a_number_without_a_version_is_everybody_s() {
        let figure = Figure::Number("orders.waiting".parse().unwrap());
        let source = Source::Statsd { version_tag: None, figure, slower_than: None };
        let mut desk = desk(&[signal("orders", source)], &["1.0", "1.1"]);
        desk.packet(b"orders.waiting:40|g\norders.waiting:+2|g");
        desk.tell();
        desk.tell();
        let numbers: Vec<_> = desk.ledger.entries().iter().map(|entry| entry.number).collect();
        assert_eq!(numbers, [Some(42.0), Some(42.0)]);
        assert_eq!(
            desk.ledger.entries()[0].samples,
            1,
            "a gauge that is not said again is no sample"
        );
    }

    proptest! {
        #[test]
        fn no_packet_breaks_anything(
            packet in prop::collection::vec(any::<u8>(), 0..80),
            text in "[ab.:|@#,+-]{0,9}:[0-9e.+-]{0,9}\\|(c|g|ms|s|h|d)(\\|@[0-9.e-]{0,5})?(\\|#[a-z:,]{0,9})?"
        ) {
            let mut desk = desk(&[signal("jobs", counts("*", "a*"))], &["1"]);
            desk.packet(&packet);
            desk.packet(text.as_bytes());
            desk.tell();
            let (total, bad) = tally(&desk, "jobs", "1");
            prop_assert!(bad <= total.saturating_add(1));
        }
    }
}
