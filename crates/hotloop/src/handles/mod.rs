//! `Handle` and `TimerHandle`: what `call_soon` and `call_later` return.
//!
//! They are `asyncio.Handle` and `asyncio.TimerHandle` with another allocation: the same `__slots__`, written
//! directly. So everything that the base classes do in Python (`_run`, `repr`, `get_context`, ordering, hash)
//! holds for them unchanged, and only what is hot is native: making, running, cancelling, freeing.
//!
//! # Rules
//!
//! `unsafe` follows A1–A8 of [`crate::python`], A4 above all, and P1–P4 of [`pool`], where freed memory is kept.

mod layout;
pub(crate) mod nesting;
mod pool;
mod run;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;
use pyo3::{Borrowed, intern};

use crate::event_loop::Loop;
use crate::imports::imports;
use crate::python::guard::none;
use crate::python::heap_type::{HeapType, attribute, getter, method_noargs};
use crate::python::{Ref, Snapshot, call};

use crate::python::make::Words;
use layout::{HandleObject, ThreadSafeHandleObject, TimerHandleObject};
pub(crate) use pool::{Queued, track};
pub(crate) use run::{report, run};

/// The two types, made at import.
pub(crate) struct HandleTypes {
    pub(crate) handle: Py<PyType>,
    pub(crate) timer: Py<PyType>,
    /// What `call_soon_threadsafe` returns from 3.14 on.
    pub(crate) thread_safe: Option<ThreadSafe>,
}

/// The type over `asyncio.events._ThreadSafeHandle`, and that of its locks.
pub(crate) struct ThreadSafe {
    pub(crate) kind: Py<PyType>,
    lock: Ref,
}

/// Makes the two types over the running Python's classes.
pub(crate) fn make_types(py: Python<'_>) -> PyResult<HandleTypes> {
    let events = py.import("asyncio.events")?;
    let handle_base = events.getattr("Handle")?.cast_into::<PyType>()?;
    let timer_base = events.getattr("TimerHandle")?.cast_into::<PyType>()?;
    layout::check(&handle_base, &timer_base)?;
    let handle = HeapType {
        name: c"hotloop._core.Handle",
        size: size_of::<HandleObject>(),
        flags: ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION,
        slots: layout::handle_slots(),
        methods: vec![method_noargs!(c"cancel", c"cancel($self, /)\n--\n\nCancel the callback: it is not called any more. As asyncio.Handle.cancel().", cancel)],
        getters: vec![context_attribute()],
        members: vec![],
    };
    let timer = HeapType {
        name: c"hotloop._core.TimerHandle",
        size: size_of::<TimerHandleObject>(),
        flags: ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION,
        slots: layout::timer_slots(),
        methods: vec![method_noargs!(
            c"cancel",
            c"cancel($self, /)\n--\n\nCancel the callback: it is not called any more. As asyncio.TimerHandle.cancel().",
            cancel_timer
        )],
        getters: vec![context_attribute()],
        members: vec![],
    };
    let thread_safe = match events.getattr("_ThreadSafeHandle") {
        Ok(base) => Some(make_thread_safe(base.cast::<PyType>()?)?),
        Err(_) => None,
    };
    Ok(HandleTypes {
        handle: handle.build(&handle_base)?.unbind(),
        timer: timer.build(&timer_base)?.unbind(),
        thread_safe,
    })
}

/// `cancel`, `cancelled` and `_run` are the base's own: they take the lock.
fn make_thread_safe(base: &Bound<'_, PyType>) -> PyResult<ThreadSafe> {
    layout::check_thread_safe(base)?;
    let made = HeapType {
        name: c"hotloop._core._ThreadSafeHandle",
        size: size_of::<ThreadSafeHandleObject>(),
        flags: ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION,
        slots: layout::thread_safe_slots(),
        methods: vec![],
        getters: vec![context_attribute()],
        members: vec![],
    };
    Ok(ThreadSafe {
        kind: made.build(base)?.unbind(),
        lock: base.py().import("_thread")?.getattr("RLock")?.into(),
    })
}

/// A handle for `callback(*args)`, in `context` or in a copy of the current one.
#[inline(always)]
pub(crate) fn new_handle(
    py: Python<'_>,
    event_loop: &Bound<'_, Loop>,
    callback: Ref,
    args: Ref,
    context: Option<Ref>,
) -> PyResult<Ref> {
    let kind = imports(py)?.handle_types.handle.as_ptr().cast();
    let context = context_or_snapshot(py, event_loop, context)?;
    // SAFETY: A4: `kind` is the type made for `HandleObject`.
    let handle = unsafe { pool::SOON.allocate(py, kind)? };
    fill(&handle, event_loop, callback, args, context);
    if !event_loop.get().thread_id.is_some() {
        track(&handle); // P3
    }
    Ok(handle)
}

