//! What the screen knows, and what its keys do.

use std::collections::VecDeque;
use std::time::Instant;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::admin::Role;
use crate::admin::api::{History, LogRecord, Status, TierStatus, Whoami};
use crate::cli::orders;
use crate::rollout::{Order, Purpose};
use crate::time::in_words;
use crate::traffic::TierName;

/// Records of the journal that are kept: more than any screen has lines.
const RECORDS_MAX: usize = 200;

/// What the screen knows.
pub(super) struct Scene {
    pub(super) address: String,
    pub(super) status: Option<Status>,
    pub(super) curves: Option<History>,
    /// Oldest first.
    pub(super) journal: VecDeque<LogRecord>,
    /// The tier that keys are for, by its place.
    pub(super) selected: usize,
    /// An order that wants a second key.
    pub(super) asked: Option<Asked>,
    pub(super) helps: bool,
    /// What came of the last order, or what there is to know.
    pub(super) said: Option<Said>,
    /// Since when nobody answers, and why.
    pub(super) lost: Option<(Instant, String)>,
    pub(super) asker: Asker,
}

/// An order that wants a second key.
pub(super) struct Asked {
    pub(super) order: Order,
    pub(super) question: String,
    /// What should be known before it is answered.
    pub(super) known: Vec<String>,
}

/// A remark.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) text: String,
    pub(super) is_trouble: bool,
}

/// Whose keys these are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// Of somebody whose token was found.
    Known(Whoami),
    /// Of nobody: no token was found, or a wrong one.
    Nobody,
    /// Not yet asked.
    Unknown,
}

/// What a key wants done outside of the scene.
#[derive(Debug, PartialEq)]
pub(super) enum Act {
    /// Give this order.
    Give(Order),
    /// Nothing.
    Nothing,
    /// End, as by a key, or as `Ctrl-C` does.
    Quit { interrupted: bool },
    /// Give the terminal back to the shell for a while.
    Suspend,
}

/// What is new.
pub(super) enum News {
    Asker(Asker),
    /// The terminal is gone.
    Closed,
    Curves(History),
    Key(KeyEvent),
    Lost(String),
    Records {
        records: Vec<LogRecord>,
        /// Whether they take the place of all before.
        anew: bool,
    },
    Resized,
    Said(Said),
    Status(Box<Status>),
}

impl Scene {
    pub(super) const fn new(address: String) -> Self {
        Self {
            address,
            status: None,
            curves: None,
            journal: VecDeque::new(),
            selected: 0,
            asked: None,
            helps: false,
            said: None,
            lost: None,
            asker: Asker::Unknown,
        }
    }

    /// The tier that keys are for.
    pub(super) fn tier(&self) -> Option<&TierStatus> {
        self.status.as_ref()?.tiers.get(self.selected)
    }

    /// Takes in what is new; what is to be done for it.
    pub(super) fn take(&mut self, news: News) -> Act {
        match news {
            News::Asker(asker) => self.asker = asker,
            News::Closed => return Act::Quit { interrupted: false },
            News::Curves(curves) => self.curves = Some(curves),
            News::Key(key) => return self.key(key),
            News::Lost(why) => {
                let since = self.lost.take().map_or_else(Instant::now, |(since, _)| since);
                self.lost = Some((since, why));
            }
            News::Records { records, anew } => {
                if anew {
                    self.journal.clear();
                }
                self.journal.extend(records);
                let more = self.journal.len().saturating_sub(RECORDS_MAX);
                self.journal.drain(..more);
            }
            News::Resized => {}
            News::Said(said) => self.said = Some(said),
            News::Status(status) => self.stand(*status),
        }
        Act::Nothing
    }

