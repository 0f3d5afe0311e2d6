//! One tier with one or two releases behind a proxy.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir::metrics::{HealthState, Register, Shown};
use weir::proxy::{self, Proxy, Settings};
use weir::tls::Keyring;
use weir::traffic::overlay::Cookies;
use weir::traffic::{
    Access, Board, Closing, HealthCheck, Ignore, Limits, Listener, Release, Route, Salt,
    SharedCaches, Sticky, Table, TableTier, Tier, Timeouts, Upstream, Weight,
};

use crate::support::client::Client;

const WORKERS: usize = 2;

/// What stands behind a proxy, before it starts.
pub struct Plan {
    /// How the traffic is treated.
    pub tier: Tier,
    /// The canary's share in percent.
    pub percent: u16,
    /// Changes to the releases.
    pub release: Box<dyn Fn(&mut Release)>,
    /// How the proxy runs.
    pub settings: Settings,
}

/// A proxy and its table.
pub struct Scene {
    /// Who counts.
    pub register: Arc<Register>,
    /// Where it listens.
    pub address: SocketAddr,
    board: Arc<Board>,
    table: Table,
    _proxy: Proxy,
}

impl Scene {
    /// A proxy with one release at `stable`.
    pub fn new(stable: &[String]) -> Self {
        Self::with(stable, &[], |_| {})
    }

    /// A proxy with a release at `stable`, and another at `canary` unless that is empty.
    pub fn with(stable: &[String], canary: &[String], change: impl FnOnce(&mut Plan)) -> Self {
        let register = Arc::new(Register::new(WORKERS));
        let board = Arc::new(Board::new(WORKERS));
        let mut plan = Plan {
            tier: tier(),
            percent: 100,
            release: Box::new(|_| {}),
            settings: Settings { workers: WORKERS, ..Settings::default() },
        };
        change(&mut plan);
        let release = |version: &str, addresses: &[String]| {
            let mut release = release(&register, version, addresses);
            (plan.release)(&mut release);
            Arc::new(release)
        };
        let table = Table {
            tiers: vec![TableTier {
                tier: Arc::new(plan.tier),
                weight: Weight::basis_points(plan.percent * 100).unwrap(),
                salt: Salt::new([7; 16]),
                stable: release("1.0", stable),
                canary: (!canary.is_empty()).then(|| release("1.1", canary)),
                others: vec![],
                warming: None,
                joining: None,
                moves: false,
                close_over: Duration::ZERO,
                judged: true,
                access: Access::Open,
                left: None,
            }],
            ..Table::default()
        };
        board.publish(table.clone());
        let keyring = Keyring::new(proxy::PROTOCOLS).unwrap();
        let proxy =
            proxy::start(&plan.settings, Arc::clone(&board), Arc::clone(&register), keyring)
                .unwrap();
        let address = proxy.local_addresses()[0].1.socket().unwrap();
        let scene = Self { register, address, board, table, _proxy: proxy };
        let known = |slot| scene.register.health(slot).state != HealthState::Unknown;
        let count = stable.len() + canary.len();
        wait_until("checked", || (0..count).all(known));
        scene
    }

    /// A client.
    pub fn client(&self) -> Client {
        Client::to(self.address)
    }

    /// What stable did.
    pub fn stable(&self) -> Shown {
        self.register.shown(0)
    }

    /// What the canary did.
    pub fn canary(&self) -> Shown {
        self.register.shown(1)
    }

    /// The health of the upstream in `slot`, in the order of the releases.
    pub fn health(&self, slot: usize) -> HealthState {
        self.register.health(slot).state
    }

    /// The last error of the upstream in `slot`.
    pub fn error(&self, slot: usize) -> String {
        self.register.health(slot).error.unwrap_or_default()
    }

    /// Publishes a changed table, and waits until it is served.
    pub fn publish(&self, change: impl FnOnce(&mut TableTier)) {
        let mut table = self.table.clone();
        change(&mut table.tiers[0]);
        let epoch = self.board.publish(table);
        wait_until("acknowledged", || self.board.acknowledged(epoch));
    }

    /// Sends GET `path` by `count` clients at once; the statuses of the answers.
    pub fn at_once(&self, count: usize, path: &str) -> Vec<u16> {
        std::thread::scope(|scope| {
            let ask = || self.client().get(path, "").status;
            let asked: Vec<_> = (0..count).map(|_| scope.spawn(ask)).collect();
            asked.into_iter().map(|asked| asked.join().unwrap()).collect()
        })
    }
}

/// Waits, but not for ever.
pub fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_mins(1), "not {what} in time");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn tier() -> Tier {
    Tier {
        name: "web".parse().unwrap(),
        listener: Arc::new(Listener::plain("127.0.0.1:0".parse::<SocketAddr>().unwrap())),
        route: Route::default(),
        sticky: Sticky::Nothing,
        health: HealthCheck {
            path: Some("/health".into()),
            interval: Duration::from_millis(50),
            eject_after: 1_000,
            slow_start: Duration::ZERO,
            ..HealthCheck::default()
        },
        preview: None,
        timeouts: Timeouts::default(),
        limits: Limits::default(),
        trusted_proxies: vec![],
        ignore: Ignore::default(),
        watches: vec![],
        show_version: true,
        access_log: false,
        caching: None,
        closing: Closing::default(),
        cookies: Cookies::default(),
        logout: vec![],
        assets: vec![],
        shared_caches: SharedCaches::default(),
        keep_warm: Duration::ZERO,
        warm: None,
    }
}

fn release(register: &Register, version: &str, addresses: &[String]) -> Release {
    let slot = register.release(&"web".parse().unwrap(), &version.parse().unwrap());
    let upstream = |address: &String| {
        let address = address.parse().unwrap();
        Upstream { slot: register.upstream(slot, &address), address }
    };
    Release {
        version: version.parse().unwrap(),
        upstreams: addresses.iter().map(upstream).collect(),
        host: None,
        tls: None,
        proxy_protocol: false,
        slot,
        is_first: true,
    }
}
