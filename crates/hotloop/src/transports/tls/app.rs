//! The transport that a program gets: what `asyncio.sslproto._SSLProtocolTransport` is in asyncio.

use std::cell::Cell;

use pyo3::exceptions::{PyNotImplementedError, PyResourceWarning, PyRuntimeError, PyTypeError};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyType};
use pyo3::{Borrowed, Bound};

use crate::event_loop::Loop;
use crate::imports::imports;
use crate::python::guard::{boolean, none};
use crate::python::heap_type::{
    HeapType, attribute, getter, method_fast, method_noargs, method_one, setter,
};
use crate::python::make::Words;
use crate::python::{FastArguments, Ref, RefSlot, call, make};
use crate::tls::names;
use crate::transports::object::{self, FlowControlSlots, Object, State};
use crate::transports::{common_methods, docs};

use super::construct::or_none;
use super::{Tls, flow, write};

type Slf<'a, 'py> = Borrowed<'a, 'py, PyAny>;

/// The state of the transport: all else is the protocol's.
pub(super) struct AppTransport {
    event_loop: RefSlot,
    /// The TLS protocol. The two refer to each other until the connection is lost; empty after `close()` was called
    /// on a closed transport, as a program does that is told of the end: then nothing more will be asked.
    protocol: RefSlot,
    closed: Cell<bool>,
    closed_again: Cell<bool>,
}

impl State for AppTransport {
    type Slots = FlowControlSlots;

    fn for_each_reference(&self, look: &mut dyn FnMut(&Ref)) {
        object::look_into(&[&self.event_loop, &self.protocol], look);
    }

    fn drop_references(&self) {
        let taken = (self.event_loop.take(), self.protocol.take());
        drop(taken);
    }

    /// Dropped without `close()`: the stdlib's `ResourceWarning`, in its words.
    fn finalize(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.closed.replace(true) {
            return Ok(());
        }
        let py = object.py();
        let protocol = self.protocol.get(py);
        if protocol.is_some_and(|protocol| Tls::of(&protocol.bind(py)).is_being_accepted()) {
            return Ok(()); // the program has never got it
        }
        let text = "unclosed transport <asyncio._SSLProtocolTransport object>";
        let text = make::string(py, text)?;
        // Taken at import: at interpreter shutdown nothing can be imported.
        let warn = crate::imports::imports(py)?.warn.bind(py);
        warn.call1((text, py.get_type::<PyResourceWarning>()))
            .map(drop)
    }
}

pub(super) fn make_type<'py>(base: &Bound<'py, PyType>) -> PyResult<Bound<'py, PyType>> {
    object::check::<AppTransport>(base)?;
    let made = HeapType {
        name: c"hotloop._core.SSLTransport",
        size: size_of::<Object<AppTransport>>(),
        flags: ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION,
        slots: object::slots::<AppTransport>(),
        methods: methods(),
        getters: vec![
            object::dict_attribute(),
            attribute(c"_loop", getter!(get_loop), None),
            attribute(c"_ssl_protocol", getter!(get_ssl_protocol), None),
            attribute(
                c"_closed",
                getter!(is_marked_closed),
                Some(setter!(
                    set_closed,
                    PyTypeError,
                    "cannot delete this attribute"
                )),
            ),
            attribute(c"_protocol_paused", getter!(is_protocol_paused), None),
        ],
        members: object::members::<AppTransport>(),
    }
    .build(base)?;
    made.setattr("_start_tls_compatible", true)?;
    let py = base.py();
    let modes = py.import("asyncio.constants")?.getattr("_SendfileMode")?;
    made.setattr("_sendfile_compatible", modes.getattr("FALLBACK")?)?;
    Ok(made)
}

/// Makes the transport of a TLS protocol.
pub(super) fn new_transport<'py>(
    this: &Bound<'py, Loop>,
    protocol: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let state = AppTransport {
        event_loop: RefSlot::new(Some(this.into())),
        protocol: RefSlot::new(Some(protocol.into())),
        closed: Cell::new(false),
        closed_again: Cell::new(false),
    };
    object::allocate(imports(py)?.tls_types.transport.bind(py), state)
}

/// The connection is closed or lost: `is_closing()` is true, and the finalizer has nothing to say.
pub(super) fn mark_closed(transport: &Bound<'_, PyAny>) {
    of(transport).closed.set(true);
}

/// The connection is lost.
pub(super) fn connection_lost(transport: &Bound<'_, PyAny>) {
    let state = of(transport);
    state.closed.set(true);
    if state.closed_again.get() {
        drop(state.protocol.take());
    }
}

fn of<'a>(object: &'a Bound<'_, PyAny>) -> &'a AppTransport {
    object::state(object)
}

/// The TLS protocol; `RuntimeError` after the end.
fn open<'py>(slf: &Slf<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    protocol(slf).ok_or_else(|| PyRuntimeError::new_err(Words("the transport is closed")))
}

