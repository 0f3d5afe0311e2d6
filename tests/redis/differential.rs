//! The same random commands to a Redis and to one behind Weir: the same answers, byte for byte
//! where Redis itself gives the same twice.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::client::Client;
use crate::support::dice::Dice;
use weir::namespace::redis::{Commands, Knowledge, Request};
use weir::namespace::resp::{self, Value};

/// A command in which words in braces are chosen by chance: keys of a kind, values, numbers.
/// Before it stands how its answers are compared.
const TEMPLATES: &str = "
= APPEND {s} {v}
= BITCOUNT {s}
= BITCOUNT {s} 0 1
= BITFIELD {s} SET u4 0 3 GET u4 0
= BITFIELD_RO {s} GET u4 0
= BITOP AND {s} {s} {s}
= BITOP NOT {s} {s}
= BITPOS {s} 1
= BLMOVE {l} {l} LEFT RIGHT 0.01
= BLMPOP 0.01 2 {l} {l} LEFT
= BLPOP {l} {l} 0.01
= BRPOP {l} 0.01
= BRPOPLPUSH {l} {l} 0.01
= BZMPOP 0.01 1 {z} MIN
= BZPOPMAX {z} {z} 0.01
= BZPOPMIN {z} 0.01
= CLIENT CACHING YES
= CLIENT GETNAME
= CLIENT GETREDIR
~ CLIENT HELP
~ CLIENT ID
~ CLIENT INFO
~ CLIENT LIST
= CLIENT NO-TOUCH ON
= CLIENT SETINFO LIB-NAME x
= CLIENT SETNAME {v}
= CLIENT TRACKINGINFO
= CLIENT UNBLOCK 99999
= CLIENT
~ COMMAND
= COMMAND COUNT
= COMMAND DOCS get
= COMMAND GETKEYS GET a
= COMMAND GETKEYSANDFLAGS SET a b
~ COMMAND HELP
~ COMMAND INFO get
~ COMMAND LIST
= CONFIG GET maxmemory
~ CONFIG HELP
= COPY {any} {any} REPLACE
= COPY {s} {s} DB 1
= DBSIZE
= DBSIZE x
= DECR {s}
= DECRBY {s} {i}
= DEL {any} {any}
= DEL
= DUMP {s}
= ECHO {v}
= EVAL return(redis.call('get',KEYS[1])) 1 {s}
= EVAL return(ARGV[1]) 0 {v}
= EVAL x 5 {s}
= EVAL_RO return(redis.call('strlen',KEYS[1])) 1 {s}
= EVALSHA 0000000000000000000000000000000000000000 1 {s}
= EVALSHA_RO 0000000000000000000000000000000000000000 0
= EXISTS {any} {any} {any}
= EXPIRE {any} 1000
= EXPIRE {any} 0
= EXPIREAT {any} 4000000000
~ EXPIRETIME {any}
= FCALL nosuch 1 {s}
= FCALL_RO nosuch 0
= FLUSHDB
= FLUSHDB ASYNC
= FLUSHDB nonsense
= FLUSHALL SYNC
~ FUNCTION DUMP
~ FUNCTION HELP
= FUNCTION LIST
~ FUNCTION STATS
= GEOADD {g} 13.361389 38.115556 {m} 15.087269 37.502669 {m}
= GEODIST {g} a b
= GEOHASH {g} a b
= GEOPOS {g} a b c
= GEORADIUS {g} 15 37 200 km ASC
= GEORADIUS {g} 15 37 200 km STORE {g} STOREDIST {z}
= GEORADIUS_RO {g} 15 37 200 km ASC
= GEORADIUSBYMEMBER {g} a 200 km ASC
= GEORADIUSBYMEMBER {g} a 200 km COUNT 1 STORE {z}
= GEORADIUSBYMEMBER_RO {g} a 200 km ASC
= GEOSEARCH {g} FROMLONLAT 15 37 BYRADIUS 200 km ASC
= GEOSEARCHSTORE {z} {g} FROMLONLAT 15 37 BYRADIUS 200 km
= GET {s}
= GET {any}
= GETBIT {s} {i}
= GETDEL {s}
= GETEX {s} PERSIST
= GETRANGE {s} 0 {i}
= GETSET {s} {v}
= HDEL {h} {m}
= HEXISTS {h} {m}
= HGET {h} {m}
* HGETALL {h}
= HINCRBY {h} n {i}
= HINCRBYFLOAT {h} f 1.5
* HKEYS {h}
= HLEN {h}
= HMGET {h} {m} {m}
= HMSET {h} {m} {v}
~ HRANDFIELD {h}
* HSCAN {h} 0 MATCH * COUNT 1000
= HSET {h} {m} {v} {m} {v}
= HSETNX {h} {m} {v}
= HSTRLEN {h} {m}
* HVALS {h}
= INCR {s}
= INCRBY {s} {i}
= INCRBYFLOAT {s} 0.5
~ INFO server
* KEYS *
* KEYS s*
* KEYS [sl]?
~ LASTSAVE
~ LATENCY DOCTOR
= LATENCY GRAPH x
~ LATENCY HELP
~ LATENCY HISTOGRAM get
= LATENCY HISTORY x
= LATENCY LATEST
= LCS {s} {s} LEN
= LINDEX {l} {i}
= LINSERT {l} BEFORE {v} {v}
= LLEN {l}
= LMOVE {l} {l} LEFT RIGHT
= LMPOP 2 {l} {l} RIGHT COUNT 2
~ LOLWUT
= LPOP {l}
= LPOP {l} 2
= LPOS {l} {v}
= LPUSH {l} {v} {v}
= LPUSHX {l} {v}
= LRANGE {l} 0 -1
= LREM {l} 0 {v}
= LSET {l} 0 {v}
= LTRIM {l} 0 5
~ MEMORY DOCTOR
~ MEMORY HELP
~ MEMORY MALLOC-STATS
~ MEMORY STATS
~ MEMORY USAGE {s}
= MGET {s} {s} {any}
= MOVE {s} 1
= MSET {s} {v} {s} {v}
= MSETNX {s} {v} {s} {v}
= OBJECT ENCODING {any}
= OBJECT FREQ {any}
~ OBJECT HELP
~ OBJECT IDLETIME {any}
= OBJECT REFCOUNT {l}
= PERSIST {any}
= PEXPIRE {any} 100000
= PEXPIREAT {any} 4000000000000
~ PEXPIRETIME {any}
= PFADD {p} {v} {v}
= PFCOUNT {p} {p}
= PFMERGE {p} {p}
= PING
= PING {v}
= PSETEX {s} 100000 {v}
~ PTTL {s}
= PUBLISH {v} {v}
* PUBSUB CHANNELS
* PUBSUB CHANNELS *
~ PUBSUB HELP
= PUBSUB NUMPAT
= PUBSUB NUMSUB {v} {v}
= PUBSUB SHARDCHANNELS
= PUBSUB SHARDNUMSUB {v}
~ RANDOMKEY
= RENAME {s} {s}
= RENAMENX {l} {l}
= RESTORE {s} 0 nonsense
~ ROLE
= RPOP {l}
= RPOPLPUSH {l} {l}
= RPUSH {l} {v}
= RPUSHX {l} {v}
= SADD {e} {m} {m}
* SCAN 0 COUNT 10000
* SCAN 0 MATCH s* COUNT 10000
* SCAN 0 COUNT 10000 TYPE list
= SCAN 0 MATCH
= SCAN nonsense
= SCARD {e}
= SCRIPT EXISTS 0000000000000000000000000000000000000000
~ SCRIPT HELP
= SCRIPT LOAD return(1)
* SDIFF {e} {e}
= SDIFFSTORE {e} {e} {e}
= SELECT 0
= SELECT 99
= SET {s} {v}
= SET {s} {v} NX GET
= SETBIT {s} {i} 1
= SETEX {s} 1000 {v}
= SETNX {s} {v}
= SETRANGE {s} 2 {v}
* SINTER {e} {e}
= SINTERCARD 2 {e} {e} LIMIT 1
= SINTERSTORE {e} {e} {e}
= SISMEMBER {e} {m}
~ SLOWLOG HELP
~ SLOWLOG LEN
* SMEMBERS {e}
= SMISMEMBER {e} {m} {m}
= SMOVE {e} {e} {m}
= SORT {l} ALPHA
= SORT {l} ALPHA LIMIT 0 2 DESC GET # GET {k}_*
= SORT {l} BY nosort STORE {l}
= SORT {l} BY nosort GET store STORE {l}
= SORT_RO {l} ALPHA BY {k}_*
= SPUBLISH {v} {v}
~ SRANDMEMBER {e}
= SREM {e} {m}
* SSCAN {e} 0 COUNT 1000
= STRLEN {s}
= SUBSTR {s} 0 2
* SUNION {e} {e}
= SUNIONSTORE {e} {e} {e}
~ TIME
= TOUCH {any} {any}
~ TTL {any}
= TYPE {any}
= UNLINK {any} {any}
= UNWATCH
= WAIT 0 0
= WATCH {any} {any}
= XACK {x} g 1-1
= XADD {x} NOMKSTREAM 1-{i} f {v}
= XADD {x} {i}-1 f {v}
~ XAUTOCLAIM {x} g c 0 0
~ XCLAIM {x} g c 0 1-1
= XDEL {x} 1-1
= XGROUP CREATE {x} g 0 MKSTREAM
= XGROUP CREATECONSUMER {x} g c
= XGROUP DELCONSUMER {x} nosuch c
= XGROUP DESTROY {x} h
~ XGROUP HELP
= XGROUP SETID {x} nosuch 0
= XINFO CONSUMERS {x} nosuch
= XINFO GROUPS {x}
~ XINFO HELP
= XINFO STREAM {x}
= XLEN {x}
= XPENDING {x} g
= XPENDING {x} nosuch
= XRANGE {x} - +
= XREAD COUNT 2 STREAMS {x} {x} 0 0
= XREAD STREAMS {x}
= XREADGROUP GROUP g c COUNT 1 STREAMS {x} >
= XREADGROUP GROUP streams streams STREAMS {x} >
= XREADGROUP COUNT 1 GROUP g streams STREAMS {x} >
= XREVRANGE {x} + - COUNT 2
= XSETID {x} 99-0
= XTRIM {x} MAXLEN 20
= ZADD {z} {i} {m} {i} {m}
= ZCARD {z}
= ZCOUNT {z} 0 5
= ZDIFF 2 {z} {z} WITHSCORES
= ZDIFFSTORE {z} 2 {z} {z}
= ZINCRBY {z} 2 {m}
= ZINTER 2 {z} {z}
= ZINTERCARD 2 {z} {z}
= ZINTERSTORE {z} 2 {z} {z} WEIGHTS 1 2
= ZLEXCOUNT {z} - +
= ZMPOP 2 {z} {z} MAX
= ZMSCORE {z} {m} {m}
= ZPOPMAX {z}
= ZPOPMIN {z} 2
~ ZRANDMEMBER {z}
= ZRANGE {z} 0 -1 WITHSCORES
= ZRANGEBYLEX {z} - +
= ZRANGEBYSCORE {z} 0 9
= ZRANGESTORE {z} {z} 0 2
= ZRANK {z} {m}
= ZREM {z} {m}
= ZREMRANGEBYLEX {z} [x [y
= ZREMRANGEBYRANK {z} 5 6
= ZREMRANGEBYSCORE {z} 8 9
= ZREVRANGE {z} 0 -1
= ZREVRANGEBYLEX {z} + -
= ZREVRANGEBYSCORE {z} 9 0
= ZREVRANK {z} {m}
= ZSCAN {z} 0 COUNT 1000
= ZSCORE {z} {m}
= ZUNION 2 {z} {z} WITHSCORES
= ZUNIONSTORE {z} 2 {z} {z}
= ZUNIONSTORE {z} 9 {z}
";

/// Names that are played in scenes of their own, or whose answers are chance and change something.
const ELSEWHERE: &[&str] = &[
    "auth",
    "client|tracking",
    "discard",
    "exec",
    "hello",
    "multi",
    "psubscribe",
    "punsubscribe",
    "quit",
    "reset",
    "spop",
    "ssubscribe",
    "subscribe",
    "sunsubscribe",
    "unsubscribe",
    "waitaof",
    // They close the connection.
    "host:",
    "post",
];

/// How two answers are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compare {
    /// Byte for byte.
    Same,
    /// As lists without order.
    Unordered,
    /// As answers of one kind.
    Kind,
}

/// The words of a template, with chance in place of what stands in braces.
fn filled(template: &str, dice: &mut Dice) -> Vec<Vec<u8>> {
    let kinds = ["s", "l", "h", "e", "z", "x", "g", "p"];
    let word = |word: &str, dice: &mut Dice| {
        let (before, rest) = word.split_once('{')?;
        let (name, after) = rest.split_once('}')?;
        let value = match name {
            "any" => format!("{}{}", dice.one(&kinds), dice.below(3)),
            "v" => {
                dice.one(&["", "a", "b", "10", "3.5", "store", "x y", "\r\n", "*", "äöü"]).into()
            }
            "m" => dice.one(&["a", "b", "c", "1", "2"]).into(),
            "i" => dice.below(10).to_string(),
            // Now and then of another kind.
            _ if dice.below(20) == 0 => format!("{}{}", dice.one(&kinds), dice.below(3)),
            kind => format!("{kind}{}", dice.below(3)),
        };
        Some(format!("{before}{value}{after}"))
    };
    template
        .split(' ')
        .map(|text| word(text, dice).unwrap_or_else(|| text.to_owned()).into_bytes())
        .collect()
}

fn compared(value: &Value, compare: Compare) -> String {
    match (compare, value) {
        (Compare::Unordered, Value::List(list)) => {
            let mut list: Vec<String> =
                list.iter().map(|value| compared(value, Compare::Unordered)).collect();
            list.sort();
            format!("{list:?}")
        }
        (Compare::Same | Compare::Unordered, value) => format!("{value:?}"),
        (Compare::Kind, Value::Line(kind, _)) => format!("line {kind}"),
        (Compare::Kind, Value::Error(text)) => format!("error {text:?}"),
        // An empty one is there where another one has something: ages, chance.
        (Compare::Kind, Value::Bulk(_)) => "text".to_owned(),
        (Compare::Kind, Value::List(_)) => "list".to_owned(),
        (Compare::Kind, Value::Null) => "nothing".to_owned(),
    }
}

fn templates() -> Vec<(Compare, &'static str)> {
    let parse = |line: &'static str| match line.split_at(2) {
        ("= ", template) => (Compare::Same, template),
        ("* ", template) => (Compare::Unordered, template),
        ("~ ", template) => (Compare::Kind, template),
        _ => panic!("{line}"),
    };
    TEMPLATES.lines().filter(|line| !line.is_empty()).map(parse).collect()
}

