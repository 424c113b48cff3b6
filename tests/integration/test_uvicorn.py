"""uvicorn with httptools: an ASGI application answers real HTTP requests on the loop."""

import asyncio
import contextlib

import uvicorn

from helpers import listening_socket

BIG = bytes(range(256)) * 4096  # 1 MiB


async def application(scope, receive, send):
    """Sends the request's body back, with the path in a header."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    headers = [(b"content-length", b"%d" % len(body)), (b"x-path", scope["path"].encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@contextlib.asynccontextmanager
async def serving():
    """Run the server in the test's own loop; give its address."""
    config = uvicorn.Config(
        application, http="httptools", ws="none", lifespan="off", log_level="warning"
    )
    server = uvicorn.Server(config)
    listener = listening_socket()
    # The socket listens already: whoever connects before the server starts waits in the backlog.
    running = asyncio.ensure_future(server.serve(sockets=[listener]))
    try:
        yield listener.getsockname()
    finally:
        server.should_exit = True
        await running


async def request(reader, writer, path, body):
    """Send one request on a kept connection and return the head and the body of the answer."""
    writer.write(
        b"POST %s HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n" % (path, len(body)) + body
    )
    head = await reader.readuntil(b"\r\n\r\n")
    return head, await reader.readexactly(len(body))


async def test_requests_on_a_kept_connection(loop):
    async with serving() as address:
        reader, writer = await asyncio.open_connection(*address)
        for path, body in ((b"/one", b""), (b"/two", b"small"), (b"/three", BIG)):
            head, answer = await request(reader, writer, path, body)
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b"x-path: " + path in head
            assert answer == body
        writer.close()
        await writer.wait_closed()


async def test_many_connections_at_once(loop):
    async def ask(address, number):
        reader, writer = await asyncio.open_connection(*address)
        answers = [(await request(reader, writer, b"/", b"%d" % number))[1] for _ in range(3)]
        writer.close()
        await writer.wait_closed()
        return answers

    async with serving() as address:
        answers = await asyncio.gather(*(ask(address, number) for number in range(50)))
    assert answers == [[b"%d" % number] * 3 for number in range(50)]


async def test_pipelined_requests_are_answered_in_order(loop):
    async with serving() as address:
        reader, writer = await asyncio.open_connection(*address)
        for number in range(10):
            writer.write(b"GET /%d HTTP/1.1\r\nHost: test\r\n\r\n" % number)
        for number in range(10):
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"x-path: /%d\r\n" % number in head
        writer.close()
        await writer.wait_closed()


async def test_a_bad_request_is_answered_and_closed(loop):
    async with serving() as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"this is no request\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 400 Bad Request\r\n")
        writer.close()
        await writer.wait_closed()
