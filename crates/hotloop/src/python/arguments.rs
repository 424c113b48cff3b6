//! The arguments of a `METH_FASTCALL | METH_KEYWORDS` method, looked at without making a tuple or a dict.

use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::Borrowed;
use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;

use super::Ref;
use super::make::Words;
use super::raw;

/// Positional arguments in an array, the values of the keywords after them, the names in a tuple.
#[derive(Copy, Clone)]
pub(crate) struct FastArguments<'a, 'py> {
    py: Python<'py>,
    all: &'a [*mut ffi::PyObject],
    positional: usize,
    names: *mut ffi::PyObject,
}

impl<'a, 'py> FastArguments<'a, 'py> {
    /// # Safety
    /// The four values are what the interpreter passed to a fastcall method, whose call is still running.
    pub(crate) unsafe fn new(
        py: Python<'py>,
        args: *const *mut ffi::PyObject,
        positional: ffi::Py_ssize_t,
        names: *mut ffi::PyObject,
    ) -> Self {
        // SAFETY: A2: the interpreter holds the arguments and the tuple of names during the call. A fastcall
        // with no argument at all may pass a null array, which a slice must not be made of.
        unsafe {
            let positional = positional.unsigned_abs();
            let keywords = if names.is_null() {
                0
            } else {
                ffi::PyTuple_GET_SIZE(names).unsigned_abs()
            };
            let all = if args.is_null() {
                &[]
            } else {
                std::slice::from_raw_parts(args, positional + keywords)
            };
            Self {
                py,
                all,
                positional,
                names,
            }
        }
    }

