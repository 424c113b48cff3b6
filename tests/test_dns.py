"""``getaddrinfo`` and ``getnameinfo``."""

import asyncio
import concurrent.futures
import contextlib
import itertools
import logging
import socket
import threading
import weakref

import pytest

from helpers import collect, outcome, run_child

HOSTS = [
    "127.0.0.1",
    b"127.0.0.1",
    "192.0.2.255",
    "::1",
    b"::1",
    "2001:db8::1",
    "::ffff:1.2.3.4",
    "::1.2.3.4",
    "fe80::1%lo",
    "fe80::1%1",
    "fe80::1%nosuch",
    "127.1",
    "0x7f.1",
    "010.1.1.1",
    "１.2.3.4",
    "::g",
    None,
    bytearray(b"127.0.0.1"),
    7,
]
PORTS = [80, 0, 65535, 65536, -1, True, None, "80", "080", b"80", "", b"", " 80", "0x50", 1.5]
KINDS = [
    {},
    {"type": socket.SOCK_STREAM},
    {"type": socket.SOCK_DGRAM},
    {"type": socket.SOCK_RAW},
    {"type": socket.SOCK_SEQPACKET},
    {"proto": socket.IPPROTO_TCP},
    {"proto": socket.IPPROTO_UDP},
    {"proto": socket.IPPROTO_ICMP},
    {"type": socket.SOCK_STREAM, "proto": socket.IPPROTO_TCP},
    {"type": socket.SOCK_STREAM, "proto": socket.IPPROTO_UDP},
    {"family": socket.AF_INET},
    {"family": socket.AF_INET, "type": socket.SOCK_STREAM},
    {"family": socket.AF_INET6},
    {"family": socket.AF_INET6, "type": socket.SOCK_DGRAM},
    {"family": socket.AF_UNIX},
    {"family": 10},
    {"family": "2"},
]
FLAGS = [
    0,
    socket.AI_PASSIVE,
    socket.AI_NUMERICHOST,
    socket.AI_NUMERICSERV,
    socket.AI_PASSIVE | socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    socket.AI_CANONNAME,
    socket.AI_ADDRCONFIG,
    socket.AI_V4MAPPED | socket.AI_ALL,
]


def is_same(loop, host, port, **options):
    """Whether the loop's answer, types included, is that of the socket module."""
    arguments = {"family": 0, "type": 0, "proto": 0, "flags": 0, **options}
    expected = outcome(lambda: socket.getaddrinfo(host, port, *arguments.values()))
    asked = loop.getaddrinfo(host, port, **options)
    return outcome(lambda: loop.run_until_complete(asked)) == expected


@pytest.mark.parametrize("host", HOSTS, ids=repr)
def test_every_port_and_kind_gives_what_the_socket_module_gives(loop, host):
    differing = [
        (port, options)
        for port, options in itertools.product(PORTS, KINDS)
        if not is_same(loop, host, port, **options)
    ]
    assert differing == []


@pytest.mark.parametrize("flags", FLAGS)
def test_every_flag_gives_what_the_socket_module_gives(loop, flags):
    kinds = [{}, {"type": socket.SOCK_STREAM}, {"family": socket.AF_INET6}]
    differing = [
        (host, port, options)
        for host, port, options in itertools.product(HOSTS, [80, None, ""], kinds)
        if not is_same(loop, host, port, flags=flags, **options)
    ]
    assert differing == []


