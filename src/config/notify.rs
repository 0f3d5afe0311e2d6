//! Reads `[[notify]]`, `[alertmanager]` and `[tracing]`: who is told what happens. Nothing here shows a secret.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use super::diagnostic::{Code, Level};
use super::keys;
use super::program::path;
use super::reader::Reader;
use super::runbook::url;
use super::section::{At, Section, set};
use super::tier::Draft;
use super::tls::trusted;
use super::values::{Mistake, quoted};
use crate::notify::{
    Alertmanager, Collector, Confidential, Encryption, Mail, Settings, Target, Template, Way,
    Webhook,
};
use crate::rollout::event_names;
use crate::rollout::runbook::Url;
use crate::traffic::TierName;

/// Those who are told; more are a distribution list.
const TARGETS_MAX: usize = 32;

/// Recipients of mail, and matchers of silences.
const ENTRIES_MAX: usize = 32;

/// Longest name, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// The name under which silences are counted.
const TAKEN: &str = "alertmanager";

/// Which share of the requests is traced.
const SAMPLED: f64 = 0.01;

/// How long an event is tried again.
const RETRY_FOR: Duration = Duration::from_hours(24);

/// How long one try may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The targets as far as they could be read.
pub(super) struct NotifyDraft {
    targets: Vec<TargetDraft>,
    alertmanager: Option<Alertmanager>,
    collector: Option<Collector>,
}

struct TargetDraft {
    name: Option<At<String>>,
    tiers: Vec<At<TierName>>,
    target: Option<Target>,
}

impl NotifyDraft {
    pub(super) fn read(root: &mut Section<'_>, base: &Path) -> Self {
        let sections = root.tables("notify", TARGETS_MAX, &keys::NOTIFY);
        let targets = sections.into_iter().map(|section| target(section, base)).collect();
        let (alertmanager, collector) = (alertmanager(root, base), collector(root, base));
        Self { targets, alertmanager, collector }
    }

    /// Notes names that stand twice, and tiers that there are not.
    pub(super) fn check(&self, reader: &Reader, tiers: &[Draft]) {
        let mut seen: HashMap<&str, &Range<usize>> = HashMap::new();
        for (number, draft) in self.targets.iter().enumerate() {
            if let Some(name) = &draft.name
                && let Some(first) = seen.insert(&name.value, &name.span)
            {
                let what = format!("two targets are called {}", quoted(&name.value));
                let mistake = Mistake::new(what, "give each a name of its own");
                let place = (format!("notify[{number}].name"), name.span.clone());
                let others = vec![(first.clone(), "the first".to_owned())];
                reader.note((Level::Error, Code::Conflict), place, mistake, others);
            }
            let known: Vec<&str> = tiers
                .iter()
                .filter_map(|tier| tier.name.as_ref())
                .map(|name| name.value.as_str())
                .collect();
            for tier in draft.tiers.iter().filter(|tier| !known.contains(&tier.value.as_str())) {
                let what = format!("there is no tier {}", quoted(tier.value.as_str()));
                let mistake = Mistake::new(what, format!("the tiers are {}", known.join(", ")));
                let place = (format!("notify[{number}].tiers"), tier.span.clone());
                reader.note((Level::Error, Code::Conflict), place, mistake, Vec::new());
            }
        }
    }

    pub(super) fn finish(self) -> Settings {
        let targets = self.targets.into_iter().filter_map(|draft| draft.target).collect();
        Settings { targets, alertmanager: self.alertmanager, collector: self.collector }
    }
}

