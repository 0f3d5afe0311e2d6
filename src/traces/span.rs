//! One span: what happened between two moments, and all that is known of it.

use std::borrow::Cow;

use super::context::{Context, SpanId};

/// Longest text of an attribute, in bytes; what a client sends may be as long as its head.
const TEXT_BYTES_MAX: usize = 1_024;

/// Something that happened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Span {
    /// Where it stands.
    pub context: Context,
    /// Below which span.
    pub parent: Option<SpanId>,
    /// Whether that one is another program's.
    pub is_parent_remote: bool,
    /// What kind of thing it is.
    pub kind: Kind,
    /// What happened.
    pub name: Cow<'static, str>,
    /// When it began, in nanoseconds since 1970.
    pub start: u64,
    /// When it ended.
    pub end: u64,
    /// What is known of it.
    pub attributes: Vec<(&'static str, Value)>,
    /// Whether it failed; how, may be said.
    pub failed: Option<String>,
}

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Within the program.
    #[default]
    Internal,
    /// A request was answered.
    Server,
}

/// A value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Whether it is so.
    Flag(bool),
    /// A number.
    Number(i64),
    /// A share.
    Share(f64),
    /// A text.
    Text(Cow<'static, str>),
}

impl Value {
    /// A text from outside, cut where it is too long.
    pub fn text(text: &str) -> Self {
        let mut end = text.len().min(TEXT_BYTES_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Self::Text(Cow::Owned(text[..end].to_owned()))
    }
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}
