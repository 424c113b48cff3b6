"""One measurement of each kind. Everything that is measured is a fresh child process."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .catalogue import (
    BYTES,
    MILLISECONDS,
    MOST_STOLEN,
    PER_SECOND,
    STOLEN,
    Local,
    Memory,
    Scenario,
    Served,
    Startup,
)
from .machine import Cpus, Load, stolen_seconds
from .processes import HERE, ChildFailed, Server, Skipped, program, run_to_end

# The bare servers of the load generator, which stand in for a loop.
FLOOR = "floor"

# A disturbed measurement is repeated, until there were so many.
ATTEMPTS = 3
STARTS = 5
# Connections that are open before memory is looked at, so that what there is once is there.
FIRST_CONNECTIONS = 10

CERTIFICATE = HERE / "localhost.pem"

Values = dict[str, float]


@dataclass(frozen=True)
class Setting:
    """How everything is measured.

    :ivar seconds: of one measurement (float), and `warmup` before it.
    :ivar connections: at most so many are open (int), because of a limit of descriptors.
    """

    load: Load
    cpus: Cpus
    seconds: float
    warmup: float
    connections: int


def measure(scenario: Scenario, loop: str, setting: Setting) -> Values:
    """The values (float, by name) of one scenario on the loop named *loop* (str), or `FLOOR`.

    :raises ChildFailed: if the loop fails or hangs, or a reply is not what was sent.
    :raises Skipped: if something that the scenario needs is not there.
    """
    for module in getattr(scenario, "needs", ()):
        if importlib.util.find_spec(module) is None:
            raise Skipped(f"the package {module} is not installed")
    match scenario:
        case Local():
            return local(scenario, loop, setting)
        case Served():
            return served(scenario, loop, setting)
        case Memory():
            return memory(scenario, loop, setting)
        case Startup():
            return startup(loop, setting)
    raise TypeError(scenario)


def has_floor(scenario: Scenario, load: Load) -> bool:
    """Whether there is a bare server to compare with."""
    if not isinstance(scenario, Served) or not scenario.floor or not load.native:
        return False
    return load.tls or not scenario.tls


def local(scenario: Local, loop: str, setting: Setting) -> Values:
    """Run a program that times itself. Of disturbed attempts, the least disturbed counts."""
    command = program("local", "--program", scenario.program, "--loop", loop)
    command += ["--seconds", str(setting.seconds), "--cpu", str(setting.cpus.measured)]
    if scenario.own_tasks:
        command.append("--own-tasks")
    with helper(scenario.helper, setting) as environment:

        def attempt() -> dict[str, Any]:
            return run_to_end(command, environment=environment)

        def busy_attempt() -> dict[str, Any]:
            values = attempt()
            return {**values, STOLEN: max(0.0, 1 - float(values["cpu_share"]))}

        if scenario.waits:
            best = least_disturbed(attempt, setting.cpus)
        else:
            best = first_undisturbed(busy_attempt)
    names = (PER_SECOND, "cpu_us", "user_us", STOLEN)
    return {name: float(best[name]) for name in names if name in best}


def least_disturbed(attempt: Callable[[], dict[str, Any]], cpus: Cpus) -> dict[str, Any]:
    """Of a few attempts, the first one that other machines left the *cpus* to, or the most.

    :returns: what it gave, and under `STOLEN` which part (float) of the CPUs' time was taken.
    """

    def watched() -> dict[str, Any]:
        begun, stolen = time.monotonic(), stolen_seconds(cpus)
        values = attempt()
        taken = time.monotonic() - begun
        values[STOLEN] = (stolen_seconds(cpus) - stolen) / taken / (1 if cpus.shared else 2)
        return values

    return first_undisturbed(watched)


def first_undisturbed(attempt: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What the first of a few attempts gave that was not disturbed, by its `STOLEN`, or the least disturbed."""
    best = attempt()
    for _ in range(ATTEMPTS - 1):
        if best[STOLEN] <= MOST_STOLEN:
            break
        best = min(best, attempt(), key=lambda values: float(values[STOLEN]))
    return best


def served(scenario: Served, loop: str, setting: Setting) -> Values:
    """Put a server under load."""
    if scenario.native and not setting.load.native:
        raise Skipped("needs the native load generator")
    require(setting, scenario.tls, scenario.connections + scenario.idle)
    with tempfile.TemporaryDirectory(prefix="hotloop-bench-") as folder:
        path = str(Path(folder) / "socket") if scenario.unix else None
        with Server(server_command(scenario, loop, setting, path)) as server:
            command = load_command(scenario, setting, server)
            result = least_disturbed(lambda: under_load(command, server, scenario), setting.cpus)
            resident = server.resident_bytes()
            server.stop()
    names = (PER_SECOND, "cpu_us", "user_us", "p50_us", "p99_us", "p999_us", "errors", STOLEN)
    values = {name: float(result[name]) for name in names if result[name] is not None}
    return {**values, "resident_bytes": float(resident)}


def server_command(scenario: Served, loop: str, setting: Setting, path: str | None) -> list[str]:
    """The command (list of str) of the server: on a loop, or bare."""
    cpu = ["--cpu", str(setting.cpus.measured)]
    where = ["--unix", path] if path else []
    if loop == FLOOR:
        mode = list(scenario.floor)
        if scenario.tls:
            mode.insert(mode.index("--tls") + 1, str(CERTIFICATE))
        return [*setting.load.command, *mode, *where, *cpu]
    module, name = scenario.server
    tls = ["--tls"] if scenario.tls else []
    return program(module, "--program", name, "--loop", loop, *where, *tls, *cpu)


