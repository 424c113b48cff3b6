//! What the method tables of the transports have in common: rows of the stream's, the datagram's and the TLS one's, and how
//! all of them take the arguments of `_fatal_error()`.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use crate::python::FastArguments;
use crate::python::make::Words;

/// The rows, for functions of these names in the module that calls it; a macro, as what the interpreter calls cannot be
/// generic.
macro_rules! common_methods {
    () => {{
        use $crate::python::heap_type::{method_fast, method_noargs};
        use $crate::transports::docs;
        vec![
            method_noargs!(c"abort", docs::ABORT, abort),
            method_noargs!(c"is_closing", docs::IS_CLOSING, is_closing),
            method_noargs!(c"is_reading", docs::IS_READING, is_reading),
            method_noargs!(c"pause_reading", docs::PAUSE_READING, pause_reading),
            method_noargs!(c"resume_reading", docs::RESUME_READING, resume_reading),
            method_fast!(c"set_protocol", docs::SET_PROTOCOL, set_protocol),
            method_noargs!(c"get_protocol", docs::GET_PROTOCOL, get_protocol),
            method_fast!(c"get_extra_info", docs::GET_EXTRA_INFO, get_extra_info),
        ]
    }};
}

pub(super) use common_methods;

/// The arguments of asyncio's `_fatal_error(exc, message=default)`.
pub(super) fn error_and_message<'py>(
    arguments: FastArguments<'_, 'py>,
    default: &str,
) -> PyResult<(Bound<'py, PyAny>, String)> {
    let [error, message] = arguments.named("_fatal_error", ["exc", "message"])?;
    let error =
        error.ok_or_else(|| PyTypeError::new_err(Words("_fatal_error() needs an exception")))?;
    let message = match message {
        Some(message) => message.extract()?,
        None => default.to_owned(),
    };
    Ok((error.to_owned(), message))
}