    /// No arguments.
    pub(crate) fn none(py: Python<'py>) -> Self {
        Self {
            py,
            all: &[],
            positional: 0,
            names: std::ptr::null_mut(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(crate) fn positional_count(&self) -> usize {
        self.positional
    }

    pub(crate) fn keyword_count(&self) -> usize {
        self.all.len() - self.positional
    }

    /// A positional argument.
    pub(crate) fn get(&self, index: usize) -> Option<Borrowed<'a, 'py, PyAny>> {
        let object = *self.all[..self.positional].get(index)?;
        // SAFETY: A2: alive during the call.
        Some(unsafe { Borrowed::from_ptr(self.py, object) })
    }

    /// The name and the value of a keyword argument.
    pub(crate) fn keyword(
        &self,
        index: usize,
    ) -> Option<(Borrowed<'a, 'py, PyAny>, Borrowed<'a, 'py, PyAny>)> {
        let value = *self.all.get(self.positional + index)?;
        // SAFETY: A2: alive during the call; the index is below the tuple's length, as the two agree.
        unsafe {
            let name = ffi::PyTuple_GET_ITEM(self.names, index as ffi::Py_ssize_t);
            Some((
                Borrowed::from_ptr(self.py, name),
                Borrowed::from_ptr(self.py, value),
            ))
        }
    }

    /// The only keyword's value if its name is `name` and there is no other. `None` means that there are
    /// keywords of another kind; `Some(None)` that there are none.
    #[inline(always)]
    pub(crate) fn only_keyword(
        &self,
        name: &Bound<'py, PyAny>,
    ) -> Option<Option<Borrowed<'a, 'py, PyAny>>> {
        match self.keyword_count() {
            0 => Some(None),
            1 => {
                let (given, value) = self.keyword(0)?;
                same_text(&given, name).then_some(Some(value))
            }
            _ => None,
        }
    }

    /// The positional arguments from `start` on, as a tuple.
    #[inline(always)]
    pub(crate) fn rest(&self, start: usize) -> PyResult<Ref> {
        if self.positional <= start {
            // SAFETY: A3 by `from_new`.
            return unsafe { Ref::from_new(self.py, ffi::PyTuple_New(0)) };
        }
        self.packed(start)
    }

    fn packed(&self, start: usize) -> PyResult<Ref> {
        let rest = self.all[..self.positional].get(start..).unwrap_or_default();
        // SAFETY: A2: every argument gets a reference of its own before the tuple owns it; A3 by `from_new`.
        unsafe {
            let tuple = Ref::from_new(self.py, ffi::PyTuple_New(rest.len() as ffi::Py_ssize_t))?;
            for (index, &object) in rest.iter().enumerate() {
                ffi::Py_INCREF(object);
                ffi::PyTuple_SET_ITEM(tuple.as_ptr(), index as ffi::Py_ssize_t, object);
            }
            Ok(tuple)
        }
    }

    /// The arguments of a method with the parameters `names`, each at most once, by position or by name.
    pub(crate) fn named<const N: usize>(
        &self,
        method: &str,
        names: [&str; N],
    ) -> PyResult<[Option<Borrowed<'a, 'py, PyAny>>; N]> {
        let refused = |what: String| Err(PyTypeError::new_err(Words(format!("{method}() {what}"))));
        if self.positional > N {
            return refused(format!(
                "takes at most {N} arguments ({} given)",
                self.positional
            ));
        }
        let mut found = [None; N];
        for (index, place) in found.iter_mut().enumerate() {
            *place = self.get(index);
        }
        for index in 0..self.keyword_count() {
            let Some((name, value)) = self.keyword(index) else {
                break;
            };
            let name = name.extract::<&str>()?;
            match names.iter().position(|known| *known == name) {
                Some(place) if found[place].is_none() => found[place] = Some(value),
                Some(_) => return refused(format!("got multiple values for argument '{name}'")),
                None => return refused(format!("got an unexpected keyword argument '{name}'")),
            }
        }
        Ok(found)
    }

    /// The argument of a method with one parameter, by position or by name.
    #[inline]
    pub(crate) fn single(&self, method: &str, name: &str) -> PyResult<Borrowed<'a, 'py, PyAny>> {
        if let ([_], 1) = (self.all, self.positional)
            && let Some(argument) = self.get(0)
        {
            return Ok(argument);
        }
        let [argument] = self.named(method, [name])?;
        argument.ok_or_else(|| {
            PyTypeError::new_err(Words(format!(
                "{method}() missing 1 required positional argument: '{name}'"
            )))
        })
    }

    /// Calls `function(receiver, *args, **kwargs)` with the same arguments.
    pub(crate) fn forward(&self, function: &Ref, receiver: *mut ffi::PyObject) -> PyResult<Ref> {
        let mut all = Vec::with_capacity(self.all.len() + 1);
        all.push(receiver);
        all.extend_from_slice(self.all);
        // SAFETY: A2: receiver and arguments are alive during the call; A3 by `from_new`.
        unsafe {
            Ref::from_new(
                self.py,
                raw::PyObject_Vectorcall(
                    function.as_ptr(),
                    all.as_ptr(),
                    self.positional + 1,
                    self.names,
                ),
            )
        }
    }
}

/// A name that C code made and the interned one of the same text: the pair that was seen first. Both are kept alive,
/// so that no other string can have their addresses.
static KNOWN: [AtomicPtr<ffi::PyObject>; 2] = [const { AtomicPtr::new(std::ptr::null_mut()) }; 2];

/// Names in Python code and ours are both interned, so the same text is the same object; those that C code makes
/// (`_asyncio` does) are not.
#[inline]
fn same_text(given: &Bound<'_, PyAny>, name: &Bound<'_, PyAny>) -> bool {
    given.as_ptr() == name.as_ptr() || same_characters(given, name)
}

fn same_characters(given: &Bound<'_, PyAny>, name: &Bound<'_, PyAny>) -> bool {
    let [known_name, known_given] = &KNOWN;
    if known_given.load(Ordering::Relaxed) == given.as_ptr()
        && known_name.load(Ordering::Relaxed) == name.as_ptr()
    {
        return true;
    }
    // SAFETY: A2: both are strings that the caller holds; comparing two strings cannot fail or run code.
    let same = unsafe { ffi::PyUnicode_Compare(given.as_ptr(), name.as_ptr()) == 0 };
    if same && known_given.load(Ordering::Relaxed).is_null() {
        known_name.store(name.clone().into_ptr(), Ordering::Relaxed);
        known_given.store(given.clone().into_ptr(), Ordering::Relaxed);
    }
    same
}
