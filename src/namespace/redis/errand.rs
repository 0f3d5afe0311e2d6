//! What Weir does for a client by commands of its own, on the client's connection: the client's
//! next request waits, so order, database and rights are the client's.

use super::commands::{Command, learned};
use super::databases::Databases;
use super::talk::{Home, Talk};
use crate::namespace::Namespace;
use crate::namespace::resp::{self, Value};

/// Keys looked at in one go: a server of a million keys is then busy for two milliseconds at most.
const PAGE: &str = "1000";

/// Tries to meet a key of one's own by chance, before all are looked through.
const TRIES_MAX: u32 = 16;

/// What Weir is about.
#[derive(Debug)]
pub enum Errand {
    /// Counts the keys.
    Count(u64),
    /// Deletes all keys.
    Flush(Flush),
    /// Goes to the release's first database.
    Home,
    /// Asks what the server knows of this command.
    Learn(Vec<u8>),
    /// Finds some key, with so many tries by chance left.
    Random(u32),
}

/// How far a deletion of all keys has come.
#[derive(Debug)]
pub struct Flush {
    /// Databases that still have to be seen to.
    others: Vec<u32>,
    /// The database that the client is in; there where others are seen to.
    home: Option<u32>,
    /// Where to go on when the last keys are gone.
    cursor: Vec<u8>,
    /// What the last command was.
    asked: Asked,
    /// What the client is told instead of OK, once it is home.
    failure: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug)]
enum Asked {
    Databases,
    Select,
    Page,
    Deletion,
    Home,
}

/// What comes next.
#[derive(Debug, PartialEq)]
pub enum Next {
    /// The server is asked this.
    Ask(Vec<u8>),
    /// The client is told this.
    Tell(Vec<u8>),
    /// The connection is in a database of its release, or is not let there.
    Arrived(Home),
    /// The server has said what it knows of the command.
    Learned(Vec<u8>, Option<Command>),
    /// The server will not say.
    Unlearned,
}

impl Errand {
    /// Begins to count.
    pub fn count(namespace: &Namespace) -> (Self, Vec<u8>) {
        (Self::Count(0), page(b"0", namespace))
    }

    /// Begins to look for some key.
    pub fn random() -> (Self, Vec<u8>) {
        (Self::Random(TRIES_MAX), resp::command(&["RANDOMKEY"]))
    }

    /// Begins to go to the release's first database.
    pub fn home(talk: &Talk) -> (Self, Vec<u8>) {
        let first = talk.databases.map_or(0, Databases::first);
        (Self::Home, resp::command(&["SELECT", &first.to_string()]))
    }

    /// Begins to ask for a command.
    pub fn learn(name: &[u8]) -> (Self, Vec<u8>) {
        (Self::Learn(name.to_vec()), resp::command(&[b"COMMAND", &b"INFO"[..], name]))
    }

    /// Begins to delete all keys of the database the client is in, or of all.
    pub fn flush(talk: &Talk, all: bool) -> (Self, Vec<u8>) {
        let home = all.then_some(talk.database);
        let asked = if all { Asked::Databases } else { Asked::Page };
        let (cursor, failure) = (b"0".to_vec(), None);
        let flush = Flush { others: Vec::new(), home, cursor, asked, failure };
        let first =
            if all { resp::command(&["INFO", "keyspace"]) } else { page(b"0", &talk.namespace) };
        (Self::Flush(flush), first)
    }

