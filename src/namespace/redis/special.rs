//! Commands that are seen to as a whole: options that hold keys, patterns, channels, the state of
//! the connection, and what concerns all keys.

use super::commands::{Command, Expiry, Rule, Special};
use super::databases::Databases;
use super::errand::{
    COUNT_SCRIPT, Errand, FLUSH_ALL_SCRIPT, FLUSH_SCRIPT, RANDOM_SCRIPT, flush_databases, script,
};
use super::jobs::Fetch;
use super::talk::{Credentials, Effect, Expired, Home, Pending, Talk};
use crate::namespace::Namespace;
use crate::namespace::edits::Edits;
use crate::namespace::resp::{self, integer};

/// Sends `arguments` on, changed; or says why not.
pub fn see_to(
    special: Special,
    arguments: &[&[u8]],
    command: &Command,
    talk: &mut Talk,
    out: &mut Edits,
) -> Result<(), &'static str> {
    if let Some(all) = all_keys(special, arguments, talk)? {
        all.begin(command.rule, talk, out);
        return Ok(());
    }
    if special == Special::Fetch {
        talk.fetch = talk.queues.as_ref().and_then(|queues| Fetch::of(arguments, queues));
        if talk.fetch.is_some() {
            return Ok(());
        }
    }
    let effect = effect(special, arguments, talk);
    let mut sent: Vec<Vec<u8>> = arguments.iter().map(|argument| argument.to_vec()).collect();
    change(special, &mut sent, talk);
    talk.wait_for(Pending { rule: command.rule, names_keys: command.names_keys, effect });
    out.make(&resp::command(&sent));
    Ok(())
}

/// What concerns all keys.
enum AllKeys {
    /// A script, and what is done instead outside of a transaction.
    Done(&'static str, fn(&Talk) -> (Errand, Vec<u8>)),
    /// The databases of the release are emptied.
    Databases(Databases),
    /// Something that the server is to call an error of syntax.
    Nonsense,
}

fn all_keys(
    special: Special,
    arguments: &[&[u8]],
    talk: &Talk,
) -> Result<Option<AllKeys>, &'static str> {
    if talk.purpose.watches() {
        return Ok(None);
    }
    let one = arguments.len() == 1;
    Ok(match special {
        // A database of one's own has no other keys.
        Special::Count | Special::Random | Special::Flush { all: false }
            if talk.databases.is_some() =>
        {
            None
        }
        Special::Count if one => {
            Some(AllKeys::Done(COUNT_SCRIPT, |talk| Errand::count(&talk.namespace)))
        }
        Special::Random if one => Some(AllKeys::Done(RANDOM_SCRIPT, |_| Errand::random())),
        Special::Flush { all } => {
            let known = |word: &&[u8]| {
                word.eq_ignore_ascii_case(b"ASYNC") || word.eq_ignore_ascii_case(b"SYNC")
            };
            // Words that mean something to a newer server are not passed to it.
            if arguments.len() > 2 || !arguments[1..].iter().all(known) {
                return Ok(Some(AllKeys::Nonsense));
            }
            Some(if let Some(databases) = talk.databases {
                AllKeys::Databases(databases)
            } else if all {
                AllKeys::Done(FLUSH_ALL_SCRIPT, |talk| Errand::flush(talk, true))
            } else {
                AllKeys::Done(FLUSH_SCRIPT, |talk| Errand::flush(talk, false))
            })
        }
        Special::Subscribe(_) | Special::Unsubscribe(_) if talk.asked_multi => {
            return Err(
                "ERR Weir refuses subscriptions inside a transaction: their confirmations \
                        cannot be told from its answers",
            );
        }
        Special::Auth
        | Special::Channels
        | Special::Copy
        | Special::Count
        | Special::Delete
        | Special::Discard
        | Special::Exec
        | Special::Expire(_)
        | Special::Fetch
        | Special::Geo(_)
        | Special::Glob
        | Special::Hello
        | Special::Move
        | Special::Multi
        | Special::Publish
        | Special::Random
        | Special::Reset
        | Special::Scan
        | Special::Select
        | Special::Sort
        | Special::Streams
        | Special::Subscribe(_)
        | Special::Subscribers
        | Special::Swap
        | Special::Tracking
        | Special::Unsubscribe(_)
        | Special::Unwatch
        | Special::Watch
        | Special::Web => None,
    })
}

