//! One test binary.

mod proxy;
mod support;
