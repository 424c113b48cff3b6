"""Streams of records that arrive in any pieces and damaged at any byte: the outcome is the stdlib loop's.

Each case is played twice with the same bytes of plain text, the same damage at the same place and the same pieces: on
the loop under test and on the stdlib's. What the program is given, the exception's type, reason and verification code,
what is reported and how many bytes the peer gets must be equal.

The short form gives every byte of the stream one kind of damage; `HOTLOOP_ATTACK_FACTOR` above 1 gives each all kinds.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import os
import random
import socket
import ssl
import struct
import termios

import pytest

from helpers import Recorder, client_tls, server_tls
from tls_peer import Peer

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
MESSAGES = [b"one", b"second", b"3" * 40]
#: Rubbish that is put in: a byte, and heads of records that are plain text, too long, of no version or of no type.
RUBBISH = [b"\0", b"\x17\x03\x03\x00\x05hello", b"\x17\x03\x03\xff\xff", b"GET / HTTP/1.1\r\n\r\n"]
RUBBISH += [b"\x17\x09\x09\x00\x01a", b"\x63\x03\x03\x00\x01a", b"\x15\x03\x03\x00\x02\x02\x28"]
ALL = float(os.environ.get("HOTLOOP_ATTACK_FACTOR", "1")) > 1


class Buffered(Recorder, asyncio.BufferedProtocol):
    """Receives into a buffer that is smaller than the longest message."""

    def get_buffer(self, sizehint):
        self.memory = bytearray(32)
        return memoryview(self.memory)

    def buffer_updated(self, nbytes):
        Recorder.data_received(self, bytes(self.memory[:nbytes]))


# The kinds of damage: a function of the stream and of a place in it.


def flip_a_bit(stream, place):
    return stream[:place] + bytes([stream[place] ^ 1 << place % 8]) + stream[place + 1 :]


def invert(stream, place):
    return stream[:place] + bytes([stream[place] ^ 255]) + stream[place + 1 :]


def put_rubbish_in(stream, place):
    rubbish = RUBBISH[place % len(RUBBISH)]
    if rubbish[0] == stream[place]:  # by chance; the record before could still be right
        rubbish = RUBBISH[0] if stream[place] else RUBBISH[1]
    return stream[:place] + rubbish + stream[place:]


def cut_off(stream, place):
    return stream[:place]


def repeat_from_here(stream, place):
    return stream + stream[place:]


def undamaged(stream, place):
    return stream


# None after which bytes of cipher text are taken for the head of a record: they differ from run to run.
DAMAGES = [flip_a_bit, invert, put_rubbish_in, cut_off, repeat_from_here]


def cases(length):
    """Places of the stream, each with one kind of damage or with all."""
    for place in range(length):
        for damage in DAMAGES if ALL else [DAMAGES[place % len(DAMAGES)]]:
            yield place, damage


def in_one(stream, place):
    return [stream]


def in_two(stream, place):
    return [stream[: place + 1], stream[place + 1 :]]


def in_bytes(stream, place):
    return [stream[index : index + 1] for index in range(len(stream))]


def in_any(stream, place):
    choose = random.Random(place)
    pieces = []
    while stream:
        cut = choose.choice([1, 4, 5, 6, 30, len(stream)])
        pieces.append(stream[:cut])
        stream = stream[cut:]
    return pieces


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("pieces", [in_one, in_any])
def test_damage_at_any_byte_of_the_records_ends_as_on_asyncio(loop, tls_engine, version, pieces):
    length = stream_length(version)
    for place, damage in cases(length):
        play = functools.partial(play_records, version, damage, place, pieces)
        assert loop.run_until_complete(play()) == on_asyncio(play), (damage.__name__, place)


@pytest.mark.parametrize("version", VERSIONS)
def test_records_in_single_bytes_and_in_any_two_pieces_are_whole(loop, tls_engine, version):
    ways = [(0, in_one), (0, in_bytes)]
    ways += [(place, in_two) for place in range(0, stream_length(version), 1 if ALL else 3)]
    for place, pieces in ways:
        play = functools.partial(play_records, version, undamaged, place, pieces)
        outcome = loop.run_until_complete(play())
        assert outcome == on_asyncio(play)
        assert outcome["data"] == b"".join(MESSAGES)
        assert outcome["error"] is None


# Not `repeat_from_here`: what comes after the end is nobody's business.
@pytest.mark.parametrize("damage", [flip_a_bit, invert, put_rubbish_in, cut_off])
def test_the_comparison_sees_a_loop_that_hides_the_damage(loop, damage):
    version = VERSIONS[1]
    hidden = loop.run_until_complete(play_records(version, undamaged, 0, in_one))
    for place in range(1, stream_length(version), 20):
        play = functools.partial(play_records, version, damage, place, in_one)
        assert hidden != on_asyncio(play), place


#: So often is asyncio asked for a case, if it says something else: a coin does not fall like this by chance.
ATTEMPTS = 25


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("is_server", [False, True])
def test_damage_in_the_handshake_raises_what_asyncio_raises(loop, tls_engine, version, is_server):
    for place in range(0, 600, 1 if ALL else 13):
        damage = [flip_a_bit, invert, cut_off][place % 3]
        play = functools.partial(play_handshake, version, is_server, damage, place)
        outcome = loop.run_until_complete(play())
        # Keys are new each time, and a damaged one is a point of the curve or is not: then there are two outcomes.
        assert any(outcome == on_asyncio(play) for _ in range(ATTEMPTS)), (damage.__name__, place)


@functools.cache
def stream_length(version):
    """How long the stream is that gets damaged; every connection's is."""
    return run_on_asyncio(functools.partial(play_records, version, None, 0, in_one))


