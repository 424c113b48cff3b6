//! Writing: plain text becomes records, and the records of one call leave in one `send`.

use crate::python::make;
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView};

use crate::imports::imports;
use crate::python::make::Words;
use crate::python::{Buffer, Ref, copied};
use crate::transports::stream::Stream;

use super::read::RECORD;
use super::{Phase, Tls};

/// Records are handed on when so many bytes of them are there, also in the middle of a large write.
const SEND_AT: usize = 256 * 1024;

/// Plain text that waits, without the part that was encrypted.
pub(super) struct Plain {
    text: Text,
    start: usize,
}

enum Text {
    /// An exact `bytes` object, which cannot change and whose release runs no code.
    Bytes(Ref),
    /// A copy of anything else.
    Copy(Vec<u8>),
    /// What cannot be written, with the reason: asyncio finds out when its turn has come.
    Refused(PyErr),
}

impl Plain {
    fn of(data: &Bound<'_, PyAny>) -> PyResult<Self> {
        let text = if data.is_exact_instance_of::<PyBytes>() {
            Text::Bytes(data.into())
        } else {
            Text::Copy(copied(Buffer::read(data)?.bytes())?)
        };
        Ok(Self { text, start: 0 })
    }

    fn bytes<'a>(&'a self, py: Python<'a>) -> &'a [u8] {
        let all = match &self.text {
            Text::Bytes(bytes) => {
                // SAFETY: A2, A4: made only of exact `bytes` objects; the reference in `self` keeps the memory, which
                // never changes.
                unsafe {
                    let object = bytes.bind(py).as_ptr();
                    let start = pyo3::ffi::PyBytes_AS_STRING(object).cast::<u8>();
                    std::slice::from_raw_parts(start, pyo3::ffi::Py_SIZE(object).unsigned_abs())
                }
            }
            Text::Copy(copy) => copy,
            Text::Refused(_) => &[],
        };
        all.get(self.start..).unwrap_or_default()
    }

    fn is_refused(&self) -> bool {
        matches!(self.text, Text::Refused(_))
    }
}

impl Tls {
    /// `transport.write(data)`.
    pub(super) fn write(
        &self,
        protocol: &Bound<'_, PyAny>,
        data: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        check_type(data)?;
        if data.len()? == 0 {
            return Ok(());
        }
        if self.count_lost_write(data.py())? {
            return Ok(());
        }
        self.last_write.set(self.turn(data.py()));
        let result =
            if self.phase.get() == Phase::Wrapped && !self.has_backlog() && !self.is_writing() {
                self.write_now(protocol, data)
            } else {
                self.append_backlog(data);
                self.write_backlog(protocol)
            };
        self.or_fatal(protocol, result, "Fatal error on SSL protocol")
    }

    /// `transport.writelines(list_of_data)`: small pieces share records.
    pub(super) fn writelines(
        &self,
        protocol: &Bound<'_, PyAny>,
        list: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = protocol.py();
        if self.count_lost_write(py)? {
            return Ok(());
        }
        self.last_write.set(self.turn(py));
        for data in list.try_iter()? {
            let data = data?;
            if !self.append_backlog(&data) {
                // asyncio counts what waits: an object without a length is refused by this call already.
                data.len()?;
            }
        }
        let result = self.write_backlog(protocol);
        self.or_fatal(protocol, result, "Fatal error on SSL protocol")
    }

    /// A write after the end: counted; asyncio warns after some of them.
    fn count_lost_write(&self, py: Python<'_>) -> PyResult<bool> {
        if matches!(self.phase.get(), Phase::Handshake | Phase::Wrapped) {
            return Ok(false);
        }
        let imports = imports(py)?;
        if self.lost.get() >= imports.log_threshold_for_lost_writes {
            let logger = imports.logger.bind(py);
            let text = make::string(py, "SSL connection is closed")?;
            logger.call_method1(intern!(py, "warning"), (text,))?;
        }
        self.lost.set(self.lost.get().saturating_add(1));
        Ok(true)
    }

    /// Whether plain text waits, or something that will be refused.
    pub(super) fn has_backlog(&self) -> bool {
        !self.backlog.borrow().is_empty()
    }

    /// Puts plain text behind what waits, without a try to encrypt it; whether it is such.
    pub(super) fn append_backlog(&self, data: &Bound<'_, PyAny>) -> bool {
        let piece = Plain::of(data).unwrap_or_else(|error| Plain {
            text: Text::Refused(error),
            start: 0,
        });
        let taken = !piece.is_refused();
        self.push(piece, data.py());
        taken
    }

