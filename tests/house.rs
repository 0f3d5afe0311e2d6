//! The house plan: which module may use which, the words that have no place on the ground floor,
//! and where each foreign thing lives. It is the architecture diagram, and it cannot drift.

use std::fs;
use std::path::{Path, PathBuf};

/// Each module and all that it may use besides itself. See `docs/architecture.md`.
const PLAN: &[(&str, &[&str])] = &[
    // Ground floor: pure.
    ("time", &[]),
    ("traffic", &["time"]),
    ("analysis", &["time"]),
    ("namespace", &[]),
    ("rollout", &["analysis", "namespace", "time", "traffic"]),
    // First floor: one outside thing each.
    ("alloc", &[]),
    ("clock", &["time"]),
    ("journal", &["rollout", "time", "traffic"]),
    ("machine", &[]),
    ("traces", &[]),
    ("metrics", &["analysis", "namespace", "time", "traces", "traffic"]),
    ("inherited", &["traffic"]),
    ("report", &["journal", "rollout", "time", "traffic"]),
    ("systemd", &["inherited"]),
    ("tls", &["clock", "time", "traffic"]),
    ("hooks", &["clock", "rollout", "time", "tls", "traffic"]),
    ("signals", &["analysis", "metrics", "tls", "traffic"]),
    // Data wing: moves bytes, knows weights and no phases.
    ("cache", &["clock", "inherited", "metrics", "namespace", "tls", "traffic"]),
    (
        "proxy",
        &[
            "alloc",
            "cache",
            "clock",
            "inherited",
            "machine",
            "metrics",
            "namespace",
            "time",
            "tls",
            "traces",
            "traffic",
        ],
    ),
    // Control wing: moves weights.
    (
        "control",
        &["analysis", "clock", "hooks", "journal", "metrics", "rollout", "time", "tls", "traffic"],
    ),
    (
        "notify",
        &["clock", "control", "journal", "metrics", "rollout", "time", "tls", "traces", "traffic"],
    ),
    // Roof.
    (
        "admin",
        &[
            "analysis",
            "clock",
            "control",
            "hooks",
            "journal",
            "metrics",
            "namespace",
            "report",
            "rollout",
            "time",
            "tls",
            "traffic",
        ],
    ),
    (
        "config",
        &[
            "admin",
            "analysis",
            "cache",
            "clock",
            "control",
            "hooks",
            "namespace",
            "notify",
            "proxy",
            "rollout",
            "signals",
            "time",
            "tls",
            "traffic",
        ],
    ),
    (
        "cli",
        &[
            "admin", "analysis", "clock", "config", "control", "hooks", "journal", "machine",
            "report", "rollout", "time", "tls", "traffic",
        ],
    ),
    ("handover", &["control", "inherited", "rollout", "traffic"]),
    (
        "assembly",
        &[
            "admin",
            "cache",
            "clock",
            "config",
            "control",
            "handover",
            "hooks",
            "inherited",
            "journal",
            "machine",
            "metrics",
            "proxy",
            "rollout",
            "signals",
            "time",
            "tls",
            "traffic",
        ],
    ),
    ("demo", &["assembly", "config", "control", "proxy", "rollout", "time", "traffic"]),
    (
        "app",
        &[
            "admin",
            "assembly",
            "cache",
            "cli",
            "clock",
            "config",
            "control",
            "demo",
            "handover",
            "hooks",
            "inherited",
            "journal",
            "machine",
            "metrics",
            "notify",
            "proxy",
            "rollout",
            "signals",
            "systemd",
            "time",
            "traffic",
        ],
    ),
    ("main", &["alloc", "app", "cli"]),
];

/// The pure modules.
const GROUND: &[&str] = &["time", "traffic", "analysis", "namespace", "rollout"];

/// What the ground floor never says: it touches no clock, network, disk or chance, and its order
/// is the same in every run.
const NOT_ON_THE_GROUND: &[&str] = &[
    "tokio",
    "hyper",
    "tower",
    "axum",
    "rusqlite",
    "tracing",
    "rand",
    "std::fs",
    "std::thread",
    "std::process",
    "std::net::Tcp",
    "std::net::Udp",
    "Instant::now",
    "SystemTime",
    "HashMap",
    "HashSet",
    "println!",
    "eprintln!",
];

/// Foreign things, and the one file that says their names.
const ONE_FILE_EACH: &[(&str, &str)] = &[
    ("SystemTime::now", "src/clock.rs"),
    ("UNIX_EPOCH", "src/clock.rs"),
    ("rusqlite", "src/journal/sqlite.rs"),
    ("println!", "src/cli/print.rs"),
    ("print!", "src/cli/print.rs"),
    ("ExitCode", "src/main.rs"),
    ("process::exit", "src/main.rs"),
];

