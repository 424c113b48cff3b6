//! Timers: `call_later`, `call_at`, `time`, and the heap's bookkeeping.
//!
//! A deadline is the float that `when()` returns, not a number of nanoseconds made from it: nothing is rounded,
//! so no timer fires before its time, and timers with equal times keep their order as the documentation of
//! `call_at` promises ("each callback will be called exactly once").

use hotloop_reactor::now_seconds;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use pyo3::{Borrowed, intern};

use crate::handles;
use crate::python::{FastArguments, Ref};

use super::Loop;
use super::callbacks::{Call, forward, receiver};
use super::hooks::Hooks;
use crate::python::make;
use crate::python::make::Words;

/// `loop.time()`.
pub(super) fn time<'py>(py: Python<'py>, _slf: Borrowed<'_, 'py, PyAny>) -> PyResult<Ref> {
    Ok(make::float(py, now_seconds())?.into())
}

/// `loop.call_later(delay, callback, *args, context=None)`.
pub(super) fn call_later<'py>(
    py: Python<'py>,
    slf: Borrowed<'_, 'py, PyAny>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    let this = receiver(&slf);
    let native = !this.get().hooks.get().any(Hooks::CALL_AT);
    let delay = arguments.get(0).filter(|delay| native && !delay.is_none());
    let call = match delay {
        Some(_) => Call::parse(py, this, arguments, 1)?,
        None => None,
    };
    let (Some(delay), Some(call)) = (delay, call) else {
        return forward(py, slf, arguments, |base| &base.call_later);
    };
    match plain_number(&delay) {
        Some(delay) if !this.get().hooks.get().any(Hooks::TIME) => {
            let now = now_seconds();
            this.get().last_read.set(now);
            let deadline = now + delay;
            let when = make::float(py, deadline)?.into_any();
            this.get().schedule(this, deadline, when, call)
        }
        // Any other number: Python adds it to the time, and may answer with an error of its own.
        _ => {
            let when = this.call_method0(intern!(py, "time"))?.add(delay)?;
            this.get().schedule(this, seconds(&when)?, when, call)
        }
    }
}

/// `loop.call_at(when, callback, *args, context=None)`.
pub(super) fn call_at<'py>(
    py: Python<'py>,
    slf: Borrowed<'_, 'py, PyAny>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    let this = receiver(&slf);
    let when = arguments
        .get(0)
        .filter(|when| !when.is_none() && !this.get().closed.get());
    let call = match when {
        Some(_) => Call::read(py, arguments, 1)?,
        None => None,
    };
    let (when, call) = match (when, call) {
        (Some(when), Some(call)) => (when, call),
        // What is left over is wrong: the base method says how, before it touches the heap.
        _ => match by_name(py, arguments)?.filter(|_| !this.get().closed.get()) {
            Some(found) => found,
            None => return forward(py, slf, arguments, |base| &base.call_at),
        },
    };
    if this.get().hooks.get().any(Hooks::CHECK_CLOSED) {
        this.call_method0(intern!(py, "_check_closed"))?;
    }
    if this.get().debug.get() {
        this.call_method0(intern!(py, "_check_thread"))?;
        this.call_method1(
            intern!(py, "_check_callback"),
            (call.callback.bind(py), "call_at"),
        )?;
    }
    this.get()
        .schedule(this, seconds(&when)?, when.to_owned(), call)
}

/// Reads `(when, callback, *args, context=None)` with any of the first two by name.
fn by_name<'a, 'py>(
    py: Python<'py>,
    arguments: FastArguments<'a, 'py>,
) -> PyResult<Option<(Borrowed<'a, 'py, PyAny>, Call)>> {
    let (mut when, mut callback, mut context) = (arguments.get(0), arguments.get(1), None);
    for index in 0..arguments.keyword_count() {
        let Some((name, value)) = arguments.keyword(index) else {
            break;
        };
        let place = match name.extract::<&str>()? {
            "when" => &mut when,
            "callback" => &mut callback,
            "context" => &mut context,
            _ => return Ok(None),
        };
        if place.replace(value).is_some() {
            return Ok(None); // given twice
        }
    }
    let (Some(when), Some(callback)) = (when.filter(|when| !when.is_none()), callback) else {
        return Ok(None);
    };
    let args = match arguments.positional_count() {
        0..=2 => PyTuple::empty(py).into(),
        _ => arguments.rest(2)?,
    };
    let context = context
        .filter(|context| !context.is_none())
        .map(|context| (&*context).into());
    Ok(Some((
        when,
        Call {
            callback: (&*callback).into(),
            args,
            context,
        },
    )))
}

