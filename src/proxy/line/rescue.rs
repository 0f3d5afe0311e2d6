//! Whether stable is asked instead, where a canary has taken a request and answers nothing.

use std::rc::Rc;

use super::Exchange;
use crate::proxy::view::{ReleaseView, UpstreamView};

/// The canary that a request was handed to, and what it was silent since then.
#[derive(Debug)]
pub struct Chance {
    release: Rc<ReleaseView>,
    upstream: Rc<UpstreamView>,
    silence: u32,
}

impl Exchange {
    /// It is handed to `upstream` of `release`, and stable may be asked as well.
    pub fn may_be_rescued(&self, release: &Rc<ReleaseView>, upstream: &Rc<UpstreamView>) {
        let silence = upstream.cells.listens();
        let (release, upstream) = (Rc::clone(release), Rc::clone(upstream));
        *self.chance.borrow_mut() = Some(Chance { release, upstream, silence });
    }

    /// Its upstream has said something, or stable is not to be asked at all.
    pub fn is_answered(&self) {
        self.chance.borrow_mut().take();
    }

    /// Whether stable is to be asked now. That is decided once: who answers others takes its time for
    /// this one, and no other has the answer any sooner.
    pub(super) fn is_to_be_rescued(&self) -> bool {
        let chance = self.chance.borrow_mut().take();
        chance.is_some_and(|Chance { release, upstream, silence }| {
            upstream.cells.is_silent(silence) && release.may_repeat()
        })
    }
}
