//! What clients of two versions see of each other, and what the server is never told.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::binary::Message;
use super::client::Client;
use super::{Memcached, Scene, file, free_address};
use crate::support::program::{Program, get};

/// How long something may take that happens by itself: the machine is busy.
const SOON: Duration = Duration::from_mins(2);

pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < SOON, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn versions_never_see_each_others_keys() {
    let scene = Scene::start();
    let [mut one, mut two] = scene.versions();
    assert_eq!(one.ask("set k 0 0 3\r\none"), "STORED");
    assert_eq!(two.get("k"), None);
    assert_eq!(two.ask("add k 0 0 3\r\ntwo"), "STORED");
    assert_eq!((one.get("k"), two.get("k")), (Some("one".into()), Some("two".into())));
    assert_eq!(one.ask("ms k 4 T0\r\nmeta"), "HD");
    assert_eq!(two.ask("mg k s k"), "HD s3 kk");
    let mut two = Client::new(scene.ports[1]);
    two.send(&Message::new(0x0c, &[], b"k", b"").bytes());
    let answer = Message::read(&mut two).unwrap();
    assert_eq!((&*answer.key, &*answer.value), (&b"k"[..], &b"two"[..]));
    let mut server = Client::new(scene.memcached.address);
    assert_eq!(server.get("k"), None, "nothing stands without its version");
}

#[test]
fn a_value_after_a_key_that_is_too_long_is_no_command() {
    let scene = Scene::start();
    let [mut one, _] = scene.versions();
    let mut server = Client::new(scene.memcached.address);
    server.ask("set mine 0 0 1\r\nx");
    let long = "k".repeat(251);
    one.send(format!("set {long} 0 0 9 noreply\r\nflush_all\r\n").as_bytes());
    one.send(format!("ms {long} 9 q\r\nflush_all\r\n").as_bytes());
    assert_eq!(one.line().as_deref(), Some("CLIENT_ERROR bad command line format"));
    assert_eq!(
        one.ask(&format!("set {long} 0 0 9\r\nflush_all")),
        "CLIENT_ERROR bad command line format"
    );
    assert_eq!(one.ask("set k 0 0 1\r\nv"), "STORED", "the step is kept");
    assert_eq!(server.get("mine"), Some("x".into()), "nothing was flushed");
    // All lengths that fit the server without Weir.
    for length in 180..=250 {
        let key = "l".repeat(length);
        assert_eq!(one.ask(&format!("set {key} 0 0 4\r\n{length:04}")), "STORED", "{length}");
        assert_eq!(one.get(&key), Some(format!("{length:04}")));
    }
    let mut other = Client::new(scene.ports[1]);
    for length in [216, 217, 250] {
        let key = "l".repeat(length);
        other.send(&Message::new(0x01, &[0; 8], key.as_bytes(), b"value").bytes());
        assert_eq!(Message::read(&mut other).unwrap().status, 0);
        other.send(&Message::new(0x0c, &[], key.as_bytes(), b"").bytes());
        let answer = Message::read(&mut other).unwrap();
        assert_eq!((answer.status, answer.key), (0, key.into_bytes()));
    }
    other.send(&Message::new(0x00, &[], &[b'k'; 251], b"").bytes());
    assert_eq!(Message::read(&mut other).unwrap().status, 4, "invalid");
    assert_eq!(Message::read(&mut other), None, "and closed, as memcached does it");
    let mut endless = Client::new(scene.ports[0]);
    endless.send(&[&b"get k\r\nset "[..], &[b'k'; 5000]].concat());
    assert_eq!(endless.until(b"nothing"), b"VALUE k 0 1\r\nv\r\nEND\r\n");
}

