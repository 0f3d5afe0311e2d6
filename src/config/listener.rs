//! Reads `[[listener]]`, how an address is listened at, and gives each tier its own.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::diagnostic::{Code, Level};
use super::judging::networks;
use super::keys;
use super::reader::Reader;
use super::section::{At, Section};
use super::tier::Draft;
use super::tls::{self, ServerDraft};
use super::values::{self, Mistake, quoted};
use crate::traffic::{Listen, Listener, Route, RouteError};

/// A listener as far as it could be read.
pub(super) struct ListenerDraft {
    path: String,
    listen: Option<At<Listen>>,
    listener: Listener,
    pub(super) tls: Option<ServerDraft>,
}

impl ListenerDraft {
    /// Reads one `[[listener]]`.
    pub(super) fn read(mut section: Section<'_>, base: &Path) -> Self {
        section.need("listen", "listen = \"0.0.0.0:80\", as a tier has it");
        let listen = section.text("listen", "write text: \"0.0.0.0:80\"", values::listen);
        let place = listen.as_ref().map(|at| at.value.clone());
        if let Some(place) = &place {
            section.rename(format!("listener.{place}"));
        }
        let unread = Listen::Unix(std::path::PathBuf::new());
        let mut listener = Listener::plain(place.unwrap_or(unread));
        if let Some(proxy_from) = networks(&mut section, "proxy_from") {
            listener.proxy_from = proxy_from;
        }
        if let Some(mode) = section.text("mode", "write text: \"0660\"", mode) {
            listener.mode = mode.value;
            if listen.as_ref().is_some_and(|at| at.value.socket().is_some()) {
                let mistake = Mistake::new("`mode` is for Unix sockets", "leave it out");
                section.remark("mode", mode.span, mistake);
            }
        }
        let tls = tls::server(&mut section, base);
        listener.tls = tls.as_ref().map(|draft| Arc::clone(&draft.tls));
        let path = section.path_of("").trim_end_matches('.').to_owned();
        section.finish();
        Self { path, listen, listener, tls }
    }
}

fn mode(text: &str) -> Result<u32, Mistake> {
    let digits = text.len() == 4 && text.starts_with('0');
    let mode = u32::from_str_radix(text, 8).ok().filter(|_| digits);
    let help = "write who may connect, as chmod does: \"0660\"";
    mode.ok_or_else(|| Mistake::new(format!("{} is no mode", quoted(text)), help))
}

/// Reads `route` of a tier.
pub(super) fn route(tier: &mut Section<'_>) -> At<Route> {
    let span = tier.key_span("route").unwrap_or(tier.span.clone());
    let mut section = tier.table("route", &keys::ROUTE);
    let refused = |error: RouteError| {
        let text = error.to_string();
        let (message, help) = text.split_once("; ").unwrap_or((&text, ""));
        Mistake::new(message, help)
    };
    let own = |text| text;
    let host = section.text("host", "write text: \"api.example.org\"", |text| {
        Route::new(Some(text), None).map(|_| own(text)).map_err(refused)
    });
    let path = section.text("path", "write text: \"/v1/\"", |text| {
        Route::new(None, Some(text)).map(|_| own(text)).map_err(refused)
    });
    section.finish();
    let route = Route::new(host.map(|at| at.value), path.map(|at| at.value));
    At { value: route.unwrap_or_default(), span }
}

/// Every listener that the tiers share, by its address; one that no tier uses is a mistake.
pub(super) fn listeners(
    reader: &Reader,
    drafts: Vec<ListenerDraft>,
    tiers: &[Draft],
) -> BTreeMap<Listen, Arc<Listener>> {
    let used = |listen: &Listen| {
        tiers.iter().filter_map(|tier| tier.listen.as_ref()).any(|at| at.value == *listen)
    };
    let mut listeners = BTreeMap::new();
    let mut places: BTreeMap<Listen, Range<usize>> = BTreeMap::new();
    for draft in drafts {
        let Some(At { value: listen, span }) = draft.listen else { continue };
        let note = |mistake, others| {
            let place = (format!("{}.listen", draft.path), span.clone());
            reader.note((Level::Error, Code::Conflict), place, mistake, others);
        };
        if let Some(first) = places.insert(listen.clone(), span.clone()) {
            let message = format!("{listen} has two [[listener]]");
            let others = vec![(first, "the first".to_owned())];
            note(Mistake::new(message, "say everything about it in one"), others);
        } else if !used(&listen) && !reader.has_broken_lines() {
            let message = format!("no tier listens at {listen}");
            let help = "write the address as a tier's `listen` has it";
            note(Mistake::new(message, help), Vec::new());
        }
        listeners.insert(listen, Arc::new(draft.listener));
    }
    for listen in tiers.iter().filter_map(|tier| tier.listen.as_ref()) {
        let listen = &listen.value;
        let plain = || Arc::new(Listener::plain(listen.clone()));
        listeners.entry(listen.clone()).or_insert_with(plain);
    }
    listeners
}
