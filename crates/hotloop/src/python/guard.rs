//! The boundary between the interpreter and Rust: no panic crosses it (rule A6).

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

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
    let guarded =
        |py: Python<'_>| match catch_unwind(AssertUnwindSafe(|| Hang::around(|| body(py)))) {
            Ok(Ok(result)) => result,
            Ok(Err(error)) => {
                restore(py, error);
                R::FAILED
            }
            Err(payload) => {
                restore(py, from_panic(payload));
                R::FAILED
            }
        };
    // SAFETY: A1, by the caller.
    unsafe { attached(guarded) }
}

/// As [`guard`], for a body that PyO3 need not know of: one that drops no `Py` and no `PyErr`, but may return one.
///
/// In a thread that runs no loop of ours it saves a tenth of a small method: asking CPython whether the thread is attached.
///
/// # Safety
/// As for [`guard`].
#[inline]
pub(crate) unsafe fn guard_alone<R: Failure>(body: impl FnOnce(Python<'_>) -> PyResult<R>) -> R {
    // SAFETY: A1, by the caller.
    unsafe {
        let py = Python::assume_attached();
        let error = match catch_unwind(AssertUnwindSafe(|| Hang::around(|| body(py)))) {
            Ok(Ok(result)) => return result,
            Ok(Err(error)) => error,
            Err(payload) => from_panic(payload),
        };
        attached(|py| restore(py, error));
        R::FAILED
    }
}

/// Runs `body` with PyO3 knowing that this thread is attached, which is a counter of its own.
///
/// Where PyO3 does not know, it only notes down the references that it drops (those of a `Py` and of every `PyErr`), and
/// gives them back the next time that it does: never, in a program whose loop is not ours. Below the run of our loop,
/// which is a method of PyO3's, this is a comparison.
///
/// # Safety
/// The thread is attached: the interpreter is the caller (A1).
#[inline]
pub(crate) unsafe fn attached<R>(body: impl FnOnce(Python<'_>) -> R) -> R {
    // SAFETY: A1, by the caller.
    unsafe {
        if RUNNING.load(Ordering::Relaxed) == libc::pthread_self() as usize {
            body(Python::assume_attached())
        } else {
            outside(body)
        }
    }
}

/// Runs what PyO3 wraps, instead of its own answer to a panic: that needs memory, which may be what was missing, and
/// aborts the process if there is none.
pub(crate) fn caught<R>(body: impl FnOnce() -> PyResult<R>) -> PyResult<R> {
    catch_unwind(AssertUnwindSafe(|| Hang::around(body)))
        .unwrap_or_else(|payload| Err(from_panic(payload)))
}

#[cold]
#[inline(never)]
unsafe fn outside<R>(body: impl FnOnce(Python<'_>) -> R) -> R {
    // SAFETY: A1, by the caller: an interpreter that calls us is initialized, and this thread has it.
    unsafe { Python::attach_unchecked(body) }
}

/// The thread that was the last to enter the run of a loop of ours, if it is still in it; only compared.
///
/// It is `pthread_self()`, which is no null and costs less than to ask CPython, or PyO3's counter, which is thread-local.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// The run of a loop, while which PyO3 knows that the thread is attached, as it is a method of PyO3's.
///
/// One is noted at a time: when one begins or ends in another thread, the others lose their advantage, which is all that
/// this is.
pub(crate) struct KnownToPyO3(());

impl KnownToPyO3 {
    /// To be called in a method of PyO3's, and dropped there. `None` inside a run of this thread that is still known.
    pub(crate) fn enter(_py: Python<'_>) -> Option<Self> {
        // SAFETY: A1; pthread_self(3) cannot fail.
        let thread = unsafe { libc::pthread_self() } as usize;
        // Lazily: what is made is dropped, and that forgets the run around this one.
        (RUNNING.swap(thread, Ordering::Relaxed) != thread).then(|| Self(()))
    }

    /// In a forked child: the thread may not have come along, and its name be given to another.
    pub(crate) fn forget() {
        RUNNING.store(0, Ordering::Relaxed);
    }
}

impl Drop for KnownToPyO3 {
    fn drop(&mut self) {
        Self::forget();
    }
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
