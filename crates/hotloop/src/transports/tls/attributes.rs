//! The TLS protocol's methods and attributes as Python sees them: what a transport calls, and what asyncio and
//! libraries look at.

use crate::python::make;
use pyo3::Borrowed;
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;

use crate::python::guard::{boolean, none};
use crate::python::heap_type::{attribute, getter, method_fast, method_noargs, method_one};
use crate::python::make::Words;
use crate::python::{Buffer, FastArguments, Ref};
use crate::tls::names;
use crate::transports::{error_and_message, object};

use super::construct::or_none;
use super::{Tls, app};

type Slf<'a, 'py> = Borrowed<'a, 'py, PyAny>;

#[rustfmt::skip] // a table
pub(super) fn methods() -> Vec<ffi::PyMethodDef> {
    vec![
        method_one!(c"connection_made", c"The transport under TLS is there: begin the handshake.", connection_made),
        method_one!(c"connection_lost", c"The transport under TLS is gone.", connection_lost),
        method_one!(c"get_buffer", c"Return memory to receive records into.", get_buffer),
        method_one!(c"buffer_updated", c"So many bytes of records were received.", buffer_updated),
        method_noargs!(c"eof_received", c"The transport under TLS has no more to receive.", eof_received),
        method_noargs!(c"pause_writing", c"The transport under TLS takes no more records.", pause_writing),
        method_noargs!(c"resume_writing", c"The transport under TLS takes records again.", resume_writing),
        method_noargs!(c"_get_app_transport", c"Return the transport that the program has.", get_app_transport),
        method_one!(c"_set_app_protocol", c"Set the program's protocol.", set_app_protocol),
        method_fast!(c"_get_extra_info", c"_get_extra_info($self, /, name, default=None)\n--\n\nReturn information about the connection.", get_extra_info),
        method_noargs!(c"_check_handshake_timeout", c"The time for the handshake is over.", check_handshake_timeout),
        method_noargs!(c"_check_shutdown_timeout", c"The time for the shutdown is over.", check_shutdown_timeout),
        method_noargs!(c"_start_shutdown", c"Flush, say goodbye to the peer, and close.", start_shutdown),
        method_noargs!(c"_do_read", c"Decrypt what was received and deliver it.", do_read),
        method_noargs!(c"_proceed", c"Do what the state asks for.", proceed),
        method_one!(c"_keep_received", c"Keep records that somebody else has received, before the handshake.", keep_received),
        method_noargs!(c"_proceed_reading", c"Reading was resumed.", proceed_reading),
        method_fast!(c"_abort", c"_abort($self, /, exc=None)\n--\n\nClose at once.", abort),
        method_fast!(c"_fatal_error", c"_fatal_error($self, /, exc, message='Fatal error on transport')\n--\n\nReport and close.", fatal_error),
    ]
}

#[rustfmt::skip] // a table
pub(super) fn getters() -> Vec<ffi::PyGetSetDef> {
    vec![
        object::dict_attribute(),
        attribute(c"_loop", getter!(get_loop), None),
        attribute(c"_transport", getter!(get_transport), None),
        attribute(c"_app_transport", getter!(get_app_transport_attribute), None),
        attribute(c"_app_protocol", getter!(get_app_protocol), None),
        attribute(c"_waiter", getter!(get_waiter), None),
        attribute(c"_sslobj", getter!(get_object), None),
        attribute(c"_sslcontext", getter!(get_context), None),
        attribute(c"_extra", getter!(get_extra), None),
        attribute(c"_server_side", getter!(is_server_side), None),
        attribute(c"_server_hostname", getter!(get_server_hostname), None),
        attribute(c"_ssl_handshake_timeout", getter!(get_handshake_timeout), None),
        attribute(c"_ssl_shutdown_timeout", getter!(get_shutdown_timeout), None),
        attribute(c"_state", getter!(get_state), None),
        attribute(c"_conn_lost", getter!(get_lost), None),
        attribute(c"_eof_received", getter!(is_eof_received), None),
        attribute(c"_app_reading_paused", getter!(is_app_reading_paused), None),
        attribute(c"_app_writing_paused", getter!(is_app_writing_paused), None),
        attribute(c"_ssl_reading_paused", getter!(is_ssl_reading_paused), None),
        attribute(c"_ssl_writing_paused", getter!(is_ssl_writing_paused), None),
        attribute(c"_incoming", getter!(get_incoming), None),
        attribute(c"_outgoing", getter!(get_outgoing), None),
        attribute(c"_write_buffer_size", getter!(get_backlog_size), None),
    ]
}

