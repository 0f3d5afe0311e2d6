//! Seeded random days: crashes, full and hanging disks, clock jumps, lost metrics, edited files,
//! orders in any phase. The decisions and the judge are the real ones; around them stands the
//! smallest program that keeps the law of order (`docs/rollout.md`), with a disk that fails as the
//! seed says. The real program keeps the same law in `tests/control.rs` and `tests/recovery.rs`.
//!
//! `WEIR_SEED=7` plays one day and tells it.

mod day;

use day::Day;

/// Days of each form of the test.
const QUICK: u64 = 200;
const USUAL: u64 = 1_000;
const LONG: u64 = 20_000;

#[test]
fn no_day_breaks_a_law() {
    if let Some(seed) = std::env::var("WEIR_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Day::new(seed, true).live();
        return;
    }
    let is_set = |name| std::env::var_os(name).is_some();
    let days = match (is_set("WEIR_QUICK"), is_set("WEIR_LONG")) {
        (true, _) => QUICK,
        (false, true) => LONG,
        (false, false) => USUAL,
    };
    let mut seen = day::Seen::default();
    for seed in 0..days {
        let lived = std::panic::catch_unwind(|| Day::new(seed, false).live()).ok();
        let how = format!("a law was broken: WEIR_SEED={seed} cargo test simulation tells how");
        seen.add(&lived.expect(&how));
    }
    println!("{days} days: {seen:?}");
    seen.is_everything();
}
