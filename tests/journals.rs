//! Journals written by this version and by old ones must replay for ever: events are never changed,
//! only added. Each `journals/NAME.jsonl` holds records, `journals/NAME.state.json` the state that
//! follows from them. Never edit a journal that was released; add the next one.
//! `WEIR_REWRITE=1` writes the state of a new journal.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use weir::journal::Record;
use weir::rollout::{
    Adoption, Blame, Cause, Change, Emptying, Ending, Opening, PastDecision, Purpose, State,
};

/// The version whose journals are still written to the letter.
const NEWEST: &str = "0.1";

fn journals() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/journals");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut journals: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|ending| ending == "jsonl")).collect();
    journals.sort();
    assert!(!journals.is_empty());
    journals
}

fn records(path: &Path) -> Vec<Record> {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().enumerate();
    let record = |(number, line)| {
        serde_json::from_str(line)
            .unwrap_or_else(|error| panic!("{}:{}: {error}", path.display(), number + 1))
    };
    lines.map(record).collect()
}

#[test]
fn every_journal_ever_written_gives_the_state_it_gave_then() {
    for path in journals() {
        let mut state = State::default();
        for record in records(&path) {
            state.apply(&record.event);
        }
        let stored = path.with_extension("state.json");
        if std::env::var_os("WEIR_REWRITE").is_some() && !stored.exists() {
            fs::write(&stored, serde_json::to_string_pretty(&state).unwrap() + "\n").unwrap();
        }
        let then: State = serde_json::from_str(&fs::read_to_string(&stored).unwrap()).unwrap();
        assert_eq!(state, then, "{}", path.display());
    }
}

#[test]
fn a_record_is_written_as_it_was_read() {
    for path in journals() {
        let text = fs::read_to_string(&path).unwrap();
        for (record, line) in records(&path).iter().zip(text.lines()) {
            let written = serde_json::to_string(record).unwrap();
            assert_eq!(&serde_json::from_str::<Record>(&written).unwrap(), record);
            // What a later version adds has a default, and is written from then on.
            if path.file_name().unwrap().to_string_lossy().starts_with(NEWEST) {
                assert_eq!(written, line, "{}", path.display());
            }
        }
    }
}

#[test]
fn the_records_of_a_journal_are_counted_from_one() {
    for path in journals() {
        let places: Vec<u64> = records(&path).iter().map(|record| record.seq).collect();
        assert_eq!(places, (1..=places.len() as u64).collect::<Vec<_>>(), "{}", path.display());
    }
}

/// The kinds of events and of their causes. Matched in full: a new kind stops the build here, and
/// then needs a line in the newest journal.
fn kinds(change: &Change) -> [&'static str; 2] {
    match change {
        Change::Adopted { why, .. } => match why {
            Adoption::FirstStart => ["adopted", "first start"],
            Adoption::Order => ["adopted", "order"],
            Adoption::Recovered { .. } => ["adopted", "recovered"],
        },
        Change::Advanced { cause, .. } => ["advanced", ground(cause)],
        Change::Closed { purpose, .. } => ["closed", purpose.name()],
        Change::Approved { .. } => ["approved", ""],
        Change::Asked { .. } => ["asked", ""],
        Change::Cut => ["cut", ""],
        Change::DecisionNears { past: PastDecision::Hold, .. } => ["decision nears", "hold"],
        Change::DecisionNears { past: PastDecision::Rollback, .. } => {
            ["decision nears", "rollback"]
        }
        Change::Overdue { .. } => ["overdue", ""],
        Change::DecisionPassed => ["decision passed", ""],
        Change::Emptied { why, .. } => match why {
            Emptying::Again => ["emptied", "again"],
            Emptying::RolledBack => ["emptied", "rolled back"],
            Emptying::Stale { .. } => ["emptied", "stale"],
        },
        Change::Froze { cause } => ["froze", blame(cause)],
        Change::Held { .. } => ["held", ""],
        Change::Interrupted { .. } => ["interrupted", ""],
        Change::Moved { .. } => ["moved", ""],
        Change::Opened { purpose: Purpose::Hold, cause } => match cause {
            Opening::Order => ["hold ended", "order"],
            Opening::Time => ["hold ended", "time"],
        },
        Change::Opened { purpose: Purpose::Maintenance, cause } => match cause {
            Opening::Order => ["maintenance ended", "order"],
            Opening::Time => ["maintenance ended", "time"],
        },
        Change::Passed { cause, .. } => ["passed", ground(cause)],
        Change::Paused => ["paused", ""],
        Change::Promoted { cause, .. } => ["promoted", ground(cause)],
        Change::Reanalysed { .. } => ["reanalysed", ""],
        Change::Recalled { cause, .. } => ["recalled", blame(cause)],
        Change::Receding { .. } => ["receding", ""],
        Change::Refused { .. } => ["refused", ""],
        Change::Replanned { .. } => ["replanned", ""],
        Change::Rerouted { .. } => ["rerouted", ""],
        Change::Resumed => ["resumed", ""],
        Change::RolledBack { cause, .. } => ["rolled back", blame(cause)],
        Change::Shifted { to, .. } => ["shifted", if to.is_some() { "in" } else { "out" }],
        Change::Started { .. } => ["started", ""],
        Change::StepBegan { .. } => ["step began", ""],
        Change::StepEnded { .. } => ["step ended", ""],
        Change::StepSkipped { .. } => ["step skipped", ""],
        Change::Tried { cause, .. } => ["tried", ground(cause)],
        Change::TurnedBack { cause, .. } => ["turned back", blame(cause)],
        Change::UpgradeEnded { ending } => match ending {
            Ending::Promoted => ["upgrade ended", "promoted"],
            Ending::RolledBack => ["upgrade ended", "rolled back"],
            Ending::Stopped { .. } => ["upgrade ended", "stopped"],
        },
        Change::UpgradeStarted { .. } => ["upgrade started", ""],
        Change::WouldHaveRolledBack { cause } => ["would have rolled back", blame(cause)],
    }
}

