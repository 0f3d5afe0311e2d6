//! One connection of a client that passes as it is; where versions share a server it is watched,
//! to count what each does.

use std::cell::RefCell;
use std::io;
use std::sync::atomic::Ordering;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Place;
use super::link::Link;
use super::session::Session;
use crate::namespace::edits::Edits;

/// Bytes that are passed on in one piece.
const PIECE: usize = 64 * 1024;

/// Bytes that are seen and not yet understood: a line of the longest kind and some more.
const WAITING_MAX: usize = 128 * 1024;

/// Passes everything on, both ways, until both sides have left.
pub async fn pass(mut client: TcpStream, server: Link, place: &Place) -> io::Result<()> {
    let watch = RefCell::new(Some(Watch::new(place)));
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let up = copy(&mut from_client, &mut to_server, |seen| watched(&watch, Watch::asked, seen));
    let down =
        copy(&mut from_server, &mut to_client, |seen| watched(&watch, Watch::answered, seen));
    tokio::try_join!(up, down).map(|_| ())
}

async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut seen: impl FnMut(&[u8]),
) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let length = from.read(&mut piece).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        seen(&piece[..length]);
        to.write_all(&piece[..length]).await?;
        to.flush().await?;
    }
}

/// Reads along.
struct Watch<'a> {
    session: Session,
    requests: Vec<u8>,
    answers: Vec<u8>,
    place: &'a Place,
}

impl<'a> Watch<'a> {
    fn new(place: &'a Place) -> Self {
        Self { session: Session::watching(place), requests: Vec::new(), answers: Vec::new(), place }
    }

    fn asked(&mut self, seen: &[u8]) -> io::Result<()> {
        self.requests.extend_from_slice(seen);
        let taken = self.session.asked(&self.requests, &mut Edits::new());
        let taken = taken.map_err(io::Error::other)?;
        self.requests.drain(..taken);
        self.session.settle(self.place);
        Ok(())
    }

    fn answered(&mut self, seen: &[u8]) -> io::Result<()> {
        self.answers.extend_from_slice(seen);
        let (mut client, mut server) = (Edits::new(), Edits::new());
        let taken = self.session.answered(&self.answers, &mut client, &mut server)?;
        self.answers.drain(..taken);
        self.session.settle(self.place);
        Ok(())
    }
}

/// Looks at what passes; gives up for good where it is not understood, and lets it pass.
fn watched<'a>(
    watch: &RefCell<Option<Watch<'a>>>,
    look: fn(&mut Watch<'a>, &[u8]) -> io::Result<()>,
    seen: &[u8],
) {
    let mut place = watch.borrow_mut();
    let Some(inside) = place.as_mut() else { return };
    let waits = |watch: &Watch<'_>| watch.requests.len().max(watch.answers.len());
    if look(inside, seen).is_err() || waits(inside) > WAITING_MAX || inside.session.is_full() {
        let Place { shared, counts, .. } = inside.place;
        tracing::debug!(cache = %shared.name, "a connection is not counted any more");
        if inside.place.repeats_what_it_watches() {
            // What it deletes from now on is not seen: at least it shall not go unnoticed.
            counts.failed_repeats.fetch_add(1, Ordering::Relaxed);
        }
        *place = None;
    }
}
