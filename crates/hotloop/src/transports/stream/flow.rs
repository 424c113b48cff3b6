//! Flow control: what the marks count, and whom they tell.

use hotloop_reactor::FlowControl;
use pyo3::prelude::*;

use crate::transports::flow::{self, Controlled};

use super::Stream;

impl Controlled for Stream {
    fn flow(&self) -> &FlowControl {
        &self.flow
    }

    fn waiting(&self) -> usize {
        if self.is_held() {
            return 0;
        }
        self.queue.borrow().len()
    }

    fn tell_protocol(&self, transport: &Bound<'_, PyAny>, pause: bool) -> PyResult<()> {
        let py = transport.py();
        let protocol = self.protocol.get(py);
        flow::tell(&self.flow, self.event_loop(py), transport, protocol, pause)
    }

    fn settle(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        self.settle(transport)
    }
}
