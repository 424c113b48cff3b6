//! Watching file descriptors: `add_reader`, `remove_reader`, `add_writer`, `remove_writer`, and what may stand
//! in the registry.

use std::os::fd::RawFd;
use std::ptr::NonNull;

use hotloop_reactor::{Direction, Poller, Registry, Replaced};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyInt, PyTuple};

use crate::errors::OrRaise;
use crate::handles;
use crate::python::{Ref, call};
use crate::transports::datagram::Datagram;
use crate::transports::pipe;
use crate::transports::stream::Stream;

use super::Loop;
use super::hooks::Hooks;
use super::servers::Listener;
use super::sock::Operation;
use super::subprocesses::Child;
use crate::python::make;
use crate::python::make::Words;

/// Who waits for a descriptor in one direction.
pub(crate) enum Watcher {
    /// A user's callback (`add_reader`), or that of a transport written in Python.
    Handle(Ref),
    /// A native stream transport.
    Stream(Ref),
    /// A native pipe transport: the reading one, the writing one.
    ReadPipe(Ref),
    WritePipe(Ref),
    /// A native datagram transport.
    Datagram(Ref),
    /// A listening socket.
    Listener(Ref),
    /// A `sock_*` call that waits.
    Operation(Ref),
    /// The pidfd of a child.
    Child(Ref),
}

impl Watcher {
    /// The object that is kept alive.
    pub(crate) fn object(&self) -> &Ref {
        match self {
            Self::Handle(object)
            | Self::Stream(object)
            | Self::ReadPipe(object)
            | Self::WritePipe(object)
            | Self::Datagram(object)
            | Self::Listener(object)
            | Self::Operation(object)
            | Self::Child(object) => object,
        }
    }

    pub(super) fn clone_ref(&self, py: Python<'_>) -> Self {
        match self {
            Self::Handle(object) => Self::Handle(object.clone_ref(py)),
            Self::Stream(object) => Self::Stream(object.clone_ref(py)),
            Self::ReadPipe(object) => Self::ReadPipe(object.clone_ref(py)),
            Self::WritePipe(object) => Self::WritePipe(object.clone_ref(py)),
            Self::Datagram(object) => Self::Datagram(object.clone_ref(py)),
            Self::Listener(object) => Self::Listener(object.clone_ref(py)),
            Self::Operation(object) => Self::Operation(object.clone_ref(py)),
            Self::Child(object) => Self::Child(object.clone_ref(py)),
        }
    }

    /// The descriptor is ready: does what the watcher is there for.
    pub(super) fn run(
        &self,
        this: &Bound<'_, Loop>,
        fd: RawFd,
        direction: Direction,
    ) -> PyResult<()> {
        let py = this.py();
        let result = match self {
            Self::Handle(handle) => return handles::run(py, handle),
            Self::Stream(stream) => Stream::on_ready(this, stream, direction),
            Self::ReadPipe(transport) => pipe::ReadPipe::on_ready(py, transport),
            Self::WritePipe(transport) => pipe::WritePipe::on_ready(py, transport, direction),
            Self::Datagram(datagram) => Datagram::on_ready(py, datagram, direction),
            Self::Listener(listener) => Listener::accept(this, &*listener.bind(py).cast()?, fd),
            Self::Operation(operation) => {
                Operation::proceed(this, &*operation.bind(py).cast()?, fd)
            }
            Self::Child(child) => Child::ended(this, &*child.bind(py).cast()?, fd),
        };
        match result {
            Err(error) if !call::ends_the_loop(py, &error) => {
                handles::report(py, &self.handle_for_reports(this, direction)?, error)
            }
            result => result,
        }
    }

    /// A handle that names this watcher, for the debug mode's reports.
    pub(super) fn handle_for_reports(
        &self,
        this: &Bound<'_, Loop>,
        direction: Direction,
    ) -> PyResult<Ref> {
        let py = this.py();
        let name = match (self, direction) {
            (Self::Handle(handle), _) => return Ok(handle.clone_ref(py)),
            (_, Direction::Read) => "_read_ready",
            (Self::Datagram(_), Direction::Write) => "_sendto_ready",
            (_, Direction::Write) => "_write_ready",
        };
        let callback = self.object().bind(py).getattr(make::string(py, name)?)?;
        let handle =
            handles::new_handle(py, this, callback.into(), PyTuple::empty(py).into(), None)?;
        handles::track(&handle); // it never enters the queue, and a report may keep it
        Ok(handle)
    }
}

