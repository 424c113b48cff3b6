"""aiohttp: its server and its client talk to each other on the loop."""

import asyncio
import contextlib
import os
import sys
from pathlib import Path

import aiohttp
from aiohttp import web

from helpers import client_tls, server_tls

BIG = bytes(range(256)) * 4096  # 1 MiB


async def echo(request):
    return web.Response(body=await request.read(), headers={"X-Path": request.path})


async def chunks(request):
    response = web.StreamResponse()
    await response.prepare(request)
    for number in range(10):
        await response.write(b"%d," % number)
    await response.write_eof()
    return response


async def shout(request):
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        await socket.send_str(message.data.upper())
    return socket


@contextlib.asynccontextmanager
async def serving(**options):
    """Serve the application; give the server's port."""
    application = web.Application(client_max_size=2 * len(BIG))
    application.router.add_post("/echo", echo)
    application.router.add_get("/chunks", chunks)
    application.router.add_get("/shout", shout)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, **options)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def test_requests_over_kept_connections(loop):
    async with serving() as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        for body in (b"", b"small", BIG):
            async with session.post("/echo", data=body) as response:
                assert response.status == 200
                assert response.headers["X-Path"] == "/echo"
                assert await response.read() == body
        async with session.get("/chunks") as response:
            assert await response.text() == "".join(f"{number}," for number in range(10))
        async with session.get("/missing") as response:
            assert response.status == 404


async def test_many_requests_at_once(loop):
    async def ask(session, number):
        async with session.post("/echo", data=b"%d" % number) as response:
            return int(await response.read())

    async with serving() as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        answers = await asyncio.gather(*(ask(session, number) for number in range(100)))
    assert answers == list(range(100))


async def test_web_socket(loop):
    async with serving() as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        async with session.ws_connect("/shout") as socket:
            await socket.send_str("hello")
            assert (await socket.receive_str()) == "HELLO"


async def test_over_tls(loop, tls_engine):
    connector = aiohttp.TCPConnector(ssl=client_tls())
    async with serving(ssl_context=server_tls()) as port:
        base = f"https://127.0.0.1:{port}"
        async with aiohttp.ClientSession(base, connector=connector) as session:
            await converse(session)


async def converse(session):
    """Bodies of all sizes, pieces, and a web socket."""
    for body in (b"", b"secret", BIG):
        async with session.post("/echo", data=body) as response:
            assert await response.read() == body
    async with session.get("/chunks") as response:
        assert await response.text() == "".join(f"{number}," for number in range(10))
    async with session.ws_connect("/shout") as socket:
        await socket.send_str("hello" * 10_000)
        assert (await socket.receive_str()) == "HELLO" * 10_000


async def test_over_tls_with_a_server_on_asyncio(loop, tls_engine):
    async with on_asyncio("serve") as process:
        port = int(await process.stdout.readline())
        connector = aiohttp.TCPConnector(ssl=client_tls())
        base = f"https://127.0.0.1:{port}"
        async with aiohttp.ClientSession(base, connector=connector) as session:
            await converse(session)


async def test_over_tls_with_a_client_on_asyncio(loop, tls_engine):
    async with serving(ssl_context=server_tls()) as port, on_asyncio("ask", port) as process:
        assert await process.stdout.readline() == b"done\n"


@contextlib.asynccontextmanager
async def on_asyncio(*arguments):
    """This file as a program of its own, on the stdlib's loop, until its standard input ends."""
    pipe = asyncio.subprocess.PIPE
    tests = Path(__file__).resolve().parent.parent
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, __file__, *map(str, arguments)),
        env=os.environ | {"PYTHONPATH": str(tests)},
        stdin=pipe,
        stdout=pipe,
    )
    try:
        yield process
    finally:
        process.stdin.close()
        await process.communicate()
    assert process.returncode == 0


async def serve():
    async with serving(ssl_context=server_tls()) as port:
        print(port, flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def ask(port):
    connector = aiohttp.TCPConnector(ssl=client_tls())
    base = f"https://127.0.0.1:{port}"
    async with aiohttp.ClientSession(base, connector=connector) as session:
        await converse(session)
    print("done", flush=True)


if __name__ == "__main__":
    asyncio.run({"serve": serve, "ask": ask}[sys.argv[1]](*sys.argv[2:]))