/// Names that say nothing.
const EMPTY_NAMES: &[&str] = &["util", "utils", "common", "helpers", "misc", "types", "manager"];

/// Lines of one file without its tests; a longer one hides what it is about.
const FILE_LINES_MAX: usize = 650;

/// A list is as long as what it lists.
const LISTS: &[&str] = &["src/config/keys/list.rs"];

/// Columns of a line, text in quotes not counted: that cannot always be broken.
const COLUMNS_MAX: usize = 100;

/// A file as the rules see it.
struct Source<'a> {
    /// From the top of the repository.
    path: &'a str,
    /// What is written.
    raw: &'a str,
    /// The same lines without comments, texts and tests.
    code: String,
}

impl<'a> Source<'a> {
    fn new(path: &'a str, text: &'a str) -> Self {
        let raw = without_tests(text);
        Self { path, raw, code: bare(raw) }
    }

    /// `rollout` for `src/rollout/step.rs`, `time` for `src/time.rs`.
    fn module(&self) -> &str {
        let inside = self.path.trim_start_matches("src/");
        inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs")
    }

    /// How many `super::` lead from here to the root of the crate.
    fn depth(&self) -> usize {
        let inside = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        inside.trim_end_matches("/mod").split('/').count()
    }

    fn broken(&self, line: usize, rule: &str) -> String {
        format!("{}:{line}: {rule}", self.path)
    }
}

/// A file up to the module of its tests, which comes last.
fn without_tests(text: &str) -> &str {
    text.find("#[cfg(test)]\nmod ").map_or(text, |tests| &text[..tests])
}

/// Code without comments and without what stands in quotes; every line keeps its number.
fn bare(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skipped = skipped(rest);
        if skipped == 0 {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            out.extend(rest[..skipped].chars().filter(|c| *c == '\n'));
            rest = &rest[skipped..];
        }
    }
    out
}

/// How many bytes a comment, a text or a character takes that begins here.
fn skipped(text: &str) -> usize {
    let to = |end: &str, from: usize| text[from..].find(end).map_or(text.len(), |at| from + at);
    if text.starts_with("//") {
        return to("\n", 2);
    }
    if text.starts_with("/*") {
        return (to("*/", 2) + 2).min(text.len());
    }
    if let Some(raw) = text.strip_prefix("r") {
        let hashes = raw.chars().take_while(|c| *c == '#').count();
        if raw[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            return (to(&end, hashes + 2) + end.len()).min(text.len());
        }
    }
    if text.starts_with('"') {
        let mut escaped = false;
        let end = text.char_indices().skip(1).find(|(_, c)| {
            let ends = *c == '"' && !escaped;
            escaped = *c == '\\' && !escaped;
            ends
        });
        return end.map_or(text.len(), |(at, _)| at + 1);
    }
    // A character, not a lifetime.
    let mut chars = text.chars();
    match (chars.next(), chars.next(), chars.next(), chars.next()) {
        (Some('\''), Some('\\'), Some(_), _) => (to("'", 3) + 1).min(text.len()),
        (Some('\''), Some(c), Some('\''), _) => 2 + c.len_utf8(),
        _ => 0,
    }
}

/// Whether `line` says `word`, and not as a part of a longer one.
fn says(line: &str, word: &str) -> bool {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let (first, last) = (word.chars().next(), word.chars().next_back());
    line.match_indices(word).any(|(at, _)| {
        let (before, after) =
            (line[..at].chars().next_back(), line[at + word.len()..].chars().next());
        // `std::net::Tcp` stands for all names that begin like that.
        let ends = last.is_some_and(char::is_uppercase) || !part(last) || word.ends_with("Tcp");
        !(part(first) && part(before)) && (ends || word.ends_with("Udp") || !part(after))
    })
}

/// The modules of the crate that a line names.
fn modules_named(code: &str, root: &str) -> Vec<(usize, String)> {
    let mut named = Vec::new();
    for (at, _) in code.match_indices(root) {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let line = code[..at].lines().count().max(1);
        let rest = &code[at + root.len()..];
        match rest.strip_prefix('{') {
            None => named.push((line, first_name(rest))),
            Some(group) => {
                named.extend(members(group).iter().map(|name| (line, first_name(name))));
            }
        }
    }
    named.retain(|(_, name)| !name.is_empty());
    named
}

fn first_name(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect()
}

