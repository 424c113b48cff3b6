//! The state that `BaseEventLoop` keeps in attributes and we keep natively, under the same names, so that
//! inherited code and outside readers see one truth.

use pyo3::intern;
use pyo3::prelude::*;

use crate::handles;
use crate::python::Ref;

use super::{Entry, Loop, ReadyView, ScheduledView};

#[pymethods]
impl Loop {
    /// Return True if the event loop was closed. As asyncio's.
    fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Return True if the event loop is running, in whatever thread. As asyncio's.
    fn is_running(&self) -> bool {
        self.thread_id.is_some()
    }

    /// Stop running the event loop: the iteration that is under way, or the next one, is the last.
    ///
    /// Callbacks that are scheduled in it wait for the next run. Raises nothing; for the loop's own thread, others use
    /// `call_soon_threadsafe(loop.stop)`. As asyncio's.
    fn stop(&self) {
        self.stopping.set(true);
    }

    #[getter(_closed)]
    fn closed_attribute(&self) -> bool {
        self.closed.get()
    }

    #[setter(_closed)]
    fn set_closed_attribute(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.closed.set(value.is_truthy()?);
        Ok(())
    }

    #[getter(_stopping)]
    fn stopping_attribute(&self) -> bool {
        self.stopping.get()
    }

    #[setter(_stopping)]
    fn set_stopping_attribute(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.stopping.set(value.is_truthy()?);
        Ok(())
    }

    #[getter(_debug)]
    fn debug_attribute(&self) -> bool {
        self.debug.get()
    }

    #[setter(_debug)]
    fn set_debug_attribute(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.debug.set(value.is_truthy()?);
        Ok(())
    }

    /// The identifier of the thread that runs the loop (`threading.get_ident()`), or None.
    #[getter(_thread_id)]
    fn thread_id_attribute(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.thread_id
            .get(py)
            .map(|value| value.into_bound(py).unbind())
    }

    #[setter(_thread_id)]
    fn set_thread_id_attribute(&self, value: &Bound<'_, PyAny>) {
        match some(value) {
            None => self.set_not_running(),
            running => drop(self.thread_id.replace(running)),
        }
    }

    #[getter(_task_factory)]
    fn task_factory_attribute(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.task_factory
            .get(py)
            .map(|value| value.into_bound(py).unbind())
    }

    #[setter(_task_factory)]
    fn set_task_factory_attribute(&self, value: &Bound<'_, PyAny>) {
        drop(self.task_factory.replace(some(value)));
    }

    /// Whether `create_future()` gives futures of hotloop; `EventLoop(native_tasks=True)` sets it.
    #[getter(_native_futures)]
    fn native_futures_attribute(&self) -> bool {
        self.native_futures.get()
    }

    #[setter(_native_futures)]
    fn set_native_futures_attribute(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.native_futures.set(value.is_truthy()?);
        Ok(())
    }

    /// The callbacks that wait for their turn: a live, deque-like view.
    #[getter(_ready)]
    fn ready_attribute(slf: &Bound<'_, Self>) -> ReadyView {
        ReadyView::of(slf)
    }

    /// Replaces what is queued by the handles of an iterable, as assigning a new deque would.
    #[setter(_ready)]
    fn set_ready_attribute(slf: &Bound<'_, Self>, handles: &Bound<'_, PyAny>) -> PyResult<()> {
        let mut entries = Vec::new();
        for handle in handles.try_iter()? {
            entries.push(slf.get().entry_of(&handle?)?);
        }
        let before = slf.get().empty_ready(slf.py())?;
        for entry in entries {
            slf.get().ready.borrow_mut().push(entry);
        }
        drop(before);
        Ok(())
    }

    /// The timers that are not due yet: a live, list-like view.
    #[getter(_scheduled)]
    fn scheduled_attribute(slf: &Bound<'_, Self>) -> ScheduledView {
        ScheduledView::of(slf)
    }

    /// Replaces the timers by those of an iterable, as assigning a new list would.
    #[setter(_scheduled)]
    fn set_scheduled_attribute(slf: &Bound<'_, Self>, timers: &Bound<'_, PyAny>) -> PyResult<()> {
        let mut replacement = Vec::new();
        for timer in timers.try_iter()? {
            replacement.push(timer?);
        }
        slf.get().replace_timers(replacement)
    }

    /// How many timers on the heap are cancelled.
    #[getter(_timer_cancelled_count)]
    fn timer_cancelled_count(&self) -> usize {
        self.timers.borrow().cancelled()
    }

    /// Accepted because `BaseEventLoop.__init__` sets it; the heap keeps its own count.
    #[setter(_timer_cancelled_count)]
    fn set_timer_cancelled_count(&self, _value: usize) {}

    /// Put a handle into the ready queue, unless it was cancelled.
    fn _add_callback(&self, handle: &Bound<'_, PyAny>) -> PyResult<()> {
        if !handle
            .getattr(intern!(handle.py(), "_cancelled"))?
            .is_truthy()?
        {
            let entry = self.entry_of(handle)?;
            self.push_ready(entry);
        }
        Ok(())
    }

    /// Gives back every resource; the Python half calls this at the end of `close()`.
    fn _close_core(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.get();
        this.closed.set(true);
        let result = this.end_handshakes(slf.py());
        this.drop_everything();
        this.close_kernel();
        result
    }
}

impl Loop {
    /// The ready queue's entry for a handle, ours or another's.
    pub(super) fn entry_of(&self, handle: &Bound<'_, PyAny>) -> PyResult<Entry> {
        Ok(if crate::handles::is_native(handle.py(), handle)? {
            Entry::Handle(handles::Queued::new(handle.into()))
        } else {
            Entry::Foreign(handle.into())
        })
    }
}

fn some(value: &Bound<'_, PyAny>) -> Option<Ref> {
    (!value.is_none()).then(|| value.into())
}
