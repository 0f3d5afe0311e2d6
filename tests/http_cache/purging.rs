//! What an operator throws away.

use serde_json::Value as Json;

use super::{Scene, is_hit};
use crate::support::app::answer;
use crate::support::program::get;

fn scene() -> Scene {
    Scene::pair(|version, ask| {
        let lines = format!(
            "cache-control: max-age=600\r\ncache-tag: page, v{version}\r\nsurrogate-key: {} all\r\n",
            ask.path.trim_start_matches('/')
        );
        answer(200, &lines, version)
    })
}

#[test]
fn answers_are_thrown_away_by_url_by_tag_and_by_namespace() {
    let scene = scene();
    let kept = |path: &str| is_hit(&scene.get(path, "cache-control: only-if-cached\r\n"));
    let fill = || ["/a?x=1", "/b", "/c"].map(|path| scene.get(path, ""));
    let purge = |arguments: &[&str]| scene.program.say(&[&["cache", "purge"], arguments].concat());
    fill();
    assert_eq!(purge(&["https://APP/a?x=1"]), "1 answer thrown away\n");
    assert_eq!(["/a?x=1", "/b", "/c"].map(kept), [false, true, true]);
    fill();
    assert_eq!(purge(&["--tag", "b"]), "1 answer thrown away\n");
    assert_eq!(["/a?x=1", "/b", "/c"].map(kept), [true, false, true]);
    assert_eq!(purge(&["--tag", "page"]), "2 answers thrown away\n");
    fill();
    assert_eq!(purge(&["--namespace", "1.1.0"]), "0 answers thrown away\n");
    let said = purge(&["--namespace", "1.0.0", "--json"]);
    assert_eq!(serde_json::from_str::<Json>(&said).unwrap(), serde_json::json!({ "answers": 3 }));
    assert_eq!(["/a?x=1", "/b", "/c"].map(kept), [false; 3]);
}

#[test]
fn a_purge_needs_to_know_what() {
    let scene = scene();
    for (arguments, said) in [
        (&["cache", "purge", "/page"][..], "is no URL with a host"),
        (&["cache", "purge"], "required"),
        (&["cache", "purge", "http://a/", "--tag", "b"], "cannot be used"),
    ] {
        let output = scene.program.ask(arguments);
        assert!(!output.status.success());
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(said), "{text}");
    }
}

#[test]
fn the_list_and_the_metrics_tell_what_each_version_has() {
    let scene = scene();
    for _ in 0..3 {
        scene.get("/a", "");
    }
    let mut client = scene.client();
    client.send("POST /x HTTP/1.1\r\nhost: app\r\ncontent-length: 0\r\n\r\n");
    client.answer("POST").unwrap();
    let text = scene.program.say(&["cache"]);
    let row = text.lines().find(|line| line.contains("1.0.0")).unwrap();
    let cells: Vec<&str> = row.split("  ").filter(|cell| !cell.is_empty()).map(str::trim).collect();
    assert_eq!(cells[..4], ["web", "1.0.0", "1.0.0", "1"], "{text}");
    assert_eq!(cells[5..], ["64 MiB", "66.7%", "0"], "{text}");
    let metrics = get(scene.program.admin(), "/metrics").unwrap();
    for line in [
        "weir_http_cache_hits_total{tier=\"web\",version=\"1.0.0\"} 2",
        "weir_http_cache_misses_total{tier=\"web\",version=\"1.0.0\"} 1",
        "weir_http_cache_passed_total{tier=\"web\",version=\"1.0.0\"} 1",
        "weir_http_cache_entries{tier=\"web\",version=\"1.0.0\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}
