//! The two types as the interpreter sees them: slots, methods, constructors.

use std::ffi::{CStr, c_int, c_void};

use pyo3::Borrowed;
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};

use crate::python::guard::guard;
use crate::python::heap_type::{HeapType, method_fast, method_noargs, method_one};
use crate::python::{FastArguments, Ref, make};

use super::{attributes, callbacks, docs, future, iterator, layout, step, tables, task};

type Slots = Vec<(c_int, *mut c_void)>;

/// Makes `Future`.
pub(super) fn make_future(py: Python<'_>) -> PyResult<Bound<'_, PyType>> {
    let mut slots = layout::future_slots();
    slots.extend(common_slots());
    slots.push((ffi::Py_tp_init, init_future as ffi::initproc as *mut c_void));
    slots.push((ffi::Py_tp_repr, repr_future as ffi::reprfunc as *mut c_void));
    slots.push((
        ffi::Py_tp_doc,
        attributes::FUTURE_DOC.as_ptr().cast_mut().cast(),
    ));
    let made = HeapType {
        name: c"hotloop._core.Future",
        size: size_of::<layout::FutureObject>(),
        flags: ffi::Py_TPFLAGS_BASETYPE | ffi::Py_TPFLAGS_IMMUTABLETYPE,
        slots,
        methods: future_methods(),
        getters: attributes::of_future(),
        members: layout::members(),
    }
    .build(&py.get_type::<PyAny>())?;
    // SAFETY: A2: the type is new. A subclass does not inherit this, so the type of the call is exactly ours.
    unsafe { (*made.as_type_ptr()).tp_vectorcall = Some(call_future) };
    Ok(made)
}

/// Makes `Task` over `Future`.
pub(super) fn make_task<'py>(base: &Bound<'py, PyType>) -> PyResult<Bound<'py, PyType>> {
    let mut slots = layout::task_slots();
    slots.extend(common_slots());
    slots.push((ffi::Py_tp_init, init_task as ffi::initproc as *mut c_void));
    slots.push((ffi::Py_tp_repr, repr_task as ffi::reprfunc as *mut c_void));
    slots.push((
        ffi::Py_tp_doc,
        attributes::TASK_DOC.as_ptr().cast_mut().cast(),
    ));
    let made = HeapType {
        name: c"hotloop._core.Task",
        size: size_of::<layout::TaskObject>(),
        flags: ffi::Py_TPFLAGS_BASETYPE | ffi::Py_TPFLAGS_IMMUTABLETYPE,
        slots,
        methods: task_methods(),
        getters: attributes::of_task(),
        members: vec![],
    }
    .build(base)?;
    // SAFETY: as above.
    unsafe { (*made.as_type_ptr()).tp_vectorcall = Some(call_task) };
    Ok(made)
}

/// The callable that runs a step, as a method of the task.
pub(super) fn step_definition() -> ffi::PyMethodDef {
    method_fast!(c"task_step", c"Run a step of the task.", step::step_method)
}

/// The callable that wakes the task.
pub(super) fn wakeup_definition() -> ffi::PyMethodDef {
    method_one!(
        c"task_wakeup",
        c"Run a step of the task with the outcome of a future.",
        step::wakeup_method
    )
}

fn common_slots() -> Slots {
    vec![
        (
            ffi::Py_tp_new,
            ffi::PyType_GenericNew as ffi::newfunc as *mut c_void,
        ),
        (
            ffi::Py_tp_iter,
            iterator::iterate as ffi::getiterfunc as *mut c_void,
        ),
        (
            ffi::Py_am_await,
            iterator::iterate as ffi::unaryfunc as *mut c_void,
        ),
    ]
}

fn future_methods() -> Vec<ffi::PyMethodDef> {
    vec![
        method_noargs!(
            c"result",
            docs::RESULT,
            future::result
        ),
        method_noargs!(
            c"exception",
            docs::EXCEPTION,
            future::exception
        ),
        method_one!(
            c"set_result",
            docs::SET_RESULT,
            future::set_result
        ),
        method_one!(
            c"set_exception",
            docs::SET_EXCEPTION,
            future::set_exception
        ),
        method_fast!(
            c"add_done_callback",
            docs::ADD_DONE_CALLBACK,
            callbacks::add_done_callback
        ),
        method_one!(
            c"remove_done_callback",
            docs::REMOVE_DONE_CALLBACK,
            callbacks::remove_done_callback
        ),
        method_fast!(
            c"cancel",
            docs::CANCEL,
            future::cancel
        ),
        method_noargs!(
            c"cancelled",
            docs::CANCELLED,
            future::cancelled
        ),
        method_noargs!(
            c"done",
            docs::DONE,
            future::done
        ),
        method_noargs!(
            c"get_loop",
            docs::GET_LOOP,
            future::get_loop
        ),
        method_noargs!(
            c"_make_cancelled_error",
            c"_make_cancelled_error($self, /)\n--\n\nReturn the CancelledError to raise; once, the one that ended the task.",
            future::make_cancelled_error
        ),
        generic_alias(),
    ]
}

