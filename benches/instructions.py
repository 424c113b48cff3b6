"""Instruction counts of hot paths: a guard against regressions that noise cannot move.

Callgrind counts the instructions of a whole process; that of twice as many operations minus that of
as many is what the operations cost, without start-up. Most of them are CPython's, so the counts are
recorded in instructions.json by the Python's version and compiler; one that is greater than recorded by
more than the tolerance is an error. Without valgrind, for a Python that has no record, or with hotloop
not built as it was for the record, there is nothing to check, and the output says so.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hotloop
from hotloop.bench.loops import build
from hotloop.bench.processes import program

RECORD = Path(__file__).resolve().with_name("instructions.json")
# Counts vary by what the hash seed and the allocator do: those of messages of 1 KiB by 4.5 % between two checkouts, as
# malloc has other neighbours for them.
TOLERANCE = 0.05

# How hotloop has to be built.
BUILD = "release"

# The programs (of hotloop.bench.local), and a count of operations that is enough to be steady. Those
# that begin with `own_` run with hotloop's tasks.
PATHS = {
    "call_soon": 20_000,
    "call_soon_many": 20_000,
    "call_soon_arguments": 20_000,
    "call_later": 20_000,
    "timers_10k": 20_000,
    "sleep0": 20_000,
    "own_sleep0": 20_000,
    "task": 5_000,
    "own_task": 5_000,
    "future": 10_000,
    "queue": 5_000,
    "add_reader": 5_000,
    "sock_pair": 2_000,
    "echo_pair": 5_000,
    "lines_pair": 2_000,
    "datagram_pair": 5_000,
    "resolve_literal": 5_000,
}
OWN = "own_"
COLLECTED = re.compile(r"Collected : (\d+)")


class NotCounted(Exception):
    """Valgrind or the program under it failed."""


def main() -> int:
    """Count, compare or record, print; 1 if a path needs more than is recorded."""
    parser = argparse.ArgumentParser(description="Instruction counts of hot paths.")
    parser.add_argument("--record", action="store_true", help="write the counts down instead")
    parser.add_argument(
        "--only", type=lambda text: text.split(","), metavar="NAME,…", help=", ".join(PATHS)
    )
    options = parser.parse_args()
    unknown = [name for name in options.only or () if name not in PATHS]
    if unknown:
        parser.error(f"no path {', '.join(unknown)}")
    if shutil.which("valgrind") is None:
        print("instructions: left out, valgrind is not installed")
        return 0
    if build() != BUILD:
        print(f"instructions: left out, hotloop is not built in {BUILD} but {build()}")
        return 0
    version = f"{platform.python_version()}, {platform.python_compiler()}"
    records = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    known = records.get(version, {})
    if not known and not options.record:
        print(f"instructions: left out, nothing is recorded for Python {version} (--record)")
        return 0
    failed = False
    names = options.only or list(PATHS)
    # Other processes change no count, so there may be as many as processors.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, counted in zip(names, pool.map(try_to_count, names), strict=True):
            if isinstance(counted, NotCounted):
                print(f"{name:20} failed: {counted}", flush=True)
                failed = True
                continue
            failed |= not compare(name, counted, known.get(name), recording=options.record)
            if options.record:
                known[name] = counted
    if options.record:
        records[version] = dict(sorted(known.items()))
        text = json.dumps(dict(sorted(records.items())), indent=2)
        RECORD.write_text(text + "\n", encoding="utf-8")
        print(f"recorded for Python {version}, hotloop {hotloop.__version__}")
    return 1 if failed else 0


def compare(name: str, counted: int, recorded: int | None, *, recording: bool) -> bool:
    """Print one line; whether the count (int) is within the tolerance of what is *recorded*."""
    if recorded is None:
        print(f"{name:20} {counted:7,} instructions, not recorded before", flush=True)
        return True
    change = counted / recorded - 1
    word = "as recorded" if abs(change) <= TOLERANCE else "MORE" if change > 0 else "less"
    print(
        f"{name:20} {counted:7,} instructions, {recorded:,} recorded: {change:+.1%}, {word}",
        flush=True,
    )
    return recording or change <= TOLERANCE


def try_to_count(name: str) -> int | NotCounted:
    """The instructions (int) of one operation of the path *name* (str), or why there is no count."""
    try:
        return count(name, PATHS[name])
    except NotCounted as error:
        return error


def count(name: str, operations: int) -> int:
    """The instructions (int) of one operation of the program *name* (str)."""
    return round((collected(name, 2 * operations) - collected(name, operations)) / operations)


def collected(name: str, operations: int) -> int:
    """The instructions (int) of a process that does so many *operations* (int)."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    command += program("local", "--program", name.removeprefix(OWN), "--loop", "hotloop")
    command += ["--count", str(operations)]
    if name.startswith(OWN):
        command.append("--own-tasks")
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONMALLOC": "pymalloc"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    found = COLLECTED.search(done.stderr)
    if done.returncode != 0 or found is None:
        signals = [line for line in done.stderr.splitlines() if "signal" in line]
        others = [line for line in done.stderr.splitlines() if not line.startswith("==")]
        raise NotCounted((signals or others or [f"exit code {done.returncode}"])[-1])
    return int(found[1])


if __name__ == "__main__":
    sys.exit(main())
