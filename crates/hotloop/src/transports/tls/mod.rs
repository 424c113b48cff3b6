//! The native TLS transport: a protocol that stands on another transport, and the transport that it offers.
//!
//! The state machine, the moments of its callbacks and the words of its errors are those of `asyncio.sslproto`:
//! [`Tls`] is what `SSLProtocol` is there, an `asyncio.BufferedProtocol` that any transport can drive; and
//! [`app::AppTransport`] is what a program gets. On a native stream transport of the same loop the two meet without
//! Python in between: received bytes go from the loop's buffer to OpenSSL, records to the stream's `send`.
//!
//! Flow control counts the whole stack: plain text that waits, records that wait, and what a native stream under us
//! has not sent yet.

mod app;
mod attributes;
mod construct;
mod flow;
mod handshake;
mod read;
mod shutdown;
mod write;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use hotloop_reactor::FlowControl;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyTuple, PyType};

use crate::event_loop::Loop;
use crate::imports::imports;
use crate::python::heap_type::HeapType;
use crate::python::make::Words;
use crate::python::{Ref, RefSlot};
use crate::tls::{Engine, names};
use crate::transports::max_size;
use crate::transports::object::{self, Object, Slots, State};
use crate::transports::reports::{self, Named};

pub(crate) use construct::{Options, new_protocol};
use write::Plain;

/// `asyncio.sslproto.SSLProtocolState`.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Phase {
    Unwrapped,
    Handshake,
    Wrapped,
    Flushing,
    Shutdown,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Self::Unwrapped => "UNWRAPPED",
            Self::Handshake => "DO_HANDSHAKE",
            Self::Wrapped => "WRAPPED",
            Self::Flushing => "FLUSHING",
            Self::Shutdown => "SHUTDOWN",
        }
    }
}

/// `asyncio.sslproto.AppProtocolState`: how far the program's protocol was told.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Told {
    Nothing,
    Made,
    Eof,
    Lost,
}

/// The state of one TLS connection.
pub(crate) struct Tls {
    event_loop: RefSlot,
    app_protocol: RefSlot,
    /// Its `get_buffer` and `buffer_updated`, as they were when it was set, if it is a `BufferedProtocol`.
    app_get_buffer: RefSlot,
    app_buffer_updated: RefSlot,
    app_transport: RefSlot,
    /// The transport under us.
    transport: RefSlot,
    /// Whether that is a native stream transport of the same loop: set together with `transport`, and both are reset by
    /// `connection_lost` without Python code in between (A5), so that one is what the other says.
    native: Cell<bool>,
    waiter: RefSlot,
    /// Whether the accept loop is who waits, until it has been told.
    accepted: Cell<bool>,
    context: Ref,
    server_side: bool,
    server_hostname: Ref,
    handshake_timeout: Ref,
    shutdown_timeout: Ref,
    handshake_timer: RefSlot,
    shutdown_timer: RefSlot,
    /// When the handshake began, in seconds of the loop's clock; noted in debug mode.
    handshake_start: Cell<Option<f64>>,
    /// What `get_extra_info` knows beyond the transport under us: a dict.
    extra: Ref,
    /// The `ssl.SSLObject`.
    object: Ref,
    engine: Engine,
    phase: Cell<Phase>,
    /// The callback that wrote last, as the loop numbers them.
    last_write: Cell<Option<u32>>,
    told: Cell<Told>,
    lost: Cell<u32>,
    eof_received: Cell<bool>,
    /// Plain text that could not be encrypted yet, with how much of the first piece was.
    backlog: RefCell<VecDeque<Plain>>,
    /// The bytes in it.
    backlog_size: Cell<usize>,
    /// While plain text is being encrypted: how many bytes are left of the piece that was taken out for that.
    in_hand: Cell<Option<usize>>,
    /// The transport under us has asked us to pause writing.
    ssl_writing_paused: Cell<bool>,
    app_reading_paused: Cell<bool>,
    /// Whether we have asked the transport under us to pause reading, and when to.
    incoming: FlowControl,
    /// Whether we have asked the program to pause writing, and when to.
    outgoing: FlowControl,
    /// A bytearray that a foreign transport receives into, made when one asks.
    receive_buffer: RefSlot,
}

