//! Running a handle: its callback, in its context, with asyncio's answer to exceptions.

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;

use crate::imports::imports;
use crate::python::{Ref, Snapshot, call};

use super::layout::HandleObject;
#[cfg(Py_3_14)]
use super::layout::ThreadSafeHandleObject;
use super::{own_context, set_own_context};
use crate::python::make;

/// Runs a native handle, unless it was cancelled.
///
/// # Errors
/// `SystemExit` and `KeyboardInterrupt` pass through; every other exception of the callback is given to
/// `loop.call_exception_handler`, whose own failures pass through as in asyncio.
#[cfg(Py_3_14)]
pub(crate) fn run(py: Python<'_>, handle: &Ref) -> PyResult<()> {
    let Some(thread_safe) = &imports(py)?.handle_types.thread_safe else {
        return run_unlocked(py, handle);
    };
    // SAFETY: A2: the handle is held by the caller.
    let kind = unsafe { ffi::Py_TYPE(handle.as_ptr()) };
    if kind.cast() != thread_safe.kind.as_ptr() {
        return run_unlocked(py, handle);
    }
    // SAFETY: A4: the type says so. The field is null if the collector has taken the handle apart.
    let lock = unsafe {
        let lock = (*handle.as_ptr().cast::<ThreadSafeHandleObject>()).lock;
        (!lock.is_null()).then(|| Ref::from_borrowed(lock))
    };
    let Some(lock) = lock else {
        return Ok(());
    };
    call::call_method0(&lock, intern!(py, "acquire"))?;
    let result = run_unlocked(py, handle);
    let released = call::call_method0(&lock, intern!(py, "release")).map(drop);
    result.and(released)
}

#[cfg(not(Py_3_14))]
pub(crate) use run_unlocked as run;

/// As [`run`], for a handle without a lock or with one that is held.
pub(crate) fn run_unlocked(py: Python<'_>, handle: &Ref) -> PyResult<()> {
    // SAFETY: A4: the ready queue keeps only native handles under this entry. A2, A5: callback, arguments and
    // context are held by references of our own, as the callback may cancel its handle.
    let (callback, args, context) = unsafe {
        let fields: *mut HandleObject = handle.as_ptr().cast();
        if (*fields).cancelled == ffi::Py_True() {
            return Ok(());
        }
        if (*fields).callback.is_null() || (*fields).args.is_null() || (*fields).context.is_null() {
            return Ok(()); // the garbage collector has taken it apart
        }
        (
            Ref::from_borrowed((*fields).callback),
            Ref::from_borrowed((*fields).args),
            Ref::from_borrowed((*fields).context),
        )
    };
    let result = match Snapshot::of(&context, py) {
        Some(snapshot) => {
            // SAFETY: A2.
            if unsafe { ffi::Py_REFCNT(handle.as_ptr()) } == 1 {
                snapshot
                    .call(py, &callback, &args)
                    .map_err(|(error, context)| {
                        if let Some(context) = context {
                            set_own_context(handle, context);
                        }
                        error
                    })
            } else {
                // Whoever keeps the handle may look at its context later: what the callback changed is in there.
                own_context(py, handle, snapshot)
                    .and_then(|own| call::call_in_context(py, &own, &callback, &args))
            }
        }
        None => call::call_in_context(py, &context, &callback, &args),
    };
    match result {
        Ok(_) => Ok(()),
        Err(error) if call::ends_the_loop(py, &error) => Err(error),
        Err(error) => report(py, handle, error),
    }
}

/// Tells the loop's exception handler about an exception in a callback, in asyncio's words.
#[cold]
pub(crate) fn report(py: Python<'_>, handle: &Ref, error: PyErr) -> PyResult<()> {
    let handle = handle.bind(py);
    let callback = handle.getattr(intern!(py, "_callback"))?;
    let args = handle.getattr(intern!(py, "_args"))?;
    let event_loop = handle.getattr(intern!(py, "_loop"))?;
    let named = make::dict(py)?;
    if imports(py)?.format_takes_debug {
        named.set_item(
            intern!(py, "debug"),
            event_loop.call_method0(intern!(py, "get_debug"))?,
        )?;
    }
    let format = imports(py)?.format_callback_source.bind(py);
    let text = format.call((callback, args), Some(&named))?;
    let context = make::dict(py)?;
    context.set_item(
        intern!(py, "message"),
        make::string(py, &format!("Exception in callback {text}"))?,
    )?;
    context.set_item(intern!(py, "exception"), error.into_value(py))?;
    context.set_item(intern!(py, "handle"), handle)?;
    let traceback = handle.getattr(intern!(py, "_source_traceback"))?;
    if traceback.is_truthy()? {
        context.set_item(intern!(py, "source_traceback"), traceback)?;
    }
    event_loop.call_method1(intern!(py, "call_exception_handler"), (context,))?;
    Ok(())
}
