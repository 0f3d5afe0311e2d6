//! Values out of their range, and places that contradict each other.

use super::{SMALLEST, and, good, line, mistakes, read, with};

/// The only mistake of `text`, and the lines of the other places it points at.
fn only(text: &str) -> (String, Vec<usize>) {
    let report = read(text).expect_err(text);
    let [one] = report.diagnostics() else { panic!("{report}") };
    (line(one), one.other_lines().collect())
}

fn another_tier(name: &str, listen: &str) -> String {
    and(&format!(
        "[[tier]]\nname = \"{name}\"\nlisten = \"{listen}\"\nstable = \"1\"\n\
         releases = [{{ version = \"1\", upstreams = [\"127.0.0.1:9201\"] }}]"
    ))
}

#[test]
fn conflicts_point_at_both_places() {
    for (text, message, others) in [
        (
            another_tier("web", "127.0.0.1:8081"),
            "11: two tiers are called \"web\"; give each a name of its own",
            vec![3],
        ),
        (
            another_tier("api", "0.0.0.0:8080"),
            "12: 0.0.0.0:8080 is taken: another tier listens on 127.0.0.1:8080; write the same address in both and give them routes, or give each its own port",
            vec![4],
        ),
        (
            format!("[admin]\nlisten = \"127.0.0.1:8080\"\n{SMALLEST}"),
            "6: 127.0.0.1:8080 is taken: the admin address is 127.0.0.1:8080; give one of the two another port",
            vec![2],
        ),
        (
            with("127.0.0.1:8080", "127.0.0.1:7700"),
            "4: 127.0.0.1:7700 is taken: the admin address is 127.0.0.1:7700; give one of the two another port; 127.0.0.1:7700 is the default of [admin]",
            vec![],
        ),
        (
            with("127.0.0.1:9101", "localhost:8080"),
            "7: localhost:8080 leads back to Weir, which listens on 127.0.0.1:8080; write the address of the app",
            vec![4],
        ),
        (
            with("127.0.0.1:9101", "0.0.0.0:7700"),
            "7: 0.0.0.0:7700 leads to the admin address 127.0.0.1:7700; write the address of the app",
            vec![],
        ),
        (
            with("127.0.0.1:9102", "localhost:9101"),
            "8: localhost:9101 is in two releases; an address runs one version; two versions need two addresses",
            vec![7],
        ),
        (
            with("[\"127.0.0.1:9102\"]", "[\"a:1\", \"a:1\"]"),
            "8: a:1 stands twice in one release; remove one of the two",
            vec![8],
        ),
        (
            with("version = \"1.1.0\"", "version = \"1.0.0\""),
            "8: version \"1.0.0\" stands twice; a version is the identity of a release; a mended build gets a new one",
            vec![7],
        ),
        (
            with("stable = \"1.0.0\"", "stable = \"1.2.0\""),
            "5: `stable` is \"1.2.0\", and there is no such release; use one of \"1.0.0\", \"1.1.0\"; did you mean \"1.0.0\"?",
            vec![7],
        ),
        (
            and("[rollout]\nstages = [\n{ weight = \"5%\" },\n{ weight = \"5%\" }]"),
            "13: 5% does not rise above the 5% before it; weights rise from stage to stage",
            vec![12],
        ),
        (
            and("[analysis]\nmargin = \"1pp\"\n[analysis.errors]\nmargin = \"1pp\""),
            "13: `margin` is said twice; keep one of the two: they mean the same",
            vec![11],
        ),
        (
            and("sticky = { cookie = \"a\",\n header = \"b\" }"),
            "11: clients stick to a cookie or to a header, not to both; remove one of the two",
            vec![10],
        ),
        (
            and(
                "[[analysis.watch]]\nname = \"a\"\nstatus = [\"302\"]\n[[analysis.watch]]\nname = \"a\"\nstatus = [\"401\"]",
            ),
            "14: two watches are called \"a\"; give each a name of its own",
            vec![11],
        ),
    ] {
        assert_eq!(only(&text), (message.to_owned(), others));
    }
}

#[test]
fn a_secret_stands_in_one_place() {
    let text = and(
        "[tier.preview]\nheader = \"x-p\"\nsecret = \"0123456789abcdef\"\nsecret_file = \"/none\"",
    );
    let found = mistakes(&text);
    assert!(found[1].starts_with("13: `secret_file`: /none cannot be read"), "{found:#?}");
    assert_eq!(found[0], "13: the secret is said twice; keep one of the two");
}

