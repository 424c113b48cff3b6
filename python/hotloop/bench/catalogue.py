"""The catalogue: every scenario, what is measured of it and what is wanted.

A target is the least ratio to uvloop that the project sets itself on CPython 3.13.
"""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024

PER_SECOND = "per_second"
MILLISECONDS = "milliseconds"
BYTES = "bytes"
CPU_MICROSECONDS = "cpu_us"
# Which part of the CPUs a measurement did without, and how much of it makes a disturbed one.
STOLEN = "stolen"
MOST_STOLEN = 0.03


@dataclass(frozen=True)
class Scenario:
    """One row.

    :ivar name: how the command line and JSON call it (str).
    :ivar title: how tables and charts call it (str).
    :ivar group: the chart and table that it belongs to (str).
    :ivar target: the least ratio to uvloop (float), or None.
    :ivar quick: whether ``--quick`` runs it.
    """

    name: str
    title: str
    group: str
    target: float | None = None
    quick: bool = False

    @property
    def metric(self) -> str:
        """What the ratio is made of (str)."""
        return PER_SECOND

    @property
    def higher_is_better(self) -> bool:
        """In which direction better is."""
        return self.metric == PER_SECOND


@dataclass(frozen=True)
class Local(Scenario):
    """A program that times itself.

    :ivar program: its name in `local.programs()` (str).
    :ivar waits: whether it waits for something else than its CPU.
    :ivar own_tasks: whether it runs with the tasks and futures of the loop, if it has some.
    :ivar helper: a server that it needs (str), see measurements.py.
    :ivar needs: modules (str) without which it is skipped.
    """

    program: str = ""
    waits: bool = False
    own_tasks: bool = False
    helper: str = ""
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Served(Scenario):
    """A server under load.

    :ivar server: the module and the program (str) of the server.
    :ivar mode: of the load generator (str).
    :ivar floor: the floor server's mode and options (str), empty if there is none.
    :ivar size, connections, idle: options of the load (int); 0 leaves its default.
    :ivar native: whether only the native load generator can do it.
    :ivar by_cpu: whether the ratio is made of the server's CPU for an operation, because the load
        needs about as much as the server, which idles meanwhile: operations per second would
        compare the load with itself.
    """

    server: tuple[str, str] = ("servers", "echo")
    mode: str = "echo"
    floor: tuple[str, ...] = ()
    size: int = 0
    connections: int = 10
    idle: int = 0
    line: bool = False
    unix: bool = False
    tls: bool = False
    needs: tuple[str, ...] = ()
    native: bool = False
    by_cpu: bool = False

    @property
    def metric(self) -> str:
        """Operations per second, or the CPU of one."""
        return CPU_MICROSECONDS if self.by_cpu else PER_SECOND


@dataclass(frozen=True)
class Memory(Scenario):
    """What an idle connection costs a server in resident memory.

    :ivar connections: how many are looked at (int).
    """

    connections: int = 10_000
    tls: bool = False

    @property
    def metric(self) -> str:
        """Bytes a connection."""
        return BYTES


@dataclass(frozen=True)
class Startup(Scenario):
    """The time from importing the loop to the end of its first run."""

    @property
    def metric(self) -> str:
        """Milliseconds."""
        return MILLISECONDS


SCHEDULING, OWN_TASKS, TREES, WAITING, STREAMS, OTHER, PROGRAMS, TLS, COSTS = (
    "Scheduling",
    "Own tasks",
    "Trees of tasks",
    "Waiting for the world",
    "TCP",
    "Other sockets and connections",
    "Frameworks",
    "TLS",
    "Start and memory",
)


def _local(
    group: str,
    name: str,
    title: str,
    target: float | None,
    quick: bool = False,
    waits: bool = False,
) -> Local:
    return Local(name, title, group, target, quick, program=name, waits=waits)


def _own(name: str, title: str, target: float | None = None, group: str = OWN_TASKS) -> Local:
    """The row *name* once more, with the tasks of hotloop where the others have asyncio's."""
    return Local(
        f"own_{name}", f"own tasks: {title}", group, target,
        program=name, waits=group == TREES, own_tasks=True,
    )  # fmt: skip


