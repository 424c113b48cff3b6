"""aiohttp: its server and its client talk to each other on the loop."""

import asyncio
import contextlib

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


async def test_over_tls(loop):
    connector = aiohttp.TCPConnector(ssl=client_tls())
    async with serving(ssl_context=server_tls()) as port:
        base = f"https://127.0.0.1:{port}"
        async with aiohttp.ClientSession(base, connector=connector) as session:
            async with session.post("/echo", data=b"secret") as response:
                assert await response.read() == b"secret"
