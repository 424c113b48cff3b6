"""``create_connection`` and ``create_unix_connection``: what may not depend on how they do it."""

import asyncio
import errno
import inspect
import socket
import sys

import pytest

from helpers import Recorder, address_of, connected, listening_socket, outcome


def refused_port():
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0", "::", "::ffff:127.0.0.1"])
def test_the_addresses_are_those_that_the_kernel_tells(loop, host):
    async def main():
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server(("", 0), family=family, dualstack_ipv6=":" in host)
        server = await loop.create_server(Recorder, sock=listener)
        transport, protocol = await loop.create_connection(Recorder, host, address_of(server)[1])
        sock = transport.get_extra_info("socket")
        assert transport.get_extra_info("peername") == sock.getpeername()
        assert transport.get_extra_info("sockname") == sock.getsockname()
        assert sock.family == family
        assert sock.type == socket.SOCK_STREAM
        assert sock.proto == socket.IPPROTO_TCP
        assert sock.gettimeout() == 0
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert not sock.get_inheritable()
        transport.abort()
        await protocol.wait("lost")
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())


@pytest.mark.parametrize(
    "options", [{}, {"ssl": None, "family": 0}, {"local_addr": ("127.0.0.1", 0)}]
)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_data_goes_both_ways(loop, host, options):
    async def main():
        async with connected(host="127.0.0.1", **options) as pair:
            pair.ours.transport.write(b"there")
            assert await pair.theirs.received(5) == b"there"
            pair.theirs.transport.write(b"back")
            assert await pair.ours.received(4) == b"back"

    loop.run_until_complete(main())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "127.1", "localhost"])
def test_a_refused_connection_is_reported_in_the_words_of_asyncio(loop, host):
    port = refused_port()
    model = asyncio.SelectorEventLoop()
    try:
        found, expected = (
            outcome(lambda: each.run_until_complete(each.create_connection(Recorder, host, port)))  # noqa: B023
            for each in (loop, model)
        )
    finally:
        model.close()
    assert found == expected
    assert issubclass(found[0], OSError)


@pytest.mark.parametrize("path", ["/nosuch/path", "\0nobody", b"/nosuch/path", "x" * 200, ""])
def test_a_unix_path_that_cannot_be_connected_to(loop, path):
    model = asyncio.SelectorEventLoop()
    try:
        found, expected = (
            outcome(lambda: each.run_until_complete(each.create_unix_connection(Recorder, path)))  # noqa: B023
            for each in (loop, model)
        )
    finally:
        model.close()
    assert found == expected


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"host": "127.0.0.1", "port": 1, "ssl": False, "server_hostname": "x"},
        {"host": "127.0.0.1", "port": 1, "server_hostname": ""},
        {"host": "127.0.0.1", "port": 1, "ssl_handshake_timeout": 0},
        {"host": "127.0.0.1", "port": 1, "ssl_shutdown_timeout": 0},
        {"host": "127.0.0.1", "port": 1, "nosuch": None},
        {"host": "127.0.0.1", "port": 1, "family": socket.AF_UNIX},
        {"host": "127.0.0.1", "port": 70000},
        {"host": "127.0.0.1", "port": -1},
        {"host": "127.0.0.1", "port": "1x"},
        {"host": 5, "port": 1},
    ],
    ids=repr,
)
def test_wrong_arguments_are_refused_in_the_words_of_asyncio(loop, arguments):
    def connect(each):
        return each.run_until_complete(each.create_connection(Recorder, **arguments))

    model = asyncio.SelectorEventLoop()
    try:
        expected = outcome(lambda: connect(model))
    finally:
        model.close()
    found = outcome(lambda: connect(loop))
    # The stdlib's words name its own class, or that of `BaseEventLoop`.
    assert (found[0], found[1].split("()")[-1]) == (expected[0], expected[1].split("()")[-1])


def test_the_signatures_are_those_of_the_running_python(loop):
    for name in ("create_connection", "create_unix_connection", "getaddrinfo", "getnameinfo"):
        own = inspect.signature(getattr(type(loop), name)).parameters
        model = inspect.signature(getattr(asyncio.SelectorEventLoop, name)).parameters
        assert [(each, own[each].kind, own[each].default) for each in own] == [
            (each, model[each].kind, model[each].default) for each in model
        ]


