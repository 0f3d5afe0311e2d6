//! Traces of requests and decisions, told to a collector by OTLP, with the real program.

mod official;

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::notify::hook::Hook;
use super::support::client::{Answer, Client};
use super::support::program::{Program, free_address, get};
use super::support::quick;
use super::support::upstream::Upstream;

/// How long something may take that happens at once on a machine with nothing else to do.
const PATIENCE: Duration = Duration::from_mins(3);

/// The example of the recommendation.
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A Weir before two versions, and a collector.
struct World {
    collector: Hook,
    program: Program,
    listen: SocketAddr,
    apps: [Upstream; 2],
}

impl World {
    /// One that traces so many; `tier` and `tracing` have what else these sections say.
    fn new(ratio: &str, tier: &str, tracing: &str) -> Self {
        let (collector, listen) = (Hook::start(), free_address());
        let apps = ["1.0.0", "1.1.0"].map(Upstream::start);
        let file = format!(
            "[admin]\nlisten = \"ADMIN\"\n[state]\npath = \"weir.db\"\n[[tier]]\nname = \"web\"\n\
             listen = \"{listen}\"\nstable = \"1.0.0\"\nsticky = {{ cookie = \"uid\" }}\n{tier}\n\
             releases = [\n{{ version = \"1.0.0\", upstreams = [\"{}\"] }},\n\
             {{ version = \"1.1.0\", upstreams = [\"{}\"] }},\n]\n[rollout]\n\
             stages = [{{ weight = \"50%\", bake = \"1h\" }}]\n[tracing]\n\
             url = \"http://{}/v1/traces\"\nratio = \"{ratio}\"\n{tracing}\n",
            apps[0].address, apps[1].address, collector.address
        );
        let environment = [("COLLECTOR_TOKEN", "Bearer s3cr3t")];
        let program = Program::start_with(&file, &[], &environment);
        Self { collector, program, listen, apps }
    }

    fn get(&self, path: &str, lines: &str) -> Answer {
        Client::to(self.listen).get(path, lines)
    }

    /// The `traceparent` that stable got last.
    fn told(&self) -> Option<String> {
        field(&self.apps[0].last_head(), "traceparent")
    }

    /// Every span that the collector has.
    fn spans(&self) -> Vec<Value> {
        let letters = self.collector.letters();
        let requests = letters.iter().map(|one| serde_json::from_str(&one.body).expect("JSON"));
        let spans = |request: Value| -> Vec<Value> {
            let spans = &request["resourceSpans"][0]["scopeSpans"][0]["spans"];
            spans.as_array().expect("spans").clone()
        };
        requests.flat_map(spans).collect()
    }

