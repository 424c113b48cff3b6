"""`make wheels` builds with a profile where one can be made, and says why where not."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.hotloop_only,
    pytest.mark.skipif(shutil.which("rustc") is None, reason="builds need rustc"),
]

TOOLS = Path(__file__).parent.parent / "tools"


def imported(name, monkeypatch):
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def profile_guided(tmp_path, monkeypatch):
    """The tool, with a room of its own under a root of its own."""
    module = imported("profile_guided", monkeypatch)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "ROOM", tmp_path / "profile")
    monkeypatch.setattr(module, "LOG", tmp_path / "logs" / "profile-guided.log")
    return module


def test_a_program_that_cannot_read_the_profiles_is_named_in_the_reason(
    profile_guided, monkeypatch
):
    monkeypatch.setenv("LLVM_PROFDATA", "/bin/false")
    with pytest.raises(
        profile_guided.NoProfile, match="/bin/false cannot read .* LLVM 19 or later"
    ):
        profile_guided.profile(sys.executable)
    assert list(profile_guided.ROOM.iterdir()) == []


def test_without_a_profile_wheels_are_plain_and_say_so(profile_guided, monkeypatch, capfd):
    monkeypatch.setenv("LLVM_PROFDATA", "/bin/false")
    wheels = imported("wheels", monkeypatch)
    assert wheels.profile_or_none(sys.executable) is None
    assert "NOT profile-guided: rustc " in capfd.readouterr().err


@pytest.mark.parametrize(("profile", "named"), [(Path("profdata"), "profile-guided"), (None, None)])
def test_the_library_of_a_profile_guided_wheel_is_named_so(
    profile_guided, monkeypatch, tmp_path, profile, named
):
    monkeypatch.delenv("HOTLOOP_BUILD", raising=False)
    wheels = imported("wheels", monkeypatch)
    monkeypatch.setattr(wheels, "DIST", tmp_path)
    names = []

    def build(command, *, env, **_options):
        names.append((os.environ if env is None else env).get("HOTLOOP_BUILD"))
        Path(command[command.index("--out") + 1], "made.whl").touch()
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(wheels.subprocess, "run", build)
    monkeypatch.setattr(wheels.profile_guided, "maturin_target", list)
    wheels.build(sys.executable, profile)
    assert names == [named]


def test_a_profile_that_is_there_is_taken(profile_guided):
    made = profile_guided.ROOM / f"{profile_guided.digest(sys.executable)}.profdata"
    made.parent.mkdir()
    made.touch()
    assert profile_guided.profile(sys.executable) == made


def test_a_profile_is_not_taken_when_the_sources_have_changed(profile_guided, tmp_path):
    source = tmp_path / "crates" / "one" / "src" / "lib.rs"
    source.parent.mkdir(parents=True)
    source.write_text("fn one() {}\n", encoding="utf-8")
    before = profile_guided.digest(sys.executable)
    source.write_text("fn two() {}\n", encoding="utf-8")
    assert profile_guided.digest(sys.executable) != before


def test_flags_are_added_to_those_of_the_environment(profile_guided, monkeypatch):
    monkeypatch.delenv("CARGO_ENCODED_RUSTFLAGS", raising=False)
    monkeypatch.setenv("RUSTFLAGS", "-Copt-level=2 --cfg loom")
    variables = profile_guided.environment("-Cprofile-use=a folder/file")
    assert variables["CARGO_ENCODED_RUSTFLAGS"].split("\x1f") == [
        "-Copt-level=2",
        "--cfg",
        "loom",
        "-Cprofile-use=a folder/file",
    ]
