//! Waking the loop: the eventfd for other threads, the socket pair for signals.
//!
//! CPython's signal handler writes the signal's number to the descriptor given to `signal.set_wakeup_fd`, from
//! whatever thread the kernel chose, before anything else. While the loop runs in the main thread that
//! descriptor is ours, so a signal that arrives between the last look at Python's flags and the wait for events
//! still ends the wait. Without it such a Ctrl-C would be noticed only at the next event.

use std::os::fd::BorrowedFd;

use hotloop_reactor::{self as reactor, Interest, Token};
use pyo3::intern;
use pyo3::prelude::*;

use crate::errors::OrRaise;
use crate::python::make;

use super::{Kernel, Loop};

/// The token of one of the loop's own descriptors; they are told from others by their number.
pub(super) fn token(fd: i32) -> Token {
    Token::new(fd, 0)
}

#[pymethods]
impl Loop {
    /// Whether `add_signal_handler` has handlers: then every iteration looks for signals.
    fn _handle_signals(&self, handled: bool) {
        self.handles_signals.set(handled);
    }

    /// Wake the loop up, from any thread.
    fn _write_to_self(&self) {
        self.wake();
    }

    /// What `_read_from_self` does: give what the signal wake-up pair brought to `_process_self_data`.
    fn _read_signals(slf: &Bound<'_, Self>) -> PyResult<()> {
        slf.get().read_signals(slf)
    }

    /// Watch the receiving end of the signal wake-up pair; -1 stops it.
    fn _watch_signal_fd(&self, py: Python<'_>, fd: i32) -> PyResult<()> {
        let kernel = match self.kernel(py) {
            Err(_) if fd < 0 => return Ok(()), // closed already
            kernel => kernel?,
        };
        let before = self.signal_fd.replace(fd);
        if before >= 0 {
            // In a forked child the poller does not know it: that is no error.
            let _ = kernel.poller.remove(before);
        }
        if fd >= 0 {
            // A user's descriptor of this number, closed without `remove_reader`, may still be on our books.
            self.claim(py, fd)?;
            kernel
                .poller
                .add(fd, token(fd), Interest::READ)
                .or_raise(py)?;
        }
        Ok(())
    }
}

impl Loop {
    /// Ends a wait that is under way or about to begin.
    pub(crate) fn wake(&self) {
        // The interpreter's lock orders this look after the loop's announcement that it goes to sleep.
        if !self.sleeping.get() {
            return;
        }
        if let Some(kernel) = &*self.kernel.borrow() {
            // A full eventfd counter is a wake-up already; no other failure is possible on a descriptor of ours.
            let _ = kernel.post.waker.wake();
        }
    }

    /// Whether this descriptor is the eventfd or the receiving end of the signal pair.
    pub(super) fn is_own(&self, kernel: &Kernel, fd: i32) -> bool {
        fd == kernel.post.waker.raw_fd() || fd == self.signal_fd.get()
    }

    /// Answers an event on one of the loop's own descriptors.
    pub(super) fn own_event(
        &self,
        this: &Bound<'_, Loop>,
        kernel: &Kernel,
        token: Token,
    ) -> PyResult<()> {
        if token.fd() == self.signal_fd.get() {
            this.call_method0(intern!(this.py(), "_read_from_self"))
                .map(drop)
        } else {
            kernel.post.waker.drain();
            Ok(())
        }
    }

    /// Gives the numbers of the signals that arrived to `_process_self_data`, as asyncio does with what its self-pipe
    /// brings.
    fn read_signals(&self, this: &Bound<'_, Loop>) -> PyResult<()> {
        let py = this.py();
        let mut numbers = [0; 256];
        loop {
            let fd = self.signal_fd.get();
            if fd < 0 {
                return Ok(()); // a handler has closed the loop's pair, or a subclass its own
            }
            // SAFETY: A2: the Python half keeps the pair open while it is watched, and it is watched.
            let fd = unsafe { BorrowedFd::borrow_raw(fd) };
            let Ok(count) = reactor::recv(fd, &mut numbers) else {
                return Ok(());
            };
            let data = make::bytes(py, &numbers[..count])?;
            this.call_method1(intern!(py, "_process_self_data"), (data,))?;
            // Handlers that `signal.signal` set run here, before anything else of this iteration.
            super::iteration::check_signals(py)?;
            if count < numbers.len() {
                return Ok(());
            }
        }
    }
}
