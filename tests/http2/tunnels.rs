//! Web sockets by extended CONNECT (RFC 8441).

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir::traffic::Weight;

use crate::proxy::Site;
use crate::support::http2_client;
use crate::support::http2_client::{
    Answer, Client, Content, END_HEADERS, Fate, GET, HEADERS, SETTINGS, Wire, block, run,
};
use crate::support::web_socket::{GOODBYE, frame};

/// Asks for a WebSocket at `path`.
fn connect(path: &str, protocol: &'static str) -> Request<Content> {
    let request = Request::builder()
        .method(Method::CONNECT)
        .uri(format!("http://app{path}"))
        .extension(Protocol::from_static(protocol))
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "chat")
        .header("origin", "http://app");
    request.body(Content::none()).unwrap()
}

async fn open(
    client: &Client,
    path: &str,
) -> (Response<Incoming>, TokioIo<hyper::upgrade::Upgraded>) {
    let mut response = client.send(connect(path, "websocket")).await.unwrap();
    assert_eq!(response.status(), 200);
    let upgraded = hyper::upgrade::on(&mut response).await.unwrap();
    (response, TokioIo::new(upgraded))
}

/// Hears the goodbye, answers it, and sees the end of the stream.
async fn say_goodbye(socket: &mut TokioIo<hyper::upgrade::Upgraded>) {
    let mut said = vec![0; GOODBYE.len()];
    socket.read_exact(&mut said).await.unwrap();
    assert_eq!(said, GOODBYE);
    socket.write_all(&frame(8, &[0x03, 0xe9], Some([1, 2, 3, 4]))).await.unwrap();
    let since = Instant::now();
    assert_eq!(socket.read(&mut said).await.unwrap(), 0, "the end of the stream");
    assert!(since.elapsed() < Duration::from_secs(8), "nobody waits for a reply that has come");
}

#[test]
fn web_sockets_share_a_connection_with_requests() {
    let site = Site::new(0);
    run(async {
        let client = Client::to(site.address).await;
        let (response, mut socket) = open(&client, "/socket").await;
        assert_eq!(response.headers()["sec-websocket-protocol"], "chat");
        for gone in ["upgrade", "connection", "sec-websocket-accept", "content-length"] {
            assert!(!response.headers().contains_key(gone), "{gone}");
        }
        let head = site.stable.last_head().to_lowercase();
        assert!(head.starts_with("get /socket http/1.1\r\n"), "{head}");
        for line in ["upgrade: websocket", "connection: upgrade", "origin: http://app", "host: app"]
        {
            assert!(head.contains(line), "no {line} in {head}");
        }
        let (_, mut other) = open(&client, "/socket").await;
        let large = vec![b'x'; 300_000];
        for round in 0..3_u8 {
            socket.write_all(&[round; 10]).await.unwrap();
            let mut back = [0; 10];
            socket.read_exact(&mut back).await.unwrap();
            assert_eq!(back, [round; 10]);
            let (mut from, mut to) = tokio::io::split(&mut other);
            let mut back = vec![0; large.len()];
            let (sent, read) = tokio::join!(to.write_all(&large), from.read_exact(&mut back));
            sent.unwrap();
            read.unwrap();
            assert_eq!(back, large);
            assert_eq!(client.get("/", &[]).await.status, 200);
        }
        assert_eq!(site.shown().0.upgraded_open, 2);
        // The client ends one: the upstream learns of it.
        socket.shutdown().await.unwrap();
        site.wait_until("closed", || site.shown().0.upgraded_open == 1);
        drop(other);
        site.wait_until("closed", || site.shown().0.upgraded_open == 0);
        assert_eq!(client.get("/", &[]).await.status, 200, "the connection goes on");
    });
    site.wait_until("closed", || site.stable.state.cancelled.load(Ordering::SeqCst) == 2);
    site.expect_counts([(6, 0), (0, 0)]);
}

#[test]
fn a_tunnel_is_told_to_go_when_its_release_loses() {
    let site = Site::new(100);
    run(async {
        let client = Client::to(site.address).await;
        let (_, mut socket) = open(&client, "/socket").await;
        // An unmasked frame; the upstream sends it back.
        socket.write_all(b"\x01\x02hi").await.unwrap();
        let mut back = [0; 4];
        socket.read_exact(&mut back).await.unwrap();
        site.publish(|tier| (tier.canary, tier.weight) = (None, Weight::NONE));
        say_goodbye(&mut socket).await;
        assert!(client.get("/", &[]).await.text().starts_with("1.0"), "the connection goes on");
    });
    site.wait_until("closed", || site.shown().1.upgraded_open == 0);
    site.wait_until("closed", || site.canary.state.cancelled.load(Ordering::SeqCst) == 1);
}

#[test]
fn draining_closes_tunnels() {
    let mut site = Site::new(0);
    run(async {
        let client = Client::to(site.address).await;
        let (_, mut socket) = open(&client, "/socket").await;
        let proxy = site.proxy.take().unwrap();
        let drain = tokio::task::spawn_blocking(move || proxy.drain(Duration::from_secs(2)));
        say_goodbye(&mut socket).await;
        assert_eq!(drain.await.unwrap(), 0);
    });
}

#[test]
fn what_is_no_web_socket_gets_no_tunnel() {
    let site = Site::new(0);
    run(async {
        let client = Client::to(site.address).await;
        let status = async |path: &str, protocol| {
            Answer::read(client.send(connect(path, protocol)).await.unwrap()).await.status
        };
        // The upstream knows nothing of web sockets, or has not read the key.
        assert_eq!(status("/", "websocket").await, 502);
        assert_eq!(status("/tunnel", "websocket").await, 502);
        assert_eq!(status("/status?403", "websocket").await, 403);
        assert_eq!(status("/redirect", "websocket").await, 302);
        assert_eq!(status("/socket", "connect-udp").await, 501);
        assert_eq!(client.get("/", &[]).await.status, 200);
    });
    site.wait_until("closed", || site.shown().0.upgraded_open == 0);
    site.wait_until("over", || site.shown().0.in_flight == 0);
}

#[test]
fn extended_connect_is_offered() {
    let site = Site::new(0);
    let mut wire = Wire::to(site.address);
    let settings = wire.read_until(SETTINGS).unwrap().payload;
    // SETTINGS_ENABLE_CONNECT_PROTOCOL
    assert!(settings.chunks(6).any(|one| one == [0, 8, 0, 0, 0, 1]), "{settings:?}");
    let fields = [(":method", "CONNECT"), (":protocol", "websocket"), GET[1], GET[2]];
    wire.send(&http2_client::frame(HEADERS, END_HEADERS, 1, &block(&fields)));
    assert_eq!(wire.fate(1), Fate::Reset(1), "a path is missing");
}
