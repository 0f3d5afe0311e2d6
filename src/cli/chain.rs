//! `weir chain status`: the versions to climb, one after the other, and how far one has come.

use std::fmt::Write as _;

use anyhow::bail;

use super::screen::{BOLD, DIM};
use super::verbs::Look;
use super::words::Wall;
use super::{client, print};
use crate::admin::api::Status;
use crate::control::Hop;
use crate::rollout::Outcome;
use crate::time::Timestamp;
use crate::traffic::Version;

/// Asks the program.
pub(super) async fn status(look: &Look) -> anyhow::Result<()> {
    let client = client(&look.place)?;
    let status: Status = client.parsed(&client.get_text("/api/v1/status").await?)?;
    if look.json {
        return print::line(&serde_json::to_string(&status.chain)?);
    }
    if status.chain.is_empty() {
        bail!("there is no chain: name its versions in `[rollout] hops`, then `weir reload`");
    }
    print::text(&table(&status))
}

fn table(status: &Status) -> String {
    let mut text = String::new();
    let width = status.chain.iter().map(|hop| hop.version.as_str().len()).max().unwrap_or(0);
    for hop in &status.chain {
        let version = &hop.version;
        let _ = match hop.standing {
            Hop::Done => match climbed(status, version) {
                Some(at) => {
                    let at = Wall::of(status).moment(at);
                    writeln!(text, "✓ {version:<width$}  done, everybody had it at {at}")
                }
                None => writeln!(text, "✓ {version:<width$}  done"),
            },
            Hop::Now => {
                let upgrade = status.upgrade.as_ref();
                let waits = upgrade.and_then(|upgrade| upgrade.waits_for.as_deref());
                let waits = waits.map_or_else(String::new, |waits| format!(", waits for {waits}"));
                let rollout = upgrade.map(|upgrade| format!(": rollout {}", upgrade.id));
                let rollout = rollout.unwrap_or_default();
                writeln!(text, "{BOLD}▶ {version:<width$}  now{rollout}{waits}{BOLD:#}")
            }
            Hop::Next => {
                writeln!(text, "{BOLD}· {version:<width$}  next: `weir start` begins it{BOLD:#}")
            }
            Hop::Later => writeln!(text, "{DIM}· {version:<width$}{DIM:#}"),
        };
    }
    let done = status.chain.iter().filter(|hop| hop.standing == Hop::Done).count();
    let _ = writeln!(text, "{DIM}{done} of {} hops done{DIM:#}", status.chain.len());
    text
}

/// When the last tier was given `version`.
fn climbed(status: &Status, version: &Version) -> Option<Timestamp> {
    let releases = status.tiers.iter().flat_map(|tier| &tier.releases);
    let fates =
        releases.filter(|release| release.version == *version).filter_map(|r| r.fate.as_ref());
    let given = |outcome| matches!(outcome, Outcome::Promoted | Outcome::Adopted);
    fates.filter(|fate| given(fate.outcome)).map(|fate| fate.at).max()
}