    /// Takes in what the server said to the last question.
    pub fn step(&mut self, answer: &Value, talk: &Talk) -> Next {
        if let Self::Learn(name) = self {
            return match answer.list() {
                Some([told]) => Next::Learned(std::mem::take(name), learned(told)),
                Some(_) | None => Next::Unlearned,
            };
        }
        if matches!(self, Self::Home) {
            return Next::Arrived(match answer {
                Value::Error(text) => Home::Barred(String::from_utf8_lossy(text).into()),
                Value::Line(..) | Value::Bulk(_) | Value::List(_) | Value::Null => Home::There,
            });
        }
        if let Value::Error(text) = answer {
            return self.failed([b"-", &text[..], b"\r\n"].concat());
        }
        let next = match self {
            Self::Count(count) => counted(count, answer, talk),
            Self::Flush(flush) => flush.step(answer, talk),
            Self::Random(tries) => found(tries, answer, talk),
            Self::Home | Self::Learn(_) => None,
        };
        next.unwrap_or_else(|| self.failed(b"-ERR the server gave no answer to SCAN\r\n".to_vec()))
    }

    /// It ends with `failure`.
    fn failed(&mut self, failure: Vec<u8>) -> Next {
        match self {
            Self::Flush(flush) => flush.failed(failure),
            Self::Count(_) | Self::Home | Self::Learn(_) | Self::Random(_) => Next::Tell(failure),
        }
    }
}

fn counted(count: &mut u64, answer: &Value, talk: &Talk) -> Option<Next> {
    let (cursor, keys) = paged(answer)?;
    *count += keys.len() as u64;
    Some(match cursor {
        b"0" => Next::Tell(format!(":{count}\r\n").into_bytes()),
        cursor => Next::Ask(page(cursor, &talk.namespace)),
    })
}

/// The answer is a key of anybody, or, when the tries are used up, a page of one's own.
fn found(tries: &mut u32, answer: &Value, talk: &Talk) -> Option<Next> {
    let told = |key: &[u8]| {
        let mut told = Vec::new();
        resp::bulk(key, &mut told);
        Next::Tell(told)
    };
    let nothing = || {
        let null = if talk.protocol == 3 { "_\r\n" } else { "$-1\r\n" };
        Next::Tell(null.into())
    };
    Some(match answer {
        Value::Null => nothing(),
        Value::List(_) => match paged(answer)? {
            (_, [key, ..]) => told(talk.namespace.strip(key.text()?)?),
            (b"0", []) => nothing(),
            (cursor, []) => Next::Ask(page(cursor, &talk.namespace)),
        },
        Value::Bulk(_) | Value::Line(..) | Value::Error(_) => {
            match talk.namespace.strip(answer.text()?) {
                Some(key) => told(key),
                None if *tries > 0 => {
                    *tries -= 1;
                    Next::Ask(resp::command(&["RANDOMKEY"]))
                }
                None => Next::Ask(page(b"0", &talk.namespace)),
            }
        }
    })
}

impl Flush {
    fn step(&mut self, answer: &Value, talk: &Talk) -> Option<Next> {
        match self.asked {
            Asked::Databases => {
                self.others = databases(answer.text()?);
                Some(self.another())
            }
            Asked::Select | Asked::Deletion => {
                self.asked = Asked::Page;
                match (&*self.cursor, answer) {
                    // The last page of this database is deleted.
                    (b"0", Value::Line(b':', _)) => Some(self.another()),
                    (cursor, _) => Some(Next::Ask(page(cursor, &talk.namespace))),
                }
            }
            Asked::Page => {
                let (cursor, keys) = paged(answer)?;
                self.cursor = cursor.to_vec();
                if keys.is_empty() {
                    return Some(match cursor {
                        b"0" => self.another(),
                        cursor => Next::Ask(page(cursor, &talk.namespace)),
                    });
                }
                self.asked = Asked::Deletion;
                let keys = keys.iter().filter_map(Value::text);
                let deletion: Vec<&[u8]> = std::iter::once(&b"UNLINK"[..]).chain(keys).collect();
                Some(Next::Ask(resp::command(&deletion)))
            }
            Asked::Home => {
                Some(Next::Tell(self.failure.take().unwrap_or_else(|| b"+OK\r\n".to_vec())))
            }
        }
    }

