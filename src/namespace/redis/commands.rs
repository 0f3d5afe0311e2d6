//! What becomes of each command: where its keys are, where its answer has keys, what is refused.
//!
//! Everything of Redis 7.0 is listed, and a test compares the list with a real server. What a newer
//! server knows beyond it is asked from that server, once.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::places::{SPECS_MAX, Spec};
use super::quick::Names;
use crate::namespace::resp::Value;

/// Longest name of a command that is looked up.
pub const NAME_MAX: usize = 64;

/// What becomes of a command.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// On its way to the server.
    pub request: Request,
    /// Where its answer has keys.
    pub rule: Rule,
    /// Whether its errors may name a key.
    pub names_keys: bool,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// It has no keys.
    Pass,
    /// It has keys there, and its values are not held up.
    Keys(Cow<'static, [Spec]>),
    /// A script: keys as above, and one without any is remarked.
    Script(Cow<'static, [Spec]>),
    /// The word after the name belongs to it.
    Container,
    /// It is read whole, and seen to.
    Special(Special),
    /// It would reach beyond the namespace.
    Refuse,
}

/// What must be read whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// `auth`: what was said lets Weir in, too.
    Auth,
    /// `client tracking`: the prefixes.
    Tracking,
    /// `unwatch`.
    Unwatch,
    /// `watch`: keys whose name is held until the transaction ends.
    Watch,
    /// `dbsize`.
    Count,
    /// `del`, `unlink`, `getdel`: also for the other namespaces.
    Delete,
    /// `discard`.
    Discard,
    /// `exec`.
    Exec,
    /// `copy`: two keys, and a database.
    Copy,
    /// `expire` and its like, `getex`: what is over at once is deleted.
    Expire(Expiry),
    /// What takes something out of a list, where it may have to wait.
    Fetch,
    /// `flushdb`, `flushall`.
    Flush {
        /// Of every database.
        all: bool,
    },
    /// `georadius`, `georadiusbymember`: options from there on.
    Geo(usize),
    /// `keys`: a pattern.
    Glob,
    /// `hello`.
    Hello,
    /// `move`: a key and a database.
    Move,
    /// `multi`.
    Multi,
    /// `pubsub channels`: a pattern of channels, or all.
    Channels,
    /// `pubsub numsub`: channels.
    Subscribers,
    /// `publish`, `spublish`.
    Publish,
    /// `randomkey`.
    Random,
    /// `reset`.
    Reset,
    /// `scan`.
    Scan,
    /// `select`.
    Select,
    /// `sort`, `sort_ro`.
    Sort,
    /// `xread`, `xreadgroup`.
    Streams,
    /// `swapdb`, where versions have databases of their own.
    Swap,
    /// `subscribe` and its like.
    Subscribe(Feed),
    /// `unsubscribe` and its like.
    Unsubscribe(Feed),
    /// Words with which HTTP begins.
    Web,
}

/// How it is said when a key's time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// By a span from now on.
    Span,
    /// By a time in seconds.
    Seconds,
    /// By a time in milliseconds.
    Millis,
    /// By an option.
    Option,
}

/// What can be subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feed {
    /// Channels.
    Channel,
    /// Patterns of channels.
    Pattern,
    /// Channels of a shard.
    Shard,
}

/// What an answer, or a part of it, holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// No keys.
    Plain,
    /// A value, or nothing where there is none.
    Value,
    /// A list of those.
    Values,
    /// A key.
    Key,
    /// A list of keys.
    Keys,
    /// A list that begins with a key.
    First,
    /// A cursor and a list of keys.
    Scan,
    /// Lists that begin with a key, or a map by keys.
    Streams,
    /// Keys and something else in turn.
    Pairs,
    /// The answers to what was queued.
    Exec,
    /// A channel.
    Channel,
    /// A list of channels.
    ChannelList,
    /// Channels and something else in turn.
    ChannelPairs,
    /// A word, a channel, and how many there are now.
    Confirmation(Feed),
    /// How many of those there are now.
    Subscriptions(Feed),
    /// Word, channel, message.
    Message,
    /// Word, pattern, channel, message.
    PatternMessage,
    /// The message of a keyspace event: a key.
    KeyMessage,
    /// The same under a pattern.
    KeyPatternMessage,
    /// Word, keys.
    Invalidation,
}

const fn keys(specs: &'static [Spec]) -> Request {
    Request::Keys(Cow::Borrowed(specs))
}

