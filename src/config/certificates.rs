//! The certificates of a file, for people: whom they are for, and how it stands with those that are
//! ordered.

use std::collections::BTreeSet;
use std::path::Path;

use super::Config;
use crate::clock;
use crate::time::in_words;
use crate::tls::{acme, day};

/// From whom certificates are ordered, and for which names; none where the file orders none.
pub fn ordered(config: &Config) -> Option<acme::Settings> {
    let acme = config.acme.as_ref()?;
    let listeners = config.tiers.iter().filter_map(|tier| tier.tier.listener.tls.as_ref());
    let names: BTreeSet<&String> = listeners.flat_map(|tls| &tls.acme).collect();
    let beside = || config.state.path.as_ref().and_then(|path| path.parent());
    let folder =
        acme.folder.clone().unwrap_or_else(|| beside().unwrap_or(Path::new("")).join("acme"));
    (!names.is_empty()).then(|| acme::Settings {
        directory: acme.directory.clone(),
        contact: acme.contact.clone(),
        trust: acme.trust.clone(),
        folder,
        challenge: acme.challenge,
        names: names.into_iter().cloned().collect(),
    })
}

/// For whom there are certificates, and how it stands with those that are ordered, as far as their
/// folder says: a sentence each. Reads files.
pub fn certificates(config: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    for listener in config.tiers.iter().map(|tier| &tier.tier.listener) {
        let listen = &listener.listen;
        let Some(tls) = &listener.tls else { continue };
        for certificate in &tls.certificates {
            let (names, until) = (certificate.names.join(", "), day(certificate.not_after));
            lines.push(format!("{listen} has a certificate for {names} until {until}"));
        }
        if !tls.acme.is_empty() {
            let names = tls.acme.join(", ");
            lines.push(format!("{listen} orders certificates for {names}"));
        }
    }
    lines.dedup();
    lines.extend(kept(config));
    lines
}

fn kept(config: &Config) -> Vec<String> {
    let Some(settings) = ordered(config) else { return Vec::new() };
    let now = clock::wall();
    let sentence = |name: &String| match acme::look(&settings, name) {
        Err(why) => format!("whether there is a certificate for {name} is not known: {why}"),
        Ok(standing) => match (standing.remark(now), standing.not_after, &standing.trouble) {
            (_, None, None) => {
                format!("no certificate for {name} is kept yet; `weir run` orders it")
            }
            (Some(remark), _, _) => remark,
            (None, until, _) => {
                let left = until.map_or_else(String::new, |until| in_words(until.since(now)));
                format!("the certificate for {name} is kept and good for {left}")
            }
        },
    };
    settings.names.iter().map(sentence).collect()
}
