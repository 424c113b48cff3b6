//! The object struct of a stream transport, and how the interpreter visits, clears and frees it.

use std::ffi::{c_int, c_void};
use std::mem::{ManuallyDrop, offset_of};

use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::python::heap_type::{check_offset, check_size, offset_member};

use super::Stream;
use crate::python::make;

/// An `asyncio.transports._FlowControlMixin` (which is an `asyncio.Transport`) with our state behind its slots.
#[repr(C)]
pub(super) struct StreamObject {
    head: PyObject,
    /// The slot `_extra` of `asyncio.BaseTransport`: a dict, made when it is asked for.
    pub(super) extra: *mut PyObject,
    /// The slots `_high_water`, `_loop`, `_low_water` and `_protocol_paused` of `_FlowControlMixin`: not used, our
    /// attributes of these names stand before them.
    flow_control: [*mut PyObject; 4],
    dict: *mut PyObject,
    weak_references: *mut PyObject,
    pub(super) stream: ManuallyDrop<Stream>,
}

/// Fails with `ImportError` if the running Python lays its transports out in another way.
pub(super) fn check(base: &Bound<'_, PyType>) -> PyResult<()> {
    check_size(base, offset_of!(StreamObject, dict))?;
    check_offset(base, "_extra", offset_of!(StreamObject, extra))
}

pub(super) fn members() -> Vec<ffi::PyMemberDef> {
    vec![
        offset_member(c"__dictoffset__", offset_of!(StreamObject, dict)),
        offset_member(
            c"__weaklistoffset__",
            offset_of!(StreamObject, weak_references),
        ),
    ]
}

pub(super) fn slots() -> Vec<(c_int, *mut c_void)> {
    vec![
        (
            ffi::Py_tp_dealloc,
            dealloc as ffi::destructor as *mut c_void,
        ),
        (
            ffi::Py_tp_finalize,
            finalize as ffi::destructor as *mut c_void,
        ),
        (
            ffi::Py_tp_traverse,
            traverse as ffi::traverseproc as *mut c_void,
        ),
        (ffi::Py_tp_clear, clear as ffi::inquiry as *mut c_void),
        (ffi::Py_tp_repr, repr as ffi::reprfunc as *mut c_void),
    ]
}

/// Whether somebody has set an attribute on the transport.
pub(super) fn has_attributes(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: A4: the caller has seen the type; A2 by `object`.
    unsafe { !(*object.as_ptr().cast::<StreamObject>()).dict.is_null() }
}

/// Puts a state into a new object of `kind`, which is the type made for [`StreamObject`].
pub(super) fn allocate<'py>(
    kind: &Bound<'py, PyType>,
    stream: Stream,
) -> PyResult<Bound<'py, PyAny>> {
    let py = kind.py();
    let stream = ManuallyDrop::new(stream);
    // SAFETY: A3 by `from_owned_ptr_or_err`. A4: the memory is zeroed and as large as the struct. The collector
    // must not look at the state before it is there: the object is untracked until then.
    unsafe {
        let object =
            Bound::from_owned_ptr_or_err(py, ffi::PyType_GenericAlloc(kind.as_type_ptr(), 0));
        let object = match object {
            Ok(object) => object,
            Err(error) => {
                drop(ManuallyDrop::into_inner(stream));
                return Err(error);
            }
        };
        (&raw mut (*object.as_ptr().cast::<StreamObject>()).stream).write(stream);
        Ok(object)
    }
}

unsafe extern "C" fn dealloc(object: *mut PyObject) {
    // SAFETY: A1, A4: the interpreter frees an object of our type. The finalizer may bring it back to life.
    unsafe {
        if ffi::PyObject_CallFinalizerFromDealloc(object) != 0 {
            return;
        }
        ffi::PyObject_GC_UnTrack(object.cast());
        ffi::PyObject_ClearWeakRefs(object);
        let fields: *mut StreamObject = object.cast();
        ffi::Py_CLEAR(&raw mut (*fields).extra);
        ffi::Py_CLEAR(&raw mut (*fields).dict);
        ManuallyDrop::drop(&mut (*fields).stream);
        let kind = ffi::Py_TYPE(object);
        if let Some(free) = (*kind).tp_free {
            free(object.cast());
        }
        ffi::Py_DECREF(kind.cast());
    }
}

unsafe extern "C" fn finalize(object: *mut PyObject) {
    // SAFETY: A1: called by the interpreter with an object that is alive. An exception that is set already is
    // kept aside, as PEP 442 asks.
    unsafe {
        let py = Python::assume_attached();
        let pending = PyErr::take(py);
        let object = Bound::from_borrowed_ptr(py, object);
        crate::python::guard::unraisable(&object, |_| {
            Stream::of(&object).warn_if_unclosed(&object)
        });
        if let Some(pending) = pending {
            pending.restore(py);
        }
    }
}

unsafe extern "C" fn traverse(
    object: *mut PyObject,
    visit: ffi::visitproc,
    arg: *mut c_void,
) -> c_int {
    // SAFETY: A1, A4: the collector visits an object of our type; nothing here allocates or drops.
    unsafe {
        let fields: *mut StreamObject = object.cast();
        let mut stop = visit(ffi::Py_TYPE(object).cast(), arg);
        for field in [(*fields).extra, (*fields).dict] {
            if stop == 0 && !field.is_null() {
                stop = visit(field, arg);
            }
        }
        (*fields).stream.for_each_reference(&mut |reference| {
            if stop == 0 {
                stop = visit(reference.as_ptr(), arg);
            }
        });
        stop
    }
}

unsafe extern "C" fn clear(object: *mut PyObject) -> c_int {
    // SAFETY: A1, A4: the collector clears an object of our type.
    unsafe {
        let fields: *mut StreamObject = object.cast();
        ffi::Py_CLEAR(&raw mut (*fields).extra);
        ffi::Py_CLEAR(&raw mut (*fields).dict);
        (*fields).stream.drop_references();
    }
    0
}

unsafe extern "C" fn repr(object: *mut PyObject) -> *mut PyObject {
    // SAFETY: A1, A6: called by the interpreter, which holds the object.
    unsafe {
        crate::python::guard(|py| {
            let object = Bound::from_borrowed_ptr(py, object);
            let text = Stream::of(&object).describe(&object)?;
            Ok(make::string(py, &text)?.into_any().into_ptr())
        })
    }
}

impl Stream {
    /// Every Python object that the state refers to.
    fn for_each_reference(&self, look: &mut dyn FnMut(&crate::python::Ref)) {
        let slots = [
            &self.event_loop,
            &self.protocol,
            &self.server,
            &self.context,
            &self.read_context,
            &self.write_context,
            &self.empty_waiter,
        ];
        for slot in slots {
            slot.peek(|value| {
                if let Some(value) = value {
                    look(value);
                }
            });
        }
        if let Ok(owner) = self.owner.try_borrow()
            && let Some(socket) = owner.socket()
        {
            look(socket);
        }
    }

    /// Breaks cycles; the socket stays, so that it is closed with the transport.
    fn drop_references(&self) {
        let taken = [
            self.event_loop.take(),
            self.protocol.take(),
            self.server.take(),
            self.context.take(),
            self.read_context.take(),
            self.write_context.take(),
            self.empty_waiter.take(),
        ];
        drop(taken);
    }
}
