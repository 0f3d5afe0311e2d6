//! The admin API: orders in, answers and metrics out. It never changes state itself: it hands an
//! order to the control wing and waits.

mod answers;
pub mod api;
mod caches;
mod commands;
mod guard;
mod history;
mod notifications;
mod page;
mod plan;
mod preflight;
mod private;
mod reports;
mod routes;
mod scene;
mod sessions;
mod stream;
mod tokens;
mod trouble;
mod views;

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::clock;
use crate::control::{ANSWER_MAX, Answer, Handle, OrderError};
use crate::journal::Shelf;
use crate::metrics::Register;
use crate::metrics::curves::Curves;
use crate::metrics::exposition::Reloads;
use crate::tls::Keyring;
pub use answers::{HttpCaches, Which};
pub use caches::Caches;
pub use notifications::Notifications;
pub use preflight::Preflight;
pub use routes::openapi;
use stream::STREAMS_MAX;
pub use tokens::{Login, Role, Secret, SecretError, Token, TokenError, TokenFile, Tokens};

/// Connections at once: people, scripts and a few scrapers. More are closed unanswered.
const CONNECTIONS_MAX: usize = 256;

/// How long the head of a request may take; also how long a connection may be idle.
const HEAD_MAX: Duration = Duration::from_secs(10);

/// How long who has connected, and asked nothing yet, is waited for when the program stops: an order
/// on its way as another process takes over. Less than any drain.
const FIRST_MAX: Duration = Duration::from_secs(1);

/// Largest head of a request, in bytes. hyper's buffer cannot be smaller than 8 KiB.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Header fields of a request.
const HEADERS_MAX: usize = 64;

/// How long to rest when the system gives no connection (no more descriptors).
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Where the API listens, and who may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The address; beyond loopback reads need a token too.
    pub listen: SocketAddr,
    /// Further names under which browsers may reach it.
    pub hosts: Vec<String>,
    /// How long requests may take to end when the program stops.
    pub drain: Duration,
}

/// What the API speaks for.
#[derive(Debug)]
pub struct Program {
    /// The way to the control wing.
    pub handle: Handle,
    /// The counts.
    pub register: Arc<Register>,
    /// Who may ask.
    pub tokens: Tokens,
    /// Reads the file again.
    pub reload: Reload,
    /// How reloads went, by signal or by order.
    pub reloads: Arc<Reloads>,
    /// The certificates that are served.
    pub keyring: Arc<Keyring>,
    /// The caches.
    pub caches: Caches,
    /// The caches of answers.
    pub http_caches: HttpCaches,
    /// Those who are told what happens.
    pub notifications: Notifications,
    /// What is kept beside the events.
    pub shelf: Shelf,
    /// The checks before a rollout.
    pub preflight: Preflight,
    /// What keeps the program from serving, such as a listener that is not bound; empty: nothing.
    pub not_ready: watch::Receiver<Vec<String>>,
}

type Reloading = Pin<Box<dyn Future<Output = Result<Answer, ReloadError>> + Send>>;

/// Reads the file again and applies it.
pub struct Reload(Box<dyn Fn() -> Reloading + Send + Sync>);

impl Reload {
    /// `reload` reads the file and hands it to the control wing; its answer's sentences are the
    /// changes, like a diff.
    pub fn new<F>(reload: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Answer, ReloadError>> + Send + 'static,
    {
        Self(Box::new(move || Box::pin(reload())))
    }
}

impl fmt::Debug for Reload {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Reload(..)")
    }
}

/// Why a file was not taken over.
#[derive(Debug, Error)]
pub enum ReloadError {
    /// It is wrong; the report names every mistake. Nothing changes.
    #[error("{0}")]
    File(String),
    /// No answer yet: the file is taken over later.
    #[error(
        "no answer within {} s: the journal's disk hangs; the file is taken over as soon as the \
         journal is back",
        ANSWER_MAX.as_secs()
    )]
    NoAnswer,
    /// An open rollout forbids it, or the journal cannot be written. Nothing changes.
    #[error(transparent)]
    Order(#[from] OrderError),
}

/// The state of the handlers.
#[derive(Debug)]
struct Admin {
    handle: Handle,
    register: Arc<Register>,
    reload: Reload,
    reloads: Arc<Reloads>,
    keyring: Arc<Keyring>,
    caches: Caches,
    http_caches: HttpCaches,
    notifications: Notifications,
    shelf: Shelf,
    preflight: Preflight,
    not_ready: watch::Receiver<Vec<String>>,
    /// The last text of `/metrics`, and when it was made.
    scraped: Mutex<Option<(Instant, String)>>,
    /// What was counted over time.
    curves: Mutex<Curves>,
    /// How many fine points there were.
    drawn: watch::Sender<u64>,
    /// Places of streams.
    streams: Arc<Semaphore>,
    /// Whether the program stops.
    stopping: watch::Receiver<bool>,
}

impl Admin {
    fn new(program: Program, stopping: watch::Receiver<bool>) -> (Self, Tokens) {
        let Program { handle, register, tokens, reload, reloads, keyring, .. } = program;
        let Program { caches, http_caches, notifications, preflight, shelf, not_ready, .. } =
            program;
        let admin = Self {
            handle,
            register,
            reload,
            reloads,
            keyring,
            caches,
            http_caches,
            notifications,
            shelf,
            preflight,
            not_ready,
            scraped: Mutex::default(),
            curves: Mutex::new(Curves::new(Instant::now(), clock::wall())),
            drawn: watch::Sender::new(0),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            stopping,
        };
        (admin, tokens)
    }
}

/// Serves the API on `listener` until `shutdown` ends, then lets requests finish for
/// [`Settings::drain`].
pub async fn serve(
    listener: TcpListener,
    settings: Settings,
    program: Program,
    shutdown: impl Future<Output = ()>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (stop, stopping) = watch::channel(false);
    let (admin, tokens) = Admin::new(program, stopping.clone());
    let guard = guard::Guard::new(settings.listen, &settings.hosts, tokens);
    let admin = Arc::new(admin);
    let mut tasks = JoinSet::new();
    tasks.spawn(Arc::clone(&admin).draw());
    let router = routes::router(admin, &Arc::new(guard));
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
                        let connection = connection(stream, router.clone(), stopping.clone());
                        tokio::spawn(async move {
                            connection.await;
                            drop(place);
                        });
                    }
                }
                Err(error) => {
                    tracing::warn!("admin: no connection: {error}");
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            },
        }
    }
    drop(listener);
    let _ = stop.send(true);
    let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
    let _ = tokio::time::timeout(settings.drain, places.acquire_many(all)).await;
}

/// One connection until its end; when the program stops, until the end of its request.
async fn connection(stream: TcpStream, router: Router, mut stopping: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true);
    if !begins(&stream, stopping.clone()).await {
        return;
    }
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        biased;
        // First what has come in already: hyper would close a connection of which it has read
        // nothing.
        _ = &mut connection => return,
        _ = stopping.wait_for(|stop| *stop) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

/// Waits for the first byte; false if it does not come in time.
async fn begins(stream: &TcpStream, mut stopping: watch::Receiver<bool>) -> bool {
    let late = async {
        let _ = stopping.wait_for(|stop| *stop).await;
        tokio::time::sleep(FIRST_MAX).await;
    };
    let mut first = [0];
    tokio::select! {
        biased;
        peeked = stream.peek(&mut first) => peeked.is_ok_and(|bytes| bytes > 0),
        () = late => false,
        () = tokio::time::sleep(HEAD_MAX) => false,
    }
}