    fn stand(&mut self, status: Status) {
        if let Some((since, _)) = self.lost.take() {
            let again = self.status.as_ref().is_some_and(|old| old.started != status.started);
            let what = if again { "weir was restarted" } else { "weir answers again" };
            let away = in_words(std::time::Duration::from_secs(since.elapsed().as_secs()));
            let text = format!("{what}; nobody answered for {away}");
            self.said = Some(Said { text, is_trouble: false });
        }
        self.selected = self.selected.min(status.tiers.len().saturating_sub(1));
        self.status = Some(status);
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "keyboards have more keys than orders")]
    fn key(&mut self, key: KeyEvent) -> Act {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => Act::Quit { interrupted: true },
                KeyCode::Char('z') => Act::Suspend,
                _ => Act::Nothing,
            };
        }
        if let Some(asked) = self.asked.take() {
            let repeated = key.code == KeyCode::Char(letter(&asked.order));
            if repeated && !matches!(asked.order, Order::Rollback { .. }) {
                // A key that is held down says itself again: only what is safe may be said so.
                self.asked = Some(asked);
                return Act::Nothing;
            }
            let yes = repeated || matches!(key.code, KeyCode::Char('y' | 'Y') | KeyCode::Enter);
            if yes {
                return Act::Give(asked.order);
            }
            self.remark("nothing was changed".into(), false);
            return Act::Nothing;
        }
        if self.helps {
            self.helps = false;
            return Act::Nothing;
        }
        let tiers = self.status.as_ref().map_or(0, |status| status.tiers.len()).max(1);
        match key.code {
            KeyCode::Char('q') => return Act::Quit { interrupted: false },
            KeyCode::Char('?' | 'h') => self.helps = true,
            KeyCode::Esc => self.said = None,
            KeyCode::Tab | KeyCode::Right | KeyCode::Down => {
                self.selected = (self.selected + 1) % tiers;
            }
            KeyCode::BackTab | KeyCode::Left | KeyCode::Up => {
                self.selected = (self.selected + tiers - 1) % tiers;
            }
            KeyCode::Char(letter) => return self.letter(letter),
            _ => {}
        }
        Act::Nothing
    }

    /// The letters that give orders.
    fn letter(&mut self, letter: char) -> Act {
        let Some(order) = self.order(letter) else {
            return Act::Nothing;
        };
        if self.lost.is_some() {
            self.remark("nobody answers; the key was not sent".into(), true);
            return Act::Nothing;
        }
        if let Some(why) = self.may_not() {
            self.remark(why, true);
            return Act::Nothing;
        }
        match self.question(&order) {
            Some(question) => {
                let known = self.unproven(&order);
                self.asked = Some(Asked { order, question, known });
                Act::Nothing
            }
            None => Act::Give(order),
        }
    }

    /// What `letter` orders of the tier.
    fn order(&self, letter: char) -> Option<Order> {
        let tier = self.meant();
        Some(match letter {
            'p' => Order::Pause { tier },
            'r' => Order::Resume { tier },
            'a' => Order::Advance { tier, to: None },
            'P' => Order::Promote { tier },
            'R' => Order::Rollback { tier, now: false, over: None, past_no_return: false },
            'm' => {
                // Of one tier also in a rollout over tiers: users of the others are let in.
                let found = self.tier()?;
                let closed = found.closed.as_ref().map(|closed| closed.purpose);
                let tier = Some(found.name.clone());
                match closed {
                    Some(Purpose::Hold) => Order::Hold { tier, on: false, lasts: None },
                    Some(Purpose::Maintenance) | None => Order::Maintenance {
                        tier,
                        on: closed.is_none(),
                        lasts: None,
                        message: None,
                        close: false,
                    },
                }
            }
            'w' => {
                let found = self.tier()?;
                let on = found.closed.is_none();
                Order::Hold { tier: Some(found.name.clone()), on, lasts: None }
            }
            'y' => Order::Approve { step: None },
            't' => Order::RetryStep { step: None },
            's' => Order::SkipStep { step: None },
            _ => return None,
        })
    }

    /// The tier of an order; none where one rollout moves several: it is for all of it.
    fn meant(&self) -> Option<TierName> {
        let upgrade = self.status.as_ref()?.upgrade.as_ref();
        let tier = self.tier()?;
        let own = tier.rollout.as_ref().map(|rollout| rollout.id);
        match upgrade {
            Some(upgrade) if own.is_none_or(|own| own == upgrade.id) => None,
            _ => Some(tier.name.clone()),
        }
    }

    /// What is asked before `order` is given; none: it is given at once.
    fn question(&self, order: &Order) -> Option<String> {
        let tier = self.tier()?;
        let all = self.status.as_ref().and_then(|status| status.upgrade.as_ref());
        let whose = match (all, self.meant()) {
            (Some(upgrade), None) => format!("rollout {}", upgrade.id),
            _ => tier.name.to_string(),
        };
        let canary = tier.rollout.as_ref().map(|rollout| rollout.release.to_string());
        match order {
            Order::Rollback { .. } => Some(match (canary, all) {
                (_, Some(_)) => format!("take everybody of {whose} back?"),
                (Some(_), None) => {
                    format!("{whose}: take everybody back to {}, at once?", tier.stable)
                }
                (None, None) => match &tier.previous {
                    Some(previous) => format!("{whose}: take everybody back to {previous}?"),
                    None => format!("{whose}: no rollout is open; roll back all the same?"),
                },
            }),
            Order::Promote { .. } => Some(match canary {
                Some(canary) => format!("{whose}: give {canary} to everybody?"),
                None => format!("{whose}: no rollout is open; promote all the same?"),
            }),
            Order::Maintenance { on: true, .. } => {
                Some(format!("{}: keep all users out with 503, until `m` again?", tier.name))
            }
            Order::Hold { on: true, .. } => {
                Some(format!("{}: have all requests wait, until `w` again?", tier.name))
            }
            Order::SkipStep { .. } => {
                let waits = all.and_then(|upgrade| upgrade.waits_for.as_deref());
                let waits = waits.map_or_else(String::new, |waits| format!(" ({waits})"));
                Some(format!("{whose}: take its step as done?{waits}"))
            }
            Order::Adopt { .. }
            | Order::Advance { .. }
            | Order::Approve { .. }
            | Order::Hold { on: false, .. }
            | Order::Maintenance { on: false, .. }
            | Order::Pause { .. }
            | Order::Resume { .. }
            | Order::RetryStep { .. }
            | Order::Start { .. } => None,
        }
    }

    /// What is not proven of a version that is to be everybody's.
    fn unproven(&self, order: &Order) -> Vec<String> {
        match (order, self.tier().and_then(|tier| Some((tier, tier.rollout.as_ref()?)))) {
            (Order::Promote { .. }, Some((tier, rollout))) => orders::unproven(tier, rollout),
            _ => Vec::new(),
        }
    }

    /// Why no order can be given, if none can.
    fn may_not(&self) -> Option<String> {
        let how = "set WEIR_TOKEN_FILE to the file of an operator's, and start `weir watch` again";
        match &self.asker {
            Asker::Known(Whoami { name, role: Role::Viewer }) => {
                Some(format!("{name} is a viewer's token, and this needs an operator's: {how}"))
            }
            Asker::Nobody => Some(format!("no token was found, and this needs one: {how}")),
            Asker::Known(_) | Asker::Unknown => None,
        }
    }

    fn remark(&mut self, text: String, is_trouble: bool) {
        self.said = Some(Said { text, is_trouble });
    }
}

/// The key of an order that is asked about: pressed twice, it is meant.
const fn letter(order: &Order) -> char {
    match order {
        Order::Rollback { .. } => 'R',
        Order::Promote { .. } => 'P',
        Order::Maintenance { .. } => 'm',
        Order::Hold { .. } => 'w',
        Order::SkipStep { .. } => 's',
        Order::Adopt { .. }
        | Order::Advance { .. }
        | Order::Approve { .. }
        | Order::Pause { .. }
        | Order::Resume { .. }
        | Order::RetryStep { .. }
        | Order::Start { .. } => 'y',
    }
}

#[cfg(test)]
#[path = "scene/tests.rs"]
mod tests;
