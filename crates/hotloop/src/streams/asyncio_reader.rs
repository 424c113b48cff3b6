//! Feeding asyncio's own `StreamReader` from a native transport: what `StreamReaderProtocol.data_received()`,
//! `StreamReader.feed_data()` and `_wakeup_waiter()` do, without running their Python code.
//!
//! Only where nobody could tell: both objects are exactly of asyncio's classes, the classes have the methods that they
//! had when hotloop was imported, and the objects have no others. Anything else is left to `data_received()`.
//!
//! CPython facts this rests on (3.13, `Objects/typeobject.c`, `Objects/dictobject.c`): a change of a class gives it
//! another `tp_version_tag`, or zero until the next look-up; the dict of an object shares its inline values, so that
//! asking for it does not slow down the class's own code (it would on 3.11 and 3.12, which keep the Python code).

use std::sync::atomic::{AtomicU32, Ordering};

use pyo3::exceptions::PyNotImplementedError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyByteArray, PyDict, PyInt, PyString};

use crate::imports::imports;
use crate::python::guard::none;
use crate::python::{Ref, call};

/// One of the two classes, and what it looked like.
struct Known {
    class: Ref,
    /// Name and function.
    methods: Vec<(Py<PyString>, Ref)>,
    /// The version of the class when its methods were last compared, 0 before that.
    version: AtomicU32,
}

/// `asyncio.StreamReaderProtocol` and `asyncio.StreamReader`.
pub(crate) struct AsyncioStreams {
    protocol: Known,
    reader: Known,
}

impl AsyncioStreams {
    /// Remembers the classes as they are.
    pub(crate) fn load(py: Python<'_>) -> PyResult<Self> {
        let streams = py.import("asyncio.streams")?;
        Ok(Self {
            protocol: Known::load(
                &streams.getattr("StreamReaderProtocol")?,
                &["data_received", "_stream_reader"],
            )?,
            reader: Known::load(
                &streams.getattr("StreamReader")?,
                &["feed_data", "_wakeup_waiter"],
            )?,
        })
    }
}

/// Whether [`feed`] may be tried for this protocol.
pub(crate) fn may_feed(protocol: &Bound<'_, PyAny>) -> PyResult<bool> {
    let known = &imports(protocol.py())?.asyncio_streams.protocol;
    Ok(cfg!(Py_3_13) && protocol.get_type().as_ptr() == known.class.as_ptr())
}

/// `protocol.data_received(data)`; false, with nothing done, if that has to be called.
pub(crate) fn feed(protocol: &Bound<'_, PyAny>, data: &[u8]) -> PyResult<bool> {
    let py = protocol.py();
    let known = &imports(py)?.asyncio_streams;
    let attributes = attributes(protocol)?;
    if !known.protocol.is_unchanged(py)? || known.protocol.is_overridden_in(&attributes)? {
        return Ok(false);
    }
    let Some(reference) = attributes.get_item(intern!(py, "_stream_reader_wr"))? else {
        return Ok(false);
    };
    if reference.is_none() {
        return Ok(true);
    }
    let reader = reference.call0()?;
    if reader.get_type().as_ptr() != known.reader.class.as_ptr() {
        return Ok(false);
    }
    let attributes = self::attributes(&reader)?;
    if !known.reader.is_unchanged(py)? || known.reader.is_overridden_in(&attributes)? {
        return Ok(false);
    }
    feed_reader(&attributes, data)
}

