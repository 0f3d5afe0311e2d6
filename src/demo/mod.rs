//! `weir demo`: a bad release and a good one before real traffic on the loopback, told live.
//!
//! Everything is real but the users and the shop: the same proxy, judge and journal as in
//! `weir run`. Only the plan is shorter, and it is printed.

mod crowd;
mod shop;
mod tale;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::Serialize;

use crate::assembly::{Store, Weir, control_settings, proxy_settings, tls_settings};
use crate::config::{self, Config};
use crate::control::Handle;
use crate::rollout::{Actor, Command, Order, Outcome};
use crate::traffic::Version;
use crowd::Crowd;

/// The share of its pages that the bad release fails.
const FAILING: f64 = 0.03;

/// How long users come before the first rollout, so that it is known what is slow.
const WARM_UP: Duration = Duration::from_secs(3);

/// How long a rollout of the demo may take before it is called stuck.
const ROLLOUT_MAX: Duration = Duration::from_mins(2);

/// How often the story goes on.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// How a rollout can end, as `--json` says it.
const PROMOTED: &str = "promoted";
/// The other way.
const ROLLED_BACK: &str = "rolled_back";

/// What the demo is asked to do.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// From which users and faults are drawn.
    pub seed: u64,
    /// Show the release that fails 3 % of its pages.
    pub bad: bool,
    /// Show the release that is good.
    pub good: bool,
    /// Tell nothing but the JSON lines.
    pub json: bool,
}

/// How one rollout ended: the line of `--json`.
#[derive(Clone, Debug, Serialize)]
pub struct Ended {
    /// The release.
    pub rollout: Version,
    /// `promoted` or `rolled_back`.
    pub outcome: &'static str,
    /// How long it took.
    pub seconds: f64,
    /// Requests that the users sent meanwhile.
    pub requests: u64,
    /// Requests that the canary failed.
    pub canary_failed: u64,
    /// Errors that the users saw.
    pub user_errors: u64,
}

/// Runs the demo, telling it line by line.
///
/// # Errors
/// A port cannot be had, or a rollout does not end as it should.
pub fn run(
    settings: Settings,
    tell: &mut dyn FnMut(&str) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the threads of the demo")?;
    let outcome = runtime.block_on(play(settings, tell));
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

async fn play(
    settings: Settings,
    tell: &mut dyn FnMut(&str) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let seed = settings.seed;
    let shops = [
        shop::open("1.0.0", 0.0, seed).await?,
        shop::open("1.1.0", FAILING, seed.wrapping_add(1_000)).await?,
        shop::open("1.1.1", 0.0, seed.wrapping_add(2_000)).await?,
    ];
    let text = file(free_port()?, shops);
    let config = config::parse("demo", &text, Path::new("."))
        .map_err(|report| anyhow::anyhow!("{report}"))?;
    let mut story = tale::Tale::new(settings.json, tell);
    story.opening(seed, &text)?;
    let weir = start(&config)?;
    let door = config.tiers[0].tier.listener.listen.socket();
    let door = door.context("the demo listens at an address")?;
    let crowd = Crowd::enter(door, seed);
    tokio::time::sleep(WARM_UP).await;

    let mut ended = Vec::new();
    for (wanted, version) in [(settings.bad, "1.1.0"), (settings.good, "1.1.1")] {
        if wanted {
            ended.push(rollout(weir.handle(), &crowd, version, &mut story).await?);
        }
    }
    story.closing(&ended)?;
    weir.stop(Duration::from_millis(100)).await;
    Ok(())
}

fn start(config: &Config) -> anyhow::Result<Weir> {
    let settings = control_settings(config, false, None, vec![]);
    let proxy = proxy_settings(config, 2);
    Weir::start(settings, &tls_settings(config), Store::memory(), &proxy)
}

/// The file of the demo: its plan has short stages and a short grace, and is printed.
fn file(listen: SocketAddr, shops: [SocketAddr; 3]) -> String {
    let [old, bad, good] = shops;
    format!(
        r#"[[tier]]
name     = "shop"
listen   = "{listen}"
stable   = "1.0.0"
releases = [
  {{ version = "1.0.0", upstreams = ["{old}"] }},
  {{ version = "1.1.0", upstreams = ["{bad}"] }},    # fails 3 % of its pages
  {{ version = "1.1.1", upstreams = ["{good}"] }},    # is good
]
sticky   = {{ cookie = "uid" }}
health   = {{ path = "/health", interval = "500ms" }}

[rollout]
stages = [
  {{ weight = "5%",  bake = "3s" }},
  {{ weight = "25%", bake = "3s" }},
  {{ weight = "50%", bake = "3s" }},
]

[analysis]
grace = "2s"       # 60s outside a demo
margin = "1pp"     # 0.5pp outside a demo
when_unproven = "advance"
give_up = "45s"    # 30m outside a demo
"#
    )
}

fn free_port() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?)
}

/// One rollout from its start to its end.
async fn rollout(
    handle: &Handle,
    crowd: &Crowd,
    version: &str,
    story: &mut tale::Tale<'_>,
) -> anyhow::Result<Ended> {
    let version: Version = version.parse()?;
    let first_record = handle.view().records.len();
    begin(handle, &version).await?;
    crowd.forget();
    story.begin();
    let began = Instant::now();
    let mut told = first_record;
    while began.elapsed() < ROLLOUT_MAX {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let view = handle.view();
        for record in view.records.iter().skip(told) {
            story.event(began.elapsed(), &record.event)?;
        }
        told = view.records.len().max(told);
        let tier = view.tiers.first().context("the demo has a tier")?;
        if let Some(rollout) = &tier.rollout {
            story.progress(began.elapsed(), tier, rollout, LINE_EVERY)?;
            continue;
        }
        let release = tier.releases.iter().find(|release| release.version == version);
        let fate = release.and_then(|release| release.fate.as_ref()).map(|fate| fate.outcome);
        let outcome = match fate {
            Some(Outcome::Promoted) => PROMOTED,
            Some(Outcome::RolledBack) => ROLLED_BACK,
            Some(Outcome::Adopted | Outcome::Started) | None => bail!("{version} ended in no way"),
        };
        let seen = crowd.seen();
        let ended = Ended {
            rollout: version,
            outcome,
            seconds: (began.elapsed().as_secs_f64() * 10.0).round() / 10.0,
            requests: seen.total(),
            canary_failed: release.map_or(0, |release| release.errors),
            user_errors: seen.errors,
        };
        story.ended(&ended, &seen)?;
        return Ok(ended);
    }
    bail!("the rollout of {version} did not end within {} s", ROLLOUT_MAX.as_secs())
}

async fn begin(handle: &Handle, version: &Version) -> anyhow::Result<()> {
    let order = Order::Start {
        tier: None,
        version: Some(version.clone()),
        upstreams: vec![],
        again: false,
    };
    let by: Actor = "demo".parse()?;
    handle.order(Command { order, by, because: None }, false).await?;
    Ok(())
}
