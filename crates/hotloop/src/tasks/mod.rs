//! `hotloop.Future` and `hotloop.Task`: a third-party implementation of asyncio's futures and tasks.
//!
//! They have the complete interface of the running Python's own, work on any asyncio loop, and mix with others'
//! futures and tasks. On a loop of ours a step stands on the ready queue as itself (`Entry::Task`), without a handle
//! and without a call of a Python method; a future wakes the one task that waits for it in the same way.
//!
//! # Rules (beside A1–A8 of [`crate::python`])
//!
//! - **T1 layout.** Every instance of `Future`, of `Task` and of any subclass begins with a [`FutureObject`], every
//!   instance of `Task` and its subclasses with a [`TaskObject`]. New memory is zeroed, which is a valid state of both.
//! - **T2 cells.** A field changes through its cell alone; what it held is dropped after it has its new value. No
//!   exclusive reference to a struct is ever made.
//! - **T3 loops.** `native_loop` is set only together with `event_loop`, if that is a `Loop` of ours.
//! - **T4 waiter.** While `waited_for` is set, `callback` is a task of ours, whose `waits_for` is this future, and
//!   there is no `context`.
//! - **T5 finalizers.** `subtype_dealloc` finalizes instances of Python subclasses before it calls our
//!   `tp_dealloc`; instances of exactly our types we finalize ourselves, if there is anything to report.
//! - **T6 current task.** After a step that did not end the task, a loop of ours leaves it marked as the current one
//!   and remembers that (`Loop::still_current`): if the next thing that runs is a step too, the mark changes hands
//!   instead of being taken away and set again. Before anything else that could run Python code, the task is left. A
//!   task that nobody else refers to is left at once: it would be freed while the next one is current. So is one whose
//!   step ends with the last reference to the future that it waited for, unless nothing in that can have a finalizer.
//!
//! [`FutureObject`]: layout::FutureObject
//! [`TaskObject`]: layout::TaskObject

mod attributes;
#[cfg(Py_3_14)]
mod await_graph;
mod callbacks;
mod docs;
mod eager;
mod factory;
mod future;
mod iterator;
mod layout;
mod lifetime;
mod reports;
mod schedule;
mod step;
mod task;
mod types;

use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::Borrowed;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};

use crate::imports::imports;
use crate::python::Ref;

pub(crate) use future::new_future;
pub(crate) use step::{as_call, leave, of_callback, run};
pub(crate) use task::{Options, new_task};

use layout::FutureRef;
use lifetime::Lifetime;

/// The types, and what they take from the running Python.
pub(crate) struct Tables {
    pub(crate) future_type: Py<PyType>,
    pub(crate) task_type: Py<PyType>,
    iterator_type: Py<PyType>,
    pub(crate) task_factory: Ref,
    pub(crate) eager_task_factory: Ref,
    lifetime: Lifetime,
    #[cfg(Py_3_14)]
    await_graph: await_graph::AwaitGraph,
    step_method: Definition,
    wakeup_method: Definition,
    /// `("context",)` and `("msg",)`.
    context_keyword: Ref,
    msg_keyword: Ref,
    cancelled_error: Ref,
    invalid_state_error: Ref,
    /// Whether a StopIteration that is set as an exception is wrapped, not refused.
    wraps_stop_iteration: bool,
    /// `asyncio.coroutines.iscoroutine`.
    is_coroutine: Ref,
    /// `asyncio.events._get_event_loop` where there is one, else `get_event_loop`.
    get_event_loop: Ref,
    /// `traceback.extract_stack`.
    extract_stack: Ref,
    /// Of `asyncio.base_futures` and `asyncio.base_tasks`.
    future_repr: Ref,
    task_repr: Ref,
    get_stack: Ref,
    print_stack: Ref,
}

