"""prompt_toolkit: an application that reads keys from a pipe, with the loop underneath."""

import asyncio
import ctypes

import pytest

pytest.importorskip("prompt_toolkit")

from prompt_toolkit import PromptSession
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

# prompt_toolkit uses ctypes, and libffi keeps a file of its own open from the first callback on.
ctypes.CFUNCTYPE(None)(lambda: None)


async def test_a_prompt_is_answered_while_other_tasks_run(loop):
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        session = PromptSession()
        ticks = []

        async def tick():
            while True:
                ticks.append(1)
                await asyncio.sleep(0)

        ticking = loop.create_task(tick())
        keys.send_text("hello\n")
        assert await session.prompt_async("> ") == "hello"
        keys.send_text("wor\x08rld\x01the \n")  # a backspace, and Ctrl-A: to the beginning
        assert await session.prompt_async("> ") == "the world"
        ticking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ticking
        assert ticks


async def test_ctrl_c_and_ctrl_d_end_a_prompt(loop):
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        session = PromptSession()
        keys.send_text("half\x03")
        with pytest.raises(KeyboardInterrupt):
            await session.prompt_async("> ")
        keys.send_text("\x04")
        with pytest.raises(EOFError):
            await session.prompt_async("> ")
