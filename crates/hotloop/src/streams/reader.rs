//! `_core.StreamReader`: the native half of `hotloop.StreamReader`: its attributes, and what the transport's side of
//! it does. What its coroutine methods do is in [`super::reading`].
//!
//! # Two places for the bytes
//! Nobody but this file needs asyncio's `reader._buffer`, so that no `bytearray` is made until somebody asks for it.
//! From then on the bytes are in that object, which the asker may change; when nobody holds it any more they move
//! back.

use std::cell::{Cell, RefCell};

use pyo3::exceptions::{PyAssertionError, PyMemoryError, PyNotImplementedError, PyRuntimeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyInt, PyString, PyTuple, PyType};
use pyo3::{Borrowed, PyTraverseError, PyVisit, intern};

use crate::event_loop::callbacks::{create_future, put_methods};
use crate::event_loop::{Hooks, Loop};
use crate::python::guard::{boolean, none};
use crate::python::heap_type::{method_fast, method_noargs};
use crate::python::make;
use crate::python::make::Words;
use crate::python::{Buffer, FastArguments, Ref, RefSlot, call};

use super::buffer::ReadBuffer;
use super::names;
use super::operation::{self, Kind};
use super::overrides::Overrides;
use super::reading;

/// The methods that native code skips.
pub(super) const HOOKS: [&str; 9] = [
    "read",
    "readline",
    "readuntil",
    "exception",
    "feed_data",
    "at_eof",
    "_wait_for_data",
    "_wakeup_waiter",
    "_maybe_resume_transport",
];

/// The native half of a stream's reading end. Not for direct use.
#[pyclass(frozen, subclass, name = "StreamReader", module = "hotloop._core")]
pub(crate) struct Reader {
    buffer: RefCell<ReadBuffer>,
    /// The `bytearray` that was given away; while there is one, `buffer` is empty.
    shared: RefSlot,
    limit: Cell<usize>,
    /// The limit as it was given, if it is not an `int` that fits.
    odd_limit: RefSlot,
    eof: Cell<bool>,
    paused: Cell<bool>,
    overrides: Overrides,
    /// The future that a reading coroutine waits for. Here and below an empty place stands for `None`.
    waiter: RefSlot,
    exception: RefSlot,
    transport: RefSlot,
    event_loop: RefSlot,
}

// SAFETY: A1: used only by the thread that holds the interpreter.
unsafe impl Sync for Reader {}
// SAFETY: A1, as above.
unsafe impl Send for Reader {}

#[rustfmt::skip] // a table
pub(super) fn add_methods(class: &Bound<'_, PyType>) -> PyResult<()> {
    put_methods(class, vec![
        method_fast!(c"readline", c"readline($self, /)\n--\n\nRead until a newline; at the end of the stream, what is left: bytes, empty at the very end.\n\
            \n\
            Raises ValueError if the line is longer than the limit, RuntimeError if another coroutine waits for\n\
            data, and the exception of the connection. As asyncio.StreamReader.readline().", reading::readline),
        method_fast!(c"readuntil", c"readuntil($self, /, separator=b'\\n')\n--\n\nRead until the separator, which is included: bytes-like, or from Python 3.13 on a tuple of such.\n\
            \n\
            Raises ValueError for an empty separator, asyncio.IncompleteReadError at the end of the stream,\n\
            asyncio.LimitOverrunError if the limit is passed, RuntimeError if another coroutine waits for data,\n\
            and the exception of the connection. As asyncio.StreamReader.readuntil().", reading::readuntil),
        method_fast!(c"read", c"read($self, /, n=-1)\n--\n\nRead up to n bytes, as soon as there are any; until the end of the stream if n is -1.\n\
            \n\
            Returns bytes, empty at the end. Raises RuntimeError if another coroutine waits for data, and the\n\
            exception of the connection. As asyncio.StreamReader.read().", reading::read),
        method_fast!(c"readexactly", c"readexactly($self, /, n)\n--\n\nRead exactly n bytes, an int.\n\
            \n\
            Raises ValueError for a negative number, asyncio.IncompleteReadError at the end of the stream,\n\
            RuntimeError if another coroutine waits for data, and the exception of the connection. As\n\
            asyncio.StreamReader.readexactly().", reading::readexactly),
        method_fast!(c"feed_data", c"feed_data($self, /, data)\n--\n\nTake data that was received, a bytes-like object: what a protocol calls.\n\
            \n\
            Raises AssertionError after feed_eof(). Reading is paused while twice the limit waits. As\n\
            asyncio.StreamReader.feed_data().", feed_data),
        method_noargs!(c"at_eof", c"at_eof($self, /)\n--\n\nReturn True if the buffer is empty and feed_eof() was called. As asyncio.StreamReader.at_eof().", at_eof),
    ])
}

