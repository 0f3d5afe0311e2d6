//! The body of an answer as it comes: of known length, in chunks, or up to the end of the
//! connection (RFC 9112, sections 6 and 7).

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::response::Malformed;

/// Bytes of chunk extensions and of blanks beside them in one body, as hyper has it; nobody needs
/// any.
const EXTENSION_BYTES_MAX: u32 = 16 * 1024;

/// Bytes of all trailers of a body, as hyper has it.
const TRAILER_BYTES_MAX: usize = 16 * 1024;

/// Digits of a chunk's size: all that a number of 64 bits can have.
const SIZE_DIGITS_MAX: u8 = 16;

/// Chunks smaller than this are joined, so that an answer in many small chunks costs as much as
/// the bytes of it and no more.
const SMALL_BYTES: usize = 4 * 1024;

/// Where joining stops.
const JOINED_BYTES: usize = 16 * 1024;

/// Takes a body out of the bytes that come in.
#[derive(Debug)]
pub enum Decoder {
    /// So many bytes are to come.
    Length(u64),
    /// Chunks.
    Chunked(Box<Chunks>),
    /// Everything up to the end.
    UntilEnd,
}

/// What came out.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A part of the body.
    Data(Bytes),
    /// Nothing before more comes in; all that did was taken.
    More,
    /// What stands behind the body.
    Trailers(HeaderMap),
    /// Nothing more.
    Over,
}

impl Decoder {
    /// A body in chunks, behind which at most `trailers` fields may stand.
    pub fn chunked(trailers: usize) -> Self {
        Self::Chunked(Box::new(Chunks::new(trailers)))
    }

    /// Takes what it can from `input`. `spare` lends memory to join what is small; it is empty,
    /// and empty again afterwards.
    pub fn decode(
        &mut self,
        input: &mut Bytes,
        spare: &mut BytesMut,
    ) -> Result<Decoded, Malformed> {
        match self {
            Self::Length(0) => Ok(Decoded::Over),
            Self::Length(_) | Self::UntilEnd if input.is_empty() => Ok(Decoded::More),
            Self::Length(left) => Ok(Decoded::Data(take(input, left))),
            Self::UntilEnd => Ok(Decoded::Data(std::mem::take(input))),
            Self::Chunked(chunks) => chunks.join(input, spare),
        }
    }

    /// Whether all of the body has come out.
    pub fn is_over(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunks) => chunks.state == State::Over && chunks.trailers.is_none(),
            Self::UntilEnd => false,
        }
    }

    /// So many bytes of a body of known length have come out on another way.
    pub const fn passed(&mut self, bytes: usize) {
        if let Self::Length(left) = self {
            *left = left.saturating_sub(bytes as u64);
        }
    }

    /// Bytes that are still to come, if that is known.
    pub const fn left(&self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(*left),
            Self::Chunked(_) | Self::UntilEnd => None,
        }
    }
}

/// At most `left` bytes of `input`.
fn take(input: &mut Bytes, left: &mut u64) -> Bytes {
    let part = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
    *left -= part as u64;
    if part == input.len() { std::mem::take(input) } else { input.split_to(part) }
}

/// A body in chunks.
#[derive(Debug)]
pub struct Chunks {
    state: State,
    left: u64,
    digits: u8,
    extension: u32,
    section: Vec<u8>,
    trailers: Option<HeaderMap>,
    trailers_max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the digits of a size.
    Size,
    /// In the blanks behind them.
    Blank,
    /// In an extension.
    Extension,
    /// Before the line feed behind them.
    SizeEnd,
    /// In the bytes of a chunk.
    Data,
    /// Before the carriage return behind them.
    DataReturn,
    /// Before the line feed behind that.
    DataEnd,
    /// In the lines behind the last chunk.
    Section,
    /// At the end.
    Over,
}

impl Chunks {
    fn new(trailers_max: usize) -> Self {
        Self {
            state: State::Size,
            left: 0,
            digits: 0,
            extension: 0,
            section: Vec::new(),
            trailers: None,
            trailers_max,
        }
    }

