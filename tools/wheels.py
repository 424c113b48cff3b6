"""Build one wheel for each Python that there is, into dist/, and try each in an empty environment.

    python tools/wheels.py PYTHON...

Run by `make wheels` with maturin's environment. A wheel's platform tag is what maturin's own check of
the symbols that the library uses allows: `manylinux_2_X` names the oldest glibc that has them all;
where the check fails, the wheel is tagged `linux_x86_64`, which promises nothing. `requires-python`
comes from pyproject.toml, and the tag of the interpreter says for which one the wheel was built.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from email import message_from_bytes
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
SMOKE = """
import asyncio, hotloop
async def main():
    async def echo(reader, writer):
        writer.write(await reader.readline())
        writer.close()
        await writer.wait_closed()
    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"round trip\\n")
        assert await reader.readline() == b"round trip\\n"
        writer.close()
        await writer.wait_closed()
    assert type(asyncio.get_running_loop()) is hotloop.EventLoop
    return hotloop.__file__
print(hotloop.run(main()))
"""


def main(pythons: list[str]) -> int:
    """Build, look at and try a wheel for each interpreter; return an exit status."""
    DIST.mkdir(exist_ok=True)
    for python in pythons:
        wheel = build(python)
        print(f"{wheel.relative_to(ROOT)}: requires Python {inspect(wheel)}")
        try_out(python, wheel)
    return 0


def build(python: str) -> Path:
    """The wheel for an interpreter: with a manylinux tag if the library's symbols allow one."""
    with tempfile.TemporaryDirectory(dir=DIST) as made:
        command = [sys.executable, "-m", "maturin", "build", "--release", "--out", made]
        # Without --compatibility, maturin looks for the lowest manylinux tag that is true.
        honest = [*command, "--interpreter", python]
        if subprocess.run(honest, cwd=ROOT, check=False).returncode != 0:
            subprocess.run([*honest, "--compatibility", "linux"], cwd=ROOT, check=True)
        (wheel,) = Path(made).glob("*.whl")
        return Path(shutil.move(str(wheel), str(DIST / wheel.name)))


def inspect(wheel: Path) -> str:
    """What the wheel requires; fails if it lacks its stubs or its library.

    Raises:
        SystemExit: something is missing in it.
    """
    with ZipFile(wheel) as archive:
        names = archive.namelist()
        for needed in ("hotloop/py.typed", "hotloop/_core.pyi", "hotloop/_core.cpython-"):
            if not any(name.startswith(needed) for name in names):
                raise SystemExit(f"{wheel.name} has no {needed}")
        if sum(name.endswith(".so") for name in names) != 1:
            raise SystemExit(f"{wheel.name} has libraries of other interpreters")
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        return str(message_from_bytes(archive.read(metadata))["Requires-Python"])


def try_out(python: str, wheel: Path) -> None:
    """Install the wheel alone into an empty environment and run an echo on it."""
    with tempfile.TemporaryDirectory() as directory:
        environment = Path(directory) / "venv"
        maker = ROOT / "tools" / "make_venv.py"
        inside = str(environment / "bin" / "python")
        subprocess.run([python, str(maker), str(environment)], check=True)
        install = [inside, "-m", "pip", "install", "--quiet", "--no-index", str(wheel)]
        subprocess.run(install, check=True)
        subprocess.run([inside, "-W", "error", "-c", SMOKE], cwd="/", check=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
