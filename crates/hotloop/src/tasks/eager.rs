//! Eager tasks, new in CPython 3.12: the constructor runs the first step (`asyncio.eager_task_factory` in the asyncio
//! documentation).

use pyo3::prelude::*;

use crate::python::call;

use super::future::alive;
use super::layout::{State, TaskRef};
use super::{lifetime, step};

/// Runs the first step now. The task that is running becomes the current one again after it.
pub(super) fn start(py: Python<'_>, task: TaskRef<'_, '_>) -> PyResult<()> {
    let event_loop = alive(py, task.as_future())?;
    let previous = lifetime::swap_current(py, &event_loop, task.object())?;
    let result = lifetime::register_eager(py, task).and_then(|()| {
        let context = step::context_of(py, task)?;
        task.running.set(true);
        let result = call::within_context(py, &context, || step::step_as_current(py, task, None));
        task.running.set(false);
        result.and(lifetime::unregister_eager(py, task))
    });
    let restored = lifetime::swap_current(py, &event_loop, previous.bind(py));
    if task.future.state.get() == State::Pending {
        lifetime::register(py, task)?;
    } else {
        drop(task.coroutine.take());
    }
    result.and(restored.map(drop))
}
