//! When to order, renew and try again: pure arithmetic over points in time.

use std::time::Duration;

use super::Challenge;
use crate::time::Timestamp;

/// Pause after the first failure; it doubles with each further one. Let's Encrypt locks a name out
/// after five failed proofs in an hour: these pauses make four tries of it.
const RETRY: Duration = Duration::from_mins(5);

/// Longest pause after failures: what a person mends in the evening works in the morning.
const RETRY_MAX: Duration = Duration::from_hours(6);

/// Least time between an order that succeeded and the next for the same name: were the clock here
/// wrong, every new certificate would look old.
const AGAIN_ISSUED: Duration = Duration::from_hours(1);

/// Bounds of how often an authority is asked whether it wants to renew (RFC 9773, section 4.3.2).
const ASK: [Duration; 2] = [Duration::from_hours(1), Duration::from_hours(24)];

/// When a certificate is renewed if the authority does not say: with a third of its life left.
pub fn renewal(not_before: Timestamp, not_after: Timestamp) -> Timestamp {
    not_before.plus(not_after.since(not_before) / 3 * 2)
}

/// The least time from an order that succeeded to the next. An authority of one's own may issue for
/// an hour and less: a third of the life is left for the next one then.
pub fn least(not_before: Timestamp, not_after: Timestamp) -> Duration {
    AGAIN_ISSUED.min(not_after.since(not_before) / 3)
}

/// The point of the `window` an authority suggests at which a certificate is renewed, the same at
/// each look for the same `serial`; but not in the last sixth of its life.
pub fn suggested(
    window: (Timestamp, Timestamp),
    serial: &[u8],
    (not_before, not_after): (Timestamp, Timestamp),
) -> Timestamp {
    let (start, end) = window;
    // The serial is random (CA/Browser Forum, section 7.1), and this needs to be no better.
    let part = serial.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31) + u64::from(*byte)) % 997;
    let point = start.plus(end.since(start).mul_f64(part as f64 / 997.0));
    let latest = not_before.plus(not_after.since(not_before) / 6 * 5);
    point.min(latest)
}

/// The pause until the authority is asked again whether it wants to renew.
pub fn ask_again(wanted: Duration) -> Duration {
    let [least, most] = ASK;
    wanted.clamp(least, most)
}

/// The pause after `failures` tries in a row that failed, before jitter.
pub fn retry(failures: u32) -> Duration {
    let doubled = RETRY.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(RETRY_MAX)
}

/// The ways to prove a name that one try takes, after `failures` before it: the first try takes
/// both, later ones take turns, since each failed proof counts at the authority.
pub fn challenges(
    fixed: Option<Challenge>,
    worked: Option<Challenge>,
    failures: u32,
) -> Vec<Challenge> {
    let first = worked.unwrap_or(Challenge::TlsAlpn01);
    let second = match first {
        Challenge::Http01 => Challenge::TlsAlpn01,
        Challenge::TlsAlpn01 => Challenge::Http01,
    };
    match (fixed, failures) {
        (Some(fixed), _) => vec![fixed],
        (None, 0) => vec![first, second],
        (None, odd) if odd % 2 == 1 => vec![first],
        (None, _) => vec![second],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn day(number: u32) -> Timestamp {
        Timestamp::from_millis(0).plus(DAY * number)
    }

    #[test]
    fn a_certificate_is_renewed_with_a_third_of_its_life_left() {
        assert_eq!(renewal(day(0), day(90)), day(60));
        assert_eq!(renewal(day(10), day(16)), day(14), "short-lived ones too");
    }

    #[test]
    fn one_order_follows_the_other_no_sooner_than_it_must() {
        assert_eq!(least(day(0), day(90)), AGAIN_ISSUED, "a clock may be wrong");
        let hour = Timestamp::from_millis(3_600_000);
        assert_eq!(least(day(0), hour), Duration::from_mins(20), "it would expire before");
    }

    #[test]
    fn the_authoritys_window_is_kept_always_at_the_same_point() {
        let window = (day(50), day(52));
        let life = (day(0), day(90));
        let point = suggested(window, b"\x04\xd2\x17", life);
        assert!((day(50)..=day(52)).contains(&point), "{point:?}");
        assert_eq!(point, suggested(window, b"\x04\xd2\x17", life));
        assert_ne!(point, suggested(window, b"\x04\xd2\x18", life));
        assert_eq!(suggested((day(88), day(89)), b"x", life), day(75), "never at the last moment");
        assert_eq!(suggested((day(1), day(1)), b"x", life), day(1), "a revoked one at once");
    }

    #[test]
    fn failures_are_tried_again_ever_more_seldom() {
        let minutes: Vec<u64> = (1..=9).map(|count| retry(count).as_secs() / 60).collect();
        assert_eq!(minutes, [5, 10, 20, 40, 80, 160, 320, 360, 360]);
        assert_eq!(retry(u32::MAX), RETRY_MAX);
        let proofs_in_an_hour = (0..5).scan(0, |at, failures| {
            let tried = *at;
            *at += retry(failures + 1).as_secs() / 60;
            Some((tried, challenges(None, None, failures).len()))
        });
        let proofs: usize = proofs_in_an_hour.filter(|(at, _)| *at < 60).map(|(_, n)| n).sum();
        assert!(proofs <= 5, "{proofs} failed proofs in an hour lock a name out");
    }

    #[test]
    fn every_way_to_prove_a_name_gets_its_turn() {
        use Challenge::{Http01, TlsAlpn01};
        assert_eq!(challenges(None, None, 0), [TlsAlpn01, Http01]);
        assert_eq!(challenges(None, None, 1), [TlsAlpn01]);
        assert_eq!(challenges(None, None, 2), [Http01]);
        assert_eq!(challenges(None, Some(Http01), 0), [Http01, TlsAlpn01]);
        assert_eq!(challenges(Some(Http01), Some(TlsAlpn01), 3), [Http01]);
    }

    #[test]
    fn the_authority_is_not_asked_too_often() {
        assert_eq!(ask_again(Duration::ZERO), Duration::from_hours(1));
        assert_eq!(ask_again(DAY * 30), DAY);
    }
}
