//! Making a datagram transport from a Python socket.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::os::fd::{BorrowedFd, RawFd};

use hotloop_reactor::{self as reactor, Address, Direction, Family, FlowControl, UnixName};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::event_loop::{Loop, Watcher};
use crate::imports::imports;
use crate::python::guard::none;
use crate::python::{Ref, RefSlot, call};
use crate::transports::max_size;
use crate::transports::object;
use crate::transports::stream::add_to_users;

use super::Datagram;
use crate::python::make;

/// The family of a socket that the native transport serves: an open one whose addresses are known, that keeps messages
/// apart, and whose Python class sends and receives as `socket.socket` does. asyncio's own transport serves the others.
pub(crate) fn served_family(socket: &Bound<'_, PyAny>) -> PyResult<Option<Family>> {
    let py = socket.py();
    let plain = imports(py)?.socket.bind(py);
    let class = socket.get_type();
    if !class.is_subclass(&plain)? {
        return Ok(None); // a mock may call itself an instance
    }
    if !class.is(plain) {
        for method in ["recvfrom", "sendto", "send"] {
            if !class.getattr(method)?.is(&plain.getattr(method)?) {
                return Ok(None);
            }
        }
    }
    let fd: RawFd = socket.call_method0(intern!(py, "fileno"))?.extract()?;
    if fd < 0 {
        return Ok(None);
    }
    // SAFETY: A8: the caller holds the socket, which is open.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    Ok(reactor::family(fd).filter(|_| reactor::keeps_messages(fd)))
}

/// Makes a transport for `protocol` and schedules `connection_made`, the start of reading and the waiter's result.
/// The family is what [`served_family`] says of the socket.
pub(crate) fn new_datagram<'py>(
    this: &Bound<'py, Loop>,
    socket: &Bound<'py, PyAny>,
    family: Family,
    protocol: &Bound<'py, PyAny>,
    address: Option<&Bound<'py, PyAny>>,
    waiter: Option<&Bound<'py, PyAny>>,
    extra: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let fd: RawFd = socket.call_method0(intern!(py, "fileno"))?.extract()?;
    // SAFETY: A8: the caller holds the socket; a number that is none is answered with an error.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd.max(0)) };
    let local = reactor::local_address(borrowed).ok().flatten();
    let peer = reactor::peer_address(borrowed).ok().flatten();
    let mut connected = peer.as_ref().is_some_and(is_named);
    if let Some(extra) = extra
        && let Some(name) = extra.get_item(intern!(py, "peername"))?
    {
        connected = name.is_truthy()?;
    }
    let addressed = match address {
        Some(address) => address.is_truthy()?,
        None => false,
    };
    this.get().claim(py, fd)?; // fails if the loop is closed: before the socket counts us as a user
    add_to_users(socket, 1)?;
    let datagram = Datagram {
        fd,
        family,
        socket: RefSlot::new(Some(socket.into())),
        open: Cell::new(true),
        event_loop: RefSlot::new(Some(this.into())),
        protocol: RefSlot::new(Some(protocol.into())),
        read_context: RefSlot::default(),
        write_context: RefSlot::default(),
        address: RefSlot::new(address.map(Ref::from)),
        addressed: Cell::new(addressed),
        connected,
        batch_size: Cell::new(1),
        rest: RefCell::new(VecDeque::new()),
        queue: RefCell::new(VecDeque::new()),
        queue_size: Cell::new(0),
        flow: FlowControl::default(),
        protocol_connected: Cell::new(true),
        closing: Cell::new(false),
        reading_paused: Cell::new(false),
        max_size: max_size::default(),
        lost: Cell::new(0),
        local,
        peer,
    };
    let transport = object::allocate(imports(py)?.datagram_type.bind(py), datagram)?;
    this.get().register_transport(fd, &transport);
    if let Some(extra) = extra {
        Datagram::of(&transport).adopt_extra(&transport, extra)?;
    }

    let made = protocol.getattr(intern!(py, "connection_made"))?;
    let itself = make::tuple(py, [&transport])?;
    Loop::call_soon_native(this, made.into(), itself.into())?;
    let start = transport.getattr(intern!(py, "_start_reading"))?;
    Loop::call_soon_native(this, start.into(), PyTuple::empty(py).into())?;
    if let Some(waiter) = waiter {
        let set_result = imports(py)?.set_result_unless_cancelled.clone_ref(py);
        let args = make::tuple(py, [waiter.clone(), py.None().into_bound(py)])?;
        Loop::call_soon_native(this, set_result, args.into())?;
    }
    Ok(transport)
}

impl Datagram {
    /// Watches the descriptor for reading, in a copy of the current context.
    pub(super) fn start_reading(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = transport.py();
        if self.closing.get() || self.reading_paused.get() {
            return Ok(());
        }
        let Some(this) = self.event_loop(py) else {
            return Ok(());
        };
        this.get().check_closed()?;
        drop(self.read_context.replace(Some(call::copy_context(py)?)));
        this.get().watch(
            &this,
            self.fd,
            Direction::Read,
            Watcher::Datagram(transport.into()),
        )
    }
}

/// Whether Python's form of the address is a true value, which is how asyncio knows a connected socket.
fn is_named(address: &Address) -> bool {
    !matches!(address, Address::Unix(UnixName::Unnamed) | Address::Other)
}

/// `transport._start_reading()`, a callback of the loop.
pub(super) fn start_reading_method<'py>(
    py: Python<'py>,
    slf: pyo3::Borrowed<'_, 'py, PyAny>,
) -> PyResult<Ref> {
    Datagram::of(&slf).start_reading(&slf)?;
    Ok(none(py))
}
