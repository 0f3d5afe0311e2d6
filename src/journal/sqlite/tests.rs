use std::ffi::CString;
use std::fs;
use std::io::{Seek, SeekFrom, Write};

use tempfile::TempDir;

use super::*;
use crate::journal::Journal;
use crate::rollout::State;
use crate::traffic::TierName;

/// Every kind of event that there is.
const RECORDS: &str = include_str!("../../../tests/journals/0.1.jsonl");

fn events() -> Vec<Event> {
    let record = |line| serde_json::from_str::<Record>(line).unwrap().event;
    RECORDS.lines().map(record).collect()
}

fn web() -> TierName {
    "web".parse().unwrap()
}

fn evidence(saved: u64, body: &str) -> BTreeMap<TierName, Evidence> {
    let saved = Timestamp::from_millis(saved);
    BTreeMap::from([(web(), Evidence { saved, body: body.into() })])
}

fn batch(events: &[Event]) -> Batch {
    Batch { events: events.to_vec(), evidence: BTreeMap::new() }
}

/// A folder and the journal in it.
fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weir.db");
    (folder, path)
}

/// Overwrites what stands at `offset`.
fn scribble(path: &Path, offset: u64, bytes: &[u8]) {
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(offset)).unwrap();
    file.write_all(bytes).unwrap();
}

/// A closed journal without a log beside it, so that all of it is in the one file.
fn written(path: &Path, rounds: usize) {
    let (mut sqlite, _) = Sqlite::open(path).unwrap();
    for _ in 0..rounds {
        sqlite.write(&batch(&events())).unwrap();
    }
    drop(sqlite);
    assert!(!path.with_extension("db-wal").exists());
}

#[test]
fn every_event_comes_back_as_it_was_written_with_its_place() {
    let (_folder, path) = place();
    let (mut sqlite, kept) = Sqlite::open(&path).unwrap();
    assert!(kept.records.is_empty() && kept.evidence.is_empty());
    let mut records = sqlite.write(&batch(&events()[..3])).unwrap();
    for event in &events()[3..] {
        records.extend(sqlite.write(&batch(std::slice::from_ref(event))).unwrap());
    }
    drop(sqlite);
    let (_sqlite, kept) = Sqlite::open(&path).unwrap();
    assert_eq!(kept.records, records);
    let written: Vec<String> =
        kept.records.iter().map(|record| serde_json::to_string(record).unwrap()).collect();
    assert_eq!(written.join("\n"), RECORDS.trim_end());
}

#[test]
fn evidence_is_replaced_and_stands_beside_the_events() {
    let (_folder, path) = place();
    let (mut sqlite, _) = Sqlite::open(&path).unwrap();
    sqlite.write(&Batch { events: vec![], evidence: evidence(1, "old") }).unwrap();
    sqlite.write(&Batch { events: events(), evidence: evidence(2, "new") }).unwrap();
    drop(sqlite);
    let (_sqlite, kept) = Sqlite::open(&path).unwrap();
    assert_eq!(kept.evidence, evidence(2, "new"));
    assert_eq!(kept.records.len(), events().len());
}

#[test]
fn a_text_file_and_a_foreign_database_are_not_a_journal() {
    let (_folder, path) = place();
    fs::write(&path, "these are my notes, and they are longer than a header ".repeat(40)).unwrap();
    assert!(matches!(Sqlite::open(&path), Err(JournalError::Foreign { .. })));
    fs::remove_file(&path).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE notes (text TEXT); INSERT INTO notes VALUES ('x')").unwrap();
    drop(other);
    let error = Sqlite::open(&path).unwrap_err();
    assert!(matches!(error, JournalError::Foreign { .. }) && error.can_be_set_aside(), "{error}");
    let other = Connection::open(&path).unwrap();
    let notes: i64 = other.query_row("SELECT count(*) FROM notes", [], |row| row.get(0)).unwrap();
    assert_eq!(notes, 1, "it is as it was");
}

#[test]
fn an_empty_file_is_a_new_journal() {
    let (_folder, path) = place();
    fs::write(&path, "").unwrap();
    assert!(Sqlite::open(&path).unwrap().1.records.is_empty());
}

