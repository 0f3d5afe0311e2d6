//! Every reason for which an order is refused stands on the page of messages, as the code words it.
//! `WEIR_RENEW=1` writes the table anew.

use std::fmt::Write as _;
use std::fs;

use super::top;

const PAGE: &str = "docs/messages.md";
const HEAD: &str = "| what Weir says | when |\n|---|---|\n";

#[test]
fn every_refusal_stands_on_the_page() {
    let code = fs::read_to_string(top().join("src/rollout/command.rs")).expect("the code");
    let (_, list) = code.split_once("pub enum Refusal {").expect("the refusals");
    let (list, _) = list.split_once("\n}\n").expect("their end");
    let mut table = HEAD.to_owned();
    let mut refusals = refusals(list);
    assert!(refusals.len() > 30, "only {} were found", refusals.len());
    refusals.sort();
    for (said, when) in refusals {
        let _ = writeln!(table, "| {said} | {when} |");
    }
    let page = fs::read_to_string(top().join(PAGE)).expect("the page");
    if page.contains(&table) {
        return;
    }
    let start = page.find(HEAD).unwrap_or_else(|| panic!("{PAGE} has no table under {HEAD:?}"));
    let rows = page[start..].lines().take_while(|row| row.starts_with('|'));
    let length: usize = rows.map(|row| row.len() + 1).sum();
    let renewed = format!("{}{table}{}", &page[..start], &page[start + length..]);
    assert!(
        std::env::var_os("WEIR_RENEW").is_some(),
        "{PAGE} is old; WEIR_RENEW=1 cargo test --test main -- docs::messages writes it anew"
    );
    fs::write(top().join(PAGE), renewed).expect("to write");
}

/// Each refusal in its words, values as dots, and when it is said.
fn refusals(list: &str) -> Vec<(String, String)> {
    let mut refusals = Vec::new();
    let mut rest = list;
    while let Some((before, after)) = rest.split_once("#[error(") {
        let when: Vec<&str> = before
            .lines()
            .rev()
            .map(str::trim)
            .skip_while(|line| line.is_empty())
            .map_while(|line| line.strip_prefix("/// "))
            .collect();
        let when: Vec<&str> = when.into_iter().rev().collect();
        let (said, after) = quoted(after);
        refusals.push((said, when.join(" ").replace('|', "\\|")));
        rest = after;
    }
    refusals
}

/// The text that begins in `code`, with dots for values, and what follows it.
fn quoted(code: &str) -> (String, &str) {
    let (_, text) = code.split_once('"').expect("a text");
    let (mut said, mut signs) = (String::new(), text.char_indices());
    while let Some((at, sign)) = signs.next() {
        match sign {
            '"' => return (said, &text[at + 1..]),
            '\\' => {
                let (_, next) = signs.next().expect("an escape");
                if next == '\n' {
                    let rest = signs.as_str();
                    let spaces = rest.len() - rest.trim_start().len();
                    signs.by_ref().take(spaces).for_each(|_| ());
                } else {
                    said.push(next);
                }
            }
            '{' => {
                signs.by_ref().find(|(_, sign)| *sign == '}');
                said.push('…');
            }
            '|' => said.push_str("\\|"),
            sign => said.push(sign),
        }
    }
    panic!("a text without an end: {code}");
}