    fn push(&self, piece: Plain, py: Python<'_>) {
        let length = piece.bytes(py).len();
        if length > 0 || piece.is_refused() {
            self.backlog.borrow_mut().push_back(piece);
            self.backlog_size.set(self.backlog_size.get() + length);
        }
    }

    /// Puts the rest of a piece before what waits.
    fn put_back(&self, piece: Plain, py: Python<'_>) {
        let length = piece.bytes(py).len();
        if length > 0 && self.phase.get() != Phase::Unwrapped {
            self.backlog.borrow_mut().push_front(piece);
            self.backlog_size.set(self.backlog_size.get() + length);
        }
    }

    /// Encrypts straight from the program's memory: nothing waits.
    fn write_now(&self, protocol: &Bound<'_, PyAny>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = protocol.py();
        if data.is_exact_instance_of::<PyBytes>() {
            return self.encrypt_and_send(protocol, Some(Plain::of(data)?));
        }
        let buffer = Buffer::read(data)?;
        if buffer.bytes().len() > SEND_AT {
            // Sending can run Python code, which must not change what is still to be encrypted.
            return self.encrypt_and_send(protocol, Some(Plain::of(data)?));
        }
        self.lend_buffer(py);
        let written = self.engine.write(py, buffer.bytes())?;
        let rest = buffer.bytes().get(written..).unwrap_or_default().to_vec();
        drop(buffer);
        let text = Text::Copy(rest);
        self.put_back(Plain { text, start: 0 }, py);
        self.process_outgoing(protocol)?;
        self.after_operation(protocol)
    }

    /// Whether plain text is being encrypted further out: whoever does so goes on with what waits.
    pub(super) fn is_writing(&self) -> bool {
        self.in_hand.get().is_some()
    }

    fn write_backlog(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.phase.get() == Phase::Wrapped {
            self.do_write(protocol)
        } else {
            Ok(())
        }
    }

    /// Encrypts what waits and hands the records on.
    pub(super) fn do_write(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        self.encrypt_and_send(protocol, None)
    }

    /// The same for one more piece, which comes before what waits.
    ///
    /// Records are handed on in the middle of a large piece, to a transport that may be written in Python and call back:
    /// what is written by such a call only waits, and this goes on with it.
    fn encrypt_and_send(&self, protocol: &Bound<'_, PyAny>, first: Option<Plain>) -> PyResult<()> {
        let py = protocol.py();
        if let Some(writing) = Writing::begin(self) {
            let mut next = first.or_else(|| self.next_piece(py));
            while let Some(piece) = next {
                if let Text::Refused(error) = piece.text {
                    return Err(error);
                }
                if !self.encrypt(py, piece, &writing)? {
                    break;
                }
                next = self.next_piece(py);
            }
        } else if let Some(first) = first {
            self.push(first, py);
        }
        self.process_outgoing(protocol)?;
        self.after_operation(protocol)
    }

    /// Takes out the first piece that waits, with the next ones if all together fit into one record.
    fn next_piece(&self, py: Python<'_>) -> Option<Plain> {
        let piece = self.join_pieces(py)?;
        let rest = self.backlog_size.get() - piece.bytes(py).len();
        self.backlog_size.set(rest);
        Some(piece)
    }

    fn join_pieces(&self, py: Python<'_>) -> Option<Plain> {
        let mut backlog = self.backlog.borrow_mut();
        let first = backlog.pop_front()?;
        let length = first.bytes(py).len();
        let fits = |piece: Option<&Plain>, length| {
            piece.is_some_and(|piece| {
                !piece.is_refused() && length + piece.bytes(py).len() <= RECORD
            })
        };
        if first.is_refused() || !fits(backlog.front(), length) {
            return Some(first);
        }
        let mut joined = Vec::with_capacity(self.backlog_size.get().min(RECORD));
        joined.extend_from_slice(first.bytes(py));
        let mut used = vec![first];
        while fits(backlog.front(), joined.len())
            && let Some(next) = backlog.pop_front()
        {
            joined.extend_from_slice(next.bytes(py));
            used.push(next);
        }
        drop(backlog);
        drop(used); // exact `bytes` and copies: no Python code runs
        Some(Plain {
            text: Text::Copy(joined),
            start: 0,
        })
    }

