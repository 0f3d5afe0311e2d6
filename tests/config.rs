//! The configuration file: what works, what is refused and in which words.
#![allow(
    clippy::format_collect,
    clippy::too_many_lines,
    reason = "tables of cases are long, and texts of files are put together"
)]

mod caches;
mod conflicts;
mod example;
mod mutations;
mod pictures;
mod reload;
mod runbook;
mod signals;
mod stages;
mod tls;

use std::path::Path;

use weir::config::{Config, Diagnostic, Report, parse};

/// The file of the first page, as it stands there.
pub const FIRST_PAGE: &str = r#"
[admin]
listen = "127.0.0.1:7700"              # API, /metrics, later the dashboard

[state]
path = "weir.db"                       # the journal

[[tier]]
name     = "web"
listen   = "127.0.0.1:8080"
stable   = "1.0.0"                     # while the journal is new
releases = [
  { version = "1.0.0", upstreams = ["127.0.0.1:9101"] },
  { version = "1.1.0", upstreams = ["127.0.0.1:9102"] },
]
sticky   = { cookie = "uid" }          # also { header = "authorization" }, "address", "cookie" (Weir's own, the default), "none"
health   = { path = "/health", interval = "2s" }

[rollout]
stages = [                             # or "auto", the default
  { weight = "1%",  bake = "60s" },
  { weight = "5%",  bake = "60s" },
  { weight = "25%", bake = "60s" },
  { weight = "50%", bake = "60s" },
]                                      # after the last stage everybody has it

[analysis]                             # the defaults of the judge's document; for all tiers or for one
false_rollback = "1%"
margin = "0.5pp"                       # pp for differences, % for shares; the error says so
grace = "60s"
when_unproven = "hold"                 # or "advance", after give_up
give_up = "30m"
"#;

/// The smallest file.
pub const SMALLEST: &str = r#"
[[tier]]
name = "web"
listen = "127.0.0.1:8080"
stable = "1.0.0"
releases = [
  { version = "1.0.0", upstreams = ["127.0.0.1:9101"] },
  { version = "1.1.0", upstreams = ["127.0.0.1:9102"] },
]
"#;

fn read(text: &str) -> Result<Config, Report> {
    parse("weir.toml", text, Path::new("/etc/weir"))
}

fn good(text: &str) -> Config {
    read(text).unwrap_or_else(|report| panic!("{report}\n\n{text}"))
}

/// Each mistake as `line: message; help`.
fn mistakes(text: &str) -> Vec<String> {
    let report = read(text).expect_err(text);
    report.diagnostics().iter().map(line).collect()
}

fn line(one: &Diagnostic) -> String {
    format!("{}: {}; {}", one.line().unwrap_or(0), one.message(), one.help())
}

/// The smallest file with a line exchanged.
fn with(old: &str, new: &str) -> String {
    assert!(SMALLEST.contains(old), "{old}");
    SMALLEST.replacen(old, new, 1)
}

/// The smallest file with more of its tier.
fn and(more: &str) -> String {
    format!("{SMALLEST}{more}\n")
}
