//! What a stream transport does for the TLS protocol above it, without Python in between.

use hotloop_reactor as reactor;
use pyo3::prelude::*;

use crate::event_loop::Loop;
use crate::imports::imports;
use crate::python::Ref;
use crate::transports::flow::Controlled;
use crate::transports::tls::Tls;

use super::Stream;
use super::write::Piece;

impl Stream {
    /// Whether `object` is a native stream transport of `this`.
    pub(crate) fn is_native_of(object: &Bound<'_, PyAny>, this: &Bound<'_, Loop>) -> bool {
        imports(object.py()).is_ok_and(|imports| object.get_type().is(&imports.stream_type))
            && Self::of(object)
                .event_loop
                .peek(|known| known.is_some_and(|known| known.as_ptr() == this.as_ptr()))
    }

    /// Begins with an accepted connection whose protocol is our TLS protocol: `connection_made` and the start of
    /// reading, which for other protocols are two callbacks of the next iteration. The program sees neither: its own
    /// protocol is told when the handshake is over.
    pub(crate) fn start_tls(
        transport: &Bound<'_, PyAny>,
        protocol: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        Tls::of(protocol).connection_made(protocol, transport)?;
        Self::of(transport).start_reading(transport)
    }

    /// Whether this is an accepted connection whose handshake is not over.
    pub(super) fn is_being_accepted(&self, py: Python<'_>) -> bool {
        self.tls.get()
            && self
                .protocol
                .get(py)
                .is_some_and(|protocol| Tls::of(&protocol.bind(py)).is_being_accepted())
    }

    /// The loop is closed: where asyncio's task of an accepted connection has been cancelled before, the handshake
    /// ends here.
    pub(crate) fn loop_closed(transport: &Bound<'_, PyAny>) -> PyResult<()> {
        let stream = Self::of(transport);
        match stream.is_being_accepted(transport.py()) {
            true => stream.let_go(transport),
            false => Ok(()),
        }
    }

    /// Receives once, for a protocol that is our TLS protocol.
    pub(super) fn read_records(
        &self,
        transport: &Bound<'_, PyAny>,
        protocol: &Ref,
    ) -> PyResult<()> {
        let py = transport.py();
        let (Some(this), Some(fd)) = (self.event_loop(py), self.fd()) else {
            return Ok(());
        };
        // A5: the buffer is ours until it is given back; whoever reads meanwhile gets another.
        let mut buffer = this.get().take_read_buffer();
        match reactor::recv(fd, &mut buffer) {
            Ok(0) => {
                this.get().return_read_buffer(buffer);
                self.eof_received(transport, protocol)
            }
            Ok(count) => {
                let result = Tls::received(&protocol.bind(py), &buffer[..count]);
                this.get().return_read_buffer(buffer);
                let message = "Fatal error: protocol.buffer_updated() call failed.";
                self.check(transport, result, message).map(drop)
            }
            Err(error) => {
                this.get().return_read_buffer(buffer);
                self.read_failed(transport, &error)
            }
        }
    }

    /// As `transport.write(records)`: what the kernel does not take now is copied. If `more` is expected to follow in
    /// this callback, they may wait for it as the first write of a burst does.
    pub(crate) fn write_records(
        &self,
        transport: &Bound<'_, PyAny>,
        records: &[u8],
        more: bool,
    ) -> PyResult<()> {
        self.check_writable(
            "Cannot call write() after write_eof()",
            "unable to write; sendfile is in progress",
        )?;
        let rest = |sent: usize| Ok(Piece::Copy(records.get(sent..).unwrap_or_default().into()));
        if self.write_bytes(transport, records, rest, more)? {
            self.maybe_pause_protocol(transport)
        } else {
            Ok(())
        }
    }

    /// How many bytes wait to be sent.
    pub(crate) fn bytes_waiting(&self) -> usize {
        self.waiting()
    }

    /// Some of what waited was sent: the marks above us count it, too.
    pub(super) fn tell_tls_of_room(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        match self.protocol.get(transport.py()) {
            Some(protocol) if self.tls.get() => Tls::drained(&protocol.bind(transport.py())),
            _ => Ok(()),
        }
    }
}
