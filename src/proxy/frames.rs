//! Follows the frames that come in on an HTTP/2 connection just far enough to count those that
//! cost work and carry nothing. What only costs memory is bounded by hyper's server.

use super::io::Pulse;

/// Length of the head of a frame (RFC 9113, section 4.1).
const HEAD_BYTES: usize = 9;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const WINDOW_UPDATE: u8 = 0x8;
const END_STREAM: u8 = 0x1;

/// Where the bytes of a connection stand between two frames.
#[derive(Debug)]
pub struct Frames {
    head: [u8; HEAD_BYTES],
    have: usize,
    payload: usize,
    /// Bytes of the preface that are still to come.
    preface: usize,
}

impl Frames {
    /// Before the first byte, with a preface of so many bytes.
    pub const fn new(preface: usize) -> Self {
        Self { head: [0; HEAD_BYTES], have: 0, payload: 0, preface }
    }

    /// Follows `bytes`, and counts what begins in them.
    pub fn pass(&mut self, mut bytes: &[u8], pulse: &Pulse) {
        while !bytes.is_empty() {
            let skipped = (self.preface + self.payload).min(bytes.len());
            let of_preface = self.preface.min(skipped);
            self.preface -= of_preface;
            self.payload -= skipped - of_preface;
            bytes = &bytes[skipped..];
            let part = (HEAD_BYTES - self.have).min(bytes.len());
            self.head[self.have..self.have + part].copy_from_slice(&bytes[..part]);
            self.have += part;
            bytes = &bytes[part..];
            if self.have == HEAD_BYTES {
                self.have = 0;
                self.begin(pulse);
            }
        }
    }

    fn begin(&mut self, pulse: &Pulse) {
        let [high, middle, low, kind, flags, ..] = self.head;
        self.payload = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        match kind {
            HEADERS => {}
            DATA if self.payload > 0 || flags & END_STREAM != 0 => {}
            RST_STREAM => pulse.reset(),
            // A download needs one for every few tens of kilobytes.
            WINDOW_UPDATE => pulse.window(),
            _ => pulse.idle_frame(),
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
        let mut stream = vec![0; 24];
        for (kind, flags, payload) in [
            (4, 0, 12),
            (HEADERS, 4, 300),
            (DATA, 0, 70_000),
            (DATA, 0, 0),
            (DATA, END_STREAM, 0),
            (RST_STREAM, 0, 4),
            (6, 0, 8),
            (WINDOW_UPDATE, 0, 4),
        ] {
            stream.extend(frame(kind, flags, payload));
        }
        for step in [1, 2, 8, 9, 10, 4096, stream.len()] {
            let (pulse, mut frames) = (Pulse::default(), Frames::new(24));
            stream.chunks(step).for_each(|bytes| frames.pass(bytes, &pulse));
            // SETTINGS, the empty DATA without an end, PING; RST_STREAM; WINDOW_UPDATE.
            assert_eq!(pulse.take_frames(), (3, 1, 1), "{step}");
        }
    }
}