    /// The span for which `is` says yes, once it came.
    fn span(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let since = Instant::now();
        loop {
            let spans = self.spans();
            if let Some(found) = spans.iter().find(|span| is(span)) {
                return found.clone();
            }
            assert!(since.elapsed() < PATIENCE, "{what}: {spans:#?}\n{}", self.program.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn of_path(&self, path: &str) -> Value {
        self.span(path, |span| attribute(span, "url.path") == path)
    }

    fn metric(&self, line: &str) -> u64 {
        let page = get(self.program.admin(), "/metrics").unwrap();
        let value = page.lines().find_map(|one| one.strip_prefix(line)?.trim().parse().ok());
        value.unwrap_or_else(|| panic!("no {line}"))
    }
}

fn field(head: &str, name: &str) -> Option<String> {
    let mut fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let found = fields.find(|(field, _)| field.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.trim().to_owned())
}

/// The value of an attribute, whatever its kind; null where there is none.
fn attribute(span: &Value, key: &str) -> Value {
    let attributes = span["attributes"].as_array().expect("attributes");
    let found = attributes.iter().find(|one| one["key"] == key);
    let value = found.and_then(|one| one["value"].as_object()?.values().next().cloned());
    value.unwrap_or_default()
}

#[test]
fn a_request_that_is_traced_goes_on_with_the_span_of_weir() {
    if quick::is_quick("a_request_that_is_traced_goes_on_with_the_span_of_weir") {
        return;
    }
    let world = World::new("100%", "", "headers = { Authorization = \"env:COLLECTOR_TOKEN\" }");
    assert_eq!(world.get("/new?token=secret", "user-agent: test\r\n").status, 200);
    let told = world.told().expect("a traceparent");
    let span = world.of_path("/new");
    let ids = [&span["traceId"], &span["spanId"]].map(|id| id.as_str().unwrap().to_owned());
    assert_eq!(told, format!("00-{}-{}-01", ids[0], ids[1]));
    assert!(span.get("parentSpanId").is_none() && span.get("status").is_none(), "{span:#}");
    assert_eq!((&span["name"], &span["kind"]), (&"GET".into(), &2.into()));
    for (key, value) in [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("url.scheme", "http"),
        ("server.address", "app"),
        ("client.address", "127.0.0.1"),
        ("network.protocol.version", "1.1"),
        ("user_agent.original", "test"),
        ("weir.tier", "web"),
        ("weir.version", "1.0.0"),
        ("weir.track", "stable"),
        ("weir.attempts", "1"),
    ] {
        assert_eq!(attribute(&span, key), value, "{key}");
    }
    assert_eq!(attribute(&span, "weir.rescued"), false);
    assert_eq!(attribute(&span, "weir.cache"), Value::Null, "the tier keeps nothing");
    let letters = world.collector.letters();
    assert!(letters.iter().all(|one| one.head.starts_with("POST /v1/traces ")), "{letters:?}");
    assert_eq!(letters[0].field("authorization"), Some("Bearer s3cr3t"));
    assert_eq!(letters[0].field("content-type"), Some("application/json"));
    let whole = format!("{letters:?}");
    assert!(!whole.contains("token=secret"), "a query is nobody's business");

    // Below the span of who asks, with the state of others as it came.
    world.get("/below", &format!("traceparent: {PARENT}\r\ntracestate: a=1,b=x-y\r\n"));
    let span = world.of_path("/below");
    assert_eq!(span["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(span["parentSpanId"], "00f067aa0ba902b7");
    let told = world.told().unwrap();
    assert_eq!(told, PARENT.replace("00f067aa0ba902b7", span["spanId"].as_str().unwrap()));
    let head = world.apps[0].last_head();
    assert_eq!(field(&head, "tracestate").as_deref(), Some("a=1,b=x-y"));
    assert_eq!(head.to_lowercase().matches("\ntraceparent:").count(), 1, "{head}");

    // What is none begins a new one.
    world.get("/odd", &format!("traceparent: {PARENT}-more\r\ntracestate: a=1\r\n"));
    assert_ne!(world.of_path("/odd")["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(field(&world.apps[0].last_head(), "tracestate"), None, "of a trace that is over");
}

#[test]
fn what_nobody_samples_passes_byte_for_byte() {
    if quick::is_quick("what_nobody_samples_passes_byte_for_byte") {
        return;
    }
    let world = World::new("100%", "", "");
    let unsampled = PARENT.replace("-01", "-00");
    world.get("/unsampled", &format!("traceparent: {unsampled}\r\ntracestate: a=1\r\n"));
    assert_eq!(world.told().as_deref(), Some(&*unsampled));
    world.get("/sampled", &format!("traceparent: {PARENT}\r\n"));
    world.of_path("/sampled");
    assert!(!world.spans().iter().any(|span| attribute(span, "url.path") == "/unsampled"));

    let world = World::new("0%", "", "");
    world.get("/none", "");
    assert_eq!(world.told(), None, "none is begun");
    world.get("/sampled", &format!("traceparent: {PARENT}\r\n"));
    world.of_path("/sampled");
    // A client whose word does not count is not sampled because it says so, and keeps what it said.
    let world = World::new("0%", "trusted_proxies = [\"192.0.2.1\"]", "");
    world.get("/strange", &format!("traceparent: {PARENT}\r\n"));
    assert_eq!(world.told().as_deref(), Some(PARENT));
    world.program.say(&["start", "web", "--wait", "2m"]);
    world.span("started", |span| span["name"] == "started");
    assert!(!world.spans().iter().any(|span| span["kind"] == 2), "{:#?}", world.spans());
}

#[test]
fn a_span_says_who_answered_how_often_it_was_tried_and_what_the_cache_had() {
    if quick::is_quick("a_span_says_who_answered_how_often_it_was_tried_and_what_the_cache_had") {
        return;
    }
    let world = World::new("100%", "cache = { size = \"16MiB\" }", "");
    world.program.say(&["start", "web", "--wait", "2m"]);
    // A user of the canary.
    let user = (0..200)
        .find(|user| {
            let answer = world.get("/who", &format!("cookie: uid={user}\r\n"));
            answer.text().starts_with("1.1.0")
        })
        .expect("somebody is on the canary");
    let cookie = format!("cookie: uid={user}\r\n");
    world.get("/mine", &cookie);
    let span = world.of_path("/mine");
    assert_eq!(attribute(&span, "weir.version"), "1.1.0");
    assert_eq!(attribute(&span, "weir.track"), "canary");
    assert_eq!(attribute(&span, "weir.cache"), "miss");

    // Both versions close the connection: stable was asked as well, and could not help.
    assert_eq!(world.get("/close", &cookie).status, 502);
    let span = world.of_path("/close");
    assert_eq!(attribute(&span, "http.response.status_code"), "502");
    assert_eq!(attribute(&span, "error.type"), "502");
    assert_eq!(attribute(&span, "weir.rescued"), true);
    assert_eq!(attribute(&span, "weir.rescued_from"), "1.1.0");
    assert_eq!(attribute(&span, "weir.version"), "1.0.0");
    assert_eq!(attribute(&span, "weir.attempts"), "2");
    assert_eq!(span["status"]["code"], 2);

    // An answer that is kept.
    for _ in 0..2 {
        assert_eq!(world.get("/public", &cookie).status, 200);
    }
    world.span("a hit", |span| {
        attribute(span, "url.path") == "/public" && attribute(span, "weir.cache") == "hit"
    });

    // What is not kept, and may not be asked for; and what passes by.
    let lines = format!("{cookie}cache-control: only-if-cached\r\n");
    assert_eq!(world.get("/nowhere", &lines).status, 504);
    let span = world.of_path("/nowhere");
    assert_eq!(attribute(&span, "weir.cache"), "miss");
    assert_eq!(attribute(&span, "weir.attempts"), "0");
    let mut client = Client::to(world.listen);
    client.send(&format!("DELETE /gone HTTP/1.1\r\nhost: app\r\n{cookie}\r\n"));
    assert_eq!(client.answer("DELETE").unwrap().status, 200);
    assert_eq!(attribute(&world.of_path("/gone"), "weir.cache"), "bypass");
}

#[test]
fn what_weir_answers_itself_is_in_the_access_log() {
    let world = World::new("0%", "access_log = true", "");
    let mut client = Client::to(world.listen);
    client.send("OPTIONS /seen HTTP/1.1\r\nhost: app\r\nmax-forwards: 0\r\n\r\n");
    assert!(client.answer("OPTIONS").unwrap().text().starts_with("weir\n"));
    let since = Instant::now();
    while !world.program.log().contains("path=/seen status=200") {
        assert!(since.elapsed() < PATIENCE, "{}", world.program.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_rollout_is_one_trace_from_its_start_to_its_end() {
    if quick::is_quick("a_rollout_is_one_trace_from_its_start_to_its_end") {
        return;
    }
    let world = World::new("0%", "", "service = \"shop-weir\"");
    world.program.say(&["start", "web", "--wait", "2m", "--reason", "new checkout"]);
    world.program.say(&["pause"]);
    world.program.say(&["rollback", "--reason", "too slow"]);
    let whole = world.span("the whole", |span| span["name"] == "rollout");
    let [started, paused, back] = ["started", "paused", "rolled_back"].map(|kind| {
        let span = world.span(kind, |span| span["name"] == kind);
        assert_eq!(span["traceId"], whole["traceId"], "{kind}");
        assert_eq!(span["parentSpanId"], whole["spanId"], "{kind}");
        assert_eq!(attribute(&span, "weir.tier"), "web");
        assert_eq!(attribute(&span, "weir.event"), kind);
        span
    });
    assert!(whole.get("parentSpanId").is_none());
    assert_eq!(whole["startTimeUnixNano"], started["startTimeUnixNano"]);
    assert_eq!(whole["endTimeUnixNano"], back["endTimeUnixNano"]);
    assert_eq!(attribute(&started, "weir.version"), "1.1.0");
    assert_eq!(attribute(&started, "weir.reason"), "new checkout");
    assert!(attribute(&back, "weir.sentence").as_str().unwrap().contains("1.0.0"), "{back:#}");
    assert_eq!(whole["status"]["code"], 2, "it did not come to its end");
    assert!(paused.get("status").is_none());
    let letter = world.collector.letters().remove(0);
    assert!(letter.body.contains("\"shop-weir\""), "{}", letter.body);

    // The next one is another trace.
    world.program.say(&["start", "web", "1.1.0", "--again", "--wait", "2m"]);
    world.program.say(&["promote", "web", "--yes"]);
    let good = world
        .span("the other", |span| span["name"] == "rollout" && span["traceId"] != whole["traceId"]);
    assert!(good.get("status").is_none(), "{good:#}");
}

#[test]
fn a_collector_that_is_away_gets_its_spans_later_and_nobody_waits_for_it() {
    if quick::is_quick("a_collector_that_is_away_gets_its_spans_later_and_nobody_waits_for_it") {
        return;
    }
    let world = World::new("100%", "", "");
    world.collector.answers(503);
    assert_eq!(world.get("/first", "").status, 200);
    let since = Instant::now();
    while world.metric("weir_trace_failures_total") == 0 {
        assert!(since.elapsed() < PATIENCE, "{}", world.program.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    // More than wait: what finds no room is dropped, and users see nothing of it.
    let mut client = Client::to(world.listen);
    for number in 0..5_000 {
        assert_eq!(client.get(&format!("/many/{number}"), "").status, 200);
    }
    assert_eq!(world.metric("weir_trace_spans_total{result=\"sent\"}"), 0);
    let dropped = world.metric("weir_trace_spans_total{result=\"dropped\"}");
    let waiting = world.metric("weir_trace_spans_waiting");
    assert!(dropped > 100 && waiting == 4_096, "{dropped} dropped, {waiting} wait");
    assert!(world.apps[0].state.requests.load(Ordering::SeqCst) > 5_000);
    world.collector.answers(200);
    world.of_path("/first");
    world.span("the last that waits", |span| {
        attribute(span, "url.path").as_str().is_some_and(|path| path.starts_with("/many/4"))
    });
    let log = world.program.log();
    assert_eq!(log.matches("it is tried again").count(), 1, "said once for each batch: {log}");

    // What it refuses for good is not tried again.
    world.collector.answers(400);
    world.get("/refused", "");
    let since = Instant::now();
    while world.metric("weir_trace_spans_total{result=\"rejected\"}") == 0 {
        assert!(since.elapsed() < PATIENCE, "{}", world.program.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    world.collector.answers(200);

    // A reload that leaves it out ends it, and one that has it again goes on.
    let file = std::fs::read_to_string(world.program.directory().join("weir.toml")).unwrap();
    let (without, _) = file.split_once("[tracing]").unwrap();
    world.program.write_file(without);
    world.program.say(&["reload"]);
    world.get("/untraced", "");
    assert_eq!(world.told(), None);
    world.program.write_file(&file);
    world.program.say(&["reload"]);
    world.get("/again", "");
    world.of_path("/again");
}
