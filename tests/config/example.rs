//! Files that work: the first page, the smallest, the commented example, none at all.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use weir::analysis::{OnFail, Settings, WhenUnproven};
use weir::config::{Keys, SECTIONS, parse, without_file};
use weir::rollout::Stages;
use weir::traffic::{HealthCheck, Limits, Sticky, Timeouts, Warm};

use super::super::support::certificates::Authority;
use super::{FIRST_PAGE, SMALLEST, good, mistakes};

#[test]
fn the_file_of_the_first_page_works_as_it_stands() {
    let config = good(FIRST_PAGE);
    assert_eq!(config.warnings, []);
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:7700");
    assert_eq!(config.state.path.as_deref(), Some(Path::new("/etc/weir/weir.db")));
    let [tier] = config.tiers.as_slice() else { panic!("{} tiers", config.tiers.len()) };
    assert_eq!(tier.tier.name.as_str(), "web");
    assert_eq!(tier.tier.sticky, Sticky::Cookie("uid".to_owned()));
    assert_eq!(tier.tier.health.path.as_deref(), Some("/health"));
    assert_eq!(tier.stable.as_str(), "1.0.0");
    let versions: Vec<_> = tier.releases.iter().map(|r| (r.version.as_str(), r.line)).collect();
    assert_eq!(versions, [("1.0.0", 13), ("1.1.0", 14)]);
    assert_eq!((tier.lines.tier, tier.lines.listen, tier.lines.stable), (8, 10, 11));
    let Stages::Listed(plan) = &config.rollout.stages else { panic!("no stages") };
    let stages = plan.stages();
    let weights: Vec<String> = stages.iter().map(|stage| stage.weight.to_string()).collect();
    assert_eq!(weights, ["1%", "5%", "25%", "50%"]);
    assert!(stages.iter().all(|stage| stage.bake == Duration::from_mins(1)));
    let warm_up = Duration::from_mins(2);
    assert_eq!(tier.analysis, Settings { warm_up, ..Settings::default() });
}

#[test]
fn the_smallest_file_has_the_defaults_of_the_modules() {
    let config = good(SMALLEST);
    let tier = &config.tiers[0];
    assert_eq!(config.proxy.workers, None);
    assert_eq!(config.rollout.stages, Stages::Auto);
    assert_eq!(tier.tier.health, HealthCheck::default());
    assert_eq!(tier.tier.timeouts, Timeouts::default());
    assert_eq!(tier.tier.limits, Limits::default());
    assert_eq!(tier.tier.sticky, Sticky::Own);
    let warm_up = Duration::from_mins(2);
    assert_eq!(tier.analysis, Settings { warm_up, ..Settings::default() });
}

#[test]
fn releases_may_be_tables_of_their_own() {
    let config = good(
        r#"
[[tier]]
name = "web"
listen = "127.0.0.1:8080"
stable = "1.0.0"
[[tier.releases]]
version = "1.0.0"
upstreams = ["unix:/run/app.sock", "[::1]:3000"]
[[tier.releases]]
version = "1.1.0"
upstreams = ["app.internal:3000"]
host = "app.example.com"
"#,
    );
    let releases = &config.tiers[0].releases;
    assert_eq!(releases[0].upstreams.len(), 2);
    assert_eq!(releases[1].host.as_deref(), Some("app.example.com"));
    assert_eq!(releases[1].line, 9);
}

#[test]
fn a_tier_overrides_the_analysis_key_by_key() {
    let config = good(&format!(
        "{SMALLEST}{}",
        r#"
[tier.analysis]
margin = "1pp"
ignore = { agents = ["*check*"] }
[[tier]]
name = "api"
listen = "127.0.0.1:8081"
stable = "1"
releases = [{ version = "1", upstreams = ["127.0.0.1:9101"] }]
[[tier.analysis.watch]]
name = "teapots"
status = ["418"]
[analysis]
grace = "5s"
when_unproven = "advance"
ignore = { paths = ["/ping"] }
[analysis.slow]
margin_ratio = 3
[[analysis.watch]]
name = "thrown out"
status = ["302", "401"]
location = "/login*"
on_fail = "rollback"
"#
    ));
    let [web, api] = config.tiers.as_slice() else { panic!("two tiers") };
    assert!((web.analysis.errors.margin - 0.01).abs() < 1e-12);
    assert!((api.analysis.errors.margin - 0.005).abs() < 1e-12);
    for tier in [web, api] {
        assert_eq!(tier.analysis.grace, Duration::from_secs(5));
        assert_eq!(tier.analysis.when_unproven, WhenUnproven::Advance);
        assert!((tier.analysis.slow.ratio_margin - 3.0).abs() < 1e-12);
        assert_eq!(tier.tier.ignore.paths.len(), 1);
        assert_eq!(tier.tier.watches.len(), tier.analysis.watches.len());
    }
    assert_eq!((web.tier.ignore.agents.len(), api.tier.ignore.agents.len()), (1, 0));
    assert_eq!(web.tier.watches[0].name, "thrown out");
    assert!(web.tier.watches[0].matches(302, Some(b"/login?next=/")));
    assert_eq!(web.analysis.watches[0].on_fail, OnFail::Rollback);
    assert_eq!(api.analysis.watches[0].name, "teapots");
    assert_eq!(api.analysis.watches[0].on_fail, OnFail::Hold);
}

