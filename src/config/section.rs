//! Reads one table key by key. A mistake is noted and reading goes on, so that one look at the
//! file finds all of them.

#![allow(clippy::wildcard_enum_match_arm, reason = "kinds of values are TOML's enum, not ours")]

use std::cell::RefCell;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Code, Diagnostic, Level, Source};
use super::keys::{self, Keys};
use super::values::{self, Mistake, quoted};

/// Longest list of texts (paths, networks, statuses) of one key.
pub(super) const PATTERNS_MAX: usize = 256;

/// Places of broken syntax that are looked at; with more of them it is not TOML at all.
const BROKEN_MAX: usize = 1_000;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

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

/// One table of the file, and which of its keys were read.
pub(super) struct Section<'a> {
    pub(super) reader: &'a Reader,
    pub(super) span: Range<usize>,
    keys: &'static Keys,
    path: String,
    table: Option<&'a DeTable<'a>>,
    taken: Vec<&'static str>,
    missing: Vec<(&'static str, &'static str)>,
}

impl<'a> Section<'a> {
    /// The table `table`, called `path` in keys; none: a table that is not in the file.
    pub(super) fn new(
        reader: &'a Reader,
        keys: &'static Keys,
        path: String,
        table: Option<&'a DeTable<'a>>,
        span: Range<usize>,
    ) -> Self {
        Self { reader, span, keys, path, table, taken: Vec::new(), missing: Vec::new() }
    }

    /// Calls the section `path` in the keys of messages.
    pub(super) fn rename(&mut self, path: String) {
        self.path = path;
    }

    /// The whole path of `key`.
    pub(super) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Whether the table is in the file.
    pub(super) const fn is_there(&self) -> bool {
        self.table.is_some()
    }

    /// The place of `key` itself, if it was written.
    pub(super) fn key_span(&self, key: &str) -> Option<Range<usize>> {
        let mut keys = self.table?.iter().map(|(name, _)| name);
        keys.find(|name| name.get_ref() == key).map(Spanned::span)
    }

    /// Whether `key` was written as a text.
    pub(super) fn is_text(&self, key: &str) -> bool {
        let found =
            self.table.and_then(|table| table.iter().find(|(name, _)| name.get_ref() == key));
        found.is_some_and(|(_, value)| value.get_ref().is_str())
    }

    /// Whether `key` was written as a list with nothing in it.
    pub(super) fn is_empty_list(&self, key: &str) -> bool {
        let found =
            self.table.and_then(|table| table.iter().find(|(name, _)| name.get_ref() == key));
        found
            .and_then(|(_, value)| value.get_ref().as_array())
            .is_some_and(|list| list.iter().len() == 0)
    }

    /// Whether nothing was written in the table.
    pub(super) fn is_empty_table(&self) -> bool {
        self.table.is_some_and(|table| table.iter().next().is_none())
    }

    fn take(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        assert!(self.keys.has(key), "key {key} of {} is not in the list of keys", self.keys.title);
        self.taken.push(key);
        self.table?.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }

    /// Notes that the value of `key` at `span` is wrong.
    pub(super) fn wrong(&self, key: &str, span: Range<usize>, mistake: Mistake) {
        let place = (self.path_of(key), span);
        self.reader.note((Level::Error, Code::Value), place, mistake, Vec::new());
    }

    /// Notes something allowed that is rarely meant.
    pub(super) fn remark(&self, key: &str, span: Range<usize>, mistake: Mistake) {
        let place = (self.path_of(key), span);
        self.reader.note((Level::Warning, Code::Remark), place, mistake, Vec::new());
    }

    /// Notes that the value of `key` contradicts other places.
    pub(super) fn conflict(
        &self,
        key: &str,
        span: Range<usize>,
        mistake: Mistake,
        others: Vec<(Range<usize>, String)>,
    ) {
        let place = (self.path_of(key), span);
        self.reader.note((Level::Error, Code::Conflict), place, mistake, others);
    }

    fn limit(&self, key: &str, span: Range<usize>, count: usize, max: usize) {
        let mistake = Mistake::new(
            format!("`{key}` has {count} entries"),
            format!("at most {max} are allowed"),
        );
        let place = (self.path_of(key), span);
        self.reader.note((Level::Error, Code::Limit), place, mistake, Vec::new());
    }

