//! What comes before HTTP on a connection: the PROXY protocol's header, TLS.

use std::io::{Error, ErrorKind, Result};
use std::net::IpAddr;
use std::rc::Rc;

use proxy_header::{ParseConfig, ProxyHeader};
use tokio::io::AsyncReadExt;

use super::handshake;
use super::io::{Io, Socket};
use super::line::Line;
use super::view::Speech;
use super::worker::Worker;

/// Longest PROXY header: the binary one may carry extensions, which no load balancer makes longer
/// than this.
const PROXY_BYTES_MAX: usize = 4 * 1024;

/// Reads what comes before HTTP; none if the connection ends there.
pub async fn open(worker: &Worker, line: &Rc<Line>, mut io: Io) -> Option<Io> {
    let listener = Rc::clone(worker.view().listener(&line.listen)?);
    if listener.listener.proxy_from.iter().any(|network| network.contains(line.peer.get())) {
        match line.unless_shut(Box::pin(proxied(&mut io.socket))).await? {
            Ok(client) => client.into_iter().for_each(|client| line.comes_from(client)),
            Err(error) => {
                let (listen, peer) = (&line.listen, line.peer.get());
                tracing::debug!(%listen, %peer, %error, "the PROXY header is missing or broken");
                return None;
            }
        }
    }
    match &listener.speech {
        Speech::Nothing => None,
        Speech::Plain => Some(io),
        Speech::Tls(config) => {
            Box::pin(handshake::shake(&worker.handshakes, line, config, io)).await
        }
    }
}

/// Reads a PROXY header, version 1 or 2, and nothing behind it. Returns the client's address; none
/// where the load balancer speaks for itself (`LOCAL`, `UNKNOWN`).
async fn proxied(socket: &mut Socket) -> Result<Option<IpAddr>> {
    let mut header = Vec::new();
    loop {
        let known = header.len();
        header.resize(PROXY_BYTES_MAX, 0);
        let seen = known + socket.peek(&mut header[known..]).await?;
        if seen == known {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
        let parsed = ProxyHeader::parse(&header[..seen], config);
        // While the header is not whole, all that is there belongs to it.
        let (whole, length) = match parsed {
            Ok((parsed, length)) => (Some(parsed.proxied_address().map(|a| a.source.ip())), length),
            Err(proxy_header::Error::BufferTooShort) if seen < PROXY_BYTES_MAX => (None, seen),
            Err(error) => return Err(Error::new(ErrorKind::InvalidData, error.to_string())),
        };
        header.resize(length.max(known), 0);
        socket.read_exact(&mut header[known..]).await?;
        if let Some(client) = whole {
            return Ok(client);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use proptest::prelude::*;
    use proptest::sample::select;
    use proxy_header::ProxiedAddress;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::proxy::messages::{cases, damaged};

    /// What is made of `header`, sent in pieces of `step` bytes with `rest` behind it.
    async fn reads(header: &[u8], step: usize) -> (Result<Option<IpAddr>>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut there = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut here = Socket::Tcp(listener.accept().await.unwrap().0);
        let bytes = [header, b"GET / HTTP/1.1"].concat();
        let send = async move {
            for piece in bytes.chunks(step) {
                _ = there.write_all(piece).await;
                tokio::task::yield_now().await;
            }
        };
        let (client, ()) = tokio::join!(proxied(&mut here), send);
        let mut rest = Vec::new();
        if client.is_ok() {
            here.read_to_end(&mut rest).await.unwrap();
        }
        (client, rest)
    }

    fn headers() -> Vec<Vec<u8>> {
        let source: SocketAddr = "192.0.2.7:4711".parse().unwrap();
        let address = ProxiedAddress::stream(source, "192.0.2.1:443".parse().unwrap());
        let header = ProxyHeader::with_address(address);
        let (mut first, mut second) = (Vec::new(), Vec::new());
        header.encode_v1(&mut first).unwrap();
        header.encode_v2(&mut second).unwrap();
        vec![first, second]
    }

    #[tokio::test]
    async fn both_versions_are_read_however_they_are_cut() {
        for header in headers() {
            for step in [1, 3, 16, 1000] {
                let (client, rest) = reads(&header, step).await;
                assert_eq!(client.unwrap(), Some("192.0.2.7".parse().unwrap()));
                assert_eq!(rest, b"GET / HTTP/1.1");
            }
        }
        let (client, rest) = reads(b"PROXY UNKNOWN\r\n", 4).await;
        assert_eq!((client.unwrap(), rest.as_slice()), (None, b"GET / HTTP/1.1".as_slice()));
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused() {
        let endless = [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff".as_slice(), &[0; 10_000]].concat();
        for header in [b"GET / HTTP/1.1\r\n\r\n".as_slice(), b"PROXY TCP4 1.2.3\r\n", &endless] {
            assert!(reads(header, 100).await.0.is_err());
        }
    }

    const STARTS: [&[u8]; 4] =
        [b"", b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n", b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0"];

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    proptest! {
        #![proptest_config(cases(100))]

        #[test]
        fn what_is_written_is_read_back_and_nothing_behind_it(
            client: [u8; 16],
            port: u16,
            old: bool,
            is_binary: bool,
            step in 1_usize..300,
        ) {
            let [first, second, third, fourth, ..] = client;
            let client: IpAddr =
                if old { [first, second, third, fourth].into() } else { client.into() };
            let here = if old { "192.0.2.1:443" } else { "[2001:db8::1]:443" };
            let address = ProxiedAddress::stream(SocketAddr::new(client, port), here.parse().unwrap());
            let (header, mut bytes) = (ProxyHeader::with_address(address), Vec::new());
            let written =
                if is_binary { header.encode_v2(&mut bytes) } else { header.encode_v1(&mut bytes) };
            written.unwrap();
            let (read, rest) = runtime().block_on(reads(&bytes, step));
            prop_assert_eq!(read.unwrap(), Some(client));
            prop_assert_eq!(rest, b"GET / HTTP/1.1");
        }

        #[test]
        fn a_damaged_header_is_read_or_refused(
            text in damaged(select(headers())),
            step in 1_usize..300,
        ) {
            let _ = runtime().block_on(reads(&text.0, step));
        }

        #[test]
        fn no_bytes_are_too_strange(
            start in select(&STARTS[..]),
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            step in 1_usize..300,
        ) {
            let _ = runtime().block_on(reads(&[start, &bytes].concat(), step));
        }
    }
}
