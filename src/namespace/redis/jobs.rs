//! What workers do, told from what they say to their Redis: Sidekiq's counters and sets, the results
//! of Celery, and what is fetched from queues.

use std::time::Duration;

use crate::namespace::sharing::Sharing;

/// Arguments of a command that are looked at, with its name.
pub const LOOKED_AT_MAX: usize = 5;

/// Bytes of each that are looked at: names of queues and counters, the beginning of a result.
pub const LOOKED_AT_BYTES_MAX: usize = 256;

/// What stands between the name of a queue and a priority, where Celery keeps its jobs.
const PRIORITY: &[u8] = b"\x06\x16";

/// Names of commands by which a job is fetched.
const FETCHES: [&[u8]; 8] =
    [b"blmove", b"blpop", b"brpop", b"brpoplpush", b"lmove", b"lpop", b"rpop", b"rpoplpush"];

/// What workers have done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Jobs {
    /// Attempts that are over.
    pub processed: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// Jobs that are to be tried again.
    pub retried: u64,
    /// Jobs that were given up.
    pub dead: u64,
}

impl Jobs {
    /// Adds what was done besides.
    pub const fn add(&mut self, more: Self) {
        self.processed = self.processed.saturating_add(more.processed);
        self.failed = self.failed.saturating_add(more.failed);
        self.retried = self.retried.saturating_add(more.retried);
        self.dead = self.dead.saturating_add(more.dead);
    }
}

/// What a command says of jobs, if its answer is no error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// This was done.
    Done(Jobs),
    /// Jobs are fetched, if the answer is not empty.
    Fetch {
        /// From this queue; `(several)`: from one of several.
        queue: Box<[u8]>,
        /// Whether the answer is a list of jobs; else it is one job, with or without its queue.
        listed: bool,
    },
}

/// Fetches that were answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// All of them, also with nothing.
    pub answers: u64,
    /// How many jobs came from which queue.
    pub jobs: Vec<(Box<[u8]>, u64)>,
}

impl Fetched {
    /// Takes in an answer that begins with `line`, a list of jobs or one job.
    pub fn arrived(&mut self, queue: Box<[u8]>, listed: bool, line: &[u8]) {
        self.answers += 1;
        let length = |line: &[u8]| std::str::from_utf8(line.strip_prefix(b"*")?).ok()?.parse().ok();
        let jobs = match line {
            b"*-1" | b"$-1" | b"_" | b"*0" => 0,
            list if listed => length(list).unwrap_or(1),
            _ => 1,
        };
        if jobs > 0 {
            self.jobs.push((queue, jobs));
        }
    }

    /// How many jobs there were.
    pub fn total(&self) -> u64 {
        self.jobs.iter().map(|(_, jobs)| jobs).sum()
    }
}

/// Whether jobs may be fetched by the command `name`, in lower case.
pub fn is_fetch(name: &[u8]) -> bool {
    FETCHES.contains(&name)
}

/// What a command of `count` words says, of which these `words` were looked at; the first is its name,
/// in lower case.
pub fn work(words: &[Vec<u8>], count: usize, queues: &Sharing) -> Option<Work> {
    let word = |at: usize| words.get(at).map(Vec::as_slice);
    let name = word(0)?;
    if is_fetch(name) {
        return fetch(words, count, queues);
    }
    let key = word(1)?;
    let number = |at: usize| std::str::from_utf8(word(at)?).ok()?.parse::<u64>().ok();
    let jobs = match name {
        b"incr" => counted(key, 1)?,
        b"incrby" => counted(key, number(2)?)?,
        b"zadd" if is(key, b"retry") => Jobs { retried: 1, ..Jobs::default() },
        b"zadd" if is(key, b"dead") => Jobs { dead: 1, ..Jobs::default() },
        b"set" if is_result(key) => result(word(2)?)?,
        b"setex" | b"psetex" if is_result(key) => result(word(3)?)?,
        _ => return None,
    };
    Some(Work::Done(jobs))
}

/// Whether `key` is the one that Sidekiq calls `name`, in whatever namespace of the app.
fn is(key: &[u8], name: &[u8]) -> bool {
    key.strip_suffix(name).is_some_and(|before| before.is_empty() || before.ends_with(b":"))
}

/// Those of a day are the same once more.
fn counted(key: &[u8], more: u64) -> Option<Jobs> {
    if is(key, b"stat:processed") {
        Some(Jobs { processed: more, ..Jobs::default() })
    } else {
        is(key, b"stat:failed").then(|| Jobs { failed: more, ..Jobs::default() })
    }
}

