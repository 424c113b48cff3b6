"""Every private name that hotloop uses or stands in for: of asyncio, with the versions that have it, and of others.

Nobody promises anything about these. So they stand here in one table; importing this module, which
`hotloop` does first, looks each of them up, and one that is missing gives one ImportError instead
of an AttributeError in the middle of a program. `tests/test_private_names.py` compares the table
with the running Python and with the sources.

A name stands below what has it: `module`, `module.Class`, or `module.Class()` for what instances
have in the stdlib and ours have as well: that is compared by the tests only. (Strings, because
every start of a program reads them: 0.3 ms less than a dictionary of the names.)
"""

import asyncio
import sys
from importlib import import_module
from operator import attrgetter

Version = tuple[int, int]

#: The first version that has a name, and the first that no longer has it.
Range = tuple[Version, Version | None]

#: asyncio's, by versions and by what has them.
NAMES: dict[Range, dict[str, str]] = {
    ((3, 11), None): {
        "base_events": "_check_ssl_socket _format_handle _ipaddr_info",
        "base_events.BaseEventLoop": """
            _add_callback _asyncgen_finalizer_hook _asyncgen_firstiter_hook _call_soon
            _check_callback _check_closed _check_running _check_thread _ensure_resolved
            _make_datagram_transport _make_read_pipe_transport _make_socket_transport
            _make_ssl_transport _make_subprocess_transport _make_write_pipe_transport
            _process_events _run_once _sendfile_native _set_coroutine_origin_tracking
            _sock_sendfile_native _timer_handle_cancelled _write_to_self
        """,
        "base_events.BaseEventLoop()": """
            _asyncgens _asyncgens_shutdown_called _clock_resolution _closed _connect_sock
            _coroutine_origin_tracking_enabled _coroutine_origin_tracking_saved_depth
            _create_connection_transport _current_handle _debug _default_executor _exception_handler
            _executor_shutdown_called _internal_fds _ready _scheduled _stopping _task_factory
            _thread_id _timer_cancelled_count
        """,
        "base_events.Server": "_attach _detach _start_serving",
        "base_events.Server()": "_sockets _ssl_handshake_timeout _ssl_shutdown_timeout",
        "base_events._SendfileFallbackProtocol()": "_transport",
        "base_subprocess.BaseSubprocessTransport": "_process_exited _wait",
        "base_subprocess.BaseSubprocessTransport()": "_proc",
        "constants": "_SendfileMode",
        "events": "_get_running_loop _set_running_loop",
        "events.Handle": "_args _callback _cancelled _context _loop _repr _run _source_traceback",
        "events.TimerHandle": "_scheduled _when",
        "format_helpers": "_format_callback_source",
        "futures": "_convert_future_exc _set_result_unless_cancelled",
        "selector_events": "_SelectorSocketTransport",
        "selector_events.BaseSelectorEventLoop": """
            _accept_connection _accept_connection2 _ensure_fd_no_transport
        """,
        "selector_events.BaseSelectorEventLoop()": """
            _add_reader _add_writer _close_self_pipe _csock _make_self_pipe _process_self_data
            _read_from_self _remove_reader _remove_writer _selector _ssock _stop_serving _transports
        """,
        "selector_events._SelectorDatagramTransport()": "_address _buffer_size _sendto_ready",
        "selector_events._SelectorSocketTransport()": """
            _call_connection_lost _empty_waiter _eof _fatal_error _force_close _make_empty_waiter
            _read_ready _read_ready_cb _reset_empty_waiter _sendfile_compatible _sock
            _start_tls_compatible _write_ready
        """,
        "selector_events._SelectorTransport()": """
            _buffer _closing _conn_lost _paused _protocol _protocol_connected _server _sock_fd
        """,
        "sslproto.SSLProtocol()": """
            _abort _app_protocol _app_reading_paused _app_transport _app_writing_paused
            _check_handshake_timeout _check_shutdown_timeout _create_transport_context _do_read
            _eof_received _get_app_transport _get_extra_info _incoming _outgoing _server_hostname
            _server_side _set_app_protocol _ssl_reading_paused _ssl_writing_paused _sslcontext
            _sslobj _start_shutdown _write_buffer_size
        """,
        "sslproto._SSLProtocolTransport()": """
            _maybe_pause_protocol _maybe_resume_protocol _ssl_protocol _test__append_write_backlog
        """,
        "streams.StreamReader()": """
            _limit _maybe_resume_transport _wait_for_data _waiter _wakeup_waiter
        """,
        "streams.StreamReaderProtocol()": "_connection_lost _stream_reader _stream_reader_wr",
        "streams.StreamWriter()": "_drain_helper _get_close_waiter _reader",
        "tasks": "_current_tasks _enter_task _leave_task _register_task _unregister_task",
        "tasks._PyTask()": """
            _asyncio_future_blocking _callbacks _cancel_message _coro _exception _fut_waiter
            _future_repr _log_destroy_pending _log_traceback _make_cancelled_error _must_cancel
            _result _task_get_stack _task_print_stack _task_repr
        """,
        "transports": "_FlowControlMixin",
        "transports.BaseTransport": "_extra",
        "transports._FlowControlMixin": """
            _high_water _loop _low_water _protocol_paused _set_write_buffer_limits
        """,
        "unix_events": "_UnixSelectorEventLoop _UnixSubprocessTransport",
        "unix_events._UnixReadPipeTransport()": "_close _pipe",
        "unix_events._UnixSelectorEventLoop": """
            _check_signal _child_watcher_callback _handle_signal _sock_add_cancellation_callback
            _sock_sendfile_native_impl _sock_sendfile_update_filepos
        """,
        "unix_events._UnixSelectorEventLoop()": "_signal_handlers",
        "unix_events._UnixSubprocessTransport()": """
            _check_proc _connect_pipes _exit_waiters _pending_calls _pipes _returncode
        """,
    },
    ((3, 11), (3, 12)): {
        "events": "_get_event_loop",
        "tasks": "_all_tasks",
    },
    ((3, 11), (3, 16)): {
        "events": "_event_loop_policy",
        "unix_events._UnixDefaultEventLoopPolicy": "_loop_factory",
    },
    ((3, 12), None): {
        "tasks": "_register_eager_task _scheduled_tasks _swap_current_task _unregister_eager_task",
    },
    ((3, 13), None): {
        "base_events.BaseEventLoop": "_run_forever_cleanup _run_forever_setup",
        "base_events.BaseEventLoop()": "_old_agen_hooks",
        "unix_events._UnixSelectorEventLoop()": "_unix_server_sockets",
    },
    ((3, 14), (3, 16)): {
        "unix_events": "_DefaultEventLoopPolicy",
    },
    ((3, 14), None): {
        "events": "_ThreadSafeHandle",
        "events._ThreadSafeHandle": "_lock",
        "graph": "_build_graph_for_future",
        "tasks._PyTask()": "_asyncio_awaited_by",
        "unix_events": "_PidfdChildWatcher _ThreadedChildWatcher",
        "unix_events._UnixSelectorEventLoop()": "_watcher",
    },
    ((3, 15), None): {
        "base_events.Server()": "_context",
    },
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


def holds(versions: Range, version: Version) -> bool:
    """Whether a version is one of these."""
    first, gone = versions
    return first <= version and (gone is None or version < gone)


def table() -> dict[str, Range]:
    """Each name of asyncio's, in full, with its versions."""
    return {
        f"{owner}.{name}": versions
        for versions, owners in NAMES.items()
        for owner, names in owners.items()
        for name in names.split()
    }


def find_owner(owner: str) -> object:
    """Look up a module of the running Python's asyncio or a class in it; one with `()` gives the class.

    Raises:
        AttributeError: it is not there.
    """
    found: object = attrgetter(owner.removesuffix("()"))(asyncio)
    return found


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


def missing_of(owner: str, names: list[str]) -> list[str]:
    """Which of these names of asyncio's are not there."""
    try:
        found = find_owner(owner)
    except AttributeError:
        return [f"asyncio.{owner}.{name}" for name in names]
    return [f"asyncio.{owner}.{name}" for name in names if not hasattr(found, name)]


def check(version: Version = sys.version_info[:2]) -> None:
    """Look every name up that the version should have.

    Raises:
        ImportError: some are missing; the text names them.
    """
    missing = []
    for versions, owners in NAMES.items():
        if holds(versions, version):
            for owner, names in owners.items():
                if not owner.endswith("()"):
                    missing += missing_of(owner, names.split())
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
