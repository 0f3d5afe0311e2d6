//! Chance: identifiers of requests and traces, ids of clients, numbers for jitter.

use std::cell::Cell;
use std::time::Duration;

thread_local! {
    static STATE: Cell<u64> = Cell::new(rand::random());
}

/// A random number from a fast generator (splitmix64) that was seeded by the system. It is not
/// secret: whoever sees many can compute the next.
pub fn number() -> u64 {
    STATE.with(|state| {
        let next = state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        state.set(next);
        let mut mixed = next;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}

/// A random part of `span`.
pub fn part_of(span: Duration) -> Duration {
    span.mul_f64((number() >> 11) as f64 / (1_u64 << 53) as f64)
}

/// 32 lower-case hexadecimal digits of [`number`]s.
pub fn identifier() -> [u8; 32] {
    let mut digits = [0; 32];
    digits[..16].copy_from_slice(&hexadecimal(number()));
    digits[16..].copy_from_slice(&hexadecimal(number()));
    digits
}

/// A client's id: 128 bits that nobody can foresee, in lower-case hexadecimal.
pub fn client_id() -> [u8; 32] {
    let secret: [u64; 2] = [rand::random(), rand::random()];
    let mut digits = [0; 32];
    digits[..16].copy_from_slice(&hexadecimal(secret[0]));
    digits[16..].copy_from_slice(&hexadecimal(secret[1]));
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
