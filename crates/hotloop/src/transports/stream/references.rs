//! What a stream transport refers to, for the interpreter: see [`crate::transports::object`].

use std::cell::Cell;

use pyo3::prelude::*;

use crate::python::Ref;
use crate::transports::flow::Controlled;
use crate::transports::max_size::Reads;
use crate::transports::object::{self, Described, FlowControlSlots, State};
use crate::transports::reports;

use super::Stream;
use super::owner::Owner;

impl State for Stream {
    type Slots = FlowControlSlots;

    fn for_each_reference(&self, look: &mut dyn FnMut(&Ref)) {
        let slots = [
            &self.event_loop,
            &self.protocol,
            &self.server,
            &self.context,
            &self.read_context,
            &self.write_context,
            &self.held_context,
            &self.empty_waiter,
        ];
        object::look_into(&slots, look);
        if let Ok(owner) = self.owner.try_borrow()
            && let Some(socket) = owner.socket()
        {
            look(socket);
        }
    }

    /// The socket stays, so that it is closed with the transport.
    fn drop_references(&self) {
        let taken = [
            self.event_loop.take(),
            self.protocol.take(),
            self.server.take(),
            self.context.take(),
            self.read_context.take(),
            self.write_context.take(),
            self.held_context.take(),
            self.empty_waiter.take(),
        ];
        drop(taken);
    }

    fn finalize(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        self.warn_if_unclosed(transport)
    }
}

impl Reads for Stream {
    fn max_size(&self) -> &Cell<usize> {
        &self.max_size
    }
}

impl Described for Stream {
    fn describe(&self, transport: &Bound<'_, PyAny>) -> PyResult<String> {
        self.settle(transport)?;
        let closed = matches!(*self.owner.borrow(), Owner::Closed);
        let closing = self.closing.get();
        let this = self.event_loop(transport.py());
        reports::describe_socket(transport, closed, closing, self.fd, this, self.waiting())
    }
}
