//! The sections of signals from outside, in the order of the reference.

use super::Keys;
use super::list::key;
use crate::config::difference::Class::{Live, RefusedWhileOpen, Restart};

pub const STATSD: Keys = Keys {
    title: "[statsd]",
    keys: &[key(
        "listen",
        "address",
        "",
        Restart,
        "Where statsd is listened for, by UDP and by TCP; required.",
    )],
};

pub const SIGNAL: Keys = Keys {
    title: "[[analysis.signal]]",
    keys: &[
        key(
            "name",
            "text",
            "",
            RefusedWhileOpen,
            "What it is called in sentences and metrics; required.",
        ),
        key(
            "tier",
            "name of a tier",
            "",
            RefusedWhileOpen,
            "Of which tier it tells, or of which `[[worker]]`, whose `jobs` name it; required.",
        ),
        key(
            "source",
            "`\"jobs\"`, `\"promql\"`, `\"scrape\"` or `\"statsd\"`",
            "",
            RefusedWhileOpen,
            "Where it comes from; required.",
        ),
        key(
            "total",
            "query, series or name",
            "",
            RefusedWhileOpen,
            "The counter of all events, of one version.",
        ),
        key(
            "bad",
            "query, series or name",
            "",
            RefusedWhileOpen,
            "The counter of the bad ones among them.",
        ),
        key(
            "value",
            "query, series or name",
            "",
            RefusedWhileOpen,
            "Instead of both: a number with a limit, or with `slower_than` timings.",
        ),
        key(
            "slower_than",
            "duration, 1ms to 1h",
            "",
            RefusedWhileOpen,
            "Of statsd: every timing of `value` counts, and those above this are bad.",
        ),
        key("above", "number", "", RefusedWhileOpen, "What is above this is beyond the limit."),
        key("below", "number", "", RefusedWhileOpen, "What is below this is beyond the limit."),
        key(
            "beyond",
            "whole number, 1 to 100",
            "3",
            RefusedWhileOpen,
            "So many of the last `samples` numbers of the canary must be beyond the limit; as many within it in a row, and it is well again.",
        ),
        key(
            "samples",
            "whole number, 1 to 100",
            "5",
            RefusedWhileOpen,
            "How many of the last numbers are looked at.",
        ),
        key(
            "counts_as",
            "`\"itself\"`, `\"errors\"` or `\"slow\"`",
            "\"itself\"",
            RefusedWhileOpen,
            "Whether it is a metric of its own, or stands for the requests of a tier that has none: `total` and `bad` for requests and failed ones, or `bad` for slow ones.",
        ),
        key(
            "on_fail",
            "`\"rollback\"` or `\"hold\"`",
            "\"hold\"",
            RefusedWhileOpen,
            "What happens when it is clearly worse on the canary, or beyond its limit.",
        ),
        key(
            "tolerated_ratio",
            "factor, 1 to 100",
            "1.1",
            RefusedWhileOpen,
            "No harm up to this many times stable's rate plus `tolerated`.",
        ),
        key(
            "tolerated",
            "difference, 0pp to 100pp",
            "\"0.05pp\"",
            RefusedWhileOpen,
            "The extra share that is no harm.",
        ),
        key(
            "every",
            "duration, 1s to 10m",
            "\"5s\"",
            Live,
            "How often it is asked for; of numbers of statsd, the time that one number sums up.",
        ),
        key(
            "silent_after",
            "duration, 2s to 1h",
            "\"30s\"",
            Live,
            "After this long without a word it is blind, and the rollout holds.",
        ),
        key(
            "cache",
            "name of a cache",
            "",
            RefusedWhileOpen,
            "Of jobs: the `[[cache]]` with `mode = \"observe\"` that workers say to how their jobs went.",
        ),
        key(
            "url",
            "address",
            "",
            Live,
            "Where a Prometheus is, or a page of metrics; `{address}` and `{host}` are those of each upstream of the version; of workers `{host}` is each instance.",
        ),
        key("token_file", "file", "", Live, "Holds the token that the Prometheus asks for."),
        key(
            "token_env",
            "name",
            "",
            Live,
            "The variable of the environment that holds it instead.",
        ),
        key(
            "version_tag",
            "name",
            "",
            RefusedWhileOpen,
            "Of statsd: the tag that says the version, where the name does not.",
        ),
        key(
            "version_label",
            "name",
            "",
            RefusedWhileOpen,
            "Of a page: the label that says the version, where one page tells of several.",
        ),
    ],
};