impl AllKeys {
    fn begin(self, rule: Rule, talk: &mut Talk, out: &mut Edits) {
        let (inside, errand) = match self {
            Self::Done(inside, errand) => (inside, errand),
            Self::Databases(databases) => {
                talk.wait_for(Pending::new(Rule::Plain));
                return out.make(&flush_databases(databases));
            }
            Self::Nonsense => {
                talk.wait_for(Pending::new(Rule::Plain));
                return out.make(&resp::command(&["SCAN", "0", "nonsense"]));
            }
        };
        if talk.asked_multi {
            talk.wait_for(Pending::new(rule));
            out.make(&script(inside, &talk.namespace));
        } else {
            let (errand, first) = errand(talk);
            talk.errand = Some(errand);
            talk.wait_for(Pending::with(Effect::Errand));
            out.make(&first);
        }
    }
}

/// What the answer will change.
fn effect(special: Special, arguments: &[&[u8]], talk: &mut Talk) -> Effect {
    let owned = |arguments: &[&[u8]]| arguments.iter().map(|argument| argument.to_vec()).collect();
    match special {
        Special::Auth => Effect::Auth(Credentials(owned(&arguments[1..]))),
        Special::Delete if talk.purpose.tells() => {
            let shared = |key: &Vec<u8>| talk.namespace.shares(key);
            let mut keys: Vec<Vec<u8>> = owned(&arguments[1..]);
            keys.retain(|key| !shared(key));
            Effect::Deleted(keys)
        }
        Special::Expire(expiry) if talk.purpose.tells() => {
            expired(expiry, arguments, &talk.namespace).map_or(Effect::None, Effect::Expired)
        }
        Special::Discard => {
            talk.asked_multi = false;
            Effect::Discard
        }
        Special::Exec => {
            talk.asked_multi = false;
            Effect::Exec
        }
        Special::Hello => hello(arguments),
        Special::Multi => {
            talk.asked_multi |= arguments.len() == 1;
            Effect::Multi
        }
        Special::Reset => {
            talk.asked_multi = false;
            talk.home = if talk.databases.is_some() { Home::Away } else { Home::There };
            Effect::Reset
        }
        Special::Select => {
            let database = arguments.get(1).and_then(|text| integer(text));
            Effect::Select(database.and_then(|number| number.try_into().ok()).unwrap_or(0))
        }
        Special::Subscribe(feed) => Effect::Subscribe(feed, arguments.len() - 1),
        Special::Tracking => {
            let word = arguments.get(2);
            Effect::Track(word.is_some_and(|word| word.eq_ignore_ascii_case(b"ON")))
        }
        Special::Unwatch => Effect::Watch(false),
        Special::Watch => Effect::Watch(true),
        Special::Unsubscribe(feed) => {
            let named = arguments.len() - 1;
            Effect::Unsubscribe(feed, (named > 0).then_some(named))
        }
        Special::Channels
        | Special::Copy
        | Special::Count
        | Special::Delete
        | Special::Expire(_)
        | Special::Fetch
        | Special::Flush { .. }
        | Special::Geo(_)
        | Special::Glob
        | Special::Move
        | Special::Publish
        | Special::Random
        | Special::Scan
        | Special::Sort
        | Special::Streams
        | Special::Subscribers
        | Special::Swap
        | Special::Web => Effect::None,
    }
}

