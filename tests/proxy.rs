//! The data wing in this process, between real sockets.

mod passing;

use std::collections::HashSet;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use weir::metrics::{Register, Shown, Totals};
use weir::proxy::{self, Proxy, Settings, UpstreamClient};
use weir::tls::Keyring;
use weir::traffic::matching::Pattern;
use weir::traffic::overlay::Cookies;
use weir::traffic::{
    Access, Address, Board, Closing, HealthCheck, Ignore, Limits, Listener, Preview, Release,
    Route, Salt, SharedCaches, Spot, Sticky, Table, TableTier, Tier, Timeouts, TokenBytes,
    Upstream as Listed, Watch, Weight,
};

use crate::support::client::Client;
use crate::support::over::Over;
use crate::support::upstream::Upstream;

const WORKERS: usize = 2;

/// Two versions of an app behind a proxy.
pub struct Site {
    pub stable: Upstream,
    pub canary: Upstream,
    pub board: Arc<Board>,
    pub register: Arc<Register>,
    pub table: Table,
    pub address: SocketAddr,
    pub proxy: Option<Proxy>,
}

impl Site {
    pub fn new(percent: u16) -> Self {
        Self::with(percent, |_| {})
    }

    pub fn with(percent: u16, change: impl FnOnce(&mut Tier)) -> Self {
        Self::of(WORKERS, percent, change)
    }

