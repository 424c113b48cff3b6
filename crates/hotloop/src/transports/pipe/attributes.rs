//! The methods and attributes of the pipe transports as Python sees them, public ones and those private ones that
//! asyncio itself and libraries look at. `get_extra_info`, `writelines` and what sets the marks of flow control are
//! inherited from asyncio's classes.

use pyo3::Borrowed;
use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;

use crate::python::guard::{boolean, none};
use crate::python::heap_type::{attribute, getter, method_fast, method_noargs, method_one, setter};
use crate::python::{FastArguments, Ref, make};
use crate::transports::{docs, error_and_message, flow, object};

use super::{PipeState, ReadPipe, WritePipe, state};

type Slf<'a, 'py> = Borrowed<'a, 'py, PyAny>;

/// What `_fatal_error` says if it is given no text.
const FATAL_ERROR: &str = "Fatal error on pipe transport";

/// The methods that both transports have; a macro, as the functions that the interpreter calls cannot be generic.
macro_rules! both_methods {
    ($pipe:ty) => {
        vec![
            method_noargs!(c"is_closing", docs::IS_CLOSING, is_closing::<$pipe>),
            method_fast!(c"set_protocol", docs::SET_PROTOCOL, set_protocol::<$pipe>),
            method_noargs!(c"get_protocol", docs::GET_PROTOCOL, get_protocol::<$pipe>),
            method_noargs!(
                c"_start_reading",
                c"Begin to wait for the descriptor.",
                start_reading::<$pipe>
            ),
            method_one!(
                c"_call_connection_lost",
                c"Tell the protocol and close the pipe.",
                call_connection_lost::<$pipe>
            ),
        ]
    };
}

/// The attributes that both have.
macro_rules! both_getters {
    ($pipe:ty) => {
        vec![
            attribute(c"_loop", getter!(get_loop::<$pipe>), None),
            attribute(
                c"_pipe",
                getter!(get_pipe::<$pipe>),
                Some(setter!(
                    set_pipe::<$pipe>,
                    PyTypeError,
                    "this attribute cannot be deleted"
                )),
            ),
            attribute(c"_fileno", getter!(get_fileno::<$pipe>), None),
            object::dict_attribute(),
            attribute(
                c"_protocol",
                getter!(get_protocol::<$pipe>),
                Some(setter!(
                    set_protocol_attribute::<$pipe>,
                    PyTypeError,
                    "this attribute cannot be deleted"
                )),
            ),
            attribute(c"_closing", getter!(is_closing::<$pipe>), None),
        ]
    };
}

/// The tables of `hotloop._core.ReadPipeTransport`.
pub(super) mod of_read_pipe {
    use super::*;

    #[rustfmt::skip] // a table
    pub(in super::super) fn methods() -> Vec<ffi::PyMethodDef> {
        let mut methods = both_methods!(ReadPipe);
        methods.extend([
            method_noargs!(c"is_reading", docs::IS_READING, is_reading),
            method_noargs!(c"pause_reading", docs::PAUSE_READING, pause_reading),
            method_noargs!(c"resume_reading", docs::RESUME_READING, resume_reading),
            method_noargs!(c"close", docs::CLOSE_READ_PIPE, close_reading),
            method_noargs!(c"_read_ready", c"Read once.", read_once),
            method_one!(c"_close", c"Close with an exception or None.", close_reading_with),
            method_fast!(c"_fatal_error", c"_fatal_error($self, /, exc, message='Fatal error on pipe transport')\n--\n\nReport and close.", reading_failed),
        ]);
        methods
    }

    pub(in super::super) fn getters() -> Vec<ffi::PyGetSetDef> {
        let mut getters = both_getters!(ReadPipe);
        getters.push(attribute(c"_paused", getter!(is_paused), None));
        getters
    }
}

/// The tables of `hotloop._core.WritePipeTransport`.
pub(super) mod of_write_pipe {
    use super::*;

