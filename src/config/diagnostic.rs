//! What is wrong with a file, as a picture for people and as JSON for programs.

use std::error::Error;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{Annotation, AnnotationKind, Level as PictureLevel, Renderer, Snippet};
use serde_json::{Value, json};

/// Pictures printed of one report; nobody reads more before mending the first.
const PRINTED_MAX: usize = 20;

/// Diagnostics kept of one file; a file of another kind has one on each of its lines.
const KEPT_MAX: usize = 1_000;

/// A file as the messages show it: secrets in it are replaced by stars.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) name: String,
    pub(super) text: String,
    starts: Vec<usize>,
}

impl Source {
    pub(super) fn new(name: &str, text: String) -> Self {
        let after = |(at, _)| at + 1;
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(after)).collect();
        Self { name: name.to_owned(), text, starts }
    }

    /// The line of byte `at`, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        self.starts.partition_point(|start| *start <= at)
    }

    pub(super) const fn lines(&self) -> usize {
        self.starts.len()
    }

    /// The text of a line, from 1.
    pub(super) fn line_text(&self, line: usize) -> &str {
        let end = self.starts.get(line).copied().unwrap_or(self.text.len());
        &self.text[self.starts[line - 1]..end]
    }

    fn column(&self, at: usize) -> usize {
        let start = self.starts[self.line(at) - 1];
        self.text.get(start..at).map_or(1, |before| before.chars().count() + 1)
    }

    /// The part of `span` on its first line, between whole characters.
    fn clipped(&self, span: &Range<usize>) -> Range<usize> {
        let boundary = |mut at: usize| {
            at = at.min(self.text.len());
            while !self.text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let start = boundary(span.start);
        let end = boundary(span.end).max(start);
        let line = self.text[start..end].find(['\n', '\r']).map_or(end, |length| start + length);
        start..line
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The file is refused.
    Error,
    /// The file is used; somebody should know.
    Warning,
}

impl Level {
    /// `error` or `warning`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// What sort of mistake it is: a fixed word for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Two places contradict each other.
    Conflict,
    /// The file cannot be read.
    File,
    /// More of something than there may be.
    Limit,
    /// A key that must be there is not.
    Missing,
    /// Allowed, but rarely meant.
    Remark,
    /// Not TOML.
    Syntax,
    /// A key that nobody knows.
    UnknownKey,
    /// A value of the wrong kind or out of its range.
    Value,
}

impl Code {
    /// The word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::File => "file",
            Self::Limit => "limit",
            Self::Missing => "missing",
            Self::Remark => "remark",
            Self::Syntax => "syntax",
            Self::UnknownKey => "unknown_key",
            Self::Value => "value",
        }
    }
}

/// One mistake or remark: where it stands, what is wrong, what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub(super) level: Level,
    pub(super) code: Code,
    pub(super) key: String,
    pub(super) message: String,
    pub(super) help: String,
    pub(super) span: Option<Range<usize>>,
    pub(super) others: Vec<(Range<usize>, String)>,
    pub(super) source: Arc<Source>,
}

impl Diagnostic {
    /// How bad it is.
    pub const fn level(&self) -> Level {
        self.level
    }

    /// What sort it is.
    pub const fn code(&self) -> Code {
        self.code
    }

    /// The file it is in.
    pub fn file(&self) -> &str {
        &self.source.name
    }

    /// The line, from 1; none where it concerns the whole file.
    pub fn line(&self) -> Option<usize> {
        self.span.as_ref().map(|span| self.source.line(self.source.clipped(span).start))
    }

    /// The column in characters, from 1; none where it concerns the whole file.
    pub fn column(&self) -> Option<usize> {
        self.span.as_ref().map(|span| self.source.column(self.source.clipped(span).start))
    }

    /// The whole path of the key (`tier.web.health.interval`); empty where there is none.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What is wrong.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What is allowed, or what to do.
    pub fn help(&self) -> &str {
        &self.help
    }

    /// The lines of the other places it concerns.
    pub fn other_lines(&self) -> impl Iterator<Item = usize> {
        self.others.iter().map(|(span, _)| self.source.line(self.source.clipped(span).start))
    }

    /// The picture, as compilers draw it; without a line feed at its end.
    pub fn picture(&self, colour: bool) -> String {
        let level = match self.level {
            Level::Error => PictureLevel::ERROR,
            Level::Warning => PictureLevel::WARNING,
        };
        let Some(span) = &self.span else {
            return format!("{}: {}; {}", self.level.name(), self.message, self.help);
        };
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let mark =
            |kind: AnnotationKind, span: &Range<usize>, label: &str| -> Annotation<'static> {
                kind.span(self.source.clipped(span)).label(label.to_owned())
            };
        let mut snippet = Snippet::source(self.source.text.as_str())
            .path(self.source.name.as_str())
            .annotation(mark(AnnotationKind::Primary, span, &self.help));
        for (other, label) in &self.others {
            snippet = snippet.annotation(mark(AnnotationKind::Context, other, label));
        }
        renderer.render(&[level.primary_title(self.message.as_str()).element(snippet)])
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        json!({
            "level": self.level.name(),
            "code": self.code.name(),
            "file": self.file(),
            "line": self.line(),
            "column": self.column(),
            "key": self.key,
            "message": self.message,
            "help": self.help,
            "other_lines": self.other_lines().collect::<Vec<_>>(),
        })
    }
}

/// Everything that is wrong with a file, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    diagnostics: Vec<Diagnostic>,
    unkept: usize,
}

impl Report {
    /// The diagnostics of one file, put in order.
    pub(super) fn new(mut diagnostics: Vec<Diagnostic>) -> Self {
        diagnostics.sort_by_key(|one| (one.span.as_ref().map(|span| span.start), one.level));
        let unkept = diagnostics.len().saturating_sub(KEPT_MAX);
        diagnostics.truncate(KEPT_MAX);
        Self { diagnostics, unkept }
    }

    /// Mistakes and remarks, in the order of the lines.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// How many there are, also those that are not kept.
    pub const fn len(&self) -> usize {
        self.diagnostics.len() + self.unkept
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.diagnostics.is_empty()
    }

    /// Whether one of them refuses the file.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|one| one.level == Level::Error)
    }

    /// The pictures, at most twenty, then the count; each line ends with a line feed.
    pub fn picture(&self, colour: bool) -> String {
        let mut text = String::new();
        for diagnostic in self.diagnostics.iter().take(PRINTED_MAX) {
            text.push_str(&diagnostic.picture(colour));
            text.push_str("\n\n");
        }
        let count = |level| self.diagnostics.iter().filter(|one| one.level == level).count();
        let words = |count: usize, word: &str| match count {
            1 => format!("1 {word}"),
            _ => format!("{count} {word}s"),
        };
        let mut counted = words(count(Level::Error) + self.unkept, "mistake");
        if count(Level::Warning) > 0 {
            counted = format!("{counted}, {}", words(count(Level::Warning), "warning"));
        }
        if self.len() > PRINTED_MAX {
            counted = format!("{counted}; the first {PRINTED_MAX} are shown");
        }
        let file = self.diagnostics.first().map_or("", |one| one.file());
        format!("{text}{file}: {counted}\n")
    }

    /// The same for programs: a list of objects.
    pub fn json(&self) -> Value {
        self.diagnostics.iter().map(Diagnostic::json).collect()
    }
}

/// The pictures without colour.
impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.picture(false).trim_end())
    }
}

impl Error for Report {}
