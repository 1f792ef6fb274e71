//! One virtual file: what readers see, what is on the platter, and what lies between.
//!
//! ```text
//! platter  |aaaaaaaa|                        on the disk for certain
//! image    |aaaaaaaa|bbbbbbbb|ccc|xx         everything written, also what was cut off again
//!          0                     len
//! dirty              |-----------|--|        what the next sync would write
//! ```

use std::ops::Range;

use base::rng::Rng;

/// What a disk writes as a whole.
const SECTOR: usize = 512;

/// A file's content.
#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    platter: Vec<u8>,
    /// At least `len` long.
    image: Vec<u8>,
    len: usize,
    dirty: Vec<Range<usize>>,
    /// The shortest and the longest that the file was since its length was last synced.
    lengths: (usize, usize),
}

impl Inode {
    /// Returns what readers see.
    pub(super) fn content(&self) -> &[u8] {
        &self.image[..self.len]
    }

    pub(super) fn append(&mut self, bytes: &[u8]) {
        self.write(self.len, bytes);
    }

    /// Writes bytes that begin in the file or right behind it.
    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) {
        let end = at + bytes.len();
        if self.image.len() < end {
            self.image.resize(end, 0);
        }
        self.image[at..end].copy_from_slice(bytes);
        match self.dirty.last_mut() {
            Some(last) if last.end == at => last.end = end,
            _ => self.dirty.push(at..end),
        }
        self.set_len(self.len.max(end));
    }

    /// Makes the file shorter.
    pub(super) fn cut(&mut self, len: usize) {
        self.set_len(len);
    }

    fn set_len(&mut self, len: usize) {
        self.len = len;
        self.lengths = (self.lengths.0.min(len), self.lengths.1.max(len));
    }

    /// Brings everything that is dirty to the platter.
    pub(super) fn sync(&mut self) {
        // The length is the file system's own business, and survives also where the content was forgotten.
        self.platter.resize(self.len, 0);
        for range in std::mem::take(&mut self.dirty) {
            let range = range.start.min(self.len)..range.end.min(self.len);
            self.platter[range.clone()].copy_from_slice(&self.image[range]);
        }
        self.image.truncate(self.len);
        self.lengths = (self.len, self.len);
    }

    /// Takes what is dirty for clean, as after a sync that failed: readers go on seeing it.
    pub(super) fn forget(&mut self) {
        self.dirty.clear();
    }

    /// Flips bits, on the platter as well, and says whether there is such a byte.
    pub(super) fn flip(&mut self, at: usize, mask: u8) -> bool {
        if at >= self.len {
            return false;
        }
        self.image[at] ^= mask;
        if let Some(byte) = self.platter.get_mut(at) {
            *byte ^= mask;
        }
        true
    }

    /// Leaves what a power cut would.
    pub(super) fn crash(&mut self, rng: &mut Rng) {
        let (shortest, longest) = self.lengths;
        let mut len = match rng.below(4) {
            0 => shortest,
            1 => self.len,
            2 => longest,
            _ => shortest + rng.below((longest - shortest) as u64 + 1) as usize,
        };
        // Which sectors of what was not synced made it to the platter.
        let style = rng.below(4);
        let mut result = vec![0; len];
        let kept = self.platter.len().min(len);
        result[..kept].copy_from_slice(&self.platter[..kept]);
        let reached = |rng: &mut Rng| match style {
            0 => false,
            1 | 2 => true,
            _ => rng.below(2) == 0,
        };
        for range in &self.dirty {
            let (mut at, end) = (range.start, range.end.min(len));
            while at < end {
                let next = ((at / SECTOR + 1) * SECTOR).min(end);
                if reached(rng) {
                    result[at..next].copy_from_slice(&self.image[at..next]);
                }
                at = next;
            }
        }
        // Some file systems write content before they let a file grow over it.
        if style == 0 && rng.below(2) == 0 {
            len = len.min(self.platter.len().max(shortest));
            result.truncate(len);
        }
        *self = Inode { platter: result.clone(), image: result, len, dirty: Vec::new(), lengths: (len, len) };
    }
}
