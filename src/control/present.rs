//! From state, file and counters to the published view.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::closing::Turned;
use super::handle::Answer;
use super::settings::{ReleaseSettings, TierSettings};
use super::view::{
    ClosedView, CrewView, Hop, InstanceView, ItemView, ReleaseView, RolloutView, SignalView,
    TierView, UpgradeView, UpstreamView, View,
};
use super::{Control, Crew, Watched, publish};
use crate::clock;
use crate::metrics::{HealthState, SignalEntry, WarmUp};
use crate::rollout::{
    Closure, Event, Instance, Item, Order, Purpose, Receding, Standing, Tier, Trial, Upgrade, Wait,
    Workers, climbed, waits_for,
};
use crate::time::{Timestamp, Zone, in_words};
use crate::traffic::{Address, TierName, Version, Weight};

/// Share of one key's requests above which the verdict is unreliable.
const KEY_SHARE_MAX: f64 = 0.2;

/// For how long it is shown that a cache has begun with nothing: it is warm by then.
const BEGUN_SHOWN_MAX: Duration = Duration::from_mins(10);

/// Minutes of stable that the calibration of the judge needs.
const CALIBRATION_MINUTES_MIN: usize = 20;

impl View {
    /// Before anything is known.
    pub(super) fn empty(now: Timestamp) -> Self {
        Self {
            at: now,
            started: now,
            zone: None,
            observe: false,
            journal: None,
            journal_trouble: None,
            upgrade: None,
            chain: vec![],
            tiers: vec![],
            crews: vec![],
            records: Arc::default(),
        }
    }
}

impl Control {
    /// How things stand, for an order that changes nothing.
    pub(super) fn standing(&self, order: &Order) -> Answer {
        let wanted = match order {
            Order::Adopt { tier, .. } => Some(tier),
            Order::Approve { .. } | Order::RetryStep { .. } | Order::SkipStep { .. } => None,
            Order::Advance { tier, .. }
            | Order::Hold { tier, .. }
            | Order::Maintenance { tier, .. }
            | Order::Pause { tier }
            | Order::Promote { tier }
            | Order::Resume { tier }
            | Order::Rollback { tier, .. }
            | Order::Start { tier, .. } => tier.as_ref(),
        };
        let tiers = self.state.tiers.iter();
        let chosen = tiers.filter(|(name, _)| wanted.is_none_or(|wanted| wanted == *name));
        let connections_left = self.left_behind(chosen.clone().map(|(name, _)| name));
        let zone = &self.views.borrow().zone();
        let sentences = chosen
            .map(|(name, tier)| standing(name, tier, self.state.closures.of(name), zone))
            .collect();
        Answer { sentences, events: vec![], connections_left }
    }

    /// Upgraded connections of `tiers` that are open on releases which serve nobody any more.
    pub(super) fn left_behind<'a>(&self, tiers: impl Iterator<Item = &'a TierName>) -> u64 {
        let tiers: BTreeSet<&TierName> = tiers.collect();
        let known = tiers.into_iter().filter_map(|name| Some((name, self.state.tiers.get(name)?)));
        let open = known.flat_map(|(name, tier)| {
            let upgraded = self.register.upgraded(name).into_iter();
            upgraded.filter(|(version, _)| !tier.serves(version)).map(|(_, open)| open)
        });
        open.sum()
    }
}

impl Control {
    /// Publishes how things stand.
    pub(super) fn show(&self) {
        let tier = |file: &TierSettings| {
            let tier = self.state.tiers.get(&file.tier.name)?;
            Some(self.tier_view(tier, file))
        };
        self.views.send_replace(Arc::new(View {
            at: clock::wall(),
            started: self.started,
            zone: self.settings.upgrade.calendar.zone.clone(),
            observe: self.settings.observe,
            journal: self.journal.path().map(|path| path.display().to_string()),
            journal_trouble: self.journal.trouble(),
            upgrade: self.upgrade_view(),
            chain: self.chain(),
            tiers: self.settings.tiers.iter().filter_map(tier).collect(),
            crews: self.crew_views(),
            records: Arc::clone(&self.records),
        }));
    }