/// What `call_soon_threadsafe` returns: from 3.14 on a handle with a lock, so that `cancel()` in one thread and the
/// callback in another exclude each other.
pub(crate) fn new_posted(
    py: Python<'_>,
    event_loop: &Bound<'_, Loop>,
    callback: Ref,
    args: Ref,
    context: Option<Ref>,
) -> PyResult<Ref> {
    let Some(thread_safe) = &imports(py)?.handle_types.thread_safe else {
        return new_handle(py, event_loop, callback, args, context);
    };
    let context = context_or_snapshot(py, event_loop, context)?;
    let lock = thread_safe.lock.bind(py).call0()?;
    // SAFETY: A3 by `from_new`; A4: `kind` is the type made for `ThreadSafeHandleObject`, whose memory is zeroed. The
    // collector may visit the object from now on: null fields are passed over.
    unsafe {
        let handle = Ref::from_new(
            py,
            ffi::PyType_GenericAlloc(thread_safe.kind.as_ptr().cast(), 0),
        )?;
        fill(&handle, event_loop, callback, args, context);
        (*handle.as_ptr().cast::<HandleObject>()).set_defaults(py);
        (*handle.as_ptr().cast::<ThreadSafeHandleObject>()).lock = lock.into_ptr();
        Ok(handle)
    }
}

/// A handle for a timer that is due at `when` (a number of seconds on the loop's clock).
pub(crate) fn new_timer(
    py: Python<'_>,
    event_loop: &Bound<'_, Loop>,
    when: Ref,
    callback: Ref,
    args: Ref,
    context: Option<Ref>,
) -> PyResult<Ref> {
    let kind = imports(py)?.handle_types.timer.as_ptr().cast();
    let context = context_or_snapshot(py, event_loop, context)?;
    // SAFETY: A4: `kind` is the type made for `TimerHandleObject`. P4: the two fields are null.
    let timer = unsafe {
        let timer = pool::TIMERS.allocate(py, kind)?;
        fill(&timer, event_loop, callback, args, context);
        let fields: *mut TimerHandleObject = timer.as_ptr().cast();
        (*fields).when = when.into_ptr();
        (*fields).scheduled = new_true();
        timer
    };
    if !event_loop.get().thread_id.is_some() {
        track(&timer); // P3
    }
    Ok(timer)
}

/// Whether `object` is one of our types, so that [`run`] may take it.
pub(crate) fn is_native(py: Python<'_>, object: &Bound<'_, PyAny>) -> PyResult<bool> {
    let types = &imports(py)?.handle_types;
    let kind = object.get_type();
    let thread_safe = types.thread_safe.as_ref();
    Ok(kind.is(&types.handle)
        || kind.is(&types.timer)
        || thread_safe.is_some_and(|thread_safe| kind.is(&thread_safe.kind)))
}

/// Whether a native handle was cancelled.
pub(crate) fn is_cancelled(handle: &Ref) -> bool {
    // SAFETY: A4: the caller holds a native handle.
    unsafe { (*handle.as_ptr().cast::<HandleObject>()).cancelled == ffi::Py_True() }
}

/// Marks a timer as no longer on the loop's heap, before it runs or is dropped.
pub(crate) fn set_unscheduled(timer: &Ref) {
    // SAFETY: A4: the loop's heap holds native timers only. The field holds `True` or `False`, whose
    // reference is given back without running any code.
    unsafe {
        let fields: *mut TimerHandleObject = timer.as_ptr().cast();
        let before = (*fields).scheduled;
        (*fields).scheduled = new_false();
        ffi::Py_XDECREF(before);
    }
}

/// Whether a timer is on the loop's heap.
pub(crate) fn is_scheduled(timer: &Borrowed<'_, '_, PyAny>) -> bool {
    // SAFETY: A4: called for native timers only.
    unsafe { (*timer.as_ptr().cast::<TimerHandleObject>()).scheduled == ffi::Py_True() }
}

/// Cancels a handle that the loop itself keeps (a replaced reader, for example), native or not.
pub(crate) fn cancel_any(py: Python<'_>, handle: &Ref) -> PyResult<()> {
    call::call_method0(handle, intern!(py, "cancel")).map(drop)
}

/// `Handle.cancel()`: the callback and its arguments are dropped at once.
fn cancel<'py>(py: Python<'py>, slf: Borrowed<'_, 'py, PyAny>) -> PyResult<Ref> {
    let handle = Ref::from(slf.to_owned());
    if is_cancelled(&handle) {
        return Ok(none(py));
    }
    let debug = loop_of(py, &handle).is_some_and(|event_loop| {
        event_loop
            .cast::<Loop>()
            .is_ok_and(|own| own.get().debug.get())
    });
    cancel_now(py, slf, debug)
}

/// The loop of a native handle, whatever it is.
fn loop_of<'py>(py: Python<'py>, handle: &Ref) -> Option<Bound<'py, PyAny>> {
    // SAFETY: A4 by the callers; A2: the field holds a reference or nothing.
    unsafe {
        let event_loop = (*handle.as_ptr().cast::<HandleObject>()).event_loop;
        Bound::from_borrowed_ptr_or_opt(py, event_loop)
    }
}

