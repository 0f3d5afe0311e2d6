//! The questions in their order, and what is proposed for each.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::bail;
use tokio::runtime::Runtime;

use super::nginx::Pass;
use super::questions::{Bad, Doubts, Question, Questions};
use super::reading::{
    Release, cache, following, joined, listen, port, reachable, release, sticky, with_host,
};
use super::{Init, Seen};
use crate::config::TIERS_MAX;
use crate::hooks::{self, Hooks, ReleaseScene, UpstreamScene};
use crate::machine::ports::Listening;
use crate::tls::{Keyring, Protocols};
use crate::traffic::{Address, Listen, Spot, TierName, Version};

/// Health paths of frameworks, the likeliest first: Rails, many, Kubernetes' habit, Mastodon,
/// Mattermost.
const HEALTH_PATHS: [&str; 7] =
    ["/up", "/health", "/healthz", "/healthcheck", "/readyz", "/api/v4/system/ping", "/"];

/// Ports at which apps usually listen, the likeliest first.
const APP_PORTS: [u16; 8] = [3000, 8000, 8065, 5000, 4000, 9292, 8081, 8080];

/// Ports that are looked at for one that is free.
const PORTS_MAX: u16 = 100;

/// Ports that are shown with those who hold them: what fits a screen.
const PORTS_SHOWN_MAX: usize = 12;

/// What tiers are called, unless somebody says more.
const TIER_NAMES: [&str; 4] = ["web", "api", "admin", "streaming"];

/// What was said of a tier.
#[derive(Clone, Debug)]
pub(super) struct TierAnswers {
    pub(super) name: TierName,
    pub(super) listen: Listen,
    pub(super) stable: Release,
    pub(super) canary: Option<Release>,
    pub(super) health: Option<String>,
}

/// A cache of all tiers, and the port of each version.
#[derive(Clone, Debug)]
pub(super) struct CacheAnswers {
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) upstream: String,
    pub(super) ports: Vec<(Version, SocketAddr)>,
}

/// All that was said.
#[derive(Clone, Debug)]
pub(super) struct Answers {
    pub(super) tiers: Vec<TierAnswers>,
    /// The value of `sticky`, as the file has it.
    pub(super) sticky: String,
    pub(super) caches: Vec<CacheAnswers>,
    pub(super) admin: SocketAddr,
    pub(super) token: Option<String>,
    pub(super) state: PathBuf,
}

/// Asks.
pub(super) struct Interview<'a> {
    init: &'a Init,
    seen: &'a Seen,
    questions: Questions,
    hooks: Hooks,
    runtime: Runtime,
    /// Ports that flags name for later answers.
    reserved: BTreeSet<u16>,
    /// Ports that answers have taken, whether anybody listens there or not.
    taken: BTreeSet<u16>,
}

impl<'a> Interview<'a> {
    pub(super) fn new(
        init: &'a Init,
        seen: &'a Seen,
        questions: Questions,
    ) -> anyhow::Result<Self> {
        let keyring = Keyring::new(Protocols { server: &[], client: &[] })?;
        let hooks = Hooks::new(hooks::Settings { place: hooks::Place::default(), keyring });
        let runtime = crate::cli::runtime()?;
        let listens = init.listens.iter().filter_map(|text| listen(text).ok()?.socket());
        let reserved = listens.chain(init.admin).map(|socket| socket.port()).collect();
        Ok(Self { init, seen, questions, hooks, runtime, reserved, taken: BTreeSet::new() })
    }

    pub(super) fn answers(mut self) -> anyhow::Result<Answers> {
        let mut tiers: Vec<TierAnswers> = Vec::new();
        loop {
            tiers.push(self.tier(&tiers)?);
            let wanted = self.init.tiers.len().max(self.init.stables.len());
            let more = tiers.len() < wanted
                || (wanted == 0
                    && tiers.len() < TIERS_MAX
                    && self.questions.whether("Is there another tier, such as an API?")?);
            if !more {
                break;
            }
        }
        self.left_over(tiers.len())?;
        let sticky = self.sticky()?;
        let caches = self.caches(&tiers)?;
        let admin = self.admin()?;
        let state = self.state()?;
        let token = self.token()?;
        Ok(Answers { tiers, sticky, caches, admin, token, state })
    }

