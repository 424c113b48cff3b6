//! One step of a task: resuming its coroutine, and doing what it asks for.
//!
//! Between the resumption and the end of the step the task is the current one of its loop.

use pyo3::Borrowed;
use pyo3::exceptions::{
    PyBaseException, PyKeyboardInterrupt, PyRuntimeError, PyStopIteration, PySystemError,
    PySystemExit,
};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::python::guard::none;
use crate::python::make::Words;
use crate::python::{FastArguments, Ref, RefSlot, call, raw};

use super::future::{alive, cancel_with, cancelled_error, finish, finish_with_exception, outcome};
use super::layout::{State, TaskRef};
use super::task::{cancel_other, receiver};
use super::{callbacks, exact_future, lifetime, schedule, tables};

/// Runs the step of a task that stands on the ready queue, in the task's context.
///
/// # Errors
/// `SystemExit` and `KeyboardInterrupt` of the coroutine; failures of the loop. What else the coroutine raises is
/// the task's outcome.
pub(crate) fn run(py: Python<'_>, object: &Ref, still_current: &RefSlot) -> PyResult<()> {
    // SAFETY: T1: only tasks stand on the queue under this entry.
    let task = unsafe { TaskRef::new(object.bind(py)) };
    let context = context_of(py, task)?;
    // Dropped when everything is over, as that of a callback's argument is.
    let waited_for = task.waits_for.get(py);
    call::within_context(py, &context, || match &waited_for {
        Some(future) => wake(py, task, future, Some(still_current)),
        None => step(py, task, None, None, Some(still_current)),
    })
}

/// Ends the state of T6: the task is no longer the current one.
pub(crate) fn leave(py: Python<'_>, object: &Ref) -> PyResult<()> {
    // SAFETY: T1: only `step` remembers a task as still current.
    let task = unsafe { TaskRef::new(object.bind(py)) };
    lifetime::leave_at_last(py, &alive(py, task.as_future())?)
}

/// The task as `call_soon` would have been asked to run it: callback, argument and context.
pub(crate) fn as_call(py: Python<'_>, object: &Ref) -> PyResult<(Ref, Option<Ref>, Ref)> {
    // SAFETY: as in `run`.
    let task = unsafe { TaskRef::new(object.bind(py)) };
    let context = context_of(py, task)?;
    match task.waits_for.get(py) {
        Some(future) => Ok((wakeup_callable(py, task)?, Some(future), context)),
        None => Ok((step_callable(py, task)?, None, context)),
    }
}

/// The context in which the task runs.
pub(super) fn context_of(py: Python<'_>, task: TaskRef<'_, '_>) -> PyResult<Ref> {
    task.own_context.get(py).ok_or_else(uninitialized)
}

/// The callable that other loops run a step with; it takes an exception for the coroutine.
pub(super) fn step_callable(py: Python<'_>, task: TaskRef<'_, '_>) -> PyResult<Ref> {
    let definition = tables(py)?.step_method.0;
    // SAFETY: A2: the definition lives for ever; A3 by `from_new`.
    unsafe { Ref::from_new(py, ffi::PyCFunction_New(definition, task.object().as_ptr())) }
}

/// The callable that foreign futures wake the task with.
pub(super) fn wakeup_callable(py: Python<'_>, task: TaskRef<'_, '_>) -> PyResult<Ref> {
    let definition = tables(py)?.wakeup_method.0;
    // SAFETY: as above.
    unsafe { Ref::from_new(py, ffi::PyCFunction_New(definition, task.object().as_ptr())) }
}

/// The task that a callback steps or wakes, if the callback is one of the two callables.
pub(crate) fn of_callback<'py>(callback: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    let tables = tables(callback.py()).ok()?;
    // SAFETY: A2; A4: exactly a built-in function, whose definition is compared.
    unsafe {
        if ffi::PyCFunction_CheckExact(callback.as_ptr()) == 0 {
            return None;
        }
        let function: *mut ffi::PyCFunctionObject = callback.as_ptr().cast();
        let definition = (*function).m_ml;
        (definition == tables.step_method.0 || definition == tables.wakeup_method.0)
            .then(|| Bound::from_borrowed_ptr(callback.py(), (*function).m_self))
    }
}

pub(super) fn step_method<'py>(
    py: Python<'py>,
    slf: Borrowed<'_, 'py, PyAny>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    let exception = arguments.get(0).map(|exception| (&*exception).into());
    step(py, receiver(slf), exception, None, None)?;
    Ok(none(py))
}

