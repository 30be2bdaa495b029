"""Records of sequences: through JSON, into files and the terminal, and back to a command."""

from __future__ import annotations

import io
import json
import math
import shlex
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from rich.cells import cell_len

from collapse_tests.datasets.requests import load_requests
from collapse_tests.edit_request import EditRequest
from collapse_tests.errors import InfrastructureError, UsageError
from collapse_tests.failures import CaseError, CollapseFailure, IneffectiveEditFailure, failure_of
from collapse_tests.properties import properties
from collapse_tests.records import Perplexity, TaskResult, Verdict
from collapse_tests.report.formatting import Notation
from collapse_tests.report.sequence_message import sequence_message
from collapse_tests.report.sequences import sequences_sentence
from collapse_tests.report.sparkline import sparkline
from collapse_tests.report.store import RunDirectory, read_records, read_sequences
from collapse_tests.report.terminal import make_console, render
from collapse_tests.rerun import sequence_rerun_command
from collapse_tests.sequence_record import SearchStatistics, SequenceKind, SequenceRecord, SequenceStep
from collapse_tests.settings import Downstream, Override, Settings

ASCII, UNICODE = Notation.of("ascii"), Notation()

REQUESTS: tuple[dict[str, str | None], ...] = tuple(
    {
        "prompt": f"The capital of land {index} is",
        "subject": f"land {index}",
        "target_new": "Lima",
        "ground_truth": "Oslo" if index % 2 else None,
        "rephrase_prompt": None,
        "locality_prompt": None,
        "locality_ground_truth": None,
    }
    for index in range(8)
)


def step(index: int, me_ppl: float) -> SequenceStep:
    return SequenceStep(
        f"facts:{index:04d}", Perplexity(me_ppl, me_ppl, 3, 30), index != 1, index // 2, index, 0.01 * index, 1.5
    )


def record_of(*values: float, verdict: Verdict = Verdict.COLLAPSED, **fields: object) -> SequenceRecord:
    """A scenario of eight edits with these ME-PPLs."""
    record = SequenceRecord(
        case_id="tiny-rome-scenario:facts",
        model="tiny",
        editor="rome",
        name="facts",
        kind=SequenceKind.SCENARIO,
        verdict=verdict,
        reasons=("ME-PPL is at or above the limit 1,000",) if verdict is Verdict.COLLAPSED else (),
        unedited=Perplexity(150.0, 90.0, 3, 30),
        steps=tuple(step(index, value) for index, value in enumerate(values)),
        collapsed_after=len(values) if verdict is Verdict.COLLAPSED else None,
        planned=8,
        requests=REQUESTS[: len(values)],
        ppl_limit=1000.0,
        ppl_texts="default-1k",
        model_digest="abc",
        seconds=12.5,
    )
    return replace(record, **fields)  # type: ignore[arg-type]


SEARCH = SearchStatistics(34, 21, 60, 12, math.inf, 3, 2, out_of_time=False)


def found(*values: float, **fields: object) -> SequenceRecord:
    """A search that has found a sequence."""
    record = record_of(*values, kind=SequenceKind.MACHINE, case_id="tiny-rome-machine:facts", search=SEARCH)
    return replace(record, **fields)  # type: ignore[arg-type]


# Data ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "record",
    [
        record_of(200.0, math.inf, math.nan, seconds=math.inf),
        found(200.0, 5000.0),
        record_of(verdict=Verdict.ERROR, error="edit 1: no", unedited=None),
    ],
)
def test_records_survive_json(record: SequenceRecord, result: TaskResult) -> None:
    record = replace(record, tasks=(replace(result, edited=math.nan),))
    text = json.dumps(record.to_dict(), allow_nan=False)
    again = SequenceRecord.from_dict(json.loads(text))
    assert repr(again) == repr(record)  # NaN is not equal to itself
    assert type(again.verdict) is Verdict
    assert type(json.loads(text)["kind"]) is str


def test_a_record_of_another_version_is_refused() -> None:
    with pytest.raises(UsageError, match="schema 99"):
        SequenceRecord.from_dict({**record_of(200.0).to_dict(), "schema": 99})


