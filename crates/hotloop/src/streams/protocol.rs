//! `_core.StreamReaderProtocol`: the native half of `hotloop.StreamReaderProtocol`.
//!
//! It holds the reader (by a weak reference, as asyncio's does) and the two flags that `drain()` looks at; what
//! happens once per connection is asyncio's own code.

use std::cell::Cell;

use pyo3::exceptions::PyAttributeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple, PyWeakrefMethods, PyWeakrefReference};
use pyo3::{PyTraverseError, PyVisit};

use crate::python::RefSlot;
use crate::python::guard::none;
use crate::python::make;
use crate::python::make::Words;

use super::Reader;
use super::overrides::Overrides;
use super::reader::set_attribute;

/// The methods that native code skips.
pub(super) const HOOKS: [&str; 4] = [
    "data_received",
    "_drain_helper",
    "_stream_reader",
    "_get_close_waiter",
];

/// The native half of a stream's protocol. Not for direct use.
#[pyclass(
    frozen,
    subclass,
    name = "StreamReaderProtocol",
    module = "hotloop._core"
)]
pub(crate) struct Protocol {
    /// A weak reference to the reader, or `None`.
    reader: RefSlot,
    /// Whether the transport's buffer is above its high-water mark.
    paused: Cell<bool>,
    lost: Cell<bool>,
    overrides: Overrides,
}

// SAFETY: A1: used only by the thread that holds the interpreter.
unsafe impl Sync for Protocol {}
// SAFETY: A1, as above.
unsafe impl Send for Protocol {}

#[pymethods]
impl Protocol {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self {
            reader: RefSlot::default(),
            paused: Cell::new(false),
            lost: Cell::new(false),
            overrides: Overrides::default(),
        }
    }

    /// Give the reader what was received, a bytes-like object. As `asyncio.StreamReaderProtocol.data_received()`.
    fn data_received(slf: &Bound<'_, Self>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        let reader = slf.getattr(intern!(py, "_stream_reader"))?;
        if reader.is_none() {
            return Ok(());
        }
        reader
            .call_method1(intern!(py, "feed_data"), (data,))
            .map(drop)
    }

    #[getter(_stream_reader_wr)]
    fn reader_reference<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self.reader.get(py) {
            Some(reference) => Ok(reference.into_bound(py)),
            None => Err(PyAttributeError::new_err(Words("_stream_reader_wr"))),
        }
    }

    #[setter(_stream_reader_wr)]
    fn set_reader_reference(&self, reference: &Bound<'_, PyAny>) {
        drop(self.reader.replace(Some(reference.into())));
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

    #[getter(_connection_lost)]
    fn get_connection_lost(&self) -> bool {
        self.lost.get()
    }

    #[setter(_connection_lost)]
    fn set_connection_lost(&self, lost: &Bound<'_, PyAny>) -> PyResult<()> {
        self.lost.set(lost.is_truthy()?);
        Ok(())
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
        self.reader.traverse(&visit)
    }

    fn __clear__(&self) {
        drop(self.reader.take());
    }
}

impl Protocol {
    /// Whether `drain()` has nothing to wait for and nothing to raise, as far as the protocol knows.
    pub(super) fn is_flowing(slf: &Bound<'_, Self>) -> bool {
        let this = slf.get();
        !this.paused.get() && !this.lost.get() && !this.is_overridden(slf)
    }

    /// What a native transport has received.
    pub(super) fn feed(slf: &Bound<'_, Self>, data: &[u8]) -> PyResult<()> {
        let py = slf.py();
        let this = slf.get();
        if this.is_overridden(slf) {
            let data = make::bytes(py, data)?;
            return slf
                .call_method1(intern!(py, "data_received"), (data,))
                .map(drop);
        }
        let reference = this.reader.get(py).unwrap_or_else(|| none(py));
        let reader = match reference.bind(py).cast::<PyWeakrefReference>() {
            Ok(reference) => reference.upgrade(),
            Err(_) => None, // the connection is lost
        };
        match reader {
            None => Ok(()),
            Some(reader) => match reader.cast::<Reader>() {
                Ok(native) if Reader::is_plain(native) => Reader::feed(native, data),
                _ => reader
                    .call_method1(intern!(py, "feed_data"), (make::bytes(py, data)?,))
                    .map(drop),
            },
        }
    }

    fn is_overridden(&self, slf: &Bound<'_, Self>) -> bool {
        self.overrides.any(slf, |names| &names.protocol)
    }
}
