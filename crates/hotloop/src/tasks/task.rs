//! `hotloop.Task`: making one, cancelling it, and what can be asked of it.

use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::Borrowed;
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;

use crate::python::guard::{boolean, none};
use crate::python::make::{self, Words};
use crate::python::{FastArguments, Ref, call, raw};

use super::attributes::or_none;
use super::future::{alive, initialize, refuse_second};
use super::layout::{State, TaskRef};
use super::{eager, lifetime, schedule, tables};

/// How many tasks got a name of their own accord.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// The arguments of a new task besides its coroutine.
#[derive(Default)]
pub(crate) struct Options<'a, 'py> {
    pub(crate) event_loop: Option<Borrowed<'a, 'py, PyAny>>,
    pub(crate) name: Option<Borrowed<'a, 'py, PyAny>>,
    pub(crate) context: Option<Borrowed<'a, 'py, PyAny>>,
    pub(crate) eager: bool,
}

/// The task of a method that the interpreter called on it.
pub(super) fn receiver<'a, 'py>(slf: Borrowed<'a, 'py, PyAny>) -> TaskRef<'a, 'py> {
    // SAFETY: T1: a method descriptor of `Task` checks the type of `self` before it calls.
    unsafe { TaskRef::new(slf) }
}

/// A new task: `Task(coro, loop=loop, name=name, context=context)`.
pub(crate) fn new_task<'py>(
    py: Python<'py>,
    coroutine: Borrowed<'_, 'py, PyAny>,
    options: &Options<'_, 'py>,
) -> PyResult<Ref> {
    let kind = tables(py)?.task_type.as_ptr().cast();
    // SAFETY: A3 by `from_new`; T1: `kind` is the type made for `TaskObject`, whose memory is zeroed.
    let object = unsafe { Ref::from_new(py, ffi::PyType_GenericAlloc(kind, 0))? };
    // SAFETY: T1, as above.
    let task = unsafe { TaskRef::new(object.bind(py)) };
    start(py, task, coroutine, options)?;
    Ok(object)
}

/// `Task.__init__(coro, *, loop=None, name=None, context=None, eager_start=False)`.
pub(super) fn init<'py>(
    py: Python<'py>,
    slf: Borrowed<'_, 'py, PyAny>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<()> {
    let (coroutine, options) = parse(arguments)?;
    refuse_second(&slf)?;
    start(py, receiver(slf), coroutine, &options)
}

pub(super) fn parse<'a, 'py>(
    arguments: FastArguments<'a, 'py>,
) -> PyResult<(Borrowed<'a, 'py, PyAny>, Options<'a, 'py>)> {
    if arguments.positional_count() > 1 {
        return Err(PyTypeError::new_err(Words(format!(
            "Task() takes exactly 1 positional argument ({} given)",
            arguments.positional_count()
        ))));
    }
    let [coroutine, event_loop, name, context, eager] =
        arguments.named("Task", ["coro", "loop", "name", "context", "eager_start"])?;
    let Some(coroutine) = coroutine else {
        return Err(PyTypeError::new_err(Words(
            "Task() missing required argument 'coro' (pos 1)",
        )));
    };
    let eager = match eager {
        Some(eager) => eager.is_truthy()?,
        None => false,
    };
    let options = Options {
        event_loop,
        name,
        context,
        eager,
    };
    Ok((coroutine, options))
}

