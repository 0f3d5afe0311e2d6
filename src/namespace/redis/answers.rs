//! Answers on their way to the client. What holds no keys goes by untouched; of the rest only the
//! lengths and the prefixes change, so nothing is held but the head of what is at hand.

use super::commands::{Commands, Feed, Rule};
use super::errand::Next;
use super::quick;
use super::special::place_in_channel;
use super::talk::{Effect, Talk};
use crate::namespace::edits::Edits;
use crate::namespace::resp::{self, DEPTH_MAX, LINE_MAX, Value, Violation};

/// Longest channel or pattern that is looked into; a longer one has its prefix in front.
const CHANNEL_MAX: usize = 4096;

/// Longest answer that Weir reads itself: a page of keys.
const GATHERED_MAX: usize = 64 << 20;

/// How far the answers on one connection have been read.
#[derive(Debug)]
pub struct Answers {
    /// Lists that are open, the outermost first.
    open: Vec<Open>,
    /// Where what is at hand has keys; none: its first line was not read yet.
    rule: Option<Rule>,
    /// Bytes of a value to come, with the end of its line.
    left: usize,
    /// What becomes of the answer at hand.
    fate: Fate,
    /// An answer that Weir reads itself.
    gathered: Edits,
    /// Whether the answer at hand may name keys if it is an error.
    names_keys: bool,
}

#[derive(Debug)]
struct Open {
    left: u64,
    index: u64,
    rule: Rule,
    /// An attribute stands before a value and counts as none.
    attribute: bool,
}

/// What becomes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Told,
    Swallowed,
    Gathered,
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            open: Vec::new(),
            rule: None,
            left: 0,
            fate: Fate::Told,
            gathered: Edits::copying(),
            names_keys: false,
        }
    }
}

/// What an answer is, by its beginning.
enum Kind {
    /// The answer to what was asked first.
    Answer,
    /// Unasked.
    Push(Rule),
    /// Unasked, of keys that are not this namespace's.
    Foreign,
}

/// Where answers go.
pub struct Outs<'a> {
    /// To the client.
    pub client: &'a mut Edits,
    /// To the server: what Weir asks next.
    pub server: &'a mut Edits,
}

impl Answers {
    /// Takes in what the server has sent: `input`, whose rest comes again with more behind it.
    /// Gives how much was taken.
    pub fn feed(
        &mut self,
        input: &[u8],
        talk: &mut Talk,
        commands: &Commands,
        mut outs: Outs<'_>,
    ) -> Result<usize, Violation> {
        let mut at = 0;
        while at < input.len() {
            if self.is_between() && self.rule.is_none() {
                let begun = at;
                while let Some(end) = quick::answer(input, at, talk) {
                    at = end;
                }
                if at > begun {
                    outs.client.keep(input, begun..at);
                    continue;
                }
            }
            match self.step(input, at, talk, &mut outs)? {
                0 => break,
                taken => at += taken,
            }
            if self.open.is_empty() && self.left == 0 && self.fate == Fate::Gathered {
                self.gathered(talk, commands, &mut outs)?;
            }
        }
        Ok(at)
    }

    /// Whether no answer has begun.
    pub const fn is_between(&self) -> bool {
        self.open.is_empty() && self.left == 0
    }