def load_command(scenario: Served, setting: Setting, server: Server) -> list[str]:
    """The command (list of str) of the load on *server*, which is ready."""
    command = [*setting.load.command, scenario.mode, *address(scenario, server)]
    command += ["--connections", str(scenario.connections), "--cpu", str(setting.cpus.load)]
    command += ["--duration", str(setting.seconds), "--warmup", str(setting.warmup)]
    command += ["--server-pid", str(server.pid)]
    if scenario.size:
        command += ["--size", str(scenario.size)]
    if scenario.idle:
        command += ["--idle", str(scenario.idle)]
    if scenario.line:
        command.append("--line")
    if scenario.tls:
        command.append("--tls")
    return command


def address(scenario: Scenario, server: Server) -> list[str]:
    """Where *server* is, as options (list of str) of the load generator."""
    if "path" in server.ready:
        return ["--unix", str(server.ready["path"])]
    kind = "--udp" if getattr(scenario, "mode", "") == "udp" else "--tcp"
    return [kind, f"127.0.0.1:{server.ready['port']}"]


def under_load(command: list[str], server: Server, scenario: Served) -> dict[str, Any]:
    """Run the load; what the server wrote goes into the error, if there is one."""
    try:
        result = run_to_end(command)
    except ChildFailed as error:
        wrote = server.errors()
        also = f"\n  and the server wrote:{wrote}" if wrote else ""
        raise ChildFailed(f"{error}{also}") from None
    # A datagram may be lost; anything else that goes wrong makes the numbers worthless.
    if result["interrupted"] or (result["errors"] and scenario.mode != "udp"):
        why = result["first_error"] or "the load generator was interrupted"
        raise ChildFailed(f"{result['errors']} errors under load; the first: {why}")
    return result


def memory(scenario: Memory, loop: str, setting: Setting) -> Values:
    """Resident bytes that one of many idle connections adds to a server."""
    require(setting, scenario.tls, scenario.connections + FIRST_CONNECTIONS)
    tls = ["--tls"] if scenario.tls else []
    cpu = str(setting.cpus.measured)
    with Server(
        program("servers", "--program", "echo", "--loop", loop, *tls, "--cpu", cpu)
    ) as server:
        hold = [*setting.load.command, "hold", *address(scenario, server), *tls, "--connections"]
        with Server([*hold, str(FIRST_CONNECTIONS)]) as first:
            before = server.resident_bytes()
            with Server([*hold, str(scenario.connections)]) as many:
                after = server.resident_bytes()
                many.stop()
            first.stop()
        server.stop()
    return {BYTES: max(1.0, (after - before) / scenario.connections)}


def require(setting: Setting, tls: bool, connections: int) -> None:
    """Raise `Skipped` if the load generator cannot do what is needed."""
    if tls and not setting.load.tls:
        raise Skipped("the load generator was built without TLS")
    if connections > setting.connections:
        raise Skipped(f"no more than {setting.connections} connections can be open (ulimit -n)")


def startup(loop: str, setting: Setting) -> Values:
    """Milliseconds from the import to the end of the first run: the median of a few starts."""
    command = program("startup", "--loop", loop, "--cpu", str(setting.cpus.measured))
    seconds = [float(run_to_end(command)["seconds"]) for _ in range(STARTS)]
    return {MILLISECONDS: statistics.median(seconds) * 1e3}


@contextlib.contextmanager
def helper(kind: str, setting: Setting) -> Iterator[dict[str, str]]:
    """Run the server that a client program needs; yield the variables (str) that name it."""
    if not kind:
        yield {}
    elif kind == "redis":
        with redis_server(setting.cpus.load) as port:
            yield {"BENCH_SERVER": f"127.0.0.1:{port}"}
    else:
        cpu = ["--cpu", str(setting.cpus.load)]
        command = [*setting.load.command, "floor-http", *cpu]
        if not setting.load.native:
            command = program("servers", "--program", "http", "--loop", "asyncio", *cpu)
        with Server(command) as server:
            yield {"BENCH_SERVER": f"127.0.0.1:{server.ready['port']}"}
            server.stop()


@contextlib.contextmanager
def redis_server(cpu: int) -> Iterator[int]:
    """Run redis-server, which keeps nothing, on a free port; yield that (int)."""
    path = shutil.which("redis-server")
    if path is None:
        raise Skipped("redis-server is not installed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    with tempfile.TemporaryDirectory(prefix="hotloop-bench-") as folder:
        process = subprocess.Popen(
            [path, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder],
            stdout=subprocess.DEVNULL,
            process_group=0,
        )
        try:
            os.sched_setaffinity(process.pid, {cpu})
            wait_for_port(port)
            yield port
        finally:
            process.terminate()
            process.wait()


def wait_for_port(port: int, limit: float = 10.0) -> None:
    """Return when something accepts on that *port* (int); raise `ChildFailed` after *limit* s."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.02)
    raise ChildFailed(f"nothing accepts on port {port} after {limit:.0f} s")
