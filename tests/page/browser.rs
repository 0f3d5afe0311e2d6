//! A real Chromium, driven by Debian's chromedriver as the `WebDriver` standard says, in a profile of
//! its own that is gone at the end.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::client::Client;

/// How long something may take that happens at once on a machine with nothing else to do.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// How long chromedriver may take to answer: the first answer is a browser that has started.
const ANSWER_MAX: Duration = Duration::from_mins(2);

/// One browser at a time: several are more than a small machine bears.
static TURN: Mutex<()> = Mutex::new(());

/// The key of an element, by the standard.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Keys as the standard writes them.
pub mod key {
    pub const ENTER: &str = "\u{e007}";
    pub const LEFT: &str = "\u{e012}";
    pub const PAGE_UP: &str = "\u{e00e}";
    pub const TAB: &str = "\u{e004}";
}

/// A window of a browser.
pub struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
    _profile: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Browser {
    /// Opens one of this size; below 500 wide it is a telephone.
    pub fn open((width, height): (u32, u32)) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let profile = tempfile::tempdir().expect("a temporary directory");
        let folder = profile.path().join("profile");
        let (driver, address) = driver(profile.path());
        let mut browser =
            Self { driver, address, session: String::new(), _profile: profile, _turn: turn };
        let mut options = json!({ "args": [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--hide-scrollbars", format!("--window-size={width},{height}"),
            format!("--user-data-dir={}", folder.display()),
        ] });
        if width < 500 {
            let metrics = json!({ "width": width, "height": height, "pixelRatio": 2 });
            options["mobileEmulation"] = json!({ "deviceMetrics": metrics });
        }
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": options,
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let made = browser.ask("POST", "/session", &wanted);
        let id = made["sessionId"].as_str().expect("a session");
        browser.session = format!("/session/{id}");
        browser
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let (address, length) = (self.address, body.len());
        let mut client = Client::to(address);
        client.stream.set_read_timeout(Some(ANSWER_MAX)).expect("a limit");
        client.send(&format!(
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        ));
        let answer = client.answer(method).expect("an answer of chromedriver");
        let mut said: Value = serde_json::from_slice(&answer.body).expect("an answer in JSON");
        assert_eq!(answer.status, 200, "{method} {path} {body}: {said}");
        said["value"].take()
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        self.ask("POST", &format!("{}{path}", self.session), body)
    }

    /// Goes to a page and waits until it is loaded.
    pub fn go(&self, url: &str) {
        self.post("/url", &json!({ "url": url }));
    }

    /// Runs the body of a function in the page.
    pub fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// The same where the last argument is called with what is to be given.
    pub fn run_later(&self, script: &str) -> Value {
        self.post("/execute/async", &json!({ "script": script, "args": [] }))
    }

    /// What an expression gives.
    pub fn value(&self, expression: &str) -> Value {
        self.run(&format!("return ({expression})"))
    }

    /// What an expression gives, as text.
    pub fn text(&self, expression: &str) -> String {
        self.value(expression).as_str().unwrap_or_default().to_owned()
    }

    /// Waits until an expression is true.
    pub fn wait(&self, expression: &str) {
        let since = Instant::now();
        while self.value(&format!("Boolean({expression})")) != json!(true) {
            if since.elapsed() > PATIENCE {
                let page = self.text("document.body.innerText");
                panic!("never: {expression}\n--- console\n{:?}\n--- page\n{page}", self.errors());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn element(&self, selector: &str) -> String {
        let found = self.post("/element", &json!({ "using": "css selector", "value": selector }));
        let id = found[ELEMENT].as_str().expect("an element");
        format!("/element/{id}")
    }

    /// Presses what a selector finds, with the pointer: it must be in sight.
    pub fn click(&self, selector: &str) {
        self.post(&format!("{}/click", self.element(selector)), &json!({}));
    }

    /// Types into what a selector finds.
    pub fn write(&self, selector: &str, text: &str) {
        self.post(&format!("{}/value", self.element(selector)), &json!({ "text": text }));
    }

    /// Presses keys, one after the other, wherever the focus is.
    pub fn press(&self, keys: &str) {
        let each = keys.chars().flat_map(|key| {
            ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key.to_string() }))
        });
        let actions = json!([{ "type": "key", "id": "keys", "actions": each.collect::<Vec<_>>() }]);
        self.post("/actions", &json!({ "actions": actions }));
    }

    /// What the console has of errors since it was asked last.
    pub fn errors(&self) -> Vec<String> {
        let lines = self.post("/se/log", &json!({ "type": "browser" }));
        let lines = lines.as_array().cloned().unwrap_or_default();
        let bad = lines.iter().filter(|line| line["level"] == "SEVERE");
        bad.map(|line| line["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// A picture of what is seen.
    pub fn picture(&self) -> Vec<u8> {
        use base64::Engine as _;
        let picture = self.ask("GET", &format!("{}/screenshot", self.session), &Value::Null);
        let text = picture.as_str().expect("a picture");
        base64::engine::general_purpose::STANDARD.decode(text).expect("a picture in base64")
    }

    /// Has scripts of this text run before those of any page.
    pub fn before(&self, script: &str) {
        let command = "Page.addScriptToEvaluateOnNewDocument";
        self.post("/goog/cdp/execute", &json!({ "cmd": command, "params": { "source": script } }));
    }

    /// Makes the window so large.
    pub fn resize(&self, (width, height): (u32, u32)) {
        let mobile = width < 500;
        let params =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile });
        let command = "Emulation.setDeviceMetricsOverride";
        self.post("/goog/cdp/execute", &json!({ "cmd": command, "params": params }));
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends the browser itself; a chromedriver that is killed would leave it behind.
        if !self.session.is_empty() {
            let delete =
                format!("DELETE {} HTTP/1.1\r\nhost: {}\r\n\r\n", self.session, self.address);
            let mut client = Client::to(self.address);
            client.send(&delete);
            let _ = client.answer("DELETE");
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// How often a driver is started: it takes a free port of IPv6 and ends when another program has the
/// same one of IPv4, which happens beside hundreds of servers of other tests.
const STARTS_MAX: usize = 10;

/// A chromedriver, and where it listens.
fn driver(home: &Path) -> (Child, SocketAddr) {
    let mut said = String::new();
    for _ in 0..STARTS_MAX {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .env("HOME", home)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("chromedriver starts; tests/run installs it");
        match port(&mut driver) {
            Ok(port) => return (driver, SocketAddr::from(([127, 0, 0, 1], port))),
            Err(lines) => said = lines,
        }
        let _ = driver.kill();
        let _ = driver.wait();
    }
    panic!("chromedriver did not start {STARTS_MAX} times; at last it said:\n{said}");
}

/// The port that a driver says it has, or all that it said until it ended.
fn port(driver: &mut Child) -> Result<u16, String> {
    let mut said = String::new();
    let output = BufReader::new(driver.stdout.take().expect("its output"));
    for line in output.lines().map_while(Result::ok) {
        let port = line.strip_prefix("ChromeDriver was started successfully on port ");
        if let Some(port) = port.and_then(|port| port.trim_end_matches('.').parse().ok()) {
            return Ok(port);
        }
        said.push_str(&line);
        said.push('\n');
    }
    Err(said)
}
