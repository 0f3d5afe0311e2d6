//! Questions by HTTP: each on a connection of its own, within bounds.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, LOCATION, MAX_FORWARDS, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{Occasion, Settings};
use crate::rollout::runbook::{Http, Step, Url};
use crate::tls::{Keyring, explain, server_name};
use crate::traffic::{Address, ClientTls, Scheme, Spot};

/// Bytes of an answer that are looked at; a version stands in the first.
const BODY_BYTES_MAX: usize = 64 << 10;

/// How long whoever stands in front may take to say how it sees a client.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Characters of an answer that a sentence shows.
const SHOWN_CHARS_MAX: usize = 200;

/// The first bytes of a connection that say that it is nobody's but ours: PROXY protocol, version
/// 2, LOCAL.
const PROXY_LOCAL: &[u8; 16] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// Who is asked, and how.
pub(super) struct Peer {
    pub(super) address: Address,
    pub(super) tls: Arc<ClientTls>,
    pub(super) proxy_protocol: bool,
}

/// What is asked.
pub(super) struct Question {
    pub(super) method: Method,
    /// What stands in Host.
    pub(super) host: String,
    /// Path and query.
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// An answer; of its body the first `BODY_BYTES_MAX`.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Peer {
    /// Where `url` leads.
    pub(super) fn of(url: &Url) -> Self {
        let scheme = if url.is_tls() { Scheme::Https } else { Scheme::Http };
        let (host, port) = (url.host(), url.port());
        let spot = match host.parse::<IpAddr>() {
            Ok(ip) => Spot::Socket((ip, port).into()),
            Err(_) => Spot::Name(host.to_owned(), port),
        };
        let address = Address { scheme, spot };
        Self { address, tls: Arc::default(), proxy_protocol: false }
    }
}

