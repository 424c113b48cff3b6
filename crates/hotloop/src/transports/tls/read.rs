//! Reading: received records become plain text and go to the program's protocol.

use std::mem::MaybeUninit;

use crate::python::make;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyMemoryView};

use crate::event_loop::READ_BUFFER_SIZE;
use crate::python::{Buffer, Ref, call};
use crate::tls::End;

use super::{Phase, Tls};

/// The most plain text that one record carries, in bytes (RFC 8446, section 5.1).
pub(super) const RECORD: usize = 16 * 1024;
/// Up to so much waiting input, the plain text is collected on the stack and copied into a `bytes` of its size;
/// above, it is decrypted into the `bytes` straight away.
const SMALL_INPUT: usize = 8 * 1024;

unsafe extern "C" {
    /// bytesobject.h; PyO3 does not declare it.
    fn _PyBytes_Resize(object: *mut *mut ffi::PyObject, size: ffi::Py_ssize_t) -> std::ffi::c_int;
}

impl Tls {
    /// A native stream has received `data`: nothing of it is used after this returns.
    pub(crate) fn received(protocol: &Bound<'_, PyAny>, data: &[u8]) -> PyResult<()> {
        let py = protocol.py();
        let tls = Self::of(protocol);
        if tls.phase.get() == Phase::Unwrapped {
            return Ok(()); // closed: nobody will ask for it
        }
        // SAFETY: T5: `data` outlives the turn, which ends below.
        unsafe { tls.engine.lend(py, data)? };
        let turn = Turn(tls);
        let result = tls.proceed(protocol);
        drop(turn);
        result
    }

    /// Any other transport has received `count` bytes into the buffer of [`Tls::receive_memory`].
    pub(super) fn buffer_updated(&self, protocol: &Bound<'_, PyAny>, count: usize) -> PyResult<()> {
        let py = protocol.py();
        let Some(buffer) = self.receive_buffer.get(py) else {
            return Ok(());
        };
        {
            let view = Buffer::read(&buffer.bind(py))?;
            let data = view.bytes().get(..count).unwrap_or_default();
            self.engine.keep(py, data)?;
        }
        self.proceed(protocol)
    }

    /// The memory that a foreign transport may receive into.
    pub(super) fn receive_memory(&self, py: Python<'_>, wanted: isize) -> PyResult<Ref> {
        let wanted = match usize::try_from(wanted) {
            Ok(wanted) if (1..=READ_BUFFER_SIZE).contains(&wanted) => wanted,
            _ => READ_BUFFER_SIZE,
        };
        if let Some(buffer) = self.receive_buffer.get(py)
            && buffer.bind(py).len()? >= wanted
        {
            return Ok(PyMemoryView::from(&buffer.bind(py))?.into());
        }
        let buffer = PyByteArray::new_with(py, wanted, |_| Ok(()))?;
        let view = PyMemoryView::from(buffer.as_any())?;
        drop(self.receive_buffer.replace(Some(buffer.into())));
        Ok(view.into())
    }

    pub(super) fn do_read(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        if !self.is_readable() {
            return Ok(());
        }
        let result = self.read_and_answer(protocol);
        self.or_fatal(protocol, result, "Fatal error on SSL protocol")?;
        self.after_operation(protocol)
    }

    fn is_readable(&self) -> bool {
        matches!(self.phase.get(), Phase::Wrapped | Phase::Flushing)
    }

    fn read_and_answer(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        if !self.app_reading_paused.get() {
            self.deliver(protocol)?;
            // Reading can have written: an answer of the TLS protocol, or what the program has sent meanwhile.
            if self.has_backlog() {
                self.do_write(protocol)?;
            } else {
                self.process_outgoing(protocol)?;
            }
        } else {
            // A protocol that pauses in `connection_made`: the handshake's last message must leave all the same.
            self.process_outgoing(protocol)?;
        }
        self.control_ssl_reading(protocol)
    }

    /// Delivers until records run out or the program wants no more.
    fn deliver(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = protocol.py();
        while self.is_readable() && !self.app_reading_paused.get() {
            // Each delivery may set another protocol.
            let Some(app) = self.app_protocol.get(py) else {
                return Ok(());
            };
            let end = if let Some(get_buffer) = self.app_get_buffer.get(py) {
                self.deliver_buffered(protocol, &get_buffer)?
            } else {
                let (data, end) = self.read_data(py)?;
                if let Some(data) = data {
                    call::call_method1(&app, intern!(py, "data_received"), &data)?;
                }
                end
            };
            match end {
                End::Full => {}
                End::Drained => return Ok(()),
                End::Closed => {
                    self.call_eof_received(protocol)?;
                    return self.start_shutdown(protocol);
                }
            }
        }
        Ok(())
    }

