//! Python exceptions made from what the reactor and the system report.
//!
//! PyO3's own conversion of `io::Error` keeps the text but loses `errno`; asyncio's callers look at `errno`.

use std::io;

use crate::python::make::Words;
use pyo3::exceptions::PyOSError;
use pyo3::intern;
use pyo3::prelude::*;

/// `result?` with the exception that Python's own call would raise.
pub(crate) trait OrRaise<T> {
    /// The value, or `OSError(errno, strerror)`: the subclass that belongs to the number (PEP 3151).
    fn or_raise(self, py: Python<'_>) -> PyResult<T>;
}

impl<T> OrRaise<T> for io::Result<T> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| os_error(py, &error))
    }
}

/// The exception for a failed system call.
pub(crate) fn os_error(py: Python<'_>, error: &io::Error) -> PyErr {
    let Some(number) = error.raw_os_error() else {
        return PyOSError::new_err(Words(error.to_string()));
    };
    let made = py
        .import(intern!(py, "os"))
        .and_then(|os| os.call_method1(intern!(py, "strerror"), (number,)))
        .and_then(|text| py.get_type::<PyOSError>().call1((number, text)));
    match made {
        Ok(exception) => PyErr::from_value(exception),
        Err(error) => error,
    }
}
