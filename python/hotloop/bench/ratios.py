"""Ratios of values that were measured in the same round, and how they are written."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Ratio:
    """How many times better than the base: median, least and greatest over the rounds."""

    median: float
    least: float
    greatest: float
    rounds: int

    def __str__(self) -> str:
        if self.rounds == 1:
            return f"{self.median:.2f}"
        return f"{self.median:.2f} ({self.least:.2f}–{self.greatest:.2f})"


def median(values: Sequence[float]) -> float:
    """The median of *values* (floats, at least one)."""
    return statistics.median(values)


def ratio(
    values: Sequence[float], base: Sequence[float], *, higher_is_better: bool = True
) -> Ratio:
    """Compare round by round; the result is above 1 if *values* are better than *base*.

    :param values: one positive float a round, all in the same unit.
    :param base: the same for what is compared with.
    :raises ValueError: if the rounds do not match, or there are none.
    """
    pairs = zip(values, base, strict=True)
    return spread([mine / other if higher_is_better else other / mine for mine, other in pairs])


def spread(each: Sequence[float]) -> Ratio:
    """The ratios of the rounds (*each*, floats) as one.

    :raises ValueError: if there are none.
    """
    if not each:
        raise ValueError("no rounds to compare")
    return Ratio(statistics.median(each), min(each), max(each), len(each))


def table(rows: Sequence[Sequence[str]], text_columns: Sequence[int] = (0,)) -> str:
    """Align *rows* of cells (str), the first being the heading, into lines of text (str).

    :param text_columns: the indices (int) of the columns that are aligned to the left.
    """
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        aligned = (
            cell.ljust(width) if at in text_columns else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join(aligned).rstrip()

    return "\n".join([line(rows[0]), line(["-" * width for width in widths]), *map(line, rows[1:])])
