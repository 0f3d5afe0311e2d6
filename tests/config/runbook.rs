//! The runbook: steps, the preflight, and what is refused of them.

use weir::rollout::runbook::{Action, Check, OnFailure, OnInterrupt, Run, Step, When};

use super::{SMALLEST, good, read};

fn steps(text: &str) -> Vec<Step> {
    good(&format!("{SMALLEST}{text}")).runbook.steps
}

/// What is said of a file with `text`.
fn refused(text: &str) -> String {
    read(&format!("{SMALLEST}{text}")).expect_err(text).picture(false)
}

#[test]
fn a_step_is_read_with_what_is_not_said() {
    let steps = steps(
        r#"
[[step]]
name = "backup"
when = "before tier web"
run = ["pg_dump", "shop"]
retries = 2
on_interrupt = "retry"
[[step]]
name = "tell"
when = "after rollout"
owner = "Ada"
confirm = "have the admins been told?"
[[step]]
name = "smoke"
when = "after stage 5%"
http = "http://127.0.0.1:9/smoke"
on_failure = "rollback"
[[step]]
name = "clean"
when = "on rollback"
shell = true
run = "rm -f /tmp/a && echo $TOKEN --token=$TOKEN"
"#,
    );
    let [backup, tell, smoke, clean] = steps.as_slice() else { panic!("{steps:?}") };
    let command = vec!["pg_dump".to_owned(), "shop".to_owned()];
    assert_eq!(backup.action, Action::Run(Run { command, shell: false, expect: None }));
    assert_eq!((backup.retries, backup.on_interrupt), (2, OnInterrupt::Retry));
    assert_eq!((tell.owner.as_deref(), &tell.action), (Some("Ada"), &Action::Confirm));
    assert_eq!(smoke.when, When::AfterStage { weight: "5%".parse().unwrap(), tier: None });
    assert_eq!(smoke.on_failure, OnFailure::Rollback);
    assert!(matches!(&clean.action, Action::Run(run) if run.shell && run.command.len() == 1));
}

#[test]
fn the_preflight_comes_first_where_the_file_has_one() {
    let own = "[[step]]\nname = 'room'\nwhen = 'before rollout'\ncheck = { free = '1B', on = '/' }";
    let names = |steps: &[Step]| -> Vec<String> {
        steps.iter().map(|step| step.name.to_string()).collect()
    };
    let without = good(&format!("{SMALLEST}{own}")).runbook;
    assert_eq!(names(&without.steps), ["room"]);
    assert_eq!(names(&without.preflight), ["exact", "healthy", "hours", "caches", "clock", "room"]);
    let preflight = "[preflight]\nhours = false\nclock = 'none'\ntraffic_below = 9\n\
                     tcp = ['127.0.0.1:9']\nmigrations = 'safe for the old one?'\n\
                     backup = { file = 'dump_*.sql' }\n";
    let with = good(&format!("{SMALLEST}{preflight}{own}")).runbook;
    let all = ["exact", "healthy", "caches", "backup", "traffic", "tcp-1", "migrations", "room"];
    assert_eq!(names(&with.steps), all);
    assert_eq!(with.steps, with.preflight);
    let Action::Check(Check::File { path, .. }) = &with.steps[3].action else { panic!("no file") };
    assert_eq!(path, "/etc/weir/dump_*.sql", "relative to the file");
}

#[test]
fn what_contradicts_itself_or_the_rest_of_the_file_is_refused() {
    let step = |rest: &str| format!("[[step]]\nname = 'a'\nwhen = 'before rollout'\n{rest}\n");
    let back = |name: &str, undoes: &str| {
        let head = format!("[[step]]\nname = '{name}'\nwhen = 'on rollback'\nrun = ['ls']");
        format!("{head}\nundoes = '{undoes}'\n")
    };
    for (text, part) in [
        (step(""), "the step does nothing"),
        (step("run = 'ls'"), "add shell = true"),
        (step("run = ['ls']\nshell = true"), "write one text for /bin/sh"),
        (step("run = []"), "the command is empty"),
        (step("run = ['ls']\nhttp = 'http://a/'"), "a step does one thing"),
        (step("http = 'ftp://a/'"), "is no URL"),
        (step("check = { file = 'a', free = '1B', on = '/' }"), "are two checks"),
        (step("check = { tier = 'web' }"), "looks at nothing"),
        (step("check = { free = '1B' }"), "has no `on`"),
        (step("check = { traffic_below = 9, tier = 'wep' }"), "did you mean \"web\"?"),
        (step("confirm = ''"), "no such line"),
        (step("run = ['ls']\nretries = 101"), "use 0 to 100"),
        (step("run = ['ls']") + &step("run = ['ls']"), "two steps are called \"a\""),
        (step("run = ['ls']\nundoes = 'a'"), "steps are undone on a rollback alone"),
        (step("run = ['ls']") + &back("b", "aa"), "there is no step \"aa\""),
        (back("b", "b"), "step b is done on a rollback itself"),
        (step("run = ['ls']").replace("before rollout", "at noon"), "use \"before rollout\""),
        (step("run = ['ls']").replace("rollout", "tier api"), "the tiers are web"),
        ("[preflight]\nbackup = { file = '/*/a' }\n".into(), "in a folder"),
        (
            step("run = ['ls']").replace("before rollout", "after stage 7%")
                + "[rollout]\nstages = [{ weight = '5%' }]\n",
            "the stages are 5%",
        ),
    ] {
        let said = refused(&text);
        assert!(said.contains(part), "{text}\n{said}");
    }
}

