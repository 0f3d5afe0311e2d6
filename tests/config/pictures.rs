//! The report as people see it, and its JSON.

use super::{and, mistakes, read, with};

const TEN_MISTAKES: &str = r#"[admin]
lisen = "127.0.0.1:7700"

[[tier]]
name = "web"
listen = "localhost:8080"
stable = "1.2.0"
releases = [
  { version = "1.0.0", upstreams = ["127.0.0.1:9101"] },
  { version = "1.1.0", upstreams = ["127.0.0.1:9101"] },
]
health = { path = "health", interval = 2 }
sticky = "cookies"

[rollout]
stages = [
  { weight = "50%" },
  { weight = "5%" },
  { weight = "100%" },
]

[analysis]
margin = "0.5%"
"#;

const PRINTED: &str = r#"error: unknown key `lisen` in [admin]
 --> weir.toml:2:1
  |
2 | lisen = "127.0.0.1:7700"
  | ^^^^^ did you mean `listen`?

error: `listen`: "localhost:8080" is no address to listen on
 --> weir.toml:6:10
  |
6 | listen = "localhost:8080"
  |          ^^^^^^^^^^^^^^^^ write "127.0.0.1:8080" or "[::1]:8080"

error: `stable` is "1.2.0", and there is no such release
 --> weir.toml:7:10
  |
7 | stable = "1.2.0"
  |          ^^^^^^^ use one of "1.0.0", "1.1.0"; did you mean "1.0.0"?
