"""Switches the event loop of any Python program that starts with this directory on PYTHONPATH.

`HOTLOOP_SUITE_LOOP` names the loop (see `switch.install`); without it nothing happens, nor does
anything in a subinterpreter.
`HOTLOOP_SUITE_REPORT`, if set, is the path of a file to which every process adds one line at its
end: its process id, the type of the loop and how many were made.
"""

import importlib
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


def _is_main_interpreter() -> bool:
    """False in a subinterpreter, which extension modules may refuse, hotloop's among them."""
    for name in ("_interpreters", "_xxsubinterpreters"):  # from 3.13 on, before
        try:
            current = importlib.import_module(name).get_current()
        except ImportError:
            continue
        return int(current[0] if isinstance(current, tuple) else current) == 0
    return True


_loop = os.environ.get("HOTLOOP_SUITE_LOOP")
if _loop and _is_main_interpreter():
    try:
        _start(_loop)
    except BaseException:
        # The interpreter only prints an error raised here and goes on, on the stdlib loop: a run
        # that would prove nothing. So the process ends.
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
        os._exit(70)
