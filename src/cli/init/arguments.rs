//! What `weir init` takes: every answer is a flag too, for scripts.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use crate::traffic::TierName;

/// Ask what is needed, and write the file.
///
/// Looks at the ports that are listened at and at the configuration of nginx for what to propose,
/// tries the health path, and writes a commented file that `weir check` passes. Whatever is given
/// as a flag is not asked. Nothing is written but the file, and the token if one is wanted.
#[derive(Clone, Debug, Default, Args)]
pub struct Init {
    /// The file to write
    #[arg(default_value = "weir.toml")]
    pub file: PathBuf,
    /// Ask nothing: what is not given is as proposed
    #[arg(long)]
    pub yes: bool,
    /// Write over a file that is there
    #[arg(long)]
    pub overwrite: bool,
    /// Read this configuration of nginx for what to propose [default: /etc/nginx/nginx.conf]
    #[arg(long, value_name = "FILE")]
    pub nginx: Option<PathBuf>,
    /// The name of a tier; given again for each further one. What follows is given as often, in
    /// the same order
    #[arg(long = "tier", value_name = "NAME")]
    pub tiers: Vec<TierName>,
    /// Where clients come in: an address such as 127.0.0.1:8080, or `unix:/run/weir/web.sock`
    #[arg(long = "listen", value_name = "ADDR")]
    pub listens: Vec<String>,
    /// The version that serves today: VERSION=ADDR, with further addresses behind commas
    #[arg(long = "stable", value_name = "RELEASE")]
    pub stables: Vec<String>,
    /// The version to come, likewise; "none" where there is none yet
    #[arg(long = "canary", value_name = "RELEASE")]
    pub canaries: Vec<String>,
    /// The path that says whether the app is well; "none": a connection that opens is enough
    #[arg(long = "health", value_name = "PATH")]
    pub healths: Vec<String>,
    /// What keeps a user on a version: cookie, cookie:NAME, header:NAME, address or none
    #[arg(long, value_name = "WHAT")]
    pub sticky: Option<String>,
    /// A Redis or memcached that the versions share, redis://HOST:PORT or memcached://HOST:PORT;
    /// may be repeated; "none" for none
    #[arg(long = "cache", value_name = "URL")]
    pub caches: Vec<String>,
    /// Where Weir is asked and ordered
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<SocketAddr>,
    /// Make a token of this name, and print it, once; "none" for none
    #[arg(long, value_name = "NAME")]
    pub token: Option<String>,
    /// Where the journal is kept
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
}
