//! Chance: identifiers of requests and traces, ids of clients, numbers for jitter.

use std::time::Duration;

/// A random number that nobody can foresee.
pub fn number() -> u64 {
    rand::random()
}

/// A random part of `span`.
pub fn part_of(span: Duration) -> Duration {
    span.mul_f64((number() >> 11) as f64 / (1_u64 << 53) as f64)
}

/// 128 bits that nobody can foresee, in lower-case hexadecimal: an identifier of a request, or of
/// a client.
pub fn identifier() -> [u8; 32] {
    let mut digits = [0; 32];
    digits[..16].copy_from_slice(&hexadecimal(number()));
    digits[16..].copy_from_slice(&hexadecimal(number()));
    digits
}

/// `number` in hexadecimal, eight digits at a time.
pub fn hexadecimal(number: u64) -> [u8; 16] {
    let half = |part: u64| {
        let mut spread = part;
        spread = (spread | spread << 16) & 0x0000_ffff_0000_ffff;
        spread = (spread | spread << 8) & 0x00ff_00ff_00ff_00ff;
        spread = (spread | spread << 4) & 0x0f0f_0f0f_0f0f_0f0f;
        let letters = ((spread + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
        (spread + 0x3030_3030_3030_3030 + letters * 39).to_be_bytes()
    };
    let mut digits = [0; 16];
    digits[..8].copy_from_slice(&half(number >> 32));
    digits[8..].copy_from_slice(&half(number & 0xffff_ffff));
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_what_format_says() {
        for number in [0, 1, 0x0123_4567_89ab_cdef, u64::MAX, number()] {
            assert_eq!(hexadecimal(number), *format!("{number:016x}").as_bytes());
        }
    }

    #[test]
    fn a_part_is_at_most_the_whole() {
        assert!((0..1_000).all(|_| part_of(Duration::from_secs(1)) < Duration::from_secs(1)));
        assert_eq!(part_of(Duration::ZERO), Duration::ZERO);
    }
}
