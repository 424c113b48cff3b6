"""One measurement each: a scheduling scenario, the echo, the web server. All in child processes."""

from __future__ import annotations

from dataclasses import dataclass

from machine import Cpus
from processes import ChildFailed, Server, run_to_end, script

# The bare epoll echo server of the load generator, which stands in for a loop in `echo`.
FLOOR = "floor"

SCHEDULING_SECONDS = 0.5
# A measurement that got less of its CPU than this is repeated, a few times at most.
UNDISTURBED_SHARE = 0.97
ATTEMPTS = 3
WARMUP_SECONDS = 0.3


@dataclass(frozen=True)
class Served:
    """What a server under closed-loop load did.

    :ivar per_second: finished operations a second (float).
    :ivar p50_us: the median latency of one, in microseconds (float).
    :ivar p99_us: the 99th percentile of it, in microseconds (float).
    :ivar cpu_us: the server's user plus system time for one, in microseconds (float).
    """

    per_second: float
    p50_us: float
    p99_us: float
    cpu_us: float


def scheduling(scenario: str, loop: str, cpus: Cpus) -> float:
    """Operations a second (float) of a scenario of scheduling.py, by name (str), on a loop.

    Of disturbed attempts, the least disturbed counts.

    :raises ChildFailed: if the loop fails or hangs.
    """
    command = script("scheduling.py", "--scenario", scenario, "--loop", loop)
    command += ["--seconds", str(SCHEDULING_SECONDS), "--cpu", str(cpus.measured)]
    best = {"cpu_share": 0.0}
    for _ in range(ATTEMPTS):
        best = max(best, run_to_end(command), key=lambda result: result["cpu_share"])
        if best["cpu_share"] >= UNDISTURBED_SHARE:
            break
    return float(best["per_second"])


def echo(
    loop: str, program: str, cpus: Cpus, *, seconds: float, connections: int, size: int
) -> Served:
    """Echo messages of *size* bytes (int) over *connections* (int) for *seconds* (float).

    :param loop: a loop's name (str), or `FLOOR`.
    :param program: the path of the load generator (str).
    :raises ChildFailed: if the server fails, or a reply is not what was sent.
    """
    cpu = ["--cpu", str(cpus.measured)]
    if loop == FLOOR:
        server = [program, "floor-echo", *cpu]
    else:
        server = script("echo_server.py", "--loop", loop, *cpu)
    load = ["--connections", str(connections), "--size", str(size), "--duration", str(seconds)]
    return _serve(server, [program, "echo", *load], cpus)


def web(loop: str, program: str, cpus: Cpus, *, seconds: float, connections: int) -> Served:
    """GET requests to uvicorn over *connections* (int) for *seconds* (float).

    :param loop: a loop's name (str).
    :param program: the path of the load generator (str).
    :raises ChildFailed: if the server fails or answers anything but 200.
    """
    server = script("asgi_server.py", "--loop", loop, "--cpu", str(cpus.measured))
    load = ["--connections", str(connections), "--duration", str(seconds)]
    return _serve(server, [program, "http", *load], cpus)


def _serve(server_command: list[str], load_command: list[str], cpus: Cpus) -> Served:
    with Server(server_command) as server:
        address = f"127.0.0.1:{server.ready['port']}"
        load = [*load_command, "--tcp", address, "--cpu", str(cpus.load)]
        try:
            result = run_to_end([*load, "--warmup", str(WARMUP_SECONDS)])
        except ChildFailed as error:
            wrote = server.errors()
            also = f"\n  and the server wrote:{wrote}" if wrote else ""
            raise ChildFailed(f"{error}{also}") from None
        used = server.stop()
    if result["errors"] or result["interrupted"]:
        why = result["first_error"] or "the load generator was interrupted"
        raise ChildFailed(f"{result['errors']} errors under load; the first: {why}")
    return Served(
        per_second=result["per_second"],
        p50_us=result["p50_us"],
        p99_us=result["p99_us"],
        # The server's time includes the warm-up, and so do these operations.
        cpu_us=used["cpu_seconds"] / result["all_operations"] * 1e6,
    )
