//! Certificates and whom to believe: what is refused with its line, what is warned about.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{PKCS_ECDSA_P256_SHA256, date_time_ymd};
use tempfile::TempDir;
use weir::config::{Config, differences, parse};
use weir::tls::acme::{Challenge, LETS_ENCRYPT};
use weir::traffic::{TlsVersion, Trust};

use super::super::support::certificates::Authority;
use super::line;

/// A folder with `ca.pem`, and with `web.pem` and `web.key` for `shop.test` and `*.shop.test`.
fn folder() -> (TempDir, Authority) {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    authority.write(folder.path(), "ca");
    authority.sign(&["shop.test", "*.shop.test"]).write(folder.path(), "web");
    (folder, authority)
}

fn file(listener: &str, release: &str) -> String {
    format!(
        "[[tier]]\nname = \"web\"\nlisten = \"127.0.0.1:8443\"\nstable = \"1\"\nreleases = [\n\
         {{ version = \"1\", {release} }},\n]\n[[listener]]\nlisten = \"127.0.0.1:8443\"\n{listener}\n"
    )
}

const PLAIN: &str = "upstreams = [\"127.0.0.1:9101\"]";
const WEB: &str = "tls = { certificates = [{ chain = \"web.pem\", key = \"web.key\" }] }";

fn good(text: &str, base: &Path) -> Config {
    parse("weir.toml", text, base).unwrap_or_else(|report| panic!("{report}\n{text}"))
}

fn warnings(text: &str, base: &Path) -> Vec<String> {
    good(text, base).warnings.iter().map(line).collect()
}

/// The mistakes of the file, without the folder.
fn mistakes(text: &str, base: &Path) -> Vec<String> {
    let report = parse("weir.toml", text, base).expect_err(text);
    let folder = format!("{}/", base.display());
    report.diagnostics().iter().map(|one| line(one).replace(&folder, "")).collect()
}

#[test]
fn a_listener_speaks_tls_with_certificates_from_files() {
    let (folder, _) = folder();
    let config = good(&file(WEB, PLAIN), folder.path());
    assert_eq!(config.warnings, []);
    let tls = config.tiers[0].tier.listener.tls.as_ref().unwrap();
    assert_eq!(tls.certificates[0].names, ["shop.test", "*.shop.test"]);
    assert_eq!((tls.min_version, tls.acme.len()), (TlsVersion::Tls12, 0));
    let described = config.describe();
    assert_eq!(described["listener.127.0.0.1:8443.tls.min_version"], "1.2");
    assert_eq!(described["listener.127.0.0.1:8443.tls.acme"], "[]");
    let certificates = &described["listener.127.0.0.1:8443.tls.certificates"];
    assert!(certificates.starts_with("[shop.test *.shop.test until "), "{certificates}");
}

#[test]
fn a_renewed_certificate_in_the_same_place_is_a_change() {
    let (folder, authority) = folder();
    let text = file(WEB, PLAIN);
    let before = good(&text, folder.path());
    assert_eq!(differences(&before, &good(&text, folder.path())), []);
    authority.sign(&["shop.test", "*.shop.test"]).write(folder.path(), "web");
    let changes = differences(&before, &good(&text, folder.path()));
    let [change] = changes.as_slice() else { panic!("{changes:?}") };
    assert_eq!(change.key, "listener.127.0.0.1:8443.tls.certificates");
}

#[test]
fn files_that_are_no_certificate_or_no_key_are_refused_with_their_line() {
    let (folder, authority) = folder();
    let base = folder.path();
    authority.sign(&["other.test"]).write(base, "other");
    std::fs::write(base.join("empty.pem"), "").unwrap();
    let turned = authority.pem.clone() + &std::fs::read_to_string(base.join("web.pem")).unwrap();
    std::fs::write(base.join("turned.pem"), turned).unwrap();
    std::fs::write(base.join("locked.key"), "-----BEGIN ENCRYPTED PRIVATE KEY-----").unwrap();
    for (chain, key, said) in [
        ("none.pem", "web.key", "10: `chain`: none.pem cannot be read: No such file or directory"),
        ("empty.pem", "web.key", "10: `chain`: empty.pem holds no certificate; one begins with"),
        ("web.pem", "empty.pem", "10: `key`: empty.pem holds no private key; one begins with"),
        ("web.pem", "locked.key", "10: `key`: locked.key is encrypted, and nobody is there"),
        ("web.pem", "other.key", "10: other.key has another key; name the key that was made"),
        ("turned.pem", "web.key", "10: turned.pem has the certificate of this key as number 2;"),
    ] {
        let text = WEB.replace("web.pem", chain).replace("web.key", key);
        let mistakes = mistakes(&file(&text, PLAIN), base);
        let [mistake] = mistakes.as_slice() else { panic!("{mistakes:?}") };
        assert!(mistake.starts_with(said), "{mistake}");
    }
}

