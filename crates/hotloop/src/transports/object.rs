//! The object struct of every transport (and of the TLS protocol), and how the interpreter visits, clears and frees it.
//!
//! All of them are a Python base class with `__slots__`, a dict, weak references, and our state behind that. What
//! differs is the state, which says by [`State`] what it refers to.

use std::ffi::{c_int, c_void};
use std::mem::{ManuallyDrop, offset_of};

use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};

use crate::python::guard::{attached, unraisable};
use crate::python::heap_type::{attribute, check_offset, check_size, offset_member};
use crate::python::{Ref, RefSlot, make};

/// An instance of a class over a base with slots.
#[repr(C)]
pub(super) struct Object<S: State> {
    head: PyObject,
    /// The slots of the base class; our attributes of their names stand before them, so they are not used, but for
    /// the first one of a transport, `_extra`.
    slots: S::Slots,
    dict: *mut PyObject,
    weak_references: *mut PyObject,
    state: ManuallyDrop<S>,
}

/// So many slots.
pub(super) type Slots<const N: usize> = [*mut PyObject; N];

/// The slots of `asyncio.transports._FlowControlMixin`: `_extra` of `BaseTransport`, and `_high_water`, `_loop`,
/// `_low_water`, `_protocol_paused`.
pub(super) type FlowControlSlots = Slots<5>;

/// What the garbage collector and the finalizer ask of a state.
pub(crate) trait State: Sized + 'static {
    /// The slots of the base class: [`Slots`].
    type Slots: AsRef<[*mut PyObject]>;

    /// Every Python object that the state refers to.
    fn for_each_reference(&self, look: &mut dyn FnMut(&Ref));
    /// Drops those through which cycles go.
    fn drop_references(&self);
    /// The object is about to be freed.
    fn finalize(&self, _object: &Bound<'_, PyAny>) -> PyResult<()> {
        Ok(())
    }
}

/// What `repr()` asks of a state.
pub(crate) trait Described: State {
    /// The text.
    fn describe(&self, object: &Bound<'_, PyAny>) -> PyResult<String>;
}

/// Fails with `ImportError` if the running Python lays the base class of transports out in another way.
pub(super) fn check<S: State>(base: &Bound<'_, PyType>) -> PyResult<()> {
    check_size(base, offset_of!(Object<S>, dict))?;
    if size_of::<S::Slots>() > 0 {
        check_offset(base, "_extra", offset_of!(Object<S>, slots))?;
    }
    Ok(())
}

pub(super) fn members<S: State>() -> Vec<ffi::PyMemberDef> {
    vec![
        offset_member(c"__dictoffset__", offset_of!(Object<S>, dict)),
        offset_member(
            c"__weaklistoffset__",
            offset_of!(Object<S>, weak_references),
        ),
    ]
}

pub(super) fn slots<S: State>() -> Vec<(c_int, *mut c_void)> {
    vec![
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
    ]
}

/// [`slots`] and `repr()`.
pub(super) fn slots_with_repr<S: Described>() -> Vec<(c_int, *mut c_void)> {
    let mut slots = slots::<S>();
    slots.push((ffi::Py_tp_repr, repr::<S> as ffi::reprfunc as *mut c_void));
    slots
}

/// Puts a state into a new object of `kind`, which is the type made for it.
pub(super) fn allocate<'py, S: State>(
    kind: &Bound<'py, PyType>,
    state: S,
) -> PyResult<Bound<'py, PyAny>> {
    let py = kind.py();
    // The collector runs before the allocation or not at all; it would find an object without a state otherwise.
    // SAFETY: A3 by `from_owned_ptr_or_err`. A4: the memory is zeroed and as large as the struct.
    unsafe {
        let object =
            Bound::from_owned_ptr_or_err(py, ffi::PyType_GenericAlloc(kind.as_type_ptr(), 0))?;
        let fields: *mut Object<S> = object.as_ptr().cast();
        (&raw mut (*fields).state).write(ManuallyDrop::new(state));
        Ok(object)
    }
}

/// The state inside an object of the type made for it.
pub(super) fn state<'a, S: State>(object: &'a Bound<'_, PyAny>) -> &'a S {
    // SAFETY: A4: methods of a type are called on its instances only, and so are those who ask otherwise.
    unsafe { &(*object.as_ptr().cast::<Object<S>>()).state }
}

/// Whether somebody has set an attribute on the object. Looking at its `__dict__` makes an empty one.
pub(super) fn has_attributes<S: State>(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: A4: as for `state`; A2 by `object`, which keeps its dict.
    unsafe {
        let dict = (*object.as_ptr().cast::<Object<S>>()).dict;
        !dict.is_null() && ffi::PyDict_Size(dict) != 0
    }
}