#[test]
fn every_command_that_is_not_refused_is_compared() {
    let words = |template: &str, count| {
        let words: Vec<String> =
            template.split(' ').take(count).map(str::to_ascii_lowercase).collect();
        words.join("|")
    };
    let played: BTreeSet<String> = templates()
        .iter()
        .flat_map(|(_, template)| [words(template, 1), words(template, 2)])
        .chain(ELSEWHERE.iter().map(|name| (*name).to_owned()))
        .collect();
    let commands = Commands::default();
    let refused = |name: &str| {
        matches!(
            commands.find(name.as_bytes()),
            Knowledge::Known(command) if command.request == Request::Refuse
        )
    };
    let names = commands.names().filter(|name| !refused(name));
    let missing: Vec<&str> = names.filter(|name| !played.contains(*name)).collect();
    assert!(missing.is_empty(), "not compared: {missing:?}");
}

/// A pipeline, and how each of its answers is compared.
fn pipeline(dice: &mut Dice, all: &[(Compare, &str)]) -> (Vec<Vec<Vec<u8>>>, Vec<Compare>) {
    let (mut commands, mut compare) = (Vec::new(), Vec::new());
    let transaction = dice.below(4) == 0;
    if transaction {
        commands.push(filled("MULTI", dice));
        compare.push(Compare::Same);
    }
    for _ in 0..=dice.below(8) {
        let (how, template) = all[dice.below(all.len())];
        if transaction && how != Compare::Same {
            continue;
        }
        commands.push(filled(template, dice));
        compare.push(how);
    }
    if transaction {
        commands.push(filled(dice.one(&["EXEC", "EXEC", "EXEC", "DISCARD"]), dice));
        compare.push(Compare::Same);
    }
    (commands, compare)
}

