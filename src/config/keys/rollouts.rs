//! The sections of a rollout and of its judge, in the order of the reference.

use super::Keys;
use super::list::key;
use crate::config::difference::Class::{Live, Open, RefusedWhileOpen};

pub const ROLLOUT: Keys = Keys {
    title: "[rollout]",
    keys: &[
        key(
            "stages",
            "list of tables or `\"auto\"`",
            "\"auto\"",
            Open,
            "The stages, with rising weights; auto: from the traffic of the last hour. After the last stage everybody has the new version.",
        ),
        key(
            "bake",
            "duration, 0s to 30d",
            "\"1m\"",
            Open,
            "Least time of a listed stage that does not say its own.",
        ),
        key(
            "rollback_over",
            "duration, 0s to 1h",
            "\"0s\"",
            Live,
            "Over which time `weir rollback` takes the users of an open rollout back, in steps of a second; 0s: at once. What the judge rolls back goes at once.",
        ),
        key(
            "name",
            "text",
            "",
            Live,
            "What a rollout over tiers is called in the journal; taken when it opens.",
        ),
        key(
            "order",
            "list of names and of lists of names",
            "",
            Open,
            "The tiers in order, `[\"admin\", [\"web\", \"api\"], \"worker\"]`; those of one inner list move together. Without it all tiers do.",
        ),
        key(
            "on_failure",
            "`\"rollout\"` or `\"tier\"`",
            "\"rollout\"",
            Live,
            "How much goes back where one tier fails: every tier of the rollout, or that one, and the rollout ends there. Taken when it opens.",
        ),
        key(
            "decide_by",
            "time",
            "",
            Live,
            "When it must be decided: `\"03:30\"`, the next one after the start, or `\"2026-12-01 03:30\"`. Taken when it opens.",
        ),
        key(
            "past_decision",
            "`\"rollback\"` or `\"hold\"`",
            "\"rollback\"",
            Live,
            "What happens then, unless everybody has the new version everywhere. Taken when it opens.",
        ),
        key(
            "hours",
            "list of hours, up to 50",
            "",
            Live,
            "When a rollout may go on by itself: `[\"Mon-Thu 01:00-05:00\", \"Sat,Sun 22:00-02:00\"]`. Orders, and what goes back, need no hours.",
        ),
        key(
            "freeze",
            "list of days, up to 50",
            "",
            Live,
            "Days on which it may not: `[\"2026-12-24..2027-01-01\"]`.",
        ),
        key(
            "point_of_no_return",
            "`\"after step NAME\"`",
            "",
            Live,
            "Past that step nothing goes back by itself, and `weir rollback` needs `--past-no-return`. Taken when it opens.",
        ),
        key(
            "hops",
            "list of versions, up to 50",
            "",
            Live,
            "The versions to climb, each a rollout of its own; none is left out.",
        ),
    ],
};

pub const STAGE: Keys = Keys {
    title: "[[rollout.stages]]",
    keys: &[
        key(
            "weight",
            "percentage, 0.01% to 99.99%",
            "",
            Open,
            "The canary's share of the clients; required.",
        ),
        key(
            "bake",
            "duration, 0s to 30d",
            "",
            Open,
            "Least time the stage lasts; without it that of `[rollout]`.",
        ),
        key(
            "gate",
            "text",
            "",
            Open,
            "What a person must say yes to (`weir approve`) before the weight rises any more.",
        ),
    ],
};