#[test]
fn a_secret_in_a_step_is_refused_and_not_shown() {
    for step in [
        "run = ['pg_dump', '--password=hunter2']",
        "run = ['pg_dump', 'postgres://shop:hunter2@db/shop']",
        "shell = true\nrun = 'PGPASSWORD=hunter2 pg_dump shop'",
        "http = { url = 'http://a/', headers = { Authorization = 'Bearer hunter2' } }",
        "http = { url = 'http://ada:hunter2@a/' }",
    ] {
        let said = refused(&format!("[[step]]\nname = 'a'\nwhen = 'before rollout'\n{step}\n"));
        assert!(said.contains("error"), "{step}\n{said}");
        assert!(!said.contains("hunter2"), "{step}\n{said}");
    }
    let http = "http = { url = 'http://a/', headers = { Authorization = 'env:TOKEN' } }";
    assert_eq!(steps(&format!("[[step]]\nname = 'a'\nwhen = 'before rollout'\n{http}")).len(), 1);
}

const WORKER: &str = r#"
[[worker]]
name = "worker"
instances = ["work-1", "work-2"]
switch = ["ssh", "{instance}", "deploy", "{version}"]
"#;

#[test]
fn workers_follow_the_only_tier_and_have_a_place_in_the_order() {
    let more = "[rollout]\norder = ['worker', 'web']\n[[step]]\nname = 'smoke'\n\
                when = 'after tier worker'\nrun = ['true']";
    let config = good(&format!("{SMALLEST}{WORKER}{more}"));
    assert_eq!(config.tiers.len(), 1);
    let [workers] = config.rollout.upgrade.workers.as_slice() else {
        panic!("one tier of workers")
    };
    assert_eq!((workers.name().as_str(), workers.follows.as_str()), ("worker", "web"));
    assert_eq!(workers.fleet.instances, ["work-1", "work-2"]);
    assert_eq!((&workers.fleet.quiet, &workers.fleet.health), (&None, &None));
    assert_eq!(workers.fleet.on_failure, OnFailure::Rollback);
    let described = config.describe();
    for (key, said) in [("drain", "5m"), ("ready", "1m"), ("timeout", "2m"), ("bake", "1m")] {
        assert_eq!(described.get(&format!("worker.worker.{key}")).unwrap(), said, "{key}");
    }
}