    fn step(
        &mut self,
        input: &[u8],
        at: usize,
        talk: &mut Talk,
        outs: &mut Outs<'_>,
    ) -> Result<usize, Violation> {
        if self.left > 0 {
            let size = self.left.min(input.len() - at);
            self.keep(input, at..at + size, outs)?;
            self.left -= size;
            if self.left == 0 {
                self.close();
            }
            return Ok(size);
        }
        let rest = &input[at..];
        let Some((line, taken)) = resp::line(rest, LINE_MAX).map_err(|_| Violation::Answer)? else {
            return Ok(0);
        };
        let kind = *line.first().ok_or(Violation::Answer)?;
        let attribute = kind == b'|';
        // Once: it takes from what is waited for.
        if self.rule.is_none() {
            self.rule = self.rule(rest, kind, line, talk, outs)?;
        }
        let Some(rule) = self.rule else { return Ok(0) };
        match kind {
            b'$' | b'=' | b'!' => {
                let length = resp::integer(&line[1..]).ok_or(Violation::Answer)?;
                if let Ok(length) = usize::try_from(length) {
                    count(rule, true, talk);
                    return self.text(input, (at, taken), length, rule, talk, outs);
                }
                count(rule, false, talk);
                self.keep(input, at..at + taken, outs)?;
                self.close();
            }
            b'*' | b'~' | b'>' | b'%' | b'|' => {
                let length = resp::integer(&line[1..]).ok_or(Violation::Answer)?;
                self.keep(input, at..at + taken, outs)?;
                let pairs = matches!(kind, b'%' | b'|');
                let left = u64::try_from(length).unwrap_or(0) * if pairs { 2 } else { 1 };
                if left == 0 && attribute {
                    self.rule = None;
                } else if left == 0 {
                    self.close();
                } else if left > 0 {
                    if self.open.len() >= DEPTH_MAX {
                        return Err(Violation::Depth);
                    }
                    let rule = if rule == Rule::Streams && pairs { Rule::Pairs } else { rule };
                    self.open.push(Open { left, index: 0, rule, attribute });
                    self.rule = None;
                }
            }
            b'-' if self.names_keys => {
                let line = without_prefix(&rest[..taken], talk.namespace.prefix());
                self.make(&line, outs)?;
                self.close();
            }
            b'+' | b'-' | b':' | b',' | b'#' | b'(' | b'_' => {
                if let (Rule::Subscriptions(feed), Some(total)) = (rule, resp::integer(&line[1..]))
                {
                    talk.subscribed(feed, u64::try_from(total).unwrap_or(0));
                }
                if kind == b'_' {
                    count(rule, false, talk);
                }
                self.keep(input, at..at + taken, outs)?;
                self.close();
            }
            _ => return Err(Violation::Answer),
        }
        Ok(taken)
    }

    /// Where what begins with `line` has keys. None: more must be read first.
    fn rule(
        &mut self,
        rest: &[u8],
        kind: u8,
        line: &[u8],
        talk: &mut Talk,
        outs: &mut Outs<'_>,
    ) -> Result<Option<Rule>, Violation> {
        if let Some(open) = self.open.last() {
            if kind == b'|' {
                return Ok(Some(Rule::Plain));
            }
            if open.rule == Rule::Exec
                && let Some(pending) = talk.executing.pop_front()
            {
                self.names_keys = pending.names_keys;
                return Ok(Some(talk.arrived(pending, kind, line)));
            }
            return Ok(Some(element(open.rule, open.index)));
        }
        if kind == b'|' {
            self.fate = Fate::Told;
            return Ok(Some(Rule::Plain));
        }
        if kind == b'>' || (kind == b'*' && talk.protocol == 2 && talk.may_hear()) {
            let heard = heard(rest, kind, talk)?;
            self.names_keys = false;
            match heard {
                None => return Ok(None),
                Some(Kind::Push(rule)) => {
                    self.fate = Fate::Told;
                    if let Rule::Confirmation(feed) = rule {
                        talk.confirmed(feed, is_added(rest));
                    }
                    return Ok(Some(rule));
                }
                Some(Kind::Foreign) => {
                    self.fate = Fate::Swallowed;
                    return Ok(Some(Rule::Plain));
                }
                Some(Kind::Answer) => {}
            }
        }
        let pending = talk.pending.pop_front().ok_or(Violation::Answer)?;
        self.names_keys = pending.names_keys;
        self.fate = match &pending.effect {
            Effect::Errand => Fate::Gathered,
            Effect::Refused(why) => {
                outs.client.make(format!("-{why}\r\n").as_bytes());
                Fate::Swallowed
            }
            Effect::Instead(told) => {
                outs.client.make(told);
                Fate::Swallowed
            }
            Effect::None
            | Effect::Multi
            | Effect::Exec
            | Effect::Discard
            | Effect::Reset
            | Effect::Select(_)
            | Effect::Hello(..)
            | Effect::Auth(_)
            | Effect::Subscribe(..)
            | Effect::Unsubscribe(..)
            | Effect::Track(_)
            | Effect::Watch(_)
            | Effect::Deleted(_)
            | Effect::Expired(_)
            | Effect::Work(_) => Fate::Told,
        };
        Ok(Some(talk.arrived(pending, kind, line)))
    }

