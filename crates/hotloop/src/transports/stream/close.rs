//! The end of a connection: `close`, `abort`, fatal errors, `connection_lost`.

use hotloop_reactor::Direction;
use pyo3::intern;
use pyo3::prelude::*;

use crate::event_loop::Loop;
use crate::transports::object::Described;
use crate::transports::reports;

use super::owner::Owner;
use super::{Stream, construct};
use crate::python::make;
use crate::python::make::Words;

impl Stream {
    /// `transport.close()`: no more reading; `connection_lost(None)` when what waits has been sent.
    pub(super) fn close(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        self.settle(transport)?;
        if self.closing.replace(true) {
            return Ok(());
        }
        let py = transport.py();
        let mut stopped = self.stop_watching(py, Direction::Read);
        if self.queue.borrow().is_empty() {
            self.lost.set(self.lost.get() + 1);
            stopped = stopped.and(self.stop_watching(py, Direction::Write));
            self.schedule_connection_lost(transport, &py.None().into_bound(py))?;
        }
        stopped
    }

    /// `transport.abort()` and asyncio's `_force_close(exc)`: what waits is dropped.
    pub(super) fn force_close(
        &self,
        transport: &Bound<'_, PyAny>,
        error: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        if self.lost.get() > 0 {
            return Ok(());
        }
        let py = transport.py();
        let mut stopped = Ok(());
        self.send_held_blindly();
        let dropped = self.queue.borrow_mut().clear();
        if !dropped.is_empty() {
            stopped = self.stop_watching(py, Direction::Write);
        }
        drop(dropped);
        if !self.closing.replace(true) {
            stopped = stopped.and(self.stop_watching(py, Direction::Read));
        }
        self.lost.set(self.lost.get() + 1);
        self.schedule_connection_lost(transport, error).and(stopped)
    }

    /// An error after which the connection is useless.
    pub(super) fn fatal_error(
        &self,
        transport: &Bound<'_, PyAny>,
        error: PyErr,
        message: &str,
    ) -> PyResult<()> {
        let py = transport.py();
        let exception = error.into_value(py).into_bound(py).into_any();
        if let Some(this) = self.event_loop(py) {
            let protocol = self.protocol.get(py).map(|it| it.into_bound(py));
            reports::tell_of_fatal(&this, transport, protocol.as_ref(), message, &exception)?;
        }
        self.force_close(transport, &exception)
    }

    /// Calls the protocol's last method and gives everything back, also if that method raises.
    pub(super) fn connection_lost(
        &self,
        transport: &Bound<'_, PyAny>,
        error: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let py = transport.py();
        let protocol = self
            .protocol
            .get(py)
            .filter(|_| self.protocol_connected.get());
        let told = reports::tell_of_loss(py, protocol, error);
        let released = self.release(transport);
        let waiter = self.empty_waiter.get(py);
        if let (Ok(()), Some(waiter)) = (&told, waiter) {
            let waiter = waiter.bind(py);
            if !waiter.call_method0(intern!(py, "done"))?.is_truthy()? {
                let lost = pyo3::exceptions::PyConnectionError::new_err(Words(
                    "Connection is closed by peer",
                ));
                waiter.call_method1(intern!(py, "set_exception"), (lost.into_value(py),))?;
            }
        }
        told.and(released)
    }

    /// Gives back the descriptor, the protocol, the loop and the server, in asyncio's order.
    fn release(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = transport.py();
        // Out of the poller before the number is free again.
        let left = match self.event_loop(py) {
            Some(this) => this.get().leave(&this, self.fd, transport),
            None => Ok(()),
        };
        let closed = left.and(self.close_owner(py));
        let taken = (
            self.protocol.take(),
            self.event_loop.take(),
            self.context.take(),
            self.read_context.take(),
            self.write_context.take(),
            self.held_context.take(),
        );
        drop(taken);
        match self.server.take() {
            Some(server) => construct::detach(&server, transport).and(closed),
            None => closed,
        }
    }

    fn schedule_connection_lost(
        &self,
        transport: &Bound<'_, PyAny>,
        error: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = transport.py();
        let Some(this) = self.event_loop(py) else {
            return Ok(());
        };
        let callback = transport.getattr(intern!(py, "_call_connection_lost"))?;
        let args = make::tuple(py, [error])?;
        Loop::call_soon_in(&this, callback.into(), args.into(), self.context.get(py))
    }

    /// A transport that is dropped without `close()`: the stdlib's `ResourceWarning`, and the descriptor is closed.
    pub(super) fn warn_if_unclosed(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = transport.py();
        if matches!(*self.owner.borrow(), Owner::Closed) {
            return Ok(());
        }
        if let Some(this) = self.event_loop(py) {
            // The loop must not know the address any more, even if there is no memory for what follows.
            this.get().unregister_transport(self.fd, transport);
        }
        if self.is_being_accepted(py) {
            return self.let_go(transport); // the program has never heard of it
        }
        let described = self.describe(transport);
        // First what must not be left out: at interpreter shutdown the warning may not even be importable.
        let gone = self.let_go(transport);
        let warned = reports::warn_unclosed(transport, described);
        warned.and(gone)
    }

    /// Closes the descriptor, without a word to anybody but the server.
    pub(super) fn let_go(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = transport.py();
        let left = match self.event_loop(py) {
            Some(this) => this.get().leave(&this, self.fd, transport),
            None => Ok(()),
        };
        let closed = left.and(self.close_owner(py));
        let detached = match self.server.take() {
            Some(server) => construct::detach(&server, transport),
            None => Ok(()),
        };
        closed.and(detached)
    }

    /// Logs a line about the transport in debug mode.
    pub(super) fn log_debug(&self, transport: &Bound<'_, PyAny>, message: &str) -> PyResult<()> {
        let py = transport.py();
        let this = self.event_loop(py);
        reports::log_line(this, intern!(py, "debug"), message, transport)
    }
}
