//! What an answer does to the cookies of a browser, for all releases that have one there.

use http::HeaderValue;

use super::super::set_cookie::SetCookie;
use super::held::{Held, end_of_unknown};
use super::{Cookies, Keeping, MARK_BYTES, Mark, Seen, Side, TILDE, pairs};
use crate::time::Timestamp;

/// Bytes of a cookie's name and value: browsers refuse a larger one (RFC 6265bis, section 5.6).
const COOKIE_BYTES_MAX: usize = 4_096;

/// The Set-Cookie lines of an answer.
#[derive(Debug, Default)]
pub struct Answered {
    /// Those of the app, and what follows from them.
    pub app: Vec<HeaderValue>,
    /// Those that Weir adds of itself; they hold what belongs to one client.
    pub ours: Vec<HeaderValue>,
    /// Cookies that were set beside stable's.
    pub set: u64,
    /// Cookies that there was no room for beside stable's.
    pub dropped: u64,
}

/// What is known of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Answering<'a> {
    /// Who answers.
    pub side: &'a Side,
    /// When.
    pub now: Timestamp,
    /// Bytes of cookies that nobody shall have to send more of because of it.
    pub most: usize,
    /// Whether the client has asked to be logged out.
    pub logs_out: bool,
}

impl Cookies {
    /// What becomes of the lines `set` in an answer to a request with the lines `asked`.
    pub fn answer(
        &self,
        asked: &[HeaderValue],
        set: Vec<HeaderValue>,
        answering: &Answering<'_>,
    ) -> Answered {
        let Answering { side, now, most, logs_out } = *answering;
        let seen = self.seen(asked);
        let before: usize = pairs(asked).map(|pair| pair.len() + 2).sum();
        let room = most.saturating_sub(before);
        let out = Answered::default();
        let written = vec![Written::default(); self.0.len()];
        let mut scribe = Scribe { cookies: self, seen, side, now, room, logs_out, written, out };
        for line in set {
            let bytes = line.as_bytes().to_vec();
            let parsed = SetCookie::parse(&bytes);
            match parsed.and_then(|set| Some((self.named(set.name)?, set))) {
                None => scribe.out.app.push(line),
                Some((cookie, set)) if side.is_stable() => scribe.write(cookie, line, &set),
                Some((cookie, set)) => scribe.write_aside(cookie, line, &set),
            }
        }
        scribe.tidy();
        scribe.out
    }
}

/// What the app has done to a cookie in this answer.
#[derive(Clone, Debug, Default)]
struct Written {
    /// Something.
    at_all: bool,
    /// It was taken away, and so were all marked ones.
    away: bool,
    /// What there was before is kept for the release before.
    kept: bool,
}

/// One answer on its way.
struct Scribe<'a> {
    cookies: &'a Cookies,
    seen: Vec<Seen<'a>>,
    side: &'a Side,
    now: Timestamp,
    /// How many more bytes of cookies a request may have.
    room: usize,
    /// Whether the client has asked to be logged out.
    logs_out: bool,
    /// What the app has done to each cookie.
    written: Vec<Written>,
    out: Answered,
}

impl<'a> Scribe<'a> {
    /// Stable writes `line`: it keeps its name.
    fn write(&mut self, cookie: usize, line: HeaderValue, set: &SetCookie<'_>) {
        self.out.app.push(line);
        let empty = set.takes_away(self.now);
        let away = empty || self.logs_out;
        let overlay = self.cookies.keeping(cookie) == Keeping::Overlay;
        for (mark, held) in self.marked(cookie) {
            let own = mark == self.side.own;
            // What the canary has written is older.
            let outdated = overlay && (away || self.side.canary == Some(mark));
            if own || outdated {
                let line = self.end(cookie, mark, held.as_ref());
                self.out.app.extend(line);
            }
        }
        self.written[cookie].at_all = true;
        self.written[cookie].away |= away;
        if !empty {
            let kept = self.keep(cookie, set);
            self.out.app.extend(kept);
        }
    }

    /// Keeps what the plain name stood for with the release before, should everybody go back to it.
    fn keep(&mut self, cookie: usize, set: &SetCookie<'_>) -> Option<HeaderValue> {
        let mark = self.side.replaced?;
        let Written { away, kept, .. } = self.written[cookie];
        let is_there = self.seen.iter().any(|seen| seen.is(cookie, Some(mark)));
        if kept || is_there && !away {
            return None;
        }
        self.written[cookie].kept = true;
        let plain = self.seen.iter().find(|seen| seen.is(cookie, None)).filter(|_| !away);
        let held = Held::write(set, plain.map(|seen| seen.value), self.now);
        self.mark(cookie, mark, &held, set.rest)
    }

