"""Several writes out of one callback: what is held until the last of them, and who makes it leave earlier."""

import asyncio
import contextlib
import contextvars
import itertools
import random
import socket
import sys

import pytest

from helpers import Recorder, drain, fill, new_loop, run_child

TIMES = 3  # so many callbacks teach a stream how often it writes in one


HELD_AT_THE_END = """
import asyncio, contextlib, socket, sys
import hotloop

ours, peer = socket.socketpair()
peer.setblocking(False)
loop = hotloop.EventLoop()
loop.set_exception_handler(lambda loop, context: None)
transport, _ = loop.run_until_complete(
    loop.create_connection(asyncio.Protocol, sock=ours))

def twice():
    transport.write(b"1")
    transport.write(b"2")

def once():
    transport.write(b"held")
    with contextlib.suppress(BlockingIOError):
        raise AssertionError(peer.recv(100))
    loop.stop()
    raise {"SystemExit": SystemExit, "KeyboardInterrupt": KeyboardInterrupt}.get(
        sys.argv[1], ZeroDivisionError)

for callback in twice, twice:
    loop.call_soon(callback)
    loop.call_soon(loop.stop)
    loop.run_forever()
assert peer.recv(100) == b"1212"
loop.call_soon(once)
try:
    loop.run_forever()
except BaseException as error:
    print(type(error).__name__)
print(peer.recv(100))
transport.abort()
loop.call_soon(loop.stop)
loop.run_forever()
loop.close()
peer.close()
"""

HELD_IN_A_FORK = """
import asyncio, os, socket, sys, warnings
import hotloop

warnings.simplefilter("ignore")
ours, peer = socket.socketpair()
loop = hotloop.EventLoop()
transport, _ = loop.run_until_complete(
    loop.create_connection(asyncio.Protocol, sock=ours))
in_child = sys.argv[1]

def twice():
    transport.write(b"1")
    transport.write(b"2")

def once():
    transport.write(b"held")
    child = os.fork()
    if child == 0:
        if in_child == "abort":
            transport.abort()
        elif in_child == "write":
            transport.write(b"child")
        raise SystemExit
    os.waitpid(child, 0)

for callback in twice, twice, once:
    loop.call_soon(callback)
    loop.call_soon(loop.stop)
    try:
        loop.run_forever()
    except SystemExit:
        os._exit(0)
print(peer.recv(100))
transport.abort()
loop.call_soon(loop.stop)
loop.run_forever()
loop.close()
peer.close()
"""


class Stream:
    """A transport over one end of a socket pair, and the other end, a plain non-blocking socket."""

    def __init__(self, loop, transport, peer):
        self.loop, self.transport, self.peer = loop, transport, peer

    def arrived(self):
        """What the peer can receive now."""
        return drain(self.peer)

    async def callback(self, function, *arguments):
        """Call *function* in a callback of its own; return its result when that has ended."""
        done = self.loop.create_future()

        def call():
            done.set_result(function(*arguments))

        self.loop.call_soon(call)
        return await done

    def burst(self, *pieces):
        """Write each of *pieces*; return what had arrived after each."""
        seen = []
        for piece in pieces:
            self.transport.write(piece)
            seen.append(self.arrived())
        return seen

    async def learn(self, *pieces):
        for _ in range(TIMES - 1):
            assert await self.callback(self.burst, *pieces) == list(pieces)


@contextlib.asynccontextmanager
async def streaming(loop):
    ours, peer = socket.socketpair()
    peer.setblocking(False)
    transport, protocol = await loop.create_connection(Recorder, sock=ours)
    try:
        yield Stream(loop, transport, peer)
    finally:
        transport.abort()
        await protocol.wait("lost")
        peer.close()


@pytest.mark.hotloop_only
async def test_the_pieces_of_an_answer_leave_together_once_two_callbacks_wrote_so_often(loop):
    async with streaming(loop) as stream:
        await stream.learn(b"head", b"body")
        assert await stream.callback(stream.burst, b"head", b"body") == [b"", b"headbody"]


