//! The native stream transport: TCP and Unix stream sockets, both sides of a connection.
//!
//! What it does and in which order is asyncio's `_SelectorSocketTransport`: `connection_made`, the start of reading
//! and the waiter's result are three callbacks of one iteration; a short read ends the turn; `connection_lost` comes
//! through `call_soon`, once. What differs is where the state is: here, in cells, beside an owned descriptor.
//!
//! # Who owns the descriptor
//! A transport made from a Python socket keeps that socket, and counts itself among its users (`_io_refs`), so
//! that closing the socket behind the transport's back takes effect when the transport lets go of it: the number
//! cannot be given to another connection while we still read and write it. A transport made by the native accept
//! loop owns the bare descriptor, and makes the Python socket when somebody asks for it.

mod attributes;
mod burst;
mod close;
mod construct;
mod flow;
mod owner;
mod read;
mod references;
mod tls;
mod write;

use std::cell::{Cell, RefCell};
use std::os::fd::{BorrowedFd, RawFd};

use hotloop_reactor::{Address, Direction, FlowControl, WriteQueue};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::event_loop::Loop;
use crate::python::heap_type::HeapType;
use crate::python::{Ref, RefSlot};
use crate::streams::Feed;
use crate::transports::max_size::with_max_size;
use crate::transports::object::{self, Object};

use burst::Burst;
pub(crate) use construct::{Options, Origin, new_stream};
use owner::Owner;
pub(crate) use owner::{add_to_users, socket_of_accepted};
pub(crate) use write::Piece;

/// The state of one transport.
pub(crate) struct Stream {
    fd: RawFd,
    /// The Python socket or the bare descriptor; empty when the transport is closed.
    owner: RefCell<Owner>,
    event_loop: RefSlot,
    protocol: RefSlot,
    server: RefSlot,
    /// The context of every callback, if the transport was given one (3.15).
    context: RefSlot,
    /// The context of the reading callbacks: a copy of the one in which reading began.
    read_context: RefSlot,
    /// The context of the writing callbacks, likewise.
    write_context: RefSlot,
    /// That of a write that is held.
    held_context: RefSlot,
    /// Whether the protocol is a `BufferedProtocol`.
    buffered: Cell<bool>,
    /// Whether the protocol is our TLS protocol, to which data goes without Python in between.
    tls: Cell<bool>,
    /// How the bytes get to a protocol that takes them without an object around them.
    feed: Cell<Option<Feed>>,
    /// Whether the last read brought so much that the next one spares itself a copy.
    large_reads: Cell<bool>,
    /// False until a protocol is set; `connection_lost` is not called then.
    protocol_connected: Cell<bool>,
    queue: RefCell<WriteQueue<Piece>>,
    burst: Burst,
    flow: FlowControl,
    closing: Cell<bool>,
    reading_paused: Cell<bool>,
    /// How much one `recv` asks for: `max_size` as the program has set it.
    max_size: Cell<usize>,
    eof_written: Cell<bool>,
    /// 0 while connected; counts the writes after the loss, as asyncio's `_conn_lost` does.
    lost: Cell<u32>,
    /// A future that waits for the queue to be sent (`sendfile`).
    empty_waiter: RefSlot,
    local: Option<Address>,
    peer: Option<Address>,
}

/// Makes the type over the running Python's `asyncio.transports._FlowControlMixin`: `loop.sendfile` asks for it.
pub(crate) fn make_type(py: Python<'_>) -> PyResult<Py<PyType>> {
    let base = py
        .import("asyncio.transports")?
        .getattr("_FlowControlMixin")?
        .cast_into::<PyType>()?;
    object::check::<Stream>(&base)?;
    let made = HeapType {
        name: c"hotloop._core.SocketTransport",
        size: size_of::<Object<Stream>>(),
        flags: ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION,
        slots: with_max_size::<Stream>(object::slots_with_repr::<Stream>()),
        methods: attributes::methods(),
        getters: attributes::getters(),
        members: object::members::<Stream>(),
    }
    .build(&base)?;
    attributes::add_constants(&made)?;
    Ok(made.unbind())
}

impl Stream {
    /// The state inside a transport object.
    pub(crate) fn of<'a>(object: &'a Bound<'_, PyAny>) -> &'a Self {
        object::state(object)
    }

    /// The state of a native transport whose methods are what they were: nothing is set on the instance.
    pub(crate) fn untouched<'a>(object: &'a Bound<'_, PyAny>) -> Option<&'a Self> {
        let imports = crate::imports::imports(object.py()).ok()?;
        (object.get_type_ptr() == imports.stream_type.as_ptr().cast()
            && !object::has_attributes::<Stream>(object))
        .then(|| Self::of(object))
    }

    /// `transport.is_closing()`.
    pub(crate) fn is_closing(&self, transport: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.settle(transport)?;
        Ok(self.closing.get())
    }

    /// The descriptor is ready: the registry's watcher runs.
    pub(crate) fn on_ready(
        _this: &Bound<'_, Loop>,
        object: &Ref,
        direction: Direction,
    ) -> PyResult<()> {
        let py = _this.py();
        let object = object.bind(py);
        let stream = Self::of(&object);
        let context = match direction {
            Direction::Read => stream.read_context.get(py),
            Direction::Write => stream.write_context.get(py),
        };
        let Some(context) = context else {
            return Ok(());
        };
        crate::python::call::within_context(py, &context, || match direction {
            Direction::Read => stream.read_ready(&object),
            Direction::Write => stream.write_ready(&object),
        })
    }

    /// Whether `object` is a transport of `this` that is open and owns `fd`.
    pub(crate) fn is_open_as(object: &Bound<'_, PyAny>, this: &Bound<'_, Loop>, fd: RawFd) -> bool {
        let is_native = crate::imports::imports(object.py())
            .is_ok_and(|imports| object.get_type().is(&imports.stream_type));
        if !is_native {
            return false;
        }
        let stream = Self::of(object);
        stream.fd == fd
            && !matches!(*stream.owner.borrow(), Owner::Closed)
            && stream
                .event_loop
                .peek(|known| known.is_some_and(|known| known.as_ptr() == this.as_ptr()))
    }

    /// The loop, while the transport is open.
    fn event_loop<'py>(&self, py: Python<'py>) -> Option<Bound<'py, Loop>> {
        let event_loop = self.event_loop.get(py)?;
        // SAFETY: A4: only `new_stream` stores it, and it is given a `Loop`.
        Some(unsafe { event_loop.into_bound(py).cast_into_unchecked() })
    }

    /// The descriptor, while the transport is open.
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        if self.fd < 0 || matches!(*self.owner.borrow(), Owner::Closed) {
            return None;
        }
        // SAFETY: the owner keeps the descriptor open; it is given up only by `close_owner`, which runs in calls
        // of their own, never between this look and the system call that follows it (A5).
        Some(unsafe { BorrowedFd::borrow_raw(self.fd) })
    }
}
