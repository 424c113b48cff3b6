//! Flow control: in both directions, with the program and with the transport under us.

use hotloop_reactor::FlowControl;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::python::make;
use crate::tls::names;
use crate::transports::flow::mark;
use crate::transports::reports::Named;
use crate::transports::stream::Stream;

use super::{Phase, Tls};

impl Tls {
    /// The bytes that wait: plain text, records, and what a native stream under us has not sent.
    pub(super) fn write_buffer_size(&self, py: Python<'_>) -> PyResult<usize> {
        // The type is known as long as `native` is set: it belongs to the transport in the slot (A4).
        let below = if self.native.get()
            && let Some(transport) = self.transport.get(py)
        {
            Stream::of(&transport.bind(py)).bytes_waiting()
        } else {
            0
        };
        let plain = self.backlog_size.get() + self.in_hand.get().unwrap_or_default();
        Ok(plain + self.engine.waiting_out(py)? + below)
    }

    /// Calls the program's `pause_writing()` or `resume_writing()`, if it is time.
    pub(super) fn control_app_writing(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = protocol.py();
        let size = self.write_buffer_size(py)?;
        if size > 0 && self.outgoing.must_pause_at_mark(size) {
            self.outgoing.set_paused(true);
            self.tell_app(protocol, intern!(py, "pause_writing"))
        } else if self.outgoing.must_resume(size) {
            self.outgoing.set_paused(false);
            self.tell_app(protocol, intern!(py, "resume_writing"))
        } else {
            Ok(())
        }
    }

    fn tell_app(&self, protocol: &Bound<'_, PyAny>, method: &Bound<'_, PyString>) -> PyResult<()> {
        let py = protocol.py();
        let Some(app) = self.app_protocol.get(py) else {
            return Ok(());
        };
        let transport = self.app_transport.get(py).map(|it| it.into_bound(py));
        let named = Named {
            transport: transport.as_ref(),
            protocol: Some(protocol),
        };
        named.tell(self.event_loop(py), &app, method)
    }

    /// A native stream under us has sent some of what waited there.
    pub(crate) fn drained(protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        let tls = Self::of(protocol);
        if tls.outgoing.is_paused() {
            tls.control_app_writing(protocol)
        } else {
            Ok(())
        }
    }

    /// `pause_reading()` and `resume_reading()` of the transport under us, as much as waits unread.
    pub(super) fn control_ssl_reading(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = protocol.py();
        let size = self.engine.waiting_in(py)?;
        let method = if self.incoming.must_pause_at_mark(size) {
            self.incoming.set_paused(true);
            intern!(py, "pause_reading")
        } else if self.incoming.must_resume(size) {
            self.incoming.set_paused(false);
            intern!(py, "resume_reading")
        } else {
            return Ok(());
        };
        match self.transport.get(py) {
            Some(transport) => transport.bind(py).call_method0(method).map(drop),
            None => Ok(()),
        }
    }

    /// The program reads again.
    pub(super) fn resume_reading(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.app_reading_paused.replace(false) {
            self.call_soon(protocol, "_proceed_reading")
        } else {
            Ok(())
        }
    }

    /// What `resume_reading` has scheduled.
    pub(super) fn proceed_reading(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        match self.phase.get() {
            Phase::Wrapped | Phase::Flushing | Phase::Shutdown => self.proceed(protocol),
            Phase::Unwrapped | Phase::Handshake => Ok(()),
        }
    }

    /// The transport under us has too much to send.
    pub(super) fn pause_writing(&self) {
        self.ssl_writing_paused.set(true);
    }

    /// It takes records again.
    pub(super) fn resume_writing(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        self.ssl_writing_paused.set(false);
        self.process_outgoing(protocol)
    }
}

/// Sets the marks as asyncio computes them from what was given, in bytes.
pub(super) fn set_marks(
    flow: &FlowControl,
    high: Option<&Bound<'_, PyAny>>,
    low: Option<&Bound<'_, PyAny>>,
    default: usize,
    py: Python<'_>,
) -> PyResult<()> {
    let computed = names(py)?.add_flowcontrol_defaults.bind(py).call1((
        high,
        low,
        make::size(py, default / 1024)?,
    ))?;
    let (high, low): (Bound<'_, PyAny>, Bound<'_, PyAny>) = computed.extract()?;
    // Paused at the mark, not above it: a fraction more is a byte more.
    let (high, low) = (mark(&high, f64::ceil)?, mark(&low, f64::floor)?);
    flow.set_low(low);
    flow.set_high(high);
    Ok(())
}
