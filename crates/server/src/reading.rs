//! Reading a large file from its beginning to its end, ahead of whoever takes it apart.
//!
//! A thread reads pieces and waits once a few of them lie ready. Buffers that are given back are filled again.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel};

use mio::Waker;

use crate::memory::ThreadCounters;
use crate::page_cache;

/// The length of a piece; the last is shorter.
const PIECE: usize = 1 << 20;

/// Pieces that lie ready at most.
const AHEAD: usize = 4;

/// A file that is being read.
#[derive(Debug)]
pub(crate) struct Reading {
    pieces: Receiver<io::Result<Vec<u8>>>,
    spent: Sender<Vec<u8>>,
    len: u64,
    /// Kept, since the loop hears nothing of a waker that is gone.
    _waker: Option<Arc<Waker>>,
}

/// What [`Reading::poll`] found.
#[derive(Debug)]
pub(crate) enum Piece {
    Bytes(Vec<u8>),
    /// The disk is not that far.
    Pending,
    End,
}

impl Reading {
    /// Begins to read a file; `waker` is woken for every piece, and for the end.
    pub(crate) fn open(path: &Path, waker: Option<Arc<Waker>>) -> io::Result<Reading> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        page_cache::expect_sequential_reads(&file);
        let (ready, pieces) = sync_channel(AHEAD);
        let (spent, empty) = channel();
        let theirs = waker.clone();
        std::thread::Builder::new()
            .name("read".into())
            .stack_size(128 * 1024)
            .spawn(move || read(file, ready, &empty, theirs.as_deref()))?;
        Ok(Reading { pieces, spent, len, _waker: waker })
    }

    /// Returns the file's length when it was opened.
    #[allow(clippy::len_without_is_empty)] // It is no collection.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Returns the next piece, for which it waits; nothing at the end, and after an error.
    pub(crate) fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.pieces.recv().map_or(Ok(None), |piece| piece.map(Some))
    }

    /// Returns the next piece if it is there.
    pub(crate) fn poll(&mut self) -> io::Result<Piece> {
        match self.pieces.try_recv() {
            Ok(piece) => piece.map(Piece::Bytes),
            Err(TryRecvError::Empty) => Ok(Piece::Pending),
            Err(TryRecvError::Disconnected) => Ok(Piece::End),
        }
    }

    /// Takes a piece back, to be filled again.
    pub(crate) fn give_back(&self, piece: Vec<u8>) {
        // After the end nobody fills it.
        let _ = self.spent.send(piece);
    }
}

/// What the thread does.
fn read(
    mut file: File,
    ready: SyncSender<io::Result<Vec<u8>>>,
    empty: &Receiver<Vec<u8>>,
    waker: Option<&Waker>,
) {
    let mut counters = ThreadCounters::new();
    loop {
        let mut piece = empty.try_recv().unwrap_or_else(|_| Vec::with_capacity(PIECE));
        piece.clear();
        let result = file.by_ref().take(PIECE as u64).read_to_end(&mut piece);
        counters.publish();
        let (piece, last) = match result {
            Ok(0) => break,
            Ok(_) => (Ok(piece), false),
            Err(error) => (Err(error), true),
        };
        // Who has enough has gone.
        if ready.send(piece).is_err() || last {
            break;
        }
        wake(waker);
    }
    // The end shows by this being gone.
    drop(ready);
    wake(waker);
    counters.publish();
}

/// A loop that cannot be woken looks when it wakes up by itself.
fn wake(waker: Option<&Waker>) {
    if let Some(waker) = waker {
        let _ = waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn file(name: &str, content: &[u8]) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("redstart-reading-{}-{name}", std::process::id()));
        fs::write(&path, content).expect("a file");
        path
    }

    #[test]
    fn a_file_arrives_whole_and_in_order() {
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 9 * PIECE + 17] {
            let content: Vec<u8> = (0..length).map(|at| (at / 3 + at / PIECE) as u8).collect();
            let path = file("order", &content);
            let mut reading = Reading::open(&path, None).expect("an open file");
            assert_eq!(reading.len(), length as u64);
            let mut read = Vec::new();
            while let Some(piece) = reading.next().expect("a piece") {
                assert!(!piece.is_empty() && piece.len() <= PIECE);
                read.extend_from_slice(&piece);
                reading.give_back(piece);
            }
            assert!(read == content);
            assert!(reading.next().expect("the end").is_none());
            fs::remove_file(path).expect("a removed file");
        }
    }

    #[test]
    fn a_loop_is_woken_for_every_piece_and_for_the_end() {
        let path = file("poll", &vec![7; 2 * PIECE]);
        let mut poll = mio::Poll::new().expect("a poll");
        let waker = Arc::new(Waker::new(poll.registry(), mio::Token(1)).expect("a waker"));
        let mut reading = Reading::open(&path, Some(waker)).expect("an open file");
        let mut events = mio::Events::with_capacity(4);
        let mut read = 0;
        loop {
            match reading.poll().expect("a piece") {
                Piece::Bytes(piece) => read += piece.len(),
                Piece::End => break,
                Piece::Pending => {
                    poll.poll(&mut events, Some(std::time::Duration::from_secs(20))).expect("a poll");
                    assert!(!events.is_empty(), "nobody was woken");
                }
            }
        }
        assert_eq!(read, 2 * PIECE);
        fs::remove_file(path).expect("a removed file");
    }

    #[test]
    fn who_has_enough_may_leave() {
        let path = file("leave", &vec![7; 8 * PIECE]);
        let mut reading = Reading::open(&path, None).expect("an open file");
        assert!(reading.next().expect("a piece").is_some());
        drop(reading);
        fs::remove_file(&path).expect("a removed file");
        assert!(Reading::open(&path, None).is_err());
        // A directory can be opened and not be read.
        let mut reading = Reading::open(&std::env::temp_dir(), None).expect("an open directory");
        assert!(reading.next().is_err());
        assert!(reading.next().expect("the end").is_none());
    }
}
