//! What two versions on one Redis see of each other: nothing, but that what one has deleted is
//! gone. What a connection can do beside questions and answers.

use std::io::Write as _;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use weir::namespace::resp::{self, Value};

use super::client::Client;
use super::{Redis, Scene, file, free_address};
use crate::support::program::{Program, get};

/// How long what happens beside may take: the machine is busy.
const SOON: Duration = Duration::from_mins(2);

pub fn text(text: &str) -> Value {
    Value::Bulk(text.into())
}

pub fn texts(list: &[&str]) -> Value {
    Value::List(list.iter().map(|one| text(one)).collect())
}

pub fn ok() -> Value {
    Value::Line(b'+', b"OK".to_vec())
}

pub fn number(number: i64) -> Value {
    Value::Line(b':', number.to_string().into_bytes())
}

pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < SOON, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn two_versions_never_see_each_others_keys() {
    let scene = Scene::start();
    let [mut one, mut two] = scene.versions();
    let mut server = Client::new(scene.redis.address);
    assert_eq!(one.ask("SET k one"), ok());
    assert_eq!(two.ask("GET k"), Value::Null);
    assert_eq!(two.ask("SET k two"), ok());
    assert_eq!(two.ask("SET own 2"), ok());
    assert_eq!(one.ask("GET k"), text("one"));
    assert_eq!(one.ask("KEYS *"), texts(&["k"]));
    assert_eq!(one.ask("SCAN 0 COUNT 100"), Value::List(vec![text("0"), texts(&["k"])]));
    assert_eq!((one.ask("DBSIZE"), two.ask("DBSIZE")), (number(1), number(2)));
    for _ in 0..20 {
        assert_eq!(one.ask("RANDOMKEY"), text("k"));
    }
    assert_eq!(server.ask("EXISTS 1.0.0:k 1.1.0:k 1.1.0:own"), number(3));
    // Also in another database.
    assert_eq!(one.ask("SELECT 3"), ok());
    assert_eq!(one.ask("SET third 3"), ok());
    assert_eq!(one.ask("FLUSHALL"), ok());
    assert_eq!(one.ask("DBSIZE"), number(0));
    assert_eq!(one.ask("SELECT 0"), ok());
    assert_eq!(one.ask("DBSIZE"), number(0));
    assert_eq!(one.ask("RANDOMKEY"), Value::Null);
    assert_eq!(two.ask("GET k"), text("two"));
    for line in ["MULTI", "SET a 1", "DBSIZE", "RANDOMKEY", "FLUSHDB", "DBSIZE"] {
        two.ask(line);
    }
    let Value::List(done) = two.ask("EXEC") else { panic!("a transaction") };
    assert_eq!((&done[1], &done[3], &done[4]), (&number(3), &ok(), &number(0)));
    assert_eq!(server.ask("DBSIZE"), number(0));
}

#[test]
fn all_of_many_keys_are_flushed() {
    let scene = Scene::start();
    let [mut one, mut two] = scene.versions();
    let commands: Vec<u8> = (0..5000)
        .flat_map(|number| resp::command(&["SET", &format!("key:{number}"), "v"]))
        .collect();
    for client in [&mut one, &mut two] {
        client.send(&commands);
        (0..5000).for_each(|_| assert_eq!(client.answer(), Some(ok())));
    }
    assert_eq!(one.ask("DBSIZE"), number(5000));
    // Requests behind it wait for it.
    one.send(&[resp::command(&["FLUSHDB"]), resp::command(&["DBSIZE"])].concat());
    assert_eq!(one.answer(), Some(ok()));
    assert_eq!(one.answer(), Some(number(0)));
    assert_eq!(two.ask("DBSIZE"), number(5000));
}

#[test]
fn what_one_version_deletes_is_gone_for_the_other() {
    let scene = Scene::start();
    let [mut one, mut two] = scene.versions();
    let both = |one: &mut Client, two: &mut Client| {
        for key in ["a", "b", "c", "d", "e"] {
            one.ask(&format!("SET {key} 1"));
            two.ask(&format!("SET {key} 2"));
        }
    };
    both(&mut one, &mut two);
    one.ask("DEL a");
    one.ask("UNLINK b");
    one.ask("GETDEL c");
    one.ask("EXPIRE d 0");
    one.ask("EXPIREAT e 4000000000");
    eventually("what was deleted is gone", || two.ask("EXISTS a b c d") == number(0));
    assert_eq!(two.ask("GET e"), text("2"), "what was not deleted is there");
    one.ask("PEXPIREAT e 1");
    eventually("what was over long ago is gone", || two.ask("EXISTS e") == number(0));
    two.ask("SET e 2");
    one.ask("SET e 1");
    one.ask("GETEX e EXAT 1");
    eventually("by GETEX as well", || two.ask("EXISTS e") == number(0));
    one.ask("SELECT 5");
    two.ask("SELECT 5");
    both(&mut one, &mut two);
    for line in ["MULTI", "DEL a", "EXEC"] {
        one.ask(line);
    }
    eventually("also in another database", || two.ask("EXISTS a") == number(0));
    for line in ["MULTI", "DEL b", "DISCARD", "MULTI", "DEL c", "NOSUCH", "EXEC", "DEL d"] {
        one.ask(line);
    }
    eventually("in the order of deletions", || two.ask("EXISTS d") == number(0));
    assert_eq!(two.ask("EXISTS b c"), number(2), "what was not done is not repeated");
}

