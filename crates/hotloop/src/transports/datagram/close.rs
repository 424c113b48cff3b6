//! The end of a transport: `close`, `abort`, fatal errors, `connection_lost`.

use hotloop_reactor::Direction;
use pyo3::intern;
use pyo3::prelude::*;

use crate::event_loop::Loop;
use crate::transports::object::Described;
use crate::transports::reports;
use crate::transports::stream::add_to_users;

use super::Datagram;
use crate::python::make;

impl Datagram {
    /// `transport.close()`: no more reading; `connection_lost(None)` when what waits has been sent.
    pub(super) fn close(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.closing.replace(true) {
            return Ok(());
        }
        let py = transport.py();
        drop(self.rest.take());
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
        let dropped = (self.queue.take(), self.rest.take());
        self.queue_size.set(0);
        if !dropped.0.is_empty() {
            stopped = self.stop_watching(py, Direction::Write);
        }
        drop(dropped);
        if !self.closing.replace(true) {
            stopped = stopped.and(self.stop_watching(py, Direction::Read));
        }
        self.lost.set(self.lost.get() + 1);
        self.schedule_connection_lost(transport, error).and(stopped)
    }

    /// An error after which the transport is useless.
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
        told.and(self.release(transport))
    }

    /// Gives back the socket, the protocol and the loop.
    fn release(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        let left = self.leave_loop(transport);
        let closed = left.and(self.close_socket(transport.py()));
        let taken = (
            self.protocol.take(),
            self.event_loop.take(),
            self.read_context.take(),
            self.write_context.take(),
        );
        drop(taken);
        closed
    }

    /// Out of the poller before the number is free again.
    fn leave_loop(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = transport.py();
        match self.event_loop(py).filter(|_| self.open.get()) {
            Some(this) => this.get().leave(&this, self.fd, transport),
            None => Ok(()),
        }
    }

    fn close_socket(&self, py: Python<'_>) -> PyResult<()> {
        if !self.open.replace(false) {
            return Ok(());
        }
        let Some(socket) = self.socket.get(py) else {
            return Ok(());
        };
        add_to_users(&socket.bind(py), -1)?;
        socket.bind(py).call_method0(intern!(py, "close")).map(drop)
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
        Loop::call_soon_native(&this, callback.into(), make::tuple(py, [error])?.into())
    }

    /// A transport that is dropped without `close()`: the stdlib's `ResourceWarning`, and the socket is closed.
    pub(super) fn warn_if_unclosed(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = transport.py();
        if !self.open.get() {
            return Ok(());
        }
        if let Some(this) = self.event_loop(py) {
            // The loop must not know the address any more, even if there is no memory for what follows.
            this.get().unregister_transport(self.fd, transport);
        }
        let described = self.describe(transport);
        // First what must not be left out: at interpreter shutdown the warning may not even be importable.
        let left = self.leave_loop(transport);
        let closed = self.close_socket(py);
        let warned = reports::warn_unclosed(transport, described);
        warned.and(left).and(closed)
    }

    /// Logs a line about the transport in debug mode.
    pub(super) fn log_debug(&self, transport: &Bound<'_, PyAny>, message: &str) -> PyResult<()> {
        let py = transport.py();
        let this = self.event_loop(py);
        reports::log_line(this, intern!(py, "debug"), message, transport)
    }
}
