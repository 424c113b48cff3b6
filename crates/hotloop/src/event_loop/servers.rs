//! Servers: the native accept loop behind asyncio's `Server` object, and `_make_socket_transport`.
//!
//! # How many connections one turn takes
//! asyncio takes up to `backlog` connections before anything else runs, which with the backlog of 2048 that some
//! servers ask for starves timers and other connections for tens of milliseconds when a flood arrives. Nothing is lost by
//! taking fewer: epoll is level-triggered and reports the socket again in the next iteration, after everybody else's
//! turn. So a turn takes at most [`MOST_PER_TURN`], about a millisecond's work.
//! Nor does a turn ask the kernel for a connection that is not there, when it can help it: it takes one; if the very
//! next iteration finds more, twice as many, and so on; after a pause, one again.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU32, Ordering};

use hotloop_reactor::{self as reactor, Address, Direction};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use pyo3::{PyTraverseError, PyVisit};
use rustix::io::Errno;

use crate::errors::os_error;
use crate::handles;
use crate::imports::imports;
use crate::python::guard::none;
use crate::python::{Ref, call};
use crate::transports::stream::{Options, Origin, Stream, new_stream, socket_of_accepted};
use crate::transports::tls;

use super::hooks::Hooks;
use super::watch_fd::fileno;
use super::{Loop, Watcher};
use crate::python::make;

/// See the header.
const MOST_PER_TURN: u32 = 64;

/// A listening socket that serves: what `_start_serving` was given.
#[pyclass(frozen, module = "hotloop._core")]
pub(crate) struct Listener {
    protocol_factory: Ref,
    socket: Ref,
    ssl_context: Ref,
    server: Ref,
    backlog: i64,
    /// How many connections the last turn was to take, and the iteration (as the loop counts them) that it was in.
    batch: AtomicU32,
    turn: AtomicU32,
    /// Whether accepted connections inherit `TCP_NODELAY`, as Linux lets them (tcp(7)).
    nodelay: bool,
    ssl_timeouts: [Ref; 2],
    /// The context of the accept callback, in which protocols are made.
    context: Ref,
    /// The server's context, of which each connection gets a copy (3.15); else None.
    server_context: Ref,
}

#[pymethods]
impl Listener {
    /// Accept what is waiting; the debug mode's reports name it.
    fn _read_ready(&self) {}

    fn __repr__(&self, py: Python<'_>) -> String {
        format!("<Listener {:?}>", self.socket.bind(py))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        for object in [
            &self.protocol_factory,
            &self.socket,
            &self.ssl_context,
            &self.server,
            &self.context,
            &self.server_context,
            &self.ssl_timeouts[0],
            &self.ssl_timeouts[1],
        ] {
            object.traverse(&visit)?;
        }
        Ok(())
    }
}

