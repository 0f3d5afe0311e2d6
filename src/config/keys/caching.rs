//! The section of answers that are kept.

use super::Keys;
use super::list::key;
use crate::config::difference::Class::Live;

pub const CACHING: Keys = Keys {
    title: "[tier.cache]",
    keys: &[
        key(
            "size",
            "size, 1MiB to 1024GiB",
            "",
            Live,
            "Memory that kept answers may take in all, for all versions; required. What was used longest ago goes first.",
        ),
        key(
            "object",
            "size, 1KiB to 16GiB",
            "\"8MiB\"",
            Live,
            "The largest body that is kept; larger ones pass through.",
        ),
        key(
            "stale_while_revalidate",
            "duration, 0s to 30d",
            "\"0s\"",
            Live,
            "For how long a stale answer is given while it is asked for anew, where the answer does not say (`stale-while-revalidate`).",
        ),
        key(
            "stale_if_error",
            "duration, 0s to 30d",
            "\"1m\"",
            Live,
            "For how long a stale answer is given where the service gives none, or 500, 502, 503 or 504, where the answer does not say (`stale-if-error`).",
        ),
        key(
            "forwarded",
            "list of header names",
            "",
            Live,
            "Fields in which a trusted proxy says more of where the client asked, as `[\"X-Forwarded-Port\", \"X-Forwarded-Server\"]`: answers differ by them. A request with one that is not named passes by the cache.",
        ),
    ],
};