#[test]
fn what_is_out_of_range_says_the_range() {
    for (text, message) in [
        (
            and("[rollout]\nstages = [{ weight = \"100%\" }]"),
            "11: `weight`: a stage of 100% has nobody left to compare with; leave it out: after the last stage everybody has it",
        ),
        (
            and("[rollout]\nstages = [{ weight = \"0%\" }]"),
            "11: `weight`: a stage of 0% admits nobody; use 0.01% to 99.99%",
        ),
        (
            and("[rollout]\nstages = []"),
            "11: `stages` is empty; write at least one, { weight = \"5%\", bake = \"60s\" }, or \"auto\"",
        ),
        (
            and("[rollout]\nstages = \"atuo\""),
            "11: `stages`: \"atuo\" is not known; use \"auto\"; did you mean \"auto\"?",
        ),
        (
            and("stages = []"),
            "10: `stages` is empty; write at least one, { weight = \"5%\", bake = \"60s\" }, or \"auto\"",
        ),
        (
            and("[rollout]\nstages = [{ bake = \"1s\" }]"),
            "11: [[rollout.stages]] has no `weight`; add weight = \"5%\"",
        ),
        (
            and("[analysis]\nmargin = \"0.5%\""),
            "11: `margin`: \"0.5%\" is a share, and a difference is wanted here; write a difference in percentage points, such as \"0.5pp\"; % is for shares",
        ),
        (
            and("[analysis]\nmargin = \"60pp\""),
            "11: `margin`: 60pp is out of range; use 0.001pp to 50pp",
        ),
        (
            and("[analysis]\nfalse_rollback = 0.01"),
            "11: `false_rollback`: 0.01 has no unit; write a share, such as \"0.5%\"",
        ),
        (
            and("[analysis]\nfalse_rollback = \"60%\""),
            "11: `false_rollback`: 60% is out of range; use 0.0001% to 50%",
        ),
        (and("[analysis]\ngrace = \"2h\""), "11: `grace`: \"2h\" is out of range; use 0s to 1h"),
        (
            and("[analysis]\nwhen_unproven = \"advanc\""),
            "11: `when_unproven`: \"advanc\" is not known; use \"hold\" or \"advance\"; did you mean \"advance\"?",
        ),
        (
            and("[analysis.slow]\nmargin_ratio = 0.5"),
            "11: `margin_ratio`: 0.5 is out of range; use 1 to 100",
        ),
        (
            and("[analysis.slow]\nmargin_ratio = \"2\""),
            "11: `margin_ratio`: \"2\" is not a factor; write a factor, 1 to 100, without quotes: margin_ratio = 1.5",
        ),
        (
            and("health = { interval = 2 }"),
            "10: `interval`: 2 has no unit; write \"2s\" for seconds; \"500ms\", \"1m30s\" and \"24h\" are allowed too",
        ),
        (
            and("health = { path = \"health\" }"),
            "10: `path`: \"health\" is no path; write a path that starts with /, such as \"/health\"; or \"none\"",
        ),
        (
            and("limits = { head_bytes = 65536 }"),
            "10: `head_bytes`: 65536 has no unit; write text with a unit: \"512B\", \"64KiB\", \"10MB\"",
        ),
        (
            and("limits = { head_bytes = \"1B\" }"),
            "10: `head_bytes`: \"1B\" is out of range; use 1KiB to 1MiB",
        ),
        (
            and("limits = { connections = -1 }"),
            "10: `connections`: -1 is out of range; use 1 to 1000000",
        ),
        (
            and("access_log = \"yes\""),
            "10: `access_log`: \"yes\" is not true or false; write true or false, without quotes",
        ),
        (
            and("trusted_proxies = [\"10.0.0.0/40\"]"),
            "10: `trusted_proxies`: \"10.0.0.0/40\" is no address or network; write \"10.0.0.0/8\", \"192.0.2.7\" or \"2001:db8::/32\"",
        ),
        (
            and("sticky = \"cookies\""),
            "10: `sticky`: \"cookies\" is not known; use { cookie = \"uid\" }, { header = \"authorization\" }, \"address\", \"cookie\" or \"none\"",
        ),
        (
            and("sticky = { cookie = \"weir\" }"),
            "10: `cookie`: \"weir\" is Weir's own cookie; it is the default: sticky = \"cookie\"; for others choose another name",
        ),
        (
            and("preview = { secret = \"0123456789abcdef\" }"),
            "10: [tier.preview] has no `header`; add header = \"x-preview\" or cookie = \"preview\"",
        ),
        (
            and("preview = { cookie = \"p\", secret = \"short\" }"),
            "10: `secret`: the secret has 5 bytes; use 16 to 256 (`openssl rand -hex 16` makes one)",
        ),
        (
            and("[log]\nlevel = \"inf\""),
            "11: `level`: \"inf\" is not a level; use off, error, warn, info, debug or trace, or \"info,weir::proxy=debug\"; did you mean \"info\"?",
        ),
        (and("[proxy]\nworkers = 0"), "11: `workers`: 0 is out of range; use 1 to 256"),
        (with("name = \"web\"\n", ""), "2: [[tier]] has no `name`; add name = \"web\""),
        (
            with("\"web\"", "\"my web\""),
            "3: `name`: \"my web\" is no tier name; use 1 to 64 letters, digits and ._-",
        ),
        (
            with("[\"127.0.0.1:9102\"]", "[]"),
            "8: `upstreams` is empty; list at least one address: [\"127.0.0.1:9101\"]",
        ),
        (
            with("[\"127.0.0.1:9102\"]", "\"127.0.0.1:9102\""),
            "8: `upstreams`: \"127.0.0.1:9102\" is not a list; write a list of texts: upstreams = [\"127.0.0.1:9101\"]",
        ),
        (
            with("127.0.0.1:9102", "http://127.0.0.1:9102/v1"),
            "8: `upstreams`: \"http://127.0.0.1:9102/v1\" is no address; an upstream has no path: \"http://127.0.0.1:9102\"",
        ),
        (
            with("127.0.0.1:9102", "grpc://127.0.0.1:9102"),
            "8: `upstreams`: \"grpc://127.0.0.1:9102\" is no scheme that upstreams have; write h2c:// without TLS, https:// with it: \"h2c://127.0.0.1:9102\"",
        ),
        (
            with("[[tier]]", "[tier]"),
            "2: `tier`: a table is not a list of tables; write [[tier]] above each, or tier = [{ ... }, { ... }]",
        ),
    ] {
        assert_eq!(mistakes(&text), [message]);
    }
    assert_eq!(
        mistakes(
            "[[tier]]\nname = \"web\"\nlisten = \"127.0.0.1:80\"\nstable = \"1\"\nreleases = []\n"
        ),
        ["5: `releases` is empty; add { version = \"1.0.0\", upstreams = [\"127.0.0.1:9101\"] }"]
    );
    assert_eq!(
        mistakes("[state]\n"),
        ["0: there is no tier; add [[tier]] with name, listen, stable and releases"]
    );
}

