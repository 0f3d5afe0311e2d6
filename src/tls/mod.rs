//! TLS by rustls with aws-lc-rs: what listeners and upstreams are spoken to with, certificates read
//! from files, and certificates ordered from an authority (ACME).
//!
//! Nothing here opens a client's connection or parses a configuration: the data wing brings the
//! sockets, the file comes as plain data (`traffic::ServerTls`, `traffic::ClientTls`). The crypto
//! provider is named wherever one is needed, so no process-wide default can be missing.

pub mod acme;
mod certificate;
mod client;
mod keyring;
mod server;
mod standing;
#[cfg(test)]
mod tests;
mod x509;

use thiserror::Error;

pub use certificate::{CertificateError, authorities, certificate, chain, key, misplaced};
pub use client::{explain, server_name};
pub use keyring::{Keyring, Protocols};
pub use server::ACME_PROTOCOL;
pub use standing::{Standing, day};

/// Why no TLS configuration can be made.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A certificate cannot be used.
    #[error("the certificate for {name} {source}")]
    Certificate {
        /// Whom it is for.
        name: String,
        /// What is wrong with it.
        source: CertificateError,
    },
    /// No certificate of an authority is known.
    #[error(
        "this machine trusts no authority{0}; install the package ca-certificates, or name the \
         authority: tls = {{ ca = \"ca.pem\" }}"
    )]
    NoAuthorities(String),
    /// A certificate under `ca` cannot be believed.
    #[error("certificate {0} of `ca` cannot be an authority's: {1}; leave it out")]
    UnfitAuthority(usize, String),
    /// rustls refuses.
    #[error("TLS cannot be set up: {0}")]
    Rustls(#[from] rustls::Error),
}
