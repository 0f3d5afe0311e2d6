//! Tells one target, in order, until it is told or the time for it is over.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::letter::{Letter, Post};
use super::settings::{Target, Way};
use super::{Trouble, mail, webhook, wire};
use crate::clock;
use crate::control::View;
use crate::journal::{Seq, Shelf};
use crate::metrics::DeliveryCounts;
use crate::tls::Keyring;

/// The first pause after a try that failed; each further one is twice as long.
const PAUSE: Duration = Duration::from_secs(1);

/// The longest pause: who is back is told within it.
const PAUSE_MAX: Duration = Duration::from_mins(2);

/// Tries of a message that its target refuses for what it is, before the next one is tried.
const REFUSALS_MAX: u32 = 3;

/// One who is told.
pub(super) struct Courier {
    pub(super) target: Target,
    pub(super) shelf: Shelf,
    pub(super) keyring: Arc<Keyring>,
    pub(super) counts: Arc<DeliveryCounts>,
}

/// How far a target is told, as it is noted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    /// The place of the last record that was told, or needed not be.
    seq: Seq,
    /// Events that were given up since the last message that arrived.
    #[serde(default)]
    lost: u64,
}

/// Sends `letter`, once.
pub(super) async fn send(
    target: &Target,
    letter: &Letter,
    keyring: &Keyring,
) -> Result<(), Trouble> {
    let sending = async {
        match &target.way {
            Way::Mail(mail) => mail::send(mail, letter, keyring).await,
            Way::Webhook(hook) => webhook::send(hook, letter, keyring).await,
        }
    };
    wire::in_time(target.timeout, sending).await
}

impl Courier {
    /// Tells what happens until it is dropped. `begin`: how far a target counts as told that was
    /// never told anything.
    pub(super) async fn run(self, mut views: watch::Receiver<Arc<View>>, begin: Seq) {
        let mut told = self.told().unwrap_or(Told { seq: begin, lost: 0 });
        self.note(told);
        let (mut pause, mut refusals) = (PAUSE, 0);
        loop {
            let view = Arc::clone(&views.borrow_and_update());
            let clock = (clock::wall(), &view.zone());
            let post = Post::of(&self.target, &view.records, (told.seq, told.lost), clock);
            self.counts.waiting.store(post.waiting, Ordering::Relaxed);
            if post.until > told.seq {
                told.seq = post.until;
                self.note(told);
            }
            let Some(letter) = post.letter else {
                if views.changed().await.is_err() {
                    return;
                }
                continue;
            };
            match send(&self.target, &letter, &self.keyring).await {
                Ok(()) => {
                    (pause, refusals) = (PAUSE, 0);
                    told = Told { seq: letter.last, lost: 0 };
                    self.note(told);
                    self.counts.arrives();
                }
                Err(trouble) => {
                    refusals = if trouble.is_final { refusals + 1 } else { 0 };
                    self.fails(&trouble);
                    if refusals >= REFUSALS_MAX {
                        refusals = 0;
                        self.give_up(&mut told, letter.last, letter.records.len() as u64, &trouble);
                        continue;
                    }
                    self.give_up_old(&mut told, &letter, &trouble);
                    tokio::time::sleep(trouble.after.unwrap_or(pause).max(PAUSE)).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    fn fails(&self, trouble: &Trouble) {
        let name = &self.target.name;
        if self.counts.trouble().is_none() {
            tracing::warn!("notify {name}: {}; it is tried again", trouble.what);
        }
        self.counts.fails(clock::wall(), &trouble.what);
    }

    /// Gives up what has waited too long.
    fn give_up_old(&self, told: &mut Told, letter: &Letter, trouble: &Trouble) {
        let now = clock::wall();
        let old = |age: Duration| age > self.target.retry_for;
        let old: Vec<Seq> = letter
            .records
            .iter()
            .filter(|record| old(now.since(record.event.at)))
            .map(|record| record.seq)
            .collect();
        if let Some(last) = old.last() {
            self.give_up(told, *last, old.len() as u64, trouble);
        }
    }

    fn give_up(&self, told: &mut Told, until: Seq, events: u64, trouble: &Trouble) {
        let name = &self.target.name;
        tracing::error!("notify {name}: {events} events are given up: {}", trouble.what);
        self.counts.dropped.fetch_add(events, Ordering::Relaxed);
        *told = Told { seq: until, lost: told.lost + events };
        self.note(*told);
    }

    fn told(&self) -> Option<Told> {
        let note = self.shelf.note(&self.name_of_note())?;
        let told = serde_json::from_str(&note);
        told.inspect_err(|error| tracing::warn!("notify {}: {error}", self.target.name)).ok()
    }

    fn note(&self, told: Told) {
        if let Ok(body) = serde_json::to_string(&told) {
            self.shelf.keep(&self.name_of_note(), body);
        }
    }

    fn name_of_note(&self) -> String {
        format!("told {}", self.target.name)
    }
}
