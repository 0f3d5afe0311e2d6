//! Web sockets through Weir, and how they end when their release has lost: frame by frame, and by a
//! real client and a real server.

mod frames;
mod node;
mod real;
