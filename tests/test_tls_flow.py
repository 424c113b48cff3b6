"""Flow control and closing of TLS transports, over the whole stack."""

import asyncio
import gc
import random
import socket
import weakref
from fractions import Fraction

import pytest

from helpers import Echo, Recorder, address_of, client_tls, collector_off, connected, server_tls
from tls_peer import client_of, server_of

pytestmark = pytest.mark.usefixtures("tls_engine")


class Paused(Recorder):
    """Does not read until told."""

    def connection_made(self, transport):
        super().connection_made(transport)
        transport.pause_reading()


async def test_a_paused_reader_gets_nothing_and_loses_nothing(loop):
    server = Paused()
    async with client_of(server) as peer:
        await peer.handshake()
        message = random.Random(1).randbytes(2_000_000)
        sending = asyncio.ensure_future(peer.send(message))
        await server.wait("made")
        for _ in range(20):
            await asyncio.sleep(0)
        assert not server.transport.is_reading() and not server.data
        server.transport.resume_reading()
        assert await server.received(len(message)) == message
        await sending


async def test_pausing_and_resuming_in_each_delivery_loses_nothing(loop):
    class Stuttering(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.transport.pause_reading()
            asyncio.get_running_loop().call_soon(self.transport.resume_reading)

    server = Stuttering()
    async with client_of(server) as peer:
        await peer.handshake()
        message = random.Random(2).randbytes(1_000_000)
        sending = asyncio.ensure_future(peer.send(message))
        assert await server.received(len(message)) == message
        await sending


async def test_a_new_protocol_gets_what_comes_after_it_was_set(loop):
    class Upgrading(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.transport.set_protocol(second)
            assert self.transport.get_protocol() is second

    first, second = Upgrading(), Recorder()
    async with client_of(first) as peer:
        await peer.handshake()
        await peer.send(b"one")
        await first.received(3)
        await peer.send(b"two")
        second.events.append("made")
        assert await second.received(3) == b"two"
        assert not first.data
        second.transport, first.events[:] = first.transport, ["lost"]
        first.transport.abort()
        await second.wait("lost")


@pytest.mark.hotloop_only  # asyncio counts only what its own layer holds
async def test_what_the_socket_does_not_take_counts(loop):
    client = Recorder()
    async with server_of(client) as peer:
        client.transport.set_write_buffer_limits(high=100_000)
        client.transport.write(bytes(8_000_000))
        assert client.events[-1] == "pause"
        assert client.transport.get_write_buffer_size() > 100_000
        receiving = asyncio.ensure_future(peer.receive(8_000_000))
        await client.wait("resume")
        assert client.transport.get_write_buffer_size() <= 25_000
        await receiving
        assert client.transport.get_write_buffer_size() == 0


@pytest.mark.hotloop_only  # asyncio pauses an empty transport, and may leave it so
async def test_with_a_high_mark_of_zero_every_drain_ends(loop):
    async with connected("tls", theirs=Recorder) as pair:
        pair.transport.set_write_buffer_limits(0)
        assert "pause" not in pair.ours.events
        for _ in range(100):
            pair.transport.write(bytes(100_000))
            if pair.ours.events[-1] == "pause":
                await pair.ours.wait_until(lambda: pair.ours.events[-1] == "resume")
        assert await pair.theirs.received(10_000_000) == bytes(10_000_000)


async def test_marks_are_those_of_asyncio(loop):
    async with connected("tls") as pair:
        transport = pair.transport
        assert transport.get_write_buffer_limits() == (128 * 1024, 512 * 1024)
        assert transport.get_read_buffer_limits() == (64 * 1024, 256 * 1024)
        transport.set_write_buffer_limits(high=1000)
        transport.set_read_buffer_limits(low=10, high=40)
        assert transport.get_write_buffer_limits() == (250, 1000)
        assert transport.get_read_buffer_limits() == (10, 40)
        assert transport.get_read_buffer_size() == 0


async def test_a_mark_may_be_any_number(loop):
    """The documentation speaks of values, not of ints: half a limit is often a float."""
    client = Recorder()
    async with server_of(client):
        transport = client.transport
        for low, high in ((8192.0, 32768.0), (0, float("inf")), (1, 1 << 70), (1, Fraction(5))):
            transport.set_write_buffer_limits(high=high, low=low)
            transport.set_read_buffer_limits(high=high, low=low)
        with pytest.raises(TypeError):
            transport.set_write_buffer_limits(high="5", low="1")
        # Paused at the mark: with 100 bytes waiting, it is above 99.5 and not yet at 100.5.
        transport._test__append_write_backlog(bytes(100))
        transport.set_write_buffer_limits(high=100.5, low=0)
        assert "pause" not in client.events
        transport.set_write_buffer_limits(high=99.5, low=0)
        assert "pause" in client.events
        assert transport._ssl_protocol._app_writing_paused


async def test_close_flushes_what_waits(loop):
    client = Recorder()
    async with server_of(client) as peer:
        message = random.Random(3).randbytes(5_000_000)
        client.transport.write(message)
        client.transport.close()
        client.transport.write(b"too late")
        assert await peer.receive(len(message)) == message
        assert await peer.receive_end() is None
        await peer.send_raw(peer.goodbye())
        await client.wait("lost")
        assert client.error is None


async def test_a_write_before_the_handshake_is_over_is_sent_after_it(loop):
    class Eager(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.write(b"first")
            transport.writelines([b"second", b"third"])

    async with server_of(Eager()) as peer:
        assert await peer.receive(16) == b"firstsecondthird"


async def test_closing_twice_and_aborting_after_it_is_harmless(loop):
    async with connected("tls") as pair:
        pair.transport.close()
        assert pair.transport.is_closing()
        pair.transport.abort()
        await pair.ours.wait("lost")
        pair.transport.abort()
        await pair.theirs.wait("lost")


@pytest.mark.hotloop_only
@pytest.mark.parametrize("how", ["close", "end of the stream"])
async def test_an_abort_out_of_the_last_data_ends_a_shutdown_without_an_error(loop, how):
    """Found by attacks/tls_closing.py: a RuntimeError about the state machine, as on asyncio."""

    class Aborting(Paused):
        def data_received(self, data):
            super().data_received(data)
            self.transport.abort()

    server = Aborting()
    async with client_of(server) as peer:
        await peer.handshake()
        await server.wait("made")
        await peer.send(b"last")
        while server.transport.get_read_buffer_size() == 0:
            await asyncio.sleep(0)
        if how == "close":
            server.transport.resume_reading()
            server.transport.close()
        else:
            peer.sock.shutdown(socket.SHUT_WR)
            while not server.transport._ssl_protocol._eof_received:
                await asyncio.sleep(0)
            server.transport.resume_reading()
        await server.wait("lost")
        assert bytes(server.data) == b"last" and server.error is None


async def test_close_from_within_data_received(loop):
    class Closing(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.transport.write(b"bye")
            self.transport.close()

    server = Closing()
    async with client_of(server) as peer:
        await peer.handshake()
        await peer.send_raw(peer.records(b"a" * 20_000) + peer.records(b"b"))
        assert await peer.receive(3) == b"bye"
        await peer.send_raw(peer.goodbye())
        await server.wait("lost")
    assert server.error is None


async def test_a_lost_connection_frees_the_protocol_without_the_collector(loop):
    async with connected("tls") as pair:
        transport = pair.transport
        kept = weakref.ref(pair.ours)
        pair.transport.close()
        await pair.ours.wait("lost")
        await pair.theirs.wait("lost")
        server = pair.server
    del pair
    await asyncio.sleep(0)
    with collector_off():
        # The transport, which is still held, holds nothing of the program's.
        assert kept() is None or transport.get_protocol() is None
    del server


@pytest.mark.parametrize("seed", range(4))
async def test_connections_closed_at_random_moments_leave_nothing(loop, seed):
    choose = random.Random(seed)
    objects = weakref.WeakSet()
    protocols = []
    timers = []

    class Watched(Echo):
        def connection_made(self, transport):
            super().connection_made(transport)
            protocols.append(self)
            objects.add(transport.get_extra_info("ssl_object"))
            close_somehow(transport)

    def close_somehow(transport):
        how = choose.choice([transport.close, transport.abort, None])
        if how is not None:
            delay = choose.choice([0, 0, 0.001, 0.003])
            timers.append(loop.call_later(delay, how) if delay else loop.call_soon(how))

    server = await loop.create_server(Watched, "127.0.0.1", 0, ssl=server_tls())
    context = client_tls()

    async def client():
        protocol = Watched()
        connecting = asyncio.ensure_future(
            loop.create_connection(
                lambda: protocol, *address_of(server), ssl=context, server_hostname="localhost"
            )
        )
        for _ in range(choose.randrange(12)):
            await asyncio.sleep(0)
        if choose.random() < 0.3:
            connecting.cancel()
        try:
            transport, _ = await connecting
        except (OSError, asyncio.CancelledError):
            return
        transport.write(choose.randbytes(choose.choice([1, 1000, 300_000])))
        for _ in range(choose.randrange(12)):
            await asyncio.sleep(0)
        choose.choice([transport.close, transport.abort])()
        await protocol.wait("lost")

    for _ in range(10):
        await asyncio.gather(*(client() for _ in range(10)))
    server.close()
    await server.wait_closed()
    # Handshakes of the server's ends may still be under way, in tasks of their own.
    while pending := [end for end in protocols if "lost" not in end.events] or (
        asyncio.all_tasks() - {asyncio.current_task()}
    ):
        for end in protocols:
            end.transport.abort()
        await asyncio.sleep(0)
    del pending
    end = None
    protocols.clear()
    for timer in timers:
        timer.cancel()  # some are not due yet, and hold their transport
    gc.collect()
    assert not list(objects)


async def test_start_tls_inside_tls(loop):
    async with connected("tls") as pair:
        inner = await asyncio.gather(
            loop.start_tls(pair.theirs.transport, pair.theirs, server_tls(), server_side=True),
            loop.start_tls(pair.transport, pair.ours, client_tls(), server_hostname="localhost"),
        )
        outer = pair.theirs.transport, pair.ours.transport
        pair.theirs.transport, pair.ours.transport = inner
        message = random.Random(5).randbytes(700_000)
        pair.transport.write(message)
        assert await pair.theirs.received(len(message)) == message
        assert pair.transport.get_extra_info("ssl_object") is not outer[1].get_extra_info(
            "ssl_object"
        )
        pair.transport.close()
        await pair.ours.wait("lost")
        await pair.theirs.wait("lost")


async def test_the_protocol_class_of_asyncio_works_on_our_transports(loop):
    sockets = socket.socketpair()
    ends = []
    for sock, context, options in [
        (sockets[0], server_tls(), {"server_side": True}),
        (sockets[1], client_tls(), {"server_hostname": "localhost"}),
    ]:
        sock.setblocking(False)
        end = Recorder()
        secure = asyncio.sslproto.SSLProtocol(loop, end, context, None, **options)
        loop._make_socket_transport(sock, secure)
        ends.append(end)
    server, client = ends
    await client.wait("made")
    client.transport.write(bytes(500_000))
    assert await server.received(500_000) == bytes(500_000)
    client.transport.close()
    await client.wait("lost")
    await server.wait("lost")


async def test_sendfile_falls_back_to_writing(loop, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 4000)
    client = Recorder()
    async with server_of(client) as peer:
        with path.open("rb") as file:
            sending = asyncio.ensure_future(loop.sendfile(client.transport, file))
            assert await peer.receive(1_024_000) == bytes(range(256)) * 4000
            assert await sending == 1_024_000


async def test_streams_drain_and_close(loop):
    done = loop.create_future()

    async def serve(reader, writer):
        while data := await reader.read(100_000):
            writer.write(data)
            await writer.drain()
        writer.close()
        await writer.wait_closed()
        done.set_result(None)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_tls())
    async with server:
        reader, writer = await asyncio.open_connection(
            *address_of(server), ssl=client_tls(), server_hostname="localhost"
        )
        message = random.Random(7).randbytes(3_000_000)

        async def send():
            for start in range(0, len(message), 70_000):
                writer.write(message[start : start + 70_000])
                await writer.drain()

        sending = asyncio.ensure_future(send())
        assert await reader.readexactly(len(message)) == message
        await sending
        writer.close()
        await writer.wait_closed()
        await done
