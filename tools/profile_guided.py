"""The profile for a profile-guided build: `python tools/profile_guided.py PYTHON` prints its path.

The extension is built with counters in it (rustc's `-Cprofile-generate`), the benchmarks run on it in
a short form, and LLVM's `llvm-profdata` merges what was counted. tools/wheels.py builds with the
result (`-Cprofile-use`), which lays the code out as the benchmarks went through it.

rustc comes without `llvm-profdata`. rustup's component `llvm-tools` has it, and so has any LLVM that
is about as new as rustc's: profiles of rustc 1.95 are read by LLVM 19 (Debian's package `llvm-19`)
and later. Whether one does is tried on a program of one line before anything is built.

A profile holds for the sources, the compiler and the Python that it was made with, so its name has
their digest; one that is there already is taken. Another Python's would do in part only: rustc finds a
function by the hash in its symbol, and a fifth of them have another one there.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOM = ROOT / "build" / "profile"
LOG = ROOT / "build" / "logs" / "profile-guided.log"
# More room for the callees and lengths that a place sees than by default, which is too little here.
COUNT = ("-Cprofile-generate", "-Cllvm-args=-vp-counters-per-site=8")
SOURCES = ("Cargo.toml", "Cargo.lock", "pyproject.toml", "crates/**/*.rs", "crates/*/Cargo.toml")
# Asyncio's Python code more than ours, or ten thousand connections that do nothing.
NOT_RUN = re.compile(r"(own_)?(tree|groups)_|memory|echo_idle")
SECONDS = "0.15"


class NoProfile(Exception):
    """A profile cannot be made here; the message says why, and what would help."""


def main(pythons: list[str]) -> int:
    """Make a profile for each interpreter, or find it; return an exit status."""
    try:
        for python in pythons:
            print(profile(python))
    except NoProfile as why:
        print(f"profile_guided: {why}", file=sys.stderr)
        return 1
    return 0


def profile(python: str) -> Path:
    """The file (Path) to give to `-Cprofile-use` when building for the interpreter *python* (str).

    It is made if it is not there, which takes some minutes.

    Raises:
        NoProfile: no `llvm-profdata` reads this rustc's profiles, or the training failed.
    """
    made = ROOM / f"{digest(python)}.profdata"
    if made.exists():
        say(f"{made.relative_to(ROOT)} is there already")
        return made
    ROOM.mkdir(parents=True, exist_ok=True)
    LOG.parent.mkdir(parents=True, exist_ok=True)
    LOG.write_bytes(b"")
    merge = find_profdata()
    say(f"{merge} reads the profiles of this rustc")
    with tempfile.TemporaryDirectory(dir=ROOM) as folder:
        counted = Path(folder) / "counted"
        train(counting_environment(python, Path(folder)), counted)
        merged = Path(folder) / "merged.profdata"
        run([merge, "merge", "--output", str(merged), str(counted)], "merging the profile")
        merged.rename(made)
    say(f"{made.relative_to(ROOT)} is made")
    return made


def environment(*flags: str) -> dict[str, str]:
    """The variables (str) for a cargo that adds *flags* (str) to those of rustc.

    With cargo's `--target` they hold for what is built for that target alone: build scripts and
    procedural macros go without. `maturin_target` has the words.
    """
    known = os.environ.get("CARGO_ENCODED_RUSTFLAGS", "").split("\x1f")
    if known == [""]:
        known = os.environ.get("RUSTFLAGS", "").split()
    return {**os.environ, "CARGO_ENCODED_RUSTFLAGS": "\x1f".join([*known, *flags])}


def maturin_target() -> list[str]:
    """The options (list of str) that make maturin name the target, which is this machine."""
    return ["--target", said_by_rustc("host")]


def find_profdata() -> str:
    """The path (str) of an `llvm-profdata` that works with this rustc.

    Raises:
        NoProfile: there is none.
    """
    tried = []
    with tempfile.TemporaryDirectory(dir=ROOM) as folder:
        for candidate in candidates():
            if works(candidate, Path(folder)):
                return candidate
            tried.append(candidate)
    rustc = f"rustc {said_by_rustc('release')} (LLVM {said_by_rustc('LLVM version')})"
    found = f"{', '.join(tried)} cannot read its profiles" if tried else "none was found"
    raise NoProfile(
        f"{rustc} needs an llvm-profdata, and {found}; `rustup component add llvm-tools` has one, "
        f"as has LLVM 19 or later; $LLVM_PROFDATA can name it (see {LOG.relative_to(ROOT)})"
    )


def candidates() -> Iterator[str]:
    """Yield the programs (str) to try: the one that was named, rustup's, PATH's, Debian's."""
    if named := os.environ.get("LLVM_PROFDATA"):
        yield named
        return
    sysroot = output("rustc", "--print", "sysroot").strip()
    places = [Path(sysroot, "lib", "rustlib", said_by_rustc("host"), "bin", "llvm-profdata")]
    if on_path := shutil.which("llvm-profdata"):
        places.append(Path(on_path))
    versions = Path("/usr/lib").glob("llvm-*/bin/llvm-profdata")
    newest_first = sorted(versions, key=lambda path: (len(str(path)), str(path)), reverse=True)
    for path in dict.fromkeys([*places, *newest_first]):
        if path.exists():
            yield str(path)