    /// Flags that belong to a tier which is not there.
    fn left_over(&self, tiers: usize) -> anyhow::Result<()> {
        let Init { listens, canaries, healths, .. } = self.init;
        for (flag, given) in
            [("--listen", listens.len()), ("--canary", canaries.len()), ("--health", healths.len())]
        {
            if given > tiers {
                bail!("{flag} is given {given} times for {tiers} tiers; name each with --tier");
            }
        }
        Ok(())
    }

    fn tier(&mut self, before: &[TierAnswers]) -> anyhow::Result<TierAnswers> {
        let at = before.len();
        let proposed = TIER_NAMES.get(at).map_or_else(|| format!("tier{at}"), ToString::to_string);
        let name: TierName = self.questions.put(
            &Question {
                text: "What is this tier called, in orders and metrics?",
                notes: &[],
                flag: "--tier",
                given: self.init.tiers.get(at).map(ToString::to_string),
                proposed: &proposed,
            },
            |answer| {
                let name: TierName = answer.parse()?;
                if before.iter().any(|tier| tier.name == name) {
                    return Err(Bad::from("there is such a tier already"));
                }
                Ok(name)
            },
        )?;
        let stable = self.stable(at, before)?;
        let health = self.health(at, &stable)?;
        let canary = self.canary(at, before, &stable)?;
        let listen = self.listen(at)?;
        Ok(TierAnswers { name, listen, stable, canary, health })
    }

    fn stable(&mut self, at: usize, before: &[TierAnswers]) -> anyhow::Result<Release> {
        let used = used(before);
        let pass = self.seen.passes.iter().find(|pass| {
            !pass.upstreams.is_empty() && !pass.upstreams.iter().any(|one| used.contains(one))
        });
        let listens = |port: u16| self.seen.ports.iter().find(|one| one.address.port() == port);
        let app = APP_PORTS.iter().filter_map(|port| listens(*port));
        let mut app = app.map(|found| Address::from(reachable(found.address)));
        let proposed = match pass {
            Some(pass) => joined(&pass.upstreams),
            None => app
                .find(|address| !used.contains(address))
                .map_or_else(|| format!("127.0.0.1:{}", 3000 + 10 * at), |found| found.to_string()),
        };
        let version = before.first().map_or("1.0.0", |tier| tier.stable.version.as_str());
        let version: Version = version.parse()?;
        let notes = self.where_it_may_run();
        let given = self.init.stables.get(at).cloned();
        let says_version = given.is_some();
        let mut release = self.questions.put(
            &Question {
                text: "Where does the app run today? Several addresses with commas.",
                notes: &notes,
                flag: "--stable",
                given,
                proposed: &proposed,
            },
            |answer| release(answer, &version, &used),
        )?;
        if !says_version {
            release.version = self.version("Which version is that?", "--stable", &release, None)?;
        }
        release.upstreams.iter().for_each(|one| self.taken.extend(port(one)));
        Ok(release)
    }

    fn canary(
        &mut self,
        at: usize,
        before: &[TierAnswers],
        stable: &Release,
    ) -> anyhow::Result<Option<Release>> {
        let mut used = used(before);
        used.extend(stable.upstreams.iter().cloned());
        let proposed = self.beside(stable);
        let first = before.first().and_then(|tier| tier.canary.as_ref());
        let version = first
            .filter(|canary| canary.version != stable.version)
            .map_or_else(|| following(&stable.version), |canary| Ok(canary.version.clone()))?;
        let given = self.init.canaries.get(at).cloned();
        let says_version = given.is_some();
        let found = self.questions.put(
            &Question {
                text: "Where will the new version run, beside it? \"none\" if you do not know yet.",
                notes: &[],
                flag: "--canary",
                given,
                proposed: &joined(&proposed),
            },
            |answer| match answer {
                "none" => Ok(None),
                answer => release(answer, &version, &used).map(Some),
            },
        )?;
        let Some(mut release) = found else { return Ok(None) };
        if !says_version {
            let other = Some(&stable.version);
            release.version =
                self.version("Which version will that be?", "--canary", &release, other)?;
        } else if release.version == stable.version {
            bail!(
                "--canary: both versions are called {}; a version is the identity of a release",
                release.version
            );
        }
        release.upstreams.iter().for_each(|one| self.taken.extend(port(one)));
        Ok(Some(release))
    }

