//! A small HTTP/2 server, with or without TLS, that does what its path says.
//!
//! `/echo` sends back what comes, piece by piece, with a trailer that says how many bytes it were,
//! and one for each trailer that came. `/` and any other path answer 200 with the head that came in.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use super::certificates::Signed;
use super::secure;

/// A server that runs until it is dropped.
pub struct Http2 {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it has seen, and its dials.
    pub state: Arc<State>,
    stop: Option<oneshot::Sender<()>>,
}

/// What a server has seen, and its dials.
#[derive(Default)]
pub struct State {
    /// Connections so far.
    pub connections: AtomicU64,
    /// Connections that are open.
    pub open: AtomicU64,
    /// Requests so far, refused ones included.
    pub requests: AtomicU64,
    /// Streams at once, and the most there were.
    pub streams: AtomicUsize,
    /// The most streams there were on all connections at once.
    pub streams_seen: AtomicUsize,
    /// So many of the next streams are refused, unprocessed.
    pub refusing: AtomicU64,
    /// Takes its leave (GOAWAY) after the next request of each connection.
    pub leaving: AtomicU64,
    /// Bytes of bodies that came in and were not sent back.
    pub bytes: AtomicU64,
    /// Bodies of these that came to their end.
    pub whole: AtomicU64,
    /// The heads that came in.
    pub heads: Mutex<Vec<String>>,
}

impl Http2 {
    /// Starts one that takes `streams` on a connection at once.
    pub fn start(streams: u32) -> Self {
        Self::start_with(streams, None)
    }

    /// The same with TLS and the certificate `signed`; it speaks nothing but HTTP/2.
    pub fn start_secure(streams: u32, signed: &Signed) -> Self {
        let mut config = secure::server(signed, None);
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self::start_with(streams, Some(TlsAcceptor::from(Arc::new(config))))
    }

    fn start_with(streams: u32, tls: Option<TlsAcceptor>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<State>::default();
        let shared = Arc::clone(&state);
        let (stop, stopped) = oneshot::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    () = accept(&listener, tls.as_ref(), streams, &shared) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address, state, stop: Some(stop) }
    }

    /// The head of the last request.
    pub fn last_head(&self) -> String {
        self.state.heads.lock().unwrap().last().cloned().unwrap_or_default()
    }
}

impl Drop for Http2 {
    fn drop(&mut self) {
        self.stop.take().map(|stop| stop.send(()));
    }
}

