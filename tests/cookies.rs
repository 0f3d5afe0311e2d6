//! The app's cookies while two versions are live: the real program and a browser.

use std::cell::RefCell;

use crate::support::app::{App, Ask, answer};
use crate::support::client::Client;
use crate::support::http2_client::{self, run};
use crate::support::jar::Jar;
use crate::support::program::{Program, free_address, get};

/// The attributes of the session, as frameworks set it.
const SESSION: &str = "Path=/; Max-Age=1209600; Secure; HttpOnly; SameSite=Lax";

/// Two versions of an app behind Weir. Each says whose session it reads; the old one cannot read
/// what the new one has written.
struct Site {
    old: App,
    new: App,
    program: Program,
    address: std::net::SocketAddr,
    /// A user whom the split puts on the canary.
    user: String,
}

fn serve(version: u32, ask: &Ask) -> String {
    let session = ask.cookie("__Host-s");
    let written: Option<u32> =
        session.and_then(|text| text.trim_matches('"').split(':').next()?.parse().ok());
    if written.is_some_and(|by| by > version) {
        return answer(500, "", "cannot read the session");
    }
    let set = |value: &str| format!("set-cookie: __Host-s=\"{value}\"; {SESSION}\r\n");
    let read = session.unwrap_or("nobody").trim_matches('"');
    let name = read.split(':').next_back().unwrap_or_default();
    match ask.path.as_str() {
        "/login" => answer(200, &set(&format!("{version}:ann")), "welcome"),
        "/write" => answer(200, &set(&format!("{version}:{name}")), "written"),
        "/logout" => {
            let end = "set-cookie: __Host-s=; Path=/; Secure; Max-Age=0\r\n\
                       set-cookie: seen=1; Path=/\r\n";
            answer(200, end, "goodbye")
        }
        // As Rails does it with the session in the cookie.
        "/users/sign_out" => answer(200, &set(&format!("{version}:nobody")), "signed out"),
        "/public" => {
            let lines = "cache-control: public, max-age=60\r\n";
            answer(200, lines, &format!("for all of {version}"))
        }
        "/large" => answer(200, &set(&format!("{version}:{}", "x".repeat(4_050))), "large"),
        "/socket" => {
            format!("HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n{read}")
        }
        "/broken" if version == 2 => String::new(),
        _ => answer(200, "", read),
    }
}

impl Site {
    fn start(more: &str) -> Self {
        let old = App::start(|ask| serve(1, ask));
        let new = App::start(|ask| serve(2, ask));
        let address = free_address();
        let program = Program::start(&format!(
            r#"
[admin]
listen = "ADMIN"
[[tier]]
name = "web"
listen = "{address}"
stable = "1"
sticky = {{ header = "x-user" }}
show_version = true
cookies = {{ "__Host-s" = "overlay", "theme" = "share" }}
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
        let mut site = Self { old, new, program, address, user: String::new() };
        site.split();
        site
    }

    /// Opens a rollout and finds a user for it.
    fn split(&mut self) {
        self.program.say(&["start", "web", "2", "--again", "--wait", "2m"]);
        self.user = self.somebody("2");
    }

    /// A user whom the split puts on `version`.
    fn somebody(&self, version: &str) -> String {
        let is_there = |user: &String| {
            let answer = Client::to(self.address).get("/", &format!("x-user: {user}\r\n"));
            answer.field("x-weir-version") == Some(version)
        };
        let mut users = (0..1_000).map(|number| format!("user-{number}"));
        users.find(is_there).expect("half of them")
    }

    fn rollback(&self) {
        self.program.say(&["rollback"]);
    }

    fn promote(&self) {
        self.program.say(&["promote", "web", "--yes"]);
    }

    fn browser(&self) -> Browser<'_> {
        Browser { site: self, jar: RefCell::default() }
    }

    fn counter(&self, name: &str) -> u64 {
        let metrics = get(self.program.admin(), "/metrics").unwrap();
        let line = metrics.lines().find(|line| line.starts_with(&format!("{name}{{")));
        line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
    }
}

/// A browser of one user.
struct Browser<'a> {
    site: &'a Site,
    jar: RefCell<Jar>,
}

