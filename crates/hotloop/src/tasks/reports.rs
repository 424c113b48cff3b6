//! What a future or a task says when it is freed too early: the two reports of asyncio.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::layout::{FutureRef, State, TaskRef};
use crate::python::guard::unraisable;
use crate::python::make;

/// Reports an exception that nobody has retrieved.
pub(super) fn finalize(future: FutureRef<'_, '_>) {
    if !future.log_traceback.replace(false) {
        return;
    }
    with_exception_saved(future, |py| {
        let object = future.object();
        let name = object.get_type().name()?;
        let context = make::dict(py)?;
        context.set_item(
            intern!(py, "message"),
            format!("{name} exception was never retrieved"),
        )?;
        if let Some(exception) = future.exception.get(py) {
            context.set_item(intern!(py, "exception"), exception.bind(py))?;
        }
        context.set_item(intern!(py, "future"), object)?;
        report(py, future, &context)
    });
}

/// Reports a task that can never end, because nobody refers to it any more.
pub(super) fn finalize_task(task: TaskRef<'_, '_>) {
    if task.future.state.get() != State::Pending || !task.log_destroy_pending.get() {
        return;
    }
    with_exception_saved(task.as_future(), |py| {
        let context = make::dict(py)?;
        context.set_item(intern!(py, "task"), task.object())?;
        context.set_item(
            intern!(py, "message"),
            intern!(py, "Task was destroyed but it is pending!"),
        )?;
        report(py, task.as_future(), &context)
    });
}

fn report(py: Python<'_>, future: FutureRef<'_, '_>, context: &Bound<'_, PyDict>) -> PyResult<()> {
    let Some(event_loop) = future.event_loop.get(py) else {
        return Ok(());
    };
    if let Some(traceback) = future.source_traceback.get(py) {
        context.set_item(intern!(py, "source_traceback"), traceback.bind(py))?;
    }
    event_loop
        .bind(py)
        .call_method1(intern!(py, "call_exception_handler"), (context,))?;
    Ok(())
}

/// A finalizer can run while an exception is on its way.
fn with_exception_saved(future: FutureRef<'_, '_>, body: impl FnOnce(Python<'_>) -> PyResult<()>) {
    let object = future.object();
    let py = object.py();
    let saved = PyErr::take(py);
    unraisable(&object, body);
    if let Some(error) = saved {
        error.restore(py);
    }
}