    /// Says that `key` must be there, and with an `example` how.
    pub(super) fn need(&mut self, key: &'static str, example: &'static str) {
        let there =
            self.table.is_some_and(|table| table.iter().any(|(name, _)| name.get_ref() == key));
        if !there {
            self.missing.push((key, example));
        }
    }

    /// Reads `key` with `parse`; a mistake is noted and gives none.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&'a DeValue<'a>) -> Result<T, Mistake>,
    ) -> Option<At<T>> {
        let found = self.take(key)?;
        let span = found.span();
        match parse(found.get_ref()) {
            Ok(value) => Some(At { value, span }),
            Err(mistake) => {
                let Mistake { message, help } = mistake;
                self.wrong(key, span, Mistake::new(format!("`{key}`: {message}"), help));
                None
            }
        }
    }

    /// Reads a text with `parse`.
    pub(super) fn text<T>(
        &mut self,
        key: &'static str,
        help: &str,
        parse: impl FnOnce(&'a str) -> Result<T, Mistake>,
    ) -> Option<At<T>> {
        self.read(key, |value| match value {
            DeValue::String(text) => parse(text),
            other => Err(not_a("text", other, help)),
        })
    }

    /// Reads a text that no message may show.
    pub(super) fn hidden<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&'a str) -> Result<T, Mistake>,
    ) -> Option<At<T>> {
        self.read(key, |value| match value {
            DeValue::String(text) => parse(text),
            _ => Err(Mistake::new("this is not text", "write text in quotes")),
        })
    }

    /// Reads `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str, into: &mut bool) {
        let read = self.read(key, |value| {
            value
                .as_bool()
                .ok_or_else(|| not_a("true or false", value, "write true or false, without quotes"))
        });
        set(into, read);
    }

    /// Reads a duration within `range`.
    pub(super) fn duration(
        &mut self,
        key: &'static str,
        range: RangeInclusive<Duration>,
        into: &mut Duration,
    ) -> Option<Range<usize>> {
        let read = self.read(key, |value| duration_of(value, &range));
        let span = read.as_ref().map(|at| at.span.clone());
        set(into, read);
        span
    }

    /// Reads a duration within `range`, or "none".
    pub(super) fn duration_or_none(
        &mut self,
        key: &'static str,
        range: RangeInclusive<Duration>,
        into: &mut Option<Duration>,
    ) {
        let read = self.read(key, |value| match value.as_str() {
            Some("none") => Ok(None),
            _ => duration_of(value, &range).map(Some).map_err(or_none),
        });
        set(into, read);
    }

    /// Reads a whole number within `range`.
    pub(super) fn integer<T: TryFrom<u64>>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        into: &mut T,
    ) {
        let (low, high) = (*range.start(), *range.end());
        let read = self.read(key, |value| {
            let help = format!("write a whole number, {low} to {high}, without quotes");
            let Some(integer) = value.as_integer() else {
                return Err(not_a("a whole number", value, &help));
            };
            let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
            let number = number.filter(|number| range.contains(number));
            number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| {
                Mistake::new(format!("{integer} is out of range"), format!("use {low} to {high}"))
            })
        });
        set(into, read);
    }

    /// Reads a size within `range`.
    pub(super) fn size<T: TryFrom<u64>>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        into: &mut T,
    ) {
        let read = self.read(key, |value| {
            let bytes = size_of(value, &range)?;
            T::try_from(bytes)
                .map_err(|_| Mistake::new("more than this machine can address", "use less"))
        });
        set(into, read);
    }

    /// Reads a size within `range`, or "none".
    pub(super) fn size_or_none(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        into: &mut Option<u64>,
    ) {
        let read = self.read(key, |value| match value.as_str() {
            Some("none") => Ok(None),
            _ => size_of(value, &range).map(Some).map_err(or_none),
        });
        set(into, read);
    }

    /// Reads a factor within `range`: 1.5 or 2.
    pub(super) fn factor(&mut self, key: &'static str, range: RangeInclusive<f64>, into: &mut f64) {
        let (low, high) = (*range.start(), *range.end());
        let read = self.read(key, |value| {
            let help = format!("write a factor, {low} to {high}, without quotes: {key} = 1.5");
            let text = match value {
                DeValue::Float(float) => float.as_str().replace('_', ""),
                DeValue::Integer(integer) => integer.as_str().to_owned(),
                other => return Err(not_a("a factor", other, &help)),
            };
            let number = text.parse::<f64>().ok().filter(|number| range.contains(number));
            number.ok_or_else(|| {
                Mistake::new(format!("{text} is out of range"), format!("use {low} to {high}"))
            })
        });
        set(into, read);
    }

    /// Reads a share (`1%`) within `range`.
    pub(super) fn share(&mut self, key: &'static str, range: RangeInclusive<f64>, into: &mut f64) {
        self.hundredth(key, "%", values::share, &range, into);
    }

    /// Reads a difference (`0.5pp`) within `range`.
    pub(super) fn points(&mut self, key: &'static str, range: RangeInclusive<f64>, into: &mut f64) {
        self.hundredth(key, "pp", values::points, &range, into);
    }

    fn hundredth(
        &mut self,
        key: &'static str,
        unit: &str,
        parse: fn(&str) -> Result<f64, Mistake>,
        range: &RangeInclusive<f64>,
        into: &mut f64,
    ) {
        let text = |share: f64| format!("{}{unit}", values::hundredfold(share));
        let kind = if unit == "%" { "share" } else { "difference in percentage points" };
        let read = self.read(key, |value| {
            let help = format!("write a {kind}, such as \"0.5{unit}\"");
            let number = match value {
                DeValue::String(text) => parse(text)?,
                DeValue::Integer(_) | DeValue::Float(_) => {
                    return Err(Mistake::new(format!("{} has no unit", shown(value)), help));
                }
                other => return Err(not_a("text", other, &help)),
            };
            if range.contains(&number) {
                return Ok(number);
            }
            let help = format!("use {} to {}", text(*range.start()), text(*range.end()));
            Err(Mistake::new(format!("{} is out of range", text(number)), help))
        });
        set(into, read);
    }

    /// Reads one of a few words.
    pub(super) fn word<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)], into: &mut T) {
        let names: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        let allowed = format!("use {}", names.join(" or "));
        let read = self.text(key, &allowed, |text| {
            words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
                let near = keys::nearest(text, words.iter().map(|(word, _)| *word));
                let near = near.map_or(String::new(), |word| format!("; did you mean {word:?}?"));
                Mistake::new(format!("{} is not known", quoted(text)), format!("{allowed}{near}"))
            })
        });
        set(into, read);
    }

    /// Reads a list of texts with `parse`; each mistake is noted.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        max: usize,
        example: &str,
        mut parse: impl FnMut(&'a str) -> Result<T, Mistake>,
    ) -> Option<Vec<At<T>>> {
        let help = format!("write a list of texts: {key} = {example}");
        let list =
            self.read(key, |value| value.as_array().ok_or_else(|| not_a("a list", value, &help)))?;
        if list.value.len() > max {
            self.limit(key, list.span, list.value.len(), max);
            return None;
        }
        let mut read = Vec::new();
        for item in list.value {
            let span = item.span();
            let parsed = match item.get_ref() {
                DeValue::String(text) => parse(text),
                other => Err(not_a("text", other, &help)),
            };
            match parsed {
                Ok(value) => read.push(At { value, span }),
                Err(Mistake { message, help }) => {
                    self.wrong(key, span, Mistake::new(format!("`{key}`: {message}"), help));
                }
            }
        }
        Some(read)
    }

    /// The table `key`; one without keys where it is absent or no table.
    pub(super) fn table(&mut self, key: &'static str, keys: &'static Keys) -> Section<'a> {
        let read = self.read(key, |value| {
            // What stands here instead may be a secret, so it is not shown.
            let help = format!("write {} or {key} = {{ ... }}", keys.title);
            value.as_table().ok_or_else(|| Mistake::new("this is no table", help))
        });
        let span = self.key_span(key).unwrap_or(self.span.clone());
        let table = read.map(|at| at.value);
        Section::new(self.reader, keys, self.path_of(key), table, span)
    }

    /// The tables of the list `key`, at most `max`.
    pub(super) fn tables(
        &mut self,
        key: &'static str,
        max: usize,
        keys: &'static Keys,
    ) -> Vec<Section<'a>> {
        let help = format!("write {} above each, or {key} = [{{ ... }}, {{ ... }}]", keys.title);
        let list = self.read(key, |value| match value {
            DeValue::Array(list) => Ok(list),
            other => Err(not_a("a list of tables", other, &help)),
        });
        let Some(list) = list else { return Vec::new() };
        if list.value.len() > max {
            self.limit(key, list.span, list.value.len(), max);
            return Vec::new();
        }
        let mut sections = Vec::new();
        for (index, item) in list.value.iter().enumerate() {
            match item.get_ref() {
                DeValue::Table(table) => {
                    let path = format!("{}[{index}]", self.path_of(key));
                    sections.push(Section::new(self.reader, keys, path, Some(table), item.span()));
                }
                other => self.wrong(key, item.span(), not_a("a table", other, &help)),
            }
        }
        sections
    }

    /// Reports the keys that nobody read, and those that nobody wrote.
    pub(super) fn finish(self) {
        let Some(table) = self.table else { return };
        let mut meant = Vec::new();
        for (key, _) in
            table.iter().filter(|(key, _)| !self.taken.contains(&key.get_ref().as_ref()))
        {
            let name = key.get_ref().as_ref();
            let near = keys::nearest(name, self.keys.names());
            meant.extend(near);
            let message = format!("unknown key `{}` in {}", short(name), self.keys.title);
            let place = (self.path_of(&short(name)), key.span());
            let mistake = Mistake::new(message, keys::advice(name, self.keys, near));
            self.reader.note((Level::Error, Code::UnknownKey), place, mistake, Vec::new());
        }
        let silent = self.reader.has_broken_lines();
        for (key, example) in self.missing.iter().filter(|(key, _)| !silent && !meant.contains(key))
        {
            let mistake = Mistake::new(
                format!("{} has no `{key}`", self.keys.title),
                format!("add {example}"),
            );
            let place = (self.path_of(key), self.span.clone());
            self.reader.note((Level::Error, Code::Missing), place, mistake, Vec::new());
        }
    }
}

