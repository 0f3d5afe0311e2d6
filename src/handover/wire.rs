//! What two processes say to each other: one JSON object a packet, file descriptors beside it.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::share::Share;
use crate::rollout::Event;
use crate::traffic::Generations;

/// The longest message: a share for each tier, and some hundred bytes each. The kernel takes about
/// 200 KiB in one packet.
const MESSAGE_BYTES_MAX: usize = 128 * 1024;

/// Sockets that go with one message; the kernel takes 253.
pub const SOCKETS_MAX: usize = 128;

/// What the heir says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum FromHeir {
    /// It wants to take over.
    Hello {
        /// The version of the protocol it speaks.
        protocol: u32,
        /// The version of the program.
        weir: String,
    },
    /// It has what it needs but the journal.
    Prepared,
    /// It owns the journal, and has decided nothing.
    Opened,
    /// It accepts connections, and decides.
    Serving,
    /// It has taken over what was lowered.
    Taken {
        /// The number of that message.
        number: u64,
    },
    /// What is served from now on.
    Follow {
        /// The number of the publication.
        epoch: u64,
        /// How each tier is split.
        tiers: Vec<Share>,
        /// Which beginning the part of each release in each cache is.
        #[serde(default, skip_serializing_if = "Generations::is_empty")]
        generations: Generations,
        /// What authorities are answered that ask for a proof (HTTP-01), by token.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        proofs: BTreeMap<String, String>,
    },
}

/// What the heir is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum ToHeir {
    /// It is not to take over.
    Refused {
        /// Why, as a sentence.
        because: String,
    },
    /// The sockets beside this message.
    Sockets {
        /// The process that has them now.
        process: u32,
        /// Whether there are more.
        more: bool,
    },
    /// The journal is nobody's.
    Released,
    /// What lowered since the journal was released.
    Lowered {
        /// The number of this message.
        number: u64,
        /// The events, which are not in the journal.
        events: Vec<Event>,
    },
    /// All that lowered so far was told: serve.
    Go,
    /// No connection is accepted any more.
    Draining {
        /// Requests under way.
        requests: u64,
        /// Upgraded connections.
        upgraded: u64,
        /// How long they may go on, in milliseconds.
        limit: u64,
    },
    /// Every worker follows.
    Followed {
        /// The number of the publication.
        epoch: u64,
    },
    /// This process ends.
    Drained {
        /// Connections that were cut.
        cut: u64,
    },
}

/// The connection of two processes.
#[derive(Debug)]
pub struct Link {
    socket: UnixStream,
}

