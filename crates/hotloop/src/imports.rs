//! Everything that the core takes from the running Python: looked up once, when the module is imported.
//!
//! A name that is missing gives one `ImportError` that says which, never a crash later.
//!
//! # Rules
//!
//! `unsafe` follows A2 of [`crate::python`]: addresses of types are compared, and those that are kept are never freed.

use std::ffi::CStr;
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyModule, PyType};

use crate::event_loop::{connections, dns};
use crate::handles::{self, HandleTypes};
use crate::python::Ref;
use crate::streams::asyncio_reader::AsyncioStreams;
use crate::tasks::Tables;
use crate::transports::{datagram, pipe, stream, tls};

/// See the fields' own notes for who uses what.
pub(crate) struct Imports {
    /// Native handles, over `asyncio.events.Handle` and `TimerHandle`.
    pub(crate) handle_types: HandleTypes,
    /// The native stream transport, over `asyncio.transports._FlowControlMixin`.
    pub(crate) stream_type: Py<PyType>,
    /// The native TLS protocol and its transport.
    pub(crate) tls_types: tls::TlsTypes,
    /// Our futures and tasks, and what they take from asyncio.
    pub(crate) tasks: Tables,
    /// The classes of asyncio's streams, as they were.
    pub(crate) asyncio_streams: AsyncioStreams,
    /// The native pipe transports, over `asyncio.transports.ReadTransport` and `_FlowControlMixin`.
    pub(crate) read_pipe_type: Py<PyType>,
    pub(crate) write_pipe_type: Py<PyType>,
    /// The native datagram transport, over the same and `asyncio.DatagramTransport`.
    pub(crate) datagram_type: Py<PyType>,
    /// What the size of a datagram transport's queue counts for each header: 8 bytes from 3.13 on, which sends empty
    /// datagrams, too.
    pub(crate) datagram_header_size: usize,
    /// `asyncio.BaseEventLoop`: its methods answer every call that is not of the common form.
    pub(crate) base_loop: BaseLoop,
    /// `asyncio.futures.__dict__` and `asyncio.tasks.__dict__`: `Future` and `Task` are looked up at each use,
    /// as asyncio does, because programs replace them there.
    pub(crate) futures_namespace: Py<PyDict>,
    pub(crate) tasks_namespace: Py<PyDict>,
    /// `_asyncio.Task`, if asyncio has its C half, and the type of its step objects, once one was seen.
    c_task: Option<Ref>,
    step_type: AtomicPtr<ffi::PyTypeObject>,
    /// The string "context" with which `_asyncio` names that argument, once it was seen with a step object.
    context_of_asyncio: AtomicPtr<ffi::PyObject>,
    /// `asyncio.futures._set_result_unless_cancelled`.
    pub(crate) set_result_unless_cancelled: Ref,
    /// `asyncio.futures._convert_future_exc`: asyncio's exception for one of `concurrent.futures`.
    pub(crate) convert_future_exc: Ref,
    /// `asyncio.format_helpers._format_callback_source`, and whether it takes `debug=` (3.12.5, 3.13).
    pub(crate) format_callback_source: Ref,
    pub(crate) format_takes_debug: bool,
    /// `asyncio.format_helpers.extract_stack`.
    pub(crate) extract_stack: Ref,
    /// `asyncio.base_events._format_handle`.
    pub(crate) format_handle: Ref,
    /// `asyncio.log.logger`.
    pub(crate) logger: Ref,
    /// `asyncio.base_events.__dict__`, where the logger of slow callbacks is looked up.
    pub(crate) base_events_namespace: Py<PyDict>,
    /// `asyncio.protocols.BufferedProtocol`.
    pub(crate) buffered_protocol: Ref,
    /// `asyncio.trsock.TransportSocket`.
    pub(crate) transport_socket: Ref,
    /// `socket.socket`.
    pub(crate) socket: Ref,
    /// `_socket.socket.__init__`.
    pub(crate) raw_socket_init: Ref,
    /// `_socket.socket.fileno`.
    pub(crate) raw_socket_fileno: Ref,
    /// `family`, `type` and `proto` of `_socket.socket`, as plain ints.
    pub(crate) raw_socket_members: [Ref; 3],
    /// `asyncio.selector_events._SelectorSocketTransport.write`, for its words about wrong arguments.
    pub(crate) write_method: Ref,
    /// `asyncio.transports._FlowControlMixin._set_write_buffer_limits`.
    pub(crate) set_limits: Ref,
    /// Whether `asyncio.base_events.Server._attach` and `_detach` take the transport (3.13).
    pub(crate) server_takes_transport: bool,
    /// `asyncio.constants`: the number of writes after a loss that pass silently, and the accept delay.
    pub(crate) log_threshold_for_lost_writes: u32,
    pub(crate) accept_retry_delay: f64,
    /// `asyncio.Handle._run`, as it was at import.
    pub(crate) handle_run: Ref,
    /// Whether `asyncio` sets a file's position after a `sendfile` that sent nothing: its helper does not ask for the
    /// number of bytes then (some 3.13).
    pub(crate) sendfile_always_moves: bool,
    /// `os.waitpid`, as it was at import, and the namespace of `os`.
    pub(crate) waitpid: Ref,
    pub(crate) os_namespace: Py<PyDict>,
    /// `selectors.SelectorKey`.
    pub(crate) selector_key: Ref,
    /// `asyncio.events._set_running_loop`.
    pub(crate) set_running_loop: Ref,
    /// `warnings.warn`.
    pub(crate) warn: Ref,
    /// `sys._getframe`.
    pub(crate) get_frame: Ref,
    /// What look-ups use of the `socket` module.
    pub(crate) dns: dns::Names,
    /// What outgoing connections use of it.
    pub(crate) sockets: connections::Names,
}

