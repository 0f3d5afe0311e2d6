//! The authority as a web server: each question on a connection of its own, within bounds.

use std::error::Error as StdError;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Request, Uri};
use http_body_util::{BodyExt as _, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use thiserror::Error as ThisError;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::tls::explain;

/// Longest one question and its answer may take.
const REQUEST_MAX: Duration = Duration::from_secs(30);

/// Bytes of an answer; the longest is a chain of certificates.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// The way to the authority.
pub struct Client {
    tls: Arc<ClientConfig>,
}

/// Why the authority cannot be asked.
#[derive(Debug, ThisError)]
enum AskError {
    #[error("{0} is no address of an authority; write https://host/path")]
    Address(Uri),
    #[error("cannot connect to the authority at {0}: {1}")]
    Connect(String, io::Error),
    #[error("{0}")]
    Tls(String),
    #[error("the authority at {0} broke off: {1}")]
    Broken(String, Box<dyn StdError + Send + Sync>),
    #[error("the authority took longer than {} s to answer", REQUEST_MAX.as_secs())]
    Late,
}

impl Client {
    /// The way to an authority that is believed by `tls`.
    pub const fn new(tls: Arc<ClientConfig>) -> Self {
        Self { tls }
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let tls = TlsConnector::from(Arc::clone(&self.tls));
        Box::pin(async move {
            let asked = timeout(REQUEST_MAX, ask(&tls, request)).await;
            asked.unwrap_or(Err(AskError::Late)).map_err(|error| Error::Other(Box::new(error)))
        })
    }
}

async fn ask(
    tls: &TlsConnector,
    mut request: Request<BodyWrapper<Bytes>>,
) -> Result<BytesResponse, AskError> {
    let uri = request.uri().clone();
    let wrong = || AskError::Address(uri.clone());
    if uri.scheme() != Some(&Scheme::HTTPS) {
        return Err(wrong());
    }
    let authority = uri.authority().ok_or_else(wrong)?.clone();
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(host.clone()).map_err(|_| wrong())?;
    let at = authority.to_string();
    let socket = TcpStream::connect((host.as_str(), authority.port_u16().unwrap_or(443)))
        .await
        .map_err(|error| AskError::Connect(at.clone(), error))?;
    let stream = tls.connect(name, socket).await.map_err(|error| {
        let sentence = explain(&error, &at).map(AskError::Tls);
        sentence.unwrap_or(AskError::Connect(at.clone(), error))
    })?;
    let broken = |error: Box<dyn StdError + Send + Sync>| AskError::Broken(at.clone(), error);
    let path = uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(path);
    let value = HeaderValue::from_str(authority.as_str()).map_err(|_| wrong())?;
    request.headers_mut().insert(HOST, value);
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(error.into()))?;
    // Ends with this function, whichever way that ends.
    let mut served = JoinSet::new();
    served.spawn(connection);
    let response = sender.send_request(request).await.map_err(|error| broken(error.into()))?;
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(broken)?;
    Ok(BytesResponse { parts, body: Box::new(body.to_bytes()) })
}
