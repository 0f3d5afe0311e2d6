//! What each version has in the caches, and how its part is thrown away.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::bail;
use serde_json::json;

use super::verbs::{CacheOrder, Look};
use super::words::{count, thousands};
use super::{client, find, print};
use crate::admin::Which;
use crate::admin::api::{CacheStatus, CachesStatus, Dropped, HttpCacheStatus, Purged};
use crate::config::{self, CacheEnvironment};
use crate::traffic::Version;

/// How long it may take to throw answers away: they are in the memory of the program.
const PURGE_MAX: Duration = Duration::from_secs(30);

/// How long a namespace of many keys may take to be thrown away.
const DROP_MAX: Duration = Duration::from_mins(5);

pub(super) async fn cache(order: Option<CacheOrder>, look: &Look) -> anyhow::Result<()> {
    match order {
        None => list(look).await,
        Some(CacheOrder::Env { version, config, json }) => {
            environment(&version, config.as_deref(), json)
        }
        Some(CacheOrder::Purge { url, tag, namespace, look }) => {
            let url = url.map(Which::Url);
            let which = url.or(tag.map(Which::Tag)).or(namespace.map(Which::Namespace));
            match which {
                Some(which) => purge(&which, &look).await,
                None => bail!("say which: a URL, --tag or --namespace"),
            }
        }
        Some(CacheOrder::Drop { namespace, look }) => empty(&namespace, &look).await,
    }
}

/// Reads the file: an app is started with it before Weir sends it anybody.
fn environment(version: &Version, file: Option<&Path>, json: bool) -> anyhow::Result<()> {
    let Some(path) = find::file(file) else {
        bail!(
            "there is no weir.toml here and no /etc/weir/weir.toml; name the file: --config FILE"
        );
    };
    let config = config::load(&path).map_err(|report| anyhow::Error::msg(report.to_string()))?;
    let Some(environment) = config.cache_environment(version) else {
        let releases = config.tiers.iter().flat_map(|tier| &tier.releases);
        let known: BTreeSet<&str> = releases.map(|release| release.version.as_str()).collect();
        let known = known.into_iter().collect::<Vec<_>>().join(", ");
        bail!("{} has no release {version}; it has: {known}", path.display());
    };
    if json {
        let CacheEnvironment { namespace, ports } = environment;
        let namespace = namespace.map(|name| name.to_string());
        let ports: BTreeMap<String, String> = ports.into_iter().collect();
        return print::line(&json!({ "namespace": namespace, "ports": ports }).to_string());
    }
    for (name, value) in environment.variables() {
        print::line(&format!("{name}={value}"))?;
    }
    Ok(())
}

async fn list(look: &Look) -> anyhow::Result<()> {
    let client = client(&look.place)?;
    let text = client.get_text("/api/v1/caches").await?;
    if look.json {
        return print::line(&text);
    }
    let CachesStatus { caches, http } = client.parsed(&text)?;
    if caches.is_empty() && http.is_empty() {
        return print::line("no caches; [[cache]] in the file makes one, and `cache` of a tier");
    }
    if !caches.is_empty() {
        let head =
            ["CACHE", "VERSION", "NAMESPACE", "PORT", "KEYS", "MEMORY", "HIT RATIO", "CLIENTS"];
        table(head, &caches.iter().map(row).collect::<Vec<_>>())?;
    }
    if !caches.is_empty() && !http.is_empty() {
        print::line("")?;
    }
    if !http.is_empty() {
        let head =
            ["TIER", "VERSION", "NAMESPACE", "ANSWERS", "MEMORY", "OF", "HIT RATIO", "STALE"];
        table(head, &http.iter().map(http_row).collect::<Vec<_>>())?;
    }
    for cache in &caches {
        if let Some(trouble) = &cache.trouble {
            print::note(&format!("{} {}: {trouble}", cache.cache, cache.version));
        }
    }
    Ok(())
}

fn table(head: [&str; 8], rows: &[[String; 8]]) -> anyhow::Result<()> {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].len()]).max().unwrap_or(0)
    };
    let line = |cells: &[String; 8]| {
        let padded = cells.iter().enumerate().map(|(at, cell)| format!("{cell:<0$}", width(at)));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    print::line(&line(&head.map(str::to_owned)))?;
    rows.iter().try_for_each(|row| print::line(&line(row)))
}

fn percent(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{:.1}%", 100.0 * ratio))
}

fn http_row(cache: &HttpCacheStatus) -> [String; 8] {
    [
        cache.tier.to_string(),
        cache.version.to_string(),
        cache.namespace.clone(),
        thousands(cache.entries),
        memory(cache.bytes),
        memory(cache.size),
        percent(cache.hit_ratio),
        thousands(cache.stale),
    ]
}

fn row(cache: &CacheStatus) -> [String; 8] {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    [
        cache.cache.clone(),
        cache.version.to_string(),
        cache.namespace.clone().unwrap_or_else(|| format!("({})", cache.mode)),
        cache.listen.clone(),
        or_dash(cache.keys.map(thousands)),
        or_dash(cache.bytes.map(memory)),
        percent(cache.hit_ratio),
        thousands(cache.connections),
    ]
}

fn memory(bytes: u64) -> String {
    match bytes {
        0..10_240 => format!("{bytes} B"),
        10_240..10_485_760 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

async fn empty(namespace: &str, look: &Look) -> anyhow::Result<()> {
    let client = client(&look.place)?;
    let body = json!({ "namespace": namespace }).to_string();
    let text = client.post("/api/v1/caches/drop", body, DROP_MAX).await?;
    if look.json {
        return print::line(&text);
    }
    let Dropped { namespace, keys } = client.parsed(&text)?;
    let deleted = keys.map(|keys| format!(": {} deleted", count(keys, "key")));
    print::line(&format!("{namespace} is empty{}", deleted.unwrap_or_default()))
}

async fn purge(which: &Which, look: &Look) -> anyhow::Result<()> {
    let client = client(&look.place)?;
    let body = serde_json::to_string(which)?;
    let text = client.post("/api/v1/caches/purge", body, PURGE_MAX).await?;
    if look.json {
        return print::line(&text);
    }
    let Purged { answers } = client.parsed(&text)?;
    print::line(&format!("{} thrown away", count(answers, "answer")))
}
