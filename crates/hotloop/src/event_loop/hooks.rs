//! Which of the methods that native code would skip are overridden, so that it calls them instead.
//!
//! A class is looked at when an instance is made, and again when it changed: CPython gives a type another
//! version tag, or none, whenever an attribute of it or of one of its bases is set (`PyType_Modified`; 3.11–3.15,
//! `Objects/typeobject.c`). Each iteration compares one number. An attribute set on an instance (a test's mock, a
//! program's own clock) is noticed at once, by `__setattr__`.
//!
//! The same holds for `asyncio.Handle._run`, which tools replace to time callbacks.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyType};

use super::Loop;
use super::callbacks::add_methods_again;
use crate::imports::imports;
use crate::python::Ref;
use crate::python::make::Words;

/// A set of overridden methods.
#[derive(Copy, Clone, PartialEq, Eq)]
pub(crate) struct Hooks(u32);

impl Hooks {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const TIME: Self = Self::of(&["time"]);
    pub(crate) const RUN_ONCE: Self = Self::of(&["_run_once"]);
    /// `call_soon`, or what asyncio's calls.
    pub(crate) const CALL_SOON: Self = Self::of(&["call_soon", "_call_soon", "_check_closed"]);
    /// What asyncio's `call_soon` calls.
    pub(crate) const INSIDE_CALL_SOON: Self = Self::of(&["_call_soon", "_check_closed"]);
    /// What asyncio's `call_soon_threadsafe` calls.
    pub(crate) const INSIDE_THREADSAFE: Self =
        Self::of(&["_call_soon", "_check_closed", "_write_to_self"]);
    pub(crate) const CHECK_CLOSED: Self = Self::of(&["_check_closed"]);
    pub(crate) const CALL_AT: Self = Self::of(&["call_at"]);
    pub(crate) const MAKE_SOCKET_TRANSPORT: Self = Self::of(&["_make_socket_transport"]);
    pub(crate) const TIMER_HANDLE_CANCELLED: Self = Self::of(&["_timer_handle_cancelled"]);
    /// `_process_events`, or what asyncio's calls.
    pub(crate) const PROCESS_EVENTS: Self = Self::of(&["_process_events", "_add_callback"]);
    pub(crate) const ADD_READER: Self = Self::of(&["_add_reader"]);
    pub(crate) const REMOVE_READER: Self = Self::of(&["_remove_reader"]);
    pub(crate) const ADD_WRITER: Self = Self::of(&["_add_writer"]);
    pub(crate) const REMOVE_WRITER: Self = Self::of(&["_remove_writer"]);
    /// Any of the four.
    pub(crate) const WATCHING: Self = Self::of(&[
        "_add_reader",
        "_remove_reader",
        "_add_writer",
        "_remove_writer",
    ]);
    /// What asyncio's listening sockets use.
    pub(crate) const ACCEPT: Self =
        Self::of(&["_add_reader", "_accept_connection", "_accept_connection2"]);
    /// What asyncio does with an accepted connection.
    pub(crate) const ACCEPTED: Self = Self::of(&["_make_socket_transport", "_accept_connection2"]);
    /// The same over TLS; the first connection's steps are callbacks.
    pub(crate) const ACCEPTED_OVER_TLS: Self = Self::of(&[
        "_make_ssl_transport",
        "_accept_connection2",
        "call_soon",
        "_call_soon",
    ]);

    pub(crate) const CALL_SOON_THREADSAFE: Self = Self::of(&["call_soon_threadsafe"]);
    /// What asyncio's look-ups go through.
    pub(crate) const LOOKUPS: Self =
        Self::of(&["run_in_executor", "call_soon_threadsafe", "_write_to_self"]);
    pub(crate) const ENSURE_RESOLVED: Self = Self::of(&["_ensure_resolved"]);
    pub(crate) const CONNECT_SOCK: Self = Self::of(&["_connect_sock"]);
    pub(crate) const SOCK_CONNECT: Self = Self::of(&["sock_connect"]);
    pub(crate) const CREATE_CONNECTION_TRANSPORT: Self =
        Self::of(&["_create_connection_transport"]);
    pub(crate) const ENSURE_FD_NO_TRANSPORT: Self = Self::of(&["_ensure_fd_no_transport"]);
    pub(crate) const CREATE_FUTURE: Self = Self::of(&["create_future"]);
    pub(crate) const GET_DEBUG: Self = Self::of(&["get_debug"]);

