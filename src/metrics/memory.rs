//! Memory in use, and whether it runs short.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Once short, it is so until less than this share of the limit is in use, in sixteenths: or each
/// answer that ends would let just one request in.
const EASED_SIXTEENTHS: u64 = 15;

/// Memory of the process, in bytes.
#[derive(Debug)]
pub struct MemoryCells {
    used: AtomicU64,
    limit: AtomicU64,
    short: AtomicBool,
}

impl Default for MemoryCells {
    fn default() -> Self {
        let (used, limit) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
        Self { used, limit, short: AtomicBool::new(false) }
    }
}

impl MemoryCells {
    /// Above `bytes` it is short; none: never.
    pub fn may_have(&self, bytes: Option<u64>) {
        self.limit.store(bytes.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// So many `bytes` are in use. Gives whether memory has begun or ceased to be short by it.
    pub fn uses(&self, bytes: u64) -> Option<bool> {
        let limit = self.limit.load(Ordering::Relaxed);
        self.used.store(bytes, Ordering::Relaxed);
        let before = self.short.load(Ordering::Relaxed);
        let least = if before { limit / 16 * EASED_SIXTEENTHS } else { limit };
        let short = bytes > least;
        self.short.store(short, Ordering::Relaxed);
        (short != before).then_some(short)
    }

    /// Whether no more may be begun.
    pub fn is_short(&self) -> bool {
        self.short.load(Ordering::Relaxed)
    }

    /// What was in use when somebody looked last.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// What may be in use; none: as much as there is.
    pub fn limit(&self) -> Option<u64> {
        Some(self.limit.load(Ordering::Relaxed)).filter(|limit| *limit < u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_short_eases_a_little_below_the_limit() {
        let memory = MemoryCells::default();
        assert_eq!((memory.uses(u64::MAX - 1), memory.limit()), (None, None));
        memory.may_have(Some(1600));
        let told = [1600, 1601, 2000, 1501, 1500, 1600].map(|bytes| memory.uses(bytes));
        assert_eq!(told, [None, Some(true), None, None, Some(false), None]);
        assert_eq!((memory.used(), memory.limit(), memory.is_short()), (1600, Some(1600), false));
    }
}
