//! The only reader of the wall clock, and of the zone of this machine.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::tz::TimeZone;

use crate::time::{Timestamp, Zone};

/// The wall time now. A clock before 1970 reads as 1970.
pub fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The time zone of this machine, with or without a name.
pub fn zone() -> Zone {
    TimeZone::system().into()
}

/// The same in nanoseconds, for spans.
pub fn nanoseconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
