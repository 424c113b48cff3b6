"""What the suites of other projects found: kept for each Python, and put into a page as a table."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from foreign_suite import BUILD, VERSION

#: The table stands between these two lines of the page.
BEGIN, END = "<!-- suites: begin -->", "<!-- suites: end -->"


@dataclass(frozen=True)
class Result:
    """One suite on one Python.

    `passed` counts the tests that pass on our loop; `failed` has those that pass on the stdlib loop
    only, with the details; `excused` the listed exceptions among these, with their reasons;
    `not_judged` those that pass on
    neither, with what became of them on the stdlib loop; `second_try` those that passed on ours only when they
    were run once more; `seconds` says how long the run on ours took, `cpu` how much of
    the processor's time, in seconds, it used.
    """

    suite: str
    version: str
    python: str
    quick: bool
    left_out: str
    passed: int
    failed: dict[str, str]
    excused: dict[str, str]
    not_judged: dict[str, str]
    second_try: list[str]
    loops: int
    seconds: float
    cpu: float = 0

    def summary(self) -> str:
        """The numbers in one line."""
        return (
            f"{self.passed} passed ({len(self.second_try)} at the second try), "
            f"{len(self.failed)} failed, {len(self.excused)} listed exceptions, "
            f"{len(self.not_judged)} pass on neither loop; {self.loops} loops made; "
            f"{self.seconds:.0f} s, {self.cpu:.0f} s of them computing"
        )


def save(result: Result) -> None:
    """Keeps a result for the page, in place of what was known about this suite and Python."""
    directory = BUILD / VERSION / "results"
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / f"{result.suite}{'-quick' if result.quick else ''}.json"
    file.write_text(json.dumps(asdict(result), indent=1), encoding="utf-8")


def write(page: Path) -> None:
    """Puts the kept results of all Pythons into the page, in place of the table that is there.

    Raises:
        ValueError: the page has no place for it.
    """
    text = page.read_text(encoding="utf-8")
    before, found, rest = text.partition(BEGIN)
    _, also_found, after = rest.partition(END)
    if not found or not also_found:
        raise ValueError(f"{page} has no lines {BEGIN} and {END}")
    table = "\n".join(_rows(_kept()))
    page.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


def _kept() -> list[Result]:
    files = [file for file in BUILD.glob("*/results/*.json") if "-quick" not in file.name]
    results = [Result(**json.loads(file.read_text(encoding="utf-8"))) for file in files]
    return sorted(results, key=lambda result: (result.suite, _numbers(result.python)))


def _numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]


def _rows(results: list[Result]) -> list[str]:
    rows = [
        "| suite | Python | pass | fail | exceptions | fail on both | skipped | left out |",
        "|---|---|---:|---:|---:|---:|---:|---|",
    ]
    for result in results:
        skipped = list(result.not_judged.values()).count("skipped")
        rows.append(
            f"| {result.suite} {result.version} | {result.python} | {result.passed} "
            f"| {len(result.failed)} | {len(result.excused)} | {len(result.not_judged) - skipped} "
            f"| {skipped} | {result.left_out} |"
        )
    return rows