def works(profdata: str, folder: Path) -> bool:
    """Whether the program *profdata* (str) merges what this rustc's counters write, and rustc reads that."""
    source, counted = folder / "one.rs", folder / "one.profraw"
    merged, built = folder / "one.profdata", folder / "one"
    source.write_text("fn main() {}\n", encoding="utf-8")
    for path in (counted, merged):
        path.unlink(missing_ok=True)
    rustc = ["rustc", "-O", "-o", str(built), str(source)]
    steps = (
        [*rustc, "-Cprofile-generate"],
        [str(built)],
        [profdata, "merge", "--output", str(merged), str(counted)],
        [*rustc, f"-Cprofile-use={merged}"],
    )
    variables = {**os.environ, "LLVM_PROFILE_FILE": str(counted)}
    return all(succeeds(step, variables) for step in steps)


def counting_environment(python: str, folder: Path) -> str:
    """The python (path, str) of an environment, made with *python* (str), whose extension counts."""
    say("building the extension with counters: some minutes")
    build = [sys.executable, "-m", "maturin", "build", "--release", "--out", str(folder)]
    build += ["--interpreter", python, "--compatibility", "linux", *maturin_target()]
    run(build, "the build with counters", environment(*COUNT))
    (wheel,) = folder.glob("*.whl")
    maker = ROOT / "tools" / "make_venv.py"
    run([python, str(maker), str(folder / "venv")], "the environment for the training")
    inside = str(folder / "venv" / "bin" / "python")
    install = [inside, "-m", "pip", "install", "--quiet"]
    run([*install, "--no-index", str(wheel)], "installing the extension with counters")
    frameworks = [*install, "-r", str(ROOT / "benches" / "requirements.txt")]
    if not succeeds(frameworks, {**os.environ}):
        say("uvicorn and aiohttp cannot be installed: training without them")
    return inside


def train(python: str, counted: Path) -> None:
    """Run the benchmarks; every process adds its counts to files in the folder *counted*."""
    bench = [python, "-P", "-m", "hotloop", "bench"]
    variables = {**os.environ, "LLVM_PROFILE_FILE": str(counted / "%m.profraw")}
    names = [line.split()[0] for line in output(*bench, "--list", variables=variables).splitlines()]
    chosen = [name for name in names if not NOT_RUN.match(name)]
    say(f"training with {len(chosen)} benchmarks: some minutes")
    bench += ["--loops", "hotloop", "--base", "hotloop", "--rounds", "1", "--seconds", SECONDS]
    bench += ["--only", ",".join(chosen)]
    if not Path(variables.get("HOTLOOP_LOAD", "")).is_file():
        variables.pop("HOTLOOP_LOAD", None)  # then the load is in Python, which takes no longer
    # Progress is on stderr; the table on stdout would be of an extension that is busy counting.
    with LOG.open("ab") as log:
        done = subprocess.run(bench, cwd=ROOT, env=variables, stdout=log, check=False)
    if done.returncode != 0:
        raise NoProfile(f"the training failed (see {LOG.relative_to(ROOT)})")


def digest(python: str) -> str:
    """What a profile depends on, as hexadecimal digits (str)."""
    summed = hashlib.sha256(output("rustc", "-vV").encode())
    summed.update(output(python, "-c", "import sys; print(sys.version)").encode())
    summed.update("\0".join((*COUNT, os.environ.get("RUSTFLAGS", ""))).encode())
    for path in sorted(path for pattern in SOURCES for path in ROOT.glob(pattern)):
        summed.update(f"\0{path.relative_to(ROOT)}\0".encode())
        summed.update(path.read_bytes())
    return summed.hexdigest()[:16]


def said_by_rustc(name: str) -> str:
    """The line (str) of `rustc -vV` that begins with *name* (str), without it."""
    for line in output("rustc", "-vV").splitlines():
        if line.startswith(f"{name}: "):
            return line.removeprefix(f"{name}: ")
    return "?"


def output(*command: str, variables: dict[str, str] | None = None) -> str:
    """What a *command* (str) prints on stdout (str), with *variables* (str) or ours as its environment.

    Raises:
        NoProfile: it failed.
    """
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=variables, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise NoProfile(f"{' '.join(command[:3])}: {error}") from None
    return done.stdout


def run(command: Sequence[str], what: str, variables: dict[str, str] | None = None) -> None:
    """Run a *command* (list of str), its output into the log.

    Raises:
        NoProfile: it failed; the message begins with *what* (str).
    """
    if not succeeds(command, variables or {**os.environ}):
        raise NoProfile(f"{what} failed (see {LOG.relative_to(ROOT)})")


def succeeds(command: Sequence[str], variables: dict[str, str]) -> bool:
    """Run a *command* (list of str), its output into the log; whether its exit status was 0."""
    with LOG.open("ab") as log:
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=variables, stdout=log, stderr=subprocess.STDOUT, check=False
            )
        except OSError as error:
            log.write(f"{command[0]}: {error}\n".encode())
            return False
    return done.returncode == 0


def say(text: str) -> None:
    """Print a line of progress on stderr."""
    print(f"profile: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
