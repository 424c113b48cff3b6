//! The transport's methods and attributes as Python sees them, public ones and those private ones that asyncio
//! itself and libraries look at.

use pyo3::Borrowed;
use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::python::guard::{boolean, none};
use crate::python::heap_type::{attribute, getter, method_fast, method_noargs, method_one, setter};
use crate::python::make::Words;
use crate::python::{FastArguments, Ref, make};
use crate::transports::flow::{self, Controlled};
use crate::transports::{common_methods, docs, error_and_message, object};

use super::info::get_extra_info;
use super::{Datagram, construct};

type Slf<'a, 'py> = Borrowed<'a, 'py, PyAny>;

#[rustfmt::skip] // a table
pub(super) fn methods() -> Vec<ffi::PyMethodDef> {
    let mut methods = common_methods!();
    methods.extend([
        method_fast!(c"sendto", docs::SENDTO, sendto),
        method_noargs!(c"close", docs::CLOSE, close),
        method_fast!(c"set_write_buffer_limits", docs::SET_LIMITS, flow::set_write_buffer_limits::<Datagram>),
        method_noargs!(c"get_write_buffer_limits", docs::GET_LIMITS, flow::get_write_buffer_limits::<Datagram>),
        method_noargs!(c"get_write_buffer_size", docs::GET_DATAGRAM_SIZE, flow::get_write_buffer_size::<Datagram>),
        method_noargs!(c"_start_reading", c"Begin to wait for datagrams.", construct::start_reading_method),
        method_noargs!(c"_read_ready", c"Receive once.", read_ready),
        method_noargs!(c"_deliver_received", c"Deliver what was received and kept.", deliver_received),
        method_noargs!(c"_sendto_ready", c"Send what is queued.", sendto_ready),
        method_noargs!(c"_maybe_pause_protocol", c"Call pause_writing() if the queue is too long.", maybe_pause_protocol),
        method_noargs!(c"_maybe_resume_protocol", c"Call resume_writing() if the queue is short enough.", maybe_resume_protocol),
        method_one!(c"_force_close", c"Close at once with an exception or None.", force_close),
        method_fast!(c"_fatal_error", c"_fatal_error($self, /, exc, message='Fatal error on transport')\n--\n\nReport and close.", fatal_error),
        method_one!(c"_call_connection_lost", c"Tell the protocol and close the socket.", call_connection_lost),
    ]);
    methods
}

#[rustfmt::skip] // a table
pub(super) fn getters() -> Vec<ffi::PyGetSetDef> {
    vec![
        object::dict_attribute(),
        attribute(c"_extra", getter!(get_extra), Some(setter!(set_extra, PyTypeError, "this attribute cannot be deleted"))),
        attribute(c"_sock", getter!(get_sock), None),
        attribute(c"_sock_fd", getter!(get_sock_fd), None),
        attribute(c"_loop", getter!(get_loop), None),
        attribute(c"_protocol", getter!(get_protocol), Some(setter!(set_protocol_attribute, PyTypeError, "this attribute cannot be deleted"))),
        attribute(c"_server", getter!(get_server), None),
        attribute(c"_address", getter!(get_address), Some(setter!(set_address, PyTypeError, "this attribute cannot be deleted"))),
        attribute(c"_buffer", getter!(get_buffer), None),
        attribute(c"_buffer_size", getter!(flow::get_write_buffer_size::<Datagram>), None),
        attribute(c"_closing", getter!(is_closing), None),
        attribute(c"_paused", getter!(is_paused), None),
        attribute(c"_conn_lost", getter!(get_lost), None),
        attribute(c"_protocol_connected", getter!(is_protocol_connected), None),
        attribute(c"_protocol_paused", getter!(flow::is_protocol_paused::<Datagram>), None),
        attribute(c"_high_water", getter!(flow::get_high_water::<Datagram>), Some(setter!(flow::set_high_water::<Datagram>, PyTypeError, "the marks of flow control cannot be deleted"))),
        attribute(c"_low_water", getter!(flow::get_low_water::<Datagram>), Some(setter!(flow::set_low_water::<Datagram>, PyTypeError, "the marks of flow control cannot be deleted"))),
    ]
}

fn sendto<'py>(
    py: Python<'py>,
    slf: Slf<'_, 'py>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    let (data, to) = match (arguments.positional_count(), arguments.keyword_count()) {
        (1 | 2, 0) => (arguments.get(0), arguments.get(1)),
        _ => {
            let [data, to] = arguments.named("sendto", ["data", "addr"])?;
            (data, to)
        }
    };
    let data = data.ok_or_else(|| {
        PyTypeError::new_err(Words(
            "sendto() missing 1 required positional argument: 'data'",
        ))
    })?;
    let none_given = none(py);
    let to = to.unwrap_or_else(|| none_given.bind(py));
    Datagram::of(&slf).sendto(&slf, &data, &to)?;
    Ok(none_given)
}

fn close<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Datagram::of(&slf).close(&slf)?;
    Ok(none(py))
}

fn abort<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Datagram::of(&slf).force_close(&slf, &py.None().into_bound(py))?;
    Ok(none(py))
}

