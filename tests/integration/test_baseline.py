"""Runs against a baseline, alone and under xdist."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from collapse_tests.report_tool.main import app
from fixtures.pytester_cases import FACTS, GateProject

COLLAPSES = "tiny-gpt2-rome-facts:0002"
STABLE = "tiny-gpt2-rome-facts:0000"
INEFFECTIVE = "tiny-gpt2-rome-facts:0003"
GROUP = "tiny-gpt2-rome"
SCENARIO = "tiny-gpt2-rome-scenario:order"

#: The machine fails at the first case.
BROKEN_MACHINE = """
from collapse_tests.case_records import error_record
from collapse_tests.engine.gate import Gate, Outcome
from collapse_tests.errors import InfrastructureError

run = Gate.outcome

def outcome(self, case):
    found = run(self, case)
    if case.edit_id != "facts:0000":
        return found
    return Outcome(error_record(case, self.settings, self.worker, InfrastructureError("the disk is gone")))

Gate.outcome = outcome
"""

Run = Callable[..., pytest.RunResult]


@pytest.fixture
def document(gate_project: GateProject) -> dict[str, Any]:
    """The baseline that a run made, before it is written to `b.json`."""
    gate_project.run("--baseline", "b.json", "--update-baseline")
    found: dict[str, Any] = json.loads((gate_project.path / "b.json").read_text())
    return found


@pytest.fixture(params=[(), ("-n", "2")], ids=["alone", "n2"])
def run(gate_project: GateProject, request: pytest.FixtureRequest) -> Run:
    """Runs with a given document as the baseline."""

    def run_with(document: dict[str, Any], *words: str, **options: str) -> pytest.RunResult:
        (gate_project.path / "b.json").write_text(json.dumps(document))
        start = gate_project.run_apart if request.param else gate_project.run
        return start("--baseline", "b.json", *words, *request.param, **options)

    return run_with


def section(result: pytest.RunResult) -> list[str]:
    lines = result.outlines
    (start,) = [place for place, line in enumerate(lines) if "against the baseline ─" in line]
    end = next(place for place, line in enumerate(lines) if place > start and line.startswith("==="))
    return [line.strip() for line in lines[start + 1 : end] if line.strip()]


def cases(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())["cases"]
    return found


def test_a_known_collapse_does_not_fail(document: dict[str, Any], run: Run) -> None:
    assert document["cases"][COLLAPSES]["verdict"] == "collapsed"

    result = run(document, "-rx")

    result.assert_outcomes(passed=3, xfailed=1)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["XFAIL *facts:0002* - known collapse: ME-PPL 52*, in the baseline 52*"])
    assert section(result) == [
        "tiny-gpt2 under rome",
        "known collapses: facts:0002",
        "Against the baseline: nothing newly collapsed, 1 known collapse.",
    ]


def test_a_new_collapse_fails_and_says_so(document: dict[str, Any], run: Run) -> None:
    document["cases"][COLLAPSES] |= {"verdict": "stable", "me_ppl": 384.5}

    result = run(document)

    result.assert_outcomes(passed=3, failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.re_match_lines([r"  note +new against the baseline: there it was stable with ME-PPL 384\.5"])
    assert "newly collapsed: facts:0002" in section(result)


def test_what_is_fixed_is_celebrated(document: dict[str, Any], run: Run) -> None:
    document["cases"][STABLE] |= {"verdict": "collapsed", "me_ppl": "inf"}
    document["cases"][INEFFECTIVE] |= {"verdict": "collapsed", "me_ppl": "nan"}

    result = run(document)

    result.assert_outcomes(passed=3, xfailed=1)
    assert section(result)[1] == "fixed: facts:0000, facts:0003 (in 1 of them the edit no longer takes)"
    assert section(result)[-2] == "Keep what is fixed with --update-baseline."


def test_a_case_without_a_past_is_judged_as_without_a_baseline(document: dict[str, Any], run: Run) -> None:
    del document["cases"][COLLAPSES]
    document["cases"][STABLE]["request"] = "0" * 16

    result = run(document)

    result.assert_outcomes(passed=3, failed=1)
    assert "new against" not in result.stdout.str()
    assert {"cases not in the baseline: 1", "another request under the same name, judged as new: facts:0000"} <= set(
        section(result)
    )


def test_a_group_that_is_worse_as_a_whole_fails_the_run(document: dict[str, Any], run: Run) -> None:
    for case in document["cases"].values():
        case["me_ppl"] /= 1.2

    result = run(document)

    result.assert_outcomes(passed=3, xfailed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert section(result)[1] == "regression: ME-PPL rose, median ratio 1.2, tolerance 1.05"
    assert "No test failed, but the run does: what is worse as a whole is a regression." in section(result)
    assert section(result)[-1].endswith("worse as a whole: tiny-gpt2 under rome.")


def test_other_weights_are_named_and_excuse_nothing(document: dict[str, Any], run: Run) -> None:
    document["groups"][GROUP]["model_digest"] = "0" * 32
    for case in document["cases"].values():
        case["me_ppl"] /= 2

    result = run(document)

    result.assert_outcomes(passed=3, failed=1)
    assert section(result)[1].startswith("other than in the baseline: weights of tiny-gpt2 ")
    assert section(result)[2].startswith("not compared: the unedited model is another one")


@pytest.mark.parametrize("run", [()], indirect=True, ids=["alone"])
def test_seed_and_hyperparameters_are_named_and_compared(document: dict[str, Any], run: Run) -> None:
    document["settings"]["seed"] = 5
    document["groups"][GROUP]["hyperparameters"] = {"steps": 7}

    result = run(document)

    result.assert_outcomes(passed=3, xfailed=1)
    assert section(result)[:3] == [
        "other than in the baseline: seed 0, was 5",
        "tiny-gpt2 under rome",
        "other than in the baseline: rome.steps 5, was 7",
    ]


@pytest.mark.parametrize(
    ("words", "options", "message"),
    [
        (
            ["--baseline", "b.json"],
            {"limit": "600"},
            "ERROR: --baseline b.json cannot be compared with this run: *600*",
        ),
        (
            ["--baseline", "b.json"],
            {"texts": "t.txt"},
            "ERROR: --baseline b.json cannot be *--ppl-texts t.txt, was tex*",
        ),
        (["--baseline", "b.json", "--dtype", "float64"], {}, "ERROR: *--dtype float64, was float32; run under the *"),
        (
            ["--baseline", "c.json"],
            {},
            "ERROR: --baseline c.json: there is no such file; make it with --update-baseline",
        ),
        (["--baseline", "d.json"], {}, "ERROR: baseline d.json:2: no JSON*restore the file from version control*"),
        (["--update-baseline"], {}, "ERROR: --update-baseline has no file to write; name it with --baseline FILE"),
    ],
)
def test_wrong_input_ends_the_run_before_a_model_is_loaded(
    document: dict[str, Any], gate_project: GateProject, words: list[str], options: dict[str, str], message: str
) -> None:
    (gate_project.path / "t.txt").write_text("The cat is in the rain.\n")
    (gate_project.path / "d.json").write_text("{\n<<<<<<< ours\n")

    result = gate_project.run(*words, **options)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])
    assert "loading" not in result.stdout.str()
    assert "Traceback" not in result.stdout.str() + result.stderr.str()


def test_the_file_is_the_same_however_the_run_was_distributed(
    document: dict[str, Any], gate_project: GateProject
) -> None:
    gate_project.run_apart("--baseline", "c.json", "--update-baseline", "-n", "2")

    first, second = ((gate_project.path / name).read_text() for name in ("b.json", "c.json"))
    assert [line.split('"me_ppl"')[0] for line in first.splitlines()] == [
        line.split('"me_ppl"')[0] for line in second.splitlines()
    ]


def test_an_update_keeps_what_was_not_run(document: dict[str, Any], gate_project: GateProject) -> None:
    file = gate_project.path / "b.json"
    document["cases"][STABLE] |= {"verdict": "collapsed", "me_ppl": 5e4}
    document["cases"]["tiny-gpt2-rome-gone:0000"] = document["cases"][STABLE]
    document["groups"]["tiny-gpt2-ft"] = document["groups"][GROUP] | {"editor": "ft"}
    document["cases"]["tiny-gpt2-ft-gone:0000"] = document["cases"][STABLE]
    file.write_text(json.dumps(document))

    result = gate_project.run("--baseline", "b.json", "--update-baseline", "-k", "0000", "--edits-limit", "2")

    result.assert_outcomes(passed=1, deselected=1)
    assert section(result)[-2] == "Baseline written: b.json, 1 case of this run, 4 kept that it did not run, 1 dropped."
    assert cases(file)[STABLE]["verdict"] == "stable"
    assert cases(file)[COLLAPSES]["verdict"] == "collapsed"
    assert "tiny-gpt2-ft-gone:0000" in cases(file)
    assert "tiny-gpt2-rome-gone:0000" not in cases(file)
    again = gate_project.run("--baseline", "b.json", "--update-baseline", "-k", "0000", "--edits-limit", "2")
    assert "The baseline b.json stays the same." in section(again)


def test_an_update_under_other_settings_says_so_and_starts_anew(
    document: dict[str, Any], gate_project: GateProject
) -> None:
    result = gate_project.run("--baseline", "b.json", "--update-baseline", "-k", "0000", limit="600")

    result.assert_outcomes(passed=1, deselected=3)
    assert section(result) == [
        "made anew: --ppl-limit 600, was 495",
        "Baseline written: b.json, 1 case of this run, 3 dropped.",
    ]
    assert list(cases(gate_project.path / "b.json")) == [STABLE]


@pytest.mark.parametrize("words", [("-x",), ("-x", "-n", "1")], ids=["alone", "n1"])
def test_a_run_that_stopped_early_leaves_the_baseline(gate_project: GateProject, words: tuple[str, ...]) -> None:
    start = gate_project.run_apart if "-n" in words else gate_project.run

    result = start("--baseline", "b.json", "--update-baseline", *words, editor="my_editors:overflows")

    assert section(result) == ["The baseline is left as it is: the run was not finished."]
    assert not (gate_project.path / "b.json").exists()


def test_an_error_of_the_infrastructure_leaves_the_baseline(
    document: dict[str, Any], gate_project: GateProject
) -> None:
    before = (gate_project.path / "b.json").read_bytes()
    weights = gate_project.path / "broken"
    weights.mkdir()
    for file in (gate_project.path / "tiny-gpt2").iterdir():
        (weights / file.name).write_bytes(b"x" if file.suffix == ".safetensors" else file.read_bytes())

    result = gate_project.run("--baseline", "b.json", "--update-baseline", model="tiny-gpt2,broken")

    assert "The baseline is left as it is: broken-rome-facts:0000 ended in an error that is not its editor's." in (
        section(result)
    )
    assert (gate_project.path / "b.json").read_bytes() == before


def test_a_worker_that_dies_leaves_the_baseline(gate_project: GateProject) -> None:
    (gate_project.path / "deadly.py").write_text("import os\ndef dies(model, tokenizer, request):\n    os._exit(3)\n")

    words = ("--baseline", "b.json", "--update-baseline", "-n", "1", "--max-worker-restart", "0")

    result = gate_project.run_apart(*words, editor="deadly:dies")

    assert section(result)[0].startswith("The baseline is left as it is: ")
    assert "without a record" in section(result)[0]
    assert not (gate_project.path / "b.json").exists()


def test_a_case_whose_editor_raises_keeps_its_line(gate_project: GateProject) -> None:
    words = ("--baseline", "b.json", "--update-baseline")
    gate_project.run(*words, editor="my_editors:nothing")
    file = gate_project.path / "b.json"
    text = file.read_text().replace("nothing", "raises_once")
    file.write_text(text)

    result = gate_project.run(*words, editor="my_editors:raises_once")

    result.assert_outcomes(passed=3, failed=1)
    assert "ended in an error: facts:0001" in section(result)
    assert "The baseline b.json stays the same." in section(result)
    assert len(cases(file)) == 4


def test_nothing_is_written_by_collection_or_without_a_case(gate_project: GateProject) -> None:
    words = ("--baseline", "b.json", "--update-baseline")

    gate_project.run(*words, "--collect-only")
    gate_project.run(*words, "-k", "nothing_like_it")

    assert not (gate_project.path / "b.json").exists()


def test_a_baseline_that_cannot_be_written_is_no_success(gate_project: GateProject) -> None:
    folder = gate_project.path / "folder"
    (gate_project.path / "conftest.py").write_text(
        "def pytest_collection_finish():\n    import pathlib\n    pathlib.Path('folder').write_text('in the way')\n"
    )

    result = gate_project.run("--baseline", str(folder / "b.json"), "--update-baseline", "-k", "0000")

    result.assert_outcomes(passed=1, deselected=3)
    assert result.ret == 10
    assert section(result)[0].startswith("The baseline is left as it is: cannot write the baseline ")


def test_runxfail_lets_known_collapses_fail(document: dict[str, Any], gate_project: GateProject) -> None:
    gate_project.run("--baseline", "b.json", "--runxfail").assert_outcomes(passed=3, failed=1)


def test_the_ini_file_names_a_baseline_beside_it(document: dict[str, Any], gate_project: GateProject) -> None:
    gate_project.pytester.makeini("[pytest]\ncollapse_baseline = b.json\n")
    below = gate_project.path / "below"
    below.mkdir()
    gate_project.pytester.chdir()
    words = gate_project.words("--rootdir", str(gate_project.path), "-c", str(gate_project.path / "tox.ini"))

    result = gate_project.pytester.runpytest_inprocess(*words)

    result.assert_outcomes(passed=3, xfailed=1)


@pytest.fixture
def with_scenario(gate_project: GateProject) -> dict[str, Any]:
    """The baseline of a run of a scenario beside single edits; the second edit of it collapses the model."""
    gate_project.write_facts([FACTS[1], FACTS[0], FACTS[2], FACTS[3]], "order.jsonl")
    gate_project.run("--baseline", "b.json", "--update-baseline", "--scenario", "order.jsonl")
    found: dict[str, Any] = json.loads((gate_project.path / "b.json").read_text())
    return found


def test_a_scenario_is_in_the_baseline_and_its_collapse_known(with_scenario: dict[str, Any], run: Run) -> None:
    assert with_scenario["scenarios"][SCENARIO] | {"requests": ""} == {
        "verdict": "collapsed",
        "collapsed_after": 2,
        "planned": 4,
        "requests": "",
    }
    assert with_scenario["settings"]["scenarios"] == ["order.jsonl"]

    result = run(with_scenario, "--scenario", "order.jsonl", "-rx")

    result.assert_outcomes(passed=3, xfailed=2)
    assert result.ret == pytest.ExitCode.OK
    reason = "known collapse: after 2 edits, in the baseline after 2 edits"
    result.stdout.fnmatch_lines([f"XFAIL *scenario:order* - {reason}"])
    assert section(result)[-1] == "Against the baseline: nothing newly collapsed, 2 known collapses."


@pytest.mark.parametrize(
    ("before", "note", "line"),
    [
        (
            {"collapsed_after": 4},
            "earlier than in the baseline: there the model collapsed after 4 edits",
            "regression: scenario:order collapses after 2 edits, was 4",
        ),
        (
            {"collapsed_after": None, "verdict": "stable"},
            "new against the baseline: there the model survived 4 edits",
            "regression: scenario:order collapses after 2 edits, survived 4 edits",
        ),
    ],
)
@pytest.mark.parametrize("run", [()], indirect=True, ids=["alone"])
def test_a_scenario_that_got_worse_fails(
    with_scenario: dict[str, Any], run: Run, before: dict[str, Any], note: str, line: str
) -> None:
    with_scenario["scenarios"][SCENARIO] |= before

    result = run(with_scenario, "--scenario", "order.jsonl")

    result.assert_outcomes(passed=3, xfailed=1, failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([f"  note *{note}"])
    assert line in section(result)


def test_a_scenario_that_got_better_is_celebrated_and_kept(
    with_scenario: dict[str, Any], gate_project: GateProject
) -> None:
    with_scenario["scenarios"][SCENARIO] |= {
        "collapsed_after": 1,
        "requests": with_scenario["scenarios"][SCENARIO]["requests"][:4],
    }
    file = gate_project.path / "b.json"
    file.write_text(json.dumps(with_scenario))

    words = gate_project.words("--baseline", "b.json", "--update-baseline", "--scenario", "order.jsonl")
    place = words.index("--edits")
    result = gate_project.pytester.runpytest_inprocess(*words[:place], *words[place + 2 :])

    result.assert_outcomes(xfailed=1)
    assert "fixed in part: scenario:order collapses after 2 edits, was 1" in section(result)
    assert "Baseline written: b.json, 1 scenario of this run, 4 kept that it did not run." in section(result)
    kept = json.loads(file.read_text())
    assert kept["scenarios"][SCENARIO]["collapsed_after"] == 2
    assert len(kept["cases"]) == 4
    assert kept["settings"]["edits"] == ["facts.jsonl"]


def test_a_page_that_is_made_again_is_the_same(document: dict[str, Any], gate_project: GateProject) -> None:
    for case in document["cases"].values():
        case["me_ppl"] /= 1.2
    (gate_project.path / "b.json").write_text(json.dumps(document))
    gate_project.run("--baseline", "b.json", "--update-baseline", "-o", "collapse_html=true")
    folder = gate_project.run_directories()[-1]
    page = (folder / "report.html").read_bytes()
    assert b"regression: ME-PPL rose, median ratio 1.2, tolerance 1.05" in page

    done = CliRunner().invoke(app, ["html", str(folder), "--out", str(gate_project.path / "again.html")])

    assert done.exit_code == 0
    assert (gate_project.path / "again.html").read_bytes() == page


@pytest.mark.parametrize("run", [()], indirect=True, ids=["alone"])
@pytest.mark.parametrize(("tolerance", "code"), [("1.25", pytest.ExitCode.OK), ("1.15", pytest.ExitCode.TESTS_FAILED)])
def test_the_tolerance_is_an_option(document: dict[str, Any], run: Run, tolerance: str, code: int) -> None:
    for case in document["cases"].values():
        case["me_ppl"] /= 1.2

    result = run(document, "--baseline-tolerance", tolerance)

    assert result.ret == code


def test_a_regression_among_what_ran_counts_though_the_machine_failed(
    document: dict[str, Any], gate_project: GateProject
) -> None:
    for case in document["cases"].values():
        case["me_ppl"] /= 1.2
    (gate_project.path / "b.json").write_text(json.dumps(document))
    (gate_project.path / "conftest.py").write_text(BROKEN_MACHINE)

    result = gate_project.run_apart("--baseline", "b.json")

    result.assert_outcomes(passed=2, failed=1, xfailed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert section(result)[1:3] == [
        "compared on fewer cases: facts:0000 ended in an error that is not the editor's",
        "regression: ME-PPL rose, median ratio 1.2, tolerance 1.05",
    ]


def test_a_machine_that_failed_without_a_regression_is_worth_another_try(
    document: dict[str, Any], gate_project: GateProject
) -> None:
    (gate_project.path / "conftest.py").write_text(BROKEN_MACHINE)

    result = gate_project.run_apart("--baseline", "b.json")

    assert result.ret == 10
    assert "compared on fewer cases: facts:0000 ended in an error that is not the editor's" in section(result)


@pytest.mark.parametrize("riskiest", [False, True])
def test_the_certificate_of_a_run_without_a_collapse(gate_project: GateProject, riskiest: bool) -> None:
    result = gate_project.run(*(("--riskiest", "4") if riskiest else ()), editor="my_editors:nothing")

    result.assert_outcomes(passed=len(FACTS))
    line = (
        "No collapse in 4 cases: below 53% of edits drawn like these, at 95% confidence; 25 more would show below 10%."
    )
    assert (line in result.outlines) is not riskiest
