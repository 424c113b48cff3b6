"""Every private name that hotloop uses or stands in for: of asyncio, with the versions that have it, and of others.

Nobody promises anything about these. So they stand here in one table; importing this module, which
`hotloop` does first, looks each of them up, and one that is missing gives one ImportError instead
of an AttributeError in the middle of a program. `tests/test_private_names.py` compares the table
with the running Python and with the sources.

A name is `module.name` or `module.Class.name`; or `module.Class().name` for what instances have in
the stdlib and ours have as well: that is compared by the tests only.
"""

import sys
from functools import cache
from importlib import import_module

Version = tuple[int, int]

#: The first version that has a name, and the first that no longer has it.
Range = tuple[Version, Version | None]

_EVER = """
base_events.BaseEventLoop()._asyncgens
base_events.BaseEventLoop()._asyncgens_shutdown_called
base_events.BaseEventLoop()._clock_resolution
base_events.BaseEventLoop()._closed
base_events.BaseEventLoop()._connect_sock
base_events.BaseEventLoop()._coroutine_origin_tracking_enabled
base_events.BaseEventLoop()._coroutine_origin_tracking_saved_depth
base_events.BaseEventLoop()._create_connection_transport
base_events.BaseEventLoop()._current_handle
base_events.BaseEventLoop()._debug
base_events.BaseEventLoop()._default_executor
base_events.BaseEventLoop()._exception_handler
base_events.BaseEventLoop()._executor_shutdown_called
base_events.BaseEventLoop()._internal_fds
base_events.BaseEventLoop()._ready
base_events.BaseEventLoop()._scheduled
base_events.BaseEventLoop()._stopping
base_events.BaseEventLoop()._task_factory
base_events.BaseEventLoop()._thread_id
base_events.BaseEventLoop()._timer_cancelled_count
base_events.BaseEventLoop._add_callback
base_events.BaseEventLoop._asyncgen_finalizer_hook
base_events.BaseEventLoop._asyncgen_firstiter_hook
base_events.BaseEventLoop._call_soon
base_events.BaseEventLoop._check_callback
base_events.BaseEventLoop._check_closed
base_events.BaseEventLoop._check_running
base_events.BaseEventLoop._check_thread
base_events.BaseEventLoop._ensure_resolved
base_events.BaseEventLoop._make_datagram_transport
base_events.BaseEventLoop._make_read_pipe_transport
base_events.BaseEventLoop._make_socket_transport
base_events.BaseEventLoop._make_ssl_transport
base_events.BaseEventLoop._make_subprocess_transport
base_events.BaseEventLoop._make_write_pipe_transport
base_events.BaseEventLoop._process_events
base_events.BaseEventLoop._run_once
base_events.BaseEventLoop._sendfile_native
base_events.BaseEventLoop._set_coroutine_origin_tracking
base_events.BaseEventLoop._sock_sendfile_native
base_events.BaseEventLoop._timer_handle_cancelled
base_events.BaseEventLoop._write_to_self
base_events.Server()._sockets
base_events.Server()._ssl_handshake_timeout
base_events.Server()._ssl_shutdown_timeout
base_events.Server._attach
base_events.Server._detach
base_events.Server._start_serving
base_events._SendfileFallbackProtocol()._transport
base_events._check_ssl_socket
base_events._format_handle
base_events._ipaddr_info
base_subprocess.BaseSubprocessTransport()._proc
base_subprocess.BaseSubprocessTransport._process_exited
base_subprocess.BaseSubprocessTransport._wait
constants._SendfileMode
events.Handle._args
events.Handle._callback
events.Handle._cancelled
events.Handle._context
events.Handle._loop
events.Handle._repr
events.Handle._run
events.Handle._source_traceback
events.TimerHandle._scheduled
events.TimerHandle._when
events._get_running_loop
events._set_running_loop
format_helpers._format_callback_source
futures._convert_future_exc
futures._set_result_unless_cancelled
selector_events.BaseSelectorEventLoop()._add_reader
selector_events.BaseSelectorEventLoop()._add_writer
selector_events.BaseSelectorEventLoop()._close_self_pipe
selector_events.BaseSelectorEventLoop()._csock
selector_events.BaseSelectorEventLoop()._make_self_pipe
selector_events.BaseSelectorEventLoop()._process_self_data
selector_events.BaseSelectorEventLoop()._read_from_self
selector_events.BaseSelectorEventLoop()._remove_reader
selector_events.BaseSelectorEventLoop()._remove_writer
selector_events.BaseSelectorEventLoop()._selector
selector_events.BaseSelectorEventLoop()._ssock
selector_events.BaseSelectorEventLoop()._stop_serving
selector_events.BaseSelectorEventLoop()._transports
selector_events.BaseSelectorEventLoop._accept_connection
selector_events.BaseSelectorEventLoop._accept_connection2
selector_events.BaseSelectorEventLoop._ensure_fd_no_transport
selector_events._SelectorDatagramTransport()._address
selector_events._SelectorDatagramTransport()._buffer_size
selector_events._SelectorDatagramTransport()._sendto_ready
selector_events._SelectorSocketTransport
selector_events._SelectorSocketTransport()._call_connection_lost
selector_events._SelectorSocketTransport()._empty_waiter
selector_events._SelectorSocketTransport()._eof
selector_events._SelectorSocketTransport()._fatal_error
selector_events._SelectorSocketTransport()._force_close
selector_events._SelectorSocketTransport()._make_empty_waiter
selector_events._SelectorSocketTransport()._read_ready
selector_events._SelectorSocketTransport()._read_ready_cb
selector_events._SelectorSocketTransport()._reset_empty_waiter
selector_events._SelectorSocketTransport()._sendfile_compatible
selector_events._SelectorSocketTransport()._sock
selector_events._SelectorSocketTransport()._start_tls_compatible
selector_events._SelectorSocketTransport()._write_ready
selector_events._SelectorTransport()._buffer
selector_events._SelectorTransport()._closing
selector_events._SelectorTransport()._conn_lost
selector_events._SelectorTransport()._paused
selector_events._SelectorTransport()._protocol
selector_events._SelectorTransport()._protocol_connected
selector_events._SelectorTransport()._server
selector_events._SelectorTransport()._sock_fd
sslproto.SSLProtocol()._abort
sslproto.SSLProtocol()._app_protocol
sslproto.SSLProtocol()._app_reading_paused
sslproto.SSLProtocol()._app_transport
sslproto.SSLProtocol()._app_writing_paused
sslproto.SSLProtocol()._check_handshake_timeout
sslproto.SSLProtocol()._check_shutdown_timeout
sslproto.SSLProtocol()._create_transport_context
sslproto.SSLProtocol()._do_read
sslproto.SSLProtocol()._eof_received
sslproto.SSLProtocol()._get_app_transport
sslproto.SSLProtocol()._get_extra_info
sslproto.SSLProtocol()._incoming
sslproto.SSLProtocol()._outgoing
sslproto.SSLProtocol()._server_hostname
sslproto.SSLProtocol()._server_side
sslproto.SSLProtocol()._set_app_protocol
sslproto.SSLProtocol()._ssl_reading_paused
sslproto.SSLProtocol()._ssl_writing_paused
sslproto.SSLProtocol()._sslcontext
sslproto.SSLProtocol()._sslobj
sslproto.SSLProtocol()._start_shutdown
sslproto.SSLProtocol()._write_buffer_size
sslproto._SSLProtocolTransport()._maybe_pause_protocol
sslproto._SSLProtocolTransport()._maybe_resume_protocol
sslproto._SSLProtocolTransport()._ssl_protocol
sslproto._SSLProtocolTransport()._test__append_write_backlog
streams.StreamReader()._limit
streams.StreamReader()._maybe_resume_transport
streams.StreamReader()._wait_for_data
streams.StreamReader()._waiter
streams.StreamReader()._wakeup_waiter
streams.StreamReaderProtocol()._connection_lost
streams.StreamReaderProtocol()._stream_reader
streams.StreamReaderProtocol()._stream_reader_wr
streams.StreamWriter()._drain_helper
streams.StreamWriter()._get_close_waiter
streams.StreamWriter()._reader
tasks._PyTask()._asyncio_future_blocking
tasks._PyTask()._callbacks
tasks._PyTask()._cancel_message
tasks._PyTask()._coro
tasks._PyTask()._exception
tasks._PyTask()._fut_waiter
tasks._PyTask()._future_repr
tasks._PyTask()._log_destroy_pending
tasks._PyTask()._log_traceback
tasks._PyTask()._make_cancelled_error
tasks._PyTask()._must_cancel
tasks._PyTask()._result
tasks._PyTask()._task_get_stack
tasks._PyTask()._task_print_stack
tasks._PyTask()._task_repr
tasks._current_tasks
tasks._enter_task
tasks._leave_task
tasks._register_task
tasks._unregister_task
transports.BaseTransport._extra
transports._FlowControlMixin
transports._FlowControlMixin._high_water
transports._FlowControlMixin._loop
transports._FlowControlMixin._low_water
transports._FlowControlMixin._protocol_paused
transports._FlowControlMixin._set_write_buffer_limits
unix_events._UnixReadPipeTransport()._close
unix_events._UnixReadPipeTransport()._pipe
unix_events._UnixSelectorEventLoop
unix_events._UnixSelectorEventLoop()._signal_handlers
unix_events._UnixSelectorEventLoop._check_signal
unix_events._UnixSelectorEventLoop._child_watcher_callback
unix_events._UnixSelectorEventLoop._handle_signal
unix_events._UnixSelectorEventLoop._sock_add_cancellation_callback
unix_events._UnixSelectorEventLoop._sock_sendfile_native_impl
unix_events._UnixSelectorEventLoop._sock_sendfile_update_filepos
unix_events._UnixSubprocessTransport
unix_events._UnixSubprocessTransport()._check_proc
unix_events._UnixSubprocessTransport()._connect_pipes
unix_events._UnixSubprocessTransport()._exit_waiters
unix_events._UnixSubprocessTransport()._pending_calls
unix_events._UnixSubprocessTransport()._pipes
unix_events._UnixSubprocessTransport()._returncode
"""