fn target(mut section: Section<'_>, base: &Path) -> TargetDraft {
    section.need("name", "name = \"chat\"");
    let name = section.text("name", "write text: \"chat\"", name);
    let webhook = webhook(&mut section, base);
    let mail = mail(&mut section, base);
    let events = section.list("events", event_names().len(), "[\"rolled_back\"]", event);
    let tiers = section.list("tiers", super::TIERS_MAX, "[\"web\"]", |text| {
        text.parse::<TierName>().map_err(|error| Mistake::new(error.to_string(), "name a tier"))
    });
    let (mut retry_for, mut timeout) = (RETRY_FOR, TIMEOUT);
    let range = Duration::from_mins(1)..=Duration::from_hours(30 * 24);
    section.duration("retry_for", range, &mut retry_for);
    let range = Duration::from_millis(100)..=Duration::from_mins(5);
    section.duration("timeout", range, &mut timeout);
    match (section.key_span("webhook"), section.key_span("mail")) {
        (Some(webhook), Some(mail)) => {
            let mistake = Mistake::new("a target is told in one way", "make two targets of it");
            section.conflict("mail", mail, mistake, vec![(webhook, "the other way".to_owned())]);
        }
        (None, None) => section.need(
            "webhook",
            "webhook = { url = \"https://...\", template = \"slack\" }, or mail = { ... }",
        ),
        (Some(_), None) | (None, Some(_)) => {}
    }
    section.finish();
    let way = webhook.map(Way::Webhook).or(mail.map(Way::Mail));
    let values = |list: &Vec<At<String>>| list.iter().map(|at| at.value.clone()).collect();
    let target = name.as_ref().zip(way).map(|(name, way)| Target {
        name: name.value.clone(),
        way,
        events: events.as_ref().map(values),
        tiers: tiers.as_ref().map(|tiers| tiers.iter().map(|at| at.value.clone()).collect()),
        retry_for,
        timeout,
    });
    TargetDraft { name, tiers: tiers.unwrap_or_default(), target }
}

fn name(text: &str) -> Result<String, Mistake> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if text == TAKEN {
        let help = "that of [alertmanager] is counted under it; use another";
        return Err(Mistake::new(format!("{} is taken", quoted(text)), help));
    }
    if (1..=NAME_BYTES_MAX).contains(&text.len()) && text.chars().all(allowed) {
        return Ok(text.to_owned());
    }
    let help = format!("use 1 to {NAME_BYTES_MAX} letters, digits and ._-: \"chat\"");
    Err(Mistake::new(format!("{} is no name of a target", quoted(text)), help))
}

fn event(text: &str) -> Result<String, Mistake> {
    let known = event_names();
    if known.contains(&text) {
        return Ok(text.to_owned());
    }
    let near = keys::nearest(text, known.iter().copied());
    let near = near.map_or(String::new(), |near| format!("; did you mean {near:?}?"));
    let help = format!("the events are {}{near}", known.join(", "));
    Err(Mistake::new(format!("{} is no event", quoted(text)), help))
}

fn webhook(around: &mut Section<'_>, base: &Path) -> Option<Webhook> {
    let mut section = around.table("webhook", &keys::NOTIFY_WEBHOOK);
    if !section.is_there() {
        return None;
    }
    section.need("url", "url = \"https://chat.example.org/hooks/...\"");
    let url = section.hidden("url", |text| match outside(text, base) {
        Some(kept) => kept,
        None => match text.parse::<Url>() {
            Ok(_) => Ok(Confidential::Plain(text.to_owned())),
            // The text is not shown: it may be right but for a slip.
            Err(_) => Err(Mistake::new(
                "this is no URL",
                "write \"https://host/path\", \"env:NAME\" or \"file:PATH\"",
            )),
        },
    });
    missing(&section, "url", url.as_ref());
    let help = "write \"json\", \"mattermost\", \"slack\", or a text with {text} in it";
    let mut template = Template::Json;
    let read = section.text("template", help, |text| {
        text.parse().map_err(|error: crate::notify::TemplateError| {
            let said = error.to_string();
            let (message, help) = said.split_once("; ").unwrap_or((&said, help));
            Mistake::new(message, help)
        })
    });
    set(&mut template, read);
    let secret = secret(&mut section, "secret", base);
    let headers = headers(&mut section, base);
    let tls = trusted(&mut section, base);
    section.finish();
    let secret = secret.map(|at| at.value);
    Some(Webhook { url: url?.value, template, secret, headers, tls })
}

