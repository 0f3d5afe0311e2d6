//! HTTP/2 with clients, between real sockets: what becomes of requests and answers, how long they
//! may take, what a client may not do, and what real clients see.

mod answers;
mod calls;
mod floods;
mod life;
mod mapping;
mod onward;
mod requests;
mod slow;
mod tools;
mod tunnels;
