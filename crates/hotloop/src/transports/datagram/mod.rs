//! The native datagram transport: UDP, Unix datagram sockets, raw IP sockets.
//!
//! What it does and in which order is asyncio's `_SelectorDatagramTransport`, but for one thing: where asyncio receives
//! one datagram in each iteration of the loop, this receives as many as are there, up to a bound, and delivers them
//! one after the other.
//!
//! # A batch that is cut short
//! The protocol must not notice that datagrams were taken from the kernel before it wanted them. So after each call of
//! `datagram_received` the transport looks again:
//! - closed or aborted: the rest is dropped, as asyncio leaves it in a socket that is closed;
//! - reading paused: the rest is kept here, and delivered when reading resumes, before anything newer;
//! - the loop stops (then no more than one is taken from the kernel), or the protocol raised (`KeyboardInterrupt` included): the rest is kept and delivered in a later
//!   iteration, or a later run, by a callback of the loop. asyncio would find it in the kernel then; so nothing is lost
//!   with an exception, and each one is reported by itself.
//!
//! A program that runs the loop inside `datagram_received` cannot receive from the same transport there, as on asyncio:
//! the context of the reading callback is entered already (PEP 567).

mod addresses;
mod attributes;
mod close;
mod construct;
mod flow;
mod info;
mod read;
mod references;
mod write;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::os::fd::{BorrowedFd, RawFd};

use hotloop_reactor::{Address, Direction, Family, FlowControl};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::event_loop::Loop;
use crate::python::heap_type::HeapType;
use crate::python::{Ref, RefSlot, call};
use crate::transports::max_size::{self, with_max_size};
use crate::transports::object::{self, Object};

pub(crate) use addresses::Shared;
pub(crate) use construct::{new_datagram, served_family};
use read::Received;
use write::Queued;

/// The state of one transport.
pub(crate) struct Datagram {
    fd: RawFd,
    family: Family,
    /// The Python socket, also after the transport was closed: `get_extra_info("socket")` wraps it.
    socket: RefSlot,
    /// False when the socket was given back.
    open: Cell<bool>,
    event_loop: RefSlot,
    protocol: RefSlot,
    /// The contexts of the reading and of the writing callbacks: copies of those in which it began.
    read_context: RefSlot,
    write_context: RefSlot,
    /// `remote_addr`, or None; and whether it is a true value, which makes it the only address to send to.
    address: RefSlot,
    addressed: Cell<bool>,
    /// Whether the socket has a peer, to which it sends without an address.
    connected: bool,
    /// How many datagrams the next receive asks for.
    batch_size: Cell<usize>,
    /// Received and not delivered yet: see the note on batches.
    rest: RefCell<VecDeque<Received>>,
    queue: RefCell<VecDeque<Queued>>,
    /// The size of the queue in bytes, with what asyncio adds for each header.
    queue_size: Cell<usize>,
    flow: FlowControl,
    protocol_connected: Cell<bool>,
    closing: Cell<bool>,
    reading_paused: Cell<bool>,
    /// How much of a datagram is received: `max_size` as the program has set it.
    max_size: Cell<usize>,
    /// 0 while open; counts the datagrams that were sent after the loss, as asyncio's `_conn_lost` does.
    lost: Cell<u32>,
    local: Option<Address>,
    peer: Option<Address>,
}

/// Makes the type over `asyncio.transports._FlowControlMixin` (an `asyncio.Transport`, as the stdlib's is) and
/// `asyncio.DatagramTransport`.
pub(crate) fn make_type(py: Python<'_>) -> PyResult<Py<PyType>> {
    let transports = py.import("asyncio.transports")?;
    let base = transports
        .getattr("_FlowControlMixin")?
        .cast_into::<PyType>()?;
    let interface = transports
        .getattr("DatagramTransport")?
        .cast_into::<PyType>()?;
    object::check::<Datagram>(&base)?;
    let made = HeapType {
        name: c"hotloop._core.DatagramTransport",
        size: size_of::<Object<Datagram>>(),
        flags: ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION,
        slots: with_max_size::<Datagram>(object::slots_with_repr::<Datagram>()),
        methods: attributes::methods(),
        getters: attributes::getters(),
        members: object::members::<Datagram>(),
    }
    .build_over(&[base, interface])?;
    max_size::add_constant(&made)?;
    Ok(made.unbind())
}

impl Datagram {
    /// The state inside a transport object.
    pub(crate) fn of<'a>(object: &'a Bound<'_, PyAny>) -> &'a Self {
        object::state(object)
    }

    /// The descriptor is ready: the registry's watcher runs.
    pub(crate) fn on_ready(py: Python<'_>, object: &Ref, direction: Direction) -> PyResult<()> {
        let object = object.bind(py);
        let datagram = Self::of(&object);
        let context = match direction {
            Direction::Read => datagram.read_context.get(py),
            Direction::Write => datagram.write_context.get(py),
        };
        let Some(context) = context else {
            return Ok(());
        };
        call::within_context(py, &context, || match direction {
            Direction::Read => datagram.read_ready(&object),
            Direction::Write => datagram.sendto_ready(&object),
        })
    }

    /// The loop, while the transport is open.
    fn event_loop<'py>(&self, py: Python<'py>) -> Option<Bound<'py, Loop>> {
        let event_loop = self.event_loop.get(py)?;
        // SAFETY: A4: only `new_datagram` stores it, and it is given a `Loop`.
        Some(unsafe { event_loop.into_bound(py).cast_into_unchecked() })
    }

    /// The descriptor, while the transport is open.
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        if !self.open.get() {
            return None;
        }
        // SAFETY: the Python socket counts the transport among its users, which keeps the descriptor open until
        // `close_socket`; that never runs between this look and the system call that follows it (A5).
        Some(unsafe { BorrowedFd::borrow_raw(self.fd) })
    }

    /// Whether the socket's datagrams have at most 64 KiB.
    fn is_ip(&self) -> bool {
        matches!(self.family, Family::V4 | Family::V6)
    }
}
