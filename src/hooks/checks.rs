//! Makes checks: what was found, or what is wrong.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::fmt::rfc2822;
use rustix::fs::statvfs;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::scene::{InstanceScene, ReleaseScene, Scene, TierScene};
use super::web::{self, Answer, Peer, Question};
use super::{Mark, Occasion, Settings};
use crate::clock;
use crate::rollout::runbook::{Check, Reach, bytes};
use crate::time::{Timestamp, in_words};
use crate::tls::Keyring;
use crate::traffic::matching::Pattern;
use crate::traffic::{Spot, TierName, Version};

/// How long one upstream may take to say its version.
const UPSTREAM_MAX: Duration = Duration::from_secs(5);

/// Versions that mean another build tomorrow.
const MOVING: [&str; 12] = [
    "current", "dev", "develop", "edge", "head", "latest", "main", "master", "newest", "nightly",
    "stable", "tip",
];

/// What a look found, or what is wrong.
type Found = Result<String, String>;

pub(super) async fn check(
    check: &Check,
    occasion: &Occasion,
    scene: &Scene,
    settings: &Settings,
) -> (Mark, String) {
    let keyring = &settings.keyring;
    let found = match check {
        Check::Caches => caches(scene),
        Check::Clock { within } => {
            let Some(found) = clocks(*within, occasion, scene, keyring).await else {
                let why = "nothing was compared: no upstream says what time it is";
                return (Mark::Unknown, why.to_owned());
            };
            found
        }
        Check::Disk { path, free } => {
            let (path, free) = (path.clone(), *free);
            aside(move || disk(&path, free)).await
        }
        Check::Exact => exact(scene),
        Check::File { path, max_age, min_size } => {
            let (path, max_age, min_size, now) = (path.clone(), *max_age, *min_size, clock::wall());
            aside(move || file(Path::new(&path), max_age, min_size, now)).await
        }
        Check::Healthy => healthy(occasion, scene),
        Check::Hours => match &scene.closed {
            None => Ok("the rollout may advance now".to_owned()),
            Some(why) => Err(why.clone()),
        },
        Check::Idle { tier, instance } => {
            instance_of(tier, instance, scene).and_then(|found| idle(found, scene.has_elder))
        }
        Check::Reachable(Reach::Http(url)) => web::answers(url, keyring).await,
        Check::Reachable(Reach::Tcp(address)) => {
            let peer =
                Peer { address: address.clone(), tls: Arc::default(), proxy_protocol: false };
            web::connect(&peer).await.map(|_| format!("{address} takes connections"))
        }
        Check::Traffic { tier, below } => traffic(tier.as_ref(), *below, scene),
        Check::Version { tier, path, pattern } => {
            versions((path, pattern), tier.as_ref(), occasion, scene, keyring).await
        }
        Check::Well { tier, instance, version } => {
            instance_of(tier, instance, scene).and_then(|found| well(found, version))
        }
    };
    match found {
        Ok(why) => (Mark::Passed, why),
        Err(why) => (Mark::Failed, why),
    }
}

fn instance_of<'a>(
    tier: &TierName,
    name: &str,
    scene: &'a Scene,
) -> Result<&'a InstanceScene, String> {
    let tier = scene.tiers.iter().find(|found| found.name == *tier);
    let mut instances = tier.into_iter().flat_map(|tier| &tier.instances);
    instances.find(|found| found.name == name).ok_or_else(|| format!("the file has no {name}"))
}

fn idle(instance: &InstanceScene, has_elder: bool) -> Found {
    let InstanceScene { name, connections, .. } = instance;
    match connections {
        0 if has_elder => Err("the weir before still finishes requests, there perhaps".into()),
        0 => Ok(format!("nothing is under way at {name}")),
        1 => Err(format!("1 connection to {name} is in use")),
        _ => Err(format!("{connections} connections to {name} are in use")),
    }
}

