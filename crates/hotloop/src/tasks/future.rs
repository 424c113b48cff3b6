//! `hotloop.Future`: making one, its results, exceptions and cancellation.
//!
//! The behaviour is that of `asyncio.Future` of the running Python, in its C form where the two differ.

use pyo3::exceptions::{PyBaseException, PyRuntimeError, PyStopIteration, PyTypeError};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyType};
use pyo3::{Borrowed, PyTypeInfo};

use crate::event_loop::Loop;
use crate::python::guard::{boolean, none};
use crate::python::make;
use crate::python::make::Words;
use crate::python::{FastArguments, Ref};

use super::callbacks::schedule_all;
use super::layout::{FutureRef, State};
use super::tables;

/// The future of a method that the interpreter called on it.
pub(super) fn receiver<'a, 'py>(slf: Borrowed<'a, 'py, PyAny>) -> FutureRef<'a, 'py> {
    // SAFETY: T1: a method descriptor of `Future` or `Task` checks the type of `self` before it calls.
    unsafe { FutureRef::new(slf) }
}

/// A new future of one of our loops: what `create_future()` gives.
pub(crate) fn new_future(py: Python<'_>, event_loop: &Bound<'_, Loop>) -> PyResult<Ref> {
    let kind = tables(py)?.future_type.as_ptr().cast();
    // SAFETY: A3 by `from_new`; T1: `kind` is the type made for `FutureObject`, whose memory is zeroed.
    let object = unsafe { Ref::from_new(py, ffi::PyType_GenericAlloc(kind, 0))? };
    // SAFETY: T1, as above.
    let future = unsafe { FutureRef::new(object.bind(py)) };
    bind_loop(py, future, event_loop.as_any())?;
    Ok(object)
}

/// `Future.__init__(*, loop=None)`.
pub(super) fn init(
    py: Python<'_>,
    slf: Borrowed<'_, '_, PyAny>,
    arguments: FastArguments<'_, '_>,
) -> PyResult<()> {
    let (positional, keywords) = (arguments.positional_count(), arguments.keyword_count());
    if positional + keywords > 1 {
        let kind = if positional == 0 { "keyword " } else { "" };
        return Err(PyTypeError::new_err(Words(format!(
            "Future() takes at most 1 {kind}argument ({} given)",
            positional + keywords
        ))));
    }
    if positional > 0 {
        let words = "Future() takes no positional arguments";
        return Err(PyTypeError::new_err(Words(words)));
    }
    let [event_loop] = arguments.named("Future", ["loop"])?;
    refuse_second(&slf)?;
    initialize(py, receiver(slf), event_loop)
}

/// From 3.15 on `__init__` is called once.
pub(super) fn refuse_second(slf: &Bound<'_, PyAny>) -> PyResult<()> {
    if cfg!(Py_3_15) && receiver(slf.as_borrowed()).event_loop.is_some() {
        let kind = slf.get_type().fully_qualified_name()?;
        return Err(PyRuntimeError::new_err(Words(format!(
            "{kind} object is already initialized"
        ))));
    }
    Ok(())
}

/// Makes a new, pending future of whatever it was.
pub(super) fn initialize(
    py: Python<'_>,
    future: FutureRef<'_, '_>,
    event_loop: Option<Borrowed<'_, '_, PyAny>>,
) -> PyResult<()> {
    future.clear();
    future.state.set(State::Pending);
    future.log_traceback.set(false);
    future.blocking.set(false);
    match event_loop.filter(|event_loop| !event_loop.is_none()) {
        Some(event_loop) => bind_loop(py, future, &event_loop),
        None => {
            let event_loop = tables(py)?.get_event_loop.bind(py).call0()?;
            bind_loop(py, future, &event_loop)
        }
    }
}

fn bind_loop(
    py: Python<'_>,
    future: FutureRef<'_, '_>,
    event_loop: &Bound<'_, PyAny>,
) -> PyResult<()> {
    #[cfg(Py_3_14)]
    super::await_graph::install(py)?;
    let native = event_loop.cast::<Loop>();
    future.native_loop.set(native.is_ok()); // T3
    drop(future.event_loop.replace(Some(event_loop.into())));
    let debug = match native {
        Ok(native) if !native.get().overrides_get_debug() => native.get().debug.get(),
        _ => event_loop
            .call_method0(intern!(py, "get_debug"))?
            .is_truthy()?,
    };
    if debug {
        let traceback = tables(py)?.extract_stack.bind(py).call0()?;
        drop(future.source_traceback.replace(Some(traceback.into())));
    }
    Ok(())
}

/// The loop, or the error of a future whose `__init__` was never called.
pub(super) fn alive(py: Python<'_>, future: FutureRef<'_, '_>) -> PyResult<Ref> {
    future
        .event_loop
        .get(py)
        .ok_or_else(|| PyRuntimeError::new_err(Words("Future object is not initialized.")))
}

