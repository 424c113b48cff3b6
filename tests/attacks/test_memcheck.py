"""memcheck finds nothing in the extension, and would find it: see `memcheck.py`. Needs valgrind."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.hotloop_only,
    pytest.mark.skipif(shutil.which("valgrind") is None, reason="there is no valgrind"),
]

PROGRAM = Path(__file__).with_name("memcheck.py")


def test_memcheck_sees_a_handle_that_is_used_after_it_was_freed():
    command = [sys.executable, PROGRAM, "--check", "--break-it"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "Invalid" in done.stdout
    assert "[_core" in done.stdout
