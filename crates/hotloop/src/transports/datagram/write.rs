//! Sending: at once when nothing waits, from the queue when the descriptor can be written again.

use std::io;

use hotloop_reactor::{self as reactor, Address, Direction, Family, MOST_SENT, Outgoing};
use pyo3::exceptions::{
    PyAttributeError, PyBlockingIOError, PyInterruptedError, PyOSError, PyTypeError, PyValueError,
};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView};

use crate::errors::os_error;
use crate::event_loop::Watcher;
use crate::imports::imports;
use crate::python::{Buffer, Ref, call};

use crate::transports::flow::Controlled;
use crate::transports::reports;

use super::Datagram;
use crate::python::make;
use crate::python::make::Words;

/// A datagram that waits to be sent.
pub(super) struct Queued {
    /// An exact `bytes` object, which cannot change and whose release runs no code.
    pub(super) data: Ref,
    /// The address as it was given, or None.
    pub(super) to: Ref,
    /// The same if it is one that needs no look-up.
    address: Option<Address>,
}

impl Datagram {
    /// `transport.sendto(data, addr)`.
    pub(super) fn sendto(
        &self,
        transport: &Bound<'_, PyAny>,
        data: &Bound<'_, PyAny>,
        to: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = transport.py();
        if !is_bytes_like(data) {
            return Err(PyTypeError::new_err(Words(format!(
                "data argument must be a bytes-like object, not {}",
                data.get_type().name()?.repr()?
            ))));
        }
        if imports(py)?.datagram_header_size == 0 && !data.is_truthy()? {
            return Ok(()); // until 3.12, asyncio does not send empty datagrams
        }
        let given = match self.address.get(py).filter(|_| self.addressed.get()) {
            Some(address) => {
                check_address(&address.bind(py), to)?;
                if self.lost.get() > 0 {
                    return self.count_lost(py);
                }
                Some(address)
            }
            None => None,
        };
        let given = given.as_ref().map(|address| address.bind(py));
        let to = given.as_deref().unwrap_or(to);

        if self.queue.borrow().is_empty() {
            if !self.open.get() {
                // What the stdlib's transport raises, whose loop is None by now.
                return Err(PyAttributeError::new_err(Words(
                    "'NoneType' object has no attribute 'call_exception_handler'",
                )));
            }
            match self.send_now(py, data, to) {
                Ok(true) => return Ok(()),
                Ok(false) => self.watch_for_room(transport)?,
                Err(error) => return self.send_failed(transport, error),
            }
        }
        let data = if data.is_exact_instance_of::<PyBytes>() {
            data.clone()
        } else {
            py.get_type::<PyBytes>().call1((data,))?
        };
        let address = self.destination(to);
        self.change_queue_size(&data, true)?;
        self.queue.borrow_mut().push_back(Queued {
            data: data.into(),
            to: to.into(),
            address,
        });
        self.maybe_pause_protocol(transport)
    }

    /// The descriptor can be written again.
    pub(super) fn sendto_ready(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = transport.py();
        if self.lost.get() > 0 {
            return Ok(()); // aborted: `connection_lost` is on its way
        }
        while let Some(outcome) = self.send_queued(py) {
            match outcome {
                Ok(true) => {}
                Ok(false) => break,
                // Watched further: what comes after it goes out in the next iteration.
                Err(error) => return self.send_failed(transport, error),
            }
        }
        self.maybe_resume_protocol(transport)?; // may send more
        if !self.queue.borrow().is_empty() {
            return Ok(());
        }
        let stopped = self.stop_watching(py, Direction::Write);
        if self.closing.get() {
            self.connection_lost(transport, None)?;
        }
        stopped
    }

    /// Sends the first datagrams of the queue, as many as one call takes. True if some have left, false if they have
    /// to wait; the first one is lost with an error. `None` if there are none.
    fn send_queued(&self, py: Python<'_>) -> Option<PyResult<bool>> {
        let fd = self.fd()?;
        let sent = {
            // A5: no Python code runs in here.
            let queue = self.queue.borrow();
            let mut messages = [Outgoing {
                data: b"",
                to: None,
            }; MOST_SENT];
            let mut count = 0;
            for (message, queued) in messages.iter_mut().zip(queue.iter()) {
                if !self.connected && queued.address.is_none() {
                    break;
                }
                *message = Outgoing {
                    // SAFETY: A2: the queue keeps the bytes; `Queued` has exact `bytes` objects only.
                    data: unsafe { bytes_of(&queued.data) },
                    to: queued.address.as_ref().filter(|_| !self.connected),
                };
                count += 1;
            }
            if queue.is_empty() {
                return None;
            }
            (count > 0).then(|| reactor::send_batch(fd, &messages[..count]))
        };
        Some(match sent {
            Some(Ok(count)) => self.drop_sent(py, count).map(|()| true),
            Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Some(Err(error)) => self
                .drop_sent(py, 1)
                .and_then(|()| Err(os_error(py, &error))),
            None => self.send_first_in_python(py),
        })
    }

    /// The first datagram of the queue has an address that the socket's own method must look at.
    fn send_first_in_python(&self, py: Python<'_>) -> PyResult<bool> {
        let Some(first) = self.queue.borrow_mut().pop_front() else {
            return Ok(false);
        };
        self.change_queue_size(&first.data.bind(py), false)?;
        let sent = self.send_in_python(py, &first.data.bind(py), &first.to.bind(py));
        if matches!(sent, Ok(false)) {
            self.change_queue_size(&first.data.bind(py), true)?;
            self.queue.borrow_mut().push_front(first);
        }
        sent
    }