#[test]
fn deletions_stay_where_they_are_if_the_file_says_so() {
    let scene = Scene::start_with("invalidate = \"own\"");
    let [mut one, mut two] = scene.versions();
    one.ask("SET a 1");
    two.ask("SET a 2");
    one.ask("DEL a");
    one.ask("SET b 1");
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(two.ask("GET a"), text("2"));
}

#[test]
fn channels_belong_to_a_version_too() {
    let scene = Scene::start();
    let [mut one, mut two] = scene.versions();
    let mut listener = Client::new(scene.ports[0]);
    listener.ask("SUBSCRIBE news");
    listener.ask("PSUBSCRIBE __keyevent@0__:set");
    assert_eq!(two.ask("PUBLISH news foreign"), number(0));
    assert_eq!(two.ask("SET foreign 1"), ok());
    assert_eq!(one.ask("PUBSUB CHANNELS"), texts(&["news"]));
    assert_eq!(two.ask("PUBSUB CHANNELS"), texts(&[]));
    assert_eq!(one.ask("PUBLISH news own"), number(1));
    assert_eq!(one.ask("SET own 1"), ok());
    assert_eq!(listener.answer(), Some(texts(&["message", "news", "own"])));
    let event = texts(&["pmessage", "__keyevent@0__:set", "__keyevent@0__:set", "own"]);
    assert_eq!(listener.answer(), Some(event));
    assert_eq!(listener.ask("UNSUBSCRIBE").list().unwrap()[1], text("news"));
    listener.ask("PUNSUBSCRIBE");
    assert_eq!(listener.ask("GET own"), text("1"));
}

#[test]
fn a_client_is_told_when_what_it_has_read_changes() {
    let scene = Scene::start();
    let [mut one, mut two] = scene.versions();
    let mut writer = Client::new(scene.ports[0]);
    one.ask("HELLO 3");
    one.ask("CLIENT TRACKING ON");
    one.ask("GET k");
    two.ask("SET k foreign");
    writer.ask("SET k own");
    assert_eq!(one.answer(), Some(Value::List(vec![text("invalidate"), texts(&["k"])])));
    assert_eq!(one.ask("GET k"), text("own"));
    one.ask("RESET");
    assert_eq!(one.ask("HELLO 2").list().unwrap()[5], number(2));
}

#[test]
fn channels_of_a_shard_belong_to_a_version_too() {
    let scene = Scene::start();
    let [mut one, mut two] = scene.versions();
    let mut listener = Client::new(scene.ports[0]);
    let confirmed = listener.ask("SSUBSCRIBE news");
    assert_eq!(confirmed, Value::List(vec![text("ssubscribe"), text("news"), number(1)]));
    assert_eq!(two.ask("SPUBLISH news foreign"), number(0));
    assert_eq!(one.ask("PUBSUB SHARDCHANNELS"), texts(&["news"]));
    assert_eq!(two.ask("PUBSUB SHARDCHANNELS"), texts(&[]));
    let counted = one.ask("PUBSUB SHARDNUMSUB news");
    assert_eq!(counted, Value::List(vec![text("news"), number(1)]));
    assert_eq!(one.ask("SPUBLISH news own"), number(1));
    assert_eq!(listener.answer(), Some(texts(&["smessage", "news", "own"])));
    let left = listener.ask("SUNSUBSCRIBE");
    assert_eq!(left, Value::List(vec![text("sunsubscribe"), text("news"), number(0)]));
    assert_eq!(listener.ask("GET own"), Value::Null);
}

#[test]
fn what_has_changed_is_told_to_another_connection_in_resp2() {
    let scene = Scene::start();
    let [mut one, mut two] = scene.versions();
    let mut listener = Client::new(scene.ports[0]);
    let id = listener.ask("CLIENT ID").integer().unwrap();
    listener.ask("SUBSCRIBE __redis__:invalidate");
    assert_eq!(one.ask(&format!("CLIENT TRACKING ON REDIRECT {id}")), ok());
    one.ask("GET k");
    two.ask("SET k foreign");
    one.ask("SET k own");
    let told = Value::List(vec![text("message"), text("__redis__:invalidate"), texts(&["k"])]);
    assert_eq!(listener.answer(), Some(told));
}

