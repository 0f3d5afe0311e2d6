//! Room at the limit of connections: who goes when somebody comes.
//!
//! One look at all connections of a worker finds the eighth that wastes its place most; they go one
//! by one as newcomers come, unless they have begun to be of use. So a newcomer costs a few looks
//! at connections, and no connection costs anything until the limit is reached.

use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use super::line::{Line, Waste};
use crate::metrics::Displaced;
use crate::traffic::Listen;
use crate::traffic::affinity::address_key;
use crate::traffic::matching::Network;

/// One in so many connections is found by one look.
const FOUND_SHARE: usize = 8;

/// So many are found by one look at most: who was found long ago may be of use again.
const FOUND_MAX: usize = 256;

/// Pause after a look that found nobody, so that a flood of newcomers finds no work to make.
const FUTILE: Duration = Duration::from_millis(10);

/// The connections that have to go next.
#[derive(Debug, Default)]
pub struct Room {
    /// The one that goes first stands last.
    found: Vec<Found>,
    listen: Option<Listen>,
    futile: Option<Instant>,
}

#[derive(Debug)]
struct Found {
    line: Weak<Line>,
    waste: Waste,
    score: f64,
}

impl Room {
    /// The next one of `lines` at `listen` that has to go at `now`, and what it was doing. Those who
    /// come from `proxies` speak for many, and none is blamed for the others.
    pub fn next(
        &mut self,
        lines: &[Rc<Line>],
        listen: &Listen,
        proxies: &[Network],
        now: Instant,
    ) -> Option<(Rc<Line>, Displaced)> {
        if self.listen.as_ref() != Some(listen) {
            *self = Self { listen: Some(listen.clone()), ..Self::default() };
        }
        if let Some(found) = self.take(now) {
            return Some(found);
        }
        if self.futile.is_some_and(|before| now.saturating_duration_since(before) < FUTILE) {
            return None;
        }
        self.look(lines, proxies, now);
        let found = self.take(now);
        self.futile = found.is_none().then_some(now);
        found
    }

    fn take(&mut self, now: Instant) -> Option<(Rc<Line>, Displaced)> {
        while let Some(Found { line, waste, .. }) = self.found.pop() {
            let Some(line) = line.upgrade() else { continue };
            // Who has gone on since then has begun anew.
            if let Some(still) = line.wastes(now)
                && still.was == waste.was
                && still.span >= waste.span
            {
                return Some((line, still.was));
            }
        }
        None
    }

    fn look(&mut self, lines: &[Rc<Line>], proxies: &[Network], now: Instant) {
        let here = || lines.iter().filter(|line| Some(&line.listen) == self.listen.as_ref());
        let crowd = |line: &Line| {
            let peer = line.peer.get();
            let speaks_for_many = proxies.iter().any(|network| network.contains(peer));
            (!speaks_for_many).then(|| address_key(peer))
        };
        let mut crowds: HashMap<[u8; 8], u32> = HashMap::new();
        here().filter_map(|line| crowd(line)).for_each(|at| *crowds.entry(at).or_default() += 1);
        let most = (here().count() / FOUND_SHARE).clamp(1, FOUND_MAX);
        let found = here().filter_map(|line| {
            let waste = line.wastes(now)?;
            let crowd = crowd(line).and_then(|at| crowds.get(&at)).copied().unwrap_or(1);
            let score = waste.weight() * f64::from(crowd);
            Some(Found { line: Rc::downgrade(line), waste, score })
        });
        let mut found: Vec<Found> = found.collect();
        if found.len() > most {
            found.select_nth_unstable_by(most, |a, b| b.score.total_cmp(&a.score));
            found.truncate(most);
        }
        found.sort_by(|a, b| a.score.total_cmp(&b.score));
        self.found = found;
    }
}
