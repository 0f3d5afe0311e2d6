//! Certificates as people have them: PEM files, read and looked through before anybody uses them.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{Error, InconsistentKeys};
use thiserror::Error;

use super::x509;
use crate::traffic::{Certificate, PrivateKey};

/// Certificates of one chain; a longer one is a bundle of authorities.
const CHAIN_MAX: usize = 10;

/// Certificates of a file of authorities; systems trust some 150.
const AUTHORITIES_MAX: usize = 1_000;

/// What is wrong with a file of certificates or a key, to be read after its name. Each says what
/// to do.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CertificateError {
    /// The bytes are DER.
    #[error(
        "is DER, and PEM is wanted; convert it: openssl {0} -inform der -in FILE -out FILE.pem"
    )]
    Der(&'static str),
    /// There is no certificate.
    #[error("holds no certificate; one begins with -----BEGIN CERTIFICATE-----")]
    NoCertificate,
    /// There is no key.
    #[error("holds no private key; one begins with -----BEGIN PRIVATE KEY-----")]
    NoKey,
    /// The key needs a passphrase.
    #[error(
        "is encrypted, and nobody is there to type the passphrase; decrypt it: openssl pkey -in \
         FILE -out FILE.key"
    )]
    Encrypted,
    /// The PEM is broken.
    #[error("is no whole PEM file; write it anew")]
    Pem,
    /// A certificate cannot be read; they are counted from 1.
    #[error("has a damaged certificate, number {0}; write the file anew")]
    Damaged(usize),
    /// There are too many.
    #[error("holds {0} certificates, {1} are allowed; leave out what no client needs")]
    TooMany(usize, usize),
    /// The key belongs to a later certificate.
    #[error("has the certificate of this key as number {0}; put it first, then its signer's")]
    KeyOfAnother(usize),
    /// The key belongs to none.
    #[error("has another key; name the key that was made for this certificate")]
    Mismatch,
    /// The key is of a kind that is not supported.
    #[error("holds a key that cannot be used; use ECDSA (P-256), Ed25519 or RSA of 2048 bits")]
    UnfitKey,
    /// There is no subjectAltName.
    #[error("names no host (subjectAltName), and clients look at nothing else; have it made anew")]
    NoNames,
}

/// Reads the certificates of a chain from PEM, the server's own first; gives them in DER.
///
/// # Errors
/// It is no PEM, or a certificate in it is damaged.
pub fn chain(pem: &[u8]) -> Result<Vec<Box<[u8]>>, CertificateError> {
    certificates(pem, CHAIN_MAX)
}

/// Reads certificates whose signature is to be believed from PEM; gives them in DER.
///
/// # Errors
/// It is no PEM, or a certificate in it is damaged.
pub fn authorities(pem: &[u8]) -> Result<Arc<[Box<[u8]>]>, CertificateError> {
    certificates(pem, AUTHORITIES_MAX).map(Arc::from)
}

fn certificates(pem: &[u8], most: usize) -> Result<Vec<Box<[u8]>>, CertificateError> {
    let read: Result<Vec<CertificateDer<'_>>, PemError> =
        CertificateDer::pem_slice_iter(pem).collect();
    let read = read.map_err(|_| CertificateError::Pem)?;
    match read.len() {
        0 if pem.first() == Some(&x509::SEQUENCE) => Err(CertificateError::Der("x509")),
        0 => Err(CertificateError::NoCertificate),
        count if count > most => Err(CertificateError::TooMany(count, most)),
        _ => {
            let broken = read.iter().position(|der| x509::facts(der).is_none());
            match broken {
                Some(index) => Err(CertificateError::Damaged(index + 1)),
                None => Ok(read.iter().map(|der| der.as_ref().into()).collect()),
            }
        }
    }
}

/// Reads a private key from PEM.
///
/// # Errors
/// It is no PEM, encrypted, or of a kind that nobody uses for TLS.
pub fn key(pem: &[u8]) -> Result<PrivateKey, CertificateError> {
    if pem.windows(9).any(|word| word == b"ENCRYPTED") {
        return Err(CertificateError::Encrypted);
    }
    let der = match PrivateKeyDer::from_pem_slice(pem) {
        Ok(der) => der,
        Err(PemError::NoItemsFound) if pem.first() == Some(&x509::SEQUENCE) => {
            return Err(CertificateError::Der("pkey"));
        }
        Err(PemError::NoItemsFound) => return Err(CertificateError::NoKey),
        Err(_) => return Err(CertificateError::Pem),
    };
    signing(der.clone_key())?;
    Ok(PrivateKey::new(der.secret_der()))
}

