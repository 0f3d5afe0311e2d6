//! What `weir cache` lists and throws away, what the metrics count, and what upstreams are told.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use weir::namespace::resp::Value;

use super::client::Client;
use super::{Redis, Scene, file, free_address};
use crate::support::client::Client as Browser;
use crate::support::program::{Program, get};

fn listed(scene: &Scene) -> Vec<Json> {
    let text = scene.program.say(&["cache", "--json"]);
    let listed: Json = serde_json::from_str(&text).unwrap();
    listed["caches"].as_array().unwrap().clone()
}

#[test]
fn the_list_tells_keys_memory_and_hit_ratio_of_each_version() {
    let scene = Scene::start();
    let [mut one, mut two] = scene.versions();
    for number in 0..30 {
        one.ask(&format!("SET key:{number} {}", "v".repeat(1000)));
    }
    two.ask("SELECT 4");
    two.ask("SET other 1");
    for key in ["key:1", "key:2", "key:3", "missing"] {
        one.ask(&format!("GET {key}"));
    }
    one.ask("MGET key:1 missing");
    let [first, second] = &listed(&scene)[..] else { panic!("two ports") };
    assert_eq!((&first["cache"], &first["namespace"]), (&"pages".into(), &"1.0.0".into()));
    assert_eq!(
        (&first["keys"], &first["hits"], &first["misses"]),
        (&30.into(), &4.into(), &2.into())
    );
    assert!(first["bytes"].as_u64().unwrap() > 30_000, "{first}");
    assert_eq!((&second["keys"], &second["hit_ratio"]), (&1.into(), &Json::Null));
    let text = scene.program.say(&["cache"]);
    let row = text.lines().find(|line| line.contains("1.0.0")).unwrap();
    assert!(row.starts_with("pages  1.0.0    1.0.0") && row.contains("66.7%"), "{text}");
    let metrics = get(scene.program.admin(), "/metrics").unwrap();
    for line in [
        "weir_cache_hits_total{cache=\"pages\",version=\"1.0.0\"} 4",
        "weir_cache_misses_total{cache=\"pages\",version=\"1.0.0\"} 2",
        "weir_cache_connections{cache=\"pages\",version=\"1.1.0\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}

#[test]
fn a_namespace_is_thrown_away_in_every_database_and_alone() {
    let scene = Scene::start();
    let [mut one, mut two] = scene.versions();
    for client in [&mut one, &mut two] {
        for line in ["SET a 1", "SET b 1", "SELECT 7", "SET c 1"] {
            client.ask(line);
        }
    }
    // Also one whose release has left the file.
    let mut server = Client::new(scene.redis.address);
    server.ask("SET 0.9.0:old 1");
    let said = scene.program.say(&["cache", "drop", "1.1.0"]);
    assert_eq!(said, "1.1.0 is empty: 3 keys deleted\n");
    let said = scene.program.say(&["cache", "drop", "0.9.0", "--json"]);
    assert_eq!(serde_json::from_str::<Json>(&said).unwrap()["keys"], 1);
    let keys: Vec<Json> = listed(&scene).iter().map(|cache| cache["keys"].clone()).collect();
    assert_eq!(keys, [3, 0]);
    assert_eq!(one.ask("GET c"), Value::Bulk(b"1".to_vec()));
    let wrong = scene.program.ask(&["cache", "drop", "*"]);
    assert_eq!(wrong.status.code(), Some(1));
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(said.contains("cannot stand before keys"), "{said}");
}

#[test]
fn a_process_of_a_version_is_told_where_its_caches_are() {
    let scene = Scene::start();
    let said = scene.program.say(&["cache", "env", "1.1.0"]);
    assert_eq!(said, format!("WEIR_CACHE_NAMESPACE=1.1.0\nWEIR_CACHE_PAGES={}\n", scene.ports[1]));
    let said = scene.program.say(&["cache", "env", "1.0.0", "--json"]);
    let said: Json = serde_json::from_str(&said).unwrap();
    assert_eq!(said["namespace"], "1.0.0");
    assert_eq!(said["ports"]["pages"], scene.ports[0].to_string());
    let refused = scene.program.ask(&["cache", "env", "9.9.9"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("has no release 9.9.9; it has: 1.0.0, 1.1.0"), "{said}");
}

#[test]
fn a_server_that_is_not_reached_is_said_in_the_list() {
    let mut scene = Scene::start();
    scene.redis.kill();
    let cache = &listed(&scene)[0];
    assert_eq!(cache["keys"], Json::Null);
    let trouble = cache["trouble"].as_str().unwrap();
    assert!(trouble.starts_with("cannot reach redis://127.0.0.1:"), "{trouble}");
}

#[test]
fn every_request_says_which_part_of_the_caches_is_its_versions() {
    let app = TcpListener::bind("127.0.0.1:0").unwrap();
    let upstream = app.local_addr().unwrap().to_string();
    let seen = std::thread::spawn(move || {
        let since = Instant::now();
        // Health checks come, too.
        while since.elapsed() < Duration::from_mins(2) {
            let (mut stream, _) = app.accept().unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let (mut head, mut part) = (Vec::new(), [0; 4096]);
            while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                let Ok(read @ 1..) = stream.read(&mut part) else { break };
                head.extend_from_slice(&part[..read]);
            }
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            _ = stream.write_all(answer);
            let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
            if head.starts_with("get /asked") {
                return head;
            }
        }
        panic!("nobody asked");
    });
    let (redis, listen) = (Redis::start(&[]), free_address());
    let file = file(listen, redis.address, [free_address(), free_address()], "");
    let file = format!(
        "[proxy]\nenvironment = \"blue\"\n{}",
        file.replace("127.0.0.1:1\"", &format!("{upstream}\""))
    );
    let _program = Program::start(&file);
    Browser::to(listen).get("/asked", "X-Weir-Cache-Namespace: forged\r\n");
    let head = seen.join().unwrap();
    assert!(head.contains("\r\nx-weir-cache-namespace: blue:1.0.0\r\n"), "{head}");
    assert!(!head.contains("forged"), "{head}");
}