def test_files(tmp_path: Path) -> None:
    records = [record_of(200.0, math.nan), found(math.inf)]
    with RunDirectory.create(tmp_path, {}, now=datetime(2031, 5, 6)) as run:
        for record in records:
            run.append_sequence(record)
            assert (run.path / "sequences.jsonl").read_text().count("\n") == records.index(record) + 1
    again, problems = read_sequences(run.path)
    assert list(map(repr, again)) == list(map(repr, records))
    assert problems == []
    assert read_records(run.path) == ([], [])


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    with RunDirectory.create(tmp_path, {}, now=datetime(2031, 5, 6)) as run:
        run.append_sequence(record_of(200.0))
    file = run.path / "sequences.jsonl"
    file.write_bytes(file.read_bytes() * 2)
    file.write_bytes(file.read_bytes()[:-20])
    again, (problem,) = read_sequences(file)
    assert len(again) == 1
    assert "cut off" in problem


def test_a_run_without_sequences_has_no_file_for_them(tmp_path: Path) -> None:
    RunDirectory.create(tmp_path, {}, now=datetime(2031, 5, 6)).close()
    assert list(tmp_path.rglob("sequences.jsonl")) == []


def test_what_was_found_is_written_as_a_file_of_requests(tmp_path: Path) -> None:
    with RunDirectory.create(tmp_path, {}, now=datetime(2031, 5, 6)) as run:
        file = run.write_scenario(found(200.0, 5000.0))
    assert file.relative_to(run.path).as_posix() == "scenarios/tiny-rome-machine-facts.json"
    named = load_requests(str(file))
    assert [entry.request for entry in named] == [EditRequest(**fields) for fields in REQUESTS[:2]]  # type: ignore[arg-type]


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with RunDirectory.create(tmp_path, {}, now=datetime(2031, 5, 6)) as run:
        (run.path / "scenarios").write_text("in the way")
        with pytest.raises(InfrastructureError, match="cannot write reports"):
            run.write_scenario(found(200.0))


def test_verdicts_fail_tests_as_those_of_cases_do() -> None:
    expected = {
        Verdict.STABLE: None,
        Verdict.COLLAPSED: CollapseFailure,
        Verdict.INEFFECTIVE: None,
        Verdict.ERROR: CaseError,
    }
    for verdict, failure in expected.items():
        assert failure_of(record_of(200.0, verdict=verdict), fail_ineffective=False) is failure
    assert failure_of(record_of(verdict=Verdict.INEFFECTIVE), fail_ineffective=True) is IneffectiveEditFailure


def test_properties(result: TaskResult) -> None:
    rows = dict(properties(replace(record_of(200.0, 5000.0), tasks=(result,))))
    assert rows["collapse.verdict"] == "collapsed"
    assert rows["collapse.edits"] == rows["collapse.collapsed_after"] == 2
    assert rows["collapse.edited.me_ppl"] == 5000.0
    assert rows["collapse.words.verdict"] == "above random"
    assert dict(properties(record_of(verdict=Verdict.ERROR, unedited=None))) == {
        "collapse.verdict": "error",
        "collapse.model": "tiny",
        "collapse.editor": "rome",
        "collapse.ppl_limit": 1000.0,
        "collapse.edits": 0,
    }


# The curve ----------------------------------------------------------------------------------------------------


def test_a_curve_goes_from_the_lowest_value_to_the_limit() -> None:
    assert sparkline([10, 100, 1000], 1000, UNICODE, 10) == "▁▅█"
    assert sparkline([10, 100, 1000], 1000, ASCII, 10) == "_+@"
    assert sparkline([10, 10, 10], 1000, UNICODE, 10) == "▁▁▁"
    assert sparkline([10, 1e5], 1000, UNICODE, 10) == "▁█"
    assert sparkline([10, 999], 1e9, UNICODE, 10) == "▁▂"


def test_what_is_no_number_has_signs_of_its_own() -> None:
    values = [10, math.inf, math.nan, 1000]
    assert sparkline(values, 1000, UNICODE, 10) == "▁∞✗█"
    assert sparkline(values, 1000, ASCII, 10) == "_^!@"
    assert sparkline([math.nan, math.inf], 1000, UNICODE, 10) == "✗∞"
    assert sparkline([10.0, 1000.0], math.inf, UNICODE, 10) == "▁█"
    assert sparkline([], 1000, UNICODE, 10) == ""


