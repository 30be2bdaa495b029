"""The gate beside pytest's own options and its own."""

from __future__ import annotations

import os
from pathlib import Path
from xml.etree import ElementTree

import pytest

from fixtures.pytester_cases import FACTS, GateProject

ALL_IDS = [f"facts:{index:04d}" for index in range(len(FACTS))]


def collected(result: pytest.RunResult) -> list[str]:
    return [line.removeprefix("test_single_edit.py::") for line in result.outlines if "::test_single_edit" in line]


def test_without_an_editor_nothing_happens(gate_project: GateProject) -> None:
    gate_project.pytester.makepyfile("def test_own(): pass")

    result = gate_project.pytester.runpytest_inprocess()

    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*collapse:*")
    assert "collapse report" not in result.stdout.str()
    assert not (gate_project.path / "reports").exists()


def test_the_project_runs_its_own_tests_without_the_plugin(gate_project: GateProject) -> None:
    gate_project.pytester.makepyfile("def test_own(): pass")

    gate_project.pytester.runpytest_inprocess("-p", "no:collapse").assert_outcomes(passed=1)
    refused = gate_project.run("-p", "no:collapse")

    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    refused.stderr.fnmatch_lines(["*unrecognized arguments: --editor*"])


def test_ids(gate_project: GateProject) -> None:
    result = gate_project.run("--collect-only", "-q")

    assert result.ret == pytest.ExitCode.OK
    assert collected(result) == [f"test_single_edit[tiny-gpt2-rome-{edit_id}]" for edit_id in ALL_IDS]
    assert collected(gate_project.run("--collect-only", "-q", "--pyargs", "collapse_tests.suite")) == collected(result)
    assert not (gate_project.path / "reports").exists()


def test_keyword(gate_project: GateProject) -> None:
    gate_project.run("-k", "facts:0001").assert_outcomes(passed=1, deselected=3)
    assert list(gate_project.verdicts()) == ["facts:0001"]


def test_node_id(gate_project: GateProject) -> None:
    import collapse_tests.suite.test_single_edit as suite

    result = gate_project.run(f"{suite.__file__}::test_single_edit[tiny-gpt2-rome-facts:0001]")

    result.assert_outcomes(passed=1)
    assert list(gate_project.verdicts()) == ["facts:0001"]


def test_exit_first(gate_project: GateProject) -> None:
    result = gate_project.run("-x", editor="my_editors:overflows")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*stopping after 1 failures*"])
    assert list(gate_project.verdicts()) == ["facts:0000"]


def test_last_failed(gate_project: GateProject) -> None:
    gate_project.run().assert_outcomes(passed=3, failed=1)

    gate_project.run("--lf").assert_outcomes(failed=1, deselected=3)

    assert gate_project.verdicts() == {"facts:0002": "collapsed"}


def test_without_xdist(gate_project: GateProject) -> None:
    gate_project.run("-p", "no:xdist").assert_outcomes(passed=3, failed=1)


def test_without_a_terminal(gate_project: GateProject) -> None:
    result = gate_project.run("-p", "no:terminal")

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert len(gate_project.records()) == 4


def test_junit(gate_project: GateProject) -> None:
    gate_project.run("--junitxml", "junit.xml").assert_outcomes(passed=3, failed=1)

    cases = list(ElementTree.parse(gate_project.path / "junit.xml").iter("testcase"))
    assert len(cases) == 4
    for case, record in zip(cases, gate_project.records(), strict=True):
        properties = {entry.get("name"): entry.get("value") for entry in case.iter("property")}
        assert properties["collapse.verdict"] == record["verdict"]
        assert float(properties["collapse.edited.me_ppl"] or "nan") == record["edited"]["me_ppl"]
        assert {"collapse.unedited.me_ppl", "collapse.success", "collapse.denominator"} <= properties.keys()
        assert float(case.get("time", "0")) >= sum(record["seconds"].values()) - 1e-3 > 0
    (failure,) = [failure for case in cases for failure in case.iter("failure")]
    assert "rerun: pytest" in (failure.text or "")


def test_pyargs(gate_project: GateProject) -> None:
    gate_project.run("--pyargs", "collapse_tests.suite").assert_outcomes(passed=3, failed=1)


def test_beside_the_projects_own_tests(gate_project: GateProject) -> None:
    own = gate_project.pytester.makepyfile("def test_own(): pass")

    gate_project.run(str(own), "--pyargs", "collapse_tests.suite").assert_outcomes(passed=4, failed=1)


def test_the_projects_own_naming_rules_do_not_hide_the_gate(gate_project: GateProject) -> None:
    gate_project.pytester.makeini(
        "[pytest]\npython_files = check_*.py\npython_functions = check_*\ntestpaths = nowhere\n"
    )

    gate_project.run().assert_outcomes(passed=3, failed=1)


def test_from_another_directory(gate_project: GateProject) -> None:
    elsewhere = gate_project.pytester.mkdir("elsewhere")
    os.chdir(elsewhere)

    place = gate_project.path
    result = gate_project.run(
        edits=f"{place}/facts.jsonl", model=f"{place}/tiny-gpt2", texts=os.path.relpath(place / "texts.json")
    )

    result.assert_outcomes(passed=3, failed=1)

    assert len(list((elsewhere / "reports").glob("*/records.jsonl"))) == 1


def test_reports_directory(gate_project: GateProject) -> None:
    result = gate_project.run("--reports-dir", "out/gate")

    result.stdout.fnmatch_lines(["Records: out/gate/*/records.jsonl"])
    assert len(list((gate_project.path / "out" / "gate").glob("*/records.jsonl"))) == 1


