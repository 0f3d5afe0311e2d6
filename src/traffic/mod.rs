//! Where a request goes: weights, buckets, the keys of clients, and the table that says all of it.

mod access;
mod address;
pub mod affinity;
mod board;
mod generation;
mod listener;
pub mod matching;
pub mod overlay;
mod reach;
mod route;
mod set_cookie;
mod table;
mod tier;
mod tls;
mod weight;

pub use access::{Access, Closing, Holding};
pub use address::{Address, AddressError, Scheme, Spot};
pub use affinity::Sticky;
pub use board::Board;
pub use generation::{Generation, Generations};
pub use listener::{Listen, Listener};
pub use reach::overlap;
pub use route::{Route, RouteError};
pub use table::{Left, Table, TableTier};
pub use tier::{
    Caching, HealthCheck, Ignore, Limits, NAME_BYTES_MAX, Preview, Release, SharedCaches, Tier,
    TierName, Timeouts, TokenBytes, Upstream, Version, VersionError, Warm, Watch,
};
pub use tls::{Certificate, ClientTls, PrivateKey, ServerTls, TlsVersion, Trust};
pub use weight::{Bucket, Salt, SaltError, Track, Weight, WeightError};
