"""The table of private asyncio names: true for the running Python, and complete for the sources."""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.hotloop_only

ROOT = Path(__file__).parent.parent
PRIVATE = r"_[A-Za-z]\w*"
# Ours, or another module's, although asyncio has something private of that name as well.
COINCIDENCES = {
    "_base": "a module of `concurrent.futures`, with nothing private in it that is used",
    "_socket": "the C half of `socket`",
    "_ssl": "the C half of `ssl`",
    "_asyncio": "the C half of asyncio, which may be missing",
    "_fileno": "a method of `_core.Loop`",
    "_finished": "a method of `SocketMixin`",
    "_is_transport_closing": "asked for: late versions of 3.13 have it, too",
    "_sockets": "a module of ours",
    "_state": "a module of ours",
}

# Where a private name may come from besides asyncio.
OTHER_MODULES = (
    "_socket",
    "_thread",
    "_weakrefset",
    "concurrent.futures._base",
    "concurrent.futures.thread",
    "os",
    "selectors",
    "signal",
    "socket",
    "ssl",
    "subprocess",
    "sys",
    "threading",
    "weakref",
)


@pytest.fixture(scope="module")
def table() -> ModuleType:
    return importlib.import_module("hotloop._private_names")


def asyncio_modules() -> list[ModuleType]:
    package = importlib.import_module("asyncio")
    names = [info.name for info in pkgutil.iter_modules(package.__path__)]
    usable = [name for name in names if "windows" not in name and not name.startswith("__")]
    return [importlib.import_module(f"asyncio.{name}") for name in usable]


def names_of_instances(found: type) -> set[str]:
    """Of the class itself, and what its methods read or set."""
    names: set[str] = set()
    for kind in found.__mro__:
        names.update(vars(kind))
        for value in vars(kind).values():
            code = getattr(value, "__code__", None)
            names.update(code.co_names if code else ())
    return names


def private_names_of_asyncio() -> set[str]:
    found: set[str] = set()
    for module in asyncio_modules():
        found.update(vars(module))
        for value in vars(module).values():
            if isinstance(value, type) and value.__module__ in (module.__name__, "_asyncio"):
                found.update(names_of_instances(value))
    return {name for name in found if re.fullmatch(PRIVATE, name)}


def names_in_python(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type in (tokenize.NAME, tokenize.STRING):
                yield token.string.strip("\"'")


def names_in_rust(path: Path) -> Iterator[str]:
    source = re.sub(r"//.*", "", path.read_text(encoding="utf-8"))
    yield from re.findall(rf'"({PRIVATE})"', source)
    yield from re.findall(rf"fn ({PRIVATE})[(<]", source)
    yield from re.findall(rf"[gs]etter\(({PRIVATE})\)", source)


def private_names_of_hotloop() -> dict[str, set[str]]:
    """Each private name in our sources with the files that have it."""
    found: dict[str, set[str]] = {}
    files = [*ROOT.glob("python/hotloop/*.py"), *ROOT.glob("crates/hotloop/src/**/*.rs")]
    for path in files:
        if path.name == "_private_names.py":
            continue
        names = names_in_python(path) if path.suffix == ".py" else names_in_rust(path)
        for name in names:
            if re.fullmatch(PRIVATE, name):
                found.setdefault(name, set()).add(str(path.relative_to(ROOT)))
    return found


def test_the_running_python_has_what_the_table_says(table):
    version = sys.version_info[:2]
    for full, versions in table.table().items():
        owner, _, name = full.rpartition(".")
        try:
            found = table.find_owner(owner)
            there = name in names_of_instances(found) if "()" in owner else hasattr(found, name)
        except AttributeError:
            there = False
        assert there == table.holds(versions, version), full


#: The version that no longer has a dispensable name.
GONE = {"_weakrefset:WeakSet()._pending_removals": (3, 14)}


def test_the_running_python_has_the_names_outside_asyncio(table):
    for name in [*table.OTHERS, *table.DISPENSABLE]:
        found = table.find_other(name)
        there = "()" not in name or name.rpartition(".")[2] in names_of_instances(found)
        assert there == (name not in GONE or sys.version_info < GONE[name]), name


def test_every_private_name_of_other_modules_in_the_sources_is_in_the_table(table):
    listed = [*table.table(), *table.OTHERS, *table.DISPENSABLE]
    known = {re.split(r"[.:]", name)[-1] for name in listed} | set(COINCIDENCES)
    used = private_names_of_hotloop()
    unknown = {}
    for module in map(importlib.import_module, OTHER_MODULES):
        theirs = set(vars(module))
        for value in vars(module).values():
            if isinstance(value, type) and value.__module__ == module.__name__:
                theirs |= names_of_instances(value)
        unknown |= {name: sorted(used[name]) for name in theirs & used.keys() - known}
    assert not unknown, "add these to python/hotloop/_private_names.py"


def test_every_private_name_of_asyncio_in_the_sources_is_in_the_table(table):
    others = {*table.OTHERS, *table.DISPENSABLE}
    known = {re.split(r"[.:]", name)[-1] for name in {*table.table(), *others}} | set(COINCIDENCES)
    parts = {part for name in table.table() for part in name.replace("()", "").split(".")}
    theirs = private_names_of_asyncio()
    unknown = {
        name: sorted(files)
        for name, files in private_names_of_hotloop().items()
        if name in theirs and name not in known | parts
    }
    assert not unknown, "add these to python/hotloop/_private_names.py"


def test_every_name_in_the_table_is_in_the_sources(table):
    used = private_names_of_hotloop()
    unused = [name for name in table.table() if name.rpartition(".")[2] not in used]
    assert not unused


def test_a_missing_name_is_told_by_name(table, monkeypatch):
    names = {"events": "_no_such_name _get_running_loop", "events.NoSuchClass": "_one _two"}
    monkeypatch.setitem(table.NAMES, ((3, 5), None), names)
    with pytest.raises(ImportError) as caught:
        table.check()
    words = str(caught.value)
    assert (
        "needs asyncio.events._no_such_name, asyncio.events.NoSuchClass._one, "
        "asyncio.events.NoSuchClass._two, which"
    ) in words
    assert sys.version.split()[0] in words
    assert "install a version of hotloop" in words


def test_a_missing_name_outside_asyncio_is_told_as_well(table, monkeypatch):
    monkeypatch.setattr(table, "OTHERS", ["socket:socket._no_such_name", "no_such_module:name"])
    with pytest.raises(ImportError, match=r"socket\.socket\._no_such_name, no_such_module\.name"):
        table.check()


def test_without_the_parts_of_thread_pools_asyncios_way_is_taken(monkeypatch):
    executors = importlib.import_module("hotloop._executors")
    assert executors._known()
    monkeypatch.delattr("concurrent.futures.thread._global_shutdown_lock")
    assert not executors._known()


def test_a_name_of_another_version_is_not_asked_for(table, monkeypatch):
    monkeypatch.setitem(table.NAMES, ((3, 5), (3, 8)), {"events": "_long_gone"})
    monkeypatch.setitem(table.NAMES, ((3, 99), None), {"events": "_yet_to_come"})
    table.check()


def test_the_check_looks_at_every_name_once(table, monkeypatch):
    asked = []
    monkeypatch.setattr(
        table,
        "missing_of",
        lambda owner, names: asked.extend(f"{owner}.{name}" for name in names) or [],
    )
    table.check()
    version = sys.version_info[:2]
    names = table.table().items()
    here = [name for name, versions in names if table.holds(versions, version)]
    assert asked == [name for name in here if "()" not in name]
