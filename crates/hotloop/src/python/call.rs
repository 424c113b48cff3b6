//! Calls into Python on the hot paths: vectorcall, methods by interned name, contexts.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::Ref;
use super::make;
use super::raw;

/// Calls `callable(*args)`, where `args` is a tuple, in `context`.
///
/// # Errors
/// What the callable raises, or `RuntimeError` if the context is entered already (PEP 567).
pub(crate) fn call_in_context(
    py: Python<'_>,
    context: &Ref,
    callable: &Ref,
    args: &Ref,
) -> PyResult<Ref> {
    // SAFETY: A2: the caller holds all three for the whole call; A3 by `from_new` and by looking at the results.
    unsafe {
        if ffi::PyContext_CheckExact(context.as_ptr()) == 0 {
            // asyncio calls `context.run`, so anything with that method will do.
            return call_through_run(py, context, callable, args);
        }
    }
    call_in_plain_context(py, context, callable, args)
}

/// The same in a context that is exactly of the built-in type.
#[inline]
pub(crate) fn call_in_plain_context(
    py: Python<'_>,
    context: &Ref,
    callable: &Ref,
    args: &Ref,
) -> PyResult<Ref> {
    within_context(py, context, || {
        // SAFETY: A2: the caller holds both for the whole call; A3 by `from_new`.
        unsafe {
            if ffi::PyTuple_Check(args.as_ptr()) != 0 {
                return Ref::from_new(py, call_with_tuple(callable.as_ptr(), args.as_ptr()));
            }
            // `Handle._args` is an attribute like any other: `*args` of asyncio takes every iterable.
            let args = Ref::from_new(py, ffi::PySequence_Tuple(args.as_ptr()))?;
            Ref::from_new(py, call_with_tuple(callable.as_ptr(), args.as_ptr()))
        }
    })
}

/// Calls `callable(argument)`, or `callable()`, in a context that is exactly of the built-in type.
///
/// # Errors
/// As [`call_in_context`].
pub(crate) fn call_in_exact_context(
    py: Python<'_>,
    context: &Ref,
    callable: &Ref,
    argument: Option<&Ref>,
) -> PyResult<Ref> {
    within_context(py, context, || {
        // SAFETY: A2: the caller holds both for the whole call; A3 by `from_new`. The place before the argument is
        // ours to lend (`PY_VECTORCALL_ARGUMENTS_OFFSET`).
        unsafe {
            let result = match argument {
                None => raw::call_step(callable.as_ptr()),
                Some(argument) => {
                    let mut args = [std::ptr::null_mut(), argument.as_ptr()];
                    let count = 1 | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET;
                    let names = std::ptr::null_mut();
                    raw::PyObject_Vectorcall(
                        callable.as_ptr(),
                        args.as_mut_ptr().add(1),
                        count,
                        names,
                    )
                }
            };
            Ref::from_new(py, result)
        }
    })
}

/// A copy of the current context.
pub(crate) fn copy_context(py: Python<'_>) -> PyResult<Ref> {
    // SAFETY: A1 by the token, A3 by `from_new`.
    unsafe { Ref::from_new(py, ffi::PyContext_CopyCurrent()) }
}

/// Runs `body` in `context`.
#[inline]
pub(crate) fn within_context<R>(
    py: Python<'_>,
    context: &Ref,
    body: impl FnOnce() -> PyResult<R>,
) -> PyResult<R> {
    // SAFETY: A2 by `context`, A3: both results are looked at.
    unsafe {
        if ffi::PyContext_Enter(context.as_ptr()) < 0 {
            return Err(PyErr::fetch(py));
        }
        let result = body();
        // Leaving with an exception set is not allowed: `result` holds it, taken.
        if ffi::PyContext_Exit(context.as_ptr()) < 0 {
            return Err(PyErr::fetch(py));
        }
        result
    }
}

/// Calls `object.name()`.
pub(crate) fn call_method0(object: &Ref, name: &Bound<'_, PyString>) -> PyResult<Ref> {
    let args = [object.as_ptr()];
    // SAFETY: A2 by `object` and `name`, A3 by `from_new`.
    unsafe {
        let result =
            raw::PyObject_VectorcallMethod(name.as_ptr(), args.as_ptr(), 1, std::ptr::null_mut());
        Ref::from_new(name.py(), result)
    }
}

/// Calls `object.name(argument)`.
pub(crate) fn call_method1(
    object: &Ref,
    name: &Bound<'_, PyString>,
    argument: &Ref,
) -> PyResult<Ref> {
    let args = [object.as_ptr(), argument.as_ptr()];
    // SAFETY: A2 by the three references, A3 by `from_new`.
    unsafe {
        let result =
            raw::PyObject_VectorcallMethod(name.as_ptr(), args.as_ptr(), 2, std::ptr::null_mut());
        Ref::from_new(name.py(), result)
    }
}

/// Calls `object.name(first, second)`.
pub(crate) fn call_method2(
    object: &Ref,
    name: &Bound<'_, PyString>,
    first: &Ref,
    second: &Ref,
) -> PyResult<Ref> {
    let args = [object.as_ptr(), first.as_ptr(), second.as_ptr()];
    // SAFETY: A2 by the four references, A3 by `from_new`.
    unsafe {
        let result =
            raw::PyObject_VectorcallMethod(name.as_ptr(), args.as_ptr(), 3, std::ptr::null_mut());
        Ref::from_new(name.py(), result)
    }
}

/// Whether asyncio lets this exception pass through a callback: `SystemExit` or `KeyboardInterrupt`.
pub(crate) fn ends_the_loop(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<pyo3::exceptions::PySystemExit>(py)
        || error.is_instance_of::<pyo3::exceptions::PyKeyboardInterrupt>(py)
}

unsafe fn call_with_tuple(
    callable: *mut ffi::PyObject,
    args: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: A2 by the caller. The items of a tuple lie in one array, and the tuple is held during the call.
    unsafe {
        let count = ffi::PyTuple_GET_SIZE(args);
        let items =
            (&raw const (*args.cast::<ffi::PyTupleObject>()).ob_item).cast::<*mut ffi::PyObject>();
        raw::call_function(callable, items, count.unsigned_abs())
    }
}

#[cold]
fn call_through_run(py: Python<'_>, context: &Ref, callable: &Ref, args: &Ref) -> PyResult<Ref> {
    let run = context.bind(py).getattr(pyo3::intern!(py, "run"))?;
    let args = args.bind(py).cast::<pyo3::types::PyTuple>()?.to_owned();
    let mut all = vec![callable.bind(py).to_owned()];
    all.extend(args.iter());
    Ok(run.call1(make::tuple(py, all)?)?.into())
}
