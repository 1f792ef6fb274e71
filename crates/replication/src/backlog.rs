//! `Backlog`: one buffer for all replicas, and for those that come back.
//!
//! ```text
//!        start                                                    end
//!          │            chunks, each full but the last             │
//!   [······│·····][···········][···········][···········][·········│    ]
//!                    ▲                           ▲                 ▲
//!                    └ a slow replica            └ another         └ one that has everything
//!          ├──────── at least `size` bytes, and all that a reader still needs ───┤
//! ```
//!
//! An offset counts all bytes of the stream before it. A replica is a cursor; bytes are never copied for one.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::time::Duration;

use base::time::Instant;

use crate::LinkId;

/// The last bytes of the stream.
#[derive(Debug)]
pub struct Backlog {
    chunks: VecDeque<Chunk>,
    start: u64,
    end: u64,
    /// How much is kept for those that come back (`repl-backlog-size`).
    size: u64,
    /// What the chunks take, with what holds them.
    memory: u64,
    readers: BTreeMap<LinkId, Reader>,
}

/// A part of the stream, in a buffer that does not move.
#[derive(Debug)]
struct Chunk {
    start: u64,
    bytes: Vec<u8>,
}

impl Chunk {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

/// How far a replica has taken the stream.
#[derive(Clone, Copy, Debug)]
struct Reader {
    at: u64,
    /// Since when it has been behind by more than the soft limit.
    over_soft: Option<Instant>,
}

/// How far a replica may stay behind (`client-output-buffer-limit replica`); 0 for any distance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    pub hard: u64,
    pub soft: u64,
    /// For how long more than `soft` is borne.
    pub soft_for: Duration,
}

/// A chunk is not smaller than this.
const CHUNK_MIN: u64 = 16 << 10;
/// One append removes no more chunks than this: a slow replica that leaves must not cost a long pause.
const TRIMMED_MAX: usize = 64;

impl Backlog {
    /// Returns an empty buffer at an offset.
    pub fn new(size: u64, offset: u64) -> Backlog {
        Backlog {
            chunks: VecDeque::new(),
            start: offset,
            end: offset,
            size,
            memory: 0,
            readers: BTreeMap::new(),
        }
    }