    fn version(
        &self,
        text: &str,
        flag: &'static str,
        release: &Release,
        other: Option<&Version>,
    ) -> anyhow::Result<Version> {
        let proposed = release.version.as_str();
        let question = Question { text, notes: &[], flag, given: None, proposed };
        self.questions.put(&question, |answer| {
            let version: Version = answer.parse()?;
            if other == Some(&version) {
                return Err(Bad::from("the version that runs today is called so already"));
            }
            Ok(version)
        })
    }

    /// Where the app may run, by what can be seen.
    fn where_it_may_run(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for pass in &self.seen.passes {
            let Pass { names, location, directive, place: (file, line), .. } = pass;
            let place = format!("{}:{line}", file.display());
            notes.push(format!("{place}: {} {location}: {directive}", names.join(" ")));
        }
        let others = self.seen.ports.iter().filter(|one| one.holder.is_some() && !is_weir(one));
        let held = others.map(|one| format!("{} is held by {}", one.address, one.who()));
        notes.extend(held.take(PORTS_SHOWN_MAX));
        notes
    }

    /// Ports beside those of `stable`, that nobody listens at.
    fn beside(&self, stable: &Release) -> Vec<Address> {
        let mut taken = self.taken.clone();
        let beside = |address: &Address| {
            let mut address = address.clone();
            match &mut address.spot {
                Spot::Name(_, port) => *port = self.free(port.saturating_add(1), &mut taken),
                Spot::Socket(socket) => {
                    socket.set_port(self.free(socket.port().saturating_add(1), &mut taken));
                }
                Spot::Unix(path) => {
                    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                    path.set_file_name(format!("{stem}-new.sock"));
                }
            }
            address
        };
        stable.upstreams.iter().map(beside).collect()
    }

    /// The first port from `from` on that is free and that no answer has named.
    fn free(&self, from: u16, taken: &mut BTreeSet<u16>) -> u16 {
        let is_held = |port: u16| self.seen.ports.iter().any(|one| one.address.port() == port);
        let mut ports = (from..from.saturating_add(PORTS_MAX)).filter(|port| !is_held(*port));
        let free = ports
            .find(|port| !taken.contains(port) && !self.reserved.contains(port))
            .unwrap_or(from);
        taken.insert(free);
        free
    }

    fn health(&self, at: usize, stable: &Release) -> anyhow::Result<Option<String>> {
        let given = self.init.healths.get(at).cloned();
        let proposed = if given.is_some() { None } else { self.first_healthy(stable) };
        let notes = match &proposed {
            Some(path) => vec![format!("{} answers {path}", stable.upstreams[0])],
            None => vec!["\"none\": a connection that opens is enough".to_owned()],
        };
        let mut doubts = Doubts::default();
        self.questions.put(
            &Question {
                text: "Which path says whether the app is well?",
                notes: &notes,
                flag: "--health",
                given,
                proposed: proposed.as_deref().unwrap_or("none"),
            },
            |answer| {
                if answer == "none" {
                    return Ok(None);
                }
                if !answer.starts_with('/') {
                    return Err(Bad::from("write a path, such as /health, or none"));
                }
                match self.tried(stable, Some(answer)) {
                    Err(why) if doubts.may(answer) => Err(Bad::Doubt(why)),
                    _ => Ok(Some(answer.to_owned())),
                }
            },
        )
    }

    /// The first of the usual paths that is answered with success.
    fn first_healthy(&self, stable: &Release) -> Option<String> {
        self.tried(stable, None).ok()?;
        let mut paths = HEALTH_PATHS.iter();
        paths.find(|path| self.tried(stable, Some(path)).is_ok()).map(ToString::to_string)
    }

