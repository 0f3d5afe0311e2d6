//! Reads `cache` of a tier: how answers are kept.

use std::time::Duration;

use http::HeaderName;
use http::header::FORWARDED;

use super::section::Section;
use super::values::{Mistake, quoted, size_text};
use crate::traffic::Caching;

const MONTH: Duration = Duration::from_hours(30 * 24);

/// What is kept at most of one answer where nothing is said: more than pages and pictures take, less
/// than films.
const OBJECT: u64 = 8 << 20;

/// For how long an app may be away before its users notice, where nothing is said: a restart.
const STALE_IF_ERROR: Duration = Duration::from_mins(1);

/// Fields of proxies by which answers differ: each proxy on the way has a few.
const FORWARDED_MAX: usize = 8;

/// How they are written.
const EXAMPLE: &str = "[\"X-Forwarded-Port\", \"X-Forwarded-Server\"]";

/// None: nothing is kept.
pub(super) fn read(mut section: Section<'_>) -> Option<Caching> {
    let is_there = section.is_there();
    if is_there {
        section.need("size", "size = \"256MiB\"");
    }
    let object_is_said = section.key_span("object");
    let mut caching = Caching {
        size: 0,
        object: OBJECT,
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: STALE_IF_ERROR,
        forwarded: Vec::new(),
    };
    section.size("size", 1 << 20..=1 << 40, &mut caching.size);
    section.size("object", 1 << 10..=1 << 34, &mut caching.object);
    let spans = Duration::ZERO..=MONTH;
    section.duration("stale_while_revalidate", spans.clone(), &mut caching.stale_while_revalidate);
    section.duration("stale_if_error", spans, &mut caching.stale_if_error);
    let forwarded = section.list("forwarded", FORWARDED_MAX, EXAMPLE, forwarded);
    caching.forwarded = forwarded.into_iter().flatten().map(|at| at.value).collect();
    if caching.size > 0 && caching.object > caching.size {
        match object_is_said {
            Some(span) => {
                let message = format!(
                    "one answer may be larger than all together ({})",
                    size_text(caching.size)
                );
                section.wrong("object", span, Mistake::new(message, "make it smaller than `size`"));
            }
            None => caching.object = caching.size,
        }
    }
    section.finish();
    (is_there && caching.size > 0).then_some(caching)
}

/// A field in which a proxy says more of where the client asked.
fn forwarded(text: &str) -> Result<HeaderName, Mistake> {
    let name = HeaderName::from_bytes(text.as_bytes()).ok();
    let what = name.as_ref().and_then(|name| name.as_str().strip_prefix("x-forwarded-"));
    let (message, help) = match (name.as_ref(), what) {
        (_, Some("for" | "host" | "proto")) => (
            format!("{} needs not be named", quoted(text)),
            "answers differ by host and scheme in any case, and never by the client".to_owned(),
        ),
        (Some(name), Some(_)) => return Ok(name.clone()),
        (Some(name), None) if *name == FORWARDED => return Ok(name.clone()),
        (Some(_) | None, None) | (None, Some(_)) => (
            format!("by {} no proxy says where the client asked", quoted(text)),
            format!("write some: {EXAMPLE}, or \"Forwarded\""),
        ),
    };
    Err(Mistake::new(message, help))
}