    /// Adds what was written.
    pub fn append(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = self.chunks.back().map_or(0, |last| last.bytes.capacity() - last.bytes.len());
            if room == 0 {
                // Chunks much smaller than the whole, so that no more than needed is kept.
                let limit = (self.size / 16).max(CHUNK_MIN);
                let capacity = (rest.len() as u64).clamp(CHUNK_MIN, limit) as usize;
                let chunk = Chunk { start: self.end, bytes: Vec::with_capacity(capacity) };
                self.memory += chunk_memory(&chunk);
                self.chunks.push_back(chunk);
                continue;
            }
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.chunks.back_mut().expect("a chunk with room").bytes.extend_from_slice(now);
            self.end += now.len() as u64;
            rest = later;
        }
        self.trim();
    }

    /// Removes what nobody needs any more, some of it at least.
    fn trim(&mut self) {
        let needed = self.readers.values().map(|reader| reader.at).min().unwrap_or(self.end);
        let kept = self.end.saturating_sub(self.size).min(needed);
        for _ in 0..TRIMMED_MAX {
            // The last chunk stays: it is being filled.
            if self.chunks.len() <= 1 || self.chunks.front().is_none_or(|first| first.end() > kept) {
                break;
            }
            let first = self.chunks.pop_front().expect("there are several");
            self.start = first.end();
            self.memory -= chunk_memory(&first);
        }
    }

    /// Returns the offset of the first byte.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Returns the offset behind the last byte.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Returns how many bytes there are.
    pub fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the bytes of memory that the buffer takes.
    pub fn memory(&self) -> u64 {
        self.memory + (self.readers.len() * size_of::<(LinkId, Reader)>()) as u64
    }

    /// Returns how much is kept for those that come back.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Changes how much is kept.
    pub fn set_size(&mut self, size: u64) {
        self.size = size;
        self.trim();
    }

    /// Returns whether a reader could go on at an offset.
    pub fn reaches(&self, offset: u64) -> bool {
        (self.start..=self.end).contains(&offset)
    }

    /// Returns the offsets at which a replica may go on: no farther behind than it may stay.
    pub fn resumable(&self, limit: &Limit) -> RangeInclusive<u64> {
        self.start.max(self.end.saturating_sub(self.hard(limit)))..=self.end
    }

    /// Returns how far behind a reader is cut off at once.
    fn hard(&self, limit: &Limit) -> u64 {
        // What is kept anyway costs nothing: less than that is no reason to cut anybody off.
        if limit.hard == 0 { u64::MAX } else { limit.hard.max(self.size) }
    }

    /// Makes a link a reader from an offset on, which must be there.
    pub fn attach(&mut self, link: LinkId, offset: u64) {
        assert!(self.reaches(offset), "a reader begins where there are bytes");
        self.readers.insert(link, Reader { at: offset, over_soft: None });
    }

    /// Forgets a reader.
    pub fn detach(&mut self, link: LinkId) {
        if self.readers.remove(&link).is_some() {
            self.trim();
        }
    }

    /// Returns how far a reader has come.
    pub fn position(&self, link: LinkId) -> Option<u64> {
        self.readers.get(&link).map(|reader| reader.at)
    }

    /// Returns how many bytes a reader has not taken.
    pub fn pending(&self, link: LinkId) -> u64 {
        self.position(link).map_or(0, |at| self.end - at)
    }

    /// Returns the next bytes for a reader, as many as lie together.
    pub fn slice(&self, link: LinkId) -> &[u8] {
        let Some(at) = self.position(link).filter(|at| *at < self.end) else { return &[] };
        // Fast replicas read the last chunk.
        let index = match self.chunks.back() {
            Some(last) if last.start <= at => self.chunks.len() - 1,
            _ => self.chunks.partition_point(|chunk| chunk.end() <= at),
        };
        let chunk = &self.chunks[index];
        &chunk.bytes[(at - chunk.start) as usize..]
    }

    /// Says that a reader has taken so many bytes.
    pub fn advance(&mut self, link: LinkId, count: usize) {
        let Some(reader) = self.readers.get_mut(&link) else { return };
        reader.at += count as u64;
        assert!(reader.at <= self.end, "no more is taken than there is");
    }

    /// Returns the readers that are too far behind, with the bytes that they lack.
    pub fn overrun(&mut self, now: Instant, limit: &Limit) -> Vec<(LinkId, u64)> {
        let hard = self.hard(limit);
        let soft = if limit.soft == 0 { u64::MAX } else { limit.soft };
        let mut cut = Vec::new();
        for (link, reader) in &mut self.readers {
            let behind = self.end - reader.at;
            if behind <= soft {
                reader.over_soft = None;
            } else {
                reader.over_soft.get_or_insert(now);
            }
            let late = reader.over_soft.is_some_and(|since| now.saturating_since(since) > limit.soft_for);
            if behind > hard || late {
                cut.push((*link, behind));
            }
        }
        cut
    }
}

