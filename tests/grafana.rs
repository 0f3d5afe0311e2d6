//! The dashboards of `grafana/`: each query of each panel, mark and variable is answered by a real
//! Prometheus that scrapes a running Weir, and each file is a dashboard by the types that Grafana
//! publishes. Grafana itself does not run here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::support::caches::Connection;
use super::support::certificates::Authority;
use super::support::client::Client;
use super::support::program::{Program, free_address};
use super::support::prometheus::Prometheus;
use super::support::quick;
use super::support::redis::Redis;
use super::support::upstream::Upstream;
use super::web_sockets::node;

/// How long what must come may take, on a machine that does other things beside.
const PATIENCE: Duration = Duration::from_mins(5);

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files of `folder` that end so, in order.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(top().join(folder)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|its| its == ending)).collect();
    found.sort();
    found
}

fn dashboards() -> Vec<(String, Value)> {
    let read = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(path).unwrap();
        (name, serde_json::from_str(&text).unwrap())
    };
    let found: Vec<_> = files("grafana/dashboards", "json").iter().map(read).collect();
    assert!(found.len() >= 5, "only {} dashboards", found.len());
    found
}

fn list<'a>(value: &'a Value, path: &str) -> &'a Vec<Value> {
    value.pointer(path).and_then(Value::as_array).unwrap_or_else(|| panic!("no {path}"))
}

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_else(|| panic!("no {path}: {value:#}"))
}

