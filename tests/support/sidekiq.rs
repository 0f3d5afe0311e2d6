//! A real Sidekiq with the jobs of `tests/redis/ruby/jobs.rb`, gone at the end.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

/// A running `sidekiq`.
pub struct Sidekiq(Child);

impl Sidekiq {
    /// Starts it as `version`, with two threads, on the Redis at `port`.
    pub fn start(port: SocketAddr, version: &str) -> Self {
        let jobs = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/redis/ruby/jobs.rb");
        let child = Command::new("/usr/bin/sidekiq")
            .args(["-r", jobs, "-c", "2", "-q", "default"])
            .env("REDIS_URL", format!("redis://{port}/0"))
            .env("VERSION", version)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sidekiq starts; tests/run installs it");
        Self(child)
    }

    /// The command that puts a job into its queue, as a client of Sidekiq does.
    pub fn push(class: &str, number: u32) -> String {
        let retry = if class == "Good" { "2" } else { "false" };
        format!(
            "LPUSH queue:default {{\"class\":\"{class}\",\"args\":[{number}],\"jid\":\"{number:024}\",\"queue\":\"default\",\"retry\":{retry}}}"
        )
    }

    /// Ends it at once, as a machine does that has no memory left.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Sidekiq {
    fn drop(&mut self) {
        self.kill();
    }
}
