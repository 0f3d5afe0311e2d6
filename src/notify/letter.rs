//! What is told next: one event, or many that could not be told in time, in one message.

use std::fmt::Write as _;
use std::time::Duration;

use super::settings::Target;
use crate::clock;
use crate::journal::{self, Record, Seq};
use crate::rollout::Event;
use crate::time::{Timestamp, Zone};

/// Events that wait longer than this are told together: who was not reached for hours is not
/// flooded afterwards.
const TOGETHER_AFTER: Duration = Duration::from_mins(5);

/// Sentences of one message; the journal has the others.
const SENTENCES_MAX: usize = 20;

/// A message.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Letter {
    /// By which a receiver knows one that it had before.
    pub(super) id: String,
    /// The place of the last record that it tells of; how far its target is told once it arrived.
    pub(super) last: Seq,
    /// What it tells of, oldest first, without secrets; of a test nothing.
    pub(super) records: Vec<Record>,
    /// Events that were given up before it.
    pub(super) lost: u64,
    /// Who ordered it, if it is a test.
    pub(super) test: Option<String>,
    /// In which its times are said.
    pub(super) zone: Zone,
}

/// What follows from the records for a target that was told up to a place.
#[derive(Debug, Default)]
pub(super) struct Post {
    /// What is told next.
    pub(super) letter: Option<Letter>,
    /// Events that wait.
    pub(super) waiting: u64,
    /// How far nothing has to be told.
    pub(super) until: Seq,
}

impl Post {
    /// For `target`, which was told up to `told`, and for which `lost` events were given up.
    pub(super) fn of(
        target: &Target,
        records: &[Record],
        (told, lost): (Seq, u64),
        (now, zone): (Timestamp, &Zone),
    ) -> Self {
        let from = records.partition_point(|record| record.seq <= told);
        // From the last that was told on, if it is still shown.
        let shown = from.saturating_sub(1);
        let rows = &journal::in_a_row(&records[shown..])[from - shown..];
        let until = rows.last().map_or(told, |record| record.seq);
        let hears = |record: &&Record| target.hears(&record.event, record.event.change.kind());
        let waiting: Vec<&Record> = rows.iter().filter(hears).collect();
        let Some(first) = waiting.first() else {
            return Self { letter: None, waiting: 0, until };
        };
        let late = now.since(first.event.at) > TOGETHER_AFTER;
        let together = if late { waiting.as_slice() } else { &waiting[..1] };
        let up_to = together.last().map_or(told, |record| record.seq);
        let records = together
            .iter()
            .map(|record| Record { seq: record.seq, event: record.event.without_secret() });
        let records: Vec<Record> = records.collect();
        let id = format!("weir-{}-{}-{up_to}", target.name, first.event.at.millis());
        let letter =
            Some(Letter { id, last: up_to, records, lost, test: None, zone: zone.clone() });
        let before = first.seq.saturating_sub(1).max(told);
        Self { letter, waiting: waiting.len() as u64, until: before }
    }
}

impl Letter {
    /// A message that only says that messages arrive.
    pub(super) fn test(by: &str) -> Self {
        let (id, records) = (format!("weir-test-{}", rand::random::<u64>()), Vec::new());
        let zone = clock::zone();
        Self { id, last: 0, records, lost: 0, test: Some(by.to_owned()), zone }
    }

    /// The event, where it tells of one alone.
    pub(super) fn event(&self) -> Option<&Event> {
        match self.records.as_slice() {
            [one] => Some(&one.event),
            _ => None,
        }
    }