fn well(instance: &InstanceScene, version: &Version) -> Found {
    let InstanceScene { name, is_healthy, error, .. } = instance;
    match (is_healthy, error) {
        (true, _) => Ok(format!("{name} is healthy with {version}")),
        (false, Some(error)) => Err(format!("{name} is not healthy with {version}: {error}")),
        (false, None) => Err(format!("{name} is not healthy with {version} yet")),
    }
}

/// Looks on a thread that may wait for a disk.
async fn aside(look: impl FnOnce() -> Found + Send + 'static) -> Found {
    spawn_blocking(look).await.unwrap_or_else(|error| Err(format!("cannot look: {error}")))
}

fn caches(scene: &Scene) -> Found {
    let shared: Vec<String> = scene
        .caches
        .iter()
        .filter_map(|cache| Some(format!("{}: {}", cache.name, cache.shared.as_ref()?)))
        .collect();
    match (scene.caches.len(), shared.as_slice()) {
        (0, _) => Ok("the file has no caches".to_owned()),
        (count, []) => Ok(format!("{count} of {count} keep the versions apart")),
        _ => Err(shared.join("; ")),
    }
}

fn exact(scene: &Scene) -> Found {
    let releases = scene.tiers.iter().flat_map(|tier| &tier.releases);
    // `20-latest` moves as `latest` does; `main-5b146c0` does not.
    let moving = |release: &&ReleaseScene| {
        let name = release.version.as_str().to_ascii_lowercase();
        name.rsplit(['-', '_', '.', '+']).next().is_some_and(|end| MOVING.contains(&end))
    };
    match releases.filter(moving).map(|release| release.version.as_str()).next() {
        None => Ok("every version is exact".to_owned()),
        Some(version) => Err(format!(
            "{version:?} is another build tomorrow; name the release by its exact version"
        )),
    }
}

/// The releases that matter: those of the rollout, or all where there is none.
fn concerned<'a>(
    tier: Option<&'a TierName>,
    occasion: &'a Occasion,
    scene: &'a Scene,
) -> impl Iterator<Item = (&'a TierScene, &'a ReleaseScene)> {
    let tiers = scene.tiers.iter().filter(move |found| tier.is_none_or(|tier| *tier == found.name));
    let matters = |tier: &TierScene, release: &ReleaseScene| match &occasion.new {
        None => true,
        Some(new) => {
            let old = occasion.old.as_ref().unwrap_or(&tier.stable);
            release.version == *new || release.version == *old
        }
    };
    tiers.flat_map(move |tier| {
        let releases = tier.releases.iter().filter(move |release| matters(tier, release));
        releases.map(move |release| (tier, release))
    })
}

fn healthy(occasion: &Occasion, scene: &Scene) -> Found {
    let (mut well, mut ill) = (Vec::new(), Vec::new());
    for (tier, release) in concerned(None, occasion, scene) {
        if !tier.instances.is_empty() && release.upstreams.is_empty() {
            // No instance has it yet, or any more.
            continue;
        }
        let name = format!("{} {}", tier.name, release.version);
        let healthy = release.upstreams.iter().filter(|one| one.is_healthy == Some(true)).count();
        if healthy > 0 {
            well.push(format!("{name} has {healthy} of {} healthy", release.upstreams.len()));
        } else if release.upstreams.iter().any(|upstream| upstream.is_healthy.is_some()) {
            ill.push(format!("{name} has no healthy upstream"));
        } else {
            ill.push(format!("the health of {name} is not known: weir does not run"));
        }
    }
    if ill.is_empty() { Ok(well.join(", ")) } else { Err(ill.join("; ")) }
}

