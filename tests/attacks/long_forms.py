"""The long forms of the attacks, one after another for as long as asked: what `make soak` runs. A program of its own.

    python tests/attacks/long_forms.py --seconds 3600 --seed 1

Each attack gets its share of the time, in rounds with seeds that are made from the one given, on asyncio's tasks and on
hotloop's own; a line per round says how far it is. The first round that fails or hangs ends the run: its output and the command
that repeats it are printed, and the exit status is 1.

The attacks that go through every case in their short forms, and so have no seed, have no long form.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
#: Seconds of a round of an attack that can be repeated.
ROUND = 60.0
#: Rounds of interrupts, of random faults in each scenario, of forks, and of threads, that take about a minute.
INTERRUPTS, FAULTS_FACTOR, FORKS, THREADS = 10_000, 10, 1000, 1000
#: TLS connections that take about a minute.
CLOSINGS = 5_000
#: How many times as long as planned a round may take, and seconds on top: beyond, it counts as one that hangs.
PATIENCE, AT_LEAST = 5, 300.0
#: Seconds that such a round gets to print its stacks.
GRACE = 10.0


def cross_talk(seed: int, seconds: float) -> list[str]:
    return program("cross_talk.py", seed, "--seconds", seconds, *tasks_by(seed))


def mixed_load(seed: int, seconds: float) -> list[str]:
    return program("soak.py", seed, "--seconds", seconds)


def mixed_load_native_tasks(seed: int, seconds: float) -> list[str]:
    return program("soak.py", seed, "--seconds", seconds, "--native-tasks")


def tls_closing(seed: int, seconds: float) -> list[str]:
    count = max(300, int(CLOSINGS * min(1, seconds / ROUND)))
    engine = ("direct", "bio")[seed // 2 % 2]
    options = ("--connections", count, "--engine", engine, *tasks_by(seed))
    return program("tls_closing.py", seed, *options)


def interrupts(seed: int, seconds: float) -> list[str]:
    count = max(100, int(INTERRUPTS * min(1, seconds / ROUND)))
    return program("interrupts.py", seed, "--count", count, *tasks_by(seed))


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
    return program("exhaustion.py", seed, "--seconds", seconds, *tasks_by(seed))


def forks(seed: int, seconds: float) -> list[str]:
    rounds = max(10, int(FORKS * min(1, seconds / ROUND)))
    return program("forks.py", seed, "--rounds", rounds, *tasks_by(seed))


def threads_and_signals(seed: int, seconds: float) -> list[str]:
    rounds = max(10, int(THREADS * min(1, seconds / ROUND)))
    return program("threads_and_signals.py", seed, "--rounds", rounds, *tasks_by(seed))


def tasks_by(seed: int) -> list[str]:
    """Every other seed is for hotloop's own tasks."""
    return ["--native-tasks"] if seed % 2 else []


def program(name: str, seed: int, *arguments: object) -> list[str]:
    return [sys.executable, str(HERE / name), "--seed", str(seed), *map(str, arguments)]


#: The attack, its share of the time in percent, and whether one long round says more than many short ones.
ATTACKS: list[tuple[Callable[[int, float], list[str]], int, bool]] = [
    (cross_talk, 38, False),
    (tls_closing, 10, False),
    (mixed_load, 10, True),
    (mixed_load_native_tasks, 10, True),
    (interrupts, 8, False),
    (faults, 9, False),
    (exhaustion, 5, False),
    (forks, 5, False),
    (threads_and_signals, 5, False),
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
            command = attack(choose.getrandbits(32), seconds)
            if not round_passes(attack.__name__, command, PATIENCE * seconds + AT_LEAST):
                return 1
            done += 1
            print(
                f"{attack.__name__}: {done} rounds, {max(0.0, ends - time.monotonic()):.0f} s left"
            )
            if whole:
                break
    print("all attacks withstood", flush=True)
    return 0


def round_passes(name: str, command: list[str], limit: float) -> bool:
    """Run one round, its output shown as it comes, without the end of long lines; end it after `limit` seconds."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}
    lines = []
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        process_group=0,  # its children are ended with it
    ) as process:
        timer = threading.Timer(limit, end, [process])
        timer.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line)
                print(f"   {name}: {line.rstrip()[:160]}", flush=True)
            process.wait()
        except KeyboardInterrupt:
            send(process, signal.SIGKILL)
            raise
        finally:
            timer.cancel()
            timer.join()
    if process.returncode == 0:
        return True
    print("".join(lines))
    print(f"FAILED (exit status {process.returncode}): {' '.join(command)}", flush=True)
    return False


def end(process: subprocess.Popen[str]) -> None:
    """End a round that hangs; SIGABRT makes it print the stacks of its threads."""
    print("TAKES TOO LONG: it is ended", flush=True)
    send(process, signal.SIGABRT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE)
    send(process, signal.SIGKILL)


def send(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Send a signal to the round's group, if anything of it is left."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
