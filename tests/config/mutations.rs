//! Whatever the bytes, the reader answers with a configuration or with a report.

use proptest::prelude::*;

use super::{FIRST_PAGE, SMALLEST, read};

const FULL: &str = include_str!("../../deploy/weir.toml");

fn survives(text: &str) {
    if let Err(report) = read(text) {
        assert!(report.has_errors());
        assert!(!report.picture(false).is_empty() && !report.picture(true).is_empty());
        let lines = text.lines().count() as u64 + 1;
        for mistake in report.json().as_array().unwrap() {
            let line = mistake["line"].as_u64();
            let is_placed = line.is_some_and(|line| (1..=lines).contains(&line));
            // No line can say that there is no tier.
            assert!(is_placed || mistake["message"] == "there is no tier", "{mistake}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_text_never_panics(text in "\\PC{0,200}") {
        survives(&text);
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        survives(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn mutated_files_never_panic(
        which in 0_usize..3,
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0_usize..12, "[\\[\\]{}\"'=,#.\n\ra-z0-9%\u{e4}-]{0,8}"), 1..6),
    ) {
        let mut text: Vec<char> = [FIRST_PAGE, SMALLEST, FULL][which].chars().collect();
        for (at, removed, put) in edits {
            let at = at.index(text.len() + 1);
            let end = (at + removed).min(text.len());
            text.splice(at..end, put.chars());
        }
        survives(&text.into_iter().collect::<String>());
    }

    #[test]
    fn uncommented_lines_in_any_mixture_never_panic(keep in proptest::collection::vec(any::<bool>(), 256)) {
        let lines = FULL.lines().enumerate().map(|(at, line)| match line.strip_prefix("# ") {
            Some(rest) if keep[at % keep.len()] => rest,
            _ => line,
        });
        survives(&lines.collect::<Vec<_>>().join("\n"));
    }
}

#[test]
fn a_large_file_of_mistakes_is_answered_in_time() {
    let began = std::time::Instant::now();
    for unit in [
        "x",
        "x=1\n",
        "= =\n",
        "[x]\n",
        "[[tier]]\n",
        "[",
        "{",
        "a.",
        "\"",
        "x = [",
        "[tier\n",
        "secret = \"",
    ] {
        survives(&unit.repeat((1 << 20) / unit.len()));
    }
    let deep = "a.".repeat(500_000);
    for text in
        [format!("{deep}a = 1"), format!("[{deep}a]"), format!("[[tier]]\n[tier.{deep}a]\nx=1")]
    {
        survives(&text);
    }
    survives(&format!("x = {}", "[".repeat(500_000) + &"]".repeat(500_000)));
    survives(&format!("x = {}1{}", "{a=".repeat(200_000), "}".repeat(200_000)));
    let unknown: String = (0..60_000).map(|n| format!("k{n} = 1\n")).collect();
    survives(&unknown);
    let inline: String = (0..60_000).map(|n| format!("k{n} = 1, ")).collect();
    survives(&format!("admin = {{ {inline} }}"));
    let took = began.elapsed();
    assert!(took.as_secs() < 60, "{took:?}");
}
