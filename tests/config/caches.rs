//! `[[cache]]`: what a port of a version must be, and what no message may show.

use std::time::Duration;

use weir::rollout::OnRollback;

use super::{SMALLEST, good, mistakes, read};

const TEN_MINUTES: Duration = Duration::from_mins(10);

const CACHE: &str = r#"
[[cache]]
name = "pages"
kind = "redis"
upstream = "redis://:hunter2@127.0.0.1:6379"
ports = { "1.0.0" = "127.0.0.1:16379", "1.1.0" = "127.0.0.1:16380" }
"#;

/// The smallest file with a cache, of which something is exchanged.
fn cache(old: &str, new: &str) -> String {
    assert!(CACHE.contains(old), "{old}");
    format!("{SMALLEST}{}", CACHE.replacen(old, new, 1))
}

#[test]
fn a_cache_has_a_namespace_and_a_port_for_each_release() {
    let config = good(&cache("", ""));
    let [pages] = config.caches.as_slice() else { panic!("one cache") };
    let said: Vec<String> =
        pages.ports.iter().map(|port| format!("{} {}", port.namespace, port.listen)).collect();
    assert_eq!(said, ["1.0.0 127.0.0.1:16379", "1.1.0 127.0.0.1:16380"]);
    let config = good(&format!("[proxy]\nenvironment = \"blue\"\n{}", cache("", "")));
    assert_eq!(config.caches[0].ports[0].namespace.as_str(), "blue:1.0.0");
    let described = config.describe();
    assert_eq!(described.get("cache.pages.ports.1.1.0").unwrap(), "127.0.0.1:16380");
    assert!(!format!("{described:?}").contains("hunter2"), "a password is shown");
}

#[test]
fn each_mistake_in_a_cache_says_the_way_out() {
    for (old, new, expected) in [
        (
            ", \"1.1.0\" = \"127.0.0.1:16380\"",
            "",
            "release 1.1.0 of web has no port; add \"1.1.0\" = \"127.0.0.1:...\" to `ports`, or \
             say which tiers use this cache: tiers = [...]",
        ),
        (
            "16380",
            "8080",
            "127.0.0.1:8080 is taken; a port belongs to one release of one cache; choose another",
        ),
        (
            "16380",
            "16379",
            "127.0.0.1:16379 is taken; a port belongs to one release of one cache; choose another",
        ),
        (
            "127.0.0.1:16380",
            "127.0.0.1:6379",
            "127.0.0.1:6379 leads back to Weir; `upstream` is the server, a port is Weir's",
        ),
        (
            "127.0.0.1:16380",
            "127.0.0.1:0",
            "an app must know its port; write one: \"127.0.0.1:16379\"",
        ),
        ("\"redis\"", "\"memcache\"", "`kind`: \"memcache\" is not known"),
        (
            "redis://:hunter2@127.0.0.1:6379",
            "rediss://:hunter2@unix:/r",
            "a Unix socket needs no TLS",
        ),
        ("kind =", "tls = { verify = false }\nkind =", "`tls` is for upstreams that speak TLS"),
        ("kind =", "share = [\"q[a]\"]\nkind =", "\"q[a]\" is no pattern of keys"),
        (
            "kind =",
            "databases = { \"1.0.0\" = \"0-7\" }\nkind =",
            "`databases` has no use with mode = \"prefix\"; it is for mode = \"db\"",
        ),
        (
            "kind =",
            "mode = \"db\"\nshare = [\"q\"]\ndatabases = { \"1.0.0\" = \"0\" }\nkind =",
            "`share` has no use with mode = \"db\"; it is for mode = \"prefix\"",
        ),
        (
            "kind =",
            "mode = \"db\"\ndatabases = { \"1.0.0\" = \"0\" }\nkind =",
            "version 1.1.0 has a port and no databases; add it to `databases`",
        ),
        (
            "kind =",
            "mode = \"db\"\ndatabases = { \"1.0.0\" = \"0-8\", \"1.1.0\" = \"8-9\" }\nkind =",
            "versions 1.0.0 and 1.1.0 share databases",
        ),
        (
            "kind =",
            "mode = \"db\"\ndatabases = { \"1.0.0\" = \"7-0\", \"1.1.0\" = \"8\" }\nkind =",
            "these are no databases of a server; write the first and the last one",
        ),
        ("6379\"\n", "6379/3\"\n", "the database belongs to the app's own URL"),
        (
            "upstream =",
            "mode = \"instance\"\nupstream =",
            "`upstream` has no use with mode = \"instance\"",
        ),
        ("kind =", "tiers = [\"wbe\"]\nkind =", "there is no tier \"wbe\""),
    ] {
        let text = cache(old, new);
        let found = mistakes(&text);
        let said = |expected: &str| found.iter().any(|mistake| mistake.contains(expected));
        let known = expected.split("; ").next().unwrap_or(expected);
        assert!(said(expected) || (known == expected && said(known)), "{new}: {found:?}");
        let report = read(&text).unwrap_err();
        for shown in [report.picture(false), report.to_string(), report.json().to_string()] {
            assert!(!shown.contains("hunter2"), "a password is shown: {shown}");
        }
    }
}

