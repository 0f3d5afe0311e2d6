//! The control task itself, with a board, a register and a journal file, before proxies and
//! processes come into it: the law of order while the journal hangs or fails.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use weir::assembly::control_settings;
use weir::config;
use weir::control::{Answer, Control, Handle, OrderError, Settings};
use weir::journal::{Batch, Journal, JournalError, Kept};
use weir::metrics::HealthState;
use weir::metrics::Register;
use weir::rollout::{Actor, Adoption, Change, Command, Event, Order, Outcome, State, Tier};
use weir::time::Timestamp;
use weir::tls::{Keyring, Protocols};
use weir::traffic::{Board, TierName, Version, Weight};

use crate::support::skipped;

/// What comes while the journal is locked comes within this time on any machine; what waited for the
/// journal would not come at all.
const ANSWER_MAX: Duration = Duration::from_mins(1);

const FILE: &str = r#"
[[tier]]
name     = "web"
listen   = "127.0.0.1:8080"
stable   = "1.0.0"
releases = [
  { version = "1.0.0", upstreams = ["127.0.0.1:9101"] },
  { version = "1.1.0", upstreams = ["127.0.0.1:9102"] },
]
[rollout]
stages = [
  { weight = "5%", bake = "60s" },
  { weight = "50%", bake = "60s" },
]
"#;

const ROLLING: &str = r#"
[[tier]]
name     = "web"
listen   = "127.0.0.1:8080"
stable   = "1.0.0"
releases = [{ version = "1.0.0" }, { version = "1.1.0" }]
[tier.rolling]
instances = [
  { name = "web-1", address = "127.0.0.1:9101" },
  { name = "web-2", address = "127.0.0.1:9102" },
]
switch = ["deploy", "{instance}", "{version}"]
"#;

/// A control task with workers that acknowledge at once.
struct World {
    folder: TempDir,
    handle: Handle,
    board: Arc<Board>,
    register: Arc<Register>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// Opens the journal. A program that another test is just starting holds the locks of all journals
/// of this process for a moment, even that of one that was closed.
fn open(path: &Path) -> (Journal, Kept) {
    let since = Instant::now();
    loop {
        match Journal::open(path) {
            Err(JournalError::Owned { .. }) if since.elapsed() < Duration::from_mins(1) => {
                std::thread::sleep(Duration::from_millis(5));
            }
            outcome => return outcome.unwrap(),
        }
    }
}

fn settings(file: &str) -> Settings {
    let parsed = config::parse("weir.toml", file, Path::new(""));
    let config = parsed.unwrap_or_else(|report| panic!("{report}"));
    control_settings(&config, false, None, vec![])
}

fn name() -> TierName {
    "web".parse().unwrap()
}

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

impl World {
    fn new() -> Self {
        Self::begin(tempfile::tempdir().unwrap(), FILE)
    }

    fn begin(folder: TempDir, file: &str) -> Self {
        let board = Arc::new(Board::new(1));
        let seat: Weak<Board> = Arc::downgrade(&board);
        let acknowledge = move || {
            if let Some(board) = seat.upgrade() {
                board.acknowledge(0, board.epoch());
            }
        };
        board.set_waker(0, Box::new(acknowledge));
        let register = Arc::new(Register::new(1));
        let (journal, kept) = open(&folder.path().join("weir.db"));
        let (control, handle) = Control::start(
            settings(file),
            journal,
            kept,
            None,
            Arc::clone(&board),
            Arc::clone(&register),
            Keyring::new(Protocols { server: &[], client: &[] }).unwrap(),
        )
        .unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(control.run(stopped));
        let world = Self { folder, handle, board, register, stop, task };
        world.health("1.0.0", "127.0.0.1:9101", HealthState::Healthy);
        world.health("1.1.0", "127.0.0.1:9102", HealthState::Healthy);
        world
    }

    /// Stops it and starts it again on the same journal.
    async fn restart(self) -> Self {
        Self::begin(self.end().await, FILE)
    }

    /// Stops it; what it wrote is left.
    async fn end(self) -> TempDir {
        let _ = self.stop.send(());
        self.task.await.unwrap();
        self.folder
    }

