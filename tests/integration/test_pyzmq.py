"""pyzmq: its edge-triggered descriptor, watched by `add_reader`."""

import asyncio

import pytest

zmq = pytest.importorskip("zmq")
zmq_asyncio = pytest.importorskip("zmq.asyncio")


@pytest.fixture
def context():
    with zmq_asyncio.Context() as context:
        yield context


async def test_requests_and_replies(loop, context, unix_path):
    with context.socket(zmq.REP) as replier, context.socket(zmq.REQ) as requester:
        replier.bind(f"ipc://{unix_path}")
        requester.connect(f"ipc://{unix_path}")

        async def serve():
            for _ in range(200):
                await replier.send((await replier.recv())[::-1])

        serving = loop.create_task(serve())
        for number in range(200):
            await requester.send(b"%d" % number)
            assert await requester.recv() == (b"%d" % number)[::-1]
        await serving


async def test_a_burst_is_received_to_the_last_message(loop, context):
    with context.socket(zmq.PUSH) as pusher, context.socket(zmq.PULL) as puller:
        port = pusher.bind_to_random_port("tcp://127.0.0.1")
        puller.connect(f"tcp://127.0.0.1:{port}")
        sending = loop.create_task(send_all(pusher, 3000))
        got = [await puller.recv() for _ in range(3000)]
        assert got == [b"%d" % number for number in range(3000)]
        await sending


async def test_published_messages_reach_many_subscribers(loop, context):
    with context.socket(zmq.XPUB) as publisher:
        publisher.bind("inproc://news")
        subscribers = [context.socket(zmq.SUB) for _ in range(5)]
        for subscriber in subscribers:
            subscriber.connect("inproc://news")
            subscriber.subscribe(b"")
        publisher.setsockopt(zmq.XPUB_VERBOSE, 1)
        await publisher.recv()  # a subscription has come
        await publisher.send_multipart([b"news", b"hello"])
        assert await subscribers[0].recv_multipart() == [b"news", b"hello"]
        for subscriber in subscribers:
            subscriber.close(0)


async def send_all(socket, count):
    for number in range(count):
        await socket.send(b"%d" % number)
        if number % 500 == 0:
            await asyncio.sleep(0)
