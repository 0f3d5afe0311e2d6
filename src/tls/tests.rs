//! Handshakes between our own two ends, over memory.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    SignatureAlgorithm, date_time_ymd,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, HandshakeKind, ProtocolVersion, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::keyring::Proofs;
use super::*;
use crate::traffic::{Address, Certificate, ClientTls, ServerTls, TlsVersion, Trust};

/// An authority of the test.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority of the test");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    fn sign(&self, names: &[&str]) -> Arc<Certificate> {
        self.sign_changed(names, &rcgen::PKCS_ECDSA_P256_SHA256, |_| {})
    }

    fn sign_changed(
        &self,
        names: &[&str],
        kind: &'static SignatureAlgorithm,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Arc<Certificate> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = DistinguishedName::new();
        change(&mut params);
        let own = KeyPair::generate_for(kind).unwrap();
        let pem = params.signed_by(&own, &self.issuer).unwrap().pem();
        read(&pem, &own.serialize_pem())
    }

    fn trust(&self) -> Trust {
        Trust::Only(authorities(self.pem.as_bytes()).unwrap())
    }
}

fn read(pem: &str, own: &str) -> Arc<Certificate> {
    Arc::new(certificate(chain(pem.as_bytes()).unwrap(), key(own.as_bytes()).unwrap()).unwrap())
}

fn keyring() -> Arc<Keyring> {
    Keyring::new(Protocols { server: &[b"http/1.1"], client: &[b"http/1.1"] }).unwrap()
}

fn with(certificates: Vec<Arc<Certificate>>) -> ServerTls {
    ServerTls { certificates, acme: vec![], min_version: TlsVersion::Tls12 }
}

type Ends =
    (tokio_rustls::server::TlsStream<DuplexStream>, tokio_rustls::client::TlsStream<DuplexStream>);

/// Both ends of a handshake, or what each says of its failure.
async fn shake(
    server: &Arc<ServerConfig>,
    client: &Arc<ClientConfig>,
    name: &str,
) -> Result<Ends, (io::Result<()>, io::Result<()>)> {
    let (near, far) = duplex(64 * 1024);
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let accepted = TlsAcceptor::from(Arc::clone(server)).accept(near);
    let connected = TlsConnector::from(Arc::clone(client)).connect(name, far);
    let both = async { tokio::join!(accepted, connected) };
    let ended = tokio::time::timeout(Duration::from_secs(10), both).await.unwrap();
    match ended {
        (Ok(mut server), Ok(mut client)) => {
            // Session tickets come after the handshake, before the first byte.
            server.write_all(b"!").await.unwrap();
            server.flush().await.unwrap();
            client.read_u8().await.unwrap();
            Ok((server, client))
        }
        (server, client) => Err((server.map(drop), client.map(drop))),
    }
}

fn presented(ends: &Ends) -> Vec<u8> {
    ends.1.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test]
async fn each_name_gets_its_certificate() {
    let (authority, keyring) = (Authority::new(), keyring());
    let first = authority.sign(&["first.test", "10.0.0.7"]);
    let star = authority.sign(&["*.shop.test"]);
    let exact = authority.sign(&["api.shop.test"]);
    let tls = with(vec![Arc::clone(&first), Arc::clone(&star), Arc::clone(&exact)]);
    let server = keyring.server(&tls, &[b"http/1.1"]).unwrap();
    let anybody = ClientTls { trust: Trust::Anybody, ..ClientTls::default() };
    let client = keyring.client(&anybody, &[b"http/1.1"]).unwrap();
    for (name, expected) in [
        ("first.test", &first),
        ("www.shop.test", &star),
        ("API.shop.test", &exact),
        ("shop.test", &first),
        ("a.b.shop.test", &first),
        ("10.0.0.7", &first),
    ] {
        let ends = shake(&server, &client, name).await.unwrap();
        assert_eq!(presented(&ends), *expected.chain[0], "{name}");
        assert_eq!(ends.0.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    }
}

#[tokio::test]
async fn two_kinds_of_key_may_stand_for_one_name() {
    let (authority, keyring) = (Authority::new(), keyring());
    let curve = authority.sign(&["a.test"]);
    let other = authority.sign_changed(&["a.test"], &rcgen::PKCS_ED25519, |_| {});
    let trust = ClientTls { trust: authority.trust(), ..ClientTls::default() };
    for (first, second) in [(&curve, &other), (&other, &curve)] {
        let tls = with(vec![Arc::clone(first), Arc::clone(second)]);
        let client = keyring.client(&trust, &[]).unwrap();
        let ends = shake(&keyring.server(&tls, &[]).unwrap(), &client, "a.test").await.unwrap();
        assert_eq!(presented(&ends), *first.chain[0], "the first that the client can check");
    }
}

#[tokio::test]
async fn sessions_are_resumed_also_after_a_reload() {
    let (authority, keyring) = (Authority::new(), keyring());
    let trust = ClientTls { trust: authority.trust(), ..ClientTls::default() };
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let before = keyring.server(&with(vec![authority.sign(&["a.test"])]), &[]).unwrap();
        let after = keyring.server(&with(vec![authority.sign(&["a.test"])]), &[]).unwrap();
        let usual = keyring.client(&trust, &[]).unwrap();
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&keyring.provider))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        client.dangerous().set_certificate_verifier(verifier(&keyring, &authority.trust()));
        client.resumption = usual.resumption.clone();
        let client = Arc::new(client);
        let mut kinds = Vec::new();
        for server in [&before, &before, &after] {
            let ends = shake(server, &client, "a.test").await.unwrap();
            kinds.push(ends.0.get_ref().1.handshake_kind().unwrap());
        }
        let expected = [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed];
        assert_eq!(kinds, expected, "{version:?}");
        let stranger = self::keyring();
        let server = stranger.server(&with(vec![authority.sign(&["a.test"])]), &[]).unwrap();
        let ends = shake(&server, &client, "a.test").await.unwrap();
        assert_eq!(ends.0.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
    }
}

