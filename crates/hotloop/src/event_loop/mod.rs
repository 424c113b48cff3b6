//! `_core.Loop`: the native half of `hotloop.EventLoop`, in front of `asyncio.BaseEventLoop`.
//!
//! The files of this folder take asyncio's own headings, so that `loop.add_reader` is found in `watch_fd.rs`
//! and the system calls of `loop.sock_recv` in `sock/`. State lives in cells that are never borrowed while Python
//! code runs (rule A5 of [`crate::python`]): a method takes out what it needs, calls, and looks again.
//!
//! # Rules
//!
//! `unsafe` follows A1–A8 of [`crate::python`]. Most of it is A2 (what the queues hold) and A8 (what is polled and read).

pub(crate) mod callbacks;
pub(crate) mod connections;
mod datagrams;
mod debug;
pub(crate) mod dns;
mod docs;
mod executors;
mod hooks;
mod iteration;
mod lookups;
mod pipes;
mod readiness;
mod servers;
mod sock;
mod start_tls;
mod state;
mod subprocesses;
mod timers;
mod turn;
mod views;
mod wakeup;
mod watch_fd;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use hotloop_reactor::{
    Events, Inbox, Interest, Poller, ReadyQueue, Registry, Resolver, Timers, Token, Waker,
};
use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};
use pyo3::{PyTraverseError, PyVisit};

use crate::errors::OrRaise;
use crate::handles;
use crate::python::make::Words;
use crate::python::{LastSnapshot, Ref, RefSlot};
use crate::transports::datagram;
pub(crate) use hooks::_note_loop_class;
pub(crate) use hooks::Hooks;
pub(crate) use views::{ReadyView, ScheduledView};
pub(crate) use watch_fd::Watcher;

/// One entry of the ready queue.
pub(crate) enum Entry {
    /// A native handle.
    Handle(handles::Queued),
    /// A step or a wake-up of asyncio's C task, with the future that wakes it.
    Step {
        callback: Ref,
        argument: Option<Ref>,
        context: Ref,
    },
    /// A task of ours: its next step is run.
    Task(Ref),
    /// A handle that somebody else made and put there: its `_run()` is called.
    Foreign(Ref),
    /// A descriptor that became ready for the watcher that has it under this token.
    Ready(Token, hotloop_reactor::Direction),
}

impl Entry {
    fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Self::Handle(handle) => handle.traverse(visit),
            Self::Foreign(handle) | Self::Task(handle) => handle.traverse(visit),
            Self::Step {
                callback,
                argument,
                context,
            } => {
                callback.traverse(visit)?;
                context.traverse(visit)?;
                argument
                    .as_ref()
                    .map_or(Ok(()), |argument| argument.traverse(visit))
            }
            Self::Ready(..) => Ok(()),
        }
    }
}

/// The size of the buffer that plain reads share, in bytes: what asyncio asks of one `recv`.
pub(crate) const READ_BUFFER_SIZE: usize = 256 * 1024;

/// The poller and the waker: closed together with the loop.
pub(crate) struct Kernel {
    pub(crate) poller: Poller,
    resolver: Resolver,
    post: Arc<lookups::Post>,
    /// What [`FORKS`] was when it was made.
    forks: u32,
}

/// How many times this process is a forked child of the one that imported the module.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// What tells a forked child from its parent.
pub(crate) fn forks() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

/// Called in a child after `os.fork()`: the epoll set that it has inherited is the parent's, too, and whatever the
/// child did to it would be done to the parent (epoll(7), "questions and answers").
#[pyfunction]
pub(crate) fn _after_fork_in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
    crate::python::guard::KnownToPyO3::forget();
}

impl Kernel {
    fn new(py: Python<'_>) -> PyResult<Self> {
        let poller = Poller::new().or_raise(py)?;
        let post = lookups::Post {
            waker: Waker::new().or_raise(py)?,
            answers: Inbox::new(),
        };
        let eventfd = post.waker.raw_fd();
        poller
            .add(eventfd, wakeup::token(eventfd), Interest::READ)
            .or_raise(py)?;
        Ok(Self {
            poller,
            resolver: Resolver::default(),
            post: Arc::new(post),
            forks: FORKS.load(Ordering::Relaxed),
        })
    }
}

