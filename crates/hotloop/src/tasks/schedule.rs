//! Giving a callback to the loop: straight onto the ready queue of ours, through `call_soon` of any other.

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;

use crate::event_loop::{Entry, Loop};
use crate::python::{Ref, raw};

use super::layout::{FutureRef, TaskRef};
use super::{step, tables};

/// Has the loop of `future` call `callback(argument)`, or `callback()`, in `context`.
pub(super) fn call_soon(
    py: Python<'_>,
    future: FutureRef<'_, '_>,
    callback: Ref,
    argument: Option<Ref>,
    context: Ref,
) -> PyResult<()> {
    if let Some(native) = ready_queue(py, future) {
        // SAFETY: A2: comparing a type runs no code.
        if unsafe { ffi::PyContext_CheckExact(context.as_ptr()) } != 0 {
            native.get().push_ready(Entry::Step {
                callback,
                argument,
                context,
            });
            return Ok(());
        }
    }
    through_method(py, future, &callback, argument.as_ref(), &context)
}

/// Has the task's loop run its next step.
pub(super) fn step_soon(py: Python<'_>, task: TaskRef<'_, '_>) -> PyResult<()> {
    if has_exact_context(task)
        && let Some(native) = ready_queue(py, task.as_future())
    {
        native
            .get()
            .push_ready(Entry::Task((&*task.object()).into()));
        return Ok(());
    }
    let callback = step::step_callable(py, task)?;
    let context = step::context_of(py, task)?;
    through_method(py, task.as_future(), &callback, None, &context)
}

/// Has the future's loop wake the task that waits for it.
pub(super) fn wake_soon(py: Python<'_>, future: FutureRef<'_, '_>, task: Ref) -> PyResult<()> {
    // SAFETY: T4: what waits for a future in this way is a task.
    let waiting = unsafe { TaskRef::new(task.bind(py)) };
    if has_exact_context(waiting)
        && let Some(native) = ready_queue(py, future)
    {
        native.get().push_ready(Entry::Task(task));
        return Ok(());
    }
    let callback = step::wakeup_callable(py, waiting)?;
    let context = step::context_of(py, waiting)?;
    let argument = (&*future.object()).into();
    through_method(py, future, &callback, Some(&argument), &context)
}

/// Whether the task's context is a real one, which can be entered; of any other a handle calls `run`.
#[inline]
fn has_exact_context(task: TaskRef<'_, '_>) -> bool {
    // SAFETY: A2: comparing a type runs no code.
    let is_exact = |context: &Ref| unsafe { ffi::PyContext_CheckExact(context.as_ptr()) != 0 };
    task.own_context
        .peek(|context| context.is_some_and(is_exact))
}

/// The future's loop, if its ready queue takes entries without `call_soon`.
fn ready_queue<'py>(py: Python<'py>, future: FutureRef<'_, '_>) -> Option<Bound<'py, Loop>> {
    if !future.native_loop.get() {
        return None;
    }
    let event_loop = future.event_loop.get(py)?.into_bound(py);
    // SAFETY: T3.
    let native = unsafe { event_loop.cast_into_unchecked::<Loop>() };
    native.get().takes_entries().then_some(native)
}

fn through_method(
    py: Python<'_>,
    future: FutureRef<'_, '_>,
    callback: &Ref,
    argument: Option<&Ref>,
    context: &Ref,
) -> PyResult<()> {
    let event_loop = super::future::alive(py, future)?;
    let mut all = [
        event_loop.as_ptr(),
        callback.as_ptr(),
        context.as_ptr(),
        context.as_ptr(),
    ];
    let mut count = 2;
    if let Some(argument) = argument {
        all[2] = argument.as_ptr();
        count = 3;
    }
    let names = &tables(py)?.context_keyword;
    // SAFETY: A2: all are held by the caller or above; A3 by `from_new`. Keyword values follow the positional ones.
    unsafe {
        let name = intern!(py, "call_soon").as_ptr();
        Ref::from_new(
            py,
            raw::PyObject_VectorcallMethod(name, all.as_ptr(), count, names.as_ptr()),
        )?;
    }
    Ok(())
}