const COMMENTED: &str = include_str!("../../deploy/weir.toml");
const REFERENCE: &str = include_str!("../../docs/config.md");

/// The commented example with its comments taken away where a key or a header follows, except
/// the lines in `left`: two pairs of keys say the same.
fn uncommented(left: &[&str]) -> String {
    let is_setting = |text: &str| {
        let key = text.split(" = ").next().unwrap_or_default();
        let word = |c: char| c.is_ascii_lowercase() || c == '_';
        text.starts_with('[') || (text.contains(" = ") && key.chars().all(word))
    };
    let mut section = "";
    let mut lines = Vec::new();
    for line in COMMENTED.lines() {
        let setting = line.strip_prefix("# ").filter(|text| is_setting(text));
        let text = setting.unwrap_or(line);
        if text.starts_with('[') {
            section = text;
        }
        let path = format!("{section} {}", text.split(" = ").next().unwrap_or_default());
        lines.push(if setting.is_some() && left.contains(&path.as_str()) { line } else { text });
    }
    lines.join("\n")
}

#[test]
fn the_commented_example_works_with_and_without_its_comments() {
    let plain = good(COMMENTED);
    assert_eq!(plain.warnings, []);
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("preview.secret"), "0123456789abcdef\n").unwrap();
    std::fs::write(place.path().join("maintenance.secret"), "0123456789abcdef\n").unwrap();
    std::fs::write(place.path().join("maintenance.html"), "<p>{{message}}</p>").unwrap();
    let authority = Authority::new();
    authority.write(place.path(), "ca");
    authority.sign(&["shop.example.com"]).write(place.path(), "web");
    for left in [
        ["[analysis] margin", "[tier.preview] secret", "[maintenance.bypass] secret"],
        [
            "[analysis.errors] margin",
            "[tier.preview] secret_file",
            "[maintenance.bypass] secret_file",
        ],
    ] {
        let text = uncommented(&left);
        let config =
            parse("weir.toml", &text, place.path()).unwrap_or_else(|report| panic!("{report}"));
        assert!(config.tiers[0].tier.preview.is_some());
        assert_eq!(config.proxy.workers, Some(2));
        assert_eq!(config.tiers[0].tier.timeouts, Timeouts::default());
        assert_eq!(config.tiers[0].tier.limits, Limits::default());
        assert_eq!(config.tiers[0].tier.health, HealthCheck::default());
    }
}

#[test]
fn the_commented_example_has_every_key() {
    let mut found = BTreeSet::new();
    for left in [
        ["[analysis] margin", "[tier.preview] secret", "[maintenance.bypass] secret"],
        [
            "[analysis.errors] margin",
            "[tier.preview] secret_file",
            "[maintenance.bypass] secret_file",
        ],
    ] {
        collect(&toml::from_str(&uncommented(&left)).unwrap(), "", &mut found);
    }
    let inside = ["[tier.sticky]", "[tier.releases.tls]"];
    for section in SECTIONS.iter().filter(|section| !inside.contains(&section.title)) {
        for key in section.keys {
            let path = path(section, key.name);
            // A gate that is not commented out would stop whoever copies the file.
            let inside = path == "rollout.stages.gate"
                || inside.iter().any(|title| title.trim_matches(['[', ']']) == path);
            assert!(inside || found.contains(&path), "{path} is not in deploy/weir.toml");
        }
    }
    for sticky in ["sticky = \"cookie\"", "{ cookie = \"uid\" }", "{ header = \"authorization\" }"]
    {
        assert!(COMMENTED.contains(sticky), "{sticky}");
    }
    assert!(COMMENTED.contains("gate = \""));
    for tls in ["name = \"app", "ca = \"", "verify = false", "chain = \"weir", "key = \"weir"] {
        assert!(COMMENTED.contains(tls), "{tls}");
    }
}