fn chunk_memory(chunk: &Chunk) -> u64 {
    (chunk.bytes.capacity() + size_of::<Chunk>()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: LinkId = LinkId(1);
    const B: LinkId = LinkId(2);

    /// The byte that the stream has at an offset.
    fn byte(offset: u64) -> u8 {
        (offset % 251) as u8
    }

    fn fill(backlog: &mut Backlog, count: u64) {
        let bytes: Vec<u8> = (backlog.end()..backlog.end() + count).map(byte).collect();
        backlog.append(&bytes);
    }

    /// Reads `count` bytes, or all, and checks them.
    fn read(backlog: &mut Backlog, link: LinkId, mut count: u64) {
        while count > 0 && backlog.pending(link) > 0 {
            let at = backlog.position(link).expect("a reader");
            let slice = backlog.slice(link);
            let taken = slice.len().min(count as usize);
            assert!(taken > 0, "where bytes are pending there is a slice");
            assert!(slice[..taken].iter().zip(at..).all(|(found, offset)| *found == byte(offset)));
            backlog.advance(link, taken);
            count -= taken as u64;
        }
    }

    #[test]
    fn readers_get_every_byte_once_whatever_the_sizes() {
        let mut backlog = Backlog::new(100_000, 7);
        backlog.attach(A, 7);
        backlog.attach(B, 7);
        let mut rng = base::rng::Rng::seeded(3);
        for _ in 0..2_000 {
            fill(&mut backlog, rng.below(3_000));
            read(&mut backlog, A, u64::MAX);
            read(&mut backlog, B, rng.below(3_200));
            assert!(backlog.start() <= backlog.position(B).expect("a reader"));
            assert!(backlog.len() >= 100_000.min(backlog.end() - 7), "less than asked for is kept");
        }
        read(&mut backlog, B, u64::MAX);
        assert_eq!(backlog.position(B), Some(backlog.end()));
        fill(&mut backlog, 1);
        assert!(backlog.len() <= 100_000 + 2 * CHUNK_MIN, "{} bytes are kept", backlog.len());
        assert!(backlog.memory() <= 100_000 + 3 * CHUNK_MIN);
    }

    #[test]
    fn eight_slow_readers_take_no_more_memory_than_one() {
        let filled = |readers: u64| {
            let mut backlog = Backlog::new(1 << 20, 0);
            (0..readers).for_each(|link| backlog.attach(LinkId(link), 0));
            (0..300).for_each(|_| fill(&mut backlog, 10_000));
            backlog.memory()
        };
        assert!(filled(8) - filled(1) < 1024);
        assert!(filled(0) < (1 << 20) + (1 << 18));
    }

    #[test]
    fn what_a_slow_reader_held_goes_when_it_leaves() {
        let mut backlog = Backlog::new(CHUNK_MIN, 0);
        backlog.attach(A, 0);
        (0..100).for_each(|_| fill(&mut backlog, CHUNK_MIN));
        assert_eq!((backlog.start(), backlog.reaches(0)), (0, true));
        backlog.detach(A);
        fill(&mut backlog, 1);
        assert!(backlog.len() <= 3 * CHUNK_MIN);
        assert!(!backlog.reaches(0) && !backlog.reaches(backlog.end() + 1) && backlog.reaches(backlog.end()));
    }

    #[test]
    fn a_reader_is_cut_off_at_the_hard_limit_and_after_a_while_at_the_soft_one() {
        let at = Instant::from_micros;
        let mut backlog = Backlog::new(10, 0);
        let limit = Limit { hard: 1_000, soft: 100, soft_for: Duration::from_secs(2) };
        backlog.attach(A, 0);
        fill(&mut backlog, 100);
        assert_eq!(backlog.overrun(at(0), &limit), []);
        fill(&mut backlog, 1);
        assert_eq!(backlog.overrun(at(0), &limit), []);
        assert_eq!(backlog.overrun(at(2_000_000), &limit), []);
        assert_eq!(backlog.overrun(at(2_000_001), &limit), [(A, 101)]);
        read(&mut backlog, A, 1);
        assert_eq!(backlog.overrun(at(2_000_002), &limit), []);
        fill(&mut backlog, 901);
        assert_eq!(backlog.overrun(at(2_000_003), &limit), [(A, 1_001)]);
        backlog.set_size(1_001);
        assert_eq!(backlog.overrun(at(2_000_003), &limit), [], "the backlog's size is no reason to cut");
        assert_eq!(backlog.overrun(at(u64::MAX), &Limit { hard: 0, soft: 0, ..limit }), []);
    }
}