fn connection_made<'py>(py: Python<'py>, slf: Slf<'_, 'py>, other: Slf<'_, 'py>) -> PyResult<Ref> {
    Tls::of(&slf).connection_made(&slf, &other)?;
    Ok(none(py))
}

fn connection_lost<'py>(py: Python<'py>, slf: Slf<'_, 'py>, error: Slf<'_, 'py>) -> PyResult<Ref> {
    Tls::of(&slf).connection_lost(&slf, &error)?;
    Ok(none(py))
}

fn get_buffer<'py>(py: Python<'py>, slf: Slf<'_, 'py>, wanted: Slf<'_, 'py>) -> PyResult<Ref> {
    Tls::of(&slf).receive_memory(py, wanted.extract()?)
}

fn buffer_updated<'py>(py: Python<'py>, slf: Slf<'_, 'py>, count: Slf<'_, 'py>) -> PyResult<Ref> {
    Tls::of(&slf).buffer_updated(&slf, count.extract()?)?;
    Ok(none(py))
}

fn eof_received<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    let keep_open = Tls::of(&slf).transport_eof(&slf)?;
    Ok(if keep_open {
        boolean(py, true)
    } else {
        none(py)
    })
}

fn pause_writing<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Tls::of(&slf).pause_writing();
    Ok(none(py))
}

fn resume_writing<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Tls::of(&slf).resume_writing(&slf)?;
    Ok(none(py))
}

fn get_app_transport<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    match Tls::of(&slf).app_transport.get(py) {
        Some(transport) => Ok(transport),
        None => Err(PyRuntimeError::new_err(Words(
            "Creating _SSLProtocolTransport twice",
        ))),
    }
}

fn set_app_protocol<'py>(py: Python<'py>, slf: Slf<'_, 'py>, new: Slf<'_, 'py>) -> PyResult<Ref> {
    Tls::of(&slf).set_app_protocol(&new)?;
    Ok(none(py))
}

fn get_extra_info<'py>(
    py: Python<'py>,
    slf: Slf<'_, 'py>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    let [name, default] = arguments.named("_get_extra_info", ["name", "default"])?;
    let name = name.ok_or_else(|| PyTypeError::new_err(Words("_get_extra_info() needs a name")))?;
    let default = default.map_or_else(|| none(py), |default| (&*default).into());
    app::extra_info(&slf, &name, default)
}

fn check_handshake_timeout<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Tls::of(&slf).check_handshake_timeout(&slf)?;
    Ok(none(py))
}

fn check_shutdown_timeout<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Tls::of(&slf).check_shutdown_timeout(&slf)?;
    Ok(none(py))
}

fn start_shutdown<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Tls::of(&slf).start_shutdown(&slf)?;
    Ok(none(py))
}

fn do_read<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Tls::of(&slf).do_read(&slf)?;
    Ok(none(py))
}

fn proceed<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Tls::of(&slf).proceed(&slf)?;
    Ok(none(py))
}

fn proceed_reading<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Tls::of(&slf).proceed_reading(&slf)?;
    Ok(none(py))
}

fn abort<'py>(
    py: Python<'py>,
    slf: Slf<'_, 'py>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    let [error] = arguments.named("_abort", ["exc"])?;
    Tls::of(&slf).abort(&slf, error.as_deref())?;
    Ok(none(py))
}

