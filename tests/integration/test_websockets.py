"""websockets: its server and its client talk to each other on the loop."""

import asyncio

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosedOK


async def shout(connection):
    async for message in connection:
        await connection.send(message.upper())


async def test_messages_of_both_kinds(loop):
    async with serve(shout, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with connect(f"ws://127.0.0.1:{port}", max_size=None) as connection:
            for message in ("text", b"bytes", b"x" * 300_000):
                await connection.send(message)
                assert await connection.recv() == message.upper()
            await connection.ping()


async def test_many_connections_at_once(loop):
    async def ask(port, number):
        async with connect(f"ws://127.0.0.1:{port}") as connection:
            for _ in range(5):
                await connection.send(f"n{number}")
                assert await connection.recv() == f"N{number}"

    async with serve(shout, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await asyncio.gather(*(ask(port, number) for number in range(20)))


async def test_close_by_the_server_ends_the_client(loop):
    async def leave(connection):
        await connection.close()

    async with serve(leave, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with connect(f"ws://127.0.0.1:{port}") as connection:
            with pytest.raises(ConnectionClosedOK):
                await connection.recv()
