//! Other parts than a prefix: databases of their own, and keys that versions share.

use weir::namespace::resp::{self, Value};

use super::client::Client;
use super::conversations::{eventually, number, ok, text, texts};
use super::{Redis, Scene, differential, file, free_address};
use crate::support::program::Program;

const DATABASES: &str = "mode = \"db\"\ndatabases = { \"1.0.0\" = \"0-7\", \"1.1.0\" = \"8-15\" }";

fn error(value: &Value) -> String {
    let Value::Error(error) = value else { panic!("{value:?}") };
    String::from_utf8_lossy(error).into_owned()
}

#[test]
fn versions_with_databases_of_their_own_do_not_meet() {
    let scene = Scene::start_with(DATABASES);
    let [mut one, mut two] = scene.versions();
    let mut server = Client::new(scene.redis.address);
    for (client, value) in [(&mut one, "1"), (&mut two, "2")] {
        assert_eq!(client.ask(&format!("SET k {value}")), ok());
        assert_eq!(client.ask("SELECT 7"), ok());
        assert_eq!(client.ask(&format!("SET last {value}")), ok());
        assert_eq!(client.ask("DBSIZE"), number(1));
        assert_eq!(client.ask("RANDOMKEY"), text("last"));
        assert_eq!(error(&client.ask("SELECT 8")), "ERR DB index is out of range");
        assert_eq!(error(&client.ask("SELECT -1")), "ERR DB index is out of range");
        assert_eq!(error(&client.ask("MOVE last 8")), "ERR DB index is out of range");
        assert_eq!(error(&client.ask("COPY last other DB 8")), "ERR DB index is out of range");
        assert_eq!(error(&client.ask("SWAPDB 0 8")), "ERR DB index is out of range");
        assert_eq!(client.ask("COPY last other DB 3"), number(1));
        assert_eq!(client.ask("MOVE other 3"), number(0));
        assert_eq!(client.ask("SWAPDB 0 7"), ok());
        assert_eq!(client.ask("GET k"), text(value));
    }
    for (database, key) in
        [(7, "k"), (0, "last"), (3, "other"), (15, "k"), (8, "last"), (11, "other")]
    {
        server.ask(&format!("SELECT {database}"));
        assert_eq!(server.ask("KEYS *"), texts(&[key]), "{database}");
    }
    // All of one's own, and nothing of the other's; inside a transaction as well.
    assert_eq!(one.ask("FLUSHALL"), ok());
    assert_eq!(one.ask("DBSIZE"), number(0));
    one.ask("SET k 1");
    for line in ["MULTI", "FLUSHALL", "DBSIZE"] {
        one.ask(line);
    }
    assert_eq!(one.ask("EXEC"), Value::List(vec![ok(), number(0)]));
    assert_eq!(two.ask("GET k"), text("2"));
    assert_eq!(two.ask("FLUSHDB"), ok());
    assert_eq!(two.ask("SELECT 0"), ok());
    assert_eq!(two.ask("GET last"), text("2"));
    // A new beginning is in the first database of the release, too.
    assert_eq!(two.ask("RESET"), Value::Line(b'+', b"RESET".to_vec()));
    assert_eq!(two.ask("GET last"), text("2"));
    two.send(b"*1\r\n$5\r\nHELLO\r\n*2\r\n$3\r\nGET\r\n$4\r\nlast\r\n");
    assert!(matches!(two.answer(), Some(Value::List(_))));
    assert_eq!(two.answer(), Some(text("2")));
}

#[test]
fn answers_in_databases_of_its_own_are_those_of_a_redis_without_weir() {
    if super::is_quick("answers_in_databases_of_its_own_are_those_of_a_redis_without_weir") {
        return;
    }
    let (direct, scene) = (Redis::start(&[]), Scene::start_with(DATABASES));
    for seed in 201..=203 {
        let played = differential::difference(direct.address, scene.ports[1], seed, 50);
        assert_eq!(played, Ok(()));
    }
}

