//! Secrets in the text of a file, which a picture of a neighbouring mistake must not show.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::rollout::runbook::tells_a_secret;

/// Keys of `preview` and `bypass` whose values are no secrets. Every other one is taken for a mistyped
/// `secret`.
const OPEN_KEYS: &[&str] = &["header", "cookie", "secret_file"];

/// `text` with stars in place of secrets, byte for byte, so that places stay the same.
pub(super) fn masked(text: &str, table: &DeTable<'_>) -> String {
    let mut spans = written(text);
    spans.extend(in_urls(text));
    spans.extend(in_hooks(text));
    in_table(table, &mut spans);
    let mut bytes = text.as_bytes().to_vec();
    for span in spans {
        let Some(secret) = bytes.get_mut(span) else { continue };
        for byte in secret.iter_mut().filter(|byte| !matches!(byte, b'\n' | b'\r')) {
            *byte = b'*';
        }
    }
    String::from_utf8(bytes).unwrap_or_default()
}

/// What stands before the `@` of a URL.
fn in_urls(text: &str) -> Vec<Range<usize>> {
    let span = |(at, mark): (usize, &str)| {
        let start = at + mark.len();
        let end = text[start..].find(['"', '\'', '\n', '\r']).unwrap_or(text.len() - start);
        let at = text[start..start + end].rfind('@')?;
        Some(start..start + at)
    };
    text.match_indices("://").filter_map(span).collect()
}

/// The paths of webhooks: whoever knows that of a chat can write there.
fn in_hooks(text: &str) -> Vec<Range<usize>> {
    let span = |(at, mark): (usize, &str)| {
        let start = at + mark.len();
        let end = text[start..].find(['"', '\'', '\n', '\r']).unwrap_or(text.len() - start);
        let url = &text[start..start + end];
        let path = url.find('/').filter(|_| url.contains("hook"))?;
        Some(start + path + 1..start + end)
    };
    text.match_indices("://").filter_map(span).collect()
}

/// Values of `secret` as far as the parser understood the file.
fn in_table(table: &DeTable<'_>, spans: &mut Vec<Range<usize>>) {
    for (key, value) in table {
        match key.get_ref().as_ref() {
            "secret" | "password" => spans.push(value.span()),
            "bypass" | "preview" => in_preview(value, spans),
            "headers" => in_headers(value, spans),
            "run" => in_command(value, spans),
            _ => in_value(value, spans),
        }
    }
}

fn in_value(value: &Spanned<DeValue<'_>>, spans: &mut Vec<Range<usize>>) {
    if let Some(table) = value.get_ref().as_table() {
        in_table(table, spans);
    }
    for item in value.get_ref().as_array().into_iter().flat_map(|array| array.iter()) {
        in_value(item, spans);
    }
}

/// Values of headers, but for those that name a variable.
fn in_headers(value: &Spanned<DeValue<'_>>, spans: &mut Vec<Range<usize>>) {
    let values = value.get_ref().as_table().into_iter().flat_map(|table| table.iter());
    let from_outside = |value: &DeValue<'_>| value.as_str().is_some_and(|t| t.starts_with("env:"));
    let written = values.map(|(_, value)| value).filter(|value| !from_outside(value.get_ref()));
    spans.extend(written.map(Spanned::span));
}

/// A command in which a secret seems to stand.
fn in_command(value: &Spanned<DeValue<'_>>, spans: &mut Vec<Range<usize>>) {
    let words = value.get_ref().as_array().into_iter().flat_map(|words| words.iter());
    for word in words.chain([value]) {
        if word.get_ref().as_str().is_some_and(tells_a_secret) {
            spans.push(word.span());
        }
    }
}

fn in_preview(value: &Spanned<DeValue<'_>>, spans: &mut Vec<Range<usize>>) {
    let Some(table) = value.get_ref().as_table() else {
        spans.push(value.span());
        return;
    };
    let closed = table.iter().filter(|(key, _)| !OPEN_KEYS.contains(&key.get_ref().as_ref()));
    spans.extend(closed.map(|(_, value)| value.span()));
}

/// Values of `secret` as they stand in the text, also where the parser gave up.
fn written(text: &str) -> Vec<Range<usize>> {
    let mut spans: Vec<Range<usize>> = Vec::new();
    for (at, word) in text.match_indices("secret") {
        if spans.last().is_some_and(|last| at < last.end) {
            continue;
        }
        let rest = text[at + word.len()..].trim_start_matches(['"', '\'']).trim_start();
        let Some(value) = rest.strip_prefix('=').map(str::trim_start) else { continue };
        let start = text.len() - value.len();
        spans.push(start..start + length(value));
    }
    spans
}

/// How far the value at the beginning of `text` goes; at most to the end of its line, unless it
/// is in three quotes.
fn length(text: &str) -> usize {
    for quotes in ["\"\"\"", "'''"] {
        if let Some(inner) = text.strip_prefix(quotes) {
            return inner.find(quotes).map_or(text.len(), |end| end + 2 * quotes.len());
        }
    }
    let ends: &[char] = match text.chars().next() {
        Some('"') => return quoted_length(text),
        Some('\'') => &['\'', '\n', '\r'],
        _ => &[',', '}', '#', '\n', '\r'],
    };
    let open = usize::from(text.starts_with('\''));
    let end = text[open..].find(ends).map_or(text.len(), |end| open + end);
    if open == 1 && text[end..].starts_with('\'') { end + 1 } else { end }
}

fn quoted_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            b'\n' | b'\r' => return at,
            b'"' if !escaped => return at + 1,
            _ => escaped = byte == b'\\' && !escaped,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(text: &str) -> String {
        masked(text, DeTable::parse_recoverable(text).0.get_ref())
    }

    #[test]
    fn a_secret_is_never_shown_and_nothing_moves() {
        for (text, shown) in [
            ("secret = \"hunter2\" # x", "secret = ********* # x"),
            ("preview = { secret = 'hunter2', x = 1 }", "preview = { secret = *********, x = * }"),
            ("preview = { secert = \"hunter2\" }", "preview = { secert = ********* }"),
            ("preview = \"hunter2\"", "preview = *********"),
            ("\"secret\"= \"hun\\\"ter2\"", "\"secret\"= ***********"),
            ("secret = \"hunter2", "secret = ********"),
            ("secret = hunter2 }", "secret = ********}"),
            ("secret = \"\"\"hun\nter2\"\"\" y", "secret = ******\n******* y"),
            ("secret_file = \"a\"", "secret_file = \"a\""),
            ("u = \"redis://:p@ss@h:1\"", "u = \"redis://*****@h:1\""),
            ("u = \"redis://h:1\"", "u = \"redis://h:1\""),
            ("secret = \"pässword\"", "secret = ***********"),
        ] {
            assert_eq!(mask(text), shown);
            assert_eq!(mask(text).len(), text.len());
        }
    }
}
