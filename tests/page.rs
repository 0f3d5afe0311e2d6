//! The page that Weir serves, in a real browser before the real program.

#[path = "page/browser.rs"]
mod browser;
#[path = "page/crowd.rs"]
mod crowd;
#[path = "page/pictures.rs"]
mod pictures;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::support::program::{Program, free_address};
use super::support::quick::is_quick;
use super::support::upstream::Upstream;
use browser::{Browser, key};
use crowd::Crowd;

const DESKTOP: (u32, u32) = (1280, 900);
const PHONE: (u32, u32) = (390, 844);

/// Least contrast of text, and of what is not text (WCAG 2.2, 1.4.3 and 1.4.11).
const TEXT_CONTRAST: f64 = 4.5;
const SHAPE_CONTRAST: f64 = 3.0;

/// Streams that may be open at once.
const STREAMS_MAX: usize = 32;

/// Bytes of the whole page on their way, with the heads.
const WIRE_MAX: u64 = 150 * 1024;

/// An app in two versions behind the program, with users.
struct World {
    program: Program,
    canary: Upstream,
    _stable: Upstream,
    _crowd: Crowd,
}

impl World {
    fn new(more: &str) -> Self {
        let [stable, canary] = ["1.0.0", "1.1.0"].map(Upstream::start);
        let door = free_address();
        let (old, new) = (stable.address, canary.address);
        let file = format!(
            "[admin]\nlisten = \"ADMIN\"\n[analysis]\ngrace = \"0s\"\nwarm_up = \"0s\"\n\
             slow = {{ tolerated = \"100pp\", margin = \"50pp\" }}\n[rollout]\n\
             stages = [{{ weight = \"50%\", bake = \"1h\" }}]\n{more}\n[[tier]]\nname = \"web\"\n\
             listen = \"{door}\"\nstable = \"1.0.0\"\nreleases = [\n  {{ version = \"1.0.0\", \
             upstreams = [\"{old}\"] }},\n  {{ version = \"1.1.0\", upstreams = [\"{new}\"] }},\n]\n"
        );
        let program = Program::start(&file);
        Self { program, canary, _stable: stable, _crowd: Crowd::enter(door) }
    }

    /// A browser of this size that has the page before it.
    fn browser(&self, size: (u32, u32)) -> Browser {
        let browser = Browser::open(size);
        browser.go(&self.url());
        browser.wait("document.querySelector('#live').dataset.state === 'live'");
        browser
    }

    fn url(&self) -> String {
        format!("http://{}/", self.program.admin())
    }

