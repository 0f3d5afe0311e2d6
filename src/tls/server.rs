//! How listeners speak TLS: which certificate for which name, sessions that can be resumed.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};

use super::certificate::certified;
use super::{Keyring, TlsError};
use crate::traffic::{ServerTls, TlsVersion};

/// The protocol by which an authority asks whether a name is ours (RFC 8737); a connection that
/// agreed on it carries nothing and is closed.
pub const ACME_PROTOCOL: &[u8] = b"acme-tls/1";

/// Session tickets for each new connection of TLS 1.3: a browser opens a few at once, and a ticket
/// is good for one.
const TICKETS: usize = 2;

impl Keyring {
    /// How a listener speaks, offering `protocols` (ALPN), the one it likes best first.
    ///
    /// # Errors
    /// A certificate cannot be used.
    pub fn server(
        self: &Arc<Self>,
        tls: &ServerTls,
        protocols: &[&[u8]],
    ) -> Result<Arc<ServerConfig>, TlsError> {
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(versions(tls.min_version))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Resolver::new(self, tls)?));
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        if !tls.acme.is_empty() {
            config.alpn_protocols.push(ACME_PROTOCOL.to_vec());
        }
        config.ticketer = Arc::clone(&self.tickets);
        config.session_storage = Arc::clone(&self.sessions);
        config.send_tls13_tickets = TICKETS;
        // What comes early can be replayed by anybody who saw it.
        config.max_early_data_size = 0;
        Ok(Arc::new(config))
    }
}

/// The versions from `oldest` on.
pub(super) const fn versions(oldest: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    const BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
    match oldest {
        TlsVersion::Tls12 => BOTH,
        TlsVersion::Tls13 => BOTH.split_at(1).0,
    }
}

/// Certificates of one name, perhaps of several kinds of key.
type Kinds = Vec<Arc<CertifiedKey>>;

/// Which certificate a client gets: one for exactly the name it asks for, one with a wildcard, one
/// that an authority issued, or the first of the file.
#[derive(Debug)]
struct Resolver {
    exact: BTreeMap<String, Kinds>,
    /// By what follows the star and its dot.
    wildcard: BTreeMap<String, Kinds>,
    first: Kinds,
    acme: Vec<String>,
    keyring: Arc<Keyring>,
}

impl Resolver {
    fn new(keyring: &Arc<Keyring>, tls: &ServerTls) -> Result<Self, TlsError> {
        let mut resolver = Self {
            exact: BTreeMap::new(),
            wildcard: BTreeMap::new(),
            first: Kinds::new(),
            acme: tls.acme.clone(),
            keyring: Arc::clone(keyring),
        };
        for certificate in &tls.certificates {
            let name = || certificate.names.first().cloned().unwrap_or_default();
            let certified = certified(certificate)
                .map_err(|source| TlsError::Certificate { name: name(), source })?;
            for name in &certificate.names {
                let kinds = match name.strip_prefix("*.") {
                    Some(rest) => resolver.wildcard.entry(rest.to_owned()),
                    None => resolver.exact.entry(name.clone()),
                };
                kinds.or_default().push(Arc::clone(&certified));
            }
            let as_first = tls.certificates.first().is_some_and(|first| {
                first.names.iter().any(|name| certificate.names.contains(name))
            });
            if as_first {
                resolver.first.push(certified);
            }
        }
        Ok(resolver)
    }

    fn for_name(&self, name: &str) -> Option<&Kinds> {
        self.exact.get(name).or_else(|| {
            let (_, rest) = name.split_once('.')?;
            self.wildcard.get(rest)
        })
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name();
        if !self.acme.is_empty() && asks_for_proof(&hello) {
            return self.keyring.proof(name?);
        }
        let kinds = match name {
            Some(name) => match self.for_name(name) {
                Some(kinds) => kinds,
                None if self.acme.iter().any(|acme| acme == name) => {
                    return self.keyring.certificate(name);
                }
                None => &self.first,
            },
            None => &self.first,
        };
        match (fitting(kinds, &hello), self.acme.first()) {
            (None, Some(first)) if kinds.is_empty() => self.keyring.certificate(first),
            (fitting, _) => fitting,
        }
    }
}

fn asks_for_proof(hello: &ClientHello<'_>) -> bool {
    hello.alpn().is_some_and(|mut protocols| {
        protocols.next() == Some(ACME_PROTOCOL) && protocols.next().is_none()
    })
}

/// The first certificate whose key the client can check; if there is none, the handshake says why.
fn fitting(kinds: &Kinds, hello: &ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
    let schemes = hello.signature_schemes();
    let fits = |kind: &&Arc<CertifiedKey>| kind.key.choose_scheme(schemes).is_some();
    match kinds.as_slice() {
        [only] => Some(Arc::clone(only)),
        several => several.iter().find(fits).or(several.first()).cloned(),
    }
}
