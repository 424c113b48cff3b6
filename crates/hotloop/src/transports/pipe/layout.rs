//! The object struct of a pipe transport, and how the interpreter visits, clears and frees it.

use std::ffi::{CStr, c_int, c_void};
use std::mem::{ManuallyDrop, offset_of};

use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyType};

use crate::python::heap_type::{HeapType, check_offset, check_size, offset_member};

use super::PipeState;
use super::end::{describe, warn_if_unclosed};

/// An `asyncio.BaseTransport` of some kind with our state behind its slots.
#[repr(C)]
pub(super) struct PipeObject<S: PipeState> {
    head: PyObject,
    /// The slot `_extra` of `asyncio.BaseTransport`: a dict.
    extra: *mut PyObject,
    /// The slots of the class below, if it has more: not used, our attributes of their names stand before them.
    base_slots: S::BaseSlots,
    dict: *mut PyObject,
    weak_references: *mut PyObject,
    pub(super) state: ManuallyDrop<S>,
}

/// Makes the type; `ImportError` if the running Python lays its transports out in another way.
pub(super) fn build<S: PipeState>(
    name: &'static CStr,
    base: &Bound<'_, PyType>,
    methods: Vec<ffi::PyMethodDef>,
    getters: Vec<ffi::PyGetSetDef>,
) -> PyResult<Py<PyType>> {
    check_size(base, offset_of!(PipeObject<S>, dict))?;
    check_offset(base, "_extra", offset_of!(PipeObject<S>, extra))?;
    let made = HeapType {
        name,
        size: size_of::<PipeObject<S>>(),
        flags: ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION,
        slots: vec![
            (
                ffi::Py_tp_dealloc,
                dealloc::<S> as ffi::destructor as *mut c_void,
            ),
            (
                ffi::Py_tp_finalize,
                finalize::<S> as ffi::destructor as *mut c_void,
            ),
            (
                ffi::Py_tp_traverse,
                traverse::<S> as ffi::traverseproc as *mut c_void,
            ),
            (ffi::Py_tp_clear, clear::<S> as ffi::inquiry as *mut c_void),
            (ffi::Py_tp_repr, repr::<S> as ffi::reprfunc as *mut c_void),
        ],
        methods,
        getters,
        members: vec![
            offset_member(c"__dictoffset__", offset_of!(PipeObject<S>, dict)),
            offset_member(
                c"__weaklistoffset__",
                offset_of!(PipeObject<S>, weak_references),
            ),
        ],
    }
    .build(base)?;
    Ok(made.unbind())
}

/// Puts a state into a new object of `kind`, which is the type made for it.
pub(super) fn allocate<'py, S: PipeState>(
    kind: &Bound<'py, PyType>,
    state: S,
    extra: Bound<'py, PyDict>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = kind.py();
    // SAFETY: A3 by `from_owned_ptr_or_err`. A4: the memory is zeroed and as large as the struct. Nothing runs
    // between the allocation and the end, so the collector does not look at the object before its state is there.
    unsafe {
        let object =
            Bound::from_owned_ptr_or_err(py, ffi::PyType_GenericAlloc(kind.as_type_ptr(), 0))?;
        let fields: *mut PipeObject<S> = object.as_ptr().cast();
        (&raw mut (*fields).state).write(ManuallyDrop::new(state));
        (*fields).extra = extra.into_ptr();
        Ok(object)
    }
}

unsafe extern "C" fn dealloc<S: PipeState>(object: *mut PyObject) {
    // SAFETY: A1, A4: the interpreter frees an object of our type. The finalizer may bring it back to life.
    unsafe {
        if ffi::PyObject_CallFinalizerFromDealloc(object) != 0 {
            return;
        }
        ffi::PyObject_GC_UnTrack(object.cast());
        ffi::PyObject_ClearWeakRefs(object);
        let fields: *mut PipeObject<S> = object.cast();
        ffi::Py_CLEAR(&raw mut (*fields).extra);
        ffi::Py_CLEAR(&raw mut (*fields).dict);
        ManuallyDrop::drop(&mut (*fields).state);
        let kind = ffi::Py_TYPE(object);
        if let Some(free) = (*kind).tp_free {
            free(object.cast());
        }
        ffi::Py_DECREF(kind.cast());
    }
}

unsafe extern "C" fn finalize<S: PipeState>(object: *mut PyObject) {
    // SAFETY: A1: called by the interpreter with an object that is alive. An exception that is set already is
    // kept aside, as PEP 442 asks.
    unsafe {
        let py = Python::assume_attached();
        let pending = PyErr::take(py);
        let object = Bound::from_borrowed_ptr(py, object);
        crate::python::guard::unraisable(&object, |_| warn_if_unclosed::<S>(&object));
        if let Some(pending) = pending {
            pending.restore(py);
        }
    }
}

unsafe extern "C" fn traverse<S: PipeState>(
    object: *mut PyObject,
    visit: ffi::visitproc,
    arg: *mut c_void,
) -> c_int {
    // SAFETY: A1, A4: the collector visits an object of our type; nothing here allocates or drops.
    unsafe {
        let fields: *mut PipeObject<S> = object.cast();
        let mut stop = visit(ffi::Py_TYPE(object).cast(), arg);
        for field in [(*fields).extra, (*fields).dict] {
            if stop == 0 && !field.is_null() {
                stop = visit(field, arg);
            }
        }
        let mut look = |reference: &crate::python::Ref| {
            if stop == 0 {
                stop = visit(reference.as_ptr(), arg);
            }
        };
        let state: &S = &(*fields).state;
        for slot in state.end().slots() {
            slot.peek(|value| value.map_or((), &mut look));
        }
        state.for_each_reference(&mut look);
        stop
    }
}

unsafe extern "C" fn clear<S: PipeState>(object: *mut PyObject) -> c_int {
    // SAFETY: A1, A4: the collector clears an object of our type.
    unsafe {
        let fields: *mut PipeObject<S> = object.cast();
        ffi::Py_CLEAR(&raw mut (*fields).extra);
        ffi::Py_CLEAR(&raw mut (*fields).dict);
        (*fields).state.end().drop_references();
        (*fields).state.drop_references();
    }
    0
}

unsafe extern "C" fn repr<S: PipeState>(object: *mut PyObject) -> *mut PyObject {
    // SAFETY: A1, A6: called by the interpreter, which holds the object.
    unsafe {
        crate::python::guard(|py| {
            let object = Bound::from_borrowed_ptr(py, object);
            Ok(PyString::new(py, &describe::<S>(&object)?)
                .into_any()
                .into_ptr())
        })
    }
}
