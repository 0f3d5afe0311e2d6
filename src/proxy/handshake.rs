//! The TLS handshake with a client, within bounds. Its deadline is that of a request's head.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Instant;

use rustls::{HandshakeKind, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;

use super::io::{Io, Socket};
use super::line::Line;
use crate::metrics::Handshake;
use crate::tls::ACME_PROTOCOL;

/// Handshakes under way, a worker: each holds some 30 KiB. Beyond it the oldest is cut off, since
/// an honest one is over in a moment, and only who dallies is old.
const HANDSHAKES_MAX: usize = 512;

/// What every TLS connection begins with: a record of a handshake (RFC 8446, section 5.1).
const HANDSHAKE_RECORD: u8 = 22;

/// Bytes of a plain request that are read before it is told off: were they left, the kernel would
/// reset the connection, and the client would not see why.
const PLAIN_BYTES: usize = 4 * 1024;

/// What who speaks HTTP where TLS is spoken is told.
const PLAIN_PAGE: &str = "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n\
                          content-length: 61\r\ncache-control: no-store\r\nconnection: close\r\n\
                          \r\n400 Bad Request\nthis port speaks TLS; write https:// instead\n";

/// The handshakes of a worker that are under way, the oldest first.
#[derive(Debug, Default)]
pub struct Handshakes {
    lines: RefCell<BTreeMap<u64, Weak<Line>>>,
    next: Cell<u64>,
}

impl Handshakes {
    /// Enters `line`, and cuts off the oldest if there are too many.
    fn enter(self: &Rc<Self>, line: &Rc<Line>) -> UnderWay {
        let number = self.next.get();
        self.next.set(number + 1);
        let mut lines = self.lines.borrow_mut();
        lines.insert(number, Rc::downgrade(line));
        let oldest = if lines.len() > HANDSHAKES_MAX { lines.pop_first() } else { None };
        if let Some(oldest) = oldest.and_then(|(_, line)| line.upgrade()) {
            oldest.shut();
        }
        UnderWay { handshakes: Rc::clone(self), number }
    }
}

/// A handshake under way, until it is dropped.
struct UnderWay {
    handshakes: Rc<Handshakes>,
    number: u64,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.handshakes.lines.borrow_mut().remove(&self.number);
    }
}

/// Speaks TLS with the client of `line` from here on; none if that comes to nothing.
pub async fn shake(
    handshakes: &Rc<Handshakes>,
    line: &Rc<Line>,
    config: &Arc<ServerConfig>,
    mut io: Io,
) -> Option<Io> {
    let mut first = [0];
    match line.unless_closing(io.socket.peek(&mut first)).await {
        None => {
            line.shook(Handshake::Late);
            return None;
        }
        Some(Ok(1)) if first[0] == HANDSHAKE_RECORD => {}
        Some(Ok(1)) => {
            line.shook(Handshake::Plain);
            if first[0].is_ascii_uppercase() {
                line.unless_shut(Box::pin(tell_off(&mut io.socket))).await;
            }
            return None;
        }
        // Gone without a word: a check whether the port is open.
        Some(Ok(_) | Err(_)) => return None,
    }
    let under_way = handshakes.enter(line);
    let accepted = line.unless_shut(TlsAcceptor::from(Arc::clone(config)).accept(io.socket)).await;
    drop(under_way);
    let mut stream = match accepted {
        None => {
            line.shook(Handshake::Late);
            return None;
        }
        Some(Err(error)) => {
            line.shook(Handshake::Failed);
            tracing::debug!(listen = %line.listen, peer = %line.peer.get(), %error, "no TLS");
            return None;
        }
        Some(Ok(stream)) => stream,
    };
    let session = stream.get_ref().1;
    if session.alpn_protocol() == Some(ACME_PROTOCOL) {
        line.shook(Handshake::Proof);
        line.unless_shut(stream.shutdown()).await;
        return None;
    }
    line.shook(match session.handshake_kind() {
        Some(HandshakeKind::Resumed) => Handshake::Resumed,
        Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest) | None => {
            Handshake::Full
        }
    });
    line.encrypted(Instant::now());
    io.socket = Socket::Tls(Box::new(stream.into()));
    Some(io)
}

async fn tell_off(socket: &mut Socket) -> std::io::Result<()> {
    let mut request = [0; PLAIN_BYTES];
    _ = socket.read(&mut request).await?;
    socket.write_all(PLAIN_PAGE.as_bytes()).await?;
    socket.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_for_plain_requests_says_its_length() {
        let (head, body) = PLAIN_PAGE.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{}", body.len());
    }
}
