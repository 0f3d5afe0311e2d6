//! Commands: variables, exit codes, time, output, and what becomes of them when Weir is killed.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use weir::hooks::{Hooks, Interrupted, Occasion, Place, Scene, Secrets, Settings, Standing};
use weir::rollout::runbook::{Action, Ending, OUTPUT_BYTES_MAX, Run};

use super::super::support::quick::is_quick;
use super::{done, ended, hooks, is_alive, keyring, number, shell, step, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_told_for_what_it_is_run() {
    let place = tempfile::tempdir().unwrap();
    let occasion = Occasion {
        rollout: Some("rails-4.2".into()),
        tier: Some("web".parse().unwrap()),
        stage: Some("25%".parse().unwrap()),
        old: Some("1.0.0".parse().unwrap()),
        new: Some("1.1.0".parse().unwrap()),
        reason: Some("the night".into()),
        ..Occasion::default()
    };
    let text = "set -u; echo $WEIR_ROLLOUT $WEIR_TIER $WEIR_STAGE $WEIR_VERSION_OLD $WEIR_VERSION \
                $WEIR_STEP $WEIR_ATTEMPT $WEIR_REASON; pwd; cat; echo ${NOTIFY_SOCKET-none}";
    let running = hooks(place.path(), "").start(shell(text), occasion, Scene::default);
    let (outcome, lines) = ended(running).await;
    assert_eq!(outcome.ending, Ending::Succeeded, "{outcome:?}");
    let folder = place.path().canonicalize().unwrap().display().to_string();
    let told = "rails-4.2 web 25% 1.0.0 1.1.0 migrate 1 the night";
    assert_eq!(lines, [told, &folder, "none"]);
    assert_eq!(outcome.output.head, format!("{told}\n{folder}\nnone\n"));
    assert_eq!(std::fs::read_dir(place.path().join("weir.steps")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_named_without_its_folder_lies_in_this_one() {
    let place = tempfile::tempdir().unwrap();
    let (folder, ledger) = (PathBuf::new(), place.path().join("weir.steps"));
    let place = Place { folder, ledger, secrets: Secrets::default() };
    let hooks = Hooks::new(Settings { place, keyring: keyring() });
    let running = hooks.start(shell("pwd"), Occasion::default(), Scene::default);
    let (outcome, lines) = ended(running).await;
    assert!(outcome.succeeded(), "{outcome:?}");
    assert_eq!(lines, [std::env::current_dir().unwrap().display().to_string()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_shell_reads_a_list() {
    let place = tempfile::tempdir().unwrap();
    let command = ["printf", "%s|", "$HOME", "a b", "*", "; false"].map(str::to_owned).to_vec();
    let (outcome, lines) =
        done(place.path(), step(Action::Run(Run { command, shell: false, expect: None }))).await;
    assert_eq!(lines, ["$HOME|a b|*|; false|"]);
    assert!(outcome.succeeded());
    let missing = Run { command: vec!["/nowhere/pg_dump".into()], shell: false, expect: None };
    let (outcome, _) = done(place.path(), step(Action::Run(missing))).await;
    assert_eq!(outcome.ending, Ending::Failed);
    assert!(outcome.why.contains("/nowhere/pg_dump") && outcome.why.contains("No such file"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_decides_and_retries_are_counted() {
    let place = tempfile::tempdir().unwrap();
    let mut flaky = shell("echo try $WEIR_ATTEMPT; test $WEIR_ATTEMPT = 3 || exit 7");
    flaky.retries = 2;
    let (outcome, lines) = done(place.path(), flaky.clone()).await;
    assert_eq!((outcome.ending, outcome.tries), (Ending::Succeeded, 3));
    assert_eq!(outcome.output.head, "try 3\n", "of the last try");
    assert_eq!(lines[1], "exit code 7; try 2 follows");
    flaky.retries = 1;
    let (outcome, _) = done(place.path(), flaky).await;
    let said = outcome.sentence(&"migrate".parse().unwrap());
    assert!(said.starts_with("step migrate failed after 2 tries in "), "{said}");
    assert!(said.ends_with(": exit code 7"), "{said}");
    let (outcome, _) = done(place.path(), shell("kill -SEGV $$")).await;
    assert_eq!((outcome.ending, outcome.why.as_str()), (Ending::Failed, "ended by signal 11"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_takes_too_long_is_ended_with_all_that_it_started() {
    let place = tempfile::tempdir().unwrap();
    let mut slow = shell("echo begun; sleep 1000 & echo $! > child; wait");
    slow.timeout = Duration::from_secs(2);
    let (outcome, lines) = done(place.path(), slow).await;
    assert_eq!(outcome.ending, Ending::TimedOut, "{outcome:?}");
    assert_eq!(lines, ["begun"]);
    assert_eq!(outcome.output.head, "begun\n");
    assert!(!is_alive(number(place.path(), "child")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_does_not_heed_is_killed_after_a_grace() {
    if is_quick("the grace of a command") {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    // The child heeds nothing either, and its parent is gone by then.
    let text = "(trap '' TERM; echo $$ > shell; sleep 1000 & echo $! > child; wait) & \
                echo $! > group; exec sleep 1000";
    let running = hooks(place.path(), "").start(shell(text), Occasion::default(), Scene::default);
    number(place.path(), "child");
    let group = number(place.path(), "group");
    let since = Instant::now();
    running.cancel();
    let (outcome, _) = ended(running).await;
    assert_eq!(outcome.ending, Ending::Cancelled, "{outcome:?}");
    assert!(since.elapsed() >= Duration::from_secs(9), "it had its time");
    assert!(outcome.why.contains("was killed"), "{}", outcome.why);
    until("end of the group", || (!is_alive(group)).then_some(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_can_be_broken_off_between_two_tries() {
    let place = tempfile::tempdir().unwrap();
    let mut flaky = shell("touch tried; exit 1");
    (flaky.retries, flaky.retry_after) = (9, Duration::from_hours(1));
    let running = hooks(place.path(), "").start(flaky, Occasion::default(), Scene::default);
    until("try", || place.path().join("tried").exists().then_some(()));
    running.cancel();
    let (outcome, _) = ended(running).await;
    assert_eq!((outcome.ending, outcome.tries), (Ending::Cancelled, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn output_is_bounded_and_shows_no_secret() {
    let place = tempfile::tempdir().unwrap();
    let text = "echo first hunter2-hunter2; seq 1 400000; echo last >&2";
    let (outcome, lines) = done(place.path(), shell(text)).await;
    assert!(outcome.succeeded());
    assert_eq!(lines[0], "first ***");
    let output = outcome.output;
    assert!(output.head.starts_with("first ***\n1\n2\n"));
    assert!(output.tail.ends_with("\n400000\nlast\n"), "{:?}", &output.tail[..40]);
    assert!(output.head.len() <= OUTPUT_BYTES_MAX && output.tail.len() <= OUTPUT_BYTES_MAX);
    // All digits and their line feeds, and what stands before and after.
    let all = 9 * 2 + 90 * 3 + 900 * 4 + 9_000 * 5 + 90_000 * 6 + 300_001 * 7 + 10 + 5;
    assert_eq!(output.head.len() + output.tail.len() + usize::try_from(output.cut).unwrap(), all);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_command_leaves_running_does_not_hold_it_up() {
    let place = tempfile::tempdir().unwrap();
    let (outcome, _) = done(place.path(), shell("sleep 1000 & echo $! > child; echo up")).await;
    assert_eq!(outcome.ending, Ending::Succeeded);
    let child = number(place.path(), "child");
    assert!(is_alive(child), "a service that it started stays");
    assert!(Command::new("kill").arg(child.to_string()).status().unwrap().success());
}

/// Not a test of its own: the process that
/// [`a_command_outlives_weir_and_the_next_start_knows_of_it`] kills.
#[tokio::test(flavor = "multi_thread")]
async fn another_process_that_is_killed() {
    let Some(folder) = std::env::var_os("WEIR_TEST_KILLED") else { return };
    // It writes more than a pipe holds after its Weir is gone.
    let text = "echo $$ > process; echo half hunter2-hunter2; until test -e go; do sleep 0.05; \
                done; seq 1 100000; echo whole; touch done; until test -e end; do sleep 0.05; done";
    let occasion = Occasion { rollout: Some("7".into()), ..Occasion::default() };
    let folder = std::path::Path::new(&folder);
    let running = hooks(folder, "hunter2-hunter2").start(shell(text), occasion, Scene::default);
    ended(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_outlives_weir_and_the_next_start_knows_of_it() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    let mut weir = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "runbook::commands::another_process_that_is_killed"])
        .env("WEIR_TEST_KILLED", folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let process = number(folder, "process");
    let next = hooks(folder, "hunter2-hunter2");
    // Also while its Weir lives, once that has written down which process it is.
    let running = |lost: &Interrupted| lost.standing == Standing::Running(process);
    until("line of it", || next.interrupted().pop().filter(running));
    weir.kill().unwrap();
    weir.wait().unwrap();
    std::fs::write(folder.join("go"), "").unwrap();
    until("end of the work", || folder.join("done").exists().then_some(()));
    let lost = next.interrupted();
    let [lost] = lost.as_slice() else { panic!("{lost:?}") };
    assert_eq!(lost.standing, Standing::Running(process));
    assert_eq!((lost.step.as_str(), lost.occasion.rollout.as_deref()), ("migrate", Some("7")));
    assert!(lost.output.to_string().contains("\nwhole"), "{}", lost.output);
    assert!(!lost.output.to_string().contains("hunter2"));
    // The same step does not run beside itself.
    let again = next.start(shell("touch twice"), Occasion::default(), Scene::default);
    let (outcome, _) = ended(again).await;
    assert_eq!(outcome.ending, Ending::Failed);
    assert!(outcome.why.contains(&format!("process {process} ")), "{}", outcome.why);
    assert!(!folder.join("twice").exists());
    std::fs::write(folder.join("end"), "").unwrap();
    next.outlive(lost).await;
    assert!(!is_alive(process));
    let lost = next.interrupted();
    assert_eq!(lost[0].standing, Standing::Ended);
    next.forget(&lost[0]);
    assert!(next.interrupted().is_empty());
}
