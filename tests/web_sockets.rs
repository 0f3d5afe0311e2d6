//! Web sockets through Weir, and how they end when their release has lost: frame by frame, and by a
//! real client and a real server, and by a public suite of cases.

mod autobahn;
mod frames;
pub mod node;
mod real;
