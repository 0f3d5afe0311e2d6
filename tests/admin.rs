//! The admin API in this process, over a real socket, with a real control task behind it.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};
use weir::admin::{self, Program, Reload, ReloadError, Role, TokenFile, Tokens};
use weir::analysis::Tally;
use weir::assembly::control_settings;
use weir::control::{Answer, Control};
use weir::journal::{Journal, Kept};
use weir::metrics::exposition::Reloads;
use weir::metrics::{
    CacheEntry, CacheLedger, DeliveryLedger, HttpCacheEntry, Outcome, Register, Wanted,
};
use weir::time::Timestamp;
use weir::tls::{Keyring, Protocols};
use weir::traffic::{Board, Track};

use super::support::client::{self, Client};

mod history;
mod page;
mod sessions;
mod stream;

/// The description is compared with this file; `WEIR_RENEW=1` writes it anew.
const OPENAPI: &str = "tests/admin/openapi.json";

/// An API that runs until it is dropped.
struct Api {
    address: SocketAddr,
    folder: tempfile::TempDir,
    register: Arc<Register>,
    not_ready: watch::Sender<Vec<String>>,
    reloads: Arc<AtomicU32>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// One port of a cache, at which nobody has asked anything yet.
fn answers() -> Vec<HttpCacheEntry> {
    vec![HttpCacheEntry {
        tier: "web".parse().unwrap(),
        version: "1.0.0".parse().unwrap(),
        namespace: "1.0.0".into(),
        size: 1 << 20,
        counts: Arc::default(),
    }]
}

fn told() -> Arc<DeliveryLedger> {
    let ledger = DeliveryLedger::default();
    ledger.set(&[("chat".to_owned(), "webhook")]);
    Arc::new(ledger)
}

fn caches() -> Arc<CacheLedger> {
    let ledger = CacheLedger::default();
    ledger.set(vec![CacheEntry {
        cache: "pages".into(),
        version: "1.0.0".parse().unwrap(),
        namespace: Some("1.0.0".into()),
        mode: "prefix",
        is_apart: true,
        listen: "127.0.0.1:16379".parse().unwrap(),
        counts: Arc::default(),
    }]);
    Arc::new(ledger)
}

const FILE: &str = r#"
[[tier]]
name     = "web"
listen   = "127.0.0.1:1"
stable   = "1.0.0"
releases = [
  { version = "1.0.0", upstreams = ["127.0.0.1:2"] },
  { version = "1.1.0", upstreams = ["127.0.0.1:3"] },
]

[rollout]
stages = [{ weight = "5%", bake = "60s" }, { weight = "25%", bake = "60s" }]
"#;

impl Api {
    fn start() -> Self {
        Self::start_at("127.0.0.1:7700", &["weir.example.com"])
    }

