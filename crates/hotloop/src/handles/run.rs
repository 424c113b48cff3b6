//! Running a handle: its callback, in its context, with asyncio's answer to exceptions.

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::imports::imports;
use crate::python::{Ref, Snapshot, call};

use super::layout::HandleObject;
use super::own_context;

/// Runs a native handle, unless it was cancelled.
///
/// # Errors
/// `SystemExit` and `KeyboardInterrupt` pass through; every other exception of the callback is given to
/// `loop.call_exception_handler`, whose own failures pass through as in asyncio.
pub(crate) fn run(py: Python<'_>, handle: &Ref) -> PyResult<()> {
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
                snapshot.call(py, &callback, &args)
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
    let named = PyDict::new(py);
    if imports(py)?.format_takes_debug {
        named.set_item("debug", event_loop.call_method0(intern!(py, "get_debug"))?)?;
    }
    let format = imports(py)?.format_callback_source.bind(py);
    let text = format.call((callback, args), Some(&named))?;
    let context = PyDict::new(py);
    context.set_item("message", format!("Exception in callback {text}"))?;
    context.set_item("exception", error.into_value(py))?;
    context.set_item("handle", handle)?;
    let traceback = handle.getattr(intern!(py, "_source_traceback"))?;
    if traceback.is_truthy()? {
        context.set_item("source_traceback", traceback)?;
    }
    event_loop.call_method1(intern!(py, "call_exception_handler"), (context,))?;
    Ok(())
}
