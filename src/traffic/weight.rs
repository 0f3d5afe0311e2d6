//! The share of clients on the canary, and which client is in it.

use std::fmt;
use std::hash::Hasher;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;
use thiserror::Error;

/// The number of buckets, and the weight at which everybody is on the canary.
const BUCKETS: u16 = 10_000;

/// The canary's share of the clients in basis points, 0..=10 000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Weight(u16);

impl Weight {
    /// Nobody is on the canary.
    pub const NONE: Self = Self(0);
    /// Everybody is on the canary.
    pub const ALL: Self = Self(BUCKETS);

    /// A weight of `points` hundredths of a percent.
    ///
    /// # Errors
    /// More than 10 000 points.
    pub const fn basis_points(points: u16) -> Result<Self, WeightError> {
        if points > BUCKETS { Err(WeightError::TooLarge(points)) } else { Ok(Self(points)) }
    }

    /// The weight in hundredths of a percent.
    pub const fn points(self) -> u16 {
        self.0
    }

    /// The weight as a share, 0.0..=1.0.
    pub fn share(self) -> f64 {
        f64::from(self.0) / f64::from(BUCKETS)
    }

    /// Whether the client of `bucket` is on the canary. Raising a weight only ever adds clients.
    pub const fn admits(self, bucket: Bucket) -> bool {
        bucket.0 < self.0
    }

    /// The track of the client of `bucket`.
    pub const fn track(self, bucket: Bucket) -> Track {
        if self.admits(bucket) { Track::Canary } else { Track::Stable }
    }
}

impl TryFrom<u16> for Weight {
    type Error = WeightError;

    fn try_from(points: u16) -> Result<Self, WeightError> {
        Self::basis_points(points)
    }
}

impl From<Weight> for u16 {
    fn from(weight: Weight) -> Self {
        weight.0
    }
}

/// Writes `5%`, `0.25%`, `33.3%`.
impl fmt::Display for Weight {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 100, self.0 % 100);
        match (part, part % 10) {
            (0, _) => write!(out, "{whole}%"),
            (_, 0) => write!(out, "{whole}.{}%", part / 10),
            _ => write!(out, "{whole}.{part:02}%"),
        }
    }
}

/// Reads `5%`, `5 %`, `0.25%`: a percentage with its sign and at most two decimals.
impl FromStr for Weight {
    type Err = WeightError;

    fn from_str(text: &str) -> Result<Self, WeightError> {
        let malformed = || WeightError::Malformed(text.chars().take(40).collect());
        let number = text.trim().strip_suffix('%').ok_or_else(malformed)?.trim_end();
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(part) || whole.len() > 3 || part.len() > 2 {
            return Err(malformed());
        }
        let hundredths: u16 = format!("{part:0<2}").parse().map_err(|_| malformed())?;
        let whole: u16 = whole.parse().map_err(|_| malformed())?;
        let points = whole.saturating_mul(100).saturating_add(hundredths);
        Self::basis_points(points)
    }
}

/// Why something is no weight.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum WeightError {
    /// Not a percentage.
    #[error("{0:?} is not a weight; write a percentage with its sign, such as \"5%\" or \"0.25%\"")]
    Malformed(String),
    /// Beyond 100 %.
    #[error("a weight of {:.2}% is out of range; use 0% to 100%", f64::from(*.0) / 100.0)]
    TooLarge(u16),
}

/// One of the two releases side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Track {
    /// The new version, of which nobody knows yet.
    Canary,
    /// The version that serves.
    Stable,
}

impl Track {
    /// `canary` or `stable`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Canary => "canary",
            Self::Stable => "stable",
        }
    }
}

/// A client's fixed place among 10 000 during one rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bucket(u16);

impl Bucket {
    /// The bucket of `key` under the rollout's secret `salt`: SipHash-2-4 (Aumasson and Bernstein,
    /// 2012) of the key, scaled to 0..10 000 by multiply-and-shift. Nobody without the salt can
    /// compute it, so nobody can choose a key that lands on the canary.
    pub fn of(salt: &Salt, key: &[u8]) -> Self {
        Self::scaled(salt.number(key))
    }

    /// The bucket for a uniformly random `number`: for requests that stick to nothing.
    pub const fn scaled(number: u64) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the product shifted by 64 is < 10 000"
        )]
        Self(((number as u128 * BUCKETS as u128) >> 64) as u16)
    }
}

/// The secret of a rollout from which buckets follow: 128 random bits, new for each rollout.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Salt([u8; 16]);

impl Salt {
    /// A salt of 16 random bytes.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// SipHash-2-4 of `key` under this salt: the number a bucket is scaled from.
    pub fn number(&self, key: &[u8]) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(key);
        hasher.finish()
    }
}

/// Salts are secrets: they are not shown.
impl fmt::Debug for Salt {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Salt(..)")
    }
}

