"""The public names have docstrings that say what is taken, what is raised and where it comes from."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from typing import Any

import pytest

pytestmark = pytest.mark.hotloop_only

NATIVE = (
    "SocketTransport",
    "DatagramTransport",
    "ReadPipeTransport",
    "WritePipeTransport",
    "SSLTransport",
    "Future",
    "Task",
    "StreamReader",
    "StreamWriter",
    "Handle",
    "TimerHandle",
    "Loop",
)
#: What says what is taken, what is raised, or whose behaviour it is.
SAID = ("asyncio", "Raise", "(2)", "socket", "see ", "sock_recv")


def public_methods(kind: type) -> Iterator[tuple[str, Any]]:
    for name, value in vars(kind).items():
        if not name.startswith("_") and callable(value):
            yield f"{kind.__name__}.{name}", value


def every_method() -> dict[str, Any]:
    core = importlib.import_module("hotloop._core")
    found = {name: value for kind in NATIVE for name, value in public_methods(getattr(core, kind))}
    sockets = importlib.import_module("hotloop._sockets")
    found |= dict(public_methods(sockets.SocketMixin))
    return found


@pytest.mark.parametrize("name", sorted(every_method()))
def test_each_native_method_says_what_it_does_and_where_that_comes_from(name):
    text = inspect.getdoc(every_method()[name]) or ""
    assert any(word in text for word in SAID), text


def test_each_native_method_has_a_signature():
    without = [name for name, value in every_method().items() if not _signature(value)]
    assert not without


def test_each_exported_name_has_a_docstring(hotloop):
    for name in set(hotloop.__all__) - {"__version__"}:
        text = inspect.getdoc(getattr(hotloop, name)) or ""
        assert len(text) > 60, name


def _signature(value: Any) -> bool:
    try:
        inspect.signature(value)
    except ValueError:
        return False
    return True
