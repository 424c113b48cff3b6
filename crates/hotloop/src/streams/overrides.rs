//! Whether a reader or a protocol has other methods than ours: on the object, by a subclass, or because somebody has
//! replaced one on the class.
//!
//! A class is looked at again when it has changed: CPython gives it another version tag, or none, whenever an attribute
//! of it or of one of its bases is set (`PyType_Modified`; 3.11–3.15, `Objects/typeobject.c`).

use std::cell::Cell;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::python::Ref;

use super::{Names, names};

/// The methods that native code skips, as `hotloop._streams` defines them.
pub(crate) struct Originals(Vec<(Ref, Ref)>);

impl Originals {
    pub(super) fn of(class: &Bound<'_, PyAny>, names: &[&str]) -> PyResult<Self> {
        let mut originals = Vec::with_capacity(names.len());
        for name in names {
            let name = PyString::intern(class.py(), name);
            let method = class.getattr(&name)?;
            originals.push((name.into(), method.into()));
        }
        Ok(Self(originals))
    }

    fn are_of(&self, class: &Bound<'_, PyAny>) -> PyResult<bool> {
        for (name, method) in &self.0 {
            let now = class.getattr(name.bind(class.py()).cast::<PyString>()?)?;
            if now.as_ptr() != method.as_ptr() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// What an object knows of its methods.
#[derive(Default)]
pub(super) struct Overrides {
    /// Whether the object has one of them to itself.
    own: Cell<bool>,
    /// Whether its class has another one, and the version of the class for which that holds (0: none).
    by_class: Cell<bool>,
    version: Cell<u32>,
}

impl Overrides {
    /// Somebody has set an attribute of that name on the object.
    pub(super) fn note(&self, name: &Bound<'_, PyString>, hooks: &[&str]) {
        // A name that is not UTF-8 (surrogates) is none of them.
        if name.to_str().is_ok_and(|name| hooks.contains(&name)) {
            self.own.set(true);
        }
    }

    /// Whether `object`, to which this belongs, has other methods than `originals`.
    #[inline]
    pub(super) fn any<T>(
        &self,
        object: &Bound<'_, T>,
        originals: impl FnOnce(&Names) -> &Originals,
    ) -> bool {
        let version = version(object);
        if version == 0 || version != self.version.get() {
            self.look(object.as_any(), originals);
        }
        self.own.get() || self.by_class.get()
    }

    /// Looks at the class again. One that cannot be looked at is taken for another one.
    #[cold]
    fn look(&self, object: &Bound<'_, PyAny>, originals: impl FnOnce(&Names) -> &Originals) {
        let same = names(object.py())
            .and_then(|names| originals(names).are_of(object.get_type().as_any()));
        self.by_class.set(!same.unwrap_or(false));
        // The look itself gives the class a version if it had none.
        self.version.set(version(object));
    }
}

/// The version tag of an object's class.
#[inline]
fn version<T>(object: &Bound<'_, T>) -> u32 {
    // SAFETY: A2: the object is held, and with it its type; A1: the tag changes only under the interpreter's lock.
    unsafe { (*ffi::Py_TYPE(object.as_ptr())).tp_version_tag }
}
