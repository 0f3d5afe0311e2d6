//! Reads what concerns TLS: the certificates of a listener, whom to believe of upstreams, `[acme]`.
//! Files are read and looked through here, so that a wrong one is said with its line in the file.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::Uri;
use http::uri::Scheme;

use super::diagnostic::{Code, Level};
use super::keys;
use super::program::path;
use super::reader::Reader;
use super::section::{At, Section};
use super::values::{Mistake, quoted};
use crate::clock;
use crate::time::in_words;
use crate::tls::acme::{Challenge, LETS_ENCRYPT};
use crate::tls::{self, CertificateError, day};
use crate::traffic::{Certificate, ClientTls, ServerTls, TlsVersion, Trust};

/// Certificates of one listener.
const CERTIFICATES_MAX: usize = 256;

/// Names of one listener that are ordered: an authority has limits of the same order.
const NAMES_MAX: usize = 100;

/// Longest file of certificates or of a key, in bytes.
const PEM_BYTES_MAX: u64 = 1 << 20;

/// What the file says of the authority that issues certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeConfig {
    /// The address of its directory.
    pub directory: String,
    /// Whom it may write to.
    pub contact: Option<String>,
    /// Whose signature under its own certificate is believed.
    pub trust: Trust,
    /// Where accounts and certificates are kept; none: beside the journal.
    pub folder: Option<PathBuf>,
    /// How names are proven; none: whichever works.
    pub challenge: Option<Challenge>,
}

/// How a listener speaks TLS, and where it says for which names certificates are ordered.
pub(super) struct ServerDraft {
    pub(super) tls: Arc<ServerTls>,
    pub(super) acme: Option<Range<usize>>,
    pub(super) path: String,
}

/// Reads `tls` of a listener; none where it is absent.
pub(super) fn server(listener: &mut Section<'_>, base: &Path) -> Option<ServerDraft> {
    let mut section = listener.table("tls", &keys::LISTENER_TLS);
    if !section.is_there() {
        section.finish();
        return None;
    }
    let sections = section.tables("certificates", CERTIFICATES_MAX, &keys::CERTIFICATE);
    let certificates: Vec<_> =
        sections.into_iter().filter_map(|inner| certificate(inner, base)).collect();
    let example = "[\"shop.example.org\"]";
    let names = section.list("acme", NAMES_MAX, example, acme_name).unwrap_or_default();
    let mut min_version = TlsVersion::default();
    let versions = [TlsVersion::Tls12, TlsVersion::Tls13].map(|version| (version.name(), version));
    section.word("min_version", &versions, &mut min_version);
    let written = |key| section.key_span(key).is_some() && !section.is_empty_list(key);
    if !written("certificates") && !written("acme") {
        let mistake = Mistake::new(
            "`tls` has no certificate",
            "add certificates = [{ chain = \"web.pem\", key = \"web.key\" }] or acme = [\"shop.example.org\"]",
        );
        section.wrong("", section.span.clone(), mistake);
    }
    let acme = section.key_span("acme").filter(|_| !names.is_empty());
    let path = section.path_of("acme");
    section.finish();
    let mut acme_names: Vec<String> = names.into_iter().map(|at| at.value).collect();
    acme_names.dedup();
    let tls = ServerTls { certificates, acme: acme_names, min_version };
    Some(ServerDraft { tls: Arc::new(tls), acme, path })
}

/// Reads `chain` and `key` of a certificate.
fn certificate(mut section: Section<'_>, base: &Path) -> Option<Arc<Certificate>> {
    section.need("chain", "chain = \"web.pem\", the certificate and those that signed it");
    section.need("key", "key = \"web.key\"");
    let read = pair(&mut section, base);
    section.finish();
    read
}

/// Reads the two files of a certificate, if both are named and belong together.
fn pair(section: &mut Section<'_>, base: &Path) -> Option<Arc<Certificate>> {
    let chain = pem(section, "chain", base, tls::chain);
    let key = pem(section, "key", base, tls::key);
    if let Some((at, file)) = &key {
        open_to_all(section, at, file);
    }
    let ((chain, chain_file), (key, key_file)) = (chain?, key?);
    match tls::certificate(chain.value, key.value) {
        Ok(certificate) => {
            order(section, &chain.span, &chain_file, &certificate);
            dates(section, &chain.span, &chain_file, &certificate);
            Some(Arc::new(certificate))
        }
        Err(error @ CertificateError::Mismatch) => {
            section.wrong("key", key.span, of_file(&key_file, &error));
            None
        }
        Err(error) => {
            section.wrong("chain", chain.span, of_file(&chain_file, &error));
            None
        }
    }
}