#[test]
fn limits_have_names_and_numbers() {
    let list =
        |count: usize| (0..count).map(|n| format!("\"h{n}:1\"")).collect::<Vec<_>>().join(",");
    let stages: Vec<String> = (1..=51).map(|n| format!("{{ weight = \"0.{n:02}%\" }}")).collect();
    let watches: Vec<String> =
        (0..9).map(|n| format!("{{ name = \"w{n}\", status = [\"302\"] }}")).collect();
    let tiers: String = (0..65).map(|n| format!("[[tier]]\nname = \"t{n}\"\n")).collect();
    for (text, message) in [
        (
            with("[\"127.0.0.1:9102\"]", &format!("[{}]", list(257))),
            "`upstreams` has 257 entries; at most 256 are allowed",
        ),
        (
            and(&format!("[rollout]\nstages = [{}]", stages.join(","))),
            "`stages` has 51 entries; at most 50 are allowed",
        ),
        (
            and(&format!("[analysis]\nwatch = [{}]", watches.join(","))),
            "`watch` has 9 entries; at most 8 are allowed",
        ),
        (
            and(&format!("trusted_proxies = [{}]", "\"::1\",".repeat(257))),
            "`trusted_proxies` has 257 entries; at most 256 are allowed",
        ),
        (tiers, "`tier` has 65 entries; at most 64 are allowed"),
    ] {
        let found = mistakes(&text);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].ends_with(message), "{found:#?}");
    }
}

#[test]
fn what_is_allowed_and_rarely_meant_is_a_warning() {
    let warned = |text: &str| good(text).warnings.iter().map(line).collect::<Vec<_>>();
    assert_eq!(warned(SMALLEST), [""; 0]);
    assert_eq!(
        warned(&and("[admin]\nlisten = \"0.0.0.0:7700\"")),
        [
            "11: 0.0.0.0:7700 can be reached from other machines; reads need a token there too, and tokens travel unencrypted; 127.0.0.1 is the default"
        ]
    );
    assert_eq!(
        warned(&and("[rollout]\nstages = [{ weight = \"90%\" }]")),
        [
            "11: above 50% the judge grows blind, and 90% is above it; at 90% it takes 71 errors to see anything; let 50% be the last stage"
        ]
    );
    assert_eq!(
        warned(&with("\"1.1.0\"", "\"latest\"")),
        [
            "8: version \"latest\" means another build tomorrow; a version is the identity of a build in the journal; name the build: \"1.1.0\""
        ]
    );
    assert_eq!(
        warned(&and("[analysis]\ngive_up = \"30s\"")),
        [
            "11: stages are given up after 30s, within the grace of 1m; nothing can be proven before; make give_up longer or grace shorter"
        ]
    );
}

