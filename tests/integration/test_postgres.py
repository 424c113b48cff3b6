"""asyncpg against a real PostgreSQL: queries, transactions, COPY, notifications, a pool, cancelling."""

import asyncio

import pytest
import services

asyncpg = pytest.importorskip("asyncpg")


@pytest.fixture(scope="module")
def server():
    with services.postgres() as directory:
        yield directory


@pytest.fixture
def connect(server):
    return lambda: asyncpg.connect(host=str(server), user="tests", database="postgres")


async def test_rows_transactions_and_copy(loop, connect):
    connection = await connect()
    try:
        await connection.execute("CREATE TEMP TABLE t (number int, text text)")
        rows = [(number, "x" * (number % 100)) for number in range(20_000)]
        await connection.copy_records_to_table("t", records=rows)
        assert await connection.fetchval("SELECT count(*) FROM t") == len(rows)
        assert await connection.fetch("SELECT * FROM t ORDER BY number") == rows
        with pytest.raises(ZeroDivisionError):
            async with connection.transaction():
                await connection.execute("DELETE FROM t")
                raise ZeroDivisionError
        assert await connection.fetchval("SELECT sum(number) FROM t") == sum(range(20_000))
    finally:
        await connection.close()


async def test_a_pool_serves_many_tasks(loop, server):
    options = {"host": str(server), "user": "tests", "database": "postgres"}
    async with asyncpg.create_pool(min_size=2, max_size=8, **options) as pool:

        async def work(number):
            async with pool.acquire() as connection:
                return await connection.fetchval("SELECT $1::int * 2", number)

        assert await asyncio.gather(*map(work, range(200))) == [2 * n for n in range(200)]


async def test_notifications_arrive(loop, connect):
    listener, sender = await connect(), await connect()
    try:
        got = loop.create_future()
        await listener.add_listener("news", lambda *arguments: got.set_result(arguments[-1]))
        await sender.execute("NOTIFY news, 'hello'")
        assert await got == "hello"
    finally:
        await listener.close()
        await sender.close()


async def test_a_query_that_takes_too_long_is_cancelled_on_the_server(loop, connect):
    connection = await connect()
    try:
        with pytest.raises(TimeoutError):
            await connection.execute("SELECT pg_sleep(60)", timeout=0.05)
        assert await connection.fetchval("SELECT 1") == 1
    finally:
        await connection.close()
