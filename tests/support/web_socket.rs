//! Frames of a web socket, by hand.

/// What Weir says to a client whose release has lost: 1001, and why.
pub const GOODBYE: &[u8] = b"\x88\x1b\x03\xe9going away, connect again";

/// A frame with `payload`; masked as of a client, if there is a mask.
pub fn frame(opcode: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let length = u8::try_from(payload.len()).ok().filter(|length| *length < 126);
    let mut frame = vec![0x80 | opcode, length.expect("a short frame")];
    if let Some(mask) = mask {
        frame[1] |= 0x80;
        frame.extend(mask);
    }
    let mask = mask.unwrap_or_default();
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// A short frame that a client has sent, as a server would send it.
pub fn unmasked(frame: &[u8]) -> Vec<u8> {
    assert!(frame[1] & 0x80 != 0, "a client masks what it sends: {frame:?}");
    let (mask, payload) = frame[2..].split_at(4);
    assert_eq!(payload.len(), usize::from(frame[1] & 0x7f), "{frame:?}");
    let payload = payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key);
    [frame[0], frame[1] & 0x7f].into_iter().chain(payload).collect()
}
