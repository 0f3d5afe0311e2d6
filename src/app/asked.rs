//! What the admin API asks of the rest of the program: the caches, the checks before a rollout, and
//! those who are told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Reloading;
use crate::admin::api::{CacheStatus, NotificationTest};
use crate::admin::{self, Preflight};
use crate::assembly::Weir;
use crate::cache::http::HttpCaches;
use crate::cache::{Caches, Surveyed};
use crate::clock;
use crate::config::Config;
use crate::hooks::Occasion;
use crate::metrics::CacheEntry;
use crate::notify::{self, Notifier};
use crate::rollout::Actor;
use crate::traffic::Version;

/// Who tells others what happens.
pub(super) fn notifier(config: &Config, weir: &Weir) -> Notifier {
    let (views, shelf) = (weir.handle().watch(), weir.shelf().clone());
    let keyring = Arc::clone(weir.certificates().keyring());
    let register = Arc::clone(weir.register());
    Notifier::start(config.notify.clone(), views, shelf, keyring, register)
}

/// Those who are told, as the admin shows them.
pub(super) fn admin_notifications(notifier: &Arc<Notifier>) -> admin::Notifications {
    let told = Arc::clone(notifier);
    let test = move |name: Option<String>, by: Actor| {
        let notifier = Arc::clone(&told);
        async move {
            let tested = notifier.test(name.as_deref(), by.as_str()).await;
            tested.into_iter().map(notification_test).collect()
        }
    };
    admin::Notifications::new(Arc::clone(notifier.ledger()), test)
}

fn notification_test(tested: notify::Tested) -> NotificationTest {
    NotificationTest { name: tested.name, trouble: tested.trouble }
}

/// The caches as the admin shows them.
pub(super) fn admin_caches(caches: &Arc<Caches>) -> admin::Caches {
    let (looked, emptied) = (Arc::clone(caches), Arc::clone(caches));
    let look = move || {
        let caches = Arc::clone(&looked);
        async move { caches.survey().await.into_iter().map(cache_status).collect() }
    };
    let empty = move |namespace| {
        let caches = Arc::clone(&emptied);
        async move { caches.empty(&namespace).await }
    };
    admin::Caches::new(Arc::clone(caches.ledger()), look, empty)
}

/// The caches of answers as the admin shows them.
pub(super) fn admin_http_caches(caches: &Arc<HttpCaches>) -> admin::HttpCaches {
    let (listed, purged) = (Arc::clone(caches), Arc::clone(caches));
    admin::HttpCaches::new(move || listed.entries(), move |purge| purged.purge(purge))
}

/// The checks before a rollout, by the file that is applied when they are asked for.
pub(super) fn admin_preflight(reloading: &Arc<Reloading>) -> Preflight {
    let theirs = Arc::clone(reloading);
    Preflight::new(move |version: Option<Version>| {
        let reloading = Arc::clone(&theirs);
        async move {
            let config = reloading.config();
            version.as_ref().map_or(Ok(()), |version| config.knows(version))?;
            let hooks = reloading.hooks(&config);
            let mut scene = reloading.handle.view().scene(&config.scene());
            scene.closed = config.rollout.upgrade.calendar.closed(clock::wall());
            let occasion = Occasion { new: version, ..Occasion::default() };
            Ok(hooks.preflight(&config.runbook.preflight, &occasion, &scene).await.into())
        }
    })
}

fn cache_status(surveyed: Surveyed) -> CacheStatus {
    let Surveyed { entry, holding } = surveyed;
    let CacheEntry { cache, version, namespace, mode, listen, counts, .. } = entry;
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let (holding, trouble) = match holding {
        Some(Ok(holding)) => (Some(holding), None),
        Some(Err(trouble)) => (None, Some(trouble)),
        None => (None, None),
    };
    CacheStatus {
        cache,
        version,
        namespace,
        mode: mode.to_owned(),
        listen: listen.to_string(),
        connections: count(&counts.connections),
        commands: count(&counts.commands),
        hits: count(&counts.hits),
        misses: count(&counts.misses),
        hit_ratio: counts.hit_ratio(),
        keys: holding.map(|holding| holding.keys),
        bytes: holding.map(|holding| holding.bytes),
        trouble,
    }
}
