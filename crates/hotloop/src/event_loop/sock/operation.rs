//! One `sock_*` call: what it does when the descriptor is ready, and the future that waits for it.

use std::cell::Cell;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};

use hotloop_reactor::{self as reactor, Address, Direction};
use pyo3::exceptions::{PyBlockingIOError, PyInterruptedError, PyMemoryError, PyOSError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use pyo3::{PyTraverseError, PyVisit};
use rustix::io::Errno;

use crate::address;
use crate::errors::os_error;
use crate::python::guard::none;
use crate::python::{Buffer, Ref, call, filled_bytes};
use crate::transports::stream::socket_of_accepted;

use super::super::Loop;
use super::sendfile::SendFile;
use crate::python::make;

/// What is to be done when the descriptor is ready.
pub(super) enum Kind {
    /// `recv(size)`.
    Receive(usize),
    /// `recv_into(buffer)`. Whose memory it is is looked at in each attempt: an object whose memory is in use while
    /// somebody waits could not change its size.
    ReceiveInto(Ref),
    /// `recvfrom(size)`.
    ReceiveFrom(usize),
    /// `recvfrom_into(buffer, size)`.
    ReceiveFromInto(Ref, usize),
    /// `send` of what is left of a buffer, from this offset on. asyncio holds the memory, too, until all is sent.
    SendAll(Buffer, Cell<usize>),
    /// `sendto(buffer, address)`.
    SendTo(Ref, Address),
    /// `accept()`.
    Accept,
    /// A connection that is under way, to this address.
    Connect(Ref),
    /// `sendfile()` until all of a file is sent.
    SendFile(SendFile),
    /// The socket's method of this name with these arguments.
    Method(&'static str, Ref),
}

/// A `sock_*` call that waits: what its coroutine awaits, and what the registry keeps meanwhile.
#[pyclass(frozen, module = "hotloop._core")]
pub(crate) struct Operation {
    kind: Kind,
    socket: Ref,
    /// The descriptor's number when the wait began.
    fd: RawFd,
    future: Ref,
    context: Ref,
    /// Whether it is still to be taken out of the registry.
    waits: Cell<bool>,
}

// SAFETY: A1: used only by the thread that holds the interpreter.
unsafe impl Send for Operation {}
// SAFETY: A1, as above.
unsafe impl Sync for Operation {}

#[pymethods]
impl Operation {
    /// Names the operation in the debug mode's reports.
    fn _read_ready(&self) {}

    /// Names the operation in the debug mode's reports.
    fn _write_ready(&self) {}

    /// Waits for the future.
    fn __await__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        call::call_method0(&slf.get().future, intern!(py, "__await__"))
            .map(|iterator| iterator.into_bound(py))
    }

    /// The coroutine no longer waits, for whatever reason. Does nothing if the operation has ended by itself, or
    /// somebody else waits for the descriptor by now.
    fn _leave(slf: &Bound<'_, Self>, event_loop: &Bound<'_, Loop>) -> PyResult<()> {
        match slf.get().waits.replace(false) {
            true => super::abandon(event_loop, slf),
            false => Ok(()),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.socket.traverse(&visit)?;
        self.future.traverse(&visit)?;
        self.context.traverse(&visit)?;
        match &self.kind {
            Kind::Method(_, object)
            | Kind::Connect(object)
            | Kind::ReceiveInto(object)
            | Kind::ReceiveFromInto(object, _)
            | Kind::SendTo(object, _) => object.traverse(&visit),
            Kind::SendAll(buffer, _) => buffer.traverse(&visit),
            Kind::SendFile(job) => job.file.traverse(&visit),
            Kind::Receive(_) | Kind::ReceiveFrom(_) | Kind::Accept => Ok(()),
        }
    }
}

impl Operation {
    pub(super) fn new(kind: Kind, socket: Ref, fd: RawFd, future: Ref, context: Ref) -> Self {
        Self {
            kind,
            socket,
            fd,
            future,
            context,
            waits: Cell::new(true),
        }
    }

    pub(super) fn fd(&self) -> RawFd {
        self.fd
    }

    /// Somebody gave up waiting: what is to be done then.
    pub(super) fn abandon(&self, py: Python<'_>) {
        if let Kind::SendFile(job) = &self.kind {
            job.set_position(py);
        }
    }

    /// The descriptor is ready: tries again, and settles the future unless it would still block.
    pub(crate) fn proceed(
        this: &Bound<'_, Loop>,
        slf: &Bound<'_, Self>,
        fd: RawFd,
    ) -> PyResult<()> {
        let py = this.py();
        let operation = slf.get();
        let context = operation.context.clone_ref(py);
        let direction = operation.kind.direction();
        let stop = || {
            operation.waits.set(false);
            this.get().finish_watching(this, fd, direction)
        };
        let result = call::within_context(py, &context, || {
            let future = &operation.future;
            let done = call::call_method0(future, intern!(py, "done"))?;
            if done.bind(py).is_truthy()? {
                operation.abandon(py); // cancelled, and nobody told us before the event came
                return stop();
            }
            // The socket may have been closed since the event, and its number be another's: ask again, as asyncio does.
            let socket = operation.socket.bind(py);
            let tried = operation
                .kind
                .try_once(&socket)
                .and_then(|done| match done {
                    None => this.get().rearm(py, fd).map(|()| None),
                    done => Ok(done),
                });
            match tried {
                Ok(None) => Ok(()),
                Ok(Some(result)) => {
                    let stopped = stop();
                    call::call_method1(future, intern!(py, "set_result"), &result)?;
                    stopped
                }
                Err(error) if call::ends_the_loop(py, &error) => Err(error),
                Err(error) => {
                    let stopped = stop();
                    let error = error.into_value(py).into_bound(py).into();
                    call::call_method1(future, intern!(py, "set_exception"), &error)?;
                    stopped
                }
            }
        });
        if result.is_err() {
            let rearmed = this.get().rearm(py, fd); // if it still waits
            return result.and(rearmed);
        }
        result
    }
}

impl Kind {
    pub(super) fn direction(&self) -> Direction {
        match self {
            Self::Receive(_)
            | Self::ReceiveInto(_)
            | Self::ReceiveFrom(_)
            | Self::ReceiveFromInto(..)
            | Self::Accept => Direction::Read,
            Self::Method(name, _) if name.starts_with("recv") || *name == "accept" => {
                Direction::Read
            }
            Self::Method(..)
            | Self::SendAll(..)
            | Self::SendTo(..)
            | Self::Connect(_)
            | Self::SendFile(_) => Direction::Write,
        }
    }

    /// One attempt: the result, or `None` if it would block.
    ///
    /// The socket is asked for its descriptor last: to get at the memory of an object can run its `__buffer__` (3.12),
    /// which may close the socket, and the number be another's then.
    pub(super) fn try_once(&self, socket: &Bound<'_, PyAny>) -> PyResult<Option<Ref>> {
        let py = socket.py();
        match self {
            Self::Method(name, args) => {
                let args = args.bind(py).cast::<PyTuple>()?.to_owned();
                by_method(socket, name, args)
            }
            Self::Receive(size) => {
                let fd = descriptor(socket)?;
                let fill = |memory: &mut [_]| reactor::recv_uninit(fd, memory);
                settle(py, filled_bytes(py, *size, fill)?, Ok)
            }
            Self::ReceiveInto(buffer) => {
                let Ok(mut memory) = Buffer::write(&buffer.bind(py)) else {
                    return by_method(socket, "recv_into", make::tuple(py, [buffer.bind(py)])?);
                };
                let received = reactor::recv_uninit(descriptor(socket)?, memory.memory());
                drop(memory);
                settle(py, received, |count| number(py, count))
            }
            Self::ReceiveFrom(size) => {
                let mut memory = Vec::new();
                if memory.try_reserve_exact(*size).is_err() {
                    return Err(PyMemoryError::new_err(()));
                }
                memory.resize(*size, 0);
                let received = reactor::recv_from(descriptor(socket)?, &mut memory);
                settle(py, received, |(count, sender)| {
                    let sender = address::sender_to_python(py, sender.as_ref())?;
                    pair(py, bytes(py, &memory[..count])?, sender)
                })
            }
            Self::ReceiveFromInto(buffer, size) => {
                let mut memory = Buffer::write(&buffer.bind(py)).ok();
                let target = memory
                    .as_mut()
                    .and_then(|it| it.bytes_mut().get_mut(..*size));
                let Some(target) = target else {
                    let size = make::size(py, *size)?;
                    let args = make::tuple(py, [buffer.bind(py).to_owned(), size])?;
                    return by_method(socket, "recvfrom_into", args);
                };
                let received = reactor::recv_from(descriptor(socket)?, target);
                drop(memory);
                settle(py, received, |(count, sender)| {
                    let sender = address::sender_to_python(py, sender.as_ref())?;
                    pair(py, number(py, count)?, sender)
                })
            }
            Self::SendAll(buffer, sent) => {
                let data = buffer.bytes();
                match reactor::send(descriptor(socket)?, &data[sent.get()..]) {
                    Ok(count) => sent.set(sent.get() + count),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(os_error(py, &error)),
                }
                Ok((sent.get() == data.len()).then(|| none(py)))
            }
            Self::SendTo(data, to) => {
                let buffer = Buffer::read(&data.bind(py))?;
                let sent = reactor::send_to(descriptor(socket)?, buffer.bytes(), to);
                drop(buffer);
                settle(py, sent, |count| number(py, count))
            }
            Self::Accept => {
                let accepted = reactor::accept(descriptor(socket)?);
                settle(py, accepted, |(descriptor, peer)| {
                    pair(
                        py,
                        socket_of_accepted(socket, descriptor)?.into(),
                        address::sender_to_python(py, peer.as_ref())?,
                    )
                })
            }
            Self::Connect(address) => match reactor::take_error(descriptor(socket)?) {
                Ok(None) => Ok(Some(none(py))),
                Ok(Some(error)) => {
                    let text = format!("Connect call failed {}", address.bind(py).str()?);
                    let code = error.raw_os_error().unwrap_or_default();
                    Err(PyErr::from_value(
                        py.get_type::<PyOSError>().call1((code, text))?,
                    ))
                }
                Err(error) => Err(os_error(py, &error)),
            },
            Self::SendFile(job) => match job.send(py, descriptor(socket)?)? {
                Some(total) => Ok(Some(make::number(py, total.cast_signed())?.into())),
                None => Ok(None),
            },
        }
    }
}

/// The descriptor that the socket has now.
fn descriptor<'a>(socket: &'a Bound<'_, PyAny>) -> PyResult<BorrowedFd<'a>> {
    let fd = super::fileno(socket)?;
    if fd < 0 {
        return Err(os_error(socket.py(), &Errno::BADF.into()));
    }
    // SAFETY: A8: the caller holds the socket whose descriptor this is.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// One attempt by a method of the socket, which also says what is wrong with an argument.
fn by_method(
    socket: &Bound<'_, PyAny>,
    name: &str,
    args: Bound<'_, PyTuple>,
) -> PyResult<Option<Ref>> {
    match socket.call_method1(name, args) {
        Ok(result) => Ok(Some(result.into())),
        Err(error) if would_block(socket.py(), &error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Begins to connect: true if that was all, false if the kernel goes on with it.
pub(super) fn connect(py: Python<'_>, fd: RawFd, to: &Address) -> PyResult<bool> {
    if fd < 0 {
        return Err(os_error(py, &Errno::BADF.into()));
    }
    // SAFETY: A8: the caller holds the socket whose descriptor this is.
    match reactor::connect(unsafe { BorrowedFd::borrow_raw(fd) }, to) {
        Ok(()) => Ok(true),
        Err(error) => {
            let waits = [Errno::INPROGRESS, Errno::AGAIN, Errno::ALREADY, Errno::INTR];
            match error.raw_os_error() {
                Some(code) if waits.iter().any(|wait| wait.raw_os_error() == code) => Ok(false),
                _ => Err(os_error(py, &error)),
            }
        }
    }
}

/// Whether a socket's method says that it would have to wait.
pub(super) fn would_block(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyBlockingIOError>(py) || error.is_instance_of::<PyInterruptedError>(py)
}

fn settle<T>(
    py: Python<'_>,
    outcome: io::Result<T>,
    make: impl FnOnce(T) -> PyResult<Ref>,
) -> PyResult<Option<Ref>> {
    match outcome {
        Ok(value) => make(value).map(Some),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        // Our own memory, not the kernel's: that is ENOMEM.
        Err(error)
            if error.kind() == io::ErrorKind::OutOfMemory && error.raw_os_error().is_none() =>
        {
            Err(PyMemoryError::new_err(()))
        }
        Err(error) => Err(os_error(py, &error)),
    }
}

fn bytes(py: Python<'_>, data: &[u8]) -> PyResult<Ref> {
    Ok(make::bytes(py, data)?.into())
}

fn number(py: Python<'_>, count: usize) -> PyResult<Ref> {
    Ok(make::number(py, count as i64)?.into())
}

fn pair(py: Python<'_>, first: Ref, second: Ref) -> PyResult<Ref> {
    Ok(make::tuple(py, [first.bind(py), second.bind(py)])?.into())
}
