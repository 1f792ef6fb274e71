//! Prepared space: filler behind the data of a log file, so that an append overwrites what is on the disk already.
//!
//! A sync of a file that has grown also commits the file system's journal, for the new length; a sync of bytes that took
//! the place of others does not. So a disk may write filler ahead of the data, and cut it off when it is of no use.
//!
//! ```text
//! ....\r\n######…####\n###########…####\n … ####\n
//!         │         64·n              64·n          │ the end, 64 behind a multiple of 4096
//!         │ data ends here                          │
//! ```
//!
//! Filler is lines of `#`, whose ends lie before the multiples of 64: to redis-server they are annotations, which it skips.
//! Right behind the data there is never the end of a line, as that would be an empty one, but always `#`. The end lies
//! where no sector does, so that bytes that another server appends there are known from a hole that lost sectors left.
//!
//! Owned here are the pattern and when to write how much of it; disks write it, and the reader of logs knows it.

use std::ops::Range;

/// So long a line is.
const LINE: u64 = 64;

const LINE_OF_FILLER: [u8; LINE as usize] = {
    let mut line = [b'#'; LINE as usize];
    line[LINE as usize - 1] = b'\n';
    line
};

/// Bytes that another server appended may begin so far behind a multiple of [`PAGE`].
const END: u64 = 64;
const PAGE: u64 = 4096;

/// After space could not be had so many syncs do without.
const PAUSE: u32 = 1024;

/// Returns the byte of filler that stands at an offset of its file.
pub const fn filler_at(offset: u64) -> u8 {
    LINE_OF_FILLER[(offset % LINE) as usize]
}

/// Returns whether filler as a whole, written without a failure, may end at this offset.
pub const fn may_end_at(offset: u64) -> bool {
    offset % PAGE == END
}

/// How much of a file is data, and how much behind it is prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    len: u64,
    /// Where the filler ends; nothing is prepared where that is at `len`.
    filled: u64,
    /// So much of the data is on the disk.
    synced: u64,
    /// So many syncs do without.
    pause: u32,
}

/// What is to be done before a file is synced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    Nothing,
    /// Write filler here, and report it by [`Space::fill`] or [`Space::cut`].
    Fill(Range<u64>),
    /// Cut the file to its data, and report it by [`Space::cut`].
    Cut,
}

/// What is to be done about the byte behind an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// It may stay.
    Good,
    /// A `#` is to be written there, together with the append.
    Mark,
    /// It is to be cut off, and is all that is left of the filler.
    Last,
}

impl Space {
    /// Returns the space of a file of `len` bytes, all of them data and on the disk.
    pub const fn new(len: u64) -> Space {
        Space { len, filled: len, synced: len, pause: 0 }
    }

    /// Returns how long the data is.
    pub const fn data(&self) -> u64 {
        self.len
    }

    /// Returns whether there is filler behind the data.
    pub const fn is_prepared(&self) -> bool {
        self.filled > self.len
    }

    /// Returns what is to be done when so many bytes are appended and the end of a line would stand behind them.
    pub const fn behind(&self, count: u64) -> Behind {
        let end = self.len + count;
        match end < self.filled && filler_at(end) == b'\n' {
            false => Behind::Good,
            // The last line has to end.
            true if end + 1 == self.filled => Behind::Last,
            true => Behind::Mark,
        }
    }

    /// Notes that so many bytes were written behind the data.
    pub fn append(&mut self, count: u64) {
        self.len += count;
        self.filled = self.filled.max(self.len);
    }

    /// Returns what to do before a sync that `ahead` bytes are to be prepared with; 0 for none.
    pub fn plan(&mut self, ahead: u64) -> Plan {
        if ahead == 0 {
            return if self.is_prepared() { Plan::Cut } else { Plan::Nothing };
        }
        if self.pause > 0 {
            self.pause -= 1;
            return Plan::Nothing;
        }
        // Nothing may be lost in front of the first bytes, which tell what the file is. Where much is written at once the
        // bytes take longer than the journal, and filler would be as many again.
        let wanted = self.synced > 0 && self.len - self.synced <= ahead / 16;
        if !wanted || self.filled - self.len > ahead / 2 {
            return Plan::Nothing;
        }
        let end = self.len.saturating_add(ahead - END.min(ahead)).next_multiple_of(PAGE) + END;
        if end > self.filled { Plan::Fill(self.filled..end) } else { Plan::Nothing }
    }

