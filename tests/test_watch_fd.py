"""``add_reader``, ``add_writer``, ``remove_reader``, ``remove_writer``."""

import os
import socket

import pytest

from helpers import fill, run_once, same_as_stdlib


class WithFileno:
    """Anything with a ``fileno`` method will do."""

    def __init__(self, descriptor):
        self.descriptor = descriptor

    def fileno(self):
        return self.descriptor


@pytest.fixture
def pipe():
    reader, writer = os.pipe()
    with open(reader, "rb", 0) as read_end, open(writer, "wb", 0) as write_end:
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        yield read_end, write_end


as_descriptor = pytest.mark.parametrize(
    "of", [lambda sock: sock.fileno(), lambda sock: sock, lambda sock: WithFileno(sock.fileno())]
)


@as_descriptor
def test_reader_is_called_with_its_arguments_when_there_is_something_to_read(loop, pair, of):
    left, right = pair
    got = []
    loop.add_reader(of(left), lambda *arguments: (got.append(arguments), loop.stop()), 1, 2)
    right.send(b"x")
    loop.run_forever()
    assert got == [(1, 2)]
    assert loop.remove_reader(of(left)) is True


@as_descriptor
def test_writer_is_called_when_there_is_room(loop, pair, of):
    left, _ = pair
    got = []
    loop.add_writer(of(left), lambda *arguments: (got.append(arguments), loop.stop()), "a")
    loop.run_forever()
    assert got == [("a",)]
    assert loop.remove_writer(of(left)) is True


def test_reader_is_called_again_until_everything_is_read(loop, pair):
    left, right = pair
    got = []

    def read():
        got.append(left.recv(1))
        if len(got) == 3:
            loop.stop()

    loop.add_reader(left, read)
    right.send(b"abc")
    loop.run_forever()
    loop.remove_reader(left)
    assert got == [b"a", b"b", b"c"]


def test_writer_waits_for_room(loop, pair):
    left, right = pair
    size = fill(left)
    order = []
    loop.add_writer(left, lambda: (order.append("room"), loop.remove_writer(left), loop.stop()))
    run_once(loop)
    assert order == []
    while size:
        size -= len(right.recv(65536))
    loop.run_forever()
    assert order == ["room"]


def test_a_second_add_replaces_the_callback(loop, pair):
    left, right = pair
    got = []
    loop.add_reader(left, got.append, "old")
    loop.add_reader(left, lambda: (got.append("new"), loop.stop()))
    right.send(b"x")
    loop.run_forever()
    assert got == ["new"]
    assert loop.remove_reader(left) is True
    assert loop.remove_reader(left) is False


def test_both_directions_are_independent(loop, pair):
    left, right = pair
    got = []
    loop.add_reader(left, got.append, "read")
    loop.add_writer(left, got.append, "write")
    run_once(loop)
    assert got == ["write"]
    right.send(b"x")
    got.clear()
    run_once(loop)
    assert got == ["read", "write"]
    assert loop.remove_writer(left) is True
    got.clear()
    run_once(loop)
    assert got == ["read"]
    assert loop.remove_reader(left) is True
    got.clear()
    run_once(loop)
    assert got == []


def test_removed_by_its_own_callback(loop, pair):
    left, right = pair
    got = []
    loop.add_reader(left, lambda: got.append(loop.remove_reader(left)))
    right.send(b"x")
    run_once(loop)
    run_once(loop)
    assert got == [True]


def test_removed_by_an_earlier_callback_of_the_same_iteration(loop, pair):
    left, right = pair
    got = []

    def callback(own, other):
        got.append(own)
        loop.remove_reader(other)

    loop.add_reader(left, callback, "left", right)
    loop.add_reader(right, callback, "right", left)
    left.send(b"x")
    right.send(b"x")
    run_once(loop)
    assert len(got) == 1


def test_a_writer_removed_by_the_reader_of_the_same_descriptor_does_not_run(loop, pair):
    left, right = pair
    got = []
    loop.add_reader(left, lambda: (got.append("read"), loop.remove_writer(left)))
    loop.add_writer(left, got.append, "write")
    right.send(b"x")
    run_once(loop)
    assert got == ["read"]
    loop.remove_reader(left)


def test_hang_up_wakes_both_directions(loop, pair):
    left, right = pair
    got = set()
    fill(left)
    loop.add_reader(left, got.add, "read")
    loop.add_writer(left, got.add, "write")
    right.close()
    run_once(loop)
    assert got == {"read", "write"}
    loop.remove_reader(left)
    loop.remove_writer(left)


