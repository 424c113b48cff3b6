"""What the attacks share: the marker ``slow``, a seed that is printed and can be given again, and how long to go on.

``HOTLOOP_ATTACK_SEED`` repeats a run; ``HOTLOOP_ATTACK_FACTOR`` (default 1) multiplies the number of rounds, which
``make soak`` uses.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def attack_seed() -> int:
    """The seed of this attack; printed, so that a failure shows it."""
    given = os.environ.get("HOTLOOP_ATTACK_SEED")
    seed = int(given) if given else random.SystemRandom().getrandbits(32)
    print(f"HOTLOOP_ATTACK_SEED={seed}")
    return seed


@pytest.fixture(params=[(), ("--native-tasks",)], ids=["asyncio_tasks", "native_tasks"])
def task_option(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The option of an attack that says whose tasks the loop makes: a test with it runs on both."""
    option: tuple[str, ...] = request.param
    return option


@pytest.fixture
def attack_seconds() -> Callable[[float], float]:
    """Makes the length of the short form, in seconds, that of this run."""
    factor = float(os.environ.get("HOTLOOP_ATTACK_FACTOR", "1"))
    return lambda seconds: seconds * factor


@pytest.fixture
def attack_rounds() -> Callable[[int], int]:
    """Makes the number of rounds of the short form that of this run."""
    factor = float(os.environ.get("HOTLOOP_ATTACK_FACTOR", "1"))
    return lambda rounds: max(1, int(rounds * factor))
