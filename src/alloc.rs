//! The allocator's settings; main.rs makes it the program's own.

/// `mi_option_purge_delay` of mimalloc 3 (and 2), which the crate has no name for.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// After this many milliseconds unused memory goes back to the system. More would keep the peak of
/// a busy minute for hours; 0 would cost a system call an emptied page.
const PURGE_DELAY_MS: libc::c_long = 50;

/// Sets the allocator up; call it before the first thread starts.
///
/// Huge pages are switched off for the whole process: with them a worker that once held a burst
/// keeps 2 MiB for each page in use, and mimalloc reads its own option for that before `main`.
pub fn settle() {
    // SAFETY: both only set numbers, and no other thread runs yet.
    unsafe {
        if std::env::var_os("MIMALLOC_PURGE_DELAY").is_none() {
            libmimalloc_sys::mi_option_set(PURGE_DELAY, PURGE_DELAY_MS);
        }
        libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_mimalloc_in_use() {
        settle();
        // SAFETY: both only read numbers.
        let (version, delay) =
            unsafe { (libmimalloc_sys::mi_version(), libmimalloc_sys::mi_option_get(PURGE_DELAY)) };
        assert_eq!(version / 100, 303, "look the number of purge_delay up in the new version");
        assert_eq!(delay, PURGE_DELAY_MS);
    }
}
