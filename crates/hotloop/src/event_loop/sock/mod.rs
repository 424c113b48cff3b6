//! Working with socket objects directly: `sock_recv` and its relatives.
//!
//! Each `sock_*` method is an `async def` of the Python half that calls a `_try_*` method here: it attempts the
//! operation at once, as asyncio does, and returns either the result or an operation to await. The attempt is a system
//! call of ours for an exact `socket.socket`, and the socket's own method for everything else (a subclass may
//! override it, an argument may be one that only Python understands). A wait that is cancelled or ends early is taken
//! out of the registry by `Operation._leave`.

mod operation;
mod sendfile;

use std::cell::Cell;
use std::os::fd::{BorrowedFd, RawFd};

use hotloop_reactor::{self as reactor, Direction, Family};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyMemoryView, PyTuple};

use crate::address;
use crate::imports::imports;
use crate::python::guard::none;
use crate::python::{Buffer, call};

use super::connections::replaces;
use super::{Loop, Watcher};
use crate::python::make;
pub(crate) use operation::Operation;
use operation::{Kind, would_block};
use sendfile::SendFile;

#[pymethods]
impl Loop {
    /// Receive up to `n` bytes: bytes, or an operation to await for them.
    fn _try_recv<'py>(
        slf: &Bound<'py, Self>,
        sock: &Bound<'py, PyAny>,
        n: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        check(slf, sock)?;
        let kind = match n.extract::<usize>() {
            Ok(size) if is_plain(sock)? => Kind::Receive(size),
            _ => method("recv", make::tuple(slf.py(), [n])?),
        };
        attempt(slf, sock, kind)
    }

    /// Receive into a buffer: the number of bytes, or an operation to await for it.
    fn _try_recv_into<'py>(
        slf: &Bound<'py, Self>,
        sock: &Bound<'py, PyAny>,
        buf: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        check(slf, sock)?;
        let kind = if is_plain(sock)? {
            Kind::ReceiveInto(buf.into())
        } else {
            method("recv_into", make::tuple(slf.py(), [buf])?)
        };
        attempt(slf, sock, kind)
    }

    /// Receive a datagram of up to `bufsize` bytes: `(bytes, address)`, or an operation to await for it.
    fn _try_recvfrom<'py>(
        slf: &Bound<'py, Self>,
        sock: &Bound<'py, PyAny>,
        bufsize: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        check(slf, sock)?;
        let kind = match bufsize.extract::<usize>() {
            Ok(size) if known_family(sock)?.is_some() => Kind::ReceiveFrom(size),
            _ => method("recvfrom", make::tuple(slf.py(), [bufsize])?),
        };
        attempt(slf, sock, kind)
    }

    /// Receive a datagram into the first `nbytes` of a buffer: `(number, address)`, or an operation to await for it.
    fn _try_recvfrom_into<'py>(
        slf: &Bound<'py, Self>,
        sock: &Bound<'py, PyAny>,
        buf: &Bound<'py, PyAny>,
        nbytes: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let kind = match nbytes.extract::<usize>() {
            Ok(size) if known_family(sock)?.is_some() => Kind::ReceiveFromInto(buf.into(), size),
            _ => method("recvfrom_into", make::tuple(slf.py(), [buf, nbytes])?),
        };
        attempt(slf, sock, kind)
    }

    /// Send a datagram: the number of bytes, or an operation to await for it.
    fn _try_sendto<'py>(
        slf: &Bound<'py, Self>,
        sock: &Bound<'py, PyAny>,
        data: &Bound<'py, PyAny>,
        address: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        check(slf, sock)?;
        let to = known_family(sock)?.and_then(|family| address::from_python(family, address));
        let kind = match to {
            // What cannot be sent the socket's own method says.
            Some(to) if Buffer::read(data).is_ok() => Kind::SendTo(data.into(), to),
            _ => method("sendto", make::tuple(slf.py(), [data, address])?),
        };
        attempt(slf, sock, kind)
    }

    /// Send all of `data`: None, or an operation to await for it.
    fn _try_sendall<'py>(
        slf: &Bound<'py, Self>,
        sock: &Bound<'py, PyAny>,
        data: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        check(slf, sock)?;
        match Buffer::read(data) {
            Ok(buffer) if is_plain(sock)? => {
                attempt(slf, sock, Kind::SendAll(buffer, Cell::new(0)))
            }
            _ => {
                // As asyncio: the first send goes through the socket, and raises what that raises.
                let sent = match sock.call_method1(intern!(py, "send"), (data,)) {
                    Ok(sent) => sent.extract::<usize>()?,
                    Err(error) if would_block(py, &error) => 0,
                    Err(error) => return Err(error),
                };
                let view = PyMemoryView::from(data)?;
                if sent == view.len()? {
                    return Ok(py.None().into_bound(py));
                }
                let bytes = view.call_method0(intern!(py, "tobytes"))?;
                wait(
                    slf,
                    sock,
                    Kind::SendAll(Buffer::read(&bytes)?, Cell::new(sent)),
                )
            }
        }
    }

    /// Accept a connection: `(socket, address)`, or an operation to await for it.
    fn _try_accept<'py>(
        slf: &Bound<'py, Self>,
        sock: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        check(slf, sock)?;
        fileno(sock)?; // asyncio asks for the number first, and so do its errors
        let kind = if is_plain(sock)? {
            Kind::Accept
        } else {
            method("accept", PyTuple::empty(slf.py()))
        };
        attempt(slf, sock, kind)
    }

    /// Connect to a resolved address: None, or an operation to await for it.
    fn _try_connect<'py>(
        slf: &Bound<'py, Self>,
        sock: &Bound<'py, PyAny>,
        address: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let name = intern!(py, "connect");
        let to = match known_family(sock)? {
            // Tools that keep programs from the network replace the method of the class.
            Some(family) if !replaces(&sock.get_type(), name)? => {
                address::from_python(family, address)
            }
            _ => None,
        };
        let begun = match to {
            Some(to) => operation::connect(py, fileno(sock)?, &to),
            None => match sock.call_method1(name, (address,)) {
                Ok(_) => Ok(true),
                Err(error) if would_block(py, &error) => Ok(false),
                Err(error) => Err(error),
            },
        };
        if begun? {
            return Ok(none(py).into_bound(py));
        }
        wait(slf, sock, Kind::Connect(address.into()))
    }

    /// Send `count` bytes of a file (0: all) from an offset on: how many were sent, or an operation to await for it.
    fn _try_sendfile<'py>(
        slf: &Bound<'py, Self>,
        sock: &Bound<'py, PyAny>,
        file: &Bound<'py, PyAny>,
        offset: u64,
        count: u64,
        size: u64,
    ) -> PyResult<Bound<'py, PyAny>> {
        let job = SendFile {
            file: file.into(),
            offset: Cell::new(offset),
            count,
            block: size,
            sent: Cell::new(0),
            always_moves: imports(slf.py())?.sendfile_always_moves,
            waited: Cell::new(false),
        };
        attempt(slf, sock, Kind::SendFile(job))
    }
}

