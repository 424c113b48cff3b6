//! The awaitable that `readline()`, `read()`, `drain()` and their like return.
//!
//! It behaves as a coroutine object does (`send`, `throw`, `close`, a warning if it was never awaited), so that
//! `asyncio.iscoroutine()` says yes and it can be made a task. Nothing happens before it is awaited. If what it needs
//! is there by then, it ends without suspending; else it waits for the reader's future, as asyncio's coroutine does.
//!
//! CPython facts this rests on: the C task and `await` of 3.11 drive an awaitable by `am_send`; `await` from 3.12 on
//! by `tp_iternext`, where null without an exception means that the result is `None` (`Python/bytecodes.c`, SEND;
//! `_PyGen_FetchStopIterationValue`).

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString, c_int, c_void};
use std::mem::ManuallyDrop;

use pyo3::exceptions::{PyRuntimeError, PyStopIteration, PyTypeError, PyValueError};
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::{PyAny, PyType};
use pyo3::{Borrowed, intern};

use crate::python::guard::{attached, boolean, none, unraisable};
use crate::python::heap_type::HeapType;
use crate::python::heap_type::{attribute, getter, method_fast, method_noargs, method_one};
use crate::python::make;
use crate::python::make::Words;
use crate::python::{FastArguments, Ref, RefSlot, raw};

use super::reading::{self, Search};
use super::{Reader, Writer, names};

/// What is to be done.
pub(super) enum Kind {
    /// `readline()`, and `__anext__()`, for which an empty line ends the iteration. How far the bytes were searched.
    Line {
        iterates: bool,
        searched: Cell<usize>,
    },
    /// `readuntil(separators)`.
    Until(Search),
    /// `read(n)`.
    Some(usize),
    /// `read(-1)`: what was taken so far.
    All(RefCell<Vec<u8>>),
    /// `readexactly(n)`.
    Exactly(usize),
    /// `drain()`.
    Drain,
}

impl Kind {
    pub(super) fn line(iterates: bool) -> Self {
        Self::Line {
            iterates,
            searched: Cell::new(0),
        }
    }

    fn name(&self) -> &'static CStr {
        match self {
            Self::Line {
                iterates: false, ..
            } => c"StreamReader.readline",
            Self::Line { iterates: true, .. } => c"StreamReader.__anext__",
            Self::Until(_) => c"StreamReader.readuntil",
            Self::Some(_) | Self::All(_) => c"StreamReader.read",
            Self::Exactly(_) => c"StreamReader.readexactly",
            Self::Drain => c"StreamWriter.drain",
        }
    }
}

