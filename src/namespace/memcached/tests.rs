//! Sessions in one piece and byte by byte, and what they must never let through.

use proptest::prelude::*;

use super::*;

const GENERATION: Generation = Generation(1_796_000_000_000_000);

/// What the server and the client get.
#[derive(Debug, Default, PartialEq, Eq)]
struct Got {
    server: Vec<u8>,
    client: Vec<u8>,
    counts: Counts,
    deleted: Vec<Key>,
}

fn session() -> Session {
    let mut session = Session::new("1.0.0".parse().unwrap(), Purpose::KeepAndTell);
    session.enter(GENERATION);
    session
}

/// What the server gets, where it is fed in parts of this size; flushes succeed.
fn asked(session: &mut Session, input: &[u8], part: usize) -> Vec<u8> {
    let (mut waiting, mut out) = (Vec::new(), Vec::new());
    for part in input.chunks(part.max(1)) {
        waiting.extend_from_slice(part);
        loop {
            let mut edits = Edits::new();
            let taken = session.from_client(&waiting, &mut edits);
            out.extend(edits.whole(&waiting));
            waiting.drain(..taken);
            if session.wish().is_none() {
                break;
            }
            let mut edits = Edits::new();
            session.fulfilled(true, &mut edits);
            out.extend(edits.whole(&[]));
        }
    }
    out
}

fn told(session: &mut Session, input: &[u8], part: usize) -> Result<Vec<u8>, Violation> {
    let (mut waiting, mut out) = (Vec::new(), Vec::new());
    for part in input.chunks(part.max(1)) {
        waiting.extend_from_slice(part);
        let mut edits = Edits::new();
        let taken = session.from_server(&waiting, &mut edits)?;
        out.extend(edits.whole(&waiting));
        waiting.drain(..taken);
    }
    Ok(out)
}

fn played(requests: &[u8], answers: &[u8], part: usize) -> Result<Got, Violation> {
    let mut session = session();
    let server = asked(&mut session, requests, part);
    let client = told(&mut session, answers, part)?;
    Ok(Got { server, client, counts: session.counts(), deleted: session.deleted() })
}