/// Puts a chain and its key together.
///
/// # Errors
/// They do not belong together, or the certificate is for nobody.
pub fn certificate(
    chain: Vec<Box<[u8]>>,
    key: PrivateKey,
) -> Result<Certificate, CertificateError> {
    let signing = signing_key(&key)?;
    let belongs = |der: &[u8]| {
        let alone = vec![CertificateDer::from(der.to_vec())];
        let matched = CertifiedKey::new(alone, Arc::clone(&signing)).keys_match();
        matches!(matched, Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)))
    };
    match chain.iter().position(|der| belongs(der)) {
        None => return Err(CertificateError::Mismatch),
        Some(0) => {}
        Some(index) => return Err(CertificateError::KeyOfAnother(index + 1)),
    }
    let first = chain.first().ok_or(CertificateError::NoCertificate)?;
    let facts = x509::facts(first).ok_or(CertificateError::Damaged(1))?;
    let (names, not_before, not_after) = (facts.names, facts.not_before, facts.not_after);
    if names.is_empty() {
        return Err(CertificateError::NoNames);
    }
    Ok(Certificate { chain, key, names, not_before, not_after })
}

/// The number, from 1, of the first certificate of `chain` that did not sign the one before it:
/// some clients do not find the way then (RFC 8446, section 4.4.2).
pub fn misplaced(chain: &[Box<[u8]>]) -> Option<usize> {
    let signed = |pair: &[Box<[u8]>]| match pair {
        [below, above] => match (x509::facts(below), x509::facts(above)) {
            (Some(below), Some(above)) => below.issuer == above.subject,
            _ => false,
        },
        _ => true,
    };
    chain.windows(2).position(|pair| !signed(pair)).map(|index| index + 2)
}

/// The certificate and its key as rustls uses them.
pub(super) fn certified(certificate: &Certificate) -> Result<Arc<CertifiedKey>, CertificateError> {
    let chain = certificate.chain.iter().map(|der| CertificateDer::from(der.to_vec())).collect();
    Ok(Arc::new(CertifiedKey::new(chain, signing_key(&certificate.key)?)))
}

fn signing_key(key: &PrivateKey) -> Result<Arc<dyn SigningKey>, CertificateError> {
    let der = PrivateKeyDer::try_from(key.der()).map_err(|_| CertificateError::UnfitKey)?;
    signing(der.clone_key())
}

fn signing(der: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, CertificateError> {
    aws_lc_rs::default_provider()
        .key_provider
        .load_private_key(der)
        .map_err(|_| CertificateError::UnfitKey)
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

    use super::*;

    struct Made {
        chain: String,
        key: String,
        authority: String,
    }

    fn made() -> Made {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "the authority");
        let authority_key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&authority_key).unwrap().pem();
        let issuer = Issuer::new(params, authority_key);
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["Shop.example.org".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let chain = params.signed_by(&key, &issuer).unwrap().pem();
        Made { chain, key: key.serialize_pem(), authority }
    }

    fn read(chain_pem: &str, key_pem: &str) -> Result<Certificate, CertificateError> {
        certificate(chain(chain_pem.as_bytes())?, key(key_pem.as_bytes())?)
    }

    #[test]
    fn a_chain_and_its_key_are_read() {
        let made = made();
        let whole = read(&(made.chain.clone() + &made.authority), &made.key).unwrap();
        assert_eq!(whole.names, ["shop.example.org"]);
        assert_eq!(whole.chain.len(), 2);
        assert!(certified(&whole).is_ok());
        assert_eq!(misplaced(&whole.chain), None);
        let both = format!("{}{}", made.key, made.chain);
        assert!(read(&both, &both).is_ok(), "one file may hold both");
    }

    #[test]
    fn what_does_not_belong_together_is_refused() {
        let (made, other) = (made(), made());
        assert_eq!(read(&made.chain, &other.key), Err(CertificateError::Mismatch));
        let turned = made.authority.clone() + &made.chain;
        assert_eq!(read(&turned, &made.key), Err(CertificateError::KeyOfAnother(2)));
        let mixed = chain((made.chain + &made.authority + &other.chain).as_bytes()).unwrap();
        assert_eq!(misplaced(&mixed), Some(3));
    }

    #[test]
    fn what_is_no_certificate_or_no_key_is_refused_with_the_way_out() {
        let made = made();
        assert_eq!(chain(made.key.as_bytes()), Err(CertificateError::NoCertificate));
        assert_eq!(key(made.chain.as_bytes()), Err(CertificateError::NoKey));
        assert_eq!(chain(b""), Err(CertificateError::NoCertificate));
        let der = chain(made.chain.as_bytes()).unwrap();
        assert_eq!(chain(&der[0]), Err(CertificateError::Der("x509")));
        assert_eq!(key(&der[0]), Err(CertificateError::Der("pkey")));
        let half = &made.chain.as_bytes()[..made.chain.len() / 2];
        assert_eq!(chain(half), Err(CertificateError::Pem));
        let locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY";
        assert_eq!(key(locked.as_bytes()), Err(CertificateError::Encrypted));
        let damaged = made.chain.replacen("\nMII", "\nMIJ", 1);
        assert_eq!(chain(damaged.as_bytes()), Err(CertificateError::Damaged(1)));
        let many = made.authority.repeat(11);
        assert_eq!(chain(many.as_bytes()), Err(CertificateError::TooMany(11, 10)));
        assert_eq!(authorities(many.as_bytes()).map(|found| found.len()), Ok(11));
    }

    #[test]
    fn a_certificate_for_nobody_is_refused() {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![]).unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        assert_eq!(read(&pem, &key.serialize_pem()), Err(CertificateError::NoNames));
    }
}