#[test]
fn an_element_is_not_lost_when_who_waits_for_it_goes_away() {
    let scene = Scene::start();
    let [mut one, _] = scene.versions();
    let mut server = Client::new(scene.redis.address);
    let blocked = |server: &mut Client| {
        let Value::Bulk(info) = server.ask("INFO clients") else { panic!("INFO") };
        String::from_utf8_lossy(&info).contains("blocked_clients:1")
    };
    for shutdown in [true, false] {
        let mut waiting = Client::new(scene.ports[0]);
        waiting.send(&resp::command(&["BLPOP", "queue", "0"]));
        eventually("it waits", || blocked(&mut server));
        if shutdown {
            waiting.stream().shutdown(Shutdown::Both).unwrap();
        }
        drop(waiting);
        eventually("the server knows", || !blocked(&mut server));
        one.ask("RPUSH queue job");
        assert_eq!(one.ask("LRANGE queue 0 -1"), texts(&["job"]));
        one.ask("DEL queue");
    }
    // Whoever does not wait for an answer has been heard all the same.
    let mut hasty = Client::new(scene.ports[0]);
    hasty.send(&resp::command(&["SET", "hasty", &"x".repeat(3_000_000)]));
    drop(hasty);
    eventually("it is written", || one.ask("STRLEN hasty") == number(3_000_000));
}

#[test]
fn what_is_refused_is_refused_in_order_and_by_name() {
    let scene = Scene::start();
    let [mut one, mut two] = scene.versions();
    let refused = |value: &Value, words: &str| {
        let Value::Error(error) = value else { panic!("{value:?}") };
        let error = String::from_utf8_lossy(error);
        assert!(error.contains(words), "{error}");
    };
    one.send(
        &["SET a 1", "CONFIG SET maxmemory 1", "GET a", "NOSUCH a", "GET a"]
            .map(|line| resp::command(&line.split(' ').collect::<Vec<_>>()))
            .concat(),
    );
    assert_eq!(one.answer(), Some(ok()));
    refused(&one.answer().unwrap(), "Weir refuses 'config set'");
    assert_eq!(one.answer(), Some(text("1")));
    refused(&one.answer().unwrap(), "unknown command 'nosuch'");
    assert_eq!(one.answer(), Some(text("1")));
    for line in ["MULTI", "SET a 2", "SHUTDOWN"] {
        one.ask(line);
    }
    refused(&one.ask("EXEC"), "EXECABORT");
    assert_eq!(one.ask("GET a"), text("1"), "and nothing of it was done");
    refused(&one.ask("SUBSCRIBE"), "wrong number of arguments");
    two.send(b"*1\r\n$3\r\nGET\r\n*x\r\n");
    refused(&two.answer().unwrap(), "wrong number of arguments");
    refused(&two.answer().unwrap(), "Protocol error: invalid multibulk length");
    assert_eq!(two.answer(), None, "then it is closed");
    let mut web = Client::new(scene.ports[0]);
    web.send(b"POST / HTTP/1.1\r\nHost: cache\r\n\r\n");
    assert_eq!(web.answer(), None);
}

#[test]
fn large_values_pass_in_small_memory() {
    if super::is_quick("large_values_pass_in_small_memory") {
        return;
    }
    let scene = Scene::start();
    let [mut one, _] = scene.versions();
    let (size, part) = (256 << 20, vec![b'v'; 1 << 20]);
    one.send(format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${size}\r\n").as_bytes());
    for _ in 0..size / part.len() {
        one.send(&part);
    }
    one.send(b"\r\n");
    assert_eq!(one.answer(), Some(ok()));
    let mut stream = TcpStream::connect(scene.ports[0]).unwrap();
    stream.write_all(&resp::command(&["GET", "k"])).unwrap();
    let got = std::io::copy(&mut std::io::Read::take(&stream, size as u64), &mut std::io::sink());
    assert_eq!(got.unwrap(), size as u64);
    let status = format!("/proc/{}/status", scene.program.pid());
    let status = std::fs::read_to_string(status).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 128 * 1024, "{peak} KiB at the most");
}

#[test]
fn a_server_that_dies_closes_the_client_and_nothing_is_invented() {
    let mut scene = Scene::start();
    let [mut one, _] = scene.versions();
    assert_eq!(one.ask("SET a 1"), ok());
    scene.redis.kill();
    one.send(&resp::command(&["GET", "a"]));
    assert_eq!(one.answer(), None);
    assert_eq!(Client::new(scene.ports[0]).answer(), None, "nobody is there");
    // A server that dies in the middle of an answer.
    let (server, ports) =
        (TcpListener::bind("127.0.0.1:0").unwrap(), [free_address(), free_address()]);
    let address = server.local_addr().unwrap();
    let _program = Program::start(&file(free_address(), address, ports, ""));
    let mut client = Client::new(ports[0]);
    client.send(&resp::command(&["GET", "a"]));
    let (mut stream, _) = server.accept().unwrap();
    stream.write_all(b"$100\r\nhalf of").unwrap();
    drop(stream);
    assert_eq!(client.answer(), None);
}

