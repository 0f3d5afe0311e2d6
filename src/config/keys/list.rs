//! The sections of the program and of its tiers, in the order of the reference.

use super::cache::CACHE;
use super::caching::CACHING;
use super::closing::{BYPASS, HOLD, MAINTENANCE};
use super::notify::{ALERTMANAGER, NOTIFY, NOTIFY_MAIL, NOTIFY_WEBHOOK, TRACING};
use super::rollouts::{ANALYSIS, ERRORS, IGNORE, ROLLOUT, SLOW, STAGE, WATCH};
use super::runbook::{PREFLIGHT, STEP, STEP_CHECK, STEP_HTTP};
use super::signals::{SIGNAL, STATSD};
use super::tls::{ACME, CERTIFICATE, LISTENER_TLS, RELEASE_TLS};
use super::workers::{INSTANCE, ROLLING, WORKER};
use super::{Key, Keys};
use crate::config::difference::Class::{self, Live, Open, RefusedWhileOpen, Restart};

pub(super) const fn key(
    name: &'static str,
    kind: &'static str,
    default: &'static str,
    class: Class,
    meaning: &'static str,
) -> Key {
    Key { name, kind, default, class, meaning }
}

/// All sections, in the order of the reference.
pub const SECTIONS: &[&Keys] = &[
    &ROOT,
    &ADMIN,
    &STATE,
    &PROXY,
    &LOG,
    &LISTENER,
    &LISTENER_TLS,
    &CERTIFICATE,
    &ACME,
    &TIER,
    &ROUTE,
    &RELEASE,
    &RELEASE_TLS,
    &ROLLING,
    &INSTANCE,
    &STICKY,
    &HEALTH,
    &WARM,
    &PREVIEW,
    &TIMEOUTS,
    &LIMITS,
    &MAINTENANCE,
    &BYPASS,
    &HOLD,
    &CACHING,
    &WORKER,
    &CACHE,
    &ROLLOUT,
    &STAGE,
    &ANALYSIS,
    &ERRORS,
    &SLOW,
    &WATCH,
    &SIGNAL,
    &STATSD,
    &IGNORE,
    &STEP,
    &STEP_HTTP,
    &STEP_CHECK,
    &PREFLIGHT,
    &NOTIFY,
    &NOTIFY_WEBHOOK,
    &NOTIFY_MAIL,
    &ALERTMANAGER,
    &TRACING,
];

pub const ROOT: Keys = Keys {
    title: "the file",
    keys: &[
        key("admin", "table", "", Live, "Where Weir is asked and ordered."),
        key("state", "table", "", Live, "What Weir remembers."),
        key("proxy", "table", "", Live, "The part that moves bytes."),
        key("log", "table", "", Live, "What Weir writes to standard error."),
        key(
            "listener",
            "list of tables",
            "",
            Live,
            "Addresses that are listened at in a special way.",
        ),
        key("acme", "table", "", Live, "The authority that issues certificates by itself (ACME)."),
        key("tier", "list of tables", "", Live, "The tiers: layers of the product."),
        key(
            "worker",
            "list of tables",
            "",
            Live,
            "Tiers without HTTP, whose instances are moved one at a time by commands.",
        ),
        key(
            "maintenance",
            "table",
            "",
            Live,
            "How users are kept out of closed tiers, for all of them.",
        ),
        key("cache", "list of tables", "", Live, "Caches in which each version has its own part."),
        key("rollout", "table", "", Live, "How a rollout goes from 0% to everybody."),
        key(
            "zone",
            "name",
            "",
            Live,
            "The time zone of all times in this file, such as `\"Europe/Berlin\"`; `hours`, `freeze` and `decide_by` need it. Messages, reports, the log and `weir status` say times in it, too; without it in that of the machine.",
        ),
        key("analysis", "table", "", Live, "How the canary is judged, for all tiers."),
        key("statsd", "table", "", Live, "Where figures from outside come in."),
        key("step", "list of tables", "", Live, "The runbook: what is done beside the weights."),
        key(
            "preflight",
            "table",
            "",
            Live,
            "Ready-made checks before a rollout; with this table a rollout begins with them.",
        ),
        key("notify", "list of tables", "", Live, "Who is told what happens."),
        key(
            "alertmanager",
            "table",
            "",
            Live,
            "Where alerts are silenced while a rollout is open.",
        ),
        key("tracing", "table", "", Live, "Where traces of requests and decisions go."),
    ],
};