/// Whether Celery keeps a result there.
fn is_result(key: &[u8]) -> bool {
    memchr::memmem::find(key, b"celery-task-meta-").is_some()
}

/// A result of Celery in JSON, as far as it begins with its status.
fn result(value: &[u8]) -> Option<Jobs> {
    let at = memchr::memmem::find(value, b"\"status\":")? + b"\"status\":".len();
    let status = value.get(at..)?.trim_ascii_start().strip_prefix(b"\"")?;
    let status = status.split(|byte| *byte == b'"').next()?;
    match status {
        b"SUCCESS" => Some(Jobs { processed: 1, ..Jobs::default() }),
        b"FAILURE" => Some(Jobs { processed: 1, failed: 1, ..Jobs::default() }),
        b"RETRY" => Some(Jobs { processed: 1, failed: 1, retried: 1, ..Jobs::default() }),
        _ => None,
    }
}

/// Queues are the words behind the name, but for the last where the command waits.
fn fetch(words: &[Vec<u8>], count: usize, queues: &Sharing) -> Option<Work> {
    let pops = matches!(&*words[0], b"blpop" | b"brpop");
    let most = if pops { count.saturating_sub(1) } else { 2 };
    let keys = words.get(1..most.min(words.len()))?;
    if !keys.iter().any(|key| queues.shares(key)) {
        return None;
    }
    let mut names = keys.iter().map(|key| queue(key));
    let one = names.next().filter(|one| keys.len() + 1 == most && names.all(|name| name == *one));
    // With a number the answer of these is a list of so many jobs, or fewer.
    let listed = count > 2 && matches!(&*words[0], b"lpop" | b"rpop");
    Some(Work::Fetch { queue: one.unwrap_or(b"(several)").into(), listed })
}

/// The queue that is kept in `key`: Celery has a list for each priority of a queue.
fn queue(key: &[u8]) -> &[u8] {
    memchr::memmem::find(key, PRIORITY).and_then(|at| key.get(..at)).unwrap_or(key)
}

/// A fetch that may have to wait.
#[derive(Clone, Debug, PartialEq)]
pub struct Fetch {
    /// The command.
    pub words: Vec<Vec<u8>>,
    /// What it says.
    pub work: Work,
    /// How long it would wait for a job; none: until there is one.
    pub waits: Option<Duration>,
}

impl Fetch {
    /// The command `words`, if it fetches from one of `queues`.
    pub fn of(words: &[&[u8]], queues: &Sharing) -> Option<Self> {
        let mut looked: Vec<Vec<u8>> = words.iter().map(|word| word.to_vec()).collect();
        looked.first_mut()?.make_ascii_lowercase();
        let work = work(&looked, words.len(), queues)?;
        if !matches!(work, Work::Fetch { .. }) {
            return None;
        }
        let waits = if looked[0].starts_with(b"b") {
            let text = std::str::from_utf8(looked.last()?).ok()?;
            let seconds: f64 = text.parse().ok()?;
            // What is no time the server refuses itself.
            let time = Duration::try_from_secs_f64(seconds).ok()?;
            (!time.is_zero()).then_some(time)
        } else {
            Some(Duration::ZERO)
        };
        let words = words.iter().map(|word| word.to_vec()).collect();
        Some(Self { words, work, waits })
    }

