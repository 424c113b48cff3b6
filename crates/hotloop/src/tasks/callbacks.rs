//! Done callbacks: adding, removing, scheduling; and the task that waits, which stands among them as itself.

use pyo3::Borrowed;
use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::python::guard::none;
use crate::python::make::Words;
use crate::python::{FastArguments, Ref, call, make};

use super::future::{alive, receiver};
use super::layout::{FutureRef, State, TaskRef};
use super::{lifetime, schedule, step};

/// `Future.add_done_callback(fn, *, context=None)`.
pub(super) fn add_done_callback<'py>(
    py: Python<'py>,
    slf: Borrowed<'_, 'py, PyAny>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    let future = receiver(slf);
    let [callback, context] = arguments.named("add_done_callback", ["fn", "context"])?;
    if arguments.positional_count() > 1 {
        return Err(pyo3::exceptions::PyTypeError::new_err(Words(
            "add_done_callback() takes exactly 1 positional argument (2 given)",
        )));
    }
    let Some(callback) = callback else {
        return Err(pyo3::exceptions::PyTypeError::new_err(Words(
            "add_done_callback() missing required argument 'fn' (pos 1)",
        )));
    };
    if !future.event_loop.is_some() {
        let words = "uninitialized Future object"; // not what the other methods say
        return Err(PyRuntimeError::new_err(words));
    }
    let context = match context.filter(|context| !context.is_none()) {
        Some(context) => (&*context).into(),
        None => call::copy_context(py)?,
    };
    add(py, future, (&*callback).into(), context)?;
    Ok(none(py))
}

/// Adds a callback; one for a future that is done is scheduled at once.
pub(super) fn add(
    py: Python<'_>,
    future: FutureRef<'_, '_>,
    callback: Ref,
    context: Ref,
) -> PyResult<()> {
    if future.state.get() != State::Pending {
        let argument = (&*future.object()).into();
        return schedule::call_soon(py, future, callback, Some(argument), context);
    }
    if !future.callback.is_some() && !future.more_callbacks.is_some() {
        drop(future.callback.replace(Some(callback)));
        drop(future.context.replace(Some(context)));
        return Ok(());
    }
    let pair = make::tuple(py, [callback.into_bound(py), context.into_bound(py)])?;
    match future.more_callbacks.get(py) {
        Some(list) => list.bind(py).cast::<PyList>()?.append(pair),
        None => {
            let list = make::list(py)?;
            list.append(pair)?;
            drop(future.more_callbacks.replace(Some(list.into_any().into())));
            Ok(())
        }
    }
}

/// Has `task` woken when `future` is done: as itself, if nobody else waits.
pub(super) fn add_waiter(
    py: Python<'_>,
    future: FutureRef<'_, '_>,
    task: TaskRef<'_, '_>,
) -> PyResult<()> {
    if future.state.get() == State::Pending
        && !future.callback.is_some()
        && !future.more_callbacks.is_some()
    {
        future.waited_for.set(true); // T4
        drop(future.callback.replace(Some((&*task.object()).into())));
        return Ok(());
    }
    let callback = step::wakeup_callable(py, task)?;
    let context = step::context_of(py, task)?;
    add(py, future, callback, context)
}

/// `Future.remove_done_callback(fn)`: how many were removed.
pub(super) fn remove_done_callback<'py>(
    py: Python<'py>,
    slf: Borrowed<'_, 'py, PyAny>,
    unwanted: Borrowed<'_, 'py, PyAny>,
) -> PyResult<Ref> {
    let future = receiver(slf);
    alive(py, future)?;
    let mut removed = 0_usize;
    if let Some((callback, _)) = first(py, future)?
        && is_same(&callback.bind(py), &unwanted)?
    {
        // The comparison can have changed anything; asyncio removes what is first now.
        future.waited_for.set(false);
        let before = (future.callback.take(), future.context.take());
        drop(before);
        removed += 1;
    }
    if let Some(list) = future.more_callbacks.get(py) {
        removed += remove_further(py, future, &list, unwanted)?;
    }
    Ok(make::number(py, removed as i64)?.into())
}

