//! TLS from end to end: the real binary with curl, openssl and clients of our own.

mod acme;
mod second;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rcgen::date_time_ymd;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tempfile::TempDir;

use super::support::certificates::{Authority, Signed};
use super::support::client::Client;
use super::support::program::{Program, free_address, get};
use super::support::secure::{Secure, SecureUpstream};
use super::support::upstream::Upstream;

/// A Weir that speaks TLS for `shop.test` and `*.shop.test`, and all that belongs to it.
struct Shop {
    app: Upstream,
    authority: Authority,
    files: TempDir,
    listen: SocketAddr,
    program: Program,
}

impl Shop {
    fn open() -> Self {
        Self::open_with("", "")
    }

    /// With more in its `[[listener]]` and in its `[[tier]]`.
    fn open_with(listener: &str, tier: &str) -> Self {
        let (app, authority) = (Upstream::start("1.0.0"), Authority::new());
        let (files, listen) = (tempfile::tempdir().unwrap(), free_address());
        authority.write(files.path(), "ca");
        authority.sign(&["shop.test", "*.shop.test"]).write(files.path(), "web");
        authority.sign(&["api.shop.test"]).write(files.path(), "api");
        let file = file(listen, app.address, files.path(), listener, tier);
        Self { program: Program::start(&file), app, authority, files, listen }
    }

    fn client(&self, name: &str) -> Secure {
        Secure::to(self.listen, name, &self.authority)
    }

    /// `curl` for `https://NAME/`, with further arguments.
    fn curl(&self, name: &str, arguments: &[&str]) -> Output {
        let port = self.listen.port();
        Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "60", "--cacert"])
            .arg(self.files.path().join("ca.pem"))
            .args(["--resolve", &format!("{name}:{port}:127.0.0.1")])
            .args(arguments)
            .arg(format!("https://{name}:{port}/"))
            .output()
            .expect("curl runs")
    }

    /// `openssl s_client` that asks for `shop.test`, unless `arguments` say otherwise, and sends one
    /// request.
    fn openssl(&self, arguments: &[&str]) -> String {
        let mut child = Command::new("timeout")
            .args(["60", "openssl", "s_client", "-ign_eof"])
            .args(["-connect", &self.listen.to_string()])
            .args(if arguments.iter().any(|one| one.ends_with("servername")) {
                &[][..]
            } else {
                &["-servername", "shop.test"]
            })
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("openssl runs");
        let request = b"GET / HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n";
        // It may have ended already.
        let _ = child.stdin.take().unwrap().write_all(request);
        let output = child.wait_with_output().unwrap();
        text(&output.stdout) + &text(&output.stderr)
    }

    fn metric(&self, start: &str) -> String {
        let metrics = get(self.program.admin(), "/metrics").unwrap();
        let line = metrics.lines().find(|line| line.starts_with(start));
        line.unwrap_or_else(|| panic!("no {start}")).rsplit(' ').next().unwrap().to_owned()
    }

    fn handshakes(&self, result: &str) -> u64 {
        let name = format!("weir_tls_handshakes_total{{tier=\"web\",result=\"{result}\"}}");
        self.metric(&name).parse().unwrap()
    }
}

