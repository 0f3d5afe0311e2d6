//! The control wing: one task that decides, writes down, and publishes.
//!
//! The law of order: the weight in the proxy is never above the weight in the journal. What
//! raises goes journal, memory, proxy; what lowers goes proxy, memory, journal. The answer
//! comes last. Nothing here waits for a disk: while an append hangs an order can still lower.

mod closing;
mod crews;
mod errands;
mod facts;
mod handle;
mod heard;
mod leftovers;
mod observe;
mod present;
mod publish;
mod refused;
mod restore;
mod sampled;
mod settings;
mod succession;
mod tape;
mod view;
mod watched;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};

use crate::clock;
use crate::journal::{Back, Batch, Evidence, Journal, JournalError, Record, Shelf, Written};
use crate::metrics::Register;
use crate::rollout::{
    Change, Command, Direction, Event, Facts, Input, Order, Refusal, State, step, unheeded,
};
use crate::time::Timestamp;
use crate::tls::Keyring;
use crate::traffic::{Board, Table, TierName, Weight};

pub use handle::{ANSWER_MAX, Answer, Handle, OrderError};
pub use settings::{Feeds, ReleaseSettings, Settings, Signal, TierSettings};
pub use succession::{Heir, Lowered};
pub use view::{
    ClosedView, CrewView, Hop, InstanceView, ItemView, ReleaseView, RolloutView, SignalView,
    TierView, UpgradeView, UpstreamView, View,
};

use closing::Closing;
use crews::Crew;
use errands::Errand;
use handle::{Ask, Reply};
use leftovers::Leftovers;
use refused::Refusals;
use sampled::Sampler;
use succession::{Giving, Office};
use tape::Tape;
use watched::{Scene, Watched};

/// How often the counters are looked at; a window is closed each second, or each quarter of a
/// second while the canary is busy (docs/analysis.md, window length).
const TICK: Duration = Duration::from_millis(250);

/// How often evidence is written and the view is renewed.
const KEEP_EVERY: Duration = Duration::from_secs(1);

/// How long the workers may take to acknowledge a table before that is logged as a fault.
const ACKNOWLEDGE_MAX: Duration = Duration::from_secs(1);

/// What the answer says then.
const LAGGING: &str = "a worker has not taken over the new split yet; the log tells when";

/// Pause between two looks whether they have: a rollback has 10 ms in all.
const ACKNOWLEDGE_POLL: Duration = Duration::from_micros(200);

/// How long the answer to a lowering order waits for the journal: it has happened already.
const WRITE_WAIT_MAX: Duration = Duration::from_millis(250);

/// Records that the view shows; older ones are in the journal.
const RECORDS_SHOWN: usize = 10_000;

/// The control task.
pub struct Control {
    state: State,
    settings: Settings,
    journal: Journal,
    board: Arc<Board>,
    register: Arc<Register>,
    keyring: Arc<Keyring>,
    /// The step of the runbook that runs.
    errand: Option<Errand>,
    /// Steps that another Weir began.
    leftovers: Leftovers,
    /// What is seen of each tier.
    watched: BTreeMap<TierName, Watched>,
    /// What is seen of the jobs of each tier of workers.
    crews: BTreeMap<TierName, Crew>,
    /// A raise that the journal has not confirmed yet.
    pending: Option<Pending>,
    /// The journal is another process's, or about to be: nothing is decided.
    giving: Option<Giving>,
    records: Arc<Vec<Record>>,
    orders: mpsc::Receiver<Ask>,
    lowering: mpsc::Receiver<Ask>,
    offices: mpsc::Receiver<Office>,
    /// Reloads that a roll back has overtaken; at most `ORDERS_MAX`.
    reloads: VecDeque<Ask>,
    /// Lowering events as the journal confirms them: they get their numbers late.
    written: (mpsc::UnboundedSender<Vec<Record>>, mpsc::UnboundedReceiver<Vec<Record>>),
    views: watch::Sender<Arc<View>>,
    ticks: tokio::time::Interval,
    kept: Instant,
    started: Timestamp,
    closing: Closing,
    tape: Option<Tape>,
    refusals: Refusals,
    sampler: Sampler,
    shelf: Shelf,
}

/// A raise on its way to the disk.
struct Pending {
    events: Vec<Event>,
    /// The state before it. Should something lower meanwhile, that is decided as if the raise
    /// had come first, and published as if it had not.
    baseline: State,
    /// What lowered meanwhile.
    after: Vec<Event>,
    written: Written,
    then: Then,
}

/// What follows once a raise is written.
enum Then {
    Nothing,
    Answer(Reply),
    Reload(Box<Settings>, Reply),
}

