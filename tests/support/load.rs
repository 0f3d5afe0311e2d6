//! Clients that ask again and again until they are dropped.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::HOST;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// One kind of request, chosen by its number.
pub type Ask = Arc<dyn Fn(u64) -> Vec<(&'static str, String)> + Send + Sync>;

/// What the clients have seen.
#[derive(Default)]
pub struct Seen {
    /// Answers below 500.
    pub good: AtomicU64,
    /// Answers of 500 and above.
    pub failed: AtomicU64,
    /// Requests without an answer.
    pub broken: AtomicU64,
    /// The first few failures, for the message of a test that fails.
    pub examples: Mutex<Vec<String>>,
}

/// Running clients.
pub struct Load {
    seen: Arc<Seen>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// `connections` clients at `address`, each with a pause between two requests. `ask` gives the
    /// headers of request number n; the header `:path` is its path.
    pub fn start(address: SocketAddr, connections: u64, pause: Duration, ask: Ask) -> Self {
        let (seen, stop) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)));
        let (theirs, stopped) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async move {
                let clients = (0..connections).map(|client| {
                    let (seen, stop, ask) =
                        (Arc::clone(&theirs), Arc::clone(&stopped), Arc::clone(&ask));
                    tokio::spawn(run(address, client, connections, pause, ask, seen, stop))
                });
                for client in clients.collect::<Vec<_>>() {
                    let _ = client.await;
                }
            });
        });
        Self { seen, stop, thread: Some(thread) }
    }

    /// What they have seen.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Ends them; gives good, failed, broken, and examples of what went wrong.
    pub fn end(mut self) -> (u64, u64, u64, Vec<String>) {
        self.stop();
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let examples = self.seen.examples.lock().map(|list| list.clone()).unwrap_or_default();
        (read(&self.seen.good), read(&self.seen.failed), read(&self.seen.broken), examples)
    }

    fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn run(
    address: SocketAddr,
    client: u64,
    clients: u64,
    pause: Duration,
    ask: Ask,
    seen: Arc<Seen>,
    stop: Arc<AtomicBool>,
) {
    let mut way = None;
    let mut number = client;
    while !stop.load(Ordering::Relaxed) {
        let headers = ask(number);
        number += clients;
        let outcome =
            tokio::time::timeout(Duration::from_secs(20), visit(&mut way, address, &headers));
        let (count, example) = match outcome.await {
            Ok(Ok(status)) if status < 500 => (&seen.good, None),
            Ok(Ok(status)) => (&seen.failed, Some(format!("{status} for {headers:?}"))),
            Ok(Err(error)) => {
                way = None;
                (&seen.broken, Some(format!("{error} for {headers:?}")))
            }
            Err(_) => {
                way = None;
                (&seen.broken, Some(format!("no answer for {headers:?}")))
            }
        };
        count.fetch_add(1, Ordering::Relaxed);
        if let (Some(example), Ok(mut examples)) = (example, seen.examples.lock())
            && examples.len() < 10
        {
            examples.push(example);
        }
        tokio::time::sleep(pause).await;
    }
}

async fn visit(
    way: &mut Option<SendRequest<Empty<Bytes>>>,
    address: SocketAddr,
    headers: &[(&'static str, String)],
) -> Result<u16, Box<dyn std::error::Error + Send + Sync>> {
    if way.as_ref().is_none_or(SendRequest::is_closed) {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        *way = Some(sender);
    }
    let sender = way.as_mut().ok_or("no connection")?;
    sender.ready().await?;
    let path = headers.iter().find(|(name, _)| *name == ":path").map_or("/", |(_, path)| path);
    let mut request = Request::get(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header(HOST, address.to_string());
    }
    for (name, value) in headers.iter().filter(|(name, _)| *name != ":path") {
        request = request.header(*name, value);
    }
    let response = sender.send_request(request.body(Empty::new())?).await?;
    let status = response.status().as_u16();
    response.into_body().collect().await?;
    Ok(status)
}
