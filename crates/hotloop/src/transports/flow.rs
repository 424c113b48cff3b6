//! Flow control of writing, of the transports that asyncio makes from its `_FlowControlMixin`: sockets' and pipes'.
//!
//! The TLS protocol pauses at the mark and not above it, and has marks for reading as well: `tls/flow.rs`.

use hotloop_reactor::FlowControl;
use pyo3::prelude::*;
use pyo3::{Borrowed, intern};

use crate::event_loop::Loop;
use crate::imports::imports;
use crate::python::guard::{boolean, none};
use crate::python::{FastArguments, Ref, make};

use super::object::{State, state};
use super::reports::Named;

type Slf<'a, 'py> = Borrowed<'a, 'py, PyAny>;

/// A transport that tells its protocol when to pause and when to resume writing.
pub(super) trait Controlled: State {
    /// The marks.
    fn flow(&self) -> &FlowControl;
    /// The size in bytes of what waits to be sent, as asyncio counts it.
    fn waiting(&self) -> usize;
    /// Calls `pause_writing()` or `resume_writing()`.
    fn tell_protocol(&self, transport: &Bound<'_, PyAny>, pause: bool) -> PyResult<()>;
    /// Sends what the transport keeps back by itself, before somebody looks.
    fn settle(&self, _transport: &Bound<'_, PyAny>) -> PyResult<()> {
        Ok(())
    }

    /// Calls `pause_writing()` if the queue has passed the high-water mark.
    #[inline]
    fn maybe_pause_protocol(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.flow().must_pause(self.waiting()) {
            return self.tell_protocol(transport, true);
        }
        Ok(())
    }

    /// Calls `resume_writing()` if the queue has fallen to the low-water mark.
    #[inline]
    fn maybe_resume_protocol(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.flow().must_resume(self.waiting()) {
            return self.tell_protocol(transport, false);
        }
        Ok(())
    }
}

/// Calls `pause_writing()` or `resume_writing()` of `protocol`, if there is one.
pub(super) fn tell(
    flow: &FlowControl,
    this: Option<Bound<'_, Loop>>,
    transport: &Bound<'_, PyAny>,
    protocol: Option<Ref>,
    pause: bool,
) -> PyResult<()> {
    let py = transport.py();
    flow.set_paused(pause);
    let Some(protocol) = protocol else {
        return Ok(());
    };
    let named = Named {
        transport: Some(transport),
        protocol: Some(&protocol.bind(py)),
    };
    let method = if pause {
        intern!(py, "pause_writing")
    } else {
        intern!(py, "resume_writing")
    };
    named.tell(this, &protocol, method)
}

pub(super) fn set_write_buffer_limits<'py, S: Controlled>(
    py: Python<'py>,
    slf: Slf<'_, 'py>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    let transport: &S = state(&slf);
    transport.settle(&slf)?;
    let [high, low] = arguments.named("set_write_buffer_limits", ["high", "low"])?;
    let named = make::dict(py)?;
    named.set_item(intern!(py, "high"), high)?;
    named.set_item(intern!(py, "low"), low)?;
    // The stdlib's own rule computes the two marks and sets them through the attributes below.
    imports(py)?
        .set_limits
        .bind(py)
        .call((slf,), Some(&named))?;
    transport.maybe_pause_protocol(&slf)?;
    Ok(none(py))
}

pub(super) fn get_write_buffer_limits<'py, S: Controlled>(
    py: Python<'py>,
    slf: Slf<'_, 'py>,
) -> PyResult<Ref> {
    let flow = state::<S>(&slf).flow();
    Ok(make::sizes(py, (flow.low(), flow.high()))?.into())
}

pub(super) fn get_write_buffer_size<'py, S: Controlled>(
    py: Python<'py>,
    slf: Slf<'_, 'py>,
) -> PyResult<Ref> {
    let transport: &S = state(&slf);
    transport.settle(&slf)?;
    Ok(make::size(py, transport.waiting())?.into())
}

pub(super) fn is_protocol_paused<'py, S: Controlled>(
    py: Python<'py>,
    slf: Slf<'_, 'py>,
) -> PyResult<Ref> {
    let transport: &S = state(&slf);
    transport.settle(&slf)?;
    Ok(boolean(py, transport.flow().is_paused()))
}

pub(super) fn get_high_water<'py, S: Controlled>(
    py: Python<'py>,
    slf: Slf<'_, 'py>,
) -> PyResult<Ref> {
    Ok(make::size(py, state::<S>(&slf).flow().high())?.into())
}

pub(super) fn get_low_water<'py, S: Controlled>(
    py: Python<'py>,
    slf: Slf<'_, 'py>,
) -> PyResult<Ref> {
    Ok(make::size(py, state::<S>(&slf).flow().low())?.into())
}

pub(super) fn set_high_water<'py, S: Controlled>(
    _py: Python<'py>,
    slf: Slf<'_, 'py>,
    value: Slf<'_, 'py>,
) -> PyResult<()> {
    state::<S>(&slf).flow().set_high(mark(&value, f64::floor)?);
    Ok(())
}

pub(super) fn set_low_water<'py, S: Controlled>(
    _py: Python<'py>,
    slf: Slf<'_, 'py>,
    value: Slf<'_, 'py>,
) -> PyResult<()> {
    state::<S>(&slf).flow().set_low(mark(&value, f64::floor)?);
    Ok(())
}

/// A mark in whole bytes, of any number that asyncio takes for one. Sizes are whole, so a fraction decides nothing once
/// it is rounded the right way, and no size reaches what is too large for a `usize`.
pub(super) fn mark(value: &Bound<'_, PyAny>, round: fn(f64) -> f64) -> PyResult<usize> {
    value
        .extract()
        .or_else(|error: PyErr| match value.extract::<f64>() {
            Ok(number) if number >= 0.0 => Ok(saturated(round(number))),
            _ => Err(error),
        })
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // what is wanted: it ends at the limits of the type
fn saturated(number: f64) -> usize {
    number as usize
}