    /// Goes home, where it has left, before the client is told.
    fn failed(&mut self, failure: Vec<u8>) -> Next {
        match (self.asked, self.home) {
            (Asked::Select | Asked::Page | Asked::Deletion, Some(home)) => {
                (self.asked, self.failure) = (Asked::Home, Some(failure));
                Next::Ask(resp::command(&["SELECT", &home.to_string()]))
            }
            (Asked::Databases | Asked::Home, Some(_)) | (_, None) => {
                Next::Tell(self.failure.take().unwrap_or(failure))
            }
        }
    }

    /// Goes on to another database, or home.
    fn another(&mut self) -> Next {
        let Some(home) = self.home else { return Next::Tell(b"+OK\r\n".to_vec()) };
        self.cursor = b"0".to_vec();
        let next = self.others.pop();
        self.asked = if next.is_some() { Asked::Select } else { Asked::Home };
        Next::Ask(resp::command(&["SELECT", &next.unwrap_or(home).to_string()]))
    }
}

/// The databases in `INFO keyspace`: `db0:keys=1,...`.
fn databases(info: &[u8]) -> Vec<u32> {
    let lines = String::from_utf8_lossy(info);
    let number = |line: &str| line.strip_prefix("db")?.split(':').next()?.parse().ok();
    lines.lines().filter_map(number).collect()
}

fn page(cursor: &[u8], namespace: &Namespace) -> Vec<u8> {
    let pattern = [namespace.prefix(), b"*"].concat();
    resp::command(&[b"SCAN", cursor, b"MATCH", &pattern, b"COUNT", PAGE.as_bytes()])
}

fn paged(answer: &Value) -> Option<(&[u8], &[Value])> {
    match answer.list()? {
        [cursor, keys] => Some((cursor.text()?, keys.list()?)),
        _ => None,
    }
}

/// The same inside a transaction, where nothing can be asked in between: a script, which holds up
/// the server as long as it takes.
pub fn script(errand: &str, namespace: &Namespace) -> Vec<u8> {
    let script = format!("{EVERY_KEY}{errand}");
    resp::command(&[b"EVAL", script.as_bytes(), b"0", namespace.prefix()])
}

/// Before 5.0 a script had to ask for leave to write after it had looked around.
const EVERY_KEY: &str = "if redis.replicate_commands then redis.replicate_commands() end
local function every(with)
  local cursor = '0'
  repeat
    local page = redis.call('SCAN', cursor, 'MATCH', ARGV[1] .. '*', 'COUNT', '1000')
    cursor = page[1]
    for _, key in ipairs(page[2]) do with(key) end
  until cursor == '0'
end
";

/// Counts.
pub const COUNT_SCRIPT: &str = "local seen = {} local count = 0
every(function(key) if not seen[key] then seen[key] = true count = count + 1 end end)
return count";

/// Finds some key.
pub const RANDOM_SCRIPT: &str = "local found = false
every(function(key) found = key end)
return found";

/// Deletes all keys of the database.
pub const FLUSH_SCRIPT: &str = "every(function(key) redis.call('UNLINK', key) end)
return redis.status_reply('OK')";

/// Deletes all keys of all databases.
pub const FLUSH_ALL_SCRIPT: &str =
    "for database in redis.call('INFO', 'keyspace'):gmatch('db(%d+):') do
  redis.call('SELECT', database)
  every(function(key) redis.call('UNLINK', key) end)
end
return redis.status_reply('OK')";

/// Empties the databases of one release, which are its own.
pub fn flush_databases(databases: Databases) -> Vec<u8> {
    let [first, last] = [databases.first(), databases.last()].map(|number| number.to_string());
    resp::command(&["EVAL", FLUSH_DATABASES_SCRIPT, "0", &first, &last])
}

const FLUSH_DATABASES_SCRIPT: &str = "for database = ARGV[1], ARGV[2] do
  redis.call('SELECT', database)
  redis.call('FLUSHDB')
end
return redis.status_reply('OK')";