fn task_methods() -> Vec<ffi::PyMethodDef> {
    vec![
        method_one!(c"set_result", docs::TASK_SET_RESULT, task::set_result),
        method_one!(
            c"set_exception",
            docs::TASK_SET_EXCEPTION,
            task::set_exception
        ),
        method_fast!(c"cancel", docs::TASK_CANCEL, task::cancel),
        method_noargs!(c"cancelling", docs::CANCELLING, task::cancelling),
        method_noargs!(c"uncancel", docs::UNCANCEL, task::uncancel),
        method_fast!(c"get_stack", docs::GET_STACK, task::get_stack),
        method_fast!(c"print_stack", docs::PRINT_STACK, task::print_stack),
        method_noargs!(c"get_coro", docs::GET_CORO, task::get_coro),
        method_noargs!(c"get_name", docs::GET_NAME, task::get_name),
        method_one!(c"set_name", docs::SET_NAME, task::set_name),
        method_noargs!(c"get_context", docs::GET_CONTEXT, task::get_context),
        generic_alias(),
    ]
}

/// `Future[int]` (PEP 585).
fn generic_alias() -> ffi::PyMethodDef {
    const DOC: &CStr = c"See PEP 585";
    ffi::PyMethodDef {
        ml_name: c"__class_getitem__".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer {
            PyCFunction: ffi::Py_GenericAlias,
        },
        ml_flags: ffi::METH_O | ffi::METH_CLASS,
        ml_doc: DOC.as_ptr(),
    }
}

unsafe extern "C" fn repr_future(slf: *mut PyObject) -> *mut PyObject {
    // SAFETY: A1, A6: a slot that the interpreter calls; A3 by `from_new`.
    unsafe {
        guard(|py| {
            let function = tables(py)?.future_repr.as_ptr();
            Ok(Ref::from_new(py, ffi::PyObject_CallOneArg(function, slf))?.into_ptr())
        })
    }
}

unsafe extern "C" fn repr_task(slf: *mut PyObject) -> *mut PyObject {
    // SAFETY: as above.
    unsafe {
        guard(|py| {
            let function = tables(py)?.task_repr.as_ptr();
            Ok(Ref::from_new(py, ffi::PyObject_CallOneArg(function, slf))?.into_ptr())
        })
    }
}

unsafe extern "C" fn init_future(
    slf: *mut PyObject,
    args: *mut PyObject,
    named: *mut PyObject,
) -> c_int {
    // SAFETY: A1, A2, A6: the interpreter holds the three during the call.
    unsafe {
        guard(|py| {
            let slf = Borrowed::from_ptr(py, slf);
            with_arguments(py, args, named, |arguments| {
                future::init(py, slf, arguments)
            })
        })
    }
}

unsafe extern "C" fn init_task(
    slf: *mut PyObject,
    args: *mut PyObject,
    named: *mut PyObject,
) -> c_int {
    // SAFETY: as above.
    unsafe {
        guard(|py| {
            let slf = Borrowed::from_ptr(py, slf);
            with_arguments(py, args, named, |arguments| task::init(py, slf, arguments))
        })
    }
}

/// The tuple and the dict of `__init__` in the form of a fastcall.
unsafe fn with_arguments(
    py: Python<'_>,
    args: *mut PyObject,
    named: *mut PyObject,
    body: impl FnOnce(FastArguments<'_, '_>) -> PyResult<()>,
) -> PyResult<c_int> {
    // SAFETY: A2 by the callers: a tuple, and a dict or null, held during the call.
    unsafe {
        let args = Borrowed::from_ptr(py, args).cast_unchecked::<PyTuple>();
        let mut all: Vec<*mut PyObject> = args
            .iter_borrowed()
            .map(|argument| argument.as_ptr())
            .collect();
        let positional = all.len() as ffi::Py_ssize_t;
        let mut names = Vec::new();
        let mut values = Vec::new();
        if !named.is_null() {
            let named = Borrowed::from_ptr(py, named).cast_unchecked::<PyDict>();
            for (name, value) in named.iter() {
                names.push(name);
                values.push(value);
            }
        }
        all.extend(values.iter().map(|value| value.as_ptr()));
        let names = make::tuple(py, names)?;
        let arguments = FastArguments::new(py, all.as_ptr(), positional, names.as_ptr());
        body(arguments)?;
        Ok(0)
    }
}

/// `Future(loop=loop)` without a tuple and a dict.
unsafe extern "C" fn call_future(
    kind: *mut PyObject,
    args: *const *mut PyObject,
    count: usize,
    names: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: A1, A2, A6: the interpreter holds type and arguments during the call; T1: `kind` is `Future`.
    unsafe {
        guard(|py| {
            let object = Ref::from_new(py, ffi::PyType_GenericAlloc(kind.cast(), 0))?;
            let arguments = FastArguments::new(py, args, ffi::PyVectorcall_NARGS(count), names);
            future::init(py, object.bind(py), arguments)?;
            Ok(object.into_ptr())
        })
    }
}

/// `Task(coro, loop=loop)` likewise.
unsafe extern "C" fn call_task(
    kind: *mut PyObject,
    args: *const *mut PyObject,
    count: usize,
    names: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: as above; T1: `kind` is `Task`.
    unsafe {
        guard(|py| {
            let object = Ref::from_new(py, ffi::PyType_GenericAlloc(kind.cast(), 0))?;
            let arguments = FastArguments::new(py, args, ffi::PyVectorcall_NARGS(count), names);
            task::init(py, object.bind(py), arguments)?;
            Ok(object.into_ptr())
        })
    }
}
