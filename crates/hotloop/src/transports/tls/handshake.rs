//! The handshake: through the `SSLObject`, so that its callbacks and exceptions are Python's own.

use pyo3::exceptions::PyConnectionAbortedError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::imports::imports;
use crate::python::call;
use crate::python::make;
use crate::python::make::Words;
use crate::tls::names;

use super::{Phase, Tls, Told};

impl Tls {
    pub(super) fn start_handshake(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = protocol.py();
        let Some(this) = self.event_loop(py) else {
            return Ok(());
        };
        if this.get().debug.get() {
            let logger = imports(py)?.logger.bind(py);
            let text = make::string(py, "%r starts SSL handshake")?;
            logger.call_method1(intern!(py, "debug"), (text, protocol))?;
            let now = this.call_method0(intern!(py, "time"))?.extract()?;
            self.handshake_start.set(Some(now));
        } else {
            self.handshake_start.set(None);
        }
        self.enter(Phase::Handshake)?;
        let check = protocol.getattr(intern!(py, "_check_handshake_timeout"))?;
        let timer = this.call_method1(
            intern!(py, "call_later"),
            (self.handshake_timeout.bind(py), check),
        )?;
        drop(self.handshake_timer.replace(Some(timer.into())));
        self.do_handshake(protocol)
    }

    /// The time for the handshake is over.
    pub(super) fn check_handshake_timeout(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.phase.get() != Phase::Handshake {
            return Ok(());
        }
        let seconds = self.handshake_timeout.bind(protocol.py()).str()?;
        let error = PyConnectionAbortedError::new_err(Words(format!(
            "SSL handshake is taking longer than {seconds} seconds: aborting the connection"
        )));
        // Nothing was raised, hence there is no traceback to log.
        self.end_with(protocol, error, "Fatal error on transport", false)
    }

    pub(super) fn do_handshake(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = protocol.py();
        if self.engine.handshake_waits(py, self.server_side) {
            self.after_operation(protocol)?;
            return self.process_outgoing(protocol);
        }
        let Some(turn) = self.engine.begin() else {
            return Ok(());
        };
        let result = self
            .object
            .bind(py)
            .call_method0(intern!(py, "do_handshake"));
        drop(turn);
        self.after_operation(protocol)?;
        let result = match result {
            Ok(_) => Ok(()),
            Err(error) if names(py)?.is_again(py, &error) => {
                return self.process_outgoing(protocol);
            }
            Err(error) if names(py)?.is_ssl_error(py, &error) => Err(error),
            Err(error) => return Err(error),
        };
        if self.phase.get() != Phase::Handshake {
            return Ok(()); // a callback of the handshake has aborted the connection
        }
        self.handshake_complete(protocol, result)
    }

    pub(super) fn handshake_complete(
        &self,
        protocol: &Bound<'_, PyAny>,
        result: PyResult<()>,
    ) -> PyResult<()> {
        let py = protocol.py();
        self.cancel_timer(py, &self.handshake_timer)?;
        let object = self.object.bind(py);
        let certificate = result
            .and_then(|()| self.enter(Phase::Wrapped))
            .and_then(|()| object.call_method0(intern!(py, "getpeercert")));
        let certificate = match certificate {
            Ok(certificate) => certificate,
            Err(error) if error.is_instance_of::<pyo3::exceptions::PyException>(py) => {
                self.enter(Phase::Unwrapped)?;
                let message = if names(py)?.is_certificate_error(py, &error) {
                    "SSL handshake failed on verifying the certificate"
                } else {
                    "SSL handshake failed"
                };
                let exception = error.value(py).clone().into_any();
                self.fatal_error(protocol, error, message)?;
                let transport = self.app_transport.get(py);
                return self.handshake_ended(py, transport.as_ref(), Some(&exception));
            }
            Err(error) => return Err(error),
        };
        if let (Some(start), Some(this)) = (self.handshake_start.get(), self.event_loop(py))
            && this.get().debug.get()
        {
            let now: f64 = this.call_method0(intern!(py, "time"))?.extract()?;
            let logger = imports(py)?.logger.bind(py);
            let args = (
                make::string(py, "%r: SSL handshake took %.1f ms")?,
                protocol,
                make::float(py, (now - start) * 1e3)?,
            );
            logger.call_method1(intern!(py, "debug"), args)?;
        }
        let extra = self.extra.bind(py);
        let extra = extra.cast::<PyDict>()?;
        extra.set_item(intern!(py, "peercert"), certificate)?;
        let cipher = object.call_method0(intern!(py, "cipher"))?;
        extra.set_item(intern!(py, "cipher"), names(py)?.shared_cipher(cipher)?)?;
        let compression = object.call_method0(intern!(py, "compression"))?;
        extra.set_item(intern!(py, "compression"), compression)?;
        extra.set_item(intern!(py, "ssl_object"), object)?;
        if self.told.get() == Told::Nothing {
            self.told.set(Told::Made);
            if let (Some(app), Some(transport)) =
                (self.app_protocol.get(py), self.app_transport.get(py))
            {
                call::call_method1(&app, intern!(py, "connection_made"), &transport)?;
            }
        }
        self.handshake_ended(py, None, None)?;
        self.do_read(protocol)
    }
}
