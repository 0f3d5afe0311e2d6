//! Both ends of TLS as the tests need them: a client that keeps its connection, and an upstream.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};

use super::certificates::{Authority, Signed};

/// A connection with TLS.
pub struct Secure {
    stream: StreamOwned<ClientConnection, TcpStream>,
    buffer: Vec<u8>,
}

fn roots(pem: &str) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    roots
}

/// What a client of TLS is told that believes the certificate `authority` in PEM.
pub fn client(authority: &str) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots(authority))
        .with_no_client_auth()
}

/// What a server of TLS is told that has the certificate `signed`. If it wants to know who asks,
/// `clients` have signed for them.
pub fn server(signed: &Signed, clients: Option<&Authority>) -> ServerConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let roots = Arc::new(roots(&authority.pem));
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let chain = CertificateDer::pem_slice_iter(signed.chain.as_bytes());
    let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(signed.key.as_bytes()).unwrap();
    builder.with_single_cert(chain, key).unwrap()
}

impl Secure {
    /// Connects to `address` and asks for `name`, which `authority` must have signed for.
    pub fn to(address: SocketAddr, name: &str, authority: &Authority) -> Self {
        Self::over(TcpStream::connect(address).unwrap(), name, authority)
    }

    /// The same on a socket that is connected.
    pub fn over(socket: TcpStream, name: &str, authority: &Authority) -> Self {
        Self::believing(socket, name, &authority.pem)
    }

    /// The same, with the certificate of the authority in PEM.
    pub fn believing(mut socket: TcpStream, name: &str, authority: &str) -> Self {
        socket.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        let config = client(authority);
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut session = ClientConnection::new(Arc::new(config), name).unwrap();
        while session.is_handshaking() {
            session.complete_io(&mut socket).unwrap();
        }
        Self { stream: StreamOwned::new(session, socket), buffer: Vec::new() }
    }

    /// The certificate of the other side, in DER.
    pub fn certificate(&self) -> Vec<u8> {
        self.stream.conn.peer_certificates().unwrap()[0].to_vec()
    }

    /// Writes.
    pub fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
        self.stream.flush().unwrap();
    }

    /// Reads `length` bytes.
    pub fn read(&mut self, length: usize) -> Vec<u8> {
        while self.buffer.len() < length {
            assert!(self.fill(), "cut short: {} of {length}", self.buffer.len());
        }
        self.buffer.drain(..length).collect()
    }

    /// Whether the other side ends the connection, and properly (`close_notify`).
    pub fn ends(&mut self) -> bool {
        let mut byte = [0];
        matches!(self.stream.read(&mut byte), Ok(0))
    }

    fn fill(&mut self) -> bool {
        let mut chunk = vec![0; 64 * 1024];
        let read = self.stream.read(&mut chunk).unwrap_or(0);
        self.buffer.extend_from_slice(&chunk[..read]);
        read > 0
    }

    /// Reads the head of an answer.
    pub fn head(&mut self) -> String {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                return String::from_utf8(self.read(end + 4)).unwrap();
            }
            assert!(self.fill(), "no whole head: {}", String::from_utf8_lossy(&self.buffer));
        }
    }

    /// Asks for `path`; the head and the body of the answer.
    pub fn get(&mut self, path: &str) -> (String, String) {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: shop.test\r\n\r\n"));
        let head = self.head().to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length = length.expect("a length").parse().unwrap();
        let body = String::from_utf8(self.read(length)).unwrap();
        (head, body)
    }
}

/// An upstream that speaks TLS, and answers every request with the head that came in.
pub struct SecureUpstream {
    /// Where it listens.
    pub address: SocketAddr,
    /// Handshakes that went through.
    pub handshakes: Arc<AtomicU64>,
    stopped: Arc<AtomicBool>,
}

impl SecureUpstream {
    /// Starts one with the certificate `signed`. If it wants to know who asks, `clients` have
    /// signed for them.
    pub fn start(signed: &Signed, clients: Option<&Authority>) -> Self {
        let config = Arc::new(server(signed, clients));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (stopped, handshakes) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let (stop, count) = (Arc::clone(&stopped), Arc::clone(&handshakes));
        thread::spawn(move || {
            for socket in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let (config, count) = (Arc::clone(&config), Arc::clone(&count));
                thread::spawn(move || serve(socket.unwrap(), config, &count));
            }
        });
        Self { address, handshakes, stopped }
    }
}

impl Drop for SecureUpstream {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        _ = TcpStream::connect(self.address);
    }
}

/// Serves one connection until it ends.
fn serve(socket: TcpStream, config: Arc<ServerConfig>, handshakes: &AtomicU64) -> Option<()> {
    let mut stream = StreamOwned::new(ServerConnection::new(config).ok()?, socket);
    let mut buffer = Vec::new();
    let mut counted = false;
    loop {
        while let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let head: Vec<u8> = buffer.drain(..end + 4).collect();
            let length = head.len();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
            stream.write_all(answer.as_bytes()).ok()?;
            stream.write_all(&head).ok()?;
            stream.flush().ok()?;
        }
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk).ok().filter(|read| *read > 0)?;
        if !std::mem::replace(&mut counted, true) {
            handshakes.fetch_add(1, Ordering::SeqCst);
        }
        buffer.extend_from_slice(&chunk[..read]);
    }
}
