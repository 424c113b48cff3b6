//! hotloop's own streams: the native halves of `hotloop.StreamReader`, `StreamWriter` and `StreamReaderProtocol`.
//!
//! Each stands in front of asyncio's class of the same name, as `_core.Loop` stands in front of `BaseEventLoop`:
//!
//! - [`reader`] holds the bytes that have come, and the attributes of that name, so that inherited code, subclasses
//!   and outside readers see one truth; [`buffer`] is where the bytes lie.
//! - [`operation`] is what `readline()`, `drain()` and the like return: an awaitable that ends at once, without
//!   suspending, when what it needs is there. [`reading`] says when that is.
//! - [`writer`] hands what is written to the transport; [`protocol`] hands the reader what the transport received,
//!   without a `bytes` object and without a call into Python when the transport is a native one.
//!
//! What is not of the common form is done by asyncio's own method, called with the object: an argument of an unusual
//! type, a subclass that overrides one of the methods that native code would skip, a limit that is not an `int`.
//!
//! # Rules
//!
//! `unsafe` follows A1–A8 of [`crate::python`], A4 above all: the awaitables are objects of our own layout.

pub(crate) mod asyncio_reader;
mod buffer;
mod operation;
mod overrides;
mod protocol;
mod reader;
mod reading;
mod writer;

use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use crate::python::make::Words;
use crate::python::{FastArguments, Ref, make};

use overrides::Originals;
pub(crate) use protocol::Protocol;
pub(crate) use reader::Reader;
pub(crate) use writer::Writer;

/// What the streams take from the running Python and from `hotloop._streams`.
pub(super) struct Names {
    /// The methods of the classes of `hotloop._streams`.
    pub(super) reader: Originals,
    pub(super) protocol: Originals,
    /// `asyncio.StreamReader` and `asyncio.StreamWriter`, whose methods answer every call that is not of the
    /// common form.
    pub(super) base_reader: Ref,
    pub(super) base_writer: Ref,
    /// `asyncio.IncompleteReadError` and `asyncio.LimitOverrunError`.
    pub(super) incomplete_read_error: Ref,
    pub(super) limit_overrun_error: Ref,
    /// The type of the awaitables.
    pub(super) operation: Py<PyType>,
    /// Whether `readuntil` takes a tuple of separators (3.13).
    pub(super) takes_tuples: bool,
}

static NAMES: PyOnceLock<Names> = PyOnceLock::new();

/// The type of `hotloop.StreamReaderProtocol`, null until it is made: transports compare with it.
static PROTOCOL: AtomicPtr<ffi::PyObject> = AtomicPtr::new(std::ptr::null_mut());

/// Tells the core which classes `hotloop._streams` has made of its halves.
#[pyfunction]
#[pyo3(signature = (reader, protocol, /))]
pub(crate) fn _register_streams(
    reader: &Bound<'_, PyType>,
    protocol: &Bound<'_, PyType>,
) -> PyResult<()> {
    let py = reader.py();
    let streams = py.import("asyncio.streams")?;
    let exceptions = py.import("asyncio.exceptions")?;
    let version = py.version_info();
    let base_reader = streams.getattr("StreamReader")?;
    let names = Names {
        reader: Originals::of(reader, &reader::HOOKS)?,
        protocol: Originals::of(protocol, &protocol::HOOKS)?,
        base_reader: base_reader.into(),
        base_writer: streams.getattr("StreamWriter")?.into(),
        incomplete_read_error: exceptions.getattr("IncompleteReadError")?.into(),
        limit_overrun_error: exceptions.getattr("LimitOverrunError")?.into(),
        operation: operation::make_type(py)?,
        takes_tuples: (version.major, version.minor) >= (3, 13),
    };
    if NAMES.set(py, names).is_ok() {
        PROTOCOL.store(protocol.clone().into_ptr().cast(), Ordering::Relaxed); // kept for ever
    }
    Ok(())
}

/// Puts the fastcall methods on the classes.
pub(crate) fn add_methods(py: Python<'_>) -> PyResult<()> {
    reader::add_methods(&py.get_type::<Reader>())?;
    writer::add_methods(&py.get_type::<Writer>())
}

/// Who takes what a transport has received without a `bytes` object around it.
#[derive(Copy, Clone)]
pub(crate) enum Feed {
    /// The protocol of our own streams.
    Own,
    /// asyncio's own, as long as nobody has changed it.
    Asyncio,
}

impl Feed {
    /// The way for this protocol, if there is one.
    pub(crate) fn of(protocol: &Bound<'_, PyAny>) -> PyResult<Option<Self>> {
        if protocol.get_type().as_ptr() == PROTOCOL.load(Ordering::Relaxed) {
            return Ok(Some(Self::Own));
        }
        Ok(asyncio_reader::may_feed(protocol)?.then_some(Self::Asyncio))
    }

    /// `protocol.data_received(data)`, for the protocol that was asked about; false if that has to be called.
    pub(crate) fn feed(self, protocol: &Bound<'_, PyAny>, data: &[u8]) -> PyResult<bool> {
        match self {
            Self::Own => {
                // SAFETY: A4: `of` has seen the type, which is a subclass of the native one.
                let protocol = unsafe { protocol.cast_unchecked::<Protocol>() };
                Protocol::feed(protocol, data).map(|()| true)
            }
            Self::Asyncio => asyncio_reader::feed(protocol, data),
        }
    }
}

/// The table; filled when `hotloop._streams` was imported.
pub(super) fn names(py: Python<'_>) -> PyResult<&'static Names> {
    NAMES
        .get(py)
        .ok_or_else(|| PyImportError::new_err(Words("hotloop._streams was not imported")))
}

/// Calls a method of one of asyncio's classes with the same arguments.
fn by_method_of<'py>(
    class: &Ref,
    slf: Borrowed<'_, 'py, PyAny>,
    name: &str,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    let py = slf.py();
    let method = class.bind(py).getattr(make::string(py, name)?)?;
    arguments.forward(&method.into(), slf.as_ptr())
}