#[pymethods]
impl Reader {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self {
            buffer: RefCell::default(),
            shared: RefSlot::default(),
            limit: Cell::new(0),
            odd_limit: RefSlot::default(),
            eof: Cell::new(false),
            paused: Cell::new(false),
            overrides: Overrides::default(),
            waiter: RefSlot::default(),
            exception: RefSlot::default(),
            transport: RefSlot::default(),
            event_loop: RefSlot::default(),
        }
    }

    fn __anext__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        if !Self::is_plain(slf) {
            let method = names(py)?
                .base_reader
                .bind(py)
                .getattr(intern!(py, "__anext__"))?;
            return method.call1((slf,));
        }
        let next = operation::new(py, slf.as_any(), Kind::line(true))?;
        Ok(next.into_bound(py))
    }

    /// The bytes as a `bytearray`: from now on that is where they are.
    #[getter(_buffer)]
    fn get_buffer<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if let Some(shared) = self.shared.get(py) {
            return Ok(shared.into_bound(py));
        }
        let shared = make::bytearray(py, self.buffer.borrow().bytes())?.into_any();
        self.buffer.replace(ReadBuffer::default());
        drop(self.shared.replace(Some((&shared).into())));
        Ok(shared)
    }

    #[setter(_buffer)]
    fn set_buffer(&self, buffer: &Bound<'_, PyByteArray>) {
        self.buffer.replace(ReadBuffer::default());
        drop(self.shared.replace(Some(buffer.as_any().into())));
    }

    #[getter(_limit)]
    fn get_limit<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self.odd_limit.get(py) {
            Some(limit) => Ok(limit.into_bound(py)),
            None => make::size(py, self.limit.get()),
        }
    }

    #[setter(_limit)]
    fn set_limit(&self, limit: &Bound<'_, PyAny>) {
        let known = match limit.extract::<usize>() {
            Ok(known) if limit.is_exact_instance_of::<PyInt>() => Some(known),
            _ => None,
        };
        self.limit.set(known.unwrap_or_default());
        let odd = known.is_none().then(|| limit.into());
        drop(self.odd_limit.replace(odd));
    }

    #[getter(_eof)]
    fn get_eof(&self) -> bool {
        self.eof.get()
    }

    #[setter(_eof)]
    fn set_eof(&self, eof: &Bound<'_, PyAny>) -> PyResult<()> {
        self.eof.set(eof.is_truthy()?);
        Ok(())
    }

    #[getter(_paused)]
    fn get_paused(&self) -> bool {
        self.paused.get()
    }

    #[setter(_paused)]
    fn set_paused(&self, paused: &Bound<'_, PyAny>) -> PyResult<()> {
        self.paused.set(paused.is_truthy()?);
        Ok(())
    }

    #[getter(_waiter)]
    fn get_waiter<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        or_none(py, &self.waiter)
    }

    #[setter(_waiter)]
    fn set_waiter(&self, waiter: &Bound<'_, PyAny>) {
        store(&self.waiter, waiter);
    }

    #[getter(_exception)]
    fn get_exception<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        or_none(py, &self.exception)
    }

    #[setter(_exception)]
    fn set_exception_attribute(&self, exception: &Bound<'_, PyAny>) {
        store(&self.exception, exception);
    }

    #[getter(_transport)]
    fn get_transport<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        or_none(py, &self.transport)
    }

    #[setter(_transport)]
    fn set_transport_attribute(&self, transport: &Bound<'_, PyAny>) {
        store(&self.transport, transport);
    }

    #[getter(_loop)]
    fn get_loop<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        or_none(py, &self.event_loop)
    }

    #[setter(_loop)]
    fn set_loop(&self, event_loop: &Bound<'_, PyAny>) {
        store(&self.event_loop, event_loop);
    }

    fn __setattr__(
        slf: &Bound<'_, Self>,
        name: &Bound<'_, PyString>,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        set_attribute(slf, name, value.as_ptr())?;
        slf.get().overrides.note(name, &HOOKS);
        Ok(())
    }

    fn __delattr__(slf: &Bound<'_, Self>, name: &Bound<'_, PyString>) -> PyResult<()> {
        set_attribute(slf, name, std::ptr::null_mut())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.shared.traverse(&visit)?;
        self.odd_limit.traverse(&visit)?;
        self.waiter.traverse(&visit)?;
        self.exception.traverse(&visit)?;
        self.transport.traverse(&visit)?;
        self.event_loop.traverse(&visit)
    }

    fn __clear__(&self) {
        drop((
            self.shared.take(),
            self.odd_limit.take(),
            self.waiter.take(),
            self.exception.take(),
            self.transport.take(),
            self.event_loop.take(),
        ));
    }
}

