//! The end of what goes on beside a test.

use std::sync::atomic::{AtomicBool, Ordering};

/// Says that it is over when it is dropped, also where the test panics: a scope of threads waits for
/// all of them.
pub struct Over<'a>(pub &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