fn path(section: &Keys, key: &str) -> String {
    match section.title.trim_matches(['[', ']']) {
        "the file" => key.to_owned(),
        title => format!("{title}.{key}"),
    }
}

fn collect(table: &toml::Table, path: &str, found: &mut BTreeSet<String>) {
    for (key, value) in table {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let inner = value.as_array().into_iter().flatten().chain(Some(value));
        for table in inner.filter_map(toml::Value::as_table) {
            collect(table, &path, found);
        }
        found.insert(path);
    }
}

#[test]
fn the_defaults_that_are_written_are_the_defaults() {
    let described = good(SMALLEST).describe();
    for section in SECTIONS {
        // What is special about a listener or an upstream is described only where there is
        // something; tests of TLS look at those.
        let special = [
            "[[listener]]",
            "[listener.tls]",
            "[acme]",
            "[[cache]]",
            "[tier.cache]",
            "[[tier.releases]]",
            "[tier.releases.tls]",
            "[tier.warm]",
            "[tier.rolling]",
            "[[tier.rolling.instances]]",
            "[[worker]]",
            "[[step]]",
            "[step.http]",
            "[step.check]",
            "[preflight]",
            "[[notify]]",
            "[notify.webhook]",
            "[notify.mail]",
            "[alertmanager]",
            "[tracing]",
            "[[analysis.signal]]",
        ];
        if special.contains(&section.title) {
            continue;
        }
        for key in section.keys.iter().filter(|key| !key.default.is_empty()) {
            let path = path(section, key.name).replacen("tier.", "tier.web.", 1);
            let of_tier = ["[analysis", "[maintenance"];
            let path = if of_tier.iter().any(|title| section.title.starts_with(title)) {
                format!("tier.web.{path}")
            } else {
                path
            };
            let said = match path.as_str() {
                "state.path" => "/etc/weir/weir.db".to_owned(),
                "tier.web.analysis.margin" => continue,
                watch if watch.contains(".watch.") => continue,
                _ => key.default.replace('"', ""),
            };
            assert_eq!(described.get(&path), Some(&said), "{path}");
        }
    }
}

#[test]
fn a_canary_is_warmed_where_the_file_says() {
    assert_eq!(good(SMALLEST).tiers[0].tier.warm, None);
    let warmed = good(&SMALLEST.replace("stable", "warm = {}\nstable"));
    assert_eq!(warmed.tiers[0].tier.warm, Some(Warm::default()));
    assert_eq!(warmed.describe().get("tier.web.warm.requests").unwrap(), "200");
    assert_eq!(warmed.describe().get("tier.web.warm.within").unwrap(), "1m");
}

#[test]
fn traces_go_where_the_file_says() {
    assert_eq!(good(SMALLEST).notify.collector, None);
    let text = format!("{SMALLEST}\n[tracing]\nurl = \"http://127.0.0.1:4318/v1/traces\"\n");
    let keys = good(&text).describe();
    assert_eq!(keys.get("tracing.ratio").unwrap(), "1%");
    assert_eq!(keys.get("tracing.service").unwrap(), "weir");
    let secret = format!("{text}headers = {{ Authorization = \"hunter2\" }}\n");
    assert!(!format!("{:?}", good(&secret)).contains("hunter2"));
    assert!(!format!("{:?}", good(&secret).describe()).contains("hunter2"));
    let without = mistakes(&format!("{SMALLEST}\n[tracing]\nratio = \"1%\"\n")).join("\n");
    assert!(without.contains("url = \"http://127.0.0.1:4318/v1/traces\""), "{without}");
    let much = mistakes(&format!("{text}ratio = \"200%\"\n")).join("\n");
    assert!(much.contains("200%"), "{much}");
}

