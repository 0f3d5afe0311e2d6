//! Tells by mail: the message around the words, in plain ASCII whatever they are.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Trouble;
use super::letter::Letter;
use super::settings::Mail;
use super::smtp::{self, Message};
use crate::clock;
use crate::time::Timestamp;
use crate::tls::Keyring;

/// Characters of a subject: people read it in a list.
const SUBJECT_CHARS_MAX: usize = 150;

/// Bytes of one encoded word: with what stands around it it must fit 75 characters (RFC 2047).
const WORD_BYTES_MAX: usize = 42;

/// Columns of a line of base64 (RFC 2045).
const COLUMNS: usize = 76;

pub(super) async fn send(mail: &Mail, letter: &Letter, keyring: &Keyring) -> Result<(), Trouble> {
    let message = message(mail, letter, clock::wall());
    smtp::hand_over(mail, &message, keyring).await
}

fn message(mail: &Mail, letter: &Letter, now: Timestamp) -> Message {
    let host = mail.from.rsplit_once('@').map_or("localhost", |(_, host)| host);
    let mut text = String::new();
    let headers = [
        ("From", format!("<{}>", mail.from)),
        ("To", recipients(&mail.to)),
        ("Subject", subject(&letter.headline())),
        ("Date", letter.zone.write(now, "%a, %d %b %Y %H:%M:%S %z")),
        ("Message-ID", format!("<{}@{host}>", letter.id)),
        ("Auto-Submitted", "auto-generated".to_owned()),
        ("MIME-Version", "1.0".to_owned()),
        ("Content-Type", "text/plain; charset=utf-8".to_owned()),
        ("Content-Transfer-Encoding", "base64".to_owned()),
    ];
    for (name, value) in headers {
        let _ = write!(text, "{name}: {value}\r\n");
    }
    text.push_str("\r\n");
    let body = STANDARD.encode(letter.text().replace('\n', "\r\n") + "\r\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(COLUMNS));
        text.extend([line, "\r\n"]);
        rest = more;
    }
    Message { text }
}

/// One a line, so that no line grows too long.
fn recipients(to: &[String]) -> String {
    let to: Vec<String> = to.iter().map(|to| format!("<{to}>")).collect();
    to.join(",\r\n ")
}

/// A line as encoded words (RFC 2047), where it is not short and plain.
fn subject(line: &str) -> String {
    let mut line: String = line.chars().filter(|c| !c.is_control()).collect();
    if line.chars().count() > SUBJECT_CHARS_MAX {
        line = line.chars().take(SUBJECT_CHARS_MAX).chain("...".chars()).collect();
    }
    if line.is_ascii() && line.len() <= COLUMNS && !line.contains("=?") {
        return line;
    }
    let (mut words, mut word) = (Vec::new(), String::new());
    for c in line.chars() {
        if word.len() + c.len_utf8() > WORD_BYTES_MAX {
            words.push(std::mem::take(&mut word));
        }
        word.push(c);
    }
    words.push(word);
    let words = words.iter().map(|word| format!("=?utf-8?B?{}?=", STANDARD.encode(word)));
    words.collect::<Vec<_>>().join("\r\n ")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::journal::Record;
    use crate::notify::Encryption;
    use crate::time::Zone;

    fn record(at: usize) -> Record {
        let line = include_str!("../../tests/journals/0.1.jsonl").lines().nth(at).unwrap();
        serde_json::from_str(line).unwrap()
    }

    #[test]
    fn a_message_is_plain_ascii_with_short_lines_and_says_all() {
        let mail = Mail {
            host: "mail.example.org".into(),
            port: 587,
            encryption: Encryption::StartTls,
            login: None,
            from: "weir@example.org".into(),
            to: vec!["ops@example.org".into(), "ada@example.org".into()],
            tls: Arc::default(),
        };
        let mut record = record(14);
        record.event.because = Some("Körbe sind leer".into());
        let sentence = record.event.sentence();
        let letter = Letter {
            id: "weir-ops-1".into(),
            last: 15,
            records: vec![record],
            lost: 0,
            test: None,
            zone: Zone::UTC,
        };
        let text = message(&mail, &letter, Timestamp::from_millis(1_772_347_251_000)).text;
        assert!(text.is_ascii() && text.lines().all(|line| line.len() <= 78), "{text}");
        assert!(text.contains("To: <ops@example.org>,\r\n <ada@example.org>\r\n"), "{text}");
        assert!(text.contains("Message-ID: <weir-ops-1@example.org>\r\n"));
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let body = STANDARD.decode(body.replace("\r\n", "")).unwrap();
        assert_eq!(String::from_utf8(body).unwrap().trim_end(), sentence);
        let from = head.find("Subject: ").unwrap() + 9;
        let until = head.find("\r\nDate: ").unwrap();
        let words = head[from..until].split("\r\n ").map(|word| {
            let word = word.strip_prefix("=?utf-8?B?").unwrap().strip_suffix("?=").unwrap();
            String::from_utf8(STANDARD.decode(word).unwrap()).unwrap()
        });
        assert_eq!(words.collect::<String>(), sentence);
    }

    #[test]
    fn a_subject_breaks_out_of_no_line() {
        assert_eq!(subject("weir: 2 events"), "weir: 2 events");
        assert_eq!(subject("a\r\nBcc: x@y"), "aBcc: x@y");
        assert!(subject("=?utf-8?B?YQ==?=").starts_with("=?utf-8?B?PT91"));
    }
}