#[pymethods]
impl Loop {
    /// Make a stream transport for a connected socket.
    #[pyo3(signature = (sock, protocol, waiter=None, *, extra=None, server=None, context=None))]
    #[allow(clippy::too_many_arguments)] // asyncio's signature
    pub(super) fn _make_socket_transport<'py>(
        slf: &Bound<'py, Self>,
        sock: &Bound<'py, PyAny>,
        protocol: &Bound<'py, PyAny>,
        waiter: Option<&Bound<'py, PyAny>>,
        extra: Option<&Bound<'py, PyDict>>,
        server: Option<&Bound<'py, PyAny>>,
        context: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        slf.get().ensure_no_transport(slf, sock)?;
        new_stream(
            slf,
            Origin::Socket(sock.clone()),
            protocol,
            Options {
                waiter,
                extra,
                server,
                context: context.map(Ref::from),
                starts_itself: false,
            },
        )
    }

    /// Accept connections of a listening socket; `asyncio.Server` calls this.
    #[pyo3(signature = (protocol_factory, sock, sslcontext=None, server=None, backlog=100,
                        ssl_handshake_timeout=None, ssl_shutdown_timeout=None, context=None))]
    #[allow(clippy::too_many_arguments)] // asyncio's signature
    fn _start_serving(
        slf: &Bound<'_, Self>,
        protocol_factory: &Bound<'_, PyAny>,
        sock: &Bound<'_, PyAny>,
        sslcontext: Option<&Bound<'_, PyAny>>,
        server: Option<&Bound<'_, PyAny>>,
        backlog: i64,
        ssl_handshake_timeout: Option<&Bound<'_, PyAny>>,
        ssl_shutdown_timeout: Option<&Bound<'_, PyAny>>,
        context: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let py = slf.py();
        slf.get().check_closed()?;
        let or_none =
            |object: Option<&Bound<'_, PyAny>>| object.map_or_else(|| none(py), Ref::from);
        let fd = fileno(sock)?;
        if slf.get().hooks.get().any(Hooks::ACCEPT) {
            let accept = slf.getattr(intern!(py, "_accept_connection"))?;
            let args = (
                fd,
                accept,
                protocol_factory,
                sock,
                sslcontext,
                server,
                backlog,
                ssl_handshake_timeout,
                ssl_shutdown_timeout,
            );
            return slf.call_method1(intern!(py, "_add_reader"), args).map(drop);
        }
        // SAFETY: A8: the caller holds the socket whose descriptor this is.
        let listening = unsafe { BorrowedFd::borrow_raw(fd) };
        let nodelay = reactor::is_tcp(listening) && reactor::set_nodelay(listening).is_ok();
        let listener = Bound::new(
            py,
            Listener {
                protocol_factory: protocol_factory.into(),
                socket: sock.into(),
                ssl_context: or_none(sslcontext),
                server: or_none(server),
                backlog,
                batch: AtomicU32::new(0),
                turn: AtomicU32::new(0),
                nodelay,
                ssl_timeouts: [
                    or_none(ssl_handshake_timeout),
                    or_none(ssl_shutdown_timeout),
                ],
                context: call::copy_context(py)?,
                server_context: or_none(context),
            },
        )?;
        slf.get()
            .watch(slf, fd, Direction::Read, Watcher::Listener(listener.into()))
    }
}

impl Listener {
    /// The listening socket has connections: takes some.
    pub(super) fn accept(this: &Bound<'_, Loop>, slf: &Bound<'_, Self>, fd: RawFd) -> PyResult<()> {
        let py = this.py();
        let listener = slf.get();
        let context = listener.context.clone_ref(py);
        call::within_context(py, &context, || {
            let batch = listener.next_batch(this.get().iteration());
            for _ in 0..batch {
                // A callback may have closed the server, and its descriptor with it.
                if !still_listening(this, slf, fd)? {
                    return Ok(());
                }
                // SAFETY: A8: the socket object is held by the listener, and has just said that this is its descriptor.
                let accepted = reactor::accept(unsafe { BorrowedFd::borrow_raw(fd) });
                match accepted {
                    Ok((descriptor, peer)) => listener.connected(this, descriptor, peer)?,
                    Err(error) if is_no_connection(&error) => return Ok(()),
                    Err(error) if is_out_of_resources(&error) => {
                        return listener.pause(this, fd, &error);
                    }
                    Err(error) => return Err(os_error(py, &error)),
                }
            }
            Ok(())
        })
    }

    /// How many connections to take in this iteration: see the header.
    fn next_batch(&self, iteration: u32) -> u32 {
        let last_turn = self.turn.swap(iteration, Ordering::Relaxed);
        let batch = if iteration.wrapping_sub(last_turn) == 1 {
            (self.batch.load(Ordering::Relaxed) * 2).clamp(1, MOST_PER_TURN)
        } else {
            1
        };
        self.batch.store(batch, Ordering::Relaxed);
        batch
    }

