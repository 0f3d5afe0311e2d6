//! Reads `[tier.preview]`: the secret by which testers choose a release. Nothing here shows it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use http::header::HeaderName;

use super::program::path;
use super::section::Section;
use super::values::{Mistake, quoted};
use crate::traffic::affinity::OWN_COOKIE;
use crate::traffic::{Preview, TokenBytes};

/// Shortest secret, in bytes: 128 bits if each is drawn at random.
const SECRET_BYTES_MIN: usize = 16;

/// Longest secret, in bytes.
const SECRET_BYTES_MAX: usize = 256;

/// Headers that HTTP itself or the app needs, and that therefore cannot carry the secret.
const TAKEN_HEADERS: &[&str] = &[
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "host",
    "transfer-encoding",
];

/// Reads the section; none where it is absent or wrong.
pub(super) fn read(mut section: Section<'_>, base: &Path) -> Option<Preview> {
    let header = section
        .text("header", "write text: \"x-preview\"", |text| header_name(text, TAKEN_HEADERS))
        .map(|at| at.value);
    let cookie = section
        .text("cookie", "write text: \"preview\"", |text| cookie_name(text, OWN_COOKIE))
        .map(|at| at.value);
    let secret = section.hidden("secret", checked);
    let from_file = section.text("secret_file", "write a path", |text| {
        let file = base.join(path(text)?);
        read_file(&file).and_then(|text| checked(text.trim_ascii()))
    });
    let named = section.key_span("header").is_some() || section.key_span("cookie").is_some();
    match (section.key_span("secret"), section.key_span("secret_file")) {
        (Some(secret), Some(file)) => {
            let mistake = Mistake::new("the secret is said twice", "keep one of the two");
            section.conflict(
                "secret_file",
                file,
                mistake,
                vec![(secret, "said here too".to_owned())],
            );
        }
        (None, None) => section.need(
            "secret",
            "secret = \"...\" of 16 bytes or more, or secret_file = \"preview.secret\"",
        ),
        _ => {}
    }
    if !named {
        section.need("header", "header = \"x-preview\" or cookie = \"preview\"");
    }
    section.finish();
    let secret = secret.or(from_file)?.value;
    (header.is_some() || cookie.is_some()).then_some(Preview { header, cookie, secret })
}

fn read_file(file: &Path) -> Result<String, Mistake> {
    let mut text = String::new();
    let limit = 4 * SECRET_BYTES_MAX as u64;
    let read = File::open(file).and_then(|file| file.take(limit).read_to_string(&mut text));
    match read {
        Ok(_) => Ok(text),
        Err(error) => {
            let message = format!("{} cannot be read: {error}", file.display());
            Err(Mistake::new(message, "the file holds the secret and nothing else"))
        }
    }
}

/// The secret, if it is long enough and fits into a header and a cookie.
fn checked(text: impl AsRef<[u8]>) -> Result<TokenBytes, Mistake> {
    let bytes = text.as_ref();
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.as_bytes().iter().all(fits));
    let Some(text) = text else {
        let help = "use letters, digits and -._~+/= (`openssl rand -hex 16` makes one)";
        return Err(Mistake::new(
            "the secret has other characters than headers and cookies may carry",
            help,
        ));
    };
    if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&text.len()) {
        let help = format!(
            "use {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} (`openssl rand -hex 16` makes one)"
        );
        return Err(Mistake::new(format!("the secret has {} bytes", text.len()), help));
    }
    Ok(TokenBytes::new(text))
}

/// The name of a header, lower case, none of `taken`.
pub(super) fn header_name(text: &str, taken: &[&str]) -> Result<String, Mistake> {
    let name = HeaderName::from_bytes(text.as_bytes()).map_err(|_| {
        let help = "write the name of a header: \"x-preview\"";
        Mistake::new(format!("{} is no header name", quoted(text)), help)
    })?;
    if taken.contains(&name.as_str()) || name.as_str().starts_with("x-weir-") {
        let help = "choose a header of your own";
        return Err(Mistake::new(format!("{name} has another use"), help));
    }
    Ok(name.as_str().to_owned())
}

/// The name of a cookie (RFC 6265: a token) that is not `taken`.
pub(super) fn cookie_name(text: &str, taken: &str) -> Result<String, Mistake> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.is_empty() || text.len() > 128 || !text.bytes().all(fits) {
        let help = "write the name of a cookie: letters, digits, - and _";
        return Err(Mistake::new(format!("{} is no cookie name", quoted(text)), help));
    }
    if text == taken {
        let help = "it is the default: sticky = \"cookie\"; for others choose another name";
        return Err(Mistake::new(format!("{} is Weir's own cookie", quoted(text)), help));
    }
    Ok(text.to_owned())
}
