use std::time::Duration;

use super::*;

fn records() -> Vec<Record> {
    let lines = include_str!("../../tests/journals/0.1.jsonl").lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn sample(canary: bool, at: u64, errors: u64) -> Sample {
    Sample {
        rollout: 1,
        tier: "web".parse().unwrap(),
        version: if canary { "1.1.0" } else { "1.0.0" }.parse().unwrap(),
        canary,
        at: Timestamp::from_millis(at),
        span: Duration::from_mins(1),
        weight: Weight::NONE,
        requests: 100,
        errors,
        p50: Some(1_500),
        p95: Some(20_000),
    }
}

fn report() -> Report {
    let samples = [
        sample(false, 1_772_334_840_000, 0),
        sample(true, 1_772_334_840_000, 3),
        sample(true, 1_772_334_900_000, 4),
        Sample { rollout: 2, ..sample(true, 1_772_334_900_000, 90) },
    ];
    let made = Timestamp::from_millis(1_772_400_000_000);
    Report::of(1, &records(), &samples, (made, &"UTC".parse().unwrap())).unwrap()
}

#[test]
fn a_rollout_over_two_tiers_is_told_by_tier_with_its_numbers() {
    let report = report();
    assert!(!report.open);
    let tiers: Vec<&str> = report.parts.iter().map(Part::name).collect();
    assert_eq!(tiers, ["api", "web"]);
    let web = &report.parts[1];
    let shares: Vec<String> = web.weights.iter().map(|(_, weight)| weight.to_string()).collect();
    assert_eq!(shares, ["1%", "5%", "50%", "0%"]);
    assert!(web.outcome.as_ref().unwrap().contains("carts are empty"));
    assert_eq!((web.totals[1].requests, web.totals[1].errors), (200, 7));
    assert_eq!(report.planned.len(), 2);
    let said = report.text(Format::Markdown);
    for part in ["# Rollout 1: 1.1.0 in web, 8 in api", "## web", "ordered by day", "3.50 %"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let value: serde_json::Value = serde_json::from_str(&report.text(Format::Json)).unwrap();
    assert_eq!(value["rollout"], 1);
    assert!(!report.text(Format::Json).contains("6120736563726574"), "no salt");
}

#[test]
fn a_rollout_over_tiers_is_told_with_its_name_what_was_agreed_on_and_how_it_ended() {
    let lines = include_str!("../../tests/journals/0.1-upgrade.jsonl").lines();
    let mut records: Vec<Record> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    for record in &mut records {
        if let Change::UpgradeStarted { agreed } = &mut record.event.change {
            agreed.decide_by = Some(Timestamp::from_millis(1_772_335_800_000));
            agreed.past_decision = PastDecision::Hold;
        }
    }
    let (made, zone) = (Timestamp::from_millis(1_772_400_000_000), "Europe/Berlin");
    let report = Report::of(1, &records, &[], (made, &zone.parse().unwrap())).unwrap();
    assert_eq!(report.name.as_deref(), Some("rails-4.2"));
    let ended = records.iter().rfind(|record| record.event.rollout == Some(1)).unwrap();
    let text = report.text(Format::Markdown);
    let sentence = ended.event.sentence();
    assert!(matches!(ended.event.change, Change::UpgradeEnded { .. }), "{sentence}");
    assert!(text.contains(&format!("\n- {sentence}\n")), "{text}");
    for part in [
        "# Rollout 1, rails-4.2: ",
        "to be decided by 2026-03-01 04:30 CET; past it nothing is raised until a person says so",
        "where a tier fails, all of them go back",
        " CET to 2026-",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let page = report.text(Format::Html);
    assert!(page.contains("<li>to be decided by 2026-03-01 04:30 CET"), "{page}");
}

#[test]
fn a_page_needs_nothing_from_elsewhere_and_shows_what_was_written_as_it_was() {
    let mut records = records();
    let evil = "<script>alert(1)</script> & \"so\" <img>";
    records[2].event.because = Some(evil.into());
    let report = Report::of(
        1,
        &records,
        &[sample(true, 1_772_334_840_000, 1)],
        (Timestamp::from_millis(1_772_400_000_000), &Zone::UTC),
    )
    .unwrap();
    let page = report.text(Format::Html);
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
    for foreign in ["<script", "<img", "src=", "href=", "url(", "@import", "http"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;so&quot;"));
    assert!(page.contains("<svg") && page.contains("prefers-color-scheme: dark"));
    assert!(page.contains("@media print"));
    // A text of Markdown is none of HTML, and breaks out of no table.
    let text = report.text(Format::Markdown);
    assert!(text.contains(r"\<script\>") && !text.replace(r"\<", "").contains('<'), "{text}");
}

#[test]
fn what_a_step_has_written_is_shown_and_what_was_left_out_is_said() {
    let ended = |output: serde_json::Value| -> Change {
        let outcome = serde_json::json!({
            "ending": "failed", "tries": 1, "took": 7, "why": "exit code 1", "output": output
        });
        let change = serde_json::json!({ "step_ended": { "step": "backup", "outcome": outcome } });
        serde_json::from_value(change).unwrap()
    };
    let whole = ended(serde_json::json!({ "head": "12 MiB\n" }));
    assert_eq!(output(&whole).as_deref(), Some("12 MiB\n"));
    let long = ended(serde_json::json!({ "head": "a\n", "cut": 3, "tail": "b\n" }));
    assert_eq!(output(&long).as_deref(), Some("a\n... 3 bytes are left out ...\nb\n"));
    assert_eq!(output(&ended(serde_json::json!({ "head": " " }))), None);
    assert_eq!(output(&Change::Paused), None);
}

#[test]
fn what_is_not_in_the_journal_has_no_report() {
    let at = (Timestamp::from_millis(0), &Zone::UTC);
    let error = Report::of(99, &records(), &[], at).unwrap_err().to_string();
    assert_eq!(error, "the journal has no rollout 99; the newest is 4");
    assert_eq!(Report::of(1, &[], &[], at).unwrap_err(), ReportError::NoneYet);
    assert_eq!(latest(&records()), Ok(4));
}
