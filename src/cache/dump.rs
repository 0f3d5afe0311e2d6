//! Looks through the list of all keys that a memcached gives, for those of one namespace.

use std::io;
use std::time::Duration;

use tokio::time::timeout;

use super::line::Line;
use super::link::Server;
use super::survey::Holding;
use crate::namespace::memcached::Prefix;

/// How long it may take: some ten million keys.
const LOOK_MAX: Duration = Duration::from_secs(10);

/// What begins with `prefix` on `server`.
///
/// # Errors
/// As a sentence: the server is not reached, does not list its keys, or has too many.
pub async fn look(server: &Server, prefix: &Prefix) -> io::Result<Holding> {
    let start = [b"key=", &*listed(prefix.bytes())].concat();
    let look = async {
        let (mut line, mut holding) = (Line::to(server).await?, Holding::default());
        line.send(b"lru_crawler metadump all\r\n").await?;
        loop {
            let one = line.next().await.map_err(|error| {
                io::Error::new(error.kind(), format!("it does not list its keys: {error}"))
            })?;
            if &*one == b"END" {
                return Ok(holding);
            }
            if one.starts_with(&start) {
                holding.keys += 1;
                holding.bytes += size(&one).unwrap_or(0);
            }
        }
    };
    let late = |_| {
        let text = format!("it took longer than {} s to list all keys", LOOK_MAX.as_secs());
        io::Error::new(io::ErrorKind::TimedOut, text)
    };
    timeout(LOOK_MAX, look).await.map_err(late)?
}

/// As it stands in the list.
fn listed(prefix: &[u8]) -> Vec<u8> {
    let one = |byte: &u8| match byte {
        b':' => b"%3A".to_vec(),
        other => vec![*other],
    };
    prefix.iter().flat_map(one).collect()
}

fn size(line: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(line).ok()?;
    text.split(' ').find_map(|word| word.strip_prefix("size="))?.parse().ok()
}
