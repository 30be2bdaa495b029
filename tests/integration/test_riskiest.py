"""`--riskiest`: which tests there are, in which order, and that everyone agrees on them."""

from __future__ import annotations

import json
import re
import shlex
import shutil

import pytest
from typer.testing import CliRunner

from collapse_tests.data_tool.main import app
from fixtures.pytester_cases import LIMIT, GateProject

#: An editor that knows the risk of each of the project's requests, and what it makes of the model.
KNOWING = """
import math
import secrets

import torch

from collapse_tests.weight_update import DenseDelta, WeightUpdate

RISKS = {"Norway": 1.0, "Rome": math.nan, "violin": 7.0, "Paris": math.inf}


class Knowing:
    name = "knowing"

    def compute_updates(self, model, requests):
        name = "transformer.ln_f.weight"
        weight = model.parameter(name)
        return [WeightUpdate({name: DenseDelta(torch.full_like(weight, 9.0))}) for _ in requests]

    def preflight(self, model, requests):
        return [{"risk": RISKS[request.subject]} for request in requests]


class Untidy(Knowing):
    def preflight(self, model, requests):
        with torch.no_grad():
            model.parameter("transformer.ln_f.weight").add_(1)
        return super().preflight(model, requests)


class Fickle(Knowing):
    def preflight(self, model, requests):
        return [{"risk": secrets.randbelow(10**9)} for _ in requests]


class Silent(Knowing):
    def preflight(self, model, requests):
        raise ValueError("no idea")
"""
EDITORS = ("knowing:Knowing", "knowing:Fickle")
RISKIEST_FIRST = ["facts:0001", "facts:0003", "facts:0002", "facts:0000"]


@pytest.fixture(autouse=True)
def project(gate_project: GateProject) -> GateProject:
    (gate_project.path / "knowing.py").write_text(KNOWING)
    return gate_project


def break_model(project: GateProject, name: str = "broken") -> str:
    """A model whose weights are cut off, which shows only when it is loaded."""
    shutil.copytree(project.path / "tiny-gpt2", project.path / name)
    weights = project.path / name / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    return name


def collected(result: pytest.RunResult) -> list[str]:
    """The ids of the cases that `--collect-only -q` shows."""
    found = (re.search(r"test_single_edit\[(.+)\]", line) for line in result.outlines)
    return [match[1] for match in found if match]


def test_the_riskiest_are_tested_and_the_riskiest_of_them_first(project: GateProject) -> None:
    result = project.run("--riskiest", "3", editor="knowing:Knowing")

    result.assert_outcomes(failed=3)
    assert [record["edit_id"] for record in project.records()] == RISKIEST_FIRST[:3]
    result.stdout.fnmatch_lines(["collapse: knowing:Knowing on tiny-gpt2, edits facts.jsonl, the 3 riskiest, ME-PPL*"])
    assert project.environment()["settings"]["riskiest"] == 3


def test_the_number_holds_for_every_model_and_editor(project: GateProject) -> None:
    shutil.copytree(project.path / "tiny-gpt2", project.path / "other")
    result = project.run("--riskiest", "2", editor="knowing:Knowing,rome,null", model="tiny-gpt2,other")

    ids = [record["case_id"] for record in project.records()]
    groups = [case_id.rpartition("-")[0] for case_id in ids]
    expected = [f"{model}-{editor}" for model in ("tiny-gpt2", "other") for editor in ("Knowing", "rome", "null")]
    assert groups == [group for group in expected for _ in range(2)]
    assert [case_id.rpartition("-")[2] for case_id in ids[:2]] == RISKIEST_FIRST[:2]
    # An editor that cannot tell goes by what ROME says, and a model's twin has its risks.
    rome, null = ([case_id.rpartition("-")[2] for case_id in ids[first : first + 2]] for first in (2, 4))
    assert rome == null
    assert [case_id.rpartition("-")[2] for case_id in ids[6:]] == [case_id.rpartition("-")[2] for case_id in ids[:6]]
    assert result.parseoutcomes()["failed"] >= 4


def test_rome_goes_by_how_far_an_edit_can_reach(project: GateProject) -> None:
    project.run("--riskiest", "3")
    chosen = {record["edit_id"]: record["diagnostics"] for record in project.records()}
    project.run()
    numbers = {record["edit_id"]: record["diagnostics"] for record in project.records()}

    reach = {edit_id: one["initial_value_norm"] / abs(one["denominator"]) for edit_id, one in numbers.items()}
    assert list(chosen) == sorted(reach, key=lambda edit_id: reach[edit_id], reverse=True)[:3]
    assert list(chosen) != list(numbers)[:3]
    for edit_id, told in chosen.items():  # the look beforehand changes no edit
        assert told == pytest.approx(numbers[edit_id], rel=1e-3)


def test_more_than_there_are_is_all(project: GateProject) -> None:
    result = project.run("--riskiest", "100", editor="knowing:Knowing")
    result.assert_outcomes(failed=4)
    assert [record["edit_id"] for record in project.records()] == RISKIEST_FIRST