    fn drop_sent(&self, py: Python<'_>, count: usize) -> PyResult<()> {
        let sent: Vec<Queued> = {
            let mut queue = self.queue.borrow_mut();
            let count = count.min(queue.len());
            queue.drain(..count).collect()
        };
        sent.iter()
            .try_for_each(|sent| self.change_queue_size(&sent.data.bind(py), false))
    }

    /// True if the datagram has left, false if it has to wait.
    #[inline]
    fn send_now(
        &self,
        py: Python<'_>,
        data: &Bound<'_, PyAny>,
        to: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        let destination = self.destination(to);
        if !self.connected && destination.is_none() {
            return self.send_in_python(py, data, to);
        }
        let buffer;
        let bytes = if data.is_exact_instance_of::<PyBytes>() {
            // SAFETY: A2: the caller holds the object during the call.
            unsafe { bytes_of_object(data.as_ptr()) }
        } else {
            buffer = Buffer::read(data)?;
            buffer.bytes()
        };
        let Some(fd) = self.fd() else {
            return Ok(true);
        };
        let sent = match &destination {
            Some(address) => reactor::send_to(fd, bytes, address),
            None => reactor::send(fd, bytes),
        };
        match sent {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(os_error(py, &error)),
        }
    }

    /// `socket.sendto`: a look-up of the host, or the exception in its words.
    #[cold]
    fn send_in_python(
        &self,
        py: Python<'_>,
        data: &Bound<'_, PyAny>,
        to: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        let Some(socket) = self.socket.get(py) else {
            return Ok(true);
        };
        let socket = socket.bind(py);
        let sent = if to.is_none() && self.is_one_of_a_pair(&socket)? {
            socket.call_method1(intern!(py, "send"), (data,))
        } else {
            socket.call_method1(intern!(py, "sendto"), (data, to))
        };
        match sent {
            Ok(_) => Ok(true),
            Err(error)
                if error.is_instance_of::<PyBlockingIOError>(py)
                    || error.is_instance_of::<PyInterruptedError>(py) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the socket is connected, though to nobody with a name: asyncio cannot send there, uvloop can.
    fn is_one_of_a_pair(&self, socket: &Bound<'_, PyAny>) -> PyResult<bool> {
        if self.family != Family::Unix {
            return Ok(false);
        }
        let py = socket.py();
        match socket.call_method0(intern!(py, "getpeername")) {
            Ok(_) => Ok(true),
            Err(error) if error.is_instance_of::<PyOSError>(py) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn destination(&self, to: &Bound<'_, PyAny>) -> Option<Address> {
        if self.connected {
            return None;
        }
        let this = self.event_loop(to.py())?;
        this.get().datagrams.destination(self.family, to)
    }

    /// Errors of the system are the protocol's; others end the transport.
    #[cold]
    fn send_failed(&self, transport: &Bound<'_, PyAny>, error: PyErr) -> PyResult<()> {
        let py = transport.py();
        if error.is_instance_of::<PyOSError>(py) {
            self.error_received(transport, error)
        } else if call::ends_the_loop(py, &error) {
            Err(error)
        } else {
            self.fatal_error(transport, error, "Fatal write error on datagram transport")
        }
    }

    /// Watches for writing, in a copy of the current context.
    fn watch_for_room(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = transport.py();
        let Some(this) = self.event_loop(py) else {
            return Ok(());
        };
        drop(self.write_context.replace(Some(call::copy_context(py)?)));
        this.get().watch(
            &this,
            self.fd,
            Direction::Write,
            Watcher::Datagram(transport.into()),
        )
    }

    fn change_queue_size(&self, data: &Bound<'_, PyAny>, more: bool) -> PyResult<()> {
        let size = data.len()? + imports(data.py())?.datagram_header_size;
        let now = self.queue_size.get();
        self.queue_size.set(if more {
            now + size
        } else {
            now.saturating_sub(size)
        });
        Ok(())
    }

    /// A datagram after the loss: the first few pass silently, then asyncio warns.
    fn count_lost(&self, py: Python<'_>) -> PyResult<()> {
        reports::count_lost_write(py, &self.lost, "socket.send() raised exception.")
    }
}

/// A transport with a remote address sends to no other.
fn check_address(known: &Bound<'_, PyAny>, given: &Bound<'_, PyAny>) -> PyResult<()> {
    if given.is_none() || given.is(known) {
        return Ok(());
    }
    let py = given.py();
    if make::tuple(py, [&py.None().into_bound(py), known])?
        .as_any()
        .contains(given)?
    {
        return Ok(());
    }
    Err(PyValueError::new_err(Words(format!(
        "Invalid address: must be None or {}",
        known.str()?
    ))))
}

#[inline]
fn is_bytes_like(data: &Bound<'_, PyAny>) -> bool {
    data.is_instance_of::<PyBytes>()
        || data.is_instance_of::<PyByteArray>()
        || data.is_instance_of::<PyMemoryView>()
}

/// # Safety
/// The reference is to an exact `bytes` object (A2: it keeps the object).
unsafe fn bytes_of(bytes: &Ref) -> &[u8] {
    // SAFETY: by the caller.
    unsafe { bytes_of_object(bytes.as_ptr()) }
}

/// # Safety
/// `object` is an exact `bytes` object that outlives the slice (A2).
unsafe fn bytes_of_object<'a>(object: *mut pyo3::ffi::PyObject) -> &'a [u8] {
    // SAFETY: by the caller.
    unsafe {
        let length = pyo3::ffi::Py_SIZE(object).unsigned_abs();
        std::slice::from_raw_parts(pyo3::ffi::PyBytes_AS_STRING(object).cast::<u8>(), length)
    }
}
