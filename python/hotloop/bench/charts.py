"""Charts as SVG: one row per scenario, ratios on a logarithmic axis, no library needed.

hotloop is a bar that begins at the base's line; every other loop is a mark on the same row. The
axis is logarithmic because a ratio of 2 and one of 1/2 are the same distance from 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from .catalogue import Scenario
from .measurements import FLOOR
from .results import Results

ROW = 26
LEFT = 300
PLOT = 470
RIGHT = 130
TOP = 64
LEGEND_LINE = 20
FONT = "font-family='DejaVu Sans, Verdana, Helvetica, Arial, sans-serif'"

OURS = "#c2410c"
# Colour and shape together: neither colour blindness nor a grey print merges two loops.
MARKS = {
    "asyncio": ("#475569", "circle"),
    "uvloop": ("#0f172a", "square"),
    "rloop": ("#1d4ed8", "up"),
    "zloop": ("#15803d", "down"),
    "blazio": ("#7e22ce", "diamond"),
    "zuvloop": ("#0e7490", "square"),
    "rsloop": ("#be185d", "circle"),
    "aiofastnet": ("#a16207", "up"),
    "aiofastnet+uvloop": ("#a16207", "down"),
    FLOOR: ("#000000", "line"),
}
SHAPES = ("circle", "square", "up", "down", "diamond")
# What the axis may show; the ends are moved to these. The second when they are close together.
TICKS = tuple(2.0**power for power in range(-6, 7))
FINE_TICKS = (0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3)
FINE = 2.5


def chart(results: Results, group: str, scenarios: Sequence[Scenario]) -> str | None:
    """The drawing (str, SVG), or None if there is nothing to compare.

    :param group: its title (str).
    :param scenarios: its rows, from above.
    """
    base = results.base
    others = [loop for loop in results.columns() if loop not in ("hotloop", base)]
    points = {
        (scenario.name, loop): found
        for scenario in scenarios
        for loop in ["hotloop", *others]
        if (found := results.compare(scenario, loop, base)) is not None
    }
    if not points:
        return None
    rows = [one for one in scenarios if any(name == one.name for name, _ in points)]
    shown = [loop for loop in others if any(on == loop for _, on in points)]
    ends = [end for found in points.values() for end in (found.least, found.greatest)]
    ends += [wanted for one in rows if (wanted := results.target(one, "hotloop")) is not None]
    axis = Axis(min([*ends, 0.9]), max([*ends, 1.1]))
    legend, legend_lines = _legend(shown, base, "hotloop" in results.loops)
    top = TOP + LEGEND_LINE * legend_lines
    height = top + ROW * len(rows) + 40
    width = LEFT + PLOT + RIGHT
    size = f"width='{width}' height='{height}' viewBox='0 0 {width} {height}'"
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' {size} role='img'>",
        f"<title>{escape(group)}: ratios to {escape(base)}</title>",
        f"<rect width='{width}' height='{height}' fill='#ffffff'/>",
        _text(16, 26, group, size=17, weight="bold"),
        _text(16, 46, f"how many times better than {base}, logarithmic", colour="#475569"),
        *legend,
        *_bands(top, len(rows), width),
        *_grid(axis, top, len(rows), base),
    ]
    for at, scenario in enumerate(rows):
        y = top + ROW * at + ROW / 2
        parts.append(_text(LEFT - 14, y + 4, scenario.title, anchor="end"))
        ours = points.get((scenario.name, "hotloop"))
        if ours is not None:
            begin, end = sorted((axis.x(1.0), axis.x(ours.median)))
            parts.append(
                f"<rect x='{begin:.1f}' y='{y - 7:.1f}' width='{max(end - begin, 1):.1f}' "
                f"height='14' fill='{OURS}' fill-opacity='0.85'/>"
            )
            least, greatest = axis.x(ours.least), axis.x(ours.greatest)
            parts.append(_line(least, y, greatest, y, "#431407"))
            label = f"{ours.median:.2f}"
            target = results.target(scenario, "hotloop")
            if target is not None:
                parts.append(_line(axis.x(target), y - 10, axis.x(target), y + 10, "#16a34a", 2))
                label += f"  (≥ {target:g})"
            parts.append(_text(LEFT + PLOT + 16, y + 4, label, weight="bold"))
        for loop in shown:
            found = points.get((scenario.name, loop))
            if found is not None:
                parts.append(_mark(loop, axis.x(found.median), y))
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


class Axis:
    """Where a ratio stands; ends at the ticks around the *least* and the *greatest* (float)."""

    def __init__(self, least: float, greatest: float) -> None:
        self.fine = greatest / least < FINE
        ticks = FINE_TICKS if self.fine else TICKS
        below = [tick for tick in ticks if tick <= least] or [ticks[0]]
        above = [tick for tick in ticks if tick >= greatest] or [ticks[-1]]
        self.low, self.high = below[-1], above[0]
        self.ticks = [tick for tick in ticks if self.low <= tick <= self.high]

    def x(self, value: float) -> float:
        """The place (float, pixels) of a ratio *value* (float); those beyond stand at the end."""
        value = min(max(value, self.low), self.high)
        part = math.log(value / self.low) / math.log(self.high / self.low)
        return LEFT + PLOT * part


def _bands(top: float, rows: int, width: int) -> list[str]:
    """Every other row shaded, so that the eye stays in it from the title to the number."""
    return [
        f"<rect x='8' y='{top + ROW * at:.1f}' width='{width - 16}' height='{ROW}' fill='#f1f5f9'/>"
        for at in range(0, rows, 2)
    ]


def _grid(axis: Axis, top: float, rows: int, base: str) -> list[str]:
    bottom = top + ROW * rows
    parts = []
    for tick in axis.ticks:
        x = axis.x(tick)
        colour, width = ("#334155", 1.5) if tick == 1 else ("#cbd5e1", 1.0)
        parts.append(_line(x, top - 4, x, bottom + 4, colour, width))
        name = f"{tick:g}" if tick >= 1 or axis.fine else f"1/{1 / tick:g}"
        parts.append(_text(x, bottom + 20, name, anchor="middle", colour="#475569"))
    parts.append(_text(LEFT + PLOT + 16, bottom + 20, f"1 = {base}", colour="#475569"))
    return parts


def _legend(loops: Sequence[str], base: str, ours: bool) -> tuple[list[str], int]:
    """The drawing of the legend, and how many lines it takes (int)."""
    parts: list[str] = []
    x, line = 24.0, 0
    entries = (["hotloop (bar; thin line: least to greatest)"] if ours else []) + list(loops)
    if ours and base == "uvloop":
        entries.append("target")
    for name in entries:
        length = 24 + 7.4 * len(name) + 18
        if x + length > LEFT + PLOT + RIGHT:
            x, line = 24.0, line + 1
        y = TOP + 4 + LEGEND_LINE * line
        if name.startswith("hotloop"):
            parts.append(f"<rect x='{x - 8:.1f}' y='{y - 6:.1f}' width='16' height='12' "
                         f"fill='{OURS}' fill-opacity='0.85'/>")  # fmt: skip
        elif name == "target":
            parts.append(_line(x, y - 8, x, y + 8, "#16a34a", 2))
        else:
            parts.append(_mark(name, x, y))
        parts.append(_text(x + 14, y + 4, name))
        x += length
    return parts, line + 1


def _mark(loop: str, x: float, y: float) -> str:
    colour, shape = MARKS.get(loop, ("#64748b", SHAPES[len(loop) % len(SHAPES)]))
    edge = f"fill='{colour}' stroke='#ffffff' stroke-width='1'"
    match shape:
        case "circle":
            return f"<circle cx='{x:.1f}' cy='{y:.1f}' r='5' {edge}/>"
        case "square":
            return f"<rect x='{x - 4.5:.1f}' y='{y - 4.5:.1f}' width='9' height='9' {edge}/>"
        case "up":
            corners = ((0, -6), (6, 5), (-6, 5))
        case "down":
            corners = ((0, 6), (6, -5), (-6, -5))
        case "diamond":
            corners = ((0, -6), (6, 0), (0, 6), (-6, 0))  # type: ignore[assignment]
        case _:
            return (
                f"<path d='M{x:.1f} {y - 10:.1f}V{y + 10:.1f}' stroke='{colour}' "
                "stroke-width='2' stroke-dasharray='3 2'/>"
            )
    places = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    return f"<polygon points='{places}' {edge}/>"


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1) -> str:
    return (
        f"<line x1='{x1:.1f}' y1='{y1:.1f}' x2='{x2:.1f}' y2='{y2:.1f}' "
        f"stroke='{colour}' stroke-width='{width:g}'/>"
    )


def _text(
    x: float,
    y: float,
    text: str,
    *,
    size: int = 12,
    anchor: str = "start",
    weight: str = "normal",
    colour: str = "#0f172a",
) -> str:
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' {FONT} font-size='{size}' font-weight='{weight}' "
        f"text-anchor='{anchor}' fill='{colour}'>{escape(text)}</text>"
    )
