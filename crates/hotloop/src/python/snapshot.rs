//! Snapshots of the current context that many handles share.
//!
//! `call_soon` and its relatives run the callback in a copy of the context that is current when they are called
//! (PEP 567). A copy for each handle is an allocation that the garbage collector has to look at, and nearly all of
//! these copies have the same content. So handles that are made while the content does not change share one
//! [`Snapshot`]; a callback that changes a variable spoils the shared copy for itself only.
//!
//! # Rules
//! - **S1.** `pristine` is never entered: what is in it is what the handles were promised. A context's content is one
//!   immutable mapping (`ctx_vars`, `Python/context.c`), so two contexts have the same content if that pointer is the
//!   same, and `pristine` keeps the mapping alive, so that no other can come to lie at its address.
//! - **S2.** `working` is entered only by [`Snapshot::call`], which takes it out of its place for that time, and only
//!   while it has the content of `pristine`. After the call it is put back, but dropped if it was changed, or if anybody
//!   else refers to it.
//! - **S3.** Python code never sees either: whoever asks a handle for its context is given a copy of its own.
//! - **S4.** The two places that CPython does not export, the thread's current context and a context's content, are
//!   read at offsets that [`layout`] has tried out on live objects when the module was imported. On a Python where
//!   the trial fails every handle has its own copy, as in asyncio.

use std::sync::OnceLock;

use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyTypeInfo, PyVisit};

use super::{Ref, RefSlot, call};

/// The content of a context at one moment.
#[pyclass(frozen, module = "hotloop._core", name = "_Snapshot")]
pub(crate) struct Snapshot {
    pristine: Ref,
    working: RefSlot,
}

// SAFETY: A1: used only by the thread that holds the interpreter.
unsafe impl Send for Snapshot {}
// SAFETY: A1, as above.
unsafe impl Sync for Snapshot {}

#[pymethods]
impl Snapshot {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.pristine.traverse(&visit)?;
        self.working.traverse(&visit)
    }

    fn __clear__(&self) {
        drop(self.working.take());
    }
}

impl Snapshot {
    /// The snapshot behind a handle's context, if it is one.
    #[inline]
    pub(crate) fn of<'a>(context: &'a Ref, py: Python<'_>) -> Option<&'a Self> {
        // SAFETY: A2 by `context`; comparing types runs no code. The type is final, so its instances are `Snapshot`s.
        unsafe {
            (ffi::Py_TYPE(context.as_ptr()) == Self::type_object_raw(py))
                .then(|| &*(context.bind(py).cast_unchecked::<Self>().get() as *const Self))
        }
    }

    /// A copy for somebody who wants to keep or change it (S3).
    pub(crate) fn copy(&self, py: Python<'_>) -> PyResult<Ref> {
        // SAFETY: A2 by `self`, A3 by `from_new`.
        unsafe { Ref::from_new(py, ffi::PyContext_Copy(self.pristine.as_ptr())) }
    }

    /// Calls `callable(*args)` in a context with this content. The caller holds the snapshot.
    ///
    /// # Errors
    /// What the callable raises, with the context in which it did so: whoever reports it shows that one.
    pub(crate) fn call(
        &self,
        py: Python<'_>,
        callable: &Ref,
        args: &Ref,
    ) -> Result<Ref, (PyErr, Option<Ref>)> {
        // A callback that runs the loop again finds none, and has one of its own.
        let working = match self.working.take() {
            Some(working) => working,
            None => self.copy(py).map_err(|error| (error, None))?,
        };
        let result = match call::call_in_plain_context(py, &working, callable, args) {
            Ok(result) => result,
            Err(error) => return Err((error, Some(working))),
        };
        // SAFETY: A2: both are held.
        let clean = unsafe {
            content(working.as_ptr()) == content(self.pristine.as_ptr())
                && ffi::Py_REFCNT(working.as_ptr()) == 1
        };
        if clean {
            drop(self.working.replace(Some(working)));
        }
        Ok(result)
    }
}

/// Remembers the last snapshot, for as long as the loop is busy.
#[derive(Default)]
pub(crate) struct LastSnapshot(RefSlot);

impl LastSnapshot {
    /// What stands for a copy of the current context: a snapshot of it, or a plain copy.
    #[inline]
    pub(crate) fn of_current(&self, py: Python<'_>) -> PyResult<Ref> {
        let Some(layout) = layout() else {
            return call::copy_context(py);
        };
        // SAFETY: A1 by the token; S4.
        let current = unsafe { layout.current() };
        if current.is_null() {
            return call::copy_context(py); // which makes one for the thread
        }
        // SAFETY: A2: the thread state holds its context; nothing here runs Python code before the comparison.
        let now = unsafe { content(current) };
        let known = self.0.peek(|last| {
            let snapshot = Snapshot::of(last?, py)?;
            // SAFETY: A2 by the snapshot.
            let same = unsafe { content(snapshot.pristine.as_ptr()) } == now;
            same.then(|| last.map(|last| last.clone_ref(py)))?
        });
        match known {
            Some(known) => Ok(known),
            None => self.take_new(py),
        }
    }