    /// A text of `length`, whose head stands at `at` and takes `head` bytes.
    fn text(
        &mut self,
        input: &[u8],
        (at, head): (usize, usize),
        length: usize,
        rule: Rule,
        talk: &Talk,
        outs: &mut Outs<'_>,
    ) -> Result<usize, Violation> {
        let prefix = talk.namespace.prefix();
        let text = &input[at + head..];
        let place = match rule {
            Rule::Key => Some(0),
            Rule::Channel if length > CHANNEL_MAX => Some(0),
            Rule::Channel if text.len() < length => return Ok(0),
            Rule::Channel => place_in_channel(&text[..length]),
            Rule::Plain
            | Rule::Value
            | Rule::Values
            | Rule::Keys
            | Rule::First
            | Rule::Scan
            | Rule::Streams
            | Rule::Pairs
            | Rule::Exec
            | Rule::ChannelList
            | Rule::ChannelPairs
            | Rule::Confirmation(_)
            | Rule::Subscriptions(_)
            | Rule::Message
            | Rule::PatternMessage
            | Rule::KeyMessage
            | Rule::KeyPatternMessage
            | Rule::Invalidation => None,
        };
        let place = place.filter(|place| place + prefix.len() <= length);
        let before = match place.map(|place| (place, text.get(..place + prefix.len()))) {
            Some((_, None)) => return Ok(0),
            Some((place, Some(before))) if &before[place..] == prefix => Some((place, before)),
            Some(_) | None => None,
        };
        self.left = length.saturating_add(2);
        let Some((place, before)) = before else {
            self.keep(input, at..at + head, outs)?;
            return Ok(head);
        };
        self.make(format!("${}\r\n", length - prefix.len()).as_bytes(), outs)?;
        self.make(&before[..place], outs)?;
        self.left -= before.len();
        Ok(head + before.len())
    }

    /// The element at hand has ended, and with it every list of which it was the last.
    fn close(&mut self) {
        self.rule = None;
        while let Some(open) = self.open.last_mut() {
            open.left -= 1;
            open.index += 1;
            if open.left > 0 {
                return;
            }
            let ended = self.open.pop();
            if ended.is_some_and(|ended| ended.attribute) {
                return;
            }
        }
    }

    fn keep(
        &mut self,
        input: &[u8],
        range: std::ops::Range<usize>,
        outs: &mut Outs<'_>,
    ) -> Result<(), Violation> {
        match self.fate {
            Fate::Told => outs.client.keep(input, range),
            Fate::Swallowed => {}
            Fate::Gathered => return self.make(&input[range], outs),
        }
        Ok(())
    }

    fn make(&mut self, bytes: &[u8], outs: &mut Outs<'_>) -> Result<(), Violation> {
        match self.fate {
            Fate::Told => outs.client.make(bytes),
            Fate::Swallowed => {}
            Fate::Gathered if self.gathered.len() + bytes.len() > GATHERED_MAX => {
                return Err(Violation::Length);
            }
            Fate::Gathered => self.gathered.make(bytes),
        }
        Ok(())
    }

