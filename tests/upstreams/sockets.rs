//! Web sockets to upstreams that speak HTTP/2 alone (RFC 8441).

use std::sync::atomic::Ordering;

use http::{Method, Request};
use hyper::ext::Protocol;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir::metrics::HealthState;
use weir::traffic::Weight;

use super::scene::{Scene, wait_until};
use crate::support::client::Client;
use crate::support::http2::Http2;
use crate::support::http2_client::{self, Content, END_HEADERS, END_STREAM, HEADERS, block, run};
use crate::support::scripted::Scripted2;
use crate::support::web_socket::{GOODBYE, frame};

/// The example of RFC 6455, section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

fn scene(upstream: String) -> Scene {
    Scene::with(&[upstream], &[], |plan| plan.tier.health.path = None)
}

/// Asks for a WebSocket at `path`; the status of the answer.
fn ask(client: &mut Client, path: &str) -> u16 {
    client.send(&format!(
        "GET {path} HTTP/1.1\r\nhost: app\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: {KEY}\r\n\r\n"
    ));
    let answer = client.head().unwrap();
    if answer.status == 101 {
        assert_eq!(answer.field("sec-websocket-accept"), Some(ACCEPT));
        assert_eq!(answer.field("sec-websocket-protocol"), Some("chat"));
        assert_eq!(answer.field("upgrade"), Some("websocket"));
        assert_eq!(answer.field("connection"), Some("Upgrade"));
    }
    answer.status
}

/// Sends `text`, and reads it back.
fn echoes(client: &mut Client, text: &str) {
    let before = client.rest().len();
    client.send(text);
    while client.rest().len() < before + text.len() {
        assert!(client.fill(), "the tunnel was closed");
    }
    assert!(client.rest().ends_with(text.as_bytes()));
}

#[test]
fn a_web_socket_is_a_stream_beside_others() {
    let upstream = Http2::start(100);
    let scene = scene(format!("h2c://{}", upstream.address));
    let (mut first, mut second) = (scene.client(), scene.client());
    assert_eq!(ask(&mut first, "/socket?x=1"), 101);
    let head = upstream.last_head();
    assert!(head.starts_with("CONNECT http://app/socket?x=1\n"), "{head}");
    assert!(head.contains("\"sec-websocket-version\": \"13\""), "{head}");
    for gone in ["\"sec-websocket-key\"", "\"upgrade\"", "\"connection\""] {
        assert!(!head.contains(gone), "{gone} in {head}");
    }
    echoes(&mut first, "hello");
    let large = "x".repeat(400_000);
    echoes(&mut first, &large);
    assert_eq!(scene.stable().upgraded_open, 1);
    assert_eq!(ask(&mut second, "/refuse"), 403);
    drop(first);
    wait_until("closed", || scene.stable().upgraded_open == 0);
    wait_until("over", || upstream.state.streams.load(Ordering::SeqCst) == 0);
    assert_eq!(scene.client().get("/", "").status, 200, "the connection goes on");
    assert_eq!(scene.stable().stable.attempts.classes, [1, 1, 0, 1, 0]);
}

#[test]
fn a_web_socket_is_told_to_go_when_its_release_loses() {
    let upstream = Http2::start(100);
    let address = [format!("h2c://{}", upstream.address)];
    let scene = Scene::with(&address, &address, |plan| plan.tier.health.path = None);
    let mut client = scene.client();
    assert_eq!(ask(&mut client, "/socket"), 101);
    // An unmasked frame; the upstream sends it back.
    echoes(&mut client, "\u{1}\u{2}hi");
    scene.publish(|tier| (tier.canary, tier.weight) = (None, Weight::NONE));
    while client.rest().len() < 4 + GOODBYE.len() {
        assert!(client.fill());
    }
    assert_eq!(client.rest()[4..], *GOODBYE);
    drop(client);
    wait_until("closed", || scene.canary().upgraded_open == 0);
    wait_until("over", || upstream.state.streams.load(Ordering::SeqCst) == 0);
}

#[test]
fn both_sides_may_speak_http2() {
    let upstream = Http2::start(100);
    let scene = scene(format!("h2c://{}", upstream.address));
    run(async {
        let client = http2_client::Client::to(scene.address).await;
        let request = Request::builder()
            .method(Method::CONNECT)
            .uri("http://app/socket")
            .extension(Protocol::from_static("websocket"))
            .header("sec-websocket-version", "13");
        let mut response = client.send(request.body(Content::none()).unwrap()).await.unwrap();
        assert_eq!(response.status(), 200);
        for gone in ["upgrade", "connection", "sec-websocket-accept"] {
            assert!(!response.headers().contains_key(gone), "{gone}");
        }
        let mut socket = TokioIo::new(hyper::upgrade::on(&mut response).await.unwrap());
        let said = frame(1, b"hello", Some([1, 2, 3, 4]));
        socket.write_all(&said).await.unwrap();
        let mut back = vec![0; said.len()];
        socket.read_exact(&mut back).await.unwrap();
        assert_eq!(back, said);
    });
    assert!(upstream.last_head().starts_with("CONNECT http://app/socket\n"));
}

#[test]
fn an_upstream_that_takes_none_gets_none_and_stays_well() {
    let upstream = Scripted2::start();
    upstream.answers(vec![(HEADERS, END_HEADERS | END_STREAM, block(&[(":status", "200")]))]);
    let scene = Scene::with(&[format!("h2c://{}", upstream.address)], &[], |plan| {
        plan.tier.health.path = None;
        plan.tier.health.eject_after = 1;
    });
    assert_eq!(ask(&mut scene.client(), "/socket"), 502);
    assert!(scene.error(0).contains("RFC 8441"), "{}", scene.error(0));
    assert_ne!(scene.health(0), HealthState::Ejected);
    let attempts = scene.stable().stable.attempts;
    assert_eq!((attempts.other, attempts.classes), (1, [0; 5]));
    assert_eq!(scene.client().get("/", "").status, 200);
    // Any other protocol is not asked for there, and the answer is that of the request alone.
    let other = Http2::start(100);
    let scene = self::scene(format!("h2c://{}", other.address));
    let answer = scene.client().get("/", "connection: upgrade\r\nupgrade: other\r\n");
    assert_eq!(answer.status, 200);
}
