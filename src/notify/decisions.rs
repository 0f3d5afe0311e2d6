//! What is decided, as spans: a trace for each rollout, in it a span for each event of the journal,
//! and one for the whole at its end.

use std::sync::Arc;

use aws_lc_rs::digest;
use tokio::sync::watch;

use crate::control::View;
use crate::journal::{self, Record};
use crate::metrics::Register;
use crate::rollout::{Change, Ending, Event, RolloutId};
use crate::time::Timestamp;
use crate::traces::{Context, Kind, Span, Value};

/// Tells what is in `views` and comes after the record `told`, until it is dropped.
pub(super) async fn tell(
    mut views: watch::Receiver<Arc<View>>,
    register: Arc<Register>,
    mut told: u64,
) {
    loop {
        let records = Arc::clone(&views.borrow_and_update().records);
        let first = records.partition_point(|record| record.seq <= told);
        // From the last that was told on, if it is still shown.
        let shown = first.saturating_sub(1);
        let end = shown + journal::in_a_row(&records[shown..]).len();
        for (place, record) in records[..end].iter().enumerate().skip(first) {
            for span in spans(record, &records[..place]) {
                register.tracer().put(span);
            }
            told = record.seq;
        }
        if views.changed().await.is_err() {
            return;
        }
    }
}

/// The span of `record`, and at the end of a rollout that of the whole; `before` came before it.
fn spans(record: &Record, before: &[Record]) -> Vec<Span> {
    let event = &record.event;
    let Some(id) = event.rollout else {
        // A trace of its own.
        let context = context(&format!("event {} {}", record.seq, event.at.millis()), "whole");
        return vec![span(record, context, None)];
    };
    let of_it: Vec<&Event> = before
        .iter()
        .map(|record| &record.event)
        .filter(|event| event.rollout == Some(id))
        .collect();
    let began = of_it.first().map_or(event, |first| *first);
    let seed = seed(id, began.at);
    let whole = context(&seed, "whole");
    let own = context(&seed, &format!("event {}", record.seq));
    let mut spans = vec![span(record, own, Some(whole))];
    let is_upgrade =
        [began, event].iter().any(|event| matches!(event.change, Change::UpgradeStarted { .. }));
    if ends(event, is_upgrade) && !of_it.iter().any(|event| ends(event, is_upgrade)) {
        spans.push(of_the_whole(id, (began, event), whole));
    }
    spans
}

/// Whether a rollout is over with `event`; one over tiers is when all of it is.
fn ends(event: &Event, is_upgrade: bool) -> bool {
    let over = matches!(event.change, Change::UpgradeEnded { .. });
    let alone = matches!(event.change, Change::Promoted { .. } | Change::RolledBack { .. });
    if is_upgrade { over } else { alone }
}

fn of_the_whole(id: RolloutId, (began, event): (&Event, &Event), context: Context) -> Span {
    let promoted = Change::UpgradeEnded { ending: Ending::Promoted };
    let went_well = matches!(event.change, Change::Promoted { .. }) || event.change == promoted;
    Span {
        context,
        parent: None,
        is_parent_remote: false,
        kind: Kind::Internal,
        name: "rollout".into(),
        start: nanoseconds(began.at),
        end: nanoseconds(event.at.max(began.at)),
        attributes: known(event, Some(id)),
        failed: (!went_well).then(|| event.sentence()),
    }
}

fn span(record: &Record, context: Context, parent: Option<Context>) -> Span {
    let event = &record.event;
    let at = nanoseconds(event.at);
    Span {
        context,
        parent: parent.map(|parent| parent.span),
        is_parent_remote: false,
        kind: Kind::Internal,
        name: event.change.kind().into(),
        start: at,
        end: at,
        attributes: known(event, event.rollout),
        failed: went_wrong(&event.change).then(String::new),
    }
}

/// Whether something went back, or would have.
const fn went_wrong(change: &Change) -> bool {
    matches!(
        change,
        Change::Froze { .. }
            | Change::Recalled { .. }
            | Change::RolledBack { .. }
            | Change::TurnedBack { .. }
            | Change::WouldHaveRolledBack { .. }
    )
}

fn known(event: &Event, rollout: Option<RolloutId>) -> Vec<(&'static str, Value)> {
    let mut known = vec![
        ("weir.event", Value::from(event.change.kind())),
        ("weir.sentence", Value::text(&event.sentence())),
        ("weir.by", Value::text(&event.by.to_string())),
    ];
    if let Some(tier) = &event.tier {
        known.push(("weir.tier", Value::text(tier.as_str())));
    }
    if let Some(id) = rollout {
        known.push(("weir.rollout", Value::Number(i64::try_from(id).unwrap_or(i64::MAX))));
    }
    if let Some(because) = &event.because {
        known.push(("weir.reason", Value::text(because)));
    }
    if let Change::Started { release, .. }
    | Change::Promoted { release, .. }
    | Change::RolledBack { from: release, .. } = &event.change
    {
        known.push(("weir.version", Value::text(release.as_str())));
    }
    if let Change::Advanced { weight, .. } | Change::Passed { weight, .. } = &event.change {
        known.push(("weir.weight", Value::Share(weight.share())));
    }
    known
}

/// What tells a rollout from any other, also of another Weir.
fn seed(id: RolloutId, began: Timestamp) -> String {
    format!("rollout {id} {}", began.millis())
}

/// A place that follows from what it is about: so it is the same after a restart.
fn context(seed: &str, part: &str) -> Context {
    let digest = |text: &str| digest::digest(&digest::SHA256, text.as_bytes());
    let mut context = Context { sampled: true, ..Context::default() };
    context.trace.copy_from_slice(&digest(seed).as_ref()[..16]);
    context.span.copy_from_slice(&digest(&format!("{seed} {part}")).as_ref()[..8]);
    context
}

fn nanoseconds(at: Timestamp) -> u64 {
    at.millis().saturating_mul(1_000_000)
}
