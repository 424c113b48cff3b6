"""Overload: slow peers, floods of connections and busy descriptors take no more than their share.

Nothing here asserts how long something took; lateness is measured and printed (`pytest -s`).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import time

import pytest

import helpers

CHUNK = b"x" * 64 * 1024
HIGH_WATER = 256 * 1024


class Sender(asyncio.Protocol):
    """Writes for ever, and honours flow control unless told not to."""

    def __init__(self, honours=True):
        self.honours = honours
        self.going = True
        self.most = self.written = 0

    def connection_made(self, transport):
        self.transport = transport
        transport.set_write_buffer_limits(HIGH_WATER)

    def pause_writing(self):
        self.going = not self.honours

    def resume_writing(self):
        self.going = True

    def write(self):
        if self.going and not self.transport.is_closing():
            self.transport.write(CHUNK)
            self.written += len(CHUNK)
            self.most = max(self.most, self.transport.get_write_buffer_size())


async def send_to_a_peer_that_never_reads(sender):
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    with theirs:
        transport, _ = await loop.connect_accepted_socket(lambda: sender, ours)
        for _ in range(500):
            sender.write()
            await asyncio.sleep(0)
        transport.abort()
        await asyncio.sleep(0)
    return sender


def test_a_peer_that_never_reads_gets_no_more_memory_than_the_high_water_mark(loop):
    sender = loop.run_until_complete(send_to_a_peer_that_never_reads(Sender()))
    assert HIGH_WATER < sender.most <= HIGH_WATER + len(CHUNK)
    assert sender.written < 500 * len(CHUNK)


def test_the_check_sees_a_sender_that_does_not_stop(loop):
    sender = loop.run_until_complete(send_to_a_peer_that_never_reads(Sender(honours=False)))
    assert sender.most > 10 * HIGH_WATER


def test_a_stream_writer_that_drains_waits_for_its_peer(loop):
    async def main():
        ours, theirs = socket.socketpair()
        with theirs:
            _, writer = await asyncio.open_unix_connection(sock=ours)
            writer.transport.set_write_buffer_limits(HIGH_WATER)

            async def write():
                while True:
                    writer.write(CHUNK)
                    await writer.drain()

            writing = asyncio.create_task(write())
            for _ in range(500):
                await asyncio.sleep(0)
            assert not writing.done()
            assert writer.transport.get_write_buffer_size() <= HIGH_WATER + len(CHUNK)
            writing.cancel()
            writer.transport.abort()
            await asyncio.wait([writing])

    loop.run_until_complete(main())


def test_a_flood_of_connections_does_not_starve_timers(loop):
    """All are in the backlog before the loop runs: a timer due at once comes before the last is accepted."""
    many = 1000
    accepted = []
    late = []
    clients = []

    class Accepted(asyncio.Protocol):
        def connection_made(self, transport):
            accepted.append(transport)

    async def main():
        server = await loop.create_server(Accepted, "127.0.0.1", 0, backlog=2 * many)
        address = helpers.address_of(server)
        iterations = 0
        flooded = 0

        def flood():
            # As many as the backlog holds, in each iteration.
            nonlocal flooded
            for _ in range(min(50, many - flooded)):
                client = socket.socket()
                clients.append(client)
                client.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    client.connect(address)
                flooded += 1
            if flooded < many:
                loop.call_soon(flood)

        def tick(due):
            late.append((loop.time() - due, len(accepted)))
            if len(accepted) < many:
                loop.call_later(0, tick, loop.time())

        flood()
        loop.call_later(0, tick, loop.time())
        while len(accepted) < many:
            iterations += 1
            await asyncio.sleep(0)
        server.close()
        for transport in accepted:
            transport.abort()
        await asyncio.sleep(0)
        return iterations

    iterations = loop.run_until_complete(main())
    for client in clients:
        client.close()
    # A timer that is due runs in the next iteration, whatever is accepted in it.
    assert len(late) >= iterations // 3
    steps = [after - before for (_, before), (_, after) in itertools.pairwise(late)]
    assert max(steps) <= 300
    worst = sorted(lateness for lateness, _ in late)[int(len(late) * 0.99)]
    print(f"timers' lateness at the 99th percentile, accepting: {worst * 1e3:.2f} ms")


@pytest.mark.hotloop_only  # the others are measured by hand: docs/reliability.md
def test_a_flood_from_other_processes_does_not_starve_timers(attack_seconds):
    status, result, errors = helpers.run_attack("accept_flood", "--seconds", attack_seconds(2))
    assert status == 0, result["faults"]
    assert result["accepted"] > 100
    assert result["ticks"] > 10
    assert not errors
    print(result)


@pytest.mark.hotloop_only
def test_the_flood_sees_a_timer_that_is_starved():
    status, result, _ = helpers.run_attack("accept_flood", "--seconds", 2, "--break-it")
    assert status == 1, result


def seen_beside_a_busy_descriptor(loop):
    """While one pipe always has data: how many of a hundred other messages are seen within a few iterations."""
    with contextlib.ExitStack() as opened:
        busy_ours, busy_theirs = (opened.enter_context(end) for end in socket.socketpair())
        pairs = [
            tuple(opened.enter_context(end) for end in socket.socketpair()) for _ in range(100)
        ]
        for ours, theirs in [*pairs, (busy_ours, busy_theirs)]:
            ours.setblocking(False)
            theirs.setblocking(False)
        seen = set()

        class Busy(asyncio.Protocol):
            calls = 0

            def data_received(self, data):
                Busy.calls += 1
                helpers.fill(busy_theirs)  # there is always more

        helpers.fill(busy_theirs)
        busy, _ = loop.run_until_complete(loop.connect_accepted_socket(Busy, busy_ours.dup()))
        for number, (ours, theirs) in enumerate(pairs):
            loop.add_reader(ours, lambda number=number, ours=ours: seen.add((number, ours.recv(1))))
            theirs.send(b"x")
        for _ in range(3):
            helpers.run_once(loop)
        for ours, _ in pairs:
            loop.remove_reader(ours)
        busy.abort()
        helpers.run_once(loop)
    assert Busy.calls
    return len(seen)


def test_one_busy_descriptor_does_not_starve_others(loop):
    assert seen_beside_a_busy_descriptor(loop) == 100


def test_the_check_sees_a_loop_that_serves_one_descriptor_only():
    class Unfair(helpers.loop_class()):
        def _process_events(self, events):
            super()._process_events(events[:1])

    unfair = Unfair()
    try:
        assert seen_beside_a_busy_descriptor(unfair) < 10
    finally:
        unfair.close()


def test_a_callback_that_always_schedules_itself_starves_neither_timers_nor_descriptors(loop):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        seen = []

        def again():
            if going:
                loop.call_soon(again)
                loop.call_soon_threadsafe(int)

        going = True
        loop.call_soon(again)
        loop.add_reader(ours, lambda: seen.append(ours.recv(1)))
        loop.call_later(0, seen.append, "timer")
        theirs.send(b"x")
        for _ in range(3):
            helpers.run_once(loop)
        going = False
        loop.remove_reader(ours)
        helpers.run_once(loop)
    assert set(seen) == {b"x", "timer"}


@pytest.mark.parametrize("count", [10_000])
def test_ten_thousand_timers_that_are_due_together_are_late_by_little(loop, count):
    late = []
    due = loop.time()
    for _ in range(count):
        loop.call_at(due, lambda: late.append(time.monotonic() - due))
    for _ in range(3):
        helpers.run_once(loop)
    assert len(late) == count
    print(f"{count} timers due at once: the last {max(late) * 1e3:.1f} ms late")