/// Takes an operation out of the registry.
fn abandon(this: &Bound<'_, Loop>, operation: &Bound<'_, Operation>) -> PyResult<()> {
    let py = this.py();
    let fd = operation.get().fd();
    for direction in [Direction::Read, Direction::Write] {
        let Some(Watcher::Operation(known)) = this.get().watcher(py, fd, direction)? else {
            continue;
        };
        if known.as_ptr() == operation.as_ptr() {
            let unwatched = this.get().unwatch_surely(this, fd, direction);
            operation.get().abandon(py);
            if let Err(error) = unwatched {
                // As asyncio, which stops in a callback: whoever waited gets what ended the wait.
                report(this, error)?;
            }
        }
    }
    Ok(())
}

fn report(this: &Bound<'_, Loop>, error: PyErr) -> PyResult<()> {
    let py = this.py();
    if call::ends_the_loop(py, &error) {
        return Err(error);
    }
    let context = make::dict(py)?;
    let message = make::string(py, "Exception as a sock_* call ended")?;
    context.set_item(intern!(py, "message"), message)?;
    context.set_item(intern!(py, "exception"), error.into_value(py))?;
    this.call_method1(intern!(py, "call_exception_handler"), (context,))
        .map(drop)
}

/// Tries once, and waits if the kernel says so.
fn attempt<'py>(
    slf: &Bound<'py, Loop>,
    socket: &Bound<'py, PyAny>,
    kind: Kind,
) -> PyResult<Bound<'py, PyAny>> {
    match kind.try_once(socket)? {
        Some(result) => Ok(result.into_bound(slf.py())),
        None => wait(slf, socket, kind),
    }
}

/// Puts the operation into the registry; returns it.
fn wait<'py>(
    slf: &Bound<'py, Loop>,
    socket: &Bound<'py, PyAny>,
    kind: Kind,
) -> PyResult<Bound<'py, PyAny>> {
    let py = slf.py();
    slf.get().check_closed()?;
    let future = slf.call_method0(intern!(py, "create_future"))?;
    let fd = fileno(socket)?;
    slf.get().ensure_number_is_free(slf, fd)?;
    let direction = kind.direction();
    let operation = Operation::new(
        kind,
        socket.into(),
        fd,
        future.into(),
        call::copy_context(py)?,
    );
    let operation = Bound::new(py, operation)?;
    let watcher = Watcher::Operation((&operation).into());
    slf.get().watch_once(slf, fd, direction, watcher)?;
    Ok(operation.into_any())
}

/// Waits for the outcome of a connect that is under way, to the address that errors shall name.
pub(super) fn wait_until_connected<'py>(
    slf: &Bound<'py, Loop>,
    socket: &Bound<'py, PyAny>,
    address: Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    wait(slf, socket, Kind::Connect(address.into()))
}

fn method(name: &'static str, args: Bound<'_, PyTuple>) -> Kind {
    Kind::Method(name, args.into())
}

/// Whether the socket is exactly a `socket.socket`, whose methods do what the system calls do.
fn is_plain(socket: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(socket.get_type().as_ptr() == imports(socket.py())?.socket.as_ptr())
}

/// The family of a plain socket, if its addresses are known here.
fn known_family(socket: &Bound<'_, PyAny>) -> PyResult<Option<Family>> {
    if !is_plain(socket)? {
        return Ok(None);
    }
    let fd = fileno(socket)?;
    if fd < 0 {
        return Ok(None);
    }
    // SAFETY: A8: the caller holds the socket whose descriptor this is.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    Ok(reactor::family(fd))
}

fn fileno(socket: &Bound<'_, PyAny>) -> PyResult<RawFd> {
    let py = socket.py();
    if is_plain(socket)? {
        // Past the look-up of the method.
        let fileno = imports(py)?.raw_socket_fileno.bind(py);
        return fileno.call1((socket,))?.extract();
    }
    socket.call_method0(intern!(py, "fileno"))?.extract()
}

/// What every call looks at first; the words are Python's (`_sockets.py`).
#[inline]
fn check(this: &Bound<'_, Loop>, socket: &Bound<'_, PyAny>) -> PyResult<()> {
    if !this.get().debug.get() && is_plain(socket)? {
        return Ok(()); // of no subclass, so not `ssl.SSLSocket`; only debug mode asks for the timeout
    }
    let name = intern!(this.py(), "_check_socket");
    this.call_method1(name, (socket,)).map(drop)
}