/// What one attempt has come to.
pub(super) enum Step {
    Done(Ref),
    /// Wait for data; the name of the method that does so.
    Wait(&'static str),
}

/// What `send()` has come to.
enum Sent {
    Yielded(Ref),
    Returned(Ref),
}

enum State {
    /// Not awaited yet.
    New,
    /// Its code runs.
    Running,
    /// Suspended: the iterator of the reader's future.
    Waiting(Ref),
    /// Suspended, or about to begin: asyncio's own coroutine does it.
    Delegated(Ref),
    Done,
}

struct Operation {
    /// The reader, or the writer for `drain()`.
    subject: RefSlot,
    kind: Kind,
    state: Cell<State>,
}

#[repr(C)]
struct OperationObject {
    head: PyObject,
    operation: ManuallyDrop<Operation>,
}

/// Makes the type.
pub(super) fn make_type(py: Python<'_>) -> PyResult<Py<PyType>> {
    let made = HeapType {
        name: c"hotloop._core.StreamOperation",
        size: size_of::<OperationObject>(),
        flags: ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION,
        slots: vec![
            (ffi::Py_tp_dealloc, dealloc as ffi::destructor as *mut c_void),
            (ffi::Py_tp_finalize, finalize as ffi::destructor as *mut c_void),
            (ffi::Py_tp_traverse, traverse as ffi::traverseproc as *mut c_void),
            (ffi::Py_tp_clear, clear as ffi::inquiry as *mut c_void),
            (ffi::Py_tp_iternext, next as ffi::iternextfunc as *mut c_void),
            (ffi::Py_tp_repr, repr as ffi::reprfunc as *mut c_void),
            (ffi::Py_am_await, awaited as ffi::unaryfunc as *mut c_void),
            (ffi::Py_am_send, am_send as ffi::sendfunc as *mut c_void),
        ],
        methods: vec![
            method_one!(c"send", c"send($self, value, /)\n--\n\nGo on with the value.", send_method),
            method_fast!(c"throw", c"throw($self, type, value=None, traceback=None, /)\n--\n\nGo on with an exception.", throw),
            method_noargs!(c"close", c"close($self, /)\n--\n\nEnd it.", close_method),
        ],
        getters: vec![
            attribute(c"__name__", getter!(get_name), None),
            attribute(c"__qualname__", getter!(get_qualname), None),
            attribute(c"cr_await", getter!(get_await), None),
            attribute(c"cr_running", getter!(get_running), None),
        ],
        members: Vec::new(),
    }
    .build(&py.get_type::<PyAny>())?;
    Ok(made.unbind())
}

/// Makes an awaitable for `subject`, which is a [`Reader`], or a [`Writer`] for [`Kind::Drain`].
pub(super) fn new(py: Python<'_>, subject: &Bound<'_, PyAny>, kind: Kind) -> PyResult<Ref> {
    let operation = ManuallyDrop::new(Operation {
        subject: RefSlot::new(Some(subject.into())),
        kind,
        state: Cell::new(State::New),
    });
    let class = names(py)?.operation.bind(py);
    // SAFETY: A3: the result is looked at. A4: the memory is zeroed and as large as the struct, and nothing looks at
    // it before the state is there: the allocation itself has run the collector, if anything has.
    unsafe {
        let object = ffi::PyType_GenericAlloc(class.as_type_ptr(), 0);
        if object.is_null() {
            drop(ManuallyDrop::into_inner(operation));
            return Err(PyErr::fetch(py));
        }
        (&raw mut (*object.cast::<OperationObject>()).operation).write(operation);
        Ref::from_new(py, object)
    }
}

impl Operation {
    /// The state inside an object.
    fn of<'a>(object: &'a Bound<'_, PyAny>) -> &'a Self {
        // SAFETY: A4: slots and methods of the type are called on its instances only, and the type is final.
        unsafe { &(*object.as_ptr().cast::<OperationObject>()).operation }
    }

    fn send(&self, value: &Bound<'_, PyAny>) -> PyResult<Sent> {
        let py = value.py();
        match self.state.replace(State::Running) {
            State::New if value.is_none() => self.advance(py, false),
            State::New => {
                self.state.set(State::New);
                Err(PyTypeError::new_err(Words(
                    "can't send non-None value to a just-started coroutine",
                )))
            }
            State::Waiting(future) => {
                let result = send_to(&future, value);
                self.settle(py, result, future, State::Waiting)
            }
            State::Delegated(inner) => {
                let result = send_to(&inner, value);
                self.settle(py, result, inner, State::Delegated)
            }
            State::Running => Err(PyValueError::new_err(Words("coroutine already executing"))),
            State::Done => {
                self.state.set(State::Done);
                Err(used_up())
            }
        }
    }

    fn throw(&self, py: Python<'_>, arguments: FastArguments<'_, '_>) -> PyResult<Sent> {
        match self.state.replace(State::Running) {
            State::New => {
                self.state.set(State::Done);
                Err(exception_of(arguments)?)
            }
            State::Waiting(_) => {
                // A future does nothing about it.
                self.stop_waiting(py);
                self.state.set(State::Done);
                Err(exception_of(arguments)?)
            }
            State::Delegated(inner) => {
                let result = throw_into(py, &inner, arguments);
                self.settle(py, result, inner, State::Delegated)
            }
            State::Running => Err(PyValueError::new_err(Words("coroutine already executing"))),
            State::Done => {
                self.state.set(State::Done);
                Err(used_up())
            }
        }
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        match self.state.replace(State::Done) {
            State::New | State::Done => Ok(()),
            State::Running => {
                self.state.set(State::Running);
                Err(PyValueError::new_err(Words("coroutine already executing")))
            }
            State::Waiting(_) => {
                self.stop_waiting(py);
                Ok(())
            }
            State::Delegated(inner) => close(&inner, py),
        }
    }

