//! `_core.StreamWriter`: the native half of `hotloop.StreamWriter`.

use pyo3::exceptions::PyAttributeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};
use pyo3::{Borrowed, PyTraverseError, PyVisit, intern};

use crate::event_loop::callbacks::put_methods;
use crate::python::guard::none;
use crate::python::heap_type::method_fast;
use crate::python::make::Words;
use crate::python::{FastArguments, Ref, RefSlot, call};
use crate::transports::stream::Stream;

use super::operation::{self, Kind};
use super::{Protocol, Reader, names};

/// The native half of a stream's writing end. Not for direct use.
#[pyclass(frozen, subclass, name = "StreamWriter", module = "hotloop._core")]
pub(crate) struct Writer {
    transport: RefSlot,
    protocol: RefSlot,
    reader: RefSlot,
}

// SAFETY: A1: used only by the thread that holds the interpreter.
unsafe impl Sync for Writer {}
// SAFETY: A1, as above.
unsafe impl Send for Writer {}

pub(super) fn add_methods(class: &Bound<'_, PyType>) -> PyResult<()> {
    put_methods(
        class,
        vec![
            method_fast!(
                c"write",
                c"write($self, /, data)\n--\n\nSend bytes-like data; what the socket does not take now is queued: see drain().\n\nRaises what transport.write() raises. As asyncio.StreamWriter.write().",
                write
            ),
            method_fast!(
                c"drain",
                c"drain($self, /)\n--\n\nWait until the queue is short enough to write again; at once if it is.\n\nRaises the exception of the connection, ConnectionResetError after its end. As\nasyncio.StreamWriter.drain().",
                drain
            ),
        ],
    )
}

#[pymethods]
impl Writer {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self {
            transport: RefSlot::default(),
            protocol: RefSlot::default(),
            reader: RefSlot::default(),
        }
    }

    #[getter(_transport)]
    fn get_transport<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.transport(py).map(|object| object.into_bound(py))
    }

    #[setter(_transport)]
    fn set_transport(&self, transport: &Bound<'_, PyAny>) {
        drop(self.transport.replace(Some(transport.into())));
    }

    #[getter(_protocol)]
    fn get_protocol<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        known(py, &self.protocol, "_protocol").map(|object| object.into_bound(py))
    }

    #[setter(_protocol)]
    fn set_protocol(&self, protocol: &Bound<'_, PyAny>) {
        drop(self.protocol.replace(Some(protocol.into())));
    }

    #[getter(_reader)]
    fn get_reader<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        known(py, &self.reader, "_reader").map(|object| object.into_bound(py))
    }

    #[setter(_reader)]
    fn set_reader(&self, reader: &Bound<'_, PyAny>) {
        drop(self.reader.replace(Some(reader.into())));
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.transport.traverse(&visit)?;
        self.protocol.traverse(&visit)?;
        self.reader.traverse(&visit)
    }

    fn __clear__(&self) {
        drop((
            self.transport.take(),
            self.protocol.take(),
            self.reader.take(),
        ));
    }
}

impl Writer {
    /// Whether `drain()` has nothing to wait for.
    ///
    /// # Errors
    /// The reader's exception.
    pub(super) fn is_drained(&self, py: Python<'_>) -> PyResult<bool> {
        let reader = known(py, &self.reader, "_reader")?;
        let reader = reader.bind(py);
        if !reader.is_none() {
            match reader.cast::<Reader>() {
                Ok(native) if Reader::is_plain(&native) => native.get().check(py)?,
                _ => return Ok(false),
            }
        }
        let transport = self.transport(py)?;
        let transport = transport.bind(py);
        let closing = match Stream::untouched(&transport) {
            Some(stream) => stream.is_closing(&transport)?,
            None => transport
                .call_method0(intern!(py, "is_closing"))?
                .is_truthy()?,
        };
        let protocol = known(py, &self.protocol, "_protocol")?;
        Ok(!closing
            && protocol
                .bind(py)
                .cast::<Protocol>()
                .is_ok_and(|protocol| Protocol::is_flowing(&protocol)))
    }

    fn transport(&self, py: Python<'_>) -> PyResult<Ref> {
        known(py, &self.transport, "_transport")
    }
}

fn write<'py>(
    py: Python<'py>,
    slf: Borrowed<'_, 'py, PyAny>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    let (Some(data), 1, 0) = (
        arguments.get(0),
        arguments.positional_count(),
        arguments.keyword_count(),
    ) else {
        return by_asyncio(py, slf, "write", arguments);
    };
    let transport = receiver(&slf).get().transport(py)?;
    match Stream::untouched(&transport.bind(py)) {
        Some(stream) => stream.write(&transport.bind(py), &data)?,
        None => drop(call::call_method1(
            &transport,
            intern!(py, "write"),
            &(&*data).into(),
        )?),
    }
    Ok(none(py))
}

fn drain<'py>(
    py: Python<'py>,
    slf: Borrowed<'_, 'py, PyAny>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    if !arguments.is_empty() {
        return by_asyncio(py, slf, "drain", arguments);
    }
    operation::new(py, &slf, Kind::Drain)
}

/// Calls the method of `asyncio.StreamWriter` with the same arguments.
fn by_asyncio<'py>(
    py: Python<'py>,
    slf: Borrowed<'_, 'py, PyAny>,
    name: &str,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    super::by_method_of(&names(py)?.base_writer, slf, name, arguments)
}

/// The writer of a method that the interpreter called on it.
fn receiver<'a, 'py>(slf: &'a Borrowed<'_, 'py, PyAny>) -> &'a Bound<'py, Writer> {
    // SAFETY: A4: a method descriptor of the class checks the type of `self` before it calls.
    unsafe { Bound::cast_unchecked::<Writer>(slf) }
}

fn known(py: Python<'_>, slot: &RefSlot, name: &'static str) -> PyResult<Ref> {
    slot.get(py).ok_or_else(|| {
        PyAttributeError::new_err(Words(format!(
            "'StreamWriter' object has no attribute '{name}'"
        )))
    })
}
