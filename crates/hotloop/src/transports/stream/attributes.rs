//! The transport's methods and attributes as Python sees them, public ones and those private ones that asyncio
//! itself and libraries look at.

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMemoryView, PyType};
use pyo3::{Borrowed, intern};

use crate::address;
use crate::imports::imports;
use crate::python::guard::{boolean, none};
use crate::python::heap_type::{attribute, getter, method_fast, method_noargs, method_one, setter};
use crate::python::make::Words;
use crate::python::{FastArguments, Ref, make};
use crate::transports::flow::{self, Controlled};
use crate::transports::{common_methods, docs, error_and_message, max_size, object};

use super::{Stream, construct};

type Slf<'a, 'py> = Borrowed<'a, 'py, PyAny>;

#[rustfmt::skip] // a table
pub(super) fn methods() -> Vec<ffi::PyMethodDef> {
    let mut methods = common_methods!();
    methods.extend([
        method_fast!(c"write", docs::WRITE, write),
        method_fast!(c"writelines", docs::WRITELINES, writelines),
        method_noargs!(c"write_eof", docs::WRITE_EOF, write_eof),
        method_noargs!(c"can_write_eof", docs::CAN_WRITE_EOF, can_write_eof),
        method_noargs!(c"close", docs::CLOSE, close),
        method_fast!(c"set_write_buffer_limits", docs::SET_LIMITS, flow::set_write_buffer_limits::<Stream>),
        method_noargs!(c"get_write_buffer_limits", docs::GET_LIMITS, flow::get_write_buffer_limits::<Stream>),
        method_noargs!(c"get_write_buffer_size", docs::GET_SIZE, flow::get_write_buffer_size::<Stream>),
        method_noargs!(c"_start_reading", c"Begin to wait for data.", construct::start_reading_method),
        method_noargs!(c"_read_ready", c"Receive once.", read_ready),
        method_noargs!(c"_write_ready", c"Send what is queued once.", write_ready),
        method_one!(c"_force_close", c"Close at once with an exception or None.", force_close),
        method_fast!(c"_fatal_error", c"_fatal_error($self, /, exc, message='Fatal error on transport')\n--\n\nReport and close.", fatal_error),
        method_one!(c"_call_connection_lost", c"Tell the protocol and close the socket.", call_connection_lost),
        method_noargs!(c"_make_empty_waiter", c"Return a future that is done when nothing is queued.", make_empty_waiter),
        method_noargs!(c"_reset_empty_waiter", c"Allow writing again.", reset_empty_waiter),
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
        attribute(c"_read_ready_cb", getter!(get_read_ready), None),
        attribute(c"_loop", getter!(get_loop), None),
        attribute(c"_protocol", getter!(get_protocol_or_none), Some(setter!(set_protocol_attribute, PyTypeError, "this attribute cannot be deleted"))),
        attribute(c"_server", getter!(get_server), None),
        attribute(c"_buffer", getter!(get_buffer), None),
        attribute(c"_closing", getter!(is_closing), None),
        attribute(c"_paused", getter!(is_paused), None),
        attribute(c"_eof", getter!(is_eof_written), None),
        attribute(c"_conn_lost", getter!(get_lost), None),
        attribute(c"_empty_waiter", getter!(get_empty_waiter), None),
        attribute(c"_protocol_connected", getter!(is_protocol_connected), None),
        attribute(c"_protocol_paused", getter!(flow::is_protocol_paused::<Stream>), None),
        attribute(c"_high_water", getter!(flow::get_high_water::<Stream>), Some(setter!(flow::set_high_water::<Stream>, PyTypeError, "the marks of flow control cannot be deleted"))),
        attribute(c"_low_water", getter!(flow::get_low_water::<Stream>), Some(setter!(flow::set_low_water::<Stream>, PyTypeError, "the marks of flow control cannot be deleted"))),
    ]
}

/// What `loop.start_tls` and `loop.sendfile` look at, and the size of one read.
pub(super) fn add_constants(class: &Bound<'_, PyType>) -> PyResult<()> {
    let py = class.py();
    let modes = py.import("asyncio.constants")?.getattr("_SendfileMode")?;
    class.setattr("_sendfile_compatible", modes.getattr("TRY_NATIVE")?)?;
    class.setattr("_start_tls_compatible", true)?;
    max_size::add_constant(class)
}

fn write<'py>(
    py: Python<'py>,
    slf: Slf<'_, 'py>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    let data = arguments.single("write", "data")?;
    Stream::of(&slf).write(&slf, &data)?;
    Ok(none(py))
}

fn writelines<'py>(
    py: Python<'py>,
    slf: Slf<'_, 'py>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    let list = arguments.single("writelines", "list_of_data")?;
    match Stream::of(&slf).writelines(&slf, &list) {
        Err(error) if error.is_instance_of::<PyTypeError>(py) && is_nothing(&list)? => {}
        result => result?,
    }
    Ok(none(py))
}