impl Loop {
    /// Makes a timer and puts it on the heap.
    fn schedule(
        &self,
        this: &Bound<'_, Loop>,
        deadline: f64,
        when: Bound<'_, PyAny>,
        call: Call,
    ) -> PyResult<Ref> {
        let py = this.py();
        let timer = handles::new_timer(
            py,
            this,
            when.into(),
            call.callback,
            call.args,
            call.context,
        )?;
        self.add_source_traceback(py, &timer)?;
        self.timers.borrow_mut().push(deadline, timer.clone_ref(py));
        Ok(timer)
    }

    /// The loop's time in seconds: `time()` where that is overridden.
    pub(super) fn now(&self, this: &Bound<'_, Loop>) -> PyResult<f64> {
        if self.hooks.get().any(Hooks::TIME) {
            return this.call_method0(intern!(this.py(), "time"))?.extract();
        }
        let now = now_seconds();
        self.last_read.set(now);
        Ok(now)
    }

    /// What the clock said when it was last read, if no more is needed to tell which timers are due: there is one, and
    /// it was due then.
    fn late_enough(&self) -> Option<f64> {
        let timers = self.timers.borrow();
        if timers.len() != 1 || self.hooks.get().any(Hooks::TIME) {
            return None;
        }
        let read = self.last_read.get();
        timers
            .next_deadline()
            .filter(|deadline| *deadline <= read)
            .map(|_| read)
    }

    /// The time, if a timer is due.
    pub(super) fn due_time(&self, this: &Bound<'_, Loop>) -> PyResult<Option<f64>> {
        if self.hooks.get().any(Hooks::TIME) {
            return Ok(None); // it is asked as often as asyncio asks it
        }
        self.settle_timers();
        if let Some(read) = self.late_enough() {
            return Ok(Some(read));
        }
        let Some(deadline) = self.timers.borrow().next_deadline() else {
            return Ok(None);
        };
        let now = self.now(this)?;
        Ok((deadline <= now || deadline.is_nan()).then_some(now))
    }

    /// Sorts in the timers that were set since the last time. Those that are cancelled already can be dropped instead.
    ///
    /// Rule P3 of the handles' pool: a timer that waits for longer than an iteration is tracked.
    pub(super) fn settle_timers(&self) {
        if !self.timers.borrow().is_unsettled() {
            return;
        }
        let removed = self
            .timers
            .borrow_mut()
            .settle(handles::is_cancelled, handles::track);
        // A5: the queue is free again before the handles are dropped.
        for timer in removed {
            handles::set_unscheduled(&timer);
            drop(handles::Queued::new(timer));
        }
    }

    /// A timer is being cancelled; it stays in the queue until it is settled, or until its turn or a compaction comes.
    pub(crate) fn timer_cancelled(
        &self,
        this: &Bound<'_, Loop>,
        timer: Borrowed<'_, '_, PyAny>,
    ) -> PyResult<()> {
        if self.hooks.get().any(Hooks::TIMER_HANDLE_CANCELLED) {
            this.call_method1(intern!(this.py(), "_timer_handle_cancelled"), (timer,))?;
        } else if handles::is_scheduled(&timer) {
            self.timers.borrow_mut().note_cancelled();
        }
        Ok(())
    }

