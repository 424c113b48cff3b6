"""A soak: TCP, TLS, UDP, Unix sockets, children, timers, threads and cancellation, for as long as asked.

After a warm-up the process's resident memory, descriptors, tasks and threads must stay flat. A program of its own:

    python tests/attacks/soak.py --loop hotloop --seconds 60

prints a line of progress for each tenth and one line of JSON at the end; the exit status is 1 if anything grew.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import gc
import random
import ssl
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from attack_program import (
    CERTIFICATE,
    EXPECTED,
    count_descriptors,
    descriptors_left,
    end_if_it_hangs,
    finish,
    make_loop,
    option_parser,
    parse,
)

#: What the resident memory may gain between the end of the warm-up and the end, in KiB: the allocator's own steps.
SLACK_KIB = 16 * 1024


class Soak:
    """One run."""

    def __init__(self, seed: int, directory: str, leak: bool) -> None:
        self.choose = random.Random(seed)
        self.path = f"{directory}/socket"
        self.counts: collections.Counter[str] = collections.Counter()
        self.faults: collections.Counter[str] = collections.Counter()
        self.leak = leak
        self.leaked: list[object] = []
        self.server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.server_tls.load_cert_chain(CERTIFICATE)
        self.client_tls = ssl.create_default_context(cafile=CERTIFICATE)

    async def run(self, seconds: float, workers: int) -> dict[str, object]:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self.handle)
        # So few that all of them are there when the warm-up ends.
        loop.set_default_executor(ThreadPoolExecutor(2))

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while data := await reader.read(65536):
                    writer.write(data)
                    await writer.drain()
            except EXPECTED:
                pass
            finally:
                writer.close()

        async with (
            await asyncio.start_server(answer, "127.0.0.1", 0) as tcp,
            await asyncio.start_server(answer, "127.0.0.1", 0, ssl=self.server_tls) as tls,
            await asyncio.start_unix_server(answer, self.path),
        ):
            self.tcp = tcp.sockets[0].getsockname()
            self.tls = tls.sockets[0].getsockname()
            self.ends = time.monotonic() + seconds
            works = asyncio.gather(*(self.worker() for _ in range(workers)))
            measures = await self.watch(seconds)
            await works
        await asyncio.sleep(0)
        return measures

    async def watch(self, seconds: float) -> dict[str, object]:
        """Measure after the warm-up (three tenths) and at each tenth."""
        rows = []
        for tenth in range(10):
            await asyncio.sleep(seconds / 10)
            gc.collect()
            rows.append(self.measure())
            print(f"{(tenth + 1) * 10:3} %  {rows[-1]}", flush=True)
        early, late = rows[3:6], rows[7:]
        for name, slack in (
            ("resident KiB", SLACK_KIB),
            ("descriptors", 60),
            ("tasks", 60),
            ("threads", 0),
        ):
            # The least of each third: what comes and goes with the work is not growth.
            before, after = (min(row[name] for row in part) for part in (early, late))
            if after > before + slack:
                self.faults[f"{name} grew from {before} to {after}"] += 1
        return {"first": rows[3], "last": rows[-1]}

    def measure(self) -> dict[str, int]:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        fields = dict(line.split(":", 1) for line in status.splitlines())
        return {
            "resident KiB": int(fields["VmRSS"].split()[0]),
            "threads": int(fields["Threads"]),
            "descriptors": count_descriptors(),
            "tasks": len(asyncio.all_tasks()),
        }

    async def worker(self) -> None:
        loop = asyncio.get_running_loop()
        kinds = [self.over_tcp, self.over_tcp, self.over_unix, self.over_tls, self.over_udp]
        kinds += [self.timers, self.timers, self.threads]
        while time.monotonic() < self.ends:
            kind = self.choose.choice(kinds) if self.choose.random() > 0.02 else self.child
            task = loop.create_task(kind())
            cancel = None
            if self.choose.random() < 0.2:
                cancel = loop.call_later(self.choose.random() * 0.01, task.cancel)
            await asyncio.wait([task])
            if cancel is not None:
                cancel.cancel()
            self.counts[kind.__name__] += 1
            if self.leak:
                self.leaked.append(b"x" * 1_000_000)
            if task.cancelled():
                self.counts["cancelled"] += 1
            elif (error := task.exception()) is not None:
                if not isinstance(error, EXPECTED):
                    raise error
                self.counts[type(error).__name__] += 1

    def handle(self, loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        error = context.get("exception")
        if not isinstance(error, EXPECTED):
            self.faults[f"{context['message']}: {error!r}"] += 1

    async def exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for _ in range(self.choose.randrange(1, 5)):
                data = b"x" * self.choose.choice([10, 1000, 300_000])
                writer.write(data)
                async with asyncio.timeout(self.choose.choice([0.01, 5])):
                    await reader.readexactly(len(data))
        finally:
            writer.close()
        with contextlib.suppress(*EXPECTED):
            await writer.wait_closed()

    async def over_tcp(self) -> None:
        await self.exchange(*await asyncio.open_connection(*self.tcp))

    async def over_unix(self) -> None:
        await self.exchange(*await asyncio.open_unix_connection(self.path))

    async def over_tls(self) -> None:
        named = {"ssl": self.client_tls, "server_hostname": "localhost"}
        await self.exchange(*await asyncio.open_connection(*self.tls, **named))

    async def over_udp(self) -> None:
        loop = asyncio.get_running_loop()
        got = loop.create_future()

        class Receiver(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: object) -> None:
                if not got.done():
                    got.set_result(data)

        receiver, _ = await loop.create_datagram_endpoint(Receiver, local_addr=("127.0.0.1", 0))
        try:
            address = receiver.get_extra_info("sockname")
            sender, _ = await loop.create_datagram_endpoint(
                asyncio.DatagramProtocol, remote_addr=address
            )
            sender.sendto(b"x")
            sender.close()
            await asyncio.wait_for(got, 5)
        finally:
            receiver.close()

    async def timers(self) -> None:
        loop = asyncio.get_running_loop()
        handles = [loop.call_later(self.choose.random() * 100, int) for _ in range(100)]
        try:
            naps = [asyncio.sleep(self.choose.random() * 0.005) for _ in range(20)]
            await asyncio.gather(*naps)
        finally:
            for handle in handles:
                handle.cancel()

    async def threads(self) -> None:
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(None, sum, range(100)) == 4950

    async def child(self) -> None:
        process = await asyncio.create_subprocess_exec(
            "cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        try:
            out, _ = await process.communicate(b"x" * 100_000)
            assert len(out) == 100_000
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


def main(argv: list[str]) -> int:
    """Run the soak; return the exit status."""
    parser = option_parser(__doc__, "leak a megabyte with each exchange")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--workers", type=int, default=20)
    arguments = parse(parser, argv)
    end_if_it_hangs(arguments.seconds)
    loop = make_loop(arguments.loop, arguments.native_tasks)
    asyncio.set_event_loop(loop)  # where child watchers look for it, up to 3.11
    with tempfile.TemporaryDirectory() as directory, descriptors_left(loop) as left:
        soak = Soak(arguments.seed, directory, arguments.break_it)
        try:
            measures = loop.run_until_complete(soak.run(arguments.seconds, arguments.workers))
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            asyncio.set_event_loop(None)
    return finish(arguments, [*soak.faults, *left], **measures, counts=soak.counts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
