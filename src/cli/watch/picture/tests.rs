//! Pictures of a status as it is served, on terminals that are none.

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::admin::api::{History, ItemStatus, TierHistory, VersionHistory};
use crate::cli::watch::scene::{News, Said};
use crate::control::InstanceView;

fn status() -> Status {
    serde_json::from_str(include_str!("status.json")).unwrap()
}

/// A rollout over tiers that is at its second item of twelve.
pub(in crate::cli::watch) fn upgrade(id: u64) -> UpgradeStatus {
    let item = |number: u64| ItemStatus {
        kind: "stage".into(),
        text: format!("web to {number} %"),
        tiers: vec!["web".parse().unwrap()],
        weight: Some(500),
        bake_seconds: Some(30),
    };
    UpgradeStatus {
        id,
        name: Some("autumn".into()),
        items: (1..=12).map(item).collect(),
        done: 1,
        waits_for: Some("somebody who approves `migrate`".into()),
        needs_person: true,
        goes_back: false,
        started: status().started,
        entered: status().started,
        decide_by: None,
        decide_by_said: None,
        output: vec!["migrating table users".into()],
    }
}

fn curves() -> History {
    let points = |count: u64| (0..180).map(|point| (point > 3).then_some(count)).collect();
    let version = |version: &str, requests: u64, errors: u64| VersionHistory {
        version: version.parse().unwrap(),
        requests: points(requests),
        errors: points(errors),
        p50: points(3_000),
        p95: points(12_000),
        p99: points(40_000),
    };
    let tier = TierHistory {
        tier: "web".parse().unwrap(),
        weight: vec![Some(2_500); 180],
        versions: vec![version("1.0.0", 150, 0), version("1.1.0", 50, 5)],
        evidence: vec![],
    };
    History {
        at: status().at,
        step_seconds: 5,
        from: status().started,
        tiers: vec![tier],
        caches: vec![],
        http_caches: vec![],
        jobs: vec![],
        marks: vec![],
    }
}

fn scene() -> Scene {
    let mut scene = Scene::new("127.0.0.1:7700".into());
    scene.take(News::Status(Box::new(status())));
    scene
}

fn painted(scene: &Scene, (width, height): (u16, u16), palette: &Palette) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, scene, palette)).unwrap();
    terminal
}

fn text(scene: &Scene, size: (u16, u16)) -> String {
    painted(scene, size, &Palette::of(true)).backend().to_string()
}

#[test]
fn the_usual_terminal_shows_all_that_matters() {
    let mut scene = scene();
    scene.take(News::Curves(curves()));
    let shown = text(&scene, (80, 24));
    for says in [
        "▸ web",
        "to 1.1.0, stage",
        "stages   ",
        "verdict  … HOLD",
        "next     ",
        "requests",
        "stable 1.0.0",
        "30/s",
        "canary 1.1.0",
        "10/s",
        "10 %",
        "12 ms",
        "errors against",
        "rolled back at 133:1",
        "for     ",
        "percentage points worse",
        "── journal",
        "R rollback",
        "m maintenance",
    ] {
        assert!(shown.contains(says), "{says}:\n{shown}");
    }
    let canary = shown.lines().find(|line| line.contains("canary 1.1.0")).unwrap();
    let stable = shown.lines().find(|line| line.contains("stable 1.0.0")).unwrap();
    assert!(canary.contains('▄') && stable.contains('█'), "a third of the requests:\n{shown}");
}

#[test]
fn every_size_is_drawn_and_ends_with_the_keys() {
    let mut scene = scene();
    scene.take(News::Curves(curves()));
    for with_upgrade in [false, true] {
        if with_upgrade {
            let mut status = status();
            let id = status.tiers[0].rollout.as_ref().unwrap().id;
            status.upgrade = Some(upgrade(id));
            scene.take(News::Status(Box::new(status)));
        }
        for width in [1, 20, 59, 60, 61, 80, 133, 300] {
            for height in [1, 5, 15, 16, 17, 24, 50, 100] {
                let shown = text(&scene, (width, height));
                let is_large = width >= 60 && height >= 16;
                assert_eq!(shown.contains("R rollback"), is_large, "{width}x{height}:\n{shown}");
                assert_eq!(shown.contains("journal"), is_large, "{width}x{height}:\n{shown}");
            }
        }
    }
    assert!(text(&scene, (59, 15)).contains("59x15 is too small"));
}

#[test]
fn a_rollout_over_tiers_shows_where_it_is_and_whom_it_waits_for() {
    let mut status = status();
    let id = status.tiers[0].rollout.as_ref().unwrap().id;
    status.upgrade = Some(upgrade(id));
    let mut scene = Scene::new("x".into());
    scene.take(News::Status(Box::new(status)));
    let shown = text(&scene, (100, 40));
    for says in [
        "autumn",
        "1 of 12 done",
        "✓ web to 1 %",
        "▶ web to 2 %",
        "· web to 3 %",
        "waits for ? somebody who approves",
        "| migrating table users",
    ] {
        assert!(shown.contains(says), "{says}:\n{shown}");
    }
}

#[test]
fn instances_are_shown_and_first_the_one_that_is_moved() {
    let mut status = status();
    let instance = |number: usize, version: Option<&str>| InstanceView {
        name: format!("web-{number}"),
        address: format!("10.0.0.{number}:3000"),
        version: version.map(|version| version.parse().unwrap()),
        health: "healthy".into(),
        error: None,
        connections: 0,
    };
    status.tiers[0].instances =
        vec![instance(1, Some("1.1.0")), instance(2, None), instance(3, Some("1.0.0"))];
    let mut scene = Scene::new("x".into());
    scene.take(News::Status(Box::new(status.clone())));
    let shown = text(&scene, (80, 30));
    let line = "instances  web-2 is being moved, web-1 1.1.0, web-3 1.0.0";
    assert!(shown.contains(line), "{shown}");
    // Where there are many they leave room for the rest.
    status.tiers[0].instances = (1..=32).map(|number| instance(number, Some("1.0.0"))).collect();
    scene.take(News::Status(Box::new(status)));
    let shown = text(&scene, (80, 30));
    assert!(shown.contains("web-1 1.0.0") && !shown.contains("web-32"), "{shown}");
    assert!(shown.contains("R rollback"), "{shown}");
}

#[test]
fn answers_and_losses_are_told_above_the_keys() {
    let mut scene = scene();
    scene.take(News::Said(Said { text: "web: paused".into(), is_trouble: false }));
    assert!(text(&scene, (80, 24)).contains("» web: paused"));
    scene.take(News::Said(Said { text: "no".repeat(300), is_trouble: true }));
    let shown = text(&scene, (80, 24));
    assert!(shown.contains("✗ no") || shown.contains("✗"), "{shown}");
    assert!(shown.contains("── journal"), "a long answer leaves room:\n{shown}");
    scene.take(News::Lost("nobody answers at 127.0.0.1:7700".into()));
    let shown = text(&scene, (80, 24));
    assert!(shown.contains("✗ nobody answers for") && shown.contains("to 1.1.0"), "{shown}");
}

#[test]
fn without_colours_nothing_has_one_and_with_them_much_does() {
    let scene = scene();
    let colours = |palette: &Palette| {
        let terminal = painted(&scene, (80, 24), palette);
        let cells = terminal.backend().buffer().content();
        cells.iter().filter(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset).count()
    };
    assert_eq!(colours(&Palette::of(true)), 0);
    assert!(colours(&Palette::of(false)) > 40);
}
