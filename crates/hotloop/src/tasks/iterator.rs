//! What `await future` iterates over: it gives the future once, and then its result.
//!
//! CPython facts: 3.11 drives it with `am_send`, 3.12 and later with `tp_iternext` when nothing is sent, where null
//! without an exception means that the result is None.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use pyo3::exceptions::{PyDeprecationWarning, PyRuntimeError, PyStopIteration, PyTypeError};
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};
use pyo3::{Borrowed, PyTypeInfo};

use crate::handles::nesting;
use crate::python::guard::{guard, none};
use crate::python::heap_type::{HeapType, method_fast, method_noargs, method_one};
use crate::python::make::Words;
use crate::python::{FastArguments, Ref, RefSlot};

use super::future::value_of;
use super::layout::{FutureRef, State, visit_slot};
use super::tables;

/// The iterator of one `await`.
#[repr(C)]
struct IteratorObject {
    head: PyObject,
    /// Empty when it has given the result.
    future: RefSlot,
}

/// Makes the type.
pub(super) fn make_type(py: Python<'_>) -> PyResult<Bound<'_, PyType>> {
    let base = py.get_type::<PyAny>();
    HeapType {
        name: c"hotloop._core.FutureIter",
        size: size_of::<IteratorObject>(),
        flags: ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION | ffi::Py_TPFLAGS_IMMUTABLETYPE,
        slots: vec![
            (ffi::Py_tp_dealloc, dealloc as ffi::destructor as *mut c_void),
            (
                ffi::Py_tp_traverse,
                traverse as ffi::traverseproc as *mut c_void,
            ),
            (ffi::Py_tp_clear, clear as ffi::inquiry as *mut c_void),
            (
                ffi::Py_tp_iter,
                ffi::PyObject_SelfIter as ffi::getiterfunc as *mut c_void,
            ),
            (
                ffi::Py_tp_iternext,
                next as ffi::iternextfunc as *mut c_void,
            ),
            (ffi::Py_am_send, send_slot as ffi::sendfunc as *mut c_void),
        ],
        methods: vec![
            method_one!(
                c"send",
                c"send($self, value, /)\n--\n\nGive the future, or raise StopIteration with its result.",
                send
            ),
            method_fast!(
                c"throw",
                c"throw($self, type, value=None, traceback=None, /)\n--\n\nRaise the exception; the future is let go.",
                throw
            ),
            method_noargs!(c"close", c"close($self, /)\n--\n\nLet the future go.", close),
        ],
        getters: vec![],
        members: vec![],
    }
    .build(&base)
}

/// `Future.__await__` and `__iter__`.
pub(super) unsafe extern "C" fn iterate(slf: *mut PyObject) -> *mut PyObject {
    // SAFETY: A1, A6, T1: the interpreter calls a slot of our type.
    unsafe {
        guard(|py| {
            let future = FutureRef::new(Borrowed::from_ptr(py, slf));
            if !future.event_loop.is_some() {
                return Err(PyRuntimeError::new_err(Words(
                    "Future object is not initialized.",
                )));
            }
            let kind = tables(py)?.iterator_type.as_ptr().cast();
            let object = allocate(py, kind)?;
            let fields: *const IteratorObject = object.as_ptr().cast();
            drop((*fields).future.replace(Some(Ref::from_borrowed(slf))));
            Ok(object.into_ptr())
        })
    }
}

/// How many freed iterators are kept: every await makes one, and few are alive at a time.
const KEPT: usize = 64;

/// Freed iterators, for the next await. The interpreter's lock guards the list: each is untracked, without references.
static FREE: [AtomicPtr<PyObject>; KEPT] = [const { AtomicPtr::new(std::ptr::null_mut()) }; KEPT];
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Memory for an iterator, tracked, its place empty.
///
/// # Safety
/// `kind` is the type made for `IteratorObject` (T1).
unsafe fn allocate(py: Python<'_>, kind: *mut ffi::PyTypeObject) -> PyResult<Ref> {
    let count = COUNT.load(Ordering::Relaxed);
    // SAFETY: by the caller; what is kept is memory of a freed iterator, which `PyObject_Init` makes an object again.
    unsafe {
        if count == 0 {
            return Ref::from_new(py, ffi::PyType_GenericAlloc(kind, 0));
        }
        COUNT.store(count - 1, Ordering::Relaxed);
        let free = FREE[count - 1].load(Ordering::Relaxed);
        let object = Ref::from_new(py, ffi::PyObject_Init(free, kind))?;
        ffi::PyObject_GC_Track(object.as_ptr().cast());
        Ok(object)
    }
}

enum Step {
    Waits(Ref),
    Ended(Ref),
}

/// One step of the await; `None` after the end.
fn advance(py: Python<'_>, iterator: &IteratorObject) -> PyResult<Option<Step>> {
    let Some(future) = iterator.future.take() else {
        return Ok(None);
    };
    // SAFETY: T1: only `iterate` fills the place, with a future.
    let fields = unsafe { FutureRef::new(future.bind(py)) };
    if fields.state.get() != State::Pending {
        return Ok(Some(Step::Ended(value_of(py, fields)?)));
    }
    drop(iterator.future.replace(Some(future.clone_ref(py))));
    if fields.blocking.replace(true) {
        return Err(PyRuntimeError::new_err(Words(
            "await wasn't used with future",
        )));
    }
    Ok(Some(Step::Waits(future)))
}

unsafe extern "C" fn send_slot(
    slf: *mut PyObject,
    _: *mut PyObject,
    result: *mut *mut PyObject,
) -> ffi::PySendResult {
    // SAFETY: A1, A6, T1: the interpreter calls a slot of our type and takes what is written to `result`.
    unsafe {
        let mut status = ffi::PySendResult::PYGEN_ERROR;
        *result = guard(|py| {
            Ok(match advance(py, &*slf.cast())? {
                Some(Step::Waits(future)) => {
                    status = ffi::PySendResult::PYGEN_NEXT;
                    future.into_ptr()
                }
                Some(Step::Ended(value)) => {
                    status = ffi::PySendResult::PYGEN_RETURN;
                    value.into_ptr()
                }
                None => return Err(PyStopIteration::new_err(())),
            })
        });
        status
    }
}

unsafe extern "C" fn next(slf: *mut PyObject) -> *mut PyObject {
    // SAFETY: A1, A6, T1, as above. Null without an exception ends an iteration with None.
    unsafe {
        guard(|py| {
            Ok(match advance(py, &*slf.cast())? {
                Some(Step::Waits(future)) => future.into_ptr(),
                Some(Step::Ended(value)) => {
                    if value.as_ptr() != ffi::Py_None() {
                        set_stop(py, &value)?;
                    }
                    std::ptr::null_mut()
                }
                None => std::ptr::null_mut(),
            })
        })
    }
}

/// Sets `StopIteration(value)`, also for a value that `raise` would take apart.
fn set_stop(py: Python<'_>, value: &Ref) -> PyResult<()> {
    let class = PyStopIteration::type_object(py);
    // SAFETY: A1, A2; the caller returns to the interpreter, or takes what is set, at once (A3).
    unsafe {
        let special = ffi::PyTuple_Check(value.as_ptr()) != 0
            || ffi::PyExceptionInstance_Check(value.as_ptr()) != 0;
        if special {
            let stop = class.call1((value.bind(py),))?;
            ffi::PyErr_SetObject(class.as_ptr(), stop.as_ptr());
        } else {
            ffi::PyErr_SetObject(class.as_ptr(), value.as_ptr());
        }
    }
    Ok(())
}

fn receiver<'a>(slf: Borrowed<'a, '_, PyAny>) -> &'a IteratorObject {
    // SAFETY: T1: a method descriptor checks the type of `self`.
    unsafe { &*slf.as_ptr().cast() }
}

fn send<'py>(
    py: Python<'py>,
    slf: Borrowed<'_, 'py, PyAny>,
    _value: Borrowed<'_, 'py, PyAny>,
) -> PyResult<Ref> {
    match advance(py, receiver(slf))? {
        Some(Step::Waits(future)) => Ok(future),
        Some(Step::Ended(value)) => {
            set_stop(py, &value)?;
            Err(PyErr::fetch(py))
        }
        None => Err(PyStopIteration::new_err(())),
    }
}

