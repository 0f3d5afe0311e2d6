//! The ports of caches come and go with the file.

use std::net::TcpStream;

use weir::namespace::resp::Value;

use super::client::Client;
use super::conversations::eventually;
use super::{Scene, file, free_address};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_new_release_gets_its_port_by_a_reload() {
    let scene = Scene::start();
    let [mut one, _] = scene.versions();
    one.ask("SET k one");
    let third = free_address();
    let before = file(scene.listen, scene.redis.address, scene.ports, "");
    let more =
        before.replace("\"1.1.0\" = ", &format!("\"1.2.0\" = \"{third}\", \"1.1.0\" = ")).replace(
            "\"127.0.0.1:2\"] },",
            "\"127.0.0.1:2\"] }, { version = \"1.2.0\", upstreams = [\"127.0.0.1:3\"] },",
        );
    scene.program.write_file(&more);
    let answer = scene.program.say(&["reload"]);
    assert!(answer.contains("+ cache.pages.ports.1.2.0"), "{answer}");
    let mut new = Client::new(third);
    assert_eq!(new.ask("GET k"), Value::Null);
    new.ask("SET k new");
    assert_eq!(one.ask("DEL k"), Value::Line(b':', b"1".to_vec()));
    // Gone again: nobody new comes in, and who is in stays.
    scene.program.write_file(&before);
    scene.program.say(&["reload"]);
    eventually("the door is closed", || TcpStream::connect(third).is_err());
    assert_eq!(new.ask("PING"), Value::Line(b'+', b"PONG".to_vec()));
    assert_eq!(one.ask("PING"), Value::Line(b'+', b"PONG".to_vec()));
}

#[test]
fn a_reload_that_cannot_have_a_port_changes_nothing() {
    let scene = Scene::start();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let before = file(scene.listen, scene.redis.address, scene.ports, "");
    let busy = taken.local_addr().unwrap().to_string();
    scene.program.write_file(&before.replace(&scene.ports[1].to_string(), &busy));
    let refused = scene.program.ask(&["reload"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused.stderr);
    assert!(said.contains("for the cache pages, version 1.1.0"), "{said}");
    assert_eq!(Client::new(scene.ports[1]).ask("PING"), Value::Line(b'+', b"PONG".to_vec()));
    scene
        .program
        .write_file(&before.replace("kind = \"redis\"", "kind = \"redis\"\nmode = \"observe\""));
    let refused = scene.program.ask(&["reload"]);
    assert!(text(&refused.stderr).contains("needs a restart"), "{}", text(&refused.stderr));
}

#[test]
fn a_cache_comes_and_goes_by_a_reload() {
    let scene = Scene::start();
    let [mut one, _] = scene.versions();
    let before = file(scene.listen, scene.redis.address, scene.ports, "");
    let (first, cache) = before.split_once("[[cache]]").unwrap();
    let [other, another] = [free_address(), free_address()];
    let second = cache
        .replace("\"pages\"", "\"jobs\"\nmode = \"observe\"")
        .replace(&scene.ports[0].to_string(), &other.to_string())
        .replace(&scene.ports[1].to_string(), &another.to_string());
    scene.program.write_file(&format!("{before}[[cache]]{second}"));
    let answer = scene.program.say(&["reload"]);
    assert!(answer.contains("+ cache.jobs.mode observe"), "{answer}");
    one.ask("SET k 1");
    assert_eq!(Client::new(other).ask("GET 1.0.0:k"), Value::Bulk(b"1".to_vec()));
    // Without any, and with another one at the same ports.
    scene.program.write_file(first);
    scene.program.say(&["reload"]);
    eventually("the doors are closed", || {
        TcpStream::connect(other).is_err() && TcpStream::connect(scene.ports[0]).is_err()
    });
    assert_eq!(one.ask("GET k"), Value::Bulk(b"1".to_vec()), "who is in stays");
    scene.program.write_file(&before.replace("\"pages\"", "\"sessions\""));
    scene.program.say(&["reload"]);
    assert_eq!(Client::new(scene.ports[0]).ask("GET k"), Value::Bulk(b"1".to_vec()));
    scene.program.write_file(&before);
    scene.program.say(&["reload"]);
    assert_eq!(Client::new(scene.ports[1]).ask("GET k"), Value::Null);
    assert!(scene.program.say(&["cache"]).contains("pages"));
    let said = |port: std::net::SocketAddr| scene.program.log().contains(&format!("listen={port}"));
    assert!(said(scene.ports[0]) && said(scene.ports[1]), "{}", scene.program.log());
}

#[test]
fn nothing_is_left_of_a_cache_that_left_the_file() {
    let scene = Scene::start();
    let [mut one, mut two] = scene.versions();
    two.ask("SET k 1");
    one.ask("DEL k");
    eventually("it is repeated", || two.ask("GET k") == Value::Null);
    let mut server = Client::new(scene.redis.address);
    let mut connections = || {
        let list = server.ask("CLIENT LIST");
        list.text().map(|list| text(list).lines().count())
    };
    assert_eq!(connections(), Some(4), "of both clients, of Weir itself, and this one");
    let before = file(scene.listen, scene.redis.address, scene.ports, "");
    scene.program.write_file(before.split_once("[[cache]]").unwrap().0);
    scene.program.say(&["reload"]);
    eventually("the doors are closed", || TcpStream::connect(scene.ports[0]).is_err());
    assert_eq!(one.ask("PING"), Value::Line(b'+', b"PONG".to_vec()), "who is in stays");
    drop((one, two));
    eventually("Weir has left the server", || connections() == Some(1));
}

#[test]
fn a_port_is_never_closed_by_a_hand_over() {
    let mut scene = Scene::start();
    let [mut one, mut two] = scene.versions();
    one.ask("SET k 1");
    assert_eq!(two.ask("SET k 2"), Value::Line(b'+', b"OK".to_vec()));
    let heir = scene.program.another(&["--replace"]);
    let mut old = scene.program.swap(heir).expect("one runs");
    eventually("the old one ends, and nobody is turned away", || {
        TcpStream::connect(scene.ports[0]).expect("the port is open");
        old.try_wait().unwrap().is_some()
    });
    // Who was in comes again.
    let [mut one, mut two] = scene.versions();
    assert_eq!(one.ask("GET k"), Value::Bulk(b"1".to_vec()));
    assert_eq!(two.ask("GET k"), Value::Bulk(b"2".to_vec()));
    assert_eq!(two.ask("DEL k"), Value::Line(b':', b"1".to_vec()));
    eventually("deletions are repeated by the new one", || one.ask("GET k") == Value::Null);
}