    fn tried(&self, release: &Release, path: Option<&str>) -> Result<String, String> {
        let address = release.upstreams[0].clone();
        let upstream = UpstreamScene { address, is_healthy: None };
        let scene = ReleaseScene {
            version: release.version.clone(),
            upstreams: Vec::new(),
            host: None,
            tls: None,
            proxy_protocol: false,
            caches: Vec::new(),
        };
        self.runtime.block_on(self.hooks.visit(&scene, &upstream, path))
    }

    fn listen(&mut self, at: usize) -> anyhow::Result<Listen> {
        let mut taken = self.taken.clone();
        let proposed = format!("127.0.0.1:{}", self.free(8080, &mut taken));
        let mut doubts = Doubts::default();
        let listen: Listen = self.questions.put(
            &Question {
                text: "Where shall Weir take the users of this tier in?",
                notes: &[],
                flag: "--listen",
                given: self.init.listens.get(at).cloned(),
                proposed: &proposed,
            },
            |answer| {
                let listen = listen(answer)?;
                if listen.socket().is_some_and(|socket| self.taken.contains(&socket.port())) {
                    return Err(Bad::from("another answer has taken that port"));
                }
                match self.in_the_way(&listen) {
                    Some(why) if doubts.may(answer) => Err(Bad::Doubt(why)),
                    _ => Ok(listen),
                }
            },
        )?;
        self.taken.extend(listen.socket().map(|socket| socket.port()));
        Ok(listen)
    }

    /// Who has the place already, unless it is Weir.
    fn in_the_way(&self, listen: &Listen) -> Option<String> {
        let socket = listen.socket()?;
        let mut others = self.seen.ports.iter().filter(|one| !is_weir(one));
        let other = others.find(|one| one.is_in_the_way_of(socket))?;
        Some(format!("{} is taken by {}", other.address, other.who()))
    }

    fn sticky(&self) -> anyhow::Result<String> {
        self.questions.put(
            &Question {
                text: "What keeps a user on one version?",
                notes: &[
                    "cookie: Weir's own. cookie:NAME or header:NAME: the app's, such as \
                     header:authorization"
                        .to_owned(),
                    "address: the client's. none: every request is drawn anew".to_owned(),
                ],
                flag: "--sticky",
                given: self.init.sticky.clone(),
                proposed: "cookie",
            },
            sticky,
        )
    }

    fn caches(&mut self, tiers: &[TierAnswers]) -> anyhow::Result<Vec<CacheAnswers>> {
        let local = self.seen.ports.iter().filter_map(|one| match one.address.port() {
            6379 => Some("redis://127.0.0.1:6379".to_owned()),
            11211 => Some("memcached://127.0.0.1:11211".to_owned()),
            _ => None,
        });
        let mut notes = vec![
            "each version then finds its own part of it at a port of its own, to which you point \
             it"
            .to_owned(),
        ];
        let mut local: Vec<String> = local.collect();
        local.dedup();
        notes.extend(local.iter().map(|url| format!("one listens here: {url}")));
        let mut asked = self.init.caches.iter();
        let mut caches = Vec::new();
        loop {
            let given = asked.next().cloned();
            if given.is_none() && !self.init.caches.is_empty() {
                return Ok(caches);
            }
            let names: Vec<String> =
                caches.iter().map(|cache: &CacheAnswers| cache.name.clone()).collect();
            let found = self.questions.put(
                &Question {
                    text: "Which Redis or memcached do both versions use as a cache? \"none\" for \
                           no (further) one.",
                    notes: if caches.is_empty() { &notes } else { &[] },
                    flag: "--cache",
                    given,
                    proposed: "none",
                },
                |answer| cache(answer, &names),
            )?;
            let Some((kind, upstream, name)) = found else { return Ok(caches) };
            let ports = self.cache_ports(kind, tiers);
            caches.push(CacheAnswers { name, kind, upstream, ports });
        }
    }

