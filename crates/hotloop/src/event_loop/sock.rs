//! Working with socket objects directly: `sock_recv` and its relatives.
//!
//! Each `sock_*` method is an `async def` of the Python half that calls a `_try_*` method here: it attempts the
//! operation at once, as asyncio does, and returns either the result or a future to await. The attempt is a system
//! call of ours for an exact `socket.socket`, and the socket's own method for everything else (a subclass may
//! override it). A wait that is cancelled or ends early is taken out of the registry by `_cancel_operation`.

use std::cell::Cell;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};

use hotloop_reactor::{self as reactor, Direction};
use pyo3::exceptions::{
    PyBlockingIOError, PyInterruptedError, PyMemoryError, PyOSError, PyValueError,
};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

use crate::address;
use crate::errors::os_error;
use crate::imports::imports;
use crate::python::{Buffer, Ref, call};

use super::{Loop, Watcher};

/// What is to be done when the descriptor is ready.
enum Kind {
    /// `recv(size)`.
    Receive(usize),
    /// `send` of what is left of a buffer, from this offset on.
    SendAll(Buffer, Cell<usize>),
    /// `accept()`.
    Accept,
    /// The socket's method of this name with these arguments.
    Method(&'static str, Ref),
    /// A connection that is under way, to this address.
    Connect(Ref),
}

/// A `sock_*` call that waits.
#[pyclass(frozen, module = "hotloop._core")]
pub(crate) struct Operation {
    kind: Kind,
    socket: Ref,
    future: Ref,
    context: Ref,
}

// SAFETY: A1: used only by the thread that holds the interpreter.
unsafe impl Send for Operation {}
// SAFETY: A1, as above.
unsafe impl Sync for Operation {}

#[pymethods]
impl Operation {
    fn _read_ready(&self) {}

    fn _write_ready(&self) {}

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.socket.traverse(&visit)?;
        self.future.traverse(&visit)?;
        self.context.traverse(&visit)?;
        match &self.kind {
            Kind::Method(_, arguments) | Kind::Connect(arguments) => arguments.traverse(&visit),
            Kind::Receive(_) | Kind::SendAll(..) | Kind::Accept => Ok(()),
        }
    }
}

#[pymethods]
impl Loop {
    /// Receive up to `n` bytes: bytes, or a future of them.
    fn _try_recv<'py>(
        slf: &Bound<'py, Self>,
        sock: &Bound<'py, PyAny>,
        n: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let kind = match n.extract::<usize>() {
            Ok(size) if is_plain(sock)? => Kind::Receive(size),
            _ => Kind::Method("recv", PyTuple::new(slf.py(), [n])?.into()),
        };
        attempt(slf, sock, Direction::Read, kind)
    }

    /// Send all of `data`: None, or a future of it.
    fn _try_sendall<'py>(
        slf: &Bound<'py, Self>,
        sock: &Bound<'py, PyAny>,
        data: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let buffer = Buffer::read(data).ok();
        match buffer {
            Some(buffer) if is_plain(sock)? => attempt(
                slf,
                sock,
                Direction::Write,
                Kind::SendAll(buffer, Cell::new(0)),
            ),
            _ => {
                // As asyncio: the first send goes through the socket, and raises what that raises.
                let sent = match sock.call_method1(intern!(py, "send"), (data,)) {
                    Ok(sent) => sent.extract::<usize>()?,
                    Err(error) if would_block(py, &error) => 0,
                    Err(error) => return Err(error),
                };
                let view = pyo3::types::PyMemoryView::from(data)?;
                if sent == view.len()? {
                    return Ok(py.None().into_bound(py));
                }
                let bytes = view.call_method0(intern!(py, "tobytes"))?;
                let kind = Kind::SendAll(Buffer::read(&bytes)?, Cell::new(sent));
                wait(slf, sock, Direction::Write, kind)
            }
        }
    }

    /// Accept a connection: `(socket, address)`, or a future of it.
    fn _try_accept<'py>(
        slf: &Bound<'py, Self>,
        sock: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        fileno(sock)?; // asyncio asks for the number first, and so do its errors
        let kind = if is_plain(sock)? {
            Kind::Accept
        } else {
            Kind::Method("accept", PyTuple::empty(slf.py()).into())
        };
        attempt(slf, sock, Direction::Read, kind)
    }

    /// Call a method of the socket that may block: its result, or a future of it.
    fn _try_method<'py>(
        slf: &Bound<'py, Self>,
        sock: &Bound<'py, PyAny>,
        name: &str,
        args: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (name, direction) = match name {
            "recv_into" => ("recv_into", Direction::Read),
            "recvfrom" => ("recvfrom", Direction::Read),
            "recvfrom_into" => ("recvfrom_into", Direction::Read),
            "sendto" => ("sendto", Direction::Write),
            other => {
                return Err(PyValueError::new_err(format!(
                    "not a waiting method: {other}"
                )));
            }
        };
        attempt(slf, sock, direction, Kind::Method(name, args.into()))
    }

    /// Connect to a resolved address: None, or a future of it.
    fn _try_connect<'py>(
        slf: &Bound<'py, Self>,
        sock: &Bound<'py, PyAny>,
        address: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        match sock.call_method1(intern!(py, "connect"), (address,)) {
            Ok(_) => Ok(py.None().into_bound(py)),
            // EINPROGRESS, and EINTR, after which the connection goes on in the background.
            Err(error) if would_block(py, &error) => {
                wait(slf, sock, Direction::Write, Kind::Connect(address.into()))
            }
            Err(error) => Err(error),
        }
    }

    /// Stop waiting on behalf of a future; does nothing if somebody else waits for the descriptor by now.
    fn _cancel_operation(
        slf: &Bound<'_, Self>,
        fd: RawFd,
        future: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        for direction in [Direction::Read, Direction::Write] {
            let ours = match slf.get().registry.borrow().watcher(fd, direction) {
                Some(Watcher::Operation(operation)) => {
                    let operation = operation.bind(slf.py());
                    operation.cast::<Operation>()?.get().future.as_ptr() == future.as_ptr()
                }
                _ => false,
            };
            if ours {
                slf.get().unwatch(slf.py(), fd, direction)?;
            }
        }
        Ok(())
    }
}

