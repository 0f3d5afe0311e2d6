//! The references of the command line and of the API are those of the code. `WEIR_RENEW=1` writes
//! them anew.

use std::fmt::Write as _;
use std::fs;

use clap::{Arg, ArgAction, Command, CommandFactory as _};
use serde_json::Value;
use weir::cli::Line;

use super::top;

#[test]
fn the_reference_of_the_command_line_is_that_of_the_code() {
    let mut text = String::from(
        "# The command line\n\nEvery verb with all that it takes, as `weir VERB --help` tells it. This page is written from \
         the code.\nWhich of them the night needs: [night.md](night.md). What orders mean: \
         [rollout.md](rollout.md#what-happens-when).\n",
    );
    let mut line = Line::command();
    line.build();
    for verb in line.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        command(&mut text, verb, "weir", 2);
    }
    is_written("docs/cli.md", &text);
}

#[test]
fn the_reference_of_the_api_is_that_of_the_code() {
    let described = serde_json::to_value(weir::admin::openapi()).expect("JSON");
    let mut text = String::from(
        "# The API\n\nOf the admin listener (`[admin] listen`, 127.0.0.1:7700). Who may ask what, tokens and trouble: \
         [operations.md](operations.md#the-api).\nThis page is written from the code; `GET /api/v1/openapi.json` is the same \
         for programs.\n\n## Routes\n\n",
    );
    let paths = described["paths"].as_object().expect("paths");
    for (path, methods) in paths {
        for (method, route) in methods.as_object().expect("methods") {
            self::route(&mut text, method, path, route);
        }
    }
    text.push_str("## Shapes\n\nTimes are milliseconds since 1970, weights hundredths of a percent. A `?` stands behind what may be left out or null.\n");
    for (name, shape) in described["components"]["schemas"].as_object().expect("shapes") {
        self::shape(&mut text, name, shape);
    }
    is_written("docs/api.md", &text);
}

/// Compares a page with what it should be, or writes it.
fn is_written(path: &str, text: &str) {
    let text = format!("{}\n", text.trim_end());
    let file = top().join(path);
    if std::env::var_os("WEIR_RENEW").is_some() {
        fs::write(file, text).expect("to write");
        return;
    }
    let kept = fs::read_to_string(file).unwrap_or_default();
    assert!(
        kept == text,
        "{path} is old; WEIR_RENEW=1 cargo test --test main -- docs::reference writes it anew"
    );
}

fn command(text: &mut String, verb: &Command, before: &str, depth: usize) {
    let name = format!("{before} {}", verb.get_name());
    let about = verb.get_long_about().or_else(|| verb.get_about());
    let about = about.map(ToString::to_string).unwrap_or_default();
    let _ = writeln!(text, "\n{} {name}\n\n{}\n", "#".repeat(depth), one_line(&about));
    let mut rows = String::new();
    for argument in verb.get_arguments().filter(|one| !one.is_hide_set() && one.get_id() != "help")
    {
        let _ = writeln!(rows, "| `{}` | {} |", said(argument), told(argument));
    }
    if !rows.is_empty() {
        let _ = write!(text, "| argument | meaning |\n|---|---|\n{rows}");
    }
    for below in verb.get_subcommands().filter(|one| !one.is_hide_set() && one.get_name() != "help")
    {
        command(text, below, &name, depth + 1);
    }
}

/// An argument as it is typed.
fn said(argument: &Arg) -> String {
    let value = || {
        let names = argument.get_value_names().unwrap_or_default();
        let names: Vec<&str> = names.iter().map(clap::builder::Str::as_str).collect();
        names.join(" ")
    };
    let takes = matches!(argument.get_action(), ArgAction::Set | ArgAction::Append);
    let short = argument.get_short().map_or(String::new(), |short| format!("-{short}, "));
    let many = if matches!(argument.get_action(), ArgAction::Append) { "..." } else { "" };
    match argument.get_long() {
        Some(long) if takes => format!("{short}--{long} {}{many}", value()),
        Some(long) => format!("{short}--{long}"),
        None if !short.is_empty() => {
            format!("-{} {}", argument.get_short().unwrap_or(' '), value())
        }
        None if argument.is_required_set() => format!("{}{many}", value()),
        None => format!("[{}{many}]", value()),
    }
}

fn told(argument: &Arg) -> String {
    let help = argument.get_long_help().or_else(|| argument.get_help());
    let mut told = one_line(&help.map(ToString::to_string).unwrap_or_default()).replace('|', "\\|");
    let is_set = matches!(argument.get_action(), ArgAction::Set | ArgAction::Append);
    let values = if is_set { argument.get_possible_values() } else { vec![] };
    let values: Vec<String> = values
        .iter()
        .filter(|one| !one.is_hide_set())
        .map(|one| format!("`{}`", one.get_name()))
        .collect();
    if !values.is_empty() {
        let _ = write!(told, ": {}", values.join(", "));
    }
    let defaults: Vec<String> = argument
        .get_default_values()
        .iter()
        .map(|one| one.to_string_lossy().into_owned())
        .collect();
    if is_set && !defaults.is_empty() {
        let _ = write!(told, " (`{}` if left out)", defaults.join(" "));
    }
    if let Some(variable) = argument.get_env() {
        let _ = write!(told, "; or `{}` in the environment", variable.to_string_lossy());
    }
    told
}

