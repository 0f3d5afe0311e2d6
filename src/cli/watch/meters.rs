//! Bars and curves, in cells of a terminal.

/// Heights of a cell.
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A share as a bar of `cells`: anything above nothing shows, and only all of it is full.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to `cells`")]
pub(in crate::cli) fn bar(share: f64, cells: usize) -> String {
    let full = match share {
        _ if cells == 0 || share <= 0.0 || share.is_nan() => 0,
        1.0.. => cells,
        _ => ((share * cells as f64).round() as usize).clamp(1, (cells - 1).max(1)),
    };
    "█".repeat(full) + &"░".repeat(cells - full)
}

/// The newest of `points` as a curve of `cells`, as high as `most`. What is not known is left
/// empty; nothing is the lowest line, so that it can be told from what is not known.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 7")]
pub(super) fn curve(points: &[Option<f64>], most: f64, cells: usize) -> String {
    let newest = &points[points.len().saturating_sub(cells)..];
    let missing = " ".repeat(cells - newest.len());
    let height = |point: &Option<f64>| match point {
        None => ' ',
        Some(value) if *value <= 0.0 || most <= 0.0 => HEIGHTS[0],
        Some(value) => HEIGHTS[(((value / most) * 7.0).ceil() as usize).clamp(1, 7)],
    };
    missing + &newest.iter().map(height).collect::<String>()
}

/// `text` over lines of `width` characters, broken between words where that is possible.
pub(in crate::cli) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split_whitespace() {
        let mut rest: Vec<char> = word.chars().collect();
        if used > 0 && used + 1 + rest.len() <= width {
            push(&mut lines, " ");
            used += 1;
        } else if used > 0 {
            lines.push(String::new());
            used = 0;
        }
        while used == 0 && rest.len() > width {
            push(&mut lines, &rest.drain(..width).collect::<String>());
            lines.push(String::new());
        }
        used += rest.len();
        push(&mut lines, &rest.into_iter().collect::<String>());
    }
    lines
}

fn push(lines: &mut [String], text: &str) {
    if let Some(last) = lines.last_mut() {
        last.push_str(text);
    }
}

/// `text` in at most `width` characters; an ellipsis says that there is more.
pub(in crate::cli) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_shows_little_and_is_full_of_all_only() {
        assert_eq!([bar(0.0, 4), bar(0.001, 4), bar(0.999, 4)], ["░░░░", "█░░░", "███░"]);
        assert_eq!([bar(1.0, 4), bar(7.0, 4), bar(f64::NAN, 2)], ["████", "████", "░░"]);
        assert_eq!([bar(0.5, 1), bar(0.5, 0)], ["█", ""]);
    }

    #[test]
    fn a_curve_tells_nothing_from_not_known() {
        let points = [Some(9.0), None, Some(0.0), Some(0.1), Some(5.0), Some(10.0)];
        assert_eq!(curve(&points, 10.0, 5), " ▁▂▅█");
        assert_eq!(curve(&points[..1], 9.0, 3), "  █");
        assert_eq!(curve(&[Some(0.0)], 0.0, 1), "▁");
    }

    #[test]
    fn texts_are_broken_between_words() {
        assert_eq!(wrapped("web: 1.1.0 is worse", 10), ["web: 1.1.0", "is worse"]);
        assert_eq!(wrapped("abcdefgh ij", 3), ["abc", "def", "gh", "ij"]);
        assert_eq!(wrapped("", 3), [""]);
        assert_eq!([cut("abcd", 4), cut("abcde", 4)], ["abcd", "abc…"]);
    }
}
