//! The sections of the runbook, in the order of the reference.

use super::Keys;
use super::list::key;
use crate::config::difference::Class::Live;

pub const STEP: Keys = Keys {
    title: "[[step]]",
    keys: &[
        key(
            "name",
            "name",
            "",
            Live,
            "Name in the journal and in messages, another for each step; required.",
        ),
        key(
            "when",
            "moment",
            "",
            Live,
            "`\"before rollout\"`, `\"after rollout\"`, `\"before tier web\"`, `\"after tier web\"`, `\"after stage 25%\"`, `\"after stage 25% of web\"`, `\"on rollback\"`, `\"before hop 3.0.1\"` or `\"after hop 3.0.1\"`; required. Steps of one moment follow each other in the order of the file. A rollout keeps the steps with which it was opened.",
        ),
        key("owner", "text", "", Live, "Who answers for it."),
        key(
            "confirm",
            "text",
            "",
            Live,
            "A question that a person must answer with yes before it begins. A step of nothing else is what a person does.",
        ),
        key(
            "run",
            "list of texts, or text with `shell = true`",
            "",
            Live,
            "A command and its arguments, in the folder of the file, with `WEIR_*` variables.",
        ),
        key(
            "shell",
            "flag",
            "false",
            Live,
            "Whether `/bin/sh` reads `run`, which is one text then.",
        ),
        key("http", "URL or table", "", Live, "An HTTP request."),
        key("check", "table", "", Live, "A check, which changes nothing."),
        key(
            "timeout",
            "duration, 1s to 7d",
            "\"10m\"",
            Live,
            "How long one try may take; then the command and all that it started are ended.",
        ),
        key("retries", "whole number, 0 to 100", "0", Live, "Tries after one that failed."),
        key("retry_after", "duration, 0s to 1h", "\"5s\"", Live, "The pause before each of them."),
        key(
            "on_interrupt",
            "`\"ask\"`, `\"retry\"` or `\"fail\"`",
            "\"ask\"",
            Live,
            "What follows where Weir itself was killed or restarted during the step: a person says, it is done again, or it counts as failed.",
        ),
        key(
            "on_failure",
            "`\"hold\"`, `\"rollback\"` or `\"continue\"`",
            "\"hold\"",
            Live,
            "What follows where the last try failed.",
        ),
        key(
            "on_rollback",
            "`\"wait\"` or `\"stop\"`",
            "\"wait\"",
            Live,
            "What becomes of it where everything goes back while it runs: users are back at once, and what is done besides waits for its end, or it is broken off, as `timeout` does it.",
        ),
        key(
            "undoes",
            "name of a step",
            "",
            Live,
            "The step that it undoes, `on rollback`: it is done where that one has begun, the last one first, before the other steps `on rollback`.",
        ),
    ],
};

pub const STEP_HTTP: Keys = Keys {
    title: "[step.http]",
    keys: &[
        key("method", "text", "\"GET\"", Live, "The method."),
        key("url", "URL", "", Live, "Where it goes, `http://` or `https://`; required."),
        key(
            "headers",
            "texts by name",
            "",
            Live,
            "Headers; the value `\"env:NAME\"` is what the variable says. Secrets are written like that only, since the journal keeps the step.",
        ),
        key(
            "body",
            "text",
            "",
            Live,
            "The body; `{version}` is replaced by what `WEIR_VERSION` says, and so on.",
        ),
        key("expect", "status", "", Live, "The status that is success; without it 200 to 299."),
    ],
};

pub const STEP_CHECK: Keys = Keys {
    title: "[step.check]",
    keys: &[
        key(
            "file",
            "path",
            "",
            Live,
            "A file is there, fresh and not empty; `*` in its name stands for any text, and the newest counts.",
        ),
        key("max_age", "duration, 1s to 365d", "\"24h\"", Live, "With `file`: how old it may be."),
        key("min_size", "size from `1B`", "\"1B\"", Live, "With `file`: how large it must be."),
        key("free", "size", "", Live, "A file system has that much room, as `10GiB`."),
        key("on", "path", "", Live, "With `free`: a path on it; required there."),
        key("tcp", "address", "", Live, "Something takes connections there."),
        key("http", "URL", "", Live, "Something answers there with 200 to 299."),
        key(
            "version_at",
            "path",
            "",
            Live,
            "Each upstream reports the version that it is said to run, at this path.",
        ),
        key(
            "pattern",
            "text",
            "\"{version}\"",
            Live,
            "With `version_at`: what the answer has in it, with `{version}` where the version stands.",
        ),
        key(
            "traffic_below",
            "whole number, 1 to 1000000",
            "",
            Live,
            "The traffic is below that many requests a second.",
        ),
        key("tier", "name", "", Live, "With `version_at` and `traffic_below`: of this tier only."),
        key(
            "clock",
            "duration, 1s to 1h",
            "",
            Live,
            "The clocks of this machine and of the upstreams are at most that far apart, by the `Date` of their answers.",
        ),
        key("healthy", "flag", "", Live, "Every release has a healthy upstream."),
        key("exact", "flag", "", Live, "Versions are exact: none is `latest` or its like."),
        key("hours", "flag", "", Live, "It is an hour in which the rollout may advance."),
        key("caches", "flag", "", Live, "Every cache of the file keeps the versions apart."),
    ],
};

pub const PREFLIGHT: Keys = Keys {
    title: "[preflight]",
    keys: &[
        key(
            "backup",
            "table",
            "",
            Live,
            "A file as in `[step.check]`: `{ file = \"/backup/dump_*.sql\", max_age = \"24h\", min_size = \"1MiB\" }`.",
        ),
        key(
            "disk",
            "table",
            "",
            Live,
            "Room as in `[step.check]`: `{ free = \"10GiB\", on = \"/var/lib\" }`.",
        ),
        key("tcp", "list of addresses", "[]", Live, "What must take connections."),
        key("http", "list of URLs", "[]", Live, "What must answer."),
        key(
            "version",
            "table",
            "",
            Live,
            "What upstreams report, as in `[step.check]`: `{ version_at = \"/version\" }`.",
        ),
        key(
            "traffic_below",
            "whole number, 1 to 1000000",
            "",
            Live,
            "The traffic of each tier, in requests a second.",
        ),
        key(
            "clock",
            "duration, 1s to 1h, or \"none\"",
            "\"10s\"",
            Live,
            "How far clocks may be apart.",
        ),
        key("healthy", "flag", "true", Live, "Whether every release must have a healthy upstream."),
        key("exact", "flag", "true", Live, "Whether versions must be exact, and never `latest`."),
        key(
            "hours",
            "flag",
            "true",
            Live,
            "Whether it must be an hour in which the rollout may advance.",
        ),
        key("caches", "flag", "true", Live, "Whether caches must keep the versions apart."),
        key(
            "migrations",
            "text",
            "",
            Live,
            "A question that a person answers before a rollout opens, such as whether the old version bears the migrations; the journal keeps the answer.",
        ),
    ],
};
