//! The object structs of the TLS protocol and the TLS transport, and how the interpreter visits, clears and frees
//! them. Both are a Python base class (with `N` slots of its own), a dict, weak references, and our state.

use std::ffi::{c_int, c_void};
use std::mem::{ManuallyDrop, offset_of};

use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::python::Ref;
use crate::python::heap_type::offset_member;

/// An instance of a class over a base with `N` slots.
#[repr(C)]
pub(super) struct Object<S, const N: usize> {
    head: PyObject,
    /// The slots of the base class; ours stand before them, so they are not used.
    pub(super) slots: [*mut PyObject; N],
    pub(super) dict: *mut PyObject,
    weak_references: *mut PyObject,
    pub(super) state: ManuallyDrop<S>,
}

/// What the garbage collector and the finalizer ask of a state.
pub(super) trait State {
    /// Every Python object that the state refers to.
    fn for_each_reference(&self, look: &mut dyn FnMut(&Ref));
    /// Drops those through which cycles go.
    fn drop_references(&self);
    /// The object is about to be freed.
    fn finalize(&self, _object: &Bound<'_, PyAny>) -> PyResult<()> {
        Ok(())
    }
}

pub(super) fn members<S: State, const N: usize>() -> Vec<ffi::PyMemberDef> {
    vec![
        offset_member(c"__dictoffset__", offset_of!(Object<S, N>, dict)),
        offset_member(
            c"__weaklistoffset__",
            offset_of!(Object<S, N>, weak_references),
        ),
    ]
}

pub(super) fn slots<S: State, const N: usize>() -> Vec<(c_int, *mut c_void)> {
    vec![
        (
            ffi::Py_tp_dealloc,
            dealloc::<S, N> as ffi::destructor as *mut c_void,
        ),
        (
            ffi::Py_tp_finalize,
            finalize::<S, N> as ffi::destructor as *mut c_void,
        ),
        (
            ffi::Py_tp_traverse,
            traverse::<S, N> as ffi::traverseproc as *mut c_void,
        ),
        (
            ffi::Py_tp_clear,
            clear::<S, N> as ffi::inquiry as *mut c_void,
        ),
    ]
}

/// Puts a state into a new object of `kind`, which is the type made for it.
pub(super) fn allocate<'py, S: State, const N: usize>(
    kind: &Bound<'py, PyType>,
    state: S,
) -> PyResult<Bound<'py, PyAny>> {
    let py = kind.py();
    // The collector runs before the allocation or not at all; it would find an object without a state otherwise.
    let state = ManuallyDrop::new(state);
    // SAFETY: A3 by `from_owned_ptr_or_err`. A4: the memory is zeroed and as large as the struct.
    unsafe {
        let object =
            Bound::from_owned_ptr_or_err(py, ffi::PyType_GenericAlloc(kind.as_type_ptr(), 0));
        match object {
            Ok(object) => {
                let fields = object.as_ptr().cast::<Object<S, N>>();
                (&raw mut (*fields).state).write(state);
                Ok(object)
            }
            Err(error) => {
                drop(ManuallyDrop::into_inner(state));
                Err(error)
            }
        }
    }
}

unsafe extern "C" fn dealloc<S: State, const N: usize>(object: *mut PyObject) {
    // SAFETY: A1, A4: the interpreter frees an object of our type. The finalizer may bring it back to life.
    unsafe {
        if ffi::PyObject_CallFinalizerFromDealloc(object) != 0 {
            return;
        }
        ffi::PyObject_GC_UnTrack(object.cast());
        ffi::PyObject_ClearWeakRefs(object);
        let fields: *mut Object<S, N> = object.cast();
        for index in 0..N {
            ffi::Py_CLEAR(&raw mut (*fields).slots[index]);
        }
        ffi::Py_CLEAR(&raw mut (*fields).dict);
        ManuallyDrop::drop(&mut (*fields).state);
        let kind = ffi::Py_TYPE(object);
        if let Some(free) = (*kind).tp_free {
            free(object.cast());
        }
        ffi::Py_DECREF(kind.cast());
    }
}

unsafe extern "C" fn finalize<S: State, const N: usize>(object: *mut PyObject) {
    // SAFETY: A1, A4: called by the interpreter with an object that is alive. An exception that is set already is
    // kept aside, as PEP 442 asks.
    unsafe {
        let py = Python::assume_attached();
        let pending = PyErr::take(py);
        let fields: *mut Object<S, N> = object.cast();
        let object = Bound::from_borrowed_ptr(py, object);
        crate::python::guard::unraisable(&object, |_| (*fields).state.finalize(&object));
        if let Some(pending) = pending {
            pending.restore(py);
        }
    }
}

unsafe extern "C" fn traverse<S: State, const N: usize>(
    object: *mut PyObject,
    visit: ffi::visitproc,
    arg: *mut c_void,
) -> c_int {
    // SAFETY: A1, A4: the collector visits an object of our type; nothing here allocates or drops.
    unsafe {
        let fields: *mut Object<S, N> = object.cast();
        let mut stop = visit(ffi::Py_TYPE(object).cast(), arg);
        let slots = &raw const (*fields).slots;
        for field in (*slots).iter().chain([&(*fields).dict]) {
            if stop == 0 && !field.is_null() {
                stop = visit(*field, arg);
            }
        }
        (*fields).state.for_each_reference(&mut |reference| {
            if stop == 0 {
                stop = visit(reference.as_ptr(), arg);
            }
        });
        stop
    }
}

unsafe extern "C" fn clear<S: State, const N: usize>(object: *mut PyObject) -> c_int {
    // SAFETY: A1, A4: the collector clears an object of our type.
    unsafe {
        let fields: *mut Object<S, N> = object.cast();
        for index in 0..N {
            ffi::Py_CLEAR(&raw mut (*fields).slots[index]);
        }
        ffi::Py_CLEAR(&raw mut (*fields).dict);
        (*fields).state.drop_references();
    }
    0
}
