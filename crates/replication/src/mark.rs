//! `MarkFinder`: where a snapshot ends whose length nobody knew when it began.
//!
//! ```text
//!   $EOF:<mark>\r\n  snapshot … snapshot <mark> stream …
//!                      input│input│input
//!                         <ma│rk>            a mark may be cut by the borders of inputs
//! ```
//!
//! Bytes at the end of an input that may be the beginning of the mark are kept back: not the bytes, since they are those of the
//! mark, but how many.

use std::ops::Range;

use memchr::memmem;

use crate::ReplId;

/// Looks for the mark in bytes as they arrive.
#[derive(Debug)]
pub(crate) struct MarkFinder {
    mark: ReplId,
    finder: memmem::Finder<'static>,
    /// How many bytes of the mark the last input ended with.
    held: usize,
}

/// What an input holds of the snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// So many bytes that were kept back belong to it after all: the first of the mark.
    pub(crate) kept: usize,
    /// These of the input do.
    pub(crate) part: Range<usize>,
    /// Where the mark ended, if it did.
    pub(crate) end: Option<usize>,
}

impl MarkFinder {
    pub(crate) fn new(mark: ReplId) -> MarkFinder {
        MarkFinder { mark, finder: memmem::Finder::new(mark.as_bytes()).into_owned(), held: 0 }
    }

    /// Returns the first bytes of the mark.
    pub(crate) fn first(&self, count: usize) -> &[u8] {
        &self.mark.as_bytes()[..count]
    }

    /// Takes the next bytes.
    pub(crate) fn take(&mut self, input: &[u8]) -> Found {
        let mark = *self.mark.as_bytes().first_chunk::<{ ReplId::LEN }>().expect("a mark has its length");
        let held = std::mem::take(&mut self.held);
        // What was kept back, and as much as may make a mark of it.
        let mut seam = mark[..held].to_vec();
        seam.extend_from_slice(&input[..input.len().min(ReplId::LEN)]);
        for start in 0..held {
            let rest = &seam[start..];
            if rest.starts_with(&mark) {
                let end = start + ReplId::LEN - held;
                return Found { kept: start, part: 0..0, end: Some(end) };
            }
            if mark.starts_with(rest) {
                // Only a short input can end within a mark that began before it.
                self.held = rest.len();
                return Found { kept: start, part: 0..0, end: None };
            }
        }
        if let Some(start) = self.finder.find(input) {
            return Found { kept: held, part: 0..start, end: Some(start + ReplId::LEN) };
        }
        let longest = input.len().min(ReplId::LEN - 1);
        let tail = (1..=longest).rev().find(|len| mark.starts_with(&input[input.len() - len..]));
        self.held = tail.unwrap_or(0);
        Found { kept: held, part: 0..input.len() - self.held, end: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::rng::Rng;

    #[test]
    fn the_mark_is_found_however_it_is_cut() {
        let mut rng = Rng::seeded(5);
        for round in 0..3_000 {
            // Few different digits, so that much looks like the beginning of the mark.
            let digits: Vec<u8> = (0..ReplId::LEN).map(|_| b"01"[rng.below(2) as usize]).collect();
            let id = ReplId::parse(&digits).expect("an id");
            let mut data: Vec<u8> = (0..rng.below(200)).map(|_| b"01"[rng.below(2) as usize]).collect();
            if rng.below(2) == 0 {
                let cut = rng.below(ReplId::LEN as u64) as usize;
                data.extend_from_slice(&digits[..cut]);
            }
            let mut bytes = data.clone();
            bytes.extend_from_slice(&digits);
            bytes.extend_from_slice(b"*1\r\n$4\r\nPING\r\n");
            let expected = memmem::find(&bytes, &digits).expect("it is there");
            let (mut finder, mut seen, mut at) = (MarkFinder::new(id), Vec::new(), 0);
            let end = loop {
                let step = 1 + rng.below(if round % 2 == 0 { 7 } else { 100 }) as usize;
                let input = &bytes[at..(at + step).min(bytes.len())];
                let found = finder.take(input);
                seen.extend_from_slice(finder.first(found.kept));
                seen.extend_from_slice(&input[found.part]);
                if let Some(end) = found.end {
                    break at + end;
                }
                at += input.len();
                assert!(at < bytes.len(), "the mark was missed");
            };
            assert_eq!(end, expected + ReplId::LEN);
            assert_eq!(seen, &bytes[..expected]);
        }
    }
}