    fn crew_views(&self) -> Vec<CrewView> {
        let judged = self.settings.upgrade.workers.iter().filter(|file| file.jobs.is_some());
        let view = |file: &Workers| {
            let report = self.crews.get(file.name()).and_then(Crew::report);
            let upgrade = self.state.open_upgrade();
            let standing = upgrade.and_then(|upgrade| upgrade.trial(file.name()));
            let explanation = if let (Some(report), Some(Standing { trial, .. })) =
                (&report, standing)
            {
                let Trial { instance, version, moved, of, .. } = trial;
                let known = report.explain_jobs();
                format!("on trial      {instance} on {version}, {moved} of {of} are moved\n{known}")
            } else {
                let silent = self.silent(file.name());
                format!("no instance is on trial; no jobs are judged\n{silent}")
            };
            CrewView { name: file.name().clone(), report, explanation }
        };
        judged.map(view).collect()
    }

    /// What the signals of workers do not say now: somebody may mend it before it matters.
    fn silent(&self, workers: &TierName) -> String {
        let now = Instant::now();
        let entries = self.register.signals().entries();
        let own = entries.iter().filter(|entry| entry.tier == *workers);
        let line = |entry: &SignalEntry| {
            let why = entry.silence(now)?;
            Some(format!("blind         {} of {}: {why}\n", entry.signal, entry.wanted.version))
        };
        own.filter_map(line).collect()
    }

    fn chain(&self) -> Vec<(Version, Hop)> {
        let hops = &self.settings.upgrade.hops;
        if hops.is_empty() {
            return vec![];
        }
        let facts = self.facts(&self.settings, false);
        let climbed = climbed(&self.state, &facts, None).unwrap_or(0);
        let brings = |hop: &Version| {
            let upgrade = self.state.open_upgrade().filter(|upgrade| !upgrade.goes_back());
            upgrade.is_some_and(|u| u.targets.values().any(|target| target.version == *hop))
        };
        let stands = |(index, hop): (usize, &Version)| {
            let standing = match index.cmp(&climbed) {
                _ if brings(hop) => Hop::Now,
                std::cmp::Ordering::Less => Hop::Done,
                std::cmp::Ordering::Equal => Hop::Next,
                std::cmp::Ordering::Greater => Hop::Later,
            };
            (hop.clone(), standing)
        };
        hops.iter().enumerate().map(stands).collect()
    }

    fn upgrade_view(&self) -> Option<UpgradeView> {
        let upgrade = self.state.open_upgrade()?;
        let (facts, now) = (self.facts(&self.settings, false), clock::wall());
        let wait = waits_for(&self.state, &facts, now);
        let zone = self.settings.upgrade.calendar.zone();
        Some(UpgradeView {
            id: upgrade.id,
            name: upgrade.name.clone(),
            items: upgrade.items.iter().map(item_view).collect(),
            done: upgrade.at,
            needs_person: wait.as_ref().is_some_and(Wait::needs_person),
            waits_for: wait.map(|wait| self.said(&wait)),
            goes_back: upgrade.goes_back(),
            started: upgrade.started,
            entered: upgrade.entered,
            decide_by: upgrade.decide_by.map(|at| (at, zone.say(at))),
            output: match (&self.errand, self.interrupted_step()) {
                (Some(errand), _) => errand.lines(),
                (None, Some(step)) => self.leftovers.lines(&step),
                (None, None) => vec![],
            },
        })
    }

    fn undoes(&self) -> bool {
        self.state.open_upgrade().is_some_and(Upgrade::undoes)
    }

