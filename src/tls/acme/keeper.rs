//! Who keeps certificates new: what is due, what came of it, when to look again.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use instant_acme::{Account, CertificateIdentifier, Error};
use rustls::pki_types::Der;
use tokio::time::timeout;

use super::folder::{Folder, Record};
use super::order::{self, Ordered, Trouble};
use super::{Settings, kept, schedule};
use crate::clock;
use crate::time::{Timestamp, in_words};
use crate::tls::{Keyring, x509};
use crate::traffic::Certificate;

/// Longest an order may take from the first question to the certificate.
const ORDER_MAX: Duration = Duration::from_mins(5);

/// Least time between two tries for one name, whatever a reload wants.
const AGAIN: Duration = Duration::from_mins(1);

/// How long after a start the authority is first asked whether it wants to renew: not at once,
/// since a start has more urgent things to do, and may be one of many.
const ASK_AFTER: Duration = Duration::from_mins(10);

/// A tenth more at most, so that many failures are not tried again in step.
const JITTER: f64 = 0.1;

/// Who keeps the certificates of some names new.
pub struct Keeper {
    keyring: Arc<Keyring>,
    settings: Settings,
    folder: Folder,
    account: Option<Account>,
    names: BTreeMap<String, Plan>,
}

/// One name.
struct Plan {
    certificate: Option<Arc<Certificate>>,
    record: Record,
    /// When a new certificate is ordered.
    due: Timestamp,
    /// When the authority is asked whether it wants to renew; none: it does not answer that.
    ask: Option<Timestamp>,
    /// Whether the authority wants to know which certificate a new one follows.
    follows: bool,
}

impl Plan {
    fn new(certificate: Option<Arc<Certificate>>, record: Record, now: Timestamp) -> Self {
        let ask = now.plus(ASK_AFTER.mul_f64(rand::random::<f64>()));
        let mut plan = Self { certificate, record, due: now, ask: Some(ask), follows: false };
        plan.due = plan.next(now);
        plan
    }

    /// When a certificate is ordered, as far as the authority has no wish.
    fn next(&self, now: Timestamp) -> Timestamp {
        // A clock that was set back must not put it off for ever.
        let tried = self.record.tried.min(now);
        match (&self.certificate, self.record.failures) {
            (None, 0) => now,
            (Some(kept), 0) => {
                let (from, until) = (kept.not_before, kept.not_after);
                schedule::renewal(from, until).max(tried.plus(schedule::least(from, until)))
            }
            (_, failures) => tried.plus(schedule::retry(failures)),
        }
    }

    /// When there is something to do.
    fn wakes(&self) -> Timestamp {
        match self.ask {
            Some(ask) if self.certificate.is_some() => self.due.min(ask),
            Some(_) | None => self.due,
        }
    }
}

impl Keeper {
    /// A keeper that goes on where the folder says the one before it stopped.
    pub fn new(keyring: &Arc<Keyring>, settings: Settings, now: Timestamp) -> Self {
        let folder = settings.folder();
        let plan = |name: &String| {
            let plan = Plan::new(kept(&folder, name), folder.record(name), now);
            keyring.plan(name, plan.due, plan.record.trouble.clone());
            (name.clone(), plan)
        };
        let names = settings.names.iter().map(plan).collect();
        Self { keyring: Arc::clone(keyring), settings, folder, account: None, names }
    }

    /// What it works by.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Has what failed tried again soon.
    pub fn hurry(&mut self, now: Timestamp) {
        for (name, plan) in self.names.iter_mut().filter(|(_, plan)| plan.record.failures > 0) {
            plan.due = plan.due.min(plan.record.tried.plus(AGAIN).max(now));
            self.keyring.plan(name, plan.due, plan.record.trouble.clone());
        }
    }

    /// Does what is due, and says how long nothing will be.
    pub async fn work(&mut self) -> Duration {
        while let Some(name) = self.overdue(clock::wall()) {
            self.renew(&name).await;
        }
        while let Some(name) = self.unasked(clock::wall()) {
            self.ask(&name).await;
        }
        let next = self.names.values().map(Plan::wakes).min();
        let pause = next.map_or(Duration::MAX, |next| next.since(clock::wall()));
        pause.max(Duration::from_secs(1))
    }

    /// The name that waits most: one without a certificate, then the one that expires first.
    fn overdue(&self, now: Timestamp) -> Option<String> {
        let due = self.names.iter().filter(|(_, plan)| plan.due <= now);
        let expires = |plan: &Plan| plan.certificate.as_ref().map(|kept| kept.not_after);
        due.min_by_key(|(_, plan)| (expires(plan), plan.due)).map(|(name, _)| name.clone())
    }

    fn unasked(&self, now: Timestamp) -> Option<String> {
        let mut names = self.names.iter();
        let asked =
            |plan: &Plan| plan.certificate.is_some() && plan.ask.is_some_and(|ask| ask <= now);
        names.find(|(_, plan)| asked(plan)).map(|(name, _)| name.clone())
    }

