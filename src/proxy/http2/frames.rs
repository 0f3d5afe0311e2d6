//! Follows the frames that come in on an HTTP/2 connection just far enough to tell work from noise:
//! which of them begin, and whether a head stays open.
//!
//! What only costs memory is bounded by hyper's server. What costs time and carries nothing has an
//! allowance here: so many at once, and so many a second. It is looked at while the frames are
//! read, so that a flood ends before the worker has spent a turn on it.
//!
//! A stream of small messages is no flood, but looks like one to hyper's server if they come faster
//! than they go on. Where frames end means nothing (RFC 9113, section 6.1), so they are joined.

use std::time::{Duration, Instant};

use crate::metrics::Flood;

/// What each connection begins with (RFC 9113, section 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Length of the head of a frame (RFC 9113, section 4.1).
const HEAD_BYTES: usize = 9;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const PING: u8 = 0x6;
const WINDOW_UPDATE: u8 = 0x8;
const CONTINUATION: u8 = 0x9;

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;

/// DATA that is empty, or has nothing in it but padding: no client needs it but by mistake. hyper's
/// server itself ends a connection at the 100th.
const DATA_ALLOWED: (u32, u32) = (50, 10);

/// PRIORITY and its kin: browsers send some with each request, which count for themselves.
const OTHER_ALLOWED: (u32, u32) = (1_000, 100);

/// PING: clients that measure the way send one after each answer, which counts for itself.
const PINGS_ALLOWED: (u32, u32) = (1_000, 500);

/// `RST_STREAM` for what is over; for requests on their way see [`Line::ends`](crate::proxy::line::Line::ends).
const RESETS_ALLOWED: (u32, u32) = (1_000, 100);

/// SETTINGS: one at the beginning, some more while a client finds out how large its window is.
const SETTINGS_ALLOWED: (u32, u32) = (100, 10);

/// `WINDOW_UPDATE`: a download needs some for what was sent, which counts for itself.
const WINDOWS_ALLOWED: (u32, u32) = (2_000, 1_000);

/// Bytes sent to a client that excuse one PING and one `WINDOW_UPDATE`.
const BYTES_PER_EXCUSE: usize = 64;

/// Frames of other kinds that a request excuses.
const FRAMES_PER_REQUEST: u32 = 3;

/// A frame of a body that is no larger than most messages are small.
const SMALL_BYTES: usize = 256;

/// As long as frames may become that are joined: no longer than all may be (RFC 9113, section 4.2).
const JOINED_BYTES_MAX: usize = 16 * 1024;

/// Time between two looks at the clock's share of the allowances.
const REST: Duration = Duration::from_millis(100);

/// How many frames of a kind may come.
#[derive(Debug)]
struct Allowance {
    used: u32,
    at_once: u32,
    a_second: u32,
}

impl Allowance {
    const fn new((at_once, a_second): (u32, u32)) -> Self {
        Self { used: 0, at_once, a_second }
    }

    /// Whether one more is too many.
    const fn exceeds(&mut self) -> bool {
        self.used += 1;
        self.used > self.at_once
    }

    const fn excuse(&mut self, frames: u32) {
        self.used = self.used.saturating_sub(frames);
    }

    const fn rest(&mut self, tenths: u32) {
        self.excuse((self.a_second / 10).saturating_mul(tenths));
    }
}

/// A frame of DATA among the bytes that are passed just now.
#[derive(Clone, Copy, Debug)]
struct Joint {
    place: usize,
    stream: [u8; 4],
    length: usize,
    ends: bool,
}

impl Joint {
    /// Both in one frame, where `next` follows.
    fn with(self, next: Self) -> Option<Self> {
        let length = self.length + next.length;
        let fits = !self.ends && self.stream == next.stream && length <= JOINED_BYTES_MAX;
        fits.then_some(Self { length, ends: next.ends, ..self })
    }

    /// Writes the length and the end to the head.
    fn write(self, bytes: &mut [u8]) {
        let length = u32::try_from(self.length).unwrap_or_default().to_be_bytes();
        bytes[self.place..self.place + 3].copy_from_slice(&length[1..]);
        bytes[self.place + 4] |= if self.ends { END_STREAM } else { 0 };
    }
}

/// Where the bytes of a connection stand between two frames, and what came in so far.
#[derive(Debug)]
pub struct Frames {
    /// Bytes of the preface that are still to come.
    preface: usize,
    /// The head of a frame, and how long its padding is where that is to be known.
    head: [u8; HEAD_BYTES + 1],
    have: usize,
    kind: u8,
    payload: usize,
    /// Whether a head has begun whose last frame has not.
    open: bool,
    /// Small frames of bodies since somebody looked.
    small: usize,
    rested: Instant,
    sent: usize,
    data: Allowance,
    other: Allowance,
    pings: Allowance,
    resets: Allowance,
    settings: Allowance,
    windows: Allowance,
}

