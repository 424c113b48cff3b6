//! Pipes: `_make_read_pipe_transport` and `_make_write_pipe_transport`, which `BaseEventLoop.connect_read_pipe` and
//! `connect_write_pipe` call.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::transports::pipe::{ReadPipe, WritePipe, new_pipe};

use super::Loop;

#[pymethods]
impl Loop {
    /// Make a transport that reads from a file-like object: a pipe, a FIFO, a socket or a character device.
    ///
    /// ValueError for anything else; OSError as fstat(2) says.
    #[pyo3(signature = (pipe, protocol, waiter=None, extra=None))]
    fn _make_read_pipe_transport<'py>(
        slf: &Bound<'py, Self>,
        pipe: &Bound<'py, PyAny>,
        protocol: &Bound<'py, PyAny>,
        waiter: Option<&Bound<'py, PyAny>>,
        extra: Option<Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        new_pipe::<ReadPipe>(slf, pipe, protocol, waiter, extra)
    }

    /// Make a transport that writes to a file-like object: a pipe, a FIFO, a socket or a character device.
    ///
    /// ValueError for anything else; OSError as fstat(2) says.
    #[pyo3(signature = (pipe, protocol, waiter=None, extra=None))]
    fn _make_write_pipe_transport<'py>(
        slf: &Bound<'py, Self>,
        pipe: &Bound<'py, PyAny>,
        protocol: &Bound<'py, PyAny>,
        waiter: Option<&Bound<'py, PyAny>>,
        extra: Option<Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        new_pipe::<WritePipe>(slf, pipe, protocol, waiter, extra)
    }
}
