//! Conversations, whole and byte by byte.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::namespace::resp;
use crate::namespace::sharing::Sharing;

/// A session and what came out of it.
struct Told {
    session: Session,
    server: Vec<u8>,
    client: Vec<u8>,
    step: usize,
}

impl Told {
    fn new(step: usize) -> Self {
        let namespace = "ns".parse().unwrap();
        let session = Session::new(namespace, Commands::default(), Purpose::KeepAndTell);
        Self { session, server: Vec::new(), client: Vec::new(), step }
    }

    /// What the server gets when the client sends `bytes`, `step` at a time.
    fn client(&mut self, bytes: &[u8]) -> Result<String, Violation> {
        let mut waiting = Vec::new();
        for part in bytes.chunks(self.step) {
            waiting.extend_from_slice(part);
            let mut server = Edits::new();
            let taken = self.session.from_client(&waiting, &mut server)?;
            self.server.extend(server.whole(&waiting));
            waiting.drain(..taken);
        }
        assert!(self.session.is_busy() || waiting.len() < 64, "{} bytes wait", waiting.len());
        Ok(text(&std::mem::take(&mut self.server)))
    }

    /// What the client gets when the server sends `bytes`.
    fn server(&mut self, bytes: &[u8]) -> Result<String, Violation> {
        let mut waiting = Vec::new();
        for part in bytes.chunks(self.step) {
            waiting.extend_from_slice(part);
            let (mut client, mut server) = (Edits::new(), Edits::new());
            let taken = self.session.from_server(&waiting, &mut client, &mut server)?;
            self.client.extend(client.whole(&waiting));
            self.server.extend(server.whole(&waiting));
            waiting.drain(..taken);
        }
        assert!(waiting.is_empty(), "{:?} waits", text(&waiting));
        Ok(text(&std::mem::take(&mut self.client)))
    }
}

#[test]
fn a_transaction_that_may_not_be_discarded_goes_on() {
    let mut told = Told::new(usize::MAX);
    told.client(request("MULTI").as_bytes()).unwrap();
    told.server(b"+OK\r\n").unwrap();
    told.client(request("DISCARD").as_bytes()).unwrap();
    told.server(b"-NOPERM this user has no permissions to run the 'discard' command\r\n").unwrap();
    let counted = told.client(request("DBSIZE").as_bytes()).unwrap();
    assert!(counted.contains("EVAL"), "it is counted inside the transaction: {counted}");
    told.server(b"+QUEUED\r\n").unwrap();
    told.client(request("EXEC").as_bytes()).unwrap();
    told.server(b"-EXECABORT Transaction discarded because of previous errors.\r\n").unwrap();
    assert!(told.client(request("DBSIZE").as_bytes()).unwrap().contains("SCAN"));
}

