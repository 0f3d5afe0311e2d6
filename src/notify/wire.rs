//! Connections to those who are told, and one request by HTTP on each. No error shows a path: that of
//! a chat's webhook is its secret.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Trouble;
use crate::rollout::runbook::Url;
use crate::tls::{Keyring, explain, server_name};
use crate::traffic::{Address, ClientTls, Scheme, Spot};

/// Bytes of an answer that are read; silences are many where people silence a lot.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Characters of an answer that an error shows.
const SHOWN_CHARS_MAX: usize = 120;

/// A longer pause than this is not taken on another's word.
const RETRY_AFTER_MAX: Duration = Duration::from_mins(15);

/// An answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: String,
    after: Option<Duration>,
}

/// A connection.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Connects to `host`.
pub(super) async fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    let failed = |error: std::io::Error| format!("cannot connect to {host}:{port}: {error}");
    TcpStream::connect((host, port)).await.map_err(failed)
}

/// Speaks TLS on `stream`, which leads to `host`.
pub(super) async fn encrypt<S: Stream>(
    stream: S,
    (host, port): (&str, u16),
    tls: &ClientTls,
    keyring: &Keyring,
) -> Result<TlsStream<S>, String> {
    let spot = match host.parse::<IpAddr>() {
        Ok(ip) => Spot::Socket((ip, port).into()),
        Err(_) => Spot::Name(host.to_owned(), port),
    };
    let at = format!("{host}:{port}");
    let address = Address { scheme: Scheme::Https, spot };
    let config = keyring.client(tls, &[]).map_err(|error| error.to_string())?;
    let name = server_name(&address, tls)
        .ok_or_else(|| format!("{at} is no name that a certificate could be for"))?;
    let made = TlsConnector::from(config).connect(name, stream).await;
    made.map_err(|error| {
        explain(&error, &at).unwrap_or_else(|| format!("no TLS with {at}: {error}"))
    })
}

/// Asks at `url`, on a connection of its own.
pub(super) async fn ask(
    url: &Url,
    (method, path): (Method, &str),
    headers: HeaderMap,
    body: String,
    (tls, keyring): (&ClientTls, &Keyring),
) -> Result<Answer, String> {
    let (host, port) = (url.host(), url.port());
    let tcp = connect(host, port).await?;
    let stream: Box<dyn Stream> = if url.is_tls() {
        Box::new(encrypt(tcp, (host, port), tls, keyring).await?)
    } else {
        Box::new(tcp)
    };
    let broken = |error: hyper::Error| format!("{host}:{port} broke off: {error}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // Ends with this function, whichever way that ends.
    let mut served = JoinSet::new();
    served.spawn(async { drop(connection.await) });
    let authority = url.uri().authority().map_or_else(String::new, ToString::to_string);
    let mut request = Request::new(Full::new(Bytes::from(body)));
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().map_err(|_| "the path is none".to_owned())?;
    *request.headers_mut() = headers;
    let fields = request.headers_mut();
    let host_field = HeaderValue::try_from(authority).map_err(|error| error.to_string())?;
    fields.insert(HOST, host_field);
    let agent = concat!("weir/", env!("CARGO_PKG_VERSION"));
    fields.insert(USER_AGENT, HeaderValue::from_static(agent));
    let (parts, body) = sender.send_request(request).await.map_err(broken)?.into_parts();
    let read = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    let body = read.map_err(|error| format!("the answer of {host}:{port}: {error}"))?.to_bytes();
    let after = parts.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let after = after.map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(Answer { status: parts.status, body, after })
}

/// Headers of a request with a body.
pub(super) fn content(kind: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers
}

impl Answer {
    /// Whether what was asked is done; else whether to ask again.
    pub(super) fn is_done(&self, host: &str) -> Result<(), Trouble> {
        if self.status.is_success() {
            return Ok(());
        }
        let line: String = self.body.lines().next().unwrap_or_default().trim().to_owned();
        let line: String = line.chars().filter(|c| !c.is_control()).take(SHOWN_CHARS_MAX).collect();
        let said = if line.is_empty() { String::new() } else { format!(": {line}") };
        let what = format!("{host} says {}{said}", self.status);
        let refused = [
            StatusCode::BAD_REQUEST,
            StatusCode::PAYLOAD_TOO_LARGE,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            StatusCode::UNPROCESSABLE_ENTITY,
        ];
        let is_final = refused.contains(&self.status);
        Err(Trouble { what, is_final, after: self.after })
    }
}

/// `work`, if it is done in time.
pub(super) async fn in_time<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Trouble>>,
) -> Result<T, Trouble> {
    let late = || Trouble::passing(format!("no answer within {} s", limit.as_secs_f64()));
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(late()))
}