def _trees(way: str, waiting_for_children: str) -> tuple[Local, ...]:
    """The rows of one way to wait for children, each with asyncio's tasks and with our own."""
    rows = []
    for workload in ("none", "io", "memoization", "mixed"):
        name, title = f"{way}_{workload}", f"tree of {waiting_for_children}, {workload}"
        rows.append(_local(TREES, name, title, 1.15, waits=True))
        rows.append(_own(name, title, 1.3, TREES))
    return tuple(rows)


def _echo(
    name: str, title: str, target: float | None, connections: int = 10, size: int = KIB
) -> Served:
    return Served(
        name, title, STREAMS, target, name == "echo", connections=connections, size=size,
        floor=("floor-echo",),
    )  # fmt: skip


def _tls(name: str, title: str, target: float, size: int) -> Served:
    floor = ("floor-echo", "--tls")
    return Served(name, title, TLS, target, size == KIB, tls=True, size=size, floor=floor)


SCENARIOS: tuple[Scenario, ...] = (
    _local(SCHEDULING, "call_soon", "call_soon chain", 4.5, quick=True),
    _local(SCHEDULING, "call_soon_watched", "call_soon chain, a socket watched", None),
    _local(SCHEDULING, "call_soon_many", "call_soon, 1000 at a time", 1.6),
    _local(SCHEDULING, "call_soon_arguments", "call_soon with 3 arguments", 4.2),
    _local(SCHEDULING, "call_later", "call_later(0) chain", 2.2, quick=True),
    _local(SCHEDULING, "timers_10k", "timer set + cancelled, 10 k others", 3.5, quick=True),
    _local(SCHEDULING, "timers_200k", "timer set + cancelled, 200 k others", None),
    _local(SCHEDULING, "sleep0", "sleep(0)", 2.8, quick=True),
    _local(SCHEDULING, "sleep0_watched", "sleep(0), a socket watched", None),
    _local(SCHEDULING, "task", "create + await a task", 2.2, quick=True),
    _local(SCHEDULING, "gather", "gather of 100", 1.5),
    _local(SCHEDULING, "future", "future round trip", 2.7, quick=True),
    _local(SCHEDULING, "queue", "queue ping-pong", 1.7),
    _local(SCHEDULING, "timeout", "asyncio.timeout around sleep(0)", 1.8),
    _local(SCHEDULING, "sleeps", "100 k sleeps at once", 1.5),
    _local(SCHEDULING, "threadsafe", "call_soon_threadsafe from a thread", 2.3, quick=True),
    _own("sleep0", "sleep(0)", 3),
    _own("task", "create + await a task", 2.5),
    _own("gather", "gather of 100"),
    _own("queue", "queue ping-pong"),
    *_trees("tree", "gathers"),
    *_trees("groups", "task groups"),
    _local(WAITING, "executor", "run_in_executor round trip", 1.4, waits=True),
    _local(WAITING, "add_reader", "add_reader ping over a socket pair", 1.4, quick=True),
    _local(WAITING, "sock_pair", "sock_* to and fro in one process", None),
    _local(WAITING, "connect", "connect + accept + close, one process", 1.4, quick=True),
    _local(WAITING, "spawn", "subprocess spawn + wait", 7, waits=True, quick=True),
    _local(WAITING, "resolve_literal", "getaddrinfo of a literal", 3, waits=True),
    _local(WAITING, "resolve_localhost", "getaddrinfo of localhost", 1.3, waits=True),
    _echo("echo_1", "echo 1 KiB, 1 connection", 1.06, connections=1),
    _echo("echo", "echo 1 KiB, 10 connections", 1.10),
    _echo("echo_100", "echo 1 KiB, 100 connections", 1.02, connections=100),
    _echo("echo_1000", "echo 1 KiB, 1000 connections", 1.02, connections=1000),
    _echo("echo_100k", "echo 100 KiB, 10 connections", 1.06, size=100 * KIB),
    Served(
        "echo_idle", "echo 1 KiB, 10 of 10 000 active", STREAMS,
        size=KIB, idle=9_990, floor=("floor-echo",),
    ),
    Served(
        "buffered", "buffered protocol, 1 KiB", STREAMS, 1.2,
        size=KIB, server=("servers", "buffered"), floor=("floor-echo",),
    ),
    Served(
        "streams", "asyncio's streams, 1 KiB lines", STREAMS, 1.15, True,
        size=KIB, line=True, server=("servers", "streams"), floor=("floor-echo",),
    ),
    Served(
        "own_streams", "the loop's own streams, 1 KiB lines", STREAMS, 1.7,
        size=KIB, line=True, server=("servers", "own_streams"), floor=("floor-echo",),
    ),
    Served(
        "sock", "sock_recv + sock_sendall echo, 1 KiB", OTHER, 3.3,
        size=KIB, server=("servers", "sock"), floor=("floor-echo",),
    ),
    Served(
        "unix", "Unix stream echo, 1 KiB", OTHER, 1.1, True,
        size=KIB, unix=True, floor=("floor-echo",),
    ),
    Served(
        "udp", "UDP echo 64 B, 10 sockets × 16 in flight", OTHER, 1.7, True,
        size=64, mode="udp", server=("servers", "udp"), floor=("floor-udp",),
    ),
    Served(
        "visit", "accept + one request + close", OTHER, 1.3, True,
        size=KIB, mode="visit", server=("servers", "once"), floor=("floor-echo", "--once"),
    ),
    Served(
        "storm", "the same, 500 connecting at once", OTHER,
        size=KIB, mode="visit", connections=500, server=("servers", "once"), native=True,
        floor=("floor-echo", "--once"),
    ),
    Served(
        "http", "HTTP over a bare protocol, 50 connections", PROGRAMS, 1.1, True,
        mode="http", connections=50, server=("servers", "http"), floor=("floor-http",),
    ),
    Served(
        "uvicorn", "uvicorn + httptools, hello world", PROGRAMS, 1.05, True,
        mode="http", connections=50, server=("web", "uvicorn"), needs=("uvicorn", "httptools"),
    ),
    Served(
        "aiohttp_server", "aiohttp server, hello world", PROGRAMS, 1.03,
        mode="http", connections=50, server=("web", "aiohttp_server"), needs=("aiohttp",),
    ),
    Local(
        "aiohttp_client", "aiohttp client, 50 at once", PROGRAMS, 1.03,
        program="aiohttp_client", waits=True, helper="http", needs=("aiohttp",),
    ),
    Local(
        "redis_client", "redis-py, pipelined queries", PROGRAMS, 1.03,
        program="redis_client", waits=True, helper="redis", needs=("redis",),
    ),
    _tls("tls", "TLS echo 1 KiB", 2.8, KIB),
    _tls("tls_16k", "TLS echo 16 KiB", 2.0, 16 * KIB),
    _tls("tls_100k", "TLS echo 100 KiB", 2.3, 100 * KIB),
    Served(
        "tls_streams", "asyncio's streams over TLS, 1 KiB lines", TLS, 1.9,
        size=KIB, line=True, tls=True, server=("servers", "streams"),
        floor=("floor-echo", "--tls"),
    ),
    Served(
        "tls_own_streams", "the loop's own streams over TLS, 1 KiB lines", TLS,
        size=KIB, line=True, tls=True, server=("servers", "own_streams"),
        floor=("floor-echo", "--tls"),
    ),
    Served(
        "handshake", "TLS handshake + one request + close: CPU", TLS, 1.2,
        size=64, mode="visit", tls=True, server=("servers", "once"), by_cpu=True,
        floor=("floor-echo", "--once", "--tls"),
    ),
    Startup("startup", "import + first run", COSTS, 1.5, True),
    Memory("memory", "memory of an idle connection", COSTS, 1.0),
    Memory("memory_tls", "memory of an idle TLS connection", COSTS, connections=500, tls=True),
)  # fmt: skip

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
GROUPS = tuple(dict.fromkeys(scenario.group for scenario in SCENARIOS))
