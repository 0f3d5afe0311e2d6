//! The sections of instances that are moved one at a time.

use super::list::key;
use super::{Key, Keys};
use crate::config::difference::Class::Open;

/// The same of workers and of instances with traffic.
const REPORTS: Key = key(
    "reports",
    "list of texts",
    "",
    Open,
    "A command that prints the version that the instance runs; tried every 2 s until it is the one that it should be.",
);

/// Likewise.
const TIMEOUT: Key =
    key("timeout", "duration, 1s to 1h", "\"2m\"", Open, "How long each command may take.");

pub const WORKER: Keys = Keys {
    title: "[[worker]]",
    keys: &[
        key("name", "name", "", Open, "Name in `order` and in the names of its steps; required."),
        key(
            "follows",
            "name",
            "",
            Open,
            "The tier whose versions they run, and in whose rollouts they move; the only tier where there is one, else required.",
        ),
        key(
            "instances",
            "list of 1 to 32 names",
            "",
            Open,
            "What is moved, one after the other; what stands for `{instance}` in the commands; required.",
        ),
        key(
            "quiet",
            "list of texts",
            "",
            Open,
            "A command that has the instance take no more jobs.",
        ),
        key(
            "busy",
            "list of texts",
            "",
            Open,
            "A command that exits with 0 once nothing is under way; tried every 2 s.",
        ),
        key(
            "switch",
            "list of texts",
            "",
            Open,
            "The command that brings the instance to `{version}`, and back; `{namespace}` is that of the version in caches; required.",
        ),
        key(
            "health",
            "list of texts",
            "",
            Open,
            "A command that exits with 0 once the instance is well; tried every 2 s, and once more after `bake`.",
        ),
        REPORTS,
        key(
            "drain",
            "duration, 0s to 24h",
            "\"5m\"",
            Open,
            "How long `busy` is tried; the time that the command itself takes comes on top.",
        ),
        key(
            "ready",
            "duration, 0s to 1h",
            "\"1m\"",
            Open,
            "How long `health`, and then `reports`, is tried; the time that the command itself takes comes on top.",
        ),
        TIMEOUT,
        key(
            "bake",
            "duration, 0s to 30d",
            "\"1m\"",
            Open,
            "The pause after an instance before the next one is moved; its jobs are looked at meanwhile, where `jobs` is said.",
        ),
        key(
            "on_failure",
            "`\"rollback\"` or `\"hold\"`",
            "\"rollback\"",
            Open,
            "What follows where an instance cannot be moved, or its jobs fail: everything goes back, these workers first; or they alone go back, and a person decides whether they are moved again.",
        ),
        key(
            "jobs",
            "name of a cache or signal",
            "",
            Open,
            "A `[[cache]]` with `mode = \"observe\"` through which they get their jobs, or an `[[analysis.signal]]` of theirs that counts them: those of both versions are compared while they are moved.",
        ),
        key(
            "jobs_least",
            "whole number, 0 to 1000000",
            "20",
            Open,
            "So many jobs the new version must have done before the next instance is moved.",
        ),
    ],
};

pub const ROLLING: Keys = Keys {
    title: "[tier.rolling]",
    keys: &[
        key(
            "instances",
            "list of 2 to 32 tables",
            "",
            Open,
            "What is moved, one after the other, from version to version; its releases have no `upstreams`; required.",
        ),
        key(
            "quiet",
            "list of texts",
            "",
            Open,
            "A command that prepares the instance for its end, when it gets no more requests.",
        ),
        key(
            "busy",
            "list of texts",
            "",
            Open,
            "A command that exits with 0 once nothing is under way in it that did not come through Weir; tried every 2 s.",
        ),
        key(
            "switch",
            "list of texts",
            "",
            Open,
            "The command that brings the instance to `{version}`, and back; `{instance}` is its name, `{namespace}` that of the version in caches; required.",
        ),
        key(
            "health",
            "list of texts",
            "",
            Open,
            "A command that exits with 0 once the instance is well, beside the health checks of the tier; tried every 2 s.",
        ),
        REPORTS,
        key(
            "drain",
            "duration, 0s to 24h",
            "\"5m\"",
            Open,
            "How long requests under way may go on at an instance that is moved, and `busy` is tried.",
        ),
        key(
            "ready",
            "duration, 0s to 1h",
            "\"1m\"",
            Open,
            "How long `health`, `reports` and the health checks of the tier are waited for, each.",
        ),
        TIMEOUT,
        key(
            "bake",
            "duration, 0s to 30d",
            "\"1m\"",
            Open,
            "Least time between an instance and the next; the judge decides whether it is enough.",
        ),
        key(
            "on_failure",
            "`\"rollback\"` or `\"hold\"`",
            "\"rollback\"",
            Open,
            "What follows where an instance cannot be moved: everything goes back; or it alone does, and a person decides whether it is moved again.",
        ),
    ],
};

pub const INSTANCE: Keys = Keys {
    title: "[[tier.rolling.instances]]",
    keys: &[
        key(
            "name",
            "name",
            "",
            Open,
            "Name in orders, and what stands for `{instance}`; required.",
        ),
        key(
            "address",
            "address",
            "",
            Open,
            "Where it listens, whatever version it has, as an upstream is written; required.",
        ),
    ],
};