def test_more_values_than_columns_show_the_worst_of_neighbours() -> None:
    values = [10.0] * 60
    values[31] = math.inf
    values[59] = math.nan
    line = sparkline(values, 1000, UNICODE, 20)
    assert len(line) == 20
    assert line == "▁" * 10 + "∞" + "▁" * 8 + "✗"


# The terminal -------------------------------------------------------------------------------------------------


def shown(*records: SequenceRecord, width: int = 120, encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, newline="\n")
    console = make_console(stream, width=width, colour=False)
    render([], records, run_directory="reports/x", console=console, verbose=False)
    stream.flush()
    return raw.getvalue().decode(encoding)


def test_a_run_of_sequences_only_has_one_table() -> None:
    output = shown(record_of(200.0, 300.0, 66203.4), found(200.0, 5000.0))
    assert "sequences on tiny, ME-PPL limit 1000" in output or "sequences on tiny, ME-PPL limit 1,000" in output
    lines = [line for line in output.splitlines() if "facts" in line and "rome " in line]
    first, second = ([*line.split()] for line in lines)
    assert first[:9] == ["rome", "scenario:facts", "3/8", "collapsed", "3", "66,203", "2/3", "1/2", "0.0200"]
    assert second[:9] == ["rome", "machine:facts", "21", "collapsed", "2", "inf", "1/2", "0/1", "0.0100"]
    assert "No edits were tested" not in output
    assert "worst cases" not in output
    assert "2 of 2 sequences collapsed the model, at the earliest after 2 edits (tiny-rome-machine:facts)." in output
    assert "Records: reports/x/sequences.jsonl" in output


@pytest.mark.parametrize("width", [60, 80, 100, 160])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_numbers_stay_whole_in_any_width_and_encoding(width: int, encoding: str) -> None:
    output = shown(
        record_of(200.0, 66203.4, editor="a-rather-long-editor:name", name="a_set_with_a_long_name"),
        record_of(*[200.0] * 8, verdict=Verdict.STABLE),
        width=width,
        encoding=encoding,
    )
    for number in ("66,203", "2/8", "8/8", "0.0700"):
        assert number in output


def test_several_models_are_named() -> None:
    output = shown(record_of(200.0), record_of(200.0, model="other"))
    assert "sequences on" not in output
    assert "other" in output


def test_errors_are_listed_with_their_message() -> None:
    output = shown(record_of(200.0, verdict=Verdict.ERROR, error="edit 2 (facts:0001): rome raised ValueError: no"))
    assert "rome raised ValueError: no" in output
    assert "Nothing was learnt: 1 sequence ended in an error." in output


def test_notes_are_listed() -> None:
    note = "the time budget of 600 s ended the search after 21 edits"
    assert note in shown(found(verdict=Verdict.STABLE, notes=(note,)), record_of(200.0))
    assert "note" not in shown(record_of(200.0))


def test_sentences() -> None:
    stable, ineffective = record_of(200.0, verdict=Verdict.STABLE), record_of(200.0, verdict=Verdict.INEFFECTIVE)
    assert sequences_sentence([stable]) == "None of 1 sequence collapsed the model."
    error = record_of(verdict=Verdict.ERROR, error="x")
    assert sequences_sentence([stable, ineffective, error]) == (
        "None of 2 sequences collapsed the model; 1 had ineffective edits; 1 more ended in an error."
    )
    assert "after 1 edit (" in sequences_sentence([record_of(5000.0)])


# Messages -----------------------------------------------------------------------------------------------------


def test_a_scenario_says_after_how_many_edits_and_shows_the_last_steps() -> None:
    values = [200.0, 210.0, 220.0, 300.0, 400.0, 500.0, 66203.4]
    lines = sequence_message(record_of(*values), "pytest --scenario facts").splitlines()
    assert lines[0] == "collapsed after 7 of 8 edits: ME-PPL is at or above the limit 1,000"
    assert [line.split(";")[0].split("  ")[1].strip() for line in lines if line.startswith("  edit ")] == [
        f"edit {number}" for number in range(3, 8)
    ]
    assert "150.00 → 66,203 at worst, limit 1,000" in lines[1]
    assert "ME-PPL 66,203, took, retained 3 of 6, drift 0.0600" in "\n".join(lines)
    assert lines[-1] == "rerun: pytest --scenario facts"
    assert all(cell_len(line) <= 100 for line in lines[:-1])