/// The native event loop. Not for direct use: `hotloop.EventLoop` adds `asyncio.BaseEventLoop` behind it.
#[pyclass(frozen, subclass, module = "hotloop._core")]
pub(crate) struct Loop {
    pub(crate) ready: RefCell<ReadyQueue<Entry>>,
    pub(crate) timers: RefCell<Timers<Ref>>,
    /// What the clock said when it was last read: a time that has come.
    last_read: Cell<f64>,
    pub(crate) registry: RefCell<Registry<Watcher>>,
    /// Which native transport a descriptor belongs to; a transport takes itself out before it is freed.
    transports: RefCell<HashMap<RawFd, NonNull<ffi::PyObject>>>,
    /// The objects with `fileno()` that were given to `add_reader` and `add_writer`, by descriptor.
    file_objects: RefCell<HashMap<RawFd, Ref>>,
    /// What the loop has of the kernel; empty when it is closed.
    kernel: RefCell<Option<Arc<Kernel>>>,
    events: Cell<Option<Events>>,
    /// Who is to be called with the answer of each look-up that is under way.
    lookups: RefCell<lookups::Waiting>,
    read_buffer: Cell<Option<Box<[u8]>>>,
    /// The buffer that TLS connections encrypt into, empty.
    record_buffer: Cell<Vec<u8>>,
    /// What the datagram transports share.
    pub(crate) datagrams: datagram::Shared,
    pub(crate) closed: Cell<bool>,
    /// Whether the loop's thread waits for events, or is about to.
    sleeping: Cell<bool>,
    pub(crate) stopping: Cell<bool>,
    pub(crate) debug: Cell<bool>,
    /// The callback that runs now.
    pub(crate) turn: turn::Turn,
    pub(crate) thread_id: RefSlot,
    pub(crate) task_factory: RefSlot,
    /// The task of ours whose step was the last thing that ran, still marked as the current one (T6 of `tasks`).
    pub(crate) still_current: RefSlot,
    /// Whether `create_future()` gives futures of ours.
    pub(crate) native_futures: Cell<bool>,
    /// The keyword arguments of every future and task; see `callbacks.rs`.
    loop_keyword: RefSlot,
    /// The context of the handles that were made last.
    pub(crate) snapshot: LastSnapshot,
    pub(crate) hooks: Cell<Hooks>,
    /// Those of `hooks` that are overridden on the instance.
    instance_hooks: Cell<Hooks>,
    /// The version of the class for which `hooks` holds.
    class_version: Cell<u32>,
    /// How many iterations have ended, modulo 2^32; every so many, Python-level signal handlers get a chance to run.
    iteration: Cell<u32>,
    /// Whether the program handles signals through the loop.
    handles_signals: Cell<bool>,
    /// The receiving end of the signal wake-up pair, -1 while there is none.
    signal_fd: Cell<i32>,
}

// SAFETY: A1: the cells are touched only by the thread that holds the interpreter; what runs detached (the
// wait for events) owns what it uses and touches none of them. The waker is thread-safe itself.
unsafe impl Sync for Loop {}
// SAFETY: as above; nothing in it belongs to one thread.
unsafe impl Send for Loop {}

