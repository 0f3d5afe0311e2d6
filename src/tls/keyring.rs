//! What all handshakes share, in every worker and over reloads: the keys of session tickets,
//! sessions, the certificates an authority has issued, and the answers to its questions.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::server::{ProducesTickets, ServerSessionMemoryCache, StoresServerSessions};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::sync::watch;

use super::certificate::{CertificateError, certified};
use super::{Standing, TlsError};
use crate::time::Timestamp;
use crate::traffic::{Certificate, ClientTls, ServerTls};

/// Sessions kept for clients of TLS 1.2 without tickets, some 200 bytes each; all others keep
/// theirs themselves.
const SESSIONS_MAX: usize = 4_096;

/// The protocols that are offered (ALPN, RFC 7301), the one that is liked best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocols {
    /// To clients.
    pub server: &'static [&'static [u8]],
    /// To upstreams.
    pub client: &'static [&'static [u8]],
}

/// The answers to authorities that ask at `/.well-known/acme-challenge/`, by token.
pub type Proofs = BTreeMap<String, String>;

/// What all handshakes share. One a process.
pub struct Keyring {
    protocols: Protocols,
    made: Mutex<Made>,
    pub(super) provider: Arc<CryptoProvider>,
    pub(super) tickets: Arc<dyn ProducesTickets>,
    pub(super) sessions: Arc<dyn StoresServerSessions>,
    names: RwLock<BTreeMap<String, Name>>,
    proofs: watch::Sender<Proofs>,
    /// What the process before answers as well; none: it has ended, or there was none.
    echo: watch::Sender<Option<Proofs>>,
    system: Mutex<Option<Arc<RootCertStore>>>,
}

/// Configurations that were made: one for all workers, and the same over reloads that do not
/// change them, so that sessions go on.
#[derive(Default)]
struct Made {
    servers: Vec<(Arc<ServerTls>, Arc<ServerConfig>)>,
    clients: Vec<(Arc<ClientTls>, Arc<ClientConfig>)>,
}

/// A name whose certificate an authority issues.
#[derive(Debug, Default)]
struct Name {
    issued: Option<(Arc<Certificate>, Arc<CertifiedKey>)>,
    /// Proves to the authority that the name is ours (TLS-ALPN-01).
    proof: Option<Arc<CertifiedKey>>,
    trouble: Option<String>,
    next: Option<Timestamp>,
    /// Handshakes that found no certificate.
    refused: AtomicU64,
}

