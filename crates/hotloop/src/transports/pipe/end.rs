//! What both pipe transports have: a descriptor, a loop, a protocol, and one way to end.

use std::cell::Cell;
use std::os::fd::{BorrowedFd, RawFd};

use hotloop_reactor::{BlockingMode, Direction};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::event_loop::{Loop, Watcher};
use crate::python::{Ref, RefSlot, call};
use crate::transports::object;
use crate::transports::reports::{self, Named};

use super::{PipeState, state};
use crate::python::make;

/// One end of a pipe.
pub(crate) struct End {
    fd: RawFd,
    /// The Python object that owns the descriptor; empty when the transport is closed.
    pub(super) pipe: RefSlot,
    pub(super) event_loop: RefSlot,
    pub(super) protocol: RefSlot,
    /// The context of the reading callbacks: a copy of the one in which reading began.
    read_context: RefSlot,
    pub(super) closing: Cell<bool>,
    /// Whether `connection_lost` was scheduled or called.
    pub(super) ended: Cell<bool>,
    mode: Cell<Option<BlockingMode>>,
}

impl End {
    pub(super) fn new(
        fd: RawFd,
        mode: BlockingMode,
        this: &Bound<'_, Loop>,
        pipe: &Bound<'_, PyAny>,
        protocol: &Bound<'_, PyAny>,
    ) -> Self {
        Self {
            fd,
            pipe: RefSlot::new(Some(pipe.into())),
            event_loop: RefSlot::new(Some(this.into())),
            protocol: RefSlot::new(Some(protocol.into())),
            read_context: RefSlot::default(),
            closing: Cell::new(false),
            ended: Cell::new(false),
            mode: Cell::new(Some(mode)),
        }
    }

    pub(super) fn raw_fd(&self) -> RawFd {
        self.fd
    }

