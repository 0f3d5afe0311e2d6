//! `weir token`: who may give orders. Edits the file; a running program notices by itself.

use serde_json::json;

use super::verbs::Token;
use super::{find, print, words};

/// Carries out what was asked.
pub(super) fn token(token: Token) -> anyhow::Result<()> {
    match token {
        Token::Add { name, role, place } => {
            let secret = find::tokens(&place)?.add(&name, role)?;
            print::line(secret.reveal())?;
            print::note(&format!(
                "this is the token of {name} ({role}); it is shown this once and kept nowhere\n\
                 next: put it into a file that only its owner reads, and set WEIR_TOKEN_FILE to it"
            ));
            Ok(())
        }
        Token::List { json, place } => {
            let file = find::tokens(&place)?;
            let zone = find::zone(place.config.as_deref());
            for token in file.list()? {
                let (name, role) = (token.name.as_str(), token.role);
                print::line(&if json {
                    let created = token.created.millis();
                    json!({ "name": name, "role": role, "created": created }).to_string()
                } else {
                    format!("{name:<20}  {role:<8}  made {}", words::stamp(token.created, &zone))
                })?;
            }
            Ok(())
        }
        Token::Revoke { name, place } => {
            find::tokens(&place)?.revoke(&name)?;
            print::line(&format!("{name} is revoked; a running weir refuses it from now on"))
        }
    }
}