#[test]
fn cookies_that_are_kept_apart_have_names_and_words() {
    let tier = |line: &str| with("stable = ", &format!("{line}\nstable = "));
    for (line, message) in [
        (
            "cookies = { _session = \"overlaid\" }",
            "5: \"overlaid\" is not known; use \"share\", \"isolate\" or \"overlay\"",
        ),
        (
            "cookies = { _session = true }",
            "5: true is not text; use \"share\", \"isolate\" or \"overlay\"",
        ),
        (
            "cookies = { \"a b\" = \"overlay\" }",
            "5: \"a b\" is no cookie name; write the name of a cookie: letters, digits, - and _",
        ),
        (
            "cookies = { \"a~b\" = \"overlay\" }",
            "5: \"a~b\" has a ~ in its name; Weir writes the mark of a release behind it; leave such a cookie out",
        ),
        (
            "cookies = \"_session\"",
            "5: `cookies`: \"_session\" is not a table; write cookies = { \"_session\" = \"overlay\" }",
        ),
    ] {
        assert_eq!(only(&tier(line)).0, message);
    }
    let config = good(&tier(
        "cookies = { uid = \"overlay\", theme = \"share\" }\nsticky = { cookie = \"uid\" }",
    ));
    assert_eq!(
        config.warnings.iter().map(line).collect::<Vec<_>>(),
        [
            "5: clients stick to \"uid\", which the canary writes elsewhere; who logs in on the canary would change to stable and be logged out; leave `sticky` out"
        ]
    );
    let apart: Vec<_> =
        config.tiers[0].tier.cookies.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(apart, ["uid"]);
}

#[test]
fn tiers_of_one_host_that_treat_a_cookie_differently_are_remarked() {
    let tier = |name: &str, listen: &str, more: &str| {
        format!(
            "[[tier]]\nname = \"{name}\"\nlisten = \"{listen}\"\nstable = \"1.0.0\"\n{more}\n\
             releases = [{{ version = \"1.0.0\", upstreams = [\"127.0.0.1:1\"] }}]\n"
        )
    };
    let said = |one: &str, (listen, two): (&str, &str)| {
        let web = tier("web", "127.0.0.1:8080", one);
        let config = good(&format!("{web}{}", tier("api", listen, two)));
        config.warnings.iter().map(|warning| warning.message().to_owned()).collect::<Vec<_>>()
    };
    let (apart, same) = ("cookies = { s = \"overlay\" }\n", "127.0.0.1:8080");
    let api = "route = { path = \"/api/\" }\n";
    let expected = ["`cookies` of web and of api differ, and browsers send the same to both"];
    assert_eq!(said(apart, (same, api)), expected);
    assert_eq!(said(apart, (same, &format!("{api}{apart}"))), [""; 0]);
    let at = |host: &str, more: &str| format!("route = {{ host = \"{host}\" }}\n{more}");
    let other = "127.0.0.1:8081";
    assert_eq!(said(&at("shop.example", apart), (other, &at("shop.example", ""))), expected);
    assert_eq!(said(&at("shop.example", apart), (other, &at("api.example", ""))), [""; 0]);
    assert_eq!(said(apart, (other, "")), [""; 0], "nobody knows");
}

#[test]
fn answers_differ_by_what_a_proxy_says_of_the_place_and_nothing_else() {
    for (name, message) in [
        ("X-Forwarded-For", "\"X-Forwarded-For\" needs not be named"),
        ("x-forwarded-proto", "\"x-forwarded-proto\" needs not be named"),
        ("Accept", "by \"Accept\" no proxy says where the client asked"),
        ("a b", "by \"a b\" no proxy says where the client asked"),
    ] {
        let text = format!("cache = {{ size = \"1MiB\", forwarded = [\"{name}\"] }}");
        let found = mistakes(&and(&text)).join("\n");
        assert!(found.contains(message), "{found}");
    }
    let text = "cache = { size = \"1MiB\", forwarded = [\"X-Forwarded-Port\", \"Forwarded\"] }";
    let described = good(&and(text)).describe();
    assert_eq!(described.get("tier.web.cache.forwarded").unwrap(), "x-forwarded-port, forwarded");
}
