//! The verbs of the command line and their arguments.

mod give;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::SignedDuration;

use super::doctor::Doctor;
use super::init::Init;
use crate::admin::Role;
use crate::analysis::WhenUnproven;
use crate::traffic::{Address, TierName, Version};
pub use give::{Give, NotifyOrder, Start, StepVerb, Switch};

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "weir",
    version,
    about = "Canary rollouts without Kubernetes",
    override_help = include_str!("manual.txt"),
    disable_help_subcommand = true,
)]
pub struct Line {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Stand in front of the app and serve
    Run(Run),
    /// Show a bad canary rolled back and a good one promoted, on this machine, in a minute
    Demo(Demo),
    /// Anything that asks a running program, or none.
    #[command(flatten)]
    Ask(Ask),
}

/// Stand in front of the app and serve.
///
/// With a file: `weir run --config weir.toml`. Without one, two versions are enough; they are
/// called "old" and "new" unless you name them (VERSION=ADDR), the journal is in memory unless
/// --state keeps it, and the rollout starts at once. With --state both must be named: the journal
/// knows versions by their names, so each build needs one of its own.
#[derive(Clone, Debug, Default, Args)]
pub struct Run {
    /// The file; left out: ./weir.toml, then /etc/weir/weir.toml
    #[arg(long, value_name = "FILE", conflicts_with_all = ["listen", "stable", "canary", "state"])]
    pub config: Option<PathBuf>,
    /// Where clients come in, without a file
    #[arg(long, value_name = "ADDR", requires = "stable")]
    pub listen: Option<SocketAddr>,
    /// The version that serves: ADDR or VERSION=ADDR (with --state VERSION=ADDR)
    #[arg(long, value_name = "ADDR", requires = "listen")]
    pub stable: Option<Named>,
    /// The version to try: ADDR or VERSION=ADDR (with --state VERSION=ADDR)
    #[arg(long, value_name = "ADDR", requires = "stable")]
    pub canary: Option<Named>,
    /// Where the journal is kept, without a file; versions must be named then
    #[arg(long, value_name = "FILE", requires = "listen")]
    pub state: Option<PathBuf>,
    /// Where API and metrics listen [default: the file's, else 127.0.0.1:7700]
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<SocketAddr>,
    /// Only write down what would have been rolled back; stages move by `advance` and `promote`
    #[arg(long)]
    pub observe: bool,
    /// Record what the judge sees, for `weir replay`
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Take over from the weir that has this journal, without a pause
    #[arg(long)]
    pub replace: bool,
    /// Threads that serve [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: Option<u16>,
}

/// An address, and the version that runs there if it was named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The version.
    pub version: Option<Version>,
    /// Where it runs.
    pub address: Address,
}

impl fmt::Display for Named {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Some(version) => write!(out, "{version}={}", self.address),
            None => self.address.fmt(out),
        }
    }
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (version, address) = match text.split_once('=') {
            Some((version, address)) => {
                let version: Version = version.parse().map_err(|e| format!("{e}"))?;
                (Some(version), address)
            }
            None => (None, text),
        };
        let address = address.parse().map_err(|error| format!("{error}"))?;
        Ok(Self { version, address })
    }
}

/// Show Weir at work: two small versions of an app, synthetic users, a plan of its own.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Demo {
    /// One line of JSON a rollout instead of the story
    #[arg(long)]
    pub json: bool,
    /// Repeat the day of this seed
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Only the good canary
    #[arg(long, conflicts_with = "bad")]
    pub good: bool,
    /// Only the bad canary
    #[arg(long)]
    pub bad: bool,
}

