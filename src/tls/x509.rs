//! The few facts of an X.509 certificate that people and schedules need (RFC 5280): names, times,
//! who signed it. Whether to believe them is for rustls.

use std::net::{Ipv4Addr, Ipv6Addr};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::time::Timestamp;

/// What a certificate says of itself. Slices are DER, without their tag where it says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts<'a> {
    /// Its number, the content of an INTEGER.
    pub serial: &'a [u8],
    /// Who signed it: a whole Name.
    pub issuer: &'a [u8],
    /// Whom it is for: a whole Name; clients look at `names` instead.
    pub subject: &'a [u8],
    /// The first moment it is valid.
    pub not_before: Timestamp,
    /// The last moment it is valid.
    pub not_after: Timestamp,
    /// Host names, lower case, and IP addresses (subjectAltName).
    pub names: Vec<String>,
    /// The key that signed it: the content of `keyIdentifier` (authorityKeyIdentifier).
    pub authority_key: Option<&'a [u8]>,
    /// Whether it may sign others (basicConstraints).
    pub is_authority: bool,
}

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// What every certificate and every key begins with.
pub(super) const SEQUENCE: u8 = 0x30;
/// `[0] EXPLICIT`, the version.
const VERSION: u8 = 0xa0;
/// `[3] EXPLICIT`, the extensions.
const EXTENSIONS: u8 = 0xa3;
/// `[0] IMPLICIT`, in authorityKeyIdentifier.
const KEY_IDENTIFIER: u8 = 0x80;
/// `[2] IMPLICIT`, in subjectAltName.
const DNS_NAME: u8 = 0x82;
/// `[7] IMPLICIT`, in subjectAltName.
const IP_ADDRESS: u8 = 0x87;

/// id-ce 17, 19 and 35 (RFC 5280, section 4.2.1).
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 17];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 19];
const AUTHORITY_KEY: &[u8] = &[0x55, 0x1d, 35];

/// Reads a certificate in DER; none if it is not one.
pub fn facts(der: &[u8]) -> Option<Facts<'_>> {
    let mut certificate = Der(Der(der).content(SEQUENCE)?);
    let mut signed = Der(certificate.content(SEQUENCE)?);
    if signed.peek() == Some(VERSION) {
        signed.content(VERSION)?;
    }
    let serial = signed.content(INTEGER)?;
    signed.content(SEQUENCE)?; // the algorithm of the signature
    let issuer = signed.whole(SEQUENCE)?;
    let mut validity = Der(signed.content(SEQUENCE)?);
    let (not_before, not_after) = (validity.time()?, validity.time()?);
    let subject = signed.whole(SEQUENCE)?;
    signed.content(SEQUENCE)?; // the public key
    let mut facts = Facts {
        serial,
        issuer,
        subject,
        not_before,
        not_after,
        names: Vec::new(),
        authority_key: None,
        is_authority: false,
    };
    while let Some(tag) = signed.peek() {
        let content = signed.content(tag)?;
        if tag == EXTENSIONS {
            facts.read_extensions(Der(Der(content).content(SEQUENCE)?))?;
        }
    }
    Some(facts)
}

impl<'a> Facts<'a> {
    fn read_extensions(&mut self, mut extensions: Der<'a>) -> Option<()> {
        while extensions.peek().is_some() {
            let mut extension = Der(extensions.content(SEQUENCE)?);
            let kind = extension.content(OBJECT)?;
            if extension.peek() == Some(BOOLEAN) {
                extension.content(BOOLEAN)?;
            }
            let value = extension.content(OCTET_STRING)?;
            let mut inside = Der(Der(value).content_if_sequence(kind)?);
            if kind == SUBJECT_ALT_NAME {
                self.names = inside.names()?;
            } else if kind == BASIC_CONSTRAINTS && inside.peek() == Some(BOOLEAN) {
                self.is_authority = inside.content(BOOLEAN)? != [0];
            } else if kind == AUTHORITY_KEY && inside.peek() == Some(KEY_IDENTIFIER) {
                self.authority_key = Some(inside.content(KEY_IDENTIFIER)?);
            }
        }
        Some(())
    }
}