/// What stands between the commas of a group, without the groups inside.
fn members(group: &str) -> Vec<String> {
    let (mut depth, mut members) = (0, vec![String::new()]);
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => members.push(String::new()),
            c if depth == 0 => members.iter_mut().last().unwrap().push(c),
            _ => {}
        }
    }
    members
}

/// Every rule that `text` breaks as the file `path`.
fn broken(path: &str, text: &str) -> Vec<String> {
    let source = Source::new(path, text);
    let mut broken = Vec::new();
    broken.extend(arrows(&source));
    broken.extend(words(&source));
    broken.extend(form(&source));
    broken
}

/// Who may use whom.
fn arrows(source: &Source) -> Vec<String> {
    let module = source.module();
    if module == "lib" {
        return vec![];
    }
    let Some((_, allowed)) = PLAN.iter().find(|(name, _)| *name == module) else {
        let rule = format!("`{module}` has no place in the plan; give it one in tests/house.rs");
        return vec![source.broken(1, &rule)];
    };
    let mut named = modules_named(&source.code, "crate::");
    if module == "main" {
        named.extend(modules_named(&source.code, "weir::"));
    }
    let mut wrong = Vec::new();
    for (line, other) in named {
        let is_module = PLAN.iter().any(|(name, _)| *name == other);
        if is_module && other != module && !allowed.contains(&other.as_str()) {
            let rule = format!("`{module}` may use {}, not `{other}`", allowed.join(", "));
            wrong.push(source.broken(line, &rule));
        }
    }
    let escape = "super::".repeat(source.depth());
    for (number, line) in source.code.lines().enumerate() {
        if says(line, &escape) {
            let rule = "say `crate::`, so that the arrow can be seen";
            wrong.push(source.broken(number + 1, rule));
        }
    }
    wrong
}

/// Words in the wrong place.
fn words(source: &Source) -> Vec<String> {
    let mut wrong = Vec::new();
    let ground = GROUND.contains(&source.module());
    for (number, line) in source.code.lines().enumerate() {
        for word in NOT_ON_THE_GROUND {
            if ground && says(line, word) {
                let rule = format!("the ground floor never says `{word}`");
                wrong.push(source.broken(number + 1, &rule));
            }
        }
        for (word, home) in ONE_FILE_EACH {
            if source.path != *home && says(line, word) {
                let rule = format!("only {home} says `{word}`");
                wrong.push(source.broken(number + 1, &rule));
            }
        }
        // Unindented: what stands in a `thread_local!` belongs to its thread.
        let declared = line.trim_start_matches("pub ");
        if declared.starts_with("static ") && source.path != "src/main.rs" {
            wrong.push(source.broken(number + 1, "no global variable of our own"));
        }
    }
    wrong
}

/// Names, lengths, and what must be explained.
fn form(source: &Source) -> Vec<String> {
    let mut wrong = Vec::new();
    let stem = source.path.rsplit('/').next().unwrap_or_default().trim_end_matches(".rs");
    let folder = source.path.rsplit('/').nth(1).unwrap_or_default();
    if EMPTY_NAMES.contains(&stem) || EMPTY_NAMES.contains(&folder) {
        wrong.push(source.broken(1, "the name says nothing; what is in it?"));
    }
    if !source.raw.starts_with("//! ") {
        wrong.push(source.broken(1, "begin with one line that says what is in it: `//! ...`"));
    }
    let lines = source.raw.lines().count();
    if lines > FILE_LINES_MAX && !LISTS.contains(&source.path) {
        let rule = format!("{lines} lines without the tests; split it, at most {FILE_LINES_MAX}");
        wrong.push(source.broken(lines, &rule));
    }
    for (number, line) in source.code.lines().enumerate() {
        if line.chars().count() > COLUMNS_MAX {
            let rule = format!("more than {COLUMNS_MAX} columns");
            wrong.push(source.broken(number + 1, &rule));
        }
    }
    wrong.extend(limits(source));
    wrong
}

/// Everything has a limit, and the limit has a name and a reason.
fn limits(source: &Source) -> Vec<String> {
    let (mut wrong, mut explained) = (Vec::new(), false);
    for (number, line) in source.raw.lines().map(str::trim_start).enumerate() {
        let constant = ["const ", "pub const ", "pub(super) const ", "pub(crate) const "]
            .iter()
            .find_map(|begin| line.strip_prefix(begin));
        let name = constant.and_then(|rest| rest.split(':').next()).unwrap_or_default();
        if name.ends_with("_MAX") && !explained {
            let rule = format!("the limit {name} needs its reason: `/// ...`");
            wrong.push(source.broken(number + 1, &rule));
        }
        explained = line.starts_with("///") || (explained && line.starts_with("#["));
    }
    wrong
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "tests" {
                sources(&path, found);
            }
        } else if path.extension().is_some_and(|ending| ending == "rs") && name != "tests.rs" {
            found.push(path);
        }
    }
}

