//! Where a step asks by HTTP.

use std::fmt;
use std::str::FromStr;

use http::Uri;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// An `http://` or `https://` URL with a host and without a password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Url(Uri);

/// Why a text is no such URL.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum UrlError {
    /// A user or a password stands in it. What it is is not said.
    #[error(
        "the URL has a user or a password in it, which logs and the journal would show; put it in \
         a header: headers = {{ Authorization = \"env:NAME\" }}"
    )]
    Secret,
    /// It is none.
    #[error("{0:?} is no URL; write \"http://host:port/path\" or \"https://host/path\"")]
    Malformed(String),
}

impl Url {
    /// The URL, taken apart: scheme and authority are always there.
    pub const fn uri(&self) -> &Uri {
        &self.0
    }

    /// Whether TLS is spoken there.
    pub fn is_tls(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }

    /// Its host, without the brackets of IPv6.
    pub fn host(&self) -> &str {
        self.0.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
    }

    /// Its port, or that of its scheme.
    pub fn port(&self) -> u16 {
        self.0.port_u16().unwrap_or(if self.is_tls() { 443 } else { 80 })
    }
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
        if rest.split(['/', '?', '#']).next().is_some_and(|authority| authority.contains('@')) {
            return Err(UrlError::Secret);
        }
        let malformed = || UrlError::Malformed(text.chars().take(80).collect());
        let uri: Uri = text.parse().map_err(|_| malformed())?;
        let known = matches!(uri.scheme_str(), Some("http" | "https"));
        let host = uri.host().is_some_and(|host| !host.is_empty());
        if known && host { Ok(Self(uri)) } else { Err(malformed()) }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl TryFrom<String> for Url {
    type Error = UrlError;

    fn try_from(text: String) -> Result<Self, UrlError> {
        text.parse()
    }
}

impl From<Url> for String {
    fn from(url: Url) -> Self {
        url.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_host_and_no_password() {
        let url: Url = "https://[::1]:8443/hook?x=1".parse().unwrap();
        assert_eq!((url.host(), url.port(), url.is_tls()), ("::1", 8443, true));
        let url: Url = "http://app".parse().unwrap();
        assert_eq!((url.host(), url.port(), url.to_string()), ("app", 80, "http://app/".into()));
        for wrong in ["", "app", "/path", "ftp://app/", "http://", "http:///x", "https://a b/"] {
            assert!(matches!(wrong.parse::<Url>(), Err(UrlError::Malformed(_))), "{wrong}");
        }
        let error = "https://ada:hunter2@app/".parse::<Url>().unwrap_err();
        assert_eq!(error, UrlError::Secret);
        assert!(!error.to_string().contains("hunter2"));
    }
}
