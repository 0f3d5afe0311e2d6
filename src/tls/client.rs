//! How upstreams are spoken to by TLS: who is believed, and in plain words why somebody is not.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    AlertDescription, CertificateError as Refused, ClientConfig, DigitallySignedStruct, Error,
    InvalidMessage, PeerIncompatible, SignatureScheme,
};

use super::certificate::CertificateError;
use super::server::versions;
use super::{Keyring, TlsError, keyring, standing, x509};
use crate::time::Timestamp;
use crate::traffic::{Address, Certificate, ClientTls, Spot, TlsVersion, Trust};

/// Sessions kept for the next connections to the upstreams of one release.
const SESSIONS_MAX: usize = 64;

impl Keyring {
    /// How the upstreams of a release are spoken to, offering `protocols` (ALPN), the one that is
    /// liked best first.
    ///
    /// # Errors
    /// No authority is trusted, or a certificate cannot be used.
    pub fn client(
        &self,
        tls: &ClientTls,
        protocols: &[&[u8]],
    ) -> Result<Arc<ClientConfig>, TlsError> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(versions(TlsVersion::Tls12))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier::new(self, &tls.trust)?));
        let mut config = match &tls.certificate {
            None => builder.with_no_client_auth(),
            Some(certificate) => {
                let (chain, key) = own(certificate)?;
                builder.with_client_auth_cert(chain, key)?
            }
        };
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
        Ok(Arc::new(config))
    }
}

fn own(
    certificate: &Certificate,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let chain = certificate.chain.iter().map(|der| CertificateDer::from(der.to_vec())).collect();
    let unfit = |_| TlsError::Certificate {
        name: certificate.names.first().cloned().unwrap_or_default(),
        source: CertificateError::UnfitKey,
    };
    let key = PrivateKeyDer::try_from(certificate.key.der()).map_err(unfit)?;
    Ok((chain, key.clone_key()))
}

/// The name that an upstream's certificate must be for: that of the file, or the host of its
/// address. None for a Unix socket without one; the configuration refuses that.
pub fn server_name(address: &Address, tls: &ClientTls) -> Option<ServerName<'static>> {
    match (&tls.name, &address.spot) {
        (Some(name), _) => ServerName::try_from(name.clone()).ok(),
        (None, Spot::Name(host, _)) => ServerName::try_from(host.clone()).ok(),
        (None, Spot::Socket(address)) => Some(ServerName::from(address.ip())),
        (None, Spot::Unix(_)) => match tls.trust {
            Trust::Anybody => Some(ServerName::from(IpAddr::from([0, 0, 0, 0]))),
            Trust::Only(_) | Trust::System => None,
        },
    }
}

/// Who is believed.
#[derive(Debug)]
pub(super) struct Verifier {
    /// None believes anybody.
    authorities: Option<Arc<WebPkiServerVerifier>>,
    /// Certificates that are believed as they are: a server that signed its own.
    pinned: Arc<[Box<[u8]>]>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    pub(super) fn new(keyring: &Keyring, trust: &Trust) -> Result<Self, TlsError> {
        let (roots, pinned) = match trust {
            Trust::Anybody => (None, Arc::default()),
            Trust::Only(only) => (Some(Arc::new(keyring::store(only)?)), Arc::clone(only)),
            Trust::System => (Some(keyring.system()?), Arc::default()),
        };
        let builder = |roots| {
            WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&keyring.provider))
                .build()
                .map_err(|error| TlsError::NoAuthorities(format!(" ({error})")))
        };
        let algorithms = keyring.provider.signature_verification_algorithms;
        Ok(Self { authorities: roots.map(builder).transpose()?, pinned, algorithms })
    }

    /// A certificate that stands in `ca` itself needs no signature, only its name and its time.
    fn verify_pinned(
        der: &CertificateDer<'_>,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let facts = x509::facts(der).ok_or(Refused::BadEncoding)?;
        let seconds = |time: Timestamp| time.millis() / 1_000;
        if now.as_secs() > seconds(facts.not_after) {
            return Err(Refused::Expired.into());
        }
        if now.as_secs() < seconds(facts.not_before) {
            return Err(Refused::NotValidYet.into());
        }
        verify_server_name(&ParsedCertificate::try_from(der)?, name)?;
        Ok(ServerCertVerified::assertion())
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(authorities) = &self.authorities else {
            return Ok(ServerCertVerified::assertion());
        };
        let verified = if self.pinned.iter().any(|pinned| **pinned == **end_entity) {
            Self::verify_pinned(end_entity, server_name, now)
        } else {
            authorities.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            )
        };
        verified.map_err(|error| with_facts(error, end_entity, server_name, now))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The same refusal with what the certificate says, for [`explain`].
