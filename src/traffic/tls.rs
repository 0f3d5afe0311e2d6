//! What the file says of TLS: certificates as bytes, and who is believed. No cryptography here.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::time::Timestamp;

/// A certificate that is valid for no longer than this is spoken of: renewing takes people.
const SOON: Duration = Duration::from_hours(21 * 24);

/// How a listener speaks TLS: with certificates of the file, with those an authority issues by
/// ACME for `acme`, or with both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// The certificates of the file; the first is for clients that ask for no name, or for one
    /// that nobody has.
    pub certificates: Vec<Arc<Certificate>>,
    /// Names for which certificates are ordered and renewed, lower case.
    pub acme: Vec<String>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
}

/// How an upstream is spoken to by TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// The name its certificate must be for, and that is asked for (SNI); none: the host of its
    /// address.
    pub name: Option<String>,
    /// Whose signature is believed.
    pub trust: Trust,
    /// The certificate by which Weir shows who it is.
    pub certificate: Option<Arc<Certificate>>,
}

/// Whose signature under a certificate is believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// Anybody's: the connection is encrypted, and nobody knows with whom.
    Anybody,
    /// Only these certificates (DER), and what they have signed.
    Only(Arc<[Box<[u8]>]>),
    /// The authorities this machine trusts.
    #[default]
    System,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    #[default]
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

impl TlsVersion {
    /// `1.2` or `1.3`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        }
    }
}

/// A certificate, those that signed it, and its private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// DER: the certificate itself, then the one that signed it, and so on.
    pub chain: Vec<Box<[u8]>>,
    /// DER of its key: PKCS#8, PKCS#1 or SEC 1.
    pub key: PrivateKey,
    /// Host names (lower case, perhaps with `*.` before them) and IP addresses it is for.
    pub names: Vec<String>,
    /// The first moment it is valid.
    pub not_before: Timestamp,
    /// The last moment it is valid.
    pub not_after: Timestamp,
}

impl Certificate {
    /// From when on people are told that it expires: three weeks before, or with a quarter of its
    /// life left where that is later, since what renews itself does so with a third left.
    pub fn expires_soon(&self) -> Timestamp {
        let life = self.not_after.since(self.not_before);
        self.not_before.plus(life.saturating_sub(SOON.min(life / 4)))
    }
}

/// The bytes of a private key, never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey(Box<[u8]>);

impl PrivateKey {
    /// Keeps `der`.
    pub fn new(der: &[u8]) -> Self {
        Self(der.into())
    }

    /// The bytes.
    pub const fn der(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("PrivateKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_key_is_never_shown() {
        let key = PrivateKey::new(b"0123");
        assert_eq!(format!("{key:?}"), "PrivateKey(..)");
        assert_eq!(key.der(), b"0123");
    }

    #[test]
    fn an_end_is_spoken_of_in_time_and_not_always() {
        let day = |number: u64| Timestamp::from_millis(number * 24 * 3_600 * 1_000);
        let soon = |life: u64| {
            let (not_before, not_after) = (day(10), day(10 + life));
            let key = PrivateKey::new(b"");
            let names = vec!["shop.test".to_owned()];
            Certificate { chain: vec![], key, names, not_before, not_after }.expires_soon()
        };
        assert_eq!(soon(365), day(10 + 365 - 21));
        assert_eq!(soon(8), day(10 + 6), "a week is the whole life of some");
        assert_eq!(soon(0), day(10));
    }
}
