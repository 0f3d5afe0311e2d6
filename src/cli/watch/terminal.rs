//! The terminal while a picture fills it, and as it was before, however the picture ends.

use std::io::{self, Stdout, Write as _};
use std::panic;
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use rustix::process::{Signal, kill_current_process_group};

/// How long a stop of this process may take to come: nothing is drawn meanwhile.
const STOP_SPAN: Duration = Duration::from_millis(100);

/// The terminal, taken.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// It is none, or is gone.
    pub(super) fn take() -> io::Result<Self> {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            give_back();
            before(panic);
        }));
        enter()?;
        Ok(Self { terminal: blank().inspect_err(|_| give_back())? })
    }

    /// Draws a picture.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(super) fn draw(&mut self, picture: impl FnOnce(&mut ratatui::Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(picture).map(drop)
    }

    /// Takes the terminal again after somebody else had it, and draws all of it at the next time.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(super) fn again(&mut self) -> io::Result<()> {
        enter()?;
        // Anew, instead of `clear`: that asks the terminal where its cursor is, and the answer
        // would come to whoever reads the keys.
        execute!(io::stdout(), Clear(ClearType::All))?;
        self.terminal = blank()?;
        Ok(())
    }

    /// Gives the terminal to the shell, stops, and takes it again when the shell goes on with this.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(super) fn suspend(&mut self) -> io::Result<()> {
        give_back();
        // As the terminal itself does with Ctrl-Z: all that was started together stops.
        kill_current_process_group(Signal::TSTP)?;
        std::thread::sleep(STOP_SPAN);
        self.again()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn blank() -> io::Result<Terminal<CrosstermBackend<Stdout>>> {
    Terminal::new(CrosstermBackend::new(io::stdout()))
}

fn enter() -> io::Result<()> {
    enable_raw_mode()?;
    execute!(io::stdout(), EnterAlternateScreen).inspect_err(|_| give_back())
}

/// Gives the terminal back. What fails here fails because it is gone.
fn give_back() {
    let _ = execute!(io::stdout(), Show, LeaveAlternateScreen);
    let _ = io::stdout().flush();
    let _ = disable_raw_mode();
}
