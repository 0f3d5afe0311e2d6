//! The frames of a WebSocket (RFC 6455, section 5.2): followed just far enough to know where one
//! ends, and the one that says goodbye.

/// The close frame of a side that goes away: 1001 (RFC 6455, section 7.4.1), and why, for whoever
/// reads the log of a client or of the app.
const GOODBYE: &[u8] = b"\x88\x1b\x03\xe9going away, connect again";

/// The opcode of a close frame.
const CLOSE: u8 = 8;

/// The frame of a client is masked.
const MASKED: u8 = 0x80;

/// The close frame that says that this side goes away; towards a server with a `mask`.
pub fn goodbye(mask: Option<[u8; 4]>) -> Vec<u8> {
    let Some(mask) = mask else { return GOODBYE.to_vec() };
    let (head, payload) = GOODBYE.split_at(2);
    let masked = payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key);
    [head[0], MASKED | head[1]].into_iter().chain(mask).chain(masked).collect()
}

/// One direction of a WebSocket.
#[derive(Debug, Default)]
pub struct Frames {
    head: [u8; 14],
    have: usize,
    payload: u64,
    closes: bool,
}

impl Frames {
    /// Whether no frame is under way.
    pub fn is_between(&self) -> bool {
        self.have == 0 && self.payload == 0
    }

    /// Whether a close frame has passed, to its end.
    pub fn is_closed(&self) -> bool {
        self.closes && self.is_between()
    }

    /// How many bytes the frame under way has still, as far as is known; at least one, and at
    /// most `most`.
    pub fn rest(&self, most: usize) -> usize {
        if self.payload > 0 {
            return usize::try_from(self.payload).map_or(most, |payload| payload.min(most));
        }
        self.head_bytes() - self.have
    }

    /// Follows `bytes`.
    pub fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.payload > 0 {
                let part = self.rest(bytes.len());
                self.payload -= part as u64;
                bytes = &bytes[part..];
                continue;
            }
            self.head[self.have] = bytes[0];
            self.have += 1;
            bytes = &bytes[1..];
            if self.have == self.head_bytes() {
                self.payload = self.length();
                self.closes |= self.head[0] & 0x0f == CLOSE;
                self.have = 0;
            }
        }
    }

    /// How long the head is, as far as its first bytes say.
    fn head_bytes(&self) -> usize {
        if self.have < 2 {
            return 2;
        }
        let mask = if self.head[1] & MASKED == 0 { 0 } else { 4 };
        let length = match self.head[1] & !MASKED {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + mask
    }

    fn length(&self) -> u64 {
        let [_, second, rest @ ..] = &self.head;
        match second & !MASKED {
            126 => u64::from(u16::from_be_bytes([rest[0], rest[1]])),
            127 => {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(&rest[..8]);
                u64::from_be_bytes(bytes)
            }
            short => u64::from(short),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_frame_is_known_however_it_is_cut() {
        let mut stream = vec![0x81, 0x02, b'h', b'i'];
        stream.extend([0x82, 126, 0x01, 0x00].iter().chain(&[7; 256]));
        stream.extend([0x81, 0x81, 1, 2, 3, 4, b'x']);
        stream.extend([0x89, 0x00]);
        stream.extend(goodbye(Some([1, 2, 3, 4])));
        let ends = [4, 264, 271, 273, stream.len()];
        for step in [1, 2, 3, 5, 100, 1_000] {
            let (mut frames, mut passed) = (Frames::default(), 0);
            for part in stream.chunks(step) {
                frames.pass(part);
                passed += part.len();
                assert_eq!(frames.is_between(), ends.contains(&passed), "{step} {passed}");
                assert_eq!(frames.is_closed(), passed == stream.len(), "{step} {passed}");
                let end = *ends.iter().find(|end| **end > passed).unwrap_or(&(passed + 2));
                assert!(passed + frames.rest(50) <= end, "{step} {passed}");
                assert!((1..=50).contains(&frames.rest(50)), "{step} {passed}");
            }
        }
    }

    #[test]
    fn frames_of_any_length_are_followed() {
        let mut frames = Frames::default();
        frames.pass(&[0x82, 0xff]);
        assert_eq!(frames.rest(100), 12, "the rest of the head");
        frames.pass(&u64::MAX.to_be_bytes());
        frames.pass(&[1, 2, 3, 4]);
        assert_eq!(frames.rest(100), 100);
        frames.pass(&[0; 1_000]);
        assert!(!frames.is_between());
        let mut frames = Frames::default();
        frames.pass(&[0x82, 127, 0, 0, 0, 0, 0, 0, 0, 3, 1, 2]);
        assert_eq!(frames.rest(100), 1);
    }

    #[test]
    fn a_goodbye_is_masked_towards_a_server_alone() {
        let plain = goodbye(None);
        assert_eq!(plain[0], 0x80 | CLOSE);
        assert_eq!(usize::from(plain[1]), plain.len() - 2);
        assert_eq!(plain[2..4], 1001_u16.to_be_bytes());
        let mask = [9, 8, 7, 6];
        let masked = goodbye(Some(mask));
        assert_eq!(masked[..2], [plain[0], plain[1] | MASKED]);
        assert_eq!(masked[2..6], mask);
        let open = masked[6..].iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key);
        assert!(open.eq(plain[2..].iter().copied()));
    }
}