def test_the_entries_are_members_of_the_enumerations(loop):
    [entry] = loop.run_until_complete(loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM))
    assert entry == (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", 80))
    assert [type(part) for part in entry] == [
        socket.AddressFamily,
        socket.SocketKind,
        int,
        str,
        tuple,
    ]


@pytest.mark.parametrize("port", ["http", b"http"])
def test_names_of_services_are_looked_up(loop, port):
    assert is_same(loop, "127.0.0.1", port, type=socket.SOCK_STREAM)


def test_a_host_name_is_looked_up(loop):
    assert is_same(loop, "localhost", 80, type=socket.SOCK_STREAM)


# What needs no name server: the hosts file need not have `localhost` for IPv6.
LOCAL_KINDS = [kind for kind in KINDS if kind.get("family") not in (socket.AF_INET6, 10)]
NAMES = [
    "localhost",
    b"localhost",
    "a..b",
    ".localhost",
    "",
    "x" * 64,
    "localhost\0rest",
]


@pytest.mark.parametrize("host", NAMES, ids=ascii)
def test_every_name_gives_what_the_socket_module_gives(loop, host):
    differing = [
        (port, options)
        for port, options in itertools.product(
            [80, 65536, None, "http", b"80", "nosuch"], LOCAL_KINDS
        )
        if not is_same(loop, host, port, **options)
    ]
    assert differing == []


@pytest.mark.parametrize("flags", FLAGS)
def test_every_flag_of_a_name_gives_what_the_socket_module_gives(loop, flags):
    kinds = [{}, {"type": socket.SOCK_STREAM}, {"family": socket.AF_INET}]
    differing = [
        (host, port, options)
        for host, port, options in itertools.product(NAMES[:2], [80, "http"], kinds)
        if not is_same(loop, host, port, flags=flags, **options)
    ]
    assert differing == []


@pytest.mark.hotloop_only
def test_a_name_needs_no_executor(loop):
    async def main():
        busy = asyncio.ensure_future(never_idle())
        found = await asyncio.gather(*(loop.getaddrinfo("localhost", port) for port in range(99)))
        busy.cancel()
        return found

    async def never_idle():
        # An answer must reach a loop that does not wait for events as well.
        while True:
            await asyncio.sleep(0)

    found = loop.run_until_complete(main())
    assert found == [socket.getaddrinfo("localhost", port) for port in range(99)]
    assert loop._default_executor is None
    assert loop._lookups == {}


@pytest.mark.hotloop_only
def test_the_entries_of_a_name_are_members_of_the_enumerations(loop):
    for entry in loop.run_until_complete(loop.getaddrinfo("localhost", 80)):
        types = [socket.AddressFamily, socket.SocketKind, int, str, tuple]
        assert [type(part) for part in entry] == types


def test_a_name_that_is_looked_up_after_an_executor_was_used(loop):
    async def main():
        await loop.run_in_executor(None, int)
        return await loop.getaddrinfo("localhost", 80)

    assert loop.run_until_complete(main()) == socket.getaddrinfo("localhost", 80)


def test_a_cancelled_look_up_of_a_name_leaves_nothing(loop):
    async def main():
        tasks = [
            asyncio.ensure_future(loop.getaddrinfo("localhost", port)) for port in (80, 80, 81)
        ]
        await asyncio.sleep(0)
        for task in tasks[1:]:
            task.cancel()
        await asyncio.wait(tasks)
        assert [task.cancelled() for task in tasks] == [False, True, True]
        return tasks[0].result()

    assert loop.run_until_complete(main()) == socket.getaddrinfo("localhost", 80)


@pytest.mark.hotloop_only
def test_a_loop_closed_during_a_look_up_of_a_name_is_free(hotloop):
    async def main(loop):
        asked = [loop.getaddrinfo("localhost", port) for port in range(9)]
        tasks = [asyncio.ensure_future(one) for one in asked]
        await asyncio.sleep(0)
        return tasks

    loop = hotloop.EventLoop()
    tasks = loop.run_until_complete(main(loop))
    loop.close()
    for task in tasks:
        task._log_destroy_pending = False
        task.get_coro().close()
    gone = weakref.ref(loop)
    del loop, task, tasks
    collect()
    assert gone() is None


@pytest.mark.hotloop_only
def test_audit_hooks_hear_of_a_look_up():
    done = run_child(
        """if True:
        import asyncio, sys, hotloop
        heard = []
        sys.addaudithook(lambda event, args: event == "socket.getaddrinfo" and heard.append(args))

        async def main():
            await asyncio.get_running_loop().getaddrinfo("localhost", 80, type=1)

        hotloop.run(main())
        assert heard == [("localhost", 80, 0, 1, 0)], heard
        """
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.hotloop_only
@pytest.mark.parametrize(
    ("host", "port", "flags"),
    [
        ("127.0.0.1", 80, 0),
        ("::1", "80", 0),
        (b"127.0.0.1", None, 0),
        ("fe80::1%lo", 80, 0),
        ("127.1", 80, 0),
        (None, 80, socket.AI_PASSIVE),
        (None, 80, 0),
    ],
)
def test_a_numeric_address_needs_no_thread(loop, host, port, flags):
    loop.run_until_complete(loop.getaddrinfo(host, port, flags=flags))
    assert loop._default_executor is None


@pytest.mark.hotloop_only
def test_a_numeric_name_needs_no_thread(loop):
    flags = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    asked = loop.getnameinfo(("127.0.0.1", 80), flags)
    assert loop.run_until_complete(asked) == ("127.0.0.1", "80")
    assert loop._default_executor is None


@pytest.mark.parametrize(
    "address",
    [("127.0.0.1", 80), ("::1", 80, 0, 0), ("fe80::1", 80, 0, 1), ("localhost", 80), ("x",), 3],
)
@pytest.mark.parametrize(
    "flags",
    [
        socket.NI_NUMERICHOST | socket.NI_NUMERICSERV,
        socket.NI_NUMERICHOST,
        socket.NI_NUMERICHOST | socket.NI_NUMERICSERV | socket.NI_NAMEREQD,
        "flags",
    ],
)
def test_getnameinfo_gives_what_the_socket_module_gives(loop, address, flags):
    expected = outcome(lambda: socket.getnameinfo(address, flags))
    assert outcome(lambda: loop.run_until_complete(loop.getnameinfo(address, flags))) == expected


@pytest.mark.parametrize("host", ["127.0.0.1", None, "localhost"])
def test_a_replaced_getaddrinfo_is_called(loop, monkeypatch, host):
    calls = []

    def getaddrinfo(*arguments):
        calls.append((threading.current_thread() is threading.main_thread(), *arguments))
        return ["answer"]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert loop.run_until_complete(loop.getaddrinfo(host, 80, type=1)) == ["answer"]
    assert calls == [(False, host, 80, 0, 1, 0, 0)]


def test_a_socket_module_put_in_the_place_of_asyncios_is_used(loop, monkeypatch):
    class Module:
        @staticmethod
        def getaddrinfo(*arguments):
            return arguments

    monkeypatch.setattr(asyncio.base_events, "socket", Module)
    answer = loop.run_until_complete(loop.getaddrinfo("127.0.0.1", 80))
    assert answer == ("127.0.0.1", 80, 0, 0, 0, 0)


def test_a_replaced_getnameinfo_is_called(loop, monkeypatch):
    monkeypatch.setattr(socket, "getnameinfo", lambda address, flags: (address, flags))
    flags = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    assert loop.run_until_complete(loop.getnameinfo("address", flags)) == ("address", flags)


def test_an_overridden_run_in_executor_is_obeyed(loop, monkeypatch):
    def run_in_executor(executor, function, *arguments):
        future = loop.create_future()
        future.set_result((executor, function.__name__, arguments))
        return future

    monkeypatch.setattr(loop, "run_in_executor", run_in_executor)
    answer = loop.run_until_complete(loop.getaddrinfo("127.0.0.1", 80))
    assert answer == (None, "getaddrinfo", ("127.0.0.1", 80, 0, 0, 0, 0))


def test_a_closed_loop_refuses(loop):
    loop.close()
    for asked in (loop.getaddrinfo("127.0.0.1", 80), loop.getnameinfo(("127.0.0.1", 80), 3)):
        with pytest.raises(RuntimeError, match="^Event loop is closed$"):
            asked.send(None)


def test_a_loop_without_executor_refuses(loop):
    async def main():
        await loop.shutdown_default_executor()
        await loop.getaddrinfo("127.0.0.1", 80)

    with pytest.raises(RuntimeError, match="^Executor shutdown has been called$"):
        loop.run_until_complete(main())


def test_debug_mode_logs_the_look_up(loop, caplog):
    loop.set_debug(True)
    with caplog.at_level(logging.DEBUG, "asyncio"):
        loop.run_until_complete(loop.getaddrinfo("127.0.0.1", 80))
    assert "Get address info 127.0.0.1:80" in caplog.messages
    assert any(
        line.startswith("Getting address info 127.0.0.1:80 took") for line in caplog.messages
    )


class Gate(concurrent.futures.ThreadPoolExecutor):
    """Counts calls, which do not begin before the gate opens."""

    def __init__(self):
        super().__init__(max_workers=1)
        self.calls = 0
        self.open = threading.Event()
        super().submit(self.open.wait)

    def submit(self, *arguments, **options):
        self.calls += 1
        return super().submit(*arguments, **options)


@pytest.fixture
def gate(loop):
    with Gate() as gate:
        loop.set_default_executor(gate)
        with contextlib.ExitStack() as stack:
            stack.callback(gate.open.set)
            yield gate


async def started(count, make):
    tasks = [asyncio.ensure_future(make()) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


@pytest.mark.hotloop_only
def test_the_same_look_ups_are_joined_and_each_gets_a_list_of_its_own(loop, gate):
    async def main():
        tasks = await started(3, lambda: loop.getaddrinfo("localhost", 80))
        other = await started(1, lambda: loop.getaddrinfo("localhost", "80"))
        assert gate.calls == 2
        gate.open.set()
        first, second, third = await asyncio.gather(*tasks)
        await asyncio.gather(*other)
        assert first == second == third == socket.getaddrinfo("localhost", 80)
        first.clear()
        assert second and third
        assert loop._lookups == {}
        await loop.getaddrinfo("localhost", 80)
        assert gate.calls == 3

    loop.run_until_complete(main())


def test_a_cancelled_look_up_disturbs_no_other(loop, gate):
    async def main():
        first, second, third = await started(3, lambda: loop.getaddrinfo("localhost", 80))
        first.cancel()
        third.cancel()
        await asyncio.wait([first, third])
        assert first.cancelled() and third.cancelled()
        [fourth] = await started(1, lambda: loop.getaddrinfo("localhost", 80))
        gate.open.set()
        assert await second == await fourth == socket.getaddrinfo("localhost", 80)

    loop.run_until_complete(main())


def test_a_look_up_that_nobody_waits_for_is_not_made(loop, gate):
    async def main():
        tasks = await started(2, lambda: loop.getaddrinfo("nosuch.invalid", 80))
        queued = [gate._work_queue.get_nowait() for _ in range(gate.calls)]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await asyncio.sleep(0)
        assert queued and all(item.future.cancelled() for item in queued)

    loop.run_until_complete(main())


def test_joined_look_ups_that_fail_raise_each_an_exception_of_its_own(loop, gate):
    async def main():
        ask = lambda: loop.getaddrinfo("127.0.0.1", 80, proto=socket.IPPROTO_ICMP)  # noqa: E731
        tasks = await started(2, ask)
        gate.open.set()
        errors = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(error) for error in errors] == [socket.gaierror] * 2
        assert {error.errno for error in errors} == {socket.EAI_SERVICE}
        assert len({str(error) for error in errors}) == 1
        assert errors[0] is not errors[1]

    loop.run_until_complete(main())


def test_a_loop_closed_during_a_look_up(loop, gate):
    async def main():
        [task] = await started(1, lambda: loop.getaddrinfo("localhost", 80))
        return task

    task = loop.run_until_complete(main())
    loop.close()
    gate.open.set()
    gate.shutdown()
    assert not task.done()
    task._log_destroy_pending = False
