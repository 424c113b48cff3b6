//! Which of the methods that native code would skip are overridden, so that it calls them instead.
//!
//! A class is looked at once, when an instance is made; an attribute set on an instance (a test's mock, a
//! program's own clock) is noticed by `__setattr__`.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyType};

use super::Loop;

/// A set of overridden methods.
#[derive(Copy, Clone, PartialEq, Eq)]
pub(crate) struct Hooks(u32);

impl Hooks {
    pub(crate) const TIME: Self = Self(1);
    pub(crate) const RUN_ONCE: Self = Self(1 << 1);
    pub(crate) const CALL_SOON: Self = Self(1 << 2);
    pub(crate) const CALL_AT: Self = Self(1 << 3);
    pub(crate) const WRITE_TO_SELF: Self = Self(1 << 4);
    pub(crate) const TIMER_HANDLE_CANCELLED: Self = Self(1 << 5);
    pub(crate) const MAKE_SOCKET_TRANSPORT: Self = Self(1 << 6);

    pub(crate) const CALL_SOON_THREADSAFE: Self = Self(1 << 16);
    pub(crate) const RUN_IN_EXECUTOR: Self = Self(1 << 17);
    pub(crate) const ENSURE_RESOLVED: Self = Self(1 << 18);
    pub(crate) const CONNECT_SOCK: Self = Self(1 << 19);
    pub(crate) const SOCK_CONNECT: Self = Self(1 << 20);
    pub(crate) const CREATE_CONNECTION_TRANSPORT: Self = Self(1 << 21);
    pub(crate) const ENSURE_FD_NO_TRANSPORT: Self = Self(1 << 22);

    const NAMES: [(&'static str, Self); 9] = [
        ("time", Self::TIME),
        ("_run_once", Self::RUN_ONCE),
        ("call_soon", Self::CALL_SOON),
        ("call_at", Self::CALL_AT),
        ("_write_to_self", Self::WRITE_TO_SELF),
        ("_timer_handle_cancelled", Self::TIMER_HANDLE_CANCELLED),
        ("_make_socket_transport", Self::MAKE_SOCKET_TRANSPORT),
        ("call_soon_threadsafe", Self::CALL_SOON_THREADSAFE),
        ("run_in_executor", Self::RUN_IN_EXECUTOR),
    ];

    /// The hooks that the Python half defines, or asyncio behind it.
    const NAMES_IN_PYTHON: [(&'static str, Self); 5] = [
        ("_ensure_fd_no_transport", Self::ENSURE_FD_NO_TRANSPORT),
        ("_ensure_resolved", Self::ENSURE_RESOLVED),
        ("_connect_sock", Self::CONNECT_SOCK),
        ("sock_connect", Self::SOCK_CONNECT),
        (
            "_create_connection_transport",
            Self::CREATE_CONNECTION_TRANSPORT,
        ),
    ];

    /// Both sets together.
    pub(crate) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether any of `other` is in the set.
    pub(crate) fn any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// What `class` overrides of `_core.Loop`.
    pub(super) fn of_class(class: &Bound<'_, PyType>) -> PyResult<Self> {
        let native = class.py().get_type::<Loop>();
        let mut hooks = Self(0);
        for (name, hook) in Self::NAMES {
            if !class.getattr(name)?.is(&native.getattr(name)?) {
                hooks.0 |= hook.0;
            }
        }
        // Until the Python half has said what is its own (it has none when it is being imported), all are another's.
        let own = OWN_METHODS.get(class.py());
        for (index, (name, hook)) in Self::NAMES_IN_PYTHON.iter().enumerate() {
            let known = own.and_then(|own| own.get(index));
            if !known.is_some_and(|known| class.getattr(*name).is_ok_and(|found| found.is(known))) {
                hooks.0 |= hook.0;
            }
        }
        Ok(hooks)
    }

    fn named(name: &str) -> Self {
        Self::NAMES
            .iter()
            .chain(&Self::NAMES_IN_PYTHON)
            .find(|(known, _)| *known == name)
            .map_or(Self(0), |(_, hook)| *hook)
    }
}

/// The methods of `hotloop.EventLoop` for [`Hooks::NAMES_IN_PYTHON`].
static OWN_METHODS: PyOnceLock<Vec<Py<PyAny>>> = PyOnceLock::new();

#[pymethods]
impl Loop {
    /// Remember which methods are hotloop's own and asyncio's; called once with the class `hotloop.EventLoop`.
    #[staticmethod]
    fn _note_own_methods(class_: &Bound<'_, PyType>) -> PyResult<()> {
        let mut own = Vec::new();
        for (name, _) in Hooks::NAMES_IN_PYTHON {
            own.push(class_.getattr(name)?.unbind());
        }
        let _ = OWN_METHODS.set(class_.py(), own);
        Ok(())
    }

    fn __setattr__(
        slf: &Bound<'_, Self>,
        name: &Bound<'_, PyString>,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        set(slf, name, value.as_ptr())?;
        let this = slf.get();
        this.hooks
            .set(Hooks(this.hooks.get().0 | Hooks::named(name.to_str()?).0));
        Ok(())
    }

    fn __delattr__(slf: &Bound<'_, Self>, name: &Bound<'_, PyString>) -> PyResult<()> {
        set(slf, name, std::ptr::null_mut())?;
        let this = slf.get();
        let hook = Hooks::named(name.to_str()?);
        this.hooks.set(Hooks(
            this.hooks.get().0 & !hook.0 | this.class_hooks.0 & hook.0,
        ));
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