#[pymethods]
impl Loop {
    #[new]
    #[classmethod]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(
        class: &Bound<'_, PyType>,
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let py = class.py();
        let kernel = Kernel::new(py)?;
        Ok(Self {
            ready: RefCell::new(ReadyQueue::new()),
            timers: RefCell::new(Timers::new()),
            last_read: Cell::new(f64::NEG_INFINITY),
            registry: RefCell::new(Registry::new()),
            transports: RefCell::new(HashMap::new()),
            file_objects: RefCell::new(HashMap::new()),
            kernel: RefCell::new(Some(Arc::new(kernel))),
            events: Cell::new(Some(Events::with_capacity(128))),
            lookups: RefCell::default(),
            read_buffer: Cell::new(None),
            record_buffer: Cell::default(),
            datagrams: datagram::Shared::default(),
            closed: Cell::new(false),
            sleeping: Cell::new(false),
            stopping: Cell::new(false),
            debug: Cell::new(false),
            turn: turn::Turn::default(),
            thread_id: RefSlot::default(),
            task_factory: RefSlot::default(),
            still_current: RefSlot::default(),
            native_futures: Cell::new(false),
            loop_keyword: RefSlot::default(),
            snapshot: LastSnapshot::default(),
            hooks: Cell::new(Hooks::of_class(class)?),
            instance_hooks: Cell::new(Hooks::NONE),
            class_version: Cell::new(0),
            iteration: Cell::new(0),
            handles_signals: Cell::new(false),
            signal_fd: Cell::new(-1),
        })
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.thread_id.traverse(&visit)?;
        self.task_factory.traverse(&visit)?;
        self.loop_keyword.traverse(&visit)?;
        self.still_current.traverse(&visit)?;
        self.snapshot.traverse(&visit)?;
        if let Ok(ready) = self.ready.try_borrow() {
            for entry in ready.iter() {
                entry.traverse(&visit)?;
            }
        }
        if let Ok(timers) = self.timers.try_borrow() {
            for timer in timers.iter() {
                timer.traverse(&visit)?;
            }
        }
        if let Ok(registry) = self.registry.try_borrow() {
            for watcher in registry.watchers() {
                watcher.object().traverse(&visit)?;
            }
        }
        if let Ok(lookups) = self.lookups.try_borrow() {
            for callback in lookups.callbacks() {
                callback.traverse(&visit)?;
            }
        }
        if let Ok(objects) = self.file_objects.try_borrow() {
            for object in objects.values() {
                object.traverse(&visit)?;
            }
        }
        Ok(())
    }

    fn __clear__(&self) {
        self.drop_everything();
    }
}

impl Loop {
    /// Closes the poller and the eventfd; nothing can be watched any more.
    pub(crate) fn close_kernel(&self) {
        drop(self.kernel.take());
    }

    /// The poller and the waker; in a forked child new ones, in which nothing is watched.
    ///
    /// # Errors
    /// `RuntimeError` if the loop is closed.
    pub(crate) fn kernel(&self, py: Python<'_>) -> PyResult<Arc<Kernel>> {
        let kernel = self.kernel.borrow().clone();
        match kernel {
            Some(kernel) if kernel.forks == FORKS.load(Ordering::Relaxed) => Ok(kernel),
            Some(inherited) => {
                let kernel = Arc::new(Kernel::new(py)?);
                self.kernel.replace(Some(kernel.clone()));
                drop(inherited);
                Ok(kernel)
            }
            None => Err(PyRuntimeError::new_err(Words("Event loop is closed"))),
        }
    }

    /// Drops every callback, timer and watcher: the loop is closed, or part of garbage.
    pub(crate) fn drop_everything(&self) {
        // A5: everything is out of the cells before the first object is dropped.
        let ready = self.ready.borrow_mut().clear();
        let timers = self.timers.borrow_mut().drain();
        let watchers = self.registry.borrow_mut().drain();
        let objects = std::mem::take(&mut *self.file_objects.borrow_mut());
        let lookups = std::mem::take(&mut *self.lookups.borrow_mut());
        let rest = (
            self.task_factory.take(),
            self.thread_id.take(),
            self.loop_keyword.take(),
        );
        subprocesses::Child::let_all_go(&watchers);
        self.snapshot.forget();
        self.datagrams.clear();
        drop((ready, timers, watchers, objects, lookups, rest));
    }

    /// Lends the buffer that plain reads share. A read inside a read (a protocol that runs the loop again)
    /// gets one of its own.
    pub(crate) fn take_read_buffer(&self) -> Box<[u8]> {
        self.read_buffer
            .take()
            .unwrap_or_else(|| vec![0; READ_BUFFER_SIZE].into_boxed_slice())
    }

    /// Takes the buffer back.
    pub(crate) fn return_read_buffer(&self, buffer: Box<[u8]>) {
        self.read_buffer.set(Some(buffer));
    }
}