def test_the_factory_runs_in_the_task_that_connects(loop):
    async def main():
        tasks = []

        def factory():
            tasks.append(asyncio.current_task())
            return Recorder()

        async with connected(ours=factory):
            assert tasks == [asyncio.current_task()]

    loop.run_until_complete(main())


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_a_factory_that_raises_leaves_no_connection(loop, unix_path, family):
    async def main():
        theirs = Recorder()
        if family == "tcp":
            server = await loop.create_server(lambda: theirs, "127.0.0.1", 0)
            connecting = loop.create_connection(fail, *address_of(server))
        else:
            server = await loop.create_unix_server(lambda: theirs, unix_path)
            connecting = loop.create_unix_connection(fail, unix_path)
        with pytest.raises(ZeroDivisionError):
            await connecting
        await theirs.wait("lost")
        server.close()
        await server.wait_closed()

    def fail():
        raise ZeroDivisionError

    with pytest.warns() as warned:  # asyncio leaves the socket to the garbage collector
        import warnings

        warnings.warn("one at least", stacklevel=1)
        loop.run_until_complete(main())
    assert {str(warning.message)[:8] for warning in warned} <= {"one at l", "unclosed"}


def full_listener():
    """A listening socket whose queue is full: further connections wait."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    clients = []
    for _ in range(3):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(listener.getsockname())
        clients.append(client)
    return listener, clients


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_cancelled_connection_closes_its_descriptor(loop, turns):
    # That nothing stays open or watched is looked at by the fixtures.
    async def main():
        listener, clients = full_listener()
        connecting = asyncio.ensure_future(
            loop.create_connection(Recorder, *listener.getsockname())
        )
        for _ in range(turns):
            await asyncio.sleep(0)
        assert not connecting.done()
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        for sock in (listener, *clients):
            sock.close()

    loop.run_until_complete(main())


def test_a_connection_cancelled_when_it_stands_closes_its_transport(loop):
    async def main():
        theirs = Recorder()
        ours = Recorder()
        server = await loop.create_server(lambda: theirs, "127.0.0.1", 0)
        connecting = asyncio.ensure_future(
            loop.create_connection(lambda: ours, *address_of(server))
        )
        while "made" not in ours.events and ours.transport is None:
            connecting.cancel() if ours.events else None
            await asyncio.sleep(0)
        connecting.cancel()
        await asyncio.wait([connecting])
        if not connecting.cancelled():  # it had ended before
            connecting.result()[0].close()
        await ours.wait("lost")
        await theirs.wait("lost")
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())


@pytest.mark.parametrize(
    "hook", ["_ensure_resolved", "_connect_sock", "sock_connect", "_create_connection_transport"]
)
@pytest.mark.parametrize("where", ["instance", "class"])
def test_an_overridden_hook_is_obeyed(loop, monkeypatch, hook, where):
    calls = []

    async def main(each):
        server = await each.create_server(Recorder, "127.0.0.1", 0)
        transport, protocol = await each.create_connection(Recorder, *address_of(server))
        transport.abort()
        await protocol.wait("lost")
        server.close()
        await server.wait_closed()

    if where == "instance":
        original = getattr(loop, hook)

        async def record(*arguments, **options):
            calls.append(hook)
            return await original(*arguments, **options)

        monkeypatch.setattr(loop, hook, record)
        loop.run_until_complete(main(loop))
    else:

        async def overridden(self, *arguments, **options):
            calls.append(hook)
            return await getattr(super(subclass, self), hook)(*arguments, **options)

        subclass = type("Subclass", (type(loop),), {hook: overridden})
        other = subclass()
        try:
            other.run_until_complete(main(other))
        finally:
            other.close()
    assert calls.count(hook) >= 1


def test_an_overridden_make_socket_transport_is_given_a_socket(loop, monkeypatch):
    seen = []
    original = loop._make_socket_transport

    def record(sock, *arguments, **options):
        seen.append(type(sock))
        return original(sock, *arguments, **options)

    async def main():
        async with connected():
            pass

    monkeypatch.setattr(loop, "_make_socket_transport", record)
    loop.run_until_complete(main())
    assert seen == [socket.socket] * 2


def test_a_replaced_socket_class_is_used(loop, monkeypatch):
    made = []

    class Guarded(socket.socket):
        def __init__(self, *arguments, **options):
            made.append(1)
            super().__init__(*arguments, **options)

    async def main():
        with listening_socket() as listener:
            monkeypatch.setattr(socket, "socket", Guarded)
            transport, protocol = await loop.create_connection(Recorder, *listener.getsockname())
            assert type(transport.get_extra_info("socket")._sock) is Guarded
            transport.abort()
            await protocol.wait("lost")

    loop.run_until_complete(main())
    assert made


@pytest.mark.parametrize("how", ["create_connection", "sock_connect"])
def test_a_replaced_connect_method_is_called(loop, monkeypatch, how):
    def refuse(self, address):
        raise PermissionError("no network in tests")

    async def main():
        with listening_socket() as listener, socket.socket() as client:
            client.setblocking(False)
            monkeypatch.setattr(socket.socket, "connect", refuse, raising=False)
            with pytest.raises(PermissionError, match="no network in tests"):
                if how == "sock_connect":
                    await loop.sock_connect(client, listener.getsockname())
                else:
                    await loop.create_connection(Recorder, *listener.getsockname())

    loop.run_until_complete(main())


def test_debug_mode_connects_and_logs(loop, caplog):
    loop.set_debug(True)

    async def main():
        async with connected():
            pass

    with caplog.at_level("DEBUG", "asyncio"):
        loop.run_until_complete(main())
    assert any(" connected to 127.0.0.1:" in message for message in caplog.messages)


def test_a_closed_loop_refuses(loop):
    loop.close()
    connecting = loop.create_connection(Recorder, "127.0.0.1", 1)
    with pytest.raises(RuntimeError, match="^Event loop is closed$"):
        connecting.send(None)


# What goes through asyncio's own method.


@pytest.mark.parametrize("options", [{"happy_eyeballs_delay": 0.01}, {"interleave": 1}, {}])
def test_several_addresses_are_tried_until_one_answers(loop, monkeypatch, options):
    async def main():
        with listening_socket() as listener:
            good = listener.getsockname()
            bad = ("127.0.0.1", refused_port())
            infos = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", each) for each in (bad, good)]

            async def getaddrinfo(*arguments, **options):
                return infos

            monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
            transport, protocol = await loop.create_connection(Recorder, "name", 80, **options)
            assert transport.get_extra_info("peername") == good
            transport.abort()
            await protocol.wait("lost")

    loop.run_until_complete(main())


@pytest.mark.parametrize(
    ("first", "order"), [(1, "646464"), (2, "664644"), (3, "666444"), (None, "666444")]
)
def test_the_families_take_turns_after_the_first_ones(loop, monkeypatch, first, order):
    async def main():
        six = [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", n, 0, 0)) for n in (1, 2, 3)]
        four = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", n)) for n in (4, 5, 6)]
        tried = []

        async def getaddrinfo(*arguments, **options):
            return [*six, *four]

        async def refuse(sock, address):
            tried.append(address)
            raise OSError("refused")

        monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
        monkeypatch.setattr(loop, "sock_connect", refuse)
        options = {} if first is None else {"interleave": first}
        with pytest.raises(OSError, match="refused"):
            await loop.create_connection(Recorder, "name", 80, **options)
        return "".join("6" if ":" in address[0] else "4" for address in tried)

    assert loop.run_until_complete(main()) == order


@pytest.mark.parametrize("options", [{"happy_eyeballs_delay": 0.001}, {}])
def test_all_that_fail_are_named(loop, monkeypatch, options):
    async def main():
        ports = [refused_port(), refused_port()]
        infos = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]

        async def getaddrinfo(*arguments, **options):
            return infos

        monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
        with pytest.raises(OSError, match=r"^Multiple exceptions: .*, .*Connect call failed"):
            await loop.create_connection(Recorder, "name", 80, **options)

    loop.run_until_complete(main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="all_errors is new in 3.12")
def test_all_errors_come_as_a_group(loop):
    async def main():
        with pytest.raises(ExceptionGroup, match="^create_connection failed") as caught:
            await loop.create_connection(Recorder, "127.0.0.1", refused_port(), all_errors=True)
        assert [error.errno for error in caught.value.exceptions] == [errno.ECONNREFUSED]

    loop.run_until_complete(main())


def test_a_local_address_is_bound(loop):
    async def main():
        with listening_socket() as listener:
            transport, protocol = await loop.create_connection(
                Recorder, *listener.getsockname(), local_addr=("127.0.0.2", 0)
            )
            assert transport.get_extra_info("sockname")[0] == "127.0.0.2"
            transport.abort()
            await protocol.wait("lost")

    loop.run_until_complete(main())


def test_a_local_address_that_cannot_be_bound_is_named(loop):
    async def main():
        with listening_socket() as listener:
            with pytest.raises(OSError, match="error while attempting to bind on address"):
                await loop.create_connection(
                    Recorder, *listener.getsockname(), local_addr=("192.0.2.1", 0)
                )

    loop.run_until_complete(main())


@pytest.mark.parametrize("name", ["path", "abstract", "bytes"])
def test_unix_names_of_all_kinds(loop, unix_path, name):
    async def main():
        path = {
            "path": unix_path,
            "abstract": f"\0hotloop-test-{unix_path}"[:100],
            "bytes": str(unix_path).encode(),
        }[name]
        server = await loop.create_unix_server(Recorder, path)
        transport, protocol = await loop.create_unix_connection(Recorder, path)
        sock = transport.get_extra_info("socket")
        assert sock.family == socket.AF_UNIX
        assert transport.get_extra_info("peername") == sock.getpeername()
        assert transport.get_extra_info("sockname") == sock.getsockname()
        transport.abort()
        await protocol.wait("lost")
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())