/// The TLS protocol; nothing after the end.
fn protocol<'py>(slf: &Slf<'_, 'py>) -> Option<Bound<'py, PyAny>> {
    let py = slf.py();
    of(slf)
        .protocol
        .get(py)
        .map(|protocol| protocol.into_bound(py))
}

#[rustfmt::skip] // a table
fn methods() -> Vec<ffi::PyMethodDef> {
    let mut methods = common_methods!();
    methods.extend([
        method_fast!(c"write", docs::TLS_WRITE, write_method),
        method_fast!(c"writelines", docs::TLS_WRITELINES, writelines),
        method_noargs!(c"write_eof", docs::TLS_WRITE_EOF, write_eof),
        method_noargs!(c"can_write_eof", docs::TLS_CAN_WRITE_EOF, can_write_eof),
        method_noargs!(c"close", docs::TLS_CLOSE, close),
        method_fast!(c"set_write_buffer_limits", docs::SET_LIMITS, set_write_buffer_limits),
        method_noargs!(c"get_write_buffer_limits", docs::GET_LIMITS, get_write_buffer_limits),
        method_noargs!(c"get_write_buffer_size", docs::TLS_GET_SIZE, get_write_buffer_size),
        method_fast!(c"set_read_buffer_limits", docs::TLS_SET_READ_LIMITS, set_read_buffer_limits),
        method_noargs!(c"get_read_buffer_limits", docs::TLS_GET_READ_LIMITS, get_read_buffer_limits),
        method_noargs!(c"get_read_buffer_size", docs::TLS_GET_READ_SIZE, get_read_buffer_size),
        method_one!(c"_force_close", c"Close at once with an exception or None.", force_close),
        method_one!(c"_test__append_write_backlog", c"For asyncio's tests: as if the data had been written before the handshake.", append_backlog),
    ]);
    methods
}

fn write_method<'py>(
    py: Python<'py>,
    slf: Slf<'_, 'py>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    let data = arguments.single("write", "data")?;
    match protocol(&slf) {
        Some(protocol) => Tls::of(&protocol).write(&protocol, &data)?,
        None => write::check_type(&data)?,
    }
    Ok(none(py))
}

fn writelines<'py>(
    py: Python<'py>,
    slf: Slf<'_, 'py>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    let list = arguments.single("writelines", "list_of_data")?;
    if let Some(protocol) = protocol(&slf) {
        Tls::of(&protocol).writelines(&protocol, &list)?;
    }
    Ok(none(py))
}

fn write_eof<'py>(_: Python<'py>, _: Slf<'_, 'py>) -> PyResult<Ref> {
    Err(PyNotImplementedError::new_err(()))
}

fn can_write_eof<'py>(py: Python<'py>, _: Slf<'_, 'py>) -> PyResult<Ref> {
    Ok(boolean(py, false))
}

fn close<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    let state = of(&slf);
    let again = state.closed.replace(true);
    let Some(protocol) = protocol(&slf) else {
        return Ok(none(py));
    };
    let tls = Tls::of(&protocol);
    if !again {
        tls.note_close(py);
        tls.start_shutdown(&protocol)?;
    } else if tls.transport.is_some() {
        state.closed_again.set(true);
    } else {
        drop(state.protocol.take());
    }
    Ok(none(py))
}

fn abort<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    of(&slf).closed.set(true);
    if let Some(protocol) = protocol(&slf) {
        Tls::of(&protocol).abort(&protocol, None)?;
    }
    Ok(none(py))
}

fn force_close<'py>(py: Python<'py>, slf: Slf<'_, 'py>, error: Slf<'_, 'py>) -> PyResult<Ref> {
    of(&slf).closed.set(true);
    if let Some(protocol) = protocol(&slf) {
        Tls::of(&protocol).abort(&protocol, Some(&error))?;
    }
    Ok(none(py))
}

fn is_closing<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    if of(&slf).closed.get() {
        return Ok(boolean(py, true));
    }
    let below = protocol(&slf)
        .filter(|_| names(py).is_ok_and(|names| names.closing_follows_transport))
        .and_then(|protocol| Tls::of(&protocol).transport.get(py));
    match below {
        Some(below) => Ok(call::call_method0(&below, intern!(py, "is_closing"))?),
        None => Ok(boolean(py, false)),
    }
}

fn is_marked_closed<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Ok(boolean(py, of(&slf).closed.get()))
}

fn is_reading<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    let reading = protocol(&slf).is_some_and(|tls| !Tls::of(&tls).app_reading_paused.get());
    Ok(boolean(py, reading))
}

fn pause_reading<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    if let Some(protocol) = protocol(&slf) {
        Tls::of(&protocol).app_reading_paused.set(true);
    }
    Ok(none(py))
}

