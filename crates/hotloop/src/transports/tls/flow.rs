//! Flow control: in both directions, with the program and with the transport under us.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::python::make;
use crate::tls::names;
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
        let (low, high) = self.outgoing_marks.get();
        let paused = self.app_writing_paused.get();
        if size >= high && size > 0 && !paused {
            self.app_writing_paused.set(true);
            self.tell_app(protocol, intern!(py, "pause_writing"))
        } else if size <= low && paused {
            self.app_writing_paused.set(false);
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
        if tls.app_writing_paused.get() {
            tls.control_app_writing(protocol)
        } else {
            Ok(())
        }
    }

    /// `pause_reading()` and `resume_reading()` of the transport under us, as much as waits unread.
    pub(super) fn control_ssl_reading(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = protocol.py();
        let size = self.engine.waiting_in(py)?;
        let (low, high) = self.incoming_marks.get();
        let paused = self.ssl_reading_paused.get();
        let method = if size >= high && !paused {
            self.ssl_reading_paused.set(true);
            intern!(py, "pause_reading")
        } else if size <= low && paused {
            self.ssl_reading_paused.set(false);
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

/// Marks as asyncio computes them from what was given: (low, high), in bytes.
pub(super) fn marks(
    high: Option<&Bound<'_, PyAny>>,
    low: Option<&Bound<'_, PyAny>>,
    default: usize,
    py: Python<'_>,
) -> PyResult<(usize, usize)> {
    let computed = names(py)?.add_flowcontrol_defaults.bind(py).call1((
        high,
        low,
        make::size(py, default / 1024)?,
    ))?;
    let (high, low): (usize, usize) = computed.extract()?;
    Ok((low, high))
}
