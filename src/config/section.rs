//! Reads one table key by key. A mistake is noted and reading goes on, so that one look at the
//! file finds all of them.

#![allow(clippy::wildcard_enum_match_arm, reason = "kinds of values are TOML's enum, not ours")]

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Code, Level};
use super::keys::{self, Keys};
use super::reader::Reader;
use super::values::{Mistake, quoted};

/// Longest list of texts (paths, networks, statuses) of one key.
pub(super) const PATTERNS_MAX: usize = 256;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
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

    /// The keys of such a table that were written and not read; they count as read from now on.
    pub(super) fn unread(&mut self) -> Vec<(&'static str, Range<usize>)> {
        let unread = self.keys.names().filter(|key| !self.taken.contains(key));
        let unread: Vec<_> = unread.filter_map(|key| Some((key, self.key_span(key)?))).collect();
        self.taken.extend(unread.iter().map(|(key, _)| key));
        unread
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

/// The value is of another kind than wanted.
pub(super) fn not_a(wanted: &str, value: &DeValue<'_>, help: &str) -> Mistake {
    Mistake::new(format!("{} is not {wanted}", shown(value)), help)
}

pub(super) fn shown(value: &DeValue<'_>) -> String {
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