fn headers(section: &mut Section<'_>, base: &Path) -> Vec<(String, Confidential)> {
    let help = "write names and texts: headers = { Authorization = \"env:TOKEN\" }";
    let read = section.read("headers", |value| {
        let table = value.as_table().ok_or_else(|| Mistake::new("this is no table", help))?;
        let mut headers = Vec::new();
        for (name, value) in table {
            let name = name.get_ref().as_ref();
            let no_text = || Mistake::new(format!("the value of {name} is no text"), help);
            let text = value.get_ref().as_str().ok_or_else(no_text)?;
            let fits = http::HeaderName::try_from(name).is_ok()
                && http::HeaderValue::try_from(text).is_ok();
            if !fits {
                return Err(Mistake::new(format!("{} is no header", quoted(name)), help));
            }
            let kept = outside(text, base);
            let value = kept.unwrap_or_else(|| Ok(Confidential::Plain(text.to_owned())))?;
            headers.push((name.to_owned(), value));
        }
        Ok(headers)
    });
    read.map(|at| at.value).unwrap_or_default()
}

fn mail(around: &mut Section<'_>, base: &Path) -> Option<Mail> {
    let mut section = around.table("mail", &keys::NOTIFY_MAIL);
    if !section.is_there() {
        return None;
    }
    section.need("server", "server = \"mail.example.org\"");
    section.need("from", "from = \"weir@example.org\"");
    section.need("to", "to = [\"ops@example.org\"]");
    let server = section.text("server", "write text: \"mail.example.org:587\"", server);
    let mut encryption = Encryption::default();
    let words = Encryption::ALL.map(|way| (way.name(), way));
    section.word("tls", &words, &mut encryption);
    let user = section.text("user", "write text", |text| Ok(text.to_owned()));
    let password = secret(&mut section, "password", base);
    if section.key_span("user").is_some() || section.key_span("password").is_some() {
        section.need("user", "user = \"weir\"");
        section.need("password", "password = \"env:SMTP_PASSWORD\"");
    }
    let from = section.text("from", "write text: \"weir@example.org\"", address);
    let to = section.list("to", ENTRIES_MAX, "[\"ops@example.org\"]", address);
    if section.is_empty_list("to") {
        let span = section.key_span("to").unwrap_or(section.span.clone());
        section.wrong("to", span, Mistake::new("nobody gets it", "name somebody"));
    }
    let tls = trusted(&mut section, base);
    if let (Encryption::None, Some(at), Some(server)) = (encryption, &password, &server)
        && !is_here(&server.value.0)
    {
        let mistake = Mistake::new(
            "the password would travel in the clear",
            "use tls = \"starttls\" or \"implicit\"",
        );
        section.wrong("password", at.span.clone(), mistake);
    }
    section.finish();
    let (host, port) = server?.value;
    let to: Vec<String> = to?.into_iter().map(|at| at.value).collect();
    let login = user.zip(password).map(|(user, password)| (user.value, password.value));
    let port = port.unwrap_or(encryption.port());
    Some(Mail { host, port, encryption, login, from: from?.value, to, tls })
}

fn server(text: &str) -> Result<(String, Option<u16>), Mistake> {
    let wrong = || {
        let help = "write \"mail.example.org\" or \"mail.example.org:587\"";
        Mistake::new(format!("{} is no server", quoted(text)), help)
    };
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse().map_err(|_| wrong())?)),
        None => (text, None),
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
    if host.is_empty() || host.len() > 253 || !host.chars().all(fits) {
        return Err(wrong());
    }
    Ok((host.trim_start_matches('[').trim_end_matches(']').to_owned(), port))
}

