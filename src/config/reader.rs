//! Collects what is wrong with one file, and keeps quiet where its syntax is broken.

use std::cell::RefCell;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use super::diagnostic::{Code, Diagnostic, Level, Source};
use super::values::Mistake;

/// Places of broken syntax that are looked at; with more of them it is not TOML at all.
const BROKEN_MAX: usize = 1_000;

/// Collects what is wrong with one file.
pub(super) struct Reader {
    source: Arc<Source>,
    found: RefCell<Vec<Diagnostic>>,
    /// Lines on which the syntax is broken: whatever else is said of them was never written.
    broken: Vec<RangeInclusive<usize>>,
}

impl Reader {
    pub(super) fn new(source: Arc<Source>, errors: &[toml::de::Error]) -> Self {
        let mut reader = Self { source, found: RefCell::default(), broken: Vec::new() };
        let mut errors: Vec<_> = errors.iter().collect();
        errors.sort_by_key(|error| error.span().map_or(0, |span| span.start));
        for error in &errors {
            reader.syntax(error);
            if reader.broken.len() > BROKEN_MAX {
                // A file of another kind: nothing it says means anything.
                reader.broken.push(1..=usize::MAX);
                break;
            }
        }
        reader
    }

    /// One message a line, and none for what only follows from the line above.
    fn syntax(&mut self, error: &toml::de::Error) {
        let source = Arc::clone(&self.source);
        let at = error.span().map_or(0, |span| span.start).min(source.text.len());
        // An error at the end of a line may stand after its line feed.
        let anchor = if source.text[..at].ends_with('\n') { at - 1 } else { at };
        let line = source.line(anchor);
        let last = self.broken.last().map_or(0, |lines| *lines.end());
        if line <= last {
            return;
        }
        let follows =
            ["key-value pairs", "inline table"].iter().any(|word| error.message().contains(word));
        if follows && last > 0 && line == last + 1 {
            self.broken.push(line..=line);
            return;
        }
        let below = if source.line_text(line).trim_start().starts_with('[') {
            // A broken header takes the keys below it along.
            (line + 1..=source.lines())
                .take_while(|below| !source.line_text(*below).trim_start().starts_with('['))
                .count()
        } else {
            0
        };
        self.broken.push(line..=line + below);
        let (message, help) =
            error.message().split_once(", ").unwrap_or((error.message(), "this is not TOML"));
        let span = Some(anchor..error.span().map_or(anchor, |span| span.end).max(anchor));
        let (message, help) = (message.to_owned(), help.to_owned());
        let (level, code, key, others) = (Level::Error, Code::Syntax, String::new(), Vec::new());
        self.push(Diagnostic { level, code, key, message, help, span, others, source });
    }

    pub(super) fn has_broken_lines(&self) -> bool {
        !self.broken.is_empty()
    }

    fn is_broken(&self, span: &Range<usize>) -> bool {
        let line = self.source.line(span.start);
        let before = self.broken.partition_point(|lines| *lines.start() <= line);
        let whole = self.broken.last().is_some_and(|lines| *lines.end() == usize::MAX);
        whole || before.checked_sub(1).is_some_and(|index| self.broken[index].contains(&line))
    }

    fn push(&self, diagnostic: Diagnostic) {
        self.found.borrow_mut().push(diagnostic);
    }

    /// Notes something about a place that can be read, and perhaps about others.
    pub(super) fn note(
        &self,
        (level, code): (Level, Code),
        (key, span): (String, Range<usize>),
        mistake: Mistake,
        others: Vec<(Range<usize>, String)>,
    ) {
        if self.is_broken(&span) {
            return;
        }
        let Mistake { message, help } = mistake;
        let (span, source) = (Some(span), Arc::clone(&self.source));
        self.push(Diagnostic { level, code, key, message, help, span, others, source });
    }

    /// Notes something about the whole file.
    pub(super) fn note_file(&self, code: Code, mistake: Mistake) {
        if self.has_broken_lines() {
            return;
        }
        let Mistake { message, help } = mistake;
        let (source, others, key) = (Arc::clone(&self.source), Vec::new(), String::new());
        self.push(Diagnostic {
            level: Level::Error,
            code,
            key,
            message,
            help,
            span: None,
            others,
            source,
        });
    }

    /// The line of a place, from 1.
    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        self.source.line(span.start)
    }

    pub(super) fn finish(self) -> Vec<Diagnostic> {
        self.found.into_inner()
    }
}
