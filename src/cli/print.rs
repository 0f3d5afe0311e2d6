//! The only place that writes to the terminal. Colours are left out where nobody sees them.

use std::io::{self, IsTerminal as _, Write as _};

use ratatui::crossterm::terminal;
use rustix::event::{PollFd, PollFlags, Timespec};
use thiserror::Error;

use super::words;

/// Whoever read the output is gone (`weir log | head`): no reason to complain.
#[derive(Clone, Copy, Debug, Error)]
#[error("nobody reads the output any more")]
pub struct ReaderGone;

/// Writes an answer, to stdout.
///
/// # Errors
/// [`ReaderGone`], or what the system says.
pub fn text(text: &str) -> anyhow::Result<()> {
    let mut out = anstream::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(ReaderGone.into()),
        written => Ok(written?),
    }
}

/// Writes a line of an answer, to stdout.
///
/// # Errors
/// As [`text`].
pub fn line(line: &str) -> anyhow::Result<()> {
    text(&format!("{line}\n"))
}

/// Writes a remark beside the answer, to stderr.
pub fn note(note: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{note}");
}

/// Whether somebody may still read what is written, to be asked while there is nothing to write:
/// `weir log -f | grep -m 1 promoted` is over when grep is.
///
/// # Errors
/// [`ReaderGone`].
pub fn is_read() -> Result<(), ReaderGone> {
    let out = io::stdout();
    let mut asked = [PollFd::new(&out, PollFlags::empty())];
    let polled = rustix::event::poll(&mut asked, Some(&Timespec::default()));
    let is_gone = asked[0].revents().intersects(PollFlags::ERR | PollFlags::HUP);
    if polled.is_ok() && is_gone { Err(ReaderGone) } else { Ok(()) }
}

/// Whether a person sees the answers.
pub fn is_seen() -> bool {
    io::stdout().is_terminal()
}

/// Writes a picture of many lines, no wider than the terminal if there is one.
///
/// # Errors
/// As [`text`].
pub fn picture(picture: &str) -> anyhow::Result<()> {
    let width = if is_seen() { terminal::size().ok() } else { None };
    match width {
        Some((width, _)) if width > 0 => text(&words::fitted(picture, usize::from(width))),
        _ => text(picture),
    }
}

/// Asks a person for yes or no; no where there is nobody to ask.
///
/// # Errors
/// The terminal cannot be read.
pub fn confirm(question: &str) -> anyhow::Result<bool> {
    write!(anstream::stderr().lock(), "{question} [y/N] ")?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Asks a person for a line; none at the end of the input.
///
/// # Errors
/// The terminal cannot be read.
pub fn ask(question: &str) -> anyhow::Result<Option<String>> {
    write!(anstream::stderr().lock(), "{question}")?;
    let mut answer = String::new();
    let read = io::stdin().read_line(&mut answer)?;
    Ok((read > 0).then(|| answer.trim().to_owned()))
}

/// Whether there is a person to ask.
pub fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}