#[allow(clippy::wildcard_enum_match_arm, reason = "errors are rustls's, and there are many")]
fn with_facts(error: Error, der: &[u8], name: &ServerName<'_>, now: UnixTime) -> Error {
    let Some(facts) = x509::facts(der) else { return error };
    let moment = |time: Timestamp| {
        UnixTime::since_unix_epoch(std::time::Duration::from_millis(time.millis()))
    };
    let Error::InvalidCertificate(refused) = &error else { return error };
    let refused = match refused {
        Refused::NotValidForName | Refused::NotValidForNameContext { .. } => {
            let expected = name.to_owned();
            Refused::NotValidForNameContext { expected, presented: facts.names }
        }
        Refused::Expired => {
            Refused::ExpiredContext { time: now, not_after: moment(facts.not_after) }
        }
        Refused::NotValidYet => {
            Refused::NotValidYetContext { time: now, not_before: moment(facts.not_before) }
        }
        _ => return error,
    };
    Error::InvalidCertificate(refused)
}

/// Why a handshake with the upstream `who` failed, and what to do; none where it was not TLS.
pub fn explain(error: &io::Error, who: &str) -> Option<String> {
    let source = error.get_ref()?;
    source.downcast_ref::<Error>().map(|error| sentence(error, who))
}

#[allow(clippy::wildcard_enum_match_arm, reason = "errors are rustls's, and there are many")]
fn sentence(error: &Error, who: &str) -> String {
    match error {
        Error::InvalidCertificate(refused) => refusal(refused, who),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            format!("{who} does not speak TLS; write its address without https://")
        }
        Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13)
        | Error::AlertReceived(AlertDescription::ProtocolVersion) => {
            format!("{who} speaks neither TLS 1.2 nor 1.3; upgrade it")
        }
        Error::AlertReceived(AlertDescription::HandshakeFailure) | Error::PeerIncompatible(_) => {
            format!("{who} knows no way to encrypt that is safe today ({error}); upgrade it")
        }
        Error::AlertReceived(
            AlertDescription::CertificateRequired | AlertDescription::NoCertificate,
        ) => format!(
            "{who} wants to know who asks; give it a certificate: tls = {{ chain = \"weir.pem\", \
             key = \"weir.key\" }}"
        ),
        Error::AlertReceived(AlertDescription::UnrecognisedName) => format!(
            "{who} has no certificate for the name it was asked for; set tls = {{ name = \"...\" }}"
        ),
        Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateRevoked
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::AccessDenied,
        ) => format!("{who} does not accept the certificate Weir shows ({error})"),
        _ => format!("no TLS with {who}: {error}"),
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "errors are rustls's, and there are many")]
fn refusal(refused: &Refused, who: &str) -> String {
    match refused {
        Refused::NotValidForNameContext { expected, presented } => {
            let wanted = expected.to_str();
            let Some(first) = presented.first() else {
                return format!(
                    "the certificate of {who} names no host (subjectAltName); have it made anew \
                     for {wanted}"
                );
            };
            let (names, rest) = (presented.join(", "), first.replacen("*.", "app.", 1));
            format!(
                "the certificate of {who} is for {names}, not for {wanted}; if that is the right \
                 server, set tls = {{ name = \"{rest}\" }}"
            )
        }
        Refused::ExpiredContext { not_after, .. } => {
            format!("the certificate of {who} expired on {}; renew it", day(*not_after))
        }
        Refused::NotValidYetContext { not_before, .. } => format!(
            "the certificate of {who} is valid from {} on; is a clock wrong?",
            day(*not_before)
        ),
        // A bad signature is that of another authority of the same name, one made anew.
        Refused::UnknownIssuer | Refused::BadSignature => format!(
            "the certificate of {who} is signed by nobody that is trusted here; name who signed \
             it: tls = {{ ca = \"ca.pem\" }}"
        ),
        Refused::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => format!(
            "{who} has signed its certificate itself; if that is meant, name the certificate: \
             tls = {{ ca = \"{who}.pem\" }}"
        ),
        Refused::InvalidPurpose | Refused::InvalidPurposeContext { .. } => format!(
            "the certificate of {who} is not made for servers (extendedKeyUsage); have it made anew"
        ),
        other => format!("the certificate of {who} is refused: {other}"),
    }
}

fn day(time: UnixTime) -> String {
    standing::day(Timestamp::from_millis(time.as_secs().saturating_mul(1_000)))
}
