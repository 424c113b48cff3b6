"""Remembers how the tests end on the untouched stdlib loop, so that they run there only once.

What is remembered holds for one interpreter in one environment; anything that could change an
outcome (the Python, its OpenSSL, the kernel, IPv6, the user, the harness itself) is in the key.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import socket
import ssl
import sys
import threading
from dataclasses import asdict
from pathlib import Path

from processes import CHILD, ClassRun, Limits, Outcome, run_class

BUILD_DIRECTORY = Path(__file__).resolve().parents[2] / "build" / "suites"


class Baseline:
    """The stdlib's outcomes, from a file where they are known, else by running them.

    Args:
        directory: where the file is kept; created when needed.
        refresh: `True` forgets what the file says.
    """

    def __init__(self, directory: Path = BUILD_DIRECTORY, refresh: bool = False) -> None:
        self._file = directory / f"cpython-stdlib-{environment_key()}.json"
        self._lock = threading.Lock()
        self._known: dict[str, dict[str, Outcome]] = {}
        if not refresh and self._file.exists():
            for name, tests in json.loads(self._file.read_text(encoding="utf-8")).items():
                self._known[name] = {test: Outcome(**outcome) for test, outcome in tests.items()}

    def outcomes(self, name: str, tests: list[str], limits: Limits) -> dict[str, Outcome]:
        """How `tests` of the class `name` end on the stdlib; runs them if that is not known."""
        with self._lock:
            known = self._known.get(name, {})
        unknown = [test for test in tests if test not in known]
        if unknown:
            known = known | self._run(name, unknown, limits)
            with self._lock:
                self._known[name] = known
                self._save()
        return {test: known[test] for test in tests}

    def _run(self, name: str, tests: list[str], limits: Limits) -> dict[str, Outcome]:
        outcomes = run_class(name, tests, None, limits).tests
        again = [test for test in tests if outcomes[test].outcome in ("failed", "missing")]
        if again:
            # What fails here is excused on our loop: one bad moment must not excuse it for good.
            second: ClassRun = run_class(name, again, None, limits)
            outcomes = outcomes | second.tests
        return outcomes

    def _save(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        plain = {
            name: {test: asdict(outcome) for test, outcome in tests.items()}
            for name, tests in self._known.items()
        }
        new = self._file.with_suffix(f".{os.getpid()}.new")
        new.write_text(json.dumps(plain, indent=1), encoding="utf-8")
        new.replace(self._file)


def environment_key() -> str:
    """A short digest of everything outside the tests on which their outcome may depend."""
    facts = [
        sys.version,
        os.path.realpath(sys.executable),
        platform.platform(),
        ssl.OPENSSL_VERSION,
        str(os.geteuid()),
        str(_has_ipv6()),
        hashlib.sha256(CHILD.read_bytes()).hexdigest(),
    ]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True
