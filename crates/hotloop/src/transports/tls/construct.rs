//! Making the TLS protocol with its transport, and what is told to it about the transport under it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use crate::python::make;
use hotloop_reactor::FlowControl;
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;

use crate::event_loop::Loop;
use crate::imports::imports;
use crate::python::guard::none;
use crate::python::make::Words;
use crate::python::{Ref, RefSlot};
use crate::tls::{Engine, names};
use crate::transports::object;
use crate::transports::stream::Stream;

use super::{Phase, Tls, Told, app};

/// The arguments of `asyncio.sslproto.SSLProtocol`.
pub(crate) struct Options<'a, 'py> {
    pub(crate) protocol: &'a Bound<'py, PyAny>,
    pub(crate) context: Option<&'a Bound<'py, PyAny>>,
    pub(crate) waiter: Option<&'a Bound<'py, PyAny>>,
    /// A connection of the accept loop: in place of a waiter.
    pub(crate) accepted: bool,
    pub(crate) server_side: bool,
    pub(crate) server_hostname: Option<&'a Bound<'py, PyAny>>,
    /// Seconds; `None` for asyncio's default.
    pub(crate) handshake_timeout: Option<&'a Bound<'py, PyAny>>,
    pub(crate) shutdown_timeout: Option<&'a Bound<'py, PyAny>>,
    /// False for `start_tls`: the protocol has been told already.
    pub(crate) call_connection_made: bool,
}

/// Makes a TLS protocol for a transport that does not know of it yet.
///
/// # Errors
/// `ValueError` for a timeout that is not positive, or a server without a context; what `wrap_bio` raises.
pub(crate) fn new_protocol<'py>(
    this: &Bound<'py, Loop>,
    options: &Options<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let names = names(py)?;
    let handshake_timeout = timeout(
        "ssl_handshake_timeout",
        options.handshake_timeout,
        names.handshake_timeout.bind(py).to_owned(),
    )?;
    let shutdown_timeout = timeout(
        "ssl_shutdown_timeout",
        options.shutdown_timeout,
        names.shutdown_timeout.bind(py).to_owned(),
    )?;
    let hostname = match options.server_hostname {
        Some(hostname) if !options.server_side && hostname.is_truthy()? => hostname.clone(),
        _ => py.None().into_bound(py),
    };
    let context = match options.context {
        Some(context) if context.is_truthy()? => context.clone(),
        _ => names
            .create_transport_context
            .bind(py)
            .call1((options.server_side, options.server_hostname))?,
    };
    let extra = make::dict(py)?;
    extra.set_item(intern!(py, "sslcontext"), &context)?;
    let (incoming, outgoing) = (
        names.memory_bio.bind(py).call0()?,
        names.memory_bio.bind(py).call0()?,
    );
    let named = make::dict(py)?;
    named.set_item(intern!(py, "server_side"), options.server_side)?;
    named.set_item(intern!(py, "server_hostname"), &hostname)?;
    let object = context.call_method(
        intern!(py, "wrap_bio"),
        (&incoming, &outgoing),
        Some(&named),
    )?;
    let engine = Engine::new(&object, &incoming, &outgoing)?;

    let tls = Tls {
        event_loop: RefSlot::new(Some(this.into())),
        app_protocol: RefSlot::default(),
        app_get_buffer: RefSlot::default(),
        app_buffer_updated: RefSlot::default(),
        app_transport: RefSlot::default(),
        transport: RefSlot::default(),
        native: Cell::new(false),
        waiter: RefSlot::new(
            options
                .waiter
                .filter(|waiter| !waiter.is_none())
                .map(Ref::from),
        ),
        accepted: Cell::new(options.accepted),
        context: context.into(),
        server_side: options.server_side,
        server_hostname: hostname.into(),
        handshake_timeout,
        shutdown_timeout,
        handshake_timer: RefSlot::default(),
        shutdown_timer: RefSlot::default(),
        handshake_start: Cell::new(None),
        extra: extra.into(),
        object: object.into(),
        engine,
        phase: Cell::new(Phase::Unwrapped),
        last_write: Cell::new(None),
        told: Cell::new(if options.call_connection_made {
            Told::Nothing
        } else {
            Told::Made
        }),
        lost: Cell::new(0),
        eof_received: Cell::new(false),
        backlog: RefCell::new(VecDeque::new()),
        backlog_size: Cell::new(0),
        in_hand: Cell::new(None),
        ssl_writing_paused: Cell::new(false),
        app_reading_paused: Cell::new(false),
        incoming: FlowControl::new(names.high_water_read),
        outgoing: FlowControl::new(names.high_water_write),
        receive_buffer: RefSlot::default(),
    };
    let protocol = object::allocate(imports(py)?.tls_types.protocol.bind(py), tls)?;
    let tls = Tls::of(&protocol);
    tls.set_app_protocol(options.protocol)?;
    let transport = app::new_transport(this, &protocol)?;
    drop(tls.app_transport.replace(Some(transport.into())));
    Ok(protocol)
}