impl Reader {
    /// Whether native code may do what the object's methods would do.
    pub(super) fn is_plain(slf: &Bound<'_, Self>) -> bool {
        let this = slf.get();
        !this.odd_limit.is_some() && !this.overrides.any(slf, |names| &names.reader)
    }

    pub(super) fn limit(&self) -> usize {
        self.limit.get()
    }

    pub(super) fn is_eof(&self) -> bool {
        self.eof.get()
    }

    /// # Errors
    /// What `set_exception()` was given.
    pub(super) fn check(&self, py: Python<'_>) -> PyResult<()> {
        match self.exception.get(py) {
            None => Ok(()),
            Some(exception) => Err(PyErr::from_value(exception.into_bound(py))),
        }
    }

    /// Looks at the bytes; `look` must not run Python code.
    pub(super) fn with_bytes<R>(&self, py: Python<'_>, look: impl FnOnce(&[u8]) -> R) -> R {
        match self.shared(py) {
            None => look(self.buffer.borrow().bytes()),
            // SAFETY: A2: the reference keeps the `bytearray`, and nothing can change it while `look` runs (A5).
            Some(shared) => look(unsafe {
                let length = ffi::PyByteArray_Size(shared.as_ptr()).unsigned_abs();
                std::slice::from_raw_parts(
                    ffi::PyByteArray_AsString(shared.as_ptr()).cast::<u8>(),
                    length,
                )
            }),
        }
    }

    pub(super) fn len(&self, py: Python<'_>) -> usize {
        self.with_bytes(py, <[u8]>::len)
    }

    /// Takes `count` bytes from the front, which are there.
    pub(super) fn take(&self, py: Python<'_>, count: usize) -> PyResult<Ref> {
        let data = self.with_bytes(py, |bytes| make::bytes(py, &bytes[..count]))?;
        self.consume(py, count)?;
        Ok(data.into())
    }

    /// Forgets `count` bytes at the front.
    pub(super) fn consume(&self, py: Python<'_>, count: usize) -> PyResult<()> {
        let Some(shared) = self.shared(py) else {
            self.buffer.borrow_mut().consume(count);
            return Ok(());
        };
        let count = ffi::Py_ssize_t::try_from(count).unwrap_or(ffi::Py_ssize_t::MAX);
        // SAFETY: A2 by the reference; A3: the result is looked at.
        if unsafe { ffi::PySequence_DelSlice(shared.as_ptr(), 0, count) } < 0 {
            return Err(PyErr::fetch(py));
        }
        Ok(())
    }

