//! How times, numbers and bars are written on a terminal.

use jiff::tz::TimeZone;

use crate::time::Timestamp;

/// Cells of the bar of a weight.
const BAR_CELLS: usize = 20;

/// A point in time on the clock of whoever reads: 2026-11-22 13:40:53.
pub(super) fn stamp(at: Timestamp) -> String {
    local(at, "%Y-%m-%d %H:%M:%S")
}

/// A point in time, short where it was today: 13:40, or 11-21 13:40.
pub(super) fn moment(at: Timestamp, now: Timestamp) -> String {
    let day = |at| local(at, "%Y-%m-%d");
    if day(at) == day(now) { local(at, "%H:%M") } else { local(at, "%Y-%m-%d %H:%M") }
}

fn local(at: Timestamp, pattern: &str) -> String {
    let milliseconds = i64::try_from(at.millis()).unwrap_or(i64::MAX);
    let at = jiff::Timestamp::from_millisecond(milliseconds).unwrap_or(jiff::Timestamp::MAX);
    at.to_zoned(TimeZone::system()).strftime(pattern).to_string()
}

/// A share as a percentage with two digits that matter: 0.13 %, 2.5 %, 31 %.
pub(super) fn percent(events: u64, requests: u64) -> String {
    if requests == 0 {
        return "-".into();
    }
    let percent = 100.0 * events as f64 / requests as f64;
    match percent {
        0.0 => "0 %".into(),
        ..0.01 => "< 0.01 %".into(),
        ..1.0 => format!("{percent:.2} %"),
        ..10.0 => format!("{percent:.1} %"),
        _ => format!("{percent:.0} %"),
    }
}

/// A count with its thousands apart: 1 234 567.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// 1 request, 2 requests.
pub(super) fn count(number: u64, noun: &str) -> String {
    let number_text = thousands(number);
    if number == 1 { format!("{number_text} {noun}") } else { format!("{number_text} {noun}s") }
}

/// A share as a bar: anything above nothing shows, and only all of it is full.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 20")]
pub(super) fn bar(share: f64) -> String {
    let cells = (share * BAR_CELLS as f64).round() as usize;
    let cells = match share {
        0.0 => 0,
        1.0 => BAR_CELLS,
        _ => cells.clamp(1, BAR_CELLS - 1),
    };
    "█".repeat(cells) + &"░".repeat(BAR_CELLS - cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!(
            [thousands(7), thousands(1_234), thousands(1_234_567)],
            ["7", "1 234", "1 234 567"]
        );
        let said = [(0, 0), (0, 9), (1, 100_000), (1, 300), (25, 1_000), (31, 100)];
        let said = said.map(|(events, requests)| percent(events, requests));
        assert_eq!(said, ["-", "0 %", "< 0.01 %", "0.33 %", "2.5 %", "31 %"]);
        assert_eq!(count(1, "error"), "1 error");
    }

    #[test]
    fn a_small_weight_is_seen_and_a_large_one_is_not_all() {
        assert_eq!(bar(0.0).chars().filter(|c| *c == '█').count(), 0);
        assert_eq!(bar(0.01).chars().filter(|c| *c == '█').count(), 1);
        assert_eq!(bar(0.999).chars().filter(|c| *c == '█').count(), BAR_CELLS - 1);
    }
}
