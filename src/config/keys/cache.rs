//! The section of caches.

use super::Keys;
use super::list::key;
use crate::config::difference::Class::{Live, Restart};

pub const CACHE: Keys = Keys {
    title: "[[cache]]",
    keys: &[
        key("name", "name", "", Restart, "Name in messages and metrics; required."),
        key(
            "kind",
            "`\"redis\"` or `\"memcached\"`",
            "",
            Restart,
            "What is spoken there; required.",
        ),
        key(
            "upstream",
            "URL",
            "",
            Restart,
            "The server that the versions share: `redis://127.0.0.1:6379`, `rediss://:password@cache.internal:6379` (TLS), `redis://unix:/run/redis.sock`, `memcached://127.0.0.1:11211`. A password, or a user and a password (`redis://user:password@...`), here is said by Weir; without one the apps say theirs.",
        ),
        key(
            "upstreams",
            "URLs by version",
            "",
            Live,
            "With `mode = \"instance\"`: the server of each version.",
        ),
        key(
            "ports",
            "addresses by version",
            "",
            Live,
            "Where each release finds its part, for its whole life; required for each release of the `tiers`.",
        ),
        key(
            "mode",
            "`\"prefix\"`, `\"db\"`, `\"instance\"` or `\"observe\"`",
            "\"prefix\"",
            Restart,
            "How versions are kept apart: by what stands before their keys, by databases of their own, by a server each, or not at all (they are only counted).",
        ),
        key(
            "isolate",
            "list of patterns",
            "",
            Restart,
            "With `mode = \"prefix\"`: keys that are isolated although `share` has a shorter pattern for them.",
        ),
        key(
            "share",
            "list of patterns",
            "",
            Restart,
            "With `mode = \"prefix\"`: keys and channels that all versions share, as `[\"queue:*\", \"retry\"]`; `*` stands for anything.",
        ),
        key(
            "queues",
            "list of patterns",
            "[\"queue:*\", \"celery*\"]",
            Restart,
            "With `mode = \"observe\"`: the lists from which workers fetch jobs.",
        ),
        key(
            "jobs",
            "share, 0% to 100%",
            "",
            Live,
            "With `mode = \"observe\"`: the canary's share of all jobs that are fetched from `queues`. Its fetches wait, or find nothing, while it has had its share; those of a release that is neither stable nor canary always. Without it nobody is held.",
        ),
        key(
            "databases",
            "ranges by version",
            "",
            Live,
            "With `mode = \"db\"`: the server's databases of each version, as `{ \"1.0.0\" = \"0-7\", \"1.1.0\" = \"8-15\" }`; each version counts its own from 0.",
        ),
        key(
            "invalidate",
            "`\"all\"` or `\"own\"`",
            "\"all\"",
            Restart,
            "Whether a key that one version deletes is deleted for the others, too; not with `mode = \"observe\"`, where all have the same keys.",
        ),
        key(
            "on_rollback",
            "`\"drop\"` or `\"keep\"`",
            "\"drop\"",
            Live,
            "What becomes of a release's part when it is rolled back, with `mode = \"prefix\"`.",
        ),
        key(
            "stale_after",
            "duration, 0s to 30d, or \"none\"",
            "\"10m\"",
            Live,
            "A release that had no users for longer gets them back with an empty part, with `mode = \"prefix\"`: others have changed its records. Not for sessions.",
        ),
        key(
            "tls",
            "table",
            "",
            Restart,
            "How the certificates of `rediss://` servers are verified, with the keys of `[tier.releases.tls]`; without it by their host and by the authorities this machine trusts.",
        ),
        key("tiers", "list of tier names", "", Live, "The tiers that use it; without it all."),
    ],
};