#[test]
fn what_is_wrong_with_workers_is_said() {
    let changed = |from: &str, to: &str| refused(&WORKER.replace(from, to));
    for (from, to, said) in [
        ("\"worker\"", "\"web\"", "another tier is called web"),
        ("instances", "follows = \"wob\"\ninstances", "there is no tier \"wob\""),
        ("\"work-2\"", "\"work-1\"", "work-1 stands twice in the list"),
        ("\"work-1\", \"work-2\"", "", "`instances` is empty"),
        ("\"work-2\"", "\"work/2\"", "is no instance"),
        ("work-2", &"x".repeat(60), "too long together"),
        ("switch = [", "switch = [[], ", "something else than text"),
        ("\"deploy\"", "\"--password=hunter2\"", "a password in the command"),
        ("switch = ", "kind = \"rolling\"\nswitch = ", "unknown key `kind`"),
    ] {
        let picture = changed(from, to);
        assert!(picture.contains(said), "{said}: {picture}");
    }
    let text = changed("[\"ssh\", \"{instance}\", \"deploy\", \"{version}\"]", "\"deploy\"");
    assert!(text.contains("or [\"sh\", \"-c\", \"...\"]"), "{text}");
    let with = |more: &str| refused(&format!("{WORKER}{more}"));
    let together = with("[rollout]\norder = [['web', 'worker']]");
    assert!(together.contains("worker moves one instance at a time"), "{together}");
    let unseen = changed("instances", "jobs = \"pages\"\ninstances");
    assert!(unseen.contains("nothing called \"pages\" counts their jobs"), "{unseen}");
    let least = changed("instances", "jobs_least = 5\ninstances");
    assert!(least.contains("jobs are not looked at"), "{least}");
    let seen = "[[cache]]\nname = 'seen'\nkind = 'redis'\nmode = 'observe'\n\
                upstream = 'redis://127.0.0.1:6379'\nports = { '1.0.0' = '127.0.0.1:1', '1.1.0' = '127.0.0.1:2' }";
    let alone = WORKER.replace(", \"work-2\"", "").replace("instances", "jobs = 'seen'\ninstances");
    let config = good(&format!("{SMALLEST}{alone}{seen}"));
    let said = format!("{:?}", config.warnings);
    assert!(said.contains("with one instance"), "{said}");
    let cache = "[[cache]]\nname = 'pages'\nkind = 'redis'\nmode = 'prefix'\n\
                 upstream = 'redis://127.0.0.1:6379'\nports = { '1.0.0' = '127.0.0.1:1' }";
    let prefixed =
        refused(&format!("{}{cache}", WORKER.replace("instances", "jobs = \"pages\"\ninstances")));
    assert!(prefixed.contains("mode = \"observe\""), "{prefixed}");
    let step = "[[step]]\nname = 'worker-work-2-switch'\nwhen = 'before rollout'\nrun = ['true']";
    assert!(with(step).contains("a [[step]] is called worker-work-2-switch"), "{}", with(step));
    let own = with("[[step]]\nname = 'x'\nwhen = 'in tier worker'\nrun = ['true']");
    assert!(own.contains("use \"before tier worker\""), "{own}");
}

#[test]
fn a_queue_is_shared_on_purpose() {
    let queue = "[[cache]]\nname = 'jobs'\nkind = 'redis'\nmode = 'observe'\n\
                 upstream = 'redis://127.0.0.1:6379'\n\
                 ports = { '1.0.0' = '127.0.0.1:1', '1.1.0' = '127.0.0.1:2' }\n";
    let names = |text: &str| -> Vec<String> {
        good(&format!("{SMALLEST}{text}")).scene().caches.into_iter().map(|it| it.name).collect()
    };
    assert_eq!(names(&format!("{queue}{WORKER}")), ["jobs"], "nobody looks at its jobs");
    assert!(names(&format!("{queue}{WORKER}jobs = 'jobs'\n")).is_empty());
}

#[test]
fn no_secret_of_the_file_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("chat.secret");
    std::fs::write(&kept, "plugh-plugh-plugh\n").unwrap();
    let text = format!(
        "[[notify]]\nname = 'chat'\n\
         webhook = {{ url = 'https://chat.example.org/hooks/xyzzy', secret = 'file:{}' }}\n\
         [maintenance.bypass]\nheader = 'x-let-me-in'\nsecret = '0123456789abcdef'\n",
        kept.display()
    );
    let secrets = good(&format!("{SMALLEST}{text}")).secrets([]);
    for secret in ["https://chat.example.org/hooks/xyzzy", "plugh-plugh-plugh", "0123456789abcdef"]
    {
        assert_eq!(secrets.masked(&format!("told {secret}.")), "told ***.");
    }
}

const ROLLING: &str = r#"
[[tier]]
name = "api"
listen = "127.0.0.1:8080"
stable = "3.2"
releases = [{ version = "3.2" }, { version = "4.2", host = "api.example.org" }]
[tier.rolling]
instances = [
  { name = "api-1", address = "10.0.0.11:3000" },
  { name = "api-2", address = "10.0.0.12:3000" },
]
switch = ["ssh", "{instance}", "deploy", "{version}"]
"#;

const BESIDE: &str = r#"releases = [{ version = "1" }]
[tier.rolling]
instances = [
  { name = "web-1", address = "10.0.0.12:3000" },
  { name = "web-2", address = "10.0.0.13:3000" },
]
switch = ["ssh", "{instance}", "deploy", "{version}"]
"#;

#[test]
fn instances_of_a_tier_with_traffic_are_moved_instead_of_upstreams() {
    let config = good(ROLLING);
    let tier = &config.tiers[0];
    assert_eq!(tier.instances.len(), 2);
    assert!(tier.releases.iter().all(|release| release.upstreams.is_empty()));
    let fleet = config.rollout.upgrade.rolling(&tier.tier.name).unwrap();
    assert_eq!((fleet.instances[1].as_str(), fleet.bake.as_secs()), ("api-2", 60));
    assert!(config.rollout.upgrade.is_wanted(), "its rollout is one over tiers");
    let described = config.describe();
    let said = described.get("tier.api.rolling.instances.api-1.address").unwrap();
    assert_eq!(said, "10.0.0.11:3000");
    assert_eq!(described.get("tier.api.rolling.drain").unwrap(), "5m");
    // Without a journal they have what is stable.
    let scene = config.scene();
    let upstreams = scene.tiers[0].releases.iter().map(|release| release.upstreams.len());
    assert_eq!(upstreams.collect::<Vec<_>>(), [2, 0]);
}

