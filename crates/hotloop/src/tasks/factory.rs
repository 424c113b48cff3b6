//! `hotloop.task_factory` and `hotloop.eager_task_factory`: what `loop.set_task_factory()` takes.

use pyo3::Borrowed;
use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;

use crate::python::heap_type::method_fast;
use crate::python::make;
use crate::python::make::Words;
use crate::python::{FastArguments, Ref};

use super::docs;
use super::task::{Options, new_task};

/// `task_factory`.
pub(super) fn make(py: Python<'_>) -> PyResult<Ref> {
    function(
        py,
        method_fast!(c"task_factory", docs::TASK_FACTORY, task_factory),
    )
}

/// `eager_task_factory`.
pub(super) fn make_eager(py: Python<'_>) -> PyResult<Ref> {
    function(
        py,
        method_fast!(
            c"eager_task_factory",
            docs::EAGER_TASK_FACTORY,
            eager_task_factory
        ),
    )
}

/// A function of the module `hotloop._core`.
pub(super) fn function(py: Python<'_>, definition: ffi::PyMethodDef) -> PyResult<Ref> {
    let definition = Box::leak(Box::new(definition));
    let module = make::string(py, "hotloop._core")?;
    // SAFETY: A2: the definition is leaked; a null `self` is how functions of modules without state are made; A3 by
    // `from_new`.
    unsafe {
        let made = ffi::PyCFunction_NewEx(definition, ffi::Py_None(), module.as_ptr());
        Ref::from_new(py, made)
    }
}

fn task_factory<'py>(
    py: Python<'py>,
    _: Borrowed<'_, 'py, PyAny>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    make_task(py, "task_factory", arguments, false)
}

fn eager_task_factory<'py>(
    py: Python<'py>,
    _: Borrowed<'_, 'py, PyAny>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    make_task(py, "eager_task_factory", arguments, true)
}

fn make_task<'py>(
    py: Python<'py>,
    function: &str,
    arguments: FastArguments<'_, 'py>,
    eager: bool,
) -> PyResult<Ref> {
    if arguments.positional_count() > 2 {
        return Err(PyTypeError::new_err(Words(format!(
            "{function}() takes 2 positional arguments but {} were given",
            arguments.positional_count()
        ))));
    }
    let [event_loop, coroutine, name, context, eager_start] =
        arguments.named(function, ["loop", "coro", "name", "context", "eager_start"])?;
    let (Some(event_loop), Some(coroutine)) = (event_loop, coroutine) else {
        return Err(PyTypeError::new_err(Words(format!(
            "{function}() missing required arguments: 'loop' and 'coro'"
        ))));
    };
    let eager = match eager_start.filter(|eager_start| !eager_start.is_none()) {
        Some(eager_start) => eager_start.is_truthy()?,
        None => eager,
    };
    let options = Options {
        event_loop: Some(event_loop),
        name,
        context,
        eager,
    };
    new_task(py, coroutine, &options)
}