    /// Orders a certificate for `name`, and writes down how that went.
    async fn renew(&mut self, name: &str) {
        let ordered = timeout(ORDER_MAX, self.order(name)).await.unwrap_or(Err(Trouble::Late));
        let now = clock::wall();
        let Some(plan) = self.names.get_mut(name) else { return };
        plan.record.tried = now;
        match ordered {
            Ok((ordered, challenge)) => {
                let until = in_words(ordered.certificate.not_after.since(now));
                tracing::info!(
                    name,
                    "certificate issued ({}), valid for {until}",
                    challenge.name()
                );
                plan.record = Record { tried: now, worked: Some(challenge), ..Record::default() };
                plan.certificate = Some(Arc::clone(&ordered.certificate));
                plan.due = plan.next(now);
                if let Err(error) = self.keyring.issue(name, ordered.certificate) {
                    tracing::error!(name, "the issued certificate {error}");
                }
            }
            Err(trouble) => {
                plan.record.failures = plan.record.failures.saturating_add(1);
                plan.record.trouble = Some(trouble.to_string());
                let pause = schedule::retry(plan.record.failures);
                let pause = pause.mul_f64(1.0 + JITTER * rand::random::<f64>());
                plan.due = now.plus(pause);
                tracing::error!(name, "no certificate: {trouble}; again in {}", in_words(pause));
            }
        }
        self.keyring.plan(name, plan.due, plan.record.trouble.clone());
        let (record, text) = (plan.record.clone(), name.to_owned());
        let kept = self.on_disk(move |folder| folder.keep_record(&text, &record)).await;
        if let Err(error) = kept {
            tracing::warn!(name, "how it went cannot be kept: {error}");
        }
    }

    async fn order(&mut self, name: &str) -> Result<(Ordered, super::Challenge), Trouble> {
        let Some(plan) = self.names.get(name) else { return Err(Trouble::Late) };
        let Record { failures, worked, .. } = plan.record;
        let ways = schedule::challenges(self.settings.challenge, worked, failures);
        let mut last = Trouble::Late;
        for way in ways {
            match self.order_by(name, way).await {
                Ok(ordered) => return Ok((ordered, way)),
                Err(Trouble::Unproven(why)) => last = Trouble::Unproven(why),
                Err(other) => return Err(other),
            }
            tracing::warn!(name, "{last}");
        }
        Err(last)
    }

    async fn order_by(&mut self, name: &str, way: super::Challenge) -> Result<Ordered, Trouble> {
        let ordered = match self.order_once(name, way).await {
            Err(Trouble::NoAccount) => {
                self.account = None;
                self.on_disk(Folder::forget_account).await?;
                self.order_once(name, way).await?
            }
            other => other?,
        };
        // What cannot be kept is not served either: after a restart it would be ordered again,
        // and again.
        let (text, pem) = (name.to_owned(), ordered.pem.clone());
        self.on_disk(move |folder| folder.keep_certificate(&text, &pem)).await?;
        Ok(ordered)
    }

    async fn order_once(&mut self, name: &str, way: super::Challenge) -> Result<Ordered, Trouble> {
        let account = self.account().await?;
        let plan = self.names.get(name).filter(|plan| plan.follows);
        let replaces = plan.and_then(|plan| identifier(plan.certificate.as_deref()?));
        order::certificate(&self.keyring, &account, name, way, replaces).await
    }

    async fn account(&mut self) -> Result<Account, Trouble> {
        if let Some(account) = &self.account {
            return Ok(account.clone());
        }
        let kept = self.on_disk(|folder| Ok(folder.account())).await?;
        let (account, changed) = order::account(&self.keyring, &self.settings, kept).await?;
        if let Some(changed) = changed {
            self.on_disk(move |folder| folder.keep_account(&changed)).await?;
        }
        Ok(self.account.insert(account).clone())
    }

    /// Asks the authority whether it wants to renew the certificate of `name` at another time
    /// (RFC 9773).
    async fn ask(&mut self, name: &str) {
        let asked = timeout(ORDER_MAX, self.suggestion(name)).await;
        let now = clock::wall();
        let Some(plan) = self.names.get_mut(name) else { return };
        let (again, suggested) = match asked {
            Ok(Some((again, suggested))) => (Some(again), suggested),
            Ok(None) => (None, None),
            Err(_) => (Some(Duration::ZERO), None),
        };
        plan.ask = again.map(|again| now.plus(schedule::ask_again(again)));
        plan.follows |= suggested.is_some();
        if let Some(due) = suggested.filter(|_| plan.record.failures == 0) {
            plan.due = due;
            self.keyring.plan(name, plan.due, None);
        }
    }

    /// When to ask again and when to renew; none: the authority does not answer such questions.
    async fn suggestion(&mut self, name: &str) -> Option<(Duration, Option<Timestamp>)> {
        let certificate = Arc::clone(self.names.get(name)?.certificate.as_ref()?);
        let identifier = identifier(&certificate)?;
        let Ok(account) = self.account().await else { return Some((Duration::ZERO, None)) };
        match account.renewal_info(&identifier).await {
            Ok((info, again)) => {
                let moment = |seconds: i64| {
                    Timestamp::from_millis(
                        u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000),
                    )
                };
                let window = info.suggested_window;
                let window =
                    (moment(window.start.unix_timestamp()), moment(window.end.unix_timestamp()));
                let life = (certificate.not_before, certificate.not_after);
                let serial = identifier.serial.as_bytes();
                Some((again, Some(schedule::suggested(window, serial, life))))
            }
            Err(Error::Unsupported(_)) => None,
            Err(error) => {
                tracing::debug!(name, %error, "no answer when to renew");
                Some((Duration::ZERO, None))
            }
        }
    }

    /// Touches the folder on a thread that may wait for a disk.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Folder) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let folder = self.folder.clone();
        tokio::task::spawn_blocking(move || work(&folder)).await.map_err(io::Error::other)?
    }
}

/// What an authority calls a certificate (RFC 9773, section 4.1).
fn identifier(certificate: &Certificate) -> Option<CertificateIdentifier<'static>> {
    let facts = x509::facts(certificate.chain.first()?)?;
    let key = Der::from_slice(facts.authority_key?);
    Some(CertificateIdentifier::new(key, Der::from_slice(facts.serial)).into_owned())
}
