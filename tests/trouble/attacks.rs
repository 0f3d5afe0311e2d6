//! slowhttptest with more attackers than there may be connections, and an honest client beside it.

use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use std::io::{Read, Write};

use weir::metrics::Displaced;

use super::{attack_time, quick};
use crate::proxy::Site;

/// Connections of clients at once.
const CONNECTIONS: usize = 64;

/// How often the honest client asks.
const PACE: Duration = Duration::from_millis(100);

/// Longest it waits for an answer.
const PATIENCE: Duration = Duration::from_mins(2);

/// A request on a connection of its own; what is wrong with the answer.
fn ask(address: SocketAddr) -> Result<(), String> {
    let wrong = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(wrong)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(wrong)?;
    stream
        .write_all(b"GET /status?200 HTTP/1.1\r\nhost: app\r\nconnection: close\r\n\r\n")
        .map_err(wrong)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(wrong)?;
    _ = stream.shutdown(Shutdown::Both);
    let whole = answer.starts_with("HTTP/1.1 200") && answer.ends_with("as asked");
    if whole { Ok(()) } else { Err(format!("{answer:?}")) }
}

/// Runs slowhttptest with `arguments` against `path`. An honest client loses no request meanwhile,
/// and connections have to make way that `were` doing what the attack is about.
fn attack(path: &str, arguments: &[&str], were: Displaced) {
    if quick() {
        return;
    }
    let site = Site::with(0, |tier| {
        tier.limits.connections = CONNECTIONS;
    });
    let seconds = attack_time().as_secs().to_string();
    let attackers = (5 * CONNECTIONS).to_string();
    let mut attack = Command::new("slowhttptest")
        .args(arguments)
        .args(["-c", &attackers, "-r", "100", "-l", &seconds, "-p", "3", "-v", "1"])
        .args(["-u", &format!("http://{}{path}", site.address)])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("slowhttptest; tests/run installs it");
    let (begun, mut asked, mut lost) = (Instant::now(), 0, Vec::new());
    while attack.try_wait().unwrap().is_none() && begun.elapsed() < attack_time() * 20 {
        asked += 1;
        if let Err(wrong) = ask(site.address) {
            lost.push(wrong);
        }
        std::thread::sleep(PACE);
    }
    _ = attack.kill();
    _ = attack.wait();
    let cells = site.register.tier(&"web".parse().unwrap());
    let displaced = cells.displaced(were);
    eprintln!("{asked} honest requests, {displaced} made way, as {were:?}");
    assert!(lost.is_empty(), "{} of {asked} honest requests were lost: {lost:?}", lost.len());
    assert!(asked >= 3, "{asked} honest requests in {:?}", begun.elapsed());
    assert!(displaced >= 30, "the attack has to be one: {displaced} made way");
    assert_eq!(cells.refused_connections.load(Ordering::SeqCst), 0);
}

#[test]
fn slow_heads_cost_an_honest_client_nothing() {
    attack("/", &["-H", "-i", "2", "-x", "24", "-t", "GET"], Displaced::Head);
}

#[test]
fn slow_bodies_cost_an_honest_client_nothing() {
    attack("/sink", &["-B", "-i", "2", "-s", "8192", "-x", "10", "-t", "POST"], Displaced::Body);
}

#[test]
fn slow_reads_cost_an_honest_client_nothing() {
    let reads = ["-X", "-n", "5", "-w", "10", "-y", "20", "-z", "32", "-t", "GET"];
    attack("/big?8000000", &reads, Displaced::Read);
}
