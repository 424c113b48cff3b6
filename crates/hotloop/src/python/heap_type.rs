//! Types whose base is a class written in Python (`asyncio.Handle`, `asyncio.Transport`), which PyO3's
//! `#[pyclass]` cannot have.
//!
//! CPython facts this rests on (3.11–3.15, `Objects/typeobject.c`): `PyType_FromSpecWithBases` makes a heap
//! type over any base class whose `basicsize` is not larger; the fields of our object struct lie after the
//! base's. The base's `tp_traverse`, `tp_clear` and `tp_dealloc` are `subtype_traverse` and friends, which look
//! for the first base that has other ones and would call ours again without end: our types bring all three and
//! never call the base's. They visit and clear the base's `__slots__` themselves, through the struct's fields.

use std::ffi::{CStr, c_int, c_uint, c_void};

use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::Ref;
use super::make;

/// What describes one type.
pub(crate) struct HeapType {
    /// `module.Name`.
    pub(crate) name: &'static CStr,
    /// The size of the object struct.
    pub(crate) size: usize,
    /// `Py_TPFLAGS_*` beyond the default and garbage collection.
    pub(crate) flags: std::ffi::c_ulong,
    /// `Py_tp_*` slots except methods, getters and members.
    pub(crate) slots: Vec<(c_int, *mut c_void)>,
    /// Methods; the list is ended by [`HeapType::build`].
    pub(crate) methods: Vec<ffi::PyMethodDef>,
    /// Attributes computed by functions; ended likewise.
    pub(crate) getters: Vec<ffi::PyGetSetDef>,
    /// Members by offset (`__dictoffset__`, `__weaklistoffset__`); ended likewise.
    pub(crate) members: Vec<ffi::PyMemberDef>,
}

impl HeapType {
    /// Makes the type. The definitions are leaked: a type of a loaded extension is never unloaded.
    pub(crate) fn build<'py>(self, base: &Bound<'py, PyType>) -> PyResult<Bound<'py, PyType>> {
        self.build_over(std::slice::from_ref(base))
    }

    /// The same over several bases, of which the first has the largest objects and the others add nothing to them.
    pub(crate) fn build_over<'py>(
        self,
        bases: &[Bound<'py, PyType>],
    ) -> PyResult<Bound<'py, PyType>> {
        let Some(base) = bases.first() else {
            return Err(PyImportError::new_err("a type needs a base"));
        };
        let py = base.py();
        let mut slots: Vec<ffi::PyType_Slot> = self
            .slots
            .into_iter()
            .map(|(slot, pfunc)| ffi::PyType_Slot { slot, pfunc })
            .collect();
        if !self.methods.is_empty() {
            slots.push(leaked(
                ffi::Py_tp_methods,
                self.methods,
                ffi::PyMethodDef::zeroed(),
            ));
        }
        if !self.getters.is_empty() {
            slots.push(leaked(
                ffi::Py_tp_getset,
                self.getters,
                ffi::PyGetSetDef::default(),
            ));
        }
        // Unlike methods and getters, these are copied into the type: so much memory need not be kept.
        let mut members = self.members;
        if !members.is_empty() {
            members.push(ffi::PyMemberDef::default());
            slots.push(ffi::PyType_Slot {
                slot: ffi::Py_tp_members,
                pfunc: members.as_mut_ptr().cast(),
            });
        }
        slots.push(ffi::PyType_Slot::default());
        let mut spec = ffi::PyType_Spec {
            name: self.name.as_ptr(),
            basicsize: self.size as c_int,
            itemsize: 0,
            flags: (ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_HAVE_GC | self.flags) as c_uint,
            slots: slots.as_mut_ptr(),
        };
        let bases = make::tuple(py, bases)?;
        // SAFETY: A1, A2: `bases` and `members` are alive; name and other definitions are static or leaked; A3 by
        // `from_new`.
        let made = unsafe {
            Ref::from_new(
                py,
                ffi::PyType_FromSpecWithBases(&raw mut spec, bases.as_ptr()),
            )?
        };
        Ok(made.into_bound(py).cast_into::<PyType>()?)
    }
}

