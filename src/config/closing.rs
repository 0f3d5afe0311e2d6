//! Reads `[maintenance]` and `[tier.maintenance]`: how users are kept out while a tier is closed.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::judging::networks;
use super::program::path;
use super::section::Section;
use super::values::Mistake;
use super::{keys, preview};
use crate::traffic::Closing;

/// The longest page: it is sent from memory, to everybody at once, and loads nothing else.
const PAGE_BYTES_MAX: u64 = 256 * 1024;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// What `section` says on top of `over`, key by key.
pub(super) fn read(mut section: Section<'_>, base: &Path, over: &Closing) -> Closing {
    let mut closing = over.clone();
    let page = section
        .text("page", "write a path: \"maintenance.html\"", |text| page(&base.join(path(text)?)));
    if let Some(page) = page {
        closing.page = Some(page.value);
    }
    section.duration("retry_after", SECOND..=DAY, &mut closing.retry_after);
    closing.allow = networks(&mut section, "allow").unwrap_or(closing.allow);
    if section.key_span("bypass").is_some() {
        closing.bypass = preview::read(section.table("bypass", &keys::BYPASS), base);
    } else {
        section.table("bypass", &keys::BYPASS).finish();
    }
    let mut hold = section.table("hold", &keys::HOLD);
    let holding = &mut closing.hold;
    hold.integer("requests", 1..=1_000_000, &mut holding.requests);
    hold.size("bytes", 1 << 20..=1 << 34, &mut holding.bytes);
    hold.duration("wait", SECOND..=HOUR, &mut holding.wait);
    hold.integer("pace", 1..=1_000_000, &mut holding.pace);
    hold.finish();
    section.finish();
    closing
}

fn page(file: &Path) -> Result<Arc<str>, Mistake> {
    let wrong = |what: String| {
        let help = "the file holds one page in HTML, and nothing beside it is loaded";
        Mistake::new(format!("{} {what}", file.display()), help)
    };
    let mut text = String::new();
    let read =
        File::open(file).and_then(|file| file.take(PAGE_BYTES_MAX + 1).read_to_string(&mut text));
    match read {
        Err(error) => Err(wrong(format!("cannot be read: {error}"))),
        Ok(0) => Err(wrong("is empty".into())),
        Ok(_) if text.len() as u64 > PAGE_BYTES_MAX => {
            Err(wrong(format!("is longer than {} KiB", PAGE_BYTES_MAX / 1_024)))
        }
        Ok(_) => Ok(text.into()),
    }
}
