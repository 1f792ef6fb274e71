//! The allocator: jemalloc with size classes every 8 bytes, and how much of it is in use.
//!
//! A build of jemalloc with a quantum of 8 aligns to 8 only, so every larger alignment is asked for explicitly (the
//! usual wrapper assumes 16). What is in use is read from the counters that jemalloc keeps per thread for itself:
//! nothing is counted twice, and a reading is two loads.

use std::alloc::{GlobalAlloc, Layout};
use std::ffi::{c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicI64, Ordering};

use tikv_jemalloc_sys as jemalloc;

/// Gives the whole pages of `bytes` back to the system, for what is about to be freed; they read as zero afterwards.
pub(crate) fn discard_pages(bytes: &mut [MaybeUninit<u8>]) {
    let start = bytes.as_ptr().addr().next_multiple_of(PAGE);
    let end = (bytes.as_ptr().addr() + bytes.len()) / PAGE * PAGE;
    if start < end {
        let offset = start - bytes.as_ptr().addr();
        // SAFETY: the pages lie within `bytes`, which is borrowed for change and may hold anything. A failure leaves
        // them as they are.
        unsafe { libc::madvise(bytes.as_mut_ptr().add(offset).cast(), end - start, libc::MADV_DONTNEED) };
    }
}

const PAGE: usize = 4096;

/// jemalloc as the process' allocator.
#[derive(Clone, Copy, Debug, Default)]
pub struct Jemalloc;

/// The alignment of everything that jemalloc returns unasked.
const NATURAL_ALIGN: usize = 8;

#[inline]
fn flags(layout: Layout) -> c_int {
    if layout.align() <= NATURAL_ALIGN { 0 } else { layout.align().trailing_zeros() as c_int }
}

// SAFETY: sizes and alignments are passed on unchanged: naturally aligned requests as they are, all others with their
// alignment's logarithm, which is what MALLOCX_ALIGN encodes. Rust never asks for zero bytes.
unsafe impl GlobalAlloc for Jemalloc {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: see the implementation's comment.
        unsafe {
            match flags(layout) {
                0 => jemalloc::malloc(layout.size()).cast(),
                flags => jemalloc::mallocx(layout.size(), flags).cast(),
            }
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: see the implementation's comment.
        unsafe {
            match flags(layout) {
                0 => jemalloc::calloc(1, layout.size()).cast(),
                flags => jemalloc::mallocx(layout.size(), flags | jemalloc::MALLOCX_ZERO).cast(),
            }
        }
    }

    #[inline]
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: `ptr` came from this allocator with this layout, so size and flags are those of its allocation.
        unsafe { jemalloc::sdallocx(ptr.cast(), layout.size(), flags(layout)) }
    }

    #[inline]
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: as above; the alignment stays the same.
        unsafe {
            match flags(layout) {
                0 => jemalloc::realloc(ptr.cast(), new_size).cast(),
                flags => jemalloc::rallocx(ptr.cast(), new_size, flags).cast(),
            }
        }
    }
}

/// What other threads have allocated less what they have freed, as they last published it.
static ELSEWHERE: AtomicI64 = AtomicI64::new(0);

/// The calling thread's own count of bytes allocated and freed; it cannot leave the thread.
#[derive(Debug)]
pub(crate) struct ThreadCounters {
    allocated: *const u64,
    freed: *const u64,
    /// What this thread has published so far.
    published: i64,
}

impl ThreadCounters {
    /// Returns the calling thread's counters, or counters that stay at zero when another allocator is in use.
    pub(crate) fn new() -> ThreadCounters {
        ThreadCounters {
            allocated: read(c"thread.allocatedp").unwrap_or(&ZERO),
            freed: read(c"thread.deallocatedp").unwrap_or(&ZERO),
            published: 0,
        }
    }

    /// Returns the bytes that this thread has allocated less those that it has freed.
    #[inline]
    fn net(&self) -> i64 {
        // SAFETY: jemalloc's counters live as long as their thread, which these pointers do not leave.
        unsafe { (*self.allocated).wrapping_sub(*self.freed) as i64 }
    }