    /// An answer that Weir reads itself is there.
    fn gathered(
        &mut self,
        talk: &mut Talk,
        commands: &Commands,
        outs: &mut Outs<'_>,
    ) -> Result<(), Violation> {
        self.fate = Fate::Told;
        let value = Value::parse(self.gathered.made())?;
        self.gathered.clear();
        let (Some((value, _)), Some(mut errand)) = (value, talk.errand.take()) else {
            return Err(Violation::Answer);
        };
        match errand.step(&value, talk) {
            Next::Ask(question) => {
                outs.server.make(&question);
                talk.wait_for(super::talk::Pending::with(Effect::Errand));
                talk.errand = Some(errand);
            }
            Next::Tell(answer) => outs.client.make(&answer),
            Next::Arrived(home) => talk.home = home,
            Next::Learned(name, command) => commands.learn(&name, command),
            Next::Unlearned => talk.cannot_learn = true,
        }
        Ok(())
    }
}

/// What the element at `index` of a list holds.
const fn element(rule: Rule, index: u64) -> Rule {
    match (rule, index) {
        (Rule::Values, _) => Rule::Value,
        (Rule::Keys, _)
        | (Rule::First, 0)
        | (Rule::KeyMessage, 2)
        | (Rule::KeyPatternMessage, 3) => Rule::Key,
        (Rule::Pairs, index) if index.is_multiple_of(2) => Rule::Key,
        // Where invalidations are told by message, the message is a list of keys.
        (Rule::Scan | Rule::Invalidation, 1) | (Rule::Message, 2) => Rule::Keys,
        (Rule::Streams, _) => Rule::First,
        (Rule::ChannelList, _)
        | (Rule::Confirmation(_) | Rule::Message, 1)
        | (Rule::PatternMessage | Rule::KeyPatternMessage, 1 | 2) => Rule::Channel,
        (Rule::ChannelPairs, index) if index.is_multiple_of(2) => Rule::Channel,
        (Rule::Confirmation(feed), 2) => Rule::Subscriptions(feed),
        (
            Rule::Plain
            | Rule::Value
            | Rule::Key
            | Rule::First
            | Rule::Scan
            | Rule::Pairs
            | Rule::Exec
            | Rule::Channel
            | Rule::ChannelPairs
            | Rule::Confirmation(_)
            | Rule::Subscriptions(_)
            | Rule::Message
            | Rule::PatternMessage
            | Rule::KeyMessage
            | Rule::KeyPatternMessage
            | Rule::Invalidation,
            _,
        ) => Rule::Plain,
    }
}

fn count(rule: Rule, there: bool, talk: &mut Talk) {
    if rule == Rule::Value {
        talk.counts.hits += u64::from(there);
        talk.counts.misses += u64::from(!there);
    }
}

/// What a push is, or a list that may be one. None: more must be read first.
fn heard(rest: &[u8], kind: u8, talk: &Talk) -> Result<Option<Kind>, Violation> {
    let mut texts = Texts { rest };
    let Some((_, taken)) = resp::line(rest, LINE_MAX)? else { return Ok(None) };
    texts.rest = &rest[taken..];
    let otherwise = if kind == b'>' { Kind::Push(Rule::Plain) } else { Kind::Answer };
    let word = match texts.next()? {
        Text::More => return Ok(None),
        Text::Other => return Ok(Some(otherwise)),
        Text::Whole(word) => word,
    };
    let pattern = word == b"pmessage";
    let rule = match word {
        b"subscribe" | b"unsubscribe" => Rule::Confirmation(Feed::Channel),
        b"psubscribe" | b"punsubscribe" => Rule::Confirmation(Feed::Pattern),
        b"ssubscribe" | b"sunsubscribe" => Rule::Confirmation(Feed::Shard),
        b"message" | b"smessage" => Rule::Message,
        b"pmessage" => Rule::PatternMessage,
        b"invalidate" => Rule::Invalidation,
        _ => return Ok(Some(otherwise)),
    };
    if !matches!(rule, Rule::Message | Rule::PatternMessage) {
        return Ok(Some(Kind::Push(rule)));
    }
    if pattern {
        match texts.next()? {
            Text::More => return Ok(None),
            Text::Other => return Ok(Some(Kind::Push(rule))),
            Text::Whole(_) => {}
        }
    }
    let channel = match texts.next()? {
        Text::More => return Ok(None),
        Text::Other => return Ok(Some(Kind::Push(rule))),
        Text::Whole(channel) => channel,
    };
    let prefix = talk.namespace.prefix();
    if let Some(place) = keyspace(channel) {
        let key = &channel[place..];
        let own = key.starts_with(prefix) || talk.namespace.shares(key);
        return Ok(Some(if own { Kind::Push(rule) } else { Kind::Foreign }));
    }
    if !channel.starts_with(b"__keyevent@") {
        return Ok(Some(Kind::Push(rule)));
    }
    if talk.namespace.has_shared() {
        match texts.peek()? {
            Text::More => return Ok(None),
            Text::Whole(key) if talk.namespace.shares(key) => return Ok(Some(Kind::Push(rule))),
            Text::Whole(_) | Text::Other => {}
        }
    }
    let Some(begins) = texts.begins_with(prefix)? else { return Ok(None) };
    let rule = if pattern { Rule::KeyPatternMessage } else { Rule::KeyMessage };
    Ok(Some(if begins { Kind::Push(rule) } else { Kind::Foreign }))
}

