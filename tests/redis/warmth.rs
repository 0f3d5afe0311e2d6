//! Cold caches: a canary that is slow because of them is held, and rolled back once they are warm.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use weir::namespace::resp;

use super::client::Client;
use super::{Redis, file, free_address, is_quick};
use crate::support::program::Program;
use crate::support::upstream::Upstream;

/// How long the judge may take on a busy machine.
const JUDGED_MAX: Duration = Duration::from_mins(5);

/// Users who come until they are told to go.
struct Users {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Users {
    fn enter(door: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let visit = |thread: usize| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                for user in (0..).map(|visit| thread * 1000 + visit % 500) {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let mut stream = TcpStream::connect(door).expect("a connection");
                    let head = format!(
                        "GET / HTTP/1.1\r\nHost: a\r\nCookie: uid={user}\r\nConnection: close\r\n\r\n"
                    );
                    stream.write_all(head.as_bytes()).expect("it is sent");
                    _ = stream.read_to_end(&mut Vec::new());
                }
            })
        };
        Self { threads: (0..6).map(visit).collect(), stop }
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().expect("a user"));
    }
}

/// Looks up `count` values at `port`, of which so many of a hundred are there.
fn look_up(port: SocketAddr, count: usize, hits: usize) {
    let mut client = Client::new(port);
    client.ask("SET there 1");
    let key = |number: usize| if number % 100 < hits { "there" } else { "missing" };
    let asked: Vec<u8> =
        (0..count).flat_map(|number| resp::command(&["GET", key(number)])).collect();
    client.send(&asked);
    for _ in 0..count {
        client.answer().expect("an answer");
    }
}

#[test]
fn a_canary_that_is_slow_with_cold_caches_is_held_and_rolled_back_when_they_are_warm() {
    if is_quick("a_canary_that_is_slow_with_cold_caches_is_held_and_rolled_back_when_they_are_warm")
    {
        return;
    }
    let apps = ["1.0.0", "1.1.0"].map(Upstream::start);
    let (redis, ports) = (Redis::start(&[]), [free_address(), free_address()]);
    let door = free_address();
    let file = file(door, redis.address, ports, "")
        .replace("127.0.0.1:1\"", &format!("{}\"", apps[0].address))
        .replace("127.0.0.1:2\"", &format!("{}\"", apps[1].address))
        .replace("stable =", "sticky = { cookie = \"uid\" }\nstable =");
    let program = Program::start(&format!(
        "{file}\n[analysis]\nwarm_up = \"0s\"\ngrace = \"0s\"\n\
         [rollout]\nstages = [{{ weight = \"50%\", bake = \"1h\" }}]\n"
    ));
    let _users = Users::enter(door);
    let since = Instant::now();
    let soon = |what: &str, holds: &mut dyn FnMut() -> bool| {
        while !holds() {
            let explained = program.ask(&["explain"]).stdout;
            let explained = String::from_utf8_lossy(&explained).into_owned();
            assert!(since.elapsed() < JUDGED_MAX, "not in time: {what}\n{explained}");
            std::thread::sleep(Duration::from_millis(200));
        }
    };
    soon("the canary is healthy", &mut || program.ask(&["start", "web"]).status.success());
    let cold = "canary's caches are cold: canary 5 % hits, stable 95 %";
    soon("it is cold", &mut || {
        look_up(ports[0], 500, 95);
        look_up(ports[1], 500, 5);
        program.say(&["explain"]).contains(cold)
    });
    apps[1].state.delay.store(120, Ordering::Relaxed);
    soon("it is slow, and held", &mut || {
        program.say(&["explain"]).contains("its caches are cold: not rolled back for that")
    });
    let status = program.status();
    let report = &status["tiers"][0]["rollout"]["report"];
    assert_eq!(report["hit_ratios"]["cold"], true, "{status}");
    soon("it is warm, and still slow", &mut || {
        look_up(ports[1], 2_000, 95);
        program.say(&["log"]).contains("rolled back, everybody is on 1.0.0")
    });
    let log = program.say(&["log"]);
    assert!(log.contains("slow: canary"), "{log}");
}