/// Functions of `asyncio.BaseEventLoop`, unbound.
pub(crate) struct BaseLoop {
    pub(crate) call_soon: Ref,
    pub(crate) call_soon_threadsafe: Ref,
    pub(crate) call_later: Ref,
    pub(crate) call_at: Ref,
    pub(crate) create_task: Ref,
    pub(crate) create_future: Ref,
    pub(crate) run_in_executor: Ref,
}

impl Imports {
    /// Whether an object is a task of asyncio's C half, or of ours.
    ///
    /// # Safety
    /// `object` is null or alive (A2).
    pub(crate) unsafe fn is_task(&self, object: *mut ffi::PyObject) -> bool {
        let Some(task) = &self.c_task else {
            return false;
        };
        // SAFETY: by the caller; comparing types runs no code.
        !object.is_null()
            && unsafe {
                ffi::PyObject_TypeCheck(object, task.as_ptr().cast()) != 0
                    || ffi::PyObject_TypeCheck(object, self.tasks.task_type.as_ptr().cast()) != 0
            }
    }

    /// Whether a keyword's name is the string that `_asyncio` uses for "context"; `learn` takes the first one that
    /// comes with a step object for it.
    pub(crate) fn is_context_of_asyncio(&self, name: &Bound<'_, PyAny>, learn: bool) -> bool {
        let known = self.context_of_asyncio.load(Ordering::Relaxed);
        if !known.is_null() || !learn {
            return name.as_ptr() == known;
        }
        let is_context = name.eq("context").unwrap_or(false);
        if is_context {
            // Kept for ever, so that no other string can have its address.
            self.context_of_asyncio
                .store(name.clone().into_ptr(), Ordering::Relaxed);
        }
        is_context
    }

    /// Whether a type is that of the C task's step objects, which asyncio does not export: it is known by its name
    /// at first and by its address from then on.
    ///
    /// # Safety
    /// `kind` is alive (A2).
    pub(crate) unsafe fn is_task_step(&self, kind: *mut ffi::PyTypeObject) -> bool {
        let known = self.step_type.load(Ordering::Relaxed);
        if !known.is_null() {
            return kind == known;
        }
        // SAFETY: by the caller; the name of a type is a C string that lives as long as it does.
        let name = unsafe { CStr::from_ptr((*kind).tp_name) };
        if name != c"TaskStepMethWrapper" && name != c"_asyncio.TaskStepMethWrapper" {
            return false;
        }
        // SAFETY: A2; kept for ever, so that no other type can have its address.
        unsafe { ffi::Py_INCREF(kind.cast()) };
        self.step_type.store(kind, Ordering::Relaxed);
        true
    }
}

static IMPORTS: PyOnceLock<Imports> = PyOnceLock::new();

