"""Descriptors that a transport owns are refused by ``add_reader`` and its kin."""

import asyncio

import pytest

from helpers import connected


@pytest.mark.parametrize("call", ["add_reader", "add_writer", "remove_reader", "remove_writer"])
def test_a_descriptor_of_a_transport_is_refused(loop, call):
    async def main():
        async with connected() as pair:
            sock = pair.transport.get_extra_info("socket")
            callback = [print] if call.startswith("add") else []
            for fileobj in (sock.fileno(), sock):
                with pytest.raises(RuntimeError) as caught:
                    getattr(loop, call)(fileobj, *callback)
                words = f"File descriptor {fileobj!r} is used by transport {pair.transport!r}"
                assert str(caught.value) == words

    loop.run_until_complete(main())


@pytest.mark.parametrize("call", ["sock_recv", "sock_sendall"])
def test_sock_methods_refuse_the_socket_of_a_transport(loop, call):
    async def main():
        async with connected() as pair:
            number = pair.transport.get_extra_info("socket").fileno()
            with pytest.raises(RuntimeError, match=f"^File descriptor {number} is used by"):
                sock = FakeSocket(number)
                argument = 1 if call == "sock_recv" else b"x"
                await getattr(loop, call)(sock, argument)

    loop.run_until_complete(main())


class FakeSocket:
    """A socket whose every call would block, over a descriptor that a transport owns."""

    def __init__(self, number):
        self.number = number

    def fileno(self):
        return self.number

    def gettimeout(self):
        return 0.0

    def recv(self, size):
        raise BlockingIOError

    def send(self, data):
        raise BlockingIOError


def test_the_descriptor_is_free_again_after_the_transport_is_closed(loop, pair):
    async def main():
        left, _ = pair
        duplicate = left.dup()
        number = duplicate.fileno()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=duplicate)
        transport.abort()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        with left.dup() as again:
            assert again.fileno() == number
            loop.add_reader(number, print)
            assert loop.remove_reader(number) is True

    loop.run_until_complete(main())
