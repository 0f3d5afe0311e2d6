//! One Weir replaces another while clients come in: listeners and journal change hands, and at
//! every moment exactly one process decides.
//!
//! The heir connects to a socket beside the journal. What is said, step by step:
//!
//! | heir | | the Weir that serves |
//! |---|---|---|
//! | `Hello` | → | |
//! | | ← | `Sockets`: copies of all listeners and of the locks on their addresses |
//! | `Prepared` | → | decides nothing more, writes its evidence, closes the journal |
//! | | ← | `Released`: the lock of the journal is free |
//! | opens the journal: `Opened` | → | |
//! | | ← | `Lowered`: what was rolled back or paused meanwhile; `Go` |
//! | publishes, accepts: `Serving` | → | accepts nothing more |
//! | | ← | `Draining`, and at its end `Drained` |
//! | `Follow`: each table it publishes, and the proofs it owes authorities | → | places the requests on its last connections by it |
//! | | ← | `Followed` |
//!
//! Who decides is who holds the journal's lock, which the kernel frees when a process dies. The
//! heir serves only after `Go`, or when the other is dead; the other takes the journal back when
//! the heir dies before `Serving`, and ends an heir that does not go on ([`STEP_MAX`]), so that
//! none comes back from a long sleep to a journal that has another owner. It also ends one that says
//! something else after `Go`, and one that keeps a journal which it is not to have.

mod ending;
mod giving;
mod share;
mod taking;
pub mod wire;

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use crate::inherited::Inherited;
pub use giving::{Estate, Succession, keep};
pub use taking::{Answers, Asked, Gone, Predecessor, TakeError, ask};

/// The version of what is said. Fields may be added to it, and are ignored where they are unknown.
pub const PROTOCOL: u32 = 1;

/// How long one process waits for the next word of the other. The longest step is reading a large
/// journal, which takes a second for a million events.
pub const STEP_MAX: Duration = Duration::from_secs(30);

/// What the name of the journal has behind it, where a hand-over is asked for.
const SUFFIX: &str = ".handover";

/// Heirs that wait to be refused.
const BACKLOG: i32 = 8;

/// The socket at which this process can be asked to hand over.
#[derive(Debug)]
pub struct Bell {
    listener: UnixListener,
    path: PathBuf,
    /// Whether the path goes with this process.
    own: bool,
}

impl Bell {
    /// Listens beside `journal`, which this process owns: a path that is left there is nobody's.
    ///
    /// # Errors
    /// The folder cannot be written to, or the path is too long for a socket (107 bytes).
    pub fn hang(journal: &Path, inherited: &mut Inherited) -> io::Result<Self> {
        let path = place(journal)?;
        if let Some(listener) = inherited.take_handover(&path) {
            // Whoever asks is told the process that listens: from now on this one.
            SockRef::from(&listener).listen(BACKLOG)?;
            // Should this process not come to serve, the other one goes on to listen there.
            return Ok(Self { listener, path, own: false });
        }
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::unix(&path)?)?;
        // Before anybody can connect.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        socket.listen(BACKLOG)?;
        Ok(Self { listener: socket.into(), path, own: true })
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        if self.own {
            _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Where a hand-over of `journal` is asked for. Absolute, so that two processes with other working
/// directories mean the same.
pub fn place(journal: &Path) -> io::Result<PathBuf> {
    let folder = journal.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new(".")).canonicalize()?;
    let mut name = journal.file_name().unwrap_or_default().to_owned();
    name.push(SUFFIX);
    Ok(folder.join(name))
}
