//! The engine that drives OpenSSL itself.

use std::cell::{Cell, RefCell};
use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::python::Ref;
use crate::python::make;
use crate::python::raw::Hang;

use super::bio::{self, Records};
use super::library::{Functions, Ssl, library};
use super::names::{Method, Names, names};
use super::{End, Progress, Taken, Turn, verify};

/// `SSL_CTRL_MODE` and `SSL_MODE_RELEASE_BUFFERS`, <openssl/ssl.h>: a connection that is idle keeps no buffers.
const CONTROL_MODE: c_int = 33;
const MODE_RELEASE_BUFFERS: std::ffi::c_long = 0x10;
/// `SSL_get_error(3)`.
const ERROR_WANT_READ: c_int = 2;
const ERROR_ZERO_RETURN: c_int = 6;
/// `SSL_READING`, SSL_want(3).
const WANTS_TO_READ: c_int = 3;
/// `SSL_RECEIVED_SHUTDOWN`, `SSL_get_shutdown(3)`.
const RECEIVED_SHUTDOWN: c_int = 2;

/// See the rules of the module above.
pub(crate) struct Direct {
    functions: &'static Functions,
    ssl: NonNull<Ssl>,
    records: NonNull<Records>,
    /// Received while an operation was under way (T6).
    late: RefCell<Vec<u8>>,
    pub(super) turn: Turn,
    /// Whether an operation was ever begun.
    used: Cell<bool>,
    /// The program's `SSLObject`, for the exceptions, and the `_ssl._SSLSocket` that owns the `SSL` (T3).
    object: Ref,
    owner: Ref,
}

impl Direct {
    /// Puts our BIO under the object; `None` where that is not possible.
    pub(super) fn new(object: &Bound<'_, PyAny>) -> PyResult<Option<Self>> {
        let py = object.py();
        if !verify::may_be_driven(object)? {
            return Ok(None);
        }
        let Some(library) = library(py) else {
            return Ok(None);
        };
        let Some((ssl, owner)) = verify::borrow_ssl(library, object)? else {
            return Ok(None);
        };
        bio::set_functions(library);
        let Some((bio, records)) = Records::new_bio(library) else {
            return Ok(None);
        };
        let functions = &library.functions;
        // SAFETY: T2, T3: the reference of the new BIO goes to the `SSL`, which drops the memory BIOs.
        unsafe {
            (functions.SSL_set_bio)(ssl.as_ptr(), bio.as_ptr(), bio.as_ptr());
            (functions.SSL_ctrl)(
                ssl.as_ptr(),
                CONTROL_MODE,
                MODE_RELEASE_BUFFERS,
                std::ptr::null_mut(),
            );
        }
        Ok(Some(Self {
            functions,
            ssl,
            records,
            late: RefCell::new(Vec::new()),
            turn: Turn::default(),
            used: Cell::new(false),
            object: object.into(),
            owner,
        }))
    }

    pub(super) fn for_each_reference(&self, look: &mut dyn FnMut(&Ref)) {
        [&self.object, &self.owner].into_iter().for_each(look);
    }