    /// Returns the filler for a part of the space.
    pub fn filler(&self, part: Range<u64>) -> Vec<u8> {
        let lines = part.start / LINE..part.end.div_ceil(LINE);
        let mut bytes = LINE_OF_FILLER.repeat((lines.end - lines.start) as usize);
        bytes.truncate((part.end - lines.start * LINE) as usize);
        bytes.drain(..(part.start % LINE) as usize);
        if part.start == self.len
            && let Some(first) = bytes.first_mut()
        {
            *first = b'#';
        }
        bytes
    }

    /// Notes that there is filler up to `end`.
    pub fn fill(&mut self, end: u64) {
        self.filled = self.filled.max(end);
    }

    /// Notes that the file was cut to its data.
    pub fn cut(&mut self) {
        self.filled = self.len;
    }

    /// Notes that filler could not be written.
    pub fn pause(&mut self) {
        self.pause = PAUSE;
    }

    /// Notes that all the data is on the disk.
    pub fn sync(&mut self) {
        self.synced = self.len;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Prepares space as a disk does.
    fn prepare(space: &mut Space, ahead: u64) -> Option<Range<u64>> {
        let Plan::Fill(part) = space.plan(ahead) else { return None };
        space.fill(part.end);
        Some(part)
    }

    #[test]
    fn space_is_prepared_when_less_than_half_is_left() {
        let mut space = Space::new(0);
        space.append(100);
        assert_eq!(space.plan(65536), Plan::Nothing, "nothing of the file is on the disk");
        space.sync();
        let first = prepare(&mut space, 65536).expect("space");
        assert_eq!((first.start, first.end % 4096), (100, 64));
        assert!((65536..65536 + 4096 + 64).contains(&(first.end - 100)), "{first:?}");
        let mut fills = 0;
        for _ in 0..1000 {
            space.append(1000);
            if let Some(part) = prepare(&mut space, 65536) {
                fills += 1;
                assert!(part.start >= space.data() && part.end % 4096 == 64);
            }
            space.sync();
            assert!(space.filled - space.len >= 65536 / 2 - 1000);
        }
        assert!((20..40).contains(&fills), "{fills}");
        assert_eq!(space.plan(0), Plan::Cut);
        space.cut();
        assert_eq!(space.plan(0), Plan::Nothing);
    }

    #[test]
    fn none_is_for_much_at_once_or_after_a_failure() {
        let mut space = Space::new(1);
        space.append(5000);
        assert_eq!(space.plan(65536), Plan::Nothing);
        space.append(100_000);
        assert!(!space.is_prepared());
        space.sync();
        space.pause();
        for _ in 0..PAUSE {
            assert_eq!(space.plan(65536), Plan::Nothing);
        }
        assert!(matches!(space.plan(65536), Plan::Fill(_)));
        assert!(matches!(space.plan(1), Plan::Fill(_)), "also one byte");
    }

    #[test]
    fn filler_is_lines_that_never_begin_with_their_end() {
        for len in 1..200 {
            let mut space = Space::new(len);
            let part = prepare(&mut space, 100).expect("space");
            let filler = space.filler(part.clone());
            assert!(part.skip(1).zip(&filler[1..]).all(|(at, byte)| *byte == filler_at(at)), "{len}");
            assert!(filler.starts_with(b"#") && filler.ends_with(b"#\n"), "{len}");
            assert!(filler.split(|byte| *byte == b'\n').all(|line| line.len() <= 64));
            assert_eq!(space.behind(0) == Behind::Mark, len % 64 == 63);
            assert_eq!(space.behind(space.filled - len - 1), Behind::Last);
            assert_eq!(space.behind(space.filled - len), Behind::Good);
        }
    }
}
