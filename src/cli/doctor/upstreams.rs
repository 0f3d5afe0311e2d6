//! Whether the releases of the file answer, at their health path.

use super::{Findings, Patient};
use crate::hooks::{self, Hooks};
use crate::tls::{Keyring, Protocols};

pub(super) async fn look(patient: &Patient, out: &mut Findings) {
    let keyring = match Keyring::new(Protocols { server: &[], client: &[] }) {
        Ok(keyring) => keyring,
        Err(error) => {
            out.trouble("upstreams", format!("TLS cannot be spoken: {error}"), "see docs/tls.md");
            return;
        }
    };
    let hooks = Hooks::new(hooks::Settings { place: hooks::Place::default(), keyring });
    let scene = patient.config.scene();
    for (tier, settings) in scene.tiers.iter().zip(&patient.config.tiers) {
        let path = settings.tier.health.path.as_deref();
        for release in &tier.releases {
            let name = format!("{} {}", tier.name, release.version);
            for upstream in &release.upstreams {
                match hooks.visit(release, upstream, path).await {
                    Ok(said) => out.ok("upstreams", format!("{name}: {said}")),
                    Err(why) if release.version == tier.stable => {
                        let todo = "start it, or mend its address or [tier.health] path";
                        out.trouble("upstreams", format!("{name}, stable: {why}"), todo);
                    }
                    Err(why) => {
                        let todo = "a rollout needs it; take its line out if it is gone for good";
                        out.remark("upstreams", format!("{name}: {why}"), todo);
                    }
                }
            }
        }
    }
}
