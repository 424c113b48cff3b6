//! The memory of an object with a buffer, as contiguous bytes of whatever item type (PEP 3118, `PyBUF_SIMPLE`).

use std::mem::MaybeUninit;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};

/// A view of an object's memory, which the object cannot move or shrink while the view is held.
pub(crate) struct Buffer(Box<ffi::Py_buffer>);

// SAFETY: A1: made, read and dropped only by a thread that holds the interpreter.
unsafe impl Send for Buffer {}
// SAFETY: A1, as above.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// # Errors
    /// `TypeError` for an object without a buffer, `BufferError` for one that is not contiguous.
    pub(crate) fn read(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        Self::get(object, ffi::PyBUF_SIMPLE)
    }

    /// The same, for writing into it.
    ///
    /// # Errors
    /// Also `BufferError` for memory that is read-only.
    pub(crate) fn write(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        Self::get(object, ffi::PyBUF_WRITABLE)
    }

    /// The bytes. The slice is to be used up before Python code runs that may change them (A5).
    pub(crate) fn bytes(&self) -> &[u8] {
        if self.0.len == 0 {
            return &[];
        }
        // SAFETY: A2: the exporter keeps so many bytes at this place until the view is released.
        unsafe { std::slice::from_raw_parts(self.0.buf.cast::<u8>(), self.0.len.unsigned_abs()) }
    }

    /// The bytes of a view got by [`Buffer::write`], for the kernel to fill.
    pub(crate) fn memory(&mut self) -> &mut [MaybeUninit<u8>] {
        if self.0.len == 0 || self.0.readonly != 0 {
            return &mut [];
        }
        // SAFETY: A2 as above; writable, and borrowed for as long as the slice is (A5: no Python code meanwhile).
        unsafe { std::slice::from_raw_parts_mut(self.0.buf.cast(), self.0.len.unsigned_abs()) }
    }

    /// The same as bytes, for system calls that take no other memory.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        let memory = self.memory();
        // SAFETY: A2: the exporter's memory is initialised: `bytes` reads it, too.
        unsafe { &mut *(&raw mut *memory as *mut [u8]) }
    }

    /// Shows the object whose memory it is to the garbage collector.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        if self.0.obj.is_null() {
            return Ok(());
        }
        // SAFETY: A2: the view owns a reference; `Py` is one non-null pointer, and this one is never dropped.
        visit.call(unsafe { &*(&raw const self.0.obj).cast::<Py<PyAny>>() })
    }

    fn get(object: &Bound<'_, PyAny>, flags: std::ffi::c_int) -> PyResult<Self> {
        // The structure must not move once the exporter has filled it: some keep pointers into it.
        let mut view = Box::new(ffi::Py_buffer::new());
        // SAFETY: A1, A2 by the argument; A3: the result is looked at, and a failed view is not released.
        if unsafe { ffi::PyObject_GetBuffer(object.as_ptr(), &raw mut *view, flags) } < 0 {
            return Err(PyErr::fetch(object.py()));
        }
        Ok(Self(view))
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: A1: the view was filled by `PyObject_GetBuffer` and is released once.
        unsafe { ffi::PyBuffer_Release(&raw mut *self.0) }
    }
}