fn file(listen: SocketAddr, app: SocketAddr, files: &Path, listener: &str, tier: &str) -> String {
    let files = files.display();
    format!(
        "[admin]\nlisten = \"ADMIN\"\n[proxy]\nworkers = 2\n[[listener]]\nlisten = \"{listen}\"\n\
         {listener}\n[listener.tls]\ncertificates = [\n\
         {{ chain = \"{files}/web.pem\", key = \"{files}/web.key\" }},\n\
         {{ chain = \"{files}/api.pem\", key = \"{files}/api.key\" }},\n]\n\
         [[tier]]\nname = \"web\"\nlisten = \"{listen}\"\nstable = \"1.0.0\"\n\
         releases = [{{ version = \"1.0.0\", upstreams = [\"{app}\"] }}]\n{tier}\n"
    )
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn eventually(what: &str, holds: impl Fn() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < Duration::from_mins(2), "not in time: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn each_name_gets_its_certificate_and_the_app_learns_that_it_is_https() {
    let shop = Shop::open();
    for name in ["shop.test", "www.shop.test", "api.shop.test"] {
        let output = shop.curl(name, &[]);
        assert!(output.status.success(), "{name}: {}", text(&output.stderr));
        let body = text(&output.stdout).to_lowercase();
        assert!(body.contains("x-forwarded-proto: https"), "{body}");
    }
    let exact = shop.client("api.shop.test").certificate();
    assert_ne!(exact, shop.client("www.shop.test").certificate(), "not the wildcard's");
    let other = shop.curl("other.test", &[]);
    assert_eq!(other.status.code(), Some(60), "{}", text(&other.stderr));
    let expires = shop.metric("weir_certificate_expires_timestamp_seconds{name=\"shop.test\"}");
    assert!(expires.parse::<f64>().unwrap() > 1.8e9, "{expires}");
}

#[test]
fn who_asks_for_no_name_or_an_unknown_one_gets_the_first_certificate() {
    let shop = Shop::open();
    let first = shop.client("shop.test").certificate();
    for arguments in [&["-noservername"][..], &["-servername", "nobody.test"]] {
        let said = shop.openssl(&[arguments, &["-showcerts"]].concat());
        assert!(said.contains("HTTP/1.1 200"), "{arguments:?}: {said}");
        let begin = said.find("-----BEGIN CERTIFICATE-----").expect("a certificate");
        let shown = CertificateDer::from_pem_slice(&said.as_bytes()[begin..]).unwrap();
        assert_eq!(*shown, *first, "{arguments:?}");
    }
    assert_eq!(shop.handshakes("failed"), 0);
}

#[test]
fn a_client_that_speaks_neither_http1_nor_http2_is_refused_and_counted() {
    let shop = Shop::open();
    for (offered, spoken) in [("smtp", false), ("smtp,http/1.1", true), ("http/1.1,h2", true)] {
        let said = shop.openssl(&["-alpn", offered]);
        assert_eq!(said.contains("no application protocol"), !spoken, "{offered}: {said}");
    }
    assert_eq!(shop.handshakes("failed"), 1);
}

#[test]
fn the_cookie_of_weir_is_for_tls_only() {
    let (shop, canary) = (Shop::open(), Upstream::start("1.1.0"));
    let both = format!("] }}, {{ version = \"1.1.0\", upstreams = [\"{}\"] }}]", canary.address);
    let file = file(shop.listen, shop.app.address, shop.files.path(), "", "");
    let stages = "[rollout]\nstages = [{ weight = \"50%\" }]\n";
    shop.program.write_file(&(file.replace("] }]", &both) + stages));
    shop.program.say(&["reload"]);
    shop.program.say(&["start", "web", "1.1.0", "--wait", "10s"]);
    let page = shop.curl("shop.test", &["--include", "--header", "accept: text/html"]);
    let page = text(&page.stdout);
    let cookie = page.lines().find(|line| line.starts_with("set-cookie: ")).unwrap_or(&page);
    assert!(cookie.ends_with("; Secure"), "{cookie}");
}

#[test]
fn http2_is_agreed_upon_and_http1_where_the_client_wants_that() {
    let shop = Shop::open();
    for (want, version) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let output = shop
            .curl("shop.test", &[want, "--output", "/dev/null", "--write-out", "%{http_version}"]);
        assert_eq!(text(&output.stdout), version, "{}", text(&output.stderr));
    }
}

#[test]
fn old_versions_are_refused() {
    let shop = Shop::open();
    for (version, spoken) in [("-tls1_1", false), ("-tls1_2", true), ("-tls1_3", true)] {
        let said = shop.openssl(&[version, "-cipher", "DEFAULT@SECLEVEL=0"]);
        assert_eq!(said.contains("HTTP/1.1 200"), spoken, "{version}: {said}");
    }
    assert!(shop.handshakes("failed") == 1 && shop.handshakes("full") == 2);
    let newest = Shop::open();
    let strict = file(newest.listen, newest.app.address, newest.files.path(), "", "")
        .replace("[listener.tls]\n", "[listener.tls]\nmin_version = \"1.3\"\n");
    newest.program.write_file(&strict);
    newest.program.say(&["reload"]);
    assert!(!newest.openssl(&["-tls1_2"]).contains("HTTP/1.1 200"));
    assert!(newest.openssl(&["-tls1_3"]).contains("HTTP/1.1 200"));
}