/// From 3.12 on asyncio looks first whether there is anything to write, and takes `None` or 0 for nothing.
fn is_nothing(list: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(list.py().version_info() >= (3, 12) && !list.is_truthy()?)
}

fn write_eof<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Stream::of(&slf).write_eof(&slf)?;
    Ok(none(py))
}

fn can_write_eof<'py>(py: Python<'py>, _slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Ok(boolean(py, true))
}

fn close<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Stream::of(&slf).close(&slf)?;
    Ok(none(py))
}

fn abort<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Stream::of(&slf).force_close(&slf, &py.None().into_bound(py))?;
    Ok(none(py))
}

fn force_close<'py>(py: Python<'py>, slf: Slf<'_, 'py>, error: Slf<'_, 'py>) -> PyResult<Ref> {
    Stream::of(&slf).force_close(&slf, &error)?;
    Ok(none(py))
}

fn fatal_error<'py>(
    py: Python<'py>,
    slf: Slf<'_, 'py>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    let (error, message) = error_and_message(arguments, "Fatal error on transport")?;
    Stream::of(&slf).fatal_error(&slf, PyErr::from_value(error), &message)?;
    Ok(none(py))
}

fn call_connection_lost<'py>(
    py: Python<'py>,
    slf: Slf<'_, 'py>,
    error: Slf<'_, 'py>,
) -> PyResult<Ref> {
    Stream::of(&slf).connection_lost(&slf, Some(&error))?;
    Ok(none(py))
}

fn is_closing<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Stream::of(&slf).settle(&slf)?;
    Ok(boolean(py, Stream::of(&slf).closing.get()))
}

fn is_reading<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    let stream = Stream::of(&slf);
    Ok(boolean(
        py,
        !stream.closing.get() && !stream.reading_paused.get(),
    ))
}

fn pause_reading<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Stream::of(&slf).pause_reading(&slf)?;
    Ok(none(py))
}

fn resume_reading<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Stream::of(&slf).resume_reading(&slf)?;
    Ok(none(py))
}

fn read_ready<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Stream::of(&slf).read_ready(&slf)?;
    Ok(none(py))
}

fn write_ready<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Stream::of(&slf).write_ready(&slf)?;
    Ok(none(py))
}

fn set_protocol<'py>(
    py: Python<'py>,
    slf: Slf<'_, 'py>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    Stream::of(&slf).settle(&slf)?;
    let protocol = arguments.single("set_protocol", "protocol")?;
    Stream::of(&slf).set_protocol(&protocol)?;
    Ok(none(py))
}

fn get_protocol<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Ok(Stream::of(&slf)
        .protocol
        .get(py)
        .unwrap_or_else(|| none(py)))
}

fn get_extra_info<'py>(
    py: Python<'py>,
    slf: Slf<'_, 'py>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    let [name, default] = arguments.named("get_extra_info", ["name", "default"])?;
    let Some(name) = name else {
        return Err(PyTypeError::new_err(Words(
            "BaseTransport.get_extra_info() missing 1 required positional argument: 'name'",
        )));
    };
    Stream::of(&slf).settle(&slf)?;
    let extra = Stream::of(&slf).extra(&slf)?;
    if let Some(value) = extra.get_item(name)? {
        return Ok(value.into());
    }
    if name.eq(intern!(name.py(), "socket"))? {
        let socket = Stream::of(&slf).socket_for_info(py)?;
        let wrapped = imports(py)?.transport_socket.bind(py).call1((socket,))?;
        extra.set_item(name, &wrapped)?;
        return Ok(wrapped.into());
    }
    Ok(default.map_or_else(|| none(py), |default| (&*default).into()))
}

fn make_empty_waiter<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Stream::of(&slf).settle(&slf)?;
    let stream = Stream::of(&slf);
    if stream.empty_waiter.is_some() {
        return Err(PyRuntimeError::new_err(Words(
            "Empty waiter is already set",
        )));
    }
    let Some(this) = stream.event_loop(py) else {
        return Err(PyRuntimeError::new_err(Words("the transport is closed")));
    };
    let waiter = this.call_method0(intern!(py, "create_future"))?;
    if stream.waiting() == 0 {
        waiter.call_method1(intern!(py, "set_result"), (py.None(),))?;
    }
    drop(stream.empty_waiter.replace(Some((&waiter).into())));
    Ok(waiter.into())
}

fn reset_empty_waiter<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    drop(Stream::of(&slf).empty_waiter.take());
    Ok(none(py))
}

