//! Links within the repository lead to files and headings that are there.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::{Page, pages, top};

#[test]
fn links_lead_somewhere() {
    let pages = pages();
    let anchors: BTreeMap<&str, Vec<String>> =
        pages.iter().map(|page| (page.path.as_str(), anchors(page))).collect();
    let mut wrong = Vec::new();
    let mut followed = 0;
    for page in &pages {
        for (line, target) in links(page) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            followed += 1;
            if let Some(why) = broken(page, &target, &anchors) {
                wrong.push(format!("{}:{line}: {target}: {why}", page.path));
            }
        }
    }
    assert!(followed > 100, "only {followed} links were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Who reads the README finds every page from there, in as many steps as it takes.
#[test]
fn every_page_can_be_reached_from_the_readme() {
    let pages = pages();
    let mut reached = vec!["README.md".to_owned()];
    let mut at = 0;
    while let Some(path) = reached.get(at).cloned() {
        at += 1;
        let Some(page) = pages.iter().find(|page| page.path == path) else { continue };
        for (_, target) in links(page) {
            let file = target.split('#').next().unwrap_or_default();
            let file = file_of(&page.path, file);
            if !reached.contains(&file) {
                reached.push(file);
            }
        }
    }
    let lost: Vec<&str> = pages.iter().map(|page| &*page.path).collect();
    let lost: Vec<&str> =
        lost.into_iter().filter(|path| !reached.iter().any(|one| one == path)).collect();
    assert!(lost.is_empty(), "no link leads to {lost:?}");
}

fn broken(page: &Page, target: &str, anchors: &BTreeMap<&str, Vec<String>>) -> Option<String> {
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let file = if file.is_empty() { page.path.clone() } else { file_of(&page.path, file) };
    if !top().join(&file).exists() {
        return Some(format!("there is no {file}"));
    }
    if anchor.is_empty() {
        return None;
    }
    match anchors.get(file.as_str()) {
        None => Some(format!("{file} is no page with headings")),
        Some(there) if there.iter().any(|one| one == anchor) => None,
        Some(there) => Some(format!("there is no such heading; there are {}", there.join(" "))),
    }
}

/// `target` as seen from the folder of `page`, from the top.
fn file_of(page: &str, target: &str) -> String {
    let mut path = PathBuf::from(page);
    path.pop();
    for part in Path::new(target).components() {
        match part {
            Component::ParentDir => {
                path.pop();
            }
            Component::Normal(part) => path.push(part),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    path.to_string_lossy().into_owned()
}

/// What stands between the parentheses of `[text](target)`, with its line.
fn links(page: &Page) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    for (place, line) in page.prose().iter().enumerate() {
        let mut rest = line.as_str();
        while let Some((_, after)) = rest.split_once("](") {
            let (target, after) = after.split_once(')').unwrap_or((after, ""));
            let target = target.split_whitespace().next().unwrap_or_default();
            links.push((place + 1, target.to_owned()));
            rest = after;
        }
    }
    links
}

/// The headings of a page as browsers find them: small letters, digits, hyphens for spaces. A
/// second of the same text has `-1` behind it.
fn anchors(page: &Page) -> Vec<String> {
    let mut anchors: Vec<String> = Vec::new();
    let mut fenced = false;
    for line in page.text.lines() {
        fenced ^= line.trim_start().starts_with("```");
        let text = line.trim_start_matches('#');
        if fenced || text.len() == line.len() || !text.starts_with(' ') {
            continue;
        }
        let mut anchor = String::new();
        for sign in text.trim().chars() {
            match sign {
                ' ' => anchor.push('-'),
                '-' | '_' => anchor.push(sign),
                sign if sign.is_alphanumeric() => anchor.extend(sign.to_lowercase()),
                _ => {}
            }
        }
        let again = anchors.iter().filter(|one| **one == anchor).count();
        anchors.push(if again == 0 { anchor } else { format!("{anchor}-{again}") });
    }
    anchors
}
