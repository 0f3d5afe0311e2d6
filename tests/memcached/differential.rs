//! The same random requests to a memcached and to one behind Weir: the same answers, byte for byte
//! but for what is counted anew by each server.

use std::net::SocketAddr;

use super::binary::Message;
use super::client::Client;
use crate::support::dice::Dice;

/// Requests in which words in braces are chosen by chance.
const REQUESTS: &[&str] = &[
    "get {key}\r\n",
    "get {key} {key} {key}\r\n",
    "gets {key} {key}\r\n",
    " get  {key}   {key} \n",
    "gat {time} {key} {key}\r\n",
    "gats 0 {key}\r\n",
    "gat x {key}\r\n",
    "get\r\n",
    "set {key} {n} {time} {data}",
    "set {key} {n} 0 {data}",
    "set {key} {n} 0 {data}",
    "set  {key} 4294967295   0 {data}",
    "set {key} 1 0 {quiet}",
    "add {key} 0 0 {data}",
    "replace {key} 0 0 {data}",
    "append {key} 0 0 {data}",
    "prepend {key} 0 0 {data}",
    "append {key} 0 0 {quiet}",
    "cas {key} 0 0 {size} {cas}\r\n{value}\r\n",
    "cas {key} 0 0 {size} x\r\n",
    "set {key} 0 0 1 other\r\nv\r\n",
    "set {key} 0 0 3\r\nabcdefg\r\n",
    "set {key} 0 0 8\r\nflush_al\r\n",
    "set {key} 0 0 -1\r\n",
    "set {key} 0 0 2147483646\r\n",
    "set {key} 0 0 x\r\n",
    "set {key}\r\n",
    "set n 0 0 {digits}\r\n{number}\r\n",
    "incr n {n}\r\n",
    "decr n {n}\r\n",
    "incr {key} 1\r\n",
    "incr n x\r\n",
    "decr n 1 noreply\r\n",
    "incr\r\n",
    "delete {key}\r\n",
    "delete {key} 0\r\n",
    "delete {key} 5\r\n",
    "delete {key} noreply\r\n",
    "delete {key} 0 noreply\r\n",
    "delete\r\n",
    "touch {key} {time}\r\n",
    "touch {key}\r\n",
    "mg {key} {flags}\r\n",
    "mg {key} k v\r\n",
    "mg {key} v q k O{n}\r\n",
    "mg {key}\r\n",
    "mg {b64} b k v f\r\n",
    "mg {b64} b q v k\r\n",
    "mg k1 b v\r\n",
    "mg {key} nonsense\r\n",
    "mg {key} v v\r\n",
    "mg\r\n",
    "ms {key} {msdata}",
    "ms {key} {msdata}",
    "ms {b64} {size} b k\r\n{value}\r\n",
    "ms {key} {size} q\r\n{value}\r\n",
    "ms {key} {size} q ME\r\n{value}\r\n",
    "ms {key} {size} MA I\r\n{value}\r\n",
    "ms {key} {size} MX\r\n{value}\r\n",
    "ms {key} {size} nonsense\r\n{value}\r\n",
    "ms {key} 3\r\nabcdefg\r\n",
    "ms {key} x\r\n",
    "ms {key} -1\r\n",
    "ms {key}\r\n",
    "ms\r\n",
    "md {key} {flags}\r\n",
    "md {key} q\r\n",
    "md {b64} b k O1\r\n",
    "md {key} I T30\r\n",
    "ma n k O1\r\n",
    "ma n N0 J13 v k\r\n",
    "ma {key} q\r\n",
    "ma {b64} b N0 v k\r\n",
    "me {key}\r\n",
    "me {b64} b\r\n",
    "me\r\n",
    "mn\r\n",
    "version\r\n",
    "flush_all\r\n",
    "flush_all noreply\r\n",
    "flush_all nonsense\r\n",
    // Not one in time: then memcached forgets one that was before, and brings back what it had.
    "\r\n",
    "\n",
    "x\r\n",
    "nonsense {key} {n}\r\n",
    "verbosity\r\n",
];

/// Long ones that are hashed behind Weir, too long ones that are refused, and base64.
fn key(dice: &mut Dice) -> String {
    match dice.below(12) {
        0 => "k".repeat(217 + dice.below(34)),
        1 => format!("{}{}", "long".repeat(55), dice.below(3)),
        2 => "wide-\u{e4}\u{20ac}".to_owned(),
        3 => "1.0.0:k0".to_owned(),
        _ => format!("k{}", dice.below(4)),
    }
}

/// What stands behind a key on a line without a value.
fn too_long(dice: &mut Dice) -> String {
    "k".repeat(251 + dice.below(2) * 300)
}

fn base64(dice: &mut Dice) -> String {
    match dice.below(8) {
        // "k0", "k1", "AB\0\n", nothing.
        0 => "azA=".to_owned(),
        1 => "azE=".to_owned(),
        2 => "QUIACg==".to_owned(),
        3 => "QUJD".repeat(46 + dice.below(17)),
        4 => "QUJD".repeat(62),
        5 => "A".to_owned(),
        6 => "!!!!".to_owned(),
        _ => "YmluYXJ5".to_owned(),
    }
}

