//! The server behind a cache, and how a connection to it is made.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::Kind;
use super::encrypted::Encrypted;
use crate::namespace::redis::Credentials;
use crate::namespace::resp::{self, Value};
use crate::traffic::{Address, Spot};

/// How long a connection may take: a server on the same network needs a thousandth.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Longest answer to a question of Weir's own: a page of keys.
const ANSWER_MAX: usize = 64 << 20;

/// Longest answer to a login: one line.
const LOGIN_ANSWER_MAX: usize = 1024;

/// Where a server is, and what it lets Weir in with.
#[derive(Clone, PartialEq)]
pub struct Server {
    /// What is spoken there.
    pub kind: Kind,
    /// Where.
    pub spot: Spot,
    /// What Weir says there before the client does; none: the client says it itself.
    pub credentials: Option<Credentials>,
    /// How TLS is spoken there, if it is.
    pub encrypted: Option<Encrypted>,
}

impl fmt::Debug for Server {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Server({self})")
    }
}

/// Without the password.
impl fmt::Display for Server {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = if self.credentials.is_some() { "(hidden)@" } else { "" };
        let scheme = if self.encrypted.is_some() { "rediss" } else { self.kind.name() };
        write!(out, "{scheme}://{hidden}{}", self.spot)
    }
}

/// Why a text is no server. It does not show the text, which may hold a password.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ServerError {
    /// TLS on a Unix socket.
    #[error("a Unix socket needs no TLS; write redis://unix:...")]
    Tls,
    /// A password for memcached.
    #[error(
        "memcached knows nobody by a password alone; write \"memcached://user:password@cache.internal\", or leave both to the app"
    )]
    Password,
    /// An empty password.
    #[error(
        "there is no password before the @; write \"redis://:password@cache.internal\" or \"redis://user:password@cache.internal\", or leave out what stands before cache.internal"
    )]
    Nobody,
    /// A database in the path.
    #[error("the database belongs to the app's own URL; leave the path out")]
    Database,
    /// Anything else.
    #[error(
        "write \"redis://127.0.0.1:6379\", \"rediss://:password@cache.internal:6379\", \"redis://unix:/run/redis.sock\" or \"memcached://127.0.0.1:11211\""
    )]
    Form,
}

impl FromStr for Server {
    type Err = ServerError;

    fn from_str(text: &str) -> Result<Self, ServerError> {
        let (kind, encrypted, rest) = match text.split_once("://") {
            Some(("redis", rest)) => (Kind::Redis, None, rest),
            Some(("rediss", rest)) => (Kind::Redis, Some(Encrypted::default()), rest),
            Some(("memcached", rest)) => (Kind::Memcached, None, rest),
            Some(_) | None => return Err(ServerError::Form),
        };
        let (who, place) = match rest.rsplit_once('@') {
            Some((who, place)) => (Some(who), place),
            None => (None, rest),
        };
        let place = place.strip_suffix('/').unwrap_or(place);
        if !place.starts_with("unix:") && place.contains('/') {
            return Err(ServerError::Database);
        }
        let with_port = if place.starts_with("unix:")
            || place.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok())
        {
            place.to_owned()
        } else {
            format!("{place}:{}", kind.port())
        };
        let address: Address = with_port.parse().map_err(|_| ServerError::Form)?;
        let who = who.map(|who| who.split_once(':').unwrap_or(("", who)));
        if kind == Kind::Redis && who.is_some_and(|(_, password)| password.is_empty()) {
            return Err(ServerError::Nobody);
        }
        let credentials = who.map(|(user, password)| {
            let words = [user, password].map(unescaped);
            Credentials(words.into_iter().filter(|word| !word.is_empty()).collect())
        });
        if encrypted.is_some() && matches!(address.spot, Spot::Unix(_)) {
            return Err(ServerError::Tls);
        }
        if kind == Kind::Memcached && credentials.as_ref().is_some_and(|words| words.0.len() != 2) {
            return Err(ServerError::Password);
        }
        Ok(Self { kind, spot: address.spot, credentials, encrypted })
    }
}

/// `%40` is `@`.
fn unescaped(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let digit = |byte: &u8| (*byte as char).to_digit(16);
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let code =
            match (bytes[at], bytes.get(at + 1).and_then(digit), bytes.get(at + 2).and_then(digit))
            {
                (b'%', Some(high), Some(low)) => u8::try_from(high * 16 + low).ok(),
                _ => None,
            };
        out.push(code.unwrap_or(bytes[at]));
        at += if code.is_some() { 3 } else { 1 };
    }
    out
}

/// A connection to a server.
#[derive(Debug)]
pub enum Link {
    /// By TCP.
    Tcp(TcpStream),
    /// By TLS.
    Tls(Box<TlsStream<TcpStream>>),
    /// By a Unix socket.
    Unix(UnixStream),
}

impl Server {
    /// Connects, and says who Weir is if the file knows.
    ///
    /// # Errors
    /// As a sentence: who refused.
    pub async fn connect(&self) -> io::Result<Link> {
        self.connect_as(self.credentials.as_ref()).await
    }