fn ground(cause: &Cause) -> &'static str {
    match cause {
        Cause::Order => "order",
        Cause::Proven { .. } => "proven",
        Cause::Unproven { .. } => "unproven",
    }
}

fn blame(cause: &Blame) -> &'static str {
    match cause {
        Blame::DecisionTime => "decision time",
        Blame::Order => "order",
        Blame::Step { .. } => "step",
        Blame::Together { .. } => "together",
        Blame::Unhealthy { .. } => "unhealthy",
        Blame::Verdict { .. } => "verdict",
    }
}

#[test]
fn every_kind_of_event_stands_in_a_journal() {
    let records: Vec<Record> = journals().iter().flat_map(|path| records(path)).collect();
    let found: BTreeSet<[&str; 2]> =
        records.iter().map(|record| kinds(&record.event.change)).collect();
    let all = [
        ["adopted", "first start"],
        ["adopted", "order"],
        ["adopted", "recovered"],
        ["advanced", "order"],
        ["advanced", "proven"],
        ["advanced", "unproven"],
        ["approved", ""],
        ["asked", ""],
        ["closed", "hold"],
        ["closed", "maintenance"],
        ["cut", ""],
        ["decision nears", "hold"],
        ["decision nears", "rollback"],
        ["decision passed", ""],
        ["overdue", ""],
        ["emptied", "again"],
        ["emptied", "rolled back"],
        ["emptied", "stale"],
        ["froze", "verdict"],
        ["held", ""],
        ["hold ended", "order"],
        ["hold ended", "time"],
        ["maintenance ended", "order"],
        ["maintenance ended", "time"],
        ["interrupted", ""],
        ["moved", ""],
        ["passed", "order"],
        ["passed", "proven"],
        ["paused", ""],
        ["promoted", "order"],
        ["promoted", "proven"],
        ["promoted", "unproven"],
        ["reanalysed", ""],
        ["recalled", "step"],
        ["recalled", "verdict"],
        ["receding", ""],
        ["refused", ""],
        ["replanned", ""],
        ["resumed", ""],
        ["rolled back", "order"],
        ["rolled back", "unhealthy"],
        ["rolled back", "verdict"],
        ["shifted", "in"],
        ["shifted", "out"],
        ["started", ""],
        ["rerouted", ""],
        ["rolled back", "decision time"],
        ["rolled back", "step"],
        ["rolled back", "together"],
        ["step began", ""],
        ["step ended", ""],
        ["step skipped", ""],
        ["tried", "unproven"],
        ["turned back", "order"],
        ["turned back", "step"],
        ["upgrade ended", "promoted"],
        ["upgrade ended", "rolled back"],
        ["upgrade ended", "stopped"],
        ["upgrade started", ""],
        ["would have rolled back", "unhealthy"],
        ["would have rolled back", "verdict"],
    ];
    assert_eq!(found, BTreeSet::from(all));
    let upstream =
        |record: &&Record| matches!(&record.event.change, Change::Started { listed: false, .. });
    assert!(records.iter().any(|record| upstream(&record)), "a start with --upstream");
}