pub const ANALYSIS: Keys = Keys {
    title: "[analysis]",
    keys: &[
        key(
            "false_rollback",
            "share, 0.0001% to 50%",
            "\"1%\"",
            RefusedWhileOpen,
            "How often a good version may be rolled back, over a whole rollout.",
        ),
        key(
            "false_advance",
            "share, 0.0001% to 50%",
            "\"5%\"",
            RefusedWhileOpen,
            "How often a version worse than its margin may be called proven, per stage.",
        ),
        key(
            "margin",
            "difference, 0.001pp to 50pp",
            "\"0.5pp\"",
            RefusedWhileOpen,
            "Short for `margin` of `[analysis.errors]`.",
        ),
        key(
            "grace",
            "duration, 0s to 1h",
            "\"1m\"",
            RefusedWhileOpen,
            "The first seconds of a new version, in which it is forgiven `grace_delta`; 0s if it is ready when it says so.",
        ),
        key(
            "grace_delta",
            "difference, 0pp to 100pp",
            "\"10pp\"",
            RefusedWhileOpen,
            "How many more requests than stable's may fail during the grace.",
        ),
        key(
            "warm_up",
            "duration, 0s to 1h",
            "\"2m\"",
            RefusedWhileOpen,
            "The first minutes of a new version, in which its caches count as cold: `slow` holds instead of rolling back.",
        ),
        key(
            "give_up",
            "duration, 1s to 30d",
            "\"30m\"",
            Open,
            "After this long in one stage without proof, `when_unproven` decides.",
        ),
        key(
            "when_unproven",
            "`\"hold\"` or `\"advance\"`",
            "\"hold\"",
            Open,
            "What happens then to a stage that nothing speaks against: a person decides, or it goes on and is called unproven.",
        ),
        key("errors", "table", "", Live, "What is tolerated in failed requests."),
        key("slow", "table", "", Live, "What is tolerated in slow requests."),
        key(
            "watch",
            "list of tables",
            "",
            Live,
            "Further outcomes that are compared, such as being thrown out.",
        ),
        key(
            "signal",
            "list of tables",
            "",
            Live,
            "What is heard of a tier from outside; only in `[analysis]` itself.",
        ),
        key("ignore", "table", "", Live, "Requests that are not judged."),
    ],
};

pub const ERRORS: Keys = Keys {
    title: "[analysis.errors]",
    keys: &[
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
            "margin",
            "difference, 0.001pp to 50pp",
            "\"0.5pp\"",
            RefusedWhileOpen,
            "Proven good enough: all users together see at most this much more, or `margin_ratio`, whichever is larger.",
        ),
        key(
            "margin_ratio",
            "factor, 1 to 100",
            "1.5",
            RefusedWhileOpen,
            "Proven good enough: at most this many times stable's rate.",
        ),
    ],
};

pub const SLOW: Keys = Keys {
    title: "[analysis.slow]",
    keys: &[
        key(
            "tolerated_ratio",
            "factor, 1 to 100",
            "1.25",
            RefusedWhileOpen,
            "No harm up to this many times stable's rate plus `tolerated`.",
        ),
        key(
            "tolerated",
            "difference, 0pp to 100pp",
            "\"0.1pp\"",
            RefusedWhileOpen,
            "The extra share that is no harm.",
        ),
        key(
            "margin",
            "difference, 0.001pp to 50pp",
            "\"1pp\"",
            RefusedWhileOpen,
            "Proven good enough: all users together see at most this much more, or `margin_ratio`, whichever is larger.",
        ),
        key(
            "margin_ratio",
            "factor, 1 to 100",
            "2",
            RefusedWhileOpen,
            "Proven good enough: at most this many times stable's rate.",
        ),
    ],
};

pub const WATCH: Keys = Keys {
    title: "[[analysis.watch]]",
    keys: &[
        key(
            "name",
            "text",
            "",
            RefusedWhileOpen,
            "What it is called in sentences and metrics; required.",
        ),
        key(
            "status",
            "list of statuses",
            "",
            RefusedWhileOpen,
            "The statuses that count: `\"302\"`, `\"4xx\"`; required.",
        ),
        key(
            "location",
            "pattern",
            "",
            RefusedWhileOpen,
            "The Location that an answer must have to count; `*` is any text.",
        ),
        key(
            "on_fail",
            "`\"rollback\"` or `\"hold\"`",
            "\"hold\"",
            RefusedWhileOpen,
            "What happens when it is clearly more frequent on the canary.",
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
    ],
};

pub const IGNORE: Keys = Keys {
    title: "[analysis.ignore]",
    keys: &[
        key(
            "paths",
            "list of patterns",
            "[]",
            RefusedWhileOpen,
            "Paths without the query; `*` is any text.",
        ),
        key("addresses", "list of networks", "[]", RefusedWhileOpen, "Client addresses."),
        key("agents", "list of patterns", "[]", RefusedWhileOpen, "User agents; `*` is any text."),
    ],
};
