//! Objects made with every refused allocation answered by `MemoryError`.
//!
//! PyO3's own constructors (`PyDict::new`, `PyBytes::new`, `PyTuple::new`, ...) panic when the interpreter has no
//! memory; in a method that PyO3 wraps, the panic becomes a `PanicException`, for which memory is needed again.

use pyo3::exceptions::PyMemoryError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyFloat, PyList, PyString, PyTuple};
use pyo3::{IntoPyObjectExt, PyErrArguments};

use super::Ref;

/// A `float`.
pub(crate) fn float(py: Python<'_>, value: f64) -> PyResult<Bound<'_, PyFloat>> {
    // SAFETY: A1, A3: a new reference, or null with an exception set; the type is the function's.
    unsafe { owned(py, ffi::PyFloat_FromDouble(value)).map(|made| made.cast_into_unchecked()) }
}

/// An `int`.
pub(crate) fn number(py: Python<'_>, value: i64) -> PyResult<Bound<'_, PyAny>> {
    // SAFETY: as above.
    unsafe { owned(py, ffi::PyLong_FromLongLong(value)) }
}

/// An empty `dict`.
pub(crate) fn dict(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    // SAFETY: as above.
    unsafe { owned(py, ffi::PyDict_New()).map(|made| made.cast_into_unchecked()) }
}

/// An empty `list`.
pub(crate) fn list(py: Python<'_>) -> PyResult<Bound<'_, PyList>> {
    // SAFETY: as above.
    unsafe { owned(py, ffi::PyList_New(0)).map(|made| made.cast_into_unchecked()) }
}

/// A `bytes` with a copy of the data.
pub(crate) fn bytes<'py>(py: Python<'py>, data: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    let length = length(data.len())?;
    // SAFETY: as above; the function copies `length` bytes from the slice.
    unsafe {
        owned(
            py,
            ffi::PyBytes_FromStringAndSize(data.as_ptr().cast(), length),
        )
        .map(|made| made.cast_into_unchecked())
    }
}

/// A `bytearray` with a copy of the data.
pub(crate) fn bytearray(py: Python<'_>, data: &[u8]) -> PyResult<Ref> {
    let length = length(data.len())?;
    // SAFETY: as above; the function copies `length` bytes from the slice.
    let made = unsafe {
        owned(
            py,
            ffi::PyByteArray_FromStringAndSize(data.as_ptr().cast(), length),
        )?
    };
    Ok(made.into())
}

/// A `str`.
pub(crate) fn string<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyString>> {
    let length = length(text.len())?;
    // SAFETY: as above; the text is UTF-8 of that length.
    unsafe {
        owned(
            py,
            ffi::PyUnicode_FromStringAndSize(text.as_ptr().cast(), length),
        )
        .map(|made| made.cast_into_unchecked())
    }
}

/// A `tuple` of objects, or of what converts to them.
pub(crate) fn tuple<'py, T: IntoPyObject<'py>>(
    py: Python<'py>,
    items: impl IntoIterator<Item = T>,
) -> PyResult<Bound<'py, PyTuple>> {
    let items = items
        .into_iter()
        .map(|item| item.into_bound_py_any(py))
        .collect::<PyResult<Vec<_>>>()?;
    // SAFETY: A3: looked at by `owned`; every place of the new tuple is filled before anybody sees it, and takes
    // over the reference that it is given.
    unsafe {
        let tuple = owned(py, ffi::PyTuple_New(length(items.len())?))?;
        for (index, item) in items.into_iter().enumerate() {
            ffi::PyTuple_SET_ITEM(tuple.as_ptr(), index as ffi::Py_ssize_t, item.into_ptr());
        }
        Ok(tuple.cast_into_unchecked())
    }
}

/// The words of an exception that is made later, when `MemoryError` can no longer be raised in its place: without
/// memory the exception has no words.
pub(crate) struct Words<T>(pub(crate) T);

impl<T: AsRef<str> + Send + Sync> PyErrArguments for Words<T> {
    fn arguments(self, py: Python<'_>) -> Py<PyAny> {
        string(py, self.0.as_ref()).map_or_else(|_| py.None(), |text| text.into_any().unbind())
    }
}

fn length(length: usize) -> PyResult<ffi::Py_ssize_t> {
    length.try_into().map_err(|_| PyMemoryError::new_err(()))
}

/// # Safety
/// `object` is null with an exception set, or a new reference (A3).
unsafe fn owned(py: Python<'_>, object: *mut ffi::PyObject) -> PyResult<Bound<'_, PyAny>> {
    // SAFETY: A3, by the caller.
    unsafe { Bound::from_owned_ptr_or_err(py, object) }
}
