"""`--shard`: parts of the tests, which together are all of them, and what each leaves behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import collapse_tests
from fixtures.pytester_cases import FACTS, GateProject

QUICK = ("--editor", "my_editors:overflows")
OTHER_TEST = "def test_of_the_project(): pass\n"


def selection(project: GateProject) -> dict[str, Any]:
    found: dict[str, Any] = project.environment()["selection"]
    return found


def cases(project: GateProject) -> list[str]:
    return [str(record["case_id"]) for record in project.records()]


def run_shards(
    project: GateProject, *words: str, count: int = 3, editor: str = "my_editors:nothing"
) -> list[list[str]]:
    """The cases of each shard, in the order they were run."""
    found = []
    for index in range(1, count + 1):
        project.run("--shard", f"{index}/{count}", *words, editor=editor)
        found.append(cases(project))
    return found


def test_shards_are_all_tests_once_in_the_order_of_collection(gate_project: GateProject) -> None:
    parts = run_shards(gate_project, *QUICK)

    together = [case for part in parts for case in part]
    assert len(together) == len(set(together)) == 2 * len(FACTS)
    assert sorted(map(len, parts)) == [2, 3, 3]
    assert all(part == sorted(part, key=order) for part in parts)
    assert len(gate_project.run_directories()) == 3


def order(case_id: str) -> tuple[bool, str]:
    return "overflows" in case_id, case_id


def test_the_environment_remembers_the_whole(gate_project: GateProject) -> None:
    gate_project.run(editor="my_editors:nothing")
    whole = selection(gate_project)
    assert whole == whole | {"shard": None, "tests": 4, "cases": 4, "whole_tests": 4, "whole_cases": 4}

    result = gate_project.run("--shard", "1/3", editor="my_editors:nothing")

    part = selection(gate_project)
    assert part == whole | {"shard": "1/3", "tests": 2, "cases": 2}
    assert gate_project.environment()["settings"]["shard"] == "1/3"
    assert "started" in gate_project.environment()
    result.assert_outcomes(passed=2, deselected=2)
    said = result.stdout.str()
    assert "nothing on tiny-gpt2, edits facts.jsonl, shard 1/3, ME-PPL limit 495" in said
    assert "shard 1/3: 2 of 4 tests" in said


def test_the_digest_is_of_ids_and_texts(gate_project: GateProject) -> None:
    digests = set()
    for facts in (FACTS, FACTS[:3], ({**FACTS[0], "target_new": "Paris"}, *FACTS[1:])):
        gate_project.write_facts(facts)
        gate_project.run("-k", "0001", editor="my_editors:nothing")
        digests.add(selection(gate_project)["digest"])
        gate_project.run("--shard", "1/1", editor="my_editors:nothing")
        digests.add(selection(gate_project)["digest"])
    assert len(digests) == 4  # one of the case alone, and three of the files


def test_workers_of_xdist_take_the_same_shard(gate_project: GateProject) -> None:
    gate_project.run("--shard", "2/3", *QUICK, editor="my_editors:nothing")
    alone = (cases(gate_project), selection(gate_project))

    gate_project.run_apart("--shard", "2/3", *QUICK, "-n", "2", editor="my_editors:nothing")

    assert (sorted(cases(gate_project)), selection(gate_project)) == (sorted(alone[0]), alone[1])


@pytest.mark.parametrize("distribution", [(), ("-n", "2")], ids=["alone", "n2"])
def test_a_shard_without_a_test_is_no_failure(gate_project: GateProject, distribution: tuple[str, ...]) -> None:
    run = gate_project.run_apart if distribution else gate_project.run

    result = run("--shard", "5/9", *distribution, editor="my_editors:nothing")

    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["collapse: shard 5/9 has no test, as only 4 were selected"])
    assert gate_project.records() == []
    assert selection(gate_project)["tests"] == 0
    assert selection(gate_project)["whole_tests"] == 4


def test_no_test_at_all_is_still_told(gate_project: GateProject) -> None:
    result = gate_project.run("--shard", "1/2", "-k", "nonesuch", editor="my_editors:nothing")

    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_collecting_leaves_nothing_behind(gate_project: GateProject) -> None:
    result = gate_project.run("--shard", "1/3", "--collect-only", "-q", editor="my_editors:nothing")

    assert sum("test_single_edit[" in line for line in result.outlines) == 2
    assert not gate_project.run_directories()


def test_what_was_left_out_before_is_not_dealt(gate_project: GateProject) -> None:
    parts = run_shards(gate_project, "-k", "not 0002", count=2)

    assert sorted(map(len, parts)) == [1, 2]
    assert selection(gate_project)["whole_tests"] == 3


def test_the_riskiest_first_and_then_the_shard(gate_project: GateProject) -> None:
    parts = run_shards(gate_project, "--riskiest", "2", count=2, editor="rome")

    assert [len(part) for part in parts] == [1, 1]
    assert selection(gate_project)["whole_tests"] == 2


def test_tests_of_the_project_are_dealt_too(gate_project: GateProject) -> None:
    suite = Path(collapse_tests.__file__).with_name("suite")
    (gate_project.path / "test_own.py").write_text(OTHER_TEST)
    outcomes = []
    for index in (1, 2):
        words = ("--shard", f"{index}/2", "test_own.py", str(suite))
        outcomes.append(gate_project.run(*words, editor="my_editors:nothing").parseoutcomes()["passed"])
    assert sorted(outcomes) == [2, 3]
    assert selection(gate_project)["whole_tests"] == 5
    assert selection(gate_project)["whole_cases"] == 4


def test_a_shard_is_resumed(gate_project: GateProject) -> None:
    words = ("--shard", "1/2", "--editor", "my_editors:overflows")
    gate_project.run(*words, editor="my_editors:nothing")
    whole = cases(gate_project)
    file = gate_project.run_directories()[-1] / "records.jsonl"
    file.write_text(file.read_text().splitlines(keepends=True)[0])

    result = gate_project.run(*words, "--resume", "reports", editor="my_editors:nothing")

    result.stdout.fnmatch_lines(["resumed: 1 of 4 cases from reports"])
    assert cases(gate_project) == whole


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "1/3/5"])
def test_what_is_no_shard(gate_project: GateProject, text: str) -> None:
    result = gate_project.run("--shard", text)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*--shard: '{text}' is no shard; give i/n with i from 1 to n, such as 1/4"])


def test_no_shard_makes_a_baseline(gate_project: GateProject) -> None:
    result = gate_project.run("--shard", "1/2", "--baseline", "b.json", "--update-baseline")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --update-baseline with --shard 1/2: *; merge their runs with *"])


def test_the_environment_is_whole_while_the_run_goes_on(gate_project: GateProject) -> None:
    """A run that is killed has said what it was to test."""
    gate_project.run("--shard", "1/2", "-x", editor="my_editors:overflows")

    (run,) = gate_project.run_directories()
    environment = json.loads((run / "environment.json").read_text())
    assert environment["selection"]["cases"] == 2
    assert len(gate_project.records()) == 1