/// What the loop turns to next.
enum Turn {
    Ask(Ask),
    Back(Back),
    Errand(Input),
    Confirmed(Vec<Record>),
    Office(Office),
    Stop,
    Tick,
    Written(Result<Vec<Record>, JournalError>),
}

impl Control {
    /// Runs until `stop` is told or dropped; then writes what is left and closes the journal.
    pub async fn run(mut self, mut stop: oneshot::Receiver<()>) {
        self.leftovers = Leftovers::follow(self.hooks(), self.interrupted_step());
        loop {
            match self.next(&mut stop).await {
                Turn::Ask(ask) => self.asked(ask).await,
                Turn::Back(back) => self.came_back(back).await,
                Turn::Errand(input) => self.errand_ended(input).await,
                Turn::Confirmed(records) => self.number(records),
                Turn::Office(office) => self.office(office).await,
                Turn::Stop => break,
                Turn::Tick => self.tick().await,
                Turn::Written(outcome) => self.written(outcome).await,
            }
        }
        self.journal.keep(self.evidence());
        let journal = self.journal;
        let _ = tokio::task::spawn_blocking(|| journal.close()).await;
    }

    /// The only `select!` of this wing: what lowers before what raises, orders before ticks.
    async fn next(&mut self, stop: &mut oneshot::Receiver<()>) -> Turn {
        let free = self.pending.is_none();
        if free && let Some(ask) = self.reloads.pop_front() {
            return Turn::Ask(ask);
        }
        let append = async {
            match &mut self.pending {
                Some(pending) => (&mut pending.written).await.unwrap_or(Err(JournalError::Closed)),
                None => std::future::pending().await,
            }
        };
        let back = async {
            match &mut self.giving {
                Some(giving) => giving.returned().await,
                None => std::future::pending().await,
            }
        };
        let errand = async {
            match &mut self.errand {
                Some(errand) => errand.ended().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = stop => Turn::Stop,
            Some(ask) = self.lowering.recv() => Turn::Ask(ask),
            Some(office) = self.offices.recv() => Turn::Office(office),
            back = back => Turn::Back(back),
            outcome = append => Turn::Written(outcome),
            Some(records) = self.written.1.recv() => Turn::Confirmed(records),
            input = errand => Turn::Errand(input),
            Some(ask) = self.orders.recv(), if free => Turn::Ask(ask),
            _ = self.ticks.tick() => Turn::Tick,
        }
    }

    async fn asked(&mut self, ask: Ask) {
        if ask.reply().is_closed() {
            // Whoever asked was told that nothing came of it, and has gone.
            return;
        }
        if self.giving.is_some() && !ask.lowers() {
            let (Ask::Order { reply, .. } | Ask::Reload { reply, .. }) = ask;
            return self.refuse_for_heir(reply);
        }
        match ask {
            Ask::Order { command, named_upstreams_healthy, reply } => {
                self.order(command, named_upstreams_healthy, reply).await;
            }
            Ask::Reload { settings, reply } => self.reload(settings, reply).await,
        }
        self.show();
    }

    async fn order(&mut self, mut command: Command, named_healthy: bool, reply: Reply) {
        // No steps while a raise is on its way, which would bring users again, nor from one process
        // to the next.
        if let Order::Rollback { over, .. } = &mut command.order
            && (self.pending.is_some() || self.giving.is_some())
        {
            *over = Some(Duration::ZERO);
        }
        let facts = self.facts(&self.settings, named_healthy);
        let (order, asked) = (command.order.clone(), command.clone());
        match self.decide(&Input::Command(command), &facts) {
            Err(refusal) => {
                self.write_refusal(&asked, &refusal);
                let _ = reply.send(Err(refusal.into()));
            }
            Ok(events) if events.is_empty() && self.is_retired() => {
                // What has been decided since is not known here.
                self.refuse_for_heir(reply);
            }
            Ok(events) if events.is_empty() => {
                let _ = reply.send(Ok(self.standing(&order)));
            }
            Ok(events) => self.record(events, Then::Answer(reply)).await,
        }
    }

    /// Writes down that an order was refused. It changes nothing, so nothing waits for it.
    fn write_refusal(&mut self, command: &Command, refusal: &Refusal) {
        if self.giving.is_some() {
            return;
        }
        let event = self.refusals.event(command, refusal, &self.state, clock::wall());
        let Some(event) = event else { return };
        let written = self.journal.append(Batch { events: vec![event], ..Batch::default() });
        let confirmed = self.written.0.clone();
        tokio::spawn(async move {
            if let Ok(Ok(records)) = written.await {
                let _ = confirmed.send(records);
            }
        });
    }

    fn is_retired(&self) -> bool {
        self.giving.as_ref().is_some_and(Giving::is_retired)
    }

    fn refuse_for_heir(&self, reply: Reply) {
        let process = self.giving.as_ref().map_or(0, Giving::process);
        let _ = reply.send(Err(OrderError::HandingOver { process }));
    }

    /// Decides. While a raise is pending that is done on the state as it will be once it is
    /// written, or a rollback would miss a rollout that is just being opened; and where nothing
    /// follows from that, on what is served now, or a promotion on its way to a disk that hangs
    /// would keep a failing canary.
    fn decide(&self, input: &Input, facts: &Facts) -> Result<Vec<Event>, Refusal> {
        let now = clock::wall();
        let Some(pending) = &self.pending else { return step(&self.state, input, facts, now) };
        let mut imagined = pending.baseline.clone();
        pending.events.iter().chain(&pending.after).for_each(|event| imagined.apply(event));
        let decided = step(&imagined, input, facts, now);
        if decided.as_ref().is_ok_and(|events| !events.is_empty()) {
            return decided;
        }
        match step(&self.state, input, facts, now) {
            Ok(events) if Event::direction(&events) == Direction::Lower && !events.is_empty() => {
                Ok(events)
            }
            Ok(_) | Err(_) => decided,
        }
    }

    async fn reload(&mut self, settings: Box<Settings>, reply: Reply) {
        let facts = self.facts(&settings, false);
        let input = Input::File { journal_lost: None, reload: true };
        match step(&self.state, &input, &facts, clock::wall()) {
            Err(refusal) => {
                let _ = reply.send(Err(refusal.into()));
            }
            Ok(events) if events.is_empty() => {
                let sentences = unheeded(&self.state, &facts).into_iter().collect();
                self.take_over(*settings).await;
                let _ = reply.send(Ok(Answer { sentences, ..Answer::default() }));
            }
            Ok(events) => self.record(events, Then::Reload(settings, reply)).await,
        }
    }

    async fn take_over(&mut self, settings: Settings) {
        self.settings = settings;
        let _ = self.publish().await;
    }

    /// What lowers acts first, what raises is written first.
    async fn record(&mut self, events: Vec<Event>, then: Then) {
        match Event::direction(&events) {
            Direction::Lower => self.lower(events, then).await,
            Direction::Raise => self.raise(events, then),
        }
    }

    async fn lower(&mut self, events: Vec<Event>, then: Then) {
        for event in &events {
            self.state.apply(event);
            if let Some(pending) = &mut self.pending {
                pending.after.push(event.clone());
            }
        }
        self.follow_closures();
        let everywhere = self.publish().await;
        self.settle(&events);
        self.refuse_waiting(&events);
        let connections_left = self.left_behind(tiers_of(&events));
        let batch = Batch { events: events.clone(), evidence: self.evidence() };
        let mut written = self.journal.append_surely(batch);
        let taken = self.giving.as_mut().map(|giving| giving.tell(&events));
        let confirmed = self.written.0.clone();
        let mut sentences = sentences(&events);
        sentences.extend(self.may_still_rise(&events));
        if !everywhere {
            sentences.push(LAGGING.into());
        }
        let mut answer = Ok(Answer { sentences, events, connections_left });
        tokio::spawn(async move {
            let in_time = match taken {
                None => tokio::time::timeout(WRITE_WAIT_MAX, &mut written).await.ok(),
                Some((taken, process)) => {
                    let confirmed = succession::confirmed(taken, process).await;
                    answer = confirmed.and(answer);
                    None
                }
            };
            if let Then::Answer(reply) = then {
                let _ = reply.send(answer);
            }
            let records = match in_time {
                Some(outcome) => outcome,
                None => written.await,
            };
            if let Ok(Ok(records)) = records {
                let _ = confirmed.send(records);
            }
        });
    }

    /// Orders that waited for the disk when somebody rolled back are older than the roll back:
    /// they must not raise anything after it. Reloads raise nothing and wait on.
    fn refuse_waiting(&mut self, events: &[Event]) {
        if self.pending.is_some() && events.iter().any(Event::goes_back) {
            while let Ok(ask) = self.orders.try_recv() {
                match ask {
                    Ask::Order { reply, .. } => {
                        let _ = reply.send(Err(OrderError::RolledBackMeanwhile));
                    }
                    Ask::Reload { .. } => self.reloads.push_back(ask),
                }
            }
        }
    }

    /// A raise that is on its way to the disk cannot be called back by a pause: say so.
    fn may_still_rise(&self, events: &[Event]) -> Option<String> {
        let paused = |event: &&Event| event.change == Change::Paused;
        let pending = self.pending.as_ref()?;
        let event = events.iter().find(paused)?;
        let raise = pending.events.iter().find(|raise| raise.tier == event.tier)?;
        Some(format!(
            "{}: this waits for the journal's disk and comes when it is back, unless `weir \
             rollback` prevents it: {}",
            event.place(),
            raise.sentence()
        ))
    }

    fn raise(&mut self, events: Vec<Event>, then: Then) {
        if self.pending.is_some() {
            // Orders wait outside while a raise is pending; a verdict comes again next window.
            return;
        }
        let batch = Batch { events: events.clone(), evidence: self.evidence() };
        let written = self.journal.append(batch);
        let baseline = self.state.clone();
        self.pending = Some(Pending { events, baseline, after: vec![], written, then });
    }

    async fn written(&mut self, outcome: Result<Vec<Record>, JournalError>) {
        let Some(pending) = self.pending.take() else { return };
        let Pending { events, mut baseline, after, then, .. } = pending;
        let records = match outcome {
            Ok(records) => records,
            Err(error) => return then.fail(error),
        };
        for event in events.iter().chain(&after) {
            baseline.apply(event);
        }
        self.state = baseline;
        let mut answer = Answer { sentences: sentences(&events), events, connections_left: 0 };
        let (settings, reply) = match then {
            Then::Nothing => (None, None),
            Then::Answer(reply) => (None, Some(reply)),
            Then::Reload(settings, reply) => (Some(settings), Some(reply)),
        };
        if let Some(settings) = settings {
            self.settings = *settings;
            let facts = self.facts(&self.settings, false);
            answer.sentences.extend(unheeded(&self.state, &facts));
        }
        if !self.publish().await {
            answer.sentences.push(LAGGING.into());
        }
        self.settle(&answer.events);
        let started = |event: &&Event| matches!(event.change, Change::Started { .. });
        let begun = answer.events.iter().filter(started);
        let warmed: Vec<String> =
            begun.filter_map(|event| self.warming(event.tier.as_ref()?)).collect();
        answer.sentences.extend(warmed);
        answer.connections_left = self.left_behind(tiers_of(&answer.events));
        self.number(records);
        if let Some(reply) = reply {
            let _ = reply.send(Ok(answer));
        }
    }

    /// What follows from the state.
    fn table(&self) -> Table {
        let (_, before) = self.board.current();
        publish::table(&self.state, &self.settings, &self.register, &before, clock::wall())
    }

    /// Publishes what follows from the state and waits until every worker serves it; false if
    /// one does not.
    async fn publish(&mut self) -> bool {
        if self.is_retired() {
            return true;
        }
        let table = self.table();
        let (epoch, current) = self.board.current();
        let epoch = if *current == table { epoch } else { self.board.publish(table) };
        let since = Instant::now();
        while !self.board.acknowledged(epoch) {
            if since.elapsed() > ACKNOWLEDGE_MAX {
                tracing::error!(epoch, "a worker has not taken over the new table");
                return false;
            }
            tokio::time::sleep(ACKNOWLEDGE_POLL).await;
        }
        true
    }

    /// Lets the judges follow what happened.
    fn settle(&mut self, events: &[Event]) {
        self.sample();
        for event in events {
            tracing::info!(tier = %event.place(), by = %event.by, "{}", event.sentence());
            if matches!(event.change, Change::StepBegan { .. }) {
                self.forget_health();
            }
            let Some(name) = &event.tier else { continue };
            let Some(tier) = self.state.tiers.get(name) else { continue };
            let watched = self.watched.entry(name.clone()).or_default();
            watched.follow(&event.change, tier);
            watched.forget_open_window();
            if let (Change::Started { .. }, Some(tape)) = (&event.change, &mut self.tape) {
                tape.calibration(name, watched.history());
            }
        }
    }

    /// What was known of the health of an instance before it was moved says nothing of it now.
    fn forget_health(&self) {
        for file in &self.settings.tiers {
            let name = &file.tier.name;
            let Some((instance, version)) = publish::looked_at(&self.state, name) else { continue };
            let mut known = file.instances.iter();
            if let Some(instance) = known.find(|known| known.name == instance) {
                let release = self.register.release(name, version);
                let slot = self.register.upstream(release, &instance.address);
                self.register.upstream_cells(slot).begin_anew();
            }
        }
    }

    /// Counts on for the report: what the events before it ended, and what is a minute old.
    fn sample(&mut self) {
        self.sampler.look(&self.state, &self.register, clock::wall(), &self.shelf);
    }

    fn number(&mut self, records: Vec<Record>) {
        for Record { event, .. } in &records {
            self.register.events().happened(event.tier.as_ref(), event.change.kind(), event.at);
        }
        let shown = Arc::make_mut(&mut self.records);
        shown.extend(records);
        shown.sort_by_key(|record| record.seq);
        let surplus = shown.len().saturating_sub(RECORDS_SHOWN);
        shown.drain(..surplus);
        self.show();
    }

    async fn tick(&mut self) {
        if self.giving.is_some() {
            if self.kept.elapsed() >= KEEP_EVERY {
                self.kept = Instant::now();
                self.show();
            }
            return;
        }
        self.follow_closures();
        if let Some(input) = self.closing.is_due(Instant::now()) {
            self.decide_alone(&input).await;
        }
        let names: Vec<TierName> = self.state.tiers.keys().cloned().collect();
        for name in names {
            if let Some(input) = self.receded(&name).or_else(|| self.look(&name)) {
                self.decide_alone(&input).await;
            }
        }
        self.look_at_jobs().await;
        if self.state.open_upgrade().is_some() {
            if let Some(input) = self.unbegun_errand() {
                self.decide_alone(&input).await;
            }
            self.decide_alone(&Input::Tick).await;
            self.errand.iter_mut().for_each(Errand::listen);
            self.break_off();
            self.run_errand();
        }
        self.leftovers.wait_for(self.interrupted_step());
        if self.kept.elapsed() >= KEEP_EVERY {
            self.kept = Instant::now();
            self.journal.keep(self.evidence());
            self.sample();
            let _ = self.publish().await;
            self.show();
        }
    }

    /// Whether of those who go back in steps nobody is left.
    fn receded(&self, name: &TierName) -> Option<Input> {
        self.state.tiers.get(name)?.receding()?;
        let left = self.published(name)?;
        (left == Weight::NONE).then(|| Input::Receded { tier: name.clone() })
    }

    /// The weight that is served.
    fn published(&self, name: &TierName) -> Option<Weight> {
        let (_, table) = self.board.current();
        table.tiers.iter().find(|tier| tier.tier.name == *name).map(|tier| tier.weight)
    }

    /// Decides what nobody has ordered.
    async fn decide_alone(&mut self, input: &Input) {
        let facts = self.facts(&self.settings, false);
        if let Ok(events) = self.decide(input, &facts)
            && !events.is_empty()
        {
            self.record(events, Then::Nothing).await;
        }
    }

    /// Takes note of what is closed.
    fn follow_closures(&mut self) {
        let (closures, register) = (&self.state.closures, &self.register);
        self.closing.follow(closures, clock::wall(), Instant::now());
        for name in self.state.tiers.keys() {
            self.closing.count(name, closures, register);
        }
    }

    /// Looks at one tier: closes a window if it is time, and asks its judge.
    fn look(&mut self, name: &TierName) -> Option<Input> {
        let tier = self.state.tiers.get(name)?;
        let file = self.settings.tier(name)?;
        let (_, table) = self.board.current();
        let table = table.tiers.iter().find(|table| table.tier.name == *name)?;
        let watched = self.watched.entry(name.clone()).or_default();
        if !table.access.is_open() {
            watched.rest();
            return None;
        }
        let minute = clock::wall().millis() / 60_000;
        let caches = &self.settings.caches;
        let scene = Scene { tier, file, table, register: &self.register, caches };
        watched.look(&scene, minute, self.tape.as_mut())
    }

    fn evidence(&self) -> BTreeMap<TierName, Evidence> {
        let saved = clock::wall();
        let tiers = self.watched.iter().map(|(name, watched)| (name, watched.body(name)));
        let crews = self.crews.iter().map(|(name, crew)| (name, crew.body(name)));
        let row = |(name, body): (&TierName, Option<String>)| {
            Some((name.clone(), Evidence { saved, body: body? }))
        };
        tiers.chain(crews).filter_map(row).collect()
    }
}

impl Then {
    fn fail(self, error: JournalError) {
        match self {
            Self::Nothing => {}
            Self::Answer(reply) | Self::Reload(_, reply) => {
                let _ = reply.send(Err(error.into()));
            }
        }
    }
}

fn tiers_of(events: &[Event]) -> impl Iterator<Item = &TierName> {
    events.iter().filter_map(|event| event.tier.as_ref())
}

fn sentences(events: &[Event]) -> Vec<String> {
    events.iter().map(Event::sentence).collect()
}
