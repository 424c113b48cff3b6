"""`os.fork()` with a live loop: the child does not touch the parent's descriptors and can use loops of its own."""

from __future__ import annotations

import asyncio
import functools
import multiprocessing
import os
import signal
import socket
import traceback

import pytest

import helpers

#: 3.12 and later warn about forks of processes with threads; these tests have none of their own.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


class Child:
    """A forked child that runs ``body()``."""

    def __init__(self, body):
        self.reading, writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                os.close(self.reading)
                try:
                    body()
                    status = 0
                except BaseException:
                    os.write(writing, traceback.format_exc().encode())
            finally:
                os._exit(status)
        os.close(writing)

    def finish(self):
        """Wait for its end; fail with its traceback if it has raised."""
        with open(self.reading, "rb") as pipe:
            report = pipe.read().decode()
        assert os.waitpid(self.pid, 0)[1] == 0, report


def in_child(body):
    """Run ``body()`` in a forked child; fail with its traceback if it raises."""
    Child(body).finish()


def test_closing_the_loop_in_the_child_leaves_the_parents_readers_alone(loop):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        got = []
        loop.add_reader(ours, lambda: got.append(ours.recv(1)))
        in_child(loop.close)
        theirs.send(b"x")
        helpers.run_once(loop)
        assert got == [b"x"]
        loop.remove_reader(ours)


def test_a_connection_of_the_parent_survives_what_the_child_does(loop):
    async def main():
        async with helpers.connected(theirs=helpers.Echo) as pair:
            pair.transport.write(b"one")
            assert await pair.ours.received(3) == b"one"
            fd = pair.transport.get_extra_info("socket").fileno()

            def child():
                asyncio._set_running_loop(None)
                other = helpers.new_loop()
                assert other.run_until_complete(asyncio.sleep(0, 5)) == 5
                other.close()
                os.close(fd)

            in_child(child)
            pair.transport.write(b"two")
            assert await pair.ours.received(3) == b"two"

    loop.run_until_complete(main())


def test_the_child_can_serve_with_a_new_loop(loop):
    loop.run_until_complete(asyncio.sleep(0))

    async def serve():
        async with helpers.connected(theirs=helpers.Echo) as pair:
            pair.transport.write(b"x" * 100_000)
            assert await pair.ours.received(100_000) == b"x" * 100_000

    def child():
        other = helpers.new_loop()
        other.run_until_complete(serve())
        other.close()

    in_child(child)
    loop.run_until_complete(serve())


@pytest.mark.hotloop_only  # asyncio's own loop shares the epoll set with the parent then
def test_a_loop_that_was_made_before_the_fork_runs_in_the_child():
    loop = helpers.new_loop()
    try:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            got = []
            loop.add_reader(ours, lambda: got.append(ours.recv(1)))

            def child():
                assert loop.run_until_complete(asyncio.sleep(0.001, 7)) == 7

                async def connect():
                    async with helpers.connected(theirs=helpers.Echo) as pair:
                        pair.transport.write(b"x")
                        assert await pair.ours.received(1) == b"x"

                loop.run_until_complete(connect())
                loop.close()

            in_child(child)
            theirs.send(b"y")
            helpers.run_once(loop)
            assert got == [b"y"]
            loop.remove_reader(ours)
    finally:
        loop.close()


def serve_one_connection(listener):
    """What a worker of a preforking server does: a loop of its own on the socket that it inherits."""
    signal.alarm(30)  # should the parent be gone
    own = helpers.new_loop()

    async def main():
        served = own.create_future()

        class Worker(asyncio.Protocol):
            def connection_made(self, transport):
                server.close()  # its copy of the socket: the next connection is another worker's
                self.transport = transport
                transport.write(b"%d\n" % os.getpid())

            def data_received(self, data):
                self.transport.write(data)

            def connection_lost(self, exc):
                served.set_result(exc)

        server = await own.create_server(Worker, sock=listener, backlog=1)
        assert await served is None

    own.run_until_complete(main())
    own.close()


def test_preloaded_workers_serve_the_socket_that_they_inherit(loop):
    """As with `gunicorn --preload`: the loop was used before the forks, and goes on after them."""

    async def ask(address, mine):
        reader, writer = await asyncio.open_connection(*address)
        pid = int(await reader.readline())
        writer.write(b"question")
        assert await reader.readexactly(8) == b"question"
        await exchange(mine)
        return pid, writer

    async def exchange(pair):
        pair.transport.write(b"of the parent")
        assert await pair.ours.received(13) == b"of the parent"

    async def ask_all(address, mine, workers):
        # One after the other: a worker that has its connection takes no other.
        answers = [await ask(address, mine) for _ in workers]
        assert {pid for pid, _ in answers} == {worker.pid for worker in workers}
        for _, writer in answers:
            writer.close()
            await writer.wait_closed()

    connecting = helpers.connected(theirs=helpers.Echo)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        mine = loop.run_until_complete(connecting.__aenter__())
        loop.run_until_complete(exchange(mine))
        for _ in range(
            2
        ):  # those that replace the first ones are forked from a loop that has gone on
            body = functools.partial(serve_one_connection, listener)
            workers = [Child(body) for _ in range(3)]
            loop.run_until_complete(ask_all(listener.getsockname(), mine, workers))
            for worker in workers:
                worker.finish()
        loop.run_until_complete(exchange(mine))
        loop.run_until_complete(connecting.__aexit__(None, None, None))


def _squared(number):
    loop = helpers.new_loop()
    try:
        return loop.run_until_complete(asyncio.sleep(0, number * number))
    finally:
        loop.close()


def test_multiprocessing_by_fork_works_inside_a_running_loop(loop):
    async def main():
        context = multiprocessing.get_context("fork")
        with context.Pool(2) as pool:
            return await asyncio.to_thread(pool.map, _squared, range(5))

    assert loop.run_until_complete(main()) == [0, 1, 4, 9, 16]