/// `__dict__`, for `vars()`: what somebody has set on the object.
pub(super) fn dict_attribute() -> ffi::PyGetSetDef {
    attribute(
        c"__dict__",
        ffi::PyObject_GenericGetDict,
        Some(ffi::PyObject_GenericSetDict),
    )
}

/// The slot `_extra` of a transport: a dict, or null as long as nobody has asked for it.
pub(super) fn extra_slot<S: State>(transport: &Bound<'_, PyAny>) -> *mut *mut PyObject {
    // SAFETY: A4: called for transports only, whose first slot it is (`check`).
    unsafe { (&raw mut (*transport.as_ptr().cast::<Object<S>>()).slots).cast() }
}

/// Gives a new transport its `_extra`.
pub(super) fn put_extra<S: State>(transport: &Bound<'_, PyAny>, extra: Bound<'_, PyDict>) {
    // SAFETY: A4: as for `extra_slot`; the slot of a new transport is empty.
    unsafe { *extra_slot::<S>(transport) = extra.into_ptr() }
}

/// Puts another dict in the place of a transport's `_extra`.
pub(super) fn replace_extra<S: State>(transport: &Bound<'_, PyAny>, extra: Bound<'_, PyDict>) {
    // SAFETY: A4: what was there goes out before it is dropped (A5). A2: it is the slot's own reference, or null.
    unsafe {
        let before = std::ptr::replace(extra_slot::<S>(transport), extra.into_ptr());
        ffi::Py_XDECREF(before);
    }
}

/// Shows what is in the slots of a state.
pub(super) fn look_into(slots: &[&RefSlot], look: &mut dyn FnMut(&Ref)) {
    for slot in slots {
        slot.peek(|value| value.map_or((), &mut *look));
    }
}

unsafe extern "C" fn dealloc<S: State>(object: *mut PyObject) {
    // SAFETY: A1, A4: the interpreter frees an object of our type. The finalizer may bring it back to life.
    unsafe {
        if ffi::PyObject_CallFinalizerFromDealloc(object) != 0 {
            return;
        }
        ffi::PyObject_GC_UnTrack(object.cast());
        ffi::PyObject_ClearWeakRefs(object);
        let fields: *mut Object<S> = object.cast();
        clear_fields(fields);
        ManuallyDrop::drop(&mut (*fields).state);
        let kind = ffi::Py_TYPE(object);
        if let Some(free) = (*kind).tp_free {
            free(object.cast());
        }
        ffi::Py_DECREF(kind.cast());
    }
}

unsafe extern "C" fn finalize<S: State>(object: *mut PyObject) {
    // SAFETY: A1, A4: called by the interpreter with an object that is alive. An exception that is set already is
    // kept aside, as PEP 442 asks.
    unsafe {
        attached(|py| {
            let pending = PyErr::take(py);
            let object = Bound::from_borrowed_ptr(py, object);
            unraisable(&object, |_| state::<S>(&object).finalize(&object));
            if let Some(pending) = pending {
                pending.restore(py);
            }
        });
    }
}

unsafe extern "C" fn traverse<S: State>(
    object: *mut PyObject,
    visit: ffi::visitproc,
    arg: *mut c_void,
) -> c_int {
    // SAFETY: A1, A4: the collector visits an object of our type; nothing here allocates or drops.
    unsafe {
        let fields: *mut Object<S> = object.cast();
        let mut stop = visit(ffi::Py_TYPE(object).cast(), arg);
        let slots = &raw const (*fields).slots;
        for field in (*slots).as_ref().iter().chain([&(*fields).dict]) {
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

unsafe extern "C" fn clear<S: State>(object: *mut PyObject) -> c_int {
    // SAFETY: A1, A4: the collector clears an object of our type.
    unsafe {
        let fields: *mut Object<S> = object.cast();
        clear_fields(fields);
        (*fields).state.drop_references();
    }
    0
}

/// Empties the slots and the dict; each is empty before what was in it is dropped.
unsafe fn clear_fields<S: State>(fields: *mut Object<S>) {
    // SAFETY: A4 by the callers. The slots lie in one array, reached by pointer, as dropping one may look at another.
    unsafe {
        let slots: *mut *mut PyObject = (&raw mut (*fields).slots).cast();
        for index in 0..size_of::<S::Slots>() / size_of::<*mut PyObject>() {
            ffi::Py_CLEAR(slots.add(index));
        }
        ffi::Py_CLEAR(&raw mut (*fields).dict);
    }
}

unsafe extern "C" fn repr<S: Described>(object: *mut PyObject) -> *mut PyObject {
    // SAFETY: A1, A6: called by the interpreter, which holds the object.
    unsafe {
        crate::python::guard(|py| {
            let object = Bound::from_borrowed_ptr(py, object);
            let text = state::<S>(&object).describe(&object)?;
            Ok(make::string(py, &text)?.into_any().into_ptr())
        })
    }
}
