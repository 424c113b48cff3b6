//! `run_in_executor`: calls in the threads of a `ThreadPoolExecutor`, whose result comes straight to the loop.
//!
//! asyncio submits the call, which makes a `concurrent.futures.Future` with a lock and a condition, and chains that
//! with a future of the loop through four functions. Nobody but asyncio ever sees the first of the two. So the work
//! item that is put into the pool's queue is a [`Call`] of our own: the worker runs it, and it posts itself to the loop
//! to settle the one future there is. What pools do with work items (`run`; `future.cancel()` when they are shut down;
//! `future.set_exception()` when they break) is in `_executors.py`, which puts them into the queue.
//!
//! Everything else is asyncio's own method: other executors, subclasses, a patched `submit`, debug mode.

use std::cell::Cell;

use pyo3::exceptions::{PyAssertionError, PyException};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyTuple;
use pyo3::{Borrowed, PyTraverseError, PyVisit};

use crate::handles;
use crate::imports::imports;
use crate::python::make;
use crate::python::{FastArguments, Ref, RefSlot};

use super::callbacks::{forward, receiver};
use super::hooks::Hooks;
use super::{Entry, Loop};

/// `loop.run_in_executor(executor, func, *args)`.
pub(super) fn run_in_executor<'py>(
    py: Python<'py>,
    slf: Borrowed<'_, 'py, PyAny>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    let this = receiver(&slf);
    let state = this.get();
    let (Some(executor), Some(function), 0, false, false) = (
        arguments.get(0),
        arguments.get(1),
        arguments.keyword_count(),
        state.closed.get(),
        state.debug.get(),
    ) else {
        return forward(py, slf, arguments, |base| &base.run_in_executor);
    };
    let executor = if !executor.is_none() {
        executor.to_owned()
    } else if slf
        .getattr(intern!(py, "_executor_shutdown_called"))?
        .is_truthy()?
    {
        py.None().into_bound(py)
    } else {
        slf.getattr(intern!(py, "_default_executor"))?
    };
    let pools = Pools::get(py)?;
    if executor.is_none() || !pools.knows(&executor)? {
        return forward(py, slf, arguments, |base| &base.run_in_executor);
    }
    let future = slf.call_method0(intern!(py, "create_future"))?;
    let call = Call {
        state: Cell::new(State::Pending),
        event_loop: RefSlot::new(Some(this.into())),
        future: RefSlot::new(Some((&future).into())),
        function: RefSlot::new(Some((&*function).into())),
        args: RefSlot::new(Some(arguments.rest(2)?)),
        outcome: RefSlot::default(),
        failed: Cell::new(false),
    };
    let call = Bound::new(py, call)?;
    let accepted = pools.enqueue.bind(py).call1((&executor, &call))?;
    if !accepted.is_truthy()? {
        // Shut down or broken: asyncio's method says so in the pool's words.
        return forward(py, slf, arguments, |base| &base.run_in_executor);
    }
    future.call_method1(intern!(py, "add_done_callback"), (&call,))?;
    Ok(future.into())
}

/// What is needed of `concurrent.futures.thread`, which is imported when the first executor is used.
struct Pools {
    class: Ref,
    /// The function `ThreadPoolExecutor.submit`, which a program may have replaced.
    submit: Ref,
    /// `enqueue(executor, call)` of `_executors.py`; None if this Python's pools are not known.
    enqueue: Ref,
    /// That of `concurrent.futures`.
    logger: Ref,
}

impl Pools {
    fn get(py: Python<'_>) -> PyResult<&Self> {
        static POOLS: PyOnceLock<Pools> = PyOnceLock::new();
        POOLS.get_or_try_init(py, || {
            let module = py.import("hotloop._executors")?;
            Ok(Self {
                class: module.getattr("ThreadPoolExecutor")?.into(),
                submit: module.getattr("submit")?.into(),
                enqueue: module.getattr("enqueue")?.into(),
                logger: module.getattr("logger")?.into(),
            })
        })
    }

    /// Whether an executor is exactly a pool of threads, with its own `submit`.
    fn knows(&self, executor: &Bound<'_, PyAny>) -> PyResult<bool> {
        let py = executor.py();
        if executor.get_type().as_ptr() != self.class.as_ptr() || self.enqueue.bind(py).is_none() {
            return Ok(false);
        }
        let submit = executor.getattr(intern!(py, "submit"))?;
        let function = submit.getattr(intern!(py, "__func__"));
        Ok(function.is_ok_and(|function| function.as_ptr() == self.submit.as_ptr()))
    }
}

/// How far a call is.
#[derive(Copy, Clone, PartialEq, Eq)]
enum State {
    Pending,
    Running,
    Cancelled,
    Done,
}

/// A call that waits for a thread, runs in one, or brings its result home. It stands for asyncio's work item, for the
/// future of `concurrent.futures`, and for the callbacks between that and the loop's.
#[pyclass(frozen, module = "hotloop._core")]
pub(super) struct Call {
    state: Cell<State>,
    event_loop: RefSlot,
    future: RefSlot,
    function: RefSlot,
    args: RefSlot,
    /// The result or the exception.
    outcome: RefSlot,
    failed: Cell<bool>,
}

// SAFETY: A1: used only by threads that hold the interpreter.
unsafe impl Send for Call {}
// SAFETY: A1, as above.
unsafe impl Sync for Call {}

