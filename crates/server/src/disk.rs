//! The real disk: tasks in order, on a thread of their own, so that the thread that executes waits for no disk.
//!
//! ```text
//! the loop                                          the disk's thread
//!   submit ─► idle? ─ append ─► carried out here
//!                │
//!                └─ everything else ─► queue ─────► takes all there is, one after the other
//!   take_done ◄──────────────────────── done ◄─────┘ wakes the loop for the first result that it has not seen
//! ```
//!
//! An append goes to the page cache and takes a microsecond, less than a change of threads: it is made by the caller as
//! long as nothing is ahead of it, so that a process that is killed has lost nothing that it had answered. What may wait
//! for the device is left to the thread: so are appends, for a second after one that took longer than 5 ms, since the
//! system then makes writers wait until it has written pages. The price of a sync is one wake-up of the thread and one of the loop, however
//! many commands it is for.
//!
//! What tasks do to files is in [`crate::files`]. Paths are relative to the process' directory; whoever changes that
//! calls [`Disk::settle`] first, so that no task is carried out elsewhere than it was meant.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base::disk::{DiskError, Task, TaskId};
use mio::Waker;

use crate::files::Files;
use crate::memory::ThreadCounters;

/// An append that takes longer than this waits for the device.
const SLOW: Duration = Duration::from_millis(5);
/// So long the thread makes the appends then.
const SLOW_FOR: Duration = Duration::from_secs(1);

/// The process does not wait longer for tasks that nobody waits for any more.
const LEAVE_AFTER: Duration = Duration::from_secs(2);

/// What became of a task.
pub(crate) type Done = (TaskId, Result<(), DiskError>);

/// The disk, as the loop sees it.
pub(crate) struct Disk {
    shared: Arc<Shared>,
    /// Results that the loop has not taken: they come before those of `Queue::done`.
    ready: Vec<Done>,
    /// How many tasks were left to the thread whose results were not taken from it; at 0 it does nothing.
    out: usize,
    /// Until then appends are the thread's, too: one of them took long.
    slow_until: Option<Instant>,
    /// Started by the first task that needs it.
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    queue: Mutex<Queue>,
    /// There is something to do for a thread that sleeps.
    work: Condvar,
    /// There is nothing left to do.
    settled: Condvar,
    /// Locked by the thread while it is busy, and by the loop only while it is not.
    files: Mutex<Files>,
    waker: Arc<Waker>,
}

#[derive(Default)]
struct Queue {
    tasks: Vec<(TaskId, Task)>,
    done: Vec<Done>,
    /// The thread carries something out.
    busy: bool,
    /// The thread waits for `work`; waking one that does not would be a system call for nothing.
    asleep: bool,
    /// Somebody waits for `settled`.
    awaited: bool,
    ended: bool,
}

impl Disk {
    /// Returns the disk of this process; `waker` tells the loop that results are to be taken.
    pub(crate) fn new(waker: Arc<Waker>) -> Disk {
        let shared = Shared {
            queue: Mutex::default(),
            work: Condvar::new(),
            settled: Condvar::new(),
            files: Mutex::default(),
            waker,
        };
        Disk { shared: Arc::new(shared), ready: Vec::new(), out: 0, slow_until: None, thread: None }
    }

    /// Takes a task. What was carried out at once can be taken at once: nobody is woken for it.
    pub(crate) fn submit(&mut self, id: TaskId, task: Task) {
        let quick = matches!(task, Task::Append { .. }) && !self.is_slow();
        let here = quick || !self.has_thread();
        let mut queue = lock(&self.shared.queue);
        if here && queue.tasks.is_empty() && !queue.busy {
            self.out -= queue.done.len();
            self.ready.append(&mut queue.done);
            drop(queue);
            let start = Instant::now();
            let result = lock(&self.shared.files).carry_out(task);
            self.ready.push((id, result));
            if start.elapsed() > SLOW {
                self.slow_until = Some(start + SLOW_FOR);
            }
            return;
        }
        queue.tasks.push((id, task));
        self.out += 1;
        let asleep = std::mem::take(&mut queue.asleep);
        // Unlocked first: who wakes up takes the lock.
        drop(queue);
        if asleep {
            self.shared.work.notify_one();
        }
    }