#[pymethods]
impl Loop {
    /// Call `callback(*args)` whenever a descriptor can be read, in place of the callback before.
    ///
    /// `fd` is an int or an object with `fileno()`. Raises `ValueError` for another object, `RuntimeError` if the loop is
    /// closed or a transport uses the descriptor, `OSError` as epoll_ctl(2) says. As asyncio's.
    #[pyo3(signature = (fd, callback, *args))]
    fn add_reader(
        slf: &Bound<'_, Self>,
        fd: &Bound<'_, PyAny>,
        callback: &Bound<'_, PyAny>,
        args: &Bound<'_, PyTuple>,
    ) -> PyResult<()> {
        slf.get().ensure_no_transport(slf, fd)?;
        add(slf, fd, Direction::Read, callback, args, None).map(drop)
    }

    /// Stop watching a descriptor for reading; return whether it was watched, False if the loop is closed.
    ///
    /// `fd` is an int or an object with `fileno()`. Raises `ValueError` for another object, `RuntimeError` if a transport
    /// uses the descriptor. As asyncio's.
    fn remove_reader(slf: &Bound<'_, Self>, fd: &Bound<'_, PyAny>) -> PyResult<bool> {
        slf.get().ensure_no_transport(slf, fd)?;
        remove(slf, fd, Direction::Read)
    }

    /// Call `callback(*args)` whenever a descriptor can be written, in place of the callback before.
    ///
    /// `fd` is an int or an object with `fileno()`. Raises `ValueError` for another object, `RuntimeError` if the loop is
    /// closed or a transport uses the descriptor, `OSError` as epoll_ctl(2) says. As asyncio's.
    #[pyo3(signature = (fd, callback, *args))]
    fn add_writer(
        slf: &Bound<'_, Self>,
        fd: &Bound<'_, PyAny>,
        callback: &Bound<'_, PyAny>,
        args: &Bound<'_, PyTuple>,
    ) -> PyResult<()> {
        slf.get().ensure_no_transport(slf, fd)?;
        add(slf, fd, Direction::Write, callback, args, None).map(drop)
    }

    /// Stop watching a descriptor for writing; return whether it was watched, False if the loop is closed.
    ///
    /// `fd` is an int or an object with `fileno()`. Raises `ValueError` for another object, `RuntimeError` if a transport
    /// uses the descriptor. As asyncio's.
    fn remove_writer(slf: &Bound<'_, Self>, fd: &Bound<'_, PyAny>) -> PyResult<bool> {
        slf.get().ensure_no_transport(slf, fd)?;
        remove(slf, fd, Direction::Write)
    }

    /// `add_reader` without the check for transports; returns the handle.
    #[pyo3(signature = (fd, callback, *args, context=None))]
    fn _add_reader<'py>(
        slf: &Bound<'py, Self>,
        fd: &Bound<'py, PyAny>,
        callback: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        context: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        add(slf, fd, Direction::Read, callback, args, context)
            .map(|handle| handle.into_bound(slf.py()))
    }

    /// `remove_reader` without the check for transports.
    fn _remove_reader(slf: &Bound<'_, Self>, fd: &Bound<'_, PyAny>) -> PyResult<bool> {
        remove(slf, fd, Direction::Read)
    }

    /// `add_writer` without the check for transports; returns the handle.
    #[pyo3(signature = (fd, callback, *args, context=None))]
    fn _add_writer<'py>(
        slf: &Bound<'py, Self>,
        fd: &Bound<'py, PyAny>,
        callback: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        context: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        add(slf, fd, Direction::Write, callback, args, context)
            .map(|handle| handle.into_bound(slf.py()))
    }

    /// `remove_writer` without the check for transports.
    fn _remove_writer(slf: &Bound<'_, Self>, fd: &Bound<'_, PyAny>) -> PyResult<bool> {
        remove(slf, fd, Direction::Write)
    }

    /// The native transport that owns a descriptor, or None; for `_ensure_fd_no_transport`.
    fn _transport_of<'py>(slf: &Bound<'py, Self>, fd: RawFd) -> Option<Bound<'py, PyAny>> {
        let transport = slf.get().transports.borrow().get(&fd).copied()?;
        // SAFETY: A2: a transport takes itself out of the map before its memory is freed.
        Some(unsafe { Bound::from_borrowed_ptr(slf.py(), transport.as_ptr()) })
    }

    /// Lend a transport's descriptor to the `sock_*` methods (`sendfile` does), or take it back.
    fn _lend_transport(slf: &Bound<'_, Self>, fd: RawFd, transport: &Bound<'_, PyAny>, lend: bool) {
        if lend {
            slf.get().unregister_transport(fd, transport);
        } else if Stream::is_open_as(transport, slf, fd) {
            // One that was closed meanwhile never takes itself out of the map again.
            slf.get().register_transport(fd, transport);
        }
    }

    /// What a descriptor is watched for, as the `selectors` module's bits (1 read, 2 write, 0 not at all).
    fn _watched_events(&self, fd: RawFd) -> u8 {
        let interest = self.registry.borrow().interest(fd);
        u8::from(interest.contains(Direction::Read))
            | u8::from(interest.contains(Direction::Write)) << 1
    }

    /// The watched descriptors with who waits for them: rows of (fd, events, reader, writer).
    #[allow(clippy::type_complexity)] // a row as the `selectors` module has it
    fn _watched<'py>(
        slf: &Bound<'py, Self>,
    ) -> Vec<(
        RawFd,
        u8,
        Option<Bound<'py, PyAny>>,
        Option<Bound<'py, PyAny>>,
    )> {
        let registry = slf.get().registry.borrow();
        let object = |fd, direction| {
            registry
                .watcher(fd, direction)
                .map(|watcher| watcher.object().bind(slf.py()).to_owned())
        };
        registry
            .iter()
            .map(|(fd, interest)| {
                let events = u8::from(interest.contains(Direction::Read))
                    | u8::from(interest.contains(Direction::Write)) << 1;
                (
                    fd,
                    events,
                    object(fd, Direction::Read),
                    object(fd, Direction::Write),
                )
            })
            .collect()
    }

    /// The number of a descriptor or of an object with `fileno()`; ValueError for anything else.
    #[staticmethod]
    fn _fileno(fd: &Bound<'_, PyAny>) -> PyResult<RawFd> {
        fileno(fd)
    }
}

