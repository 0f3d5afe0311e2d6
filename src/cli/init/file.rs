//! The file that the answers make, and how it gets onto the disk: whole or not at all.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use super::interview::{Answers, CacheAnswers, TierAnswers};
use super::reading::Release;

/// A file that says no secret; the commands of every user read it.
const OPEN: u32 = 0o644;

/// A file with a password in it.
const PRIVATE: u32 = 0o600;

/// Names that are tried for the file beside, which is renamed.
const NAMES_MAX: u32 = 16;

/// A text as TOML has it.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out + "\""
}

/// Who may read the file: nobody else where a cache's address has a password.
pub(super) fn mode(answers: &Answers) -> u32 {
    let secret = answers.caches.iter().any(|cache| cache.upstream.contains('@'));
    if secret { PRIVATE } else { OPEN }
}

/// Where the journal is, seen from here.
pub(super) fn state(file: &Path, answers: &Answers) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join(&answers.state)
}

/// The whole file.
pub(super) fn text(answers: &Answers) -> String {
    let Answers { tiers, admin, state, .. } = answers;
    let (admin, state) = (quoted(&admin.to_string()), quoted(&state.display().to_string()));
    let mut out = format!(
        "# weir.toml, written by `weir init`: what was asked, and the defaults that are changed most
# often. Lines that begin with \"# key =\" show what holds if nothing is said. All keys are in
# docs/config.md; `weir check` says every mistake at once, `weir reload` has a running weir take it.

[admin]
# Where weir is asked and ordered. Beyond 127.0.0.1 reads need a token too.
listen = {admin}

[state]
# The journal: what was decided, when, by whom and why. Tokens are kept beside it.
path = {state}
"
    );
    for tier in tiers {
        tier_text(&mut out, tier, answers);
    }
    for cache in &answers.caches {
        cache_text(&mut out, cache, tiers);
    }
    out.push_str(
        "
[rollout]
# The stages; \"auto\" makes them from the traffic of the last hour.
# stages = [{ weight = \"1%\", bake = \"5m\" }, { weight = \"10%\", bake = \"10m\" }, { weight = \"50%\", bake = \"15m\" }]

[analysis]
# How many percentage points more errors are tolerated before a version counts as worse.
# margin = \"0.5pp\"
",
    );
    out
}

fn release(release: &Release) -> String {
    let upstreams = release.upstreams.iter().map(|address| quoted(&address.to_string()));
    let upstreams = upstreams.collect::<Vec<_>>().join(", ");
    format!("{{ version = {}, upstreams = [{upstreams}] }}", quoted(release.version.as_str()))
}

fn tier_text(out: &mut String, tier: &TierAnswers, answers: &Answers) {
    let TierAnswers { name, listen, stable, canary, health } = tier;
    let (name, listen) = (quoted(name.as_str()), quoted(&listen.to_string()));
    let version = quoted(stable.version.as_str());
    let first = release(stable);
    let second = canary.as_ref().map_or_else(
        || {
            "# The new version, beside it: add its line, then `weir reload` and `weir start`.
  # { version = \"1.1.0\", upstreams = [\"127.0.0.1:3001\"] },"
                .to_owned()
        },
        |canary| format!("{},", release(canary)),
    );
    let sticky = &answers.sticky;
    let health = health.as_deref().unwrap_or("none");
    let (health, note) = (
        quoted(health),
        if health == "none" {
            "# A connection that opens is enough; better is a path that answers 200 when the app is well."
        } else {
            "# Asked of each upstream every two seconds; 200 means that it is well."
        },
    );
    let _ = write!(
        out,
        "
[[tier]]
name   = {name}
# Where users come in: the address for `proxy_pass` of nginx.
listen = {listen}
# Who serves while the journal is new; afterwards the journal knows.
stable = {version}
# A mended build gets a new version. `weir start` begins a rollout; nothing else does.
releases = [
  {first},
  {second}
]
# What keeps a user on one version.
sticky = {sticky}
# Peers whose X-Forwarded-For is believed; an nginx on another machine must be named here.
# trusted_proxies = [\"127.0.0.0/8\", \"::1/128\"]
# Cookies that the new version writes in a form which the old one cannot read (docs/cookies.md).
# cookies = {{ \"_session\" = \"overlay\" }}
# Files with a digest in their name: what one version does not have is asked of the other.
# assets = [\"/assets/\"]

[tier.health]
{note}
path = {health}

[tier.timeouts]
# From the end of a request to the head of its answer.
# response_head = \"1m\"
# How long requests may go on after weir is told to stop.
# drain = \"30s\"
"
    );
}

