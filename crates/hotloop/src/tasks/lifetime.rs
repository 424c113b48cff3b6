//! The calls by which asyncio knows a task: `_register_task`, `_enter_task` and their counterparts.
//!
//! asyncio's documents for third-party task implementations name the moments: a task is registered by its
//! constructor and unregistered when it is about to finish; it is the current one just before `send` or `throw`, and
//! no longer just after.
//!
//! CPython facts: up to 3.13 the current tasks are a dict `{loop: task}` that asyncio exports; from 3.14 on the
//! current task is in the thread's state and only the functions reach it. Tasks that are not asyncio's own are in a
//! `WeakSet`, up to 3.13 one that is exported, whose methods are Python code: what they do is done here on the set inside. Where
//! something is not as described here, the functions are called.

use pyo3::Borrowed;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PySet};

use crate::python::{Ref, raw};

use super::layout::TaskRef;
use super::tables;

/// What `asyncio.tasks` offers to task implementations.
pub(super) struct Lifetime {
    register_task: Ref,
    unregister_task: Ref,
    enter_task: Ref,
    leave_task: Ref,
    eager: Option<Eager>,
    /// Up to 3.13: the dict of current tasks.
    current_tasks: Option<Ref>,
    scheduled: Option<Scheduled>,
}

struct Eager {
    register: Ref,
    unregister: Ref,
    swap: Ref,
}

/// The inside of a `WeakSet`: the set of weak references, and the callback that each of them has.
struct Scheduled {
    references: Ref,
    remove: Ref,
    /// What waits to be removed because somebody iterates; gone in later versions.
    pending: Option<Ref>,
}

impl Lifetime {
    pub(super) fn load(py: Python<'_>) -> PyResult<Self> {
        let tasks = py.import("asyncio.tasks")?;
        let function = |name: &str| -> PyResult<Ref> { Ok(tasks.getattr(name)?.into()) };
        let eager = if tasks.hasattr("_swap_current_task")? {
            Some(Eager {
                register: function("_register_eager_task")?,
                unregister: function("_unregister_eager_task")?,
                swap: function("_swap_current_task")?,
            })
        } else {
            None
        };
        let current_tasks = if cfg!(Py_3_14) {
            None
        } else {
            let current = tasks.getattr_opt("_current_tasks")?;
            current
                .filter(|current| current.is_exact_instance_of::<PyDict>())
                .map(Ref::from)
        };
        Ok(Self {
            register_task: function("_register_task")?,
            unregister_task: function("_unregister_task")?,
            enter_task: function("_enter_task")?,
            leave_task: function("_leave_task")?,
            eager,
            current_tasks,
            scheduled: Scheduled::load(py)?,
        })
    }
}

impl Scheduled {
    fn load(py: Python<'_>) -> PyResult<Option<Self>> {
        if cfg!(Py_3_14) {
            return Ok(None); // a set of `_asyncio`'s own, not the one that `asyncio.tasks` shows
        }
        let tasks = py.import("asyncio.tasks")?;
        let set = match tasks.getattr_opt("_scheduled_tasks")? {
            Some(set) => set,
            None => match tasks.getattr_opt("_all_tasks")? {
                Some(set) => set,
                None => return Ok(None),
            },
        };
        let kind = py.import("weakref")?.getattr("WeakSet")?;
        let references = set.getattr_opt("data")?;
        let references = references.filter(|data| data.is_exact_instance_of::<PySet>());
        let (Some(references), Some(remove), true) = (
            references,
            set.getattr_opt("_remove")?,
            set.get_type().is(&kind),
        ) else {
            return Ok(None);
        };
        let pending = set.getattr_opt("_pending_removals")?;
        if pending
            .as_ref()
            .is_some_and(|pending| !pending.is_exact_instance_of::<PyList>())
        {
            return Ok(None);
        }
        Ok(Some(Self {
            references: references.into(),
            remove: remove.into(),
            pending: pending.map(Ref::from),
        }))
    }

    fn has_pending_removals(&self) -> bool {
        // SAFETY: A1, A2: exactly a list.
        self.pending
            .as_ref()
            .is_some_and(|pending| unsafe { ffi::PyList_GET_SIZE(pending.as_ptr()) } > 0)
    }
}

