"""Datagrams that arrive together: what the protocol does between two of them is obeyed."""

import asyncio
import contextvars

import pytest

from datagrams import Datagrams, address_of, endpoint, plain_socket
from helpers import run_once

NUMBERS = [b"%d" % number for number in range(12)]
variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)


class Acting(Datagrams):
    """Calls ``act(self)`` after each datagram."""

    act = staticmethod(lambda protocol: None)

    def datagram_received(self, data, addr):
        super().datagram_received(data, addr)
        self.act(self)


async def warm(receiver, sender):
    """Several rounds of many datagrams: from now on the transport receives in batches."""
    for _ in range(6):
        count = len(receiver.got)
        for data in NUMBERS:
            sender.sendto(data, address_of(receiver))
        await receiver.received(count + len(NUMBERS))
    receiver.got.clear()


@pytest.fixture
def together(loop):
    """A receiver that acts, and a function that sends it twelve datagrams before it can look."""
    with plain_socket() as sender:
        manager = endpoint(Acting)
        receiver = loop.run_until_complete(manager.__aenter__())
        loop.run_until_complete(warm(receiver, sender))

        def send():
            for data in NUMBERS:
                sender.sendto(data, address_of(receiver))

        receiver.send = send
        yield receiver
        if receiver.transport.is_closing():
            loop.run_until_complete(receiver.wait("lost"))
        loop.run_until_complete(manager.__aexit__(None, None, None))


def settle(loop, each=lambda: None, iterations=40):
    """Run many iterations and call ``each`` in each of them. (A loop that is to stop delivers singly.)"""

    def turn(left):
        nonlocal handle
        each()
        if left:
            handle = loop.call_soon(turn, left - 1)
        else:
            loop.stop()

    handle = loop.call_soon(turn, iterations)
    try:
        loop.run_forever()
    finally:
        handle.cancel()


@pytest.mark.parametrize("method", ["close", "abort"])
def test_a_transport_closed_by_its_protocol_delivers_nothing_more(loop, together, method):
    together.act = lambda protocol: getattr(protocol.transport, method)()
    together.send()
    settle(loop)
    assert together.data == NUMBERS[:1]
    assert together.events[-2:] == ["datagram", "lost"]
    assert together.lost_with is None


def test_a_paused_transport_delivers_the_rest_when_it_resumes_and_in_order(loop, together):
    def pause_after_the_third(protocol):
        if len(protocol.got) == 3:
            protocol.transport.pause_reading()

    together.act = pause_after_the_third
    together.send()
    settle(loop)
    assert together.data == NUMBERS[:3]
    together.send()  # newer ones wait behind those that were received
    settle(loop)
    assert together.data == NUMBERS[:3]
    together.transport.resume_reading()
    assert together.data == NUMBERS[:3]  # never from inside the call
    settle(loop)
    assert together.data == NUMBERS * 2


def test_a_transport_closed_while_paused_delivers_nothing_more(loop, together):
    together.act = lambda protocol: protocol.transport.pause_reading()
    together.send()
    settle(loop)
    together.transport.resume_reading()
    together.transport.close()
    settle(loop)
    assert together.data == NUMBERS[:1]
    assert together.events[-1] == "lost"


def test_a_pause_just_after_the_resume_holds(loop, together):
    together.act = lambda protocol: protocol.transport.pause_reading()
    together.send()
    settle(loop)
    together.transport.resume_reading()
    together.transport.pause_reading()
    settle(loop)
    assert together.data == NUMBERS[:1]
    together.act = lambda protocol: None
    together.transport.resume_reading()
    settle(loop)
    assert together.data == NUMBERS


def test_an_exception_of_the_protocol_is_reported_for_each_and_loses_nothing(
    loop, together, errors
):
    def fail(protocol):
        if protocol.data[-1] in (b"1", b"2", b"7"):
            raise LookupError(protocol.data[-1])

    together.act = fail
    together.send()
    settle(loop)
    assert together.data == NUMBERS
    words = [str(context["exception"]) for context in errors.contexts]
    assert words == ["b'1'", "b'2'", "b'7'"]
    errors.contexts.clear()
    assert not together.transport.is_closing()


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_ends_the_run_and_the_next_one_delivers_the_rest(loop, together, interrupt):
    def stop_at_the_second(protocol):
        if len(protocol.got) == 2:
            raise interrupt

    together.act = stop_at_the_second
    together.send()
    with pytest.raises(interrupt):
        settle(loop)
    assert together.data == NUMBERS[:2]
    settle(loop)
    assert together.data == NUMBERS


