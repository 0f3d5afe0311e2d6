//! Steps that fail, that take long, and that look before anything begins.

use std::time::{Duration, Instant};

use super::{NEW, Night, OLD};

#[test]
fn a_step_that_fails_holds_until_it_is_mended_and_done_again() {
    let night = Night::new(
        &["web"],
        r#"
[rollout]
stages = [{ weight = "50%", bake = "1h" }]
[[step]]
name  = "migrate"
when  = "after stage 50%"
shell = true
run   = "echo no such table: $WEIR_TIER; test -e mended || exit 7"
"#,
    );
    night.say("start");
    night.until_it_waits_for("the judge of web");
    night.say("advance");
    let waits = night.until_it_waits_for("step migrate failed: exit code 7");
    assert!(waits.contains("`weir step retry migrate`"), "{waits}");
    assert_eq!(night.standing()[0], (OLD.to_owned(), 5_000), "users stay where they are");
    assert!(night.refused("approve").contains("no step waits for that"));
    std::fs::write(night.path("mended"), "").unwrap();
    let said = night.say("step retry migrate");
    assert!(said.contains("step migrate begins, run 2"), "{said}");
    night.until_it_is_over();
    night.everybody_gets(NEW);
    assert!(night.say("report").contains("no such table: web"));
}

#[test]
fn a_step_that_may_not_fail_takes_all_tiers_back() {
    let night = Night::new(
        &["admin", "web"],
        r#"
[rollout]
order  = ["admin", "web"]
stages = [{ weight = "50%", bake = "1h" }]
[[step]]
name  = "smoke"
when  = "after tier admin"
shell = true
run   = "exit 3"
on_failure = "rollback"
"#,
    );
    night.say("start");
    night.say("promote --yes");
    night.until_it_is_over();
    assert!(night.everybody_is_on(OLD), "{:?}", night.standing());
    night.everybody_gets(OLD);
    let log = night.say("log");
    assert!(log.contains("step smoke failed") && log.contains("admin: rolled back"), "{log}");
}

#[test]
fn a_rollback_takes_users_back_at_once_and_the_way_back_waits_for_the_command() {
    let night = Night::new(
        &["admin", "web"],
        r#"
[rollout]
order  = ["admin", "web"]
stages = [{ weight = "50%", bake = "1h" }]
[[step]]
name  = "migrate"
when  = "before tier web"
shell = true
run   = "echo > begun; sleep 20; echo > ended"
[[step]]
name  = "restore"
when  = "on rollback"
shell = true
run   = "test -e ended && echo > restored"
"#,
    );
    night.say("start");
    night.say("promote --yes");
    night.until("the command to begin", |night| night.path("begun").exists());
    let ordered = Instant::now();
    night.say("rollback");
    assert!(!night.path("ended").exists(), "answered after {:?}", ordered.elapsed());
    assert!(night.everybody_is_on(OLD), "{:?}", night.standing());
    night.everybody_gets(OLD);
    let waits = night.waits_for();
    assert!(waits.contains("step migrate, which runs"), "{waits}");
    assert!(!night.path("ended").exists() && !night.path("restored").exists());
    night.within(Duration::from_mins(1), "the way back", |night| night.path("restored").exists());
    night.until_it_is_over();
}

#[test]
fn a_missing_backup_holds_the_start_before_any_user_is_moved() {
    let night = Night::new(
        &["web"],
        r#"
[rollout]
stages = [{ weight = "50%", bake = "1h" }]
[preflight]
backup = { file = "dump_*.sql", max_age = "24h", min_size = "1B" }
"#,
    );
    night.say("start");
    let waits = night.until_it_waits_for("step backup failed");
    assert!(waits.contains("dump_*.sql"), "{waits}");
    assert!(night.everybody_is_on(OLD), "{:?}", night.standing());
    assert_eq!(night.ask("preflight").status.code(), Some(1));
    assert!(night.refused("advance").contains("backup"));
    std::fs::write(night.path("dump_1.sql"), "create table carts;").unwrap();
    night.say("step retry backup");
    night.until_it_waits_for("the judge of web");
    assert_eq!(night.standing()[0].1, 5_000);
}
