//! How much memory a target takes: an allocator that counts, thread by thread, and a limit for what runs on it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// What a target may allocate besides twice its input: 16 MiB, the largest payload.
const ALLOWANCE_BYTES: usize = 16 << 20;

/// The allocator of the system, which counts what each thread holds.
///
/// A program that calls [`within_limits`] declares it as its `#[global_allocator]`; without that nothing is counted.
#[derive(Debug)]
pub struct CountingAllocator;

thread_local! {
    /// What this thread allocated and did not free; what another thread freed of it stays counted.
    static HELD_BYTES: Cell<isize> = const { Cell::new(0) };
    static PEAK_BYTES: Cell<isize> = const { Cell::new(0) };
}

fn count(change_bytes: isize) {
    // A thread that ends may free after its locals are gone; nobody asks for the count of that thread any more.
    let _ = HELD_BYTES.try_with(|held| {
        held.set(held.get().wrapping_add(change_bytes));
        let _ = PEAK_BYTES.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

// SAFETY: every call goes unchanged to the allocator of the system, whose promises these are.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, new_bytes: usize) -> *mut u8 {
        // Where the bytes can not grow in place, both copies are there for a moment.
        count(new_bytes as isize);
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, new_bytes) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

/// The most memory in bytes that this thread held at once while it ran something, beyond what it held before.
pub fn peak_bytes(run: impl FnOnce()) -> usize {
    let before = HELD_BYTES.get();
    PEAK_BYTES.set(before);
    run();
    PEAK_BYTES.get().wrapping_sub(before).max(0) as usize
}

/// Runs a target on an input. Panics if it held more than twice the input and 16 MiB at once.
pub fn within_limits(input: &[u8], target: fn(&[u8])) {
    let limit_bytes = 2 * input.len() + ALLOWANCE_BYTES;
    let peak_bytes = peak_bytes(|| target(input));
    assert!(peak_bytes <= limit_bytes, "{peak_bytes} bytes were held for an input of {}", input.len());
}
