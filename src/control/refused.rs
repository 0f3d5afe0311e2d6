//! Orders that were refused, as the journal keeps them: for the report afterwards, and not so often
//! that a script could fill a disk with them.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::Value;

use crate::rollout::{Actor, Change, Command, Event, Order, Refusal, State};
use crate::time::Timestamp;
use crate::traffic::TierName;

/// Refusals that are written in one hour; people do not go on that long.
const REFUSALS_MAX: usize = 20;

/// The time in which they are counted, and in which the same refusal again is not written again.
const REFUSALS_SPAN: Duration = Duration::from_hours(1);

/// Longest order in words, in characters.
const ORDER_CHARS_MAX: usize = 200;

/// What was refused lately.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    written: VecDeque<Timestamp>,
    last: Option<(Actor, Change)>,
    /// Those that were not written since.
    more: u32,
}

impl Refusals {
    /// The event for a refusal, if it is to be written.
    pub(super) fn event(
        &mut self,
        command: &Command,
        refusal: &Refusal,
        state: &State,
        now: Timestamp,
    ) -> Option<Event> {
        if command.by == Actor::weir() {
            // Weir tries again and again what nobody has ordered.
            return None;
        }
        let (order, tier) = words(&command.order);
        let mut change = Change::Refused { order, why: refusal.to_string(), more: 0 };
        self.written.retain(|at| now.since(*at) < REFUSALS_SPAN);
        let this = (command.by.clone(), change.clone());
        let again = !self.written.is_empty() && self.last.as_ref() == Some(&this);
        if again || self.written.len() >= REFUSALS_MAX {
            self.more = self.more.saturating_add(1);
            return None;
        }
        if let Change::Refused { more, .. } = &mut change {
            *more = std::mem::take(&mut self.more);
        }
        self.written.push_back(now);
        self.last = Some(this);
        let own = |(name, _, rollout): (&TierName, _, &crate::rollout::Rollout)| {
            tier.as_ref().is_none_or(|tier| tier == name).then_some(rollout.id)
        };
        let rollout = state.open().find_map(own);
        let (by, because) = (command.by.clone(), command.because.clone());
        Some(Event { at: now, by, because, tier, rollout, change })
    }
}

/// An order as it is said, `start version=1.1.0 again=true`, and its tier.
fn words(order: &Order) -> (String, Option<TierName>) {
    let Ok(Value::Object(mut fields)) = serde_json::to_value(order) else {
        return ("an order".to_owned(), None);
    };
    let name = fields.remove("order").and_then(|name| name.as_str().map(str::to_owned));
    let tier = fields.remove("tier").and_then(|tier| tier.as_str()?.parse().ok());
    let mut text = name.unwrap_or_default();
    for (key, value) in fields {
        let said = match &value {
            Value::Null | Value::Bool(false) => continue,
            Value::Array(list) if list.is_empty() => continue,
            Value::String(said) => said.clone(),
            Value::Array(_) | Value::Bool(true) | Value::Number(_) | Value::Object(_) => {
                value.to_string()
            }
        };
        text.extend([" ", &key, "=", &said]);
    }
    (text.chars().take(ORDER_CHARS_MAX).collect(), tier)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_written_once_and_a_script_fills_no_disk() {
        let (mut refusals, state) = (Refusals::default(), State::default());
        let now = Timestamp::from_millis(1_000_000);
        let command = |version: &str, by: &str| Command {
            order: Order::Start {
                tier: Some("web".parse().unwrap()),
                version: Some(version.parse().unwrap()),
                upstreams: vec![],
                again: true,
            },
            by: by.parse().unwrap(),
            because: None,
        };
        let refusal = Refusal::NoneOpen(String::new());
        let mut event = |version: &str, by: &str, at| {
            refusals.event(&command(version, by), &refusal, &state, at)
        };
        let first = event("2", "ada", now).unwrap();
        let Change::Refused { order, more, .. } = &first.change else { panic!() };
        assert_eq!((order.as_str(), *more), ("start again=true version=2", 0));
        assert_eq!(first.place(), "web");
        assert!(event("2", "ada", now).is_none(), "the same again");
        assert!(event("2", "weir", now).is_none(), "nobody ordered it");
        for version in 3..50 {
            event(&version.to_string(), "ada", now);
        }
        let later = now.plus(REFUSALS_SPAN);
        let next = event("2", "ada", later).unwrap();
        assert!(matches!(next.change, Change::Refused { more: 28, .. }), "{next:?}");
    }
}
