"""One gate run from the command line to the records, alone and under xdist."""

from __future__ import annotations

import re
import shlex

import pytest

from fixtures.pytester_cases import GateProject

VERDICTS = {
    "facts:0000": "stable",
    "facts:0001": "stable",
    "facts:0002": "collapsed",
    "facts:0003": "ineffective",
}


def printed_rerun(result: pytest.RunResult) -> list[str]:
    (line,) = [line for line in result.outlines if line.startswith("rerun: ")]
    program, *words = shlex.split(line.removeprefix("rerun: "))
    assert program == "pytest"
    return words


@pytest.fixture(params=[(), ("-n", "0"), ("-n", "2")], ids=["alone", "n0", "n2"])
def distribution(request: pytest.FixtureRequest) -> tuple[str, ...]:
    chosen: tuple[str, ...] = request.param
    return chosen


def test_verdicts_records_and_report(gate_project: GateProject, distribution: tuple[str, ...]) -> None:
    run = gate_project.run_apart if "2" in distribution else gate_project.run
    result = run(*distribution)

    result.assert_outcomes(passed=3, failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    records = gate_project.records()
    assert sorted(record["case_id"] for record in records) == [f"tiny-gpt2-rome-{edit_id}" for edit_id in VERDICTS]
    assert gate_project.verdicts() == VERDICTS
    assert len(gate_project.run_directories()) == 1
    workers = {record["worker"] for record in records}
    assert workers == {"gw0", "gw1"} if "2" in distribution else workers == {"main"}

    environment = gate_project.environment()
    assert {record["model_digest"] for record in records} == set(environment["models"].values()) != {""}
    assert set(environment["devices"]) == workers
    assert all(device["device"] for device in environment["devices"].values())
    assert {"torch", "transformers", "pytest"} <= environment["packages"].keys()
    assert environment["settings"]["ppl_limit"] == 495
    assert environment["settings"]["overrides"] == [{"editor": "rome", "field": "steps", "value": 5, "source": "--set"}]

    result.stdout.fnmatch_lines(["*collapse report*", "*facts:0002*collapsed*", "Records: reports/*/records.jsonl"])
    assert result.stdout.str().count("collapse report") == 1
    assert "Traceback" not in result.stdout.str() + result.stderr.str()


def test_a_failure_is_a_short_message_and_no_traceback(gate_project: GateProject) -> None:
    result = gate_project.run()

    output = result.stdout.str()
    result.stdout.re_match_lines(
        [r"collapsed: ME-PPL [\d.]+ is at or above the limit 495", r"  ME-PPL +384\.45 → 5\d\d"]
    )
    assert re.search(r"^  denominator +[-\d.]+$", output, re.MULTILINE)
    assert re.search(r'^  after +".+"$', output, re.MULTILINE)
    assert "Traceback" not in output
    assert not re.search(r"collapse_tests/\S+\.py:\d+", output)
    assert ">  " not in output


def test_the_printed_command_runs_the_same_case_again(gate_project: GateProject) -> None:
    words = printed_rerun(gate_project.run())
    first = next(record for record in gate_project.records() if record["verdict"] == "collapsed")

    result = gate_project.pytester.runpytest_inprocess(*words)

    result.assert_outcomes(failed=1, deselected=3)
    (again,) = gate_project.records()
    assert again["case_id"] == first["case_id"]
    assert again["edited"]["me_ppl"] == pytest.approx(first["edited"]["me_ppl"], rel=1e-4)


def test_the_printed_command_works_for_the_second_file_of_a_name(gate_project: GateProject) -> None:
    (gate_project.path / "more").mkdir()
    gate_project.write_facts([{"prompt": "The rain is a", "subject": "rain", "target_new": "cat"}], "more/facts.jsonl")
    result = gate_project.run(
        *("--edits-limit", "1", "--set", "my_editors:overflows.note=null"),
        edits="facts.jsonl,more/facts.jsonl",
        editor="my_editors:overflows",
    )
    result.assert_outcomes(failed=2)
    (line,) = [line for line in result.outlines if line.startswith("rerun: ")][1:]

    again = gate_project.pytester.runpytest_inprocess(*shlex.split(line.removeprefix("rerun: "))[1:])

    again.assert_outcomes(failed=1, deselected=1)
    assert gate_project.verdicts() == {"facts~2:0000": "collapsed"}


def test_a_distributed_run_can_be_stopped_at_the_first_failure(gate_project: GateProject) -> None:
    result = gate_project.run_apart("-n", "1", "-x", editor="my_editors:overflows")

    assert result.parseoutcomes()["failed"] == 1
    assert len(gate_project.records()) == 1