    #[rustfmt::skip] // a table
    pub(in super::super) fn methods() -> Vec<ffi::PyMethodDef> {
        let mut methods = both_methods!(WritePipe);
        methods.extend([
            method_fast!(c"write", docs::WRITE_PIPE, write),
            method_noargs!(c"write_eof", docs::CLOSE_WRITE_PIPE, write_eof),
            method_noargs!(c"can_write_eof", docs::CAN_WRITE_EOF, can_write_eof),
            method_noargs!(c"close", docs::CLOSE, write_eof),
            method_noargs!(c"abort", docs::ABORT, abort),
            method_noargs!(c"get_write_buffer_size", docs::GET_SIZE, flow::get_write_buffer_size::<WritePipe>),
            method_noargs!(c"_read_ready", c"The other side is gone.", other_side_gone),
            method_noargs!(c"_write_ready", c"Write what is queued once.", write_ready),
            method_fast!(c"_close", c"_close($self, /, exc=None)\n--\n\nClose at once with an exception or None.", close_writing_with),
            method_fast!(c"_fatal_error", c"_fatal_error($self, /, exc, message='Fatal error on pipe transport')\n--\n\nReport and close.", writing_failed),
        ]);
        methods
    }

    #[rustfmt::skip] // a table
    pub(in super::super) fn getters() -> Vec<ffi::PyGetSetDef> {
        let mut getters = both_getters!(WritePipe);
        getters.extend([
            attribute(c"_buffer", getter!(get_buffer), None),
            attribute(c"_conn_lost", getter!(get_lost), None),
            attribute(c"_protocol_paused", getter!(flow::is_protocol_paused::<WritePipe>), Some(setter!(set_protocol_paused, PyTypeError, "this attribute cannot be deleted"))),
            attribute(c"_high_water", getter!(flow::get_high_water::<WritePipe>), Some(setter!(flow::set_high_water::<WritePipe>, PyTypeError, "this attribute cannot be deleted"))),
            attribute(c"_low_water", getter!(flow::get_low_water::<WritePipe>), Some(setter!(flow::set_low_water::<WritePipe>, PyTypeError, "this attribute cannot be deleted"))),
        ]);
        getters
    }
}

fn read_pipe<'a>(slf: &'a Bound<'_, PyAny>) -> &'a ReadPipe {
    state(slf)
}

fn write_pipe<'a>(slf: &'a Bound<'_, PyAny>) -> &'a WritePipe {
    state(slf)
}

fn is_closing<'py, S: PipeState>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Ok(boolean(py, state::<S>(&slf).end().closing.get()))
}

fn set_protocol<'py, S: PipeState>(
    py: Python<'py>,
    slf: Slf<'_, 'py>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    let protocol = arguments.single("set_protocol", "protocol")?;
    let slot = &state::<S>(&slf).end().protocol;
    drop(slot.replace(Some((&*protocol).into())));
    Ok(none(py))
}

fn set_protocol_attribute<'py, S: PipeState>(
    _py: Python<'py>,
    slf: Slf<'_, 'py>,
    value: Slf<'_, 'py>,
) -> PyResult<()> {
    let slot = &state::<S>(&slf).end().protocol;
    drop(slot.replace(Some((&*value).into())));
    Ok(())
}

fn get_protocol<'py, S: PipeState>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    let protocol = state::<S>(&slf).end().protocol.get(py);
    Ok(protocol.unwrap_or_else(|| none(py)))
}

fn start_reading<'py, S: PipeState>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    let pipe: &S = state(&slf);
    if pipe.may_read() {
        pipe.end().watch_for_reading::<S>(&slf)?;
    }
    Ok(none(py))
}

fn call_connection_lost<'py, S: PipeState>(
    py: Python<'py>,
    slf: Slf<'_, 'py>,
    error: Slf<'_, 'py>,
) -> PyResult<Ref> {
    state::<S>(&slf).end().connection_lost(&slf, &error)?;
    Ok(none(py))
}

fn get_loop<'py, S: PipeState>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    let event_loop = state::<S>(&slf).end().event_loop.get(py);
    Ok(event_loop.unwrap_or_else(|| none(py)))
}