fn leaked<T>(slot: c_int, mut definitions: Vec<T>, end: T) -> ffi::PyType_Slot {
    definitions.push(end);
    ffi::PyType_Slot {
        slot,
        pfunc: definitions.leak().as_mut_ptr().cast(),
    }
}

/// The size of the base's objects, or an `ImportError` if ours would not lie behind them.
pub(crate) fn check_size(base: &Bound<'_, PyType>, expected: usize) -> PyResult<()> {
    let size: usize = base.getattr("__basicsize__")?.extract()?;
    if size == expected {
        return Ok(());
    }
    Err(unknown_layout(
        base,
        &format!("its objects have {size} bytes, not {expected}"),
    ))
}

/// Compares where a `__slots__` attribute lies with where our struct has it.
pub(crate) fn check_offset(base: &Bound<'_, PyType>, name: &str, expected: usize) -> PyResult<()> {
    let descriptor = base.getattr(name)?;
    let is_member = descriptor.get_type().name()? == "member_descriptor";
    if !is_member {
        return Err(unknown_layout(
            base,
            &format!("{name} is not one of its __slots__"),
        ));
    }
    // SAFETY: A4: a `member_descriptor` is a `PyMemberDescrObject`, whose `d_member` lives as long as it does.
    let offset = unsafe {
        let member = (*descriptor.as_ptr().cast::<ffi::PyMemberDescrObject>()).d_member;
        (*member).offset.unsigned_abs()
    };
    if offset == expected {
        return Ok(());
    }
    Err(unknown_layout(
        base,
        &format!("{name} lies at {offset}, not at {expected}"),
    ))
}

fn unknown_layout(base: &Bound<'_, PyType>, what: &str) -> PyErr {
    let name = base
        .fully_qualified_name()
        .map_or_else(|_| "a base class".to_owned(), |name| name.to_string());
    PyImportError::new_err(format!(
        "this build of hotloop does not know the layout of {name} of the running Python ({what}); \
         install a version of hotloop that was built for it"
    ))
}

/// A `PyGetSetDef` with a getter and, where given, a setter.
pub(crate) fn attribute(
    name: &'static CStr,
    get: ffi::getter,
    set: Option<ffi::setter>,
) -> ffi::PyGetSetDef {
    ffi::PyGetSetDef {
        name: name.as_ptr(),
        get: Some(get),
        set,
        doc: std::ptr::null(),
        closure: std::ptr::null_mut(),
    }
}

/// A member at an offset that only the interpreter reads (`__dictoffset__`, `__weaklistoffset__`).
pub(crate) fn offset_member(name: &'static CStr, offset: usize) -> ffi::PyMemberDef {
    ffi::PyMemberDef {
        name: name.as_ptr(),
        type_code: ffi::Py_T_PYSSIZET,
        offset: offset as ffi::Py_ssize_t,
        flags: ffi::Py_READONLY,
        doc: std::ptr::null(),
    }
}

/// A method without arguments: `fn(py, Borrowed<self>) -> PyResult<Ref>`.
macro_rules! method_noargs {
    ($name:literal, $doc:expr, $body:path) => {{
        unsafe extern "C" fn shim(
            slf: *mut pyo3::ffi::PyObject,
            _: *mut pyo3::ffi::PyObject,
        ) -> *mut pyo3::ffi::PyObject {
            // SAFETY: A1, A6: called by the interpreter; A2: it holds `slf` during the call.
            unsafe {
                $crate::python::guard(|py| {
                    Ok($body(py, pyo3::Borrowed::from_ptr(py, slf))?.into_ptr())
                })
            }
        }
        pyo3::ffi::PyMethodDef {
            ml_name: $name.as_ptr(),
            ml_meth: pyo3::ffi::PyMethodDefPointer { PyCFunction: shim },
            ml_flags: pyo3::ffi::METH_NOARGS,
            ml_doc: $doc.as_ptr(),
        }
    }};
}

