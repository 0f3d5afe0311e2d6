//! `weir watch`, in a real terminal: by what is on the screen.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::scene::{Scene, WEIR, watchers};
use crate::support::quick::is_quick;

/// The smallest terminal that many have.
const USUAL: (u16, u16) = (80, 24);

#[test]
fn a_bad_canary_is_rolled_back_before_ones_eyes() {
    if is_quick("a roll back before ones eyes") {
        return;
    }
    let Some(scene) = Scene::start(USUAL) else { return };
    scene.watch("");
    assert!(scene.tmux.is_taken());
    scene.open();
    scene.tmux.shows_all(&["▸ web", "to 1.1.0, stage 1 of 1", "▶ 50%", "errors against"]);
    scene.new.state.failing.store(100, Ordering::SeqCst);
    let screen = scene.tmux.shows_all(&["rolled back", "▸ web      0%", "everybody is on 1.0.0"]);
    assert!(!screen.contains("stage 1 of 1"), "{screen}");
    assert!(screen.lines().all(|line| line.chars().count() <= 80), "{screen}");
    scene.tmux.press("q");
    scene.tmux.shows("ended with 0");
    assert!(!scene.tmux.is_taken(), "the shell has its screen back");
}

#[test]
fn keys_give_orders_and_their_answers_are_shown() {
    if is_quick("the keys of weir watch") {
        return;
    }
    let Some(scene) = Scene::start(USUAL) else { return };
    scene.watch("");
    scene.open();
    scene.tmux.shows("to 1.1.0, stage 1 of 1");
    scene.tmux.press("p");
    scene.tmux.shows_all(&["to 1.1.0, paused", "» web: paused"]);
    scene.tmux.press("r");
    scene.tmux.shows_all(&["to 1.1.0, stage 1 of 1", "» web: resumed"]);
    scene.tmux.press("?");
    scene.tmux.shows("take everybody back, at once (asks; R again: yes)");
    scene.tmux.press("Escape");
    scene.tmux.press("R");
    scene.tmux.shows("? web: take everybody back to 1.0.0, at once?");
    scene.tmux.press("n");
    scene.tmux.shows_all(&["» nothing was changed", "to 1.1.0, stage 1 of 1"]);
    scene.tmux.press("R");
    scene.tmux.shows("y yes");
    scene.tmux.press("y");
    scene.tmux.shows_all(&["» web: rolled back", "everybody is on 1.0.0"]);
    let log = scene.program.say(&["log", "-n", "1"]);
    assert!(log.contains("operator") && log.contains("rolled back"), "{log}");
    scene.tmux.press("Tab");
    scene.tmux.shows("▸ api");
    scene.tmux.press("m");
    scene.tmux.shows("? api: keep all users out");
    scene.tmux.press("y");
    scene.tmux.shows_all(&["closed: maintenance", "in maintenance since"]);
    scene.tmux.press("m");
    scene.tmux.shows("everybody is on 1.0.0");
    scene.tmux.press("C-c");
    scene.tmux.shows("ended with 130");
}

#[test]
fn a_viewer_is_told_what_a_key_needs() {
    if is_quick("a viewer of weir watch") {
        return;
    }
    let Some(scene) = Scene::start(USUAL) else { return };
    scene.program.say(&["token", "add", "ann", "--role", "viewer"]);
    let secret = scene.program.say(&["token", "add", "eve", "--role", "viewer"]);
    scene.watch(&format!("WEIR_TOKEN={}", secret.trim()));
    scene.tmux.shows("as eve (viewer)");
    scene.open();
    scene.tmux.shows("to 1.1.0, stage 1 of 1");
    scene.tmux.press("R");
    scene.tmux.shows("✗ eve is a viewer's token, and this needs an operator's");
    assert!(scene.program.status()["tiers"][0]["rollout"].is_object());
}