/// The two types.
pub(crate) struct TlsTypes {
    /// Over `asyncio.BufferedProtocol`.
    pub(crate) protocol: Py<PyType>,
    /// Over `asyncio.transports._FlowControlMixin`, as asyncio's own.
    pub(crate) transport: Py<PyType>,
}

pub(crate) fn make_types(py: Python<'_>) -> PyResult<TlsTypes> {
    let base = |module: &str, name: &str| -> PyResult<Bound<'_, PyType>> {
        Ok(py.import(module)?.getattr(name)?.cast_into::<PyType>()?)
    };
    let protocol_base = base("asyncio.protocols", "BufferedProtocol")?;
    object::check::<Tls>(&protocol_base)?;
    let protocol = HeapType {
        name: c"hotloop._core.SSLProtocol",
        size: size_of::<Object<Tls>>(),
        flags: ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION,
        slots: object::slots::<Tls>(),
        methods: attributes::methods(),
        getters: attributes::getters(),
        members: object::members::<Tls>(),
    }
    .build(&protocol_base)?;
    max_size::add_constant(&protocol)?;
    let transport = app::make_type(&base("asyncio.transports", "_FlowControlMixin")?)?;
    Ok(TlsTypes {
        protocol: protocol.unbind(),
        transport: transport.unbind(),
    })
}

impl Tls {
    /// The state inside a protocol object.
    pub(crate) fn of<'a>(object: &'a Bound<'_, PyAny>) -> &'a Self {
        object::state(object)
    }

    /// Whether an object is a protocol of this type.
    pub(crate) fn is_tls(object: &Bound<'_, PyAny>) -> bool {
        imports(object.py()).is_ok_and(|imports| object.get_type().is(&imports.tls_types.protocol))
    }

