//! The upstream side of the data wing in this process, between real sockets.

mod http2;
mod interim;
mod leaving;
mod limits;
mod names;
mod proxied;
pub mod scene;
mod sockets;