pub const ADMIN: Keys = Keys {
    title: "[admin]",
    keys: &[
        key(
            "listen",
            "address",
            "\"127.0.0.1:7700\"",
            Restart,
            "Address of the API and `/metrics`.",
        ),
        key(
            "tokens_file",
            "path",
            "",
            Restart,
            "File with the hashes of the tokens; without it they are kept beside the journal.",
        ),
        key(
            "hosts",
            "list of host names",
            "[]",
            Restart,
            "Further names by which browsers may reach the admin address, against DNS rebinding.",
        ),
    ],
};

pub const STATE: Keys = Keys {
    title: "[state]",
    keys: &[key("path", "path", "\"weir.db\"", Restart, "File of the journal.")],
};

pub const PROXY: Keys = Keys {
    title: "[proxy]",
    keys: &[
        key(
            "workers",
            "whole number, 1 to 256",
            "",
            Restart,
            "Threads that move bytes; without it one for each processor.",
        ),
        key(
            "upstream_client",
            "`\"hyper\"` or `\"weir\"`",
            "\"weir\"",
            Restart,
            "Whose HTTP/1.1 is spoken with upstreams: Weir's own, or hyper's, which costs more. They are tested to do the same.",
        ),
        key(
            "resolve_every",
            "duration, 100ms to 1h",
            "\"10s\"",
            Restart,
            "How often names of upstreams are looked up; the last good answer stays in use while the resolver fails.",
        ),
        key(
            "memory",
            "size from `64MiB`, `\"auto\"` or `\"none\"`",
            "\"auto\"",
            Restart,
            "Memory that Weir may have; above it new requests get 503 with `Retry-After`, before memory runs out. `auto` is 80 % of what the control group may have (`MemoryMax=` of systemd, a container's limit), or half of the machine where there is no such limit; in a group all that it has in use counts, but for what the kernel can have back (caches of files) and other processes.",
        ),
        key(
            "environment",
            "name",
            "",
            Restart,
            "Stands before the version in the namespaces of caches, where several installations share a server.",
        ),
    ],
};

pub const LOG: Keys = Keys {
    title: "[log]",
    keys: &[
        key("format", "`\"text\"` or `\"json\"`", "\"text\"", Restart, "Shape of the lines."),
        key(
            "level",
            "level",
            "\"info\"",
            Live,
            "Least importance of what is written: off, error, warn, info, debug or trace; modules may differ (`\"info,weir::proxy=debug\"`). The environment's `WEIR_LOG` overrides it.",
        ),
        key(
            "secrets",
            "list of names",
            "[]",
            Live,
            "Variables of the environment whose values no output of a step shows, besides those whose names say that they are secrets.",
        ),
    ],
};

pub const LISTENER: Keys = Keys {
    title: "[[listener]]",
    keys: &[
        key("listen", "address", "", Restart, "The address, as its tiers have it; required."),
        key(
            "proxy_from",
            "list of networks",
            "[]",
            Live,
            "Peers that begin each connection with a PROXY protocol header, version 1 or 2: a load balancer in front. From them it is required, from all others nothing of the kind is understood.",
        ),
        key(
            "mode",
            "octal text",
            "\"0660\"",
            Restart,
            "Permissions of a Unix socket: who may connect.",
        ),
        key("tls", "table", "", Live, "That TLS is spoken there, and with which certificates."),
    ],
};