fn force_close<'py>(py: Python<'py>, slf: Slf<'_, 'py>, error: Slf<'_, 'py>) -> PyResult<Ref> {
    Datagram::of(&slf).force_close(&slf, &error)?;
    Ok(none(py))
}

fn fatal_error<'py>(
    py: Python<'py>,
    slf: Slf<'_, 'py>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    let (error, message) = error_and_message(arguments, "Fatal error on transport")?;
    Datagram::of(&slf).fatal_error(&slf, PyErr::from_value(error), &message)?;
    Ok(none(py))
}

fn call_connection_lost<'py>(
    py: Python<'py>,
    slf: Slf<'_, 'py>,
    error: Slf<'_, 'py>,
) -> PyResult<Ref> {
    Datagram::of(&slf).connection_lost(&slf, Some(&error))?;
    Ok(none(py))
}

fn is_closing<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Ok(boolean(py, Datagram::of(&slf).closing.get()))
}

fn is_reading<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    let datagram = Datagram::of(&slf);
    let reading = !datagram.closing.get() && !datagram.reading_paused.get();
    Ok(boolean(py, reading))
}

fn pause_reading<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Datagram::of(&slf).pause_reading(&slf)?;
    Ok(none(py))
}

fn resume_reading<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Datagram::of(&slf).resume_reading(&slf)?;
    Ok(none(py))
}

fn read_ready<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Datagram::of(&slf).read_ready(&slf)?;
    Ok(none(py))
}

fn deliver_received<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Datagram::of(&slf).deliver_received(&slf)?;
    Ok(none(py))
}

fn sendto_ready<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Datagram::of(&slf).sendto_ready(&slf)?;
    Ok(none(py))
}

fn maybe_pause_protocol<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Datagram::of(&slf).maybe_pause_protocol(&slf)?;
    Ok(none(py))
}

fn maybe_resume_protocol<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Datagram::of(&slf).maybe_resume_protocol(&slf)?;
    Ok(none(py))
}

fn set_protocol<'py>(
    py: Python<'py>,
    slf: Slf<'_, 'py>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    let protocol = arguments.single("set_protocol", "protocol")?;
    let datagram = Datagram::of(&slf);
    datagram.protocol_connected.set(true);
    drop(datagram.protocol.replace(Some((&*protocol).into())));
    Ok(none(py))
}

fn get_protocol<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    let protocol = Datagram::of(&slf).protocol.get(py);
    Ok(protocol.unwrap_or_else(|| none(py)))
}

fn get_extra<'py>(_py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Ok(Datagram::of(&slf).extra(&slf)?.into())
}

fn set_extra<'py>(_py: Python<'py>, slf: Slf<'_, 'py>, value: Slf<'_, 'py>) -> PyResult<()> {
    object::replace_extra::<Datagram>(&slf, value.cast::<PyDict>()?.to_owned());
    Ok(())
}

fn get_sock<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    let datagram = Datagram::of(&slf);
    let socket = datagram.socket.get(py).filter(|_| datagram.open.get());
    Ok(socket.unwrap_or_else(|| none(py)))
}

fn get_sock_fd<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Ok(make::number(py, Datagram::of(&slf).fd.into())?.into())
}

fn get_loop<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    let event_loop = Datagram::of(&slf).event_loop.get(py);
    Ok(event_loop.unwrap_or_else(|| none(py)))
}

fn set_protocol_attribute<'py>(
    _py: Python<'py>,
    slf: Slf<'_, 'py>,
    value: Slf<'_, 'py>,
) -> PyResult<()> {
    drop(Datagram::of(&slf).protocol.replace(Some((&*value).into())));
    Ok(())
}

fn get_server<'py>(py: Python<'py>, _slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Ok(none(py))
}

fn get_address<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    let address = Datagram::of(&slf).address.get(py);
    Ok(address.unwrap_or_else(|| none(py)))
}

fn set_address<'py>(_py: Python<'py>, slf: Slf<'_, 'py>, value: Slf<'_, 'py>) -> PyResult<()> {
    let addressed = value.is_truthy()?;
    let datagram = Datagram::of(&slf);
    datagram.addressed.set(addressed);
    drop(datagram.address.replace(Some((&*value).into())));
    Ok(())
}

/// The queue as a deque of (data, address), a copy: looking at it must not change it.
fn get_buffer<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    let waiting: Vec<(Ref, Ref)> = Datagram::of(&slf)
        .queue
        .borrow()
        .iter()
        .map(|queued| (queued.data.clone_ref(py), queued.to.clone_ref(py)))
        .collect();
    let rows = make::list(py)?;
    for (data, to) in waiting {
        rows.append(make::tuple(py, [data.bind(py), to.bind(py)])?)?;
    }
    let deque = py.import("collections")?.getattr("deque")?;
    Ok(deque.call1((rows,))?.into())
}

fn is_paused<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Ok(boolean(py, Datagram::of(&slf).reading_paused.get()))
}

fn get_lost<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Ok(make::number(py, Datagram::of(&slf).lost.get().into())?.into())
}

fn is_protocol_connected<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Ok(boolean(py, Datagram::of(&slf).protocol_connected.get()))
}