    /// The methods; the place of each is its bit.
    const NAMES: [&'static str; 27] = [
        "time",
        "_run_once",
        "call_soon",
        "_call_soon",
        "_check_closed",
        "call_at",
        "_write_to_self",
        "_timer_handle_cancelled",
        "_make_socket_transport",
        "_make_ssl_transport",
        "_process_events",
        "_add_callback",
        "_add_reader",
        "_remove_reader",
        "_add_writer",
        "_remove_writer",
        "_accept_connection",
        "_accept_connection2",
        "call_soon_threadsafe",
        "run_in_executor",
        "_ensure_resolved",
        "_connect_sock",
        "sock_connect",
        "_create_connection_transport",
        "_ensure_fd_no_transport",
        "create_future",
        "get_debug",
    ];

    /// Both sets together.
    pub(crate) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The set of these methods.
    const fn of(names: &[&str]) -> Self {
        let (mut bits, mut index) = (0, 0);
        while index < names.len() {
            let mut bit = 0;
            while !same(Self::NAMES[bit], names[index]) {
                bit += 1; // past the end for a name that is not there, which does not compile
            }
            bits |= 1 << bit;
            index += 1;
        }
        Self(bits)
    }

    /// Whether any of `other` is in the set.
    #[inline]
    pub(crate) fn any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// What `class` overrides of `hotloop.EventLoop`.
    pub(super) fn of_class(class: &Bound<'_, PyType>) -> PyResult<Self> {
        let Some(originals) = ORIGINALS.get() else {
            return Ok(Self::NONE); // the package is not whole yet
        };
        let mut hooks = Self::NONE;
        for (bit, (name, original)) in originals.iter().enumerate() {
            let now = class.getattr_opt(name.bind(class.py()).cast::<PyString>()?)?;
            if now.is_some_and(|now| now.as_ptr() != original.as_ptr()) {
                hooks.0 |= 1 << bit;
            }
        }
        Ok(hooks)
    }

    fn named(name: &Bound<'_, PyString>) -> Self {
        let Ok(name) = name.to_str() else {
            return Self::NONE; // surrogates
        };
        let bit = Self::NAMES.iter().position(|known| *known == name);
        bit.map_or(Self::NONE, |bit| Self(1 << bit))
    }

    fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// Whether two strings are the same, at compile time.
const fn same(left: &str, right: &str) -> bool {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    let mut index = 0;
    while index < left.len() && index < right.len() && left[index] == right[index] {
        index += 1;
    }
    index == left.len() && index == right.len()
}

/// The names of [`Hooks::NAMES`], in that order, and the methods of `hotloop.EventLoop` as the package defines them.
static ORIGINALS: OnceLock<Vec<(Ref, Ref)>> = OnceLock::new();

/// Note the methods of `hotloop.EventLoop`: what differs from them later is an override. Called once, at import.
#[pyfunction]
#[pyo3(signature = (class_, /))]
pub(crate) fn _note_loop_class(class_: &Bound<'_, PyType>) -> PyResult<()> {
    if !class_.is_subclass_of::<Loop>()? {
        return Err(PyTypeError::new_err(Words(
            "a subclass of _core.Loop is needed",
        )));
    }
    add_methods_again(class_)?;
    let mut originals = Vec::with_capacity(Hooks::NAMES.len());
    for name in Hooks::NAMES {
        let name = PyString::intern(class_.py(), name);
        let original = class_.getattr(&name)?;
        originals.push((Ref::from(name), Ref::from(original)));
    }
    let _ = ORIGINALS.set(originals);
    Ok(())
}

/// Whether `asyncio.Handle._run` or `TimerHandle._run` is replaced.
static RUN_REPLACED: AtomicBool = AtomicBool::new(false);
/// The version tags of the two native types when that was looked at.
static HANDLE_VERSIONS: [AtomicU32; 2] = [AtomicU32::new(0), AtomicU32::new(0)];

impl Loop {
    /// Notices methods that were replaced on a class since the last iteration.
    #[inline]
    pub(super) fn notice_changes(&self, this: &Bound<'_, Loop>) -> PyResult<()> {
        let types = &imports(this.py())?.handle_types;
        let handle_versions = [
            version(types.handle.as_ptr()),
            version(types.timer.as_ptr()),
        ];
        let changed = handle_versions
            .iter()
            .zip(&HANDLE_VERSIONS)
            .any(|(now, before)| *now == 0 || *now != before.load(Ordering::Relaxed));
        // SAFETY: A2: the object is held, and with it its type.
        let class_version = version(unsafe { ffi::Py_TYPE(this.as_ptr()) }.cast());
        if class_version == 0 || class_version != self.class_version.get() {
            self.leave_task(this.py())?; // an attribute may be a descriptor written in Python
            self.look_at_class(this)?;
        }
        if changed {
            self.leave_task(this.py())?;
            look_at_handles(this.py())?;
        }
        Ok(())
    }