@pytest.mark.hotloop_only
async def test_the_fewer_writes_of_the_last_two_callbacks_are_expected(loop):
    async with streaming(loop) as stream:
        await stream.callback(stream.burst, b"1", b"2", b"3")
        await stream.callback(stream.burst, b"1", b"2")
        seen = await stream.callback(stream.burst, b"1", b"2", b"3")
        assert seen == [b"", b"12", b"3"]


@pytest.mark.parametrize("lengths", [(1, 1, 1, 1), (2, 1, 2, 1, 2), (1, 2, 1, 3, 1)])
async def test_a_stream_without_the_habit_sends_at_once(loop, lengths):
    async with streaming(loop) as stream:
        for length in lengths:
            pieces = [b"%d" % number for number in range(length)]
            assert await stream.callback(stream.burst, *pieces) == pieces


def test_a_write_while_the_loop_does_not_run_is_sent_at_once():
    loop = new_loop()
    ours, peer = socket.socketpair()
    peer.setblocking(False)
    transport, protocol = loop.run_until_complete(loop.create_connection(Recorder, sock=ours))
    stream = Stream(loop, transport, peer)
    loop.run_until_complete(stream.learn(b"1", b"2"))
    assert stream.burst(b"1") == [b"1"]
    transport.abort()
    loop.run_until_complete(protocol.wait("lost"))
    peer.close()
    loop.close()


@pytest.mark.hotloop_only
async def test_what_a_callback_leaves_held_leaves_before_the_next_one(loop):
    async with streaming(loop) as stream:
        await stream.learn(b"1", b"2")
        order = []
        stream.loop.call_soon(lambda: order.append(stream.burst(b"only")))
        stream.loop.call_soon(lambda: order.append(stream.arrived()))
        await stream.callback(lambda: None)
        assert order == [[b""], b"only"]