fn resume_reading<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    if let Some(protocol) = protocol(&slf) {
        Tls::of(&protocol).resume_reading(&protocol)?;
    }
    Ok(none(py))
}

fn set_protocol<'py>(
    py: Python<'py>,
    slf: Slf<'_, 'py>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    let new = arguments.single("set_protocol", "protocol")?;
    if let Some(protocol) = protocol(&slf) {
        Tls::of(&protocol).set_app_protocol(&new)?;
    }
    Ok(none(py))
}

fn get_protocol<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Ok(protocol(&slf).map_or_else(
        || none(py),
        |protocol| or_none(py, &Tls::of(&protocol).app_protocol),
    ))
}

fn get_extra_info<'py>(
    py: Python<'py>,
    slf: Slf<'_, 'py>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    let [name, default] = arguments.named("get_extra_info", ["name", "default"])?;
    let Some(name) = name else {
        return Err(PyTypeError::new_err(Words(
            "_SSLProtocolTransport.get_extra_info() missing 1 required positional argument: 'name'",
        )));
    };
    let default = default.map_or_else(|| none(py), |default| (&*default).into());
    match protocol(&slf) {
        Some(protocol) => extra_info(&protocol, &name, default),
        None => Ok(default),
    }
}

/// What the TLS protocol knows, or else the transport under it.
pub(super) fn extra_info(
    protocol: &Bound<'_, PyAny>,
    name: &Bound<'_, PyAny>,
    default: Ref,
) -> PyResult<Ref> {
    let py = protocol.py();
    let tls = Tls::of(protocol);
    if let Some(value) = tls.extra.bind(py).cast::<PyDict>()?.get_item(name)? {
        return Ok(value.into());
    }
    if name.eq(intern!(py, "tls_engine"))? {
        return Ok(PyString::intern(py, tls.engine.name()).into());
    }
    match tls.transport.get(py) {
        Some(transport) => Ok(transport
            .bind(py)
            .call_method1(intern!(py, "get_extra_info"), (name, default.bind(py)))?
            .into()),
        None => Ok(default),
    }
}

fn set_write_buffer_limits<'py>(
    py: Python<'py>,
    slf: Slf<'_, 'py>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    let [high, low] = arguments.named("set_write_buffer_limits", ["high", "low"])?;
    let (high, low) = (high.as_deref(), low.as_deref());
    let protocol = open(&slf)?;
    let tls = Tls::of(&protocol);
    flow::set_marks(&tls.outgoing, high, low, names(py)?.high_water_write, py)?;
    tls.control_app_writing(&protocol)?;
    Ok(none(py))
}

fn get_write_buffer_limits<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    let protocol = open(&slf)?;
    let flow = &Tls::of(&protocol).outgoing;
    Ok(make::sizes(py, (flow.low(), flow.high()))?.into())
}

fn get_write_buffer_size<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    let size = match protocol(&slf) {
        Some(protocol) => Tls::of(&protocol).write_buffer_size(py)?,
        None => 0,
    };
    Ok(make::size(py, size)?.into())
}

fn set_read_buffer_limits<'py>(
    py: Python<'py>,
    slf: Slf<'_, 'py>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    let [high, low] = arguments.named("set_read_buffer_limits", ["high", "low"])?;
    let (high, low) = (high.as_deref(), low.as_deref());
    let protocol = open(&slf)?;
    let tls = Tls::of(&protocol);
    flow::set_marks(&tls.incoming, high, low, names(py)?.high_water_read, py)?;
    tls.control_ssl_reading(&protocol)?;
    Ok(none(py))
}

fn get_read_buffer_limits<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    let protocol = open(&slf)?;
    let flow = &Tls::of(&protocol).incoming;
    Ok(make::sizes(py, (flow.low(), flow.high()))?.into())
}

fn get_read_buffer_size<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    let size = match protocol(&slf) {
        Some(protocol) => Tls::of(&protocol).engine.waiting_in(py)?,
        None => 0,
    };
    Ok(make::size(py, size)?.into())
}

fn append_backlog<'py>(py: Python<'py>, slf: Slf<'_, 'py>, data: Slf<'_, 'py>) -> PyResult<Ref> {
    Tls::of(&open(&slf)?).append_backlog(&data);
    Ok(none(py))
}

fn get_loop<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Ok(or_none(py, &of(&slf).event_loop))
}

fn get_ssl_protocol<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Ok(or_none(py, &of(&slf).protocol))
}

fn is_protocol_paused<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    let paused = protocol(&slf).is_some_and(|tls| Tls::of(&tls).outgoing.is_paused());
    Ok(boolean(py, paused))
}

fn set_closed<'py>(_py: Python<'py>, slf: Slf<'_, 'py>, value: Slf<'_, 'py>) -> PyResult<()> {
    of(&slf).closed.set(value.is_truthy()?);
    Ok(())
}
