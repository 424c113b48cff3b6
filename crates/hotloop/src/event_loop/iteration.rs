//! One iteration, in the order of `BaseEventLoop._run_once`: callbacks that are ready, then descriptors that
//! became ready, then timers that are due; exactly the entries that are there then are run.

use std::time::Duration;

use hotloop_reactor::{Direction, Events, Poller};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;

use crate::errors::os_error;
use crate::handles;
use crate::imports::imports;
use crate::python::guard::{KnownToPyO3, caught};
use crate::python::{Ref, call, thread_end};
use crate::tasks;

use super::hooks::{Hooks, run_is_replaced};
use super::watch_fd::Watcher;
use super::{Entry, Kernel, Loop};

/// The longest wait, in seconds: asyncio's `MAXIMUM_SELECT_TIMEOUT`, a day.
const LONGEST_WAIT: f64 = 24.0 * 3600.0;

/// Python-level signal handlers get their turn at least once in so many iterations.
const UNCHECKED_ITERATIONS: u32 = 16;

#[pymethods]
impl Loop {
    /// Run iterations until `stop()` was called; the middle of `run_forever()`.
    fn _run_until_stopped(slf: &Bound<'_, Self>) -> PyResult<()> {
        let result = run(slf, || slf.get().run_until_stopped(slf));
        // `_run_forever_cleanup` does this, too; but it is Python code, which an interrupt can cut short, and a loop that
        // is marked as running for ever is of no use to anybody.
        slf.get().set_not_running();
        let none = (slf.py().None(),);
        let marked = imports(slf.py())
            .and_then(|imports| imports.set_running_loop.bind(slf.py()).call1(none));
        slf.get().stopping.set(false);
        result.and(marked.map(drop))
    }

    /// Run one iteration.
    fn _run_once(slf: &Bound<'_, Self>) -> PyResult<()> {
        run(slf, || slf.get().iterate(slf))
    }
}

impl Loop {
    /// The number of the iteration that is under way; it wraps around.
    pub(super) fn iteration(&self) -> u32 {
        self.iteration.get()
    }

    fn run_until_stopped(&self, this: &Bound<'_, Self>) -> PyResult<()> {
        loop {
            if self.hooks.get().any(Hooks::RUN_ONCE) {
                self.leave_task(this.py())?;
                this.call_method0(intern!(this.py(), "_run_once"))?;
            } else {
                self.iterate(this)?;
            }
            if self.stopping.get() {
                return Ok(());
            }
        }
    }

    /// The loop no longer runs, so it may become garbage together with what waits.
    pub(super) fn set_not_running(&self) {
        drop(self.thread_id.take());
        self.snapshot.forget();
        self.track_waiting_handles();
    }

    /// Rule P3 of the handles' pool.
    fn track_waiting_handles(&self) {
        self.settle_timers();
        for entry in self.ready.borrow().iter() {
            if let Entry::Handle(handle) = entry {
                handles::track(handle);
            }
        }
    }

    /// Rule T6 of the tasks: nothing but the next step may run while a task is still marked as the current one.
    #[inline]
    pub(super) fn leave_task(&self, py: Python<'_>) -> PyResult<()> {
        match self.still_current.take() {
            Some(task) => tasks::leave(py, &task),
            None => Ok(()),
        }
    }

    fn iterate(&self, this: &Bound<'_, Loop>) -> PyResult<()> {
        let _outer = self.turn.suspend();
        if self.turn.holds() {
            self.end_turn(this.py())?;
        }
        self.run_iteration(this)
    }

    fn run_iteration(&self, this: &Bound<'_, Loop>) -> PyResult<()> {
        let py = this.py();
        self.notice_changes(this)?;
        let timers = !self.timers.borrow().is_empty();
        if timers {
            self.leave_task(py)?;
            self.drop_cancelled_timers();
        }
        let now = self.poll(this)?;
        if !self.lookups.borrow().is_empty() {
            self.leave_task(py)?;
            self.take_answers(this)?;
        }
        if timers || !self.timers.borrow().is_empty() {
            self.leave_task(py)?;
            self.take_due_timers(this, now)?;
        }
        let count = self.ready.borrow().len();
        for _ in 0..count {
            let Some(entry) = self.ready.borrow_mut().pop() else {
                break;
            };
            self.turn.begin();
            let result = self.run_entry(this, entry);
            if self.turn.holds() {
                result.and(self.end_turn(py))?;
            } else {
                result?;
            }
        }
        self.turn.end();
        // Python code looks for signals itself, and the wait for events does: this is for loops that do neither.
        let iteration = self.iteration.get().wrapping_add(1);
        self.iteration.set(iteration);
        if iteration.is_multiple_of(UNCHECKED_ITERATIONS) {
            self.leave_task(py)?;
            check_signals(py)
        } else {
            Ok(())
        }
    }

