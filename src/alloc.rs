//! The allocator and its settings; main.rs makes it the program's own.

use std::alloc::{GlobalAlloc, Layout};
use std::ffi::c_void;

use libmimalloc_sys as mimalloc;

/// mimalloc aligns everything to this in any case (`MI_MAX_ALIGN_SIZE`), what is smaller to its
/// own size.
const NATURAL_ALIGNMENT: usize = 16;

/// `mi_option_purge_delay` of mimalloc 3 (and 2), which the crate has no name for.
const PURGE_DELAY: mimalloc::mi_option_t = 15;

/// After this many milliseconds unused memory goes back to the system. More would keep the peak of
/// a busy minute for hours; 0 would cost a system call an emptied page.
const PURGE_DELAY_MS: libc::c_long = 50;

/// mimalloc, asked for an alignment only where it does not give it by itself: the call that takes
/// one costs twice as much, most of all for the buffers of a connection.
#[derive(Debug)]
pub struct Allocator;

const fn is_natural(size: usize, alignment: usize) -> bool {
    alignment <= NATURAL_ALIGNMENT && alignment <= size
}

// SAFETY: each block comes from mimalloc with the size and alignment that were asked for, and goes
// back there; `mi_free` and `mi_realloc*` take blocks from every one of its allocating functions.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (size, alignment) = (layout.size(), layout.align());
        // SAFETY: any size may be asked for, with any power of two.
        let block = unsafe {
            if is_natural(size, alignment) {
                mimalloc::mi_malloc(size)
            } else {
                mimalloc::mi_malloc_aligned(size, alignment)
            }
        };
        block.cast()
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let (size, alignment) = (layout.size(), layout.align());
        // SAFETY: as in `alloc`.
        let block = unsafe {
            if is_natural(size, alignment) {
                mimalloc::mi_zalloc(size)
            } else {
                mimalloc::mi_zalloc_aligned(size, alignment)
            }
        };
        block.cast()
    }

    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        // SAFETY: the caller promises that the block is from here.
        unsafe { mimalloc::mi_free(block.cast::<c_void>()) };
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let (block, alignment) = (block.cast::<c_void>(), layout.align());
        // SAFETY: the caller promises that the block is from here.
        let block = unsafe {
            if is_natural(size, alignment) {
                mimalloc::mi_realloc(block, size)
            } else {
                mimalloc::mi_realloc_aligned(block, size, alignment)
            }
        };
        block.cast()
    }
}

/// Sets the allocator up; call it before the first thread starts.
///
/// Huge pages are switched off for the whole process: with them a worker that once held a burst
/// keeps 2 MiB for each page in use, and mimalloc reads its own option for that before `main`.
pub fn settle() {
    // SAFETY: both only set numbers, and no other thread runs yet.
    unsafe {
        if std::env::var_os("MIMALLOC_PURGE_DELAY").is_none() {
            mimalloc::mi_option_set(PURGE_DELAY, PURGE_DELAY_MS);
        }
        libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0);
    }
}

/// Gives back what this thread holds and does not use. mimalloc does so by itself only when the
/// thread asks for memory again, and one that has nothing to do does not.
pub fn give_back() {
    // SAFETY: it looks through the memory of this thread; whatever is in use stays.
    unsafe { mimalloc::mi_collect(false) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_aligned_as_asked_and_keeps_what_is_in_it() {
        for alignment in [1, 2, 4, 8, 16, 32, 128, 4096] {
            for size in (1..300).chain([1_000, 8_191, 8_192, 100_000, 3 << 20]) {
                let layout = Layout::from_size_align(size, alignment).unwrap();
                let grown = Layout::from_size_align(size * 2 + 1, alignment).unwrap();
                let aligned = |block: *mut u8| block.addr().is_multiple_of(alignment);
                // SAFETY: each block is used within its size and given back once.
                unsafe {
                    let zeroed = Allocator.alloc_zeroed(layout);
                    assert!(aligned(zeroed), "{layout:?}");
                    assert_eq!((zeroed.read(), zeroed.add(size - 1).read()), (0, 0));
                    let block = Allocator.alloc(layout);
                    assert!(aligned(block) && block != zeroed, "{layout:?}");
                    block.write_bytes(7, size);
                    let block = Allocator.realloc(block, layout, grown.size());
                    assert!(aligned(block) && block.add(size - 1).read() == 7, "{grown:?}");
                    Allocator.dealloc(block, grown);
                    Allocator.dealloc(zeroed, layout);
                }
            }
        }
    }

    #[test]
    fn the_numbers_are_those_of_the_mimalloc_in_use() {
        settle();
        // SAFETY: both only read numbers.
        let (version, delay) =
            unsafe { (mimalloc::mi_version(), mimalloc::mi_option_get(PURGE_DELAY)) };
        assert_eq!(version / 100, 303, "look the number of purge_delay up in the new version");
        assert_eq!(delay, PURGE_DELAY_MS);
    }
}
