//! Requests on their way to the server. Only what must be seen is held: the name, a number of
//! keys, and commands that are seen to as a whole. Keys and values stream.

use super::commands::{Command, Commands, Knowledge, NAME_MAX, Request, Rule, Special};
use super::errand::Errand;
use super::jobs::{LOOKED_AT_BYTES_MAX, LOOKED_AT_MAX, is_fetch, work};
use super::places::Places;
use super::talk::{Effect, Home, Pending, Talk};
use super::{quick, special};
use crate::namespace::edits::Edits;
use crate::namespace::resp::{self, ARGUMENTS_MAX, BULK_MAX, HEAD_MAX, LINE_MAX, Violation};

/// Longest command that is held whole, in bytes: none of them carries values, only names.
const HELD_MAX: usize = 16 << 20;

/// Longest key that is looked into; a longer one is taken for one that is not shared.
const SHARED_MAX: usize = 64 << 10;

/// Longest text of a number; what is longer is none.
const NUMBER_MAX: usize = 20;

/// Stands for a command that is refused: the server refuses it, too, since the key is missing. So
/// the order of answers stays the server's, and so does the fate of a transaction.
pub const REFUSED: &[u8] = b"*1\r\n$3\r\nGET\r\n";

/// How far the requests of one connection have been read.
#[derive(Debug, Default)]
pub struct Requests {
    /// Arguments of the command at hand; 0 between two.
    count: usize,
    /// Arguments that have been read.
    at: usize,
    /// An argument that has begun.
    body: Option<Body>,
    held: Held,
    /// The beginning of the command, where somebody wants to know what it says of jobs.
    looked_at: Vec<Vec<u8>>,
    way: Way,
}

#[derive(Debug)]
struct Body {
    /// Bytes to come, with the end of the line.
    left: usize,
    to: Sink,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sink {
    Server,
    Held,
    Nowhere,
}

/// What becomes of the command at hand.
#[derive(Debug, Default)]
enum Way {
    /// Its name is not known yet.
    #[default]
    Open,
    /// The word after its name belongs to the name.
    Named,
    /// It goes on as it comes.
    Through { places: Places, script: bool },
    /// It is held whole.
    Whole { special: Special, command: Command },
    /// It goes nowhere.
    Refused(Box<str>),
}

/// Arguments that were kept.
#[derive(Debug, Default)]
struct Held {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Held {
    fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(1 << 12);
        self.ends.clear();
        self.ends.shrink_to(1 << 8);
    }

    fn argument(&self, at: usize) -> &[u8] {
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.bytes[start..self.ends[at]]
    }

    fn arguments(&self) -> Vec<&[u8]> {
        (0..self.ends.len()).map(|at| self.argument(at)).collect()
    }
}

impl Requests {
    /// Whether no command has begun.
    pub const fn is_between(&self) -> bool {
        self.count == 0 && self.body.is_none()
    }

    /// Takes in what the client has sent: `input`, whose rest comes again with more behind it.
    /// Gives how much was taken. Stops where Weir has something to ask the server itself.
    pub fn feed(
        &mut self,
        input: &[u8],
        talk: &mut Talk,
        commands: &Commands,
        out: &mut Edits,
    ) -> Result<usize, Violation> {
        let mut at = 0;
        while talk.errand.is_none() && talk.fetch.is_none() {
            if self.count == 0
                && talk.queues.is_none()
                && talk.home == Home::There
                && let Some(end) = quick::request(input, at, talk, commands, out)
            {
                at = end;
                continue;
            }
            match self.step(input, at, talk, commands, out)? {
                Some(taken) => at += taken,
                None => break,
            }
        }
        Ok(at)
    }

