"""anyio: task groups, listeners, threads and cancellation on the loop."""

import threading

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest

from helpers import new_loop


def run(main):
    """Run ``main`` with anyio's asyncio backend on the loop under test."""
    return anyio.run(main, backend_options={"loop_factory": new_loop})


def test_a_listener_serves_clients():
    async def serve(stream):
        async with stream:
            async for data in stream:
                await stream.send(data.upper())

    async def main():
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        async with listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, serve)
            for data in (b"hello", b"x" * 200_000):
                async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                    group.start_soon(stream.send, data)
                    got = b""
                    while len(got) < len(data):
                        got += await stream.receive()
                    assert got == data.upper()
            group.cancel_scope.cancel()
        return "served"

    assert run(main) == "served"


def test_unix_sockets(unix_path):
    async def main():
        async with anyio.create_task_group() as group:
            async with await anyio.create_unix_listener(unix_path) as listener:
                group.start_soon(greet, listener)
                async with await anyio.connect_unix(unix_path) as stream:
                    return await stream.receive()

    async def greet(listener):
        async with await listener.accept() as stream:
            await stream.send(b"hello")

    assert run(main) == b"hello"


def test_work_in_threads_and_back():
    async def main():
        def work():
            assert threading.get_ident() != here
            return anyio.from_thread.run(answer, 41)

        here = threading.get_ident()
        return await anyio.to_thread.run_sync(work)

    async def answer(number):
        assert threading.current_thread() is threading.main_thread()
        return number + 1

    assert run(main) == 42


def test_cancel_scopes_and_deadlines():
    async def main():
        with anyio.move_on_after(0.001) as scope:
            await anyio.sleep_forever()
        assert scope.cancelled_caught
        with pytest.raises(TimeoutError):
            with anyio.fail_after(0.001):
                await anyio.sleep_forever()

    run(main)


def test_an_exception_in_a_task_group_cancels_the_others():
    ends = []

    async def forever():
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            ends.append("cancelled")
            raise

    async def fail():
        raise ZeroDivisionError

    async def main():
        async with anyio.create_task_group() as group:
            group.start_soon(forever)
            group.start_soon(fail)

    with pytest.raises(ExceptionGroup) as caught:
        run(main)
    assert caught.group_contains(ZeroDivisionError)
    assert ends == ["cancelled"]


def test_a_subprocess():
    async def main():
        return (await anyio.run_process(["echo", "hello"])).stdout

    assert run(main) == b"hello\n"