impl Operation {
    /// The descriptor is ready: tries again, and settles the future unless it would still block.
    pub(super) fn proceed(
        this: &Bound<'_, Loop>,
        slf: &Bound<'_, Self>,
        fd: RawFd,
    ) -> PyResult<()> {
        let py = this.py();
        let operation = slf.get();
        let context = operation.context.clone_ref(py);
        call::within_context(py, &context, || {
            let future = operation.future.bind(py);
            if future.call_method0(intern!(py, "done"))?.is_truthy()? {
                return this.get().stop_operation(py, operation, fd);
            }
            match operation.kind.try_once(&operation.socket.bind(py), fd) {
                Ok(None) => Ok(()),
                Ok(Some(result)) => {
                    this.get().stop_operation(py, operation, fd)?;
                    future
                        .call_method1(intern!(py, "set_result"), (result.bind(py),))
                        .map(drop)
                }
                Err(error) if call::ends_the_loop(py, &error) => Err(error),
                Err(error) => {
                    this.get().stop_operation(py, operation, fd)?;
                    future
                        .call_method1(intern!(py, "set_exception"), (error.into_value(py),))
                        .map(drop)
                }
            }
        })
    }
}

impl Kind {
    fn direction(&self) -> Direction {
        match self {
            Self::Receive(_) | Self::Accept => Direction::Read,
            Self::Method(name, _) if name.starts_with("recv") || *name == "accept" => {
                Direction::Read
            }
            Self::Method(..) | Self::SendAll(..) | Self::Connect(_) => Direction::Write,
        }
    }

    /// One attempt: the result, or `None` if it would block.
    fn try_once(&self, socket: &Bound<'_, PyAny>, fd: RawFd) -> PyResult<Option<Ref>> {
        let py = socket.py();
        if fd < 0 && !matches!(self, Self::Method(..)) {
            return Err(os_error(
                py,
                &io::Error::from_raw_os_error(rustix::io::Errno::BADF.raw_os_error()),
            ));
        }
        match self {
            Self::Receive(size) => settle(py, receive(py, fd, *size)),
            Self::SendAll(buffer, sent) => {
                // SAFETY: the socket object is held by the caller or the operation.
                let fd = unsafe { BorrowedFd::borrow_raw(fd) };
                let bytes = buffer.bytes();
                match reactor::send(fd, &bytes[sent.get()..]) {
                    Ok(count) => sent.set(sent.get() + count),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(os_error(py, &error)),
                }
                Ok((sent.get() == bytes.len()).then(|| crate::python::guard::none(py)))
            }
            Self::Accept => settle(py, accept(py, fd)),
            Self::Method(name, args) => {
                match socket.call_method1(*name, args.bind(py).cast::<PyTuple>()?.to_owned()) {
                    Ok(result) => Ok(Some(result.into())),
                    Err(error) if would_block(py, &error) => Ok(None),
                    Err(error) => Err(error),
                }
            }
            Self::Connect(address) => {
                // SAFETY: the socket object is held by the operation.
                let outcome = reactor::take_error(unsafe { BorrowedFd::borrow_raw(fd) });
                match outcome {
                    Ok(None) => Ok(Some(crate::python::guard::none(py))),
                    Ok(Some(error)) => {
                        let text = format!("Connect call failed {}", address.bind(py).str()?);
                        let number = error.raw_os_error().unwrap_or_default();
                        let exception = py.get_type::<PyOSError>().call1((number, text))?;
                        Err(PyErr::from_value(exception))
                    }
                    Err(error) => Err(os_error(py, &error)),
                }
            }
        }
    }
}

