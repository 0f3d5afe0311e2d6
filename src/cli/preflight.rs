//! `weir preflight`: the checks before a rollout, as a list.

use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::json;

use super::client::AskError;
use super::progress::Progress;
use super::verbs::Look;
use super::words::count;
use super::{client, find, print};
use crate::admin::api::{Finding, Mark, PreflightStatus};
use crate::config::{self, Config};
use crate::hooks::{self, Hooks, Occasion};
use crate::tls::{Keyring, Protocols};
use crate::traffic::Version;

/// How long all checks may take: each has half a minute, and they are made at once.
const CHECKS_MAX: Duration = Duration::from_mins(2);

/// Asks the program, or makes the checks itself where none runs; the exit code.
pub(super) async fn preflight(version: Option<Version>, look: &Look) -> anyhow::Result<u8> {
    let client = client(&look.place)?;
    let body = json!({ "version": version }).to_string();
    let (text, status) = match client.post("/api/v1/preflight", body, CHECKS_MAX).await {
        Ok(text) => {
            let status: PreflightStatus = client.parsed(&text)?;
            (text, status)
        }
        Err(AskError::Nobody { .. }) => {
            let status = here(version, look).await?;
            (serde_json::to_string(&status)?, status)
        }
        Err(error) => return Err(error.into()),
    };
    if look.json {
        print::line(&text)?;
    } else {
        show(&status)?;
    }
    Ok(u8::from(!status.passed))
}

/// The checks that need no running program.
async fn here(version: Option<Version>, look: &Look) -> anyhow::Result<PreflightStatus> {
    let Some(path) = find::file(look.place.config.as_deref()) else {
        bail!("weir does not run, and there is no weir.toml here; name the file: --config FILE");
    };
    let config = config::load(&path).map_err(|report| anyhow::Error::msg(report.to_string()))?;
    print::note("weir does not run; what only it knows is not checked");
    let keyring =
        Keyring::new(Protocols { server: &[], client: &[] }).context("cannot speak TLS")?;
    let hooks = Hooks::new(hooks::Settings {
        place: hooks::Place {
            folder: folder(&path),
            // Checks run nothing.
            ledger: std::env::temp_dir(),
            secrets: config.secrets(std::env::vars()),
        },
        keyring,
    });
    known(&config, version.as_ref()).map_err(anyhow::Error::msg)?;
    let occasion = Occasion { new: version, ..Occasion::default() };
    let _progress = Progress::of("looking");
    let found = hooks.preflight(&config.runbook.preflight, &occasion, &config.scene()).await;
    Ok(found.into())
}

fn folder(path: &std::path::Path) -> std::path::PathBuf {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(std::path::Path::new(".")).to_owned()
}

fn known(config: &Config, version: Option<&Version>) -> Result<(), String> {
    version.map_or(Ok(()), |version| config.knows(version))
}

fn show(status: &PreflightStatus) -> anyhow::Result<()> {
    let width = status.findings.iter().map(|finding| finding.name.len()).max().unwrap_or(0);
    for Finding { name, what, mark, why } in &status.findings {
        // Words beside the signs: not everybody sees them.
        let (sign, word) = match mark {
            Mark::Asked => ("?", "asked  "),
            Mark::Failed => ("✗", "failed "),
            Mark::Passed => ("✓", "passed "),
            Mark::Unknown => ("-", "unknown"),
        };
        let why = if why.is_empty() { what } else { why };
        print::line(&format!("{sign} {word}  {name:<width$}  {why}"))?;
    }
    let number = |wanted| status.findings.iter().filter(|one| one.mark == wanted).count() as u64;
    let mut said = vec![format!("{} passed", count(number(Mark::Passed), "check"))];
    for (mark, word) in [
        (Mark::Failed, "failed"),
        (Mark::Unknown, "not known"),
        (Mark::Asked, "asked at the start"),
    ] {
        if number(mark) > 0 {
            said.push(format!("{} {word}", number(mark)));
        }
    }
    print::line(&said.join(", "))
}
