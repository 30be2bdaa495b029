"""However the work is spread, resumed or merged: the same records but for who made them and how long it took."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from collapse_tests.report.store import read_records, read_sequences
from collapse_tests.report_tool.main import app
from fixtures.pytester_cases import GateProject

Mode = Callable[[GateProject], Path]

#: Batches of another shape are summed in another order, which in float64 shows far behind the point.
WORDS = ("--dtype", "float64", "--scenario", "facts.jsonl", "--steps", "2", "--edits", "facts.jsonl")
EDITORS = "rome,noise"
SHARDS = 3

#: Relative; ME-PPL takes the exponential of losses.
ROUNDING = 1e-7

#: Who made a record and in which time.
_CIRCUMSTANCES = ("seconds", "worker")


def newest(project: GateProject) -> Path:
    return project.run_directories()[-1]


def spread(*words: str) -> Mode:
    """A run that other processes take part in."""

    def run(project: GateProject) -> Path:
        project.run_apart(*WORDS, *words, editor=EDITORS)
        return newest(project)

    return run


def alone(project: GateProject) -> Path:
    project.run(*WORDS, editor=EDITORS)
    return newest(project)


def in_shards(project: GateProject) -> Path:
    """Every shard with a directory of its own, as on machines that share none."""
    for index in range(1, SHARDS + 1):
        words = ("--shard", f"{index}/{SHARDS}", "--reports-dir", f"machine-{index}")
        project.run(*WORDS, *words, editor=EDITORS)
    machines = [str(project.path / f"machine-{index}") for index in range(SHARDS, 0, -1)]
    done = CliRunner().invoke(app, ["merge", *machines, "--into", str(project.path / "merged")])
    assert done.exit_code == 0, done.output
    return project.path / "merged"


def resumed(project: GateProject) -> Path:
    """A run that goes on where one was killed in the middle of a line."""
    file = alone(project) / "records.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:3]) + lines[3][:-50])
    project.run(*WORDS, "--resume", str(file.parent), editor=EDITORS)
    return newest(project)


#: Every way that has to give what a run in one process gives.
MODES: dict[str, Mode] = {
    "again": alone,
    "xdist": spread("-n", "2"),
    "ray": spread("--ray", "auto", "--ray-cpus", "1"),
    "shards": in_shards,
    "resumed": resumed,
}


def outcomes(run: Path) -> dict[str, Any]:
    """Everything a run found, by case, without the circumstances."""
    found: dict[str, Any] = {}
    records, problems = read_records(run)
    sequences, more = read_sequences(run)
    assert not problems + more
    for data in [record.to_dict() for record in records] + [sequence.to_dict() for sequence in sequences]:
        assert data["case_id"] not in found
        found[data["case_id"]] = {name: value for name, value in data.items() if name not in _CIRCUMSTANCES}
    return found


def differences(one: Any, other: Any, where: str = "") -> list[str]:
    """Where two pieces of data differ: in text at all, in numbers by more than rounding."""
    if isinstance(one, float) and isinstance(other, float):
        return [] if math.isclose(one, other, rel_tol=ROUNDING, abs_tol=1e-12) else [f"{where}: {one} and {other}"]
    if type(one) is not type(other):
        return [f"{where}: {one!r} and {other!r}"]
    if isinstance(one, dict):
        names = [name for name in {**one, **other} if name not in _CIRCUMSTANCES]
        return [line for name in names for line in differences(one.get(name), other.get(name), f"{where}.{name}")]
    if isinstance(one, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [line for index, (a, b) in pairs for line in differences(a, b, f"{where}[{index}]")]
    return [] if one == other else [f"{where}: {one!r} and {other!r}"]


@pytest.mark.parametrize("mode", MODES)
def test_the_same_answer(gate_project: GateProject, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    monkeypatch.chdir(gate_project.path)
    expected = outcomes(alone(gate_project))
    assert len(expected) == 2 * (4 + 1)
    assert len({data["verdict"] for data in expected.values()}) > 1

    found = outcomes(MODES[mode](gate_project))

    assert found.keys() == expected.keys()
    assert differences(expected, found) == []


def test_differences_are_seen() -> None:
    """What the comparison above rests on."""
    one = {"verdict": "stable", "me_ppl": 10.0, "seconds": 1.0, "steps": [{"drift": 0.5, "seconds": 2.0}], "hit": True}
    assert differences(one, {**one, "seconds": 9.0, "me_ppl": 10.0 * (1 + 1e-9)}) == []
    changes: tuple[dict[str, Any], ...] = (
        {"verdict": "error"},
        {"me_ppl": 10.01},
        {"me_ppl": "nan"},
        {"steps": []},
        {"hit": None},
    )
    for changed in changes:
        assert len(differences(one, {**one, **changed})) == 1
    assert differences(one, {**one, "steps": [{"drift": 0.6, "seconds": 2.0}]}) == [".steps[0].drift: 0.5 and 0.6"]
    assert differences(one, {**one, "more": os.sep}) != []