pub const TIER: Keys = Keys {
    title: "[[tier]]",
    keys: &[
        key(
            "name",
            "name",
            "",
            RefusedWhileOpen,
            "Name in orders, sentences and metrics; required.",
        ),
        key(
            "listen",
            "address",
            "",
            Restart,
            "Where clients come in, `127.0.0.1:8080` or `unix:/run/weir/web.sock`; required. Tiers may share it if their routes differ.",
        ),
        key(
            "route",
            "table",
            "",
            Live,
            "Which requests there are the tier's own; without it all that no other tier takes.",
        ),
        key(
            "stable",
            "version",
            "",
            RefusedWhileOpen,
            "The version that serves while the journal is new; afterwards the journal knows; required.",
        ),
        key(
            "releases",
            "list of tables",
            "",
            Live,
            "The versions that exist and where they run; required.",
        ),
        key(
            "rolling",
            "table",
            "",
            Open,
            "Instances that are moved from version to version one at a time, instead of upstreams of each.",
        ),
        key(
            "sticky",
            "table or word",
            "\"cookie\"",
            RefusedWhileOpen,
            "What keeps a client on its version: `{ cookie = \"uid\" }`, `{ header = \"authorization\" }`, `\"address\"`, `\"cookie\"` (Weir's own) or `\"none\"`.",
        ),
        key("health", "table", "", Live, "How upstreams are asked whether they are well."),
        key(
            "canary_down",
            "duration, 1s to 1h",
            "\"10s\"",
            Live,
            "A canary without a healthy upstream for this long is rolled back while stable is healthy; at once when all have failed `health.fall` checks.",
        ),
        key(
            "stages",
            "list of tables or `\"auto\"`",
            "",
            Open,
            "Its own stages, as `[rollout]` has them; without it those. Tiers that move together have the same.",
        ),
        key("preview", "table", "", Live, "How testers reach a version at any weight."),
        key("timeouts", "table", "", Live, "How long things may take."),
        key("limits", "table", "", Live, "How much there may be of things."),
        key("maintenance", "table", "", Live, "As `[maintenance]`, key by key, for this tier."),
        key("cache", "table", "", Live, "How answers are kept for others; without it none is."),
        key(
            "trusted_proxies",
            "list of networks",
            "[\"127.0.0.0/8\", \"::1/128\"]",
            Live,
            "Peers whose `X-Forwarded-For` is believed: by it clients without a cookie are placed. The default is a proxy on the same machine; one elsewhere must be listed, or all its new clients share one place.",
        ),
        key(
            "show_version",
            "true or false",
            "false",
            Live,
            "Whether answers tell clients their version (`X-Weir-Version`).",
        ),
        key(
            "access_log",
            "true or false",
            "false",
            Live,
            "Whether each request is written to the log.",
        ),
        key(
            "cookies",
            "`\"share\"`, `\"isolate\"` or `\"overlay\"` by cookie name",
            "",
            Live,
            "What becomes of cookies of the app while two versions are live: shared, each version its own, or the canary reads stable's until it writes its own ([cookies.md](cookies.md)).",
        ),
        key(
            "logout",
            "list of paths, `*` for any text",
            "[\"*/logout\", \"*/logout/\", \"*/sign_out\", \"*/signout\"]",
            Live,
            "Where the app logs out: if it writes one of `cookies` there, the other version's is ended, whatever it writes; with `\"isolate\"` each version's is its own, and stays.",
        ),
        key(
            "assets",
            "list of beginnings of paths",
            "[]",
            Live,
            "Files that each version has of its own (`/assets/`): what one version does not have is asked of the other ([cookies.md](cookies.md#assets)).",
        ),
        key(
            "shared_caches",
            "`\"private\"`, `\"vary\"` or `\"untouched\"`",
            "\"private\"",
            Live,
            "What is said of pages (HTML that is not private already) to CDNs and other shared caches while clients are split: that only the client may keep them, that they vary by what the split goes by, or nothing ([cookies.md](cookies.md#caches-in-front-of-weir)).",
        ),
        key(
            "keep_warm",
            "duration, 0 to 720h",
            "\"24h\"",
            Live,
            "How long after a promotion or a roll back cookies of the version that was left are kept, and it is asked for `assets`.",
        ),
        key(
            "warm",
            "table",
            "",
            Live,
            "What a canary is warmed with before it gets users; without it, it is not.",
        ),
        key(
            "analysis",
            "table",
            "",
            Live,
            "How the canary of this tier is judged: overrides `[analysis]` key by key.",
        ),
    ],
};

pub const ROUTE: Keys = Keys {
    title: "[tier.route]",
    keys: &[
        key(
            "host",
            "host name",
            "",
            Live,
            "The Host, `api.example.org` or `*.example.org`; the port in a request does not matter.",
        ),
        key(
            "path",
            "path",
            "",
            Live,
            "How the path begins: `/v1/` takes what begins so; `/v1` itself and what is below. Compared as the client sent it.",
        ),
    ],
};

