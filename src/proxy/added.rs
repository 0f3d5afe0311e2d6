//! The fields that Weir adds to a request on its way to an upstream.
//!
//! They stand beside the map of those that came: to hash and insert each of them costs as much as
//! all else that is done to a head. What the client said under these names is gone by then.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::headers::{
    CACHE_NAMESPACE, FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PROTO, HOP, REQUEST_ID, WEIR_VERSION,
};

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// Which part of the caches is that of the version.
    CacheNamespace,
    /// Who the client is.
    ForwardedFor,
    /// The Host that the client asked for.
    ForwardedHost,
    /// Whether it came by HTTP or HTTPS.
    ForwardedProto,
    /// The instances of Weir that it passed.
    Hop,
    /// Its identifier.
    RequestId,
    /// The version it goes to.
    Version,
}

impl Own {
    const ALL: [Self; 7] = [
        Self::CacheNamespace,
        Self::ForwardedFor,
        Self::ForwardedHost,
        Self::ForwardedProto,
        Self::Hop,
        Self::RequestId,
        Self::Version,
    ];

    const fn name(self) -> HeaderName {
        match self {
            Self::CacheNamespace => CACHE_NAMESPACE,
            Self::ForwardedFor => FORWARDED_FOR,
            Self::ForwardedHost => FORWARDED_HOST,
            Self::ForwardedProto => FORWARDED_PROTO,
            Self::Hop => HOP,
            Self::RequestId => REQUEST_ID,
            Self::Version => WEIR_VERSION,
        }
    }

    /// How its line begins in a head of HTTP/1.1.
    const fn begins(self) -> &'static str {
        match self {
            Self::CacheNamespace => "x-weir-cache-namespace: ",
            Self::ForwardedFor => "x-forwarded-for: ",
            Self::ForwardedHost => "x-forwarded-host: ",
            Self::ForwardedProto => "x-forwarded-proto: ",
            Self::Hop => "x-weir-hop: ",
            Self::RequestId => "x-request-id: ",
            Self::Version => "x-weir-version: ",
        }
    }
}

/// Those that one request gets.
#[derive(Clone, Debug, Default)]
pub struct Added([Option<HeaderValue>; Own::ALL.len()]);

impl Added {
    /// Adds `field`, or changes what it says.
    pub fn set(&mut self, field: Own, value: HeaderValue) {
        self.0[field as usize] = Some(value);
    }

    /// What `field` says, where it is added.
    pub const fn of(&self, field: Own) -> Option<&HeaderValue> {
        self.0[field as usize].as_ref()
    }

    /// Each with how its line begins, as HTTP/1.1 has it.
    pub fn lines(&self) -> impl Iterator<Item = (&'static str, &HeaderValue)> {
        let line = |field: Own| self.of(field).map(|value| (field.begins(), value));
        Own::ALL.into_iter().filter_map(line)
    }

    /// Puts them into a map, in the place of what it says under their names.
    pub fn put_into(&self, headers: &mut HeaderMap) {
        for field in Own::ALL {
            if let Some(value) = self.of(field) {
                headers.insert(field.name(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_has_a_place_and_a_line_of_its_own() {
        for (place, field) in Own::ALL.into_iter().enumerate() {
            assert_eq!(field as usize, place);
            assert_eq!(field.begins(), format!("{}: ", field.name()));
        }
    }

    #[test]
    fn a_map_says_the_same_as_the_lines() {
        let mut added = Added::default();
        added.set(Own::Hop, HeaderValue::from_static("one"));
        added.set(Own::RequestId, HeaderValue::from_static("two"));
        let mut headers = HeaderMap::new();
        headers.insert(HOP, HeaderValue::from_static("old"));
        added.put_into(&mut headers);
        assert_eq!(
            (&headers[HOP], &headers[REQUEST_ID], headers.len()),
            (&HeaderValue::from_static("one"), &HeaderValue::from_static("two"), 2)
        );
        let lines: Vec<_> = added.lines().map(|(begins, _)| begins).collect();
        assert_eq!(lines, ["x-weir-hop: ", "x-request-id: "]);
    }
}