    /// One of so many workers.
    pub fn of(workers: usize, percent: u16, change: impl FnOnce(&mut Tier)) -> Self {
        let (stable, canary) = (Upstream::start("1.0"), Upstream::start("1.1"));
        let register = Arc::new(Register::new(workers));
        let board = Arc::new(Board::new(workers));
        let mut tier = tier();
        change(&mut tier);
        let release = |version: &str, upstream: &Upstream| {
            Arc::new(release(&register, version, &[upstream.address]))
        };
        let table = Table {
            tiers: vec![TableTier {
                tier: Arc::new(tier),
                weight: Weight::basis_points(percent * 100).unwrap(),
                salt: Salt::new([7; 16]),
                stable: release("1.0", &stable),
                canary: Some(release("1.1", &canary)),
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
        let settings = Settings { workers, client: client(), ..Settings::default() };
        let proxy =
            proxy::start(&settings, Arc::clone(&board), Arc::clone(&register), keyring()).unwrap();
        let address = proxy.local_addresses()[0].1.socket().unwrap();
        let site = Self { stable, canary, board, register, table, address, proxy: Some(proxy) };
        site.wait_until("healthy", || site.is_healthy());
        site
    }

    pub fn is_healthy(&self) -> bool {
        (0..2).all(|slot| self.register.health(slot).state == weir::metrics::HealthState::Healthy)
    }

    pub fn client(&self) -> Client {
        Client::to(self.address)
    }

    pub fn totals(&self) -> (Totals, Totals) {
        (self.register.totals(0), self.register.totals(1))
    }

    pub fn shown(&self) -> (Shown, Shown) {
        (self.register.shown(0), self.register.shown(1))
    }

    /// (requests, errors) of stable and of the canary.
    pub fn counts(&self) -> [(u64, u64); 2] {
        let (stable, canary) = self.totals();
        [(stable.requests, stable.errors), (canary.requests, canary.errors)]
    }

    pub fn expect_counts(&self, counts: [(u64, u64); 2]) {
        let start = Instant::now();
        while self.counts() != counts && start.elapsed() < Duration::from_mins(1) {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(self.counts(), counts, "(requests, errors) of stable and canary");
    }

    pub fn wait_until(&self, what: &str, holds: impl Fn() -> bool) {
        self.wait_until_within(Duration::from_mins(1), what, holds);
    }

    pub fn wait_until_within(&self, limit: Duration, what: &str, holds: impl Fn() -> bool) {
        let start = Instant::now();
        while !holds() {
            assert!(start.elapsed() < limit, "not {what} in time: {:?}", self.counts());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub fn publish(&self, change: impl FnOnce(&mut TableTier)) -> Duration {
        let mut table = self.table.clone();
        change(&mut table.tiers[0]);
        let start = Instant::now();
        let epoch = self.board.publish(table);
        while !self.board.acknowledged(epoch) {
            std::hint::spin_loop();
        }
        start.elapsed()
    }
}

/// The client whose turn it is: `WEIR_UPSTREAM_CLIENT=hyper` runs every test here with hyper's.
fn client() -> UpstreamClient {
    match std::env::var("WEIR_UPSTREAM_CLIENT").as_deref() {
        Ok("hyper") => UpstreamClient::Hyper,
        Ok(_) | Err(_) => UpstreamClient::Weir,
    }
}

fn tier() -> Tier {
    Tier {
        name: "web".parse().unwrap(),
        listener: Arc::new(Listener::plain("127.0.0.1:0".parse::<SocketAddr>().unwrap())),
        route: Route::default(),
        sticky: Sticky::Cookie("uid".into()),
        health: HealthCheck {
            path: Some("/health".into()),
            interval: Duration::from_millis(50),
            eject_after: 1_000,
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

fn keyring() -> Arc<Keyring> {
    Keyring::new(proxy::PROTOCOLS).unwrap()
}

fn release(register: &Register, version: &str, addresses: &[SocketAddr]) -> Release {
    let slot = register.release(&"web".parse().unwrap(), &version.parse().unwrap());
    let upstream = |address: &SocketAddr| {
        let address = Address::from(*address);
        Listed { slot: register.upstream(slot, &address), address }
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

pub fn uid(user: usize) -> String {
    format!("cookie: uid=user-{user}\r\n")
}

#[test]
fn the_split_follows_the_weight_and_users_stay() {
    let site = Site::new(25);
    let mut client = site.client();
    let placed: Vec<String> = (0..800)
        .map(|user| client.get("/", &uid(user)).field("x-weir-version").unwrap().to_owned())
        .collect();
    let canaries = placed.iter().filter(|version| *version == "1.1").count();
    assert!((150..250).contains(&canaries), "{canaries} of 800 at 25 %");
    let mut other = site.client();
    for (user, version) in placed.iter().enumerate().take(100) {
        let answer = other.get("/", &uid(user));
        assert_eq!(answer.field("x-weir-version").unwrap(), version);
        assert!(answer.text().starts_with(version), "the right upstream answered");
    }
    let (stable, canary) = site.totals();
    assert_eq!(stable.requests + canary.requests, 900);
    assert_eq!(canary.latency.iter().sum::<u64>(), canary.requests);
}

#[test]
fn raising_the_weight_only_adds_users() {
    let site = Site::new(10);
    let mut client = site.client();
    let mut canaries = |site: &Site| -> HashSet<usize> {
        let on = |user: &usize| {
            client.get("/", &uid(*user)).field("x-weir-version") == Some("1.1")
                && site.address.port() > 0
        };
        (0..200).filter(on).collect()
    };
    let few = canaries(&site);
    site.publish(|tier| tier.weight = "50%".parse().unwrap());
    let more = canaries(&site);
    assert!(few.is_subset(&more) && few.len() < more.len());
}

#[test]
fn what_reaches_the_upstream_is_written_anew() {
    let site = Site::new(0);
    let lines = "connection: x-secret, close, host\r\nx-secret: 1\r\nkeep-alive: 5\r\n\
                 x-weir-version: 9\r\nx-forwarded-for: 6.6.6.6\r\nx-real-ip: 6.6.6.6\r\n\
                 forwarded: for=6.6.6.6\r\nx_forwarded_for: 6.6.6.6\r\nproxy-connection: x\r\n\
                 te: trailers\r\nupgrade: h2c\r\nx-request-id: abc\r\n";
    let answer = site.client().get("/path?query", lines);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.field("connection"), Some("close"));
    let head = site.stable.last_head().to_lowercase();
    assert!(head.starts_with("get /path?query http/1.1"), "{head}");
    for gone in ["x-secret", "keep-alive", "6.6.6.6", "version: 9", "proxy-", "upgrade", "close"] {
        assert!(!head.contains(gone), "{gone} in {head}");
    }
    for there in [
        "host: app",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-proto: http",
        "x-forwarded-host: app",
        "x-weir-version: 1.0",
        "x-request-id: abc",
        "te: trailers",
    ] {
        assert!(head.contains(there), "no {there} in {head}");
    }
}

#[test]
fn options_are_counted_on_their_way() {
    let site = Site::new(0);
    for (method, given, passed) in
        [("OPTIONS", "5", Some("4")), ("OPTIONS", "01", Some("0")), ("GET", "5", Some("5"))]
    {
        let mut client = site.client();
        let lines = format!("host: app\r\nmax-forwards: {given}\r\n\r\n");
        client.send(&format!("{method} / HTTP/1.1\r\n{lines}"));
        assert_eq!(client.answer(method).unwrap().status, 200);
        let head = site.stable.last_head().to_lowercase();
        let left = head.lines().find_map(|line| line.strip_prefix("max-forwards: "));
        assert_eq!(left, passed, "{method} {given}");
    }
    let mut client = site.client();
    client.send("OPTIONS / HTTP/1.1\r\nhost: app\r\nmax-forwards: 00\r\n\r\n");
    assert!(client.answer("OPTIONS").unwrap().text().starts_with("weir\n"));
    assert_eq!(site.stable.requests(), 3);
}

#[test]
fn trusted_proxies_are_believed() {
    let site = Site::with(50, |tier| {
        tier.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap(), "10.0.0.0/8".parse().unwrap()];
        tier.sticky = Sticky::Address;
    });
    let mut client = site.client();
    let mut versions = HashSet::new();
    for host in 0..40 {
        let line = format!("x-forwarded-for: 6.6.6.6, 192.0.2.{host}, 10.0.0.1\r\n");
        let answer = client.get("/", &format!("{line}x-forwarded-proto: https\r\n"));
        versions.insert(answer.field("x-weir-version").unwrap().to_owned());
        let head = answer.text().to_lowercase();
        assert!(head.contains(&format!("192.0.2.{host}, 10.0.0.1, 127.0.0.1")), "{head}");
        assert!(head.contains("x-forwarded-proto: https"));
    }
    assert_eq!(versions.len(), 2, "placed by the client's address, not by the proxy's");
}

#[test]
fn newcomers_behind_a_proxy_of_this_machine_are_told_apart_without_being_told() {
    let address = "127.0.0.1:3000";
    let config = weir::config::without_file("0.0.0.0:8080".parse().unwrap(), address, None);
    let settings = Arc::clone(&config.unwrap().tiers[0].tier);
    let site = Site::with(50, |tier| {
        tier.trusted_proxies.clone_from(&settings.trusted_proxies);
        tier.sticky = settings.sticky.clone();
    });
    let mut client = site.client();
    let newcomer = |host| format!("x-forwarded-for: 192.0.2.{host}\r\n");
    let canary =
        |host: &i32| client.get("/", &newcomer(*host)).field("x-weir-version") == Some("1.1");
    let canaries = (0..60).filter(canary).count();
    assert!((10..50).contains(&canaries), "{canaries} of 60 newcomers at 50 %");
}

#[test]
fn every_kind_of_answer_passes() {
    let site = Site::new(0);
    let mut client = site.client();
    assert_eq!(client.get("/chunked", "").text(), "hello world");
    let mut early = client.get("/early", "");
    if self::client() == UpstreamClient::Weir {
        assert_eq!((early.status, early.field("link")), (103, Some("</a>")));
        early = client.answer("GET").unwrap();
    }
    assert_eq!(early.text(), "ok");
    assert_eq!(client.get("/both", "").text(), "hello");
    assert_eq!(client.get("/eof", "").text(), "until the end");
    let empty = client.get("/empty", "");
    assert_eq!((empty.status, empty.field("content-length")), (204, None));
    assert_eq!(client.get("/unmodified", "").field("etag"), Some("\"a\""));
    let answer = client.get("/trailers", "te: trailers\r\nconnection: te\r\n");
    assert_eq!((answer.text().as_str(), answer.trailers.as_str()), ("ok", "x-sum: 42"));
    assert_eq!(client.get("/trailers", "").text(), "ok");
    let answer = client.get("/cookie", "");
    assert!(answer.head.contains("set-cookie: a=1") && answer.head.contains("set-cookie: b=2"));
    assert!(!answer.head.contains("x-hop") && !answer.head.contains("keep-alive"));
    client.send("HEAD / HTTP/1.1\r\nhost: app\r\n\r\n");
    let head = client.answer("HEAD").unwrap();
    assert!(head.field("content-length").unwrap().parse::<usize>().unwrap() > 0);
    client.send("OPTIONS * HTTP/1.1\r\nhost: app\r\n\r\n");
    assert!(client.answer("OPTIONS").unwrap().text().contains("OPTIONS * HTTP/1.1"));
    client.send("GET http://other/x HTTP/1.1\r\nhost: app\r\n\r\n");
    let text = client.answer("GET").unwrap().text();
    assert!(text.contains("GET /x HTTP/1.1") && text.contains("host: other"), "{text}");
    client.send("GET / HTTP/1.0\r\n\r\n");
    let old = client.answer("GET").unwrap();
    assert!(old.head.starts_with("HTTP/1.0 200") && old.text().contains("HTTP/1.1"));
    assert!(client.is_closed());
    site.expect_counts([(13, 0), (0, 0)]);
}

#[test]
fn every_kind_of_body_passes() {
    let site = Site::new(0);
    let mut client = site.client();
    let chunked = "POST /sink HTTP/1.1\r\nhost: app\r\ntransfer-encoding: chunked\r\n";
    client.send(&format!("{chunked}\r\n5\r\nhello\r\n0\r\n\r\n"));
    assert_eq!(client.answer("POST").unwrap().text(), "5 ");
    client
        .send(&format!("{chunked}trailer: x-sum\r\n\r\n5;ext=1\r\nhello\r\n0\r\nx-sum: 9\r\n\r\n"));
    assert_eq!(client.answer("POST").unwrap().text(), "5 x-sum: 9");
    client.send("POST /sink HTTP/1.1\r\nhost: app\r\ncontent-length: 3\r\n\r\nabc");
    assert_eq!(client.answer("POST").unwrap().text(), "3 ");
    client.send("POST /sink HTTP/1.1\r\nhost: app\r\n\r\n");
    assert_eq!(client.answer("POST").unwrap().text(), "0 ");
    client.send(&chunked.replace("POST", "GET"));
    client.send("\r\n2\r\nok\r\n0\r\n\r\n");
    assert_eq!(client.answer("GET").unwrap().text(), "2 ", "a GET may have a body");
    let expecting =
        "POST /sink HTTP/1.1\r\nhost: app\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n";
    client.send(expecting);
    assert_eq!(client.head().unwrap().status, 100);
    client.send("ok");
    assert_eq!(client.answer("POST").unwrap().text(), "2 ");
    assert!(!site.stable.last_head().contains("expect"));
    client.send("POST / HTTP/1.1\r\nhost: app\r\nexpect: miracles\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(client.answer("POST").unwrap().status, 417);
}

/// Nothing ambiguous reaches an upstream: refused, or passed on in one form, and closed.
#[test]
fn smuggling_is_refused_and_the_connection_closed() {
    let site = Site::new(0);
    let tail = "\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: app\r\n\r\n";
    let cases = [
        "GET / HTTP/1.1\r\nhost: app\r\nhost: app",
        "GET http://app/ HTTP/1.1\r\nhost: app\r\nhost: app",
        "GET http://app/ HTTP/1.1\r\nx: y",
        "GET http://me:secret@app/ HTTP/1.1\r\nhost: app",
        "GET / HTTP/1.1\r\nhost: me@app",
        "GET / HTTP/1.1\r\nhost:",
        "GET / HTTP/1.1\r\nx: y",
        "GET / HTTP/1.1\nhost: app",
        "GET / HTTP/1.1\r\nhost: app\nx: y",
        "GET /\x7f HTTP/1.1\r\nhost: app",
        "POST / HTTP/1.1\r\nhost: app\r\ncontent_length: 5",
        "POST / HTTP/1.1\r\nhost: app\r\ntransfer_encoding: chunked",
        "POST / HTTP/1.1\r\nhost: app\r\ncontent-length: 5,5",
        "POST / HTTP/1.1\r\nhost: app\r\ncontent-length: 5\r\ncontent-length: 5",
        "GET / HTTP/1.1\r\nhost: a b",
        "GET / HTTP/1.1\r\nhost : app",
        "GET / HTTP/1.1\r\nhost: app\r\n folded: yes",
        "GET / HTTP/1.1\r\nhost: app\r\nx: a\rb",
        "GET / HTTP/1.1\r\nhost: app\r\nx: a\0b",
        "GET / HTTP/1.1\r\nhost: app\r\nx: a\x01b",
        "GET / HTTP/1.1\r\nhost: app\r\nx y: z",
        "GET /\x01 HTTP/1.1\r\nhost: app",
        "GET / HTTP/1.1\r\nhost: app\r\n: empty",
        "GET / HTTP/1.2\r\nhost: app",
        "GET  / HTTP/1.1\r\nhost: app",
        "GET nopath HTTP/1.1\r\nhost: app",
        "POST / HTTP/1.1\r\nhost: app\r\ncontent-length: +5",
        "POST / HTTP/1.1\r\nhost: app\r\ncontent-length: 0x5",
        "POST / HTTP/1.1\r\nhost: app\r\ncontent-length: -1",
        "POST / HTTP/1.1\r\nhost: app\r\ncontent-length: 5, 5",
        "POST / HTTP/1.1\r\nhost: app\r\ncontent-length: ",
        "POST / HTTP/1.1\r\nhost: app\r\ncontent-length: 99999999999999999999999",
        "POST / HTTP/1.1\r\nhost: app\r\ncontent-length: 5\r\ncontent-length: 6",
        "POST / HTTP/1.1\r\nhost: app\r\ntransfer-encoding: xchunked",
        "POST / HTTP/1.1\r\nhost: app\r\ntransfer-encoding: chunked, identity",
        "POST / HTTP/1.1\r\nhost: app\r\ntransfer-encoding: chunked, chunked",
        "POST / HTTP/1.1\r\nhost: app\r\ntransfer-encoding: gzip, chunked",
        "POST / HTTP/1.1\r\nhost: app\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked",
        "POST / HTTP/1.1\r\nhost: app\r\ntransfer-encoding: \x0bchunked",
        "POST / HTTP/1.1\r\nhost: app\r\ntransfer-encoding:",
        "POST / HTTP/1.0\r\nhost: app\r\ntransfer-encoding: chunked",
        "CONNECT app:80 HTTP/1.1\r\nhost: app",
        "TRACE / HTTP/1.1\r\nhost: app",
    ];
    for case in cases {
        let mut client = site.client();
        client.send(case);
        client.send(tail);
        let answer = client.answer("GET").unwrap_or_else(|| panic!("no answer to {case:?}"));
        assert!((400..500).contains(&answer.status), "{} to {case:?}", answer.status);
        assert!(client.is_closed() && client.rest().is_empty(), "{case:?}");
    }
    assert_eq!(site.stable.requests(), 0);
    site.expect_counts([(0, 0), (0, 0)]);
    // Also what hyper refuses, without a word to Weir.
    let cells = site.register.tier(&"web".parse().unwrap());
    let refused = || cells.refused_requests.load(Ordering::SeqCst);
    site.wait_until("counted", || refused() == cases.len() as u64);
}

/// Wherever it stands on a connection, and however it is cut.
#[test]
fn what_frames_a_body_twice_is_refused_and_what_came_before_it_is_answered() {
    let site = Site::new(0);
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: app\r\n\r\n";
    let chunked = "POST /sink HTTP/1.1\r\nhost: app\r\ntransfer-encoding: chunked\r\n\r\n";
    let before = format!("{chunked}3;x=y\r\n\n\n\n\r\n0\r\nx: y\r\n\r\n");
    for lines in [
        "content-length: 5\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 5",
        "Transfer-Encoding:chunked\r\nx: y\r\nCONTENT-LENGTH:\t0",
        "content-length: 5\r\ncontent-length: 5",
        "x: y\ncontent-length: 5",
    ] {
        let bad = format!("POST / HTTP/1.1\r\nhost: app\r\n{lines}\r\n\r\n0\r\n\r\n{smuggled}");
        for step in [1, 11, 10_000] {
            let mut client = site.client();
            // After the refusal the connection is closed, maybe before all is sent.
            for piece in format!("{before}{bad}").as_bytes().chunks(step) {
                if client.stream.write_all(piece).is_err() {
                    break;
                }
            }
            assert_eq!(client.answer("POST").unwrap().text(), "3 ", "{lines:?} {step}");
            assert_eq!(client.answer("POST").unwrap().status, 400, "{lines:?} {step}");
            assert!(client.is_closed() && client.rest().is_empty(), "{lines:?} {step}");
        }
    }
    assert_eq!(site.stable.requests(), 15);
}

#[test]
fn a_broken_chunk_is_the_clients_fault() {
    let site = Site::new(0);
    for chunk in ["zz\r\n", "5 5\r\nhello\r\n", "-1\r\n", "fffffffffffffffff\r\n", "5\r\nhelloXX"] {
        let mut client = site.client();
        client.send("POST /sink HTTP/1.1\r\nhost: app\r\ntransfer-encoding: chunked\r\n\r\n");
        client.send(chunk);
        let answer = client.answer("POST").unwrap();
        assert_eq!(answer.status, 400, "{chunk:?}");
        assert!(client.is_closed());
    }
    site.expect_counts([(0, 0), (0, 0)]);
}

#[test]
fn heads_and_bodies_have_limits() {
    let site = Site::with(0, |tier| {
        tier.limits.head_bytes = 8 * 1024;
        tier.limits.headers = 20;
        tier.limits.body_bytes = Some(10);
        tier.limits.requests_per_connection = 3;
    });
    let status = |text: &str| {
        let mut client = site.client();
        client.send(text);
        client.answer("GET").map(|answer| answer.status)
    };
    let long = "x".repeat(9_000);
    assert_eq!(status(&format!("GET / HTTP/1.1\r\nhost: app\r\nx: {long}\r\n\r\n")), Some(431));
    let many = "x: y\r\n".repeat(21);
    assert_eq!(status(&format!("GET / HTTP/1.1\r\nhost: app\r\n{many}\r\n")), Some(431));
    let post = "POST /sink HTTP/1.1\r\nhost: app\r\n";
    assert_eq!(status(&format!("{post}content-length: 11\r\n\r\n")), Some(413));
    assert_eq!(status(&format!("{post}content-length: 10\r\n\r\n0123456789")), Some(200));
    let chunked = format!("{post}transfer-encoding: chunked\r\n\r\n");
    assert_eq!(status(&format!("{chunked}b\r\n01234567890\r\n0\r\n\r\n")), Some(413));
    let mut client = site.client();
    assert_eq!(client.get("/", "").field("connection"), None);
    client.get("/", "");
    assert_eq!(client.get("/", "").field("connection"), Some("close"));
    assert!(client.is_closed());
}

#[test]
fn outcomes_are_counted_as_they_are() {
    let site = Site::with(100, |tier| {
        tier.sticky = Sticky::Nothing;
        let location = Some(Pattern::new("/login*"));
        let status = vec!["302".parse().unwrap()];
        tier.watches = vec![Watch { name: "thrown out".into(), status, location }];
    });
    let mut client = site.client();
    assert_eq!(client.get("/status?503", "").status, 503);
    assert_eq!(client.get("/status?404", "").status, 404);
    assert_eq!(client.get("/redirect", "").status, 302);
    site.expect_counts([(0, 0), (3, 1)]);
    assert_eq!(site.totals().1.watches, [1, 0, 0, 0, 0, 0, 0, 0]);
    for path in ["/cut", "/cut-chunk"] {
        let mut client = site.client();
        client.send(&format!("GET {path} HTTP/1.1\r\nhost: app\r\n\r\n"));
        assert_eq!(client.head().unwrap().status, 200);
        assert!(client.is_closed());
    }
    site.expect_counts([(0, 0), (5, 3)]);
    let shown = site.shown().1.canary;
    assert_eq!(shown.responses, [0, 2, 1, 1, 1]);
    assert_eq!(shown.attempts.reset, 2);
}

#[test]
fn a_failing_canary_is_rescued_and_learned_from() {
    let site = Site::with(100, |tier| tier.sticky = Sticky::Nothing);
    let mut client = site.client();
    for path in ["/close", "/garbage"] {
        let answer = client.get(path, "");
        assert_eq!(answer.status, 502, "stable fails it too, so nobody is to blame");
    }
    site.expect_counts([(0, 0), (0, 0)]);
    // Nobody listens at the canary any more.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    site.publish(|tier| {
        tier.canary = Some(Arc::new(release(&site.register, "1.1", &[gone])));
        let mut settings = (*tier.tier).clone();
        settings.health.boot_grace = Duration::ZERO;
        tier.tier = Arc::new(settings);
    });
    site.wait_until("known to be down", || {
        site.register.health(2).state == weir::metrics::HealthState::Unhealthy
    });
    let answer = client.get("/", "");
    assert_eq!((answer.status, answer.field("x-weir-version")), (200, Some("1.0")));
    client.send("POST /sink HTTP/1.1\r\nhost: app\r\ncontent-length: 2\r\n\r\nok");
    assert_eq!(client.answer("POST").unwrap().text(), "2 ", "a body that is untouched goes too");
    site.expect_counts([(0, 0), (2, 2)]);
    assert_eq!(client.get("/status?500", "").status, 500);
    site.expect_counts([(0, 0), (2, 2)]);
    assert!(site.shown().1.rescues >= 2);
    assert!(site.register.health(2).error.unwrap().contains("refused"));
}

#[test]
fn a_canary_that_has_just_started_is_not_judged() {
    let site = Site::with(100, |tier| tier.sticky = Sticky::Nothing);
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    site.publish(|tier| tier.canary = Some(Arc::new(release(&site.register, "1.1", &[gone]))));
    assert_eq!(site.client().get("/", "").field("x-weir-version"), Some("1.0"));
    site.expect_counts([(0, 0), (0, 0)]);
}

#[test]
fn no_stable_gives_a_page_that_names_the_request() {
    let site = Site::new(0);
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    site.publish(|tier| tier.stable = Arc::new(release(&site.register, "1.0", &[gone])));
    let answer = site.client().get("/", "x-request-id: my-request\r\n");
    assert_eq!(answer.status, 502);
    let text = answer.text();
    assert!(text.contains("my-request") && !text.contains("127.0.0.1"), "{text}");
}

#[test]
fn a_dead_idle_connection_is_no_outcome() {
    let site = Site::with(0, |tier| tier.timeouts.reuse_idle = Duration::ZERO);
    site.stable.state.close_after.store(1, Ordering::SeqCst);
    let mut client = site.client();
    for turn in 0..30 {
        let answer = client.get("/", &uid(turn));
        assert_eq!(answer.status, 200);
        // A request that may not be repeated never goes to a connection that is closed already.
        site.wait_until("closed", || {
            site.stable.state.closed.load(Ordering::SeqCst) == site.stable.requests()
        });
        client.send("POST /sink HTTP/1.1\r\nhost: app\r\ncontent-length: 2\r\n\r\nok");
        assert_eq!(client.answer("POST").unwrap().status, 200);
        // A GET may come at any moment, even while the connection is just being closed.
        std::thread::sleep(Duration::from_micros(turn as u64 % 10 * 250));
    }
    site.expect_counts([(60, 0), (0, 0)]);
}

/// A site whose canary gets everybody, and can stand still as if it were stopped, without that its
/// checks fail for that in the time of a test.
fn rescuing(change: impl FnOnce(&mut Tier)) -> Site {
    Site::of(1, 100, |tier| {
        tier.sticky = Sticky::Nothing;
        tier.health.timeout = Duration::from_mins(10);
        tier.timeouts.first_byte = Duration::from_millis(300);
        tier.timeouts.response_head = Duration::from_mins(5);
        change(tier);
    })
}

#[test]
fn a_hanging_request_counts_once_and_at_its_moment() {
    let site = rescuing(|_| {});
    site.canary.state.stalled.store(true, Ordering::SeqCst);
    // What may change something is asked of nobody else.
    let mut client = site.client();
    client.send("POST / HTTP/1.1\r\nhost: app\r\ncontent-length: 0\r\n\r\n");
    site.expect_counts([(0, 0), (1, 1)]);
    // It was counted and goes on.
    site.canary.state.stalled.store(false, Ordering::SeqCst);
    let answer = client.answer("POST").unwrap();
    assert_eq!((answer.status, answer.field("x-version")), (200, Some("1.1")));
    assert_eq!((site.shown().1.rescues, site.stable.requests()), (0, 0));
    site.expect_counts([(0, 0), (1, 1)]);
}

#[test]
fn a_hanging_request_ends_and_is_not_counted_again() {
    let site = rescuing(|tier| tier.timeouts.response_head = Duration::from_millis(600));
    let mut client = site.client();
    client.send("POST /hang HTTP/1.1\r\nhost: app\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(client.answer("POST").unwrap().status, 504);
    site.expect_counts([(0, 0), (1, 1)]);
    assert_eq!(site.shown().1.canary.attempts.timeout, 1);
    assert_eq!((site.shown().1.rescues, site.stable.requests()), (0, 0));
}

#[test]
fn what_a_hanging_canary_does_not_answer_is_asked_of_stable() {
    let site = rescuing(|_| {});
    site.canary.state.stalled.store(true, Ordering::SeqCst);
    let mut client = site.client();
    for (method, count) in [("GET", 1), ("HEAD", 2), ("OPTIONS", 3)] {
        client.send(&format!("{method} /path HTTP/1.1\r\nhost: app\r\nx-own: 1\r\n\r\n"));
        let answer = client.answer(method).unwrap();
        assert_eq!((answer.status, answer.field("x-version")), (200, Some("1.0")), "{method}");
        let head = site.stable.last_head();
        assert!(head.starts_with(&format!("{method} /path ")), "{head}");
        assert!(head.contains("x-own: 1") && head.contains("x-weir-version: 1.0"), "{head}");
        site.expect_counts([(0, 0), (count, count)]);
    }
    let shown = site.shown().1;
    assert_eq!((shown.rescues, shown.canary.attempts.timeout, shown.retries), (3, 3, 0));
    site.wait_until("taken back", || site.canary.state.cancelled.load(Ordering::SeqCst) == 3);
    // It was an error when it was counted, whatever stable makes of it.
    assert_eq!(client.get("/status?500", "").status, 500);
    site.expect_counts([(0, 0), (4, 4)]);
    // Stable itself is nobody's stand-in.
    site.publish(|tier| tier.weight = Weight::NONE);
    site.stable.state.stalled.store(true, Ordering::SeqCst);
    client.send("GET / HTTP/1.1\r\nhost: app\r\n\r\n");
    site.wait_until("counted", || site.counts()[0] == (1, 1));
    site.stable.state.stalled.store(false, Ordering::SeqCst);
    assert_eq!(client.answer("GET").unwrap().status, 200);
}

#[test]
fn testers_long_polls_and_event_streams_wait_also_for_a_canary_that_hangs() {
    let site = rescuing(|tier| {
        tier.timeouts.long_polls = vec![Pattern::new("/poll")];
        tier.preview = Some(Preview {
            header: Some("x-preview".into()),
            cookie: None,
            secret: TokenBytes::new("s3cret"),
        });
    });
    site.canary.state.stalled.store(true, Ordering::SeqCst);
    let cases = [
        ("/tester", "x-preview: s3cret\r\n"),
        ("/poll", ""),
        ("/live", "accept: text/html\r\naccept: Text/Event-Stream;q=0.9, */*\r\n"),
    ];
    let mut waiting: Vec<Client> = cases.iter().map(|_| site.client()).collect();
    for (client, (path, line)) in waiting.iter_mut().zip(cases) {
        client.send(&format!("GET {path} HTTP/1.1\r\nhost: app\r\n{line}\r\n"));
    }
    site.wait_until("there", || site.canary.requests() == 3);
    // Whoever came later is rescued: it was time for the others, too.
    let answer = site.client().get("/", "accept: text/html\r\n");
    assert_eq!((answer.status, answer.field("x-version")), (200, Some("1.0")));
    assert_eq!(site.canary.state.cancelled.load(Ordering::SeqCst), 1);
    site.canary.state.stalled.store(false, Ordering::SeqCst);
    for (client, (path, _)) in waiting.iter_mut().zip(cases) {
        let answer = client.answer("GET").unwrap();
        assert_eq!((answer.status, answer.field("x-version")), (200, Some("1.1")), "{path}");
    }
    assert_eq!(site.stable.requests(), 1);
}

#[test]
fn a_canary_that_passes_its_checks_is_given_its_time() {
    let site = rescuing(|_| {});
    let answer = site.client().get("/slow?4000", "");
    assert_eq!((answer.status, answer.field("x-version")), (200, Some("1.1")));
    site.expect_counts([(0, 0), (1, 1)]);
    assert_eq!((site.stable.requests(), site.shown().1.rescues), (0, 0));
}

#[test]
fn a_canary_that_answers_others_is_given_its_time() {
    let site = rescuing(|tier| {
        tier.health.path = None;
        tier.timeouts.first_byte = Duration::from_secs(2);
    });
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = site.client();
            while !over.load(Ordering::SeqCst) {
                assert_eq!(client.get("/", "").status, 200);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let _over = Over(&over);
        let answer = site.client().get("/slow?6000", "");
        assert_eq!((answer.status, answer.field("x-version")), (200, Some("1.1")));
    });
    assert_eq!((site.counts()[1].1, site.stable.requests()), (1, 0));
}

#[test]
fn what_a_canary_has_begun_to_answer_by_1xx_is_waited_for() {
    let site = rescuing(|tier| tier.health.path = None);
    let mut client = site.client();
    assert_eq!(client.get("/early?4000", "").status, 103);
    let answer = client.answer("GET").unwrap();
    assert_eq!((answer.status, answer.field("x-version")), (200, Some("1.1")));
    site.expect_counts([(0, 0), (1, 1)]);
    assert_eq!((site.shown().1.rescues, site.stable.requests()), (0, 0));
}

#[test]
fn rescues_from_a_hanging_canary_have_a_budget() {
    let site = rescuing(|tier| tier.limits.retries = 0);
    site.canary.state.stalled.store(true, Ordering::SeqCst);
    let mut clients: Vec<Client> = (0..12).map(|_| site.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nhost: app\r\n\r\n");
    }
    let shown = || site.shown().1;
    site.wait_until("decided", || (shown().rescues, shown().refused_retries) == (10, 2));
    site.expect_counts([(0, 0), (12, 12)]);
    site.canary.state.stalled.store(false, Ordering::SeqCst);
    let answers = clients.iter_mut().map(|client| client.answer("GET").unwrap());
    let of_canary = answers.filter(|answer| answer.field("x-version") == Some("1.1")).count();
    assert_eq!(of_canary, 2);
}

#[test]
fn stable_is_not_blamed_for_the_time_that_a_canary_took_of_the_whole() {
    let site = rescuing(|tier| tier.timeouts.total = Some(Duration::from_secs(2)));
    for version in [&site.stable, &site.canary] {
        version.state.stalled.store(true, Ordering::SeqCst);
    }
    assert_eq!(site.client().get("/", "").status, 504);
    assert_eq!((site.shown().1.canary.attempts.timeout, site.stable.requests()), (1, 1));
    site.expect_counts([(0, 0), (1, 1)]);
    assert_eq!(site.register.health(0).error, None);
    assert!(site.register.health(1).error.unwrap().contains("too long"));
}

#[test]
fn three_errors_of_one_key_count_in_a_second() {
    let site = Site::with(100, |_| {});
    let mut client = site.client();
    for _ in 0..20 {
        client.get("/status?500", &uid(1));
    }
    let (requests, errors) = site.counts()[1];
    assert!((3..=6).contains(&errors) && requests == errors, "{requests} {errors}");
    client.get("/status?500", &uid(2));
    site.expect_counts([(0, 0), (requests + 1, errors + 1)]);
}

#[test]
fn testers_and_monitors_are_not_judged() {
    let site = Site::with(0, |tier| {
        tier.preview = Some(Preview {
            header: Some("x-preview".into()),
            cookie: Some("preview".into()),
            secret: TokenBytes::new("s3cret"),
        });
        tier.show_version = false;
        tier.ignore.agents = vec![Pattern::new("monitor/*")];
        tier.ignore.paths = vec![Pattern::new("/ping")];
    });
    let mut client = site.client();
    let mut version =
        |lines: &str| client.get("/", lines).field("x-weir-version").map(str::to_owned);
    assert_eq!(version("x-preview: s3cret\r\n").as_deref(), Some("1.1"));
    assert_eq!(version("x-preview: s3cret:canary\r\n").as_deref(), Some("1.1"));
    assert_eq!(version("x-preview: s3cret:stable\r\n").as_deref(), Some("1.0"));
    assert_eq!(version("x-preview: s3cret:1.1\r\n").as_deref(), Some("1.1"));
    assert_eq!(version("cookie: a=1; preview=s3cret; b=2\r\n").as_deref(), Some("1.1"));
    let head = site.canary.last_head();
    assert!(!head.contains("s3cret") && head.contains("cookie: a=1; b=2"), "{head}");
    assert_eq!(version("x-preview: wrong\r\n"), None);
    version("user-agent: monitor/1.0\r\n");
    client.get("/ping", "");
    site.expect_counts([(1, 0), (0, 0)]);
    assert_eq!(site.shown().1.previews, 4);
}

#[test]
fn a_browser_gets_a_cookie_that_keeps_it_where_it_is() {
    let site = Site::with(50, |tier| tier.sticky = Sticky::Own);
    let page = "accept: text/html\r\nsec-fetch-dest: document\r\n";
    for _ in 0..20 {
        let mut client = site.client();
        let first = client.get("/", page);
        let cookie = first.field("set-cookie").unwrap().to_owned();
        assert!(cookie.ends_with("; Path=/; Max-Age=7776000; HttpOnly; SameSite=Lax"), "{cookie}");
        let pair = cookie.split(';').next().unwrap();
        let again = client.get("/", &format!("{page}cookie: {pair}\r\n"));
        assert_eq!(again.field("x-weir-version"), first.field("x-weir-version"));
        assert_eq!(again.field("set-cookie"), None);
    }
    let mut client = site.client();
    for lines in ["", "accept: image/png\r\n", "accept: text/html\r\nsec-fetch-dest: iframe\r\n"] {
        assert_eq!(client.get("/", lines).field("set-cookie"), None);
    }
    assert_eq!(client.get("/public", page).field("set-cookie"), None);
    site.publish(|tier| (tier.canary, tier.weight, tier.judged) = (None, Weight::NONE, false));
    assert_eq!(client.get("/", page).field("set-cookie"), None, "no rollout, no cookie");
}

#[test]
fn a_change_of_track_at_login_is_counted() {
    let site = Site::new(50);
    let page = "accept: text/html\r\n";
    let mut client = site.client();
    let first = client.get("/", page);
    let pair = first.field("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let here = first.field("x-weir-version").unwrap();
    let moved = (0..50).find(|user| {
        let version = client.get("/", &uid(*user));
        version.field("x-weir-version") != Some(here)
    });
    let both = format!("{page}cookie: {pair}; uid=user-{}\r\n", moved.unwrap());
    let answer = client.get("/", &both);
    assert!(answer.field("set-cookie").unwrap().contains("Max-Age=0"));
    let (stable, canary) = site.shown();
    assert_eq!(stable.switches + canary.switches, 1);
}

#[test]
fn events_arrive_one_by_one_and_end_when_their_release_loses() {
    let site = Site::with(100, |tier| tier.timeouts.stream_after = Duration::from_millis(200));
    let mut client = site.client();
    client.send("GET /events?100 HTTP/1.1\r\nhost: app\r\n\r\n");
    assert_eq!(client.head().unwrap().status, 200);
    // The stream never ends: what is read has not waited for more.
    for _ in 0..3 {
        assert_eq!(client.chunk().unwrap(), b"data: 1\n\n");
    }
    site.expect_counts([(0, 0), (1, 0)]);
    assert_eq!(site.totals().1.latency.iter().sum::<u64>(), 0, "never as slow");
    site.publish(|tier| (tier.canary, tier.weight) = (None, Weight::NONE));
    while client.chunk().is_some() {}
    site.wait_until("cancelled", || site.canary.state.cancelled.load(Ordering::SeqCst) == 1);
    site.expect_counts([(0, 0), (1, 0)]);
}

#[test]
fn a_stream_that_begins_when_its_release_has_lost_ends_too() {
    let site = Site::new(100);
    site.canary.state.delay.store(1_000, Ordering::SeqCst);
    let mut client = site.client();
    client.send("GET /events?100 HTTP/1.1\r\nhost: app\r\n\r\n");
    site.wait_until("there", || site.canary.requests() == 1);
    site.publish(|tier| (tier.canary, tier.weight) = (None, Weight::NONE));
    assert_eq!(client.head().unwrap().status, 200);
    assert!((0..100).any(|_| client.chunk().is_none()), "it goes on");
}

#[test]
fn large_bodies_stream_with_back_pressure() {
    const BYTES: usize = 100 * 1024 * 1024;
    let site = Site::new(0);
    let mut client = site.client();
    client.send(&format!("GET /big?{BYTES} HTTP/1.1\r\nhost: app\r\n\r\n"));
    client.head().unwrap();
    std::thread::sleep(Duration::from_millis(400));
    let sent = site.stable.state.body_bytes.load(Ordering::SeqCst);
    assert!(sent < 30 << 20, "the upstream waits for the client, it has sent {sent}");
    let mut left = BYTES - client.rest().len();
    let mut chunk = vec![0; 256 * 1024];
    while left > 0 {
        left -= client.stream.read(&mut chunk).unwrap();
    }
    let mut client = site.client();
    client.send(&format!("POST /sink HTTP/1.1\r\nhost: app\r\ncontent-length: {BYTES}\r\n\r\n"));
    let piece = vec![b'x'; 256 * 1024];
    for _ in 0..BYTES / piece.len() {
        client.stream.write_all(&piece).unwrap();
    }
    assert_eq!(client.answer("POST").unwrap().text(), format!("{BYTES} "));
    site.expect_counts([(2, 0), (0, 0)]);
}

#[test]
fn a_client_that_goes_away_takes_its_request_back() {
    let site = Site::new(100);
    let mut client = site.client();
    client.send("GET /hang HTTP/1.1\r\nhost: app\r\n\r\n");
    site.wait_until("there", || site.canary.requests() == 1);
    drop(client);
    site.wait_until("cancelled", || site.canary.state.cancelled.load(Ordering::SeqCst) == 1);
    site.wait_until("abandoned", || site.shown().1.abandoned == 1);
    let mut client = site.client();
    client.send("GET /events?10 HTTP/1.1\r\nhost: app\r\n\r\n");
    client.head().unwrap();
    drop(client);
    site.wait_until("cancelled", || site.canary.state.cancelled.load(Ordering::SeqCst) == 2);
    let mut client = site.client();
    client.send("POST /sink HTTP/1.1\r\nhost: app\r\ncontent-length: 9\r\n\r\nhalf");
    site.wait_until("there", || site.canary.requests() == 3);
    drop(client);
    site.wait_until("cancelled", || site.canary.state.cancelled.load(Ordering::SeqCst) == 3);
    // The one that waited for a head counts as slow as it waited, the upload cut short not at all.
    site.expect_counts([(0, 0), (2, 0)]);
    assert_eq!(site.shown().1.in_flight, 0);
}

#[test]
fn after_the_acknowledgement_nobody_reaches_the_canary() {
    let site = Site::new(100);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let mut client = site.client();
                while !stop.load(Ordering::SeqCst) {
                    client.get("/", "");
                }
            });
        }
        let over = Over(&stop);
        let mut slowest = Duration::ZERO;
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(20));
            slowest = slowest.max(site.publish(|tier| tier.weight = Weight::NONE));
            // Those whose head had arrived before may still be on their way.
            site.wait_until("answered", || site.shown().1.in_flight == 0);
            let after = site.canary.requests();
            std::thread::sleep(Duration::from_millis(50));
            assert_eq!(site.canary.requests(), after);
            let mut fresh = site.client();
            assert_eq!(fresh.get("/", "").field("x-weir-version"), Some("1.0"));
            slowest = slowest.max(site.publish(|tier| tier.weight = Weight::ALL));
        }
        drop(over);
        eprintln!("slowest acknowledgement under load: {slowest:?}");
    });
    std::thread::sleep(Duration::from_millis(300));
    let idle = (0..20).map(|_| site.publish(|_| {})).max();
    eprintln!("slowest acknowledgement of idle workers: {idle:?}");
}

#[test]
fn slow_heads_and_idle_clients_are_closed() {
    let site = Site::with(0, |tier| {
        tier.timeouts.request_head = Duration::from_millis(300);
        tier.timeouts.client_idle = Duration::from_mins(10);
    });
    assert!(site.client().is_closed(), "nothing came");
    let mut client = site.client();
    client.get("/", "");
    // Byte by byte, as long as there is somebody; a head in time is the exception.
    let mut bytes =
        "GET / HTTP/1.1\r\nhost: app\r\nx: ".bytes().chain(std::iter::repeat_n(b'x', 900));
    let written = bytes.all(|byte| {
        std::thread::sleep(Duration::from_millis(50));
        client.stream.write_all(&[byte]).is_ok()
    });
    assert!(!written, "it had 45 s for a head");
    let site = Site::with(0, |tier| {
        tier.timeouts.request_head = Duration::from_mins(10);
        tier.timeouts.client_idle = Duration::from_millis(1_200);
    });
    let mut client = site.client();
    client.get("/", "");
    let start = Instant::now();
    assert!(client.is_closed());
    assert!(start.elapsed() >= Duration::from_millis(900), "{:?}", start.elapsed());
}

#[test]
fn a_body_that_does_not_come_is_the_clients_fault() {
    let site = Site::with(0, |tier| tier.timeouts.body_idle = Duration::from_millis(300));
    let mut client = site.client();
    client.send("POST /sink HTTP/1.1\r\nhost: app\r\ncontent-length: 9\r\n\r\nhalf");
    assert_eq!(client.answer("POST").unwrap().status, 408);
    site.expect_counts([(0, 0), (0, 0)]);
}

#[test]
fn draining_finishes_what_is_under_way() {
    let mut site = Site::new(0);
    let mut idle = site.client();
    idle.get("/", "");
    let mut busy = site.client();
    busy.send("GET /slow?300 HTTP/1.1\r\nhost: app\r\n\r\n");
    site.wait_until("there", || site.stable.requests() == 2);
    let proxy = site.proxy.take().unwrap();
    let address = site.address;
    let cut = std::thread::spawn(move || proxy.drain(Duration::from_mins(1)));
    assert!(idle.is_closed());
    let answer = busy.answer("GET").unwrap();
    assert_eq!((answer.text().as_str(), answer.field("connection")), ("slow", Some("close")));
    assert_eq!(cut.join().unwrap(), 0);
    let error = std::net::TcpStream::connect(address).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn draining_cuts_what_takes_too_long() {
    let mut site = Site::new(0);
    let mut hanging = site.client();
    hanging.send("GET /hang HTTP/1.1\r\nhost: app\r\n\r\n");
    site.wait_until("there", || site.stable.requests() == 1);
    let start = Instant::now();
    assert_eq!(site.proxy.take().unwrap().drain(Duration::from_millis(200)), 1);
    assert!(start.elapsed() < Duration::from_secs(50), "the answer would have a minute");
    assert!(hanging.is_closed());
}

#[test]
fn a_second_weir_is_kept_out() {
    let site = Site::new(0);
    let second = |listen: SocketAddr| {
        let register = Arc::new(Register::new(1));
        let board = Arc::new(Board::new(1));
        let mut table = site.table.clone();
        let mut settings = (*table.tiers[0].tier).clone();
        settings.listener = Arc::new(Listener::plain(listen));
        table.tiers[0].tier = Arc::new(settings);
        table.tiers[0].stable = Arc::new(release(&register, "1.0", &[site.stable.address]));
        table.tiers[0].canary = None;
        board.publish(table);
        let settings = Settings { workers: 1, client: client(), ..Settings::default() };
        proxy::start(&settings, board, register, keyring())
    };
    let error = second(site.address).unwrap_err().to_string();
    let process = std::process::id();
    assert_eq!(
        error,
        format!(
            "{} is already served by another weir (process {process}); stop it, or choose another \
             `listen`",
            site.address
        )
    );
    let error = second(site.stable.address).unwrap_err().to_string();
    assert!(error.contains("stop the program that has it"), "{error}");
    // Nor may it take all addresses of this port, among which this one is.
    let everywhere = SocketAddr::from(([0, 0, 0, 0], site.address.port()));
    let error = second(everywhere).unwrap_err().to_string();
    let taken = format!("{everywhere} is already served by another weir (process {process}, at ");
    assert!(error.starts_with(&format!("{taken}{})", site.address)), "{error}");
    // It may itself, beside the one address or in its place.
    let at = |listen: SocketAddr, name: &str| {
        let mut tier = site.table.tiers[0].clone();
        let mut settings = (*tier.tier).clone();
        settings.name = name.parse().unwrap();
        settings.listener = Arc::new(Listener::plain(listen));
        tier.tier = Arc::new(settings);
        tier
    };
    let free = std::net::TcpListener::bind("127.0.0.2:0").unwrap().local_addr().unwrap();
    let all = SocketAddr::from(([0, 0, 0, 0], free.port()));
    let own = SocketAddr::from(([127, 0, 0, 3], free.port()));
    for tiers in
        [vec![at(free, "web")], vec![at(free, "web"), at(all, "api")], vec![at(all, "api")]]
    {
        let both = tiers.len() == 2;
        let everywhere = tiers.iter().any(|tier| tier.tier.name.as_str() == "api");
        site.board.publish(Table { tiers, ..Table::default() });
        let proxy = site.proxy.as_ref().unwrap();
        let connects = |address| std::net::TcpStream::connect(address).is_ok();
        site.wait_until("served", || connects(free) && connects(own) == everywhere);
        site.wait_until("listening", || proxy.local_addresses().len() == 1 + usize::from(both));
        assert_eq!(Client::to(free).get("/", "").status, 200);
    }
}

#[test]
fn a_tier_may_come_and_go() {
    let site = Site::new(0);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut table = site.table.clone();
    let mut second = table.tiers[0].clone();
    let mut settings = (*second.tier).clone();
    settings.name = "api".parse().unwrap();
    settings.listener = Arc::new(Listener::plain(free));
    second.tier = Arc::new(settings);
    table.tiers.push(second);
    site.board.publish(table);
    site.wait_until("served", || std::net::TcpStream::connect(free).is_ok());
    assert_eq!(Client::to(free).get("/", "").status, 200);
    site.board.publish(site.table.clone());
    site.wait_until("closed", || std::net::TcpStream::connect(free).is_err());
    assert_eq!(site.client().get("/", "").status, 200);
}

#[test]
fn a_circle_ends_at_once() {
    let site = Site::new(0);
    site.publish(|tier| {
        tier.stable = Arc::new(release(&site.register, "1.0", &[site.address]));
    });
    assert_eq!(site.client().get("/", "").status, 508);
}

#[test]
fn the_least_busy_upstream_serves_and_a_dead_one_is_left_out() {
    let site = Site::new(0);
    let second = Upstream::start("1.0");
    let addresses = [site.stable.address, second.address];
    site.publish(|tier| tier.stable = Arc::new(release(&site.register, "1.0", &addresses)));
    site.wait_until("healthy", || {
        site.register.health(2).state == weir::metrics::HealthState::Healthy
    });
    let mut client = site.client();
    for user in 0..40 {
        client.get("/", &uid(user));
    }
    assert!(site.stable.requests() >= 10 && second.requests() >= 10);
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let addresses = [site.stable.address, gone];
    site.publish(|tier| tier.stable = Arc::new(release(&site.register, "1.0", &addresses)));
    for user in 0..20 {
        assert_eq!(client.get("/", &uid(user)).status, 200, "the other one serves it");
    }
}

#[test]
fn the_heaviest_key_shows() {
    let site = Site::new(0);
    let mut client = site.client();
    for request in 0..400 {
        client.get("/", &uid(if request % 2 == 0 { 0 } else { request }));
    }
    let name = "web".parse().unwrap();
    site.wait_until_within(Duration::from_mins(2), "known", || {
        site.register.key_share(&name).is_some()
    });
    let share = site.register.key_share(&name).unwrap();
    assert!((0.45..=0.51).contains(&share), "{share}");
}

#[test]
fn upstreams_may_be_names_and_unix_sockets() {
    let site = Site::new(0);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            _ = stream.read(&mut [0; 4096]);
            _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nby unix");
        }
    });
    let with = |address: Address| {
        site.publish(|tier| {
            let mut release = (*tier.stable).clone();
            let slot = site.register.upstream(release.slot, &address);
            release.upstreams = vec![Listed { address, slot }];
            tier.stable = Arc::new(release);
        });
        site.client().get("/", "").text()
    };
    assert_eq!(with(Spot::Unix(path).into()), "by unix");
    let port = site.stable.address.port();
    assert!(with(Spot::Name("localhost".into(), port).into()).starts_with("1.0"));
}