    /// The descriptor, while the transport is open.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        if !self.pipe.is_some() {
            return None;
        }
        // SAFETY: A8: the number is that of the pipe's descriptor, and not negative.
        Some(unsafe { BorrowedFd::borrow_raw(self.fd) })
    }

    /// The loop, while the transport is open.
    pub(super) fn event_loop<'py>(&self, py: Python<'py>) -> Option<Bound<'py, Loop>> {
        let event_loop = self.event_loop.get(py)?;
        // SAFETY: A4: only `new_pipe` stores it, and it is given a `Loop`.
        Some(unsafe { event_loop.into_bound(py).cast_into_unchecked() })
    }

    /// Runs `body` in the context of the reading callbacks.
    pub(super) fn in_read_context(
        &self,
        py: Python<'_>,
        body: impl FnOnce() -> PyResult<()>,
    ) -> PyResult<()> {
        match self.read_context.get(py) {
            Some(context) => call::within_context(py, &context, body),
            None => Ok(()),
        }
    }

    /// Watches the descriptor for reading, in a copy of the current context.
    pub(super) fn watch_for_reading<S: PipeState>(
        &self,
        transport: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = transport.py();
        let Some(this) = self.event_loop(py) else {
            return Ok(());
        };
        this.get().check_closed()?;
        drop(self.read_context.replace(Some(call::copy_context(py)?)));
        let watcher = S::watcher(transport.into());
        this.get().watch(&this, self.fd, Direction::Read, watcher)
    }

    /// Stops waiting for the descriptor in one direction, whatever an overridden hook raises.
    pub(super) fn unwatch(&self, py: Python<'_>, direction: Direction) -> PyResult<()> {
        match self.event_loop(py) {
            Some(this) => this.get().unwatch_surely(&this, self.fd, direction),
            None => Ok(()),
        }
    }

    /// asyncio's `_close(exc)` from where nothing is to be written any more: `connection_lost(exc)` follows.
    pub(super) fn close(
        &self,
        transport: &Bound<'_, PyAny>,
        error: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = transport.py();
        self.closing.set(true);
        let unwatched = self.unwatch(py, Direction::Read);
        self.schedule_connection_lost(transport, error)
            .and(unwatched)
    }

    pub(super) fn schedule_connection_lost(
        &self,
        transport: &Bound<'_, PyAny>,
        error: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = transport.py();
        let Some(this) = self.event_loop(py).filter(|_| !self.ended.replace(true)) else {
            return Ok(());
        };
        let callback = transport.getattr(intern!(py, "_call_connection_lost"))?;
        Loop::call_soon_native(&this, callback.into(), make::tuple(py, [error])?.into())
    }

    /// Calls the protocol's last method and gives everything back, also if that method raises.
    pub(super) fn connection_lost(
        &self,
        transport: &Bound<'_, PyAny>,
        error: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = transport.py();
        self.ended.set(true);
        let told = match self.protocol.get(py) {
            Some(protocol) => {
                call::call_method1(&protocol, intern!(py, "connection_lost"), &error.into())
                    .map(drop)
            }
            None => Ok(()),
        };
        let released = self.release(transport);
        told.and(released)
    }

    /// Gives back the descriptor's mode, the descriptor, the protocol and the loop.
    pub(super) fn release(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = transport.py();
        // Out of the poller before the number is free again.
        let unwatched = self.leave_poller(transport);
        if let Some(mode) = self.mode.take() {
            mode.restore();
        }
        let closed = match self.pipe.take() {
            Some(pipe) => call::call_method0(&pipe, intern!(py, "close")).map(drop),
            None => Ok(()),
        };
        drop((
            self.protocol.take(),
            self.event_loop.take(),
            self.read_context.take(),
        ));
        closed.and(unwatched)
    }

    /// Ends the watches by which the loop would tell this transport of the descriptor; another one may share it.
    fn leave_poller(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        let Some(this) = self.event_loop(transport.py()) else {
            return Ok(());
        };
        let mut left = Ok(());
        for direction in [Direction::Read, Direction::Write] {
            let unwatched = match this.get().watcher(transport.py(), self.fd, direction) {
                Ok(Some(Watcher::ReadPipe(known) | Watcher::WritePipe(known)))
                    if known.as_ptr() == transport.as_ptr() =>
                {
                    this.get().unwatch_surely(&this, self.fd, direction)
                }
                found => found.map(drop),
            };
            left = left.and(unwatched);
        }
        left
    }

    /// An error after which the pipe is useless: logged in debug mode if it is `expected`, reported otherwise.
    pub(super) fn report(
        &self,
        transport: &Bound<'_, PyAny>,
        exception: &Bound<'_, PyAny>,
        message: &str,
        expected: bool,
    ) -> PyResult<()> {
        let py = transport.py();
        let Some(this) = self.event_loop(py) else {
            return Ok(());
        };
        if expected {
            return reports::log_error(&this, transport, message, exception);
        }
        let protocol = self.protocol.get(py).map(|it| it.into_bound(py));
        let named = Named {
            transport: Some(transport),
            protocol: protocol.as_ref(),
        };
        named.report(&this, message, exception)
    }

    /// Logs a line about the transport in debug mode.
    pub(super) fn log(
        &self,
        transport: &Bound<'_, PyAny>,
        level: &Bound<'_, PyString>,
        message: &str,
    ) -> PyResult<()> {
        reports::log_line(self.event_loop(transport.py()), level, message, transport)
    }

    /// Every Python object that the state refers to.
    pub(super) fn for_each_reference(&self, look: &mut dyn FnMut(&Ref)) {
        let slots = [
            &self.event_loop,
            &self.protocol,
            &self.pipe,
            &self.read_context,
        ];
        object::look_into(&slots, look);
    }

    /// Breaks cycles; the pipe stays, so that it is closed with the transport.
    pub(super) fn drop_references(&self) {
        drop((
            self.event_loop.take(),
            self.protocol.take(),
            self.read_context.take(),
        ));
    }
}

/// `repr(transport)`.
pub(super) fn describe<S: PipeState>(transport: &Bound<'_, PyAny>) -> PyResult<String> {
    let py = transport.py();
    let pipe: &S = state(transport);
    let end = pipe.end();
    let name = transport.get_type().name()?;
    let is_open = end.pipe.is_some();
    let state = match (is_open, end.closing.get()) {
        (false, _) => " closed",
        (true, true) => " closing",
        (true, false) => "",
    };
    let rest = match end.event_loop(py).filter(|this| !this.get().closed.get()) {
        Some(this) if is_open => pipe.describe_open(&this),
        _ if is_open => "open".to_owned(),
        _ => "closed".to_owned(),
    };
    Ok(format!("<{name}{state} fd={} {rest}>", end.fd))
}

/// A transport that is dropped without `close()`: the stdlib's `ResourceWarning`, and the pipe is closed.
pub(super) fn warn_if_unclosed<S: PipeState>(transport: &Bound<'_, PyAny>) -> PyResult<()> {
    let end = state::<S>(transport).end();
    if !end.pipe.is_some() {
        return Ok(());
    }
    let described = describe::<S>(transport);
    // First what must not be left out: at interpreter shutdown the warning may not even be importable.
    let closed = end.release(transport);
    reports::warn_unclosed(transport, described).and(closed)
}
