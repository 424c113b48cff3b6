//! The structs of futures and tasks, and how the interpreter visits, clears, finalizes and frees them.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::mem::offset_of;
use std::ops::Deref;

use pyo3::Borrowed;
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;

use crate::handles::nesting;
use crate::python::guard::attached;
use crate::python::heap_type::offset_member;
use crate::python::{Ref, RefSlot};

use super::{is_exact, reports};

/// How far a future is. Zeroed memory means pending.
#[derive(Copy, Clone, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum State {
    Pending = 0,
    Cancelled = 1,
    Finished = 2,
}

/// A `hotloop.Future`; a task begins with one (T1).
#[repr(C)]
pub(crate) struct FutureObject {
    head: PyObject,
    /// Empty until `__init__` was called.
    pub(super) event_loop: RefSlot,
    /// The first callback; the task itself if `waited_for` is set.
    pub(super) callback: RefSlot,
    /// The context of the first callback.
    pub(super) context: RefSlot,
    /// A list of `(callback, context)`: every further one.
    pub(super) more_callbacks: RefSlot,
    pub(super) result: RefSlot,
    pub(super) exception: RefSlot,
    /// The traceback that the exception had when it was set.
    pub(super) exception_traceback: RefSlot,
    pub(super) cancel_message: RefSlot,
    /// The exception that ended a cancelled task, raised once more by the first who asks.
    pub(super) cancelled_error: RefSlot,
    pub(super) source_traceback: RefSlot,
    /// Who has announced to wait for this future (`await_graph`): one waiter, or a set of them.
    #[cfg(Py_3_14)]
    pub(super) awaited_by: RefSlot,
    dict: *mut PyObject,
    weak_references: *mut PyObject,
    pub(super) state: Cell<State>,
    /// `_asyncio_future_blocking`.
    pub(super) blocking: Cell<bool>,
    /// Whether an exception waits to be retrieved.
    pub(super) log_traceback: Cell<bool>,
    /// Whether the loop is one of ours (T3).
    pub(super) native_loop: Cell<bool>,
    /// Whether `callback` is the one task that waits for this future (T4).
    pub(super) waited_for: Cell<bool>,
    pub(super) is_task: Cell<bool>,
}

/// A `hotloop.Task`.
#[repr(C)]
pub(crate) struct TaskObject {
    pub(super) future: FutureObject,
    pub(super) coroutine: RefSlot,
    pub(super) own_context: RefSlot,
    /// Empty while the name is `Task-` and the number.
    pub(super) name: RefSlot,
    /// What `_fut_waiter` shows: the future that this task waits for.
    pub(super) waits_for: RefSlot,
    /// The weak reference by which asyncio knows the task.
    pub(super) registration: RefSlot,
    pub(super) number: Cell<u64>,
    pub(super) cancel_requests: Cell<i32>,
    pub(super) must_cancel: Cell<bool>,
    pub(super) log_destroy_pending: Cell<bool>,
    /// Whether `_register_task` was called, as there is no `registration`.
    pub(super) registered_by_call: Cell<bool>,
    /// Whether a step of the task is under way.
    pub(super) running: Cell<bool>,
}

/// A future that somebody keeps alive.
#[derive(Copy, Clone)]
pub(crate) struct FutureRef<'a, 'py>(Borrowed<'a, 'py, PyAny>);

impl<'a, 'py> FutureRef<'a, 'py> {
    /// # Safety
    /// The object is an instance of `hotloop.Future` (T1).
    pub(super) unsafe fn new(object: Borrowed<'a, 'py, PyAny>) -> Self {
        Self(object)
    }

    pub(super) fn object(self) -> Borrowed<'a, 'py, PyAny> {
        self.0
    }

    /// The same object as a task, if it is one.
    pub(super) fn as_task(self) -> Option<TaskRef<'a, 'py>> {
        self.is_task.get().then_some(TaskRef(self.0))
    }
}

impl Deref for FutureRef<'_, '_> {
    type Target = FutureObject;