impl Frames {
    /// Before the first byte.
    pub const fn new(now: Instant) -> Self {
        Self {
            preface: PREFACE.len(),
            head: [0; HEAD_BYTES + 1],
            have: 0,
            kind: SETTINGS,
            payload: 0,
            open: false,
            small: 0,
            rested: now,
            sent: 0,
            data: Allowance::new(DATA_ALLOWED),
            other: Allowance::new(OTHER_ALLOWED),
            pings: Allowance::new(PINGS_ALLOWED),
            resets: Allowance::new(RESETS_ALLOWED),
            settings: Allowance::new(SETTINGS_ALLOWED),
            windows: Allowance::new(WINDOWS_ALLOWED),
        }
    }

    /// Follows `bytes` that came in, and joins small frames of one body that come together. Returns
    /// how many bytes are left of them; those are the first.
    ///
    /// # Errors
    /// What there is too much of.
    pub fn pass(&mut self, bytes: &mut [u8], now: Instant) -> Result<usize, Flood> {
        self.rest(now);
        let (mut from, mut to, mut joint) = (0, 0, None);
        while from < bytes.len() {
            let skipped = (self.preface + self.payload).min(bytes.len() - from);
            let of_preface = self.preface.min(skipped);
            self.preface -= of_preface;
            self.payload -= skipped - of_preface;
            let part = self.missing().min(bytes.len() - from - skipped);
            let head = from + skipped..from + skipped + part;
            self.head[self.have..self.have + part].copy_from_slice(&bytes[head]);
            self.have += part;
            if from != to {
                bytes.copy_within(from..from + skipped + part, to);
            }
            from += skipped + part;
            to += skipped + part;
            if part > 0 && self.missing() == 0 {
                // A head that began before these bytes cannot be taken out of them.
                let place = to.checked_sub(self.have);
                self.begin()?;
                let before = std::mem::replace(&mut joint, place.and_then(|at| self.joint(at)));
                if let (Some(before), Some(this)) = (before, joint)
                    && let Some(both) = before.with(this)
                {
                    to = this.place;
                    both.write(bytes);
                    joint = Some(both).filter(|both| !both.ends);
                } else if self.kind == DATA && self.payload < SMALL_BYTES {
                    self.small += 1;
                }
            }
        }
        Ok(to)
    }

    /// Small frames of bodies since the last look.
    pub const fn take_small(&mut self) -> usize {
        std::mem::replace(&mut self.small, 0)
    }

    /// The frame that has just begun, with its head at `place`, if others may be joined to it.
    fn joint(&self, place: usize) -> Option<Joint> {
        let [_, _, _, kind, flags, stream @ .., _] = self.head;
        let (length, ends) = (self.payload, flags & END_STREAM != 0);
        let joins = kind == DATA && flags & PADDED == 0 && (length > 0 || ends);
        joins.then_some(Joint { place, stream, length, ends })
    }

    /// Bytes of a frame's head that have not come in yet. With DATA that is padded the length of
    /// the padding, which comes next, is one of them.
    fn missing(&self) -> usize {
        let [high, middle, low, kind, flags, ..] = self.head;
        let is_padded = kind == DATA && flags & PADDED != 0 && [high, middle, low] != [0; 3];
        let whole = HEAD_BYTES + usize::from(self.have >= HEAD_BYTES && is_padded);
        whole - self.have
    }

    /// `bytes` went out.
    pub const fn sent(&mut self, bytes: usize) {
        self.sent = self.sent.saturating_add(bytes);
    }

    /// Whether the client owes the rest of something that is no body.
    pub const fn is_within_head(&self) -> bool {
        let within = self.have > 0 || (self.payload > 0 && self.kind != DATA);
        self.preface > 0 || self.open || within
    }

