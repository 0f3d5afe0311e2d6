//! Whether what stands in front of Weir tells it who the client is.

use super::{Findings, Patient};
use crate::hooks::{self, Hooks};
use crate::rollout::runbook::Url;
use crate::tls::{Keyring, Protocols};

/// The lines that are missing in nginx then.
const NGINX: &str = "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; (docs/nginx.md)";

pub(super) async fn look(patient: &Patient, url: &str, out: &mut Findings) {
    let url: Url = match url.parse() {
        Ok(url) => url,
        Err(error) => {
            out.trouble("front", format!("{url}: {error}"), "write http://HOST/ or https://HOST/");
            return;
        }
    };
    let keyring = match Keyring::new(Protocols { server: &[], client: &[] }) {
        Ok(keyring) => keyring,
        Err(error) => {
            out.trouble("front", format!("TLS cannot be spoken: {error}"), "see docs/tls.md");
            return;
        }
    };
    let hooks = Hooks::new(hooks::Settings { place: hooks::Place::default(), keyring });
    match hooks.seen_behind(&url).await {
        Ok(said) => verdict(&url, &said, out),
        Err(why) if patient.runs => {
            let todo = "does it lead to weir? OPTIONS and Max-Forwards must be passed on for this \
                        question";
            out.remark("front", why, todo);
        }
        Err(why) => out.remark("front", why, "weir does not run: ask again when it does"),
    }
}

fn verdict(url: &Url, said: &str, out: &mut Findings) {
    let value = |key: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
        line.unwrap_or("?").to_owned()
    };
    let (tier, peer, client) = (value("tier"), value("peer"), value("client"));
    match value("x-forwarded-for").as_str() {
        "believed" => {
            let scheme = value("scheme");
            out.ok("front", format!("{url} leads to {tier}, which sees {client} by {scheme}"));
        }
        "not believed" => {
            let what = format!(
                "{url} leads to {tier} by {peer}, whose X-Forwarded-For is not believed: all its \
                 newcomers count as one client"
            );
            let todo = format!("trusted_proxies = [\"127.0.0.0/8\", \"::1/128\", \"{peer}\"]");
            out.trouble("front", what, &todo);
        }
        _ => {
            let what = format!(
                "{url} leads to {tier} without X-Forwarded-For: all newcomers count as {peer}"
            );
            out.trouble("front", what, NGINX);
        }
    }
}
