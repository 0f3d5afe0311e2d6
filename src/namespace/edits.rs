//! What becomes of bytes on their way: parts of what was read, and what was made in between.

use std::io::IoSlice;
use std::ops::Range;

/// A longer part of what was read is not copied; below it, one write of one piece is cheaper.
const COPIED_MAX: usize = 1024;

/// What is to be written instead of what was read.
#[derive(Debug, Default)]
pub struct Edits {
    pieces: Vec<Piece>,
    made: Vec<u8>,
    /// Parts of this length and less are copied.
    copied_max: usize,
    bytes: usize,
}

#[derive(Debug)]
enum Piece {
    /// Of what was read.
    Kept(Range<usize>),
    /// Of `made`.
    Made(Range<usize>),
}

impl Edits {
    /// Edits that refer to what was read.
    pub const fn new() -> Self {
        Self { pieces: Vec::new(), made: Vec::new(), copied_max: COPIED_MAX, bytes: 0 }
    }

    /// Edits that stay when what was read is gone.
    pub const fn copying() -> Self {
        Self { pieces: Vec::new(), made: Vec::new(), copied_max: usize::MAX, bytes: 0 }
    }

    /// Lets through what stands at `range` of `input`.
    pub fn keep(&mut self, input: &[u8], range: Range<usize>) {
        if range.len() <= self.copied_max {
            return self.make(&input[range]);
        }
        self.bytes += range.len();
        if let Some(Piece::Kept(last)) = self.pieces.last_mut()
            && last.end == range.start
        {
            last.end = range.end;
            return;
        }
        self.pieces.push(Piece::Kept(range));
    }

    /// Lets through what has come from `at` of `input` on of a text with `left` bytes to come; gives
    /// how many these are.
    pub fn keep_some(&mut self, input: &[u8], at: usize, left: &mut usize) -> usize {
        let size = (*left).min(input.len() - at);
        self.keep(input, at..at + size);
        *left -= size;
        size
    }

    /// Writes `bytes`.
    pub fn make(&mut self, bytes: &[u8]) {
        self.make_by(|made| made.extend_from_slice(bytes));
    }

    /// Has `write` write something.
    pub fn make_by<T>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let start = self.made.len();
        let written = write(&mut self.made);
        self.bytes += self.made.len() - start;
        match self.pieces.last_mut() {
            Some(Piece::Made(last)) => last.end = self.made.len(),
            Some(Piece::Kept(_)) | None => self.pieces.push(Piece::Made(start..self.made.len())),
        }
        written
    }

    /// Writes the line before a text of `length`.
    pub fn make_head(&mut self, mut length: usize) {
        let (mut line, mut at) = (*b"$00000000000000000000\r\n", 20);
        loop {
            line[at] = b'0' + u8::try_from(length % 10).unwrap_or(0);
            length /= 10;
            if length == 0 {
                break;
            }
            at -= 1;
        }
        line[at - 1] = b'$';
        self.make(&line[at - 1..]);
    }

    /// How much there is to write.
    pub const fn len(&self) -> usize {
        self.bytes
    }

    /// Whether there is nothing to write.
    pub const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// The pieces in order; `input` is what was read.
    pub fn slices<'a>(&'a self, input: &'a [u8]) -> Vec<IoSlice<'a>> {
        let piece = |piece: &Piece| match piece {
            Piece::Kept(range) => &input[range.clone()],
            Piece::Made(range) => &self.made[range.clone()],
        };
        self.pieces.iter().map(|one| IoSlice::new(piece(one))).collect()
    }

    /// What was made; all of it, where nothing was kept by reference.
    pub fn made(&self) -> &[u8] {
        &self.made
    }

    /// All of it, where it is in one piece; `input` is what was read.
    pub fn one<'a>(&'a self, input: &'a [u8]) -> Option<&'a [u8]> {
        match &self.pieces[..] {
            [Piece::Kept(range)] => Some(&input[range.clone()]),
            [Piece::Made(range)] => Some(&self.made[range.clone()]),
            _ => None,
        }
    }

    /// Everything in one.
    pub fn whole(&self, input: &[u8]) -> Vec<u8> {
        self.slices(input).iter().flat_map(|slice| slice.iter().copied()).collect()
    }

    /// Nothing is to be written any more.
    pub fn clear(&mut self) {
        self.pieces.clear();
        self.made.clear();
        // What was needed for once is not held for ever.
        self.made.shrink_to(1 << 16);
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_parts_are_joined_and_large_ones_are_not_copied() {
        let input = vec![b'x'; 10_000];
        let mut edits = Edits::new();
        edits.make(b"head ");
        edits.keep(&input, 0..3);
        edits.keep(&input, 10..5000);
        edits.keep(&input, 5000..9000);
        edits.make(b" tail");
        let lengths: Vec<usize> = edits.slices(&input).iter().map(|slice| slice.len()).collect();
        assert_eq!(lengths, [8, 8990, 5]);
        assert_eq!(edits.whole(&input).len(), edits.len());
    }

    #[test]
    fn heads_say_the_length() {
        for length in [0, 9, 10, 512 << 20, usize::MAX] {
            let mut edits = Edits::new();
            edits.make_head(length);
            assert_eq!(edits.made(), format!("${length}\r\n").as_bytes());
        }
    }

    #[test]
    fn copies_outlive_what_was_read() {
        let mut edits = Edits::copying();
        edits.keep(&[b'x'; 2000], 0..2000);
        assert_eq!(edits.made().len(), 2000);
        edits.clear();
        assert!(edits.is_empty());
    }
}
