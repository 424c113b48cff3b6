//! Making a stream transport, from a Python socket or from a descriptor that the accept loop brought.

use std::cell::{Cell, RefCell};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use hotloop_reactor::{self as reactor, Address, Direction, FlowControl, WriteQueue};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::event_loop::{Loop, Watcher};
use crate::imports::imports;
use crate::python::guard::none;
use crate::python::{Ref, RefSlot, call};
use crate::streams::Feed;
use crate::transports::max_size;
use crate::transports::object;
use crate::transports::tls::Tls;

use super::Stream;
use super::burst::Burst;
use super::owner::Owner;
use crate::python::make;

/// Where a transport's descriptor comes from.
pub(crate) enum Origin<'py> {
    /// A Python socket, connected.
    Socket(Bound<'py, PyAny>),
    /// A new connection of a listening socket, and whether it has inherited `TCP_NODELAY`.
    Accepted {
        descriptor: OwnedFd,
        peer: Option<Address>,
        nodelay: bool,
    },
    /// A descriptor that we have connected, with the peer's address if that is known.
    Connected {
        descriptor: OwnedFd,
        peer: Option<Address>,
    },
}

/// What a transport may be made with, besides its protocol.
#[derive(Default)]
pub(crate) struct Options<'a, 'py> {
    pub(crate) waiter: Option<&'a Bound<'py, PyAny>>,
    pub(crate) extra: Option<&'a Bound<'py, PyDict>>,
    pub(crate) server: Option<&'a Bound<'py, PyAny>>,
    /// The context of every callback of the protocol; without it each is the one in which it was scheduled.
    pub(crate) context: Option<Ref>,
    /// The caller begins by itself: nothing is scheduled.
    pub(crate) starts_itself: bool,
}

/// Makes a transport for `protocol` and schedules `connection_made`, the start of reading and the waiter's result.
pub(crate) fn new_stream<'py>(
    this: &Bound<'py, Loop>,
    origin: Origin<'py>,
    protocol: &Bound<'py, PyAny>,
    options: Options<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let Options {
        waiter,
        extra,
        server,
        context,
        starts_itself,
    } = options;
    let (fd, owner, accepted_from, nodelay) = match origin {
        Origin::Socket(socket) => {
            let fd = socket.call_method0(intern!(py, "fileno"))?.extract()?;
            this.get().claim(py, fd)?; // fails if the loop is closed: before the socket counts us as a user
            (fd, Owner::of_socket(&socket)?, None, false)
        }
        Origin::Accepted {
            descriptor,
            peer,
            nodelay,
        } => {
            let fd = descriptor.as_raw_fd();
            this.get().claim(py, fd)?;
            (fd, Owner::Descriptor(descriptor), peer, nodelay)
        }
        Origin::Connected { descriptor, peer } => {
            let fd = descriptor.as_raw_fd();
            this.get().claim(py, fd)?;
            (fd, Owner::Descriptor(descriptor), peer, false)
        }
    };
    let knows_peer = match extra {
        Some(extra) => extra.contains(intern!(py, "peername"))?,
        None => false,
    };
    let (mut local, mut peer) = (None, accepted_from);
    if fd >= 0 {
        // SAFETY: A8: `owner` keeps the descriptor open, or its number is not one (EBADF answers that).
        let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
        local = reactor::local_address(borrowed).ok().flatten();
        if peer.is_none() && !knows_peer {
            peer = reactor::peer_address(borrowed).ok().flatten();
        }
        if !nodelay && matches!(local, Some(Address::V4(_) | Address::V6(_))) {
            // Small writes are sent at once. Sockets of other protocols over IP refuse, which is no loss.
            let _ = reactor::set_nodelay(borrowed);
        }
    }
    let stream = Stream {
        fd,
        owner: RefCell::new(owner),
        event_loop: RefSlot::new(Some(this.into())),
        protocol: RefSlot::default(),
        server: RefSlot::default(),
        context: RefSlot::new(context.as_ref().map(|context| context.clone_ref(py))),
        read_context: RefSlot::default(),
        write_context: RefSlot::default(),
        held_context: RefSlot::default(),
        buffered: Cell::new(false),
        tls: Cell::new(false),
        feed: Cell::new(None),
        large_reads: Cell::new(false),
        protocol_connected: Cell::new(false),
        queue: RefCell::new(WriteQueue::new()),
        burst: Burst::default(),
        flow: FlowControl::default(),
        closing: Cell::new(false),
        reading_paused: Cell::new(false),
        max_size: max_size::default(),
        eof_written: Cell::new(false),
        lost: Cell::new(0),
        empty_waiter: RefSlot::default(),
        local,
        peer,
    };
    let transport = object::allocate(imports(py)?.stream_type.bind(py), stream)?;
    let stream = Stream::of(&transport);
    this.get().register_transport(fd, &transport);
    stream.set_protocol(protocol)?;
    if let Some(extra) = extra {
        stream.merge_extra(&transport, extra)?;
    }
    if let Some(server) = server {
        drop(stream.server.replace(Some(server.into())));
        attach(server, &transport)?;
    }
    if starts_itself {
        return Ok(transport);
    }

    let made = protocol.getattr(intern!(py, "connection_made"))?;
    let itself = make::tuple(py, [&transport])?;
    let schedule = |callback: Ref, args: Ref| match &context {
        Some(context) => Loop::call_soon_in(this, callback, args, Some(context.clone_ref(py))),
        None => Loop::call_soon_native(this, callback, args),
    };
    schedule(made.into(), itself.into())?;
    let start = transport.getattr(intern!(py, "_start_reading"))?;
    schedule(start.into(), PyTuple::empty(py).into())?;
    if let Some(waiter) = waiter {
        let set_result = imports(py)?.set_result_unless_cancelled.clone_ref(py);
        let args = make::tuple(py, [waiter.clone(), py.None().into_bound(py)])?;
        schedule(set_result, args.into())?;
    }
    Ok(transport)
}

