//! Since when bytes wait for the disk.

use std::collections::VecDeque;
use std::time::Duration;

use base::time::Instant;

/// When the bytes up to which offset were appended, the oldest first.
///
/// Bytes that came within a few milliseconds of each other share an entry, and have the age of the oldest.
#[derive(Debug, Default)]
pub(crate) struct Ages {
    entries: VecDeque<(Instant, u64)>,
}

const RESOLUTION: Duration = Duration::from_millis(5);
/// With so many entries (bytes that nobody asked to be synced) all later bytes share the last.
const ENTRIES_MAX: usize = 1024;

impl Ages {
    /// Notes that bytes up to `offset` were appended now.
    pub(crate) fn push(&mut self, now: Instant, offset: u64) {
        let full = self.entries.len() >= ENTRIES_MAX;
        match self.entries.back_mut() {
            Some(last) if full || now.saturating_since(last.0) < RESOLUTION => last.1 = offset,
            _ => self.entries.push_back((now, offset)),
        }
    }

    /// Forgets all bytes up to `offset`.
    pub(crate) fn forget(&mut self, offset: u64) {
        while self.entries.front().is_some_and(|entry| entry.1 <= offset) {
            self.entries.pop_front();
        }
    }

    /// Returns when the oldest bytes were appended.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.entries.front().map(|entry| entry.0)
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_bytes_that_wait_have_the_age() {
        let at = |ms: u64| Instant::from_micros(ms * 1000);
        let mut ages = Ages::default();
        ages.push(at(0), 10);
        ages.push(at(4), 20);
        ages.push(at(6), 30);
        assert_eq!(ages.oldest(), Some(at(0)));
        ages.forget(10);
        assert_eq!(ages.oldest(), Some(at(0)), "bytes up to 20 share the entry");
        ages.forget(20);
        assert_eq!(ages.oldest(), Some(at(6)));
        ages.forget(30);
        assert_eq!(ages.oldest(), None);
        (0..5_000).for_each(|n| ages.push(at(n * 10), 100 + n));
        assert_eq!(ages.entries.len(), ENTRIES_MAX);
    }
}
