//! Where a request goes: weights, buckets, the keys of clients, and the table that says all of it.

pub mod affinity;
mod board;
pub mod matching;
mod reach;
mod table;
mod tier;
mod tls;
mod weight;

pub use affinity::Sticky;
pub use board::Board;
pub use reach::overlap;
pub use table::{Table, TableTier};
pub use tier::{
    Address, AddressError, HealthCheck, Ignore, Limits, NAME_BYTES_MAX, Preview, Release, Tier,
    TierName, Timeouts, TokenBytes, Upstream, Version, VersionError, Watch,
};
pub use tls::{Certificate, ClientTls, PrivateKey, ServerTls, TlsVersion, Trust};
pub use weight::{Bucket, Salt, SaltError, Track, Weight, WeightError};