/// A method with one positional argument: `fn(py, Borrowed<self>, Borrowed<argument>) -> PyResult<Ref>`.
macro_rules! method_one {
    ($name:literal, $doc:expr, $body:path) => {{
        unsafe extern "C" fn shim(
            slf: *mut pyo3::ffi::PyObject,
            argument: *mut pyo3::ffi::PyObject,
        ) -> *mut pyo3::ffi::PyObject {
            // SAFETY: A1, A6: called by the interpreter; A2: it holds both objects during the call.
            unsafe {
                $crate::python::guard(|py| {
                    let argument = pyo3::Borrowed::from_ptr(py, argument);
                    Ok($body(py, pyo3::Borrowed::from_ptr(py, slf), argument)?.into_ptr())
                })
            }
        }
        pyo3::ffi::PyMethodDef {
            ml_name: $name.as_ptr(),
            ml_meth: pyo3::ffi::PyMethodDefPointer { PyCFunction: shim },
            ml_flags: pyo3::ffi::METH_O,
            ml_doc: $doc.as_ptr(),
        }
    }};
}

/// A method with any arguments: `fn(py, Borrowed<self>, FastArguments) -> PyResult<Ref>`.
macro_rules! method_fast {
    ($name:literal, $doc:expr, $body:path) => {
        $crate::python::heap_type::method_fast!($name, $doc, $body, $crate::python::guard)
    };
    ($name:literal, $doc:expr, $body:path, $guard:path) => {{
        unsafe extern "C" fn shim(
            slf: *mut pyo3::ffi::PyObject,
            args: *const *mut pyo3::ffi::PyObject,
            count: pyo3::ffi::Py_ssize_t,
            names: *mut pyo3::ffi::PyObject,
        ) -> *mut pyo3::ffi::PyObject {
            // SAFETY: A1, A6: called by the interpreter; A2: it holds the objects during the call.
            unsafe {
                $guard(|py| {
                    let arguments = $crate::python::FastArguments::new(py, args, count, names);
                    Ok($body(py, pyo3::Borrowed::from_ptr(py, slf), arguments)?.into_ptr())
                })
            }
        }
        pyo3::ffi::PyMethodDef {
            ml_name: $name.as_ptr(),
            ml_meth: pyo3::ffi::PyMethodDefPointer {
                PyCFunctionFastWithKeywords: shim,
            },
            ml_flags: pyo3::ffi::METH_FASTCALL | pyo3::ffi::METH_KEYWORDS,
            ml_doc: $doc.as_ptr(),
        }
    }};
}

/// A getter: `fn(py, Borrowed<self>) -> PyResult<Ref>`.
macro_rules! getter {
    ($body:path) => {{
        unsafe extern "C" fn shim(
            slf: *mut pyo3::ffi::PyObject,
            _: *mut std::ffi::c_void,
        ) -> *mut pyo3::ffi::PyObject {
            // SAFETY: A1, A6: called by the interpreter; A2: it holds `slf` during the call.
            unsafe {
                $crate::python::guard(|py| {
                    Ok($body(py, pyo3::Borrowed::from_ptr(py, slf))?.into_ptr())
                })
            }
        }
        shim as pyo3::ffi::getter
    }};
}

/// A setter: `fn(py, Borrowed<self>, Borrowed<value>) -> PyResult<()>`; deleting the attribute raises the exception given.
macro_rules! setter {
    ($body:path, $refusal:ty, $words:literal) => {{
        unsafe extern "C" fn shim(
            slf: *mut pyo3::ffi::PyObject,
            value: *mut pyo3::ffi::PyObject,
            _: *mut std::ffi::c_void,
        ) -> std::ffi::c_int {
            // SAFETY: A1, A6: called by the interpreter; A2: it holds both objects during the call. A null value means
            // deletion.
            unsafe {
                $crate::python::guard(|py| {
                    let Some(value) = pyo3::Borrowed::from_ptr_or_opt(py, value) else {
                        return Err(<$refusal>::new_err($crate::python::make::Words($words)));
                    };
                    $body(py, pyo3::Borrowed::from_ptr(py, slf), value)?;
                    Ok(0)
                })
            }
        }
        shim as pyo3::ffi::setter
    }};
}

pub(crate) use {getter, method_fast, method_noargs, method_one, setter};
