"""``python -m hotloop``: says the version; ``python -m hotloop bench`` measures."""

from __future__ import annotations

import sys

from . import __version__

USAGE = """\
usage: python -m hotloop bench [OPTIONS]   compare hotloop with the other loops installed here
       python -m hotloop --version
"""


def main(words: list[str]) -> int:
    """Do what the command line *words* (list of str) says; return the exit status (int)."""
    match words:
        case ["bench", *rest]:
            # Here, so that nothing of it is loaded by anything else.
            from .bench import command

            try:
                return command.main(rest)
            except KeyboardInterrupt:
                sys.stderr.write("\ninterrupted\n")
                return 130
        case ["--version" | "-V"]:
            sys.stdout.write(f"hotloop {__version__}\n")
            return 0
        case ["--help" | "-h"]:
            sys.stdout.write(USAGE)
            return 0
    sys.stderr.write(USAGE)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
