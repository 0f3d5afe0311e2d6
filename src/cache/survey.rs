//! Looks through a server for the keys of one namespace: how many, how large; or throws them away.

use std::io;
use std::time::Duration;

use tokio::time::timeout;

use super::link::{Link, Server};
use crate::namespace::Namespace;
use crate::namespace::redis::Credentials;
use crate::namespace::resp::{self, Value};

/// Keys looked at in one go: a server of a million keys is then busy for two milliseconds at most.
const PAGE: &str = "1000";

/// Keys of a namespace whose size is asked for; the others are taken to be alike.
const WEIGHED_MAX: usize = 1000;

/// How long it may take: some ten million keys.
const SURVEY_MAX: Duration = Duration::from_secs(10);

/// How long it may take to throw them away.
const DROP_MAX: Duration = Duration::from_mins(5);

/// What a namespace holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// Its keys, in all databases.
    pub keys: u64,
    /// What they take in the server's memory, about.
    pub bytes: u64,
}

/// What `namespace` holds on `server`.
///
/// # Errors
/// As a sentence: the server is not reached, refuses, or has too many keys to look through.
pub async fn look(
    server: &Server,
    credentials: Option<&Credentials>,
    namespace: &Namespace,
) -> io::Result<Holding> {
    let look = async {
        let mut link = server.connect_as(credentials).await?;
        let (mut holding, mut weighed, mut weight) = (Holding::default(), 0_u64, 0_u64);
        for database in databases(&mut link).await? {
            let mut pages = Pages::open(&mut link, database, namespace.prefix()).await?;
            while let Some(keys) = pages.next(&mut link).await? {
                holding.keys += keys.len() as u64;
                let left = WEIGHED_MAX.saturating_sub(usize::try_from(weighed).unwrap_or(0));
                for key in keys.iter().take(left) {
                    let size = asked(&mut link, &[b"MEMORY", b"USAGE", key]).await?;
                    // One that has just gone has no size.
                    weight += size.integer().and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
                    weighed += 1;
                }
            }
        }
        holding.bytes = weight.saturating_mul(holding.keys).checked_div(weighed).unwrap_or(0);
        Ok(holding)
    };
    within(SURVEY_MAX, look).await
}

/// Deletes all keys of `namespace` on `server`, whatever their generation; how many.
///
/// # Errors
/// As a sentence: the server is not reached or refuses. Some keys may be gone.
pub async fn empty(
    server: &Server,
    credentials: Option<&Credentials>,
    namespace: &Namespace,
) -> io::Result<u64> {
    let empty = async {
        let (mut link, mut deleted) = (server.connect_as(credentials).await?, 0);
        for database in databases(&mut link).await? {
            let mut pages = Pages::open(&mut link, database, namespace.as_str().as_bytes()).await?;
            while let Some(keys) = pages.next(&mut link).await? {
                let own = keys.iter().filter(|key| namespace.generation_of(key).is_some());
                deleted += delete(&mut link, own.map(Vec::as_slice)).await?;
            }
        }
        Ok(deleted)
    };
    within(DROP_MAX, empty).await
}

async fn within<T>(limit: Duration, look: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = |_| {
        let text = format!("it took longer than {} s to look through all keys", limit.as_secs());
        io::Error::new(io::ErrorKind::TimedOut, text)
    };
    timeout(limit, look).await.map_err(late)?
}

/// Deletes `keys`; how many there were.
pub async fn delete<'a>(link: &mut Link, keys: impl Iterator<Item = &'a [u8]>) -> io::Result<u64> {
    let words: Vec<&[u8]> = std::iter::once(&b"UNLINK"[..]).chain(keys).collect();
    if words.len() == 1 {
        return Ok(0);
    }
    let gone = asked(link, &words).await?.integer().unwrap_or(0);
    Ok(u64::try_from(gone).unwrap_or(0))
}

/// Pages of keys of one database.
pub struct Pages {
    /// What they begin with, and a star.
    pattern: Vec<u8>,
    /// Where to go on; none: there are no more.
    cursor: Option<Vec<u8>>,
}

impl Pages {
    /// Of the keys that begin with `prefix`, which means nothing in a pattern.
    pub async fn open(link: &mut Link, database: u32, prefix: &[u8]) -> io::Result<Self> {
        asked(link, &[b"SELECT", database.to_string().as_bytes()]).await?;
        Ok(Self { pattern: [prefix, b"*"].concat(), cursor: Some(b"0".to_vec()) })
    }

    /// The next page; none: there are no more.
    pub async fn next(&mut self, link: &mut Link) -> io::Result<Option<Vec<Vec<u8>>>> {
        let Some(cursor) = self.cursor.take() else { return Ok(None) };
        let question: [&[u8]; 6] =
            [b"SCAN", &cursor, b"MATCH", &self.pattern, b"COUNT", PAGE.as_bytes()];
        let page = asked(link, &question).await?;
        let Some([cursor, keys]) = page.list() else {
            return Err(io::Error::other("its answer to SCAN is no page"));
        };
        self.cursor = cursor.text().filter(|cursor| *cursor != b"0").map(<[u8]>::to_vec);
        let keys = keys.list().unwrap_or_default();
        Ok(Some(keys.iter().filter_map(Value::text).map(<[u8]>::to_vec).collect()))
    }
}

/// The databases that hold something.
pub async fn databases(link: &mut Link) -> io::Result<Vec<u32>> {
    let info = asked(link, &[b"INFO", b"keyspace"]).await?;
    let info = String::from_utf8_lossy(info.text().unwrap_or_default()).into_owned();
    let number = |line: &str| line.strip_prefix("db")?.split(':').next()?.parse().ok();
    Ok(info.lines().filter_map(number).collect())
}

async fn asked(link: &mut Link, words: &[&[u8]]) -> io::Result<Value> {
    let answer = link.ask(&resp::command(words)).await?;
    if let Value::Error(error) = &answer {
        return Err(io::Error::other(String::from_utf8_lossy(error).into_owned()));
    }
    Ok(answer)
}
