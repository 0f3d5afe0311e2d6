//! What two places of a file say against each other; each message points at both.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::Range;

use super::diagnostic::{Code, Level};
use super::fleet::RollingDraft;
use super::keys;
use super::reader::Reader;
use super::section::At;
use super::tier::Draft;
use super::values::{Mistake, quoted};
use crate::traffic::{Address, Listen, Route, Version};

/// Checks the tiers against each other, and against the admin address.
pub(super) fn tiers(
    reader: &Reader,
    tiers: &[Draft],
    admin: SocketAddr,
    admin_span: Option<&Range<usize>>,
) {
    names(reader, tiers);
    listens(reader, tiers, admin, admin_span);
    for tier in tiers {
        versions(reader, tier);
        stable(reader, tier);
        shared_addresses(reader, tier);
        loops(reader, tier, tiers, admin, admin_span);
    }
    cookies(reader, tiers);
    strangers(reader, tiers);
}

fn conflict(
    reader: &Reader,
    key: String,
    span: &Range<usize>,
    mistake: Mistake,
    other: (&Range<usize>, &str),
) {
    let others = vec![(other.0.clone(), other.1.to_owned())];
    reader.note((Level::Error, Code::Conflict), (key, span.clone()), mistake, others);
}

fn names(reader: &Reader, tiers: &[Draft]) {
    let mut seen: HashMap<&str, &Range<usize>> = HashMap::new();
    for (tier, name) in tiers.iter().filter_map(|tier| Some((tier, tier.name.as_ref()?))) {
        let Some(first) = seen.insert(name.value.as_str(), &name.span) else { continue };
        let mistake = Mistake::new(
            format!("two tiers are called {}", quoted(name.value.as_str())),
            "give each a name of its own",
        );
        conflict(reader, format!("{}.name", tier.path), &name.span, mistake, (first, "the first"));
    }
}

/// A browser sends a cookie to all tiers of a host, and each must know under which name to look.
fn cookies(reader: &Reader, tiers: &[Draft]) {
    let one_host = |one: &Draft, other: &Draft| {
        let (own, others) = (one.route.value.host(), other.route.value.host());
        let listen = |tier: &Draft| tier.listen.as_ref().map(|at| at.value.clone());
        let any = own.is_none() || others.is_none();
        if any { listen(one) == listen(other) } else { own == others }
    };
    for (place, one) in tiers.iter().enumerate() {
        let mut others = tiers[..place].iter().filter(|other| one_host(one, other));
        let Some(other) = others.find(|other| other.cookies() != one.cookies()) else { continue };
        let name =
            |tier: &Draft| tier.name.as_ref().map_or_else(String::new, |at| at.value.to_string());
        let message = format!(
            "`cookies` of {} and of {} differ, and browsers send the same to both",
            name(other),
            name(one)
        );
        let help = "what one tier keeps apart the app of the other sees under a name with a ~; \
                    write the same `cookies` in both, or give them hosts that share no cookies";
        let key = (format!("{}.cookies", one.path), one.span.clone());
        let others = vec![(other.span.clone(), "the other tier".to_owned())];
        reader.note((Level::Warning, Code::Remark), key, Mistake::new(message, help), others);
    }
}

fn listens(reader: &Reader, tiers: &[Draft], admin: SocketAddr, admin_span: Option<&Range<usize>>) {
    let admin_listen = Listen::Socket(admin);
    let mut seen: Vec<(&At<Listen>, &At<Route>)> = Vec::new();
    for (tier, listen) in tiers.iter().filter_map(|tier| Some((tier, tier.listen.as_ref()?))) {
        let key = || format!("{}.listen", tier.path);
        let others = || seen.iter().filter(|(first, _)| first.value.overlaps(&listen.value));
        if let Some((first, _)) = others().find(|(first, _)| first.value != listen.value) {
            let mistake = Mistake::new(
                format!("{} is taken: another tier listens on {}", listen.value, first.value),
                "write the same address in both and give them routes, or give each its own port",
            );
            conflict(reader, key(), &listen.span, mistake, (&first.span, "the other tier"));
        } else if let Some((_, route)) = others().find(|(_, r)| r.value == tier.route.value) {
            let mistake = Mistake::new(
                format!("two tiers take {} at {}", tier.route.value, listen.value),
                "tell them apart: route = { host = \"api.example.org\", path = \"/v1/\" }",
            );
            let key = format!("{}.route", tier.path);
            conflict(reader, key, &tier.route.span, mistake, (&route.span, "the other tier"));
        }
        if admin_listen.overlaps(&listen.value) {
            let mistake = Mistake::new(
                format!("{} is taken: the admin address is {admin}", listen.value),
                "give one of the two another port",
            );
            if let Some(span) = admin_span {
                conflict(reader, key(), &listen.span, mistake, (span, "the admin address"));
            } else {
                let help = format!("{}; {admin} is the default of [admin]", mistake.help);
                let place = (key(), listen.span.clone());
                let mistake = Mistake { help, ..mistake };
                reader.note((Level::Error, Code::Conflict), place, mistake, Vec::new());
            }
        }
        seen.push((listen, &tier.route));
    }
}

fn versions(reader: &Reader, tier: &Draft) {
    let mut seen: HashMap<&Version, &Range<usize>> = HashMap::new();
    for version in tier.releases.iter().filter_map(|release| release.version.as_ref()) {
        let Some(first) = seen.insert(&version.value, &version.span) else { continue };
        let mistake = Mistake::new(
            format!("version {} stands twice", quoted(version.value.as_str())),
            "a version is the identity of a release; a mended build gets a new one",
        );
        let key = format!("{}.releases.{}.version", tier.path, version.value);
        conflict(reader, key, &version.span, mistake, (first, "the first"));
    }
}

