//! Upstreams that are told of the client by a PROXY header.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use proxy_header::{ParseConfig, ProxyHeader};
use weir::traffic::matching::Network;

use super::scene::Scene;

/// The clients of whom each connection told; none: it was Weir's own.
type Told = Arc<Mutex<Vec<Option<SocketAddr>>>>;

/// A server that wants a PROXY header and answers each request with the client's address.
fn start() -> (SocketAddr, Told) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let told = Told::default();
    let shared = Arc::clone(&told);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, told) = (stream.unwrap(), Arc::clone(&shared));
            thread::spawn(move || serve(stream, &told));
        }
    });
    (address, told)
}

fn serve(mut stream: TcpStream, told: &Told) {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4_096];
    let mut client = None;
    let mut knows = false;
    while let Ok(read) = stream.read(&mut chunk) {
        if read == 0 {
            return;
        }
        bytes.extend_from_slice(&chunk[..read]);
        if !knows {
            let parsed = ProxyHeader::parse(&bytes, ParseConfig::default());
            let Ok((header, length)) = parsed else { continue };
            client = header.proxied_address().map(|address| address.source);
            told.lock().unwrap().push(client);
            bytes.drain(..length);
            knows = true;
        }
        while let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            bytes.drain(..end + 4);
            let text = client.map_or("weir".to_owned(), |client| client.ip().to_string());
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", text.len());
            if stream.write_all((head + &text).as_bytes()).is_err() {
                return;
            }
        }
    }
}

#[test]
fn a_connection_tells_of_one_client_and_serves_no_other() {
    let (address, told) = start();
    let scene = Scene::with(&[address.to_string()], &[], |plan| {
        plan.release = Box::new(|release| release.proxy_protocol = true);
        plan.tier.trusted_proxies = Network::LOOPBACK.to_vec();
    });
    let mut client = scene.client();
    let mut from =
        |client_ip: &str| client.get("/", &format!("x-forwarded-for: {client_ip}\r\n")).text();
    for round in 0..5 {
        for ip in ["192.0.2.1", "192.0.2.2", "2001:db8::3"] {
            assert_eq!(from(ip), ip, "round {round}");
        }
    }
    let clients: Vec<IpAddr> = told.lock().unwrap().iter().flatten().map(SocketAddr::ip).collect();
    assert_eq!(clients.len(), 3, "each client's connection was kept for it: {clients:?}");
    assert!(told.lock().unwrap().contains(&None), "the checks are Weir's own");
}

#[test]
fn the_oldest_connection_makes_room_for_another_client() {
    let (address, told) = start();
    let scene = Scene::with(&[address.to_string()], &[], |plan| {
        plan.release = Box::new(|release| release.proxy_protocol = true);
        plan.tier.trusted_proxies = Network::LOOPBACK.to_vec();
        plan.tier.limits.upstream_idle = 2;
        plan.tier.health.path = None;
    });
    let mut client = scene.client();
    for last in [1, 2, 3, 3, 2, 1] {
        let ip = format!("192.0.2.{last}");
        assert_eq!(client.get("/", &format!("x-forwarded-for: {ip}\r\n")).text(), ip);
    }
    let clients = told.lock().unwrap().iter().flatten().count();
    assert_eq!(clients, 4, "only the first client had to come anew");
    assert!(scene.register.upstream_shown(0).connections <= 2);
}
