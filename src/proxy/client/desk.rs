//! What the connections of one thread share, so that an idle one holds no memory: where heads are
//! written, where bytes come in, and the names of fields that upstreams repeat.

use std::cell::RefCell;

use bytes::BytesMut;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName};

use crate::proxy::io::CHUNK_BYTES_MAX;

/// Sets of names; a name may stand in two places of its set.
const SETS: usize = 64;

thread_local! {
    static DESK: RefCell<Desk> = RefCell::default();
}

/// What the connections of one thread share.
#[derive(Debug, Default)]
pub struct Desk {
    /// Where heads are written.
    pub out: Vec<u8>,
    /// Where bytes come in. Always empty: what came in is split off, and belongs to others.
    pub block: BytesMut,
    /// Names that came before.
    pub names: Names,
    /// Where the fields of the next answer go: the map of a request that was answered, since it has
    /// its memory already.
    pub fields: HeaderMap,
}

impl Desk {
    /// Lends the desk of this thread. Nothing foreign may run meanwhile.
    pub fn with<R>(work: impl FnOnce(&mut Self) -> R) -> R {
        DESK.with_borrow_mut(work)
    }

    /// Takes back the memory that was lent to write.
    pub fn take_back(&mut self, mut out: Vec<u8>) {
        if self.out.capacity() == 0 {
            out.clear();
            self.out = out;
        }
    }

    /// Takes back the map of a request, for an answer.
    pub fn take_back_fields(&mut self, mut fields: HeaderMap) {
        if self.fields.capacity() < fields.capacity() {
            fields.clear();
            self.fields = fields;
        }
    }

    /// Makes room to read, at least `least` bytes: the whole block, if nobody holds a part of it.
    pub fn make_room(&mut self, least: usize) {
        if !self.block.try_reclaim(CHUNK_BYTES_MAX) && self.block.capacity() < least {
            self.block.reserve(CHUNK_BYTES_MAX);
        }
    }
}

/// What a field means to the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Connection.
    Connection,
    /// Transfer-Encoding.
    Coding,
    /// Content-Length.
    Length,
    /// Nothing.
    Other,
}

#[derive(Debug)]
struct Known {
    /// As it was written.
    text: Box<[u8]>,
    name: HeaderName,
    kind: Kind,
}

/// Names of fields as upstreams write them.
#[derive(Debug, Default)]
pub struct Names {
    sets: Vec<[Option<Known>; 2]>,
}

impl Names {
    /// The name that is written as `text`, and what it means; none if it is no name.
    pub fn find(&mut self, text: &[u8]) -> Option<(&HeaderName, Kind)> {
        let place = place(text);
        let known = |slot: &Option<Known>| slot.as_ref().is_some_and(|known| *known.text == *text);
        let way = match self.sets.get(place) {
            Some([first, _]) if known(first) => 0,
            Some([_, second]) if known(second) => 1,
            Some(_) | None => {
                self.learn(place, text)?;
                0
            }
        };
        let known = self.sets.get(place)?[way].as_ref()?;
        Some((&known.name, known.kind))
    }

    #[cold]
    fn learn(&mut self, place: usize, text: &[u8]) -> Option<()> {
        let name = HeaderName::from_bytes(text).ok()?;
        let kind = match name {
            CONNECTION => Kind::Connection,
            CONTENT_LENGTH => Kind::Length,
            TRANSFER_ENCODING => Kind::Coding,
            _ => Kind::Other,
        };
        self.sets.resize_with(SETS, || [None, None]);
        let [first, second] = self.sets.get_mut(place)?;
        *second = first.replace(Known { text: text.into(), name, kind });
        Some(())
    }
}

/// The set of a name.
fn place(text: &[u8]) -> usize {
    let at = |place: usize| text.get(place).map_or(0, |byte| usize::from(*byte));
    let length = text.len();
    let mixed = at(0) ^ (at(length / 2) << 1) ^ (at(length.wrapping_sub(1)) << 2) ^ length;
    mixed % SETS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_the_same_however_it_is_written() {
        let mut names = Names::default();
        for _ in 0..2 {
            for text in ["content-length", "Content-Length", "CONTENT-LENGTH"] {
                assert_eq!(names.find(text.as_bytes()), Some((&CONTENT_LENGTH, Kind::Length)));
            }
            let custom = HeaderName::from_static("x-custom");
            assert_eq!(names.find(b"X-Custom"), Some((&custom, Kind::Other)));
            for wrong in [&b""[..], b"a b", b"a:", b"\xff"] {
                assert_eq!(names.find(wrong), None);
            }
        }
    }

    #[test]
    fn many_names_push_each_other_out_and_stay_right() {
        let mut names = Names::default();
        for round in 0..3 {
            for number in 0..1_000 {
                let text = format!("X-Field-{number}");
                let (name, kind) = names.find(text.as_bytes()).unwrap();
                assert_eq!(name.as_str(), text.to_lowercase(), "{round}");
                assert_eq!(kind, Kind::Other);
            }
        }
        assert_eq!(names.sets.len(), SETS);
    }

    #[test]
    fn common_names_have_places_of_their_own() {
        let common = [
            "Server",
            "Date",
            "Content-Type",
            "Content-Length",
            "Connection",
            "Cache-Control",
            "ETag",
            "Vary",
            "Set-Cookie",
            "X-Request-Id",
            "X-Runtime",
            "Strict-Transport-Security",
            "X-Frame-Options",
            "X-Content-Type-Options",
            "Referrer-Policy",
            "Last-Modified",
            "Transfer-Encoding",
            "Content-Encoding",
            "Location",
            "Keep-Alive",
        ];
        let mut names = Names::default();
        let is_there = |names: &Names, text: &str| {
            let set = names.sets.get(place(text.as_bytes()));
            let mut known = set.into_iter().flatten().flatten();
            known.any(|known| *known.text == *text.as_bytes())
        };
        for text in common {
            names.find(text.as_bytes());
        }
        assert!(common.iter().all(|text| is_there(&names, text)));
    }
}
