//! A real Celery on a Redis that is observed: its jobs are counted, shared out, and none is lost.

use std::collections::BTreeMap;
use std::time::Duration;

use weir::namespace::resp::Value;

use super::conversations::{eventually, number};
use super::jobs::{World, eventually_in};
use crate::support::celery::{Celery, Installed, Sender};
use crate::support::quick::is_quick;

const VERSIONS: [&str; 2] = ["1.0.0", "1.1.0"];

/// Celery takes seconds to start, on a machine that does other things as well.
const PATIENCE: Duration = Duration::from_mins(5);

/// Workers of both versions, and the app.
struct Shop {
    world: World,
    _workers: [Celery; 2],
    app: Sender,
}

impl Shop {
    /// None: there is no Celery, which was said.
    fn open(test: &str, more: &str) -> Option<Self> {
        if is_quick(test) {
            return None;
        }
        let installed = Installed::find(test)?;
        let world = World::start(more);
        let workers =
            [0, 1].map(|at| Celery::start(&installed, world.scene.ports[at], VERSIONS[at]));
        let app = Sender::start(&installed, world.scene.redis.address);
        Some(Self { world, _workers: workers, app })
    }

    fn send(&mut self, task: &str, numbers: std::ops::Range<u32>) {
        numbers.for_each(|number| self.app.send(task, number));
    }

    /// Jobs of both versions with this outcome.
    fn jobs(&self, outcome: &str) -> [u64; 2] {
        VERSIONS.map(|version| {
            let labels = format!("cache=\"pages\",version=\"{version}\",outcome=\"{outcome}\"");
            self.world.counted(&format!("weir_jobs_total{{{labels}}}"))
        })
    }

    fn fetched(&self, queue: &str) -> [u64; 2] {
        VERSIONS.map(|version| {
            let labels = format!("cache=\"pages\",version=\"{version}\",queue=\"{queue}\"");
            self.world.counted(&format!("weir_job_fetches_total{{{labels}}}"))
        })
    }

    /// How many each version has done, once there are `count`: every number once.
    fn done(&self, count: u32) -> [u64; 2] {
        let mut server = self.world.server();
        eventually_in(PATIENCE, "all are done", || {
            server.ask("LLEN done") == number(i64::from(count))
        });
        let done = server.ask("LRANGE done 0 -1");
        let mut versions = BTreeMap::new();
        for one in done.list().unwrap().iter().filter_map(Value::text) {
            let one = String::from_utf8_lossy(one).into_owned();
            let (version, number) = one.split_once(' ').unwrap();
            let before = versions.insert(number.to_owned(), version.to_owned());
            assert_eq!(before, None, "{one} was done twice");
        }
        assert_eq!(versions.len(), usize::try_from(count).unwrap());
        let of = |version| versions.values().filter(|one| *one == version).count();
        VERSIONS.map(|version| u64::try_from(of(version)).unwrap())
    }
}

#[test]
fn what_celery_says_of_its_jobs_is_counted_for_each_version() {
    let Some(mut shop) = Shop::open("what Celery says of its jobs", "") else { return };
    shop.send("good", 0..40);
    shop.send("picky", 0..40);
    shop.send("again", 40..50);
    shop.send("silent", 50..60);
    let done = shop.done(60);
    let sum = |[old, new]: [u64; 2]| old + new;
    // 40 + 40 once, and 10 twice; what keeps no result is not seen.
    eventually("they are counted", || sum(shop.jobs("processed")) == 100);
    let ([_, failed], retried) = (shop.jobs("failed"), shop.jobs("retried"));
    assert_eq!(sum(retried), 10, "{retried:?}");
    let [old, new] = shop.jobs("processed");
    assert!(old > 0 && new > 0 && failed > retried[1], "{old} and {new}, {failed} failed");
    assert_eq!(shop.jobs("failed")[0], retried[0], "the old version can do them all");
    // Those that were done, those that failed, and those that were to be tried again.
    assert_eq!(sum(shop.fetched("celery")), 110, "{done:?}");
}

#[test]
fn the_canary_gets_its_share_of_what_celery_fetches_and_none_is_lost() {
    let Some(mut shop) = Shop::open("the share of Celery's jobs", "jobs = \"10%\"") else { return };
    shop.send("good", 0..3_000);
    let [old, new] = shop.done(3_000);
    println!("the canary did {new} of 3000 jobs");
    assert!((150..=450).contains(&new), "{old} and {new}");
    assert_eq!(shop.fetched("celery"), [old, new]);
    // Who is rolled back gets none.
    shop.world.scene.program.say(&["rollback"]);
    shop.send("good", 3_000..3_200);
    let [_, left] = shop.done(3_200);
    assert!(left <= new + 8, "it had begun at most what it had fetched: {left}");
}

#[test]
fn jobs_that_celery_does_while_weir_is_killed_are_done_once_and_counted() {
    let Some(mut shop) = Shop::open("Celery while Weir is killed", "jobs = \"50%\"") else {
        return;
    };
    shop.send("good", 0..20);
    shop.done(20);
    shop.send("slow", 20..22);
    let mut server = shop.world.server();
    eventually_in(PATIENCE, "they have begun", || server.ask("LLEN begun") == number(2));
    shop.world.scene.program.kill();
    // Nobody fetches these before it is back.
    shop.send("good", 22..60);
    shop.world.scene.program.restart();
    let done = shop.done(60);
    let sum = |[old, new]: [u64; 2]| old + new;
    eventually_in(PATIENCE, "they are counted", || sum(shop.jobs("processed")) == 40);
    assert_eq!(shop.jobs("failed"), [0, 0], "{done:?}");
}