/// Paragraphs as sentences of one line.
fn one_line(text: &str) -> String {
    let parts = text.split("\n\n").map(|part| part.replace('\n', " "));
    let mut line = String::new();
    for part in parts.filter(|part| !part.is_empty()) {
        if !line.is_empty() {
            line.push_str(if line.ends_with(['.', ':', ';']) { " " } else { ". " });
        }
        line.push_str(&part);
    }
    line
}

fn route(text: &mut String, method: &str, path: &str, route: &Value) {
    let method = method.to_uppercase();
    let said = |field: &str| route[field].as_str().unwrap_or_default();
    let _ = writeln!(
        text,
        "### {method} {path}\n\n{}\n",
        one_line(&format!("{} {}", said("summary"), said("description"))).trim()
    );
    for parameter in route["parameters"].as_array().into_iter().flatten() {
        let told = parameter["description"].as_str().unwrap_or_default();
        let place = parameter["in"].as_str().unwrap_or_default();
        let name = parameter["name"].as_str().unwrap_or_default();
        let _ = writeln!(text, "- `{name}` ({place}): {}", one_line(told));
    }
    if let Some(body) = content(&route["requestBody"]) {
        let _ = writeln!(text, "- body: {body}");
    }
    let mut rows = String::new();
    for (status, answer) in route["responses"].as_object().into_iter().flatten() {
        let told = answer["description"].as_str().unwrap_or_default();
        let body = content(answer).map_or(String::new(), |body| format!(": {body}"));
        let _ = writeln!(rows, "- {status}: {}{body}", one_line(told));
    }
    let _ = writeln!(text, "{rows}");
}

/// What is in a body: its kind and shape.
fn content(of: &Value) -> Option<String> {
    let content = of["content"].as_object()?;
    let kinds = content.iter().map(|(kind, body)| match kind.as_str() {
        "application/json" => kind_of(&body["schema"]),
        other => other.to_owned(),
    });
    Some(kinds.collect::<Vec<_>>().join(" or "))
}

fn shape(text: &mut String, name: &str, shape: &Value) {
    let told = shape["description"].as_str().unwrap_or_default();
    let _ = writeln!(text, "\n### {name}\n\n{}", one_line(told));
    if let Some(values) = shape["enum"].as_array() {
        let values: Vec<String> =
            values.iter().filter_map(|one| Some(format!("`{}`", one.as_str()?))).collect();
        let _ = writeln!(text, "\nOne of {}.", values.join(", "));
    }
    let Some(fields) = shape["properties"].as_object() else { return };
    let needed: Vec<&str> =
        shape["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    text.push_str("\n| field | kind | meaning |\n|---|---|---|\n");
    for (field, of) in fields {
        let kind = kind_of(of);
        let optional = if needed.contains(&&**field) || kind.ends_with('?') { "" } else { "?" };
        let told = of["description"].as_str().unwrap_or_default();
        let _ = writeln!(
            text,
            "| `{field}` | {kind}{optional} | {} |",
            one_line(told).replace('|', "\\|")
        );
    }
}

/// What kind of value a schema is: a link to its shape, or a word.
fn kind_of(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.rsplit('/').next().unwrap_or_default();
        return format!("[{name}](#{})", name.to_lowercase());
    }
    for several in ["oneOf", "anyOf", "allOf"] {
        if let Some(kinds) = schema[several].as_array() {
            let named: Vec<String> =
                kinds.iter().filter(|one| one["type"] != "null").map(kind_of).collect();
            let null = if kinds.len() > named.len() { "?" } else { "" };
            return format!("{}{null}", named.join(" or "));
        }
    }
    let kind = |name: &str| match name {
        "array" => format!("list of {}", kind_of(&schema["items"])),
        "string" => "text".to_owned(),
        other => other.to_owned(),
    };
    match &schema["type"] {
        Value::String(name) => kind(name),
        Value::Array(names) => {
            let words = names.iter().filter_map(Value::as_str);
            let kinds: Vec<String> = words.filter(|name| *name != "null").map(kind).collect();
            let null = if names.len() > kinds.len() { "?" } else { "" };
            format!("{}{null}", kinds.join(" or "))
        }
        Value::Bool(_) | Value::Null | Value::Number(_) | Value::Object(_) => "any".to_owned(),
    }
}
