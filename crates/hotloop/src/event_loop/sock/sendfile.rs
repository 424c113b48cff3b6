//! sendfile(2) from a file to a socket, in as many calls as the socket's buffer makes of it.
//!
//! The kernel is given an offset, so the file's own position does not move; it is set once, when the operation ends,
//! behind what was sent (later versions of asyncio also set it if nothing was). The file is asked for its descriptor
//! anew before each call: one that was closed meanwhile must not have another file's bytes sent in its place.

use std::cell::Cell;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};

use hotloop_reactor as reactor;
use pyo3::exceptions::PyConnectionError;
use pyo3::intern;
use pyo3::prelude::*;
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use crate::errors::os_error;
use crate::python::Ref;

/// What is to be sent, and how far it is.
pub(super) struct SendFile {
    pub(super) file: Ref,
    /// Where the next bytes are.
    pub(super) offset: Cell<u64>,
    /// How many bytes to send; 0 for all.
    pub(super) count: u64,
    /// How many to ask for at once if all are to be sent: the file's size.
    pub(super) block: u64,
    pub(super) sent: Cell<u64>,
    /// Whether the file's position is set even if nothing was sent.
    pub(super) always_moves: bool,
    pub(super) waited: Cell<bool>,
}

impl SendFile {
    /// Sends until the socket takes no more: the total at the end, `None` if there is more to be sent.
    pub(super) fn send(&self, py: Python<'_>, socket: BorrowedFd<'_>) -> PyResult<Option<u64>> {
        let result = self.send_some(py, socket);
        match result {
            Ok(None) => self.waited.set(true),
            _ => self.set_position(py),
        }
        result
    }

    /// Moves the file's position behind what was sent. A file that refuses has no position.
    pub(super) fn set_position(&self, py: Python<'_>) {
        if self.sent.get() == 0 && !self.always_moves {
            return;
        }
        if let Ok(fd) = self.descriptor(py) {
            // SAFETY: A8: the file object that we hold has just said that this is its descriptor.
            let file = unsafe { BorrowedFd::borrow_raw(fd) };
            let _ = seek(file, SeekFrom::Start(self.offset.get()));
        }
    }

    fn send_some(&self, py: Python<'_>, socket: BorrowedFd<'_>) -> PyResult<Option<u64>> {
        loop {
            let wanted = match self.count {
                0 => self.block,
                count => count - self.sent.get(),
            };
            if wanted == 0 {
                return Ok(Some(self.sent.get()));
            }
            let fd = self.descriptor(py)?;
            let offset = self.offset.get();
            // The file may have to be read from a disk: other threads can run meanwhile.
            let outcome = py.detach(|| {
                // SAFETY: A8, as in `set_position`; whoever closes a file that is being sent gets what the kernel says.
                let file = unsafe { BorrowedFd::borrow_raw(fd) };
                reactor::send_file(socket, file, offset, wanted as usize)
            });
            match outcome {
                Ok(0) => return Ok(Some(self.sent.get())), // the end of the file
                Ok(sent) => {
                    let sent = sent as u64;
                    self.sent.set(self.sent.get() + sent);
                    self.offset.set(self.offset.get() + sent);
                    if sent < wanted {
                        return Ok(None);
                    }
                }
                Err(error) if waits(&error) => return Ok(None),
                Err(error) => return Err(self.failure(py, &error)),
            }
        }
    }

    /// Before the first byte: try another way. In the middle of it: what happened.
    fn failure(&self, py: Python<'_>, error: &io::Error) -> PyErr {
        let error_of_kernel = os_error(py, error);
        if self.sent.get() == 0 {
            return py
                .import(intern!(py, "asyncio.exceptions"))
                .and_then(|module| module.getattr(intern!(py, "SendfileNotAvailableError")))
                .and_then(|class| class.call1(("os.sendfile call failed",)))
                .map_or_else(|error| error, PyErr::from_value);
        }
        let code = Errno::NOTCONN.raw_os_error();
        if error.raw_os_error() == Some(code) && self.waited.get() {
            let lost = PyConnectionError::new_err(("socket is not connected", code));
            lost.set_cause(py, Some(error_of_kernel));
            return lost;
        }
        error_of_kernel
    }

    fn descriptor(&self, py: Python<'_>) -> PyResult<RawFd> {
        let file = self.file.bind(py);
        super::fileno(&file)
    }
}

/// Whether the kernel took nothing, and will later.
fn waits(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