#[test]
fn it_fits_every_size_and_says_what_is_too_small() {
    if is_quick("sizes of weir watch") {
        return;
    }
    let Some(scene) = Scene::start(USUAL) else { return };
    scene.watch("");
    scene.open();
    scene.tmux.shows("▶ 50%");
    for (width, height) in [(120, 40), (60, 16), (200, 60), (80, 24)] {
        scene.tmux.resize(width, height);
        let all = ["▸ web", "errors against", "── journal"];
        scene.tmux.becomes(&format!("the picture of {width}x{height}"), |screen| {
            let last = screen.trim_end().lines().last().unwrap_or_default();
            let keys = last.starts_with("? help") && last.contains("R rollback");
            keys && all.iter().all(|text| screen.matches(text).count() == 1)
        });
    }
    scene.tmux.resize(40, 10);
    scene.tmux.shows_all(&["40x10 is too small", "web: 1.1.0 at 50%"]);
    scene.tmux.resize(80, 24);
    scene.tmux.shows("errors against");
}

#[test]
fn it_says_that_weir_is_gone_and_goes_on_when_it_is_back() {
    if is_quick("weir watch over a restart") {
        return;
    }
    let Some(mut scene) = Scene::start(USUAL) else { return };
    scene.watch("");
    scene.program.kill();
    scene.tmux.shows_all(&["✗ nobody answers for", "trying again"]);
    scene.tmux.press("p");
    scene.program.restart();
    scene.tmux.shows_all(&["» weir was restarted", "everybody is on 1.0.0"]);
}