    /// The loop.
    fn event_loop<'py>(&self, py: Python<'py>) -> Option<Bound<'py, Loop>> {
        let event_loop = self.event_loop.get(py)?;
        // SAFETY: A4: only `new_protocol` stores it, and it is given a `Loop`.
        Some(unsafe { event_loop.into_bound(py).cast_into_unchecked() })
    }

    fn is_debugging(&self, py: Python<'_>) -> bool {
        self.event_loop(py)
            .is_some_and(|this| this.get().debug.get())
    }

    /// Goes to another state of the machine.
    ///
    /// # Errors
    /// `RuntimeError` if there is no way from here to there.
    fn enter(&self, next: Phase) -> PyResult<()> {
        use Phase::{Flushing, Handshake, Shutdown, Unwrapped, Wrapped};
        let now = self.phase.get();
        let allowed = matches!(
            (now, next),
            (_, Unwrapped)
                | (Unwrapped, Handshake)
                | (Handshake, Wrapped)
                | (Wrapped, Flushing)
                | (Flushing, Shutdown)
        );
        if !allowed {
            let message = format!(
                "cannot switch state from SSLProtocolState.{} to SSLProtocolState.{}",
                now.name(),
                next.name()
            );
            return Err(pyo3::exceptions::PyRuntimeError::new_err(Words(message)));
        }
        self.phase.set(next);
        Ok(())
    }

    /// Calls one of our own methods in the next iteration.
    fn call_soon(&self, protocol: &Bound<'_, PyAny>, method: &str) -> PyResult<()> {
        let py = protocol.py();
        let Some(this) = self.event_loop(py) else {
            return Ok(());
        };
        let callback = protocol.getattr(method)?;
        Loop::call_soon_native(&this, callback.into(), PyTuple::empty(py).into())
    }

    /// After an OpenSSL operation: does what somebody wanted meanwhile, in the next iteration (T6).
    fn after_operation(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.engine.turn().take_wanted() {
            self.call_soon(protocol, "_proceed")
        } else {
            Ok(())
        }
    }

    /// Does what the state asks for: records have come, or an operation was put off.
    fn proceed(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        match self.phase.get() {
            Phase::Unwrapped => Ok(()),
            Phase::Handshake => self.do_handshake(protocol),
            Phase::Wrapped => self.do_read(protocol),
            Phase::Flushing => self.do_flush(protocol),
            Phase::Shutdown => self.do_shutdown(protocol),
        }
    }

    /// An error after which the connection is useless.
    fn fatal_error(
        &self,
        protocol: &Bound<'_, PyAny>,
        error: PyErr,
        message: &str,
    ) -> PyResult<()> {
        self.end_with(protocol, error, message, true)
    }

    /// The same; `raised` says whether the error was caught: otherwise asyncio's log entry has no traceback.
    fn end_with(
        &self,
        protocol: &Bound<'_, PyAny>,
        error: PyErr,
        message: &str,
        raised: bool,
    ) -> PyResult<()> {
        let py = protocol.py();
        let is_os_error = error.is_instance_of::<pyo3::exceptions::PyOSError>(py);
        let is_cancelled = error.matches(py, names(py)?.cancelled_error.bind(py))?;
        let exception = error.into_value(py).into_bound(py).into_any();
        let transport = self.transport.get(py);
        if let Some(transport) = &transport {
            let transport = transport.bind(py);
            transport.call_method1(intern!(py, "_force_close"), (&exception,))?;
        }
        let Some(this) = self.event_loop(py) else {
            return Ok(());
        };
        if is_os_error {
            let shown = if raised {
                exception
            } else {
                PyBool::new(py, true).to_owned().into_any() // the exception that is being handled: none
            };
            reports::log_error(&this, protocol, message, &shown)?;
        } else if !is_cancelled {
            let transport = transport.map(|it| it.into_bound(py));
            let named = Named {
                transport: transport.as_ref(),
                protocol: Some(protocol),
            };
            named.report(&this, message, &exception)?;
        }
        Ok(())
    }

    /// The value of a result, with `except Exception` around it: the error closes the connection.
    fn or_fatal(
        &self,
        protocol: &Bound<'_, PyAny>,
        result: PyResult<()>,
        message: &str,
    ) -> PyResult<()> {
        match result {
            Err(error) if error.is_instance_of::<pyo3::exceptions::PyException>(protocol.py()) => {
                self.fatal_error(protocol, error, message)
            }
            result => result,
        }
    }

    /// Whether the connection was accepted and the handshake is not over: the program does not know it yet.
    pub(crate) fn is_being_accepted(&self) -> bool {
        self.accepted.get()
    }

    /// What `_accept_connection2` does with a connection that has failed: closes the program's transport, in the next
    /// iteration. (It also reports in debug mode; then the method itself is what waits.)
    fn accept_failed(&self, py: Python<'_>, transport: Option<&Ref>) -> PyResult<()> {
        let (Some(this), Some(transport)) = (self.event_loop(py), transport) else {
            return Ok(());
        };
        let close = transport.bind(py).getattr(intern!(py, "close"))?;
        Loop::call_soon_native(&this, close.into(), PyTuple::empty(py).into())
    }

    /// Tells who waits for the handshake how it ended; `transport` is the program's.
    fn handshake_ended(
        &self,
        py: Python<'_>,
        transport: Option<&Ref>,
        error: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        if self.accepted.take() && error.is_some() {
            self.accept_failed(py, transport)?;
        }
        let Some(waiter) = self.waiter.take() else {
            return Ok(());
        };
        let waiter = waiter.bind(py);
        if waiter.call_method0(intern!(py, "cancelled"))?.is_truthy()? {
            return Ok(());
        }
        match error {
            Some(error) => waiter.call_method1(intern!(py, "set_exception"), (error,)),
            None => waiter.call_method1(intern!(py, "set_result"), (py.None(),)),
        }
        .map(drop)
    }

    fn cancel_timer(&self, py: Python<'_>, timer: &RefSlot) -> PyResult<()> {
        match timer.take() {
            Some(timer) => timer.bind(py).call_method0(intern!(py, "cancel")).map(drop),
            None => Ok(()),
        }
    }
}

impl State for Tls {
    type Slots = Slots<0>;

    fn for_each_reference(&self, look: &mut dyn FnMut(&Ref)) {
        object::look_into(&self.slots(), look);
        for object in [&self.context, &self.extra, &self.object] {
            look(object);
        }
        self.engine.for_each_reference(look);
    }

    fn drop_references(&self) {
        let taken: Vec<_> = self.slots().iter().map(|slot| slot.take()).collect();
        drop(taken);
    }
}

impl Tls {
    fn slots(&self) -> [&RefSlot; 10] {
        [
            &self.event_loop,
            &self.app_protocol,
            &self.app_get_buffer,
            &self.app_buffer_updated,
            &self.app_transport,
            &self.transport,
            &self.waiter,
            &self.handshake_timer,
            &self.shutdown_timer,
            &self.receive_buffer,
        ]
    }
}
