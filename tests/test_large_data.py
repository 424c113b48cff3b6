"""Data that is too large to be kept: a MemoryError, and no process that is ended by Rust's allocator."""

import pytest

from helpers import run_child

#: asyncio keeps a view of the data from 3.12 on; its own copy fails with a SystemError on 3.11.
pytestmark = pytest.mark.hotloop_only

PROGRAM = """
import asyncio, os, resource, socket, ssl, sys
from attacks.attack_program import CERTIFICATE
import hotloop

kind, sent_before = sys.argv[1], sys.argv[2] == "queued"
data = bytearray(300 << 20)

class Sink(asyncio.Protocol):
    def connection_made(self, transport):
        transport.pause_reading()  # the kernel takes some of the data and no more

async def transport_of(loop):
    if kind == "pipe":
        reading, writing = os.pipe()
        transport, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, open(writing, "wb", 0))
        return transport, open(reading, "rb", 0)
    server_tls = client_tls = None
    if kind == "tls":
        server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        server_tls.load_cert_chain(CERTIFICATE)
        client_tls = ssl.create_default_context(cafile=CERTIFICATE)
    server = await loop.create_server(Sink, "127.0.0.1", 0, ssl=server_tls)
    address = server.sockets[0].getsockname()
    name = "localhost" if client_tls else None
    transport, _ = await loop.create_connection(
        asyncio.Protocol, *address, ssl=client_tls, server_hostname=name
    )
    return transport, server

async def main():
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: errors.append(context["exception"]))
    transport, peer = await transport_of(loop)
    if sent_before:
        transport.write(bytes(30 << 20))
    with open("/proc/self/statm") as statm:
        used = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (100 << 20), resource.RLIM_INFINITY))
    try:
        transport.write(data)
    except MemoryError as error:
        errors.append(error)
    for _ in range(5):
        await asyncio.sleep(0)
    transport.abort()
    peer.close()
    await asyncio.sleep(0.01)

errors = []
loop = hotloop.new_event_loop()
loop.run_until_complete(main())
print({type(error).__name__ for error in errors}, flush=True)
os._exit(0)  # the server's end is left as it is
"""


@pytest.mark.parametrize("before", ["nothing", "queued"])
@pytest.mark.parametrize("kind", ["stream", "pipe", "tls"])
def test_a_write_that_cannot_be_copied_is_a_memory_error(kind, before):
    done = run_child(PROGRAM, kind, before)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "{'MemoryError'}\n"


READING = """
import asyncio, os, resource, socket, sys
import hotloop

async def main():
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: None)
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    reader, writer = await hotloop.open_connection(sock=ours, limit=1 << 40)
    with open("/proc/self/statm") as statm:
        used = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (100 << 20), resource.RLIM_INFINITY))
    block = bytes(1 << 20)

    async def send():
        while True:
            await loop.sock_sendall(theirs, block)

    sending = loop.create_task(send())
    try:
        if sys.argv[1] == "all":
            await reader.read(-1)
        else:
            await reader.readexactly(1 << 30)
    except MemoryError:
        print("MemoryError", flush=True)
    os._exit(0)

hotloop.new_event_loop().run_until_complete(main())
"""


@pytest.mark.parametrize("how", ["exactly", "all"])
def test_what_a_native_stream_cannot_keep_is_a_memory_error(how):
    done = run_child(READING, how)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "MemoryError\n"