#: Each name with its versions.
TABLE: dict[str, Range] = dict.fromkeys(_EVER.split(), ((3, 11), None)) | {
    "base_events.BaseEventLoop._run_forever_cleanup": ((3, 13), None),
    "base_events.BaseEventLoop._run_forever_setup": ((3, 13), None),
    "base_events.BaseEventLoop()._old_agen_hooks": ((3, 13), None),
    "base_events.Server()._context": ((3, 15), None),
    "events._ThreadSafeHandle": ((3, 14), None),
    "events._ThreadSafeHandle._lock": ((3, 14), None),
    "events._event_loop_policy": ((3, 11), (3, 16)),
    "events._get_event_loop": ((3, 11), (3, 12)),
    "graph._build_graph_for_future": ((3, 14), None),
    "tasks._PyTask()._asyncio_awaited_by": ((3, 14), None),
    "tasks._all_tasks": ((3, 11), (3, 12)),
    "tasks._register_eager_task": ((3, 12), None),
    "tasks._scheduled_tasks": ((3, 12), None),
    "tasks._swap_current_task": ((3, 12), None),
    "tasks._unregister_eager_task": ((3, 12), None),
    "unix_events._DefaultEventLoopPolicy": ((3, 14), (3, 16)),
    "unix_events._PidfdChildWatcher": ((3, 14), None),
    "unix_events._ThreadedChildWatcher": ((3, 14), None),
    "unix_events._UnixDefaultEventLoopPolicy._loop_factory": ((3, 11), (3, 16)),
    "unix_events._UnixSelectorEventLoop()._unix_server_sockets": ((3, 13), None),
    "unix_events._UnixSelectorEventLoop()._watcher": ((3, 14), None),
}

