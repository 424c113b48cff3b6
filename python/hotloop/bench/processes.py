"""The parent's side of a measurement: starting, hearing and ending child processes.

Children are in a process group of their own: Ctrl-C reaches the parent alone, and the parent ends
them in order instead of every process printing a traceback of its own.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Any, NoReturn, Self

HERE = Path(__file__).resolve().parent

# Longer than any measurement; reached only by a loop that hangs.
LIMIT_SECONDS = 60.0

# Debug modes of asyncio and Python would measure the checks, not the loop; without bytecode, the compiler.
_FORGOTTEN = (
    "PYTHONASYNCIODEBUG",
    "PYTHONDEVMODE",
    "PYTHONMALLOC",
    "PYTHONTRACEMALLOC",
    "PYTHONPROFILEIMPORTTIME",
    "PYTHONDONTWRITEBYTECODE",
)


class ChildFailed(Exception):
    """A child process failed, hung or said something unexpected."""


class Skipped(Exception):
    """What was to be measured is not there; the message says what."""


def program(name: str, *arguments: str) -> list[str]:
    """The command that runs the module *name* (str) of this package in this very Python."""
    return [sys.executable, "-P", str(HERE / "entry.py"), name, *arguments]


def run_to_end(
    command: list[str], limit: float = LIMIT_SECONDS, environment: dict[str, str] | None = None
) -> dict[str, Any]:
    """Run *command* (list of str) and return the JSON object that it printed.

    :param limit: seconds after which it is killed.
    :param environment: variables (str) beside our own.
    :raises ChildFailed: if it fails, hangs, or prints something else.
    :raises Skipped: if it says that there is nothing to measure.
    """
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=limit,
            env={**_environment(), **(environment or {})},
            process_group=0,
        )
    except subprocess.TimeoutExpired:
        raise ChildFailed(f"{_short(command)}: no result after {limit:.0f} s") from None
    if done.returncode != 0:
        ending = _how_ended(done.returncode) + _last_lines(done.stderr)
        raise ChildFailed(f"{_short(command)}: {ending}")
    result = _parse(command, done.stdout)
    if "skip" in result:
        raise Skipped(result["skip"])
    return result


class Server:
    """A server in a child process, for the time of a ``with`` block.

    :ivar ready: what it said when it was ready (dict), e.g. its port.
    :raises ChildFailed: on entry if it does not come up; from `stop` if it does not end well.
    :raises Skipped: on entry if it says that it has nothing to serve.
    """

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._errors: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed in _kill)
        self.ready: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=_environment(),
            process_group=0,
        )
        try:
            self.ready = self._hear()
            if "skip" in self.ready:
                raise Skipped(self.ready["skip"])
        except BaseException:
            self._kill()
            raise
        return self

    @property
    def pid(self) -> int:
        """The number (int) of the process."""
        return self._process.pid

    def resident_bytes(self) -> int:
        """The memory (int) that the process has resident now, by proc(5)."""
        fields = Path(f"/proc/{self.pid}/statm").read_text(encoding="utf-8").split()
        return int(fields[1]) * resource.getpagesize()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._kill()

    def stop(self) -> None:
        """End the server in its own time, and see that it ends well."""
        stdin = self._process.stdin
        assert stdin is not None
        stdin.close()
        if self._command[0] != sys.executable:
            self._process.send_signal(signal.SIGTERM)  # the native programs do not read stdin
        try:
            code = self._process.wait(LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            raise ChildFailed(f"{_short(self._command)}: does not end") from None
        if code != 0:
            raise ChildFailed(f"{_short(self._command)}: {_how_ended(code)}{self.errors()}")

    def errors(self) -> str:
        """The last lines (str) of what the server wrote to stderr, indented; empty if nothing."""
        self._errors.seek(0)
        return _last_lines(self._errors.read())

    def _hear(self) -> dict[str, Any]:
        stdout = self._process.stdout
        assert stdout is not None
        readable, _, _ = select.select([stdout], [], [], LIMIT_SECONDS)
        line = stdout.readline() if readable else ""
        if line:
            return _parse(self._command, line)
        if readable:
            code = self._process.wait(LIMIT_SECONDS)
            raise ChildFailed(f"{_short(self._command)}: {_how_ended(code)}{self.errors()}")
        raise ChildFailed(f"{_short(self._command)}: silent for {LIMIT_SECONDS:.0f} s")

    def _kill(self) -> None:
        # Also after a good `stop`: there is nothing left that the process could still tell us.
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                stream.close()


def end_on_sigterm() -> None:
    """Make SIGTERM leave by an exception, as Ctrl-C does, so that ``with`` blocks end children."""

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in _FORGOTTEN}


def _parse(command: list[str], text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ChildFailed(f"{_short(command)}: printed {text[:200]!r} instead of a JSON object")
    return value


def _how_ended(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _last_lines(text: str) -> str:
    return "".join(f"\n    {line}" for line in text.strip().splitlines()[-5:])


def _short(command: list[str]) -> str:
    if command[0] == sys.executable:
        return " ".join(command[3:])
    return " ".join([Path(command[0]).name, *command[1:]])
