//! One test binary.

mod judge;
