//! The reading pipe transport: one read(2) for each time the descriptor is ready.

use std::cell::Cell;
use std::io::ErrorKind;

use hotloop_reactor::{self as reactor, Direction, PipeKind};
use pyo3::exceptions::PyOSError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};
use rustix::io::Errno;

use crate::errors::os_error;
use crate::event_loop::{Loop, Watcher};
use crate::imports::Imports;
use crate::python::{Ref, call};

use crate::transports::max_size::{self, Reads, with_max_size};
use crate::transports::object::{self, Described, Slots, State};
use crate::transports::reports::polling;

use super::end::End;
use super::{PipeState, attributes, end, make_type as make_pipe_type, state};
use crate::python::make;

const READ_FAILED: &str = "Fatal read error on pipe transport";

/// The state of one transport.
pub(crate) struct ReadPipe {
    end: End,
    pub(super) paused: Cell<bool>,
    /// How much one `read` asks for: `max_size` as the program has set it.
    max_size: Cell<usize>,
}

/// Makes the type over the running Python's `asyncio.transports.ReadTransport`.
pub(crate) fn make_type(py: Python<'_>) -> PyResult<Py<PyType>> {
    let base = py
        .import("asyncio.transports")?
        .getattr("ReadTransport")?
        .cast_into::<PyType>()?;
    let made = make_pipe_type::<ReadPipe>(
        c"hotloop._core.ReadPipeTransport",
        &base,
        with_max_size::<ReadPipe>(object::slots_with_repr::<ReadPipe>()),
        attributes::of_read_pipe::methods(),
        attributes::of_read_pipe::getters(),
    )?;
    max_size::add_constant(made.bind(py))?;
    Ok(made)
}

impl State for ReadPipe {
    type Slots = Slots<1>;

    fn for_each_reference(&self, look: &mut dyn FnMut(&Ref)) {
        self.end.for_each_reference(look);
    }

    fn drop_references(&self) {
        self.end.drop_references();
    }

    fn finalize(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        end::warn_if_unclosed::<Self>(transport)
    }
}

impl Reads for ReadPipe {
    fn max_size(&self) -> &Cell<usize> {
        &self.max_size
    }
}

impl Described for ReadPipe {
    fn describe(&self, transport: &Bound<'_, PyAny>) -> PyResult<String> {
        end::describe::<Self>(transport)
    }
}

impl PipeState for ReadPipe {
    const REFUSAL: &'static str = "Pipe transport is for pipes/sockets only.";

    fn class(imports: &Imports) -> &Py<PyType> {
        &imports.read_pipe_type
    }

    fn new(end: End) -> Self {
        Self {
            end,
            paused: Cell::new(false),
            max_size: max_size::default(),
        }
    }

    fn end(&self) -> &End {
        &self.end
    }

    fn watcher(transport: Ref) -> Watcher {
        Watcher::ReadPipe(transport)
    }

    fn reads(_kind: PipeKind) -> bool {
        true
    }

    fn may_read(&self) -> bool {
        !self.paused.get() && !self.end.closing.get()
    }

    fn describe_open(&self, this: &Bound<'_, Loop>) -> String {
        polling(this, self.end.raw_fd(), Direction::Read).to_owned()
    }
}

impl ReadPipe {
    /// The descriptor is ready: the registry's watcher runs.
    pub(crate) fn on_ready(py: Python<'_>, transport: &Ref) -> PyResult<()> {
        let transport = transport.bind(py);
        let pipe: &Self = state(&transport);
        pipe.end.in_read_context(py, || pipe.read_ready(&transport))
    }

    /// Reads once. What `data_received` raises goes to the caller, as in asyncio; the transport stays open.
    pub(super) fn read_ready(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = transport.py();
        let (Some(this), Some(fd)) = (self.end.event_loop(py), self.end.fd()) else {
            return Ok(());
        };
        let mut buffer = this.get().take_read_buffer();
        let received = reactor::read_pipe(fd, &mut buffer[..self.max_size.get()]);
        let data = match received {
            Ok(count @ 1..) => Some(make::bytes(py, &buffer[..count])),
            _ => None,
        };
        this.get().return_read_buffer(buffer);
        match (received, data) {
            (Ok(_), Some(data)) => match self.end.protocol.get(py) {
                Some(protocol) => {
                    call::call_method1(&protocol, intern!(py, "data_received"), &data?.into())
                        .map(drop)
                }
                None => Ok(()),
            },
            (Ok(_), None) => self.closed_by_peer(transport, &this),
            (Err(error), _) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            (Err(error), _) => {
                let error = os_error(py, &error).into_value(py).into_bound(py);
                self.fatal_error(transport, error.as_any(), READ_FAILED)
            }
        }
    }

    fn closed_by_peer(&self, transport: &Bound<'_, PyAny>, this: &Bound<'_, Loop>) -> PyResult<()> {
        let py = transport.py();
        self.end
            .log(transport, intern!(py, "info"), "%r was closed by peer")?;
        self.end.closing.set(true);
        let unwatched = self.end.unwatch(py, Direction::Read);
        if let Some(protocol) = self.end.protocol.get(py) {
            let callback = protocol.bind(py).getattr(intern!(py, "eof_received"))?;
            Loop::call_soon_native(this, callback.into(), PyTuple::empty(py).into())?;
        }
        self.end
            .schedule_connection_lost(transport, &py.None().into_bound(py))
            .and(unwatched)
    }

    /// Closes after an error. `EIO` is what a terminal gives when its other side is gone, and no reason for a report.
    pub(super) fn fatal_error(
        &self,
        transport: &Bound<'_, PyAny>,
        error: &Bound<'_, PyAny>,
        message: &str,
    ) -> PyResult<()> {
        let expected = error.is_instance_of::<PyOSError>()
            && error
                .getattr(intern!(transport.py(), "errno"))?
                .eq(Errno::IO.raw_os_error())?;
        self.end.report(transport, error, message, expected)?;
        self.end.close(transport, error)
    }

    /// `transport.pause_reading()`.
    pub(super) fn pause_reading(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        if !self.may_read() {
            return Ok(());
        }
        self.paused.set(true);
        self.end.unwatch(transport.py(), Direction::Read)?;
        self.end.log(
            transport,
            intern!(transport.py(), "debug"),
            "%r pauses reading",
        )
    }

    /// `transport.resume_reading()`.
    pub(super) fn resume_reading(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.end.closing.get() || !self.paused.replace(false) {
            return Ok(());
        }
        self.end.watch_for_reading::<Self>(transport)?;
        self.end.log(
            transport,
            intern!(transport.py(), "debug"),
            "%r resumes reading",
        )
    }

    /// `transport.close()`.
    pub(super) fn close(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.end.closing.get() {
            return Ok(());
        }
        self.end
            .close(transport, &transport.py().None().into_bound(transport.py()))
    }
}