    fn health(&self, release: &str, address: &str, state: HealthState) {
        let slot = self.register.release(&name(), &version(release));
        let upstream = self.register.upstream(slot, &address.parse().unwrap());
        self.register.upstream_cells(upstream).checked(state, Instant::now());
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("weir.db")
    }

    /// Another program that keeps the journal locked until this is dropped: each write waits two
    /// seconds and fails.
    fn lock(&self) -> Connection {
        let other = Connection::open(self.path()).unwrap();
        other.busy_timeout(Duration::from_secs(5)).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        other
    }

    /// The events of the journal as it is on disk now, by name.
    fn events(&self) -> Vec<String> {
        let other = Connection::open(self.path()).unwrap();
        let mut rows = other.prepare("SELECT event FROM events ORDER BY seq").unwrap();
        let text = rows.query_map([], |row| row.get::<_, String>(0)).unwrap();
        let kind = |text: Result<String, rusqlite::Error>| {
            let text = text.unwrap();
            text.split('"').nth(1).unwrap_or_default().to_owned()
        };
        text.map(kind).collect()
    }

    /// What a program killed now would know.
    fn remembered(&self) -> Tier {
        let other = Connection::open(self.path()).unwrap();
        let mut rows = other
            .prepare("SELECT at, actor, rollout, tier, event FROM events ORDER BY seq")
            .unwrap();
        let mut state = State::default();
        let records = rows.query_map([], |row| {
            Ok(serde_json::json!({
                "at": row.get::<_, i64>(0)?,
                "by": row.get::<_, String>(1)?,
                "rollout": row.get::<_, Option<i64>>(2)?,
                "tier": row.get::<_, String>(3)?,
                "change": serde_json::from_str::<Change>(&row.get::<_, String>(4)?).unwrap(),
            }))
        });
        for record in records.unwrap() {
            state.apply(&serde_json::from_value(record.unwrap()).unwrap());
        }
        state.tiers.remove(&name()).unwrap()
    }

    /// The canary's share in the proxy.
    fn weight(&self) -> Weight {
        let (_, table) = self.board.current();
        let tier = &table.tiers[0];
        assert!(tier.canary.is_some() || tier.weight == Weight::NONE);
        tier.weight
    }

    fn stable(&self) -> String {
        self.board.current().1.tiers[0].stable.version.to_string()
    }

    async fn order(&self, order: Order) -> Result<Answer, OrderError> {
        self.handle.order(command(order), true).await
    }

    async fn start(&self) {
        self.order(start()).await.unwrap();
        assert_eq!(self.weight(), weight("5%"));
    }

    /// An order that will wait for the journal.
    async fn give(&self, order: Order) -> JoinHandle<Result<Answer, OrderError>> {
        let handle = self.handle.clone();
        let given = tokio::spawn(async move { handle.order(command(order), true).await });
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!given.is_finished(), "the journal is locked");
        given
    }

    /// The answer to what does not wait for the journal, which is locked.
    async fn at_once(&self, order: Order) -> Answer {
        let before = self.events();
        let answer = tokio::time::timeout(ANSWER_MAX, self.order(order)).await;
        let answer = answer.expect("an answer, though the journal is locked").unwrap();
        assert_eq!(self.events(), before, "the journal is still locked");
        let trouble = self.handle.view().journal_trouble.clone().unwrap_or_default();
        assert!(!trouble.contains("locked"), "the write that waits has not even failed: {trouble}");
        answer
    }

    /// Rolls back while the journal is locked: in the proxy and in words before anything is written.
    async fn roll_back_at_once(&self) {
        let answer = self.at_once(rollback()).await;
        assert_eq!((self.weight(), self.stable().as_str()), (Weight::NONE, "1.0.0"));
        assert!(answer.sentences[0].contains("rolled back"), "{:?}", answer.sentences);
    }