def test_a_finding_can_be_pasted() -> None:
    message = sequence_message(found(200.0, 5000.0), "pytest x", scenario_file="reports/x/scenarios/y.json")
    assert message.startswith("collapsed after 2 edits: ")
    head, _, rest = message.partition("the smallest sequence found, in reports/x/scenarios/y.json:\n")
    assert "sequences tried 34, edits computed 21, known already 60" in head
    text = rest.rpartition("\nrerun: ")[0]
    assert json.loads(text) == [
        {name: value for name, value in request.items() if value is not None} for request in REQUESTS[:2]
    ]


def test_an_error_says_what_happened() -> None:
    record = record_of(200.0, verdict=Verdict.ERROR, error="edit 2 (facts:0001): rome raised ValueError: " + "no " * 90)
    lines = sequence_message(record, "pytest x").splitlines()
    assert lines[0].startswith("error: edit 2 (facts:0001): rome raised ValueError: no no")
    assert all(cell_len(line) <= 100 for line in lines)
    assert any(line.startswith("  edit 1") for line in lines)


def test_tasks_are_shown_whether_they_are_the_reason_or_not(result: TaskResult) -> None:
    record = record_of(200.0, 5000.0, tasks=(replace(result, task="collapse_words"), replace(result, task="other")))
    lines = sequence_message(record, "pytest x").splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("  words "))
    assert "acc 0.90 → 0.80" in lines[start]
    assert lines[start + 1].startswith("  other ")
    assert lines[start - 1].startswith("  edit 2")
    assert all(cell_len(line) <= 100 for line in lines)


def test_numbers_that_are_none_are_shown_as_such() -> None:
    message = sequence_message(record_of(200.0, math.inf, math.nan), "pytest x")
    assert "150.00 → nan at worst" in message
    assert "∞✗" in message


# The command --------------------------------------------------------------------------------------------------


def command(kind: SequenceKind, **options: object) -> list[str]:
    settings = Settings(("rome", "ft"), **options)  # type: ignore[arg-type]
    return shlex.split(sequence_rerun_command(kind, "my facts.json", settings, model="gpt2-xl", editor="rome"))


START = ["pytest", "--editor", "rome", "--model", "gpt2-xl"]


def test_defaults_are_left_out() -> None:
    assert command(SequenceKind.SCENARIO) == [*START, "--scenario", "my facts.json"]
    assert command(SequenceKind.MACHINE) == [*START, "--machine", "my facts.json"]


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        (SequenceKind.SCENARIO, {"steps": 60, "machine_steps": 5}, ["--steps", "60"]),
        (SequenceKind.SCENARIO, {"full_curve": True}, ["--full-curve"]),
        (SequenceKind.SCENARIO, {"edits": ("hard",), "edits_limit": 3}, []),
        (SequenceKind.MACHINE, {"full_curve": True, "steps": 60}, []),
        (SequenceKind.MACHINE, {"machine_steps": 5}, ["--machine-steps", "5"]),
        (SequenceKind.MACHINE, {"machine_examples": 9}, ["--machine-examples", "9"]),
        (SequenceKind.MACHINE, {"machine_budget": 60.0}, ["--machine-budget", "60"]),
        (SequenceKind.MACHINE, {"ppl_texts": "default"}, ["--ppl-texts", "default"]),
        (SequenceKind.MACHINE, {"downstream": Downstream.NEVER}, ["--downstream", "never"]),
        (
            SequenceKind.SCENARIO,
            {"overrides": (Override("rome", "steps", 3), Override("ft", "steps", 4))},
            ["--set", "rome.steps=3"],
        ),
    ],
)
def test_other_values_are_given(kind: SequenceKind, options: dict[str, object], expected: list[str]) -> None:
    assert command(kind, **options)[7:] == expected