    /// `_maybe_resume_transport()`.
    pub(super) fn maybe_resume(&self, py: Python<'_>) -> PyResult<()> {
        if self.paused.get() && self.len(py) <= self.limit.get() {
            self.resume(py)?;
        }
        Ok(())
    }

    /// `_wait_for_data(method)` as far as its `await`: the future to wait for.
    pub(super) fn wait_for_data(&self, py: Python<'_>, method: &str) -> PyResult<Ref> {
        if self.waiter.is_some() {
            return Err(PyRuntimeError::new_err(Words(format!(
                "{method}() called while another coroutine is already waiting for incoming data"
            ))));
        }
        if self.eof.get() {
            return Err(PyAssertionError::new_err(Words("_wait_for_data after EOF")));
        }
        if self.paused.get() {
            // Waiting for what a paused transport will not bring would never end.
            self.resume(py)?;
        }
        let event_loop = self.event_loop.get(py).unwrap_or_else(|| none(py));
        let waiter = match event_loop.bind(py).cast::<Loop>() {
            Ok(native) if !native.get().hooks.get().any(Hooks::CREATE_FUTURE) => {
                create_future(py, event_loop.bind(py))?
            }
            _ => call::call_method0(&event_loop, intern!(py, "create_future"))?,
        };
        drop(self.waiter.replace(Some(waiter.clone_ref(py))));
        Ok(waiter)
    }

    /// The end of `_wait_for_data()`, however it came.
    pub(super) fn stop_waiting(&self) {
        drop(self.waiter.take());
    }

    /// `feed_data(data)`.
    pub(super) fn feed(slf: &Bound<'_, Self>, data: &[u8]) -> PyResult<()> {
        let this = slf.get();
        this.check_open()?;
        if data.is_empty() {
            return Ok(());
        }
        this.extend(slf.py(), data)?;
        this.data_came(slf.py())
    }

