"""redis-py against a real Redis: commands, pipelines, publish and subscribe, blocking reads."""

import asyncio

import pytest
import services

redis = pytest.importorskip("redis.asyncio")


@pytest.fixture(scope="module")
def server():
    with services.redis() as path:
        yield path


@pytest.fixture
def client(server):
    return redis.Redis(unix_socket_path=str(server))


async def test_commands_and_pipelines(loop, client):
    async with client:
        big = bytes(range(256)) * 8192  # 2 MiB
        await client.set("big", big)
        assert await client.get("big") == big
        async with client.pipeline(transaction=True) as pipeline:
            for number in range(1000):
                pipeline.rpush("list", number)
            assert await pipeline.execute() == list(range(1, 1001))
        assert await client.lrange("list", 0, -1) == [b"%d" % number for number in range(1000)]


async def test_many_tasks_share_the_pool(loop, client):
    async with client:
        await asyncio.gather(*(client.incr("counter") for _ in range(50)))
        assert await client.get("counter") == b"50"


async def test_what_is_published_arrives(loop, client):
    async with client, client.pubsub() as subscription:
        await subscription.subscribe("news")
        assert (await anext(subscription.listen()))["type"] == "subscribe"
        assert await client.publish("news", b"hello") == 1
        assert (await anext(subscription.listen()))["data"] == b"hello"


async def test_a_blocking_read_is_woken_by_a_push(loop, client):
    async with client:
        waiting = loop.create_task(client.blpop(["queue"], timeout=20))
        await client.rpush("queue", b"work")
        assert await waiting == (b"queue", b"work")