#[test]
fn a_damaged_file_is_told_from_a_good_one() {
    let (_folder, path) = place();
    written(&path, 40);
    let whole = fs::read(&path).unwrap();
    let page = 4096;
    for damage in ["cut", "page of noise", "lost page"] {
        fs::write(&path, &whole).unwrap();
        match damage {
            "cut" => fs::write(&path, &whole[..whole.len() / 2]).unwrap(),
            "page of noise" => scribble(&path, 5 * page, &[0xA5; 4096]),
            _ => scribble(&path, 5 * page, &[0; 4096]),
        }
        let error = Sqlite::open(&path).expect_err(damage);
        assert!(matches!(error, JournalError::Torn { .. }), "{damage}: {error}");
        assert!(error.can_be_set_aside());
    }
}

#[test]
fn a_log_that_a_crash_cut_off_costs_its_last_batch_at_most() {
    let (_folder, path) = place();
    let (mut sqlite, _) = Sqlite::open(&path).unwrap();
    for event in events() {
        sqlite.write(&batch(&[event])).unwrap();
    }
    let log = path.with_extension("db-wal");
    let (database, whole) = (fs::read(&path).unwrap(), fs::read(&log).unwrap());
    drop(sqlite);
    let mut known = 0;
    for cut in (0..=whole.len()).step_by(997) {
        let _ = fs::remove_file(path.with_extension("db-shm"));
        fs::write(&path, &database).unwrap();
        fs::write(&log, &whole[..cut]).unwrap();
        // Before the tables were whole there is no journal yet; afterwards there is a beginning.
        let (sqlite, kept) = Sqlite::open(&path).unwrap();
        let found: Vec<Event> = kept.records.into_iter().map(|record| record.event).collect();
        assert_eq!(found, events()[..found.len()], "cut at {cut}");
        assert!(found.len() >= known, "cut at {cut}");
        known = found.len();
        drop(sqlite);
    }
    assert!(known + 1 >= events().len());
}

#[test]
fn a_journal_of_a_newer_program_is_left_alone() {
    let (_folder, path) = place();
    written(&path, 1);
    let other = Connection::open(&path).unwrap();
    other.pragma_update(None, "user_version", VERSION + 1).unwrap();
    drop(other);
    let error = Sqlite::open(&path).unwrap_err();
    assert!(matches!(error, JournalError::TooNew { .. }) && !error.can_be_set_aside());
    assert!(error.to_string().ends_with("upgrade the program"), "{error}");
}