fn fatal_error<'py>(
    py: Python<'py>,
    slf: Slf<'_, 'py>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    let (error, message) = error_and_message(arguments, "Fatal error on transport")?;
    Tls::of(&slf).fatal_error(&slf, PyErr::from_value(error), &message)?;
    Ok(none(py))
}

fn get_loop<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Ok(or_none(py, &Tls::of(&slf).event_loop))
}

fn get_transport<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Ok(or_none(py, &Tls::of(&slf).transport))
}

fn get_app_transport_attribute<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Ok(or_none(py, &Tls::of(&slf).app_transport))
}

fn get_app_protocol<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Ok(or_none(py, &Tls::of(&slf).app_protocol))
}

fn get_waiter<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Ok(or_none(py, &Tls::of(&slf).waiter))
}

fn get_object<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Ok(Tls::of(&slf).object.clone_ref(py))
}

fn get_context<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Ok(Tls::of(&slf).context.clone_ref(py))
}

fn get_extra<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Ok(Tls::of(&slf).extra.clone_ref(py))
}

fn is_server_side<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Ok(boolean(py, Tls::of(&slf).server_side))
}

fn get_server_hostname<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Ok(Tls::of(&slf).server_hostname.clone_ref(py))
}

fn get_handshake_timeout<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Ok(Tls::of(&slf).handshake_timeout.clone_ref(py))
}

fn get_shutdown_timeout<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Ok(Tls::of(&slf).shutdown_timeout.clone_ref(py))
}

/// A member of `asyncio.sslproto.SSLProtocolState`.
fn get_state<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    let name = Tls::of(&slf).phase.get().name();
    let name = make::string(py, name)?;
    Ok(names(py)?.states.bind(py).getattr(name)?.into())
}

fn get_lost<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Ok(make::number(py, Tls::of(&slf).lost.get().into())?.into())
}

fn is_eof_received<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Ok(boolean(py, Tls::of(&slf).eof_received.get()))
}

fn is_app_reading_paused<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Ok(boolean(py, Tls::of(&slf).app_reading_paused.get()))
}

fn is_app_writing_paused<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Ok(boolean(py, Tls::of(&slf).outgoing.is_paused()))
}

fn is_ssl_reading_paused<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Ok(boolean(py, Tls::of(&slf).incoming.is_paused()))
}

fn is_ssl_writing_paused<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Ok(boolean(py, Tls::of(&slf).ssl_writing_paused.get()))
}

fn keep_received<'py>(py: Python<'py>, slf: Slf<'_, 'py>, data: Slf<'_, 'py>) -> PyResult<Ref> {
    let data = Buffer::read(&data)?;
    Tls::of(&slf).engine.keep(py, data.bytes())?;
    Ok(none(py))
}

/// A `MemoryBIO`, or a stand-in that only tells `pending`.
fn get_incoming<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    let engine = &Tls::of(&slf).engine;
    match engine.memory_bios() {
        Some((incoming, _)) => Ok(incoming.clone_ref(py)),
        None => pending(py, engine.waiting_in(py)?),
    }
}

fn get_outgoing<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    let engine = &Tls::of(&slf).engine;
    match engine.memory_bios() {
        Some((_, outgoing)) => Ok(outgoing.clone_ref(py)),
        None => pending(py, engine.waiting_out(py)?),
    }
}

fn pending(py: Python<'_>, count: usize) -> PyResult<Ref> {
    let namespace = py
        .import("types")?
        .getattr(intern!(py, "SimpleNamespace"))?;
    let named = make::dict(py)?;
    named.set_item(intern!(py, "pending"), count)?;
    Ok(namespace.call((), Some(&named))?.into())
}

fn get_backlog_size<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Ok(make::size(py, Tls::of(&slf).backlog_size.get())?.into())
}
