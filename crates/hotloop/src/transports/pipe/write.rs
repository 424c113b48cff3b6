//! The writing pipe transport: at once when nothing waits, from the queue when the descriptor can be written again.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;

use hotloop_reactor::{self as reactor, Direction, FlowControl, PipeKind, WriteQueue};
use pyo3::exceptions::{PyAssertionError, PyBrokenPipeError, PyOSError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView, PyType};

use crate::errors::os_error;
use crate::event_loop::{Loop, Watcher};
use crate::imports::Imports;
use crate::python::{Buffer, Ref, RefSlot, call, copied};
use crate::transports::flow::Controlled;
use crate::transports::object::{self, Described, FlowControlSlots, State};
use crate::transports::reports::{self, polling};
use crate::transports::stream::Piece;

use super::end::End;
use super::{PipeState, attributes, end, make_type as make_pipe_type, state};

const WRITE_FAILED: &str = "Fatal write error on pipe transport";

/// The state of one transport.
pub(crate) struct WritePipe {
    end: End,
    pub(super) queue: RefCell<WriteQueue<Piece>>,
    /// The context of the writing callbacks: a copy of the one in which waiting began.
    write_context: RefSlot,
    pub(super) flow: FlowControl,
    /// Failed writes and writes after the end, as asyncio's `_conn_lost` counts them.
    pub(super) lost: Cell<u32>,
}

/// Makes the type over the running Python's `asyncio.transports._FlowControlMixin`.
pub(crate) fn make_type(py: Python<'_>) -> PyResult<Py<PyType>> {
    let base = py
        .import("asyncio.transports")?
        .getattr("_FlowControlMixin")?
        .cast_into::<PyType>()?;
    make_pipe_type::<WritePipe>(
        c"hotloop._core.WritePipeTransport",
        &base,
        object::slots_with_repr::<WritePipe>(),
        attributes::of_write_pipe::methods(),
        attributes::of_write_pipe::getters(),
    )
}

impl State for WritePipe {
    type Slots = FlowControlSlots;

    fn for_each_reference(&self, look: &mut dyn FnMut(&Ref)) {
        self.end.for_each_reference(look);
        object::look_into(&[&self.write_context], look);
    }

    fn drop_references(&self) {
        self.end.drop_references();
        drop(self.write_context.take());
    }

    fn finalize(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        end::warn_if_unclosed::<Self>(transport)
    }
}

impl Described for WritePipe {
    fn describe(&self, transport: &Bound<'_, PyAny>) -> PyResult<String> {
        end::describe::<Self>(transport)
    }
}

impl PipeState for WritePipe {
    const REFUSAL: &'static str = "Pipe transport is only for pipes, sockets and character devices";

    fn class(imports: &Imports) -> &Py<PyType> {
        &imports.write_pipe_type
    }

    fn new(end: End) -> Self {
        Self {
            end,
            queue: RefCell::new(WriteQueue::new()),
            write_context: RefSlot::default(),
            flow: FlowControl::default(),
            lost: Cell::new(0),
        }
    }

    fn end(&self) -> &End {
        &self.end
    }

    fn watcher(transport: Ref) -> Watcher {
        Watcher::WritePipe(transport)
    }

    fn reads(kind: PipeKind) -> bool {
        kind != PipeKind::CharacterDevice
    }

    fn may_read(&self) -> bool {
        !self.end.closing.get()
    }

    fn describe_open(&self, this: &Bound<'_, Loop>) -> String {
        let state = polling(this, self.end.raw_fd(), Direction::Write);
        format!("{state} bufsize={}", self.waiting())
    }
}

impl Controlled for WritePipe {
    fn flow(&self) -> &FlowControl {
        &self.flow
    }

    fn waiting(&self) -> usize {
        self.queue.borrow().len()
    }

    /// By the methods of asyncio's mixin, which look again.
    fn tell_protocol(&self, transport: &Bound<'_, PyAny>, pause: bool) -> PyResult<()> {
        let name = if pause {
            intern!(transport.py(), "_maybe_pause_protocol")
        } else {
            intern!(transport.py(), "_maybe_resume_protocol")
        };
        transport.call_method0(name).map(drop)
    }
}

impl WritePipe {
    /// The descriptor is ready: the registry's watcher runs.
    pub(crate) fn on_ready(py: Python<'_>, transport: &Ref, direction: Direction) -> PyResult<()> {
        let transport = transport.bind(py);
        let pipe: &Self = state(&transport);
        match (direction, pipe.write_context.get(py)) {
            (Direction::Read, _) => pipe.end.in_read_context(py, || pipe.read_ready(&transport)),
            (Direction::Write, Some(context)) => {
                call::within_context(py, &context, || pipe.write_ready(&transport))
            }
            (Direction::Write, None) => Ok(()),
        }
    }

    /// The other side is gone, or has sent something, which it is not meant to do.
    pub(super) fn read_ready(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = transport.py();
        self.end
            .log(transport, intern!(py, "info"), "%r was closed by peer")?;
        let error = if self.queue.borrow().is_empty() {
            py.None().into_bound(py)
        } else {
            py.get_type::<PyBrokenPipeError>().call0()?
        };
        self.force_close(transport, &error)
    }

    /// `transport.write(data)`.
    pub(super) fn write(
        &self,
        transport: &Bound<'_, PyAny>,
        data: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let queued = if let Ok(bytes) = data.cast_exact::<PyBytes>() {
            self.write_bytes(transport, bytes.as_bytes(), |_| {
                Ok(Piece::Bytes(data.into()))
            })?
        } else {
            self.write_buffer(transport, data)?
        };
        if queued {
            self.maybe_pause_protocol(transport)
        } else {
            Ok(())
        }
    }

