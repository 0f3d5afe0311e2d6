//! One test binary.

mod judge;
mod proxy;
mod support;
