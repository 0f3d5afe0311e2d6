//! Pebble, an authority for tests that speaks ACME, and the names it looks up.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use super::certificates::Authority;
use super::program::free_address;

/// How long it may take until it answers.
const READY_MAX: Duration = Duration::from_mins(2);

/// Where an authority listens, and where it looks for proofs.
pub struct Pebble {
    folder: TempDir,
    listen: SocketAddr,
    management: SocketAddr,
    /// Where it asks for a page (HTTP-01); its port 80.
    pub http: SocketAddr,
    /// Where it asks for a certificate (TLS-ALPN-01); its port 443.
    pub tls: SocketAddr,
    names: SocketAddr,
    running: Vec<Child>,
}

impl Pebble {
    /// One that is not started yet; its certificates are valid for `validity`.
    pub fn prepare(validity: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let own = Authority::new();
        own.write(folder.path(), "ca");
        own.sign(&["localhost"]).write(folder.path(), "own");
        let [listen, management, http, tls, names] = [(); 5].map(|()| free_address());
        let config = json!({ "pebble": {
            "listenAddress": listen.to_string(),
            "managementListenAddress": management.to_string(),
            "certificate": folder.path().join("own.pem"),
            "privateKey": folder.path().join("own.key"),
            "httpPort": http.port(),
            "tlsPort": tls.port(),
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
            "certificateValidityPeriod": validity.as_secs(),
        }});
        std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        Self { folder, listen, management, http, tls, names, running: Vec::new() }
    }

    /// Starts it (again): it has forgotten everything then, and signs with another root. Proofs are
    /// not reused, unless `environment` says so.
    pub fn start(&mut self, environment: &[(&str, &str)]) {
        self.stop();
        let names = self.names.to_string();
        let arguments = ["-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", ""];
        let management = free_address().to_string();
        let mut resolver = self.command("pebble-challtestsrv");
        resolver.args(["-dns01", &names, "-management", &management]).args(arguments);
        let mut authority = self.command("pebble");
        authority
            .arg("-config")
            .arg(self.folder.path().join("config.json"))
            .args(["-dnsserver", &names])
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_AUTHZREUSE", "0")
            .envs(environment.iter().copied());
        for command in [&mut resolver, &mut authority] {
            let missing = "pebble runs; it is in Debian's package of that name";
            self.running.push(command.spawn().expect(missing));
        }
        let since = Instant::now();
        for address in [self.names, self.listen, self.management] {
            while TcpStream::connect(address).is_err() {
                assert!(since.elapsed() < READY_MAX, "pebble is not ready\n{}", self.log());
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    fn command(&self, program: &str) -> Command {
        let log = self.folder.path().join("log");
        let log = File::options().create(true).append(true).open(log).unwrap();
        let mut command = Command::new(program);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        command
    }

    /// Ends it.
    pub fn stop(&mut self) {
        for mut child in self.running.drain(..) {
            _ = child.kill();
            _ = child.wait();
        }
    }

    /// `[acme]` of a file that orders from it.
    pub fn section(&self) -> String {
        format!(
            "[acme]\ndirectory = \"https://localhost:{}/dir\"\nca = \"{}\"\nagree_to_terms = true\n",
            self.listen.port(),
            self.folder.path().join("ca.pem").display()
        )
    }

    /// The folder, inside that of `[acme]`, for what it issues.
    pub fn kept(&self, base: &Path) -> PathBuf {
        base.join(format!("localhost_{}_dir", self.listen.port()))
    }

    /// The certificate that everything it issues leads to.
    pub fn root(&self) -> String {
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "60", "--cacert"])
            .arg(self.folder.path().join("ca.pem"))
            .arg(format!("https://localhost:{}/roots/0", self.management.port()))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What it wrote.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// How many orders it took; one whose nonce it refused comes again.
    pub fn orders(&self) -> usize {
        self.log().matches("Added order ").count()
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        self.stop();
    }
}
