//! One test binary.

mod judge;
mod support;