/// The table; filled when the module was imported.
pub(crate) fn imports(py: Python<'_>) -> PyResult<&'static Imports> {
    match IMPORTS.get(py) {
        Some(imports) => Ok(imports),
        None => IMPORTS.get_or_try_init(py, || load(py)),
    }
}

fn load(py: Python<'_>) -> PyResult<Imports> {
    let base_events = py.import("asyncio.base_events")?;
    let format_helpers = py.import("asyncio.format_helpers")?;
    let constants = py.import("asyncio.constants")?;
    let base = name(&base_events, "BaseEventLoop")?;
    let futures = py.import("asyncio.futures")?;
    let format_callback_source = name(&format_helpers, "_format_callback_source")?;
    let server = name(&base_events, "Server")?;
    let method = |method: &str| -> PyResult<Ref> { Ok(base.getattr(method)?.into()) };
    Ok(Imports {
        handle_types: handles::make_types(py)?,
        stream_type: stream::make_type(py)?,
        tls_types: tls::make_types(py)?,
        tasks: Tables::load(py)?,
        asyncio_streams: AsyncioStreams::load(py)?,
        read_pipe_type: pipe::read::make_type(py)?,
        write_pipe_type: pipe::write::make_type(py)?,
        datagram_type: datagram::make_type(py)?,
        datagram_header_size: if py.version_info() >= (3, 13) { 8 } else { 0 },
        base_loop: BaseLoop {
            call_soon: method("call_soon")?,
            call_soon_threadsafe: method("call_soon_threadsafe")?,
            call_later: method("call_later")?,
            call_at: method("call_at")?,
            create_task: method("create_task")?,
            create_future: method("create_future")?,
            run_in_executor: method("run_in_executor")?,
        },
        c_task: py
            .import("_asyncio")
            .and_then(|module| module.getattr("Task"))
            .map(Ref::from)
            .ok(),
        step_type: AtomicPtr::new(std::ptr::null_mut()),
        context_of_asyncio: AtomicPtr::new(std::ptr::null_mut()),
        set_result_unless_cancelled: name(&futures, "_set_result_unless_cancelled")?.into(),
        convert_future_exc: name(&futures, "_convert_future_exc")?.into(),
        futures_namespace: futures.dict().unbind(),
        tasks_namespace: py.import("asyncio.tasks")?.dict().unbind(),
        format_takes_debug: positional_and_named(&format_callback_source)?.1 > 0,
        format_callback_source: format_callback_source.into(),
        extract_stack: name(&format_helpers, "extract_stack")?.into(),
        format_handle: name(&base_events, "_format_handle")?.into(),
        logger: name(&py.import("asyncio.log")?, "logger")?.into(),
        base_events_namespace: base_events.dict().unbind(),
        buffered_protocol: name(&py.import("asyncio.protocols")?, "BufferedProtocol")?.into(),
        transport_socket: name(&py.import("asyncio.trsock")?, "TransportSocket")?.into(),
        socket: name(&py.import("socket")?, "socket")?.into(),
        raw_socket_init: name(&py.import("_socket")?, "socket")?
            .getattr("__init__")?
            .into(),
        raw_socket_fileno: name(&py.import("_socket")?, "socket")?
            .getattr("fileno")?
            .into(),
        raw_socket_members: {
            let raw = name(&py.import("_socket")?, "socket")?;
            [
                raw.getattr("family")?.into(),
                raw.getattr("type")?.into(),
                raw.getattr("proto")?.into(),
            ]
        },
        write_method: name(
            &py.import("asyncio.selector_events")?,
            "_SelectorSocketTransport",
        )?
        .getattr("write")?
        .into(),
        set_limits: name(&py.import("asyncio.transports")?, "_FlowControlMixin")?
            .getattr("_set_write_buffer_limits")?
            .into(),
        server_takes_transport: positional_and_named(&server.getattr("_attach")?)?.0 > 1,
        log_threshold_for_lost_writes: name(&constants, "LOG_THRESHOLD_FOR_CONNLOST_WRITES")?
            .extract()?,
        accept_retry_delay: name(&constants, "ACCEPT_RETRY_DELAY")?.extract()?,
        handle_run: name(&py.import("asyncio.events")?, "Handle")?
            .getattr("_run")?
            .into(),
        sendfile_always_moves: {
            let unix_events = py.import("asyncio.unix_events")?;
            let unix_loop = name(&unix_events, "_UnixSelectorEventLoop")?;
            let helper = unix_loop.getattr("_sock_sendfile_update_filepos")?;
            positional_and_named(&helper)?.0 < 4
        },
        waitpid: name(&py.import("os")?, "waitpid")?.into(),
        os_namespace: py.import("os")?.dict().unbind(),
        selector_key: name(&py.import("selectors")?, "SelectorKey")?.into(),
        set_running_loop: name(&py.import("asyncio.events")?, "_set_running_loop")?.into(),
        warn: name(&py.import("warnings")?, "warn")?.into(),
        get_frame: name(&py.import("sys")?, "_getframe")?.into(),
        dns: dns::Names::load(py)?,
        sockets: connections::Names::load(py)?,
    })
}

/// The numbers of positional and of keyword-only parameters of a Python function.
fn positional_and_named(function: &Bound<'_, PyAny>) -> PyResult<(usize, usize)> {
    let code = function.getattr("__code__")?;
    Ok((
        code.getattr("co_argcount")?.extract()?,
        code.getattr("co_kwonlyargcount")?.extract()?,
    ))
}

fn name<'py>(module: &Bound<'py, PyModule>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    module.getattr(name).map_err(|_| {
        let module = module
            .name()
            .map_or_else(|_| "asyncio".to_owned(), |name| name.to_string());
        PyImportError::new_err(format!(
            "hotloop needs {module}.{name}, which this Python does not have; \
             install a version of hotloop that supports it"
        ))
    })
}
