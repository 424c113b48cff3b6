"""A server that runs out of descriptors: it says so, pauses, and goes on."""

import pytest

from helpers import run_child

PREAMBLE = """
import asyncio, os, resource, socket, time
from helpers import new_loop

class Greeter(asyncio.Protocol):
    def connection_made(self, transport):
        transport.write(b"hello")
        transport.close()

loop = new_loop()
reports = []
reported = asyncio.Event()
def report(loop, context):
    reports.append(context)
    reported.set()
loop.set_exception_handler(report)

# The pause of asyncio is constants.ACCEPT_RETRY_DELAY, one second; the clock is moved past it.
shift = 0
loop.time = lambda: time.monotonic() + shift

def take_all_descriptors():
    taken = []
    try:
        while True:
            taken.append(os.dup(0))
    except OSError:
        return taken

async def main():
    server = await loop.create_server(Greeter, "127.0.0.1", 0)
    client = socket.socket()
    client.setblocking(False)
    # Make what the loop makes lazily while there still are descriptors.
    await loop.run_in_executor(None, int)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    taken = take_all_descriptors()
    await loop.sock_connect(client, server.sockets[0].getsockname())
    await reported.wait()
"""

GOES_ON = """
    for number in taken:
        os.close(number)
    global shift
    shift = 10
    assert await loop.sock_recv(client, 100) == b"hello"
    client.close()
    server.close()
    await server.wait_closed()
    await loop.shutdown_default_executor()

loop.run_until_complete(main())
for context in reports:
    assert context["message"] == "socket.accept() out of system resource", context
    assert isinstance(context["exception"], OSError)
    assert context["exception"].errno == 24
    assert set(context) == {"message", "exception", "socket"}, context
    assert type(context["socket"]) is asyncio.trsock.TransportSocket
loop.close()
"""


def test_it_reports_as_asyncio_does_and_serves_the_waiting_connection_later():
    child = run_child(PREAMBLE + GOES_ON)
    assert (child.returncode, child.stderr) == (0, "")


@pytest.mark.hotloop_only
def test_a_server_closed_in_the_pause_stays_closed():
    # The stdlib reports a failed attempt to listen on the closed socket.
    child = run_child(
        PREAMBLE
        + """
    for number in taken:
        os.close(number)
    server.close()
    client.close()
    global shift
    shift = 10
    await asyncio.sleep(0.001)
    await server.wait_closed()
    await loop.shutdown_default_executor()

loop.run_until_complete(main())
print({context["message"] for context in reports})
loop.close()
"""
    )
    assert (child.returncode, child.stderr) == (0, "")
    assert child.stdout == "{'socket.accept() out of system resource'}\n"


def test_nothing_is_tried_while_the_pause_lasts():
    child = run_child(
        PREAMBLE
        + """
    before = len(reports)
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(reports) == before, reports[before:]
"""
        + GOES_ON
    )
    assert (child.returncode, child.stderr) == (0, "")
