//! Where the requests of a connection end, followed beside hyper, which keeps to itself what of it
//! was in doubt: it drops a length beside chunks, and takes a bare line feed for the end of a line.
//!
//! What may be read in two ways is spoiled on its way in, so that hyper refuses it as it refuses
//! what is no HTTP. Bodies are counted, not looked at; a head costs a search for its line ends.

use memchr::memchr;

/// What the end of a line is made of that is to be refused: it may stand nowhere in a head.
const SPOILED: u8 = 0;

/// Bytes of a line with the size of a chunk: as many as hyper takes of extensions. It takes any
/// number of zeros and blanks.
const SIZE_LINE_BYTES_MAX: usize = 16 * 1024;

/// The request that comes in on a connection of HTTP/1.1.
#[derive(Debug, Default)]
pub struct Framing {
    stage: Stage,
    /// The beginning of a line whose end has not come in yet. Of a head and of trailers hyper's
    /// limits bound it.
    part: Vec<u8>,
    length: Option<u64>,
    chunked: bool,
}

/// What comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// The first line of a head; empty ones may stand before it.
    #[default]
    Start,
    /// A field, or the end of the head.
    Field,
    /// So many bytes of a body.
    Body(u64),
    /// The size of a chunk.
    Size,
    /// So many bytes of a chunk, its line end included.
    Chunk(u64),
    /// A field behind the last chunk, or the end of the body.
    Trailer,
    /// Nothing that would be believed: the head was in doubt.
    Refused,
    /// The same: chunks were.
    Broken,
}

/// A line that has two meanings, or none.
#[derive(Debug)]
struct Doubtful;

impl Framing {
    /// Follows what came in, and spoils it from where it is in doubt. Returns whether it is not.
    pub fn follow(&mut self, mut bytes: &mut [u8]) -> bool {
        while !bytes.is_empty() {
            let passed = match &mut self.stage {
                Stage::Start | Stage::Field | Stage::Size | Stage::Trailer => {
                    match self.pass_line(bytes) {
                        Ok(length) => length,
                        Err(end) => {
                            bytes[end] = SPOILED;
                            self.refuse();
                            end + 1
                        }
                    }
                }
                Stage::Body(left) | Stage::Chunk(left) => {
                    let part = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left -= part as u64;
                    part
                }
                // Line feeds end the head, so that hyper looks at it and answers.
                Stage::Refused | Stage::Broken => {
                    bytes.fill(b'\n');
                    return false;
                }
            };
            match self.stage {
                Stage::Body(0) => self.stage = Stage::Start,
                Stage::Chunk(0) => self.stage = Stage::Size,
                Stage::Start
                | Stage::Field
                | Stage::Body(_)
                | Stage::Size
                | Stage::Chunk(_)
                | Stage::Trailer
                | Stage::Refused
                | Stage::Broken => {}
            }
            bytes = &mut bytes[passed..];
        }
        !matches!(self.stage, Stage::Refused | Stage::Broken)
    }

    /// Whether a body was in doubt: whoever reads on is to be told that it broke off, since hyper
    /// would wait for the end of a line that is spoiled.
    pub fn is_broken(&self) -> bool {
        self.stage == Stage::Broken
    }

    fn refuse(&mut self) {
        self.part = Vec::new();
        self.stage = match self.stage {
            Stage::Start | Stage::Field | Stage::Refused => Stage::Refused,
            Stage::Body(_) | Stage::Size | Stage::Chunk(_) | Stage::Trailer | Stage::Broken => {
                Stage::Broken
            }
        };
    }

    /// Whether what came in ends where a request ends.
    pub fn is_between(&self) -> bool {
        self.stage == Stage::Start && self.part.is_empty()
    }

    /// Passes one line or a part of it: how many bytes, or where a line ends that is in doubt.
    fn pass_line(&mut self, bytes: &[u8]) -> Result<usize, usize> {
        let Some(end) = memchr(b'\n', bytes) else {
            if self.stage == Stage::Size && self.part.len() + bytes.len() > SIZE_LINE_BYTES_MAX {
                return Err(0);
            }
            self.part.extend_from_slice(bytes);
            return Ok(bytes.len());
        };
        let known = if self.part.is_empty() {
            self.line(&bytes[..end])
        } else {
            let mut part = std::mem::take(&mut self.part);
            part.extend_from_slice(&bytes[..end]);
            self.line(&part)
        };
        known.map(|()| end + 1).map_err(|Doubtful| end)
    }

    fn line(&mut self, line: &[u8]) -> Result<(), Doubtful> {
        let Some((b'\r', line)) = line.split_last() else {
            return Err(Doubtful);
        };
        self.stage = match (self.stage, line) {
            (Stage::Start | Stage::Trailer, []) => Stage::Start,
            (Stage::Start, line) => {
                request_line(line)?;
                (self.length, self.chunked) = (None, false);
                Stage::Field
            }
            (Stage::Field, []) => match self.length {
                _ if self.chunked => Stage::Size,
                Some(length) => Stage::Body(length),
                None => Stage::Start,
            },
            (Stage::Field, field) => {
                self.field(field)?;
                Stage::Field
            }
            (Stage::Size, line) => match size(line)? {
                0 => Stage::Trailer,
                size => Stage::Chunk(size.checked_add(2).ok_or(Doubtful)?),
            },
            (Stage::Trailer, _) => Stage::Trailer,
            (stage @ (Stage::Body(_) | Stage::Chunk(_) | Stage::Refused | Stage::Broken), _) => {
                stage
            }
        };
        Ok(())
    }

    /// A field of the head: there is one Content-Length or one Transfer-Encoding, and never both.
    fn field(&mut self, field: &[u8]) -> Result<(), Doubtful> {
        let is_framed = self.chunked || self.length.is_some();
        match field[0] | 0x20 {
            b'c' => {
                if let Some(value) = value(field, b"content-length") {
                    self.length = Some(number(value).filter(|_| !is_framed).ok_or(Doubtful)?);
                }
            }
            b't' => {
                if let Some(value) = value(field, b"transfer-encoding") {
                    self.chunked = !is_framed && value.eq_ignore_ascii_case(b"chunked");
                    return if self.chunked { Ok(()) } else { Err(Doubtful) };
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// A target has no fragment (RFC 9112, section 3.2): hyper would drop it, others pass it on.
fn request_line(line: &[u8]) -> Result<(), Doubtful> {
    let method = memchr(b' ', line).unwrap_or(line.len());
    memchr(b'#', &line[method..]).map_or(Ok(()), |_| Err(Doubtful))
}

/// The value of `field` if `name` is its name.
fn value<'a>(field: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = field.split_at_checked(name.len())?;
    let (b':', value) = rest.split_first()? else {
        return None;
    };
    start.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

/// The number that `text` is: digits and nothing else (RFC 9110, section 8.6).
pub fn number(text: &[u8]) -> Option<u64> {
    let digit = |number: u64, byte: &u8| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    };
    text.iter().try_fold(0, digit).filter(|_| !text.is_empty())
}

/// The size of a chunk; extensions may follow.
fn size(line: &[u8]) -> Result<u64, Doubtful> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, rest) = line.split_at(digits);
    let is_control = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
    let is_behind = matches!(rest.first(), None | Some(b';' | b' ' | b'\t'));
    if line.len() > SIZE_LINE_BYTES_MAX || !is_behind || rest.iter().any(is_control) {
        return Err(Doubtful);
    }
    let size = std::str::from_utf8(digits).ok().and_then(|text| u64::from_str_radix(text, 16).ok());
    size.ok_or(Doubtful)
}

#[cfg(test)]
mod tests;
