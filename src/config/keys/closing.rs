//! The sections of what is closed to users.

use super::Keys;
use super::list::key;
use crate::config::difference::Class::Live;

pub const MAINTENANCE: Keys = Keys {
    title: "[maintenance]",
    keys: &[
        key(
            "page",
            "path",
            "",
            Live,
            "File with the page that users get while a tier is in maintenance, in HTML, at most 256 KiB; without it Weir's own.",
        ),
        key(
            "retry_after",
            "duration, 1s to 24h",
            "\"1m\"",
            Live,
            "When clients are told to come again (`Retry-After`), where no end is known.",
        ),
        key(
            "allow",
            "list of networks",
            "[]",
            Live,
            "Clients who come in even so; those behind a proxy are known as `trusted_proxies` says.",
        ),
        key("bypass", "table", "", Live, "A secret whose holders come in even so."),
        key(
            "hold",
            "table",
            "",
            Live,
            "How many requests wait during `weir hold`, and how they go on.",
        ),
    ],
};

pub const BYPASS: Keys = Keys {
    title: "[maintenance.bypass]",
    keys: &[
        key(
            "header",
            "header name",
            "",
            Live,
            "Header that carries the secret; a header or a cookie is required. It never reaches the app.",
        ),
        key("cookie", "cookie name", "", Live, "Cookie that carries the secret."),
        key("secret", "text, 16 to 256 bytes", "", Live, "The secret."),
        key("secret_file", "path", "", Live, "File with the secret, in place of `secret`."),
    ],
};

pub const HOLD: Keys = Keys {
    title: "[maintenance.hold]",
    keys: &[
        key(
            "requests",
            "whole number, 1 to 1000000",
            "10000",
            Live,
            "Requests of the tier that wait at once; more get 503 and `Retry-After`.",
        ),
        key(
            "bytes",
            "size, 1MiB to 16GiB",
            "\"64MiB\"",
            Live,
            "Memory that they may take, about; bodies wait at the client.",
        ),
        key(
            "wait",
            "duration, 1s to 1h",
            "\"25s\"",
            Live,
            "How long one waits until it gets 503 and `Retry-After`; most clients give up after 30 s or more.",
        ),
        key(
            "pace",
            "whole number, 1 to 1000000",
            "500",
            Live,
            "Requests that go on in a second once it is over, in the order in which they came.",
        ),
    ],
};
