//! The attributes of futures and tasks that asyncio's own code, debuggers and tests read.

use std::ffi::CStr;

use pyo3::Borrowed;
use pyo3::exceptions::{PyAttributeError, PyValueError};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;

use crate::python::guard::{boolean, none};
use crate::python::heap_type::{attribute, getter, setter};
use crate::python::make::Words;
use crate::python::{Ref, RefSlot};

#[cfg(Py_3_14)]
use super::await_graph;
use super::callbacks;
use super::future::{alive, receiver};
use super::layout::State;
use super::task;

/// The attributes of `Future`.
pub(super) fn of_future() -> Vec<ffi::PyGetSetDef> {
    vec![
        attribute(c"_state", getter!(state), None),
        attribute(
            c"_asyncio_future_blocking",
            getter!(blocking),
            Some(setter!(
                set_blocking,
                PyAttributeError,
                "cannot delete attribute"
            )),
        ),
        attribute(c"_loop", getter!(event_loop), None),
        attribute(c"_callbacks", getter!(callbacks::callbacks), None),
        attribute(c"_result", getter!(result), None),
        attribute(c"_exception", getter!(exception), None),
        attribute(
            c"_log_traceback",
            getter!(log_traceback),
            Some(setter!(
                set_log_traceback,
                PyAttributeError,
                "cannot delete attribute"
            )),
        ),
        attribute(c"_source_traceback", getter!(source_traceback), None),
        attribute(
            c"_cancel_message",
            getter!(cancel_message),
            Some(setter!(
                set_cancel_message,
                PyAttributeError,
                "cannot delete attribute"
            )),
        ),
        #[cfg(Py_3_14)]
        attribute(
            c"_asyncio_awaited_by",
            getter!(await_graph::awaited_by),
            None,
        ),
    ]
}

/// What `Task` has besides.
pub(super) fn of_task() -> Vec<ffi::PyGetSetDef> {
    vec![
        attribute(c"_coro", getter!(coroutine), None),
        attribute(c"_fut_waiter", getter!(waits_for), None),
        attribute(c"_must_cancel", getter!(must_cancel), None),
        attribute(
            c"_log_destroy_pending",
            getter!(log_destroy_pending),
            Some(setter!(
                set_log_destroy_pending,
                PyAttributeError,
                "cannot delete attribute"
            )),
        ),
    ]
}

fn state<'py>(py: Python<'py>, slf: Borrowed<'_, 'py, PyAny>) -> PyResult<Ref> {
    let future = receiver(slf);
    alive(py, future)?;
    Ok(Ref::from(match future.state.get() {
        State::Pending => intern!(py, "PENDING"),
        State::Cancelled => intern!(py, "CANCELLED"),
        State::Finished => intern!(py, "FINISHED"),
    }))
}

fn blocking<'py>(py: Python<'py>, slf: Borrowed<'_, 'py, PyAny>) -> PyResult<Ref> {
    let future = receiver(slf);
    Ok(boolean(
        py,
        future.event_loop.is_some() && future.blocking.get(),
    ))
}

fn event_loop<'py>(py: Python<'py>, slf: Borrowed<'_, 'py, PyAny>) -> PyResult<Ref> {
    Ok(or_none(py, &receiver(slf).event_loop))
}

fn result<'py>(py: Python<'py>, slf: Borrowed<'_, 'py, PyAny>) -> PyResult<Ref> {
    let future = receiver(slf);
    alive(py, future)?;
    Ok(or_none(py, &future.result))
}

fn exception<'py>(py: Python<'py>, slf: Borrowed<'_, 'py, PyAny>) -> PyResult<Ref> {
    let future = receiver(slf);
    alive(py, future)?;
    Ok(or_none(py, &future.exception))
}

fn source_traceback<'py>(py: Python<'py>, slf: Borrowed<'_, 'py, PyAny>) -> PyResult<Ref> {
    Ok(or_none(py, &receiver(slf).source_traceback))
}