#[test]
fn what_one_version_deletes_is_deleted_for_the_other() {
    let scene = Scene::start();
    let [mut one, mut two] = scene.versions();
    let long = "k".repeat(240);
    let keys = ["a", "b", "c", "d", "e", &long];
    for client in [&mut one, &mut two] {
        for key in keys.iter().chain(&["kept"]) {
            assert_eq!(client.ask(&format!("set {key} 0 0 1\r\nx")), "STORED");
        }
    }
    assert_eq!(one.ask("delete a"), "DELETED");
    // "b".
    assert_eq!(one.ask("md Yg== b"), "HD");
    assert_eq!(one.ask("touch c -1"), "TOUCHED");
    one.send(b"delete d noreply\r\n");
    assert_eq!(one.ask(&format!("delete {long}")), "DELETED");
    assert_eq!(
        one.ask("delete kept x"),
        "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]"
    );
    let mut binary = Client::new(scene.ports[0]);
    binary.send(&Message::new(0x14, &[], b"e", b"").bytes());
    for key in keys {
        eventually("what was deleted is gone", || two.get(key).is_none());
    }
    // Of one that only the other has.
    two.ask("set f 0 0 1\r\nx");
    assert_eq!(one.ask("delete f"), "NOT_FOUND");
    eventually("it is gone, too", || two.get("f").is_none());
    assert_eq!(two.get("kept"), Some("x".into()));
    // Names that no line can have.
    let mut other = Client::new(scene.ports[1]);
    other.send(&Message::new(0x01, &[0; 8], b"a b\nflush_all", b"v").bytes());
    assert_eq!(Message::read(&mut other).unwrap().status, 0);
    binary.send(&Message::new(0x14, &[], b"a b\nflush_all", b"").bytes());
    eventually("it is gone by its name in base64", || {
        other.send(&Message::new(0x00, &[], b"a b\nflush_all", b"").bytes());
        Message::read(&mut other).unwrap().status == 1
    });
    let metrics = get(scene.program.admin(), "/metrics").unwrap();
    assert!(
        metrics.contains("weir_cache_repeats_total{cache=\"pages\",version=\"1.0.0\"} "),
        "{metrics}"
    );
    assert!(
        metrics.contains("weir_cache_failed_repeats_total{cache=\"pages\",version=\"1.0.0\"} 0"),
        "{metrics}"
    );
}

#[test]
fn a_login_in_text_is_said_by_weir() {
    let place = tempfile::tempdir().unwrap();
    let users = place.path().join("users");
    std::fs::write(&users, "weir:s3cret\n").unwrap();
    let memcached = Memcached::start(&["-Y", users.to_str().unwrap()]);
    let ports = [free_address(), free_address()];
    let known = file(memcached.address, ports, "");
    let program = Program::start(&known.replace("memcached://", "memcached://weir:s3cret@"));
    let [mut one, mut two] = ports.map(Client::new);
    assert_eq!(one.ask("set k 0 0 1\r\nx"), "STORED");
    assert_eq!((one.get("k"), two.get("k")), (Some("x".into()), None));
    assert!(!program.log().contains("s3cret"), "a password is shown");
    drop(program);
    let _program = Program::start(&known.replace("memcached://", "memcached://weir:wrong@"));
    assert_eq!(Client::new(ports[0]).line(), None, "nobody is let in");
}