impl Browser<'_> {
    /// What the user of the canary sees.
    fn ask(&self, path: &str) -> String {
        self.ask_as(&self.site.user, path)
    }

    fn ask_as(&self, user: &str, path: &str) -> String {
        let lines = format!("x-user: {user}\r\n{}", self.jar.borrow().line());
        let answer = Client::to(self.site.address).get(path, &lines);
        self.jar.borrow_mut().take(&answer.head);
        answer.text()
    }

    /// Somebody whom the split leaves on stable, with the cookies of this browser.
    fn ask_stable(&self, path: &str) -> String {
        let user = self.site.somebody("1");
        self.ask_as(&user, path)
    }

    /// The names of its cookies, without what stands behind a `~`.
    fn names(&self) -> Vec<String> {
        let jar = self.jar.borrow();
        let plain = |name: &str| match name.split_once('~') {
            Some((name, mark)) => {
                assert!(mark.len() == 8 && name == "__Host-s", "{name}~{mark}");
                format!("{name}~")
            }
            None => name.to_owned(),
        };
        jar.names().map(plain).collect()
    }

    /// The one behind whose name a `~` stands.
    fn marked(&self) -> String {
        let pairs = self.jar.borrow().pairs();
        pairs.into_iter().find(|pair| pair.contains("__Host-s~")).unwrap()
    }
}

#[test]
fn a_rollback_finds_the_session_as_it_was() {
    let mut site = Site::start("");
    site.rollback();
    let jar = {
        let browser = site.browser();
        assert_eq!(browser.ask("/login"), "welcome");
        assert_eq!(browser.ask("/"), "1:ann");
        browser.jar
    };
    site.split();
    let browser = Browser { site: &site, jar };
    assert_eq!(browser.ask("/"), "1:ann", "the canary reads stable's");
    assert_eq!(browser.ask("/write"), "written");
    assert_eq!(browser.ask("/"), "2:ann");
    assert_eq!(browser.names(), ["__Host-s", "__Host-s~"]);
    assert_eq!(browser.ask_stable("/"), "1:ann");
    // A request that the canary fails is answered by stable, which gets its own session.
    assert_eq!(browser.ask("/broken"), "1:ann");
    assert!(site.new.count("/broken") > 0);
    site.rollback();
    assert_eq!(browser.ask("/"), "1:ann");
    assert_eq!(browser.names(), ["__Host-s"], "what the canary wrote is gone");
    assert_eq!(site.counter("weir_cookies_aside_total"), 1);
    let asked = site.old.asked.lock().unwrap();
    assert!(asked.iter().all(|ask| !ask.head.contains('~')), "stable never sees the canary's");
}

#[test]
fn a_logout_on_either_side_ends_both() {
    let site = Site::start("");
    for by_canary in [true, false] {
        let browser = site.browser();
        browser.ask_stable("/login");
        browser.ask("/write");
        assert_eq!((browser.ask("/"), browser.ask_stable("/")), ("2:ann".into(), "1:ann".into()));
        if by_canary {
            browser.ask("/logout")
        } else {
            browser.ask_stable("/logout")
        };
        assert_eq!(browser.names(), ["seen"]);
        assert_eq!((browser.ask("/"), browser.ask_stable("/")), ("nobody".into(), "nobody".into()));
    }
}

#[test]
fn a_logout_that_writes_another_session_ends_both_as_well() {
    let site = Site::start("");
    let browser = site.browser();
    browser.ask_stable("/login");
    browser.ask("/write");
    assert_eq!(browser.ask("/users/sign_out"), "signed out");
    assert_eq!((browser.ask("/"), browser.ask_stable("/")), ("2:nobody".into(), "nobody".into()));
    site.rollback();
    assert_eq!((browser.ask("/"), browser.names()), ("nobody".into(), vec![]));
}