fn number(value: &Value, path: &str) -> u64 {
    value.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {path}: {value:#}"))
}

/// A question to a Prometheus, and where it stands.
struct Question {
    place: String,
    query: String,
    instant: bool,
}

/// All that a dashboard asks.
fn questions(name: &str, dashboard: &Value) -> Vec<Question> {
    let mut found = Vec::new();
    for panel in list(dashboard, "/panels").iter().filter(|panel| text(panel, "/type") != "row") {
        for target in list(panel, "/targets") {
            found.push(Question {
                place: format!("{name}: {} {}", text(panel, "/title"), text(target, "/refId")),
                query: text(target, "/expr").to_owned(),
                instant: target["instant"] == true,
            });
        }
    }
    for mark in list(dashboard, "/annotations/list") {
        if let Some(query) = mark.pointer("/target/expr").and_then(Value::as_str) {
            let place = format!("{name}: mark {}", text(mark, "/name"));
            found.push(Question { place, query: query.to_owned(), instant: false });
        }
    }
    for variable in list(dashboard, "/templating/list") {
        if text(variable, "/type") != "query" {
            continue;
        }
        // label_values(SERIES, LABEL): the series that have the label.
        let query = text(variable, "/query/query");
        let inside = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
        let (series, label) = inside.and_then(|inside| inside.rsplit_once(", ")).expect(query);
        let place = format!("{name}: variable {}", text(variable, "/name"));
        let query = format!("group by ({label}) ({series}) and group by ({label}) ({series})");
        found.push(Question { place, query, instant: true });
    }
    found
}

/// What Grafana puts in the place of its variables: all that there is.
fn filled(query: &str) -> String {
    let mut query = query.replace("$__rate_interval", "10s").replace("$__range", "5m");
    for name in ["environment", "job", "instance"] {
        query = query.replace(&format!("${name}"), ".*");
    }
    let query = query.replace("$tier", "web");
    assert!(!query.contains('$'), "a variable that nobody knows: {query}");
    query
}

/// Three releases that serve one after the other, each with all that a tier can have.
struct World {
    program: Program,
    stopped: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    _apps: Vec<Upstream>,
    _caches: [Redis; 2],
    _files: tempfile::TempDir,
}

impl World {
    fn start() -> Self {
        let apps: Vec<Upstream> = ["0.9.0", "1.0.0", "1.1.0"].map(Upstream::start).into();
        let caches = [Redis::start(&[]), Redis::start(&[])];
        let files = tempfile::tempdir().unwrap();
        let signed = Authority::new().sign(&["shop.test"]);
        std::fs::write(files.path().join("web.pem"), signed.chain).unwrap();
        std::fs::write(files.path().join("web.key"), signed.key).unwrap();
        let [web, api, statsd, nobody] = [(); 4].map(|()| free_address());
        let ports: [[SocketAddr; 3]; 2] = [(); 2].map(|()| [(); 3].map(|()| free_address()));
        let cache = |name: &str, place: usize, more: &str| {
            let [old, one, two] = ports[place];
            format!(
                "[[cache]]\nname = \"{name}\"\nkind = \"redis\"\nupstream = \"redis://{}\"\n\
                 ports = {{ \"0.9.0\" = \"{old}\", \"1.0.0\" = \"{one}\", \"1.1.0\" = \"{two}\" }}\n{more}\n",
                caches[place].address
            )
        };
        let signal = |name: &str, what: &str| {
            format!(
                "[[analysis.signal]]\nname = \"{name}\"\ntier = \"web\"\nsource = \"statsd\"\n{what}\n"
            )
        };
        let folder = files.path().display();
        let file = [
            format!(
                "[admin]\nlisten = \"ADMIN\"\n[state]\npath = \"weir.db\"\n[proxy]\nmemory = \"1GiB\"\n\
                 [statsd]\nlisten = \"{statsd}\"\n[[notify]]\nname = \"chat\"\n\
                 webhook = {{ url = \"http://{nobody}/hook\" }}\n[[listener]]\nlisten = \"{api}\"\n\
                 [listener.tls]\ncertificates = [{{ chain = \"{folder}/web.pem\", key = \"{folder}/web.key\" }}]\n\
                 [[tier]]\nname = \"api\"\nlisten = \"{api}\"\nstable = \"1.0.0\"\n\
                 releases = [{{ version = \"1.0.0\", upstreams = [\"{}\"] }}]\n",
                apps[0].address
            ),
            format!(
                "[[tier]]\nname = \"web\"\nlisten = \"{web}\"\nstable = \"0.9.0\"\n\
                 sticky = {{ cookie = \"uid\" }}\nhealth = {{ interval = \"200ms\" }}\n\
                 cache = {{ size = \"16MiB\" }}\nreleases = [\n\
                 {{ version = \"0.9.0\", upstreams = [\"{}\"] }},\n\
                 {{ version = \"1.0.0\", upstreams = [\"{}\"] }},\n\
                 {{ version = \"1.1.0\", upstreams = [\"{}\"] }},\n]\n",
                apps[0].address, apps[1].address, apps[2].address
            ),
            "[rollout]\nstages = [{ weight = \"50%\", bake = \"1h\" }]\n[analysis]\ngrace = \"0s\"\n\
             warm_up = \"0s\"\nslow = { tolerated = \"100pp\", margin = \"50pp\" }\n"
                .to_owned(),
            signal("jobs", "total = \"app.{version}.job.*\"\nbad = \"app.{version}.job.failed\""),
            signal("latency", "value = \"app.{version}.latency\"\nabove = 30\nevery = \"1s\""),
            cache("pages", 0, ""),
            cache("jobs", 1, "mode = \"observe\""),
        ]
        .concat();
        let program = Program::start(&file);
        let stopped = Arc::new(AtomicBool::new(false));
        let threads =
            vec![users(web, Arc::clone(&stopped)), workers(ports, statsd, Arc::clone(&stopped))];
        Self { program, stopped, threads, _apps: apps, _caches: caches, _files: files }
    }

    /// What operators do in a night, until a rollout of 1.1.0 is open.
    fn night(&self) {
        for line in [
            "maintenance on web",
            "maintenance off web",
            "start web 1.0.0 --wait 2m",
            "promote web --yes",
            "start web 1.1.0 --wait 2m",
            "pause web",
            "resume web",
            "rollback web",
            "start web 1.1.0 --again --wait 2m",
        ] {
            let words: Vec<&str> = line.split(' ').collect();
            self.program.say(&words);
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Users who ask all the time for pages, some of which may be kept.
fn users(listen: SocketAddr, stopped: Arc<AtomicBool>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut client = Client::to(listen);
        for user in (0..100).cycle() {
            if stopped.load(Ordering::SeqCst) {
                return;
            }
            client.get("/", &format!("cookie: uid=user-{user}\r\n"));
            if user % 5 == 0 {
                client.get("/public", "");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    })
}

/// Apps that use their part of a Redis, workers that say what became of jobs, and statsd.
fn workers(
    ports: [[SocketAddr; 3]; 2],
    statsd: SocketAddr,
    stopped: Arc<AtomicBool>,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let [mut apps, mut workers] = ports.map(|three| three.map(Connection::new));
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        while !stopped.load(Ordering::SeqCst) {
            for app in &mut apps {
                for words in [&["SET", "page", "1"][..], &["GET", "page"], &["GET", "other"]] {
                    say(app, words);
                }
            }
            for worker in &mut workers {
                say(worker, &["LPUSH", "queue:mail", "{}"]);
                say(worker, &["RPOP", "queue:mail"]);
                for status in ["SUCCESS", "FAILURE"] {
                    let body = format!("{{\"status\":\"{status}\",\"result\":1}}");
                    say(worker, &["MULTI"]);
                    say(worker, &["SETEX", "celery-task-meta-1", "60", &body]);
                    say(worker, &["PUBLISH", "celery-task-meta-1", &body]);
                    say(worker, &["EXEC"]);
                }
            }
            for version in ["0-9-0", "1-0-0", "1-1-0"] {
                let packet = format!(
                    "app.{version}.job.done:3|c\napp.{version}.job.failed:1|c\n\
                     app.{version}.latency:4|g\n"
                );
                let _ = datagrams.send_to(packet.as_bytes(), statsd);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    })
}

fn say(connection: &mut Connection, words: &[&str]) {
    connection.waiting.clear();
    connection.send(&weir::namespace::resp::command(words)).unwrap();
    assert!(connection.more(), "{words:?}");
}

/// Asks; the series with their points.
fn answered(prometheus: &Prometheus, question: &Question, since: f64) -> Result<usize, String> {
    let now = prometheus.now();
    let (path, time) = if question.instant {
        ("query", format!("time={now}"))
    } else {
        ("query_range", format!("start={since}&end={now}&step=1"))
    };
    let answer = prometheus.ask(&format!("/api/v1/{path}?{time}"), &filled(&question.query));
    if answer["status"] != "success" {
        return Err(format!("{}", answer["error"]));
    }
    let known = |point: &Value| point[1].as_str().is_some_and(|value| value != "NaN");
    let series = list(&answer, "/data/result").iter().filter(|series| {
        let points = series["values"].as_array();
        points.map_or_else(|| known(&series["value"]), |points| points.iter().any(known))
    });
    Ok(series.count())
}

#[test]
fn every_query_of_every_dashboard_is_answered_by_a_prometheus_that_scrapes_weir() {
    if quick::is_quick("the queries of the dashboards") {
        return;
    }
    let world = World::start();
    let rules = top().join("deploy/prometheus/recording.yml");
    let prometheus = Prometheus::start_with(&format!(
        "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: ['{}']\n\
         scrape_configs:\n  - job_name: weir\n    static_configs:\n      - targets: ['{}']\n        \
         labels: {{ environment: production }}\n",
        rules.display(),
        world.program.admin()
    ));
    let since = prometheus.now();
    // The first version serves for a while.
    let serves = "sum(rate(weir_responses_total{version=\"0.9.0\"}[10s])) > 0";
    until_answered(&prometheus, &[question("0.9.0 serves", serves)], since);
    world.night();
    let mut all: Vec<Question> =
        dashboards().iter().flat_map(|(name, file)| questions(name, file)).collect();
    let recorded = std::fs::read_to_string(&rules).unwrap();
    let names = recorded.lines().filter_map(|line| line.trim().strip_prefix("- record: "));
    all.extend(names.map(|name| question(name, name)));
    assert!(all.len() > 150, "only {} queries", all.len());
    until_answered(&prometheus, &all, since);
    println!("{} queries were answered", all.len());
}

fn question(place: &str, query: &str) -> Question {
    Question { place: place.to_owned(), query: query.to_owned(), instant: false }
}

fn until_answered(prometheus: &Prometheus, all: &[Question], since: f64) {
    let begun = Instant::now();
    let mut open: Vec<&Question> = all.iter().collect();
    loop {
        let mut silent = Vec::new();
        open.retain(|question| match answered(prometheus, question, since) {
            Ok(series) => {
                if series == 0 {
                    silent.push(format!("{}\n{}", question.place, question.query));
                }
                series == 0
            }
            Err(error) => panic!("{}: {error}\n{}", question.place, question.query),
        });
        if open.is_empty() {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "no answer: {}", silent.join("\n\n"));
        std::thread::sleep(Duration::from_millis(500));
    }
}

#[test]
fn each_dashboard_is_one_by_the_types_that_grafana_publishes() {
    if quick::is_quick("the schema of the dashboards") {
        return;
    }
    let folder = top().join("tests/grafana");
    let install = Command::new(top().join("tests/support/npm_ci"))
        .arg(&folder)
        .arg("grafana")
        .stdin(Stdio::null())
        .output()
        .expect("tests/support/npm_ci runs");
    assert!(install.status.success(), "{}", String::from_utf8_lossy(&install.stderr));
    let check = |files: &[PathBuf]| {
        let output = Command::new("node")
            .arg(folder.join("check.mjs"))
            .args(files)
            .current_dir(node::cache().join("grafana"))
            .stdin(Stdio::null())
            .output()
            .expect("node runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success(), said + &String::from_utf8_lossy(&output.stderr))
    };
    let files = files("grafana/dashboards", "json");
    let (is_good, said) = check(&files);
    assert!(is_good, "{said}");
    assert!(said.contains(&format!("{0} of {0} are by the schema", files.len())), "{said}");
    // And it can fail.
    let mut wrong = dashboards().remove(0).1;
    wrong["panels"][1]["fieldConfig"]["defaults"]["colour"] = "red".into();
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("wrong.json");
    std::fs::write(&path, wrong.to_string()).unwrap();
    let (is_good, said) = check(&[path]);
    assert!(!is_good && said.contains("colour"), "{said}");
}

/// Units by the names that Grafana knows.
const UNITS: &[&str] =
    &["bytes", "dateTimeFromNow", "none", "ops", "percentunit", "reqps", "s", "short"];

#[test]
fn panels_have_their_place_their_words_and_a_data_source_that_can_be_chosen() {
    let mut uids = BTreeSet::new();
    for (name, dashboard) in dashboards() {
        assert_eq!(name, format!("{}.json", text(&dashboard, "/uid")));
        assert!(uids.insert(text(&dashboard, "/uid").to_owned()));
        let (mut ids, mut taken) = (BTreeSet::new(), BTreeMap::new());
        for panel in list(&dashboard, "/panels") {
            let title = format!("{name}: {}", text(panel, "/title"));
            assert!(ids.insert(number(panel, "/id")), "{title}: its id is another's");
            let [x, y, w, h] =
                ["x", "y", "w", "h"].map(|at| number(panel, &format!("/gridPos/{at}")));
            assert!(w > 0 && h > 0 && x + w <= 24, "{title}: out of the grid");
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                let other = taken.insert(cell, title.clone());
                assert!(other.is_none(), "{title} lies on {other:?}");
            }
            if text(panel, "/type") == "row" {
                continue;
            }
            assert_eq!(text(panel, "/datasource/uid"), "${datasource}", "{title}");
            assert!(text(panel, "/description").len() > 5, "{title}: what does it show?");
            let unit = text(panel, "/fieldConfig/defaults/unit");
            assert!(UNITS.contains(&unit), "{title}: {unit}");
            let mut ids = BTreeSet::new();
            for target in list(panel, "/targets") {
                assert!(ids.insert(text(target, "/refId")), "{title}: a refId twice");
                assert_eq!(text(target, "/datasource/uid"), "${datasource}", "{title}");
                assert_ne!(target["instant"], target["range"], "{title}");
            }
            let overrides = list(panel, "/fieldConfig/overrides").iter();
            for other in overrides.filter(|one| text(one, "/matcher/id") == "byFrameRefID") {
                let is_there = ids.contains(text(other, "/matcher/options"));
                assert!(is_there, "{title}: an override of a query that is not there");
            }
        }
        let bottom = taken.keys().map(|(_, y)| y).max().unwrap() + 1;
        for y in 0..bottom {
            assert!(taken.keys().any(|cell| cell.1 == y), "{name}: nothing in line {y}");
        }
    }
}
