//! The judge beside those of others, over simulated rollouts that each of them steers itself. With
//! `WEIR_LONG=1` three hundred of each kind; with `WEIR_RENEW=1` as well, the tables of
//! docs/judges.md are written anew.

mod rules;
mod traffic;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use rules::{Argo, Flagger, Kayenta, Weir};
use traffic::{Kind, Second, Traffic};

/// The weights that all of them climb; after the last one everybody has the canary.
const LADDER: [f64; 4] = [0.01, 0.05, 0.25, 0.5];

/// What a judge says after a window.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Word {
    Stay,
    Advance,
    RollBack,
    /// There was nothing to judge, and there will be nothing.
    Stuck,
}

/// One that steers a rollout.
trait Judge {
    /// The weight at the beginning of stage `stage`, if it has stages of its own.
    fn ladder(&self) -> &'static [f64] {
        &LADDER
    }

    /// The hour of stable before the rollout, a minute each.
    fn calibrate(&mut self, _minute: &Second) {}

    /// A stage begins at `now`, in seconds since the rollout began; it leads to `next`.
    fn enter(&mut self, _now: f64, _next: f64) {}

    /// A window that ended at `now`.
    fn observe(&mut self, now: f64, window: &Second) -> Word;
}

/// How a rollout ended.
#[derive(Clone, Copy, Debug)]
enum End {
    Promoted { at: f64 },
    RolledBack { at: f64, failed: u64 },
    Stuck,
}

/// Rollouts behind each number of the page.
const RUNS: u64 = 300;

/// Simulated seconds after which a rollout that has not ended is stuck.
const SECONDS_MAX: f64 = 12.0 * 3600.0;

fn steer(judge: &mut dyn Judge, kind: &Kind, seed: u64) -> End {
    let mut traffic = Traffic::new(kind, seed);
    for _ in 0..60 {
        judge.calibrate(&traffic.minute_before());
    }
    let ladder = judge.ladder();
    let next = |stage: usize| ladder.get(stage + 1).copied().unwrap_or(1.0);
    let (mut stage, mut now, mut failed) = (0, 0.0, 0);
    judge.enter(now, next(stage));
    while now < SECONDS_MAX {
        let window = traffic.window(now, ladder[stage]);
        now += kind.window;
        failed += window.canary.errors;
        match judge.observe(now, &window) {
            Word::Stay => {}
            Word::RollBack => return End::RolledBack { at: now, failed },
            Word::Stuck => return End::Stuck,
            Word::Advance => {
                stage += 1;
                if stage == ladder.len() {
                    return End::Promoted { at: now };
                }
                judge.enter(now, next(stage));
            }
        }
    }
    End::Stuck
}

/// The judges, in the order of the tables.
const JUDGES: [&str; 4] = ["Weir", "Flagger", "Argo Rollouts", "Kayenta"];

fn judge(name: &str) -> Box<dyn Judge> {
    match name {
        "Weir" => Box::new(Weir::new()),
        "Flagger" => Box::new(Flagger::default()),
        "Argo Rollouts" => Box::new(Argo::default()),
        "Kayenta" => Box::new(Kayenta::default()),
        other => panic!("there is no judge {other}"),
    }
}

/// What came of many rollouts.
#[derive(Default)]
struct Sum {
    all: usize,
    promoted: Vec<f64>,
    rolled_back: Vec<(f64, u64)>,
}

impl Sum {
    fn of(name: &str, kind: &Kind, runs: u64) -> Self {
        let mut sum = Self::default();
        for seed in 0..runs {
            sum.all += 1;
            match steer(&mut *judge(name), kind, seed) {
                End::Promoted { at } => sum.promoted.push(at),
                End::RolledBack { at, failed } => sum.rolled_back.push((at, failed)),
                End::Stuck => {}
            }
        }
        sum
    }

    fn share(&self, part: usize) -> f64 {
        part as f64 / self.all as f64
    }

    /// Of a good version: how often it was rolled back, and how long the others took.
    fn good(&self) -> String {
        let back = percent(self.share(self.rolled_back.len()));
        match median(self.promoted.iter().copied()) {
            Some(at) => format!("{back}; {}", span(at)),
            None => back,
        }
    }

    /// Of a bad version: how often it was found, how many requests had failed by then, and when.
    fn bad(&self) -> String {
        let found = percent(self.share(self.rolled_back.len()));
        let failed = median(self.rolled_back.iter().map(|(_, failed)| *failed as f64));
        let at = median(self.rolled_back.iter().map(|(at, _)| *at));
        match failed.zip(at) {
            Some((failed, at)) => format!("{found}; {failed:.0}; {}", span(at)),
            None => found,
        }
    }

