//! Stages of `[rollout]`, and of tiers that have their own.

use weir::config::Config;
use weir::rollout::runbook::When;
use weir::rollout::{Plan, Stages};
use weir::traffic::TierName;

use super::{good, read};

/// Tiers of these names, each with this more.
fn tiers(tiers: &[(&str, &str)], more: &str) -> String {
    let tier = |(number, (name, more)): (usize, &(&str, &str))| {
        format!(
            "[[tier]]\nname = \"{name}\"\nlisten = \"127.0.0.1:808{number}\"\nstable = \"1.0.0\"\n\
             {more}\nreleases = [{{ version = \"1.0.0\", upstreams = [\"127.0.0.1:910{number}\"] }}]\n"
        )
    };
    tiers.iter().enumerate().map(tier).chain([more.to_owned()]).collect()
}

fn weights(config: &Config, tier: usize) -> Vec<String> {
    let Stages::Listed(plan) = config.stages(&config.tiers[tier]) else { return vec![] };
    plan.stages().iter().map(|stage| stage.weight.to_string()).collect()
}

fn names(groups: &[Vec<TierName>]) -> Vec<Vec<&str>> {
    groups.iter().map(|group| group.iter().map(TierName::as_str).collect()).collect()
}

const HALF: &str = "stages = [{ weight = \"50%\", bake = \"5m\", gate = \"well?\" }]";
const FIFTH: &str =
    "[rollout]\nbake = \"9s\"\nstages = [{ weight = \"5%\" }, { weight = \"20%\" }]";

#[test]
fn a_tier_has_its_own_stages_or_those_of_all() {
    let config = good(&tiers(&[("admin", HALF), ("web", ""), ("api", "stages = \"auto\"")], FIFTH));
    assert_eq!(weights(&config, 0), ["50%"]);
    assert_eq!(weights(&config, 1), ["5%", "20%"]);
    assert_eq!(*config.stages(&config.tiers[2]), Stages::Auto);
    let described = config.describe();
    assert_eq!(described["tier.admin.stages"], "[50% for 5m]");
    assert!(!described.contains_key("tier.web.stages"), "{described:#?}");
    let [gate] = config.runbook.steps.as_slice() else { panic!("one gate") };
    assert_eq!(gate.name.as_str(), "gate-admin-50");
    assert_eq!(gate.when, "after stage 50% of admin".parse::<When>().unwrap());
    let unsaid = tiers(&[("admin", "stages = [{ weight = \"1%\" }]")], FIFTH);
    let seconds = |stages: &Stages| match stages {
        Stages::Auto => panic!("they are listed"),
        Stages::Listed(plan) => Plan::first(plan).bake.as_secs(),
    };
    let config = good(&unsaid);
    assert_eq!(seconds(config.stages(&config.tiers[0])), 9, "the bake of all");
}

#[test]
fn who_has_other_stages_moves_apart() {
    let half = HALF.replace(", gate = \"well?\"", "");
    let four = [("admin", &*half), ("web", ""), ("api", ""), ("shop", &*half)];
    let config = good(&tiers(&four, "[rollout]\nname = \"a\"\norder = [\"web\"]"));
    let order = names(&config.rollout.upgrade.order);
    assert_eq!(order, [vec!["web"], vec!["admin", "shop"], vec!["api"]]);
    let config = good(&tiers(&four, ""));
    assert!(!config.rollout.upgrade.is_wanted(), "each goes its own way");
    let same = good(&tiers(&[("web", ""), ("api", "")], "[rollout]\nname = \"a\""));
    assert!(same.rollout.upgrade.order.is_empty());
}

#[test]
fn what_is_wrong_with_stages_of_a_tier_is_said() {
    let pair = [("admin", HALF), ("web", "")];
    for (text, said) in [
        (
            tiers(&pair, "[rollout]\norder = [[\"admin\", \"web\"]]"),
            "admin and web move together and have other stages",
        ),
        (
            tiers(&[("web", ""), ("admin", HALF)], "[rollout]\norder = [[\"admin\", \"web\"]]"),
            "web and admin move together and have other stages",
        ),
        (
            tiers(
                &pair,
                &format!(
                    "{FIFTH}\n[[step]]\nname = \"a\"\nwhen = \"after stage 50% of web\"\nrun = [\"true\"]"
                ),
            ),
            "there is no stage of 50%",
        ),
        (
            tiers(
                &pair,
                &format!(
                    "{FIFTH}\n[[step]]\nname = \"a\"\nwhen = \"after stage 50% of wbe\"\nrun = [\"true\"]"
                ),
            ),
            "there is no tier \"wbe\"",
        ),
        (
            tiers(
                &pair,
                &format!(
                    "{FIFTH}\n[[step]]\nname = \"a\"\nwhen = \"after stage 7%\"\nrun = [\"true\"]"
                ),
            ),
            "the stages are 5%, 20%, 50%",
        ),
        (
            tiers(&[(&"a".repeat(60), HALF)], ""),
            "its name would be longer than that of a step may be",
        ),
    ] {
        let picture = read(&text).expect_err(&text).picture(false);
        assert!(picture.contains(said), "{said}: {picture}");
    }
    let every = "[[step]]\nname = \"a\"\nwhen = \"after stage 20%\"\nrun = [\"true\"]";
    good(&tiers(&pair, &format!("{FIFTH}\n{every}")));
}
