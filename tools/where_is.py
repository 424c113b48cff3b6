"""Write docs/where-is.md: every public method of the loop with the file that it is in.

    python tools/where_is.py            (on an interpreter in which hotloop is installed)

The page is made from the built package and the sources; `tests/test_where_is.py` fails if it is not
what this program would write.
"""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "where-is.md"
HEAD = """# Where a method is

Every public method of `hotloop.EventLoop` and the file in which it is written. What is native is in
`crates/hotloop/src`; *asyncio* means that the running Python's own method is used as it is, and
names its file there. A method in `python/hotloop` may do its work in the core: its source says where.

`python tools/where_is.py` writes this page, a test compares it.

| method | file |
|---|---|
"""


def main() -> int:
    """Write the page; return an exit status."""
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)}: {len(rows())} methods")
    return 0


def page() -> str:
    """The text of the page."""
    lines = [f"| `{name}` | {place} |" for name, place in rows().items()]
    return HEAD + "\n".join(lines) + "\n"


def rows() -> dict[str, str]:
    """Each public method with its place, in Markdown."""
    import hotloop

    names = [name for name in dir(hotloop.EventLoop) if not name.startswith("_")]
    methods = [name for name in sorted(names) if callable(getattr(hotloop.EventLoop, name))]
    return {name: place_of(hotloop.EventLoop, name) for name in methods}


def place_of(loop: type, name: str) -> str:
    """Where the method comes from that instances of the class have.

    Raises:
        LookupError: no source file has it.
    """
    owner = next(kind for kind in loop.__mro__ if name in vars(kind))
    function: Any = vars(owner)[name]
    # The hot methods of the core stand on the class in Python, too.
    if owner.__module__ == "hotloop._core" or isinstance(function, types.MethodDescriptorType):
        return link(native_file(name))
    module = function.__module__
    if not module.startswith("hotloop"):
        return f"*asyncio*: `{module.removeprefix('asyncio.')}.py`"
    return link(ROOT / "python" / (module.replace(".", "/") + ".py"))


def native_file(name: str) -> Path:
    """The Rust file that defines a method of `_core.Loop`."""
    shapes = [rf"\n *(?:pub\(\w+\) )?fn {name}[(<]", rf'method_\w+!\(\s*c"{name}"']
    for shape in shapes:
        for path in sorted((ROOT / "crates/hotloop/src/event_loop").rglob("*.rs")):
            if re.search(shape, path.read_text(encoding="utf-8")):
                return path
    raise LookupError(f"no Rust file defines {name}()")


def link(path: Path) -> str:
    """A link from the page to a file of the checkout."""
    relative = path.relative_to(ROOT).as_posix()
    return f"[`{relative}`](../{relative})"


if __name__ == "__main__":
    sys.exit(main())
