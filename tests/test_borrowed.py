"""Parts that come from the running Python over our ``add_reader``: one real exchange each."""

import asyncio
import os
import signal
import socket
import sys
import threading

import pytest


async def test_pipes(loop):
    reader_end, writer_end = os.pipe()
    reader = asyncio.StreamReader()
    reading, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reader_end, "rb", 0)
    )
    writing, protocol = await loop.connect_write_pipe(
        asyncio.streams.FlowControlMixin, os.fdopen(writer_end, "wb", 0)
    )
    assert isinstance(reading, asyncio.ReadTransport)
    assert isinstance(writing, asyncio.WriteTransport)
    data = bytes(1 << 20)
    writing.write(data)
    writing.write_eof()
    assert await reader.read() == data
    assert protocol is not None
    reading.close()
    await asyncio.sleep(0)


async def test_subprocess_with_pipes(loop):
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "import sys; sys.stdout.write(sys.stdin.read().upper()); sys.exit(3)",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await child.communicate(b"through pipes")
    assert (out, child.returncode) == (b"THROUGH PIPES", 3)


async def test_subprocess_by_the_shell(loop):
    child = await asyncio.create_subprocess_shell("echo out; echo err >&2", stdout=-1, stderr=-1)
    assert await child.communicate() == (b"out\n", b"err\n")
    assert child.returncode == 0


async def test_subprocess_that_is_killed(loop):
    child = await asyncio.create_subprocess_exec("sleep", "1000")
    child.kill()
    assert await child.wait() == -signal.SIGKILL


async def test_several_subprocesses_at_once(loop):
    async def exit_status(status):
        child = await asyncio.create_subprocess_shell(f"exit {status}")
        return await child.wait()

    statuses = list(range(8))
    assert await asyncio.gather(*map(exit_status, statuses)) == statuses


async def test_a_program_that_is_not_there(loop):
    with pytest.raises(FileNotFoundError):
        await asyncio.create_subprocess_exec("/does/not/exist")


async def test_run_in_executor(loop):
    def work(left, right):
        assert threading.get_ident() != main_thread
        return left + right

    main_thread = threading.get_ident()
    assert await loop.run_in_executor(None, work, 1, 2) == 3
    assert await asyncio.to_thread(work, 3, 4) == 7
    with pytest.raises(ZeroDivisionError):
        await loop.run_in_executor(None, lambda: 1 / 0)


async def test_executor_after_its_shutdown(loop):
    await loop.run_in_executor(None, int)
    await loop.shutdown_default_executor()
    with pytest.raises(RuntimeError, match=r"^Executor shutdown has been called$"):
        loop.run_in_executor(None, int)


async def test_getaddrinfo_and_getnameinfo(loop):
    options = {"family": socket.AF_INET, "type": socket.SOCK_STREAM}
    for host in ("127.0.0.1", "localhost"):
        expected = socket.getaddrinfo(host, 80, **options)
        assert await loop.getaddrinfo(host, 80, **options) == expected
    numeric = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    assert await loop.getnameinfo(("127.0.0.1", 80), numeric) == ("127.0.0.1", "80")


async def test_getaddrinfo_of_a_bad_name_raises(loop):
    # With this flag nobody is asked: what is no address is an error (getaddrinfo(3)).
    with pytest.raises(socket.gaierror):
        await loop.getaddrinfo("localhost", 80, flags=socket.AI_NUMERICHOST)


async def test_sock_sendfile(loop, pair, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"0123456789" * 1000)
    left, right = pair
    with path.open("rb") as file:
        assert await loop.sock_sendfile(left, file, 5, 10) == 10
    assert await loop.sock_recv(right, 100) == b"5678901234"


async def test_timeouts_and_task_groups(loop):
    results = []

    async def work(number):
        await asyncio.sleep(number / 1000)
        results.append(number)

    async with asyncio.TaskGroup() as group:
        for number in (2, 0, 1):
            group.create_task(work(number))
    assert results == [0, 1, 2]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(loop.create_future(), 0.001)