fn feed_reader(attributes: &Bound<'_, PyDict>, data: &[u8]) -> PyResult<bool> {
    let py = attributes.py();
    let (Some(eof), Some(buffer), Some(waiter), Some(limit)) = (
        attributes.get_item(intern!(py, "_eof"))?,
        attributes.get_item(intern!(py, "_buffer"))?,
        attributes.get_item(intern!(py, "_waiter"))?,
        attributes.get_item(intern!(py, "_limit"))?,
    ) else {
        return Ok(false);
    };
    let common = eof.is(PyBool::new(py, false))
        && buffer.is_exact_instance_of::<PyByteArray>()
        && limit.is_exact_instance_of::<PyInt>();
    let (true, Ok(limit)) = (common, limit.extract::<usize>()) else {
        return Ok(false);
    };
    append(&buffer, data)?;
    if !waiter.is_none() {
        attributes.set_item(intern!(py, "_waiter"), py.None())?;
        let waiter = Ref::from(waiter);
        let cancelled = call::call_method0(&waiter, intern!(py, "cancelled"))?;
        if !cancelled.bind(py).is_truthy()? {
            call::call_method1(&waiter, intern!(py, "set_result"), &none(py))?;
        }
    }
    // SAFETY: A2 by `buffer`, which is an exact `bytearray`.
    let length = unsafe { ffi::PyByteArray_Size(buffer.as_ptr()) }.unsigned_abs();
    if length <= limit.saturating_mul(2) {
        return Ok(true);
    }
    let transport = attributes.get_item(intern!(py, "_transport"))?;
    let paused = attributes.get_item(intern!(py, "_paused"))?;
    let (Some(transport), Some(paused)) = (transport, paused) else {
        return Ok(true); // deleted by somebody
    };
    if transport.is_none() || paused.is_truthy()? {
        return Ok(true);
    }
    match call::call_method0(&(&transport).into(), intern!(py, "pause_reading")) {
        Ok(_) => attributes.set_item(intern!(py, "_paused"), true)?,
        Err(error) if error.is_instance_of::<PyNotImplementedError>(py) => {
            attributes.set_item(intern!(py, "_transport"), py.None())?;
        }
        Err(error) => return Err(error),
    }
    Ok(true)
}

/// `buffer.extend(data)`, for an exact `bytearray`.
fn append(buffer: &Bound<'_, PyAny>, data: &[u8]) -> PyResult<()> {
    // SAFETY: A2 by `buffer`; A3: the result is looked at; after it, so many bytes behind the old end are ours to
    // write, and no Python code has run.
    unsafe {
        let length = ffi::PyByteArray_Size(buffer.as_ptr());
        let grown = length + ffi::Py_ssize_t::try_from(data.len()).unwrap_or(0);
        if ffi::PyByteArray_Resize(buffer.as_ptr(), grown) < 0 {
            return Err(PyErr::fetch(buffer.py()));
        }
        let end = ffi::PyByteArray_AsString(buffer.as_ptr()).offset(length);
        std::ptr::copy_nonoverlapping(data.as_ptr(), end.cast::<u8>(), data.len());
    }
    Ok(())
}

impl Known {
    fn load(class: &Bound<'_, PyAny>, names: &[&'static str]) -> PyResult<Self> {
        let mut methods = Vec::new();
        for &name in names {
            let function = class.getattr(name)?.into();
            methods.push((PyString::intern(class.py(), name).unbind(), function));
        }
        Ok(Self {
            class: class.into(),
            methods,
            version: AtomicU32::new(0),
        })
    }

    /// Whether the class has the methods that it had. They are compared again when the class has changed.
    fn is_unchanged(&self, py: Python<'_>) -> PyResult<bool> {
        let kind: *mut ffi::PyTypeObject = self.class.as_ptr().cast();
        // SAFETY: A2 by the reference to the class.
        let version = unsafe { (*kind).tp_version_tag };
        if version != 0 && version == self.version.load(Ordering::Relaxed) {
            return Ok(true);
        }
        let class = self.class.bind(py);
        for (name, method) in &self.methods {
            if class.getattr(name)?.as_ptr() != method.as_ptr() {
                return Ok(false);
            }
        }
        // SAFETY: as above; the look-ups have given the class a version.
        let version = unsafe { (*kind).tp_version_tag };
        self.version.store(version, Ordering::Relaxed);
        Ok(true)
    }

    /// Whether the object with these attributes has one of the methods to itself.
    fn is_overridden_in(&self, attributes: &Bound<'_, PyDict>) -> PyResult<bool> {
        for (name, _) in &self.methods {
            if attributes.contains(name)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn attributes<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
    // SAFETY: A2 by `object`, whose class has a dict; A3 by `from_owned_ptr_or_err`.
    let attributes = unsafe {
        let dict = ffi::PyObject_GenericGetDict(object.as_ptr(), std::ptr::null_mut());
        Bound::from_owned_ptr_or_err(object.py(), dict)?
    };
    Ok(attributes.cast_into::<PyDict>()?)
}