#[test]
fn a_memcached_has_an_address_of_its_own_kind_and_neither_databases_nor_shared_keys() {
    let text = cache("\"redis\"", "\"memcached\"");
    let found = mistakes(&text);
    assert!(found.iter().any(|one| one.contains("this is an address of another")), "{found:?}");
    let text = text.replace("redis://:hunter2@127.0.0.1:6379", "memcached://127.0.0.1");
    let config = good(&text);
    assert_eq!(config.caches[0].ports[0].server.to_string(), "memcached://127.0.0.1:11211");
    assert_eq!(config.describe().get("cache.pages.kind").unwrap(), "memcached");
    for more in ["share = [\"queue:*\"]", "mode = \"db\"", "isolate = [\"a\"]"] {
        let found = mistakes(&format!("{text}{more}\n"));
        assert!(found.iter().any(|one| one.contains("is not for memcached")), "{more}: {found:?}");
    }
    let found = mistakes(&text.replace("memcached://", "memcached://:hunter2@"));
    assert!(found.iter().any(|one| one.contains("knows nobody by a password alone")), "{found:?}");
    assert!(!format!("{found:?}").contains("hunter2"), "a password is shown");
}

#[test]
fn a_release_whose_name_cannot_stand_before_keys_is_refused() {
    let text = cache("", "").replace("1.1.0", "1.1.0+build");
    let found = mistakes(&text);
    assert!(found.iter().any(|one| one.contains("cannot stand before keys")), "{found:?}");
    let observed = text.replace("kind =", "mode = \"observe\"\nkind =");
    assert_eq!(good(&observed).caches[0].ports.len(), 2);
}

#[test]
fn a_release_is_not_called_like_another_that_began_anew() {
    let found = mistakes(&cache("", "").replace("1.1.0", "1.0.0.g5"));
    assert!(
        found.iter().any(|one| one.contains("1.0.0.g5 is what 1.0.0 may be called")),
        "{found:?}"
    );
    assert_eq!(good(&cache("", "").replace("1.1.0", "1.1.0.g5")).caches.len(), 1);
}

#[test]
fn what_becomes_of_a_part_is_said_where_there_are_parts() {
    let [life] = &good(&cache("", "")).lives[..] else { panic!("one cache") };
    assert_eq!((life.on_rollback, life.stale_after), (OnRollback::Drop, Some(TEN_MINUTES)));
    let kept = cache("kind =", "on_rollback = \"keep\"\nstale_after = \"none\"\nkind =");
    let [life] = &good(&kept).lives[..] else { panic!("one cache") };
    assert_eq!((life.on_rollback, life.stale_after), (OnRollback::Keep, None));
    let found = mistakes(&kept.replace("kind =", "mode = \"observe\"\nkind ="));
    for key in ["on_rollback", "stale_after"] {
        let expected = format!("`{key}` has no use with mode = \"observe\"");
        assert!(found.iter().any(|mistake| mistake.contains(&expected)), "{found:?}");
    }
}

#[test]
fn a_port_of_a_release_that_is_gone_is_remarked() {
    let config = good(&cache("ports = {", "ports = { \"0.9.0\" = \"127.0.0.1:16378\","));
    let [warning] = config.warnings.as_slice() else { panic!("{:?}", config.warnings) };
    assert_eq!(warning.message(), "no tier has a release 0.9.0");
}

#[test]
fn a_deletion_is_repeated_only_where_versions_are_kept_apart() {
    let text =
        cache("kind = \"redis\"", "kind = \"redis\"\nmode = \"observe\"\ninvalidate = \"all\"");
    let found = mistakes(&text).join("\n");
    assert!(found.contains("`invalidate` has no use with mode"), "{found}");
}

#[test]
fn a_server_has_one_cache_that_puts_names_before_keys() {
    let second = CACHE.replace("pages", "sessions").replace(":163", ":164");
    let found = mistakes(&format!("{SMALLEST}{CACHE}{second}")).join("\n");
    assert!(found.contains("127.0.0.1:6379 has a cache with mode = \"prefix\" already"), "{found}");
    let other = second.replace(":6379", ":6380");
    assert_eq!(good(&format!("{SMALLEST}{CACHE}{other}")).caches.len(), 2);
    let observed = second.replace("kind = \"redis\"", "kind = \"redis\"\nmode = \"observe\"");
    assert_eq!(good(&format!("{SMALLEST}{CACHE}{observed}")).caches.len(), 2);
}

#[test]
fn a_port_that_others_reach_is_remarked() {
    let config = good(&cache("127.0.0.1:16380", "10.0.0.5:16380"));
    let said = format!("{:?}", config.warnings);
    assert!(said.contains("10.0.0.5:16380 can be reached from other machines"), "{said}");
    assert!(!said.contains("16379 can be reached"), "{said}");
}

#[test]
fn a_server_that_is_missing_is_shown_in_the_words_of_its_kind() {
    let without = cache("upstream = \"redis://:hunter2@127.0.0.1:6379\"\n", "");
    let found = mistakes(&without).join("\n");
    assert!(found.contains("add upstream = \"redis://127.0.0.1:6379\""), "{found}");
    let found = mistakes(&without.replace("\"redis\"", "\"memcached\"")).join("\n");
    assert!(found.contains("add upstream = \"memcached://127.0.0.1:11211\""), "{found}");
}