async fn accept(
    listener: &TcpListener,
    tls: Option<&TlsAcceptor>,
    streams: u32,
    state: &Arc<State>,
) {
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let (state, tls) = (Arc::clone(state), tls.cloned());
        tokio::spawn(async move {
            state.connections.fetch_add(1, Ordering::SeqCst);
            state.open.fetch_add(1, Ordering::SeqCst);
            match tls {
                None => speak(socket, streams, &state).await,
                Some(tls) => {
                    if let Ok(socket) = tls.accept(socket).await {
                        speak(socket, streams, &state).await;
                    }
                }
            }
            state.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

/// Serves one connection until it ends.
async fn speak<S: AsyncRead + AsyncWrite + Unpin>(socket: S, streams: u32, state: &Arc<State>) {
    let mut builder = server::Builder::new();
    builder.max_concurrent_streams(streams).enable_connect_protocol();
    let Ok(mut connection) = builder.handshake::<_, Bytes>(socket).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let is_check = request.uri().path() == "/health";
        if !is_check && state.leaving.load(Ordering::SeqCst) > 0 {
            connection.graceful_shutdown();
        }
        let refuses = |left: u64| left.checked_sub(1);
        let refusing = &state.refusing;
        if !is_check && refusing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, refuses).is_ok() {
            state.requests.fetch_add(1, Ordering::SeqCst);
            respond.send_reset(Reason::REFUSED_STREAM);
            continue;
        }
        tokio::spawn(serve(request, respond, Arc::clone(state)));
    }
}

async fn serve(request: Request<RecvStream>, mut respond: SendResponse<Bytes>, state: Arc<State>) {
    let (head, body) = request.into_parts();
    if head.uri.path() == "/health" {
        _ = respond.send_response(Response::new(()), true);
        return;
    }
    state.requests.fetch_add(1, Ordering::SeqCst);
    let text = format!("{} {}\n{:#?}", head.method, head.uri, head.headers);
    state.heads.lock().unwrap().push(text.clone());
    let streams = state.streams.fetch_add(1, Ordering::SeqCst) + 1;
    state.streams_seen.fetch_max(streams, Ordering::SeqCst);
    let number = head.uri.query().and_then(|query| query.parse().ok()).unwrap_or(0);
    answer(head.uri.path(), number, (&text, &state), body, &mut respond).await;
    state.streams.fetch_sub(1, Ordering::SeqCst);
}

async fn answer(
    path: &str,
    number: u64,
    (text, state): (&str, &State),
    mut body: RecvStream,
    respond: &mut SendResponse<Bytes>,
) {
    match path {
        // A WebSocket (RFC 8441).
        "/socket" => {
            let response = Response::builder().header("sec-websocket-protocol", "chat").body(());
            let send = respond.send_response(response.unwrap(), false).unwrap();
            echo(body, send).await;
        }
        "/refuse" => {
            let response = Response::builder().status(403).body(()).unwrap();
            _ = respond.send_response(response, true);
        }
        "/echo" => {
            let response = Response::builder().header("trailer", "x-bytes, x-came").body(());
            let send = respond.send_response(response.unwrap(), false).unwrap();
            echo(body, send).await;
        }
        // As gRPC does when there is nothing to say.
        "/only-trailers" => {
            let response = Response::builder().header("grpc-status", "5").body(());
            _ = respond.send_response(response.unwrap(), true);
        }
        "/reset" => respond.send_reset(Reason::INTERNAL_ERROR),
        // Answers, and wants no more of the request.
        "/enough" => {
            let mut send = respond.send_response(Response::new(()), false).unwrap();
            // What is not read of the request is reset without an error.
            _ = send.send_data(Bytes::from_static(b"enough"), true);
        }
        "/cut" => {
            let mut send = respond.send_response(Response::new(()), false).unwrap();
            _ = send.send_data(Bytes::from_static(b"half"), false);
            tokio::time::sleep(Duration::from_millis(100)).await;
            send.send_reset(Reason::INTERNAL_ERROR);
        }
        "/hang" => {
            _ = poll_fn(|cx| respond.poll_reset(cx)).await;
        }
        "/slow" => {
            tokio::time::sleep(Duration::from_millis(number)).await;
            answer_whole(respond, Bytes::from_static(b"slow")).await;
        }
        "/big" => answer_whole(respond, vec![b'x'; usize::try_from(number).unwrap()].into()).await,
        _ => {
            let (bytes, whole) = drain(&mut body).await;
            state.bytes.fetch_add(bytes as u64, Ordering::SeqCst);
            state.whole.fetch_add(u64::from(whole), Ordering::SeqCst);
            answer_whole(respond, format!("{text}\n{bytes} bytes").into()).await;
        }
    }
}

/// Reads a body; gives how long it was and whether it came to its end.
async fn drain(body: &mut RecvStream) -> (usize, bool) {
    let mut bytes = 0;
    while let Some(data) = body.data().await {
        let Ok(data) = data else { return (bytes, false) };
        bytes += data.len();
        _ = body.flow_control().release_capacity(data.len());
    }
    (bytes, true)
}

async fn answer_whole(respond: &mut SendResponse<Bytes>, bytes: Bytes) {
    let response = Response::builder().header("content-length", bytes.len()).body(()).unwrap();
    if let Ok(mut send) = respond.send_response(response, false) {
        write(&mut send, bytes, true).await;
    }
}

async fn write(send: &mut SendStream<Bytes>, mut bytes: Bytes, ends: bool) -> bool {
    while !bytes.is_empty() {
        send.reserve_capacity(bytes.len());
        let Some(Ok(room)) = poll_fn(|cx| send.poll_capacity(cx)).await else { return false };
        let part = bytes.split_to(room.min(bytes.len()));
        if send.send_data(part, ends && bytes.is_empty()).is_err() {
            return false;
        }
    }
    true
}

async fn echo(mut body: RecvStream, mut send: SendStream<Bytes>) {
    let mut total = 0;
    while let Some(piece) = body.data().await {
        let Ok(piece) = piece else { return send.send_reset(Reason::CANCEL) };
        total += piece.len();
        _ = body.flow_control().release_capacity(piece.len());
        if !write(&mut send, piece, false).await {
            return;
        }
    }
    let came = body.trailers().await.ok().flatten().unwrap_or_default();
    let came: Vec<String> = came.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    let mut trailers = HeaderMap::new();
    trailers.insert(HeaderName::from_static("x-bytes"), HeaderValue::from(total));
    trailers.insert(HeaderName::from_static("x-came"), came.join(" ").parse().unwrap());
    _ = send.send_trailers(trailers);
}
