//! Files that only one of two versions has: the real program, and two apps.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::app::{App, Ask, answer};
use crate::support::client::{Answer, Client};
use crate::support::program::{Program, free_address, get};

const PAGE: &str = "content-type: text/html; charset=utf-8\r\n";

/// Two versions of an app behind Weir.
struct Site {
    old: App,
    new: App,
    program: Program,
    address: SocketAddr,
    /// Whether the new version hangs.
    hangs: Arc<AtomicBool>,
}

/// Each has the files that have its number in their name, and an old single-page app gives its page
/// for what it does not know.
fn serve(version: u32, ask: &Ask) -> String {
    let file = ask.path.strip_prefix("/assets/");
    match file {
        Some(name) if name.contains(&format!("v{version}")) => {
            if ask.fields("range") == ["bytes=0-1"] {
                return answer(206, "content-range: bytes 0-1/5\r\n", "fi");
            }
            if ask.fields("if-none-match") == [format!("\"{version}\"")] {
                return "HTTP/1.1 304 Not Modified\r\netag: \"1\"\r\n\r\n".to_owned();
            }
            let lines = "set-cookie: seen=1\r\ncache-control: public, max-age=31536000\r\n";
            answer(200, lines, &format!("file of {version}"))
        }
        Some(name) if name.starts_with("spa-") => answer(200, PAGE, "<html>page</html>"),
        Some(name) if name.starts_with("gone-") => answer(410, "", "gone"),
        Some(_) => {
            let lines = format!("{PAGE}cache-control: public, max-age=600\r\n");
            answer(404, &lines, &format!("{version} has it not"))
        }
        None if ask.path == "/" => answer(200, PAGE, "page"),
        None if ask.path == "/kept" => {
            let lines = "cache-control: public, max-age=60\r\ncdn-cache-control: max-age=600\r\n";
            answer(200, &format!("{PAGE}{lines}"), "page")
        }
        None if ask.path == "/data" => answer(200, "cache-control: public\r\n", "{}"),
        None => answer(404, PAGE, &format!("{version} has no such page")),
    }
}

impl Site {
    fn start(more: &str, client: &str) -> Self {
        let hangs = Arc::<AtomicBool>::default();
        let hanging = Arc::clone(&hangs);
        let old = App::start(|ask| serve(1, ask));
        let new = App::start(move |ask| {
            while hanging.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(20));
            }
            serve(2, ask)
        });
        let address = free_address();
        let program = Program::start(&format!(
            r#"
[admin]
listen = "ADMIN"
[proxy]
workers = 1
upstream_client = "{client}"
[[tier]]
name = "web"
listen = "{address}"
stable = "1"
sticky = {{ header = "x-user" }}
show_version = true
assets = ["/assets/"]
{more}
releases = [
  {{ version = "1", upstreams = ["{}"] }},
  {{ version = "2", upstreams = ["{}"] }},
]
health = {{ path = "/health", interval = "100ms" }}
[rollout]
stages = [{{ weight = "50%", bake = "1h" }}]
"#,
            old.address, new.address
        ));
        program.say(&["start", "web", "2", "--wait", "2m"]);
        Self { old, new, program, address, hangs }
    }

    /// The header line of a user whom the split puts on `version`.
    fn user(&self, version: &str) -> String {
        let lines = (0..1_000).map(|number| format!("x-user: user-{number}\r\n"));
        let is_there = |line: &String| {
            let answer = Client::to(self.address).get("/", line);
            answer.field("x-weir-version") == Some(version)
        };
        lines.into_iter().find(is_there).expect("half of them")
    }

    fn get(&self, path: &str, lines: &str) -> Answer {
        Client::to(self.address).get(path, lines)
    }

    fn counts(&self) -> [u64; 3] {
        let metrics = get(self.program.admin(), "/metrics").unwrap();
        ["found", "missed", "unasked"].map(|result| {
            let line = format!("weir_asset_fallthrough_total{{tier=\"web\",result=\"{result}\"}} ");
            let found = metrics.lines().find_map(|other| other.strip_prefix(line.as_str()));
            found.unwrap_or_else(|| panic!("{line}\n{metrics}")).parse().unwrap()
        })
    }
}

#[test]
fn what_one_version_does_not_have_comes_from_the_other() {
    for client in ["hyper", "weir"] {
        let site = Site::start("", client);
        let (old, new) = (site.user("1"), site.user("2"));
        let secrets = "cookie: session=a\r\nauthorization: Basic x\r\n";
        for (user, path, file) in [
            (&old, "/assets/v1.js", "file of 1"),
            (&old, "/assets/v2.js", "file of 2"),
            (&new, "/assets/v1.js", "file of 1"),
            (&new, "/assets/gone-v1.css", "file of 1"),
            (&new, "/assets/spa-v1.js", "file of 1"),
        ] {
            let answer = site.get(path, &format!("{user}{secrets}"));
            assert_eq!((answer.status, answer.text().as_str()), (200, file), "{path}");
            let kept = answer.field("cache-control");
            assert_eq!(kept, Some("public, max-age=31536000"), "{path}");
            let own = path.contains(if *user == old { "v1" } else { "v2" });
            assert_eq!(answer.field("set-cookie").is_some(), own, "{path}");
        }
        let asked = site.old.asked.lock().unwrap();
        let asked = asked.iter().rfind(|ask| ask.path.starts_with("/assets/")).unwrap();
        assert_eq!((asked.fields("cookie").len(), asked.fields("authorization").len()), (0, 0));
        assert_eq!(asked.fields("x-weir-version"), ["1"]);
        assert_eq!(site.counts(), [4, 0, 0]);
        // A page for a picture is what the app means; so is one for a script that nobody has.
        assert_eq!(site.get("/assets/spa-x.png", &new).text(), "<html>page</html>");
        assert_eq!(site.counts(), [4, 0, 0]);
    }
}

