//! What a webhook is sent: the shapes of chats, JSON for programs, or a template of one's own.

use serde_json::{Value, json};
use thiserror::Error;

use super::letter::Letter;

/// Longest template, in bytes.
pub const TEMPLATE_BYTES_MAX: usize = 16 << 10;

/// What can stand in a template, in braces.
const SLOTS: [Slot; 8] = [
    Slot::At,
    Slot::By,
    Slot::Event,
    Slot::Reason,
    Slot::Rollout,
    Slot::Sentence,
    Slot::Text,
    Slot::Tier,
];

/// What a webhook is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Template {
    /// All that is known, for programs.
    Json,
    /// A message of Mattermost.
    Mattermost,
    /// A text of one's own.
    Own(Own),
    /// A message of Slack.
    Slack,
}

/// A template of one's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    source: String,
    parts: Vec<Part>,
    is_json: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Slot(Slot),
    Text(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    At,
    By,
    Event,
    Reason,
    Rollout,
    Sentence,
    Text,
    Tier,
}

/// Why a text is no template.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TemplateError {
    /// It is JSON, but not after it was filled.
    #[error(
        "the template begins as JSON and is none ({0}); a placeholder stands between the quotes of \
         a text: {{\"text\": \"{{text}}\"}}"
    )]
    Json(String),
    /// It is neither a word nor a template.
    #[error("{0:?} is no template; use json, mattermost, slack, or a text with {{text}} in it")]
    None(String),
    /// It is too long.
    #[error("the template has {0} bytes; at most {TEMPLATE_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// A placeholder that nobody knows.
    #[error("nobody knows {{{name}}}; known are {}", slots())]
    Unknown {
        /// What stands in the braces.
        name: String,
    },
}

fn slots() -> String {
    SLOTS.map(|slot| format!("{{{}}}", slot.name())).join(" ")
}

impl Slot {
    const fn name(self) -> &'static str {
        match self {
            Self::At => "at",
            Self::By => "by",
            Self::Event => "event",
            Self::Reason => "reason",
            Self::Rollout => "rollout",
            Self::Sentence => "sentence",
            Self::Text => "text",
            Self::Tier => "tier",
        }
    }

    fn value(self, letter: &Letter) -> String {
        let event = letter.event();
        match self {
            Self::At => letter.at().unwrap_or_default(),
            Self::By => event.map(|event| event.by.to_string()).unwrap_or_default(),
            Self::Event => letter.kind().to_owned(),
            Self::Reason => event.and_then(|event| event.because.clone()).unwrap_or_default(),
            Self::Rollout => {
                event.and_then(|event| event.rollout).map(|id| id.to_string()).unwrap_or_default()
            }
            Self::Sentence => letter.headline(),
            Self::Text => letter.text(),
            Self::Tier => event
                .and_then(|event| event.tier.as_ref())
                .map(ToString::to_string)
                .unwrap_or_default(),
        }
    }
}

impl std::str::FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        match text {
            "json" => Ok(Self::Json),
            "mattermost" => Ok(Self::Mattermost),
            "slack" => Ok(Self::Slack),
            own => Own::parse(own).map(Self::Own),
        }
    }
}

impl Template {
    /// Its word, or itself.
    pub fn name(&self) -> &str {
        match self {
            Self::Json => "json",
            Self::Mattermost => "mattermost",
            Self::Own(own) => &own.source,
            Self::Slack => "slack",
        }
    }

    /// The body for `letter`, and its content type.
    pub(super) fn fill(&self, letter: &Letter) -> (String, &'static str) {
        const JSON: &str = "application/json";
        match self {
            Self::Json => (program(letter).to_string(), JSON),
            Self::Mattermost => {
                let text = mattermost(&letter.text());
                (json!({ "text": text, "username": "weir" }).to_string(), JSON)
            }
            Self::Own(own) => {
                (own.fill(letter), if own.is_json { JSON } else { "text/plain; charset=utf-8" })
            }
            Self::Slack => (json!({ "text": slack(&letter.text()) }).to_string(), JSON),
        }
    }
}