    /// An operation begins. What was received during the one before (T6) is there for it to read.
    pub(super) fn begin(&self) -> Option<Taken<'_>> {
        if !self.late.borrow().is_empty() {
            self.take_back();
        }
        self.used.set(true);
        self.turn.begin()
    }

    /// The records, while no OpenSSL call is under way.
    fn with_records<R>(&self, look: impl FnOnce(&mut Records) -> R) -> Option<R> {
        if self.turn.is_taken() {
            return None;
        }
        // SAFETY: T3: the `SSL` is kept, and it keeps the BIO; T4: no call is under way, and `look` makes none.
        Some(look(unsafe { &mut *self.records.as_ptr() }))
    }

    /// # Safety
    /// T5.
    pub(super) unsafe fn lend(&self, data: &[u8]) {
        let late = std::mem::take(&mut *self.late.borrow_mut());
        let lent = self.with_records(|records| {
            if !late.is_empty() {
                records.keep(&late);
            }
            // SAFETY: T5, by the caller.
            unsafe { records.lend(data) }
        });
        if lent.is_none() {
            let mut waiting = self.late.borrow_mut();
            *waiting = late;
            waiting.extend_from_slice(data);
        }
    }

    pub(super) fn take_back(&self) {
        // If an operation is under way, then it is one further out, which has lent its own bytes and takes them back:
        // what was lent inside it went to `late`.
        self.with_records(|records| {
            records.take_back();
            let late = std::mem::take(&mut *self.late.borrow_mut());
            if !late.is_empty() {
                records.keep(&late);
            }
        });
    }

    pub(super) fn keep(&self, data: &[u8]) {
        self.late.borrow_mut().extend_from_slice(data);
        self.take_back();
    }

    pub(super) fn waiting_in(&self) -> usize {
        self.with_records(|records| records.unread()).unwrap_or(0) + self.late.borrow().len()
    }

    pub(super) fn waiting_out(&self) -> usize {
        self.with_records(|records| records.outgoing.len())
            .unwrap_or(0)
    }

    pub(super) fn take_records(&self) -> Vec<u8> {
        self.with_records(|records| std::mem::take(&mut records.outgoing))
            .unwrap_or_default()
    }

    pub(super) fn offer_buffer(&self, buffer: impl FnOnce() -> Vec<u8>) {
        let has_none = |records: &mut Records| records.outgoing.capacity() == 0;
        if self.with_records(has_none) == Some(true) {
            let buffer = buffer(); // not inside: it looks at Python objects (T4)
            self.with_records(|records| {
                if has_none(records) {
                    records.outgoing = buffer;
                }
            });
        }
    }

    /// Goes on with the handshake, if nothing was received: whether the peer has to send now.
    ///
    /// `SSLObject.do_handshake()` would raise an exception to say so, which costs more than all else that a server does
    /// at this moment. In every other case the method is to be called. Nor is OpenSSL asked by a server that has not
    /// heard anything yet: it would take buffers for what it can say without them.
    pub(super) fn handshake_waits(&self, py: Python<'_>, server_side: bool) -> bool {
        if self.waiting_in() > 0 || !self.is_own(py, |names| &names.do_handshake) {
            return false;
        }
        if server_side && !self.used.get() {
            return true;
        }
        self.asks(|functions, ssl| {
            // SAFETY: T2, T3, by `asks`.
            let outcome = unsafe { (functions.SSL_do_handshake)(ssl) };
            // SAFETY: as above.
            outcome < 0 && unsafe { (functions.SSL_get_error)(ssl, outcome) } == ERROR_WANT_READ
        })
    }

    /// Sends close_notify, if neither end has done so and nothing is there to be read: whether the peer's is awaited.
    ///
    /// In place of `SSLObject.unwrap()`, as above.
    pub(super) fn shutdown_waits(&self, py: Python<'_>) -> bool {
        if self.waiting_in() > 0 || !self.is_own(py, |names| &names.unwrap) {
            return false;
        }
        self.asks(|functions, ssl| {
            // SAFETY: T2, T3, by `asks`.
            unsafe {
                (functions.SSL_get_shutdown)(ssl) == 0
                    && (functions.SSL_pending)(ssl) == 0
                    && (functions.SSL_shutdown)(ssl) == 0
            }
        })
    }

    fn is_own(
        &self,
        py: Python<'_>,
        method: impl FnOnce(&'static Names) -> &'static Method,
    ) -> bool {
        names(py).is_ok_and(|names| method(names).is_own(&self.object.bind(py)))
    }

    /// One operation, the result of which is not an error.
    fn asks(&self, operation: impl FnOnce(&Functions, *mut Ssl) -> bool) -> bool {
        let Some(_calling) = self.begin() else {
            return false;
        };
        // SAFETY: T1.
        unsafe { self.forget_errors() };
        Hang::around(|| operation(self.functions, self.ssl.as_ptr()))
    }

    pub(super) fn read(
        &self,
        py: Python<'_>,
        memory: &mut [MaybeUninit<u8>],
    ) -> PyResult<Progress> {
        let mut count = 0;
        loop {
            let Some(rest) = memory.get_mut(count..).filter(|rest| !rest.is_empty()) else {
                return Ok(Progress {
                    count,
                    end: End::Full,
                });
            };
            let progress = |end| Ok(Progress { count, end });
            let Some(calling) = self.begin() else {
                return progress(End::Drained);
            };
            let mut read = 0;
            // SAFETY: T2, T3; `rest` has room for so many bytes, and belongs to our caller (T6); A7 by `Hang`.
            let outcome = unsafe {
                self.forget_errors();
                Hang::around(|| {
                    (self.functions.SSL_read_ex)(
                        self.ssl.as_ptr(),
                        rest.as_mut_ptr().cast(),
                        rest.len(),
                        &raw mut read,
                    )
                })
            };
            if outcome == 1 {
                // SAFETY: T2, T3.
                let pending = unsafe { (self.functions.SSL_pending)(self.ssl.as_ptr()) };
                drop(calling);
                count += read;
                // Asking once more would only cost: there is nothing to be read.
                if pending == 0 && self.waiting_in() == 0 {
                    return Ok(Progress {
                        count,
                        end: End::Drained,
                    });
                }
                continue;
            }
            // SAFETY: T2, T3.
            let (error, shutdown) = unsafe {
                (
                    (self.functions.SSL_get_error)(self.ssl.as_ptr(), outcome),
                    (self.functions.SSL_get_shutdown)(self.ssl.as_ptr()),
                )
            };
            if error == ERROR_WANT_READ {
                return progress(End::Drained);
            }
            if error == ERROR_ZERO_RETURN && shutdown == RECEIVED_SHUTDOWN {
                return progress(End::Closed);
            }
            let rest_len = rest.len();
            match self.ask_again(py, intern!(py, "read"), make::size(py, rest_len)?) {
                Ok(data) => {
                    let data = data.bind(py).cast::<PyBytes>()?.to_owned();
                    let bytes = data.as_bytes();
                    if bytes.is_empty() {
                        return progress(End::Closed);
                    }
                    for (place, byte) in rest.iter_mut().zip(bytes) {
                        place.write(*byte);
                    }
                    count += bytes.len().min(rest_len);
                }
                Err(error) if names(py)?.is_again(py, &error) => return progress(End::Drained),
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) fn write(&self, py: Python<'_>, data: &[u8]) -> PyResult<usize> {
        let mut count = 0;
        while let Some(rest) = data.get(count..).filter(|rest| !rest.is_empty()) {
            let Some(_calling) = self.begin() else {
                break;
            };
            let mut written = 0;
            // SAFETY: T2, T3; `rest` belongs to our caller (T6); A7 by `Hang`.
            let outcome = unsafe {
                Hang::around(|| {
                    (self.functions.SSL_write_ex)(
                        self.ssl.as_ptr(),
                        rest.as_ptr().cast(),
                        rest.len(),
                        &raw mut written,
                    )
                })
            };
            if outcome == 1 {
                count += written;
                continue;
            }
            // Not SSL_get_error, which looks at the thread's error queue: an error that somebody left there would be
            // taken for ours, and clearing it before every write costs more than asking afterwards.
            // SAFETY: T2, T3.
            if unsafe { (self.functions.SSL_want)(self.ssl.as_ptr()) } == WANTS_TO_READ {
                break;
            }
            match self.ask_again(py, intern!(py, "write"), make::bytes(py, rest)?.into_any()) {
                Ok(written) => count += written.bind(py).extract::<usize>()?.min(rest.len()),
                Err(error) if names(py)?.is_again(py, &error) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(count)
    }

    /// An error: OpenSSL has put it into this thread's error queue and refuses every further operation, so the
    /// object's own method finds it there and raises the exception that Python has for it. (Only calls that can do
    /// nothing further come here; should one succeed all the same, its result is used.)
    #[cold]
    fn ask_again<'py>(
        &self,
        py: Python<'py>,
        method: &Bound<'py, pyo3::types::PyString>,
        argument: Bound<'py, PyAny>,
    ) -> PyResult<Ref> {
        Ok(self
            .object
            .bind(py)
            .call_method1(method, (argument,))?
            .into())
    }

    /// Errors that others have left in the thread's queue would be taken for ours by `SSL_get_error(3)`.
    ///
    /// # Safety
    /// T1.
    unsafe fn forget_errors(&self) {
        // SAFETY: T1: ERR_get_error(3), ERR_clear_error(3).
        unsafe {
            if (self.functions.ERR_peek_error)() != 0 {
                (self.functions.ERR_clear_error)();
            }
        }
    }
}
