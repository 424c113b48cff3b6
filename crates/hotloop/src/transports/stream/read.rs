//! Reading: one `recv` for each time the descriptor is ready, and the protocol's methods that get the data.

use std::hint::black_box;
use std::io;
use std::sync::Once;

use hotloop_reactor as reactor;
use hotloop_reactor::Direction;
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;

use crate::errors::os_error;
use crate::event_loop::READ_BUFFER_SIZE;
use crate::python::{Buffer, Ref, call, filled_bytes};

use super::Stream;
use crate::python::make;
use crate::python::make::Words;

const RECEIVER_FAILED: &str = "Fatal error: protocol.data_received() call failed.";
const READ_FAILED: &str = "Fatal read error on socket transport";

/// After a read of so many bytes the next one goes straight into the `bytes` that the protocol gets. To make that
/// costs as much as to copy a few KiB, because it is made for the most and then cut; a copy of more costs more.
const LARGE_READ: usize = 16 * 1024;

/// Lets the allocator keep what large reads are made in.
///
/// glibc maps each block of 128 KiB and more by itself and unmaps it when it is freed: three system calls, and a page
/// fault for every 4 KiB, in every large read. It takes them from the heap, and keeps the heap's end, once a mapped
/// block of that size has been freed (mallopt(3), `M_MMAP_THRESHOLD`); those of the reads are cut before they are
/// freed, so it would never learn.
fn keep_large_blocks() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| drop(black_box(Vec::<u8>::with_capacity(READ_BUFFER_SIZE + 4096))));
}

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
        if self.large_reads.get() && self.feed.get().is_none() {
            let filled = filled_bytes(py, self.max_size.get(), |memory| {
                reactor::recv_uninit(fd, memory)
            });
            return self.large_read(transport, protocol, filled);
        }
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
            (Ok(count), Some(data)) => {
                if count >= LARGE_READ {
                    keep_large_blocks();
                    self.large_reads.set(true);
                }
                let Some(data) = self.check(transport, data, READ_FAILED)? else {
                    return Ok(());
                };
                self.data_received(transport, protocol, &data.into())
            }
            (Ok(_), None) => Ok(()),
            (Err(error), _) => self.read_failed(transport, &error),
        }
    }

    fn large_read(
        &self,
        transport: &Bound<'_, PyAny>,
        protocol: &Ref,
        filled: PyResult<io::Result<Ref>>,
    ) -> PyResult<()> {
        let data = match self.check(transport, filled, READ_FAILED)? {
            None => return Ok(()),
            Some(Ok(data)) => data,
            Some(Err(error)) => return self.read_failed(transport, &error),
        };
        let count = data.bind(transport.py()).len()?;
        self.large_reads.set(count >= LARGE_READ);
        if count == 0 {
            return self.eof_received(transport, protocol);
        }
        self.data_received(transport, protocol, &data)
    }

    fn data_received(
        &self,
        transport: &Bound<'_, PyAny>,
        protocol: &Ref,
        data: &Ref,
    ) -> PyResult<()> {
        let name = intern!(transport.py(), "data_received");
        let result = call::call_method1(protocol, name, data);
        self.check(transport, result, RECEIVER_FAILED).map(drop)
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
        let Some(mut target) = self.check(transport, writable(&buffer), READ_FAILED)? else {
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
        self.fatal_error(transport, error, READ_FAILED)
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
