//! Flow control: telling the protocol to pause and to resume writing.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::transports::reports::Named;

use super::Stream;

impl Stream {
    /// The number of bytes that wait to be sent.
    pub(super) fn waiting(&self) -> usize {
        if self.is_held() {
            return 0;
        }
        self.queue.borrow().len()
    }

    /// Calls `pause_writing()` if the queue has passed the high-water mark.
    pub(super) fn maybe_pause_protocol(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.waiting() <= self.high_water.get() || self.protocol_paused.get() {
            return Ok(());
        }
        self.protocol_paused.set(true);
        self.tell_protocol(transport, intern!(transport.py(), "pause_writing"))
    }

    /// Calls `resume_writing()` if the queue has fallen to the low-water mark.
    pub(super) fn maybe_resume_protocol(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        if !self.protocol_paused.get() || self.waiting() > self.low_water.get() {
            return Ok(());
        }
        self.protocol_paused.set(false);
        self.tell_protocol(transport, intern!(transport.py(), "resume_writing"))
    }

    fn tell_protocol(
        &self,
        transport: &Bound<'_, PyAny>,
        method: &Bound<'_, PyString>,
    ) -> PyResult<()> {
        let py = transport.py();
        let Some(protocol) = self.protocol.get(py) else {
            return Ok(());
        };
        let named = Named {
            transport: Some(transport),
            protocol: Some(&protocol.bind(py)),
        };
        named.tell(self.event_loop(py), &protocol, method)
    }
}
