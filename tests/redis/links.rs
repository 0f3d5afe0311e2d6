//! How Weir reaches a server: by TLS, by a Unix socket, with a user and a password.

use std::net::SocketAddr;
use std::path::Path;

use weir::namespace::resp::Value;

use super::client::Client;
use super::conversations::{eventually, number, ok, text};
use super::{Redis, file, free_address};
use crate::support::certificates::Authority;
use crate::support::program::Program;

/// Two versions before the server at `upstream`, with `more` of the cache.
fn start(upstream: &str, more: &str) -> (Program, [SocketAddr; 2]) {
    let (ports, nobody) = ([free_address(), free_address()], free_address());
    let text = file(free_address(), nobody, ports, more);
    (Program::start(&text.replace(&format!("redis://{nobody}"), upstream)), ports)
}

/// A server that speaks TLS at the second address, with a certificate for `name`.
fn encrypted(folder: &Path, authority: &Authority, name: &str) -> (Redis, SocketAddr) {
    authority.sign(&[name]).write(folder, "redis");
    authority.write(folder, "ca");
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let address = free_address();
    let redis = Redis::start(&[
        "--tls-port",
        &address.port().to_string(),
        "--tls-cert-file",
        &path("redis.pem"),
        "--tls-key-file",
        &path("redis.key"),
        "--tls-ca-cert-file",
        &path("ca.pem"),
        "--tls-auth-clients",
        "no",
    ]);
    (redis, address)
}

#[test]
fn a_server_is_spoken_to_by_tls() {
    let (place, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let (_redis, address) = encrypted(place.path(), &authority, "127.0.0.1");
    let trusted = format!("tls = {{ ca = \"{}/ca.pem\" }}", place.path().display());
    for mode in ["prefix", "observe"] {
        let more = format!("mode = \"{mode}\"\n{trusted}");
        let (_program, ports) = start(&format!("rediss://{address}"), &more);
        let mut one = Client::new(ports[0]);
        let value = "v".repeat(1_000_000);
        assert_eq!(one.ask(&format!("SET k {value}")), ok());
        assert_eq!(one.ask("GET k"), text(&value));
        assert_eq!(one.ask("FLUSHDB"), ok());
    }
    let (program, ports) = start(&format!("rediss://{address}"), &trusted);
    let [mut one, mut two] = ports.map(Client::new);
    one.ask("SET k 1");
    two.ask("SET k 2");
    one.ask("DEL k");
    eventually("deletions are repeated by TLS", || two.ask("EXISTS k") == number(0));
    assert_eq!(two.ask("SET k 2"), ok());
    assert_eq!(program.say(&["cache", "drop", "1.1.0"]), "1.1.0 is empty: 1 key deleted\n");
}

#[test]
fn a_server_that_nobody_vouches_for_is_not_believed() {
    let (place, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let (_redis, address) = encrypted(place.path(), &authority, "other.internal");
    let ca = format!("ca = \"{}/ca.pem\"", place.path().display());
    let (url, tls) = (format!("rediss://{address}"), |keys: &str| format!("tls = {{ {keys} }}"));
    // Another name, another authority.
    let stranger = tempfile::tempdir().unwrap();
    Authority::new().write(stranger.path(), "ca");
    let another =
        format!("ca = \"{}/ca.pem\", name = \"other.internal\"", stranger.path().display());
    for keys in [ca.clone(), another] {
        let (program, ports) = start(&url, &tls(&keys));
        let mut client = Client::new(ports[0]);
        client.send(b"*1\r\n$4\r\nPING\r\n");
        assert_eq!(client.answer(), None, "nobody is there");
        eventually("the log says why", || program.log().contains("certificate"));
    }
    let (_program, ports) = start(&url, &tls(&format!("{ca}, name = \"other.internal\"")));
    assert_eq!(Client::new(ports[0]).ask("PING"), Value::Line(b'+', b"PONG".to_vec()));
}

#[test]
fn a_server_is_reached_by_a_unix_socket() {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("redis.sock").to_str().unwrap().to_owned();
    let redis = Redis::start(&["--unixsocket", &socket]);
    let (_program, ports) = start(&format!("redis://unix:{socket}"), "");
    assert_eq!(Client::new(ports[0]).ask("SET k 1"), ok());
    assert_eq!(Client::new(redis.address).ask("GET 1.0.0:k"), text("1"));
}

#[test]
fn a_user_of_the_url_is_said_by_weir() {
    let words = "--user app on >s@cret ~* &* +@all --user default off";
    let redis = Redis::start(&words.split(' ').collect::<Vec<_>>());
    let (program, ports) = start(&format!("redis://app:s%40cret@{}", redis.address), "");
    let [mut one, mut two] = ports.map(Client::new);
    assert_eq!(one.ask("SET k 1"), ok());
    assert_eq!(two.ask("SET k 2"), ok());
    one.ask("DEL k");
    eventually("deletions are repeated by this user", || two.ask("EXISTS k") == number(0));
    assert!(!program.log().contains("cret"), "a password is shown");
    let mut nobody = Client::new(redis.address);
    assert!(matches!(nobody.ask("GET k"), Value::Error(error) if error.starts_with(b"NOAUTH")));
}