/// Where the running program is.
#[derive(Clone, Debug, Default, Args)]
pub struct Place {
    /// The program's admin address [default: that of the file, else 127.0.0.1:7700]
    #[arg(long, value_name = "ADDR", env = "WEIR_ADMIN")]
    pub admin: Option<String>,
    /// The program's file [default: ./weir.toml, then /etc/weir/weir.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// What every order takes.
#[derive(Clone, Debug, Default, Args)]
pub struct Common {
    /// Why: the journal keeps it
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// The answer as one line of JSON
    #[arg(long)]
    pub json: bool,
    /// Where the program is.
    #[command(flatten)]
    pub place: Place,
}

/// What a look takes.
#[derive(Clone, Debug, Default, Args)]
pub struct Look {
    /// The answer as JSON
    #[arg(long)]
    pub json: bool,
    /// Where the program is.
    #[command(flatten)]
    pub place: Place,
}

/// Everything but serving.
#[derive(Debug, Subcommand)]
pub enum Ask {
    /// What changes something in the running program.
    #[command(flatten)]
    Give(Give),
    /// What looks at the running program.
    #[command(flatten)]
    See(See),
    /// Read a file and say everything that is wrong with it
    Check {
        /// The file [default: ./weir.toml, then /etc/weir/weir.toml]
        file: Option<PathBuf>,
        /// The findings as JSON
        #[arg(long)]
        json: bool,
    },
    /// Ask what is needed, and write the file
    Init(Init),
    /// Look at the machine, the file and the program for what would go wrong: exit 0 or 1
    Doctor(Doctor),
    /// Judge recorded traffic again
    Replay {
        /// Traces: a window of both versions a line
        #[arg(required = true, value_name = "TRACE")]
        traces: Vec<PathBuf>,
        /// Judge as this file says: its analysis section and stages [default: the judge's defaults]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// The tier of that file, if it has several
        #[arg(long, value_name = "TIER", requires = "config")]
        tier: Option<TierName>,
        /// What happens to a stage that nothing speaks against but that is not proven [default: as
        /// the file says, else hold]
        #[arg(long, value_name = "WHAT")]
        when_unproven: Option<Unproven>,
        /// A line of JSON a trace
        #[arg(long)]
        json: bool,
    },
    /// Names and secrets of those who may give orders
    #[command(subcommand)]
    Token(Token),
    /// What a shell needs to complete verbs and their arguments
    ///
    /// For bash: `weir completions bash > /etc/bash_completion.d/weir`; for zsh into `_weir` in a
    /// folder of `$fpath`; for fish into ~/.config/fish/completions/weir.fish.
    Completions {
        /// Which
        shell: Shell,
    },
    /// The pages for man(1): one of weir, and one of each verb
    ///
    /// To read one: `weir man rollback | man -l -`. To install all: `weir man --out
    /// /usr/local/share/man/man1`.
    Man {
        /// The verb [default: weir itself]
        #[arg(conflicts_with = "out")]
        verb: Vec<String>,
        /// Write all pages into this folder
        #[arg(long, value_name = "FOLDER")]
        out: Option<PathBuf>,
    },
}

/// A shell that completes what is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// Of most distributions.
    Bash,
    /// The friendly one.
    Fish,
    /// Of macOS.
    Zsh,
}

/// What can be asked of a chain.
#[derive(Debug, Subcommand)]
pub enum Chain {
    /// Each version, when everybody had it, and which is next
    Status(Look),
}

/// What looks at the running program.
#[derive(Debug, Subcommand)]
pub enum See {
    /// Wait for the end of a rollout: exit 0 promoted, 3 rolled back, 4 still open
    Wait {
        /// Where [default: all open rollouts]
        tier: Option<TierName>,
        /// For how long
        #[arg(long, value_name = "SPAN", default_value = "2h", value_parser = span)]
        timeout: Duration,
        /// Where the program is.
        #[command(flatten)]
        place: Place,
    },
    /// The checks before a rollout, made now: exit 0 where none failed, 1 where one did
    Preflight {
        /// The version that is to be rolled out [default: all releases are looked at]
        version: Option<Version>,
        /// How to ask.
        #[command(flatten)]
        look: Look,
    },
    /// What `start` would do now, and how long it would take; nothing changes
    ///
    /// Where no program runs the file alone is read.
    Plan {
        /// Where [default: every tier that has the release]
        tier: Option<String>,
        /// Which version
        version: Option<Version>,
        /// Also one that was rolled back
        #[arg(long)]
        again: bool,
        /// How to ask.
        #[command(flatten)]
        look: Look,
    },
    /// The versions of a chain (`[rollout] hops`), one after the other
    #[command(subcommand)]
    Chain(Chain),
    /// How things stand, on one screen
    Status(Look),
    /// How things stand, live, with keys for orders
    ///
    /// Fills the terminal: tiers, stages, both versions side by side, evidence, and the journal. `?`
    /// tells the keys. Where nobody looks on (a pipe, TERM=dumb) it prints a line for each change.
    Watch {
        /// Where the program is.
        #[command(flatten)]
        place: Place,
    },
    /// Why the judge says what it says, and what would change it
    Explain {
        /// Where [default: every tier]
        tier: Option<TierName>,
        /// How to ask.
        #[command(flatten)]
        look: Look,
    },
    /// What each version has in the caches; `drop` throws the part of one away
    #[command(args_conflicts_with_subcommands = true)]
    Cache {
        /// What to do [default: list them]
        #[command(subcommand)]
        order: Option<CacheOrder>,
        /// How to ask.
        #[command(flatten)]
        look: Look,
    },
    /// The document afterwards: what was planned, what happened, by whom and why
    Report {
        /// The number of the rollout [default: the newest]
        rollout: Option<u64>,
        /// How it is written
        #[arg(long, value_name = "FORMAT", default_value = "md")]
        format: ReportFormat,
        /// From the journal of a program that is stopped
        #[arg(long, value_name = "FILE")]
        journal: Option<PathBuf>,
        /// Where the program is.
        #[command(flatten)]
        place: Place,
    },
    /// The journal: what happened, when, by whom and why
    Log {
        /// This many of the newest records
        #[arg(short = 'n', value_name = "N", default_value_t = 20)]
        newest: u64,
        /// Go on as more happens
        #[arg(long, short)]
        follow: bool,
        /// How to ask.
        #[command(flatten)]
        look: Look,
    },
}

