//! The curves over the API.

use std::time::{Duration, Instant};

use serde_json::Value;
use weir::traffic::{TierName, Version};

use super::*;

/// As long as a slow machine may take for two points.
const PATIENCE: Duration = Duration::from_mins(2);

/// Asks until there is what `is_there` looks for.
fn until(api: &Api, is_there: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let history = api.json("/api/v1/history");
        if is_there(&history) {
            return history;
        }
        assert!(begun.elapsed() < PATIENCE, "not there: {history}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The length of every array of numbers.
fn lengths(value: &Value, found: &mut Vec<usize>) {
    match value {
        Value::Array(list) if list.iter().all(|one| one.is_number() || one.is_null()) => {
            found.push(list.len());
        }
        Value::Array(list) => list.iter().for_each(|one| lengths(one, found)),
        Value::Object(map) => map.values().for_each(|one| lengths(one, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_curves_hold_what_was_counted_and_what_happened() {
    let api = Api::start();
    let began = api.json("/api/v1/status")["started"].as_u64().unwrap();
    let _upstream = api.open_rollout();
    let (web, version): (TierName, Version) = ("web".parse().unwrap(), "2.0.0".parse().unwrap());
    // There is a first look by now; what is counted from here on belongs to a point.
    let first = until(&api, |history| history["tiers"][0]["weight"].as_array().is_some());
    assert_eq!(first["step_seconds"], 5);
    let register = Arc::clone(&api.register);
    let count = std::thread::spawn(move || {
        let writer = register.writer(register.release(&web, &version), 0);
        for request in 0..40 {
            writer.judged(request % 4 == 0, 0, Some(Duration::from_millis(12)));
        }
    });
    count.join().unwrap();
    let canary = |history: &Value| {
        let versions = history["tiers"][0]["versions"].as_array()?;
        versions.iter().find(|version| version["version"] == "2.0.0").cloned()
    };
    let sum = |column: &Value| -> u64 {
        column.as_array().unwrap().iter().filter_map(Value::as_u64).sum()
    };
    let history =
        until(&api, |history| canary(history).is_some_and(|it| sum(&it["requests"]) == 40));
    let canary = canary(&history).unwrap();
    assert_eq!(sum(&canary["errors"]), 10);
    let place = canary["requests"].as_array().unwrap().iter().position(|it| *it == 40).unwrap();
    let slowest = canary["p99"][place].as_u64().unwrap();
    assert!((12_000..16_000).contains(&slowest), "{canary}");
    let tier = &history["tiers"][0];
    assert_eq!((&tier["tier"], &tier["weight"][place]), (&"web".into(), &500.into()));
    let errors = &tier["evidence"][0];
    assert_eq!(errors["metric"], "errors");
    assert!(errors["log_odds_limit"][place].as_f64().is_some_and(|limit| limit > 4.0), "{errors}");
    let mut found = Vec::new();
    lengths(&history["tiers"], &mut found);
    lengths(&history["caches"], &mut found);
    lengths(&history["http_caches"], &mut found);
    assert!(found.len() > 12 && found.iter().all(|length| *length == found[0]), "{found:?}");
    assert_eq!(history["caches"][0]["cache"], "pages");
    assert_eq!(history["jobs"], json!([]), "no jobs pass");
    let (from, at) = (history["from"].as_u64().unwrap(), history["at"].as_u64().unwrap());
    assert!(from + 2_000 >= began && from <= at, "{from} {at} {began}");
    let started =
        history["marks"].as_array().unwrap().iter().find(|mark| mark["kind"] == "started");
    let started = started.unwrap_or_else(|| panic!("{history}"));
    assert!(started["sentence"].as_str().unwrap().contains("2.0.0"), "{started}");
    assert!(started["seq"].as_u64().unwrap() > 0 && started["tier"] == "web");

    let coarse = api.json("/api/v1/history?span=24h");
    assert_eq!(coarse["step_seconds"], 60);
    let wrong = api.get("/api/v1/history?span=7d");
    assert_eq!(wrong.status, 400);
    assert!(wrong.text().contains("15m, 1h or 24h"), "{}", wrong.text());
}

#[test]
fn the_evidence_is_told_in_words() {
    let api = Api::start();
    let _upstream = api.open_rollout();
    let begun = Instant::now();
    let evidence = loop {
        let status = api.json("/api/v1/status");
        let evidence = status["tiers"][0]["rollout"]["evidence"].clone();
        if evidence.as_array().is_some_and(|all| !all.is_empty()) {
            break evidence;
        }
        assert!(begun.elapsed() < PATIENCE, "{status}");
        std::thread::sleep(Duration::from_millis(100));
    };
    let errors = &evidence[0];
    assert_eq!(errors["metric"], "errors");
    assert_eq!(errors["words_against"], "nothing against; rolled back at 133:1");
    let words = "how much worse is not known yet; needs at most +";
    assert!(errors["words_for"].as_str().unwrap().starts_with(words), "{errors}");
    assert_eq!((&errors["against"], &errors["proven"]), (&json!(0.0), &json!(0.0)));
}