impl Question {
    /// A question without a body.
    pub(super) fn get(host: &str, path: &str) -> Self {
        Self {
            method: Method::GET,
            host: host.to_owned(),
            path: path.to_owned(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }
}

/// Makes the request of a step: what is to be said of it.
pub(super) async fn request(
    http: &Http,
    occasion: &Occasion,
    step: &Step,
    settings: &Settings,
) -> Result<String, String> {
    let uri = http.url.uri();
    let method = Method::from_bytes(http.method.as_bytes()).map_err(|error| error.to_string())?;
    let template = http.body.as_deref().unwrap_or_default();
    let body = occasion.filled(template, &step.name);
    let mut headers = HeaderMap::new();
    if template.trim_start().starts_with(['{', '[']) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    for (name, value) in &http.headers {
        let wrong = |_| format!("the value of {name} cannot stand in a header");
        let mut value = HeaderValue::try_from(outside(name, value)?).map_err(wrong)?;
        value.set_sensitive(true);
        let name = http::HeaderName::try_from(name.as_str()).map_err(|error| error.to_string())?;
        headers.insert(name, value);
    }
    let host = uri.authority().map_or_else(String::new, ToString::to_string);
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
    let question = Question { method, host, path, headers, body: body.into() };
    let answer = ask(&Peer::of(&http.url), question, &settings.keyring).await?;
    let expected = match http.expect {
        Some(status) => answer.status.as_u16() == status,
        None => answer.status.is_success(),
    };
    if expected { Ok(answer.status.to_string()) } else { Err(answer.said()) }
}

/// The value of a header, from outside where it names a variable.
fn outside(name: &str, value: &str) -> Result<String, String> {
    let Some(variable) = value.strip_prefix("env:") else { return Ok(value.to_owned()) };
    std::env::var(variable)
        .map_err(|_| format!("the header {name} wants the variable {variable}, which is not set"))
}

/// Whether `url` answers.
pub(super) async fn answers(url: &Url, keyring: &Keyring) -> Result<String, String> {
    let uri = url.uri();
    let host = uri.authority().map_or_else(String::new, ToString::to_string);
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let answer = ask(&Peer::of(url), Question::get(&host, path), keyring).await?;
    if answer.status.is_success() {
        Ok(format!("{url} says {}", answer.status))
    } else {
        Err(format!("{url} says {}", answer.said()))
    }
}

/// How the client looks to the Weir behind `url`.
pub(super) async fn seen_behind(url: &Url, keyring: &Keyring) -> Result<String, String> {
    let uri = url.uri();
    let host = uri.authority().map_or_else(String::new, ToString::to_string);
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let mut question = Question { method: Method::OPTIONS, ..Question::get(&host, path) };
    question.headers.insert(MAX_FORWARDS, HeaderValue::from_static("0"));
    let asked = timeout(ANSWER_MAX, ask(&Peer::of(url), question, keyring)).await;
    let late = || format!("{url} gives no answer within {} s", ANSWER_MAX.as_secs());
    let answer = asked.map_err(|_| late())??;
    if answer.status.is_success() && answer.body.starts_with("weir\n") {
        return Ok(answer.body);
    }
    Err(format!("{url} says {}, and not what a weir says", answer.said()))
}

/// Asks `peer`.
pub(super) async fn ask(
    peer: &Peer,
    question: Question,
    keyring: &Keyring,
) -> Result<Answer, String> {
    let at = peer.address.to_string();
    let stream = encrypted(peer, connect(peer).await?, keyring).await?;
    let broken = |error: hyper::Error| format!("{at} broke off: {error}");
    // Ends with this function, whichever way that ends.
    let mut served = JoinSet::new();
    let io = TokioIo::new(stream);
    let wrong = |error: http::Error| format!("this cannot be asked: {error}");
    let response = if peer.address.scheme == Scheme::H2c {
        let made = http2::handshake(TokioExecutor::new(), io).await;
        let (mut sender, connection) = made.map_err(broken)?;
        served.spawn(async { drop(connection.await) });
        let target = format!("http://{}{}", question.host, question.path);
        sender.send_request(question.made(target).map_err(wrong)?).await
    } else {
        let (mut sender, connection) = http1::handshake(io).await.map_err(broken)?;
        served.spawn(async { drop(connection.await) });
        let (path, host) = (question.path.clone(), HeaderValue::try_from(&question.host));
        let mut request = question.made(path).map_err(wrong)?;
        let host = host.map_err(|error| error.to_string())?;
        request.headers_mut().insert(HOST, host);
        sender.send_request(request).await
    };
    let (parts, body) = response.map_err(broken)?.into_parts();
    Ok(Answer { status: parts.status, headers: parts.headers, body: beginning(body).await })
}

/// A connection to `peer`.
pub(super) async fn connect(peer: &Peer) -> Result<Box<dyn Stream>, String> {
    let nobody = |error: io::Error| format!("cannot connect to {}: {error}", peer.address);
    let stream: io::Result<Box<dyn Stream>> = match &peer.address.spot {
        Spot::Name(host, port) => {
            TcpStream::connect((host.as_str(), *port)).await.map(|stream| Box::new(stream) as _)
        }
        Spot::Socket(socket) => {
            TcpStream::connect(socket).await.map(|stream| Box::new(stream) as _)
        }
        Spot::Unix(path) => UnixStream::connect(path).await.map(|stream| Box::new(stream) as _),
    };
    let mut stream = stream.map_err(nobody)?;
    if peer.proxy_protocol {
        stream.write_all(PROXY_LOCAL).await.map_err(nobody)?;
    }
    Ok(stream)
}

async fn encrypted(
    peer: &Peer,
    stream: Box<dyn Stream>,
    keyring: &Keyring,
) -> Result<Box<dyn Stream>, String> {
    if !peer.address.is_tls() {
        return Ok(stream);
    }
    let at = peer.address.to_string();
    let config = keyring.client(&peer.tls, &[b"http/1.1"]).map_err(|error| error.to_string())?;
    let name = server_name(&peer.address, &peer.tls)
        .ok_or_else(|| format!("{at} has no name that its certificate could be for"))?;
    let made = TlsConnector::from(config).connect(name, stream).await;
    let stream = made.map_err(|error| {
        explain(&error, &at).unwrap_or_else(|| format!("no TLS with {at}: {error}"))
    })?;
    Ok(Box::new(stream))
}

/// The first bytes of a body, as text.
async fn beginning(mut body: Incoming) -> String {
    let mut bytes = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data.as_ref()));
        if bytes.len() >= BODY_BYTES_MAX {
            bytes.truncate(BODY_BYTES_MAX);
            break;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Question {
    fn made(self, target: String) -> Result<Request<Full<Bytes>>, http::Error> {
        let mut request = Request::new(Full::new(self.body));
        *request.method_mut() = self.method;
        *request.uri_mut() = Uri::try_from(target)?;
        let agent = concat!("weir/", env!("CARGO_PKG_VERSION"));
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(agent));
        request.headers_mut().extend(self.headers);
        Ok(request)
    }
}

impl Answer {
    /// The status, and the beginning of what was said with it.
    pub(super) fn said(&self) -> String {
        let status = self.status;
        if let Some(to) = self.headers.get(LOCATION).and_then(|to| to.to_str().ok()) {
            return format!("{status}, to {}", shown(to));
        }
        let line = shown(self.body.trim().lines().next().unwrap_or_default());
        if line.is_empty() { status.to_string() } else { format!("{status}: {line}") }
    }
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(SHOWN_CHARS_MAX).collect()
}