#[test]
fn sessions_are_resumed_by_every_worker_and_after_a_reload_with_a_new_certificate() {
    let shop = Shop::open();
    let session = shop.files.path().join("session");
    let session = session.to_str().unwrap();
    for (version, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let first = shop.openssl(&[version, "-sess_out", session]);
        assert!(first.contains(&format!("New, {name}")), "{first}");
        for _ in 0..4 {
            let again = shop.openssl(&[version, "-sess_in", session]);
            assert!(again.contains(&format!("Reused, {name}")), "{again}");
        }
        shop.authority.sign(&["shop.test"]).write(shop.files.path(), "web");
        assert!(shop.program.say(&["reload"]).contains("+ listener."));
        let again = shop.openssl(&[version, "-sess_in", session]);
        assert!(again.contains(&format!("Reused, {name}")), "after the reload: {again}");
    }
    assert_eq!((shop.handshakes("resumed"), shop.handshakes("full")), (10, 2));
}

#[test]
fn the_kind_of_key_that_a_client_can_check_is_chosen() {
    let shop = Shop::open();
    let name = ["shop.test"];
    let other = shop.authority.sign_changed(&name, &rcgen::PKCS_ECDSA_P384_SHA384, |_| {});
    other.write(shop.files.path(), "api");
    shop.program.say(&["reload"]);
    for (scheme, bits) in [("ECDSA+SHA256", "256 bit"), ("ECDSA+SHA384", "384 bit")] {
        let said = shop.openssl(&["-tls1_3", "-sigalgs", scheme]);
        assert!(said.contains(&format!("Server public key is {bits}")), "{said}");
    }
}

#[test]
fn a_reload_changes_the_certificate_while_connections_and_downloads_go_on() {
    const BYTES: usize = 64 << 20;
    let shop = Shop::open();
    let (mut kept, mut download) = (shop.client("shop.test"), shop.client("shop.test"));
    kept.get("/");
    download.send(&format!("GET /big?{BYTES} HTTP/1.1\r\nhost: shop.test\r\n\r\n"));
    assert!(download.head().starts_with("HTTP/1.1 200"));
    download.read(1 << 20);
    let before = shop.client("shop.test").certificate();
    shop.authority.sign(&["shop.test", "*.shop.test"]).write(shop.files.path(), "web");
    let said = shop.program.say(&["reload"]);
    assert!(said.contains(".tls.certificates [shop.test *.shop.test until"), "{said}");
    assert_ne!(shop.client("shop.test").certificate(), before);
    let (head, _) = kept.get("/");
    assert!(head.starts_with("http/1.1 200") && kept.certificate() == before, "{head}");
    let rest = download.read(BYTES - (1 << 20));
    assert!(rest.iter().all(|byte| *byte == b'x'));
    assert_eq!(shop.program.say(&["reload"]).matches("listener").count(), 0, "nothing changed");
}

fn check(program: &Program) -> Output {
    let file = program.directory().join("weir.toml");
    Command::new(env!("CARGO_BIN_EXE_weir")).arg("check").arg(file).output().unwrap()
}

#[test]
fn a_wrong_file_is_refused_by_check_and_reload_and_nothing_is_lost() {
    let shop = Shop::open();
    let before = shop.client("shop.test").certificate();
    let good = std::fs::read(shop.files.path().join("web.key")).unwrap();
    for (wrong, said) in [
        ("-----BEGIN PRIVATE KEY-----\n", "web.key is no whole PEM file"),
        ("nothing", "web.key holds no private key"),
    ] {
        std::fs::write(shop.files.path().join("web.key"), wrong).unwrap();
        for verb in ["check", "reload"] {
            let output = match verb {
                "check" => check(&shop.program),
                verb => shop.program.ask(&[verb]),
            };
            let told = text(&output.stdout) + &text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{told}");
            assert!(told.contains(said) && told.contains("weir.toml:10:"), "{verb}: {told}");
        }
        assert_eq!(shop.client("shop.test").certificate(), before);
    }
    std::fs::write(shop.files.path().join("web.key"), good).unwrap();
    let told = text(&check(&shop.program).stdout);
    assert!(told.contains(" has a certificate for shop.test, *.shop.test"), "{told}");
    shop.program.say(&["reload"]);
}

