//! How instances of tiers with traffic are taken out of a version, and into one.

use super::command::Refusal;
use super::event::{Change, Event};
use super::facts::Facts;
use super::state::State;
use super::turning::{Fall, falls};
use super::upgrade::{Course, Shift, Upgrade};
use super::upgrading::Road;
use super::wait::Wait;
use crate::time::Timestamp;
use crate::traffic::TierName;

/// Whether an instance may be taken out of the traffic by an order, if `shift` does so.
///
/// # Errors
/// What must come first.
pub(super) fn may_leave(
    shift: &Shift,
    upgrade: &Upgrade,
    state: &State,
    facts: &Facts,
    now: Timestamp,
) -> Result<(), Refusal> {
    let road = Road { upgrade, state, facts, now };
    road.may_leave(shift).map_err(|wait| Refusal::StaysIn {
        tier: shift.tier.clone(),
        instance: shift.instance.clone(),
        wait: wait.to_string(),
    })
}

impl Road<'_> {
    pub(super) fn shift(&self, shift: &Shift) -> Result<Vec<Event>, Wait> {
        self.may_leave(shift)?;
        Ok(vec![self.of_tier(&shift.tier, shift.change())])
    }

    /// Whether an instance may be taken out now, if `shift` does so. Once it is out it is finished and
    /// taken in, whatever is paused or held since: the others bear what it did.
    fn may_leave(&self, shift: &Shift) -> Result<(), Wait> {
        if shift.to.is_some() || shift.back {
            return Ok(());
        }
        self.is_free()?;
        self.none_is_paused(std::slice::from_ref(&shift.tier))?;
        self.others_serve(shift)
    }

    /// Whether another instance serves those whom the one serves that `shift` takes out: of its
    /// version, or, where nobody is sent to that any more, of the one that everybody has.
    fn others_serve(&self, shift: &Shift) -> Result<(), Wait> {
        let Shift { tier: name, instance, .. } = shift;
        let tier = self.tier(name)?;
        let own = tier.version_of(instance).filter(|version| tier.serves(version));
        let version = own.unwrap_or(&tier.stable);
        let unwell = self.facts.tier(name).map(|file| &file.unwell[..]).unwrap_or_default();
        let serves = |other: &&String| {
            *other != instance && tier.version_of(other) == Some(version) && !unwell.contains(other)
        };
        let fleet = self.facts.upgrade.rolling(name);
        if fleet.is_some_and(|fleet| fleet.instances.iter().any(|other| serves(&other))) {
            return Ok(());
        }
        let (tier, version, instance) = (name.clone(), version.clone(), instance.clone());
        Err(Wait::Another { tier, version, instance })
    }

    /// The users of `name` follow the instance that is back.
    pub(super) fn home(
        &self,
        name: &TierName,
        at_once: bool,
        index: usize,
    ) -> Result<Vec<Event>, Wait> {
        let Course::Back { cause } = &self.upgrade.course else { return self.begin(index + 1) };
        match falls(name, self.upgrade.id, self.state, self.facts, cause) {
            Fall::AtOnce(mut change) => {
                if let Change::RolledBack { now, .. } = &mut change {
                    *now = at_once;
                }
                Ok(vec![self.of_tier(name, change)])
            }
            Fall::Later | Fall::Not => self.begin(index + 1),
        }
    }
}