fn traffic(tier: Option<&TierName>, below: u32, scene: &Scene) -> Found {
    let (mut low, mut high) = (Vec::new(), Vec::new());
    for found in scene.tiers.iter().filter(|found| tier.is_none_or(|tier| *tier == found.name)) {
        match found.rate {
            None => high.push(format!(
                "the traffic of {} is not known yet; it is two minutes after Weir's start",
                found.name
            )),
            Some(rate) if rate < f64::from(below) => {
                low.push(format!("{} had {rate:.1} requests/s in the last hour", found.name));
            }
            Some(rate) => {
                let name = &found.name;
                high.push(format!(
                    "{name} had {rate:.1} requests/s in the last hour; wait until it is below \
                     {below}"
                ));
            }
        }
    }
    if high.is_empty() { Ok(low.join(", ")) } else { Err(high.join("; ")) }
}

fn disk(path: &str, wanted: u64) -> Found {
    let stat = statvfs(path).map_err(|error| format!("{path} cannot be looked at: {error}"))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let said = format!("{} free on {path}", bytes(free));
    if free >= wanted { Ok(said) } else { Err(format!("{said}; {} wanted", bytes(wanted))) }
}

fn file(path: &Path, max_age: Duration, min_size: u64, now: Timestamp) -> Found {
    let (path, written, size) = newest(path)?;
    let age = now.since(written);
    let said = format!("{path} is {} old and has {}", in_words(age), bytes(size));
    if size < min_size {
        return Err(format!("{said}; at least {} wanted", bytes(min_size)));
    }
    if age > max_age {
        return Err(format!("{said}; at most {} old wanted", in_words(max_age)));
    }
    Ok(said)
}

/// The newest file that fits `path`: its path, when it was written, and its bytes.
fn newest(path: &Path) -> Result<(String, Timestamp, u64), String> {
    use std::os::unix::fs::MetadataExt as _;
    let told = |error: std::io::Error| format!("{}: {error}", path.display());
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let pattern = Pattern::new(&name);
    let named = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = named.unwrap_or(Path::new("."));
    let looks = if name.contains('*') {
        let listed = std::fs::read_dir(folder).map_err(told)?;
        let fits = |path: &std::path::PathBuf| {
            path.file_name().is_some_and(|name| pattern.matches(name.as_encoded_bytes()))
        };
        listed.filter_map(|entry| Some(entry.ok()?.path())).filter(fits).collect()
    } else {
        vec![path.to_owned()]
    };
    let mut found = Vec::new();
    for path in looks {
        let about = std::fs::metadata(&path).map_err(told)?;
        let seconds = u64::try_from(about.mtime()).unwrap_or_default();
        if about.is_file() {
            let written = Timestamp::from_millis(seconds.saturating_mul(1_000));
            found.push((written, path.display().to_string(), about.len()));
        }
    }
    let newest = found.into_iter().max().map(|(written, path, size)| (path, written, size));
    newest.ok_or_else(|| format!("there is no file {}", path.display()))
}

/// Asks one upstream.
async fn upstream(
    release: &ReleaseScene,
    upstream: &super::UpstreamScene,
    path: &str,
    keyring: &Keyring,
) -> Result<Answer, String> {
    let address = upstream.address.clone();
    let host = release.host.clone().unwrap_or_else(|| match &address.spot {
        Spot::Unix(_) => "localhost".to_owned(),
        spot @ (Spot::Name(..) | Spot::Socket(_)) => spot.to_string(),
    });
    let (tls, proxy_protocol) = (release.tls.clone().unwrap_or_default(), release.proxy_protocol);
    let late = format!("{address} gives no answer within {} s", UPSTREAM_MAX.as_secs());
    let peer = Peer { address, tls, proxy_protocol };
    let asked = timeout(UPSTREAM_MAX, web::ask(&peer, Question::get(&host, path), keyring)).await;
    asked.unwrap_or(Err(late))
}

