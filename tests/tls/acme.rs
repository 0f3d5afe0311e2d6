//! Certificates ordered from pebble: by either challenge, renewed, kept, and whatever goes wrong.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use super::super::support::pebble::Pebble;
use super::super::support::program::{Program, free_address, get};
use super::super::support::secure::Secure;
use super::super::support::upstream::Upstream;
use super::text;
use crate::handover::relay::Relay;

const NAME: &str = "shop.test";

/// Long enough for a test, and nothing is renewed meanwhile.
const LONG: Duration = Duration::from_hours(24);

/// How long what needs several orders may take on a busy machine.
const ENOUGH: Duration = Duration::from_mins(4);

/// An authority and a Weir that orders from it.
struct Scene {
    pebble: Pebble,
    app: Upstream,
    /// Where it speaks TLS.
    secure: SocketAddr,
    program: Program,
}

/// Where Weir listens: where the authority looks, or where it looks in vain.
enum Listens {
    AsKnown,
    Elsewhere,
}

fn file(pebble: &Pebble, app: &Upstream, [plain, secure]: [SocketAddr; 2], more: &str) -> String {
    let release = format!("releases = [{{ version = \"1\", upstreams = [\"{}\"] }}]", app.address);
    format!(
        "[admin]\nlisten = \"ADMIN\"\n[proxy]\nworkers = 2\n[[listener]]\nlisten = \"{secure}\"\n\
         tls = {{ acme = [\"{NAME}\"] }}\n[[tier]]\nname = \"web\"\nlisten = \"{secure}\"\n\
         stable = \"1\"\n{release}\n[[tier]]\nname = \"plain\"\nlisten = \"{plain}\"\n\
         stable = \"1\"\n{release}\n{}{more}\n",
        pebble.section()
    )
}

impl Scene {
    /// `more` is said in `[acme]`.
    fn open((pebble, app): Ground, listens: &Listens, more: &str) -> Self {
        let ports = match listens {
            Listens::AsKnown => [pebble.http, pebble.tls],
            Listens::Elsewhere => [free_address(), free_address()],
        };
        let program = Program::start(&file(&pebble, &app, ports, more));
        Self { secure: ports[1], pebble, app, program }
    }

    /// Has it listen where the authority looks from the next start on.
    fn mend(&mut self) {
        let ports = [self.pebble.http, self.pebble.tls];
        self.program.write_file(&file(&self.pebble, &self.app, ports, ""));
        self.secure = self.pebble.tls;
    }

