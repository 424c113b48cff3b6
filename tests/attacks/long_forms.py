"""The long forms of the attacks, one after another for as long as asked: what `make soak` runs. A program of its own.

    python tests/attacks/long_forms.py --seconds 3600 --seed 1

Each attack gets its share of the time, in rounds with seeds that are made from the one given; a line per round says
how far it is. The first round that fails ends the run: its output and the command that repeats it are printed, and
the exit status is 1.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
#: Seconds of a round of an attack that can be repeated.
ROUND = 60.0
#: Rounds of interrupts, of random faults in each scenario, and of forks, that take about a minute.
INTERRUPTS, FAULTS_FACTOR, FORKS = 10_000, 20, 1000
#: TLS connections that take about a minute.
CLOSINGS = 5_000


def cross_talk(seed: int, seconds: float) -> list[str]:
    return program("cross_talk.py", "--seconds", seconds, "--seed", seed)


def mixed_load(seed: int, seconds: float) -> list[str]:
    return program("soak.py", "--seconds", seconds, "--seed", seed)


def tls_closing(seed: int, seconds: float) -> list[str]:
    count = max(300, int(CLOSINGS * min(1, seconds / ROUND)))
    engine = ("direct", "bio")[seed % 2]
    return program("tls_closing.py", "--connections", count, "--seed", seed, "--engine", engine)


def interrupts(seed: int, seconds: float) -> list[str]:
    count = max(100, int(INTERRUPTS * min(1, seconds / ROUND)))
    return program("interrupts.py", "--count", count, "--seed", seed)


def faults(seed: int, seconds: float) -> list[str]:
    factor = max(0.1, FAULTS_FACTOR * min(1, seconds / ROUND))
    pytest = [sys.executable, "-m", "pytest", "-q", "-o", "faulthandler_timeout=900"]
    chosen = [str(HERE / "test_faults.py"), "-k", "random"]
    return [
        "env",
        f"HOTLOOP_ATTACK_SEED={seed}",
        f"HOTLOOP_ATTACK_FACTOR={factor}",
        *pytest,
        *chosen,
    ]


def exhaustion(seed: int, seconds: float) -> list[str]:
    return program("exhaustion.py", "--seconds", seconds, "--seed", seed)


def forks(seed: int, seconds: float) -> list[str]:
    rounds = max(10, int(FORKS * min(1, seconds / ROUND)))
    return program("forks.py", "--rounds", rounds, "--seed", seed)


def program(name: str, *arguments: object) -> list[str]:
    return [sys.executable, str(HERE / name), *map(str, arguments)]


#: The attack, its share of the time in percent, and whether one long round says more than many short ones.
ATTACKS: list[tuple[Callable[[int, float], list[str]], int, bool]] = [
    (cross_talk, 40, False),
    (tls_closing, 10, False),
    (mixed_load, 20, True),
    (interrupts, 10, False),
    (faults, 10, False),
    (exhaustion, 5, False),
    (forks, 5, False),
]


def main(argv: list[str]) -> int:
    """Run the attacks; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3600, help="of all attacks together")
    parser.add_argument("--seed", type=int, default=None)
    arguments = parser.parse_args(argv)
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().getrandbits(32)
    choose = random.Random(seed)
    print(f"seed {seed}, {arguments.seconds:.0f} s", flush=True)
    for attack, share, whole in ATTACKS:
        length = arguments.seconds * share / 100
        ends = time.monotonic() + length
        done = 0
        while (left := ends - time.monotonic()) > (0 if done == 0 else 1):
            # Two rounds that are nearly whole, rather than a whole one and a stump.
            seconds = length if whole else left if left < 1.5 * ROUND else ROUND
            if not round_passes(attack.__name__, attack(choose.getrandbits(32), seconds)):
                return 1
            done += 1
            print(
                f"{attack.__name__}: {done} rounds, {max(0.0, ends - time.monotonic()):.0f} s left"
            )
            if whole:
                break
    print("all attacks withstood", flush=True)
    return 0


def round_passes(name: str, command: list[str]) -> bool:
    """Run one round, its output shown as it comes, without the end of long lines."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    errors = subprocess.STDOUT
    lines = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            print(f"   {name}: {line.rstrip()[:160]}", flush=True)
    if process.returncode == 0:
        return True
    print("".join(lines))
    print(f"FAILED (exit status {process.returncode}): {' '.join(command)}", flush=True)
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