    fn deref(&self) -> &FutureObject {
        // SAFETY: A2 by the borrow, T1 by `new`; T2: shared references to cells are all there ever are.
        unsafe { &*self.0.as_ptr().cast() }
    }
}

/// A task that somebody keeps alive.
#[derive(Copy, Clone)]
pub(crate) struct TaskRef<'a, 'py>(Borrowed<'a, 'py, PyAny>);

impl<'a, 'py> TaskRef<'a, 'py> {
    /// # Safety
    /// The object is an instance of `hotloop.Task` (T1).
    pub(super) unsafe fn new(object: Borrowed<'a, 'py, PyAny>) -> Self {
        Self(object)
    }

    pub(super) fn object(self) -> Borrowed<'a, 'py, PyAny> {
        self.0
    }

    pub(super) fn as_future(self) -> FutureRef<'a, 'py> {
        FutureRef(self.0)
    }
}

impl Deref for TaskRef<'_, '_> {
    type Target = TaskObject;

    fn deref(&self) -> &TaskObject {
        // SAFETY: as for futures.
        unsafe { &*self.0.as_ptr().cast() }
    }
}

const FUTURE_SLOTS: usize = if cfg!(Py_3_14) { 11 } else { 10 };

impl FutureObject {
    fn slots(&self) -> [&RefSlot; FUTURE_SLOTS] {
        [
            &self.event_loop,
            &self.callback,
            &self.context,
            &self.more_callbacks,
            &self.result,
            &self.exception,
            &self.exception_traceback,
            &self.cancel_message,
            &self.cancelled_error,
            &self.source_traceback,
            #[cfg(Py_3_14)]
            &self.awaited_by,
        ]
    }

    /// Whether there is nothing in it but its loop and a result that is not freed with it, or without running code.
    pub(super) fn is_plain(&self) -> bool {
        let quiet = |result: &Ref| {
            let result = result.as_ptr();
            // SAFETY: A2: counts and types are looked at.
            unsafe {
                ffi::Py_REFCNT(result) > 1
                    || ffi::PyLong_CheckExact(result) != 0
                    || ffi::PyBytes_CheckExact(result) != 0
                    || ffi::PyUnicode_CheckExact(result) != 0
            }
        };
        let [event_loop, callback, context, more, result, rest @ ..] = self.slots();
        self.dict.is_null()
            && self.weak_references.is_null()
            && event_loop.is_some()
            && ![callback, context, more].iter().any(|slot| slot.is_some())
            && !rest.iter().any(|slot| slot.is_some())
            && result.peek(|result| result.is_none_or(quiet))
    }

    /// Empties every place, for `__init__`, which may be called again, and for the end.
    pub(super) fn clear(&self) {
        // All of it is out before the first value is dropped, which may make the future anew.
        let taken = self.slots().map(RefSlot::take);
        self.waited_for.set(false);
        drop(taken);
    }
}

impl TaskObject {
    fn slots(&self) -> [&RefSlot; 4] {
        [
            &self.coroutine,
            &self.own_context,
            &self.waits_for,
            &self.name,
        ]
    }

    /// Whether what it has besides a future's is freed without running code: an ended coroutine of a function, and a
    /// context that somebody else has, too, or that is empty.
    pub(super) fn is_plain(&self) -> bool {
        let [coroutine, context, waits_for, name] = self.slots();
        let ended = |coroutine: &Ref| {
            let coroutine = coroutine.as_ptr();
            // SAFETY: A2: types and places are looked at.
            unsafe { ffi::PyCoro_CheckExact(coroutine) != 0 && !has_weak_references(coroutine) }
        };
        let empty = |context: &Ref| {
            let context = context.as_ptr();
            // SAFETY: A2; A3: the length of an exact context cannot fail, and runs no code.
            unsafe {
                ffi::PyContext_CheckExact(context) != 0
                    && (ffi::Py_REFCNT(context) > 1
                        || (!has_weak_references(context) && ffi::PyMapping_Size(context) == 0))
            }
        };
        self.future.state.get() != State::Pending
            && !waits_for.is_some()
            && !name.is_some()
            && !self.registration.is_some()
            && coroutine.peek(|coroutine| coroutine.is_some_and(ended))
            && context.peek(|context| context.is_some_and(empty))
    }