impl Link {
    /// Connects to the socket at `path`.
    pub fn to(path: &Path) -> io::Result<Self> {
        let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(path)?)?;
        let socket = UnixStream::from_std(socket.into())?;
        Ok(Self { socket })
    }

    /// A connection that was accepted.
    pub const fn new(socket: UnixStream) -> Self {
        Self { socket }
    }

    /// The process at the other end, if it can be learned, and its user.
    pub fn peer(&self) -> io::Result<(Option<i32>, u32)> {
        let peer = self.socket.peer_cred()?;
        Ok((peer.pid(), peer.uid()))
    }

    /// Whether the other end is still open, as far as is known: the process there lives then.
    pub fn is_open(&self) -> bool {
        let mut looked = [PollFd::new(&self.socket, PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut looked, Some(&now)) == Ok(0)
    }

    /// Sends `message` with at most [`SOCKETS_MAX`] `sockets`.
    pub async fn send<T: Serialize + Sync>(
        &self,
        message: &T,
        sockets: &[OwnedFd],
    ) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        if text.len() > MESSAGE_BYTES_MAX || sockets.len() > SOCKETS_MAX {
            return Err(ErrorKind::FileTooLarge.into());
        }
        let send = || {
            let borrowed: Vec<_> = sockets.iter().map(OwnedFd::as_fd).collect();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
            let mut beside = SendAncillaryBuffer::new(&mut space);
            if !borrowed.is_empty() {
                beside.push(SendAncillaryMessage::ScmRights(&borrowed));
            }
            let parts = [IoSlice::new(&text)];
            Ok(sendmsg(&self.socket, &parts, &mut beside, SendFlags::NOSIGNAL)?)
        };
        // A packet goes whole or not at all.
        self.socket.async_io(Interest::WRITABLE, send).await.map(drop)
    }

    /// The next message and the sockets beside it; none if the other process has gone. Nothing is
    /// lost if this is not waited for to its end.
    pub async fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let mut text = vec![0; MESSAGE_BYTES_MAX];
        let mut receive = || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
            let mut beside = RecvAncillaryBuffer::new(&mut space);
            let mut parts = [IoSliceMut::new(&mut text)];
            let got = recvmsg(&self.socket, &mut parts, &mut beside, RecvFlags::CMSG_CLOEXEC)?;
            if got.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
                return Err(ErrorKind::FileTooLarge.into());
            }
            let mut sockets = Vec::new();
            for message in beside.drain() {
                if let RecvAncillaryMessage::ScmRights(rights) = message {
                    sockets.extend(rights);
                }
            }
            Ok((got.bytes, sockets))
        };
        let (bytes, sockets) = loop {
            match self.socket.async_io(Interest::READABLE, &mut receive).await {
                // A process that goes with something unread leaves this behind, before what it
                // said; it is told once.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
                received => break received?,
            }
        };
        if bytes == 0 {
            return Ok(None);
        }
        Ok(Some((serde_json::from_slice(&text[..bytes])?, sockets)))
    }

    /// The same, within `limit`.
    pub async fn receive_within<T: DeserializeOwned>(
        &self,
        limit: Duration,
    ) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        tokio::time::timeout(limit, self.receive()).await.map_err(|_| ErrorKind::TimedOut)?
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn pair() -> (Link, Link) {
        let (here, there) = Socket::pair(Domain::UNIX, Type::SEQPACKET, None).unwrap();
        let link = |socket: Socket| {
            socket.set_nonblocking(true).unwrap();
            Link::new(UnixStream::from_std(socket.into()).unwrap())
        };
        (link(here), link(there))
    }

    #[tokio::test]
    async fn messages_keep_their_edges_and_their_sockets() {
        let (here, there) = pair();
        let (mut reader, writer) = io::pipe().unwrap();
        let sockets = ToHeir::Sockets { process: 7, more: false };
        here.send(&sockets, &[writer.into()]).await.unwrap();
        here.send(&ToHeir::Go, &[]).await.unwrap();
        let (first, mut handed) = there.receive::<ToHeir>().await.unwrap().unwrap();
        assert_eq!((first, handed.len()), (sockets, 1));
        std::fs::File::from(handed.remove(0)).set_len(0).unwrap_err();
        let (second, handed) = there.receive::<ToHeir>().await.unwrap().unwrap();
        assert_eq!((second, handed.len()), (ToHeir::Go, 0));
        assert!(there.is_open());
        drop(here);
        assert!(there.receive::<ToHeir>().await.unwrap().is_none());
        assert!(!there.is_open());
        // The copy that was handed over is closed as well: nobody holds the pipe any more.
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    }

    #[tokio::test]
    async fn what_was_said_is_heard_though_the_other_has_gone_without_listening() {
        let (here, there) = pair();
        there.send(&FromHeir::Prepared, &[]).await.unwrap();
        here.send(&ToHeir::Released, &[]).await.unwrap();
        here.send(&ToHeir::Go, &[]).await.unwrap();
        drop(here);
        for said in [Some(ToHeir::Released), Some(ToHeir::Go), None] {
            let heard = there.receive::<ToHeir>().await.unwrap();
            assert_eq!(heard.map(|(message, _)| message), said);
        }
    }

    #[tokio::test]
    async fn what_is_not_understood_is_an_error_and_no_panic() {
        let (here, there) = pair();
        here.send(&serde_json::json!({"say": "explode"}), &[]).await.unwrap();
        assert!(there.receive::<FromHeir>().await.is_err());
        here.send(&serde_json::json!({"say": "go", "later": 1}), &[]).await.unwrap();
        assert_eq!(there.receive::<ToHeir>().await.unwrap().unwrap().0, ToHeir::Go);
        let long = "x".repeat(MESSAGE_BYTES_MAX);
        assert!(here.send(&long, &[]).await.is_err());
        assert!(there.receive_within::<ToHeir>(Duration::from_millis(20)).await.is_err());
    }
}