#[cfg(Py_3_14)]
impl Tables {
    /// `future_add_to_awaited_by` and `future_discard_from_awaited_by` for our futures and others.
    pub(crate) fn await_graph_functions(&self) -> [&Ref; 2] {
        [&self.await_graph.add, &self.await_graph.discard]
    }
}

/// The description of a method, which lives for ever.
struct Definition(*mut ffi::PyMethodDef);

// SAFETY: A1: only read, by threads that hold the interpreter.
unsafe impl Send for Definition {}
// SAFETY: as above.
unsafe impl Sync for Definition {}

impl Definition {
    fn new(definition: ffi::PyMethodDef) -> Self {
        Self(Box::leak(Box::new(definition)))
    }
}

impl Tables {
    pub(crate) fn load(py: Python<'_>) -> PyResult<Self> {
        let get = |module: &str, name: &str| -> PyResult<Ref> {
            Ok(py.import(module)?.getattr(name)?.into())
        };
        let future_type = types::make_future(py)?;
        let task_type = types::make_task(&future_type)?;
        EXACT[0].store(future_type.as_type_ptr(), Ordering::Relaxed);
        EXACT[1].store(task_type.as_type_ptr(), Ordering::Relaxed);
        let events = py.import("asyncio.events")?;
        let get_event_loop = match events.getattr_opt("_get_event_loop")? {
            Some(function) => function,
            None => events.getattr("get_event_loop")?,
        };
        Ok(Self {
            future_type: future_type.unbind(),
            task_type: task_type.unbind(),
            iterator_type: iterator::make_type(py)?.unbind(),
            task_factory: factory::make(py)?,
            eager_task_factory: factory::make_eager(py)?,
            lifetime: Lifetime::load(py)?,
            #[cfg(Py_3_14)]
            await_graph: await_graph::AwaitGraph::load(py)?,
            step_method: Definition::new(types::step_definition()),
            wakeup_method: Definition::new(types::wakeup_definition()),
            context_keyword: PyTuple::new(py, ["context"])?.into_any().into(),
            msg_keyword: PyTuple::new(py, ["msg"])?.into_any().into(),
            cancelled_error: get("asyncio.exceptions", "CancelledError")?,
            invalid_state_error: get("asyncio.exceptions", "InvalidStateError")?,
            wraps_stop_iteration: future::wraps_stop_iteration(py)?,
            is_coroutine: get("asyncio.coroutines", "iscoroutine")?,
            get_event_loop: get_event_loop.into(),
            extract_stack: get("traceback", "extract_stack")?,
            future_repr: get("asyncio.base_futures", "_future_repr")?,
            task_repr: get("asyncio.base_tasks", "_task_repr")?,
            get_stack: get("asyncio.base_tasks", "_task_get_stack")?,
            print_stack: get("asyncio.base_tasks", "_task_print_stack")?,
        })
    }
}

/// `Future` and `Task`; kept for ever by the tables.
static EXACT: [AtomicPtr<ffi::PyTypeObject>; 2] =
    [const { AtomicPtr::new(std::ptr::null_mut()) }; 2];

/// Whether the object's type is exactly `Future` or `Task`.
///
/// # Safety
/// The object is alive (A2).
#[inline]
unsafe fn is_exact(object: *mut ffi::PyObject) -> bool {
    // SAFETY: by the caller.
    let kind = unsafe { ffi::Py_TYPE(object) };
    EXACT
        .iter()
        .any(|exact| exact.load(Ordering::Relaxed) == kind)
}

/// The object as a future, if its type is exactly one of ours: nothing in it is overridden.
#[inline]
fn exact_future<'a, 'py>(object: Borrowed<'a, 'py, PyAny>) -> Option<FutureRef<'a, 'py>> {
    // SAFETY: A2 by the borrow; T1.
    unsafe { is_exact(object.as_ptr()).then(|| FutureRef::new(object)) }
}

fn tables(py: Python<'_>) -> PyResult<&'static Tables> {
    Ok(&imports(py)?.tasks)
}
