//! How many of the jobs in shared queues the canary gets: a share of all that are fetched, and none
//! before others have fetched theirs.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::traffic::{Table, TierName, Version, Weight};

/// What one job costs.
const JOB: i64 = 10_000;

/// Jobs that the canary may catch up on at once, if it has fetched fewer than it might have.
const CREDIT_MAX: i64 = 32 * JOB;

/// What a version is to the tiers that use a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It serves, or nobody says otherwise.
    Stable,
    /// It is tried.
    Canary,
    /// It was left, or has not begun.
    Other,
}

impl Role {
    /// That of `version` in `table`; without `tiers` all of them use the cache.
    pub fn of(version: &Version, tiers: &[TierName], table: &Table) -> Self {
        let uses = |name: &TierName| tiers.is_empty() || tiers.contains(name);
        let mut using = table.tiers.iter().filter(|tier| uses(&tier.tier.name)).peekable();
        if using.peek().is_none() {
            return Self::Stable;
        }
        using.fold(Self::Other, |role, tier| {
            let is_canary = tier.canary.as_ref().is_some_and(|own| own.version == *version);
            match role {
                Self::Stable => Self::Stable,
                _ if tier.stable.version == *version => Self::Stable,
                Self::Canary => Self::Canary,
                Self::Other if is_canary => Self::Canary,
                Self::Other => Self::Other,
            }
        })
    }
}

/// What the canary may still fetch.
#[derive(Debug, Default)]
pub struct Allotment {
    /// Its share; none: nobody is held.
    share: Mutex<Option<Weight>>,
    credit: AtomicI64,
    earned: Notify,
}

impl Allotment {
    /// The share that the file gives.
    pub fn share(&self) -> Option<Weight> {
        *self.share.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file gives another.
    pub fn becomes(&self, share: Option<Weight>) {
        *self.share.lock().unwrap_or_else(PoisonError::into_inner) = share;
        if share.is_none() {
            self.credit.store(0, Ordering::Relaxed);
        }
        self.earned.notify_waiters();
    }

    /// The share, where it holds somebody.
    fn holding(&self) -> Option<Weight> {
        self.share().filter(|share| *share != Weight::ALL)
    }

    /// Whether a fetch may go on. That of a canary is paid for at once: what it does not bring is
    /// [given back](Self::give_back).
    pub fn admits(&self, role: Role) -> bool {
        match (role, self.share()) {
            (Role::Stable, _) | (_, None) | (Role::Canary, Some(Weight::ALL)) => true,
            (Role::Other, Some(_)) => false,
            (Role::Canary, Some(_)) => {
                let pay = |credit| (credit >= JOB).then_some(credit - JOB);
                self.credit.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay).is_ok()
            }
        }
    }

    /// Stable has fetched so many `jobs`.
    pub fn earn(&self, jobs: u64) {
        let Some(share) = self.holding().filter(|_| jobs > 0) else { return };
        let points = i64::from(share.points());
        let jobs = i64::try_from(jobs).unwrap_or(i64::MAX);
        let earned = jobs.saturating_mul(JOB * points / (JOB - points));
        let add = |credit: i64| Some(credit.saturating_add(earned).min(CREDIT_MAX));
        _ = self.credit.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        self.earned.notify_waiters();
    }

    /// The canary has fetched so many `jobs` that were not paid for.
    pub fn owe(&self, jobs: u64) {
        if self.holding().is_none() {
            return;
        }
        let jobs = i64::try_from(jobs).unwrap_or(i64::MAX);
        let pay = |credit: i64| Some(credit.saturating_sub(jobs.saturating_mul(JOB)));
        _ = self.credit.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay);
    }

    /// So many fetches were paid for and have brought nothing.
    pub fn give_back(&self, fetches: u64) {
        if fetches > 0 {
            let fetches = i64::try_from(fetches).unwrap_or(i64::MAX);
            self.credit.fetch_add(fetches.saturating_mul(JOB), Ordering::Relaxed);
            self.earned.notify_waiters();
        }
    }

    /// Ends when a fetch may be admitted that was not.
    pub fn earned(&self) -> Notified<'_> {
        self.earned.notified()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allotment(share: &str) -> Allotment {
        let allotment = Allotment::default();
        allotment.becomes(Some(share.parse().unwrap()));
        allotment
    }

    #[test]
    fn the_canary_gets_its_share_of_all_jobs_and_no_more() {
        for (share, expected) in [("10%", 1000), ("50%", 5000), ("0%", 0), ("0.5%", 50)] {
            let allotment = allotment(share);
            let (mut stable, mut canary) = (0, 0);
            while stable + canary < 10_000 {
                if allotment.admits(Role::Canary) {
                    canary += 1;
                } else {
                    stable += 1;
                    allotment.earn(1);
                }
            }
            assert!(i32::abs(canary - expected) <= 2, "{share}: {canary}");
        }
    }

    #[test]
    fn what_brought_nothing_is_given_back_and_what_was_not_paid_for_is_owed() {
        let allotment = allotment("50%");
        allotment.earn(2);
        assert!(allotment.admits(Role::Canary) && allotment.admits(Role::Canary));
        assert!(!allotment.admits(Role::Canary));
        allotment.give_back(1);
        assert!(allotment.admits(Role::Canary) && !allotment.admits(Role::Canary));
        allotment.owe(3);
        allotment.earn(3);
        assert!(!allotment.admits(Role::Canary));
        allotment.earn(1);
        assert!(allotment.admits(Role::Canary));
    }

    #[test]
    fn it_does_not_catch_up_on_hours_at_once() {
        let allotment = allotment("50%");
        allotment.earn(1_000_000);
        let at_once = (0..1_000_000).take_while(|_| allotment.admits(Role::Canary)).count();
        assert_eq!(i64::try_from(at_once), Ok(CREDIT_MAX / JOB));
    }

    #[test]
    fn stable_is_never_held_and_who_is_neither_always() {
        let none = Allotment::default();
        assert!(
            [Role::Stable, Role::Canary, Role::Other].into_iter().all(|role| none.admits(role))
        );
        let some = allotment("0%");
        assert!(
            some.admits(Role::Stable) && !some.admits(Role::Canary) && !some.admits(Role::Other)
        );
        let all = allotment("100%");
        assert!(all.admits(Role::Canary) && !all.admits(Role::Other));
    }
}
