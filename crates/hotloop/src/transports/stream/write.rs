//! Writing: at once when nothing waits, from the queue when the descriptor can be written again.

use hotloop_reactor as reactor;
use hotloop_reactor::Direction;
use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView};

use crate::errors::{OrRaise, os_error};
use crate::event_loop::Watcher;
use crate::imports::imports;
use crate::python::{Buffer, Ref, copied};

use crate::transports::flow::Controlled;
use crate::transports::reports;

use super::Stream;
use crate::python::make::Words;

const WRITE_FAILED: &str = "Fatal write error on socket transport";

/// A piece of data that waits to be sent.
pub(crate) enum Piece {
    /// An exact `bytes` object, which cannot change and whose release runs no code.
    Bytes(Ref),
    /// A copy of anything else.
    Copy(Box<[u8]>),
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        match self {
            // SAFETY: A2: the reference keeps the bytes; made only of exact `bytes` objects.
            Self::Bytes(bytes) => unsafe { bytes_of(bytes.as_ptr()) },
            Self::Copy(copy) => copy,
        }
    }
}

impl Stream {
    /// `transport.write(data)`.
    pub(crate) fn write(
        &self,
        transport: &Bound<'_, PyAny>,
        data: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = transport.py();
        if !is_bytes_like(data) {
            // The running Python's own method answers in its words; it raises before it does anything.
            return imports(py)?
                .write_method
                .bind(py)
                .call1((transport, data))
                .map(drop);
        }
        self.check_writable(
            "Cannot call write() after write_eof()",
            "unable to write; sendfile is in progress",
        )?;
        let queued = if data.is_exact_instance_of::<PyBytes>() {
            // SAFETY: A2: the caller holds the object during the call.
            let bytes = unsafe { bytes_of(data.as_ptr()) };
            self.write_bytes(transport, bytes, |_| Ok(Piece::Bytes(data.into())), false)?
        } else {
            self.write_buffer(transport, data)?
        };
        if queued {
            self.maybe_pause_protocol(transport)
        } else {
            Ok(())
        }
    }

    /// Writes from a buffer, which is released before the protocol hears of the queue's length.
    fn write_buffer(
        &self,
        transport: &Bound<'_, PyAny>,
        data: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        let buffer = match Buffer::read(data) {
            Ok(buffer) => buffer,
            Err(error) => {
                return self
                    .fatal_error(transport, error, WRITE_FAILED)
                    .map(|()| false);
            }
        };
        let bytes = buffer.bytes();
        self.write_bytes(
            transport,
            bytes,
            |sent| Ok(Piece::Copy(copied(&bytes[sent..])?.into())),
            false,
        )
    }

    /// Sends what the kernel takes now and queues the rest; returns whether the queue has grown. `piece` makes
    /// what is queued of what is left after so many bytes; a whole `bytes` object may be handed back instead.
    pub(super) fn write_bytes(
        &self,
        transport: &Bound<'_, PyAny>,
        bytes: &[u8],
        piece: impl FnOnce(usize) -> PyResult<Piece>,
        more: bool,
    ) -> PyResult<bool> {
        if bytes.is_empty() {
            return Ok(false);
        }
        if self.lost.get() > 0 {
            return self.count_lost_write(transport.py()).map(|()| false);
        }
        let hold = self.may_hold(transport.py(), bytes.len(), more);
        if self.is_held() {
            let piece = piece(0)?;
            self.queue.borrow_mut().push(piece);
            return if hold {
                Ok(false)
            } else {
                self.send_held(transport)
            };
        }
        if !self.queue.borrow().is_empty() {
            let piece = piece(0)?;
            self.queue.borrow_mut().push(piece);
            return Ok(true);
        }
        if hold {
            return self.hold(transport, piece(0)?).map(|()| false);
        }
        let Some(fd) = self.fd() else {
            return Ok(false);
        };
        let sent = match reactor::send(fd, bytes) {
            Ok(sent) if sent == bytes.len() => return Ok(false),
            Ok(sent) => sent,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => 0,
            Err(error) => {
                let error = os_error(transport.py(), &error);
                return self
                    .fatal_error(transport, error, WRITE_FAILED)
                    .map(|()| false);
            }
        };
        let rest = match piece(sent) {
            Ok(rest) => rest,
            Err(error) if sent == 0 => return Err(error),
            Err(error) => {
                // The stream must not go on behind a hole.
                let copy = error.clone_ref(transport.py());
                self.fatal_error(transport, copy, WRITE_FAILED)?;
                return Err(error);
            }
        };
        match rest {
            whole @ Piece::Bytes(_) => self.queue.borrow_mut().push_partly(whole, sent),
            rest @ Piece::Copy(_) => self.queue.borrow_mut().push(rest),
        }
        self.watch_for_room(transport)?;
        Ok(true)
    }

    /// `transport.writelines(list_of_data)`: one system call for all of it, if nothing waits.
    pub(super) fn writelines(
        &self,
        transport: &Bound<'_, PyAny>,
        list: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = transport.py();
        self.check_writable(
            "Cannot call writelines() after write_eof()",
            "unable to writelines; sendfile is in progress",
        )?;
        let mut pieces = Vec::new();
        for item in list.try_iter()? {
            let item = item?;
            if item.is_exact_instance_of::<PyBytes>() {
                pieces.push(Piece::Bytes(item.into()));
            } else {
                // Anything with a buffer, as `b"".join` takes it; the error is `memoryview`'s.
                let view = PyMemoryView::from(&item)?;
                let copy = view.call_method0(intern!(py, "tobytes"))?;
                pieces.push(Piece::Bytes(copy.into()));
            }
        }
        pieces.retain(|piece| !piece.as_ref().is_empty());
        if pieces.is_empty() {
            return Ok(());
        }
        if self.lost.get() > 0 {
            return self.count_lost_write(py);
        }
        self.may_hold(py, 0, false); // it counts as a write, but takes along what was held
        let waited = !self.is_held() && !self.queue.borrow().is_empty();
        for piece in pieces {
            self.queue.borrow_mut().push(piece);
        }
        if waited || self.send_held(transport)? {
            return self.maybe_pause_protocol(transport);
        }
        Ok(())
    }