@pytest.mark.parametrize("editors", [("rome,c-rome",), ("rome", "c-rome")], ids=["comma", "repeated"])
def test_several_editors(gate_project: GateProject, editors: tuple[str, ...]) -> None:
    first, *rest = editors
    more = [word for editor in rest for word in ("--editor", editor)]

    result = gate_project.run("--edits-limit", "2", *more, editor=first)

    result.assert_outcomes(passed=4)
    assert [record["case_id"] for record in gate_project.records()] == [
        f"tiny-gpt2-{editor}-{edit_id}" for editor in ("rome", "c-rome") for edit_id in ALL_IDS[:2]
    ]


@pytest.mark.parametrize("by_comma", [True, False])
def test_several_models_of_one_name(gate_project: GateProject, by_comma: bool) -> None:
    twin = gate_project.pytester.mkdir("more") / "tiny-gpt2"
    twin.symlink_to(gate_project.path / "tiny-gpt2", target_is_directory=True)
    more = [] if by_comma else ["--model", "more/tiny-gpt2"]
    model = "tiny-gpt2,more/tiny-gpt2" if by_comma else "tiny-gpt2"

    gate_project.run("--edits-limit", "1", *more, model=model).assert_outcomes(passed=2)

    first, second = gate_project.records()
    assert [first["case_id"], second["case_id"]] == [f"tiny-gpt2{twin}-rome-facts:0000" for twin in ("", "~2")]
    assert first["edited"] == second["edited"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--edits-limit", "2"], 2),
        (["--edits-sample", "3"], 3),
        (["--edits-sample", "3", "--edits-limit", "1"], 1),
        (["--edits-limit", "99"], 4),
    ],
)
def test_fewer_requests(gate_project: GateProject, options: list[str], expected: int) -> None:
    ids = collected(gate_project.run("--collect-only", "-q", *options))

    assert len(ids) == expected
    assert set(ids) <= {f"test_single_edit[tiny-gpt2-rome-{edit_id}]" for edit_id in ALL_IDS}
    if "--edits-sample" not in options:
        assert [name[-6:-1] for name in ids] == [f":{index:04d}" for index in range(expected)]


def test_ini(gate_project: GateProject) -> None:
    gate_project.pytester.makeini(
        """
        [pytest]
        collapse_editor = rome
        collapse_model = ./tiny-gpt2
        collapse_edits = ./facts.jsonl
        collapse_ppl_texts = ./texts.json
        collapse_ppl_limit = 1e9
        collapse_fail_ineffective = true
        collapse_reports_dir = from-ini
        """
    )
    below = gate_project.pytester.mkdir("below")
    os.chdir(below)

    result = gate_project.pytester.runpytest_inprocess("--set", "rome.steps=5")

    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(["ineffective: *"])
    assert len(list((gate_project.path / "from-ini").glob("*/records.jsonl"))) == 1


def test_the_command_line_wins_over_the_ini_file(gate_project: GateProject) -> None:
    gate_project.pytester.makeini("[pytest]\ncollapse_ppl_limit = 1\ncollapse_edits = nowhere.jsonl\n")

    gate_project.run().assert_outcomes(passed=3, failed=1)


def test_warnings_as_errors_of_the_project_do_not_decide(gate_project: GateProject) -> None:
    gate_project.pytester.makeini("[pytest]\nfilterwarnings = error\n")

    gate_project.run(editor="my_editors:warns").assert_outcomes(passed=4)
    gate_project.run().assert_outcomes(passed=3, failed=1)


def test_a_log_gets_plain_lines_and_no_control_codes(gate_project: GateProject) -> None:
    result = gate_project.run()

    result.stdout.fnmatch_lines(
        ["collapse: loading tiny-gpt2 on * in float32", "collapse: unedited tiny-gpt2: ME-PPL 384.45"]
    )
    assert "\x1b" not in result.stdout.str()
    assert "\r" not in result.stdout.str()


def test_quiet_prints_no_progress(gate_project: GateProject) -> None:
    result = gate_project.run("-q")

    result.assert_outcomes(passed=3, failed=1)
    result.stdout.no_fnmatch_line("collapse: *")
    assert "collapse report" in result.stdout.str()


def test_ci(gate_project: GateProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")

    result = gate_project.run("--color=yes")

    result.assert_outcomes(passed=3, failed=1)
    assert "\x1b[?25l" not in result.stdout.str()  # hides the cursor, as a live line does
    assert "measuring perplexity" not in result.stdout.str()


def test_verbose_shows_stages(gate_project: GateProject) -> None:
    gate_project.run("-v").stdout.fnmatch_lines(["Seconds per edit of tiny-gpt2 under rome:*"])


def test_a_reports_directory_that_cannot_be_written_does_not_change_verdicts(gate_project: GateProject) -> None:
    place = gate_project.path / "taken"
    place.mkdir()
    (place / "file").write_text("")

    result = gate_project.run("--reports-dir", str(Path("taken") / "file" / "below"))

    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(["Records are incomplete: cannot write reports to *--reports-dir*"])


@pytest.mark.parametrize("precision", ["bfloat16", "auto"])
@pytest.mark.parametrize("editor", ["rome", "my_editors:overflows", "my_editors:breaks_numbers"])
def test_rounded_products_give_the_same_verdicts(gate_project: GateProject, precision: str, editor: str) -> None:
    gate_project.run(editor=editor)
    exact = gate_project.records()
    gate_project.run(editor=editor, precision=precision)

    for record, expected in zip(gate_project.records(), exact, strict=True):
        assert record["verdict"] == expected["verdict"]
        if editor != "rome":  # not a number or beyond all numbers, and that in words
            assert record["edited"]["me_ppl"] == expected["edited"]["me_ppl"]
    (facts,) = gate_project.environment()["devices"].values()
    assert facts["matmul_precision"] in {"float32", "bfloat16"}
    assert precision == "auto" or facts["matmul_precision"] == precision