    /// What is to be done with what the inner awaitable has answered.
    fn settle(
        &self,
        py: Python<'_>,
        result: PyResult<Sent>,
        inner: Ref,
        suspended: fn(Ref) -> State,
    ) -> PyResult<Sent> {
        if let Ok(Sent::Yielded(_)) = result {
            self.state.set(suspended(inner));
            return result;
        }
        let waited = matches!(suspended(inner), State::Waiting(_));
        if waited {
            self.stop_waiting(py);
            if result.is_ok() {
                return self.advance(py, true);
            }
        }
        self.state.set(State::Done);
        result
    }

    /// Does what can be done now.
    fn advance(&self, py: Python<'_>, resumed: bool) -> PyResult<Sent> {
        let result = self.proceed(py, resumed);
        if !matches!(result, Ok(Sent::Yielded(_))) {
            self.state.set(State::Done);
        }
        result
    }

    fn proceed(&self, py: Python<'_>, resumed: bool) -> PyResult<Sent> {
        let Some(subject) = self.subject.get(py) else {
            return Err(used_up());
        };
        let subject = subject.bind(py);
        if let Kind::Drain = self.kind {
            // SAFETY: A4: `new` was given a writer for this kind.
            let writer = unsafe { Bound::cast_unchecked::<Writer>(&subject) };
            if writer.get().is_drained(py)? {
                return Ok(Sent::Returned(none(py)));
            }
            let drain = names(py)?
                .base_writer
                .bind(py)
                .getattr(intern!(py, "drain"))?;
            return self.suspend(py, drain.call1((writer,))?.into(), State::Delegated);
        }
        // SAFETY: A4: `new` was given a reader for any other kind.
        let reader = unsafe { Bound::cast_unchecked::<Reader>(&subject) };
        match reading::attempt(py, reader.get(), &self.kind, resumed)? {
            Step::Done(result) => Ok(Sent::Returned(result)),
            Step::Wait(method) => {
                let future = reader.get().wait_for_data(py, method)?;
                match iterator_of(py, &future) {
                    Ok(future) => self.suspend(py, future, State::Waiting),
                    Err(error) => {
                        self.stop_waiting(py);
                        Err(error)
                    }
                }
            }
        }
    }

    /// Begins to drive an inner awaitable.
    fn suspend(&self, py: Python<'_>, inner: Ref, state: fn(Ref) -> State) -> PyResult<Sent> {
        let result = send_to(&inner, none(py).bind(py).as_any());
        self.settle(py, result, inner, state)
    }

    /// The end of a wait for data.
    fn stop_waiting(&self, py: Python<'_>) {
        if let (Some(subject), false) = (self.subject.get(py), matches!(self.kind, Kind::Drain)) {
            let subject = subject.bind(py);
            // SAFETY: A4: as in `proceed`.
            let reader = unsafe { Bound::cast_unchecked::<Reader>(&subject) };
            reader.get().stop_waiting();
        }
    }

    /// Looks at the state; `look` must not run Python code.
    fn peek<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        let state = self.state.replace(State::Done);
        let result = look(&state);
        self.state.set(state);
        result
    }
}

/// `PyIter_Send`: awaitables with `am_send`, iterators, and anything with `send()`.
fn send_to(inner: &Ref, value: &Bound<'_, PyAny>) -> PyResult<Sent> {
    let py = value.py();
    let mut result = std::ptr::null_mut();
    // SAFETY: A2 by both references; A3: the result is looked at.
    unsafe {
        match raw::PyIter_Send(inner.as_ptr(), value.as_ptr(), &raw mut result) {
            ffi::PySendResult::PYGEN_NEXT => Ok(Sent::Yielded(Ref::from_new(py, result)?)),
            ffi::PySendResult::PYGEN_RETURN => Ok(Sent::Returned(Ref::from_new(py, result)?)),
            ffi::PySendResult::PYGEN_ERROR => Err(PyErr::fetch(py)),
        }
    }
}

fn throw_into(py: Python<'_>, inner: &Ref, arguments: FastArguments<'_, '_>) -> PyResult<Sent> {
    let method = inner.bind(py).getattr(intern!(py, "throw"))?;
    let args = arguments.rest(0)?;
    match method.call1(args.bind(py).cast::<pyo3::types::PyTuple>()?.to_owned()) {
        Ok(value) => Ok(Sent::Yielded(value.into())),
        Err(error) if error.is_instance_of::<PyStopIteration>(py) => {
            let value = error.value(py).getattr(intern!(py, "value"))?;
            Ok(Sent::Returned(value.into()))
        }
        Err(error) => Err(error),
    }
}

