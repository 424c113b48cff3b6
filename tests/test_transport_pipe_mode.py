"""The blocking mode of a pipe's descriptor: set to non-blocking while a transport uses it, then given back."""

import asyncio
import contextlib
import os
import pty

import pytest

from helpers import Recorder, run_child

pytestmark = pytest.mark.hotloop_only  # asyncio leaves its descriptors non-blocking


@contextlib.contextmanager
def duplicate(fd):
    """Another descriptor of the same open file description."""
    copy = os.dup(fd)
    try:
        yield copy
    finally:
        os.close(copy)


async def connect(mode, fd):
    """Connect a transport that reads or writes to a descriptor, which it then owns."""
    loop = asyncio.get_running_loop()
    protocol = Recorder()
    if mode == "r":
        await loop.connect_read_pipe(lambda: protocol, open(fd, "rb", 0))  # noqa: SIM115
    else:
        await loop.connect_write_pipe(lambda: protocol, open(fd, "wb", 0))  # noqa: SIM115
    return protocol


async def close(protocol):
    protocol.transport.close()
    await protocol.wait("lost")


@pytest.mark.parametrize("mode", ["r", "w"])
@pytest.mark.parametrize("blocking", [True, False])
async def test_the_mode_is_given_back_on_close(loop, mode, blocking):
    pipe = os.pipe()
    ours, other = pipe if mode == "r" else reversed(pipe)
    os.set_blocking(ours, blocking)
    with duplicate(ours) as seen:
        protocol = await connect(mode, ours)
        assert not os.get_blocking(seen)
        await close(protocol)
        assert os.get_blocking(seen) is blocking
    os.close(other)


@pytest.mark.parametrize("mode", ["r", "w"])
async def test_the_mode_is_given_back_when_the_other_side_closes(loop, mode):
    pipe = os.pipe()
    ours, other = pipe if mode == "r" else reversed(pipe)
    with duplicate(ours) as seen:
        protocol = await connect(mode, ours)
        os.close(other)
        await protocol.wait("lost")
        assert os.get_blocking(seen)


def test_the_mode_is_given_back_when_a_transport_is_forgotten(loop):
    read, write = os.pipe()
    with duplicate(read) as seen:
        protocol = loop.run_until_complete(connect("r", read))
        protocol.transport.pause_reading()
        with pytest.warns(ResourceWarning, match="unclosed transport"):
            protocol.transport = None
        assert os.get_blocking(seen)
    os.close(write)


@pytest.mark.parametrize("first", [0, 1])
async def test_two_transports_of_one_description_give_it_back_when_both_are_closed(loop, first):
    # As standard input and output of a terminal.
    master, slave = pty.openpty()
    with duplicate(slave) as seen:
        ends = [await connect("r", slave), await connect("w", os.dup(slave))]
        await close(ends.pop(first))
        assert not os.get_blocking(seen), "the other one still needs it"
        await close(ends.pop())
        assert os.get_blocking(seen)
    os.close(master)


async def test_two_descriptions_of_one_terminal_are_kept_apart(loop):
    master, slave = pty.openpty()
    again = os.open(os.ttyname(slave), os.O_RDWR | os.O_NOCTTY)
    with duplicate(slave) as seen, duplicate(again) as seen_again:
        one, two = await connect("r", slave), await connect("w", again)
        await close(one)
        assert os.get_blocking(seen)
        assert not os.get_blocking(seen_again)
        await close(two)
        assert os.get_blocking(seen_again)
    os.close(master)


async def test_a_number_that_is_used_again_behind_the_transport_keeps_its_mode(loop):
    read, write = os.pipe()
    protocol = Recorder()
    # The file object does not own the number, as it will not be its own any more.
    file = open(read, "rb", 0, closefd=False)  # noqa: SIM115
    transport, _ = await loop.connect_read_pipe(lambda: protocol, file)
    transport.pause_reading()
    other_read, other_write = os.pipe()
    os.set_blocking(other_read, False)
    os.dup2(other_read, read)
    await close(protocol)
    assert not os.get_blocking(read)
    for fd in (read, write, other_read, other_write):
        os.close(fd)


def test_a_forked_child_that_drops_the_loop_does_not_change_the_mode_of_its_parent():
    result = run_child(
        """
import asyncio, gc, os, warnings, helpers

warnings.simplefilter("ignore")
read, write = os.pipe()
seen = os.dup(read)
loop = helpers.new_loop()
transport, _ = loop.run_until_complete(loop.connect_read_pipe(asyncio.Protocol, open(read, "rb", 0)))
pid = os.fork()
if pid == 0:
    transport.pause_reading()
    del transport
    gc.collect()
    os._exit(0)
os.waitpid(pid, 0)
print(os.get_blocking(seen))
transport.close()
loop.run_until_complete(asyncio.sleep(0))
print(os.get_blocking(seen))
loop.close()
"""
    )
    assert (result.stdout, result.stderr) == ("False\nTrue\n", "")