    /// A port for each version.
    fn cache_ports(&mut self, kind: &str, tiers: &[TierAnswers]) -> Vec<(Version, SocketAddr)> {
        let mut taken = self.taken.clone();
        let releases = tiers.iter().flat_map(|tier| {
            std::iter::once(&tier.stable).chain(tier.canary.as_ref()).map(|one| one.version.clone())
        });
        let versions: BTreeSet<Version> = releases.collect();
        let from = if kind == "redis" { 16379 } else { 21211 };
        let port = |version: Version| {
            let port = self.free(from, &mut taken);
            (version, SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        };
        let ports = versions.into_iter().map(port).collect();
        self.taken = taken;
        ports
    }

    fn admin(&mut self) -> anyhow::Result<SocketAddr> {
        let mut taken = self.taken.clone();
        let proposed = format!("127.0.0.1:{}", self.free(7700, &mut taken));
        let mut doubts = Doubts::default();
        self.questions.put(
            &Question {
                text: "Where shall Weir itself be asked and ordered (the admin address)?",
                notes: &[],
                flag: "--admin",
                given: self.init.admin.map(|admin| admin.to_string()),
                proposed: &proposed,
            },
            |answer| {
                let admin: SocketAddr = with_host(answer).parse().map_err(|_| {
                    Bad::from("write an address and a port, such as 127.0.0.1:7700")
                })?;
                if self.taken.contains(&admin.port()) {
                    return Err(Bad::from("another answer has taken that port"));
                }
                let doubt = if admin.ip().is_loopback() {
                    self.in_the_way(&Listen::Socket(admin))
                } else {
                    Some("beyond this machine its tokens travel as they are, without TLS".into())
                };
                match doubt {
                    Some(why) if doubts.may(answer) => Err(Bad::Doubt(why)),
                    _ => Ok(admin),
                }
            },
        )
    }

    fn state(&self) -> anyhow::Result<PathBuf> {
        let is_system = self.init.file.starts_with("/etc");
        let proposed = if is_system { "/var/lib/weir/weir.db" } else { "weir.db" };
        let mut doubts = Doubts::default();
        let beside = self.init.file.parent().unwrap_or(Path::new("")).to_owned();
        self.questions.put(
            &Question {
                text: "Where shall the journal be kept, which knows how far a rollout is?",
                notes: &["a relative path is relative to the file that is written".to_owned()],
                flag: "--state",
                given: self.init.state.as_ref().map(|path| path.display().to_string()),
                proposed,
            },
            |answer| {
                let path = beside.join(answer);
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                let folder = folder.unwrap_or(Path::new(".")).to_owned();
                if path.is_dir() {
                    return Err(Bad::from("this is a folder; name the file in it"));
                }
                if !folder.is_dir() && doubts.may(answer) {
                    let why = format!("there is no folder {} yet", folder.display());
                    return Err(Bad::Doubt(why));
                }
                Ok(PathBuf::from(answer))
            },
        )
    }

    fn token(&self) -> anyhow::Result<Option<String>> {
        self.questions.put(
            &Question {
                text: "Make a token for somebody now? Its name stands in the journal; \"none\" for \
                       no.",
                notes: &["Weir makes one for its own user at its first start: operator.token \
                          beside the journal, which the command line finds"
                    .to_owned()],
                flag: "--token",
                given: self.init.token.clone(),
                proposed: "none",
            },
            |answer| match answer {
                "none" => Ok(None),
                "operator" | "viewer" => Err(Bad::from("this one is made at the first start")),
                name => {
                    let _: crate::rollout::Actor = name.parse()?;
                    Ok(Some(name.to_owned()))
                }
            },
        )
    }
}

/// Whether it is a Weir's socket.
fn is_weir(one: &Listening) -> bool {
    one.holder.as_ref().is_some_and(|holder| holder.command.starts_with("weir"))
}

fn used(tiers: &[TierAnswers]) -> Vec<Address> {
    let releases =
        tiers.iter().flat_map(|tier| std::iter::once(&tier.stable).chain(tier.canary.as_ref()));
    releases.flat_map(|release| release.upstreams.iter().cloned()).collect()
}