fn close<'py>(py: Python<'py>, slf: Borrowed<'_, 'py, PyAny>) -> PyResult<Ref> {
    drop(receiver(slf).future.take());
    Ok(none(py))
}

/// `throw(type, value=None, traceback=None)`, or with an instance alone.
fn throw<'py>(
    py: Python<'py>,
    slf: Borrowed<'_, 'py, PyAny>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    let count = arguments.positional_count();
    if arguments.keyword_count() > 0 {
        return Err(PyTypeError::new_err(Words(
            "throw() takes no keyword arguments",
        )));
    }
    let Some(kind) = arguments.get(0).filter(|_| count <= 3) else {
        let expected = if count == 0 {
            "at least 1 argument"
        } else {
            "at most 3 arguments"
        };
        return Err(PyTypeError::new_err(Words(format!(
            "throw expected {expected}, got {count}"
        ))));
    };
    if cfg!(Py_3_12) && count > 1 {
        PyErr::warn(
            py,
            &py.get_type::<PyDeprecationWarning>(),
            c"the (type, exc, tb) signature of throw() is deprecated, use the single-arg signature instead.",
            1,
        )?;
    }
    let given = |index| arguments.get(index).filter(|value| !value.is_none());
    let traceback = given(2);
    // SAFETY: A2: the caller holds the arguments; A3: what is set is taken at once.
    unsafe {
        if traceback.is_some_and(|traceback| ffi::PyTraceBack_Check(traceback.as_ptr()) == 0) {
            return Err(PyTypeError::new_err(Words(
                "throw() third argument must be a traceback",
            )));
        }
        let exception: Ref = if ffi::PyExceptionClass_Check(kind.as_ptr()) != 0 {
            match given(1) {
                Some(value) if value.is_instance(&kind)? => (&*value).into(),
                Some(value) => match value.cast::<PyTuple>() {
                    Ok(values) => kind.call1(values.to_owned())?.into(),
                    Err(_) => kind.call1((value,))?.into(),
                },
                None => kind.call0()?.into(),
            }
        } else if ffi::PyExceptionInstance_Check(kind.as_ptr()) != 0 {
            if given(1).is_some() {
                return Err(PyTypeError::new_err(Words(
                    "instance exception may not have a separate value",
                )));
            }
            (&*kind).into()
        } else {
            return Err(PyTypeError::new_err(Words(
                "exceptions must be classes deriving BaseException or instances of such a class",
            )));
        };
        if ffi::PyExceptionInstance_Check(exception.as_ptr()) == 0 {
            // The class has a `__new__` of its own: the interpreter's words for it.
            return Err(PyTypeError::new_err(Words(format!(
                "calling {} should have returned an instance of BaseException, not {}",
                kind.repr()?,
                exception.bind(py).get_type().repr()?,
            ))));
        }
        drop(receiver(slf).future.take());
        if let Some(traceback) = traceback
            && ffi::PyException_SetTraceback(exception.as_ptr(), traceback.as_ptr()) < 0
        {
            return Err(PyErr::fetch(py));
        }
        Err(PyErr::from_value(exception.into_bound(py)))
    }
}