    /// Writes from a buffer, which is released before the protocol hears of the queue's length.
    fn write_buffer(
        &self,
        transport: &Bound<'_, PyAny>,
        data: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        let is_bytes_like = data.is_instance_of::<PyBytes>()
            || data.is_instance_of::<PyByteArray>()
            || data.is_instance_of::<PyMemoryView>();
        if !is_bytes_like {
            return Err(PyAssertionError::new_err(data.repr()?.unbind()));
        }
        let buffer = match Buffer::read(data) {
            Ok(buffer) => buffer,
            Err(error) => return self.write_failed(transport, error).map(|()| false),
        };
        let bytes = buffer.bytes();
        self.write_bytes(transport, bytes, |sent| {
            Ok(Piece::Copy(copied(&bytes[sent..])?.into()))
        })
    }

    /// Writes what the kernel takes now and queues the rest; returns whether the queue has grown. `piece` makes what
    /// is queued of what is left after so many bytes; a whole `bytes` object may be handed back instead.
    fn write_bytes(
        &self,
        transport: &Bound<'_, PyAny>,
        bytes: &[u8],
        piece: impl FnOnce(usize) -> PyResult<Piece>,
    ) -> PyResult<bool> {
        if bytes.is_empty() {
            return Ok(false);
        }
        let py = transport.py();
        let (Some(fd), 0, false) = (self.end.fd(), self.lost.get(), self.end.closing.get()) else {
            return self.count_lost_write(py).map(|()| false);
        };
        if !self.queue.borrow().is_empty() {
            let piece = piece(0)?;
            self.queue.borrow_mut().push(piece);
            return Ok(true);
        }
        let sent = match reactor::write_pipe(fd, bytes) {
            Ok(sent) if sent == bytes.len() => return Ok(false),
            Ok(sent) => sent,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => {
                let error = os_error(py, &error);
                return self.write_failed(transport, error).map(|()| false);
            }
        };
        let rest = match piece(sent) {
            Ok(rest) => rest,
            Err(error) if sent == 0 => return Err(error),
            Err(error) => {
                // What is read must not go on behind a hole.
                self.write_failed(transport, error.clone_ref(py))?;
                return Err(error);
            }
        };
        self.watch_for_room(transport)?;
        match rest {
            whole @ Piece::Bytes(_) => self.queue.borrow_mut().push_partly(whole, sent),
            rest @ Piece::Copy(_) => self.queue.borrow_mut().push(rest),
        }
        Ok(true)
    }

    /// Watches for writing, in a copy of the current context.
    fn watch_for_room(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = transport.py();
        let Some(this) = self.end.event_loop(py) else {
            return Ok(());
        };
        this.get().check_closed()?;
        drop(self.write_context.replace(Some(call::copy_context(py)?)));
        let watcher = Self::watcher(transport.into());
        let fd = self.end.raw_fd();
        this.get().watch(&this, fd, Direction::Write, watcher)
    }

    /// The descriptor can be written again.
    pub(super) fn write_ready(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = transport.py();
        let Some(fd) = self.end.fd() else {
            return Ok(());
        };
        let flushed = self.queue.borrow_mut().flush_pipe(fd);
        if let Err(error) = flushed {
            let dropped = self.queue.borrow_mut().clear();
            drop(dropped);
            let unwatched = self.end.unwatch(py, Direction::Write);
            return self
                .write_failed(transport, os_error(py, &error))
                .and(unwatched);
        }
        if !self.queue.borrow().is_empty() {
            return Ok(());
        }
        let mut unwatched = self.end.unwatch(py, Direction::Write);
        self.maybe_resume_protocol(transport)?; // may write more
        if self.end.closing.get() && !self.end.ended.get() {
            unwatched = unwatched.and(self.end.unwatch(py, Direction::Read));
            self.end
                .connection_lost(transport, &py.None().into_bound(py))?;
        }
        unwatched
    }

    /// `transport.write_eof()`: the pipe is closed when what waits was written.
    pub(super) fn write_eof(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        let is_open = self.end.pipe.is_some();
        if !is_open || self.end.closing.replace(true) || !self.queue.borrow().is_empty() {
            return Ok(());
        }
        let py = transport.py();
        self.end.close(transport, &py.None().into_bound(py))
    }

    /// asyncio's `_close(exc)`: what waits is dropped.
    pub(super) fn force_close(
        &self,
        transport: &Bound<'_, PyAny>,
        error: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let dropped = self.queue.borrow_mut().clear();
        let unwatched = if dropped.is_empty() {
            Ok(())
        } else {
            self.end.unwatch(transport.py(), Direction::Write)
        };
        drop(dropped);
        self.end.close(transport, error).and(unwatched)
    }

    /// Closes after an error. Those of the operating system are the other side's doing and no reason for a report.
    pub(super) fn fatal_error(
        &self,
        transport: &Bound<'_, PyAny>,
        error: &Bound<'_, PyAny>,
        message: &str,
    ) -> PyResult<()> {
        let expected = error.is_instance_of::<PyOSError>();
        self.end.report(transport, error, message, expected)?;
        self.force_close(transport, error)
    }

    fn write_failed(&self, transport: &Bound<'_, PyAny>, error: PyErr) -> PyResult<()> {
        let py = transport.py();
        self.lost.set(self.lost.get().saturating_add(1));
        let error = error.into_value(py).into_bound(py);
        self.fatal_error(transport, error.as_any(), WRITE_FAILED)
    }

    /// A write after the end: the first few pass silently, then asyncio warns.
    fn count_lost_write(&self, py: Python<'_>) -> PyResult<()> {
        let text = "pipe closed by peer or os.write(pipe, data) raised exception.";
        reports::count_lost_write(py, &self.lost, text)
    }
}