@functools.cache
def _remembered(case):
    return run_on_asyncio(functools.partial(play_records, *case))


def on_asyncio(play):
    """What the stdlib's loop makes of the case; of records, found out once for both engines."""
    return _remembered(play.args) if play.func is play_records else run_on_asyncio(play)


def run_on_asyncio(play):
    model = asyncio.SelectorEventLoop()
    try:
        return model.run_until_complete(play())
    finally:
        model.close()


async def play_records(version, damage, place, pieces):
    """A server gets a damaged stream of records; returns all that can be seen of what comes of it."""
    loop = asyncio.get_running_loop()
    server = (Buffered if place % 3 == 2 else Recorder)()
    ours, theirs = socket.socketpair()
    with theirs, reports_of(loop) as reports:
        theirs.setblocking(False)
        accepting = asyncio.ensure_future(
            loop.connect_accepted_socket(lambda: server, ours, ssl=server_context(version))
        )
        peer = Peer(theirs, client_context(), server_hostname="localhost")
        await peer.handshake()
        await accepting
        stream = b"".join(peer.records(message) for message in MESSAGES) + peer.goodbye()
        if damage is None:
            server.transport.abort()
            await server.wait("lost")
            return len(stream)
        await send_pieces(theirs, pieces(damage(stream, place), place))
        await server.wait("lost")
        return {
            "events": server.events,
            "data": bytes(server.data),
            "error": described(server.error),
            "reports": reports,
            "sent": await bytes_to_the_end(theirs),
        }


async def play_handshake(version, is_server, damage, place):
    """An end gets the damaged first flight of its peer; returns what the call that connects raised."""
    loop = asyncio.get_running_loop()
    end = Recorder()
    ours, theirs = socket.socketpair()
    with theirs, reports_of(loop) as reports:
        theirs.setblocking(False)
        if is_server:
            options = {"ssl": server_context(version)}
            connecting = loop.connect_accepted_socket(lambda: end, ours, **options)
            peer = Peer(theirs, client_context(), server_hostname="localhost")
        else:
            options = {"ssl": client_context(), "server_hostname": "localhost"}
            connecting = loop.create_connection(lambda: end, sock=ours, **options)
            peer = Peer(theirs, server_context(version), server_side=True)
        connecting = asyncio.ensure_future(connecting)
        if not is_server:
            peer.incoming.write(await loop.sock_recv(theirs, 65536))
        with contextlib.suppress(ssl.SSLWantReadError):
            peer.object.do_handshake()
        flight = peer.outgoing.read()
        place %= len(flight)
        await send_pieces(theirs, in_any(damage(flight, place), place))
        try:
            await connecting
        except OSError as error:
            raised = described(error)
        else:
            raised = None
            end.transport.abort()
            await end.wait("lost")
        return {"raised": raised, "events": end.events, "reports": reports}


@functools.cache
def server_context(version):
    """One for all cases: to make one takes longer than a case."""
    context = server_tls()
    context.maximum_version = version
    return context


@functools.cache
def client_context():
    return client_tls()


@contextlib.contextmanager
def reports_of(loop):
    """What the loop reports meanwhile: messages and exceptions."""
    reports = []
    previous = loop.get_exception_handler()
    loop.set_exception_handler(
        lambda _, it: reports.append((it["message"], described(it.get("exception"))))
    )
    try:
        yield reports
    finally:
        loop.set_exception_handler(previous)


async def send_pieces(sock, pieces):
    """Send each piece when the one before it was received; then the end of the stream."""
    loop = asyncio.get_running_loop()
    try:
        for piece in pieces:
            await loop.sock_sendall(sock, piece)
            for _ in range(100):  # not for ever: a closing transport reads nothing
                if not unread(sock):
                    break
                await asyncio.sleep(0)
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # the connection has ended before the stream


def unread(sock):
    """How many bytes the other end has not received yet (SIOCOUTQ, unix(7))."""
    return struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))[0]


async def bytes_to_the_end(sock):
    """How many bytes come until the connection ends; not more precisely, because they are encrypted."""
    count = 0
    try:
        while data := await asyncio.get_running_loop().sock_recv(sock, 65536):
            count += len(data)
    except ConnectionResetError:
        pass
    return count


def described(error):
    """What a program can ask of the exception."""
    if error is None:
        return None
    names = ("reason", "library", "verify_code", "errno")
    return type(error).__name__, *(getattr(error, name, None) for name in names)
