"""Check the crates that a wheel contains, from their own metadata: `python tools/dependencies.py`.

Every crate that the extension links comes from the registry, at the version that `Cargo.lock` has
with its checksum, under a licence that goes with ours, and is on the short list below with the
reason why it is there. Crates for tests and benchmarks are held to the licences only. A linked crate
is not older than the version in which its last known weakness was mended. Prints each breach; the exit status is 1
if there is any. Needs `cargo`, but no network.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: How the source of a crate from the registry begins.
REGISTRY = "registry+"
#: Licences under which a crate may come; of alternatives one is enough.
LICENCES = {
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
}
#: What may be linked into the extension, and why.
LINKED = {
    "bitflags": "flags of system calls, for rustix",
    "cfg-if": "the choice of the system, for dns-lookup",
    "dns-lookup": "getaddrinfo(3), which rustix does not have",
    "libc": "numbers of the C library, for pyo3-ffi and rustix",
    "linux-raw-sys": "numbers of the kernel, for rustix",
    "memchr": "search in the buffers of streams",
    "once_cell": "values made once, for pyo3",
    "pyo3": "the interpreter's API",
    "pyo3-ffi": "the interpreter's API in C",
    "inventory": "several blocks of methods for one class, for pyo3",
    "rustix": "system calls without unsafe code of ours",
    "socket2": "the addresses of answers, for dns-lookup",
}

#: The advisories of RustSec's database for these crates, and the first version without any of them. Gone through by
#: hand as far as the database could be read, which was up to June 2026; the crates not named here had none.
MENDED = {
    "inventory": ((0, 2, 0), "RUSTSEC-2023-0057, -0058"),
    "once_cell": ((1, 0, 1), "RUSTSEC-2019-0017"),
    "pyo3": (
        (0, 29, 0),
        "RUSTSEC-2020-0074, -2024-0378, -2024-0409, -2025-0020, -2026-0013, -2026-0176, -2026-0177",
    ),
    "rustix": ((0, 38, 19), "GHSA-c827-hfw6-qwvm"),
    "socket2": ((0, 3, 16), "RUSTSEC-2020-0079"),
}


def main() -> int:
    """Check; return the exit status."""
    packages = json.loads(cargo("metadata", "--format-version", "1"))["packages"]
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text(encoding="utf-8"))
    unsigned = {
        package["name"]
        for package in lock["package"]
        if "source" in package and "checksum" not in package
    }
    linked = linked_into()
    breaches = [f"{name}: no checksum in Cargo.lock" for name in sorted(unsigned)]
    for package in packages:
        name = package["name"]
        if package["source"] is None:
            continue
        if not package["source"].startswith(REGISTRY):
            breaches.append(f"{name}: from {package['source']}, not from the registry")
        if not allowed(package["license"] or ""):
            breaches.append(f"{name}: licence {package['license']!r}")
        mended, advisories = MENDED.get(name, ((), ""))
        if name in linked and release(package["version"]) < mended:
            breaches.append(f"{name} {package['version']}: {advisories}")
    breaches += [f"{name}: linked, but not on the list" for name in sorted(linked - set(LINKED))]
    stale = set(LINKED) - linked
    breaches += [f"{name}: on the list, but not linked" for name in sorted(stale)]
    for breach in breaches:
        print(breach)
    print(f"{len(linked)} crates linked, {len(packages)} in all, {len(breaches)} breaches")
    return 1 if breaches else 0


def release(version: str) -> tuple[int, ...]:
    """The numbers of a version, without what marks a preview."""
    return tuple(int(number) for number in re.split("[-+]", version)[0].split("."))


def linked_into() -> set[str]:
    """The names of the foreign crates that the extension links on Linux, macros left out."""
    lines = cargo(
        "tree", "--package", "hotloop", "--edges", "normal,no-proc-macro", "--prefix", "none"
    )
    return {line.split()[0] for line in lines.splitlines() if line and "(" not in line}


def cargo(*arguments: str) -> str:
    """What a cargo command prints, without the network if that will do."""
    command = ["cargo", *arguments, "--locked"]
    done = subprocess.run(
        [*command, "--offline"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:  # the registry's index may not have been fetched yet
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def allowed(licence: str) -> bool:
    """Whether one of a licence expression's alternatives has only licences that we take."""
    alternatives = re.split(r"\s+OR\s+|\s*/\s*", licence.replace("(", "").replace(")", ""))
    if " AND " in licence:
        # `(A OR B) AND C`: every part needs an allowed alternative.
        return all(allowed(part.strip("() ")) for part in licence.split(" AND "))
    return any(alternative.strip() in LICENCES for alternative in alternatives)


if __name__ == "__main__":
    sys.exit(main())