impl Tls {
    /// `transport.set_protocol(protocol)` of the transport that the program has.
    pub(super) fn set_app_protocol(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = protocol.py();
        let buffered = protocol.hasattr(intern!(py, "get_buffer"))?
            && protocol.is_instance(&imports(py)?.buffered_protocol.bind(py))?;
        let bound = |name| -> PyResult<Option<Ref>> {
            Ok(buffered
                .then(|| protocol.getattr(name))
                .transpose()?
                .map(Ref::from))
        };
        let (get_buffer, buffer_updated) = (
            bound(intern!(py, "get_buffer"))?,
            bound(intern!(py, "buffer_updated"))?,
        );
        let replaced = (
            self.app_get_buffer.replace(get_buffer),
            self.app_buffer_updated.replace(buffer_updated),
            self.app_protocol.replace(Some(protocol.into())),
        );
        drop(replaced);
        Ok(())
    }

    /// The transport under us is there: the handshake begins.
    pub(crate) fn connection_made(
        &self,
        protocol: &Bound<'_, PyAny>,
        transport: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let native = self
            .event_loop(protocol.py())
            .is_some_and(|this| Stream::is_native_of(transport, &this));
        self.native.set(native);
        drop(self.transport.replace(Some(transport.into())));
        self.start_handshake(protocol)
    }

    /// The transport under us is gone.
    pub(super) fn connection_lost(
        &self,
        protocol: &Bound<'_, PyAny>,
        error: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = protocol.py();
        self.drop_waiting(py)?;
        self.lost.set(self.lost.get().saturating_add(1));
        // So that its finalizer does not complain.
        if let Some(transport) = self.app_transport.get(py) {
            app::connection_lost(&transport.bind(py));
        }
        let told = self.told.get();
        if self.phase.get() != Phase::Handshake && matches!(told, Told::Made | Told::Eof) {
            self.told.set(Told::Lost);
            if let (Some(this), Some(app)) = (self.event_loop(py), self.app_protocol.get(py)) {
                let lost = app.bind(py).getattr(intern!(py, "connection_lost"))?;
                let args = make::tuple(py, [error])?;
                Loop::call_soon_native(&this, lost.into(), args.into())?;
            }
        }
        self.phase.set(Phase::Unwrapped);
        self.native.set(false);
        let taken = (
            self.transport.take(),
            self.app_transport.take(),
            self.app_protocol.take(),
            self.app_get_buffer.take(),
            self.app_buffer_updated.take(),
        );
        let error = Some(error).filter(|error| !error.is_none());
        self.handshake_ended(py, taken.1.as_ref(), error)?;
        drop(taken);
        self.cancel_timer(py, &self.shutdown_timer)?;
        self.cancel_timer(py, &self.handshake_timer)
    }
}

fn timeout<'py>(
    name: &str,
    given: Option<&Bound<'py, PyAny>>,
    default: Bound<'py, PyAny>,
) -> PyResult<Ref> {
    let Some(given) = given.filter(|given| !given.is_none()) else {
        return Ok(default.into());
    };
    if given.le(0)? {
        return Err(PyValueError::new_err(Words(format!(
            "{name} should be a positive number, got {}",
            given.str()?
        ))));
    }
    Ok(given.into())
}

/// `None`, for attributes that are empty.
pub(super) fn or_none(py: Python<'_>, slot: &RefSlot) -> Ref {
    slot.get(py).unwrap_or_else(|| none(py))
}