    /// What is waited for, and what is known of it here.
    fn said(&self, wait: &Wait) -> String {
        let standing = match wait {
            Wait::Interrupted { step, .. } => self.leftovers.standing(step),
            Wait::Jobs { workers, .. } => self
                .crews
                .get(workers)
                .and_then(Crew::report)
                .map(|report| report.verdict.reason().to_owned()),
            Wait::Running { .. } if self.errand.is_none() && self.undoes() => {
                self.leftovers.in_the_way()
            }
            Wait::Another { .. }
            | Wait::Answer { .. }
            | Wait::Failed { .. }
            | Wait::Held { .. }
            | Wait::Hours { .. }
            | Wait::Observing
            | Wait::Paused
            | Wait::Proof { .. }
            | Wait::Refused(_)
            | Wait::Running { .. } => None,
        };
        standing.map_or_else(|| wait.to_string(), |standing| format!("{wait}; {standing}"))
    }

    fn tier_view(&self, tier: &Tier, file: &TierSettings) -> TierView {
        let name = &file.tier.name;
        let watched = self.watched.get(name);
        let history = watched.map(Watched::history);
        let key_share = self.register.key_share(name);
        TierView {
            name: name.clone(),
            listen: file.tier.listener.listen.to_string(),
            stable: tier.stable.clone(),
            since: tier.since,
            by: tier.by.to_string(),
            previous: tier.previous.as_ref().map(|(version, _)| version.clone()),
            weight: self.shown_weight(tier, name),
            rollout: tier.rollout.as_ref().map(|rollout| {
                let report = watched.and_then(Watched::report);
                RolloutView {
                    id: rollout.id,
                    release: rollout.release.clone(),
                    attempt: rollout.attempt,
                    plan: rollout.plan.clone(),
                    rung: rollout.plan.rung(rollout.weight),
                    started: rollout.started,
                    entered: rollout.entered,
                    paused: rollout.paused,
                    held: rollout.held,
                    explanation: report
                        .as_ref()
                        .map(crate::analysis::Report::explain)
                        .unwrap_or_default(),
                    report,
                }
            }),
            releases: self.release_views(tier, file),
            rate: history.map_or(0.0, crate::analysis::History::rate),
            calibration_minutes: history.map_or(0, |history| history.minutes().len()),
            key_share,
            closed: self.closed(name),
            drift: self.drift(tier, file),
            instances: self.instance_views(tier, file),
            signals: self.signal_views(file),
            remarks: self.remarks(tier, file, key_share),
        }
    }

    /// The weight; while users go back in steps what is served, which is less.
    fn shown_weight(&self, tier: &Tier, name: &TierName) -> Weight {
        let served = tier.receding().and_then(|_| self.published(name));
        served.map_or(tier.weight(), |served| served.min(tier.weight()))
    }

    fn signal_views(&self, file: &TierSettings) -> Vec<SignalView> {
        let entries = self.register.signals().entries();
        let now = Instant::now();
        let own = entries.into_iter().filter(|entry| entry.tier == file.tier.name);
        let view = |entry: SignalEntry| SignalView {
            blind: entry.silence(now),
            name: entry.signal,
            version: entry.wanted.version,
            total: entry.tally.total,
            bad: entry.tally.bad,
            number: entry.number,
        };
        own.map(view).collect()
    }

    fn release_views(&self, tier: &Tier, file: &TierSettings) -> Vec<ReleaseView> {
        let in_use = [Some(&tier.stable), tier.canary()].into_iter().flatten();
        let mut versions: Vec<&Version> = in_use.collect();
        // One that has left the file is shown for as long as somebody is connected with it.
        let connected = self.register.upgraded(&file.tier.name);
        let listed = file.releases.iter().map(|release| &release.version);
        for version in listed.chain(connected.iter().map(|(version, _)| version)) {
            if !versions.contains(&version) {
                versions.push(version);
            }
        }
        versions.into_iter().map(|version| self.release_view(version, tier, file)).collect()
    }