fn get_pipe<'py, S: PipeState>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    let pipe = state::<S>(&slf).end().pipe.get(py);
    Ok(pipe.unwrap_or_else(|| none(py)))
}

fn get_fileno<'py, S: PipeState>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    let fd = state::<S>(&slf).end().raw_fd();
    Ok(make::number(py, fd.into())?.into())
}

fn is_reading<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Ok(boolean(py, read_pipe(&slf).may_read()))
}

fn pause_reading<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    read_pipe(&slf).pause_reading(&slf)?;
    Ok(none(py))
}

fn resume_reading<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    read_pipe(&slf).resume_reading(&slf)?;
    Ok(none(py))
}

fn close_reading<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    read_pipe(&slf).close(&slf)?;
    Ok(none(py))
}

fn read_once<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    read_pipe(&slf).read_ready(&slf)?;
    Ok(none(py))
}

fn close_reading_with<'py>(
    py: Python<'py>,
    slf: Slf<'_, 'py>,
    error: Slf<'_, 'py>,
) -> PyResult<Ref> {
    read_pipe(&slf).end().close(&slf, &error)?;
    Ok(none(py))
}

fn reading_failed<'py>(
    py: Python<'py>,
    slf: Slf<'_, 'py>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    let (error, message) = error_and_message(arguments, FATAL_ERROR)?;
    read_pipe(&slf).fatal_error(&slf, &error, &message)?;
    Ok(none(py))
}

fn is_paused<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Ok(boolean(py, read_pipe(&slf).paused.get()))
}

fn write<'py>(
    py: Python<'py>,
    slf: Slf<'_, 'py>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    let data = arguments.single("write", "data")?;
    write_pipe(&slf).write(&slf, &data)?;
    Ok(none(py))
}

fn write_eof<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    write_pipe(&slf).write_eof(&slf)?;
    Ok(none(py))
}

fn can_write_eof<'py>(py: Python<'py>, _slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Ok(boolean(py, true))
}

fn abort<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    write_pipe(&slf).force_close(&slf, &py.None().into_bound(py))?;
    Ok(none(py))
}

fn other_side_gone<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    write_pipe(&slf).read_ready(&slf)?;
    Ok(none(py))
}

fn write_ready<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    write_pipe(&slf).write_ready(&slf)?;
    Ok(none(py))
}

fn close_writing_with<'py>(
    py: Python<'py>,
    slf: Slf<'_, 'py>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    let [error] = arguments.named("_close", ["exc"])?;
    let error = error.map_or_else(|| py.None().into_bound(py), |error| error.to_owned());
    write_pipe(&slf).force_close(&slf, &error)?;
    Ok(none(py))
}

fn writing_failed<'py>(
    py: Python<'py>,
    slf: Slf<'_, 'py>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    let (error, message) = error_and_message(arguments, FATAL_ERROR)?;
    write_pipe(&slf).fatal_error(&slf, &error, &message)?;
    Ok(none(py))
}

/// The queue's bytes, as a copy: looking at it must not change it.
fn get_buffer<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    let waiting: Vec<u8> = write_pipe(&slf)
        .queue
        .borrow()
        .unsent()
        .flatten()
        .copied()
        .collect();
    Ok(make::bytearray(py, &waiting)?.into())
}

fn get_lost<'py>(py: Python<'py>, slf: Slf<'_, 'py>) -> PyResult<Ref> {
    Ok(make::number(py, write_pipe(&slf).lost.get().into())?.into())
}

/// asyncio's own tests take the pipe away before they close it.
fn set_pipe<'py, S: PipeState>(
    _py: Python<'py>,
    slf: Slf<'_, 'py>,
    value: Slf<'_, 'py>,
) -> PyResult<()> {
    let pipe = (!value.is_none()).then(|| (&*value).into());
    drop(state::<S>(&slf).end().pipe.replace(pipe));
    Ok(())
}

fn set_protocol_paused<'py>(
    _py: Python<'py>,
    slf: Slf<'_, 'py>,
    value: Slf<'_, 'py>,
) -> PyResult<()> {
    write_pipe(&slf).flow.set_paused(value.is_truthy()?);
    Ok(())
}