fn get_extra<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Stream::of(&slf).settle(&slf)?;
    let extra = Stream::of(&slf).extra(&slf)?;
    if !extra.contains(intern!(py, "socket"))? {
        let socket = Stream::of(&slf).socket_for_info(py)?;
        extra.set_item(
            "socket",
            imports(py)?.transport_socket.bind(py).call1((socket,))?,
        )?;
    }
    Ok(extra.into())
}

fn set_extra<'py>(_py: Python<'py>, slf: Slf<'_, 'py>, value: Slf<'_, 'py>) -> PyResult<()> {
    object::replace_extra::<Stream>(&slf, value.cast::<PyDict>()?.to_owned());
    Ok(())
}

fn get_sock<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Stream::of(&slf).settle(&slf)?;
    Ok(Stream::of(&slf)
        .python_socket(py)?
        .map_or_else(|| none(py), Ref::from))
}

/// asyncio's name for the function that reads. It is there for readers; setting it would change nothing.
fn get_read_ready<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Ok(slf.getattr(intern!(py, "_read_ready"))?.into())
}

fn get_sock_fd<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Ok(make::number(py, Stream::of(&slf).fd.into())?.into())
}

fn get_loop<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Ok(Stream::of(&slf)
        .event_loop
        .get(py)
        .unwrap_or_else(|| none(py)))
}

fn get_protocol_or_none<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    get_protocol(py, slf)
}

/// As `set_protocol()`, which asyncio's own classes call for this.
fn set_protocol_attribute<'py>(
    _py: Python<'py>,
    slf: Slf<'_, 'py>,
    value: Slf<'_, 'py>,
) -> PyResult<()> {
    Stream::of(&slf).set_protocol(&value)
}

fn get_server<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Ok(Stream::of(&slf).server.get(py).unwrap_or_else(|| none(py)))
}

/// The queue as a copy, of the type that it has in asyncio: a bytearray in 3.11, a deque of memoryviews later.
fn get_buffer<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Stream::of(&slf).settle(&slf)?;
    let waiting: Vec<Vec<u8>> = Stream::of(&slf)
        .queue
        .borrow()
        .unsent()
        .map(|piece| piece.to_vec())
        .collect();
    if py.version_info() < (3, 12) {
        return Ok(make::bytearray(py, &waiting.concat())?.into());
    }
    let pieces = make::list(py)?;
    for piece in waiting {
        let piece = make::bytes(py, &piece)?;
        pieces.append(PyMemoryView::from(piece.as_any())?)?;
    }
    let deque = py.import("collections")?.getattr("deque")?;
    Ok(deque.call1((pieces,))?.into())
}

fn is_paused<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Ok(boolean(py, Stream::of(&slf).reading_paused.get()))
}

fn is_eof_written<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Ok(boolean(py, Stream::of(&slf).eof_written.get()))
}

fn get_lost<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Stream::of(&slf).settle(&slf)?;
    Ok(make::number(py, Stream::of(&slf).lost.get().into())?.into())
}

fn get_empty_waiter<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Ok(Stream::of(&slf)
        .empty_waiter
        .get(py)
        .unwrap_or_else(|| none(py)))
}

fn is_protocol_connected<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Ok(boolean(py, Stream::of(&slf).protocol_connected.get()))
}

impl Stream {
    /// The transport's dict of information, with the addresses in it; the socket is added when it is asked for.
    pub(super) fn extra<'py>(&self, transport: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
        let py = transport.py();
        let slot = object::extra_slot::<Stream>(transport);
        // SAFETY: A4, A2: the slot holds a dict that we put there, or nothing.
        unsafe {
            if let Some(known) = Bound::from_borrowed_ptr_or_opt(py, *slot) {
                return Ok(known.cast_into::<PyDict>()?);
            }
        }
        let extra = make::dict(py)?;
        let of = |address: &Option<hotloop_reactor::Address>| -> PyResult<Ref> {
            address
                .as_ref()
                .map_or_else(|| Ok(none(py)), |address| address::to_python(py, address))
        };
        extra.set_item(intern!(py, "sockname"), of(&self.local)?.bind(py))?;
        extra.set_item(intern!(py, "peername"), of(&self.peer)?.bind(py))?;
        // Not empty if a finalizer that a collection ran has asked meanwhile.
        object::replace_extra::<Stream>(transport, extra.clone());
        Ok(extra)
    }

    /// Adds what the caller knows; it wins over what the kernel says, as in asyncio.
    pub(super) fn merge_extra(
        &self,
        transport: &Bound<'_, PyAny>,
        more: &Bound<'_, PyDict>,
    ) -> PyResult<()> {
        let extra = self.extra(transport)?;
        for (name, value) in more.iter() {
            if !name.eq(intern!(name.py(), "socket"))?
                && !name.eq(intern!(name.py(), "sockname"))?
            {
                extra.set_item(name, value)?;
            }
        }
        Ok(())
    }
}
