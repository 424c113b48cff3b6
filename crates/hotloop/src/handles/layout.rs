//! Where the fields of handles lie, and how the interpreter visits, clears and frees them.
//!
//! `type_new` sorts `__slots__` by name and lays them out in that order after the object's head; `__weakref__`
//! follows them on 3.11 and lies before the object from 3.12 on. [`check`] compares this with the running
//! Python when the module is imported.

use std::ffi::{c_int, c_void};
use std::mem::offset_of;

use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::python::heap_type::{check_offset, check_size};

use crate::python::guard::none;

use super::{nesting, new_false, pool, replace};

/// An `asyncio.Handle`.
#[repr(C)]
pub(crate) struct HandleObject {
    head: PyObject,
    pub(super) args: *mut PyObject,
    pub(super) callback: *mut PyObject,
    pub(super) cancelled: *mut PyObject,
    pub(super) context: *mut PyObject,
    pub(super) event_loop: *mut PyObject,
    pub(super) repr: *mut PyObject,
    pub(super) source_traceback: *mut PyObject,
    #[cfg(not(Py_3_12))]
    weak_references: *mut PyObject,
}

/// An `asyncio.TimerHandle`.
#[repr(C)]
pub(crate) struct TimerHandleObject {
    pub(super) base: HandleObject,
    pub(super) scheduled: *mut PyObject,
    pub(super) when: *mut PyObject,
}

/// An `asyncio.events._ThreadSafeHandle` (3.14).
#[repr(C)]
pub(crate) struct ThreadSafeHandleObject {
    pub(super) base: HandleObject,
    /// A re-entrant lock, held while the callback runs.
    pub(super) lock: *mut PyObject,
}

/// As [`check`], for the handles of `call_soon_threadsafe`.
pub(super) fn check_thread_safe(handle: &Bound<'_, PyType>) -> PyResult<()> {
    check_size(handle, size_of::<ThreadSafeHandleObject>())?;
    check_offset(handle, "_lock", offset_of!(ThreadSafeHandleObject, lock))
}

/// Fails with `ImportError` if the running Python lays its handles out in another way.
pub(super) fn check(handle: &Bound<'_, PyType>, timer: &Bound<'_, PyType>) -> PyResult<()> {
    check_size(handle, size_of::<HandleObject>())?;
    check_size(timer, size_of::<TimerHandleObject>())?;
    let handle_fields = [
        ("_args", offset_of!(HandleObject, args)),
        ("_callback", offset_of!(HandleObject, callback)),
        ("_cancelled", offset_of!(HandleObject, cancelled)),
        ("_context", offset_of!(HandleObject, context)),
        ("_loop", offset_of!(HandleObject, event_loop)),
        ("_repr", offset_of!(HandleObject, repr)),
        (
            "_source_traceback",
            offset_of!(HandleObject, source_traceback),
        ),
    ];
    for (name, offset) in handle_fields {
        check_offset(handle, name, offset)?;
    }
    check_offset(
        timer,
        "_scheduled",
        offset_of!(TimerHandleObject, scheduled),
    )?;
    check_offset(timer, "_when", offset_of!(TimerHandleObject, when))
}

/// The slots of the native `Handle`.
pub(super) fn handle_slots() -> Vec<(c_int, *mut c_void)> {
    vec![
        (
            ffi::Py_tp_dealloc,
            dealloc_handle as ffi::destructor as *mut c_void,
        ),
        (
            ffi::Py_tp_traverse,
            traverse_handle as ffi::traverseproc as *mut c_void,
        ),
        (
            ffi::Py_tp_clear,
            clear_handle as ffi::inquiry as *mut c_void,
        ),
    ]
}

/// The slots of the native `TimerHandle`.
pub(super) fn timer_slots() -> Vec<(c_int, *mut c_void)> {
    vec![
        (
            ffi::Py_tp_dealloc,
            dealloc_timer as ffi::destructor as *mut c_void,
        ),
        (
            ffi::Py_tp_traverse,
            traverse_timer as ffi::traverseproc as *mut c_void,
        ),
        (ffi::Py_tp_clear, clear_timer as ffi::inquiry as *mut c_void),
    ]
}