    fn begin(&mut self) -> Result<(), Flood> {
        let [high, middle, low, kind, flags, .., padding] = self.head;
        let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        let passed = self.have - HEAD_BYTES;
        let padding = passed * usize::from(padding);
        self.have = 0;
        self.payload = length - passed;
        self.kind = kind;
        let (allowance, flood) = match kind {
            DATA if self.payload > padding || flags & END_STREAM != 0 => return Ok(()),
            HEADERS | CONTINUATION => {
                self.open = flags & END_HEADERS == 0;
                if kind == HEADERS {
                    self.resets.excuse(1);
                    self.other.excuse(FRAMES_PER_REQUEST);
                }
                return Ok(());
            }
            DATA => (&mut self.data, Flood::Data),
            PING => (&mut self.pings, Flood::Pings),
            RST_STREAM => (&mut self.resets, Flood::Resets),
            SETTINGS => (&mut self.settings, Flood::Settings),
            WINDOW_UPDATE => (&mut self.windows, Flood::Windows),
            _ => (&mut self.other, Flood::Other),
        };
        if allowance.exceeds() { Err(flood) } else { Ok(()) }
    }

    fn rest(&mut self, now: Instant) {
        let excused = u32::try_from(self.sent / BYTES_PER_EXCUSE).unwrap_or(u32::MAX);
        self.sent %= BYTES_PER_EXCUSE;
        self.pings.excuse(excused);
        self.windows.excuse(excused);
        let rested = now.saturating_duration_since(self.rested);
        if rested < REST {
            return;
        }
        let tenths = u32::try_from(rested.as_millis() / REST.as_millis()).unwrap_or(u32::MAX);
        self.rested += REST * tenths;
        for allowance in [
            &mut self.data,
            &mut self.other,
            &mut self.pings,
            &mut self.resets,
            &mut self.settings,
            &mut self.windows,
        ] {
            allowance.rest(tenths);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        frame.resize(HEAD_BYTES + payload, 7);
        frame
    }

    #[test]
    fn frames_are_told_apart_however_they_are_cut() {
        let mut stream = PREFACE.to_vec();
        for (kind, flags, payload) in [
            (SETTINGS, 0, 12),
            (HEADERS, END_HEADERS, 300),
            (DATA, 0, 70_000),
            (DATA, 0, 0),
            (DATA, END_STREAM, 0),
            // Each byte of these payloads is 7, that of the padding's length as well.
            (DATA, PADDED, 8),
            (DATA, PADDED, 1),
            (DATA, PADDED, 9),
            (DATA, PADDED | END_STREAM, 8),
            (DATA, PADDED, 0),
            (RST_STREAM, 0, 4),
            (PING, 0, 8),
            (PING, 0, 8),
            (WINDOW_UPDATE, 0, 4),
            (0x2, 0, 5),
            (0x77, 0, 0),
        ] {
            stream.extend(frame(kind, flags, payload));
        }
        for step in [1, 2, 8, 9, 10, 4096, stream.len()] {
            let now = Instant::now();
            let mut frames = Frames::new(now);
            stream.clone().chunks_mut(step).for_each(|bytes| _ = frames.pass(bytes, now).unwrap());
            let used = [
                frames.settings.used,
                frames.data.used,
                frames.resets.used,
                frames.pings.used,
                frames.windows.used,
                frames.other.used,
            ];
            assert_eq!(used, [1, 4, 1, 2, 1, 2], "{step}");
            assert!(!frames.is_within_head());
        }
    }

    #[test]
    fn a_flood_of_any_kind_is_noticed_and_a_trickle_is_not() {
        for (kind, flood, (at_once, a_second)) in [
            (DATA, Flood::Data, DATA_ALLOWED),
            (0x2, Flood::Other, OTHER_ALLOWED),
            (PING, Flood::Pings, PINGS_ALLOWED),
            (RST_STREAM, Flood::Resets, RESETS_ALLOWED),
            (SETTINGS, Flood::Settings, SETTINGS_ALLOWED),
            (WINDOW_UPDATE, Flood::Windows, WINDOWS_ALLOWED),
        ] {
            let start = Instant::now();
            let mut frames = Frames::new(start);
            frames.pass(&mut PREFACE.clone(), start).unwrap();
            let mut send = |now| frames.pass(&mut frame(kind, 0, 0), now).map(|_| ());
            for _ in 0..at_once {
                assert_eq!(send(start), Ok(()));
            }
            assert_eq!(send(start), Err(flood));
            // At nine tenths of what is allowed a second it may go on for ever.
            let mut frames = Frames::new(start);
            frames.pass(&mut PREFACE.clone(), start).unwrap();
            let pause = Duration::from_secs(1) * 10 / (a_second * 9);
            for count in 0..3 * at_once {
                let now = start + pause * count;
                assert_eq!(frames.pass(&mut frame(kind, 0, 0), now), Ok(HEAD_BYTES));
            }
        }
    }

    #[test]
    fn what_was_sent_and_asked_excuses_what_it_brings_about() {
        let now = Instant::now();
        let mut frames = Frames::new(now);
        frames.pass(&mut PREFACE.clone(), now).unwrap();
        for _ in 0..100_000 {
            frames.pass(&mut frame(HEADERS, END_HEADERS | END_STREAM, 30), now).unwrap();
            frames.pass(&mut frame(0x2, 0, 5), now).unwrap();
            frames.sent(1_000);
            for _ in 0..2 {
                frames.pass(&mut frame(WINDOW_UPDATE, 0, 4), now).unwrap();
            }
            frames.pass(&mut frame(PING, 0, 8), now).unwrap();
            frames.pass(&mut frame(RST_STREAM, 0, 4), now).unwrap();
        }
    }

    /// What frames say, whatever frames say it: of the bodies only what is in them and where they end.
    fn said(mut bytes: &[u8]) -> Vec<(u8, u8, u8, Vec<u8>)> {
        let mut said: Vec<(u8, u8, u8, Vec<u8>)> = Vec::new();
        while let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let (payload, rest) = rest.split_at(length);
            bytes = rest;
            let (kind, flags, stream) = (head[3], head[4], head[8]);
            assert!(kind != DATA || flags & PADDED != 0 || length <= JOINED_BYTES_MAX);
            match said.last_mut() {
                Some((DATA, before, same, whole))
                    if kind == DATA && *same == stream && (*before | flags) & PADDED == 0 =>
                {
                    assert_eq!(*before & END_STREAM, 0, "nothing is joined to what has ended");
                    *before |= flags;
                    whole.extend(payload);
                }
                Some(_) | None => said.push((kind, flags, stream, payload.to_vec())),
            }
        }
        assert!(bytes.is_empty());
        said
    }

