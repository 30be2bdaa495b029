"""Downstream accuracy from the command line to the report."""

from __future__ import annotations

from xml.etree import ElementTree

from fixtures.pytester_cases import GateProject

_TASK = "collapse_commonsense"


def test_tasks_are_in_the_records_the_report_and_junit(gate_project: GateProject) -> None:
    result = gate_project.run(
        *("--tasks", f"{_TASK},collapse_last_word", "--tasks-limit", "4", "--junitxml", "junit.xml"), downstream="each"
    )

    (record, *_), said = gate_project.records(), result.stdout.str()
    assert [(task["task"], task["items"]) for task in record["tasks"]] == [(_TASK, 4), ("collapse_last_word", 4)]
    # Four items tell nothing, and the random model answers at random: that is said, and fails no test.
    assert {task["verdict"] for task in record["tasks"]} == {"uninformative"}
    assert f"{_TASK} 0." in said
    assert "too close to tell anything" in said
    assert "downstream accuracy, means over cases" in said
    assert "tells nothing" in said
    result.assert_outcomes(passed=3, failed=1)
    properties = ElementTree.parse(gate_project.path / "junit.xml").iter("property")
    assert {f"collapse.{_TASK}.edited", f"collapse.{_TASK}.verdict"} <= {one.get("name") for one in properties}


def test_tasks_of_others_are_measured_where_an_edit_is_suspect(gate_project: GateProject) -> None:
    (gate_project.path / "piqa.jsonl").write_text(
        '{"goal": "You play", "sol1": "the violin", "sol2": "the rain", "label": 0}\n' * 3
    )
    gate_project.run("--tasks", "piqa", "--tasks-data=.", "--suspect-growth", "1.2", downstream="auto")

    for record in gate_project.records():
        suspect = record["edited"]["me_ppl"] >= 1.2 * record["unedited"]["me_ppl"]
        assert [task["task"] for task in record["tasks"]] == (["piqa"] if suspect else [])
    assert any(record["tasks"] for record in gate_project.records())
    assert not all(record["tasks"] for record in gate_project.records())


def test_missing_data_is_a_usage_error(gate_project: GateProject) -> None:
    result = gate_project.run("--tasks", "piqa", "--tasks-data=nowhere")

    assert result.ret == 4
    result.stderr.fnmatch_lines(["*--tasks-data 'nowhere' is no directory; give the one that holds the tasks' files*"])
