//! One order: an account, a proof that the name is ours, a certificate.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, CertificateIdentifier, ChallengeHandle,
    ChallengeType, Error, Identifier, NewAccount, NewOrder, Order, OrderStatus, Problem,
    RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use thiserror::Error as ThisError;
use tokio::time::timeout;

use super::folder::KeptAccount;
use super::http::Client;
use super::{Challenge, Settings, parsed};
use crate::tls::{Keyring, TlsError};
use crate::traffic::{Certificate, ClientTls};

/// How often the authority is asked how it stands with an order.
const POLL: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(500))
    .backoff(1.5)
    .timeout(Duration::from_mins(2));

/// How long the authority is not told for want of a process before this one that follows: that answers
/// within half a second, or is lost.
const FOLLOWED_MAX: Duration = Duration::from_secs(2);

/// Why there is no certificate, said so that a person knows what to do.
#[derive(Debug, ThisError)]
pub enum Trouble {
    /// The authority cannot be asked or does not want to.
    #[error("{0}")]
    Authority(String),
    /// The authority does not believe that the name is ours.
    #[error("{0}")]
    Unproven(String),
    /// The account is not known any more.
    #[error("the authority has forgotten the account; a new one is made")]
    NoAccount,
    /// What came is no certificate for the name.
    #[error("what the authority sent for it is of no use: {0}")]
    Unusable(String),
    /// It cannot be kept.
    #[error("the folder of the certificates cannot be written: {0}; set `folder` in [acme]")]
    Folder(#[from] io::Error),
    /// Roots or keys.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// It took too long as a whole.
    #[error("the authority took too long; it is asked again later")]
    Late,
}

/// A certificate, and the same as it is kept.
pub struct Ordered {
    /// For handshakes.
    pub certificate: Arc<Certificate>,
    /// The chain and its key in PEM.
    pub pem: String,
}

/// The account that was kept, or a new one; with what is to be kept if that changed.
pub async fn account(
    keyring: &Keyring,
    settings: &Settings,
    kept: Option<KeptAccount>,
) -> Result<(Account, Option<KeptAccount>), Trouble> {
    let trust = ClientTls { trust: settings.trust.clone(), ..ClientTls::default() };
    let client = Client::new(keyring.client(&trust, &[b"http/1.1"])?);
    let builder = Account::builder_with_http(Box::new(client));
    let contact = settings.contact.as_ref().map(|address| format!("mailto:{address}"));
    let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
    let failed = |error: Error| trouble(&error, "the account");
    let Some(kept) = kept else {
        let new = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let made = builder.create(&new, settings.directory.clone(), None).await.map_err(failed)?;
        return Ok((made.0, Some(to_keep(settings, made.1))));
    };
    let same = kept.contact == settings.contact;
    let again = copy(&kept.credentials)?;
    let account = builder.from_credentials(kept.credentials).await.map_err(failed)?;
    if same {
        return Ok((account, None));
    }
    account.update_contacts(&contact).await.map_err(failed)?;
    Ok((account, Some(to_keep(settings, again))))
}

fn to_keep(settings: &Settings, credentials: AccountCredentials) -> KeptAccount {
    KeptAccount { contact: settings.contact.clone(), credentials }
}

fn copy(credentials: &AccountCredentials) -> Result<AccountCredentials, io::Error> {
    Ok(serde_json::from_value(serde_json::to_value(credentials)?)?)
}

/// Orders a certificate for `name`, proving by `challenge` that it is ours; `replaces` is the one
/// it is to follow, if the authority wants to know (RFC 9773, section 5).
pub async fn certificate(
    keyring: &Arc<Keyring>,
    account: &Account,
    name: &str,
    challenge: Challenge,
    replaces: Option<CertificateIdentifier<'_>>,
) -> Result<Ordered, Trouble> {
    let failed = |error: Error| trouble(&error, name);
    let identifiers = [Identifier::Dns(name.to_owned())];
    let wanted = NewOrder::new(&identifiers);
    let wanted = match replaces {
        Some(replaces) => wanted.replaces(replaces),
        None => wanted,
    };
    let mut order = account.new_order(&wanted).await.map_err(failed)?;
    let _proofs = prove(keyring, &mut order, name, challenge).await?;
    match order.poll_ready(&POLL).await {
        Ok(OrderStatus::Ready) => {}
        Ok(_) => return Err(disbelief(&mut order, name, challenge, None).await),
        Err(error) => return Err(disbelief(&mut order, name, challenge, Some(error)).await),
    }
    let key = order.finalize().await.map_err(failed)?;
    let chain = order.poll_certificate(&POLL).await.map_err(failed)?;
    let pem = format!("{key}{chain}");
    let certificate = parsed(&pem, name).map_err(Trouble::Unusable)?;
    Ok(Ordered { certificate, pem })
}

/// Offers what the authority will look for, and has it look.
async fn prove(
    keyring: &Arc<Keyring>,
    order: &mut Order,
    name: &str,
    challenge: Challenge,
) -> Result<Vec<Proof>, Trouble> {
    let failed = |error: Error| trouble(&error, name);
    let mut proofs = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(failed)?;
        match authorization.status {
            // Proven by an earlier order.
            AuthorizationStatus::Valid => continue,
            AuthorizationStatus::Pending => {}
            AuthorizationStatus::Invalid
            | AuthorizationStatus::Revoked
            | AuthorizationStatus::Expired
            | AuthorizationStatus::Deactivated => {
                let what = format!("the authority has given up on {name}; it is asked anew");
                return Err(Trouble::Unproven(what));
            }
        }
        let kind = match challenge {
            Challenge::Http01 => ChallengeType::Http01,
            Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
        };
        let Some(mut asked) = authorization.challenge(kind) else {
            let what = format!("the authority does not offer {} for {name}", challenge.name());
            return Err(Trouble::Unproven(what));
        };
        proofs.push(Proof::offer(keyring, name, challenge, &asked)?);
        if challenge == Challenge::Http01
            && timeout(FOLLOWED_MAX, keyring.is_answered_by_all(&asked.token)).await.is_err()
        {
            tracing::warn!(name, "the weir before does not answer for it; the authority is told");
        }
        asked.set_ready().await.map_err(failed)?;
    }
    Ok(proofs)
}