    #[test]
    fn small_frames_of_one_body_become_one_and_nothing_else_changes() {
        let mut sent = Vec::new();
        let mut number = 7_u32;
        let mut next = |most: u32| {
            number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (number >> 8) % most
        };
        for stream in 1..200 {
            for _ in 0..next(40) {
                let kind = if next(12) == 0 { WINDOW_UPDATE } else { DATA };
                let flags = if next(12) == 0 { PADDED } else { 0 };
                // What is padded has more in it than padding.
                let shortest = if flags == PADDED { 20 } else { 1 };
                let length = [shortest, 20, 300, 9_000][next(4) as usize];
                let mut one = frame(kind, flags, length);
                one[8] = if next(9) == 0 { 0 } else { stream };
                sent.extend(one);
            }
            let mut last = frame(DATA, END_STREAM, next(2) as usize);
            last[8] = stream;
            sent.extend(last);
        }
        for step in [1, 8, 9, 10, 100, 5_000, sent.len()] {
            let now = Instant::now();
            let mut frames = Frames::new(now);
            frames.pass(&mut PREFACE.clone(), now).unwrap();
            let mut passed = Vec::new();
            for piece in sent.clone().chunks_mut(step) {
                let kept = frames.pass(piece, now).unwrap();
                passed.extend(&piece[..kept]);
            }
            assert!(said(&passed) == said(&sent), "in pieces of {step}");
            assert!(!frames.is_within_head());
            assert!(step < 5_000 || passed.len() < sent.len(), "in pieces of {step}");
        }
        let many = frame(DATA, 0, 10).repeat(1_000);
        let mut frames = Frames::new(Instant::now());
        frames.pass(&mut PREFACE.clone(), Instant::now()).unwrap();
        assert_eq!(frames.pass(&mut many.clone(), Instant::now()), Ok(HEAD_BYTES + 10_000));
        assert_eq!(frames.take_small(), 1);
    }

    #[test]
    fn an_open_head_is_seen() {
        let now = Instant::now();
        let mut frames = Frames::new(now);
        let mut within = |bytes: &[u8]| {
            frames.pass(&mut bytes.to_vec(), now).unwrap();
            frames.is_within_head()
        };
        assert!(within(&PREFACE[..10]) && !within(&PREFACE[10..]));
        assert!(within(&frame(HEADERS, 0, 20)), "END_HEADERS is to come");
        assert!(within(&frame(CONTINUATION, 0, 20)));
        assert!(!within(&frame(CONTINUATION, END_HEADERS, 20)));
        assert!(within(&frame(HEADERS, END_HEADERS, 20)[..15]));
        assert!(!within(&[7; 14]));
        assert!(!within(&frame(DATA, 0, 20)[..15]), "a body has a time limit of its own");
        assert!(!within(&[7; 14]));
        assert!(within(&[0; 3]), "a part of a frame's head");
    }
}
