"""Reads the list of tests that are allowed to fail, each with its reason."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path


class ExceptionListError(Exception):
    """The file breaks a rule of its own: an entry without a reason, a test listed twice."""


def load(path: Path, version: tuple[int, int] = sys.version_info[:2]) -> dict[str, str]:
    """The exceptions that hold on a Python version.

    Args:
        path: the TOML file; its form is described at its top.
        version: major and minor number of the Python to judge, by default the running one.

    Returns:
        The reason for each test id.

    Raises:
        ExceptionListError: an entry lacks its reason or tests, has a key that is not known, or a
            test is listed twice for this Python.
        tomllib.TOMLDecodeError: not TOML.
    """
    found: dict[str, str] = {}
    for entry in tomllib.loads(path.read_text(encoding="utf-8")).get("exception", []):
        reason = entry.get("reason", "").strip()
        tests = entry.get("tests", [])
        if not reason or not tests or not set(entry) <= {"reason", "tests", "python"}:
            raise ExceptionListError(f"needs a reason, tests and no unknown key: {entry}")
        if f"{version[0]}.{version[1]}" not in entry.get("python", [f"{version[0]}.{version[1]}"]):
            continue
        for test in tests:
            if test in found:
                raise ExceptionListError(f"listed twice: {test}")
            found[test] = reason
    return found