fn verifier(
    keyring: &Keyring,
    trust: &Trust,
) -> Arc<dyn rustls::client::danger::ServerCertVerifier> {
    Arc::new(client::Verifier::new(keyring, trust).unwrap())
}

#[tokio::test]
async fn the_oldest_version_is_kept_to() {
    let (authority, keyring) = (Authority::new(), keyring());
    let certificate = authority.sign(&["a.test"]);
    let old = {
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&keyring.provider))
            .with_protocol_versions(&[&rustls::version::TLS12])
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        client.dangerous().set_certificate_verifier(verifier(&keyring, &authority.trust()));
        Arc::new(client)
    };
    let both = keyring.server(&with(vec![Arc::clone(&certificate)]), &[]).unwrap();
    let ends = shake(&both, &old, "a.test").await.unwrap();
    assert_eq!(ends.0.get_ref().1.protocol_version(), Some(ProtocolVersion::TLSv1_2));
    let tls = ServerTls { min_version: TlsVersion::Tls13, ..with(vec![certificate]) };
    let new = keyring.server(&tls, &[]).unwrap();
    assert!(shake(&new, &old, "a.test").await.is_err());
}

#[tokio::test]
async fn a_name_without_a_certificate_yet_is_refused_and_served_once_it_is_there() {
    let (authority, keyring) = (Authority::new(), keyring());
    let tls = ServerTls { acme: vec!["a.test".to_owned()], ..with(vec![]) };
    keyring.follow(&tls.acme);
    let server = keyring.server(&tls, &[b"http/1.1"]).unwrap();
    let trust = ClientTls { trust: authority.trust(), ..ClientTls::default() };
    let client = keyring.client(&trust, &[b"http/1.1"]).unwrap();
    assert!(shake(&server, &client, "a.test").await.is_err());
    assert!(shake(&server, &client, "other.test").await.is_err());
    keyring.issue("a.test", authority.sign(&["a.test"])).unwrap();
    assert!(shake(&server, &client, "a.test").await.is_ok());
    let [standing] = keyring.certificates().try_into().unwrap();
    assert!(standing.name == "a.test" && standing.not_after.is_some(), "{standing:?}");
    keyring.follow(&[]);
    assert!(keyring.certificates().is_empty());
}

#[tokio::test]
async fn only_an_authority_gets_the_proof() {
    let (authority, keyring) = (Authority::new(), keyring());
    let tls =
        ServerTls { acme: vec!["a.test".to_owned()], ..with(vec![authority.sign(&["a.test"])]) };
    keyring.follow(&tls.acme);
    let server = keyring.server(&tls, &[b"http/1.1"]).unwrap();
    let anybody = ClientTls { trust: Trust::Anybody, ..ClientTls::default() };
    let asks = keyring.client(&anybody, &[ACME_PROTOCOL]).unwrap();
    assert!(shake(&server, &asks, "a.test").await.is_err(), "nothing to prove");
    let proof = authority.sign(&["a.test"]);
    keyring.prove("a.test", Some(certificate::certified(&proof).unwrap()));
    let ends = shake(&server, &asks, "a.test").await.unwrap();
    assert_eq!(presented(&ends), *proof.chain[0]);
    assert_eq!(ends.0.get_ref().1.alpn_protocol(), Some(ACME_PROTOCOL));
    let visits = keyring.client(&anybody, &[b"http/1.1"]).unwrap();
    let ends = shake(&server, &visits, "a.test").await.unwrap();
    assert_eq!(presented(&ends), *tls.certificates[0].chain[0]);
    keyring.prove("a.test", None);
    assert!(shake(&server, &asks, "a.test").await.is_err(), "taken back");
}