/// How an upstream answers `path`; without one, whether it takes connections.
pub(super) async fn visit(
    release: &ReleaseScene,
    one: &super::UpstreamScene,
    path: Option<&str>,
    keyring: &Keyring,
) -> Found {
    let address = &one.address;
    let Some(path) = path else {
        let (tls, proxy_protocol) = (Arc::default(), false);
        let peer = Peer { address: address.clone(), tls, proxy_protocol };
        let late = || format!("{address} takes no connection within {} s", UPSTREAM_MAX.as_secs());
        let connected = timeout(UPSTREAM_MAX, web::connect(&peer)).await;
        return connected
            .unwrap_or_else(|_| Err(late()))
            .map(|_| format!("{address} takes connections"));
    };
    let answer = upstream(release, one, path, keyring).await?;
    let said = format!("{address} answers {path} with {}", answer.status);
    if answer.status.is_success() { Ok(said) } else { Err(said) }
}

async fn versions(
    (path, pattern): (&str, &str),
    tier: Option<&TierName>,
    occasion: &Occasion,
    scene: &Scene,
    keyring: &Keyring,
) -> Found {
    let (mut right, mut wrong) = (0, Vec::new());
    for (tier, release) in concerned(tier, occasion, scene) {
        let expected = release.version.as_str();
        for one in &release.upstreams {
            let at = format!("{} {} at {}", tier.name, one.address, path);
            match upstream(release, one, path, keyring).await {
                Err(why) => wrong.push(why),
                Ok(answer) if !answer.status.is_success() => {
                    wrong.push(format!("{at} says {}", answer.said()));
                }
                Ok(answer) => match reported(&answer.body, pattern, expected) {
                    Reported::Expected => right += 1,
                    Reported::Other(other) => {
                        wrong.push(format!("{at} reports {other}, not {expected}"));
                    }
                    Reported::Nothing => wrong.push(format!("{at} reports no version")),
                },
            }
        }
    }
    match (right, wrong.is_empty()) {
        (0, true) => Err("there is no upstream to ask".to_owned()),
        (_, true) => Ok(format!("{right} of {right} upstreams report the version they should")),
        _ => Err(wrong.join("; ")),
    }
}

/// What an answer says of a version.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reported {
    Expected,
    Nothing,
    Other(String),
}

/// Looks for the version where `pattern` has `{version}`: as a whole, so that 4.2 is not found in
/// 4.2.1. A `v` before it does not matter.
pub(super) fn reported(body: &str, pattern: &str, expected: &str) -> Reported {
    let (before, after) = pattern.split_once("{version}").unwrap_or((pattern, ""));
    let part = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
    let mut other = None;
    for (at, _) in body.char_indices().filter(|(at, _)| body[*at..].starts_with(before)) {
        let rest = &body[at + before.len()..];
        let whole = !before.is_empty() || !body[..at].ends_with(part);
        let length = rest.find(|c| !part(c)).unwrap_or(rest.len());
        let said = rest[..length].trim_end_matches(['.', '-']);
        if !whole || said.is_empty() || !rest[said.len()..].starts_with(after) {
            continue;
        }
        if said == expected || said.strip_prefix('v') == Some(expected) {
            return Reported::Expected;
        }
        if other.is_none() && said.contains(|c: char| c.is_ascii_digit()) {
            other = Some(said.chars().take(64).collect());
        }
    }
    other.map_or(Reported::Nothing, Reported::Other)
}

/// None: there was nothing to compare with.
async fn clocks(
    within: Duration,
    occasion: &Occasion,
    scene: &Scene,
    keyring: &Keyring,
) -> Option<Found> {
    let (mut compared, mut apart) = (0, Vec::new());
    for (_, release) in concerned(None, occasion, scene) {
        for one in &release.upstreams {
            let before = clock::wall();
            // Who does not answer has a check of its own.
            let Ok(answer) = upstream(release, one, "/", keyring).await else { continue };
            let after = clock::wall();
            let Some(date) = date(&answer) else { continue };
            compared += 1;
            let off = distance(date, before, after);
            if off > within {
                let at = &one.address;
                apart.push(format!("the clock of {at} is {} off", in_words(off)));
            }
        }
    }
    match (compared, apart.is_empty()) {
        (0, _) => None,
        (_, true) => {
            Some(Ok(format!("{compared} of {compared} agree to within {}", in_words(within))))
        }
        _ => Some(Err(format!("{}; look at ntp on both machines", apart.join("; ")))),
    }
}