    /// Goes one step on; none: more must be read first.
    fn step(
        &mut self,
        input: &[u8],
        at: usize,
        talk: &mut Talk,
        commands: &Commands,
        out: &mut Edits,
    ) -> Result<Option<usize>, Violation> {
        if let Some(body) = &mut self.body {
            let size = body.left.min(input.len() - at);
            if size == 0 {
                return Ok(None);
            }
            match body.to {
                Sink::Server => {
                    if talk.queues.is_some() {
                        let text = size.min(body.left.saturating_sub(2));
                        look_at(&mut self.looked_at, self.at, &input[at..at + text]);
                    }
                    out.keep(input, at..at + size);
                }
                Sink::Held => self.held.bytes.extend_from_slice(&input[at..at + size]),
                Sink::Nowhere => {}
            }
            body.left -= size;
            if body.left == 0 {
                let held = body.to == Sink::Held;
                self.body = None;
                self.ended(held, talk, out);
            }
            return Ok(Some(size));
        }
        if self.count == 0 {
            return self.begin(&input[at..]);
        }
        if self.is_decidable() {
            self.decide(talk, commands, out)?;
            return Ok(Some(0));
        }
        if self.at == self.count {
            self.finish(talk, out);
            return Ok(Some(0));
        }
        self.argument(input, at, talk, out)
    }

    /// The first line of a command.
    fn begin(&mut self, input: &[u8]) -> Result<Option<usize>, Violation> {
        if input.is_empty() {
            return Ok(None);
        }
        if input[0] != b'*' {
            let Some((line, taken)) = resp::line(input, LINE_MAX)? else { return Ok(None) };
            for argument in resp::inline(line)? {
                self.held.bytes.extend_from_slice(&argument);
                self.held.ends.push(self.held.bytes.len());
            }
            (self.count, self.at) = (self.held.ends.len(), self.held.ends.len());
            return Ok(Some(taken));
        }
        let line = resp::line(input, HEAD_MAX).map_err(|_| Violation::Count)?;
        let Some((line, taken)) = line else { return Ok(None) };
        let count = resp::integer(&line[1..]).ok_or(Violation::Count)?;
        self.count = usize::try_from(count).unwrap_or(0);
        self.at = 0;
        if self.count > ARGUMENTS_MAX { Err(Violation::Count) } else { Ok(Some(taken)) }
    }

    /// Whether enough is held to know what becomes of the command.
    fn is_decidable(&self) -> bool {
        let words = match self.way {
            Way::Open => 1,
            Way::Named => 2,
            Way::Through { .. } | Way::Whole { .. } | Way::Refused(_) => return false,
        };
        self.count > 0 && self.body.is_none() && self.held.ends.len() >= words
    }

    /// The first line of an argument.
    fn argument(
        &mut self,
        input: &[u8],
        at: usize,
        talk: &Talk,
        out: &mut Edits,
    ) -> Result<Option<usize>, Violation> {
        let line = resp::line(&input[at..], HEAD_MAX).map_err(|_| Violation::Length)?;
        let Some((line, taken)) = line else { return Ok(None) };
        let length = match line {
            [b'$', digits @ ..] => resp::integer(digits).ok_or(Violation::Length)?,
            _ => return Err(Violation::Bulk),
        };
        let length = usize::try_from(length).map_err(|_| Violation::Length)?;
        if length > BULK_MAX {
            return Err(Violation::Length);
        }
        let to = match &self.way {
            Way::Open | Way::Named if length > NAME_MAX => {
                self.way = Way::Refused("ERR unknown command".into());
                Sink::Nowhere
            }
            Way::Refused(_) => Sink::Nowhere,
            Way::Whole { .. } if self.held.bytes.len() + length > HELD_MAX => {
                let most = HELD_MAX >> 20;
                let text = format!("ERR Weir takes no more than {most} MiB of keys in one command");
                self.way = Way::Refused(text.into());
                Sink::Nowhere
            }
            Way::Open | Way::Named | Way::Whole { .. } => Sink::Held,
            Way::Through { places, .. }
                if places.has(self.at) && length <= SHARED_MAX && talk.namespace.has_shared() =>
            {
                Sink::Held
            }
            Way::Through { places, .. } if places.has(self.at) => {
                let prefix = talk.namespace.prefix();
                out.make_head(length + prefix.len());
                out.make(prefix);
                Sink::Server
            }
            Way::Through { places, .. } if places.is_number(self.at) && length <= NUMBER_MAX => {
                Sink::Held
            }
            Way::Through { .. } => {
                out.keep(input, at..at + taken);
                Sink::Server
            }
        };
        self.body = Some(Body { left: length + 2, to });
        Ok(Some(taken))
    }

