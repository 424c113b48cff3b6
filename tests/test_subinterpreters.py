"""In a subinterpreter, importing hotloop is a clear ImportError, and the main interpreter goes on."""

from __future__ import annotations

import sys

import pytest

import helpers

pytestmark = pytest.mark.hotloop_only

PROGRAM = """
import sys
sys.path[:0] = {path!r}
try:
    import {module} as interpreters
except ImportError:
    print("none")
    raise SystemExit
import hotloop
{before}
SOURCE = '''
import sys
sys.path[:0] = {path!r}
try:
    import hotloop
except ImportError as error:
    print("ImportError:", error, flush=True)
else:
    print("imported", flush=True)
'''
ours = interpreters.create()
outcome = (getattr(interpreters, "exec", None) or interpreters.run_string)(ours, SOURCE)
assert outcome is None, outcome
interpreters.destroy(ours)
import asyncio
loop = hotloop.new_event_loop()
print(loop.run_until_complete(asyncio.sleep(0, "goes on")))
loop.close()
"""
RUN_BEFORE = """
import asyncio
hotloop.run(asyncio.sleep(0))
"""


@pytest.mark.parametrize("before", ["", RUN_BEFORE], ids=["imported", "used"])
@pytest.mark.parametrize("module", ["_xxsubinterpreters", "_interpreters"])
def test_importing_hotloop_in_a_subinterpreter_is_an_import_error(module, before):
    done = helpers.run_child(PROGRAM.format(path=sys.path, module=module, before=before))
    if done.stdout == "none\n":
        pytest.skip(f"this Python has no {module}")
    assert done.returncode == 0, (done.stdout, done.stderr)
    first, last = done.stdout.splitlines()
    assert first.startswith("ImportError: ")
    assert "interpreter" in first
    assert last == "goes on"
