//! gRPC by its own library at both ends, Debian's python3-grpcio, with Weir between them.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use weir::proxy::UpstreamClient;

use super::requests::before;

/// Debian's, which has the library.
const PYTHON: &str = "/usr/bin/python3";

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/http2/calls.py");

/// A server of gRPC; it ends with its standard input.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start() -> Self {
        let mut command = Command::new(PYTHON);
        command.args([SCRIPT, "serve"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("Debian: python3");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port: u16 = line.trim().parse().expect("Debian: python3-grpcio");
        Self { child, address: SocketAddr::from(([127, 0, 0, 1], port)) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// What a client at `port` sees.
fn seen_at(port: u16) -> String {
    let mut command = Command::new("timeout");
    command.args(["300", PYTHON, SCRIPT, "call", &port.to_string()]);
    command.env("PYTHONIOENCODING", "utf-8").stdin(Stdio::null());
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {error}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_client_of_grpc_sees_through_weir_what_it_sees_without() {
    if std::env::var_os("WEIR_QUICK").is_some() {
        return;
    }
    let server = Server::start();
    let scene = before(format!("h2c://{}", server.address), UpstreamClient::Hyper);
    let through = seen_at(scene.address.port());
    assert_eq!(
        through.lines().collect::<Vec<_>>(),
        [
            r"echo b'hello' 5 b'\x00\xff'",
            "large True",
            "fail NOT_FOUND as asked: \u{e4}",
            "fail UNAVAILABLE as asked: \u{e4}",
            "fail INTERNAL as asked: \u{e4}",
            "count b'25000'",
            "split 2000 b'1999'",
            "talk [b'ONE', b'TWO', b'THREE']",
            "hang DEADLINE_EXCEEDED",
            "cancelled b'yes'",
        ]
    );
    let direct = Server::start();
    assert_eq!(seen_at(direct.address.port()), through);
    let totals = scene.register.totals(0);
    assert_eq!((totals.requests, totals.errors), (10, 2), "unavailable and internal");
}
