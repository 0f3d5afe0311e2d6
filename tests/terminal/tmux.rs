//! A real terminal of a fixed size, and what is on its screen: tmux on a socket of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::skipped;

/// How long anything may take to be on the screen.
const SHOWN_MAX: Duration = Duration::from_mins(2);

/// A shell in a terminal; both end with it.
pub struct Tmux {
    /// Where it listens: beside the program, and gone with it.
    socket: PathBuf,
}

impl Tmux {
    /// A shell in `folder`, in a terminal of this size. None: there is no tmux, which is said.
    pub fn start(folder: &Path, (width, height): (u16, u16)) -> Option<Self> {
        let tmux = Self { socket: folder.join("tmux") };
        if Command::new("tmux").arg("-V").stdout(Stdio::null()).status().is_err() {
            skipped::say("what is seen in a terminal", "tmux");
            return None;
        }
        let (width, height) = (width.to_string(), height.to_string());
        let begin = ["-u", "-f", "/dev/null", "new-session", "-d", "-x", &width, "-y", &height];
        let shell = "env PS1='$ ' bash --norc --noprofile";
        let folder = folder.to_str().unwrap();
        tmux.run(&[&begin[..], &["-c", folder, shell]].concat());
        tmux.shows("$");
        Some(tmux)
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = Command::new("tmux")
            .arg("-S")
            .arg(&self.socket)
            .args(arguments)
            .env("LC_ALL", "C.UTF-8")
            .env_remove("TMUX")
            .env_remove("NO_COLOR")
            .env_remove("WEIR_ADMIN")
            .env_remove("WEIR_TOKEN")
            .env_remove("WEIR_TOKEN_FILE")
            .stdin(Stdio::null())
            .output()
            .expect("tmux runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "tmux {arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Types `text` and the key Enter.
    pub fn types(&self, text: &str) {
        self.run(&["send-keys", "-l", text]);
        self.press("Enter");
    }

    /// Presses a key, as tmux calls it.
    pub fn press(&self, key: &str) {
        self.run(&["send-keys", key]);
    }

    /// What is on the screen.
    pub fn screen(&self) -> String {
        self.run(&["capture-pane", "-p"])
    }

    /// What is on the screen, with what paints it.
    pub fn painted(&self) -> String {
        self.run(&["capture-pane", "-p", "-e"])
    }

    /// Whether a picture fills the screen.
    pub fn is_taken(&self) -> bool {
        self.run(&["display-message", "-p", "#{alternate_on}"]).trim() == "1"
    }

    /// Waits until the screen is as `is` wants it, and gives it.
    pub fn becomes(&self, wanted: &str, is: impl Fn(&str) -> bool) -> String {
        let since = Instant::now();
        loop {
            let screen = self.screen();
            if is(&screen) {
                return screen;
            }
            assert!(since.elapsed() < SHOWN_MAX, "{wanted} is not on the screen:\n{screen}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until all of `texts` are on the screen, and gives the screen.
    pub fn shows_all(&self, texts: &[&str]) -> String {
        let all = |screen: &str| texts.iter().all(|text| screen.contains(text));
        self.becomes(&format!("{texts:?}"), all)
    }

    /// Waits until `text` is on the screen, and gives the screen.
    pub fn shows(&self, text: &str) -> String {
        self.shows_all(&[text])
    }

    /// Makes the terminal another size.
    pub fn resize(&self, width: u16, height: u16) {
        self.run(&["resize-window", "-x", &width.to_string(), "-y", &height.to_string()]);
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let _ = Command::new("tmux")
            .arg("-S")
            .arg(&self.socket)
            .arg("kill-server")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}