#[test]
fn what_concerns_the_whole_server_is_refused_and_the_step_is_kept() {
    let scene = Scene::start();
    let [mut one, _] = scene.versions();
    one.ask("set k 0 0 1\r\nv");
    for order in [
        "shutdown",
        "cache_memlimit 1",
        "slabs automove 0",
        "lru_crawler metadump all",
        "watch",
        "stats reset",
        "stats cachedump 1 10",
        "stats detail on",
        "lru mode flat",
    ] {
        one.send(format!("get k\r\n{order}\r\nget k\r\n").as_bytes());
        for expected in ["VALUE k 0 1", "v", "END"] {
            assert_eq!(one.line().as_deref(), Some(expected));
        }
        let said = one.line().unwrap();
        assert!(said.starts_with("CLIENT_ERROR Weir refuses"), "{order}: {said}");
        assert_eq!(one.until(b"END\r\n"), b"VALUE k 0 1\r\nv\r\n");
    }
    assert_eq!(one.ask("verbosity 1"), "OK");
    assert_eq!(one.ask("bget k"), "ERROR");
    let mut binary = Client::new(scene.ports[0]);
    for (code, key, status) in [(0x10, &b"reset"[..], 0x83), (0x1b, b"", 0x81), (0x40, b"", 0x81)] {
        binary.send(&Message::new(code, &[], key, b"").bytes());
        let answer = Message::read(&mut binary).unwrap();
        assert_eq!((answer.code, answer.status), (code, status));
    }
    let mut web = Client::new(scene.ports[0]);
    web.send(b"GET / HTTP/1.1\r\nHost: cache\r\n\r\n");
    assert_eq!(web.line(), None);
}

#[test]
fn large_values_pass_in_small_memory_and_too_large_ones_keep_the_step() {
    if super::is_quick("large_values_pass_in_small_memory_and_too_large_ones_keep_the_step") {
        return;
    }
    let scene = Scene::start();
    let mut stream = TcpStream::connect(scene.ports[0]).unwrap();
    let size: usize = 200 << 20;
    stream.write_all(format!("set k 0 0 {size}\r\n").as_bytes()).unwrap();
    for _ in 0..200 {
        stream.write_all(&vec![b'v'; 1 << 20]).unwrap();
    }
    stream.write_all(b"\r\nset k 0 0 500000\r\n").unwrap();
    stream.write_all(&[&vec![b'v'; 500_000][..], b"\r\n"].concat()).unwrap();
    let expected = b"SERVER_ERROR object too large for cache\r\nSTORED\r\n";
    let mut said = vec![0; expected.len()];
    stream.read_exact(&mut said).unwrap();
    assert_eq!(said, expected);
    // Many answers that nobody reads are not held.
    for _ in 0..300 {
        stream.write_all(b"get k k k\r\n").unwrap();
    }
    let wanted = 300 * 3 * 500_000_u64;
    let got = std::io::copy(&mut Read::take(&stream, wanted), &mut std::io::sink());
    assert_eq!(got.unwrap(), wanted);
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
    assert_eq!(one.ask("set a 0 0 1\r\nx"), "STORED");
    scene.memcached.kill();
    one.send(b"get a\r\n");
    assert_eq!(one.line(), None);
    assert_eq!(Client::new(scene.ports[0]).line(), None, "nobody is there");
    scene.memcached.restart();
    let mut one = Client::new(scene.ports[0]);
    assert_eq!(one.get("a"), None);
    assert_eq!(one.ask("set a 0 0 1\r\ny"), "STORED");
    assert_eq!(one.get("a"), Some("y".into()));
    // A server that dies in the middle of an answer; first it is asked for the generation.
    let (server, ports) =
        (TcpListener::bind("127.0.0.1:0").unwrap(), [free_address(), free_address()]);
    let _program = Program::start(&file(server.local_addr().unwrap(), ports, ""));
    let (asked, was_asked) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in server.incoming() {
            let (mut stream, asked) = (stream.unwrap(), asked.clone());
            std::thread::spawn(move || {
                let mut part = [0; 1000];
                while let Ok(read @ 1..) = stream.read(&mut part) {
                    let text = String::from_utf8_lossy(&part[..read]).into_owned();
                    if !text.contains("_generation") {
                        stream.write_all(b"VALUE 1.0.0:0homn0cnjsw:a 0 100\r\nhalf of").unwrap();
                        asked.send(text).unwrap();
                        return;
                    }
                    let record = b"VALUE 1.0.0:_generation 0 16\r\n1796000000000000\r\nEND\r\n";
                    stream.write_all(record).unwrap();
                }
            });
        }
    });
    let mut client = Client::new(ports[0]);
    client.send(b"get a\r\n");
    assert_eq!(client.until(b"nothing"), b"VALUE a 0 100\r\nhalf of");
    assert_eq!(was_asked.recv().unwrap(), "get 1.0.0:0homn0cnjsw:a\r\n");
}