#[test]
fn every_file_stands_where_the_plan_has_it() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    sources(&top.join("src"), &mut found);
    found.sort();
    assert!(found.len() > 20, "only {} files under src", found.len());
    let wrong: Vec<String> = found
        .iter()
        .flat_map(|path| {
            let inside = path.strip_prefix(top).unwrap().to_string_lossy().into_owned();
            broken(&inside, &fs::read_to_string(path).unwrap())
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_plan_has_no_circle() {
    for (place, (module, allowed)) in PLAN.iter().enumerate() {
        for other in *allowed {
            let there = PLAN.iter().position(|(name, _)| name == other);
            let below = there.is_some_and(|there| there < place);
            assert!(below, "{module} may use {other}, which is not below it");
        }
    }
}

#[test]
fn the_two_wings_never_meet() {
    let allowed = |module: &str| PLAN.iter().find(|(name, _)| *name == module).unwrap().1;
    for data in ["cache", "proxy"] {
        for control in ["analysis", "control", "journal", "rollout"] {
            assert!(!allowed(data).contains(&control), "{data} may not use {control}");
        }
        assert!(!allowed("control").contains(&data), "control may not use {data}");
    }
}

#[test]
fn each_rule_can_be_broken() {
    let cases = [
        ("src/proxy/forward.rs", "use crate::rollout::State;", "not `rollout`"),
        (
            "src/proxy/forward.rs",
            "use crate::{\n    traffic::Table,\n    control::{self},\n};",
            "not `control`",
        ),
        ("src/control/mod.rs", "fn f() { crate::proxy::go() }", "not `proxy`"),
        ("src/control/mod.rs", "use super::proxy::Go;", "say `crate::`"),
        ("src/control/hooks.rs", "use super::super::proxy::Go;", "say `crate::`"),
        ("src/attic/mod.rs", "", "no place in the plan"),
        ("src/rollout/step.rs", "let now = Instant::now();", "never says `Instant::now`"),
        ("src/traffic/board.rs", "use std::net::TcpStream;", "never says `std::net::Tcp`"),
        ("src/analysis/judge.rs", "use std::collections::HashMap;", "never says `HashMap`"),
        ("src/admin/views.rs", "let now = SystemTime::now();", "only src/clock.rs"),
        ("src/journal/mod.rs", "use rusqlite::Connection;", "only src/journal/sqlite.rs"),
        ("src/cli/verbs.rs", "println!(\"done\");", "only src/cli/print.rs"),
        ("src/app.rs", "std::process::exit(1);", "only src/main.rs"),
        ("src/control/util.rs", "", "says nothing"),
        ("src/proxy/pool.rs", "static POOL: Mutex<()> = Mutex::new(());", "global variable"),
        ("src/proxy/pool.rs", "const WAIT_MAX: usize = 3;", "needs its reason"),
    ];
    for (path, code, rule) in cases {
        let text = format!("//! What is in it.\n{code}\n");
        let wrong = broken(path, &text);
        assert!(wrong.iter().any(|line| line.contains(rule)), "{path}: {code}: {wrong:?}");
        assert!(wrong[0].starts_with(path), "{wrong:?}");
    }
    let long = format!("//! What is in it.\n{}", "\n".repeat(FILE_LINES_MAX));
    assert!(broken("src/time.rs", &long)[0].contains("split it"));
    let wide = format!("//! What is in it.\nlet {} = 1;", "x".repeat(COLUMNS_MAX));
    assert!(broken("src/time.rs", &wide)[0].contains("src/time.rs:2: more than"));
    assert!(broken("src/time.rs", "use std::fmt;")[0].contains("begin with one line"));
}

#[test]
fn what_is_said_in_comments_texts_and_tests_breaks_nothing() {
    let text = r##"//! What is in it.
// use crate::control;
const A: &str = "SystemTime::now \" println!";
const B: &str = r#"crate::control "rusqlite"#;
const C: char = '"';
fn f<'a>(_: &'a str) {} /* tokio */

#[cfg(test)]
mod tests {
    use crate::control::Control;
}
"##;
    assert_eq!(broken("src/traffic/table.rs", text), Vec::<String>::new());
    let brand = "//! What is in it.\nlet brand = strand::rand_like();\n";
    assert_eq!(broken("src/traffic/table.rs", brand), Vec::<String>::new());
}