const ONE: Request = keys(&[Spec::at(1)]);
const TWO: Request = keys(&[Spec::at(1), Spec::at(2)]);
const SECOND: Request = keys(&[Spec::at(2)]);
const ALL: Request = keys(&[Spec::to(1, -1, 1)]);
const BUT_LAST: Request = keys(&[Spec::to(1, -2, 1)]);
const COUNTED: Request = keys(&[Spec::counted(1)]);
const COUNTED_SECOND: Request = keys(&[Spec::counted(2)]);
const SCRIPT: Request = Request::Script(Cow::Borrowed(&[Spec::counted(2)]));

/// Request, answer, names.
const TABLE: &[(Request, Rule, &str)] = &[
    (
        ONE,
        Rule::Plain,
        "append bitcount bitfield bitfield_ro bitpos decr decrby dump expiretime geoadd geodist \
         geohash geopos georadius_ro georadiusbymember_ro geosearch getrange getset hdel \
         hexists hgetall hincrby hincrbyfloat hkeys hlen hrandfield hscan hset hmset hsetnx \
         hstrlen hvals incr incrby incrbyfloat lindex linsert llen lpop lpos lpush lpushx lrange \
         lrem lset ltrim persist pexpiretime pfadd psetex pttl restore rpop rpush rpushx sadd \
         scard set setbit setex setnx setrange getbit sismember smembers smismember spop \
         srandmember srem sscan strlen substr ttl type xack xadd xautoclaim xclaim xdel xlen \
         xpending xrange xrevrange xsetid xtrim zadd zcard zcount zincrby zlexcount zmscore zpopmax \
         zpopmin zrandmember zrange zrangebylex zrangebyscore zrank zrem zremrangebylex \
         zremrangebyrank zremrangebyscore zrevrange zrevrangebylex zrevrangebyscore zrevrank zscan \
         zscore",
    ),
    (ONE, Rule::Value, "get hget"),
    (ONE, Rule::Values, "hmget"),
    (ALL, Rule::Values, "mget"),
    (ALL, Rule::Plain, "exists pfcount sdiff sinter sunion touch"),
    (
        TWO,
        Rule::Plain,
        "blmove brpoplpush geosearchstore lcs lmove rename renamenx rpoplpush smove \
         zrangestore",
    ),
    (
        keys(&[Spec::at(1), Spec::to(2, -1, 1)]),
        Rule::Plain,
        "pfmerge sdiffstore sinterstore sunionstore",
    ),
    (keys(&[Spec::at(1), Spec::counted(2)]), Rule::Plain, "zdiffstore zinterstore zunionstore"),
    (keys(&[Spec::to(1, -1, 2)]), Rule::Plain, "mset msetnx"),
    (keys(&[Spec::at(2), Spec::to(3, -1, 1)]), Rule::Plain, "bitop"),
    (BUT_LAST, Rule::First, "blpop brpop bzpopmax bzpopmin"),
    (COUNTED, Rule::First, "lmpop zmpop"),
    (COUNTED, Rule::Plain, "sintercard zdiff zinter zintercard zunion"),
    (COUNTED_SECOND, Rule::First, "blmpop bzmpop"),
    (SCRIPT, Rule::Plain, "eval eval_ro evalsha evalsha_ro fcall fcall_ro"),
    (
        SECOND,
        Rule::Plain,
        "memory|usage object|encoding object|freq object|idletime object|refcount xgroup|create \
         xgroup|createconsumer xgroup|delconsumer xgroup|destroy xgroup|setid xinfo|consumers \
         xinfo|groups xinfo|stream",
    ),
    (
        Request::Container,
        Rule::Plain,
        "client command config function latency memory object pubsub script slowlog xgroup xinfo",
    ),
    (
        Request::Pass,
        Rule::Plain,
        "client|caching client|getname client|getredir client|help client|id client|info \
         client|list client|no-touch client|setinfo client|setname client|trackinginfo \
         client|unblock command|count command|docs command|getkeys command|getkeysandflags \
         command|help command|info command|list config|get config|help echo function|dump \
         function|help function|list function|stats info lastsave latency|doctor latency|graph \
         latency|help latency|histogram latency|history latency|latest lolwut memory|doctor \
         memory|help memory|malloc-stats memory|stats object|help ping pubsub|help pubsub|numpat \
         quit role script|exists script|help script|load slowlog|help slowlog|len time wait \
         waitaof xgroup|help xinfo|help",
    ),
    (Request::Special(Special::Auth), Rule::Plain, "auth"),
    (
        Request::Special(Special::Channels),
        Rule::ChannelList,
        "pubsub|channels pubsub|shardchannels",
    ),
    (Request::Special(Special::Count), Rule::Plain, "dbsize"),
    (Request::Special(Special::Delete), Rule::Plain, "del unlink"),
    (Request::Special(Special::Delete), Rule::Value, "getdel"),
    (Request::Special(Special::Discard), Rule::Plain, "discard"),
    (Request::Special(Special::Exec), Rule::Exec, "exec"),
    (Request::Special(Special::Copy), Rule::Plain, "copy"),
    (Request::Special(Special::Expire(Expiry::Span)), Rule::Plain, "expire pexpire"),
    (Request::Special(Special::Expire(Expiry::Seconds)), Rule::Plain, "expireat"),
    (Request::Special(Special::Expire(Expiry::Millis)), Rule::Plain, "pexpireat"),
    (Request::Special(Special::Expire(Expiry::Option)), Rule::Value, "getex"),
    (Request::Special(Special::Flush { all: false }), Rule::Plain, "flushdb"),
    (Request::Special(Special::Flush { all: true }), Rule::Plain, "flushall"),
    (Request::Special(Special::Geo(5)), Rule::Plain, "georadiusbymember"),
    (Request::Special(Special::Geo(6)), Rule::Plain, "georadius"),
    (Request::Special(Special::Glob), Rule::Keys, "keys"),
    (Request::Special(Special::Hello), Rule::Plain, "hello"),
    (Request::Special(Special::Move), Rule::Plain, "move"),
    (Request::Special(Special::Multi), Rule::Plain, "multi"),
    (Request::Special(Special::Publish), Rule::Plain, "publish spublish"),
    (Request::Special(Special::Random), Rule::Key, "randomkey"),
    (Request::Special(Special::Reset), Rule::Plain, "reset"),
    (Request::Special(Special::Scan), Rule::Scan, "scan"),
    (Request::Special(Special::Select), Rule::Plain, "select"),
    (Request::Special(Special::Sort), Rule::Plain, "sort sort_ro"),
    (Request::Special(Special::Streams), Rule::Streams, "xread xreadgroup"),
    (Request::Special(Special::Subscribe(Feed::Channel)), Rule::Plain, "subscribe"),
    (Request::Special(Special::Subscribe(Feed::Pattern)), Rule::Plain, "psubscribe"),
    (Request::Special(Special::Subscribe(Feed::Shard)), Rule::Plain, "ssubscribe"),
    (
        Request::Special(Special::Subscribers),
        Rule::ChannelPairs,
        "pubsub|numsub pubsub|shardnumsub",
    ),
    (Request::Special(Special::Tracking), Rule::Plain, "client|tracking"),
    (Request::Special(Special::Unsubscribe(Feed::Channel)), Rule::Plain, "unsubscribe"),
    (Request::Special(Special::Unsubscribe(Feed::Pattern)), Rule::Plain, "punsubscribe"),
    (Request::Special(Special::Unsubscribe(Feed::Shard)), Rule::Plain, "sunsubscribe"),
    (Request::Special(Special::Unwatch), Rule::Plain, "unwatch"),
    (Request::Special(Special::Watch), Rule::Plain, "watch"),
    (Request::Special(Special::Web), Rule::Plain, "post host:"),
    // Of the whole server, of all its clients, of a cluster; or an answer that cannot be told
    // from others. The subcommands of what is refused whole are not listed.
    (
        Request::Refuse,
        Rule::Plain,
        "acl asking bgrewriteaof bgsave client|kill client|no-evict client|pause client|reply \
         client|unpause cluster config|resetstat config|rewrite config|set debug failover \
         function|delete function|flush function|kill function|load function|restore \
         latency|reset memory|purge migrate module monitor pfdebug pfselftest psync readonly \
         readwrite replconf replicaof restore-asking save script|debug script|flush script|kill \
         shutdown slaveof slowlog|get slowlog|reset swapdb sync",
    ),
];