/// Bytes in DER that are read from the front.
#[derive(Clone, Copy)]
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The next value, which must have `tag`, without its tag and length.
    fn content(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next(tag).map(|(_, content)| content)
    }

    /// The next value, which must have `tag`, with its tag and length.
    fn whole(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next(tag).map(|(whole, _)| whole)
    }

    fn next(&mut self, tag: u8) -> Option<(&'a [u8], &'a [u8])> {
        let (&found, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // Up to three bytes of length: 16 MiB, more than any certificate.
            0x81..=0x83 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
                (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        let whole = &self.0[..self.0.len() - rest.len()];
        self.0 = rest;
        (found == tag).then_some((whole, content))
    }

    /// The inside of an extension's value; nothing of extensions that are not looked at.
    fn content_if_sequence(&mut self, kind: &[u8]) -> Option<&'a [u8]> {
        if [SUBJECT_ALT_NAME, BASIC_CONSTRAINTS, AUTHORITY_KEY].contains(&kind) {
            self.content(SEQUENCE)
        } else {
            Some(&[])
        }
    }

    fn names(&mut self) -> Option<Vec<String>> {
        let mut names = Vec::new();
        while let Some(tag) = self.peek() {
            let content = self.content(tag)?;
            match tag {
                DNS_NAME => names.push(std::str::from_utf8(content).ok()?.to_ascii_lowercase()),
                IP_ADDRESS => names.extend(address(content)),
                _ => {}
            }
        }
        Some(names)
    }

    fn time(&mut self) -> Option<Timestamp> {
        match self.peek()? {
            UTC_TIME => {
                let text = std::str::from_utf8(self.content(UTC_TIME)?).ok()?;
                let century = if text.get(..2)?.parse::<u8>().ok()? < 50 { "20" } else { "19" };
                time(&format!("{century}{text}"))
            }
            GENERALIZED_TIME => time(std::str::from_utf8(self.content(GENERALIZED_TIME)?).ok()?),
            _ => None,
        }
    }
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(four).to_string());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|sixteen| Ipv6Addr::from(sixteen).to_string())
}

/// `YYYYMMDDHHMMSSZ`, the only form that RFC 5280 allows. Times before 1970 read as 1970.
fn time(text: &str) -> Option<Timestamp> {
    let digits = text.strip_suffix('Z')?;
    if digits.len() != 14 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = |from: usize, to: usize| digits[from..to].parse::<i8>().ok();
    let year = digits[..4].parse().ok()?;
    let (month, day, hour) = (part(4, 6)?, part(6, 8)?, part(8, 10)?);
    let (minute, second) = (part(10, 12)?, part(12, 14)?);
    let civil = DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
    let millis = civil.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond();
    Some(Timestamp::from_millis(u64::try_from(millis).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};

    use super::*;

    fn made(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::new(vec![
            "Shop.example.org".to_owned(),
            "*.example.org".to_owned(),
            "10.0.0.7".to_owned(),
            "::1".to_owned(),
        ])
        .unwrap();
        params.use_authority_key_identifier_extension = true;
        change(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    fn millis(text: &str) -> u64 {
        u64::try_from(text.parse::<jiff::Timestamp>().unwrap().as_millisecond()).unwrap()
    }

    #[test]
    fn names_times_and_numbers_are_read_from_a_certificate() {
        let der = made(|params| {
            params.not_before = date_time_ymd(2024, 2, 29);
            params.not_after = date_time_ymd(2051, 12, 31);
            params.serial_number = Some(vec![0x12, 0x34].into());
        });
        let facts = facts(&der).unwrap();
        assert_eq!(facts.names, ["shop.example.org", "*.example.org", "10.0.0.7", "::1"]);
        assert_eq!(facts.not_before.millis(), millis("2024-02-29T00:00:00Z"));
        assert_eq!(facts.not_after.millis(), millis("2051-12-31T00:00:00Z"));
        assert_eq!(facts.serial, [0x12, 0x34]);
        assert_eq!(facts.issuer, facts.subject);
        assert_eq!(facts.authority_key.map(<[u8]>::len), Some(20));
        assert!(!facts.is_authority);
    }

    #[test]
    fn an_authority_is_recognised() {
        let der = made(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
        assert!(facts(&der).unwrap().is_authority);
    }

    #[test]
    fn times_are_read_as_rfc_5280_writes_them() {
        let utc = |text: &str| {
            let der = [&[UTC_TIME, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
            Der(&der).time().map(Timestamp::millis)
        };
        assert_eq!(utc("491231235959Z"), Some(millis("2049-12-31T23:59:59Z")));
        assert_eq!(utc("500101000000Z"), Some(0), "1950");
        assert_eq!(utc("700101000001Z"), Some(1_000));
        for wrong in ["", "Z", "4912312359Z", "491331235959Z", "491231235959+0100", "é9123123595Z"]
        {
            assert_eq!(utc(wrong), None, "{wrong}");
        }
        assert_eq!(time("99991231235959Z"), time("99991231235959Z"));
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = facts(&bytes);
        }

        #[test]
        fn no_damage_is_too_strange(at in 0_usize..400, byte: u8, cut in 0_usize..400) {
            let mut der = made(|_| {});
            if let Some(damaged) = der.get_mut(at) {
                *damaged = byte;
            }
            der.truncate(der.len() - cut.min(der.len()));
            let _ = facts(&der);
        }
    }
}