impl Own {
    fn parse(source: &str) -> Result<Self, TemplateError> {
        if source.len() > TEMPLATE_BYTES_MAX {
            return Err(TemplateError::TooLong(source.len()));
        }
        let (mut parts, mut text, mut rest) = (Vec::new(), String::new(), source);
        while let Some(at) = rest.find('{') {
            text.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            let word = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_lowercase()).len();
            if word == 0 || !rest[word..].starts_with('}') {
                text.push('{');
                continue;
            }
            let name = &rest[..word];
            let slot = SLOTS.into_iter().find(|slot| slot.name() == name);
            let slot = slot.ok_or_else(|| TemplateError::Unknown { name: name.to_owned() })?;
            parts.push(Part::Text(std::mem::take(&mut text)));
            parts.push(Part::Slot(slot));
            rest = &rest[word + 1..];
        }
        if parts.is_empty() {
            return Err(TemplateError::None(source.chars().take(60).collect()));
        }
        text.push_str(rest);
        parts.push(Part::Text(text));
        // A placeholder at the beginning makes no JSON of it.
        let begins = |text: &str| text.trim_start().starts_with(['{', '[']);
        let is_json = matches!(parts.first(), Some(Part::Text(text)) if begins(text));
        let own = Self { source: source.to_owned(), parts, is_json };
        if is_json
            && let Err(error) = serde_json::from_str::<Value>(&own.fill(&Letter::test("\"me\"")))
        {
            return Err(TemplateError::Json(error.to_string()));
        }
        Ok(own)
    }

    fn fill(&self, letter: &Letter) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Slot(slot) if self.is_json => in_quotes(&slot.value(letter)),
            Part::Slot(slot) => slot.value(letter),
        };
        self.parts.iter().map(part).collect()
    }
}

/// As it stands between the quotes of a JSON text.
fn in_quotes(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// Slack reads `<!channel>` and the like as orders.
fn slack(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Mattermost reads Markdown, and calls people by `@`: what somebody wrote as a reason must do
/// neither.
fn mattermost(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '@' => out.push_str("@\u{200b}"),
            '\\' | '`' | '*' | '_' | '~' | '#' | '[' | ']' | '<' | '>' | '|' | '!' => {
                out.extend(['\\', c]);
            }
            c => out.push(c),
        }
    }
    out
}

/// All that is known of `letter`.
fn program(letter: &Letter) -> Value {
    let record = |record: &crate::journal::Record| {
        let mut value = serde_json::to_value(record).unwrap_or_default();
        if let Value::Object(fields) = &mut value {
            fields.insert("sentence".into(), record.event.sentence().into());
        }
        value
    };
    json!({
        "weir": env!("CARGO_PKG_VERSION"),
        "id": letter.id,
        "event": letter.kind(),
        "text": letter.text(),
        "time": letter.at(),
        "lost": letter.lost,
        "records": letter.records.iter().map(record).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Record;
    use crate::time::Zone;

    fn record(at: usize) -> Record {
        let line = include_str!("../../tests/journals/0.1.jsonl").lines().nth(at).unwrap();
        serde_json::from_str(line).unwrap()
    }

    fn letter(at: usize) -> Letter {
        let record = record(at);
        let last = record.seq;
        let (id, records, zone) = ("weir-chat-1".into(), vec![record], Zone::UTC);
        Letter { id, last, records, lost: 0, test: None, zone }
    }

    #[test]
    fn a_template_of_ones_own_is_filled_and_quoted_where_it_is_json() {
        let own: Template =
            r#"{"msg": "{event} in {tier}: {sentence}", "why": "{reason}"}"#.parse().unwrap();
        let mut letter = letter(14);
        letter.records[0].event.because = Some("carts \"are\" empty".into());
        let (body, kind) = own.fill(&letter);
        assert_eq!(kind, "application/json");
        let value: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(value["why"], "carts \"are\" empty");
        assert!(value["msg"].as_str().unwrap().starts_with("rolled_back in web: web: rolled back"));
        let plain: Template = "{at} {by} {rollout} { {x".parse().unwrap();
        let (body, kind) = plain.fill(&letter);
        assert!(kind.starts_with("text/plain") && body.ends_with("day-shift 1 { {x"), "{body}");
    }

    #[test]
    fn what_is_no_template_is_refused_with_what_there_is() {
        let error = |text: &str| text.parse::<Template>().unwrap_err().to_string();
        assert!(error("slak").contains("json, mattermost, slack"));
        assert!(error("{txt}").contains("{text} {tier}"));
        assert!(error(r#"{"text": {text}}"#).contains("between the quotes"));
        assert!(error(&"{text}".repeat(4_096)).contains("bytes"));
    }

    #[test]
    fn a_reason_calls_nobody_in_a_chat() {
        let mut letter = letter(14);
        letter.records[0].event.because = Some("<!channel> @all *now* & `then`".into());
        let (body, _) = Template::Slack.fill(&letter);
        assert!(body.contains("&lt;!channel&gt; @all *now* &amp;"), "{body}");
        let (body, _) = Template::Mattermost.fill(&letter);
        assert!(body.contains("@\u{200b}all") && body.contains(r"\\*now\\*"), "{body}");
    }

    #[test]
    fn a_program_gets_the_record_without_its_secret() {
        let mut letter = letter(2);
        letter.records[0].event = letter.records[0].event.without_secret();
        let (body, _) = Template::Json.fill(&letter);
        let value: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(value["event"], "started");
        assert_eq!(value["records"][0]["change"]["started"]["release"], "1.1.0");
        assert!(!body.contains("6120736563726574"));
    }
}