/// Makes a task visible to `asyncio.all_tasks()`.
pub(super) fn register(py: Python<'_>, task: TaskRef<'_, '_>) -> PyResult<()> {
    let lifetime = &tables(py)?.lifetime;
    let Some(scheduled) = lifetime
        .scheduled
        .as_ref()
        .filter(|scheduled| !scheduled.has_pending_removals())
    else {
        task.registered_by_call.set(true);
        return call_with(py, &lifetime.register_task, &[task.object()]);
    };
    // SAFETY: A2: task, callback and set are held; A3: both results are looked at.
    unsafe {
        let reference = Ref::from_new(
            py,
            ffi::PyWeakref_NewRef(task.object().as_ptr(), scheduled.remove.as_ptr()),
        )?;
        if ffi::PySet_Add(scheduled.references.as_ptr(), reference.as_ptr()) < 0 {
            return Err(PyErr::fetch(py));
        }
        drop(task.registration.replace(Some(reference)));
    }
    Ok(())
}

/// The task is about to finish.
pub(super) fn unregister(py: Python<'_>, task: TaskRef<'_, '_>) -> PyResult<()> {
    let lifetime = &tables(py)?.lifetime;
    let Some(reference) = task.registration.take() else {
        return if task.registered_by_call.replace(false) {
            call_with(py, &lifetime.unregister_task, &[task.object()])
        } else {
            Ok(()) // an eager task that was never registered
        };
    };
    let Some(scheduled) = &lifetime.scheduled else {
        return Ok(());
    };
    // SAFETY: A2; A3: the result is looked at.
    unsafe {
        if ffi::PySet_Discard(scheduled.references.as_ptr(), reference.as_ptr()) < 0 {
            return Err(PyErr::fetch(py));
        }
    }
    Ok(())
}

/// Makes a task the current one of its loop.
///
/// # Errors
/// `RuntimeError` if another task of the loop runs.
pub(super) fn enter(py: Python<'_>, event_loop: &Ref, task: TaskRef<'_, '_>) -> PyResult<()> {
    let lifetime = &tables(py)?.lifetime;
    let object = task.object();
    let Some(current) = lifetime
        .current_tasks
        .as_ref()
        .filter(|_| !task.running.get())
    else {
        call_with(py, &lifetime.enter_task, &[event_loop.bind(py), object])?;
        task.running.set(true);
        return Ok(());
    };
    // SAFETY: A2: all are held; A3: null means an exception; the result is borrowed and only compared.
    let now =
        unsafe { ffi::PyDict_SetDefault(current.as_ptr(), event_loop.as_ptr(), object.as_ptr()) };
    if now.is_null() {
        return Err(PyErr::fetch(py));
    }
    if now != object.as_ptr() {
        // It raises, in asyncio's words.
        return call_with(py, &lifetime.enter_task, &[event_loop.bind(py), object]);
    }
    task.running.set(true);
    Ok(())
}

/// Makes a task the current one in the place of another, or of itself (T6).
pub(super) fn take_over(
    py: Python<'_>,
    event_loop: &Ref,
    previous: &Ref,
    task: TaskRef<'_, '_>,
) -> PyResult<()> {
    let object = task.object().as_ptr();
    if previous.as_ptr() != object
        && let Some(current) = &tables(py)?.lifetime.current_tasks
    {
        // SAFETY: A2: all are held, the previous task, too; A3: the result is looked at.
        let failed =
            unsafe { ffi::PyDict_SetItem(current.as_ptr(), event_loop.as_ptr(), object) } < 0;
        if failed {
            return Err(PyErr::fetch(py));
        }
    }
    task.running.set(true);
    Ok(())
}