/// Removes from the list, which the comparisons can change under our hands (A5).
fn remove_further<'py>(
    py: Python<'py>,
    future: FutureRef<'_, 'py>,
    list: &Ref,
    unwanted: Borrowed<'_, 'py, PyAny>,
) -> PyResult<usize> {
    let list = list.bind(py);
    let list = list.cast::<PyList>()?;
    let mut kept = Vec::new();
    let mut removed = 0;
    let mut index = 0;
    while index < list.len() {
        let pair = list.get_item(index)?;
        if is_same(&pair.get_item(0)?, &unwanted)? {
            removed += 1;
        } else {
            kept.push(pair);
        }
        index += 1;
        if !future.more_callbacks.is_some() {
            return Ok(removed); // a comparison has removed, or scheduled, all of them
        }
    }
    let after = if kept.is_empty() {
        None
    } else {
        let list = make::list(py)?;
        for pair in kept {
            list.append(pair)?;
        }
        Some(list.into_any().into())
    };
    let before = future.more_callbacks.replace(after);
    drop(before);
    Ok(removed)
}

/// Equal, or the very same object whatever its comparison says.
fn is_same(callback: &Bound<'_, PyAny>, unwanted: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(callback.is(unwanted) || callback.eq(unwanted)?)
}

/// `Future._callbacks`: a list of pairs, or None if there are none.
pub(super) fn callbacks<'py>(py: Python<'py>, slf: Borrowed<'_, 'py, PyAny>) -> PyResult<Ref> {
    let future = receiver(slf);
    alive(py, future)?;
    let list = make::list(py)?;
    if let Some((callback, context)) = first(py, future)? {
        list.append(make::tuple(py, [callback.bind(py), context.bind(py)])?)?;
    }
    if let Some(more) = future.more_callbacks.get(py) {
        for pair in more.bind(py).try_iter()? {
            list.append(pair?)?;
        }
    }
    if list.is_empty() {
        return Ok(none(py));
    }
    Ok(list.into_any().into())
}

/// The first callback as Python sees it.
fn first(py: Python<'_>, future: FutureRef<'_, '_>) -> PyResult<Option<(Ref, Ref)>> {
    let Some(callback) = future.callback.get(py) else {
        return Ok(None);
    };
    if future.waited_for.get() {
        // SAFETY: T4.
        let task = unsafe { TaskRef::new(callback.bind(py)) };
        return Ok(Some((
            step::wakeup_callable(py, task)?,
            step::context_of(py, task)?,
        )));
    }
    let context = future.context.get(py).unwrap_or_else(|| none(py));
    Ok(Some((callback, context)))
}

/// Schedules everything that waits for a future that has just become done.
pub(super) fn schedule_all(py: Python<'_>, future: FutureRef<'_, '_>) -> PyResult<()> {
    if let Some(task) = future.as_task() {
        lifetime::unregister(py, task)?;
    }
    // A5: all is taken out before anything is called.
    let waited_for = future.waited_for.replace(false);
    let first = future.callback.take();
    let context = future.context.take();
    let more = future.more_callbacks.take();
    match (first, context) {
        (Some(task), _) if waited_for => schedule::wake_soon(py, future, task)?,
        (Some(callback), Some(context)) => {
            let argument = (&*future.object()).into();
            schedule::call_soon(py, future, callback, Some(argument), context)?;
        }
        _ => {}
    }
    if let Some(more) = more {
        schedule_further(py, future, &more)?;
    }
    Ok(())
}

fn schedule_further(py: Python<'_>, future: FutureRef<'_, '_>, more: &Ref) -> PyResult<()> {
    let pairs = more.bind(py).cast::<PyList>()?.to_owned();
    for pair in pairs.iter() {
        // SAFETY: A2: the pair is held; only `add` makes these lists, so every item is a tuple of two.
        let (callback, context) = unsafe {
            (
                Ref::from_borrowed(ffi::PyTuple_GET_ITEM(pair.as_ptr(), 0)),
                Ref::from_borrowed(ffi::PyTuple_GET_ITEM(pair.as_ptr(), 1)),
            )
        };
        let argument = (&*future.object()).into();
        schedule::call_soon(py, future, callback, Some(argument), context)?;
    }
    Ok(())
}
