"""Where every child process begins: ``python -P entry.py PROGRAM ARGUMENTS…``.

Run by its path and not by ``-m hotloop.bench.…``: that would import hotloop, its extension included,
into the processes that measure the other loops. The modules of this folder are imported under
another package name instead, by their own relative imports.
"""

from __future__ import annotations

import importlib
import sys
import types
from pathlib import Path

PACKAGE = "hotloop_bench"


def main() -> None:
    """Import the program that the first argument names, and call its ``main()``."""
    package = types.ModuleType(PACKAGE)
    package.__path__ = [str(Path(__file__).resolve().parent)]
    sys.modules[PACKAGE] = package
    program = sys.argv.pop(1)
    importlib.import_module(f"{PACKAGE}.{program}").main()


if __name__ == "__main__":
    main()