    fn clear(&self) {
        let taken = self.slots().map(RefSlot::take);
        self.future.clear();
        drop(taken);
    }
}

/// `__dictoffset__` and `__weaklistoffset__`: futures take attributes and weak references.
pub(super) fn members() -> Vec<ffi::PyMemberDef> {
    vec![
        offset_member(c"__dictoffset__", offset_of!(FutureObject, dict)),
        offset_member(
            c"__weaklistoffset__",
            offset_of!(FutureObject, weak_references),
        ),
    ]
}

/// What garbage collection asks of `Future`.
pub(super) fn future_slots() -> Vec<(c_int, *mut c_void)> {
    vec![
        (
            ffi::Py_tp_dealloc,
            dealloc_future as ffi::destructor as *mut c_void,
        ),
        (
            ffi::Py_tp_traverse,
            traverse_future as ffi::traverseproc as *mut c_void,
        ),
        (
            ffi::Py_tp_clear,
            clear_future as ffi::inquiry as *mut c_void,
        ),
        (
            ffi::Py_tp_finalize,
            finalize_future as ffi::destructor as *mut c_void,
        ),
    ]
}

/// The same for `Task`.
pub(super) fn task_slots() -> Vec<(c_int, *mut c_void)> {
    vec![
        (
            ffi::Py_tp_dealloc,
            dealloc_task as ffi::destructor as *mut c_void,
        ),
        (
            ffi::Py_tp_traverse,
            traverse_task as ffi::traverseproc as *mut c_void,
        ),
        (ffi::Py_tp_clear, clear_task as ffi::inquiry as *mut c_void),
        (
            ffi::Py_tp_finalize,
            finalize_task as ffi::destructor as *mut c_void,
        ),
    ]
}

unsafe extern "C" fn dealloc_future(object: *mut PyObject) {
    // SAFETY: A1, T1: the interpreter frees a future. T5: an instance of a subclass was finalized before.
    unsafe {
        let fields: *const FutureObject = object.cast();
        if (*fields).log_traceback.get()
            && is_exact(object)
            && ffi::PyObject_CallFinalizerFromDealloc(object) < 0
        {
            return; // somebody has kept it
        }
        nesting::limited(object, free_future);
    }
}

unsafe extern "C" fn dealloc_task(object: *mut PyObject) {
    // SAFETY: as above.
    unsafe {
        let fields: *const TaskObject = object.cast();
        let future = &(*fields).future;
        let destroyed_pending =
            future.state.get() == State::Pending && (*fields).log_destroy_pending.get();
        if (destroyed_pending || future.log_traceback.get())
            && is_exact(object)
            && ffi::PyObject_CallFinalizerFromDealloc(object) < 0
        {
            return;
        }
        nesting::limited(object, free_task);
    }
}

unsafe fn free_future(object: *mut PyObject) {
    // SAFETY: A1, T1: nobody refers to the object any more, except weakly.
    unsafe {
        ffi::PyObject_GC_UnTrack(object.cast());
        clear_weak_references(object);
        (*object.cast::<FutureObject>()).clear();
        free(object);
    }
}

unsafe fn free_task(object: *mut PyObject) {
    // SAFETY: as above.
    unsafe {
        ffi::PyObject_GC_UnTrack(object.cast());
        clear_weak_references(object);
        let fields: *const TaskObject = object.cast();
        drop((*fields).registration.take());
        (*fields).clear();
        free(object);
    }
}