    /// The same with the `credentials` of somebody.
    pub async fn connect_as(&self, credentials: Option<&Credentials>) -> io::Result<Link> {
        let wrong = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot reach {self}: {error}"))
        };
        let connect = async {
            let mut link = match &self.spot {
                Spot::Socket(address) => self.tcp(TcpStream::connect(address).await?).await?,
                Spot::Name(host, port) => {
                    self.tcp(TcpStream::connect((host.as_str(), *port)).await?).await?
                }
                Spot::Unix(path) => Link::Unix(UnixStream::connect(path).await?),
            };
            if let Some(Credentials(words)) = credentials
                && self.kind == Kind::Memcached
            {
                link.log_in(words).await?;
            } else if let Some(Credentials(words)) = credentials {
                let words: Vec<&[u8]> =
                    std::iter::once(&b"AUTH"[..]).chain(words.iter().map(Vec::as_slice)).collect();
                if let Value::Error(error) = link.ask(&resp::command(&words)).await? {
                    let error = String::from_utf8_lossy(&error).into_owned();
                    return Err(io::Error::new(io::ErrorKind::PermissionDenied, error));
                }
            }
            Ok(link)
        };
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "it took too long");
        timeout(CONNECT_MAX, connect).await.map_err(late).and_then(|done| done).map_err(wrong)
    }
}

impl Server {
    async fn tcp(&self, socket: TcpStream) -> io::Result<Link> {
        socket.set_nodelay(true)?;
        socket2::SockRef::from(&socket).set_keepalive(true)?;
        Ok(match &self.encrypted {
            None => Link::Tcp(socket),
            Some(encrypted) => Link::Tls(Box::new(encrypted.begin(&self.spot, socket).await?)),
        })
    }
}

impl Link {
    /// Logs in to a memcached, in text.
    async fn log_in(&mut self, words: &[Vec<u8>]) -> io::Result<()> {
        let login = words.join(&b' ');
        let order = format!("set login 0 0 {}\r\n", login.len());
        self.write_all(&[order.as_bytes(), &login, b"\r\n"].concat()).await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\n") && answer.len() <= LOGIN_ANSWER_MAX {
            if self.read_buf(&mut answer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        if answer.starts_with(b"STORED") {
            return Ok(());
        }
        let answer = String::from_utf8_lossy(&answer).trim().to_owned();
        Err(io::Error::new(io::ErrorKind::PermissionDenied, answer))
    }

    /// Asks one question and waits for the answer.
    pub async fn ask(&mut self, question: &[u8]) -> io::Result<Value> {
        self.write_all(question).await?;
        self.flush().await?;
        let mut answer = Vec::new();
        loop {
            match Value::parse(&answer) {
                Ok(Some((value, _))) => return Ok(value),
                Ok(None) if answer.len() <= ANSWER_MAX => {}
                Ok(None) => return Err(io::Error::other("its answer is too long")),
                Err(error) => return Err(io::Error::other(error)),
            }
            if self.read_buf(&mut answer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

impl AsyncRead for Link {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_read(cx, into),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, into),
            Self::Unix(socket) => Pin::new(socket).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Link {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(socket) => Pin::new(socket).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Unix(socket) => Pin::new(socket).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tcp(_) | Self::Unix(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_read_as_urls_and_show_no_password() {
        let server = |text: &str| text.parse::<Server>().unwrap();
        assert_eq!(server("redis://127.0.0.1:6379").to_string(), "redis://127.0.0.1:6379");
        assert_eq!(server("redis://cache/").to_string(), "redis://cache:6379");
        assert_eq!(server("redis://unix:/run/r.sock").to_string(), "redis://unix:/run/r.sock");
        let closed = server("redis://:p%40ss@h:1");
        assert_eq!(closed.credentials, Some(Credentials(vec![b"p@ss".to_vec()])));
        assert_eq!(
            format!("{closed:?} {closed}"),
            "Server(redis://(hidden)@h:1) redis://(hidden)@h:1"
        );
        let named = server("redis://me:secret@h:1").credentials.unwrap();
        assert_eq!(named.0, [b"me".to_vec(), b"secret".to_vec()]);
        let memcached = server("memcached://cache");
        assert_eq!(memcached.to_string(), "memcached://cache:11211");
        assert_eq!(server("memcached://unix:/run/m.sock").kind, Kind::Memcached);
        let wrong = |text: &str| text.parse::<Server>().unwrap_err();
        assert_eq!(server("rediss://h:1").to_string(), "rediss://h:1");
        assert_eq!(wrong("rediss://unix:/run/r.sock"), ServerError::Tls);
        assert_eq!(wrong("redis://h:1/3"), ServerError::Database);
        for text in ["redis://@h:1", "redis://:@h:1", "redis://user:@h:1", "rediss://@h"] {
            assert_eq!(wrong(text), ServerError::Nobody, "{text}");
        }
        assert_eq!(wrong("memcached://:secret@h:1"), ServerError::Password);
        for text in ["", "h:1", "http://h:1", "redis://", "redis://h:0", "redis://1.2.3:1"] {
            assert_eq!(wrong(text), ServerError::Form, "{text}");
        }
    }
}
