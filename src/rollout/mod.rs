//! What a rollout is, which orders it obeys, and the one function that decides.
//!
//! `step` decides and may refuse; `State::apply` remembers and cannot fail. Neither touches
//! clock, network, disk or chance: those come in as arguments.

mod caches;
mod calendar;
mod closure;
mod command;
mod desk;
mod event;
mod facts;
mod fleet;
mod input;
mod names;
mod outlook;
mod plan;
pub mod runbook;
mod sentence;
mod shifting;
mod state;
mod step;
mod stepping;
mod trial;
mod turning;
mod upgrade;
mod upgrade_orders;
mod upgrading;
mod wait;
mod workers;

pub use caches::{CacheFacts, OnRollback};
pub use calendar::{Calendar, CalendarError, DecisionTime, Freeze, Hours, WINDOWS_MAX};
pub use closure::{Closure, Closures, Opening, Purpose};
pub use command::{Actor, ActorError, Command, Order, REASON_CHARS_MAX, Refusal};
pub use event::{Adoption, Blame, Cause, Change, Direction, Emptying, Event, RolloutId};
pub use facts::{Facts, ReleaseFacts, TierFacts};
pub use fleet::{Fleet, INSTANCES_MAX, Instance, users_of};
pub use input::Input;
pub use names::event_names;
pub use outlook::{Leg, Outlook, Proof, Said, outlook};
pub use plan::{Plan, PlanError, STAGES_MAX, Stage, Stages};
pub use state::{Fate, Known, Outcome, Receding, Rollout, State, Tier};
pub use step::{ROLLBACK_OVER_MAX, step};
pub use trial::{Has, Standing, Trial};
pub use upgrade::{
    Agreed, Course, Ending, Item, PastDecision, Scope, Shift, Target, Turn, Upgrade,
};
pub use upgrade_orders::climbed;
pub use upgrading::{UpgradeFacts, unheeded, waits_for};
pub use wait::{Wait, WayBack};
pub use workers::{JobsSettings, JobsSource, Workers};