#[test]
fn a_listener_without_any_certificate_is_refused() {
    let (folder, _) = folder();
    for listener in ["tls = {}", "tls = { certificates = [] }", "[listener.tls]\nacme = []"] {
        let mistakes = mistakes(&file(listener, PLAIN), folder.path());
        assert!(mistakes[0].contains("`tls` has no certificate; add"), "{mistakes:?}");
    }
    let old = WEB.replace(" }] }", " }], min_version = \"1.1\" }");
    let mistakes = mistakes(&file(&old, PLAIN), folder.path());
    assert!(mistakes[0].contains("\"1.1\" is not known; use \"1.2\" or \"1.3\""), "{mistakes:?}");
}

#[test]
fn what_clients_will_not_like_is_warned_about_and_served() {
    let (folder, authority) = folder();
    let base = folder.path();
    let text = file(WEB, PLAIN);
    // In days since 1970.
    let dated = |from: u64, until: u64| {
        let day = |day: u64| date_time_ymd(1970, 1, 1) + Duration::from_hours(24 * day);
        let signed = authority.sign_changed(&["shop.test"], &PKCS_ECDSA_P256_SHA256, |params| {
            (params.not_before, params.not_after) = (day(from), day(until));
        });
        signed.write(base, "web");
        warnings(&text, base).join("\n")
    };
    let today = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 86_400;
    let (past, future) = (18_399, 383_641);
    let said = dated(past - 1, past);
    assert!(said.contains("web.pem expired on 2020-05-17; clients refuse it; renew"), "{said}");
    let said = dated(future, future + 1);
    assert!(said.contains("web.pem is valid from 3020-05-17 on; clients refuse it"), "{said}");
    let said = dated(past, today + 21);
    // In the last hour of a day no hour is left of it.
    assert!(said.contains("web.pem expires in 20 d"), "{said}");
    assert!(said.ends_with("; renew it and reload"), "{said}");
    assert_eq!(dated(past, today + 23), "");

    let key = base.join("web.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let said = warnings(&text, base).join("\n");
    assert!(said.contains("web.key can be read by everybody on this machine (0644)"), "{said}");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(warnings(&text, base), [""; 0]);

    let stranger = Authority::new().pem;
    let chain = std::fs::read_to_string(base.join("web.pem")).unwrap() + &stranger;
    std::fs::write(base.join("web.pem"), chain).unwrap();
    let said = warnings(&text, base).join("\n");
    assert!(said.contains("certificate 2 in ") && said.contains("did not sign the one"), "{said}");
}

#[test]
fn certificates_are_ordered_only_from_an_authority_whose_terms_are_agreed_to() {
    let (folder, _) = folder();
    let base = folder.path();
    let listener = "tls = { acme = [\"Shop.example.org\", \"api.example.org\"] }";
    let nobody = mistakes(&file(listener, PLAIN), base);
    let said = "10: certificates are ordered, and there is no [acme]; add [acme] with";
    assert!(nobody[0].starts_with(said), "{nobody:?}");
    let silent = mistakes(&file(&format!("{listener}\n[acme]"), PLAIN), base);
    assert!(silent[0].contains("the terms are not agreed to; read"), "{silent:?}");

    let acme = "[acme]\nagree_to_terms = true";
    let config = good(&file(&format!("{listener}\n{acme}"), PLAIN), base);
    let tls = config.tiers[0].tier.listener.tls.as_ref().unwrap();
    assert_eq!(tls.acme, ["shop.example.org", "api.example.org"]);
    let settings = config.acme.as_ref().unwrap();
    assert_eq!((settings.directory.as_str(), settings.challenge), (LETS_ENCRYPT, None));
    assert_eq!((&settings.trust, &settings.folder), (&Trust::System, &None));
    let described = config.describe();
    assert_eq!(described["acme.directory"], LETS_ENCRYPT);
    assert_eq!(described["acme.challenge"], "auto");

    let more = "ca = \"ca.pem\"\nfolder = \"kept\"\nchallenge = \"http-01\"\n\
                contact = \"mailto:ops@example.org\"\ndirectory = \"https://ca.test:14000/dir\"";
    let config = good(&file(&format!("{listener}\n{acme}\n{more}"), PLAIN), base);
    let settings = config.acme.unwrap();
    assert_eq!(settings.challenge, Some(Challenge::Http01));
    assert_eq!(settings.contact.as_deref(), Some("ops@example.org"));
    assert_eq!(settings.folder, Some(base.join("kept")));
    assert!(matches!(settings.trust, Trust::Only(ca) if ca.len() == 1));
}

#[test]
fn names_and_addresses_that_no_authority_knows_are_refused() {
    let (folder, _) = folder();
    for (name, said) in [
        ("*.example.org", "is a wildcard; a wildcard needs a proof by DNS"),
        ("localhost", "is no name an authority knows"),
        ("10.0.0.7", "is no name an authority knows"),
        ("shop_1.example.org", "is no name an authority knows"),
    ] {
        let text = format!("tls = {{ acme = [{name:?}] }}\n[acme]\nagree_to_terms = true");
        let mistakes = mistakes(&file(&text, PLAIN), folder.path());
        assert!(mistakes[0].contains(said), "{mistakes:?}");
    }
    for (line, said) in [
        ("directory = \"http://ca.test/dir\"", "is no address of one; write the address of"),
        ("directory = \"ca.test\"", "is no address of one"),
        ("contact = \"ops\"", "\"ops\" is no e-mail address"),
        ("challenge = \"dns-01\"", "use \"auto\" or \"http-01\" or \"tls-alpn-01\""),
    ] {
        let text = format!("{WEB}\n[acme]\nagree_to_terms = true\n{line}");
        let mistakes = mistakes(&file(&text, PLAIN), folder.path());
        assert!(mistakes[0].contains(said), "{mistakes:?}");
    }
}

#[test]
fn upstreams_speak_tls_by_their_scheme_and_are_verified() {
    let (folder, _) = folder();
    let base = folder.path();
    let config =
        good(&file("", "upstreams = [\"https://10.0.0.7:8443\", \"https://app.test/\"]"), base);
    let release = &config.tiers[0].releases[0];
    let addresses: Vec<String> = release.upstreams.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["https://10.0.0.7:8443", "https://app.test:443"]);
    let tls = release.tls.as_ref().unwrap();
    assert_eq!((&tls.trust, &tls.name, &tls.certificate), (&Trust::System, &None, &None));
    let described = config.describe();
    let upstreams = &described["tier.web.releases.1.upstreams"];
    assert_eq!(upstreams, "[https://10.0.0.7:8443, https://app.test:443]");
    assert_eq!(described["tier.web.releases.1.tls.verify"], "true");

    let https = "upstreams = [\"https://10.0.0.7:8443\"]";
    let own = "tls = { name = \"App.internal\", ca = \"ca.pem\", chain = \"web.pem\", key = \"web.key\" }";
    let config = good(&file("", &format!("{https}, {own}")), base);
    let tls = config.tiers[0].releases[0].tls.as_ref().unwrap();
    assert_eq!(tls.name.as_deref(), Some("app.internal"));
    assert!(matches!(&tls.trust, Trust::Only(ca) if ca.len() == 1));
    assert!(tls.certificate.is_some());

    let anybody = file("", &format!("{https}, tls = {{ verify = false }}"));
    let said = warnings(&anybody, base).join("\n");
    assert!(said.contains("6: nobody knows who answers when the certificate is not"), "{said}");
    let config = good(&anybody, base);
    assert_eq!(config.tiers[0].releases[0].tls.as_ref().unwrap().trust, Trust::Anybody);
}

#[test]
fn what_contradicts_itself_about_an_upstream_is_refused() {
    let (folder, _) = folder();
    let https = "upstreams = [\"https://10.0.0.7:8443\"]";
    for (release, said) in [
        (format!("{PLAIN}, tls = {{}}"), "`tls` is for upstreams that speak TLS; write https://"),
        (format!("{https}, tls = {{ ca = \"none.pem\" }}"), "none.pem cannot be read"),
        (
            format!("{https}, tls = {{ ca = \"ca.pem\", verify = false }}"),
            "`ca` has no use without `verify`",
        ),
        (format!("{https}, tls = {{ chain = \"web.pem\" }}"), "has no `key`; add key ="),
        (format!("{https}, tls = {{ name = \"a b\" }}"), "\"a b\" is no name"),
        (
            "upstreams = [\"https://unix:/run/app.sock\"]".to_owned(),
            "a Unix socket has no name to verify; say which name",
        ),
        ("upstreams = [\"https://a/b\"]".to_owned(), "\"https://a/b\" is no address"),
    ] {
        let mistakes = mistakes(&file("", &release), folder.path());
        assert!(mistakes[0].contains(said), "{mistakes:?}");
    }
}
