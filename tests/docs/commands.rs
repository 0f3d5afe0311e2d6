//! Every `weir ...` that a page shows is understood by the command line.

use clap::CommandFactory as _;
use clap::error::ErrorKind;
use weir::cli::Line;

use super::{Page, pages};

/// What stands for something that the reader knows, and an example of it.
const EXAMPLES: &[(&str, &str)] = &[
    ("ADDR", "127.0.0.1:3001"),
    ("CACHE", "pages"),
    ("DIR", "man"),
    ("FILE", "weir.toml"),
    ("N", "3"),
    ("NAME", "ada"),
    ("NAMESPACE", "1.1.0"),
    ("ROLLOUT", "7"),
    ("SHELL", "bash"),
    ("SPAN", "20s"),
    ("STEP", "migrate"),
    ("TAG", "news"),
    ("TEXT", "because"),
    ("TIER", "web"),
    ("TRACE", "trace.ndjson"),
    ("TRACE...", "trace.ndjson"),
    ("URL", "http://example.com/"),
    ("VERB", "status"),
    ("VERSION", "1.1.0"),
    ("VERSION=ADDR", "1.1.0=127.0.0.1:3001"),
];

#[test]
fn commands_that_are_shown_are_understood() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for page in pages() {
        for (line, shown, whole) in commands(&page) {
            seen += 1;
            if let Err(why) = parse(&shown, whole) {
                wrong.push(format!("{}:{line}: `{shown}`: {why}", page.path));
            }
        }
    }
    assert!(seen > 200, "only {seen} were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_nobody_understands_is_found() {
    for wrong in
        ["weir rolback", "weir rollback --quick", "weir wait --timeout soon", "weir hold up"]
    {
        assert!(parse(wrong, false).is_err(), "{wrong}");
    }
    assert!(parse("weir advance [TIER] [--to 25%]", false).is_ok());
    assert!(parse("weir step retry|skip STEP", false).is_ok());
    assert!(parse("weir adopt", false).is_ok() && parse("weir adopt", true).is_err());
}

/// What is shown, with its line, and whether it is to be typed as it stands.
fn commands(page: &Page) -> Vec<(usize, String, bool)> {
    let mut found = Vec::new();
    for block in page.blocks().iter().filter(|block| block.language == "sh") {
        let whole = block.text.replace("\\\n", "  ");
        for (line, typed) in (block.line..).zip(whole.lines()) {
            let typed = without_comment(typed);
            for part in
                typed.split("&&").flat_map(|part| part.split("||")).flat_map(|part| part.split('|'))
            {
                let part = part.trim().trim_start_matches("sudo ").trim_start_matches("$ ");
                if part.starts_with("weir ") {
                    found.push((line, part.to_owned(), true));
                }
            }
        }
    }
    let mut fenced = false;
    for (place, line) in page.text.lines().enumerate() {
        fenced ^= line.trim_start().starts_with("```");
        if !fenced {
            let spans = line.split('`').skip(1).step_by(2);
            let spans = spans.filter(|span| span.starts_with("weir ") && !span.contains('…'));
            found.extend(spans.map(|span| (place + 1, span.to_owned(), false)));
        }
    }
    found
}

/// A comment begins with ` #`, outside of quotes.
fn without_comment(line: &str) -> &str {
    let mut quoted = None;
    let mut before = ' ';
    for (at, sign) in line.char_indices() {
        match (quoted, sign) {
            (None, '#') if before.is_whitespace() => return &line[..at],
            (None, '"' | '\'') => quoted = Some(sign),
            (Some(mark), _) if mark == sign => quoted = None,
            _ => {}
        }
        before = sign;
    }
    line
}

/// Has the command line read it. Of a command that is only spoken of, the end may be missing.
fn parse(shown: &str, whole: bool) -> Result<(), String> {
    let Err(error) = Line::command().try_get_matches_from(words(shown)) else { return Ok(()) };
    let is_cut = matches!(
        error.kind(),
        ErrorKind::MissingRequiredArgument
            | ErrorKind::MissingSubcommand
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    let said = error.to_string();
    let is_cut = is_cut || said.starts_with("error: a value is required");
    let is_asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if is_asked || (is_cut && !whole) {
        return Ok(());
    }
    Err(said.lines().next().unwrap_or_default().to_owned())
}

/// The words as a shell hands them over; `[what may be left out]` is there, of `one|other` the first.
fn words(shown: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), None);
    let mut is_quoted = false;
    for sign in shown.chars().chain([' ']) {
        match (quoted, sign) {
            (None, '"' | '\'') => (quoted, is_quoted) = (Some(sign), true),
            (Some(mark), _) if mark == sign => quoted = None,
            (None, ' ') => {
                if is_quoted || !word.is_empty() {
                    words.push((std::mem::take(&mut word), is_quoted));
                }
                is_quoted = false;
            }
            _ => word.push(sign),
        }
    }
    // What follows is the shell's.
    let is_shell = |(word, is_quoted): &&(String, bool)| {
        !is_quoted
            && (word.starts_with('>')
                || word.starts_with("2>")
                || ["&", "|"].contains(&word.as_str())
                || word == "<")
    };
    let end = words.iter().position(|word| is_shell(&word)).unwrap_or(words.len());
    let plain = |(word, is_quoted): &(String, bool)| {
        if *is_quoted {
            return word.clone();
        }
        let word = word.trim_start_matches('[').trim_end_matches([']', ';']);
        let word = word.split('|').next().unwrap_or_default();
        let example = EXAMPLES.iter().find(|(name, _)| *name == word);
        example.map_or(word, |(_, example)| example).to_owned()
    };
    words[..end].iter().map(plain).filter(|word| !word.is_empty() && word != "...").collect()
}