/// None of blanks alone: memcached reads past it when it looks for a number.
fn value(dice: &mut Dice) -> String {
    let words =
        ["", "a", "flush_all", "get k0\r\n", "END", "VALUE 1.0.0:x 0 1", "x\r\n", "10", "\0"];
    match dice.below(12) {
        0 => "v".repeat(dice.below(5000)),
        1 => "v".repeat(100_000),
        // Not nearer to the limit of 1 MiB: a longer key leaves less to the value.
        2 if dice.below(4) == 0 => "v".repeat(900_000 + dice.below(2) * 200_000),
        _ => dice.one(&words).to_owned(),
    }
}

fn filled(template: &str, cas: &str, dice: &mut Dice) -> Vec<u8> {
    let (mut out, mut rest) = (String::new(), template);
    let value = value(dice);
    let data = |quiet: &str| format!("{}{quiet}\r\n{value}\r\n", value.len());
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').unwrap();
        out.push_str(before);
        match name {
            "key" if dice.below(40) == 0 && !carries(template) => {
                out.push_str(&too_long(dice));
            }
            "key" => out.push_str(&key(dice)),
            "b64" => out.push_str(&base64(dice)),
            "n" | "number" => out.push_str(&(dice.below(9)).to_string()),
            "digits" => out.push('1'),
            "time" => out.push_str(dice.one(&["0", "1000", "-1", "2000000000"])),
            "size" => out.push_str(&value.len().to_string()),
            "value" => out.push_str(&value),
            "data" => out.push_str(&data("")),
            "quiet" => out.push_str(&data(" noreply")),
            "msdata" => {
                let flags = dice.one(&["", " k", " c O9", " T0 F5", " S1", " MP", " k q", " C1"]);
                out.push_str(&data(flags));
            }
            "cas" => out.push_str(cas),
            "flags" => {
                let all = ["v k", "v q k", "k O7", "c v", "f s v", "T-1", "t", "N0 v", "k q", "h"];
                out.push_str(dice.one(&all));
            }
            other => panic!("{other}"),
        }
        rest = after;
    }
    out.push_str(rest);
    out.into_bytes()
}

/// Whether a value follows: if its key is too long, memcached reads it as commands.
fn carries(template: &str) -> bool {
    let order = template.trim_start().split(' ').next().unwrap();
    // And of a `get` it forgets answers to what came before, if it has not sent them yet.
    matches!(
        order,
        "get"
            | "gets"
            | "gat"
            | "gats"
            | "set"
            | "add"
            | "replace"
            | "append"
            | "prepend"
            | "cas"
            | "ms"
    )
}

/// Without what each server counts for itself, and without what depends on a key's length.
fn compared(answers: &[u8]) -> String {
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty();
    let masked = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["VALUE", key, flags, size, _] => format!("VALUE {key} {flags} {size} *"),
            ["ME", key, ..] => format!("ME {key}"),
            ["VA" | "HD" | "EN" | "NF" | "NS" | "EX", ..] => words
                .iter()
                .map(|word| match word.split_at_checked(1) {
                    Some((flag @ ("c" | "t"), count)) if number(count) => flag,
                    Some(_) | None => word,
                })
                .collect::<Vec<_>>()
                .join(" "),
            _ => line.to_owned(),
        }
    };
    String::from_utf8_lossy(answers).split("\r\n").map(masked).collect::<Vec<_>>().join("\r\n")
}

/// The last number for `cas` that was told.
fn cas_of(answers: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(answers).into_owned();
    let cas = |line: &str| match line.split(' ').collect::<Vec<_>>().as_slice() {
        ["VALUE", _, _, _, cas] => Some((*cas).to_owned()),
        _ => None,
    };
    text.split("\r\n").filter_map(cas).last()
}

/// Sends in parts of some size.
fn send(client: &mut Client, bytes: &[u8], part: usize) {
    for part in bytes.chunks(part.max(1)) {
        client.send(part);
    }
}

