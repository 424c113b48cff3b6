"""docs/where-is.md names the file of every public method of the loop."""

import importlib.util
from pathlib import Path

import pytest

pytestmark = pytest.mark.hotloop_only

TOOL = Path(__file__).parent.parent / "tools" / "where_is.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("where_is", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_sources_say(tool):
    assert tool.PAGE.read_text(encoding="utf-8") == tool.page(), "run tools/where_is.py"


def test_native_and_inherited_methods_are_told_apart(tool):
    rows = tool.rows()
    assert "callbacks.rs" in rows["call_soon"]
    assert "_sockets.py" in rows["sock_recv"]
    assert rows["shutdown_asyncgens"].startswith("*asyncio*")
