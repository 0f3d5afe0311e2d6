//! A browser's cookies, as far as tests need them (RFC 6265bis, section 5).

use std::collections::BTreeMap;

/// Bytes of a cookie's name and value that a browser takes.
const BYTES_MAX: usize = 4_096;

/// The cookies of one site; none has a path of its own.
#[derive(Clone, Debug, Default)]
pub struct Jar(BTreeMap<String, Cookie>);

/// A cookie.
#[derive(Clone, Debug)]
pub struct Cookie {
    /// Its value.
    pub value: String,
    /// All that was said behind it.
    pub attributes: String,
}

impl Jar {
    /// Takes what an answer with `head` sets. A cookie with a prefix that it has no right to is
    /// refused.
    pub fn take(&mut self, head: &str) {
        for line in head.lines().filter_map(|line| line.split_once(':')) {
            if line.0.eq_ignore_ascii_case("set-cookie") {
                self.set(line.1.trim());
            }
        }
    }

    fn set(&mut self, line: &str) {
        let (pair, attributes) = line.split_once(';').unwrap_or((line, ""));
        let (name, value) = pair.split_once('=').expect("a name");
        let parts: Vec<String> =
            attributes.split(';').map(|part| part.trim().to_lowercase()).collect();
        let has = |part: &str| parts.iter().any(|other| other == part);
        let host = name.starts_with("__Host-");
        if (host || name.starts_with("__Secure-")) && !has("secure")
            || host && (!has("path=/") || parts.iter().any(|part| part.starts_with("domain")))
        {
            return;
        }
        assert!(name.len() + value.len() <= BYTES_MAX, "a browser would refuse {name}");
        // Max-Age goes before Expires.
        let age = parts.iter().find_map(|part| part.strip_prefix("max-age="));
        let past = parts.iter().any(|part| part.starts_with("expires=") && part.contains("1970"));
        if age.map_or(past, |age| age == "0") {
            self.0.remove(name);
        } else {
            let (value, attributes) = (value.to_owned(), attributes.trim().to_owned());
            self.0.insert(name.to_owned(), Cookie { value, attributes });
        }
    }

    /// The cookie `name`.
    pub fn get(&self, name: &str) -> Option<&Cookie> {
        self.0.get(name)
    }

    /// The names of all.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// `name=value` of all.
    pub fn pairs(&self) -> Vec<String> {
        self.0.iter().map(|(name, cookie)| format!("{name}={}", cookie.value)).collect()
    }

    /// The header line that sends them, if there are any.
    pub fn line(&self) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        format!("cookie: {}\r\n", self.pairs().join("; "))
    }
}
