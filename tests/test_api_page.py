"""docs/api.md against the package, and docs/divergences.md against the tests that it names."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.hotloop_only

ROOT = Path(__file__).parent.parent
#: Exported by some Pythons only.
SINCE = {"eager_task_factory": (3, 12)}
UNTIL = {"EventLoopPolicy": (3, 15)}


def rows_of_the_page() -> dict[str, str]:
    """Each exported name in the table with its signature, or with "" if none is given."""
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    found = re.findall(r"^\| `hotloop\.(\w+)(\([^`]*\))?` \|", page, re.MULTILINE)
    return dict(found)


def test_the_page_has_each_exported_name_and_no_other(hotloop):
    version = sys.version_info[:2]
    expected = {
        name
        for name in rows_of_the_page()
        if SINCE.get(name, version) <= version <= UNTIL.get(name, version)
    }
    assert expected == set(hotloop.__all__)
    for name in expected:
        assert hasattr(hotloop, name)


@pytest.mark.parametrize(
    "name", sorted(name for name, given in rows_of_the_page().items() if given)
)
def test_the_page_gives_the_signature(hotloop, name):
    if name not in hotloop.__all__:
        pytest.skip("not on this Python")
    signature = inspect.signature(getattr(hotloop, name))
    plain = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in signature.parameters.values()
        if parameter.name != "eager_start"
    ]
    given = str(inspect.Signature(plain))
    assert rows_of_the_page()[name] == given


@pytest.mark.parametrize("word", ["tls_engine", "HOTLOOP_TLS"])
def test_the_page_names_the_switches(word):
    assert word in (ROOT / "docs" / "api.md").read_text(encoding="utf-8")


def test_each_test_that_a_divergence_names_is_there():
    page = (ROOT / "docs" / "divergences.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ") and "`" in line][0:]
    for row in rows:
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
        if cells[0] == "where":
            continue
        assert len(cells) == 6, row
        named = re.fullmatch(r"`([\w/]+\.py)::(\w+)`", cells[5])
        assert named, f"this row names no test: {row}"
        source = (ROOT / "tests" / named[1]).read_text(encoding="utf-8")
        assert re.search(rf"^(async )?def {named[2]}\(", source, re.MULTILINE), cells[5]
