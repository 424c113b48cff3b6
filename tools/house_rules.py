"""Check the house rules that no linter knows: `python tools/house_rules.py [DIRECTORY]`.

Every source file begins with a doc comment, no file is longer than 800 lines unless its first
lines say why (a line that begins with `Length:`), and half of the files have at most 200 lines.
A link from one page to another file leads somewhere. Every `SAFETY:` comment cites a rule: by its letter and number
(`A2`), which some file of the crate defines (`//! - **A2 ...**`); as `rule 2` of its own file or folder; with "as above" or
"as in `name`", an earlier comment of the file that does so; or with "by the caller", the `# Safety` section of the
function around it. Prints each breach as `path: what is wrong`; the exit status is 1 if there is any.
"""

from __future__ import annotations

import re
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

LONGEST = 800
MEDIAN = 200
# How far down a file the line that justifies its length may stand.
HEADER = 40
ROOMS = ("crates", "python", "tests", "benches", "tools")
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")
UNSAFE = re.compile(r"^(?!\s*//).*\bunsafe (\{|impl|fn|extern)", re.MULTILINE)
#: A `SAFETY:` comment with the lines that continue it; a rule where it is defined; the ways to cite one.
SAFETY = re.compile(r"//[ ]SAFETY:(?:.*\n\s*//(?![/!]))*.*")
RULE_DEFINED = re.compile(r"^//! - \*\*([A-Z]\d+)\b", re.MULTILINE)
RULE_CITED = re.compile(r"\b([A-Z]\d+)\b")
RULE_OF_FILE = re.compile(r"\brules? (\d)")
EARLIER = re.compile(r"\bas (above|in `|for )")
CALLERS = re.compile(r"\bby the caller\b|\bthe caller's\b")
OPENINGS = {".rs": ("//!", "#![doc"), ".py": ('"""', 'r"""')}


def main(argv: list[str]) -> int:
    """Check the checkout in `argv[1]` (default: the one this file is in); return an exit status."""
    root = Path(argv[1]) if len(argv) > 1 else Path(__file__).resolve().parent.parent
    files = sorted(sources(root))
    breaches = [
        f"{path.relative_to(root)}: {breach}"
        for path in files
        for breach in breaches_of(path.suffix, path.read_text(encoding="utf-8").splitlines())
    ]
    breaches += unsafe_outside_rooms(root, files)
    breaches += safety_without_rule(root, files)
    for page in pages(root):
        for link in LINK.findall(page.read_text(encoding="utf-8")):
            if not (page.parent / link).exists():
                breaches.append(f"{page.relative_to(root)}: the link to {link} leads nowhere")
    for suffix in OPENINGS:
        lengths = [len(path.read_bytes().splitlines()) for path in files if path.suffix == suffix]
        if lengths and statistics.median(lengths) > MEDIAN:
            breaches.append(
                f"half of the *{suffix} files have more than {statistics.median(lengths):.0f} "
                f"lines; {MEDIAN} is the limit"
            )
    print("\n".join(breaches) if breaches else f"{len(files)} files, no breach")
    return 1 if breaches else 0


def unsafe_outside_rooms(root: Path, files: list[Path]) -> Iterator[str]:
    """Rust files with `unsafe` in rooms that `docs/unsafe.md` does not list; rooms whose first file has no rules."""
    page = (root / "docs" / "unsafe.md").read_text(encoding="utf-8")
    rooms = re.findall(r"^\| `([^`]+)`", page, re.MULTILINE)
    for room in rooms:
        opening = root / room if room.endswith(".rs") else root / room / "mod.rs"
        if not re.search(
            r"^//!.*\bRules\b|^//! 1\.", opening.read_text(encoding="utf-8"), re.MULTILINE
        ):
            yield f"{opening.relative_to(root)}: does not say which rules its unsafe code follows"
    for path in files:
        name = str(path.relative_to(root))
        has_unsafe = path.suffix == ".rs" and UNSAFE.search(path.read_text(encoding="utf-8"))
        if has_unsafe and not any(name.startswith(room) for room in rooms):
            yield f"{name}: has unsafe code, but docs/unsafe.md does not list its room"


def safety_without_rule(root: Path, files: list[Path]) -> Iterator[str]:
    """`SAFETY:` comments that cite no rule, or one that the crate does not have."""
    texts = {path: path.read_text(encoding="utf-8") for path in files if path.suffix == ".rs"}
    for path, text in texts.items():
        crate = path.parents[-len(root.parts) - 2]
        defined = {
            rule
            for other, content in texts.items()
            if other.is_relative_to(crate)
            for rule in RULE_DEFINED.findall(content)
        }
        cited_before = False
        for comment in SAFETY.finditer(text):
            words = comment.group()
            cited = set(RULE_CITED.findall(words))
            where = f"{path.relative_to(root)}:{text.count(chr(10), 0, comment.start()) + 1}"
            for rule in sorted(cited - defined):
                yield f"{where}: there is no rule {rule}"
            by_caller = CALLERS.search(words) and ("# Safety" in text or "unsafe fn" in text)
            earlier = EARLIER.search(words) and cited_before
            if not (cited or RULE_OF_FILE.search(words) or by_caller or earlier):
                yield f"{where}: this SAFETY comment cites no rule"
            cited_before = True


def sources(root: Path) -> Iterator[Path]:
    """Yield the source files under the checkout's rooms, without what was built there."""
    for room in ROOMS:
        for path in (root / room).rglob("*"):
            inside = path.relative_to(root).parts
            built = any(part.startswith(".") or part == "target" for part in inside)
            if path.suffix in OPENINGS and not built:
                yield path


def pages(root: Path) -> Iterator[Path]:
    """Yield the Markdown pages: those of the top folder and those of the rooms."""
    yield from sorted(root.glob("*.md"))
    for room in (*ROOMS, "docs"):
        yield from sorted((root / room).rglob("*.md"))


def breaches_of(suffix: str, lines: list[str]) -> Iterator[str]:
    """Yield what is wrong with one file. An empty `__init__.py` is a marker, not a source."""
    if not lines:
        return
    first = lines[1] if lines[0].startswith("#!") and len(lines) > 1 else lines[0]
    if suffix == ".rs":
        first = lines[0]
    if not first.startswith(OPENINGS[suffix]):
        yield "does not begin with a doc comment that says what the file is for"
    if len(lines) > LONGEST and not any(
        line.lstrip("/!# ").startswith("Length:") for line in lines[:HEADER]
    ):
        yield (
            f"{len(lines)} lines; above {LONGEST}, split it, or say why not in its header, "
            "in a line that begins with `Length:`"
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv))
