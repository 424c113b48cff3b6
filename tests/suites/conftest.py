"""Registers the marker `suite`: `-m suite` runs only the suites, `-m "not suite"` all else."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# The modules here import each other by plain names, as they do when run as programs.
sys.path.insert(0, str(Path(__file__).parent))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "suite: a class of someone else's test suite")
