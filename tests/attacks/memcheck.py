"""A short mixed program for valgrind's memcheck, and the verdict on what memcheck found. A program of its own.

    python tests/attacks/memcheck.py --check
    python tests/attacks/memcheck.py --check --tests tests/test_handle.py tests/test_tls*.py

The first runs this file under `valgrind` with `PYTHONMALLOC=malloc` and prints the errors and the definitely lost blocks
that have a frame of `_core` in their stack; the exit status is 1 if there are any. The second does the same with our own
tests, each file in a process of its own (many times slower than without: a test that fails by a limit of time is named,
and is no error here). Without `valgrind` it says so and does nothing. `--break-it` does nothing but read freed memory,
on purpose. Nothing is random here: there is no seed.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from attack_program import CERTIFICATE, make_loop

#: The extension's name in a stack.
OURS = "_core"
#: The exit statuses of pytest if tests ran: all passed, or some failed.
RAN = (0, 1)
#: How near to the top of a stack a frame of ours makes the report ours.
NEAR = 8


async def streams(directory: str) -> None:
    """Over TCP, a Unix socket and TLS; then TLS from the middle of a connection on."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_tls.load_cert_chain(CERTIFICATE)
    client_tls = ssl.create_default_context(cafile=CERTIFICATE)
    limit = {"limit": 200_000}
    tcp = await asyncio.start_server(answer, "127.0.0.1", 0, **limit)
    tls = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=server_tls, **limit)
    unix = await asyncio.start_unix_server(answer, f"{directory}/socket", **limit)
    name = {"ssl": client_tls, "server_hostname": "localhost"}
    for opening in (
        lambda: asyncio.open_connection(*tcp.sockets[0].getsockname(), **limit),
        lambda: asyncio.open_unix_connection(f"{directory}/socket", **limit),
        lambda: asyncio.open_connection(*tls.sockets[0].getsockname(), **limit, **name),
    ):
        for _ in range(3):
            reader, writer = await opening()
            writer.writelines([b"x" * 100_000, b"\n"])
            assert len(await reader.readuntil(b"\n")) == 100_001
            writer.close()
            await writer.wait_closed()
    for server in (tcp, tls, unix):
        server.close()

    async def upgrade(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await writer.start_tls(server_tls)
        await answer(reader, writer)

    upgrading = await asyncio.start_server(upgrade, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*upgrading.sockets[0].getsockname())
    await writer.start_tls(client_tls, server_hostname="localhost")
    writer.write(b"x\n")
    assert await reader.readline() == b"x\n"
    cancelled = asyncio.ensure_future(reader.readline())
    await asyncio.sleep(0)
    cancelled.cancel()
    writer.close()
    await writer.wait_closed()
    upgrading.close()


async def mixed(loop: asyncio.AbstractEventLoop, directory: str) -> None:
    await streams(directory)
    receiver, _ = await loop.create_datagram_endpoint(
        asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
    )
    address = receiver.get_extra_info("sockname")
    sender, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=address)
    for _ in range(20):
        sender.sendto(b"x")
        await asyncio.sleep(0)
    sender.close()
    receiver.abort()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        receiving = loop.create_task(loop.sock_recv(ours, 100))
        await asyncio.sleep(0)
        await loop.sock_sendall(theirs, b"x")
        assert await receiving == b"x"
        receiving = loop.create_task(loop.sock_recv(ours, 100))
        await asyncio.sleep(0)
        receiving.cancel()
        loop.add_reader(ours, print)
        loop.remove_reader(ours)
    process = await asyncio.create_subprocess_exec("true", stdout=asyncio.subprocess.PIPE)
    await process.communicate()
    handles = [loop.call_later(100, print, number) for number in range(500)]
    for handle in handles:
        handle.cancel()
    await asyncio.gather(*(asyncio.sleep(0.001) for _ in range(50)))
    await loop.run_in_executor(None, sum, range(10))
    loop.call_soon(lambda: None)
    gc.collect()