/// `text` with the prefix where it has `#`.
fn with_prefix(text: &str) -> Vec<u8> {
    let prefix = Prefix::new(&"1.0.0".parse().unwrap(), GENERATION);
    text.replace('#', std::str::from_utf8(prefix.bytes()).unwrap()).into_bytes()
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The server gets `expected` (`#` is the prefix), the client this for these answers.
fn check(requests: &str, expected: &str, answers: &str, client: &str) {
    for part in [1, 7, 100_000] {
        let got = played(requests.as_bytes(), &with_prefix(answers), part).unwrap();
        assert_eq!(shown(&got.server), shown(&with_prefix(expected)), "{requests}");
        assert_eq!(shown(&got.client), client, "{requests}");
    }
}

#[test]
fn keys_get_the_prefix_and_answers_lose_it() {
    check(
        "get a b\r\n",
        "get #a #b\r\n",
        "VALUE #b 0 5\r\nEND\r\n\r\nEND\r\n",
        "VALUE b 0 5\r\nEND\r\n\r\nEND\r\n",
    );
    check(
        "gat 10 a\r\ngets a\n",
        "gat 10 #a\r\ngets #a\r\n",
        "END\r\nVALUE #a 0 0 7\r\n\r\nEND\r\n",
        "END\r\nVALUE a 0 0 7\r\n\r\nEND\r\n",
    );
    check(
        "set get 1 2 7\r\nget a\r\n\r\nadd k 0 0 0 noreply\r\n\r\n",
        "set #get 1 2 7\r\nget a\r\n\r\nadd #k 0 0 0 noreply\r\n\r\n",
        "STORED\r\n",
        "STORED\r\n",
    );
    check(
        "cas k 0 0 1 5\r\nx\r\nincr n 1\r\n",
        "cas #k 0 0 1 5\r\nx\r\nincr #n 1\r\n",
        "EXISTS\r\n2\r\n",
        "EXISTS\r\n2\r\n",
    );
    check(
        "  delete   k \r\ntouch k 5\r\n",
        "delete #k \r\ntouch #k 5\r\n",
        "DELETED\r\nTOUCHED\r\n",
        "DELETED\r\nTOUCHED\r\n",
    );
}

#[test]
fn meta_commands_keep_their_flags() {
    check(
        "mg k k v Okay q\r\nms s 2 k T0\r\nhi\r\nmn\r\n",
        "mg #k k v Okay q\r\nms #s 2 k T0\r\nhi\r\nmn\r\n",
        "VA 2 k#k Okay\r\nEN\r\nHD k#s\r\nMN\r\n",
        "VA 2 kk Okay\r\nEN\r\nHD ks\r\nMN\r\n",
    );
    check(
        "me k\r\nmd k q\r\nma n N0 k\r\n",
        "me #k\r\nmd #k q\r\nma #n N0 k\r\n",
        "ME #k exp=-1 la=1\r\nHD k#n\r\n",
        "ME k exp=-1 la=1\r\nHD kn\r\n",
    );
    // A key of base64 of "AB", which the text protocol has stored.
    let got = played(b"mg QUI= b k\r\n", &with_prefix("HD k#AB\r\n"), 1).unwrap();
    assert_eq!(shown(&got.client), "HD kAB\r\n");
    let sent = shown(&got.server);
    let base64 = sent.strip_prefix("mg ").unwrap().strip_suffix(" b k\r\n").unwrap();
    assert!(base64.ends_with("QUI="), "{sent}");
    let answer = format!("HD k{base64} b\r\n");
    let got = played(b"mg QUI= b k\r\n", answer.as_bytes(), 1).unwrap();
    assert_eq!(shown(&got.client), "HD kQUI= b\r\n");
}

#[test]
fn long_keys_are_hashed_and_named_in_full_in_the_answer() {
    for length in 217..=250 {
        let [one, two] = ["1", "2"].map(|end| format!("{}{end}", "k".repeat(length - 1)));
        let mut session = session();
        let sent = asked(&mut session, format!("get {one} {two}\r\n").as_bytes(), 1);
        let words: Vec<String> = shown(&sent).split_whitespace().map(str::to_owned).collect();
        assert!(words.iter().all(|word| word.len() <= 250), "{length}");
        // The first was not there.
        let answer = format!("VALUE {} 0 0\r\n\r\nEND\r\n", words[2]);
        let told = told(&mut session, answer.as_bytes(), 1).unwrap();
        assert_eq!(shown(&told), format!("VALUE {two} 0 0\r\n\r\nEND\r\n"));
    }
}

#[test]
fn a_value_after_a_line_that_the_server_refuses_never_reaches_it() {
    let long = "k".repeat(251);
    for (order, said) in [
        (format!("set {long} 0 0 9 noreply"), ""),
        (format!("set {long} 0 0 9"), "CLIENT_ERROR bad command line format\r\n"),
        (format!("cas {long} 0 0 9 1"), "CLIENT_ERROR bad command line format\r\n"),
        (format!("ms {long} 9"), "CLIENT_ERROR bad command line format\r\n"),
        (format!("ms k 9{}", " O1".repeat(30)), "CLIENT_ERROR options flags too long\r\n"),
    ] {
        let barrier = if said.is_empty() { "" } else { "version\r\n" };
        let requests = format!("{order}\r\nflush_all\r\nget a\r\n");
        let answers = if said.is_empty() { "END\r\n" } else { "VERSION 1\r\nEND\r\n" };
        check(&requests, &format!("{barrier}get #a\r\n"), answers, &format!("{said}END\r\n"));
    }
    // Where the server takes no value off the line, Weir does not, either; what it took for
    // commands then, Weir sees as commands.
    for order in
        ["set k x 0 5", "set k 0 0 -1", "set k 0 0 9999999999", "ms k x", "set k 0\x000 0 5"]
    {
        let got = played(format!("{order}\r\nget a\r\n").as_bytes(), b"", 1).unwrap();
        assert_eq!(shown(&got.server), shown(&with_prefix("version\r\nget #a\r\n")), "{order}");
    }
    // A key too long on a line without a value: the server says so itself; but for `get`, where it
    // would forget what it has not sent yet.
    let got = played(format!("get a {long} b\r\ndelete {long}\r\n").as_bytes(), b"", 1).unwrap();
    let refused = "x".repeat(251);
    let expected = format!("version\r\ndelete {refused}\r\n");
    assert_eq!(shown(&got.server), shown(&with_prefix(&expected)));
}

#[test]
fn lines_without_an_end_close_the_connection_and_endless_gets_stream() {
    let got = played(&[&b"get a\r\nset "[..], &[b'k'; 5000]].concat(), b"", 100).unwrap();
    assert_eq!(shown(&got.server), shown(&with_prefix("get #a\r\nquit\r\n")));
    let keys: Vec<String> = (0..20_000).map(|number| format!("key:{number}")).collect();
    let got = played(format!("get {}\r\n", keys.join(" ")).as_bytes(), b"", 1000).unwrap();
    assert_eq!(shown(&got.server).matches("key:").count(), 20_000);
    let long = [b"get ".to_vec(), vec![b'k'; 100_000], b" a\r\nget b\r\n".to_vec()].concat();
    let got = played(&long, b"", 9000).unwrap();
    assert_eq!(shown(&got.server), "get\r\nquit\r\n");
}

#[test]
fn what_concerns_the_whole_server_is_refused_in_its_turn() {
    for order in [
        "shutdown",
        "cache_memlimit 1",
        "slabs reassign 1 2",
        "lru tune 1 2 3",
        "watch",
        "lru_crawler metadump all",
        "stats cachedump 1 1",
        "stats reset",
        "stats detail on",
    ] {
        let name = order.split(' ').next().unwrap();
        check(
            &format!("get a\r\n{order}\r\nget b\r\n"),
            "get #a\r\nversion\r\nget #b\r\n",
            "END\r\nVERSION 1.6\r\nEND\r\n",
            &format!(
                "END\r\nCLIENT_ERROR Weir refuses {name}: it concerns more than the keys of this version; send it to the server itself\r\nEND\r\n"
            ),
        );
    }
    check(
        "version\r\nverbosity 1\r\nversion\r\n",
        "version\r\nversion\r\nversion\r\n",
        "VERSION 1\r\nVERSION 1\r\nVERSION 1\r\n",
        "VERSION 1\r\nOK\r\nVERSION 1\r\n",
    );
    check("GET / HTTP/1.1\r\nHost: x\r\n", "quit\r\n", "", "");
    check(
        "nonsense\r\nget\r\n",
        "version\r\nversion\r\n",
        "VERSION 1\r\nVERSION 1\r\n",
        "ERROR\r\nERROR\r\n",
    );
    check(
        "stats settings\r\nstats\r\n",
        "stats settings\r\nstats\r\n",
        "END\r\nSTAT a 1\r\nEND\r\n",
        "END\r\nSTAT a 1\r\nEND\r\n",
    );
}

#[test]
fn a_flush_waits_for_its_generation_and_is_told_in_its_turn() {
    let mut session = session();
    let mut edits = Edits::new();
    let requests = b"get a\r\nflush_all 5\r\nget b\r\n";
    let taken = session.from_client(requests, &mut edits);
    assert_eq!((taken, session.wish()), (20, Some(Flush::Later(5))));
    assert_eq!(session.from_client(&requests[taken..], &mut edits), 0, "requests wait");
    session.fulfilled(true, &mut edits);
    session.enter(Generation(GENERATION.0 + 1));
    session.from_client(&requests[taken..], &mut edits);
    let sent = shown(&edits.whole(requests));
    let lines: Vec<&str> = sent.lines().collect();
    assert_eq!(lines[1], "version");
    assert_ne!(lines[0].trim_end_matches('a'), lines[2].trim_end_matches('b'));
    let said = told(&mut session, b"END\r\nVERSION 1\r\nEND\r\n", 1).unwrap();
    assert_eq!(shown(&said), "END\r\nOK\r\nEND\r\n");
    let mut edits = Edits::new();
    session.from_client(b"flush_all noreply\r\n", &mut edits);
    session.fulfilled(false, &mut edits);
    assert!(
        shown(&told(&mut session, b"VERSION 1\r\n", 9).unwrap()).starts_with("SERVER_ERROR Weir")
    );
    check(
        "flush_all x\r\nflush_all 1 2 3\r\n",
        "version\r\nversion\r\n",
        "VERSION 1\r\nVERSION 1\r\n",
        "CLIENT_ERROR invalid exptime argument\r\nERROR\r\n",
    );
}

#[test]
fn hits_and_misses_are_those_of_values() {
    let counts = |requests: &str, answers: &str| {
        let got = played(requests.as_bytes(), &with_prefix(answers), 1).unwrap();
        (got.counts.hits, got.counts.misses, got.counts.commands)
    };
    assert_eq!(counts("get a b c\r\nget d\r\n", "VALUE #b 0 0\r\n\r\nEND\r\nEND\r\n"), (1, 3, 2));
    assert_eq!(counts("mg a v\r\nmg b v\r\nmg c t\r\n", "VA 0\r\n\r\nEN\r\nHD t-1\r\n"), (1, 1, 3));
    assert_eq!(counts("mg a v q k\r\nmg b v q k\r\nmn\r\n", "VA 0 k#b\r\n\r\nMN\r\n"), (1, 1, 3));
    assert_eq!(counts("set a 0 0 1\r\nx\r\ndelete a\r\n", "STORED\r\nDELETED\r\n"), (0, 0, 2));
}

#[test]
fn deletions_are_told() {
    let got = played(b"delete a\r\nmd QUI= b q\r\ntouch c -1\r\ntouch d 5\r\ngat -1 e f\r\ndelete g x\r\ndelete h 0 noreply\r\n", b"", 1).unwrap();
    let plain = |key: &str| Key::Plain(key.as_bytes().to_vec());
    let expected =
        [plain("a"), Key::Base64(b"QUI=".to_vec()), plain("c"), plain("e"), plain("f"), plain("h")];
    assert_eq!(got.deleted, expected);
}

#[test]
fn names_nobody_asks_for_do_not_stay() {
    let mut session = session();
    let long = "k".repeat(240);
    let mut sent = Vec::new();
    for number in 0..5000 {
        sent.extend(asked(&mut session, format!("get {long}{number}\r\n").as_bytes(), 100_000));
    }
    let answers = shown(&sent)
        .lines()
        .map(|line| if line == "version" { "VERSION 1\r\n" } else { "END\r\n" })
        .collect::<String>();
    let said = told(&mut session, answers.as_bytes(), 100_000).unwrap();
    assert_eq!(shown(&said), "END\r\n".repeat(5000));
    assert!(session.talk.held() < 1100, "{}", session.talk.held());
}

fn binary(code: u8, extras: &[u8], key: &[u8], value: &[u8]) -> Vec<u8> {
    message(0x80, code, 0, extras, key, value)
}

fn message(magic: u8, code: u8, status: u16, extras: &[u8], key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = vec![magic, code];
    out.extend(u16::try_from(key.len()).unwrap().to_be_bytes());
    out.extend([u8::try_from(extras.len()).unwrap(), 0]);
    out.extend(status.to_be_bytes());
    out.extend(u32::try_from(extras.len() + key.len() + value.len()).unwrap().to_be_bytes());
    out.extend([1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 9]);
    [&out, extras, key, value].concat()
}

#[test]
fn binary_requests_get_the_prefix_and_answers_lose_it() {
    let key = with_prefix("#k");
    for part in [1, 10, 100_000] {
        let requests = [
            binary(0x01, &[0; 8], b"k", b"value"),
            binary(0x0d, &[], b"k", b""),
            binary(0x0a, &[], b"", b""),
        ]
        .concat();
        let answers = [
            message(0x81, 0x01, 0, &[], b"", b""),
            message(0x81, 0x0d, 0, &[0; 4], &key, b"value"),
            message(0x81, 0x0a, 0, &[], b"", b""),
        ]
        .concat();
        let got = played(&requests, &answers, part).unwrap();
        let expected = [
            binary(0x01, &[0; 8], &key, b"value"),
            binary(0x0d, &[], &key, b""),
            binary(0x0a, &[], b"", b""),
        ]
        .concat();
        assert_eq!(got.server, expected);
        let expected = [
            message(0x81, 0x01, 0, &[], b"", b""),
            message(0x81, 0x0d, 0, &[0; 4], b"k", b"value"),
            message(0x81, 0x0a, 0, &[], b"", b""),
        ]
        .concat();
        assert_eq!(got.client, expected);
        assert_eq!((got.counts.hits, got.counts.misses), (1, 0));
    }
}

#[test]
fn binary_requests_that_lie_about_their_length_close_the_connection() {
    let after = binary(0x00, &[], b"k", b"");
    for wrong in [
        binary(0x00, &[], &[b'k'; 251], b""),
        binary(0x00, &[], b"", b""),
        binary(0x00, &[], b"k", b"more"),
        binary(0x01, &[0; 4], b"k", b"v"),
        binary(0x05, &[0; 8], b"k", b""),
        binary(0x10, &[], b"k", b"more"),
    ] {
        let got = played(&[wrong.clone(), after.clone()].concat(), b"", 1).unwrap();
        let mut expected = wrong;
        expected.truncate(24);
        expected[2..5].copy_from_slice(&[0, 251, 0]);
        expected[8..12].copy_from_slice(&[0, 0, 0, 251]);
        expected.extend([b'x'; 251]);
        assert_eq!(got.server, expected);
    }
    let unknown = [binary(0x55, &[1; 3], b"key", b"flush"), after].concat();
    let got = played(&unknown, &message(0x81, 0x0a, 0, &[], b"", b""), 1).unwrap();
    let key = with_prefix("#k");
    assert_eq!(got.server[24..], binary(0x00, &[], &key, b""));
    assert_eq!((got.client[1], &got.client[24..]), (0x55, &b"Unknown command"[..]));
    assert_eq!(played(b"\x80\x0a", b"\x81", 1).unwrap().server, b"", "not whole yet");
    assert_eq!(
        played(&[binary(0x0a, &[], b"", b""), b"get a\r\n".to_vec()].concat(), b"", 1)
            .unwrap()
            .server[25],
        0x17
    );
}

#[test]
fn what_is_only_watched_is_counted_and_nothing_is_refused() {
    let mut session = Session::new(Namespace::nothing(), Purpose::Watch);
    asked(&mut session, b"get a b\r\nflush_all\r\nstats reset\r\ndelete x\r\nshutdown\r\n", 1);
    told(&mut session, b"VALUE a 0 0\r\n\r\nEND\r\nOK\r\nRESET\r\nDELETED\r\n", 1).unwrap();
    let counts = session.counts();
    assert_eq!((counts.hits, counts.misses, counts.refused, counts.commands), (1, 1, 0, 5));
    assert_eq!(session.deleted(), []);
}

/// Pieces of which nonsense is made that is near to sense.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<&'static [u8]> = vec![
        b"get ",
        b"gets ",
        b"gat 1 ",
        b"set ",
        b"k 0 0 3\r\n",
        b"abc\r\n",
        b"ms ",
        b"mg ",
        b"md ",
        b"k ",
        b"v k q O1\r\n",
        b" b\r\n",
        b"QUJD",
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\0",
        b"noreply\r\n",
        b"flush_all\r\n",
        b"delete ",
        b"mn\r\n",
        b"version\r\n",
        b"VERSION 1\r\n",
        b"VALUE ",
        b"1.0.0:",
        b" 0 3\r\n",
        b"END\r\n",
        b"VA 3 k",
        b"HD k",
        b"-1 ",
        b"99999999999999999999 ",
    ];
    let word = prop_oneof![
        8 => proptest::sample::select(words).prop_map(<[u8]>::to_vec),
        1 => (1..600_usize).prop_map(|length| vec![b'z'; length]),
        1 => proptest::collection::vec(any::<u8>(), 0..30),
    ];
    proptest::collection::vec(word, 0..30).prop_map(|words| words.concat())
}

