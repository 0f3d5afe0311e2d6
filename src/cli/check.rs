//! `weir check`: everything that is wrong with a file, at once.

use std::path::Path;

use anyhow::bail;
use serde_json::{Value, json};

use super::{find, print, words};
use crate::config::{self, Diagnostic};
use crate::machine;

/// Checks the file.
pub(super) fn check(file: Option<&Path>, json: bool) -> anyhow::Result<()> {
    let Some(path) = find::file(file) else {
        bail!(
            "there is no weir.toml here and no /etc/weir/weir.toml; name the file: weir check FILE"
        );
    };
    let checked = config::load(&path);
    let findings: &[Diagnostic] = match &checked {
        Ok(config) => &config.warnings,
        Err(report) => report.diagnostics(),
    };
    if json {
        let findings: Vec<Value> = findings.iter().map(Diagnostic::json).collect();
        let name = path.display().to_string();
        let answer = json!({ "file": name, "valid": checked.is_ok(), "findings": findings });
        print::line(&answer.to_string())?;
    }
    match checked {
        Err(report) => {
            if !json {
                print::text(&report.picture(true))?;
            }
            bail!("{} is refused: {}", path.display(), words::count(report.len() as u64, "finding"))
        }
        Ok(_) if json => Ok(()),
        Ok(config) => {
            for warning in &config.warnings {
                print::line(&warning.picture(true))?;
            }
            if let Some(short) = config.short_of_descriptors(machine::descriptors_max()) {
                print::line(&format!("warning: {short}"))?;
            }
            let tiers = words::count(config.tiers.len() as u64, "tier");
            let releases: usize = config.tiers.iter().map(|tier| tier.releases.len()).sum();
            let releases = words::count(releases as u64, "release");
            for line in config::certificates(&config) {
                print::line(&line)?;
            }
            print::line(&format!("{} is valid: {tiers}, {releases}", path.display()))?;
            print::line("next: `weir run` serves with it, `weir reload` has a running weir take it")
        }
    }
}