/// Commands in whose errors keys stand.
const NAMING: &str = "xautoclaim xclaim xgroup|create xgroup|createconsumer xgroup|delconsumer \
                      xgroup|destroy xgroup|setid xinfo|consumers xinfo|groups xinfo|stream \
                      xpending xreadgroup";

/// Names that a server was asked for; who sends more makes them up.
const LEARNED_MAX: usize = 1024;

/// Every command that is known. Copies share what they learn.
#[derive(Clone, Debug)]
pub struct Commands {
    known: Arc<ByName<Command>>,
    quick: Arc<Names>,
    learned: Arc<Mutex<ByName<Option<Command>>>>,
}

/// Names in lower case, and what is known of them.
type ByName<T> = BTreeMap<Box<[u8]>, T>;

/// What is known of a command.
#[derive(Clone, Debug, PartialEq)]
pub enum Knowledge {
    /// This.
    Known(Command),
    /// The server has said that it does not know it, or too much has been asked.
    Unknown,
    /// Nobody has asked the server yet.
    Unasked,
}

impl Default for Commands {
    fn default() -> Self {
        let mut known = ByName::new();
        for (request, rule, names) in TABLE {
            for name in names.split_ascii_whitespace() {
                let names_keys = NAMING.split_ascii_whitespace().any(|named| named == name);
                let command = Command { request: request.clone(), rule: *rule, names_keys };
                let twice = known.insert(name.as_bytes().into(), command);
                assert!(twice.is_none(), "{name} stands twice in the table of commands");
            }
        }
        let quick = Names::new(known.iter().map(|(name, command)| (&**name, command)));
        Self { known: Arc::new(known), quick: Arc::new(quick), learned: Arc::default() }
    }
}

