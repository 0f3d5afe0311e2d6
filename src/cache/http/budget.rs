//! How many bytes a cache takes: those that are kept, those that come in, and those that were thrown
//! away and are still on their way to a client.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The bytes of one cache.
#[derive(Debug)]
pub struct Budget {
    size: AtomicU64,
    used: AtomicU64,
}

/// Bytes in use, until this is dropped.
#[derive(Debug)]
pub struct Weight {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Budget {
    /// One of `size` bytes.
    pub fn new(size: u64) -> Arc<Self> {
        Arc::new(Self { size: AtomicU64::new(size), used: AtomicU64::new(0) })
    }

    /// How many there may be.
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    /// How many there are.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// It is `size` bytes from now on.
    pub fn may_have(&self, size: u64) {
        self.size.store(size, Ordering::Relaxed);
    }

    /// Whether there is room for `bytes` more.
    pub fn has_room(&self, bytes: u64) -> bool {
        let used = self.used.load(Ordering::Relaxed);
        used.saturating_add(bytes) <= self.size.load(Ordering::Relaxed)
    }

    /// Takes `bytes`, if there is room for them.
    pub fn reserve(self: &Arc<Self>, bytes: u64) -> Option<Weight> {
        let size = self.size.load(Ordering::Relaxed);
        let more = |used: u64| used.checked_add(bytes).filter(|used| *used <= size);
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.is_ok().then(|| Weight { budget: Arc::clone(self), bytes })
    }

    /// Takes `bytes`, whether there is room or not: they are taken already.
    pub fn take(self: &Arc<Self>, bytes: u64) -> Weight {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        Weight { budget: Arc::clone(self), bytes }
    }
}

impl Weight {
    /// How many.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// These and `other` as one.
    pub fn absorb(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// `bytes` of them are not in use any more.
    pub fn give_back(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.budget.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