#[test]
fn the_list_tells_keys_memory_and_hit_ratio_of_each_version() {
    let scene = Scene::start();
    let [mut one, mut two] = scene.versions();
    for number in 0..30 {
        one.ask(&format!("set key:{number} 0 0 1000\r\n{}", "v".repeat(1000)));
    }
    two.ask("set other 0 0 1\r\nx");
    one.send(b"get key:1 missing key:2\r\nmg key:3 v\r\nmg missing v\r\nmg key:4 v q\r\nmg none v q\r\nmn\r\n");
    one.until(b"MN\r\n");
    let mut binary = Client::new(scene.ports[0]);
    for key in [&b"key:1"[..], b"missing"] {
        binary.send(&Message::new(0x0d, &[], key, b"").bytes());
    }
    binary.send(&Message::new(0x0a, &[], b"", b"").bytes());
    assert_eq!(Message::read(&mut binary).unwrap().key, b"key:1");
    assert_eq!(Message::read(&mut binary).unwrap().code, 0x0a);
    let listed = || -> Vec<serde_json::Value> {
        let text = scene.program.say(&["cache", "--json"]);
        let listed: serde_json::Value = serde_json::from_str(&text).unwrap();
        listed["caches"].as_array().unwrap().clone()
    };
    // What moves in its lists meanwhile memcached does not show.
    eventually("all keys are listed", || listed()[0]["keys"] == 30);
    let [first, second] = &listed()[..] else { panic!("two ports") };
    assert_eq!((&first["cache"], &first["namespace"]), (&"pages".into(), &"1.0.0".into()));
    assert_eq!((&first["hits"], &first["misses"]), (&5.into(), &4.into()));
    assert!(first["bytes"].as_u64().unwrap() > 30_000, "{first}");
    assert_eq!((&second["keys"], &second["hit_ratio"]), (&1.into(), &serde_json::Value::Null));
    let said = scene.program.say(&["cache", "drop", "1.0.0"]);
    assert!(said.starts_with("1.0.0 is empty: ") && said.ends_with(" keys deleted\n"), "{said}");
    assert_eq!(one.get("key:1"), None);
    assert_eq!(two.get("other"), Some("x".into()));
    assert_eq!(listed()[0]["keys"], 0);
    let said = scene.program.say(&["cache", "drop", "0.9.0"]);
    assert_eq!(said, "0.9.0 is empty: 0 keys deleted\n");
}

#[test]
fn with_a_server_each_what_one_version_deletes_is_deleted_on_the_others() {
    let servers = [Memcached::start(&[]), Memcached::start(&[])];
    let ports = [free_address(), free_address()];
    let own = format!(
        "mode = \"instance\"\nupstreams = {{ \"1.0.0\" = \"memcached://{}\", \"1.1.0\" = \"memcached://{}\" }}",
        servers[0].address, servers[1].address
    );
    let shared = format!("upstream = \"memcached://{}\"", servers[0].address);
    let text = file(servers[0].address, ports, "").replace(&shared, &own);
    let _program = Program::start(&text);
    let [mut one, mut two] = ports.map(Client::new);
    for client in [&mut one, &mut two] {
        for key in ["a", "b", "kept"] {
            assert_eq!(client.ask(&format!("set {key} 0 0 1\r\nv")), "STORED");
        }
    }
    assert_eq!(one.ask("delete a"), "DELETED");
    assert_eq!(two.ask("md b"), "HD");
    eventually("it is deleted there", || two.get("a").is_none());
    eventually("and here", || one.get("b").is_none());
    assert_eq!((one.get("kept"), two.get("kept")), (Some("v".into()), Some("v".into())));
}
