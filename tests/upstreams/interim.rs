//! What upstreams say before their answers (1xx), and what they change protocol to.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use super::scene::Scene;
use crate::support::client::Client;
use crate::support::http2_client::{DATA, END_HEADERS, END_STREAM, HEADERS, block};
use crate::support::scripted::{Scripted, Scripted2, whole};

const HINT: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\
                    set-cookie: a=b\r\nconnection: x-hop\r\nx-hop: 1\r\ncontent-length: 7\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A proxy before `upstream`, which it does not check on.
fn before(upstream: String) -> Scene {
    Scene::with(&[upstream], &[], |plan| plan.tier.health.path = None)
}

/// Reads the hint, and nothing that would be taken for something else.
fn read_hint(client: &mut Client) {
    let hint = client.head().unwrap();
    assert_eq!(hint.status, 103);
    assert_eq!(hint.head, "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload");
}

/// A server that keeps connections, and answers with a hint, and the rest when it is told to.
fn hesitant() -> (SocketAddr, Sender<&'static [u8]>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (send, rest) = channel();
    let (address, rest) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(rest)));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, rest) = (stream.unwrap(), Arc::clone(&rest));
            thread::spawn(move || hesitate(stream, &rest));
        }
    });
    (address, send)
}

fn hesitate(mut stream: TcpStream, rest: &Mutex<Receiver<&'static [u8]>>) {
    let (mut request, mut chunk) = (Vec::new(), [0; 4096]);
    while let Ok(read @ 1..) = stream.read(&mut chunk) {
        request.extend(&chunk[..read]);
        while let Some(length) = whole(&request) {
            request.drain(..length);
            stream.write_all(HINT.as_bytes()).unwrap();
            let Ok(rest) = rest.lock().unwrap().recv() else { return };
            stream.write_all(rest).unwrap();
        }
    }
}

#[test]
fn a_hint_comes_while_the_answer_is_yet_to_be_made() {
    let (address, rest) = hesitant();
    let scene = before(format!("http://{address}"));
    let mut client = scene.client();
    for _ in 0..3 {
        client.send("GET / HTTP/1.1\r\nhost: app\r\n\r\n");
        read_hint(&mut client);
        rest.send(OK.as_bytes()).unwrap();
        let answer = client.answer("GET").unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
        assert_eq!(answer.field("link"), None);
    }
    // Also while the client is still sending.
    client.send("POST / HTTP/1.1\r\nhost: app\r\ncontent-length: 5\r\n\r\nhe");
    client.send("llo");
    read_hint(&mut client);
    rest.send(OK.as_bytes()).unwrap();
    assert_eq!(client.answer("POST").unwrap().text(), "ok");
    let attempts = scene.stable().stable.attempts;
    assert_eq!(attempts.classes, [0, 4, 0, 0, 0], "a hint is no answer");
}

#[test]
fn hints_and_answers_keep_their_order_however_much_is_asked_at_once() {
    let upstream = Scripted::start();
    let processing = "HTTP/1.1 102 Processing\r\n\r\n";
    upstream.answers(format!("HTTP/1.1 100 Continue\r\n\r\n{HINT}{processing}{OK}").as_bytes());
    let scene = before(format!("http://{}", upstream.address));
    let mut client = scene.client();
    client.send(&"GET / HTTP/1.1\r\nhost: app\r\n\r\n".repeat(20));
    for _ in 0..20 {
        let mut hints = 0;
        let answer = loop {
            let answer = client.answer("GET").unwrap();
            match answer.status {
                102 | 103 => hints += 1,
                _ => break answer,
            }
        };
        assert_eq!((answer.status, answer.text().as_str(), hints), (200, "ok", 2));
    }
}

#[test]
fn a_client_that_knows_no_hints_gets_none() {
    let upstream = Scripted::start();
    upstream.answers(format!("{HINT}{OK}").as_bytes());
    let scene = before(format!("http://{}", upstream.address));
    let mut client = scene.client();
    client.send("GET / HTTP/1.0\r\nhost: app\r\n\r\n");
    let answer = client.answer("GET").unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
}

#[test]
fn a_hint_of_http2_is_one_of_http1() {
    let upstream = Scripted2::start();
    let hint = [(":status", "103"), ("link", "</a.css>; rel=preload"), ("set-cookie", "a=b")];
    upstream.answers(vec![
        (HEADERS, END_HEADERS, block(&hint)),
        (HEADERS, END_HEADERS, block(&[(":status", "200")])),
        (DATA, END_STREAM, b"ok".to_vec()),
    ]);
    let scene = before(format!("h2c://{}", upstream.address));
    let mut client = scene.client();
    for _ in 0..3 {
        client.send("GET / HTTP/1.1\r\nhost: app\r\n\r\n");
        read_hint(&mut client);
        let answer = client.answer("GET").unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    }
}

#[test]
fn a_flood_of_hints_is_a_bad_answer() {
    let hint = "HTTP/1.1 102 Processing\r\n\r\n";
    let first = Scripted::start();
    let second = Scripted2::start();
    for (count, status) in [(32, 200), (33, 502)] {
        first.answers(format!("{}{OK}", hint.repeat(count)).as_bytes());
        let mut frames = vec![(HEADERS, END_HEADERS, block(&[(":status", "102")])); count];
        frames.push((HEADERS, END_HEADERS | END_STREAM, block(&[(":status", "200")])));
        second.answers(frames);
        for upstream in [format!("http://{}", first.address), format!("h2c://{}", second.address)] {
            let scene = before(upstream.clone());
            let mut client = scene.client();
            client.send("GET / HTTP/1.1\r\nhost: app\r\n\r\n");
            let answer = loop {
                let answer = client.answer("GET").unwrap();
                if answer.status != 102 {
                    break answer;
                }
            };
            assert_eq!(answer.status, status, "{count} of {upstream}");
            let attempts = scene.stable().stable.attempts;
            assert_eq!(attempts.other, u64::from(status == 502), "{count} of {upstream}");
        }
    }
}

#[test]
fn a_protocol_that_was_not_asked_for_is_a_bad_answer() {
    let upstream = Scripted::start();
    let scene = before(format!("http://{}", upstream.address));
    let answer = |lines: &str| {
        format!("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n{lines}\r\n")
    };
    // The example of RFC 6455, section 1.3.
    let socket = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                  sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let other = "connection: upgrade\r\nupgrade: other\r\n";
    let accept = "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
    let mut refused = 0;
    for (asked, lines, status) in [
        (socket, &*format!("upgrade: websocket\r\n{accept}"), 101),
        (socket, "upgrade: websocket\r\n", 502),
        (socket, "upgrade: websocket\r\nsec-websocket-accept: s3pPLMBiTxaQ9kY=\r\n", 502),
        (socket, &format!("upgrade: other\r\n{accept}"), 502),
        (socket, accept, 502),
        (other, "upgrade: Other\r\n", 101),
        (other, &format!("upgrade: websocket\r\n{accept}"), 502),
        (other, "upgrade: other, more\r\n", 502),
        ("", "upgrade: other\r\n", 502),
    ] {
        upstream.answers(answer(lines).as_bytes());
        let got = scene.client().get("/", asked);
        assert_eq!(got.status, status, "{asked} {lines}");
        refused += u64::from(status == 502);
        assert_eq!(scene.stable().stable.attempts.other, refused, "{asked} {lines}");
    }
}