/// Whether a task that is the current one may stay so until the next step (T6); it is no longer running.
pub(super) fn stays(py: Python<'_>, event_loop: &Ref, task: TaskRef<'_, '_>) -> PyResult<bool> {
    let Some(current) = &tables(py)?.lifetime.current_tasks else {
        return Ok(false); // the functions of 3.14 cost less than this does
    };
    // SAFETY: A2; A3: null without an exception means that there is none.
    let now = unsafe { ffi::PyDict_GetItemWithError(current.as_ptr(), event_loop.as_ptr()) };
    if now.is_null()
        && let Some(error) = PyErr::take(py)
    {
        return Err(error);
    }
    let stays = now == task.object().as_ptr();
    if stays {
        task.running.set(false);
    }
    Ok(stays)
}

/// The loop has no current task any more, after [`stays`] has found that its task is the current one.
pub(super) fn leave_at_last(py: Python<'_>, event_loop: &Ref) -> PyResult<()> {
    let Some(current) = &tables(py)?.lifetime.current_tasks else {
        return Ok(()); // `stays` does not let it come to this
    };
    // SAFETY: A2: both are held; A3: the result is looked at.
    if unsafe { ffi::PyDict_DelItem(current.as_ptr(), event_loop.as_ptr()) } < 0 {
        return Err(PyErr::fetch(py));
    }
    Ok(())
}

/// The loop has no current task any more.
///
/// # Errors
/// `RuntimeError` if the current task is another one.
pub(super) fn leave(py: Python<'_>, event_loop: &Ref, task: TaskRef<'_, '_>) -> PyResult<()> {
    task.running.set(false);
    let lifetime = &tables(py)?.lifetime;
    let object = task.object();
    if let Some(current) = &lifetime.current_tasks {
        // SAFETY: A2: all are held; A3: the results are looked at; what is found is only compared.
        unsafe {
            let now = ffi::PyDict_GetItemWithError(current.as_ptr(), event_loop.as_ptr());
            if now == object.as_ptr() {
                if ffi::PyDict_DelItem(current.as_ptr(), event_loop.as_ptr()) < 0 {
                    return Err(PyErr::fetch(py));
                }
                return Ok(());
            }
            if now.is_null() && !ffi::PyErr_Occurred().is_null() {
                return Err(PyErr::fetch(py));
            }
        }
    }
    call_with(py, &lifetime.leave_task, &[event_loop.bind(py), object])
}

/// Puts a task, or None, in the place of the current one, which is returned.
pub(super) fn swap_current(
    py: Python<'_>,
    event_loop: &Ref,
    task: Borrowed<'_, '_, PyAny>,
) -> PyResult<Ref> {
    let lifetime = &tables(py)?.lifetime;
    match &lifetime.eager {
        Some(eager) => {
            let arguments = [event_loop.as_ptr(), task.as_ptr()];
            // SAFETY: A2: both are held; A3 by `from_new`.
            unsafe {
                Ref::from_new(
                    py,
                    raw::PyObject_Vectorcall(
                        eager.swap.as_ptr(),
                        arguments.as_ptr(),
                        2,
                        std::ptr::null_mut(),
                    ),
                )
            }
        }
        None => Ok(crate::python::guard::none(py)),
    }
}

pub(super) fn register_eager(py: Python<'_>, task: TaskRef<'_, '_>) -> PyResult<()> {
    match &tables(py)?.lifetime.eager {
        Some(eager) => call_with(py, &eager.register, &[task.object()]),
        None => Ok(()),
    }
}

pub(super) fn unregister_eager(py: Python<'_>, task: TaskRef<'_, '_>) -> PyResult<()> {
    match &tables(py)?.lifetime.eager {
        Some(eager) => call_with(py, &eager.unregister, &[task.object()]),
        None => Ok(()),
    }
}

fn call_with(
    py: Python<'_>,
    function: &Ref,
    arguments: &[Borrowed<'_, '_, PyAny>],
) -> PyResult<()> {
    let mut all = [std::ptr::null_mut(); 2];
    for (place, argument) in all.iter_mut().zip(arguments) {
        *place = argument.as_ptr();
    }
    // SAFETY: A2: the caller holds the arguments; A3 by `from_new`.
    unsafe {
        Ref::from_new(
            py,
            raw::PyObject_Vectorcall(
                function.as_ptr(),
                all.as_ptr(),
                arguments.len(),
                std::ptr::null_mut(),
            ),
        )?;
    }
    Ok(())
}