#[test]
fn what_is_rarely_meant_of_instances_is_said() {
    let remarks = |text: &str| {
        let said = good(text).warnings;
        said.iter().map(|warning| warning.message().to_owned()).collect::<Vec<_>>()
    };
    let third = "  { name = \"api-3\", address = \"10.0.0.13:3000\" },\n]\nreports = [\"true\"]\n";
    let whole = ROLLING.replacen("]\nswitch", &format!("{third}switch"), 1);
    let peak = "while the last but one of the 3 is moved, one alone carries 66.66% of the users, and \
                everybody where it goes back then";
    assert_eq!(remarks(&whole), [peak]);
    let few = [
        "while one of the two is moved the other carries everybody",
        "nobody asks an instance which version it runs, once it was switched",
    ];
    assert_eq!(remarks(ROLLING), few);
    for (from, said) in [
        ("\"{instance}\", ", "`switch` has no {instance}, and does the same for every instance"),
        (", \"{version}\"", "`switch` has no {version}, and does the same forward and back"),
    ] {
        let mut said = [said, peak];
        let mut found = remarks(&whole.replacen(from, "", 1));
        found.sort();
        said.sort_unstable();
        assert_eq!(found, said);
    }
    let health = "health = { interval = \"40s\", rise = 2 }\n[tier.rolling]";
    let slow = whole.replacen("[tier.rolling]", health, 1);
    let said = "an instance is well after 2 health checks, 40 s apart: longer than `ready`";
    assert_eq!(remarks(&slow), [peak, said]);
    assert_eq!(remarks(&slow.replacen("switch =", "ready = \"2m\"\nswitch =", 1)), [peak]);
}

#[test]
fn what_cannot_be_moved_is_said() {
    let changed = |from: &str, to: &str| {
        assert!(ROLLING.contains(from), "{from}");
        refused(&ROLLING.replacen(from, to, 1))
    };
    let second = "  { name = \"api-2\", address = \"10.0.0.12:3000\" },\n";
    let own = "{ version = \"3.2\", upstreams = [\"10.0.0.11:3000\"] }";
    for (from, to, said) in [
        (second, "", "`instances` has 1, and the others serve while one is moved"),
        ("api-2", "api-1", "two instances are called api-1"),
        ("10.0.0.12:3000", "10.0.0.11:3000", "10.0.0.11:3000 is in two instances"),
        ("10.0.0.12:3000", "127.0.0.1:8080", "127.0.0.1:8080 leads back to Weir"),
        ("api-2", "a b", "\"a b\" is no instance"),
        (
            "stable = \"3.2\"",
            "stable = \"3.2\"\nstages = [{ weight = \"5%\" }]",
            "the weight follows from how many instances were moved",
        ),
        ("{ version = \"3.2\" }", own, "the tier has instances, and a release no `upstreams`"),
        ("switch = [\"ssh\"", "swich = [\"ssh\"", "did you mean `switch`?"),
    ] {
        let picture = changed(from, to);
        assert!(picture.contains(said), "{said}: {picture}");
    }
    let with = |more: &str| refused(&format!("{ROLLING}{more}"));
    let taken =
        with("[[step]]\nname = \"api-api-1-well\"\nwhen = \"before rollout\"\nrun = [\"true\"]");
    assert!(taken.contains("a [[step]] is called api-api-1-well"), "{taken}");
    for place in ["releases = [{ version = '1', upstreams = ['10.0.0.12:3000'] }]", BESIDE] {
        let other = "[[tier]]\nname = 'web'\nlisten = '127.0.0.1:8081'\nstable = '1'\n";
        let shared = with(&format!("{other}{place}"));
        let said = "10.0.0.12:3000 is an instance, and tier ";
        assert_eq!(shared.matches(said).count(), 1, "{shared}");
    }
    let web = "[[tier]]\nname = 'web'\nlisten = '127.0.0.1:8081'\nstable = '1'\nreleases = [{ version = \
               '1', upstreams = ['127.0.0.1:9'] }]\n";
    let together = with(&format!("{web}[rollout]\norder = [['web', 'api']]"));
    assert!(together.contains("api moves one instance at a time"), "{together}");
}