    /// Waits until the journal holds `kinds`, and the view shows them.
    async fn written(&self, kinds: &[&str]) {
        let since = Instant::now();
        // The view learns of it a moment after the disk.
        while self.events() != kinds || self.handle.view().records.len() != kinds.len() {
            assert!(since.elapsed() < Duration::from_mins(1), "{:?}", self.events());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What is served, what is remembered, and what a kill would leave are the same.
    fn agrees(&self) {
        let remembered = self.remembered();
        assert_eq!(remembered.stable.as_str(), self.stable());
        assert_eq!(remembered.weight(), self.weight());
        let view = self.handle.view();
        let shown = view.tier(&name()).unwrap();
        assert_eq!((&shown.stable, shown.weight), (&remembered.stable, remembered.weight()));
        assert_eq!(shown.previous, remembered.previous.map(|(version, _)| version));
    }
}

fn is_quick() -> bool {
    crate::support::quick::is_quick("a test of control")
}

fn command(order: Order) -> Command {
    Command { order, by: "night-shift".parse::<Actor>().unwrap(), because: None }
}

fn start() -> Order {
    Order::Start { tier: Some(name()), version: None, upstreams: vec![], again: false }
}

fn rollback() -> Order {
    Order::Rollback { tier: Some(name()), now: false, over: None, past_no_return: false }
}

fn promote() -> Order {
    Order::Promote { tier: Some(name()) }
}

fn advance() -> Order {
    Order::Advance { tier: Some(name()), to: None }
}

fn weight(text: &str) -> Weight {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_roll_back_takes_back_a_start_that_waits_for_the_disk() {
    let world = World::new();
    let lock = world.lock();
    let starting = world.give(start()).await;
    assert_eq!(world.weight(), Weight::NONE, "nothing is raised before it is written");
    world.roll_back_at_once().await;
    drop(lock);
    starting.await.unwrap().unwrap();
    assert_eq!(world.weight(), Weight::NONE, "the start came first, and is taken back");
    world.written(&["adopted", "started", "rolled_back"]).await;
    world.agrees();
    let world = world.restart().await;
    assert_eq!(world.weight(), Weight::NONE);
    world.agrees();
}

#[tokio::test]
async fn a_roll_back_outlives_the_start_that_could_not_be_written() {
    if is_quick() {
        return;
    }
    let world = World::new();
    world.written(&["adopted"]).await;
    let lock = world.lock();
    let starting = world.give(start()).await;
    world.roll_back_at_once().await;
    let error = starting.await.unwrap().unwrap_err();
    assert!(matches!(error, OrderError::Journal(_)), "{error}");
    assert_eq!(world.weight(), Weight::NONE);
    drop(lock);
    world.written(&["adopted", "rolled_back"]).await;
    world.agrees();
    // It counts as tried, and can be tried again.
    let again = Order::Start {
        tier: Some(name()),
        version: Some(version("1.1.0")),
        upstreams: vec![],
        again: true,
    };
    world.order(again).await.unwrap();
    assert_eq!(world.weight(), weight("5%"));
    world.agrees();
}

#[tokio::test]
async fn a_roll_back_takes_back_an_advance_that_waits_for_the_disk() {
    let world = World::new();
    world.start().await;
    let lock = world.lock();
    let advancing = world.give(advance()).await;
    assert_eq!(world.weight(), weight("5%"));
    world.roll_back_at_once().await;
    drop(lock);
    advancing.await.unwrap().unwrap();
    assert_eq!(world.weight(), Weight::NONE);
    world.written(&["adopted", "started", "advanced", "rolled_back"]).await;
    world.agrees();
}

#[tokio::test]
async fn a_roll_back_takes_back_a_promotion_that_waits_for_the_disk() {
    let world = World::new();
    world.start().await;
    let lock = world.lock();
    let promoting = world.give(promote()).await;
    world.roll_back_at_once().await;
    // A second person finds it done.
    let answer = world.order(rollback()).await.unwrap();
    assert!(answer.events.is_empty() && answer.sentences[0].contains("1.0.0"), "{answer:?}");
    drop(lock);
    promoting.await.unwrap().unwrap();
    assert_eq!(world.stable(), "1.0.0");
    world.written(&["adopted", "started", "promoted", "rolled_back"]).await;
    world.agrees();
}

#[tokio::test]
async fn a_canary_that_stops_answering_is_left_while_its_promotion_waits_for_the_disk() {
    let world = World::new();
    world.start().await;
    let lock = world.lock();
    let promoting = world.give(promote()).await;
    world.health("1.1.0", "127.0.0.1:9102", HealthState::Unhealthy);
    while world.weight() != Weight::NONE {
        assert!(!promoting.is_finished(), "the guard slept");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!promoting.is_finished());
    drop(lock);
    promoting.await.unwrap().unwrap();
    assert_eq!((world.weight(), world.stable().as_str()), (Weight::NONE, "1.0.0"));
    world.written(&["adopted", "started", "promoted", "rolled_back"]).await;
    world.agrees();
}

#[tokio::test]
async fn an_adoption_that_waits_for_the_disk_does_not_hide_whom_to_go_back_to() {
    let world = World::new();
    world.start().await;
    world.order(promote()).await.unwrap();
    let lock = world.lock();
    let adopting = world.give(Order::Adopt { tier: name(), version: version("1.0.0") }).await;
    assert_eq!(world.stable(), "1.1.0");
    let answer = world.at_once(rollback()).await;
    assert!(!adopting.is_finished() && answer.sentences[0].contains("rolled back"));
    assert_eq!(world.stable(), "1.0.0");
    drop(lock);
    adopting.await.unwrap().unwrap();
    assert_eq!(world.stable(), "1.0.0");
    world.written(&["adopted", "started", "promoted", "adopted", "rolled_back"]).await;
    world.agrees();
}

#[tokio::test]
async fn a_roll_back_while_nothing_can_be_written_is_written_when_the_journal_is_back() {
    if is_quick() {
        return;
    }
    let world = World::new();
    world.start().await;
    let lock = world.lock();
    world.roll_back_at_once().await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(world.remembered().weight(), weight("5%"), "it is not written yet");
    let since = Instant::now();
    while world.handle.view().journal_trouble.is_none() {
        assert!(since.elapsed() < Duration::from_mins(1), "trouble is shown");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let trouble = world.handle.view().journal_trouble.clone().unwrap();
    assert!(trouble.ends_with("1 events wait to be written"), "{trouble}");
    drop(lock);
    world.written(&["adopted", "started", "rolled_back"]).await;
    world.agrees();
    let world = world.restart().await;
    assert_eq!(world.weight(), Weight::NONE);
    assert_eq!(world.remembered().versions[&version("1.1.0")].outcome, Outcome::RolledBack);
}

#[tokio::test]
async fn a_raise_that_cannot_be_written_is_refused_and_changes_nothing() {
    if is_quick() {
        return;
    }
    let world = World::new();
    world.start().await;
    let lock = world.lock();
    for order in [advance(), promote()] {
        let error = world.order(order).await.unwrap_err();
        let said = error.to_string();
        assert!(said.contains("another program keeps it locked"), "{said}");
        assert!(said.ends_with("nothing was raised"), "{said}");
        assert_eq!((world.weight(), world.stable().as_str()), (weight("5%"), "1.0.0"));
    }
    drop(lock);
    world.order(advance()).await.unwrap();
    assert_eq!(world.weight(), weight("50%"));
    world.written(&["adopted", "started", "advanced"]).await;
    world.agrees();
}

#[tokio::test]
async fn a_pause_does_not_wait_for_a_raise_and_stays() {
    let world = World::new();
    world.start().await;
    let lock = world.lock();
    let advancing = world.give(advance()).await;
    let answer = world.at_once(Order::Pause { tier: None }).await;
    assert!(!advancing.is_finished() && answer.sentences[0].contains("paused"));
    assert_eq!(world.weight(), weight("5%"));
    drop(lock);
    advancing.await.unwrap().unwrap();
    world.written(&["adopted", "started", "advanced", "paused"]).await;
    assert_eq!(world.weight(), weight("50%"), "it was on its way before the pause");
    assert!(world.handle.view().tiers[0].rollout.as_ref().unwrap().paused);
    world.agrees();
}

#[tokio::test]
async fn a_release_left_long_ago_is_still_asked_for_its_health() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(&folder.path().join("weir.db")).unwrap();
    let adopted = |at, stable: &str| Event {
        at: Timestamp::from_millis(at),
        by: Actor::weir(),
        because: None,
        tier: Some(name()),
        rollout: None,
        change: Change::Adopted {
            stable: version(stable),
            addresses: vec![],
            why: Adoption::Order,
        },
    };
    let events = vec![adopted(1, "1.1.0"), adopted(2, "1.0.0")];
    journal.append(Batch { events, evidence: BTreeMap::new() }).await.unwrap().unwrap();
    tokio::task::spawn_blocking(|| journal.close()).await.unwrap();
    let world = World::begin(folder, FILE);
    let table = world.board.current().1;
    let others: Vec<&str> = table.tiers[0].others.iter().map(|r| r.version.as_str()).collect();
    assert_eq!(others, ["1.1.0"], "years later");
}

#[tokio::test]
async fn nobody_is_sent_to_an_instance_that_is_out_nor_is_it_called_healthy() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(&folder.path().join("weir.db")).unwrap();
    let (stable, addresses) = (version("1.0.0"), vec![]);
    let shifted = |instance: &str, to| Change::Shifted { instance: instance.into(), to };
    let changes = [
        Change::Adopted { stable, addresses, why: Adoption::Order },
        shifted("web-1", None),
        shifted("web-2", Some(version("1.1.0"))),
    ];
    let event = |change| Event {
        at: Timestamp::from_millis(1),
        by: Actor::weir(),
        because: None,
        tier: Some(name()),
        rollout: None,
        change,
    };
    let events = changes.into_iter().map(event).collect();
    journal.append(Batch { events, evidence: BTreeMap::new() }).await.unwrap().unwrap();
    tokio::task::spawn_blocking(|| journal.close()).await.unwrap();
    let world = World::begin(folder, ROLLING);
    // None has what serves: another is better than none, but for one that is being switched.
    let table = world.board.current().1;
    let upstreams = table.tiers[0].stable.upstreams.iter();
    let places: Vec<String> = upstreams.map(|one| one.address.to_string()).collect();
    assert_eq!(places, ["127.0.0.1:9102"]);
    let health = || {
        let view = world.handle.view();
        let instances = &view.tier(&name()).unwrap().instances;
        instances.iter().map(|instance| instance.health.clone()).collect::<Vec<_>>()
    };
    let since = Instant::now();
    while health()[1] != "healthy" {
        assert!(since.elapsed() < Duration::from_mins(1), "{:?}", health());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(health()[0], "unknown", "it was healthy before it was taken out");
}

#[tokio::test]
async fn a_reload_waits_its_turn_behind_a_raise_and_a_roll_back_passes_both() {
    let world = World::new();
    world.start().await;
    let lock = world.lock();
    let advancing = world.give(advance()).await;
    let edited = settings(&FILE.replace("127.0.0.1:9101", "127.0.0.1:9111"));
    let handle = world.handle.clone();
    let reloading = tokio::spawn(async move { handle.reload(edited).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.roll_back_at_once().await;
    assert!(!advancing.is_finished() && !reloading.is_finished());
    drop(lock);
    advancing.await.unwrap().unwrap();
    reloading.await.unwrap().unwrap();
    world.written(&["adopted", "started", "advanced", "rolled_back", "moved"]).await;
    assert_eq!(world.weight(), Weight::NONE);
    let table = world.board.current().1;
    assert_eq!(table.tiers[0].stable.upstreams[0].address.to_string(), "127.0.0.1:9111");
    world.agrees();
}

#[tokio::test]
async fn a_roll_back_before_anybody_had_anything_passes_orders_that_wait_for_the_disk() {
    let step = "[[step]]\nname = \"ask\"\nwhen = \"before rollout\"\nconfirm = \"is it night?\"\n";
    let world = World::begin(tempfile::tempdir().unwrap(), &format!("{FILE}{step}"));
    world.order(start()).await.unwrap();
    let lock = world.lock();
    let approving = world.give(Order::Approve { step: None }).await;
    let starting = world.give(start()).await;
    world.order(rollback()).await.unwrap();
    let refused = starting.await.unwrap();
    assert!(matches!(refused, Err(OrderError::RolledBackMeanwhile)), "{refused:?}");
    drop(lock);
    let _ = approving.await.unwrap();
    assert_eq!(world.weight(), Weight::NONE);
}

#[tokio::test]
async fn a_roll_back_passes_a_reload_that_waits_for_the_disk() {
    let world = World::new();
    world.start().await;
    let lock = world.lock();
    let edited = settings(&FILE.replace("127.0.0.1:9101", "127.0.0.1:9111"));
    let handle = world.handle.clone();
    let reloading = tokio::spawn(async move { handle.reload(edited).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.roll_back_at_once().await;
    let table = world.board.current().1;
    assert_eq!(table.tiers[0].stable.upstreams[0].address.to_string(), "127.0.0.1:9101");
    drop(lock);
    reloading.await.unwrap().unwrap();
    world.written(&["adopted", "started", "moved", "rolled_back"]).await;
    let table = world.board.current().1;
    assert_eq!(table.tiers[0].stable.upstreams[0].address.to_string(), "127.0.0.1:9111");
    assert_eq!(world.weight(), Weight::NONE);
    world.agrees();
}

#[tokio::test]
async fn a_canary_that_fails_is_rolled_back_by_the_judge_even_while_paused() {
    if is_quick() {
        return;
    }
    let world = World::new();
    world.start().await;
    world.order(Order::Pause { tier: None }).await.unwrap();
    let slot = |release| world.register.release(&name(), &version(release));
    let writers = [slot("1.0.0"), slot("1.1.0")].map(|slot| world.register.writer(slot, 0));
    let since = Instant::now();
    while world.weight() != Weight::NONE {
        assert!(since.elapsed() < Duration::from_mins(2), "it is still served");
        (0..19).for_each(|_| writers[0].judged(false, 0, None));
        writers[1].judged(true, 0, None);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.written(&["adopted", "started", "paused", "rolled_back"]).await;
    let view = world.handle.view();
    let record = &view.records.last().unwrap().event;
    assert!(record.sentence().contains("ROLL BACK at 5 % of requests"), "{}", record.sentence());
    world.agrees();
}

#[tokio::test]
async fn a_restart_serves_the_same_split_to_the_same_clients() {
    let world = World::new();
    world.start().await;
    world.order(advance()).await.unwrap();
    let before = world.board.current().1;
    let world = world.restart().await;
    let after = world.board.current().1;
    assert_eq!(before.tiers[0].weight, after.tiers[0].weight);
    assert_eq!(before.tiers[0].salt, after.tiers[0].salt);
    assert_eq!(before.tiers[0].stable.version, after.tiers[0].stable.version);
    world.agrees();
}

/// A file that not even root may write, until this is dropped.
struct Immutable(PathBuf);

impl Immutable {
    fn new(path: PathBuf) -> Option<Self> {
        let output = std::process::Command::new("chattr").arg("+i").arg(&path).output();
        let worked = output.is_ok_and(|output| output.status.success());
        if !worked {
            skipped::say("a journal that not even root may write", "chattr +i");
        }
        worked.then_some(Self(path))
    }
}

impl Drop for Immutable {
    fn drop(&mut self) {
        let _ = std::process::Command::new("chattr").arg("-i").arg(&self.0).output();
    }
}

#[tokio::test]
async fn a_start_with_a_journal_that_cannot_be_written_serves_what_it_holds() {
    let world = World::new();
    world.start().await;
    let before = world.board.current().1;
    let folder = world.end().await;
    let Some(immutable) = Immutable::new(folder.path().join("weir.db")) else { return };
    let world = World::begin(folder, FILE);
    assert_eq!(world.board.current().1, before, "the split is as it was");
    assert!(world.handle.view().journal_trouble.is_some());
    let error = world.order(advance()).await.unwrap_err();
    assert!(error.to_string().ends_with("nothing was raised"), "{error}");
    assert_eq!(world.weight(), weight("5%"));
    world.roll_back_at_once().await;
    drop(immutable);
    world.written(&["adopted", "started", "rolled_back"]).await;
    world.agrees();
    world.order(promote()).await.unwrap_err();
    let folder = world.end().await;
    let kept = open(&folder.path().join("weir.db")).1;
    assert_eq!(kept.records.len(), 4, "the last order was refused");
}

#[tokio::test]
async fn another_sticky_is_refused_while_a_rollout_is_open_and_said_after_a_restart() {
    let other = FILE.replace("stable   =", "sticky   = \"address\"\nstable   =");
    let world = World::new();
    world.start().await;
    let error = world.handle.reload(settings(&other)).await.unwrap_err();
    assert!(error.to_string().contains("would place everybody anew"), "{error}");
    let world = World::begin(world.end().await, &other);
    assert_eq!(world.weight(), weight("5%"));
    let remarks = world.handle.view().tier(&name()).unwrap().remarks.clone();
    let told = remarks.iter().any(|remark| remark.contains("clients were placed anew"));
    assert!(told, "{remarks:?}");
    world.order(rollback()).await.unwrap();
    world.handle.reload(settings(&other)).await.unwrap();
}