def test_stop_ends_the_delivery_and_the_next_run_goes_on(loop, together):
    together.act = lambda protocol: loop.stop()
    together.send()
    loop.run_forever()
    assert together.data == NUMBERS[:1]
    together.act = lambda protocol: None
    settle(loop)
    assert together.data == NUMBERS


def test_a_new_protocol_gets_the_next_datagram(loop, together):
    successor = Datagrams()

    def hand_over(protocol):
        if len(protocol.got) == 4:
            protocol.transport.set_protocol(successor)

    together.act = hand_over
    together.send()
    settle(loop)
    assert (together.data, successor.data) == (NUMBERS[:4], NUMBERS[4:])
    together.transport.set_protocol(together)


def test_every_datagram_is_received_in_the_same_context(loop, together):
    seen = []

    def count(protocol):
        seen.append(variable.get())
        variable.set(variable.get() + 1)

    together.act = count
    together.send()
    settle(loop)
    together.send()
    settle(loop)
    assert seen == list(range(24))
    assert variable.get() == 0


def test_one_transport_does_not_starve_the_others(loop, together):
    """However much arrives, a callback runs after a bounded number of datagrams."""
    counts = [0]

    def count(protocol):
        counts[-1] += 1

    together.act = count
    for _ in range(20):
        together.send()
    settle(loop, lambda: counts.append(0), iterations=300)
    assert sum(counts) == len(together.got) == 20 * len(NUMBERS)
    assert max(counts) <= 32


@pytest.mark.hotloop_only
def test_what_arrived_together_is_delivered_in_few_iterations(loop, together):
    iterations, seen = [], []
    together.act = lambda protocol: seen.append(len(iterations))
    together.send()
    settle(loop, lambda: iterations.append(None))
    assert together.data == NUMBERS
    assert len(set(seen)) <= 3


def test_a_loop_that_is_to_stop_delivers_one_datagram(loop, together):
    together.send()
    run_once(loop)
    assert together.data == NUMBERS[:1]
    # The others are where another reader of the socket finds them.
    assert together.transport._sock.recv(10) == NUMBERS[1]
    settle(loop)
    assert together.data == NUMBERS[:1] + NUMBERS[2:]


async def test_a_burst_larger_than_any_batch_keeps_its_order(loop):
    with plain_socket() as sender:
        async with endpoint() as receiver:
            expected = [b"%d" % number for number in range(150)]
            for data in expected:
                sender.sendto(data, address_of(receiver))
            assert await receiver.received(150) == expected


async def test_answers_sent_during_the_delivery_go_out_in_order(loop):
    class Echo(Datagrams):
        def datagram_received(self, data, addr):
            self.transport.sendto(data, addr)

    async with endpoint(Echo) as server, endpoint() as client:
        for round_number in range(5):
            for data in NUMBERS:
                client.transport.sendto(data, address_of(server))
            assert await client.received((round_number + 1) * 12) == NUMBERS * (round_number + 1)


async def test_a_datagram_that_wakes_a_task_reaches_it_alone(loop):
    """The usual way to await an answer: a future, set by the protocol."""

    class Waiting(Datagrams):
        waiter = None

        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            if self.waiter is not None and not self.waiter.done():
                self.waiter.set_result(data)

    with plain_socket() as sender:
        async with endpoint(Waiting) as receiver:
            for number in range(20):
                receiver.waiter = loop.create_future()
                sender.sendto(b"%d" % number, address_of(receiver))
                assert await receiver.waiter == b"%d" % number


async def test_datagrams_are_delivered_while_a_task_sleeps_shortly(loop):
    with plain_socket() as sender:
        async with endpoint() as receiver:
            for data in NUMBERS:
                sender.sendto(data, address_of(receiver))
                await asyncio.sleep(0)
            assert await receiver.received(12) == NUMBERS
