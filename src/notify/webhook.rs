//! Tells by a POST, signed where a secret is given: as the Standard Webhooks have it, so that their
//! libraries verify it.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::letter::Letter;
use super::settings::{Confidential, Webhook};
use super::{Trouble, wire};
use crate::clock;
use crate::rollout::runbook::Url;
use crate::tls::Keyring;

/// What a secret begins with that is written in base64.
const BASE64_SECRET: &str = "whsec_";

pub(super) async fn send(
    hook: &Webhook,
    letter: &Letter,
    keyring: &Keyring,
) -> Result<(), Trouble> {
    let url = revealed(&hook.url)?;
    // What is wrong with it is not said: that would show it.
    let url: Url = url.parse().map_err(|_| Trouble::passing("the URL of the webhook is none"))?;
    let (body, kind) = hook.template.fill(letter);
    let mut headers = wire::content(kind);
    for (name, value) in &hook.headers {
        put(&mut headers, name, &revealed(value)?)?;
    }
    let now = clock::wall().millis() / 1_000;
    put(&mut headers, "webhook-id", &letter.id)?;
    put(&mut headers, "webhook-timestamp", &now.to_string())?;
    if let Some(secret) = &hook.secret {
        let signature = signature(&revealed(secret)?, &letter.id, now, &body)?;
        put(&mut headers, "webhook-signature", &signature)?;
    }
    let path = url.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let asked = wire::ask(&url, (Method::POST, path), headers, body, (&hook.tls, keyring)).await;
    let answer = asked.map_err(Trouble::passing)?;
    answer.is_done(url.host())
}

pub(super) fn revealed(secret: &Confidential) -> Result<String, Trouble> {
    secret.reveal().map_err(Trouble::passing)
}

pub(super) fn put(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), Trouble> {
    let wrong = || Trouble::passing(format!("the value of {name} cannot stand in a header"));
    let key = HeaderName::try_from(name).map_err(|_| wrong())?;
    let mut value = HeaderValue::try_from(value).map_err(|_| wrong())?;
    value.set_sensitive(true);
    headers.insert(key, value);
    Ok(())
}

/// HMAC-SHA256 of who, when and what.
fn signature(secret: &str, id: &str, now: u64, body: &str) -> Result<String, Trouble> {
    let key = match secret.strip_prefix(BASE64_SECRET) {
        Some(encoded) => STANDARD
            .decode(encoded)
            .map_err(|_| Trouble::passing("the secret begins with whsec_ and is no base64"))?,
        None => secret.as_bytes().to_vec(),
    };
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let tag = hmac::sign(&key, format!("{id}.{now}.{body}").as_bytes());
    Ok(format!("v1,{}", STANDARD.encode(tag.as_ref())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the Standard Webhooks' own libraries.
    #[test]
    fn a_signature_is_that_of_the_standard_webhooks() {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let body = r#"{"test": 2432232314}"#;
        let signed = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signed.unwrap(), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert!(signature("whsec_?", "a", 1, "").is_err());
    }
}
