//! Upstreams that leave the table while requests are under way.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::scene::{Scene, wait_until};

/// Answers checks, and ends every other connection without an answer, once it may.
fn fails(asked: Arc<Mutex<Vec<usize>>>, number: usize, may_end: Arc<AtomicBool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (asked, may_end) = (Arc::clone(&asked), Arc::clone(&may_end));
            std::thread::spawn(move || serve(stream.unwrap(), &asked, number, &may_end));
        }
    });
    address
}

fn serve(mut stream: TcpStream, asked: &Mutex<Vec<usize>>, number: usize, may_end: &AtomicBool) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        head.push(byte[0]);
    }
    if head.starts_with(b"GET /health") {
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        _ = stream.write_all(answer.as_bytes());
        return;
    }
    if head.is_empty() {
        return;
    }
    asked.lock().unwrap().push(number);
    while !may_end.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_retry_does_not_go_to_an_upstream_that_has_left_since() {
    for leaves in [false, true] {
        let asked = Arc::<Mutex<Vec<usize>>>::default();
        let may_end = Arc::<AtomicBool>::default();
        let places = [0, 1].map(|number| fails(Arc::clone(&asked), number, Arc::clone(&may_end)));
        let scene = Scene::new(&places);
        let status = std::thread::scope(|scope| {
            let answer = scope.spawn(|| scene.client().get("/", "").status);
            wait_until("asked", || asked.lock().unwrap().len() == 1);
            let other = 1 - asked.lock().unwrap()[0];
            if leaves {
                scene.publish(|tier| {
                    _ = Arc::make_mut(&mut tier.stable).upstreams.remove(other);
                });
            }
            may_end.store(true, Ordering::SeqCst);
            answer.join().unwrap()
        });
        assert_eq!(status, if leaves { 503 } else { 502 });
        assert_eq!(asked.lock().unwrap().len(), if leaves { 1 } else { 2 }, "{leaves}");
    }
}
