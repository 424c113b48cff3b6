//! `transport.max_size`: how many bytes a transport asks the kernel for at once.
//!
//! asyncio's transports have it as an attribute of the class and look it up for each read, so that a program can set
//! another one on an instance. Here the class has it as well; setting it on an instance keeps a plain number beside
//! the attribute, and that is what a read looks at.
//!
//! CPython fact this rests on (`Objects/typeobject.c`, 3.11-3.15): `tp_setattro` of a type made from a spec is called
//! for each `setattr` and `delattr` on an instance.

use std::cell::Cell;
use std::ffi::{c_int, c_void};

use pyo3::exceptions::PyValueError;
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::{PyString, PyType};

use crate::event_loop::READ_BUFFER_SIZE;
use crate::python::make::Words;

use super::object::{State, state};

/// A state that reads no more than its size at once.
pub(super) trait Reads: State {
    /// The number of bytes, at most [`READ_BUFFER_SIZE`].
    fn max_size(&self) -> &Cell<usize>;
}

/// What a new transport has.
pub(super) fn default() -> Cell<usize> {
    Cell::new(READ_BUFFER_SIZE)
}

/// Adds to the slots of a type what follows the attribute.
pub(super) fn with_max_size<S: Reads>(
    mut slots: Vec<(c_int, *mut c_void)>,
) -> Vec<(c_int, *mut c_void)> {
    slots.push((
        ffi::Py_tp_setattro,
        set_attribute::<S> as ffi::setattrofunc as *mut c_void,
    ));
    slots
}

/// The attribute of the class.
pub(super) fn add_constant(class: &Bound<'_, PyType>) -> PyResult<()> {
    class.setattr("max_size", READ_BUFFER_SIZE)
}

unsafe extern "C" fn set_attribute<S: Reads>(
    object: *mut PyObject,
    name: *mut PyObject,
    value: *mut PyObject,
) -> c_int {
    // SAFETY: A1, A6: called by the interpreter, which holds the objects; a null value means deletion.
    unsafe {
        crate::python::guard(|py| {
            let object = Bound::from_borrowed_ptr(py, object);
            let named = Bound::from_borrowed_ptr(py, name);
            let is_max_size = named
                .cast::<PyString>()
                .is_ok_and(|named| named.to_str().is_ok_and(|named| named == "max_size"));
            let size = match Bound::from_borrowed_ptr_or_opt(py, value) {
                Some(value) if is_max_size => size(&value)?,
                _ => READ_BUFFER_SIZE,
            };
            if ffi::PyObject_GenericSetAttr(object.as_ptr(), name, value) != 0 {
                return Err(PyErr::fetch(py));
            }
            if is_max_size {
                state::<S>(&object).max_size().set(size);
            }
            Ok(0)
        })
    }
}

/// The number of bytes that a value stands for; more than the loop's buffer has room for is as much as that.
///
/// asyncio lets the kernel's call fail later, for the same reasons and in the same words.
fn size(value: &Bound<'_, PyAny>) -> PyResult<usize> {
    let size: isize = value.extract()?;
    match usize::try_from(size) {
        Ok(size) => Ok(size.min(READ_BUFFER_SIZE)),
        Err(_) => Err(PyValueError::new_err(Words("negative buffersize in recv"))),
    }
}
