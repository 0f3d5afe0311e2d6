//! What goes on, as events.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir::admin::{Role, TokenFile};

use super::Api;
use super::client::{self, Client};

/// As long as a slow machine may take.
const PATIENCE: Duration = Duration::from_mins(2);

/// Streams that may be open at once.
const STREAMS_MAX: usize = 32;

/// One event.
#[derive(Debug)]
struct Event {
    name: String,
    id: Option<u64>,
    data: Value,
}

/// An open stream.
struct Stream {
    client: Client,
    text: String,
}

impl Stream {
    fn open(api: &Api, path: &str, headers: &str) -> Result<Self, client::Answer> {
        let mut client = Client::to(api.address);
        client.send(&format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n"));
        let head = client.head().expect("a head");
        if head.status != 200 {
            return Err(head);
        }
        assert_eq!(head.field("content-type"), Some("text/event-stream"));
        assert_eq!(head.field("cache-control"), Some("no-store"));
        assert_eq!(head.field("x-accel-buffering"), Some("no"));
        Ok(Self { client, text: String::new() })
    }

    /// The next event; none at the end.
    fn next(&mut self) -> Option<Event> {
        loop {
            let Some(end) = self.text.find("\n\n") else {
                self.text.push_str(std::str::from_utf8(&self.client.chunk()?).unwrap());
                continue;
            };
            let event: String = self.text.drain(..end + 2).collect();
            let field = |name: &str| {
                event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
            };
            let Some(data) = field("data") else {
                assert_eq!(event, "retry: 1000\n\n");
                continue;
            };
            return Some(Event {
                name: field("event").unwrap().to_owned(),
                id: field("id").map(|id| id.parse().unwrap()),
                data: serde_json::from_str(data).unwrap(),
            });
        }
    }

    /// The next event `name` that `is_it`.
    fn until(&mut self, name: &str, is_it: impl Fn(&Value) -> bool) -> Event {
        let begun = Instant::now();
        loop {
            let event = self.next().expect("the stream goes on");
            if event.name == name && is_it(&event.data) {
                return event;
            }
            assert!(begun.elapsed() < PATIENCE, "no {name}; last: {event:?}");
        }
    }
}

#[test]
fn what_goes_on_comes_as_events() {
    let api = Api::start();
    let mut stream = Stream::open(&api, "/api/v1/stream", "").ok().unwrap();
    let first = stream.next().unwrap();
    assert_eq!((first.name.as_str(), first.id), ("status", None));
    assert_eq!(first.data["tiers"][0]["rollout"], Value::Null);
    let _upstream = api.open_rollout();
    let started = stream.until("record", |record| record["change"].get("started").is_some());
    assert!(started.data["sentence"].as_str().unwrap().contains("2.0.0"), "{started:?}");
    assert_eq!(started.id, started.data["seq"].as_u64());
    assert_eq!(started.data["change"]["started"]["salt"], "0".repeat(32), "a secret went out");
    stream.until("status", |status| status["tiers"][0]["weight"] == 500);
    let point = stream.until("point", |point| point["tiers"][0]["weight"][0] == 500);
    assert_eq!(point.data["step_seconds"], 5);
    assert_eq!(point.data["tiers"][0]["weight"].as_array().unwrap().len(), 1);
    let next = stream.until("point", |_| true);
    let from = |event: &Event| event.data["from"].as_u64().unwrap();
    assert_eq!(from(&next), from(&point) + 5_000);
}

#[test]
fn who_comes_again_misses_no_record_and_gets_none_twice() {
    let api = Api::start();
    let _upstream = api.open_rollout();
    assert_eq!(api.order(&json!({"order": "pause"})).0, 200);
    assert_eq!(api.order(&json!({"order": "rollback"})).0, 200);
    let log = api.json("/api/v1/log?limit=1000");
    let latest = log["latest"].as_u64().unwrap();
    assert!(latest >= 4, "{log}");
    let places = |stream: &mut Stream| -> Vec<u64> {
        // The records come before the first status.
        let mut places = Vec::new();
        loop {
            let event = stream.next().unwrap();
            match event.name.as_str() {
                "record" => places.push(event.id.unwrap()),
                _ => return places,
            }
        }
    };
    let mut whole = Stream::open(&api, "/api/v1/stream?after=0", "").ok().unwrap();
    assert_eq!(places(&mut whole), (1..=latest).collect::<Vec<u64>>());
    // A browser repeats the address, and says in the header how far it came.
    let headers = "last-event-id: 2\r\n";
    let mut again = Stream::open(&api, "/api/v1/stream?after=0", headers).ok().unwrap();
    assert_eq!(places(&mut again), (3..=latest).collect::<Vec<u64>>());
    let mut ahead = Stream::open(&api, "/api/v1/stream?after=999999", "").ok().unwrap();
    assert!(places(&mut ahead).is_empty());
    let wrong = Stream::open(&api, "/api/v1/stream", "last-event-id: x\r\n").err().unwrap();
    assert_eq!(wrong.status, 400);
}

#[test]
fn streams_are_limited_and_leave_their_places() {
    let api = Api::start();
    let open = || Stream::open(&api, "/api/v1/stream", "");
    let mut streams: Vec<Stream> = (0..STREAMS_MAX).map(|_| open().ok().unwrap()).collect();
    let answer = api.get("/api/v1/stream");
    assert_eq!(answer.status, 503);
    let trouble: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(trouble["kind"], "busy");
    assert!(trouble["error"].as_str().unwrap().contains("32 streams"), "{trouble}");
    assert_eq!(api.get("/api/v1/status").status, 200, "who asks for less is served");
    drop(streams.pop());
    let begun = Instant::now();
    while open().is_err() {
        assert!(begun.elapsed() < PATIENCE, "a place is kept for who has gone");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_stream_ends_when_the_program_stops() {
    let mut api = Api::start();
    let mut stream = Stream::open(&api, "/api/v1/stream", "").ok().unwrap();
    assert_eq!(stream.next().unwrap().name, "status");
    drop(api.stop.take());
    // With its last chunk and not cut short: nobody waited for the end of the drain.
    while stream.next().is_some() {}
    assert!(stream.client.is_closed());
}

#[test]
fn a_stream_ends_with_its_token() {
    let outside = Api::start_at("203.0.113.7:7700", &[]);
    let file = TokenFile::new(outside.folder.path().join("weir.tokens"));
    let secret = file.add("phone", Role::Viewer).unwrap();
    let bearer = format!("authorization: Bearer {}\r\n", secret.reveal());
    assert_eq!(Stream::open(&outside, "/api/v1/stream", "").err().unwrap().status, 401);
    let mut stream = Stream::open(&outside, "/api/v1/stream", &bearer).ok().unwrap();
    stream.until("status", |_| true);
    file.revoke("phone").unwrap();
    let begun = Instant::now();
    while stream.next().is_some() {
        assert!(begun.elapsed() < PATIENCE, "it goes on for a token that was revoked");
    }
}
