"""What CI systems get of a run: its exit code, annotations, a summary, and reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from collapse_tests.ci.exit_codes import INFRASTRUCTURE_EXIT
from fixtures.pytester_cases import GateProject

BOTH = pytest.mark.parametrize("distribution", [(), ("-n", "2")], ids=["alone", "n2"])


@pytest.fixture
def summary(gate_project: GateProject, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the step's summary, on what looks like GitHub."""
    file = gate_project.path / "summary.md"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(file))
    monkeypatch.setenv("GITHUB_WORKSPACE", str(gate_project.path))
    return file


def run(project: GateProject, *words: str, **options: str) -> pytest.RunResult:
    apart = "-n" in words
    return project.run_apart(*words, **options) if apart else project.run(*words, **options)


@BOTH
def test_github(gate_project: GateProject, summary: Path, distribution: tuple[str, ...]) -> None:
    result = run(gate_project, *distribution)

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    commands = [line for line in result.outlines if line.startswith("::")]
    assert len(commands) == 2
    error, notice = commands
    assert error.startswith("::error file=facts.jsonl,line=3,title=facts%3A0002 collapsed%3A ME-PPL 384.45 → 5")
    assert "%0Arerun: pytest --editor rome --model tiny-gpt2 " in error
    assert notice.startswith("::notice title=collapse gate::1 of 4 edits collapsed tiny-gpt2 under rome; ")
    text = summary.read_text(encoding="utf-8")
    assert text.count("## Collapse gate\n") == 1
    assert "| <code>tiny-gpt2</code> | <code>rome</code> | 4 | 2 | 1 | 1 | 0 |" in text
    assert f"<code>reports/{gate_project.run_directories()[-1].name}/records.jsonl</code>" in text
    assert "Records are incomplete" not in text


def test_nothing_for_github_elsewhere(gate_project: GateProject) -> None:
    result = gate_project.run("--edits-limit", "1")

    assert not [line for line in result.outlines if line.startswith("::")]
    assert result.ret == 0


def test_nothing_for_github_where_nothing_was_tested(gate_project: GateProject, summary: Path) -> None:
    result = gate_project.run("--collect-only", "-q")

    assert not [line for line in result.outlines if line.startswith("::")]
    assert not summary.exists()


def test_a_summary_that_cannot_be_written_is_told(
    gate_project: GateProject, summary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(gate_project.path))

    result = gate_project.run("--edits-limit", "1")

    assert result.ret == INFRASTRUCTURE_EXIT
    result.stdout.fnmatch_lines(["collapse: cannot write the step summary to *", "collapse: exit code 10, *"])


@BOTH
def test_gitlab(gate_project: GateProject, distribution: tuple[str, ...]) -> None:
    run(gate_project, *distribution, "--gitlab-code-quality", "out/quality.json")

    (entry,) = json.loads((gate_project.path / "out" / "quality.json").read_text())
    assert entry["location"] == {"path": "facts.jsonl", "lines": {"begin": 3}}
    assert entry["severity"] == "critical"


def test_gitlab_by_the_ini_file(gate_project: GateProject) -> None:
    (gate_project.path / "below").mkdir()
    gate_project.pytester.makeini("[pytest]\ncollapse_gitlab_code_quality = quality.json\n")
    gate_project.run("--edits-limit", "1", "--rootdir", str(gate_project.path), "-c", "tox.ini")

    assert json.loads((gate_project.path / "quality.json").read_text()) == []


@BOTH
def test_junit(gate_project: GateProject, distribution: tuple[str, ...]) -> None:
    run(gate_project, *distribution, "--junitxml", "junit.xml", "--scenario", "facts.jsonl", "--steps", "1")

    suite = ElementTree.parse(gate_project.path / "junit.xml").getroot()[0]
    totals = properties(suite)
    assert totals["collapse.summary"].startswith("1 of 4 edits collapsed tiny-gpt2 under rome; ")
    assert (totals["collapse.cases"], totals["collapse.cases.collapsed"]) == ("4", "1")
    assert totals["collapse.sequences"] == "1"
    cases = {str(case.get("name")): case for case in suite.iter("testcase")}
    assert len(cases) == 5
    failed = cases["test_single_edit[tiny-gpt2-rome-facts:0002]"]
    failure = failed.find("failure")
    assert failure is not None
    assert str(failure.get("message")).startswith("collapsed: ME-PPL")  # newer pytest cuts it short, but not the text
    assert str(failure.text).startswith("collapsed: ME-PPL")
    assert "\nrerun: pytest " in str(failure.text)
    assert properties(failed)["collapse.model"] == "tiny-gpt2"
    scenario = properties(cases["test_scenario[tiny-gpt2-rome-scenario:facts]"])
    assert scenario["collapse.verdict"] in ("stable", "ineffective")
    assert "collapse.drift" in scenario


def properties(element: ElementTree.Element) -> dict[str, str]:
    found = element.find("properties")
    assert found is not None
    return {str(one.get("name")): str(one.get("value")) for one in found}


@BOTH
@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({}, 1),
        ({"editor": "my_editors:nothing"}, 0),
        ({"editor": "my_editors:raises_once"}, 1),
        ({"editor": "my_editors:Careless"}, 1),
        ({"limit": "100"}, INFRASTRUCTURE_EXIT),
        ({"editor": "my_editors:absent"}, 4),
    ],
    ids=["collapse", "stable", "raises", "careless", "model", "late-usage"],
)
def test_exit_codes(
    gate_project: GateProject, distribution: tuple[str, ...], options: dict[str, Any], code: int
) -> None:
    if distribution and code not in (1, INFRASTRUCTURE_EXIT):
        pytest.skip("as alone")

    result = run(gate_project, *distribution, **options)

    assert result.ret == code
    told = [line for line in result.outlines if line.startswith("collapse: exit code ")]
    assert len(told) == (code in (4, INFRASTRUCTURE_EXIT))


def test_a_test_of_the_users_own_fails_the_run(gate_project: GateProject) -> None:
    own = gate_project.pytester.makepyfile("def test_own(): assert False")

    result = gate_project.run(str(own), "--pyargs", "collapse_tests.suite", limit="100")

    assert result.ret == 1


def test_no_tests_is_pytests_own_code(gate_project: GateProject) -> None:
    assert gate_project.run("-k", "nothing_of_that_name").ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_records_say_whose_fault_an_error_is(gate_project: GateProject) -> None:
    gate_project.run(editor="my_editors:raises_once")
    kinds = {record["edit_id"]: record["error_kind"] for record in gate_project.records()}
    assert kinds == {"facts:0000": None, "facts:0001": "editor", "facts:0002": None, "facts:0003": None}
    gate_project.run(editor="my_editors:Careless")
    assert "restoration" in {record["error_kind"] for record in gate_project.records()}
    gate_project.run(limit="100")
    assert {record["error_kind"] for record in gate_project.records()} == {"infrastructure"}
    gate_project.run(editor="my_editors:absent")
    assert {record["error_kind"] for record in gate_project.records()} == {"usage"}
