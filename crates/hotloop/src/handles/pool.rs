//! The memory of soon handles: kept for the next one, and hidden from the garbage collector while a loop runs.
//!
//! A handle lives for one iteration as a rule, and a server makes a million of them a second. CPython counts
//! every allocation of a tracked object towards the next collection, and each collection walks over the handles
//! that wait at that moment, although all of them are alive: the running loop holds them.
//!
//! # Rules
//! - **P1.** A handle that a running loop's ready queue or inbox holds need not be tracked: the loop is alive as
//!   long as it runs, so no cycle through the handle is garbage.
//! - **P2.** After a handle has run it is tracked if anybody else still refers to it.
//! - **P3.** When a loop stops running, every handle that still waits is tracked; one that is made while its loop
//!   does not run is tracked from the start.
//! - **P4.** Only exact native `Handle`s are pooled. A pooled one has no references and no weak references.
//!
//! The interpreter's lock guards the list, as it does the allocator's own.

use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use pyo3::ffi;
use pyo3::prelude::*;

use crate::python::Ref;

use super::layout::HandleObject;

/// How many freed handles are kept: about what one time slice of another thread can post. 100 bytes each.
const CAPACITY: usize = 8192;

/// The first free handle; the next one is where its callback was.
static FREE: AtomicPtr<HandleObject> = AtomicPtr::new(std::ptr::null_mut());
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Memory for a handle of `kind`, the exact native `Handle` type, with every field null. It is not tracked.
///
/// # Safety
/// A1 by the token, A4 by the caller.
pub(super) unsafe fn allocate(py: Python<'_>, kind: *mut ffi::PyTypeObject) -> PyResult<Ref> {
    let free = FREE.load(Ordering::Relaxed);
    // SAFETY: P4, A4: what is in the list is memory of a freed handle. `PyObject_Init` makes it an object again,
    // with one reference and one to its type.
    unsafe {
        if free.is_null() {
            let handle = Ref::from_new(py, ffi::PyType_GenericAlloc(kind, 0))?;
            ffi::PyObject_GC_UnTrack(handle.as_ptr().cast());
            return Ok(handle);
        }
        FREE.store((*free).callback.cast(), Ordering::Relaxed);
        COUNT.store(COUNT.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
        (*free).callback = std::ptr::null_mut();
        Ref::from_new(py, ffi::PyObject_Init(free.cast(), kind))
    }
}

/// Keeps the memory of a handle whose last reference is gone; false if there is enough already.
///
/// # Safety
/// `handle` is an exact native `Handle`, untracked, without references of any kind (P4); its type is alive.
pub(super) unsafe fn keep(handle: *mut HandleObject) -> bool {
    let count = COUNT.load(Ordering::Relaxed);
    if count >= CAPACITY {
        return false;
    }
    // SAFETY: by the caller; the field is ours to use, as nobody can see the object any more.
    unsafe { (*handle).callback = FREE.load(Ordering::Relaxed).cast() };
    FREE.store(handle, Ordering::Relaxed);
    COUNT.store(count + 1, Ordering::Relaxed);
    true
}

/// Lets the garbage collector see a handle from now on (P2, P3).
pub(crate) fn track(handle: &Ref) {
    let object = handle.as_ptr();
    // SAFETY: A1, A2, A4: the handle is alive and complete; its type is a collected one.
    unsafe {
        if ffi::PyObject_GC_IsTracked(object) == 0 {
            ffi::PyObject_GC_Track(object.cast());
        }
    }
}

/// A native handle in the ready queue. When it leaves the queue, in whatever way (it ran, was cancelled, was popped or
/// dropped by somebody who looked at `loop._ready`), it is tracked if anybody else refers to it (P2).
pub(crate) struct Queued(Ref);

impl Queued {
    pub(crate) fn new(handle: Ref) -> Self {
        Self(handle)
    }
}

impl std::ops::Deref for Queued {
    type Target = Ref;

    fn deref(&self) -> &Ref {
        &self.0
    }
}

impl Drop for Queued {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: A1, A2.
        if unsafe { ffi::Py_REFCNT(self.0.as_ptr()) } > 1 {
            track(&self.0);
        }
    }
}
