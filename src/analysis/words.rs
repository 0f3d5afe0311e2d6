//! How numbers are written for people.

/// Odds beyond this are all the same to a reader.
const ODDS_MAX: f64 = 1e6;

/// At most three digits that matter, no trailing zeros: 0.0938, 2.53, 31, 1234.
pub(super) fn short(number: f64) -> String {
    let size = number.abs();
    let decimals = [99.95, 9.995, 0.9995, 0.099_95, 0.009_995, 0.0]
        .iter()
        .position(|bound| size >= *bound)
        .unwrap_or(0);
    let text = format!("{number:.decimals$}");
    if !text.contains('.') {
        return text;
    }
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.into() }
}

/// A share as a percentage: 2.53 %.
pub(super) fn percent(share: f64) -> String {
    format!("{} %", short(100.0 * share))
}

/// A difference of shares in percentage points: +0.43 pp.
pub(super) fn points(difference: f64) -> String {
    let points = 100.0 * difference;
    if points.abs() < 10.0 { format!("{points:+.2} pp") } else { format!("{points:+.0} pp") }
}

/// The same for those who do not read it every day: +0.43 percentage points.
pub(super) fn percentage_points(difference: f64) -> String {
    points(difference).replace(" pp", " percentage points")
}

/// Odds from their logarithm: 289:1.
pub(super) fn odds(log: f64) -> String {
    let odds = log.exp();
    if odds >= ODDS_MAX {
        return "over 1000000:1".into();
    }
    if odds < 10.0 {
        format!("{}:1", short((10.0 * odds).round() / 10.0))
    } else {
        format!("{odds:.0}:1")
    }
}

/// Seconds as people say them: 45 s, 3m02s, 1h05m.
pub(super) fn span(seconds: f64) -> String {
    let whole = seconds.max(0.0).round();
    if whole < 60.0 {
        return format!("{whole:.0} s");
    }
    let minutes = (whole / 60.0).floor();
    if minutes < 60.0 {
        return format!("{minutes:.0}m{:02.0}s", whole - 60.0 * minutes);
    }
    let hours = (minutes / 60.0).floor();
    format!("{hours:.0}h{:02.0}m", minutes - 60.0 * hours)
}

/// 1 request, 2 requests.
pub(super) fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_short_as_they_may_be() {
        let cases = [
            (0.0, "0"),
            (0.05, "0.05"),
            (0.09398, "0.094"),
            (2.5316, "2.53"),
            (31.04, "31"),
            (99.97, "100"),
            (1234.4, "1234"),
            (1e-9, "0"),
        ];
        for (number, expected) in cases {
            assert_eq!(short(number), expected);
        }
        assert_eq!(percent(0.025_316), "2.53 %");
    }

    #[test]
    fn differences_odds_and_spans() {
        assert_eq!(
            [points(0.0043), points(0.33), points(-0.001)],
            ["+0.43 pp", "+33 pp", "-0.10 pp"]
        );
        assert_eq!(percentage_points(0.0043), "+0.43 percentage points");
        assert_eq!([odds(5.667), odds(0.5), odds(900.0)], ["289:1", "1.6:1", "over 1000000:1"]);
        assert_eq!([span(45.2), span(182.0), span(1800.0)], ["45 s", "3m02s", "30m00s"]);
        assert_eq!(span(3900.0), "1h05m");
    }
}