    fn eventually(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let since = Instant::now();
        while !holds() {
            let logs = || format!("{}\n--- pebble\n{}", self.program.log(), self.pebble.log());
            assert!(since.elapsed() < ENOUGH, "not in time: {what}\n--- weir\n{}", logs());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// What `weir status` says of the certificate.
    fn standing(&self) -> serde_json::Value {
        self.program.status()["certificates"][0].clone()
    }

    fn remark(&self) -> String {
        self.standing()["remark"].as_str().unwrap_or_default().to_owned()
    }

    fn wait_for_certificate(&self) {
        self.eventually("a certificate", || self.standing()["not_after"].is_u64());
    }

    fn client(&self, root: &str) -> Secure {
        Secure::believing(TcpStream::connect(self.secure).unwrap(), NAME, root)
    }

    fn kept(&self, ending: &str) -> PathBuf {
        let folder = self.pebble.kept(&self.program.directory().join("acme"));
        folder.join(format!("{NAME}.{ending}"))
    }

    /// Waits for a failure and gives what is kept of it: written last, after status and log.
    fn failures(&self) -> u64 {
        let read = || std::fs::read_to_string(self.kept("json")).ok();
        self.eventually("a failure", || read().is_some());
        let record: serde_json::Value = serde_json::from_str(&read().unwrap()).unwrap();
        record["failures"].as_u64().unwrap()
    }

    /// Has the last try be long ago by what is kept of it.
    fn age(&self) {
        let path = self.kept("json");
        let text = std::fs::read_to_string(&path).unwrap();
        let mut record: serde_json::Value = serde_json::from_str(&text).unwrap();
        record["tried"] = 0.into();
        std::fs::write(path, record.to_string()).unwrap();
    }

    fn check(&self) -> String {
        let file = self.program.directory().join("weir.toml");
        let weir = env!("CARGO_BIN_EXE_weir");
        let output = Command::new(weir).arg("check").arg(file).output().unwrap();
        text(&output.stdout)
    }
}

/// What a scene stands on. The app is there first: a port that is only promised would be given to it.
type Ground = (Pebble, Upstream);

fn ground(validity: Duration, environment: &[(&str, &str)]) -> Option<Ground> {
    if std::env::var_os("WEIR_QUICK").is_some() {
        eprintln!("WEIR_QUICK: orders of certificates are left out");
        return None;
    }
    let app = Upstream::start("1");
    let mut pebble = Pebble::prepare(validity);
    pebble.start(environment);
    Some((pebble, app))
}

/// A certificate is ordered by `challenge`, served, and kept over a restart; an authority that has
/// forgotten its accounts is told anew.
fn is_ordered(challenge: &str) {
    let Some(ground) = ground(LONG, &[]) else { return };
    let lines = format!("challenge = \"{challenge}\"\ncontact = \"ops@example.org\"");
    let mut scene = Scene::open(ground, &Listens::AsKnown, &lines);
    scene.wait_for_certificate();
    let root = scene.pebble.root();
    let mut client = scene.client(&root);
    let (head, body) = client.get("/");
    assert!(head.starts_with("http/1.1 200") && body.starts_with("1\n"), "{head}{body}");
    assert_eq!(scene.remark(), "");
    let said = format!("certificate issued ({challenge}), valid for ");
    assert!(scene.program.log().contains(&said), "{}", scene.program.log());
    let expires = scene.standing()["not_after"].as_u64().unwrap() / 1_000;
    let metrics = get(scene.program.admin(), "/metrics").unwrap();
    let name = format!("weir_certificate_expires_timestamp_seconds{{name=\"{NAME}\"}} {expires}");
    assert!(metrics.contains(&name), "no {name}");
    let proofs = "weir_tls_handshakes_total{tier=\"web\",result=\"proof\"} ";
    let looked = metrics.lines().find_map(|line| line.strip_prefix(proofs)).unwrap();
    assert_eq!(looked != "0", challenge == "tls-alpn-01", "{looked}");
    assert_eq!(scene.app.requests(), 1, "the app was not asked for proofs");
    let permissions = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(permissions(scene.kept("pem")), 0o600);
    let told = scene.check();
    assert!(told.contains("the certificate for shop.test is kept and good for 23 h"), "{told}");

    let first = client.certificate();
    scene.program.restart();
    assert_eq!(scene.client(&root).certificate(), first, "at once, and the same");
    assert_eq!(scene.pebble.orders(), 1);

    scene.pebble.start(&[]);
    std::fs::remove_file(scene.kept("pem")).unwrap();
    scene.age();
    scene.program.restart();
    scene.wait_for_certificate();
    assert_ne!(scene.client(&scene.pebble.root()).certificate(), first);
}

#[test]
fn a_certificate_is_ordered_by_http_01() {
    is_ordered("http-01");
}

#[test]
fn a_certificate_is_ordered_by_tls_alpn_01() {
    is_ordered("tls-alpn-01");
}

#[test]
fn a_certificate_is_renewed_in_time_and_no_connection_ends() {
    // Every other order finds the name proven by the one before.
    let validity = Duration::from_secs(24);
    let Some(ground) = ground(validity, &[("PEBBLE_AUTHZREUSE", "50")]) else { return };
    let scene = Scene::open(ground, &Listens::AsKnown, "");
    scene.wait_for_certificate();
    let root = scene.pebble.root();
    let (mut kept, mut download) = (scene.client(&root), scene.client(&root));
    let first = kept.certificate();
    let half = 8 << 20;
    download.send(&format!("GET /big?{} HTTP/1.1\r\nhost: {NAME}\r\n\r\n", 2 * half));
    assert!(download.head().starts_with("HTTP/1.1 200"));
    download.read(half);
    scene.eventually("another certificate", || {
        assert!(kept.get("/").0.starts_with("http/1.1 200"));
        // Verified anew each time: one that has expired would fail.
        scene.client(&root).certificate() != first
    });
    assert!(kept.get("/").0.starts_with("http/1.1 200"));
    assert_eq!(kept.certificate(), first);
    assert_eq!(download.read(half).len(), half);
    assert_eq!(scene.remark(), "");
    assert_eq!(scene.pebble.orders(), 2, "{}", scene.pebble.log());
}

#[test]
fn a_process_that_only_drains_orders_nothing() {
    let Some(ground) = ground(Duration::from_secs(24), &[]) else { return };
    let mut scene = Scene::open(
        ground,
        &Listens::AsKnown,
        "challenge = \"http-01\"\n[state]\npath = \"weir.db\"",
    );
    scene.wait_for_certificate();
    let root = scene.pebble.root();
    let mut download = scene.client(&root);
    let (first, size) = (download.certificate(), 64 << 20);
    download.send(&format!("GET /big?{size} HTTP/1.1\r\nhost: {NAME}\r\n\r\n"));
    assert!(download.head().starts_with("HTTP/1.1 200"));
    let relay = Relay::at(&scene.program.directory().join("weir.db"), "nothing of that name");
    let heir = scene.program.another(&["--replace"]);
    let mut before = scene.program.swap(heir).unwrap();
    scene.eventually("a successor", || scene.program.log().contains("this one drains"));
    scene.eventually("another certificate", || {
        download.read(16 << 10);
        scene.client(&root).certificate() != first
    });
    // Were there another order, it would have been due at the same moment.
    for _ in 0..30 {
        download.read(16 << 10);
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(before.try_wait().unwrap().is_none(), "it drains");
    assert_eq!(scene.pebble.orders(), 2, "{}", scene.program.log());
    before.kill().unwrap();
    before.wait().unwrap();
    // On a connection of its own the authority would have been answered there, too.
    let said = relay.end();
    assert!(said.iter().any(|word| word == "proofs"), "{said:?}");
}

#[test]
fn a_name_that_is_not_proven_is_tried_again_seldom_and_the_status_says_why() {
    let Some(ground) = ground(LONG, &[]) else { return };
    let mut scene = Scene::open(ground, &Listens::Elsewhere, "");
    assert!(scene.check().contains("no certificate for shop.test is kept yet; `weir run` orders"));
    assert_eq!(scene.failures(), 1);
    let said = scene.remark();
    for part in [
        "there is no certificate for shop.test yet, its clients are refused: shop.test is not \
         proven by http-01: ",
        "is port 80 of shop.test open to the world, and Weir behind it?; tried again in ",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert!(scene.program.say(&["status"]).contains(&said[..100]));
    let log = scene.program.log();
    assert!(log.contains("no certificate: shop.test is not proven") && log.contains("; again in "));
    assert!(log.contains("not proven by tls-alpn-01: "), "both ways were tried\n{log}");
    assert!(scene.check().contains("is not proven by http-01: "), "{}", scene.check());
    assert_eq!(scene.pebble.orders(), 2);
    // A client is refused, and told so by TLS.
    let shaken = Command::new("timeout")
        .args(["60", "openssl", "s_client", "-servername", NAME, "-connect"])
        .arg(scene.secure.to_string())
        .output()
        .unwrap();
    assert!(text(&shaken.stderr).contains("alert"), "{}", text(&shaken.stderr));

    scene.mend();
    scene.program.restart();
    assert_eq!(scene.remark()[..80], said[..80], "it remembers");
    assert_eq!((scene.failures(), scene.pebble.orders()), (1, 2), "and asks nobody at once");
    scene.age();
    scene.program.restart();
    scene.wait_for_certificate();
    assert_eq!((scene.remark(), scene.failures()), (String::new(), 0));
}

#[test]
fn an_authority_that_is_down_or_refuses_everything_stops_nobody() {
    let Some(mut ground) = ground(LONG, &[]) else { return };
    ground.0.stop();
    let mut scene = Scene::open(ground, &Listens::AsKnown, "");
    assert_eq!(scene.failures(), 1);
    let said = scene.remark();
    let down = "cannot connect to the authority at localhost:";
    assert!(said.contains(down) && said.contains("; tried again in "), "{said}");
    assert!(scene.program.log().contains(down));
    let plain = format!("http://{}/", scene.pebble.http);
    let page = Command::new("curl").args(["--silent", "--max-time", "60", &plain]).output();
    assert!(text(&page.unwrap().stdout).starts_with("1\n"), "it serves");

    scene.pebble.start(&[("PEBBLE_WFE_NONCEREJECT", "100")]);
    scene.age();
    scene.program.restart();
    scene.eventually("another failure", || scene.failures() == 2);
    let said = scene.remark();
    assert!(
        said.contains("the authority refuses the account: ") && said.contains("nonce"),
        "{said}"
    );

    scene.pebble.start(&[("PEBBLE_WFE_NONCEREJECT", "20")]);
    // One in a hundred questions is refused three times in a row; then it is tried again.
    for _ in 0..5 {
        let before = scene.failures();
        scene.age();
        scene.program.restart();
        scene.eventually("an outcome", || scene.failures() != before);
        if scene.failures() == 0 {
            break;
        }
    }
    assert_eq!(scene.remark(), "");
    scene.client(&scene.pebble.root());
}
