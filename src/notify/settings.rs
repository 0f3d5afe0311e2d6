//! Who is told, what, and how.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::template::Template;
use crate::rollout::Event;
use crate::rollout::runbook::Url;
use crate::traffic::{ClientTls, TierName};

/// The name under which silences are counted; no target may have it.
pub(super) const ALERTMANAGER: &str = "alertmanager";

/// Longest secret, in bytes.
const SECRET_BYTES_MAX: usize = 4_096;

/// All who are told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Those who are told of events, in the order of the file.
    pub targets: Vec<Target>,
    /// Where alerts are silenced while a rollout is open.
    pub alertmanager: Option<Alertmanager>,
    /// Where traces go.
    pub collector: Option<Collector>,
}

/// A collector of traces.
#[derive(Clone, Debug, PartialEq)]
pub struct Collector {
    /// Where it takes OTLP by HTTP.
    pub url: Url,
    /// Which share of the requests is traced.
    pub ratio: f64,
    /// What Weir is called there.
    pub service: String,
    /// Further headers.
    pub headers: Vec<(String, Confidential)>,
    /// Who is believed, where the URL is `https`.
    pub tls: Arc<ClientTls>,
}

// A share is never NaN.
impl Eq for Collector {}

/// One who is told of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name; no two share one.
    pub name: String,
    /// How it is told.
    pub way: Way,
    /// The names of the events it hears of; none: all.
    pub events: Option<Vec<String>>,
    /// The tiers it hears of, and what is in no tier alone; none: all.
    pub tiers: Option<Vec<TierName>>,
    /// How long an event is tried again.
    pub retry_for: Duration,
    /// How long one try may take.
    pub timeout: Duration,
}

/// How a target is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// By mail.
    Mail(Mail),
    /// By a POST.
    Webhook(Webhook),
}

/// A webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Its URL; that of a chat is a secret.
    pub url: Confidential,
    /// What is sent.
    pub template: Template,
    /// By which the receiver knows that it was Weir who wrote.
    pub secret: Option<Confidential>,
    /// Further headers.
    pub headers: Vec<(String, Confidential)>,
    /// Who is believed, where the URL is `https`.
    pub tls: Arc<ClientTls>,
}

/// Mail by SMTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// The host of the server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How it is spoken to.
    pub encryption: Encryption,
    /// Who logs in, and by which password.
    pub login: Option<(String, Confidential)>,
    /// The sender.
    pub from: String,
    /// The recipients; at least one.
    pub to: Vec<String>,
    /// Who is believed.
    pub tls: Arc<ClientTls>,
}

/// How a mail server is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encryption {
    /// TLS from the first byte (port 465).
    Implicit,
    /// In the clear.
    None,
    /// TLS after a few words in the clear (port 587, RFC 3207); required, not tried.
    #[default]
    StartTls,
}

impl Encryption {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Implicit, Self::None, Self::StartTls];

    /// `implicit`, `none` or `starttls`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Implicit => "implicit",
            Self::None => "none",
            Self::StartTls => "starttls",
        }
    }

    /// The port that is usual.
    pub const fn port(self) -> u16 {
        match self {
            Self::Implicit => 465,
            Self::None => 25,
            Self::StartTls => 587,
        }
    }
}

/// Where alerts are silenced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alertmanager {
    /// Its URL, with the path before `/api/v2`.
    pub url: Url,
    /// Which alerts: all must hold; never empty.
    pub matchers: Vec<Matcher>,
    /// Who makes the silences: by it, and by their comment, Weir finds its own.
    pub created_by: String,
    /// The value of `Authorization`.
    pub authorization: Option<Confidential>,
    /// Who is believed, where the URL is `https`.
    pub tls: Arc<ClientTls>,
}

/// A condition on a label of an alert: `service="shop"`, `severity!="page"`, `instance=~"web-.*"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matcher {
    /// The label.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Whether the value is a regular expression.
    pub is_regex: bool,
    /// Whether it must fit.
    pub is_equal: bool,
}

/// Why a text is no matcher.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0:?} is no matcher; write service=\"shop\", severity!=\"page\" or instance=~\"web-.*\"")]
pub struct MatcherError(String);

impl FromStr for Matcher {
    type Err = MatcherError;

    fn from_str(text: &str) -> Result<Self, MatcherError> {
        let wrong = || MatcherError(text.chars().take(80).collect());
        let end = text.find(['=', '!']).ok_or_else(wrong)?;
        let (name, rest) = text.split_at(end);
        let operators = [("!~", true, false), ("=~", true, true), ("!=", false, false)];
        let operators = operators.into_iter().chain([("=", false, true)]);
        let mut found = operators.filter_map(|(operator, regex, equal)| {
            rest.strip_prefix(operator).map(|value| (value, regex, equal))
        });
        let (value, is_regex, is_equal) = found.next().ok_or_else(wrong)?;
        let value = value.trim();
        let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value);
        let name = name.trim();
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let named = !name.is_empty()
            && name.chars().all(word)
            && !name.starts_with(|c: char| c.is_ascii_digit());
        if !named || value.is_empty() || value.chars().any(char::is_control) {
            return Err(wrong());
        }
        Ok(Self { name: name.to_owned(), value: value.to_owned(), is_regex, is_equal })
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operator = match (self.is_equal, self.is_regex) {
            (true, false) => "=",
            (false, false) => "!=",
            (true, true) => "=~",
            (false, true) => "!~",
        };
        write!(out, "{}{operator}{:?}", self.name, self.value)
    }
}