impl Commands {
    /// What is known of the command called `name`, in lower case; of a container `client|list`.
    pub fn find(&self, name: &[u8]) -> Knowledge {
        if let Some(command) = self.known.get(name) {
            return Knowledge::Known(command.clone());
        }
        let learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        match learned.get(name) {
            Some(Some(command)) => Knowledge::Known(command.clone()),
            Some(None) => Knowledge::Unknown,
            None if learned.len() >= LEARNED_MAX => Knowledge::Unknown,
            None => Knowledge::Unasked,
        }
    }

    /// Remembers what the server said of `name`.
    pub fn learn(&self, name: &[u8], command: Option<Command>) {
        let mut learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        learned.insert(name.into(), command);
    }

    /// Those that are found by the short way.
    pub(super) fn quick(&self) -> &Names {
        &self.quick
    }

    /// The names in the table, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.known.keys().filter_map(|name| std::str::from_utf8(name).ok())
    }
}

/// What a server says of a command (`COMMAND INFO`) that is not in the table. None: it does not
/// know it either.
pub fn learned(info: &Value) -> Option<Command> {
    let fields = info.list()?;
    let command = |request| Command { request, rule: Rule::Plain, names_keys: true };
    let flags: Vec<&[u8]> = fields.get(2)?.list()?.iter().filter_map(Value::text).collect();
    let has = |flag: &str| flags.contains(&flag.as_bytes());
    if fields.get(9).and_then(Value::list).is_some_and(|subcommands| !subcommands.is_empty()) {
        return Some(command(Request::Container));
    }
    if has("admin") || has("pubsub") || has("no_multi") || has("skip_monitor") {
        return Some(command(Request::Refuse));
    }
    let specs = match fields.get(8).and_then(Value::list) {
        Some(specs) => specs.iter().map(spec).collect::<Option<Vec<Spec>>>(),
        // Before 7.0 there were three numbers.
        None if has("movablekeys") => None,
        None => Some(range(fields)),
    };
    Some(command(match specs {
        Some(specs) if specs.len() > SPECS_MAX => Request::Refuse,
        // It reads or writes something, and nobody says what.
        Some(specs) if specs.is_empty() && (has("write") || has("readonly")) => Request::Refuse,
        Some(specs) if specs.is_empty() => Request::Pass,
        Some(specs) => keys_of(specs),
        None => Request::Refuse,
    }))
}

fn keys_of(specs: Vec<Spec>) -> Request {
    Request::Keys(Cow::Owned(specs))
}

fn range(fields: &[Value]) -> Vec<Spec> {
    let number = |at: usize| fields.get(at).and_then(Value::integer);
    let (Some(first), Some(last), Some(step)) = (number(3), number(4), number(5)) else {
        return Vec::new();
    };
    let (Ok(first), Ok(step)) = (usize::try_from(first), usize::try_from(step)) else {
        return Vec::new();
    };
    match (first, usize::try_from(last)) {
        (0, _) => Vec::new(),
        (_, Ok(end)) => {
            let behind = i64::try_from(end.saturating_sub(first)).unwrap_or(0);
            vec![Spec::From { first, last: behind, step, parts: 0 }]
        }
        (_, Err(_)) => vec![Spec::to(first, last, step)],
    }
}

