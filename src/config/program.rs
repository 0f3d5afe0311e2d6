//! Reads what concerns the whole program: `[admin]`, `[state]`, `[proxy]`, `[log]`, `[rollout]`.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use super::keys;
use super::section::{PATTERNS_MAX, Section, set};
use super::values::{self, Mistake, quoted};
use super::{AdminSettings, LogFormat, LogSettings, ProxyConfig, StateSettings};
use crate::namespace::Namespace;
use crate::proxy::UpstreamClient;

/// Further names of the admin address.
const HOSTS_MAX: usize = 32;

/// Workers: threads that each hold their own connections.
const WORKERS_MAX: u64 = 256;

/// Least memory to be content with: a Weir that does nothing has some 20 MiB, and each connection
/// wants its own.
const MEMORY_MIN: u64 = 64 << 20;

/// A stage may bake for a month.
pub(super) const BAKE_MAX: Duration = Duration::from_hours(30 * 24);

/// Reads `[admin]`; also where `listen` stands, if it was written.
pub(super) fn admin(root: &mut Section<'_>, base: &Path) -> (AdminSettings, Option<Range<usize>>) {
    let mut section = root.table("admin", &keys::ADMIN);
    let mut settings = AdminSettings::default();
    let help = "write text: \"127.0.0.1:7700\"";
    let listen = section.text("listen", help, values::socket);
    let span = listen.as_ref().map(|at| at.span.clone());
    set(&mut settings.listen, listen);
    if let Some(span) = span.as_ref().filter(|_| !settings.listen.ip().to_canonical().is_loopback())
    {
        section.remark(
            "listen",
            span.clone(),
            Mistake::new(
                format!("{} can be reached from other machines", settings.listen),
                "reads need a token there too, and tokens travel unencrypted; 127.0.0.1 is the default",
            ),
        );
    }
    settings.tokens_file =
        section.text("tokens_file", "write a path", path).map(|at| base.join(at.value));
    let hosts = section.list("hosts", HOSTS_MAX, "[\"weir.example.com\"]", |text| {
        let label = |c: char| c.is_ascii_alphanumeric() || "-._[]:".contains(c);
        if text.is_empty() || text.len() > 253 || !text.chars().all(label) {
            let help = "write a name as it stands in the address bar: \"weir.example.com\"";
            return Err(Mistake::new(format!("{} is no host name", quoted(text)), help));
        }
        Ok(text.to_ascii_lowercase())
    });
    settings.hosts = hosts.unwrap_or_default().into_iter().map(|at| at.value).collect();
    section.finish();
    (settings, span)
}

/// Reads `[state]`.
pub(super) fn state(root: &mut Section<'_>, base: &Path) -> StateSettings {
    let mut section = root.table("state", &keys::STATE);
    let written = section.text("path", "write a path", path);
    section.finish();
    StateSettings { path: Some(base.join(written.map_or("weir.db", |at| at.value))) }
}

/// Reads `[proxy]`.
pub(super) fn proxy(root: &mut Section<'_>) -> ProxyConfig {
    let mut section = root.table("proxy", &keys::PROXY);
    let (mut workers, mut config) = (0, ProxyConfig::default());
    section.integer("workers", 1..=WORKERS_MAX, &mut workers);
    config.workers = (workers > 0).then_some(workers);
    let clients = [("hyper", UpstreamClient::Hyper), ("weir", UpstreamClient::Weir)];
    section.word("upstream_client", &clients, &mut config.upstream_client);
    let range = Duration::from_millis(100)..=Duration::from_hours(1);
    section.duration("resolve_every", range, &mut config.resolve_every);
    section.memory("memory", MEMORY_MIN..=1 << 50, &mut config.memory);
    let environment = section.text("environment", "write text: \"production\"", environment);
    config.environment = environment.map(|at| at.value);
    section.finish();
    config
}

fn environment(text: &str) -> Result<String, Mistake> {
    let fits = !text.contains(':') && text.parse::<Namespace>().is_ok();
    let help = "it stands before every key, with the version: use letters, digits and ._-, and no \
                more than both together can have, 32";
    fits.then(|| text.to_owned())
        .ok_or_else(|| Mistake::new(format!("{} cannot stand before keys", quoted(text)), help))
}

/// Reads `[log]`.
pub(super) fn log(root: &mut Section<'_>) -> LogSettings {
    let mut section = root.table("log", &keys::LOG);
    let mut settings = LogSettings::default();
    section.word(
        "format",
        &[("text", LogFormat::Text), ("json", LogFormat::Json)],
        &mut settings.format,
    );
    let read = section.text("level", "write text: \"info\"", level);
    set(&mut settings.level, read);
    let names = section.list("secrets", PATTERNS_MAX, "[\"PGPASSWORD\"]", |text| {
        let name = text.strip_prefix("env:").unwrap_or(text);
        let help = "write the name of a variable of the environment, not its value";
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
        (!name.is_empty() && name.chars().all(fits))
            .then(|| name.to_owned())
            .ok_or_else(|| Mistake::new("this is no name of a variable", help))
    });
    settings.secrets = names.unwrap_or_default().into_iter().map(|at| at.value).collect();
    section.finish();
    settings
}

fn level(text: &str) -> Result<String, Mistake> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    for part in text.split(',') {
        let (module, level) =
            part.rsplit_once('=').map_or((None, part), |(module, level)| (Some(module), level));
        let named = module.is_none_or(|module| {
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
            !module.is_empty() && module.chars().all(fits)
        });
        if !named || !LEVELS.contains(&level) {
            let near = keys::nearest(level, LEVELS.into_iter());
            let near = near.map_or(String::new(), |near| format!("; did you mean \"{near}\"?"));
            let help = format!(
                "use off, error, warn, info, debug or trace, or \"info,weir::proxy=debug\"{near}"
            );
            return Err(Mistake::new(format!("{} is not a level", quoted(part)), help));
        }
    }
    Ok(text.to_owned())
}

/// A path that can be one.
pub(super) fn path(text: &str) -> Result<&str, Mistake> {
    if text.is_empty() || text.contains('\0') {
        return Err(Mistake::new(
            format!("{} is no path", quoted(text)),
            "write the path of a file",
        ));
    }
    Ok(text)
}