    fn release_view(&self, version: &Version, tier: &Tier, file: &TierSettings) -> ReleaseView {
        let slot = self.register.release(&file.tier.name, version);
        let (shown, totals) = (self.register.shown(slot), self.register.totals(slot));
        let role = if *version == tier.stable {
            "stable"
        } else if tier.canary() == Some(version) {
            "canary"
        } else if tier.previous.as_ref().is_some_and(|(previous, _)| previous == version) {
            "previous"
        } else if file.release(version).is_some() {
            "available"
        } else {
            "gone"
        };
        let (addresses, _) = publish::addresses(version, tier, file);
        ReleaseView {
            version: version.clone(),
            role,
            fate: tier.versions.get(version).cloned(),
            upstreams: addresses.iter().map(|address| self.upstream_view(slot, address)).collect(),
            upgraded_open: shown.upgraded_open,
            in_flight: shown.in_flight,
            requests: totals.requests,
            errors: totals.errors,
            slot,
        }
    }

    fn instance_views(&self, tier: &Tier, file: &TierSettings) -> Vec<InstanceView> {
        let name = &file.tier.name;
        let view = |instance: &Instance| {
            let version = tier.version_of(&instance.name);
            let looked_at = publish::looked_at(&self.state, name);
            let looked_at = looked_at.filter(|(moved, _)| *moved == instance.name);
            let asked = version.or(looked_at.map(|(_, version)| version)).map(|of| {
                let release = self.register.release(name, of);
                self.upstream_view(release, &instance.address)
            });
            // Nobody asks one that is out, but to see whether it is well with the version it joins.
            let (health, error) = asked.map_or(("unknown", None), |seen| (seen.health, seen.error));
            InstanceView {
                name: instance.name.clone(),
                address: instance.address.to_string(),
                version: version.cloned(),
                health: health.to_owned(),
                error,
                connections: self.register.in_use(name, &instance.address),
            }
        };
        file.instances.iter().map(view).collect()
    }

    fn upstream_view(&self, release: usize, address: &Address) -> UpstreamView {
        let slot = self.register.upstream(release, address);
        let health = self.register.health(slot);
        UpstreamView {
            address: address.to_string(),
            health: match health.state {
                HealthState::Unknown => "unknown",
                HealthState::Healthy => "healthy",
                HealthState::Unhealthy => "unhealthy",
                HealthState::Ejected => "ejected",
            },
            since_seconds: Instant::now().saturating_duration_since(health.since).as_secs(),
            error: health.error,
            slot,
        }
    }

    /// What was refused to clients of the tier `name` for want of memory.
    fn shortage(&self, name: &TierName) -> Option<String> {
        let memory = self.register.memory();
        let shed = self.register.tier(name).shed.load(Ordering::Relaxed);
        let used = mebibytes(memory.used());
        let limit = memory.limit().map_or_else(|| "what there is".to_owned(), mebibytes);
        if memory.is_short() {
            Some(format!(
                "memory is short ({used} of {limit}): new requests get 503, {shed} so far; give it \
                 more ([proxy] memory), or lower limits.connections"
            ))
        } else if shed > 0 {
            Some(format!("{shed} requests got 503 since the start for want of memory ({limit})"))
        } else {
            None
        }
    }

    /// That the canary of the tier `name` is warmed before it gets users, and how that goes.
    pub(super) fn warming(&self, name: &TierName) -> Option<String> {
        let (tier, file) = (self.state.tiers.get(name)?, self.settings.tier(name)?);
        let (rollout, warm) = (tier.rollout.as_ref()?, file.tier.warm?);
        let progress = publish::warm_up(name, &self.register);
        let WarmUp { rollout: of, requests, answered, failed, error, .. } = progress;
        let (release, known) = (&rollout.release, of == rollout.id);
        let now = clock::wall();
        if publish::warming(tier, file, &self.register, now).is_some() {
            let left = in_words(Duration::from_secs(
                warm.within.saturating_sub(now.since(rollout.started)).as_secs().max(1),
            ));
            let far = if known {
                format!(" ({} of {requests})", answered + failed)
            } else {
                String::new()
            };
            return Some(format!(
                "{release} is warmed with requests that stable had lately{far}; users come when that \
                 is done, in {left} at the latest (`weir advance {name}` does not wait)"
            ));
        }
        let missed = requests.saturating_sub(answered);
        (known && missed > 0 && rollout.entered == rollout.started).then(|| {
            let error = error.unwrap_or_else(|| "the time was over".into());
            format!(
                "{release} is not warm: {missed} of {requests} requests got no answer ({error})"
            )
        })
    }