    #[cold]
    fn take_new(&self, py: Python<'_>) -> PyResult<Ref> {
        let snapshot = Snapshot {
            pristine: call::copy_context(py)?,
            working: RefSlot::default(),
        };
        let snapshot = Ref::from(Bound::new(py, snapshot)?);
        drop(self.0.replace(Some(snapshot.clone_ref(py))));
        Ok(snapshot)
    }

    /// Lets go of it: the values of its variables must not live on because of us.
    ///
    /// Returns whether there was one: its values may have run code when they were freed.
    #[inline]
    pub(crate) fn forget(&self) -> bool {
        let known = self.0.is_some();
        if known {
            drop(self.0.take());
        }
        known
    }

    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.0.traverse(visit)
    }
}

/// Where `ctx_vars` lies in a context: after the head and `ctx_prev` (`struct _pycontextobject`, 3.11–3.15).
const CONTENT: usize = size_of::<PyObject>() + size_of::<usize>();

/// Where `context` lies in a thread state (`struct _ts` of `cpython/pystate.h`), which is fixed within a minor version.
const CURRENT: Option<usize> = if cfg!(not(Py_3_12)) {
    Some(224)
} else if cfg!(not(Py_3_15)) {
    Some(208)
} else if cfg!(not(Py_3_16)) {
    Some(232)
} else {
    None
};

/// The proof that the offsets hold.
struct Layout {
    current: usize,
}

impl Layout {
    /// The context of this thread, null if it has none yet.
    #[inline]
    unsafe fn current(&self) -> *mut PyObject {
        // SAFETY: A1 by the caller; S4.
        unsafe { word(ffi::PyThreadState_Get().cast(), self.current) }
    }
}

/// The mapping that is a context's content.
#[inline]
unsafe fn content(context: *mut PyObject) -> *mut PyObject {
    // SAFETY: A2 by the caller; S4.
    unsafe { word(context.cast(), CONTENT) }
}

unsafe fn word(object: *const u8, offset: usize) -> *mut PyObject {
    // SAFETY: the caller's; the places are aligned as pointers are.
    unsafe { object.add(offset).cast::<*mut PyObject>().read() }
}

static LAYOUT: OnceLock<Option<Layout>> = OnceLock::new();

#[inline]
fn layout() -> Option<&'static Layout> {
    LAYOUT.get().and_then(Option::as_ref)
}

/// Tries the offsets out; called once, when the module is imported.
pub(crate) fn try_layout(py: Python<'_>) -> PyResult<()> {
    let layout = match CURRENT {
        Some(current) if cfg!(not(Py_GIL_DISABLED)) => {
            let layout = Layout { current };
            holds(py, &layout)?.then_some(layout)
        }
        _ => None,
    };
    let _ = LAYOUT.set(layout);
    Ok(())
}

/// Whether a context and the thread state change at these places when they should, and only then.
fn holds(py: Python<'_>, layout: &Layout) -> PyResult<bool> {
    // SAFETY: A1, A2: every object is held by a reference; A3 by `from_new` and the checks of the results. S4: both
    // structures are longer than the offsets on every version for which there is one: a context has at least four
    // words after its head, and the thread state's fields before `context` are public in its header.
    unsafe {
        let first = Ref::from_new(py, ffi::PyContext_New())?;
        let kind = ffi::Py_TYPE(first.as_ptr());
        if (*kind).tp_basicsize.unsigned_abs() < CONTENT + size_of::<usize>() {
            return Ok(false);
        }
        let name = c"hotloop.trial";
        let variable = Ref::from_new(
            py,
            ffi::PyContextVar_New(name.as_ptr(), std::ptr::null_mut()),
        )?;
        let before = Ref::from_new(py, ffi::PyContext_Copy(first.as_ptr()))?;
        let mut good = !content(first.as_ptr()).is_null()
            && content(first.as_ptr()) == content(before.as_ptr())
            && layout.current() != first.as_ptr();
        let inside = call::within_context(py, &first, || {
            let inside = layout.current() == first.as_ptr();
            let token = ffi::PyContextVar_Set(variable.as_ptr(), variable.as_ptr());
            drop(Ref::from_new(py, token)?);
            Ok(inside)
        })?;
        let after = Ref::from_new(py, ffi::PyContext_Copy(first.as_ptr()))?;
        good &= inside
            && layout.current() != first.as_ptr()
            && content(first.as_ptr()) != content(before.as_ptr())
            && content(first.as_ptr()) == content(after.as_ptr());
        Ok(good)
    }
}