impl Loop {
    /// Lets `watcher` wait for a descriptor, by `_add_reader` or `_add_writer` where they are overridden. Whom it
    /// replaces is cancelled.
    pub(crate) fn watch(
        &self,
        this: &Bound<'_, Loop>,
        fd: RawFd,
        direction: Direction,
        watcher: Watcher,
    ) -> PyResult<()> {
        self.put(this, fd, direction, watcher, |registry, poller, watcher| {
            registry.watch(poller, fd, direction, watcher)
        })
    }

    /// The same for one event, which `finish_watching` or `rearm` follows.
    pub(super) fn watch_once(
        &self,
        this: &Bound<'_, Loop>,
        fd: RawFd,
        direction: Direction,
        watcher: Watcher,
    ) -> PyResult<()> {
        self.put(this, fd, direction, watcher, |registry, poller, watcher| {
            registry.watch_once(poller, fd, direction, watcher)
        })
    }

    /// Stops waiting, after the event.
    pub(super) fn finish_watching(
        &self,
        this: &Bound<'_, Loop>,
        fd: RawFd,
        direction: Direction,
    ) -> PyResult<()> {
        let py = this.py();
        if self.hooks.get().any(Hooks::WATCHING) {
            return self.unwatch_surely(this, fd, direction);
        }
        let Ok(kernel) = self.kernel(py) else {
            return Ok(());
        };
        let mut registry = self.registry.borrow_mut();
        let watcher = registry.finish(&kernel.poller, fd, direction);
        drop(registry);
        drop(watcher); // A5: not while the registry is borrowed
        Ok(())
    }

    /// Waits for another event.
    ///
    /// # Errors
    /// `OSError` if the kernel cannot: then none will come.
    pub(super) fn rearm(&self, py: Python<'_>, fd: RawFd) -> PyResult<()> {
        let Ok(kernel) = self.kernel(py) else {
            return Ok(());
        };
        let rearmed = self.registry.borrow_mut().rearm(&kernel.poller, fd);
        rearmed.or_raise(py)
    }

    fn put(
        &self,
        this: &Bound<'_, Loop>,
        fd: RawFd,
        direction: Direction,
        watcher: Watcher,
        put: impl FnOnce(&mut Registry<Watcher>, &Poller, Watcher) -> std::io::Result<Replaced<Watcher>>,
    ) -> PyResult<()> {
        let py = this.py();
        let (hook, name) = match direction {
            Direction::Read => (Hooks::ADD_READER, intern!(py, "_add_reader")),
            Direction::Write => (Hooks::ADD_WRITER, intern!(py, "_add_writer")),
        };
        if self.hooks.get().any(hook) && !matches!(watcher, Watcher::Handle(_)) {
            let callback = watcher.callback(this, fd, direction)?;
            return this
                .call_method1(name, (make::number(py, fd.into())?, callback))
                .map(drop);
        }
        // A5: should the kernel refuse, the registry drops its reference while it is borrowed; ours is last.
        let kernel = self.kernel(py)?;
        let held = watcher.clone_ref(py);
        let replaced = put(&mut self.registry.borrow_mut(), &kernel.poller, watcher);
        drop(held);
        let replaced = replaced.or_raise(py)?;
        for earlier in [replaced.same, replaced.stale].into_iter().flatten() {
            if let Watcher::Handle(handle) = earlier {
                handles::cancel_any(py, &handle)?;
            }
        }
        Ok(())
    }