/// How a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// One file for a browser or a printer.
    Html,
    /// For programs.
    Json,
    /// Markdown.
    Md,
}

/// What can be done with a cache.
#[derive(Debug, Subcommand)]
pub enum CacheOrder {
    /// What a process of a version is told of its caches: lines for `env` and for hooks
    Env {
        /// The version
        version: Version,
        /// The file [default: ./weir.toml, then /etc/weir/weir.toml]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// The same as JSON
        #[arg(long)]
        json: bool,
    },
    /// Throw away answers that are kept for others
    Purge {
        /// Which: with its host, `https://shop.example/page?x=1`, in all versions
        #[arg(required_unless_present_any = ["tag", "namespace"])]
        url: Option<String>,
        /// All with this tag in `Cache-Tag` or `Surrogate-Key`, in all versions
        #[arg(long, conflicts_with_all = ["url", "namespace"])]
        tag: Option<String>,
        /// All of one version, by the name that `weir cache` lists
        #[arg(long, conflicts_with = "url")]
        namespace: Option<String>,
        /// How to ask.
        #[command(flatten)]
        look: Look,
    },
    /// Delete all keys of a namespace
    Drop {
        /// Its name, as `weir cache` lists it; also one whose release is gone
        namespace: String,
        /// How to ask.
        #[command(flatten)]
        look: Look,
    },
}

/// What happens to a stage that is not proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Unproven {
    /// It goes on.
    Advance,
    /// It waits for a person.
    Hold,
}

impl From<Unproven> for WhenUnproven {
    fn from(unproven: Unproven) -> Self {
        match unproven {
            Unproven::Advance => Self::Advance,
            Unproven::Hold => Self::Hold,
        }
    }
}

/// Where the file of tokens is.
#[derive(Clone, Debug, Default, Args)]
pub struct TokenPlace {
    /// The program's file, which names the journal [default: ./weir.toml, then /etc/weir/weir.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The journal, for a program without a file
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    pub state: Option<PathBuf>,
}

/// Names and secrets. A running program notices a change at the next request.
#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a token; it is shown this once
    Add {
        /// Whose: the name that the journal will show
        name: String,
        /// What it allows: operator or viewer
        #[arg(long, value_parser = role)]
        role: Role,
        /// Where the tokens are.
        #[command(flatten)]
        place: TokenPlace,
    },
    /// Names and roles
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
        /// Where the tokens are.
        #[command(flatten)]
        place: TokenPlace,
    },
    /// Take a token back
    Revoke {
        /// Whose
        name: String,
        /// Where the tokens are.
        #[command(flatten)]
        place: TokenPlace,
    },
}

fn role(text: &str) -> Result<Role, String> {
    match text {
        "operator" => Ok(Role::Operator),
        "viewer" => Ok(Role::Viewer),
        _ => Err("use operator or viewer".into()),
    }
}

fn span(text: &str) -> Result<Duration, String> {
    let span = text.parse::<SignedDuration>().ok().and_then(|span| Duration::try_from(span).ok());
    span.ok_or_else(|| "write a span with its unit, such as 90s, 5m or 2h".into())
}
