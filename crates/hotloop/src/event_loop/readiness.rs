//! The readiness of a native watcher as a Python callable: what overridden hooks and readers of `loop._ready` get
//! where asyncio would give them a method of a transport.

use std::os::fd::RawFd;

use hotloop_reactor::{Direction, Event, Token};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use pyo3::{PyTraverseError, PyVisit};

use crate::handles;
use crate::imports::imports;
use crate::python::Ref;

use super::{Kernel, Loop, Watcher};
use crate::python::make;

/// Does what its watcher does when the descriptor is ready.
#[pyclass(frozen, module = "hotloop._core", name = "_Readiness")]
pub(super) struct Readiness {
    event_loop: Py<Loop>,
    watcher: Watcher,
    fd: RawFd,
    direction: Direction,
    /// Of one event: nothing is done if the descriptor has another watcher by then.
    token: Option<Token>,
}

// SAFETY: A1: used only by the thread that holds the interpreter.
unsafe impl Send for Readiness {}
// SAFETY: A1, as above.
unsafe impl Sync for Readiness {}

#[pymethods]
impl Readiness {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        let this = self.event_loop.bind(py);
        if let Some(token) = self.token {
            let registry = this.get().registry.borrow();
            let now = registry.resolve(token, self.direction);
            if now.is_none_or(|now| now.object().as_ptr() != self.watcher.object().as_ptr()) {
                return Ok(());
            }
        }
        self.watcher.run(this, self.fd, self.direction)
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let direction = match self.direction {
            Direction::Read => "read",
            Direction::Write => "write",
        };
        format!("<{direction} {:?}>", self.watcher.object().bind(py))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.event_loop)?;
        self.watcher.object().traverse(&visit)
    }
}

impl Watcher {
    /// A handle that does once what the watcher does for one event.
    pub(super) fn handle_for_event(
        &self,
        this: &Bound<'_, Loop>,
        token: Token,
        direction: Direction,
    ) -> PyResult<Ref> {
        let py = this.py();
        if let Self::Handle(handle) = self {
            return Ok(handle.clone_ref(py));
        }
        let callback = self.readiness(this, token.fd(), direction, Some(token))?;
        let handle =
            handles::new_handle(py, this, callback.into(), PyTuple::empty(py).into(), None)?;
        handles::track(&handle); // whoever gets it may keep it
        Ok(handle)
    }

    /// The native watcher that was given to an overridden `_add_reader` or `_add_writer`, if this is its handle.
    fn behind(self, py: Python<'_>) -> PyResult<Self> {
        let Self::Handle(handle) = &self else {
            return Ok(self);
        };
        let callback = handle.bind(py).getattr(intern!(py, "_callback"))?;
        Ok(match callback.cast::<Readiness>() {
            Ok(readiness) => readiness.get().watcher.clone_ref(py),
            Err(_) => self,
        })
    }

    /// A callable for `_add_reader` and `_add_writer`.
    pub(super) fn callback<'py>(
        &self,
        this: &Bound<'py, Loop>,
        fd: RawFd,
        direction: Direction,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.readiness(this, fd, direction, None)
    }

    fn readiness<'py>(
        &self,
        this: &Bound<'py, Loop>,
        fd: RawFd,
        direction: Direction,
        token: Option<Token>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let readiness = Readiness {
            event_loop: this.clone().unbind(),
            watcher: self.clone_ref(this.py()),
            fd,
            direction,
            token,
        };
        Ok(Bound::new(this.py(), readiness)?.into_any())
    }
}

impl Loop {
    /// Who waits for a descriptor, whatever way it went there.
    pub(crate) fn watcher(
        &self,
        py: Python<'_>,
        fd: RawFd,
        direction: Direction,
    ) -> PyResult<Option<Watcher>> {
        let watcher = {
            let registry = self.registry.borrow();
            let watcher = registry.watcher(fd, direction);
            watcher.map(|watcher| watcher.clone_ref(py))
        };
        watcher.map(|watcher| watcher.behind(py)).transpose()
    }

    /// One row for `_process_events`: the key and mask of a descriptor that became ready.
    fn event_row<'py>(
        &self,
        this: &Bound<'py, Loop>,
        token: Token,
        readable: bool,
        writable: bool,
    ) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let py = this.py();
        let mut handles = [py.None(), py.None()];
        let mut events = 0;
        for (bit, direction) in [Direction::Read, Direction::Write].into_iter().enumerate() {
            let watcher = {
                let registry = self.registry.borrow();
                registry
                    .resolve(token, direction)
                    .map(|watcher| watcher.clone_ref(py))
            };
            if let Some(watcher) = watcher {
                events |= 1 << bit;
                let handle = watcher.handle_for_event(this, token, direction)?;
                handles[bit] = handle.into_bound(py).unbind();
            }
        }
        let mask = events & (u8::from(readable) | u8::from(writable) << 1);
        if mask == 0 {
            return Ok(None);
        }
        let object = {
            let objects = self.file_objects.borrow();
            objects
                .get(&token.fd())
                .map(|object| object.bind(py).to_owned())
        };
        let fd = make::number(py, token.fd().into())?;
        let object = object.unwrap_or_else(|| fd.clone());
        let data = make::tuple(py, handles)?.into_any();
        let events = make::number(py, events.into())?;
        let key = imports(py)?
            .selector_key
            .bind(py)
            .call1(make::tuple(py, [object, fd, events, data])?)?;
        make::tuple(py, [key, make::number(py, mask.into())?]).map(Some)
    }

    /// Hands events to an overridden `_process_events`. It may leave one out, and gets that again, also if it was to
    /// come once.
    pub(super) fn process_events_in_python(
        &self,
        this: &Bound<'_, Loop>,
        kernel: &Kernel,
        events: &[Event],
    ) -> PyResult<()> {
        let mut processed = self.pass_on(this, kernel, events);
        for event in events {
            processed = processed.and(self.rearm(this.py(), event.token.fd()));
        }
        processed
    }

    fn pass_on(&self, this: &Bound<'_, Loop>, kernel: &Kernel, events: &[Event]) -> PyResult<()> {
        let py = this.py();
        let rows = make::list(py)?;
        for event in events {
            match self.event_row(this, event.token, event.readable, event.writable)? {
                Some(row) => rows.append(row)?,
                None => self
                    .registry
                    .borrow_mut()
                    .disarm(&kernel.poller, event.token),
            }
        }
        this.call_method1(intern!(py, "_process_events"), (rows,))
            .map(drop)
    }
}
