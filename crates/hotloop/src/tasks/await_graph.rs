//! The await graph of Python 3.14: who waits for a future, as `asyncio.capture_call_graph()` shows it.
//!
//! A task that waits with `await` stands among the callbacks of what it waits for, and is found there. Other waits
//! (`gather`, `wait`, task groups) announce themselves by `asyncio.future_add_to_awaited_by(future, waiter)`, and take
//! that back. CPython's functions keep this in futures of its own and pass over everybody else's; the functions here
//! keep it in ours, and `hotloop._await_graph` puts them in the place of CPython's when the first of our futures is
//! made.

use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::Borrowed;
use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyFrozenSet, PySet};

use crate::imports::imports;
use crate::python::guard::none;
use crate::python::heap_type::method_fast;
use crate::python::{FastArguments, Ref, make};

use super::future::receiver;
use super::layout::FutureRef;
use super::{callbacks, factory, step, tables};

/// The functions that note who waits: asyncio's, and ours that call them for futures of others.
pub(super) struct AwaitGraph {
    asyncio_add: Ref,
    asyncio_discard: Ref,
    /// `asyncio.Future`.
    asyncio_future: Ref,
    pub(crate) add: Ref,
    pub(crate) discard: Ref,
}

impl AwaitGraph {
    pub(super) fn load(py: Python<'_>) -> PyResult<Self> {
        let futures = py.import("asyncio.futures")?;
        Ok(Self {
            asyncio_add: futures.getattr("future_add_to_awaited_by")?.into(),
            asyncio_discard: futures.getattr("future_discard_from_awaited_by")?.into(),
            asyncio_future: futures.getattr("Future")?.into(),
            add: factory::function(
                py,
                method_fast!(
                    c"future_add_to_awaited_by",
                    c"future_add_to_awaited_by(fut, waiter, /)\n--\n\nNote that waiter waits for fut, for the await graph.",
                    add_function
                ),
            )?,
            discard: factory::function(
                py,
                method_fast!(
                    c"future_discard_from_awaited_by",
                    c"future_discard_from_awaited_by(fut, waiter, /)\n--\n\nNote that waiter no longer waits for fut.",
                    discard_function
                ),
            )?,
        })
    }
}

/// Tells asyncio of our classes, once; whoever makes a future of ours calls this first.
#[inline]
pub(super) fn install(py: Python<'_>) -> PyResult<()> {
    if INSTALLED.load(Ordering::Relaxed) {
        return Ok(());
    }
    install_now(py)
}

static INSTALLED: AtomicBool = AtomicBool::new(false);

#[cold]
fn install_now(py: Python<'_>) -> PyResult<()> {
    py.import("hotloop._await_graph")?
        .call_method0(intern!(py, "install"))?;
    INSTALLED.store(true, Ordering::Relaxed);
    Ok(())
}

/// `Future._asyncio_awaited_by`: a frozenset of tasks, or None.
pub(super) fn awaited_by<'py>(py: Python<'py>, slf: Borrowed<'_, 'py, PyAny>) -> PyResult<Ref> {
    let waiting = PySet::empty(py)?;
    if let Some(noted) = receiver(slf).awaited_by.get(py) {
        for waiter in as_set(&noted.bind(py))?.iter() {
            waiting.add(waiter)?;
        }
    }
    let pairs = callbacks::callbacks(py, slf)?;
    if !pairs.bind(py).is_none() {
        for pair in pairs.bind(py).try_iter()? {
            let callback = pair?.get_item(0)?;
            if let Some(task) = waiter_of(&callback)? {
                waiting.add(task)?;
            }
        }
    }
    if waiting.is_empty() {
        return Ok(none(py));
    }
    Ok(PyFrozenSet::new(py, waiting.iter())?.into_any().into())
}

fn add_function<'py>(
    py: Python<'py>,
    _: Borrowed<'_, 'py, PyAny>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    let (future, waiter) = two(arguments, "future_add_to_awaited_by")?;
    let graph = &tables(py)?.await_graph;
    match ours(future)? {
        Some(future) => {
            if is_future(waiter)? {
                add(future, waiter)?;
            }
        }
        None if ours(waiter)?.is_some() => {
            if is_future(future)? {
                of_others(py, intern!(py, "note"), future, waiter)?;
            }
        }
        None => drop(graph.asyncio_add.bind(py).call1((future, waiter))?),
    }
    Ok(none(py))
}

