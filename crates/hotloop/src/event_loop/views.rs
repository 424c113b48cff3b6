//! `loop._ready` and `loop._scheduled` as other code knows them: a deque and a list, live views of ours.
//!
//! nest_asyncio, prompt_toolkit and test helpers look at their length, walk over them, append, pop and clear.

use std::collections::VecDeque;

use pyo3::exceptions::PyIndexError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

use crate::handles;
use crate::python::Ref;
use crate::tasks;

use super::{Entry, Loop};
use crate::python::make;
use crate::python::make::Words;

/// The ready queue, as a deque of handles.
#[pyclass(frozen, module = "hotloop._core", name = "_ReadyView")]
pub(crate) struct ReadyView(Py<Loop>);

impl ReadyView {
    pub(super) fn of(this: &Bound<'_, Loop>) -> Self {
        Self(this.clone().unbind())
    }

    fn handles<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let this = self.0.bind(py);
        let entries: Vec<Entry> = {
            let ready = this.get().ready.borrow();
            ready.iter().map(|entry| entry.clone_ref(py)).collect()
        };
        let list = make::list(py)?;
        for entry in entries {
            list.append(entry.into_handle(this)?.bind(py))?;
        }
        Ok(list)
    }
}

#[pymethods]
impl ReadyView {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.0)
    }

    fn __len__(&self, py: Python<'_>) -> usize {
        let this = self.0.bind(py).get();
        this.ready.borrow().len()
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(self.handles(py)?.try_iter()?.into_any())
    }

    fn __getitem__<'py>(
        &self,
        py: Python<'py>,
        index: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.handles(py)?.as_any().get_item(index)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("<loop._ready {:?}>", self.handles(py)?))
    }

    /// Put a handle at the end.
    fn append(&self, py: Python<'_>, handle: &Bound<'_, PyAny>) -> PyResult<()> {
        let this = self.0.bind(py).get();
        let entry = this.entry_of(handle)?;
        this.push_ready(entry);
        Ok(())
    }

    /// Put a handle at the front.
    fn appendleft(&self, py: Python<'_>, handle: &Bound<'_, PyAny>) -> PyResult<()> {
        let this = self.0.bind(py).get();
        let entry = this.entry_of(handle)?;
        this.ready.borrow_mut().push_front(entry);
        Ok(())
    }

    /// Put each handle of an iterable at the end.
    fn extend(&self, py: Python<'_>, handles: &Bound<'_, PyAny>) -> PyResult<()> {
        for handle in handles.try_iter()? {
            self.append(py, &handle?)?;
        }
        Ok(())
    }

    /// Take the first handle; IndexError if there is none.
    fn popleft<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let this = self.0.bind(py);
        let entry = this.get().ready.borrow_mut().pop();
        let entry = entry.ok_or_else(|| PyIndexError::new_err(Words("pop from an empty deque")))?;
        this.get().report_again(py, &entry)?;
        Ok(entry.into_handle(this)?.into_bound(py))
    }

    /// Drop everything.
    fn clear(&self, py: Python<'_>) -> PyResult<()> {
        let this = self.0.bind(py).get();
        let before = this.empty_ready(py)?;
        drop(before);
        Ok(())
    }
}

/// The timers, as a list in the order in which they are due.
#[pyclass(frozen, module = "hotloop._core", name = "_ScheduledView")]
pub(crate) struct ScheduledView(Py<Loop>);

impl ScheduledView {
    pub(super) fn of(this: &Bound<'_, Loop>) -> Self {
        Self(this.clone().unbind())
    }

    fn timers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let timers: Vec<Ref> = {
            let timers = self.0.bind(py).get().timers.borrow();
            timers
                .iter_sorted()
                .into_iter()
                .map(|(_, timer)| timer.clone_ref(py))
                .collect()
        };
        let list = make::list(py)?;
        for timer in timers {
            list.append(timer.bind(py))?;
        }
        Ok(list)
    }
}

#[pymethods]
impl ScheduledView {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.0)
    }

    fn __len__(&self, py: Python<'_>) -> usize {
        self.0.bind(py).get().timers.borrow().len()
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(self.timers(py)?.try_iter()?.into_any())
    }

    fn __getitem__<'py>(
        &self,
        py: Python<'py>,
        index: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.timers(py)?.as_any().get_item(index)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("<loop._scheduled {:?}>", self.timers(py)?))
    }

    /// Drop every timer.
    fn clear(&self, py: Python<'_>) {
        let before = self.0.bind(py).get().timers.borrow_mut().drain();
        for timer in &before {
            handles::set_unscheduled(timer);
        }
    }
}

impl Loop {
    /// Takes everything out of the queue, for the caller to drop.
    pub(super) fn empty_ready(&self, py: Python<'_>) -> PyResult<VecDeque<Entry>> {
        let before = self.ready.borrow_mut().clear();
        let again = before.iter().fold(Ok(()), |again, entry| {
            again.and(self.report_again(py, entry))
        });
        again.map(|()| before)
    }

    /// Somebody took this entry out of the queue, and may forget it: a descriptor that was asked for once is asked for
    /// again, because asyncio watches it until it is served.
    fn report_again(&self, py: Python<'_>, entry: &Entry) -> PyResult<()> {
        match entry {
            Entry::Ready(token, _) => self.rearm(py, token.fd()),
            _ => Ok(()),
        }
    }
}

impl Entry {
    fn clone_ref(&self, py: Python<'_>) -> Self {
        match self {
            Self::Handle(handle) => Self::Handle(handles::Queued::new(handle.clone_ref(py))),
            Self::Foreign(handle) => Self::Foreign(handle.clone_ref(py)),
            Self::Task(task) => Self::Task(task.clone_ref(py)),
            Self::Ready(token, direction) => Self::Ready(*token, *direction),
            Self::Step {
                callback,
                argument,
                context,
            } => Self::Step {
                callback: callback.clone_ref(py),
                argument: argument.as_ref().map(|argument| argument.clone_ref(py)),
                context: context.clone_ref(py),
            },
        }
    }

    /// The entry as a handle: that of a descriptor is made on the spot, and runs what the entry would.
    pub(super) fn into_handle(self, this: &Bound<'_, Loop>) -> PyResult<Ref> {
        let py = this.py();
        let (token, direction) = match self {
            Self::Handle(handle) => return Ok(handle.clone_ref(py)),
            Self::Foreign(handle) => return Ok(handle),
            Self::Ready(token, direction) => (token, direction),
            Self::Task(task) => {
                let (callback, argument, context) = tasks::as_call(py, &task)?;
                let args = make::tuple(py, argument.iter().map(|argument| argument.bind(py)))?;
                return handles::new_handle(py, this, callback, args.into(), Some(context));
            }
            Self::Step {
                callback,
                argument,
                context,
            } => {
                let args = make::tuple(py, argument.iter().map(|argument| argument.bind(py)))?;
                return handles::new_handle(py, this, callback, args.into(), Some(context));
            }
        };
        let watcher = {
            let registry = this.get().registry.borrow();
            registry
                .resolve(token, direction)
                .map(|watcher| watcher.clone_ref(py))
        };
        if let Some(watcher) = watcher {
            return watcher.handle_for_event(this, token, direction);
        }
        // The descriptor's owner is gone: a handle that does nothing.
        let nothing = this.getattr(intern!(this.py(), "is_closed"))?;
        handles::new_handle(py, this, nothing.into(), PyTuple::empty(py).into(), None)
    }
}