    /// One chunk or a part of it; several if they are small and there.
    fn join(&mut self, input: &mut Bytes, spare: &mut BytesMut) -> Result<Decoded, Malformed> {
        let first = match self.next(input, usize::MAX)? {
            Decoded::Data(first) => first,
            other @ (Decoded::More | Decoded::Trailers(_) | Decoded::Over) => return Ok(other),
        };
        // What is wrong behind the first is said when it is looked at again.
        if first.len() >= SMALL_BYTES || input.is_empty() || !self.reaches_data(input) {
            return Ok(Decoded::Data(first));
        }
        spare.extend_from_slice(&first);
        while spare.len() < JOINED_BYTES
            && let Ok(Decoded::Data(next)) = self.next(input, SMALL_BYTES)
        {
            spare.extend_from_slice(&next);
            if !self.reaches_data(input) {
                break;
            }
        }
        Ok(Decoded::Data(spare.split().freeze()))
    }

    /// Goes on to the next bytes of a chunk; whether there are any.
    fn reaches_data(&mut self, input: &mut Bytes) -> bool {
        self.frame(input).is_ok() && self.state == State::Data && !input.is_empty()
    }

    /// At most `most` bytes of one chunk, or what else comes next.
    fn next(&mut self, input: &mut Bytes, most: usize) -> Result<Decoded, Malformed> {
        self.frame(input)?;
        match self.state {
            State::Data if !input.is_empty() => {
                let mut part = self.left.min(most as u64);
                let wanted = part;
                let data = take(input, &mut part);
                self.left -= wanted - part;
                if self.left == 0 {
                    self.state = State::DataReturn;
                    // So that the end is known with the last of the data, where it is there.
                    _ = self.frame(input);
                }
                Ok(Decoded::Data(data))
            }
            State::Over => Ok(self.trailers.take().map_or(Decoded::Over, Decoded::Trailers)),
            State::Size
            | State::Blank
            | State::Extension
            | State::SizeEnd
            | State::Data
            | State::DataReturn
            | State::DataEnd
            | State::Section => Ok(Decoded::More),
        }
    }

    /// Takes what is no data from `input`. Where it fails it leaves everything as it was at the
    /// wrong byte, and fails there again.
    fn frame(&mut self, input: &mut Bytes) -> Result<(), Malformed> {
        let mut taken = 0;
        let outcome = loop {
            if matches!(self.state, State::Data | State::Over) {
                break Ok(());
            }
            let Some(byte) = input.get(taken) else {
                break Ok(());
            };
            match self.step(*byte) {
                Ok(()) => taken += 1,
                Err(wrong) => break Err(wrong),
            }
        };
        input.advance(taken);
        outcome
    }

    fn step(&mut self, byte: u8) -> Result<(), Malformed> {
        self.state = match (self.state, byte) {
            (State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                if self.digits == SIZE_DIGITS_MAX {
                    return Err(Malformed("a chunk's size is too long"));
                }
                let digit = (byte as char).to_digit(16).unwrap_or_default();
                self.left = self.left << 4 | u64::from(digit);
                self.digits += 1;
                State::Size
            }
            (State::Size, _) if self.digits == 0 => {
                return Err(Malformed("a chunk's size is missing"));
            }
            (State::Size | State::Blank, b' ' | b'\t') => self.extend(State::Blank)?,
            (State::Size | State::Blank, b';') => State::Extension,
            (State::Size | State::Blank | State::Extension, b'\r') => State::SizeEnd,
            (State::Size | State::Blank, _) => {
                return Err(Malformed("a chunk's size is no number"));
            }
            (State::Extension, b'\n') => {
                return Err(Malformed("a chunk's extension has a bare line feed"));
            }
            (State::Extension, _) => self.extend(State::Extension)?,
            (State::SizeEnd, b'\n') if self.left == 0 => State::Section,
            (State::SizeEnd, b'\n') => State::Data,
            (State::DataReturn, b'\r') => State::DataEnd,
            (State::DataEnd, b'\n') => {
                self.digits = 0;
                State::Size
            }
            (State::SizeEnd | State::DataReturn | State::DataEnd, _) => {
                return Err(Malformed("a chunk does not end with its line"));
            }
            (State::Section, byte) => self.line(byte)?,
            (State::Data | State::Over, _) => self.state,
        };
        Ok(())
    }

    fn extend(&mut self, state: State) -> Result<State, Malformed> {
        // As hyper counts, so that both break off at the same byte.
        if self.extension + 1 >= EXTENSION_BYTES_MAX {
            return Err(Malformed("the extensions of the chunks are too long"));
        }
        self.extension += 1;
        Ok(state)
    }

