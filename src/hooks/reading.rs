//! Output of a command: bytes in, lines without secrets out.

use super::masking::Secrets;
use crate::rollout::runbook::Output;

/// Longest line; what is longer becomes several.
const LINE_BYTES_MAX: usize = 4 << 10;

/// Turns bytes into lines.
pub(super) struct Reading<'a> {
    secrets: &'a Secrets,
    /// The beginning of a line whose end has not come.
    begun: Vec<u8>,
    /// What is kept.
    pub(super) output: Output,
}

impl<'a> Reading<'a> {
    pub(super) fn new(secrets: &'a Secrets) -> Self {
        Self { secrets, begun: Vec::new(), output: Output::default() }
    }

    /// Takes `bytes`; each line that ends in them is heard.
    pub(super) fn take(&mut self, bytes: &[u8], mut hear: impl FnMut(String)) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.begun.extend_from_slice(part);
            if part.ends_with(b"\n") {
                hear(self.line());
            }
            while self.begun.len() > LINE_BYTES_MAX + self.secrets.longest() {
                hear(self.piece());
            }
        }
    }

    /// The last line, which may have no end.
    pub(super) fn finish(mut self, mut hear: impl FnMut(String)) -> Output {
        if !self.begun.is_empty() {
            hear(self.line());
        }
        self.output
    }

    fn line(&mut self) -> String {
        let text = printable(&std::mem::take(&mut self.begun));
        let text = self.secrets.masked(text.trim_end());
        self.output.push(&text);
        self.output.push("\n");
        text
    }

    /// The beginning of a line that is too long; its end stays, since a secret may begin there.
    fn piece(&mut self) -> String {
        let text = self.secrets.masked(&printable(&self.begun));
        let mut at = text.len().saturating_sub(self.secrets.longest());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        self.begun = text.as_bytes()[at..].to_vec();
        self.output.push(&text[..at]);
        text[..at].to_owned()
    }
}

/// Text without what would move a terminal's cursor or change its colours.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    // A carriage return begins a line anew, as bars of progress do: the last is what is seen.
    let seen = text.trim_end().rsplit('\r').next().unwrap_or_default();
    seen.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_and_without_secrets() {
        let secrets = Secrets::new(["hunter2-hunter2".to_owned()], [], &[]);
        let mut reading = Reading::new(&secrets);
        let mut heard = Vec::new();
        for bytes in ["one\ntwo hunter2-", "hunter2\n10%\r20%\r", "30%\r\n\x1b[31mred", "\n last"] {
            reading.take(bytes.as_bytes(), |line| heard.push(line));
        }
        let output = reading.finish(|line| heard.push(line));
        assert_eq!(heard, ["one", "two ***", "30%", "\u{fffd}[31mred", " last"]);
        assert_eq!(output.head, "one\ntwo ***\n30%\n\u{fffd}[31mred\n last\n");
    }

    #[test]
    fn a_line_without_end_is_heard_in_pieces_and_no_secret_is_torn() {
        let secret = "hunter2-hunter2";
        let secrets = Secrets::new([secret.to_owned()], [], &[]);
        for before in LINE_BYTES_MAX - 20..LINE_BYTES_MAX + 40 {
            let mut reading = Reading::new(&secrets);
            let mut heard = String::new();
            let text = format!("{}{secret}{}", "x".repeat(before), "y".repeat(9_000));
            for bytes in text.as_bytes().chunks(7) {
                reading.take(bytes, |piece| heard.push_str(&piece));
            }
            reading.finish(|piece| heard.push_str(&piece));
            assert!(heard.contains("x***y"), "{before}");
            assert!(!heard.contains("hunter2"), "{before}");
        }
    }
}
