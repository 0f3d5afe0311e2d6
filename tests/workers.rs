//! The real program moves workers: stand-ins that a command switches and that write down what is
//! done with them.

use std::time::{Duration, Instant};

use super::support::program::{Program, free_address};
use super::support::upstream::Upstream;

/// How long anything may take on a machine that does other things as well.
const PATIENCE: Duration = Duration::from_mins(2);

/// What is done with `$1`: each move is a line of `moves`, with what users had at that moment.
const WORKER: &str = r#"
case $2 in
quiet) echo "$1 takes no more" >> moves ;;
idle) test ! -e "$1.busy" ;;
switch)
    echo "$1 to $3 for $4" >> moves
    while test -e "$1.slow"; do sleep 0.05; done
    echo "$3" > "$1.version" ;;
well) ! grep -qx "$(cat "$1.version")" "$1.fails" 2>/dev/null ;;
reports) echo "worker $(cat "$1.version"), ruby 3.3" ;;
esac
"#;

/// A program before an app in two versions, with two workers.
struct World {
    program: Program,
    _upstreams: [Upstream; 2],
}

impl World {
    fn new() -> Self {
        let upstreams = ["1.0.0", "1.1.0"].map(Upstream::start);
        let (listen, [old, new]) = (free_address(), upstreams.each_ref().map(|up| up.address));
        let program = Program::start(&format!(
            r#"
[admin]
listen = "ADMIN"
[proxy]
environment = "blue"
[[tier]]
name = "web"
listen = "{listen}"
stable = "1.0.0"
releases = [
  {{ version = "1.0.0", upstreams = ["{old}"] }},
  {{ version = "1.1.0", upstreams = ["{new}"] }},
]
[[worker]]
name = "worker"
instances = ["work-1", "work-2"]
quiet = ["sh", "worker.sh", "{{instance}}", "quiet"]
busy = ["sh", "worker.sh", "{{instance}}", "idle"]
switch = ["sh", "worker.sh", "{{instance}}", "switch", "{{version}}", "{{namespace}}"]
health = ["sh", "worker.sh", "{{instance}}", "well"]
reports = ["sh", "worker.sh", "{{instance}}", "reports"]
ready = "0s"
bake = "100ms"
[rollout]
order = ["web", "worker"]
stages = [{{ weight = "5%", bake = "1h" }}]
[[step]]
name = "restore"
when = "on rollback"
run = ["sh", "-c", "echo restored >> moves"]
"#
        ));
        let world = Self { program, _upstreams: upstreams };
        world.program.write("worker.sh", WORKER);
        for instance in ["work-1", "work-2"] {
            world.program.write(&format!("{instance}.version"), "1.0.0\n");
        }
        world
    }

    fn say(&self, line: &str) -> String {
        self.program.say(&line.split(' ').collect::<Vec<_>>())
    }

    /// Everybody gets the new version; the workers' turn comes.
    fn promote(&self) {
        self.say("start --wait 2m");
        self.say("promote --yes");
    }

    /// Waits until the journal has `said`.
    fn until(&self, said: &str) {
        let since = Instant::now();
        while !self.say("log -n 200").contains(said) {
            assert!(since.elapsed() < PATIENCE, "no {said:?} in\n{}", self.say("log -n 200"));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until somebody has moved `moves` times.
    fn until_moves(&self, moves: usize) {
        let since = Instant::now();
        while self.program.read("moves").lines().count() < moves {
            assert!(
                since.elapsed() < PATIENCE,
                "{}\n{}",
                self.program.read("moves"),
                self.say("log -n 200")
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn runs(&self) -> [String; 2] {
        ["work-1.version", "work-2.version"].map(|name| self.program.read(name).trim().to_owned())
    }
}

#[test]
fn workers_follow_one_at_a_time_and_are_waited_for_while_they_are_busy() {
    let world = World::new();
    world.program.write("work-2.busy", "");
    world.promote();
    world.until("step worker-work-2-drain begins");
    assert_eq!(world.runs(), ["1.1.0", "1.0.0"]);
    assert_eq!(world.program.read("moves").lines().last(), Some("work-2 takes no more"));
    assert!(world.say("status").contains("worker-work-2-drain"), "{}", world.say("status"));
    world.program.remove("work-2.busy");
    world.until("everybody has the new version everywhere");
    assert_eq!(world.runs(), ["1.1.0", "1.1.0"]);
    let moves = "work-1 takes no more\nwork-1 to 1.1.0 for blue:1.1.0\nwork-2 takes no more\n\
                 work-2 to 1.1.0 for blue:1.1.0\n";
    assert_eq!(world.program.read("moves"), moves);
}

#[test]
fn one_that_is_not_well_takes_everything_back_users_first_and_workers_in_reverse() {
    let world = World::new();
    world.program.write("work-2.fails", "1.1.0\n");
    world.promote();
    world.until("everybody and everything is back");
    assert_eq!(world.runs(), ["1.0.0", "1.0.0"]);
    let moves = world.program.read("moves");
    let switches: Vec<&str> = moves.lines().filter(|line| !line.ends_with("no more")).collect();
    let expected = [
        "work-1 to 1.1.0 for blue:1.1.0",
        "work-2 to 1.1.0 for blue:1.1.0",
        "work-2 to 1.0.0 for blue:1.0.0",
        "work-1 to 1.0.0 for blue:1.0.0",
        "restored",
    ];
    assert_eq!(switches, expected);
    let log = world.say("log -n 200");
    let place = |said: &str| log.find(said).unwrap_or_else(|| panic!("no {said:?} in\n{log}"));
    let users = place("rolled back, everybody is on 1.0.0");
    let [first, second] = ["worker-work-2-back-quiet", "worker-work-1-back-quiet"].map(place);
    assert!(users < first && first < second, "{log}");
}

#[test]
fn a_worker_of_another_version_than_it_says_is_seen() {
    let world = World::new();
    let script = WORKER.replace("echo \"worker $(cat \"$1.version\")", "echo \"worker 1.0.0");
    world.program.write("worker.sh", &script);
    world.promote();
    world.until("it reports 1.0.0 and not 1.1.0");
    world.until("everybody and everything is back");
    assert_eq!(world.runs(), ["1.0.0", "1.0.0"]);
}

#[test]
fn weir_is_killed_while_a_worker_is_switched_and_goes_on_where_it_was() {
    let mut world = World::new();
    world.program.write("work-1.slow", "");
    world.promote();
    world.until_moves(2);
    world.program.kill();
    world.program.restart();
    world.until("step worker-work-1-switch begins, run 2");
    // The command of the Weir that was killed still runs: it is not begun beside itself.
    assert_eq!(world.program.read("moves").lines().count(), 2);
    world.program.remove("work-1.slow");
    world.until("everybody has the new version everywhere");
    assert_eq!(world.runs(), ["1.1.0", "1.1.0"]);
    let moves = world.program.read("moves");
    let twice = moves.lines().filter(|line| line.starts_with("work-1 to 1.1.0")).count();
    assert_eq!(twice, 2, "{moves}");
}