    /// The caches in which a release of the tier `name` that has users began with nothing of late.
    fn begun_anew(&self, tier: &Tier, name: &TierName) -> Vec<String> {
        let now = clock::wall();
        let began = |version: &Version| {
            let caches = self.settings.caches.iter().filter(|cache| {
                let uses = cache.is_used_by(name);
                let generation = self.state.generations.of(&cache.name, version);
                uses && generation.is_some_and(|at| now.since(at.began()) < BEGUN_SHOWN_MAX)
            });
            let caches: Vec<&str> = caches.map(|cache| cache.name.as_str()).collect();
            (!caches.is_empty()).then(|| {
                format!(
                    "{version} has just begun with nothing in the caches: {}; answers may be slower \
                     until they are warm",
                    caches.join(", ")
                )
            })
        };
        [Some(&tier.stable), tier.canary()].into_iter().flatten().filter_map(began).collect()
    }

    /// How the tier `name` is closed to its users, if it is.
    fn closed(&self, name: &TierName) -> Option<ClosedView> {
        let closure = self.state.closures.of(name)?;
        let Turned { answered, waited, refused } = self.closing.turned(name, &self.register);
        Some(ClosedView {
            purpose: closure.purpose,
            since: closure.since,
            by: closure.by.to_string(),
            until: closure.until,
            message: closure.message.clone(),
            close: closure.close,
            waiting: self.register.tier(name).waiting.len() as u64,
            answered,
            waited,
            refused,
        })
    }

    /// Where the file, the journal and what the proxy does differ.
    fn drift(&self, tier: &Tier, file: &TierSettings) -> Vec<String> {
        let (mut drift, name) = (Vec::new(), &file.tier.name);
        if let Some(version) = Self::line_missing(tier, file) {
            drift.push(format!(
                "the file has no line for {version}, which is in use; nothing is raised until it \
                 is back"
            ));
        } else if file.stable != tier.stable {
            drift.push(format!(
                "the file says stable = \"{}\", {} serves; the line can be brought up to date",
                file.stable, tier.stable
            ));
        }
        let pending = self.pending.iter().flat_map(|pending| &pending.events);
        let here = pending.filter(|event| event.tier.as_ref().is_none_or(|tier| tier == name));
        let late = |event: &Event| {
            format!("this waits for the journal's disk and is not done yet: {}", event.sentence())
        };
        drift.extend(here.map(late));
        let (epoch, table) = self.board.current();
        if !self.board.acknowledged(epoch) {
            drift.push("a worker does not serve yet what was published last".into());
        }
        let closure = self.state.closures.of(name);
        match table.tiers.iter().find(|served| served.tier.name == *name) {
            None => drift.push("the journal has this tier, and the proxy does not serve it".into()),
            Some(served) => {
                let says = [
                    (served.stable.version != tier.stable)
                        .then(|| (format!("{} as stable", tier.stable), "another version")),
                    (served.weight > tier.weight())
                        .then(|| (format!("a weight of {}", tier.weight()), "a higher one")),
                    (served.access != publish::access(closure)).then(|| {
                        let purpose = closure.map_or("no closure", |one| one.purpose.name());
                        (purpose.to_owned(), "something else")
                    }),
                ];
                let differs = |(journal, proxy)| {
                    format!("the journal has {journal}, and the proxy serves {proxy}")
                };
                drift.extend(says.into_iter().flatten().map(differs));
            }
        }
        drift
    }