#[test]
fn what_waits_for_answers_is_bounded_in_bytes_also_inside_a_transaction() {
    for queued in [false, true] {
        let mut told = Told::new(usize::MAX);
        if queued {
            told.client(request("MULTI").as_bytes()).unwrap();
            told.server(b"+OK\r\n").unwrap();
        }
        let delete = request(&format!("DEL {}", "k".repeat(15 << 20)));
        for _ in 0..4 {
            told.client(delete.as_bytes()).unwrap();
        }
        assert!(!told.session.is_full());
        told.client(delete.as_bytes()).unwrap();
        assert!(told.session.is_full());
        if queued {
            told.server(&b"+QUEUED\r\n".repeat(5)).unwrap();
            assert!(told.session.is_full());
            told.client(request("DISCARD").as_bytes()).unwrap();
            told.server(b"+OK\r\n").unwrap();
        } else {
            told.server(b":1\r\n").unwrap();
        }
        assert!(!told.session.is_full());
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn request(line: &str) -> String {
    text(&resp::command(&line.split(' ').collect::<Vec<_>>()))
}

/// Plays `> request`, `< answer` and what is expected after each: lines of `line => line`, once at
/// a stretch and once byte by byte. A request is given as words; `\n` in an answer ends a line.
fn play(lines: &[(&str, &str)]) {
    for step in [usize::MAX, 1, 7] {
        let mut told = Told::new(step);
        for (given, expected) in lines {
            let answer = |text: &str| text.replace('\n', "\r\n");
            if let Some(line) = given.strip_prefix("> ") {
                let got = told.client(request(line).as_bytes()).unwrap();
                assert_eq!(got, request(expected), "{given}");
            } else if let Some(raw) = given.strip_prefix("< ") {
                let got = told.server(answer(raw).as_bytes()).unwrap();
                assert_eq!(got, answer(expected), "{given:?}");
            } else if *given == "?" {
                let asked = text(&std::mem::take(&mut told.server));
                assert_eq!(asked, request(expected), "what Weir asks itself");
            }
        }
        assert!(told.session.is_idle() && !told.session.is_busy());
    }
}

#[test]
fn keys_get_the_prefix_and_lose_it() {
    play(&[
        ("> GET a", "GET ns:a"),
        ("< $1\nx\n", "$1\nx\n"),
        ("> mset a 1 b 2", "mset ns:a 1 ns:b 2"),
        ("< +OK\n", "+OK\n"),
        ("> BLPOP a b 0", "BLPOP ns:a ns:b 0"),
        ("< *2\n$4\nns:a\n$4\nns:x\n", "*2\n$1\na\n$4\nns:x\n"),
        ("> BLPOP a 1", "BLPOP ns:a 1"),
        ("< *-1\n", "*-1\n"),
        ("> KEYS *", "KEYS ns:*"),
        ("< *2\n$4\nns:a\n$3\nns:\n", "*2\n$1\na\n$0\n\n"),
        ("> SCAN 0 COUNT 5", "SCAN 0 COUNT 5 MATCH ns:*"),
        ("< *2\n$1\n0\n*1\n$4\nns:a\n", "*2\n$1\n0\n*1\n$1\na\n"),
        ("> XREAD COUNT 1 STREAMS s t 0 0", "XREAD COUNT 1 STREAMS ns:s ns:t 0 0"),
        ("< *1\n*2\n$4\nns:s\n*0\n", "*1\n*2\n$1\ns\n*0\n"),
        ("> XREAD STREAMS s 0", "XREAD STREAMS ns:s 0"),
        ("< %1\n$4\nns:s\n*1\n*2\n$4\nns:i\n*0\n", "%1\n$1\ns\n*1\n*2\n$4\nns:i\n*0\n"),
        ("> EVAL return 2 a b c", "EVAL return 2 ns:a ns:b c"),
        ("< |1\n+ttl\n:3\n*1\n$4\nns:a\n", "|1\n+ttl\n:3\n*1\n$4\nns:a\n"),
        ("> XGROUP SETID s g 0", "XGROUP SETID ns:s g 0"),
        ("< -ERR for key name 'ns:s'\n", "-ERR for key name 's'\n"),
        ("> OBJECT ENCODING a", "OBJECT ENCODING ns:a"),
        ("< $3\nint\n", "$3\nint\n"),
        ("> OBJECT", "OBJECT"),
        ("< -ERR wrong number\n", "-ERR wrong number\n"),
    ]);
}

#[test]
fn what_was_queued_is_answered_by_exec() {
    play(&[
        ("> MULTI", "MULTI"),
        ("< +OK\n", "+OK\n"),
        ("> BLPOP a 0", "BLPOP ns:a 0"),
        ("> SELECT 3", "SELECT 3"),
        ("> KEYS *", "KEYS ns:*"),
        ("< +QUEUED\n+QUEUED\n+QUEUED\n", "+QUEUED\n+QUEUED\n+QUEUED\n"),
        ("> EXEC", "EXEC"),
        (
            "< *3\n*2\n$4\nns:a\n$1\nv\n+OK\n*1\n$4\nns:k\n",
            "*3\n*2\n$1\na\n$1\nv\n+OK\n*1\n$1\nk\n",
        ),
        ("> MULTI", "MULTI"),
        ("> CONFIG SET a b", "GET"),
        ("> EXEC", "EXEC"),
        (
            "< +OK\n-ERR wrong number of arguments\n-EXECABORT Transaction discarded\n",
            "+OK\n-ERR Weir refuses 'config set': it concerns more than the keys of this version; \
             send it to the server itself\n-EXECABORT Transaction discarded\n",
        ),
        ("> KEYS *", "KEYS ns:*"),
        ("< *1\n$4\nns:k\n", "*1\n$1\nk\n"),
    ]);
}

#[test]
fn subscriptions_are_told_from_answers_in_resp2() {
    play(&[
        ("> SUBSCRIBE a a", "SUBSCRIBE ns:a ns:a"),
        ("> PSUBSCRIBE p*", "PSUBSCRIBE ns:p*"),
        ("< *3\n$9\nsubscribe\n$4\nns:a\n:1\n", "*3\n$9\nsubscribe\n$1\na\n:1\n"),
        ("< *3\n$7\nmessage\n$4\nns:a\n$4\nns:m\n", "*3\n$7\nmessage\n$1\na\n$4\nns:m\n"),
        ("< *3\n$9\nsubscribe\n$4\nns:a\n:1\n", "*3\n$9\nsubscribe\n$1\na\n:1\n"),
        ("< *3\n$10\npsubscribe\n$5\nns:p*\n:2\n", "*3\n$10\npsubscribe\n$2\np*\n:2\n"),
        ("> PING", "PING"),
        ("< *2\n$4\npong\n$0\n\n", "*2\n$4\npong\n$0\n\n"),
        ("> UNSUBSCRIBE", "UNSUBSCRIBE"),
        ("< *3\n$11\nunsubscribe\n$4\nns:a\n:1\n", "*3\n$11\nunsubscribe\n$1\na\n:1\n"),
        ("> PUNSUBSCRIBE", "PUNSUBSCRIBE"),
        ("< *3\n$12\npunsubscribe\n$5\nns:p*\n:0\n", "*3\n$12\npunsubscribe\n$2\np*\n:0\n"),
        ("> UNSUBSCRIBE", "UNSUBSCRIBE"),
        ("< *3\n$11\nunsubscribe\n$-1\n:0\n", "*3\n$11\nunsubscribe\n$-1\n:0\n"),
        ("> LRANGE l 0 -1", "LRANGE ns:l 0 -1"),
        ("< *3\n$7\nmessage\n$4\nns:a\n$1\nx\n", "*3\n$7\nmessage\n$4\nns:a\n$1\nx\n"),
    ]);
}

#[test]
fn pushes_come_between_answers_in_resp3() {
    play(&[
        ("> HELLO 3", "HELLO 3"),
        ("< %1\n+proto\n:3\n", "%1\n+proto\n:3\n"),
        ("> SUBSCRIBE a", "SUBSCRIBE ns:a"),
        ("> GET k", "GET ns:k"),
        ("< >3\n$9\nsubscribe\n$4\nns:a\n:1\n", ">3\n$9\nsubscribe\n$1\na\n:1\n"),
        ("< >3\n$7\nmessage\n$4\nns:a\n$1\nm\n_\n", ">3\n$7\nmessage\n$1\na\n$1\nm\n_\n"),
        ("> CLIENT TRACKING ON BCAST", "CLIENT TRACKING ON BCAST PREFIX ns:"),
        ("< +OK\n", "+OK\n"),
        ("< >2\n$10\ninvalidate\n*1\n$4\nns:k\n", ">2\n$10\ninvalidate\n*1\n$1\nk\n"),
        ("< >2\n$10\ninvalidate\n_\n", ">2\n$10\ninvalidate\n_\n"),
        ("> SUBSCRIBE b", "SUBSCRIBE ns:b"),
        ("< -NOPERM\n", "-NOPERM\n"),
        ("> LRANGE l 0 -1", "LRANGE ns:l 0 -1"),
        ("< *3\n$7\nmessage\n$4\nns:a\n$1\nx\n", "*3\n$7\nmessage\n$4\nns:a\n$1\nx\n"),
        ("> RESET", "RESET"),
        ("< +RESET\n", "+RESET\n"),
    ]);
}

#[test]
fn events_of_foreign_keys_are_not_told() {
    play(&[
        ("> PSUBSCRIBE __key*__:*", "PSUBSCRIBE __key*__:*"),
        (
            "< *3\n$10\npsubscribe\n$10\n__key*__:*\n:1\n",
            "*3\n$10\npsubscribe\n$10\n__key*__:*\n:1\n",
        ),
        ("< *4\n$8\npmessage\n$10\n__key*__:*\n$16\n__keyspace@0__:x\n$3\nset\n", ""),
        (
            "< *4\n$8\npmessage\n$10\n__key*__:*\n$19\n__keyspace@0__:ns:k\n$3\nset\n",
            "*4\n$8\npmessage\n$10\n__key*__:*\n$16\n__keyspace@0__:k\n$3\nset\n",
        ),
        ("< *4\n$8\npmessage\n$10\n__key*__:*\n$18\n__keyevent@0__:set\n$4\nxs:k\n", ""),
        ("< *4\n$8\npmessage\n$10\n__key*__:*\n$18\n__keyevent@0__:set\n$1\nk\n", ""),
        (
            "< *4\n$8\npmessage\n$10\n__key*__:*\n$18\n__keyevent@0__:set\n$4\nns:k\n",
            "*4\n$8\npmessage\n$10\n__key*__:*\n$18\n__keyevent@0__:set\n$1\nk\n",
        ),
    ]);
}

#[test]
fn what_concerns_all_keys_is_done_page_by_page() {
    let page = |cursor: &str| format!("SCAN {cursor} MATCH ns:* COUNT 1000");
    let (first, second) = (page("0"), page("7"));
    play(&[
        ("> FLUSHDB async", &first),
        ("< *2\n$1\n7\n*2\n$4\nns:a\n$4\nns:b\n", ""),
        ("?", "UNLINK ns:a ns:b"),
        ("< :2\n", ""),
        ("?", &second),
        ("< *2\n$1\n0\n*0\n", "+OK\n"),
        ("> DBSIZE", &first),
        ("< *2\n$1\n7\n*2\n$4\nns:a\n$4\nns:b\n", ""),
        ("?", &second),
        ("< *2\n$1\n0\n*1\n$4\nns:c\n", ":3\n"),
        ("> RANDOMKEY", "RANDOMKEY"),
        ("< $4\nxs:a\n", ""),
        ("?", "RANDOMKEY"),
        ("< $4\nns:a\n", "$1\na\n"),
        ("> SELECT 2", "SELECT 2"),
        ("< +OK\n", "+OK\n"),
        ("> FLUSHALL", "INFO keyspace"),
        ("< $36\n# Keyspace\ndb0:keys=1\ndb2:keys=1\n\n", ""),
        ("?", "SELECT 2"),
        ("< +OK\n", ""),
        ("?", &first),
        ("< *2\n$1\n0\n*1\n$4\nns:a\n", ""),
        ("?", "UNLINK ns:a"),
        ("< :1\n", ""),
        ("?", "SELECT 0"),
        ("< +OK\n", ""),
        ("?", &first),
        ("< *2\n$1\n0\n*0\n", ""),
        ("?", "SELECT 2"),
        ("< +OK\n", "+OK\n"),
        ("> DBSIZE", &first),
        ("< -NOPERM no\n", "-NOPERM no\n"),
        ("> FLUSHALL", "INFO keyspace"),
        ("< -NOPERM no\n", "-NOPERM no\n"),
    ]);
}

#[test]
fn a_flush_that_fails_on_its_way_goes_home_first() {
    let page = "SCAN 0 MATCH ns:* COUNT 1000";
    for (failure, told) in [
        ("< -NOPERM no\n", "-NOPERM no\n"),
        ("< +PONG\n", "-ERR the server gave no answer to SCAN\n"),
    ] {
        play(&[
            ("> SELECT 2", "SELECT 2"),
            ("< +OK\n", "+OK\n"),
            ("> FLUSHALL", "INFO keyspace"),
            ("< $12\ndb0:keys=1\n\n", ""),
            ("?", "SELECT 0"),
            ("< +OK\n", ""),
            ("?", page),
            (failure, ""),
            ("?", "SELECT 2"),
            ("< +OK\n", told),
            // It is in no other for one alone.
            ("> FLUSHDB", page),
            (failure, told),
        ]);
    }
}

#[test]
fn a_request_waits_while_weir_asks_the_server_what_it_means() {
    let mut told = Told::new(usize::MAX);
    let both = [request("NEWREAD a b"), request("NEWREAD c d"), request("NOSUCH x")].concat();
    let mut server = Edits::new();
    let taken = told.session.from_client(both.as_bytes(), &mut server).unwrap();
    assert_eq!(text(server.made()), request("COMMAND INFO newread"));
    assert!(told.session.is_busy());
    told.server(b"*1\r\n*6\r\n+newread\r\n:-2\r\n*1\r\n+readonly\r\n:1\r\n:1\r\n:1\r\n").unwrap();
    let rest = &both.as_bytes()[taken..];
    let mut server = Edits::new();
    told.session.from_client(rest, &mut server).unwrap();
    let expected =
        ["NEWREAD ns:a b", "NEWREAD ns:c d", "COMMAND INFO nosuch"].map(request).concat();
    assert_eq!(text(server.made()), expected);
    let got = told.server(b"$1\r\n1\r\n$1\r\n2\r\n*1\r\n*-1\r\n").unwrap();
    assert_eq!(got, "$1\r\n1\r\n$1\r\n2\r\n");
    assert_eq!(told.client(b"").unwrap(), "");
    let mut server = Edits::new();
    told.session.from_client(&[], &mut server).unwrap();
    assert_eq!(text(server.made()), "");
}

#[test]
fn deletions_are_told_once_they_are_done() {
    let mut told = Told::new(3);
    told.client(
        [request("DEL a b"), request("EXPIRE c 0"), request("EXPIRE d 5")].concat().as_bytes(),
    )
    .unwrap();
    assert!(told.session.deleted().is_empty(), "nothing is done yet");
    told.server(b":2\r\n-ERR no\r\n:1\r\n").unwrap();
    let keys = |keys: &[&str]| keys.iter().map(|key| key.as_bytes().to_vec()).collect::<Vec<_>>();
    let at_once = Deleted { database: 0, keys: keys(&["a", "b"]), at: None };
    assert!(at_once.is_done(0));
    assert_eq!(told.session.deleted(), [at_once]);
    let transaction = ["MULTI", "GETDEL x", "UNLINK y", "EXEC"].map(request).concat();
    told.client(transaction.as_bytes()).unwrap();
    told.server(b"+OK\r\n+QUEUED\r\n+QUEUED\r\n").unwrap();
    assert!(told.session.deleted().is_empty(), "nothing is done yet");
    told.server(b"*2\r\n$-1\r\n:1\r\n").unwrap();
    let deleted: Vec<Vec<Vec<u8>>> =
        told.session.deleted().into_iter().map(|deleted| deleted.keys).collect();
    assert_eq!(deleted, [keys(&["x"]), keys(&["y"])]);
    assert_eq!(told.session.counts().misses, 1);
}

#[test]
fn what_is_over_at_a_time_is_deleted_once_it_has_come() {
    let lines = [
        "EXPIREAT a 5",
        "PEXPIREAT b -7",
        "GETEX c EXAT 5",
        "GETEX d PXAT 5",
        "GETEX e EX 5",
        "GETEX",
        "EXPIRE f -1 GT",
        "EXPIRE g -1 GT",
        "EXPIREAT h x",
    ];
    let mut told = Told::new(usize::MAX);
    told.client(lines.map(request).concat().as_bytes()).unwrap();
    told.server(b":1\r\n:0\r\n$1\r\nx\r\n$-1\r\n$-1\r\n-ERR no\r\n:0\r\n:1\r\n-ERR no\r\n")
        .unwrap();
    let deleted = told.session.deleted();
    let found: Vec<(String, Option<i64>)> =
        deleted.iter().map(|deleted| (text(&deleted.keys[0]), deleted.at)).collect();
    let expected =
        [("a", Some(5000)), ("b", Some(-7)), ("c", Some(5000)), ("d", Some(5)), ("g", None)];
    assert_eq!(found, expected.map(|(key, at)| (key.to_owned(), at)));
    let done = |now| deleted.iter().filter(|deleted| deleted.is_done(now)).count();
    assert_eq!((done(0), done(5), done(4999), done(5000)), (2, 3, 3, 5));
}

#[test]
fn shared_keys_and_channels_stay_as_they_are() {
    for step in [usize::MAX, 1] {
        let sharing = Sharing::new(&["q:c:*".into()], &["q:*".into(), "news".into()]);
        let mut told = Told::new(step);
        let namespace: Namespace = "ns".parse().unwrap();
        told.session =
            Session::new(namespace.but_for(sharing), Commands::default(), Purpose::KeepAndTell);
        let mut sent = |line: &str| told.client(request(line).as_bytes()).unwrap();
        for (line, expected) in [
            ("MGET q:1 a q:c:1", "MGET q:1 ns:a ns:q:c:1"),
            ("EVAL x 2 q:1 a b", "EVAL x 2 q:1 ns:a b"),
            ("BLPOP q:1 a 0", "BLPOP q:1 ns:a 0"),
            ("SORT q:1 BY w_* GET q:* STORE a", "SORT q:1 BY ns:w_* GET q:* STORE ns:a"),
            ("XREAD STREAMS q:s s 0 0", "XREAD STREAMS q:s ns:s 0 0"),
            ("SCAN 0 MATCH q:*", "SCAN 0 MATCH ns:q:*"),
            ("KEYS q:*", "KEYS ns:q:*"),
            ("DEL q:1 a", "DEL q:1 ns:a"),
            ("EXPIRE q:1 0", "EXPIRE q:1 0"),
            ("PUBLISH news x", "PUBLISH news x"),
            ("PUBLISH olds x", "PUBLISH ns:olds x"),
            ("PSUBSCRIBE __keyspace@0__:q:1", "PSUBSCRIBE __keyspace@0__:q:1"),
        ] {
            assert_eq!(sent(line), request(expected));
        }
        let lists = "*2\r\n+v\r\n+w\r\n*2\r\n+v\r\n+w\r\n".to_owned();
        let answer = lists + "*2\r\n$3\r\nq:1\r\n$1\r\nx\r\n*0\r\n*-1\r\n";
        assert_eq!(told.server(answer.as_bytes()).unwrap(), answer);
        told.server(b"*2\r\n$1\r\n0\r\n*0\r\n*0\r\n:2\r\n:1\r\n:0\r\n:0\r\n").unwrap();
        let deleted = told.session.deleted();
        assert_eq!((deleted.len(), &deleted[0].keys), (1, &vec![b"a".to_vec()]));
        let event = "*4\r\n$8\r\npmessage\r\n$18\r\n__keyevent@0__:set\r\n$18\r\n__keyevent@0__:set\r\n$3\r\nq:1\r\n";
        let confirmed = "*3\r\n$10\r\npsubscribe\r\n$18\r\n__keyevent@0__:set\r\n:1\r\n";
        told.server(confirmed.as_bytes()).unwrap();
        assert_eq!(told.server(event.as_bytes()).unwrap(), event);
        let foreign = event.replace("$3\r\nq:1", "$5\r\nq:c:1");
        assert_eq!(told.server(foreign.as_bytes()).unwrap(), "");
    }
}

#[test]
fn databases_are_counted_from_the_first_of_the_release() {
    let mut told = Told::new(usize::MAX);
    let all = Session::new(Namespace::nothing(), Commands::default(), Purpose::KeepAndTell);
    told.session = all.within(Some("8-15".parse().unwrap()));
    let ask = |told: &mut Told, line: &str| told.client(request(line).as_bytes()).unwrap();
    // The first command waits until the connection is where it belongs.
    assert_eq!(ask(&mut told, "PING"), request("SELECT 8"));
    assert!(told.session.is_busy());
    assert_eq!(told.server(b"-NOAUTH Authentication required.\r\n").unwrap(), "");
    assert_eq!(ask(&mut told, "AUTH p"), "*1\r\n$3\r\nGET\r\n".to_owned() + &request("AUTH p"));
    let refused = told.server(b"-ERR wrong number\r\n+OK\r\n").unwrap();
    assert_eq!(refused, "-NOAUTH Authentication required.\r\n+OK\r\n");
    assert_eq!(ask(&mut told, "DBSIZE"), request("SELECT 8"));
    told.server(b"+OK\r\n").unwrap();
    assert_eq!(ask(&mut told, "PING"), request("DBSIZE") + &request("PING"));
    told.server(b":0\r\n+PONG\r\n").unwrap();
    for (line, expected) in [
        ("SELECT 7", "SELECT 15"),
        ("SELECT 8", "SELECT -1"),
        ("SELECT x", "SELECT x"),
        ("SWAPDB 0 1", "SWAPDB 8 9"),
        ("MOVE k 2", "MOVE k 10"),
        ("COPY a b DB 3 REPLACE", "COPY a b DB 11 REPLACE"),
        ("DBSIZE", "DBSIZE"),
        ("FLUSHDB ASYNC", "FLUSHDB ASYNC"),
        ("RANDOMKEY", "RANDOMKEY"),
        ("DEL k", "DEL k"),
    ] {
        assert_eq!(ask(&mut told, line), request(expected));
    }
    assert!(ask(&mut told, "FLUSHALL").ends_with("$1\r\n0\r\n$1\r\n8\r\n$2\r\n15\r\n"));
    told.server(b"+OK\r\n-ERR\r\n-ERR\r\n+OK\r\n:1\r\n:1\r\n:0\r\n+OK\r\n$-1\r\n:1\r\n+OK\r\n")
        .unwrap();
    assert_eq!(told.session.deleted()[0].database, 7);
    assert_eq!(ask(&mut told, "RESET"), request("RESET"));
    told.server(b"+RESET\r\n").unwrap();
    assert_eq!(ask(&mut told, "DBSIZE"), request("SELECT 8"));
}

#[test]
fn inline_commands_and_blank_ones_are_understood() {
    for step in [usize::MAX, 1] {
        let mut told = Told::new(step);
        let sent = told.client(b"\r\n*0\r\n*-1\r\nSET 'a b' \"c\"\r\nPING\n").unwrap();
        let expected = text(&resp::command(&["SET", "ns:a b", "c"])) + &request("PING");
        assert_eq!(sent, expected);
    }
}

#[test]
fn what_is_no_resp_is_refused_by_name() {
    let client = |bytes: &[u8]| Told::new(1).client(bytes).unwrap_err();
    assert_eq!(client(b"*x\r\n"), Violation::Count);
    assert_eq!(client(b"*99999999\r\n"), Violation::Count);
    assert_eq!(client(b"*1\r\n+PING\r\n"), Violation::Bulk);
    assert_eq!(client(b"*1\r\n$600000000\r\n"), Violation::Length);
    assert_eq!(client(b"*2\r\n$3\r\nGET\r\n$-1\r\n"), Violation::Length);
    assert_eq!(client(b"POST / HTTP/1.1\r\n"), Violation::Web);
    assert_eq!(client(b"SET \"a\r\n"), Violation::Quotes);
    assert_eq!(Told::new(usize::MAX).client(&vec![b'a'; 70_000]), Err(Violation::Line));
    let mut told = Told::new(1);
    assert_eq!(told.server(b"+OK\r\n"), Err(Violation::Answer), "nobody asked");
    told.client(request("GET a").as_bytes()).unwrap();
    assert_eq!(told.server(b"HTTP/1.1 400\r\n"), Err(Violation::Answer));
    let mut told = Told::new(usize::MAX);
    told.client(request("GET a").as_bytes()).unwrap();
    assert_eq!(told.server("*1\r\n".repeat(8193).as_bytes()), Err(Violation::Depth));
}

#[test]
fn nothing_is_kept_of_what_is_only_announced() {
    let mut told = Told::new(usize::MAX);
    told.client(b"*1000000\r\n$4\r\nMSET\r\n$500000000\r\n").unwrap();
    let part = vec![b'x'; 1 << 20];
    for _ in 0..4 {
        let mut server = Edits::new();
        let taken = told.session.from_client(&part, &mut server).unwrap();
        assert_eq!((taken, server.len()), (part.len(), part.len()));
    }
}

/// Arguments that look like options, numbers and keys.
fn argument() -> impl Strategy<Value = String> {
    let words = [
        "STORE",
        "streams",
        "GET",
        "by",
        "LIMIT",
        "match",
        "COUNT",
        "group",
        "0",
        "1",
        "2",
        "3",
        "-1",
        "99",
        "*",
        "#",
        "__keyspace@0__:x",
        "PREFIX",
        "on",
        "bcast",
        "",
    ];
    prop_oneof![select(words.to_vec()).prop_map(String::from), "[a-z:*]{0,12}"]
}

fn requests() -> impl Strategy<Value = Vec<u8>> {
    let names: Vec<String> = Commands::default().names().map(String::from).collect();
    // Those begin an errand, which the other side must end; or the end.
    let names: Vec<String> = names
        .into_iter()
        .filter(|name| {
            !["dbsize", "randomkey", "flushdb", "flushall", "post", "host:"]
                .contains(&name.as_str())
        })
        .collect();
    let one = (select(names), vec(argument(), 0..8)).prop_map(|(name, arguments)| {
        let mut words: Vec<&str> = name.split('|').collect();
        words.extend(arguments.iter().map(String::as_str));
        resp::command(&words)
    });
    vec(one, 1..6).prop_map(|requests| requests.concat())
}

/// Answers of any shape.
fn answer() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        "[+-][a-zA-Z ]{0,8}".prop_map(|line| line + "\r\n"),
        Just("_\r\n".to_owned()),
        Just("$-1\r\n".to_owned()),
        Just("*-1\r\n".to_owned()),
        any::<i64>().prop_map(|number| format!(":{number}\r\n")),
        "(ns:)?[a-z]{0,9}".prop_map(|text| format!("${}\r\n{text}\r\n", text.len())),
        "=[a-z]{3}".prop_map(|text| format!("=7\r\ntxt{text}\r\n")),
    ];
    let nested = leaf.prop_recursive(4, 32, 5, |inner| {
        (select(vec!['*', '~', '%']), vec(inner, 0..6)).prop_map(|(kind, mut parts)| {
            if kind == '%' && parts.len() % 2 == 1 {
                parts.pop();
            }
            let count = if kind == '%' { parts.len() / 2 } else { parts.len() };
            format!("{kind}{count}\r\n{}", parts.concat())
        })
    });
    nested.prop_map(String::into_bytes)
}