/// What `yield from` drives: the result of `future.__await__()`.
fn iterator_of(py: Python<'_>, future: &Ref) -> PyResult<Ref> {
    // SAFETY: A2 by the reference: the type's slots live as long as it does; A3 by `from_new`.
    unsafe {
        let methods = (*ffi::Py_TYPE(future.as_ptr())).tp_as_async;
        match methods.as_ref().and_then(|methods| methods.am_await) {
            Some(am_await) => Ref::from_new(py, am_await(future.as_ptr())),
            None => Ok(future
                .bind(py)
                .call_method0(intern!(py, "__await__"))?
                .into()),
        }
    }
}

fn close(inner: &Ref, py: Python<'_>) -> PyResult<()> {
    inner.bind(py).call_method0(intern!(py, "close")).map(drop)
}

fn used_up() -> PyErr {
    PyRuntimeError::new_err(Words("cannot reuse already awaited coroutine"))
}

/// The exception of `throw(type, value=None, traceback=None)`.
fn exception_of(arguments: FastArguments<'_, '_>) -> PyResult<PyErr> {
    let kind = arguments
        .get(0)
        .ok_or_else(|| PyTypeError::new_err(Words("throw expected at least 1 argument, got 0")))?;
    let exception = match (kind.cast::<PyType>(), arguments.get(1)) {
        (Err(_), _) => kind.to_owned(),
        (Ok(kind), Some(value)) if value.is_instance(&kind)? => value.to_owned(),
        (Ok(kind), Some(value)) if !value.is_none() => kind.call1((value,))?,
        (Ok(kind), _) => kind.call0()?,
    };
    if let Some(traceback) = arguments.get(2).filter(|traceback| !traceback.is_none()) {
        exception.call_method1(intern!(exception.py(), "with_traceback"), (traceback,))?;
    }
    Ok(PyErr::from_value(exception))
}

fn send_method<'py>(
    _py: Python<'py>,
    slf: Borrowed<'_, 'py, PyAny>,
    value: Borrowed<'_, 'py, PyAny>,
) -> PyResult<Ref> {
    answer(Operation::of(&slf).send(&value)?)
}

fn throw<'py>(
    py: Python<'py>,
    slf: Borrowed<'_, 'py, PyAny>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    answer(Operation::of(&slf).throw(py, arguments)?)
}

fn close_method<'py>(py: Python<'py>, slf: Borrowed<'_, 'py, PyAny>) -> PyResult<Ref> {
    Operation::of(&slf).close(py)?;
    Ok(none(py))
}

/// What a method gives back: the value that was yielded, or `StopIteration` with the result.
fn answer(sent: Sent) -> PyResult<Ref> {
    match sent {
        Sent::Yielded(value) => Ok(value),
        Sent::Returned(value) => Err(stop_iteration(value)),
    }
}

fn stop_iteration(value: Ref) -> PyErr {
    // SAFETY: A1: every caller has a token.
    let py = unsafe { Python::assume_attached() };
    PyStopIteration::new_err((value.into_bound(py).unbind(),))
}

