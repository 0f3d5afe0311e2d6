//! What signals from outside say of a tier, window by window.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::settings::{Feeds, Signal};
use super::watched::Scene;
use crate::analysis::{Counts, Heard, Sample, Settings, Tally};
use crate::metrics::{SignalEntry, Wanted};
use crate::traffic::{Release, Version};

/// What each signal has said of one version until one moment.
pub(super) type Said = BTreeMap<String, SignalEntry>;

/// Tells the sources which versions are wanted: those that serve.
pub(super) fn want(scene: &Scene<'_>) {
    let wanted = |release: &Release| Wanted {
        version: release.version.clone(),
        places: release.upstreams.iter().map(|upstream| upstream.address.to_string()).collect(),
    };
    let mut versions = vec![wanted(&scene.table.stable)];
    versions.extend(scene.table.canary.as_deref().map(wanted));
    let signals = &scene.file.signals;
    let signals: Vec<(&str, Duration)> =
        signals.iter().map(|signal| (&*signal.name, signal.silent_after)).collect();
    scene.register.signals().want(&scene.file.tier.name, &signals, &versions);
}

/// What the signals of the tier have said of `version`.
pub(super) fn said(scene: &Scene<'_>, version: &Version) -> Said {
    let (ledger, tier) = (scene.register.signals(), &scene.file.tier.name);
    let said =
        |signal: &Signal| Some((signal.name.clone(), ledger.entry(tier, &signal.name, version)?));
    scene.file.signals.iter().filter_map(said).collect()
}

/// Adds what was counted outside between `base` and `now`; each signal of its own in the order of
/// the file.
pub(super) fn count(signals: &[Signal], now: &Said, base: &Said, counts: &mut Counts) {
    for signal in signals {
        let pair = now.get(&signal.name).zip(base.get(&signal.name));
        let tally = pair.map(|(now, base)| now.tally.since(base.tally)).unwrap_or_default();
        match signal.feeds {
            Feeds::Errors => {
                counts.requests = counts.requests.saturating_add(tally.total);
                counts.errors = counts.errors.saturating_add(tally.bad);
            }
            Feeds::Slow => counts.slow = counts.slow.saturating_add(tally.bad),
            Feeds::Own => counts.signals.push(tally),
            Feeds::Check => {}
        }
    }
    counts.slow = counts.slow.min(counts.requests);
}

/// What was counted for the signals of the file, in the order of those that the open rollout began
/// with.
pub(super) fn by_name(counted: &[Tally], file: &[Signal], judged: &Settings) -> Vec<Tally> {
    let own: Vec<&Signal> = file.iter().filter(|signal| signal.feeds == Feeds::Own).collect();
    let tally = |name: &str| {
        let place = own.iter().position(|signal| signal.name == name);
        place.and_then(|place| counted.get(place)).copied().unwrap_or_default()
    };
    judged.signals.iter().map(|signal| tally(&signal.name)).collect()
}

/// The versions at the ends of a window.
pub(super) struct Sides<'a> {
    pub(super) stable: (&'a Version, &'a Said, &'a Said),
    pub(super) canary: (&'a Version, &'a Said, &'a Said),
}

/// The new numbers for the checks that the open rollout began with, and who is silent.
pub(super) fn heard(signals: &[Signal], judged: &Settings, sides: &Sides<'_>) -> Heard {
    let fresh = |name: &str, (_, now, base): (&Version, &Said, &Said)| {
        let entry = now.get(name)?;
        let known = base.get(name).map_or(0, |base| base.samples);
        entry.number.filter(|_| entry.samples != known)
    };
    let sample = |name: &str| Sample {
        stable: fresh(name, sides.stable),
        canary: fresh(name, sides.canary),
    };
    let samples = judged.checks.iter().map(|check| sample(&check.name)).collect();
    let moment = Instant::now();
    let mut blind = Vec::new();
    for signal in signals {
        let needed = match signal.feeds {
            Feeds::Check => vec![sides.canary],
            Feeds::Errors | Feeds::Own | Feeds::Slow => vec![sides.stable, sides.canary],
        };
        for (version, now, _) in needed {
            let unknown = || Some("nothing was heard yet".to_owned());
            let silence = now.get(&signal.name).map_or_else(unknown, |entry| entry.silence(moment));
            blind.extend(silence.map(|why| format!("{} of {version}: {why}", signal.name)));
        }
    }
    let names = judged.signals.iter().map(|signal| &signal.name);
    for name in names.chain(judged.checks.iter().map(|check| &check.name)) {
        if !signals.iter().any(|signal| signal.name == *name) {
            blind.push(format!("{name} is not in the file any more"));
        }
    }
    Heard { samples, blind }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::WatchSettings;
    use crate::metrics::SignalLedger;

    fn signal(name: &str, feeds: Feeds) -> Signal {
        Signal { name: name.into(), feeds, silent_after: Duration::from_secs(30) }
    }

    fn tally(total: u64, bad: u64) -> Tally {
        Tally { total, bad }
    }

    fn said(counted: &[(&str, u64, u64)]) -> Said {
        let (ledger, tier) = (SignalLedger::default(), "worker".parse().unwrap());
        let version: Version = "1".parse().unwrap();
        let patience = Duration::from_secs(30);
        let names: Vec<_> = counted.iter().map(|(name, ..)| (*name, patience)).collect();
        ledger.want(&tier, &names, &[Wanted { version: version.clone(), places: vec![] }]);
        for (name, total, bad) in counted {
            ledger.count(&tier, name, &version, tally(*total, *bad));
        }
        ledger.entries().into_iter().map(|entry| (entry.signal.clone(), entry)).collect()
    }

    #[test]
    fn jobs_stand_in_for_requests_where_the_file_says_so() {
        let signals = [
            signal("orders", Feeds::Own),
            signal("jobs", Feeds::Errors),
            signal("late", Feeds::Slow),
        ];
        let base = said(&[("jobs", 10, 1), ("orders", 5, 5), ("late", 9, 9)]);
        let now = said(&[("jobs", 30, 4), ("orders", 7, 6), ("late", 90, 11)]);
        let mut counts = Counts::default();
        count(&signals, &now, &base, &mut counts);
        assert_eq!((counts.requests, counts.errors, counts.slow), (20, 3, 2));
        assert_eq!(counts.signals, [tally(2, 1)]);
        let watch = |name: &str| WatchSettings { name: name.into(), ..WatchSettings::default() };
        let judged =
            Settings { signals: vec![watch("gone"), watch("orders")], ..Settings::default() };
        assert_eq!(by_name(&counts.signals, &signals, &judged), [tally(0, 0), tally(2, 1)]);
    }

    #[test]
    fn a_signal_that_was_never_heard_or_left_the_file_is_said_to_be_silent() {
        let version = "1".parse().unwrap();
        let (silent, heard_once) = (Said::new(), said(&[("jobs", 1, 0)]));
        let stable = (&version, &heard_once, &silent);
        let canary = (&version, &silent, &silent);
        let watch = WatchSettings { name: "gone".into(), ..WatchSettings::default() };
        let judged = Settings { signals: vec![watch], ..Settings::default() };
        let signals = [signal("jobs", Feeds::Own)];
        let heard = heard(&signals, &judged, &Sides { stable, canary });
        let expected = ["jobs of 1: nothing was heard yet", "gone is not in the file any more"];
        assert_eq!(heard.blind, expected);
    }
}