    /// Stops waiting for a descriptor, by `_remove_reader` or `_remove_writer` where they are overridden; returns
    /// whether anybody waited.
    pub(crate) fn unwatch(
        &self,
        this: &Bound<'_, Loop>,
        fd: RawFd,
        direction: Direction,
    ) -> PyResult<bool> {
        let py = this.py();
        let (hook, name) = match direction {
            Direction::Read => (Hooks::REMOVE_READER, intern!(py, "_remove_reader")),
            Direction::Write => (Hooks::REMOVE_WRITER, intern!(py, "_remove_writer")),
        };
        if self.hooks.get().any(hook) {
            return this
                .call_method1(name, (make::number(py, fd.into())?,))?
                .is_truthy();
        }
        self.remove_watcher(py, fd, direction)
    }

    /// A transport lets go of its descriptor: nothing waits for it, and nothing names the transport any more, whatever an
    /// overridden `_remove_reader` or `_remove_writer` raises.
    pub(crate) fn leave(
        &self,
        this: &Bound<'_, Loop>,
        fd: RawFd,
        transport: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        self.unregister_transport(fd, transport);
        let mut left = Ok(());
        for direction in [Direction::Read, Direction::Write] {
            left = left.and(self.unwatch_surely(this, fd, direction));
        }
        left
    }

    /// Stops waiting for a descriptor, also if an overridden `_remove_reader` or `_remove_writer` raises; the error is
    /// handed on then.
    pub(crate) fn unwatch_surely(
        &self,
        this: &Bound<'_, Loop>,
        fd: RawFd,
        direction: Direction,
    ) -> PyResult<()> {
        match self.unwatch(this, fd, direction) {
            Ok(_) => Ok(()),
            Err(error) => self
                .remove_watcher(this.py(), fd, direction)
                .and(Err(error)),
        }
    }

    /// The same, whatever is overridden.
    fn remove_watcher(&self, py: Python<'_>, fd: RawFd, direction: Direction) -> PyResult<bool> {
        let Ok(kernel) = self.kernel(py) else {
            return Ok(false);
        };
        let watcher = self
            .registry
            .borrow_mut()
            .unwatch(&kernel.poller, fd, direction);
        if let Some(Watcher::Handle(handle)) = &watcher {
            handles::cancel_any(py, handle)?;
        }
        Ok(watcher.is_some())
    }

    /// A new owner takes a descriptor's number over: watchers of an earlier one are gone.
    pub(crate) fn claim(&self, py: Python<'_>, fd: RawFd) -> PyResult<()> {
        let kernel = self.kernel(py)?;
        let forgotten = self.registry.borrow_mut().forget(&kernel.poller, fd);
        for earlier in [forgotten.reader, forgotten.writer].into_iter().flatten() {
            if let Watcher::Handle(handle) = earlier {
                handles::cancel_any(py, &handle)?;
            }
        }
        Ok(())
    }

    /// Notes which transport a descriptor belongs to, without keeping the transport alive.
    pub(crate) fn register_transport(&self, fd: RawFd, transport: &Bound<'_, PyAny>) {
        if let Some(transport) = NonNull::new(transport.as_ptr()) {
            self.transports.borrow_mut().insert(fd, transport);
        }
    }

    /// Forgets it, unless the number belongs to another transport by now.
    pub(crate) fn unregister_transport(&self, fd: RawFd, transport: &Bound<'_, PyAny>) {
        let mut transports = self.transports.borrow_mut();
        if transports
            .get(&fd)
            .is_some_and(|known| known.as_ptr() == transport.as_ptr())
        {
            transports.remove(&fd);
        }
    }

    /// `loop._ensure_fd_no_transport(object)`; what it would find without a look is looked at here.
    pub(super) fn ensure_no_transport(
        &self,
        this: &Bound<'_, Loop>,
        object: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = this.py();
        if !self.hooks.get().any(Hooks::ENSURE_FD_NO_TRANSPORT)
            && let Ok(number) = object.cast_exact::<PyInt>()
            && let Ok(fd) = number.extract::<RawFd>()
            && !self.transports.borrow().contains_key(&fd)
        {
            // Those that are written in Python are in a mapping of its own (`_transports.py`).
            let known = this.getattr(intern!(py, "_transports"))?;
            let known = known.getattr(intern!(py, "data"))?;
            if known
                .cast_exact::<PyDict>()
                .is_ok_and(|known| !known.contains(number).unwrap_or(true))
            {
                return Ok(());
            }
        }
        this.call_method1(intern!(py, "_ensure_fd_no_transport"), (object,))
            .map(drop)
    }