#[test]
fn a_record_that_this_program_does_not_know_is_no_damage() {
    let (_folder, path) = place();
    for (what, edit) in [
        ("event", r#"UPDATE events SET event = '{"drained":{}}' WHERE seq = 2"#),
        ("tier", "UPDATE events SET tier = 'the web' WHERE seq = 2"),
        ("actor", "UPDATE events SET actor = 'two words' WHERE seq = 2"),
    ] {
        let _ = fs::remove_file(&path);
        written(&path, 1);
        Connection::open(&path).unwrap().execute_batch(edit).unwrap();
        let before = fs::read(&path).unwrap();
        let error = Sqlite::open(&path).expect_err(what);
        assert!(matches!(error, JournalError::Unknown { seq: 2, .. }), "{what}: {error}");
        assert!(error.to_string().ends_with("upgrade the program"), "{what}: {error}");
        assert!(!error.can_be_set_aside(), "{what}");
        assert_eq!(fs::read(&path).unwrap(), before, "{what}: it is as it was");
    }
}

#[test]
fn evidence_of_a_tier_that_cannot_be_understood_is_left_out() {
    let (_folder, path) = place();
    let (mut sqlite, _) = Sqlite::open(&path).unwrap();
    sqlite.write(&Batch { events: events(), evidence: evidence(1, "known") }).unwrap();
    let edit = "INSERT INTO evidence SELECT 'the web', saved, body FROM evidence";
    sqlite.connection.execute_batch(edit).unwrap();
    drop(sqlite);
    assert_eq!(Sqlite::open(&path).unwrap().1.evidence, evidence(1, "known"));
}

/// A small disk of its own, unmounted at the end. Mounted without a program: one that is just
/// being started holds the locks of every journal in this process for a moment.
struct Disk(TempDir);

impl Disk {
    /// None where that is not allowed.
    fn new() -> Option<Self> {
        let disk = Self(tempfile::tempdir().unwrap());
        let mounted = disk.mount(0);
        if let Err(error) = &mounted {
            eprintln!("skipped: a disk cannot be mounted here: {error}");
        }
        mounted.is_ok().then_some(disk)
    }

    fn mount(&self, flags: libc::c_ulong) -> io::Result<()> {
        let path = CString::new(self.0.path().as_os_str().as_bytes()).unwrap();
        let (kind, size) = (c"tmpfs".as_ptr(), c"size=400k".as_ptr().cast());
        // SAFETY: all are texts that end with a zero and outlive the call.
        match unsafe { libc::mount(kind, path.as_ptr(), kind, flags, size) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn journal(&self) -> PathBuf {
        self.0.path().join("weir.db")
    }

    fn make_read_only(&self) {
        self.mount(libc::MS_REMOUNT | libc::MS_RDONLY).unwrap();
    }

    fn make_writable(&self) {
        self.mount(libc::MS_REMOUNT).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let path = CString::new(self.0.path().as_os_str().as_bytes()).unwrap();
        // SAFETY: a text that ends with a zero and outlives the call.
        unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
    }
}

#[tokio::test]
async fn a_journal_on_a_full_disk_is_read_and_written_once_there_is_room() {
    let Some(disk) = Disk::new() else { return };
    let path = disk.journal();
    written(&path, 1);
    let filler = disk.0.path().join("filler");
    let mut file = File::create(&filler).unwrap();
    while file.write_all(&[1; 512]).is_ok() {}
    let (journal, kept) = Journal::open(&path).unwrap();
    assert_eq!(kept.records.len(), events().len());
    assert!(journal.trouble().is_some());
    let error = journal.append(batch(&events()[..1])).await.unwrap().unwrap_err();
    assert!(error.to_string().ends_with("nothing was raised"), "{error}");
    let lowering = journal.append_surely(batch(&events()[..1]));
    drop(file);
    fs::remove_file(&filler).unwrap();
    let records = lowering.await.unwrap().unwrap();
    assert_eq!(records[0].seq, events().len() as u64 + 1);
    assert_eq!(journal.trouble(), None);
    journal.close();
    assert_eq!(Sqlite::open(&path).unwrap().1.records.len(), events().len() + 1);
}

#[test]
fn a_journal_on_a_read_only_disk_is_read_with_its_log() {
    for beside_it in [&["-wal", "-shm"][..], &["-wal"], &[]] {
        let Some(disk) = Disk::new() else { return };
        let (_folder, path) = place();
        let (mut sqlite, _) = Sqlite::open(&path).unwrap();
        sqlite.write(&Batch { events: events(), evidence: evidence(1, "x") }).unwrap();
        if beside_it.is_empty() {
            drop(sqlite);
        } else {
            std::mem::forget(sqlite);
        }
        fs::copy(&path, disk.journal()).unwrap();
        for suffix in beside_it {
            fs::copy(beside(&path, suffix), beside(&disk.journal(), suffix)).unwrap();
        }
        disk.make_read_only();
        let (journal, kept) = Journal::open(&disk.journal()).unwrap();
        assert_eq!(kept.records.len(), events().len(), "{beside_it:?}");
        assert_eq!(kept.evidence, evidence(1, "x"), "{beside_it:?}");
        let trouble = journal.trouble().unwrap();
        assert!(trouble.to_lowercase().contains("read-only"), "{trouble}");
        journal.close();
    }
}

#[test]
fn a_disk_without_a_journal_that_cannot_be_written_is_a_mistake() {
    let Some(disk) = Disk::new() else { return };
    disk.make_read_only();
    for _ in 0..2 {
        let error = Journal::open(&disk.journal()).unwrap_err();
        assert!(matches!(error, JournalError::Unwritable { .. }), "{error}");
        assert!(!error.can_be_set_aside());
        disk.make_writable();
        fs::write(disk.journal(), "").unwrap();
        disk.make_read_only();
    }
}

#[test]
fn a_name_with_signs_in_it_is_told_as_it_is() {
    assert_eq!(uri(Path::new("/a b/50%?#.db"), "mode=ro"), "file:/a%20b/50%25%3f%23.db?mode=ro");
}

#[test]
fn a_journal_has_one_owner() {
    let (_folder, path) = place();
    let (first, _) = Journal::open(&path).unwrap();
    let error = Journal::open(&path).unwrap_err();
    assert!(matches!(error, JournalError::Owned { .. }) && !error.can_be_set_aside(), "{error}");
    first.close();
    Journal::open(&path).unwrap().0.close();
}

#[test]
fn a_place_that_cannot_be_had_is_named_with_the_way_out() {
    let error = Journal::open(Path::new("/nowhere/weir.db")).unwrap_err();
    assert!(error.to_string().contains("/nowhere/weir.db"), "{error}");
    assert!(error.to_string().contains("make its folder"), "{error}");
    assert!(!error.can_be_set_aside());
}

#[test]
fn what_is_set_aside_is_kept_whole_and_a_new_journal_begins() {
    let (folder, path) = place();
    written(&path, 40);
    scribble(&path, 5 * 4096, &[0xA5; 4096]);
    let before = fs::read(&path).unwrap();
    fs::write(path.with_extension("db-wal"), "a log").unwrap();
    let aside = set_aside(&path, Timestamp::from_millis(7)).unwrap();
    assert_eq!(fs::read(&aside).unwrap(), before);
    assert_eq!(aside, folder.path().join("weir.db.set-aside-7"));
    assert_eq!(fs::read_to_string(folder.path().join("weir.db.set-aside-7-wal")).unwrap(), "a log");
    assert!(Sqlite::open(&path).unwrap().1.records.is_empty());
}

#[test]
fn the_secrets_in_it_are_for_nobody_else_to_read() {
    use std::os::unix::fs::PermissionsExt;
    let (_folder, path) = place();
    let (mut sqlite, _) = Sqlite::open(&path).unwrap();
    sqlite.write(&batch(&events())).unwrap();
    for name in ["db", "db-wal", "db-shm"] {
        let mode = fs::metadata(path.with_extension(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name} has mode {mode:o}");
    }
}

#[test]
fn a_full_disk_fails_the_batch_whole_and_the_next_one_is_written() {
    let (_folder, path) = place();
    let (mut sqlite, _) = Sqlite::open(&path).unwrap();
    let first = sqlite.write(&batch(&events()[..2])).unwrap();
    let pages: i64 =
        sqlite.connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    sqlite.connection.pragma_update(None, "max_page_count", pages).unwrap();
    let many: Vec<Event> = (0..50).flat_map(|_| events()).collect();
    let error = sqlite.write(&Batch { events: many, evidence: evidence(1, "x") }).unwrap_err();
    assert_eq!(in_words(&error), "the disk is full");
    sqlite.connection.pragma_update(None, "max_page_count", 1_000_000).unwrap();
    let second = sqlite.write(&batch(&events()[2..])).unwrap();
    drop(sqlite);
    let (_sqlite, kept) = Sqlite::open(&path).unwrap();
    assert_eq!(kept.records, [first, second].concat());
    assert!(kept.evidence.is_empty());
}

#[test]
fn memory_rebuilt_from_the_file_is_the_state_of_its_records() {
    let (_folder, path) = place();
    written(&path, 1);
    let (_sqlite, kept) = Sqlite::open(&path).unwrap();
    let mut state = State::default();
    kept.records.iter().for_each(|record| state.apply(&record.event));
    let stored = include_str!("../../../tests/journals/0.1.state.json");
    assert_eq!(state, serde_json::from_str(stored).unwrap());
}

/// Somebody who keeps the file locked: every write waits, and fails after `BUSY_MAX`.
fn locked(path: &Path) -> Connection {
    let other = Connection::open(path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    other
}

#[tokio::test]
async fn what_lowers_is_written_first_when_the_disk_is_back_and_what_raises_fails() {
    let (_folder, path) = place();
    let (journal, _) = Journal::open(&path).unwrap();
    let lock = locked(&path);
    let lowering = journal.append_surely(batch(&events()[..1]));
    let raising = journal.append(batch(&events()[1..2]));
    let error = raising.await.unwrap().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the journal cannot be written (another program keeps it locked); nothing was raised"
    );
    assert!(journal.trouble().unwrap().contains("1 events wait"), "{:?}", journal.trouble());
    drop(lock);
    let records = lowering.await.unwrap().unwrap();
    assert_eq!(records[0].event, events()[0]);
    let raised = journal.append(batch(&events()[1..2])).await.unwrap().unwrap();
    assert_eq!((records[0].seq, raised[0].seq), (1, 2));
    assert_eq!(journal.trouble(), None);
    journal.close();
    let kept: Vec<Event> =
        Sqlite::open(&path).unwrap().1.records.into_iter().map(|record| record.event).collect();
    assert_eq!(kept, events()[..2]);
}