/// A key specification; none where it does not say enough, or finds keys by a keyword, which a
/// value can look like.
fn spec(told: &Value) -> Option<Spec> {
    let flags = field(told, "flags").and_then(Value::list).unwrap_or_default();
    let vague = flags.iter().filter_map(Value::text);
    if vague.into_iter().any(|flag| flag == b"incomplete" || flag == b"not_key") {
        return None;
    }
    let begin = field(told, "begin_search").filter(|begin| is(begin, "index"))?;
    let number = |of: &Value, name: &str| {
        field(of, "spec").and_then(|spec| field(spec, name)).and_then(Value::integer)
    };
    let first = usize::try_from(number(begin, "index")?).ok().filter(|first| *first > 0)?;
    let find = field(told, "find_keys")?;
    let size = |name| number(find, name).and_then(|number| usize::try_from(number).ok());
    if is(find, "range") {
        let (step, parts) = (size("keystep")?, size("limit")?);
        return Some(Spec::From { first, last: number(find, "lastkey")?, step, parts });
    }
    let (number, key, step) = (size("keynumidx")?, size("firstkey")?, size("keystep")?);
    is(find, "keynum").then_some(Spec::Counted { number: first + number, first: first + key, step })
}

fn is(told: &Value, kind: &str) -> bool {
    field(told, "type").and_then(Value::text) == Some(kind.as_bytes())
}

/// What stands after `name` in a list of names and values.
fn field<'a>(told: &'a Value, name: &str) -> Option<&'a Value> {
    let pairs = told.list()?.chunks_exact(2);
    pairs.into_iter().find(|pair| pair[0].text() == Some(name.as_bytes())).map(|pair| &pair[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learned_is_known_to_all() {
        let commands = Commands::default();
        let (other, new) =
            (commands.clone(), Command { request: ONE, rule: Rule::Plain, names_keys: true });
        assert!(matches!(commands.find(b"get"), Knowledge::Known(get) if get.rule == Rule::Value));
        assert_eq!(commands.find(b"new"), Knowledge::Unasked);
        other.learn(b"new", Some(new.clone()));
        assert_eq!(commands.find(b"new"), Knowledge::Known(new));
        for number in 0..LEARNED_MAX {
            commands.learn(format!("made-up-{number}").as_bytes(), None);
        }
        assert_eq!(commands.find(b"made-up-0"), Knowledge::Unknown);
        assert_eq!(commands.find(b"one-more"), Knowledge::Unknown);
    }

    fn info(flags: &str, ending: &str) -> Value {
        let text = format!(
            "*10\r\n+new\r\n:-2\r\n*1\r\n+{flags}\r\n:1\r\n:1\r\n:1\r\n*0\r\n*0\r\n{ending}"
        );
        Value::parse(text.as_bytes()).unwrap().unwrap().0
    }

    const RANGE: &str = "*1\r\n*6\r\n+flags\r\n*1\r\n+RO\r\n+begin_search\r\n*4\r\n+type\r\n+index\r\n+spec\r\n*2\r\n+index\r\n:1\r\n+find_keys\r\n*4\r\n+type\r\n+range\r\n+spec\r\n*6\r\n+lastkey\r\n:0\r\n+keystep\r\n:1\r\n+limit\r\n:0\r\n*0\r\n";

    #[test]
    fn a_newer_command_is_taken_where_its_keys_are_told() {
        let request = |told: &Value| learned(told).unwrap().request;
        assert_eq!(request(&info("write", RANGE)), keys_of(vec![Spec::at(1)]));
        assert_eq!(request(&info("write", &RANGE.replace("+RO", "+not_key"))), Request::Refuse);
        assert_eq!(
            request(&info("write", &RANGE.replace("+index\r\n+spec", "+keyword\r\n+spec"))),
            Request::Refuse
        );
        assert_eq!(request(&info("admin", RANGE)), Request::Refuse);
        assert_eq!(request(&info("write", "*0\r\n*0\r\n")), Request::Refuse);
        assert_eq!(request(&info("fast", "*0\r\n*0\r\n")), Request::Pass);
        assert_eq!(request(&info("fast", "*0\r\n*1\r\n*0\r\n")), Request::Container);
        assert!(learned(&Value::Null).is_none());
        let old = b"*6\r\n+new\r\n:2\r\n*1\r\n+write\r\n:1\r\n:-1\r\n:2\r\n";
        let old = Value::parse(old).unwrap().unwrap().0;
        assert_eq!(request(&old), keys_of(vec![Spec::to(1, -1, 2)]));
    }
}