    /// The same for a descriptor's number.
    pub(super) fn ensure_number_is_free(&self, this: &Bound<'_, Loop>, fd: RawFd) -> PyResult<()> {
        let py = this.py();
        if !self.hooks.get().any(Hooks::ENSURE_FD_NO_TRANSPORT)
            && !self.transports.borrow().contains_key(&fd)
        {
            let known = this.getattr(intern!(py, "_transports"))?;
            let known = known.getattr(intern!(py, "data"))?;
            if known
                .cast_exact::<PyDict>()
                .is_ok_and(|known| known.is_empty())
            {
                return Ok(());
            }
        }
        self.ensure_no_transport(this, &make::number(py, fd.into())?)
    }

    /// `RuntimeError('Event loop is closed')` if it is.
    pub(crate) fn check_closed(&self) -> PyResult<()> {
        if self.closed.get() {
            return Err(PyRuntimeError::new_err(Words("Event loop is closed")));
        }
        Ok(())
    }
}

fn add(
    slf: &Bound<'_, Loop>,
    object: &Bound<'_, PyAny>,
    direction: Direction,
    callback: &Bound<'_, PyAny>,
    args: &Bound<'_, PyTuple>,
    context: Option<&Bound<'_, PyAny>>,
) -> PyResult<Ref> {
    let py = slf.py();
    let this = slf.get();
    this.check_closed()?;
    let context = context.map(Ref::from);
    let handle = handles::new_handle(py, slf, callback.into(), args.into(), context)?;
    handles::track(&handle); // it stays
    this.add_source_traceback(py, &handle)?;
    let fd = fileno(object)?;
    this.watch(slf, fd, direction, Watcher::Handle(handle.clone_ref(py)))?;
    if !object.is_instance_of::<PyInt>() {
        let before = this.file_objects.borrow_mut().insert(fd, object.into());
        drop(before);
    }
    Ok(handle)
}

fn remove(
    slf: &Bound<'_, Loop>,
    object: &Bound<'_, PyAny>,
    direction: Direction,
) -> PyResult<bool> {
    let this = slf.get();
    if this.closed.get() {
        return Ok(false);
    }
    let fd = match fileno(object) {
        Ok(fd) => fd,
        Err(error) => {
            // A closed file no longer knows its number; the `selectors` module looks for the object, too.
            // A5: the error outlives the borrow, as dropping it can run Python code.
            let known = {
                let objects = this.file_objects.borrow();
                let mut known = objects.iter();
                known
                    .find(|(_, known)| known.as_ptr() == object.as_ptr())
                    .map(|(fd, _)| *fd)
            };
            match known {
                Some(fd) => fd,
                None => return Err(error),
            }
        }
    };
    let removed = this.remove_watcher(slf.py(), fd, direction)?;
    if this.registry.borrow().interest(fd).is_empty() {
        let object = this.file_objects.borrow_mut().remove(&fd);
        drop(object);
    }
    Ok(removed)
}

/// The descriptor of an int or of an object with `fileno()`, with the errors of `selectors._fileobj_to_fd`.
pub(crate) fn fileno(object: &Bound<'_, PyAny>) -> PyResult<RawFd> {
    let py = object.py();
    let number = if object.is_instance_of::<PyInt>() {
        object.extract::<RawFd>()
    } else {
        object
            .call_method0(intern!(py, "fileno"))
            .and_then(|number| py.get_type::<PyInt>().call1((number,)))
            .and_then(|number| number.extract::<RawFd>())
            .map_err(|error| invalid(object, &error).unwrap_or(error))
    }?;
    if number < 0 {
        return Err(PyValueError::new_err(Words(format!(
            "Invalid file descriptor: {number}"
        ))));
    }
    Ok(number)
}

fn invalid(object: &Bound<'_, PyAny>, error: &PyErr) -> Option<PyErr> {
    use pyo3::exceptions::{PyAttributeError, PyTypeError};
    let py = object.py();
    let known = error.is_instance_of::<PyAttributeError>(py)
        || error.is_instance_of::<PyTypeError>(py)
        || error.is_instance_of::<PyValueError>(py);
    let text = object.repr().ok()?;
    known.then(|| PyValueError::new_err(Words(format!("Invalid file object: {text}"))))
}