    /// Looks at the class of `this` again.
    #[cold]
    pub(super) fn look_at_class(&self, this: &Bound<'_, Loop>) -> PyResult<()> {
        let class = this.get_type();
        let hooks = Hooks::of_class(&class)?;
        self.hooks.set(self.instance_hooks.get().with(hooks));
        // The look itself gives the class a version if it had none.
        self.class_version.set(version(class.as_ptr()));
        Ok(())
    }
}

/// Whether handles have to be run through their Python method.
#[inline]
pub(super) fn run_is_replaced() -> bool {
    RUN_REPLACED.load(Ordering::Relaxed)
}

#[cold]
fn look_at_handles(py: Python<'_>) -> PyResult<()> {
    let imports = imports(py)?;
    let types = [&imports.handle_types.handle, &imports.handle_types.timer];
    let mut replaced = false;
    for (class, seen) in types.into_iter().zip(&HANDLE_VERSIONS) {
        let run = class.bind(py).getattr(intern!(py, "_run"))?;
        replaced |= run.as_ptr() != imports.handle_run.as_ptr();
        seen.store(version(class.as_ptr()), Ordering::Relaxed);
    }
    RUN_REPLACED.store(replaced, Ordering::Relaxed);
    Ok(())
}

/// The version tag of a type, 0 if it has none.
#[inline]
fn version(class: *mut ffi::PyObject) -> u32 {
    // SAFETY: A4: `class` is a type that the caller holds; A1: the tag changes only under the interpreter's lock.
    unsafe { (*class.cast::<ffi::PyTypeObject>()).tp_version_tag }
}

#[pymethods]
impl Loop {
    fn __setattr__(
        slf: &Bound<'_, Self>,
        name: &Bound<'_, PyString>,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        set(slf, name, value.as_ptr())?;
        let hook = Hooks::named(name);
        if hook != Hooks::NONE {
            let this = slf.get();
            this.instance_hooks
                .set(this.instance_hooks.get().with(hook));
            this.hooks.set(this.hooks.get().with(hook));
        }
        Ok(())
    }

    fn __delattr__(slf: &Bound<'_, Self>, name: &Bound<'_, PyString>) -> PyResult<()> {
        set(slf, name, std::ptr::null_mut())?;
        let hook = Hooks::named(name);
        if hook != Hooks::NONE {
            let this = slf.get();
            this.instance_hooks
                .set(this.instance_hooks.get().without(hook));
            this.look_at_class(slf)?;
        }
        Ok(())
    }
}

fn set(
    object: &Bound<'_, Loop>,
    name: &Bound<'_, PyString>,
    value: *mut ffi::PyObject,
) -> PyResult<()> {
    // SAFETY: A2: object, name and value are held by the caller; A3: the result is looked at.
    let failed = unsafe { ffi::PyObject_GenericSetAttr(object.as_ptr(), name.as_ptr(), value) } < 0;
    if failed {
        Err(PyErr::fetch(object.py()))
    } else {
        Ok(())
    }
}