    /// Returns the bytes that the process has in use.
    #[inline]
    pub(crate) fn used(&self) -> usize {
        usize::try_from(self.net() + ELSEWHERE.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Makes what this thread has allocated and freed part of what others read.
    pub(crate) fn publish(&mut self) {
        let net = self.net();
        ELSEWHERE.fetch_add(net - self.published, Ordering::Relaxed);
        self.published = net;
    }
}

static ZERO: u64 = 0;

/// jemalloc's own figures, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) allocated: usize,
    pub(crate) active: usize,
    pub(crate) resident: usize,
    pub(crate) retained: usize,
}

/// Returns jemalloc's figures as of now.
pub(crate) fn figures() -> Figures {
    // The figures are those of an epoch; writing to this name begins a new one.
    write(c"epoch", 1u64);
    let figure = |name| read::<usize>(name).unwrap_or(0);
    Figures {
        allocated: figure(c"stats.allocated"),
        active: figure(c"stats.active"),
        resident: figure(c"stats.resident"),
        retained: figure(c"stats.retained"),
    }
}

/// Gives free pages back to the system.
pub(crate) fn purge() {
    // MALLCTL_ARENAS_ALL is 4096.
    call(c"arena.4096.purge");
}

/// Lets jemalloc return free pages from a thread of its own, or stops that.
pub(crate) fn set_background_thread(on: bool) {
    write(c"background_thread", on);
}

/// Returns jemalloc's report.
pub(crate) fn report() -> String {
    extern "C" fn append(text: *mut c_void, part: *const c_char) {
        // SAFETY: `text` is the String passed below, and `part` a text that ends with a zero.
        unsafe {
            let text = &mut *text.cast::<String>();
            text.push_str(&std::ffi::CStr::from_ptr(part).to_string_lossy());
        }
    }
    let mut text = String::new();
    // SAFETY: `append` is called with `text` only while it lives; no options are given.
    unsafe { jemalloc::malloc_stats_print(Some(append), (&raw mut text).cast(), ptr::null()) };
    text
}

fn read<T: Copy>(name: &std::ffi::CStr) -> Option<T> {
    let mut value = std::mem::MaybeUninit::<T>::uninit();
    let mut size = size_of::<T>();
    // SAFETY: the names used in this module have values of the types they are read as; jemalloc refuses another size.
    let code =
        unsafe { jemalloc::mallctl(name.as_ptr(), value.as_mut_ptr().cast(), &mut size, ptr::null_mut(), 0) };
    // SAFETY: on success jemalloc has filled the value.
    (code == 0 && size == size_of::<T>()).then(|| unsafe { value.assume_init() })
}

fn write<T: Copy>(name: &std::ffi::CStr, mut value: T) {
    // SAFETY: as in `read`. What cannot be set is left as it is.
    unsafe {
        jemalloc::mallctl(
            name.as_ptr(),
            ptr::null_mut(),
            ptr::null_mut(),
            (&raw mut value).cast(),
            size_of::<T>(),
        );
    }
}

fn call(name: &std::ffi::CStr) {
    // SAFETY: the name takes no value.
    unsafe { jemalloc::mallctl(name.as_ptr(), ptr::null_mut(), ptr::null_mut(), ptr::null_mut(), 0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_pages_are_discarded() {
        let mut bytes = vec![MaybeUninit::new(7u8); 4 * PAGE];
        let misaligned = bytes.as_ptr().addr().next_multiple_of(PAGE) - bytes.as_ptr().addr() + 100;
        discard_pages(&mut bytes[misaligned..misaligned + 2 * PAGE]);
        // SAFETY: all were written before; what was discarded reads as zero.
        let values: Vec<u8> = bytes.iter().map(|byte| unsafe { byte.assume_init() }).collect();
        let zeros = values.iter().filter(|value| **value == 0).count();
        assert_eq!(zeros, PAGE, "one page lies whole within");
        assert!(values[..misaligned].iter().all(|value| *value == 7));
    }
}
