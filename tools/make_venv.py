"""Make the virtual environment that the Makefile works in: `python3 tools/make_venv.py DIRECTORY`.

Runs on the interpreter that the environment is for, before anything is installed. It therefore
uses the standard library only, and still runs on Python 3.7, to say that it is too old.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

OLDEST = (3, 11)


def main(argv: list[str]) -> int:
    """Make the environment in the directory `argv[1]`; return an exit status."""
    if len(argv) != 2:
        return complain("usage: make_venv.py DIRECTORY")
    if sys.version_info < OLDEST:
        return complain(
            f"hotloop needs Python 3.11 or later, {sys.executable} is {sys.version.split()[0]}: "
            "choose another one with `make PYTHON=python3.13 ...`"
        )
    directory = Path(argv[1])
    if directory.exists():  # made for another interpreter, or not finished
        shutil.rmtree(str(directory))
    for attempt in (with_ensurepip, with_installed_pip):
        if attempt(directory):
            return 0
        shutil.rmtree(str(directory), ignore_errors=True)
    return complain(
        "cannot make a virtual environment: this Python has neither `ensurepip` nor a pip >= 22.3. "
        "On Debian and Ubuntu: apt-get install python3-venv (for another version than the "
        "system's: python3.X-venv); on Fedora: dnf install python3-pip"
    )


def with_ensurepip(directory: Path) -> bool:
    """Make it in the ordinary way. Debian's python3 lacks `ensurepip` unless asked for it."""
    try:
        import ensurepip  # noqa: F401
    except ImportError:
        return False
    return succeeds([sys.executable, "-m", "venv", str(directory)])


def with_installed_pip(directory: Path) -> bool:
    """Make it empty, and let the pip that this Python has install another one into it."""
    python = str(directory / "bin" / "python")
    return succeeds([sys.executable, "-m", "venv", "--without-pip", str(directory)]) and succeeds(
        [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "pip"]
    )


def succeeds(command: list[str]) -> bool:
    """Run the command, its output where ours goes; say whether its exit status was 0."""
    return subprocess.run(command, check=False).returncode == 0


def complain(message: str) -> int:
    """Print the message as this program's and return the exit status for failure."""
    print(f"make_venv: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv))