/// Puts what was read in its place; what was not written or wrong leaves the default.
pub(super) fn set<T>(into: &mut T, read: Option<At<T>>) {
    if let Some(at) = read {
        *into = at.value;
    }
}

fn duration_of(value: &DeValue<'_>, range: &RangeInclusive<Duration>) -> Result<Duration, Mistake> {
    let text = match value {
        DeValue::String(text) => text.as_ref(),
        DeValue::Integer(_) | DeValue::Float(_) => {
            let number = shown(value);
            return Err(Mistake::new(
                format!("{number} has no unit"),
                format!(
                    "write \"{number}s\" for seconds; \"500ms\", \"1m30s\" and \"24h\" are allowed too"
                ),
            ));
        }
        other => {
            return Err(not_a(
                "a duration",
                other,
                "write text with a unit: \"500ms\", \"2s\", \"1m30s\"",
            ));
        }
    };
    let duration = values::duration(text)?;
    if range.contains(&duration) {
        return Ok(duration);
    }
    let said = values::duration_text;
    let help = format!("use {} to {}", said(*range.start()), said(*range.end()));
    Err(Mistake::new(format!("{} is out of range", quoted(text)), help))
}

fn size_of(value: &DeValue<'_>, range: &RangeInclusive<u64>) -> Result<u64, Mistake> {
    let help = "write text with a unit: \"512B\", \"64KiB\", \"10MB\"";
    let text = match value {
        DeValue::String(text) => text.as_ref(),
        DeValue::Integer(_) => {
            return Err(Mistake::new(format!("{} has no unit", shown(value)), help));
        }
        other => return Err(not_a("a size", other, help)),
    };
    let bytes = values::size(text)?;
    if range.contains(&bytes) {
        return Ok(bytes);
    }
    let help =
        format!("use {} to {}", values::size_text(*range.start()), values::size_text(*range.end()));
    Err(Mistake::new(format!("{} is out of range", quoted(text)), help))
}

fn or_none(mistake: Mistake) -> Mistake {
    Mistake { help: format!("{}; or \"none\"", mistake.help), ..mistake }
}

/// The value is of another kind than wanted.
pub(super) fn not_a(wanted: &str, value: &DeValue<'_>, help: &str) -> Mistake {
    Mistake::new(format!("{} is not {wanted}", shown(value)), help)
}

fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => quoted(text),
        DeValue::Integer(integer) => short(&integer.to_string()),
        DeValue::Float(float) => short(float.as_str()),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(date) => date.to_string(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

fn short(text: &str) -> String {
    text.escape_debug().take(60).collect()
}