pub const RELEASE: Keys = Keys {
    title: "[[tier.releases]]",
    keys: &[
        key(
            "version",
            "version",
            "",
            RefusedWhileOpen,
            "Its name and identity: a mended build gets a new one; required.",
        ),
        key(
            "upstreams",
            "list of addresses",
            "",
            Live,
            "Where it runs: `host:port`, `[::1]:3000` or `unix:/run/app.sock`, with `h2c://` before it for HTTP/2 without TLS, `https://` for TLS with HTTP/2 or HTTP/1.1; required, unless the tier has `rolling`.",
        ),
        key("host", "host name", "", Live, "The Host sent to it; without it the client's."),
        key(
            "tls",
            "table",
            "",
            Live,
            "How the certificates of `https://` upstreams are verified; without it by their host and by the authorities this machine trusts.",
        ),
        key(
            "proxy_protocol",
            "true or false",
            "false",
            Live,
            "Whether each connection to it begins with a PROXY protocol header, version 2, with the client's address; a connection then carries requests of one address only.",
        ),
    ],
};

pub const STICKY: Keys = Keys {
    title: "[tier.sticky]",
    keys: &[
        key(
            "cookie",
            "cookie name",
            "",
            RefusedWhileOpen,
            "A cookie of the app; while it is absent, Weir's own.",
        ),
        key(
            "header",
            "header name",
            "",
            RefusedWhileOpen,
            "A request header; while it is absent, Weir's own cookie.",
        ),
    ],
};

pub const WARM: Keys = Keys {
    title: "[tier.warm]",
    keys: &[
        key(
            "requests",
            "whole number, 1 to 1000",
            "200",
            Live,
            "GET requests without a cookie or Authorization that stable had lately, the most frequent ones.",
        ),
        key(
            "within",
            "duration, 1s to 10m",
            "\"1m\"",
            Live,
            "How long users may wait for the canary meanwhile.",
        ),
    ],
};

pub const HEALTH: Keys = Keys {
    title: "[tier.health]",
    keys: &[
        key(
            "path",
            "path or `\"none\"`",
            "\"none\"",
            Live,
            "Path asked with GET; with none, a connection that opens is well.",
        ),
        key(
            "interval",
            "duration, 100ms to 1h",
            "\"2s\"",
            Live,
            "Time between two checks of an upstream.",
        ),
        key("timeout", "duration, 10ms to 10m", "\"2s\"", Live, "Longest a check may take."),
        key(
            "fall",
            "whole number, 1 to 100",
            "3",
            Live,
            "Failed checks in a row that make an upstream unhealthy.",
        ),
        key(
            "rise",
            "whole number, 1 to 100",
            "1",
            Live,
            "Passed checks in a row that make it healthy again.",
        ),
        key(
            "boot_grace",
            "duration, 0s to 1h",
            "\"1m\"",
            Live,
            "How long after a start the health of a release is unknown rather than bad.",
        ),
        key(
            "eject_after",
            "whole number, 1 to 1000",
            "5",
            Live,
            "Failures in a row, seen in traffic, that take an upstream out.",
        ),
        key("eject_for", "duration, 100ms to 1h", "\"10s\"", Live, "How long it stays out."),
        key(
            "eject_max",
            "share, 0% to 100%",
            "\"50%\"",
            Live,
            "Upstreams of a release that may be out at once, rounded down but at least one; never the last that is well. 0%: none.",
        ),
        key(
            "slow_start",
            "duration, 0s to 1h",
            "\"10s\"",
            Live,
            "Time in which the share of an upstream that is new or comes back grows from a tenth to the whole, where the release has others.",
        ),
    ],
};

pub const PREVIEW: Keys = Keys {
    title: "[tier.preview]",
    keys: &[
        key(
            "header",
            "header name",
            "",
            Live,
            "Header that carries the secret; a header or a cookie is required.",
        ),
        key("cookie", "cookie name", "", Live, "Cookie that carries the secret."),
        key(
            "secret",
            "text, 16 to 256 bytes",
            "",
            Live,
            "The secret; `SECRET` leads to the canary, `SECRET:stable` to stable, `SECRET:1.1.0` to that version.",
        ),
        key("secret_file", "path", "", Live, "File with the secret, in place of `secret`."),
    ],
};