#[test]
fn a_promotion_logs_nobody_out_and_leaves_nothing_behind() {
    let site = Site::start("keep_warm = \"0s\"");
    let (moved, late) = (site.browser(), site.browser());
    for browser in [&moved, &late] {
        browser.ask_stable("/login");
        browser.ask("/write");
    }
    site.promote();
    assert_eq!(moved.ask("/public"), "for all of 2");
    assert_eq!(moved.names(), ["__Host-s", "__Host-s~"], "not with what caches keep for all");
    assert_eq!(moved.ask("/"), "2:ann");
    assert_eq!(moved.names(), ["__Host-s"]);
    assert_eq!(moved.ask("/"), "2:ann");
    assert_eq!(late.ask("/write"), "written");
    assert_eq!((late.ask("/"), late.names()), ("2:ann".into(), vec!["__Host-s".into()]));
    let (jar, days) = (late.jar.borrow(), "Max-Age=1209600");
    assert_eq!(jar.get("__Host-s").unwrap().attributes, SESSION);
    let jar = moved.jar.borrow();
    let attributes = &jar.get("__Host-s").unwrap().attributes;
    // A second may have gone by.
    assert_eq!(
        attributes.replace("Max-Age=1209599", days).replace("Max-Age=1209598", days),
        SESSION
    );
}

#[test]
fn the_way_back_after_a_promotion_finds_the_session_as_it_was() {
    let site = Site::start("");
    let (moved, new) = (site.browser(), site.browser());
    moved.ask_stable("/login");
    moved.ask("/write");
    site.promote();
    assert_eq!(moved.ask("/"), "2:ann");
    assert_eq!(moved.ask("/write"), "written");
    new.ask("/login");
    assert_eq!(new.ask("/"), "2:ann");
    assert_eq!(moved.names(), ["__Host-s", "__Host-s~"]);
    site.rollback();
    assert_eq!((moved.ask("/"), moved.names()), ("1:ann".into(), vec!["__Host-s".into()]));
    // Who was never on the old version is logged out, and not met by a page of errors.
    assert_eq!((new.ask("/"), new.names()), ("nobody".into(), vec![]));
}

#[test]
fn what_weir_keeps_of_answers_holds_nobodys_session() {
    let site = Site::start("cache = { size = \"16MiB\" }");
    let browser = site.browser();
    browser.ask_stable("/login");
    browser.ask("/write");
    for _ in 0..2 {
        assert_eq!(browser.ask("/public"), "for all of 2");
        assert_eq!(browser.ask_stable("/public"), "for all of 1");
        assert_eq!((browser.ask("/"), browser.ask_stable("/")), ("2:ann".into(), "1:ann".into()));
    }
    assert_eq!((site.old.count("/public"), site.new.count("/public")), (1, 1), "the rest was kept");
    site.promote();
    assert_eq!(browser.ask("/public"), "for all of 2");
    assert_eq!(browser.names(), ["__Host-s", "__Host-s~"]);
    assert_eq!(browser.ask("/"), "2:ann");
    let other = site.browser();
    assert_eq!((other.ask("/public"), other.names()), ("for all of 2".into(), vec![]));
}

#[test]
fn upgrades_and_split_fields_get_the_same_cookies() {
    let site = Site::start("");
    let browser = site.browser();
    browser.ask("/login");
    let pair = browser.marked();
    let mut socket = Client::to(site.address);
    socket.send(&format!(
        "GET /socket HTTP/1.1\r\nhost: app\r\nx-user: {}\r\nconnection: upgrade\r\n\
         upgrade: echo\r\ncookie: {pair}\r\n\r\n",
        site.user
    ));
    assert_eq!(socket.head().unwrap().status, 101);
    while socket.rest().len() < 5 && socket.fill() {}
    assert_eq!(socket.rest(), b"2:ann");
    run(async {
        let client = http2_client::Client::to(site.address).await;
        let fields = [
            ("x-user", site.user.as_str()),
            ("cookie", "a=1"),
            ("cookie", pair.as_str()),
            ("cookie", "b=\"2 3\""),
        ];
        assert_eq!(client.get("/", &fields).await.text(), "2:ann");
    });
    let asked = site.new.asked.lock().unwrap();
    let fields = asked.last().unwrap().fields("cookie").join("; ");
    assert_eq!(fields, "a=1; __Host-s=\"2:ann\"; b=\"2 3\"");
}

#[test]
fn a_session_without_room_beside_stables_is_shared_and_counted() {
    let site = Site::start("");
    let browser = site.browser();
    browser.ask("/large");
    assert_eq!(site.counter("weir_cookies_without_room_total"), 1);
    assert_eq!(browser.names(), ["__Host-s"]);
    assert!(browser.ask("/").starts_with("2:xxx"));
}