pub(super) fn wakeup_method<'py>(
    py: Python<'py>,
    slf: Borrowed<'_, 'py, PyAny>,
    future: Borrowed<'_, 'py, PyAny>,
) -> PyResult<Ref> {
    wake(py, receiver(slf), &(&*future).into(), None)?;
    Ok(none(py))
}

/// Steps the task with the outcome of the future that it waited for; the result it fetches itself.
fn wake(
    py: Python<'_>,
    task: TaskRef<'_, '_>,
    future: &Ref,
    still_current: Option<&RefSlot>,
) -> PyResult<()> {
    let exact = exact_future(future.bind(py));
    if exact
        .is_none_or(|future| future.state.get() != State::Finished || future.exception.is_some())
        && let Some(previous) = still_current.and_then(RefSlot::take)
    {
        leave(py, &previous)?; // T6: what follows calls somebody's method, or makes or changes an exception
    }
    let ended = match exact {
        Some(future) => outcome(py, future).map(Result::err),
        None => call::call_method0(future, intern!(py, "result")).map(|_| None),
    };
    let exception = ended.unwrap_or_else(|error| Some(instance(py, error)));
    step(py, task, exception, Some(future), still_current)
}

/// One step; an exception goes into the coroutine. The caller lets go of `waited_for` when it is over.
fn step(
    py: Python<'_>,
    task: TaskRef<'_, '_>,
    exception: Option<Ref>,
    waited_for: Option<&Ref>,
    still_current: Option<&RefSlot>,
) -> PyResult<()> {
    let event_loop = alive(py, task.as_future())?;
    match still_current.and_then(RefSlot::take) {
        Some(previous) => lifetime::take_over(py, &event_loop, &previous, task)?,
        None => lifetime::enter(py, &event_loop, task)?,
    }
    let result = step_as_current(py, task, exception);
    if let (Some(still_current), Ok(()), State::Pending) =
        (still_current, &result, task.future.state.get())
        && is_expected(task)
        && waited_for.is_none_or(|future| ends_quietly(py, future))
        && lifetime::stays(py, &event_loop, task)?
    {
        let own = (&*task.object()).into();
        drop(still_current.replace(Some(own))); // T6
        return Ok(());
    }
    let left = lifetime::leave(py, &event_loop, task);
    match (result, left) {
        (Err(error), Err(second)) => {
            second.set_context(py, Some(error));
            Err(second)
        }
        (result, left) => result.and(left),
    }
}

/// Whether anybody will step the task again: then somebody has a reference besides the entry of the ready queue that is
/// being run and asyncio's note of the current task. Otherwise the task is freed with that entry, and is to be left
/// before: closing its coroutine runs code.
fn is_expected(task: TaskRef<'_, '_>) -> bool {
    // SAFETY: A2: a count is looked at.
    unsafe { ffi::Py_REFCNT(task.object().as_ptr()) > 2 }
}

/// Whether letting go of a future runs no code: somebody else has it, too, or it is one of ours with nothing in it that
/// could have a finalizer.
fn ends_quietly(py: Python<'_>, future: &Ref) -> bool {
    // SAFETY: A2: a count is looked at.
    let is_last = unsafe { ffi::Py_REFCNT(future.as_ptr()) } == 1;
    !is_last
        || exact_future(future.bind(py)).is_some_and(|future| {
            future.is_plain() && future.as_task().is_none_or(|task| task.is_plain())
        })
}

/// The step itself, also of a task that starts eagerly.
pub(super) fn step_as_current(
    py: Python<'_>,
    task: TaskRef<'_, '_>,
    mut exception: Option<Ref>,
) -> PyResult<()> {
    if task.future.state.get() != State::Pending {
        return Err(already_done(py, task, exception));
    }
    if task.must_cancel.get() {
        if !is_cancellation(py, exception.as_ref())? {
            exception = Some(cancelled_error(py, task.as_future())?);
        }
        task.must_cancel.set(false);
    }
    drop(task.waits_for.take());
    let Some(coroutine) = task.coroutine.get(py) else {
        return Err(uninitialized());
    };
    match resume(py, &coroutine, exception) {
        Ok(Resumed::Waits(request)) => obey(py, task, request),
        Ok(Resumed::Ended(value)) => {
            if task.must_cancel.replace(false) {
                // Cancelled by its own last step.
                let message = task.future.cancel_message.get(py);
                cancel_with(py, task.as_future(), message).map(drop)
            } else {
                finish(py, task.as_future(), value)
            }
        }
        Err(error) => fail(py, task, error),
    }
}