    /// Another release than stable writes `line`: it gets another name.
    fn write_aside(&mut self, cookie: usize, line: HeaderValue, set: &SetCookie<'_>) {
        self.written[cookie].at_all = true;
        let (own, overlay) = (self.side.own, self.cookies.keeping(cookie) == Keeping::Overlay);
        if set.ends(self.now) {
            let marked = self.line(cookie, Some(own), &[b"", set.rest]);
            self.out.app.extend(marked);
            if overlay {
                self.out.app.push(line);
                self.end_others(cookie);
            }
            return;
        }
        let is_logout = overlay && (set.takes_away(self.now) || self.logs_out);
        let held = Held::write(set, Some(set.value), self.now);
        let Some(marked) = self.mark(cookie, own, &held, set.rest) else {
            // Better one that stable sees as well than none.
            self.out.app.push(line);
            for (_, held) in self.marked(cookie).into_iter().filter(|(mark, _)| *mark == own) {
                let line = self.end(cookie, own, held.as_ref());
                self.out.app.extend(line);
            }
            // Stable's has been written over.
            if is_logout {
                self.end_others(cookie);
            }
            return;
        };
        self.out.app.push(marked);
        if is_logout {
            let end = Held::read(&held).map(|held| held.end()).unwrap_or_default();
            let plain = self.line(cookie, None, &[b"", &end]);
            self.out.app.extend(plain);
            self.end_others(cookie);
        }
    }

    /// Sets a marked cookie, if there is room for it.
    fn mark(&mut self, cookie: usize, mark: Mark, held: &[u8], rest: &[u8]) -> Option<HeaderValue> {
        let size = self.cookies.name(cookie).len() + 1 + MARK_BYTES + held.len();
        let before = self.seen.iter().filter(|seen| seen.is(cookie, Some(mark)));
        let before: usize = before.map(|seen| size - held.len() + seen.value.len()).sum();
        let grows = size.saturating_sub(before);
        // With `=`, and `; ` in the Cookie line.
        let grows = if before == 0 { grows + 3 } else { grows };
        if size > COOKIE_BYTES_MAX || grows > self.room {
            self.out.dropped += 1;
            return None;
        }
        self.room -= grows;
        self.out.set += 1;
        self.line(cookie, Some(mark), &[held, rest])
    }

    /// What is to be done although the app has not said so: stable's cookie gets its name back, and
    /// what nobody reads any more is taken away.
    fn tidy(&mut self) {
        for cookie in 0..self.written.len() {
            for (mark, held) in self.marked(cookie) {
                let own = mark == self.side.own;
                let written = self.written[cookie].at_all;
                let renames = own && self.side.is_stable() && !written;
                if let Some(held) = held.as_ref().filter(|_| renames) {
                    self.rename(cookie, held);
                }
                let away = self.written[cookie].away;
                let foreign = !own && !away && !self.side.live.contains(&mark);
                if renames || foreign {
                    let line = self.end(cookie, mark, held.as_ref());
                    self.out.ours.extend(line);
                }
            }
        }
    }

    /// Stable finds `held` under its mark, from the time before it was promoted or was left.
    fn rename(&mut self, cookie: usize, held: &Held<'_>) {
        let attributes = held.attributes(self.now);
        let line = match held.value {
            Some(value) => {
                let set = SetCookie { name: self.cookies.name(cookie), value, rest: &attributes };
                let kept = self.keep(cookie, &set);
                self.out.ours.extend(kept);
                self.line(cookie, None, &[value, &attributes])
            }
            // The plain cookie is that of the release which was left.
            None => self.line(cookie, None, &[b"", &held.end()]),
        };
        self.out.ours.extend(line);
    }

    /// The marked ones of a cookie.
    fn marked(&self, cookie: usize) -> Vec<(Mark, Option<Held<'a>>)> {
        let of = self.seen.iter().filter(|seen| seen.cookie == cookie);
        of.filter_map(|seen| Some((seen.mark?, Held::read(seen.value)))).collect()
    }

    /// Takes away what the other releases have.
    fn end_others(&mut self, cookie: usize) {
        self.written[cookie].away = true;
        for (mark, held) in self.marked(cookie) {
            if mark != self.side.own {
                let line = self.end(cookie, mark, held.as_ref());
                self.out.app.extend(line);
            }
        }
    }

    /// Takes a marked cookie away.
    fn end(&self, cookie: usize, mark: Mark, held: Option<&Held<'_>>) -> Option<HeaderValue> {
        let unknown = || end_of_unknown(self.cookies.name(cookie));
        let attributes = held.map_or_else(unknown, Held::end);
        self.line(cookie, Some(mark), &[b"", &attributes])
    }

    /// A Set-Cookie line; none if its bytes cannot stand in one.
    fn line(&self, cookie: usize, mark: Option<Mark>, parts: &[&[u8]]) -> Option<HeaderValue> {
        let mut line = self.cookies.name(cookie).to_vec();
        if let Some(Mark(digits)) = mark {
            line.push(TILDE);
            line.extend_from_slice(&digits);
        }
        line.push(b'=');
        for part in parts {
            line.extend_from_slice(part);
        }
        HeaderValue::from_bytes(&line).ok()
    }
}