fn cancel_message<'py>(py: Python<'py>, slf: Borrowed<'_, 'py, PyAny>) -> PyResult<Ref> {
    Ok(or_none(py, &receiver(slf).cancel_message))
}

fn log_traceback<'py>(py: Python<'py>, slf: Borrowed<'_, 'py, PyAny>) -> PyResult<Ref> {
    let future = receiver(slf);
    alive(py, future)?;
    Ok(boolean(py, future.log_traceback.get()))
}

fn coroutine<'py>(py: Python<'py>, slf: Borrowed<'_, 'py, PyAny>) -> PyResult<Ref> {
    Ok(or_none(py, &task::receiver(slf).coroutine))
}

fn waits_for<'py>(py: Python<'py>, slf: Borrowed<'_, 'py, PyAny>) -> PyResult<Ref> {
    Ok(or_none(py, &task::receiver(slf).waits_for))
}

fn must_cancel<'py>(py: Python<'py>, slf: Borrowed<'_, 'py, PyAny>) -> PyResult<Ref> {
    Ok(boolean(py, task::receiver(slf).must_cancel.get()))
}

fn log_destroy_pending<'py>(py: Python<'py>, slf: Borrowed<'_, 'py, PyAny>) -> PyResult<Ref> {
    Ok(boolean(py, task::receiver(slf).log_destroy_pending.get()))
}

pub(super) fn or_none(py: Python<'_>, slot: &RefSlot) -> Ref {
    slot.get(py).unwrap_or_else(|| none(py))
}

fn set_blocking<'py>(
    py: Python<'py>,
    slf: Borrowed<'_, 'py, PyAny>,
    value: Borrowed<'_, 'py, PyAny>,
) -> PyResult<()> {
    let future = receiver(slf);
    alive(py, future)?;
    future.blocking.set(value.is_truthy()?);
    Ok(())
}

fn set_log_traceback<'py>(
    _py: Python<'py>,
    slf: Borrowed<'_, 'py, PyAny>,
    value: Borrowed<'_, 'py, PyAny>,
) -> PyResult<()> {
    if value.is_truthy()? {
        return Err(PyValueError::new_err(Words(
            "_log_traceback can only be set to False",
        )));
    }
    receiver(slf).log_traceback.set(false);
    Ok(())
}

fn set_cancel_message<'py>(
    _py: Python<'py>,
    slf: Borrowed<'_, 'py, PyAny>,
    value: Borrowed<'_, 'py, PyAny>,
) -> PyResult<()> {
    let before = receiver(slf).cancel_message.replace(Some((&*value).into()));
    drop(before);
    Ok(())
}

fn set_log_destroy_pending<'py>(
    _py: Python<'py>,
    slf: Borrowed<'_, 'py, PyAny>,
    value: Borrowed<'_, 'py, PyAny>,
) -> PyResult<()> {
    let wanted = value.is_truthy()?;
    task::receiver(slf).log_destroy_pending.set(wanted);
    Ok(())
}

/// The docstring of `Future`, with its signature.
pub(super) const FUTURE_DOC: &CStr = c"Future(*, loop=None)
--

A future of hotloop: what asyncio.Future is, in Rust.

loop is the event loop, None for the current one. Raises RuntimeError if there is none. It can be
subclassed; it is no instance of asyncio.Future, but asyncio.isfuture() holds.";
/// The same for `Task`.
pub(super) const TASK_DOC: &CStr = c"Task(coro, *, loop=None, name=None, context=None, eager_start=False)\n--\n\nA task of hotloop: what asyncio.Task is, in Rust.

coro is a coroutine object; loop the event loop, None for the running one; name a str, None for one
with a number; context a contextvars.Context, None for a copy of the current one; eager_start True
takes the first step at once, from Python 3.12 on. Raises TypeError for what is no coroutine,
RuntimeError without a loop. It can be subclassed; it is no instance of asyncio.Task.";
