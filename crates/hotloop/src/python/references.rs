//! Owned references that native structures store.
//!
//! PyO3's `Py<T>` asks on every drop whether this thread is attached, and defers the drop where PyO3 does not know of
//! it, as in a destructor (rule A6). A [`Ref`] is dropped only where the thread is attached (rule A1), so it gives its
//! reference back at once.

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::{Borrowed, PyTraverseError, PyVisit};

/// An owned, strong reference to a Python object.
#[repr(transparent)]
pub(crate) struct Ref(NonNull<ffi::PyObject>);

// SAFETY: A1: a reference is cloned, used and dropped only by a thread that holds the interpreter.
unsafe impl Send for Ref {}
// SAFETY: A1, as above.
unsafe impl Sync for Ref {}

impl Ref {
    /// Takes over a reference that a C-API call returned; null means that an exception is set.
    ///
    /// # Safety
    /// `object` is null with an exception set, or a new reference (A3).
    pub(crate) unsafe fn from_new(py: Python<'_>, object: *mut ffi::PyObject) -> PyResult<Self> {
        match NonNull::new(object) {
            Some(object) => Ok(Self(object)),
            None => Err(PyErr::fetch(py)),
        }
    }

    /// Makes a further reference to an object that somebody else keeps alive.
    ///
    /// # Safety
    /// `object` is not null and alive (A2); the thread is attached (A1).
    pub(crate) unsafe fn from_borrowed(object: *mut ffi::PyObject) -> Self {
        // SAFETY: A2, by the caller.
        unsafe {
            ffi::Py_INCREF(object);
            Self(NonNull::new_unchecked(object))
        }
    }

    /// Takes over a reference without making a new one.
    pub(crate) fn from_bound<T>(object: Bound<'_, T>) -> Self {
        // SAFETY: A2: `into_ptr` hands over a reference that is never null.
        unsafe { Self(NonNull::new_unchecked(object.into_ptr())) }
    }

    /// A further reference to the same object.
    pub(crate) fn clone_ref(&self, _py: Python<'_>) -> Self {
        // SAFETY: A1 by the token, A2 by `self`.
        unsafe { Self::from_borrowed(self.as_ptr()) }
    }

    /// The object, for a C-API call that borrows it.
    pub(crate) fn as_ptr(&self) -> *mut ffi::PyObject {
        self.0.as_ptr()
    }

    /// Gives the reference away.
    pub(crate) fn into_ptr(self) -> *mut ffi::PyObject {
        let object = self.0.as_ptr();
        std::mem::forget(self);
        object
    }

    /// The object as PyO3 sees it, borrowed from this reference.
    pub(crate) fn bind<'a, 'py>(&'a self, py: Python<'py>) -> Borrowed<'a, 'py, PyAny> {
        // SAFETY: A2 by `self`.
        unsafe { Borrowed::from_ptr(py, self.as_ptr()) }
    }

    /// The object as PyO3 sees it, with this reference handed over.
    pub(crate) fn into_bound(self, py: Python<'_>) -> Bound<'_, PyAny> {
        // SAFETY: A2: the reference is ours and given away.
        unsafe { Bound::from_owned_ptr(py, self.into_ptr()) }
    }

    /// Shows the object to the garbage collector.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        // SAFETY: A2; `Ref` and `Py` are both one non-null pointer; the `Py` is never dropped.
        let object = unsafe { &*(&raw const *self).cast::<Py<PyAny>>() };
        visit.call(object)
    }
}

impl<T> From<Bound<'_, T>> for Ref {
    fn from(object: Bound<'_, T>) -> Self {
        Self::from_bound(object)
    }
}

impl<T> From<&Bound<'_, T>> for Ref {
    fn from(object: &Bound<'_, T>) -> Self {
        Self::from_bound(object.clone())
    }
}

impl Drop for Ref {
    fn drop(&mut self) {
        // SAFETY: A1: see the note at the type.
        unsafe { ffi::Py_DECREF(self.0.as_ptr()) }
    }
}

/// A place for a reference that may be empty and can change while Python code runs (rule A5): nothing is ever
/// borrowed from it, only copied out.
#[derive(Default)]
pub(crate) struct RefSlot(Cell<Option<Ref>>);

impl RefSlot {
    pub(crate) fn new(value: Option<Ref>) -> Self {
        Self(Cell::new(value))
    }

    /// A further reference to what is stored.
    pub(crate) fn get(&self, py: Python<'_>) -> Option<Ref> {
        self.peek(|value| value.map(|value| value.clone_ref(py)))
    }

    /// Whether something is stored.
    pub(crate) fn is_some(&self) -> bool {
        self.peek(|value| value.is_some())
    }

    /// Empties the place.
    pub(crate) fn take(&self) -> Option<Ref> {
        self.0.take()
    }

    /// Stores a reference; the one before is handed back, so that the caller decides where it is dropped.
    #[must_use = "dropping the earlier reference can run Python code: do it where that is safe"]
    pub(crate) fn replace(&self, value: Option<Ref>) -> Option<Ref> {
        self.0.replace(value)
    }

    /// Shows what is stored to the garbage collector.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.peek(|value| value.map_or(Ok(()), |value| value.traverse(visit)))
    }

    /// Looks at the stored reference; `look` must not run Python code.
    #[inline]
    pub(crate) fn peek<R>(&self, look: impl FnOnce(Option<&Ref>) -> R) -> R {
        // SAFETY: what is copied is never dropped, and what the place holds stays there while `look` runs: only this
        // thread can touch it, and only by running Python code could it come to do so (A1, A5).
        let value = ManuallyDrop::new(unsafe { std::ptr::read(self.0.as_ptr()) });
        look(value.as_ref())
    }
}