#[test]
fn the_shell_gets_its_terminal_back_however_it_ends() {
    if is_quick("ends of weir watch") {
        return;
    }
    let Some(scene) = Scene::start(USUAL) else { return };
    scene.watch("");
    scene.tmux.press("C-z");
    scene.tmux.shows("Stopped");
    assert!(!scene.tmux.is_taken());
    scene.tmux.types("echo still $((40 + 2))");
    scene.tmux.shows("still 42");
    scene.tmux.types("fg");
    scene.tmux.shows_all(&["everybody is on 1.0.0", "q quit"]);
    assert!(scene.tmux.is_taken());
    scene.tmux.press("q");
    scene.tmux.shows("weir watch\n$\n");
    scene.watch("");
    for (signal, code) in [("TERM", 143), ("INT", 130), ("HUP", 0)] {
        let found = watchers(&scene.program);
        assert_eq!(found.len(), 1, "{found:?}");
        let pid = found[0].to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
        scene.tmux.shows(&format!("ended with {code}"));
        assert!(!scene.tmux.is_taken(), "{signal}");
        // Keys are echoed, and a line ends where it should: the terminal is as it was.
        scene.tmux.types("clear; stty -a | grep -c ' icanon'");
        scene.tmux.shows("1\n$");
        scene.watch("");
    }
    // A terminal that is closed ends who looks on.
    let Scene { tmux, program, .. } = scene;
    drop(tmux);
    let since = Instant::now();
    while !watchers(&program).is_empty() {
        assert!(since.elapsed() < Duration::from_secs(30), "it runs without a terminal");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn colours_are_left_out_where_nobody_wants_them() {
    if is_quick("colours of weir watch") {
        return;
    }
    let Some(scene) = Scene::start((100, 30)) else { return };
    scene.watch("");
    scene.open();
    scene.tmux.shows("▶ 50%");
    // The codes of colours, but for those that end one.
    let colours = |text: &str| {
        let mut codes = text.split('\u{1b}').skip(1);
        codes.any(|code| code.starts_with("[3") && !code.starts_with("[39"))
    };
    let painted = scene.tmux.painted();
    assert!(colours(&painted), "{painted:?}");
    scene.tmux.press("q");
    scene.tmux.shows("ended with 0");
    scene.program.say(&["rollback", "web"]);
    scene.watch("NO_COLOR=1");
    scene.program.say(&["start", "web", "1.1.0", "--again"]);
    // What colours said, signs say.
    scene.tmux.shows_all(&["▶ 50%", "verdict  …", "● "]);
    let painted = scene.tmux.painted();
    let weir: Vec<&str> = painted.lines().filter(|line| !line.contains("watch;")).collect();
    assert!(!colours(&weir.join("\n")), "{painted:?}");
}

#[test]
fn what_is_not_seen_by_anybody_is_plain_lines() {
    let Some(scene) = Scene::start((100, 30)) else { return };
    scene.tmux.types(&format!("{WEIR} watch | cat -v"));
    let screen = scene.tmux.shows("  web: everybody is on 1.0.0");
    assert!(!screen.contains("^["), "{screen}");
    assert!(!scene.tmux.is_taken());
    scene.tmux.press("C-c");
    scene.tmux.types(&format!("clear; TERM=dumb {WEIR} watch"));
    scene.tmux.shows("  api: everybody is on 1.0.0");
    assert!(!scene.tmux.is_taken());
    scene.tmux.press("C-c");
    // A reader that goes away ends it without a word of complaint, though nothing is written.
    scene.tmux.types(&format!("clear; {WEIR} watch 2>&1 | head -n 1; echo ended"));
    let screen = scene.tmux.shows("\nended");
    assert!(!screen.contains("panicked") && !screen.contains("rror"), "{screen}");
}

#[test]
fn status_is_painted_and_fits_the_terminal_and_is_plain_in_a_pipe() {
    let Some(scene) = Scene::start((60, 50)) else { return };
    scene.open();
    scene.tmux.types(&format!("clear; {WEIR} status; echo ended"));
    let screen = scene.tmux.shows("\nended");
    let lines: Vec<&str> = screen.lines().collect();
    assert!(lines.iter().any(|line| line.contains("stages     ▶ 50%")), "{screen}");
    // A broken line goes on under what it began with: no word at the edge.
    let broken = lines.iter().filter(|line| line.starts_with("             ")).count();
    assert!(broken >= 2 && screen.trim_end().lines().count() <= 40, "{screen}");
    assert!(scene.tmux.painted().contains("\u{1b}["), "{screen}");
    let piped = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["status", "--config", "weir.toml"])
        .current_dir(scene.program.directory())
        .env_remove("NO_COLOR")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let piped = String::from_utf8(piped.stdout).unwrap();
    assert!(piped.contains("stages     ▶ 50%") && !piped.contains('\u{1b}'), "{piped}");
    scene.tmux.types(&format!("clear; NO_COLOR=1 {WEIR} status | cat; echo over"));
    scene.tmux.shows("\nover");
    assert!(!scene.tmux.painted().contains("\u{1b}[3"), "{}", scene.tmux.painted());
}

#[test]
fn who_waits_sees_that_it_goes_on_and_a_pipe_does_not() {
    if is_quick("waiting in a terminal") {
        return;
    }
    let Some(scene) = Scene::start((100, 30)) else { return };
    scene.open();
    scene.tmux.types(&format!("clear; {WEIR} wait > out; echo ended with $?"));
    scene.tmux.shows("waiting: web 50% ");
    scene.program.say(&["rollback", "web"]);
    let screen = scene.tmux.shows("ended with 3");
    assert!(!screen.contains("waiting: web"), "the line is taken away:\n{screen}");
    let out = std::fs::read_to_string(scene.program.directory().join("out")).unwrap();
    assert!(out.contains("web: rolled back") && !out.contains("waiting:"), "{out}");
    let piped = scene.program.ask(&["wait"]);
    assert_eq!((piped.status.code(), piped.stderr.len()), (Some(3), 0));
}

#[test]
fn a_message_from_elsewhere_cannot_steer_the_terminal() {
    let Some(scene) = Scene::start((100, 30)) else { return };
    let log = scene.program.say(&["log", "--json", "-n", "1"]);
    let mut record: serde_json::Value = serde_json::from_str(log.trim()).unwrap();
    record["sentence"] = "gone\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\n2026-11-22  a lie".into();
    let log = serde_json::json!({ "records": [record], "latest": 1 }).to_string();
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = stranger.local_addr().unwrap();
    let answers = thread::spawn(move || {
        let (mut stream, _) = stranger.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]).unwrap();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", log.len());
        stream.write_all((head + &log).as_bytes()).unwrap();
    });
    scene.tmux.types(&format!("clear; {WEIR} log --admin {address}; echo ended"));
    let screen = scene.tmux.shows("\nended");
    answers.join().unwrap();
    let harmless = "gone\u{fffd}[2J\u{fffd}]0;owned\u{fffd}\u{fffd}31m 2026-11-22  a lie";
    assert!(screen.contains(harmless), "{screen}");
}
