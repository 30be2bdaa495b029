"""Edits in sequence, from the command line to the records, alone and under xdist."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import pytest

import collapse_tests.sequence.machine  # noqa: F401 - an inner run in this process would import Hypothesis every time
from collapse_tests.report.store import read_sequences
from collapse_tests.sequence_record import SequenceKind, SequenceRecord
from fixtures.pytester_cases import FACTS, GateProject

Run = Callable[..., pytest.RunResult]

#: The fake editors of a project, with one that ruins the model when it sees it edited before.
EDITORS = """
import math

import torch

from collapse_tests.weight_update import DenseDelta, WeightUpdate


class Twice:
    name = "twice"

    def compute_updates(self, model, requests):
        norm = model.parameter("transformer.ln_f.weight")
        factor = 2.0 if model.changed_tensors() else 0.001
        return [WeightUpdate({"transformer.ln_f.weight": DenseDelta(factor * norm)}) for _ in requests]


class Broken:
    name = "broken"

    def compute_updates(self, model, requests):
        if model.changed_tensors():
            raise ValueError("not twice")
        return Twice().compute_updates(model, requests)


class Spoiler:
    name = "spoiler"

    def compute_updates(self, model, requests):
        if model.changed_tensors():
            with torch.no_grad():
                model.parameter("transformer.wpe.weight")[0] += 1
        return Twice().compute_updates(model, requests)


class Unprepared:
    name = "unprepared"

    def prepare(self, model, context):
        raise ValueError("nothing is ready")

    def compute_updates(self, model, requests):
        return []


def to_nan(model, tokenizer, request):
    with torch.no_grad():
        model.transformer.h[1].mlp.c_proj.weight.fill_(math.nan)