/// Where the key begins in a channel that tells what happens to one.
fn keyspace(channel: &[u8]) -> Option<usize> {
    channel.starts_with(b"__keyspace@").then(|| place_in_channel(channel)).flatten()
}

/// Whether a confirmation is of a new subscription.
fn is_added(confirmation: &[u8]) -> bool {
    let head = memchr::memchr(b'\n', confirmation).map_or(0, |end| end + 1);
    let mut texts = Texts { rest: &confirmation[head..] };
    !matches!(texts.next(), Ok(Text::Whole(word)) if word.ends_with(b"unsubscribe"))
}

/// Texts one after the other.
struct Texts<'a> {
    rest: &'a [u8],
}

enum Text<'a> {
    Whole(&'a [u8]),
    /// It has not come yet.
    More,
    /// It is none, or too long to be looked into.
    Other,
}

impl<'a> Texts<'a> {
    fn next(&mut self) -> Result<Text<'a>, Violation> {
        let Some((line, taken)) = resp::line(self.rest, LINE_MAX)? else { return Ok(Text::More) };
        let [b'$', digits @ ..] = line else { return Ok(Text::Other) };
        let Some(length) = resp::integer(digits).and_then(|length| usize::try_from(length).ok())
        else {
            return Ok(Text::Other);
        };
        if length > CHANNEL_MAX {
            return Ok(Text::Other);
        }
        let Some(text) = self.rest.get(taken..taken + length + 2) else { return Ok(Text::More) };
        self.rest = &self.rest[taken + length + 2..];
        Ok(Text::Whole(&text[..length]))
    }

    /// The next one, which is still to come.
    fn peek(&self) -> Result<Text<'a>, Violation> {
        Texts { rest: self.rest }.next()
    }

    /// Whether the next text begins with `prefix`.
    fn begins_with(&self, prefix: &[u8]) -> Result<Option<bool>, Violation> {
        let Some((line, taken)) = resp::line(self.rest, LINE_MAX)? else { return Ok(None) };
        let length = line.strip_prefix(b"$").and_then(resp::integer).unwrap_or(0);
        if usize::try_from(length).unwrap_or(0) < prefix.len() {
            return Ok(Some(false));
        }
        let begin = self.rest.get(taken..taken + prefix.len());
        Ok(begin.map(|begin| begin == prefix))
    }
}

/// An error as the app knows the key.
fn without_prefix(line: &[u8], prefix: &[u8]) -> Vec<u8> {
    let quoted = [b"'", prefix].concat();
    let mut out = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = memchr::memmem::find(rest, &quoted) {
        out.extend_from_slice(&rest[..=at]);
        rest = &rest[at + quoted.len()..];
    }
    out.extend_from_slice(rest);
    out
}
