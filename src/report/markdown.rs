//! The report for wikis and editors.

use std::fmt::Write as _;

use super::{Entry, Part, Report, milliseconds, percent};
use crate::time::in_words;

pub(super) fn write(report: &Report) -> String {
    let mut text = format!("# {}\n\n", escape(&report.title()));
    let (from, until) = (report.moment(report.from), report.moment(report.until));
    let span = in_words(report.until.since(report.from));
    let _ = writeln!(text, "{from} to {until}, {span}.\n");
    for outcome in report.outcomes() {
        let _ = writeln!(text, "- {}", escape(&outcome));
    }
    text.push_str("\n## Planned\n\n");
    for plan in &report.planned {
        let _ = writeln!(text, "- {}", escape(&plan.to_string()));
    }
    for rule in &report.agreed {
        let _ = writeln!(text, "- {}", escape(rule));
    }
    for (index, item) in report.items.iter().enumerate() {
        let before = if index == 0 { "\n" } else { "" };
        let _ = writeln!(text, "{before}{}. {}", index + 1, escape(item));
    }
    for part in &report.parts {
        self::part(&mut text, part, report);
    }
    if !report.refused.is_empty() {
        text.push_str("\n## Refused\n\n");
        entries(&mut text, &report.refused, report);
    }
    let _ = writeln!(
        text,
        "\nWritten by Weir {} from its journal on {}.",
        report.weir,
        report.moment(report.made)
    );
    text
}

fn part(text: &mut String, part: &Part, report: &Report) {
    let _ = writeln!(text, "\n## {}\n", escape(part.name()));
    if !part.totals.is_empty() {
        text.push_str(
            "| version | | requests | errors | worst p95 of a minute |\n|---|---|---|---|---|\n",
        );
        for total in &part.totals {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} ({}) | {} |",
                escape(&total.version),
                if total.canary { "canary" } else { "stable" },
                total.requests,
                total.errors,
                percent(total.errors, total.requests),
                milliseconds(total.worst_p95)
            );
        }
        text.push('\n');
    }
    entries(text, &part.entries, report);
}

fn entries(text: &mut String, entries: &[Entry], report: &Report) {
    for entry in entries {
        let (at, by) = (report.moment(entry.at), escape(&entry.by));
        let _ = writeln!(text, "- {at}, {by}: {}", escape(&entry.sentence));
        if let Some(output) = &entry.output {
            text.push('\n');
            for line in output.lines() {
                let _ = writeln!(text, "      {line}");
            }
            text.push('\n');
        }
    }
}

/// Text as text, not as markup.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' => out.push(' '),
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}
