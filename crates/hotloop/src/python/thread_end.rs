//! A daemon thread that runs a loop is never unwound by CPython (up to 3.13): it waits where CPython would end it.
//!
//! [`raw`](super::raw) says why that must be, and stops the unwinding at the calls that are hot. The loop calls Python from
//! many more places: reports, hooks, `__del__` of whatever it drops. Almost every one of them is a call that Rust takes for
//! one that cannot unwind, and there the process is aborted before a [`Hang`](super::raw::Hang) further out is met.
//!
//! glibc facts (nptl/unwind.c, nptl/cleanup_compat.c; 2.17 to 2.41): `pthread_exit()` unwinds frame by frame, and before each
//! frame runs the cleanup handlers that lie below it, by the address of their buffers. A buffer that is not on this thread's
//! stack counts as below every frame, so its handler runs first of all, when no frame has been unwound. `_pthread_cleanup_push`
//! and `_pthread_cleanup_pop` are what programs of before 2003 are compiled to, and stay in the library for them; no current
//! header declares them, so they are looked up. Other C libraries run such handlers and unwind nothing.
//!
//! A thread of its own that a program cancels, or ends by `pthread_exit()` inside a callback, waits as well: it could not be
//! unwound either.

#[cfg(Py_3_14)]
pub(crate) fn prevented<R>(body: impl FnOnce() -> R) -> R {
    body()
}

#[cfg(not(Py_3_14))]
pub(crate) use before_3_14::prevented;

#[cfg(not(Py_3_14))]
mod before_3_14 {
    use std::ffi::{c_int, c_void};
    use std::mem::{MaybeUninit, transmute};
    use std::sync::OnceLock;

    /// `struct _pthread_cleanup_buffer`, <pthread.h>; twice as large, to be sure.
    type Buffer = MaybeUninit<[usize; 8]>;
    type Push = unsafe extern "C" fn(*mut Buffer, extern "C" fn(*mut c_void), *mut c_void);
    type Pop = unsafe extern "C" fn(*mut Buffer, c_int);

    /// Runs `body`. If CPython ends the thread in it, the thread waits for ever instead.
    pub(crate) fn prevented<R>(body: impl FnOnce() -> R) -> R {
        let Some((push, pop)) = functions() else {
            return body();
        };
        // Popped in the end, however `body` is left, and before its memory is gone.
        let mut pushed = Pushed {
            buffer: Box::new(MaybeUninit::uninit()),
            pop,
        };
        // SAFETY: A7: the buffer lives until it is popped, on this thread, in the reverse order of pushing.
        unsafe { push(&raw mut *pushed.buffer, wait, std::ptr::null_mut()) };
        let result = body();
        drop(pushed);
        result
    }

    struct Pushed {
        buffer: Box<Buffer>,
        pop: Pop,
    }

    impl Drop for Pushed {
        fn drop(&mut self) {
            // SAFETY: A7: it was pushed; 0: the handler is not run.
            unsafe { (self.pop)(&raw mut *self.buffer, 0) };
        }
    }

    extern "C" fn wait(_: *mut c_void) {
        loop {
            std::thread::park();
        }
    }

    fn functions() -> Option<(Push, Pop)> {
        static FUNCTIONS: OnceLock<Option<(Push, Pop)>> = OnceLock::new();
        *FUNCTIONS.get_or_init(|| {
            // SAFETY: A7: dlsym(3); the types are those of glibc's own declarations.
            unsafe {
                let push = libc::dlsym(libc::RTLD_DEFAULT, c"_pthread_cleanup_push".as_ptr());
                let pop = libc::dlsym(libc::RTLD_DEFAULT, c"_pthread_cleanup_pop".as_ptr());
                if push.is_null() || pop.is_null() {
                    return None;
                }
                Some((
                    transmute::<*mut c_void, Push>(push),
                    transmute::<*mut c_void, Pop>(pop),
                ))
            }
        })
    }
}