#[test]
fn a_certificate_that_expires_soon_is_spoken_of() {
    let shop = Shop::open();
    let quiet = shop.program.say(&["status"]);
    assert!(quiet.contains("2 certificates; the first to expire is that for "), "{quiet}");
    assert!(!quiet.contains("the certificate for"), "{quiet}");
    let kind = &rcgen::PKCS_ECDSA_P256_SHA256;
    let soon = std::time::SystemTime::now() + Duration::from_hours(5 * 24 + 1);
    let signed = shop.authority.sign_changed(&["api.shop.test"], kind, |params| {
        params.not_before = date_time_ymd(2020, 5, 17);
        params.not_after = soon.into();
    });
    signed.write(shop.files.path(), "api");
    let told = text(&check(&shop.program).stdout);
    assert!(told.contains("api.pem expires in 5 d"), "{told}");
    shop.program.say(&["reload"]);
    let told = shop.program.say(&["status"]);
    let said = "the certificate for api.shop.test expires in 5 d; renew it and reload";
    assert!(told.contains(said), "{told}");
    let certificates = shop.program.status()["certificates"].clone();
    assert_eq!(certificates[0]["remark"], serde_json::Value::Null, "{certificates}");
    assert_eq!(certificates[1]["remark"], said, "{certificates}");
    let expires = certificates[1]["not_after"].as_u64().unwrap() / 1_000;
    let metric = "weir_certificate_expires_timestamp_seconds{name=\"api.shop.test\"}";
    assert_eq!(shop.metric(metric), expires.to_string());
}

#[test]
fn who_speaks_plain_http_to_a_port_of_tls_is_told_so() {
    let shop = Shop::open();
    let answer = Client::to(shop.listen).get("/", "");
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("this port speaks TLS"), "{}", answer.text());
    let mut noise = TcpStream::connect(shop.listen).unwrap();
    noise.write_all(&[0, 1, 2, 3]).unwrap();
    let mut rest = Vec::new();
    assert!(noise.read_to_end(&mut rest).map_or(true, |read| read == 0), "{rest:?}");
    eventually("both are counted", || shop.handshakes("plain") == 2);
    assert_eq!(shop.app.requests(), 0);
}