    fn failed(&self) -> f64 {
        median(self.rolled_back.iter().map(|(_, failed)| *failed as f64)).unwrap_or(f64::NAN)
    }
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn percent(share: f64) -> String {
    if share <= 0.0 || share >= 1.0 {
        return format!("{:.0} %", share * 100.0);
    }
    format!("{:.1} %", share * 100.0)
}

fn span(seconds: f64) -> String {
    match seconds {
        short if short < 120.0 => format!("{short:.0} s"),
        middle if middle < 7200.0 => format!("{:.0} min", middle / 60.0),
        long => format!("{:.1} h", long / 3600.0),
    }
}

/// A table: a row for each kind of rollout, a column for each judge.
fn table(kinds: &[Kind], runs: u64, cell: impl Fn(&Sum) -> String) -> String {
    let mut table = format!("| | {} |\n|---|---|---|---|---|\n", JUDGES.join(" | "));
    for kind in kinds {
        let cells = JUDGES.map(|name| cell(&Sum::of(name, kind, runs)));
        let _ = writeln!(table, "| {} | {} |", kind.name, cells.join(" | "));
    }
    table
}

#[test]
fn each_judge_keeps_its_rules() {
    let kind = |name: &str| {
        let mut kinds = traffic::good().into_iter().chain(traffic::bad());
        kinds.find(|kind| kind.name == name).unwrap_or_else(|| panic!("there is no kind {name}"))
    };
    let failing = kind("fails every request, 50/s");
    let at = |name: &str| match steer(&mut *judge(name), &failing, 1) {
        End::RolledBack { at, .. } => at,
        end @ (End::Promoted { .. } | End::Stuck) => panic!("{name}: {end:?}"),
    };
    // Five failed checks a minute apart, and one more minute until it looks at their number.
    assert!((at("Flagger") - 360.0).abs() < 1.0);
    // The fourth failed measurement, five minutes apart.
    assert!((at("Argo Rollouts") - 1200.0).abs() < 1.0);
    assert!((at("Kayenta") - 3600.0).abs() < 1.0);
    assert!(at("Weir") < 60.0);
    let calm = kind("no errors, 50/s");
    for (name, minutes) in [("Flagger", 4.0), ("Argo Rollouts", 40.0), ("Kayenta", 60.0)] {
        let End::Promoted { at } = steer(&mut *judge(name), &calm, 1) else { panic!("{name}") };
        assert!((at - minutes * 60.0).abs() < 1.0, "{name} took {at} s");
    }
}

#[test]
fn weir_finds_bad_versions_with_fewer_failures_and_spares_good_ones() {
    let runs = if std::env::var_os("WEIR_QUICK").is_some() { 4 } else { 20 };
    for kind in traffic::good() {
        let weir = Sum::of("Weir", &kind, runs);
        // One in a hundred may be; three of twenty would be one chance in a thousand.
        assert!(weir.rolled_back.len() <= 2, "{}: {}", kind.name, weir.good());
    }
    for kind in traffic::bad().iter().filter(|kind| kind.name.starts_with("fails every request")) {
        let weir = Sum::of("Weir", kind, runs);
        assert!(weir.share(weir.rolled_back.len()) > 0.8, "{}: {}", kind.name, weir.bad());
        // With less traffic all of them take few failures, and some take silence for one.
        if kind.name.ends_with("50/s") || kind.name.ends_with("1000/s") {
            for peer in &JUDGES[1..] {
                let peers = Sum::of(peer, kind, runs);
                assert!(weir.failed() * 4.0 < peers.failed(), "{}: {peer}", kind.name);
            }
        }
    }
}

/// The tables of the page are those of the simulation: each row is there, and in the long form each
/// number, too.
#[test]
fn the_tables_of_the_page_are_those_of_the_simulation() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/judges.md");
    let mut page = fs::read_to_string(&path).expect("the page");
    if std::env::var_os("WEIR_LONG").is_none() {
        for kind in traffic::good().iter().chain(&traffic::bad()) {
            assert!(page.contains(&format!("\n| {} | ", kind.name)), "{}", kind.name);
        }
        return;
    }
    let good = table(&traffic::good(), RUNS, Sum::good);
    let bad = table(&traffic::bad(), RUNS, Sum::bad);
    let (is_good, is_bad) = (page.contains(&good), page.contains(&bad));
    if std::env::var_os("WEIR_RENEW").is_some() {
        replace(&mut page, "<!-- good versions -->\n", &good);
        replace(&mut page, "<!-- bad versions -->\n", &bad);
        fs::write(path, page).expect("to write");
        return;
    }
    assert!(is_good, "docs/judges.md has other numbers than\n{good}");
    assert!(is_bad, "docs/judges.md has other numbers than\n{bad}");
}

/// Puts `table` in place of the one below `mark`.
fn replace(page: &mut String, mark: &str, table: &str) {
    let start = page.find(mark).unwrap_or_else(|| panic!("no {mark:?} on the page")) + mark.len();
    let rows = page[start..].lines().take_while(|row| row.starts_with('|'));
    let length: usize = rows.map(|row| row.len() + 1).sum();
    page.replace_range(start..start + length, table);
}