#[pymethods]
impl Call {
    /// Run the function, unless the call was cancelled; the pool's worker calls this in its thread.
    #[pyo3(signature = (*_context))]
    fn run(slf: &Bound<'_, Self>, _context: &Bound<'_, PyTuple>) -> PyResult<()> {
        let py = slf.py();
        let call = slf.get();
        if call.state.get() != State::Pending {
            return Ok(());
        }
        call.state.set(State::Running);
        let (Some(function), Some(args)) = (call.function.take(), call.args.take()) else {
            return Ok(());
        };
        let result = function
            .bind(py)
            .call1(args.bind(py).cast::<PyTuple>()?.to_owned());
        drop((function, args));
        match result {
            Ok(result) => Self::finish(slf, result.into(), false),
            Err(error) => {
                let error = error.into_value(py).into_bound(py);
                Self::finish(slf, error.into(), true)
            }
        }
    }

    /// What the pool takes for the call's future.
    #[getter]
    fn future<'py>(slf: &Bound<'py, Self>) -> Bound<'py, Self> {
        slf.clone()
    }

    /// Give the call up, unless it runs already or has ended; the pool calls this when it is shut down.
    fn cancel(slf: &Bound<'_, Self>) -> PyResult<bool> {
        let call = slf.get();
        match call.state.get() {
            State::Cancelled => Ok(true),
            State::Running | State::Done => Ok(false),
            State::Pending => {
                call.state.set(State::Cancelled);
                drop((call.function.take(), call.args.take()));
                Self::tell(slf)?;
                Ok(true)
            }
        }
    }

    /// End the call with an exception; the pool calls this when it breaks.
    fn set_exception(slf: &Bound<'_, Self>, exception: &Bound<'_, PyAny>) -> PyResult<()> {
        Self::finish(slf, exception.into(), true)
    }

    /// Without an argument: settle the loop's future, as a callback of the loop. With that future: it is done; if
    /// somebody has cancelled it, so is the call.
    #[pyo3(signature = (future=None))]
    fn __call__(slf: &Bound<'_, Self>, future: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let py = slf.py();
        match future {
            None => slf.get().settle(slf),
            Some(future) if future.call_method0(intern!(py, "cancelled"))?.is_truthy()? => {
                let call = slf.get();
                if call.state.get() == State::Pending {
                    // Nobody waits for it any more.
                    call.state.set(State::Cancelled);
                    call.drop_references();
                }
                Ok(())
            }
            Some(_) => Ok(()),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        for slot in [
            &self.event_loop,
            &self.future,
            &self.function,
            &self.args,
            &self.outcome,
        ] {
            slot.traverse(&visit)?;
        }
        Ok(())
    }

    fn __clear__(&self) {
        self.drop_references();
    }
}

impl Call {
    /// The outcome is known, in whatever thread: sends it to the loop.
    fn finish(slf: &Bound<'_, Self>, outcome: Ref, failed: bool) -> PyResult<()> {
        let call = slf.get();
        call.state.set(State::Done);
        call.failed.set(failed);
        drop(call.outcome.replace(Some(outcome)));
        Self::tell(slf)
    }

    /// Sends the call to the loop. An exception in that is logged, as `concurrent.futures` does with those of callbacks:
    /// the thread has other calls to run.
    fn tell(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        match Self::post(slf) {
            Err(error) if error.is_instance_of::<PyException>(py) => {
                let logger = Pools::get(py)?.logger.bind(py);
                let named = make::dict(py)?;
                named.set_item(intern!(py, "exc_info"), error.value(py))?;
                let args = ("exception calling callback for %r", slf);
                logger
                    .call_method(intern!(py, "error"), args, Some(&named))
                    .map(drop)
            }
            result => result,
        }
    }

    /// `loop.call_soon_threadsafe(self)`, unless the loop is closed.
    fn post(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let Some(event_loop) = slf.get().event_loop.get(py) else {
            return Ok(());
        };
        let event_loop = event_loop.into_bound(py).cast_into::<Loop>()?;
        let this = event_loop.get();
        if this.closed.get() {
            // As asyncio: nobody is there to be told.
            slf.get().drop_references();
            return Ok(());
        }
        let overridden = Hooks::CALL_SOON_THREADSAFE.with(Hooks::INSIDE_THREADSAFE);
        if this.debug.get() || this.hooks.get().any(overridden) {
            let name = intern!(py, "call_soon_threadsafe");
            return event_loop.call_method1(name, (slf,)).map(drop);
        }
        let args = PyTuple::empty(py).into();
        let handle = handles::new_posted(py, &event_loop, slf.into(), args, None)?;
        this.push_ready(Entry::Handle(handles::Queued::new(handle)));
        this.wake();
        Ok(())
    }

    /// In the loop's thread: the future gets the result, the exception or the cancellation.
    fn settle(&self, slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let (future, outcome) = (self.future.take(), self.outcome.take());
        drop(self.event_loop.take());
        let Some(future) = future else {
            return Ok(());
        };
        let future = future.bind(py);
        if future.call_method0(intern!(py, "cancelled"))?.is_truthy()? {
            return Ok(());
        }
        if future.call_method0(intern!(py, "done"))?.is_truthy()? {
            return Err(PyAssertionError::new_err(()));
        }
        future.call_method1(intern!(py, "remove_done_callback"), (slf,))?;
        match outcome {
            None => future.call_method0(intern!(py, "cancel")),
            Some(error) if self.failed.get() => {
                let error = imports(py)?
                    .convert_future_exc
                    .bind(py)
                    .call1((error.bind(py),))?;
                future.call_method1(intern!(py, "set_exception"), (error,))
            }
            Some(result) => future.call_method1(intern!(py, "set_result"), (result.bind(py),)),
        }
        .map(drop)
    }

    fn drop_references(&self) {
        let taken = [
            self.event_loop.take(),
            self.future.take(),
            self.function.take(),
            self.args.take(),
            self.outcome.take(),
        ];
        drop(taken);
    }
}