/// The slots of the native `ThreadSafeHandle`.
pub(super) fn thread_safe_slots() -> Vec<(c_int, *mut c_void)> {
    vec![
        (
            ffi::Py_tp_dealloc,
            dealloc_thread_safe as ffi::destructor as *mut c_void,
        ),
        (
            ffi::Py_tp_traverse,
            traverse_thread_safe as ffi::traverseproc as *mut c_void,
        ),
        (ffi::Py_tp_clear, clear_timer as ffi::inquiry as *mut c_void),
    ]
}

impl HandleObject {
    /// Sets what hardly ever changes, in an object whose fields are null.
    #[inline]
    pub(super) fn set_defaults(&mut self, py: Python<'_>) {
        self.cancelled = new_false();
        self.repr = none(py).into_ptr();
        self.source_traceback = none(py).into_ptr();
    }

    fn fields(&mut self) -> [&mut *mut PyObject; 7] {
        [
            &mut self.callback,
            &mut self.args,
            &mut self.context,
            &mut self.event_loop,
            &mut self.cancelled,
            &mut self.repr,
            &mut self.source_traceback,
        ]
    }
}

unsafe extern "C" fn dealloc_handle(object: *mut PyObject) {
    // SAFETY: A1, A4: the interpreter frees an object of our type, to which nobody refers any more.
    unsafe { nesting::limited(object, free_handle) }
}

unsafe fn free_handle(object: *mut PyObject) {
    // SAFETY: A1, A4: the interpreter frees an object of our type, to which nobody refers any more.
    unsafe {
        let fields: *mut HandleObject = object.cast();
        ffi::PyObject_GC_UnTrack(object.cast());
        clear_weak_references(object);
        empty(fields);
        let kind = ffi::Py_TYPE(object);
        if pool::SOON.keep(fields) {
            ffi::Py_DECREF(kind.cast());
        } else {
            clear_fields(fields);
            free(object);
        }
    }
}

unsafe extern "C" fn dealloc_timer(object: *mut PyObject) {
    // SAFETY: A1, A4: the interpreter frees an object of our type, to which nobody refers any more.
    unsafe { nesting::limited(object, free_timer) }
}

unsafe fn free_timer(object: *mut PyObject) {
    // SAFETY: as in `dealloc_handle`.
    unsafe {
        let fields: *mut TimerHandleObject = object.cast();
        ffi::PyObject_GC_UnTrack(object.cast());
        clear_weak_references(object);
        empty(&raw mut (*fields).base);
        drop_field(&raw mut (*fields).scheduled);
        drop_field(&raw mut (*fields).when);
        let kind = ffi::Py_TYPE(object);
        if pool::TIMERS.keep(fields.cast()) {
            ffi::Py_DECREF(kind.cast());
        } else {
            clear_fields(&raw mut (*fields).base);
            free(object);
        }
    }
}

unsafe extern "C" fn dealloc_thread_safe(object: *mut PyObject) {
    // SAFETY: A1, A4: the interpreter frees an object of our type, to which nobody refers any more.
    unsafe { nesting::limited(object, free_thread_safe) }
}

unsafe fn free_thread_safe(object: *mut PyObject) {
    // SAFETY: as in `dealloc_handle`.
    unsafe {
        let fields: *mut ThreadSafeHandleObject = object.cast();
        ffi::PyObject_GC_UnTrack(object.cast());
        clear_weak_references(object);
        clear_fields(&raw mut (*fields).base);
        ffi::Py_CLEAR(&raw mut (*fields).lock);
        free(object);
    }
}

unsafe extern "C" fn clear_handle(object: *mut PyObject) -> c_int {
    // SAFETY: A1, A4: the collector clears an object of our type.
    unsafe { clear_references(object.cast()) };
    0
}

unsafe extern "C" fn clear_timer(object: *mut PyObject) -> c_int {
    // SAFETY: A1, A4, as above; numbers and flags form no cycles.
    unsafe { clear_references(object.cast()) };
    0
}

unsafe extern "C" fn traverse_handle(
    object: *mut PyObject,
    visit: ffi::visitproc,
    arg: *mut c_void,
) -> c_int {
    // SAFETY: A1, A4: the collector visits an object of our type; nothing here allocates or drops.
    unsafe { visit_fields(object, visit, arg) }
}

unsafe extern "C" fn traverse_timer(
    object: *mut PyObject,
    visit: ffi::visitproc,
    arg: *mut c_void,
) -> c_int {
    // SAFETY: as above. `when` may be any number, also one of a class with attributes.
    unsafe {
        let fields: *mut TimerHandleObject = object.cast();
        match visit_one((*fields).when, visit, arg) {
            0 => visit_fields(object, visit, arg),
            stop => stop,
        }
    }
}

