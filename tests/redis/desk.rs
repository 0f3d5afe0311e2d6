//! A desk before Weir, at which Redis's own test suite asks: what administers the whole server, which
//! Weir rightly refuses, is taken to the server itself; everything else goes through Weir as it is.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use weir::namespace::resp::{self, Value};

use super::client::Client;

/// How long it may take until a client that waits for something is known to wait.
const BLOCKED_MAX: Duration = Duration::from_secs(20);

/// Commands, and words after them, that go to the server.
const ADMINISTRATION: &[&str] = &[
    "ACL",
    "BGREWRITEAOF",
    "BGSAVE",
    "CLIENT KILL",
    "CLIENT NO-EVICT",
    "CLIENT PAUSE",
    "CLIENT UNPAUSE",
    "CONFIG",
    "DEBUG",
    "FUNCTION",
    "LATENCY",
    "MEMORY PURGE",
    "SAVE",
    "SCRIPT FLUSH",
    "SCRIPT KILL",
    "SLOWLOG",
    "SWAPDB",
];

/// Words after `DEBUG` behind which keys stand.
const OF_KEYS: &[&str] =
    &["DIGEST-VALUE", "HTSTATS-KEY", "LISTPACK", "OBJECT", "QUICKLIST", "STREAM", "ZIPLIST"];

/// Where commands go.
#[derive(Clone)]
pub struct Desk {
    pub weir: SocketAddr,
    pub server: SocketAddr,
    /// What stands before the keys of who asks.
    pub prefix: &'static str,
}

impl Desk {
    /// Opens it, until the test ends; gives its address.
    pub fn open(self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let order = Arc::new(Mutex::new(Client::new(self.server)));
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for client in listener.incoming() {
                let (desk, order, client) = (self.clone(), Arc::clone(&order), client.unwrap());
                // Who leaves in the middle of something is a part of the suite.
                thread::spawn(move || drop(desk.serve(client, &order)));
            }
        });
        address
    }

    fn serve(&self, mut client: TcpStream, order: &Mutex<Client>) -> std::io::Result<()> {
        let (mut weir, mut server) =
            (TcpStream::connect(self.weir)?, TcpStream::connect(self.server)?);
        for stream in [&client, &weir, &server] {
            stream.set_nodelay(true)?;
        }
        let (mut answers, mut asker) = (weir.try_clone()?, client.try_clone()?);
        thread::spawn(move || {
            _ = std::io::copy(&mut answers, &mut asker);
            asker.shutdown(Shutdown::Both)
        });
        let (mut waiting, mut in_multi) = (Vec::new(), false);
        let mut part = vec![0; 1 << 16];
        loop {
            let read = client.read(&mut part)?;
            if read == 0 {
                return weir.shutdown(Shutdown::Both);
            }
            waiting.extend_from_slice(&part[..read]);
            while let Some((words, taken)) = command(&waiting) {
                let name = words.first().map(String::as_str).unwrap_or_default();
                // The suite counts on what it sends on two connections coming to the server in this
                // order, also where it does not wait for an answer.
                let mut probe = order.lock().unwrap();
                if !in_multi && is_of(&words, ADMINISTRATION) {
                    client.write_all(&asked(&mut server, &self.with_prefix(&words))?)?;
                } else {
                    // Where keys are looked at by the server's own words, it is in the same place.
                    if name.eq_ignore_ascii_case("SELECT") && !in_multi {
                        asked(&mut server, &resp::command(&words))?;
                    }
                    let waits = !in_multi && may_wait(&words);
                    let before = waits.then(|| (seen(&mut probe, name), blocked(&mut probe)));
                    weir.write_all(&waiting[..taken])?;
                    if let Some((before, least)) = before {
                        until_there(&mut probe, name, before.as_deref(), least);
                    }
                }
                let ends =
                    ["EXEC", "DISCARD", "RESET"].iter().any(|end| name.eq_ignore_ascii_case(end));
                in_multi = name.eq_ignore_ascii_case("MULTI") || (in_multi && !ends);
                waiting.drain(..taken);
            }
        }
    }

    fn with_prefix(&self, words: &[String]) -> Vec<u8> {
        let of_keys = words[0].eq_ignore_ascii_case("DEBUG") && is_of(&words[1..], OF_KEYS);
        let place = |(at, word): (usize, &String)| match at {
            2.. if of_keys => format!("{}{word}", self.prefix),
            _ => word.clone(),
        };
        resp::command(&words.iter().enumerate().map(place).collect::<Vec<_>>())
    }
}

