//! What a shared cache may keep of HTTP, and for whom: RFC 9111, 9213 and 5861 without IO or clock.
//!
//! Own rules rather than those of a crate: the one that is well known (`http-cache-semantics`) knows
//! neither stale answers nor CDN-Cache-Control nor ranges, and copies all fields for each look-up.

pub mod date;
pub mod directives;
pub mod freshness;
pub mod head;
pub mod key;
pub mod mark;
pub mod range;

#[cfg(test)]
mod tests;