unsafe extern "C" fn traverse_thread_safe(
    object: *mut PyObject,
    visit: ffi::visitproc,
    arg: *mut c_void,
) -> c_int {
    // SAFETY: as above.
    unsafe {
        match visit_one((*object.cast::<ThreadSafeHandleObject>()).lock, visit, arg) {
            0 => visit_fields(object, visit, arg),
            stop => stop,
        }
    }
}

unsafe fn visit_fields(object: *mut PyObject, visit: ffi::visitproc, arg: *mut c_void) -> c_int {
    // SAFETY: A4 by the callers; heap types are visited by their instances since 3.9.
    unsafe {
        for field in (*object.cast::<HandleObject>()).fields() {
            let stop = visit_one(*field, visit, arg);
            if stop != 0 {
                return stop;
            }
        }
        visit(ffi::Py_TYPE(object).cast(), arg)
    }
}

unsafe fn visit_one(object: *mut PyObject, visit: ffi::visitproc, arg: *mut c_void) -> c_int {
    if object.is_null() {
        return 0;
    }
    // SAFETY: A2: the field holds a reference.
    unsafe { visit(object, arg) }
}

/// Breaks cycles: only what can be part of one, so that the handle stays usable for whoever still looks at it.
unsafe fn clear_references(fields: *mut HandleObject) {
    // SAFETY: A4 by the callers. `Py_CLEAR` empties a field before it drops what was there.
    unsafe {
        ffi::Py_CLEAR(&raw mut (*fields).callback);
        ffi::Py_CLEAR(&raw mut (*fields).args);
        ffi::Py_CLEAR(&raw mut (*fields).context);
        ffi::Py_CLEAR(&raw mut (*fields).event_loop);
        ffi::Py_CLEAR(&raw mut (*fields).source_traceback);
    }
}

/// Makes a handle that nobody can see any more what P4 of the pool describes.
#[inline]
unsafe fn empty(fields: *mut HandleObject) {
    // SAFETY: A1, A4 by the callers. A field that the collector has emptied gets its value back.
    unsafe {
        let py = Python::assume_attached();
        drop_field(&raw mut (*fields).callback);
        drop_field(&raw mut (*fields).args);
        drop_field(&raw mut (*fields).context);
        drop_field(&raw mut (*fields).event_loop);
        if (*fields).cancelled != ffi::Py_False() {
            replace(&raw mut (*fields).cancelled, new_false());
        }
        for field in [&raw mut (*fields).repr, &raw mut (*fields).source_traceback] {
            if *field != ffi::Py_None() {
                replace(field, none(py).into_ptr());
            }
        }
    }
}

/// Drops what a field of an object holds that nobody can see any more.
#[inline]
unsafe fn drop_field(field: *mut *mut PyObject) {
    // SAFETY: A4 by the callers.
    unsafe { ffi::Py_XDECREF(std::ptr::replace(field, std::ptr::null_mut())) };
}

/// Drops every reference of a handle that nobody can see any more.
unsafe fn clear_fields(fields: *mut HandleObject) {
    // SAFETY: A4 by the callers.
    unsafe {
        for field in (*fields).fields() {
            ffi::Py_XDECREF(std::mem::replace(field, std::ptr::null_mut()));
        }
    }
}

/// `PyObject_ClearWeakRefs`, if there are any: the list's place is in the type, inside the object or before it.
unsafe fn clear_weak_references(object: *mut PyObject) {
    // SAFETY: A4 by the callers: both types have inherited the place from `asyncio.Handle`.
    unsafe {
        let offset = (*ffi::Py_TYPE(object)).tp_weaklistoffset;
        if !(*object.byte_offset(offset).cast::<*mut PyObject>()).is_null() {
            ffi::PyObject_ClearWeakRefs(object);
        }
    }
}

unsafe fn free(object: *mut PyObject) {
    // SAFETY: A4: an instance of a heap type holds a reference to its type, given back after the memory.
    unsafe {
        let kind = ffi::Py_TYPE(object);
        if let Some(free) = (*kind).tp_free {
            free(object.cast());
        }
        ffi::Py_DECREF(kind.cast());
    }
}