/// Whether the command may wait for an element, or the suite does not wait for its answer.
fn may_wait(words: &[String]) -> bool {
    let name = words.first().map(|name| name.to_ascii_uppercase()).unwrap_or_default();
    ["BL", "BR", "BZ"].iter().any(|begin| name.starts_with(begin))
        || ["PUNSUBSCRIBE", "UNSUBSCRIBE", "WAIT"].contains(&&*name)
        || (name.starts_with("XREAD")
            && words.iter().any(|word| word.eq_ignore_ascii_case("BLOCK")))
}

/// Returns when the server has met the command once more, or lets somebody wait.
fn until_there(server: &mut Client, name: &str, before: Option<&str>, mut least: i64) {
    let since = Instant::now();
    while seen(server, name).as_deref() == before
        && blocked(server) <= least
        && since.elapsed() < BLOCKED_MAX
    {
        // One that waited before may be on its way out.
        least = least.min(blocked(server));
        thread::sleep(Duration::from_millis(1));
    }
}

/// What the server has counted of a command.
fn seen(server: &mut Client, name: &str) -> Option<String> {
    let name = format!("cmdstat_{}:", name.to_ascii_lowercase());
    info(server, "commandstats").lines().find(|line| line.starts_with(&name)).map(str::to_owned)
}

/// How many clients wait for something.
fn blocked(server: &mut Client) -> i64 {
    let info = info(server, "clients");
    let line = info.lines().find_map(|line| line.strip_prefix("blocked_clients:"));
    line.and_then(|count| count.parse().ok()).unwrap_or(0)
}

fn info(server: &mut Client, section: &str) -> String {
    let info = server.ask(&format!("INFO {section}"));
    String::from_utf8_lossy(info.text().unwrap_or_default()).into_owned()
}

fn is_of(words: &[String], list: &[&str]) -> bool {
    let begins = |listed: &str| {
        let mut words = words.iter();
        listed.split(' ').all(|one| words.next().is_some_and(|word| word.eq_ignore_ascii_case(one)))
    };
    list.iter().any(|listed| begins(listed))
}

/// Asks the server and waits for the one answer, as it came.
fn asked(server: &mut TcpStream, question: &[u8]) -> std::io::Result<Vec<u8>> {
    server.write_all(question)?;
    let (mut answer, mut part) = (Vec::new(), vec![0; 1 << 16]);
    while Value::parse(&answer).map_err(std::io::Error::other)?.is_none() {
        match server.read(&mut part)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => answer.extend_from_slice(&part[..read]),
        }
    }
    Ok(answer)
}

/// The words of the first command in `waiting`, as far as a desk must know them, and the bytes it
/// takes. What is no command is for Weir to say.
fn command(waiting: &[u8]) -> Option<(Vec<String>, usize)> {
    if waiting.is_empty() {
        return None;
    }
    let nonsense = || Some((Vec::new(), waiting.len()));
    let Ok(line) = resp::line(waiting, resp::LINE_MAX) else { return nonsense() };
    let (line, mut at) = line?;
    if !line.starts_with(b"*") {
        let words = String::from_utf8_lossy(line);
        return Some((words.split_whitespace().map(str::to_owned).collect(), at));
    }
    let Some(count) = resp::integer(&line[1..]).filter(|count| *count <= 1 << 20) else {
        return nonsense();
    };
    let mut words = Vec::new();
    for _ in 0..count {
        let Ok(line) = resp::line(&waiting[at..], resp::HEAD_MAX) else { return nonsense() };
        let (line, taken) = line?;
        let length = line.strip_prefix(b"$").and_then(resp::integer);
        let Some(length) = length.and_then(|length| usize::try_from(length).ok()) else {
            return nonsense();
        };
        at += taken + length + 2;
        // A word of another encoding is none that a desk must know.
        let word = waiting.get(at - length - 2..at - 2).filter(|_| at <= waiting.len())?;
        words.push(String::from_utf8_lossy(word).into_owned());
    }
    Some((words, at))
}