impl From<Salt> for String {
    fn from(salt: Salt) -> Self {
        format!("{:032x}", u128::from_be_bytes(salt.0))
    }
}

impl TryFrom<String> for Salt {
    type Error = SaltError;

    fn try_from(text: String) -> Result<Self, SaltError> {
        let number = u128::from_str_radix(&text, 16).map_err(|_| SaltError)?;
        if text.len() == 32 { Ok(Self(number.to_be_bytes())) } else { Err(SaltError) }
    }
}

/// A salt that is not 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a salt has 32 hexadecimal digits")]
pub struct SaltError;

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: Salt = Salt::new(*b"0123456789abcdef");

    fn buckets(count: u32) -> impl Iterator<Item = Bucket> {
        (0..count).map(|user| Bucket::of(&SALT, format!("user-{user}").as_bytes()))
    }

    #[test]
    fn zero_percent_admits_nobody_and_hundred_percent_everybody() {
        assert!(buckets(100_000).all(|bucket| !Weight::NONE.admits(bucket)));
        assert!(buckets(100_000).all(|bucket| Weight::ALL.admits(bucket)));
        assert!(!Weight::NONE.admits(Bucket(0)));
    }

    #[test]
    fn raising_the_weight_never_moves_a_client_off_the_canary() {
        let weights: Vec<Weight> = (0..=100).map(|p| Weight(p * 100)).collect();
        for bucket in buckets(2_000) {
            let admitted: Vec<bool> = weights.iter().map(|w| w.admits(bucket)).collect();
            assert!(admitted.is_sorted(), "{bucket:?} left the canary on a raise");
        }
    }

    #[test]
    fn the_observed_share_is_the_weight_within_sampling_error() {
        let count = 100_000_u32;
        for points in [10, 100, 500, 2_500, 5_000, 9_999] {
            let weight = Weight(points);
            let hits = buckets(count).filter(|bucket| weight.admits(*bucket)).count() as f64;
            let expected = f64::from(count) * weight.share();
            let sigma = (expected * (1.0 - weight.share())).sqrt();
            assert!((hits - expected).abs() < 4.0 * sigma, "{weight}: {hits} of {expected}");
        }
    }

    #[test]
    fn another_salt_chooses_other_clients() {
        let other = Salt::new([7; 16]);
        let weight = Weight(1_000);
        let both = (0..10_000_u32)
            .map(u32::to_be_bytes)
            .filter(|key| {
                weight.admits(Bucket::of(&SALT, key)) && weight.admits(Bucket::of(&other, key))
            })
            .count();
        assert!((50..150).contains(&both), "{both} of 10 000 in both tenths; 100 expected");
    }

    #[test]
    fn the_bucket_hash_is_fixed_for_ever() {
        // SipHash-2-4 reference vectors, key 00 01 .. 0f, inputs 00 01 .. (Aumasson, Bernstein).
        let key = Salt::new(std::array::from_fn(|i| u8::try_from(i).unwrap()));
        let scaled = |word: u64| Bucket::scaled(word);
        assert_eq!(Bucket::of(&key, &[]), scaled(0x726f_db47_dd0e_0e31));
        assert_eq!(Bucket::of(&key, &[0]), scaled(0x74f8_39c5_93dc_67fd));
        assert_eq!(Bucket::scaled(u64::MAX), Bucket(9_999));
        assert_eq!(Bucket::scaled(0), Bucket(0));
    }

    #[test]
    fn weights_read_and_print_as_people_write_them() {
        for (text, points) in [("5%", 500), ("0.25%", 25), ("33.3 %", 3_330), ("100%", 10_000)] {
            assert_eq!(text.parse(), Ok(Weight(points)));
        }
        for (points, text) in [(500, "5%"), (25, "0.25%"), (3_330, "33.3%"), (1_005, "10.05%")] {
            assert_eq!(Weight(points).to_string(), text);
        }
        for wrong in ["5", "0.05", "%", "-1%", "1.234%", "1e1%", "5pp", "٣%", "9999%"] {
            assert!(matches!(wrong.parse::<Weight>(), Err(WeightError::Malformed(_))), "{wrong}");
        }
        for beyond in ["100.01%", "655.35%", "656%", "700%", "999%"] {
            assert!(matches!(beyond.parse::<Weight>(), Err(WeightError::TooLarge(_))), "{beyond}");
        }
        let error = "101%".parse::<Weight>().unwrap_err().to_string();
        assert_eq!(error, "a weight of 101.00% is out of range; use 0% to 100%");
    }

    #[test]
    fn a_salt_survives_writing_and_is_never_shown() {
        let text = serde_json::to_string(&SALT).unwrap();
        assert_eq!(serde_json::from_str::<Salt>(&text).unwrap(), SALT);
        assert_eq!(format!("{SALT:?}"), "Salt(..)");
    }
}