fn cache_text(out: &mut String, cache: &CacheAnswers, tiers: &[TierAnswers]) {
    let CacheAnswers { name, kind, upstream, ports } = cache;
    let used = |tier: &TierAnswers| -> BTreeSet<String> {
        let releases = std::iter::once(&tier.stable).chain(tier.canary.as_ref());
        releases.map(|release| release.version.to_string()).collect()
    };
    let of = |version: &str| {
        let tiers = tiers.iter().filter(|tier| used(tier).contains(version));
        tiers.map(|tier| tier.name.to_string()).collect::<Vec<_>>().join(", ")
    };
    let (name, upstream) = (quoted(name), quoted(upstream));
    let _ = write!(
        out,
        "
[[cache]]
name     = {name}
kind     = \"{kind}\"
# The server that the versions share.
upstream = {upstream}
# Point each version at its own port instead of the server: it finds its own part of it there.
"
    );
    for (version, port) in ports {
        let _ = writeln!(out, "#   {version} ({}): {kind}://{port}", of(version.as_str()));
    }
    let ports: Vec<String> = ports
        .iter()
        .map(|(version, port)| {
            format!("{} = {}", quoted(version.as_str()), quoted(&port.to_string()))
        })
        .collect();
    let _ = writeln!(out, "ports    = {{ {} }}", ports.join(", "));
    if *kind == "redis" {
        out.push_str(
            "# Keys that the versions share after all, such as queues of jobs.\n# share = \
             [\"queue:*\"]\n",
        );
    }
}

/// Writes `text` to `path`. Somebody who reads meanwhile sees the old file or the new one, never a
/// part; a file that has appeared meanwhile is only replaced where `overwrite` says so. Its mode.
pub(super) fn write(path: &Path, text: &str, mode: u32, overwrite: bool) -> io::Result<u32> {
    // What a link leads to is replaced, not the link.
    let path = if overwrite { path.canonicalize().unwrap_or(path.into()) } else { path.into() };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let (mut file, beside) = beside(&path, mode)?;
    let mode = group(&file, folder).map_or(mode, |()| mode | 0o040);
    let written = file
        .set_permissions(fs::Permissions::from_mode(mode))
        .and_then(|()| file.write_all(text.as_bytes()))
        .and_then(|()| file.sync_all())
        .and_then(|()| {
            if overwrite { fs::rename(&beside, &path) } else { fs::hard_link(&beside, &path) }
        });
    if written.is_err() || !overwrite {
        fs::remove_file(&beside)?;
    }
    written?;
    File::open(folder)?.sync_all()?;
    Ok(mode)
}

/// Gives a file of root the group of its folder, as with /etc/weir: its members may read it.
fn group(file: &File, folder: &Path) -> Option<()> {
    let group = folder.metadata().ok()?.gid();
    let may = rustix::process::geteuid().is_root() && group != 0;
    may.then(|| fchown(file, None, Some(group)).ok())?
}

/// A new file in the same folder.
fn beside(path: &Path, mode: u32) -> io::Result<(File, PathBuf)> {
    let mut outcome = Err(io::ErrorKind::AlreadyExists.into());
    for number in 0..NAMES_MAX {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".new-{}-{number}", std::process::id()));
        let beside = path.with_file_name(name);
        let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside);
        outcome = opened.map(|file| (file, beside));
        match &outcome {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            _ => return outcome,
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_whole_with_its_mode_and_replaces_none_unasked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weir.toml");
        write(&path, "one", PRIVATE, false).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, PRIVATE);
        let again = write(&path, "two", OPEN, false).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        write(&link, "three", OPEN, true).unwrap();
        assert!(link.is_symlink() && fs::read_to_string(&path).unwrap() == "three");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, OPEN);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left beside it");
    }

    #[test]
    fn what_stands_in_quotes_reads_back() {
        let odd = "a\"b\\c\td\u{e9}";
        let text = format!("x = {}", quoted(odd));
        let table = toml::de::DeTable::parse(&text).unwrap();
        assert_eq!(table.get_ref().get("x").unwrap().get_ref().as_str(), Some(odd));
    }
}