/// The key that is gone at once, or at a time that may be over. What the server refuses is neither.
fn expired(expiry: Expiry, arguments: &[&[u8]], namespace: &Namespace) -> Option<Expired> {
    let number = |at: usize| arguments.get(at).and_then(|text| integer(text));
    let seconds = |seconds: i64| seconds.saturating_mul(1000);
    let at = match expiry {
        Expiry::Span if number(2)? <= 0 => None,
        Expiry::Span => return None,
        Expiry::Seconds => Some(seconds(number(2)?)),
        Expiry::Millis => Some(number(2)?),
        Expiry::Option => {
            let is =
                |word: &str| arguments.get(2)?.eq_ignore_ascii_case(word.as_bytes()).then_some(());
            let at = number(3)?;
            Some(if is("EXAT").is_some() { seconds(at) } else { is("PXAT").map(|()| at)? })
        }
    };
    let key = arguments.get(1).filter(|key| !namespace.shares(key))?.to_vec();
    Some(Expired { key, at, conditional: expiry != Expiry::Option && arguments.len() > 3 })
}

/// Puts the prefix where it belongs, and numbers databases as the server does.
fn change(special: Special, sent: &mut Vec<Vec<u8>>, talk: &Talk) {
    let namespace = &talk.namespace;
    let key = |argument: &mut Vec<u8>| *argument = namespace.add(argument);
    // All keys, and channels by pattern, are the own ones.
    let pattern = |argument: &mut Vec<u8>| *argument = [namespace.prefix(), argument].concat();
    let channel = |argument: &mut Vec<u8>| add_to_channel(argument, namespace);
    let database = |argument: &mut Vec<u8>| {
        *argument = talk.databases.map_or_else(|| argument.clone(), |own| own.argument(argument));
    };
    match special {
        Special::Channels => match &mut sent[..] {
            [_, _] => sent.push([namespace.prefix(), b"*"].concat()),
            [_, _, text] => pattern(text),
            _ => {}
        },
        Special::Copy => {
            let arguments: Vec<&[u8]> = sent.iter().map(Vec::as_slice).collect();
            for at in values_of(&["DB"], &[], 3, &arguments) {
                database(&mut sent[at]);
            }
            sent.iter_mut().skip(1).take(2).for_each(key);
        }
        Special::Move => {
            sent.iter_mut().skip(1).take(1).for_each(key);
            sent.iter_mut().skip(2).for_each(database);
        }
        Special::Select | Special::Swap => sent.iter_mut().skip(1).for_each(database),
        Special::Delete | Special::Watch => sent[1..].iter_mut().for_each(key),
        Special::Expire(_) => sent.iter_mut().skip(1).take(1).for_each(key),
        Special::Geo(options) => {
            let arguments: Vec<&[u8]> = sent.iter().map(Vec::as_slice).collect();
            let stores = values_of(&["STORE", "STOREDIST"], &["COUNT"], options, &arguments);
            for at in stores {
                key(&mut sent[at]);
            }
            sent.iter_mut().skip(1).take(1).for_each(key);
        }
        Special::Glob => {
            if let [_, text] = &mut sent[..] {
                pattern(text);
            }
        }
        Special::Publish => sent.iter_mut().skip(1).take(1).for_each(channel),
        Special::Scan => scan(sent, namespace),
        Special::Sort => sort(sent, namespace),
        Special::Streams => {
            let arguments: Vec<&[u8]> = sent.iter().map(Vec::as_slice).collect();
            let first = streams(&arguments).unwrap_or(sent.len());
            let count = (sent.len() - first) / 2;
            sent[first..first + count].iter_mut().for_each(key);
        }
        Special::Subscribe(_) | Special::Unsubscribe(_) => {
            sent[1..].iter_mut().for_each(channel);
        }
        Special::Subscribers => sent.iter_mut().skip(2).for_each(channel),
        Special::Tracking => track(sent, namespace),
        Special::Auth
        | Special::Count
        | Special::Discard
        | Special::Exec
        | Special::Fetch
        | Special::Flush { .. }
        | Special::Hello
        | Special::Multi
        | Special::Random
        | Special::Reset
        | Special::Unwatch
        | Special::Web => {}
    }
}