#[test]
fn what_one_deletes_is_gone_in_the_same_database_of_the_other() {
    let scene = Scene::start_with(DATABASES);
    let [mut one, mut two] = scene.versions();
    for database in [0, 5] {
        for client in [&mut one, &mut two] {
            assert_eq!(client.ask(&format!("SELECT {database}")), ok());
            client.ask("MSET a 1 b 1 c 1");
        }
        two.ask("DEL a");
        one.ask("EXPIREAT b 1");
        eventually("both are gone", || {
            one.ask("EXISTS a") == number(0) && two.ask("EXISTS b") == number(0)
        });
        assert_eq!((one.ask("EXISTS c"), two.ask("EXISTS c")), (number(1), number(1)));
    }
}

#[test]
fn nobody_is_in_a_foreign_database_before_the_password_is_said() {
    let redis = Redis::start(&["--requirepass", "s3cret"]);
    let ports = [free_address(), free_address()];
    let program = Program::start(&file(free_address(), redis.address, ports, DATABASES));
    let mut two = Client::new(ports[1]);
    assert!(error(&two.ask("SET k 2")).starts_with("NOAUTH"));
    let line = |line: &str| resp::command(&line.split(' ').collect::<Vec<_>>());
    two.send(&[line("SET k 2"), line("AUTH s3cret"), line("SET k 2")].concat());
    assert!(error(&two.answer().unwrap()).starts_with("NOAUTH"));
    assert_eq!((two.answer(), two.answer()), (Some(ok()), Some(ok())));
    let mut server = Client::new(redis.address);
    server.ask("AUTH s3cret");
    assert_eq!(server.ask("DBSIZE"), number(0));
    server.ask("SELECT 8");
    assert_eq!(server.ask("GET k"), text("2"));
    drop(program);
}

#[test]
fn shared_keys_and_channels_are_one_for_all_versions() {
    let scene =
        Scene::start_with("share = [\"queue:*\", \"retry\"]\nisolate = [\"queue:cache:*\"]");
    let [mut one, mut two] = scene.versions();
    let mut server = Client::new(scene.redis.address);
    one.ask("MSET queue:mail 1 retry 1 queue:cache:x 1 page 1");
    assert_eq!(
        two.ask("MGET queue:mail retry queue:cache:x page"),
        Value::List(vec![text("1"), text("1"), Value::Null, Value::Null])
    );
    assert_eq!(server.ask("EXISTS queue:mail retry 1.0.0:queue:cache:x 1.0.0:page"), number(4));
    // What concerns all keys concerns the own ones.
    assert_eq!(one.ask("DBSIZE"), number(2));
    assert_eq!(one.ask("KEYS queue:*"), texts(&["queue:cache:x"]));
    one.ask("RPUSH queue:jobs job");
    assert_eq!(two.ask("BLPOP page2 queue:jobs 1"), texts(&["queue:jobs", "job"]));
    let mut listener = Client::new(scene.ports[0]);
    listener.ask("SUBSCRIBE queue:news");
    listener.ask("SUBSCRIBE news");
    listener.ask("PSUBSCRIBE __keyspace@0__:queue:mail");
    assert_eq!(two.ask("PUBLISH queue:news all"), number(1));
    assert_eq!(two.ask("PUBLISH news foreign"), number(0));
    two.ask("APPEND queue:mail 2");
    assert_eq!(listener.answer(), Some(texts(&["message", "queue:news", "all"])));
    let (pattern, event) = ("__keyspace@0__:queue:mail", "append");
    assert_eq!(listener.answer(), Some(texts(&["pmessage", pattern, pattern, event])));
    // A shared key is deleted once, and not again when it is written anew.
    two.ask("SET page 2");
    one.send(
        &[
            resp::command(&["DEL", "retry"]),
            resp::command(&["SET", "retry", "2"]),
            resp::command(&["DEL", "page"]),
        ]
        .concat(),
    );
    for _ in 0..3 {
        one.answer();
    }
    eventually("the page is gone", || two.ask("EXISTS page") == number(0));
    assert_eq!(two.ask("GET retry"), text("2"));
    assert_eq!(one.ask("FLUSHALL"), ok());
    assert_eq!(server.ask("EXISTS queue:mail retry"), number(2));
}