    /// An argument has ended.
    fn ended(&mut self, held: bool, talk: &mut Talk, out: &mut Edits) {
        self.at += 1;
        if !held {
            return;
        }
        self.held.bytes.truncate(self.held.bytes.len().saturating_sub(2));
        self.held.ends.push(self.held.bytes.len());
        if matches!(self.way, Way::Through { .. }) {
            self.send(self.at - 1, self.held.ends.len() - 1, talk, out);
            self.held.clear();
        }
    }

    /// Sends a held argument on.
    fn send(&mut self, at: usize, held: usize, talk: &mut Talk, out: &mut Edits) {
        let text = self.held.argument(held);
        let Way::Through { places, script } = &mut self.way else { return };
        if places.is_number(at) && places.count(text) == 0 && *script {
            talk.counts.keyless_scripts += 1;
        }
        let prefix = if places.has(at) { talk.namespace.before(text) } else { b"" };
        out.make_head(text.len() + prefix.len());
        out.make(prefix);
        out.make(text);
        out.make(b"\r\n");
    }

    /// What becomes of the command whose name is held.
    fn decide(
        &mut self,
        talk: &mut Talk,
        commands: &Commands,
        out: &mut Edits,
    ) -> Result<(), Violation> {
        let mut name = self.held.argument(0).to_ascii_lowercase();
        if !self.is_home(&name, talk, out) {
            return Ok(());
        }
        let mut knowledge = commands.find(&name);
        if self.count > 1
            && let Knowledge::Known(Command { request: Request::Container, .. }) = knowledge
        {
            if self.held.ends.len() == 1 {
                self.way = Way::Named;
                return Ok(());
            }
            name.push(b'|');
            name.extend(self.held.argument(1).to_ascii_lowercase());
            let long = name.len() > NAME_MAX;
            knowledge = if long { Knowledge::Unknown } else { commands.find(&name) };
        }
        let command = match knowledge {
            Knowledge::Known(Command { request: Request::Refuse, .. })
            | Knowledge::Unknown
            | Knowledge::Unasked
                if talk.purpose.watches() =>
            {
                watched(&name)?
            }
            Knowledge::Known(_) if talk.databases.is_some() && name == b"swapdb" => {
                plain(Special::Swap)
            }
            Knowledge::Known(command) => command,
            Knowledge::Unasked
                if !talk.asked_multi
                    && !talk.only_listens()
                    && !std::mem::take(&mut talk.cannot_learn) =>
            {
                ask(Errand::learn(&name), talk, out);
                return Ok(());
            }
            Knowledge::Unknown | Knowledge::Unasked => {
                self.refuse(unknown(&name));
                return Ok(());
            }
        };
        let (places, script) = match &command.request {
            Request::Pass | Request::Container => (Places::default(), false),
            Request::Keys(_) if talk.holds_fetches && !talk.asked_multi && is_fetch(&name) => {
                self.way = Way::Whole { special: Special::Fetch, command };
                return Ok(());
            }
            Request::Keys(specs) => (Places::new(specs, self.count), false),
            Request::Script(specs) => (Places::new(specs, self.count), true),
            Request::Special(Special::Web) => return Err(Violation::Web),
            Request::Special(special) => {
                self.way = Way::Whole { special: *special, command };
                return Ok(());
            }
            Request::Refuse => {
                let name = shown(&name);
                self.refuse(format!(
                    "ERR Weir refuses {name}: it concerns more than the keys of this version; \
                     send it to the server itself"
                ));
                return Ok(());
            }
        };
        self.begin_through((name, command), Way::Through { places, script }, talk, out);
        Ok(())
    }

