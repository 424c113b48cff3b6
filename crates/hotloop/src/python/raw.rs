//! Calls into Python that may never come back: CPython up to 3.13 ends a daemon thread when the interpreter ends.
//!
//! Such a thread asks for the interpreter (every few milliseconds of Python code it does), is refused, and
//! `pthread_exit()` unwinds its stack. Rust must not be unwound like that: on the way references would be dropped
//! without the interpreter, and `catch_unwind`, which every function that Python calls has, aborts the process
//! (<https://github.com/rust-lang/rust/issues/135929>). So each call that runs a program's code is made with a
//! [`Hang`] around it, which the unwinding meets first: the thread waits there until the process is gone. From 3.14 on
//! CPython does the same by itself (<https://github.com/python/cpython/issues/87135>).
//!
//! PyO3 guards the taking of the interpreter in this way, but not the calls in which CPython takes it. While a thread runs
//! a loop, [`thread_end`](super::thread_end) guards those, too. What is left are cold calls by other daemon threads: a
//! task of ours on a loop of others, say, whose done-callback's `__eq__` is where the interpreter ends.

/// While it is alive, unwinding that is not a panic ends here, and the thread with it.
pub(crate) struct Hang(());

impl Hang {
    /// Runs `body`; a thread that is ended in it waits for ever.
    #[inline]
    pub(crate) fn around<R>(body: impl FnOnce() -> R) -> R {
        let hang = Self(());
        let result = body();
        std::mem::forget(hang);
        result
    }
}

impl Drop for Hang {
    #[cold]
    fn drop(&mut self) {
        // A panic goes on to whoever catches it.
        while !std::thread::panicking() {
            std::thread::park();
        }
    }
}

#[cfg(Py_3_14)]
pub(crate) use pyo3::ffi::{
    PyIter_Send, PyObject_Call, PyObject_CallNoArgs, PyObject_Vectorcall, PyObject_VectorcallMethod,
};

#[cfg(not(Py_3_14))]
pub(crate) use guarded::*;

#[cfg(not(Py_3_14))]
mod guarded {
    use pyo3::ffi::{PyObject, PySendResult};

    use super::Hang;

    /// Declares functions of the C-API as what they are, functions that may unwind, and wraps each.
    macro_rules! guarded {
        ($(fn $name:ident($($argument:ident: $kind:ty),*) -> $result:ty;)*) => {
            mod unwinding {
                use super::{PyObject, PySendResult};

                unsafe extern "C-unwind" {
                    $(pub(super) fn $name($($argument: $kind),*) -> $result;)*
                }
            }

            $(
                /// As in the C-API.
                #[allow(non_snake_case)]
                #[inline]
                pub(crate) unsafe fn $name($($argument: $kind),*) -> $result {
                    // SAFETY: the caller's, who follows the C-API; the declaration is that of CPython's header.
                    Hang::around(|| unsafe { unwinding::$name($($argument),*) })
                }
            )*
        };
    }

    guarded! {
        fn PyObject_Call(
            callable: *mut PyObject, args: *mut PyObject, kwargs: *mut PyObject
        ) -> *mut PyObject;
        fn PyObject_CallNoArgs(callable: *mut PyObject) -> *mut PyObject;
        fn PyObject_Vectorcall(
            callable: *mut PyObject, args: *const *mut PyObject, count: usize, names: *mut PyObject
        ) -> *mut PyObject;
        fn PyObject_VectorcallMethod(
            name: *mut PyObject, args: *const *mut PyObject, count: usize, names: *mut PyObject
        ) -> *mut PyObject;
        fn PyIter_Send(
            iterator: *mut PyObject, value: *mut PyObject, result: *mut *mut PyObject
        ) -> PySendResult;
    }
}
