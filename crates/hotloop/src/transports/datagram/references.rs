//! What a datagram transport refers to, for the interpreter: see [`crate::transports::object`].

use std::cell::Cell;

use pyo3::prelude::*;

use crate::python::Ref;
use crate::transports::max_size::Reads;
use crate::transports::object::{self, Described, FlowControlSlots, State};
use crate::transports::reports;

use super::Datagram;

impl State for Datagram {
    type Slots = FlowControlSlots;

    fn for_each_reference(&self, look: &mut dyn FnMut(&Ref)) {
        let slots = [
            &self.socket,
            &self.event_loop,
            &self.protocol,
            &self.read_context,
            &self.write_context,
            &self.address,
        ];
        object::look_into(&slots, look);
        if let Ok(rest) = self.rest.try_borrow() {
            rest.iter()
                .flat_map(|received| [&received.data, &received.sender])
                .for_each(&mut *look);
        }
        if let Ok(queue) = self.queue.try_borrow() {
            queue
                .iter()
                .flat_map(|queued| [&queued.data, &queued.to])
                .for_each(look);
        }
    }

    /// The finalizer has closed the socket by now.
    fn drop_references(&self) {
        let taken = [
            self.event_loop.take(),
            self.protocol.take(),
            self.read_context.take(),
            self.write_context.take(),
            self.address.take(),
        ];
        let waiting = (self.rest.take(), self.queue.take());
        drop((taken, waiting));
    }

    fn finalize(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        self.warn_if_unclosed(transport)
    }
}

impl Reads for Datagram {
    fn max_size(&self) -> &Cell<usize> {
        &self.max_size
    }
}

impl Described for Datagram {
    fn describe(&self, transport: &Bound<'_, PyAny>) -> PyResult<String> {
        let (closed, closing) = (!self.open.get(), self.closing.get());
        let this = self.event_loop(transport.py());
        let waiting = self.queue_size.get();
        reports::describe_socket(transport, closed, closing, self.fd, this, waiting)
    }
}