/// Where in a channel, or in a pattern of channels, the prefix stands. None: Redis made it.
pub fn place_in_channel(channel: &[u8]) -> Option<usize> {
    if channel.starts_with(b"__keyspace@") {
        return memchr::memmem::find(channel, b"__:").map(|at| at + 3);
    }
    // Events: the key is the message. A pattern of both: nothing to add, foreign ones are dropped.
    if channel.starts_with(b"__key") || channel.starts_with(b"__redis__:") {
        return None;
    }
    Some(0)
}

fn add_to_channel(channel: &mut Vec<u8>, namespace: &Namespace) {
    if let Some(place) = place_in_channel(channel) {
        let prefix = namespace.before(&channel[place..]).to_vec();
        channel.splice(place..place, prefix);
    }
}

/// The places of values: each after one of `words`, from `first` on. What stands after one of
/// `others` is not looked at.
fn values_of(words: &[&str], others: &[&str], first: usize, arguments: &[&[u8]]) -> Vec<usize> {
    let is = |at: usize, words: &[&str]| {
        words.iter().any(|word| arguments[at].eq_ignore_ascii_case(word.as_bytes()))
    };
    let (mut at, mut found) = (first, Vec::new());
    while at < arguments.len() {
        if is(at, words) {
            found.extend((at + 1 < arguments.len()).then_some(at + 1));
            at += 1;
        } else if is(at, others) {
            at += 1;
        }
        at += 1;
    }
    found
}

/// `SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]`: of several patterns the last counts.
fn scan(sent: &mut Vec<Vec<u8>>, namespace: &Namespace) {
    if sent.len() < 2 {
        return;
    }
    let arguments: Vec<&[u8]> = sent.iter().map(Vec::as_slice).collect();
    let patterns = values_of(&["MATCH"], &["COUNT", "TYPE"], 2, &arguments);
    for at in &patterns {
        sent[*at] = [namespace.prefix(), &sent[*at]].concat();
    }
    if patterns.is_empty() {
        sent.extend([b"MATCH".to_vec(), [namespace.prefix(), b"*"].concat()]);
    }
}

/// `SORT key [BY pattern] [LIMIT offset count] [GET pattern ...] [STORE key]`: a pattern without a
/// star names no key.
fn sort(sent: &mut [Vec<u8>], namespace: &Namespace) {
    sent.iter_mut().skip(1).take(1).for_each(|key| *key = namespace.add(key));
    let mut at = 2;
    while at < sent.len() {
        let word = sent[at].to_ascii_uppercase();
        let Some(value) = sent.get_mut(at + 1) else { return };
        match &*word {
            b"BY" | b"GET" if value.contains(&b'*') => *value = namespace.add(value),
            b"STORE" => *value = namespace.add(value),
            b"BY" | b"GET" => {}
            b"LIMIT" => at += 1,
            _ => at -= 1,
        }
        at += 2;
    }
}

/// Where the keys of `XREAD` and `XREADGROUP` begin: behind the word that no value stands for.
fn streams(arguments: &[&[u8]]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += match &*arguments.get(at)?.to_ascii_uppercase() {
            b"BLOCK" | b"COUNT" => 2,
            b"GROUP" => 3,
            b"STREAMS" => return Some(at + 1),
            _ => 1,
        };
    }
}

/// `CLIENT TRACKING ON [REDIRECT id] [PREFIX prefix ...] [BCAST] ...`
fn track(sent: &mut Vec<Vec<u8>>, namespace: &Namespace) {
    let arguments: Vec<&[u8]> = sent.iter().map(Vec::as_slice).collect();
    let prefixes = values_of(&["PREFIX"], &["REDIRECT"], 3, &arguments);
    let on = arguments.get(2).is_some_and(|word| word.eq_ignore_ascii_case(b"ON"));
    let broadcasts = arguments.iter().skip(3).any(|word| word.eq_ignore_ascii_case(b"BCAST"));
    for at in &prefixes {
        sent[*at] = namespace.add(&sent[*at]);
    }
    if on && broadcasts && prefixes.is_empty() {
        sent.extend([b"PREFIX".to_vec(), namespace.prefix().to_vec()]);
    }
}