/// Raises `StopIteration(value)`.
///
/// The interpreter takes the value out of the exception and drops it, so the same object can serve again: making one
/// is a tenth of the instructions of a `readline()`. It serves only while nobody else holds it, and not for a long
/// value, which it would keep alive until the next time.
#[cfg(Py_3_12)]
fn raise_stop_iteration(py: Python<'_>, value: Ref) {
    use pyo3::types::PyBytes;
    use std::sync::atomic::{AtomicPtr, Ordering};

    /// In bytes.
    const LONGEST: usize = 16 * 1024;
    /// The reference is ours.
    static SPARE: AtomicPtr<PyObject> = AtomicPtr::new(std::ptr::null_mut());

    let short = value
        .bind(py)
        .cast_exact::<PyBytes>()
        .is_ok_and(|value| value.as_bytes().len() < LONGEST);
    if !short {
        return stop_iteration(value).restore(py);
    }
    // SAFETY: A1: no other thread takes it meanwhile. A2, A4: what is kept is a `StopIteration` made here, which
    // nobody else holds and nobody has caught; its field has a reference or nothing. A3: the call is looked at.
    unsafe {
        let kept = SPARE.swap(std::ptr::null_mut(), Ordering::Relaxed);
        let usable = !kept.is_null() && {
            let fields: *mut ffi::PyStopIterationObject = kept.cast();
            let alone = ffi::Py_REFCNT(kept) == 1;
            alone && (*fields).traceback.is_null() && (*fields).context.is_null()
        };
        let error = if usable {
            kept
        } else {
            ffi::Py_XDECREF(kept);
            raw::PyObject_CallNoArgs(ffi::PyExc_StopIteration)
        };
        if error.is_null() {
            return; // out of memory: that is what is raised
        }
        let fields: *mut ffi::PyStopIterationObject = error.cast();
        ffi::Py_XDECREF(std::mem::replace(&mut (*fields).value, value.into_ptr()));
        ffi::Py_INCREF(error);
        SPARE.store(error, Ordering::Relaxed);
        ffi::PyErr_SetRaisedException(error);
    }
}

/// Raises `StopIteration(value)`. The interpreter of 3.11 uses `am_send`, so this is rare.
#[cfg(not(Py_3_12))]
fn raise_stop_iteration(py: Python<'_>, value: Ref) {
    stop_iteration(value).restore(py);
}

fn get_name<'py>(py: Python<'py>, slf: Borrowed<'_, 'py, PyAny>) -> PyResult<Ref> {
    let name = qualified_name(&slf);
    let name = name.rsplit('.').next().unwrap_or_default();
    Ok(make::string(py, name)?.into_any().into())
}

fn get_qualname<'py>(py: Python<'py>, slf: Borrowed<'_, 'py, PyAny>) -> PyResult<Ref> {
    Ok(make::string(py, &qualified_name(&slf))?.into_any().into())
}

/// What it waits for, or `None`.
fn get_await<'py>(py: Python<'py>, slf: Borrowed<'_, 'py, PyAny>) -> PyResult<Ref> {
    let inner = Operation::of(&slf).peek(|state| match state {
        State::Waiting(inner) | State::Delegated(inner) => Some(inner.clone_ref(py)),
        _ => None,
    });
    Ok(inner.unwrap_or_else(|| none(py)))
}

fn get_running<'py>(py: Python<'py>, slf: Borrowed<'_, 'py, PyAny>) -> PyResult<Ref> {
    let running = Operation::of(&slf).peek(|state| matches!(state, State::Running));
    Ok(boolean(py, running))
}

fn qualified_name(object: &Bound<'_, PyAny>) -> String {
    Operation::of(object)
        .kind
        .name()
        .to_string_lossy()
        .into_owned()
}

unsafe extern "C" fn awaited(object: *mut PyObject) -> *mut PyObject {
    // SAFETY: A1, A6: called by the interpreter, which holds the object.
    unsafe {
        crate::python::guard(|py| {
            let object = Bound::from_borrowed_ptr(py, object);
            let suspended = |state: &State| !matches!(state, State::New | State::Done);
            if Operation::of(&object).peek(suspended) {
                return Err(PyRuntimeError::new_err(Words(
                    "coroutine is being awaited already",
                )));
            }
            Ok(object.into_ptr())
        })
    }
}

unsafe extern "C" fn next(object: *mut PyObject) -> *mut PyObject {
    // SAFETY: A1, A6: called by the interpreter, which holds the object. Null without an exception says that the
    // iteration has ended with `None`.
    unsafe {
        crate::python::guard(|py| {
            let object = Bound::from_borrowed_ptr(py, object);
            let nothing = none(py);
            match Operation::of(&object).send(&nothing.bind(py))? {
                Sent::Yielded(value) => Ok(value.into_ptr()),
                Sent::Returned(value) if value.bind(py).is_none() => Ok(std::ptr::null_mut()),
                Sent::Returned(value) => {
                    raise_stop_iteration(py, value);
                    Ok(std::ptr::null_mut())
                }
            }
        })
    }
}