    /// The command goes on as it comes.
    fn begin_through(
        &mut self,
        (name, command): (Vec<u8>, Command),
        through: Way,
        talk: &mut Talk,
        out: &mut Edits,
    ) {
        let Command { rule, names_keys, .. } = command;
        talk.wait_for(Pending { rule, names_keys, effect: Effect::None });
        out.make(format!("*{}\r\n", self.count).as_bytes());
        self.way = through;
        if talk.queues.is_some() {
            self.looked_at = vec![name];
        }
        for at in 0..self.held.ends.len() {
            self.send(at, at, talk, out);
        }
        self.held.clear();
    }

    /// Whether the command called `name` may go on: the connection is in a database of its release,
    /// or that does not matter. If not it is brought there, or the command refused.
    fn is_home(&mut self, name: &[u8], talk: &mut Talk, out: &mut Edits) -> bool {
        if matches!(name, b"auth" | b"hello" | b"quit" | b"reset") {
            return true;
        }
        match &talk.home {
            Home::There => return true,
            Home::Away => ask(Errand::home(talk), talk, out),
            Home::Barred(why) => {
                self.refuse(why.to_string());
                talk.home = Home::Away;
            }
        }
        false
    }

    fn refuse(&mut self, why: String) {
        self.way = Way::Refused(why.into());
    }

    /// The command at hand has been read.
    fn finish(&mut self, talk: &mut Talk, out: &mut Edits) {
        talk.counts.commands += 1;
        match std::mem::take(&mut self.way) {
            Way::Open | Way::Named => {}
            Way::Through { .. } => {
                let looked_at = std::mem::take(&mut self.looked_at);
                let work = talk.queues.as_ref().and_then(|own| work(&looked_at, self.count, own));
                if let (Some(work), Some(last)) = (work, talk.pending.back_mut()) {
                    last.effect = Effect::Work(work);
                }
            }
            Way::Whole { special, command } => {
                let arguments = self.held.arguments();
                if let Err(refusal) = special::see_to(special, &arguments, &command, talk, out) {
                    refused(refusal.into(), talk, out);
                }
            }
            Way::Refused(why) => refused(why, talk, out),
        }
        self.held.clear();
        self.count = 0;
    }
}

/// Asks the server something; requests wait for its answer.
fn ask((errand, question): (Errand, Vec<u8>), talk: &mut Talk, out: &mut Edits) {
    talk.errand = Some(errand);
    talk.wait_for(Pending::with(Effect::Errand));
    out.make(&question);
}

/// What Weir would refuse passes where it only watches; but not if its answers are endless, or
/// none.
fn watched(name: &[u8]) -> Result<Command, Violation> {
    match name {
        b"client|reply" | b"monitor" | b"psync" | b"sync" => Err(Violation::Endless),
        _ => Ok(Command { request: Request::Pass, rule: Rule::Plain, names_keys: false }),
    }
}

const fn plain(special: Special) -> Command {
    Command { request: Request::Special(special), rule: Rule::Plain, names_keys: false }
}

fn refused(why: Box<str>, talk: &mut Talk, out: &mut Edits) {
    talk.counts.refused += 1;
    talk.wait_for(Pending::with(Effect::Refused(why)));
    out.make(REFUSED);
}

/// In the words of Redis, by which clients know that they must do without.
fn unknown(name: &[u8]) -> String {
    match name.iter().position(|byte| *byte == b'|') {
        Some(bar) => format!("ERR unknown subcommand {}", shown(&name[bar + 1..])),
        None => format!("ERR unknown command {}, with args beginning with: ", shown(name)),
    }
}

/// A name as an error has it: on one line.
fn shown(name: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(name).replace('|', " ").escape_debug().collect();
    format!("'{text}'")
}

/// Keeps the beginning of the argument at `place`.
fn look_at(words: &mut Vec<Vec<u8>>, place: usize, text: &[u8]) {
    if place >= LOOKED_AT_MAX {
        return;
    }
    if words.len() <= place {
        words.resize(place + 1, Vec::new());
    }
    let room = LOOKED_AT_BYTES_MAX.saturating_sub(words[place].len());
    words[place].extend_from_slice(&text[..text.len().min(room)]);
}
