//! Clients of HTTP/2 by TLS while one Weir replaces another.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::Method;
use http_body_util::BodyExt as _;

use super::{SOON, World, ends, file, is_quick};
use crate::support::certificates::Authority;
use crate::support::http2_client::{Answer, Client, Content, request};
use crate::support::program::{Program, free_address};
use crate::support::upstream::{Upstream, counted};

/// Clients that ask over and over.
const CLIENTS: usize = 4;

/// Bytes of an answer that lasts longer than a hand-over.
const LONG_BYTES: usize = 8_000_003;

fn world(authority: &Authority) -> (World, tempfile::TempDir) {
    let (stable, canary) = (Upstream::start("1.0.0"), Upstream::start("1.1.0"));
    let (door, files) = (free_address(), tempfile::tempdir().unwrap());
    authority.sign(&["shop.test"]).write(files.path(), "web");
    let folder = files.path().display();
    let listener = format!(
        "[[listener]]\nlisten = \"{door}\"\ntls = {{ certificates = [{{ chain = \
         \"{folder}/web.pem\", key = \"{folder}/web.key\" }}] }}\n[[tier]]"
    );
    let text = file(door, &stable, &canary).replace("[[tier]]", &listener);
    let text = text.replace("drain = \"3s\"", "drain = \"10m\"");
    let program = Program::start(&text);
    let world = World { program, _stable: stable, _canary: canary, door };
    (world, files)
}

/// What clients have seen.
#[derive(Default)]
struct Seen {
    over: AtomicBool,
    answers: AtomicUsize,
    connections: AtomicUsize,
}

impl Seen {
    /// Waits for so many more answers.
    fn wait_for_more(&self, count: usize) {
        let answers = || self.answers.load(Ordering::SeqCst);
        let (since, before) = (Instant::now(), answers());
        while answers() < before + count {
            assert!(since.elapsed() < SOON, "{} of {count} answers", answers() - before);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Says that all is over when it is dropped.
struct Over<'a>(&'a Seen);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::SeqCst);
    }
}

/// Asks until all is over, on one connection as long as that takes requests.
async fn ask(door: SocketAddr, authority: &str, seen: &Seen) -> Result<(), String> {
    while !seen.over.load(Ordering::SeqCst) {
        let client = Client::secure(door, "shop.test", authority).await;
        let client = client.map_err(|error| format!("no connection: {error}"))?;
        seen.connections.fetch_add(1, Ordering::SeqCst);
        while !seen.over.load(Ordering::SeqCst) {
            let asked = client.send(request(Method::GET, "/", &[], Content::none())).await;
            let response = match asked {
                Ok(response) => response,
                // It takes no more: nothing was sent, and it is asked on another one.
                Err(error) if error.is_canceled() || error.is_closed() => break,
                Err(error) => return Err(format!("no answer: {error:?}")),
            };
            let answer = Answer::read(response).await;
            if answer.status != 200 || !answer.whole {
                return Err(format!("a bad answer: {answer:?}"));
            }
            seen.answers.fetch_add(1, Ordering::SeqCst);
        }
    }
    Ok(())
}

#[test]
fn no_stream_breaks_and_no_connection_is_refused() {
    if is_quick() {
        return;
    }
    let authority = Authority::new();
    let (mut world, _files) = world(&authority);
    let (door, seen, pem) = (world.door, Seen::default(), authority.pem.as_str());
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_all().build().unwrap();
    std::thread::scope(|scope| {
        // Also where something panics: the scope waits for all.
        let _over = Over(&seen);
        let clients: Vec<_> =
            (0..CLIENTS).map(|_| scope.spawn(|| runtime.block_on(ask(door, pem, &seen)))).collect();
        // Begun before, read to its end after.
        let mut long = runtime.block_on(async {
            let client = Client::secure(door, "shop.test", pem).await.unwrap();
            let path = format!("/counted?{LONG_BYTES}");
            let long = client.send(request(Method::GET, &path, &[], Content::none())).await;
            (long.unwrap(), client)
        });
        let first = runtime.block_on(long.0.body_mut().frame()).unwrap().unwrap();
        let mut body = first.into_data().unwrap().to_vec();
        seen.wait_for_more(50);
        let heir = world.program.another(&["--replace"]);
        let old = world.program.swap(heir).expect("one runs");
        world.until("it drains", |world| world.program.log().contains("drains: "));
        // All of them are with the heir now and then.
        seen.wait_for_more(50);
        body.extend(runtime.block_on(Answer::read(long.0)).body);
        assert!(body == counted(LONG_BYTES), "{} bytes", body.len());
        drop(long.1);
        assert!(ends(old), "{}", world.program.log());
        seen.wait_for_more(50);
        seen.over.store(true, Ordering::SeqCst);
        for client in clients {
            client.join().unwrap().unwrap();
        }
    });
    let connections = seen.connections.load(Ordering::SeqCst);
    assert!((CLIENTS + 1..=4 * CLIENTS).contains(&connections), "{connections} connections");
}