/// What an upstream is told when it shows `certificate` to a client that believes `trust`.
async fn refusal(certificate: Arc<Certificate>, trust: Trust, name: &str) -> String {
    let keyring = keyring();
    let server = keyring.server(&with(vec![certificate]), &[]).unwrap();
    let client = keyring.client(&ClientTls { trust, ..ClientTls::default() }, &[]).unwrap();
    match shake(&server, &client, name).await {
        Ok(_) => String::new(),
        Err((_, client)) => explain(&client.unwrap_err(), "10.0.0.7:8443").unwrap(),
    }
}

#[tokio::test]
async fn an_upstream_that_is_not_believed_is_told_why_and_what_to_do() {
    let (authority, other) = (Authority::new(), Authority::new());
    let good = authority.sign(&["app.internal"]);
    let trust = authority.trust();
    assert_eq!(refusal(Arc::clone(&good), trust.clone(), "app.internal").await, "");
    assert_eq!(refusal(Arc::clone(&good), Trust::Anybody, "10.0.0.7").await, "");
    assert_eq!(
        refusal(Arc::clone(&good), trust.clone(), "10.0.0.7").await,
        "the certificate of 10.0.0.7:8443 is for app.internal, not for 10.0.0.7; if that is the \
         right server, set tls = { name = \"app.internal\" }"
    );
    assert_eq!(
        refusal(good, other.trust(), "app.internal").await,
        "the certificate of 10.0.0.7:8443 is signed by nobody that is trusted here; name who \
         signed it: tls = { ca = \"ca.pem\" }"
    );
    let kind = &rcgen::PKCS_ECDSA_P256_SHA256;
    let old = authority.sign_changed(&["app.internal"], kind, |params| {
        params.not_after = date_time_ymd(2020, 5, 17);
    });
    assert_eq!(
        refusal(old, trust.clone(), "app.internal").await,
        "the certificate of 10.0.0.7:8443 expired on 2020-05-17; renew it"
    );
    let early = authority.sign_changed(&["app.internal"], kind, |params| {
        params.not_before = date_time_ymd(3020, 5, 17);
    });
    assert_eq!(
        refusal(early, trust.clone(), "app.internal").await,
        "the certificate of 10.0.0.7:8443 is valid from 3020-05-17 on; is a clock wrong?"
    );
    let mail = authority.sign_changed(&["app.internal"], kind, |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::EmailProtection];
    });
    let said = refusal(mail, trust, "app.internal").await;
    assert!(said.contains("is not made for servers"), "{said}");
}

#[tokio::test]
async fn a_server_that_signed_its_own_certificate_is_believed_when_it_is_named() {
    let own = KeyPair::generate().unwrap();
    let signed = |change: fn(&mut CertificateParams)| {
        let mut params = CertificateParams::new(vec!["app.internal".to_owned()]).unwrap();
        // As `openssl req -x509` makes them.
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        change(&mut params);
        params.self_signed(&own).unwrap().pem()
    };
    let pem = signed(|_| {});
    let pinned = |pem: &str| Trust::Only(authorities(pem.as_bytes()).unwrap());
    let certificate = read(&pem, &own.serialize_pem());
    assert_eq!(refusal(Arc::clone(&certificate), pinned(&pem), "app.internal").await, "");
    let said = refusal(Arc::clone(&certificate), pinned(&pem), "other.internal").await;
    assert!(said.contains("is for app.internal, not for other.internal"), "{said}");
    let said = refusal(certificate, Authority::new().trust(), "app.internal").await;
    assert!(said.contains("has signed its certificate itself"), "{said}");
    let old = signed(|params| params.not_after = date_time_ymd(2020, 5, 17));
    let said = refusal(read(&old, &own.serialize_pem()), pinned(&old), "app.internal").await;
    assert!(said.ends_with("expired on 2020-05-17; renew it"), "{said}");
}

#[tokio::test]
async fn an_upstream_without_tls_is_recognised() {
    let keyring = keyring();
    let trust = ClientTls { trust: Trust::Anybody, ..ClientTls::default() };
    let client = keyring.client(&trust, &[]).unwrap();
    let (mut near, far) = duplex(4096);
    near.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    let name = ServerName::try_from("app.internal").unwrap();
    let error = TlsConnector::from(client).connect(name, far).await.unwrap_err();
    assert_eq!(
        explain(&error, "app:80").unwrap(),
        "app:80 does not speak TLS; write its address without https://"
    );
}

