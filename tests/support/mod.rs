//! What the tests drive, and what drives them.

pub mod app;
pub mod caches;
pub mod celery;
pub mod certificates;
pub mod client;
pub mod debian;
pub mod dice;
pub mod disk;
pub mod http2;
pub mod http2_client;
pub mod jar;
pub mod memcached;
pub mod nginx;
pub mod over;
pub mod pebble;
pub mod program;
pub mod prometheus;
pub mod quick;
pub mod redis;
pub mod scripted;
pub mod secure;
pub mod sidekiq;
pub mod skipped;
pub mod upstream;
pub mod web_socket;
