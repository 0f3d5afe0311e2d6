//! Two upgrades that go wrong, from the first order to the document afterwards.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{NEW, Night, OLD, Users};

const RAILS: &str = r#"
[rollout]
name   = "rails-4.2"
order  = ["admin", "web", "api"]
stages = [{ weight = "50%", bake = "1s", gate = "does the dashboard look well?" }]
[[step]]
name  = "backup"
when  = "before rollout"
shell = true
run   = "set -u; echo dumped; echo $WEIR_ROLLOUT $WEIR_STEP $WEIR_VERSION_OLD $WEIR_VERSION > backup"
[[step]]
name  = "warm-up"
when  = "before tier web"
shell = true
run   = "set -u; echo $WEIR_TIER > warm-up"
[[step]]
name  = "announce"
when  = "on rollback"
shell = true
run   = "set -u; echo $WEIR_REASON > announced"
"#;

#[test]
fn tiers_go_in_order_and_a_canary_that_fails_in_the_last_takes_all_of_them_back() {
    let night = Night::new(&["admin", "web", "api"], RAILS);
    let plan = night.say("plan");
    for said in ["the plan rails-4.2", "admin: 50% for 1 s", "api: everybody", "earliest end"] {
        assert!(plan.contains(said), "{said}: {plan}");
    }
    assert!(plan.contains("a person is asked: does the dashboard look well?"), "{plan}");
    assert!(night.program.status()["upgrade"].is_null(), "nothing has begun");
    let said = night.say("start --reason the-last-of-3.2");
    assert!(said.starts_with("the plan rails-4.2"), "{said}");
    assert!(said.contains("rails-4.2 started by operator"), "{said}");
    for (tier, index) in [("admin", 0), ("web", 1)] {
        night.until_it_waits_for(&format!("the judge of {tier}"));
        assert_eq!(night.standing()[index], (OLD.to_owned(), 5_000));
        assert_eq!(night.standing()[index + 1], (OLD.to_owned(), 0), "its turn comes later");
        assert!(night.refused("promote --yes").contains("comes first"));
        night.say("advance");
        night.until_it_waits_for("does the dashboard look well?");
        let screen = night.say("status");
        assert!(screen.contains("rails-4.2") && screen.contains("weir approve"), "{screen}");
        assert!(!screen.contains("weir start"), "it is refused now: {screen}");
        night.say("approve");
        night.until("a promotion", |night| night.standing()[index] == (NEW.to_owned(), 0));
    }
    assert_eq!(night.read("backup"), format!("rails-4.2 backup {OLD} {NEW}\n"));
    night.until_it_waits_for("the judge of api");
    let api = night.tier("api");
    api.new.state.failing.store(50, Ordering::SeqCst);
    let users = Users::of(api);
    night.until_it_is_over();
    drop(users);
    assert!(night.everybody_is_on(OLD), "{:?}", night.standing());
    night.everybody_gets(OLD);
    assert!(!night.read("announced").trim().is_empty(), "a reason");
    assert_eq!(night.read("warm-up"), "web\n");
    let log = night.say("log -n 100");
    for said in [
        "errors: canary",
        "step backup succeeded",
        "operator said yes to step",
        "admin: rolled back",
        "web: rolled back",
        "api: rolled back",
        "goes back, users first",
        "step announce succeeded",
        "is over: everybody and everything is back",
    ] {
        assert!(log.contains(said), "{said}: {log}");
    }
    let report = night.say("report");
    for said in ["rails-4.2", "the-last-of-3.2", "dumped", "rolled back", "announce"] {
        assert!(report.contains(said), "{said}: {report}");
    }
    assert!(night.refused("start").contains("--again"));
}

/// The beginning of a whole minute that is a while ahead, as the file says it, in Berlin.
fn decision_time() -> String {
    /// So that everything before it has been done by then.
    const AHEAD: i64 = 15;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let minute = (i64::try_from(now).expect("not so late") + AHEAD) / 60 * 60 + 60;
    let moment = jiff::Timestamp::from_second(minute).expect("a moment");
    let there = moment.in_tz("Europe/Berlin").expect("a zone");
    there.strftime("%Y-%m-%d %H:%M").to_string()
}

#[test]
fn the_decision_time_takes_everybody_back_and_leaves_the_maintenance_on() {
    let decide_by = decision_time();
    let rest = format!(
        r#"
[rollout]
order  = ["admin", "web"]
stages = [{{ weight = "50%", bake = "1h" }}]
decide_by = "{decide_by}"
[[step]]
name = "terraform"
when = "before tier web"
confirm = "is the database there?"
"#
    );
    let night = Night::new(&["admin", "web"], &rest);
    night.say("start");
    night.say("promote --yes");
    night.until_it_waits_for("is the database there?");
    night.say("maintenance on web --message back-soon");
    let screen = night.say("status");
    assert!(screen.contains(&format!("decide by  {decide_by} CE")), "{screen}");
    // Somebody brings in what was forgotten; the maintenance is not in the file.
    night.write_file(&rest.replace("there?", "there, and full?"));
    night.program.ask(&["reload"]);
    assert_eq!(night.standing()[0], (NEW.to_owned(), 0));
    night.within(Duration::from_mins(2), "the decision time", |night| {
        night.program.status()["upgrade"].is_null()
    });
    assert!(night.everybody_is_on(OLD), "{:?}", night.standing());
    let log = night.say("log");
    assert!(log.contains("admin: rolled back") && log.contains("the decision time"), "{log}");
    let status = night.program.status();
    assert_eq!(status["tiers"][1]["closed"]["purpose"], "maintenance", "{status:#}");
    night.say("maintenance off web");
    night.everybody_gets(OLD);
    // The file still says it: a start now would go back at once.
    let why = night.refused("start --again");
    assert!(why.contains("has passed") && why.contains("decide_by"), "{why}");
}
