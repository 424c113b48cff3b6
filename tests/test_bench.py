"""`python -m hotloop bench`: what it prints and writes. Nothing here looks at how fast anything is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from hotloop.bench import checks, command, load, loops, machine, measurements, ratios
from hotloop.bench.catalogue import BY_NAME, SCENARIOS, Served
from hotloop.bench.local import programs
from hotloop.bench.loops import LoopNotInstalled, make_loop
from hotloop.bench.measurements import FLOOR
from hotloop.bench.processes import ChildFailed, Server, Skipped, program, run_to_end
from hotloop.bench.report import as_text, write_page
from hotloop.bench.results import Results, UnusableResults, unit

pytestmark = pytest.mark.hotloop_only

ABOUT: dict[str, Any] = {
    "machine": {"processor": "one", "cpus": "2", "system": "Linux", "python": "CPython", "compiler": "c"},
    "cpus": {"measured": 1, "load": 0},
    "seconds": 1.0,
    "load": "the native load generator",
    "packages": {"uvicorn": "1"},
    "date": "2026-01-01",
}  # fmt: skip


def bench(*words: str, expected: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does, with warnings as errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "hotloop", "bench", *words],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == expected, done.stdout + done.stderr
    return done


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["call_soon", "echo", "visit", "udp", "unix", "startup"])
def test_a_quick_run_without_the_native_load_writes_what_it_measured(
    scenario: str, tmp_path: Path
) -> None:
    path = tmp_path / "results.json"
    done = bench(
        *("--quick", "--seconds", "0.1", "--only", scenario, "--loops", "hotloop,asyncio"),
        *("--load", "python", "--json", str(path)),
    )

    assert BY_NAME[scenario].title in done.stdout
    document = json.loads(path.read_text())
    assert document["base"] == "asyncio"
    assert set(document["loops"]) == {"hotloop", "asyncio"}
    assert document["failures"] == document["skipped"] == []
    assert {"processor", "system", "python"} <= document["machine"].keys()
    assert [(row["scenario"], row["loop"]) for row in document["results"]] == [
        (scenario, "hotloop"),
        (scenario, "asyncio"),
    ]
    for row in document["results"]:
        (values,) = row["rounds"].values()
        assert values[row["metric"]] > 0
        assert row["ratio"]["rounds"] == 1
        if isinstance(BY_NAME[scenario], Served):
            assert {"p50_us", "p99_us", "p999_us", "resident_bytes"} <= values.keys()


def test_results_that_were_written_can_be_shown_again(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(invented().as_json())
    assert bench("--read", str(path)).stdout == as_text(invented()) + "\n"


def test_a_loop_that_is_not_installed_is_named() -> None:
    done = bench("--loops", "no_such_loop", "--only", "call_soon", expected=2)
    assert "pip install no_such_loop" in done.stderr


def test_an_unknown_scenario_is_named() -> None:
    assert "no scenario no_such_row" in bench("--only", "no_such_row", expected=2).stderr


def test_importing_hotloop_imports_nothing_of_the_benchmarks() -> None:
    code = "import hotloop, sys; sys.exit(any('bench' in name for name in sys.modules))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_child_on_another_loop_does_not_load_hotloop() -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-X", "importtime"),
            *program("local", "--program", "sleep0", "--loop", "asyncio", "--count", "3")[1:],
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == {"operations": 3}
    assert "hotloop_bench.tasks" in done.stderr and "hotloop._core" not in done.stderr


def test_names_and_programs_of_the_catalogue_exist_once() -> None:
    assert len(BY_NAME) == len(SCENARIOS)
    known = programs()
    for scenario in SCENARIOS:
        name = getattr(scenario, "program", "")
        assert not name or name in known, scenario.name
        assert not isinstance(scenario, Served) or scenario.mode in load.MODES, scenario.name


# Without those that need a server, and those that are smaller ones with a longer preparation.
ALONE = programs().keys() - {"aiohttp_client", "redis_client", "sleeps", "timers_200k"}
# Of the trees, which are large, one of each way.
ALONE -= {name for name in ALONE if name.startswith(("tree_", "groups_"))}
ALONE |= {"tree_none", "groups_memoization"}


@pytest.mark.parametrize("name", sorted(ALONE))
def test_every_program_does_what_it_is_asked_for(name: str) -> None:
    count = programs()[name].granularity * 2
    command = program("local", "--program", name, "--loop", "hotloop", "--count", str(count))
    assert run_to_end(command) == {"operations": count}


@pytest.mark.parametrize(("own", "module"), [([], "_asyncio"), (["--own-tasks"], "hotloop")])
def test_a_program_runs_with_the_tasks_that_are_wanted(own: list[str], module: str) -> None:
    loop = make_loop("hotloop", own_tasks=bool(own))
    try:
        assert type(loop.create_future()).__module__.startswith(module)
    finally:
        loop.close()
    command = program("local", "--program", "task", "--loop", "hotloop", "--count", "3", *own)
    assert run_to_end(command) == {"operations": 3}


def test_our_tasks_are_compared_with_those_of_asyncio_on_our_loop() -> None:
    results = invented()
    results.add("sleep0", "hotloop", 0, {"per_second": 1.0})
    results.add("own_sleep0", "hotloop", 0, {"per_second": 2.0})
    (found,) = [check for check in checks.checks(results) if "hotloop's tasks" in check.text]
    assert (found.found, found.limit, found.met) == (0.5, 0.8, True)


@pytest.mark.parametrize(
    ("server", "mode", "options"),
    [
        ("echo", "echo", ["--idle", "3"]),
        ("echo", "echo", ["--tls"]),
        ("buffered", "echo", ["--size", "300000"]),
        ("streams", "echo", ["--line"]),
        ("streams", "echo", ["--line", "--tls"]),
        ("own_streams", "echo", ["--line", "--tls"]),
        ("sock", "echo", []),
        ("once", "visit", []),
        ("once", "visit", ["--tls"]),
        ("http", "http", []),
        ("udp", "udp", ["--size", "64"]),
    ],
)
def test_the_load_in_python_finds_no_fault_with_a_server(
    server: str, mode: str, options: list[str]
) -> None:
    tls = ["--tls"] if "--tls" in options else []
    with Server(program("servers", "--program", server, "--loop", "hotloop", *tls)) as serving:
        kind = "--udp" if mode == "udp" else "--tcp"
        where = [kind, f"127.0.0.1:{serving.ready['port']}", "--server-pid", str(serving.pid)]
        window = ["--duration", "0.1", "--warmup", "0.01"]
        result = run_to_end([*program("load", mode), *where, *window, *options])
        assert serving.resident_bytes() > 0
        serving.stop()
    assert result["operations"] > 0
    assert result["errors"] == 0 or mode == "udp"
    # None if the window was over after a single turn, on a machine that had other things to do.
    assert result["cpu_us"] is None or result["cpu_us"] > 0


@pytest.mark.parametrize("tls", [[], ["--tls"]])
def test_idle_connections_are_held_until_they_are_let_go(tls: list[str]) -> None:
    with Server(program("servers", "--program", "echo", "--loop", "hotloop", *tls)) as serving:
        where = ["--tcp", f"127.0.0.1:{serving.ready['port']}", "--connections", "7"]
        with Server([*program("load", "hold"), *where, *tls]) as holding:
            assert holding.ready == {"mode": "hold", "connections": 7}
            holding.stop()
        serving.stop()


def test_a_server_that_ends_badly_is_reported_with_what_it_wrote() -> None:
    command = program("servers", "--program", "no_such_server", "--loop", "asyncio")
    with pytest.raises(ChildFailed, match="KeyError: 'no_such_server'"):
        Server(command).__enter__()


def test_what_a_loop_does_not_implement_is_left_out_and_no_failure(tmp_path: Path) -> None:
    (tmp_path / "bare_loop.py").write_text(
        "import asyncio\n"
        "class Loop(asyncio.SelectorEventLoop):\n"
        "    async def create_server(self, *args, **options):\n"
        "        raise NotImplementedError\n"
        "new_event_loop = Loop\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path))
        with pytest.raises(Skipped, match="not implemented"):
            Server(program("servers", "--program", "echo", "--loop", "bare_loop")).__enter__()


def test_a_named_load_generator_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(machine.LoadGeneratorMissing, match="cargo build"):
        machine.find_load(str(tmp_path / "absent"))


def test_loops_are_made_by_name() -> None:
    loop = make_loop("asyncio")
    loop.close()
    with pytest.raises(LoopNotInstalled, match="pip install no_such_loop"):
        make_loop("no_such_loop")
    with pytest.raises(LoopNotInstalled, match="no new_event_loop"):
        make_loop("json")


def test_ratios_are_above_one_when_better() -> None:
    assert ratios.ratio([4, 6], [2, 2]) == ratios.Ratio(2.5, 2, 3, 2)
    assert ratios.ratio([1.0], [2.0], higher_is_better=False).median == 2
    with pytest.raises(ValueError):
        ratios.ratio([], [])


def test_the_handshake_is_compared_by_the_cpu_of_the_server() -> None:
    scenario = BY_NAME["handshake"]
    results = Results({}, "uvloop", {"hotloop": "1", "uvloop": "2"})
    results.add("handshake", "hotloop", 0, {"per_second": 100.0, "cpu_us": 500.0})
    results.add("handshake", "uvloop", 0, {"per_second": 100.0, "cpu_us": 750.0})
    compared = results.compare(scenario, "hotloop", "uvloop")
    assert compared is not None and compared.median == 1.5
    assert unit(scenario) == "µs of CPU"


def test_the_attempt_counts_that_other_machines_disturbed_least(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Seconds before and after each attempt, of which the clock says that they last one second each.
    stolen = iter([0.0, 0.8, 1.0, 1.4, 2.0, 2.6])
    monkeypatch.setattr(measurements, "stolen_seconds", lambda cpus: next(stolen))
    clock = iter(range(6))
    monkeypatch.setattr(measurements.time, "monotonic", lambda: float(next(clock)))
    attempts = iter([{"name": 1}, {"name": 2}, {"name": 3}])
    best = measurements.least_disturbed(lambda: next(attempts), machine.Cpus(measured=1, load=0))
    assert best["name"] == 2
    assert best["stolen"] == pytest.approx(0.2)


def test_an_attempt_that_nobody_disturbed_is_the_only_one() -> None:
    attempts = iter([{"name": 1}])
    unshared = machine.Cpus(measured=10**6, load=10**6)  # there is no such CPU: nothing is taken
    assert measurements.least_disturbed(lambda: next(attempts), unshared) == {
        "name": 1,
        "stolen": 0.0,
    }


def test_the_page_compares_servers_by_their_cpu_too(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    write_page(invented(), path)
    (row,) = [
        line
        for line in path.read_text().splitlines()
        if line.startswith(f"| {BY_NAME['echo'].title} | 1")
    ]
    assert "| 1.00 (1.00–1.00) | 1.25 |" in row  # hotloop 10 µs, the floor 8, uvloop 10


def test_only_values_of_the_same_round_are_compared() -> None:
    results = invented()
    results.add("echo", "hotloop", 7, {"per_second": 1e9})
    found = results.compare(BY_NAME["echo"], "hotloop", "uvloop")
    assert found == ratios.Ratio(1.25, 1.2, 1.3, 2)


def test_a_disturbed_measurement_counts_only_where_there_is_no_other() -> None:
    results = invented()
    echo = BY_NAME["echo"]
    for loop, rate, stolen in (("hotloop", 9.0, 0.0), ("uvloop", 1.0, 0.5)):
        results.add("echo", loop, 2, {"per_second": rate, "stolen": stolen})
    assert results.compare(echo, "hotloop", "uvloop") == ratios.Ratio(1.25, 1.2, 1.3, 2)
    assert results.median("echo", "uvloop", "per_second") == 1e5

    for number in (0, 1):
        del results.rounds["echo", "uvloop"][number]
    assert results.compare(echo, "hotloop", "uvloop") == ratios.Ratio(9, 9, 9, 1)
    assert results.median("echo", "uvloop", "per_second") == 1


def test_rounds_can_be_added_to_those_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    options = ["--seconds", "0.05", "--load", "python", "--json", str(path), "--rounds"]
    bench("--only", "call_soon", "--loops", "hotloop,asyncio", *options, "1")
    bench("--only", "call_soon,sleep0", "--loops", "asyncio", *options, "2", "--add")

    results = command.read(str(path))
    numbers = {key: list(rounds) for key, rounds in results.rounds.items()}
    assert numbers == {
        ("call_soon", "hotloop"): [0],
        ("call_soon", "asyncio"): [0, 1, 2],
        ("sleep0", "asyncio"): [1, 2],
    }
    assert results.how_many_rounds() == "1 to 3"
    assert list(tmp_path.iterdir()) == [path]


def test_rounds_of_another_length_are_not_added(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    options = ["--only", "call_soon", "--loops", "asyncio", "--load", "python", "--json", str(path)]
    bench(*options, "--rounds", "1", "--seconds", "0.05")
    before = path.read_text()
    done = bench(*options, "--seconds", "0.06", "--add", expected=2)
    assert "the same seconds" in done.stderr
    assert path.read_text() == before


def test_adding_to_nothing_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    done = bench("--load", "python", "--json", str(path), "--add", expected=2)
    assert str(path) in done.stderr
    assert "--json" in bench("--add", expected=2).stderr


def test_what_was_measured_is_written_after_every_round(tmp_path: Path) -> None:
    results, kept = invented(), []
    setting = measurements.Setting(machine.find_load("python"), machine.choose_cpus(), 0.01, 0.0, 9)
    command.measure_all(
        results, [BY_NAME["call_soon"]], ["asyncio"], 2, setting,
        lambda: kept.append(list(results.rounds["call_soon", "asyncio"])),
    )  # fmt: skip
    assert kept == [[2], [2, 3]]


def test_what_failed_in_an_earlier_run_is_tried_again_in_the_next() -> None:
    results = invented()
    results.failures = {("call_soon", "asyncio"): "it broke", ("sleep0", "asyncio"): "it broke"}
    setting = measurements.Setting(machine.find_load("python"), machine.choose_cpus(), 0.01, 0.0, 9)
    command.measure_all(results, [BY_NAME["call_soon"]], ["asyncio"], 1, setting, lambda: None)
    assert results.failures == {("sleep0", "asyncio"): "it broke"}
    assert list(results.rounds["call_soon", "asyncio"]) == [2]


def test_rounds_of_two_days_are_dated_by_both() -> None:
    results = invented()
    for day in ("2026-01-01", "2026-01-02", "2026-01-03"):
        results.go_on({**ABOUT, "date": day}, "uvloop", {"hotloop": "1"})
    assert results.about["date"] == "2026-01-01 to 2026-01-03"


def test_the_version_of_hotloop_says_how_it_was_built() -> None:
    built = loops.build()
    assert built in {"checked", "release", "profile-guided"}
    assert loops.version_of("hotloop").endswith(f" ({built})")


def test_numbers_of_a_build_for_tests_are_not_to_be_believed() -> None:
    results = invented()
    assert "NOT TO BE BELIEVED" not in as_text(results)
    results.loops["hotloop"] = "1 (checked)"
    assert "NOT TO BE BELIEVED" in as_text(results)


def test_json_is_read_as_it_was_written() -> None:
    again = Results.from_json(invented().as_json())
    assert again == invented()
    with pytest.raises(UnusableResults):
        Results.from_json("[]")


def test_checks_beyond_the_ratios_say_what_is_met() -> None:
    found = {check.text: check for check in checks.checks(invented())}
    floor = found["CPU per operation to the floor's: echo 1 KiB, 10 connections"]
    assert (round(floor.found, 3), floor.met) == (1.25, False)
    latency = found["p99 to uvloop's: echo 1 KiB, 10 connections"]
    assert (latency.found, latency.met) == (1.0, True)


def test_a_check_with_rounds_on_both_sides_of_its_limit_is_doubtful() -> None:
    results = invented()
    results.add("udp", FLOOR, 0, {"cpu_us": 4.0})
    results.add("udp", FLOOR, 1, {"cpu_us": 4.0})
    results.add("udp", "hotloop", 0, {"cpu_us": 3.0})
    results.add("udp", "hotloop", 1, {"cpu_us": 4.8})
    (found,) = [one for one in checks.checks(results) if "floor" in one.text and "UDP" in one.text]
    assert (found.found, found.met, found.doubtful) == (pytest.approx(0.975), True, True)
    assert "met ?     CPU per operation to the floor's: UDP" in as_text(results)


@pytest.mark.parametrize(("cpu", "met"), [(11.4, True), (11.6, False)])
def test_ten_thousand_open_connections_may_cost_each_message_15_percent(
    cpu: float, met: bool
) -> None:
    results = invented()
    results.add("echo_idle", "hotloop", 0, {"cpu_us": cpu})
    (found,) = [one for one in checks.checks(results) if "10 000 connections" in one.text]
    assert (found.found, found.met) == (cpu / 10, met)


def test_a_loop_that_is_ahead_of_ours_is_named_and_otherwise_the_nearest() -> None:
    results = invented()

    def compared() -> list[tuple[str, bool]]:
        return [
            (check.text, check.met)
            for check in checks.checks(results)
            if " to hotloop: " in check.text
        ]

    assert compared() == [("uvloop to hotloop: echo 1 KiB, 10 connections", True)]
    results.add("call_soon", "rloop", 0, {"per_second": 8e6})
    assert compared() == [("rloop to hotloop: call_soon chain", False)]


def test_a_page_keeps_what_stands_around_the_results(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    write_page(invented(), page)
    page.write_text(page.read_text().replace("# Benchmarks", "# Mine") + "\nAnd more.\n")

    write_page(invented(), page)

    text = page.read_text()
    assert text.startswith("# Mine\n") and text.endswith("\nAnd more.\n")
    assert text.count("## Scheduling") == 1
    assert "1.1: met" in text and "FAILED: call_soon on rloop: it broke" in text
    for drawing in sorted((tmp_path / "benchmarks").iterdir()):
        assert f"](benchmarks/{drawing.name})" in text
        assert ElementTree.parse(drawing).getroot().tag.endswith("svg")


def test_a_page_splits_the_cpu_of_servers_into_user_and_system(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    write_page(invented(), page)
    lines = page.read_text().splitlines()
    assert any("| CPU µs/op | user | system | p50 µs | p99 | p99.9 |" in line for line in lines)
    assert any("| hotloop | 125,000 | 10 | 1 | 9 |" in line for line in lines)


def test_checks_that_are_not_met_stand_before_the_others(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    write_page(invented(), page)
    _, _, text = page.read_text().partition("## Beyond the ratios")
    missed, _, met = text.partition("<details>")
    assert "- NOT met: CPU per operation to the floor's: echo 1 KiB, 10 connections: 1.25" in missed
    assert "NOT met" not in met and "- met: p99 to uvloop's: echo 1 KiB, 100 connections" in met


def test_what_a_loop_lacks_is_said_in_one_line(tmp_path: Path) -> None:
    results = invented()
    for name in ("tls", "tls_16k"):
        for loop in ("rloop", "zloop"):
            results.skipped[name, loop] = "not implemented there"
    assert "left out: tls, tls_16k on rloop, zloop: not implemented there" in as_text(results)


def test_everything_in_a_chart_of_ten_loops_is_within_its_frame(tmp_path: Path) -> None:
    results = invented()
    for loop in loops.KNOWN:
        results.loops.setdefault(loop, "1")
        for name in ("call_soon", "echo"):
            if (name, loop) not in results.rounds:
                results.add(name, loop, 0, {"per_second": 5e5})
    write_page(results, tmp_path / "page.md")
    for drawing in (tmp_path / "page").iterdir():
        root = ElementTree.parse(drawing).getroot()
        texts = [one for one in root.iter() if one.tag.endswith("text")]
        shown = {one.text for one in texts}
        assert shown >= set(loops.KNOWN) - {"hotloop", "uvloop"}
        assert all(0 < float(one.get("x", 0)) < float(root.get("width", 0)) for one in texts)
        assert all(0 < float(one.get("y", 0)) < float(root.get("height", 0)) for one in texts)


def test_every_row_of_a_chart_has_a_line_of_its_own(tmp_path: Path) -> None:
    write_page(invented(), tmp_path / "page.md")
    root = ElementTree.parse(tmp_path / "page" / "tcp.svg").getroot()
    titles = {BY_NAME[name].title for name in ("echo", "echo_100")}
    places = [e.get("y") for e in root.iter() if e.tag.endswith("text") and e.text in titles]
    assert len(places) == len(set(places)) == 2


def test_a_quick_run_is_a_part_of_a_full_one() -> None:
    quick, full = (
        command.chosen(command.arguments(words)) for words in (["--quick"], ["--rounds", "1"])
    )
    assert full == list(SCENARIOS)
    assert set(quick) < set(full)


def test_the_program_without_a_command_says_how_it_is_used() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hotloop"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, "python -m hotloop bench" in done.stderr) == (2, True)


@pytest.mark.slow
def test_a_measurement_leaves_no_socket_file_behind(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    words = ["--quick", "--seconds", "0.2", "--only", "unix", "--loops", "hotloop"]
    words += ["--load", "python"]
    subprocess.run(
        [sys.executable, "-m", "hotloop", "bench", *words],
        env=environment,
        check=True,
        capture_output=True,
    )
    assert list(tmp_path.iterdir()) == []


def invented() -> Results:
    """Results as two rounds could have given them."""
    loops = {"hotloop": "1", "uvloop": "0.23.0", "rloop": "0.5"}
    results = Results(dict(ABOUT), "uvloop", loops)
    for number in range(2):
        results.add("call_soon", "hotloop", number, {"per_second": 4e6 + number})
        results.add("call_soon", "uvloop", number, {"per_second": 1e6})
        for name in ("echo", "echo_100"):
            for loop, rate in (("hotloop", 1.2 + number / 10), ("uvloop", 1.0), (FLOOR, 1.4)):
                values = {"per_second": rate * 1e5, "cpu_us": 8.0, "user_us": 1.0, "p99_us": 90.0}
                if loop != FLOOR:
                    values["cpu_us"] = 10.0
                results.add(name, loop, number, values)
    results.failures["call_soon", "rloop"] = "it broke"
    return results