def work(loop_name: str) -> None:
    """What is run under memcheck: on asyncio's tasks, and on hotloop's own."""
    for native_tasks in (False, True) if loop_name == "hotloop" else (False,):
        loop = make_loop(loop_name, native_tasks)
        asyncio.set_event_loop(loop)
        with tempfile.TemporaryDirectory() as directory:
            loop.run_until_complete(mixed(loop, directory))
        loop.run_until_complete(loop.shutdown_default_executor())
        asyncio.set_event_loop(None)
        loop.close()
        del loop
        gc.collect()


def check(break_it: bool, tests: list[str]) -> int:
    """Run the work, or files of tests, under memcheck; return the exit status."""
    if shutil.which("valgrind") is None:
        print("NOT RUN: there is no valgrind on this machine")
        return 0
    if not tests:
        status, bad = memcheck([__file__, *(["--break-it"] if break_it else [])])
        if status:
            print(f"the program itself failed with exit status {status}")
        return 1 if status or bad else 0
    pytest = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "faulthandler_timeout=0"]
    outcomes = [memcheck([*pytest, file]) for file in tests]
    return 1 if any(bad or status not in RAN for status, bad in outcomes) else 0


def memcheck(program: list[str]) -> tuple[int, int]:
    """Run Python with these arguments; return its exit status and how many reports are ours, which are printed."""
    with tempfile.TemporaryDirectory() as directory:
        # What a forked child does is not reported: it leaves no whole report if it is killed.
        options = ["--xml=yes", f"--xml-file={directory}/%p.xml", "--child-silent-after-fork=yes"]
        options += ["--leak-check=full", "--num-callers=40"]
        options += ["--show-leak-kinds=definite", "--errors-for-leak-kinds=definite"]
        environment = {**os.environ, "PYTHONMALLOC": "malloc"}
        command = ["valgrind", *options, sys.executable, *program]
        running = subprocess.Popen(command, env=environment)
        status = running.wait()
        found = list(ElementTree.parse(f"{directory}/{running.pid}.xml").iter("error"))
    ours = [error for error in found if is_ours(error)]
    for error in ours:
        print(error.findtext("kind"), error.findtext("what") or error.findtext("xwhat/text"))
        for frame in error.iter("frame"):
            where = Path(frame.findtext("obj") or "?").name
            print(f"    {frame.findtext('fn')}  {frame.findtext('file')}  [{where}]")
    name = Path(program[-1]).name
    print(
        f"{name}: {len(found)} reports of memcheck, {len(ours)} with a frame of {OURS}", flush=True
    )
    return status, len(ours)


def is_ours(error: ElementTree.Element) -> bool:
    """Whether the extension is near the top of the first stack: where it happened, or where a lost block was made.

    Deeper down it always is: it calls everything. (CPython 3.11 itself reads a slot that memcheck takes for not
    initialised when it collects garbage, on asyncio's loop as well.)
    """
    stack = error.find("stack")
    if stack is None:
        return False
    frames = [Path(frame.findtext("obj") or "").name for frame in stack.iter("frame")]
    return any(name.startswith(OURS) for name in frames[:NEAR])


def main(argv: list[str]) -> int:
    """Run, or be run; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--loop", default="hotloop", help="hotloop, asyncio or uvloop")
    parser.add_argument("--check", action="store_true", help="run under valgrind, and judge")
    parser.add_argument("--break-it", action="store_true", help="a handle is freed too early")
    parser.add_argument("--tests", nargs="+", default=[], help="with --check: files of pytest")
    arguments = parser.parse_args(argv)
    if arguments.check:
        return check(arguments.break_it, arguments.tests)
    if arguments.break_it:
        break_handle(arguments.loop)
    else:
        work(arguments.loop)
    return 0


def break_handle(loop_name: str) -> None:
    """The deliberate fault: give away a reference to a callback that the loop holds."""
    loop = make_loop(loop_name)
    callback = type("Callback", (), {"__call__": lambda self: None})()
    loop.call_soon(callback)
    ctypes.pythonapi.Py_DecRef(ctypes.py_object(callback))
    del callback  # freed, though the queue has it
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