    /// What `feed_data()` does once the bytes are there.
    fn data_came(&self, py: Python<'_>) -> PyResult<()> {
        self.wake(py)?;
        if self.paused.get() || self.len(py) <= self.limit.get().saturating_mul(2) {
            return Ok(());
        }
        let Some(transport) = self.transport.get(py) else {
            return Ok(());
        };
        match call::call_method0(&transport, intern!(py, "pause_reading")) {
            Ok(_) => self.paused.set(true),
            Err(error) if error.is_instance_of::<PyNotImplementedError>(py) => {
                // It cannot be paused: asyncio forgets it, so as not to try again.
                drop(self.transport.take());
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn wake(&self, py: Python<'_>) -> PyResult<()> {
        let Some(waiter) = self.waiter.take() else {
            return Ok(());
        };
        let cancelled = call::call_method0(&waiter, intern!(py, "cancelled"))?;
        if !cancelled.bind(py).is_truthy()? {
            call::call_method1(&waiter, intern!(py, "set_result"), &none(py))?;
        }
        Ok(())
    }

    fn resume(&self, py: Python<'_>) -> PyResult<()> {
        self.paused.set(false);
        let transport = self.transport.get(py).unwrap_or_else(|| none(py));
        call::call_method0(&transport, intern!(py, "resume_reading")).map(drop)
    }

    fn check_open(&self) -> PyResult<()> {
        if self.eof.get() {
            return Err(PyAssertionError::new_err(Words("feed_data after feed_eof")));
        }
        Ok(())
    }

    fn extend(&self, py: Python<'_>, data: &[u8]) -> PyResult<()> {
        let Some(shared) = self.shared(py) else {
            let extended = self.buffer.borrow_mut().extend(data);
            return extended.map_err(|_| PyMemoryError::new_err(()));
        };
        let data = make::bytes(py, data)?;
        call::call_method1(&shared, intern!(py, "extend"), &data.into()).map(drop)
    }

    /// The `bytearray` that somebody holds. If that is nobody but us, the bytes move back.
    fn shared(&self, py: Python<'_>) -> Option<Ref> {
        if !self.shared.is_some() {
            return None;
        }
        let shared = self.shared.take()?;
        // SAFETY: A2: only count and type of an object are looked at to which we have a reference. If the count is one
        // that one is ours, and without another owner nobody can have borrowed it either.
        let ours_alone = unsafe {
            ffi::Py_REFCNT(shared.as_ptr()) == 1
                && ffi::PyByteArray_CheckExact(shared.as_ptr()) != 0
        };
        if !ours_alone {
            let copy = shared.clone_ref(py);
            drop(self.shared.replace(Some(shared))); // the place is empty
            return Some(copy);
        }
        // SAFETY: A2 as above; the bytes are copied before anything else happens.
        let bytes = unsafe {
            let length = ffi::PyByteArray_Size(shared.as_ptr()).unsigned_abs();
            std::slice::from_raw_parts(
                ffi::PyByteArray_AsString(shared.as_ptr()).cast::<u8>(),
                length,
            )
        };
        let mut buffer = ReadBuffer::default();
        if buffer.extend(bytes).is_err() {
            let copy = shared.clone_ref(py);
            drop(self.shared.replace(Some(shared))); // they stay where they are
            return Some(copy);
        }
        self.buffer.replace(buffer);
        None
    }
}

fn feed_data<'py>(
    py: Python<'py>,
    slf: Borrowed<'_, 'py, PyAny>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    let data = arguments.single("StreamReader.feed_data", "data")?;
    let this = receiver(&slf);
    let state = this.get();
    let by_bytes = data.is_instance_of::<PyBytes>() || data.is_instance_of::<PyByteArray>();
    if !by_bytes || !Reader::is_plain(this) {
        let method = names(py)?
            .base_reader
            .bind(py)
            .getattr(intern!(py, "feed_data"))?;
        return Ok(method.call1((this, data))?.into());
    }
    state.check_open()?;
    let buffer = Buffer::read(&data)?;
    if !buffer.bytes().is_empty() {
        state.extend(py, buffer.bytes())?;
        drop(buffer);
        state.data_came(py)?;
    }
    Ok(none(py))
}

fn at_eof<'py>(py: Python<'py>, slf: Borrowed<'_, 'py, PyAny>) -> PyResult<Ref> {
    let state = receiver(&slf).get();
    Ok(boolean(py, state.eof.get() && state.len(py) == 0))
}

/// The reader of a method that the interpreter called on it.
pub(super) fn receiver<'a, 'py>(slf: &'a Borrowed<'_, 'py, PyAny>) -> &'a Bound<'py, Reader> {
    // SAFETY: A4: a method descriptor of the class checks the type of `self` before it calls.
    unsafe { Bound::cast_unchecked::<Reader>(slf) }
}

/// What `object.name = value` does, or `del object.name` for a null value.
pub(super) fn set_attribute<T>(
    object: &Bound<'_, T>,
    name: &Bound<'_, PyString>,
    value: *mut ffi::PyObject,
) -> PyResult<()> {
    // SAFETY: A2: object, name and value are held by the caller; A3: the result is looked at.
    if unsafe { ffi::PyObject_GenericSetAttr(object.as_ptr(), name.as_ptr(), value) } < 0 {
        return Err(PyErr::fetch(object.py()));
    }
    Ok(())
}

fn or_none<'py>(py: Python<'py>, slot: &RefSlot) -> Bound<'py, PyAny> {
    slot.get(py).unwrap_or_else(|| none(py)).into_bound(py)
}

fn store(slot: &RefSlot, value: &Bound<'_, PyAny>) {
    drop(slot.replace((!value.is_none()).then(|| value.into())));
}
