//! That something goes on, where a person waits for it: on stderr, in one line that is taken away
//! again, and only on a terminal.

use std::env;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ratatui::crossterm::terminal;

use super::watch::meters::cut;
use crate::time::in_words;

/// How often the line is written, and how long nothing is said: most things take less.
const STEP: Duration = Duration::from_secs(1);

/// What goes on; the line is gone when this is.
pub(super) struct Progress {
    line: Arc<Mutex<Line>>,
    thread: Option<(Sender<()>, JoinHandle<()>)>,
}

struct Line {
    text: String,
    is_seen: bool,
}

impl Progress {
    /// Says `text`, and for how long already, from the first second on.
    pub(super) fn of(text: &str) -> Self {
        let line = Arc::new(Mutex::new(Line { text: text.to_owned(), is_seen: false }));
        let is_dumb = env::var_os("TERM").is_none_or(|term| term == "dumb");
        let thread = (io::stderr().is_terminal() && !is_dumb).then(|| {
            let (end, ended) = mpsc::channel();
            let (line, begun) = (Arc::clone(&line), Instant::now());
            let thread = thread::spawn(move || {
                while ended.recv_timeout(STEP) == Err(RecvTimeoutError::Timeout) {
                    lock(&line).write(begun.elapsed());
                }
            });
            (end, thread)
        });
        Self { line, thread }
    }

    /// Says something else from now on.
    pub(super) fn says(&self, text: String) {
        lock(&self.line).text = text;
    }

    /// Does what writes to the terminal, the line being out of its way.
    pub(super) fn aside<T>(&self, act: impl FnOnce() -> T) -> T {
        let mut line = lock(&self.line);
        line.erase();
        act()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.thread.take() {
            drop(end);
            let _ = thread.join();
        }
        lock(&self.line).erase();
    }
}

impl Line {
    fn write(&mut self, since: Duration) {
        let width = terminal::size().map_or(80, |(width, _)| usize::from(width.max(2)));
        let span = in_words(Duration::from_secs(since.as_secs()));
        let text = cut(&format!("{}, {span}", self.text), width - 1);
        let _ = write!(io::stderr(), "\r{text}\x1b[K");
        self.is_seen = true;
    }

    fn erase(&mut self) {
        if self.is_seen {
            let _ = write!(io::stderr(), "\r\x1b[K");
            self.is_seen = false;
        }
    }
}

fn lock(line: &Mutex<Line>) -> MutexGuard<'_, Line> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}