    /// `listen` is what the API believes; the socket is on the loopback whatever it says.
    fn start_at(listen: &str, hosts: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let tokens = Tokens::open(TokenFile::new(folder.path().join("weir.tokens"))).unwrap();
        let settings = admin::Settings {
            listen: listen.parse().unwrap(),
            hosts: hosts.iter().map(ToString::to_string).collect(),
            drain: Duration::from_secs(1),
        };
        let register = Arc::new(Register::new(1));
        let reloads = Arc::new(AtomicU32::new(0));
        let (not_ready, is_not_ready) = watch::channel(Vec::new());
        let (stop, stopped) = oneshot::channel::<()>();
        let (theirs, asked) = (Arc::clone(&register), Arc::clone(&reloads));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async move {
                let config = weir::config::parse("weir.toml", FILE, Path::new(".")).unwrap();
                let settings_of_control = control_settings(&config, false, None, Vec::new());
                let (journal, board) = (Journal::memory(), Arc::new(Board::new(0)));
                let register = Arc::clone(&theirs);
                let (control, handle) = Control::start(
                    settings_of_control,
                    journal,
                    Kept::default(),
                    None,
                    board,
                    register,
                    Keyring::new(Protocols { server: &[], client: &[] }).unwrap(),
                )
                .unwrap();
                let (_stop_control, control_stopped) = oneshot::channel();
                tokio::spawn(control.run(control_stopped));
                let reload = Reload::new(move || {
                    let time = asked.fetch_add(1, Ordering::SeqCst);
                    async move {
                        match time {
                            0 => Ok(Answer {
                                sentences: vec!["+ a tier".into()],
                                ..Answer::default()
                            }),
                            _ => Err(ReloadError::File("weir.toml:3: unknown key".into())),
                        }
                    }
                });
                let program = Program {
                    handle,
                    register: theirs,
                    tokens,
                    reload,
                    reloads: Arc::new(Reloads::new(Timestamp::from_millis(1_000))),
                    keyring: Keyring::new(weir::proxy::PROTOCOLS).unwrap(),
                    caches: admin::Caches::new(caches(), async || vec![], async |_| Ok(Some(7))),
                    http_caches: admin::HttpCaches::new(answers, |_| 5),
                    preflight: admin::Preflight::new(async |_| Err("no such version".into())),
                    notifications: admin::Notifications::new(told(), |_, _| async { vec![] }),
                    shelf: Journal::memory().shelf(),
                    not_ready: is_not_ready,
                };
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let shutdown = async {
                    let _ = stopped.await;
                };
                admin::serve(listener, settings, program, shutdown).await;
            });
        });
        let (stop, thread) = (Some(stop), Some(thread));
        Self { address, folder, register, not_ready, reloads, stop, thread }
    }

    fn token(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.folder.path().join(format!("{name}.token")));
        text.unwrap().trim().to_owned()
    }

    /// Asks with header lines of one's own.
    fn raw(&self, line: &str, headers: &str, body: &str) -> client::Answer {
        let mut client = Client::to(self.address);
        let length = body.len();
        client.send(&format!(
            "{line} HTTP/1.1\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        ));
        client.answer(line.split(' ').next().unwrap()).expect("an answer")
    }

    fn get(&self, path: &str) -> client::Answer {
        self.raw(&format!("GET {path}"), "host: localhost\r\n", "")
    }

    /// Gives an order with the token `name`.
    fn post(&self, name: &str, path: &str, body: &Value) -> (u16, Value) {
        let headers = format!("host: localhost\r\nauthorization: Bearer {}\r\n", self.token(name));
        let answer = self.raw(&format!("POST {path}"), &headers, &body.to_string());
        (answer.status, serde_json::from_slice(&answer.body).unwrap())
    }

    fn order(&self, body: &Value) -> (u16, Value) {
        self.post("operator", "/api/v1/orders", body)
    }

    /// Opens a rollout of a release that the file does not list, on a port that answers.
    fn open_rollout(&self) -> TcpListener {
        let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = upstream.local_addr().unwrap().to_string();
        let order = json!({"order": "start", "version": "2.0.0", "upstreams": [address]});
        let (status, answer) = self.order(&order);
        assert_eq!(status, 200, "{answer}");
        upstream
    }

    fn json(&self, path: &str) -> Value {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{}", answer.text());
        serde_json::from_slice(&answer.body).unwrap()
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[test]
fn who_may_do_what_where() {
    let inside = Api::start();
    let outside = Api::start_at("203.0.113.7:7700", &[]);
    let ask = |api: &Api, line: &str, name: &str| {
        let authorization = match name {
            "nobody" => String::new(),
            "stranger" => format!("authorization: Bearer weir_{}\r\n", "0".repeat(64)),
            name => format!("authorization: Bearer {}\r\n", api.token(name)),
        };
        let body = if line.starts_with("POST") { r#"{"order":"rollback"}"# } else { "" };
        api.raw(line, &format!("host: localhost\r\n{authorization}"), body).status
    };
    // The lines: nobody, stranger, viewer, operator. 409: let in, and then refused.
    let matrix = [
        (&inside, "GET /healthz", [200, 200, 200, 200]),
        (&inside, "GET /readyz", [200, 401, 200, 200]),
        (&inside, "GET /metrics", [200, 401, 200, 200]),
        (&inside, "GET /api/v1/status", [200, 401, 200, 200]),
        (&inside, "GET /api/v1/whoami", [401, 401, 200, 200]),
        (&inside, "POST /api/v1/orders", [401, 401, 403, 409]),
        (&inside, "POST /api/v1/reload", [401, 401, 403, 200]),
        (&outside, "GET /healthz", [200, 200, 200, 200]),
        (&outside, "GET /readyz", [401, 401, 200, 200]),
        (&outside, "GET /metrics", [401, 401, 200, 200]),
        (&outside, "GET /api/v1/log", [401, 401, 200, 200]),
        (&outside, "POST /api/v1/orders", [401, 401, 403, 409]),
    ];
    for (api, line, wanted) in matrix {
        let got = ["nobody", "stranger", "viewer", "operator"].map(|name| ask(api, line, name));
        assert_eq!(got, wanted, "{line}");
    }
}

#[test]
fn a_name_of_a_stranger_in_host_is_refused() {
    let api = Api::start();
    let ask = |headers: &str| api.raw("GET /api/v1/status", headers, "").status;
    for ours in ["localhost:7700", "127.0.0.1", "[::1]:7700"] {
        assert_eq!(ask(&format!("host: {ours}\r\n")), 200, "{ours}");
    }
    assert_eq!(ask("host: Weir.Example.com\r\n"), 401, "a name by which others come");
    for strange in ["host: evil.example\r\n", "", "host: localhost\r\nhost: evil.example\r\n"] {
        assert_eq!(ask(strange), 421, "{strange:?}");
    }
    let absolute = api.raw("GET http://evil.example/healthz", "host: localhost\r\n", "");
    assert_eq!(absolute.status, 421);
    let cors = api.get("/api/v1/status");
    assert_eq!(cors.field("access-control-allow-origin"), None);
}

#[test]
fn an_order_is_carried_out_in_the_name_of_its_token_and_kept_with_its_reason() {
    let api = Api::start();
    let _upstream = api.open_rollout();
    let status = api.json("/api/v1/status");
    assert_eq!(status["tiers"][0]["rollout"]["release"], "2.0.0");
    assert_eq!(status["tiers"][0]["weight"], 500);
    let secret = TokenFile::new(api.folder.path().join("weir.tokens"))
        .add("night-shift", Role::Operator)
        .unwrap();
    let headers = format!("host: localhost\r\nauthorization: bearer {}\r\n", secret.reveal());
    let body = r#"{"order":"rollback","tier":"web","reason":"checkout is slow"}"#;
    let answer = api.raw("POST /api/v1/orders", &headers, body);
    let done: Value = serde_json::from_slice(&answer.body).unwrap();
    let sentence = done["sentences"][0].as_str().unwrap();
    assert!(sentence.contains("night-shift") && sentence.contains("checkout is slow"), "{done}");
    let log = api.json("/api/v1/log?limit=1");
    assert_eq!(log["records"][0]["sentence"], sentence);
    assert_eq!(log["records"][0]["by"], "night-shift");
    assert_eq!(log["latest"], log["records"][0]["seq"]);
    let seq = log["latest"].as_u64().unwrap();
    assert_eq!(api.json(&format!("/api/v1/log?after={seq}"))["records"], json!([]));
    let all = api.json("/api/v1/log?after=0&limit=2");
    assert_eq!(all["records"].as_array().unwrap().len(), 2);
    // Whoever knows the salt can compute who is on the canary.
    assert_eq!(all["records"][1]["change"]["started"]["salt"], "0".repeat(32));
}

#[test]
fn what_cannot_be_done_is_said_with_the_way_out() {
    let api = Api::start();
    let refused = [
        (json!({"order": "promote"}), 409, "refused", "weir start"),
        (json!({"order": "start"}), 409, "refused", "healthy"),
        (json!({"order": "explode"}), 400, "bad_request", "rollback"),
        (json!({"order": "pause", "web": 1}), 400, "bad_request", "web"),
        (json!({"order": "pause", "reason": "x".repeat(501)}), 400, "bad_request", "500"),
        (json!({"order": "pause", "reason": "a\u{7}"}), 400, "bad_request", "control"),
        (json!({"order": "pause", "filler": "x".repeat(70_000)}), 413, "too_large", "65536"),
    ];
    for (order, status, kind, part) in refused {
        let (got, trouble) = api.order(&order);
        assert_eq!((got, trouble["kind"].as_str()), (status, Some(kind)), "{trouble}");
        assert!(trouble["error"].as_str().unwrap().contains(part), "{trouble}");
    }
    assert_eq!(api.get("/nowhere").status, 404);
    assert_eq!(api.get("/api/v1/orders").status, 405);
    assert_eq!(api.get("/api/v1/log?limit=x").status, 400);
    assert_eq!(api.get("/api/v1/explain?tier=nope").status, 404);
    assert_eq!(api.post("operator", "/api/v1/orders?wait=5", &json!({})).0, 400);
}

#[test]
fn a_start_waits_for_health_as_long_as_it_is_told() {
    let api = Api::start();
    let address = super::support::program::free_address();
    let upstream = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(700));
        TcpListener::bind(address).unwrap()
    });
    let order = json!({"order": "start", "version": "2.0.0", "upstreams": [address.to_string()]});
    let (status, trouble) = api.order(&order);
    assert_eq!((status, trouble["kind"].as_str()), (409, Some("refused")), "{trouble}");
    let (status, done) = api.post("operator", "/api/v1/orders?wait=2m", &order);
    assert_eq!(status, 200, "{done}");
    drop(upstream.join());
}

#[test]
fn a_reload_answers_with_the_changes_or_with_every_mistake() {
    let api = Api::start();
    let (status, done) = api.post("operator", "/api/v1/reload", &json!({}));
    assert_eq!((status, &done["sentences"]), (200, &json!(["+ a tier"])));
    let (status, trouble) = api.post("operator", "/api/v1/reload", &json!({}));
    assert_eq!((status, trouble["kind"].as_str()), (400, Some("bad_file")));
    assert_eq!(api.reloads.load(Ordering::SeqCst), 2);
}

#[test]
fn readiness_says_what_is_missing() {
    let api = Api::start();
    assert_eq!(api.get("/readyz").status, 200);
    api.not_ready.send(vec!["127.0.0.1:8080 is not bound".into()]).unwrap();
    let answer = api.get("/readyz");
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("127.0.0.1:8080 is not bound"));
    assert_eq!(api.get("/healthz").status, 200);
}