#[tokio::test]
async fn an_upstream_may_ask_who_weir_is() {
    let (authority, keyring) = (Authority::new(), keyring());
    let roots = Arc::new(keyring::store(&match authority.trust() {
        Trust::Only(only) => only,
        Trust::Anybody | Trust::System => unreachable!(),
    }));
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
        Arc::new(roots.as_ref().as_ref().unwrap().clone()),
        Arc::clone(&keyring.provider),
    );
    let shown = authority.sign(&["app.internal"]);
    let certified = certificate::certified(&shown).unwrap();
    let server = ServerConfig::builder_with_provider(Arc::clone(&keyring.provider))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(
            rustls::sign::CertifiedKey::clone(&certified),
        )));
    let server = Arc::new(server);
    let stranger = ClientTls { trust: authority.trust(), ..ClientTls::default() };
    let client = keyring.client(&stranger, &[]).unwrap();
    let (_, told) = shake(&server, &client, "app.internal").await.err().unwrap();
    let said = explain(&told.unwrap_err(), "app:443").unwrap();
    assert!(said.starts_with("app:443 wants to know who asks; give it a certificate"), "{said}");
    let known = ClientTls { certificate: Some(authority.sign(&["weir.internal"])), ..stranger };
    let client = keyring.client(&known, &[]).unwrap();
    assert!(shake(&server, &client, "app.internal").await.is_ok());
}

#[test]
fn the_name_of_an_upstream_is_that_of_the_file_or_its_host() {
    let name = |address: &str, tls: &ClientTls| {
        let address: Address = address.parse().unwrap();
        server_name(&address, tls).map(|name| name.to_str().into_owned())
    };
    let plain = ClientTls::default();
    assert_eq!(name("app.internal:443", &plain).as_deref(), Some("app.internal"));
    assert_eq!(name("10.0.0.7:443", &plain).as_deref(), Some("10.0.0.7"));
    assert_eq!(name("unix:/run/app", &plain), None);
    let named = ClientTls { name: Some("b.internal".to_owned()), ..plain };
    assert_eq!(name("unix:/run/app", &named).as_deref(), Some("b.internal"));
    assert_eq!(name("10.0.0.7:443", &named).as_deref(), Some("b.internal"));
}

#[test]
fn what_was_made_for_the_same_settings_is_made_once_and_forgotten_when_nobody_wants_it() {
    let (authority, keyring) = (Authority::new(), keyring());
    let tls = with(vec![authority.sign(&["a.test"])]);
    let (one, same) = (Arc::new(tls.clone()), Arc::new(tls));
    let trust = Arc::new(ClientTls { trust: authority.trust(), ..ClientTls::default() });
    keyring.prepare(&[Arc::clone(&one)], &[Arc::clone(&trust)]).unwrap();
    let made = keyring.listening(&same).unwrap();
    assert!(Arc::ptr_eq(&made, &keyring.listening(&one).unwrap()));
    assert_eq!(keyring.certificates().len(), 1);
    keyring.retain(&[], &[trust]);
    assert!(keyring.certificates().is_empty());
    assert!(!Arc::ptr_eq(&made, &keyring.listening(&one).unwrap()));
    let nobody = ClientTls { trust: Trust::Only(Arc::default()), ..ClientTls::default() };
    let error = keyring.prepare(&[], &[Arc::new(nobody)]).unwrap_err().to_string();
    assert!(error.starts_with("this machine trusts no authority"), "{error}");
}

#[tokio::test]
async fn an_authority_is_told_once_the_process_before_answers_too() {
    let keyring = keyring();
    // Nobody else is asked.
    keyring.is_answered_by_all("token").await;
    let echo = keyring.echo();
    echo.send_replace(Some(Proofs::new()));
    let theirs = Arc::clone(&keyring);
    let waits = tokio::spawn(async move { theirs.is_answered_by_all("token").await });
    for proofs in [Proofs::new(), Proofs::from([("other".to_owned(), "x".to_owned())])] {
        echo.send_replace(Some(proofs));
        tokio::task::yield_now().await;
        assert!(!waits.is_finished(), "it does not answer so far");
    }
    echo.send_replace(Some(Proofs::from([("token".to_owned(), "x".to_owned())])));
    waits.await.unwrap();
    let theirs = Arc::clone(&keyring);
    let waits = tokio::spawn(async move { theirs.is_answered_by_all("later").await });
    tokio::task::yield_now().await;
    assert!(!waits.is_finished());
    // It has ended.
    echo.send_replace(None);
    waits.await.unwrap();
}