    /// A byte of the lines behind the last chunk.
    fn line(&mut self, byte: u8) -> Result<State, Malformed> {
        if (byte == b'\n') != (self.section.last() == Some(&b'\r')) {
            return Err(Malformed("a trailer's line does not end as it should"));
        }
        if self.section.len() + 1 >= TRAILER_BYTES_MAX {
            return Err(Malformed("the trailers are too long"));
        }
        self.section.push(byte);
        if self.section == b"\r\n" {
            return Ok(State::Over);
        }
        if self.section.ends_with(b"\r\n\r\n") {
            match fields(&self.section, self.trailers_max) {
                Ok(trailers) => self.trailers = Some(trailers),
                Err(wrong) => {
                    self.section.pop();
                    return Err(wrong);
                }
            }
            self.section = Vec::new();
            return Ok(State::Over);
        }
        Ok(State::Section)
    }
}

fn fields(section: &[u8], most: usize) -> Result<HeaderMap, Malformed> {
    let mut slots = vec![httparse::EMPTY_HEADER; most];
    let Ok(httparse::Status::Complete((_, fields))) = httparse::parse_headers(section, &mut slots)
    else {
        return Err(Malformed("the trailers are no fields"));
    };
    let mut trailers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(field.value)) else {
            return Err(Malformed("a trailer is no field"));
        };
        trailers.append(name, value);
    }
    Ok(trailers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;
    use crate::proxy::messages::{Text, cases, damaged, framed, lines, pieces};

    /// The body, its trailers and how many bytes are left over.
    type Whole = (Vec<u8>, Option<HeaderMap>, usize);

    fn decode(mut decoder: Decoder, pieces: Vec<Vec<u8>>) -> Result<Whole, Malformed> {
        let (mut body, mut trailers) = (Vec::new(), None);
        let mut spare = BytesMut::new();
        let mut input = Bytes::new();
        let mut rest = pieces.into_iter();
        loop {
            match decoder.decode(&mut input, &mut spare)? {
                Decoded::Data(data) => body.extend_from_slice(&data),
                Decoded::Trailers(fields) => trailers = Some(fields),
                Decoded::Over => {
                    return Ok((
                        body,
                        trailers,
                        input.len() + rest.map(|piece| piece.len()).sum::<usize>(),
                    ));
                }
                Decoded::More => {
                    assert!(input.is_empty(), "all is taken before more is asked for");
                    input = rest.next().ok_or(Malformed("cut short"))?.into();
                }
            }
            assert!(spare.is_empty(), "lent memory is given back");
        }
    }

    fn chunked(bytes: &[u8]) -> Result<Whole, Malformed> {
        let whole = decode(Decoder::chunked(4), vec![bytes.to_vec()]);
        for step in [1, 2, 3, 7] {
            let pieces = bytes.chunks(step).map(<[u8]>::to_vec).collect();
            let pieces = decode(Decoder::chunked(4), pieces);
            assert_eq!(pieces.is_ok(), whole.is_ok(), "{step}: {pieces:?} {whole:?}");
            if let (Ok(pieces), Ok(whole)) = (&pieces, &whole) {
                assert_eq!(pieces, whole, "{step}");
            }
        }
        whole
    }

    #[test]
    fn chunks_come_out_as_one_body() {
        let (body, trailers, left) =
            chunked(b"5\r\nhello\r\n1;a=\"b\"\r\n \r\n00A \t\r\n0123456789\r\n0\r\n\r\nmore")
                .unwrap();
        assert_eq!((body.as_slice(), trailers, left), (&b"hello 0123456789"[..], None, 4));
    }

    #[test]
    fn trailers_follow_the_body() {
        let (body, trailers, left) =
            chunked(b"2\r\nok\r\n0\r\nx-sum: 42 \r\nX-Sum:43\r\n\r\n").unwrap();
        let trailers = trailers.unwrap();
        let sums: Vec<_> = trailers.get_all("x-sum").iter().map(HeaderValue::as_bytes).collect();
        assert_eq!((body.as_slice(), sums, left), (&b"ok"[..], vec![&b"42"[..], b"43"], 0));
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        for wrong in [
            &b""[..],
            b"\r\n",
            b"g\r\n",
            b"-1\r\n",
            b"+1\r\n",
            b" 1\r\na\r\n0\r\n\r\n",
            b"1 1\r\na\r\n0\r\n\r\n",
            b"0x1\r\na\r\n0\r\n\r\n",
            b"1\na\r\n0\r\n\r\n",
            b"1\r\nab\r\n0\r\n\r\n",
            b"1\r\na\n0\r\n\r\n",
            b"1\r\na\r0\r\n\r\n",
            b"1\r\na\r\n\r\n",
            b"1;a\nb\r\na\r\n0\r\n\r\n",
            b"1;a\rb\r\na\r\n0\r\n\r\n",
            b"00000000000000001\r\na\r\n0\r\n\r\n",
            b"fffffffffffffffff\r\n",
            b"0\r\nx: y\n\r\n",
            b"0\r\n\nx: y\r\n\r\n",
            b"0\r\nx: y\r\r\n\r\n",
            b"0\r\nx y\r\n\r\n",
            b"0\r\n folded\r\n\r\n",
            b"0\r\na: 1\r\na: 2\r\na: 3\r\na: 4\r\na: 5\r\n\r\n",
            b"5\r\nhell",
            b"5\r\nhello\r\n",
            b"5\r\nhello\r\n0\r\n",
        ] {
            let text = String::from_utf8_lossy(wrong);
            assert!(chunked(wrong).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_came_before_a_mistake_still_comes_out() {
        let mut input = Bytes::from_static(b"1\r\na\r\n1\r\nb\r\nzz");
        let (mut decoder, mut spare) = (Decoder::chunked(4), BytesMut::new());
        let data = decoder.decode(&mut input, &mut spare).unwrap();
        assert_eq!(data, Decoded::Data(Bytes::from_static(b"ab")));
        for _ in 0..2 {
            assert!(decoder.decode(&mut input, &mut spare).is_err(), "and stays a mistake");
        }
    }

    #[test]
    fn extensions_and_trailers_have_limits() {
        let limit = EXTENSION_BYTES_MAX as usize;
        for (extension, fits) in [(limit / 2, true), (limit - 1, true), (limit, false)] {
            let bytes = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(extension));
            assert_eq!(chunked(bytes.as_bytes()).is_ok(), fits, "{extension}");
        }
        for (value, fits) in [(100, true), (TRAILER_BYTES_MAX, false)] {
            let bytes = format!("0\r\nx: {}\r\n\r\n", "x".repeat(value));
            assert_eq!(chunked(bytes.as_bytes()).is_ok(), fits, "{value}");
        }
    }

    #[test]
    fn many_small_chunks_come_out_as_few_parts() {
        let mut bytes = b"1\r\na\r\n".repeat(20_000);
        bytes.extend_from_slice(b"0\r\n\r\n");
        let mut input = Bytes::from(bytes);
        let (mut decoder, mut spare) = (Decoder::chunked(4), BytesMut::new());
        let (mut parts, mut length) = (0, 0);
        while let Decoded::Data(data) = decoder.decode(&mut input, &mut spare).unwrap() {
            parts += 1;
            length += data.len();
        }
        assert_eq!(length, 20_000);
        assert_eq!(parts, 2);
        assert!(decoder.is_over());
    }

    #[test]
    fn a_body_of_known_length_leaves_the_rest() {
        for step in [1, 3, usize::MAX] {
            let pieces = b"hello world".chunks(step).map(<[u8]>::to_vec).collect();
            let (body, _, left) = decode(Decoder::Length(5), pieces).unwrap();
            assert_eq!((body.as_slice(), left), (&b"hello"[..], 6));
        }
        assert!(Decoder::Length(0).is_over());
        assert!(decode(Decoder::Length(5), vec![b"hell".to_vec()]).is_err());
    }

    proptest! {
        #![proptest_config(cases(300))]

        #[test]
        fn chunks_are_the_same_however_they_are_cut(
            text in prop_oneof![
                framed().prop_map(|framed| Text(framed.bytes)),
                damaged(framed().prop_map(|framed| framed.bytes)),
            ],
            places in prop::collection::vec(any::<Index>(), 0..12),
        ) {
            let whole = decode(Decoder::chunked(4), vec![text.0.clone()]);
            let cut = decode(Decoder::chunked(4), pieces(&text.0, &places));
            prop_assert_eq!(cut.is_ok(), whole.is_ok(), "{:?} {:?}", cut, whole);
            if let (Ok(cut), Ok(whole)) = (cut, whole) {
                prop_assert_eq!(cut, whole);
            }
        }

        #[test]
        fn honest_chunks_mean_what_was_framed(framed in framed()) {
            if framed.field.as_ref().is_some_and(|field| field.to_lowercase().contains("chunked")) {
                let (body, trailers, left) =
                    decode(Decoder::chunked(4), vec![framed.bytes]).unwrap();
                let mut told = trailers.map(|trailers| lines(&trailers)).unwrap_or_default();
                let mut meant = framed.trailers;
                told.sort();
                meant.sort();
                prop_assert_eq!((body, told, left), (framed.body, meant, 0));
            }
        }
    }
}
