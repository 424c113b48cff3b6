//! The memory of handles: kept for the next one, and hidden from the garbage collector while a loop runs.
//!
//! A handle lives for one iteration as a rule, and a server makes a million of them a second; most timers are cancelled
//! in the iteration that has set them, or soon after. CPython counts every allocation of a tracked object towards the
//! next collection, and each collection walks over the handles that wait at that moment, although all of them are
//! alive: the running loop holds them.
//!
//! # Rules
//! - **P1.** A handle that a running loop's ready queue or inbox holds need not be tracked: the loop is alive as
//!   long as it runs, so no cycle through the handle is garbage. The same holds for a timer that the loop has not
//!   settled yet.
//! - **P2.** After a handle has run, or was dropped, it is tracked if anybody else still refers to it.
//! - **P3.** When a loop stops running, every handle that still waits is tracked; one that is made while its loop
//!   does not run is tracked from the start. Timers are tracked when they are settled.
//! - **P4.** Only exact native `Handle`s and `TimerHandle`s are pooled, each kind for itself. A pooled one has no
//!   references and no weak references; its `_cancelled` is False, its `_repr` and `_source_traceback` are None, and its
//!   other fields are empty.
//!
//! The interpreter's lock guards the lists, as it does the allocator's own.

use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use pyo3::ffi;
use pyo3::prelude::*;

use crate::python::Ref;

use super::layout::HandleObject;

/// How many freed handles of a kind are kept: about what one time slice of another thread can post. 100 bytes each.
const CAPACITY: usize = 8192;

/// The memory of one kind of handles.
pub(super) struct Pool {
    /// The first free handle; the next one is where its callback was.
    free: AtomicPtr<HandleObject>,
    count: AtomicUsize,
}

/// Of `Handle`s.
pub(super) static SOON: Pool = Pool::new();
/// Of `TimerHandle`s.
pub(super) static TIMERS: Pool = Pool::new();

impl Pool {
    const fn new() -> Self {
        Self {
            free: AtomicPtr::new(std::ptr::null_mut()),
            count: AtomicUsize::new(0),
        }
    }

    /// Memory for a handle of `kind`, the exact native type of this pool, as P4 describes it. It is not tracked.
    ///
    /// # Safety
    /// A1 by the token, A4 by the caller.
    #[inline]
    pub(super) unsafe fn allocate(
        &self,
        py: Python<'_>,
        kind: *mut ffi::PyTypeObject,
    ) -> PyResult<Ref> {
        let free = self.free.load(Ordering::Relaxed);
        // SAFETY: P4, A4: what is in the list is memory of a freed handle. `PyObject_Init` makes it an object again,
        // with one reference and one to its type.
        unsafe {
            if free.is_null() {
                return allocate_anew(py, kind);
            }
            self.free.store((*free).callback.cast(), Ordering::Relaxed);
            self.count
                .store(self.count.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
            (*free).callback = std::ptr::null_mut();
            Ref::from_new(py, ffi::PyObject_Init(free.cast(), kind))
        }
    }

    /// Keeps the memory of a handle whose last reference is gone; false if there is enough already.
    ///
    /// # Safety
    /// `handle` is an exact native handle of this pool's kind, untracked, as P4 describes it; its type is alive.
    #[inline]
    pub(super) unsafe fn keep(&self, handle: *mut HandleObject) -> bool {
        let count = self.count.load(Ordering::Relaxed);
        if count >= CAPACITY {
            return false;
        }
        // SAFETY: by the caller; the field is ours to use, as nobody can see the object any more.
        unsafe { (*handle).callback = self.free.load(Ordering::Relaxed).cast() };
        self.free.store(handle, Ordering::Relaxed);
        self.count.store(count + 1, Ordering::Relaxed);
        true
    }
}

#[cold]
unsafe fn allocate_anew(py: Python<'_>, kind: *mut ffi::PyTypeObject) -> PyResult<Ref> {
    // SAFETY: by the caller; A3 by `from_new`. New memory is zeroed.
    unsafe {
        let handle = Ref::from_new(py, ffi::PyType_GenericAlloc(kind, 0))?;
        ffi::PyObject_GC_UnTrack(handle.as_ptr().cast());
        (*handle.as_ptr().cast::<HandleObject>()).set_defaults(py);
        Ok(handle)
    }
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
