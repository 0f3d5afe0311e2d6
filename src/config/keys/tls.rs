//! The sections that concern TLS.

use super::Keys;
use super::list::key;
use crate::config::difference::Class::Live;

pub const LISTENER_TLS: Keys = Keys {
    title: "[listener.tls]",
    keys: &[
        key(
            "certificates",
            "list of tables",
            "",
            Live,
            "Certificates from files; clients that ask for no known name get the first.",
        ),
        key(
            "acme",
            "list of host names",
            "[]",
            Live,
            "Names for which certificates are ordered from the authority in `[acme]`, and renewed.",
        ),
        key(
            "min_version",
            "`\"1.2\"` or `\"1.3\"`",
            "\"1.2\"",
            Live,
            "The oldest version of TLS that is spoken.",
        ),
    ],
};

pub const CERTIFICATE: Keys = Keys {
    title: "[[listener.tls.certificates]]",
    keys: &[
        key(
            "chain",
            "path",
            "",
            Live,
            "PEM file: the certificate first, then those that signed it; required.",
        ),
        key("key", "path", "", Live, "PEM file of its private key; required."),
    ],
};

pub const ACME: Keys = Keys {
    title: "[acme]",
    keys: &[
        key(
            "directory",
            "URL",
            "\"https://acme-v02.api.letsencrypt.org/directory\"",
            Live,
            "The authority: Let's Encrypt, unless another one is named.",
        ),
        key("contact", "e-mail address", "", Live, "Whom the authority may write to."),
        key(
            "agree_to_terms",
            "true or false",
            "false",
            Live,
            "That you agree to the authority's terms of service; must be true.",
        ),
        key(
            "challenge",
            "`\"auto\"`, `\"http-01\"` or `\"tls-alpn-01\"`",
            "\"auto\"",
            Live,
            "How names are proven: on port 80, on port 443, or whichever works.",
        ),
        key(
            "ca",
            "path",
            "",
            Live,
            "PEM file of who signed the authority's own certificate, where this machine does not trust it.",
        ),
        key(
            "folder",
            "path",
            "",
            Live,
            "Where accounts and certificates are kept; without it `acme` beside the journal.",
        ),
    ],
};

pub const RELEASE_TLS: Keys = Keys {
    title: "[tier.releases.tls]",
    keys: &[
        key(
            "name",
            "host name",
            "",
            Live,
            "The name their certificates must be for, and that is asked for (SNI); without it the host of the address.",
        ),
        key(
            "ca",
            "path",
            "",
            Live,
            "PEM file of who signs their certificates; nobody else is believed then.",
        ),
        key(
            "verify",
            "true or false",
            "true",
            Live,
            "Whether their certificates are verified; `false` believes anybody.",
        ),
        key(
            "chain",
            "path",
            "",
            Live,
            "PEM file of the certificate by which Weir shows who it is.",
        ),
        key("key", "path", "", Live, "PEM file of its private key."),
    ],
};