/// Cancels a native handle that is held by the caller.
fn cancel_now<'py>(py: Python<'py>, slf: Borrowed<'_, 'py, PyAny>, debug: bool) -> PyResult<Ref> {
    // SAFETY: A4: `slf` is a native handle. A5: each field gets its new value before the old one is dropped.
    unsafe {
        let fields: *mut HandleObject = slf.as_ptr().cast();
        replace(&raw mut (*fields).cancelled, new_true());
        if debug {
            // As asyncio does it in debug mode: later reports can still name the callback.
            let text = slf.repr()?;
            replace(&raw mut (*fields).repr, text.into_ptr());
        }
        let callback = std::mem::replace(&mut (*fields).callback, none(py).into_ptr());
        let args = std::mem::replace(&mut (*fields).args, none(py).into_ptr());
        ffi::Py_XDECREF(callback);
        ffi::Py_XDECREF(args);
    }
    Ok(none(py))
}

/// `TimerHandle.cancel()`: the loop counts the cancelled entries of its heap.
fn cancel_timer<'py>(py: Python<'py>, slf: Borrowed<'_, 'py, PyAny>) -> PyResult<Ref> {
    let timer = Ref::from(slf.to_owned());
    if is_cancelled(&timer) {
        return Ok(none(py));
    }
    let Some(event_loop) = loop_of(py, &timer) else {
        return cancel(py, slf);
    };
    let event_loop = event_loop.cast::<Loop>()?;
    event_loop.get().timer_cancelled(event_loop, slf)?;
    if is_cancelled(&timer) {
        return Ok(none(py)); // an overridden method of the loop has done it
    }
    cancel_now(py, slf, event_loop.get().debug.get())
}

/// Stands before the slot of the base: nobody is shown a snapshot that others share (its rule S3).
fn context_attribute() -> ffi::PyGetSetDef {
    attribute(c"_context", getter!(get_context), Some(set_context))
}

fn get_context<'py>(py: Python<'py>, slf: Borrowed<'_, 'py, PyAny>) -> PyResult<Ref> {
    let fields: *mut HandleObject = slf.as_ptr().cast();
    // SAFETY: A4, A2: a getter of the native types; the field holds a reference or nothing.
    let context = unsafe {
        let context = (*fields).context;
        if context.is_null() {
            return Err(pyo3::exceptions::PyAttributeError::new_err(Words(
                "_context",
            )));
        }
        Ref::from_borrowed(context)
    };
    match Snapshot::of(&context, py) {
        Some(snapshot) => own_context(py, &slf.to_owned().into(), snapshot),
        None => Ok(context),
    }
}

/// Gives a handle a context of its own instead of the snapshot that it has.
fn own_context(py: Python<'_>, handle: &Ref, snapshot: &Snapshot) -> PyResult<Ref> {
    let own = snapshot.copy(py)?;
    set_own_context(handle, own.clone_ref(py));
    Ok(own)
}

/// Puts a context in the place of the snapshot that a handle has; the caller holds the snapshot.
fn set_own_context(handle: &Ref, own: Ref) {
    let fields: *mut HandleObject = handle.as_ptr().cast();
    // SAFETY: A4 by the callers; A5: the field has its new value before its reference to the snapshot is dropped.
    unsafe { replace(&raw mut (*fields).context, own.into_ptr()) };
}

unsafe extern "C" fn set_context(
    slf: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
    _: *mut std::ffi::c_void,
) -> i32 {
    // SAFETY: A1, A4: a setter of the native type; a null value means deletion. Nothing here unwinds.
    unsafe {
        let fields: *mut HandleObject = slf.cast();
        ffi::Py_XINCREF(value);
        replace(&raw mut (*fields).context, value);
    }
    0
}

#[inline(always)]
fn context_or_snapshot(
    py: Python<'_>,
    event_loop: &Bound<'_, Loop>,
    context: Option<Ref>,
) -> PyResult<Ref> {
    context.map_or_else(|| event_loop.get().snapshot.of_current(py), Ok)
}

/// Sets the fields that all kinds have and that differ.
#[inline]
fn fill(handle: &Ref, event_loop: &Bound<'_, Loop>, callback: Ref, args: Ref, context: Ref) {
    // SAFETY: A4: a new native handle, whose fields of these names are null.
    unsafe {
        let fields: *mut HandleObject = handle.as_ptr().cast();
        (*fields).callback = callback.into_ptr();
        (*fields).args = args.into_ptr();
        (*fields).context = context.into_ptr();
        (*fields).event_loop = Ref::from(event_loop).into_ptr();
    }
}

unsafe fn replace(field: *mut *mut ffi::PyObject, value: *mut ffi::PyObject) {
    // SAFETY: A4 by the caller; the field is consistent before the old value is dropped (A5).
    unsafe {
        let before = std::ptr::replace(field, value);
        ffi::Py_XDECREF(before);
    }
}

fn new_true() -> *mut ffi::PyObject {
    // SAFETY: A2: the two booleans live for ever.
    unsafe { ffi::Py_NewRef(ffi::Py_True()) }
}

fn new_false() -> *mut ffi::PyObject {
    // SAFETY: A2: the two booleans live for ever.
    unsafe { ffi::Py_NewRef(ffi::Py_False()) }
}