fn start<'py>(
    py: Python<'py>,
    task: TaskRef<'_, 'py>,
    coroutine: Borrowed<'_, 'py, PyAny>,
    options: &Options<'_, 'py>,
) -> PyResult<()> {
    if options.eager && cfg!(not(Py_3_12)) {
        return Err(PyTypeError::new_err(Words(
            "a task cannot start eagerly: asyncio knows eager tasks from Python 3.12 on",
        )));
    }
    let before = (task.waits_for.take(), task.registration.take());
    initialize(py, task.as_future(), options.event_loop)?;
    drop(before);
    task.future.is_task.set(true);
    // SAFETY: A2: looking at a type runs no code.
    let is_coroutine = unsafe { ffi::PyCoro_CheckExact(coroutine.as_ptr()) } != 0;
    if !is_coroutine
        && !tables(py)?
            .is_coroutine
            .bind(py)
            .call1((coroutine,))?
            .is_truthy()?
    {
        task.log_destroy_pending.set(false);
        return Err(PyTypeError::new_err(Words(format!(
            "a coroutine was expected, got {}",
            coroutine.repr()?
        ))));
    }
    let context = match given(options.context) {
        Some(context) => {
            refuse_other_than_context(task, context)?;
            (&*context).into()
        }
        None => call::copy_context(py)?,
    };
    drop(task.own_context.replace(Some(context)));
    task.must_cancel.set(false);
    task.log_destroy_pending.set(true);
    task.cancel_requests.set(0);
    drop(task.coroutine.replace(Some((&*coroutine).into())));
    match given(options.name) {
        Some(name) => drop(task.name.replace(Some(name.str()?.into()))),
        None => {
            drop(task.name.take());
            task.number.set(NUMBER.fetch_add(1, Ordering::Relaxed) + 1);
        }
    }
    if options.eager && is_running(py, task)? {
        return eager::start(py, task).inspect_err(|_| {
            if cfg!(Py_3_15) {
                task.log_destroy_pending.set(false);
            }
        });
    }
    schedule::step_soon(py, task)?;
    lifetime::register(py, task)
}

/// From 3.15 on a task asks what its context is (gh-157301).
fn refuse_other_than_context(
    task: TaskRef<'_, '_>,
    context: Borrowed<'_, '_, PyAny>,
) -> PyResult<()> {
    // SAFETY: A2: looking at a type runs no code.
    if cfg!(not(Py_3_15)) || unsafe { ffi::PyContext_CheckExact(context.as_ptr()) } != 0 {
        return Ok(());
    }
    task.log_destroy_pending.set(false);
    let kind = context.get_type().fully_qualified_name()?;
    Err(PyTypeError::new_err(Words(format!(
        "a contextvars.Context was expected, got {kind}"
    ))))
}

fn given<'a, 'py>(value: Option<Borrowed<'a, 'py, PyAny>>) -> Option<Borrowed<'a, 'py, PyAny>> {
    value.filter(|value| !value.is_none())
}

fn is_running(py: Python<'_>, task: TaskRef<'_, '_>) -> PyResult<bool> {
    let event_loop = alive(py, task.as_future())?;
    event_loop
        .bind(py)
        .call_method0(intern!(py, "is_running"))?
        .is_truthy()
}

/// `Task.cancel(msg=None)`: the coroutine gets a CancelledError in its next step.
pub(super) fn cancel<'py>(
    py: Python<'py>,
    slf: Borrowed<'_, 'py, PyAny>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    let task = receiver(slf);
    let [message] = arguments.named("cancel", ["msg"])?;
    let message: Ref = message.map_or_else(|| none(py), |message| (&*message).into());
    task.future.log_traceback.set(false);
    if task.future.state.get() != State::Pending {
        return Ok(boolean(py, false));
    }
    task.cancel_requests
        .set(task.cancel_requests.get().wrapping_add(1));
    if let Some(waits_for) = task.waits_for.get(py)
        && cancel_other(py, &waits_for, &message)?
    {
        return Ok(boolean(py, true));
    }
    task.must_cancel.set(true);
    drop(task.future.cancel_message.replace(Some(message)));
    Ok(boolean(py, true))
}

/// `future.cancel(msg=message)`, whatever kind of future it is.
pub(super) fn cancel_other(py: Python<'_>, future: &Ref, message: &Ref) -> PyResult<bool> {
    let all = [future.as_ptr(), message.as_ptr()];
    let names = &tables(py)?.msg_keyword;
    // SAFETY: A2 by the caller's references; A3 by `from_new`.
    let cancelled = unsafe {
        let name = intern!(py, "cancel").as_ptr();
        Ref::from_new(
            py,
            raw::PyObject_VectorcallMethod(name, all.as_ptr(), 1, names.as_ptr()),
        )?
    };
    cancelled.bind(py).is_truthy()
}