8 | releases = [
9 |   { version = "1.0.0", upstreams = ["127.0.0.1:9101"] },
  |               ------- the releases

error: 127.0.0.1:9101 is in two releases
  --> weir.toml:10:37
   |
 9 |   { version = "1.0.0", upstreams = ["127.0.0.1:9101"] },
   |                                     ---------------- the first
10 |   { version = "1.1.0", upstreams = ["127.0.0.1:9101"] },
   |                                     ^^^^^^^^^^^^^^^^ an address runs one version; two versions need two addresses

error: `path`: "health" is no path
  --> weir.toml:12:19
   |
12 | health = { path = "health", interval = 2 }
   |                   ^^^^^^^^ write a path that starts with /, such as "/health"; or "none"

error: `interval`: 2 has no unit
  --> weir.toml:12:40
   |
12 | health = { path = "health", interval = 2 }
   |                                        ^ write "2s" for seconds; "500ms", "1m30s" and "24h" are allowed too

error: `sticky`: "cookies" is not known
  --> weir.toml:13:10
   |
13 | sticky = "cookies"
   |          ^^^^^^^^^ use { cookie = "uid" }, { header = "authorization" }, "address", "cookie" or "none"

error: 5% does not rise above the 50% before it
  --> weir.toml:18:14
   |
17 |   { weight = "50%" },
   |              ----- the stage before
18 |   { weight = "5%" },
   |              ^^^^ weights rise from stage to stage

error: `weight`: a stage of 100% has nobody left to compare with
  --> weir.toml:19:14
   |
19 |   { weight = "100%" },
   |              ^^^^^^ leave it out: after the last stage everybody has it

error: `margin`: "0.5%" is a share, and a difference is wanted here
  --> weir.toml:23:10
   |
23 | margin = "0.5%"
   |          ^^^^^^ write a difference in percentage points, such as "0.5pp"; % is for shares

weir.toml: 10 mistakes
"#;

#[test]
fn ten_mistakes_are_ten_pictures() {
    let report = read(TEN_MISTAKES).unwrap_err();
    let printed = report.picture(false);
    assert!(printed == PRINTED, "{printed}");
    assert!(report.picture(true).contains("\u{1b}["), "colour when asked");
}

#[test]
fn programs_get_the_same_as_json() {
    let report = read(&with("stable = \"1.0.0\"", "stabel = \"1.0.0\"")).unwrap_err();
    assert_eq!(
        report.json(),
        serde_json::json!([{
            "level": "error",
            "code": "unknown_key",
            "file": "weir.toml",
            "line": 5,
            "column": 1,
            "key": "tier.web.stabel",
            "message": "unknown key `stabel` in [[tier]]",
            "help": "did you mean `stable`?",
            "other_lines": [],
        }])
    );
}

#[test]
fn at_most_twenty_are_printed() {
    let many: String = (0..30).map(|n| format!("x{n}x = 1\n")).collect();
    let report = read(&format!("{many}{}", super::SMALLEST)).unwrap_err();
    assert_eq!(report.len(), 30);
    let printed = report.picture(false);
    assert_eq!(printed.matches("error: ").count(), 20);
    assert!(printed.ends_with("weir.toml: 30 mistakes; the first 20 are shown\n"), "{printed}");
}

#[test]
fn unknown_keys_are_refused_at_each_level() {
    for (text, message) in [
        (
            "admn = 1\n".to_owned() + super::SMALLEST,
            "1: unknown key `admn` in the file; did you mean `admin`?",
        ),
        (
            and("[tier.health]\nintervall = \"2s\""),
            "11: unknown key `intervall` in [tier.health]; did you mean `interval`?",
        ),
        (
            and("interval = \"2s\""),
            "10: unknown key `interval` in [[tier]]; it belongs to [tier.health]",
        ),
        (and("[state]\npaht = \"x\""), "11: unknown key `paht` in [state]; did you mean `path`?"),
        (
            and("[proxy]\nworker = 2"),
            "11: unknown key `worker` in [proxy]; did you mean `workers`?",
        ),
        (and("[log]\nlvel = \"info\""), "11: unknown key `lvel` in [log]; did you mean `level`?"),
        (
            and("timeouts = { conect = \"1s\" }"),
            "10: unknown key `conect` in [tier.timeouts]; did you mean `connect`?",
        ),
        (
            and("limits = { conections = 1 }"),
            "10: unknown key `conections` in [tier.limits]; did you mean `connections`?",
        ),
        (
            and("sticky = { cokie = \"x\" }"),
            "10: unknown key `cokie` in [tier.sticky]; did you mean `cookie`?",
        ),
        (
            and("[rollout]\nstage = 1"),
            "11: unknown key `stage` in [rollout]; did you mean `stages`?",
        ),
        (
            and("[rollout]\nstages = [{ weight = \"5%\", bak = \"1s\" }]"),
            "11: unknown key `bak` in [[rollout.stages]]; did you mean `bake`?",
        ),
        (
            and("[analysis]\ngrase = \"1s\""),
            "11: unknown key `grase` in [analysis]; did you mean `grace`?",
        ),
        (
            and("[analysis.slow]\nmargn = 1"),
            "11: unknown key `margn` in [analysis.slow]; did you mean `margin`?",
        ),
        (
            and("[tier.analysis.errors]\nzzz = 1"),
            "11: unknown key `zzz` in [analysis.errors]; known are tolerated_ratio, tolerated, margin, margin_ratio",
        ),
        (
            and("[analysis.ignore]\npath = []"),
            "11: unknown key `path` in [analysis.ignore]; did you mean `paths`?",
        ),
        (
            and("[[analysis.watch]]\nname = \"x\"\nstatus = [\"302\"]\nonfail = \"hold\""),
            "13: unknown key `onfail` in [[analysis.watch]]; did you mean `on_fail`?",
        ),
        (
            with("upstreams = [\"127.0.0.1:9101\"]", "upstream = \"127.0.0.1:9101\""),
            "7: unknown key `upstream` in [[tier.releases]]; a release has a list of them: upstreams = [\"127.0.0.1:9101\"]",
        ),
    ] {
        assert_eq!(mistakes(&text), [message]);
    }
}

#[test]
fn broken_syntax_is_said_once_and_the_rest_is_still_read() {
    let text = r#"[admin]
listen = "127.0.0.1:7700
workers = = 3

[[tier]]
name = "web"
listen = 127.0.0.1:8080
stable = "1.0.0"
releases = [{ version = "1.0.0", upstreams = ["127.0.0.1:9101"] }]
canary_down = 24
"#;
    let found = mistakes(text);
    let lines: Vec<&str> = found.iter().filter_map(|one| one.split(':').next()).collect();
    assert_eq!(lines, ["2", "3", "7", "10"], "{found:#?}");
    assert_eq!(
        found[3],
        "10: `canary_down`: 24 has no unit; write \"24s\" for seconds; \"500ms\", \"1m30s\" and \"24h\" are allowed too"
    );
}

#[test]
fn a_broken_header_takes_its_keys_along_in_silence() {
    let found = mistakes("[admin\nlisten = 5\nfoo = 1\n[state]\npath = 3\n");
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].starts_with("1: unclosed table"), "{found:#?}");
    assert!(found[1].starts_with("5: `path`: 3 is not text"), "{found:#?}");
}

#[test]
fn secrets_are_never_shown() {
    for wrong in [
        "preview = { header = \"x-preview\", secret = \"hunter2\" }",
        "preview = { header = \"x-preview\", secert = \"hunter2hunter2hunter2\" }",
        "preview = { header = 5, secret = \"hunter2hunter2hunter2\" }",
        "preview = { header = \"x-preview\", secret = \"hunter2 hunter2 hunter2\" }",
        "preview = { header = \"x-preview\", secret = [\"hunter2\"] }",
        "preview = { header = \"x-preview\", secret = \"hunter2 ",
        "preview = \"hunter2\"",
        "[tier.preview]\nsecret = \"hunter2hunter2hunter2\" x\nheader = \"x-p\"",
    ] {
        let report = read(&and(wrong)).expect_err(wrong);
        assert!(!report.to_string().contains("hunter"), "{report}");
        assert!(!report.json().to_string().contains("hunter"), "{report}");
        assert!(!format!("{report:?}").contains("hunter"), "{report:?}");
    }
}
