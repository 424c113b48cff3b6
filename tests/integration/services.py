"""Real servers for the integration tests: PostgreSQL and Redis from the machine's packages.

Each runs in a directory of its own, on a Unix socket, in the background (a child of the tests would
count as left behind), and is stopped at the end. With `HOTLOOP_INSTALL_SERVICES=1`, as root, a
package that is missing is installed with apt-get; else the tests are skipped, which says so.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def postgres() -> Iterator[Path]:
    """A PostgreSQL server; the directory of its socket, for the user `tests` without a password."""
    binaries = find("postgresql", "pg_ctl", "/usr/lib/postgresql/*/bin")
    with directory() as base:
        data = base / "data"
        user = account("postgres", base)  # the server refuses to run as root
        run = functools.partial(
            subprocess.run, check=True, cwd=base, user=user, stdout=subprocess.DEVNULL, timeout=120
        )
        run([binaries / "initdb", "-D", data, "-U", "tests", "-A", "trust", "-N"])
        options = f"-k {base} -c listen_addresses= -c fsync=off -c max_connections=50"
        control = [binaries / "pg_ctl", "-D", data, "-w", "-s"]
        run([*control, "-l", base / "log", "-o", options, "start"])
        try:
            yield base
        finally:
            run([*control, "-m", "immediate", "stop"])


@contextlib.contextmanager
def redis() -> Iterator[Path]:
    """A Redis server; the path of its socket."""
    binaries = find("redis-server", "redis-server", "/usr/bin")
    with directory() as base:
        socket = base / "redis"
        options = ["--port", "0", "--unixsocket", socket, "--dir", base, "--save", ""]
        server = [binaries / "redis-server", *options, "--daemonize", "yes"]
        subprocess.run(server, check=True, stdout=subprocess.DEVNULL, timeout=60)
        client = [binaries / "redis-cli", "-s", socket]
        ping = ["timeout", "30", "sh", "-c", 'until "$@" ping | grep -q PONG; do :; done', "sh"]
        try:
            subprocess.run([*ping, *client], check=True, stderr=subprocess.DEVNULL)
            yield socket
        finally:
            subprocess.run([*client, "shutdown", "nosave"], check=True, timeout=60)


def find(package: str, program: str, places: str) -> Path:
    """The directory of a program; its Debian package is installed if that is asked for."""
    found = _look(program, places)
    if found is None and os.environ.get("HOTLOOP_INSTALL_SERVICES") == "1":
        _install(package)
        found = _look(program, places)
    if found is None:
        pytest.skip(f"{program} is not on this machine (Debian: the package {package}): NOT TESTED")
    return found


@contextlib.contextmanager
def directory() -> Iterator[Path]:
    """A directory whose path is short enough for a socket in it (108 bytes, unix(7))."""
    base = Path(tempfile.mkdtemp(prefix="hotloop-", dir="/tmp"))
    try:
        yield base
    finally:
        shutil.rmtree(base)


def account(name: str, owned: Path) -> int | None:
    """The user id to run as: this one's, or, for root, the named one's, who then owns `owned`."""
    if os.geteuid() != 0:
        return None
    user = pwd.getpwnam(name).pw_uid
    os.chown(owned, user, -1)
    return user


def _look(program: str, places: str) -> Path | None:
    root = Path("/")
    for place in sorted(root.glob(places.lstrip("/")), reverse=True):
        if (place / program).exists():
            return place
    found = shutil.which(program)
    return Path(found).parent if found else None


@functools.cache
def _install(package: str) -> None:
    command = ["apt-get", "install", "--yes", "--no-install-recommends", package]
    if os.geteuid() == 0 and shutil.which("apt-get"):
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(command, env=environment, check=False, capture_output=True, timeout=600)
