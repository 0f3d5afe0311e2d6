//! Asking a web server for one page, within bounds.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::tls::{Keyring, explain};
use crate::traffic::ClientTls;

/// Longest one question and its answer may take: what is slower is silent.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Bytes of an answer; large exporters show some megabytes.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// The address of a server, and what stands before the paths that are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    secure: bool,
    authority: Authority,
    /// Begins with a slash, or is empty.
    path: String,
}

/// What is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EndpointError {
    /// Neither http nor https.
    #[error("it begins with neither http:// nor https://")]
    Scheme,
    /// No URL.
    #[error("it is no address")]
    Form,
    /// A name or password would be shown wherever the address is.
    #[error("it has a name or a password in it")]
    Secret,
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let uri: Uri = text.parse().map_err(|_| EndpointError::Form)?;
        let secure = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(_) | None => return Err(EndpointError::Scheme),
        };
        let authority = uri.authority().cloned().ok_or(EndpointError::Form)?;
        if authority.as_str().contains('@') {
            return Err(EndpointError::Secret);
        }
        let path = uri.path_and_query().map_or("", |path| path.as_str());
        Ok(Self { secure, authority, path: path.trim_end_matches('/').to_owned() })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(out, "{scheme}://{}{}", self.authority, self.path)
    }
}

impl Endpoint {
    fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or(if self.secure { 443 } else { 80 })
    }

    fn host(&self) -> &str {
        self.authority.host().trim_start_matches('[').trim_end_matches(']')
    }
}

/// Why a page cannot be had.
#[derive(Debug, Error)]
pub(super) enum AskError {
    #[error("cannot connect to {0}: {1}")]
    Connect(String, io::Error),
    #[error("{0}")]
    Tls(String),
    #[error("{0} broke off: {1}")]
    Broken(String, String),
    #[error("{0} answered {1}{2}")]
    Status(String, u16, String),
    #[error("{0} took longer than {max} s to answer", max = ANSWER_MAX.as_secs())]
    Late(String),
    #[error("{0} answered with something that is no text")]
    Text(String),
    #[error("the token holds something that no header may")]
    Token,
}

/// Asks.
#[derive(Clone, Debug)]
pub(super) struct Client {
    keyring: Arc<Keyring>,
}

/// One question.
pub(super) struct Question<'a> {
    pub(super) endpoint: &'a Endpoint,
    /// What comes after the path of the endpoint.
    pub(super) path: &'a str,
    /// A form to post; none: the page is read.
    pub(super) form: Option<String>,
    pub(super) token: Option<&'a str>,
}

impl Client {
    pub(super) fn new(keyring: &Arc<Keyring>) -> Self {
        Self { keyring: Arc::clone(keyring) }
    }

    /// The body of a good answer. Of a bad one the first words are told.
    pub(super) async fn ask(&self, question: Question<'_>) -> Result<String, AskError> {
        let at = question.endpoint.to_string();
        let asked = timeout(ANSWER_MAX, self.asked(&question, &at)).await;
        asked.unwrap_or(Err(AskError::Late(at)))
    }

    async fn asked(&self, question: &Question<'_>, at: &str) -> Result<String, AskError> {
        let endpoint = question.endpoint;
        let connect = |error| AskError::Connect(at.to_owned(), error);
        let socket =
            TcpStream::connect((endpoint.host(), endpoint.port())).await.map_err(connect)?;
        if !endpoint.secure {
            return exchange(socket, question, at).await;
        }
        let tls = self.keyring.client(&ClientTls::default(), &[b"http/1.1"]);
        let tls = tls.map_err(|error| AskError::Tls(error.to_string()))?;
        let name = ServerName::try_from(endpoint.host().to_owned()).map_err(|_| {
            AskError::Tls(format!("{at} has no name that a certificate can be for"))
        })?;
        let stream = TlsConnector::from(tls)
            .connect(name, socket)
            .await
            .map_err(|error| explain(&error, at).map_or_else(|| connect(error), AskError::Tls))?;
        exchange(stream, question, at).await
    }
}

async fn exchange<S>(stream: S, question: &Question<'_>, at: &str) -> Result<String, AskError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let broken = |error: &dyn fmt::Display| AskError::Broken(at.to_owned(), error.to_string());
    let request = request(question)?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    // Ends with this function, whichever way that ends.
    let mut served = JoinSet::new();
    served.spawn(connection);
    let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|error| broken(&error))?.to_bytes();
    if !parts.status.is_success() {
        let words = first_words(&body);
        return Err(AskError::Status(at.to_owned(), parts.status.as_u16(), words));
    }
    String::from_utf8(body.into()).map_err(|_| AskError::Text(at.to_owned()))
}

fn request(question: &Question<'_>) -> Result<Request<Full<Bytes>>, AskError> {
    let Question { endpoint, path, form, token } = question;
    let path = format!("{}{path}", endpoint.path);
    let path = if path.starts_with('/') { path } else { format!("/{path}") };
    let broken = |_| AskError::Text(endpoint.to_string());
    let method = if form.is_some() { Method::POST } else { Method::GET };
    let builder = Request::builder().method(method).uri(path);
    let mut builder = builder.header(HOST, endpoint.authority.as_str());
    if form.is_some() {
        builder = builder.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    }
    if let Some(token) = token {
        let value = HeaderValue::try_from(format!("Bearer {token}"));
        let mut value = value.map_err(|_| AskError::Token)?;
        value.set_sensitive(true);
        builder = builder.header(AUTHORIZATION, value);
    }
    builder.body(Full::from(form.clone().unwrap_or_default())).map_err(broken)
}

/// What a server says that refuses: the beginning of it, on one line.
fn first_words(body: &[u8]) -> String {
    /// Enough to tell what is wrong.
    const WORDS_MAX: usize = 120;
    let text = String::from_utf8_lossy(&body[..body.len().min(4 * WORDS_MAX)]);
    let line = text.split(char::is_control).map(str::trim).find(|line| !line.is_empty());
    line.map(|line| format!(": {}", line.chars().take(WORDS_MAX).collect::<String>()))
        .unwrap_or_default()
}

/// `text` as a part of a form.
pub(super) fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_as_they_are_asked() {
        let endpoint: Endpoint = "https://prometheus.test/mimir/".parse().unwrap();
        assert_eq!(endpoint.to_string(), "https://prometheus.test/mimir");
        assert_eq!((endpoint.host(), endpoint.port()), ("prometheus.test", 443));
        let endpoint: Endpoint = "http://[::1]:9090".parse().unwrap();
        assert_eq!((endpoint.host(), endpoint.port()), ("::1", 9090));
        let wrong = [
            ("prometheus:9090", EndpointError::Scheme),
            ("http://a b", EndpointError::Form),
            ("ftp://prometheus", EndpointError::Scheme),
            ("/metrics", EndpointError::Scheme),
            ("http://me:secret@prometheus", EndpointError::Secret),
        ];
        for (text, why) in wrong {
            assert_eq!(text.parse::<Endpoint>(), Err(why), "{text}");
        }
    }

    #[test]
    fn a_question_is_a_form() {
        assert_eq!(encoded("sum(a{b=\"1.1\"}) + 1"), "sum%28a%7Bb%3D%221.1%22%7D%29%20%2B%201");
    }

    #[test]
    fn of_a_refusal_the_first_words_are_told() {
        assert_eq!(first_words(b"\r\n <html>\n<body>"), ": <html>");
        assert_eq!(
            first_words(&[0xff; 9]),
            ": \u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}"
        );
        assert_eq!(first_words(b""), "");
    }
}
