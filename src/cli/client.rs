//! HTTP to the admin API of a running program.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::net::TcpStream;

use super::find::{Found, Key};
use super::progress::Progress;
use super::words::harmless;
use crate::admin::Secret;
use crate::admin::api::{Kind, Trouble};

/// How long a connection may take: the program is on this machine or near.
const CONNECT_MAX: Duration = Duration::from_secs(3);

/// How long an answer may take; the program itself gives up on its journal after 10 s.
const ANSWER_MAX: Duration = Duration::from_secs(15);

/// How long a program may say that another one takes over from it: it takes less than a second,
/// and some on a machine that is busy or has a large journal to read.
const HANDOVER_MAX: Duration = Duration::from_secs(10);

/// Pause between two tries then.
const HANDOVER_PAUSE: Duration = Duration::from_millis(100);

/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A running program.
#[derive(Debug)]
pub(super) struct Client {
    address: String,
    key: Key,
    /// Whether a person is told that an order takes its time.
    tells: bool,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub(super) enum AskError {
    /// Nobody listens.
    #[error(
        "nobody answers at {address} ({what}); is weir running? `weir run` starts it, --admin ADDR \
         or --config FILE says where it is"
    )]
    Nobody {
        /// Where.
        address: String,
        /// What the system says.
        what: String,
    },
    /// Somebody listens who is not Weir.
    #[error("what answers at {address} is not weir: {what}")]
    Stranger {
        /// Where.
        address: String,
        /// What is strange.
        what: String,
    },
    /// The program says no.
    #[error("{}", said(trouble, key))]
    Trouble {
        /// What it says.
        trouble: Trouble,
        /// What was sent along.
        key: Key,
    },
}

fn said(trouble: &Trouble, key: &Key) -> String {
    match (trouble.kind, key.secrets.last()) {
        (Kind::Unauthorised, Some((_, from))) => {
            format!("the token of {from} was refused: it is wrong, revoked, or of another weir")
        }
        (Kind::Unauthorised, None) => {
            format!("this needs a token and none was found; looked at {}", key.tried.join(", "))
        }
        _ => trouble.error.clone(),
    }
}

impl Client {
    pub(super) fn new(found: Found) -> Self {
        Self { address: found.address, key: found.key, tells: true }
    }

    /// The same, for somebody who has the terminal to itself.
    pub(super) fn silent(self) -> Self {
        Self { tells: false, ..self }
    }

    /// Where the program is.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Looks at something.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.parsed(&self.text(Method::GET, path, String::new(), ANSWER_MAX).await?)
    }

    /// Looks at something, as the program writes it.
    pub(super) async fn get_text(&self, path: &str) -> Result<String, AskError> {
        self.text(Method::GET, path, String::new(), ANSWER_MAX).await
    }

    /// Gives an order; `wait` is what the program may take longer for it.
    pub(super) async fn post(
        &self,
        path: &str,
        body: String,
        wait: Duration,
    ) -> Result<String, AskError> {
        let text = format!("weir at {} is at work", self.address);
        let _progress = self.tells.then(|| Progress::of(&text));
        self.text(Method::POST, path, body, ANSWER_MAX + wait).await
    }

    /// An answer, understood, and fit to be shown.
    pub(super) fn parsed<T: DeserializeOwned>(&self, text: &str) -> anyhow::Result<T> {
        let shown = serde_json::from_str(text).and_then(|mut answer| {
            harmless(&mut answer);
            serde_json::from_value(answer)
        });
        shown.with_context(|| {
            format!("what answers at {} is another version of weir than this one", self.address)
        })
    }

    async fn text(
        &self,
        method: Method,
        path: &str,
        body: String,
        answer_max: Duration,
    ) -> Result<String, AskError> {
        let mut secrets = self.key.secrets.iter().map(|(secret, _)| secret);
        let mut secret = secrets.next();
        let since = Instant::now();
        loop {
            match self.once(&method, path, &body, secret, answer_max).await {
                // Nothing came of it, and the program that takes over will answer.
                Err(AskError::Trouble { trouble, .. })
                    if trouble.kind == Kind::HandingOver && since.elapsed() < HANDOVER_MAX =>
                {
                    tokio::time::sleep(HANDOVER_PAUSE).await;
                }
                Err(AskError::Trouble { trouble, key }) if trouble.kind == Kind::Unauthorised => {
                    match secrets.next() {
                        Some(next) => secret = Some(next),
                        None => return Err(AskError::Trouble { trouble, key }),
                    }
                }
                answer => return answer,
            }
        }
    }

    async fn once(
        &self,
        method: &Method,
        path: &str,
        body: &str,
        secret: Option<&Secret>,
        answer_max: Duration,
    ) -> Result<String, AskError> {
        let exchange = self.exchange(method, path, body, secret);
        let late = |_| self.nobody(&format!("no answer within {} s", answer_max.as_secs()));
        let (status, bytes) = tokio::time::timeout(answer_max, exchange).await.map_err(late)??;
        let text = String::from_utf8(bytes.to_vec())
            .map_err(|_| self.stranger("its answer is no text"))?;
        if status == StatusCode::OK {
            return Ok(text);
        }
        match self.parsed(&text) {
            Ok(trouble) => Err(AskError::Trouble { trouble, key: self.key.clone() }),
            Err(_) => Err(self.stranger(&format!("it says {status}"))),
        }
    }

    async fn exchange(
        &self,
        method: &Method,
        path: &str,
        body: &str,
        secret: Option<&Secret>,
    ) -> Result<(StatusCode, Bytes), AskError> {
        let connect = tokio::time::timeout(CONNECT_MAX, TcpStream::connect(&self.address)).await;
        let connect = connect.map_err(|_| self.nobody("no connection within 3 s"))?;
        let stream = connect.map_err(|error| self.nobody(&error.to_string()))?;
        let broken = |error: hyper::Error| self.stranger(&error.to_string());
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(broken)?;
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.address)
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(secret) = secret {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", secret.reveal()));
        }
        let request = request
            .body(Full::new(Bytes::from(body.to_owned())))
            .map_err(|error| self.nobody(&error.to_string()))?;
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        Ok((status, body.map_err(|error| self.stranger(&error.to_string()))?.to_bytes()))
    }

    fn nobody(&self, what: &str) -> AskError {
        AskError::Nobody { address: self.address.clone(), what: what.into() }
    }

    fn stranger(&self, what: &str) -> AskError {
        AskError::Stranger { address: self.address.clone(), what: what.into() }
    }
}

/// `text` as a value of a query.
pub(super) fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut all, byte| {
        let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let _ =
            if plain { write!(all, "{}", char::from(byte)) } else { write!(all, "%{byte:02X}") };
        all
    })
}