    fn connected(
        &self,
        this: &Bound<'_, Loop>,
        descriptor: OwnedFd,
        peer: Option<Address>,
    ) -> PyResult<()> {
        let py = this.py();
        let ssl_context = self.ssl_context.bind(py);
        let over_tls = !ssl_context.is_none();
        let hooks = match over_tls {
            true => Hooks::ACCEPTED_OVER_TLS,
            false => Hooks::ACCEPTED,
        };
        let native = !this.get().hooks.get().any(hooks)
            && !this.get().debug.get()
            && (!over_tls || ssl_context.is_truthy()?);
        if !native {
            return self.connected_in_python(this, descriptor, peer);
        }
        let server = self.server.bind(py);
        let context = self.connection_context(py)?;
        let factory = self.protocol_factory.bind(py);
        let protocol = match &context {
            Some(context) => context
                .bind(py)
                .call_method1(intern!(py, "run"), (factory,)),
            None => factory.call0(),
        };
        let made = protocol.and_then(|mut protocol| {
            if over_tls {
                protocol = self.over_tls(this, &protocol)?;
            }
            let options = Options {
                server: (!server.is_none()).then_some(&*server),
                context: context.as_ref().map(|context| context.clone_ref(py)),
                starts_itself: over_tls,
                ..Options::default()
            };
            let origin = Origin::Accepted {
                descriptor,
                peer,
                nodelay: self.nodelay,
            };
            Ok((new_stream(this, origin, &protocol, options)?, protocol))
        });
        match made {
            Ok((transport, protocol)) if over_tls => {
                let start = || Stream::start_tls(&transport, &protocol);
                match &context {
                    Some(context) => call::within_context(py, context, start),
                    None => start(),
                }
            }
            Ok(_) => Ok(()),
            Err(error) if call::ends_the_loop(py, &error) => Err(error),
            // As asyncio: reported in debug mode only, which does not come this way. The connection is closed.
            Err(_) => Ok(()),
        }
    }

    /// The TLS protocol between an accepted connection and the program's protocol.
    fn over_tls<'py>(
        &self,
        this: &Bound<'py, Loop>,
        protocol: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = this.py();
        let [handshake, shutdown] = &self.ssl_timeouts;
        let options = tls::Options {
            protocol,
            context: Some(&self.ssl_context.bind(py)),
            waiter: None,
            accepted: true,
            server_side: true,
            server_hostname: None,
            handshake_timeout: Some(&handshake.bind(py)),
            shutdown_timeout: Some(&shutdown.bind(py)),
            call_connection_made: true,
        };
        tls::new_protocol(this, &options)
    }

    /// A copy of the server's context for one connection, if the server has one.
    fn connection_context(&self, py: Python<'_>) -> PyResult<Option<Ref>> {
        let context = self.server_context.bind(py);
        if context.is_none() {
            return Ok(None);
        }
        let copy = context.call_method0(intern!(py, "copy"))?;
        Ok(Some(copy.into()))
    }

    /// An overridden hook, debug mode: `loop._accept_connection2`, in a task, as asyncio does.
    fn connected_in_python(
        &self,
        this: &Bound<'_, Loop>,
        descriptor: OwnedFd,
        peer: Option<Address>,
    ) -> PyResult<()> {
        let py = this.py();
        let socket = socket_of_accepted(&self.socket.bind(py), descriptor)?;
        let address = match &peer {
            Some(peer) => crate::address::to_python(py, peer)?,
            None => none(py),
        };
        if this.get().debug.get() {
            let logger = imports(py)?.logger.bind(py);
            let args = (
                "%r got a new connection from %r: %r",
                self.server.bind(py),
                address.bind(py),
                &socket,
            );
            logger.call_method1(intern!(py, "debug"), args)?;
        }
        let extra = make::dict(py)?;
        extra.set_item(intern!(py, "peername"), address.bind(py))?;
        let [handshake, shutdown] = &self.ssl_timeouts;
        let in_context = match self.connection_context(py)? {
            Some(context) => {
                let named = make::dict(py)?;
                named.set_item(intern!(py, "context"), context.bind(py))?;
                Some(named)
            }
            None => None,
        };
        let coroutine = this.call_method(
            intern!(py, "_accept_connection2"),
            (
                self.protocol_factory.bind(py),
                socket,
                extra,
                self.ssl_context.bind(py),
                self.server.bind(py),
                handshake.bind(py),
                shutdown.bind(py),
            ),
            in_context.as_ref(),
        )?;
        this.call_method(
            intern!(py, "create_task"),
            (coroutine,),
            in_context.as_ref(),
        )
        .map(drop)
    }

    /// Out of descriptors or memory: the kernel would report the socket for ever, so it rests for a second.
    fn pause(&self, this: &Bound<'_, Loop>, fd: RawFd, error: &io::Error) -> PyResult<()> {
        let py = this.py();
        let socket = self.socket.bind(py);
        let context = make::dict(py)?;
        context.set_item(
            intern!(py, "message"),
            make::string(py, "socket.accept() out of system resource")?,
        )?;
        context.set_item(intern!(py, "exception"), os_error(py, error).into_value(py))?;
        context.set_item(
            intern!(py, "socket"),
            imports(py)?.transport_socket.bind(py).call1((&socket,))?,
        )?;
        this.call_method1(intern!(py, "call_exception_handler"), (context,))?;
        this.get().unwatch(this, fd, Direction::Read)?;
        let [handshake, shutdown] = &self.ssl_timeouts;
        let args = (
            imports(py)?.accept_retry_delay,
            this.getattr(intern!(py, "_resume_serving"))?,
            self.protocol_factory.bind(py),
            socket,
            self.ssl_context.bind(py),
            self.server.bind(py),
            self.backlog,
            handshake.bind(py),
            shutdown.bind(py),
            self.server_context.bind(py),
        );
        this.call_method1(intern!(py, "call_later"), args).map(drop)
    }
}