fn date(answer: &Answer) -> Option<Timestamp> {
    let text = answer.headers.get(http::header::DATE)?.to_str().ok()?;
    let millis = rfc2822::parse(text).ok()?.timestamp().as_millisecond();
    u64::try_from(millis).ok().map(Timestamp::from_millis)
}

/// How far `date`, which knows whole seconds only, lies outside of what it could be.
fn distance(date: Timestamp, before: Timestamp, after: Timestamp) -> Duration {
    let latest = date.plus(Duration::from_secs(1));
    before.since(latest).max(date.since(after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_as_a_whole_and_where_it_should_stand() {
        let json = r#"{"name":"shop 9.9","version":"4.2.1"}"#;
        let pattern = r#""version":"{version}""#;
        assert_eq!(reported(json, pattern, "4.2.1"), Reported::Expected);
        assert_eq!(reported(json, pattern, "4.2"), Reported::Other("4.2.1".into()));
        assert_eq!(reported(json, pattern, "9.9"), Reported::Other("4.2.1".into()));
        assert_eq!(reported("shop v4.2.1.", "{version}", "4.2.1"), Reported::Expected);
        assert_eq!(reported("shop 4.2.1", "{version}", "4.2"), Reported::Other("4.2.1".into()));
        assert_eq!(reported("fine", "{version}", "4.2"), Reported::Nothing);
        assert_eq!(reported("ä 4.2", "ä {version}", "4.2"), Reported::Expected);
        assert_eq!(reported("", "{version}", "4.2"), Reported::Nothing);
    }

    #[test]
    fn a_file_is_there_fresh_and_not_empty() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        let now = clock::wall();
        let look = |name: &str, age, size, now| file(&path(name), age, size, now);
        let hour = Duration::from_hours(1);
        assert!(look("dump_*.sql", hour, 1, now).unwrap_err().contains("there is no file"));
        assert!(look("dump_1.sql", hour, 1, now).unwrap_err().contains("No such file"));
        std::fs::write(path("dump_1.sql"), "").unwrap();
        std::fs::create_dir(path("dump_9.sql")).unwrap();
        let empty = look("dump_*.sql", hour, 1, now).unwrap_err();
        assert!(empty.contains("dump_1.sql") && empty.contains("at least 1 byte"), "{empty}");
        std::fs::write(path("dump_1.sql"), "abc").unwrap();
        assert!(look("dump_*.sql", hour, 3, now).unwrap().contains("has 3 bytes"));
        let here = file(Path::new("Cargo.to*"), Duration::MAX, 1, now).unwrap();
        assert!(here.contains("Cargo.toml"), "{here}");
        let later = now.plus(hour + hour);
        assert!(look("dump_*.sql", hour, 3, later).unwrap_err().contains("at most 1 h old"));
    }

    #[test]
    fn a_disk_has_room_or_not() {
        assert!(disk("/", 1).unwrap().contains("free on /"));
        assert!(disk("/", u64::MAX).unwrap_err().contains("wanted"));
        assert!(disk("/nowhere", 1).is_err());
    }

    #[test]
    fn a_date_is_whole_seconds() {
        let at = Timestamp::from_millis;
        assert_eq!(distance(at(5_000), at(5_900), at(5_950)), Duration::ZERO);
        assert_eq!(distance(at(5_000), at(8_000), at(8_100)), Duration::from_secs(2));
        assert_eq!(distance(at(9_000), at(5_000), at(5_500)), Duration::from_millis(3_500));
    }
}
