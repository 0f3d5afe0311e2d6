//! Weir is killed while a step runs: the command goes on, and is neither forgotten nor repeated.

use super::{NEW, Night};

/// A command that writes a line as it begins and another as it ends, which it does once the file
/// `go` is there.
const COMMAND: &str = "echo begun $WEIR_ATTEMPT; echo $$ >> begun; until test -e go; do sleep 0.1; done; echo >> ended";

fn night(more: &str) -> Night {
    night_of(&format!(
        r#"
[[step]]
name  = "migrate"
when  = "before rollout"
shell = true
run   = "{COMMAND}"
{more}
"#
    ))
}

/// One tier that rises to 50 %, and these steps.
fn night_of(steps: &str) -> Night {
    let rollout = r#"
[rollout]
order  = ["web"]
stages = [{ weight = "50%", bake = "1h" }]
"#;
    Night::new(&["web"], &format!("{rollout}{steps}"))
}

fn lines(night: &Night, name: &str) -> usize {
    night.read(name).lines().count()
}

/// Starts, waits until the command runs, and kills Weir.
fn killed_during_the_command(night: &mut Night) {
    night.say("start");
    night.until("the command to begin", |night| lines(night, "begun") == 1);
    night.until_it_waits_for("step migrate, which runs");
    night.program.kill();
    night.program.restart();
}

#[test]
fn the_command_goes_on_and_a_person_takes_it_as_done() {
    let mut night = night("");
    killed_during_the_command(&mut night);
    let process = night.read("begun").trim().to_owned();
    night.until_it_waits_for(&format!("still runs, as process {process}"));
    let waits = night.waits_for();
    assert!(waits.contains("`weir step skip migrate` if it is done"), "{waits}");
    let status = night.program.status();
    assert_eq!(status["upgrade"]["needs_person"], true);
    assert_eq!(status["upgrade"]["output"][0], "begun 1", "{status:#}");
    std::fs::write(night.path("go"), "").unwrap();
    night.until_it_waits_for("its command has ended");
    assert_eq!((lines(&night, "begun"), lines(&night, "ended")), (1, 1));
    night.say("step skip");
    night.until_it_waits_for("the judge of web");
    assert_eq!(night.standing()[0].1, 5_000);
    // Somebody has decided: the next start knows nothing of it.
    night.until("the folder of steps to be empty", |night| {
        std::fs::read_dir(night.path("weir.db").with_extension("steps"))
            .is_ok_and(|folder| folder.count() == 0)
    });
    night.say("promote --yes");
    night.until_it_is_over();
    night.everybody_gets(NEW);
}

#[test]
fn what_may_be_done_twice_is_done_again_once_the_first_has_ended() {
    let mut night = night("on_interrupt = \"retry\"");
    killed_during_the_command(&mut night);
    night.until("to be told of the first", |night| {
        let status = night.program.status();
        status["upgrade"]["output"].to_string().contains("waits for the end of process")
    });
    assert_eq!(lines(&night, "begun"), 1, "never beside itself");
    std::fs::write(night.path("go"), "").unwrap();
    night.until_it_waits_for("the judge of web");
    assert_eq!((lines(&night, "begun"), lines(&night, "ended")), (2, 2));
}

#[test]
fn a_hand_over_waits_for_the_end_of_a_step() {
    let night = night("");
    night.say("start");
    night.until("the command to begin", |night| lines(night, "begun") == 1);
    let mut heir = night.program.another(&["--replace"]);
    let ended = heir.wait().expect("it ends");
    assert!(!ended.success());
    let log = night.program.log();
    assert!(log.contains("a step of the runbook runs"), "{log}");
    std::fs::write(night.path("go"), "").unwrap();
    night.until_it_waits_for("the judge of web");
}

#[test]
fn what_undoes_a_step_comes_after_its_end_though_weir_was_killed_in_between() {
    let restore = "[[step]]\nname = \"restore\"\nwhen = \"on rollback\"\nshell = true\nrun = \"test -e \
                   ended && echo > restored\"";
    let mut night = night(restore);
    killed_during_the_command(&mut night);
    let process = night.read("begun").trim().to_owned();
    night.say("rollback");
    night.until_it_waits_for(&format!("it begins at the end of process {process}"));
    std::fs::write(night.path("go"), "").unwrap();
    night.until_it_is_over();
    assert!(night.path("restored").exists());
}

/// One that does not end by SIGTERM alone if it is `deaf`.
fn night_that_stops(deaf: bool) -> Night {
    let trap = if deaf { "" } else { "echo asked >> asked; exit 3" };
    let night = night_of(&format!(
        r#"
[[step]]
name  = "migrate"
when  = "after stage 50%"
shell = true
run   = "trap '{trap}' TERM; echo $$ >> begun; while :; do sleep 0.1; done"
on_rollback = "stop"
[[step]]
name  = "restore"
when  = "on rollback"
shell = true
run   = "! grep -qs 'State:.[RSD]' /proc/$(cat begun)/status && echo > restored"
"#
    ));
    night.say("start");
    night.until_it_waits_for("the judge of web");
    night.say("advance");
    night.until("the command to begin", |night| lines(night, "begun") == 1);
    night.until_it_waits_for("step migrate, which runs");
    night
}

#[test]
fn a_step_that_may_be_stopped_holds_no_way_back_up() {
    let night = night_that_stops(false);
    night.say("rollback");
    assert_eq!(night.standing()[0].1, 0, "users are back at once");
    night.until_it_is_over();
    assert!(night.path("restored").exists(), "it had ended before it was undone");
    assert_eq!(lines(&night, "asked"), 1);
    let log = night.say("log -n 50");
    assert!(log.contains("step migrate was broken off"), "{log}");
}

#[test]
fn a_step_is_stopped_also_by_the_next_weir() {
    // Killed while the step runs, and rolled back after the start.
    let mut night = night_that_stops(false);
    night.program.kill();
    night.program.restart();
    night.until_it_waits_for("still runs, as process");
    night.say("rollback");
    night.until_it_is_over();
    assert!(night.path("restored").exists());
    // Killed while it waits for one that does not hear.
    let mut night = night_that_stops(true);
    night.say("rollback");
    night.until_it_waits_for("step migrate, which runs");
    night.program.kill();
    night.program.restart();
    night.until_it_waits_for("which was told to end");
    night.until_it_is_over();
    assert!(night.path("restored").exists());
    assert_eq!(night.standing()[0].1, 0);
}
