"""Flow control: the marks, ``pause_writing`` and ``resume_writing``, the size of the queue."""

import sys
from fractions import Fraction

import pytest

from helpers import Recorder, connected

BIG = bytes(8 << 20)  # far more than the kernel takes


class Stalled(Recorder):
    """A peer that does not read until it is told to."""

    def connection_made(self, transport):
        super().connection_made(transport)
        transport.pause_reading()


async def test_default_marks(loop, link):
    async with link() as pair:
        assert pair.transport.get_write_buffer_limits() == (16 * 1024, 64 * 1024)


@pytest.mark.parametrize(
    ("marks", "limits"),
    [
        ({}, (16384, 65536)),
        ({"high": 1000}, (250, 1000)),
        ({"low": 1000}, (1000, 4000)),
        ({"high": 0}, (0, 0)),
        ({"high": 10, "low": 10}, (10, 10)),
        ({"high": 10, "low": 0}, (0, 10)),
    ],
)
async def test_marks_that_are_not_given_follow_from_the_other(loop, marks, limits):
    async with connected() as pair:
        pair.transport.set_write_buffer_limits(**marks)
        assert pair.transport.get_write_buffer_limits() == limits


@pytest.mark.parametrize("marks", [{"high": 1, "low": 2}, {"high": -1}, {"high": 5, "low": -1}])
async def test_marks_in_the_wrong_order_are_refused(loop, link, marks):
    async with link() as pair:
        with pytest.raises(ValueError, match=r"^high \(.*\) must be >= low \(.*\) must be >= 0$"):
            pair.transport.set_write_buffer_limits(**marks)
        assert pair.transport.get_write_buffer_limits() == (16384, 65536)


@pytest.mark.parametrize("high", [32768.0, float("inf"), 1 << 70, Fraction(5)])
async def test_a_mark_may_be_any_number(loop, link, high):
    async with link(theirs=Stalled) as pair:
        pair.transport.set_write_buffer_limits(high=high, low=0.0)
        assert pair.transport.get_write_buffer_limits()[0] == 0
        pair.transport.write(BIG)
        assert ("pause" in pair.ours.events) == (high < len(BIG))
        pair.theirs.transport.resume_reading()
        await pair.theirs.received(len(BIG))
        if high < len(BIG):
            await pair.ours.wait("resume")


@pytest.mark.hotloop_only
async def test_a_mark_that_is_no_int_is_given_back_in_whole_bytes(loop):
    async with connected() as pair:
        pair.transport.set_write_buffer_limits(high=40.5, low=True)
        assert repr(pair.transport.get_write_buffer_limits()) == "(1, 40)"
        pair.transport.set_write_buffer_limits(high=float("inf"), low=0)
        assert pair.transport.get_write_buffer_limits() == (0, 2 * sys.maxsize + 1)


async def test_pause_comes_from_inside_write_and_only_once(loop, link):
    async with link(theirs=Stalled) as pair:
        pair.transport.write(b"small")
        assert "pause" not in pair.ours.events
        pair.transport.write(BIG)
        assert pair.ours.events.count("pause") == 1
        pair.transport.write(BIG)
        assert pair.ours.events.count("pause") == 1


async def test_resume_comes_when_the_queue_falls_to_the_low_mark(loop, link):
    sizes = []

    class Sizes(Recorder):
        def resume_writing(self):
            sizes.append(self.transport.get_write_buffer_size())
            super().resume_writing()

    async with link(ours=Sizes, theirs=Stalled) as pair:
        pair.transport.set_write_buffer_limits(high=4 << 20, low=1 << 20)
        pair.transport.write(BIG)
        assert pair.ours.events == ["made", "pause"]
        pair.theirs.transport.resume_reading()
        await pair.ours.wait("resume")
        await pair.theirs.received(len(BIG))
        assert pair.ours.events == ["made", "pause", "resume"]
        assert sizes[0] <= 1 << 20
        assert pair.transport.get_write_buffer_size() == 0


async def test_marks_of_zero_pause_as_soon_as_anything_is_queued(loop, link):
    async with link(theirs=Stalled) as pair:
        pair.transport.set_write_buffer_limits(high=0)
        pair.transport.write(b"goes out at once")
        assert "pause" not in pair.ours.events
        pair.transport.write(BIG)
        pair.theirs.transport.resume_reading()
        await pair.ours.wait("resume")
        assert pair.ours.events == ["made", "pause", "resume"]


async def test_lower_marks_pause_at_once_when_the_queue_is_above_them(loop, link):
    async with link(theirs=Stalled) as pair:
        pair.transport.set_write_buffer_limits(high=1 << 30)
        pair.transport.write(BIG)
        assert "pause" not in pair.ours.events
        pair.transport.set_write_buffer_limits(high=1)
        assert "pause" in pair.ours.events


async def test_size_of_the_queue_counts_what_the_kernel_did_not_take(loop, link):
    async with link(theirs=Stalled) as pair:
        assert pair.transport.get_write_buffer_size() == 0
        pair.transport.write(BIG)
        size = pair.transport.get_write_buffer_size()
        assert 0 < size < len(BIG)
        pair.transport.write(b"12345")
        assert pair.transport.get_write_buffer_size() == size + 5
        pair.transport.writelines([b"1", b"23"])
        assert pair.transport.get_write_buffer_size() == size + 8


async def test_writing_from_inside_resume_writing(loop, link):
    class Refill(Recorder):
        def resume_writing(self):
            super().resume_writing()
            if self.events.count("resume") < 3:
                self.transport.write(BIG)

    async with link(ours=Refill) as pair:
        pair.transport.write(BIG)
        await pair.theirs.received(3 * len(BIG))
        await pair.ours.wait_until(lambda: pair.ours.events.count("resume") == 3)
        assert pair.ours.events == ["made", *["pause", "resume"] * 3]


async def test_writing_from_inside_pause_writing(loop, link):
    class Last(Recorder):
        def pause_writing(self):
            super().pause_writing()
            self.transport.write(b"the end")

    async with link(ours=Last) as pair:
        pair.transport.write(BIG)
        got = await pair.theirs.received(len(BIG) + 7)
        assert got[-7:] == b"the end"


@pytest.mark.parametrize("method", ["pause_writing", "resume_writing"])
async def test_a_protocol_that_raises_here_is_reported_and_stays_connected(
    loop, errors, link, method
):
    class Broken(Recorder):
        def pause_writing(self):
            self.fail("pause_writing")

        def resume_writing(self):
            self.fail("resume_writing")

        def fail(self, name):
            self.note(name)
            if name == method:
                raise ZeroDivisionError

    async with link(ours=Broken) as pair:
        pair.transport.write(BIG)
        await pair.theirs.received(len(BIG))
        await pair.ours.wait("resume_writing")
        (context,) = errors.take()
        assert context["message"] == f"protocol.{method}() failed"
        assert set(context) == {"message", "exception", "transport", "protocol"}
        assert context["transport"] is pair.transport
        assert context["protocol"] is pair.ours
        pair.transport.write(b"still here")
        assert await pair.theirs.received(10) == b"still here"
