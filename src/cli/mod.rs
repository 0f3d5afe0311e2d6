//! The command line: parses what was typed, asks the program, prints its answer.

mod caches;
mod chain;
mod check;
mod client;
mod doctor;
mod find;
mod follow;
mod forecast;
mod handbook;
mod init;
mod notify;
mod orders;
mod plan;
mod preflight;
pub mod print;
mod progress;
mod replay;
mod report;
mod screen;
mod secrets;
mod tree;
mod verbs;
mod watch;
mod words;

use clap::Parser as _;
use tokio::runtime::{Builder, Runtime};

use crate::admin::api::{Explanations, Log, LogRecord, Status};
use crate::traffic::TierName;
use client::{Client, escaped};
pub use doctor::Doctor;
pub use find::usual_file;
pub use init::Init;
pub use verbs::{
    Ask, CacheOrder, Chain, Common, Demo, Give, Line, Look, Named, NotifyOrder, Place, Run, See,
    Start, Token, TokenPlace, Unproven, Verb,
};

/// Exit codes of `wait`; 1 is trouble and 2 usage, as everywhere.
const ROLLED_BACK: u8 = 3;
/// The time is over and the rollout is open.
const STILL_OPEN: u8 = 4;

/// What was typed. Prints help or what is wrong with it, and ends the program then.
pub fn parse() -> Line {
    Line::parse()
}

/// Does what needs no serving; the exit code.
///
/// # Errors
/// It was refused, or could not be done.
pub fn ask(ask: Ask) -> anyhow::Result<u8> {
    match answer(ask) {
        Err(error) if error.is::<print::ReaderGone>() => Ok(0),
        outcome => outcome,
    }
}

fn answer(ask: Ask) -> anyhow::Result<u8> {
    let done = |outcome: anyhow::Result<()>| outcome.map(|()| 0);
    match ask {
        Ask::Check { file, json } => done(check::check(file.as_deref(), json)),
        Ask::Init(init) => done(init::init(&init)),
        Ask::Doctor(doctor) => runtime()?.block_on(doctor::doctor(&doctor)),
        Ask::Replay { traces, config, tier, when_unproven, json } => {
            let rules = replay::Rules::of(config.as_deref(), tier.as_ref(), when_unproven);
            done(rules.and_then(|rules| replay::replay(&traces, &rules, json)))
        }
        Ask::Token(token) => done(secrets::token(token)),
        Ask::Completions { shell } => done(handbook::completions(shell)),
        Ask::Man { verb, out } => done(handbook::man(&verb, out.as_deref())),
        Ask::Give(give) => done(runtime()?.block_on(orders::give(give))),
        Ask::See(see) => runtime()?.block_on(self::see(see)),
    }
}

fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Looks at the running program; the exit code.
async fn see(see: See) -> anyhow::Result<u8> {
    match see {
        See::Wait { tier, timeout, place } => {
            return follow::wait(&client(&place)?, tier.as_ref(), timeout).await;
        }
        See::Preflight { version, look } => {
            return preflight::preflight(version, &look).await;
        }
        See::Plan { tier, version, again, look } => {
            plan::plan(plan::Asked { tier, version, again }, &look).await?;
        }
        See::Chain(Chain::Status(look)) => chain::status(&look).await?,
        See::Status(look) => status(&look).await?,
        See::Watch { place } => return watch::watch(client(&place)?).await,
        See::Explain { tier, look } => explain(tier.as_ref(), &look).await?,
        See::Cache { order, look } => caches::cache(order, &look).await?,
        See::Log { newest, follow, look } => log(newest, follow, &look).await?,
        See::Report { rollout, format, journal, place } => {
            report::report(rollout, format, journal.as_deref(), &place).await?;
        }
    }
    Ok(0)
}

fn client(place: &Place) -> anyhow::Result<Client> {
    Ok(Client::new(find::program(place)?))
}

async fn status(look: &Look) -> anyhow::Result<()> {
    let client = client(&look.place)?;
    let text = client.get_text("/api/v1/status").await?;
    if look.json {
        return print::line(&text);
    }
    let status: Status = client.parsed(&text)?;
    print::picture(&screen::screen(&status, client.address()))
}

async fn explain(tier: Option<&TierName>, look: &Look) -> anyhow::Result<()> {
    let client = client(&look.place)?;
    let query = tier.map_or(String::new(), |tier| format!("?tier={}", escaped(tier.as_str())));
    let text = client.get_text(&format!("/api/v1/explain{query}")).await?;
    if look.json {
        return print::line(&text);
    }
    let explanations: Explanations = client.parsed(&text)?;
    for tier in &explanations.tiers {
        print::line(&format!("{}\n{}", tier.tier, tier.text.trim_end()))?;
    }
    Ok(())
}

async fn log(newest: u64, follow: bool, look: &Look) -> anyhow::Result<()> {
    let client = client(&look.place)?;
    let log = follow::journal(&client, &format!("limit={newest}"), look.json).await?;
    records(&log, look.json)?;
    if follow { follow::log(&client, log.latest, look.json).await } else { Ok(()) }
}

/// Records of the journal, one a line.
fn records(log: &Log, json: bool) -> anyhow::Result<()> {
    let zone = words::zone(log.zone.as_deref());
    for shown in &log.records {
        let LogRecord { sentence, record } = shown;
        let (at, by) = (words::stamp(record.event.at, &zone), record.event.by.as_str());
        print::line(&if json {
            serde_json::to_string(shown)?
        } else {
            format!("{at}  {:>4}  {by:<10}  {sentence}", record.seq)
        })?;
    }
    Ok(())
}