/// A secret, or where it is kept; read each time it is needed, so that a new one needs no reload.
/// It prints as where it is kept, never as what it is.
#[derive(Clone, PartialEq, Eq)]
pub enum Confidential {
    /// In a variable of the environment.
    Env(String),
    /// In a file, without the white space around it.
    File(PathBuf),
    /// Here.
    Plain(String),
}

impl Confidential {
    /// What it is.
    ///
    /// # Errors
    /// It is not where it should be.
    pub fn reveal(&self) -> Result<String, String> {
        let text = match self {
            Self::Plain(text) => Ok(text.clone()),
            Self::Env(name) => {
                std::env::var(name).map_err(|_| format!("the variable {name} is not set"))
            }
            Self::File(path) => std::fs::read_to_string(path)
                .map_err(|error| format!("{} cannot be read: {error}", path.display())),
        }?;
        let text = text.trim();
        match text.len() {
            0 => Err(format!("{self} is empty")),
            1..=SECRET_BYTES_MAX => Ok(text.to_owned()),
            _ => Err(format!("{self} has more than {SECRET_BYTES_MAX} bytes")),
        }
    }
}

impl fmt::Display for Confidential {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(out, "env:{name}"),
            Self::File(path) => write!(out, "file:{}", path.display()),
            Self::Plain(_) => out.write_str("(secret)"),
        }
    }
}

impl fmt::Debug for Confidential {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl Settings {
    /// All that nobody may see.
    pub fn confidential(&self) -> Vec<&Confidential> {
        let mut all = Vec::new();
        for target in &self.targets {
            match &target.way {
                Way::Mail(mail) => all.extend(mail.login.iter().map(|(_, password)| password)),
                Way::Webhook(hook) => {
                    all.push(&hook.url);
                    all.extend(&hook.secret);
                    all.extend(hook.headers.iter().map(|(_, value)| value));
                }
            }
        }
        all.extend(self.alertmanager.iter().filter_map(|it| it.authorization.as_ref()));
        let headers = self.collector.iter().flat_map(|collector| &collector.headers);
        all.extend(headers.map(|(_, value)| value));
        all
    }

    /// The names of all, with how they are told.
    pub(super) fn names(&self) -> Vec<(String, &'static str)> {
        let targets = self.targets.iter().map(|target| (target.name.clone(), target.way.name()));
        let silences = self.alertmanager.iter().map(|_| (ALERTMANAGER.to_owned(), ALERTMANAGER));
        targets.chain(silences).collect()
    }
}

impl Way {
    /// `mail` or `webhook`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Mail(_) => "mail",
            Self::Webhook(_) => "webhook",
        }
    }
}

impl Target {
    /// Whether it hears of `event`, whose name is `kind`.
    pub(super) fn hears(&self, event: &Event, kind: &str) -> bool {
        let tier = match (&self.tiers, &event.tier) {
            (Some(wanted), Some(tier)) => wanted.contains(tier),
            (Some(_) | None, None) | (None, Some(_)) => true,
        };
        tier && self.events.as_ref().is_none_or(|wanted| wanted.iter().any(|name| name == kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matcher_reads_as_alertmanager_writes_it() {
        for text in ["service=\"shop\"", "severity!=\"page\"", "instance=~\"web-.*\"", "a!~\"x\""] {
            assert_eq!(text.parse::<Matcher>().unwrap().to_string(), text);
        }
        assert_eq!("service = shop".parse::<Matcher>().unwrap().value, "shop");
        for wrong in ["", "shop", "=x", "a=", "1a=x", "a b=x", "a=\"\""] {
            assert!(wrong.parse::<Matcher>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_secret_is_read_where_it_is_kept_and_never_printed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let kept = Confidential::File(path.clone());
        assert!(kept.reveal().unwrap_err().contains("cannot be read"));
        std::fs::write(&path, " hunter2\n").unwrap();
        assert_eq!(kept.reveal().as_deref(), Ok("hunter2"));
        std::fs::write(&path, "\n").unwrap();
        assert!(kept.reveal().unwrap_err().ends_with("is empty"));
        let plain = Confidential::Plain("hunter2".into());
        assert_eq!(
            (format!("{plain}"), format!("{plain:?}")),
            ("(secret)".into(), "(secret)".into())
        );
        assert!(Confidential::Env("WEIR_NO_SUCH".into()).reveal().is_err());
    }
}