#: Private names outside asyncio, as `module:name`, in modules that asyncio imports as well.
OTHERS = [
    "_socket:getaddrinfo",
    "_socket:socket",
    "_thread:RLock",
    "socket:socket._closed",
    "socket:socket._io_refs",
    "sys:_getframe",
]

#: Private names that are looked at when they are first used, with what is done where one is missing.
DISPENSABLE = (
    dict.fromkeys(
        [
            "concurrent.futures._base:LOGGER",
            "concurrent.futures.thread:ThreadPoolExecutor()._adjust_thread_count",
            "concurrent.futures.thread:ThreadPoolExecutor()._broken",
            "concurrent.futures.thread:ThreadPoolExecutor()._shutdown",
            "concurrent.futures.thread:ThreadPoolExecutor()._shutdown_lock",
            "concurrent.futures.thread:ThreadPoolExecutor()._work_queue",
            "concurrent.futures.thread:_global_shutdown_lock",
            "concurrent.futures.thread:_shutdown",
        ],
        "run_in_executor() goes asyncio's way (_executors.py)",
    )
    | dict.fromkeys(
        ["_weakrefset:WeakSet()._pending_removals", "_weakrefset:WeakSet()._remove"],
        "the methods of the set of tasks are called (crates/hotloop/src/tasks/lifetime.rs)",
    )
    | dict.fromkeys(
        ["_ssl:_SSLContext", "ssl:SSLObject()._sslobj"],
        "TLS runs over memory BIOs (crates/hotloop/src/tls/verify.rs)",
    )
    | dict.fromkeys(
        ["ssl:SSLContext()._msg_callback"],
        "no message callback is looked for (crates/hotloop/src/tls/names.rs)",
    )
)


def has(name: str, version: Version) -> bool:
    """Whether the table says that a version has a name."""
    first, gone = TABLE[name]
    return first <= version and (gone is None or version < gone)


def find(name: str) -> object:
    """Look a name up in the running Python's asyncio; one with `()` gives its class.

    Raises:
        AttributeError: it is not there.
    """
    owner, _, attribute = name.partition("()")[0].rpartition(".")
    return getattr(_owner(owner), attribute)


@cache
def _owner(name: str) -> object:
    """A module of asyncio, or a class in one."""
    module, _, attribute = name.partition(".")
    found = import_module(f"asyncio.{module}")
    return getattr(found, attribute) if attribute else found


def find_other(name: str) -> object:
    """Look up a name of `OTHERS` or `DISPENSABLE`; one with `()` gives its class.

    Raises:
        AttributeError: it is not there.
        ImportError: its module is not there.
    """
    module, _, path = name.partition(":")
    found: object = import_module(module)
    for part in path.partition("()")[0].split("."):
        found = getattr(found, part)
    return found


def check(version: Version = sys.version_info[:2]) -> None:
    """Look every name up that the version should have.

    Raises:
        ImportError: some are missing; the text names them.
    """
    missing = []
    for name in TABLE:
        try:
            if "()" not in name and has(name, version):
                find(name)
        except (AttributeError, ImportError):
            missing.append(f"asyncio.{name}")
    for name in OTHERS:
        try:
            find_other(name)
        except (AttributeError, ImportError):
            missing.append(name.replace(":", "."))
    if missing:
        raise ImportError(
            f"hotloop needs {', '.join(missing)}, which Python {sys.version.split()[0]} does not "
            "have; install a version of hotloop that supports this Python"
        )


check()
