//! An authority of the test, and the certificates it signs.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    SignatureAlgorithm,
};

/// Signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate.
    pub pem: String,
}

/// A certificate and its key, in PEM.
pub struct Signed {
    /// The certificate.
    pub chain: String,
    /// Its key.
    pub key: String,
}

impl Authority {
    /// A new one, which nobody trusts yet.
    pub fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        // As an authority that is made anew: another one of the same name has another key.
        params.distinguished_name.push(DnType::CommonName, format!("{:p}", &raw const key));
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for `names`.
    pub fn sign(&self, names: &[&str]) -> Signed {
        self.sign_changed(names, &rcgen::PKCS_ECDSA_P256_SHA256, |_| {})
    }

    /// The same with another kind of key, or changed otherwise.
    pub fn sign_changed(
        &self,
        names: &[&str],
        kind: &'static SignatureAlgorithm,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Signed {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name = DistinguishedName::new();
        change(&mut params);
        let key = KeyPair::generate_for(kind).expect("a key");
        let chain = params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        Signed { chain, key: key.serialize_pem() }
    }

    /// Writes its certificate as `NAME.pem`.
    pub fn write(&self, folder: &Path, name: &str) -> PathBuf {
        let path = folder.join(format!("{name}.pem"));
        std::fs::write(&path, &self.pem).expect("the file is written");
        path
    }
}

impl Signed {
    /// Writes it as `NAME.pem` and `NAME.key`, the key for nobody else.
    pub fn write(&self, folder: &Path, name: &str) {
        let path = |ending: &str| folder.join(format!("{name}.{ending}"));
        std::fs::write(path("pem"), &self.chain).expect("the file is written");
        std::fs::write(path("key"), &self.key).expect("the file is written");
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(path("key"), private).expect("its permissions");
    }
}
