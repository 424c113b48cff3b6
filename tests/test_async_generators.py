"""Async generators: finished by the loop, closed when dropped, reported when too late."""

import asyncio
import gc
import sys

import pytest

from helpers import run_once


def test_async_generators_are_finished_by_shutdown_asyncgens(loop):
    finished = []

    async def numbers():
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            finished.append(True)

    generator = numbers()

    async def main():
        async for _ in generator:
            break

    loop.run_until_complete(main())
    assert finished == []
    loop.run_until_complete(loop.shutdown_asyncgens())
    assert finished == [True]


def test_a_dropped_async_generator_is_closed_by_the_loop(loop):
    closed = asyncio.Event()

    async def numbers():
        try:
            yield 1
        finally:
            closed.set()

    async def main():
        async for _ in numbers():
            break
        gc.collect()
        await closed.wait()

    loop.run_until_complete(main())


def test_an_async_generator_started_after_shutdown_is_reported(loop):
    async def numbers():
        yield 1

    async def main():
        async for _ in numbers():
            break

    loop.run_until_complete(loop.shutdown_asyncgens())
    with pytest.warns(ResourceWarning, match="after loop.shutdown_asyncgens"):
        loop.run_until_complete(main())


def test_async_generator_hooks_are_put_back(loop):
    hooks = sys.get_asyncgen_hooks()
    inside = []
    loop.call_soon(lambda: inside.append(sys.get_asyncgen_hooks()))
    run_once(loop)
    assert inside[0] != hooks
    assert sys.get_asyncgen_hooks() == hooks
