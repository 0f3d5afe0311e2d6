//! Where a request stands in a trace: `traceparent`, as W3C Trace Context has it.

/// A trace.
pub type TraceId = [u8; 16];

/// A span of it.
pub type SpanId = [u8; 8];

/// Bytes of a `traceparent` of version 00; later ones may go on behind a dash.
const LENGTH: usize = 55;

/// The bit of the flags that says that it is recorded.
const SAMPLED: u8 = 1;

/// Where something stands in a trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// The trace.
    pub trace: TraceId,
    /// The span.
    pub span: SpanId,
    /// Whether it is recorded.
    pub sampled: bool,
}

impl Context {
    /// Reads a `traceparent`.
    pub fn read(text: &[u8]) -> Option<Self> {
        let (version, rest) = text.split_at_checked(2)?;
        let whole = match version {
            b"ff" => false,
            b"00" => text.len() == LENGTH,
            _ => text.len() == LENGTH || text.get(LENGTH) == Some(&b'-'),
        };
        let dashes = [2, 35, 52].iter().all(|at| text.get(*at) == Some(&b'-'));
        if !whole || !dashes || bytes::<1>(version).is_none() {
            return None;
        }
        let trace = bytes::<16>(&rest[1..33])?;
        let span = bytes::<8>(&rest[34..50])?;
        let [flags] = bytes::<1>(&rest[51..53])?;
        let is_known = trace != [0; 16] && span != [0; 8];
        is_known.then_some(Self { trace, span, sampled: flags & SAMPLED != 0 })
    }

    /// As a `traceparent`.
    pub fn written(&self) -> String {
        let flags = if self.sampled { "01" } else { "00" };
        format!("00-{}-{}-{flags}", hexadecimal(&self.trace), hexadecimal(&self.span))
    }
}

/// Bytes from lower-case hexadecimal digits; no others are allowed.
fn bytes<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut out = [0; N];
    if digits.len() != 2 * N {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(out)
}

/// Bytes as lower-case hexadecimal digits.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let pair = |byte: &u8| [byte >> 4, byte & 15].map(|half| char::from(DIGITS[half as usize]));
    bytes.iter().flat_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the recommendation.
    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_read_is_written_as_it_was() {
        let context = Context::read(EXAMPLE.as_bytes()).unwrap();
        assert!(context.sampled);
        assert_eq!(context.written(), EXAMPLE);
        let not = EXAMPLE.replace("-01", "-00");
        assert!(!Context::read(not.as_bytes()).unwrap().sampled);
        // Other bits are for others.
        assert!(Context::read(EXAMPLE.replace("-01", "-03").as_bytes()).unwrap().sampled);
    }

    #[test]
    fn what_is_none_by_the_recommendation_is_not_read() {
        let later = EXAMPLE.replacen("00", "cc", 1);
        assert!(Context::read(later.as_bytes()).is_some(), "a later version");
        assert!(Context::read(format!("{later}-what-comes").as_bytes()).is_some());
        for wrong in [
            "",
            "00",
            &EXAMPLE[..54],
            &format!("{EXAMPLE}-more"),
            &format!("{later}.more"),
            &EXAMPLE.replacen("00", "ff", 1),
            &EXAMPLE.replacen("00", "0X", 1),
            &EXAMPLE.replace("4bf", "4BF"),
            &EXAMPLE.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &EXAMPLE.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &EXAMPLE.replace("-01", "-0g"),
            &EXAMPLE.replace('-', "_"),
        ] {
            assert_eq!(Context::read(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
