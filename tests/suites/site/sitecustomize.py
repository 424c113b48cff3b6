"""Switches the event loop of any Python program that starts with this directory on PYTHONPATH.

`HOTLOOP_SUITE_LOOP` names the loop (see `switch.install`); without it nothing happens.
`HOTLOOP_SUITE_REPORT`, if set, is the path of a file to which every process adds one line at its
end: its process id, the type of the loop and how many were made.
"""

import os
import sys


def _start(loop: str) -> None:
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    try:
        import switch
    finally:
        del sys.path[0]
    installed = switch.install(loop)
    report = os.environ.get("HOTLOOP_SUITE_REPORT")
    if report:
        import atexit

        atexit.register(_add_line, report, installed)


def _add_line(report: str, installed: "object") -> None:
    loop_type = installed.loop_type  # type: ignore[attr-defined]
    name = f"{loop_type.__module__}.{loop_type.__qualname__}"
    with open(report, "a", encoding="utf-8") as file:
        file.write(f"{os.getpid()} {name} {installed.created}\n")  # type: ignore[attr-defined]


_loop = os.environ.get("HOTLOOP_SUITE_LOOP")
if _loop:
    try:
        _start(_loop)
    except BaseException:
        # The interpreter only prints an error raised here and goes on, on the stdlib loop: a run
        # that would prove nothing. So the process ends.
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
        os._exit(70)