    /// Encrypts a piece, handing records on in between if it is a large one. Whether all of it was taken; what OpenSSL
    /// did not take waits again, before everything else.
    fn encrypt(&self, py: Python<'_>, mut piece: Plain, writing: &Writing<'_>) -> PyResult<bool> {
        loop {
            self.lend_buffer(py);
            let bytes = piece.bytes(py);
            let chunk = bytes.get(..SEND_AT.min(bytes.len())).unwrap_or_default();
            let (chunk_length, all) = (chunk.len(), bytes.len());
            let written = self.engine.write(py, chunk);
            piece.start += *written.as_ref().unwrap_or(&0);
            if !matches!(written, Ok(written) if written == chunk_length) {
                self.put_back(piece, py);
                return written.map(|_| false);
            }
            if chunk_length == all {
                return Ok(true);
            }
            writing.in_hand(all - chunk_length);
            let sent = self.send_records(py);
            writing.in_hand(0);
            if self.phase.get() == Phase::Unwrapped {
                return sent.map(|()| false); // the connection is lost: nobody gets the rest
            }
            if let Err(error) = sent {
                self.put_back(piece, py);
                return Err(error);
            }
        }
    }

    /// Gives the engine the loop's buffer for records.
    fn lend_buffer(&self, py: Python<'_>) {
        self.engine.offer_buffer(|| {
            self.event_loop(py)
                .map(|this| this.get().take_record_buffer())
                .unwrap_or_default()
        });
    }

    /// Hands the records on, and looks at the marks of flow control.
    pub(super) fn process_outgoing(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        self.send_records(protocol.py())?;
        self.control_app_writing(protocol)
    }

    fn send_records(&self, py: Python<'_>) -> PyResult<()> {
        if self.ssl_writing_paused.get() {
            return Ok(());
        }
        let Some(transport) = self.transport.get(py) else {
            return Ok(());
        };
        let transport = transport.bind(py);
        let mut records = self.engine.take_records(py)?;
        let mut result = Ok(());
        if records.is_empty() {
            // Perhaps an empty buffer of the loop.
        } else if self.native.get() {
            let more = self.is_answering(py);
            result = Stream::of(&transport).write_records(&transport, &records, more);
        } else {
            let data = make::bytes(py, &records)?;
            result = transport
                .call_method1(intern!(py, "write"), (data,))
                .map(drop);
        }
        if records.capacity() > 0
            && let Some(this) = self.event_loop(py)
        {
            records.clear();
            this.get().return_record_buffer(records);
        }
        result
    }

    /// The number of the callback that runs.
    fn turn(&self, py: Python<'_>) -> Option<u32> {
        self.event_loop(py)?.get().turn.number()
    }

    /// Whether this callback has written and is expected to close the connection, too.
    fn is_answering(&self, py: Python<'_>) -> bool {
        if self.phase.get() != Phase::Wrapped || self.last_write.get().is_none() {
            return false;
        }
        self.event_loop(py).is_some_and(|this| {
            let turn = &this.get().turn;
            turn.answers_and_closes.get() && turn.number() == self.last_write.get()
        })
    }

    /// The program closes the connection: whether it has written in the same callback is what the next one expects.
    pub(super) fn note_close(&self, py: Python<'_>) {
        if let Some(this) = self.event_loop(py) {
            let turn = &this.get().turn;
            let now = turn.number();
            turn.answers_and_closes
                .set(now.is_some() && now == self.last_write.get());
        }
    }

    /// The connection is lost: what waits is dropped.
    pub(super) fn drop_waiting(&self, py: Python<'_>) -> PyResult<()> {
        let pieces = std::mem::take(&mut *self.backlog.borrow_mut());
        self.backlog_size.set(0);
        drop(pieces);
        self.engine.take_records(py).map(drop)
    }
}

/// Plain text is being encrypted, until this is dropped.
struct Writing<'a>(&'a Tls);

impl<'a> Writing<'a> {
    /// `None` if somebody further out does so, or is in the middle of another operation: they go on with what waits.
    fn begin(tls: &'a Tls) -> Option<Self> {
        if tls.engine.turn().is_taken() {
            tls.engine.turn().want();
            return None;
        }
        if tls.is_writing() {
            return None;
        }
        tls.in_hand.set(Some(0));
        Some(Self(tls))
    }

    /// So many bytes are left of the piece that was taken out.
    fn in_hand(&self, rest: usize) {
        self.0.in_hand.set(Some(rest));
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.in_hand.set(None);
    }
}

/// `TypeError` for what `transport.write` does not take, in asyncio's words.
pub(super) fn check_type(data: &Bound<'_, PyAny>) -> PyResult<()> {
    let known = data.is_instance_of::<PyBytes>()
        || data.is_instance_of::<PyByteArray>()
        || data.is_instance_of::<PyMemoryView>();
    if known {
        return Ok(());
    }
    Err(PyTypeError::new_err(Words(format!(
        "data: expecting a bytes-like instance, got {}",
        data.get_type().name()?
    ))))
}