#[test]
fn tiers_that_share_a_listener_are_told_apart_by_host_and_path() {
    let site = Site::new(0);
    let api = Upstream::start("api");
    let mut table = site.table.clone();
    let mut second = table.tiers[0].clone();
    let mut settings = (*second.tier).clone();
    settings.name = "api".parse().unwrap();
    settings.route = Route::new(Some("api.example.org"), Some("/v1/")).unwrap();
    second.tier = Arc::new(settings);
    second.stable = Arc::new(release(&site.register, "api", &[api.address]));
    second.canary = None;
    table.tiers.push(second);
    let epoch = site.board.publish(table.clone());
    site.wait_until("published", || site.board.acknowledged(epoch));
    let answers = |host: &str, path: &str| {
        let mut client = site.client();
        client.send(&format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n"));
        let answer = client.answer("GET").unwrap();
        (answer.status, answer.field("x-weir-version").unwrap_or_default().to_owned())
    };
    assert_eq!(answers("API.example.org:80", "/v1/users?x=1"), (200, "api".to_owned()));
    assert_eq!(answers("api.example.org", "/v2/"), (200, "1.0".to_owned()));
    assert_eq!(answers("example.org", "/v1/"), (200, "1.0".to_owned()));
    // Without a tier for the rest, the rest is nobody's.
    let mut settings = (*table.tiers[0].tier).clone();
    settings.route = Route::new(Some("www.example.org"), None).unwrap();
    table.tiers[0].tier = Arc::new(settings);
    let epoch = site.board.publish(table);
    site.wait_until("published", || site.board.acknowledged(epoch));
    assert_eq!(answers("www.example.org", "/"), (200, "1.0".to_owned()));
    assert_eq!(answers("example.org", "/").0, 404);
}

#[test]
fn a_unix_socket_is_listened_at_with_its_permissions_and_removed_at_the_end() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.sock");
    // A socket that a killed process has left behind is in nobody's way.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let mut site = Site::new(0);
    let mut table = site.table.clone();
    let mut settings = (*table.tiers[0].tier).clone();
    let listen = weir::traffic::Listen::Unix(path.clone());
    settings.listener = Arc::new(Listener { mode: 0o600, ..Listener::plain(listen) });
    table.tiers[0].tier = Arc::new(settings);
    site.board.publish(table);
    let ask = || -> std::io::Result<String> {
        let mut stream = std::os::unix::net::UnixStream::connect(&path)?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: app\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    site.wait_until("served", || ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")));
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    site.proxy.take().unwrap().drain(Duration::ZERO);
    assert!(!path.exists());
}

#[test]
fn a_load_balancer_says_who_the_client_is() {
    let site = Site::new(0);
    site.publish(|tier| {
        let mut settings = (*tier.tier).clone();
        let mut listener = (*settings.listener).clone();
        listener.proxy_from = vec!["127.0.0.1".parse().unwrap()];
        settings.listener = Arc::new(listener);
        tier.tier = Arc::new(settings);
    });
    let mut client = site.client();
    client.send("PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\nGET / HTTP/1.1\r\nhost: app\r\n\r\n");
    assert_eq!(client.answer("GET").unwrap().status, 200);
    let head = site.stable.last_head();
    assert!(head.contains("x-forwarded-for: 192.0.2.7"), "{head}");
    // Without the header nothing is understood.
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nhost: app\r\n\r\n");
    assert!(client.is_closed());
}
