//! The night of a recipe: its own file with other addresses and folders, the real program, stand-ins
//! for the app, and scripts that write down that they ran in place of its hooks.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::support::program::{Program, free_address, get};
use super::super::support::redis::Redis;
use super::super::support::upstream::Upstream;
use super::read;

/// How long a night may take on a machine that does other things as well.
const PATIENCE: Duration = Duration::from_mins(5);

/// A night that has begun.
pub struct Night {
    program: Program,
    file: toml::Table,
    redis: SocketAddr,
    /// The version that serves at first, and the one that is rolled out.
    pub old: String,
    pub new: String,
    _apps: Vec<Upstream>,
    _place: tempfile::TempDir,
}

impl Night {
    /// Starts the program with the file of the recipe in `folder`, and opens the rollout.
    pub fn begin(folder: &Path, redis: &Redis) -> Self {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("nightly_1.dump"), vec![b'x'; 2 << 20]).unwrap();
        let mut apps = vec![Upstream::start("chat")];
        let chat = format!("http://{}/hook", apps[0].address);
        let lines: Vec<String> = read(&folder.join("weir.toml"))
            .lines()
            .map(|line| elsewhere(line, place.path(), redis.address, &mut apps))
            .collect();
        let text = format!("{}\n[admin]\nlisten = \"ADMIN\"\n", lines.join("\n"));
        let file: toml::Table = text.parse().unwrap();
        let program = Program::start_with(&text, &[], &[("CHAT_WEBHOOK", &chat)]);
        let hooks = program.directory().join("hooks");
        std::fs::create_dir(&hooks).unwrap();
        for hook in std::fs::read_dir(folder.join("hooks")).unwrap() {
            let script = hooks.join(hook.unwrap().file_name());
            let ran =
                "printf '%s|%s|%s\\n' \"$0${1:+ $*}\" \"$WEIR_VERSION_OLD\" \"$WEIR_VERSION\"";
            std::fs::write(&script, format!("#!/bin/sh\nset -eu\n{ran} >>ran\n")).unwrap();
            std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
        }
        let tier = &file["tier"][0];
        let text = |value: &toml::Value| value.as_str().unwrap().to_owned();
        let (old, new) = (text(&tier["stable"]), text(&tier["releases"][1]["version"]));
        let redis = redis.address;
        let night = Self { program, file, redis, old, new, _apps: apps, _place: place };
        night.program.say(&["start", "--wait", "30s", "--reason", "the night of the recipe"]);
        night
    }

    /// What one version writes into a cache has its name before it, and the other does not find it.
    pub fn the_caches_are_apart(&self) {
        let caches = self.file.get("cache").and_then(toml::Value::as_array);
        let is_observed = |cache: &&toml::Value| cache.get("mode").is_some();
        for cache in caches.into_iter().flatten().filter(|cache| !is_observed(cache)) {
            let ports = cache["ports"].as_table().unwrap();
            for (version, port) in ports {
                let port = port.as_str().unwrap().parse().unwrap();
                assert_eq!(asked(port, "GET page"), "$-1\r\n", "before {version} wrote");
                assert_eq!(asked(port, &format!("SET page {version}")), "+OK\r\n");
                let found = asked(self.redis, &format!("GET {version}:page"));
                assert!(found.ends_with(&format!("\r\n{version}\r\n")), "{version}: {found}");
            }
        }
    }

    /// Says yes to every question and does not wait for proofs, to the end.
    pub fn promote(&self) {
        self.go_on(|_| false);
    }

    /// The same until nothing but the promotion of the last tier is ahead.
    pub fn go_on_until_the_last_stage(&self) {
        self.go_on(|upgrade| {
            let done = usize::try_from(upgrade["done"].as_u64().unwrap()).unwrap();
            let items = upgrade["items"].as_array().unwrap();
            let is_stage = |item: &Value| !item["weight"].is_null();
            is_stage(&items[done]) && !items[done + 1..].iter().any(is_stage)
        });
    }

    /// Orders everybody back, and says yes to what is asked then.
    pub fn roll_back(&self) {
        self.program.say(&["rollback", "--reason", "carts are empty"]);
        self.go_on(|_| false);
    }

    fn go_on(&self, is_far_enough: impl Fn(&Value) -> bool) {
        let since = Instant::now();
        loop {
            let status = self.program.status();
            let upgrade = &status["upgrade"];
            if upgrade.is_null() || is_far_enough(upgrade) {
                return;
            }
            let waits = upgrade["waits_for"].as_str().unwrap_or_default();
            if let Some((_, step)) = waits.split_once("(`weir approve ") {
                self.program.say(&["approve", step.trim_end_matches("`)")]);
            } else if waits.contains("step traffic failed: the traffic of") {
                // Weir has just started, and no minute was counted yet.
                self.program.say(&["step", "skip", "traffic"]);
            } else if waits.starts_with("the judge of ") || waits.starts_with("the jobs of ") {
                // What it refuses while something else begins is asked for again.
                let refused = self.program.ask(&["advance"]).stderr;
                if String::from_utf8_lossy(&refused).contains("is the last stage") {
                    self.program.say(&["promote", "--yes"]);
                }
            } else {
                assert_eq!(upgrade["needs_person"], false, "{waits}\n{}", self.program.log());
                std::thread::sleep(Duration::from_millis(20));
            }
            assert!(since.elapsed() < PATIENCE, "{upgrade:#}\n{}", self.program.log());
        }
    }

    /// The hooks of steps that ran so far, in order; each was told both versions.
    pub fn hooks(&self) -> Vec<String> {
        let of_workers = self.commands("switch", &self.new).into_iter();
        let scripts: Vec<String> =
            of_workers.filter_map(|line| Some(line.split(' ').next()?.to_owned())).collect();
        let is_step =
            |hook: &String| !scripts.iter().any(|script| hook.starts_with(script.as_str()));
        self.ran().into_iter().filter(is_step).collect()
    }

    /// The workers that were moved so far, in order: by which commands.
    pub fn moves(&self) -> Vec<String> {
        let switches = [&self.old, &self.new].map(|version| self.commands("switch", version));
        let is_move = |line: &String| switches.iter().flatten().any(|switch| switch == line);
        self.ran().into_iter().filter(is_move).collect()
    }

    /// What the file does with each instance of its workers for `version`.
    pub fn commands(&self, what: &str, version: &str) -> Vec<String> {
        let workers = self.file.get("worker").and_then(toml::Value::as_array);
        let each = workers.into_iter().flatten().flat_map(|workers| {
            let words: Vec<&str> =
                workers[what].as_array().unwrap().iter().filter_map(toml::Value::as_str).collect();
            let instances = workers["instances"].as_array().unwrap().iter();
            let instances = instances.filter_map(toml::Value::as_str);
            let command = words.join(" ").replace("{version}", version);
            instances.map(|instance| command.replace("{instance}", instance)).collect::<Vec<_>>()
        });
        each.collect()
    }

    fn ran(&self) -> Vec<String> {
        let ran = std::fs::read_to_string(self.program.directory().join("ran"));
        let versions = format!("|{}|{}", self.old, self.new);
        let hook = |line: &str| {
            let hook = line.strip_suffix(&versions).unwrap_or_else(|| panic!("{line}"));
            hook[hook.find("hooks/").unwrap()..].to_owned()
        };
        ran.unwrap_or_default().lines().map(hook).collect()
    }

    /// Each tier answers newcomers with `version`.
    pub fn everybody_has(&self, version: &str) {
        for tier in self.file["tier"].as_array().unwrap() {
            let listen = tier["listen"].as_str().unwrap().parse().unwrap();
            let path = tier.get("route").map_or("/", |route| route["path"].as_str().unwrap());
            for _ in 0..10 {
                let answer = get(listen, path).unwrap();
                assert!(answer.contains(&format!("\r\n\r\n{version}\n")), "{tier:?}: {answer}");
            }
        }
    }
}

