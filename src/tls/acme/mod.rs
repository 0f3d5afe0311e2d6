//! Certificates ordered from an authority and renewed in time (ACME, RFC 8555), one a name: a name
//! that fails takes no other along.
//!
//! One task beside the traffic. What it gets lies in a folder, so that a restart serves at once;
//! what fails is tried again ever more seldom, across restarts too, since authorities lock out
//! whoever hammers at them.

mod folder;
mod http;
mod keeper;
mod order;
mod schedule;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::timeout;

use super::{CertificateError, Keyring, Standing, certificate};
use crate::clock;
use crate::traffic::{Certificate, Trust};
use folder::Folder;
use keeper::Keeper;

/// The authority that is asked where the file names none.
pub const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// Longest pause between two looks at what is due: a wall clock may jump.
const LOOK: Duration = Duration::from_mins(10);

/// How an authority is shown that a name is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Challenge {
    /// By a page on port 80 (RFC 8555, section 8.3).
    #[serde(rename = "http-01")]
    Http01,
    /// By a certificate on port 443 (RFC 8737).
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
}

impl Challenge {
    /// Its name in the protocol.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
        }
    }
}

/// From whom certificates are ordered, and for which names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The address of the authority's directory, `https://...`.
    pub directory: String,
    /// Whom the authority may write to: an e-mail address.
    pub contact: Option<String>,
    /// Whose signature under the authority's own certificate is believed.
    pub trust: Trust,
    /// Where accounts and certificates are kept.
    pub folder: PathBuf,
    /// How names are proven; none: whichever works.
    pub challenge: Option<Challenge>,
    /// The names, lower case.
    pub names: Vec<String>,
}

impl Settings {
    fn folder(&self) -> Folder {
        Folder::new(&self.folder, &self.directory)
    }
}

/// Has `keyring` serve what was kept for the names of `settings`, before anybody asks for it, and
/// forget names that are not among them. Reads files.
pub fn restore(keyring: &Keyring, settings: Option<&Settings>) {
    let names = settings.map_or(&[][..], |settings| &settings.names);
    keyring.follow(names);
    let Some(folder) = settings.map(Settings::folder) else { return };
    for name in names {
        if let Some(certificate) = kept(&folder, name)
            && let Err(error) = keyring.issue(name, certificate)
        {
            tracing::warn!(name, "{} {error}", folder.path(name).display());
        }
    }
}

/// The certificate that was kept for `name`, if there is one that can be used.
fn kept(folder: &Folder, name: &str) -> Option<Arc<Certificate>> {
    let read = folder.certificate(name).map_err(|error| error.to_string());
    let parsed = read.and_then(|pem| pem.map(|pem| parsed(&pem, name)).transpose());
    parsed.unwrap_or_else(|error| {
        tracing::warn!(name, "{} is of no use: {error}", folder.path(name).display());
        None
    })
}

/// How it stands with the certificate for `name`, as far as the folder says, for people who look
/// while no Weir may be running. Reads files.
///
/// # Errors
/// The folder cannot be read, or what is in it cannot be used; as a sentence.
pub fn look(settings: &Settings, name: &str) -> Result<Standing, String> {
    let folder = settings.folder();
    let of_file = |error: String| format!("{}: {error}", folder.path(name).display());
    let read = folder.certificate(name).map_err(|error| of_file(error.to_string()))?;
    let certificate = read.map(|pem| parsed(&pem, name)).transpose().map_err(of_file)?;
    let record = folder.record(name);
    let next = record.tried.plus(schedule::retry(record.failures));
    Ok(Standing {
        name: name.to_owned(),
        acme: true,
        not_after: certificate.as_ref().map(|kept| kept.not_after),
        expires_soon: certificate.as_ref().map(|kept| kept.expires_soon()),
        next: record.trouble.is_some().then_some(next),
        trouble: record.trouble,
    })
}

/// A chain and its key, both in `pem`, that are for `name`.
fn parsed(pem: &str, name: &str) -> Result<Arc<Certificate>, String> {
    let read =
        || certificate(certificate::chain(pem.as_bytes())?, certificate::key(pem.as_bytes())?);
    let read = read().map_err(|error: CertificateError| format!("it {error}"))?;
    if read.names.iter().any(|other| other == name) {
        Ok(Arc::new(read))
    } else {
        Err(format!("it is for {}, not for {name}", read.names.join(", ")))
    }
}

/// Orders and renews certificates while somebody holds the other end of `settings`. A change of
/// them, even one to the same, has what failed tried again.
pub async fn keep(keyring: Arc<Keyring>, mut settings: watch::Receiver<Option<Settings>>) {
    let mut keeper: Option<Keeper> = None;
    loop {
        let wanted = settings.borrow_and_update().clone();
        let wanted = wanted.filter(|settings| !settings.names.is_empty());
        match (&mut keeper, wanted) {
            (Some(same), Some(wanted)) if *same.settings() == wanted => same.hurry(clock::wall()),
            (_, wanted) => {
                keeper = wanted.map(|settings| Keeper::new(&keyring, settings, clock::wall()));
            }
        }
        loop {
            let pause = match &mut keeper {
                None => LOOK,
                Some(keeper) => keeper.work().await.min(LOOK),
            };
            match timeout(pause, settings.changed()).await {
                Ok(Ok(())) => break,
                Ok(Err(_)) => return,
                Err(_) => {}
            }
        }
    }
}