#[test]
fn a_part_that_begins_anew_is_turned_to_between_two_commands() {
    let next: Namespace = "ns.g5".parse().unwrap();
    for (asked, turns) in [
        ("", true),
        ("*2\r\n$3\r\nGET\r\n$1\r\n", false),
        ("GET a\r\n", false),
        ("MULTI\r\n", false),
        ("SUBSCRIBE a\r\n", false),
        ("CLIENT TRACKING ON\r\n", false),
    ] {
        let mut told = Told::new(usize::MAX);
        told.client(asked.as_bytes()).unwrap();
        assert_eq!(told.session.turn(&next), turns, "{asked:?}");
        assert!(told.session.turn(&"ns".parse().unwrap()) || turns, "it is there: {asked:?}");
    }
    // Once the answers are there; but not where the server holds something under the old name.
    for (asked, answered, turns) in [
        ("GET a\r\n", "$-1\r\n", true),
        ("MULTI\r\nEXEC\r\n", "+OK\r\n*0\r\n", true),
        ("MULTI\r\n", "+OK\r\n", false),
        ("SUBSCRIBE a\r\n", "*3\r\n$9\r\nsubscribe\r\n$4\r\nns:a\r\n:1\r\n", false),
        ("CLIENT TRACKING ON\r\n", "+OK\r\n", false),
        ("CLIENT TRACKING ON\r\n", "-ERR no\r\n", true),
        ("CLIENT TRACKING ON\r\nCLIENT TRACKING OFF\r\n", "+OK\r\n+OK\r\n", true),
        ("CLIENT TRACKING ON\r\nRESET\r\n", "+OK\r\n+RESET\r\n", true),
        ("MULTI\r\n", "-NOAUTH no\r\n", true),
        ("MULTI\r\nMULTI\r\n", "+OK\r\n-ERR nested\r\n", false),
        ("MULTI\r\nMULTI\r\n", "-LOADING\r\n+OK\r\n", false),
        ("MULTI\r\nEXEC\r\nMULTI\r\nEXEC\r\n", "-NO\r\n-NO\r\n-NO\r\n-NO\r\n", true),
        ("WATCH a\r\n", "+OK\r\n", false),
        ("WATCH a\r\n", "-NOAUTH no\r\n", true),
        ("WATCH a\r\nUNWATCH\r\n", "+OK\r\n+OK\r\n", true),
        ("WATCH a\r\nRESET\r\n", "+OK\r\n+RESET\r\n", true),
        ("WATCH a\r\nMULTI\r\nEXEC\r\n", "+OK\r\n+OK\r\n*-1\r\n", true),
        ("WATCH a\r\nMULTI\r\nDISCARD\r\n", "+OK\r\n+OK\r\n+OK\r\n", true),
        ("WATCH a\r\nEXEC\r\n", "+OK\r\n-ERR EXEC without MULTI\r\n", false),
    ] {
        let mut told = Told::new(usize::MAX);
        told.client(asked.as_bytes()).unwrap();
        told.server(answered.as_bytes()).unwrap();
        assert_eq!(told.session.turn(&next), turns, "{asked:?}");
        if turns {
            let sent = told.client(b"GET a\r\n").unwrap();
            assert_eq!(sent, request("GET ns.g5:a"));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_become_the_same_whole_and_byte_by_byte(requests in requests(), step in 1..9_usize) {
        let whole = Told::new(usize::MAX).client(&requests);
        prop_assert_eq!(Told::new(step).client(&requests), whole.clone());
        // What comes out is RESP again, and as many requests.
        let (mut sent, mut count) = (whole.unwrap().into_bytes(), 0);
        while let Some((_, taken)) = resp::Value::parse(&sent).unwrap() {
            sent.drain(..taken);
            count += 1;
        }
        prop_assert!(sent.is_empty());
        prop_assert!(count <= 6);
    }

    #[test]
    fn answers_become_the_same_whole_and_byte_by_byte(
        name in select(vec!["GET a", "KEYS *", "BLPOP a 0", "SCAN 0", "XREAD STREAMS a 0", "XINFO STREAM a", "PUBSUB NUMSUB a", "MGET a"]),
        answer in answer(),
        step in 1..9_usize,
    ) {
        let told = |step| {
            let mut told = Told::new(step);
            told.client(request(name).as_bytes()).unwrap();
            let got = told.server(&answer);
            (got, told.session.is_idle(), told.session.counts())
        };
        let whole = told(usize::MAX);
        prop_assert!(whole.1, "it is answered");
        prop_assert_eq!(told(step), whole.clone());
        if name == "GET a" {
            prop_assert_eq!(whole.0.unwrap(), text(&answer), "what has no keys is not touched");
        }
    }

    #[test]
    fn what_the_server_gives_back_is_what_the_client_gave(key in "[ -~]{0,40}", step in 1..9_usize) {
        let mut told = Told::new(step);
        let sent = told.client(&resp::command(&["BLPOP", &key, "0"])).unwrap();
        // Name, key, timeout: the answer is the key as it came, and a value.
        let (value, _) = resp::Value::parse(sent.as_bytes()).unwrap().unwrap();
        let kept = value.list().unwrap()[1].text().unwrap().to_vec();
        prop_assert_eq!(&text(&kept), &format!("ns:{key}"));
        let answer = told.server(&resp::command(&[&kept[..], b"v"])).unwrap();
        prop_assert_eq!(answer, text(&resp::command(&[key.as_str(), "v"])));
    }
}