/// A line of a recipe's file, as it is played: other addresses and folders, an app for each upstream,
/// no hours, since tests run at any, and the times of a test.
fn elsewhere(line: &str, place: &Path, redis: SocketAddr, apps: &mut Vec<Upstream>) -> String {
    let key = line.split('=').next().unwrap_or_default().trim();
    if ["hours", "decide_by", "past_decision"].contains(&key) {
        return String::new();
    }
    let version = line.split('"').nth(1).unwrap_or_default();
    let is_release = line.trim_start().starts_with("{ version = ");
    let mut played = String::new();
    let mut parts = line.split("127.0.0.1:");
    played += parts.next().unwrap_or_default();
    for part in parts {
        let port = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        let address = if is_release {
            apps.push(Upstream::start(version));
            apps[apps.len() - 1].address
        } else if key == "upstream" {
            redis
        } else {
            free_address()
        };
        played += &address.to_string();
        played += &part[port..];
    }
    let folder = |path: &str| format!("{}/{path}", place.display());
    for (from, to) in [
        ("/var/lib/weir/weir.db", folder("weir.db")),
        ("/var/backups/shop", place.display().to_string()),
        ("/var/backups/mastodon", place.display().to_string()),
        ("/var/backups/mattermost", place.display().to_string()),
        ("free = \"10GiB\"", "free = \"1MiB\"".to_owned()),
    ] {
        played = played.replace(from, &to);
    }
    played
}

/// What a server of Redis at `address` answers to `command`.
fn asked(address: SocketAddr, command: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.strip_suffix("+OK\r\n").unwrap_or_else(|| panic!("{command}: {answer}")).to_owned()
}

/// The hooks in the table of a recipe's page, in its order: those of a roll back, or the others.
pub fn order_in_readme(folder: &Path, of_a_roll_back: bool) -> Vec<String> {
    let page = read(&folder.join("README.md"));
    let hook = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, _, when, hook, ..] = cells[..] else { return None };
        let hook = hook.trim_matches('`');
        (hook.starts_with("hooks/") && (when == "on rollback") == of_a_roll_back)
            .then(|| hook.to_owned())
    };
    page.lines().filter_map(hook).collect()
}