pub(super) fn get_loop<'py>(py: Python<'py>, slf: Borrowed<'_, 'py, PyAny>) -> PyResult<Ref> {
    alive(py, receiver(slf))
}

pub(super) fn done<'py>(py: Python<'py>, slf: Borrowed<'_, 'py, PyAny>) -> PyResult<Ref> {
    Ok(boolean(py, receiver(slf).state.get() != State::Pending))
}

pub(super) fn cancelled<'py>(py: Python<'py>, slf: Borrowed<'_, 'py, PyAny>) -> PyResult<Ref> {
    Ok(boolean(py, receiver(slf).state.get() == State::Cancelled))
}

pub(super) fn set_result<'py>(
    py: Python<'py>,
    slf: Borrowed<'_, 'py, PyAny>,
    value: Borrowed<'_, 'py, PyAny>,
) -> PyResult<Ref> {
    let future = receiver(slf);
    if !future.event_loop.is_some() {
        alive(py, future)?;
    }
    finish(py, future, (&*value).into())?;
    Ok(none(py))
}

/// Ends the future with a result.
pub(super) fn finish(py: Python<'_>, future: FutureRef<'_, '_>, value: Ref) -> PyResult<()> {
    if future.state.get() != State::Pending {
        return Err(invalid_state(py, "invalid state"));
    }
    future.state.set(State::Finished);
    drop(future.result.replace(Some(value)));
    schedule_all(py, future)
}

pub(super) fn set_exception<'py>(
    py: Python<'py>,
    slf: Borrowed<'_, 'py, PyAny>,
    exception: Borrowed<'_, 'py, PyAny>,
) -> PyResult<Ref> {
    let future = receiver(slf);
    alive(py, future)?;
    finish_with_exception(py, future, &exception)?;
    Ok(none(py))
}

/// Ends the future with an exception, which may be a class.
pub(super) fn finish_with_exception(
    py: Python<'_>,
    future: FutureRef<'_, '_>,
    exception: &Bound<'_, PyAny>,
) -> PyResult<()> {
    if future.state.get() != State::Pending {
        return Err(invalid_state(py, "invalid state"));
    }
    let is_class = exception
        .cast::<PyType>()
        .is_ok_and(|class| class.is_subclass_of::<PyBaseException>().unwrap_or(false));
    let mut exception = if is_class {
        let made = exception.call0()?;
        if future.state.get() != State::Pending {
            return Err(invalid_state(py, "invalid state"));
        }
        made
    } else {
        exception.clone()
    };
    if !exception.is_instance_of::<PyBaseException>() {
        return Err(PyTypeError::new_err(Words("invalid exception object")));
    }
    if let Some(replacement) = stop_iteration(py, &exception)? {
        exception = replacement;
    }
    // SAFETY: A2, A3: an exception has a traceback or none, which is not an error.
    let traceback = unsafe {
        let traceback = ffi::PyException_GetTraceback(exception.as_ptr());
        (!traceback.is_null()).then(|| Ref::from_bound(Bound::from_owned_ptr(py, traceback)))
    };
    drop(future.exception.replace(Some((&exception).into())));
    drop(future.exception_traceback.replace(traceback));
    future.state.set(State::Finished);
    schedule_all(py, future)?;
    future.log_traceback.set(true);
    Ok(())
}

/// A StopIteration would end the coroutine that awaits: asyncio refused it at first, and wraps it from some 3.12 on.
fn stop_iteration<'py>(
    py: Python<'py>,
    exception: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    const WORDS: &str =
        "StopIteration interacts badly with generators and cannot be raised into a Future";
    if !tables(py)?.wraps_stop_iteration {
        if exception.get_type().is(PyStopIteration::type_object(py)) {
            return Err(PyTypeError::new_err(Words(WORDS)));
        }
        return Ok(None);
    }
    if !exception.is_instance_of::<PyStopIteration>() {
        return Ok(None);
    }
    let wrapped = PyRuntimeError::type_object(py).call1((make::string(py, WORDS)?,))?;
    wrapped.setattr(intern!(py, "__cause__"), exception)?;
    wrapped.setattr(intern!(py, "__context__"), exception)?;
    Ok(Some(wrapped))
}

/// Which of the two the running asyncio does, found out by trying.
pub(super) fn wraps_stop_iteration(py: Python<'_>) -> PyResult<bool> {
    let named = PyDict::new(py);
    named.set_item("get_debug", py.get_type::<PyBool>())?; // bool() is False
    let event_loop = py
        .import("types")?
        .getattr("SimpleNamespace")?
        .call((), Some(&named))?;
    let named = PyDict::new(py);
    named.set_item("loop", event_loop)?;
    let class = py.import("asyncio.futures")?.getattr("Future")?;
    let future = class.call((), Some(&named))?;
    let stop = PyStopIteration::type_object(py).call0()?;
    match future.call_method1("set_exception", (stop,)) {
        Ok(_) => {
            future.call_method0("exception")?; // retrieved: nothing is reported
            Ok(true)
        }
        Err(error) if error.is_instance_of::<PyTypeError>(py) => Ok(false),
        Err(error) => Err(error),
    }
}