    /// Asks the kernel which descriptors are ready, and waits for one if there is nothing else to do. Gives the time if
    /// it was read and nothing has taken any since then.
    fn poll(&self, this: &Bound<'_, Loop>) -> PyResult<Option<f64>> {
        let py = this.py();
        let busy = !self.ready.borrow().is_empty() || self.stopping.get();
        // Whether there is nothing the kernel could tell us.
        let unwatched = self.registry.borrow().is_empty() && !self.handles_signals.get();
        if busy && unwatched {
            return Ok(None);
        }
        self.leave_task(py)?;
        if unwatched && let Some(now) = self.due_time(this)? {
            return Ok(Some(now)); // a timer is due, and the kernel has nothing to tell
        }
        let timeout = if busy {
            Some(Duration::ZERO)
        } else {
            // A signal that came before now must not wait for the next event; later ones end the wait.
            check_signals(py)?;
            let mut timeout = self.time_to_wait(this)?;
            if timeout != Some(Duration::ZERO) && self.snapshot.forget() {
                // A value that was freed by it may have scheduled something.
                timeout = self.time_to_wait(this)?;
            }
            if timeout == Some(Duration::ZERO) && unwatched {
                return Ok(None); // a timer is due by now
            }
            timeout
        };

        let kernel = self.kernel(py)?;
        // A5: the buffer is ours while we wait and while events are looked at; a nested run has its own.
        let mut events = self
            .events
            .take()
            .unwrap_or_else(|| Events::with_capacity(128));
        let outcome = if timeout == Some(Duration::ZERO) {
            kernel.poller.wait(&mut events, timeout)
        } else {
            // Whoever posts from now on wakes us. What was posted before is in the queue, which was empty a moment
            // ago, and nobody else has had the interpreter since; answers come without it.
            kernel.post.waker.prepare_sleep();
            let timeout = if kernel.post.answers.is_empty() {
                timeout
            } else {
                Some(Duration::ZERO)
            };
            self.sleeping.set(true);
            let mut wait = Wait {
                poller: &kernel.poller,
                events: &mut events,
            };
            let outcome = py.detach(|| wait.run(timeout));
            self.sleeping.set(false);
            kernel.post.waker.awake();
            outcome
        };
        let result = match outcome {
            Ok(_) => self.take_events(this, &kernel, &events),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => check_signals(py),
            Err(error) => Err(os_error(py, &error)),
        };
        events.clear();
        self.events.set(Some(events));
        result.map(|()| None)
    }

    /// How long until there is something to do without an event; `None` is for ever.
    fn time_to_wait(&self, this: &Bound<'_, Loop>) -> PyResult<Option<Duration>> {
        if !self.ready.borrow().is_empty() {
            return Ok(Some(Duration::ZERO));
        }
        self.settle_timers();
        let Some(deadline) = self.timers.borrow().next_deadline() else {
            return Ok(None);
        };
        let wait = deadline - self.now(this)?;
        if wait.is_nan() || wait <= 0.0 {
            return Ok(Some(Duration::ZERO));
        }
        // Rounded up to the nanosecond, so that the timer is due when the wait ends.
        let nanos = (wait.min(LONGEST_WAIT) * 1e9).ceil();
        Ok(Some(Duration::from_nanos(nanos as u64)))
    }

    /// Makes an entry of the ready queue of each descriptor that became ready.
    fn take_events(
        &self,
        this: &Bound<'_, Loop>,
        kernel: &Kernel,
        events: &Events,
    ) -> PyResult<()> {
        let in_python = self.hooks.get().any(Hooks::PROCESS_EVENTS);
        let mut for_python = Vec::new();
        // Answered last: a signal handler may raise, and the other events are not reported again if they were asked
        // for once.
        let mut own = Vec::new();
        for event in events.iter() {
            let token = event.token;
            if self.is_own(kernel, token.fd()) {
                own.push(token);
                continue;
            }
            if in_python {
                for_python.push(event);
                continue;
            }
            let mut taken = false;
            for (happened, direction) in [
                (event.readable, Direction::Read),
                (event.writable, Direction::Write),
            ] {
                if !happened {
                    continue;
                }
                let registry = self.registry.borrow();
                let Some(watcher) = registry.resolve(token, direction) else {
                    continue;
                };
                taken = true;
                let entry = match watcher {
                    // As asyncio does: the handle itself, so that cancelling it now still counts.
                    Watcher::Handle(handle) => {
                        Entry::Handle(handles::Queued::new(handle.clone_ref(this.py())))
                    }
                    _ => Entry::Ready(token, direction),
                };
                drop(registry);
                self.ready.borrow_mut().push(entry);
            }
            if !taken {
                self.registry.borrow_mut().disarm(&kernel.poller, token);
            }
        }
        if in_python {
            self.process_events_in_python(this, kernel, &for_python)?;
        }
        for token in own {
            self.own_event(this, kernel, token)?;
        }
        Ok(())
    }