#[test]
fn heads_ranges_and_validators_go_with_it() {
    let site = Site::start("", "hyper");
    let new = site.user("2");
    let mut client = Client::to(site.address);
    client.send(&format!("HEAD /assets/v1.js HTTP/1.1\r\nhost: app\r\n{new}\r\n"));
    let head = client.answer("HEAD").unwrap();
    assert_eq!((head.status, head.field("content-length")), (200, Some("9")));
    // The connection goes on.
    let part = client.get("/assets/v1.js", &format!("{new}range: bytes=0-1\r\n"));
    assert_eq!((part.status, part.text().as_str()), (206, "fi"));
    let same = client.get("/assets/v1.js", &format!("{new}if-none-match: \"1\"\r\n"));
    assert_eq!((same.status, same.field("etag")), (304, Some("\"1\"")));
    assert_eq!(site.counts(), [3, 0, 0]);
}

#[test]
fn what_neither_has_is_the_first_answer_and_nothing_keeps_it() {
    let site = Site::start("", "hyper");
    let (old, new) = (site.user("1"), site.user("2"));
    for (user, says) in [(&old, "1 has it not"), (&new, "2 has it not")] {
        let answer = site.get("/assets/v3.js", user);
        assert_eq!((answer.status, answer.text().as_str()), (404, says));
        assert_eq!(answer.field("cache-control"), Some("no-store"));
    }
    assert_eq!(site.counts(), [0, 2, 0]);
    let page = site.get("/unknown", &new);
    assert_eq!((page.status, page.text().as_str()), (404, "2 has no such page"));
    assert_eq!(site.old.count("/unknown"), 0, "a page is asked of its version only");
    let mut client = Client::to(site.address);
    client.send(&format!(
        "POST /assets/v1.js HTTP/1.1\r\nhost: app\r\ncontent-length: 0\r\n{new}\r\n"
    ));
    assert_eq!(client.answer("POST").unwrap().status, 404);
    assert_eq!(site.counts(), [0, 2, 0]);
}

#[test]
fn a_version_that_is_down_or_hangs_holds_nobody_up() {
    if crate::support::quick::is_quick("a_version_that_is_down_or_hangs") {
        return;
    }
    let site = Site::start("", "hyper");
    let old = site.user("1");
    site.hangs.store(true, Ordering::SeqCst);
    for _ in 0..5 {
        let answer = site.get("/assets/v2.js", &old);
        assert_eq!((answer.status, answer.text().as_str()), (404, "1 has it not"));
        assert_eq!(answer.field("cache-control"), Some("no-store"));
    }
    site.hangs.store(false, Ordering::SeqCst);
    let [found, missed, unasked] = site.counts();
    assert_eq!((found, missed, unasked), (0, 0, 5));
    // Only the first of them has waited, unless the machine was slow.
    assert!(site.new.count("/assets/") < 5);
    site.new.stop();
    let answer = site.get("/assets/v2.js", &old);
    assert_eq!((answer.status, answer.text().as_str()), (404, "1 has it not"));
}

#[test]
fn the_files_of_the_version_that_was_left_are_found_for_a_while() {
    let site = Site::start("", "hyper");
    site.program.say(&["promote", "web", "--yes"]);
    assert_eq!(site.get("/assets/v1.js", "").text(), "file of 1");
    site.program.say(&["rollback"]);
    assert_eq!(site.get("/assets/v2.js", "").text(), "file of 2");
    let site = Site::start("keep_warm = \"0s\"", "hyper");
    site.program.say(&["promote", "web", "--yes"]);
    let answer = site.get("/assets/v1.js", "");
    assert_eq!((answer.status, answer.field("cache-control")), (404, Some("public, max-age=600")));
    assert_eq!(site.counts(), [0, 0, 0]);
}

#[test]
fn what_the_other_has_is_no_error_of_the_first() {
    let site = Site::start("", "hyper");
    let new = site.user("2");
    for _ in 0..20 {
        assert_eq!(site.get("/assets/v1.js", &new).status, 200);
    }
    let metrics = get(site.program.admin(), "/metrics").unwrap();
    let line = "weir_attempts_total{tier=\"web\",version=\"2\",track=\"canary\",class=\"4xx\"} 0";
    assert!(metrics.contains(line), "{metrics}");
}

#[test]
fn no_cache_in_front_keeps_a_page_while_clients_are_split() {
    let site = Site::start("", "hyper");
    let kept = |site: &Site, path: &str| {
        let answer = site.get(path, "");
        let field = |name: &str| answer.field(name).map(str::to_owned);
        (field("cache-control"), field("vary"), field("cdn-cache-control"))
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(kept(&site, "/kept"), (some("private, max-age=60"), None, None));
    assert_eq!(kept(&site, "/"), (some("private"), None, None));
    assert_eq!(kept(&site, "/data"), (some("public"), None, None));
    let page = site.get("/assets/spa-x.png", "");
    assert_eq!((page.text().as_str(), page.field("cache-control")), ("<html>page</html>", None));
    site.program.say(&["promote", "web", "--yes"]);
    let untouched = (some("public, max-age=60"), None, some("max-age=600"));
    assert_eq!(kept(&site, "/kept"), untouched);
    let site = Site::start("shared_caches = \"vary\"", "hyper");
    let (control, vary, cdn) = untouched.clone();
    assert_eq!(kept(&site, "/kept"), (control, vary.or(some("x-user")), cdn));
    let site = Site::start("shared_caches = \"untouched\"", "hyper");
    assert_eq!(kept(&site, "/kept"), untouched);
}