#[test]
fn slow_and_large_heads_are_not_waited_for() {
    let api = Api::start();
    let large = format!("host: localhost\r\nx: {}\r\n", "x".repeat(40_000));
    assert_eq!(api.raw("GET /healthz", &large, "").status, 431);
    let many = format!("host: localhost\r\n{}", "x: y\r\n".repeat(100));
    assert_eq!(api.raw("GET /healthz", &many, "").status, 431);
}

#[test]
fn the_description_is_that_of_the_file() {
    let described = serde_json::to_string_pretty(&admin::openapi()).unwrap() + "\n";
    if std::env::var_os("WEIR_RENEW").is_some() {
        std::fs::write(OPENAPI, &described).unwrap();
    }
    let kept = std::fs::read_to_string(OPENAPI).unwrap_or_default();
    assert!(kept == described, "{OPENAPI} is old; WEIR_RENEW=1 cargo test writes it anew");
    let served = Api::start().json("/api/v1/openapi.json");
    assert_eq!(served, serde_json::from_str::<Value>(&kept).unwrap());
}

/// A sample of the text format.
struct Sample {
    name: String,
    labels: String,
    value: f64,
}

/// A small reader of the text format; panics where Prometheus would complain.
fn samples(text: &str) -> (Vec<(String, String)>, Vec<Sample>) {
    let (mut families, mut samples) = (Vec::new(), Vec::new());
    let mut seen = BTreeSet::new();
    for line in text.lines() {
        assert!(!line.is_empty());
        if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (name, kind) = typed.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            families.push((name.to_owned(), kind.to_owned()));
            continue;
        }
        if line.starts_with('#') {
            assert!(line.starts_with("# HELP "), "{line}");
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(seen.insert(series.to_owned()), "twice: {series}");
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let (family, _) = families.last().expect("a TYPE line comes first");
        assert!(name.starts_with(family.as_str()), "{line} stands under {family}");
        let labels = labels.strip_suffix('}').unwrap().to_owned();
        for label in labels.split(',').filter(|label| !label.is_empty()) {
            let (name, value) = label.split_once('=').unwrap();
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{line}");
            assert!(value.len() > 2 && value.starts_with('"') && value.ends_with('"'), "{line}");
        }
        let value = value.parse().unwrap();
        samples.push(Sample { name: name.to_owned(), labels, value });
    }
    (families, samples)
}