    fn start(&self) {
        let answer = self.program.order(&json!({ "order": "start", "tier": "web" }));
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    fn token(&self, role: &str) -> String {
        let path = self.program.directory().join(format!("{role}.token"));
        std::fs::read_to_string(path).expect("a token").trim().to_owned()
    }

    fn weight(&self) -> Value {
        self.program.status()["tiers"][0]["weight"].clone()
    }
}

/// Logs in with the button at the top.
fn log_in(browser: &Browser, token: &str) {
    browser.click("#login");
    browser.wait("document.querySelector('#ask-token')");
    browser.write("#ask-token", &format!("{token}{}", key::ENTER));
    browser
        .wait("!document.querySelector('#who').hidden && !document.querySelector('dialog').open");
}

/// Orders a roll back from within the page, past its buttons, with these headers; gives the status.
fn forced(browser: &Browser, headers: &str) -> Value {
    browser.run_later(&format!(
        "const done = arguments[0]; \
         const order = {{ method: 'POST', headers: {headers}, body: '{{\"order\":\"rollback\"}}' }}; \
         fetch('/api/v1/orders', order).then((answer) => done(answer.status))"
    ))
}

const HEADLINE: &str = "document.querySelector('#headline').textContent";

#[test]
fn a_bad_canary_is_rolled_back_before_the_eyes() {
    if is_quick("the page in a browser") {
        return;
    }
    let world = World::new("");
    let browser = world.browser(DESKTOP);
    browser.run("window.stayed = true");
    assert!(
        browser.text(HEADLINE).contains("1.0.0 serves everybody"),
        "{}",
        browser.text(HEADLINE)
    );

    world.start();
    browser.wait(&format!("{HEADLINE}.includes('web: 50 % on 1.1.0')"));
    browser.wait("document.querySelector('.metric')?.innerText.includes('rolled back at')");
    browser.wait("document.querySelectorAll('.stage.now').length === 1");
    let curve = |title: &str| {
        format!(
            "[...document.querySelectorAll('.plot')].map((plot) => plot.ariaLabel)\
                 .find((label) => label.startsWith('{title}'))"
        )
    };
    browser.wait(&format!("/1\\.0\\.0 [1-9].*, 1\\.1\\.0 [1-9]/.test({})", curve("Requests")));

    world.canary.state.failing.store(70, Ordering::SeqCst);
    browser.wait("document.querySelector('#journal li[data-kind=rolled_back]')");
    browser.wait(&format!("{HEADLINE}.includes('1.0.0 serves everybody')"));
    browser.wait(&format!("/1\\.1\\.0 [1-9]/.test({})", curve("Errors")));
    let sentence =
        browser.text("document.querySelector('#journal li[data-kind=rolled_back] p').textContent");
    let log = world.program.say(&["log", "--json"]);
    let written = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    assert!(
        sentence.contains("rolled back")
            && written.into_iter().any(|it| it["sentence"] == json!(sentence)),
        "{sentence}\n{log}"
    );

    // The mark on the curves, by keyboard: the sentence is shown and said.
    browser.wait(&format!("{}.length > 0", curve("Requests")));
    browser.run("document.querySelector('.plot').focus()");
    let since = Instant::now();
    loop {
        browser.press(key::PAGE_UP);
        let tip = browser.text("document.querySelector('.tip.event')?.textContent ?? ''");
        if tip.contains(&sentence) {
            break;
        }
        browser
            .run("document.querySelector('.plot').blur(); document.querySelector('.plot').focus()");
        assert!(since.elapsed() < browser::PATIENCE, "no mark: {tip:?}");
    }
    assert!(
        browser
            .text("document.querySelector('.chart [role=status]').textContent")
            .contains("1.1.0")
    );
    assert_eq!(browser.value("window.stayed"), json!(true), "the page was not loaded again");
    assert_eq!(browser.errors(), Vec::<String>::new());
}

#[test]
fn who_logs_in_rolls_back_with_two_presses() {
    if is_quick("the page in a browser") {
        return;
    }
    let world = World::new("");
    world.start();
    let browser = world.browser(DESKTOP);
    let token = world.token("operator");

    browser.click("#login");
    browser.wait("document.querySelector('#ask-token')");
    browser.write("#ask-token", &format!("weir_wrong{}", key::ENTER));
    browser.wait("document.querySelector('dialog .wrong')?.textContent.includes('refused')");
    browser.write("#ask-token", &format!("{token}{}", key::ENTER));
    browser.wait("document.querySelector('#who').textContent.includes('operator')");
    let kept = "JSON.stringify([document.cookie, {...localStorage}, {...sessionStorage}, \
                document.body.outerHTML])";
    assert!(!browser.text(kept).contains(&token), "no script sees the token or the session");
    assert_eq!(browser.value("document.cookie"), json!(""));

    browser.click("#orders [data-order=rollback]");
    browser.wait(
        "document.querySelector('dialog').innerText.includes('50 % of users on 1.1.0 go to 1.0.0')",
    );
    browser.click("dialog button[type=button]");
    browser.wait("!document.querySelector('dialog').open");
    assert_eq!(world.weight(), json!(5000), "who has not confirmed has ordered nothing");

    browser.click("#orders [data-order=rollback]");
    browser.write("#ask-reason", "<img src=x onerror=alert(1)>");
    browser.click("dialog [data-yes]");
    browser.wait("document.querySelector('#answers .good')?.innerText.includes('rolled back')");
    assert_eq!(world.weight(), json!(0));
    browser.wait(
        "document.querySelector('#journal').innerText.includes('<img src=x onerror=alert(1)>')",
    );
    assert_eq!(
        browser.value("document.querySelectorAll('img').length"),
        json!(0),
        "text stays text"
    );

    // What makes no sense any more says why.
    browser.wait("document.querySelector('#orders [data-order=rollback]').ariaDisabled === 'true'");
    browser.click("#orders [data-order=pause]");
    browser
        .wait("document.querySelector('#answers .bad')?.innerText.includes('no rollout is open')");

    browser.click("#logout");
    browser
        .wait("document.querySelector('#who').hidden && !document.querySelector('#login').hidden");
    let refused = forced(&browser, "{ 'x-weir-page': '1' }");
    assert_eq!(refused, json!(401), "the session is over on the server, too");
}

#[test]
fn a_viewer_looks_and_orders_nothing() {
    if is_quick("the page in a browser") {
        return;
    }
    let world = World::new("");
    world.start();
    let browser = world.browser(DESKTOP);
    log_in(&browser, &world.token("viewer"));
    let disabled = "[...document.querySelectorAll('button[data-order]')].every((button) => \
                    button.ariaDisabled === 'true' && button.title.includes('viewer'))";
    browser.wait(disabled);
    browser.click("#orders [data-order=rollback]");
    browser.wait("document.querySelector('#answers .bad')?.innerText.includes('viewer')");
    assert_eq!(browser.value("document.querySelector('dialog').open"), json!(false));

    assert_eq!(forced(&browser, "{ 'x-weir-page': '1' }"), json!(403));
    assert_eq!(world.weight(), json!(5000));

    // An operator's session without the header of the page is as good as none.
    browser.click("#logout");
    browser.wait("!document.querySelector('#login').hidden");
    log_in(&browser, &world.token("operator"));
    let refused = forced(&browser, "{}");
    assert!(refused == json!(403) || refused == json!(401), "{refused}");
    assert_eq!(world.weight(), json!(5000));
}

#[test]
fn a_roll_back_needs_no_mouse() {
    if is_quick("the page in a browser") {
        return;
    }
    let world = World::new("");
    world.start();
    let browser = world.browser(DESKTOP);
    let mut presses = 0;
    while browser.text("document.activeElement.dataset.order ?? ''") != "rollback" {
        browser.press(key::TAB);
        presses += 1;
        assert!(presses < 10, "the roll back is among the first things");
    }
    let outline = browser.text("getComputedStyle(document.activeElement).outlineStyle");
    assert_eq!(outline, "solid", "the focus is seen");
    browser.press(key::ENTER);
    browser.wait("document.activeElement?.dataset.yes === ''");
    browser.press(key::ENTER);
    browser.wait("document.activeElement?.id === 'ask-token'");
    browser.press(&format!("{}{}", world.token("operator"), key::ENTER));
    browser.wait("document.querySelector('#answers .good')?.innerText.includes('rolled back')");
    assert_eq!(world.weight(), json!(0));
    // The first point of the curves comes some seconds after the start.
    let since = Instant::now();
    let told = "document.querySelector('.chart [role=status]').textContent";
    while !browser.text(told).contains("1.0.0") {
        assert!(since.elapsed() < Duration::from_mins(3), "the values are not said");
        browser.run("document.querySelector('.plot').focus()");
        browser.press(key::LEFT);
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_question_is_answered_by_a_press() {
    if is_quick("the page in a browser") {
        return;
    }
    let world = World::new(
        "[[step]]\nname = \"look\"\nwhen = \"before rollout\"\nowner = \"Ada\"\n\
         confirm = \"is the dump good?\"\n\
         [[step]]\nname = \"broken\"\nwhen = \"before rollout\"\nrun = [\"false\"]",
    );
    world.start();
    let browser = world.browser(DESKTOP);
    browser.wait("document.querySelector('#person').innerText.includes('is the dump good?')");
    log_in(&browser, &world.token("operator"));
    browser.click("#person button");
    browser.wait("document.querySelector('#person').innerText.includes('step broken failed')");
    browser.wait("document.querySelector('#journal').innerText.includes('operator')");
    browser.click("#person button:last-child");
    browser
        .wait("document.querySelector('dialog').innerText.includes('Take step broken as done?')");
    browser.click("dialog [data-yes]");
    browser.wait(&format!("{HEADLINE}.includes('web: 50 % on 1.1.0')"));

    // Maintenance, on and off.
    browser.click("#orders [data-order=maintenance]");
    browser.write("#ask-message", "We are back soon.");
    browser.click("dialog [data-yes]");
    browser.wait(
        "document.querySelector('.tier .chips').innerText.includes('closed for maintenance')",
    );
    browser.wait(
        "document.querySelector('#orders [data-order=maintenance]').innerText === 'Open to users'",
    );
    browser.click("#orders [data-order=maintenance]");
    browser.wait("!document.querySelector('.tier .chips').innerText.includes('closed')");

    // A hold, for a moment.
    browser.click("#orders [data-order=maintenance]");
    browser.wait("!document.querySelector('#ask-message').closest('.field').hidden");
    browser.run(
        "const how = document.querySelector('#ask-how'); how.value = 'hold'; \
         how.dispatchEvent(new Event('change'));",
    );
    browser.wait("document.querySelector('#ask-message').closest('.field').hidden");
    assert_eq!(browser.text("document.querySelector('#ask-for').value"), "1m");
    browser.click("dialog [data-yes]");
    browser.wait("document.querySelector('.tier .chips').innerText.includes('wait')");
    browser.click("#orders [data-order=maintenance]");
    browser.wait("!document.querySelector('.tier .chips').innerText.includes('wait')");
    assert_eq!(browser.errors(), Vec::<String>::new());
}

#[test]
fn instances_are_seen_with_their_versions() {
    if is_quick("the page in a browser") {
        return;
    }
    let apps = ["1.0.0", "1.0.0"].map(Upstream::start);
    let program = Program::start(&format!(
        "[admin]\nlisten = \"ADMIN\"\n[[tier]]\nname = \"api\"\nlisten = \"{}\"\nstable = \
         \"1.0.0\"\nreleases = [{{ version = \"1.0.0\" }}, {{ version = \"1.1.0\" }}]\n\
         [tier.rolling]\nswitch = [\"true\"]\nbake = \"1h\"\ninstances = [\n  {{ name = \"api-1\", \
         address = \"{}\" }},\n  {{ name = \"api-2\", address = \"{}\" }},\n]\n",
        free_address(),
        apps[0].address,
        apps[1].address
    ));
    let browser = Browser::open(DESKTOP);
    browser.go(&format!("http://{}/", program.admin()));
    let line = |name: &str| format!("document.querySelector('[data-instance={name}]').innerText");
    browser.wait("document.querySelectorAll('[data-instance]').length === 2");
    browser.wait("document.querySelector('.releases').innerText.includes('no instance')");
    program.say(&["start", "--reason", "to see it"]);
    browser.wait(&format!("{}.includes('1.1.0')", line("api-1")));
    browser.wait(&format!("{}.includes('1.0.0')", line("api-2")));
    // The picture has one flight of stairs, with the instances as stones on it.
    browser.wait("document.querySelectorAll('.picture .stairs .stage').length === 2");
    assert_eq!(browser.errors(), Vec::<String>::new());
}

#[test]
fn a_restart_is_seen_and_survived() {
    if is_quick("the page in a browser") {
        return;
    }
    let mut world = World::new("");
    let browser = world.browser(DESKTOP);
    log_in(&browser, &world.token("operator"));
    world.program.kill();
    browser.wait("document.querySelector('#live').dataset.state === 'lost'");
    browser.wait("document.querySelector('#lost').innerText.includes('Trying again')");
    world.program.restart();
    browser.wait("document.querySelector('#live').dataset.state === 'live'");
    browser.wait("document.querySelector('#lost').hidden");
    browser.wait("!document.querySelector('#login').hidden");
    world.start();
    browser.wait("document.querySelector('#journal li[data-kind=started]')");
    let seqs =
        "[...document.querySelectorAll('#journal li')].map((item) => Number(item.dataset.seq))";
    let seqs: Vec<u64> = serde_json::from_value(browser.value(seqs)).expect("numbers");
    let all: Vec<u64> = (1..=seqs.len() as u64).rev().collect();
    assert_eq!(seqs, all, "nothing twice, nothing missing");
}

#[test]
fn one_stream_too_many_is_told_as_that() {
    if is_quick("the page in a browser") {
        return;
    }
    let world = World::new("");
    let open = |_| {
        let mut stream = TcpStream::connect(world.program.admin()).expect("it listens");
        stream.write_all(b"GET /api/v1/stream HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("sent");
        stream.read_exact(&mut [0; 12]).expect("a status line");
        stream
    };
    let streams: Vec<TcpStream> = (0..STREAMS_MAX).map(open).collect();
    let browser = Browser::open(DESKTOP);
    browser.go(&world.url());
    browser.wait("document.querySelector('#live').dataset.state === 'lost'");
    browser
        .wait("document.querySelector('#lost').innerText.includes('32 streams are open already')");
    drop(streams);
    browser.wait("document.querySelector('#live').dataset.state === 'live'");
}

#[test]
fn a_telephone_shows_it_all_by_day_and_by_night() {
    if is_quick("the page in a browser") {
        return;
    }
    let world = World::new("");
    world.start();
    let browser = world.browser(PHONE);
    browser.wait(&format!("{HEADLINE}.includes('50 %')"));
    browser.wait("document.querySelector('.plot canvas').width > 0");
    for theme in ["dark", "light"] {
        browser.run(&format!("document.querySelector('#themes input[value={theme}]').click()"));
        let scheme = browser.text("getComputedStyle(document.documentElement).colorScheme");
        assert_eq!(scheme, theme);
        let wide = browser.value("document.documentElement.scrollWidth - innerWidth");
        assert_eq!(wide, json!(0), "nothing is wider than the telephone");
    }
    let reachable = "(() => { scrollTo(0, document.body.scrollHeight / 2); \
                     const button = document.querySelector('#orders [data-order=rollback]'); \
                     const box = button.getBoundingClientRect(); \
                     return box.top > 0 && box.bottom <= innerHeight && box.height >= 40; })()";
    assert_eq!(browser.value(reachable), json!(true), "a roll back is under the thumb");
    browser.resize((320, 640));
    assert_eq!(browser.value("document.documentElement.scrollWidth <= 320"), json!(true));
    browser.click("#orders [data-order=rollback]");
    browser.wait("document.querySelector('dialog').open");
}

/// Which colours stand on which, and how much they must differ.
const PAIRS: &[(&str, &[&str], f64)] = &[
    ("ink", &["paper", "ground"], TEXT_CONTRAST),
    ("soft", &["paper", "ground"], TEXT_CONTRAST),
    ("quiet", &["paper", "ground"], TEXT_CONTRAST),
    ("stable", &["paper", "stable-wash"], TEXT_CONTRAST),
    ("canary", &["paper", "canary-wash"], TEXT_CONTRAST),
    ("good", &["paper", "ground"], TEXT_CONTRAST),
    ("bad", &["paper", "ground", "bad-wash"], TEXT_CONTRAST),
    ("ink", &["bad-wash"], TEXT_CONTRAST),
    ("on-bad", &["bad"], TEXT_CONTRAST),
    ("edge", &["paper", "ground"], SHAPE_CONTRAST),
    ("focus", &["paper", "ground"], SHAPE_CONTRAST),
];

#[test]
fn the_page_is_legible_small_and_soon_drawn() {
    if is_quick("the page in a browser") {
        return;
    }
    let world = World::new("");
    world.start();
    let browser = world.browser(DESKTOP);
    let mut faint = String::new();
    for theme in ["light", "dark"] {
        browser.run(&format!("document.documentElement.dataset.theme = '{theme}'"));
        for (front, backs, least) in PAIRS {
            for back in *backs {
                let ratio = contrast(&colour(&browser, front), &colour(&browser, back));
                if ratio < *least {
                    let _ =
                        writeln!(faint, "{theme}: {front} on {back} is {ratio:.2}, least {least}");
                }
            }
        }
    }
    assert_eq!(faint, "");

    let bytes = "['navigation', 'resource'].flatMap((kind) => performance.getEntriesByType(kind))\
                 .filter((entry) => !new URL(entry.name).pathname.startsWith('/api/'))\
                 .map((entry) => entry.transferSize)";
    let bytes: Vec<u64> = serde_json::from_value(browser.value(bytes)).expect("numbers");
    let all: u64 = bytes.iter().sum();
    assert!(bytes.len() >= 8 && bytes.iter().all(|bytes| *bytes > 0), "{bytes:?}");
    assert!(all <= WIRE_MAX, "{all} bytes: {bytes:?}");

    let asked: BTreeMap<String, f64> =
        serde_json::from_value(browser.run_later(REDRAW)).expect("numbers");
    eprintln!("{all} bytes; a redraw of ten lines of 14 400 points: {asked:?}");
    // However many points there are: two in a column of pixels of each line, and a little for the rest.
    let places = asked["lineTo"] + asked["moveTo"];
    assert!(places > 10.0 * asked["width"], "the lines are drawn: {asked:?}");
    assert!(places < 10.0 * 2.2 * asked["width"] + 300.0, "{asked:?}");
    // Lines and marks, the grid, and for each line its end and its point of the crosshair.
    assert!(asked["stroke"] <= 150.0, "{asked:?}");
    assert!(asked["fill"] + asked["fillText"] <= 150.0, "{asked:?}");
    // What is drawn once is not drawn twice: the picture, and the crosshair before and after it is put.
    assert!(asked["clearRect"] <= 3.0, "{asked:?}");
    assert_eq!(browser.errors(), Vec::<String>::new());
}

const REDRAW: &str = include_str!("page/redraw.js");

/// A colour of the sheet as the browser mixes it.
fn colour(browser: &Browser, name: &str) -> Vec<f64> {
    let text = browser.text(&format!(
        "(() => {{ const probe = document.createElement('i'); probe.style.color = 'var(--{name})'; \
         document.body.append(probe); const text = getComputedStyle(probe).color; probe.remove(); \
         return text; }})()"
    ));
    let parts = text.trim_start_matches("rgb(").trim_end_matches(')').split(',');
    let parts: Vec<f64> = parts.filter_map(|part| part.trim().parse().ok()).collect();
    assert_eq!(parts.len(), 3, "{name} is {text}");
    parts
}

/// The contrast ratio of two colours (WCAG 2.2).
fn contrast(one: &[f64], other: &[f64]) -> f64 {
    let channel = |value: f64| {
        let value = value / 255.0;
        if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    };
    let light = |colour: &[f64]| {
        0.0722f64.mul_add(
            channel(colour[2]),
            0.2126f64.mul_add(channel(colour[0]), 0.7152 * channel(colour[1])),
        )
    };
    let (one, other) = (light(one), light(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

#[test]
fn elsewhere_nothing_is_shown_without_a_token() {
    if is_quick("the page in a browser") {
        return;
    }
    let world = World::new("");
    let browser = Browser::open(DESKTOP);
    // The API of a test listens on a loopback address, where reads are open: have them closed as they
    // are elsewhere, until somebody has logged in.
    browser.before(
        "const real = window.fetch; let inside = false;
         window.fetch = async (path, options) => {
           const open = inside || path === '/api/v1/session';
           const closed = '{\"error\":\"this needs a token\",\"kind\":\"unauthorised\"}';
           if (!open) return new Response(closed, { status: 401 });
           const answer = await real(path, options);
           if (path === '/api/v1/session') inside = answer.ok && options.method === 'POST';
           return answer;
         };",
    );
    browser.go(&world.url());
    browser
        .wait("!document.querySelector('#gate').hidden && document.querySelector('main').hidden");
    browser.write("#gate-token", &format!("weir_wrong{}", key::ENTER));
    browser.wait("document.querySelector('#gate-wrong').textContent.includes('refused')");
    browser.run("document.querySelector('#gate-token').value = ''");
    browser.write("#gate-token", &format!("{}{}", world.token("viewer"), key::ENTER));
    browser
        .wait("!document.querySelector('main').hidden && document.querySelector('#gate').hidden");
    browser.wait("document.querySelector('#who').textContent.includes('viewer')");
    browser.click("#logout");
    browser
        .wait("document.querySelector('main').hidden && !document.querySelector('#gate').hidden");
    assert_eq!(browser.value("document.querySelector('#gate-token').value"), json!(""));
}

#[test]
fn pictures_for_the_documentation() {
    if std::env::var_os("WEIR_PICTURES").is_some() {
        pictures::take();
    }
    for name in ["night", "rollback", "phone"] {
        let picture =
            std::fs::read(Path::new("docs").join(format!("page-{name}.png"))).expect("a picture");
        assert!(picture.starts_with(b"\x89PNG"), "{name}");
        assert!(
            picture.len() < 150_000,
            "{name}: {} bytes; pngquant makes it smaller",
            picture.len()
        );
    }
}