pub(super) fn cancelling<'py>(py: Python<'py>, slf: Borrowed<'_, 'py, PyAny>) -> PyResult<Ref> {
    number(py, receiver(slf).cancel_requests.get())
}

pub(super) fn uncancel<'py>(py: Python<'py>, slf: Borrowed<'_, 'py, PyAny>) -> PyResult<Ref> {
    let task = receiver(slf);
    let requests = task.cancel_requests.get();
    if requests > 0 {
        task.cancel_requests.set(requests - 1);
        if cfg!(Py_3_13) && requests == 1 {
            task.must_cancel.set(false);
        }
    }
    number(py, task.cancel_requests.get())
}

fn number(py: Python<'_>, value: i32) -> PyResult<Ref> {
    Ok(make::number(py, value.into())?.into())
}

pub(super) fn set_result<'py>(
    _: Python<'py>,
    _: Borrowed<'_, 'py, PyAny>,
    _: Borrowed<'_, 'py, PyAny>,
) -> PyResult<Ref> {
    Err(PyRuntimeError::new_err(Words(
        "Task does not support set_result operation",
    )))
}

pub(super) fn set_exception<'py>(
    _: Python<'py>,
    _: Borrowed<'_, 'py, PyAny>,
    _: Borrowed<'_, 'py, PyAny>,
) -> PyResult<Ref> {
    Err(PyRuntimeError::new_err(Words(
        "Task does not support set_exception operation",
    )))
}

pub(super) fn get_coro<'py>(py: Python<'py>, slf: Borrowed<'_, 'py, PyAny>) -> PyResult<Ref> {
    Ok(or_none(py, &receiver(slf).coroutine))
}

pub(super) fn get_context<'py>(py: Python<'py>, slf: Borrowed<'_, 'py, PyAny>) -> PyResult<Ref> {
    Ok(or_none(py, &receiver(slf).own_context))
}

pub(super) fn get_name<'py>(py: Python<'py>, slf: Borrowed<'_, 'py, PyAny>) -> PyResult<Ref> {
    let task = receiver(slf);
    if let Some(name) = task.name.get(py) {
        return Ok(name);
    }
    if task.number.get() == 0 {
        return Ok(none(py));
    }
    let name: Ref = make::string(py, &format!("Task-{}", task.number.get()))?
        .into_any()
        .into();
    drop(task.name.replace(Some(name.clone_ref(py))));
    Ok(name)
}

pub(super) fn set_name<'py>(
    py: Python<'py>,
    slf: Borrowed<'_, 'py, PyAny>,
    name: Borrowed<'_, 'py, PyAny>,
) -> PyResult<Ref> {
    let name: Ref = name.str()?.into_any().into();
    drop(receiver(slf).name.replace(Some(name)));
    Ok(none(py))
}

/// `Task.get_stack(*, limit=None)`, as asyncio finds it.
pub(super) fn get_stack<'py>(
    py: Python<'py>,
    slf: Borrowed<'_, 'py, PyAny>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    keywords_only("get_stack", arguments)?;
    let [limit] = arguments.named("get_stack", ["limit"])?;
    let function = tables(py)?.get_stack.bind(py);
    Ok(function.call1((slf, limit))?.into())
}

/// `Task.print_stack(*, limit=None, file=None)`, as asyncio prints it.
pub(super) fn print_stack<'py>(
    py: Python<'py>,
    slf: Borrowed<'_, 'py, PyAny>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    keywords_only("print_stack", arguments)?;
    let [limit, file] = arguments.named("print_stack", ["limit", "file"])?;
    let function = tables(py)?.print_stack.bind(py);
    Ok(function.call1((slf, limit, file))?.into())
}

fn keywords_only(method: &str, arguments: FastArguments<'_, '_>) -> PyResult<()> {
    match arguments.positional_count() {
        0 => Ok(()),
        count => Err(PyTypeError::new_err(Words(format!(
            "{method}() takes no positional arguments ({count} given)"
        )))),
    }
}
