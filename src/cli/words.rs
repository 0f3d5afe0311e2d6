//! How times, numbers and bars are written on a terminal.

use std::time::Duration;

use serde_json::Value;

use crate::admin::api::Status;
use crate::clock;
use crate::time::{Timestamp, Zone};

/// Names of texts that have lines; all others have one.
const TEXTS: [&str; 3] = ["error", "explanation", "text"];

/// What came from elsewhere (messages, names, errors, what a command wrote), as it may be shown:
/// without characters that steer a terminal, or turn the direction of what is read. All answers of
/// a program pass here before they are shown; a text of one line stays one, so that none can look
/// like a record that is not there.
pub(super) fn harmless(answer: &mut Value) {
    match answer {
        Value::Array(all) => all.iter_mut().for_each(harmless),
        Value::Object(fields) => fields.iter_mut().for_each(|(name, value)| match value {
            Value::String(text) if TEXTS.contains(&name.as_str()) => *text = plain(text),
            value @ (Value::Array(_)
            | Value::Bool(_)
            | Value::Null
            | Value::Number(_)
            | Value::Object(_)
            | Value::String(_)) => harmless(value),
        }),
        Value::String(text) => *text = plain(text).replace('\n', " "),
        Value::Bool(_) | Value::Null | Value::Number(_) => {}
    }
}

/// `text` without what steers a terminal; ends of lines are left.
pub(super) fn plain(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let shown = |c: char| match c {
        '\n' => '\n',
        '\t' => ' ',
        c if c.is_control() || turns(c) => '\u{fffd}',
        c => c,
    };
    text.replace("\r\n", "\n").chars().map(shown).collect()
}

/// Lines of `text` that are wider than `width`, broken between words and set in under what stands
/// behind the head of a line. Colours take no room.
pub(super) fn fitted(text: &str, width: usize) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let set_in = if line.starts_with("  ") { 13.min(width / 3) } else { 4 };
        fit(&mut out, line, width, set_in);
        out.push('\n');
    }
    out
}

fn fit(out: &mut String, line: &str, width: usize, set_in: usize) {
    let mut used = 0;
    // Where the line may be broken: behind the last space, in `out`, and the cells up to there.
    let mut space: Option<(usize, usize)> = None;
    let mut is_escape = false;
    for c in line.chars() {
        is_escape |= c == '\u{1b}';
        if is_escape {
            out.push(c);
            is_escape = c != 'm';
            continue;
        }
        if used >= width && c != ' ' {
            let begin = format!("\n{}", " ".repeat(set_in));
            match space.take() {
                Some((at, cells)) if cells > set_in => {
                    out.insert_str(at, &begin);
                    used = set_in + used - cells;
                }
                _ => {
                    out.push_str(&begin);
                    used = set_in;
                }
            }
        }
        out.push(c);
        used += 1;
        if c == ' ' {
            space = Some((out.len(), used));
        }
    }
}

/// Microseconds: 0.8 ms, 12 ms, 1.3 s.
pub(super) fn latency(micros: u64) -> String {
    let millis = micros as f64 / 1_000.0;
    match millis {
        ..10.0 => format!("{millis:.1} ms"),
        ..1_000.0 => format!("{millis:.0} ms"),
        _ => format!("{:.1} s", millis / 1_000.0),
    }
}

/// A span, in whole seconds.
pub(super) fn whole(seconds: f64) -> String {
    crate::time::in_words(Duration::from_secs_f64(seconds.clamp(0.0, 1e9).ceil()))
}

/// The clock on the wall of who looks after a program: its zone, and what it shows now.
pub(super) struct Wall {
    now: Timestamp,
    zone: Zone,
}

impl Wall {
    pub(super) fn of(status: &Status) -> Self {
        Self { now: status.at, zone: zone(status.zone.as_deref()) }
    }

    /// How long it is until `at`.
    pub(super) const fn until(&self, at: Timestamp) -> Duration {
        at.since(self.now)
    }

    /// The time of day: 13:40:53.
    pub(super) fn clock(&self, at: Timestamp) -> String {
        self.zone.write(at, "%H:%M:%S")
    }

    /// A point in time: 2026-11-22 13:40:53.
    pub(super) fn stamp(&self, at: Timestamp) -> String {
        stamp(at, &self.zone)
    }

    /// A point in time, short where it was today: 13:40, or 2026-11-21 13:40.
    pub(super) fn moment(&self, at: Timestamp) -> String {
        let day = |at| self.zone.write(at, "%Y-%m-%d");
        let pattern = if day(at) == day(self.now) { "%H:%M" } else { "%Y-%m-%d %H:%M" };
        self.zone.write(at, pattern)
    }
}

/// The zone that a program's file names, else that of whoever reads, as for a name that is unknown
/// here.
pub(super) fn zone(named: Option<&str>) -> Zone {
    named.and_then(|name| name.parse().ok()).unwrap_or_else(clock::zone)
}

/// A point in time on a clock of `zone`: 2026-11-22 13:40:53.
pub(super) fn stamp(at: Timestamp, zone: &Zone) -> String {
    zone.write(at, "%Y-%m-%d %H:%M:%S")
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
    fn nothing_from_elsewhere_steers_the_terminal() {
        let mut answer = serde_json::json!({
            "sentences": ["web: \u{1b}[2Jgone\u{9b}31m\u{7}", "one\n2026-11-22  a lie"],
            "text": "first\r\nsecond\u{202e}",
            "weight": 500,
        });
        harmless(&mut answer);
        assert_eq!(answer["sentences"][0], "web: \u{fffd}[2Jgone\u{fffd}31m\u{fffd}");
        assert_eq!(answer["sentences"][1], "one 2026-11-22  a lie");
        assert_eq!(
            (&answer["text"], &answer["weight"]),
            (&"first\nsecond\u{fffd}".into(), &500.into())
        );
    }

    #[test]
    fn lines_are_broken_where_the_terminal_ends_and_colours_take_no_room() {
        let line = "  verdict    \u{1b}[33mthe canary fails often\u{1b}[0m";
        assert_eq!(
            fitted(line, 28),
            "  verdict    \u{1b}[33mthe canary \n         fails often\u{1b}[0m\n"
        );
        assert_eq!(fitted(line, 99), format!("{line}\n"));
        assert_eq!(fitted("abcdefgh", 4), "abcd\n    e\n    f\n    g\n    h\n");
        assert_eq!(
            [latency(800), latency(12_300), latency(1_340_000)],
            ["0.8 ms", "12 ms", "1.3 s"]
        );
    }
}
