//! The boundary between the interpreter and Rust: no panic crosses it (rule A6).

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::exceptions::{PyMemoryError, PySystemError};
use pyo3::ffi;
use pyo3::prelude::*;

use super::Ref;
use super::make::Words;
use super::raw::Hang;

/// PyO3's panic where the interpreter could not make an object that never fails but for want of memory. (The exception it
/// has given to `sys.unraisablehook` by then.)
const NO_OBJECT: &str = "PyObject pointer is null";

/// What a C function returns to say that an exception is set.
pub(crate) trait Failure {
    const FAILED: Self;
}

impl Failure for *mut ffi::PyObject {
    const FAILED: Self = std::ptr::null_mut();
}

impl Failure for i32 {
    const FAILED: Self = -1;
}

/// Runs the body of a function that the interpreter called.
///
/// # Safety
/// The thread is attached: the interpreter is the caller (A1).
#[inline]
pub(crate) unsafe fn guard<R: Failure>(body: impl FnOnce(Python<'_>) -> PyResult<R>) -> R {
    // SAFETY: A1, by the caller.
    let py = unsafe { Python::assume_attached() };
    match catch_unwind(AssertUnwindSafe(|| Hang::around(|| body(py)))) {
        Ok(Ok(result)) => result,
        Ok(Err(error)) => {
            restore(py, error);
            R::FAILED
        }
        Err(payload) => {
            restore(py, from_panic(payload));
            R::FAILED
        }
    }
}

/// Runs what PyO3 wraps, instead of its own answer to a panic: that needs memory, which may be what was missing, and
/// aborts the process if there is none.
pub(crate) fn caught<R>(body: impl FnOnce() -> PyResult<R>) -> PyResult<R> {
    catch_unwind(AssertUnwindSafe(|| Hang::around(body)))
        .unwrap_or_else(|payload| Err(from_panic(payload)))
}

/// Sets the exception. PyO3 makes one only now, and may panic in doing so if there is no memory.
#[cold]
fn restore(py: Python<'_>, error: PyErr) {
    if catch_unwind(AssertUnwindSafe(|| error.restore(py))).is_err() {
        // SAFETY: A1 by the token. The interpreter keeps an exception for this, so no memory is needed.
        unsafe { ffi::PyErr_NoMemory() };
    }
}

/// `None`, as a new reference.
pub(crate) fn none(py: Python<'_>) -> Ref {
    Ref::from_bound(py.None().into_bound(py))
}

/// `True` or `False`, as a new reference.
pub(crate) fn boolean(py: Python<'_>, value: bool) -> Ref {
    Ref::from(pyo3::types::PyBool::new(py, value).to_owned())
}

#[cold]
fn from_panic(payload: Box<dyn Any + Send>) -> PyErr {
    let text = if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else {
        "unknown".to_owned()
    };
    if text == NO_OBJECT {
        return PyMemoryError::new_err(());
    }
    PySystemError::new_err(Words(format!(
        "hotloop: internal error, please report it with this text: {text}"
    )))
}

/// Runs the body of a finalizer: what it raises is reported, as an exception in `__del__` is.
pub(crate) fn unraisable(object: &Bound<'_, PyAny>, body: impl FnOnce(Python<'_>) -> PyResult<()>) {
    let py = object.py();
    if let Err(error) = caught(|| body(py)) {
        error.write_unraisable(py, Some(object));
    }
}