/// `Future.cancel(msg=None)`.
pub(super) fn cancel<'py>(
    py: Python<'py>,
    slf: Borrowed<'_, 'py, PyAny>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    let future = receiver(slf);
    let [message] = arguments.named("cancel", ["msg"])?;
    alive(py, future)?;
    let message = message.map(|message| (&*message).into());
    Ok(boolean(py, cancel_with(py, future, message)?))
}

/// Ends the future as cancelled; false if it is done already.
pub(super) fn cancel_with(
    py: Python<'_>,
    future: FutureRef<'_, '_>,
    message: Option<Ref>,
) -> PyResult<bool> {
    future.log_traceback.set(false);
    if future.state.get() != State::Pending {
        return Ok(false);
    }
    future.state.set(State::Cancelled);
    drop(future.cancel_message.replace(message));
    schedule_all(py, future)?;
    Ok(true)
}

pub(super) fn result<'py>(py: Python<'py>, slf: Borrowed<'_, 'py, PyAny>) -> PyResult<Ref> {
    let future = receiver(slf);
    if !future.event_loop.is_some() {
        return Err(invalid_state(py, "Future object is not initialized."));
    }
    value_of(py, future)
}

/// The result; the exception is raised.
pub(super) fn value_of(py: Python<'_>, future: FutureRef<'_, '_>) -> PyResult<Ref> {
    match outcome(py, future)? {
        Ok(value) => Ok(value),
        Err(exception) => Err(raise(py, exception)),
    }
}

/// How a done future ended: its result, or the exception for whoever awaits it, as an object.
pub(super) fn outcome(py: Python<'_>, future: FutureRef<'_, '_>) -> PyResult<Result<Ref, Ref>> {
    match future.state.get() {
        State::Pending => Err(invalid_state(py, "Result is not set.")),
        State::Cancelled => Ok(Err(cancelled_error(py, future)?)),
        State::Finished => {
            future.log_traceback.set(false);
            let Some(exception) = future.exception.get(py) else {
                return Ok(Ok(future.result.get(py).unwrap_or_else(|| none(py))));
            };
            // Each time it is raised it gets longer: it begins anew with the one that it was set with.
            let traceback = future
                .exception_traceback
                .take()
                .unwrap_or_else(|| none(py));
            // SAFETY: A2, A3: both are held; the result is looked at.
            unsafe {
                if ffi::PyException_SetTraceback(exception.as_ptr(), traceback.as_ptr()) < 0 {
                    return Err(PyErr::fetch(py));
                }
            }
            Ok(Err(exception))
        }
    }
}

pub(super) fn exception<'py>(py: Python<'py>, slf: Borrowed<'_, 'py, PyAny>) -> PyResult<Ref> {
    let future = receiver(slf);
    if !future.event_loop.is_some() {
        return Err(invalid_state(py, "Future object is not initialized."));
    }
    match future.state.get() {
        State::Cancelled => Err(raise(py, cancelled_error(py, future)?)),
        State::Pending => Err(invalid_state(py, "Exception is not set.")),
        State::Finished => {
            future.log_traceback.set(false);
            Ok(future.exception.get(py).unwrap_or_else(|| none(py)))
        }
    }
}

pub(super) fn make_cancelled_error<'py>(
    py: Python<'py>,
    slf: Borrowed<'_, 'py, PyAny>,
) -> PyResult<Ref> {
    cancelled_error(py, receiver(slf))
}

/// The exception for a cancelled future: the one that ended the task, once; then new ones.
pub(super) fn cancelled_error(py: Python<'_>, future: FutureRef<'_, '_>) -> PyResult<Ref> {
    if let Some(error) = future.cancelled_error.take() {
        return Ok(error);
    }
    let class = tables(py)?.cancelled_error.bind(py);
    let message = future.cancel_message.get(py);
    let error = match message.filter(|message| !message.bind(py).is_none()) {
        Some(message) => class.call1((message.bind(py),))?,
        None => class.call0()?,
    };
    Ok(error.into())
}

/// Raises an exception as `raise` does: with what is being handled as its context.
pub(super) fn raise(py: Python<'_>, exception: Ref) -> PyErr {
    // SAFETY: A2: the exception is held; A3: what is set is taken at once.
    unsafe {
        ffi::PyErr_SetObject(ffi::Py_TYPE(exception.as_ptr()).cast(), exception.as_ptr());
    }
    PyErr::fetch(py)
}

#[cold]
pub(super) fn invalid_state(py: Python<'_>, words: &str) -> PyErr {
    let made = tables(py).and_then(|tables| {
        let words = make::string(py, words)?;
        tables.invalid_state_error.bind(py).call1((words,))
    });
    match made {
        Ok(error) => raise(py, error.into()),
        Err(error) => error,
    }
}