    fn remarks(&self, tier: &Tier, file: &TierSettings, key_share: Option<f64>) -> Vec<String> {
        let mut remarks = self.settings.remarks.clone();
        let name = &file.tier.name;
        let untried = |release: &ReleaseSettings| {
            release.version != tier.stable && tier.is_new(&release.version)
        };
        if self.settings.starts_by_itself
            && tier.rollout.is_none()
            && let Some(release) = file.releases.iter().find(|release| untried(release))
        {
            remarks.push(format!(
                "no file: the rollout of {} starts by itself as soon as it is healthy",
                release.version
            ));
        }
        if let Some(what) = &tier.unconfirmed {
            remarks.push(format!(
                "the journal was lost ({what}); `weir adopt {name} {}` confirms who serves",
                tier.stable
            ));
        }
        remarks.extend(self.shortage(name));
        if let Some(Receding { by, .. }) = tier.receding() {
            remarks.push(format!(
                "everybody goes back, ordered by {by}; `weir rollback {name}` again takes them back \
                 at once"
            ));
        }
        let sticky = &file.tier.sticky;
        if let Some(was) = tier.rollout.as_ref().and_then(|open| open.other_sticky(sticky)) {
            remarks.push(format!(
                "the file's sticky ({sticky}) differs from that of the open rollout ({was}): \
                 clients were placed anew, and a reload is refused until it is back"
            ));
        }
        if let Some(share) = key_share.filter(|share| *share > KEY_SHARE_MAX) {
            remarks.push(format!(
                "one client sends {:.0} % of the requests; share and verdict are unreliable",
                share * 100.0
            ));
        }
        remarks.extend(self.warming(name));
        remarks.extend(self.begun_anew(tier, name));
        let calibration = self.watched.get(name).map_or(0, |w| w.history().minutes().len());
        if tier.rollout.is_none() && calibration < CALIBRATION_MINUTES_MIN {
            let known =
                if calibration == 1 { "1 minute" } else { &format!("{calibration} minutes") };
            remarks.push(format!(
                "{known} of stable known so far; {CALIBRATION_MINUTES_MIN} or more make a false roll \
                 back less likely where errors come in bursts"
            ));
        }
        remarks
    }
}

/// Bytes as people say them.
fn mebibytes(bytes: u64) -> String {
    format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20))
}

/// How a tier stands, as one sentence.
pub(super) fn standing(
    name: &TierName,
    tier: &Tier,
    closure: Option<&Closure>,
    zone: &Zone,
) -> String {
    if let Some(closure) = closure {
        let (since, by) = (zone.say(closure.since), &closure.by);
        let until = closure.until.map(|until| format!(" until {}", zone.say(until)));
        let state = match closure.purpose {
            Purpose::Hold => "held",
            Purpose::Maintenance => "in maintenance",
        };
        return format!("{name}: {state} since {since} ({by}){}", until.unwrap_or_default());
    }
    let (stable, since, by) = (&tier.stable, zone.say(tier.since), &tier.by);
    match &tier.rollout {
        Some(rollout) => {
            let paused = if rollout.paused { ", paused" } else { "" };
            format!(
                "{name}: {} of the clients are on {}{paused}, the others on {stable}",
                rollout.weight, rollout.release
            )
        }
        None => format!("{name}: everybody is on {stable} since {since} ({by})"),
    }
}

fn item_view(item: &Item) -> ItemView {
    let (kind, stage) = match item {
        Item::Everybody { .. } => ("everybody", None),
        Item::Home { .. } => ("home", None),
        Item::Shift(_) => ("shift", None),
        Item::Stage { stage, .. } => ("stage", Some(stage)),
        Item::Step(_) => ("step", None),
        Item::Trial(_) => ("trial", None),
    };
    ItemView {
        kind,
        text: item.to_string(),
        tiers: item.tiers().to_vec(),
        weight: stage.map(|stage| stage.weight),
        bake_seconds: match item {
            Item::Everybody { .. } | Item::Home { .. } | Item::Shift(_) | Item::Step(_) => None,
            Item::Stage { stage, .. } => Some(stage.bake.as_secs()),
            Item::Trial(trial) => Some(trial.bake.as_secs()),
        },
    }
}
