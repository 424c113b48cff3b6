"""The suites of foreign.toml, and setting one up: its source, and an environment of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build" / "foreign"
VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"


@dataclass(frozen=True)
class Suite:
    """One entry of foreign.toml, which says what the fields mean."""

    name: str
    version: str
    arguments: list[str]
    requirements: list[str]
    left_out: str = ""
    quick: list[str] | None = None
    bind: str = ""
    source: bool = False
    environment: dict[str, str] = field(default_factory=dict)
    minutes: float = 10

    @property
    def directory(self) -> Path:
        """Where the source distribution is unpacked; the tests run in it."""
        return BUILD / VERSION / f"{self.name}-{self.version}"

    @property
    def venv(self) -> Path:
        """The suite's environment."""
        return BUILD / VERSION / f"venv-{self.name}"

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return self.venv / "bin" / "python"


class NotRun(Exception):
    """A suite that cannot be set up or judged here; the text says why."""


def load(names: list[str], quick: bool) -> list[Suite]:
    """The suites of these names, or all; `quick` leaves out those without a quick subset.

    Raises:
        NotRun: there is no suite of that name.
    """
    entries = tomllib.loads((HERE / "foreign.toml").read_text(encoding="utf-8"))["suite"]
    for entry in entries:
        if entry.get("quick") is True:
            entry["quick"] = entry["arguments"]
    suites = {entry["name"]: Suite(**entry) for entry in entries}
    unknown = [name for name in names if name not in suites]
    if unknown:
        raise NotRun(f"no such suite: {', '.join(unknown)}; there are {', '.join(suites)}")
    chosen = [suites[name] for name in names] or list(suites.values())
    return [suite for suite in chosen if suite.quick is not None or not quick]


def prepare(suite: Suite) -> None:
    """Fetches the suite's source and makes its environment, once.

    Raises:
        NotRun: the package index does not answer, or something cannot be built here.
    """
    wanted = ["pytest", "pytest-timeout", *suite.requirements]
    wanted += [] if suite.source else [f"{suite.name}=={suite.version}"]
    ready = suite.venv / ".ready"
    made_of = "\n".join([*wanted, suite.version, sys.version])
    if ready.exists() and ready.read_text(encoding="utf-8") == made_of:
        return
    shutil.rmtree(suite.venv, ignore_errors=True)
    shutil.rmtree(suite.directory, ignore_errors=True)
    with tarfile.open(_source(suite)) as archive:
        top = archive.getnames()[0].partition("/")[0]
        archive.extractall(suite.directory.parent / "unpacked", filter="data")
    (suite.directory.parent / "unpacked" / top).rename(suite.directory)
    if not suite.source:
        # The wheel's compiled package is what programs import; this one would hide it.
        shutil.rmtree(suite.directory / suite.name, ignore_errors=True)
    venv.create(suite.venv, symlinks=True, with_pip=False)
    _set_up([*_PIP, "--python", str(suite.python), "install", "-q", *wanted])
    ready.write_text(made_of, encoding="utf-8")


_PIP = [sys.executable, "-m", "pip"]


def _source(suite: Suite) -> Path:
    """The source distribution, fetched if it is not there yet."""
    sdists = BUILD / "sdists"
    sdists.mkdir(parents=True, exist_ok=True)
    found = list(sdists.glob(f"{suite.name}-{suite.version}.tar.gz"))
    if not found:
        project = f"{suite.name}=={suite.version}"
        options = ["-q", "--no-deps", "--no-binary", suite.name]
        _set_up([*_PIP, "download", *options, "-d", str(sdists), project])
        found = list(sdists.glob(f"{suite.name}-{suite.version}.tar.gz"))
    if not found:
        raise NotRun(f"no source distribution of {suite.name} {suite.version}")
    return found[0]


def _set_up(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotRun(f"{' '.join(command)}:\n{(done.stdout + done.stderr)[-1500:]}")