    /// The name of its kind of event; `digest` for several, `test`.
    pub(super) fn kind(&self) -> &'static str {
        match (self.event(), &self.test) {
            (Some(event), _) => event.change.kind(),
            (None, Some(_)) => "test",
            (None, None) => "digest",
        }
    }

    /// One line.
    pub(super) fn headline(&self) -> String {
        if let Some(by) = &self.test {
            return format!("weir: a test ordered by {by}; nothing happened");
        }
        match (self.event(), self.records.first(), self.records.last()) {
            (None, Some(first), Some(last)) => format!(
                "weir: {} events between {} and {}",
                self.records.len(),
                self.zone.stamp(first.event.at),
                self.zone.stamp(last.event.at)
            ),
            (Some(event), _, _) => event.sentence(),
            (None, _, _) => "weir: nothing happened".into(),
        }
    }

    /// All that it says.
    pub(super) fn text(&self) -> String {
        let mut text = self.headline();
        if self.event().is_none() {
            let more = self.records.len().saturating_sub(SENTENCES_MAX);
            if more > 0 {
                let _ = write!(text, "\n- {more} earlier ones, which `weir log` has");
            }
            for record in &self.records[more..] {
                let (at, sentence) = (self.zone.stamp(record.event.at), record.event.sentence());
                let _ = write!(text, "\n- {at} {sentence}");
            }
        }
        if self.lost > 0 {
            let _ = write!(
                text,
                "\n({} events before could not be told here; `weir log` has them)",
                self.lost
            );
        }
        text
    }

    /// When it happened, in its zone; the last, where it tells of several.
    pub(super) fn at(&self) -> Option<String> {
        self.records.last().map(|record| self.zone.stamp(record.event.at))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::notify::{Confidential, Template, Way, Webhook};

    fn records() -> Vec<Record> {
        let lines = include_str!("../../tests/journals/0.1.jsonl").lines();
        lines.take(29).map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn target(events: Option<&[&str]>, tiers: Option<&[&str]>) -> Target {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Target {
            name: "chat".into(),
            way: Way::Webhook(Webhook {
                url: Confidential::Plain("http://127.0.0.1:9/".into()),
                template: Template::Json,
                secret: None,
                headers: vec![],
                tls: std::sync::Arc::default(),
            }),
            events: events.map(names),
            tiers: tiers.map(|tiers| tiers.iter().map(|tier| tier.parse().unwrap()).collect()),
            retry_for: Duration::from_hours(24),
            timeout: Duration::from_secs(10),
        }
    }

    fn post_of(target: &Target, records: &[Record], told: (Seq, u64), now: Timestamp) -> Post {
        Post::of(target, records, told, (now, &Zone::UTC))
    }

    #[test]
    fn events_are_told_one_by_one_and_together_where_they_waited_long() {
        let (records, target) = (records(), target(None, None));
        let now = records[1].event.at;
        let post = post_of(&target, &records[..2], (0, 0), now);
        let letter = post.letter.unwrap();
        assert_eq!((letter.last, post.waiting, letter.kind()), (1, 2, "adopted"));
        assert_eq!(letter.text(), records[0].event.sentence());
        let later = now.plus(Duration::from_hours(1));
        let letter = post_of(&target, &records, (1, 3), later).letter.unwrap();
        assert_eq!((letter.last, letter.kind()), (29, "digest"));
        let text = letter.text();
        assert!(text.starts_with("weir: 28 events between 2026-"), "{text}");
        assert!(text.contains("- 8 earlier ones") && text.contains("3 events before"), "{text}");
        assert_eq!(text.lines().count(), 23);
        assert!(!format!("{letter:?}").contains("6120736563726574"), "no salt");
    }

    #[test]
    fn a_target_hears_of_its_events_and_tiers_only_and_what_it_does_not_hear_is_passed() {
        let records = records();
        let now = records[0].event.at;
        let rolled = target(Some(&["rolled_back"]), Some(&["web"]));
        let post = post_of(&rolled, &records, (0, 0), now);
        let letter = post.letter.unwrap();
        assert_eq!((letter.last, post.until), (15, 14), "the roll back of api is not its own");
        let post = post_of(&rolled, &records[..8], (0, 0), now);
        assert!(post.letter.is_none());
        assert_eq!(post.until, 8);
    }

    #[test]
    fn a_record_that_gets_its_number_late_is_waited_for() {
        let mut records = records();
        let late = records.remove(4);
        let all = target(None, None);
        let post = post_of(&all, &records, (4, 0), late.event.at);
        assert!(post.letter.is_none(), "5 comes before 6");
        // What is not shown any more is gone for good.
        let post = post_of(&all, &records[4..], (4, 0), late.event.at);
        assert_eq!(post.letter.unwrap().last, 6);
        let post = post_of(&all, &records, (3, 0), late.event.at);
        assert_eq!((post.letter.unwrap().last, post.waiting), (4, 1));
    }
}
