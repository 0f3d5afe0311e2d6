//! Both versions of Verdaccio on one data directory, their users, and npm, their real client.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::client::Client;
use crate::support::program::{free_address, get};

/// How long a version may take until it answers; 0.7 s on an idle machine.
const HEALTHY_MAX: Duration = Duration::from_mins(3);

/// The package that everybody downloads.
pub const PACKAGE: &str = "alpha";

/// Verdaccio 5.33.0 and 6.8.0, ended with this value.
pub struct Registries {
    /// Where 5.33.0 listens.
    pub five: SocketAddr,
    /// Where 6.8.0 listens.
    pub six: SocketAddr,
    processes: Vec<Child>,
    directory: TempDir,
}

impl Registries {
    /// Installs both where that was never done, and starts them; with `downloads` both load the
    /// plugin that 6 breaks.
    pub fn start(downloads: bool) -> Self {
        install();
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (five, six) = (free_address(), free_address());
        let mut registries = Self { five, six, processes: vec![], directory };
        for (version, address) in [("5", five), ("6", six)] {
            let process = registries.launch(version, address, downloads);
            registries.processes.push(process);
            // One after the other: see the traps in the README.
            registries.wait_until_healthy(address);
        }
        registries
    }

    fn launch(&self, version: &str, address: SocketAddr, downloads: bool) -> Child {
        let log = File::create(self.log(address)).expect("a log");
        Command::new(script("start"))
            .args([version, &address.port().to_string()])
            .arg(self.directory.path().join("data"))
            .args(downloads.then_some("downloads"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("a version of Verdaccio starts")
    }

    fn log(&self, address: SocketAddr) -> PathBuf {
        self.directory.path().join(format!("{}.log", address.port()))
    }

    fn wait_until_healthy(&self, address: SocketAddr) {
        let since = Instant::now();
        let healthy =
            || get(address, "/-/ping").is_some_and(|answer| answer.starts_with("HTTP/1.1 200"));
        while !healthy() {
            assert!(
                since.elapsed() < HEALTHY_MAX,
                "no answer at {address}\n{}",
                fs::read_to_string(self.log(address)).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Registries {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real_app").join(name)
}

fn install() {
    static INSTALLED: OnceLock<Output> = OnceLock::new();
    let installed = INSTALLED.get_or_init(|| {
        let output = Command::new(script("install")).stdin(Stdio::null()).output();
        output.expect("tests/real_app/install runs")
    });
    assert!(installed.status.success(), "{}", text(installed));
}

/// Makes a user at `address` and gives the token.
pub fn user(address: SocketAddr, name: &str) -> String {
    let body = format!(r#"{{"name":"{name}","password":"a-long-password"}}"#);
    let mut client = Client::to(address);
    client.send(&format!(
        "PUT /-/user/org.couchdb.user:{name} HTTP/1.1\r\nhost: {address}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ));
    let answer = client.answer("PUT").expect("an answer");
    assert_eq!(answer.status, 201, "{}", answer.text());
    let answer: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    answer["token"].as_str().expect("a token").to_owned()
}

/// npm as one user of the registry at one address, with a cache of its own.
pub struct Npm {
    directory: TempDir,
}

impl Npm {
    /// Makes the user `name` through `address`, and npm's configuration.
    pub fn of(address: SocketAddr, name: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let token = user(address, name);
        let cache = directory.path().join("cache");
        let file = format!(
            "registry=http://{address}/\n//{address}/:_authToken={token}\ncache={}\n\
             audit=false\nfund=false\nupdate-notifier=false\nfetch-retries=0\nloglevel=error\n",
            cache.display()
        );
        fs::write(directory.path().join("npmrc"), file).expect("npmrc is written");
        Self { directory }
    }

    /// `npm publish` of [`PACKAGE`].
    pub fn publish(&self, version: &str) {
        let package = format!(r#"{{"name":"{PACKAGE}","version":"{version}"}}"#);
        self.run(&self.place("package", &package), &["publish"]);
    }

    /// `npm view`: the versions that there are.
    pub fn versions(&self) -> Vec<String> {
        let answer = self.run(self.directory.path(), &["view", PACKAGE, "versions", "--json"]);
        let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
        // With one version npm prints a text, with several a list.
        let versions = answer.as_array().cloned().unwrap_or_else(|| vec![answer]);
        versions.iter().filter_map(|version| Some(version.as_str()?.to_owned())).collect()
    }

    /// `npm install` into an empty project from an empty cache: the version that was installed.
    pub fn install(&self) -> String {
        let _ = fs::remove_dir_all(self.directory.path().join("cache"));
        let _ = fs::remove_dir_all(self.directory.path().join("project"));
        let project = self.place("project", r#"{"private":true}"#);
        self.run(&project, &["install", PACKAGE]);
        let installed = project.join("node_modules").join(PACKAGE).join("package.json");
        let installed = fs::read(installed).expect("the package is installed");
        let installed: serde_json::Value = serde_json::from_slice(&installed).expect("JSON");
        installed["version"].as_str().expect("a version").to_owned()
    }

    fn place(&self, name: &str, package: &str) -> PathBuf {
        let place = self.directory.path().join(name);
        fs::create_dir_all(&place).expect("a directory");
        fs::write(place.join("package.json"), package).expect("package.json is written");
        place
    }

    fn run(&self, place: &Path, arguments: &[&str]) -> String {
        let output = Command::new("npm")
            .args(arguments)
            .current_dir(place)
            .env("npm_config_userconfig", self.directory.path().join("npmrc"))
            .stdin(Stdio::null())
            .output()
            .expect("npm runs");
        assert!(output.status.success(), "npm {arguments:?}: {}", text(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}\n{}{}", output.status, String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}
