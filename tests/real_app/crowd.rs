//! Plain clients: users with a token, and anonymous ones at many addresses. Each request is kept,
//! with the version that answered it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::registry::PACKAGE;

/// Connections that the clients share, as they would through a load balancer in front.
const CONNECTIONS: usize = 12;

/// Longest wait for an answer; a longer one counts as broken.
const ANSWER_MAX: Duration = Duration::from_mins(2);

/// The versions, as Weir knows them.
pub const STABLE: &str = "5.33.0";
/// The new one.
pub const CANARY: &str = "6.8.0";

/// Milliseconds since 1970, as the journal has them.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    u64::try_from(since.as_millis()).expect("it is before the year 500 million")
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The web page, which tells by itself which version made it.
    Page,
    /// What there is of the package.
    Package,
    /// The package itself.
    Download,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered below 500 by this version.
    Good(String),
    /// Answered with this status by this version.
    Failed(u16, String),
    /// Not answered, or not to the end.
    Broken(String),
}

/// One request.
#[derive(Clone, Debug)]
pub struct Visit {
    /// By which client.
    pub client: usize,
    /// Whether without a token.
    pub anonymous: bool,
    /// For what.
    pub asked: Asked,
    /// When it was sent.
    pub sent: u64,
    /// When all of the answer was there.
    pub ended: u64,
    /// How it ended.
    pub outcome: Outcome,
}

impl Visit {
    /// Which version answered.
    pub fn version(&self) -> Option<&str> {
        match &self.outcome {
            Outcome::Good(version) | Outcome::Failed(_, version) => Some(version),
            Outcome::Broken(_) => None,
        }
    }

    /// Whether the client saw an error.
    pub const fn is_error(&self) -> bool {
        matches!(self.outcome, Outcome::Failed(..) | Outcome::Broken(_))
    }
}

/// Running clients.
pub struct Crowd {
    /// How many there are.
    pub clients: usize,
    visits: Arc<Mutex<Vec<Visit>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Who asks whom, and how often.
struct Plan {
    address: SocketAddr,
    tokens: Vec<String>,
    clients: usize,
    pause: Duration,
}

impl Crowd {
    /// A client for each of `tokens` and `anonymous` without; together at most `rate` requests per
    /// second at `address`.
    pub fn enter(address: SocketAddr, tokens: Vec<String>, anonymous: usize, rate: u32) -> Self {
        let clients = tokens.len() + anonymous;
        let pause = Duration::from_secs(CONNECTIONS as u64) / rate;
        let plan = Arc::new(Plan { address, tokens, clients, pause });
        let (visits, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let (theirs, stopped) = (Arc::clone(&visits), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async move {
                let connections = (0..CONNECTIONS).map(|connection| {
                    let (plan, visits) = (Arc::clone(&plan), Arc::clone(&theirs));
                    tokio::spawn(plan.run(connection, visits, Arc::clone(&stopped)))
                });
                for connection in connections.collect::<Vec<_>>() {
                    connection.await.expect("no client panics");
                }
            });
        });
        Self { clients, visits, stop, thread: Some(thread) }
    }

    /// Every request that ended so far.
    pub fn visits(&self) -> Vec<Visit> {
        self.visits.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends the clients home; every request in the order of its end.
    pub fn leave(mut self) -> Vec<Visit> {
        self.stop();
        self.visits()
    }

    fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("a client panicked");
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Plan {
    /// One connection: its clients in turn, one after the other, so that the requests of a client
    /// never overlap.
    async fn run(
        self: Arc<Self>,
        connection: usize,
        visits: Arc<Mutex<Vec<Visit>>>,
        stop: Arc<AtomicBool>,
    ) {
        let mut way = None;
        let mut clock = tokio::time::interval(self.pause);
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let turns = (0_usize..).flat_map(|round| {
            (connection..self.clients).step_by(CONNECTIONS).map(move |client| (round, client))
        });
        for (round, client) in turns {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            clock.tick().await;
            let asked = match (round + client) % 4 {
                0 => Asked::Page,
                1 => Asked::Download,
                _ => Asked::Package,
            };
            let sent = now();
            let answer = tokio::time::timeout(ANSWER_MAX, self.ask(&mut way, client, asked)).await;
            let outcome = match answer {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(error)) => Outcome::Broken(error.to_string()),
                Err(_) => Outcome::Broken("no answer".into()),
            };
            if matches!(outcome, Outcome::Broken(_)) {
                way = None;
            }
            let anonymous = client >= self.tokens.len();
            let visit = Visit { client, anonymous, asked, sent, ended: now(), outcome };
            visits.lock().unwrap_or_else(PoisonError::into_inner).push(visit);
        }
    }

    async fn ask(
        &self,
        way: &mut Option<SendRequest<Empty<Bytes>>>,
        client: usize,
        asked: Asked,
    ) -> Result<Outcome, Box<dyn std::error::Error + Send + Sync>> {
        if way.as_ref().is_none_or(SendRequest::is_closed) {
            let stream = TcpStream::connect(self.address).await?;
            stream.set_nodelay(true)?;
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            *way = Some(sender);
        }
        let sender = way.as_mut().ok_or("no connection")?;
        sender.ready().await?;
        let path = match asked {
            Asked::Page => "/".to_owned(),
            Asked::Package => format!("/{PACKAGE}"),
            Asked::Download => format!("/{PACKAGE}/-/{PACKAGE}-1.0.0.tgz"),
        };
        let request = Request::get(path).header("host", self.address.to_string());
        let request = if let Some(token) = self.tokens.get(client) {
            request.header("authorization", format!("Bearer {token}"))
        } else {
            let (high, low) = (client / 250, client % 250);
            request.header("x-forwarded-for", format!("10.7.{high}.{low}"))
        };
        let response = sender.send_request(request.body(Empty::new())?).await?;
        let status = response.status().as_u16();
        let version = response.headers().get("x-weir-version");
        let version = version.ok_or("no X-Weir-Version")?.to_str()?.to_owned();
        let body = response.into_body().collect().await?.to_bytes();
        if asked == Asked::Page && status == 200 {
            let page = String::from_utf8_lossy(&body);
            assert_eq!(maker(&page), Some(version.as_str()), "Weir names the wrong version");
        }
        if status >= 500 {
            return Ok(Outcome::Failed(status, version));
        }
        assert!([200, 304].contains(&status), "{status} for {asked:?} of client {client}");
        Ok(Outcome::Good(version))
    }
}

/// Which version made the page: 5 names itself, 6 has a script that 5 has not.
fn maker(page: &str) -> Option<&'static str> {
    if page.contains(r#""version":"5.33.0""#) {
        Some(STABLE)
    } else if page.contains("/-/static/ui-options.js") {
        Some(CANARY)
    } else {
        None
    }
}
