//! The report as one page without anything from elsewhere: for a browser, a phone, a printer.

use std::fmt::Write as _;

use super::{Entry, Part, Report, chart, milliseconds, percent};
use crate::time::in_words;

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #59636e; --page: #fff; --line: #d1d9e0;
  --stable: #0969da; --canary: #bc4c00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9198a1; --page: #0d1117;
  --line: #3d444d; --stable: #4493f8; --canary: #f0883e; } }
body { margin: 0 auto; max-width: 60rem; padding: 1rem; background: var(--page); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; border-bottom: 1px solid var(--line); }
.soft, time { color: var(--soft); font-size: .9rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; }
th, td { padding: .2rem .8rem .2rem 0; text-align: left; white-space: nowrap; }
ol { list-style: none; padding: 0; } li { margin: .4rem 0; }
pre { background: color-mix(in srgb, var(--ink) 7%, transparent); padding: .6rem; overflow-x: auto;
  white-space: pre-wrap; font-size: .85rem; }
svg { width: 100%; height: auto; font: 11px system-ui, sans-serif; }
svg text { fill: var(--soft); } .axis { stroke: var(--line); fill: none; }
.stable { stroke: var(--stable); } .canary { stroke: var(--canary); }
.weight { stroke: var(--ink); } path { fill: none; stroke-width: 1.6; }
.dot { stroke: none; } .dot.stable { fill: var(--stable); } .dot.canary { fill: var(--canary); }
b.stable { color: var(--stable); } b.canary { color: var(--canary); }
@media print { body { max-width: none; padding: 0; font-size: 10pt; } section, li { break-inside: avoid; } }
";

pub(super) fn write(report: &Report) -> String {
    let title = escape(&report.title());
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
         </head>\n<body>\n<h1>{title}</h1>\n"
    );
    let (from, until) = (report.moment(report.from), report.moment(report.until));
    let span = in_words(report.until.since(report.from));
    let _ = writeln!(page, "<p class=\"soft\">{from} to {until}, {span}</p>\n<ul>");
    for outcome in report.outcomes() {
        let _ = writeln!(page, "<li>{}</li>", escape(&outcome));
    }
    page.push_str("</ul>\n<section><h2>Planned</h2>\n<ul>\n");
    for plan in &report.planned {
        let _ = writeln!(page, "<li>{}</li>", escape(&plan.to_string()));
    }
    for rule in &report.agreed {
        let _ = writeln!(page, "<li>{}</li>", escape(rule));
    }
    page.push_str("</ul>\n");
    if !report.items.is_empty() {
        page.push_str("<ol>\n");
        for item in &report.items {
            let _ = writeln!(page, "<li>{}</li>", escape(item));
        }
        page.push_str("</ol>\n");
    }
    page.push_str("</section>\n");
    for part in &report.parts {
        self::part(&mut page, part, report);
    }
    if !report.refused.is_empty() {
        page.push_str("<section><h2>Refused</h2>\n");
        entries(&mut page, &report.refused, report);
        page.push_str("</section>\n");
    }
    let (weir, made) = (escape(&report.weir), report.moment(report.made));
    let _ = writeln!(
        page,
        "<p class=\"soft\">Written by Weir {weir} from its journal on {made}.</p>\n</body>\n</html>"
    );
    page
}

fn part(page: &mut String, part: &Part, report: &Report) {
    let _ = writeln!(page, "<section><h2>{}</h2>", escape(part.name()));
    if part.tier.is_some() {
        page.push_str(&chart::draw(part, report));
    }
    if !part.totals.is_empty() {
        page.push_str(
            "<div class=\"wide\"><table><tr><th>version</th><th></th><th>requests</th><th>errors</th>\
             <th>worst p95 of a minute</th></tr>\n",
        );
        for total in &part.totals {
            let role = if total.canary { "canary" } else { "stable" };
            let _ = writeln!(
                page,
                "<tr><td>{}</td><td><b class=\"{role}\">{role}</b></td><td>{}</td><td>{} ({})</td><td>{}</td></tr>",
                escape(&total.version),
                total.requests,
                total.errors,
                percent(total.errors, total.requests),
                milliseconds(total.worst_p95)
            );
        }
        page.push_str("</table></div>\n");
    }
    entries(page, &part.entries, report);
    page.push_str("</section>\n");
}

fn entries(page: &mut String, entries: &[Entry], report: &Report) {
    page.push_str("<ol>\n");
    for entry in entries {
        let (full, at) = (report.moment(entry.at), report.hour(entry.at));
        let (by, sentence) = (escape(&entry.by), escape(&entry.sentence));
        let _ = write!(page, "<li><time title=\"{full}\">{at} {by}</time><br>{sentence}");
        if let Some(output) = &entry.output {
            let _ = write!(page, "<pre>{}</pre>", escape(output));
        }
        page.push_str("</li>\n");
    }
    page.push_str("</ol>\n");
}

/// Text as text, in elements and attributes alike. Characters that no page may hold are left out.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}