"""


@pytest.fixture
def words(gate_project: GateProject, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """What comes after `pytest` for a run of sequences only."""
    monkeypatch.setenv("CI", "1")  # searches are the same every time
    (gate_project.path / "sequence_editors.py").write_text(EDITORS)

    def make(*arguments: str, editor: str = "sequence_editors:Twice", **options: str) -> list[str]:
        words = gate_project.words("--downstream", "never", *arguments, editor=editor, **options)
        at = words.index("--edits")
        return [*words[:at], *words[at + 2 :]]

    return make


@pytest.fixture
def run(gate_project: GateProject, words: Callable[..., list[str]]) -> Run:
    """Runs the gate inside this process."""
    return lambda *arguments, **options: gate_project.pytester.runpytest_inprocess(*words(*arguments, **options))


def sequences(project: GateProject) -> list[SequenceRecord]:
    """The records of the latest run."""
    records, problems = read_sequences(project.run_directories()[-1])
    assert problems == []
    return records


def printed_rerun(result: pytest.RunResult) -> list[str]:
    (line,) = {line for line in result.outlines if line.startswith("rerun: ")}  # in CI pytest shows failures twice
    return shlex.split(line.removeprefix("rerun: "))[1:]


# Scenarios ----------------------------------------------------------------------------------------------------


def test_a_scenario(gate_project: GateProject, run: Run) -> None:
    result = run("--scenario", "facts.jsonl")

    result.assert_outcomes(failed=1)
    (record,) = sequences(gate_project)
    assert record.case_id == "tiny-gpt2-Twice-scenario:facts"
    assert (record.verdict, record.collapsed_after, len(record.steps), record.planned) == ("collapsed", 2, 2, 4)
    assert record.unedited is not None
    assert record.steps[0].perplexity.me_ppl == pytest.approx(record.unedited.me_ppl, rel=0.1)
    assert gate_project.environment()["models"] == {"tiny-gpt2": record.model_digest}
    result.stdout.fnmatch_lines(
        [
            "collapse: sequence_editors:Twice on tiny-gpt2, scenario facts.jsonl, ME-PPL limit 495",
            "collapsed after 2 of 4 edits: ME-PPL * is at or above the limit 495",
            "  edit 2 * Rome is a city in*",
            "*collapse report*",
            "sequences on tiny-gpt2, ME-PPL limit 495.00",
            "*scenario:facts*2/4*collapsed*",
            "1 of 1 sequence collapsed the model, at the earliest after 2 edits (tiny-gpt2-Twice-scenario:facts).",
            "Records: reports/*/sequences.jsonl",
        ]
    )
    output = result.stdout.str()
    assert "No edits were tested" not in output
    assert "Traceback" not in output


def test_a_full_curve_and_its_command(gate_project: GateProject, run: Run) -> None:
    result = run("--scenario", "facts.jsonl", "--full-curve", "--steps", "3", editor="sequence_editors:to_nan")
    result.assert_outcomes(failed=1)
    (record,) = sequences(gate_project)
    assert (record.collapsed_after, len(record.steps)) == (1, 3)

    again = gate_project.pytester.runpytest_inprocess(*printed_rerun(result))

    again.assert_outcomes(failed=1)
    (repeated,) = sequences(gate_project)
    assert (repeated.collapsed_after, len(repeated.steps)) == (1, 3)


def test_several_editors_and_scenarios_and_the_next_after_an_error(gate_project: GateProject, run: Run) -> None:
    gate_project.write_facts(FACTS[:1], "one.jsonl")
    editors = "my_editors:nothing,sequence_editors:Broken,sequence_editors:Spoiler"
    result = run("--scenario", "facts.jsonl,one.jsonl", editor=editors)

    result.assert_outcomes(passed=4, failed=2)
    verdicts = {(record.editor, record.name): str(record.verdict) for record in sequences(gate_project)}
    assert verdicts["my_editors:nothing", "facts"] == "ineffective"
    assert verdicts["sequence_editors:Broken", "facts"] == "error"
    assert verdicts["sequence_editors:Spoiler", "facts"] == "error"
    assert "error" not in {verdicts[editor, "one"] for editor in editors.split(",")}
    assert "edit 2 (facts:0001): broken raised ValueError: not twice" in result.stdout.str()
    assert "the model is loaded again" in result.stdout.str()


def test_ineffective_edits_fail_a_scenario_only_on_request(run: Run) -> None:
    run("--scenario", "facts.jsonl", editor="my_editors:nothing").assert_outcomes(passed=1)
    result = run("--scenario", "facts.jsonl", "--fail-ineffective", editor="my_editors:nothing")
    result.assert_outcomes(failed=1)
    assert "of 4 edits did not take" in result.stdout.str()


def test_single_edits_too_where_they_are_asked_for(gate_project: GateProject, run: Run) -> None:
    result = run("--scenario", "facts.jsonl", "--edits", "facts.jsonl", "--edits-limit", "2")
    result.assert_outcomes(passed=2, failed=1)
    assert len(sequences(gate_project)) == 1
    assert len(gate_project.records()) == 2
    assert "of 2 edits" in result.stdout.str()
    assert "1 of 1 sequence" in result.stdout.str()


def test_sets_of_the_ini_file_are_for_runs_that_name_none(gate_project: GateProject, run: Run) -> None:
    gate_project.pytester.makeini("[pytest]\ncollapse_edits = facts.jsonl\n")
    run("--scenario", "facts.jsonl").assert_outcomes(failed=1)


@pytest.mark.parametrize(
    ("arguments", "tests"),
    [
        (["--scenario", "facts.jsonl"], ["test_scenario[tiny-gpt2-Twice-scenario:facts]"]),
        (["--machine", "facts.jsonl"], ["test_machine[tiny-gpt2-Twice-machine:facts]"]),
        (
            ["--machine", "facts.jsonl", "--scenario", "facts.jsonl", "--edits", "facts.jsonl", "--edits-limit", "1"],
            [
                "test_machine[tiny-gpt2-Twice-machine:facts]",
                "test_scenario[tiny-gpt2-Twice-scenario:facts]",
                "test_single_edit[tiny-gpt2-Twice-facts:0000]",
            ],
        ),
    ],
)
def test_only_what_was_asked_for_is_collected(run: Run, arguments: list[str], tests: list[str]) -> None:
    for place in ([], ["--pyargs", "collapse_tests.suite"]):
        result = run("--collect-only", "-q", *arguments, *place)
        lines = [line.rpartition("::")[2] for line in result.outlines if "::" in line]
        assert sorted(lines) == tests
        assert "skipped" not in result.stdout.str()


def test_without_an_editor_nothing_of_the_suite_is_collected(gate_project: GateProject) -> None:
    own = gate_project.pytester.makepyfile("def test_own(): pass")
    result = gate_project.pytester.runpytest_inprocess(str(own), "--pyargs", "collapse_tests.suite")
    result.assert_outcomes(passed=1)


def test_collecting_imports_no_framework(gate_project: GateProject, words: Callable[..., list[str]]) -> None:
    command = words("--collect-only", "-q", "--scenario", "facts.jsonl", "--machine", "facts.jsonl")
    result = gate_project.pytester.run(sys.executable, "-X", "importtime", "-m", "pytest", *command)
    imported = {line.rpartition("|")[2].strip() for line in result.errlines if line.startswith("import time:")}
    assert "collapse_tests.sequence.cases" in imported
    assert not {name.partition(".")[0] for name in imported} & {"torch", "transformers", "numpy", "hypothesis"}


# Searches -----------------------------------------------------------------------------------------------------


def test_a_search_ends_in_a_scenario_that_shows_the_same(gate_project: GateProject, run: Run) -> None:
    result = run("--machine", "facts.jsonl")

    result.assert_outcomes(failed=1)
    (record,) = sequences(gate_project)
    assert (record.kind, record.verdict, record.collapsed_after) == (SequenceKind.MACHINE, "collapsed", 2)
    assert record.search is not None
    assert record.search.edits < 40
    (file,) = (gate_project.run_directories()[-1] / "scenarios").glob("*")
    requests: list[dict[str, Any]] = json.loads(file.read_text())
    assert [request["prompt"] for request in requests] == [request["prompt"] for request in record.requests]
    output = result.stdout.str()
    assert f"the smallest sequence found, in {file.relative_to(gate_project.path)}:" in output
    assert json.dumps(requests, indent=2) in "\n".join(result.outlines)
    assert "Traceback" not in output
    assert "hypothesis" not in output.lower()

    command = printed_rerun(result)
    assert command[command.index("--scenario") + 1] == str(file.relative_to(gate_project.path))
    again = gate_project.pytester.runpytest_inprocess(*command)

    again.assert_outcomes(failed=1)
    (repeated,) = sequences(gate_project)
    assert (repeated.kind, repeated.collapsed_after) == (SequenceKind.SCENARIO, 2)
    assert [step.perplexity.me_ppl for step in repeated.steps] == pytest.approx(
        [step.perplexity.me_ppl for step in record.steps], rel=1e-4
    )


def test_a_search_that_finds_nothing(gate_project: GateProject, run: Run) -> None:
    few = ("--machine-examples", "5", "--machine-steps", "3")
    run("--machine", "facts.jsonl", *few, editor="my_editors:nothing").assert_outcomes(passed=1)
    (record,) = sequences(gate_project)
    assert record.verdict == "stable"
    assert record.planned == 3
    assert record.search is not None
    assert record.search.longest <= 3


def test_what_broke_the_model_comes_first_the_next_time(
    gate_project: GateProject, words: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI")
    for _ in range(2):  # in processes of their own, as one keeps the directory it started in for its examples
        result = gate_project.pytester.runpytest_subprocess(*words("--machine", "facts.jsonl"))
        result.assert_outcomes(failed=1)
    assert (gate_project.path / ".hypothesis").is_dir()
    record = sequences(gate_project)[-1]
    assert record.search is not None
    assert record.search.sequences <= 3


def test_an_editor_that_raises_in_a_search(gate_project: GateProject, run: Run) -> None:
    result = run("--machine", "facts.jsonl", editor="sequence_editors:Broken")
    result.assert_outcomes(failed=1)
    (record,) = sequences(gate_project)
    assert record.verdict == "error"
    assert (len(record.steps), len(record.requests)) == (1, 2)
    assert "error: edit 2 (" in result.stdout.str()


# Together -----------------------------------------------------------------------------------------------------


def test_distributed(gate_project: GateProject, words: Callable[..., list[str]]) -> None:
    arguments = words(
        *("-n", "2", "--scenario", "facts.jsonl", "--machine", "facts.jsonl"),
        *("--edits", "facts.jsonl", "--edits-limit", "2"),
    )
    result = gate_project.pytester.runpytest_subprocess(*arguments)

    result.assert_outcomes(passed=2, failed=2)
    records = sequences(gate_project)
    assert {record.kind for record in records} == set(SequenceKind)
    assert {record.worker for record in records} <= {"gw0", "gw1"}
    assert all(record.collapsed_after == 2 for record in records)
    assert len(gate_project.records()) == 2
    (file,) = (gate_project.run_directories()[-1] / "scenarios").glob("*")
    assert f"the smallest sequence found, in {file.relative_to(gate_project.path)}:" in result.stdout.str()
    assert result.stdout.str().count("collapse report") == 1


def test_junit(gate_project: GateProject, run: Run) -> None:
    run("--scenario", "facts.jsonl", "--machine", "facts.jsonl", "--junitxml", "junit.xml").assert_outcomes(failed=2)
    cases = list(ElementTree.parse(gate_project.path / "junit.xml").iter("testcase"))
    assert len(cases) == 2
    for case, record in zip(cases, sequences(gate_project), strict=True):
        found = {entry.get("name"): entry.get("value") for entry in case.iter("property")}
        assert found["collapse.verdict"] == record.verdict
        assert found["collapse.collapsed_after"] == "2"
        assert float(case.get("time", "0")) >= record.seconds - 1e-3
        (failure,) = case.iter("failure")
        assert "rerun: pytest" in (failure.text or "")
    assert any("scenarios" in (failure.text or "") for case in cases for failure in case.iter("failure"))


def test_a_failure_of_all_tests_is_reported_once(gate_project: GateProject, run: Run) -> None:
    result = run("--scenario", "facts.jsonl", "--machine", "facts.jsonl", editor="sequence_editors:Unprepared")
    result.assert_outcomes(failed=1, skipped=1)
    assert {record.verdict for record in sequences(gate_project)} == {"error"}