/// Reads the file that `key` names with `parse`.
fn pem<T>(
    section: &mut Section<'_>,
    key: &'static str,
    base: &Path,
    parse: impl FnOnce(&[u8]) -> Result<T, CertificateError>,
) -> Option<(At<T>, PathBuf)> {
    let read = section.text(key, "write the path of a file", |text| {
        let file = base.join(path(text)?);
        let bytes = read_file(&file)?;
        let parsed = parse(&bytes).map_err(|error| of_file(&file, &error))?;
        Ok((parsed, file))
    })?;
    let (value, file) = read.value;
    Some((At { value, span: read.span }, file))
}

fn read_file(file: &Path) -> Result<Vec<u8>, Mistake> {
    let mut bytes = Vec::new();
    let read = File::open(file).and_then(|file| file.take(PEM_BYTES_MAX).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(bytes),
        Err(error) => {
            let message = format!("{} cannot be read: {error}", file.display());
            Err(Mistake::new(
                message,
                "is the path right, and may the user that runs Weir read it?",
            ))
        }
    }
}

/// What is wrong with a file, parted where its error says what to do.
fn of_file(file: &Path, error: &CertificateError) -> Mistake {
    let text = error.to_string();
    let (message, help) = text.split_once("; ").unwrap_or((&text, "write it anew"));
    Mistake::new(format!("{} {message}", file.display()), help)
}

fn open_to_all(section: &Section<'_>, at: &At<crate::traffic::PrivateKey>, file: &Path) {
    let mode = std::fs::metadata(file).map(|found| found.permissions().mode() & 0o777);
    if let Ok(mode) = mode
        && mode & 0o004 != 0
    {
        let message =
            format!("{} can be read by everybody on this machine ({mode:04o})", file.display());
        let help = "whoever reads it can be the server: chmod 600";
        section.remark("key", at.span.clone(), Mistake::new(message, help));
    }
}

/// Warns of a chain through which some clients do not find their way.
fn order(section: &Section<'_>, span: &Range<usize>, file: &Path, certificate: &Certificate) {
    let Some(number) = tls::misplaced(&certificate.chain) else { return };
    let message =
        format!("certificate {number} in {} did not sign the one before it", file.display());
    let help = "some clients need them in order: the server's own first, then each one's signer";
    section.remark("chain", span.clone(), Mistake::new(message, help));
}

/// Warns of a certificate that clients refuse, or soon will. It is not refused here: a restart at
/// night must not make of one certificate that has expired an outage of everything.
fn dates(section: &Section<'_>, span: &Range<usize>, file: &Path, certificate: &Certificate) {
    let (now, file) = (clock::wall(), file.display());
    let (from, until) = (certificate.not_before, certificate.not_after);
    let mistake = if until <= now {
        Mistake::new(
            format!("{file} expired on {}", day(until)),
            "clients refuse it; renew it and reload",
        )
    } else if from > now {
        Mistake::new(
            format!("{file} is valid from {} on", day(from)),
            "clients refuse it until then; is the clock of this machine right?",
        )
    } else if now >= certificate.expires_soon() {
        Mistake::new(
            format!("{file} expires in {}", in_words(until.since(now))),
            "renew it and reload",
        )
    } else {
        return;
    };
    section.remark("chain", span.clone(), mistake);
}

/// A name for which an authority issues certificates.
fn acme_name(text: &str) -> Result<String, Mistake> {
    let wrong = |what: &str, help: &str| Mistake::new(format!("{} {what}", quoted(text)), help);
    if text.starts_with("*.") {
        let help = "a wildcard needs a proof by DNS, which Weir cannot give; list each name, or \
                    have certbot get it and use `certificates`";
        return Err(wrong("is a wildcard", help));
    }
    let label = |label: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        (1..=63).contains(&label.len())
            && label.bytes().all(fits)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let numeric = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if text.len() > 253 || numeric || !text.contains('.') || !text.split('.').all(label) {
        let help = "write a host name that is known in the DNS: \"shop.example.org\"";
        return Err(wrong("is no name an authority knows", help));
    }
    Ok(text.to_ascii_lowercase())
}