#[test]
fn who_dallies_in_a_handshake_is_cut_off_and_keeps_nobody_out() {
    let shop = Shop::open_with("", "timeouts = { request_head = \"5s\" }");
    // A record that says it is longer than what comes: more of them than may be under way.
    let begun = [22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    let dallying: Vec<TcpStream> = (0..1_200)
        .map(|_| {
            let mut socket = TcpStream::connect(shop.listen).unwrap();
            socket.write_all(&begun).unwrap();
            socket
        })
        .collect();
    for _ in 0..10 {
        let (head, _) = shop.client("shop.test").get("/");
        assert!(head.starts_with("http/1.1 200"), "{head}");
    }
    // And those who do not even begin.
    let silent = TcpStream::connect(shop.listen).unwrap();
    for mut socket in dallying.into_iter().chain([silent]) {
        socket.set_read_timeout(Some(Duration::from_mins(2))).unwrap();
        let mut rest = Vec::new();
        assert!(socket.read_to_end(&mut rest).map_or(true, |read| read == 0), "{rest:?}");
    }
    eventually("all are counted", || shop.handshakes("timeout") == 1_201);
}

#[test]
fn web_sockets_go_through_tls() {
    let shop = Shop::open();
    let mut client = shop.client("shop.test");
    client.send(
        "GET /tunnel HTTP/1.1\r\nhost: shop.test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    );
    assert!(client.head().starts_with("HTTP/1.1 101"));
    let frame = "x".repeat(300_000);
    for round in 0..5 {
        client.send(&frame);
        assert_eq!(client.read(frame.len()), frame.as_bytes(), "{round}");
    }
}

#[test]
fn the_header_of_a_load_balancer_comes_before_tls() {
    let shop = Shop::open_with("proxy_from = [\"127.0.0.1\"]", "");
    let mut socket = TcpStream::connect(shop.listen).unwrap();
    socket.write_all(b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n").unwrap();
    let (_, body) = Secure::over(socket, "shop.test", &shop.authority).get("/");
    assert!(body.to_lowercase().contains("x-forwarded-for: 192.0.2.7"), "{body}");
}

#[test]
fn a_unix_socket_may_speak_tls() {
    let (app, authority) = (Upstream::start("1.0.0"), Authority::new());
    let files = tempfile::tempdir().unwrap();
    authority.write(files.path(), "ca");
    for name in ["web", "api"] {
        authority.sign(&["shop.test"]).write(files.path(), name);
    }
    let socket = files.path().join("weir.sock");
    let listen = format!("unix:{}", socket.display());
    let file = file(free_address(), app.address, files.path(), "", "");
    let tcp = file.lines().find(|line| line.starts_with("listen = \"127")).unwrap().to_owned();
    let _program = Program::start(&file.replace(&tcp, &format!("listen = {listen:?}")));
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "60", "--cacert"])
        .arg(files.path().join("ca.pem"))
        .arg("--unix-socket")
        .arg(&socket)
        .arg("https://shop.test/")
        .output()
        .unwrap();
    assert!(text(&output.stdout).starts_with("1.0.0\n"), "{}", text(&output.stderr));
}

#[test]
fn a_stop_ends_connections_properly_and_waits_for_nobody_who_is_silent() {
    let shop = Shop::open_with("", "timeouts = { drain = \"10m\" }");
    let mut kept = shop.client("shop.test");
    kept.get("/");
    let _silent = TcpStream::connect(shop.listen).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let since = Instant::now();
    let sent = Command::new("kill").args(["-TERM", &shop.program.pid().to_string()]).status();
    assert!(sent.unwrap().success());
    assert!(kept.ends(), "with a close_notify");
    eventually("the admin is gone", || get(shop.program.admin(), "/healthz").is_none());
    let took = since.elapsed();
    assert!(took < Duration::from_mins(3), "the drain has ten minutes: {took:?}");
}

/// A plain Weir before an upstream with TLS; `release` is what its release says of it.
fn before(upstream: &SecureUpstream, release: &str) -> (SocketAddr, Program) {
    let (listen, port) = (free_address(), upstream.address.port());
    let file = format!(
        "[admin]\nlisten = \"ADMIN\"\n[[tier]]\nname = \"web\"\nlisten = \"{listen}\"\nstable = \
         \"1\"\nreleases = [{{ version = \"1\", upstreams = [\"https://localhost:{port}\"], \
         {release} }}]\nhealth = {{ path = \"/health\", interval = \"100ms\" }}\n"
    );
    (listen, Program::start(&file))
}

/// What `weir status` says is wrong with the only upstream.
fn trouble(program: &Program) -> String {
    let status = program.status();
    let upstream = &status["tiers"][0]["releases"][0]["upstreams"][0];
    upstream["error"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn an_upstream_is_verified_and_its_connections_are_kept() {
    let (authority, files) = (Authority::new(), tempfile::tempdir().unwrap());
    let ca = authority.write(files.path(), "ca");
    let upstream = SecureUpstream::start(&authority.sign(&["localhost"]), None);
    let (listen, program) = before(&upstream, &format!("tls = {{ ca = {ca:?} }}"));
    eventually("it is well", || {
        program.status()["tiers"][0]["releases"][0]["upstreams"][0]["health"] == "healthy"
    });
    let mut client = Client::to(listen);
    client.get("/", "");
    let checks = upstream.handshakes.load(Ordering::SeqCst);
    for _ in 0..20 {
        assert_eq!(client.get("/", "").status, 200);
    }
    let more = upstream.handshakes.load(Ordering::SeqCst) - checks;
    assert!(more < 15, "{more} handshakes for 20 requests; health checks are some of them");
}

#[test]
fn an_upstream_that_is_not_believed_gets_no_request_and_the_status_says_why() {
    let (authority, files) = (Authority::new(), tempfile::tempdir().unwrap());
    let ca = authority.write(files.path(), "ca");
    let other = Authority::new().write(files.path(), "other");
    let of = |names: &[&str]| authority.sign(names);
    let kind = &rcgen::PKCS_ECDSA_P256_SHA256;
    let old: Signed = authority.sign_changed(&["localhost"], kind, |params| {
        params.not_after = date_time_ymd(2020, 5, 17);
    });
    for (signed, tls, why) in [
        (of(&["localhost"]), format!("ca = {other:?}"), "is signed by nobody that is trusted here"),
        (of(&["localhost"]), String::new(), "signed by nobody that is trusted here; name who"),
        (of(&["app.internal"]), format!("ca = {ca:?}"), "is for app.internal, not for localhost"),
        (old, format!("ca = {ca:?}"), "expired on 2020-05-17; renew it"),
    ] {
        let upstream = SecureUpstream::start(&signed, None);
        let (listen, program) = before(&upstream, &format!("tls = {{ {tls} }}"));
        assert_eq!(Client::to(listen).get("/", "").status, 502);
        eventually(why, || trouble(&program).contains(why));
        assert_eq!(upstream.handshakes.load(Ordering::SeqCst), 0);
    }
}

#[test]
fn an_upstream_is_believed_under_another_name_or_unseen_if_the_file_says_so() {
    let (authority, files) = (Authority::new(), tempfile::tempdir().unwrap());
    let ca = authority.write(files.path(), "ca");
    let upstream = SecureUpstream::start(&authority.sign(&["app.internal"]), None);
    for tls in [format!("ca = {ca:?}, name = \"app.internal\""), "verify = false".to_owned()] {
        let (listen, _program) = before(&upstream, &format!("tls = {{ {tls} }}"));
        assert_eq!(Client::to(listen).get("/", "").status, 200, "{tls}");
    }
}

#[test]
fn an_upstream_may_ask_for_a_certificate_of_weir() {
    let (authority, files) = (Authority::new(), tempfile::tempdir().unwrap());
    let ca = authority.write(files.path(), "ca");
    authority.sign(&["weir.internal"]).write(files.path(), "weir");
    let upstream = SecureUpstream::start(&authority.sign(&["localhost"]), Some(&authority));
    let (listen, _program) = before(&upstream, &format!("tls = {{ ca = {ca:?} }}"));
    assert_eq!(Client::to(listen).get("/", "").status, 502);
    let (chain, key) = (files.path().join("weir.pem"), files.path().join("weir.key"));
    let own = format!("tls = {{ ca = {ca:?}, chain = {chain:?}, key = {key:?} }}");
    let (listen, _program) = before(&upstream, &own);
    assert_eq!(Client::to(listen).get("/", "").status, 200);
}

#[test]
fn connections_made_by_other_rules_are_not_used_after_a_reload() {
    let (authority, files) = (Authority::new(), tempfile::tempdir().unwrap());
    let other = Authority::new().write(files.path(), "other");
    let upstream = SecureUpstream::start(&authority.sign(&["localhost"]), None);
    let (listen, program) = before(&upstream, "tls = { verify = false }");
    let mut client = Client::to(listen);
    assert_eq!(client.get("/", "").status, 200);
    let path = program.directory().join("weir.toml");
    let file = std::fs::read_to_string(&path).unwrap();
    program.write_file(&file.replace("verify = false", &format!("ca = {other:?}")));
    program.say(&["reload"]);
    assert_eq!(client.get("/", "").status, 502, "{}", trouble(&program));
}

#[test]
fn an_upstream_without_tls_is_recognised() {
    // As web servers answer what is no request.
    let app = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = app.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut socket in app.incoming().flatten() {
            _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n");
        }
    });
    let listen = free_address();
    let file = format!(
        "[admin]\nlisten = \"ADMIN\"\n[[tier]]\nname = \"web\"\nlisten = \"{listen}\"\nstable = \
         \"1\"\nreleases = [{{ version = \"1\", upstreams = [\"https://{address}\"], tls = {{ verify \
         = false }} }}]\n"
    );
    let program = Program::start(&file);
    assert_eq!(Client::to(listen).get("/", "").status, 502);
    eventually("why", || trouble(&program).contains("does not speak TLS"));
}
