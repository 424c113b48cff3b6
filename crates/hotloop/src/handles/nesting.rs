//! Freeing chains of handles without recursion: what CPython's "trashcan" does for its own containers.
//!
//! A handle can hold the last reference to something that holds the last reference to the next handle. Freeing such a
//! chain at once would take a stack frame for each link; so below a certain depth objects are put aside, and the
//! outermost call frees them one after the other.

use std::cell::{Cell, RefCell};

use pyo3::ffi::{self, PyObject};

/// CPython's own limit (`Py_TRASHCAN`).
const DEEPEST: u32 = 50;

type Free = unsafe fn(*mut PyObject);

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static LATER: RefCell<Vec<(*mut PyObject, Free)>> = const { RefCell::new(Vec::new()) };
}

/// Calls `free(object)`, now or when the outermost such call of this thread is done.
///
/// # Safety
/// The interpreter frees `object`, and `free` may be called with it (A1, A4).
#[inline]
pub(super) unsafe fn limited(object: *mut PyObject, free: Free) {
    let depth = DEPTH.get();
    // SAFETY: by the caller. An object that is put aside has no references, and the collector no longer sees it.
    unsafe {
        if depth >= DEEPEST {
            ffi::PyObject_GC_UnTrack(object.cast());
            LATER.with_borrow_mut(|later| later.push((object, free)));
            return;
        }
        DEPTH.set(depth + 1);
        free(object);
        if depth == 0 {
            while let Some((object, free)) = LATER.with_borrow_mut(Vec::pop) {
                free(object);
            }
        }
        DEPTH.set(depth);
    }
}