def test_a_writer_is_woken_when_the_reading_end_of_a_pipe_goes(loop, pipe):
    read_end, write_end = pipe
    os.write(write_end.fileno(), b"x" * 65536)
    got = []
    loop.add_writer(write_end, got.append, "broken")
    run_once(loop)
    assert got == []
    read_end.close()
    run_once(loop)
    assert got == ["broken"]
    loop.remove_writer(write_end)


def test_a_reader_is_woken_at_the_end_of_a_pipe(loop, pipe):
    read_end, write_end = pipe
    got = []
    loop.add_reader(read_end, lambda: (got.append(read_end.read(1)), loop.stop()))
    write_end.close()
    loop.run_forever()
    assert got == [b""]
    loop.remove_reader(read_end)


@pytest.mark.parametrize("method", ["remove_reader", "remove_writer"])
def test_removing_what_was_never_added_says_false(loop, pair, method):
    assert getattr(loop, method)(pair[0]) is False


@pytest.mark.parametrize("bad", [-1, "0", None, 1.5, object, WithFileno(-1), WithFileno("x")])
@pytest.mark.parametrize("method", ["add_reader", "add_writer"])
def test_what_is_no_descriptor_is_refused_in_the_words_of_the_stdlib(loop, method, bad):
    def add(tried):
        getattr(tried, method)(bad, print)

    with pytest.raises((TypeError, ValueError)):
        add(loop)
    same_as_stdlib(loop, add)


@pytest.mark.parametrize("method", ["add_reader", "add_writer"])
def test_a_regular_file_is_refused(loop, tmp_path, method):
    with (tmp_path / "file").open("w") as file, pytest.raises(PermissionError):
        getattr(loop, method)(file, print)


@pytest.mark.parametrize("method", ["add_reader", "add_writer"])
def test_a_descriptor_that_is_not_open_is_refused(loop, method):
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    with pytest.raises(OSError, match="Bad file descriptor"):
        getattr(loop, method)(reader, print)


def test_a_descriptor_closed_while_watched_does_not_disturb_the_loop(loop):
    left, right = socket.socketpair()
    number = left.fileno()
    got = []
    loop.add_reader(number, got.append, "closed")
    left.close()
    right.close()
    run_once(loop)
    run_once(loop)
    assert got == []
    assert loop.remove_reader(number) is True
    assert loop.remove_reader(number) is False


@pytest.mark.hotloop_only
def test_a_number_used_again_after_a_close_without_remove_is_watched_anew(loop):
    # The stdlib loop believes that the number is still registered and never polls it.
    left, right = socket.socketpair()
    number = left.fileno()
    got = []
    loop.add_reader(number, got.append, "old")
    left.close()
    right.close()
    left, right = socket.socketpair()
    with left, right:
        assert left.fileno() == number
        loop.add_reader(number, lambda: (got.append("new"), loop.stop()))
        right.send(b"x")
        loop.run_forever()
        assert loop.remove_reader(number) is True
    assert got == ["new"]


def test_a_number_used_again_after_a_remove_is_watched_anew(loop):
    got = []
    for name in ("first", "second"):
        left, right = socket.socketpair()
        with left, right:
            loop.add_reader(left, lambda name=name: (got.append(name), loop.stop()))
            right.send(b"x")
            loop.run_forever()
            assert loop.remove_reader(left) is True
    assert got == ["first", "second"]


def test_one_descriptor_in_two_loops(loop, loop_factory, pair):
    left, right = pair
    other = loop_factory()
    got = []
    try:
        for name, each in (("one", loop), ("two", other)):
            each.add_reader(left, got.append, name)
        right.send(b"x")
        run_once(loop)
        run_once(other)
        assert got == ["one", "two"]
        assert other.remove_reader(left) is True
        run_once(loop)
        assert got == ["one", "two", "one"]
        loop.remove_reader(left)
    finally:
        other.close()


def test_a_callback_that_raises_is_reported_and_stays(loop, errors, pair):
    left, right = pair
    loop.add_reader(left, lambda: 1 / 0)
    right.send(b"x")
    run_once(loop)
    run_once(loop)
    assert [type(context["exception"]) for context in errors.take()] == [ZeroDivisionError] * 2
    loop.remove_reader(left)