unsafe extern "C" fn dealloc(object: *mut PyObject) {
    // SAFETY: A1, T1: the interpreter frees an iterator.
    unsafe { nesting::limited(object, free) }
}

unsafe fn free(object: *mut PyObject) {
    // SAFETY: A1, T1; an instance of a heap type holds a reference to its type.
    unsafe {
        ffi::PyObject_GC_UnTrack(object.cast());
        drop((*object.cast::<IteratorObject>()).future.take());
        let kind = ffi::Py_TYPE(object);
        let count = COUNT.load(Ordering::Relaxed);
        if count < KEPT {
            FREE[count].store(object, Ordering::Relaxed);
            COUNT.store(count + 1, Ordering::Relaxed);
        } else if let Some(free) = (*kind).tp_free {
            free(object.cast());
        }
        ffi::Py_DECREF(kind.cast());
    }
}

unsafe extern "C" fn clear(object: *mut PyObject) -> c_int {
    // SAFETY: A1, T1: the collector clears an iterator.
    unsafe { drop((*object.cast::<IteratorObject>()).future.take()) };
    0
}

unsafe extern "C" fn traverse(
    object: *mut PyObject,
    visit: ffi::visitproc,
    arg: *mut c_void,
) -> c_int {
    // SAFETY: A1, T1: the collector visits an iterator.
    unsafe {
        match visit_slot(&(*object.cast::<IteratorObject>()).future, visit, arg) {
            0 => visit(ffi::Py_TYPE(object).cast(), arg),
            stop => stop,
        }
    }
}