/// `HELLO [version [AUTH user password] [SETNAME name]]`
fn hello(arguments: &[&[u8]]) -> Effect {
    let version = arguments.get(1).and_then(|text| integer(text));
    let auth = (2..arguments.len()).find(|at| arguments[*at].eq_ignore_ascii_case(b"AUTH"));
    let credentials = auth
        .and_then(|at| arguments.get(at + 1..at + 3))
        .map(|who| Credentials(who.iter().map(|text| text.to_vec()).collect()));
    Effect::Hello(version.and_then(|version| version.try_into().ok()), credentials)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace() -> Namespace {
        "n".parse().unwrap()
    }

    fn changed(change: impl Fn(&mut Vec<Vec<u8>>), line: &str) -> String {
        let mut sent: Vec<Vec<u8>> = line.split(' ').map(Into::into).collect();
        change(&mut sent);
        String::from_utf8(sent.join(&b' ')).unwrap()
    }

    #[test]
    fn options_that_look_like_others_do_not_deceive() {
        let sorted = |line| changed(|sent| sort(sent, &namespace()), line);
        assert_eq!(
            sorted("SORT k BY w_* GET # GET o_* STORE d"),
            "SORT n:k BY n:w_* GET # GET n:o_* STORE n:d"
        );
        assert_eq!(sorted("SORT k GET store STORE dst"), "SORT n:k GET store STORE n:dst");
        assert_eq!(
            sorted("SORT k LIMIT by get ALPHA DESC BY a*"),
            "SORT n:k LIMIT by get ALPHA DESC BY n:a*"
        );
        assert_eq!(sorted("SORT k STORE"), "SORT n:k STORE");
        let at = |line: &str| streams(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
        assert_eq!(at("XREADGROUP GROUP streams streams STREAMS a >"), Some(5));
        assert_eq!(at("XREADGROUP COUNT 5 GROUP streams c STREAMS a >"), Some(7));
        assert_eq!(at("XREAD BLOCK 0"), None);
        let scanned = |line| changed(|sent| scan(sent, &namespace()), line);
        assert_eq!(
            scanned("SCAN 0 COUNT match MATCH a MATCH b"),
            "SCAN 0 COUNT match MATCH n:a MATCH n:b"
        );
        assert_eq!(scanned("SCAN 0 TYPE match"), "SCAN 0 TYPE match MATCH n:*");
        let words: Vec<&[u8]> =
            vec![b"GEORADIUS", b"k", b"1", b"2", b"3", b"m", b"STORE", b"store", b"STORE", b"x"];
        assert_eq!(values_of(&["STORE"], &["COUNT"], 6, &words), [7, 9]);
        let tracked = |line| changed(|sent| track(sent, &namespace()), line);
        assert_eq!(tracked("CLIENT TRACKING ON BCAST"), "CLIENT TRACKING ON BCAST PREFIX n:");
        assert_eq!(
            tracked("CLIENT TRACKING ON BCAST PREFIX a"),
            "CLIENT TRACKING ON BCAST PREFIX n:a"
        );
        assert_eq!(tracked("CLIENT TRACKING off"), "CLIENT TRACKING off");
    }

    #[test]
    fn channels_of_keys_carry_the_prefix_before_the_key() {
        let added = |channel: &str| {
            let mut channel = channel.into();
            add_to_channel(&mut channel, &namespace());
            String::from_utf8(channel).unwrap()
        };
        assert_eq!(added("news"), "n:news");
        assert_eq!(added("__keyspace@0__:foo*"), "__keyspace@0__:n:foo*");
        assert_eq!(added("__keyevent@0__:del"), "__keyevent@0__:del");
        assert_eq!(added("__key*__:*"), "__key*__:*");
        assert_eq!(added("__redis__:invalidate"), "__redis__:invalidate");
    }
}