/// Plays `rounds` pipelines against both and gives the first difference.
pub fn difference(
    direct: SocketAddr,
    through: SocketAddr,
    seed: u64,
    rounds: usize,
) -> Result<(), String> {
    let (mut dice, all) = (Dice::new(seed), templates());
    let mut clients = [Client::new(direct), Client::new(through)];
    for _ in 0..2 {
        let both = clients.each_mut().map(|client| client.ask("FLUSHALL"));
        assert_eq!(both[0], both[1]);
    }
    for round in 0..rounds {
        if dice.below(20) == 0 {
            let hello = dice.one(&["HELLO 3", "HELLO 2", "HELLO", "HELLO 4", "RESET"]);
            let [one, two] =
                clients.each_mut().map(|client| compared(&client.ask(hello), Compare::Kind));
            if one != two {
                return Err(format!("seed {seed} round {round}: {hello}: {one} / {two}"));
            }
        }
        let (commands, compare) = pipeline(&mut dice, &all);
        let mut bytes: Vec<u8> = commands.iter().flat_map(|words| resp::command(words)).collect();
        bytes.extend(resp::command(&["ECHO", "the end"]));
        let parts = match dice.below(8) {
            0 => 1,
            1 => 1 + dice.below(20),
            _ => bytes.len(),
        };
        for client in &mut clients {
            bytes.chunks(parts).for_each(|part| client.send(part));
        }
        let [one, two] = clients.each_mut().map(Client::until_end);
        let shown = |at: usize| {
            let words = commands[at].iter().map(|word| String::from_utf8_lossy(word));
            words.map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" ")
        };
        for at in 0..one.len().max(two.len()) {
            let how = compare.get(at).copied().unwrap_or(Compare::Same);
            let side = |values: &[Value]| {
                values.get(at).map_or("no answer".to_owned(), |value| compared(value, how))
            };
            let (one, two) = (side(&one), side(&two));
            if one != two {
                let words = if at < commands.len() { shown(at) } else { String::new() };
                return Err(format!(
                    "seed {seed}, round {round}: {words}\n  direct  {one}\n  through {two}"
                ));
            }
        }
    }
    Ok(())
}