/// How upstreams are spoken to; none where all of them are spoken to as they are.
pub(super) fn client(
    around: &mut Section<'_>,
    (encrypted, help): (bool, &str),
    base: &Path,
) -> Option<Arc<ClientTls>> {
    let mut section = around.table("tls", &keys::RELEASE_TLS);
    let named = ["upstream", "upstreams"].iter().any(|key| around.key_span(key).is_some());
    if section.is_there() && !encrypted && named {
        let mistake = Mistake::new("`tls` is for upstreams that speak TLS", help);
        section.wrong("", section.span.clone(), mistake);
    }
    let name = section.text("name", "write text: \"app.internal\"", server_name);
    let ca = pem(&mut section, "ca", base, tls::authorities);
    let mut verify = true;
    section.flag("verify", &mut verify);
    if let Some(span) = section.key_span("verify").filter(|_| !verify) {
        let mistake = Mistake::new(
            "nobody knows who answers when the certificate is not verified",
            "name who signed it instead: ca = \"ca.pem\"; a certificate that signed itself, too",
        );
        section.remark("verify", span, mistake);
    }
    if let (Some((at, _)), false) = (&ca, verify) {
        let mistake = Mistake::new("`ca` has no use without `verify`", "remove one of the two");
        section.wrong("ca", at.span.clone(), mistake);
    }
    if section.key_span("chain").is_some() || section.key_span("key").is_some() {
        section.need("chain", "chain = \"weir.pem\"");
        section.need("key", "key = \"weir.key\"");
    }
    let certificate = pair(&mut section, base);
    section.finish();
    let trust = match (verify, ca) {
        (false, _) => Trust::Anybody,
        (true, Some((ca, _))) => Trust::Only(ca.value),
        (true, None) => Trust::System,
    };
    let tls = ClientTls { name: name.map(|at| at.value), trust, certificate };
    encrypted.then(|| Arc::new(tls))
}

/// Who is believed of those who are told: the authorities of `ca`, or those of this machine.
pub(super) fn trusted(section: &mut Section<'_>, base: &Path) -> Arc<ClientTls> {
    let ca = pem(section, "ca", base, tls::authorities);
    let trust = ca.map_or(Trust::System, |(ca, _)| Trust::Only(ca.value));
    Arc::new(ClientTls { name: None, trust, certificate: None })
}

/// A name that a certificate can be for: of a host, or an IP address.
fn server_name(text: &str) -> Result<String, Mistake> {
    if rustls::pki_types::ServerName::try_from(text).is_err() {
        let help =
            "write a name or an IP address as it stands in the certificate: \"app.internal\"";
        return Err(Mistake::new(format!("{} is no name", quoted(text)), help));
    }
    Ok(text.to_ascii_lowercase())
}

/// Reads `[acme]`; none where it is absent or not agreed to.
pub(super) fn acme(root: &mut Section<'_>, base: &Path) -> Option<AcmeConfig> {
    let mut section = root.table("acme", &keys::ACME);
    if !section.is_there() {
        section.finish();
        return None;
    }
    let directory = section.text("directory", "write text: \"https://...\"", |text| {
        let uri = text.parse::<Uri>().ok();
        let fits = uri
            .is_some_and(|uri| uri.scheme() == Some(&Scheme::HTTPS) && uri.authority().is_some());
        let help = format!("write the address of a directory: {LETS_ENCRYPT:?}");
        fits.then(|| text.to_owned())
            .ok_or_else(|| Mistake::new(format!("{} is no address of one", quoted(text)), help))
    });
    let contact = section.text("contact", "write an e-mail address", |text| {
        let plain = text.strip_prefix("mailto:").unwrap_or(text);
        let fits = plain.split_once('@').is_some_and(|(user, host)| {
            !user.is_empty() && host.contains('.') && !plain.contains([' ', ',', '<', '?'])
        });
        let help = "write one e-mail address: \"ops@example.org\"";
        fits.then(|| plain.to_owned())
            .ok_or_else(|| Mistake::new(format!("{} is no e-mail address", quoted(text)), help))
    });
    let ca = pem(&mut section, "ca", base, tls::authorities);
    let folder = section.text("folder", "write a path", path);
    let mut challenge = None;
    let kinds = [Challenge::Http01, Challenge::TlsAlpn01].map(|kind| (kind.name(), Some(kind)));
    let [http, alpn] = kinds;
    section.word("challenge", &[("auto", None), http, alpn], &mut challenge);
    let mut agreed = false;
    section.flag("agree_to_terms", &mut agreed);
    if !agreed {
        let help = "read the authority's terms of service, then write agree_to_terms = true";
        let span = section.key_span("agree_to_terms").unwrap_or(section.span.clone());
        section.wrong("agree_to_terms", span, Mistake::new("the terms are not agreed to", help));
    }
    section.finish();
    Some(AcmeConfig {
        directory: directory.map_or(LETS_ENCRYPT.to_owned(), |at| at.value),
        contact: contact.map(|at| at.value),
        trust: ca.map_or(Trust::System, |(ca, _)| Trust::Only(ca.value)),
        folder: folder.map(|at| base.join(at.value)),
        challenge,
    })
}

/// Notes names that are to be ordered from nobody.
pub(super) fn ordered_from_nobody(reader: &Reader, draft: &ServerDraft) {
    let Some(span) = &draft.acme else { return };
    let mistake = Mistake::new(
        "certificates are ordered, and there is no [acme]",
        "add [acme] with agree_to_terms = true, and contact = \"ops@example.org\"",
    );
    let place = (draft.path.clone(), span.clone());
    reader.note((Level::Error, Code::Missing), place, mistake, Vec::new());
}
