//! The configuration of `weir run --listen --stable --canary`, without any file.

use std::net::SocketAddr;
use std::sync::Arc;

use thiserror::Error;

use super::tier::KEEP_WARM;
use super::values::{self, Mistake, quoted};
use super::{
    AdminSettings, Config, LogSettings, ProxyConfig, ReleaseConfig, RolloutConfig, RunbookConfig,
    StateSettings, TierConfig, TierLines,
};
use crate::analysis;
use crate::rollout::{Stages, UpgradeFacts};
use crate::traffic::matching::Network;
use crate::traffic::overlay::Cookies;
use crate::traffic::{
    ClientTls, Closing, HealthCheck, Ignore, Limits, Listen, Listener, Route, SharedCaches, Sticky,
    Tier, TierName, Timeouts, Version, VersionError,
};

/// Why the arguments make no configuration.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{argument}: {message}; {help}")]
pub struct ArgumentError {
    argument: &'static str,
    message: String,
    help: String,
}

impl ArgumentError {
    fn new(argument: &'static str, Mistake { message, help }: Mistake) -> Self {
        Self { argument, message, help }
    }
}

/// One tier, `web`, on `listen`, with the releases `stable` and `canary`, each written as
/// `ADDRESS` or `VERSION=ADDRESS`; unnamed they are called "old" and "new". The journal is in
/// memory.
///
/// ```
/// use weir::config::without_file;
/// let listen = "127.0.0.1:8080".parse().unwrap();
/// let config = without_file(listen, "127.0.0.1:3000", Some("1.1.0=127.0.0.1:3001")).unwrap();
/// assert_eq!(config.tiers[0].stable.as_str(), "old");
/// assert_eq!(config.tiers[0].releases[1].version.as_str(), "1.1.0");
/// ```
pub fn without_file(
    listen: SocketAddr,
    stable: &str,
    canary: Option<&str>,
) -> Result<Config, ArgumentError> {
    let mut releases = vec![release("--stable", stable, "old", listen)?];
    if let Some(canary) = canary {
        releases.push(release("--canary", canary, "new", listen)?);
    }
    if let [old, new] = releases.as_slice() {
        distinct(old, new)?;
    }
    let tier = Tier {
        name: TierName::try_from("web".to_owned()).map_err(|error| unnamed("--listen", &error))?,
        listener: Arc::new(Listener::plain(listen)),
        route: Route::default(),
        sticky: Sticky::Own,
        health: HealthCheck::default(),
        preview: None,
        timeouts: Timeouts::default(),
        limits: Limits::default(),
        trusted_proxies: Network::LOOPBACK.to_vec(),
        ignore: Ignore::default(),
        watches: Vec::new(),
        show_version: false,
        access_log: false,
        cookies: Cookies::default(),
        logout: Vec::new(),
        assets: Vec::new(),
        shared_caches: SharedCaches::default(),
        closing: Closing::default(),
        keep_warm: KEEP_WARM,
        warm: None,
        caching: None,
    };
    let analysis =
        analysis::Settings { warm_up: super::judging::WARM_UP, ..analysis::Settings::default() };
    let rollout = RolloutConfig {
        stages: Stages::Auto,
        bake: analysis.bake,
        rollback_over: std::time::Duration::ZERO,
        upgrade: UpgradeFacts::default(),
    };
    let tier = TierConfig {
        tier: Arc::new(tier),
        stable: releases[0].version.clone(),
        releases,
        instances: Vec::new(),
        canary_down: super::tier::CANARY_DOWN,
        stages: None,
        analysis,
        lines: TierLines::default(),
    };
    Ok(Config {
        admin: AdminSettings::default(),
        state: StateSettings::default(),
        proxy: ProxyConfig::default(),
        log: LogSettings::default(),
        acme: None,
        tiers: vec![tier],
        caches: Vec::new(),
        lives: Vec::new(),
        signals: Vec::new(),
        statsd: None,
        rollout,
        runbook: RunbookConfig::default(),
        notify: crate::notify::Settings::default(),
        warnings: Vec::new(),
    })
}

/// Refuses two versions that could not be told apart.
fn distinct(old: &ReleaseConfig, new: &ReleaseConfig) -> Result<(), ArgumentError> {
    if old.version == new.version {
        let message = format!("both versions are called {}", new.version);
        let mistake = Mistake::new(message, "give each a name of its own: VERSION=ADDRESS");
        return Err(ArgumentError::new("--canary", mistake));
    }
    if old.upstreams[0].plain() == new.upstreams[0].plain() {
        let message = format!("both versions run on {}", new.upstreams[0]);
        let mistake = Mistake::new(message, "two versions need two addresses");
        return Err(ArgumentError::new("--canary", mistake));
    }
    Ok(())
}

/// Checks the admin address against all others, since an argument may have overridden it.
///
/// ```
/// use weir::config::{may_be_asked_there, without_file};
/// let listen = "127.0.0.1:7700".parse().unwrap();
/// let mut config = without_file(listen, "127.0.0.1:3000", None).unwrap();
/// assert!(may_be_asked_there(&config).is_err(), "7700 is the default of the admin");
/// config.admin.listen = "127.0.0.1:7701".parse().unwrap();
/// assert_eq!(may_be_asked_there(&config), Ok(()));
/// ```
pub fn may_be_asked_there(config: &Config) -> Result<(), ArgumentError> {
    let admin = config.admin.listen;
    let own = Listen::Socket(admin);
    let refuse = |message: String| {
        let mistake = Mistake::new(message, "use another port");
        Err(ArgumentError::new("--admin", mistake))
    };
    for tier in &config.tiers {
        let (name, listen) = (&tier.tier.name, &tier.tier.listener.listen);
        if listen.overlaps(&own) {
            return refuse(format!("{admin} is taken: {name} listens on {listen}"));
        }
        for release in &tier.releases {
            if let Some(address) = release.upstreams.iter().find(|a| a.leads_to(&own)) {
                let version = &release.version;
                return refuse(format!("{address}, where {version} runs, would lead to {admin}"));
            }
        }
    }
    Ok(())
}

/// Reads `ADDRESS` or `VERSION=ADDRESS`.
fn release(
    argument: &'static str,
    text: &str,
    unnamed_version: &str,
    listen: SocketAddr,
) -> Result<ReleaseConfig, ArgumentError> {
    // A path of a socket may hold an equals sign, a version no colon.
    let named = text.split_once('=').filter(|(name, _)| !name.contains(':'));
    let (version, address) = named.unwrap_or((unnamed_version, text));
    let version =
        Version::try_from(version.to_owned()).map_err(|error| unnamed(argument, &error))?;
    let address =
        values::upstream(address).map_err(|mistake| ArgumentError::new(argument, mistake))?;
    let tls = address.is_tls().then(|| Arc::new(ClientTls::default()));
    if address.leads_to(&listen.into()) {
        let message = format!("{} leads back to Weir, which listens there", quoted(text));
        let mistake = Mistake::new(message, "write the address of the app");
        return Err(ArgumentError::new(argument, mistake));
    }
    Ok(ReleaseConfig {
        version,
        upstreams: vec![address],
        host: None,
        tls,
        proxy_protocol: false,
        line: 0,
    })
}

fn unnamed(argument: &'static str, error: &VersionError) -> ArgumentError {
    let help = "write ADDRESS or VERSION=ADDRESS";
    ArgumentError::new(argument, Mistake::new(error.to_string(), help))
}