/// What an authority looks for; it is taken back when this is dropped.
struct Proof {
    keyring: Arc<Keyring>,
    offered: Offered,
}

enum Offered {
    Page { token: String },
    Certificate { name: String },
}

impl Proof {
    fn offer(
        keyring: &Arc<Keyring>,
        name: &str,
        challenge: Challenge,
        asked: &ChallengeHandle<'_>,
    ) -> Result<Self, Trouble> {
        let answer = asked.key_authorization();
        let offered = match challenge {
            Challenge::Http01 => {
                keyring.answer_with(&asked.token, Some(answer.as_str()));
                Offered::Page { token: asked.token.clone() }
            }
            Challenge::TlsAlpn01 => {
                let certified = self_signed(keyring, name, answer.digest().as_ref())?;
                keyring.prove(name, Some(Arc::new(certified)));
                Offered::Certificate { name: name.to_owned() }
            }
        };
        Ok(Self { keyring: Arc::clone(keyring), offered })
    }
}

impl Drop for Proof {
    fn drop(&mut self) {
        match &self.offered {
            Offered::Page { token } => self.keyring.answer_with(token, None),
            Offered::Certificate { name } => self.keyring.prove(name, None),
        }
    }
}

/// The certificate of RFC 8737, section 3: for `name`, with the answer in an extension.
fn self_signed(keyring: &Keyring, name: &str, digest: &[u8]) -> Result<CertifiedKey, Trouble> {
    let wrong = |error: rcgen::Error| Trouble::Unproven(format!("no proof for {name}: {error}"));
    let mut params = CertificateParams::new(vec![name.to_owned()]).map_err(wrong)?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate().map_err(wrong)?;
    let certificate = params.self_signed(&key).map_err(wrong)?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key = keyring.provider.key_provider.load_private_key(key).map_err(TlsError::from)?;
    // Not `from_der`: it looks for extensions it does not know, and the answer is a critical one.
    Ok(CertifiedKey::new(vec![CertificateDer::from(certificate.der().to_vec())], key))
}

/// Why the authority does not believe: what it says of its look, which is more than it says of the
/// order.
async fn disbelief(
    order: &mut Order,
    name: &str,
    challenge: Challenge,
    error: Option<Error>,
) -> Trouble {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if authorization.refresh().await.is_err() {
            continue;
        }
        let problem = authorization.challenges.iter().find_map(|asked| asked.error.as_ref());
        if let Some(problem) = problem {
            return unproven(problem, name, challenge);
        }
    }
    match error {
        Some(error) => trouble(&error, name),
        None => Trouble::Unproven(format!("the authority does not believe that {name} is ours")),
    }
}

/// The kind of a problem without what all kinds begin with (RFC 8555, section 6.7).
fn kind(problem: &Problem) -> &str {
    let kind = problem.r#type.as_deref().unwrap_or_default();
    kind.strip_prefix("urn:ietf:params:acme:error:").unwrap_or(kind)
}

fn unproven(problem: &Problem, name: &str, challenge: Challenge) -> Trouble {
    let detail = problem.detail.as_deref().unwrap_or("no detail").trim_end_matches('.');
    let port = match challenge {
        Challenge::Http01 => 80,
        Challenge::TlsAlpn01 => 443,
    };
    let todo = match kind(problem) {
        "dns" => format!("does the DNS record of {name} lead here?"),
        "caa" => format!("the CAA record of {name} names other authorities; add this one"),
        "connection" => format!("is port {port} of {name} open to the world, and Weir behind it?"),
        _ => format!("does {name} lead here, to port {port} of this machine?"),
    };
    Trouble::Unproven(format!("{name} is not proven by {}: {detail}; {todo}", challenge.name()))
}

#[allow(clippy::wildcard_enum_match_arm, reason = "errors are the library's, and may grow")]
fn trouble(error: &Error, name: &str) -> Trouble {
    let problem = match error {
        Error::Api(problem) => problem,
        Error::Timeout(_) => return Trouble::Late,
        Error::Other(other) => return Trouble::Authority(other.to_string()),
        Error::Json(_) => {
            let what = "the authority does not answer as ACME has it; is `directory` right?";
            return Trouble::Authority(what.to_owned());
        }
        other => return Trouble::Authority(format!("the authority is of no help: {other}")),
    };
    let detail = problem.detail.as_deref().unwrap_or("no detail").trim_end_matches('.');
    match kind(problem) {
        "accountDoesNotExist" => Trouble::NoAccount,
        "rateLimited" => Trouble::Authority(format!("the authority has enough of us: {detail}")),
        "externalAccountRequired" => Trouble::Authority(
            "the authority wants an account made with it beforehand, which Weir cannot use; \
             choose another"
                .to_owned(),
        ),
        _ => Trouble::Authority(format!("the authority refuses {name}: {detail}")),
    }
}
