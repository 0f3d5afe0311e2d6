//! Pages of metrics as Prometheus reads them: the sum of the series that are asked for.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Series that are asked for: a name, and labels that must have or not have a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    name: String,
    labels: Vec<(String, bool, String)>,
}

/// What names no series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("write a name, and labels if need be: jobs_total{{queue=\"mail\",status!=\"ok\"}}")]
pub struct SelectorError;

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let mut rest = text.trim();
        let name = take_name(&mut rest, true).ok_or(SelectorError)?;
        let mut selector = Self { name: name.to_owned(), labels: Vec::new() };
        if rest.is_empty() {
            return Ok(selector);
        }
        take(&mut rest, "{").ok_or(SelectorError)?;
        while take(&mut rest, "}").is_none() {
            let label = take_name(&mut rest, false).ok_or(SelectorError)?;
            let is_equal = if take(&mut rest, "!=").is_some() {
                false
            } else {
                take(&mut rest, "=").ok_or(SelectorError)?;
                true
            };
            let value = take_value(&mut rest).ok_or(SelectorError)?;
            selector.labels.push((label.to_owned(), is_equal, value));
            if take(&mut rest, ",").is_none() && !rest.trim_start().starts_with('}') {
                return Err(SelectorError);
            }
        }
        if rest.trim().is_empty() { Ok(selector) } else { Err(SelectorError) }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label = |(name, is_equal, value): &(String, bool, String)| {
            format!("{name}{}{value:?}", if *is_equal { "=" } else { "!=" })
        };
        let labels: Vec<String> = self.labels.iter().map(label).collect();
        if labels.is_empty() {
            return out.write_str(&self.name);
        }
        write!(out, "{}{{{}}}", self.name, labels.join(","))
    }
}

/// One series of a page.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Series<'a> {
    name: &'a str,
    labels: Vec<(&'a str, String)>,
    value: f64,
}

impl Series<'_> {
    /// The value of a label; empty if it has none.
    fn label(&self, name: &str) -> &str {
        let found = self.labels.iter().find(|(label, _)| *label == name);
        found.map_or("", |(_, value)| value)
    }
}

impl Selector {
    /// The sum of the series of `page` that are meant and `fit`; none if there is no such series.
    pub(super) fn sum(
        &self,
        page: &str,
        fit: impl Fn(&dyn Fn(&str) -> String) -> bool,
    ) -> Option<f64> {
        let mut sum = None;
        // Cheap first: pages have thousands of lines, and few are meant.
        for line in page.lines().filter(|line| line.trim_start().starts_with(&self.name)) {
            let Some(series) = series(line).filter(|series| self.means(series)) else { continue };
            if fit(&|label| series.label(label).to_owned()) && series.value.is_finite() {
                *sum.get_or_insert(0.0) += series.value;
            }
        }
        sum
    }

    fn means(&self, series: &Series<'_>) -> bool {
        let fits = |(name, is_equal, value): &(String, bool, String)| {
            (series.label(name) == value) == *is_equal
        };
        series.name == self.name && self.labels.iter().all(fits)
    }
}

/// A line of a page; none if it is a comment or nothing known. Time stamps and exemplars are passed
/// over.
fn series(line: &str) -> Option<Series<'_>> {
    let mut rest = line.trim();
    let name = take_name(&mut rest, true)?;
    let mut labels = Vec::new();
    if take(&mut rest, "{").is_some() {
        while take(&mut rest, "}").is_none() {
            let label = take_name(&mut rest, false)?;
            take(&mut rest, "=")?;
            labels.push((label, take_value(&mut rest)?));
            if take(&mut rest, ",").is_none() && !rest.trim_start().starts_with('}') {
                return None;
            }
        }
    }
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Series { name, labels, value })
}

fn take<'a>(rest: &mut &'a str, token: &str) -> Option<&'a str> {
    let after = rest.trim_start().strip_prefix(token)?;
    *rest = after;
    Some(after)
}

fn take_name<'a>(rest: &mut &'a str, colons: bool) -> Option<&'a str> {
    let text = rest.trim_start();
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_' || (colons && c == ':');
    let end = text.find(|c| !part(c)).unwrap_or(text.len());
    let (name, after) = text.split_at(end);
    *rest = after;
    let begins = name.chars().next().is_some_and(|first| !first.is_ascii_digit());
    begins.then_some(name)
}

/// A text in quotes, with `\\`, `\"` and `\n` as in the format.
fn take_value(rest: &mut &str) -> Option<String> {
    let text = rest.trim_start().strip_prefix('"')?;
    let (mut value, mut escaped) = (String::new(), false);
    for (at, c) in text.char_indices() {
        match (escaped, c) {
            (true, 'n') => value.push('\n'),
            (false, '\\') => {}
            (false, '"') => {
                *rest = &text[at + 1..];
                return Some(value);
            }
            (_, c) => value.push(c),
        }
        escaped = !escaped && c == '\\';
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAGE: &str = "# HELP jobs_total Jobs\n# TYPE jobs_total counter\n\
        jobs_total{queue=\"mail\",status=\"ok\"} 5\n\
        jobs_total{queue=\"mail\", status=\"failed\",} 2 1395066363000\n\
        jobs_total{queue=\"a \\\"b\\\" } c\",status=\"failed\"} 1e1 # {trace=\"x\"} 1\n\
        jobs_total_created 7\n  spaced 3\nbroken{ 1\nnan NaN\n";

    fn sum(selector: &str) -> Option<f64> {
        selector.parse::<Selector>().unwrap().sum(PAGE, |_| true)
    }

    #[test]
    fn series_are_summed_by_name_and_labels() {
        let cases = [
            ("jobs_total", Some(17.0)),
            ("jobs_total{queue=\"mail\"}", Some(7.0)),
            ("jobs_total{status!=\"ok\"}", Some(12.0)),
            ("jobs_total{queue=\"a \\\"b\\\" } c\"}", Some(10.0)),
            ("jobs_total{none=\"\"}", Some(17.0)),
            ("jobs", None),
            ("spaced", Some(3.0)),
            ("broken", None),
            ("nan", None),
        ];
        for (selector, expected) in cases {
            assert_eq!(sum(selector), expected, "{selector}");
        }
        let selector: Selector = "jobs_total".parse().unwrap();
        assert_eq!(selector.sum(PAGE, |label| label("status") == "ok"), Some(5.0));
    }

    #[test]
    fn a_selector_is_shown_as_it_is_written() {
        let text = "jobs_total{queue=\"mail\",status!=\"ok\"}";
        assert_eq!(text.parse::<Selector>().unwrap().to_string(), text);
        for wrong in
            ["", "9", "a{", "a{b}", "a{b=c}", "a{b=\"c\"", "a{b=\"c\"}x", "a{b=~\"c\"}", "a b"]
        {
            assert_eq!(wrong.parse::<Selector>(), Err(SelectorError), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_page_and_no_selector_breaks_anything(page in "[a{}=\", \\\\\n1.]{0,60}|.{0,60}") {
            let _ = page.parse::<Selector>();
            let _ = "a".parse::<Selector>().unwrap().sum(&page, |label| label("a").is_empty());
        }
    }
}
