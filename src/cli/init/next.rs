//! What to do once the file is written.

use std::path::Path;

use super::interview::{Answers, TierAnswers};
use super::nginx::Pass;
use crate::cli::print;
use crate::traffic::Listen;

/// What nginx has to tell of a client.
const HEADERS: &str = "        proxy_set_header Host $host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;";

/// Prints it.
pub(super) fn print(file: &Path, answers: &Answers, passes: &[Pass]) -> anyhow::Result<()> {
    let file = file.display();
    print::line("\nnext:")?;
    step(&format!("weir check {file}"), "every mistake at once")?;
    step(&format!("weir doctor --config {file}"), "is the machine ready?")?;
    step(&format!("weir run --config {file}"), "serves; nobody is on a canary yet")?;
    for tier in &answers.tiers {
        of_tier(tier, passes)?;
    }
    for cache in &answers.caches {
        for (version, port) in &cache.ports {
            print::line(&format!(
                "  point {version} at {}://{port} for {}",
                cache.kind, cache.name
            ))?;
        }
    }
    let mut canaries = answers.tiers.iter().filter_map(|tier| tier.canary.as_ref());
    match canaries.next() {
        Some(canary) => step(
            &format!("weir start {} --config {file}", canary.version),
            "opens the rollout, once the new version runs",
        )?,
        None => print::line("  add the new version to `releases`, `weir reload`, `weir start`")?,
    }
    step(&format!("weir rollback --config {file}"), "everybody back, at any time")
}

fn step(command: &str, what: &str) -> anyhow::Result<()> {
    print::line(&format!("  {command:<40}  # {what}"))
}

fn of_tier(tier: &TierAnswers, passes: &[Pass]) -> anyhow::Result<()> {
    let TierAnswers { name, listen, stable, canary, .. } = tier;
    let to = match listen {
        Listen::Socket(socket) if socket.ip().is_unspecified() => {
            format!("http://127.0.0.1:{}", socket.port())
        }
        Listen::Socket(socket) => format!("http://{socket}"),
        Listen::Unix(path) => format!("http://unix:{}", path.display()),
    };
    if let Some(canary) = canary {
        let where_to: Vec<String> = canary.upstreams.iter().map(ToString::to_string).collect();
        print::line(&format!("  start {} of {name} at {}", canary.version, where_to.join(", ")))?;
    }
    let leads_there = |pass: &&Pass| pass.upstreams.iter().any(|at| stable.upstreams.contains(at));
    let found: Vec<&Pass> = passes.iter().filter(leads_there).collect();
    for pass in &found {
        let (path, line) = &pass.place;
        print::line(&format!("  {}:{line}, then nginx -t && nginx -s reload:", path.display()))?;
        print::line(&format!("        # {};   # straight to {}", pass.directive, stable.version))?;
        print::line(&format!("        proxy_pass {to};"))?;
        if !pass.forwards {
            print::line(HEADERS)?;
        }
    }
    if found.is_empty() {
        print::line(&format!("  in the location of your nginx that leads to {name}:"))?;
        print::line(&format!("        proxy_pass {to};\n{HEADERS}"))?;
    }
    Ok(())
}