impl Loop {
    /// The loop is closed: ends the handshakes of accepted connections, of which no program knows yet.
    pub(super) fn end_handshakes(&self, py: Python<'_>) -> PyResult<()> {
        let streams: Vec<Ref> = {
            let registry = self.registry.borrow();
            let streams = registry.watchers().filter_map(|watcher| match watcher {
                Watcher::Stream(stream) => Some(stream.clone_ref(py)),
                _ => None,
            });
            streams.collect()
        };
        let mut result = Ok(());
        for stream in streams {
            result = result.and(Stream::loop_closed(&stream.bind(py)));
        }
        result
    }

    /// `loop.call_soon(callback, *args)` from native code: the method itself where it is overridden.
    pub(crate) fn call_soon_native(
        this: &Bound<'_, Loop>,
        callback: Ref,
        args: Ref,
    ) -> PyResult<()> {
        Self::call_soon_in(this, callback, args, None)
    }

    /// The same with `context=`; without one, the callback runs in a copy of the current context.
    pub(crate) fn call_soon_in(
        this: &Bound<'_, Loop>,
        callback: Ref,
        args: Ref,
        context: Option<Ref>,
    ) -> PyResult<()> {
        let py = this.py();
        let state = this.get();
        if state.debug.get() || state.closed.get() || state.hooks.get().any(Hooks::CALL_SOON) {
            let mut all = vec![callback.into_bound(py)];
            all.extend(args.bind(py).cast::<PyTuple>()?.iter());
            let named = make::dict(py)?;
            if let Some(context) = context {
                named.set_item(intern!(py, "context"), context.bind(py))?;
            }
            let all = make::tuple(py, all)?;
            return this
                .call_method(intern!(py, "call_soon"), all, Some(&named))
                .map(drop);
        }
        let handle = handles::new_handle(py, this, callback, args, context)?;
        state.push_ready(super::Entry::Handle(handles::Queued::new(handle)));
        Ok(())
    }
}

/// Whether the listener is still the one that waits for the descriptor, and the descriptor that of its socket: one that
/// was closed behind the server's back may have left its number to another socket.
fn still_listening(
    this: &Bound<'_, Loop>,
    listener: &Bound<'_, Listener>,
    fd: RawFd,
) -> PyResult<bool> {
    let py = this.py();
    let registered = match this.get().registry.borrow().watcher(fd, Direction::Read) {
        Some(Watcher::Listener(known)) => known.as_ptr() == listener.as_ptr(),
        _ => false,
    };
    if !registered {
        return Ok(false);
    }
    let socket = listener.get().socket.bind(py);
    let now: RawFd = socket.call_method0(intern!(py, "fileno"))?.extract()?;
    if now != fd {
        this.get().unwatch(this, fd, Direction::Read)?;
    }
    Ok(now == fd)
}

fn is_no_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
    )
}

fn is_out_of_resources(error: &io::Error) -> bool {
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM]
        .iter()
        .any(|known| error.raw_os_error() == Some(known.raw_os_error()))
}