impl Keyring {
    /// A new keyring: sessions of an earlier one cannot be resumed.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn new(protocols: Protocols) -> Result<Arc<Self>, TlsError> {
        Ok(Arc::new(Self {
            protocols,
            made: Mutex::default(),
            provider: Arc::new(aws_lc_rs::default_provider()),
            tickets: aws_lc_rs::Ticketer::new()?,
            sessions: ServerSessionMemoryCache::new(SESSIONS_MAX),
            names: RwLock::default(),
            proofs: watch::Sender::default(),
            echo: watch::Sender::default(),
            system: Mutex::default(),
        }))
    }

    /// The answer to an authority that asks at `/.well-known/acme-challenge/{token}` (HTTP-01,
    /// RFC 8555, section 8.3); none: it was not asked for here.
    pub fn answer(&self, token: &str) -> Option<String> {
        self.proofs.borrow().get(token).cloned()
    }

    /// All such answers, as they change: a process that drains is asked, too.
    pub fn proofs(&self) -> watch::Receiver<Proofs> {
        self.proofs.subscribe()
    }

    /// Where a process that leads another writes down what that answers as well: an authority may ask it
    /// on a connection that it still has. None as soon as nobody else is asked.
    pub fn echo(&self) -> watch::Sender<Option<Proofs>> {
        self.echo.clone()
    }

    /// Waits until whoever may be asked for `token` answers.
    pub(super) async fn is_answered_by_all(&self, token: &str) {
        let answers =
            |echo: &Option<Proofs>| echo.as_ref().is_none_or(|proofs| proofs.contains_key(token));
        // The sender is here.
        _ = self.echo.subscribe().wait_for(answers).await;
    }

    /// Answers authorities as another process does, which orders instead of this one.
    pub fn answer_as(&self, proofs: Proofs) {
        self.proofs.send_replace(proofs);
    }

    /// How it stands with every certificate that is served, those of the file first.
    pub fn certificates(&self) -> Vec<Standing> {
        let of_file = |certificate: &Arc<Certificate>| Standing::of_file(certificate);
        let issued = |(name, kept): (&String, &Name)| Standing {
            name: name.clone(),
            acme: true,
            not_after: kept.issued.as_ref().map(|(certificate, _)| certificate.not_after),
            expires_soon: kept.issued.as_ref().map(|(certificate, _)| certificate.expires_soon()),
            trouble: kept.trouble.clone(),
            next: kept.next,
        };
        let made = self.made();
        let certificates = made.servers.iter().flat_map(|(tls, _)| &tls.certificates);
        let mut standings: Vec<Standing> = Vec::new();
        for standing in certificates.map(of_file) {
            // Several listeners may serve the same.
            if !standings.contains(&standing) {
                standings.push(standing);
            }
        }
        standings.extend(self.names().iter().map(issued));
        standings
    }

    /// Makes what `servers` and `clients` need, so that a mistake is found before it is served.
    ///
    /// # Errors
    /// A certificate cannot be used, or no authority is trusted.
    pub fn prepare(
        self: &Arc<Self>,
        servers: &[Arc<ServerTls>],
        clients: &[Arc<ClientTls>],
    ) -> Result<(), TlsError> {
        servers.iter().try_for_each(|tls| self.listening(tls).map(drop))?;
        clients.iter().try_for_each(|tls| self.calling(tls).map(drop))
    }

    /// Forgets what was made for others than `servers` and `clients`.
    pub fn retain(&self, servers: &[Arc<ServerTls>], clients: &[Arc<ClientTls>]) {
        let mut made = self.made();
        made.servers.retain(|(tls, _)| servers.contains(tls));
        made.clients.retain(|(tls, _)| clients.contains(tls));
    }

    /// How a listener speaks; made once.
    ///
    /// # Errors
    /// A certificate cannot be used.
    pub fn listening(
        self: &Arc<Self>,
        tls: &Arc<ServerTls>,
    ) -> Result<Arc<ServerConfig>, TlsError> {
        let known = |made: &Made| {
            let found = made.servers.iter().find(|(known, _)| known == tls);
            found.map(|(_, config)| Arc::clone(config))
        };
        if let Some(config) = known(&self.made()) {
            return Ok(config);
        }
        // Without the lock: keys of RSA take a while to load.
        let config = self.server(tls, self.protocols.server)?;
        let mut made = self.made();
        Ok(known(&made).unwrap_or_else(|| {
            made.servers.push((Arc::clone(tls), Arc::clone(&config)));
            config
        }))
    }

    /// How upstreams are spoken to; made once.
    ///
    /// # Errors
    /// A certificate cannot be used, or no authority is trusted.
    pub fn calling(&self, tls: &Arc<ClientTls>) -> Result<Arc<ClientConfig>, TlsError> {
        let known = |made: &Made| {
            let found = made.clients.iter().find(|(known, _)| known == tls);
            found.map(|(_, config)| Arc::clone(config))
        };
        if let Some(config) = known(&self.made()) {
            return Ok(config);
        }
        let config = self.client(tls, self.protocols.client)?;
        let mut made = self.made();
        Ok(known(&made).unwrap_or_else(|| {
            made.clients.push((Arc::clone(tls), Arc::clone(&config)));
            config
        }))
    }

    /// The authorities this machine trusts; read once.
    pub(super) fn system(&self) -> Result<Arc<RootCertStore>, TlsError> {
        let mut system = self.system.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(roots) = &*system {
            return Ok(Arc::clone(roots));
        }
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let why = found.errors.first().map(|error| format!(" ({error})"));
            return Err(TlsError::NoAuthorities(why.unwrap_or_default()));
        }
        Ok(Arc::clone(system.insert(Arc::new(roots))))
    }

    /// The certificate issued for `name`; a refusal is counted and said.
    pub(super) fn certificate(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let names = self.names();
        let kept = names.get(name)?;
        if let Some((_, certified)) = &kept.issued {
            return Some(Arc::clone(certified));
        }
        let refused = kept.refused.fetch_add(1, Ordering::Relaxed) + 1;
        // At 1, 2, 4, 8 ..: seen at once, and never a flood.
        if refused.is_power_of_two() {
            let why = kept.trouble.as_deref().unwrap_or("it has been ordered");
            tracing::warn!(name, refused, "no certificate yet, clients are refused; {why}");
        }
        None
    }

    /// What proves that `name` is ours, while its authority asks for that.
    pub(super) fn proof(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        self.names().get(name)?.proof.clone()
    }

    /// Keeps the state of `names`, and forgets all others.
    pub(super) fn follow(&self, names: &[String]) {
        let mut kept = self.change();
        kept.retain(|name, _| names.contains(name));
        for name in names {
            kept.entry(name.clone()).or_default();
        }
    }

    /// Serves `certificate` to those who ask for `name`.
    pub(super) fn issue(
        &self,
        name: &str,
        certificate: Arc<Certificate>,
    ) -> Result<(), CertificateError> {
        let certified = certified(&certificate)?;
        if let Some(kept) = self.change().get_mut(name) {
            kept.issued = Some((certificate, certified));
            kept.trouble = None;
        }
        Ok(())
    }

    /// Says when the authority is asked again for `name`, and why the last time failed.
    pub(super) fn plan(&self, name: &str, next: Timestamp, trouble: Option<String>) {
        if let Some(kept) = self.change().get_mut(name) {
            kept.next = Some(next);
            kept.trouble = trouble;
        }
    }

    /// Offers `proof` that `name` is ours; none takes it back.
    pub(super) fn prove(&self, name: &str, proof: Option<Arc<CertifiedKey>>) {
        if let Some(kept) = self.change().get_mut(name) {
            kept.proof = proof;
        }
    }

    /// Answers an authority that asks for `token`; none takes it back.
    pub(super) fn answer_with(&self, token: &str, answer: Option<&str>) {
        self.proofs.send_modify(|proofs| {
            match answer {
                Some(answer) => proofs.insert(token.to_owned(), answer.to_owned()),
                None => proofs.remove(token),
            };
        });
    }

    fn made(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn names(&self) -> RwLockReadGuard<'_, BTreeMap<String, Name>> {
        self.names.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> RwLockWriteGuard<'_, BTreeMap<String, Name>> {
        self.names.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Keyring")
            .field("certificates", &self.certificates())
            .finish_non_exhaustive()
    }
}

/// Certificates as a store of what is believed.
pub(super) fn store(authorities: &[Box<[u8]>]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for (index, der) in authorities.iter().enumerate() {
        let added = roots.add(CertificateDer::from(der.to_vec()));
        added.map_err(|error| TlsError::UnfitAuthority(index + 1, error.to_string()))?;
    }
    Ok(roots)
}
