//! The thread that frees what takes long to free.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};

use keyspace::change::Garbage;

use crate::memory::{self, ThreadCounters};
use crate::process;

/// The way to the freeing thread, which starts with the first thing to be freed.
#[derive(Default)]
pub(crate) struct Freeing {
    queue: Option<Sender<Garbage>>,
    handed_over: u64,
    freed: Arc<AtomicU64>,
}

impl Freeing {
    /// Hands something over to be freed.
    pub(crate) fn free(&mut self, garbage: Garbage) {
        self.handed_over += 1;
        let queue = self.queue.get_or_insert_with(|| spawn(Arc::clone(&self.freed)));
        if queue.send(garbage).is_err() {
            // Without the thread it was freed just now.
            self.freed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns how much has been handed over and is not freed yet.
    pub(crate) fn pending(&self) -> usize {
        (self.handed_over - self.freed()) as usize
    }

    /// Returns how much has been freed.
    pub(crate) fn freed(&self) -> u64 {
        self.freed.load(Ordering::Relaxed)
    }
}

fn spawn(freed: Arc<AtomicU64>) -> Sender<Garbage> {
    let (queue, garbage) = channel::<Garbage>();
    // Where no thread can be had the receiver is dropped, and `free` does the work itself.
    let _ = std::thread::Builder::new().name("free".into()).stack_size(256 * 1024).spawn(move || {
        process::give_way(process::Way::Far);
        let mut counters = ThreadCounters::new();
        for item in garbage {
            free(item);
            counters.publish();
            freed.fetch_add(1, Ordering::Relaxed);
        }
    });
    queue
}

/// Frees something, the pages of a large table a few at a time.
///
/// The kernel takes some 10 ms to give back 80 MB, and lets nobody else have the processor or the map of the memory
/// meanwhile, not even the thread that serves.
fn free(item: Garbage) {
    if let Garbage::Table(mut table) = item {
        for piece in table.bytes().chunks_mut(PIECE) {
            memory::discard_pages(piece);
        }
    }
}

/// Bytes whose pages are given back at once: some 50 microseconds' work.
const PIECE: usize = 256 << 10;
