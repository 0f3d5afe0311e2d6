//! The blocks of docs/nginx.md in a real nginx, in front of a real Weir.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use super::support::client::Client;
use super::support::nginx::Nginx;
use super::support::program::{Program, free_address, get};
use super::support::upstream::Upstream;

/// The blocks of the page in this language.
fn blocks(language: &str) -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/nginx.md");
    let page = std::fs::read_to_string(page).unwrap();
    let begin = format!("```{language}\n");
    let block = |rest: &str| rest.split("```").next().map(ToOwned::to_owned);
    page.split(&begin).skip(1).filter_map(block).collect()
}

/// Two versions, a Weir, and addresses in place of those of the page.
struct Scene {
    old: Upstream,
    new: Upstream,
    weir: Program,
    listen: SocketAddr,
    front: SocketAddr,
}

impl Scene {
    fn new() -> Self {
        let (old, new) = (Upstream::start("1.0.0"), Upstream::start("1.1.0"));
        let (listen, front) = (free_address(), free_address());
        let weir = Program::start(&format!(
            "[admin]\nlisten = \"ADMIN\"\n[[tier]]\nname = \"web\"\nlisten = \"{listen}\"\nstable = \
             \"1.0.0\"\nreleases = [{{ version = \"1.0.0\", upstreams = [\"{}\"] }}, {{ version = \
             \"1.1.0\", upstreams = [\"{}\"] }}]\n",
            old.address, new.address
        ));
        Self { old, new, weir, listen, front }
    }

    /// A block of the page, with the addresses of this scene.
    fn filled(&self, block: &str) -> String {
        let filled = block
            .replace("127.0.0.1:8080", &self.listen.to_string())
            .replace("127.0.0.1:3000", &self.old.address.to_string())
            .replace("listen 80;", &format!("listen {};", self.front));
        assert!(filled.contains(&self.front.to_string()), "{filled}");
        filled
    }

    fn get(&self, path: &str) -> String {
        get(self.front, path).expect("nginx answers")
    }
}

/// A WebSocket, there and back.
fn web_socket(front: SocketAddr) {
    let mut socket = TcpStream::connect(front).unwrap();
    socket.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    socket
        .write_all(
            b"GET /tunnel HTTP/1.1\r\nhost: shop.example.com\r\nconnection: upgrade\r\n\
              upgrade: websocket\r\n\r\n",
        )
        .unwrap();
    let mut seen = Vec::new();
    let mut buffer = [0; 1024];
    while !seen.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = socket.read(&mut buffer).unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&buffer[..read]);
    }
    assert!(seen.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&seen));
    socket.write_all(b"hello").unwrap();
    let mut echo = [0; 5];
    socket.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"hello");
    drop(socket);
}

/// Waits for an answer that fits: a reload of nginx takes effect a moment later.
fn wait_for(what: &str, mut fits: impl FnMut() -> bool) {
    let since = Instant::now();
    while !fits() {
        assert!(since.elapsed() < Duration::from_mins(2), "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn behind_nginx_all_passes_and_the_old_version_answers_when_weir_is_down() {
    let mut scene = Scene::new();
    let block = scene.filled(&blocks("nginx")[0]);
    let nginx = Nginx::start(&scene.front.to_string(), &block);

    // What the app is told.
    let answer = scene.get("/page");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let head = scene.old.last_head().to_ascii_lowercase();
    for line in [
        "x-forwarded-for: 127.0.0.1, 127.0.0.1",
        "x-forwarded-proto: http\r\n",
        "x-forwarded-host: 127.0.0.1\r\n",
        "host: 127.0.0.1\r\n",
    ] {
        assert!(head.contains(line), "{line}: {head}");
    }
    assert!(
        scene
            .weir
            .say(&["doctor", "--front", &format!("http://{}/", scene.front)])
            .contains("leads to web, which sees 127.0.0.1 by http")
    );

    // Clients keep their version, and nginx its connections.
    scene.weir.say(&["start", "1.1.0", "--wait", "2m"]);
    scene.weir.say(&["advance", "--to", "50%"]);
    let version = |newcomer: u8| {
        let mut client = Client::to(scene.front);
        client.get("/", &format!("x-forwarded-for: 192.0.2.{newcomer}\r\n")).text()
    };
    let versions: Vec<bool> = (0..64).map(|one| version(one).starts_with("1.1.0")).collect();
    assert!(versions.contains(&true) && versions.contains(&false), "both versions answer");
    assert!(scene.new.requests() > 0, "through nginx, too");
    let opened = scene.weir.say(&["rollback"]);
    assert!(opened.contains("everybody is on 1.0.0"), "{opened}");

    web_socket(scene.front);
    goes_on_without_weir(&mut scene, &nginx, &block);
}

/// The old version answers while Weir is down, and when the line is swapped.
fn goes_on_without_weir(scene: &mut Scene, nginx: &Nginx, block: &str) {
    scene.weir.kill();
    for _ in 0..5 {
        let answer = scene.get("/while-down");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\r\n\r\n1.0.0"), "{answer}");
    }
    let mut client = Client::to(scene.front);
    client.send("POST /order HTTP/1.1\r\nhost: shop.example.com\r\ncontent-length: 2\r\n\r\nok");
    assert_eq!(client.answer("POST").unwrap().status, 200);
    assert!(!scene.old.last_head().to_ascii_lowercase().contains("x-weir"), "nobody stood between");
    scene.weir.restart();
    wait_for("weir serves again", || {
        scene.get("/back");
        scene.old.last_head().to_ascii_lowercase().contains("x-request-id")
    });

    // The line that goes straight to the old version.
    let comment = "        # proxy_pass http://stable;";
    assert!(block.contains(comment) && block.contains("        proxy_pass http://weir;"));
    let straight = block
        .replace("        proxy_pass http://weir;", "        # proxy_pass http://weir;")
        .replace(comment, "        proxy_pass http://stable;");
    nginx.reload(&straight);
    wait_for("nginx goes straight", || {
        scene.get("/straight");
        !scene.old.last_head().to_ascii_lowercase().contains("x-request-id")
    });
}

#[test]
fn with_error_page_the_old_version_answers_too() {
    let mut scene = Scene::new();
    let block = scene.filled(&blocks("nginx")[1]);
    let _nginx = Nginx::start(&scene.front.to_string(), &block);
    assert!(scene.get("/").contains("\r\n\r\n1.0.0"));
    assert!(scene.get("/status?502").starts_with("HTTP/1.1 502"), "the app's own passes");
    scene.weir.kill();
    let answer = scene.get("/");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\r\n\r\n1.0.0"), "{answer}");
}

#[test]
fn nginx_keeps_its_connections_to_weir() {
    let scene = Scene::new();
    let _nginx = Nginx::start(&scene.front.to_string(), &scene.filled(&blocks("nginx")[0]));
    for _ in 0..50 {
        scene.get("/");
    }
    let page = get(scene.weir.admin(), "/metrics").unwrap();
    let line = page.lines().find(|line| line.starts_with("weir_connections{")).unwrap();
    let open: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
    assert!((1.0..4.0).contains(&open), "those of before are kept and used again: {line}");
}

#[test]
fn the_file_in_the_place_of_nginx_is_valid() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("weir.toml");
    std::fs::write(&file, &blocks("toml")[0]).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_weir"))
        .arg("check")
        .arg(&file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
