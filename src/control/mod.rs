//! The control wing: one task that decides, writes down, and publishes.

mod handle;
mod observe;
mod publish;
mod settings;
mod view;

pub use handle::{Answer, Handle, OrderError};
pub use settings::{ReleaseSettings, Settings, TierSettings};
pub use view::{ReleaseView, RolloutView, TierView, UpstreamView, View};
