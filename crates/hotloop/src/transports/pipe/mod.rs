//! The native pipe transports: one for reading, one for writing, for pipes, FIFOs, terminals and sockets.
//!
//! What they do and in which order is asyncio's `_UnixReadPipeTransport` and `_UnixWritePipeTransport`:
//! `connection_made`, the start of reading and the waiter's result are three callbacks of one iteration;
//! `connection_lost` comes through the ready queue, once. The writing one watches its descriptor for *reading*: a pipe
//! whose reader is gone (`EPOLLERR`, epoll_ctl(2)) and a socket whose peer has closed become ready that way, and
//! nothing else does. A character device (a terminal) is not watched so, as input may come from it.
//!
//! Unlike asyncio's they give the descriptor's blocking mode back when they close ([`hotloop_reactor::BlockingMode`]).
//!
//! # Who owns the descriptor
//! The Python object that was given (a file, a socket) owns it, and is closed with the transport.

mod attributes;
mod end;
pub(crate) mod read;
pub(crate) mod write;

use std::ffi::{CStr, c_int, c_void};
use std::os::fd::{BorrowedFd, RawFd};

use hotloop_reactor::{self as reactor, BlockingMode, PipeKind};
use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};
use rustix::io::Errno;

use crate::errors::{OrRaise, os_error};
use crate::event_loop::{Loop, Watcher};
use crate::imports::{Imports, imports};
use crate::python::Ref;
use crate::python::heap_type::HeapType;
use crate::transports::object::{self, Described, Object, state};

use crate::python::make;
use crate::python::make::Words;
use end::End;
pub(crate) use read::ReadPipe;
pub(crate) use write::WritePipe;

/// What the two transports have in common.
pub(crate) trait PipeState: Described {
    /// What asyncio says about a descriptor of another kind.
    const REFUSAL: &'static str;

    /// The type made for this state.
    fn class(imports: &Imports) -> &Py<PyType>;
    /// A state in which nothing was read or written yet.
    fn new(end: End) -> Self;
    /// What both have.
    fn end(&self) -> &End;
    /// The watcher by which the loop knows the transport.
    fn watcher(transport: Ref) -> Watcher;
    /// Whether the descriptor is to be watched for reading from the start.
    fn reads(kind: PipeKind) -> bool;
    /// Whether reading may begin now.
    fn may_read(&self) -> bool;
    /// What `repr` says of an open transport, after its descriptor.
    fn describe_open(&self, this: &Bound<'_, Loop>) -> String;
}

/// Makes a transport for `protocol` and schedules `connection_made`, the start of reading and the waiter's result.
pub(crate) fn new_pipe<'py, S: PipeState>(
    this: &Bound<'py, Loop>,
    pipe: &Bound<'py, PyAny>,
    protocol: &Bound<'py, PyAny>,
    waiter: Option<&Bound<'py, PyAny>>,
    extra: Option<Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let extra = extra.map_or_else(|| make::dict(py), Ok)?;
    extra.set_item(intern!(py, "pipe"), pipe)?;
    let fd: RawFd = pipe.call_method0(intern!(py, "fileno"))?.extract()?;
    if fd < 0 {
        return Err(os_error(py, &Errno::BADF.into()));
    }
    // SAFETY: A8: the caller holds the pipe; whether it is open is what the next call finds out.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    let Some(kind) = reactor::pipe_kind(borrowed).or_raise(py)? else {
        return Err(PyValueError::new_err(Words(S::REFUSAL)));
    };
    this.get().check_closed()?;
    let mode = BlockingMode::set_nonblocking(borrowed).or_raise(py)?;
    let class = S::class(imports(py)?).bind(py);
    let end = End::new(fd, mode, this, pipe, protocol);
    let transport = object::allocate(class, S::new(end))?;
    object::put_extra::<S>(&transport, extra);

    let made = protocol.getattr(intern!(py, "connection_made"))?;
    Loop::call_soon_native(this, made.into(), make::tuple(py, [&transport])?.into())?;
    if S::reads(kind) {
        let start = transport.getattr(intern!(py, "_start_reading"))?;
        Loop::call_soon_native(this, start.into(), PyTuple::empty(py).into())?;
    }
    if let Some(waiter) = waiter {
        let set_result = imports(py)?.set_result_unless_cancelled.clone_ref(py);
        let args = make::tuple(py, [waiter.clone(), py.None().into_bound(py)])?;
        Loop::call_soon_native(this, set_result, args.into())?;
    }
    Ok(transport)
}

/// Makes the type of one of the two.
fn make_type<S: PipeState>(
    name: &'static CStr,
    base: &Bound<'_, PyType>,
    slots: Vec<(c_int, *mut c_void)>,
    methods: Vec<ffi::PyMethodDef>,
    getters: Vec<ffi::PyGetSetDef>,
) -> PyResult<Py<PyType>> {
    object::check::<S>(base)?;
    let made = HeapType {
        name,
        size: size_of::<Object<S>>(),
        flags: ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION,
        slots,
        methods,
        getters,
        members: object::members::<S>(),
    }
    .build(base)?;
    Ok(made.unbind())
}