enum Resumed {
    Waits(Ref),
    Ended(Ref),
}

/// `coro.send(None)` or `coro.throw(exception)`.
fn resume(py: Python<'_>, coroutine: &Ref, exception: Option<Ref>) -> PyResult<Resumed> {
    if let Some(exception) = exception {
        let result = call::call_method1(coroutine, intern!(py, "throw"), &exception);
        drop(exception);
        return match result {
            Ok(request) => Ok(Resumed::Waits(request)),
            Err(error) if error.is_instance_of::<PyStopIteration>(py) => {
                let value = error.value(py).getattr(intern!(py, "value"))?;
                Ok(Resumed::Ended(value.into()))
            }
            Err(error) => Err(error),
        };
    }
    let mut result = std::ptr::null_mut();
    // SAFETY: A2: the caller holds the coroutine; A3: what is given back is a new reference, or null with an exception.
    unsafe {
        match raw::PyIter_Send(coroutine.as_ptr(), ffi::Py_None(), &raw mut result) {
            ffi::PySendResult::PYGEN_NEXT => Ok(Resumed::Waits(Ref::from_new(py, result)?)),
            ffi::PySendResult::PYGEN_RETURN => Ok(Resumed::Ended(Ref::from_new(py, result)?)),
            ffi::PySendResult::PYGEN_ERROR => Err(PyErr::take(py).unwrap_or_else(no_exception)),
        }
    }
}

/// CPython has no memory for a frame, and says so without an exception (3.11 to 3.13; its own tasks crash then). The words
/// are those that it has elsewhere for such a case.
#[cold]
fn no_exception() -> PyErr {
    PySystemError::new_err(Words("error return without exception set"))
}

/// The coroutine has ended with an exception.
#[cold]
fn fail(py: Python<'_>, task: TaskRef<'_, '_>, error: PyErr) -> PyResult<()> {
    let ends_the_loop =
        error.is_instance_of::<PyKeyboardInterrupt>(py) || error.is_instance_of::<PySystemExit>(py);
    let exception = instance(py, error);
    if is_cancellation(py, Some(&exception))? {
        let before = task.future.cancelled_error.replace(Some(exception));
        drop(before);
        return cancel_with(py, task.as_future(), None).map(drop);
    }
    finish_with_exception(py, task.as_future(), &exception.bind(py))?;
    if ends_the_loop {
        return Err(PyErr::from_value(exception.into_bound(py)));
    }
    Ok(())
}

/// Waits for what the coroutine has given.
fn obey(py: Python<'_>, task: TaskRef<'_, '_>, request: Ref) -> PyResult<()> {
    // SAFETY: A1.
    if request.as_ptr() == unsafe { ffi::Py_None() } {
        return schedule::step_soon(py, task);
    }
    if request.as_ptr() == task.object().as_ptr() {
        return refuse(py, task, || {
            Ok(format!(
                "Task cannot await on itself: {}",
                task.object().repr()?
            ))
        });
    }
    if let Some(future) = exact_future(request.bind(py)) {
        let same_loop = task.future.event_loop.peek(|own| {
            let own = own.map(Ref::as_ptr);
            future
                .event_loop
                .peek(|other| own == other.map(Ref::as_ptr))
        });
        if !same_loop {
            return refuse_other_loop(py, task, &request);
        }
        if !future.blocking.replace(false) {
            return refuse_plain_yield(py, task, &request);
        }
        callbacks::add_waiter(py, future, task)?;
    } else {
        let attribute = intern!(py, "_asyncio_future_blocking");
        let blocking = request.bind(py).getattr_opt(attribute)?;
        let Some(blocking) = blocking.filter(|blocking| !blocking.is_none()) else {
            return refuse_no_future(py, task, &request);
        };
        let blocking = blocking.is_truthy()?;
        if !is_bound_to(py, &request, &alive(py, task.as_future())?)? {
            return refuse_other_loop(py, task, &request);
        }
        if !blocking {
            return refuse_plain_yield(py, task, &request);
        }
        request.bind(py).setattr(attribute, false)?;
        add_foreign_waiter(py, task, &request)?;
    }
    drop(task.waits_for.replace(Some(request.clone_ref(py))));
    if task.must_cancel.get() {
        let message = task.future.cancel_message.get(py);
        let message = message.unwrap_or_else(|| none(py));
        if cancel_other(py, &request, &message)? {
            task.must_cancel.set(false);
        }
    }
    Ok(())
}