fn stable(reader: &Reader, tier: &Draft) {
    let Some(stable) = tier.stable.as_ref().filter(|_| tier.releases_are_whole) else { return };
    let versions: Vec<&At<Version>> =
        tier.releases.iter().filter_map(|release| release.version.as_ref()).collect();
    if versions.iter().any(|version| version.value == stable.value) {
        return;
    }
    let named: Vec<String> = versions.iter().take(8).map(|at| quoted(at.value.as_str())).collect();
    let more = if versions.len() > named.len() { ", ..." } else { "" };
    let near = keys::nearest(stable.value.as_str(), versions.iter().map(|at| at.value.as_str()));
    let near = near.map_or(String::new(), |near| format!("; did you mean {}?", quoted(near)));
    let mistake = Mistake::new(
        format!("`stable` is {}, and there is no such release", quoted(stable.value.as_str())),
        format!("use one of {}{more}{near}", named.join(", ")),
    );
    let others = versions.first().map(|at| (at.span.clone(), "the releases".to_owned()));
    let place = (format!("{}.stable", tier.path), stable.span.clone());
    reader.note((Level::Error, Code::Conflict), place, mistake, others.into_iter().collect());
}

fn shared_addresses(reader: &Reader, tier: &Draft) {
    let mut seen: HashMap<Address, (usize, &Range<usize>)> = HashMap::new();
    for (index, release) in tier.releases.iter().enumerate() {
        for upstream in &release.upstreams {
            let Some((first, span)) = seen.insert(upstream.value.plain(), (index, &upstream.span))
            else {
                continue;
            };
            let address = &upstream.value;
            let mistake = if first == index {
                Mistake::new(
                    format!("{address} stands twice in one release"),
                    "remove one of the two",
                )
            } else {
                Mistake::new(
                    format!("{address} is in two releases"),
                    "an address runs one version; two versions need two addresses",
                )
            };
            let version = release.version.as_ref().map_or("", |at| at.value.as_str());
            let key = format!("{}.releases.{version}.upstreams", tier.path);
            conflict(reader, key, &upstream.span, mistake, (span, "the first"));
        }
    }
}

/// An instance is of one tier: the requests of another would go on there while it is switched.
fn strangers(reader: &Reader, tiers: &[Draft]) {
    let instances = |tier: &Draft| tier.rolling().map(RollingDraft::places).unwrap_or_default();
    for (place, tier) in tiers.iter().enumerate() {
        for spot in instances(tier) {
            let others = tiers.iter().enumerate().filter(|(at, _)| *at != place);
            let used = others.flat_map(|(at, other)| {
                // Where both are instances the second is said to be wrong.
                let twice = if at < place { instances(other) } else { Vec::new() };
                let releases = other.releases.iter().flat_map(|release| &release.upstreams);
                let all = releases.cloned().chain(twice);
                all.map(move |used| (other, used)).collect::<Vec<_>>()
            });
            let same = |(_, used): &(&Draft, At<Address>)| used.value.plain() == spot.value.plain();
            let Some((other, used)) = used.into_iter().find(same) else { continue };
            let name = other.name.as_ref().map_or_else(String::new, |at| at.value.to_string());
            let mistake = Mistake::new(
                format!("{} is an instance, and tier {name} uses it as well", spot.value),
                "its requests would go on there while the instance is switched; give each tier \
                 instances of its own",
            );
            let key = format!("{}.rolling.instances", tier.path);
            conflict(reader, key, &spot.span, mistake, (&used.span, "the other tier"));
        }
    }
}

fn loops(
    reader: &Reader,
    tier: &Draft,
    tiers: &[Draft],
    admin: SocketAddr,
    admin_span: Option<&Range<usize>>,
) {
    let admin = Listen::Socket(admin);
    let listens: Vec<&At<Listen>> =
        tiers.iter().filter_map(|other| other.listen.as_ref()).collect();
    let mut places: Vec<(String, Vec<At<Address>>)> = Vec::new();
    for release in &tier.releases {
        let version = release.version.as_ref().map_or("", |at| at.value.as_str());
        let key = format!("{}.releases.{version}.upstreams", tier.path);
        places.push((key, release.upstreams.clone()));
    }
    if let Some(rolling) = tier.rolling() {
        places.push((format!("{}.rolling.instances", tier.path), rolling.places()));
    }
    for (key, upstreams) in &places {
        let key = || key.clone();
        for upstream in upstreams {
            let address = &upstream.value;
            if let Some(listen) = listens.iter().find(|listen| address.leads_to(&listen.value)) {
                let mistake = Mistake::new(
                    format!("{address} leads back to Weir, which listens on {}", listen.value),
                    "write the address of the app",
                );
                conflict(
                    reader,
                    key(),
                    &upstream.span,
                    mistake,
                    (&listen.span, "Weir listens here"),
                );
            } else if address.leads_to(&admin) {
                let mistake = Mistake::new(
                    format!("{address} leads to the admin address {admin}"),
                    "write the address of the app",
                );
                let others = admin_span.map(|span| (span.clone(), "the admin address".to_owned()));
                let place = (key(), upstream.span.clone());
                reader.note(
                    (Level::Error, Code::Conflict),
                    place,
                    mistake,
                    others.into_iter().collect(),
                );
            }
        }
    }
}
