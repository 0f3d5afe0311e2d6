//! What the documentation says, held against the program: links lead somewhere, commands are
//! understood, files are taken, and the references are those of the code.

mod blocks;
mod commands;
mod links;
mod messages;
mod reference;

use std::fs;
use std::path::{Path, PathBuf};

/// A page of the documentation.
struct Page {
    /// From the top of the repository.
    path: String,
    text: String,
}

/// A fenced part of a page.
struct Block {
    /// What stands behind the fence: `toml`, `sh`; empty for plain text.
    language: String,
    /// Where it begins, from 1.
    line: usize,
    text: String,
}

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All pages, in the order of their names.
fn pages() -> Vec<Page> {
    let mut found = vec![PathBuf::from("README.md")];
    for folder in ["docs", "deploy", "grafana"] {
        markdown(Path::new(folder), &mut found);
    }
    found.sort();
    let page = |path: PathBuf| {
        let text = fs::read_to_string(top().join(&path)).expect("a page");
        Page { path: path.to_string_lossy().into_owned(), text }
    };
    found.into_iter().map(page).collect()
}

fn markdown(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(top().join(folder)) else { return };
    for entry in entries {
        let entry = entry.expect("an entry");
        let path = folder.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            markdown(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "md") {
            found.push(path);
        }
    }
}

impl Page {
    /// Its fenced parts.
    fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut open: Option<Block> = None;
        for (place, line) in self.text.lines().enumerate() {
            let fence = line.trim_start().strip_prefix("```");
            match (&mut open, fence) {
                (None, Some(language)) => {
                    let language = language.trim().to_owned();
                    open = Some(Block { language, line: place + 2, text: String::new() });
                }
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (Some(block), None) => {
                    block.text.push_str(line);
                    block.text.push('\n');
                }
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{}: a fence is open at the end", self.path);
        blocks
    }

    /// Its text without fenced parts and `code`, line by line; lines keep their numbers.
    fn prose(&self) -> Vec<String> {
        let mut fenced = false;
        let mut prose = Vec::new();
        for line in self.text.lines() {
            let is_fence = line.trim_start().starts_with("```");
            prose.push(if fenced || is_fence { String::new() } else { without_code(line) });
            fenced ^= is_fence;
        }
        prose
    }
}

/// A line without what stands between back ticks.
fn without_code(line: &str) -> String {
    let parts = line.split('`').enumerate();
    parts.filter(|(place, _)| place % 2 == 0).map(|(_, part)| part).collect()
}