/// Whether there is a weak reference to an object, or no telling.
unsafe fn has_weak_references(object: *mut PyObject) -> bool {
    // SAFETY: A2 by the callers; a type that has an offset has a pointer there in each of its objects.
    unsafe {
        let offset = (*ffi::Py_TYPE(object)).tp_weaklistoffset;
        let place: *const *mut PyObject = object.wrapping_byte_offset(offset).cast();
        offset <= 0 || !(*place).is_null()
    }
}

unsafe fn clear_weak_references(object: *mut PyObject) {
    // SAFETY: T1 by the callers.
    unsafe {
        if !(*object.cast::<FutureObject>()).weak_references.is_null() {
            ffi::PyObject_ClearWeakRefs(object);
        }
    }
}

unsafe fn free(object: *mut PyObject) {
    // SAFETY: T1; an instance of a heap type holds a reference to its type, given back after the memory.
    unsafe {
        let fields: *mut FutureObject = object.cast();
        ffi::Py_CLEAR(&raw mut (*fields).dict);
        let kind = ffi::Py_TYPE(object);
        if let Some(free) = (*kind).tp_free {
            free(object.cast());
        }
        ffi::Py_DECREF(kind.cast());
    }
}

unsafe extern "C" fn clear_future(object: *mut PyObject) -> c_int {
    // SAFETY: A1, T1: the collector clears a future. Each place is empty before its value is dropped (T2).
    unsafe {
        (*object.cast::<FutureObject>()).clear();
        ffi::Py_CLEAR(&raw mut (*object.cast::<FutureObject>()).dict);
    }
    0
}

unsafe extern "C" fn clear_task(object: *mut PyObject) -> c_int {
    // SAFETY: as above. The registration stays: its callback takes the task out of asyncio's set.
    unsafe {
        (*object.cast::<TaskObject>()).clear();
        ffi::Py_CLEAR(&raw mut (*object.cast::<FutureObject>()).dict);
    }
    0
}

unsafe extern "C" fn traverse_future(
    object: *mut PyObject,
    visit: ffi::visitproc,
    arg: *mut c_void,
) -> c_int {
    // SAFETY: A1, T1: the collector visits a future; nothing here allocates or drops.
    unsafe {
        let fields: *const FutureObject = object.cast();
        for slot in (*fields).slots() {
            let stop = visit_slot(slot, visit, arg);
            if stop != 0 {
                return stop;
            }
        }
        if !(*fields).dict.is_null() {
            let stop = visit((*fields).dict, arg);
            if stop != 0 {
                return stop;
            }
        }
        visit(ffi::Py_TYPE(object).cast(), arg)
    }
}

unsafe extern "C" fn traverse_task(
    object: *mut PyObject,
    visit: ffi::visitproc,
    arg: *mut c_void,
) -> c_int {
    // SAFETY: as above. The registration is asyncio's, which the collector reaches in another way.
    unsafe {
        for slot in (*object.cast::<TaskObject>()).slots() {
            let stop = visit_slot(slot, visit, arg);
            if stop != 0 {
                return stop;
            }
        }
        traverse_future(object, visit, arg)
    }
}

/// Shows what a place holds to the collector.
pub(super) unsafe fn visit_slot(slot: &RefSlot, visit: ffi::visitproc, arg: *mut c_void) -> c_int {
    slot.peek(|value: Option<&Ref>| match value {
        // SAFETY: A2 by the place; the visitor runs no Python code.
        Some(value) => unsafe { visit(value.as_ptr(), arg) },
        None => 0,
    })
}

unsafe extern "C" fn finalize_future(object: *mut PyObject) {
    // SAFETY: A1, T1: the interpreter finalizes a future.
    unsafe {
        attached(|py| reports::finalize(FutureRef::new(Borrowed::from_ptr(py, object))));
    }
}

unsafe extern "C" fn finalize_task(object: *mut PyObject) {
    // SAFETY: as above.
    unsafe {
        attached(|py| {
            let task = TaskRef::new(Borrowed::from_ptr(py, object));
            reports::finalize_task(task);
            reports::finalize(task.as_future());
        });
    }
}