fn is_here(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// An address as it stands between `<` and `>`.
fn address(text: &str) -> Result<String, Mistake> {
    let fits = |c: char| c.is_ascii_graphic() && !"<>()[],;:\\\"".contains(c);
    let parts = text.split_once('@');
    let whole = parts.is_some_and(|(user, host)| !user.is_empty() && !host.is_empty());
    if whole && text.len() <= 254 && text.chars().all(fits) {
        return Ok(text.to_owned());
    }
    let help = "write one e-mail address: \"ops@example.org\"";
    Err(Mistake::new(format!("{} is no e-mail address", quoted(text)), help))
}

fn alertmanager(root: &mut Section<'_>, base: &Path) -> Option<Alertmanager> {
    let mut section = root.table("alertmanager", &keys::ALERTMANAGER);
    if !section.is_there() {
        section.finish();
        return None;
    }
    section.need("url", "url = \"http://127.0.0.1:9093\"");
    section.need("matchers", "matchers = [\"service=\\\"shop\\\"\"]");
    let url = section.text("url", "write a URL", url);
    let example = "[\"service=\\\"shop\\\"\"]";
    let matchers = section.list("matchers", ENTRIES_MAX, example, |text| {
        text.parse().map_err(|error: crate::notify::MatcherError| {
            let said = error.to_string();
            let (message, help) = said.split_once("; ").unwrap_or((&said, ""));
            Mistake::new(message, help)
        })
    });
    if section.is_empty_list("matchers") {
        let span = section.key_span("matchers").unwrap_or(section.span.clone());
        let mistake = Mistake::new("every alert would be silenced", "name those of this service");
        section.wrong("matchers", span, mistake);
    }
    let mut created_by = "weir".to_owned();
    let read = section.text("created_by", "write text: \"weir\"", name_of_maker);
    set(&mut created_by, read);
    let authorization = secret(&mut section, "authorization", base);
    let tls = trusted(&mut section, base);
    section.finish();
    let matchers = matchers?.into_iter().map(|at| at.value).collect();
    let authorization = authorization.map(|at| at.value);
    Some(Alertmanager { url: url?.value, matchers, created_by, authorization, tls })
}

fn collector(root: &mut Section<'_>, base: &Path) -> Option<Collector> {
    let mut section = root.table("tracing", &keys::TRACING);
    if !section.is_there() {
        section.finish();
        return None;
    }
    section.need("url", "url = \"http://127.0.0.1:4318/v1/traces\"");
    let url = section.text("url", "write a URL", url);
    let (mut ratio, mut service) = (SAMPLED, "weir".to_owned());
    section.share("ratio", 0.0..=1.0, &mut ratio);
    let read = section.text("service", "write text: \"weir\"", name_of_maker);
    set(&mut service, read);
    let headers = headers(&mut section, base);
    let tls = trusted(&mut section, base);
    section.finish();
    Some(Collector { url: url?.value, ratio, service, headers, tls })
}

fn name_of_maker(text: &str) -> Result<String, Mistake> {
    let short = (1..=NAME_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
    short
        .then(|| text.to_owned())
        .ok_or_else(|| Mistake::new(format!("{} is no name", quoted(text)), "write \"weir\""))
}

/// Where a secret is kept, if the text says where.
fn outside(text: &str, base: &Path) -> Option<Result<Confidential, Mistake>> {
    if let Some(name) = text.strip_prefix("env:") {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let whole = !name.is_empty() && name.chars().all(fits);
        let wrong = || Mistake::new("this names no variable", "write \"env:NAME\"");
        return Some(whole.then(|| Confidential::Env(name.to_owned())).ok_or_else(wrong));
    }
    let file = text.strip_prefix("file:")?;
    Some(path(file).map(|file| Confidential::File(base.join(file))))
}

/// Reads a secret that never stands in the file itself.
fn secret(section: &mut Section<'_>, key: &'static str, base: &Path) -> Option<At<Confidential>> {
    let read = section.hidden(key, |text| {
        let help = "name where it is kept: \"env:NAME\" or \"file:PATH\"";
        outside(text, base)
            .unwrap_or_else(|| Err(Mistake::new("secrets do not stand in the file", help)))
    });
    missing(section, key, read.as_ref());
    read
}

/// Warns of a secret that is not where it should be. It is not refused here: it is read each time it
/// is needed, and a restart must not fail for a chat.
fn missing(section: &Section<'_>, key: &'static str, secret: Option<&At<Confidential>>) {
    if let Some(at) = secret
        && let Err(what) = at.value.reveal()
    {
        let help = "it is read when it is needed; `weir notify test` tries it";
        section.remark(key, at.span.clone(), Mistake::new(what, help));
    }
}
