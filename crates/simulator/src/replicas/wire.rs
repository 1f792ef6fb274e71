//! A link between a replica and its master: two pipes that carry bytes in order, in pieces, late, and sometimes not at all.
//!
//! A pipe holds only so much, as sockets do: whoever writes to a full one has to wait. A link that is cut loses what is on its
//! way from any byte on, and each end hears of it in its own time.

use std::collections::VecDeque;
use std::time::Duration;

use base::time::Instant;
use node::LinkId;

/// One direction of a link.
#[derive(Debug)]
pub(super) struct Pipe {
    segments: VecDeque<(Instant, Vec<u8>)>,
    len: usize,
    capacity: usize,
    last_due: Instant,
    /// When the reader hears that nothing follows, if nothing does.
    pub(super) ended: Option<Instant>,
    /// The writer found no room.
    pub(super) blocked: bool,
}

impl Pipe {
    fn new(capacity: usize) -> Pipe {
        Pipe {
            segments: VecDeque::new(),
            len: 0,
            capacity,
            last_due: Instant::ZERO,
            ended: None,
            blocked: false,
        }
    }

    /// Returns how many bytes still fit.
    pub(super) fn room(&self) -> usize {
        self.capacity.saturating_sub(self.len)
    }

    /// Takes bytes that arrive at `due` at the earliest.
    pub(super) fn push(&mut self, due: Instant, bytes: Vec<u8>) {
        self.last_due = self.last_due.max(due);
        self.len += bytes.len();
        match self.segments.back_mut() {
            Some((last, segment)) if *last == self.last_due => segment.extend(bytes),
            _ => self.segments.push_back((self.last_due, bytes)),
        }
    }

    /// Returns when there is something for the reader.
    pub(super) fn due(&self) -> Option<Instant> {
        let end = self.ended.map(|at| at.max(self.last_due));
        self.segments.front().map(|(due, _)| *due).or(end)
    }

    /// Returns whether everything has arrived, and nothing will follow.
    pub(super) fn is_over(&self) -> bool {
        self.segments.is_empty() && self.ended.is_some()
    }

    /// Hands out the first bytes, at most so many; the rest of them is there as well.
    pub(super) fn take(&mut self, most: usize) -> Vec<u8> {
        let Some((_, segment)) = self.segments.front_mut() else { return Vec::new() };
        let bytes = match most < segment.len() {
            true => segment.drain(..most).collect(),
            false => self.segments.pop_front().map_or(Vec::new(), |(_, segment)| segment),
        };
        self.len -= bytes.len();
        bytes
    }

    /// Returns how many bytes arrive at once.
    pub(super) fn front(&self) -> usize {
        self.segments.front().map_or(0, |(_, segment)| segment.len())
    }

    /// Loses all but the first `kept` bytes, and ends at `at`.
    pub(super) fn cut(&mut self, kept: usize, at: Instant) {
        let mut left = kept;
        for (_, segment) in &mut self.segments {
            segment.truncate(left);
            left -= segment.len();
        }
        self.segments.retain(|(_, segment)| !segment.is_empty());
        self.len = self.len.min(kept);
        self.ended.get_or_insert(at);
    }

    /// Returns how many bytes are on their way.
    pub(super) fn len(&self) -> usize {
        self.len
    }
}

/// One end of a link.
#[derive(Clone, Copy, Debug)]
pub(super) struct Side {
    pub(super) member: usize,
    pub(super) id: LinkId,
    pub(super) open: bool,
}

/// A link and all that is on its way.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) replica: Side,
    /// There once the master has accepted it.
    pub(super) master: Option<Side>,
    /// Whom it is to lead to.
    pub(super) target: usize,
    pub(super) to_master: Pipe,
    pub(super) to_replica: Pipe,
    /// When it is known whether the link can be opened, until it is.
    pub(super) opens: Option<Instant>,
    pub(super) latency: Duration,
    /// Nothing moves until then.
    pub(super) stalled_until: Instant,
    /// A file on its way, and how much of it was sent.
    pub(super) file: Option<(Vec<u8>, usize)>,
    /// The master has said that the stream goes on.
    pub(super) continued: bool,
    /// A command was taken out of the stream.
    pub(super) robbed: bool,
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    ToMaster,
    ToReplica,
}

impl Wire {
    pub(super) fn new(
        replica: Side,
        target: usize,
        opens: Instant,
        latency: Duration,
        capacity: usize,
    ) -> Wire {
        Wire {
            replica,
            master: None,
            target,
            to_master: Pipe::new(capacity),
            to_replica: Pipe::new(capacity),
            opens: Some(opens),
            latency,
            stalled_until: Instant::ZERO,
            file: None,
            continued: false,
            robbed: false,
        }
    }

    pub(super) fn pipe(&mut self, way: Way) -> &mut Pipe {
        match way {
            Way::ToMaster => &mut self.to_master,
            Way::ToReplica => &mut self.to_replica,
        }
    }

    /// Returns who reads what goes that way, while it does.
    pub(super) fn reader(&self, way: Way) -> Option<Side> {
        let side = match way {
            Way::ToMaster => self.master,
            Way::ToReplica => Some(self.replica),
        };
        side.filter(|side| side.open)
    }

    /// Returns who writes what goes that way, while it does.
    pub(super) fn writer(&self, way: Way) -> Option<Side> {
        self.reader(match way {
            Way::ToMaster => Way::ToReplica,
            Way::ToReplica => Way::ToMaster,
        })
    }

    /// Returns when there is something to be delivered that way.
    pub(super) fn due(&self, way: Way) -> Option<Instant> {
        self.reader(way).filter(|_| self.opens.is_none())?;
        let pipe = match way {
            Way::ToMaster => &self.to_master,
            Way::ToReplica => &self.to_replica,
        };
        pipe.due().map(|due| due.max(self.stalled_until))
    }

    /// Returns whether nobody holds an end any more.
    pub(super) fn is_gone(&self) -> bool {
        !self.replica.open && self.master.is_none_or(|side| !side.open)
    }
}