    /// Returns what has become of tasks since the last call, in order.
    pub(crate) fn take_done(&mut self) -> Vec<Done> {
        let mut done = std::mem::take(&mut self.ready);
        if self.out > 0 {
            let mut queue = lock(&self.shared.queue);
            self.out -= queue.done.len();
            done.append(&mut queue.done);
        }
        done
    }

    /// Returns whether an append took so long that the next ones are not the loop's business.
    fn is_slow(&mut self) -> bool {
        self.slow_until = self.slow_until.filter(|until| Instant::now() < *until);
        self.slow_until.is_some()
    }

    /// Waits until every task has been carried out; the results are still to be taken.
    pub(crate) fn settle(&self) {
        let mut queue = lock(&self.shared.queue);
        while queue.busy || !queue.tasks.is_empty() {
            queue.awaited = true;
            queue = self.shared.settled.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Returns whether there is a thread to leave work to; where none can be had, the loop waits for the disk itself.
    fn has_thread(&mut self) -> bool {
        if self.thread.is_none() {
            let shared = Arc::clone(&self.shared);
            let thread = std::thread::Builder::new().name("disk".into()).stack_size(256 * 1024);
            self.thread = thread.spawn(move || shared.serve()).ok();
        }
        self.thread.is_some()
    }
}

impl Drop for Disk {
    /// Carries out what is left, if the device lets it.
    fn drop(&mut self) {
        let mut queue = lock(&self.shared.queue);
        queue.ended = true;
        self.shared.work.notify_one();
        let end = Instant::now() + LEAVE_AFTER;
        while queue.busy || !queue.tasks.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                // A thread that hangs in a system call would keep the process for as long.
                return;
            }
            queue.awaited = true;
            let waited = self.shared.settled.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(queue);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// What the thread does.
    fn serve(&self) {
        let mut counters = ThreadCounters::new();
        while let Some(tasks) = self.take_tasks() {
            let mut files = lock(&self.files);
            let mut finished = Vec::with_capacity(tasks.len());
            let mut left = tasks.len();
            for (id, task) in tasks {
                // An append alone is not worth waking the loop for while something follows it, anything else is.
                let tell = !matches!(task, Task::Append { .. });
                let result = files.carry_out(task);
                finished.push((id, result));
                left -= 1;
                if tell && left > 0 {
                    self.report(&mut finished, false);
                }
            }
            drop(files);
            counters.publish();
            self.report(&mut finished, true);
        }
    }

    /// Waits for tasks and takes all there are; nothing at the end.
    fn take_tasks(&self) -> Option<Vec<(TaskId, Task)>> {
        let mut queue = lock(&self.queue);
        while queue.tasks.is_empty() {
            if queue.ended {
                return None;
            }
            queue.asleep = true;
            queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.asleep = false;
        queue.busy = true;
        Some(std::mem::take(&mut queue.tasks))
    }

    /// Hands results over. With `finished_all` the files are free for the loop, if it has asked for nothing meanwhile.
    fn report(&self, finished: &mut Vec<Done>, finished_all: bool) {
        let mut queue = lock(&self.queue);
        // Who has results to take has been woken for them.
        let news = queue.done.is_empty() && !finished.is_empty();
        queue.done.append(finished);
        let settled = finished_all && queue.tasks.is_empty();
        if settled {
            queue.busy = false;
        }
        let awaited = settled && std::mem::take(&mut queue.awaited);
        drop(queue);
        if awaited {
            self.settled.notify_all();
        }
        if news && let Err(error) = self.waker.wake() {
            panic!("waking the event loop failed: {error}");
        }
    }
}

/// Locks; a panic elsewhere ends the process anyway.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