fn discard_function<'py>(
    py: Python<'py>,
    _: Borrowed<'_, 'py, PyAny>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    let (future, waiter) = two(arguments, "future_discard_from_awaited_by")?;
    let graph = &tables(py)?.await_graph;
    match ours(future)? {
        Some(future) => discard(future, waiter)?,
        None if ours(waiter)?.is_some() => {
            if is_future(future)? {
                of_others(py, intern!(py, "forget"), future, waiter)?;
            }
        }
        None => drop(graph.asyncio_discard.bind(py).call1((future, waiter))?),
    }
    Ok(none(py))
}

/// One waiter stands in the future as itself, several in a set.
fn add<'py>(future: FutureRef<'_, 'py>, waiter: Borrowed<'_, 'py, PyAny>) -> PyResult<()> {
    let py = waiter.py();
    let Some(noted) = future.awaited_by.get(py) else {
        drop(future.awaited_by.replace(Some((&*waiter).into())));
        return Ok(());
    };
    if noted.as_ptr() == waiter.as_ptr() {
        return Ok(());
    }
    let set = as_set(&noted.bind(py))?;
    set.add(waiter)?;
    drop(future.awaited_by.replace(Some(set.into_any().into())));
    Ok(())
}

fn discard<'py>(future: FutureRef<'_, 'py>, waiter: Borrowed<'_, 'py, PyAny>) -> PyResult<()> {
    let py = waiter.py();
    let Some(noted) = future.awaited_by.get(py) else {
        return Ok(());
    };
    if noted.as_ptr() == waiter.as_ptr() {
        drop(future.awaited_by.take());
    } else if let Ok(set) = noted.bind(py).cast::<PySet>() {
        set.discard(waiter)?;
    }
    Ok(())
}

fn as_set<'py>(noted: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PySet>> {
    match noted.cast::<PySet>() {
        Ok(set) => Ok(set.clone()),
        Err(_) => PySet::new(noted.py(), [noted]),
    }
}

/// What our own futures cannot hold: `hotloop._await_graph` has a table for futures of others.
#[cold]
fn of_others<'py>(
    py: Python<'py>,
    function: &Bound<'py, pyo3::types::PyString>,
    future: Borrowed<'_, 'py, PyAny>,
    waiter: Borrowed<'_, 'py, PyAny>,
) -> PyResult<()> {
    py.import(intern!(py, "hotloop._await_graph"))?
        .call_method1(function, make::tuple(py, [future, waiter])?)
        .map(drop)
}

/// The task that a callback wakes: ours, or one of asyncio's C half.
fn waiter_of<'py>(callback: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    if let Some(task) = step::of_callback(callback) {
        return Ok(Some(task));
    }
    let py = callback.py();
    // SAFETY: A2; A4: exactly a built-in function, whose definition has a name and lives as long as it does.
    let owner = unsafe {
        if ffi::PyCFunction_CheckExact(callback.as_ptr()) == 0 {
            return Ok(None);
        }
        let function: *mut ffi::PyCFunctionObject = callback.as_ptr().cast();
        let name = CStr::from_ptr((*(*function).m_ml).ml_name);
        if name != c"task_wakeup" || !imports(py)?.is_task((*function).m_self) {
            return Ok(None);
        }
        (*function).m_self
    };
    // SAFETY: A2: the function holds its owner.
    Ok(Some(unsafe { Bound::from_borrowed_ptr(py, owner) }))
}

fn ours<'a, 'py>(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Option<FutureRef<'a, 'py>>> {
    let kind = tables(object.py())?.future_type.as_ptr().cast();
    // SAFETY: A2: comparing types runs no code; T1.
    unsafe {
        Ok((ffi::PyObject_TypeCheck(object.as_ptr(), kind) != 0).then(|| FutureRef::new(object)))
    }
}

/// Whether it is a future of asyncio, or ours: others are passed over.
fn is_future(object: Borrowed<'_, '_, PyAny>) -> PyResult<bool> {
    let py = object.py();
    let asyncio_future = &tables(py)?.await_graph.asyncio_future;
    Ok(ours(object)?.is_some() || object.is_instance(&asyncio_future.bind(py))?)
}

fn two<'a, 'py>(
    arguments: FastArguments<'a, 'py>,
    function: &str,
) -> PyResult<(Borrowed<'a, 'py, PyAny>, Borrowed<'a, 'py, PyAny>)> {
    match (arguments.get(0), arguments.get(1)) {
        (Some(future), Some(waiter)) if arguments.positional_count() == 2 => Ok((future, waiter)),
        _ => Err(PyTypeError::new_err(make::Words(format!(
            "{function}() takes exactly 2 positional arguments ({} given)",
            arguments.positional_count()
        )))),
    }
}