/// Requests or answers in binary, sound and unsound.
fn messages(magic: u8) -> impl Strategy<Value = Vec<u8>> {
    let extras = prop_oneof![Just(0_usize), Just(4), Just(8), Just(20), 0..30_usize];
    let one = (0..0x28_u8, extras, 0..260_usize, 0..40_usize, 0..3_u16, any::<bool>()).prop_map(
        move |(code, extras, key, value, status, named)| {
            let mut key = vec![b'k'; key];
            if named && key.len() > 30 {
                let prefix = with_prefix("#");
                key[..prefix.len()].copy_from_slice(&prefix);
            }
            message(magic, code, status, &vec![0; extras], &key, &vec![b'v'; value])
        },
    );
    proptest::collection::vec(one, 0..12).prop_map(|all| all.concat())
}

proptest! {
    #[test]
    fn parts_make_no_difference(requests in pieces(), answers in pieces(), part in 1..40_usize) {
        prop_assert_eq!(played(&requests, &answers, 1_000_000), played(&requests, &answers, part));
    }

    #[test]
    fn parts_make_no_difference_in_binary(
        requests in messages(0x80), answers in messages(0x81), tail in pieces(), part in 1..40_usize,
    ) {
        let requests = [&[0x80, 0x0a][..], &[0; 22], &requests, &tail].concat();
        prop_assert_eq!(played(&requests, &answers, 1_000_000), played(&requests, &answers, part));
    }

    #[test]
    fn a_server_never_sees_a_line_that_breaks_its_step(requests in pieces()) {
        // What the server takes off the line, by its own rules.
        let sent = played(&requests, b"", 1_000_000).unwrap().server;
        let mut rest = &sent[..];
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: String = rest[..end].iter().map(|byte| *byte as char).collect();
            rest = &rest[end + 1..];
            let line = line.strip_suffix('\r').unwrap();
            let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
            // Base64 that is none goes on as "!", which the server refuses.
            let prefixed = |key: &str| {
                key.starts_with("1.0.0:") || key.starts_with("MS4wLjA6") || key == "!"
            };
            match words.as_slice() {
                ["set", key, _, _, size, ..] | ["ms", key, size, ..] => {
                    prop_assert!(key.chars().count() <= 250 && prefixed(key), "{line}");
                    let size: usize = size.parse().unwrap();
                    rest = rest.get(size + 2..).unwrap_or_default();
                }
                ["get" | "gets", keys @ ..] | ["gat", _, keys @ ..] => {
                    for key in keys {
                        prop_assert!(prefixed(key) && key.chars().count() <= 250, "{line}");
                    }
                }
                ["delete" | "mg" | "md", key, ..] => {
                    prop_assert!(prefixed(key) || key.len() == 251, "{line}");
                }
                ["version" | "mn" | "quit"] => {}
                _ => prop_assert!(false, "the server gets {line:?}"),
            }
        }
    }

    #[test]
    fn what_is_put_in_front_is_taken_away(key in "[!-~]{1,250}", data in any::<Vec<u8>>()) {
        let mut session = session();
        let sent = asked(&mut session, format!("mg {key} k v\r\n").as_bytes(), 100_000);
        let sent = shown(&sent);
        let whole = sent.split(' ').nth(1).unwrap();
        prop_assert!(whole.len() <= 250);
        let mut answer = format!("VA {} k{whole}\r\n", data.len()).into_bytes();
        answer.extend([&data[..], b"\r\n"].concat());
        let mut expected = format!("VA {} k{key}\r\n", data.len()).into_bytes();
        expected.extend([&data[..], b"\r\n"].concat());
        prop_assert_eq!(told(&mut session, &answer, 13).unwrap(), expected);
    }
}
