//! Freeing chains of handles without recursion: what CPython's "trashcan" does for its own containers.
//!
//! A handle can hold the last reference to something that holds the last reference to the next handle. Freeing such a
//! chain at once would take a stack frame for each link; so below a certain depth objects are put aside, and the
//! outermost call frees them one after the other.
//!
//! The interpreter's lock guards the depth, which is therefore one for all threads: should another thread get its turn
//! in the middle (a finalizer is Python code), it puts objects aside a little earlier, and they are freed all the same.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use pyo3::ffi::{self, PyObject};

/// CPython's own limit (`Py_TRASHCAN`).
const DEEPEST: u32 = 50;

static DEPTH: AtomicU32 = AtomicU32::new(0);
/// What waits, and how much of it there is: the lock is never held while Python code can run (A5).
static ASIDE: AtomicU32 = AtomicU32::new(0);
static LATER: Mutex<Vec<Waiting>> = Mutex::new(Vec::new());

type Free = unsafe fn(*mut PyObject);

struct Waiting(*mut PyObject, Free);

// SAFETY: A1: put aside and freed only by threads that hold the interpreter.
unsafe impl Send for Waiting {}

/// Calls `free(object)`, now or when the outermost such call is done.
///
/// # Safety
/// The interpreter frees `object`, and `free` may be called with it (A1, A4).
#[inline]
pub(crate) unsafe fn limited(object: *mut PyObject, free: Free) {
    let depth = DEPTH.load(Ordering::Relaxed);
    // SAFETY: by the caller. An object that is put aside has no references, and the collector no longer sees it.
    unsafe {
        if depth >= DEEPEST {
            ffi::PyObject_GC_UnTrack(object.cast());
            put_aside(Waiting(object, free));
            return;
        }
        DEPTH.store(depth + 1, Ordering::Relaxed);
        free(object);
        DEPTH.store(DEPTH.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
        if depth == 0 && ASIDE.load(Ordering::Relaxed) > 0 {
            free_waiting();
        }
    }
}

#[cold]
fn put_aside(waiting: Waiting) {
    ASIDE.store(ASIDE.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    LATER
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(waiting);
}

/// Frees what was put aside, one after the other; what that puts aside in turn comes here as well.
#[cold]
unsafe fn free_waiting() {
    loop {
        let next = LATER.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let Some(Waiting(object, free)) = next else {
            return;
        };
        ASIDE.store(ASIDE.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
        DEPTH.store(DEPTH.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        // SAFETY: as in `limited`; the lock is free again.
        unsafe { free(object) };
        DEPTH.store(DEPTH.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
    }
}