    /// What Redis says when there was no job, in this version of the protocol.
    pub fn nothing(&self, protocol: u8) -> &'static [u8] {
        let name = self.words[0].to_ascii_lowercase();
        let is_list = name.starts_with(b"b") || self.words.len() > 2 && name.ends_with(b"pop");
        match protocol {
            3 => b"_\r\n",
            _ if is_list => b"*-1\r\n",
            _ => b"$-1\r\n",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues() -> Sharing {
        Sharing::new(&[], &["queue:*".into(), "celery".into()])
    }

    fn said(line: &str) -> Option<Work> {
        let words: Vec<Vec<u8>> = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        work(&words, words.len(), &queues())
    }

    #[test]
    fn what_sidekiq_and_celery_say_of_jobs_is_understood() {
        let done = |processed, failed, retried, dead| {
            Some(Work::Done(Jobs { processed, failed, retried, dead }))
        };
        assert_eq!(said("incrby stat:processed 7"), done(7, 0, 0, 0));
        assert_eq!(said("incrby app:stat:failed 2"), done(0, 2, 0, 0));
        assert_eq!(said("incr stat:processed"), done(1, 0, 0, 0));
        assert_eq!(said("zadd retry 1.5 {}"), done(0, 0, 1, 0));
        assert_eq!(said("zadd dead 1.5 {}"), done(0, 0, 0, 1));
        let result = |status: &str| {
            said(&format!("setex celery-task-meta-7 60 {{\"status\":\"{status}\"}}"))
        };
        assert_eq!(result("SUCCESS"), done(1, 0, 0, 0));
        assert_eq!(result("FAILURE"), done(1, 1, 0, 0));
        assert_eq!(result("RETRY"), done(1, 1, 1, 0));
        assert_eq!(result("STARTED"), None);
        for other in [
            "incrby stat:processed:2026-11-29 7",
            "incrby mystat:processed 7",
            "incrby stat:processed -1",
            "zadd schedule 1 {}",
            "set page {\"status\":\"SUCCESS\"}",
            "incr",
            "get retry",
        ] {
            assert_eq!(said(other), None, "{other}");
        }
    }

    #[test]
    fn fetches_are_those_from_queues() {
        let from = |queue: &[u8]| Some(Work::Fetch { queue: queue.into(), listed: false });
        assert_eq!(said("brpop queue:mail 2"), from(b"queue:mail"));
        assert_eq!(said("brpop other celery 1"), from(b"(several)"));
        assert_eq!(said("lmove queue:a mine LEFT RIGHT"), from(b"queue:a"));
        assert_eq!(said("rpop queue:a"), from(b"queue:a"));
        // As Celery fetches, from each priority of a queue.
        assert_eq!(said("brpop celery celery\x06\x163 celery\x06\x166 1"), from(b"celery"));
        assert_eq!(said("brpop celery mail celery\x06\x163 mail\x06\x163 1"), from(b"(several)"));
        let many: Vec<Vec<u8>> = ["brpop", "celery", "celery\x06\x163"].map(Vec::from).into();
        assert_eq!(work(&many, 7, &queues()), from(b"(several)"), "the rest was not looked at");
        let listed = Some(Work::Fetch { queue: (*b"queue:a").into(), listed: true });
        assert_eq!(said("lpop queue:a 5"), listed);
        for other in
            ["rpop host:1-signals", "lmove mine queue:a LEFT RIGHT", "brpop queue:a", "rpop"]
        {
            assert_eq!(said(other), None, "{other}");
        }
    }

    #[test]
    fn a_list_of_jobs_is_as_many_as_it_is_long_and_a_pair_is_one() {
        let brought = |listed: bool, line: &[u8]| {
            let mut fetched = Fetched::default();
            fetched.arrived((*b"queue:a").into(), listed, line);
            assert_eq!(fetched.answers, 1);
            fetched.total()
        };
        assert_eq!(
            (brought(true, b"*3"), brought(false, b"*2"), brought(false, b"$12")),
            (3, 1, 1)
        );
        for nothing in [&b"*0"[..], b"*-1", b"$-1", b"_"] {
            assert_eq!((brought(true, nothing), brought(false, nothing)), (0, 0));
        }
    }

    #[test]
    fn a_fetch_waits_as_long_as_it_says_and_is_told_nothing_as_redis_says_it() {
        let fetch = |line: &str| {
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            Fetch::of(&words, &queues())
        };
        let waits = |line: &str| fetch(line).map(|fetch| fetch.waits);
        assert_eq!(waits("BRPOP queue:a 2"), Some(Some(Duration::from_secs(2))));
        assert_eq!(waits("BLMOVE queue:a b LEFT LEFT 0.5"), Some(Some(Duration::from_millis(500))));
        assert_eq!(waits("brpop queue:a 0"), Some(None));
        assert_eq!(waits("rpop queue:a"), Some(Some(Duration::ZERO)));
        for line in
            ["brpop queue:a never", "brpop queue:a -1", "brpop queue:a nan", "get queue:a", ""]
        {
            assert_eq!(waits(line), None, "{line}");
        }
        let nothing = |line: &str, protocol| fetch(line).unwrap().nothing(protocol);
        assert_eq!(nothing("BRPOP queue:a 2", 2), b"*-1\r\n");
        assert_eq!(nothing("RPOP queue:a", 2), b"$-1\r\n");
        assert_eq!(nothing("RPOP queue:a 3", 2), b"*-1\r\n");
        assert_eq!(nothing("RPOPLPUSH queue:a b", 2), b"$-1\r\n");
        assert_eq!(nothing("RPOP queue:a", 3), b"_\r\n");
    }
}
