//! Workers whose jobs each instance counts on a page of its own, read at the instance.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{PATIENCE, Pages};
use crate::support::program::{Program, free_address};
use crate::support::quick::is_quick;
use crate::support::upstream::Upstream;

/// A tier, and two instances of workers that follow it.
struct Yard {
    program: Program,
    /// Whether jobs fail on the new version.
    failing: Arc<AtomicBool>,
    pages: Pages,
    folder: tempfile::TempDir,
    _apps: [Upstream; 2],
}

impl Yard {
    /// One where the tier has the new version already, and the first instance is about to move.
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for instance in ["work-1", "work-2"] {
            std::fs::write(folder.path().join(instance), "1.0.0\n").unwrap();
        }
        let failing = Arc::new(AtomicBool::new(false));
        let pages = pages(folder.path(), &failing);
        let apps = ["1.0.0", "1.1.0"].map(Upstream::start);
        let program = Program::start(&format!(
            r#"
[admin]
listen = "ADMIN"
[state]
path = "weir.db"
[[tier]]
name = "web"
listen = "{}"
stable = "1.0.0"
releases = [
  {{ version = "1.0.0", upstreams = ["{}"] }},
  {{ version = "1.1.0", upstreams = ["{}"] }},
]
[[worker]]
name = "worker"
instances = ["work-1", "work-2"]
switch = ["sh", "-c", "echo $1 > {}/$0", "{{instance}}", "{{version}}"]
bake = "2s"
jobs = "jobs done"
[[analysis.signal]]
name = "jobs done"
tier = "worker"
source = "scrape"
url = "http://{}/{{host}}/metrics"
total = "jobs_total"
bad = "jobs_failed_total"
every = "1s"
silent_after = "4s"
[rollout]
order = ["web", "worker"]
stages = [{{ weight = "5%", bake = "1h" }}]
"#,
            free_address(),
            apps[0].address,
            apps[1].address,
            folder.path().display(),
            pages.address
        ));
        let yard = Self { program, failing, pages, folder, _apps: apps };
        yard.program.say(&["start", "--wait", "20s"]);
        yard.until("its turn", |yard| yard.waits_for().contains("the judge of web"));
        yard.program.say(&["promote", "--yes"]);
        yard
    }

    /// Which version each instance has.
    fn versions(&self) -> [String; 2] {
        ["work-1", "work-2"].map(|instance| version(self.folder.path(), instance))
    }

    fn waits_for(&self) -> String {
        self.program.status()["upgrade"]["waits_for"].as_str().unwrap_or_default().to_owned()
    }

    fn log(&self) -> String {
        self.program.say(&["log", "-n", "200"])
    }

    fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let since = Instant::now();
        while !is_so(self) {
            let explained = self.program.say(&["explain"]);
            assert!(since.elapsed() < PATIENCE, "not {what}: {explained}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn version(folder: &Path, instance: &str) -> String {
    std::fs::read_to_string(folder.join(instance)).unwrap_or_default().trim().to_owned()
}

/// Each instance counts from zero when its version begins, and does ten jobs between two looks.
fn pages(folder: &Path, failing: &Arc<AtomicBool>) -> Pages {
    let (folder, failing) = (folder.to_owned(), Arc::clone(failing));
    let counted = std::sync::Mutex::new(BTreeMap::<String, (String, u64, u64)>::new());
    Pages::serve(move |path| {
        let instance = path.strip_prefix('/')?.strip_suffix("/metrics")?;
        let runs = version(&folder, instance);
        let mut counted = counted.lock().unwrap();
        let own = counted.entry(instance.to_owned()).or_default();
        if own.0 != runs {
            *own = (runs, 0, 0);
        }
        own.1 += 10;
        if own.0 == "1.1.0" && failing.load(Ordering::SeqCst) {
            own.2 += 5;
        }
        Some(format!("jobs_total {}\njobs_failed_total {}\n", own.1, own.2))
    })
}

#[test]
fn jobs_that_each_instance_tells_of_itself_take_everything_back_where_they_fail() {
    if is_quick("jobs on pages of instances") {
        return;
    }
    let yard = Yard::open();
    yard.failing.store(true, Ordering::SeqCst);
    yard.until("back", |yard| yard.log().contains("everybody and everything is back"));
    let log = yard.log();
    assert!(log.contains("jobs fail more often"), "{log}");
    assert_eq!(yard.versions(), ["1.0.0", "1.0.0"]);
    assert!(!log.contains("step worker-work-2-switch begins"), "the second never moved: {log}");
}

#[test]
fn who_is_silent_is_waited_for_and_who_is_well_is_followed() {
    if is_quick("silent instances") {
        return;
    }
    let yard = Yard::open();
    yard.pages.silent.store(true, Ordering::SeqCst);
    yard.until("blind", |yard| {
        let explained = yard.program.say(&["explain", "worker"]);
        explained.contains("blind, nothing is assumed of silence: jobs done of 1.0.0: ")
    });
    assert_eq!(yard.versions(), ["1.1.0", "1.0.0"], "silence neither passes nor fails");
    assert!(yard.waits_for().contains("jobs"), "{}", yard.waits_for());
    yard.pages.silent.store(false, Ordering::SeqCst);
    yard.until("done", |yard| yard.log().contains("everybody has the new version everywhere"));
    assert_eq!(yard.versions(), ["1.1.0", "1.1.0"]);
}
