//! The sections of those who are told, in the order of the reference.

use super::Keys;
use super::list::key;
use crate::config::difference::Class::Live;

pub const NOTIFY: Keys = Keys {
    title: "[[notify]]",
    keys: &[
        key(
            "name",
            "name",
            "",
            Live,
            "Name in messages and metrics; how far it was told is remembered under it; required.",
        ),
        key("webhook", "table", "", Live, "That it is told by a POST; this or `mail`."),
        key("mail", "table", "", Live, "That it is told by mail; this or `webhook`."),
        key(
            "events",
            "list of names of events",
            "",
            Live,
            "What it hears of, as [journal.md](journal.md) names it: `[\"started\", \"rolled_back\"]`; without it everything.",
        ),
        key(
            "tiers",
            "list of names of tiers",
            "",
            Live,
            "Of which tiers; what is in no tier alone is told too; without it all.",
        ),
        key(
            "retry_for",
            "duration, 1m to 30d",
            "\"24h\"",
            Live,
            "How old an event may become that could not be told, before it is given up.",
        ),
        key("timeout", "duration, 100ms to 5m", "\"10s\"", Live, "How long one try may take."),
    ],
};

pub const NOTIFY_WEBHOOK: Keys = Keys {
    title: "[notify.webhook]",
    keys: &[
        key(
            "url",
            "URL, `env:NAME` or `file:PATH`",
            "",
            Live,
            "Where it goes; that of a chat is a secret, which a variable or a file can keep; required.",
        ),
        key(
            "template",
            "`\"json\"`, `\"mattermost\"`, `\"slack\"` or text",
            "\"json\"",
            Live,
            "What is sent: all that is known, a message of a chat, or a text of your own with `{text}`, `{sentence}`, `{event}`, `{tier}`, `{rollout}`, `{by}`, `{reason}` and `{at}` in it. What begins with `{` or `[` is JSON, and what is put in is quoted for it.",
        ),
        key(
            "secret",
            "`env:NAME` or `file:PATH`",
            "",
            Live,
            "By which each request is signed as Standard Webhooks have it (`webhook-signature`, HMAC-SHA256 of id, time and body).",
        ),
        key(
            "headers",
            "texts by name",
            "",
            Live,
            "Further headers; `env:NAME` and `file:PATH` stand for what is there.",
        ),
        key(
            "ca",
            "path",
            "",
            Live,
            "Who signed its certificate; without it the authorities this machine trusts.",
        ),
    ],
};

pub const NOTIFY_MAIL: Keys = Keys {
    title: "[notify.mail]",
    keys: &[
        key(
            "server",
            "host or host:port",
            "",
            Live,
            "The mail server; without a port 587, or 465 and 25 as `tls` says; required.",
        ),
        key(
            "tls",
            "`\"starttls\"`, `\"implicit\"` or `\"none\"`",
            "\"starttls\"",
            Live,
            "How it is spoken to: TLS after a greeting, which is required then, TLS at once, or in the clear.",
        ),
        key("user", "text", "", Live, "Who logs in; with `password`."),
        key(
            "password",
            "`env:NAME` or `file:PATH`",
            "",
            Live,
            "By which password; never in the clear, but to this machine.",
        ),
        key("from", "e-mail address", "", Live, "The sender; required."),
        key("to", "list of e-mail addresses", "", Live, "The recipients; required."),
        key(
            "ca",
            "path",
            "",
            Live,
            "Who signed its certificate; without it the authorities this machine trusts.",
        ),
    ],
};

pub const TRACING: Keys = Keys {
    title: "[tracing]",
    keys: &[
        key(
            "url",
            "URL",
            "",
            Live,
            "Where a collector takes OTLP by HTTP, in JSON: `\"http://127.0.0.1:4318/v1/traces\"`; required.",
        ),
        key(
            "ratio",
            "percentage, 0% to 100%",
            "\"1%\"",
            Live,
            "Which share of the requests is traced; where a trusted proxy says `traceparent`, that decides.",
        ),
        key("service", "text", "\"weir\"", Live, "What Weir is called there (`service.name`)."),
        key(
            "headers",
            "texts by name",
            "",
            Live,
            "Further headers, such as `Authorization`; `env:NAME` and `file:PATH` stand for what is there.",
        ),
        key(
            "ca",
            "path",
            "",
            Live,
            "Who signed its certificate; without it the authorities this machine trusts.",
        ),
    ],
};

pub const ALERTMANAGER: Keys = Keys {
    title: "[alertmanager]",
    keys: &[
        key("url", "URL", "", Live, "Its address, with the path before `/api/v2`; required."),
        key(
            "matchers",
            "list of matchers",
            "",
            Live,
            "Which alerts are silenced while a rollout is open; all must hold: `[\"service=\\\"shop\\\"\", \"severity!=\\\"page\\\"\"]`; required.",
        ),
        key(
            "created_by",
            "text",
            "\"weir\"",
            Live,
            "Who makes the silences; several Weirs at one Alertmanager need names of their own, since by it each knows its own.",
        ),
        key(
            "authorization",
            "`env:NAME` or `file:PATH`",
            "",
            Live,
            "The value of `Authorization`, such as `Bearer ...`.",
        ),
        key(
            "ca",
            "path",
            "",
            Live,
            "Who signed its certificate; without it the authorities this machine trusts.",
        ),
    ],
};