/// Plays `rounds` random pipelines of text and meta commands.
pub fn text(
    direct: SocketAddr,
    through: SocketAddr,
    seed: u64,
    rounds: usize,
) -> Result<(), String> {
    let mut dice = Dice::new(seed);
    let mut sides = [direct, through].map(|address| (Client::new(address), "1".to_owned()));
    for (client, _) in &mut sides {
        assert_eq!(client.ask("flush_all"), "OK");
    }
    for round in 0..rounds {
        let requests: Vec<(&str, Dice)> = (0..=dice.below(8))
            .map(|_| (dice.one(REQUESTS), Dice::new(dice.below(1 << 30) as u64)))
            .collect();
        let cut = dice.below(8);
        let part = 1 + dice.below(40);
        let end = format!("end-{seed}-{round}");
        let mut told = Vec::new();
        let mut asked = Vec::new();
        for (client, cas) in &mut sides {
            let mut bytes = Vec::new();
            for (template, dice) in &requests {
                bytes.extend(filled(template, cas, &mut Dice::clone(dice)));
            }
            bytes.extend(format!("mg {end} k\r\n").as_bytes());
            let part = match cut {
                0 if bytes.len() < 5000 => 1,
                1 if bytes.len() < 100_000 => part,
                _ => bytes.len(),
            };
            send(client, &bytes, part);
            let answers = client.until(format!("EN k{end}\r\n").as_bytes());
            *cas = cas_of(&answers).unwrap_or_else(|| cas.clone());
            told.push(compared(&answers));
            asked = bytes;
        }
        if told[0] != told[1] {
            let asked: String = String::from_utf8_lossy(&asked).chars().take(2000).collect();
            let shown = |text: &String| text.chars().take(2000).collect::<String>();
            let (one, two) = (shown(&told[0]), shown(&told[1]));
            return Err(format!(
                "seed {seed} round {round}: {asked:?}\n direct {one:?}\n Weir   {two:?}"
            ));
        }
    }
    Ok(())
}

fn message(dice: &mut Dice, cas: u64) -> Message {
    let key = key(dice).into_bytes();
    let value = value(dice).into_bytes();
    let quiet = dice.below(2) == 0;
    let pick = |loud: u8, silent: u8| if quiet { silent } else { loud };
    let expiry = [0_u8, 0, 0, 0];
    let mut message = match dice.below(22) {
        0 | 1 => Message::new(pick(0x00, 0x09), &[], &key, b""),
        2 | 3 => Message::new(pick(0x0c, 0x0d), &[], &key, b""),
        4..=6 => Message::new(pick(0x01, 0x11), &[0, 0, 0, 7, 0, 0, 0, 0], &key, &value),
        7 => Message::new(pick(0x02, 0x12), &[0; 8], &key, &value),
        8 => Message::new(pick(0x03, 0x13), &[0; 8], &key, &value),
        9 => Message::new(pick(0x04, 0x14), &[], &key, b""),
        10 | 11 => {
            let mut extras = [0; 20];
            extras[7] = 2;
            extras[15] = 5;
            let code = if dice.below(2) == 0 { pick(0x05, 0x15) } else { pick(0x06, 0x16) };
            Message::new(code, &extras, b"n", b"")
        }
        12 => Message::new(pick(0x0e, 0x19), &[], &key, &value),
        13 => Message::new(pick(0x0f, 0x1a), &[], &key, &value),
        14 => Message::new(0x1c, &expiry, &key, b""),
        15 => Message::new(pick(0x1d, 0x1e), &expiry, &key, b""),
        16 => Message::new(pick(0x23, 0x24), &expiry, &key, b""),
        17 => Message::new(0x0b, &[], b"", b""),
        18 if dice.below(4) == 0 => Message::new(pick(0x08, 0x18), &[], b"", b""),
        // Unknown: memcached itself loses its step if such a one has a key.
        19 => Message::new(0x55, &[], b"", b"some body"),
        20 => Message { cas, ..Message::new(0x01, &[0; 8], &key, &value) },
        _ => Message::new(0x0a, &[], b"", b""),
    };
    message.opaque = u32::try_from(dice.below(1 << 20)).unwrap();
    message
}

/// The same of binary requests.
pub fn binary(
    direct: SocketAddr,
    through: SocketAddr,
    seed: u64,
    rounds: usize,
) -> Result<(), String> {
    let mut dice = Dice::new(seed ^ 0xB1);
    let mut sides = [direct, through].map(|address| (Client::new(address), 1));
    for round in 0..rounds {
        let count = 1 + dice.below(8);
        let (seed_of, cut) = (dice.below(1 << 30) as u64, dice.below(8));
        let mut told = Vec::new();
        for (client, cas) in &mut sides {
            let mut dice = Dice::new(seed_of);
            let mut bytes: Vec<u8> =
                (0..count).flat_map(|_| message(&mut dice, *cas).bytes()).collect();
            let last = Message { opaque: 0xE0D, ..Message::new(0x0a, &[], b"", b"") };
            bytes.extend(Message { opaque: 0xFFFF_FFFF, ..last }.bytes());
            let part = match cut {
                0 if bytes.len() < 5000 => 1,
                1 if bytes.len() < 100_000 => 1 + dice.below(40),
                _ => bytes.len(),
            };
            send(client, &bytes, part);
            let mut answers = Vec::new();
            loop {
                let answer = Message::read(client).ok_or(format!("seed {seed}: closed"))?;
                if answer.opaque == 0xFFFF_FFFF {
                    break;
                }
                if answer.status == 0 && answer.cas > 0 {
                    *cas = answer.cas;
                }
                answers.push(Message { cas: u64::from(answer.cas > 0), ..answer });
            }
            told.push(answers);
        }
        if told[0] != told[1] {
            let [one, two] = [0, 1]
                .map(|side| format!("{:?}", told[side]).chars().take(3000).collect::<String>());
            return Err(format!("binary seed {seed} round {round}:\n direct {one}\n Weir   {two}"));
        }
    }
    Ok(())
}
