"""The context in which a protocol's methods run.

Up to 3.14 each callback has a copy of the context in which it was scheduled; from 3.15 on a
transport has one context for all of them, and each connection of a server a copy of the server's.
"""

import asyncio
import contextvars
import sys

import pytest

from helpers import Recorder, address_of, client_tls, server_tls

NAME = contextvars.ContextVar("NAME")
ONE_CONTEXT = sys.version_info >= (3, 15)


class Noting(Recorder):
    """Notes the value of NAME in each of its methods, and sets another one in the first."""

    def __init__(self):
        super().__init__()
        self.seen = {"factory": NAME.get("none")}

    def connection_made(self, transport):
        self.seen["made"] = NAME.get("none")
        NAME.set(f"{self.seen['made']}, made")
        super().connection_made(transport)

    def data_received(self, data):
        self.seen["data"] = NAME.get("none")
        super().data_received(data)

    def pause_writing(self):
        self.seen["pause"] = NAME.get("none")
        super().pause_writing()

    def connection_lost(self, exc):
        self.seen["lost"] = NAME.get("none")
        super().connection_lost(exc)


async def exchange(options, client_options):
    """One connection of two protocols that note, closed by the client."""
    loop = asyncio.get_running_loop()
    accepted = []

    def factory():
        accepted.append(Noting())
        return accepted[-1]

    NAME.set("server")
    server = await loop.create_server(factory, "127.0.0.1", 0, **options)
    NAME.set("client")
    _, ours = await loop.create_connection(Noting, *address_of(server), **client_options)
    NAME.set("later")
    ours.transport.write(b"ping")
    while not accepted:
        await asyncio.sleep(0)
    (theirs,) = accepted
    assert await theirs.received(4) == b"ping"
    theirs.transport.write(b"pong")
    assert await ours.received(4) == b"pong"
    ours.transport.close()
    await ours.wait("lost")
    await theirs.wait("lost")
    server.close()
    await server.wait_closed()
    assert NAME.get() == "later"  # what protocols set stays among themselves
    return ours.seen, theirs.seen


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.skipif(not ONE_CONTEXT, reason="transports have contexts since 3.15")
def test_a_transport_has_one_context_for_all_callbacks(loop, debug):
    loop.set_debug(debug)
    ours, theirs = loop.run_until_complete(exchange({}, {}))
    after = "client, made"
    assert ours == {"factory": "client", "made": "client", "data": after, "lost": after}
    after = "server, made"
    assert theirs == {"factory": "server", "made": "server", "data": after, "lost": after}


@pytest.mark.skipif(not ONE_CONTEXT, reason="transports have contexts since 3.15")
def test_a_tls_transport_has_one_context_for_all_callbacks(loop):
    options = {"ssl": client_tls(), "server_hostname": "localhost"}
    ours, theirs = loop.run_until_complete(exchange({"ssl": server_tls()}, options))
    after = "client, made"
    assert ours == {"factory": "client", "made": "client", "data": after, "lost": after}
    after = "server, made"
    assert theirs == {"factory": "server", "made": "server", "data": after, "lost": after}


@pytest.mark.skipif(ONE_CONTEXT, reason="a transport has one context since 3.15")
def test_each_callback_has_a_copy_of_the_context_in_which_it_was_scheduled(loop):
    ours, theirs = loop.run_until_complete(exchange({}, {}))
    assert ours == {"factory": "client", "made": "client", "data": "client", "lost": "later"}
    assert theirs["factory"] == theirs["made"] == theirs["data"] == "server"


@pytest.mark.skipif(not ONE_CONTEXT, reason="since 3.15")
def test_watching_takes_a_context(loop, pair):
    left, right = pair
    context = contextvars.copy_context()
    context.run(NAME.set, "given")
    seen = []

    def note():
        seen.append(NAME.get())
        loop.stop()

    right.send(b"x")
    loop._add_reader(left, note, context=context)
    loop.run_forever()
    loop._remove_reader(left)
    loop._add_writer(left, note, context=context)
    loop.run_forever()
    loop._remove_writer(left)
    assert seen == ["given", "given"]
