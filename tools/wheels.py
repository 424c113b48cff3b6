"""Build one wheel for each Python that there is, into dist/, and try each in an empty environment.

    python tools/wheels.py [--plain] PYTHON...

Run by `make wheels` with maturin's environment. The wheels are profile-guided where a profile can be
made (tools/profile_guided.py) and plain release builds elsewhere, or with `--plain`; the line about
each says which. A wheel's platform tag is what maturin's own check of
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

import profile_guided

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


def main(words: list[str]) -> int:
    """Build, look at and try a wheel for each interpreter; return an exit status."""
    DIST.mkdir(exist_ok=True)
    pythons = [word for word in words if word != "--plain"]
    for python in pythons:
        profile = None if "--plain" in words else profile_or_none(python)
        kind = "plain release build" if profile is None else "profile-guided build"
        wheel = build(python, profile)
        print(f"{wheel.relative_to(ROOT)}: {kind}, requires Python {inspect(wheel)}", flush=True)
        try_out(python, wheel)
    return 0


def profile_or_none(python: str) -> Path | None:
    """The profile to build with; None where there cannot be one, with the reason on stderr."""
    try:
        return profile_guided.profile(python)
    except profile_guided.NoProfile as why:
        print(f"wheels: NOT profile-guided: {why}", file=sys.stderr, flush=True)
        return None


def build(python: str, profile: Path | None) -> Path:
    """The wheel for an interpreter: with a manylinux tag if the library's symbols allow one."""
    with tempfile.TemporaryDirectory(dir=DIST) as made:
        command = [sys.executable, "-m", "maturin", "build", "--release", "--out", made]
        environment = None
        if profile is not None:
            command += profile_guided.maturin_target()
            environment = profile_guided.environment(f"-Cprofile-use={profile}")
            environment["HOTLOOP_BUILD"] = "profile-guided"
        # Without --compatibility, maturin looks for the lowest manylinux tag that is true.
        honest = [*command, "--interpreter", python]
        if subprocess.run(honest, cwd=ROOT, env=environment, check=False).returncode != 0:
            plainly = [*honest, "--compatibility", "linux"]
            subprocess.run(plainly, cwd=ROOT, env=environment, check=True)
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