/// `future.add_done_callback(wakeup, context=context)`.
fn add_foreign_waiter(py: Python<'_>, task: TaskRef<'_, '_>, future: &Ref) -> PyResult<()> {
    let callback = wakeup_callable(py, task)?;
    let context = context_of(py, task)?;
    let all = [future.as_ptr(), callback.as_ptr(), context.as_ptr()];
    let names = &tables(py)?.context_keyword;
    // SAFETY: A2: all are held; A3 by `from_new`.
    unsafe {
        let name = intern!(py, "add_done_callback").as_ptr();
        Ref::from_new(
            py,
            raw::PyObject_VectorcallMethod(name, all.as_ptr(), 2, names.as_ptr()),
        )?;
    }
    Ok(())
}

/// Whether a foreign future belongs to this loop: `get_loop()`, or `_loop` where there is no such method.
fn is_bound_to(py: Python<'_>, future: &Ref, event_loop: &Ref) -> PyResult<bool> {
    let future = future.bind(py);
    let other = match future.getattr_opt(intern!(py, "get_loop"))? {
        Some(get_loop) => get_loop.call0()?,
        None => future.getattr(intern!(py, "_loop"))?,
    };
    Ok(other.as_ptr() == event_loop.as_ptr())
}

#[cold]
fn refuse_other_loop(py: Python<'_>, task: TaskRef<'_, '_>, request: &Ref) -> PyResult<()> {
    refuse(py, task, || {
        Ok(format!(
            "Task {} got Future {} attached to a different loop",
            task.object().repr()?,
            request.bind(py).repr()?
        ))
    })
}

#[cold]
fn refuse_plain_yield(py: Python<'_>, task: TaskRef<'_, '_>, request: &Ref) -> PyResult<()> {
    refuse(py, task, || {
        Ok(format!(
            "yield was used instead of yield from in task {} with {}",
            task.object().repr()?,
            request.bind(py).repr()?
        ))
    })
}

#[cold]
fn refuse_no_future(py: Python<'_>, task: TaskRef<'_, '_>, request: &Ref) -> PyResult<()> {
    refuse(py, task, || {
        let request = request.bind(py);
        // SAFETY: A2: comparing types runs no code.
        let is_generator =
            unsafe { ffi::PyObject_TypeCheck(request.as_ptr(), &raw mut ffi::PyGen_Type) != 0 };
        Ok(if is_generator {
            format!(
                "yield was used instead of yield from for generator in task {} with {}",
                task.object().repr()?,
                request.repr()?
            )
        } else {
            format!("Task got bad yield: {}", request.repr()?)
        })
    })
}

/// Has the coroutine get a RuntimeError in its next step.
#[cold]
fn refuse(
    py: Python<'_>,
    task: TaskRef<'_, '_>,
    words: impl FnOnce() -> PyResult<String>,
) -> PyResult<()> {
    let error = instance(py, PyRuntimeError::new_err(Words(words()?)));
    let callback = step_callable(py, task)?;
    let context = context_of(py, task)?;
    schedule::call_soon(py, task.as_future(), callback, Some(error), context)
}

fn is_cancellation(py: Python<'_>, exception: Option<&Ref>) -> PyResult<bool> {
    match exception {
        Some(exception) => exception
            .bind(py)
            .is_instance(&tables(py)?.cancelled_error.bind(py)),
        None => Ok(false),
    }
}

/// The exception as an object, with its traceback.
fn instance(py: Python<'_>, error: PyErr) -> Ref {
    let value: Bound<'_, PyBaseException> = error.into_value(py).into_bound(py);
    Ref::from(value.into_any())
}

#[cold]
fn already_done(py: Python<'_>, task: TaskRef<'_, '_>, exception: Option<Ref>) -> PyErr {
    let exception = exception.unwrap_or_else(|| none(py));
    let task = task.object().repr();
    let exception = exception.bind(py).repr();
    let text = |repr: PyResult<Bound<'_, PyString>>| repr.map(|text| text.to_string());
    match (text(task), text(exception)) {
        (Ok(task), Ok(exception)) => {
            super::future::invalid_state(py, &format!("__step(): already done: {task} {exception}"))
        }
        (Err(error), _) | (_, Err(error)) => error,
    }
}

#[cold]
fn uninitialized() -> PyErr {
    PyRuntimeError::new_err(Words("uninitialized Task object"))
}
