//! Seeded random days and nights. A day has one tier: crashes, full and hanging disks, clock jumps,
//! lost metrics, edited files, orders in any phase. A night has a rollout over tiers with a runbook:
//! steps that end as they like, people who order anything, kills in between, an edited file. The
//! decisions and the judge are the real ones; around them stands the smallest program that keeps
//! the law of order (`docs/rollout.md`), with a disk that fails as the seed says. The real program
//! keeps the same law in `tests/control.rs` and `tests/recovery.rs`.
//!
//! `WEIR_SEED=7 cargo test no_day` plays one day and tells it; `no_night` a night.

mod day;
mod night;

use day::Day;
use night::Night;

/// Days of each form of the test, and nights.
const QUICK: u64 = 200;
const USUAL: u64 = 1_000;
const LONG: u64 = 20_000;

#[test]
fn no_day_breaks_a_law() {
    let mut seen = day::Seen::default();
    let live = |seed, tell| Day::new(seed, tell).live();
    if play("no_day", live, |lived| seen.add(&lived)) {
        println!("{seen:?}");
        seen.is_everything();
    }
}

#[test]
fn no_night_breaks_a_law() {
    let mut seen = night::Seen::new();
    let live = |seed, tell| Night::new(seed, tell).live();
    let add = |lived: night::Seen| {
        for (what, times) in lived {
            *seen.entry(what).or_default() += times;
        }
    };
    if play("no_night", live, add) {
        println!("{seen:?}");
        night::is_everything(&seen);
    }
}

/// Lives through all seeds, or through the one that is asked for; whether it were all.
fn play<T>(name: &str, live: fn(u64, bool) -> T, mut add: impl FnMut(T)) -> bool {
    if let Some(seed) = std::env::var("WEIR_SEED").ok().and_then(|seed| seed.parse().ok()) {
        live(seed, true);
        return false;
    }
    let is_set = |name| std::env::var_os(name).is_some();
    let seeds = match (is_set("WEIR_QUICK"), is_set("WEIR_LONG")) {
        (true, _) => QUICK,
        (false, true) => LONG,
        (false, false) => USUAL,
    };
    for seed in 0..seeds {
        let lived = std::panic::catch_unwind(|| live(seed, false)).ok();
        let how = format!("a law was broken: WEIR_SEED={seed} cargo test {name} tells how");
        add(lived.expect(&how));
    }
    true
}
