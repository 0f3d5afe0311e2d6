//! What a client asks to change its connection to, and whether an answer grants it.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{HeaderMap, HeaderValue};

/// What a server of web sockets adds to the key before it takes the digest (RFC 6455, section
/// 1.3).
const ACCEPT_SALT: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What a client asks for.
#[derive(Debug)]
pub struct Wish {
    protocols: Vec<HeaderValue>,
    /// The key of a WebSocket: who has not read it has not agreed to one.
    key: Option<HeaderValue>,
}

impl Wish {
    /// What a request with `headers` asks for.
    pub fn of(headers: &HeaderMap) -> Self {
        let protocols = headers.get_all(UPGRADE).iter().cloned().collect();
        Self { protocols, key: headers.get(SEC_WEBSOCKET_KEY).cloned() }
    }

    /// Whether it is a WebSocket and nothing else.
    pub fn is_web_socket(&self) -> bool {
        let mut all = self.protocols.iter().flat_map(protocols);
        let socket = |protocol: &[u8]| protocol.eq_ignore_ascii_case(b"websocket");
        all.next().is_some_and(socket) && all.all(socket)
    }

    /// Makes of the `headers` of a tunnel through HTTP/2 those of the answer that HTTP/1.1 has, where
    /// there are a key and an answer to it.
    pub fn accept(&self, headers: &mut HeaderMap) {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.remove(SEC_WEBSOCKET_ACCEPT);
        let accept = self.key.as_ref().map(|key| HeaderValue::try_from(answer(key.as_bytes())));
        if let Some(Ok(accept)) = accept {
            headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        }
    }

    /// Whether the answer that changes protocol, with `headers`, changes to what was asked for (RFC
    /// 9110, section 7.8), and to a WebSocket by its key (RFC 6455, section 4.1).
    pub fn is_granted(&self, headers: &HeaderMap) -> bool {
        let granted: Vec<&[u8]> = headers.get_all(UPGRADE).iter().flat_map(protocols).collect();
        let asked = |protocol: &&[u8]| {
            let mut all = self.protocols.iter().flat_map(protocols);
            all.any(|one| one.eq_ignore_ascii_case(protocol))
        };
        if granted.is_empty() || !granted.iter().all(asked) {
            return false;
        }
        let socket = granted.iter().any(|one| one.eq_ignore_ascii_case(b"websocket"));
        let mut accepts = headers.get_all(SEC_WEBSOCKET_ACCEPT).iter();
        let accept = accepts.next().filter(|_| accepts.next().is_none());
        let has_read = |key: &HeaderValue| {
            accept.is_some_and(|accept| accept.as_bytes() == answer(key.as_bytes()).as_bytes())
        };
        !socket || self.key.as_ref().is_none_or(has_read)
    }
}

fn protocols(line: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    let parts = line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    parts.filter(|part| !part.is_empty())
}

/// What a server answers to `key`.
fn answer(key: &[u8]) -> String {
    let salted = [key, ACCEPT_SALT].concat();
    STANDARD.encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &salted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::headers::map;

    fn granted(asked: &'static str, answered: &[(&'static str, &'static str)]) -> bool {
        Wish::of(&map(&[("upgrade", asked)])).is_granted(&map(answered))
    }

    #[test]
    fn only_what_was_asked_for_is_granted() {
        assert!(granted("x/2, y", &[("upgrade", "Y")]));
        assert!(granted("x/2, y", &[("upgrade", "x/2"), ("upgrade", "y")]));
        assert!(!granted("x/2, y", &[("upgrade", "x")]));
        assert!(!granted("x/2, y", &[("upgrade", "y, z")]));
        assert!(!granted("x", &[("upgrade", "")]) && !granted("x", &[]));
    }

    #[test]
    fn only_who_has_read_the_key_agrees_to_a_web_socket() {
        // The example of RFC 6455, section 1.3.
        let (key, accept) = ("dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let wish = Wish::of(&map(&[("upgrade", "websocket"), ("sec-websocket-key", key)]));
        let answer = |accepts: &[&'static str]| {
            let mut lines = vec![("upgrade", "WebSocket")];
            lines.extend(accepts.iter().map(|accept| ("sec-websocket-accept", *accept)));
            wish.is_granted(&map(&lines))
        };
        assert!(answer(&[accept]));
        assert!(!answer(&["s3pPLMBiTxaQ9kYGzzhZRbK+xOO="]));
        assert!(!answer(&[]) && !answer(&[accept, accept]));
        assert!(!wish.is_granted(&map(&[("upgrade", "other"), ("sec-websocket-accept", accept)])));
    }
}
