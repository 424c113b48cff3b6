//! hotloop works in the main interpreter only: what it imported is kept once for the process.
//!
//! CPython facts: from 3.12 on the import system itself refuses an extension that does not say that it supports
//! subinterpreters, if the subinterpreter asks for that check; 3.11, and subinterpreters that do not ask, let it in.

use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;

/// # Errors
/// `ImportError` in any interpreter but the main one.
pub(crate) fn refuse_subinterpreter(_py: Python<'_>) -> PyResult<()> {
    // SAFETY: A1 by the token: the current interpreter is there, and neither function can fail for it.
    let id = unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) };
    if id == 0 {
        return Ok(());
    }
    Err(PyImportError::new_err(
        "hotloop works in the main interpreter only; it cannot be imported in a subinterpreter",
    ))
}