    /// Sends as much of the queue as the kernel takes in one call, and watches for room for the rest; returns
    /// whether there is a rest. Nothing has waited for room before.
    pub(super) fn send_queue(&self, transport: &Bound<'_, PyAny>) -> PyResult<bool> {
        let Some(fd) = self.fd() else {
            return Ok(false);
        };
        let flushed = self.queue.borrow_mut().flush(fd);
        match flushed {
            Ok(_) if self.queue.borrow().is_empty() => Ok(false),
            Ok(_) => self.watch_for_room(transport).map(|()| true),
            Err(error) => {
                let error = os_error(transport.py(), &error);
                self.fatal_error(transport, error, WRITE_FAILED)
                    .map(|()| false)
            }
        }
    }

    /// Watches for writing, in the transport's context or in a copy of the current one. If that fails, what waits can
    /// never be sent: the connection is lost, so that no stream goes on behind a hole, and the caller of `write()` gets
    /// the error, as from asyncio.
    fn watch_for_room(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        let Some(this) = self.event_loop(transport.py()) else {
            return Ok(());
        };
        drop(
            self.write_context
                .replace(Some(self.callback_context(transport.py())?)),
        );
        let watched = this.get().watch(
            &this,
            self.fd,
            Direction::Write,
            Watcher::Stream(transport.into()),
        );
        if let Err(error) = watched {
            let copy = error.clone_ref(transport.py());
            self.fatal_error(transport, copy, WRITE_FAILED)?;
            return Err(error);
        }
        Ok(())
    }

    /// The descriptor can be written again.
    pub(super) fn write_ready(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = transport.py();
        if self.lost.get() > 0 {
            return Ok(());
        }
        let Some(fd) = self.fd() else { return Ok(()) };
        let flushed = self.queue.borrow_mut().flush(fd);
        if let Err(error) = flushed {
            let stopped = self.stop_watching(py, Direction::Write);
            let dropped = self.queue.borrow_mut().clear();
            drop(dropped);
            let error = os_error(py, &error);
            let waiter = self.empty_waiter.get(py);
            let copy = error.clone_ref(py);
            self.fatal_error(transport, error, WRITE_FAILED)?;
            return settle(py, waiter, |waiter| {
                waiter.call_method1(intern!(py, "set_exception"), (copy.into_value(py),))
            })
            .and(stopped);
        }
        self.maybe_resume_protocol(transport)?; // may write more
        self.tell_tls_of_room(transport)?; // likewise
        if !self.queue.borrow().is_empty() || self.lost.get() > 0 {
            return Ok(());
        }
        let stopped = self.stop_watching(py, Direction::Write);
        settle(py, self.empty_waiter.get(py), |waiter| {
            waiter.call_method1(intern!(py, "set_result"), (py.None(),))
        })?;
        let ended = if self.closing.get() {
            self.connection_lost(transport, None)
        } else if self.eof_written.get() {
            self.shutdown_write(py)
        } else {
            Ok(())
        };
        ended.and(stopped)
    }

    /// `transport.write_eof()`: after what waits was sent.
    pub(super) fn write_eof(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = transport.py();
        self.settle(transport)?;
        if self.closing.get() || self.eof_written.replace(true) {
            return Ok(());
        }
        if self.queue.borrow().is_empty() {
            self.shutdown_write(py)
        } else {
            Ok(())
        }
    }

    fn shutdown_write(&self, py: Python<'_>) -> PyResult<()> {
        match self.fd() {
            Some(fd) => reactor::shutdown_write(fd).or_raise(py),
            None => Ok(()),
        }
    }

    pub(super) fn check_writable(
        &self,
        after_eof: &'static str,
        sending_file: &'static str,
    ) -> PyResult<()> {
        if self.eof_written.get() {
            return Err(PyRuntimeError::new_err(Words(after_eof)));
        }
        if self.empty_waiter.is_some() {
            return Err(PyRuntimeError::new_err(Words(sending_file)));
        }
        Ok(())
    }

    /// A write after the connection was lost: the first few pass silently, then asyncio warns.
    fn count_lost_write(&self, py: Python<'_>) -> PyResult<()> {
        reports::count_lost_write(py, &self.lost, "socket.send() raised exception.")
    }
}

/// Tells a waiting future, if there is one that is not done.
fn settle<'py>(
    py: Python<'py>,
    waiter: Option<Ref>,
    tell: impl FnOnce(&Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>>,
) -> PyResult<()> {
    let Some(waiter) = waiter else { return Ok(()) };
    let waiter = waiter.into_bound(py);
    if !waiter.call_method0(intern!(py, "done"))?.is_truthy()? {
        tell(&waiter)?;
    }
    Ok(())
}

fn is_bytes_like(data: &Bound<'_, PyAny>) -> bool {
    data.is_instance_of::<PyBytes>()
        || data.is_instance_of::<PyByteArray>()
        || data.is_instance_of::<PyMemoryView>()
}

/// # Safety
/// `object` is an exact `bytes` object that outlives the slice (A2).
unsafe fn bytes_of<'a>(object: *mut ffi::PyObject) -> &'a [u8] {
    // SAFETY: by the caller.
    unsafe {
        let length = ffi::Py_SIZE(object).unsigned_abs();
        std::slice::from_raw_parts(ffi::PyBytes_AS_STRING(object).cast::<u8>(), length)
    }
}
