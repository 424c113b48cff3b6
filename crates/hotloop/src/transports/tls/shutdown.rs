//! Closing: flush, close_notify through the `SSLObject`, and the end of the transport under us.

use pyo3::intern;
use pyo3::prelude::*;

use crate::event_loop::Loop;
use crate::imports::imports;
use crate::python::call;
use crate::python::make;
use crate::tls::names;

use super::{Phase, Tls, Told, app};

impl Tls {
    /// `transport.close()`.
    pub(super) fn start_shutdown(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = protocol.py();
        if matches!(
            self.phase.get(),
            Phase::Flushing | Phase::Shutdown | Phase::Unwrapped
        ) {
            return Ok(());
        }
        if let Some(transport) = self.app_transport.get(py) {
            app::mark_closed(&transport.bind(py));
        }
        if self.phase.get() == Phase::Handshake {
            return self.abort(protocol, None);
        }
        self.enter(Phase::Flushing)?;
        self.start_shutdown_timer(protocol)?;
        self.do_flush(protocol)
    }

    fn start_shutdown_timer(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = protocol.py();
        let Some(this) = self.event_loop(py) else {
            return Ok(());
        };
        let check = protocol.getattr(intern!(py, "_check_shutdown_timeout"))?;
        let timer = this.call_method1(
            intern!(py, "call_later"),
            (self.shutdown_timeout.bind(py), check),
        )?;
        drop(self.shutdown_timer.replace(Some(timer.into())));
        Ok(())
    }

    /// The time for the shutdown is over.
    pub(super) fn check_shutdown_timeout(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = protocol.py();
        if !matches!(self.phase.get(), Phase::Flushing | Phase::Shutdown) {
            return Ok(());
        }
        let Some(transport) = self.transport.get(py) else {
            return Ok(());
        };
        let error = names(py)?
            .timeout_error
            .bind(py)
            .call1((make::string(py, "SSL shutdown timed out")?,))?;
        transport
            .bind(py)
            .call_method1(intern!(py, "_force_close"), (error,))
            .map(drop)
    }

    /// What came before the end is read, then the shutdown goes on.
    pub(super) fn do_flush(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        self.do_read(protocol)?;
        self.shutdown_if_flushed(protocol)
    }

    /// Goes on with the shutdown, unless the program has aborted the connection meanwhile, or a read has begun it.
    fn shutdown_if_flushed(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.phase.get() != Phase::Flushing {
            return Ok(());
        }
        self.enter(Phase::Shutdown)?;
        self.do_shutdown(protocol)
    }

    pub(super) fn do_shutdown(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = protocol.py();
        let mut result = Ok(());
        if !self.eof_received.get() {
            if self.has_backlog() {
                // Written while another operation was under way.
                self.do_write(protocol)?;
            }
            if self.is_writing() {
                // The transport under us has called back in the middle of a write: close_notify comes after that.
                self.engine.turn().want();
                return Ok(());
            }
            if self.engine.shutdown_waits(py) {
                self.after_operation(protocol)?;
                return self.process_outgoing(protocol);
            }
            let Some(turn) = self.engine.begin() else {
                return Ok(());
            };
            result = self
                .object
                .bind(py)
                .call_method0(intern!(py, "unwrap"))
                .map(drop);
            drop(turn);
            self.after_operation(protocol)?;
        }
        match result {
            Ok(()) => {
                self.process_outgoing(protocol)?;
                self.call_eof_received(protocol)?;
                self.shutdown_complete(protocol, None)
            }
            Err(error) if names(py)?.is_again(py, &error) => self.process_outgoing(protocol),
            Err(error) if names(py)?.is_ssl_error(py, &error) => {
                self.shutdown_complete(protocol, Some(error))
            }
            Err(error) => Err(error),
        }
    }

    fn shutdown_complete(&self, protocol: &Bound<'_, PyAny>, error: Option<PyErr>) -> PyResult<()> {
        let py = protocol.py();
        if let Some(error) = error {
            self.cancel_timer(py, &self.shutdown_timer)?;
            return self.fatal_error(protocol, error, "Fatal error on transport");
        }
        let (Some(this), Some(transport)) = (self.event_loop(py), self.transport.get(py)) else {
            return Ok(());
        };
        // `close()` sends what is queued first, which a peer that does not read can delay for ever: the time runs
        // until `connection_lost`, also if it was the peer that began.
        if !self.shutdown_timer.is_some() {
            self.start_shutdown_timer(protocol)?;
        }
        let close = transport.bind(py).getattr(intern!(py, "close"))?;
        let none = pyo3::types::PyTuple::empty(py);
        Loop::call_soon_native(&this, close.into(), none.into())
    }

    /// `transport.abort()`, `transport._force_close(error)`.
    pub(super) fn abort(
        &self,
        protocol: &Bound<'_, PyAny>,
        error: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let py = protocol.py();
        self.enter(Phase::Unwrapped)?;
        let Some(transport) = self.transport.get(py) else {
            return Ok(());
        };
        let transport = transport.bind(py);
        match error.filter(|error| !error.is_none()) {
            None => transport.call_method0(intern!(py, "abort")),
            Some(error) => transport.call_method1(intern!(py, "_force_close"), (error,)),
        }
        .map(drop)
    }

    pub(super) fn call_eof_received(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = protocol.py();
        if self.told.get() != Told::Made {
            return Ok(());
        }
        self.told.set(Told::Eof);
        let Some(app) = self.app_protocol.get(py) else {
            return Ok(());
        };
        let result = call::call_method0(&app, intern!(py, "eof_received"))
            .and_then(|keep_open| keep_open.bind(py).is_truthy());
        match result {
            Ok(true) => {
                let logger = imports(py)?.logger.bind(py);
                let message = "returning true from eof_received() has no effect when using ssl";
                logger
                    .call_method1(intern!(py, "warning"), (make::string(py, message)?,))
                    .map(drop)
            }
            Ok(false) => Ok(()),
            Err(error) if call::ends_the_loop(py, &error) => Err(error),
            Err(error) => self.fatal_error(protocol, error, "Error calling eof_received()"),
        }
    }

    /// The transport under us has received the end of the stream; returns whether it is to stay open.
    pub(super) fn transport_eof(&self, protocol: &Bound<'_, PyAny>) -> PyResult<bool> {
        let py = protocol.py();
        self.eof_received.set(true);
        let result = self.handle_eof(protocol);
        if let Err(error) = &result
            && error.is_instance_of::<pyo3::exceptions::PyException>(py)
            && let Some(transport) = self.transport.get(py)
        {
            transport.bind(py).call_method0(intern!(py, "close"))?;
        }
        result
    }

    fn handle_eof(&self, protocol: &Bound<'_, PyAny>) -> PyResult<bool> {
        let py = protocol.py();
        if self.is_debugging(py) {
            let logger = imports(py)?.logger.bind(py);
            let text = make::string(py, "%r received EOF")?;
            logger.call_method1(intern!(py, "debug"), (text, protocol))?;
        }
        match self.phase.get() {
            Phase::Handshake => {
                let error = pyo3::exceptions::PyConnectionResetError::new_err(());
                self.handshake_complete(protocol, Err(error))?;
            }
            Phase::Wrapped => {
                self.enter(Phase::Flushing)?;
                if self.app_reading_paused.get() {
                    return Ok(true);
                }
                self.do_flush(protocol)?;
            }
            Phase::Flushing => {
                self.do_write(protocol)?;
                self.shutdown_if_flushed(protocol)?;
            }
            Phase::Shutdown => self.do_shutdown(protocol)?,
            Phase::Unwrapped => {}
        }
        Ok(false)
    }
}
