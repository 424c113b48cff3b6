//! A `bytes` object that the kernel fills: made as large as asked for, and shrunk to what came (as `socket.recv` does);
//! and copies of bytes that may be too large.

use std::ffi::c_int;
use std::io;
use std::mem::MaybeUninit;

use pyo3::ffi;
use pyo3::prelude::*;

use super::Ref;

unsafe extern "C" {
    /// `bytesobject.h` of 3.11-3.15; PyO3 keeps it to itself.
    fn _PyBytes_Resize(bytes: *mut *mut ffi::PyObject, size: ffi::Py_ssize_t) -> c_int;
}

/// A new `bytes` of the first so many bytes that `fill` says it has written into room for `size`.
///
/// # Errors
/// `MemoryError`; what `fill` reports is handed on.
pub(crate) fn filled_bytes(
    py: Python<'_>,
    size: usize,
    fill: impl FnOnce(&mut [MaybeUninit<u8>]) -> io::Result<usize>,
) -> PyResult<io::Result<Ref>> {
    let Ok(room) = ffi::Py_ssize_t::try_from(size) else {
        return Err(pyo3::exceptions::PyMemoryError::new_err(()));
    };
    // SAFETY: A3 by `from_new`; A2: the object is ours alone, so its memory may be written, and `fill`, which runs no
    // Python code, has it for the time of the call. Without a text the memory is not initialised, and so it is typed.
    unsafe {
        let made = Ref::from_new(py, ffi::PyBytes_FromStringAndSize(std::ptr::null(), room))?;
        let memory = ffi::PyBytes_AsString(made.as_ptr()).cast::<MaybeUninit<u8>>();
        let count = match fill(std::slice::from_raw_parts_mut(memory, size)) {
            Ok(count) => count,
            Err(error) => return Ok(Err(error)),
        };
        if count == size {
            return Ok(Ok(made));
        }
        // It takes the reference over; on failure it clears the pointer and sets the exception.
        let mut object = made.into_ptr();
        _PyBytes_Resize(&raw mut object, count as ffi::Py_ssize_t);
        Ok(Ok(Ref::from_new(py, object)?))
    }
}

/// A copy of what a program wants to have sent, which can be larger than what is left of the memory: Rust's own copying
/// ends the process then.
///
/// # Errors
/// `MemoryError`.
pub(crate) fn copied(bytes: &[u8]) -> PyResult<Vec<u8>> {
    let mut copy = Vec::new();
    match copy.try_reserve_exact(bytes.len()) {
        Ok(()) => copy.extend_from_slice(bytes),
        Err(_) => return Err(pyo3::exceptions::PyMemoryError::new_err(())),
    }
    Ok(copy)
}