/// With `WEIR_RENEW=1` the tables of the reference are written anew, in place of what is there.
#[test]
fn the_reference_has_every_key_as_the_reader_knows_it() {
    let head = "| key | value | default | meaning | a reload |\n|---|---|---|---|---|\n";
    let mut missing = String::new();
    let mut renewed = REFERENCE.to_owned();
    for (place, section) in SECTIONS.iter().enumerate() {
        let mut table = head.to_owned();
        for key in section.keys {
            let cell = |text: &str| text.replace('|', "\\|");
            let default =
                if key.default.is_empty() { "-".to_owned() } else { format!("`{}`", key.default) };
            let reload = if key.kind.contains("table") && key.default.is_empty() {
                "see there"
            } else {
                key.class.words()
            };
            let row = format!(
                "| `{}` | {} | {default} | {} | {reload} |\n",
                key.name,
                cell(key.kind),
                cell(key.meaning)
            );
            table.push_str(&row);
        }
        let heading = match section.title {
            "the file" => "## The file".to_owned(),
            title => format!("## `{title}`"),
        };
        if !(REFERENCE.contains(&table) && REFERENCE.contains(&format!("{heading}\n"))) {
            missing = format!("{missing}{heading}\n\n{table}\n");
        }
        renew(&mut renewed, &heading, head, &table, SECTIONS.get(place + 1));
    }
    if std::env::var_os("WEIR_RENEW").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/config.md");
        std::fs::write(path, renewed).unwrap();
        return;
    }
    assert!(missing.is_empty(), "docs/config.md lacks or differs in:\n\n{missing}");
}

/// Puts `table` under `heading`, which is added before the `next` section where it is missing.
fn renew(text: &mut String, heading: &str, head: &str, table: &str, next: Option<&&Keys>) {
    let line = format!("{heading}\n");
    let Some(at) = text.find(&line) else {
        let before = next.and_then(|next| text.find(&format!("## `{}`\n", next.title)));
        let before = before.unwrap_or(text.len());
        text.insert_str(before, &format!("{line}\n{table}\n"));
        return;
    };
    let start = at + text[at..].find(head).expect("a table under each heading");
    let rows = text[start..].lines().take_while(|row| row.starts_with('|'));
    let length: usize = rows.map(|row| row.len() + 1).sum();
    text.replace_range(start..start + length, table);
}

#[test]
fn without_a_file_two_addresses_are_enough() {
    let listen = "127.0.0.1:8080".parse().unwrap();
    let config = without_file(listen, "127.0.0.1:3000", Some("127.0.0.1:3001")).unwrap();
    assert_eq!(config.state.path, None);
    let versions: Vec<_> = config.tiers[0].releases.iter().map(|r| r.version.as_str()).collect();
    assert_eq!(versions, ["old", "new"]);
    let named = without_file(listen, "4.2=unix:/run/a=b.sock", None).unwrap();
    assert_eq!(named.tiers[0].releases[0].upstreams[0].to_string(), "unix:/run/a=b.sock");
    let unnamed = without_file(listen, "unix:/run/a=b.sock", None).unwrap();
    assert_eq!(unnamed.tiers[0].stable.as_str(), "old");

    let refused = |stable: &str, canary: &str| {
        without_file(listen, stable, Some(canary)).unwrap_err().to_string()
    };
    assert_eq!(
        refused("localhost:3000", "127.0.0.1:3000"),
        "--canary: both versions run on 127.0.0.1:3000; two versions need two addresses"
    );
    assert_eq!(
        refused("1=127.0.0.1:3000", "1=127.0.0.1:3001"),
        "--canary: both versions are called 1; give each a name of its own: VERSION=ADDRESS"
    );
    assert_eq!(
        refused("localhost:8080", "127.0.0.1:3000"),
        "--stable: \"localhost:8080\" leads back to Weir, which listens there; write the address of the app"
    );
    assert_eq!(
        refused("app", "x"),
        "--stable: \"app\" is no address; a port is missing: \"app:3000\""
    );
}

#[test]
fn a_file_says_why_it_cannot_be_read() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("weir.toml");
    let refused = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        weir::config::load(&file).unwrap_err().to_string()
    };
    let missing = weir::config::load(&place.path().join("none.toml")).unwrap_err().to_string();
    assert!(missing.contains("none.toml cannot be read: No such file"), "{missing}");
    assert!(refused(b"[admin]\n\xff").contains("is not UTF-8 text: line 2"));
    assert!(refused(&vec![b'#'; (1 << 20) + 1]).contains("is larger than 1MiB"));
    assert!(refused(b"").contains("there is no tier; add [[tier]]"));
    std::fs::write(&file, SMALLEST).unwrap();
    let config = weir::config::load(&file).unwrap();
    assert_eq!(config.state.path, Some(place.path().join("weir.db")));
}