impl Loop {
    fn stop_operation(&self, py: Python<'_>, operation: &Operation, fd: RawFd) -> PyResult<()> {
        self.unwatch(py, fd, operation.kind.direction()).map(drop)
    }
}

fn attempt<'py>(
    slf: &Bound<'py, Loop>,
    socket: &Bound<'py, PyAny>,
    direction: Direction,
    kind: Kind,
) -> PyResult<Bound<'py, PyAny>> {
    let fd = if matches!(kind, Kind::Method(..)) {
        0
    } else {
        fileno(socket)?
    };
    match kind.try_once(socket, fd)? {
        Some(result) => Ok(result.into_bound(slf.py())),
        None => wait(slf, socket, direction, kind),
    }
}

/// Puts the operation into the registry; returns its future.
fn wait<'py>(
    slf: &Bound<'py, Loop>,
    socket: &Bound<'py, PyAny>,
    direction: Direction,
    kind: Kind,
) -> PyResult<Bound<'py, PyAny>> {
    let py = slf.py();
    slf.get().check_closed()?;
    let future = slf.call_method0(intern!(py, "create_future"))?;
    let fd = fileno(socket)?;
    slf.call_method1(intern!(py, "_ensure_fd_no_transport"), (fd,))?;
    let operation = Bound::new(
        py,
        Operation {
            kind,
            socket: socket.into(),
            future: (&future).into(),
            context: call::copy_context(py)?,
        },
    )?;
    slf.get()
        .watch(slf, fd, direction, Watcher::Operation(operation.into()))?;
    Ok(future)
}

/// Whether the socket is exactly a `socket.socket`, whose methods do what the system calls do.
fn is_plain(socket: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(socket.get_type().as_ptr() == imports(socket.py())?.socket.as_ptr())
}

fn fileno(socket: &Bound<'_, PyAny>) -> PyResult<RawFd> {
    socket
        .call_method0(intern!(socket.py(), "fileno"))?
        .extract()
}

fn receive(py: Python<'_>, fd: RawFd, size: usize) -> io::Result<PyResult<Ref>> {
    // SAFETY: the caller holds the socket whose descriptor this is.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    // Through memory of our own, so that a short answer to a generous size keeps only what it needs.
    let mut small = [0; 16 * 1024];
    if size <= small.len() {
        let count = reactor::recv(fd, &mut small[..size])?;
        return Ok(Ok(PyBytes::new(py, &small[..count]).into()));
    }
    let mut large = Vec::new();
    if large.try_reserve_exact(size).is_err() {
        return Ok(Err(PyMemoryError::new_err(())));
    }
    let count = reactor::recv_uninit(fd, &mut large.spare_capacity_mut()[..size])?;
    // SAFETY: the kernel has written so many bytes.
    unsafe { large.set_len(count) };
    Ok(Ok(PyBytes::new(py, &large).into()))
}

fn accept(py: Python<'_>, fd: RawFd) -> io::Result<PyResult<Ref>> {
    use std::os::fd::IntoRawFd;
    // SAFETY: the caller holds the socket whose descriptor this is.
    let (descriptor, peer) = reactor::accept(unsafe { BorrowedFd::borrow_raw(fd) })?;
    let make = || -> PyResult<Ref> {
        let named = pyo3::types::PyDict::new(py);
        named.set_item(intern!(py, "fileno"), descriptor.into_raw_fd())?;
        let socket = imports(py)?.socket.bind(py).call((), Some(&named))?;
        socket.call_method1(intern!(py, "setblocking"), (false,))?;
        let address = match &peer {
            Some(peer) => address::to_python(py, peer)?,
            None => crate::python::guard::none(py),
        };
        Ok((socket, address.bind(py)).into_pyobject(py)?.into())
    };
    Ok(make())
}

fn settle(py: Python<'_>, outcome: io::Result<PyResult<Ref>>) -> PyResult<Option<Ref>> {
    match outcome {
        Ok(result) => result.map(Some),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(os_error(py, &error)),
    }
}

fn would_block(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyBlockingIOError>(py) || error.is_instance_of::<PyInterruptedError>(py)
}