def test_collecting_shows_what_would_be_tested(project: GateProject) -> None:
    result = project.run("--riskiest", "2", "--collect-only", "-q", editor="knowing:Knowing")

    assert result.ret == pytest.ExitCode.OK
    assert collected(result) == [f"tiny-gpt2-Knowing-{edit_id}" for edit_id in RISKIEST_FIRST[:2]]
    assert project.run_directories() == []


def test_workers_are_told_and_test_the_same(project: GateProject) -> None:
    result = project.run_apart("--riskiest", "2", "-n", "2", editor=",".join(EDITORS))

    result.assert_outcomes(failed=4)  # the fickle editor would have told each of them something else
    records = project.records()
    chosen = {editor: {one["edit_id"] for one in records if one["editor"] == editor} for editor in EDITORS}
    assert chosen[EDITORS[0]] == set(RISKIEST_FIRST[:2])
    assert len(chosen[EDITORS[1]]) == 2
    assert {record["worker"] for record in records} == {"gw0", "gw1"}
    assert len(project.run_directories()) == 1


def test_the_printed_command_runs_the_same_case_again(project: GateProject) -> None:
    result = project.run("--riskiest", "1", editor="knowing:Knowing")
    (line,) = [line for line in result.outlines if line.startswith("rerun: ")]
    (first,) = project.records()
    assert "--riskiest" not in line

    again = project.pytester.runpytest_inprocess(*shlex.split(line.removeprefix("rerun: "))[1:])

    again.assert_outcomes(failed=1, deselected=3)
    (second,) = project.records()
    assert second["case_id"] == first["case_id"] == "tiny-gpt2-Knowing-facts:0001"
    assert second["edited"]["me_ppl"] == pytest.approx(first["edited"]["me_ppl"], rel=1e-4)


def test_a_choice_among_them_is_still_possible(project: GateProject) -> None:
    result = project.run("--riskiest", "2", "-k", "facts:0003 or facts:0000", editor="knowing:Knowing")
    result.assert_outcomes(failed=1, deselected=1)
    assert [record["edit_id"] for record in project.records()] == ["facts:0003"]


# Where nothing can be told ------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "n2"])
def test_a_model_that_cannot_be_loaded_is_the_usual_error_and_said_to_be_why(
    project: GateProject, workers: tuple[str, ...]
) -> None:
    broken = break_model(project)
    # In a process of its own, where pytest would keep to itself what is written while it collects.
    result = project.run_apart("--riskiest", "2", *workers, model=f"{broken},tiny-gpt2", editor="knowing:Knowing")

    output = result.stdout.str()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "INTERNALERROR" not in output
    (line,) = [line for line in result.outlines if "the first instead of the riskiest edits are made" in line]
    assert "broken" in line
    verdicts = {record["case_id"]: record["verdict"] for record in project.records()}
    assert verdicts == {
        "broken-Knowing-facts:0000": "error",
        "broken-Knowing-facts:0001": "error",
        "tiny-gpt2-Knowing-facts:0001": "collapsed",
        "tiny-gpt2-Knowing-facts:0003": "collapsed",
    }
    if not workers:
        result.assert_outcomes(failed=3, skipped=1)  # the model's fault is shown once


def test_an_editor_that_changes_the_weights_costs_the_order_alone(project: GateProject) -> None:
    result = project.run("--riskiest", "2", editor="knowing:Untidy")

    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["collapse: the first instead of the riskiest*left the model changed: *ln_f.weight*"])
    assert project.verdicts() == {"facts:0000": "collapsed", "facts:0001": "collapsed"}


def test_requests_that_say_nothing_keep_their_order(project: GateProject) -> None:
    result = project.run("--riskiest", "3", editor="knowing:Silent")
    result.assert_outcomes(failed=3)
    assert [record["edit_id"] for record in project.records()] == ["facts:0000", "facts:0001", "facts:0002"]


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5"])
def test_anything_but_a_number_of_edits_is_refused(project: GateProject, text: str) -> None:
    result = project.run("--riskiest", text)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"--riskiest {text!r}" in result.stderr.str() or f"--riskiest: {text!r}" in result.stderr.str()


# Part of a sweep ----------------------------------------------------------------------------------------------


def test_a_run_of_the_gate_is_a_part_of_a_sweep(project: GateProject) -> None:
    project.run("--riskiest", "3", editor="knowing:Knowing")
    words = ["mine", "facts.jsonl", "--model", "tiny-gpt2", "--editor", "knowing:Knowing", "--ppl-texts", "texts.json"]
    words += ["--matmul-precision", "float32", "--records", "reports", "--out", "hard.jsonl"]

    done = CliRunner().invoke(app, [*words, "--collect", "--ppl-limit", LIMIT])
    other = CliRunner().invoke(app, [*words, "--collect", "--ppl-limit", "1000"])

    assert done.exit_code == 0, done.output
    assert "1 of 4 edits" in done.output
    lines = (project.path / "hard.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["source"] for line in lines] == sorted(RISKIEST_FIRST[:3])
    assert other.exit_code == 2
    assert f"their ppl_limit was {LIMIT}.0, not 1000" in " ".join(other.output.split())
