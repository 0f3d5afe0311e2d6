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