    /// One filling of the buffer that the program's protocol gives.
    fn deliver_buffered(&self, protocol: &Bound<'_, PyAny>, get_buffer: &Ref) -> PyResult<End> {
        let py = protocol.py();
        let hint = make::size(py, self.engine.waiting_in(py)?)?;
        let buffer = get_buffer.bind(py).call1((hint,))?;
        let progress = {
            let mut target = match Buffer::write(&buffer) {
                Ok(target) => target,
                Err(error) => return Err(self.refuse_buffer(&buffer, error)),
            };
            let mut progress = self.engine.read(py, target.memory())?;
            if target.memory().is_empty() {
                // As `SSLObject.read(0, buffer)`: nothing read means the end.
                progress.end = End::Closed;
            }
            progress
        };
        let mut end = progress.end;
        if end == End::Full {
            // More in the next iteration: others have their turn first.
            self.call_soon(protocol, "_do_read")?;
            end = End::Drained;
        }
        // `get_buffer()` may have set another protocol, which then is told.
        if progress.count > 0
            && let Some(updated) = self.app_buffer_updated.get(py)
        {
            let count = make::size(py, progress.count)?;
            updated.bind(py).call1((count,))?;
        }
        Ok(end)
    }

    /// The exception for something that is no buffer to write into: that of what asyncio does with it.
    fn refuse_buffer(&self, buffer: &Bound<'_, PyAny>, error: PyErr) -> PyErr {
        let py = buffer.py();
        let Some(_turn) = self.engine.begin() else {
            return error;
        };
        let refused = buffer.len().and_then(|length| {
            let length = make::size(py, length)?;
            let object = self.object.bind(py);
            object.call_method1(intern!(py, "read"), (length, buffer))
        });
        refused.err().unwrap_or(error)
    }

    /// Plain text as `bytes`, as much as there is up to 256 KiB, and why there is no more of it.
    fn read_data(&self, py: Python<'_>) -> PyResult<(Option<Ref>, End)> {
        let input = self.engine.waiting_in(py)?;
        if input <= SMALL_INPUT {
            let mut memory = [MaybeUninit::<u8>::uninit(); RECORD];
            let progress = self.engine.read(py, &mut memory)?;
            if progress.count == 0 {
                return Ok((None, progress.end));
            }
            // SAFETY: A2, and [`crate::tls::Progress`]: the memory is ours, the engine has filled so many bytes of it.
            let text =
                unsafe { std::slice::from_raw_parts(memory.as_ptr().cast::<u8>(), progress.count) };
            return Ok((Some(make::bytes(py, text)?.into()), progress.end));
        }
        // OpenSSL may hold a part of a record from before, hence more than the input.
        let size = (input + RECORD).min(READ_BUFFER_SIZE);
        // SAFETY: A3 by `from_new`; a new `bytes` that nobody else has seen may be written to (bytesobject.h).
        let (object, memory) = unsafe {
            let size = size.cast_signed();
            let object = Ref::from_new(py, ffi::PyBytes_FromStringAndSize(std::ptr::null(), size))?;
            let start = ffi::PyBytes_AS_STRING(object.as_ptr()).cast_mut();
            let memory = std::slice::from_raw_parts_mut(
                start.cast::<MaybeUninit<u8>>(),
                size.unsigned_abs(),
            );
            (object, memory)
        };
        let progress = self.engine.read(py, memory)?;
        if progress.count == 0 {
            return Ok((None, progress.end));
        }
        let mut object = object.into_ptr();
        // SAFETY: A3: on failure the object is freed and null is put in its place. It is still ours alone.
        let object = unsafe {
            _PyBytes_Resize(&raw mut object, progress.count.cast_signed());
            Ref::from_new(py, object)?
        };
        Ok((Some(object), progress.end))
    }
}

/// Ends the turn in which received bytes are lent to the engine (T5).
struct Turn<'a>(&'a Tls);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.engine.take_back();
    }
}