unsafe extern "C" fn am_send(
    object: *mut PyObject,
    value: *mut PyObject,
    result: *mut *mut PyObject,
) -> ffi::PySendResult {
    let mut returned = false;
    // SAFETY: A1, A6: called by the interpreter, which holds the objects and waits for the result.
    unsafe {
        *result = crate::python::guard(|py| {
            let object = Bound::from_borrowed_ptr(py, object);
            let value = Borrowed::from_ptr(py, value);
            match Operation::of(&object).send(&value)? {
                Sent::Yielded(value) => Ok(value.into_ptr()),
                Sent::Returned(value) => {
                    returned = true;
                    Ok(value.into_ptr())
                }
            }
        });
        match (*result).is_null() {
            true => ffi::PySendResult::PYGEN_ERROR,
            false if returned => ffi::PySendResult::PYGEN_RETURN,
            false => ffi::PySendResult::PYGEN_NEXT,
        }
    }
}

unsafe extern "C" fn dealloc(object: *mut PyObject) {
    // SAFETY: A1, A4: the interpreter frees an object of our type. The finalizer is for those that did not end, and
    // may bring them back to life.
    unsafe {
        let fields: *mut OperationObject = object.cast();
        let ended = (*fields)
            .operation
            .peek(|state| matches!(state, State::Done));
        if !ended && ffi::PyObject_CallFinalizerFromDealloc(object) != 0 {
            return;
        }
        ffi::PyObject_GC_UnTrack(object.cast());
        ManuallyDrop::drop(&mut (*fields).operation);
        let kind = ffi::Py_TYPE(object);
        if let Some(free) = (*kind).tp_free {
            free(object.cast());
        }
        ffi::Py_DECREF(kind.cast());
    }
}

/// Warns about one that was never awaited; ends one that waits, as the collector does with coroutines.
unsafe extern "C" fn finalize(object: *mut PyObject) {
    // SAFETY: A1: called by the interpreter with an object that is alive. An exception that is set already is kept
    // aside, as PEP 442 asks.
    unsafe {
        attached(|py| {
            let pending = PyErr::take(py);
            let object = Bound::from_borrowed_ptr(py, object);
            unraisable(&object, |_| {
                let operation = Operation::of(&object);
                if operation.peek(|state| matches!(state, State::New)) {
                    operation.state.set(State::Done);
                    return warn_never_awaited(py, operation.kind.name());
                }
                operation.close(py)
            });
            if let Some(pending) = pending {
                pending.restore(py);
            }
        });
    }
}

fn warn_never_awaited(py: Python<'_>, name: &CStr) -> PyResult<()> {
    let text = format!("coroutine '{}' was never awaited", name.to_string_lossy());
    let text = CString::new(text)?;
    PyErr::warn(
        py,
        &py.get_type::<pyo3::exceptions::PyRuntimeWarning>(),
        &text,
        1,
    )
}

unsafe extern "C" fn traverse(
    object: *mut PyObject,
    visit: ffi::visitproc,
    arg: *mut c_void,
) -> c_int {
    // SAFETY: A1, A4: the collector visits an object of our type; nothing here allocates or drops.
    unsafe {
        let fields: *mut OperationObject = object.cast();
        let mut stop = visit(ffi::Py_TYPE(object).cast(), arg);
        let mut look = |reference: &Ref| {
            if stop == 0 {
                stop = visit(reference.as_ptr(), arg);
            }
        };
        let operation = &(*fields).operation;
        operation.subject.peek(|subject| {
            if let Some(subject) = subject {
                look(subject);
            }
        });
        operation.peek(|state| {
            if let State::Waiting(inner) | State::Delegated(inner) = state {
                look(inner);
            }
        });
        stop
    }
}

unsafe extern "C" fn clear(object: *mut PyObject) -> c_int {
    // SAFETY: A1, A4: the collector clears an object of our type, whose finalizer has run.
    unsafe {
        let operation = &(*object.cast::<OperationObject>()).operation;
        drop(operation.state.replace(State::Done));
        drop(operation.subject.take());
    }
    0
}

unsafe extern "C" fn repr(object: *mut PyObject) -> *mut PyObject {
    // SAFETY: A1, A6: called by the interpreter, which holds the object.
    unsafe {
        crate::python::guard(|py| {
            let object = Bound::from_borrowed_ptr(py, object);
            let text = format!(
                "<coroutine object {} at {:#x}>",
                qualified_name(&object),
                object.as_ptr() as usize
            );
            Ok(make::string(py, &text)?.into_any().into_ptr())
        })
    }
}
