//! Flow control: what the marks count, and whom they tell.

use hotloop_reactor::FlowControl;
use pyo3::prelude::*;

use crate::transports::flow::{self, Controlled};

use super::Datagram;

impl Controlled for Datagram {
    fn flow(&self) -> &FlowControl {
        &self.flow
    }

    fn waiting(&self) -> usize {
        self.queue_size.get()
    }

    fn tell_protocol(&self, transport: &Bound<'_, PyAny>, pause: bool) -> PyResult<()> {
        let py = transport.py();
        let protocol = self.protocol.get(py);
        flow::tell(&self.flow, self.event_loop(py), transport, protocol, pause)
    }
}