impl Stream {
    /// The transport's own context, or a copy of the current one.
    pub(super) fn callback_context(&self, py: Python<'_>) -> PyResult<Ref> {
        match self.context.get(py) {
            Some(context) => Ok(context),
            None => call::copy_context(py),
        }
    }

    /// Watches the descriptor for reading, in the transport's context or in a copy of the current one.
    pub(super) fn start_reading(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = transport.py();
        if self.closing.get() || self.reading_paused.get() {
            return Ok(());
        }
        let Some(this) = self.event_loop(py) else {
            return Ok(());
        };
        this.get().check_closed()?;
        drop(self.read_context.replace(Some(self.callback_context(py)?)));
        this.get().watch(
            &this,
            self.fd,
            Direction::Read,
            Watcher::Stream(transport.into()),
        )
    }

    /// `transport.set_protocol(protocol)`.
    pub(super) fn set_protocol(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = protocol.py();
        self.buffered
            .set(protocol.is_instance(&imports(py)?.buffered_protocol.bind(py))?);
        self.tls.set(Tls::is_tls(protocol));
        self.feed.set(Feed::of(protocol)?);
        self.protocol_connected.set(true);
        drop(self.protocol.replace(Some(protocol.into())));
        Ok(())
    }
}

/// Tells the `Server` object that it has one connection more.
fn attach(server: &Bound<'_, PyAny>, transport: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = server.py();
    if imports(py)?.server_takes_transport {
        server
            .call_method1(intern!(py, "_attach"), (transport,))
            .map(drop)
    } else {
        server.call_method0(intern!(py, "_attach")).map(drop)
    }
}

/// Tells the `Server` object that a connection is gone.
pub(super) fn detach(server: &Ref, transport: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = transport.py();
    let server = server.bind(py);
    if imports(py)?.server_takes_transport {
        server
            .call_method1(intern!(py, "_detach"), (transport,))
            .map(drop)
    } else {
        server.call_method0(intern!(py, "_detach")).map(drop)
    }
}

/// `transport._start_reading()`, a callback of the loop.
pub(super) fn start_reading_method<'py>(
    py: Python<'py>,
    slf: pyo3::Borrowed<'_, 'py, PyAny>,
) -> PyResult<Ref> {
    Stream::of(&slf).start_reading(&slf)?;
    Ok(none(py))
}
