"""A loop class of somebody else that overrides how pipes and children are connected is obeyed."""

import asyncio
import gc
import importlib
import os
import subprocess
import sys

import pytest

from helpers import LOOP_NAME, Recorder

PIPE = subprocess.PIPE


@pytest.fixture
def base():
    """The class of the loop under test."""
    if LOOP_NAME == "asyncio":
        return asyncio.SelectorEventLoop
    return importlib.import_module(LOOP_NAME).EventLoop


@pytest.fixture
def run(errors):
    """Run a coroutine function on a loop of a class; return the loop."""

    def run(kind, main):
        loop = kind()
        loop.set_exception_handler(errors)
        try:
            loop.run_until_complete(main())
        finally:
            loop.close()
        assert not errors.contexts
        return loop

    return run


async def communicate():
    child = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE, stderr=PIPE)
    assert await child.communicate(b"data") == (b"data", b"")


async def test_the_hooks_are_there(loop):
    for name in ("read_pipe", "write_pipe", "subprocess"):
        assert callable(getattr(loop, f"_make_{name}_transport"))


def test_overridden_pipe_hooks_make_the_pipes(base, run):
    made = []

    class Loop(base):
        def _make_read_pipe_transport(self, pipe, protocol, waiter=None, extra=None):
            extra = {"name": "reader"}
            transport = super()._make_read_pipe_transport(pipe, protocol, waiter, extra)
            made.append(transport.get_extra_info("name"))
            return transport

        def _make_write_pipe_transport(self, pipe, protocol, waiter=None, extra=None):
            extra = {"name": "writer"}
            transport = super()._make_write_pipe_transport(pipe, protocol, waiter, extra)
            made.append(transport.get_extra_info("name"))
            return transport

    async def main():
        loop = asyncio.get_running_loop()
        read, write = os.pipe()
        reader, received = await loop.connect_read_pipe(Recorder, open(read, "rb", 0))  # noqa: SIM115
        writer, _ = await loop.connect_write_pipe(Recorder, open(write, "wb", 0))  # noqa: SIM115
        writer.write(b"data")
        assert await received.received(4) == b"data"
        writer.close()
        await received.wait("lost")
        assert reader.get_extra_info("name") == "reader"
        await communicate()

    run(Loop, main)
    assert made == ["reader", "writer", "writer", "reader", "reader"]


@pytest.mark.parametrize("where", ["class", "instance"])
def test_overridden_connect_methods_connect_the_pipes_of_a_child(base, run, where):
    connected = []

    async def connect_read_pipe(self, factory, pipe):
        connected.append("read")
        return await base.connect_read_pipe(self, factory, pipe)

    async def connect_write_pipe(self, factory, pipe):
        connected.append("write")
        return await base.connect_write_pipe(self, factory, pipe)

    class Loop(base):
        def __init__(self):
            super().__init__()
            if where == "instance":
                self.connect_read_pipe = connect_read_pipe.__get__(self)
                self.connect_write_pipe = connect_write_pipe.__get__(self)

    if where == "class":
        Loop.connect_read_pipe = connect_read_pipe
        Loop.connect_write_pipe = connect_write_pipe

    run(Loop, communicate)
    assert connected == ["write", "read", "read"]


def test_an_overridden_subprocess_hook_makes_the_child(base, run):
    made = []

    class Loop(base):
        async def _make_subprocess_transport(self, protocol, args, *rest, **options):
            made.append(args)
            return await super()._make_subprocess_transport(protocol, args, *rest, **options)

    run(Loop, communicate)
    assert made == [("cat",)]


@pytest.mark.hotloop_only  # asyncio waits for ever, up to 3.13
def test_an_overridden_pipe_hook_that_fails_ends_the_child(base, run):
    class Loop(base):
        def _make_read_pipe_transport(self, pipe, protocol, waiter=None, extra=None):
            raise ZeroDivisionError

    async def main():
        with pytest.raises(ZeroDivisionError):
            await asyncio.create_subprocess_exec("sleep", "1000", stdout=PIPE)

    run(Loop, main)
    if sys.version_info >= (3, 14):  # which closes the pipe itself
        gc.collect()
        return
    with pytest.warns(ResourceWarning, match="unclosed file"):
        gc.collect()


@pytest.mark.hotloop_only  # likewise
async def test_a_pipe_that_cannot_be_connected_ends_the_child(loop, monkeypatch):
    class Pipes(subprocess.Popen):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            self.stdout.close()

    monkeypatch.setattr(subprocess, "Popen", Pipes)
    with pytest.raises(ValueError, match="closed file"):
        await asyncio.create_subprocess_exec("sleep", "1000", stdin=PIPE, stdout=PIPE, stderr=PIPE)
