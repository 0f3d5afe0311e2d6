//! What all handshakes share, in every worker and over reloads: the keys of session tickets,
//! sessions, the certificates an authority has issued, and the answers to its questions.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rustls::RootCertStore;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::server::{ProducesTickets, ServerSessionMemoryCache, StoresServerSessions};
use rustls::sign::CertifiedKey;

use super::TlsError;
use super::certificate::{CertificateError, certified};
use crate::time::Timestamp;
use crate::traffic::Certificate;

/// Sessions kept for clients of TLS 1.2 without tickets, some 200 bytes each; all others keep
/// theirs themselves.
const SESSIONS_MAX: usize = 4_096;

/// What all handshakes share. One a process.
pub struct Keyring {
    pub(super) provider: Arc<CryptoProvider>,
    pub(super) tickets: Arc<dyn ProducesTickets>,
    pub(super) sessions: Arc<dyn StoresServerSessions>,
    names: RwLock<BTreeMap<String, Name>>,
    tokens: RwLock<BTreeMap<String, String>>,
    system: Mutex<Option<Arc<RootCertStore>>>,
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

/// How it stands with the certificate of one name, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// The name.
    pub name: String,
    /// Until when its certificate is valid; none: there is no certificate yet.
    pub not_after: Option<Timestamp>,
    /// Why the last try to get one failed; none: it did not.
    pub trouble: Option<String>,
    /// When the authority is asked again.
    pub next: Option<Timestamp>,
}

impl Keyring {
    /// A new keyring: sessions of an earlier one cannot be resumed.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn new() -> Result<Arc<Self>, TlsError> {
        Ok(Arc::new(Self {
            provider: Arc::new(aws_lc_rs::default_provider()),
            tickets: aws_lc_rs::Ticketer::new()?,
            sessions: ServerSessionMemoryCache::new(SESSIONS_MAX),
            names: RwLock::default(),
            tokens: RwLock::default(),
            system: Mutex::default(),
        }))
    }

    /// The answer to an authority that asks at `/.well-known/acme-challenge/{token}` (HTTP-01,
    /// RFC 8555, section 8.3); none: it was not asked for here.
    pub fn answer(&self, token: &str) -> Option<String> {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        tokens.get(token).cloned()
    }

    /// The certificates that an authority issues, by name.
    pub fn issued(&self) -> Vec<Issued> {
        let issued = |(name, kept): (&String, &Name)| Issued {
            name: name.clone(),
            not_after: kept.issued.as_ref().map(|(certificate, _)| certificate.not_after),
            trouble: kept.trouble.clone(),
            next: kept.next,
        };
        self.names().iter().map(issued).collect()
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
        let mut tokens = self.tokens.write().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Some(answer) => tokens.insert(token.to_owned(), answer.to_owned()),
            None => tokens.remove(token),
        };
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
        out.debug_struct("Keyring").field("issued", &self.issued()).finish_non_exhaustive()
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