    fn run_entry(&self, this: &Bound<'_, Loop>, entry: Entry) -> PyResult<()> {
        let py = this.py();
        // A tool that replaced `Handle._run` sees every callback run.
        let native = !self.debug.get() && !run_is_replaced();
        if let (Entry::Task(task), true) = (&entry, native) {
            let Err(error) = tasks::run(py, task, &self.still_current) else {
                return Ok(());
            };
            self.leave_task(py)?;
            if call::ends_the_loop(py, &error) {
                return Err(error);
            }
            return handles::report(py, &entry.into_handle(this)?, error);
        }
        self.leave_task(py)?;
        match entry {
            Entry::Handle(handle) if native => handles::run(py, &handle),
            Entry::Handle(handle) => {
                if handles::is_cancelled(&handle) {
                    return Ok(());
                }
                self.run_timed(this, &handle, || run_in_python(py, &handle))
            }
            Entry::Step {
                callback,
                argument,
                context,
            } if native => {
                let argument = argument.as_ref();
                match call::call_in_exact_context(py, &context, &callback, argument) {
                    Ok(_) => Ok(()),
                    Err(error) if call::ends_the_loop(py, &error) => Err(error),
                    Err(error) => {
                        let argument = argument.map(|argument| argument.clone_ref(py));
                        let entry = Entry::Step {
                            callback,
                            argument,
                            context,
                        };
                        handles::report(py, &entry.into_handle(this)?, error)
                    }
                }
            }
            step @ (Entry::Step { .. } | Entry::Task(_)) => {
                let handle = step.into_handle(this)?;
                self.run_timed(this, &handle, || run_in_python(py, &handle))
            }
            Entry::Foreign(handle) => {
                if handle
                    .bind(py)
                    .getattr(intern!(py, "_cancelled"))?
                    .is_truthy()?
                {
                    return Ok(());
                }
                self.run_timed(this, &handle, || run_in_python(py, &handle))
            }
            Entry::Ready(token, direction) => {
                // The watcher may have changed hands since the event: whoever has the token now, or nobody.
                let watcher = {
                    let registry = self.registry.borrow();
                    registry
                        .resolve(token, direction)
                        .map(|watcher| watcher.clone_ref(py))
                };
                let Some(watcher) = watcher else {
                    return Ok(());
                };
                if native {
                    return watcher.run(this, token.fd(), direction);
                }
                if run_is_replaced() {
                    let handle = watcher.handle_for_event(this, token, direction)?;
                    return self.run_timed(this, &handle, || run_in_python(py, &handle));
                }
                let named = watcher.handle_for_reports(this, direction)?;
                self.run_timed(this, &named, || watcher.run(this, token.fd(), direction))
            }
        }
    }
}

/// What the wait for events uses while the thread is detached from the interpreter.
struct Wait<'a> {
    poller: &'a Poller,
    events: &'a mut Events,
}

// SAFETY: A1: the wait runs on the thread that made it; `detach` asks for `Send` only to keep Python objects out, and
// there are none in it. (The kernel's event structure has a pointer-sized field, hence no automatic `Send`.)
unsafe impl Send for Wait<'_> {}

impl Wait<'_> {
    fn run(&mut self, timeout: Option<Duration>) -> std::io::Result<usize> {
        self.poller.wait(self.events, timeout)
    }
}

/// Runs iterations, called by Python. What that takes is there once for a run and those inside it: `_run_once()`, where a
/// subclass has its own, is called for each iteration.
fn run(this: &Bound<'_, Loop>, iterations: impl FnOnce() -> PyResult<()>) -> PyResult<()> {
    let py = this.py();
    let result = match KnownToPyO3::enter(py) {
        Some(_known) => thread_end::prevented(|| caught(iterations)),
        None => caught(iterations),
    };
    result.and(this.get().leave_task(py))
}

fn run_in_python(py: Python<'_>, handle: &Ref) -> PyResult<()> {
    call::call_method0(handle, intern!(py, "_run")).map(drop)
}

/// Runs the Python-level signal handlers that are due; one that raises ends the iteration.
pub(super) fn check_signals(py: Python<'_>) -> PyResult<()> {
    // SAFETY: A1 by the token, A3: the result is looked at.
    if unsafe { ffi::PyErr_CheckSignals() } < 0 {
        Err(PyErr::fetch(py))
    } else {
        Ok(())
    }
}
