//! A flush is of one's own namespace only, for all of its connections, and for good.

use super::binary::Message;
use super::client::Client;
use super::conversations::eventually;
use super::{Memcached, Program, Scene, free_address};
use crate::support::upstream::Upstream;

/// Where the server keeps which generation lives.
const RECORD: &str = "1.0.0:_generation";

fn fill(clients: [&mut Client; 2]) {
    for client in clients {
        assert_eq!(client.ask("set k 0 0 1\r\nx"), "STORED");
    }
}

#[test]
fn a_flush_empties_the_own_namespace_on_all_connections_at_once() {
    let scene = Scene::start();
    let [mut one, mut two] = scene.versions();
    let mut other = Client::new(scene.ports[0]);
    fill([&mut one, &mut two]);
    assert_eq!(other.get("k"), Some("x".into()));
    one.send(b"set k 0 0 1\r\ny\r\nflush_all\r\nget k\r\nset k 0 0 1\r\nz\r\nget k\r\n");
    for expected in ["STORED", "OK", "END", "STORED", "VALUE k 0 1", "z", "END"] {
        assert_eq!(one.line().as_deref(), Some(expected));
    }
    assert_eq!(other.get("k"), Some("z".into()));
    assert_eq!(two.get("k"), Some("x".into()), "the other version lost nothing");
    one.send(b"flush_all noreply\r\nget k\r\n");
    assert_eq!(one.line().as_deref(), Some("END"));
    fill([&mut one, &mut two]);
    let mut binary = Client::new(scene.ports[0]);
    let orders = [Message::new(0x18, &[], b"", b""), Message::new(0x08, &[0; 4], b"", b"")];
    for order in orders {
        binary.send(&order.bytes());
    }
    let answer = Message::read(&mut binary).unwrap();
    assert_eq!((answer.code, answer.status), (0x08, 0));
    assert_eq!((one.get("k"), two.get("k")), (None, Some("x".into())));
}

#[test]
fn a_flush_in_time_comes_in_time_and_another_takes_its_place() {
    if super::is_quick("a_flush_in_time_comes_in_time_and_another_takes_its_place") {
        return;
    }
    let mut scene = Scene::start();
    let [mut one, mut two] = scene.versions();
    fill([&mut one, &mut two]);
    assert_eq!(one.ask("flush_all 1"), "OK");
    assert_eq!(one.get("k"), Some("x".into()), "not yet");
    eventually("it is flushed", || one.get("k").is_none());
    assert_eq!(two.get("k"), Some("x".into()));
    // Also if Weir was started anew in between.
    fill([&mut one, &mut two]);
    assert_eq!(one.ask("flush_all 4"), "OK");
    scene.program.kill();
    scene.program.restart();
    let [mut one, mut two] = scene.versions();
    assert_eq!(one.get("k"), Some("x".into()), "the generation outlives Weir");
    eventually("it is flushed after a restart", || one.get("k").is_none());
    assert_eq!(two.get("k"), Some("x".into()));
    fill([&mut one, &mut two]);
    assert_eq!(one.ask("flush_all 1000"), "OK");
    assert_eq!(one.ask("flush_all 0"), "OK");
    assert_eq!(one.get("k"), None);
}

#[test]
fn a_generation_that_the_server_has_lost_brings_nothing_old_back() {
    let mut scene = Scene::start();
    let [mut one, mut two] = scene.versions();
    let mut server = Client::new(scene.memcached.address);
    fill([&mut one, &mut two]);
    let before = server.get(RECORD).expect("it is kept");
    assert_eq!(one.ask("flush_all"), "OK");
    let flushed = server.get(RECORD).expect("it is kept");
    assert!(flushed > before, "{flushed}");
    one.ask("set k 0 0 3\r\nnew");
    // Evicted while Weir knows it: it is written anew, and what was there stays.
    server.ask(&format!("delete {RECORD}"));
    eventually("it is written anew", || server.get(RECORD).as_ref() == Some(&flushed));
    assert_eq!(one.get("k"), Some("new".into()));
    // An older one is not believed.
    server.ask(&format!("set {RECORD} 0 0 {}\r\n{before}", before.len()));
    eventually("the newer one is written", || server.get(RECORD).as_ref() == Some(&flushed));
    // Evicted while nobody knows it: the old generations stay where they are.
    scene.program.kill();
    server.ask(&format!("delete {RECORD}"));
    scene.program.restart();
    let [mut one, mut two] = scene.versions();
    assert_eq!(one.get("k"), None);
    assert_eq!(two.get("k"), Some("x".into()), "the other version's was there");
    assert!(server.get(RECORD).expect("it is kept") > flushed);
    server.ask(&format!("set {RECORD} 0 0 8\r\nnonsense"));
    one.ask("set k 0 0 1\r\ny");
    eventually("nonsense is written over", || {
        server.get(RECORD).is_some_and(|text| text > flushed)
    });
    assert_eq!(one.get("k"), Some("y".into()));
}

#[test]
fn two_processes_know_of_each_others_flushes() {
    let scene = Scene::start();
    let [mut one, mut two] = scene.versions();
    fill([&mut one, &mut two]);
    // As in a hand-over: another Weir, whose clients are on other ports.
    let ports = [free_address(), free_address()];
    let _other = Program::start(&super::file(scene.memcached.address, ports, ""));
    let mut successor = Client::new(ports[0]);
    assert_eq!(successor.get("k"), Some("x".into()));
    assert_eq!(successor.ask("flush_all"), "OK");
    eventually("the first process has heard of it", || one.get("k").is_none());
    one.ask("set k 0 0 1\r\ny");
    assert_eq!(successor.get("k"), Some("y".into()));
    assert_eq!(one.ask("flush_all"), "OK");
    eventually("and the second of the first's", || successor.get("k").is_none());
    assert_eq!(two.get("k"), Some("x".into()));
}

#[test]
fn what_a_release_that_is_rolled_back_has_is_gone_at_once_and_a_flush_after_it_counts() {
    let apps = ["1.0.0", "1.1.0"].map(Upstream::start);
    let (memcached, ports) = (Memcached::start(&[]), [free_address(), free_address()]);
    let file = super::file(memcached.address, ports, "")
        .replace("127.0.0.1:1\"", &format!("{}\"", apps[0].address))
        .replace("127.0.0.1:2\"", &format!("{}\"", apps[1].address));
    let program = Program::start(&format!("[state]\npath = \"weir.db\"\n{file}"));
    eventually("the canary is healthy", || program.ask(&["start", "web"]).status.success());
    let [mut one, mut two] = ports.map(Client::new);
    fill([&mut one, &mut two]);
    let said = program.say(&["rollback", "web"]);
    assert!(said.contains("what 1.1.0 has in the cache pages is thrown away"), "{said}");
    assert_eq!((one.get("k"), two.get("k")), (Some("x".into()), None));
    assert_eq!(two.ask("set k 0 0 1\r\ny"), "STORED");
    assert_eq!(Client::new(ports[1]).get("k"), Some("y".into()));
    // Within the same second, too.
    assert_eq!(two.ask("flush_all"), "OK");
    assert_eq!((one.get("k"), two.get("k")), (Some("x".into()), None));
}

#[test]
fn a_flush_that_cannot_be_kept_is_no_flush() {
    let mut scene = Scene::start();
    let [mut one, _] = scene.versions();
    assert_eq!(one.ask("set k 0 0 1\r\nx"), "STORED");
    scene.memcached.kill();
    one.send(b"flush_all\r\n");
    assert_eq!(one.line(), None, "the server has gone");
    assert!(scene.file.contains("memcached"));
}
