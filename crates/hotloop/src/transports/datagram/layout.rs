//! The object struct of a datagram transport, and how the interpreter visits, clears and frees it.

use std::ffi::{c_int, c_void};
use std::mem::{ManuallyDrop, offset_of};

use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::python::heap_type::{check_offset, check_size, offset_member};

use super::Datagram;

/// An `asyncio.transports._FlowControlMixin` (which is an `asyncio.Transport`) with our state behind its slots.
#[repr(C)]
pub(super) struct DatagramObject {
    head: PyObject,
    /// The slot `_extra` of `asyncio.BaseTransport`: a dict, made when it is asked for.
    pub(super) extra: *mut PyObject,
    /// The slots `_high_water`, `_loop`, `_low_water` and `_protocol_paused` of `_FlowControlMixin`: not used, our
    /// attributes of these names stand before them.
    flow_control: [*mut PyObject; 4],
    dict: *mut PyObject,
    weak_references: *mut PyObject,
    pub(super) datagram: ManuallyDrop<Datagram>,
}

/// Fails with `ImportError` if the running Python lays its transports out in another way.
pub(super) fn check(base: &Bound<'_, PyType>) -> PyResult<()> {
    check_size(base, offset_of!(DatagramObject, dict))?;
    check_offset(base, "_extra", offset_of!(DatagramObject, extra))
}

pub(super) fn members() -> Vec<ffi::PyMemberDef> {
    vec![
        offset_member(c"__dictoffset__", offset_of!(DatagramObject, dict)),
        offset_member(
            c"__weaklistoffset__",
            offset_of!(DatagramObject, weak_references),
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

/// Puts a state into a new object of `kind`, which is the type made for [`DatagramObject`].
pub(super) fn allocate<'py>(
    kind: &Bound<'py, PyType>,
    datagram: Datagram,
) -> PyResult<Bound<'py, PyAny>> {
    let py = kind.py();
    let datagram = ManuallyDrop::new(datagram);
    // SAFETY: A3 by `from_owned_ptr_or_err`. A4: the memory is zeroed and as large as the struct. The collector
    // must not look at the state before it is there: between the allocation and the write nothing can start it.
    unsafe {
        let object =
            Bound::from_owned_ptr_or_err(py, ffi::PyType_GenericAlloc(kind.as_type_ptr(), 0));
        let object = match object {
            Ok(object) => object,
            Err(error) => {
                drop(ManuallyDrop::into_inner(datagram));
                return Err(error);
            }
        };
        (&raw mut (*object.as_ptr().cast::<DatagramObject>()).datagram).write(datagram);
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
        let fields: *mut DatagramObject = object.cast();
        ffi::Py_CLEAR(&raw mut (*fields).extra);
        ffi::Py_CLEAR(&raw mut (*fields).dict);
        ManuallyDrop::drop(&mut (*fields).datagram);
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
            Datagram::of(&object).warn_if_unclosed(&object)
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
        let fields: *mut DatagramObject = object.cast();
        let mut stop = visit(ffi::Py_TYPE(object).cast(), arg);
        for field in [(*fields).extra, (*fields).dict] {
            if stop == 0 && !field.is_null() {
                stop = visit(field, arg);
            }
        }
        (*fields).datagram.for_each_reference(&mut |reference| {
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
        let fields: *mut DatagramObject = object.cast();
        ffi::Py_CLEAR(&raw mut (*fields).extra);
        ffi::Py_CLEAR(&raw mut (*fields).dict);
        (*fields).datagram.drop_references();
    }
    0
}

unsafe extern "C" fn repr(object: *mut PyObject) -> *mut PyObject {
    // SAFETY: A1, A6: called by the interpreter, which holds the object.
    unsafe {
        crate::python::guard(|py| {
            let object = Bound::from_borrowed_ptr(py, object);
            let text = Datagram::of(&object).describe(&object)?;
            Ok(pyo3::types::PyString::new(py, &text).into_any().into_ptr())
        })
    }
}

impl Datagram {
    /// Every Python object that the state refers to.
    fn for_each_reference(&self, look: &mut dyn FnMut(&crate::python::Ref)) {
        let slots = [
            &self.socket,
            &self.event_loop,
            &self.protocol,
            &self.read_context,
            &self.write_context,
            &self.address,
        ];
        for slot in slots {
            slot.peek(|value| {
                if let Some(value) = value {
                    look(value);
                }
            });
        }
        if let Ok(rest) = self.rest.try_borrow() {
            rest.iter()
                .flat_map(|received| [&received.data, &received.sender])
                .for_each(&mut *look);
        }
        if let Ok(queue) = self.queue.try_borrow() {
            queue
                .iter()
                .flat_map(|queued| [&queued.data, &queued.to])
                .for_each(look);
        }
    }

    /// Breaks cycles; the finalizer has closed the socket by now.
    fn drop_references(&self) {
        let taken = [
            self.event_loop.take(),
            self.protocol.take(),
            self.read_context.take(),
            self.write_context.take(),
            self.address.take(),
        ];
        let waiting = (self.rest.take(), self.queue.take());
        drop((taken, waiting));
    }
}
