//! Reading: one `recv` for each time the descriptor is ready, and the protocol's methods that get the data.

use hotloop_reactor as reactor;
use hotloop_reactor::Direction;
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;

use crate::errors::os_error;
use crate::python::{Buffer, Ref, call};

use super::Stream;
use crate::python::make;
use crate::python::make::Words;

const RECEIVER_FAILED: &str = "Fatal error: protocol.data_received() call failed.";

impl Stream {
    /// The descriptor can be read.
    pub(super) fn read_ready(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.lost.get() > 0 {
            return Ok(());
        }
        let Some(protocol) = self.protocol.get(transport.py()) else {
            return Ok(());
        };
        if self.tls.get() {
            self.read_records(transport, &protocol)
        } else if self.buffered.get() {
            self.read_into_buffer(transport, &protocol)
        } else {
            self.read_data(transport, &protocol)
        }
    }

    fn read_data(&self, transport: &Bound<'_, PyAny>, protocol: &Ref) -> PyResult<()> {
        let py = transport.py();
        let (Some(this), Some(fd)) = (self.event_loop(py), self.fd()) else {
            return Ok(());
        };
        let mut buffer = this.get().take_read_buffer();
        let received = reactor::recv(fd, &mut buffer[..self.max_size.get()]);
        if let (Ok(count @ 1..), Some(feed)) = (&received, self.feed.get()) {
            let fed = feed.feed(&protocol.bind(py), &buffer[..*count]);
            if !matches!(fed, Ok(false)) {
                this.get().return_read_buffer(buffer);
                return self.check(transport, fed, RECEIVER_FAILED).map(drop);
            }
        }
        let data = received
            .as_ref()
            .ok()
            .map(|&count| make::bytes(py, &buffer[..count]));
        this.get().return_read_buffer(buffer);
        match (received, data) {
            (Ok(0), _) => self.eof_received(transport, protocol),
            (Ok(_), Some(data)) => {
                let message = "Fatal read error on socket transport";
                let Some(data) = self.check(transport, data, message)? else {
                    return Ok(());
                };
                let result =
                    call::call_method1(protocol, intern!(py, "data_received"), &data.into());
                self.check(transport, result, RECEIVER_FAILED)?;
                Ok(())
            }
            (Ok(_), None) => Ok(()),
            (Err(error), _) => self.read_failed(transport, &error),
        }
    }

    fn read_into_buffer(&self, transport: &Bound<'_, PyAny>, protocol: &Ref) -> PyResult<()> {
        let py = transport.py();
        let buffer = protocol
            .bind(py)
            .call_method1(intern!(py, "get_buffer"), (-1,))
            .and_then(|buffer| {
                if buffer.len()? == 0 {
                    Err(empty_buffer())
                } else {
                    Ok(buffer)
                }
            });
        let message = "Fatal error: protocol.get_buffer() call failed.";
        let Some(buffer) = self.check(transport, buffer, message)? else {
            return Ok(());
        };
        let message = "Fatal read error on socket transport";
        let Some(mut target) = self.check(transport, writable(&buffer), message)? else {
            return Ok(());
        };
        // The call into the protocol may have closed the transport.
        let Some(fd) = self.fd().filter(|_| self.lost.get() == 0) else {
            return Ok(());
        };
        let received = reactor::recv_uninit(fd, target.memory());
        drop(target);
        match received {
            Ok(0) => self.eof_received(transport, protocol),
            Ok(count) => {
                let result = protocol
                    .bind(py)
                    .call_method1(intern!(py, "buffer_updated"), (make::size(py, count)?,));
                self.check(
                    transport,
                    result,
                    "Fatal error: protocol.buffer_updated() call failed.",
                )?;
                Ok(())
            }
            Err(error) => self.read_failed(transport, &error),
        }
    }

    pub(super) fn read_failed(
        &self,
        transport: &Bound<'_, PyAny>,
        error: &std::io::Error,
    ) -> PyResult<()> {
        if error.kind() == std::io::ErrorKind::WouldBlock {
            return Ok(());
        }
        let error = os_error(transport.py(), error);
        self.fatal_error(transport, error, "Fatal read error on socket transport")
    }

    pub(super) fn eof_received(
        &self,
        transport: &Bound<'_, PyAny>,
        protocol: &Ref,
    ) -> PyResult<()> {
        let py = transport.py();
        self.log_debug(transport, "%r received EOF")?;
        let result = call::call_method0(protocol, intern!(py, "eof_received"))
            .and_then(|keep_open| keep_open.bind(py).is_truthy());
        let message = "Fatal error: protocol.eof_received() call failed.";
        match self.check(transport, result, message)? {
            None => Ok(()),
            // Open for writing: but there is nothing more to read.
            Some(true) => self.stop_watching(py, Direction::Read),
            Some(false) => self.close(transport),
        }
    }

    /// The value, or `None` after the transport was closed because of the exception; `SystemExit` and
    /// `KeyboardInterrupt` pass through.
    pub(super) fn check<T>(
        &self,
        transport: &Bound<'_, PyAny>,
        result: PyResult<T>,
        message: &str,
    ) -> PyResult<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if call::ends_the_loop(transport.py(), &error) => Err(error),
            Err(error) => self.fatal_error(transport, error, message).map(|()| None),
        }
    }

    /// Stops waiting for the descriptor in one direction, whatever an overridden hook raises.
    pub(super) fn stop_watching(&self, py: Python<'_>, direction: Direction) -> PyResult<()> {
        match self.event_loop(py) {
            Some(this) => this.get().unwatch_surely(&this, self.fd, direction),
            None => Ok(()),
        }
    }

    /// `transport.pause_reading()`.
    pub(super) fn pause_reading(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.closing.get() || self.reading_paused.get() {
            return Ok(());
        }
        self.reading_paused.set(true);
        self.stop_watching(transport.py(), Direction::Read)?;
        self.log_debug(transport, "%r pauses reading")
    }

    /// `transport.resume_reading()`.
    pub(super) fn resume_reading(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.closing.get() || !self.reading_paused.get() {
            return Ok(());
        }
        self.reading_paused.set(false);
        self.start_reading(transport)?;
        self.log_debug(transport, "%r resumes reading")
    }
}

/// The memory that the protocol gave, or the error of `socket.recv_into` in its words.
fn writable(buffer: &Bound<'_, PyAny>) -> PyResult<Buffer> {
    match Buffer::write(buffer) {
        Ok(memory) => Ok(memory),
        Err(_) => Err(PyTypeError::new_err(Words(format!(
            "recv_into() argument 1 must be read-write bytes-like object, not {}",
            buffer.get_type().name()?
        )))),
    }
}

fn empty_buffer() -> PyErr {
    PyRuntimeError::new_err(Words("get_buffer() returned an empty buffer"))
}