    /// Drops cancelled timers: all of them when they are many, else those that would be the next.
    pub(super) fn drop_cancelled_timers(&self) {
        self.settle_timers();
        let mut removed = Vec::new();
        {
            let mut timers = self.timers.borrow_mut();
            if timers.cancelled() == 0 {
                return;
            }
            if timers.needs_compaction() {
                removed = timers.compact(handles::is_cancelled);
            } else {
                while timers.peek().is_some_and(handles::is_cancelled) {
                    timers.note_cancelled_removed();
                    removed.extend(timers.pop());
                }
            }
        }
        // A5: the heap is free again before the handles are dropped.
        for timer in removed {
            handles::set_unscheduled(&timer);
            drop(handles::Queued::new(timer));
        }
    }

    /// Moves the timers that are due to the ready queue; `now` is the time if it has been read already.
    pub(super) fn take_due_timers(&self, this: &Bound<'_, Loop>, now: Option<f64>) -> PyResult<()> {
        self.settle_timers();
        if self.timers.borrow().next_deadline().is_none() {
            return Ok(());
        }
        let now = match now.or_else(|| self.late_enough()) {
            Some(now) => now,
            None => self.now(this)?,
        };
        loop {
            let mut timers = self.timers.borrow_mut();
            let Some(timer) = timers.pop_due(now) else {
                return Ok(());
            };
            if handles::is_cancelled(&timer) {
                timers.note_cancelled_removed();
            }
            drop(timers);
            // A5: the mark may replace an object that somebody put there, so the queue is free again.
            handles::set_unscheduled(&timer);
            self.push_ready(super::Entry::Handle(handles::Queued::new(timer)));
        }
    }

    /// What assigning to `_scheduled` does. Timers that are not ours cannot stand on the native heap.
    pub(super) fn replace_timers(&self, timers: Vec<Bound<'_, PyAny>>) -> PyResult<()> {
        let mut replacement = Vec::with_capacity(timers.len());
        for timer in timers {
            if !timer
                .get_type()
                .is(&crate::imports::imports(timer.py())?.handle_types.timer)
            {
                return Err(pyo3::exceptions::PyTypeError::new_err(Words(format!(
                    "loop._scheduled takes the timers that loop.call_at() made, got {timer:?}"
                ))));
            }
            replacement.push((
                seconds(&timer.getattr(intern!(timer.py(), "_when"))?)?,
                Ref::from(timer),
            ));
        }
        let before = self.timers.borrow_mut().drain();
        for (deadline, timer) in replacement {
            self.timers.borrow_mut().push(deadline, timer);
        }
        drop(
            before
                .into_iter()
                .map(handles::Queued::new)
                .collect::<Vec<_>>(),
        );
        Ok(())
    }
}

#[pymethods]
impl Loop {
    /// Notification that a timer on the heap has been cancelled.
    fn _timer_handle_cancelled(&self, handle: &Bound<'_, PyAny>) -> PyResult<()> {
        if handle
            .getattr(intern!(handle.py(), "_scheduled"))?
            .is_truthy()?
        {
            self.timers.borrow_mut().note_cancelled();
        }
        Ok(())
    }
}

/// The value of an exact float or int, the two kinds whose addition to a float needs no Python code.
fn plain_number(number: &Bound<'_, PyAny>) -> Option<f64> {
    // SAFETY: A2: the caller holds the number; an exact int or float runs no Python code. A3: an int that is
    // too large sets an exception, which is cleared, and the slow way raises it again.
    unsafe {
        if ffi::PyFloat_CheckExact(number.as_ptr()) != 0 {
            return Some(ffi::PyFloat_AS_DOUBLE(number.as_ptr()));
        }
        if ffi::PyLong_CheckExact(number.as_ptr()) != 0 {
            let value = ffi::PyLong_AsDouble(number.as_ptr());
            if value == -1.0 && !ffi::PyErr_Occurred().is_null() {
                ffi::PyErr_Clear();
                return None;
            }
            return Some(value);
        }
        None
    }
}

fn seconds(when: &Bound<'_, PyAny>) -> PyResult<f64> {
    match plain_number(when) {
        Some(seconds) => Ok(seconds),
        None => when.extract(),
    }
}