#[test]
fn a_password_is_the_apps_or_weirs() {
    let redis = Redis::start(&["--requirepass", "s3cret"]);
    let ports = [free_address(), free_address()];
    let listen = free_address();
    let program = Program::start(&file(listen, redis.address, ports, ""));
    let mut app = Client::new(ports[0]);
    assert!(matches!(app.ask("GET a"), Value::Error(error) if error.starts_with(b"NOAUTH")));
    assert_eq!(app.ask("AUTH s3cret"), ok());
    assert_eq!(app.ask("SET a 1"), ok());
    let mut other = Client::new(ports[1]);
    other.ask("HELLO 3 AUTH default s3cret");
    assert_eq!(other.ask("SET a 2"), ok());
    assert_eq!(app.ask("DEL a"), number(1));
    eventually("what was deleted is gone", || other.ask("GET a") == Value::Null);
    drop(program);
    let file = file(listen, redis.address, ports, "");
    let known = file.replace("redis://127", "redis://:s3cret@127");
    let program = Program::start(&known);
    assert_eq!(Client::new(ports[0]).ask("SET a 1"), ok());
    assert!(!program.log().contains("s3cret"), "a password is shown");
}

#[test]
fn with_a_server_each_what_one_version_deletes_is_deleted_on_the_others() {
    let (mine, theirs) = (Redis::start(&[]), Redis::start(&["--requirepass", "secret"]));
    let (ports, listen) = ([free_address(), free_address()], free_address());
    let servers = format!(
        "mode = \"instance\"\nupstreams = {{ \"1.0.0\" = \"redis://{}\", \"1.1.0\" = \"redis://{}\" }}",
        mine.address, theirs.address
    );
    let shared = format!("upstream = \"redis://{}\"", mine.address);
    let text = file(listen, mine.address, ports, "").replace(&shared, &servers);
    let program = Program::start(&text);
    let [mut one, mut two] = ports.map(Client::new);
    // Weir remembers what the app is let in with, at each server.
    assert_eq!(two.ask("AUTH secret"), ok());
    for client in [&mut one, &mut two] {
        client.ask("SELECT 2");
        for key in ["a", "b", "c", "kept"] {
            client.ask(&format!("SET {key} v"));
        }
    }
    assert_eq!(one.ask("DEL a"), number(1));
    assert_eq!(two.ask("EXPIRE b 0"), number(1));
    two.ask("MULTI");
    two.ask("UNLINK c");
    two.ask("EXEC");
    eventually("it is deleted there", || two.ask("EXISTS a b c") == number(0));
    eventually("and here", || one.ask("EXISTS a b c") == number(0));
    assert_eq!((one.ask("EXISTS kept"), two.ask("EXISTS kept")), (number(1), number(1)));
    let counted = |version: &str| {
        let wanted = format!("weir_cache_repeats_total{{cache=\"pages\",version=\"{version}\"}}");
        let page = get(program.admin(), "/metrics").unwrap_or_default();
        let line = page.lines().find_map(|line| line.strip_prefix(&wanted).map(str::to_owned));
        line.unwrap_or_else(|| page.clone()).trim().to_owned()
    };
    eventually("they are counted", || counted("1.0.0") == "1" && counted("1.1.0") == "2");
}

#[test]
fn a_client_that_asks_more_than_is_remembered_gets_all_answers_as_it_reads() {
    if super::is_quick("a_client_that_asks_more_than_is_remembered_gets_all_answers_as_it_reads") {
        return;
    }
    let scene = Scene::start();
    let mut asks = TcpStream::connect(scene.ports[0]).unwrap();
    let mut reads = asks.try_clone().unwrap();
    reads.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    let count = 2_000_000;
    let asking = std::thread::spawn(move || {
        let part = resp::command(&["GET", "k"]).repeat(1000);
        (0..count / 1000).for_each(|_| asks.write_all(&part).unwrap());
    });
    // It reads nothing for a while.
    std::thread::sleep(Duration::from_secs(2));
    let (mut seen, mut part) = (0, vec![0; 1 << 16]);
    while seen < count * b"$-1\r\n".len() {
        let read = std::io::Read::read(&mut reads, &mut part).unwrap();
        assert!(read > 0, "closed after {seen} bytes");
        seen += read;
    }
    asking.join().unwrap();
}