/// A family with its type and labels.
type Row = (String, String, BTreeSet<String>);

#[test]
fn the_metrics_are_those_of_their_document_and_can_be_read() {
    let api = Api::start();
    let _upstream = api.open_rollout();
    let (web, version) = ("web".parse().unwrap(), "2.0.0".parse().unwrap());
    let writer = {
        let register = Arc::clone(&api.register);
        let slot = register.release(&web, &version);
        std::thread::spawn(move || {
            let writer = register.writer(slot, 0);
            writer.attempt(Track::Canary, Outcome::Answered(200));
            writer.response(Track::Canary, 200, Duration::from_millis(12));
        })
    };
    writer.join().unwrap();
    // Nor a source of signals: they are told by hand, of a tier that control does not know.
    let (worker, signals) = ("worker".parse().unwrap(), api.register.signals());
    let wanted = Wanted { version: version.clone(), places: vec![] };
    signals.want(&worker, &[("jobs", Duration::from_secs(30))], &[wanted]);
    signals.count(&worker, "jobs", &version, Tally { total: 5, bad: 2 });
    signals.number(&worker, "jobs", &version, 4.5);
    // There is no proxy here to say it.
    api.register.memory().may_have(Some(1 << 30));
    // The judge speaks after its first window.
    std::thread::sleep(Duration::from_millis(2_500));
    let answer = api.get("/metrics");
    assert_eq!(answer.field("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = answer.text();
    let (families, samples) = samples(&text);
    let canary = r#"tier="web",version="2.0.0",track="canary""#;
    let value = |name: &str, labels: &str| {
        let same = |sample: &&Sample| sample.name == name && sample.labels == labels;
        samples.iter().find(same).map(|sample| sample.value)
    };
    assert_eq!(value("weir_responses_total", &format!("{canary},class=\"2xx\"")), Some(1.0));
    assert_eq!(value("weir_responses_total", &format!("{canary},class=\"5xx\"")), Some(0.0));
    assert_eq!(value("weir_request_duration_seconds_count", canary), Some(1.0));
    assert_eq!(value("weir_rollout_weight_ratio", r#"tier="web""#), Some(0.05));
    assert_eq!(value("weir_rollout_stage", r#"tier="web""#), Some(1.0));
    let jobs = r#"tier="worker",signal="jobs",version="2.0.0""#;
    assert_eq!(value("weir_signal_bad_events_total", jobs), Some(2.0));
    assert_eq!(value("weir_signal_value", jobs), Some(4.5));
    assert_eq!(value("weir_signal_blind", jobs), Some(0.0));

    let document = include_str!("../docs/metrics.md");
    let row = |line: &str| {
        let name = line.strip_prefix("| `weir_")?.split('`').next()?;
        let [kind, labels] = [2, 3].map(|column| line.split('|').nth(column).unwrap_or_default());
        let labels = labels.split(',').map(|label| label.trim().to_owned());
        let labels: BTreeSet<String> = labels.filter(|label| !label.is_empty()).collect();
        Some((format!("weir_{name}"), kind.trim().to_owned(), labels))
    };
    // Those of certificates, jobs and instances are there where there are some; tests/tls.rs,
    // tests/tls/acme.rs, tests/redis/jobs.rs and tests/rolling.rs look at them.
    let elsewhere = ["weir_certificate_", "weir_job", "weir_instance"];
    let is_here = |(name, ..): &Row| !elsewhere.iter().any(|part| name.starts_with(part));
    let documented: BTreeSet<Row> = document.lines().filter_map(row).filter(is_here).collect();
    // Of a histogram every series has `le`, but its sum and count.
    let labels = |family: &str| {
        let of_family = samples.iter().filter(|sample| {
            let rest = sample.name.strip_prefix(family);
            rest.is_some_and(|rest| ["", "_bucket", "_sum", "_count"].contains(&rest))
        });
        let names = of_family.flat_map(|sample| sample.labels.split(','));
        let names = names.filter_map(|label| label.split_once('=')).map(|(name, _)| name);
        names.filter(|name| *name != "le").map(str::to_owned).collect()
    };
    let row = |(name, kind): (String, String)| {
        let labels = labels(&name);
        (name, kind, labels)
    };
    let shown: BTreeSet<Row> = families.into_iter().map(row).collect();
    assert_eq!(documented, shown, "left: docs/metrics.md, right: /metrics");

    let (status, done) = api.order(&json!({"order": "rollback"}));
    assert_eq!(status, 200, "{done}");
    std::thread::sleep(Duration::from_millis(1_600));
    let text = api.get("/metrics").text();
    assert!(text.contains(r#"weir_rollout_open{tier="web"} 0"#));
    assert!(!text.contains("weir_evidence_log_odds{"), "a rollout left its evidence behind");
}

#[test]
fn who_has_connected_before_the_end_is_answered() {
    let mut api = Api::start();
    // The loop that accepts is at rest: it has both, and nothing was said on either.
    let (mut orders, mut silent) = (Client::to(api.address), Client::to(api.address));
    assert_eq!(api.get("/healthz").status, 200);
    drop(api.stop.take());
    while TcpStream::connect(api.address).is_ok() {
        std::thread::sleep(Duration::from_millis(5));
    }
    orders.send("GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n");
    assert_eq!(orders.answer("GET").expect("an answer").status, 200);
    assert!(orders.is_closed() && silent.is_closed());
}