LOOKS = {
    "is_closing": lambda it: it.is_closing(),
    "get_write_buffer_size": lambda it: it.get_write_buffer_size(),
    "get_extra_info": lambda it: it.get_extra_info("socket"),
    "repr": repr,
    "set_write_buffer_limits": lambda it: it.set_write_buffer_limits(1000),
    "set_protocol": lambda it: it.set_protocol(it.get_protocol()),
    "writelines": lambda it: it.writelines([b""]) or it.is_closing(),
    "write_eof": lambda it: it.write_eof(),
    "close": lambda it: it.close(),
    "abort": lambda it: it.abort(),
    "_buffer": lambda it: it._buffer,
    "_sock": lambda it: it._sock,
    "_conn_lost": lambda it: it._conn_lost,
    "_force_close": lambda it: it._force_close(None),
    "_make_empty_waiter": lambda it: (it._make_empty_waiter(), it._reset_empty_waiter()),
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
async def test_whoever_looks_at_the_transport_finds_everything_sent(loop, look):
    async with streaming(loop) as stream:
        await stream.learn(b"1", b"2")

        def write_and_look():
            stream.transport.write(b"only")
            look(stream.transport)
            return stream.arrived()

        assert await stream.callback(write_and_look) == b"only"


async def test_writelines_takes_along_what_is_held(loop):
    async with streaming(loop) as stream:
        for _ in range(5):

            def write_and_write_lines():
                stream.transport.write(b"head")
                stream.transport.writelines([b"one", b"two"])
                return stream.arrived()

            assert await stream.callback(write_and_write_lines) == b"headonetwo"


@pytest.mark.hotloop_only
async def test_no_more_than_sixteen_kibibytes_are_held(loop):
    async with streaming(loop) as stream:
        pieces = [b"x" * 6000] * 4
        await stream.learn(*pieces)
        seen = await stream.callback(stream.burst, *pieces)
        assert list(map(len, seen)) == [0, 0, 18000, 6000]


@pytest.mark.parametrize("end", [SystemExit, KeyboardInterrupt, ZeroDivisionError])
def test_what_is_held_leaves_however_the_callback_ends(end):
    done = run_child(
        HELD_AT_THE_END,
        end.__name__,
    )
    expected = "" if end is ZeroDivisionError else end.__name__ + "\n"
    assert done.stdout == expected + "b'held'\n", done.stderr


@pytest.mark.hotloop_only
async def test_a_callback_that_runs_the_loop_again_has_sent_before_it_waits(loop):
    async with streaming(loop) as stream:
        await stream.learn(b"1", b"2")
        inside = []

        def nested():
            stream.transport.write(b"held")
            stream.loop.call_soon(lambda: inside.append(stream.arrived()))
            stream.loop._run_once()
            # The turn of the outer callback goes on.
            return stream.burst(b"more")

        await stream.callback(nested)
        assert inside == [b"held"]


@pytest.mark.parametrize(
    ("in_child", "received"), [("end", "held"), ("abort", "held"), ("write", "childheld")]
)
def test_a_forked_child_sends_nothing_of_what_its_parent_holds(in_child, received):
    done = run_child(HELD_IN_A_FORK, in_child)
    assert done.stdout == f"b'1212{received}'\n", done.stderr


async def test_what_is_written_while_held_writes_leave_is_sent_at_once(loop):
    # The last callback of the run: nobody would send it later.
    async with streaming(loop) as stream, streaming(loop) as other:

        class Paused(asyncio.Protocol):
            def pause_writing(self):
                seen.extend(other.burst(b"1"))

        seen = []
        for _ in range(TIMES):
            await stream.callback(lambda: [stream.burst(b"1", b"2"), other.burst(b"1", b"2")])
        before = stream.transport.get_protocol()
        stream.transport.set_protocol(Paused())
        stream.transport.set_write_buffer_limits(0)
        fill(stream.transport.get_extra_info("socket")._sock)
        await stream.callback(stream.transport.write, b"held")
        stream.transport.set_protocol(before)
        assert seen == [b"1"]


async def test_a_full_socket_pauses_the_protocol_in_the_context_of_the_write(loop):
    async with streaming(loop) as stream:
        variable = contextvars.ContextVar("variable", default="the loop's")
        seen = []

        class Paused(asyncio.Protocol):
            def pause_writing(self):
                seen.append(("pause", variable.get()))

            def resume_writing(self):
                seen.append(("resume", variable.get()))

        await stream.learn(b"1", b"2")
        before = stream.transport.get_protocol()
        stream.transport.set_protocol(Paused())
        stream.transport.set_write_buffer_limits(0)
        filled = fill(stream.transport.get_extra_info("socket")._sock)

        def write():
            variable.set("the writer's")
            stream.transport.write(b"held")

        await stream.callback(write)
        data = bytearray()
        while len(data) < filled + 4:
            data += await loop.sock_recv(stream.peer, 1 << 20)
        await stream.callback(lambda: None)
        stream.transport.set_protocol(before)
        assert data.endswith(b"held")
        # From 3.15 on a transport has a context of its own for what the loop calls.
        resumed = "the writer's" if sys.version_info < (3, 15) else "the loop's"
        assert seen == [("pause", "the writer's"), ("resume", resumed)]


async def test_an_error_of_what_was_held_ends_the_connection(loop):
    async with streaming(loop) as stream:
        await stream.learn(b"1", b"2")
        stream.transport.pause_reading()
        protocol = stream.transport.get_protocol()
        stream.peer.close()
        await stream.callback(stream.transport.write, b"held")
        await protocol.wait("lost")
        assert type(protocol.error) is BrokenPipeError


@pytest.mark.parametrize("seed", range(5))
async def test_random_bursts_arrive_whole_and_in_order(loop, link, seed):
    generator = random.Random(seed)
    numbers = itertools.count()
    sent = bytearray()

    def piece():
        data = b"%d," % next(numbers) * generator.choice([1, 1, 10, 1000, 5000])
        sent.extend(data)
        return generator.choice([bytes, bytearray, memoryview])(data)

    async with link() as pair:
        for _ in range(300):
            for _ in range(generator.choice([1, 2, 2, 2, 3])):
                if generator.random() < 0.1:
                    pair.transport.writelines([piece(), piece()])
                else:
                    pair.transport.write(piece())
            if generator.random() < 0.9:
                await asyncio.sleep(0)
        assert await pair.theirs.received(len(sent)) == sent