pub const TIMEOUTS: Keys = Keys {
    title: "[tier.timeouts]",
    keys: &[
        key(
            "request_head",
            "duration, 100ms to 1h",
            "\"10s\"",
            Live,
            "A client's request head, from its first byte.",
        ),
        key(
            "client_idle",
            "duration, 100ms to 24h",
            "\"1m15s\"",
            Live,
            "A kept-alive client connection without a request.",
        ),
        key(
            "body_idle",
            "duration, 100ms to 24h",
            "\"1m\"",
            Live,
            "No byte of a body moving in either direction.",
        ),
        key(
            "connect",
            "duration, 10ms to 10m",
            "\"3s\"",
            Live,
            "Opening a connection to an upstream.",
        ),
        key(
            "response_head",
            "duration, 100ms to 24h",
            "\"1m\"",
            Live,
            "From the end of the request to the head of the answer.",
        ),
        key(
            "first_byte",
            "duration, 100ms to 24h",
            "\"10s\"",
            Live,
            "Age at which a request without an answer counts as an error (hanging), once; a GET, HEAD or OPTIONS goes to stable then from a canary that answers nobody else either.",
        ),
        key(
            "long_polls",
            "list of patterns",
            "[]",
            Live,
            "Paths, without the query, whose answers may be long in coming: long polls. They are not cut for it, and count neither as hanging nor as slow; event streams need not be listed.",
        ),
        key(
            "total",
            "duration, 100ms to 30d, or `\"none\"`",
            "\"none\"",
            Live,
            "A whole request, bodies included.",
        ),
        key(
            "stream_after",
            "duration, 100ms to 24h",
            "\"10s\"",
            Live,
            "Age at which an answer still streaming is counted by its head, and never as slow.",
        ),
        key(
            "upstream_idle",
            "duration, 0s to 1h",
            "\"30s\"",
            Live,
            "An idle connection to an upstream. As many as a roll back would need stay open for longer, to the version that it leads back to.",
        ),
        key(
            "reuse_idle",
            "duration, 0s to 1h",
            "\"1s\"",
            Live,
            "Idle time after which a connection takes a request that may not be repeated only after a look whether it is still open.",
        ),
        key(
            "rate_grace",
            "duration, 0s to 1h",
            "\"20s\"",
            Live,
            "How long Weir may wait for a client in all before `limits.body_rate` and `limits.read_rate` count.",
        ),
        key(
            "drain",
            "duration, 0s to 24h",
            "\"30s\"",
            Live,
            "How long requests may go on after SIGTERM, and upgraded connections on a release that lost.",
        ),
    ],
};

pub const LIMITS: Keys = Keys {
    title: "[tier.limits]",
    keys: &[
        key(
            "connections",
            "whole number, 1 to 1000000",
            "20000",
            Live,
            "Client connections at once; beyond, the one that deserves its place least is closed for each newcomer. As many requests at once by HTTP/2.",
        ),
        key("head_bytes", "size, 1KiB to 1MiB", "\"64KiB\"", Live, "Bytes of a request head."),
        key(
            "headers",
            "whole number, 8 to 1000",
            "100",
            Live,
            "Header lines of a request or an answer.",
        ),
        key(
            "body_bytes",
            "size, up to 1024GiB, or `\"none\"`",
            "\"none\"",
            Live,
            "Bytes of a request body.",
        ),
        key(
            "body_rate",
            "size, 1B to 1MiB, or `\"none\"`",
            "\"240B\"",
            Live,
            "Bytes a second that a client must send of a request's body, on average over the time in which it is waited for; a slower one gets 408. Not for calls of gRPC to an upstream that speaks HTTP/2.",
        ),
        key(
            "read_rate",
            "size, 1B to 1MiB, or `\"none\"`",
            "\"240B\"",
            Live,
            "Bytes a second that a client must take of an answer, counted the same way; a slower one is cut off.",
        ),
        key(
            "requests_per_connection",
            "whole number, 1 to 1000000000",
            "100000",
            Live,
            "Requests on one client connection.",
        ),
        key(
            "streams",
            "whole number, 1 to 1000",
            "100",
            Live,
            "Requests at once on one client connection that speaks HTTP/2.",
        ),
        key(
            "upstream_idle",
            "whole number, 0 to 10000",
            "256",
            Live,
            "Idle connections kept to one upstream by one worker.",
        ),
        key(
            "upstream_connections",
            "whole number, 1 to 1000000, or `\"none\"`",
            "\"none\"",
            Live,
            "Open connections to one upstream, over all workers; beyond, requests wait for one.",
        ),
        key(
            "upstream_pending",
            "whole number, 1 to 1000000",
            "1024",
            Live,
            "Requests that wait for a connection to one upstream, over all workers; beyond, another upstream is asked, then 503 is answered.",
        ),
        key(
            "retries",
            "share, 0% to 100%",
            "\"20%\"",
            Live,
            "Share of a release's requests that may be sent again to another of its upstreams; a few more at once after quiet times.",
        ),
    ],
};
